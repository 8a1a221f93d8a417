"""Tests that need no distribution: the assignment drawn again, and signs flipped with the maximum over blocks."""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models.session_models import dummies, within

CHUNK = 4_000_000  # numbers held at a time


class JointTest(NamedTuple):
    """Median of t over paths and its p; share of paths that are significant in its direction, and its p."""

    median_t: float
    median_p: float
    share: float
    share_p: float


def rerandomise(
    y: ArrayLike,
    fixed: NDArray[np.float64],
    labels: NDArray,
    participant: ArrayLike,
    levels: tuple[str, ...],
    treated: str,
    draws: int,
    seed: int,
) -> tuple[float, NDArray[np.float64], bool]:
    """Draw the assignment of conditions to participants again and compare the t of the analysis of covariance.

    Parameters
    ----------
    y : (n,)
        Session values, sorted by participant and visit.
    fixed : (n, q)
        Columns that stay (visit, baseline); with one row per participant include the intercept.
    labels : (N, k)
        Conditions of each participant in order of visit.
    participant : (n,)
        Participant of each value; n = N k.
    levels : tuple of str
        Conditions, the reference of the contrast first.
    treated : str
    draws : int
        Random assignments when there are more than that; otherwise all of them are taken (two sequences only).
    seed : int

    Returns
    -------
    p : float
        Two-sided; (1 + as extreme)/(1 + draws) for random assignments, exact otherwise.
    t : (draws,) array
        The distribution.
    exact : bool
    """
    orders, exact = assignments(labels, draws, seed)
    observed, t, _ = drawn_t(y, fixed, labels, participant, levels, treated, orders)
    extreme = np.count_nonzero(np.abs(t) >= np.abs(observed) * (1 - 1e-10))
    return (extreme / len(t) if exact else (1 + extreme) / (1 + len(t))), t, exact


