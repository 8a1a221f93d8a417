"""What happened to each session at each stage: the mechanism by which one bad session never stops the others.

A stage does its sessions one by one. Each gets a record, ``<output>/status/<stage>/<key>.json``, with ``ok``,
``failed`` or ``skipped`` (an earlier stage failed) and a one-line reason, the fingerprint of what went in (input
files, settings, code) and the checksums of what came out. A session whose fingerprint and output checksums stand
is not done again. A job of K sessions ends with a table of its K records; that table is the file Snakemake knows.
"""

import ast
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import checksum, digest_of, read_json, write_json, write_text

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """What one session needs at one stage.

    Attributes
    ----------
    key : str
        ``sub-X_ses-Y``.
    inputs : list of Path
        Files whose content counts; one that is missing counts as missing.
    settings : dict
        JSON-able settings that count.
    after : str or None
        Stage whose record must be ``ok``; its outputs count as inputs.
    """

    key: str
    inputs: list[Path]
    settings: dict[str, Any]
    after: str | None = None


class Skipped(Exception):
    """An earlier stage gave nothing to work on."""


def record_path(output: Path, stage: str, key: str) -> Path:
    """Path of a session's record."""
    return Path(output) / "status" / stage / f"{key}.json"


def read_record(output: Path, stage: str, key: str) -> dict[str, Any] | None:
    """Read a session's record at a stage, None where there is none that can be read."""
    try:
        return read_json(record_path(output, stage, key))
    except InputError:
        return None


def outputs_of(output: Path, stage: str, key: str) -> list[Path]:
    """Files that a session's finished stage wrote.

    Raises
    ------
    Skipped
        The stage did not end well for this session.
    """
    record = read_record(output, stage, key)
    if record is None:
        raise Skipped(f"{stage} was not run")
    if record["status"] != "ok":
        raise Skipped(f"{stage}: {record['reason']}")
    return [Path(output) / name for name in record["outputs"]]


def each_session(
    stage: str,
    work: Iterable[Work],
    do: Callable[[Work], list[Path]],
    output: Path,
    table: Path,
    code: Iterable[Path],
    stop_on_error: bool = False,
) -> None:
    """Do a stage for several sessions, keep a record of each, and write the table of the batch.

    Parameters
    ----------
    stage : str
    work : iterable of Work
    do : callable
        Does one session and returns the files it wrote (below `output`). `InputError`, or an exception that nobody
        foresaw, marks the session as failed.
    output : Path
        Folder of all outputs.
    table : Path
        Batch table to write: session, status, reason.
    code : iterable of Path
        Files whose text counts as part of the fingerprint: `code_of` the script.
    stop_on_error : bool
        Raise at the first session that fails.

    Raises
    ------
    InputError
        The machine failed a session (disk, memory): raised after all sessions were tried, without a batch table, so
        that the job is tried again.
    """
    output = Path(output)
    code_text = digest_of([checksum(path) for path in code])
    rows, broken = [], []
    for item in work:
        path = record_path(output, stage, item.key)
        record: dict[str, Any] = {"session": item.key, "stage": stage, "status": "ok", "reason": ""}
        known = read_record(output, stage, item.key)
        try:
            upstream = outputs_of(output, item.after, item.key) if item.after else []
            if gone := [path.name for path in upstream if not path.is_file()]:
                raise OSError(
                    f"{gone[0]} of {item.after} is missing"
                )  # being made again, or lost: not the data's fault
            fingerprint = _fingerprint(item, upstream, code_text)
            if known and known.get("fingerprint") == fingerprint and _stands(known, output):
                logger.info("%s: nothing to do for %s", stage, item.key)
                rows.append({k: known[k] for k in ("session", "status", "reason")})
                continue
            logger.info("%s: %s", stage, item.key)
            written = do(item)
            record["outputs"] = {str(p.relative_to(output)): checksum(p) for p in sorted(set(written))}
            record["sizes"] = {name: (output / name).stat().st_size for name in record["outputs"]}
            record["fingerprint"] = fingerprint
        except Skipped as error:
            record |= {"status": "skipped", "reason": str(error), "outputs": {}}
        except InputError as error:
            logger.warning("%s: %s failed: %s", stage, item.key, error)
            if stop_on_error:
                raise
            record |= {"status": "failed", "reason": " ".join(str(error).split()), "outputs": {}}
        except Exception as error:
            logger.exception("%s: %s: unexpected error", stage, item.key)
            if is_of_the_machine(error):
                broken.append(f"{item.key}: {type(error).__name__}: {getattr(error, 'strerror', None) or error}")
                continue
            said = " ".join(f"{type(error).__name__}: {error}".split())
            record |= {"status": "failed", "reason": f"unexpected {said} (the log of {stage} has more)", "outputs": {}}
        if record["status"] != "ok" and known:
            for name in known["outputs"]:  # of an earlier run: they no longer belong to what went in
                (output / name).unlink(missing_ok=True)
        write_json(record, path)
        rows.append({k: record[k] for k in ("session", "status", "reason")})
        if record["status"] == "failed":
            print(f"{stage}: {item.key}: {record['reason']}", file=sys.stderr)
    if broken:
        raise InputError(
            f"{stage}: {'; '.join(broken)}; this is the machine, not the data: see that {output} can be written and "
            "that disk and memory suffice, then run the same command again (what is finished stays)"
        )
    lines = ["session\tstatus\treason", *("\t".join(map(_cell, row.values())) for row in rows)]
    write_text("\n".join(lines) + "\n", table)


