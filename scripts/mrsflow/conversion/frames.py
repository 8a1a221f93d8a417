"""Frames of a raw file: how many excitations each holds, when each began, and which are wanted.

What the file says is used; where a protocol says something else, the scan stops here.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.conversion import checks, editing
from mrsflow.conversion.vendors import Converted
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import SPACING_TOLERANCE, Scan

MOST_PAUSES = 5
"""Pauses between frames that are remarked on one by one."""


def excitations(converted: Converted, declared: int | None, key: str) -> int:
    """Find the excitations that each stored frame averages: those declared, which the file must not contradict.

    Parameters
    ----------
    converted : Converted
    declared : int or None
        Of the protocol; None: what the file says, by its header or by the times of its frames.
    key : str
        Of the protocol, for messages.

    Raises
    ------
    InputError
        The header says another number, or none is declared and it leaves two or contradicts itself.
    """
    stated, scan = converted.excitations, converted.scan
    if declared is not None:
        if stated and declared not in stated:
            found = " or ".join(map(str, stated))
            raise InputError(
                f"the header says that each frame averages {found} excitations, and {key}.excitations_per_frame is "
                f"{declared}; correct it, leave it out to take that of the file, or give this scan another protocol"
            )
        return declared
    counted = _by_the_clock(scan)
    if len(stated) > 1 and counted in stated:
        return counted
    if len(stated) > 1:
        raise InputError(
            f"the header counts {stated[0]} averages beside {scan.size('DIM_DYN')} frames, of each or of all together; "
            f"set {key}.excitations_per_frame to {stated[0]} or {stated[1]}"
        )
    if converted.uneven and not (stated or counted):
        raise InputError(
            f"NumberOfTransients is {converted.uneven}, which {scan.size('DIM_DYN')} frames cannot share evenly, and "
            f"nothing else says how many excitations each averages; set {key}.excitations_per_frame, or correct "
            "NumberOfTransients in the sidecar"
        )
    return stated[0] if stated else counted or 1


def remark_on_transients(uneven: int | None, planned: int, count: int, notes: list[str]) -> None:
    """Remark on a number of transients that is not that of the metabolite frames."""
    if uneven not in (None, planned * count):
        notes.append(
            f"NumberOfTransients of the sidecar is {uneven}, and {planned} frames of {count} excitations are "
            f"{planned * count}, which is what counts"
        )


def _by_the_clock(scan: Scan) -> int | None:
    """Excitations of a frame by the usual time between frames, None where the file does not tell."""
    onsets, repetition_time = scan.dimension_header("DIM_DYN").get("FrameOnset"), scan.header.get("RepetitionTime")
    if not repetition_time or onsets is None or len(onsets) < 2 or scan.size("DIM_EDIT") > 1:
        return None
    count = float(np.median(np.diff(onsets))) / repetition_time
    return round(count) if round(count) > 0 and abs(count / round(count) - 1) <= SPACING_TOLERANCE else None


def placed(converted: Converted, count: int, key: str, notes: list[str], rule: str = "all") -> Scan:
    """Write into the dimension header when each frame began, counted from the first excitation of the file (s).

    Parameters
    ----------
    converted : Converted
        Times that the file states hold; without them frames follow each other.
    count : int
        Excitations of each frame.
    key : str
        Of the protocol, for messages.
    notes : list of str
        Pauses are added.
    rule : str
        Key ``use_frames`` of the protocol; by ``edit off`` or ``edit on`` a file may hold the frames of one condition
        alone, with those of the others between them.

    Raises
    ------
    InputError
        Most frames are as far apart as other numbers of excitations would be, or two overlap.
    """
    scan, lead = converted.scan, converted.first_frame
    if "DIM_DYN" not in scan.dims and lead:
        scan = scan.with_data(scan.fid[..., np.newaxis, :], (*scan.dims, "DIM_DYN"))
    if "DIM_DYN" not in scan.dims:
        return scan
    values, n_frames = scan.dimension_header("DIM_DYN"), scan.size("DIM_DYN")
    times = values.get("RepetitionTime") or [scan.header.get("RepetitionTime")] * n_frames
    if not all(isinstance(time, int | float) and time > 0 for time in times):
        return scan
    lengths, turns = count * np.asarray(times, dtype=float), scan.size("DIM_EDIT")
    if "FrameOnset" not in values:
        if turns > 1:
            notes.append(
                f"its {turns} editing conditions are taken to alternate in time, as the file does not say when its "
                "frames began (FrameOnset in the header of DIM_DYN)"
            )
        return scan.with_onsets(lead * lengths[0] + turns * (np.cumsum(lengths) - lengths))
    gaps = np.diff(np.asarray(values["FrameOnset"], dtype=float))
    alternate = np.median(gaps / (turns * lengths[:-1])) > 1 - SPACING_TOLERANCE if gaps.size else False
    own = (turns if alternate else 1) * lengths[:-1]
    _hold_against(gaps, own * _conditions_between(gaps, own, rule, notes), count, key, notes)
    return scan


def _conditions_between(gaps: NDArray, lengths: NDArray, rule: str, notes: list[str]) -> int:
    """How many conditions took turns where a file holds the frames of one alone: 2 or 4; 1 where none is between."""
    if not rule.startswith("edit") or not gaps.size:
        return 1
    between = next((n for n in (2, 4) if np.median(np.abs(gaps / (n * lengths) - 1)) <= SPACING_TOLERANCE), 1)
    if between > 1:
        notes.append(
            f"its frames begin {np.median(gaps):g} s apart, {between} times what one takes: those of other editing "
            "conditions were between them"
        )
    return between


def refuse_turns(
    converted: Converted, parts: "Parts", count: int, protocol: dict[str, Any], key: str, notes: list[str]
) -> None:
    """Refuse frames of one editing condition whose times leave open what was between them, or contradict the protocol.

    Parameters
    ----------
    converted : Converted
        As the file was read.
    parts : Parts
        Its frames as the protocol chose them.
    count : int
        Excitations of each frame.
    protocol : dict
    key : str
        Of the protocol, for messages.
    notes : list of str
        Frames of one condition that are taken to follow each other are remarked on.

    Raises
    ------
    InputError
        Both conditions are in the file, whose frames are as far apart as those of one alone; or all are of one, and
        the times alone say how many excitations a frame averages.
    """
    onsets = converted.scan.dimension_header("DIM_DYN").get("FrameOnset") or []
    time = converted.scan.header.get("RepetitionTime")
    if not protocol["use_frames"].startswith("edit") or not time or "DIM_DYN" not in converted.scan.dims:
        return
    alone = parts.planned - converted.lost - len(parts.numbers) < protocol["phase_cycle"]
    if len(onsets) < 2:
        if alone and "DIM_EDIT" not in converted.scan.dims:
            notes.append(
                "its frames are of one editing condition and taken to follow each other, as the file does not say when "
                "they began: if those of another condition were between them, give a file that says it (FrameOnset)"
            )
        return
    gap = float(np.median(np.diff(onsets)))
    if not alone and "DIM_EDIT" not in converted.scan.dims and gap > (1 + SPACING_TOLERANCE) * count * time:
        raise InputError(_apart(gap, count, time, key))
    known = converted.excitations or protocol["excitations_per_frame"]
    if alone and not known and count % 2 == 0:
        raise InputError(
            f"all frames are of one editing condition and begin {gap:g} s apart, and nothing says how many excitations "
            f"each averages; set {key}.excitations_per_frame to {count}, or to {count // 2} if a frame of the other "
            "condition was measured after each"
        )


def _hold_against(gaps: NDArray, lengths: NDArray, count: int, key: str, notes: list[str]) -> None:
    """Compare the times between frames with how long each takes."""
    off = gaps / lengths - 1
    wrong = np.abs(off) > SPACING_TOLERANCE
    if 2 * wrong.sum() > wrong.size:
        raise InputError(_apart(float(np.median(gaps)), count, float(np.median(lengths)) / count, key))
    if np.any(off < -SPACING_TOLERANCE):
        first = int(np.argmin(off))
        raise InputError(
            f"by the times in the file frame {first + 2} begins {gaps[first]:g} s after the one before, which takes "
            f"{lengths[first]:g} s; convert the raw file again, or leave this scan out"
        )
    pauses = np.flatnonzero(wrong)
    for place in pauses[:MOST_PAUSES]:
        notes.append(
            f"a pause of {gaps[place] - lengths[place]:.0f} s before frame {place + 2}, by the times in the file"
        )
    if len(rest := pauses[MOST_PAUSES:]):
        notes.append(f"and {len(rest)} more pauses, of {np.sum(gaps[rest] - lengths[rest]):.0f} s in all")


def _apart(gap: float, count: int, time: float, key: str) -> str:
    """Frames that are further apart, or less, than their excitations take."""
    alone = ""
    if any(abs(gap / (n * count * time) - 1) <= SPACING_TOLERANCE for n in (2, 4)):
        alone = ", or, if the file holds one condition of an edited scan alone, use_frames to 'edit off'"
    return (
        f"by the times in the file frames begin {gap:g} s apart, and {count} excitations of {time:g} s take "
        f"{count * time:g} s; correct {key}.excitations_per_frame, or {key}.repetition_time_ms (or column "
        "repetition_time_ms of the samples table where the header is wrong), or the times in the header of the file, "
        f"which are seconds{alone}"
    )


@dataclass(frozen=True)
class Parts:
    """Frames of a file: those to be analysed with their numbers in the file (from 1), and unsuppressed water.

    `planned` is how many metabolite frames the file would have, had the scan not been stopped.
    """

    scan: Scan
    water: Scan | None
    numbers: NDArray[np.integer]
    planned: int


def parted(scan: Scan, protocol: dict[str, Any], key: str, notes: list[str], lost: int = 0) -> Parts:
    """Part the frames as a protocol says: keys ``water_frames`` and ``use_frames``.

    Parameters
    ----------
    scan : Scan
    protocol : dict
    key : str
        Of the protocol, for messages.
    notes : list of str
        What the file says of editing conditions, and what a stopped scan lacks, are added.
    lost : int
        Frames that the file would hold behind these, had the scan not been stopped.

    Raises
    ------
    InputError
        A rule leaves nothing, or the frames that it chooses are not of one editing condition.
    """
    n_frames = scan.size("DIM_DYN")
    numbers = np.arange(1, n_frames + 1)
    declared = checks.water_frames(protocol["water_frames"], n_frames + lost)
    water, planned = None, n_frames + lost
    if declared is not None:
        is_water, planned = declared[:n_frames], int(np.sum(~declared))
        if "DIM_DYN" not in scan.dims or is_water.all() or not declared.any():
            raise InputError(
                f"water_frames: {protocol['water_frames']!r} leaves nothing of {n_frames} frames; correct it in {key}"
            )
        if is_water.any():
            water = scan.selected("DIM_DYN", is_water)
        else:
            notes.append("the scan was stopped before its frames of unsuppressed water")
        scan, numbers = scan.selected("DIM_DYN", ~is_water), numbers[~is_water]
    rule = protocol["use_frames"]
    if rule == "all":
        return _whole_cycles(Parts(scan, water, numbers, planned), protocol["phase_cycle"], lost, notes)
    scan, chosen = editing.chosen(scan, rule, planned, key, notes)
    if protocol["sequence"] != "other" and editing.condition(editing.naa_share(scan)) == "edit on":
        raise InputError(
            f"the frames that {key}.use_frames {rule!r} chooses hold no NAA: they are edit-on, which no basis set of "
            f"{protocol['sequence']} fits; set use_frames to 'edit off', or sequence to other with its own basis file"
        )
    return _whole_cycles(Parts(scan, water, numbers[chosen], planned), protocol["phase_cycle"], lost, notes)


def _whole_cycles(parts: Parts, cycle: int, lost: int, notes: list[str]) -> Parts:
    """Leave out the frames of a stopped scan that are no whole phase cycle; of others they are a contradiction."""
    n_frames = parts.scan.size("DIM_DYN")
    whole = n_frames - n_frames % cycle
    if not lost or whole in (0, n_frames):
        return parts
    notes.append(f"the last {n_frames - whole} frames before the scan was stopped are no whole phase cycle; left out")
    return replace(parts, scan=parts.scan.selected("DIM_DYN", np.arange(whole)), numbers=parts.numbers[:whole])
