"""Tissue in the voxels of a session: maps that a study names in, a table out."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import result_tables
from mrsflow.anatomy import derivatives, images, tissue, voxel_maps
from mrsflow.anatomy.derivatives import Maps
from mrsflow.anatomy.tissue import TISSUES, Fractions
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, is_there, read_json
from mrsflow.study import layout
from mrsflow.study.study import segmenter

if TYPE_CHECKING:
    from mrsflow.study.study import Study

MNI = ("mni_x_mm", "mni_y_mm", "mni_z_mm")
BRAIN, PARENCHYMA = 0.5, 0.25
"""Parts of a voxel that must be brain, and grey or white matter: amounts are those of its grey and white matter."""
COVERED, OTHER, PURE = 0.98, 0.1, 0.95
"""Parts of a voxel about which a warning is given: less covered by the maps, more of no tissue, more of one alone."""


def faults_of_maps(study: "Study", config: dict[str, Any]) -> list[str]:
    """Find what is wrong with the maps of a study, before any job; a session without maps is no fault."""
    found: list[str] = []
    maps_of_sessions(study.keys, study, config, found)
    if config["inputs"]["to_template"] and not any(transforms_of(key, config) for key in study.keys):
        first = layout.place_of(config["inputs"]["to_template"], study.keys[0])
        found.append(f"inputs.to_template: no session has such a file (looked for {first}); correct it, or say null")
    return list(dict.fromkeys(found))


def maps_of_sessions(
    keys: Collection[str], study: "Study", config: dict[str, Any], faults: list[str] | None = None
) -> dict[str, Maps | None]:
    """Find the maps of sessions: rows of the samples table, else the first folder of ``inputs.tissue`` with any.

    Parameters
    ----------
    keys : collection of str
        ``sub-X_ses-Y``.
    study : Study
    config : dict
    faults : list of str, optional
        Gets what is wrong with a session, which then has no maps, instead of an error.

    Raises
    ------
    InputError
        Rows of some of the three maps alone, or `derivatives.find` refuses a folder.
    """
    given: dict[str, list[dict[str, Any]]] = {}
    for row in study.samples[study.samples["role"].isin(layout.MAPS)].to_dict("records"):
        given.setdefault(row["key"], []).append(row)
    sessions = study.sessions["participant"].value_counts().to_dict()
    found: dict[str, Maps | None] = {}
    for key in keys:
        try:
            found[key] = _given(given[key]) if key in given else _in_folders(key, config, sessions)
        except InputError as error:
            if faults is None:
                raise
            faults.append(str(error))
            found[key] = None
    return found


def without_maps(study: "Study", config: dict[str, Any]) -> list[str]:
    """Sessions of a study that have no maps of tissue, and no T1w that is segmented."""
    images = set(study.samples.loc[study.samples["role"] == "T1w", "key"])
    made = images if segmenter(config, study.samples) not in ("none", "auto") else set()
    found = maps_of_sessions(study.keys, study, config, [])
    return [key for key, maps in found.items() if maps is None and key not in made]


def _in_folders(key: str, config: dict[str, Any], sessions: dict[str, int]) -> Maps | None:
    """Give the maps of a session in the folders of other programs; `sessions` is how many each participant has."""
    session = layout.SessionKey.of(key)
    for folder in config["inputs"]["tissue"]:
        if found := derivatives.find(Path(folder), session.participant_id, session.session_id):
            return replace(found, of_session=found.of_session or sessions.get(session.participant) == 1)
    return None


def _given(rows: list[dict[str, Any]]) -> Maps:
    """Give the maps that rows of the samples table name."""
    paths, first = {row["role"]: row["raw"] for row in rows}, rows[0]["line"]
    for row in rows:
        if len(row["raw"]) > 1:
            raise InputError(f"{row['line']}: names {len(row['raw'])} files, and a map is one")
    if len(paths) < len(rows):
        twice = next(row for n, row in enumerate(rows) if row["role"] in [other["role"] for other in rows[:n]])
        raise InputError(f"{twice['line']}: is a second map of {twice['role']} of the session; keep one")
    if "tissue" in paths:
        if len(paths) > 1:
            raise InputError(f"{first}: the session has labels (role tissue) and maps (GM, WM, CSF); keep one kind")
        return Maps("samples table", {"labels": paths["tissue"][0]})
    if lacking := [name for name in TISSUES if name not in paths]:
        raise InputError(
            f"{first}: is a map of {rows[0]['role']}, and the session has no row of role {', '.join(lacking)}; add it, "
            "as three maps make up the tissue, or give one segmentation by FreeSurfer's labels as role tissue"
        )
    return Maps("samples table", {name: path[0] for name, path in paths.items()})


def displacement(protocol: dict[str, Any], spectrometer_frequency: float) -> float | None:
    """Find how far 1 ppm of chemical shift moves the voxel along a refocused side, in percent of that side.

    Parameters
    ----------
    protocol : dict
        Of the configuration; its refocusing pulses decide it, None where they are not known.
    spectrometer_frequency : float
        MHz.
    """
    if not protocol.get("refocusing"):
        return None
    return 100 * spectrometer_frequency / Pulse.from_protocol(protocol["refocusing"]).slice_width()


def of_session(
    key: str,
    converted: list[Path],
    maps: Maps | None,
    t1w: Path | None,
    program: str | None,
    protocols: dict[str, dict[str, Any]],
    config: dict[str, Any],
    output: Path,
) -> list[Path]:
    """Segment the T1w of a session where it has no maps, take the transform that the study gives, and measure.

    A segmentation that failed and a transform that cannot be read are problems of this session, told in its table.

    Parameters
    ----------
    key, converted, maps, t1w, protocols, output
        See `measure_session`.
    program : str, optional
        What segments `t1w`; None where nothing does.
    config : dict
        Checked configuration.
    """
    written: list[Path] = []
    problem = remark = ""
    if program is not None and t1w is not None:
        from mrsflow.quantification import segmenters

        try:
            maps, written = segmenters.segment_session(program, t1w, key, output)
        except InputError as error:
            problem = str(error).replace(str(t1w), t1w.name)
    to_template, given = maps.to_template if maps else None, []
    try:
        given = given_transform(key, config, output)
    except InputError as error:
        remark = str(error)
    to_template = next(iter(given), to_template)
    tables = measure_session(key, converted, maps, t1w, protocols, output, problem, to_template, remark)
    return [*written, *given, *tables]


def measure_session(
    key: str,
    converted: list[Path],
    maps: Maps | None,
    t1w: Path | None,
    protocols: dict[str, dict[str, Any]],
    output: Path,
    problem: str = "",
    to_template: Path | None = None,
    remark: str = "",
) -> list[Path]:
    """Measure the tissue in every metabolite scan of a session; one table for each task.

    Parameters
    ----------
    key : str
        ``sub-X_ses-Y``.
    converted : list of Path
        What conversion wrote for it.
    maps : Maps or None
        None: there are none for this session; its rows say so.
    t1w : Path or None
        The anatomical image, whose contrast is looked at.
    protocols : dict
        Of its metabolite scans.
    output : Path
        Folder of all outputs.
    problem : str
        Why the anatomical image could not be segmented.
    to_template : Path, optional
        Text file with the affine matrix from the scanner to the template.
    remark : str
        What else a reader must know.

    Notes
    -----
    A session whose tissue cannot be measured keeps its spectra: the row of the scan has no fractions and says why.
    """
    scans = [path for path in sorted(converted) if path.name.endswith("_svs.json") and not layout.is_nulled(path)]
    folder = layout.scans_folder(layout.derivatives(output), key)
    read, lacking, remarks = _read(maps, t1w)
    problem, mni, remarks = problem or lacking, _in_template(to_template), [*remarks, *([remark] if remark else [])]
    written = []
    for stem in dict.fromkeys(map(layout.session_stem, scans)):
        rows = []
        for path in (path for path in scans if layout.session_stem(path) == stem):
            sidecar = read_json(path)
            found, said = (None, problem) if read is None else _measured(read, sidecar.get("VoxelAffine"))
            row = {**layout.SessionKey.of(key)._asdict(), "scan": layout.scan_stem(path)}
            row |= {"source": maps.program if maps else None, **(asdict(found) if found else {})}
            row |= mni(sidecar.get("VoxelAffine"))
            moved = [displacement(protocol, sidecar["SpectrometerFrequency"][0]) for protocol in protocols.values()]
            row["displacement_percent_per_ppm"] = moved[0] if len(moved) == 1 else None
            row["status"] = "fail" if found is None else "warn" if said or remarks else "pass"
            row["message"] = "; ".join(filter(None, [said, *remarks])) or None
            rows.append(row)
        written += result_tables.write(
            result_tables.from_rows(rows, "tissue"), layout.result(folder / stem, layout.TISSUE)
        )
    return written


def transforms_of(key: str, config: dict[str, Any]) -> list[Path]:
    """File of the transform to the template that the study gives for a session; none where it is not there."""
    pattern = config["inputs"]["to_template"]
    return [path for path in [layout.place_of(pattern, key)] if is_there(path)] if pattern else []


def given_transform(key: str, config: dict[str, Any], output: Path) -> list[Path]:
    """Write the transform that the study gives for a session beside its results; gives its path, if any.

    Raises
    ------
    InputError
        See `voxel_maps.read_transform`; names the file.
    """
    written = []
    for given in transforms_of(key, config):
        path = layout.session_folder(layout.derivatives(output), key) / "anat" / f"{key}_{layout.TO_GIVEN}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            matrix = voxel_maps.read_transform(given)
        except InputError as error:
            raise InputError(_named(error, [given])) from None
        with atomic_path(path) as temporary:
            np.savetxt(temporary, matrix, fmt="%.6f")
        written.append(path)
    return written


def _in_template(path: Path | None) -> Callable[[list[list[float]] | None], dict[str, float]]:
    """Give what tells the cells of a voxel's centre in the template; none without a transform."""
    matrix = None if path is None else np.loadtxt(path)

    def cells(affine: list[list[float]] | None) -> dict[str, float]:
        if affine is None or matrix is None:
            return {}
        return dict(zip(MNI, map(float, (matrix @ np.asarray(affine)[:, 3])[:3]), strict=True))

    return cells


