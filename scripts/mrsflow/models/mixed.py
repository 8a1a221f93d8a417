"""Linear mixed models with random intercepts: REML with Satterthwaite's and Kenward and Roger's tests.

All functions take leading dimensions, so that thousands of simulated trials are fitted together. How the likelihood
is computed without ever forming the covariance of the observations is told in `mrsflow.models.reml`.

References
----------
Kenward & Roger 1997, doi:10.2307/2533558; Halekoh & Højsgaard 2014, doi:10.18637/jss.v059.i09 (the form of the
adjustment); Fai & Cornelius 1996, doi:10.1080/00949659608811740 and Kuznetsova et al. 2017, doi:10.18637/jss.v082.i13
(Satterthwaite).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models import reml

DfMethod = Literal["kenward-roger", "satterthwaite"]
SINGULAR = 1e-4  # ratio of standard deviations below which a variance counts as zero (as in lme4)
STARTS = (1.0, 0.01)  # variance ratios from which the search begins; the better end counts


@dataclass(frozen=True)
class Inference:
    """Estimates with their tests; arrays over trials, or scalars."""

    estimate: NDArray
    se: NDArray
    df: NDArray
    t: NDArray
    p: NDArray
    ci_low: NDArray
    ci_high: NDArray


@dataclass(frozen=True)
class Fit:
    """A fitted model, or a stack of them along the leading dimensions.

    Attributes
    ----------
    names : tuple of str
        Fixed effects.
    groups : tuple of str
        Grouping factors.
    beta : (..., p)
    covariance, covariance_kr : (..., p, p)
        Of `beta`; the second with Kenward and Roger's adjustment.
    variances : (..., K)
        Of the random intercepts, in squared units of the outcome.
    residual_variance, loglik : (...)
        `loglik` is the REML log-likelihood with its constant -(n - p)/2 log(2 pi).
    singular, converged : (...) bool
    n_rows : (...) int
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    beta: NDArray
    covariance: NDArray
    covariance_kr: NDArray
    variances: NDArray
    residual_variance: NDArray
    loglik: NDArray
    singular: NDArray
    converged: NDArray
    n_rows: NDArray
    _kr_p: NDArray  # (..., K+1, p, p) with sigma = 1
    _kr_w: NDArray  # (..., K+1, K+1) with sigma = 1
    _jacobian: NDArray  # (..., K+1, p, p) of the covariance by (variance ratios, sigma^2)
    _parameters: NDArray  # (..., K+1, K+1) covariance of (variance ratios, sigma^2)

    def __getitem__(self, index: int) -> "Fit":
        """Take one data set out of a stack."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return Fit(**{k: v if k in ("names", "groups") else v[index] for k, v in kept.items()})

    def contrast(self, weights: ArrayLike, method: DfMethod = "kenward-roger", level: float = 0.95) -> Inference:
        """Test a linear combination of the fixed effects against zero (two-sided).

        Parameters
        ----------
        weights : (p,)
        method : "kenward-roger" or "satterthwaite"
        level : float
            Of the confidence interval.
        """
        from scipy.special import stdtrit

        w = np.asarray(weights, float)
        estimate = self.beta @ w
        variance = _quadratic(w, self.covariance)
        if method == "satterthwaite":
            df = self._satterthwaite(w, variance)
        else:
            df = self._kenward_roger(w[np.newaxis])[0]
            variance = _quadratic(w, self.covariance_kr)
        se = np.sqrt(np.where(variance > 0, variance, np.nan))
        t = estimate / se
        half = stdtrit(df, 0.5 + level / 2) * se
        return Inference(estimate, se, df, t, two_sided(t, df), estimate - half, estimate + half)

    def effect(self, name: str, method: DfMethod = "kenward-roger") -> Inference:
        """Test one fixed effect."""
        return self.contrast(np.eye(len(self.names))[self.names.index(name)], method)

    def f_test(self, rows: ArrayLike, method: DfMethod = "kenward-roger") -> tuple[float, float, float, float]:
        """Test several linear combinations at once; a single fit only.

        Parameters
        ----------
        rows : (q, p)
            Linearly independent.

        Returns
        -------
        f, df1, df2, p : float
        """
        from scipy.special import fdtrc

        rows = np.atleast_2d(np.asarray(rows, float))
        q = len(rows)
        estimate = rows @ self.beta
        if method == "kenward-roger":
            df, scale = self._kenward_roger(rows)
            f = scale * estimate @ np.linalg.solve(rows @ self.covariance_kr @ rows.T, estimate) / q
        else:
            values, vectors = np.linalg.eigh(rows @ self.covariance @ rows.T)
            contrasts = vectors.T @ rows
            f = np.mean((contrasts @ self.beta) ** 2 / values)
            df = _pooled_df(np.array([self._satterthwaite(w, v) for w, v in zip(contrasts, values, strict=True)]))
        return float(f), float(q), float(df), float(fdtrc(q, df, f))

    def _satterthwaite(self, w: NDArray, variance: NDArray) -> NDArray:
        gradient = np.einsum("...kij,i,j->...k", self._jacobian, w, w)
        return 2 * variance**2 / np.einsum("...k,...kl,...l->...", gradient, self._parameters, gradient)

    def _kenward_roger(self, rows: NDArray) -> tuple[NDArray, NDArray]:
        """Denominator df and scale of F for (q, p) combinations (the A1, A2 formulas of the paper)."""
        q = len(rows)
        phi = self.covariance / self.residual_variance[..., np.newaxis, np.newaxis]
        theta = rows.T @ np.linalg.solve(rows @ phi @ rows.T, np.broadcast_to(rows, (*phi.shape[:-2], *rows.shape)))
        m = (theta @ phi)[..., np.newaxis, :, :] @ self._kr_p @ phi[..., np.newaxis, :, :]
        trace = np.einsum("...kii->...k", m)
        a1 = np.einsum("...kl,...k,...l->...", self._kr_w, trace, trace)
        a2 = np.einsum("...kl,...kij,...lji->...", self._kr_w, m, m)
        if q == 1:
            return 2 / a2, np.ones_like(a2)
        b = (a1 + 6 * a2) / (2 * q)
        g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
        c1, c2, c3 = (c / (3 * q + 2 * (1 - g)) for c in (g, q - g, q + 2 - g))
        expectation = 1 / (1 - a2 / q)
        ratio = (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b)) / (q * expectation**2)
        df = 4 + (q + 2) / (q * ratio - 1)
        return df, df / (expectation * (df - 2))


def two_sided(t: ArrayLike, df: ArrayLike) -> NDArray:
    """Two-sided p-value of Student's t, exact in the tails too.

    >>> float(two_sided(2.0, 1.0).round(12))
    0.295167235301
    """
    from scipy.special import betainc

    t, df = np.asarray(t, float), np.asarray(df, float)
    return betainc(df / 2, 0.5, df / (df + t**2))


def independent(tests: Sequence[Inference], level: float = 0.95) -> Inference:
    """Test the sum of independent estimates: variances add up, the degrees of freedom are Satterthwaite's.

    Two means with their standard errors give Welch's test (1947, doi:10.1093/biomet/34.1-2.28).
    """
    from scipy.special import stdtrit

    variance = np.array([test.se**2 for test in tests])
    total = variance.sum(axis=0)
    df = total**2 / np.sum(variance**2 / np.array([test.df for test in tests]), axis=0)
    estimate, se = np.sum([test.estimate for test in tests], axis=0), np.sqrt(total)
    t, half = estimate / se, stdtrit(df, 0.5 + level / 2) * se
    return Inference(estimate, se, df, t, two_sided(t, df), estimate - half, estimate + half)


def fit(
    x: ArrayLike,
    y: ArrayLike,
    groups: dict[str, ArrayLike],
    names: tuple[str, ...] | None = None,
    weights: ArrayLike | None = None,
) -> Fit:
    """Fit by restricted maximum likelihood.

    Parameters
    ----------
    x : (..., n, p)
        Fixed-effect columns; leading dimensions are separate data sets with the same grouping.
    y : (..., n)
    groups : dict
        Name of each random intercept and its (n,) labels; factors may be nested or crossed.
    names : tuple of str, optional
        Of the columns of `x`.
    weights : (..., n), optional
        Relative precision of each row; 0 leaves a row out.

    Raises
    ------
    InputError
        Columns that are linear combinations of others, no residual variation, fewer rows than columns, values
        that are not finite, or groups that no variance can be estimated for.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    names = names or tuple(f"x{i}" for i in range(x.shape[-1]))
    weights = np.ones(y.shape) if weights is None else np.broadcast_to(np.asarray(weights, float), y.shape)
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError("the model needs finite values in every row; infinite or missing ones must be left out first")
    layout = reml.arrange(groups)
    sums, triangle, beta_ols = reml.sum_up(x, y, weights, layout, names)
    reml.refuse_unidentified(sums, tuple(groups))
    ends = [reml.minimise(sums, np.full((*sums.rss.shape, len(layout.terms)), start)) for start in STARTS]
    better = ends[1][1] < ends[0][1] - 1e-9
    gamma = np.where(better[..., np.newaxis], ends[1][0], ends[0][0])
    converged = np.where(better, ends[1][2], ends[0][2])
    return _finish(sums, gamma, converged, triangle, beta_ols, weights, names, tuple(groups))


