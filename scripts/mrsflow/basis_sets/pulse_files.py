"""Tables of radiofrequency pulses in files of scanners and other programs."""

import re
from pathlib import Path

import numpy as np

from mrsflow.errors import InputError

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def read_samples(path: Path | str) -> tuple[tuple[float, float], ...]:
    """Read a pulse as amplitude (any unit) and phase (rad) in equal steps of time.

    Siemens ``.pta`` (amplitude, phase in rad), Varian ``.RF`` (phase in degrees, amplitude, number of steps), Bruker
    JCAMP-DX (amplitude, phase in degrees), or a text of two columns (amplitude, phase in degrees).

    Raises
    ------
    InputError
        No such file, none of these formats, or an amplitude that is zero throughout.
    """
    try:
        text = Path(path).read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{path}: the pulse cannot be read ({error.strerror}); correct refocusing.file") from error
    rows = _rows(text)
    widths = {len(row) for row in rows}
    degrees = "PULSENAME" not in text
    if not degrees:
        table = [(row[0], row[1]) for row in rows if len(row) >= 2]
    elif text.lstrip().startswith("##"):
        numbers = [number for row in rows for number in row]
        table = list(zip(numbers[::2], numbers[1::2], strict=False))
    elif widths <= {3, 4} and rows:
        table = [(row[1], row[0]) for row in rows for _ in range(max(round(row[2]), 1))]
    elif widths == {2}:
        table = [(row[0], row[1]) for row in rows]
    else:
        raise InputError(
            f"{path}: is no pulse of a known kind; a Siemens .pta, Varian .RF, Bruker or two-column text (amplitude, "
            "phase in degrees) is needed"
        )
    samples = np.array(table, dtype=float).reshape(-1, 2)
    if len(samples) < 2 or not np.any(samples[:, 0]):
        raise InputError(f"{path}: the pulse has {len(samples)} samples and no amplitude; export it again")
    phase = np.deg2rad(samples[:, 1]) if degrees else samples[:, 1]
    return tuple(zip(samples[:, 0].tolist(), phase.tolist(), strict=True))


def _rows(text: str) -> list[list[float]]:
    """Numbers of the lines that hold nothing else, without comments (``#``, ``$$``, ``;``) and labels (``##``)."""
    rows = []
    for line in text.splitlines():
        content = re.split(r"[#;]|\$\$", line)[0].strip()
        if content and not NUMBER.sub("", content).strip(" \t,"):
            rows.append([float(number) for number in NUMBER.findall(content)])
    return rows
