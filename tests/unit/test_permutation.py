"""Randomisation tests against plain enumeration."""

from itertools import combinations, product

import numpy as np
import pytest
import statsmodels.api as sm

from mrsflow.models.permutation import rerandomise, sign_flip_max_t


def trial(seed, n=8):
    rng = np.random.default_rng(seed)
    first = np.arange(n) % 2 == 0
    labels = np.where(first[:, None], [["a", "b"]], [["b", "a"]]).astype(object)
    bl = rng.normal(1, 0.1, (n, 2))
    y = rng.normal(0, 1, (n, 1)) + 0.8 * (labels == "b") + bl + 0.2 * np.arange(2) + rng.normal(0, 0.4, (n, 2))
    fixed = np.column_stack([np.tile([0.0, 1.0], n), bl.ravel()])
    return y, bl, labels, fixed, np.repeat(np.arange(n), 2)


def naive_t(y, bl, labels):
    """t of the crossover analysis of covariance: difference of visits on sequence and difference of baselines."""
    sequence = np.where(labels[:, 1] == "b", 1.0, -1.0)
    x = np.column_stack([np.ones(len(y)), sequence, bl[:, 1] - bl[:, 0]])
    return sm.OLS(y[:, 1] - y[:, 0], x).fit().tvalues[1]


def test_all_assignments_of_a_small_crossover():
    y, bl, labels, fixed, participant = trial(0)
    p, t, exact = rerandomise(y.ravel(), fixed, labels, participant, ("a", "b"), "b", 9999, 1)
    all_t = []
    for chosen in combinations(range(8), 4):
        mask = np.isin(np.arange(8), chosen)
        all_t.append(naive_t(y, bl, np.where(mask[:, None], [["b", "a"]], [["a", "b"]])))
    observed = naive_t(y, bl, labels)
    assert exact
    np.testing.assert_allclose(np.sort(t), np.sort(all_t), rtol=1e-8)
    assert p == pytest.approx(np.mean(np.abs(all_t) >= abs(observed) - 1e-9))


def test_random_assignments_approach_the_exact_p():
    y, _, labels, fixed, participant = trial(1)
    exact_p = rerandomise(y.ravel(), fixed, labels, participant, ("a", "b"), "b", 9999, 1)[0]
    p, t, exact = rerandomise(y.ravel(), fixed, labels, participant, ("a", "b"), "b", 69, 1)
    assert not exact
    assert len(t) == 69
    assert abs(p - exact_p) < 4 * np.sqrt(exact_p * (1 - exact_p) / 69) + 2 / 70


def test_same_seed_same_p_whatever_the_number_held_at_a_time(monkeypatch):
    y, _, labels, fixed, participant = trial(2, n=20)
    arguments = (y.ravel(), fixed, labels, participant, ("a", "b"), "b", 500, 7)
    p, t, _ = rerandomise(*arguments)
    monkeypatch.setattr("mrsflow.models.permutation.CHUNK", 100)
    again, other, _ = rerandomise(*arguments)
    assert p == again
    np.testing.assert_allclose(t, other, rtol=1e-12)


def test_three_conditions_without_effect_give_uniform_p():
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = np.array([rng.permutation(["a", "b", "c"]) for _ in range(9)], dtype=object)
        y = (rng.normal(size=(9, 1)) + rng.normal(size=(9, 3))).ravel()
        fixed = np.column_stack([np.tile(np.arange(3) == k, 9) for k in (1, 2)]).astype(float)
        found.append(rerandomise(y, fixed, labels, np.repeat(np.arange(9), 3), ("a", "b", "c"), "b", 99, seed)[0])
    assert abs(np.mean(np.array(found) <= 0.1) - 0.1) < 3 * np.sqrt(0.09 / 150)


def test_maximum_over_blocks_by_enumeration():
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1, (7, 3))
    t, p, adjusted = sign_flip_max_t(differences, 20_000, 1)
    flips = np.array(list(product([-1, 1], repeat=7)))
    flipped = flips[:, :, None] * differences
    all_t = np.abs(flipped.mean(axis=1) / (flipped.std(axis=1, ddof=1) / np.sqrt(7)))
    observed = differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / np.sqrt(7))
    np.testing.assert_allclose(t, observed)
    np.testing.assert_allclose(p, (all_t >= np.abs(observed) - 1e-9).mean(axis=0), atol=0.015)
    np.testing.assert_allclose(
        adjusted, (all_t.max(axis=1)[:, None] >= np.abs(observed) - 1e-9).mean(axis=0), atol=0.015
    )


def test_flips_that_give_what_was_observed_count():
    """Three people who agree: of eight flips two, all and none, give so large a t, in either direction."""
    _, p, adjusted = sign_flip_max_t(np.array([[1.0], [1.1], [0.9]]), 20_000, 1)
    np.testing.assert_allclose([p, adjusted], 0.25, atol=0.015)


def test_lost_blocks_leave_the_other_participants():
    differences = np.random.default_rng(4).normal(0.5, 1, (10, 2))
    differences[3, 1] = np.nan
    t = sign_flip_max_t(differences, 99, 1)[0]
    rest = np.delete(differences[:, 1], 3)
    assert t[1] == pytest.approx(rest.mean() / (rest.std(ddof=1) / 3))


def test_the_observed_assignment_counts_among_the_drawn():
    """No drawn p is zero: where nothing drawn comes near, p is one of draws + 1 (Phipson & Smyth 2010)."""
    y, _, labels, fixed, participant = trial(5, n=24)
    y = y + 50.0 * (labels == "b")
    p, t, exact = rerandomise(y.ravel(), fixed, labels, participant, ("a", "b"), "b", 99, 1)
    assert not exact and np.abs(t).max() < abs(naive_t(y, fixed[:, 1].reshape(-1, 2), labels))
    assert p == pytest.approx(1 / 100)
    differences = 5 + np.random.default_rng(6).normal(size=(24, 3))
    _, each, adjusted = sign_flip_max_t(differences, 99, 1)
    np.testing.assert_allclose([each, adjusted], 1 / 100)
