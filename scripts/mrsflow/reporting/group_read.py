"""Reading the tables and curves of a whole study for its figures and page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_json
from mrsflow.reporting.group_data import GRID, Spectra, TrialResults
from mrsflow.study import cohort, layout, metrics, records
from mrsflow.study.study import read_study
from mrsflow.study.trial import conditions_of, planned

LARGE = ("blocks_long",)
"""Tables to download that no figure needs."""
NAMES = {"arm": "condition"}
"""Columns of written tables by the name that they have everywhere else."""
NAA_PPM = (1.9, 2.1)
"""Range in which the highest point of a baseline spectrum sets the scale of its session."""


def load(config: dict[str, Any]) -> TrialResults:
    """Read what the stages left of a study.

    Parameters
    ----------
    config : dict
        Checked configuration.

    Raises
    ------
    InputError
        A table is missing or lacks a column.
    """
    output = Path(config["output"])
    study = read_study(config)
    tables = {
        path.stem: result_tables.read(path)
        for path in sorted((output / "group").glob("[!.]*.tsv"))
        if path.stem in result_tables.tables() and path.stem not in LARGE
    }
    for name in ("blocks_wide", "exclusions", "flow", "reliability", "session_changes", "time_course"):
        if name not in tables:
            raise InputError(f"group/{name}.tsv is missing; run the group stage")
    sessions = planned(config, study)
    blocks = blocks_of(tables["blocks_wide"], tables["exclusions"], config, sessions)
    tables = {name: table.rename(columns=NAMES) for name, table in tables.items()}
    status = status_of(output, study.keys)
    fitted = status[(status["stage"] == "fit") & (status["status"] == "ok")]["session"]
    located = cohort.locate(output, list(fitted))
    ruled = tuple(r["metric"] for r in config["quality"]["rules"] if r["metric"] != "fit_status")
    wanted = ("participant", "session", "block", "n_transients", "snr", "snr_definition", "linewidth_hz", *ruled)
    of_blocks = cohort.read_tables(located, layout.BLOCK_QUALITY, tuple(dict.fromkeys(wanted)))
    if of_fits := metrics.of_fits(config["quality"]["rules"]):
        fits = cohort.read_tables(located, layout.FIT_QUALITY, ("block", *of_fits))
        of_blocks = of_blocks.merge(fits, on=["key", "block"], how="left")
    quality = {
        "block": of_blocks,
        "session": cohort.session_values(located),
    }
    spectra = spectra_of(output, config, blocks)
    made = (spectra, cohort.sources_of_amounts(output, located), places_of(output, study.keys))
    return TrialResults(config, sessions, blocks, conditions_of(config), study.keys, status, tables, quality, *made)


def status_of(output: Path, keys: list[str]) -> pd.DataFrame:
    """Tell what became of each session at each stage; ``not run`` where there is no record."""
    rows = []
    for key in keys:
        for stage in layout.STAGES:
            record = records.read_record(output, stage, key) or {"status": "not run", "reason": ""}
            rows.append({"session": key, "stage": stage, "status": record["status"], "reason": record["reason"]})
    return pd.DataFrame(rows, columns=["session", "stage", "status", "reason"])


def files_of(output: Path, stage: str, key: str, ending: str) -> list[Path]:
    """Files of a session's finished stage whose name ends so; none where the stage did not end well."""
    try:
        return [p for p in records.outputs_of(output, stage, key) if p.name.endswith(ending)]
    except records.Skipped:
        return []


def sidecars_of(output: Path, keys: list[str]) -> list[dict[str, Any]]:
    """Sidecar of each metabolite scan, with the processing recorded for it where it was processed."""
    found = []
    for key in keys:
        processed = [read_json(p) for p in files_of(output, "preprocess", key, layout.SIDECAR)]
        steps = {"ProcessingApplied": processed[0].get("ProcessingApplied")} if processed else {}
        scans = [p for p in files_of(output, "convert", key, "_svs.json") if not layout.is_nulled(p)]
        found += [{**read_json(p), **steps} for p in scans]
    return found


