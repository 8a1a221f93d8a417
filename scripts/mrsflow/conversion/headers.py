"""Raw files before any job: whether they are there, and whether they say what no table does.

What a file says is remembered by its size and time, so that looking again costs nothing.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow import nifti_mrs, result_tables
from mrsflow.conversion import checks
from mrsflow.errors import InputError
from mrsflow.files import digest_of, is_there, read_json, read_table, write_json
from mrsflow.raw_files import acquisition_start, formats, twix
from mrsflow.study import validation
from mrsflow.study.clock import seconds_between
from mrsflow.study.events import event_onset

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


REFERENCE = 300.0
"""Seconds that references before the first frame take at most; a start in the table may count them or not."""


def contradictions(study: "Study", config: dict[str, Any], memory: Path | None = None) -> list[str]:
    """Find scans whose start nothing says though an event needs it, and what files and tables say differently.

    Those are starts, clock times by which no frame lies in a block, and sequences that a sidecar names otherwise.

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
    found, seen, runs = [*_without_task(study.samples, timed)], {}, []
    tolerance = config["convert"]["maximum_clock_difference_s"]
    for row in study.samples[study.samples["role"] == "svs"].to_dict("records"):
        if isinstance(row.get("sequence"), dict):
            found += _sequence(row, config["protocols"][row["protocol"]])  # of a dataset, which only has known ones
        if not all(map(is_there, row["raw"])):
            continue
        name, state = digest_of([str(path.absolute()) for path in row["raw"]]), _state(row["raw"])
        entry = known.get(name, {})
        told = entry.get("state") == state and "seconds" in entry
        seen[name] = entry if told else {"state": state, **_says(row["raw"])}
        start, given = seen[name].get("start"), row.get("start_time")
        given = given if isinstance(given, str) else None
        if not start and not given and row["key"] in timed and not isinstance(row.get("events"), Path):
            found.append(
                f"{row['line']}: start_time is empty, and {row['raw'][0].name} does not say when the scan began; give "
                "the clock time of its first excitation (HH:MM:SS), as the sessions table gives clock times of events"
            )
        apart = abs(seconds_between(given, start)) if given and start not in (None, UNREAD) else 0.0
        if apart > tolerance + REFERENCE:
            found.append(f"{row['line']}: {other_start(given, start, apart)}")
        else:
            runs.append({**row, "start_time": given or start, "of_file": not given, "seconds": seen[name]["seconds"]})
    if memory is not None and seen != known:
        write_json(seen, memory)
    return [*found, *_out_of_blocks(runs, study, config)]


def other_start(stated: str, found: str, apart: float) -> str:
    """Fault of a start in the table that is not the one in the raw file."""
    return (
        f"start_time is {stated}, and the raw file says {found.partition('.')[0]}; leave start_time empty to take that "
        f"of the file, correct it, or, where the two clocks differ by {apart:.0f} s, set "
        "convert.maximum_clock_difference_s above that"
    )


def _out_of_blocks(runs: list[dict[str, Any]], study: "Study", config: dict[str, Any]) -> Iterator[str]:
    """Sessions all of whose runs are out of the blocks by what files say of when and how long they were measured."""
    blocks, visits = config["blocks"], study.sessions.drop_duplicates("key").set_index("key")
    sessions: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        sessions.setdefault(run["key"], []).append(run)
    for key, own in sessions.items():
        if len(own) < ((study.samples["key"] == key) & (study.samples["role"] == "svs")).sum():
            continue  # of another run something else is wrong
        placed = [_placed(run, visits.loc[key] if key in visits.index else {}, blocks["event"]) for run in own]
        if None in placed:
            continue
        after = [minutes for minutes, _ in placed]
        long = [validation.LONGEST_SCAN] * len(own)
        if not any(run["of_file"] for run in own) and validation.out_of_blocks(after, long, blocks):
            continue  # said of the tables
        if validation.out_of_blocks(after, [_longest(run, config["protocols"]) for run in own], blocks):
            yield validation.no_frame(own[0]["line"], own[0]["start"], after[0], placed[0][1], blocks)


def _placed(run: dict[str, Any], session: Any, event: str) -> tuple[float, str] | None:
    """Minutes after time 0 at which a run began, and what to call time 0; None where something else is wrong."""
    if isinstance(run.get("events"), Path):
        try:
            events = read_table(run["events"], result_tables.labels("events"))
            run["start"] = "its first frame"
            began = min(run["onsets"]) if isinstance(run.get("onsets"), list) else 0.0  # of the zero of its events
            onset = event_onset(events, event, False, str(run["events"]))
            return (began - onset) / 60, f"{event} ({run['events']})"
        except InputError:
            return None
    column = validation.EVENT_COLUMNS.get(event)
    time = session.get(column) if column else None
    if not isinstance(time, str) or run["start_time"] in (None, UNREAD):
        return None
    run["start"] = f"the start {run['start_time'].partition('.')[0]} in its file"
    run["start"] = run["start"] if run["of_file"] else f"start_time {run['start_time']}"
    return seconds_between(time, run["start_time"]) / 60, f"{column} {time} ({session['line']})"


def _longest(run: dict[str, Any], protocols: dict[str, Any]) -> float:
    """Minutes that a run lasts at most: by its stamps, else twice what its frames take, or as long as any."""
    protocol = protocols.get(run["protocol"], {})
    seconds, frames = run["seconds"] or (None, None)
    if isinstance(run.get("onsets"), list):
        seconds = max(run["onsets"]) - min(run["onsets"])
    excitations = protocol.get("excitations_per_frame")
    if seconds is None and frames and excitations:
        seconds = 2 * frames * excitations * protocol["repetition_time_ms"] / 1e3
    elif seconds is not None:
        seconds += protocol.get("repetition_time_ms", 0) / 1e3
    return validation.LONGEST_SCAN if seconds is None else seconds / 60


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


UNREAD = "unread"
"""Start of a scan whose file cannot be read, which is left to the conversion."""


def _says(paths: list[Path]) -> dict[str, Any]:
    """When a scan began, if its files say it, and how long it took: seconds by its stamps, or frames."""
    try:
        first = [formats.first_of(path) for path in paths]
        raws = formats.detect(first)
        starts = [start for raw in raws if (start := acquisition_start.start_of(raw)) is not None]
        return {"start": starts[0] if starts else None, "seconds": _extent(raws[0])}
    except Exception:  # whatever is wrong with the file, the conversion of its session says it
        return {"start": UNREAD, "seconds": None}


def _extent(raw: formats.Raw) -> list[float | int | None]:
    """Seconds from the first stamp to the last, and frames, as far as a file says either at a glance."""
    if raw.format == "twix" and (read := twix.readouts(raw.files[0])) is not None:
        return [float(read.seconds.max() - read.seconds.min()), None]
    if raw.format == "nifti":
        header = nifti_mrs.read_header(raw.files[0])
        own_times = any(re.fullmatch(r"dim_\d+_header", key) for key in header.extension)
        return [None, None if own_times else header.frames]
    return [None, None]


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
