"""What sessions lack and will therefore not have, said before any job."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from mrsflow import result_tables
from mrsflow.files import is_there
from mrsflow.study import covariates, layout
from mrsflow.study.layout import SessionKey
from mrsflow.study.study import has_maps, segmenter

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.study import Study

SHOWN = 3
"""Sessions that a line names."""
SCANS = {
    "svs": ("metabolite spectra (role svs)", "blocks, fits and every outcome"),
    "mrsref": (
        "a water reference (role mrsref)",
        "amounts by water, outcomes per water and eddy-current correction, unless the file of the spectra holds water",
    ),
    "T1w": ("an anatomical image (role T1w)", "the picture of the voxel, and its tissue where no maps are named"),
}
"""Roles of scans that a session may lack: the input in words, and what there will not be."""

ALIGNED = ("mrsflow", "atropos")
"""What segments in a template, and so knows the place of a voxel there."""
UNSEGMENTED = (
    "maps of tissue (pip install 'mrsflow[tissue]' has the T1w segmented, inputs.segment: none leaves it as it is)"
)
"""What a session lacks whose T1w would be segmented if the packages were there."""


def lacking(study: "Study", config: dict[str, Any], without_maps: Collection[str] = ()) -> "pd.DataFrame":
    """List what each session of a study lacks.

    Parameters
    ----------
    study : Study
    config : dict
    without_maps : collection of str
        Sessions (``sub-X_ses-Y``) without maps of tissue, in a study that names some for others.

    Returns
    -------
    DataFrame
        The table ``session_inputs``: participant, session, lacks, without.
    """
    rows = []
    for key, (lacks, without) in sorted(_found(study, config, set(without_maps)), key=lambda pair: pair[0]):
        rows.append({**SessionKey.of(key)._asdict(), "lacks": lacks, "without": without})
    return result_tables.from_rows(rows, "session_inputs")


def _found(study: "Study", config: dict[str, Any], without_maps: set[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    scanned = {role: set(study.samples.loc[study.samples["role"] == role, "key"]) for role in SCANS}
    with_rows = set(study.keys)
    unsegmented = scanned["T1w"] if segmenter(config, study.samples) == "auto" else set()
    measured = has_maps(config, study.samples)
    given = config["inputs"]["to_template"]
    with_maps = set(study.samples.loc[study.samples["role"].isin(layout.MAPS), "key"])
    aligned = scanned["T1w"] - with_maps if segmenter(config, study.samples) in ALIGNED else set()
    for key in study.sessions["key"]:
        if key not in with_rows:
            yield key, ("any scan (no row in the samples table)", "any output but its rows in the tables")
            continue
        for role, said in SCANS.items():
            if key not in scanned[role]:
                yield key, said
        if key in without_maps:
            lacks = UNSEGMENTED if key in unsegmented else "maps of tissue"
            yield key, (lacks, "amounts by water, as other sessions have measured tissue")
        elif key in unsegmented and not measured:
            yield key, (UNSEGMENTED, "fractions of tissue; amounts by water are those of an assumed voxel")
        if given and key not in aligned and not is_there(layout.place_of(given, key)):
            yield key, ("its transform to the template (inputs.to_template)", "the place of its voxel there")
        for name, entry in config["inputs"]["maps"].items():
            files = [layout.place_of(entry[part], key) for part in ("file", "to_space") if entry[part]]
            if not all(map(is_there, files)):
                yield key, (f"a file of the map {name}", f"a value of {name} and the models that take it")
    for column, without in _columns(study, config).items():
        every = covariates.joined(study.sessions, study.participants)
        gaps = every[column].isna() if column in every else every["key"].notna()
        for key in every.loc[gaps, "key"]:
            yield key, (f"a value of {column}", without)


def _columns(study: "Study", config: dict[str, Any]) -> dict[str, str]:
    """Columns of the tables that are used, and what a session without a value is not in."""
    group = config["group"]
    found: dict[str, str] = {}
    if scale := group["mood_scale"]:
        for point in (group["mood_baseline"], group["mood_followup"]):
            if f"{scale}_{point}" in study.sessions:
                found[f"{scale}_{point}"] = f"the clinical outcome ({scale}) and its link with the spectra"
    for other in group["clinical"]:
        for point in (other["baseline"], *other["followups"]):
            if f"{other['scale']}_{point}" in study.sessions:
                found[f"{other['scale']}_{point}"] = f"the models of {other['scale']}"
    known = {*study.sessions, *study.participants}
    found |= {name: f"the moderation by {name}" for name in group["moderators"] if name in known}
    return found | {name: f"the models, which adjust for {name}" for name in group["adjust_for"] if name in known}


def lines(table: "pd.DataFrame", n_sessions: int) -> list[str]:
    """Put the table in words: a line for each thing that is lacking, with the sessions that lack it."""
    found = []
    for (lacks, without), own in table.groupby(["lacks", "without"], sort=False):
        keys = [str(SessionKey(*pair)) for pair in zip(own["participant"], own["session"], strict=True)]
        named = ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
        found.append(f"{len(keys)} of {n_sessions} sessions lack {lacks} ({named}): without {without}")
    return found
