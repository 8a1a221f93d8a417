"""Sessions of single-voxel spectroscopy whose truth is known, as arrays.

A session is built excitation by excitation: metabolites, macromolecules and residual water, each excitation with its
own frequency, phase, amplitude and width, distorted by eddy currents, received by coils with correlated noise. A
stored frame is the mean of its excitations.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis
from mrsflow.constants import GAUSSIAN, REFERENCE_PPM, WATER_PPM
from mrsflow.errors import InputError

CONCENTRATIONS_MM = {
    "Ala": 0.2, "Asp": 1.5, "Cr": 5.0, "GABA": 1.0, "Glc": 1.0, "Gln": 3.0, "Glu": 10.0, "GPC": 1.2, "GSH": 2.0,
    "Gly": 1.0, "Ins": 5.0, "Lac": 0.5, "NAA": 10.0, "NAAG": 2.0, "PCh": 0.5, "PCr": 4.5, "PE": 0.8, "sIns": 0.4,
    "Tau": 1.5,
}  # fmt: skip
"""Grey matter at rest (mM): set ``normal_v2`` of Wilson's spant, doi:10.21105/joss.03646."""

MACROMOLECULES = (
    # ppm, FWHM (ppm), protons
    (0.913, 0.181, 3.0), (1.207, 0.157, 1.61), (1.394, 0.154, 2.44), (1.646, 0.203, 3.56), (1.917, 0.179, 2.57),
    (2.068, 0.155, 2.38), (2.253, 0.186, 2.13), (2.594, 0.164, 0.40), (2.967, 0.162, 0.88), (3.626, 0.168, 1.19),
    (3.801, 0.150, 1.51), (4.030, 0.160, 0.04),
)  # fmt: skip
"""Lines of one metabolite-nulled scan (Osprey's example data: Philips 3 T, PRESS TE 30 ms, TI 600 ms), as
``benchmarks/macromolecules.py`` fits them: not those of the simulated basis sets, as in a trial."""
MACROMOLECULES_MM = 6.5
"""Amount of the line at 0.9 ppm: 0.7 of creatine, as in the metabolite spectrum of that scan."""
LIPIDS = ((0.89, 0.14, 3.0), (1.28, 0.16, 5.0))
CREATINE_PROTONS = 5
WATER_MM = 35880.0
"""Visible water of the voxel (mM); two protons each. LCModel's WCONC."""


@dataclass(frozen=True)
class Acquisition:
    """How a session is sampled: s, MHz; a stored frame averages `excitations_per_frame` excitations."""

    spectrometer_frequency: float
    dwell_time: float
    n_points: int = 2048
    n_frames: int = 180
    excitations_per_frame: int = 8
    n_coils: int = 8
    n_reference: int = 2
    repetition_time: float = 2.0

    @property
    def n_excitations(self) -> int:
        """Number of excitations of the session, the water reference not counted."""
        return self.n_frames * self.excitations_per_frame

    @property
    def excitation_times(self) -> NDArray[np.floating]:
        """Time of each excitation since the first (s)."""
        return np.arange(self.n_excitations) * self.repetition_time


@dataclass(frozen=True)
class Disturbances:
    """What keeps a session from being ideal.

    Attributes
    ----------
    snr : float
        Of one excitation, coils combined ideally: height of NAA over the SD of the real spectrum.
    offset_hz : float
        Of the transmitter from the water line at the first excitation.
    drift_hz : float
        Linear drift from the first to the last excitation.
    wander_hz : float
        Amplitude of a slow oscillation on top of it.
    jitter_hz : float
        SD of frequency from one excitation to the next.
    jitter_deg : float
        Phase of an excitation is uniform within plus or minus this.
    jitter_amplitude : float
        Relative SD of the amplitude.
    corrupted_fraction : float
        Share of excitations that motion corrupts: amplitude down by 40 % or more, or phase off by more than 60°, or
        width doubled or worse.
    eddy_hz, eddy_decay : float
        Frequency error that eddy currents cause at the first point (Hz), and its decay (s).
    residual_water : float
        Height of the residual water over that of NAA.
    coil_correlation : float
        Correlation of the noise of neighbouring coils.
    """

    snr: float = 3.5
    offset_hz: float = 0.0
    drift_hz: float = 5.0
    wander_hz: float = 0.5
    jitter_hz: float = 0.2
    jitter_deg: float = 5.0
    jitter_amplitude: float = 0.01
    corrupted_fraction: float = 0.03
    eddy_hz: float = 3.0
    eddy_decay: float = 0.05
    residual_water: float = 1.0
    coil_correlation: float = 0.3


