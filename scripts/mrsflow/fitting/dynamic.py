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

    Raises
    ------
    InputError
        An unknown metabolite, one named twice, no time model, or models that the blocks cannot tell apart.
    """
    for name in (*constant, *free):
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
    names, columns = [], []
    for m, metabolite in enumerate(metabolites):
        if metabolite in constant:
            own = {"constant": design[:, 0]}
        elif metabolite in free:
            own = {f"block {block}": row for block, row in enumerate(np.eye(n_blocks))}
        else:
            own = dict(zip(["constant", *courses], design.T, strict=True))
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


def read_design(table: Any, source: str, n_spectra: int) -> tuple[dict[str, NDArray[np.intp]], dict[str, NDArray]]:
    """Sessions and time models of a design table.

    Parameters
    ----------
    table : DataFrame
        Columns spectrum, session (a label), onset_s, duration_s, and one for each time model.
    source : str
        Its name, for messages.
    n_spectra : int
        Number of spectra that it may name.

    Returns
    -------
    sessions : dict of (B) int
        Spectra of each session by its label, in order of onset.
    courses : dict of (n_spectra) float
        Time models; NaN for spectra that are not in the table.

    Raises
    ------
    InputError
        A column is missing, a spectrum does not exist or stands twice, a value is not a number, a label is empty.
    """
    if missing := [name for name in DESIGN_COLUMNS if name not in table]:
        raise InputError(f"{source}: column {missing[0]!r} is missing; a design needs {', '.join(DESIGN_COLUMNS)}")
    models = [name for name in table if name not in DESIGN_COLUMNS]
    for name in ("spectrum", "onset_s", "duration_s", *models):
        if table[name].dtype.kind not in "iuf" or not np.all(np.isfinite(table[name].to_numpy(float))):
            raise InputError(f"{source}: column {name!r} must hold a number in every row")
    if table["session"].isna().any():
        raise InputError(f"{source}: column 'session' must hold a label in every row")
    index = table["spectrum"].to_numpy()
    for line, spectrum in enumerate(index, start=2):
        if spectrum != int(spectrum) or not 0 <= spectrum < n_spectra:
            raise InputError(
                f"{source}, line {line}: spectrum {spectrum} does not exist; there are {n_spectra} (0-based)"
            )
    if len(set(index)) < len(index):
        raise InputError(f"{source}: a spectrum stands in two rows; each belongs to one session")
    courses = {}
    for name in models:
        courses[name] = np.full(n_spectra, np.nan)
        courses[name][index.astype(int)] = table[name].to_numpy(float)
    ordered = table.sort_values("onset_s", kind="stable")
    labels = ordered["session"].astype(str)
    sessions = {label: rows["spectrum"].to_numpy(int) for label, rows in ordered.groupby(labels, sort=True)}
    return sessions, courses
