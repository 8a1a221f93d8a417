"""Simulated sessions against closed forms and a slow second implementation."""

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.simulation import simulate

FREQUENCY, DWELL, POINTS = 127.73, 5e-4, 1024
SINGLETS = {"NAA": (2.008, 3), "Cr": (3.027, 5), "GPC": (3.212, 9), "Glu": (2.35, 2), "Gln": (2.45, 2)}
AMOUNTS = {"NAA": 10.0, "Cr": 9.0, "GPC": 1.5, "Glu": 10.0, "Gln": 3.0}


@pytest.fixture(scope="module")
def basis():
    t = axes.time_axis(POINTS, DWELL)
    fids = [n * np.exp(2j * np.pi * axes.ppm_to_hz(ppm, FREQUENCY) * t) for ppm, n in SINGLETS.values()]
    return Basis(tuple(SINGLETS), np.array(fids), DWELL, FREQUENCY, reference_ppm=4.65)


def acquisition(n_frames: int, averaged: int, n_coils: int = 4) -> simulate.Acquisition:
    return simulate.Acquisition(FREQUENCY, DWELL, POINTS, n_frames, averaged, n_coils)


def changing(basis, a: simulate.Acquisition) -> simulate.Content:
    course = np.linspace(0, 1, a.n_excitations)
    return simulate.brain_content(basis, AMOUNTS, factor=1 + 0.1 * course, narrowing_hz=0.3 * course)


