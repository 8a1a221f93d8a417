"""Siemens twix files as they are on disk: every readout with its counters and time stamp, and frames in their order.

spec2nii sorts readouts into an array with an axis for each counter, filled up with zeros where nothing was measured,
and drops the stamps. Here the readouts themselves say what was measured, and when.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrsflow.nifti_mrs import Scan
from mrsflow.raw_files.formats import head_of

TICK = 2.5e-3
"""Unit (s) of the time stamps of readouts."""
DAY = 86_400.0
NO_SIGNAL = sum(1 << bit for bit in (0, 1, 2, 5, 21, 25))
"""Flags of readouts that are not of the scan: end of it, feedback, synchronisation, phase correction, noise."""
COUNTERS = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")
"""Loop counters of a readout, in the order of its header."""
AXES = ("Lin", "Par", "Sli", "Ave", "Phs", "Eco", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")
"""Those counters in the order of the axes that spec2nii's reader gives them."""
REPEATS = ("Ave", "Rep", "Set")
"""Counters of repeated measurements of the same: frames."""
LONGEST = 1_000_000
STRONGER = 3
"""Times that an unsuppressed reference is stronger than the other phase, at least."""


MOST_COUNTERS = 2
"""Counters beside coils that a NIfTI-MRS file has room for."""


@dataclass(frozen=True)
class Readouts:
    """Readouts of a scan, in the order of the file.

    Attributes
    ----------
    counters : dict of str to (n,) int
    seconds : (n,) float
        Time stamp of each since midnight; goes on beyond a day at midnight.
    numbers : (n,) int
        Scan counter of each.
    """

    counters: dict[str, NDArray[np.integer]]
    seconds: NDArray[np.floating]
    numbers: NDArray[np.integer]

    def varying(self) -> list[str]:
        """Counters that take several values."""
        return [name for name in AXES if self.counters[name].max() > 0]

    def as_repetitions(self) -> "Readouts":
        """Readouts whose repeats are counted as repetitions alone, within each phase."""
        phase = self.counters["Phs"]
        repetition = np.zeros(len(phase), int)
        for one in np.unique(phase):
            repetition[phase == one] = np.arange(np.sum(phase == one))
        none = np.zeros(len(phase), int)
        return replace(self, counters={**self.counters, **dict.fromkeys(REPEATS, none), "Rep": repetition})


def measurements(head: bytes) -> int:
    """Measurements in a multi-RAID twix file, 0 for the older layout that holds one without a directory."""
    first, count = np.frombuffer(head[:8].ljust(8, b"\0"), "<u4")
    return int(count) if first < 10_000 and 1 <= count <= 64 else 0


def readouts(path: Path) -> Readouts | None:
    """Readouts with signal of the scan, the last measurement of a file; None where there are none.

    Notes
    -----
    The older layout repeats the header of a readout for each coil, with one number (scan counter) for all.
    """
    found: dict[int, tuple[float, NDArray]] = {}
    for _, header, begin in _headers(path):
        _, number, stamp = (int(n) for n in np.frombuffer(header[4:16], "<u4"))
        loops = np.frombuffer(header[begin : begin + 2 * len(COUNTERS)], "<u2").astype(int)
        found.setdefault(number, (stamp * TICK, loops))
    if not found:
        return None
    seconds = np.array([stamp for stamp, _ in found.values()])
    seconds += DAY * np.cumsum(np.diff(seconds, prepend=seconds[0]) < -DAY / 2)
    loops = np.stack([own for _, own in found.values()])
    return Readouts(dict(zip(COUNTERS, loops.T, strict=True)), seconds, np.array(list(found)))


