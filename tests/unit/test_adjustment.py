"""What the primary analysis adjusts for, every other row adjusts for too, or says that it does not."""

from dataclasses import replace

import numpy as np
import pytest
import simple_trial
import statsmodels.api as sm

from mrsflow.statistics import clinical, contrasts, group, moderators, outcomes, supplement
from mrsflow.statistics.plan import plan_of

OTHER = {
    "baseline", "carry-over", "level", "level, all blocks", "response", "link of two changes", "indirect effect",
    "risk difference", "tipping point",
}  # fmt: skip
"""Estimands that a baseline has no part in, or another one."""
SCALE = {"scale": "hamd", "baseline": "pre", "followups": ["day1", "day7"], "covariance": "compound", "better": "lower",
         "response": 50, "remission": 7}  # fmt: skip


def analysed(design, **group_settings):
    """Tables of a trial with scores, covariates of participants and of sessions, and a missing session."""
    rng, n = np.random.default_rng(3), 16
    arms = simple_trial.sequences(n, "ab", "ba") if design == "crossover" else [["a"], ["b"]] * (n // 2)
    settings = {"mood_scale": "madrs", "adjust_for": ["age", "level"], "moderators": ["sex"], "clinical": [SCALE]}
    settings |= {"leave_out": ["seen"], "expectancy": ["guess"], "imputation": {"draws": 9, "delta": -2}, "draws": 99}
    extra = {
        "age": list(20.0 + np.arange(n)),
        "sex": ["F", "F", "M", "M"] * (n // 4),
        "seen": ["no"] * (n - 1) + ["yes"],
    }
    trial = simple_trial.make(
        arms, {"a": 1.0, "b": 1.0}, {"a": 0.06, "b": 0.03}, design=design, dose=np.nan, extra=extra,
        **settings | group_settings,
    )  # fmt: skip
    count = len(trial.sessions)
    scores = {
        f"{s}_{t}": rng.normal(28 - 8 * (t != "pre"), 4, count).round()
        for s in ("madrs", "hamd")
        for t in ("pre", "day1", "day7")
    }
    sessions = trial.sessions.assign(level=rng.normal(5, 1, count), guess=rng.choice(["a", "b"], count), **scores)
    trial = replace(trial, sessions=sessions, blocks=trial.blocks[trial.blocks["key"] != "sub-005_ses-1"])
    rows = outcomes.prepare(trial, "Glx/tNAA")
    return group.analyse(trial, plan_of(trial.config), rows)


@pytest.mark.parametrize(("design", "carry_over"), [("crossover", True), ("parallel", False)])
def test_every_row_adjusts_for_what_the_primary_does_or_says_so(design, carry_over):
    tables = analysed(design, carry_over=carry_over)
    wanted = ["age", "level", *["carry-over"] * carry_over]
    primary = tables["contrasts"].iloc[0]
    assert all(name in primary["adjusted_for"] for name in wanted) and "bl" in primary["adjusted_for"]
    checked = set()
    for name in ("contrasts", "sensitivity", "link", "attenuation"):
        for row in tables[name].dropna(subset=["fraction" if name == "attenuation" else "estimate"]).to_dict("records"):
            said = f"{row['adjusted_for']}; {row['remark']}"
            for covariate in wanted:
                free = row["estimand"] == "tipping point" or (covariate == "carry-over" == row["estimand"])
                assert free or covariate in said, (name, row.get("analysis"), covariate, said)
            assert row["estimand"] in OTHER or "bl" in said or "not adjusted for the baseline" in said, row
            checked.add(row.get("analysis"))
    assert {"mediation", "clinical course", "responders", "re-randomisation"} <= checked
    if design == "crossover":
        block = tables["time_tests"][tables["time_tests"]["analysis"] == "block"]
        assert block["remark"].str.contains("not adjusted for age, level" + ", carry-over" * carry_over).all()


def test_a_score_before_that_is_the_same_at_both_visits_leaves_the_comparison_within_participants():
    """A screening score copied to every session: the least squares of differences on the sequence."""
    rng, n = np.random.default_rng(4), 14
    trial = simple_trial.make(
        simple_trial.sequences(n, "ab", "ba"), {"a": 1.0, "b": 1.0}, {"a": 0.1, "b": 0.1}, mood_scale="madrs"
    )
    people = trial.sessions["participant"].astype(int).to_numpy()
    before = np.round(rng.normal(28, 4, n))[people]
    fall = np.round(rng.normal(8, 6, n)[people] + rng.normal(0, 2, 2 * n))
    sessions = trial.sessions.assign(madrs_pre=before, madrs_day1=before - fall)
    mood = clinical.mood_rows(trial.config, sessions)
    row = clinical.clinical_rows(plan_of(trial.config), mood, "madrs")[0]
    wide = sessions.pivot(index="participant", columns="condition", values="madrs_day1")
    sign = np.where(np.arange(n) % 2, -1.0, 1.0)
    known = sm.OLS((wide["b"] - wide["a"]).to_numpy(), np.column_stack([np.ones(n), sign])).fit()
    np.testing.assert_allclose(
        [row.estimate, row.se, row.p], [known.params[0], known.bse[0], known.pvalues[0]], rtol=1e-6
    )
    assert row.adjusted_for == "bl_mean"
    same = clinical.mood_rows(trial.config, sessions.assign(madrs_pre=20.0))
    assert clinical.clinical_rows(plan_of(trial.config), same, "madrs")[0].p > 0 and "the same in all" in same.estimand


def test_a_moderator_without_a_value_is_named():
    trial = simple_trial.make(
        simple_trial.sequences(6, "ab", "ba"), {"a": 1.0, "b": 1.0}, {"a": 0.1, "b": 0.1}, extra={"w": [np.nan] * 6},
        moderators=["w"],
    )  # fmt: skip
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    (row,) = moderators.moderator_rows(plan, rows, ["w"])
    assert row.remark.startswith("not estimated: moderator 'w' has no value in the usable sessions")


def test_what_cannot_be_told_apart_is_named_with_what_to_change():
    levels, rises = {"a": 1.0, "b": 1.0}, {"a": 0.1, "b": 0.1}
    trial = simple_trial.make(
        [["a"]] * 6 + [["b"]] * 6,
        levels,
        rises,
        design="parallel",
        extra={"z": ["x"] * 6 + ["y"] * 6},
        adjust_for=["z"],
    )
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    said = contrasts.compare(plan, rows, plan.contrasts[0])[0].remark
    assert "z changes together with the conditions" in said and "take it out" in said
    trial = simple_trial.make(
        simple_trial.sequences(8, "ab", "ba"), levels, rises, moderators=["plasma"], leave_out=["seen"],
        extra={"seen": ["yes"] * 8},
    )  # fmt: skip
    arms = trial.sessions["condition"]
    trial = replace(trial, sessions=trial.sessions.assign(plasma=np.where(arms == "a", np.nan, np.arange(16.0))))
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    (row,) = moderators.moderator_rows(plan, rows, ["plasma"])
    assert row.remark.startswith("not estimated: moderator 'plasma' has no value under condition 'a'")
    primary = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    found = {r.analysis: r.remark for r in supplement.supplementary_rows(trial, plan, rows, primary)}
    assert found["without seen"] == "not estimated: every participant is marked in seen, or without an answer"
