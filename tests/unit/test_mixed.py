"""The mixed model against closed forms and against a second implementation that forms every matrix."""

import numpy as np
import pytest
from scipy import optimize, stats

from mrsflow.errors import InputError
from mrsflow.models import mixed, reml


def trial(seed, n=12, blocks=6, lost=0.0, session_sd=0.03):
    """A crossover trial of known make: columns, outcome, groups."""
    rng = np.random.default_rng(seed)
    participant, session, block = (a.ravel() for a in np.indices((n, 2, blocks)))
    condition = (session + participant) % 2
    y = 1.35 + 0.08 * rng.standard_normal(n)[participant] + 0.04 * rng.standard_normal(participant.size)
    y += session_sd * rng.standard_normal((n, 2))[participant, session] - 0.02 * condition + 0.01 * block
    x = np.column_stack([np.ones_like(y), condition, session, block, rng.standard_normal(n)[participant]])
    keep = rng.random(y.size) >= lost
    groups = {"participant": participant[keep], "participant:session": (2 * participant + session)[keep]}
    return x[keep], y[keep], groups


def whole(x, y, groups, variances):
    """REML log-likelihood, estimates and Kenward-Roger from matrices of the whole data (slow, plain)."""
    g = [(np.asarray(c)[:, None] == np.asarray(c)[None]).astype(float) for c in groups.values()]
    g.append(np.eye(len(y)))
    v = sum(a * b for a, b in zip(variances, g, strict=True))
    vi = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ vi @ x)
    beta = phi @ x.T @ vi @ y
    r = y - x @ beta
    n, p = x.shape
    loglik = -0.5 * (np.linalg.slogdet(v)[1] - np.linalg.slogdet(phi)[1] + r @ vi @ r + (n - p) * np.log(2 * np.pi))
    k = len(g)
    ps = [-x.T @ vi @ a @ vi @ x for a in g]
    qs = [[x.T @ vi @ a @ vi @ b @ vi @ x for b in g] for a in g]
    info = np.array(
        [
            [
                np.trace(vi @ g[i] @ vi @ g[j]) - 2 * np.trace(phi @ qs[i][j]) + np.trace(phi @ ps[i] @ phi @ ps[j])
                for j in range(k)
            ]
            for i in range(k)
        ]
    )
    w = 2 * np.linalg.inv(info)
    u = sum(w[i, j] * (qs[i][j] - ps[i] @ phi @ ps[j]) for i in range(k) for j in range(k))
    adjusted = phi + 2 * phi @ u @ phi

    def df(c):
        theta = np.outer(c, c) / (c @ phi @ c)
        traces = [np.trace(theta @ phi @ m @ phi) for m in ps]
        return 2 / sum(w[i, j] * traces[i] * traces[j] for i in range(k) for j in range(k))

    return loglik, beta, phi, adjusted, df