def _headers(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Headers of readouts with signal: place in the file, bytes, and where in these the counters begin."""
    head = head_of(path, 10_240)
    count = measurements(head)
    place = int(np.frombuffer(head[8 + 152 * (count - 1) + 8 :][:8], "<u8")[0]) if count else 0
    flags, counters = (40, 52) if count else (20, 32)
    with path.open("rb") as file:
        file.seek(place)
        place += int(np.frombuffer(file.read(4).ljust(4, b"\0"), "<u4")[0])
        for _ in range(LONGEST):
            file.seek(place)
            header = file.read(80)
            if len(header) < 80:
                break
            length = int(np.frombuffer(header[:4], "<u4")[0]) & 0x1FFFFFF
            mask = int(np.frombuffer(header[flags : flags + 8], "<u8")[0])
            if not mask & NO_SIGNAL:
                yield place, header, counters
            if mask & 1 or length < 48:
                break
            place += length


def write_counted(path: Path, read: Readouts, out: Path) -> None:
    """Copy a file with other counters of its readouts."""
    shutil.copyfile(path, out)
    loops = np.stack([read.counters[name] for name in COUNTERS], axis=1).astype("<u2")
    rows = dict(zip(read.numbers.tolist(), loops, strict=True))
    with out.open("r+b") as file:
        for place, header, begin in _headers(path):
            file.seek(place + begin)
            file.write(rows[int(np.frombuffer(header[8:12], "<u4")[0])].tobytes())


def in_time(scan: Scan, read: Readouts, notes: list[str]) -> tuple[Scan, dict[str, Scan], float]:
    """Frames of a scan in the order in which they were measured, and the water reference that is in another phase.

    Parameters
    ----------
    scan : Scan
        As spec2nii gives it: an axis for each counter.
    read : Readouts
    notes : list of str
        What was done is added.

    Returns
    -------
    scan : Scan
        As it was where its axes are not those of the counters, or are no mere repeats.
    references : dict of str to Scan
    lead : float
        Seconds from the first readout to the first frame of the scan: what the reference took.
    """
    coils = scan.dims[:1] == ("DIM_COIL",)
    shape = scan.fid.shape[int(coils) : -1]
    used = np.ones(len(read.seconds), bool)
    names = read.varying()
    if "Phs" in names and len(names) == len(shape) + 1:  # spec2nii took the reference away already
        used = read.counters["Phs"] > 0
        names = [name for name in AXES if read.counters[name][used].max() > 0]
    if not names or not set(names) <= {*REPEATS, "Phs"}:
        return scan, {}, 0.0
    positions = np.stack([read.counters[name][used] for name in names])
    if tuple(part.max() + 1 for part in positions) != shape or len(set(map(tuple, positions.T))) < used.sum():
        return scan, {}, 0.0
    seconds = read.seconds[used]
    order = np.argsort(seconds, kind="stable")
    frames = scan.fid[(slice(None),) * coils + tuple(positions[:, order])]
    phase = read.counters["Phs"][used][order] if "Phs" in names else np.zeros(used.sum(), int)
    water = _reference(frames, phase)
    if water is None:
        return scan, {}, 0.0
    if sum(name != "Phs" for name in names) > 1:
        notes.append(f"twix: {' and '.join(n for n in names if n != 'Phs')} joined to one series in the order of time")
    onsets = seconds[order]
    lead = float(onsets[~water].min() - read.seconds.min())
    made = [_series(scan, frames, onsets, chosen, coils) for chosen in (~water, water) if chosen.any()]
    if len(made) == 1:
        return made[0], {}, lead
    notes.append(f"twix: the {'first' if phase[water][0] == 0 else 'last'} phase is the unsuppressed water reference")
    return made[0], {"ecc": made[1]}, lead


def _reference(frames: NDArray, phase: NDArray) -> NDArray[np.bool_] | None:
    """Frames of the phase that is unsuppressed water, none with one phase; None where phases are something else."""
    if not phase.any():
        return np.zeros(phase.shape, bool)
    early = frames[..., : frames.shape[-1] // 8]
    power = np.mean(np.abs(early) ** 2, axis=(*range(frames.ndim - 2), -1))
    strength = [float(np.sqrt(power[phase == one].mean())) if (phase == one).any() else 0.0 for one in (0, 1)]
    if phase.max() > 1 or max(strength) < STRONGER * min(strength):
        return None
    return phase == int(np.argmax(strength))


def _series(scan: Scan, frames: NDArray, onsets: NDArray, chosen: NDArray[np.bool_], coils: bool) -> Scan:
    part = np.compress(chosen, frames, axis=-2)
    coil = ("DIM_COIL",) if coils else ()
    if chosen.sum() == 1:
        return scan.with_data(part[..., 0, :], coil)
    made = scan.with_data(part, (*coil, "DIM_DYN"))
    own = onsets[chosen]
    return made.with_onsets(own - own[0]) if np.all(np.diff(own) > 0) else made
