"""A folder of raw files looked through: which scans it holds, and the tables and protocols that they would fill.

What headers say is proposed; what only a person knows stays open and is marked, so that the check before any job names
it. Folders may be named after people, so participants get numbers.
"""

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from mrsflow.basis_sets import presets
from mrsflow.command import begin
from mrsflow.command.begin import DECIDE
from mrsflow.conversion import checks, vendors
from mrsflow.errors import InputError
from mrsflow.files import read_json, scratch, write_text
from mrsflow.raw_files import formats

VENDORS = {
    "twix": "siemens", "rda": "siemens", "dicom": "siemens", "philips_sdat": "philips", "philips_dcm": "philips",
    "philips_dl": "philips", "ge": "ge", "uih": "uih", "bruker": "bruker", "varian": "varian",
}  # fmt: skip
"""Maker by format, where the format says it."""
NO_SCANS = {
    "", ".basis", ".bib", ".bmp", ".bval", ".bvec", ".csv", ".doc", ".docx", ".gif", ".htm", ".html", ".jpeg", ".jpg",
    ".json", ".log", ".m", ".mat", ".md", ".pdf", ".png", ".ps", ".pta", ".py", ".r", ".rst", ".sh", ".tif", ".tiff",
    ".tsv", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip",
}  # fmt: skip
"""Endings of files that are no scans, whatever numbers are in them."""
SPECTROSCOPY = ("1.2.840.10008.5.1.4.1.1.4.2", "1.3.12.2.1107.5.9.1", "1.3.46.670589.11.0.0.12")
"""DICOM classes that may hold spectra: MR spectroscopy, and what Siemens and Philips put it in."""
SERIES_TAGS = ["SOPClassUID", "SeriesInstanceUID", "SeriesNumber"]
FACTS = (("TE ", "echo_time_ms", "ms"), ("TR ", "repetition_time_ms", "ms"), ("", "spectrometer_frequency_mhz", "MHz"))
"""What is said of a scan."""
SAME_MHZ = 0.01
"""Part of the carrier frequency by which scans of one protocol may differ, as the checks at the door have it."""


@dataclass(frozen=True)
class Found:
    """One scan in the folder.

    Attributes
    ----------
    raw : list of Path
        What column ``raw`` of the samples table would name.
    format : str
    role : str or None
        svs, mrsref, mm or T1w; None where the scan cannot be read.
    header : dict
        Of the proposed protocol; None for what the raw file does not say.
    start : str or None
        Clock time of the first excitation.
    coils, frames : int
    water : bool
        Whether the same raw file holds its unsuppressed water.
    remarks : tuple of str
        What a person must decide, and why a scan cannot be read.
    participant, session, protocol, run : str or None
    """

    raw: list[Path]
    format: str
    role: str | None = None
    header: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    coils: int = 1
    frames: int = 1
    water: bool = False
    remarks: tuple[str, ...] = ()
    participant: str | None = None
    session: str | None = None
    protocol: str | None = None
    run: str | None = None

    @property
    def vendor(self) -> str:
        """Maker of the scanner, where the format says it."""
        return VENDORS.get(self.format, "scanner")


