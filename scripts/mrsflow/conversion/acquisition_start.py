"""When a scan and its frames were measured, where the raw file says it beyond doubt: clock times, never a date.

Siemens twix stamps each readout with its time since midnight; the DICOM standard defines ``AcquisitionDateTime`` as the
start. Other headers hold times whose meaning differs between scanners (end of the scan, of the export, minutes only);
there the samples table must say. From file to file of a DICOM series they still tell how far apart frames are.
"""

import re
from pathlib import Path

from mrsflow.raw_files import twix
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
    """Start of each file of a DICOM series since the first (s), None where its files do not say their own.

    Scanners that cut a series of transients into files after it ended give all the same time.
    """
    if raw.format not in DICOM or len(raw.files) < 2:
        return None
    stamps = [dicom_seconds(path) for path in raw.files]
    if None in stamps or len(set(stamps)) < len(stamps):
        return None
    apart = [(stamp - stamps[0]) % twix.DAY if stamps[0] < twix.DAY else stamp - stamps[0] for stamp in stamps]
    return apart if apart == sorted(apart) else None


def dicom_seconds(
    path: Path, names: tuple[str, ...] = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
) -> float | None:
    """Time (s) of a DICOM file by the first of some tags that it has: since midnight, with a date since the year 1."""
    import datetime

    import pydicom

    header = pydicom.dcmread(path, specific_tags=list(names), stop_before_pixels=True)
    for name in names:
        found = re.match(r"(\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d+)?)", str(header.get(name) or ""))
        if found and bool(found.group(1)) == name.endswith("DateTime"):
            date, hours, minutes, seconds = found.groups()
            try:
                days = 0 if date is None else datetime.datetime.strptime(date, "%Y%m%d").toordinal()
            except ValueError:  # no date of the calendar
                continue
            return twix.DAY * days + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return None
