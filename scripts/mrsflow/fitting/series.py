"""Hundreds of spectra of a session, as transients or short bins of an event-related series, fitted at linear cost.

Amplitudes are linear in the regressors. The mean of spectra has the mean of their regressors, so that spectra with
nearly equal ones can be averaged before the fit and nothing is lost but what the regressors vary within a group. Groups
are split where they vary most, in the regressors first and in time beside them, as line width and baseline drift.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.fitting.dynamic import Terms
from mrsflow.study.short_blocks import MOST_BLOCKS

MOST = MOST_BLOCKS
"""Spectra that a dynamic fit takes one by one; of more it takes groups, at most so many."""
TIME_WEIGHT = 0.3
"""Spread of time beside that of the regressors (1 each) when groups are split."""
KEPT = 0.9
"""Least part of a regressor's variance that lies between the groups; what is left out widens its error by 1/sqrt."""


@dataclass(frozen=True)
class Pool:
    """Groups of spectra.

    Attributes
    ----------
    group : (B) int
        Of each spectrum; -1: it holds nothing that could be averaged.
    fids : (G, n_points) complex
        Mean of each group, in order of its mean place.
    terms : Terms
        Of the groups.
    """

    group: NDArray[np.intp]
    fids: NDArray[np.complexfloating]
    terms: Terms

    def of(self, terms: Terms) -> Terms:
        """Terms of the groups, by those of all spectra."""
        share = _shares(self.group)
        own = np.tensordot(share, terms.matrix.reshape(len(self.group), -1, terms.matrix.shape[1]), axes=1)
        return Terms(terms.names, own.reshape(-1, own.shape[-1]))


def _shares(group: NDArray) -> NDArray[np.floating]:
    """Weights (G, B) of the spectra in the mean of each group."""
    share = (group == np.arange(group.max() + 1)[:, np.newaxis]).astype(float)
    return share / share.sum(axis=1, keepdims=True)


def is_series(n_spectra: int) -> bool:
    """Whether so many spectra are fitted in groups."""
    return n_spectra > MOST


def pooled(fids: NDArray[np.complexfloating], terms: Terms) -> Pool:
    """Average spectra whose regressors are nearly equal.

    Parameters
    ----------
    fids : (B, n_points) complex
        In order of time, aligned.
    terms : Terms
        Of all spectra.

    Raises
    ------
    InputError
        No usable spectrum, or more regressors than so many groups can tell apart.
    """
    n_spectra = len(fids)
    maps = terms.matrix.reshape(n_spectra, -1, terms.matrix.shape[1])
    usable = np.flatnonzero(np.isfinite(fids).all(axis=1) & np.any(fids, axis=1))
    if not usable.size:
        raise InputError(f"none of the {n_spectra} spectra holds finite values other than 0")
    if any(term.startswith("block ") for _, term in terms.names):
        raise InputError(
            f"{n_spectra} spectra are more than metabolites can be free over ({MOST}); let them follow regressors, as "
            "polynomials, or make longer blocks"
        )
    group = np.full(n_spectra, -1)
    group[usable] = groups(np.unique(maps.sum(axis=1), axis=1)[usable], MOST)
    pool = Pool(group, _shares(group) @ np.where((group >= 0)[:, np.newaxis], fids, 0.0), terms)
    return replace(pool, terms=pool.of(terms))


def groups(courses: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Put spectra (B) into groups by their regressors (B, q) and their place in time; numbered in order of time.

    Raises
    ------
    InputError
        Less than `KEPT` of the variance of a combination of regressors is between the groups.
    """
    n = len(courses)
    directions, sizes, _ = np.linalg.svd(courses - courses.mean(axis=0), full_matrices=False)
    whitened = directions[:, sizes > 1e-9 * max(sizes.max(initial=0.0), 1e-300)] * np.sqrt(n)
    time = np.sqrt(3) * np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
    features = np.column_stack([whitened, TIME_WEIGHT * time])
    parts = [np.arange(n)]
    squares = [_squares(features)]
    while len(parts) < most:
        widest = int(np.argmax([own.max() for own in squares]))
        along = int(np.argmax(squares[widest]))
        if not squares[widest][along] > 1e-12:
            break
        part = parts[widest]
        values = features[part, along]
        upper = values > values.mean()
        parts[widest : widest + 1] = [part[~upper], part[upper]]
        squares[widest : widest + 1] = [_squares(features[part[~upper]]), _squares(features[part[upper]])]
    if whitened.size:
        between = sum(len(part) * np.outer(mean, mean) for part in parts if (mean := whitened[part].mean(axis=0)).size)
        if (kept := np.linalg.eigvalsh(between / n)[0]) < KEPT:
            raise InputError(
                f"{n} spectra fitted in {most} groups keep {100 * kept:.0f} % of what tells the {whitened.shape[1]} "
                "regressors apart; give fewer regressors, or make longer blocks"
            )
    order = np.argsort([part.mean() for part in parts], kind="stable")
    group = np.empty(n, dtype=int)
    for number, k in enumerate(order):
        group[parts[k]] = number
    return group


def _squares(features: NDArray) -> NDArray[np.floating]:
    return np.sum((features - features.mean(axis=0)) ** 2, axis=0)


def spread(result: Any, pool: Pool, terms: Terms) -> Any:
    """Give every spectrum of a series the amplitudes of its regressors, and the rest as its group has it.

    Parameters
    ----------
    result : FitResult
        Of the groups.
    pool : Pool
    terms : Terms
        Of all spectra.

    Returns
    -------
    FitResult
        Of all spectra.
    """
    m, kept = len(result.names), [terms.names.index(name) for name in result.terms]
    maps = terms.matrix.reshape(len(pool.group), m, -1)[:, :, kept]
    covariance = maps @ result.coefficient_covariance @ np.swapaxes(maps, 1, 2)
    amplitudes = maps @ result.coefficients
    lost = "it holds no finite value other than 0"
    problems = [lost if own < 0 else result.problems[own] for own in pool.group]
    gone = np.array([bool(problem) for problem in problems])
    amplitudes[gone], covariance[gone] = np.nan, np.nan
    curves = {
        name: np.where(gone.reshape(-1, *[1] * (values.ndim - 1)), np.nan, values[pool.group])
        for name, values in ((name, getattr(result, name)) for name in ("data", "fit", "baseline", "components"))
    }
    return replace(
        result,
        amplitudes=amplitudes,
        joint_covariance=None,
        block_covariance=covariance,
        quality=[{} if gone[k] else dict(result.quality[own]) for k, own in enumerate(pool.group)],
        problems=tuple(problems),
        doubts=tuple("" if gone[k] else result.doubts[own] for k, own in enumerate(pool.group)),
        **curves,
    )
