"""Families of tests and the order in which they are read, in one place.

The named contrasts of the primary outcome are one family (Holm). The clinical outcome is tested after it: its contrasts
are a second family (Holm) behind a gate that opens when every primary contrast is significant. Its adjusted p is the
larger of the two, which holds the familywise error over both (serial gatekeeping). Secondary outcomes
(Benjamini-Hochberg), moderators, later visits, further clinical outcomes and mediation (Holm) are exploratory, families
of their own, and stand beside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.statistics.results import Result

SECONDARY = "secondary outcomes (Benjamini-Hochberg)"
MODERATORS = "moderators (Holm, exploratory)"
MOOD_MODERATORS = "moderators of the clinical outcome (Holm, exploratory)"
MEDIATION = "mediation (Holm, exploratory)"


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm 1979, http://www.jstor.org/stable/4615733.

    >>> holm([0.03, 0.02, 0.5]).tolist()
    [0.06, 0.06, 0.5]
    """
    values = np.asarray(p, float)
    order = np.argsort(values)
    found = np.empty_like(values)
    found[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return found


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the false discovery rate.

    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    >>> benjamini_hochberg([0.03, 0.02, 0.5]).tolist()
    [0.045, 0.045, 0.5]
    """
    values = np.asarray(p, float)
    order = np.argsort(values)[::-1]
    found = np.empty_like(values)
    scale = len(values) / np.arange(len(values), 0, -1)
    found[order] = np.minimum.accumulate(values[order] * scale).clip(max=1)
    return found


def adjust(
    rows: Sequence[Result], family: str, method: Callable[[ArrayLike], NDArray[np.float64]] = holm
) -> list[Result]:
    """Adjust the p-values of a family; rows without p stay without."""
    adjusted = np.array([row.p for row in rows], float)
    tested = np.isfinite(adjusted)
    adjusted[tested] = method(adjusted[tested])
    return [
        replace(row, p_adjusted=float(p), family=family) if known else row
        for row, p, known in zip(rows, adjusted, tested, strict=True)
    ]


def primary_family(rows: Sequence[Result]) -> list[Result]:
    """Adjust the named contrasts of the primary outcome; a single one keeps its p."""
    return adjust(rows, "primary contrasts (Holm)" if len(rows) > 1 else "primary contrast")


def gated(rows: Sequence[Result], primary: Sequence[Result]) -> list[Result]:
    """Adjust the contrasts of the clinical outcome behind the gate of the primary family."""
    method = "fixed sequence" if len(rows) == 1 else "fixed sequence, Holm"
    gate = max((row.p_adjusted if np.isfinite(row.p_adjusted) else 1.0 for row in primary), default=1.0)
    return [
        replace(row, p_adjusted=max(row.p_adjusted, gate)) if np.isfinite(row.p_adjusted) else row
        for row in adjust(rows, f"clinical outcome after the primary contrasts ({method})")
    ]


def in_words(
    contrasts: list[str], mood: str | None, secondary: list[str], moderators: list[str], single: bool = False
) -> list[str]:
    """Say the families in their order, for methods text and analysis plan; `single`: nothing is compared."""
    several = len(contrasts) > 1
    names = "; ".join(contrasts)
    found = [f"Primary: {names}" + (" (Holm over the contrasts)." if several else ", at its own level.")]
    if mood:
        found.append(
            f"Then, only where {'every primary contrast' if several else 'the primary contrast'} is significant: "
            f"{mood}" + ("." if single else ", the same contrasts (Holm)." if several else ", the same contrast.")
        )
    if secondary:
        found.append(f"Beside, by the false discovery rate (Benjamini-Hochberg): {', '.join(secondary)}.")
    if moderators:
        both = f"; and that of {mood}, by itself" if mood else ""
        found.append(f"Exploratory (Holm): moderation of the first contrast by {', '.join(moderators)}{both}.")
    return found


def drawn(
    contrasts: list[str],
    mood: str | None,
    secondary: list[str],
    moderators: list[str],
    others: Sequence[str] = (),
    single: bool = False,
) -> str:
    """Draw the families as a graph of text: boxes in their order, the gate between them, what stands beside.

    Parameters
    ----------
    contrasts : list of str
        Of the primary family.
    mood : str, optional
        The clinical outcome behind the gate.
    secondary, moderators : list of str
    others : sequence of str
        Further families beside, in words.
    single : bool
        Whether nothing is compared, so that the clinical outcome has no contrasts.

    >>> print(drawn(["b - a"], "madrs day1 - pre", [], ["sex"]))
    +----------------------------------+
    | Primary                          |
    |   b - a                          |
    +----------------------------------+
                     |
            only if significant
                     v
    +----------------------------------+
    | Clinical outcome                 |
    |   madrs day1 - pre: b - a        |
    +----------------------------------+
    <BLANKLINE>
    Beside, with no part in the error rate above:
      Moderators, exploratory (Holm over each outcome): sex; outcome and clinical outcome
    """
    several = len(contrasts) > 1
    how = " (Holm)" if several else ""
    boxes = [[f"Primary{how}", *(f"  {name}" for name in contrasts)]]
    if mood:
        own = [f"  {mood}"] if single else [f"  {mood}: {name}" for name in contrasts]
        boxes.append([f"Clinical outcome{how}", *own])
    width = max(34, *(len(line) + 2 for box in boxes for line in box)) if boxes else 34
    edge = f"+{'-' * width}+"
    gate = ["|", f"only if {'all are ' if several else ''}significant", "v"]
    arrow = [f"{line:^{width + 2}}".rstrip() for line in gate]
    lines: list[str] = []
    for box in boxes:
        lines += [*(arrow if lines else []), edge, *(f"| {line:{width - 2}} |" for line in box), edge]
    beside = [f"  Secondary outcomes (Benjamini-Hochberg): {', '.join(secondary)}"] if secondary else []
    if moderators:
        both = "; outcome and clinical outcome" if mood else ""
        beside.append(f"  Moderators, exploratory (Holm over each outcome): {', '.join(moderators)}{both}")
    beside += [f"  {other}" for other in others]
    if beside:
        lines += ["", "Beside, with no part in the error rate above:", *beside]
    return "\n".join(lines)
