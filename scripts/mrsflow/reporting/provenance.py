"""Where the pages of a study come from: version, code, packages, configuration; nothing that differs from run to run.

No date is among them, so that the same input gives the same bytes. When a session was done say the times of its records
in ``status/``, and when arms were unmasked ``group/unmasking.json``.
"""

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from mrsflow import __version__
from mrsflow.study import records

PACKAGES = ("snakemake", "spec2nii", "numpy", "scipy", "pandas", "nibabel", "pydicom", "statsmodels", "matplotlib")
"""Programs whose versions are told."""
NOT_TOLD = ("inputs", "output", "verify")
"""Sections of the configuration that name folders of a machine, or concern one run alone."""


def facts() -> list[tuple[str, str]]:
    """Give version, digest of the code and versions of programs, as a label and a text each."""
    code = records.digest_of_code(sorted(records.PACKAGE.rglob("*.py")))
    return [
        ("mrsflow", f"{__version__}, code {code[:12]}"),
        ("Python", platform.python_version()),
        ("Programs", ", ".join(versions())),
        ("Command", "mrsflow run (or snakemake), with the configuration below; cores and profile change no result"),
    ]


def versions(names: Iterable[str] = PACKAGES) -> Iterable[str]:
    """Name programs with their versions, those that are installed."""
    for name in names:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def configuration(config: dict[str, Any]) -> str:
    """Write the checked configuration, defaults included, as YAML without the folders of a machine.

    Parameters
    ----------
    config : dict
        Checked configuration.
    """
    import yaml

    told = {name: _without_folders(value) for name, value in config.items() if name not in NOT_TOLD}
    head = "# The configuration of this study with all defaults; of files that lie elsewhere only the names.\n"
    return head + yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)


def _without_folders(value: Any) -> Any:
    """Keep of absolute paths, and of those that leave the study's folder, the names alone.

    >>> _without_folders({"basis": "/home/jane/press.BASIS", "outcome": "Glx/tNAA", "n": (1, "../me/a.tsv")})
    {'basis': 'press.BASIS', 'outcome': 'Glx/tNAA', 'n': [1, 'a.tsv']}
    """
    if isinstance(value, dict):
        return {key: _without_folders(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(own) for own in value]
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("../")):
        return PurePath(value).name
    return value