def drawn_t(
    y: ArrayLike,
    fixed: NDArray[np.float64],
    labels: NDArray,
    participant: ArrayLike,
    levels: tuple[str, ...],
    treated: str,
    orders: NDArray[np.int_],
    members: ArrayLike | None = None,
) -> tuple[float, NDArray[np.float64], int]:
    """Compute t of the analysis of covariance as observed and for given assignments.

    Parameters
    ----------
    y, fixed, labels, participant, levels, treated
        See `rerandomise`; `labels` of all participants.
    orders : (draws, N)
        Whose labels each participant takes.
    members : (n,) int, optional
        Which participants have values, where not all have.

    Returns
    -------
    observed : float
    t : (draws,) array
    df : int

    Raises
    ------
    InputError
        Too few participants.
    """
    members = np.arange(len(labels)) if members is None else np.asarray(members)
    crossed = labels.shape[1] > 1
    y, fixed = np.asarray(y, float), np.asarray(fixed, float)
    if crossed:
        y, fixed = within(y, participant), within(fixed, participant)
    basis = np.linalg.qr(fixed)[0] if fixed.shape[1] else np.zeros((len(y), 0))
    rest = y - basis @ (basis.T @ y)
    df = len(y) - (len(members) if crossed else 0) - fixed.shape[1] - (len(levels) - 1)
    if df < 1:
        raise InputError(f"{len(members)} participants are too few for a randomisation test of these conditions")
    coded = np.stack([dummies(row, levels) for row in labels])  # (N, k, L - 1)
    which = list(levels).index(treated) - 1
    parts = np.array_split(orders, max(1, -(-len(orders) * coded.size // CHUNK)))
    observed = _t_values(coded[np.newaxis, members], rest, basis, which, df, crossed)[0]
    t = np.concatenate([_t_values(coded[part[:, members]], rest, basis, which, df, crossed) for part in parts])
    return float(observed), t, df


def joint_test(observed: ArrayLike, drawn: ArrayLike, df: ArrayLike, exact: bool, alpha: float = 0.05) -> JointTest:
    """Test all paths of a multiverse together: is there an effect in any, by how they come out as a whole.

    Parameters
    ----------
    observed : (K,)
        t of each path.
    drawn : (draws, K)
        The same for the same re-randomised assignments in every path.
    df : (K,)
        Of t.
    exact : bool
        Whether `drawn` are all assignments, the observed one among them.
    alpha : float
        Level at which a path counts as significant.

    Notes
    -----
    Simonsohn, Simmons & Nelson 2020, doi:10.1038/s41562-020-0912-z: the median, and the share of paths that are
    significant in the direction of the median. Of equal shares that with the larger mean of abs(t) is the more extreme.
    """
    from scipy.special import stdtrit

    limit = stdtrit(np.asarray(df, float), 1 - alpha / 2)

    def of(t: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        middle = np.median(t, axis=-1)
        share = np.mean(t * np.where(middle < 0, -1.0, 1.0)[..., np.newaxis] > limit, axis=-1)
        size = np.abs(t).mean(axis=-1)
        return middle, share, share + 1e-6 * size / (1 + size)

    def p(ours: float, theirs: NDArray) -> float:
        extreme = np.count_nonzero(theirs >= ours * (1 - 1e-10))
        return extreme / len(theirs) if exact else (1 + extreme) / (1 + len(theirs))

    middle, share, ranked = of(np.asarray(observed, float))
    middles, _, order = of(np.asarray(drawn, float))
    return JointTest(float(middle), p(abs(middle), np.abs(middles)), float(share), p(float(ranked), order))


def assignments(labels: NDArray, draws: int, seed: int) -> tuple[NDArray[np.int_], bool]:
    """Orders (draws, N) in which participants take the observed assignments, and whether these are all there are."""
    n = len(labels)
    kinds, code = np.unique(labels.astype(str), axis=0, return_inverse=True)
    code = code.ravel()
    if len(kinds) == 2 and comb(n, int(code.sum())) <= draws:
        first, second = np.flatnonzero(code == 0), np.flatnonzero(code == 1)
        orders = np.empty((comb(n, len(second)), n), int)
        for row, chosen in zip(orders, combinations(range(n), len(second)), strict=True):
            mask = np.zeros(n, bool)
            mask[list(chosen)] = True
            row[mask], row[~mask] = second, first
        return orders, True
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n, dtype=np.int32), (draws, 1)), axis=1), False


def _t_values(coded: NDArray, rest: NDArray, basis: NDArray, which: int, df: int, crossed: bool) -> NDArray[np.float64]:
    """Give t of one level for many assignments, (draws, N, k, L - 1), what stays having been taken out of `rest`."""
    if crossed:
        coded = coded - coded.mean(axis=2, keepdims=True)
    x = coded.reshape(len(coded), -1, coded.shape[-1])
    x = x - basis @ (basis.T @ x)
    gram = np.swapaxes(x, 1, 2) @ x
    right = (rest @ x)[..., np.newaxis]
    inverse = np.linalg.pinv(gram, hermitian=True)
    beta = (inverse @ right)[..., 0]
    rss = np.maximum(rest @ rest - np.sum(beta * right[..., 0], axis=1), 0)
    se = np.sqrt(rss / df * inverse[:, which, which])
    return np.divide(beta[:, which], se, out=np.full(len(se), np.inf), where=se > 0)


def sign_flip_max_t(differences: NDArray[np.float64], draws: int, seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Test every column of within-person differences, the family adjusted by the maximum of |t| over sign flips.

    Parameters
    ----------
    differences : (n, b)
        Participants by blocks; NaN where a block is lost.
    draws : int
    seed : int

    Returns
    -------
    t, p, p_adjusted : (b,) arrays
        `p` of each block alone, also by sign flips.

    Notes
    -----
    Westfall & Young 1993; Nichols & Holmes 2002, doi:10.1002/hbm.1058.
    """
    n = len(differences)
    present = ~np.isnan(differences)
    values = np.where(present, differences, 0)
    count = present.sum(axis=0)
    squares = np.sum(values**2, axis=0)

    def statistic(sums: NDArray) -> NDArray:
        mean = sums / count
        variance = np.maximum(squares - count * mean**2, 0) / (count - 1) / count
        return np.abs(mean) / np.sqrt(np.where(variance > 0, variance, np.nan))

    mean = values.sum(axis=0) / count
    signed = statistic(values.sum(axis=0)) * np.sign(mean)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, n))
    flipped = statistic(signs @ values)
    floor = np.abs(signed) * (1 - 1e-10)
    p = (1 + np.sum(flipped >= floor, axis=0)) / (1 + draws)
    highest = np.nanmax(flipped, axis=1)
    return signed, p, (1 + np.sum(highest[:, np.newaxis] >= floor, axis=0)) / (1 + draws)
