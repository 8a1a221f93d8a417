"""Ratings of sessions by eye, as the page of a study gives them for download: read before any model sees the data."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study.layout import keys_of

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = {"good": None, "doubtful": "warn", "bad": "exclude"}
"""Ratings, and what becomes of a session."""
NEEDED = ("participant", "session", "rating")


def read(path: Path | str) -> "pd.DataFrame":
    """Read a table of ratings: participant, session, rating (good, doubtful or bad) and note, with ``key``.

    Parameters
    ----------
    path : path
        The table; rows without a rating are left out.

    Raises
    ------
    InputError
        A column is missing, a rating is none of these, a session stands twice, or a note is a formula to a spreadsheet;
        all such rows, a line each.
    """
    table = read_table(path, text_columns=True, line_numbers=True)
    if missing := [name for name in NEEDED if name not in table]:
        raise InputError(
            f"{path}: column {missing[0]!r} is missing; ratings need {', '.join(NEEDED)}, and may have note"
        )
    table = table.assign(note=table.get("note"))
    rated = table[table["rating"].notna()]
    faults = []
    for row in rated.itertuples():
        where = f"{path}, line {row.line}"
        if not (isinstance(row.participant, str) and isinstance(row.session, str)):
            faults.append(f"{where}: participant or session is empty; a rating needs both")
        if row.rating not in ACTIONS:
            faults.append(f"{where}: rating {row.rating!r} is none of {', '.join(ACTIONS)}")
        if isinstance(row.note, str) and row.note[0] in "=+-@":
            faults.append(
                f"{where}: note begins with {row.note[0]!r}, which spreadsheets take for a formula; write it otherwise"
            )
    if faults:
        raise InputError("\n".join(faults))
    rated = rated.assign(key=keys_of(rated))
    for row in rated[rated.duplicated("key")].itertuples():
        first = rated.loc[rated["key"] == row.key, "line"].iloc[0]
        faults.append(f"{path}, line {row.line}: rates {row.key} again (line {first}); keep one of the rows")
    if faults:
        raise InputError("\n".join(faults))
    return rated.reset_index(drop=True)


def faults(path: Path | str | None, keys: Collection[str]) -> list[str]:
    """Find what is wrong with a table of ratings before any job: a line each.

    Parameters
    ----------
    path : path or None
        None: there is no table.
    keys : collection of str
        Sessions of the study.
    """
    if path is None:
        return []
    try:
        rated = read(path)
    except InputError as error:
        return str(error).splitlines()
    strangers = rated[~rated["key"].isin(keys)]
    return [
        f"{path}, line {row.line}: {row.key} has no scans in this study; correct participant and session, or remove it"
        for row in strangers.itertuples()
    ]
