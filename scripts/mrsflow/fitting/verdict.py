"""Whether the numbers of a fit can be trusted: for each block why they are doubtful, empty where they are not."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.fitting import uncertainty
from mrsflow.fitting.fit_model import Model

NEGATIVE_SD = 3.0
"""An amount so many standard deviations below 0 is no noise, though some thirty signals are looked at."""
POSITIVE = ("tNAA", "tCr", "tCho", "Glu", "Glx", "Ins")
"""What every brain has: not positive is impossible."""
MOST_MISFIT = 1.5
"""Residual SD over that of the noise: what eddy currents and motion leave in usable scans is below."""
MOST_LACKING = 0.08
"""What the basis lacks, as part of the highest peak. In usable scans it is 0.01 to 0.03, up to 0.075 where
macromolecules are those of another scan (`make demo`), and 0.12 to 0.5 with a wrong basis set, ghosts or lost points
(``benchmarks/fit_truth.py --parts wrong extra``)."""
TWIN = 0.9995
"""Correlation of a signal, broadened as in the data, with a combination of others beyond which they are one."""
MOST_OFF_HZ = 10.0
"""Frequency (Hz) of a block off that of the others which no drift within a session explains."""
RIVAL_OBJECTIVE = 1.25
"""A start elsewhere is a rival when what its fit leaves is less than this times what the best leaves."""


def of_amounts(names: tuple[str, ...], amplitudes: NDArray[np.floating], covariance: NDArray[np.floating]) -> list[str]:
    """Say which amounts of a block, (M) with (M, M), cannot be.

    Only what is positive in every brain must be so; anything else may be 0 within its error.
    """
    reasons = []
    for name in dict.fromkeys((*POSITIVE, *names)):
        weights = uncertainty.weights_of(names, name)
        if weights is None or name.startswith("-"):
            continue
        value, sd = uncertainty.total(weights, amplitudes, covariance)
        if value < -NEGATIVE_SD * sd or (name in POSITIVE and not value > 0):
            reasons.append(f"{name} is negative ({value / sd:+.1f} SD)")
    return reasons


def of_residual(misfit: float, lacking: float, place: float) -> list[str]:
    """Say whether a fit leaves more than noise: `misfit` and `lacking` as fit quality has them, `place` in ppm."""
    reasons = []
    if misfit > MOST_MISFIT:
        reasons.append(f"the residual is {misfit:.1f} times the noise")
    if lacking > MOST_LACKING:
        reasons.append(f"the basis lacks {100 * lacking:.0f} % of the highest peak at {place:.2f} ppm")
    return reasons


def of_basis(model: Model, width_hz: float) -> str:
    """Say which signals of the basis cannot be told from each other at a line width (Hz); empty where all can.

    The signals are compared as lines of this width in the fitted range: R² of one by all others is its squared multiple
    correlation, from the inverse of their correlation matrix (variance inflation: Belsley et al. 1980, ch. 3,
    doi:10.1002/0471725153).
    """
    narrow = np.flatnonzero(~model.broad)
    spectra = model.spectrum(model.fids[narrow] * np.exp(-np.pi * width_hz * model.time))
    points = np.concatenate([spectra.real, spectra.imag], axis=1)
    norms = np.linalg.norm(points, axis=1)
    seen = norms > 1e-6 * norms.max()
    points, narrow = points[seen] / norms[seen, np.newaxis], narrow[seen]
    values, vectors = np.linalg.eigh(points @ points.T)
    inflation = np.sum(vectors**2 / np.maximum(values, 1e-14), axis=1)
    alike = np.flatnonzero(inflation > 1 / (1 - TWIN**2))
    if not alike.size:
        return ""
    worst = np.sqrt(1 - 1 / inflation[alike].max())
    listed = ", ".join(model.names[narrow[k]] for k in alike)
    return f"the basis cannot tell {listed} apart (correlation {worst:.4f} of one with the others)"


def middle_phase(phases: ArrayLike) -> float:
    """Middle of angles (rad), whichever way round they are counted."""
    turning = np.exp(1j * np.asarray(phases))
    return float(np.angle(np.median(turning.real) + 1j * np.median(turning.imag)))


def of_shifts(shifts: NDArray[np.floating]) -> list[list[str]]:
    """Say which blocks of a session, (B) Hz, lie elsewhere than the others."""
    if len(shifts) < 3:
        return [[] for _ in shifts]
    off = shifts - np.median(shifts)
    return [
        [f"its frequency is {one:+.1f} Hz off that of the other blocks"] if abs(one) > MOST_OFF_HZ else []
        for one in off
    ]
