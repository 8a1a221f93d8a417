"""Scanner files in: which format a file has, how spec2nii is asked to convert it, and what is put right around it.

spec2nii 0.8.15 does the reading (Clarke et al., doi:10.1002/mrm.29418), as a program of its own, in a private
folder, on links whose names say nothing. What it gets wrong is corrected here from the file itself; what the file
does not say must be given (`GIVEN`).
"""

import errno
import logging
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import nifti_mrs
from mrsflow.conversion import checks, excitations, repairs, text_formats
from mrsflow.errors import InputError
from mrsflow.files import full_disk, read_json
from mrsflow.nifti_mrs import ONE_VOXEL, Scan
from mrsflow.raw_files import acquisition_start, ge, philips, twix
from mrsflow.raw_files.formats import Raw, detect, head_of, refuse_unreadable

logger = logging.getLogger(__name__)

GIVEN = {
    "EchoTime": "s",
    "RepetitionTime": "s",
    "MixingTime": "s",
    "InversionTime": "s",
    "DwellTime": "s",
    "SpectralWidth": "Hz",
    "SpectrometerFrequency": "MHz",
    "ResonantNucleus": "such as 1H",
}
"""What may be given for a file that does not say it (or says it wrongly), with the unit."""

TIME_NAMES = r"onset|time_?stamp|timing|^(frame|scan|acquisition|acq)?_?(start|begin)?_?(time|start)s?$"
"""Keys of a dimension header by which files of other tools say when frames began."""


@dataclass(frozen=True)
class Converted:
    """One scan as it came out of the raw data, with all of its header.

    Attributes
    ----------
    scan : Scan
    references : dict of str to Scan
        Unsuppressed water found in the same raw data, by use: ``ecc`` (same gradients as the scan), ``conc``.
    notes : list of str
        What was put right, in words.
    start : str or None
        Clock time of the first excitation of the file (HH:MM:SS.s), where the raw file says it.
    excitations : tuple of int
        Excitations that each stored frame may average, see `excitations.stated`.
    first_frame : int
        Stored frames of the file before the first of the scan: an unsuppressed reference that came before.
    lead_s : float
        Seconds from `start` to the first frame of the scan, where its frames have times of their own.
    lost : int
        Frames of zeros at the end of the file, which were left out: the scan was stopped.
    uneven : int or None
        Excitations of the whole file that its sidecar states, where its frames cannot share them out evenly.
    """

    scan: Scan
    references: dict[str, Scan] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    start: str | None = None
    excitations: tuple[int, ...] = ()
    first_frame: int = 0
    lead_s: float = 0.0
    lost: int = 0
    uneven: int | None = None


