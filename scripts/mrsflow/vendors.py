"""Scanner files in: which format a file has, how spec2nii is asked to convert it, and what is put right around it.

spec2nii 0.8.15 does the reading (Clarke et al., doi:10.1002/mrm.29418), as a program of its own, in a private
folder, on links whose names say nothing. What it gets wrong is corrected here from the file itself; what the file
does not say must be given (`GIVEN`).
"""

import logging
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import checks, nifti_mrs
from mrsflow.constants import GAMMA_1H
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

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

OLD_GE_DATA_START = {9: 61464}
"""First byte of the frames in P-files of header revisions that spec2nii does not open."""


@dataclass(frozen=True)
class Raw:
    """Raw data of one scan: its format and the files that belong to it."""

    format: str
    files: list[Path]


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
    """

    scan: Scan
    references: dict[str, Scan] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def detect(paths: list[Path]) -> list[Raw]:
    """Find the format of raw files by content first, extension second, and put the files of a scan together.

    Parameters
    ----------
    paths : list of Path
        A file, a folder of DICOM files, a Bruker or Varian folder, or several files.

    Raises
    ------
    InputError
        Nothing there, empty, of no known format, a partner is missing, or a folder holds several series.
    """
    for path in paths:
        _refuse_unreadable(path)
    dicom = [path for path in paths if path.is_file() and _is_dicom(path)]
    found = [_dicom_series(dicom, dicom[0])] if dicom else []
    for path in (p for p in paths if p not in dicom):
        raw = _detect_folder(path) if path.is_dir() else _detect_file(path)
        if raw.files not in [other.files for other in found]:
            found.append(raw)
    return found


def files_of(paths: list[Path]) -> list[Path]:
    """Every file whose content counts for a scan: those named, and partners; `paths` themselves where unreadable."""
    try:
        return sorted({file for raw in detect(paths) for file in raw.files})
    except InputError:
        return list(paths)


def _refuse_unreadable(path: Path) -> None:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder")
        elif not path.is_file():
            raise InputError(f"{path}: is neither a file nor a folder")
        elif path.stat().st_size == 0:
            raise InputError(f"{path}: is empty; copy it from the scanner again")
        else:
            with path.open("rb") as file:
                file.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _head(path: Path, size: int = 4096) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _is_dicom(path: Path) -> bool:
    return _head(path, 132)[128:] == b"DICM"


def _detect_file(path: Path) -> Raw:
    head, suffix = _head(path), path.suffix.lower()
    text = head.decode("latin-1")
    if suffix in (".spar", ".sdat"):
        return Raw("philips_sdat", [_partner(path, ".sdat"), _partner(path, ".spar")])
    if suffix in (".data", ".list"):
        return Raw("philips_dl", [_partner(path, s) for s in (".data", ".list", ".spar")])
    if suffix in (".nii", ".gz"):
        return Raw("nifti", [path])
    if text.startswith(">>> Begin of header <<<"):
        return Raw("rda", [path])
    if path.name in ("fid", "procpar") and (path.parent / "procpar").is_file():
        return Raw("varian", [path.parent / "fid", path.parent / "procpar"])
    if path.name in ("fid", "2dseq") or path.name.startswith("rawdata.job"):
        return _bruker(path)
    if text.startswith("jMRUI Data Textfile") or suffix == ".mrui":
        return Raw("jmrui", [path])
    if re.search(r"\$(NMID|SEQPAR)\b", text, re.IGNORECASE):
        return Raw("raw", [path])
    if b"GE_MED_NMR" in head[:64] or b"INVALIDNMR" in head[:64] or suffix == ".7":
        return Raw("ge", [path])
    if suffix == ".dat" or _is_twix(head):
        return Raw("twix", [path])
    if re.match(r"\s*[-+.\d][-+.\deE]*[\s,]+[-+.\d]", text) and text.isprintable() is False and "\0" not in text:
        return Raw("text", [path])
    raise InputError(
        f"{path}: is of no format that is known here (Siemens twix, RDA, DICOM; Philips SDAT/SPAR, DICOM; GE P-file; "
        "Bruker, Varian, jMRUI, LCModel RAW, text, NIfTI-MRS); convert it to NIfTI-MRS by other means, or name its "
        "format in column format of the samples table"
    )


def _is_twix(head: bytes) -> bool:
    first, second = np.frombuffer(head[:8].ljust(8, b"\0"), "<u4")
    multi_raid = first < 10_000 and 1 <= second <= 64 and len(head) >= 16
    return bool(multi_raid or (32 < first < 2**24 and head[8:].startswith(b"Config")))


def _partner(path: Path, suffix: str) -> Path:
    """Find the file of a pair with this suffix, in whatever case either is written."""
    if path.suffix.lower() == suffix:
        return path
    wanted = f"{path.stem}{suffix}".lower()
    near = [p for p in sorted(path.parent.iterdir()) if p.name.lower() == wanted and p.is_file()]
    exact = [p for p in near if p.stem == path.stem]
    chosen = exact if len(exact) == 1 else near
    if len(chosen) != 1:
        many = f"{len(chosen)} files" if chosen else "no file"
        raise InputError(f"{path}: {many} beside it with the ending {suffix} (in any case); exactly one is needed")
    _refuse_unreadable(chosen[0])
    return chosen[0]


def _bruker(path: Path) -> Raw:
    needed = [path.parent / name for name in ("acqp", "method")]
    if missing := [p.name for p in needed if not p.is_file()]:
        raise InputError(f"{path}: a Bruker scan needs {' and '.join(missing)} beside it")
    return Raw("bruker", [path, *needed])


def _detect_folder(folder: Path) -> Raw:
    if (folder / "procpar").is_file() and (folder / "fid").is_file():
        return Raw("varian", [folder / "fid", folder / "procpar"])
    if (folder / "method").is_file():
        for name in ("fid", "rawdata.job0"):
            if (folder / name).is_file():
                return _bruker(folder / name)
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size > 132 and _is_dicom(p)]
    if not files:
        raise InputError(f"{folder}: holds no DICOM files; name the raw file itself")
    return _dicom_series(files, folder)


def _dicom_series(files: list[Path], named: Path) -> Raw:
    """DICOM files of one series in the order of acquisition."""
    import pydicom

    numbered, series, maker = [], set(), ""
    for path in files:
        try:
            header = pydicom.dcmread(
                path, specific_tags=["SeriesInstanceUID", "InstanceNumber", "Manufacturer"], stop_before_pixels=True
            )
        except Exception as error:
            raise InputError(f"{path}: is a damaged DICOM file ({type(error).__name__}); copy it again") from error
        series.add(str(header.get("SeriesInstanceUID")))
        number = header.get("InstanceNumber")
        numbered.append((0 if number is None else int(number), path))
        maker = str(header.get("Manufacturer") or "")
    if len(series) > 1:
        raise InputError(f"{named}: holds {len(series)} DICOM series; name a folder or files of one series")
    if len({number for number, _ in numbered}) < len(numbered):
        raise InputError(f"{named}: two of its {len(files)} DICOM files have the same instance number; remove copies")
    formats = {"siemens": "dicom", "philips": "philips_dcm", "uih": "uih", "united": "uih"}
    known = [name for prefix, name in formats.items() if maker.lower().startswith(prefix)]
    if not known:
        raise InputError(
            f"{named}: DICOM files of manufacturer {maker[:20]!r} cannot be read; Siemens, Philips, UIH can"
        )
    return Raw(known[0], [path for _, path in sorted(numbered)])


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
    found = detect(list(paths)) if form is None else [Raw(form, _named(form, list(paths)))]
    parts = [_convert_one(raw, values, paths[0]) for raw in found]
    if len(parts) == 1:
        return parts[0]
    water = [checks.looks_like_water(part.scan) for part in parts]
    if water.count(False) != 1:
        raise InputError(
            f"{paths[0]}: {len(parts)} raw files were named for one scan and {water.count(True)} of them are "
            "unsuppressed water; name one scan and its water reference, or give each its own row"
        )
    scan = parts[water.index(False)]
    references = {
        **scan.references,
        **{f"ecc{n or ''}": p.scan for n, p in enumerate(p for p in parts if p is not scan)},
    }
    return Converted(scan.scan, references, [note for part in parts for note in part.notes])


def _named(form: str, paths: list[Path]) -> list[Path]:
    for path in paths:
        _refuse_unreadable(path)
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
                raise InputError(f"--set ResonantNucleus: {text!r} is not a nucleus such as 1H")
            values[key] = str(text)
            continue
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not (np.isfinite(number) and number >= 0) or (number == 0 and not key.endswith("ionTime")):
            raise InputError(f"--set {key}: {text!r} is not a positive number ({GIVEN[key]})")
        values[key] = number
    if "SpectralWidth" in values:
        dwell = 1 / values.pop("SpectralWidth")
        if not np.isclose(values.setdefault("DwellTime", dwell), dwell, rtol=1e-6):
            raise InputError("--set SpectralWidth: differs from 1 / DwellTime, which is given too; give one of them")
    return values


def _convert_one(raw: Raw, values: dict[str, Any], named: Path) -> Converted:
    if raw.format == "nifti":
        return _finished(_read_nifti(raw.files[0]), {}, raw, values, [])
    _refuse_truncated(raw)
    with tempfile.TemporaryDirectory(prefix="mrsflow-") as folder:
        scans, notes = _run_spec2nii(raw, Path(folder), values, named)
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


def _read_nifti(path: Path) -> Scan:
    """NIfTI-MRS file; what its header lacks is taken from the BIDS sidecar beside it."""
    scan = nifti_mrs.read(path)
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    if sidecar.is_file():
        from mrsflow.files import read_json

        content = read_json(sidecar)
        lacking = {k: content[k] for k in ("EchoTime", "RepetitionTime", "MixingTime", "Manufacturer") if k in content}
        scan = replace(scan, header={**lacking, **scan.header})
    return scan


def _run_spec2nii(raw: Raw, folder: Path, values: dict[str, Any], named: Path) -> tuple[dict[str, Scan], list[str]]:
    """Convert in a private folder; gives the scans by suffix of the output's name, and notes."""
    notes: list[str] = []
    if raw.format == "ge" and (revision := _ge_revision(raw.files[0])) in OLD_GE_DATA_START:
        notes.append(f"GE header revision {revision} read through spec2nii's own structures")
        return _read_old_ge(raw.files[0], folder, OLD_GE_DATA_START[revision]), notes
    for options in _prepare(raw, folder, values, notes):
        _call_spec2nii(options, raw, folder, named)
    files = sorted((folder / "out").glob("*.nii.gz"))
    if not files:
        raise InputError(f"{named}: spec2nii found no spectroscopy data in it ({raw.format})")
    try:
        return {path.name.removesuffix(".nii.gz").removeprefix("scan"): _read_output(path) for path in files}, notes
    except InputError as error:
        raise InputError(str(error).replace(str(folder / "out"), str(named))) from None


