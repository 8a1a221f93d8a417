"""The analysis of every design beside R's: designs/gold.R fits the same tables with formulas of its own."""

import json

import pytest
from recorded_trial import FOLDER, PAIR, trial_of

from mrsflow.statistics import carry_over, contrasts, moderators, outcomes
from mrsflow.statistics.plan import plan_of

GOLD = json.loads((FOLDER / "gold.json").read_text(encoding="utf-8"))
ESTIMANDS = {name: name for name in ("total", "adjusted_level")} | dict.fromkeys(
    ("age", "equal variances"), "adjusted_level"
)
COVARIATES = {"covariates": ["age", "site"], "age": ["age"]}
ROWS = {"baseline": "baseline by arm", "equal variances": "equal variances", "after": "carry-over"}
WEIGHTS = {
    "williams response": {"b": 1, "c": -1},
    "williams carried": {"b": 1, "c": -1},
    "factorial interaction": {"a": 1, "b": -1, "c": -1, "d": 1},
    "factorial adjusted_level": {"a": 1, "b": -1, "c": -1, "d": 1},
    "factorial main": {"a": -0.5, "b": -0.5, "c": 0.5, "d": 0.5},
}


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
    found = {row.analysis: row for row in (*carry_over.carry_over_rows(plan, rows)[::-1], *made)}
    if what.startswith("by "):
        made = moderators.moderator_rows(plan, rows, [what.removeprefix("by ")])
        found = {"primary": made[0]}
    row, known = found[ROWS.get(what, "primary")], GOLD[name]
    for quantity, limit in (("estimate", 1e-6), ("se", 1e-6), ("t", 1e-6), ("p", 1e-6), ("df", 1e-5)):
        unit = known["se"] if quantity == "estimate" else 1.0 if quantity == "p" else abs(known[quantity])
        assert abs(getattr(row, quantity) - known[quantity]) < limit * unit, quantity