def convert(paths: list[Path], form: str | None = None, given: Mapping[str, str] | None = None) -> Converted:
    """Convert the raw data of one scan.

    Parameters
    ----------
    paths : list of Path
        See `detect`; several files of one format may be a scan and its separate water reference.
    form : str, optional
        Format (the column of the samples table), instead of the one that is found.
    given : mapping, optional
        Header values as text, keys and units of `GIVEN`; they come before what the file says.

    Raises
    ------
    InputError
        One line: what was found, what is needed, what to change.
    """
    values = parse_given(given or {})
    try:
        with _quiet():
            return _convert_all(list(paths), form, values)
    except InputError:
        raise
    except Exception as error:  # damage that no check foresaw: the person gets one line, the log gets the rest
        if full := full_disk(error):
            raise InputError(f"{paths[0]}: cannot be converted, {full}; make room there, or set TMPDIR") from error
        logger.info("unforeseen damage", exc_info=error)
        raise InputError(
            f"{paths[0]}: cannot be read ({type(error).__name__}); copy it from the scanner again"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what readers of damaged files print, which may hold header values, off the terminal."""
    noisy = [logging.getLogger(name) for name in ("nibabel.global", "pydicom")]
    levels = [item.level for item in noisy]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for item in noisy:
            item.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for item, level in zip(noisy, levels, strict=True):
                item.setLevel(level)


def _convert_all(paths: list[Path], form: str | None, values: dict[str, Any]) -> Converted:
    found = detect(paths) if form is None else [Raw(form, _named(form, paths))]
    parts = [_convert_one(raw, values, paths[0]) for raw in found]
    if len(parts) == 1:
        return parts[0]
    water = [checks.looks_like_water(part.scan) for part in parts]
    if water.count(False) != 1:
        raise InputError(
            f"{paths[0]}: {len(parts)} raw files were named for one scan and {water.count(True)} of them are "
            "unsuppressed water; name one scan and its water reference, or give each its own row"
        )
    main = parts[water.index(False)]
    others = {f"ecc{n or ''}": part.scan for n, part in enumerate(part for part in parts if part is not main)}
    notes = [note for part in parts for note in part.notes]
    return replace(main, references={**main.references, **others}, notes=notes)


def _named(form: str, paths: list[Path]) -> list[Path]:
    for path in paths:
        refuse_unreadable(path)
    if form in ("philips_sdat", "philips_dl", "bruker", "varian") or paths[0].is_dir():
        return detect(paths)[0].files
    return paths


def parse_given(given: Mapping[str, str]) -> dict[str, Any]:
    """Check values given by hand; `SpectralWidth` becomes ``DwellTime``.

    >>> parse_given({"SpectralWidth": "2000", "ResonantNucleus": "1H"})
    {'ResonantNucleus': '1H', 'DwellTime': 0.0005}
    """
    values: dict[str, Any] = {}
    for key, text in given.items():
        if key not in GIVEN:
            raise InputError(f"--set {key}: is not understood; keys are {', '.join(GIVEN)}")
        if key == "ResonantNucleus":
            if not re.fullmatch(r"\d{1,3}[A-Z][a-z]?", str(text)):
                raise InputError(f"--set ResonantNucleus: {text!r} is not a nucleus such as 1H; correct it")
            values[key] = str(text)
            continue
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not (np.isfinite(number) and number >= 0) or (number == 0 and not key.endswith("ionTime")):
            raise InputError(f"--set {key}: {text!r} is not a positive number ({GIVEN[key]}); correct it")
        values[key] = number
    if "SpectralWidth" in values:
        dwell = 1 / values.pop("SpectralWidth")
        if not np.isclose(values.setdefault("DwellTime", dwell), dwell, rtol=1e-6):
            raise InputError("--set SpectralWidth: differs from 1 / DwellTime, which is given too; give one of them")
    return values


def _convert_one(raw: Raw, values: dict[str, Any], named: Path) -> Converted:
    if raw.format == "nifti":
        notes: list[str] = []
        return _finished(_read_nifti(raw.files[0], values, notes), {}, raw, values, notes)
    if raw.format in text_formats.READERS:
        notes = []
        scans = text_formats.read(raw.format, raw.files[0], values, notes)
    else:
        repairs.refuse_truncated(raw)
        with tempfile.TemporaryDirectory(prefix="mrsflow-") as folder:
            scans, notes = _run_spec2nii(raw, Path(folder), values, named)
            if raw.format == "philips_dcm":
                scans = philips.whole(raw.files, scans, notes)
    mains = {suffix: scan for suffix, scan in scans.items() if not re.search(r"ref|quant|ecc", suffix)}
    if len(mains) != 1:
        raise InputError(
            f"{named}: holds {len(mains)} scans ({', '.join(sorted(mains)) or 'only references'}) where one is "
            "needed; convert it with spec2nii by hand and name one of the NIfTI-MRS files"
        )
    references = {}
    for suffix, scan in scans.items():
        if suffix not in mains:
            references["conc" if re.search(r"quant|no_ovs", suffix) else "ecc"] = scan
    return _finished(next(iter(mains.values())), references, raw, values, notes)


def _read_nifti(path: Path, given: Mapping[str, Any], notes: list[str]) -> Scan:
    """NIfTI-MRS file; what its header lacks is taken from the BIDS sidecar beside it, which must not contradict it."""
    scan = _tagged(nifti_mrs.read(path, given), path, notes)
    sidecar = nifti_mrs.sidecar_of(path)
    stated = {"SpectralWidth": 1 / scan.dwell_time}
    content = read_json(sidecar) if sidecar.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{sidecar}: is no JSON object of keys and values; correct it, or take it away")
    content = _with_numbers(content, sidecar)
    for key in ("EchoTime", "RepetitionTime", "MixingTime", "SpectralWidth"):
        values = [v for v in (stated.get(key), scan.header.get(key), content.get(key)) if isinstance(v, int | float)]
        settled = {"SpectralWidth": "DwellTime"}.get(key, key) in given
        if not settled and any(not np.isclose(v, values[0], rtol=1e-3) for v in values[1:]):
            raise InputError(
                f"{path}: {key} is {' and '.join(f'{v:g}' for v in values)} in its header and its sidecar; give the "
                f"true one with --set {key}=VALUE"
            )
    scan = _timed(scan, notes)
    if "FrameOnset" not in scan.dimension_header("DIM_DYN") and "DIM_DYN" in scan.dims:
        onsets = nifti_mrs.stated_onsets(content, scan.size("DIM_DYN"), str(sidecar))
        scan = scan if onsets is None else scan.with_onsets(onsets)
    lacking = {k: content[k] for k in ("EchoTime", "RepetitionTime", "MixingTime", "Manufacturer") if k in content}
    return replace(scan, header={**lacking, **scan.header})


def _with_numbers(content: dict[str, Any], sidecar: Path) -> dict[str, Any]:
    """Sidecar whose times and counts are numbers: equal ones of a list as one, without null; others are refused."""
    made = {key: value for key, value in content.items() if value is not None}
    for key, whole in {"EchoTime": 0, "RepetitionTime": 0, "SpectralWidth": 0, "NumberOfTransients": 1,
                       "ExcitationsPerFrame": 1}.items():  # fmt: skip
        if key not in made:
            continue
        value = nifti_mrs.lone(made[key])
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf
        if not number or (whole and value != int(value)):
            raise InputError(
                f"{sidecar}: {key} is {made[key]!r}; one positive {'whole ' * whole}number is needed, correct it "
                "there, or take it out"
            )
        made[key] = value
    return made


def _timed(scan: Scan, notes: list[str]) -> Scan:
    """Scan whose frames begin when its dimension header says, whatever it calls that: rising numbers are seconds."""
    along = scan.dimension_header("DIM_DYN")
    named = {key: values for key, values in along.items() if re.search(TIME_NAMES, key, re.IGNORECASE)}
    own = named.get("FrameOnset", [])
    if not all(isinstance(time, int | float) and not isinstance(time, bool) and np.isfinite(time) for time in own):
        raise InputError(
            f"FrameOnset of the dimension header is {own!r:.60}; one time for each frame (s) is needed: correct it, or "
            "take it out if frames follow each other at once"
        )
    if not named or "FrameOnset" in named:
        return scan
    for key, values in named.items():
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == len(values) > 1 and np.all(np.diff(numbers) > 0):
            notes.append(f"frames begin at the times that {key} of its dimension header gives (s)")
            return scan.with_onsets(np.subtract(numbers, numbers[0]))
    notes.append(
        f"{' and '.join(named)} of its dimension header is not used, as its values are no increasing numbers; if it "
        "says when frames began, write the seconds since the first as FrameOnset"
    )
    return scan


def _tagged(scan: Scan, path: Path, notes: list[str]) -> Scan:
    """Scan whose dimensions each have a tag of their own, those of length one that have none left out."""
    tags = [scan.header.get(f"dim_{number}") for number in range(5, 5 + len(scan.dims))]
    kept = [i for i, n in enumerate(scan.fid.shape[:-1]) if n > 1 or (tags[i] and tags.count(tags[i]) == 1)]
    if len(kept) == 1 and tags[kept[0]] is None and not nifti_mrs.has_extension(path):
        lone = scan.with_data(scan.fid.reshape(scan.fid.shape[kept[0]], -1), ("DIM_DYN",))
        if checks.alike(lone, "DIM_DYN") > checks.LEAST_ALIKE:
            notes.append(f"the header extension is missing; dimension {kept[0] + 5} is taken as frames, which it holds")
            return lone
    tags = [tags[i] for i in kept]
    for i, tag in zip(kept, tags, strict=True):
        if tag is None or tags.count(tag) > 1:
            found = "has no tag" if tag is None else f"shares its tag {tag} with another"
            raise InputError(
                f"{path}: dimension {i + 5} {found} (dim_{i + 5}); write one of its own into the header, such as "
                "DIM_DYN for frames or DIM_COIL for coils"
            )
    return scan.with_data(scan.fid.reshape([scan.fid.shape[i] for i in kept] + [scan.n_points]), tuple(tags))


def _run_spec2nii(raw: Raw, folder: Path, values: dict[str, Any], named: Path) -> tuple[dict[str, Scan], list[str]]:
    """Convert in a private folder; gives the scans by suffix of the output's name, and notes."""
    notes: list[str] = []
    (folder / "out").mkdir()
    if raw.format == "ge" and ge.revision(raw.files[0]) in ge.OLD_DATA_START:
        notes.append("GE P-file of an old header revision, read by spec2nii's own mapper")
        ge.convert_old(raw.files[0], folder / "out")
    else:
        _call_spec2nii(_prepare(raw, folder, values, notes), raw, folder, named)
    files = sorted((folder / "out").glob("*.nii.gz"))
    if not files:
        raise InputError(
            f"{named}: spec2nii found no spectroscopy data in it; name the right file, or leave this scan out"
        )
    try:
        return {path.name.removesuffix(".nii.gz").removeprefix("scan"): _read_output(path) for path in files}, notes
    except InputError as error:
        raise InputError(str(error).replace(str(folder / "out"), str(named))) from None


def _call_spec2nii(options: dict[str, Any], raw: Raw, folder: Path, named: Path) -> None:
    from mrsflow.conversion.external import Spec2nii

    try:
        runtime = Spec2nii(**options).run(cwd=str(folder)).runtime
    except FileNotFoundError as error:
        raise InputError(f"spec2nii cannot be started ({error}); run `make env` again") from error
    except subprocess.TimeoutExpired:
        raise InputError(f"{named}: spec2nii does not come to an end; the file is damaged, copy it again") from None
    if os.strerror(errno.ENOSPC) in runtime.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))
    if runtime.returncode:
        raise InputError(f"{named}: {_reason(raw, runtime.stderr)}")
    if "unexpected read error" in runtime.stderr:
        raise InputError(f"{named}: ends in the middle of a scan (truncated); copy it from the scanner again")


