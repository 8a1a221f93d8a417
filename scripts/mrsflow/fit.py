"""Linear-combination fit of single-voxel spectra: one block alone, or the blocks of a session together.

`fit_session` is the way in. The model of a spectrum is in `mrsflow.fit_model` and `mrsflow.nuisance`, the search in
`mrsflow.fit_solver`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from mrsflow import axes, fit_solver, uncertainty
from mrsflow.errors import InputError
from mrsflow.fit_model import Model
from mrsflow.fit_solver import Session, State

SNR_DEFINITION = "height of the fitted NAA (else largest) signal / SD of the noise of the real spectrum"
TEMPLATE = {"NAA": 10.0, "Cr": 4.5, "PCr": 4.5, "GPC": 1.2, "PCh": 0.6, "PCho": 0.6, "tCr": 9.0, "tNAA": 10.0}
"""Signals by which a spectrum is recognised, in typical amounts (mM)."""
TEMPLATE_PPM = (1.8, 3.4)
START_WIDTH_HZ, START_GAUSS_HZ2 = 4.0, 16.0
LARGEST_SHIFT_PPM = 0.3
BROAD_STARTS_PPM = (-0.05, 0.0, 0.05)
"""Shifts of the macromolecules from which a fit starts; their posterior can have more than one mode."""
SIGNAL_FREE_PPM = (-1.5, 10.5)
"""Noise is measured outside this range."""
MISFIT = 1.1
"""Residual SD over noise SD beyond which misfit counts as noise and the fit is done again."""


class FitError(InputError):
    """A spectrum that cannot be fitted, with the reason."""


@dataclass(frozen=True)
class FitResult:
    """Fit of B blocks with a basis of M signals.

    Attributes
    ----------
    names : tuple of str
        Signals, as in the basis.
    amplitudes : (B, M) float
        Basis units.
    joint_covariance : (B·M, B·M) float
        Of all amplitudes, block after block: inverse Fisher information with every nuisance parameter and prior.
    quality : list of dict
        Per block: snr, linewidth_hz, shift_hz, phase_deg, residual_ratio, whiteness_p, baseline_dimension.
    ppm : (P) float
        Fitted points.
    data, fit, baseline : (B, P) float
        Real spectra in units of the data, phase removed.
    components : (B, M, P) float
    constraints : str
        Every prior in use.
    """

    names: tuple[str, ...]
    amplitudes: NDArray[np.floating]
    joint_covariance: NDArray[np.floating]
    quality: list[dict[str, Any]]
    ppm: NDArray[np.floating]
    data: NDArray[np.floating]
    fit: NDArray[np.floating]
    baseline: NDArray[np.floating]
    components: NDArray[np.floating]
    constraints: str

    @property
    def covariance(self) -> NDArray[np.floating]:
        """Covariance (B, M, M) of the amplitudes of each block."""
        n_blocks, m = self.amplitudes.shape
        blocks = self.joint_covariance.reshape(n_blocks, m, n_blocks, m)
        return np.stack([blocks[b, :, b] for b in range(n_blocks)])


def fit_session(fids: ArrayLike, model: Model, amplitude_map: NDArray | None = None) -> FitResult:
    """Fit the blocks of a session together; one block is a session of its own.

    Parameters
    ----------
    fids : (B, n_points) or (n_points) complex
        Sampled as the basis of `model`.
    model : Model
        Basis and fitted range.
    amplitude_map : (B·M, n) float, optional
        From n coefficients to the amplitudes of the blocks (`mrsflow.dynamic`); None: all amplitudes are free.

    Raises
    ------
    FitError
        A spectrum has no finite, non-zero values, no recognisable signal, runs the wrong way, or fits with tNAA <= 0.
    """
    fids = np.atleast_2d(np.asarray(fids, dtype=complex))
    for fid in fids:
        check_spectrum(fid, model)
    n_blocks, m = len(fids), len(model.names)
    free = np.eye(n_blocks * m)
    mapping = free if amplitude_map is None else amplitude_map
    noise = np.array([noise_sd(fid, model) for fid in fids])
    start = None
    if n_blocks > 1:
        mean = fids.mean(axis=0)
        alone, _ = _fit_single(mean, model, noise.mean() / np.sqrt(n_blocks))
        start = alone.z[m : m + model.shape.size]
        session = Session(model, model.spectrum(fids) / noise[:, np.newaxis], 1 / noise, mapping)
        session, state = _fit_again(session, start)
    else:
        state, session = _fit_single(fids[0], model, noise[0], mapping)
    return _result(session, state)


def check_spectrum(fid: NDArray, model: Model) -> None:
    """Refuse what is not a spectrum of the kind that the basis describes."""
    if not np.all(np.isfinite(fid)):
        raise FitError("the spectrum holds NaN or infinite values")
    if not np.any(fid):
        raise FitError("the spectrum is zero everywhere")
    if fid.size != model.n_points:
        raise FitError(f"the spectrum has {fid.size} points, the basis {model.n_points}")
    if _recognise(np.conj(fid), model)[2] > 1.5 * _recognise(fid, model)[2]:
        raise FitError("the spectrum runs the wrong way in frequency: conjugate it (metabolites are found above 4.65 ppm)")


def noise_sd(fid: NDArray, model: Model) -> float:
    """SD of the noise of the real spectrum: median absolute difference of neighbouring points outside all signals."""
    shift = axes.hz_to_ppm(np.fft.fftfreq(fid.size, model.dwell_time), model.spectrometer_frequency)
    free = np.fft.fftshift((shift < SIGNAL_FREE_PPM[0]) | (shift > SIGNAL_FREE_PPM[1]))
    if free.sum() < 64:
        free = np.ones(free.size, dtype=bool)
        free[free.size // 10 : -free.size // 10] = False
    values = axes.to_spectrum(fid)[free]
    steps = np.diff(values) / np.sqrt(2)
    found = 1.4826 * np.median(np.abs(np.concatenate([steps.real, steps.imag])))
    if not found > 1e-9 * np.abs(fid).max():
        return float(1e-6 * np.abs(model.spectrum(fid)).max())
    return float(found)


def _recognise(fid: NDArray, model: Model) -> tuple[float, float, float]:
    """Shift (Hz), phase (rad) and strength of the singlets of the basis in a spectrum, by correlation."""
    weights = np.array([TEMPLATE.get(name, 0.0) for name in model.names])
    if not weights.any():
        weights = np.where(model.broad, 0.0, 1.0)
    template = (weights @ model.fids) * np.exp(-np.pi * 6 * model.time)
    shift = axes.hz_to_ppm(np.fft.fftfreq(fid.size, model.dwell_time), model.spectrometer_frequency)
    band = (shift > TEMPLATE_PPM[0]) & (shift < TEMPLATE_PPM[1])
    product = np.conj(template) * fft.ifft(fft.fft(fid) * band)
    fine = 8 * fid.size
    largest = int(LARGEST_SHIFT_PPM * model.spectrometer_frequency * fine * model.dwell_time)
    lags = np.arange(-largest, largest + 1)
    match = fft.fft(product, fine)[lags]
    best = int(np.argmax(np.abs(match)))
    return lags[best] / (fine * model.dwell_time), float(np.angle(match[best])), float(np.abs(match[best]))


def _fit_single(
    fid: NDArray, model: Model, noise: float, mapping: NDArray | None = None
) -> tuple[State, Session]:
    m = len(model.names)
    shape = model.shape
    theta = np.zeros(shape.size)
    theta[shape.shift], theta[shape.phase0], _ = _recognise(fid, model)
    theta[shape.lorentz], theta[shape.gauss2] = START_WIDTH_HZ, START_GAUSS_HZ2
    session = Session(
        model, model.spectrum(fid)[np.newaxis] / noise, np.array([1 / noise]), np.eye(m) if mapping is None else mapping
    )
    places = []
    for ppm in BROAD_STARTS_PPM if model.broad.any() else (0.0,):
        trial = theta.copy()
        trial[shape.shifts] = np.where(model.broad, ppm * model.spectrometer_frequency, 0.0)
        place, _ = fit_solver.climb(session, _placed(session, trial), fit_solver.FIRST_STEPS, fit_solver.STIFFNESS)
        places.append(place)
    best = min(places, key=lambda place: place.objective)
    session, state = _fit_again(session, best.z[session.shape_at : session.nuisance_at])
    return state, session


def _fit_again(session: Session, theta: NDArray) -> tuple[Session, State]:
    """Fit from shape parameters; where the model misses more than noise, count the misfit as noise and repeat."""
    state, _ = fit_solver.climb(session, _placed(session, theta), fit_solver.STEPS, evidence=fit_solver.EVIDENCE_STEPS)
    ratio = np.array([np.sqrt(np.mean(r**2)) for r in state.residual])
    if np.any(ratio > MISFIT):
        session = fit_solver.rescaled(session, np.maximum(ratio, 1.0))
        state, _ = fit_solver.climb(session, state.z, fit_solver.STEPS, evidence=fit_solver.EVIDENCE_STEPS)
    return session, state


def _placed(session: Session, theta: NDArray) -> NDArray[np.floating]:
    z = np.zeros(session.size)
    z[session.shape_at : session.nuisance_at] = theta
    return z


def _result(session: Session, state: State) -> FitResult:
    model, m = session.model, len(session.model.names)
    gram, _ = fit_solver.normal_equations(session, state)
    covariance = fit_solver.inverse(gram + np.diag(session.precision()))[: session.n_amplitudes, : session.n_amplitudes]
    joint = session.amplitude_map @ covariance @ session.amplitude_map.T
    amplitudes, quality, curves = [], [], []
    for block in range(len(session.spectra)):
        amplitude, theta, nuisances = session.local(state.z, block)
        half = model.points.size
        rest = (model.nuisance.columns @ nuisances)[:half] / session.scale[block]
        components = amplitude[:, np.newaxis] * state.signals[block][0].real / session.scale[block]
        data = (session.spectra[block] * model.turn(theta)).real / session.scale[block]
        amplitudes.append(amplitude)
        curves.append((data, components.sum(axis=0) + rest, rest, components))
        quality.append(_quality(session, state, block))
    data, fitted, baseline, components = (np.array(part) for part in zip(*curves, strict=True))
    return FitResult(
        model.names, np.array(amplitudes), joint, quality, model.ppm, data, fitted, baseline, components, "",
    )


def _quality(session: Session, state: State, block: int) -> dict[str, Any]:
    model = session.model
    amplitude, theta, _ = session.local(state.z, block)
    return {
        "shift_hz": float(theta[model.shape.shift]),
        "phase_deg": float(np.degrees(theta[model.shape.phase0])),
        "residual_ratio": float(np.sqrt(np.mean(state.residual[block] ** 2))),
    }
