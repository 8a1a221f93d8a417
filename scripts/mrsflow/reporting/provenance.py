"""Where the pages of a study come from: version, code, packages, configuration, tables and the runs that made them.

What the pages themselves tell does not differ from run to run, so that the same input gives the same bytes. Dates and
command lines stand in ``logs/runs.txt``, to which the pages lead; when a session was done say the times of its records
in ``status/``, and when arms were unmasked ``group/unmasking.json``.
"""

import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mrsflow import __version__, packages
from mrsflow.files import read_table, workflow_folder, write_table
from mrsflow.study import records
from mrsflow.study.config import schema

if TYPE_CHECKING:
    from mrsflow.study.study import Study

PACKAGES = ("snakemake", "spec2nii", "numpy", "scipy", "pandas", "nibabel", "pydicom", "statsmodels", "matplotlib")
"""Programs whose versions are told."""
NOT_TOLD = ("inputs", "output", "verify")
"""Sections of the configuration that name folders of a machine, or concern one run alone."""
NOT_COPIED = ("raw", "condition")
"""Columns of the samples table that stay inside: names of raw files may name people, and arms may be masked."""
RUNS = "logs/runs.txt"
"""Below the output: a line for each run, with date, versions and command."""


def facts() -> list[tuple[str, str]]:
    """Give version, digest of the code and versions of programs, as a label and a text each."""
    code = records.digest_of_code(sorted(records.PACKAGE.rglob("*.py")))
    return [
        ("mrsflow", f"{__version__}, code {code[:12]}"),
        ("Python", platform.python_version()),
        ("Programs", ", ".join(versions())),
    ]


def commit() -> str:
    """Commit of the code where it is a checkout of git, with ``-dirty`` where files differ from it; else empty."""
    folder = workflow_folder()
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--match="]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def note_run(output: Path, command: Sequence[str], now: datetime | None = None) -> None:
    """Add a line for a run to `RUNS`: when it began (UTC), version and commit, programs, and what was typed.

    Parameters
    ----------
    output : Path
        Of the study.
    command : sequence of str
        Program and arguments; of paths elsewhere the names alone are kept.
    now : datetime, optional
        By default this moment.
    """
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = facts()
    code = f"mrsflow {made[0][1]}" + (f", commit {found}" if (found := commit()) else "")
    programs = f"Python {made[1][1]}, {made[2][1]}"
    path = output / RUNS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"{when}  {code}; {programs}\n    {shlex.join(map(_argument, command))}\n")


def _argument(text: str) -> str:
    """Keep of the paths in an argument of a command the names alone.

    >>> [_argument(text) for text in ("/home/jane/study", "--configfile=/home/jane/a.yaml", "fit.ppm=[0.5, 4.2]")]
    ['study', '--configfile=a.yaml', 'fit.ppm=[0.5, 4.2]']
    """
    name, sign, value = text.rpartition("=")
    return f"{name}{sign}{_without_folders(value)}"


def copy_tables(study: "Study", output: Path, folder: Path) -> list[str]:
    """Write the samples and sessions tables as the study gave them beside its pages, as far as they may go out.

    Parameters
    ----------
    study : Study
    output : Path
        Holds the dataset, whose sessions tables have masked arms and no clock times.
    folder : Path
        Where to write.

    Returns
    -------
    list of str
        Names of the files.
    """
    import pandas as pd

    told = [name for name in schema("samples")["properties"] if name in study.samples and name not in NOT_COPIED]
    write_table(study.samples[told].dropna(axis="columns", how="all"), folder / "samples.tsv")
    found = {path.parent.name: read_table(path) for path in sorted(output.glob("bids/sub-*/sub-*_sessions.tsv"))}
    if found:
        rows = pd.concat(found, names=["participant_id"]).reset_index(level=0)
        write_table(rows, folder / "sessions.tsv")
    return ["samples.tsv", *["sessions.tsv"] * bool(found)]


def versions() -> list[str]:
    """Name `PACKAGES` with their versions, those that are installed."""
    return [f"{name} {version}" for name, version in packages.versions(PACKAGES).items() if version is not None]


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