@pytest.mark.parametrize(("seed", "lost"), [(0, 0.0), (1, 0.15), (2, 0.4)])
def test_likelihood_and_kenward_roger_equal_the_plain_formulas(seed, lost):
    x, y, groups = trial(seed, lost=lost)
    fit = mixed.fit(x, y, groups)
    loglik, beta, phi, adjusted, df = whole(x, y, groups, [*fit.variances, fit.residual_variance])
    np.testing.assert_allclose(fit.loglik, loglik, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(fit.covariance, phi, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(fit.covariance_kr, adjusted, rtol=1e-8, atol=1e-14)
    for c in np.eye(x.shape[1]):
        np.testing.assert_allclose(fit.contrast(c).df, df(c), rtol=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_variances_are_more_likely(seed):
    x, y, groups = trial(seed, n=8, blocks=4, lost=0.2, session_sd=0.03 * (seed % 2))
    fit = mixed.fit(x, y, groups)

    def deviance(logs):
        return -whole(x, y, groups, np.exp(np.clip(logs, -40, 5)))[0]

    best = min(
        optimize.minimize(deviance, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-11}).fun
        for start in ([-5, -7, -6], [-6, -12, -6], [-12, -5, -6])
    )
    assert fit.loglik >= -best - 1e-9
    assert fit.converged


@pytest.mark.parametrize(("seed", "lost"), [(3, 0.0), (4, 0.2), (5, 0.4)])
def test_satterthwaite_equals_the_plain_formulas(seed, lost):
    x, y, groups = trial(seed, lost=lost)
    fit = mixed.fit(x, y, groups)
    g = [(np.asarray(c)[:, None] == np.asarray(c)[None]).astype(float) for c in groups.values()] + [np.eye(len(y))]
    vi = np.linalg.inv(sum(v * a for v, a in zip([*fit.variances, fit.residual_variance], g, strict=True)))
    phi = np.linalg.inv(x.T @ vi @ x)
    p = vi - vi @ x @ phi @ x.T @ vi
    information = np.array([[y @ p @ a @ p @ b @ p @ y - np.trace(p @ a @ p @ b) / 2 for b in g] for a in g])
    for i, c in enumerate(np.eye(x.shape[1])):
        gradient = np.array([c @ phi @ x.T @ vi @ a @ vi @ x @ phi @ c for a in g])
        df = 2 * phi[i, i] ** 2 / (gradient @ np.linalg.solve(information, gradient))
        np.testing.assert_allclose(fit.contrast(c, "satterthwaite").df, df, rtol=1e-8)


def test_two_values_a_person_give_the_paired_t_test():
    rng = np.random.default_rng(5)
    first = rng.normal(10, 3, 15)
    second = first + rng.normal(0.5, 1, 15)
    x = np.column_stack([np.ones(30), np.repeat([0, 1], 15)])
    fit = mixed.fit(x, np.concatenate([first, second]), {"participant": np.tile(np.arange(15), 2)})
    known = stats.ttest_rel(second, first)
    for method in ("kenward-roger", "satterthwaite"):
        test = fit.contrast([0, 1], method)
        np.testing.assert_allclose([test.t, test.df, test.p], [known.statistic, 14, known.pvalue], rtol=1e-8)
        np.testing.assert_allclose([test.ci_low, test.ci_high], known.confidence_interval(), rtol=1e-8)


def test_complete_24_by_2_by_6_table_has_253_degrees_of_freedom():
    rng = np.random.default_rng(0)
    person, condition, time = (a.ravel() for a in np.indices((24, 2, 6)))
    times = (time[:, None] == np.arange(1, 6)).astype(float)
    x = np.column_stack([np.ones(288), condition, times, times * condition[:, None]])
    fit = mixed.fit(x, rng.normal(0, 1, 288) + rng.normal(0, 1, 24)[person], {"participant": person})
    weights = np.array([0, 1, *np.zeros(5), *np.full(5, 1 / 6)])
    assert fit.contrast(weights, "satterthwaite").df == pytest.approx(253, rel=1e-9)
    assert fit.contrast(weights).df == pytest.approx(253, rel=1e-9)


def test_balanced_f_test_is_the_analysis_of_variance():
    rng = np.random.default_rng(1)
    person, time = (a.ravel() for a in np.indices((9, 4)))
    y = rng.normal(0, 1, 36) + rng.normal(0, 2, 9)[person] + 0.3 * time
    x = np.column_stack([np.ones(36), (time[:, None] == np.arange(1, 4)).astype(float)])
    table = y.reshape(9, 4)
    between = 9 * np.sum((table.mean(axis=0) - table.mean()) ** 2) / 3
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    f = between / (np.sum(rest**2) / 24)
    fit = mixed.fit(x, y, {"participant": person})
    for method in ("kenward-roger", "satterthwaite"):
        np.testing.assert_allclose(fit.f_test(np.eye(4)[1:], method), [f, 3, 24, stats.f.sf(f, 3, 24)], rtol=1e-8)


def test_a_stack_of_trials_equals_each_alone_with_lost_rows():
    rng = np.random.default_rng(2)
    data = [trial(seed, n=8) for seed in range(5)]
    groups = data[0][2]
    present = rng.random((5, len(data[0][1]))) > 0.1
    stack = mixed.fit(np.stack([d[0] for d in data]), np.stack([d[1] for d in data]), groups, weights=present)
    test = stack.contrast([0, 1, 0, 0, 0])
    for i, (x, y, _) in enumerate(data):
        keep = present[i]
        alone = mixed.fit(x[keep], y[keep], {k: v[keep] for k, v in groups.items()})
        one = alone.contrast([0, 1, 0, 0, 0])
        np.testing.assert_allclose([test.estimate[i], test.se[i]], [one.estimate, one.se], rtol=1e-7)
        np.testing.assert_allclose([test.df[i], stack.loglik[i]], [one.df, alone.loglik], rtol=1e-6)


def test_weights_are_relative_precisions():
    x, y, groups = trial(4)
    weights = np.random.default_rng(4).uniform(0.3, 3, len(y))
    fit = mixed.fit(x, y, groups, weights=weights)
    g = [(c[:, None] == c[None]).astype(float) for c in groups.values()]
    v = fit.variances[0] * g[0] + fit.variances[1] * g[1] + np.diag(fit.residual_variance / weights)
    beta = np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, y))
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-8)
    tripled = mixed.fit(x, y, groups, weights=3 * weights)
    np.testing.assert_allclose(tripled.contrast([0, 1, 0, 0, 0]).p, fit.contrast([0, 1, 0, 0, 0]).p, rtol=1e-8)
    np.testing.assert_allclose(tripled.loglik, fit.loglik, rtol=1e-9)