def _read_output(path: Path) -> Scan:
    """Read what spec2nii wrote; an empty nucleus is left for `_finished` to settle."""
    import json

    import nibabel

    image = nibabel.load(path)
    header = json.loads(image.header.extensions[0].get_content())
    data = np.asarray(image.dataobj)
    if data.shape[:3] != (1, 1, 1):
        size = " x ".join(map(str, data.shape[:3]))
        raise InputError(f"{path.parent}: is spectroscopic imaging ({size} voxels); {ONE_VOXEL}")
    if image.header.get_xyzt_units() != ("mm", "sec"):
        raise InputError(
            f"{path.parent}: converted without units; convert it by other means and name the NIfTI-MRS file"
        )
    fid = np.moveaxis(data[0, 0, 0], 0, -1)
    dims = tuple(header.get(f"dim_{n}", f"DIM_USER_{n - 5}") for n in range(5, 5 + fid.ndim - 1))
    scan = Scan(fid, dims, float(image.header["pixdim"][4]), header, image.affine)
    kept = [i for i, n in enumerate(fid.shape[:-1]) if n > 1]
    return scan.with_data(fid.reshape([fid.shape[i] for i in kept] + [fid.shape[-1]]), tuple(dims[i] for i in kept))


def _reason(raw: Raw, stderr: str) -> str:
    """Say why spec2nii gave up, without repeating header values that it may have printed."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
    kind = re.match(r"[\w.]*?(\w+)(:|$)", last)
    name = kind.group(1) if kind else "no message"
    if name == "UnsupportedPulseSequenceError":
        sequence = re.search(r"sequence ([\w.+-]{1,24})", last)
        revision = ge.revision(raw.files[0])
        return (
            f"the GE pulse sequence {sequence.group(1) if sequence else ''!r} (header revision {revision}) is not one "
            "that spec2nii 0.8.15 reads; convert it by other means and name the NIfTI-MRS file"
        )
    if raw.format == "ge" and name in ("UnknownPfile", "UnknownPfileHdr"):
        return (
            f"GE header revision {ge.revision(raw.files[0])} is not one that spec2nii 0.8.15 reads (9, 11 to 31); "
            "convert it by other means and name the NIfTI-MRS file"
        )
    if raw.format == "twix" and name in ("IndexError", "ValueError", "EOFError", "AttributeError", "KeyError"):
        return f"the twix file is incomplete or holds no image scans (spec2nii: {name}); export it again"
    return (
        f"spec2nii 0.8.15 cannot read it as {raw.format} ({name}); it may be damaged or of an unknown variant: copy it "
        "again, correct column format of the samples table, or convert it by other means and name the NIfTI-MRS file"
    )


def _prepare(raw: Raw, folder: Path, values: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Lay out the input under names that say nothing, and choose the options of spec2nii."""
    source = folder / "in"
    source.mkdir()

    def symlink(path: Path, name: str) -> str:
        (source / name).symlink_to(path.resolve())
        return f"in/{name}"

    first = raw.files[0]
    simple = {"twix": ".dat", "ge": ".7"}
    options: dict[str, Any] = {"subcommand": raw.format}
    if raw.format in simple:
        options["in_files"] = [symlink(first, "scan" + simple[raw.format])]
    if raw.format == "twix":
        read = twix.readouts(first)
        if read is not None and len(read.varying()) > twix.MOST_COUNTERS:
            (source / "scan.dat").unlink()
            twix.write_counted(first, read.as_repetitions(), source / "scan.dat")
        options |= {"evalinfo": "image", "quiet": True}
        if measurements := twix.measurements(head_of(first, 8)):
            options["multiraid"] = measurements  # adjustments come first, the scan last
    elif raw.format == "philips_sdat":
        (source / "scan.spar").write_text(repairs.repaired_spar(raw.files[1], values, notes), encoding="utf-8")
        options |= {"subcommand": "philips", "in_files": [symlink(first, "scan.sdat"), "in/scan.spar"]}
    elif raw.format == "rda":
        (source / "scan.rda").write_bytes(repairs.repaired_rda(first, values, notes))
        options["in_files"] = ["in/scan.rda"]
    elif raw.format == "philips_dl":
        options["in_files"] = [symlink(path, "scan" + path.suffix.lower()) for path in raw.files]
    elif raw.format in ("dicom", "philips_dcm", "uih"):
        for number, path in enumerate(raw.files):
            symlink(path, f"{number:06d}.dcm")
        if raw.format != "uih":
            repairs.repair_dicom(source, raw.format, notes)
        options["in_files"] = ["in" if len(raw.files) > 1 else "in/000000.dcm"]
    elif raw.format == "bruker":
        for path in first.parent.iterdir():
            symlink(path, path.name)
        mode = "FID" if first.name == "fid" else "RAWDATA"
        options |= {"in_files": [f"in/{first.name}"], "mode": mode}
    elif raw.format == "varian":
        symlink(first, "fid")
        (source / "procpar").write_text(repairs.repaired_procpar(raw, values), encoding="latin-1")
        options["in_files"] = ["in"]
    return options


