"""Multiple imputation of repeated values under the multivariate normal, missing at random or by a reference."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

DEPENDENT = 1e10
"""Condition of the correlations of the values beyond which one of them follows from the others."""
BURN_IN = 100
BETWEEN = 10
"""Rounds of data augmentation before the first imputed data set, and from one to the next."""


def impute(
    values: NDArray, x: NDArray, x_missing: NDArray, draws: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Fill gaps by data augmentation.

    Parameters
    ----------
    values : (n, q)
        Participants by values, NaN where missing.
    x : (n, p)
        Columns that the mean of each value depends on, as arms.
    x_missing : (n, q, p)
        Columns that stand in place of `x` for missing values: equal to `x` they are missing at random; with the arm of
        the reference the participant goes on as one of it (jump to reference), given what was seen.
    draws : int
        Number of imputed data sets.
    rng : Generator

    Yields
    ------
    (n, q) array
        Of each imputed data set.

    Notes
    -----
    Schafer 1997, doi:10.1201/9780367803025, with Jeffreys' prior; jump to reference after Carpenter et al. 2013,
    doi:10.1080/10543406.2013.834911. The parameters come from imputations at random alone.
    """
    n, q = values.shape
    gaps = np.isnan(values)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("the columns of the imputation model depend on one another")
    if (count := (~gaps).sum(axis=0).min()) <= x.shape[1] + q:
        raise InputError(f"a value was seen in {count} participants, too few for {x.shape[1]} effects and {q} values")
    patterns = [(np.flatnonzero((gaps == own).all(axis=1)), own) for own in np.unique(gaps, axis=0) if own.any()]
    root, solve = np.linalg.cholesky(np.linalg.inv(x.T @ x)), np.linalg.pinv(x)
    filled = np.where(gaps, np.nanmean(values, axis=0), values)
    for round_ in range(BURN_IN + draws * BETWEEN):
        beta = solve @ filled
        rest = filled - x @ beta
        sigma = _inverse_wishart(rest.T @ rest, n - x.shape[1], rng)
        beta += root @ rng.standard_normal(beta.shape) @ np.linalg.cholesky(sigma).T
        noise = rng.standard_normal((n, q))
        filled = _conditional(values, x @ beta, x @ beta, sigma, patterns, noise)
        if round_ >= BURN_IN and (round_ - BURN_IN) % BETWEEN == BETWEEN - 1:
            yield _conditional(values, x @ beta, np.einsum("nqp,pq->nq", x_missing, beta), sigma, patterns, noise)


def _inverse_wishart(scatter: NDArray, df: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a covariance, by Bartlett's decomposition of the precision."""
    q, scale = len(scatter), np.sqrt(np.diagonal(scatter))
    if not (scale > 0).all() or np.linalg.cond(scatter / np.outer(scale, scale)) > DEPENDENT:
        raise InputError("the values of a participant depend on one another, so that they cannot be imputed together")
    lower = np.tril(rng.standard_normal((q, q)), -1)
    lower[np.diag_indices(q)] = np.sqrt(rng.chisquare(df - np.arange(q)))
    half = np.linalg.inv(np.linalg.cholesky(np.linalg.inv(scatter)) @ lower)
    return half.T @ half


def _conditional(
    values: NDArray, mean: NDArray, mean_missing: NDArray, sigma: NDArray, patterns: list, noise: NDArray
) -> NDArray[np.float64]:
    """Draw what is missing, given what was seen."""
    filled = values.copy()
    for rows, gap in patterns:
        seen = ~gap
        weight = np.linalg.solve(sigma[np.ix_(seen, seen)], sigma[np.ix_(seen, gap)])
        left = sigma[np.ix_(gap, gap)] - sigma[np.ix_(gap, seen)] @ weight
        known = (values[rows] - mean[rows])[:, seen] @ weight
        drawn = noise[rows][:, : gap.sum()] @ np.linalg.cholesky(left).T
        filled[np.ix_(rows, gap)] = mean_missing[rows][:, gap] + known + drawn
    return filled
