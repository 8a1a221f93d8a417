"""Scans of a study beside each other: no scan under two names, and where voxels lie from one visit to the next."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import result_tables
from mrsflow.conversion.checks import voxel_dice, voxel_size
from mrsflow.errors import InputError
from mrsflow.files import read_json
from mrsflow.nifti_mrs import Scan
from mrsflow.study import layout
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    from mrsflow.study.study import Study


def refuse_same_scan(study: "Study", output: Path) -> None:
    """Refuse a scan that two sessions share, whole or in part.

    Raises
    ------
    InputError
        Frames of two metabolite scans, or of two nulled ones, are the same to the last digit.
    """
    seen: dict[tuple[bool, str], Path] = {}
    for key in study.keys:
        for path in sorted(layout.scans_folder(output / "bids", key).glob("sub-*_svs.json")):
            own = read_json(path).get("FrameChecksums", [])
            frames = [(layout.is_nulled(path), frame) for frame in own]
            if shared := [seen[frame] for frame in frames if frame in seen]:
                lines = study.samples.loc[study.samples["key"] == key, "line"]
                raise InputError(
                    f"{lines.iloc[0]}: {len(shared)} of the {len(frames)} frames of {path.stem} are those of "
                    f"{shared[0].stem}, signal by signal; correct column raw of one of them, or remove its "
                    "rows (in a dataset, its files), so that no scan counts twice"
                )
            seen |= dict.fromkeys(frames, path)


SAME_VOLUME = 0.1
"""Part by which the volumes of a voxel and of its water may differ; amounts by water are off by as much."""


def refuse_water_elsewhere(line: str, water: Scan, spectra_line: str, spectra: Scan, minimum: float) -> None:
    """Refuse a water reference that was not measured in the voxel of its spectra.

    Parameters
    ----------
    line, spectra_line : str
        Rows of either scan, for messages.
    water, spectra : Scan
        Whose voxels may be unknown.
    minimum : float
        Dice overlap that they need.

    Raises
    ------
    InputError
        The voxels overlap less than `minimum`, or differ in volume.
    """
    sizes = [voxel_size(scan) for scan in (water, spectra)]
    if any(size is None for size in sizes):
        return
    dice = voxel_dice(spectra.affine, water.affine)
    volumes = [float(np.prod(size)) * 1e-3 for size in sizes]
    if dice < minimum:
        raise InputError(
            f"{line}: its voxel overlaps that of the spectra in {spectra_line} by {dice:.2f} (Dice); name the water "
            "of that voxel, leave this one out (molar amounts are then not given), or set convert.minimum_voxel_dice "
            "lower where it was moved on purpose"
        )
    if abs(volumes[0] / volumes[1] - 1) > SAME_VOLUME:
        raise InputError(
            f"{line}: its voxel has {volumes[0]:.3g} ml and that of the spectra in {spectra_line} {volumes[1]:.3g} ml, "
            "by which amounts would be off; name the water of that voxel, or leave this one out (molar amounts are "
            "then not given)"
        )


def write_overlap(study: "Study", output: Path, minimum: float) -> list[Path]:
    """Write the overlap of each session's voxel with that of the participant's first.

    Parameters
    ----------
    study : Study
    output : Path
        Folder of all outputs; sessions that were not converted are left out.
    minimum : float
        Dice below which the status is ``warn``.

    Returns
    -------
    list of Path
        ``derivatives/mrsflow/desc-voxel_quality.tsv`` and its data dictionary.
    """
    ordered = study.sessions.sort_values(["participant", "visit"], kind="stable")
    first: dict[str, tuple[str, Any]] = {}
    rows = []
    for row in ordered.to_dict("records"):
        affine = _voxel(layout.scans_folder(output / "bids", row["key"]))
        if affine is None:
            continue
        if row["participant"] not in first:
            first[row["participant"]] = (row["session"], affine)
            continue
        session, reference = first[row["participant"]]
        dice = voxel_dice(reference, affine)
        own, other = SessionKey.of(row["key"]), SessionKey(row["participant"], session)
        names = {"participant_id": own.participant_id, "session_id": own.session_id}
        names |= {"reference_session_id": other.session_id}
        rows.append(names | {"dice": dice, "status": "pass" if dice >= minimum else "warn"})
    path = layout.derivatives(output) / layout.VOXEL_QUALITY
    return result_tables.write(result_tables.from_rows(rows, "voxel_quality"), path, described=True)


def _voxel(folder: Path) -> Any:
    """Voxel of the first metabolite scan of a session, None where there is none or it is unknown."""
    sidecars = [path for path in sorted(folder.glob("sub-*_svs.json")) if not layout.is_nulled(path)]
    affine = read_json(sidecars[0]).get("VoxelAffine") if sidecars else None
    return None if affine is None else np.asarray(affine)
