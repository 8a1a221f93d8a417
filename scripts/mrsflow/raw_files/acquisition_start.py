"""When a scan and its frames were measured, where the raw file says it beyond doubt: clock times, never a date.

Siemens twix stamps each readout with its time since midnight; the DICOM standard defines ``AcquisitionDateTime`` as the
start. Other headers hold times whose meaning differs between scanners (end of the scan, of the export, minutes only);
there the samples table must say. From file to file of a DICOM series they still tell how far apart frames are.
"""

import re
from pathlib import Path

from mrsflow.raw_files import philips, twix
from mrsflow.raw_files.formats import Raw

DICOM = ("dicom", "philips_dcm", "uih")


def start_of(raw: Raw) -> str | None:
    """Clock time (HH:MM:SS.s) of the first excitation, None where the file does not say it.

    Parameters
    ----------
    raw : Raw
    """
    seconds = None
    if raw.format == "twix":
        read = twix.readouts(raw.files[0])
        seconds = None if read is None else float(read.seconds.min())
    elif raw.format in DICOM:
        stamps = [dicom_seconds(path, ("AcquisitionDateTime",)) for path in raw.files]
        seconds = None if None in stamps else min(stamps)
    if not seconds:  # zero: a clock that was not set
        return None
    seconds %= twix.DAY
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def onsets_of(raw: Raw) -> list[float] | None:
    """Start of each frame of a DICOM series since the first (s), None where its files do not say their own.

    Enhanced files state it frame by frame (those of unsuppressed water are not counted); of others each file is a
    frame. Scanners that cut a series of transients into files after it ended give all the same time.
    """
    if raw.format not in DICOM:
        return None
    inside = [frame_seconds(path) for path in raw.files]
    stamps = [stamp for own in inside for stamp in own]
    stored = philips.stored_in(raw.files) if raw.format == "philips_dcm" else None
    if stored is not None and len(stamps) == len(stored.water):
        stamps = [stamp for stamp, water in zip(stamps, stored.water, strict=True) if not water]
    if not all(inside) or len(set(stamps)) < len(stamps):
        stamps = [dicom_seconds(path) for path in raw.files]
    if len(stamps) < 2 or None in stamps or len(set(stamps)) < len(stamps):
        return None
    apart = [(stamp - stamps[0]) % twix.DAY if stamps[0] < twix.DAY else stamp - stamps[0] for stamp in stamps]
    return apart if apart == sorted(apart) else None


def frame_seconds(path: Path) -> list[float]:
    """Give when the frames of an enhanced DICOM file began (s since the year 1), nothing where not all say it."""
    import pydicom

    header = pydicom.dcmread(path, specific_tags=["PerFrameFunctionalGroupsSequence"], stop_before_pixels=True)
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    contents = [(group.get("FrameContentSequence") or [pydicom.Dataset()])[0] for group in groups]
    found = [_seconds(str(content.get("FrameAcquisitionDateTime") or ""), True) for content in contents]
    return [] if None in found else found


def dicom_seconds(
    path: Path, names: tuple[str, ...] = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
) -> float | None:
    """Time (s) of a DICOM file by the first of some tags that it has: since midnight, with a date since the year 1."""
    import pydicom

    header = pydicom.dcmread(path, specific_tags=list(names), stop_before_pixels=True)
    times = [_seconds(str(header.get(name) or ""), name.endswith("DateTime")) for name in names]
    return next((seconds for seconds in times if seconds is not None), None)


def _seconds(text: str, dated: bool) -> float | None:
    """Seconds of a DICOM time, or date and time, None where it is none.

    >>> _seconds("104712.5", False), _seconds("00010101000001", True), _seconds("104712", True)
    (38832.5, 86401.0, None)
    """
    import datetime

    found = re.match(r"(\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d+)?)", text)
    if not found or bool(found.group(1)) != dated:
        return None
    date, hours, minutes, seconds = found.groups()
    try:
        days = 0 if date is None else datetime.datetime.strptime(date, "%Y%m%d").toordinal()
    except ValueError:  # no date of the calendar
        return None
    return twix.DAY * days + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
