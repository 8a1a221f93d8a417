"""Classical analyses of one value per session: ordinary least squares, effect sizes, Fieller, reliability."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models.mixed import Inference, two_sided

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fraction:
    """A ratio with its Fieller interval; the limits are NaN where the set is not bounded."""

    value: float
    low: float
    high: float
    bounded: bool


@dataclass(frozen=True)
class SessionFit:
    """Least squares of session values: the test, who was in it, and its covariates."""

    test: Inference
    n_participants: int
    covariates: tuple[str, ...]


def complete(sessions: "pd.DataFrame", conditions: tuple[str, ...]) -> "pd.DataFrame":
    """Sessions of the participants that have every condition."""
    have = sessions[sessions["condition"].isin(conditions)]
    count = have.groupby("participant")["condition"].transform("nunique")
    return have[count == len(conditions)].sort_values(["participant", "period"]).reset_index(drop=True)


def dummies(values: ArrayLike, levels: tuple) -> NDArray[np.float64]:
    """Make indicator columns of every level but the first, (n, len(levels) - 1)."""
    return (np.asarray(values)[:, np.newaxis] == np.asarray(levels[1:], dtype=object)).astype(float)


def crossover(
    sessions: "pd.DataFrame", conditions: tuple[str, ...], treated: str, reference: str, y: str, baseline: bool
) -> SessionFit:
    """Compare two conditions within participants: least squares with participant, period and, on request, baseline.

    With two periods this is the crossover analysis of the differences (with `baseline`, its analysis of covariance).

    Parameters
    ----------
    sessions : DataFrame
        participant, condition, period, bl and the column `y`.
    conditions : tuple of str
        All conditions; participants that lack one are left out.
    treated, reference : str
    y : str
        Column to compare.
    baseline : bool
        Adjust for the session's baseline.
    """
    used = complete(sessions, conditions)
    n = used["participant"].nunique()
    if n < 2:
        raise InputError(f"{n} participants have every condition; at least two are needed")
    periods = tuple(sorted(used["period"].unique()))
    columns = [dummies(used["condition"], (reference, *(c for c in conditions if c != reference)))]
    others = [c for c in conditions if c != reference]
    columns.append(dummies(used["period"], periods))
    names = ["period"] if len(periods) > 1 else []
    if baseline:
        columns.append(used[["bl"]].to_numpy(float))
        names.append("baseline")
    x = within(np.column_stack(columns), used["participant"])
    test = least_squares(x, within(used[y].to_numpy(float), used["participant"]), others.index(treated), absorbed=n)
    return SessionFit(test, n, tuple(names))


def parallel(
    sessions: "pd.DataFrame", treated: str, reference: str, y: str, baseline: bool, robust: bool = False
) -> SessionFit:
    """Compare two groups by least squares of participant values; `robust`: HC3 standard errors."""
    used = sessions[sessions["condition"].isin([treated, reference])]
    columns = [used["condition"].to_numpy() == treated, np.ones(len(used))]
    if baseline:
        columns.append(used["bl"].to_numpy(float) - used["bl"].mean())
    test = least_squares(np.column_stack(columns).astype(float), used[y].to_numpy(float), 0, robust=robust)
    return SessionFit(test, used["participant"].nunique(), ("baseline",) if baseline else ())


def one_sample(values: ArrayLike) -> Inference:
    """Test a mean against zero (Student)."""
    values = np.asarray(values, float)
    return least_squares(np.ones((values.size, 1)), values, 0)


def within(values: NDArray, participants: ArrayLike) -> NDArray[np.float64]:
    """Take each participant's mean away."""
    code = np.unique(np.asarray(participants, dtype=object).astype(str), return_inverse=True)[1]
    columns = values.reshape(len(values), -1)
    sums = np.zeros((code.max() + 1, columns.shape[1]))
    np.add.at(sums, code, columns)
    return (columns - (sums / np.bincount(code)[:, np.newaxis])[code]).reshape(values.shape)


