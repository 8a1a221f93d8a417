"""The free course of a session's blocks: whether it follows its time model, when and how high it rises.

Blocks whose amplitudes are free, with the covariance of their errors, hold all that the spectra say of a course. A time
model is a plane in their space; what lies outside of it is noise of known covariance, or a course that the model cannot
follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError

DRAWS = 5_000
"""Draws of noise by which the three looks at a residual are calibrated together (SE of p = 0.05: 0.003)."""
PEAK_DRAWS = 400
WITHIN_FACTOR = 2.0
"""What is known beforehand of a fitted time constant: its SD as a factor either way."""
FARTHEST_RISE = 20.0
"""Factor within which it is looked for."""


class LackOfFit(NamedTuple):
    """Test of a course against its time model.

    Attributes
    ----------
    p : float
        NaN where there are no more blocks than coefficients, or the errors have no covariance of full rank.
    chi2, df : float
        Sum of squares of the residual in units of its errors.
    block : int
        Which block is farthest off, and `deviation`, by how many of its standard errors.
    """

    p: float
    chi2: float
    df: int
    block: int
    deviation: float


def lack_of_fit(values: ArrayLike, covariance: ArrayLike, design: ArrayLike, seed: int = 0) -> LackOfFit:
    """Test whether blocks follow a time model, their errors being normal with a known covariance.

    Three looks at the residual of generalised least squares: its whole size (chi squared), its slow components before
    its quick ones (weights 1/j², as in the tests of Cramér and von Mises), and its farthest block. The least of their
    three p-values is referred to its distribution under noise alone, by draws, as the looks depend on each other.

    Parameters
    ----------
    values : (B) float
        Free course; NaN for blocks that have none.
    covariance : (B, B) float
        Of its errors.
    design : (B, k) float
        Constant and regressors.
    seed : int
        Of the draws.
    """
    values, covariance, design = (np.asarray(part, float) for part in (values, covariance, design))
    usable = np.flatnonzero(np.isfinite(values) & np.isfinite(np.diagonal(covariance)))
    b, k = usable.size, np.linalg.matrix_rank(design[usable]) if usable.size else 0
    if b <= k:
        return LackOfFit(np.nan, np.nan, 0, -1, np.nan)
    try:
        lower = np.linalg.cholesky(covariance[np.ix_(usable, usable)])
    except np.linalg.LinAlgError:  # a signal that the spectra do not tell from others
        return LackOfFit(np.nan, np.nan, 0, -1, np.nan)
    left, _, _ = np.linalg.svd(np.linalg.solve(lower, design[usable]))
    outside = left[:, k:]
    slow = np.cos(np.pi * np.outer(np.arange(b) + 0.5, np.arange(1, b)) / b)
    order, _ = np.linalg.qr(outside.T @ np.linalg.solve(lower, slow), mode="complete")
    basis = outside @ order
    to_blocks = lower @ basis
    se = np.linalg.norm(to_blocks, axis=1)
    to_blocks[se > 0] /= se[se > 0, np.newaxis]
    seen = basis.T @ np.linalg.solve(lower, values[usable])
    noise = np.random.default_rng(seed).normal(size=(DRAWS, b - k))

    def looks(components: NDArray) -> NDArray[np.floating]:
        squares = components**2
        weights = np.arange(1, b - k + 1) ** -2.0
        return np.stack([squares.sum(-1), squares @ weights, np.abs(components @ to_blocks.T).max(-1)])

    under, found = looks(noise), looks(seen)
    ranks = np.sort(under, axis=1)

    def least(values: NDArray) -> NDArray[np.floating]:
        above = [DRAWS - np.searchsorted(own, value, side="left") for own, value in zip(ranks, values, strict=True)]
        return np.min(above, axis=0)

    p = (1 + np.sum(least(under) <= least(found))) / (DRAWS + 1)
    off = to_blocks @ seen
    worst = int(np.argmax(np.abs(off)))
    return LackOfFit(float(p), float(found[0]), b - k, int(usable[worst]), float(off[worst]))


class Risen(NamedTuple):
    """A fitted time constant.

    Attributes
    ----------
    rise_s : float
    log_sd : float
        SD of its logarithm.
    slopes : (n) float
        Change of each coefficient with the logarithm of the time constant.
    """

    rise_s: float
    log_sd: float
    slopes: NDArray[np.floating]


def fitted_rise(amplitudes: NDArray, covariance: NDArray, matrix: Callable[[float], NDArray], usual_s: float) -> Risen:
    """Fit the time constant of a regressor to the free amplitudes of all blocks, with everything that follows it.

    Parameters
    ----------
    amplitudes : (B·M) float
        Block after block; NaN for blocks that have none.
    covariance : (B·M, B·M) float
    matrix : callable
        From a time constant (s) to (B·M, n), from coefficients to amplitudes.
    usual_s : float
        What it usually is; its logarithm is normal about this, with an SD of log `WITHIN_FACTOR`.

    Raises
    ------
    InputError
        The blocks cannot tell it: the best one is `FARTHEST_RISE` times off.
    """
    from scipy.optimize import minimize_scalar

    usable = np.flatnonzero(np.isfinite(amplitudes))
    scale = np.sqrt(np.diagonal(covariance)[usable])
    correlation = covariance[np.ix_(usable, usable)] / scale / scale[:, np.newaxis]
    lower = np.linalg.cholesky(correlation + 1e-9 * np.eye(usable.size))
    seen = np.linalg.solve(lower, amplitudes[usable] / scale)

    def solved(log_rise: float) -> tuple[float, NDArray]:
        own = np.linalg.solve(lower, matrix(float(np.exp(log_rise)))[usable] / scale[:, np.newaxis])
        found, *_ = np.linalg.lstsq(own, seen, rcond=None)
        known = (log_rise - np.log(usual_s)) / np.log(WITHIN_FACTOR)
        return 0.5 * float(np.sum((seen - own @ found) ** 2) + known**2), found

    middle, reach = np.log(usual_s), np.log(FARTHEST_RISE)
    starts = np.linspace(middle - reach, middle + reach, 41)
    start = starts[int(np.argmin([solved(value)[0] for value in starts]))]
    step = starts[1] - starts[0]
    best = minimize_scalar(lambda x: solved(x)[0], bounds=(start - step, start + step), method="bounded").x
    if abs(best - middle) > reach - 0.5 * step:
        raise InputError(
            f"the time constant of the regressor with fit_rise goes to {np.exp(best) / 60:.3g} min, {FARTHEST_RISE:g} "
            "times off the rise_min that is given; correct rise_min, or set fit_rise to false"
        )
    h = 0.05
    (low, before), (centre, _), (high, after) = (solved(best + shift) for shift in (-h, 0.0, h))
    curvature = max((low - 2 * centre + high) / h**2, np.log(WITHIN_FACTOR) ** -2)
    return Risen(float(np.exp(best)), float(curvature**-0.5), (after - before) / (2 * h))


@dataclass(frozen=True)
class Ratio:
    """Values that are ratios of weighted sums, to first order in their errors.

    Attributes
    ----------
    values : (k) float
    gradient : (k, n) float
        By what they are made of.
    """

    values: NDArray[np.floating]
    gradient: NDArray[np.floating]

    def covariance(self, covariance: NDArray) -> NDArray[np.floating]:
        """Covariance (k, k), given that (n, n) of what they are made of; what is unknown there is left out."""
        used = np.flatnonzero(np.any(self.gradient, axis=0))
        own = self.gradient[:, used]
        return own @ covariance[np.ix_(used, used)] @ own.T


def ratio_course(amplitudes: NDArray, above: NDArray, below: NDArray | None) -> Ratio:
    """Course of a sum, or of a ratio of sums, over the blocks.

    Parameters
    ----------
    amplitudes : (B, M) float
    above, below : (M) float
        Weights; `below` None: no denominator.
    """
    n_blocks, m = amplitudes.shape
    over = amplitudes @ above
    under = np.ones(n_blocks) if below is None else amplitudes @ below
    values = over / under
    gradient = np.zeros((n_blocks, n_blocks, m))
    own = above - (0.0 if below is None else np.outer(values, below))
    gradient[range(n_blocks), range(n_blocks)] = own / under[:, np.newaxis]
    return Ratio(values, gradient.reshape(n_blocks, -1))


def ratio_of_terms(above: NDArray, below: NDArray | None, coefficients: NDArray, reach: NDArray) -> Ratio:
    """Level of a ratio where all regressors are 0, and its change with each regressor.

    A change is taken from 0 to `reach`, the regressor's largest value of the session, and divided by it: exact for a
    step, and for other courses nearly the slope, whatever the unit of the regressor.

    Parameters
    ----------
    above, below : (1 + k, n) float
        Coefficients of numerator and denominator: the constant's, then those of each regressor.
    coefficients : (n) float
    reach : (k) float
    """
    over = above @ coefficients
    under = np.zeros(len(above)) if below is None else below @ coefficients
    if below is None:
        return Ratio(over, np.array(above, float))
    level = over[0] / under[0]
    base = (above[0] - level * below[0]) / under[0]
    values, gradient = [level], [base]
    for term, x in enumerate(reach, start=1):
        top, bottom = over[0] + x * over[term], under[0] + x * under[term]
        there = top / bottom
        slope = (above[0] + x * above[term] - there * (below[0] + x * below[term])) / bottom
        values.append((there - level) / x)
        gradient.append((slope - base) / x)
    return Ratio(np.array(values), np.array(gradient))


def outcomes(
    course: NDArray, covariance: NDArray, onset_s: NDArray, duration_s: NDArray, baseline: NDArray, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Baseline, area under the curve, peak and time to peak of a free course.

    Parameters
    ----------
    course : (B) float
        NaN for blocks that have none, which are left out.
    covariance : (B, B) float
    onset_s, duration_s : (B) float
    baseline : (B) bool
    seed : int
        Of the draws by which the errors of peak and time to peak are found.

    Returns
    -------
    dict of (value, sd, correlation with the baseline's error)
        ``baseline``, ``auc`` (change from baseline, times min, over the blocks), ``peak`` (largest change), and
        ``time_to_peak`` (min, middle of its block). Empty without blocks of both kinds.
    """
    usable = np.isfinite(course) & np.isfinite(np.diagonal(covariance))
    rest, late = np.flatnonzero(usable & baseline), np.flatnonzero(usable & ~baseline)
    if not rest.size or not late.size:
        return {}
    level = np.zeros(course.size)
    level[rest] = 1 / rest.size
    minutes = np.where(np.isin(np.arange(course.size), late), duration_s / 60, 0.0)
    area = minutes - minutes.sum() * level
    centre = (onset_s + duration_s / 2)[late] / 60

    def peaks(courses: NDArray) -> tuple[NDArray, NDArray]:
        changes = courses[..., late] - courses[..., rest].mean(axis=-1, keepdims=True)
        return changes.max(axis=-1), centre[changes.argmax(axis=-1)]

    known = np.flatnonzero(usable)
    covariance = np.where(usable[:, np.newaxis] & usable, covariance, 0.0)
    values = np.where(usable, course, 0.0)
    drawn = np.tile(values, (PEAK_DRAWS, 1))
    noise = np.random.default_rng(seed).multivariate_normal(
        np.zeros(known.size), covariance[np.ix_(known, known)], PEAK_DRAWS, check_valid="ignore", method="eigh"
    )
    drawn[:, known] += noise
    found = {}
    level_sd = float(np.sqrt(level @ covariance @ level))
    for name, weights in (("baseline", level), ("auc", area)):
        sd = float(np.sqrt(weights @ covariance @ weights))
        both = sd * level_sd
        found[name] = float(weights @ values), sd, float(weights @ covariance @ level) / both if both > 0 else 0.0
    for name, value, spread in zip(("peak", "time_to_peak"), peaks(values), peaks(drawn), strict=True):
        constant = spread.std() == 0 or level_sd == 0
        together = 0.0 if constant else float(np.corrcoef(spread, drawn @ level)[0, 1])
        found[name] = float(value), float(spread.std(ddof=1)), together
    return found
