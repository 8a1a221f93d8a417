"""Edited scans: which frames were measured with the editing pulse at 1.9 ppm, and which without.

That pulse takes the singlet of NAA away; so whether frames hold it says what they are, in whatever order the two
conditions were measured. Of other editing (GSH, lactate) the frames do not tell it.
"""

import re

import numpy as np
from numpy.typing import NDArray

from mrsflow.conversion.checks import FOUR_CONDITIONS, SEQUENCES, metabolite_side, singlet_heights, turns_of
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

EDITED_BELOW, UNEDITED_ABOVE = 0.6, 0.9
"""Height of NAA over creatine's: edit-on below the one, edit-off above the other. In vivo at TE 68 ms 0.2 and 1.7."""
VISIBLE = 5.0
"""Height of creatine over noise at which frames tell their condition."""
APART = 3.0
"""Times that NAA is higher in one part of the frames than in the other, if nobody said that the scan is edited."""
UNLIKE = 0.5
"""Part of residual water by which frames of one condition differ by turns, if they have two editing pulses by turns."""


def naa_share(scan: Scan) -> float | None:
    """Height of NAA over that of creatine in the mean of frames, None where creatine does not stand out of noise."""
    heights = singlet_heights(scan)
    return heights["NAA"] / heights["Cr"] if heights["Cr"] > VISIBLE else None


def naa_shares(scan: Scan, parts: list[NDArray[np.bool_]]) -> list[float | None]:
    """Share of NAA (`naa_share`) in each of some parts of the frames."""
    axis = scan.dims.index("DIM_DYN")
    weights = np.array([part / part.sum() for part in parts], np.float32)
    means = np.tensordot(weights, scan.fid, (1, axis))
    return [naa_share(scan.with_data(mean, _without(scan, axis))) for mean in means]


def by_position(rule: str, n_frames: int, planned: int) -> NDArray[np.bool_]:
    """Frames that a rule other than those of conditions chooses; halves are those of the scan as it was planned.

    >>> by_position("first half", 5, 8), by_position("last 2", 5, 5)
    (array([ True,  True,  True,  True, False]), array([False, False, False,  True,  True]))
    >>> np.flatnonzero(by_position("2 of each 4 from 3", 8, 8)) + 1
    array([3, 4, 7, 8])
    """
    index = np.arange(n_frames)
    if turns := turns_of(rule):
        count, cycle, first = turns
        return (index + 1 - first) % cycle < count
    kind, _, number = rule.partition(" ")
    if number.isdigit():
        return index < int(number) if kind == "first" else index >= n_frames - int(number)
    return {
        "all": np.ones(n_frames, bool),
        "odd": index % 2 == 0,
        "even": index % 2 == 1,
        "first half": index < planned // 2,
        "second half": index >= planned // 2,
    }[rule]