def _call_spec2nii(options: dict[str, Any], raw: Raw, folder: Path, named: Path) -> None:
    from mrsflow.external import Spec2nii

    try:
        runtime = Spec2nii(**options).run(cwd=str(folder)).runtime
    except subprocess.TimeoutExpired:
        limit = Spec2nii.time_limit
        raise InputError(f"{named}: conversion did not end within {limit:.0f} s; is it complete?") from None
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
        raise InputError(f"{path.parent}: is spectroscopic imaging ({size} voxels); single-voxel data are needed")
    if image.header.get_xyzt_units() != ("mm", "sec"):
        raise InputError(f"{path.parent}: converted without units of space and time")
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
        revision = _ge_revision(raw.files[0])
        return (
            f"the GE pulse sequence {sequence.group(1) if sequence else ''!r} (header revision {revision}) is not one that "
            "spec2nii 0.8.15 reads; convert it by other means and name the NIfTI-MRS file"
        )
    if raw.format == "ge" and name in ("UnknownPfile", "UnknownPfileHdr"):
        return (
            f"GE header revision {_ge_revision(raw.files[0])} is not one that spec2nii 0.8.15 reads (9, 11 to 31); "
            "convert it by other means and name the NIfTI-MRS file"
        )
    if raw.format == "twix" and name in ("IndexError", "ValueError", "EOFError", "AttributeError", "KeyError"):
        return f"the twix file is incomplete or holds no image scans (spec2nii: {name}); export it again"
    return (
        f"spec2nii 0.8.15 cannot read it as {raw.format} ({name}); it may be damaged or of an unknown variant: copy it "
        "again, correct column format, or convert it by other means and name the NIfTI-MRS file"
    )


