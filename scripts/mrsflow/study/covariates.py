"""Covariates of the models: columns of the tables with a type, known before any job."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.errors import InputError
from mrsflow.study.config import schema

if TYPE_CHECKING:
    import pandas as pd

RESERVED = {
    "visit": "is in the models already", "arm": "is the condition that is compared",
    **dict.fromkeys(("participant", "session"), "names who was measured"),
    **dict.fromkeys((
        "key", "line", "condition", "block", "phase", "time", "outcome", "sd", "y", "bl", "bl_dev", "bl_mean",
        "change", "spectrum", "onset_s", "duration_s", "linewidth_hz", "snr", "fit_status", "fit_reason", "excluded",
        "warned", "reason", "dose_s", "crlb_weight", "lost", "value", "glx", "glx_within", "glx_between",
        "score_before", "score_after", "bl_sd", "error", "error_r",
    ), "is a name that the models use"),
}  # fmt: skip
"""Names that a covariate or moderator cannot have, and why."""
FROM_SCANS = ("vendor",)
"""Columns that the scans give where the tables have none."""
FRACTIONS = ("GM", "WM", "CSF")
"""Columns that sessions have where their tissue was measured."""
ANSWERS = {**dict.fromkeys(("yes", "true", "1"), True), **dict.fromkeys(("no", "false", "0"), False)}
"""How columns of yes and no may say it, in any case."""


def joined(sessions: "pd.DataFrame", participants: "pd.DataFrame") -> "pd.DataFrame":
    """Sessions with the columns of their participants; further columns of a reserved name are left aside."""
    needed = ("participant", "session", "key", "line", "visit", "arm")
    own = sessions[[c for c in sessions.columns if c in needed or c not in RESERVED]]
    shared = [c for c in participants.columns if c == "participant" or (c not in own.columns and c not in RESERVED)]
    return own.merge(participants[shared], on="participant", how="left")


def names_of(config: dict[str, Any]) -> dict[str, str]:
    """Columns that models take, each with the key that names it."""
    group = config.get("group", {})
    found = dict.fromkeys(group.get("moderators", ()), "group.moderators")
    found |= dict.fromkeys(group.get("covariates", {}), "group.covariates")
    found |= dict.fromkeys(group.get("expectancy", ()), "group.expectancy")
    return found | dict.fromkeys(group.get("adjust_for", ()), "group.adjust_for")


def from_voxels(config: dict[str, Any], tissue: bool) -> list[str]:
    """Columns that are measured in the voxels: the maps of the configuration, and fractions where there is `tissue`."""
    return [*config["inputs"]["maps"], *(FRACTIONS if tissue else ())]


def faults(
    config: dict[str, Any],
    sessions: "pd.DataFrame",
    participants: "pd.DataFrame",
    measured: Collection[str] = (),
) -> list[str]:
    """Find covariates and moderators that no model could take.

    Parameters
    ----------
    config : dict
    sessions, participants : DataFrame
        As `mrsflow.study.study.examine` gives them.
    measured : collection of str
        Columns that sessions will have from their voxels: see `from_voxels`.

    Returns
    -------
    list of str
        A line each: the key, the column and what to change.
    """
    every = joined(sessions, participants)
    found = [
        f"inputs.maps: {name!r} {RESERVED.get(name, 'is a column of the tables already')}; give the map another name"
        for name in config.get("inputs", {}).get("maps", ())
        if name in RESERVED or name in every or name in FRACTIONS
    ]
    asked = names_of(config) | dict.fromkeys(config.get("group", {}).get("leave_out", ()), "group.leave_out")
    for column, key in asked.items():
        if column in RESERVED:
            found.append(f"{key}: {column!r} {RESERVED[column]}; rename the column, or take it out of {key}")
        elif any(sign in column for sign in "`:"):
            found.append(f"{key}: {column!r} has a backtick or colon in its name; rename the column")
        elif column not in every and column not in FROM_SCANS and column not in measured:
            names = ", ".join(c for c in every.columns if c not in RESERVED)
            found.append(f"{key}: there is no column {column!r} in the tables; they have {names or 'no further ones'}")
    if found:
        return found
    try:
        typed(config, every)
        for column in config.get("group", {}).get("leave_out", ()):
            _refuse_other_answers(every, column)
        for column in config.get("group", {}).get("adjust_for", ()):
            if column in every:
                _refuse_gaps(every, column)
    except InputError as error:
        found.append(str(error))
    return found


def answer(value: Any) -> bool | None:
    """Read a cell of a column of yes and no; None of anything else.

    >>> answer("Yes"), answer(0), answer("maybe")
    (True, False, None)
    """
    return ANSWERS.get(_label(value).lower())


def _refuse_other_answers(sessions: "pd.DataFrame", column: str) -> None:
    """Refuse what is neither yes nor no in a column whose marked participants are left out."""
    given = sessions[sessions[column].notna()]
    wrong = given[given[column].map(answer).isna()]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(
            f"{row['line']}: {column} is {row[column]!r}; yes or no is needed (group.leave_out), n/a where not known"
        )
    if not given[column].map(answer).any():
        raise InputError(
            f"group.leave_out: {column!r} marks nobody, so that the analysis without them is the primary; take it out"
        )


def _refuse_gaps(sessions: "pd.DataFrame", column: str) -> None:
    """Refuse a covariate that a whole condition or visit lacks: adjusting would lose every session of it."""
    present = sessions[sessions[column].notna()]
    for name, label in (("arm", "condition"), ("visit", "visit")):
        if gone := [v for v in sessions[name].unique() if v not in set(present[name])]:
            raise InputError(
                f"group.adjust_for: {column!r} has a value in {len(present)} of {len(sessions)} sessions and in none "
                f"of {label} {gone[0]}, so a model that adjusts for it would lose all of them; take it out of "
                "group.adjust_for (as a moderator it is taken where it has values)"
            )
    if present[column].nunique() < 2:
        raise InputError(
            f"group.adjust_for: {column!r} has the single value {present[column].iloc[0]!r}; take it out of "
            "group.adjust_for"
        )


def typed(config: dict[str, Any], sessions: "pd.DataFrame") -> "pd.DataFrame":
    """Give covariates and moderators their type: numbers as float, factors as categories, the reference first.

    The type is declared in ``group.covariates``, known from the schema of the tables, or plain from the values, which
    are then all numbers or all words.

    Raises
    ------
    InputError
        A value that is not of the type; names file, line and column.
    """
    known = {**schema("participants")["properties"], **schema("sessions")["properties"]}
    declared = config.get("group", {}).get("covariates", {})
    found = {}
    for column, key in names_of(config).items():
        if column not in sessions or column in RESERVED:
            continue
        own = declared.get(column) or {"type": _known_type(known.get(column))}
        found[column] = _as_type(sessions, column, own, key)
    return sessions.assign(**found)


def _known_type(rule: dict[str, Any] | None) -> str | None:
    if rule is None:
        return None
    return "number" if rule.get("type") in ("number", "integer") else "factor"


def _as_type(sessions: "pd.DataFrame", column: str, own: dict[str, Any], key: str) -> "pd.Series":
    import pandas as pd

    values = sessions[column]
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    numbers = numbers.where(np.isfinite(numbers))
    bad = values.notna() & numbers.isna()
    kind = own.get("type") or ("number" if not bad.any() else "factor")
    if own.get("type") is None and bad.any() and numbers.notna().any():
        row = sessions[bad].iloc[0]
        raise InputError(
            f"{row['line']}: {column} is {row[column]!r} among numbers ({key}); correct it, or declare in "
            f"group.covariates {{{column}: {{type: factor}}}}"
        )
    if kind == "number":
        if bad.any():
            row = sessions[bad].iloc[0]
            raise InputError(
                f"{row['line']}: {column} is {row[column]!r}; it is a number ({key}): correct it, or declare in "
                f"group.covariates {{{column}: {{type: factor}}}}"
            )
        return numbers
    return _factor(sessions, column, own)


def _factor(sessions: "pd.DataFrame", column: str, own: dict[str, Any]) -> "pd.Series":
    import pandas as pd

    text = sessions[column].map(_label, na_action="ignore")
    levels = [str(v) for v in own.get("levels") or sorted(text.dropna().unique())]
    outside = text.notna() & ~text.isin(levels)
    if outside.any():
        row = sessions[outside].iloc[0]
        raise InputError(
            f"{row['line']}: {column} is {row[column]!r}; group.covariates.{column}.levels has {', '.join(levels)}"
        )
    reference = str(own.get("reference") or levels[0]) if levels else ""
    if levels and reference not in levels:
        raise InputError(f"group.covariates.{column}.reference is {reference!r}; the levels are {', '.join(levels)}")
    order = [reference, *(v for v in levels if v != reference)] if levels else []
    return pd.Series(pd.Categorical(text, categories=order), index=sessions.index)


def _label(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def is_factor(values: "pd.Series") -> bool:
    """Whether a typed covariate is a factor."""
    import pandas as pd

    return not pd.api.types.is_numeric_dtype(values)


def text_of(sessions: "pd.DataFrame", names: Iterable[str]) -> str:
    """Describe covariates in words: ``age (number), site (factor: a; b)``, the reference first."""
    parts = []
    for name in names:
        values = sessions[name]
        levels = "; ".join(values.cat.categories) if hasattr(values, "cat") else ""
        parts.append(f"{name} (factor: {levels})" if levels else f"{name} (number)")
    return ", ".join(parts)