def _read(maps: Maps | None, t1w: Path | None) -> tuple[dict[str, Any] | None, str, list[str]]:
    """Read maps; gives them, what is wrong, and remarks on them and on the image."""
    if maps is None:
        return (
            None,
            "there are no maps of tissue of this session; add rows of role GM, WM and CSF, a folder (inputs.tissue), "
            "or its T1w (inputs.segment)",
            [],
        )
    try:
        read = tissue.read_maps(maps.paths)
    except InputError as error:
        return None, _named(error, maps.paths.values()), []
    remarks = []
    if not maps.of_session:
        remarks.append("the maps are the participant's: right where the session's images lie in the space of these")
    if "labels" in maps.paths:
        remarks.append("voxels without a label are counted as CSF")
    try:
        if t1w is not None and (said := _contrast_of(images.read(t1w), read)):
            remarks.append(f"{t1w.name}: {said}")
    except InputError as error:
        remarks.append(_named(error, [t1w]))
    return read, "", remarks


def _contrast_of(image: Any, maps: dict[str, Any]) -> str:
    """Say what speaks against an image as the T1w of maps; empty for one that is."""
    means = tissue.contrast(image, maps)
    if not np.all(np.isfinite(means)):
        return "does not lie where the maps of tissue do; are they in the space of this image?"
    if tissue.is_t1_weighted(*means):
        return ""
    listed = ", ".join(f"{name} {mean:.3g}" for name, mean in zip(TISSUES, means, strict=True))
    return f"is no T1-weighted image, in which WM is brighter than GM and GM than CSF (means: {listed})"