def orders(n_frames: int, planned: int) -> dict[str, tuple[NDArray[np.bool_], str, str]]:
    """Ways in which two conditions follow each other: frames of the first, and what to call those of either."""
    index = np.arange(n_frames)
    found = {
        "alternating": (index % 2 == 0, "odd", "even"),
        "in halves": (index < planned // 2, "first half", "second half"),
    }
    length = 2
    while length < planned // 2:
        called = f"{length} of each {2 * length} from 1", f"{length} of each {2 * length} from {length + 1}"
        found[f"by {length}"] = (index // length % 2 == 0, *called)
        length *= 2
    return {name: order for name, order in found.items() if order[0].any() and not order[0].all()}


def condition(share: float | None) -> str | None:
    """Editing condition that a share of NAA means, None where it lies between."""
    if share is None:
        return None
    return "edit on" if share < EDITED_BELOW else "edit off" if share > UNEDITED_ABOVE else None


def parts_of(scan: Scan, planned: int) -> tuple[dict[str, tuple[NDArray[np.bool_], str]], float]:
    """Frames of either condition with what to call them, by the order that parts them best; none where none does.

    Returns
    -------
    parts : dict
        By condition, ``edit on`` and ``edit off``.
    apart : float
        How many times higher NAA is in the one part.
    """
    best: dict[str, tuple[NDArray[np.bool_], str]] = {}
    widest, ways = 0.0, list(orders(scan.size("DIM_DYN"), planned).values())
    shares = naa_shares(scan, [part for first, *_ in ways for part in (first, ~first)]) if ways else []
    for (first, *called), *pair in zip(ways, shares[::2], shares[1::2], strict=True):
        found = [condition(share) for share in pair]
        if set(found) != {"edit on", "edit off"}:
            continue
        apart = max(pair) / max(min(pair), np.finfo(float).tiny)
        if apart > widest:
            widest = apart
            best = dict(zip(found, zip((first, ~first), called, strict=True), strict=True))
    return best, widest


def refuse_unnoticed(scan: Scan, planned: int, sequence: str, key: str, notes: list[str]) -> None:
    """Refuse a scan whose frames hold NAA by turns, though the protocol takes them all for the same.

    Parameters
    ----------
    scan : Scan
        Water frames taken out.
    planned : int
        Frames that it would have, had it not been stopped.
    sequence : str
        Of the protocol; ``other`` has a basis set of its own, which may be that of both conditions together.
    key : str
        Of the protocol, for messages.
    notes : list of str
        Frames of which none holds NAA are remarked on, and a mixture that has its own basis set.

    Raises
    ------
    InputError
        Some frames hold NAA and others do not.
    """
    parts, apart = parts_of(scan, planned) if scan.size("DIM_DYN") > 1 else ({}, 0.0)
    if apart > APART:
        mixed = f"frames with NAA ({parts['edit off'][1]}) and without it ({parts['edit on'][1]}) are mixed"
        if _names_four(scan):
            raise InputError(f"{mixed}, and {_four(key)}")
        if sequence != "other":
            setting = f"it to {_two_or_four(parts)}" if _by_twos(scan, parts) else "it to 'edit off'"
            raise InputError(
                f"{mixed}, as in an edited scan, and {key}.use_frames is 'all'; set {setting}, or leave this scan out"
            )
        notes.append(f"{mixed}, as {key}.use_frames is 'all': its own basis set must be that of both together")
    if sequence == "other":
        return
    share = naa_share(scan)
    if condition(share) == "edit on" and metabolite_side(scan) > 0:
        notes.append(
            f"NAA is {share:.2g} of creatine, as in frames with an editing pulse (edit-on), of which PRESS, sLASER and "
            "STEAM basis sets know nothing: look at the spectrum, and leave this scan out if the scan is edited"
        )


def chosen(scan: Scan, rule: str, planned: int, key: str, notes: list[str]) -> tuple[Scan, NDArray[np.integer]]:
    """Frames that a protocol's key ``use_frames`` chooses, and their indices.

    Parameters
    ----------
    scan : Scan
        Water frames taken out.
    rule : str
        Other than ``all``.
    planned : int
        Frames that it would have, had it not been stopped.
    key : str
        Of the protocol, for messages.
    notes : list of str
        What the file says of conditions is added.

    Raises
    ------
    InputError
        The frames do not tell their condition, or those chosen are of both.
    """
    if "DIM_EDIT" in scan.dims:
        return _of_dimension(scan, rule, key)
    _refuse_four_conditions(scan, rule, key)
    if "DIM_DYN" not in scan.dims:
        if rule.startswith("edit") and condition(naa_share(scan)) in (rule, None):
            return scan, np.arange(1)
        raise InputError(
            f"there is one frame, and {key}.use_frames is {rule!r}; set it to all, or name a file of single frames"
        )
    n_frames = scan.size("DIM_DYN")
    if rule.startswith("edit"):
        frames = _by_condition(scan, rule, planned, key, notes)
    else:
        frames = by_position(rule, n_frames, planned)
        _refuse_mixed(scan, frames, rule, planned, key)
    if not frames.any():
        raise InputError(
            f"{key}.use_frames is {rule!r}, which leaves nothing of {n_frames} frames; correct it, or leave it out"
        )
    return scan.selected("DIM_DYN", frames), np.flatnonzero(frames)


def _four(key: str) -> str:
    """Way out of a scan whose header names four conditions."""
    return (
        f"the header names a sequence of four conditions, of which NAA tells two; set {key}.use_frames to '1 of each "
        "4 from K', K the place of the frames without any editing pulse, or name a NIfTI-MRS file of those frames "
        "whose dimension header says so (EditCondition: OFF), with use_frames 'edit off'"
    )


def _by_twos(scan: Scan, parts: dict[str, tuple[NDArray[np.bool_], str]]) -> bool:
    """Whether two frames with NAA follow two without, and no header says that it is a sequence of two conditions."""
    named = any(re.search(SEQUENCES["edited"], text, re.IGNORECASE) for text in _texts(scan))
    return bool(parts) and " of each 4 " in f"{parts['edit off'][1]} " and not named


def _two_or_four(parts: dict[str, tuple[NDArray[np.bool_], str]]) -> str:
    """Name the settings for frames of which two hold NAA and two do not: of two conditions, or of four."""
    _, cycle, first = turns_of(parts["edit off"][1])
    return (
        f"'{parts['edit off'][1]}' if neither of the two has an editing pulse (MEGA-PRESS measured by twos), or to "
        f"'1 of each {cycle} from K', K being {first} or {first + 1}, the one without, if the other is edited "
        "elsewhere (HERMES)"
    )


def _texts(scan: Scan) -> list[str]:
    return [str(scan.header.get(name) or "") for name in ("SequenceName", "PulseSequenceFile", "ProtocolName")]


def _names_four(scan: Scan) -> bool:
    """Whether a header names a sequence of four conditions, and none of them frame by frame."""
    if {"edit on", "edit off"} & set(_named(scan, "DIM_DYN")):
        return False
    return any(re.search(FOUR_CONDITIONS, text, re.IGNORECASE) for text in _texts(scan))


def _refuse_four_conditions(scan: Scan, rule: str, key: str) -> None:
    """Refuse to choose by NAA, or by turns or halves, among the four conditions of HERMES and its like."""
    turns = turns_of(rule)  # by number: whoever gives it knows the order
    counted = 4 * turns[0] <= turns[1] if turns else rule.partition(" ")[2].isdigit()
    names = set(_named(scan, "DIM_DYN"))
    if not counted and _names_four(scan):
        raise InputError(f"{key}.use_frames is {rule!r}, and {_four(key)}")
    if rule.startswith("edit") and len(names) > 2 and rule not in names:
        raise InputError(
            f"{key}.use_frames is {rule!r}, and the dimension header names {len(names)} conditions "
            f"({', '.join(sorted(names))}); name those frames OFF there that were measured without any editing pulse"
        )


def _of_dimension(scan: Scan, rule: str, key: str) -> tuple[Scan, NDArray[np.integer]]:
    """One entry of DIM_EDIT: by its header's EditCondition, else by NAA, else by its place."""
    axis, count = scan.dims.index("DIM_EDIT"), scan.size("DIM_EDIT")
    named = _named(scan, "DIM_EDIT")
    parts = [scan.with_data(np.take(scan.fid, i, axis=axis), _without(scan, axis)) for i in range(count)]
    seen = [condition(naa_share(part)) for part in parts]
    if rule.startswith("edit"):
        indices = [i for i, name in enumerate(named) if name == rule] or [i for i, c in enumerate(seen) if c == rule]
    elif turns := turns_of(rule):
        indices = list(np.flatnonzero(by_position(rule, count, count))) if turns[1] == count else []
    else:
        indices = [{"odd": 0, "first half": 0}.get(rule, count - 1)] if count == 2 else []
    if len(indices) != 1:
        raise InputError(
            f"{key}.use_frames is {rule!r}, which fits {len(indices) or 'none'} of {count} entries of DIM_EDIT; name "
            f"its conditions (EditCondition: ON, OFF) in the dimension header, set it to '1 of each {count} from K' "
            "for entry K, or name a file of one condition"
        )
    return parts[indices[0]], np.arange(parts[0].size("DIM_DYN"))


def _named(scan: Scan, dim: str) -> list[str]:
    """Conditions that a dimension header names (EditCondition), as ``edit on`` and ``edit off`` where they are."""
    texts = [str(text).strip().lower() for text in scan.dimension_header(dim).get("EditCondition", [])]
    return [re.sub(r"^(edit(ing)?[ _-]?)?(on|off)$", r"edit \3", text) for text in texts]


def _without(scan: Scan, axis: int) -> tuple[str, ...]:
    return tuple(dim for i, dim in enumerate(scan.dims) if i != axis)


def _by_condition(scan: Scan, rule: str, planned: int, key: str, notes: list[str]) -> NDArray[np.bool_]:
    """Frames of a condition: those that the dimension header names so, else of the order that NAA shows."""
    named = _named(scan, "DIM_DYN")
    if {"edit on", "edit off"} & set(named):
        return np.array([name == rule for name in named])
    parts, _ = parts_of(scan, planned)
    if parts:
        frames, called = parts[rule]
        if _by_twos(scan, parts):
            raise InputError(
                f"{key}.use_frames is {rule!r}, and of each four frames two hold NAA; set it to {_two_or_four(parts)}"
            )
        if rule == "edit off" and _water_by_turns(scan, frames):
            raise InputError(
                f"{key}.use_frames is {rule!r}, and every second of the frames with NAA has another residual water, "
                f"as in HERMES, where it has an editing pulse elsewhere; set it to '{called}' if none of them has "
                f"one, or to {_by_place(frames)}, whichever are those without"
            )
        notes.append(f"{rule}: {called} of the frames, as NAA shows")
        return frames
    share = naa_share(scan)
    if condition(share) == rule:
        notes.append(f"{rule}: all frames, as NAA shows")
        return np.ones(scan.size("DIM_DYN"), bool)
    if condition(share) is not None:
        raise InputError(
            f"{key}.use_frames is {rule!r}, and all frames are {condition(share)}: NAA is {share:.2g} of creatine; "
            "name the file of the other condition, or leave this scan out"
        )
    found = "creatine does not stand out" if share is None else f"NAA is {share:.2g} of creatine in all frames"
    raise InputError(
        f"{key}.use_frames is {rule!r}, and no frames with and without NAA alternate or follow each other ({found}); "
        "say which by position (odd, even, first half, second half, first N, last N), or all for a file of one "
        "condition"
    )


def _water_by_turns(scan: Scan, frames: NDArray[np.bool_]) -> bool:
    """Whether every second of some frames has another residual water than those between, far beyond their scatter."""
    chosen = np.moveaxis(scan.fid, scan.dims.index("DIM_DYN"), 0)[frames]
    if len(chosen) < 8:
        return False
    early = chosen[..., : max(scan.n_points // 32, 8)].reshape(len(chosen), -1).astype(complex)
    turns = early[::2], early[1::2]
    means = [turn.mean(axis=0) for turn in turns]
    apart = np.linalg.norm(means[0] - means[1])
    scatter = np.sqrt(
        sum(
            np.mean(np.abs(turn - mean) ** 2, axis=0).sum() / len(turn) for turn, mean in zip(turns, means, strict=True)
        )
    )
    return bool(apart > UNLIKE * max(map(np.linalg.norm, means)) and apart > 5 * scatter)


def _by_place(frames: NDArray[np.bool_]) -> str:
    """Rules for every second of some frames that follow each other by turns."""
    places = np.flatnonzero(frames) + 1
    cycle = int(places[2] - places[0])
    return f"'1 of each {cycle} from {places[0]}' or '1 of each {cycle} from {places[1]}'"


def _refuse_mixed(scan: Scan, frames: NDArray[np.bool_], rule: str, planned: int, key: str) -> None:
    """Refuse frames chosen by position of which some hold NAA and others do not."""
    sets = [part for first, *_ in orders(scan.size("DIM_DYN"), planned).values() for part in (first, ~first)]
    held = [frames & part for part in sets if (frames & part).any()]
    if {"edit on", "edit off"} <= {condition(share) for share in (naa_shares(scan, held) if held else [])}:
        raise InputError(
            f"{key}.use_frames is {rule!r}, and of these frames some hold NAA and others do not: both editing "
            "conditions are among them; set it to 'edit off' or 'edit on'"
        )
