"""Classical analyses of one value per session: ordinary least squares, effect sizes, Fieller, reliability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models import reml
from mrsflow.models.mixed import Inference, two_sided

if TYPE_CHECKING:
    import pandas as pd


ROUNDING = 1e-9  # within which a covariate counts as constant in a participant
DF_LEFT = 0.5  # degrees of freedom that a group needs for a variance of its own


@dataclass(frozen=True)
class Fraction:
    """A ratio with its Fieller interval; the limits are NaN where the set is not bounded."""

    value: float
    low: float
    high: float
    bounded: bool


@dataclass(frozen=True)
class SessionFit:
    """Least squares of session values: the test, the sessions in it, and its covariates.

    Attributes
    ----------
    test : Inference
    sessions : DataFrame
        Rows that were fitted.
    covariates : tuple of str
        In the model, visit included.
    cancelled : tuple of str
        Covariates that are constant within participants and so have no part in a comparison within them.
    """

    test: Inference
    sessions: "pd.DataFrame"
    covariates: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()

    @property
    def n_participants(self) -> int:
        """Participants in the fit."""
        return int(self.sessions["participant"].nunique())


def complete(sessions: "pd.DataFrame", conditions: tuple[str, ...]) -> "pd.DataFrame":
    """Sessions of the participants that have every condition."""
    have = sessions[sessions["condition"].isin(conditions)]
    count = have.groupby("participant")["condition"].transform("nunique")
    return have[count == len(conditions)].sort_values(["participant", "visit"]).reset_index(drop=True)


def comparable(sessions: "pd.DataFrame", conditions: tuple[str, ...]) -> "pd.DataFrame":
    """Sessions of the participants with every condition; where nobody is to have all, of those with two or more."""
    used = complete(sessions, conditions)
    if not used.empty:
        return used
    several = sessions.groupby("participant")["condition"].transform("nunique") > 1
    return sessions[several].sort_values(["participant", "visit"]).reset_index(drop=True)


def refuse_unequal_visits(sessions: "pd.DataFrame") -> None:
    """Refuse to exchange the conditions of participants whose sessions differ in number.

    Raises
    ------
    InputError
        Says how many sessions participants have.
    """
    counts = sorted(sessions.groupby("participant").size().unique())
    if len(counts) > 1:
        raise InputError(
            f"participants have {' and '.join(map(str, counts))} sessions, so that assignments cannot be exchanged"
        )


def dummies(values: ArrayLike, levels: tuple) -> NDArray[np.float64]:
    """Make indicator columns of every level but the first, (n, len(levels) - 1)."""
    return (np.asarray(values)[:, np.newaxis] == np.asarray(levels[1:], dtype=object)).astype(float)


def coded(table: "pd.DataFrame", names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns of covariates in a design matrix, (n, k) each: numbers centred, factors as indicators of their levels."""
    import pandas as pd

    found = {}
    for name in names:
        values = table[name]
        if not pd.api.types.is_numeric_dtype(values):
            order = values.cat.categories if hasattr(values, "cat") else sorted(values.dropna().unique())
            present = set(values)
            found[name] = dummies(values.to_numpy(object), tuple(v for v in order if v in present))
        else:
            found[name] = (values - values.mean()).to_numpy(float)[:, np.newaxis]
    return found


def crossover(
    sessions: "pd.DataFrame",
    conditions: tuple[str, ...],
    weights: Mapping[str, float],
    y: str,
    covariates: Sequence[str] = (),
) -> SessionFit:
    """Compare conditions within participants: least squares with participant, visit and covariates.

    With two visits this is the crossover analysis of the differences (with the baseline, its analysis of covariance).

    Parameters
    ----------
    sessions : DataFrame
        participant, condition, visit, the covariates and the column `y`.
    conditions : tuple of str
        All conditions; participants that lack one are left out, but where nobody has all (`comparable`).
    weights : mapping
        Of the conditions in the contrast, sum 0.
    y : str
        Column to compare.
    covariates : sequence of str
        Columns; those that are constant within every participant cancel.
    """
    used = comparable(sessions, conditions)
    n = used["participant"].nunique()
    if n < 2:
        raise InputError(f"{n} participants have two conditions or more; at least two are needed")
    visits = tuple(sorted(used["visit"].unique()))
    columns = {"condition": dummies(used["condition"], conditions), "visit": dummies(used["visit"], visits)}
    columns, values, people = _cell_means(columns | coded(used, covariates), used[y].to_numpy(float), used)
    columns = {name: within(x, people) for name, x in columns.items()}
    cancelled = tuple(name for name in covariates if not np.abs(columns[name]).max(initial=0) > ROUNDING)
    kept = [name for name in columns if name not in cancelled and columns[name].shape[1]]
    x = np.column_stack([columns[name] for name in kept])
    combination = np.zeros(x.shape[1])
    combination[: len(conditions) - 1] = [weights.get(c, 0.0) for c in conditions[1:]]
    test = least_squares(x, within(values, people), combination, absorbed=n)
    return SessionFit(test, used, tuple(kept[1:]), cancelled)


