"""What happened to each session at each stage: the mechanism by which one bad session never stops the others.

A stage does its sessions one by one. Each gets a record, ``<output>/status/<stage>/<key>.json``, with ``ok``,
``failed`` or ``skipped`` (an earlier stage failed) and a one-line reason, the fingerprint of what went in (input
files, settings, code) and the checksums of what came out. A session whose fingerprint and output checksums stand
is not done again. A job of K sessions ends with a table of its K records; that table is the file Snakemake knows.
"""

import ast
import errno
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import checksum, digest_of, full_disk, read_json, write_json, write_text

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[1]


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
        known = read_record(output, stage, item.key)
        try:
            record = _do_session(stage, item, do, output, code_text, known)
        except Exception as error:
            expected = isinstance(error, Skipped | InputError)
            logger.info("%s: %s: %s", stage, item.key, error, exc_info=None if expected else error)
            if fault := fault_of_machine(error, output):
                broken.append(f"{item.key}: {fault}")
                continue
            record = _record_of_failure(stage, item.key, error)
        if record is not known:
            _keep(record, known, output)
        if record["status"] == "failed":
            said = f"{stage}: {item.key}: {record['reason']}"
            if stop_on_error:
                raise InputError(said)
            print(said, file=sys.stderr)
        rows.append({k: record[k] for k in ("session", "status", "reason")})
    if broken:
        raise InputError(
            f"{stage}: {'; '.join(broken)}; this is the machine, not the data: see that {output} can be written and "
            "that disk and memory suffice, then run the same command again (what is finished stays)"
        )
    lines = ["session\tstatus\treason", *("\t".join(map(_cell, row.values())) for row in rows)]
    write_text("\n".join(lines) + "\n", table)


def _do_session(
    stage: str,
    item: Work,
    do: Callable[[Work], list[Path]],
    output: Path,
    code: str,
    known: dict[str, Any] | None,
) -> dict[str, Any]:
    """Do a session unless what is `known` of it stands; gives its record."""
    upstream = outputs_of(output, item.after, item.key) if item.after else []
    if gone := [path for path in upstream if not path.is_file()]:
        raise FileNotFoundError(errno.ENOENT, f"an output of {item.after} is missing", str(gone[0]))
    fingerprint = _fingerprint(item, upstream, code)
    if known and known.get("fingerprint") == fingerprint and _stands(known, output):
        logger.info("%s: nothing to do for %s", stage, item.key)
        return known
    logger.info("%s: %s", stage, item.key)
    account = _account(output, do(item))
    head = {"session": item.key, "stage": stage, "status": "ok", "reason": ""}
    return {**head, **account, "fingerprint": fingerprint}


def _record_of_failure(stage: str, key: str, error: Exception) -> dict[str, Any]:
    status = "skipped" if isinstance(error, Skipped) else "failed"
    reason = " ".join(str(error).split())
    if not isinstance(error, Skipped | InputError):  # nobody foresaw it
        reason = f"unexpected {type(error).__name__}: {reason} (the log of {stage} has more)"
    return {"session": key, "stage": stage, "status": status, "reason": reason, "outputs": {}}


def _keep(record: dict[str, Any], known: dict[str, Any] | None, output: Path) -> None:
    """Write a session's record; outputs of an earlier run no longer belong to what failed now."""
    if record["status"] != "ok" and known:
        for name in known["outputs"]:
            (output / name).unlink(missing_ok=True)
    write_json(record, record_path(output, record["stage"], record["session"]))


def record_step(output: Path, step: str, written: Iterable[Path], key: str = "study") -> None:
    """Record what a step over the whole study wrote (`key`: or over one part of it), so that damage is seen."""
    record = {"session": key, "stage": step, "status": "ok", "reason": "", **_account(Path(output), written)}
    write_json(record, record_path(output, step, key))


def _account(output: Path, written: Iterable[Path]) -> dict[str, Any]:
    """Checksum and size of each file that was written."""
    paths = {str(path.relative_to(output)): path for path in sorted(set(written))}
    return {
        "outputs": {name: checksum(path) for name, path in paths.items()},
        "sizes": {name: path.stat().st_size for name, path in paths.items()},
    }


def astray(output: Path, stage: str, key: str) -> dict[str, bool]:
    """Find outputs that are not as a stage wrote them; False where missing, True where damaged.

    Planning ten thousand sessions leaves no time for checksums: one is taken where a file is newer than its record
    (a copy that lost the times costs reading everything). A record that cannot be read counts as an output.
    """
    output, path = Path(output), record_path(output, stage, key)
    record = read_record(output, stage, key)
    if record is None:
        return {str(path.relative_to(output)): path.exists()}
    written, sizes, found = path.stat().st_mtime_ns, record.get("sizes", {}), {}
    for name, digest in record["outputs"].items():
        try:
            state = (output / name).stat()
            same = state.st_size == sizes.get(name, state.st_size)
            if not same or (state.st_mtime_ns > written and checksum(output / name) != digest):
                found[name] = True
        except OSError:
            found[name] = False
    return found


def damaged(output: Path) -> list[str]:
    """Find every recorded output that is missing or has another checksum than when it was written."""
    output = Path(output)
    found = [read_json(path) for path in sorted(output.glob("status/*/*.json"))]
    return [name for record in found for name, digest in record["outputs"].items() if not _is(output / name, digest)]


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and checksum(path) == digest


def fault_of_machine(error: BaseException, output: Path) -> str | None:
    """Say what failed of disk, memory or file system, so that the same work may succeed later; None where nothing did.

    A file outside the outputs that is missing or closed to us is a matter of the study's own files.
    """
    if full := full_disk(error):
        return full
    if isinstance(error, MemoryError):
        return "memory is short"
    own = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    where = getattr(error, "filename", None) or ""
    if not isinstance(error, OSError) or (isinstance(error, own) and not Path(where).is_relative_to(output)):
        return None
    return f"{where or type(error).__name__}: {error.strerror or error}"


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
    return record["status"] == "ok" and all(_is(output / name, c) for name, c in record["outputs"].items())
