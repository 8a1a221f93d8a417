"""The configuration of a study: read, filled with defaults, checked against its schema and against itself."""

import json
import math
import os
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import workflow_folder
from mrsflow.study import given_paths, metrics, regressors, short_blocks, study_presets

SCHEMAS = workflow_folder() / "config/schemas"
MACROMOLECULES = ("default", "none", "measured", "cohort", None)
"""What `macromolecules` of a protocol can say beside a file; None: what its basis file has."""
TOTALS = ("tNAA", "tCr", "tCho", "Glx")
"""Sums that the fit reports beside the metabolites of the basis set."""
WEIGHTS_SUM = 1e-9
"""Rounding that the weights of a contrast may have in their sum."""


@cache
def schema(name: str) -> dict[str, Any]:
    """Read one of the schemas: config, samples, participants or sessions."""
    import yaml

    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def described_in(name: str) -> str:
    """Path of what describes keys or columns: in the study, where `mrsflow init` writes it, or with the code."""
    own, code, here = Path("config", f"{name}.schema.json"), SCHEMAS / f"{name}.schema.yaml", Path.cwd()
    if own.is_file():
        return str(own)
    return str(code.relative_to(here) if code.is_relative_to(here) else code)


def rule_of(key: str) -> dict[str, Any]:
    """Find what the schema says of a key of the configuration; ``*`` is a name that the study gives.

    >>> rule_of("protocols.*.nucleus")["default"]
    '1H'
    """
    rule = schema("config")
    for name in key.split("."):
        rule = rule["additionalProperties"] if name == "*" else rule["properties"][name]
    return rule


def default(key: str) -> Any:
    """Give the default of a key of the configuration, lists as tuples.

    >>> default("fit.ppm")
    (0.5, 4.2)
    """
    value = rule_of(key)["default"]
    return tuple(value) if isinstance(value, list) else value


def load(source: str) -> dict[str, Any]:
    """Read a configuration from a YAML file, or from JSON text as the rules pass it (already checked).

    Raises
    ------
    InputError
        Missing file, bad YAML, or a value that the schema refuses.
    """
    if source.lstrip().startswith("{"):
        return json.loads(source)
    return checked(read(source), source)


def read(source: str | Path) -> Any:
    """Read a YAML file in a time that goes with its size, whatever its aliases repeat.

    Raises
    ------
    InputError
        Missing file, bad YAML, or aliases that swell.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Counts what merged mappings (``<<``) hold, which swells before there is any value to look at."""

        merged = 0

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > MOST_VALUES:
                raise InputError(_swollen(source))

    try:
        content = Loader(Path(source).read_text(encoding="utf-8")).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{source}: cannot be read as YAML ({error})") from error
    _refuse_swollen(content, source)
    return content


def checked(content: Any, source: str = "config", faults: list[str] | None = None) -> dict[str, Any]:
    """Check a configuration and fill in the defaults.

    Parameters
    ----------
    content : dict
    source : str
        For messages.
    faults : list of str, optional
        Gets all that is wrong, instead of an error, so that it is listed together with what is wrong with the tables;
        what is given back has stand-ins where the tables can be checked all the same.

    Raises
    ------
    InputError
        Names the key, what was found and what is allowed; with `faults`, where nothing more can be checked.
    """
    import copy

    _refuse_swollen(content, source)
    content = copy.deepcopy(content)
    if isinstance(content, dict):
        content = study_presets.filled(content, schema("config"))
        if content.get("verify") in ("true", "false"):  # as --config gives it: text
            content["verify"] = content["verify"] == "true"
        _fill(content, schema("config"))
    found, faulty = _schema_faults(content, source)
    usable = content if not found else _with_stand_ins(content, faulty)
    if usable is not None:
        found += [f"{source}: {said}" for said in _own_faults(usable, {str(key[0]) for key in faulty})]
    if faults is None and found:
        raise InputError(found[0])
    if usable is None:
        raise InputError("\n".join(found))
    if faults is not None:
        faults += found
    return usable | {"output": os.path.normpath(usable["output"])}


