"""Repeated clinical scores beside R: clinical/gold.R fits the same tables with formulas of its own."""

import json
from pathlib import Path

import pandas as pd
import pytest
import simple_trial

from mrsflow.statistics import clinical_course
from mrsflow.statistics.plan import plan_of

FOLDER = Path(__file__).with_name("clinical")
GOLD = json.loads((FOLDER / "gold.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", GOLD)
def test_repeated_scores_equal_those_of_r(name):
    design, covariance, what = name.split()
    scale = {"scale": "q", "followups": ["d1", "d7", "d14"], "covariance": covariance}
    config = simple_trial.configuration(design, ["a", "b"], clinical=[scale])
    sessions = pd.read_csv(FOLDER / f"{design}.tsv", sep="\t", dtype={"participant": str, "session": str})
    found = clinical_course.clinical_course_rows(plan_of(config), sessions, config["group"]["clinical"])
    by = {row.contrast: row for row in found}
    row = by["b - a, mean of d1, d7, d14" if what == "mean" else f"b - a at {what}"]
    known = GOLD[name]
    if "se_model" in known:  # R's without Kenward and Roger's adjustment
        assert row.estimate == pytest.approx(known["estimate"], abs=1e-6 * known["se_model"])
        plan, rows = plan_of(config), clinical_course.rows_of(plan_of(config), sessions, config["group"]["clinical"][0])
        model = clinical_course.fit(plan, rows, config["group"]["clinical"][0])
        w = plan.contrasts[0].difference(model, **({} if what == "mean" else {"time": what}))
        assert (w @ model.fit.covariance @ w) ** 0.5 == pytest.approx(known["se_model"], rel=1e-6)
        return
    for quantity, limit in (("estimate", 1e-6), ("se", 1e-6), ("t", 1e-6), ("p", 1e-6), ("df", 1e-5)):
        unit = known["se"] if quantity == "estimate" else 1.0 if quantity == "p" else abs(known[quantity])
        assert abs(getattr(row, quantity) - known[quantity]) < limit * unit, quantity
