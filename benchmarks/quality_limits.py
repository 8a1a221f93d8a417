"""Print what the default quality limits mark: metrics of real scans beside them, and judged trials.

python benchmarks/quality_limits.py [--trials TRIAL ...]

TRIAL is the folder of a simulated trial (scripts/simulate_trial.py) that ran until the fit. Its sessions count as made
bad where the simulation gave them lines of 15 Hz or more, or lipids. The limits were chosen from the real scans, not
from the trials.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts")]

import convert_raw  # noqa: E402
import preprocess_scan  # noqa: E402
from mrsflow import result_tables  # noqa: E402
from mrsflow.files import read_json, read_table  # noqa: E402
from mrsflow.run import run  # noqa: E402
from mrsflow.study import config, quality_rules  # noqa: E402

SHARED = Path(os.environ.get("MRSFLOW_SHARED", ROOT.parent / "shared"))
SCANS = {
    "Siemens PRESS TE 30, anterior cingulate": "siemens-rda-press30/ACC_PRESS.rda",
    "Siemens PRESS TE 30, posterior cingulate": "siemens-rda-press30/PCG_PRESS.rda",
    "Siemens svs_se TE 30, water not suppressed": "siemens-dicom-rda-svs30-anat/SVS_30.IMA",
    "Philips PRESS TE 30": "philips-sdat-press30-t1w/mrs/sub-01_ses-01_press/*.SDAT",
    "Philips PRESS TE 30, another site": "philips-sdat-press30-1024/philips_spar_sdat_WS.SDAT",
    "Philips PRESS TE 35": "philips-sdat-press35/*_act.sdat",
    "Varian STEAM TE 6, 7 T": "varian-7t-steam-human/7T_STEAM_TE6ms_human.fid",
    "Siemens STEAM TE 11, 7 T, 4 coils": "siemens-steam-7t-raw/steam_metab.nii.gz",
}
REFERENCES = {"siemens-steam-7t-raw/steam_metab.nii.gz": "siemens-steam-7t-raw/steam_ecc.nii.gz"}
"""Water of the same coils, where there is any."""
METRICS = ("linewidth_ppm", "snr", "residual_water_after_ratio", "lipid_ratio")
BROAD_HZ = 15.0


def main(trials: list[Path] = ()) -> None:
    """Print the metrics of real scans, and what the rules mark of simulated trials.

    Parameters
    ----------
    trials : list of path
        Folders of simulated trials with results.
    """
    real_scans()
    for trial in trials:
        judged(trial)


def real_scans() -> None:
    """Print the metrics of real scans of several sites."""
    print("scan | " + " | ".join(METRICS))
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, pattern) in enumerate(SCANS.items()):
            raw = next(iter(sorted((SHARED / "data").glob(pattern))))
            scan, clean = Path(folder, f"{number}.nii.gz"), Path(folder, f"{number}_clean.nii.gz")
            with contextlib.redirect_stdout(None):  # the names of what they write
                if raw.name.endswith(".nii.gz"):
                    scan = raw
                else:
                    convert_raw.main(raw=[raw], out=scan)
                water = SHARED / "data" / REFERENCES[pattern] if pattern in REFERENCES else None
                preprocess_scan.main(spectra=scan, out=clean, reference=water)
            row = read_table(clean.with_name(f"{number}_clean_quality.tsv")).iloc[0]
            print(f"{name} | " + " | ".join(f"{row[metric]:.3g}" for metric in METRICS))


def judged(trial: Path) -> None:
    """Print how many sessions of a simulated trial the default rules mark, of those made bad and of the others."""
    rules, counts, reasons, lacking = config.default("quality.rules"), {True: [0, 0], False: [0, 0]}, [], []
    for path in sorted(trial.glob("results/derivatives/mrsflow/sub-*/ses-*/mrs/*_desc-blocks_quality.tsv")):
        key = "_".join(path.name.split("_")[:2])
        beside = {kind: path.with_name(path.name.replace("desc-blocks_quality.tsv", kind)) for kind in
                  ("desc-blocks_fitquality.tsv", "desc-session_quality.json")}  # fmt: skip
        if not beside["desc-blocks_fitquality.tsv"].is_file():
            continue  # not fitted yet
        fits = result_tables.read(beside["desc-blocks_fitquality.tsv"]).set_index("block")
        plan = read_json(trial / "truth" / "sessions" / f"{key}.json")["plan"]
        found = quality_rules.judge(rules, "session", read_json(beside["desc-session_quality.json"]))
        for row in result_tables.read(path).to_dict("records"):
            fit = fits.loc[row["block"]] if row["block"] in fits.index else {"status": "failed", "reason": ""}
            found += quality_rules.judge_block(rules, {**row, "fit_status": fit["status"], "fit_reason": fit["reason"]})
        bad = plan["linewidth_hz"] >= BROAD_HZ or plan["lipid_mM"] > 0
        lacking += [] if bad else [fits["lacking"].max()]
        counts[bad][0] += bool(found)
        counts[bad][1] += 1
        if found and not bad:
            reasons.append(f"{key}: {found[0]['reason']}")
    (hit, bad), (false, good) = counts[True], counts[False]
    marked = f"{hit} of {bad} made bad, {false} of {good} others"
    print(f"{trial.name}: {hit + false} of {bad + good} sessions marked; {marked}")
    print(
        f"  what the basis lacks, of the others: median {np.nanmedian(lacking):.3f}, at most {np.nanmax(lacking):.3f}"
    )
    print(*(f"  {reason}" for reason in reasons), sep="\n")


if __name__ == "__main__":
    run(main)
