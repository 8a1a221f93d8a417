"""Resampling and matching against the same signals computed at the other times."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis, centred, match, oriented, resample
from mrsflow.errors import InputError

MHZ = 123.25
LINES = {  # ppm, protons, Lorentzian width (Hz)
    "NAA": [(2.008, 3, 1.0), (2.49, 1, 1.5), (2.67, 1, 1.2), (4.38, 1, 1.0)],
    "Cr": [(3.027, 3, 1.0), (3.913, 2, 1.0)],
    "Lac": [(1.28, 1.5, 2.0), (1.34, 1.5, 2.0), (4.1, 1, 3.0)],
    "broad": [(0.9, 3, 25.0)],
}


def made(dwell_time, n_points, mhz=MHZ, reference=4.65):
    t = axes.time_axis(n_points, dwell_time)
    fids = [
        sum(a * np.exp(2j * np.pi * (reference - ppm) * mhz * t - np.pi * w * t) for ppm, a, w in lines)
        for lines in LINES.values()
    ]
    return Basis(tuple(LINES), np.array(fids), dwell_time, mhz, reference)


@pytest.mark.parametrize("dwell", [2.5e-4, 5e-4, 8.333e-4])
@pytest.mark.parametrize(("new_dwell", "new_points"), [(1e-4, 3000), (4.17e-4, 1200), (5e-4, 1024), (8.333e-4, 700)])
def test_resampled_signals_equal_those_computed_there(dwell, new_dwell, new_points):
    found = resample(made(dwell, 4096), new_dwell, new_points)
    np.testing.assert_allclose(found.fids, made(new_dwell, new_points).fids, atol=1e-4)
    assert found.dwell_time == new_dwell


def test_whole_ratio_takes_the_points_themselves():
    basis = made(2.5e-4, 2048)
    np.testing.assert_allclose(resample(basis, 5e-4, 1024).fids, basis.fids[:, ::2], atol=1e-12)


def test_the_same_sampling_changes_nothing():
    basis = made(2.5e-4, 2048)
    np.testing.assert_array_equal(resample(basis, 2.5e-4, 2048).fids, basis.fids)


def test_what_lies_after_the_end_is_zero():
    basis = made(5e-4, 512)
    found = resample(basis, 5e-4, 1024)
    np.testing.assert_array_equal(found.fids[:, :512], basis.fids)
    assert not found.fids[:, 512:].any()
    assert not resample(basis, 4e-4, 1024).fids[:, 640:].any()


def test_a_halved_first_point_stays_halved_and_does_not_ring():
    whole, half = made(2.5e-4, 2048), made(2.5e-4, 2048)
    half.fids[:, 0] /= 2
    found, expected = resample(half, 4.17e-4, 1000).fids, resample(whole, 4.17e-4, 1000).fids
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-5)
    np.testing.assert_allclose(found[:, 0], expected[:, 0] / 2, atol=1e-12)


def test_too_narrow_a_bandwidth_is_refused():
    with pytest.raises(InputError, match=r"NAA has a signal beyond ±250 Hz"):
        resample(made(2.5e-4, 4096), 2e-3, 512)


def test_matching_keeps_ppm_at_a_slightly_different_field():
    found = match(made(2.5e-4, 4096, mhz=123.2), 123.26, "1H", 5e-4, 1024)
    ratio = 123.26 / 123.2
    expected = made(5e-4 * ratio, 1024, mhz=123.2).fids  # time and frequency scale together
    np.testing.assert_allclose(found.fids, expected, atol=1e-4)
    assert (found.spectrometer_frequency, found.dwell_time, found.n_points) == (123.26, 5e-4, 1024)


@pytest.mark.parametrize(
    ("mhz", "nucleus", "words"), [(127.7, "1H", "3.6 % apart"), (297.2, "1H", "use a basis"), (MHZ, "31P", "of 31P")]
)
def test_another_field_or_nucleus_is_refused(mhz, nucleus, words):
    with pytest.raises(InputError, match=words):
        match(made(2.5e-4, 2048), mhz, nucleus, 2.5e-4, 2048)


@pytest.mark.parametrize("reference", [4.65, 4.68, 4.7, 4.8])
@pytest.mark.parametrize("mirrored", [False, True])
def test_sense_and_reference_are_found_by_the_singlets(reference, mirrored):
    basis = made(2.5e-4, 2048, reference=reference)
    stored = replace(basis, reference_ppm=4.65, fids=basis.fids.conj() if mirrored else basis.fids)
    found = centred(oriented(stored, "file"))
    np.testing.assert_allclose(found.fids, made(2.5e-4, 2048).fids, atol=1e-9)
    assert found.reference_ppm == 4.65


def test_wrong_sampling_shows_in_the_singlets():
    with pytest.raises(InputError, match=r"NAA at .* ppm.* check spectrometer frequency \(123.25 MHz\) and dwell"):
        oriented(replace(made(2.5e-4, 2048), dwell_time=5e-4), "file")


def test_a_width_that_the_lines_cannot_have_is_dropped():
    basis = made(2.5e-4, 4096)
    assert oriented(replace(basis, linewidth=12.8), "file").linewidth == 0.0
    assert oriented(replace(basis, linewidth=1.0), "file").linewidth == 1.0


def test_without_known_singlets_most_of_the_signal_lies_below_water():
    basis = replace(made(2.5e-4, 512), names=("A", "B", "C", "D"))
    assert oriented(basis, "file") is basis
    turned = oriented(replace(basis, fids=basis.fids.conj()), "file")
    np.testing.assert_array_equal(turned.fids, basis.fids)
