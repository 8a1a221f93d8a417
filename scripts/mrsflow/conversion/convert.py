"""Conversion at the door: the raw files of a session to checked BIDS files without identities."""

import hashlib
import logging
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import nifti_mrs, result_tables
from mrsflow.anatomy import contrast, faces, images
from mrsflow.conversion import bids, checks, editing, frames, headers, identity, vendors, voxels
from mrsflow.errors import InputError, hide, without_hidden
from mrsflow.files import checksum, read_table, scratch, write_json, write_table
from mrsflow.nifti_mrs import Scan
from mrsflow.raw_files import formats
from mrsflow.study import layout
from mrsflow.study.clock import clock, clock_time, seconds_between
from mrsflow.study.records import Work, fault_of_machine
from mrsflow.study.study import Study

logger = logging.getLogger(__name__)

GIVEN_COLUMNS = {  # of the samples table: header key, factor to its unit
    "echo_time_ms": ("EchoTime", 1e-3),
    "repetition_time_ms": ("RepetitionTime", 1e-3),
    "inversion_time_ms": ("InversionTime", 1e-3),
    "mixing_time_ms": ("MixingTime", 1e-3),
    "dwell_time_s": ("DwellTime", 1.0),
    "spectrometer_frequency_mhz": ("SpectrometerFrequency", 1.0),
    "nucleus": ("ResonantNucleus", None),
}

REMARKABLE = 2.0
"""Seconds by which a raw file's clock may differ from column start_time without a remark: both may be whole ones."""

FOR_EVENTS = ("key", "dose_time", "infusion_start", "infusion_stop")


@dataclass(frozen=True)
class Item:
    """One file to be written: a scan, what it is, and the row of the samples table that it came from.

    `excitations` is how many each frame averages; `numbers` are those of its frames in the raw file, from 1.
    """

    name: str
    role: str
    scan: Scan
    row: dict[str, Any]
    notes: tuple[str, ...] = ()
    excitations: int = 1
    numbers: NDArray[np.integer] | None = None


def convert_by_hand(paths: list[Path], out: Path, given: dict[str, str], keep: list[str] | None = None) -> list[Path]:
    """Convert one scan to NIfTI-MRS with a JSON sidecar; a reference found in it goes to ``OUT_mrsref.nii.gz``.

    Parameters
    ----------
    paths : list of Path
        See `vendors.detect`.
    out : Path
        ``.nii.gz`` or ``.nii``.
    given : dict
        Header values, see `vendors.GIVEN`.
    keep : list of str, optional
        Header keys to keep although they are listed as identifying.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        One line; nothing was written.
    """
    ending = next((e for e in (".nii.gz", ".nii") if out.name.endswith(e)), None)
    if ending is None:
        raise InputError(f"{out}: the name of the output must end in .nii.gz or .nii")
    with scratch(out.parent):
        converted = vendors.convert(paths, given=given)
    for note in converted.notes:
        logger.warning("%s: %s", paths[0].name, note)
    if checks.mirrored(converted.scan):
        raise InputError(
            f"{paths[0]}: the spectrum is mirrored (lines lie above 4.65 ppm, none below); it was not written, as it "
            "would be read wrongly: conjugate the data first"
        )
    for scan in (converted.scan, *converted.references.values()):
        if problem := checks.failure(checks.check_frames(scan)):
            raise InputError(f"{paths[0]}: {problem}")
    stem = out.name.removesuffix(ending)
    names = {stem: converted.scan}
    for use, scan in converted.references.items():
        names[f"{stem}_mrsref" if use == "ecc" else f"{stem}_acq-{use}_mrsref"] = scan
    secrets = identity.harvest_all(formats.files_of(paths), keep or ())
    cleaned = {name: identity.clean(scan, keep or (), secrets) for name, scan in names.items()}
    written: list[Path] = []
    try:
        for name, (scan, removed) in cleaned.items():
            logger.info("%s: removed header keys %s", name, ", ".join(removed))
            image, side = out.with_name(name + ending), out.with_name(name + ".json")
            written += [image, side]
            nifti_mrs.write(scan, image)
            write_json(bids.sidecar(scan, None, None, None), side)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def work_of(key: str, study: Study, config: dict[str, Any], scans: Path | None = None) -> Work:
    """Collect what the conversion of one session depends on: its rows, their raw files, its protocols.

    `scans` is the folder for scans where the dataset does not keep them.

    Raises
    ------
    InputError
        The session is not in the samples table.
    """
    rows, session = _rows_of(key, study)
    if not config["inputs"]["bids"]:
        for row in rows:
            for path in row["raw"]:
                hide_folders(path, Path(config["inputs"]["samples"]).parent)
    files = [file for row in rows for file in formats.files_of(row["raw"])]
    files += [row["events"] for row in rows if "events" in row]
    settings = {
        "rows": [{k: v for k, v in row.items() if k not in ("raw", "events", "line")} for row in rows],
        "session": session,
        "protocols": {row["protocol"]: config["protocols"].get(row["protocol"]) for row in rows if "protocol" in row},
        "convert": config["convert"],
    }
    if config["convert"]["t1w"] == "deface" and any(row["role"] == "T1w" for row in rows):
        settings["deface"] = faces.tools()
    leaves = None if scans is None else layout.scans_folder(scans, key)
    return Work(key, files, settings, watched=[path for row in rows for path in row["raw"]], leaves=leaves)