def look(folder: Path, tell: Callable[[str], None] = lambda _: None) -> list[Found]:
    """Find the scans below a folder and what they are.

    Parameters
    ----------
    folder : Path
        Of raw files, or a BIDS dataset.
    tell : callable
        Is told the name of each scan before it is read, which may take seconds.

    Raises
    ------
    InputError
        No such folder, or nothing in it that can be a scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --scan needs the folder that holds the raw files")
    with scratch(Path(tempfile.gettempdir())), warnings.catch_warnings(action="ignore"):  # they may hold names
        found = [_examined(raw, tell) for raw in candidates(folder)]
    if not found:
        raise InputError(f"{folder}: holds no file of a format that is known here; see `mrsflow init --help`")
    return _numbered(_with_protocols(_placed(found, folder)))


def candidates(folder: Path) -> Iterator[list[Path]]:
    """Give what may be a scan below a folder: files, pairs of files as one of them, series of DICOM files.

    Parameters
    ----------
    folder : Path
    """
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:  # closed to us, which is said of it like of a file
        yield [folder]
        return
    names = {path.name for path in entries}
    if {"fid", "procpar"} <= names or ("method" in names and names & {"fid", "rawdata.job0"}):
        yield [folder]
        return
    files = [path for path in entries if path.is_file() and path.stat().st_size > 0]
    dicom = [path for path in files if formats.head_of(path, 132)[128:] == b"DICM"]
    yield from _series(dicom, folder)
    for path in files:
        suffix = path.suffix.lower()
        if path in dicom or suffix in NO_SCANS:
            continue
        pair = {".spar": ".sdat", ".list": ".data"}.get(suffix)
        if pair and any(other.stem == path.stem and other.suffix.lower() == pair for other in files):
            continue
        try:
            formats.detect([path])
        except InputError as error:
            if "is of no format" in str(error) or "is a basis set" in str(error):
                continue
        yield [path]
    for path in entries:
        inside = path.is_dir() and path.name not in ("derivatives", "sourcedata", "code")
        if inside and not folder.resolve().is_relative_to(path.resolve()):  # a link upwards would have no end
            yield from candidates(path)


def _series(files: list[Path], folder: Path) -> Iterator[list[Path]]:
    """Spectra among the DICOM files of a folder, a list for each series; the folder itself where it is one series."""
    import pydicom

    series: dict[str, list[Path]] = {}
    for path in files:
        header = pydicom.dcmread(path, specific_tags=SERIES_TAGS, stop_before_pixels=True, force=True)
        if str(header.get("SOPClassUID")).startswith(SPECTROSCOPY):
            number = str(header.get("SeriesNumber", header.get("SeriesInstanceUID")))
            series.setdefault(number, []).append(path)
    alone = len(series) == 1 and len(next(iter(series.values()))) == len(list(folder.iterdir()))
    yield from [[folder]] if alone else series.values()


def _examined(raw: list[Path], tell: Callable[[str], None]) -> Found:
    """Read a scan; one that cannot be read keeps the reason."""
    tell(raw[0].name)
    kind = "nifti" if raw[0].name.endswith((".nii", ".nii.gz")) else "unknown"
    try:
        if kind == "nifti" and (image := _image(raw[0])) is not None:
            return image
        kind = formats.detect(raw)[0].format
        converted = vendors.convert(raw)
    except InputError as error:
        return Found(raw, kind, remarks=(str(error).removeprefix(f"{raw[0]}: "),))
    scan, remarks = converted.scan, []
    role = "svs"
    if scan.nucleus != "1H":
        return Found(raw, kind, remarks=(f"nucleus {scan.nucleus}, and only 1H is analysed",))
    if problem := checks.failure(checks.check_frames(scan)):
        return Found(raw, kind, remarks=(problem,))
    if raw[0].name.split(".")[0].endswith("_mrsref") or checks.looks_like_water(scan):
        role = "mrsref"
    elif checks.looks_nulled(scan):
        role = "mm" if scan.header.get("InversionTime") else "svs"  # headers have it of scans without inversion too
        remarks.append(f"{DECIDE}: looks metabolite-nulled; role mm with its inversion time, or svs")
    head = scan.header if checks.named_sequence(scan.header) else {**scan.header, "SequenceName": _told_beside(raw[0])}
    header, said = _protocol_of(head, scan.spectrometer_frequency, scan.size("DIM_EDIT"))
    return Found(
        raw,
        kind,
        role,
        header,
        converted.start,
        scan.size("DIM_COIL"),
        scan.size("DIM_DYN"),
        bool(converted.references),
        (*remarks, *said),
    )


def _told_beside(path: Path) -> Any:
    """Give the sequence that the sidecar of a file names, as BIDS has it; None where there is none."""
    try:
        return read_json(path.with_name(f"{path.name.split('.')[0]}.json")).get("PulseSequenceType")
    except (InputError, AttributeError):
        return None


def _image(path: Path) -> Found | None:
    """Anatomical image, or one of another kind; None for a NIfTI file with spectra."""
    import nibabel

    from mrsflow import nifti_mrs

    try:
        image = nibabel.load(path)
        if nifti_mrs.has_extension(path) or image.get_data_dtype().kind == "c":
            return None
    except Exception as error:
        raise InputError(f"{path}: cannot be read as NIfTI ({type(error).__name__}); copy it again") from error
    flat = len([size for size in image.shape if size > 1]) == 3
    if flat and re.search(r"t1w?(?![a-z0-9])|mprage|bravo|spgr|tfe", path.name, re.IGNORECASE):
        return Found([path], "nifti", "T1w", remarks=(f"{DECIDE}: T1-weighted by its name",))
    return Found([path], "nifti", remarks=("an image; if it is T1-weighted, role T1w",))


def _protocol_of(header: dict[str, Any], mhz: float, n_edit: int) -> tuple[dict[str, Any], list[str]]:
    """Propose a protocol of a scan, and say what is left to decide."""
    remarks = []
    named = checks.named_sequence(header)
    kind = None if named is None else named[0]
    if kind is None:
        remarks.append(f"{DECIDE}: no header names the sequence: press, semi_laser, steam or other")
    elif kind == "edited" or n_edit > 1:
        way = checks.way_out("edited", "protocols.NAME", named[2])
        remarks.append(f"{DECIDE}: {named[2]!r} is edited; sequence press or semi_laser: {way}")
        kind = None
    elif kind not in ("press", "semi_laser", "steam"):
        remarks.append(f"{DECIDE}: {named[2]!r} is {kind}; sequence other, with a basis set file")
        kind = "other"
    found = {"sequence": kind, "preset": None}
    for key, name in (("echo_time_ms", "EchoTime"), ("repetition_time_ms", "RepetitionTime")):
        value = header.get(name)
        found[key] = _in_ms(value)
        if found[key] is None:
            remarks.append(f"{DECIDE}: no header says {name}; column {key} of the samples table")
    if kind == "steam" and _in_ms(header.get("MixingTime")) is not None:
        found["mixing_time_ms"] = _in_ms(header["MixingTime"])
    return {**found, "spectrometer_frequency_mhz": round(mhz, 2)}, remarks


def _in_ms(seconds: Any) -> float | int | None:
    """Milliseconds to two digits, whole ones without any; None for what is no number.

    >>> _in_ms(0.03), _in_ms(0.03191), _in_ms(None)
    (30, 31.91, None)
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    value = round(1e3 * seconds, 2)
    return int(value) if value == int(value) else value


