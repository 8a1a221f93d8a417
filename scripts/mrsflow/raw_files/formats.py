"""Which format raw files have, and which files belong to one scan."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrsflow.errors import InputError
from mrsflow.raw_files import ge

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True)
class Raw:
    """Raw data of one scan: its format, the files that belong to it, and what had to be settled to find them."""

    format: str
    files: list[Path]
    notes: tuple[str, ...] = ()


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
        refuse_unreadable(path)
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
    except (InputError, OSError):  # conversion will say what is wrong
        return list(paths)


def first_of(path: Path) -> Path:
    """One file of a folder of DICOM files, which says what all of them say; anything else as it is."""
    if not path.is_dir():
        return path
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size > 132)
    return next((file for file in files if _is_dicom(file)), path)


def refuse_unreadable(path: Path) -> None:
    """Refuse what is not there, empty, or closed to us, and say so."""
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder; put it there, or correct the path")
        elif not path.is_file():
            raise InputError(f"{path}: is neither a file nor a folder; name the raw file")
        elif path.stat().st_size == 0:
            raise InputError(f"{path}: is empty; copy it from the scanner again")
        else:
            with path.open("rb") as file:
                file.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable, or copy it again") from error


def head_of(path: Path, size: int = 4096) -> bytes:
    """First bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)


def _is_dicom(path: Path) -> bool:
    return head_of(path, 132)[128:] == b"DICM"


def _detect_file(path: Path) -> Raw:
    head, suffix = head_of(path), path.suffix.lower()
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
    if path.name in ("fid", "2dseq", "rawdata.job0"):
        return _bruker(path)
    if text.startswith("jMRUI Data Textfile") or suffix == ".mrui":
        return Raw("jmrui", [path])
    if "$BASIS" in text[:2000].upper():
        raise InputError(f"{path}: is a basis set, not a scan; name it under basis of its protocol")
    if re.search(r"[$&](NMID|SEQPAR)\b", text, re.IGNORECASE):
        return Raw("raw", [path])
    if ge.has_logo(head) or suffix == ".7":
        return Raw("ge", [path])
    if suffix == ".dat" or _is_twix(head):
        return Raw("twix", [path])
    if (
        re.match(r"(?:\s*[#%][^\n]*\n)*\s*[-+.\d][-+.\deE]*[\s,]+[-+.\d]", text)
        and text.isprintable() is False
        and "\0" not in text
    ):
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
        raise InputError(
            f"{path}: {many} beside it with the ending {suffix} (in any case); exactly one is needed: put it there"
        )
    refuse_unreadable(chosen[0])
    return chosen[0]


def _bruker(path: Path) -> Raw:
    if path.name == "2dseq":
        raise InputError(f"{path}: is a processed Bruker spectrum; name the fid or rawdata.job0 of the scan instead")
    needed = [path.parent / name for name in ("acqp", "method")]
    if missing := [p.name for p in needed if not p.is_file()]:
        raise InputError(f"{path}: a Bruker scan needs {' and '.join(missing)} beside it; copy the whole folder")
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
    headers = {path: _dicom_header(path) for path in files}
    series = {str(header.get("SeriesInstanceUID")) for header in headers.values()}
    if len(series) > 1 and len({_scan_of(header) for header in headers.values()}) > 1:
        numbers = sorted({str(header.get("SeriesNumber")) for header in headers.values()})
        raise InputError(
            f"{named}: holds {len(series)} DICOM series (series number {', '.join(numbers)}) of different protocols, "
            "numbers or voxels; name the files of one series, and give each other one a row of its own"
        )
    first = next(iter(headers.values()))
    maker = str(first.get("Manufacturer") or "").lower()
    formats = {"siemens": "dicom", "philips": "philips_dcm", "uih": "uih", "united": "uih"}
    known = [name for prefix, name in formats.items() if maker.startswith(prefix)]
    if not known:
        raise InputError(
            f"{named}: DICOM files whose Manufacturer is not Siemens, Philips or UIH cannot be read; "
            "convert them to NIfTI-MRS by other means and name that file"
        )
    numbers = [int(n) for header in headers.values() if (n := header.get("InstanceNumber")) is not None]
    notes = (
        [f"{len(series)} series UIDs in one scan: series number, protocol and voxel agree"] if len(series) > 1 else []
    )
    if len(set(numbers)) < len(files):
        _refuse_copies(files, named)
        ordered, by = _without_numbers(headers)
        if len(files) > 1:
            notes.append(f"DICOM files without an instance number of their own: in the order of their {by}")
        return Raw(known[0], ordered, tuple(notes))
    if len(set(np.diff(sorted(numbers)))) > 1:
        raise InputError(
            f"{named}: instances are missing between {min(numbers)} and {max(numbers)}; copy the whole series, or name "
            "the files of each whole stretch in a row of its own"
        )
    return Raw(known[0], sorted(files, key=lambda path: int(headers[path]["InstanceNumber"].value)), tuple(notes))


_SERIES = ("SeriesInstanceUID", "InstanceNumber", "Manufacturer", "SeriesNumber", "ProtocolName", "AcquisitionTime",
           "AcquisitionDateTime", "ContentTime", "ImagePositionPatient", "ImageOrientationPatient")  # fmt: skip
_VOXEL = r"(?:VoiPosition|VoiOrientation|VoiThickness|VoiReadoutFoV|VoiPhaseFoV)"


def _dicom_header(path: Path) -> "pydicom.Dataset":
    import pydicom

    try:
        header = pydicom.dcmread(path, specific_tags=list(_SERIES), stop_before_pixels=True)
        number = header.get("InstanceNumber")
        int(0 if number is None else number)
    except Exception as error:
        raise InputError(f"{path}: is a damaged DICOM file ({type(error).__name__}); copy it again") from error
    return header


def _scan_of(header: "pydicom.Dataset") -> tuple[str, ...]:
    """Give what files of one scan have in common, whatever their series is called: number, protocol and voxel."""
    import pydicom
    from nibabel.nicom import csareader

    place = [str(header.get(key)) for key in ("ImagePositionPatient", "ImageOrientationPatient")]
    content = pydicom.dcmread(header.filename, stop_before_pixels=True)
    image = csareader.get_csa_header(content, "image") or {"tags": {}}
    place += [str(tag["items"]) for name, tag in sorted(image["tags"].items()) if re.fullmatch(_VOXEL, name)]
    slabs = content.get("VolumeLocalizationSequence") or []
    place += [str((slab.get("MidSlabPosition"), slab.get("SlabThickness"))) for slab in slabs]
    return (str(header.get("SeriesNumber")), str(header.get("ProtocolName")), *place)


def _refuse_copies(files: list[Path], named: Path) -> None:
    """Refuse files whose content is the same; to delete one is safe then."""
    sizes = [path.stat().st_size for path in files]
    seen: dict[bytes, Path] = {}
    for path, size in zip(files, sizes, strict=True):
        if sizes.count(size) > 1:
            other = seen.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
            if other is not path:
                raise InputError(f"{named}: {path.name} and {other.name} are copies of each other; take one away")


def _without_numbers(headers: "dict[Path, pydicom.Dataset]") -> tuple[list[Path], str]:
    """DICOM files by the time of their acquisition where each has its own, else by their names."""
    names = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
    for name in names:
        times = [str(header.get(name) or "") for header in headers.values()]
        if all(times) and len(set(times)) == len(times):
            return sorted(headers, key=lambda path: str(headers[path].get(name))), "acquisition times"
    return sorted(headers, key=_natural), "file names"


def _natural(path: Path) -> list[tuple[int, str]]:
    """Key that sorts names with numbers in them by these: a2 before a10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
