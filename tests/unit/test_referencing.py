"""The model of the singlets against lines of known place, phase, width and height."""

import numpy as np
import pytest

from mrsflow.axes import ppm_to_hz, time_axis, to_spectrum
from mrsflow.errors import InputError
from mrsflow.preprocessing.referencing import fit_singlets, water_linewidth

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
TIME = time_axis(POINTS, DWELL)
LINES = {"tNAA": ((2.008, 1.0), (2.042, 0.15)), "tCr": ((3.027, 1.0),), "tCho": ((3.21, 1.0),)}
"""Methyl groups by Govindaraju et al., doi:10.1002/1099-1492(200005)13:3<129::AID-NBM619>3.0.CO;2-V, tCho between
those of its parts; NAAG at a usual part of NAA (Pouwels & Frahm, doi:10.1002/mrm.1910390107)."""
AMOUNTS = {"tNAA": 3.0, "tCr": 2.2, "tCho": 1.7}


def voigt(lorentzian, gaussian):
    return np.exp(-np.pi * lorentzian * TIME - (np.pi * gaussian * TIME) ** 2 / (4 * np.log(2)))


def singlets(shift_hz=0.0, phase=0.0, lorentzian=4.0, gaussian=4.0):
    fid = sum(
        AMOUNTS[name] * share * np.exp(2j * np.pi * (ppm_to_hz(ppm, FREQUENCY) + shift_hz) * TIME)
        for name, group in LINES.items()
        for ppm, share in group
    )
    return fid * voigt(lorentzian, gaussian) * np.exp(1j * phase)


@pytest.mark.parametrize(("shift", "phase"), [(0.0, 0.0), (3.3, 0.5), (-25.0, -2.8), (30.0, 3.0)])
def test_place_phase_and_amounts_are_found(shift, phase):
    found = fit_singlets(singlets(shift, phase), DWELL, FREQUENCY)
    assert found.shift_hz == pytest.approx(shift, abs=0.02)
    assert np.angle(np.exp(1j * (found.phase_rad - phase))) == pytest.approx(0, abs=0.01)
    for name, amount in AMOUNTS.items():
        assert found.areas[name] == pytest.approx(amount, rel=0.01)


@pytest.mark.parametrize(("lorentzian", "gaussian"), [(8.0, 0.1), (0.1, 6.0), (4.0, 5.0)])
def test_linewidth_is_that_of_the_line(lorentzian, gaussian):
    found = fit_singlets(singlets(lorentzian=lorentzian, gaussian=gaussian), DWELL, FREQUENCY)
    spectrum = np.fft.fftshift(np.fft.fft(voigt(lorentzian, gaussian), 64 * POINTS)).real
    spectrum -= spectrum[0]
    above = np.count_nonzero(spectrum > spectrum.max() / 2) / (64 * POINTS * DWELL)
    assert found.linewidth_hz == pytest.approx(above, rel=0.02)


def test_height_is_that_of_the_real_spectrum():
    found = fit_singlets(singlets(), DWELL, FREQUENCY)
    alone = AMOUNTS["tCr"] * np.exp(2j * np.pi * ppm_to_hz(3.027, FREQUENCY) * TIME) * voigt(4.0, 4.0)
    assert found.heights["tCr"] == pytest.approx(np.abs(to_spectrum(np.pad(alone, (0, 15 * POINTS)))).max(), rel=0.01)


def test_a_broad_background_hardly_moves_the_result():
    broad = sum(
        a * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * 45) * TIME)
        for ppm, a in ((2.6, 6), (1.3, 8), (3.7, 5))
    )
    found = fit_singlets(singlets(2.0, 0.3) + broad, DWELL, FREQUENCY)
    assert found.shift_hz == pytest.approx(2.0, abs=0.2)
    assert found.phase_rad == pytest.approx(0.3, abs=0.05)


def test_lines_beyond_the_limit_are_refused():
    with pytest.raises(InputError, match=r"within 0\.1 ppm"):
        fit_singlets(singlets(30.0), DWELL, FREQUENCY, max_shift_ppm=0.1)


def test_a_short_fid_is_refused():
    with pytest.raises(InputError, match=r"resolution is .* Hz; leave this scan out"):
        fit_singlets(singlets()[:64], DWELL, FREQUENCY)


@pytest.mark.parametrize("width", [4.0, 9.0])
def test_water_linewidth_of_a_lorentzian_is_its_width(width):
    fid = np.exp(-np.pi * width * TIME + 0.4j)
    fid[0] /= 2  # half the first point: the transform of a decay has no pedestal
    assert water_linewidth(fid, DWELL, FREQUENCY) == pytest.approx(width, rel=0.05)