def _placed(found: list[Found], root: Path) -> list[Found]:
    """Participant and session of each scan: the labels of BIDS where all have them, else numbers of the folders."""
    texts = [scan.raw[0].relative_to(root).as_posix() for scan in found]
    people, visits = ([re.search(rf"(?:^|[/_]){key}-([A-Za-z0-9]+)", text) for text in texts] for key in ("sub", "ses"))
    if all(people):
        return [
            replace(scan, participant=person.group(1), session=visit.group(1) if visit else "1")
            for scan, person, visit in zip(found, people, visits, strict=True)
        ]
    folders = [_folders(scan, found, root) for scan in found]
    numbers: dict[tuple[str, ...], str] = {}
    for own in sorted({part for folder in folders for part in (folder[:1], folder) if part}):
        beside = [other for other in numbers if other[:-1] == own[:-1]]
        numbers[own] = f"{len(beside) + 1:02d}"
    placed = []
    for scan, own in zip(found, folders, strict=True):
        if own:
            session = numbers[own] if len(own) > 1 else "01"
            placed.append(replace(scan, participant=numbers[own[:1]], session=session))
        else:
            said = f"{DECIDE}: participant and session, as no folder tells them"
            placed.append(replace(scan, remarks=(*scan.remarks, said)))
    return placed


def _folders(scan: Found, found: list[Found], root: Path) -> tuple[str, ...]:
    """Folders below the root that stand for the participant and the session of a scan.

    A folder of DICOM files right below that of a participant is a session where all such folders hold the same kind of
    spectra, else one series among others.
    """
    parts = scan.raw[0].relative_to(root).parts
    if not scan.raw[0].is_dir() or len(parts) != 2:
        return parts[:-1][:2]
    beside = [other for other in found if other.raw[0].parent == scan.raw[0].parent]
    kinds = {(other.role, tuple(other.header.items())) for other in beside}
    return parts if len(kinds) == 1 and all(other.raw[0].is_dir() for other in beside) else parts[:1]


def _with_protocols(found: list[Found]) -> list[Found]:
    """Name the protocol of each scan; water takes that of the spectra of its session."""
    names: list[tuple[str, str, dict[str, Any]]] = []

    def name_of(scan: Found) -> str:
        for name, vendor, header in names:
            mhz, other = (one["spectrometer_frequency_mhz"] for one in (scan.header, header))
            same = all(scan.header[key] == header[key] for key in header if key != "spectrometer_frequency_mhz")
            if vendor == scan.vendor and same and abs(mhz / other - 1) < SAME_MHZ:
                return name
        echo = scan.header["echo_time_ms"]
        parts = [scan.vendor, scan.header["sequence"] or "", "" if echo is None else f"te{echo:g}".replace(".", "p")]
        base = "_".join(part for part in parts if part)
        taken = [name for name, _, _ in names if name == base or re.fullmatch(rf"{base}_\d+", name)]
        names.append((f"{base}_{len(taken) + 1}" if taken else base, scan.vendor, scan.header))
        return names[-1][0]

    named = [replace(scan, protocol=name_of(scan)) if scan.role in ("svs", "mm") else scan for scan in found]
    return [_of_spectra(scan, named) if scan.role == "mrsref" else scan for scan in named]


