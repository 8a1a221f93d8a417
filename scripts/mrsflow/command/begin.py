"""The files that a study begins with: configuration and tables for a design, with rows that show how they look."""

import json
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import write_text
from mrsflow.study.config import schema
from mrsflow.study.study_presets import presets

PROTOCOL = {
    "sequence": "press",
    "preset": None,
    "echo_time_ms": 30,
    "repetition_time_ms": 2000,
    "spectrometer_frequency_mhz": 123.25,
}
"""Protocol of the example; what a scanner was told is not to be guessed, so its preset stays open."""
DECIDE = "DECIDE"
"""Word that marks what only a person knows."""
COLUMNS = {
    "samples": ("participant", "session", "task", "protocol", "role", "run", "raw", "start_time"),
    "participants": ("participant", "sex", "age", "site"),
    "sessions": ("participant", "session", "visit", "arm", "dose_time", "infusion_start", "infusion_stop"),
}
"""Columns of the tables that are begun; the schemas have more."""


@cache
def designs() -> dict[str, Any]:
    """Give the designs that a study can begin with: what each is, its configuration and rows of its tables."""
    import yaml

    return yaml.safe_load(Path(__file__).with_name("designs.yaml").read_text(encoding="utf-8"))


def begun(name: str) -> dict[str, Any]:
    """Give a design or a preset by its name."""
    return {**designs(), **presets()}[name]


def settings_of(name: str) -> dict[str, Any]:
    """Give the configuration that a design writes, or a preset gives."""
    return begun(name)["config"]