def hide_folders(path: Path, root: Path) -> None:
    """Let messages name a raw file without its folders below the table's, which may be named after a person."""
    if path.parent != root:
        hide(f"{path.parent}/", "")
    if path.is_dir():
        hide(f"{path}/", "")
        hide(str(path), "the folder")


def _rows_of(key: str, study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the samples rows of a session but for maps of tissue, and its sessions row, without empty cells."""
    chosen = study.samples[(study.samples["key"] == key) & ~study.samples["role"].isin(layout.MAPS)]
    if chosen.empty:
        raise InputError(f"{key}: has no row in the samples table")
    rows = [{k: v for k, v in row.items() if v is not None and v == v} for row in chosen.to_dict("records")]
    session = study.sessions[study.sessions["key"] == key].to_dict("records")[0]
    return rows, {k: v for k, v in session.items() if k in FOR_EVENTS and v is not None and v == v}


def convert_session(
    key: str, study: Study, config: dict[str, Any], output: Path, scans: Path | None = None
) -> list[Path]:
    """Convert, check and write all scans of one session.

    Parameters
    ----------
    key : str
        ``sub-X_ses-Y``.
    study : Study
    config : dict
        The configuration.
    output : Path
        Folder of all outputs.
    scans : Path, optional
        Where the dataset does not keep its scans (``convert.keep_scans``): root of the folders that get them, with what
        lies beside them in the dataset; without it they are not written.

    Returns
    -------
    list of Path
        The files written below `output`, but for those in `scans`; the table of checks comes first and is written even
        when a check fails.

    Raises
    ------
    InputError
        A scan cannot be read, or a check failed; names the row.
    """
    try:
        with scratch(output):
            items = _read_items(key, study, config)
        image, notes = _anatomy_of(key, study, config, output, items)
        quality = _check_items(key, items, config, output, notes)
        return [quality, *_write_session(key, items, image, study, config, Path(output, "bids"), scans)]
    except InputError as error:
        raise InputError(plain_paths(in_study(str(error), bool(config["inputs"]["bids"])))) from error


def in_study(message: str, bids: bool) -> str:
    """Message whose way out is one of a study: its tables, or its dataset, in place of an option for a single file.

    >>> in_study("give it with --set SpectralWidth=VALUE", False)
    'give it in column dwell_time_s of the samples table'
    """
    columns = {header: column for column, (header, _) in GIVEN_COLUMNS.items()} | {"SpectralWidth": "dwell_time_s"}
    keys = {column: header for header, column in columns.items()} | {"dwell_time_s": "SpectralWidth"}

    def in_tables(found: re.Match) -> str:
        names = [columns[key] for key in re.findall(r"(\w+)[=:]", found.group())]
        return f"in column {' and '.join(names)} of the samples table"

    def in_dataset(found: re.Match) -> str:
        names = [keys[name] for name in re.findall(r"\w+", found.group(1)) if name in keys]
        if not names:
            return found.group()
        where, said = "in the header of the file or its sidecar", " and ".join(names)
        return f"{where} ({said})" if found.group().startswith("in ") else f"{said} {where}"

    message = re.sub(r"--set (\w+):", lambda found: in_tables(found) + ":", message)
    message = re.sub(r"with --set(?: \w+=\w+)+", in_tables, message)
    if bids:  # whose scans are all of one format
        message = re.sub(r",? (?:or )?(?:name its format in|correct) column format of the samples table", "", message)
    return re.sub(r"(?:in )?column (\w+(?: and \w+)*) of the samples table", in_dataset, message) if bids else message


def _read_items(key: str, study: Study, config: dict[str, Any]) -> list[Item]:
    items: list[Item] = []
    for row in _rows_of(key, study)[0]:
        if row["role"] == "T1w":
            continue
        try:
            items += _convert_row(key, row, config)
        except InputError as error:
            raise InputError(f"{row['line']}: {error}") from None
    return _without_doubles(items)


def _anatomy_of(
    key: str, study: Study, config: dict[str, Any], output: Path, items: list[Item]
) -> tuple[Any, list[checks.Check]]:
    """Anatomical image to be written, if any, and a remark on each; one left out is a warning, its spectra go on."""
    image, notes = None, []
    for row in _rows_of(key, study)[0]:
        if row["role"] != "T1w":
            continue
        status, name, against = "warn", f"{row['raw'][0].name}: ", ""
        try:
            if image is not None:
                raise InputError("left out, as the session has another T1w; give one row of it")
            own = images.read(row["raw"][0])
            against = contrast.remark(own)
            image, note = _shareable(own, row["raw"], config["convert"]["t1w"], items)
            status = "warn" if against or config["convert"]["t1w"] == "keep" else "pass"
        except InputError as error:
            if fault_of_machine(error, output):
                raise
            note = plain_paths(error).removeprefix(name)
        said = plain_paths(f"{row['line']}: {name}{'; '.join(filter(None, [note, against]))}")
        notes.append(checks.Check("T1w", row["raw"][0].name, "", status, said))
    return image, notes


def _shareable(image: Any, raw: list[Path], way: str, items: list[Item]) -> tuple[Any, str]:
    """Anatomical image as it may be written, and a remark on it.

    Raises
    ------
    InputError
        Its face cannot be taken away.
    """
    if way == "keep":
        return image, "shows a face, as convert.t1w is keep: do not share it"
    if way == "leave_out":
        raise InputError("left out, as it shows a face and convert.t1w is leave_out")
    face = faces.face_of_mask(raw[1], image) if len(raw) > 1 else faces.find_face(image)
    for item in items:
        if item.role == "svs" and checks.voxel_size(item.scan) is not None:
            faces.refuse_voxel_in_face(item.scan.affine[:3, 3], face, image)
    where = raw[1].name if len(raw) > 1 else "its alignment with a template"
    return faces.without_face(image, face), f"face set to zero ({face.mean():.0%} of the image), by {where}"


def _check_items(key: str, items: list[Item], config: dict[str, Any], output: Path, notes: list[checks.Check]) -> Path:
    """Write the table of checks; the first scan that fails one stops the session."""
    results = []
    for item in items:
        name = item.row["protocol"]
        found = checks.check_scan(item.scan, item.role, config["protocols"][name], name, item.numbers)
        found += [checks.Check("read", "put right", "", "warn", note) for note in item.notes]
        results.append((item, found))
    folder = layout.scans_folder(layout.derivatives(output), key)
    task = next((item.row.get("task") for item in items if item.row.get("task")), None)
    path = folder / f"{layout.entities(key, task)}_{layout.CONVERT_QUALITY}"
    rows = [(item.name, check) for item, found in results for check in found]
    result_tables.write(checks.table([*rows, *((f"{key}_T1w", note) for note in notes)]), path)
    for item, found in results:
        if problem := checks.failure(found):
            raise InputError(f"{item.row['line']}: {problem}")
    _refuse_unlike_runs(items, config["convert"]["minimum_voxel_dice"])
    for item in items:
        own = _reference_of(item, items)
        for water in (other for other in items if other.name == own):
            voxels.refuse_water_elsewhere(
                water.row["line"], water.scan, item.row["line"], item.scan, config["convert"]["minimum_voxel_dice"]
            )
    return path


def _refuse_unlike_runs(items: list[Item], minimum_dice: float) -> None:
    """Refuse the same frames in two rows of a session, and runs of one series that do not lie in one voxel."""
    seen: dict[bytes, Item] = {}
    first: dict[str, Item] = {}
    for item in (item for item in items if item.role in ("svs", "mm")):
        line = item.row["line"]
        frames = {frame.tobytes() for frame in checks.frames_of(item.scan)}
        if shared := frames & set(seen):
            other = seen[next(iter(shared))]
            raise InputError(
                f"{line}: {len(shared)} of its {len(frames)} frames are those of {other.row['line']}; name each scan "
                "once: correct column raw of one of the rows, or remove it (in a dataset, take one of the files out)"
            )
        seen |= dict.fromkeys(frames, item)
        series = re.sub(r"_run-\d+", "", item.name)
        other = first.setdefault(series, item)
        if other is not item and item.role == "svs":
            conditions = {editing.condition(editing.naa_share(one.scan)): one for one in (other, item)}
            if {"edit on", "edit off"} <= set(conditions):
                raise InputError(
                    f"{line}: holds frames of another editing condition than {other.row['line']} (NAA is gone in "
                    f"{conditions['edit on'].row['line']}), and runs of one series need one; correct use_frames of "
                    "their protocols, or give each row a task of its own and choose one with inputs.select"
                )
        if checks.voxel_size(item.scan) is None or checks.voxel_size(other.scan) is None:
            continue
        dice = checks.voxel_dice(other.scan.affine, item.scan.affine)
        if dice < minimum_dice:
            apart = float(np.linalg.norm(item.scan.affine[:3, 3] - other.scan.affine[:3, 3]))
            raise InputError(
                f"{line}: its voxel overlaps that of {other.row['line']} by {dice:.2f} (Dice; {apart:.0f} mm apart), "
                "and runs of one series need one voxel: give the rows of each voxel a session of their own in the "
                "tables (in a dataset, tell them by voi- and choose one with inputs.select), or set "
                "convert.minimum_voxel_dice lower where the voxel was moved on purpose"
            )


def _write_session(
    key: str, items: list[Item], image: Any, study: Study, config: dict[str, Any], root: Path, apart: Path | None
) -> list[Path]:
    """Write the files of a session, whole or not at all; gives those of the dataset.

    Scans that it does not keep go to `apart`, with a copy of what lies beside them, or nowhere.
    """
    session = _rows_of(key, study)[1]
    place = root if config["convert"]["keep_scans"] else apart
    written: list[Path] = []
    try:
        for item in items:
            written += _write_item(item, _reference_of(item, items), config, root, key, place)
            if item.role == "svs":
                written += _write_events(item.row, session, root, key, config)
        if image is not None:
            written.append(layout.session_folder(root, key) / "anat" / f"{key}_T1w.nii.gz")
            images.write(image, written[-1])
        own = [path for path in written if path.is_relative_to(root)]
        if place not in (None, root):
            for path in own:
                if path.parent == layout.scans_folder(root, key):
                    shutil.copyfile(path, layout.scans_folder(place, key) / path.name)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return own


def plain_paths(error: object) -> str:
    """Fold a message to one line in which absolute paths are cut to their last part."""
    text = " ".join(without_hidden(str(error)).split())
    return re.sub(r"(?<![\w.])/(?:[^\s:;,]+/)+(?=[^\s/])", "", text)


def _convert_row(key: str, row: dict[str, Any], config: dict[str, Any]) -> list[Item]:
    given = {}
    for column, (header, factor) in GIVEN_COLUMNS.items():
        value = row.get(column)
        if value is not None and value == value:
            given[header] = str(value) if factor is None else repr(float(value) * factor)
    converted = vendors.convert(row["raw"], row.get("format") or None, given)
    protocol, name = config["protocols"][row["protocol"]], f"protocols.{row['protocol']}"
    labels = {"task": row.get("task"), "run": row.get("run")}
    role = row["role"]
    if role == "mm":
        labels["acq"] = "mm"
        if not (converted.scan.header.get("InversionTime") or 0) > 0:
            raise InputError(
                "a scan of role mm needs its inversion time, and the header does not say InversionTime; give column "
                "inversion_time_ms of the samples table"
            )
    stem = f"{layout.entities(key, **labels)}_{'svs' if role == 'mm' else role}"
    if role == "mrsref":
        stem = f"{layout.entities(key, **labels, acq=row.get('acq'))}_mrsref"
        number = next(iter(converted.excitations), protocol["excitations_per_frame"] or 1)
        notes = [*converted.notes, *row.get("remarks", ())]
        return [Item(stem, "mrsref", _water_of(converted, protocol, name, notes), row, tuple(notes), number)]
    row, notes = _with_start(row, converted, config["convert"]["maximum_clock_difference_s"])
    declared = protocol["excitations_per_frame"] or row.get("excitations")
    converted = _with_onsets(converted, row.get("onsets"), notes)
    converted = replace(converted, uneven=row.get("uneven") or converted.uneven)
    excitations = frames.excitations(converted, declared, name)
    scan = frames.placed(converted, excitations, name, notes, protocol["use_frames"])
    parts = frames.parted(scan, protocol, name, notes, converted.lost)
    frames.refuse_turns(converted, parts, excitations, {**protocol, "excitations_per_frame": declared}, name, notes)
    frames.remark_on_transients(converted.uneven, parts.planned, excitations, notes)
    if role == "svs" and protocol["use_frames"] == "all":
        editing.refuse_unnoticed(parts.scan, parts.planned, protocol["sequence"], name, notes)
    references = {**converted.references} if parts.water is None else {**converted.references, "ecc": parts.water}
    if protocol["water_frames"] == "none":
        references = {}
    items = [Item(stem, role, parts.scan, row, tuple(notes), excitations, parts.numbers)]
    if role == "mm":  # its own water only: for scaling there is that of the metabolites
        references = {use: reference for use, reference in references.items() if use == "ecc"}
    for use, reference in references.items():
        other = layout.entities(key, **{"acq": None if use == "ecc" else use, **labels})
        items.append(Item(f"{other}_mrsref", "mrsref", reference, row, excitations=excitations))
    return items


def _with_onsets(converted: vendors.Converted, onsets: list[float] | None, notes: list[str]) -> vendors.Converted:
    """Scan whose frames begin when a sidecar of its dataset says, where its header does not say it itself."""
    n_frames = converted.scan.size("DIM_DYN")
    if onsets is None or "DIM_DYN" not in converted.scan.dims:
        return converted
    if "FrameOnset" in converted.scan.dimension_header("DIM_DYN"):
        return converted
    if onsets[0] > 0:
        notes.append(f"its first frame begins {onsets[0]:g} s after time 0 of its sidecar, and so of its events")
    return replace(converted, scan=converted.scan.with_onsets(onsets[:n_frames]))


def _water_of(converted: vendors.Converted, protocol: dict[str, Any], name: str, notes: list[str]) -> nifti_mrs.Scan:
    """Unsuppressed water that a row of role mrsref names: a whole file, or what a metabolite file has of it."""
    if converted.references and not checks.looks_like_water(converted.scan):
        return converted.references.get("ecc") or next(iter(converted.references.values()))
    declared = checks.water_frames(protocol["water_frames"], converted.scan.size("DIM_DYN")) is not None
    if not declared or "DIM_DYN" not in converted.scan.dims:
        return converted.scan
    parts = frames.parted(converted.scan, {**protocol, "use_frames": "all"}, name, notes, converted.lost)
    whole = parts.water is None or checks.looks_like_water(parts.scan)
    return converted.scan if whole else parts.water


def _with_start(
    row: dict[str, Any], converted: vendors.Converted, tolerance: float
) -> tuple[dict[str, Any], list[str]]:
    """Row with the start of the scan that the raw file states, where the table does not; a remark where they differ.

    Raises
    ------
    InputError
        They differ by more than `tolerance` (s).
    """
    notes, stated, found = [*converted.notes, *row.get("remarks", ())], row.get("start_time"), converted.start
    if found and stated:
        later = -seconds_between(stated, found)  # an inline reference may or may not be counted
        apart = max(-later, later - converted.lead_s, 0.0)
        if apart > tolerance:
            raise InputError(headers.other_start(stated, found, apart))
        if apart > REMARKABLE:
            notes.append(f"start_time of the samples table holds, though the raw file's clock differs by {apart:.0f} s")
    if stated or not found:
        return row, notes
    return {**row, "start_time": clock_time(clock(found) + converted.lead_s)}, [
        *notes,
        "start of the scan from the raw file, as the samples table has none",
    ]


def _without_doubles(items: list[Item]) -> list[Item]:
    """Leave out references found in a metabolite file that have a row of their own."""
    own = {item.name for item in items if item.role == item.row["role"]}
    return [item for item in items if item.role == item.row["role"] or item.name not in own]


def _reference_of(item: Item, items: list[Item]) -> str | None:
    """Name of the water reference of a metabolite scan: that of its run, or the only one of the session."""
    if item.role != "svs":
        return None
    wanted = f"{item.name.removesuffix('_svs')}_mrsref"
    names = [other.name for other in items if other.role == "mrsref" and "_acq-" not in other.name]
    return wanted if wanted in names else names[0] if len(names) == 1 else None


def _write_item(
    item: Item, reference: str | None, config: dict[str, Any], root: Path, key: str, place: Path | None
) -> list[Path]:
    """Write the sidecar of a scan, and the scan below `place`; gives both."""
    folder = layout.scans_folder(root, key)
    keep = config["convert"]["keep_header"]
    scan, removed = identity.clean(item.scan, keep, identity.harvest_all(formats.files_of(item.row["raw"]), keep))
    logger.info("%s: removed header keys %s", item.name, ", ".join(removed))
    protocol = config["protocols"][item.row["protocol"]]
    task = item.row.get("task") or None
    content = bids.sidecar(scan, item.excitations, protocol["sequence"], task)
    content["FrameChecksums"] = [
        hashlib.sha256(np.ascontiguousarray(frame).astype(np.complex64)).hexdigest()[:12]
        for frame in checks.frames_of(scan)
    ]
    content["OriginalChecksum"] = [checksum(path) for path in formats.files_of(item.row["raw"])]
    if reference:
        content["ReferenceSignal"] = f"bids::{(folder / reference).relative_to(root).as_posix()}.nii.gz"
    side = folder / f"{item.name}.json"
    if place is None:
        write_json(content, side)
        return [side]
    image = layout.scans_folder(place, key) / f"{item.name}.nii.gz"
    nifti_mrs.write(scan, image)
    write_json(content, side)
    return [image, side]


def _write_events(
    row: dict[str, Any], session: dict[str, Any], root: Path, key: str, config: dict[str, Any]
) -> list[Path]:
    task, run = row.get("task"), row.get("run")
    path = layout.scans_folder(root, key) / f"{layout.entities(key, task, run)}_events.tsv"
    if row.get("events"):
        table = read_table(row["events"], text_columns=True)
        wanted = {*result_tables.tables()["events"].columns, *config["convert"]["keep"]}
        write_table(table[[column for column in table if column in wanted]], path)
        return [path]
    named = [column for column in ("dose_time", "infusion_start") if isinstance(session.get(column), str)]
    if not named:
        return []
    if not row.get("start_time"):
        raise InputError(
            f"{row['line']}: start_time is empty, and {config['inputs']['sessions']} gives {named[0]} of this session; "
            "give the clock time of the first excitation, as the raw file does not say it"
        )
    if not task:
        raise InputError(
            f"{row['line']}: task is empty, and the sessions table gives clock times of events, "
            "which BIDS keeps in a table named by a task; give such a label in column task"
        )
    present = {k: v for k, v in session.items() if isinstance(v, str)}
    bids.write_events(bids.events(present, row["start_time"]), path)
    return [path]
