"""Designs beside the crossover of two conditions: each against its truth or a classical test."""

import numpy as np
import pytest
import simple_trial
from scipy import stats

from mrsflow.models import session_models
from mrsflow.statistics import clinical, contrasts, outcomes, timecourse
from mrsflow.statistics.plan import plan_of

SD = (0.08, 0.02, 0.02, 0.0)
LEVELS = {"placebo": 1.0, "naltrexone": 0.98, "saline": 1.0}
RESPONSES = {"placebo": 0.06, "naltrexone": 0.05, "saline": 0.0}
ORDERS = (("placebo", "naltrexone", "saline"), ("naltrexone", "saline", "placebo"), ("saline", "placebo", "naltrexone"))


def prepared(trial):
    return plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")


@pytest.mark.parametrize("design", ["crossover", "parallel"])
@pytest.mark.parametrize(
    ("estimand", "control", "truth"),
    [("total", "saline", 0.5), ("response", "saline", 1 / 6), ("response", None, 1 / 6)],
)
def test_attenuation_against_the_control_and_of_the_response(design, estimand, control, truth):
    """The dose lowers the level by 2 % and a response of 6 % by one: half against saline, a sixth of the response."""
    arms = simple_trial.sequences(900, *(o if design == "crossover" else o[:1] for o in ORDERS))
    trial = simple_trial.make(arms, LEVELS, RESPONSES, design=design, sd=(0.02, 0.02, 0.02), estimand=estimand)
    plan, rows = prepared(trial)
    found = clinical.attenuation_rows(plan, rows, "Glx/tNAA", control)
    row = found[0]
    assert row["contrast"] == "naltrexone - placebo"
    assert row["fraction"] == pytest.approx(truth, abs=(row["ci_high"] - row["ci_low"]))
    assert row["ci_low"] < truth < row["ci_high"] and row["ci_high"] - row["ci_low"] < 0.35
    contrast = contrasts.primary_row(plan, rows, plan.contrasts[0])
    assert row["change_treated"] - row["change_reference"] == pytest.approx(contrast["estimate"], rel=1e-6)


def test_attenuation_of_an_adjusted_level_agrees_with_its_contrast():
    for design in ("crossover", "parallel"):
        arms = simple_trial.sequences(60, *(o if design == "crossover" else o[:1] for o in ORDERS))
        trial = simple_trial.make(arms, dict.fromkeys(LEVELS, 1.0), RESPONSES, design=design, dose=np.nan, sd=SD)
        plan, rows = prepared(trial)
        assert rows.adjusts
        row = clinical.attenuation_rows(plan, rows, "Glx/tNAA", None)[0]
        contrast = contrasts.primary_row(plan, rows, plan.contrasts[0])
        assert row["change_treated"] - row["change_reference"] == pytest.approx(contrast["estimate"], rel=1e-6)
        assert row["change_reference"] == pytest.approx(0.06, abs=0.02)


def test_sessions_of_a_single_arm_do_not_count_as_people():
    """Complete: the test of the participants' mean changes, n - 1 degrees of freedom."""
    arms = [["drug"] * 3] * 11
    sd = (0.08, 0.02, 0.02, 0.05)
    trial = simple_trial.make(arms, {"drug": 1.0}, {"drug": 0.02}, design="single_arm", sd=sd)
    plan, rows = prepared(trial)
    row = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    known = stats.ttest_1samp(rows.sessions.groupby("participant")["change"].mean(), 0)
    np.testing.assert_allclose([row["t"], row["p"], row["df"]], [known.statistic, known.pvalue, 10], rtol=1e-6)
    assert (row["n_participants"], row["n_sessions"], row["n_blocks"]) == (11, 33, 99)
    assert row["d_z"] == pytest.approx(known.statistic / np.sqrt(11), rel=1e-6)


def test_an_interaction_of_two_factors_is_the_difference_of_differences():
    names = ("ps", "pk", "ns", "nk")
    orders = (names, ("pk", "ns", "nk", "ps"), ("ns", "nk", "ps", "pk"), ("nk", "ps", "pk", "ns"))
    responses = {"ps": 0.0, "pk": 0.06, "ns": 0.01, "nk": 0.04}
    weights = {"nk": 1, "ns": -1, "pk": -1, "ps": 1}
    trial = simple_trial.make(simple_trial.sequences(24, *orders), dict.fromkeys(names, 1.0), responses, sd=SD,
                              contrasts=[{"name": "interaction", "weights": weights}])  # fmt: skip
    plan, rows = prepared(trial)
    found = {row["analysis"]: row for row in contrasts.compare(plan, rows, plan.contrasts[0])}
    means = rows.sessions.groupby("condition")["change"].mean()
    by_hand = means["nk"] - means["ns"] - means["pk"] + means["ps"]  # balanced over visits
    for name in ("primary", "pair means"):
        assert found[name]["estimate"] == pytest.approx(by_hand, rel=1e-6)
    assert "differences of two conditions" in found["re-randomisation"]["remark"]
    tests = timecourse.course_tests(plan, rows, plan.contrasts[0])
    assert [t["block"] for t in tests if t["analysis"] == "block"] == ["infusion1", "infusion2", "infusion3"]


@pytest.mark.parametrize("spread", [(2.0, 1.0), (1.0, 2.0)])
def test_error_of_groups_of_unequal_size_and_variance(spread):
    """8 : 24 with a covariate; 99.9 % of binomial counts of 600 at 5 % are below 49."""
    rng, wrong = np.random.default_rng(8), 0
    groups = np.array(["a"] * 8 + ["b"] * 24)
    for _ in range(600):
        x = np.column_stack([groups == "a", groups == "b", rng.normal(size=32)]).astype(float)
        y = rng.normal(size=32) * np.where(groups == "a", *spread)
        wrong += session_models.unequal_variances(x, y, groups, [-1, 1, 0]).p < 0.05
    assert 12 <= wrong <= 48
