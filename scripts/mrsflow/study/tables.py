"""The tables of a study as they are given: samples, participants and sessions, read as text."""

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study.config import check, described_in, schema
from mrsflow.study.layout import SessionKey, keys_of

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("samples", "sessions", "participants")
"""Tables, those with more columns that are needed first."""
SPELLINGS = {"sessions": {"condition": "arm", "period": "visit"}, "samples": {"arm": "condition"}}
"""Other names of columns, which are read where a table has not the usual one."""


def usual_names(table: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """Give columns of a table (samples, sessions) their usual names."""
    return table.rename(columns={new: old for new, old in SPELLINGS.get(name, {}).items() if old not in table})


def read(path: str, name: str, keys: Collection[str] | None = None) -> "pd.DataFrame":
    """Read a table as text, with ``line`` (file and line, for messages) and where it names sessions their ``key``.

    Parameters
    ----------
    path : str
    name : str
        samples, participants or sessions: the schema that says which columns it has.
    keys : collection of str, optional
        Of these sessions alone the rows are kept, so that a job of a large study does not check all of it again.

    Raises
    ------
    InputError
        A column is missing or unknown, or there are no rows.
    """
    given = read_table(path, text_columns=True, line_numbers=True)
    table = usual_names(given, name)
    rules = schema(name)
    columns = [column for column in table if column != "line"]
    if missing := [column for column in rules["required"] if column not in columns]:
        found = ", ".join(repr(column) for column in given if column != "line")
        known = {other: set(usual_names(given, other)) & set(schema(other)["properties"]) for other in NAMES}
        fitting = [other for other in NAMES if set(schema(other)["required"]) <= known[other]]
        others = [other for other in fitting if len(known[other]) > len(known[name])]
        hint = f"; it looks like the {others[0]} table, see inputs.{name} and inputs.{others[0]}" if others else ""
        hint = hint or f"; add it, {described_in(name)} says what belongs there"
        strange = [column for column in columns if column not in rules["properties"]]
        if near := difflib.get_close_matches(missing[0], strange, 1):
            hint = f"; rename {near[0]!r} if it is meant"
        hint = "; separate cells with tabs or commas, not semicolons" if ";" in found else hint
        raise InputError(f"{path}: column {missing[0]!r} is missing; it has {found}{hint}")
    if table.empty:
        raise InputError(f"{path}: has no rows; {described_in(name)} says what belongs there")
    if rules["additionalProperties"] is False and not set(columns) <= set(rules["properties"]):
        check(dict.fromkeys(columns, "x"), name, path, f"see {described_in(name)}")
    table["line"] = [f"{path}, line {line}" for line in table["line"]]
    if "session" in rules["required"]:
        table["key"] = keys_of(table)
    if keys is None:
        return table
    if "key" in table:
        return table[table["key"].isin(set(keys))].reset_index(drop=True)
    return table[table["participant"].isin({SessionKey.of(key).participant for key in keys})].reset_index(drop=True)