def _finish(
    sums: reml.Sums,
    gamma: NDArray,
    converged: NDArray,
    triangle: NDArray,
    beta_ols: NDArray,
    weights: NDArray,
    names: tuple[str, ...],
    groups: tuple[str, ...],
) -> Fit:
    """Collect estimates and uncertainty in the user's columns."""
    state = reml.evaluate(sums, gamma)
    slope = reml.differentiate(sums, state)
    back = np.linalg.inv(triangle)
    sigma2 = state.sigma2
    outer = sigma2[..., np.newaxis, np.newaxis]
    adjustment, kr_p, kr_w = _kenward_roger_parts(sums, state, gamma, slope.p)
    phi = state.r_inverse
    jacobian = np.concatenate(
        [
            (outer * phi)[..., np.newaxis, :, :] @ slope.p @ phi[..., np.newaxis, :, :],
            phi[..., np.newaxis, :, :],
        ],
        axis=-3,
    )

    def to_user(matrix: NDArray) -> NDArray:
        a = back if matrix.ndim == back.ndim else back[..., np.newaxis, :, :]
        return a @ matrix @ np.swapaxes(a, -1, -2)

    forward = triangle[..., np.newaxis, :, :]
    log_r = 2 * np.log(np.abs(np.diagonal(triangle, axis1=-2, axis2=-1))).sum(axis=-1)
    log_weights = np.log(np.where(weights > 0, weights, 1)).sum(axis=-1)
    return Fit(
        names=tuple(names),
        groups=groups,
        beta=beta_ols + np.einsum("...ij,...j->...i", back, state.beta),
        covariance=to_user(outer * phi),
        covariance_kr=to_user(outer * (phi + 2 * adjustment)),
        variances=gamma * sigma2[..., np.newaxis],
        residual_variance=sigma2,
        loglik=-(state.deviance + log_r - log_weights) / 2,
        singular=(gamma < SINGULAR**2).any(axis=-1),
        converged=converged,
        n_rows=sums.n,
        _kr_p=np.swapaxes(forward, -1, -2) @ kr_p @ forward,
        _kr_w=kr_w,
        _jacobian=to_user(jacobian),
        _parameters=_parameter_covariance(slope.joint, gamma),
    )


