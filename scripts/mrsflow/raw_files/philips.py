"""Philips DICOM files that hold several FIDs: all of them, and which are unsuppressed water.

spec2nii knows one FID, one with its water reference, and edited scans; of others it takes one FID, or all for one
long FID. The private part of each frame says whether it is the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrsflow.nifti_mrs import Scan

if TYPE_CHECKING:
    import pydicom

OLD_STORAGE = "1.3.46.670589.11.0.0.12.1"
"""SOP class of files of the private kind, without frames of their own."""
FRAMES, IS_WATER, SAMPLES, EDITED, OLD_DATA, AVERAGES = (
    (0x2005, 0x140F), (0x2005, 0x1304), (0x2005, 0x1315), (0x2005, 0x1597), (0x2005, 0x1270), (0x2001, 0x1088)
)  # fmt: skip

PHASES = (
    "SpectroscopyAcquisitionPhaseRows", "SpectroscopyAcquisitionPhaseColumns",
    "SpectroscopyAcquisitionOutOfPlanePhaseSteps",
)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """FIDs of a file in their order, in the sense of NIfTI-MRS.

    Attributes
    ----------
    fids : (n, n_points) complex
    water : (n,) bool
        Unsuppressed; of a file of water alone nothing is.
    """

    fids: NDArray[np.complexfloating]
    water: NDArray[np.bool_]


def stored(content: "pydicom.Dataset") -> Stored | None:
    """FIDs of a Philips DICOM file; None where spec2nii parts them (edited), or they are no whole number of FIDs."""
    data = _value(content, OLD_DATA) if _is_old(content) else content.get("SpectroscopyData")
    n_points = points(content)
    if not isinstance(data, bytes) or not n_points or _value(content, EDITED) == "Y":
        return None
    numbers = np.frombuffer(data, "<f4")
    if numbers.size == 0 or numbers.size % (2 * n_points):
        return None
    fids = (numbers[0::2] - 1j * numbers[1::2]).reshape(-1, n_points)
    marks = [bool(_value(frame, IS_WATER)) for frame in _value(content, FRAMES) or []]
    if len(marks) != len(fids):  # anonymised: a scan and its reference follow each other, more cannot be told
        marks = [False] * len(fids)
        marks[-1] = len(fids) == 2 and content.get("WaterReferencedPhaseCorrection") == "YES"
    return Stored(fids, np.array(marks) & ~np.all(marks))


def stored_in(files: list[Path]) -> Stored | None:
    """FIDs of all files of a scan, one after the other; None where one of them cannot tell."""
    import pydicom

    found = [stored(pydicom.dcmread(path)) for path in files]
    if None in found or len({each.fids.shape[1] for each in found}) > 1:
        return None
    return Stored(*(np.concatenate([getattr(each, name) for each in found]) for name in ("fids", "water")))


def whole(files: list[Path], scans: Mapping[str, Scan], notes: list[str]) -> dict[str, Scan]:
    """Scan and water reference with all of their FIDs, from what spec2nii made of a reduced file.

    Parameters
    ----------
    files : list of Path
    scans : mapping of str to Scan
        The scan under ``""``, its reference under ``_ref``.
    notes : list of str
        What was found is added.
    """
    found = stored_in(files)
    if found is None or "" not in scans:
        return dict(scans)
    made = {"": _series(scans[""], found.fids[~found.water])}
    if found.water.any():
        made["_ref"] = _series(scans.get("_ref", scans[""]), found.fids[found.water])
    if np.sum(~found.water) > len(files):
        notes.append(f"Philips DICOM: {len(found.fids)} FIDs, {np.sum(found.water)} of them unsuppressed water")
    return made


def _series(scan: Scan, fids: NDArray) -> Scan:
    return scan.with_data(fids, ("DIM_DYN",)) if len(fids) > 1 else scan.with_data(fids[0], ())


def reduce(content: "pydicom.Dataset", found: Stored) -> None:
    """Leave of a file of several FIDs what spec2nii reads: one, with one of water where it has that."""
    kept = [found.fids[~found.water][0], *found.fids[found.water][:1]]
    data = np.stack(kept).conj().astype("<c8").tobytes()
    if _is_old(content):
        content[OLD_DATA].value = data
        return
    content.SpectroscopyData = data
    content.NumberOfFrames = len(kept)
    content.SpectroscopyAcquisitionDataColumns = found.fids.shape[1]
    content.WaterReferencedPhaseCorrection = "YES" if len(kept) > 1 else "NO"


def averages(path: Path) -> object:
    """Averages that the private part of a file states; the standard's tag is 1 there for a sum of many too."""
    import pydicom

    return _value(pydicom.dcmread(path, stop_before_pixels=True), AVERAGES)


def points(content: "pydicom.Dataset") -> int | None:
    """Points of each FID; the private kind of file keeps the number in its private part."""
    inner = _value(content, FRAMES) or [{}]
    names = ("DataPointColumns", "SpectroscopyAcquisitionDataColumns")
    values = [part.get(name) for part in (content, inner[0]) for name in names]
    return next((int(value) for value in [*values, _value(inner[0], SAMPLES)] if value), None)


def is_imaging(content: "pydicom.Dataset") -> bool:
    """Whether a file holds several voxels, which some layouts store as frames."""
    parts = [content, *(_value(content, FRAMES) or [])[:1]]
    counts = [part.get(name) or 1 for part in parts for name in PHASES]
    return content.get("MRSpectroscopyAcquisitionType") in ("ROW", "PLANE", "VOLUME") or max(map(int, counts)) > 1


def _is_old(content: "pydicom.Dataset") -> bool:
    return str(content.get("SOPClassUID")) == OLD_STORAGE


def _value(content: "pydicom.Dataset", tag: tuple[int, int]) -> object:
    return content[tag].value if tag in content else None