def places_of(output: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Affine of the voxel of each session in the template (mm); of sessions whose transform is known."""
    found = {}
    for key in keys:
        transforms = files_of(output, "measure_tissue", key, layout.TRANSFORM)
        scans = [p for p in files_of(output, "convert", key, "_svs.json") if not layout.is_nulled(p)]
        affine = read_json(scans[0]).get("VoxelAffine") if scans else None
        if transforms and affine is not None:
            given = [path for path in transforms if path.name.endswith(layout.TO_GIVEN)]
            found[key] = np.loadtxt((given or transforms)[0]) @ np.asarray(affine, dtype=float)
    return found


def blocks_of(
    table: pd.DataFrame, exclusions: pd.DataFrame, config: dict[str, Any], sessions: pd.DataFrame
) -> pd.DataFrame:
    """Table of blocks with what figures need beside it.

    Returns
    -------
    DataFrame
        With sex, minutes (middle of the block, or the visit where visits are before and after), outcome (the primary
        one) and left_out: of a session that the models leave out although no rule excludes the block.

    Raises
    ------
    InputError
        A column is missing.
    """
    outcome, visits = config["group"]["outcome"], config["study"]["baseline_visits"]
    needed = ["participant", "session", "visit", "arm", "block", "phase", "onset_s", "duration_s", "spectrum"]
    for name in (*needed, "fit_status", "fit_reason", "excluded", "reason", "linewidth_hz", "snr", outcome):
        if name not in table:
            raise InputError(f"group/blocks_wide.tsv: column {name!r} is missing; run the group stage again")
    people = sessions.drop_duplicates("participant").set_index("participant")
    gone = exclusions[exclusions["action"] == "left out"]
    why = dict(zip(zip(gone["participant"], gone["session"], strict=True), gone["reason"], strict=True))
    own = [why.get(key) for key in zip(table["participant"], table["session"], strict=True)]
    left_out = pd.Series([reason is not None for reason in own], index=table.index) & ~table["excluded"]
    return table.rename(columns=NAMES).assign(
        sex=table["participant"].map(people["sex"]) if "sex" in people else None,
        minutes=table["visit"] if visits else (table["onset_s"] + table["duration_s"] / 2) / 60,
        outcome=table[outcome],
        left_out=left_out,
        reason=table["reason"].where(~left_out, pd.Series(own, index=table.index)).fillna(""),
    )


def spectra_of(output: Path, config: dict[str, Any], blocks: pd.DataFrame) -> Spectra | None:
    """Mean spectrum of each session: of its infusion blocks, or of all while arms are masked; used blocks only.

    The scale is the height of NAA in the mean of the session's used baseline blocks (of all its used blocks where it
    has no baseline), so that a change of NAA itself is not hidden.
    """
    values, participants, conditions = [], [], []
    used = blocks[~(blocks["excluded"] | blocks["left_out"])]
    for (participant, session), own in used.groupby(["participant", "session"]):
        paths = files_of(output, "fit", str(layout.SessionKey(participant, session)), layout.FIT_CURVES)
        rest = own["phase"] == "baseline"
        wanted = own[~rest] if config["study"]["freeze"] else own
        if not paths or wanted.empty:
            continue
        spectra = _resampled(paths[0], own["spectrum"].to_numpy(int))
        base = spectra[rest] if rest.any() else spectra
        naa = (NAA_PPM[0] < GRID) & (NAA_PPM[1] > GRID)
        values.append(spectra[own.index.isin(wanted.index)].mean(axis=0) / base.mean(axis=0)[naa].max())
        participants.append(participant)
        conditions.append(own["condition"].iloc[0])
    if not values:
        return None
    low, high = config["fit"]["ppm"]
    inside = (low <= GRID) & (high >= GRID)
    return Spectra(GRID[inside], np.array(values)[:, inside], np.array(participants), np.array(conditions))


def _resampled(path: Path, spectra: np.ndarray) -> np.ndarray:
    """Spectra of a session on the common chemical-shift axis."""
    with np.load(path, allow_pickle=False) as arrays:
        ppm, data = arrays["ppm"], arrays["data"]
    if spectra.max() >= len(data):
        raise InputError(f"{path.name}: holds {len(data)} spectra; the group tables name number {spectra.max()}")
    order = np.argsort(ppm)
    return np.array([np.interp(GRID, ppm[order], row[order]) for row in data[spectra]])
