"""Writes the files that finished fits leave, for a simulated trial: what the group stage reads, without any spectra."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from small_config import PRESS

from mrsflow import files
from mrsflow.statistics import group as group_stage
from mrsflow.study import config as study_config

METABOLITES = ("Glu", "Gln", "NAA", "Cr", "PCr", "GPC", "tNAA", "tCr", "tCho", "Glx")
BINS = {"baseline": [-8, 0], **{f"infusion{i}": [8 * (i - 1), 8 * i] for i in range(1, 6)}}
SHAPE = np.array([0.0, 0.4, 0.9, 1.0, 1.0, 1.0])
FIT_COLUMNS = (
    "participant", "session", "block", "phase", "onset_s", "duration_s", "n_transients", "n_rejected", "spectrum",
    "metabolite", "amplitude", "sd", "sd_percent", "per_tcr", "per_tcr_sd", "per_tnaa", "per_tnaa_sd", "molar_mM",
    "molar_sd",
)  # fmt: skip


@dataclass
class Made:
    """Where a trial was written, and what was put in."""

    config: Path
    status: Path
    output: Path
    values: dict  # key -> Glx/tNAA of each block


def write(
    folder: Path,
    n: int = 12,
    seed: int = 1,
    conditions: tuple[str, ...] = ("placebo", "naltrexone"),
    design: str = "crossover",
    attenuation: float = 0.5,
    sd_session: float = 0.03,
    group: dict | None = None,
    freeze: bool = True,
    metabolites: tuple[str, ...] = METABOLITES,
    codes: tuple[str, ...] = (),
) -> Made:
    """Write records, tables and study tables of a complete trial."""
    rng = np.random.default_rng(seed)
    visits = len(conditions) if design == "crossover" else 1
    participants, sessions, samples, status, values = [], [], [], [], {}
    output = folder / "results"
    for i in range(n):
        code = codes[i] if codes else f"{i + 1:03d}"
        participants.append((code, "FM"[(i // 2) % 2], str(20 + (i * 7) % 30), f"site{i % 3 // 2}"))
        person, response, mood = rng.normal(1, 0.08), rng.normal(0, 0.01), rng.normal(28, 4)
        for visit in range(visits):
            arm = conditions[(i + visit) % len(conditions)]
            key = f"sub-{code}_ses-{visit + 1}"
            rise = (0.06 if conditions.index(arm) == 0 else 0.06 * (1 - attenuation)) + response + rng.normal(0, 0.01)
            level = person + rng.normal(0, sd_session) + 0.01 * visit
            values[key] = 1.35 * (level + rise * SHAPE + rng.normal(0, 0.03, len(SHAPE)))
            after = mood - (12 if conditions.index(arm) == 0 else 8) + rng.normal(0, 4)
            scores = (f"{mood + rng.normal(0, 2):.0f}", f"{after:.0f}", f"{rng.uniform(0, 1):.3f}")
            sessions.append((code, str(visit + 1), str(visit + 1), arm, *scores))
            samples.append((code, str(visit + 1), "svs", "press", f"{key}.dat"))
            status.append((key, "ok", ""))
            write_session(output, key, values[key], metabolites, rng)
    (folder / "config").mkdir(parents=True, exist_ok=True)
    table(folder / "config" / "participants.tsv", ("participant", "sex", "age", "site"), participants)
    columns = ("participant", "session", "visit", "arm", "madrs_pre", "madrs_day1", "occupancy")
    table(folder / "config" / "sessions.tsv", columns, sessions)
    table(folder / "config" / "samples.tsv", ("participant", "session", "role", "protocol", "raw"), samples)
    table(output / "status" / "fit" / "batches" / "all.tsv", ("session", "status", "reason"), status)
    config = {
        "study": {"design": design, "conditions": list(conditions), "freeze": freeze},
        "inputs": {name: str(folder / "config" / f"{name}.tsv") for name in ("samples", "participants", "sessions")},
        "output": str(output),
        "protocols": {"press": PRESS | {"echo_time_ms": 35}},
        "blocks": {"bins": BINS, "baseline": ["baseline"]},
        "group": {"draws": 499, **(group or {})},
    }
    path = folder / "config" / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return Made(path, output / "status" / "fit" / "batches" / "all.tsv", output, values)


def table(path: Path, columns, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(map(str, row)) for row in [columns, *rows]) + "\n")


def write_session(output: Path, key: str, glx: np.ndarray, metabolites: tuple[str, ...], rng) -> None:
    """Write the tables and records of one session; tNAA is 12.5 and Glx follows from the ratio."""
    participant, session = key.removeprefix("sub-").split("_ses-")
    folder = output / "derivatives" / "mrsflow" / f"sub-{participant}" / f"ses-{session}" / "mrs"
    fits, quality, fitted = [], [], []
    for b, (name, (start, end)) in enumerate(BINS.items()):
        phase = "baseline" if name == "baseline" else "infusion"
        head = (participant, session, name, phase, 60 * start, 60 * (end - start), 240, 7)
        quality.append((*head, 55 + b, "maximum over noise", 5.1, 0.045, 0.03, 0.4, 0.1, 0.3, 4))
        fitted.append((*head, "ok", "", 55 + b, 5.0 + 0.1 * rng.standard_normal(), 0.1, 0.2, 1.0, 0.5, -0.5, "soft"))
        amounts = {m: (1.0 + 0.1 * i) * rng.normal(1, 0.05) for i, m in enumerate(metabolites)}
        amounts |= {"tNAA": 12.5, "tCr": 9.5 * rng.normal(1, 0.01), "Glx": glx[b] * 12.5}
        for m in metabolites:
            a = amounts[m]
            ratios = (f"{a / amounts['tCr']:.10g}", 0.02, f"{a / 12.5:.10g}", 0.02, "n/a", "n/a")
            fits.append((*head, b, m, f"{a:.8g}", 0.2, f"{20 / a:.4g}", *ratios))
    block = FIT_COLUMNS[:8]
    table(folder / f"{key}_desc-blocks_mrsfit.tsv", FIT_COLUMNS, fits)
    table(folder / f"{key}_desc-blocks_fitquality.tsv", (
        *block, "status", "reason", "snr", "linewidth_hz", "shift_hz", "phase_deg", "residual_ratio", "whiteness_p",
        "glu_gln_correlation", "constraints"), fitted)  # fmt: skip
    table(folder / f"{key}_desc-blocks_quality.tsv", (
        *block, "snr", "snr_definition", "linewidth_hz", "linewidth_ppm", "rejected_fraction",
        "residual_water_after_ratio", "lipid_ratio", "shift_sd_hz", "phase_sd_deg"), quality)  # fmt: skip
    session_quality = {
        "n_coils": 8,
        "coil_weights": [1, 2],
        "drift_hz": 2.0,
        "drift_after_hz": 0.3,
        "snr": 50.0,
        "lipid_ratio": 0.4,
    }
    (folder / f"{key}_desc-session_quality.json").write_text(json.dumps(session_quality))
    vendor = "GE" if ord(participant[-1]) % 2 else "Siemens"
    (folder / f"{key}_desc-blocks_svs.json").write_text(json.dumps({"Manufacturer": vendor}))
    for stage, endings in (
        ("fit", ("blocks_mrsfit.tsv", "blocks_fitquality.tsv")),
        ("preprocess", ("blocks_quality.tsv", "session_quality.json", "blocks_svs.json")),
    ):
        outputs = {str((folder / f"{key}_desc-{e}").relative_to(output)): "0" for e in endings}
        files.write_text(
            json.dumps({"session": key, "stage": stage, "status": "ok", "reason": "", "outputs": outputs}),
            output / "status" / stage / f"{key}.json",
        )


def run(made, status=True):
    """Run the group stage, from the batch table or from the records."""
    return group_stage.run(study_config.load(str(made.config)), [made.status] if status else None)


def read(made, name):
    """Read a table of the group stage."""
    return files.read_table(made.output / "group" / f"{name}.tsv")


def row_of(made, analysis, name="contrasts"):
    """First row of an analysis."""
    found = read(made, name)
    return found[found["analysis"] == analysis].iloc[0]


def change_sessions(made, change):
    """Edit the sessions table."""
    path = made.config.parent / "sessions.tsv"
    content = files.read_table(path, text_columns=True)
    change(content)
    table(path, content.columns, content.to_numpy())