def least_squares(x: NDArray, y: NDArray, which: int, absorbed: int = 0, robust: bool = False) -> Inference:
    """Fit by least squares and test one coefficient.

    Parameters
    ----------
    x : (n, p)
    y : (n,)
    which : int
        Column to test.
    absorbed : int
        Parameters already taken out of `x` and `y` (participants' means).
    robust : bool
        HC3 standard error (MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7).

    Raises
    ------
    InputError
        No degrees of freedom, or columns that depend on one another.
    """
    import statsmodels.api as sm
    from scipy.special import stdtrit

    df = len(y) - x.shape[1] - absorbed
    if df < 1:
        raise InputError(
            f"{len(y)} values cannot carry {x.shape[1] + absorbed} parameters; more participants are needed"
        )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("an effect cannot be estimated: the columns depend on one another (factors change together)")
    model = sm.OLS(y, x)
    model.df_resid = df
    result = model.fit(cov_type="HC3" if robust else "nonrobust")
    estimate, se = result.params[which], result.bse[which]
    half = stdtrit(df, 0.975) * se
    t = estimate / se
    return Inference(estimate, se, np.float64(df), t, two_sided(t, df), estimate - half, estimate + half)


def fieller(numerator: float, denominator: float, covariance: ArrayLike, df: float, level: float = 0.95) -> Fraction:
    """Give 1 - numerator/denominator with Fieller's confidence set.

    Parameters
    ----------
    numerator, denominator : float
    covariance : (2, 2)
        Of numerator and denominator.
    df : float
        Degrees of freedom of the covariance.

    Notes
    -----
    Fieller 1954, doi:10.1111/j.2517-6161.1954.tb00159.x. The set is bounded only where the denominator differs from
    zero at the same level.
    """
    from scipy.special import stdtrit

    (aa, ab), (_, bb) = np.asarray(covariance, float)
    t2 = float(stdtrit(df, 0.5 + level / 2)) ** 2
    value = 1 - numerator / denominator
    lead = denominator**2 - t2 * bb
    if lead <= 0:
        return Fraction(value, np.nan, np.nan, False)
    middle = numerator * denominator - t2 * ab
    root = np.sqrt(max(middle**2 - lead * (numerator**2 - t2 * aa), 0.0))
    return Fraction(value, 1 - (middle + root) / lead, 1 - (middle - root) / lead, True)


