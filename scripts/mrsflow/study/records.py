"""What happened to each session at each stage: the mechanism by which one bad session never stops the others.

A stage does its sessions one by one. Each gets a record, ``<output>/status/<stage>/<key>.json``, with ``ok``,
``failed`` or ``skipped`` (an earlier stage failed) and a one-line reason, the fingerprint of what went in (input
files, settings, code) and the checksums of what came out. A session whose fingerprint and output checksums stand
is not done again. A job of K sessions ends with a table of its K records; that table is the file Snakemake knows.

Snakemake decides which job runs; a record decides which sessions of a job are done again, as Snakemake knows a job of
K sessions only as a whole. What failed for want of the machine is never recorded as a fault of the data: the job fails
and is tried again. Where inputs are gone that an earlier run read, its results stand, marked as not checked.
"""

import ast
import errno
import gzip
import logging
import math
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from mrsflow import packages
from mrsflow.errors import InputError, without_hidden
from mrsflow.files import checksum, digest_of, full_disk, is_there, read_json, write_json, write_text

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[1]
UNCHECKED = "its raw files are not there; what was made of them stands, not checked against them"
OUTDATED = (
    "its raw files are not there, so it is as an earlier version or earlier settings made it; bring them back, then "
    "run the same command again"
)
NOT_LEFT = (
    "its converted scans were not kept (convert.keep_scans) and its raw files are not there to make them again; bring "
    "them back, then run the same command again"
)
CLOSED = "closed"
"""In place of the content of a file that we may not read."""
LAST_TRY = "MRSFLOW_LAST_TRY"
"""Environment variable by which a rule says that sessions are to be done in a process apart, so that one that dies is
known, and whether (1) or not (0) a job that fails is tried no more."""


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
    watched : list of Path or None
        Raw files and folders as the tables name them, of which planning sees sizes and times; by default the inputs.
    leaves : Path or None
        Folder that the stage writes besides, for the next stage alone; it may be gone later.
    takes : Path or None
        Folder that the stage before left.
    """

    key: str
    inputs: list[Path]
    settings: dict[str, Any]
    after: str | None = None
    watched: list[Path] | None = None
    leaves: Path | None = None
    takes: Path | None = None


class InputsAway(Exception):
    """Files that an earlier run read are not there, and what it made of them is not whole."""


class NotLeft(InputError):
    """What the stage before leaves for this one alone is not there and cannot be made now; the next run tries again."""

    again = True


class Skipped(Exception):
    """An earlier stage gave nothing to work on; `again`: but will be tried again by the next run."""

    def __init__(self, reason: str, again: bool = False):
        super().__init__(reason)
        self.again = again


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
        raise Skipped(f"{stage}: {record['reason']}", record.get("again", False))
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
        that the job is tried again. Beside the table, ``<table>.stopped`` says why, for the last lines of the run.

    Notes
    -----
    Where ``<table>.redo`` is there (Snakemake was asked to do the job again), records of earlier runs do not count.
    """
    output = Path(output)
    stopped, redo = Path(f"{table}.stopped"), Path(f"{table}.redo")
    stopped.unlink(missing_ok=True)
    one = partial(
        _record_session,
        stage=stage,
        do=do,
        output=output,
        code=digest_of_code(code),
        redo=redo.is_file(),
    )
    apart = LAST_TRY in os.environ and sys.platform == "linux"
    done = _apart(list(work), one, stop_on_error) if apart else _in_turn(work, one, stop_on_error)
    rows, broken = _told(done, stage, output, stop_on_error)
    if broken:
        with suppress(OSError):  # a full disk
            write_text("".join(f"{stage}: {line}\n" for line in broken), stopped)
        raise InputError(
            f"{stage}: {'; '.join(broken)}; this is the machine, not the data: see that {output} can be written and "
            "that disk and memory suffice, then run the same command again (what is finished stays)"
        )
    lines = ["session\tstatus\treason", *("\t".join(map(_cell, row)) for row in rows)]
    write_text("\n".join(lines) + "\n", table)
    redo.unlink(missing_ok=True)