def noise_free(session: simulate.SimulatedSession, content: simulate.Content) -> np.ndarray:
    """The frames as the coils should receive them, one excitation and one point after the other."""
    a = session.acquisition
    t = np.arange(a.n_points) * a.dwell_time
    frames = np.zeros((a.n_frames, a.n_points), complex)
    for k in range(a.n_excitations):
        signal = content.static + content.factor[k] * content.varying
        width = session.broadening_hz[k] - content.narrowing_hz[k]
        turn = np.radians(session.phase_deg[k]) + 2 * np.pi * session.shift_hz[k] * t
        frames[k // a.excitations_per_frame] += session.amplitude[k] * signal * np.exp(1j * turn - np.pi * width * t)
    frames *= np.exp(1j * session.eddy_phase) / a.excitations_per_frame
    return session.sensitivities[:, np.newaxis, np.newaxis] * frames


@pytest.mark.parametrize("averaged", [1, 8])
def test_frames_are_the_mean_of_their_excitations_plus_the_declared_noise(basis, averaged):
    a = acquisition(24, averaged)
    content = changing(basis, a)
    disturbances = simulate.Disturbances(snr=5, corrupted_fraction=0.1, residual_water=0.0, jitter_deg=20)
    session = simulate.simulate_session(content, a, disturbances, np.random.default_rng(1))
    noise = (session.fid - noise_free(session, content)).reshape(a.n_coils, -1)
    found = noise @ noise.conj().T / noise.shape[1]
    size = np.sqrt(np.diag(session.noise_covariance).real)
    error = 5 / np.sqrt(noise.shape[1])  # five standard errors of a correlation
    np.testing.assert_allclose(
        found / np.outer(size, size), session.noise_covariance / np.outer(size, size), atol=error
    )
    assert np.abs(noise.mean(axis=1) / size).max() < error


@pytest.mark.parametrize("averaged", [1, 8])
def test_snr_is_height_of_naa_over_noise_of_one_excitation_combined(basis, averaged):
    a = acquisition(64, averaged, n_coils=8)
    content = simulate.brain_content(basis, AMOUNTS, n_excitations=a.n_excitations)
    calm = simulate.Disturbances(12.0, 0, 0, 0, 0, 0, 0, 0, 0, residual_water=0.0)
    session = simulate.simulate_session(content, a, calm, np.random.default_rng(2))
    spectra = axes.to_spectrum(np.tensordot(session.coil_weights, session.fid, axes=1))
    clean = axes.to_spectrum(content.static + content.varying)
    sd = (spectra - clean).real.std()
    ppm = axes.ppm_axis(POINTS, DWELL, FREQUENCY)
    height = axes.to_spectrum(content.static).real[np.abs(ppm - 2.008) < 0.05].max()
    assert height / sd == pytest.approx(12 * np.sqrt(averaged), rel=5 / np.sqrt(2 * spectra.size))


def test_coil_weights_keep_the_signal_and_no_others_have_less_noise(basis):
    a = acquisition(2, 1, n_coils=6)
    session = simulate.simulate_session(changing(basis, a), a, simulate.Disturbances(), np.random.default_rng(3))
    w, covariance = session.coil_weights, session.noise_covariance
    assert w @ session.sensitivities == pytest.approx(1)
    least = (w @ covariance @ w.conj()).real
    rng = np.random.default_rng(4)
    for _ in range(50):
        other = w + 0.1 * (rng.normal(size=(6, 2)) @ [1, 1j])
        other /= other @ session.sensitivities
        assert (other @ covariance @ other.conj()).real > least


def test_ideal_average_undoes_everything_but_noise(basis):
    a = acquisition(200, 1)
    content = changing(basis, a)
    session = simulate.simulate_session(
        content,
        a,
        simulate.Disturbances(snr=1e6, drift_hz=10, jitter_deg=30, jitter_amplitude=0),
        np.random.default_rng(5),
    )
    good = ~session.corrupted
    expected = session.signal[good].mean(axis=0) - session.residual_water
    # residual water varies by 10 % from excitation to excitation, so that its mean is known to 10 % / sqrt(n)
    remainder = session.ideal_average() - expected
    share = np.vdot(session.residual_water, remainder) / np.vdot(session.residual_water, session.residual_water)
    assert abs(share - 1) < 0.05
    np.testing.assert_allclose(remainder - share * session.residual_water, 0, atol=1e-4 * np.abs(expected).max())


def test_corrupted_excitations_are_corrupted_as_declared_and_the_others_are_not(basis):
    a = acquisition(100, 8)
    session = simulate.simulate_session(
        changing(basis, a), a, simulate.Disturbances(corrupted_fraction=0.1, jitter_deg=30), np.random.default_rng(6)
    )
    weak = session.amplitude <= 0.6
    turned = np.abs(session.phase_deg) >= 60
    lorentzian, gaussian = 3.5 + session.broadening_hz, simulate.gaussian_part(7.0, 3.5)
    wide = 0.5346 * lorentzian + np.sqrt(0.2166 * lorentzian**2 + gaussian**2) >= 2 * 7.0
    assert session.corrupted.sum() == 80
    np.testing.assert_array_equal(session.corrupted, weak | turned | wide)
    assert min(weak.sum(), turned.sum(), wide.sum()) > 10


def test_drift_is_the_declared_one_and_the_water_reference_shows_the_eddy_currents(basis):
    a = acquisition(50, 8)
    settings = simulate.Disturbances(
        snr=1e5, offset_hz=5, drift_hz=8, wander_hz=0, jitter_hz=0, eddy_hz=-4, eddy_decay=0.04
    )
    session = simulate.simulate_session(changing(basis, a), a, settings, np.random.default_rng(7))
    assert session.shift_hz[[0, -1]] == pytest.approx([5, 13])
    t = axes.time_axis(POINTS, DWELL)
    water = session.coil_weights @ session.water_reference[:, 0]
    frequency = np.diff(np.unwrap(np.angle(water[:100]))) / (2 * np.pi * DWELL) - 5
    np.testing.assert_allclose(frequency, -4 * np.exp(-(t[:99] + DWELL / 2) / 0.04), atol=1e-3)


def test_water_has_two_protons_in_the_units_of_the_metabolites(basis):
    """LCModel's 35.88 mol/l beside 9 mmol/l of creatine, of whose five protons each has the signal 1 here."""
    a = acquisition(2, 1)
    session = simulate.simulate_session(changing(basis, a), a, simulate.Disturbances(snr=1e5), np.random.default_rng(8))
    water = session.coil_weights @ session.water_reference[:, 0]
    assert np.abs(water[0]) == pytest.approx(2 * 35_880, rel=1e-3)


@pytest.mark.parametrize(("linewidth", "lorentzian"), [(7.0, 3.5), (12.0, 3.5), (5.0, 0.0)])
def test_lines_have_the_declared_width(basis, linewidth, lorentzian):
    signal = simulate.metabolite_signals(basis, {"NAA": 1.0}, linewidth, lorentzian)["NAA"]
    fine = 64 * POINTS
    signal = np.concatenate([signal * np.where(np.arange(POINTS) == 0, 0.5, 1), np.zeros(fine - POINTS)])
    spectrum = axes.to_spectrum(signal).real
    peak, hz = spectrum.argmax(), axes.frequency_axis(fine, DWELL)
    left = np.interp(spectrum[peak] / 2, spectrum[peak - 500 : peak], hz[peak - 500 : peak])
    right = np.interp(-spectrum[peak] / 2, -spectrum[peak : peak + 500], hz[peak : peak + 500])
    assert right - left == pytest.approx(linewidth, rel=0.002)  # Olivero's formula is good to 0.02 %


def test_basis_of_another_reference_shift_gives_the_same_signal(basis):
    t = axes.time_axis(POINTS, DWELL)
    hz = axes.ppm_to_hz(SINGLETS["NAA"][0], FREQUENCY, reference_ppm=4.68)
    moved = Basis(("NAA",), 3 * np.exp(2j * np.pi * hz * t)[np.newaxis], DWELL, FREQUENCY, reference_ppm=4.68)
    here, there = (simulate.metabolite_signals(b, {"NAA": 10.0})["NAA"] for b in (basis, moved))
    np.testing.assert_allclose(here, there, atol=1e-9)


def test_same_seed_same_session_another_seed_another(basis):
    a = acquisition(3, 2)
    first, again, other = (
        simulate.simulate_session(changing(basis, a), a, simulate.Disturbances(), np.random.default_rng(seed)).fid
        for seed in (8, 8, 9)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_metabolite_that_the_basis_lacks_is_named(basis):
    with pytest.raises(InputError, match="the basis lacks GABA; it has NAA"):
        simulate.metabolite_signals(basis, {"NAA": 10.0, "GABA": 1.0})
