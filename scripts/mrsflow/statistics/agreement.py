"""Fitters beside each other: how far what they find in the same blocks agrees."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.models import session_models
from mrsflow.study.cohort import COLUMN_OF

if TYPE_CHECKING:
    import pandas as pd

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A row of ``fitters``; its fields are columns of ``tables.yaml``."""

    outcome: str
    fitter: str
    reference_fitter: str
    n_participants: int = 0
    n_sessions: int = 0
    n_blocks: int = 0
    n_lost: int = 0
    bias: float = np.nan
    bias_percent: float = np.nan
    sd_difference: float = np.nan
    loa_low: float = np.nan
    loa_high: float = np.nan
    icc: float = np.nan
    icc_low: float = np.nan
    icc_high: float = np.nan
    r_change: float = np.nan
    slope_change: float = np.nan
    remark: str = ""


def limits_of_agreement(difference: ArrayLike, participant: ArrayLike) -> tuple[float, float]:
    """Mean of differences, and the standard deviation of a single one where participants have several.

    Parameters
    ----------
    difference : (n,)
    participant : (n,)
        Whose it is.

    Returns
    -------
    bias, sd : float
        The limits of agreement are ``bias`` -/+ 1.96 ``sd``; ``sd`` is NaN of a single difference.

    Notes
    -----
    Variance between participants plus that within, of a one-way analysis of variance: Bland & Altman 2007,
    doi:10.1080/10543400701329422 (true values vary). With one difference each it is the plain SD.

    >>> limits_of_agreement([1.0, 3.0], ["a", "b"])
    (2.0, 1.4142135623730951)
    """
    d = np.asarray(difference, float)
    _, code, count = np.unique(np.asarray(participant, str), return_inverse=True, return_counts=True)
    bias, n, people = float(d.mean()), d.size, count.size
    if n < 2:
        return bias, np.nan
    means = np.bincount(code, d) / count
    within = np.sum((d - means[code]) ** 2)
    if people == 1:
        return bias, float(np.sqrt(within / (n - 1)))
    between = np.sum(count * (means - bias) ** 2) / (people - 1)
    if n == people:
        return bias, float(np.sqrt(between))
    within /= n - people
    size = (n**2 - np.sum(count**2)) / ((people - 1) * n)
    return bias, float(np.sqrt(max((between - within) / size, 0.0) + within))


def within_correlation(x: ArrayLike, y: ArrayLike, participant: ArrayLike) -> tuple[float, float]:
    """Correlation of two quantities within participants, and the slope of the second on the first.

    Parameters
    ----------
    x, y : (n,)
    participant : (n,)

    Returns
    -------
    r, slope : float
        NaN where nothing varies within participants.

    Notes
    -----
    Both are centred on the mean of each participant: Bland & Altman 1995, doi:10.1136/bmj.310.6977.446.

    >>> within_correlation([0, 1, 5, 6], [3, 5, 0, 2], ["a", "a", "b", "b"])
    (1.0, 2.0)
    """
    x, y = (centred(values, participant) for values in (x, y))
    xx, yy, xy = x @ x, y @ y, x @ y
    floor = session_models.ROUNDING**2
    if not (xx > floor and yy > floor):
        return np.nan, np.nan
    return float(xy / np.sqrt(xx * yy)), float(xy / xx)


def centred(values: ArrayLike, group: ArrayLike) -> NDArray[np.floating]:
    """Values less the mean of their group."""
    values = np.asarray(values, float)
    _, code = np.unique(np.asarray(group, str), return_inverse=True)
    return values - (np.bincount(code, values) / np.bincount(code))[code]


def agreement_rows(fits: Mapping[str, "pd.DataFrame"], denominator: str) -> list[Agreement]:
    """Compare every fitter beside the first with the first, metabolite by metabolite.

    Parameters
    ----------
    fits : mapping of str to DataFrame
        By fitter, the first first: key, participant, block, phase, metabolite and the measures of the fits.
    denominator : str
        Of the primary outcome: the ratios to it are compared; empty: amplitudes.
    """
    first, *others = fits
    column = COLUMN_OF.get(denominator, "amplitude")
    label = f"/{denominator}" if denominator in COLUMN_OF else ""
    names = ["key", "participant", "block", "phase", "metabolite"]
    found = []
    for other in others:
        own = fits[other][["key", "block", "metabolite", column]]
        pairs = fits[first][[*names, column]].merge(own, on=["key", "block", "metabolite"], suffixes=("", " other"))
        for metabolite, part in pairs.groupby("metabolite", sort=True):
            if metabolite != denominator:
                found.append(_compared(part, column, Agreement(
                    outcome=f"{metabolite}{label}", fitter=other, reference_fitter=first
                )))  # fmt: skip
    return found


def _compared(part: "pd.DataFrame", column: str, row: Agreement) -> Agreement:
    """Fill a row with what the blocks of one metabolite that both fitters have say."""
    kept = part[part[[column, f"{column} other"]].notna().all(axis=1)]
    counted: dict[str, Any] = {
        "n_participants": kept["participant"].nunique(), "n_sessions": kept["key"].nunique(),
        "n_blocks": len(kept), "n_lost": len(part) - len(kept),
    }  # fmt: skip
    known = {field.name: getattr(row, field.name) for field in fields(row)} | counted
    if kept.empty:
        return Agreement(**known | {"remark": "no block has the amount by both fitters"})
    one, other = kept[column].to_numpy(float), kept[f"{column} other"].to_numpy(float)
    bias, sd = limits_of_agreement(other - one, kept["participant"])
    level = float(np.mean(one + other)) / 2
    known |= {"bias": bias, "sd_difference": sd, "loa_low": bias - NORMAL_95 * sd, "loa_high": bias + NORMAL_95 * sd}
    known["bias_percent"] = 100 * bias / level if level > 0 else np.nan
    means = kept.groupby("key", observed=True)[[column, f"{column} other"]].mean().to_numpy(float)
    if len(means) > 1:
        found = session_models.reliability(means)
        known |= {name: found.get(name, np.nan) for name in ("icc", "icc_low", "icc_high")}
    changes = _changes(kept, [column, f"{column} other"])
    known["r_change"], known["slope_change"] = within_correlation(*changes.T, kept["participant"])
    return Agreement(**known)


def _changes(blocks: "pd.DataFrame", columns: list[str]) -> NDArray[np.floating]:
    """Values (n, 2) less the mean of the session's baseline; of a session without one, less that of all its blocks."""
    rest = blocks[columns].where(blocks["phase"] == "baseline").groupby(blocks["key"], observed=True).transform("mean")
    every = blocks[columns].groupby(blocks["key"], observed=True).transform("mean")
    return (blocks[columns] - rest.fillna(every)).to_numpy(float)
