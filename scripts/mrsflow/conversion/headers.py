"""Raw files before any job: whether they are there, and whether they say what no table does.

What a file says is remembered by its size and time, so that looking again costs nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.conversion import checks
from mrsflow.errors import InputError
from mrsflow.files import digest_of, is_there, read_json, write_json
from mrsflow.raw_files import acquisition_start, formats

if TYPE_CHECKING:
    from mrsflow.study.study import Study

EVENT_TIMES = ("dose_time", "infusion_start")
"""Columns of the sessions table that can only be placed where the start of the scan is known."""


def missing(study: "Study") -> list[str]:
    """Raw files, and anatomy, that are not there: a line each, with the row and where the file was looked for."""
    rows = zip(study.samples["line"], study.samples["raw"], strict=True)
    return [
        f"{line}: {path.name}: no such file or folder (looked for {path.absolute()}); put it there, or correct the path"
        for line, paths in rows
        for path in paths
        if not is_there(path)
    ]


def contradictions(study: "Study", config: dict[str, Any], memory: Path | None = None) -> list[str]:
    """Find scans whose start nothing says though an event needs it, and sequences that a sidecar names otherwise.

    Parameters
    ----------
    study : Study
    config : dict
    memory : Path, optional
        File that remembers what the raw files said.
    """
    known = _remembered(memory)
    times = [column for column in EVENT_TIMES if column in study.sessions]
    timed = set(study.sessions.loc[study.sessions[times].notna().any(axis=1), "key"])
    found, seen = [*_without_task(study.samples, timed)], {}
    for row in study.samples[study.samples["role"] == "svs"].to_dict("records"):
        if isinstance(row.get("sequence"), dict):
            found += _sequence(row, config["protocols"][row["protocol"]])  # of a dataset, which only has known ones
        given = isinstance(row.get("start_time"), str) or isinstance(row.get("events"), Path)
        if given or row["key"] not in timed or not all(map(is_there, row["raw"])):
            continue
        name, state = digest_of([str(path.absolute()) for path in row["raw"]]), _state(row["raw"])
        entry = known.get(name, {})
        seen[name] = entry if entry.get("state") == state else {"state": state, "start": _says_start(row["raw"])}
        if not seen[name]["start"]:
            found.append(
                f"{row['line']}: start_time is empty, and {row['raw'][0].name} does not say when the scan began; give "
                "the clock time of its first excitation (HH:MM:SS), as the sessions table gives clock times of events"
            )
    if memory is not None and seen != known:
        write_json(seen, memory)
    return found


def _without_task(samples: Any, timed: set[str]) -> list[str]:
    """One line for the spectra that have events and no task, by which their events table is named."""
    rows = samples[(samples["role"] == "svs") & samples["key"].isin(timed)]
    if "events" in rows:  # of a dataset
        return []
    lacking = rows[rows["task"].isna()] if "task" in rows else rows
    if lacking.empty:
        return []
    more = f" (and in {len(lacking) - 1} more rows)" if len(lacking) > 1 else ""
    return [
        f"{lacking['line'].iloc[0]}: task is empty{more}, and the sessions table gives clock times of events, which "
        "BIDS keeps in a table named by a task; give such a label, as ketamine, in column task"
    ]


def _remembered(memory: Path | None) -> dict[str, Any]:
    try:
        return read_json(memory) if memory is not None else {}
    except InputError:
        return {}


def _state(paths: Iterable[Path]) -> list[list[int]]:
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [[stat.st_size, stat.st_mtime_ns] for stat in (file.stat() for file in files)]


def _says_start(paths: list[Path]) -> bool:
    """Whether a file states its start; one that cannot be read is left to the conversion, which says why."""
    try:
        first = [formats.first_of(path) for path in paths]
        return any(acquisition_start.start_of(raw) is not None for raw in formats.detect(first))
    except Exception:  # whatever is wrong with the file, the conversion of its session says it
        return True


def _sequence(row: dict[str, Any], protocol: dict[str, Any]) -> list[str]:
    """Hold what a sidecar calls the sequence against that of the protocol; the first key that says otherwise."""
    where = f"protocols.{row['protocol']}"
    for key, text in row["sequence"].items():
        named = checks.named_sequence({"SequenceName": text})
        if named is not None and not checks.declared_as(named[0], protocol):
            return [
                f"{row['line']}: {key} in its sidecar is {text!r} where {where}.sequence is {protocol['sequence']}; "
                f"correct the one that is wrong, {checks.way_out(named[0], where, text)}, or choose other scans with "
                "inputs.select"
            ]
    return []
