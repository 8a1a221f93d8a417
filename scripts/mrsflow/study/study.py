"""A study: its scans, participants and sessions, checked in one place whatever way they came in."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError
from mrsflow.study import bids_reader, covariates, tables
from mrsflow.study.config import needs_mean, schema

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("samples", "participants", "sessions")
NUMERIC = ("number", "integer")


@dataclass(frozen=True)
class Study:
    """The tables of a study.

    Attributes
    ----------
    samples : DataFrame
        One row per scan: the columns of samples.schema.yaml, with ``key`` (``sub-X_ses-Y``), ``line`` (file and
        line, or the scan of a dataset) and ``raw`` as a list of paths.
    participants, sessions : DataFrame
        As in the files, numbers as numbers; with ``line``, `sessions` with ``key`` too.
    """

    samples: "pd.DataFrame"
    participants: "pd.DataFrame"
    sessions: "pd.DataFrame"

    @property
    def keys(self) -> list[str]:
        """Sessions that have scans, in the order of the samples table."""
        return list(dict.fromkeys(self.samples["key"]))


def read_study(config: dict[str, Any], keys: Collection[str] | None = None) -> Study:
    """Read and cross-check the tables, or the BIDS dataset, that a configuration names.

    Parameters
    ----------
    config : dict
    keys : collection of str, optional
        Sessions (``sub-X_ses-Y``) that are needed; the other rows of tables are then neither checked nor given.

    Raises
    ------
    InputError
        Names file, line, column, what was found and what is allowed.
    """
    inputs = config["inputs"]
    if inputs["bids"]:
        study, root = Study(*bids_reader.read(inputs["bids"], config["protocols"], keys)), Path()
    else:
        study = Study(*(tables.read(inputs[name], name, keys) for name in TABLES))
        root = Path(inputs["samples"]).parent
    study = validated(study, config)
    if keys is None:
        _refuse_mean_of_nothing(study.samples, config["protocols"])
        covariates.check(config, study.sessions, study.participants)
    raw = [[root / part for part in text.split(" | ")] for text in study.samples["raw"]]
    return replace(study, samples=study.samples.assign(raw=raw))


def validated(study: Study, config: dict[str, Any]) -> Study:
    """Check every value against the schemas and the tables against each other; numbers become numbers.

    Parameters
    ----------
    study : Study
        Of texts, ``raw`` too.
    config : dict

    Raises
    ------
    InputError
        Names file, line, column, what was found and what is allowed.
    """
    inputs = config["inputs"]
    where = {name: f"the {name} of {inputs['bids']}" if inputs["bids"] else inputs[name] for name in TABLES}
    samples, participants, sessions = (_typed(getattr(study, name), name) for name in TABLES)
    _refuse_repeats(participants, ["participant"])
    _refuse_repeats(sessions, ["participant", "session"])
    _refuse_repeats(samples, [c for c in ("participant", "session", "role", "run") if c in samples])
    _refuse_repeats(samples[samples["role"] != "T1w"], ["raw"])
    _refuse_unknown(samples, "participant", participants["participant"], where["participants"])
    _refuse_unknown(sessions, "participant", participants["participant"], where["participants"])
    _refuse_unknown(samples, "key", sessions["key"], where["sessions"])
    _refuse_unknown(samples, "protocol", config["protocols"], "protocols of the configuration")
    _refuse_unknown(sessions, "arm", config["study"]["conditions"], "study.conditions")
    if "condition" in samples:
        arms = samples["key"].map(sessions.set_index("key")["arm"])
        wrong = samples[samples["condition"].notna() & (samples["condition"] != arms)]
        for row in wrong.itertuples():
            raise InputError(
                f"{row.line}: condition {row.condition!r} differs from the arm of {row.key} in {where['sessions']}; "
                "correct one of them"
            )
    for row in sessions[sessions.duplicated(["participant", "visit"])].itertuples():
        raise InputError(f"{row.line}: participant {row.participant!r} has visit {row.visit} twice")
    return Study(samples, participants, sessions)


def _typed(table: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """Check each distinct value of a table against its schema; columns of numbers become numbers."""
    rules = schema(name)
    found = {}
    for column in table.columns.intersection(list(rules["properties"])):
        values = _checked_values(table, column, rules)
        if rules["properties"][column].get("type") in NUMERIC:
            found[column] = [values.get(text) for text in table[column]]
    return table.assign(**found)


def _checked_values(table: "pd.DataFrame", column: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Distinct texts of a column and their values, checked against the schema."""
    from jsonschema import Draft202012Validator

    rule = rules["properties"][column]
    kind, check = rule.get("type"), Draft202012Validator(rule)
    values: dict[Any, Any] = {}
    needed = table if column in rules["required"] else table.iloc[:0]
    if column == "protocol":  # anatomy has none
        needed = needed[needed["role"] != "T1w"]
    for line in needed.loc[needed[column].isna(), "line"]:
        raise InputError(f"{line}: {column} is empty; it is needed in every row")
    for text, line in zip(table[column], table["line"], strict=True):
        if text in values or text is None or text != text:
            continue
        values[text] = _number(text, kind, f"{line}: {column}") if kind in NUMERIC else text
        for error in check.iter_errors(values[text]):
            raise InputError(f"{line}: {column}: {error.message} ({rule.get('description', '')})")
    return values


def _number(value: Any, kind: str, where: str) -> Any:
    try:
        number = int(value) if kind == "integer" else float(value)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        raise InputError(f"{where}: {value!r} is not {'a whole number' if kind == 'integer' else 'a number'}") from None
    return number


def _refuse_repeats(table: "pd.DataFrame", columns: list[str]) -> None:
    repeated = table[table.duplicated(columns, keep="first")]
    for row in repeated.itertuples():
        values = ", ".join(f"{c} {getattr(row, c)!r}" for c in columns)
        first = table[
            (table[columns].astype(object).fillna("") == repeated.loc[row.Index, columns].fillna("")).all(axis=1)
        ]
        raise InputError(
            f"{row.line}: repeats {first['line'].iloc[0]} ({values}); remove one"
            + (" or number them in column run" if "role" in columns else "")
        )


def _refuse_unknown(table: "pd.DataFrame", column: str, known: Iterable[str], where: str) -> None:
    for row in table[table[column].notna() & ~table[column].isin(list(known))].itertuples():
        raise InputError(f"{row.line}: {column} {getattr(row, column)!r} is not in {where}")


def _refuse_mean_of_nothing(samples: "pd.DataFrame", protocols: dict[str, Any]) -> None:
    """Refuse macromolecules that are the mean of scans of role mm where there is no such scan."""
    if (samples["role"] == "mm").any():
        return
    for row in samples[samples["role"] == "svs"].drop_duplicates("protocol").itertuples():
        if needs_mean(protocols[row.protocol], own=False):
            raise InputError(
                f"{row.line}: there is no scan of role mm, and protocols.{row.protocol}.macromolecules is "
                f"{protocols[row.protocol]['macromolecules']!r}; add a metabolite-nulled scan, or say `default`"
            )
