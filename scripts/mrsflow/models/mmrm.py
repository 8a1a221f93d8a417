"""Repeated values of a participant with a covariance of their own (MMRM): REML and Kenward and Roger's test.

The covariance of a participant's values is a sum of known matrices with unknown factors, V = sum_k theta_k G_k, which
an unstructured covariance is too. It is linear in its parameters, so that Kenward and Roger's adjustment has no second
derivatives. Nothing keeps a factor positive; V itself is kept positive definite.

References
----------
Mallinckrodt et al. 2008, doi:10.1177/009286150804200402; Kenward & Roger 1997, doi:10.2307/2533558.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models.mixed import Inference, two_sided

Structure = Literal["unstructured", "compound"]
ROUNDS = 500
DONE = 1e-18  # decrement of the REML log-likelihood below which the search ends
HALVINGS = 40


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes
    ----------
    beta : (p,)
    covariance, covariance_kr : (p, p)
        Of `beta`; the second with Kenward and Roger's adjustment.
    theta : (K,)
        Factors of the matrices of the covariance.
    value_covariance : (q, q)
        Of the values of a participant.
    loglik : float
        REML log-likelihood without its constant.
    """

    beta: NDArray
    covariance: NDArray
    covariance_kr: NDArray
    theta: NDArray
    value_covariance: NDArray
    loglik: float
    _kr_p: NDArray
    _kr_w: NDArray

    def contrast(self, weights: NDArray, method: str = "kenward-roger", level: float = 0.95) -> Inference:
        """Test a linear combination of the fixed effects against zero (two-sided, Kenward-Roger)."""
        from scipy.special import stdtrit

        w = np.asarray(weights, float)
        phi_w = self.covariance @ w
        parts = np.einsum("i,kij,j->k", phi_w, self._kr_p, phi_w) / (w @ phi_w)
        df = 2 / (parts @ self._kr_w @ parts)
        se, estimate = np.sqrt(w @ self.covariance_kr @ w), w @ self.beta
        half = stdtrit(df, 0.5 + level / 2) * se
        found = (estimate, se, df, estimate / se, two_sided(estimate / se, df), estimate - half, estimate + half)
        return Inference(*map(np.float64, found))


class Pattern(NamedTuple):
    """Participants whose values are of the same cells: x (m, c, p), y (m, c), and the matrices there (K, c, c)."""

    x: NDArray
    y: NDArray
    g: NDArray


class State(NamedTuple):
    """The likelihood at a covariance, and what its derivatives need."""

    loglik: float
    beta: NDArray
    phi: NDArray
    gradient: NDArray
    information: NDArray  # expected
    observed: NDArray  # information, minus the second derivatives
    p: NDArray  # (K, p, p) X'V^-1 G_k V^-1 X
    q: NDArray  # (K, K, p, p) X'V^-1 G_k V^-1 G_l V^-1 X


def matrices(structure: Structure, times: int, sessions: int) -> NDArray[np.float64]:
    """Matrices G_k of the values of `sessions` sessions at `times` time points, session by session, (K, q, q).

    Unstructured: any covariance over the times, another between two sessions of a participant. Compound: a variance of
    participants, one of their sessions and one of the values.

    >>> len(matrices("unstructured", 3, 1)), len(matrices("unstructured", 3, 2)), len(matrices("compound", 3, 2))
    (6, 12, 3)
    """
    ones, eye = np.ones((sessions, sessions)), np.eye(sessions)
    if structure == "compound":
        inside = np.ones((times, times))
        found = [np.kron(ones, inside)] * (sessions > 1) + [np.kron(eye, inside)] * (times > 1)
        return np.array([*found, np.eye(sessions * times)])
    pairs = [(i, j) for i in range(times) for j in range(i, times)]
    units = np.zeros((len(pairs), times, times))
    for unit, (i, j) in zip(units, pairs, strict=True):
        unit[i, j] = unit[j, i] = 1
    between = [np.kron(ones - eye, unit) for unit in units] if sessions > 1 else []
    return np.array([np.kron(eye, unit) for unit in units] + between)


def fit(x: NDArray, y: NDArray, people: Sequence, cells: NDArray, g: NDArray) -> Fit:
    """Fit by restricted maximum likelihood.

    Parameters
    ----------
    x : (n, p)
    y : (n,)
    people : (n,)
        Participant of each value.
    cells : (n,) int
        Row of the matrices `g` that each value belongs to: its session and time.
    g : (K, q, q)
        See `matrices`.

    Raises
    ------
    InputError
        Columns that depend on one another, too few values, or a covariance that the values do not determine.
    """
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("an effect cannot be estimated: the columns depend on one another (factors change together)")
    patterns = arrange(x, y, people, cells, g)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    if len(y) <= x.shape[1] or not rest @ rest > 1e-20 * (y @ y):
        raise InputError("the values are too few, or do not vary beyond the fixed effects")
    few = "the scores are too few for this covariance of a participant's values; more participants are needed"
    theta = np.linalg.lstsq(g.reshape(len(g), -1).T, np.eye(g.shape[1]).ravel(), rcond=None)[0]
    theta *= rest @ rest / (len(y) - x.shape[1])
    state = evaluate(patterns, theta)
    for _ in range(ROUNDS):
        if state is None or np.linalg.cond(state.information) > 1e14:
            raise InputError(few)
        step = np.linalg.solve(_curvature(state), state.gradient)
        if step @ state.gradient < DONE * max(abs(state.loglik), 1):
            break
        theta, state = _search(patterns, theta, step, state)
    else:
        raise InputError(few)
    w = np.linalg.inv(state.information)
    phi = state.phi
    inner = np.einsum("kl,klij->ij", w, state.q) - np.einsum("kl,kij,jm,lmn->in", w, state.p, phi, state.p)
    return Fit(
        state.beta, phi, phi + 2 * phi @ inner @ phi, theta, np.einsum("k,kij->ij", theta, g), state.loglik, state.p, w
    )


