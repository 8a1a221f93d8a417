"""The Hankel SVD against closed forms, a dense decomposition, and recorded results of hlsvdpropy."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsflow import hankel_svd
from mrsflow.axes import time_axis

DWELL = 5e-4
RECORDED = json.loads(Path(__file__).with_name("hlsvdpropy_2.0.2.json").read_text())["cases"]


def exponentials(frequency, damping, amplitude, n_points, dwell_time=DWELL):
    rates = 2j * np.pi * np.asarray(frequency) + np.asarray(damping)
    return np.asarray(amplitude) @ np.exp(rates[:, np.newaxis] * time_axis(n_points, dwell_time))


def noisy(seed=1, n_points=400):
    rng = np.random.default_rng(seed)
    fid = exponentials([-250, 10, 12, 330], [-20, -30, -80, -25], [2, 30, 5j, 1 - 1j], n_points)
    return fid + 0.05 * (rng.normal(size=n_points) + 1j * rng.normal(size=n_points))


@pytest.mark.parametrize("name", RECORDED)
def test_results_are_those_of_hlsvdpropy(name):
    case = RECORDED[name]
    fid = np.array(case["fid_real"]) + 1j * np.array(case["fid_imag"])
    frequency, damping, amplitude = hankel_svd.decompose(fid, 1.0, case["n_components"])
    expected = np.array(case["amplitude"]) * np.exp(1j * np.array(case["phase"]))
    np.testing.assert_allclose(frequency, case["frequency"], rtol=1e-6)
    np.testing.assert_allclose(damping, case["damping"], rtol=1e-6)
    np.testing.assert_allclose(amplitude, expected, rtol=1e-6)
    water = np.abs(frequency) < 0.02
    theirs = exponentials(
        np.array(case["frequency"])[water], np.array(case["damping"])[water], expected[water], 1024, 1
    )
    ours = exponentials(frequency[water], damping[water], amplitude[water], 1024, 1)
    assert np.abs(ours - theirs).max() < 1e-6 * np.abs(theirs).max()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(-19, 19), min_size=1, max_size=6, unique=True),
    st.integers(200, 420),
    st.integers(0, 2**32 - 1),
)
def test_sums_of_exponentials_are_taken_apart(places, n_points, seed):
    """Also where one of them grows, or does not decay at all."""
    rng = np.random.default_rng(seed)
    frequency = 50.0 * np.sort(places)
    damping = rng.choice([-40.0, -15.0, -3.0, 0.0, 2.0], len(places))
    amplitude = rng.uniform(1, 100, len(places)) * np.exp(2j * np.pi * rng.random(len(places)))
    fid = exponentials(frequency, damping, amplitude, n_points)
    found = hankel_svd.decompose(fid, DWELL, 20)
    assert found[0].size == len(places)  # without noise there is nothing else
    np.testing.assert_allclose(found[0], frequency, atol=1e-6 * 50)
    np.testing.assert_allclose(found[1], damping, atol=1e-6 * 50)
    np.testing.assert_allclose(found[2], amplitude, rtol=1e-6)


def test_equal_singular_values_are_all_found():
    """Undamped exponentials of whole periods: the FID itself leads to one of them only."""
    t = np.arange(64)
    frequency, damping, amplitude = hankel_svd.decompose(np.exp(0.5j * np.pi * t) + np.exp(-0.5j * np.pi * t), 1.0, 5)
    np.testing.assert_allclose(frequency, [-0.25, 0.25], atol=1e-12)
    np.testing.assert_allclose(damping, 0, atol=1e-12)
    np.testing.assert_allclose(amplitude, 1, atol=1e-12)


@pytest.mark.parametrize("n_points", [101, 400])
def test_vectors_are_those_of_a_dense_decomposition(n_points):
    fid = noisy(n_points=n_points)
    n_rows = (n_points + 1) // 2
    dense = np.linalg.svd(scipy.linalg.hankel(fid[:n_rows], fid[n_rows - 1 :]))[0][:, :20]
    found = hankel_svd.leading_vectors(fid, 20)
    np.testing.assert_allclose(found @ found.conj().T, dense @ dense.conj().T, atol=1e-10)


def test_the_same_fid_gives_the_same_bits():
    for fid in (noisy(), exponentials([10], [-5], [3], 300)):
        first, second = (hankel_svd.decompose(fid.copy(), DWELL, 20) for _ in range(2))
        assert [a.tobytes() for a in first] == [b.tobytes() for b in second]


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_signal_does_not_matter(scale):
    one, other = (hankel_svd.decompose(factor * noisy(), DWELL, 8) for factor in (1, scale))
    np.testing.assert_allclose(other[0], one[0], rtol=1e-9)
    np.testing.assert_allclose(other[2], scale * one[2], rtol=1e-7)


def test_an_empty_fid_has_no_components():
    assert [part.size for part in hankel_svd.decompose(np.zeros(64), DWELL, 5)] == [0, 0, 0]


def test_a_signal_of_the_first_point_alone_has_decayed_at_the_second():
    frequency, damping, amplitude = hankel_svd.decompose(7 * np.eye(1, 64)[0], DWELL, 5)
    np.testing.assert_allclose(exponentials(frequency, damping, amplitude, 64), 7 * np.eye(1, 64)[0], atol=1e-12)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="infs or NaNs"):
        hankel_svd.decompose(np.full(64, np.nan), DWELL, 5)
