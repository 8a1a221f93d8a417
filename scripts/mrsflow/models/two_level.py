"""Linear mixed models of values that bring the covariance of their own errors with them.

First-level estimates y of sessions (terms of a fit, areas, peaks) have errors of known covariance R; beyond these,
sessions and participants differ with variances that are estimated:

    y = X beta + sum_k Z_k u_k + e,    Var u_k = sigma_k^2 I,    Var e = R known.

The variances are absolute. Where sessions scatter less than their errors say, their variance would stop at zero, and
tests would be conservative by chance or as errors were overstated: then the errors count with a factor, which is
estimated in its place. With equal errors the model is thus that of `mrsflow.models.mixed` for values without errors,
whatever the errors are, and its tests are exact where those are. The tests are its too, as this gives its `Fit`.

References
----------
Restricted likelihood with known variances: Harville 1977, doi:10.1080/01621459.1977.10480998; adjusted covariance and
degrees of freedom for any V linear in its parameters: Kenward and Roger 1997, doi:10.2307/2533558; the same in
meta-analysis: Partlett and Riley 2017, doi:10.1002/sim.7140.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models import reml
from mrsflow.models.mixed import SINGULAR, Fit

ROUNDS = 100
TOLERANCE = 1e-10
STARTS = (1.0, 0.01)
"""Parts of the scatter of y from which the search begins; the better end counts."""


def fit(
    x: ArrayLike,
    y: ArrayLike,
    known: ArrayLike,
    groups: Mapping[str, ArrayLike],
    names: tuple[str, ...] | None = None,
) -> Fit:
    """Fit by restricted maximum likelihood.

    Parameters
    ----------
    x : (n, p)
        Fixed-effect columns.
    y : (n)
    known : (n) or (n, n)
        Variances, or the covariance, of the errors of y.
    groups : mapping
        Name of each random intercept and its (n,) labels; the last is of what errors belong to, as sessions.
    names : tuple of str, optional
        Of the columns of `x`.

    Returns
    -------
    Fit
        `variances` of the groups; `residual_variance` is the factor of the known covariance, 1 where the last variance
        is above 0.

    Raises
    ------
    InputError
        Values that are not finite, errors that are not positive, columns that are combinations of others, or no more
        rows than columns.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    r = np.asarray(known, float)
    r = np.diag(r) if r.ndim == 1 else r
    names = names or tuple(f"x{i}" for i in range(x.shape[1]))
    n, p = x.shape
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(r).all()):
        raise InputError("the model needs finite values and errors in every row; leave out those without")
    if not np.all(np.diagonal(r) > 0):
        raise InputError("a value has no error of its own (a standard deviation of 0); a two-level model needs one")
    if n <= p:
        raise InputError(f"{n} rows cannot tell {p} coefficients and variances; more are needed")
    if not reml.independent(x).all():
        column = names[int(np.flatnonzero(~reml.independent(x))[0])]
        raise InputError(f"column {column!r} is a combination of the others; take it out of the model")
    kernels = np.array([_same(np.asarray(labels)) for labels in groups.values()])
    scale = float(np.mean(np.diagonal(r)) + np.var(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]))
    ends = [_climb(x, y, r, kernels, np.full(len(kernels), start * scale)) for start in STARTS]
    variances, loglik, converged = max(ends, key=lambda end: end[1])
    if variances[-1] > 0:
        return _finished(x, y, r, kernels, variances, loglik, converged, names, tuple(groups), scale)
    kernels = np.array([*kernels[:-1], r])
    variances, loglik, converged = _climb(x, y, 0 * r, kernels, np.append(variances[:-1], 1.0))
    found = _finished(x, y, 0 * r, kernels, variances, loglik, converged, names, tuple(groups), scale)
    return replace(
        found,
        variances=np.append(variances[:-1], 0.0),
        residual_variance=variances[-1],
        singular=np.array(True),
        _kr_p=found._kr_p * variances[-1],  # in units of the factor, as `Fit` has it
    )


def fit_kernels(
    x: ArrayLike, y: ArrayLike, kernels: Mapping[str, NDArray[np.floating]], names: tuple[str, ...] | None = None
) -> Fit:
    """Fit a model whose covariance is a sum of known matrices, each with a variance of its own.

    With these, groups of rows can have residual variances of their own.

    Parameters
    ----------
    x : (n, p)
        Fixed-effect columns.
    y : (n)
    kernels : mapping
        Name and (n, n) matrix of each part of the covariance; together they scatter every row.
    names : tuple of str, optional
        Of the columns of `x`.

    Returns
    -------
    Fit
        `variances` of the kernels, which are its `groups`; `residual_variance` is 1 and has no meaning.

    Raises
    ------
    InputError
        Values that are not finite, columns that are combinations of others, or no more rows than columns.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    names = names or tuple(f"x{i}" for i in range(x.shape[1]))
    n, p = x.shape
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("the model needs finite values in every row; leave out those without")
    if n <= p:
        raise InputError(f"{n} rows cannot tell {p} coefficients and variances; more are needed")
    if not reml.independent(x).all():
        column = names[int(np.flatnonzero(~reml.independent(x))[0])]
        raise InputError(f"column {column!r} is a combination of the others; take it out of the model")
    parts, nothing = np.array(list(kernels.values()), float), np.zeros((n, n))
    scale = float(np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)) / (n - p)
    if not scale > 0:
        raise InputError("the outcome does not vary beyond the fixed effects; there is nothing to test")
    ends = [_climb(x, y, nothing, parts, np.full(len(parts), start * scale)) for start in STARTS]
    variances, loglik, converged = max(ends, key=lambda end: end[1])
    return _finished(x, y, nothing, parts, variances, loglik, converged, names, tuple(kernels), scale)


def _same(labels: NDArray) -> NDArray[np.floating]:
    """Z Z': which rows share a level."""
    return (labels[:, np.newaxis] == labels).astype(float)


