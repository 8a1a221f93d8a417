"""Sums and ratios of fitted amplitudes, with standard deviations from the whole covariance."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

TOTALS = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr", "Cre"),
    "tCho": ("GPC", "PCh", "PCho", "PC", "Cho"),
    "Glx": ("Glu", "Gln"),
}
"""Sums that are reported, and the names that basis sets give to their members."""


def totals(names: tuple[str, ...]) -> dict[str, NDArray[np.floating]]:
    """Weights (M) of the sums that a basis allows; Glx needs both its members, and a signal of that name is kept."""
    found = {}
    for total, members in TOTALS.items():
        weights = np.array([float(name in members) for name in names])
        if total in names or not weights.any() or (total == "Glx" and weights.sum() < 2):
            continue
        found[total] = weights
    return found


@cache
def weights_of(names: tuple[str, ...], quantity: str) -> NDArray[np.floating] | None:
    """Weights (M), not to be changed, of a metabolite or sum; None where the basis does not have it."""
    single = np.array([float(name == quantity) for name in names])
    weights = single if quantity in names else totals(names).get(quantity)
    if weights is not None:
        weights.setflags(write=False)
    return weights


def total(weights: NDArray, amplitudes: NDArray, covariance: NDArray) -> tuple[float, float]:
    """Weighted sum of amplitudes (M) and its standard deviation."""
    return float(weights @ amplitudes), float(np.sqrt(_product(weights, covariance, weights)))


def ratio(numerator: NDArray, denominator: NDArray, amplitudes: NDArray, covariance: NDArray) -> tuple[float, float]:
    """Ratio of two weighted sums and its standard deviation, to first order in the covariance (delta method)."""
    below = float(denominator @ amplitudes)
    value = float(numerator @ amplitudes) / below
    gradient = (numerator - value * denominator) / below
    return value, float(np.sqrt(_product(gradient, covariance, gradient)))


def correlation(first: NDArray, second: NDArray, covariance: NDArray) -> float:
    """Correlation of the errors of two weighted sums."""
    variances = _product(first, covariance, first) * _product(second, covariance, second)
    return float(_product(first, covariance, second) / np.sqrt(variances))


def _product(first: NDArray, covariance: NDArray, second: NDArray) -> float:
    """Covariance of two weighted sums; what is unknown of other signals (NaN) does not count."""
    rows, columns = np.flatnonzero(first), np.flatnonzero(second)
    return float(first[rows] @ covariance[np.ix_(rows, columns)] @ second[columns])