def _finished(scan: Scan, references: dict[str, Scan], raw: Raw, values: dict[str, Any], notes: list[str]) -> Converted:
    """Put right what spec2nii left wrong, set what was given, and part unsuppressed water that the format marks."""
    repair = repairs.REPAIRS.get(raw.format)
    notes, lead = list(notes), 0.0
    if repair:
        scan = repair(scan, raw, notes)
        references = {name: repair(reference, raw, notes) for name, reference in references.items()}
    if raw.format == "twix" and (read := twix.readouts(raw.files[0])) is not None:
        if len(names := read.varying()) > twix.MOST_COUNTERS:
            read = read.as_repetitions()
            notes.append(f"twix: {' and '.join(n for n in names if n in twix.REPEATS)} joined to one series")
        scan, found, lead = twix.in_time(scan, read, notes)
        references |= found
    elif raw.format in acquisition_start.DICOM and scan.size("DIM_DYN") > 1:
        if len(raw.files) == scan.size("DIM_DYN") and (times := repairs.times_of_files(raw.files)):
            scan = scan.with_values("DIM_DYN", **times)
        onsets = acquisition_start.onsets_of(raw)
        if onsets is not None and len(onsets) == scan.size("DIM_DYN"):
            scan = scan.with_onsets(onsets)
    whole = scan.size("DIM_DYN")
    scan = _without_empty_end(scan, notes)
    notes += _replaced(scan, values)
    field = repairs.field_strength(raw)
    scan, *waters = [_with_given(s, values) for s in (scan, *references.values())]
    for item in (scan, *waters):
        checks.refuse_implausible(item, str(raw.files[0]), field)
    references = dict(zip(references, waters, strict=True))
    n_frames = int(np.prod([n for dim, n in zip(scan.dims, scan.fid.shape, strict=False) if dim != "DIM_COIL"]))
    n_frames = n_frames * whole // scan.size("DIM_DYN")
    before = sum(reference.size("DIM_DYN") for reference in references.values()) if raw.format == "ge" else 0
    return Converted(
        scan,
        references,
        list(dict.fromkeys([*raw.notes, *notes])),
        acquisition_start.start_of(raw),
        excitations.stated(raw, n_frames),
        before,
        lead,
        whole - scan.size("DIM_DYN"),
        excitations.uneven(raw, n_frames),
    )