def _cell_means(
    columns: dict[str, NDArray[np.float64]], values: NDArray[np.float64], sessions: "pd.DataFrame"
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray]:
    """Means over the sessions of each participant and condition, where a condition was given twice.

    The response of a participant to a condition is one draw however often it is measured. Columns of visits that are
    the same in all means are left out.
    """
    people = sessions["participant"].to_numpy(object)
    cell = sessions.groupby(["participant", "condition"], observed=True, sort=False).ngroup().to_numpy()
    count = np.bincount(cell)
    if count.max() == 1:
        return columns, values, people

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((len(count), *x.shape[1:]))
        np.add.at(sums, cell, x)
        return (sums.T / count).T

    first = np.unique(cell, return_index=True)[1]
    own, found = people[first], {name: mean(x) for name, x in columns.items()}
    found["visit"] = found["visit"][:, np.ptp(within(found["visit"], own), axis=0) > ROUNDING]
    found["visit"] = found["visit"][:, reml.independent(within(found["visit"], own))]
    return found, mean(values), own


def parallel(
    sessions: "pd.DataFrame",
    conditions: tuple[str, ...],
    weights: Mapping[str, float],
    y: str,
    covariates: Sequence[str] = (),
    variance: Literal["by condition", "equal", "HC3"] = "by condition",
) -> SessionFit:
    """Compare groups by least squares of participant values; the variance is that of each condition by default.

    Parameters
    ----------
    sessions : DataFrame
        condition, the covariates and the column `y`; rows of other conditions are left out.
    conditions : tuple of str
    weights : mapping
        Of the conditions in the contrast, sum 0.
    y : str
    covariates : sequence of str
    variance : "by condition", "equal" or "HC3"
        By condition: Welch's test where there are no covariates, see `unequal_variances`.
    """
    used = sessions[sessions["condition"].isin(conditions)].reset_index(drop=True)
    present = tuple(c for c in conditions if c in set(used["condition"]))
    if gone := [c for c in weights if c not in present]:
        raise InputError(f"condition {gone[0]!r} has no values")
    x, combination = parallel_design(used, present, weights, covariates)
    values = used[y].to_numpy(float)
    if variance == "by condition":
        test = unequal_variances(x, values, used["condition"].to_numpy(object), combination)
    else:
        test = least_squares(x, values, combination, robust=variance == "HC3")
    return SessionFit(test, used, tuple(covariates))