def _parameter_covariance(joint: NDArray, gamma: NDArray) -> NDArray:
    """Inverse observed information of (variance ratios, sigma^2); a variance at zero has no uncertainty."""
    inside = np.concatenate([gamma > 0, np.ones((*gamma.shape[:-1], 1), bool)], axis=-1)
    pair = inside[..., :, np.newaxis] & inside[..., np.newaxis, :]
    scale = np.sqrt(np.abs(np.einsum("...ii->...i", np.where(pair, joint, np.eye(joint.shape[-1])))))
    scale = scale[..., :, np.newaxis] * scale[..., np.newaxis, :]
    inverse = np.linalg.pinv(np.where(pair, joint, np.eye(joint.shape[-1])) / scale, hermitian=True) / scale
    return 2 * np.where(pair, inverse, 0)


def _kenward_roger_parts(sums: reml.Sums, state: reml.State, gamma: NDArray, p_terms: NDArray) -> tuple[NDArray, ...]:
    """Compute the adjustment of the covariance, and the P and W of its degrees of freedom, all with sigma = 1.

    The parameters are the variances of the terms, those at zero included, and of the residual.
    """
    d, phi, k = reml.slots(gamma, sums.terms), state.r_inverse, len(sums.terms)
    u, tu = state.u, state.t @ state.u
    weighted = d[..., np.newaxis] * u
    p_residual = np.linalg.inv(phi) - reml.product(u, weighted)
    q_residual = p_residual - reml.product(tu, weighted)
    t2s = state.t @ state.ts
    used = np.einsum("...cqq,...cq->...", state.ts + t2s, d + np.zeros(state.ts.shape[:-1]))
    p = np.concatenate([p_terms, p_residual[..., np.newaxis, :, :]], axis=-3)
    q = np.empty((*p.shape[:-3], k + 1, *p.shape[-3:]))
    trace = np.empty(q.shape[:-2])
    for i, a in enumerate(sums.terms):
        for j, b in enumerate(sums.terms):
            block = state.ts[..., a, b]
            q[..., i, j, :, :] = reml.product(u[..., a, :], block @ u[..., b, :])
            trace[..., i, j] = np.sum(block**2, axis=(-1, -2, -3))
        mixed = reml.product(u[..., a, :], tu[..., a, :])
        q[..., i, k, :, :], q[..., k, i, :, :] = mixed, np.swapaxes(mixed, -1, -2)
        trace[..., i, k] = trace[..., k, i] = np.einsum("...cqq->...", t2s[..., a, a])
    q[..., k, k, :, :], trace[..., k, k] = q_residual, sums.n - used
    phi_p = phi[..., np.newaxis, :, :] @ p
    information = (
        trace - 2 * np.einsum("...ij,...klji->...kl", phi, q) + np.einsum("...kij,...lji->...kl", phi_p, phi_p)
    )
    scale = np.sqrt(np.einsum("...ii->...i", information))
    scale = scale[..., :, np.newaxis] * scale[..., np.newaxis, :]
    w = 2 * np.linalg.pinv(information / scale, rcond=1e-12, hermitian=True) / scale
    u_matrix = np.einsum("...kl,...klij->...ij", w, q)
    u_matrix -= np.einsum("...kl,...kij,...ljm->...im", w, p, phi_p)
    return phi @ u_matrix @ phi, p, w


def _quadratic(w: NDArray, matrix: NDArray) -> NDArray:
    return np.einsum("i,...ij,j->...", w, matrix, w)


def _pooled_df(df: NDArray) -> float:
    """Denominator df of an F that is a mean of squared t (Fai & Cornelius)."""
    if np.ptp(df) < 1e-8:
        return float(df.mean())
    if (df <= 2).any():
        return 2.0
    expectation = np.sum(df / (df - 2))
    return float(2 * expectation / (expectation - len(df)))