def noncentral_interval(t: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Confidence limits of the noncentrality of a t statistic (Cumming & Finch 2001, doi:10.1177/0013164401614002).

    >>> [round(v, 3) for v in noncentral_interval(2.0, 20)]
    [-0.077, 4.032]
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    tail = (1 - level) / 2
    span = 10 + 3 * abs(t)

    def below(nc: float) -> float:
        found = float(nct.cdf(t, df, nc))
        return found if np.isfinite(found) else float(nc < t)  # SciPy gives NaN in far tails

    def limit(p: float) -> float:
        return brentq(lambda nc: below(nc) - p, t - span, t + span, xtol=1e-10)

    return limit(1 - tail), limit(tail)


def paired_sizes(treated: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Effect sizes of paired values: d_z and Hedges' g_av, with intervals from the noncentral t.

    Parameters
    ----------
    treated, reference : (n,)

    Notes
    -----
    d_z is the mean over the SD of the differences; g_av = J (mean difference) / sqrt((s1^2 + s2^2)/2) with
    J = 1 - 3/(4(n - 1) - 1): Lakens 2013, doi:10.3389/fpsyg.2013.00863. The interval of g_av takes the ratio of the two
    standard deviations as known.
    """
    a, b = np.asarray(treated, float), np.asarray(reference, float)
    n, difference = len(a), np.asarray(treated, float) - np.asarray(reference, float)
    names = ("d_z", "d_z_low", "d_z_high", "g_av", "g_ci_low", "g_ci_high")
    spread = difference.std(ddof=1) if n > 1 else 0.0
    average = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2) if n > 1 else 0.0
    if not (spread > 0 and average > 0):
        return dict.fromkeys(names, np.nan)
    d = difference.mean() / spread
    d_values = np.array([d, *np.divide(noncentral_interval(d * np.sqrt(n), n - 1), np.sqrt(n))])
    g_values = (1 - 3 / (4 * (n - 1) - 1)) * d_values * spread / average
    return dict(zip(names, map(float, [*d_values, *g_values]), strict=True))


def group_sizes(treated: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Hedges' g of two groups, as g_av with its noncentral-t interval; d_z does not exist there."""
    a, b = np.asarray(treated, float), np.asarray(reference, float)
    names = ("d_z", "d_z_low", "d_z_high", "g_av", "g_ci_low", "g_ci_high")
    df = len(a) + len(b) - 2
    pooled = (
        np.sqrt((a.var(ddof=1) * (len(a) - 1) + b.var(ddof=1) * (len(b) - 1)) / df) if min(len(a), len(b)) > 1 else 0
    )
    if not pooled > 0:
        return dict.fromkeys(names, np.nan)
    d, scale = (a.mean() - b.mean()) / pooled, np.sqrt(1 / len(a) + 1 / len(b))
    g = (1 - 3 / (4 * df - 1)) * np.array([d, *np.multiply(noncentral_interval(d / scale, df), scale)])
    return dict(zip(names, [np.nan] * 3 + [float(v) for v in g], strict=True))


def reliability(table: NDArray[np.float64]) -> dict[str, float]:
    """Reliability of repeated baselines: within-person CV, ICC(A,1) and the minimal detectable change.

    Parameters
    ----------
    table : (n, k)
        Participants by visits, complete.

    Returns
    -------
    dict
        cv_within_percent, cv_between_percent, icc, icc_low, icc_high (95 %), sem, mdc (95 %), mdc_percent; empty where
        every value is the same. The interval of the ICC is NaN where its approximation does not hold the estimate.

    Notes
    -----
    Two-way random effects, absolute agreement, single measure, with its F-based interval: McGraw & Wong 1996,
    doi:10.1037/1082-989X.1.1.30. MDC = 1.96 sqrt(2) SEM with SEM from the within-person mean square: Weir 2005,
    doi:10.1519/15184.1.
    """
    from scipy.special import fdtri

    n, k = table.shape
    if not np.ptp(table) > 0:
        return {}
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    msr = k * np.sum((rows - grand) ** 2) / (n - 1)
    msc = n * np.sum((columns - grand) ** 2) / (k - 1)
    mse = np.sum((table - rows[:, np.newaxis] - columns + grand) ** 2) / ((n - 1) * (k - 1))
    icc = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1)))
    low, high = fdtri(n - 1, v, 0.975), fdtri(v, n - 1, 0.975)
    scaled = msr / low  # `low` may be infinite
    icc_low = n * (scaled - mse) / (k * msc + (k * n - k - n) * mse + n * scaled)
    icc_high = n * (high * msr - mse) / (k * msc + (k * n - k - n) * mse + n * high * msr)
    if not icc_low <= icc <= icc_high:  # the approximation fails at a negative ICC of few participants
        icc_low = icc_high = np.nan
    sem = np.sqrt(np.mean(table.var(axis=1, ddof=1)))
    return {
        "cv_within_percent": float(100 * sem / grand),
        "cv_between_percent": float(100 * rows.std(ddof=1) / grand),
        "icc": float(icc), "icc_low": float(icc_low), "icc_high": float(icc_high),
        "sem": float(sem), "mdc": float(1.959964 * np.sqrt(2) * sem),
        "mdc_percent": float(100 * 1.959964 * np.sqrt(2) * sem / grand),
    }  # fmt: skip