def example(design: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of the three tables that show how a design looks.

    Parameters
    ----------
    design : str
        A design or a preset.
    """
    chosen = begun(design)
    timed = chosen["config"]["blocks"]["event"] != "start"
    sessions = chosen["sessions"]
    people = dict.fromkeys(row["participant"] for row in sessions)
    scans = [
        {
            "participant": row["participant"],
            "session": row["session"],
            "task": "infusion" if timed else "n/a",
            "protocol": "scanner",
            "role": "svs",
            "raw": f"../raw/sub-{row['participant']}_ses-{row['session']}.dat",
            "start_time": "10:07:00" if timed else "n/a",
        }
        for row in sessions
    ]
    return {
        "samples": scans,
        "participants": [{"participant": label, "sex": "F", "age": 30, "site": "site1"} for label in people],
        "sessions": sessions,
    }


def write_study(
    folder: Path,
    design: str,
    rows: dict[str, list[dict[str, Any]]] | None = None,
    protocols: dict[str, dict[str, Any]] | None = None,
    remarks: dict[str, str] | None = None,
    inputs: dict[str, Any] | None = None,
) -> list[Path]:
    """Write the configuration and tables of a new study.

    Parameters
    ----------
    folder : Path
        Folder of the study; the files go to its ``config``.
    design : str
        A design or a preset.
    rows, protocols : dict, optional
        Rows of the tables and protocols; by default examples.
    remarks : dict of str, optional
        What to say of a key of a protocol (``name.key``).
    inputs : dict, optional
        Section inputs, for a study whose data do not come from tables.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        A file is there already; nothing was written.
    """
    shown = rows is None
    rows = example(design) if rows is None else rows
    if protocols is None:
        protocols = {"scanner": begun(design).get("protocol", PROTOCOL)}
        said = f"{DECIDE}: an example; as your scanner was told"
        remarks = {f"scanner.{key}": said for key in PROTOCOL}
        remarks["scanner.preset"] = f"{DECIDE}: the scanner's sequence, see the presets above"
    texts = {
        "config.yaml": config_text(design, protocols, remarks or {}, inputs),
        "config.schema.json": json.dumps(schema("config"), indent=1, ensure_ascii=False) + "\n",
        **{f"{name}.tsv": table_text(own, COLUMNS[name]) for name, own in rows.items()},
    }
    place = folder / "config"
    if there := [place / name for name in texts if (place / name).exists()]:
        raise InputError(
            f"{there[0]}: is there already, and nothing is overwritten; choose another folder, or take the file away"
        )
    for name, text in texts.items():
        write_text(text, place / name)
    if shown:
        (folder / "raw").mkdir(exist_ok=True)
    return [place / name for name in texts]


def table_text(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    r"""Table as TSV; what a row has not is ``n/a``.

    >>> table_text([{"a": 1}, {"a": 2, "b": "x"}], ("a", "b"))
    'a\tb\n1\tn/a\n2\tx\n'
    """
    lines = [columns, *([str(row.get(name, "n/a")) for name in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def config_text(
    design: str,
    protocols: dict[str, dict[str, Any]],
    remarks: dict[str, str],
    inputs: dict[str, Any] | None = None,
) -> str:
    """Write the configuration of a design as commented YAML: its keys with their meaning, the others as comments.

    Parameters
    ----------
    design : str
        A design, whose keys are written; or a preset, which is named and whose values are shown as comments.
    protocols : dict
    remarks, inputs : dict
        See `write_study`.
    """
    given = settings_of(design) if design in presets() else {}
    chosen = {"study": {"name": "My study"}} if given else settings_of(design)
    chosen = {**chosen, "protocols": protocols, "inputs": inputs}
    lines = [
        "# yaml-language-server: $schema=config.schema.json",
        f"# Design: {begun(design)['about']}.",
        "# Keys that are commented out have these values as they stand. `mrsflow check` lists all that is wrong.",
        *([f"# From {begun(design)['source']}."] if given else []),
    ]
    for name, rule in schema("config")["properties"].items():
        lines += ["", *_comment(rule["description"] if name != "protocols" else _about_protocols(rule))]
        if name == "protocols":
            lines += ["protocols:", *_protocols(protocols, rule, remarks)]
        elif "properties" in rule:
            lines += _section(name, rule, chosen.get(name), given.get(name, {}))
        elif name == "preset" and given:
            lines.append(f"preset: {design}")
        else:
            lines.append(f"# {name}: {_flow(rule['default'])}")
    return "\n".join(lines) + "\n"


def _about_protocols(rule: dict[str, Any]) -> str:
    presets = [name for name in rule["additionalProperties"]["properties"]["preset"]["enum"] if name]
    return f"{rule['description']} Presets: {', '.join(presets)}."


def _section(name: str, rule: dict[str, Any], chosen: dict[str, Any] | None, given: dict[str, Any]) -> list[str]:
    """Lines of a section; one of which nothing is chosen is a comment altogether, and so is what a preset gives."""
    mark = "# " if chosen is None else ""
    lines = [f"{mark}{name}:"]
    for key, own in rule["properties"].items():
        if key in (chosen or {}):
            lines += [f"  {line}" for line in _comment(own["description"])]
            lines += [f"  {line}" for line in _value(key, chosen[key])]
        elif key in given or "default" in own:
            value = given[key] if key in given else own["default"]
            lines += [f"# {line}" if line else line for line in (f"  {part}" for part in _value(key, value))]
    return lines


def _protocols(protocols: dict[str, dict[str, Any]], rule: dict[str, Any], remarks: dict[str, str]) -> list[str]:
    known = rule["additionalProperties"]["properties"]
    lines = []
    for name, protocol in protocols.items():
        lines.append(f"  {name}:")
        for key, value in protocol.items():
            said = remarks.get(f"{name}.{key}", "")
            lines.append(f"    {key}: {_flow(value)}{f'   # {said}' if said else ''}")
        lines += [
            f"#     {key}: {_flow(own['default'])}"
            for key, own in known.items()
            if key not in protocol and "default" in own
        ]
    return lines


def _value(key: str, value: Any) -> list[str]:
    """Lines of a key: mappings and lists of mappings one entry a line, all else on one."""
    if isinstance(value, dict) and value and key not in ("declared", "select"):
        return [f"{key}:", *(f"  {name}: {_flow(own)}" for name, own in value.items())]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
    return [f"{key}: {_flow(value)}"]


def _flow(value: Any) -> str:
    """Value as YAML on one line.

    >>> _flow([1, None, "01"]), _flow(True), _flow("a: b")
    ("[1, null, '01']", 'true', "'a: b'")
    """
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 112, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
