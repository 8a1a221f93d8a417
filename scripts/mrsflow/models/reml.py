"""Restricted maximum likelihood of random intercepts, component by component, for many data sets together.

The covariance of the observations is V = sigma^2 (I + Z D Z') with indicator columns Z and a diagonal D of variance
ratios. Rows that share no level of any grouping factor are independent, so V falls into components (participants,
when all factors are nested in them). No V is ever formed: with S = Z'Z and T = (I + S D)^-1 within a component,
Z'M^-j X = T^j Z'X for M = V / sigma^2, and the likelihood and its derivatives follow from matrices as small as the
number of levels in a component.

References
----------
Bates et al. 2015, doi:10.18637/jss.v067.i01 (profiled REML); Bertsekas 1982, doi:10.1137/0320018 (projected Newton).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError

ALIASED = 1e-8  # part of a column that is not explained by the columns before it
MAX_LEVELS = 2000  # in one component


class Layout(NamedTuple):
    """Rows and levels of the grouping factors, arranged by independent components.

    Attributes
    ----------
    position : (C, R) int
        Row numbers of each component; -1 where a component has fewer than R rows.
    z : (C, R, Q)
        Indicators of the levels, in slots; a component with fewer levels leaves slots empty.
    terms : tuple of slice
        Slots of each grouping factor.
    """

    position: NDArray[np.int_]
    z: NDArray[np.float64]
    terms: tuple[slice, ...]


class Sums(NamedTuple):
    """What the data say: sums over rows, for orthonormal fixed-effect columns and least-squares residuals."""

    s: NDArray  # (..., C, Q, Q) Z'Z
    zx: NDArray  # (..., C, Q, p) Z'X
    zy: NDArray  # (..., C, Q) Z'y
    rss: NDArray  # (...)
    n: NDArray  # (...)
    terms: tuple[slice, ...]


class State(NamedTuple):
    """Deviance at given variance ratios and what its derivatives need."""

    deviance: NDArray
    sigma2: NDArray
    r_inverse: NDArray  # (..., p, p) inverse of X'M^-1 X
    beta: NDArray
    t: NDArray  # (..., C, Q, Q)
    ts: NDArray  # (..., C, Q, Q) Z'M^-1 Z
    u: NDArray  # (..., C, Q, p) Z'M^-1 X
    v: NDArray  # (..., C, Q) Z'M^-1 (y - X beta)


def arrange(groups: dict[str, ArrayLike]) -> Layout:
    """Find the independent components of grouping factors and arrange rows and levels by them.

    Parameters
    ----------
    groups : dict
        Name of each factor and its (n,) labels.

    Raises
    ------
    InputError
        A factor with a single level, with a level for every row, equal to another, or components too large.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes = [np.unique(np.asarray(labels), return_inverse=True)[1] for labels in groups.values()]
    _refuse_aliased(dict(zip(groups, codes, strict=True)))
    n, counts = len(codes[0]), [int(c.max()) + 1 for c in codes]
    nodes = np.concatenate([c + n + start for c, start in zip(codes, np.cumsum([0, *counts[:-1]]), strict=True)])
    size = n + sum(counts)
    graph = coo_array((np.ones(nodes.size), (np.tile(np.arange(n), len(codes)), nodes)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n]
    component = np.unique(component, return_inverse=True)[1]
    rank, longest = _rank_within(component)
    position = np.full((component.max() + 1, longest), -1)
    position[component, rank] = np.arange(n)
    terms, blocks, start = [], [], 0
    for code in codes:
        first = np.unique(code, return_index=True)[1]  # a level belongs to one component
        slot, width = _rank_within(component[first])
        terms.append(slice(start, start + width))
        blocks.append((start + slot)[code])
        start += width
    if start > MAX_LEVELS:
        raise InputError(
            f"the grouping factors {', '.join(groups)} tie {start} levels together; at most {MAX_LEVELS} are possible. "
            "Use factors that are nested in one another, such as participant and participant:session"
        )
    z = np.zeros((*position.shape, start))
    for slots in blocks:
        z[component, rank, slots] = 1
    return Layout(position, z, tuple(terms))


def _refuse_aliased(codes: dict[str, NDArray]) -> None:
    for name, code in codes.items():
        levels, n = int(code.max()) + 1, len(code)
        if levels == 1:
            raise InputError(f"random intercept {name}: there is a single level; a variance needs at least two")
        if levels == n:
            raise InputError(
                f"random intercept {name}: every one of the {n} rows has a level of its own, which cannot be told from "
                "the residual; leave this term out"
            )
    for first, code in codes.items():
        for second, other in codes.items():
            if first < second and len(set(zip(code, other, strict=True))) == code.max() + 1 == other.max() + 1:
                raise InputError(f"random intercepts {first} and {second} group the rows alike; leave one out")


def _rank_within(labels: NDArray) -> tuple[NDArray, int]:
    """Count off the members of each label, 0, 1, ... in order, and give the largest count."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    rank = np.empty(len(labels), int)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank, int(counts.max())


def sum_up(
    x: NDArray, y: NDArray, weights: NDArray, layout: Layout, names: tuple[str, ...]
) -> tuple[Sums, NDArray, NDArray]:
    """Reduce rows to sums, after an orthogonal decomposition that keeps full precision."""
    root = np.sqrt(weights)[..., np.newaxis]
    n = np.count_nonzero(weights, axis=-1)
    if (n <= x.shape[-1]).any():
        raise InputError(f"{int(n.min())} rows cannot carry a model with {x.shape[-1]} fixed effects")
    q, triangle = np.linalg.qr(root * x)
    length = np.sqrt(np.sum((root * x) ** 2, axis=-2))
    kept = np.abs(np.diagonal(triangle, axis1=-2, axis2=-1))
    if (kept <= ALIASED * length).any():
        bad = np.argwhere((kept <= ALIASED * length).reshape(-1, x.shape[-1]).any(axis=0))[0, 0]
        raise InputError(
            f"effect {names[bad]!r} cannot be estimated: it is a combination of {', '.join(names[:bad]) or 'nothing'} "
            "in these data (an empty cell, or factors that change together)"
        )
    scaled = root[..., 0] * y
    projected = np.einsum("...np,...n->...p", q, scaled)
    residual = scaled - np.einsum("...np,...p->...n", q, projected)
    residual -= np.einsum("...np,...p->...n", q, np.einsum("...np,...n->...p", q, residual))
    rss = np.sum(residual**2, axis=-1)
    if (rss <= 1e-24 * np.sum(scaled**2, axis=-1)).any():
        raise InputError("the outcome does not vary beyond the fixed effects; there is nothing to test")
    filled = (layout.position >= 0)[..., np.newaxis]
    position = np.maximum(layout.position, 0)
    z = layout.z * root[..., position, :]
    zt = np.swapaxes(z, -1, -2)
    sums = Sums(
        s=zt @ z,
        zx=zt @ np.where(filled, q[..., position, :], 0),
        zy=(zt @ np.where(filled, residual[..., position, np.newaxis], 0))[..., 0],
        rss=rss,
        n=n,
        terms=layout.terms,
    )
    return sums, triangle, np.linalg.solve(triangle, projected[..., np.newaxis])[..., 0]


def independent(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the columns of (n, p) that are no combination of those before them."""
    kept = np.ones(x.shape[1], bool)
    while True:
        columns = x[:, kept]
        own = np.zeros(columns.shape[1])
        found = np.abs(np.diagonal(np.linalg.qr(columns, mode="r")))
        own[: found.size] = found
        bad = own <= ALIASED * np.linalg.norm(columns, axis=0)
        if not bad.any():
            return kept
        kept[np.flatnonzero(kept)[np.argmax(bad)]] = False


def slots(gamma: NDArray, terms: tuple[slice, ...]) -> NDArray:
    """Variance ratio of every slot, (..., 1, Q)."""
    return np.repeat(gamma, [t.stop - t.start for t in terms], axis=-1)[..., np.newaxis, :]


def evaluate(sums: Sums, gamma: NDArray) -> State:
    """REML deviance at given variance ratios (without the change of basis of the fixed effects)."""
    p = sums.zx.shape[-1]
    d = slots(gamma, sums.terms)
    root = np.sqrt(d)
    identity = np.eye(sums.s.shape[-1])
    t = np.linalg.inv(identity + sums.s * d[..., np.newaxis, :])
    logdet = np.linalg.slogdet(identity + root[..., np.newaxis] * sums.s * root[..., np.newaxis, :])[1].sum(axis=-1)
    u = t @ sums.zx
    uy = (t @ sums.zy[..., np.newaxis])[..., 0]
    weighted = d[..., np.newaxis] * u
    r = np.eye(p) - product(sums.zx, weighted)
    r = (r + np.swapaxes(r, -1, -2)) / 2
    sign, logdet_r = np.linalg.slogdet(r)
    r = np.where((sign > 0)[..., np.newaxis, np.newaxis], r, np.eye(p))
    b = -product(weighted, sums.zy[..., np.newaxis])[..., 0]
    r_inverse = np.linalg.inv(r)
    beta = np.einsum("...ij,...j->...i", r_inverse, b)
    v = uy - (u @ beta[..., np.newaxis, :, np.newaxis])[..., 0]
    free = sums.n - p
    rest = sums.rss - np.einsum("...cq,...cq->...", sums.zy, d * uy) - np.sum(b * beta, axis=-1)
    rest = np.where((rest > 0) & (sign > 0), rest, np.nan)  # lost to rounding at an absurd ratio: never an improvement
    deviance = logdet + logdet_r + free * (1 + np.log(2 * np.pi * rest / free))
    ts = t @ sums.s
    return State(deviance, rest / free, r_inverse, beta, t, (ts + np.swapaxes(ts, -1, -2)) / 2, u, v)


def product(a: NDArray, b: NDArray) -> NDArray:
    """Sum A'B over the components, (..., C, Q, i) and (..., C, Q, j) to (..., i, j)."""
    a, b = (m.reshape(*m.shape[:-3], m.shape[-3] * m.shape[-2], m.shape[-1]) for m in (a, b))
    return np.swapaxes(a, -1, -2) @ b


class Derivatives(NamedTuple):
    """Derivatives of the REML deviance at given variance ratios."""

    gradient: NDArray  # (..., K) of the deviance by the variance ratios
    hessian: NDArray  # (..., K, K) observed
    expected: NDArray  # (..., K, K) its expectation
    joint: NDArray  # (..., K+1, K+1) observed, sigma^2 last and not profiled out
    p: NDArray  # (..., K, p, p) X'M^-1 G_k M^-1 X


def differentiate(sums: Sums, state: State) -> Derivatives:
    """Differentiate the deviance by the variance ratios, sigma^2 profiled out, and by both (`joint`)."""
    terms, sigma2, ri = sums.terms, state.sigma2, state.r_inverse
    free, k = sums.n - sums.zx.shape[-1], len(terms)
    u = [state.u[..., t, :] for t in terms]
    v = [state.v[..., t] for t in terms]
    p = np.stack([product(a, a) for a in u], axis=-3)
    rp = ri[..., np.newaxis, :, :] @ p
    square = np.stack([np.sum(a**2, axis=(-1, -2)) for a in v], axis=-1)
    cross = np.stack([product(a, b[..., np.newaxis])[..., 0] for a, b in zip(u, v, strict=True)], axis=-2)
    trace = np.stack([np.einsum("...cqq->...", state.ts[..., t, t]) for t in terms], axis=-1)
    trace = trace - np.einsum("...kii->...k", rp)
    both, quadratic = np.empty((2, *square.shape, k))
    for i in range(k):
        for j in range(i, k):
            block = state.ts[..., terms[i], terms[j]]
            q = product(u[i], block @ u[j])
            both[..., i, j] = both[..., j, i] = (
                np.sum(block**2, axis=(-1, -2, -3))
                - 2 * np.sum(ri * np.swapaxes(q, -1, -2), axis=(-1, -2))
                + np.sum(rp[..., i, :, :] * np.swapaxes(rp[..., j, :, :], -1, -2), axis=(-1, -2))
            )
            seen = (block @ v[j][..., np.newaxis])[..., 0]
            quadratic[..., i, j] = quadratic[..., j, i] = np.sum(v[i] * seen, axis=(-1, -2))
    quadratic -= np.einsum("...ki,...ij,...lj->...kl", cross, ri, cross)
    scale, dof = sigma2[..., np.newaxis], free[..., np.newaxis, np.newaxis]
    curvature = 2 * quadratic / scale[..., np.newaxis] - both
    joint = np.empty((*square.shape[:-1], k + 1, k + 1))
    joint[..., :k, :k] = curvature
    joint[..., :k, k] = joint[..., k, :k] = square / scale**2
    joint[..., k, k] = free / sigma2**2
    outer = square[..., :, np.newaxis] * square[..., np.newaxis, :] / scale[..., np.newaxis] ** 2
    return Derivatives(
        gradient=trace - square / scale,
        hessian=curvature - outer / dof,
        expected=both - trace[..., :, np.newaxis] * trace[..., np.newaxis, :] / dof,
        joint=joint,
        p=p,
    )


def refuse_unidentified(sums: Sums, names: tuple[str, ...]) -> None:
    """Refuse a variance that the rows carry no information about.

    Raises
    ------
    InputError
        Names the random intercept, or says that nothing is left for the residual: with every random intercept as a
        fixed effect, no row is one too many. A residual variance of 0 would make any difference significant.
    """
    information = differentiate(sums, evaluate(sums, np.ones((*sums.rss.shape, len(names))))).expected
    empty = np.einsum("...ii->...i", information) <= 1e-9
    if empty.any():
        name = names[np.argwhere(empty.reshape(-1, len(names)).any(axis=0))[0, 0]]
        raise InputError(f"random intercept {name}: the rows are too few to tell it from the residual; more are needed")
    inverse = np.linalg.pinv(sums.s, rcond=ALIASED, hermitian=True)
    within = np.eye(sums.zx.shape[-1]) - product(sums.zx, inverse @ sums.zx)  # of the fixed effects, beside the levels
    taken = np.linalg.matrix_rank(sums.s, rtol=ALIASED, hermitian=True).sum(axis=-1)
    if (sums.n <= taken + np.linalg.matrix_rank(within, tol=ALIASED, hermitian=True)).any():
        raise InputError(
            f"the fixed effects and the random intercepts of {', '.join(names)} fit every row, which leaves nothing to "
            "tell the residual by; more rows are needed, or fewer effects"
        )


def minimise(sums: Sums, gamma: NDArray, rounds: int = 200) -> tuple[NDArray, NDArray, NDArray]:
    """Minimise the deviance over variance ratios >= 0 by projected Newton steps.

    Returns
    -------
    gamma : (..., K)
    deviance : (...)
    converged : (...) bool
    """
    state = evaluate(sums, gamma)
    done = np.zeros(sums.rss.shape, bool)
    for _ in range(rounds):
        slope = differentiate(sums, state)
        at_zero = (gamma <= 0) & (slope.gradient >= 0)
        step, decrement = _newton_step(slope, at_zero)
        done |= decrement < 1e-17
        if done.all():
            break
        gamma, state = _line_search(sums, gamma, state, step, slope, at_zero, done, decrement)
    return gamma, state.deviance, done


def _newton_step(slope: Derivatives, at_zero: NDArray) -> tuple[NDArray, NDArray]:
    """Newton step of the free parameters (scoring where the observed curvature is not positive).

    Variances that the rows cannot tell apart, as of people with one session each, move alike: the shortest step.
    """
    free = ~at_zero
    pair = free[..., :, np.newaxis] & free[..., np.newaxis, :]
    eye = np.eye(at_zero.shape[-1])
    observed = np.where(pair, slope.hessian, eye)
    expected = np.where(pair, slope.expected, eye)
    diagonal = np.abs(np.einsum("...ii->...i", expected)) + 1e-300
    scale = np.sqrt(diagonal[..., :, np.newaxis] * diagonal[..., np.newaxis, :])
    bent = np.linalg.eigvalsh(observed / scale)[..., 0] > 1e-6
    matrix = np.where(bent[..., np.newaxis, np.newaxis], observed, expected) / scale + 1e-14 * eye
    gradient = np.where(free, slope.gradient, 0)
    inverse = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
    step = -(inverse @ (gradient / np.sqrt(diagonal))[..., np.newaxis])[..., 0] / np.sqrt(diagonal)
    return step, -np.sum(step * gradient, axis=-1)


def _line_search(
    sums: Sums,
    gamma: NDArray,
    state: State,
    step: NDArray,
    slope: Derivatives,
    at_zero: NDArray,
    done: NDArray,
    decrement: NDArray,
) -> tuple[NDArray, State]:
    """Halve the step until the deviance falls; after eight halvings turn to the scaled gradient."""
    diagonal = np.abs(np.einsum("...ii->...i", slope.expected)) + 1e-300
    downhill = np.where(at_zero, 0, -slope.gradient / diagonal)
    noise = np.where(decrement < 1e-6, 1e-9, 0) * (1 + np.abs(state.deviance))
    length = np.where(done, 0.0, 1.0)
    for halving in range(40):
        if halving == 8:
            waiting = (length > 0) & (length < 0.5**7)
            step = np.where(waiting[..., np.newaxis], downhill, step)
            length = np.where(waiting, 1.0, length)
        proposed = np.maximum(gamma + length[..., np.newaxis] * step, 0)
        new = evaluate(sums, proposed)
        bad = ~(new.deviance <= state.deviance + noise)
        if not bad.any():
            break
        length = np.where(bad, length / 2, length)
    else:
        proposed = np.where(bad[..., np.newaxis], gamma, proposed)
        new = evaluate(sums, proposed)
    return proposed, new
