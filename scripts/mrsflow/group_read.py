"""Reading the tables and curves of a whole study for its figures and page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mrsflow import records
from mrsflow.config import Study, read_study
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table
from mrsflow.group_data import GRID, Spectra, Trial, status_of


def load(config: dict[str, Any]) -> Trial:
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
    blocks, long = _blocks(output / "group", config, study)
    quality = {
        "block": _below_each_other(output, study.keys, "desc-blocks_quality.tsv"),
        "session": _session_values(output, study.keys),
    }
    tables = {path.stem: read_table(path) for path in sorted((output / "group").glob("*.tsv"))}
    status = status_of(output, study.keys)
    return Trial(config, study, status, blocks, long, tables, quality, spectra_of(output, config, blocks))


def files_of(output: Path, stage: str, key: str, ending: str) -> list[Path]:
    """Files of a session's finished stage whose name ends so; none where the stage did not end well."""
    try:
        return [p for p in records.outputs_of(output, stage, key) if p.name.endswith(ending)]
    except records.Skipped:
        return []


def _below_each_other(output: Path, keys: list[str], ending: str) -> pd.DataFrame:
    found = [read_table(path) for key in keys for path in files_of(output, "preprocess", key, ending)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _session_values(output: Path, keys: list[str]) -> pd.DataFrame:
    paths = [p for key in keys for p in files_of(output, "preprocess", key, "desc-session_quality.json")]
    values = [{k: v for k, v in read_json(path).items() if not isinstance(v, list | dict)} for path in paths]
    return pd.DataFrame(values)


def sidecars_of(output: Path, keys: list[str]) -> list[dict[str, Any]]:
    """Sidecar of each metabolite scan, with the processing recorded for it where it was processed."""
    found = []
    for key in keys:
        processed = [read_json(p) for p in files_of(output, "preprocess", key, "desc-blocks_svs.json")]
        raw = [read_json(p) for p in files_of(output, "convert", key, "_svs.json")]
        steps = {"ProcessingApplied": processed[0].get("ProcessingApplied")} if processed else {}
        found += [{**sidecar, **steps} for sidecar in raw]
    return found


def _blocks(folder: Path, config: dict[str, Any], study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Blocks with outcome and denominator under fixed names, and the used values of every outcome, one per row."""
    path = folder / "blocks.tsv"
    table = read_table(path)
    outcome = config["group"]["outcome"]
    denominator = outcome.split("/")[1]
    needed = ["participant", "session", "visit", "arm", "block", "phase", "onset_s", "duration_s", "spectrum"]
    for name in (*needed, "excluded", "reason", "linewidth_hz", "snr", outcome, denominator):
        if name not in table:
            raise InputError(f"{path.name}: column {name!r} is missing; run the group stage again")
    table["participant"], table["session"] = table["participant"].astype(str), table["session"].astype(str)
    people = study.participants.set_index("participant")
    sex = people["sex"] if "sex" in people else pd.Series(dtype=object)
    blocks = table.assign(
        sex=table["participant"].map(sex),
        minutes=(table["onset_s"] + table["duration_s"] / 2) / 60,
        outcome=table[outcome],
        denominator=table[denominator],
        excluded=table["excluded"].astype(str).str.lower() == "true",
        reason=table["reason"].fillna(""),
    )
    ratios = [name for name in table if "/" in name and pd.api.types.is_numeric_dtype(table[name])]
    long = blocks[~blocks["excluded"]].melt(
        ["participant", "session", "arm", "block", "phase", "minutes"], ratios, "outcome", "value"
    )
    return blocks, long.dropna(subset=["value"])


def spectra_of(output: Path, config: dict[str, Any], blocks: pd.DataFrame) -> Spectra | None:
    """Mean spectrum of each session: of its infusion blocks, or of all while arms are masked; used blocks only.

    The scale is the mean fitted tNAA of the session's used baseline blocks (of all its used blocks where it has no
    baseline), so that a change of tNAA itself is not hidden.
    """
    used = blocks[~blocks["excluded"]]
    values, participants, arms = [], [], []
    for (participant, session), own in used.groupby(["participant", "session"]):
        paths = files_of(output, "fit", f"sub-{participant}_ses-{session}", "desc-blocks_mrsfit.npz")
        wanted = own[own["phase"] != "baseline"] if config["study"]["freeze"] else own
        scale = own.loc[own["phase"] == "baseline", "denominator"].mean()
        scale = own["denominator"].mean() if not np.isfinite(scale) else scale
        if not paths or wanted.empty or not scale > 0:
            continue
        values.append(_resampled(paths[0], wanted["spectrum"].to_numpy(int)) / scale)
        participants.append(participant)
        arms.append(own["arm"].iloc[0])
    if not values:
        return None
    low, high = config["fit"]["ppm"]
    inside = (low <= GRID) & (high >= GRID)
    return Spectra(GRID[inside], np.array(values)[:, inside], np.array(participants), np.array(arms))


def _resampled(path: Path, spectra: np.ndarray) -> np.ndarray:
    """Mean of some spectra of a session on the common chemical-shift axis."""
    with np.load(path, allow_pickle=False) as arrays:
        ppm, data = arrays["ppm"], arrays["data"]
    if spectra.max() >= len(data):
        raise InputError(f"{path.name}: holds {len(data)} spectra; the group tables name number {spectra.max()}")
    order = np.argsort(ppm)
    return np.interp(GRID, ppm[order], data[spectra].mean(axis=0)[order])
