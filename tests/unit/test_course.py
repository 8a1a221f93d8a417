"""The free course of blocks: its test against a time model, its time constant, ratios and named outcomes."""

import numpy as np
import pytest

from mrsflow.fitting import course

B = 10
ONSET, LENGTH = np.arange(-2, B - 2) * 480.0, np.full(B, 480.0)
COVARIANCE = 0.02**2 * (np.eye(B) + 0.4)
STEP = np.column_stack([np.ones(B), ONSET >= 0]).astype(float)
ROOT = np.linalg.cholesky(COVARIANCE)


def test_a_course_that_follows_its_model_is_seldom_said_not_to():
    rng = np.random.default_rng(5)
    truth = STEP @ [1.3, 0.08]
    p = [course.lack_of_fit(truth + ROOT @ rng.normal(size=B), COVARIANCE, STEP).p for _ in range(600)]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 2.58 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=2.58 * 0.5 / np.sqrt(600))


def test_the_whole_residual_is_chi_squared_of_least_squares():
    rng = np.random.default_rng(6)
    values = STEP @ [1.3, 0.08] + ROOT @ rng.normal(size=B)
    found = course.lack_of_fit(values, COVARIANCE, np.column_stack([STEP, STEP.sum(axis=1)]))  # a column too many
    inverse = np.linalg.inv(COVARIANCE)
    best = np.linalg.solve(STEP.T @ inverse @ STEP, STEP.T @ inverse @ values)
    residual = values - STEP @ best
    assert (found.chi2, found.df) == (pytest.approx(residual @ inverse @ residual), B - 2)
    spread = COVARIANCE - STEP @ np.linalg.solve(STEP.T @ inverse @ STEP, STEP.T)
    off = residual / np.sqrt(np.diag(spread))
    assert found.block == np.argmax(np.abs(off))
    assert found.deviation == pytest.approx(off[found.block])


def test_blocks_without_a_value_are_left_out_and_too_few_test_nothing():
    values = np.where(np.arange(B) < 3, np.nan, 1.0)
    assert course.lack_of_fit(values, COVARIANCE, STEP).df == B - 3 - 1
    assert np.isnan(course.lack_of_fit(values[:4], COVARIANCE[:4, :4], STEP[:4]).p)


def test_a_time_constant_is_found_with_its_error():
    """Two metabolites follow 1 - exp(-t/tau); the scatter of tau is the reported one, and the prior hardly moves it."""

    def matrix(rise_s):
        rise = np.where(ONSET >= 0, 1 - np.exp(-np.maximum(ONSET + 240, 0) / rise_s), 0.0)
        both = np.zeros((B, 2, 4))
        both[:, 0, 0] = both[:, 1, 2] = 1.0
        both[:, 0, 1] = both[:, 1, 3] = rise
        return both.reshape(2 * B, 4)

    rng, sd, found = np.random.default_rng(2), 0.01, []
    truth = matrix(900.0) @ [1.3, 0.3, 1.0, 0.2]
    for _ in range(60):
        values = truth + sd * rng.normal(size=2 * B)
        found.append(course.fitted_rise(values, sd**2 * np.eye(2 * B), matrix, 600.0))
    logs = np.log([one.rise_s for one in found])
    assert logs.mean() == pytest.approx(np.log(900.0), abs=4 * logs.std() / np.sqrt(60))
    assert np.mean([one.log_sd for one in found]) == pytest.approx(logs.std(), rel=0.3)
    values = matrix(600.0) @ [1.3, 0.0, 1.0, 0.0] + sd * rng.normal(size=2 * B)  # no response: what is known remains
    assert course.fitted_rise(values, sd**2 * np.eye(2 * B), matrix, 600.0).log_sd < 1.1 * np.log(2)


def test_ratios_and_their_errors_are_those_of_draws():
    rng = np.random.default_rng(8)
    coefficients = np.array([13.0, 0.9, 10.0, 0.2])
    root = 0.02 * rng.normal(size=(4, 4))
    above, below = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]), np.array([[0.0, 0, 1, 0], [0, 0, 0, 1]])
    found = course.ratio_of_terms(above, below, coefficients, np.array([0.5]))
    drawn = coefficients + rng.normal(size=(100_000, 4)) @ root.T
    level = drawn[:, 0] / drawn[:, 2]
    change = ((drawn[:, 0] + 0.5 * drawn[:, 1]) / (drawn[:, 2] + 0.5 * drawn[:, 3]) - level) / 0.5
    np.testing.assert_allclose(found.values, [1.3, (13.45 / 10.1 - 1.3) / 0.5], rtol=1e-12)
    np.testing.assert_allclose(found.covariance(root @ root.T), np.cov([level, change]), rtol=0.03)


def test_area_peak_and_time_to_peak():
    values = np.array([1.0, 1.2, 1.1, 1.5, 1.9, 1.6, 1.4, 1.3, np.nan, 1.2])
    found = course.outcomes(values, 1e-8 * np.eye(B), ONSET, LENGTH, ONSET < 0)
    assert found["baseline"][0] == pytest.approx(1.1)
    assert found["auc"][0] == pytest.approx(8 * np.nansum(values[2:] - 1.1))
    assert found["peak"][0] == pytest.approx(0.8)
    assert found["time_to_peak"] == (pytest.approx(20.0), 0.0, 0.0)
    assert found["peak"][2] == pytest.approx(-np.sqrt(0.5 / 1.5), abs=0.15)  # a high baseline is a low change
    assert course.outcomes(values, np.eye(B), ONSET, LENGTH, ONSET < -9e9) == {}