def _of_spectra(water: Found, found: list[Found]) -> Found:
    """Water with the protocol of the spectra of its session, of those with its echo time where they differ."""
    own = [
        scan for scan in found
        if scan.role == "svs" and (scan.participant, scan.session) == (water.participant, water.session)
    ]  # fmt: skip
    same = [scan for scan in own if scan.header["echo_time_ms"] == water.header["echo_time_ms"]] or own
    protocols = {scan.protocol for scan in same}
    if len(protocols) == 1:
        return replace(water, protocol=protocols.pop(), remarks=())
    said = (
        "water, and its session has no spectra"
        if not own
        else "water, and its session has spectra of several protocols"
    )
    return replace(water, remarks=(*water.remarks, f"{DECIDE}: protocol ({said})"))


def _numbered(found: list[Found]) -> list[Found]:
    """Give scans of one role and protocol in a session numbers; water that of the spectra whose name is like its."""
    groups: dict[tuple, list[Found]] = {}
    for scan in found:
        groups.setdefault((scan.participant, scan.session, scan.role, scan.protocol), []).append(scan)
    result = []
    for scan in found:
        group = groups[scan.participant, scan.session, scan.role, scan.protocol]
        if len(group) < 2 or scan.role not in ("svs", "mrsref", "mm") or scan.participant is None:
            result.append(scan)
            continue
        place = next(n for n, one in enumerate(group) if one is scan)
        spectra = groups.get((scan.participant, scan.session, "svs", scan.protocol), [])
        if scan.role == "mrsref" and len(spectra) == len(group):
            places = [_most_like(water, spectra) for water in group]
            if len(set(places)) == len(group):
                place = places[place]
            else:
                said = f"{DECIDE}: run (its name does not tell of which spectra it is the water)"
                scan = replace(scan, remarks=(*scan.remarks, said))
        result.append(replace(scan, run=str(place + 1)))
    return result


def _most_like(water: Found, spectra: list[Found]) -> int:
    """Which of some spectra has the path most like that of a water scan."""
    likeness = [SequenceMatcher(None, str(water.raw[0]), str(one.raw[0])).ratio() for one in spectra]
    return max(range(len(spectra)), key=likeness.__getitem__)


