"""Registration of transients against simulated truth and the Cramér–Rao bound."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow.axes import ppm_axis, ppm_to_hz, time_axis
from mrsflow.errors import InputError
from mrsflow.preprocessing import align

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
PPM = (1.8, 3.4)
TIME = time_axis(POINTS, DWELL)
SAMPLING = (POINTS, DWELL, FREQUENCY)


def signal(linewidth=6.0):
    """Singlets and a broad background, with 3 Hz more of Gaussian width than a Lorentzian."""
    lines = (
        (2.008, 3.0, 0),
        (3.027, 2.2, 0),
        (3.21, 1.8, 0),
        (2.35, 0.8, 5),
        (3.6, 1.0, 3),
        (0.9, 4, 20),
        (2.05, 2, 18),
    )
    fid = sum(
        a * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * (linewidth + w)) * TIME) for ppm, a, w in lines
    )
    return fid * np.exp(-((np.pi * 3 * TIME) ** 2) / (4 * np.log(2)))


def session(snr, n, rng, water=0.0):
    """Transients with drift and jitter; SNR is the height of NAA over the SD of the real spectrum."""
    shift = np.linspace(-5, 5, n) + rng.normal(0, 0.3, n)
    phase = np.radians(rng.uniform(-30, 30, n))
    fids = signal() * np.exp(1j * phase[:, np.newaxis] + 2j * np.pi * np.outer(shift, TIME))
    drift = np.outer(rng.normal(0, 5, n), TIME)
    strength = water * 3 * rng.uniform(0.5, 1.5, n) * np.exp(1j * rng.uniform(-1, 1, n))
    fids = fids + strength[:, np.newaxis] * np.exp(2j * np.pi * drift - np.pi * 12 * TIME)
    height = 3.0 / (np.pi * 8.0 * DWELL)
    sd = height / snr / np.sqrt(POINTS)
    return fids + sd * (rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape)), shift, phase, sd


def bound(sd):
    """Cramér–Rao bounds of frequency and phase from finite differences of the spectrum inside the range."""
    axis = ppm_axis(*SAMPLING)
    inside = (axis >= PPM[0]) & (axis <= PPM[1])

    def model(shift, phase, amplitude):
        fid = amplitude * signal() * np.exp(1j * phase + 2j * np.pi * shift * TIME)
        bins = np.fft.fftshift(np.fft.fft(fid))[inside] / np.sqrt(POINTS)
        return np.concatenate([bins.real, bins.imag])

    at, steps = np.array([0.0, 0.0, 1.0]), np.eye(3) * 1e-4
    jacobian = np.stack([(model(*(at + s)) - model(*(at - s))) / 2e-4 for s in steps], axis=1)
    return np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))[:2] * sd


def start():
    return align.singlets(*SAMPLING, PPM, 8.0).sum(axis=0)


def rmse(found, shift, phase):
    turn = np.exp(1j * (found.phase_rad - phase))
    return np.array([(found.shift_hz - shift).std(), np.angle(turn / turn.mean()).std()])


def test_noise_free_transients_are_found_exactly():
    fids, shift, phase, _ = session(1e9, 12, np.random.default_rng(0))
    limits = align.window(*SAMPLING, PPM)
    rough = align.coarse(fids, signal(), limits, 30.0)
    found = align.refine(fids, signal(), limits, *rough, 30.0)
    np.testing.assert_allclose(found.shift_hz, shift, atol=1e-3)
    np.testing.assert_allclose(found.phase_rad, phase, atol=1e-4)
    np.testing.assert_allclose(found.amplitude, 1, atol=1e-4)
    np.testing.assert_allclose(align.apply(fids, found.shift_hz, found.phase_rad, DWELL), [signal()] * 12, atol=0.05)


def test_known_template_without_background_reaches_the_bound():
    fids, shift, phase, sd = session(8, 300, np.random.default_rng(1))
    limits = align.window(*SAMPLING, PPM)
    limits = replace(limits, damping=np.zeros_like(limits.damping))
    found = align.refine(fids, signal(), limits, shift, phase, 30.0)
    ratio = rmse(found, shift, phase) / bound(sd)
    assert np.all(np.abs(ratio - 1) < 4 / np.sqrt(2 * 300))  # four standard errors of an SD


@pytest.mark.parametrize("snr", [5, 15])
def test_unknown_template_stays_within_a_fifth_of_the_bound(snr):
    fids, shift, phase, sd = session(snr, 200, np.random.default_rng(2))
    found = align.register(fids, start(), align.window(*SAMPLING, PPM), 30.0)
    assert np.all(rmse(found, shift, phase) < 1.2 * bound(sd))


def test_moving_water_does_little_harm():
    fids, shift, phase, sd = session(5, 200, np.random.default_rng(3), water=3.0)
    found = align.register(fids, start(), align.window(*SAMPLING, PPM), 30.0)
    assert np.all(rmse(found, shift, phase) < [1.25, 1.6] * bound(sd))
    limits = align.window(*SAMPLING, PPM)
    still = replace(limits, damping=np.zeros_like(limits.damping))
    naive = align.refine(fids, signal(), still, shift, phase, 30.0)  # told the template, but not of the water
    assert rmse(found, shift, phase)[1] < rmse(naive, shift, phase)[1]


def test_water_that_changes_is_taken_out_of_each_transient():
    rng = np.random.default_rng(6)
    fids, shift, phase, sd = session(20, 200, rng)
    line = -30 * np.exp((2j * np.pi * 3 - np.pi * 12) * TIME)  # its tail in the range looks like a turn of the phase
    water = np.outer(rng.uniform(0.5, 1.5, 200) * np.exp(1j * phase), line) * np.exp(2j * np.pi * np.outer(shift, TIME))
    limits = align.window(*SAMPLING, PPM)
    found = align.register(fids + water, start(), limits, 30.0)
    dry = align.without_water(fids + water, found, DWELL, FREQUENCY)
    left = np.linalg.norm((dry - fids).mean(axis=0)) / np.linalg.norm(water.mean(axis=0))
    assert left < 0.02
    again = align.register(dry, start(), limits, 30.0)
    assert np.all(rmse(again, shift, phase) < 1.1 * bound(sd))
    assert rmse(again, shift, phase)[1] < 0.9 * rmse(found, shift, phase)[1]


def test_water_that_cancels_in_the_mean_is_left_alone():
    fids, _, _, _ = session(20, 64, np.random.default_rng(7))
    line = 60 * np.exp(-np.pi * 12 * TIME) * np.tile([1, -1], 32)[:, np.newaxis]
    found = align.register(fids + line, start(), align.window(*SAMPLING, PPM), 30.0)
    np.testing.assert_array_equal(align.without_water(fids + line, found, DWELL, FREQUENCY), fids + line)


def test_a_transient_alone_is_placed_by_the_model():
    fids, shift, _, _ = session(50, 9, np.random.default_rng(4))
    found = align.register(fids[8:], start(), align.window(*SAMPLING, PPM), 30.0)
    assert found.shift_hz[0] == pytest.approx(shift[8], abs=1.0)
    assert align.corrupted(found, 7.0).tolist() == [""]


def test_the_same_transients_give_the_same_numbers():
    fids = session(5, 30, np.random.default_rng(5))[0]
    one, two = (align.register(fids, start(), align.window(*SAMPLING, PPM), 30.0) for _ in range(2))
    assert one.shift_hz.tobytes() == two.shift_hz.tobytes()
    assert one.template.tobytes() == two.template.tobytes()


@pytest.fixture(scope="module")
def corrupted_session():
    rng = np.random.default_rng(6)
    fids, _, _, _ = session(6, 120, rng)
    damage = {
        7: ("amplitude", 0.5),
        40: ("phase", np.exp(1.4j)),
        77: ("width", np.exp(-np.pi * 8 * TIME)),
        119: ("amplitude", 0.3),
    }
    noise = session(6, 120, np.random.default_rng(7))
    sd = noise[3]
    for number, (_, factor) in damage.items():
        clean = signal() * factor
        fids[number] = clean + sd * (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS))
    return align.register(fids, start(), align.window(*SAMPLING, PPM), 30.0), set(damage)


def test_corrupted_transients_are_found_and_good_ones_kept(corrupted_session):
    found, damaged = corrupted_session
    reasons = align.corrupted(found, 8.0)
    assert damaged <= set(np.flatnonzero(reasons != ""))
    assert np.sum(reasons != "") <= len(damaged) + 2
    assert reasons[40] == "phase"


def test_a_cycle_with_a_corrupted_transient_goes_whole(corrupted_session):
    found, _ = corrupted_session
    single, whole = align.corrupted(found, 8.0) != "", align.corrupted(found, 8.0, phase_cycle=8)
    broken = single.reshape(-1, 8).any(axis=1)
    np.testing.assert_array_equal((whole != "").reshape(-1, 8), np.repeat(broken[:, np.newaxis], 8, axis=1))
    assert "phase cycle" in whole


def test_background_that_does_not_vary_is_not_projected_out():
    fids = session(5, 200, np.random.default_rng(8))[0]
    limits = align.window(*SAMPLING, PPM)
    found = align.register(fids, start(), limits, 30.0)
    adapted = align.whiten(limits, fids, found, np.ones(200, dtype=bool))
    assert np.linalg.eigvalsh(adapted.damping).max() < 0.5


def varying_session(factor):
    """Transients without drift whose background of six shapes varies with known SDs, its noise `factor` (2 n_bins)."""
    rng = np.random.default_rng(11)
    limits = align.window(*SAMPLING, PPM)
    noise = rng.normal(size=(3000, len(limits.weight))) * factor(limits)
    background = rng.normal(size=(3000, 6)) * [7.0, 5.0, 3.0, 2.5, 6.0, 4.0]
    template = signal()
    fids = template + limits.fid(noise + background @ limits.background.T, POINTS)
    zero, one = np.zeros(3000), np.ones(3000)
    found = align.Registration(zero, zero, one, zero, one, template, np.zeros(POINTS))
    return limits, fids, align.whiten(limits, fids, found, np.ones(3000, dtype=bool))


def test_whitening_finds_how_much_the_background_varies():
    """What is left of it then has the variance of the noise, in every direction."""
    limits, fids, adapted = varying_session(lambda limits: 1.0)
    coefficients = adapted._damped(limits.raw(fids - signal())) @ limits.background
    np.testing.assert_allclose(np.cov(coefficients.T), np.eye(6), atol=0.12)


def test_bins_weigh_by_their_sd():
    """Noise three times as strong in half of the range, as of lipids that move."""

    def factor(limits):
        n = limits.bins.size
        return np.tile(np.where(np.arange(n) < n // 2, 1.0, 3.0), 2)

    limits, _, adapted = varying_session(factor)
    n = limits.bins.size
    assert adapted.weight[n // 8 : 3 * n // 8].mean() / adapted.weight[5 * n // 8 : 7 * n // 8].mean() == pytest.approx(
        3, rel=0.05
    )


def test_whitening_turns_a_known_background_into_white_noise():
    rng = np.random.default_rng(9)
    limits = align.window(*SAMPLING, PPM)
    values = np.array([50.0, 10.0, 3.0, 0.5, 40.0, 0.0])
    damping = np.diag(1 - 1 / np.sqrt(1 + values))
    limits = replace(limits, damping=damping)
    noise = rng.normal(size=(4000, len(limits.weight)))
    coloured = noise + (rng.normal(size=(4000, 6)) * np.sqrt(values)) @ limits.background.T
    coefficients = limits._damped(coloured) @ limits.background
    np.testing.assert_allclose(np.cov(coefficients.T), np.eye(6), atol=0.12)


def test_only_zeros_are_refused():
    fids = session(5, 6, np.random.default_rng(10))[0]
    fids[4] = 0
    with pytest.raises(InputError, match=r"transient 4 .*only zeros"):
        align.register(fids, start(), align.window(*SAMPLING, PPM), 30.0)


def test_a_range_without_singlets_is_refused():
    with pytest.raises(InputError, match=r"align_ppm 0\.5 to 1\.5 holds none"):
        align.singlets(*SAMPLING, (0.5, 1.5), 8.0)


def test_a_range_with_few_points_is_refused():
    with pytest.raises(InputError, match=r"widen preprocess\.align_ppm"):
        align.window(256, DWELL, FREQUENCY, (2.9, 3.1))


def test_the_mean_is_that_of_the_signal_inside_and_outside_the_aligned_range():
    """Noise that registration fits raises the aligned range of the mean: seen before, gone after."""
    n, axis = 2500, ppm_axis(*SAMPLING)
    fids, shift, phase, sd = session(2.5, n, np.random.default_rng(12))
    found = align.refine(fids, signal(), align.window(*SAMPLING, PPM), shift, phase, 30.0)
    corrected = align.apply(fids, found.shift_hz, found.phase_rad, DWELL)
    truth = np.fft.fftshift(np.fft.fft(signal()))
    inside = (axis >= PPM[0]) & (axis <= PPM[1])

    def excess(transients):
        spectrum = np.fft.fftshift(np.fft.fft(transients.mean(axis=0)))
        parts = [np.vdot(truth[p], spectrum[p]).real / np.vdot(truth[p], truth[p]).real for p in (inside, ~inside)]
        return parts[0] / parts[1] - 1

    powers = [np.vdot(truth[p], truth[p]).real for p in (inside, ~inside)]
    se = sd * np.sqrt(POINTS * sum(1 / power for power in powers) / n)
    assert excess(corrected) > 5 * se
    assert abs(excess(align.without_fitted_noise(corrected, found))) < 3 * se


def test_a_single_transient_is_its_own_template_and_stays():
    fids = session(20, 1, np.random.default_rng(4))[0]
    found = align.register(fids, signal(), align.window(*SAMPLING, PPM), 30.0)
    np.testing.assert_array_equal(align.without_fitted_noise(fids, found), fids)