def test_crossed_factors_are_one_component():
    rng = np.random.default_rng(6)
    person, rater = (a.ravel() for a in np.indices((10, 4)))
    y = rng.normal(0, 1, 40) + rng.normal(0, 1, 10)[person] + rng.normal(0, 1, 4)[rater]
    groups = {"person": person, "rater": rater}
    fit = mixed.fit(np.ones((40, 1)), y, groups)
    loglik = whole(np.ones((40, 1)), y, groups, [*fit.variances, fit.residual_variance])[0]
    np.testing.assert_allclose(fit.loglik, loglik, atol=1e-10)


def test_an_offset_and_a_unit_change_nothing_but_the_units():
    x, y, groups = trial(7, lost=0.1)
    one = mixed.fit(x, y, groups).contrast([0, 1, 0, 0, 0])
    other = mixed.fit(x, 1e4 + 1e3 * y, groups).contrast([0, 1, 0, 0, 0])
    np.testing.assert_allclose([other.estimate / 1e3, other.df, other.p], [one.estimate, one.df, one.p], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, g: (np.column_stack([x, 2 * x[:, 1]]), y, g), "combination of"),
        (lambda x, y, g: (x, y, {"participant": np.zeros(len(y))}), "single level"),
        (lambda x, y, g: (x, y, {"row": np.arange(len(y))}), "a level of its own"),
        (lambda x, y, g: (x, y, {"a": g["participant"], "b": g["participant"] + 5}), "group the rows alike"),
        (lambda x, y, g: (x, np.where(np.arange(len(y)) == 3, np.inf, y), g), "finite"),
        (lambda x, y, g: (x, x @ np.arange(5.0), g), "does not vary"),
        (lambda x, y, g: (x[:5], y[:5], {"participant": g["participant"][[0, 1, 2, 20, 21]]}), "rows cannot carry"),
    ],
)
def test_what_cannot_be_estimated_is_said(change, message):
    x, y, groups = change(*trial(8))
    with pytest.raises(InputError, match=message):
        mixed.fit(x, y, groups)


def test_rows_that_effects_and_intercepts_fit_exactly_are_refused():
    """Three participants with both sessions and three effects within them; a fourth has a residual again."""
    x = np.array([[1, 1, 0, 4], [1, 0, 1, -4], [1, 0, 0, 2], [1, 1, 1, -2], [1, 0, 0, 3], [1, 1, 1, -3]], float)
    y, people = np.array([-13.0, -14, -8, -9, -9, -12]), np.array([0, 0, 1, 1, 2, 2])
    alone = np.vstack([x, [1, 1, 0, 0]]), np.append(people, 3)  # one session adds nothing within
    assert np.linalg.matrix_rank(np.column_stack([alone[0], np.eye(4)[alone[1]]])) == 7
    with pytest.raises(InputError, match="nothing to tell the residual by"):
        mixed.fit(alone[0], np.append(y, -11.0), {"participant": alone[1]})
    more = np.vstack([x, [1, 1, 0, 1], [1, 0, 1, -1]]), np.append(y, [-11.0, -10]), np.append(people, [3, 3])
    assert mixed.fit(more[0], more[1], {"participant": more[2]}).residual_variance > 1e-3


def test_variances_that_the_rows_cannot_tell_apart_move_alike():
    """Of two with the same curvature 4 and the same slope 2, the shortest step to the minimum is -0.25 each."""
    square = np.full((1, 2, 2), 4.0) * (1 + 1e-14 * (1 - np.eye(2)))  # as rounding leaves it: singular with the ridge
    slope = reml.Derivatives(
        gradient=np.full((1, 2), 2.0),
        hessian=square,
        expected=square,
        joint=np.zeros((1, 3, 3)),
        p=np.zeros((1, 2, 1, 1)),
    )
    step, decrement = reml._newton_step(slope, np.zeros((1, 2), bool))
    np.testing.assert_allclose(step, [[-0.25, -0.25]], rtol=1e-9)
    assert decrement[0] == pytest.approx(1.0)