def _without_empty_end(scan: Scan, notes: list[str]) -> Scan:
    """Scan without the frames of zeros at its end, which files of scans have that were stopped early."""
    if "DIM_DYN" not in scan.dims or not np.any(scan.fid):
        return scan
    others = tuple(axis for axis in range(scan.fid.ndim) if axis != scan.dims.index("DIM_DYN"))
    filled = int(np.flatnonzero(np.any(scan.fid, axis=others))[-1]) + 1
    if filled == scan.size("DIM_DYN"):
        return scan
    notes.append(
        f"the last {scan.size('DIM_DYN') - filled} of {scan.size('DIM_DYN')} frames hold only zeros, as in a scan that "
        "was stopped early; they are left out"
    )
    return scan.selected("DIM_DYN", np.arange(filled))


def _replaced(scan: Scan, values: dict[str, Any]) -> list[str]:
    """Header values that differ from those given, in words."""
    header = {**scan.header, "DwellTime": scan.dwell_time}
    header |= {key: (header.get(key) or [None])[0] for key in ("SpectrometerFrequency", "ResonantNucleus")}
    differing = {k: v for k, v in values.items() if isinstance(v, float) and isinstance(header.get(k), float | int)}
    return [
        f"{key} {header[key]:g} {GIVEN[key]} of the header replaced by the {value:g} that was given"
        for key, value in differing.items()
        if not np.isclose(header[key], value, rtol=1e-3)
    ]


def _with_given(scan: Scan, values: dict[str, Any]) -> Scan:
    header = dict(scan.header)
    for key, value in values.items():
        if key in ("SpectrometerFrequency", "ResonantNucleus"):
            header[key] = [value]
        elif key != "DwellTime":
            header[key] = value
    dwell = values.get("DwellTime", scan.dwell_time)
    return replace(scan, header={**header, "SpectralWidth": 1 / dwell}, dwell_time=dwell)
