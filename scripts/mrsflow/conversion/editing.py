"""Edited scans: which frames were measured with the editing pulse at 1.9 ppm, and which without.

That pulse takes the singlet of NAA away; so whether frames hold it says what they are, in whatever order the two
conditions were measured. Of other editing (GSH, lactate) the frames do not tell it.
"""

import numpy as np
from numpy.typing import NDArray

from mrsflow.conversion.checks import singlet_heights
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

EDITED_BELOW, UNEDITED_ABOVE = 0.6, 0.9
"""Height of NAA over creatine's: edit-on below the one, edit-off above the other. In vivo at TE 68 ms 0.2 and 1.7."""
VISIBLE = 5.0
"""Height of creatine over noise at which frames tell their condition."""


def naa_share(scan: Scan, chosen: NDArray[np.bool_] | None = None) -> float | None:
    """Height of NAA over that of creatine in the mean of frames, None where creatine does not stand out of noise."""
    heights = singlet_heights(
        scan if chosen is None or "DIM_DYN" not in scan.dims else scan.selected("DIM_DYN", chosen)
    )
    return heights["NAA"] / heights["Cr"] if heights["Cr"] > VISIBLE else None


def orders(n_frames: int) -> dict[str, NDArray[np.bool_]]:
    """Ways in which two conditions follow each other, as the frames of the first."""
    index = np.arange(n_frames)
    return {
        "all": np.ones(n_frames, bool),
        "odd": index % 2 == 0,
        "even": index % 2 == 1,
        "first half": index < n_frames // 2,
        "second half": index >= n_frames // 2,
    }


def condition(share: float | None) -> str | None:
    """Editing condition that a share of NAA means, None where it lies between."""
    if share is None:
        return None
    return "edit on" if share < EDITED_BELOW else "edit off" if share > UNEDITED_ABOVE else None


def chosen(scan: Scan, rule: str, key: str, notes: list[str]) -> tuple[Scan, NDArray[np.integer]]:
    """Frames that a protocol's key ``use_frames`` chooses, and their indices.

    Parameters
    ----------
    scan : Scan
        Water frames taken out.
    rule : str
        Other than ``all``.
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
    if "DIM_DYN" not in scan.dims:
        if rule.startswith("edit") and condition(naa_share(scan)) in (rule, None):
            return scan, np.arange(1)
        raise InputError(
            f"there is one frame, and {key}.use_frames is {rule!r}; set it to all, or name a file of single frames"
        )
    sets, n_frames = orders(scan.size("DIM_DYN")), scan.size("DIM_DYN")
    if rule.startswith("edit"):
        frames = _by_condition(scan, rule, sets, key, notes)
    else:
        frames = sets[rule]
        _refuse_mixed(scan, frames, rule, sets, key)
    if not frames.any():
        raise InputError(f"use_frames: {rule!r} leaves nothing of {n_frames} frames; correct it in {key}")
    return scan.selected("DIM_DYN", frames), np.flatnonzero(frames)


def _of_dimension(scan: Scan, rule: str, key: str) -> tuple[Scan, NDArray[np.integer]]:
    """One entry of DIM_EDIT: by its header's EditCondition, else by NAA, else by its place."""
    axis, count = scan.dims.index("DIM_EDIT"), scan.size("DIM_EDIT")
    named = [str(c).strip().lower() for c in scan.dimension_header("DIM_EDIT").get("EditCondition", [])]
    parts = [scan.with_data(np.take(scan.fid, i, axis=axis), _without(scan, axis)) for i in range(count)]
    seen = [condition(naa_share(part)) for part in parts]
    if rule.startswith("edit"):
        wanted = rule.removeprefix("edit ")
        indices = [i for i, name in enumerate(named) if name == wanted] or [i for i, c in enumerate(seen) if c == rule]
    else:
        indices = [{"odd": 0, "first half": 0}.get(rule, count - 1)] if count == 2 else []
    if len(indices) != 1:
        raise InputError(
            f"{key}.use_frames is {rule!r}, which fits {len(indices) or 'none'} of {count} entries of DIM_EDIT; name "
            "its conditions (EditCondition: ON, OFF) in the dimension header, or name a file of one condition"
        )
    return parts[indices[0]], np.arange(parts[0].size("DIM_DYN"))


def _without(scan: Scan, axis: int) -> tuple[str, ...]:
    return tuple(dim for i, dim in enumerate(scan.dims) if i != axis)


def _by_condition(
    scan: Scan, rule: str, sets: dict[str, NDArray[np.bool_]], key: str, notes: list[str]
) -> NDArray[np.bool_]:
    """Frames of a condition: those that the dimension header names so, else of the order that NAA shows."""
    named = [str(c).strip().lower() for c in scan.dimension_header("DIM_DYN").get("EditCondition", [])]
    if {"on", "off"} & set(named):
        return np.array([name == rule.removeprefix("edit ") for name in named])
    shares = {name: naa_share(scan, frames) for name, frames in sets.items() if frames.any()}
    for first, second in (("odd", "even"), ("first half", "second half")):
        found = {condition(shares.get(name)): name for name in (first, second)}
        if {"edit on", "edit off"} <= set(found):
            notes.append(f"{rule}: {found[rule]} of the frames, as NAA shows")
            return sets[found[rule]]
    if condition(shares["all"]) == rule:
        notes.append(f"{rule}: all frames, as NAA shows")
        return sets["all"]
    share = shares["all"]
    found = "creatine does not stand out" if share is None else f"NAA is {share:.2g} of creatine in all frames"
    raise InputError(
        f"{key}.use_frames is {rule!r}, and no frames with and without NAA alternate or follow each other ({found}); "
        "say odd, even, first half or second half, or all for a file of one condition"
    )


def _refuse_mixed(
    scan: Scan, frames: NDArray[np.bool_], rule: str, sets: dict[str, NDArray[np.bool_]], key: str
) -> None:
    """Refuse frames chosen by position of which some hold NAA and others do not."""
    parts = {name: naa_share(scan, frames & other) for name, other in sets.items() if (frames & other).any()}
    found = {condition(share) for name, share in parts.items() if name != "all"} - {None}
    if len(found) > 1:
        raise InputError(
            f"{key}.use_frames is {rule!r}, and of these frames some hold NAA and others do not: both editing "
            "conditions are among them; set it to 'edit off' or 'edit on'"
        )
