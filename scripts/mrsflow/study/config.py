"""The configuration and the tables of a study, checked against the schemas and against each other."""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError
from mrsflow.files import read_table

if TYPE_CHECKING:
    import pandas as pd

SCHEMAS = Path(__file__).resolve().parents[3] / "config" / "schemas"
MACROMOLECULES = ("default", "none", "measured", "cohort", None)
"""What `macromolecules` of a protocol can say beside a file; None: what its basis file has."""
NUMERIC = ("number", "integer")


@dataclass(frozen=True)
class Study:
    """The tables of a study.

    Attributes
    ----------
    samples : DataFrame
        One row per scan: the columns of samples.schema.yaml, with ``key`` (``sub-X_ses-Y``), ``line`` (in the
        file) and ``raw`` as a list of paths.
    participants, sessions : DataFrame
        As in the files; `sessions` with ``key`` too.
    """

    samples: "pd.DataFrame"
    participants: "pd.DataFrame"
    sessions: "pd.DataFrame"

    @property
    def keys(self) -> list[str]:
        """Sessions that have scans, in the order of the samples table."""
        return list(dict.fromkeys(self.samples["key"]))


@cache
def schema(name: str) -> dict[str, Any]:
    """Read one of the schemas: config, samples, participants or sessions."""
    import yaml

    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def load(source: str) -> dict[str, Any]:
    """Read a configuration from a YAML file, or from JSON text as the rules pass it (already checked).

    Raises
    ------
    InputError
        Missing file, bad YAML, or a value that the schema refuses.
    """
    if source.lstrip().startswith("{"):
        return json.loads(source)
    import yaml

    try:
        content = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{source}: cannot be read as YAML ({error})") from error
    return checked(content, source)


def checked(content: Any, source: str = "config") -> dict[str, Any]:
    """Check a configuration and fill in the defaults.

    Raises
    ------
    InputError
        Names the key, what was found and what is allowed.
    """
    import copy

    from mrsflow.basis_sets import presets

    content = copy.deepcopy(content)
    if isinstance(content, dict):
        _fill(content, schema("config"))
    _check(content, "config", source, "see config/schemas/config.schema.yaml")
    for key in _not_finite(content):
        raise InputError(f"{source}: {key} is not a finite number; see config/schemas/config.schema.yaml")
    for name, protocol in content["protocols"].items():
        if protocol["sequence"] == "other" and not protocol["basis"]:
            raise InputError(f"{source}: protocols.{name}.basis is needed, as sequence 'other' cannot be simulated")
    try:
        content["protocols"] = {name: presets.filled(entry, name) for name, entry in content["protocols"].items()}
        presets.refuse_unknown_timing(content["protocols"])
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    for section, key in (("preprocess", "align_ppm"), ("fit", "ppm")):
        low, high = content[section][key]
        if not low < high:
            raise InputError(f"{source}: {section}.{key} is [{low}, {high}]; the lower end comes first (ppm)")
    bins = sorted((tuple(span), name) for name, span in content["blocks"]["bins"].items())
    for (start, end), name in bins:
        if not start < end:
            raise InputError(f"{source}: blocks.bins.{name} is [{start}, {end}]; the end must be after the start (min)")
    for ((_, end), name), ((start, _), following) in pairwise(bins):
        if start < end:
            raise InputError(f"{source}: blocks.bins.{name} and blocks.bins.{following} overlap; make them disjoint")
    if unknown := [name for name in content["blocks"]["baseline"] if name not in content["blocks"]["bins"]]:
        raise InputError(f"{source}: blocks.baseline names {unknown[0]!r}, which is not in blocks.bins")
    if content["study"]["design"] != "single_arm" and len(content["study"]["conditions"]) < 2:
        raise InputError(f"{source}: study.conditions has one code; a {content['study']['design']} needs two or more")
    return content


def macromolecules_of(protocol: dict[str, Any]) -> str | None:
    """Say where the macromolecules of a protocol come from: one of `MACROMOLECULES`, or a file."""
    value = protocol.get("macromolecules")
    if value is None:
        return None if protocol.get("basis") else "default"
    return {True: "default", False: "none"}.get(value, value)


