"""Which format raw files have, and which files belong to one scan."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrsflow.conversion import ge
from mrsflow.errors import InputError


@dataclass(frozen=True)
class Raw:
    """Raw data of one scan: its format and the files that belong to it."""

    format: str
    files: list[Path]


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


def refuse_unreadable(path: Path) -> None:
    """Refuse what is not there, empty, or closed to us, and say so."""
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
        raise InputError(f"{path}: {many} beside it with the ending {suffix} (in any case); exactly one is needed")
    refuse_unreadable(chosen[0])
    return chosen[0]


def _bruker(path: Path) -> Raw:
    if path.name == "2dseq":
        raise InputError(f"{path}: is a processed Bruker spectrum; name the fid or rawdata.job0 of the scan instead")
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
            number = header.get("InstanceNumber")
            numbered.append((0 if number is None else int(number), path))
            series.add(str(header.get("SeriesInstanceUID")))
            maker = str(header.get("Manufacturer") or "")
        except Exception as error:
            raise InputError(f"{path}: is a damaged DICOM file ({type(error).__name__}); copy it again") from error
    if len(series) > 1:
        raise InputError(f"{named}: holds {len(series)} DICOM series; name a folder or files of one series")
    if len({number for number, _ in numbered}) < len(numbered):
        raise InputError(f"{named}: two of its {len(files)} DICOM files have the same instance number; remove copies")
    numbers = sorted(number for number, _ in numbered)
    if len(set(np.diff(numbers))) > 1:
        raise InputError(
            f"{named}: instances are missing between {numbers[0]} and {numbers[-1]}; copy the whole series"
        )
    formats = {"siemens": "dicom", "philips": "philips_dcm", "uih": "uih", "united": "uih"}
    known = [name for prefix, name in formats.items() if maker.lower().startswith(prefix)]
    if not known:
        raise InputError(f"{named}: DICOM files whose Manufacturer is not Siemens, Philips or UIH cannot be read")
    return Raw(known[0], [path for _, path in sorted(numbered)])
