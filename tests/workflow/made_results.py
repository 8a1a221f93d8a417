"""Results of a made-up trial, in the files and columns of the contract, for the tests of figures and pages."""

from pathlib import Path

import numpy as np
import pandas as pd
from small_config import PRESS

from mrsflow.files import checksum, read_json, write_json, write_table
from mrsflow.statistics import group
from mrsflow.study import records

PEAKS = {  # ppm and relative height of the lines of each made-up component
    "Glu": {2.34: 5.0, 2.1: 2.5, 3.75: 2.5},
    "Gln": {2.44: 1.5, 2.13: 1.0, 3.76: 1.0},
    "NAA": {2.008: 10.0, 2.6: 1.2},
    "Cr": {3.027: 8.0, 3.92: 5.0},
    "GPC": {3.21: 6.0},
    "Ins": {3.52: 3.5, 3.61: 3.0},
}
SUMS = {"tNAA": ["NAA"], "tCr": ["Cr"], "tCho": ["GPC"], "Glx": ["Glu", "Gln"]}
BLOCKS = ["baseline", "ket1", "ket2", "ket3", "ket4", "ket5"]
MINUTES = 8
PPM = np.arange(4.2, 0.5, -0.01)
ARMS = ("placebo", "naltrexone")


def made_config(output: Path, frozen: bool = True, name: str = "Made-up trial") -> dict:
    """A checked configuration of the made-up trial."""
    from mrsflow.study import config

    bins = {b: [MINUTES * (n - 1), MINUTES * n] for n, b in enumerate(BLOCKS)}
    return config.checked(
        {
            "study": {"name": name, "design": "crossover", "conditions": list(ARMS), "freeze": frozen},
            "inputs": {k: f"{output}-tables/{k}.tsv" for k in ("samples", "participants", "sessions")},
            "output": str(output),
            "protocols": {"press": PRESS},
            "blocks": {"bins": bins, "baseline": ["baseline"]},
            "group": {"moderators": ["sex"], "draws": 199, "multiverse": {"denominator": ["tNAA", "tCr"]}},
        }
    )


def curve(name: str, ppm: np.ndarray = PPM, width: float = 0.05) -> np.ndarray:
    """Lorentzian lines of a component."""
    return sum(h / (1 + ((ppm - p) / (width / 2)) ** 2) for p, h in PEAKS[name].items())


def _amplitudes(rng: np.random.Generator, arm: str, person: float) -> pd.DataFrame:
    rise = np.array([0, 0.02, 0.05, 0.06, 0.06, 0.06]) * (1.0 if arm == ARMS[0] else 0.5)
    frame = pd.DataFrame({name: np.full(len(BLOCKS), 1.0) for name in PEAKS})
    frame["Glu"] *= person * (1 + rise)
    return frame * (1 + rng.normal(0, 0.02, frame.shape))