def needs_mean(protocol: dict[str, Any], own: bool) -> bool:
    """Whether a session takes the mean macromolecules of the study; `own`: it has a scan of role mm."""
    return macromolecules_of(protocol) in (("cohort",) if own else ("cohort", "measured"))


def _not_finite(value: Any, key: str = "") -> Iterator[str]:
    """Keys whose value is infinite or no number, which a range in the schema does not refuse."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _not_finite(inner, f"{key}.{name}" if key else str(name))


def _fill(content: dict[str, Any], rules: dict[str, Any]) -> None:
    import copy

    for key, rule in rules.get("properties", {}).items():
        if key not in content and "default" in rule:
            content[key] = copy.deepcopy(rule["default"])
        _fill_value(content.get(key), rule)
    if isinstance(rules.get("additionalProperties"), dict):
        for key, value in content.items():
            if key not in rules.get("properties", {}):
                _fill_value(value, rules["additionalProperties"])


def _fill_value(value: Any, rule: dict[str, Any]) -> None:
    if isinstance(value, dict):
        _fill(value, rule)
    elif isinstance(value, list) and isinstance(rule.get("items"), dict):
        for item in value:
            _fill_value(item, rule["items"])


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(name))


def _check(content: Any, name: str, where: str, hint: str) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(_validator(name).iter_errors(content))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path)
    allowed = ""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        from difflib import get_close_matches

        known = list(error.schema.get("properties", {}))
        unknown = [k for k in error.instance if k not in known]
        near = get_close_matches(str(unknown[0]), known, n=1) if unknown else []
        message = f"unknown key {unknown[0]!r}" + (f", did you mean {near[0]!r}?" if near else "")
    else:
        message = error.message
        allowed = f" ({error.schema['description']})" if "description" in error.schema else ""
    raise InputError(f"{where}: {key + ': ' if key else ''}{message}{allowed}; {hint}")


def _read_checked(path: str, name: str, keys: Collection[str] | None = None) -> "pd.DataFrame":
    """Read a table as text, convert the numeric columns of its schema, and check each distinct value.

    Of `keys` only these sessions' rows are kept, so that a job of a large study does not check all of it again.
    """
    table = read_table(path, text_columns=True, line_numbers=True)
    rules = schema(name)
    columns = [column for column in table if column != "line"]
    if missing := [column for column in rules["required"] if column not in columns]:
        found = ", ".join(map(repr, columns))
        hint = "; separate cells with tabs or commas, not semicolons" if ";" in found else ""
        raise InputError(f"{path}: column {missing[0]!r} is missing; it has {found}{hint}")
    if table.empty:
        raise InputError(f"{path}: has no rows; see config/README.md for what belongs there")
    if rules["additionalProperties"] is False and not set(columns) <= set(rules["properties"]):
        _check(dict.fromkeys(columns, "x"), name, path, f"see config/schemas/{name}.schema.yaml")
    if "session" in rules["required"]:
        table["key"] = "sub-" + table["participant"] + "_ses-" + table["session"]
    if keys is not None:
        known = table["key"] if "key" in table else "sub-" + table["participant"]
        wanted = set(keys) if "key" in table else {key.split("_ses-")[0] for key in keys}
        table = table[known.isin(wanted)].reset_index(drop=True)
    for column in columns:
        if column in rules["properties"]:
            values = _checked_values(path, table, column, rules)
            if rules["properties"][column].get("type") in NUMERIC:
                table[column] = [values.get(text) for text in table[column]]
    return table


def _checked_values(path: str, table: "pd.DataFrame", column: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Distinct texts of a column and their values, checked against the schema."""
    from jsonschema import Draft202012Validator

    rule = rules["properties"][column]
    kind, check = rule.get("type"), Draft202012Validator(rule)
    values: dict[Any, Any] = {}
    for text, line in zip(table[column], table["line"], strict=True):
        if text in values:
            continue
        if text is None or text != text:
            if column in rules["required"]:
                raise InputError(f"{path}, line {line}: {column} is empty; it is needed in every row")
            continue
        values[text] = _number(text, kind, f"{path}, line {line}: {column}") if kind in NUMERIC else text
        for error in check.iter_errors(values[text]):
            raise InputError(f"{path}, line {line}: {column}: {error.message} ({rule.get('description', '')})")
    return values