def _named(error: InputError, paths: Any) -> str:
    """Message in which files have their name alone: tables are outputs, and folders may be named after a person."""
    text = str(error)
    for path in paths:
        text = text.replace(str(path), path.name)
    return text


def _measured(maps: dict[str, Any], affine: list[list[float]] | None) -> tuple[Fractions | None, str]:
    """Fractions of a scan's voxel, and a remark; or None, and why there are none."""
    if affine is None:
        return None, "the header does not say where the voxel is"
    try:
        found = tissue.fractions(maps, np.asarray(affine))
    except InputError as error:
        return None, str(error)
    return judged(found)


def judged(found: Fractions) -> tuple[Fractions | None, str]:
    """Judge fractions: what is left of them, and a remark.

    >>> judged(Fractions(0.6, 0.3, 0.1, 0.0, 1.0))[1]
    ''
    >>> judged(Fractions(0.1, 0.1, 0.1, 0.7, 1.0))
    (None, 'the voxel holds 30 % brain, and at least 50 % is needed; is its position that of the maps?')
    """
    if found.coverage == 0:
        return None, "the voxel lies outside the maps of tissue; are they of this session, in the space of its scanner?"
    for part, least, name in (
        (found.brain, BRAIN, "brain"),
        (found.GM + found.WM, PARENCHYMA, "grey and white matter"),
    ):
        if part < least:
            return None, (
                f"the voxel holds {100 * part:.0f} % {name}, and at least {100 * least:.0f} % is needed; is its "
                "position that of the maps?"
            )
    said = []
    if found.coverage < COVERED:
        said.append(f"the maps cover {100 * found.coverage:.0f} % of the voxel")
    if found.other > OTHER:
        said.append(f"{100 * found.other:.0f} % of the voxel is no tissue")
    for name in ("GM", "WM"):
        if (share := getattr(found, name)) > PURE:
            said.append(f"{100 * share:.0f} % of the voxel is {name} alone: a correction by tissue is an extrapolation")
    return found, "; ".join(said)


@dataclass(frozen=True)
class Held:
    """Tissue of the voxel of a series, for its amounts: fractions of the three tissues, or why there are none.

    Attributes
    ----------
    fractions : dict of str to float or None
        Of GM, WM and CSF; their sum is 1.
    source : str
        Where they come from.
    problem : str
        Why there are none.
    """

    fractions: dict[str, float] | None
    source: str = ""
    problem: str = ""


def held_by(paths: list[Path], beginning: str) -> Held:
    """Read what the voxel of a series holds: the mean of its runs.

    Parameters
    ----------
    paths : list of Path
        Tables of tissue of the session.
    beginning : str
        What the names of the results of the series begin with.
    """
    path = next((path for path in paths if path.name == f"{beginning}_{layout.TISSUE}"), None)
    if path is None:
        return Held(None, problem="the tissue of its voxel was not measured")
    table = result_tables.read(path)
    found = table[table["status"] != "fail"]
    if found.empty:
        return Held(None, problem=str(table["message"].iloc[0]))
    means = {name: float(np.mean(found[name])) for name in TISSUES}
    total = sum(means.values())
    return Held({name: value / total for name, value in means.items()}, str(found["source"].iloc[0]))
