"""How many excitations the scanner averaged into each stored frame, as far as the raw file says."""

from pathlib import Path
from typing import Any

from mrsflow import nifti_mrs
from mrsflow.conversion import repairs
from mrsflow.files import read_json
from mrsflow.raw_files import ge, philips
from mrsflow.raw_files.formats import Raw


def stated(raw: Raw, n_frames: int) -> tuple[int, ...]:
    """Excitations per stored frame that a raw file allows: one number, two where a total cannot be told, or none.

    Parameters
    ----------
    raw : Raw
    n_frames : int
        Stored frames. Where a header gives averages beside several frames, scanners mean those of each frame or those
        of all of them.

    >>> stated(Raw("text", [Path("a.txt")]), 1)
    ()
    """
    reader = {
        "philips_sdat": lambda: repairs.spar_value(raw.files[1], "averages"),
        "rda": lambda: repairs.rda_value(raw.files[0], "NumberOfAverages"),
        "ge": lambda: getattr(ge.header(raw.files[0]), "rhi_nex", None),
        "dicom": lambda: _dicom(raw.files[0]),
        "philips_dcm": lambda: philips.averages(raw.files[0]) or _dicom(raw.files[0]),
        "uih": lambda: _dicom(raw.files[0]),
        "nifti": lambda: _sidecar(raw.files[0], n_frames),
    }.get(raw.format)
    try:
        number = float(reader() or 0) if reader else 0.0
    except (TypeError, ValueError):
        return ()
    if (
        number < 1 or number != int(number) or (raw.format == "philips_dcm" and number == 1)
    ):  # 1: also for a sum of many
        return ()
    total = int(number)
    if raw.format in ("ge", "nifti") or n_frames == 1 or total % n_frames:
        return (total,)
    return tuple(dict.fromkeys((total, total // n_frames)))


def _dicom(path: Path) -> object:
    """Averages that a DICOM header states: the private part of Siemens files, or the standard's tag wherever it is."""
    import pydicom
    from nibabel.nicom import csareader

    header = pydicom.dcmread(path, stop_before_pixels=True)
    image = csareader.get_csa_header(header, "image")
    if image and (items := image["tags"].get("NumberOfAverages", {}).get("items")):
        return items[0]
    return next((e.value for e in header.iterall() if e.keyword == "NumberOfAverages"), None)


def _sidecar(path: Path, n_frames: int) -> float | None:
    """Excitations of each frame that a BIDS sidecar gives, or its number of transients shared out among the frames."""
    own, total = _in_sidecar(path)
    return own if own else total / n_frames if isinstance(total, int | float) and total % n_frames == 0 else None


def uneven(raw: Raw, n_frames: int) -> int | None:
    """Transients that a BIDS sidecar gives, where the frames cannot share them out evenly; None where they can."""
    own, total = _in_sidecar(raw.files[0]) if raw.format == "nifti" else (None, None)
    given = not own and isinstance(total, int | float) and total > 0
    return int(total) if given and total % n_frames else None


def _in_sidecar(path: Path) -> tuple[Any, Any]:
    sidecar = nifti_mrs.sidecar_of(path)
    content = read_json(sidecar) if sidecar.is_file() else {}
    return nifti_mrs.lone(content.get("ExcitationsPerFrame")), nifti_mrs.lone(content.get("NumberOfTransients"))