def _told(
    done: Iterable[dict[str, Any]], stage: str, output: Path, stop_on_error: bool
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Say at once what fails; gives the rows of the batch table, and what the machine failed.

    A session whose process died at the last try is recorded as failed.
    """
    rows, broken = [], []
    for record in done:
        if "died" in record and os.environ[LAST_TRY] == "1":
            record = {**_record_of_failure(stage, record["session"], InputError(record["died"])), "again": True}
            write_json(record, record_path(output, stage, record["session"]))
        if fault := record.get("fault") or record.get("died"):
            broken.append(f"{record['session']}: {fault}")
            continue
        if record["status"] == "failed":
            said = f"{stage}: {record['session']}: {record['reason']}"
            if stop_on_error:
                raise InputError(said)
            print(said, file=sys.stderr)
        rows.append((record["session"], record["status"], record["reason"] or record.get("unchecked", "")))
    return rows, broken


def _in_turn(work: Iterable[Work], one: Callable[[Work], dict[str, Any]], stop: bool) -> Iterator[dict[str, Any]]:
    for item in work:
        yield (record := one(item))
        if stop and record.get("status") == "failed":
            return


def _apart(work: list[Work], one: Callable[[Work], dict[str, Any]], stop: bool) -> Iterator[dict[str, Any]]:
    """Do sessions in a process apart; one that dies costs the session it was at, and another takes the rest.

    One process for all, not one for each: what it imported and computed serves the next session.
    """
    waiting = list(work)
    while waiting:
        reader, writer = multiprocessing.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent, child = os.getpid(), os.fork()
        if child == 0:
            ended = 1
            try:
                _end_with(parent)
                reader.close()
                for record in _in_turn(waiting, one, stop):
                    writer.send(record)
                ended = 0
            except KeyboardInterrupt:
                pass
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                logging.shutdown()
                os._exit(ended)
        writer.close()
        with reader:
            try:
                while True:
                    record = reader.recv()
                    waiting.pop(0)
                    yield record
                    if stop and record.get("status") == "failed":
                        return
            except EOFError:
                pass
            finally:
                ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if waiting:
            yield {"session": waiting.pop(0).key, "died": _said_of_death(ended)}


def _end_with(parent: int) -> None:
    """Let this process be ended when its parent is, so that a job tried again never meets it."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _said_of_death(ended: int) -> str:
    if ended >= 0:
        return f"its process ended by itself (status {ended})"
    hint = {signal.SIGKILL: ": memory may be short", signal.SIGSEGV: ": a crash in a library"}.get(-ended, "")
    return f"its process was ended by signal {-ended} ({signal.Signals(-ended).name}{hint})"


def _record_session(
    item: Work,
    stage: str,
    do: Callable[[Work], list[Path]],
    output: Path,
    code: str,
    redo: bool,
) -> dict[str, Any]:
    """Do a session and keep its record; where the machine failed it, gives what failed as ``fault`` and keeps none."""
    known = read_record(output, stage, item.key)
    try:
        try:
            record = _do_session(stage, item, do, output, code, None if redo else known)
        except Exception as error:
            expected = isinstance(error, Skipped | InputError)
            logger.info("%s: %s: %s", stage, item.key, error, exc_info=None if expected else error)
            if fault := fault_of_machine(error, output):
                return {"session": item.key, "fault": without_hidden(fault)}
            record = _record_of_failure(stage, item.key, error)
        if record != known:
            _keep(record, known, output)
    except OSError as error:  # of keeping the record
        return {"session": item.key, "fault": fault_of_machine(error, output) or str(error)}
    return record


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
    found = {_name(path): content_of(path) for path in _raw(item, output)}
    inputs = {name: content for name, content in found.items() if content not in (None, CLOSED)}
    recipe = digest_of({"settings": item.settings, "code": code})
    fingerprint = _fingerprint(item, upstream, code)
    stands = known is not None and known["status"] == "ok" and _stands(known, output)
    left = item.leaves is None or item.leaves.is_dir()
    if known and stands and left and known["fingerprint"] == fingerprint:
        logger.info("%s: nothing to do for %s", stage, item.key)
        return {**{k: v for k, v in known.items() if k != "unchecked"}, "state": state_of(_watched(item, output))}
    if known and known["status"] == "ok" and _away(known, item, inputs, output):
        if not stands:
            raise InputsAway("raw files that were read before are not there now, and what was made of them is damaged")
        logger.info("%s: raw files of %s are not there; what was made of them stands", stage, item.key)
        return {**known, "unchecked": UNCHECKED if known["recipe"] == recipe else OUTDATED}
    if item.takes is not None and not item.takes.is_dir():
        if known and stands:
            logger.info("%s: what %s left of %s is not there; what was made of it stands", stage, item.after, item.key)
            return {**known, "unchecked": OUTDATED}
        raise InputsAway(NOT_LEFT) if known and known["status"] == "ok" else NotLeft(NOT_LEFT)
    logger.info("%s: %s", stage, item.key)
    state = state_of(_watched(item, output))
    account = _account(output, do(item))
    head = {"session": item.key, "stage": stage, "status": "ok", "reason": ""}
    named = sorted(map(_name, item.watched or ()))
    kept = {"fingerprint": fingerprint, "recipe": recipe, "inputs": inputs, "named": named, "state": state}
    return {**head, **account, **kept}


def _raw(item: Work, output: Path) -> list[Path]:
    """Give the inputs from outside the outputs, which may be away one day."""
    made = [output / name for name in ("bids", "derivatives", "basis", "status")]
    return [path for path in item.inputs if not any(path.is_relative_to(folder) for folder in made)]


def _watched(item: Work, output: Path) -> list[Path]:
    return _raw(item, output) if item.watched is None else item.watched


def _name(path: Path) -> str:
    """Name of a raw file in a record: folders may be named after a person, and records are outputs."""
    return digest_of(str(path))


def _away(known: dict[str, Any], item: Work, inputs: dict[str, Any], output: Path) -> bool:
    """Whether files are gone that a session was made of: named ones, or others with none new in their place.

    Those that the tables name no more are not gone.
    """
    if set(known.get("named", ())) - set(map(_name, item.watched or ())):
        return False
    before = known.get("inputs", {})
    gone = {_name(path) for path in _raw(item, output)} - inputs.keys()
    return before.keys() > inputs.keys() or not gone.isdisjoint(before)


def state_of(paths: Iterable[Path]) -> str:
    """Digest of what planning sees of files, or of those in folders: sizes and times."""
    return digest_of([_state(path) for path in paths])


def _state(path: Path) -> Any:
    try:
        if path.is_dir():
            return [_state(p) for p in sorted(path.iterdir()) if p.is_file()]
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]
    except OSError:
        return None