def _schema_faults(content: Any, source: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Give what the schema refuses, a line each, and the keys of it."""
    errors = sorted(_validator("config").iter_errors(content), key=lambda error: list(map(str, error.absolute_path)))
    hint = f"see {described_in('config')}"
    found = [f"{source}: {said}; {hint}" for error in errors for said in _said(error)]
    faulty = [key for error in errors for key in _keys_of(error)]
    if not errors:
        infinite = list(_not_finite(content))
        found += [f"{source}: {'.'.join(map(str, key))} is not a finite number; {hint}" for key in infinite]
        faulty += infinite
    return found, faulty


def _keys_of(error: Any) -> list[tuple[Any, ...]]:
    """Keys whose values a schema refuses: the one named, or those that it does not know."""
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        return [(*path, key) for key in error.instance if key not in error.schema.get("properties", {})]
    if "propertyNames" in error.absolute_schema_path:
        return [(*path, error.instance)]
    return [path or ("",)]


STAND_IN = {"sequence": "press", "echo_time_ms": 30, "repetition_time_ms": 2000, "spectrometer_frequency_mhz": 127.7}
"""Values of a protocol that was refused, so that the tables that name it can be checked."""


def _with_stand_ins(content: Any, faulty: list[tuple[Any, ...]]) -> dict[str, Any] | None:
    """Put defaults or stand-ins in place of what is refused; None where no table could be checked."""
    bids = isinstance(content, dict) and isinstance(content.get("inputs"), dict) and content["inputs"].get("bids")
    sections = {key[0] for key in faulty}
    if not isinstance(content, dict) or sections & {"", "inputs"} or (bids and "protocols" in sections):
        return None
    for key in faulty:
        if key[0] == "protocols" and len(key) > 1 and isinstance(content["protocols"].get(key[1]), dict):
            content["protocols"][key[1]] = dict(STAND_IN, preset="ideal")
            continue
        if key[0] == "blocks":
            content["blocks"] = {"event": "start", "bins": {"all": [0, 1]}}
            continue
        inner = content
        for part in key[:-1]:
            inner = inner[part] if isinstance(inner, dict) and part in inner else {}
        if isinstance(inner, dict):
            inner.pop(key[-1], None)
    _fill(content, schema("config"))
    return content if _validator("config").is_valid(content) else None


def _own_faults(content: dict[str, Any], faulty: set[str]) -> Iterator[str]:
    """Find what is wrong beyond the schema, where the sections that bear on it are not `faulty`."""
    for check_of, sections in (
        (given_paths.faults, {"output", "inputs"}),
        (_protocol_faults, set()),  # stand-ins have none
        (_range_faults, {"preprocess", "fit"}),
        (metrics.faults, {"quality"}),
        (_course_faults, {"fit", "inputs"}),
        (_block_faults, {"blocks", "fit", "group"}),
        (_question_faults, {"study", "group", "blocks"}),
        (_outcome_faults, {"group", "fit", "protocols"}),
        (_multiverse_faults, {"group", "fit", "protocols"}),
        (regressors.term_faults, {"group", "fit", "blocks"}),
    ):
        if not sections & faulty:
            yield from check_of(content)


def _protocol_faults(content: dict[str, Any]) -> Iterator[str]:
    """Find protocols that no basis set can be had for; the others get the timing and pulses of their presets."""
    from mrsflow.basis_sets import presets

    for name, protocol in content["protocols"].items():
        if protocol["sequence"] == "other" and not protocol["basis"]:
            yield f"protocols.{name}.basis is needed, as sequence 'other' cannot be simulated"
            continue
        try:
            content["protocols"][name] = presets.filled(protocol, name)
        except InputError as error:
            yield str(error)


def _range_faults(content: dict[str, Any]) -> Iterator[str]:
    for section, key in (("preprocess", "align_ppm"), ("fit", "ppm")):
        low, high = content[section][key]
        if not low < high:
            yield f"{section}.{key} is [{low}, {high}]; the lower end comes first (ppm)"


def _course_faults(content: dict[str, Any]) -> Iterator[str]:
    yield from regressors.faults(content["fit"], bool(content["inputs"]["bids"]))


def _block_faults(content: dict[str, Any]) -> Iterator[str]:
    bins = sorted((tuple(span), name) for name, span in content["blocks"]["bins"].items())
    for (start, end), name in bins:
        if not start < end:
            yield f"blocks.bins.{name} is [{start}, {end}]; the end must be after the start (min)"
    for ((_, end), name), ((start, _), following) in pairwise(bins):
        if start < end:
            yield f"blocks.bins.{name} and blocks.bins.{following} overlap; make them disjoint"
    for name in content["blocks"]["baseline"]:
        if name not in content["blocks"]["bins"]:
            yield f"blocks.baseline names {name!r}, which is not in blocks.bins"
    if content["blocks"]["every_s"] is not None and all(start < end for (start, end), _ in bins):
        yield from short_blocks.cut(content)


def _question_faults(content: dict[str, Any]) -> Iterator[str]:
    """Find a question that the trial cannot answer: conditions, contrasts, control and estimand."""
    study, group = content["study"], content["group"]
    known = study["conditions"]
    if study["design"] != "single_arm" and len(known) < 2:
        yield f"study.conditions has one code; a {study['design']} needs two or more"
    if study["design"] == "single_arm" and len(known) > 1:
        yield (
            f"study.conditions has {', '.join(known)}; a single_arm has one condition. Set study.design to "
            "crossover or parallel to compare them"
        )
    for key, asked in (("study.replicates", study["replicates"]), ("group.carry_over", group["carry_over"])):
        if asked and study["design"] != "crossover":
            yield f"{key} is true in a {study['design']}; it is of a crossover: set it to false, or study.design"
    if None not in (study["screened"], study["randomised"]) and study["screened"] < study["randomised"]:
        yield (
            f"study.screened is {study['screened']} and study.randomised {study['randomised']}; the randomised are "
            "among the screened: correct one"
        )
    names = [contrast["name"] for contrast in group["contrasts"]]
    if twice := [name for name in names if names.count(name) > 1]:
        yield f"group.contrasts has {twice[0]!r} twice; give each a name of its own"
    for contrast in group["contrasts"]:
        where, pair = f"group.contrasts: {contrast['name']!r}", ("treated", "reference")
        if ("weights" in contrast) == any(key in contrast for key in pair) or (
            "weights" not in contrast and not all(key in contrast for key in pair)
        ):
            yield f"{where} needs treated and reference, or weights"
            continue
        weights = weights_of(contrast)
        if unknown := [code for code in weights if code not in known]:
            yield f"{where} names {unknown[0]!r}; study.conditions has {', '.join(known)}"
        elif len(weights) < 2:
            yield f"{where} compares {next(iter(weights), 'nothing')!r} with itself; name two conditions"
        elif abs(sum(weights.values())) > WEIGHTS_SUM or not all(weights.values()):
            yield f"{where}: the weights are {weights}; none may be 0 and their sum must be 0"
    control = group["control"]
    for code in [*control, *control.values()] if isinstance(control, dict) else [control]:
        if code is not None and code not in known:
            said = "names" if isinstance(control, dict) else "is"
            yield f"group.control {said} {code!r}; study.conditions has {', '.join(known)}"
    visits = study["baseline_visits"]
    if visits and study["design"] == "crossover":
        yield (
            f"study.baseline_visits is {visits} in a crossover, whose visits are the order of its conditions; set "
            "study.design to single_arm or parallel where visits are before and after, or empty study.baseline_visits"
        )
    if visits and content["blocks"]["baseline"]:
        yield (
            f"study.baseline_visits is {visits} and blocks.baseline is {content['blocks']['baseline']}: the baseline "
            "is a visit or a part of every session, not both; empty one of them"
        )
    if (bounds := group["equivalence"]) and bounds["low"] is None and bounds["high"] is None:
        yield "group.equivalence has neither low nor high; give a bound (% of the mean baseline), or set it to null"
    elif bounds and bounds["low"] == bounds["high"]:
        yield "group.equivalence is empty between 0 and 0; give low below 0 or high above 0"
    if group["estimand"] in ("response", "adjusted_level") and not (content["blocks"]["baseline"] or visits):
        yield (
            f"group.estimand is {group['estimand']!r} and blocks.baseline is empty; name the bins before the "
            "drug, or set group.estimand to total"
        )


def _multiverse_faults(content: dict[str, Any]) -> Iterator[str]:
    """Find choices of the multiverse that the study does not have."""
    from mrsflow.study.regressors import split_outcome

    group, asked = content["group"], content["group"]["multiverse"] or {}
    own = split_outcome(group["outcome"])[0].partition("/")[2]
    known = {"fitter": fitters_of(content), "denominator": [own, *group["other_denominators"]]}
    where = {"fitter": "fit.fitter", "denominator": "group.other_denominators"}
    for axis, choices in known.items():
        for name in asked.get(axis, []):
            if name not in choices:
                yield (
                    f"group.multiverse.{axis} has {name!r}, which is not among {', '.join(choices)}; add it to "
                    f"{where[axis]}, or take it out"
                )
    for low, high in asked.get("align_ppm", []):
        if not low < high:
            yield f"group.multiverse.align_ppm has [{low}, {high}]; the lower end comes first (ppm)"
    sources = {macromolecules_of(protocol) for protocol in content["protocols"].values()}
    named = asked.get("macromolecules", [])
    if "own" in named and len(sources) == 1 and (same := sources & set(named)):
        yield f"group.multiverse.macromolecules has own and {same.pop()}, which are the same here; take one out"
    for name in set(named) - {"own", *MACROMOLECULES}:
        if not Path(name).is_file():
            yield (
                f"group.multiverse.macromolecules: {name}: no such file; known words are own, default, none, measured "
                "and cohort"
            )


def _outcome_faults(content: dict[str, Any]) -> Iterator[str]:
    """Find outcomes of metabolites that no simulated basis set has; what given files have is not known here."""
    group, protocols = content["group"], content["protocols"].values()
    if fitters_of(content)[0] != "mrsflow" or any(protocol["basis"] for protocol in protocols):
        return
    from mrsflow.basis_sets.spins import table

    known = {*table()["metabolites"], *TOTALS, *(name for p in protocols for name in p["extra_signals"])}
    asked = [("group.outcome", group["outcome"]), *(("group.secondary", name) for name in group["secondary"])]
    asked += [("group.other_denominators", f"/{name}") for name in group["other_denominators"]]
    for key, outcome in asked:
        numerator, _, denominator = regressors.split_outcome(outcome)[0].partition("/")
        parts = [numerator] * (not outcome.startswith("/")) + [denominator] * (denominator not in ("", "water"))
        for name in parts:
            if name not in known and not name.startswith(("MM", "Lip")):
                yield (
                    f"{key}: {outcome.lstrip('/')!r} names {name!r}, which the basis set does not have; it "
                    f"has {', '.join(sorted(known))}"
                )


def fitters_of(config: dict[str, Any]) -> list[str]:
    """Names of the fitters of a configuration; the first is the one whose results the study reports.

    >>> fitters_of({"fit": {"fitter": "lcmodel"}})
    ['lcmodel']
    """
    named = config["fit"]["fitter"]
    return [named] if isinstance(named, str) else list(named)


def weights_of(contrast: dict[str, Any]) -> dict[str, float]:
    """Weights of the conditions in a contrast of the configuration.

    >>> weights_of({"name": "x", "treated": "b", "reference": "a"})
    {'b': 1.0, 'a': -1.0}
    """
    if "weights" in contrast:
        return {code: float(weight) for code, weight in contrast["weights"].items()}
    return {contrast["treated"]: 1.0} | {contrast["reference"]: -1.0}


MOST_VALUES = 100_000
"""Values of a configuration that no study needs, and that aliases of YAML reach in a few lines."""


def _refuse_swollen(content: Any, source: str | Path) -> None:
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        seen += len(inner)
        if seen > MOST_VALUES:
            raise InputError(_swollen(source))
        waiting += inner


def _swollen(source: str | Path) -> str:
    return f"{source}: holds more than {MOST_VALUES} values; write out what its aliases (*) repeat"


def macromolecules_of(protocol: dict[str, Any]) -> str | None:
    """Say where the macromolecules of a protocol come from: one of `MACROMOLECULES`, or a file."""
    value = protocol.get("macromolecules")
    if value is None:
        return None if protocol.get("basis") else "default"
    return {True: "default", False: "none"}.get(value, value)


def needs_mean(protocol: dict[str, Any], own: bool) -> bool:
    """Whether a session takes the mean macromolecules of the study; `own`: it has a scan of role mm."""
    return macromolecules_of(protocol) in (("cohort",) if own else ("cohort", "measured"))


def _not_finite(value: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Keys whose value is infinite or no number, which a range in the schema does not refuse."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _not_finite(inner, (*key, name))


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
    if error is not None:
        raise InputError(f"{where}: {_said(error)[0]}; {hint}")


def _said(error: Any) -> list[str]:
    """Say what a schema refuses: the key, what was found and what is allowed; a line for each unknown key."""
    from difflib import get_close_matches

    key = ".".join(str(part) for part in error.absolute_path)
    before = f"{key}: " if key else ""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        lines = []
        for unknown in (name for name in error.instance if name not in known):
            near = get_close_matches(str(unknown), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            lines.append(f"{before}unknown key {unknown!r}, {hint}")
        return lines
    allowed = f" ({error.schema['description']})" if "description" in error.schema else ""
    return [f"{before}{error.message}{allowed}{_way_out_of_text(error)}"]


def _way_out_of_text(error: Any) -> str:
    """Say how a number or a switch is written that was given as text: in quotes, or by Snakemake's --config."""
    if error.validator != "type" or not isinstance(error.instance, str) or len(error.instance) > 80:
        return ""
    import yaml

    try:
        meant = yaml.safe_load(error.instance)
    except yaml.YAMLError:
        return ""
    allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    if not any(_validator("config").is_type(meant, name) for name in allowed):
        return ""
    return (
        f"; {error.instance!r} is text here, as it stands in quotes or comes from --config with braces: write "
        f"{error.instance} without quotes into a configuration file, which may be one more: --configfile "
        "config/config.yaml more.yaml"
    )
