"""How good a fit is: the numbers that judge one block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrsflow.fitting.fit_model import Model
from mrsflow.fitting.fit_solver import Session, State
from mrsflow.fitting.fit_start import Alignment

SNR_DEFINITION = "height of the highest fitted singlet (NAA in healthy brain) / SD of the noise of the real spectrum"
LAGS = 10
"""Neighbours of a point that the whiteness test looks at."""
SINGLETS = ("NAA", "tNAA", "Cr", "tCr", "PCr", "GPC", "PCh", "PCho")
"""Signals of which the highest gives SNR and linewidth; without any of them, the highest of all."""


def describe(session: Session, state: State, block: int, noise: float, alignment: Alignment) -> dict[str, Any]:
    """Quality of the fit of one block; `alignment` is what was taken out of its data.

    Returns
    -------
    dict
        ``snr`` (see `SNR_DEFINITION`), ``linewidth_hz`` (FWHM of that singlet), ``shift_hz`` and
        ``phase_deg`` (zero order, at the middle of the range), ``residual_ratio`` (residual SD over noise SD),
        ``misfit`` (the same for what the fit counted as noise, by the degrees of freedom that are left), ``lacking``
        (most of what the basis lacks, as part of the highest peak) and ``lacking_ppm`` (where), ``noise_sd`` (units of
        the data), ``lorentz_hz, gauss_hz, skew_hz`` (common line shape; skew: frequencies that decay, together),
        ``whiteness_p`` (Ljung-Box test of the residual, doi:10.1093/biomet/65.2.297; small: structure is left).
    """
    model = session.model
    amplitudes = session.amplitudes_of(state.local, state.shared, block)
    theta = session.theta_of(state.local, state.shared, block)
    heights = np.max(np.abs(amplitudes[:, np.newaxis] * state.signals[block].real), axis=1)
    known = [model.names.index(name) for name in SINGLETS if name in model.names] or range(len(heights))
    reference = max(known, key=lambda k: heights[k])
    residual = np.array([state.residual[block].real, state.residual[block].imag])
    counted = noise / session.unit
    at = model.nuisance.groups["broad_discrepancy"].start
    lacking = session.columns[: model.ppm.size, at:] @ session.nuisance_of(state.local, state.shared, block)[at:]
    return {
        "snr": float(heights[reference] / counted),
        "linewidth_hz": linewidth(model.full_fid(theta, reference), model),
        "shift_hz": float(theta[model.shape.shift] + alignment.shift),
        "phase_deg": float(np.degrees(np.angle(np.exp(1j * (theta[model.shape.phase0] + alignment.phase))))),
        "residual_ratio": float(np.sqrt(np.mean(residual**2)) / counted),
        "misfit": session.unit / session.weight[block] / noise,
        "lacking": float(np.abs(lacking).max() / heights[reference]),
        "lacking_ppm": float(model.ppm[np.argmax(np.abs(lacking))]),
        "noise_sd": float(noise),
        "lorentz_hz": float(theta[model.shape.lorentz]),
        "gauss_hz": float(np.sqrt(theta[model.shape.gauss2])),
        "skew_hz": float(theta[model.shape.eddy] + theta[model.shape.slow_eddy]),
        "whiteness_p": whiteness(residual),
    }


def linewidth(fid: NDArray, model: Model, fill: int = 8) -> float:
    """FWHM (Hz) of the largest peak of a signal."""
    spectrum = np.fft.fft(fid, fill * fid.size).real
    peak = int(np.argmax(spectrum))
    around = np.roll(spectrum, spectrum.size // 2 - peak) / spectrum[peak]
    middle = spectrum.size // 2

    def crossing(side: NDArray) -> float:
        below = int(np.argmax(side < 0.5))
        return below - 1 + (side[below - 1] - 0.5) / (side[below - 1] - side[below])

    width = crossing(around[middle:]) + crossing(around[middle::-1])
    return float(width / (fill * fid.size * model.dwell_time))


def whiteness(sequences: NDArray) -> float:
    """Probability of at least this much autocorrelation in white noise: Ljung-Box test over rows (n, points)."""
    n = sequences.shape[1]
    statistic = 0.0
    for row in sequences - sequences.mean(axis=1, keepdims=True):
        power = row @ row
        correlation = np.array([row[:-lag] @ row[lag:] for lag in range(1, LAGS + 1)]) / power
        statistic += n * (n + 2) * np.sum(correlation**2 / (n - np.arange(1, LAGS + 1)))
    return float(special.gammaincc(LAGS * len(sequences) / 2, statistic / 2))