@dataclass(frozen=True)
class Content:
    """What the voxel holds: signals of one excitation, undistorted.

    Attributes
    ----------
    static : (n_points,) complex
        Signal that stays.
    varying : (n_points,) complex
        Signal that changes with time (Glx).
    factor : (n_excitations,) float
        By which `varying` is multiplied.
    narrowing_hz : (n_excitations,) float
        By which every line is narrower than in `static` and `varying` (BOLD).
    linewidth : float
        FWHM of the metabolite lines (Hz); the width that corruption doubles.
    proton_signal : float
        Signal of one proton per mM.
    water_mM : float
        Concentration of water that the reference shows.
    """

    static: NDArray[np.complexfloating]
    varying: NDArray[np.complexfloating]
    factor: NDArray[np.floating]
    narrowing_hz: NDArray[np.floating]
    linewidth: float
    proton_signal: float
    water_mM: float = WATER_MM


@dataclass(frozen=True)
class SimulatedSession:
    """A session and its truth.

    Attributes
    ----------
    fid : (coils, frames, points) complex64
    water_reference : (coils, reference frames, points) complex64
    acquisition : Acquisition
    sensitivities : (coils,) complex
        Of the coils, phase included.
    noise_covariance : (coils, coils) complex
        Expectation of n·n^H for the noise n of one stored frame.
    shift_hz, phase_deg, amplitude, broadening_hz : (excitations,) float
        Of each excitation; its signal is multiplied by amplitude·exp(i·phase + 2πi·shift·t − π·broadening·t).
    corrupted : (excitations,) bool
    eddy_phase : (points,) float
        rad; the same for metabolites and water.
    signal : (frames, points) complex
        Mean of the excitations without noise, shift, phase, corruption or eddy currents; residual water included.
    residual_water : (points,) complex
        The part of `signal` that is water.
    """

    fid: NDArray[np.complexfloating]
    water_reference: NDArray[np.complexfloating]
    acquisition: Acquisition
    sensitivities: NDArray[np.complexfloating]
    noise_covariance: NDArray[np.complexfloating]
    shift_hz: NDArray[np.floating]
    phase_deg: NDArray[np.floating]
    amplitude: NDArray[np.floating]
    broadening_hz: NDArray[np.floating]
    corrupted: NDArray[np.bool_]
    eddy_phase: NDArray[np.floating]
    signal: NDArray[np.complexfloating]
    residual_water: NDArray[np.complexfloating]

    @property
    def coil_weights(self) -> NDArray[np.complexfloating]:
        """Weights of the combination ``weights @ fid`` of least noise that keeps the signal (Roemer 1990)."""
        solved = np.linalg.solve(self.noise_covariance, self.sensitivities).conj()
        return solved / (solved @ self.sensitivities)

    def per_frame(self, values: NDArray) -> NDArray:
        """Mean over the excitations of each frame that are not corrupted (NaN where all are)."""
        good = ~self.corrupted.reshape(self.acquisition.n_frames, -1)
        sums = np.where(good, values.reshape(good.shape), 0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return sums / good.sum(axis=1)

    def combined(self) -> NDArray[np.complexfloating]:
        """Frames (frames, points) combined and corrected with the truth."""
        frames = np.tensordot(self.coil_weights, self.fid, axes=1) * np.exp(-1j * self.eddy_phase)
        frames = frames * np.exp(-1j * np.radians(np.nan_to_num(self.per_frame(self.phase_deg))))[:, np.newaxis]
        return axes.shift_frequency(frames, -np.nan_to_num(self.per_frame(self.shift_hz)), self.acquisition.dwell_time)

    def ideal_average(self) -> NDArray[np.complexfloating]:
        """Mean (points,) of the frames without corrupted excitations, combined and corrected with the truth."""
        return self.combined()[~self.corrupted.reshape(self.acquisition.n_frames, -1).any(axis=1)].mean(axis=0)


def metabolite_signals(
    basis: Basis,
    concentrations: Mapping[str, float],
    linewidth: float = 7.0,
    lorentzian: float = 3.5,
    rng: np.random.Generator | None = None,
    shift_sd_hz: float = 0.3,
    width_sd: float = 0.1,
) -> dict[str, NDArray[np.complexfloating]]:
    """Signal of each metabolite, broadened to a Voigt line.

    Parameters
    ----------
    basis : Basis
    concentrations : mapping of name to mM
    linewidth : float
        FWHM of the Voigt line (Hz).
    lorentzian : float
        Its Lorentzian part (Hz).
    rng : Generator, optional
        Draws a small shift (SD `shift_sd_hz`, Hz) and relative width (SD `width_sd`) for each metabolite, so that
        the data are not exactly what a fit assumes. Without it there is none.

    Raises
    ------
    InputError
        The basis lacks a metabolite.
    """
    if missing := [name for name in concentrations if name not in basis.names]:
        raise InputError(f"the basis lacks {', '.join(missing)}; it has {', '.join(basis.names)}")
    t = axes.time_axis(basis.n_points, basis.dwell_time)
    gaussian = gaussian_part(linewidth, lorentzian)
    to_water = (WATER_PPM - basis.reference_ppm) * basis.spectrometer_frequency
    signals = {}
    for name, concentration in concentrations.items():
        shift, width = (0.0, 1.0) if rng is None else (rng.normal(0, shift_sd_hz), rng.normal(1, width_sd))
        extra = max(lorentzian * width - basis.linewidth, 0.0)
        decay = np.exp(-np.pi * extra * t - (np.pi * gaussian * t) ** 2 / GAUSSIAN)
        fid = basis.fids[basis.names.index(name)] * decay
        signals[name] = concentration * axes.shift_frequency(fid, to_water + shift, basis.dwell_time)
    return signals


def gaussian_part(linewidth: float, lorentzian: float) -> float:
    """Gaussian FWHM of a Voigt line of given FWHM and Lorentzian part (Olivero 1977, doi:10.1016/0022-4073(77)90161-3).

    >>> round(gaussian_part(5.0, 0.0), 6)
    5.0
    """
    return float(np.sqrt(max(linewidth - 0.5346 * lorentzian, 0.0) ** 2 - 0.2166 * lorentzian**2))


def proton_signal(basis: Basis) -> float:
    """Signal of one proton per mM, from the first point of creatine."""
    return float(np.abs(basis.fids[basis.names.index("Cr"), 0]) / CREATINE_PROTONS)


def gaussian_lines(
    lines: tuple[tuple[float, float, float], ...], basis: Basis, concentration: float
) -> NDArray[np.complexfloating]:
    """Broad lines (ppm, FWHM in ppm, protons), on the time axis of a basis and per mM of `concentration`."""
    t = axes.time_axis(basis.n_points, basis.dwell_time)
    ppm, width, protons = np.array(lines).T
    hz = axes.ppm_to_hz(ppm, basis.spectrometer_frequency)
    decay = (np.pi * width * basis.spectrometer_frequency)[:, np.newaxis] * t
    fids = np.exp(2j * np.pi * hz[:, np.newaxis] * t - decay**2 / GAUSSIAN)
    return concentration * proton_signal(basis) * protons @ fids


def brain_content(
    basis: Basis,
    concentrations: Mapping[str, float] = CONCENTRATIONS_MM,
    linewidth: float = 7.0,
    factor: NDArray | None = None,
    narrowing_hz: NDArray | None = None,
    n_excitations: int = 1,
    lipid_mM: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Content:
    """Metabolites and macromolecules of grey matter; Glu and Gln are the part that varies.

    Parameters
    ----------
    basis : Basis
        At the dwell time, length and frequency of the acquisition.
    concentrations : mapping of name to mM
    linewidth : float
        FWHM (Hz).
    factor, narrowing_hz : (n_excitations,) float, optional
        As in `Content`; without them nothing changes with time.
    n_excitations : int
        Used where `factor` is not given.
    lipid_mM : float
        Contamination from the scalp.
    rng : Generator, optional
        Small shifts and widths for each metabolite, see `metabolite_signals`.
    """
    signals = metabolite_signals(basis, concentrations, linewidth, rng=rng)
    glx = signals.pop("Glu") + signals.pop("Gln")
    static = sum(signals.values()) + gaussian_lines(MACROMOLECULES, basis, MACROMOLECULES_MM)
    factor = np.ones(n_excitations) if factor is None else factor
    narrowing = np.zeros(len(factor)) if narrowing_hz is None else narrowing_hz
    static = static + gaussian_lines(LIPIDS, basis, lipid_mM)
    return Content(static, glx, factor, narrowing, linewidth, proton_signal(basis))


def simulate_session(
    content: Content, acquisition: Acquisition, disturbances: Disturbances, rng: np.random.Generator
) -> SimulatedSession:
    """Simulate a session.

    Parameters
    ----------
    content : Content
        With one factor for each excitation of `acquisition`.
    acquisition : Acquisition
    disturbances : Disturbances
    rng : Generator
        The only source of chance: the same state gives the same session.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the same rounding whatever the number of threads
        return _session(content, acquisition, disturbances, rng)


def _session(content: Content, a: Acquisition, d: Disturbances, rng: np.random.Generator) -> SimulatedSession:
    t = axes.time_axis(a.n_points, a.dwell_time)
    height = naa_height(content, a)
    states = _excitations(content, a, d, rng)
    eddy = 2 * np.pi * d.eddy_hz * d.eddy_decay * (1 - np.exp(-t / d.eddy_decay))
    water_line = np.exp(-np.pi * 6 * t - (np.pi * 4 * t) ** 2 / GAUSSIAN)
    residual = water_line * np.exp(2j * np.pi * (rng.normal(0, 2) * t + rng.random()))
    residual *= d.residual_water * height / np.abs(axes.to_spectrum(water_line)).max()
    weights = np.stack([np.ones(a.n_excitations), content.factor, rng.normal(1, 0.1, a.n_excitations)], axis=1)
    parts = np.stack([content.static, content.varying, residual])
    rate = 2j * np.pi * states["shift_hz"] + np.pi * (content.narrowing_hz - states["broadening_hz"])
    gain = states["amplitude"] * np.exp(1j * np.radians(states["phase_deg"]))
    disturbed = _frame_means(parts, gain[:, np.newaxis] * weights, rate, a) * np.exp(1j * eddy)
    clean = _frame_means(parts, weights, np.pi * content.narrowing_hz + 0j, a)
    sensitivities, covariance = _coils(a.n_coils, d.coil_correlation, rng)
    noise_sd = height / (d.snr * np.sqrt(a.n_points))  # of the real part of one combined excitation
    best = (sensitivities.conj() @ np.linalg.solve(covariance, sensitivities)).real
    covariance *= 2 * noise_sd**2 * best / a.excitations_per_frame
    water = 2 * content.water_mM * content.proton_signal * water_line * np.exp(1j * eddy)
    water = axes.shift_frequency(water, states["shift_hz"][0], a.dwell_time)
    reference = np.broadcast_to(water, (a.n_reference, a.n_points))
    return SimulatedSession(
        fid=_received(disturbed, sensitivities, covariance, rng),
        water_reference=_received(reference, sensitivities, covariance, rng),
        acquisition=a,
        sensitivities=sensitivities,
        noise_covariance=covariance,
        **states,
        eddy_phase=eddy,
        signal=clean,
        residual_water=residual,
    )


def naa_height(content: Content, acquisition: Acquisition) -> float:
    """Height of the NAA singlet in the real spectrum of one undistorted excitation."""
    spectrum = axes.to_spectrum(content.static).real
    ppm = axes.ppm_axis(acquisition.n_points, acquisition.dwell_time, acquisition.spectrometer_frequency)
    return float(spectrum[np.abs(ppm - REFERENCE_PPM["NAA"]) < 0.05].max())


def _excitations(content: Content, a: Acquisition, d: Disturbances, rng: np.random.Generator) -> dict[str, NDArray]:
    """Frequency, phase, amplitude and width of each excitation."""
    n = a.n_excitations
    course = np.linspace(0, 1, n)
    wander = d.wander_hz * np.sin(2 * np.pi * (rng.uniform(1, 3) * course + rng.random()))
    shift = d.offset_hz + d.drift_hz * course + wander + rng.normal(0, d.jitter_hz, n)
    phase = rng.uniform(-d.jitter_deg, d.jitter_deg, n)
    amplitude = rng.normal(1, d.jitter_amplitude, n)
    broadening = np.zeros(n)
    corrupted = np.zeros(n, bool)
    corrupted[rng.choice(n, round(d.corrupted_fraction * n), replace=False)] = True
    kind = np.where(corrupted, rng.integers(1, 4, n), 0)
    amplitude = np.where(kind == 1, rng.uniform(0.1, 0.6, n), amplitude)
    jump = rng.uniform(60, 180, n) * rng.choice([-1, 1], n)
    phase = np.where(kind == 2, jump + np.sign(jump) * np.abs(phase), phase)
    broadening = np.where(kind == 3, content.linewidth * rng.uniform(1.4, 2.5, n), broadening)  # Voigt doubled at 1.4
    return {
        "shift_hz": shift,
        "phase_deg": phase,
        "amplitude": amplitude,
        "broadening_hz": broadening,
        "corrupted": corrupted,
    }


def _frame_means(parts: NDArray, weights: NDArray, rate: NDArray, a: Acquisition) -> NDArray[np.complexfloating]:
    """Mean over each frame's excitations k of Σ_c weights[k, c] · parts[c](t) · exp(rate[k]·t).

    exp(rate·t) is a product of a coarse and a fine table, as t runs over a regular grid.
    """
    fine = 1 << (a.n_points.bit_length() // 2)
    coarse = -(-a.n_points // fine)
    steps = np.exp(np.multiply.outer(rate, np.arange(fine) * a.dwell_time))
    jumps = np.exp(np.multiply.outer(rate, np.arange(coarse) * fine * a.dwell_time))
    means = np.empty((a.n_frames, a.n_points), complex)
    x = a.excitations_per_frame
    for frame in range(a.n_frames):  # a frame at a time keeps the tables in cache
        k = slice(frame * x, (frame + 1) * x)
        phase_factors = (jumps[k, :, np.newaxis] * steps[k, np.newaxis, :]).reshape(x, -1)[:, : a.n_points]
        means[frame] = np.einsum("cp,cp->p", parts, weights[k].T @ phase_factors) / x
    return means


def _coils(n_coils: int, correlation: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Sensitivities, and a noise covariance whose correlation falls with the distance between coils."""
    sensitivities = rng.lognormal(0, 0.5, n_coils) * np.exp(2j * np.pi * rng.random(n_coils))
    phase = np.exp(2j * np.pi * rng.random(n_coils))
    scale = rng.uniform(0.8, 1.25, n_coils) * phase
    distance = np.abs(np.subtract.outer(np.arange(n_coils), np.arange(n_coils)))
    return sensitivities, np.outer(scale, scale.conj()) * correlation**distance


def _received(
    frames: NDArray, sensitivities: NDArray, covariance: NDArray, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Frames (frames, points) as the coils receive them, with noise."""
    shape = (len(sensitivities), *frames.shape)
    white = rng.standard_normal((shape[0], frames.size, 2), dtype=np.float32).view(np.complex64)[..., 0]
    mixed = (np.linalg.cholesky(covariance) / np.sqrt(2)).astype(np.complex64) @ white
    mixed = mixed.reshape(shape)
    mixed += sensitivities.astype(np.complex64)[:, np.newaxis, np.newaxis] * frames.astype(np.complex64)
    return mixed
