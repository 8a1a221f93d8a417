"""The analysis of every design beside R's: designs/gold.R fits the same tables with formulas of its own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simple_trial

from mrsflow.statistics import carry_over, contrasts, moderators, outcomes
from mrsflow.statistics.plan import plan_of
from mrsflow.study import covariates
from mrsflow.study.trial import TrialData, conditions_of

FOLDER = Path(__file__).with_name("designs")
GOLD = json.loads((FOLDER / "gold.json").read_text(encoding="utf-8"))
BINS = {"baseline", *(f"infusion{i}" for i in (1, 2, 3))}
PAIR = {"a": -1, "b": 1}
ESTIMANDS = {name: name for name in ("total", "adjusted_level")} | dict.fromkeys(
    ("age", "equal variances"), "adjusted_level"
)
COVARIATES = {"covariates": ["age", "site"], "age": ["age"]}
MODERATORS = ["age", "site"]
ROWS = {"baseline": "baseline by arm", "equal variances": "equal variances", "after": "carry-over"}
WEIGHTS = {
    "williams response": {"b": 1, "c": -1},
    "williams carried": {"b": 1, "c": -1},
    "factorial interaction": {"a": 1, "b": -1, "c": -1, "d": 1},
    "factorial adjusted_level": {"a": 1, "b": -1, "c": -1, "d": 1},
    "factorial main": {"a": -0.5, "b": -0.5, "c": 0.5, "d": 0.5},
}


def trial_of(name, weights, estimand, adjust_for, arms=None, carry_over=False, last=9):
    """Trial of a recorded table, or of some of its arms."""
    text = {"participant": str, "session": str}
    blocks = pd.read_csv(FOLDER / f"{name}.tsv", sep="\t", dtype=text).rename(columns={"value": "Glx/tNAA"})
    blocks = blocks[blocks["condition"].isin(arms or blocks["condition"])].reset_index(drop=True)
    visits = [1] if name == "visits" else []
    blocks = blocks[blocks["visit"] <= last].reset_index(drop=True)
    assert set(blocks["block"]) == ({"scan"} if visits else BINS)
    blocks["key"] = "sub-" + blocks["participant"] + "_ses-" + blocks["session"]
    sessions = blocks.drop_duplicates("key")[["key", "participant", "session", "condition", "visit", "age", "site"]]
    blocks = blocks.drop(columns=["age", "site"]).assign(excluded=False, **{"Glx/tNAA sd": 0.02})
    design = {"single": "single_arm", "parallel": "parallel", "visits": "parallel"}.get(name, "crossover")
    conditions = sorted(sessions["condition"].unique())
    design = design if len(conditions) > 1 else "single_arm"
    group = {"estimand": estimand, "adjust_for": adjust_for, "carry_over": carry_over, "moderators": MODERATORS}
    if weights:
        group["contrasts"] = [{"name": "contrast", "weights": weights}]
    config = simple_trial.configuration(design, conditions, visits=visits, replicates=name == "replicate", **group)
    sessions = covariates.typed(config, sessions.assign(line="", dose_s=np.nan).reset_index(drop=True))
    return TrialData(config, sessions, blocks, conditions_of(config))


@pytest.mark.parametrize("name", GOLD)
def test_analysis_of_a_design_equals_that_of_r(name):
    table, _, what = name.partition(" ")
    estimand = ESTIMANDS.get(what, "response")
    weights = None if "single" in name else WEIGHTS.get(name, PAIR)
    asked = what == "carried"
    trial = trial_of(
        table,
        weights,
        estimand,
        COVARIATES.get(what, []),
        ["b"] if name == "visits single" else None,
        asked,
        2 if name == "visits by site" else 9,
    )
    if what == "total":  # levels, as where no scan precedes the dose
        trial.sessions["dose_s"] = -3600.0
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    made = contrasts.compare(plan, rows, plan.contrasts[0])
    found = {row["analysis"]: row for row in (*carry_over.carry_over_rows(plan, rows)[::-1], *made)}
    if what.startswith("by "):
        made = moderators.moderator_rows(plan, rows, [what.removeprefix("by ")])
        found = {"primary": made[0]}
    row, known = found[ROWS.get(what, "primary")], GOLD[name]
    for quantity, limit in (("estimate", 1e-6), ("se", 1e-6), ("t", 1e-6), ("p", 1e-6), ("df", 1e-5)):
        unit = known["se"] if quantity == "estimate" else 1.0 if quantity == "p" else abs(known[quantity])
        assert abs(row[quantity] - known[quantity]) < limit * unit, quantity
