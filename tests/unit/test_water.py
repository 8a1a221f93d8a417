"""Eddy currents and residual water against closed forms."""

import numpy as np
import pytest

from mrsflow import water
from mrsflow.axes import ppm_to_hz, time_axis, to_spectrum

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
TIME = time_axis(POINTS, DWELL)
EDDY = 1.2 * (1 - np.exp(-TIME / 0.04)) - 0.5 * (1 - np.exp(-TIME / 0.01))


def line(ppm, amplitude=1.0, linewidth=7.0):
    return amplitude * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * linewidth) * TIME)


def noise(rng, sd):
    return sd * (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS))


def metabolites():
    return line(2.008, 3) + line(3.027, 2) + line(3.21, 1.5) + line(3.92, 1.2) + line(2.35, 2, 25)


def test_eddy_currents_are_undone_where_there_is_signal():
    reference = line(4.65, 1e4) * np.exp(1j * EDDY) + noise(np.random.default_rng(1), 1)
    fixed = water.correct_eddy_currents(metabolites() * np.exp(1j * EDDY), water.eddy_phase(reference))
    error = np.abs(to_spectrum(fixed - metabolites())).max() / np.abs(to_spectrum(metabolites())).max()
    assert error < 2e-3


def test_phase_of_strong_water_is_that_of_each_point():
    reference = line(4.65, 1e4, 2.0) * np.exp(1j * EDDY)
    np.testing.assert_allclose(water.eddy_phase(reference), EDDY, atol=2e-5)


def test_noise_behind_the_water_is_not_copied_into_the_phase():
    reference = line(4.70, 100, 12) * np.exp(1j * EDDY) + noise(np.random.default_rng(2), 1)
    phase = water.eddy_phase(reference)
    late = np.diff(phase[1000:])
    assert np.ptp(late) < 1e-9
    assert late.mean() == pytest.approx(2 * np.pi * ppm_to_hz(4.70, FREQUENCY) * DWELL, rel=0.2)


def test_the_phase_goes_on_from_the_last_point_that_water_has():
    """Water of one frequency, whose phase is a straight line from the first point to the last."""
    step = 2 * np.pi * ppm_to_hz(4.70, FREQUENCY) * DWELL
    np.testing.assert_allclose(water.eddy_phase(line(4.70, 100, 2)), step * np.arange(POINTS), atol=1e-6)


def test_what_grows_is_no_water():
    growing, decaying = line(4.65, 1, -3), line(4.70, 5, 8)
    assert np.abs(water.residual_water(growing, DWELL, FREQUENCY)).max() < 1e-6
    np.testing.assert_allclose(water.residual_water(growing + decaying, DWELL, FREQUENCY), decaying, atol=1e-6)


def test_residual_water_goes_and_metabolites_stay():
    rng = np.random.default_rng(3)
    residual = line(4.68, 30, 9) * np.exp(0.7j) + line(4.60, 12, 15) * np.exp(-1.1j)
    spoilt = metabolites() + residual + noise(rng, 0.02)
    left = spoilt - water.residual_water(spoilt, DWELL, FREQUENCY)
    noise_of_spectrum = 0.02 * np.sqrt(2 * POINTS)
    difference = np.abs(to_spectrum(left - metabolites()))
    assert np.sqrt(np.mean(difference**2)) < 1.2 * noise_of_spectrum


def test_without_water_nothing_outside_its_range_is_touched():
    model = water.residual_water(metabolites() + noise(np.random.default_rng(4), 0.02), DWELL, FREQUENCY)
    frequencies = 4.65 - np.fft.fftshift(np.fft.fftfreq(POINTS, DWELL)) / FREQUENCY
    peaks = (frequencies > 1.8) & (frequencies < 4.0)
    assert np.abs(to_spectrum(model))[peaks].max() < 0.01 * np.abs(to_spectrum(metabolites())).max()


def test_naa_and_choline_beside_the_water_stay():
    """Lines of the basis between the fitted range and the water, whose tails reach into it."""
    beside = line(4.38, 1.0, 6) + line(4.31, 0.4, 6)
    spoilt = metabolites() + beside + line(4.67, 30, 8) + noise(np.random.default_rng(6), 0.02)
    left = spoilt - water.residual_water(spoilt, DWELL, FREQUENCY) - metabolites()
    frequencies = 4.65 - np.fft.fftshift(np.fft.fftfreq(POINTS, DWELL)) / FREQUENCY
    seen, true = (to_spectrum(fid)[(frequencies > 1) & (frequencies < 4.4)] for fid in (left, beside))
    assert np.vdot(true, seen).real / np.vdot(true, true).real == pytest.approx(1.0, abs=0.05)


def test_an_empty_fid_has_no_water():
    assert not water.residual_water(np.zeros(POINTS, complex), DWELL, FREQUENCY).any()


@pytest.mark.parametrize("points", [256, 700, 2048])
def test_short_fids_are_taken_whole(points):
    fid = line(4.65, 5)[:points]
    np.testing.assert_allclose(water.residual_water(fid, DWELL, FREQUENCY), fid, atol=1e-3)
