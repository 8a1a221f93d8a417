"""Values with known errors: against the mixed model, against a likelihood written out, and under the null."""

import numpy as np
import pytest
from scipy import optimize, stats

from mrsflow.errors import InputError
from mrsflow.models import mixed, two_level


def crossover(n, variances, participant, session, seed=0, effect=0.0):
    """Two sessions of each participant in either order, with errors of these variances."""
    rng = np.random.default_rng(seed)
    people, visit = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    condition = (visit + np.repeat(np.arange(n) % 2, 2)) % 2
    y = participant * rng.normal(size=n)[people] + session * rng.normal(size=2 * n)
    y += np.sqrt(variances) * rng.normal(size=2 * n) + effect * condition
    x = np.column_stack([np.ones(2 * n), condition, visit])
    return x, y, {"participant": people, "session": np.arange(2 * n)}


@pytest.mark.parametrize("session", [0.7, 0.0])  # with 0 the errors are overstated below, and count with a factor
@pytest.mark.parametrize("method", ["kenward-roger", "satterthwaite"])
def test_equal_errors_are_the_mixed_model_of_values_without_errors(session, method):
    x, y, groups = crossover(12, np.full(24, 0.3), 1.0, session, seed=3)
    known = np.full(24, 0.2 if session else 2.0)
    found = two_level.fit(x, y, known, groups).contrast([0, 1, 0], method)
    expected = mixed.fit(x, y, {"participant": groups["participant"]}).contrast([0, 1, 0], method)
    for name in ("estimate", "se", "df", "p"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5)
    assert bool(two_level.fit(x, y, known, groups).singular) == (session == 0)


def test_variances_are_those_of_the_likelihood_written_out():
    rng = np.random.default_rng(1)
    errors = rng.gamma(4, 0.1, 40)
    x, y, groups = crossover(20, errors, 0.8, 0.6, seed=4)
    joined = (groups["participant"][:, np.newaxis] == groups["participant"]).astype(float)

    def deviance(logs):
        v = np.diag(errors) + np.exp(logs[0]) * joined + np.exp(logs[1]) * np.eye(40)
        inverse = np.linalg.inv(v)
        beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        rest = y - x @ beta
        return np.linalg.slogdet(v)[1] + np.linalg.slogdet(x.T @ inverse @ x)[1] + rest @ inverse @ rest

    best = optimize.minimize(deviance, [-0.5, -0.5], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    found = two_level.fit(x, y, errors, groups)
    np.testing.assert_allclose(found.variances, np.exp(best.x), rtol=1e-4)
    assert found.loglik == pytest.approx(-0.5 * (best.fun + 37 * np.log(2 * np.pi)), abs=1e-6)


def test_one_value_each_is_the_meta_analysis_of_known_errors():
    """Without any scatter between people weights are the inverse variances, and their mean has that variance."""
    errors = np.array([0.1, 0.4, 0.9, 0.2])
    y = np.array([1.0, 1.2, 0.7, 1.1])  # scatters less than its errors
    found = two_level.fit(np.ones((4, 1)), y, errors, {"participant": np.arange(4)})
    mean = np.average(y, weights=1 / errors)
    assert found.beta[0] == pytest.approx(mean)
    factor = np.sum((y - mean) ** 2 / errors) / 3
    assert found.contrast([1.0]).se == pytest.approx(np.sqrt(factor / np.sum(1 / errors)))
    assert found.contrast([1.0]).df == pytest.approx(3)


def test_correlated_errors_count_as_a_whole():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(12, 12))
    known, x = root @ root.T / 12 + 0.1 * np.eye(12), np.column_stack([np.ones(12), np.arange(12.0)])
    y = x @ [1.0, 0.2] + np.linalg.cholesky(known) @ rng.normal(size=12) + 2 * rng.normal(size=12)
    found = two_level.fit(x, y, known, {"session": np.arange(12)})
    v = known + found.variances[0] * np.eye(12)
    expected = np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, y))
    np.testing.assert_allclose(found.beta, expected, rtol=1e-8)


def test_one_stage_with_all_blocks_says_the_same():
    """All blocks in one likelihood, each session with a level of its own, and the responses with their errors."""
    rng, n, shape = np.random.default_rng(9), 10, np.array([0.0, 0.0, 0.6, 0.9, 1.0])
    terms, inside = np.column_stack([np.ones(5), shape]), []
    x, response, groups = crossover(n, np.zeros(2 * n), 0.2, 0.15, seed=5, effect=0.1)
    for k in range(2 * n):
        root = 0.02 * rng.normal(size=(5, 7))
        blocks = terms @ [1.3 + 0.1 * rng.normal(), response[k]] + root @ rng.normal(size=7)
        inside.append((blocks, root @ root.T))
    firsts = [np.linalg.inv(terms.T @ np.linalg.solve(c, terms)) for _, c in inside]
    found = [f @ terms.T @ np.linalg.solve(c, y) for f, (y, c) in zip(firsts, inside, strict=True)]
    fit = two_level.fit(x, np.array(found)[:, 1], np.array([f[1, 1] for f in firsts]), groups)
    assert fit.residual_variance == 1  # or the blocks below would need the factor too
    between = fit.variances[0] * (groups["participant"][:, np.newaxis] == groups["participant"])
    between = between + fit.variances[1] * np.eye(2 * n)
    v, all_x = np.kron(between, np.outer(shape, shape)), np.zeros((10 * n, 2 * n + 3))
    for k, (_, c) in enumerate(inside):
        own = slice(5 * k, 5 * k + 5)
        v[own, own] += c
        all_x[own, k] = 1.0
        all_x[own, 2 * n :] = np.outer(shape, x[k])
    y, inverse = np.concatenate([blocks for blocks, _ in inside]), np.linalg.inv(v)
    covariance = np.linalg.inv(all_x.T @ inverse @ all_x)
    beta = covariance @ all_x.T @ inverse @ y
    np.testing.assert_allclose(fit.beta, beta[2 * n :], rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, covariance[2 * n :, 2 * n :], rtol=1e-6)


def test_the_null_is_rejected_as_often_as_said():
    p = []
    for seed in range(300):
        errors = np.random.default_rng(1000 + seed).gamma(4, 0.25, 40)
        x, y, groups = crossover(20, errors, 1.0, 0.5, seed)
        p.append(float(two_level.fit(x, y, errors, groups).contrast([0, 1, 0]).p))
    low, high = stats.binom.ppf([0.005, 0.995], 300, 0.05) / 300
    assert low <= np.mean(np.array(p) < 0.05) <= high


@pytest.mark.parametrize(
    ("x", "known", "said"),
    [
        (np.ones((4, 1)), [1.0, 1.0, 0.0, 1.0], "no error of its own"),
        (np.ones((4, 1)), [1.0, 1.0, np.nan, 1.0], "finite values and errors"),
        (np.ones((4, 2)), np.ones(4), "column 'x1' is a combination"),
        (np.eye(4), np.ones(4), "4 rows cannot tell 4 coefficients"),
    ],
)
def test_what_no_model_can_be_fitted_to_is_refused(x, known, said):
    with pytest.raises(InputError, match=said):
        two_level.fit(x, np.arange(4.0), known, {"session": np.arange(4)})