def is_away(record: dict[str, Any], paths: list[Path]) -> bool:
    """Whether raw files that a record's session was made of are not there now; one that never was is none."""
    return not all(map(is_there, paths)) and record.get("state") != state_of(paths)


def replaced(output: Path, stage: str, key: str, paths: Iterable[Path]) -> list[Path]:
    """Files that are not what a session was made of, by their checksums: the same size and time prove nothing."""
    known = (read_record(output, stage, key) or {}).get("inputs", {})
    return [path for path in paths if path.is_file() and known.get(_name(path), digest := content_of(path)) != digest]


def _record_of_failure(stage: str, key: str, error: Exception) -> dict[str, Any]:
    status = "skipped" if isinstance(error, Skipped) else "failed"
    reason = without_hidden(" ".join(str(error).split()))
    if not isinstance(error, Skipped | InputError):  # nobody foresaw it
        reason = f"unexpected {type(error).__name__}: {reason} (the log of {stage} has more)"
    closed = any(isinstance(cause, PermissionError) for cause in _causes(error))  # may be open the next time
    again = {"again": True} if closed or getattr(error, "again", False) else {}
    return {"session": key, "stage": stage, "status": status, "reason": reason, "outputs": {}, **again}


def _keep(record: dict[str, Any], known: dict[str, Any] | None, output: Path) -> None:
    """Write a session's record; outputs of an earlier run that are none of this one go, but of what is tried again."""
    if known and not record.get("again"):
        for name in known["outputs"].keys() - record["outputs"].keys():
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


def changed_outputs(output: Path, stage: str, key: str) -> dict[str, bool]:
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


