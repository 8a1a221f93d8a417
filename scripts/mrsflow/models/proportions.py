"""Differences of proportions with intervals that agree with their test: score methods, independent and paired."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrsflow.errors import InputError

ROUNDING = 1e-9


class Difference(NamedTuple):
    """A difference of proportions, the limits of its score interval, and the score test of no difference."""

    value: float
    low: float
    high: float
    z: float
    p: float


def independent(treated: int, n_treated: int, reference: int, n_reference: int, level: float) -> Difference:
    """Compare the proportions of two groups.

    Parameters
    ----------
    treated, reference : int
        Numbers with the event, of `n_treated` and `n_reference`.
    level : float
        Of the interval.

    Notes
    -----
    Miettinen & Nurminen 1985, doi:10.1002/sim.4780040211; the likeliest proportions at a given difference are the root
    of a cubic (Farrington & Manning 1990, doi:10.1002/sim.4780091208).

    >>> [round(v, 4) for v in independent(56, 70, 48, 80, 0.95)][:3]
    [0.2, 0.0528, 0.3382]
    """
    if not (n_treated and n_reference):
        raise InputError("a group has no values")
    n, events, value = n_treated + n_reference, treated + reference, treated / n_treated - reference / n_reference

    def variance(d: float) -> float:
        a, b = float(n), (n + n_reference) * d - n - events
        c, e = (n_reference * d - n - 2 * reference) * d + events, reference * d * (1 - d)
        v = b**3 / (27 * a**3) - b * c / (6 * a**2) + e / (2 * a)
        u = np.copysign(np.sqrt(max(b * b / (9 * a * a) - c / (3 * a), 0.0)), v)
        turn = np.clip(v / u**3, -1, 1) if u else 0.0
        low = float(np.clip(2 * u * np.cos((np.pi + np.arccos(turn)) / 3) - b / (3 * a), 0, 1))  # of the reference
        high = float(np.clip(low + d, 0, 1))
        return (high * (1 - high) / n_treated + low * (1 - low) / n_reference) * n / (n - 1)

    return _by_score(value, variance, level)


def paired(only_treated: int, only_reference: int, n: int, level: float) -> Difference:
    """Compare two proportions of the same participants.

    Parameters
    ----------
    only_treated, only_reference : int
        Participants with the event under the one condition only.
    n : int
        Participants.
    level : float
        Of the interval.

    Notes
    -----
    Tango 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B; its test of no difference is that
    of McNemar.

    >>> [round(v, 4) for v in paired(8, 2, 30, 0.95)][:3]
    [0.2, -0.0075, 0.3993]
    """
    if not n:
        raise InputError("no participant has a value under both conditions")
    apart = only_treated - only_reference

    def variance(d: float) -> float:
        a, b = 2.0 * n, (2 * n - apart) * d - only_treated - only_reference
        c = -only_reference * d * (1 - d)
        own = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # likeliest part with the event in reference only
        return max(2 * own + d * (1 - d), 0.0) / n

    return _by_score(apart / n, variance, level)


def _by_score(value: float, variance: Callable[[float], float], level: float) -> Difference:
    """Give the differences that a score test at 1 - level does not reject."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    critical = float(ndtri(0.5 + level / 2))

    def beyond(d: float, side: float) -> float:
        return side * (value - d) - critical * np.sqrt(max(variance(d), 0.0))

    def limit(side: float) -> float:
        inside = value - side * ROUNDING  # where all are alike the variance is zero at the value itself
        if abs(inside) > 1 or beyond(-side, side) <= 0:
            return -side
        return float(brentq(beyond, -side, inside, (side,), xtol=1e-12))

    none = variance(0.0)
    z = value / np.sqrt(none) if none > 0 else 0.0
    return Difference(value, limit(1.0), limit(-1.0), float(z), float(2 * ndtr(-abs(z))))
