"""Missing sessions imputed: closed forms of the imputation, Rubin's rules by hand, bounds of the tipping point."""

from dataclasses import replace

import numpy as np
import pytest
import simple_trial
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.models import estimates, imputation
from mrsflow.statistics import clinical_course, missing_sessions, outcomes
from mrsflow.statistics.plan import plan_of

ARMS = {"a": 1.0, "b": 1.0}


def trial_of(design="parallel", every=5, n=30, conditions=("a", "b"), **settings):
    arms = simple_trial.sequences(n, ["a", "b"], ["b", "a"]) if design == "crossover" else [["a"], ["b"]] * (n // 2)
    trial = simple_trial.make(arms, ARMS, {"a": 0.06, "b": 0.0}, design=design, dose=np.nan,
                              sd=(0.08, 0.03, 0.04, 0.03), **settings)  # fmt: skip
    order = trial.sessions[trial.sessions["condition"].isin(conditions)]["key"].to_numpy()
    trial = replace(trial, blocks=trial.blocks[~trial.blocks["key"].isin(order[::every] if every else [])])
    plan = plan_of(trial.config)
    return plan, trial.sessions, outcomes.prepare(trial, "Glx/tNAA")


def rows_of(plan, sessions, rows, draws=40):
    return {row.analysis: row for row in missing_sessions.imputation_rows(plan, sessions, rows, {"draws": draws})}


def test_imputed_values_have_the_mean_and_spread_of_the_regression_on_what_was_seen():
    """One gap, many draws: Student's t about the regression of the second value on the first (Jeffreys' prior)."""
    rng = np.random.default_rng(1)
    n = 12
    values = rng.multivariate_normal([0.0, 1.0], [[1.0, 0.7], [0.7, 1.0]], n)
    values[0, 1] = np.nan
    x = np.ones((n, 1))
    x_missing = np.ones((n, 2, 1))
    made = np.array([d[0, 1] for d in imputation.impute(values, x, x_missing, 1500, np.random.default_rng(2))])
    seen = np.column_stack([np.ones(n - 1), values[1:, 0]])
    beta, rss = np.linalg.lstsq(seen, values[1:, 1], rcond=None)[:2]
    at = np.array([1.0, values[0, 0]])
    df = n - 1 - 2 + 1  # Jeffreys' prior of a covariance of two values leaves one more than least squares
    scale = np.sqrt(rss[0] / df * (1 + at @ np.linalg.inv(seen.T @ seen) @ at))
    test = stats.kstest((made - at @ beta) / scale, stats.t(df).cdf)
    assert test.pvalue > 0.001


def test_jump_to_reference_leaves_the_part_of_the_effect_that_was_seen():
    """One value each: the expected estimate is the difference of the means times the part that was measured."""
    rng = np.random.default_rng(3)
    treated = np.repeat([0.0, 1.0], 40)
    values = (rng.normal(0, 1, 80) + 5 * treated)[:, None]
    values[70:] = np.nan
    x = np.column_stack([1 - treated, treated])
    x_missing = np.tile(np.array([1.0, 0.0]), (80, 1, 1))
    made = [
        d[40:].mean() - d[:40].mean() for d in imputation.impute(values, x, x_missing, 400, np.random.default_rng(4))
    ]
    known = 0.75 * (np.nanmean(values[40:]) - values[:40].mean())
    assert np.mean(made) == pytest.approx(known, abs=5 * np.std(made) / np.sqrt(400))


def test_variances_are_drawn_from_their_posterior():
    """A diagonal element of an inverse Wishart of few degrees of freedom is inverse gamma."""
    rng, df = np.random.default_rng(5), 6
    scatter = np.array([[2.0, 0.9, 0.3], [0.9, 1.0, -0.2], [0.3, -0.2, 3.0]])
    drawn = np.array([np.diagonal(imputation._inverse_wishart(scatter, df, rng)) for _ in range(3000)])
    for own, scale in zip(drawn.T, np.diagonal(scatter), strict=True):
        assert stats.kstest(own, stats.invgamma((df - 2) / 2, scale=scale / 2).cdf).pvalue > 1e-3


def test_means_that_are_imputed_vary_as_the_mean_of_new_people_does():
    """Eight new values given eight seen: Student's t, with what is not known of mean and variance in it."""
    seen = np.random.default_rng(8).normal(3.0, 2.0, 8)
    values = np.concatenate([seen, np.full(8, np.nan)])[:, None]
    drawn = imputation.impute(values, np.ones((16, 1)), np.ones((16, 1, 1)), 300, np.random.default_rng(9))
    t = [(filled[8:].mean() - seen.mean()) / (seen.std(ddof=1) / 2) for filled in drawn]
    assert stats.kstest(t, stats.t(7).cdf).pvalue > 1e-3


def test_values_that_follow_from_others_are_not_imputed():
    values = np.random.default_rng(1).normal(0, 1, (20, 1)) * [1.0, 1.0, 1.0] + [[0.0, 0.0, 0.0]]
    values[:, 2] += np.random.default_rng(2).normal(0, 1, 20)
    values[:3, 2] = np.nan
    x = np.ones((20, 1))
    with pytest.raises(InputError, match="depend on one another"):
        list(imputation.impute(values, x, np.ones((20, 3, 1)), 5, np.random.default_rng(3)))


def test_a_delta_moves_the_estimate_by_its_part_of_the_treated():
    """Means of groups move by delta times the part of the treated that was imputed."""
    plan, sessions, rows = trial_of(estimand="response")
    made = missing_sessions.imputation_rows(plan, sessions, rows, {"draws": 10, "delta": -3.0})
    found = {row.analysis: row for row in made}
    treated = sessions[sessions["condition"] == "b"]
    gone = 1 - treated["key"].isin("sub-" + rows.sessions["participant"] + "_ses-1").mean()
    moved = found[missing_sessions.DELTA].percent_of_baseline - found[missing_sessions.AT_RANDOM].percent_of_baseline
    assert 0 < gone < 1 and moved == pytest.approx(-3.0 * gone)
    assert "moved by -3 % of the mean baseline" in found[missing_sessions.DELTA].remark


SCALE = {"scale": "q", "baseline": "pre", "followups": ["d1", "d7"], "covariance": "unstructured", "better": "lower",
         "response": None, "remission": None}  # fmt: skip


def test_follow_ups_imputed_at_random_are_those_of_repeated_measures_and_of_the_reference_in_between():
    plan, sessions, _ = trial_of(n=60)
    rng, n = np.random.default_rng(5), len(sessions)
    person, treated = rng.normal(0, 3, n), (sessions["condition"] == "b").to_numpy()
    pre = 28 + person + rng.normal(0, 2, n)
    d1, d7 = (pre - drop - k * 6 * treated + rng.normal(0, 3, n) for k, drop in ((0.8, 6), (1, 8)))
    d7[rng.random(n) < 0.3], d1[:3], d7[:3] = np.nan, np.nan, np.nan
    sessions = sessions.assign(q_pre=pre, q_d1=d1, q_d7=d7)
    made = missing_sessions.followup_rows(plan, sessions, [SCALE], {"draws": 100})
    found = {(row.analysis, row.contrast): row for row in made}
    repeated = {row.contrast: row for row in clinical_course.clinical_course_rows(plan, sessions, [SCALE])}
    for time in ("d1", "d7"):
        name = f"{plan.contrasts[0].name} at {time}"
        random, reference = (
            found[f"clinical course, {a}", name] for a in ("imputed at random", "imputed, jump to reference")
        )
        assert abs(random.estimate - repeated[name].estimate) < 0.3 * repeated[name].se
        assert random.se == pytest.approx(repeated[name].se, rel=0.15)
        assert abs(reference.estimate) < abs(random.estimate) and random.n_participants == n
    gone = int(np.isnan(d1).sum() + np.isnan(d7).sum())
    assert f"{gone} of {2 * n} scores imputed 100 times" in random.remark
    (row,) = {
        row.remark
        for row in missing_sessions.followup_rows(plan, sessions.dropna(subset=["q_d1", "q_d7"]), [SCALE], {"draws": 9})
    }
    assert row == "not estimated: no score is missing, so that nothing is imputed"


def test_pooling_by_hand():
    values, variances, df = [1.0, 1.4, 0.9, 1.1], [0.20, 0.25, 0.22, 0.21], 30.0
    found = estimates.pooled(values, variances, df)
    between, inside = np.var(values, ddof=1), np.mean(variances)
    total = inside + 1.25 * between
    part = 1.25 * between / total
    old = 3 / part**2
    seen = (df + 1) / (df + 3) * df * (1 - part)
    np.testing.assert_allclose(
        [found.estimate, found.se, found.df], [1.1, total**0.5, old * seen / (old + seen)], rtol=1e-12
    )
    with pytest.raises(InputError, match="two imputed data sets"):
        estimates.pooled([1.0], [0.1], 10)


@pytest.mark.parametrize("design", ["parallel", "crossover"])
def test_rows_are_reproducible_and_ordered(design):
    plan, sessions, rows = trial_of(design)
    one, two = rows_of(plan, sessions, rows), rows_of(plan, sessions, rows)
    assert list(one) == [missing_sessions.AT_RANDOM, missing_sessions.REFERENCE, missing_sessions.TIPPING]
    for name in one:
        np.testing.assert_array_equal([one[name].estimate, one[name].p], [two[name].estimate, two[name].p])
    random, reference = one[missing_sessions.AT_RANDOM], one[missing_sessions.REFERENCE]
    assert abs(reference.estimate) < abs(random.estimate)
    assert random.n_sessions == len(sessions) and random.seed == plan.seed
    count = -(-len(sessions) // 5)
    assert f"{count} of {len(sessions)} sessions imputed 40 times" in random.remark


@pytest.mark.parametrize("design", ["parallel", "crossover"])
def test_p_crosses_its_limit_at_the_tipping_point(design):
    plan, sessions, rows = trial_of(design)
    row = rows_of(plan, sessions, rows)[missing_sessions.TIPPING]
    grid = missing_sessions.grid_of(plan, sessions, rows, plan.contrasts[0])
    x_missing = np.repeat(grid.x[:, None], grid.values.shape[1], 1)
    draws = list(imputation.impute(grid.values, grid.x, x_missing, 40, np.random.default_rng(plan.seed)))
    p = [
        missing_sessions._pooled(plan, grid, rows, plan.contrasts[0], draws, k * row.estimate)[0].p
        for k in (0, 0.99, 1.01)
    ]
    assert p[0] < 0.05 and p[1] < 0.05 < p[2]
    assert row.estimate > 0 and f"{row.percent_of_baseline:.3g} % of the mean baseline above" in row.remark


@pytest.mark.parametrize(("design", "said"), [("crossover", "other sessions"), ("parallel", "participant is left out")])
def test_what_is_done_is_said_of_each_design(design, said):
    for imputed in (None, {"draws": 50}):
        config = simple_trial.configuration(design, ["a", "b"], imputation=imputed)
        text = " ".join(missing_sessions.in_words(config))
        assert said in text and ("50 times" in text) == bool(imputed)


def test_what_cannot_be_imputed_is_said():
    plan, sessions, rows = trial_of(every=0)
    for row in rows_of(plan, sessions, rows).values():
        assert row.remark == "not estimated: no session is missing, so that nothing is imputed"
    plan, sessions, rows = trial_of(conditions=("a",), every=8)
    row = rows_of(plan, sessions, rows)[missing_sessions.TIPPING]
    assert "every missing session is of the reference" in row.remark
    plan, sessions, rows = trial_of("crossover", conditions=("a",))
    gone = sessions[sessions["participant"] != "001"].reset_index(drop=True)
    assert missing_sessions.grid_of(plan, gone, rows, plan.contrasts[0]).treated.shape == (29, 2)
    left = sessions.drop(sessions.index[sessions["key"] == "sub-001_ses-2"]).reset_index(drop=True)
    filled = missing_sessions.grid_of(plan, left, rows, plan.contrasts[0]).table.set_index(["participant", "visit"])
    assert filled.loc[("001", 2), "condition"] == "a"
    assert missing_sessions.imputation_rows(plan, sessions, rows, None) == []