def fit_tables(head: pd.DataFrame, amplitudes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy fit table and table of fit quality of a session."""
    weights = {"Glu": 10, "Gln": 3, "NAA": 12, "Cr": 9, "GPC": 1.7, "Ins": 5}
    values = pd.DataFrame({name: weights[name] * amplitudes[name] for name in PEAKS})
    for name, parts in SUMS.items():
        values[name] = values[parts].sum(axis=1)
    rows = []
    for n, block in head.iterrows():
        for name in values:
            a = values.loc[n, name]
            sd = 0.05 * a
            rows.append(
                {
                    **block,
                    "spectrum": n,
                    "metabolite": name,
                    "amplitude": a,
                    "sd": sd,
                    "sd_percent": 5.0,
                    "per_tcr": a / values.loc[n, "tCr"],
                    "per_tcr_sd": sd / values.loc[n, "tCr"],
                    "per_tnaa": a / values.loc[n, "tNAA"],
                    "per_tnaa_sd": sd / values.loc[n, "tNAA"],
                    "molar_mM": np.nan,
                    "molar_sd": np.nan,
                }
            )
    quality = head.assign(
        status="ok",
        reason="",
        snr=40.0,
        linewidth_hz=6.5,
        shift_hz=0.1,
        phase_deg=1.0,
        residual_ratio=1.02,
        whiteness_p=0.4,
        glu_gln_correlation=-0.41,
        constraints="none",
    )
    return pd.DataFrame(rows), quality


def write_session(
    output: Path, participant: str, session: str, arm: str, rng: np.random.Generator, person: float, bad: bool = False
) -> None:
    """Write what convert, preprocess and fit leave of one session."""
    key = f"sub-{participant}_ses-{session}"
    name = f"{key}_task-ketamine"
    raw = output / "bids" / f"sub-{participant}" / f"ses-{session}" / "mrs"
    out = output / "derivatives" / "mrsflow" / f"sub-{participant}" / f"ses-{session}" / "mrs"
    head = pd.DataFrame(
        {
            "participant": participant,
            "session": session,
            "block": BLOCKS,
            "phase": ["baseline", *["infusion"] * 5],
            "onset_s": [60.0 * MINUTES * (n - 1) for n in range(6)],
            "duration_s": 60.0 * MINUTES,
            "n_transients": 240,
            "n_rejected": rng.integers(0, 12, 6),
        }
    )
    amplitudes = _amplitudes(rng, arm, person)
    table, quality = fit_tables(head, amplitudes)
    quality["linewidth_hz"] += rng.normal(0, 0.3, 6)
    sidecar = {
        "Manufacturer": "Siemens",
        "EchoTime": 0.03,
        "RepetitionTime": 2.0,
        "SpectrometerFrequency": [123.25],
        "ResonantNucleus": ["1H"],
        "SpectralWidth": 2000.0,
        "NumberOfSpectralPoints": 2048,
        "NumberOfTransients": 1440,
        "ExcitationsPerFrame": 8,
        "AcquisitionVoxelSize": [20, 20, 20],
        "ProcessingApplied": [
            {"Program": "mrsflow", "Version": "0.1", "Method": "RF coil combination", "Details": "SVD"}
        ],
    }
    write_json(sidecar, raw / f"{name}_svs.json")
    checks = pd.DataFrame({"scan": f"{name}_svs", "check": ["echo_time", "voxel"], "found": ["30 ms", "20 mm"]})
    checks = checks.assign(expected=["30 ms", "n/a"], status=["pass", "warn"], message=["", "turned by 3 degrees"])
    write_table(checks, out / f"{name}_desc-convert_quality.tsv")
    write_json(sidecar, out / f"{name}_desc-blocks_svs.json")
    _write_quality(out / name, head, quality, rng, bad)
    write_table(table, Path(f"{out / name}_desc-blocks_mrsfit.tsv"))
    write_table(quality, Path(f"{out / name}_desc-blocks_fitquality.tsv"))
    _write_arrays(out / name, amplitudes, rng)
    stages = {"convert": [raw / f"{name}_svs.json", out / f"{name}_desc-convert_quality.tsv"]}
    found = [p for p in sorted(out.glob(f"{name}_*")) if p not in stages["convert"]]
    stages["fit"] = [p for p in found if "fit" in p.name]
    stages["preprocess"] = [p for p in found if p not in stages["fit"]]
    for stage, paths in stages.items():
        write_record(output, stage, key, paths)


def write_record(output: Path, stage: str, key: str, paths: list[Path], status: str = "ok", reason: str = "") -> None:
    """Write the record of a session at a stage."""
    outputs = {str(p.relative_to(output)): checksum(p) for p in paths}
    record = {"session": key, "stage": stage, "status": status, "reason": reason, "outputs": outputs}
    write_json(record, records.record_path(output, stage, key))


def _write_quality(stem: Path, head: pd.DataFrame, fitted: pd.DataFrame, rng: np.random.Generator, bad: bool) -> None:
    blocks = head.assign(
        snr=rng.normal(60, 8, 6).round(2),
        snr_definition="peak height of NAA over SD of the real noise",
        linewidth_hz=fitted["linewidth_hz"] + (10 if bad else 0),
        linewidth_ppm=(fitted["linewidth_hz"] + (10 if bad else 0)) / 123.25,
        rejected_fraction=head["n_rejected"] / (head["n_rejected"] + head["n_transients"]),
        residual_water_after_ratio=rng.uniform(0.02, 0.5, 6),
        lipid_ratio=rng.uniform(0.0, 0.4, 6),
        shift_sd_hz=0.4,
        phase_sd_deg=4.0,
    )
    write_table(blocks, Path(f"{stem}_desc-blocks_quality.tsv"))
    n = 180
    onset = 60.0 * MINUTES * (np.arange(n) / 30 - 1)
    rejected = rng.random(n) < 0.03
    transients = pd.DataFrame(
        {
            "transient": np.arange(n),
            "onset_s": onset,
            "shift_hz": 0.003 * onset + rng.normal(0, 0.4, n),
            "phase_deg": rng.normal(0, 4, n),
            "amplitude": 1 + rng.normal(0, 0.02, n) - 0.5 * rejected,
            "rejected": rejected,
            "reason": np.where(rejected, "amplitude 50 % low", ""),
        }
    )
    write_table(transients, Path(f"{stem}_desc-transients_quality.tsv"))
    session = {
        "n_coils": 8,
        "drift_hz": 7.3,
        "drift_after_hz": 0.4,
        "lipid_ratio": 0.4,
        "snr": 140.0,
        "linewidth_hz": 6.6,
    }
    write_json(session, Path(f"{stem}_desc-session_quality.json"))


def _write_arrays(stem: Path, amplitudes: pd.DataFrame, rng: np.random.Generator) -> None:
    shapes = np.array([curve(name) for name in PEAKS])
    components = amplitudes.to_numpy()[:, :, np.newaxis] * shapes
    baseline = np.tile(0.3 + 0.1 * np.cos(PPM), (len(BLOCKS), 1))
    fit = components.sum(axis=1) + baseline
    np.savez_compressed(
        f"{stem}_desc-blocks_mrsfit.npz",
        ppm=PPM,
        data=fit + rng.normal(0, 0.1, fit.shape),
        fit=fit,
        baseline=baseline,
        components=components,
        names=np.array(list(PEAKS)),
        covariance=np.tile(np.eye(len(PEAKS)), (len(BLOCKS), 1, 1)),
    )
    before = sum(curve(name, width=0.09) for name in PEAKS)
    after = sum(curve(name) for name in PEAKS)
    part = (PPM >= 1.8) & (PPM <= 3.5)
    minutes = MINUTES * (np.arange(180) / 30 - 1)
    drifted = np.array([np.interp(-PPM, -PPM - 0.001 * m, after) for m in minutes])
    np.savez_compressed(
        f"{stem}_desc-preproc_figure.npz",
        ppm=PPM,
        before=before,
        after=after,
        image_ppm=PPM[part],
        image_before=drifted[:, part],
        image_after=np.tile(after[part], (180, 1)),
        image_minutes=minutes,
    )


def write_study(
    output: Path, participants: int, frozen: bool = True, seed: int = 7, name: str = "Made-up trial"
) -> dict:
    """Write a whole made-up trial up to the group tables; gives its configuration.

    The last participant's second session failed at conversion, and one session has wide lines.
    """
    rng = np.random.default_rng(seed)
    config = made_config(output, frozen, name)
    people, sessions, samples = [], [], []
    for n in range(participants):
        code = f"{n + 1:03d}"
        people.append({"participant": code, "sex": "FM"[n % 2], "age": int(rng.integers(18, 51))})
        person = 1 + 0.08 * rng.normal()
        order = ARMS if n % 4 < 2 else ARMS[::-1]
        for visit, arm in enumerate(order, start=1):
            row = {"participant": code, "session": f"v{visit}"}
            pre = int(rng.normal(29, 5))
            drop = (14 if arm == ARMS[0] else 10) + rng.normal(0, 4.5)
            sessions.append({**row, "visit": visit, "arm": arm, "madrs_pre": pre, "madrs_day1": round(pre - drop)})
            samples.append({**row, "role": "svs", "protocol": "press", "raw": f"{code}_{visit}.dat"})
            if n == participants - 1 and visit == 2:
                key = f"sub-{code}_ses-v{visit}"
                write_record(output, "convert", key, [], "failed", "samples.tsv, line 9: the raw file is empty")
                write_record(output, "preprocess", key, [], "skipped", "convert: the raw file is empty")
                write_record(output, "fit", key, [], "skipped", "preprocess: convert: the raw file is empty")
                continue
            bad = n == 1 and visit == 2
            write_session(output, code, f"v{visit}", arm, rng, person * (1 + 0.03 * rng.normal()), bad)
    for table, rows in (("participants", people), ("sessions", sessions), ("samples", samples)):
        write_table(pd.DataFrame(rows), Path(config["inputs"][table]))
    for stage in ("convert", "preprocess", "fit"):
        found = [read_json(path) for path in sorted((output / "status" / stage).glob("sub-*.json"))]
        rows = [{k: record[k] for k in ("session", "status", "reason")} for record in found]
        write_table(pd.DataFrame(rows), output / "status" / stage / "batches" / "all.tsv")
    group.run(config, [output / "status" / "fit" / "batches" / "all.tsv"])
    return config
