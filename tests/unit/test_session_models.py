"""Classical analyses against closed forms, published examples and other implementations."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.statistics import outcomes


def crossover_table(seed, n=14, k=2):
    rng = np.random.default_rng(seed)
    conditions = ("a", "b", "c")[:k]
    rows = [
        {"participant": f"p{i:02d}", "visit": j + 1, "condition": conditions[(i + j) % k], "bl": rng.normal(1, 0.1)}
        for i in range(n)
        for j in range(k)
    ]
    table = pd.DataFrame(rows)
    person = table["participant"].map({p: rng.normal(0, 1) for p in table["participant"].unique()})
    noise = rng.normal(0, 0.3, len(table))
    table["y"] = person + 0.4 * (table["condition"] == "b") + 0.1 * table["visit"] + 2 * table["bl"] + noise
    return table, conditions


@pytest.mark.parametrize("k", [2, 3])
def test_crossover_is_least_squares_with_participant_dummies(k):
    table, conditions = crossover_table(0, k=k)
    table = table[:-1]  # the last participant lacks a condition and is left out
    fit = session_models.crossover(table, conditions, {"b": 1.0, "a": -1.0}, "y", ["bl"])
    used = table[table["participant"] != table["participant"].max()] if k > 1 else table
    dummies = pd.get_dummies(used[["participant", "condition", "visit"]].astype(str), drop_first=True).astype(float)
    known = sm.OLS(used["y"], sm.add_constant(dummies.assign(bl=used["bl"]))).fit()
    np.testing.assert_allclose(
        [fit.test.estimate, fit.test.se, fit.test.df, fit.test.p],
        [known.params["condition_b"], known.bse["condition_b"], known.df_resid, known.pvalues["condition_b"]],
        rtol=1e-8,
    )
    assert fit.n_participants == used["participant"].nunique()


WEIGHTS = {"b": 1.0, "a": -1.0}


@pytest.mark.parametrize("equal", [True, False])
def test_parallel_without_baseline_is_the_t_test_of_student_or_welch(equal):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"participant": range(20), "condition": ["a", "b"] * 10, "y": rng.normal(size=20), "bl": 0.0})
    table = table[:15].assign(y=lambda t: t["y"] * np.where(t["condition"] == "a", 3, 1))
    variance = "equal" if equal else "by condition"
    fit = session_models.parallel(table, ("a", "b"), WEIGHTS, "y", variance=variance)
    known = stats.ttest_ind(table["y"][1::2], table["y"][::2], equal_var=equal)
    found = [fit.test.t, fit.test.df, fit.test.p]
    np.testing.assert_allclose(found, [known.statistic, known.df, known.pvalue], rtol=1e-10)


def test_variances_of_groups_with_a_covariate_by_loops_and_by_simulation():
    """Expected squares of residuals written out element by element; over data sets the variances are unbiased."""
    rng = np.random.default_rng(11)
    groups = np.array(["a"] * 5 + ["b"] * 9)
    x = np.column_stack([groups == "a", groups == "b", rng.normal(size=14)]).astype(float)
    projection = np.eye(14) - x @ np.linalg.inv(x.T @ x) @ x.T
    expected = np.zeros((2, 2))
    for i, j in np.ndindex(14, 14):
        expected["ab".index(groups[i]), "ab".index(groups[j])] += projection[i, j] ** 2
    found = []
    for _ in range(800):
        y = x @ [1, 2, 3] + rng.normal(size=14) * np.where(groups == "a", 2, 1)
        squares = (projection @ y) ** 2
        known = np.linalg.solve(expected, [squares[groups == g].sum() for g in "ab"])
        variances = session_models.group_variances(x, y, groups)
        own = np.array([variances[g][0] for g in "ab"])
        if (known > 0).all():
            np.testing.assert_allclose(own, known, rtol=1e-8)
        found.append(known)
    np.testing.assert_allclose(np.mean(found, axis=0), [4, 1], atol=4 * np.std(found, axis=0).max() / 800**0.5)
    assert variances["a"][1] == pytest.approx(sum(projection[i, i] for i in range(5)))


def test_contrast_with_unequal_variances_by_loops():
    rng = np.random.default_rng(12)
    groups = np.array(["a"] * 6 + ["b"] * 10 + ["c"] * 4)
    x = np.column_stack([groups == g for g in "abc"] + [rng.normal(size=20)]).astype(float)
    y = rng.normal(size=20) * np.array([2 if g == "b" else 1 for g in groups])
    weights = np.array([-1.0, 0.5, 0.5, 0.0])
    test = session_models.unequal_variances(x, y, groups, weights)
    pull = weights @ np.linalg.inv(x.T @ x) @ x.T
    variances = session_models.group_variances(x, y, groups)
    total, squares = 0.0, 0.0
    for g in "abc":
        part = sum(pull[i] ** 2 * variances[g][0] for i in range(20) if groups[i] == g)
        total, squares = total + part, squares + part**2 / variances[g][1]
    np.testing.assert_allclose([test.estimate, test.se, test.df], [pull @ y, total**0.5, total**2 / squares])


def test_hc3_by_its_formula():
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(30), rng.normal(size=30)])
    y = x @ [1, 2] + rng.normal(size=30) * (1 + x[:, 1] ** 2)
    inverse = np.linalg.inv(x.T @ x)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residual = y - x @ inverse @ x.T @ y
    meat = x.T @ ((residual / (1 - leverage)) ** 2 * x.T).T
    np.testing.assert_allclose(
        session_models.least_squares(x, y, [0, 1], robust=True).se,
        np.sqrt((inverse @ meat @ inverse)[1, 1]),
        rtol=1e-10,
    )


def test_too_little_data_is_said():
    with pytest.raises(InputError, match="more participants"):
        session_models.least_squares(np.eye(2), np.ones(2), [1, 0])
    with pytest.raises(InputError, match="depend on one another"):
        session_models.least_squares(np.ones((5, 2)), np.arange(5.0), [1, 0])


@pytest.mark.parametrize(("b", "bounded"), [(1.0, True), (0.35, False)])
def test_fieller_is_the_set_of_ratios_that_are_not_rejected(b, bounded):
    a, covariance, df = 0.4, np.array([[0.02, 0.012], [0.012, 0.04]]), 17
    found = session_models.fieller(a, b, covariance, df)
    ratios = np.linspace(-3, 4, 700_001)
    variance = covariance[0, 0] - 2 * ratios * covariance[0, 1] + ratios**2 * covariance[1, 1]
    kept = 1 - ratios[(a - ratios * b) ** 2 <= stats.t.ppf(0.975, df) ** 2 * variance]
    assert found.bounded is bounded
    assert found.value == pytest.approx(1 - a / b)
    if bounded:
        np.testing.assert_allclose([found.low, found.high], [kept.min(), kept.max()], atol=2e-5)
    else:
        assert np.isnan([found.low, found.high]).all()


def test_effect_sizes_by_their_formulas():
    rng = np.random.default_rng(3)
    b = rng.normal(10, 2, 15)
    a = b + rng.normal(1, 1, 15)
    spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    found = session_models.effect_sizes(session_models.one_sample(a - b), 15, spread, 14)
    d = (a - b).mean() / (a - b).std(ddof=1)
    assert found.d_z == pytest.approx(d)
    g = (1 - 3 / (4 * 14 - 1)) * (a - b).mean() / spread
    assert found.g_av == pytest.approx(g)
    t = d * np.sqrt(15)
    assert stats.nct.cdf(t, 14, found.d_z_low * np.sqrt(15)) == pytest.approx(0.975, abs=1e-8)
    assert stats.nct.cdf(t, 14, found.d_z_high * np.sqrt(15)) == pytest.approx(0.025, abs=1e-8)
    assert found.g_ci_low < g < found.g_ci_high


def test_group_size_by_its_formula():
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"participant": range(24), "condition": ["a", "b"] * 12, "y": rng.normal(size=24)})
    test = session_models.parallel(table, ("a", "b"), WEIGHTS, "y", variance="equal").test
    a, b = table["y"][::2], table["y"][1::2]
    found = session_models.effect_sizes(test, 0, np.sqrt((a.var() + b.var()) / 2), 22)
    assert found.g_av == pytest.approx((1 - 3 / (4 * 22 - 1)) * stats.ttest_ind(b, a).statistic * np.sqrt(2 / 12))
    assert np.isnan(found.d_z)


def test_interval_of_d_z_covers_the_truth():
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        found = session_models.effect_sizes(session_models.one_sample(rng.normal(0.5, 1, 12)), 12, 1.0, 11)
        inside += found.d_z_low <= 0.5 <= found.d_z_high
    assert 0.92 <= inside / 400 <= 0.98


def test_icc_of_the_example_of_shrout_and_fleiss():
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    found = session_models.reliability(table)
    # doi:10.1037/0033-2909.86.2.420: ICC(2,1) = .29; interval as R's psych gives it
    assert found["icc"] == pytest.approx(0.29, abs=0.005)
    assert (found["icc_low"], found["icc_high"]) == (pytest.approx(0.019, abs=0.002), pytest.approx(0.761, abs=0.002))


def test_reliability_of_known_variances():
    rng = np.random.default_rng(6)
    table = 10 + rng.normal(0, 1, (4000, 1)) + rng.normal(0, 0.5, (4000, 2))
    found = session_models.reliability(table)
    assert found["icc"] == pytest.approx(0.8, abs=0.02)
    assert found["cv_within_percent"] == pytest.approx(5, rel=0.03)
    assert found["mdc"] == pytest.approx(1.96 * np.sqrt(2) * 0.5, rel=0.03)


def test_reliability_of_three_participants_by_hand():
    """Means 9, 10 and 11, visits 0.6 apart: their variance is 0.6²/2, that of a difference 0.6²."""
    found = session_models.reliability(np.array([[8.7, 9.3], [10.3, 9.7], [10.7, 11.3]]))
    assert found["cv_between_percent"] == pytest.approx(10)
    assert found["cv_within_percent"] == pytest.approx(6 / np.sqrt(2))
    assert found["mdc"] == pytest.approx(stats.norm.ppf(0.975) * 0.6, rel=1e-6)
    assert found["mdc_percent"] == pytest.approx(stats.norm.ppf(0.975) * 6, rel=1e-6)


def test_interval_of_the_icc_holds_it_or_is_empty():
    rng = np.random.default_rng(0)
    found = [session_models.reliability(10 + rng.normal(0, 1, (2, 1)) + rng.normal(0, 1, (2, 2))) for _ in range(300)]
    empty = [np.isnan(one["icc_low"]) for one in found]
    assert all(gap or one["icc_low"] <= one["icc"] <= one["icc_high"] for gap, one in zip(empty, found, strict=True))
    assert all(one["icc"] < 0 for gap, one in zip(empty, found, strict=True) if gap)
    assert 0 < sum(empty) < 60


def test_huber_location_solves_its_equation():
    rng = np.random.default_rng(7)
    values = rng.normal(5, 1, (40, 6))
    values[3, 2], values[8, 0], values[9, 1] = 50, -20, np.nan
    centre = outcomes.huber_location(values)
    scale = 1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values, axis=1)[:, None]))
    psi = np.clip((values - centre[:, None]) / scale, -outcomes.HUBER, outcomes.HUBER)
    np.testing.assert_allclose(np.nansum(psi, axis=1), 0, atol=1e-8)
    assert abs(centre[3] - 5) < 1.5