def _prepare(raw: Raw, folder: Path, values: dict[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    """Lay out the input under names that say nothing, and choose the options of spec2nii for each call."""
    source = folder / "in"
    source.mkdir()

    def link(path: Path, name: str) -> str:
        (source / name).symlink_to(path.resolve())
        return f"in/{name}"

    first = raw.files[0]
    simple = {"twix": ".dat", "rda": ".rda", "ge": ".7", "raw": ".raw"}
    options: dict[str, Any] = {"subcommand": raw.format}
    if raw.format in simple:
        options["in_files"] = [link(first, "scan" + simple[raw.format])]
    if raw.format == "twix":
        options |= {"evalinfo": "image", "quiet": True}
    elif raw.format == "philips_sdat":
        (source / "scan.spar").write_bytes(_mended_spar(raw.files[1], notes))
        options |= {"subcommand": "philips", "in_files": [link(first, "scan.sdat"), "in/scan.spar"]}
    elif raw.format == "philips_dl":
        options["in_files"] = [link(path, "scan" + path.suffix.lower()) for path in raw.files]
    elif raw.format in ("dicom", "philips_dcm", "uih"):
        for number, path in enumerate(raw.files):
            link(path, f"{number:06d}.dcm")
        if raw.format == "philips_dcm":
            _mend_philips_dicom(source, notes)
        options["in_files"] = ["in" if len(raw.files) > 1 else "in/000000.dcm"]
    elif raw.format == "bruker":
        for path in first.parent.iterdir():
            link(path, path.name)
        mode = "FID" if first.name == "fid" else "2DSEQ" if first.name == "2dseq" else "RAWDATA"
        options |= {"in_files": [f"in/{first.name}"], "mode": mode}
    elif raw.format == "varian":
        link(first, "fid")
        (source / "procpar").write_text(_mended_procpar(raw.files[1]), encoding="latin-1")
        options["in_files"] = ["in"]
    elif raw.format == "jmrui":
        options["in_files"] = [link(first, "scan.mrui" if first.suffix.lower() == ".mrui" else "scan.txt")]
    elif raw.format in ("text", "raw"):
        frequency, dwell, nucleus = _needed_by_text(raw, values)
        options |= {"frequency": frequency, "bandwidth": 1 / dwell, "nucleus": nucleus}
        options |= {"override_frequency": frequency, "override_dwelltime": dwell}
        if raw.format == "text":
            return [options | columns for columns in _split_columns(first, source)]
    return [options]


def _needed_by_text(raw: Raw, values: dict[str, Any]) -> tuple[float, float, str]:
    """Frequency (MHz), dwell time (s) and nucleus, which plain numbers do not carry."""
    head = _head(raw.files[0]).decode("latin-1")
    known = dict(values)
    if raw.format == "raw":
        for key, names in (("SpectrometerFrequency", "hzpppm"), ("DwellTime", "deltat|dwelltime|badelt")):
            stated = re.search(rf"(?:{names})\s*=\s*([-+.\deE]+)", head, re.IGNORECASE)
            if stated:
                known.setdefault(key, float(stated.group(1)))
    for key, column in (("SpectrometerFrequency", "spectrometer_frequency_mhz"), ("DwellTime", "dwell_time_s")):
        if key not in known:
            raise InputError(
                f"{raw.files[0]}: a {raw.format} file does not say its {key} ({GIVEN[key]}); give it with --set {key}=VALUE "
                f"or in column {column} of the samples table"
            )
    return known["SpectrometerFrequency"], known["DwellTime"], known.get("ResonantNucleus", "1H")


def _split_columns(path: Path, source: Path) -> list[dict[str, Any]]:
    """Write pairs of columns to files of their own: real and imaginary part, then those of the water reference."""
    try:
        table = np.loadtxt(path, ndmin=2, delimiter="," if "," in _head(path, 200).decode("latin-1") else None)
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{path}: is not a table of numbers with as many columns in every line") from None
    if table.shape[1] not in (2, 4) or not np.all(np.isfinite(table)):
        raise InputError(
            f"{path}: has {table.shape[1]} columns; two are needed (real, imaginary), or four with those of the "
            "water reference, all finite"
        )
    calls = []
    for number, suffix in enumerate(("", "_ref")[: table.shape[1] // 2]):
        np.savetxt(source / f"scan{suffix}.txt", table[:, 2 * number : 2 * number + 2], fmt="%.17g")
        calls.append({"in_files": [f"in/scan{suffix}.txt"], "out_name": f"scan{suffix}"})
    return calls


def _mended_spar(path: Path, notes: list[str]) -> bytes:
    """Text of a SPAR file with the key that spec2nii needs and that old exports lack."""
    content = path.read_bytes()
    if b"spectrum_inversion_time" not in content:
        notes.append("SPAR without spectrum_inversion_time read as an acquisition without inversion")
        content = content.rstrip(b"\r\n\x1a") + b"\nspectrum_inversion_time : 0\n"
    return content


def _mend_philips_dicom(source: Path, notes: list[str]) -> None:
    """Give spec2nii the three slabs it asks for where a file names fewer: size and place of the voxel are unknown."""
    import pydicom
    from pydicom.dataset import Dataset

    for path in sorted(source.iterdir()):
        content = pydicom.dcmread(path)
        slabs = content.get("VolumeLocalizationSequence")
        if slabs is None or len(slabs) >= 3:
            continue
        slabs.clear()
        for direction in np.eye(3).tolist():
            slab = Dataset()
            slab.SlabThickness, slab.SlabOrientation, slab.MidSlabPosition = 10_000.0, direction, [0.0, 0.0, 0.0]
            slabs.append(slab)
        path.unlink()
        content.save_as(path)
        notes.append("fewer than three localisation slabs: size and position of the voxel are unknown")


def _mended_procpar(path: Path) -> str:
    """Varian parameters under a neutral sequence name: spec2nii's reading of PRESS and STEAM voxels always fails."""
    text = path.read_text(encoding="latin-1")
    return re.sub(r'(?m)^(seqfil .*\n1 )".*"', r'\1"svs"', text)


def _procpar_values(path: Path, *names: str) -> dict[str, str]:
    text = path.read_text(encoding="latin-1")
    found = {}
    for name in names:
        if match := re.search(rf'(?m)^{name} .*\n\d+ "?([^"\n]*?)"?\s*$', text):
            found[name] = match.group(1)
    return found


def _refuse_truncated(raw: Raw) -> None:
    """Refuse a file that is shorter than its own header says; spec2nii takes some of these as they are."""
    path = raw.files[0]
    size = path.stat().st_size
    expected = None
    if raw.format == "philips_sdat":
        spar = raw.files[1].read_bytes().decode("latin-1")
        numbers = [re.search(rf"(?m)^{key}\s*:\s*(\d+)", spar) for key in ("samples", "rows")]
        expected = 8 * int(numbers[0].group(1)) * int(numbers[1].group(1)) if all(numbers) else None
    elif raw.format == "rda":
        content = path.read_bytes()
        end = re.search(rb">>> End of header <<<\r?\n", content)
        keys = [rb"VectorSize", *(rb"CSIMatrixSize\[%d\]" % i for i in range(3))]
        sizes = [re.search(rb"(?m)^%s:\s*(\d+)" % key, content) for key in keys]
        if end and all(sizes):
            expected = end.end() + 16 * int(np.prod([int(s.group(1)) for s in sizes]))
    elif raw.format == "varian":
        blocks, _, _, _, _, block_bytes = np.frombuffer(_head(path, 32)[:24].ljust(24, b"\0"), ">i4")
        expected = 32 + int(blocks) * int(block_bytes)
    elif raw.format == "jmrui":
        text = path.read_bytes().decode("latin-1")
        stated = [re.search(rf"(?m)^{key}:\s*(\d+)", text) for key in ("PointsInDataset", "DatasetsInFile")]
        if all(stated):
            expected = int(stated[0].group(1)) * int(stated[1].group(1))
            size = len(re.findall(r"(?m)^\s*[-+\d.][-+\d.eE]*\s+[-+\d.]\S*", text))
    elif raw.format == "ge":
        header = ge_header(path)
        if header is not None:
            start = getattr(header, "rhr_rdb_hdr_off_data", None) or OLD_GE_DATA_START.get(_ge_revision(path), 0)
            expected = start + header.rhr_rh_raw_pass_size
    if expected is not None and size < expected:
        raise InputError(
            f"{path}: is truncated, {size} of {expected} {'lines of data' if raw.format == 'jmrui' else 'bytes'} are "
            "there; copy it from the scanner again"
        )


def _ge_revision(path: Path) -> int:
    """Major revision of a P-file's header, 0 where it cannot be one."""
    head = _head(path, 4).ljust(4, b"\0")
    revisions = [float(np.frombuffer(head, order + "f4")[0]) for order in "<>"]
    return next((int(r) for r in revisions if 5 <= r < 100), 0)


def ge_header(path: Path) -> Any:
    """Header of a P-file in the layout that spec2nii knows for its revision, None where it knows none."""
    import ctypes

    from spec2nii.GE.ge_hdr_fields import UnknownPfileHdr, get_pfile_hdr_fields

    revision = np.frombuffer(_head(path, 4).ljust(4, b"\0"), "<f4")[0]
    try:
        fields = get_pfile_hdr_fields(float(revision))
    except (UnknownPfileHdr, ValueError, OverflowError):
        return None
    names = [f"pad_{i}" if name == "pad_xx" else name for i, (name, _) in enumerate(fields)]
    kinds = [kind for _, kind in fields]
    layout = type(
        "Header", (ctypes.LittleEndianStructure,), {"_pack_": 1, "_fields_": list(zip(names, kinds, strict=True))}
    )
    size = ctypes.sizeof(layout)
    return layout.from_buffer_copy(_head(path, size).ljust(size, b"\0"))


def _read_old_ge(path: Path, folder: Path, data_start: int) -> dict[str, Scan]:
    """Read a P-file of an old revision by spec2nii's own mapper, past its check and its missing data offset."""
    from spec2nii.GE import ge_pfile
    from spec2nii.GE.ge_read_pfile import Pfile

    class OldPfile(Pfile):
        is_ge_file = True

        def read_header(self) -> None:
            super().read_header()
            self.hdr.rhr_rdb_hdr_off_data = data_start

    try:
        images, suffixes = ge_pfile._process_svs_pfile(OldPfile(str(path)))
        for image, suffix in zip(images, suffixes, strict=True):
            image.save(folder / f"scan{suffix}.nii.gz")
    except Exception as error:
        raise InputError(
            f"{path}: the old GE P-file cannot be read ({type(error).__name__}); is it complete?"
        ) from error
    return {p.name.removesuffix(".nii.gz").removeprefix("scan"): _read_output(p) for p in folder.glob("*.nii.gz")}


def _finished(scan: Scan, references: dict[str, Scan], raw: Raw, values: dict[str, Any], notes: list[str]) -> Converted:
    """Put right what spec2nii left wrong, set what was given, and part unsuppressed water that the format marks."""
    mend = _MENDERS.get(raw.format)
    notes = list(notes)
    if mend:
        scan = mend(scan, raw, notes)
        references = {name: mend(reference, raw, notes) for name, reference in references.items()}
    if raw.format == "twix" and scan.dims[-1:] == ("DIM_USER_0",):
        scan, references = _split_reference_phase(scan, raw, notes)
    scan, *waters = [_with_given(s, values) for s in (scan, *references.values())]
    for item in (scan, *waters):
        checks.refuse_implausible(item, str(raw.files[0]))
    return Converted(scan, dict(zip(references, waters, strict=True)), list(dict.fromkeys(notes)))


def _with_given(scan: Scan, values: dict[str, Any]) -> Scan:
    header = dict(scan.header)
    for key, value in values.items():
        if key in ("SpectrometerFrequency", "ResonantNucleus"):
            header[key] = [value]
        elif key != "DwellTime":
            header[key] = value
    dwell = values.get("DwellTime", scan.dwell_time)
    return replace(scan, header={**header, "SpectralWidth": 1 / dwell}, dwell_time=dwell)


def _with_header(scan: Scan, **values: Any) -> Scan:
    return replace(scan, header={**scan.header, **values})


def _mend_philips_sdat(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Inversion time is in ms in the SPAR file and is copied as if it were s."""
    if scan.header.get("InversionTime"):
        return _with_header(scan, InversionTime=scan.header["InversionTime"] * 1e-3)
    return scan


def _mend_varian(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Echo and mixing time are parameters te and tm (s); spec2nii takes a pulse length for the echo time."""
    if len(scan.dims) > 1:
        raise InputError(f"{raw.files[0]}: Varian data with several receivers and several frames cannot be told apart")
    stated = _procpar_values(raw.files[1], "te", "tr", "tm", "seqfil")
    header = {k: v for k, v in scan.header.items() if k != "EchoTime"}
    for name, key in (("te", "EchoTime"), ("tr", "RepetitionTime"), ("tm", "MixingTime")):
        if name in stated:
            header[key] = float(stated[name])
    notes.append("Varian: echo time from parameter te; position of the voxel is unknown")
    return replace(scan, header=header)


def _mend_jmrui(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Frequency may be in Hz; an empty nucleus is 1H where frequency and field of the header say so."""
    frequency = float(scan.header["SpectrometerFrequency"][0])
    frequency = frequency / 1e6 if frequency > 1e5 else frequency
    nucleus = str(scan.header["ResonantNucleus"][0] or "")
    if not nucleus.strip():
        text = raw.files[0].read_bytes()[:4096].decode("latin-1")
        field_strength = re.search(r"(?m)^MagneticField:\s*([\d.eE+-]+)", text)
        ratio = frequency / float(field_strength.group(1)) if field_strength and float(field_strength.group(1)) else 0
        nucleus = "1H" if abs(ratio / GAMMA_1H - 1) < 0.02 else ""
        notes.append("jMRUI: empty nucleus; frequency and field of the header agree with 1H" if nucleus else "")
    dims = tuple("DIM_DYN" if d == "DIM_USER_0" else d for d in scan.dims)
    scan = Scan(scan.fid, scan.dims, scan.dwell_time, scan.header, scan.affine)
    scan = replace(scan.with_data(scan.fid, dims), dims=dims)
    return _with_header(scan, SpectrometerFrequency=[frequency], ResonantNucleus=[nucleus])


def _mend_siemens_dicom(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Some research sequences write a nonsense echo time; the protocol in the same file has the right one (us)."""
    stated = scan.header.get("EchoTime")
    if stated is not None and checks.plausible("EchoTime", stated):
        return scan
    protocol = re.search(rb"alTE\[0\]\s*=\s*(\d+)", raw.files[0].read_bytes())
    if protocol and checks.plausible("EchoTime", int(protocol.group(1)) * 1e-6):
        notes.append("Siemens DICOM: implausible echo time replaced by alTE[0] of the protocol in the same file")
        return _with_header(scan, EchoTime=int(protocol.group(1)) * 1e-6)
    return scan


def _mend_raw(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """spec2nii conjugates RAW files; whether they need it differs, and the side of the metabolites tells."""
    side = checks.metabolite_side(scan)
    if side == 0:  # water: its partner tells, else what LCModel's own files need
        for other in raw.files[0].parent.iterdir():
            if other != raw.files[0] and other.stem == raw.files[0].stem and other.suffix.lower() == ".raw":
                numbers = re.sub(rb"(?s)^.*?\$END[^\n]*\n", b"", other.read_bytes())
                values = np.array(numbers.split(), float)
                fid = (values[0::2] - 1j * values[1::2])[: scan.n_points]
                side = checks.metabolite_side(replace(scan, fid=fid, dims=()))
    if side > 0:
        return scan
    notes.append("LCModel RAW: stored in the sense of NIfTI-MRS, not conjugated")
    return replace(scan, fid=scan.fid.conj())


_MENDERS: dict[str, Callable[[Scan, Raw, list[str]], Scan]] = {
    "philips_sdat": _mend_philips_sdat,
    "varian": _mend_varian,
    "jmrui": _mend_jmrui,
    "dicom": _mend_siemens_dicom,
    "raw": _mend_raw,
}


def _split_reference_phase(scan: Scan, raw: Raw, notes: list[str]) -> tuple[Scan, dict[str, Scan]]:
    """Siemens svs_se stores its unsuppressed reference as the first of two phases."""
    first, second = (scan.with_data(scan.fid[..., i, :], scan.dims[:-1]) for i in (0, 1))
    strength = [float(np.linalg.norm(s.fid[..., : s.n_points // 8])) for s in (first, second)]
    if scan.size("DIM_USER_0") != 2 or strength[0] < 3 * strength[1]:
        raise InputError(
            f"{raw.files[0]}: has a dimension of {scan.size('DIM_USER_0')} beside coils that is not understood; convert it "
            "with spec2nii by hand (options -d5, -t5) and name the NIfTI-MRS file"
        )
    notes.append("twix: the first phase is the unsuppressed water reference")
    return second, {"ecc": first}