def arrange(x: NDArray, y: NDArray, people: Sequence, cells: NDArray, g: NDArray) -> list[Pattern]:
    """Put participants together whose values are of the same cells."""
    _, code = np.unique(np.asarray(people, dtype=object).astype(str), return_inverse=True)
    order = np.lexsort((cells, code))
    rows = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    found: dict[tuple[int, ...], list[NDArray]] = {}
    for own in rows:
        found.setdefault(tuple(cells[own].tolist()), []).append(own)
    if any(len(set(key)) < len(key) for key in found):
        raise InputError("a participant has two values of one session and time")
    made = ((np.array(own), list(key)) for key, own in found.items())
    return [Pattern(x[own], y[own], g[:, key][:, :, key]) for own, key in made]


def evaluate(patterns: list[Pattern], theta: NDArray) -> State | None:
    """Likelihood, its gradient and its expected information; None where V is not positive definite."""
    count, width = len(theta), patterns[0].x.shape[-1]
    xvx, xvy, logdet = np.zeros((width, width)), np.zeros(width), 0.0
    p, q = np.zeros((count, width, width)), np.zeros((count, count, width, width))
    plain, inverses = np.zeros((count, count)), []
    for x, y, g in patterns:
        v = np.einsum("k,kij->ij", theta, g)
        try:
            root = np.linalg.cholesky(v)
        except np.linalg.LinAlgError:
            return None
        inverse = np.linalg.inv(v)
        inverses.append(inverse)
        logdet += 2 * len(x) * np.log(np.diagonal(root)).sum()
        scatter = np.einsum("mai,mbj->abij", x, x)  # over participants
        one = inverse @ g  # V^-1 G_k
        left = one @ inverse
        both = np.einsum("kab,lbc->klac", left, g) @ inverse
        xvx += np.einsum("ab,abij->ij", inverse, scatter)
        xvy += np.einsum("mai,ab,mb->i", x, inverse, y)
        p += np.einsum("kab,abij->kij", left, scatter)
        q += np.einsum("klab,abij->klij", both, scatter)
        plain += len(x) * np.einsum("kab,lba->kl", one, one)
    phi = np.linalg.inv(xvx)
    beta = phi @ xvy
    square, trace, rss = np.zeros(count), np.zeros(count), 0.0
    second, cross = np.zeros((count, count)), np.zeros((count, width))
    for (x, y, g), inverse in zip(patterns, inverses, strict=True):
        rest = (y - x @ beta) @ inverse
        rss += np.einsum("ma,ma->", rest, y - x @ beta)
        pulled = np.einsum("kab,mb->kma", g, rest)  # G_k V^-1 (y - X beta)
        square += np.einsum("ma,kma->k", rest, pulled)
        second += np.einsum("kma,ab,lmb->kl", pulled, inverse, pulled)
        cross += np.einsum("kma,ab,mbi->ki", pulled, inverse, x)
        trace += len(x) * np.einsum("ab,kba->k", inverse, g)
    phi_p = phi @ p
    gradient = -0.5 * (trace - np.einsum("kii->k", phi_p) - square)
    information = 0.5 * (plain - 2 * np.einsum("ij,klji->kl", phi, q) + np.einsum("kij,lji->kl", phi_p, phi_p))
    observed = second - cross @ phi @ cross.T - information
    loglik = -0.5 * (logdet + np.linalg.slogdet(xvx)[1] + rss)
    return State(float(loglik), beta, phi, gradient, information, observed, p, q)


def _curvature(state: State) -> NDArray[np.float64]:
    """Observed information for Newton's step; the expected one (scoring) where it is not positive definite."""
    scale = np.sqrt(np.diagonal(state.information))
    convex = np.linalg.eigvalsh(state.observed / np.outer(scale, scale))[0] > 1e-6
    return state.observed if convex else state.information


def _search(patterns: list[Pattern], theta: NDArray, step: NDArray, state: State) -> tuple[NDArray, State | None]:
    """Halve the step until V is positive definite and the likelihood does not fall."""
    slack = 1e-12 * max(abs(state.loglik), 1)
    for halving in range(HALVINGS):
        proposed = theta + 0.5**halving * step
        found = evaluate(patterns, proposed)
        if found is not None and found.loglik >= state.loglik - slack:
            return proposed, found
    return theta, None
