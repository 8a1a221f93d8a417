"""Random effects between trials: estimates with known standard errors, pooled or regressed on what trials differ in.

    y_i = x_i beta + u_i + e_i,    Var u_i = tau2,    Var e_i = v_i known.

tau2 is estimated by restricted maximum likelihood (Viechtbauer 2005, doi:10.3102/10769986030003261) over all of its
range, so that it does not depend on a start. Tests and intervals are those of Hartung and Knapp 2001
(doi:10.1002/sim.1009; of coefficients Knapp and Hartung 2003, doi:10.1002/sim.1482), with and without the guard that
keeps the factor of the variance at 1 or more (Röver et al. 2015, doi:10.1186/s12874-015-0091-1).

statsmodels has neither REML nor moderators; PyMARE, which has both, has no Hartung-Knapp test, and its optimiser ends
1e-6 from the maximum. The sums are those of R's metafor (Viechtbauer 2010, doi:10.18637/jss.v036.i03).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models.mixed import Inference
from mrsflow.models.reml import independent
from mrsflow.models.session_models import inference

GRID = 200
"""Values of tau2 among which the likelihood is searched before its maximum is made exact."""


@dataclass(frozen=True)
class Heterogeneity:
    """How much trials differ beyond their errors.

    Attributes
    ----------
    tau2 : float
        Variance between trials; `low` and `high` are its 95 % limits (Q profile).
    i2_percent : float
        Part of the variance of a typical trial that lies between trials.
    q, df, p : float
        Cochran's test of no variance between trials.
    """

    tau2: float
    low: float
    high: float
    i2_percent: float
    q: float
    df: int
    p: float


@dataclass(frozen=True)
class Pooled:
    """Trials pooled.

    Attributes
    ----------
    beta : (p,)
    covariance : (p, p)
        With tau2 taken as known.
    factor : float
        Of the covariance, by Hartung and Knapp: 1 where trials scatter as they should.
    df : int
    weights : (k,)
        Of the trials, sum 1.
    heterogeneity : Heterogeneity
    """

    beta: NDArray[np.float64]
    covariance: NDArray[np.float64]
    factor: float
    df: int
    weights: NDArray[np.float64]
    heterogeneity: Heterogeneity

    def _scaled(self, guard: bool) -> NDArray[np.float64]:
        return self.covariance * (max(1.0, self.factor) if guard else self.factor)

    def contrast(self, weights: ArrayLike, level: float, guard: bool = False) -> Inference:
        """Test a combination of the coefficients, with the guard or without."""
        w = np.asarray(weights, float)
        return inference(float(self.beta @ w), float(w @ self._scaled(guard) @ w), self.df, level)

    def f_test(self, columns: list[int], guard: bool = False) -> tuple[float, int, int, float]:
        """Test that some coefficients are all 0: F, its degrees of freedom and p."""
        from scipy.special import fdtrc

        part = self.beta[columns]
        own = self._scaled(guard)[np.ix_(columns, columns)]
        f = float(part @ np.linalg.solve(own, part)) / len(columns)
        return f, len(columns), self.df, float(fdtrc(len(columns), self.df, f))

    def prediction(self, level: float, guard: bool = False) -> tuple[float, float]:
        """Interval of the true effect of a further trial (Higgins et al. 2009, doi:10.1111/j.1467-985X.2008.00552.x).

        With the degrees of freedom of the mean, as metafor has it; of a model without moderators.
        """
        from scipy.special import stdtrit

        half = stdtrit(self.df, 0.5 + level / 2) * np.sqrt(self.heterogeneity.tau2 + self._scaled(guard)[0, 0])
        return float(self.beta[0] - half), float(self.beta[0] + half)


def fit(y: ArrayLike, variances: ArrayLike, x: ArrayLike | None = None) -> Pooled:
    """Pool trials.

    Parameters
    ----------
    y : (k,)
        Estimates.
    variances : (k,)
        Squares of their standard errors.
    x : (k, p), optional
        Columns of moderators with the intercept; by default the mean alone.

    Raises
    ------
    InputError
        No more trials than columns, values that are not finite, variances that are not above 0, or columns that are
        combinations of others.
    """
    y, v = np.asarray(y, float), np.asarray(variances, float)
    x = np.ones((len(y), 1)) if x is None else np.asarray(x, float)
    k, p = x.shape
    if not (np.isfinite(y).all() and np.isfinite(v).all() and np.isfinite(x).all() and (v > 0).all()):
        raise InputError("every trial needs a finite estimate and a standard error above 0")
    if k <= p:
        raise InputError(f"{k} trials cannot tell {p} coefficients and how trials differ; more are needed")
    if not independent(x).all():
        raise InputError("a moderator is the same in all trials, or a combination of others; leave it out")
    tau2 = _reml(y, v, x)
    w = 1 / (v + tau2)
    covariance = np.linalg.inv((x.T * w) @ x)
    beta = covariance @ (x.T @ (w * y))
    factor = float(w @ (y - x @ beta) ** 2) / (k - p)
    return Pooled(beta, covariance, factor, k - p, w / w.sum(), _heterogeneity(y, v, x, tau2))


def _reml(y: NDArray, v: NDArray, x: NDArray) -> float:
    """Give the tau2 at which the restricted likelihood is highest, 0 included."""
    from scipy.optimize import brentq

    def fitted(tau2: NDArray) -> tuple[NDArray, NDArray]:
        """Restricted log-likelihood and its derivative at (G,) values of tau2."""
        w = 1 / (v + tau2[:, np.newaxis])
        xw = x.T * w[:, np.newaxis, :]
        inverse = np.linalg.inv(xw @ x)
        beta = inverse @ (xw @ y)[..., np.newaxis]
        residual = w * (y - (x @ beta)[..., 0])
        trace = w.sum(axis=1) - np.einsum("gij,gji->g", inverse, (x.T * w[:, np.newaxis, :] ** 2) @ x)
        loglik = np.log(w).sum(axis=1) + np.linalg.slogdet(inverse)[1] - np.sum(residual**2 / w, axis=1)
        return 0.5 * loglik, 0.5 * (np.sum(residual**2, axis=1) - trace)

    def slope_at(tau2: float) -> float:
        return float(fitted(np.array([tau2]))[1][0])

    scatter = float(np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)) / (len(y) - x.shape[1])
    top = 4.0 * (scatter + v.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-8 * top, top, GRID)])
    slope = fitted(grid)[1]
    # where it rises from 0 on, or from one value to another, there is a maximum between
    turns = np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0))
    found = [brentq(slope_at, *grid[[n, n + 1]], xtol=1e-15 * top, rtol=1e-14) for n in turns]
    values = np.array([0.0, *found])
    return float(values[np.argmax(fitted(values)[0])])


def _heterogeneity(y: NDArray, v: NDArray, x: NDArray, tau2: float) -> Heterogeneity:
    from scipy.special import chdtrc, chdtri

    k, p = x.shape

    def cochran(value: float) -> float:
        w = 1 / (v + value)
        beta = np.linalg.solve((x.T * w) @ x, x.T @ (w * y))
        return float(w @ (y - x @ beta) ** 2)

    def limit(quantile: float) -> float:
        """Give the tau2 at which Q is a quantile: the Q profile (Viechtbauer 2007, doi:10.1002/sim.2514)."""
        from scipy.optimize import brentq

        if cochran(0.0) <= quantile:
            return 0.0
        top = float(v.max())
        while cochran(top) > quantile:
            top *= 4
        return float(brentq(lambda value: cochran(value) - quantile, 0.0, top, xtol=1e-12 * top))

    w = 1 / v
    own = np.diag(w) - (w[:, np.newaxis] * x) @ np.linalg.inv((x.T * w) @ x) @ (x.T * w)
    typical = (k - p) / float(np.trace(own))
    q = cochran(0.0)
    limits = [limit(float(chdtri(k - p, part))) for part in (0.025, 0.975)]
    return Heterogeneity(tau2, *limits, 100 * tau2 / (tau2 + typical), q, k - p, float(chdtrc(k - p, q)))


def asymmetry(y: ArrayLike, variances: ArrayLike) -> Inference:
    """Test whether small trials differ: regression of the estimates on their standard errors.

    Egger et al. 1997, doi:10.1136/bmj.315.7109.629, with random effects (Sterne & Egger 2005,
    doi:10.1002/0470870168.ch6) and the test of Knapp and Hartung.
    """
    se = np.sqrt(np.asarray(variances, float))
    return fit(y, variances, np.column_stack([np.ones_like(se), se])).contrast([0.0, 1.0], 0.95)
