"""What follows from estimates with their standard errors and degrees of freedom alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models.mixed import Inference
from mrsflow.models.session_models import inference

GRID = np.sinh(np.linspace(-10.0, 10.0, 16001))
"""Multiples of a standard deviation at which densities are taken: close in the middle, far out in the tails."""
PARTS = 4000
"""Parts of equal probability into which the distribution of a factor is divided."""


class Estimate(NamedTuple):
    """An estimate with its standard error and degrees of freedom."""

    value: float
    se: float
    df: float


class Posterior(NamedTuple):
    """Mean, standard deviation and central interval of a posterior, and its probability above zero."""

    mean: float
    sd: float
    low: float
    high: float
    above: float


class Product(NamedTuple):
    """A product of two estimates with its interval and two-sided p-value."""

    value: float
    se: float
    low: float
    high: float
    p: float


def equivalence(found: Estimate, low: float | None, high: float | None) -> float:
    """Test that a quantity lies between bounds: the larger p of two one-sided tests.

    Schuirmann 1987, doi:10.1007/BF01068419. With a single bound it is the test of non-inferiority.

    >>> round(equivalence(Estimate(0.0, 1.0, 1e9), -1.644854, 3.0), 6)
    0.05
    """
    from scipy.special import stdtr

    below = 0.0 if low is None else stdtr(found.df, -(found.value - low) / found.se)
    above = 0.0 if high is None else stdtr(found.df, (found.value - high) / found.se)
    return float(max(below, above))


def posterior(found: Estimate, mean: float, sd: float, level: float) -> Posterior:
    """Combine an estimate with a normal prior.

    Parameters
    ----------
    found : Estimate
        Its likelihood is Student's t: with flat priors of every other effect and of the logarithm of the standard
        deviation this is exact for least squares.
    mean, sd : float
        Of the prior.
    level : float
        Of the interval.

    Notes
    -----
    Box & Tiao 1973, doi:10.1002/9781118033197, section 2.12; by the trapezoidal rule.
    """
    from scipy.integrate import cumulative_trapezoid

    x = np.unique(np.concatenate([found.value + found.se * GRID, mean + sd * GRID]))
    t2 = ((x - found.value) / found.se) ** 2
    logs = -0.5 * (found.df + 1) * np.log1p(t2 / found.df) - 0.5 * ((x - mean) / sd) ** 2
    density = np.exp(logs - logs.max())
    below = cumulative_trapezoid(density, x, initial=0.0)
    density, below = density / below[-1], below / below[-1]
    centre = float(np.trapezoid(x * density, x))
    spread = float(np.sqrt(np.trapezoid((x - centre) ** 2 * density, x)))
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], below, x)
    return Posterior(centre, spread, float(low), float(high), 1 - float(np.interp(0.0, x, below)))


def product(a: Estimate, b: Estimate, level: float) -> Product:
    """Multiply two independent estimates; interval and p are those of the distribution of the product.

    MacKinnon et al. 2004, doi:10.1207/s15327906mbr3901_4, with Student's t for each factor. The p-value is twice the
    smaller probability of a sign, so that it is below 1 - level where the interval leaves zero out.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr, stdtrit

    middle = (np.arange(PARTS) + 0.5) / PARTS
    factor = a.value + a.se * stdtrit(a.df, middle)

    def below(value: float) -> float:
        part = stdtr(b.df, (value / factor - b.value) / b.se)
        return float(np.mean(np.where(factor > 0, part, 1 - part)))

    value, se = a.value * b.value, float(np.hypot(a.value * b.se, b.value * a.se))
    span = (abs(a.value) + a.se) * b.se + (abs(b.value) + b.se) * a.se

    def limit(probability: float) -> float:
        ends = [value - span, value + span]
        for k, side in ((0, -1), (1, 1)):
            while side * (below(ends[k]) - probability) < 0:
                ends[k] += side * (ends[1] - ends[0])
        return float(brentq(lambda v: below(v) - probability, *ends, xtol=1e-12 * span))

    return Product(value, se, limit((1 - level) / 2), limit((1 + level) / 2), sign_p(a, b))


def sign_p(a: Estimate, b: Estimate) -> float:
    """Give the two-sided p-value of a product: twice the smaller probability of a sign."""
    from scipy.special import stdtr

    one, other = (float(stdtr(e.df, -e.value / e.se)) for e in (a, b))  # of a negative sign
    negative = one * (1 - other) + (1 - one) * other
    return 2 * min(negative, 1 - negative)


def pooled(values: Sequence[float], variances: Sequence[float], df: float) -> Inference:
    """Pool the estimates of imputed data by Rubin's rules.

    Parameters
    ----------
    values, variances : (m,)
        Of each imputed data set.
    df : float
        Degrees of freedom of a data set without gaps.

    Notes
    -----
    Rubin 1987, doi:10.1002/9780470316696; degrees of freedom of Barnard & Rubin 1999, doi:10.1093/biomet/86.4.948.
    """
    found: NDArray[np.float64] = np.asarray(values, float)
    m = len(found)
    if m < 2:
        raise InputError("two imputed data sets or more are needed")
    inside, between = float(np.mean(variances)), float(found.var(ddof=1)) * (1 + 1 / m)
    total = inside + between
    part = between / total
    observed = (df + 1) / (df + 3) * df * (1 - part)
    left = 1 / (1 / observed + part**2 / (m - 1)) if part > 0 else observed
    return inference(float(found.mean()), total, left)