def write_inventory(output: Path) -> None:
    """Note the sizes of the files of the whole study, so that the next run sees when one was damaged."""
    folders = ("basis", "bids", "figures", "group", "report")
    found = [p for name in folders for p in sorted(Path(output, name).glob("*")) if p.is_file()]
    write_json({str(p.relative_to(output)): p.stat().st_size for p in found}, Path(output, "status", "inventory.json"))


def astray(output: Path, stage: str, key: str) -> dict[str, bool]:
    """Find a session's outputs that are not as its stage wrote them; False where missing, True where cut off.

    Sizes alone tell, as planning ten thousand sessions leaves no time for checksums. A record that cannot be read
    counts as an output.
    """
    record = read_record(output, stage, key)
    if record is None:
        path = record_path(output, stage, key)
        return {str(path.relative_to(output)): path.exists()}
    sizes = record.get("sizes", {})
    return _astray(Path(output), {name: sizes.get(name) for name in record["outputs"]})


def study_astray(output: Path) -> dict[str, bool]:
    """Find files of the whole study that are not as the inventory says, as `astray` does."""
    try:
        return _astray(Path(output), read_json(Path(output, "status", "inventory.json")))
    except InputError:
        return {}


def _astray(output: Path, sizes: dict[str, int | None]) -> dict[str, bool]:
    found = {}
    for name, size in sizes.items():
        try:
            if (output / name).stat().st_size != size and size is not None:
                found[name] = True
        except OSError:
            found[name] = False
    return found


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error is of disk, memory or file system, so that the same work may well succeed later.

    A file that is missing or closed to us is no such error: that is a matter of the study's own files.
    """
    own = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    return isinstance(error, MemoryError | OSError) and not isinstance(error, own)


def _cell(text: str) -> str:
    """Text of a table's cell: quoted where it must be, ``n/a`` where it is empty."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if '"' in text else text or "n/a"


def failures(output: Path, keys: Iterable[str]) -> list[str]:
    """One line for each session that failed at a stage: stage, session, reason."""
    stages = [path.name for path in sorted(Path(output, "status").glob("*/"))]
    found = [read_record(output, stage, key) for key in keys for stage in stages]
    return [f"{r['stage']}: {r['session']}: {r['reason']}" for r in found if r and r["status"] == "failed"]


def code_of(script: Path | str) -> list[Path]:
    """Files that a script's result depends on: itself, the modules it imports, theirs, and the data files they name.

    A data file of the package counts where a module or template mentions its name.
    """
    data = {p.name: p for p in PACKAGE.rglob("*.*") if p.suffix not in (".py", ".pyc") and p.is_file()}
    waiting = [Path(script).resolve()]
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        needed = [file for name, file in data.items() if name in text]
        if path.suffix == ".py":
            needed += [PACKAGE / f"{name.replace('.', '/')}.py" for name in _imported(text)]
        for file in needed:
            if file.is_file() and file not in found:
                found.add(file)
                waiting.append(file)
    return sorted(found)


def _imported(text: str) -> set[str]:
    """Names of the package's modules that Python source imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("mrsflow."):
            module = node.module.removeprefix("mrsflow").lstrip(".")
            names |= {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {a.name.removeprefix("mrsflow.") for a in node.names if a.name.startswith("mrsflow.")}
    return names


def _fingerprint(item: Work, upstream: list[Path], code: str) -> str:
    files = {str(path): _content(path) for path in [*item.inputs, *upstream]}
    return digest_of({"files": files, "settings": item.settings, "code": code})


def _content(path: Path) -> Any:
    try:
        if path.is_dir():
            return {p.name: checksum(p) for p in sorted(path.iterdir()) if p.is_file()}
        return checksum(path) if path.is_file() else None
    except PermissionError:  # the stage says so when it reads the file
        return "closed"


def _stands(record: dict[str, Any], output: Path) -> bool:
    """Whether a record's outputs are all there, unchanged."""
    if record["status"] != "ok":
        return False
    return all((output / n).is_file() and checksum(output / n) == c for n, c in record["outputs"].items())
