"""Rows that the configuration asks for: without marked participants, adjusted for a guess, and mediation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simple_trial
import statsmodels.api as sm
from scipy import stats

from mrsflow.models import estimates
from mrsflow.models.estimates import Estimate
from mrsflow.statistics import clinical, contrasts, mediation, outcomes, supplement
from mrsflow.statistics.plan import plan_of
from mrsflow.study import covariates

ARMS = {"a": 1.0, "b": 1.0}


def trial_of(design="crossover", n=20, seed=5, **settings):
    rng = np.random.default_rng(seed)
    arms = simple_trial.sequences(n, ["a", "b"], ["b", "a"]) if design == "crossover" else [["a"], ["b"]] * (n // 2)
    marks = ["yes" if i in (3, 8) else "n/a" if i == 5 else "No" for i in range(n)]
    extra = {
        "redosed": [None if m == "n/a" else m for m in marks],
        "guess": [("a", "b", None)[i % 3] for i in range(n)],
    }
    trial = simple_trial.make(arms, ARMS, {"a": 0.06, "b": 0.02}, design=design, dose=np.nan, seed=seed, extra=extra,
                              sd=(0.08, 0.03, 0.04, 0.04), mood_scale="madrs", **settings)  # fmt: skip
    sessions = trial.sessions
    sessions["madrs_pre"] = 30 + rng.normal(0, 3, len(sessions))
    person = sessions["participant"].map({p: rng.normal(0, 4) for p in sessions["participant"].unique()})
    sessions["madrs_day1"] = sessions["madrs_pre"] - 9 + person + rng.normal(0, 3, len(sessions))
    return trial


def rows_of(trial):
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    primary = contrasts.compare(plan, rows, plan.contrasts[0], all_analyses=False)[0]
    made = supplement.supplementary_rows(trial, plan, rows, primary)
    mood = clinical.mood_rows(trial.config, trial.sessions)
    made += supplement.mood_rows(plan, trial.config, trial.sessions, mood, "mood")
    return {row.analysis: row for row in made}


@pytest.mark.parametrize("design", ["crossover", "parallel"])
def test_marked_participants_are_left_out_as_if_they_had_not_been_there(design):
    row = rows_of(trial_of(design, leave_out=["redosed"]))["without redosed"]
    trial = trial_of(design)
    kept = ~trial.blocks["participant"].isin(["003", "005", "008"])
    trial = replace(trial, blocks=trial.blocks[kept])
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    known = contrasts.primary_row(plan, rows, plan.contrasts[0])
    for name in ("estimate", "se", "df", "p", "n_participants"):
        assert getattr(row, name) == pytest.approx(getattr(known, name), rel=1e-7), name
    assert row.n_participants == 17
    assert "2 participant(s) marked in redosed left out, and 1 without an answer" in row.remark


def test_clinical_outcome_without_marked_participants_by_least_squares():
    trial = trial_of("parallel", leave_out=["redosed"])
    row = rows_of(trial)["clinical outcome, without redosed"]
    used = trial.sessions[~trial.sessions["participant"].isin(["003", "005", "008"])]
    x = np.column_stack([used["condition"] == "b", np.ones(len(used)), used["madrs_pre"]]).astype(float)
    known = sm.OLS((used["madrs_day1"] - used["madrs_pre"]).to_numpy(), x).fit()
    assert row.estimate == pytest.approx(known.params[0], rel=1e-9)
    assert row.n_participants == 17 and row.outcome == "mood"


def test_adjusted_for_a_guess_in_the_sessions_that_have_one():
    trial = trial_of("parallel", expectancy=["guess"])
    trial = replace(trial, sessions=covariates.typed(trial.config, trial.sessions))
    row = rows_of(trial)["with guess"]
    means = trial.blocks.pivot_table("Glx/tNAA", "participant", "phase").join(
        trial.sessions.set_index("participant")[["condition", "guess"]]
    )
    means = means[means["guess"].notna()]
    columns = [means["condition"] == "b", means["guess"] == "b", means["baseline"], np.ones(len(means))]
    known = sm.OLS(means["infusion"].to_numpy(), np.column_stack(columns).astype(float)).fit()
    assert row.estimate == pytest.approx(known.params[0], rel=1e-9)
    assert row.n_participants == len(means) == 14
    assert "guess" in row.adjusted_for and "be an effect of it" in row.remark
    assert "6 session(s) without a value left out" in row.remark


@pytest.mark.parametrize(
    ("settings", "values", "said"),
    [
        ({"leave_out": ["redosed"]}, ["yes", "maybe"], "redosed is 'maybe'; yes or no is needed"),
        ({"leave_out": ["redosed"]}, ["no", "0"], "marks nobody"),
        ({"leave_out": ["unblinded"]}, ["no", "yes"], "no column 'unblinded'"),
        ({"expectancy": ["guess"]}, ["no", "yes"], "no column 'guess'"),
        ({"leave_out": ["block"]}, ["no", "yes"], "rename the column"),
        ({"leave_out": ["redosed"]}, ["True", None], None),
    ],
)
def test_columns_are_looked_at_before_any_job(settings, values, said):
    config = simple_trial.configuration("parallel", ["a", "b"], **settings)
    sessions = pd.DataFrame(
        {"participant": ["1", "2"], "session": "1", "visit": 1, "arm": ["a", "b"], "redosed": values}
    )
    sessions = sessions.assign(line=["sessions.tsv, line 2", "sessions.tsv, line 3"], key=["k1", "k2"], block="x")
    found = covariates.faults(config, sessions, pd.DataFrame({"participant": ["1", "2"]}))
    assert [said in text for text in found] == ([True] if said else [])


def test_interval_of_a_product_by_simulation():
    a, b, n, rng = Estimate(0.5, 0.2, 20), Estimate(-0.3, 0.2, 25), 2_000_000, np.random.default_rng(1)
    made = (a.value + a.se * rng.standard_t(a.df, n)) * (b.value + b.se * rng.standard_t(b.df, n))
    found = estimates.product(a, b, 0.9)
    known = np.quantile(made, [0.05, 0.95])
    density = [np.mean(np.abs(made - k) < 0.005) / 0.01 for k in known]
    assert abs(found.low - known[0]) < 5 * np.sqrt(0.05 * 0.95 / n) / density[0] + 1e-4
    assert abs(found.high - known[1]) < 5 * np.sqrt(0.05 * 0.95 / n) / density[1] + 1e-4
    share = np.mean(made > 0)
    assert found.p == pytest.approx(2 * min(share, 1 - share), abs=10 * np.sqrt(0.1 / n))
    certain = estimates.product(Estimate(2.0, 1e-9, 30), b, 0.95)
    np.testing.assert_allclose(
        [certain.low, certain.high], 2 * np.array(stats.t.interval(0.95, 25, -0.3, 0.2)), rtol=1e-4
    )
    assert certain.p == pytest.approx(2 * stats.t.sf(1.5, 25), rel=1e-9)


def test_mediation_in_a_crossover_is_that_of_the_differences():
    """Complete pairs: least squares of the differences, whose total effect is the direct one and the indirect one."""
    trial = trial_of(n=24)
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    trial.sessions["madrs_day1"] -= 80 * rows.sessions["change"].to_numpy()
    mood = clinical.mood_rows(trial.config, trial.sessions)
    row = mediation.mediation_rows(plan, rows, mood, "mood")[0]
    table = mediation.changes_of(plan, rows, mood)
    wide = table.pivot(index="participant", columns="condition")

    def gap(name):
        return (wide[name]["b"] - wide[name]["a"]).to_numpy(float)

    common = [np.ones(24), np.where(wide["visit"]["a"] == 1, 0.5, -0.5), gap("bl")]
    first = sm.OLS(gap("glx"), np.column_stack(common)).fit()
    second = sm.OLS(gap("outcome"), np.column_stack([*common, gap("glx")])).fit()
    total = sm.OLS(gap("outcome"), np.column_stack(common)).fit()
    assert row.estimate == pytest.approx(first.params[0] * second.params[3], rel=1e-6)
    assert row.estimate + second.params[0] == pytest.approx(total.params[0], rel=1e-6)
    known = estimates.product(
        Estimate(first.params[0], first.bse[0], 21), Estimate(second.params[3], second.bse[3], 20), 0.95
    )
    np.testing.assert_allclose([row.ci_low, row.ci_high, row.p], [known.low, known.high, known.p], rtol=1e-4)
    assert f"direct effect {second.params[0]:.3g} points" in row.remark and "assumes that nothing" in row.remark


def test_mediation_between_groups_adds_up():
    trial = trial_of("parallel")
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    mood = clinical.mood_rows(trial.config, trial.sessions)
    row = mediation.mediation_rows(plan, rows, mood, "mood")[0]
    table = mediation.changes_of(plan, rows, mood)
    x = np.column_stack([table["condition"] == "b", np.ones(len(table)), table["bl"]]).astype(float)
    total = sm.OLS(table["outcome"].to_numpy(), x).fit().params[0]
    direct, slope = sm.OLS(table["outcome"].to_numpy(), np.column_stack([x, table["glx"]])).fit().params[[0, 3]]
    assert row.estimate == pytest.approx(total - direct, rel=1e-8)
    assert f"{slope:.3g} points of mood per percent" in row.remark
