"""The analysis of every design beside R's: designs/gold.R fits the same tables with formulas of its own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simple_trial

from mrsflow.statistics import contrasts, outcomes
from mrsflow.statistics.plan import plan_of
from mrsflow.study import covariates
from mrsflow.study.trial import TrialData, conditions_of

FOLDER = Path(__file__).with_name("designs")
GOLD = json.loads((FOLDER / "gold.json").read_text(encoding="utf-8"))
BINS = {"baseline", *(f"infusion{i}" for i in (1, 2, 3))}
PAIR = {"a": -1, "b": 1}
WEIGHTS = {
    "williams response": {"b": 1, "c": -1},
    "factorial interaction": {"a": 1, "b": -1, "c": -1, "d": 1},
}


def trial_of(name, weights, estimand, adjust_for):
    """Trial of a recorded table."""
    text = {"participant": str, "session": str}
    blocks = pd.read_csv(FOLDER / f"{name}.tsv", sep="\t", dtype=text).rename(columns={"value": "Glx/tNAA"})
    assert set(blocks["block"]) == BINS
    blocks["key"] = "sub-" + blocks["participant"] + "_ses-" + blocks["session"]
    sessions = blocks.drop_duplicates("key")[["key", "participant", "session", "condition", "visit", "age", "site"]]
    blocks = blocks.drop(columns=["age", "site"]).assign(excluded=False, **{"Glx/tNAA sd": 0.02})
    design = {"single": "single_arm", "parallel": "parallel"}.get(name, "crossover")
    group = {"estimand": estimand, "adjust_for": adjust_for}
    if weights:
        group["contrasts"] = [{"name": "contrast", "weights": weights}]
    config = simple_trial.configuration(design, sorted(sessions["condition"].unique()), **group)
    sessions = covariates.typed(config, sessions.assign(line="", dose_s=np.nan).reset_index(drop=True))
    return TrialData(config, sessions, blocks, conditions_of(config))


@pytest.mark.parametrize("name", GOLD)
def test_analysis_of_a_design_equals_that_of_r(name):
    table, _, what = name.partition(" ")
    estimand = what if what in ("total", "adjusted_level") else "response"
    weights = None if table == "single" else WEIGHTS.get(name, PAIR)
    trial = trial_of(table, weights, estimand, ["age", "site"] if what == "covariates" else [])
    if what == "total":  # levels, as where no scan precedes the dose
        trial.sessions["dose_s"] = -3600.0
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    made = contrasts.baseline_row if what == "baseline" else contrasts.primary_row
    found = made(plan, rows, plan.contrasts[0])
    row = found[0] if isinstance(found, list) else found
    known = GOLD[name]
    for quantity, limit in (("estimate", 1e-6), ("se", 1e-6), ("t", 1e-6), ("p", 1e-6), ("df", 1e-5)):
        unit = known["se"] if quantity == "estimate" else 1.0 if quantity == "p" else abs(known[quantity])
        assert abs(row[quantity] - known[quantity]) < limit * unit, quantity