def _number(value: Any, kind: str, where: str) -> Any:
    try:
        number = int(value) if kind == "integer" else float(value)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        raise InputError(f"{where}: {value!r} is not {'a whole number' if kind == 'integer' else 'a number'}") from None
    return number


def read_study(config: dict[str, Any], keys: Collection[str] | None = None) -> Study:
    """Read and cross-check the tables that a configuration names.

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
    paths = config["inputs"]
    if paths["bids"]:
        from mrsflow.study.bids_reader import read_dataset

        return read_dataset(paths["bids"], config["protocols"], keys)
    samples = _read_checked(paths["samples"], "samples", keys)
    participants = _read_checked(paths["participants"], "participants", keys)
    sessions = _read_checked(paths["sessions"], "sessions", keys)
    for path, table, columns in (
        (paths["participants"], participants, ["participant"]),
        (paths["sessions"], sessions, ["participant", "session"]),
    ):
        _refuse_repeats(path, table, columns)
    _refuse_repeats(paths["samples"], samples, [c for c in ("participant", "session", "role", "run") if c in samples])
    _refuse_repeats(paths["samples"], samples[samples["role"] != "T1w"], ["raw"])
    _refuse_unknown(paths["samples"], samples, "participant", participants["participant"], paths["participants"])
    _refuse_unknown(paths["samples"], samples, "key", sessions["key"], paths["sessions"])
    _refuse_unknown(paths["samples"], samples, "protocol", list(config["protocols"]), "protocols of the configuration")
    _refuse_unknown(paths["sessions"], sessions, "arm", config["study"]["conditions"], "study.conditions")
    if "condition" in samples:
        arms = samples["key"].map(sessions.set_index("key")["arm"])
        wrong = samples[samples["condition"].notna() & (samples["condition"] != arms)]
        for row in wrong.itertuples():
            raise InputError(
                f"{paths['samples']}, line {row.line}: condition {row.condition!r} differs from the arm of {row.key} "
                f"in {paths['sessions']}; correct one of them"
            )
    _refuse_repeated_visits(paths["sessions"], sessions)
    if keys is None and not (samples["role"] == "mm").any():
        for name in dict.fromkeys(samples.loc[samples["role"] == "svs", "protocol"]):
            if needs_mean(config["protocols"][name], own=False):
                raise InputError(
                    f"{paths['samples']}: has no row of role mm, and protocols.{name}.macromolecules is "
                    f"{config['protocols'][name]['macromolecules']!r}; add a metabolite-nulled scan, or say `default`"
                )
    root = Path(paths["samples"]).parent
    samples["raw"] = [[root / part for part in text.split(" | ")] for text in samples["raw"]]
    return Study(samples, participants, sessions)


def _refuse_repeats(path: str, table: "pd.DataFrame", columns: list[str]) -> None:
    repeated = table[table.duplicated(columns, keep="first")]
    for row in repeated.itertuples():
        values = ", ".join(f"{c} {getattr(row, c)!r}" for c in columns)
        first = table[
            (table[columns].astype(object).fillna("") == repeated.loc[row.Index, columns].fillna("")).all(axis=1)
        ]
        raise InputError(
            f"{path}, line {row.line}: repeats line {first['line'].iloc[0]} ({values}); remove one"
            + (" or number them in column run" if "role" in columns else "")
        )


def _refuse_unknown(path: str, table: "pd.DataFrame", column: str, known: Any, where: str) -> None:
    for row in table[~table[column].isin(list(known))].itertuples():
        raise InputError(f"{path}, line {row.line}: {column} {getattr(row, column)!r} is not in {where}")


def _refuse_repeated_visits(path: str, sessions: "pd.DataFrame") -> None:
    for row in sessions[sessions.duplicated(["participant", "visit"])].itertuples():
        raise InputError(f"{path}, line {row.line}: participant {row.participant!r} has visit {row.visit} twice")
