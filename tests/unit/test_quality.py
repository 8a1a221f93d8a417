"""Noise and peaks against closed forms."""

import numpy as np
import pytest

from mrsflow import result_tables
from mrsflow.axes import ppm_to_hz, time_axis
from mrsflow.errors import InputError
from mrsflow.preprocessing import quality

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
TIME = time_axis(POINTS, DWELL)


def line(ppm, amplitude, linewidth=6.0):
    return amplitude * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * linewidth) * TIME)


def test_noise_is_that_of_the_points_times_the_root_of_their_number():
    rng = np.random.default_rng(1)
    found = [
        quality.noise(line(2.0, 5) + 0.3 * (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS)), DWELL, FREQUENCY)[
            0
        ]
        for _ in range(30)
    ]
    expected = 0.3 * np.sqrt(POINTS)
    assert np.mean(found) == pytest.approx(expected, abs=4 * expected / np.sqrt(2 * 500 * 30))


def test_noise_range_is_named_and_lies_in_the_spectrum():
    assert quality.noise(line(2.0, 5), DWELL, FREQUENCY)[1] == "-2.5 to -0.5 and 9.5 to 11.5 ppm"
    assert quality.noise(line(2.0, 5), 8.4e-4, FREQUENCY)[1] == "8.6 to 9.4 ppm"  # 1190 Hz: -0.18 to 9.48 ppm
    assert "-2.5 to -0.5 ppm" in quality.snr_definition("-2.5 to -0.5 ppm")


def test_a_spectrum_without_room_for_noise_is_refused():
    with pytest.raises(InputError, match="no range without signal for the noise; leave this scan out"):
        quality.noise(line(2.0, 5), 2e-3, FREQUENCY)


def test_peak_stands_above_the_tails_of_its_neighbours():
    alone = quality.peak_magnitude(line(4.65, 2), DWELL, FREQUENCY, (4.3, 5.0))
    assert alone == pytest.approx(2 / (np.pi * 6 * DWELL), rel=0.06)
    together = quality.peak_magnitude(line(4.65, 2) + line(3.9, 20), DWELL, FREQUENCY, (4.3, 5.0))
    assert together == pytest.approx(alone, rel=0.1)


def test_lipid_area_is_the_amplitude_of_a_line_in_the_range():
    inside = quality.lipid_area(line(1.3, 4, 3.0), DWELL, FREQUENCY)
    assert inside == pytest.approx(4 * 2 / np.pi * np.arctan(0.15 * FREQUENCY / 1.5) / 2, rel=0.08)
    assert abs(quality.lipid_area(line(2.0, 4, 3.0), DWELL, FREQUENCY)) < 0.1 * inside


@pytest.mark.parametrize(("ppm", "counts"), [(1.12, 0), (1.18, 1), (1.42, 1), (1.48, 0)])
def test_lipid_counts_within_the_range_that_its_definition_names(ppm, counts):
    assert "from 1.15 to 1.45 ppm" in result_tables.tables()["blocks_quality"].columns["lipid_ratio"].meaning
    area = quality.lipid_area(line(ppm, 4, 1.0), DWELL, FREQUENCY) / quality.lipid_area(
        line(1.3, 4, 1.0), DWELL, FREQUENCY
    )
    assert area == pytest.approx(counts, abs=0.2)
