"""Maps inside the voxels of a session, from files that the configuration names."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import result_tables
from mrsflow.anatomy import images, voxel_maps
from mrsflow.errors import InputError
from mrsflow.files import is_there, read_json
from mrsflow.study import layout
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    from mrsflow.study.study import Study

LEAST, WHOLE = 0.5, 0.98
"""Parts of a voxel that a map must cover to have a mean there, and below which a remark is made."""


def files_of(key: str, maps: dict[str, dict[str, Any]]) -> list[Path]:
    """Every file that the maps of a session name."""
    patterns = [own[name] for own in maps.values() for name in ("file", "to_space") if own[name]]
    return [layout.place_of(pattern, key) for pattern in patterns]


def faults_of_maps(study: "Study", config: dict[str, Any]) -> list[str]:
    """Find maps that no session has, before any job; a session without one lacks a value."""
    found = []
    for name, own in config["inputs"]["maps"].items():
        for what in ("file", "to_space"):
            places = [layout.place_of(own[what], key) for key in study.keys] if own[what] else []
            if places and not any(map(is_there, places)):
                found.append(
                    f"inputs.maps.{name}.{what}: no session has such a file (looked for {places[0]}); correct it, or "
                    "take the map out"
                )
    return found


def measure_session(key: str, converted: list[Path], maps: dict[str, dict[str, Any]], output: Path) -> list[Path]:
    """Look every map up inside the voxel of each metabolite scan; one table for each task.

    Parameters
    ----------
    key : str
        ``sub-X_ses-Y``.
    converted : list of Path
        What conversion wrote for it.
    maps : dict
        ``inputs.maps`` of the configuration.
    output : Path
        Folder of all outputs.

    Notes
    -----
    A map that cannot be looked up costs no session: its row has no values and says why.
    """
    scans = [path for path in sorted(converted) if path.name.endswith("_svs.json") and not layout.is_nulled(path)]
    folder = layout.scans_folder(layout.derivatives(output), key)
    written = []
    for stem in dict.fromkeys(map(layout.session_stem, scans)):
        own = [path for path in scans if layout.session_stem(path) == stem]
        places = {layout.scan_stem(path): read_json(path).get("VoxelAffine") for path in own}
        rows = [
            {**SessionKey.of(key)._asdict(), "scan": name, "map": title, **_measured(key, affine, entry)}
            for title, entry in maps.items()
            for name, affine in places.items()
        ]
        table = result_tables.from_rows(rows, "voxel_maps")
        written += result_tables.write(table, layout.result(folder / stem, layout.VOXEL_MAPS))
    return written


def _measured(key: str, affine: list[list[float]] | None, entry: dict[str, Any]) -> dict[str, Any]:
    """Cells of a map in the voxel of a scan."""
    path, transform = (
        None if entry[name] is None else layout.place_of(entry[name], key) for name in ("file", "to_space")
    )
    try:
        if affine is None:
            raise InputError("the header does not say where the voxel is")
        matrix = None if transform is None else voxel_maps.read_transform(transform)
        found = voxel_maps.inside(images.read(path), np.asarray(affine), matrix)
    except InputError as error:
        message = str(error)
        for file in filter(None, (path, transform)):
            message = message.replace(str(file), file.name)
        return {"status": "fail", "message": message}
    if found.coverage < LEAST:
        return {
            "coverage": found.coverage,
            "status": "fail",
            "message": f"the map covers {100 * found.coverage:.0f} % of the voxel; is it in the space of the scanner?",
        }
    few = found.coverage < WHOLE
    said = f"the map covers {100 * found.coverage:.0f} % of the voxel" if few else None
    return {**asdict(found), "status": "warn" if few else "pass", "message": said}
