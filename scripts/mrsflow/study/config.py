"""The configuration of a study: read, filled with defaults, checked against its schema and against itself."""

import json
import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError

SCHEMAS = Path(__file__).resolve().parents[3] / "config" / "schemas"
MACROMOLECULES = ("default", "none", "measured", "cohort", None)
"""What `macromolecules` of a protocol can say beside a file; None: what its basis file has."""


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
    check(content, "config", source, "see config/schemas/config.schema.yaml")
    for key in _not_finite(content):
        raise InputError(f"{source}: {key} is not a finite number; see config/schemas/config.schema.yaml")
    for name, protocol in content["protocols"].items():
        if protocol["sequence"] == "other" and not protocol["basis"]:
            raise InputError(f"{source}: protocols.{name}.basis is needed, as sequence 'other' cannot be simulated")
    try:
        content["protocols"] = {name: presets.filled(entry, name) for name, entry in content["protocols"].items()}
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


def check(content: Any, name: str, where: str, hint: str) -> None:
    """Refuse what a schema refuses: says `where`, the key, what was found and what is allowed, and a `hint`."""
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
