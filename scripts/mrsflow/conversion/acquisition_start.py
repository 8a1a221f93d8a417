"""When the first excitation of a scan was, where its raw file says it beyond doubt: a clock time, never a date.

Siemens twix stamps each readout with its time since midnight; the DICOM standard defines ``AcquisitionDateTime`` as the
start. Other headers hold times whose meaning differs between scanners (end of the scan, of the export, minutes only);
there the samples table must say.
"""

import re
from pathlib import Path

import numpy as np

from mrsflow.conversion.formats import Raw, head_of
from mrsflow.conversion.repairs import twix_measurements

TICK = 2.5e-3
"""Unit (s) of the time stamps of twix readouts."""
NO_SIGNAL = 1 << 0 | 1 << 5 | 1 << 25
"""Flags of twix readouts that are not of the scan: end of acquisition, synchronisation data, noise adjustment."""


def start_of(raw: Raw) -> str | None:
    """Clock time (HH:MM:SS.s) of the first excitation, None where the file does not say it.

    Parameters
    ----------
    raw : Raw
    """
    if raw.format == "twix":
        seconds = _twix_start(raw.files[0])
    elif raw.format in ("dicom", "philips_dcm", "uih"):
        seconds = _dicom_start(raw.files)
    else:
        seconds = None
    if seconds is None or not 0 < seconds < 86_400:
        return None
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def _dicom_start(files: list[Path]) -> float | None:
    import pydicom

    texts = [str(pydicom.dcmread(f, specific_tags=["AcquisitionDateTime"]).get("AcquisitionDateTime")) for f in files]
    found = [re.match(r"\d{8}(\d\d)(\d\d)(\d\d(?:\.\d+)?)", text) for text in sorted(texts)]
    if not found or not all(found):
        return None
    hours, minutes, seconds = found[0].groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _twix_start(path: Path) -> float | None:
    """Time stamp of the first readout of the scan, the last measurement of the file (s since midnight)."""
    head = head_of(path, 10_240)
    count = twix_measurements(head)
    place = int(np.frombuffer(head[8 + 152 * (count - 1) + 8 :][:8], "<u8")[0]) if count else 0
    flags = 40 if count else 20
    with path.open("rb") as file:
        file.seek(place)
        place += int(np.frombuffer(file.read(4).ljust(4, b"\0"), "<u4")[0])
        for _ in range(10_000):
            file.seek(place)
            readout = file.read(48)
            if len(readout) < 48:
                return None
            length, stamp = np.frombuffer(readout[:16], "<u4")[[0, 3]]
            if not int(np.frombuffer(readout[flags : flags + 8], "<u8")[0]) & NO_SIGNAL:
                return float(stamp) * TICK
            if int(length) & 0x1FFFFFF < 48:
                return None
            place += int(length) & 0x1FFFFFF
    return None