def parallel_design(
    sessions: "pd.DataFrame", conditions: tuple[str, ...], weights: Mapping[str, float], covariates: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell means and covariates at their mean, (n, p), and the weights of a contrast of the cell means, (p,).

    Raises
    ------
    InputError
        A covariate that cannot be told from the conditions or from those before it.
    """
    x = (sessions["condition"].to_numpy(object)[:, np.newaxis] == np.array(conditions, object)).astype(float)
    for name, columns in coded(sessions, covariates).items():
        rank, x = np.linalg.matrix_rank(x), np.column_stack([x, columns])
        if np.linalg.matrix_rank(x) < rank + columns.shape[1]:
            raise InputError(
                f"{'the baseline' if name == 'bl' else name} changes together with the conditions or with another "
                "covariate, or is the same in everybody, so that a model cannot adjust for it; take it out"
            )
    combination = np.zeros(x.shape[1])
    combination[: len(conditions)] = [weights.get(c, 0.0) for c in conditions]
    return x, combination


def one_sample(values: ArrayLike) -> Inference:
    """Test a mean against zero (Student)."""
    values = np.asarray(values, float)
    return least_squares(np.ones((values.size, 1)), values, [1.0])


def within(values: NDArray, participants: ArrayLike) -> NDArray[np.float64]:
    """Take each participant's mean away."""
    code = np.unique(np.asarray(participants, dtype=object).astype(str), return_inverse=True)[1]
    columns = values.reshape(len(values), -1)
    sums = np.zeros((code.max() + 1, columns.shape[1]))
    np.add.at(sums, code, columns)
    return (columns - (sums / np.bincount(code)[:, np.newaxis])[code]).reshape(values.shape)


def least_squares(x: NDArray, y: NDArray, weights: ArrayLike, absorbed: int = 0, robust: bool = False) -> Inference:
    """Fit by least squares and test a combination of the coefficients.

    Parameters
    ----------
    x : (n, p)
    y : (n,)
    weights : (p,)
        Of the coefficients.
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
    w = np.asarray(weights, float)
    return inference(w @ result.params, w @ result.cov_params() @ w, df)


def inference(estimate: float, variance: float, df: float, level: float = 0.95) -> Inference:
    """Test an estimate with its variance against zero by Student's t.

    Raises
    ------
    InputError
        There is no variance.
    """
    from scipy.special import stdtrit

    if not variance > 0:
        raise InputError("the values do not vary, so that there is no standard error")
    se = np.sqrt(variance)
    half, t = stdtrit(df, 0.5 + level / 2) * se, estimate / se
    return Inference(*map(np.float64, (estimate, se, df, t, two_sided(t, df), estimate - half, estimate + half)))


def unequal_variances(x: NDArray, y: NDArray, groups: NDArray, weights: ArrayLike) -> Inference:
    """Fit by least squares and test a combination of coefficients, each group having a variance of its own.

    Parameters
    ----------
    x : (n, p)
    y : (n,)
    groups : (n,)
        Group of each value.
    weights : (p,)

    Raises
    ------
    InputError
        Columns that depend on one another, or a group that leaves no degrees of freedom.

    Notes
    -----
    Without covariates this is Welch 1947, doi:10.1093/biomet/34.1-2.28. The variances solve E[RSS_g] = sum_h B_gh s_h^2
    with B_gh the squared elements of the residual matrix (Rao's MINQUE, doi:10.1080/01621459.1970.10481070); the
    degrees of freedom are Satterthwaite's.
    """
    variance_of = group_variances(x, y, groups)
    w = np.asarray(weights, float)
    a = x @ np.linalg.solve(x.T @ x, w)
    parts = {g: float(np.sum(a[groups == g] ** 2) * s2) for g, (s2, _) in variance_of.items()}
    total = sum(parts.values())
    df = total**2 / sum(v**2 / variance_of[g][1] for g, v in parts.items()) if total > 0 else np.nan
    return inference(float(a @ y), total, df)


def group_variances(x: NDArray, y: NDArray, groups: NDArray) -> dict[str, tuple[float, float]]:
    """Estimate the variance of each group, and its degrees of freedom, from the residuals of a common fit."""
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("an effect cannot be estimated: the columns depend on one another (factors change together)")
    basis = np.linalg.qr(x)[0]
    names = list(dict.fromkeys(groups))
    gram = np.array([basis[groups == g].T @ basis[groups == g] for g in names])
    count = np.array([np.sum(groups == g) for g in names])
    df = count - np.trace(gram, axis1=1, axis2=2)
    for name, value, n in zip(names, df, count, strict=True):
        if value < DF_LEFT:
            raise InputError(f"condition {name!r} has {n} values, too few for a variance of its own")
    residual = y - basis @ (basis.T @ y)
    rss = np.array([np.sum(residual[groups == g] ** 2) for g in names])
    expected = np.einsum("gij,hji->gh", gram, gram) + np.diag(count - 2 * np.trace(gram, axis1=1, axis2=2))
    found = np.linalg.solve(expected, rss)
    found = np.where(found > 0, found, rss / df)
    return {name: (float(v), float(d)) for name, v, d in zip(names, found, df, strict=True)}


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


class Tested(Protocol):
    """An estimate that was tested."""

    t: float | NDArray
    se: float | NDArray
    df: float | NDArray


class EffectSizes(NamedTuple):
    """Standardised mean differences with their limits."""

    d_z: float
    d_z_low: float
    d_z_high: float
    g_av: float
    g_ci_low: float
    g_ci_high: float


def effect_sizes(test: Tested, pairs: int, spread: float, df: float, level: float = 0.95) -> EffectSizes:
    """Effect sizes of a fitted contrast, with intervals from the noncentral t: they agree with its p.

    Parameters
    ----------
    test : Inference, or another test with t, se and df
    pairs : int
        Participants that have every condition of the contrast; 0 where nobody has, and there is no d_z.
    spread : float
        Root of the mean variance of the conditions' session values.
    df : float
        Of `spread`, for the correction of small samples.
    level : float
        Of the intervals.

    Notes
    -----
    d_z = t / sqrt(pairs), the mean over the SD of the differences as the model has them; g_av = J estimate / spread
    with J = 1 - 3/(4 df - 1): Lakens 2013, doi:10.3389/fpsyg.2013.00863. The interval of g_av takes the ratio of the
    standard error to `spread` as known.
    """
    if not np.isfinite(test.t):
        return EffectSizes(*[np.nan] * 6)
    t = np.array([test.t, *noncentral_interval(float(test.t), float(test.df), level)])
    d = t / np.sqrt(pairs) if pairs > 1 else np.full(3, np.nan)
    g = (1 - 3 / (4 * df - 1)) * t * test.se / spread if spread > 0 and df >= 1 else np.full(3, np.nan)
    return EffectSizes(*map(float, [*d, *g]))


def reliability(table: NDArray[np.float64], level: float = 0.95) -> dict[str, float]:
    """Reliability of repeated baselines: within-person CV, ICC(A,1) and the minimal detectable change.

    Parameters
    ----------
    table : (n, k)
        Participants by visits, complete.
    level : float
        Of the interval of the ICC.

    Returns
    -------
    dict
        cv_within_percent, cv_between_percent, icc, icc_low, icc_high, sem, mdc (95 %), mdc_percent; empty where
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
    low, high = fdtri(n - 1, v, 0.5 + level / 2), fdtri(v, n - 1, 0.5 + level / 2)
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
