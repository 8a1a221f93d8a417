"""Coil combination against closed forms, a slow loop and measured noise."""

import numpy as np
import pytest

from mrsflow.errors import InputError
from mrsflow.preprocessing import coils

N_COILS, N_POINTS = 6, 1024


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def covariance_of(rng, n=N_COILS):
    mixing = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return mixing @ mixing.conj().T + n * np.eye(n)


def noise_of(rng, covariance, n_transients, n_points=N_POINTS):
    shape = (len(covariance), n_transients * n_points)
    white = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
    return (np.linalg.cholesky(covariance) @ white).reshape(len(covariance), n_transients, n_points)


def line(frequency=0.03, decay=30.0):
    points = np.arange(N_POINTS)
    return np.exp(2j * np.pi * frequency * points - points / decay)


def test_noise_covariance_is_that_of_the_noise_though_there_is_signal(rng):
    truth = covariance_of(rng)
    fids = noise_of(rng, truth, 40) + 300 * line()
    found = coils.noise_covariance(fids)
    expected_error = np.sqrt(np.outer(np.diag(truth), np.diag(truth)).real / (40 * N_POINTS / 4))
    assert np.all(np.abs(found - truth) < 5 * expected_error)


def test_noise_of_short_tails_is_not_underestimated(rng):
    """Tails of four points, whose mean takes a quarter of their variance with it."""
    truth = covariance_of(rng, 2)
    found = coils.noise_covariance(noise_of(rng, truth, 20_000, 16))
    np.testing.assert_allclose(np.diag(found).real, np.diag(truth).real, rtol=5 / np.sqrt(60_000))


def test_constant_offset_of_the_receiver_is_not_noise(rng):
    truth = covariance_of(rng)
    fids = noise_of(rng, truth, 20)
    offset = 50 * rng.normal(size=(N_COILS, 20, 1))
    np.testing.assert_allclose(coils.noise_covariance(fids + offset), coils.noise_covariance(fids), atol=1e-9)


def test_weights_of_uncorrelated_coils_are_sensitivity_over_variance():
    sensitivities = np.array([1.0, 2.0j, 0.5 + 0.5j])
    variance = np.array([1.0, 4.0, 0.25])
    weights = coils.gls_weights(sensitivities, np.diag(variance).astype(complex)).weights
    expected = sensitivities.conj() / variance
    np.testing.assert_allclose(weights, expected / np.sum(np.abs(sensitivities) ** 2 / variance), rtol=1e-12)


def test_combination_is_the_sum_over_coils(rng):
    fids = noise_of(rng, covariance_of(rng), 3)
    weights = coils.gls_weights(rng.normal(size=N_COILS) + 1j, covariance_of(rng))
    slow = [[sum(weights.weights[c] * fids[c, k, p] for c in range(N_COILS)) for p in range(5)] for k in range(3)]
    np.testing.assert_allclose(coils.combine(fids, weights)[:, :5], slow, rtol=1e-12)


def test_sensitivities_are_found_whatever_phase_and_frequency_transients_have(rng):
    truth = rng.normal(size=N_COILS) + 1j * rng.normal(size=N_COILS)
    turns = np.exp(
        1j * rng.uniform(-np.pi, np.pi, (8, 1)) + 2j * np.pi * np.outer(rng.normal(0, 0.01, 8), np.arange(N_POINTS))
    )
    fids = truth[:, np.newaxis, np.newaxis] * (line() * turns)
    found = coils.sensitivities(fids, covariance_of(rng))
    assert np.abs(np.vdot(found, truth)) == pytest.approx(np.linalg.norm(truth), rel=1e-10)


def test_measured_gain_in_snr_is_what_the_noise_covariance_predicts(rng):
    truth = rng.normal(size=N_COILS) + 1j * rng.normal(size=N_COILS)
    covariance = covariance_of(rng)
    weights = coils.gls_weights(truth / np.linalg.norm(truth), covariance)
    noise = noise_of(rng, covariance, 60)
    combined_sd = coils.combine(noise, weights).std()
    combined_signal = np.abs(weights.weights @ truth)
    single = np.abs(truth) / noise.reshape(N_COILS, -1).std(axis=1)
    assert weights.snr_gain() == pytest.approx(combined_signal / combined_sd / single.max(), rel=0.02)


def test_no_other_weights_have_more_snr(rng):
    truth, covariance = rng.normal(size=N_COILS) + 1j * rng.normal(size=N_COILS), covariance_of(rng)
    best = coils.gls_weights(truth, covariance).weights

    def snr(weights):
        return np.abs(weights @ truth) / np.sqrt((weights @ covariance @ weights.conj()).real)

    for _ in range(50):
        other = best + 0.1 * np.abs(best).mean() * (rng.normal(size=N_COILS) + 1j * rng.normal(size=N_COILS))
        assert snr(other) <= snr(best) * (1 + 1e-12)


def test_combined_reference_starts_at_phase_zero(rng):
    weights = coils.gls_weights(rng.normal(size=N_COILS) + 1j, covariance_of(rng))
    reference = np.exp(0.8j) * np.stack([line(0.0)] * 3)
    turned = coils.start_in_phase(weights, reference)
    factor = turned.weights[0] / weights.weights[0]
    assert np.angle((factor * reference).mean(axis=0)[:3].sum()) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        turned.weights @ turned.sensitivities, weights.weights @ weights.sensitivities, rtol=1e-12
    )


def test_a_silent_coil_is_named(rng):
    fids = noise_of(rng, covariance_of(rng), 4)
    fids[2] = 0
    with pytest.raises(InputError, match=r"coil 2 .*no noise"):
        coils.noise_covariance(fids)


def test_coils_that_repeat_others_are_refused(rng):
    fids = noise_of(rng, covariance_of(rng), 4)
    fids[2] = 0.5j * fids[1]
    with pytest.raises(InputError, match="the noise of 6 coils is that of 5, as some repeat others; export"):
        coils.noise_covariance(fids)


def test_zeros_that_fill_up_the_fids_are_no_noise(rng):
    fids = noise_of(rng, covariance_of(rng), 4)
    filled = np.concatenate([fids, np.zeros_like(fids)], axis=-1)
    np.testing.assert_allclose(coils.noise_covariance(filled), coils.noise_covariance(fids), rtol=1e-12)


def test_too_few_noise_samples_are_refused(rng):
    with pytest.raises(InputError, match="too few"):
        coils.noise_covariance(noise_of(rng, covariance_of(rng), 1, n_points=32))


def test_another_number_of_coils_is_refused(rng):
    weights = coils.gls_weights(np.ones(N_COILS), np.eye(N_COILS))
    with pytest.raises(InputError, match="4 coils and its weights are for 6"):
        coils.combine(np.ones((4, 2, 8)), weights)