class _Point:
    """The likelihood at given variances."""

    def __init__(self, x: NDArray, y: NDArray, r: NDArray, kernels: NDArray, variances: NDArray) -> None:
        v = r + np.tensordot(variances, kernels, axes=1)
        lower = np.linalg.cholesky(v)
        root = np.linalg.inv(lower)
        self.inverse = root.T @ root
        self.vx = self.inverse @ x
        self.phi = np.linalg.inv(x.T @ self.vx)
        self.beta = self.phi @ (self.vx.T @ y)
        self.residual = self.inverse @ (y - x @ self.beta)
        log_det = 2 * np.log(np.diagonal(lower)).sum() - np.linalg.slogdet(self.phi)[1]
        n, p = x.shape
        self.loglik = -0.5 * (log_det + (y - x @ self.beta) @ self.residual + (n - p) * np.log(2 * np.pi))

    def derivatives(self, kernels: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Gradient, observed and expected information of the variances."""
        projected = self.inverse - self.vx @ self.phi @ self.vx.T
        pk = projected @ kernels
        seen = kernels @ self.residual
        gradient = 0.5 * (np.einsum("ki,i->k", seen, self.residual) - np.einsum("kii->k", pk))
        expected = 0.5 * np.einsum("kij,lji->kl", pk, pk)
        observed = np.einsum("ki,ij,lj->kl", seen, projected, seen) - expected
        return gradient, observed, expected


def _climb(x: NDArray, y: NDArray, r: NDArray, kernels: NDArray, start: NDArray) -> tuple[NDArray, float, bool]:
    """Maximise over variances of at least 0, by Newton steps where they climb and scoring steps where not."""
    variances = start
    point = _Point(x, y, r, kernels, variances)
    for _ in range(ROUNDS):
        gradient, observed, expected = point.derivatives(kernels)
        free = ~((variances <= 0) & (gradient <= 0))
        if not free.any():
            return variances, point.loglik, True
        own = np.ix_(free, free)
        bent = np.linalg.eigvalsh(observed[own])[0] > 0
        step = np.zeros_like(variances)
        step[free] = np.linalg.lstsq((observed if bent else expected)[own], gradient[free], rcond=1e-12)[0]
        if step @ gradient < TOLERANCE:
            return variances, point.loglik, True
        length = 1.0
        for _ in range(30):
            proposed = np.maximum(variances + length * step, 0.0)
            try:
                new = _Point(x, y, r, kernels, proposed)
            except np.linalg.LinAlgError:  # nothing is left that scatters
                new = None
            if new is not None and new.loglik > point.loglik:
                break
            length /= 2
        else:
            return variances, point.loglik, bool(step @ gradient < 1e-6)
        variances, point = proposed, new
    return variances, point.loglik, False


def _finished(
    x: NDArray, y: NDArray, r: NDArray, kernels: NDArray, variances: NDArray, loglik: float, converged: bool,
    names: tuple[str, ...], groups: tuple[str, ...], scale: float,
) -> Fit:  # fmt: skip
    point = _Point(x, y, r, kernels, variances)
    _, observed, expected = point.derivatives(kernels)
    between = np.array([point.vx.T @ kernel @ point.vx for kernel in kernels])
    both = np.array([[point.vx.T @ a @ point.inverse @ b @ point.vx for b in kernels] for a in kernels])
    w = np.linalg.pinv(expected, rcond=1e-12, hermitian=True)
    phi = point.phi
    adjustment = np.einsum("kl,klij->ij", w, both) - np.einsum("kl,kij,jm,lmn->in", w, between, phi, between)
    inside = variances > 0
    parameters = np.zeros_like(expected)
    if inside.any():
        own = np.ix_(inside, inside)
        curved = np.linalg.eigvalsh(observed[own])[0] > 0
        parameters[own] = np.linalg.pinv((observed if curved else expected)[own], rcond=1e-12, hermitian=True)
    return Fit(
        names=tuple(names),
        groups=groups,
        beta=point.beta,
        covariance=phi,
        covariance_kr=phi + 2 * phi @ adjustment @ phi,
        variances=variances,
        residual_variance=np.array(1.0),
        loglik=np.array(loglik),
        singular=np.array(bool((variances < SINGULAR**2 * scale).any())),
        converged=np.array(converged),
        n_rows=np.array(len(y)),
        _kr_p=between,
        _kr_w=w,
        _jacobian=np.array([phi @ own @ phi for own in between]),
        _parameters=parameters,
    )