def of_study(output: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """Read every record of the sessions of a study."""
    found = [read_json(path) for path in sorted(Path(output).glob("status/*/sub-*.json"))]
    return [record for record in found if record["session"] in keys]


def of_no_row(output: Path, keys: Collection[str]) -> list[str]:
    """Say which sessions have results although no row names them: of a person who withdrew they must go by hand."""
    paths = Path(output).glob("status/*/sub-*.json")
    found = sorted({path.stem for path in paths if path.stem not in keys})
    if not found:
        return []
    named = ", ".join(found[:3]) + (", ..." if found[3:] else "")
    return [
        f"no row of the tables names {named} any more ({len(found)} in all), whose files count nowhere and stand when "
        f"a row comes back; where they must go, delete their folders in {output}/bids and {output}/derivatives/mrsflow "
        f"and what bears their names in {output}/report and {output}/status"
    ]


def open_cases(known: list[dict[str, Any]], keys: Iterable[str], unfitted: Collection[str] = ()) -> list[str]:
    """Say of which sessions a stage was not run, did not end well, or stands unchecked, a line for each.

    `unfitted` are sessions that have nothing to fit, of which that stage is skipped.
    """
    missing = sorted(set(keys) - {record["session"] for record in known if record["stage"] == "convert"})
    said = [f"convert: {key}: was not run" for key in missing]
    wrong = [r for r in known if r["status"] != "ok" and not (r["stage"] == "fit" and r["session"] in unfitted)]
    said += [f"{r['stage']}: {r['session']}: {r['status']}: {r['reason']}" for r in wrong]
    return said + [f"{r['stage']}: {r['session']}: {OUTDATED}" for r in known if r.get("unchecked") == OUTDATED]


def damaged(output: Path) -> list[str]:
    """Find every recorded output that is missing or has another checksum than when it was written."""
    output = Path(output)
    found = [read_json(path) for path in sorted(output.glob("status/*/[!.]*.json"))]
    return [name for record in found for name, digest in record["outputs"].items() if not _is(output / name, digest)]


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and checksum(path) == digest


def compared_within(output: Path, stage: str, raw: dict[str, list[Path]], limit: int) -> tuple[int, list[str]]:
    """Compare raw files of sessions with what was read, in a random order up to a number of bytes.

    Returns
    -------
    int
        Sessions that were compared.
    list of str
        Those whose files were replaced.
    """
    keys, found, compared = random.sample(list(raw), len(raw)), [], 0
    for key in keys:
        files = [path for path in raw[key] if path.is_file()]
        limit -= sum(path.stat().st_size for path in files)
        if limit < 0:
            break
        compared += bool(files)
        if replaced(output, stage, key, files):
            found.append(key)
    return compared, sorted(found)


PASSING = frozenset(
    {
        errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
        errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.EBUSY, errno.ECHILD,
    }
)  # fmt: skip
"""Numbers of errors that say nothing of a file's content."""
BEYOND_ANY_MACHINE = 1 << 40
"""Bytes that no scan has: asking for more of them is the fault of a header."""


def fault_of_machine(error: BaseException, output: Path) -> str | None:
    """Say what failed of disk, memory, file system or a program, so that the same work may succeed later, or None.

    What lies behind an error counts too: a message about a damaged file may come of memory that was short. A file
    outside the outputs that is missing or closed to us is a matter of the study's own files.
    """
    if full := full_disk(error):
        return full
    for cause in _causes(error):
        if isinstance(cause, InputsAway):
            return str(cause)
        if isinstance(cause, MemoryError) and not _asks_too_much(cause):
            return "memory is short"
        if isinstance(cause, OSError) and cause.errno in PASSING:
            return f"{_shown(cause, output)}: {cause.strerror}"
    own = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    where = getattr(error, "filename", None) or ""
    if not isinstance(error, OSError) or isinstance(error, gzip.BadGzipFile):
        return None
    if isinstance(error, own) and not Path(where).is_relative_to(output):
        return None
    return f"{_shown(error, output)}: {error.strerror or error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _asks_too_much(error: MemoryError) -> bool:
    """Whether an array was asked for that no machine holds, as a damaged header does."""
    shape, kind = getattr(error, "shape", ()), getattr(error, "dtype", None)
    return kind is not None and math.prod(shape) * kind.itemsize > BEYOND_ANY_MACHINE


def _shown(error: OSError, output: Path) -> str:
    """Name the file of an error; of one outside the outputs without its folders, which may be named after a person."""
    path = Path(error.filename or "")
    return (str(path) if path.is_relative_to(output) else path.name) or type(error).__name__


def _cell(text: str) -> str:
    """Text of a table's cell: quoted where it must be, ``n/a`` where it is empty."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if '"' in text else text or "n/a"


def failures(output: Path, keys: Iterable[str]) -> list[str]:
    """One line for each session that failed at a stage: stage, session, reason."""
    return list(failed_records(output, keys).values())


def failed_records(output: Path, keys: Iterable[str]) -> dict[Path, str]:
    """Record of each session that failed at a stage, and a line on it: stage, session, reason."""
    stages = [path.name for path in sorted(Path(output, "status").glob("[!.]*/"))]
    found = {record_path(output, stage, key): read_record(output, stage, key) for key in keys for stage in stages}
    return {
        path: f"{r['stage']}: {r['session']}: {r['reason']}"
        for path, r in found.items()
        if r and r["status"] == "failed"
    }


def sessions_in(table: Path, status: str, reason: str | None = None) -> list[str]:
    """Sessions of a job's table that have a status, and a reason where one is asked for; none where it is not there."""
    if not table.is_file():
        return []
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    return [row[0] for row in rows if row[1:2] == [status] and reason in (None, *row[2:3])]


def is_to_be_tried_again(output: Path, stage: str, key: str) -> bool:
    """Whether a session failed for want of the machine, so that the next run tries it again."""
    return (read_record(output, stage, key) or {}).get("again", False)


def code_of(script: Path | str) -> list[Path]:
    """Files that a script's result depends on: itself, the modules it imports, theirs, and the data files they name.

    A data file of the package counts where a module or template mentions its name. Descriptions of tables do not: they
    make no number, and a word in them would have every session fitted again.
    """
    data = {p.name: p for p in PACKAGE.rglob("*.*") if p.suffix not in (".py", ".pyc") and p.is_file()}
    del data["tables.yaml"]
    waiting = [Path(script).resolve()]
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        needed = [file for name, file in data.items() if name in text]
        if path.suffix == ".py":
            needed += [PACKAGE / f"{name.replace('.', '/')}.py" for name in _source(path)[1]]
        for file in needed:
            if file.is_file() and file not in found:
                found.add(file)
                waiting.append(file)
    return sorted(found)


NUMBERS = ("numpy", "scipy", "pandas", "nibabel", "pydicom", "spec2nii", "nifti-mrs", "pymapvbvd", "brukerapi")
"""Packages whose version is part of the code, as numbers come from them or through them."""


def digest_of_code(paths: Iterable[Path]) -> str:
    """Digest of what source files do, whatever their comments, docstrings and layout, and of the packages they use."""
    sources = [_source(path)[0] if path.suffix == ".py" else checksum(path) for path in map(Path, paths)]
    return digest_of([packages.versions(NUMBERS), sources])


@cache
def _source(path: Path) -> tuple[str, set[str]]:
    """Digest of what a Python file does, and the names of the package's modules that it imports, at any depth.

    Both are of statements alone, a tenth of the nodes of a tree: planning reads a hundred files.
    """
    tree = ast.parse(path.read_bytes())
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        names |= _imported(node)
        if isinstance(body := getattr(node, "body", None), list):  # a text alone does nothing, be it a docstring or not
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, part, None)
            waiting += inner if isinstance(inner, list) else []
    return digest_of(ast.dump(tree)), names


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(node: ast.AST) -> set[str]:
    """Names of the package's modules that a statement imports."""
    if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("mrsflow."):
        module = node.module.removeprefix("mrsflow").lstrip(".")
        return {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
    if isinstance(node, ast.Import):
        return {a.name.removeprefix("mrsflow.") for a in node.names if a.name.startswith("mrsflow.")}
    return set()


def _fingerprint(item: Work, upstream: list[Path], code: str) -> str:
    files = {str(path): content_of(path) for path in [*item.inputs, *upstream]}
    return digest_of({"files": files, "settings": item.settings, "code": code})


def content_of(path: Path) -> Any:
    """Checksum of a file, or of each file in a folder; None where there is nothing to be looked at."""
    if not is_there(path):
        return None
    try:
        if path.is_dir():
            return {p.name: checksum(p) for p in sorted(path.iterdir()) if p.is_file()}
        return checksum(path) if path.is_file() else None
    except PermissionError:  # the stage says so when it reads the file
        return CLOSED


def _stands(record: dict[str, Any], output: Path) -> bool:
    """Whether a record's outputs are all there, unchanged."""
    return record["status"] == "ok" and all(_is(output / name, c) for name, c in record["outputs"].items())
