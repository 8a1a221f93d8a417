"""What a session has that courses over time are made of: events, doses, rows of given files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study import layout
from mrsflow.study.covariates import joined
from mrsflow.study.events import event_onset
from mrsflow.study.regressors import columns_of, files_of

if TYPE_CHECKING:
    import pandas as pd

SAME_EVENT_S = 1.0
"""Seconds within which rows of two runs are one event."""


@dataclass(frozen=True)
class Facts:
    """What a session has that regressors are made of.

    Attributes
    ----------
    key : str
        ``sub-X_ses-Y``.
    events : DataFrame
        onset_s from time 0 of the blocks, duration_s (NaN where the end is not known), trial_type.
    row : dict
        Columns of the participants and sessions tables.
    tables : dict of str to DataFrame
        Rows of the session in each file that regressors name, with ``line``.
    """

    key: str
    events: "pd.DataFrame"
    row: dict[str, Any]
    tables: dict[str, "pd.DataFrame"]


def row_of(sessions: "pd.DataFrame", participants: "pd.DataFrame", fit: dict[str, Any], key: str) -> dict[str, Any]:
    """Values of a session in the columns that regressors name."""
    row = joined(sessions, participants).set_index("key").loc[key]
    return {name: str(row[name]) for name in columns_of(fit) if name in row}


def missing(sessions: "pd.DataFrame", participants: "pd.DataFrame", fit: dict[str, Any]) -> Iterator[str]:
    """Find files and columns that regressors name and that are not there."""
    for path in files_of(fit):
        if not path.is_file():
            yield f"{path}: no such file (fit.regressors of the configuration); correct the path, or give the table"
    every = joined(sessions, participants)
    for name in columns_of(fit):
        if name not in every:
            yield (
                f"fit.regressors names column {name!r}, which is in no table; they have "
                f"{', '.join(column for column in every if column not in ('key', 'line'))}"
            )


def events_of(tables: Iterable[Path], event: str) -> "pd.DataFrame":
    """Events of a session from time 0 of its blocks, those of all runs together, and ``start``, the first excitation.

    Parameters
    ----------
    tables : iterable of Path
        Events table of each run; onsets count from the first excitation of that run.
    event : str
        Event that is time 0.

    Raises
    ------
    InputError
        A table cannot be read, or lacks the event; an onset that is not a number.
    """
    import pandas as pd

    tables, parts, starts = list(tables), [], []
    for path in tables:
        table = read_table(path, result_tables.labels("events"))
        zero = event_onset(table, event, len(tables) == 1, path.name)
        starts.append(-zero)
        own = pd.DataFrame({"onset_s": pd.to_numeric(table["onset"], errors="coerce") - zero})
        own["duration_s"] = pd.to_numeric(table.get("duration", np.nan), errors="coerce")
        own["trial_type"] = table["trial_type"].astype(str)
        if own["onset_s"].isna().any():
            line = int(np.flatnonzero(own["onset_s"].isna())[0]) + 2
            raise InputError(f"{path.name}, line {line}: onset is not a number; correct it")
        parts.append(own)
    if starts and not any((part["trial_type"] == "start").any() for part in parts):
        parts.append(pd.DataFrame({"onset_s": [min(starts)], "duration_s": [np.nan], "trial_type": ["start"]}))
    found = pd.concat(parts) if parts else pd.DataFrame(columns=["onset_s", "duration_s", "trial_type"])
    found = found.sort_values(["trial_type", "onset_s"], kind="stable", ignore_index=True)
    again = (found["onset_s"].diff() < SAME_EVENT_S) & (found["trial_type"] == found["trial_type"].shift())
    several = len(tables) > 1  # each run lists the events of the session on its own clock
    return (found[~again] if several else found).sort_values("onset_s", kind="stable", ignore_index=True)


def rows_of_session(path: Path, key: str) -> "pd.DataFrame":
    """Rows of a session in a file that a regressor names; a file without participant and session holds for all.

    Raises
    ------
    InputError
        The file cannot be read, or has one of the two columns alone.
    """
    table = read_table(path, ("participant", "session", "block"), line_numbers=True)
    table["line"] = [f"{path.name}, line {number}" for number in table["line"]]
    there = [name for name in ("participant", "session") if name in table]
    if len(there) == 1:
        raise InputError(
            f"{path}: has column {there[0]} alone; give participant and session, or neither, where its values hold for "
            "every session"
        )
    if not there:
        return table
    session = layout.SessionKey.of(key)
    own = (table["participant"].astype(str) == session.participant) & (table["session"].astype(str) == session.session)
    return table[own].reset_index(drop=True)


def facts_of(key: str, fit: dict[str, Any], event: str, tables: Iterable[Path], row: dict[str, Any]) -> Facts:
    """Gather what the regressors of a session are made of.

    Parameters
    ----------
    key : str
    fit : dict
        Section fit.
    event : str
        Time 0 of the blocks.
    tables : iterable of Path
        Events table of each run.
    row : dict
        See `Facts`.
    """
    named = {str(path): rows_of_session(path, key) for path in files_of(fit)}
    return Facts(key, events_of(tables, event), row, named)