def protocols_of(found: list[Found]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Give the protocols of scans, and what to say of their keys.

    Parameters
    ----------
    found : list of Found
    """
    protocols: dict[str, dict[str, Any]] = {}
    remarks: dict[str, str] = {}
    for scan in found:
        if scan.protocol is None or scan.role not in ("svs", "mm") or scan.protocol in protocols:
            continue
        protocols[scan.protocol] = scan.header
        for key, value in scan.header.items():
            if value is None:
                remarks[f"{scan.protocol}.{key}"] = f"{DECIDE}: the raw file does not say it"
        kind = scan.header["sequence"]
        if kind == "other":
            remarks[f"{scan.protocol}.preset"] = f"{DECIDE}: name a basis set file under basis"
        else:
            known = _presets(kind, scan.vendor)
            remarks[f"{scan.protocol}.preset"] = f"{DECIDE}: {', '.join(known)}; or name a basis set file under basis"
    return protocols, remarks


def _presets(sequence: str | None, vendor: str) -> list[str]:
    """Names of the presets that a scan of a vendor may have."""
    others = set(VENDORS.values()) - {vendor} if vendor in VENDORS.values() else set()
    return [
        name
        for name, preset in presets.table()["presets"].items()
        if (sequence is None or preset["sequence"] in ("any", sequence)) and name.split("_")[0] not in others
    ]


def rows_of(found: list[Found], design: str, place: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of the three tables; what only a person knows is ``n/a``, which the check names.

    Parameters
    ----------
    found : list of Found
    design : str
    place : Path
        Folder of the tables, from which raw paths start.
    """
    chosen = begin.settings_of(design)
    timed = chosen["blocks"]["event"] != "start"
    conditions = chosen["study"]["conditions"]
    scans = [
        {
            "participant": scan.participant or "n/a",
            "session": scan.session or "n/a",
            "task": "infusion" if timed and scan.role == "svs" else "n/a",
            "protocol": scan.protocol or "n/a",
            "role": scan.role,
            "run": scan.run or "n/a",
            "raw": " | ".join(os.path.relpath(path, place) for path in scan.raw),
        }
        for scan in found
        if scan.role is not None
    ]
    visits = dict.fromkeys((row["participant"], row["session"]) for row in scans if row["participant"] != "n/a")
    people = dict.fromkeys(person for person, _ in visits)
    sessions = [
        {
            "participant": person,
            "session": session,
            "visit": 1 if sum(other == person for other, _ in visits) == 1 else "n/a",
            "arm": conditions[0] if len(conditions) == 1 else "n/a",
        }
        for person, session in visits
    ]
    return {"samples": scans, "participants": [{"participant": person} for person in people], "sessions": sessions}


def write_study(folder: Path, design: str, found: list[Found], root: Path) -> list[Path]:
    """Write the configuration and tables that a folder of scans proposes, and the list of what was found.

    Parameters
    ----------
    folder : Path
        Of the study.
    design : str
    found : list of Found
    root : Path
        The folder that was looked through; of a BIDS dataset the configuration names it and there are no tables.

    Raises
    ------
    InputError
        No spectra were found, or a file is there already.
    """
    protocols, remarks = protocols_of(found)
    if not protocols:
        water = "looks like unsuppressed water"
        said = [water if scan.role == "mrsref" else scan.remarks[0] if scan.remarks else scan.role for scan in found]
        listed = "; ".join(f"{_name(scan)}: {what}" for scan, what in zip(found[:3], said, strict=False))
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(f"{root}: holds no spectra of metabolites that can be read ({listed}{more})")
    place = folder / "config"
    listed = place / "scans.tsv"
    if listed.exists():
        raise InputError(f"{listed}: is there already, and nothing is overwritten; choose another folder, or remove it")
    if (root / "dataset_description.json").is_file():
        inputs = {"bids": os.path.relpath(root, folder)}
        written = begin.write_study(folder, design, {}, protocols, remarks, inputs)
    else:
        written = begin.write_study(folder, design, rows_of(found, design, place), protocols, remarks)
    rows = [_listed(scan, root) for scan in found]
    write_text(begin.table_text(rows, tuple(rows[0])), listed)
    return [*written, listed]


def _name(scan: Found) -> str:
    return scan.raw[0].name + (f" and {len(scan.raw) - 1} more" if len(scan.raw) > 1 else "")


def _listed(scan: Found, root: Path) -> dict[str, Any]:
    """Row of the list of what was found."""
    header = {key: "n/a" if value is None else value for key, value in scan.header.items()}
    return {
        "raw": scan.raw[0].relative_to(root).as_posix(),
        "files": len(scan.raw),
        "format": scan.format,
        "sequence": header.get("sequence", "n/a"),
        "echo_time_ms": header.get("echo_time_ms", "n/a"),
        "repetition_time_ms": header.get("repetition_time_ms", "n/a"),
        "spectrometer_frequency_mhz": header.get("spectrometer_frequency_mhz", "n/a"),
        "start_time": scan.start or "n/a",
        "coils": scan.coils if header else "n/a",
        "frames": scan.frames if header else "n/a",
        "water_inside": ("yes" if scan.water else "no") if header else "n/a",
        "role": scan.role or "n/a",
        "participant": scan.participant or "n/a",
        "session": scan.session or "n/a",
        "protocol": scan.protocol or "n/a",
        "remarks": " ".join("; ".join(scan.remarks).split()) or "n/a",
    }


def lines(found: list[Found]) -> list[str]:
    """Say what was found, a line each.

    Parameters
    ----------
    found : list of Found
    """
    said = []
    for scan in found:
        head = scan.header
        facts = [scan.format, head.get("sequence") or ""]
        for label, key, unit in FACTS:
            facts += [f"{label}{head[key]:g} {unit}"] if head.get(key) is not None else []
        facts += [f"at {scan.start[:8]}"] if scan.start else []
        facts += [f"{scan.coils} coils"] if scan.coils > 1 else []
        facts += [f"{scan.frames} frames"] if scan.frames > 1 else []
        facts += ["with its water"] if scan.water else []
        who = f"{scan.participant or '?'}/{scan.session or '?'}"
        said.append(f"{who}  {scan.role or 'not used'}  {_name(scan)}: {', '.join(fact for fact in facts if fact)}")
        said += [f"    {remark}" for remark in scan.remarks]
    unused = sum(scan.role is None for scan in found)
    said.append(
        f"{len(found)} found, {len(found) - unused} in the tables, {unused} not used (config/scans.tsv has all)"
    )
    return said
