"""Presets: published designs by name (``config/presets``), whose values stand where a configuration gives none."""

import copy
from functools import cache
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import workflow_folder

KEY = "preset"


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Give every preset: what it is, where it comes from, its configuration, a protocol and example sessions."""
    import yaml

    folder = workflow_folder() / "config/presets"
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}


def filled(content: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the preset of a configuration gives and the configuration itself does not.

    Sections are filled key by key; a list, and a mapping whose names are the study's own (bins, regressors), is taken
    whole or not at all.

    Parameters
    ----------
    content : dict
        As it was given; not changed.
    schema : dict
        Of the configuration.

    Raises
    ------
    InputError
        A preset that is not known.
    """
    name = content.get(KEY)
    if not isinstance(name, str):  # none, or what the schema refuses
        return content
    if name not in presets():
        raise InputError(f"preset is {name!r}; known are {', '.join(presets())}, or null for none")
    return _merged(content, presets()[name]["config"], schema)


def _merged(content: dict[str, Any], preset: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    found = dict(content)
    for key, value in preset.items():
        own = rule["properties"][key]
        if key not in content:
            found[key] = copy.deepcopy(value)
        elif "properties" in own and isinstance(content[key], dict) and isinstance(value, dict):
            found[key] = _merged(content[key], value, own)
    return found


def resolved_text(content: dict[str, Any], config: dict[str, Any]) -> str:
    """Write what a preset and the configuration itself give, as YAML that says which of the two each key is of.

    Parameters
    ----------
    content : dict
        As it was given.
    config : dict
        Checked.
    """
    import yaml

    name = content[KEY]
    lines = [f"# preset {name}: {presets()[name]['about']}; all other keys have their defaults"]
    sections = dict.fromkeys([*presets()[name]["config"], *content])
    for section in (s for s in sections if s not in (KEY, "inputs", "output")):
        value, given = config[section], content.get(section, {})
        of_preset = presets()[name]["config"].get(section, {})
        keys = list(dict.fromkeys([*of_preset, *given])) if isinstance(given, dict) else []
        lines.append(f"{section}:" if keys else f"{section}: {value}")
        for key in keys:
            text = yaml.safe_dump(value[key], default_flow_style=True, width=float("inf"), sort_keys=False)
            text = text.removesuffix("\n").removesuffix("\n...")
            lines.append(f"  {key}: {text}{'' if key in given else '   # preset'}")
    return "\n".join(lines)
