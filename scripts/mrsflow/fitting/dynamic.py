"""Amplitudes over the blocks of a session as functions of time: constant, free, or following time models.

The spectra of all blocks are fitted at once, with few coefficients for each metabolite instead of an amplitude for each
block (spectro-temporal fitting, as in the dynamic fit of FSL-MRS, Clarke et al. 2021, doi:10.1002/mrm.28630).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError

TIME_MODELS = ("step", "linear", "infusion")
DESIGN_COLUMNS = ("spectrum", "session", "onset_s", "duration_s")
TAKEN = ("metabolite", "term", "status", "reason", "amplitude", "sd", "estimate")
"""Columns of the tables of results, which no label of a design can have for its name."""


@dataclass(frozen=True)
class Terms:
    """Coefficients of a dynamic fit.

    Attributes
    ----------
    names : list of (metabolite, term)
        Term is ``constant``, the name of a time model, or ``block N``.
    matrix : (B·M, n) float
        From coefficients to amplitudes, block after block.
    """

    names: list[tuple[str, str]]
    matrix: NDArray[np.floating]


def terms(
    metabolites: tuple[str, ...],
    courses: dict[str, ArrayLike],
    n_blocks: int,
    constant: tuple[str, ...] = (),
    free: tuple[str, ...] = (),
    follow: dict[str, list[str]] | None = None,
) -> Terms:
    """Say how every metabolite may change over the blocks.

    Parameters
    ----------
    metabolites : tuple of str, length M
    courses : dict of (B) float
        Time models; a metabolite that is neither constant nor free has a constant and a coefficient for each.
    n_blocks : int
    constant, free : tuple of str
        Metabolites with one amplitude for all blocks; with one for each block.
    follow : dict, optional
        Of some metabolites, the time models that they follow instead of all.

    Raises
    ------
    InputError
        An unknown metabolite, one named twice, no time model, or models that the blocks cannot tell apart.
    """
    follow = follow or {}
    for name in (*constant, *free, *follow):
        if name not in metabolites:
            raise InputError(f"metabolite {name!r} is not in the basis; it has {', '.join(metabolites)}")
    if both := set(constant) & set(free):
        raise InputError(f"metabolite {sorted(both)[0]!r} cannot be both constant and free over the blocks")
    design = np.column_stack([np.ones(n_blocks), *[np.asarray(course, float) for course in courses.values()]])
    if not courses or np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            f"time models {', '.join(courses) or '(none)'} cannot be told from a constant or from each other over "
            f"{n_blocks} blocks; a dynamic fit needs time-model columns that vary, fewer than there are blocks"
        )
    for name, followed in follow.items():
        if name in (*constant, *free) or not set(followed) <= set(courses):
            raise InputError(
                f"metabolite {name!r} cannot follow {', '.join(followed) or 'nothing'}; it is constant, free, or "
                f"follows some of {', '.join(courses)}"
            )
    names, columns = [], []
    for m, metabolite in enumerate(metabolites):
        if metabolite in constant:
            own = {"constant": design[:, 0]}
        elif metabolite in free:
            own = {f"block {block}": row for block, row in enumerate(np.eye(n_blocks))}
        else:
            followed = follow.get(metabolite, courses)
            own = {"constant": design[:, 0]} | {name: np.asarray(courses[name], float) for name in followed}
        for term, course in own.items():
            column = np.zeros((n_blocks, len(metabolites)))
            column[:, m] = course
            names.append((metabolite, term))
            columns.append(column.ravel())
    return Terms(names, np.column_stack(columns))


def course(model: str, onset_s: ArrayLike, duration_s: ArrayLike, rise_s: float) -> NDArray[np.floating]:
    """Mean of a time model over each block.

    Parameters
    ----------
    model : str
        ``step``: 0 before time 0, then 1. ``linear``: 0 before, then hours since. ``infusion``: 0 before, then
        1 - exp(-t / rise).
    onset_s, duration_s : (B) float
        Blocks relative to the event (s).
    rise_s : float
        Time constant of the infusion model (s).
    """
    start = np.asarray(onset_s, float)
    end = start + np.asarray(duration_s, float)
    length = np.maximum(end - start, 1e-9)
    start, end = np.maximum(start, 0.0), np.maximum(end, 0.0)
    if model == "step":
        return (end - start) / length
    if model == "linear":
        return (end**2 - start**2) / 2 / length / 3600
    if model == "infusion":
        return (end - start + rise_s * (np.exp(-end / rise_s) - np.exp(-start / rise_s))) / length
    raise InputError(f"time model {model!r} is not known; choose one of {', '.join(TIME_MODELS)}")


@dataclass(frozen=True)
class Listed:
    """A design table.

    Attributes
    ----------
    sessions : dict of (B) int
        Spectra of each session by its label, in order of onset.
    courses : dict of (n_spectra) float
        Time models; NaN for spectra that are not in the table.
    labels : dict of (n_spectra) str
        Further columns of text, empty for spectra that are not in the table.
    spans : (n_spectra, 2) float
        Onset and duration (s).
    """

    sessions: dict[str, NDArray[np.intp]]
    courses: dict[str, NDArray[np.floating]]
    labels: dict[str, NDArray]
    spans: NDArray[np.floating]


def read_design(table: Any, source: str, n_spectra: int) -> Listed:
    """Read sessions, time models and labels from a design table.

    Parameters
    ----------
    table : DataFrame
        Columns spectrum, session (a label), onset_s, duration_s, one for each time model (numbers), and any of text,
        which label spectra.
    source : str
        Its name, for messages.
    n_spectra : int
        Number of spectra that it may name.

    Raises
    ------
    InputError
        A column is missing, a spectrum does not exist or stands twice, a value is not a number, a label is empty.
    """
    if missing := [name for name in DESIGN_COLUMNS if name not in table]:
        raise InputError(f"{source}: column {missing[0]!r} is missing; a design needs {', '.join(DESIGN_COLUMNS)}")
    if table["session"].isna().any():
        raise InputError(f"{source}: column 'session' must hold a label in every row")
    more = [name for name in table if name not in DESIGN_COLUMNS]
    text = [name for name in more if table[name].dtype.kind not in "iufb" and not _holds_number(table[name])]
    models = [name for name in more if name not in text]
    for name in ("spectrum", "onset_s", "duration_s", *models):
        if (line := _line_without_number(table[name])) is not None:
            value = table[name].iloc[line - 2]
            found = "empty" if value != value else repr(str(value))
            raise InputError(f"{source}, line {line}: {name} is {found}; a number is needed")
    if taken := [name for name in more if name in (TAKEN if name in text else ("constant",))]:
        raise InputError(f"{source}: column {taken[0]!r} is one that the tables of results have; rename it")
    index = table["spectrum"].to_numpy()
    for line, spectrum in enumerate(index, start=2):
        if spectrum != int(spectrum) or not 0 <= spectrum < n_spectra:
            raise InputError(
                f"{source}, line {line}: spectrum {spectrum} does not exist; there are {n_spectra} (0-based)"
            )
    if len(set(index)) < len(index):
        raise InputError(f"{source}: a spectrum stands in two rows; each belongs to one session")
    rows = index.astype(int)
    spans = np.full((n_spectra, 2), np.nan)
    spans[rows] = table[["onset_s", "duration_s"]].to_numpy(float)
    courses, labels = {}, {}
    for name in models:
        courses[name] = np.full(n_spectra, np.nan)
        courses[name][rows] = table[name].to_numpy(float)
    for name in text:
        labels[name] = np.full(n_spectra, "", dtype=object)
        labels[name][rows] = table[name].fillna("").astype(str).to_numpy(object)
    ordered = table.sort_values("onset_s", kind="stable")
    by = ordered["session"].astype(str)
    sessions = {label: part["spectrum"].to_numpy(int) for label, part in ordered.groupby(by, sort=True)}
    return Listed(sessions, courses, labels, spans)


def _line_without_number(column: Any) -> int | None:
    """Line of a table where a column holds no finite number, None where all do."""
    import pandas as pd

    wrong = ~np.isfinite(pd.to_numeric(column, errors="coerce").to_numpy(float))
    return int(np.flatnonzero(wrong)[0]) + 2 if wrong.any() else None


def _holds_number(column: Any) -> bool:
    """Whether a column of text holds a number, so that it is a time model with a slip and not a label."""
    import pandas as pd

    return bool(pd.to_numeric(column, errors="coerce").notna().any())
