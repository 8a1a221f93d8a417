"""What can be wrong with the paths that a configuration names, told before anything is read."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_NAME = 255
"""Bytes of the name of a file or folder on the file systems in use."""
LONGEST_FOLDER = 3_000
"""Bytes of the whole path of the output folder: 4096 are the most that Linux takes, and names of files come to it."""
UNEXPANDED = re.compile(r"^~|\$\w|\$\{")
"""A home folder or a variable of the shell in a path, which nothing expands here."""


def faults(content: dict[str, Any]) -> Iterator[str]:
    """Find paths that no file system takes, and an output folder that holds the study's own files."""
    output, inputs = content["output"], content["inputs"]
    named = [(f"inputs.{key}", path) for key, value in inputs.items() for path in _listed(value)]
    for key, path in [("output", output), *named, *_others(content)]:
        if not isinstance(path, str):
            continue
        if UNEXPANDED.search(path):
            yield f"{key} is {path!r}; neither ~ nor $ is expanded here, write the folder itself"
        elif re.search(r"[\x00-\x1f]|^\s|\s$", path):
            yield f"{key} is {path!r}; take the blanks at its ends and the control characters out"
        elif max(len(part.encode(errors="replace")) for part in path.split("/")) > LONGEST_NAME:
            yield f"{key} is {path[:40]!r}...: a file or folder name has at most {LONGEST_NAME} bytes; shorten it"
    if len(str(Path(output).absolute()).encode(errors="replace")) > LONGEST_FOLDER:
        yield f"output is {output[:40]!r}...: its whole path has more than {LONGEST_FOLDER} bytes; choose a shorter one"
        return
    tables = ("bids",) if inputs.get("bids") else ("samples", "participants", "sessions")
    for key in tables:
        if isinstance(inputs.get(key), str) and lies_in(inputs[key], output):
            yield (
                f"output is {output!r}, in which inputs.{key} ({inputs[key]}) lies; all in it is taken for results and "
                "searched: name a folder that holds nothing else, such as results"
            )
            break


def lies_in(path: str | Path, folder: str | Path) -> bool:
    """Whether a path is a folder or below it, as they are written.

    >>> lies_in("config/samples.tsv", "."), lies_in("config/samples.tsv", "results")
    (True, False)
    """
    return Path(_whole(path)).is_relative_to(_whole(folder))


def _whole(path: str | Path) -> str:
    return os.path.normpath(Path(path).absolute())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _others(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Further keys that name files, where their sections are well formed."""
    for name, protocol in _mapping(content.get("protocols")):
        if isinstance(protocol, dict):
            yield f"protocols.{name}.basis", protocol.get("basis")
            yield f"protocols.{name}.macromolecules", protocol.get("macromolecules")
            yield f"protocols.{name}.refocusing.file", dict(_mapping(protocol.get("refocusing"))).get("file")
    yield "quality.ratings", dict(_mapping(content.get("quality"))).get("ratings")
    for name, regressor in _mapping(dict(_mapping(content.get("fit"))).get("regressors")):
        for key in ("file", "samples"):
            yield f"fit.regressors.{name}.{key}", dict(_mapping(regressor)).get(key)


def _mapping(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
