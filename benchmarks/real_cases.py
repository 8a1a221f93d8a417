"""Send the real in vivo scans of the reference data through the workflow, from scanner files to session pages.

    python benchmarks/real_cases.py --folder build/real_cases

Philips SDAT at TE 30 (with a T1-weighted image) and TE 35 (fitted with its published basis set), two Siemens RDA files,
and a multi-coil 7 T twix water reference, which is converted and combined. Printed per scan: where NAA is, linewidth,
SNR, the verdict on the fit, how the residual compares with the noise, and the ratios of the strong metabolites. Look at
``results/report/``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mrsflow import nifti_mrs  # noqa: E402
from mrsflow.run import run  # noqa: E402

P30 = "philips-sdat-press30-t1w"
SCANS = [
    ("p30", "svs", "philips30", f"{P30}/mrs/sub-01_ses-01_press/sub-01_ses-01_PRESS_raw-act_noID.SDAT"),
    ("p30", "mrsref", "philips30", f"{P30}/mrs/sub-01_ses-01_press_ref/sub-01_ses-01_PRESS_raw-ref_noID.SDAT"),
    ("p30", "T1w", "philips30", f"{P30}/anat/sub-01_ses-01_T1w_scanner-space_FSL-skull-stripped.nii.gz"),
    ("p35", "svs", "philips35", "philips-sdat-press35/sub-01_PRESS_35_act.sdat"),
    ("p35", "mrsref", "philips35", "philips-sdat-press35/sub-01_PRESS_35_ref.sdat"),
    ("acc", "svs", "siemens30", "siemens-rda-press30/ACC_PRESS.rda"),
    ("pcg", "svs", "siemens30", "siemens-rda-press30/PCG_PRESS.rda"),
    ("water7t", "mrsref", "steam7t", "siemens-twix-vb17-steam-7t/meas_MID311_STEAM_wref1_FID115674.dat"),
]


def write_study(folder: Path, data: Path) -> None:
    """Write the configuration and the tables of the study of real scans."""
    press = {"sequence": "press", "repetition_time_ms": 2000}
    published = data / "basis/3T_PRESS_Philips_35ms_noMM.BASIS"
    protocols = {
        "philips30": press | {"preset": "philips_press", "echo_time_ms": 30, "spectrometer_frequency_mhz": 127.755},
        "philips35": press | {"echo_time_ms": 35, "spectrometer_frequency_mhz": 127.755, "basis": str(published)},
        "siemens30": press | {"preset": "siemens_svs_se", "echo_time_ms": 30, "spectrometer_frequency_mhz": 123.25},
        "steam7t": {
            "sequence": "steam",
            "echo_time_ms": 11,
            "mixing_time_ms": 32,
            "repetition_time_ms": 5000,
            "spectrometer_frequency_mhz": 297.22,
        },
    }
    config = {
        "study": {"name": "Real scans", "design": "single_arm", "conditions": ["none"], "freeze": True},
        "inputs": {name: f"config/{name}.tsv" for name in ("samples", "participants", "sessions")},
        "protocols": protocols,
        "blocks": {"event": "start", "bins": {"all": [0, 60]}, "minimum_transients": 1},
        "group": {"mood_scale": None},
    }
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    people = sorted({scan[0] for scan in SCANS})
    rows = [
        {"participant": who, "session": "1", "role": role, "protocol": protocol, "raw": data / path}
        for who, role, protocol, path in SCANS
    ]
    samples = pd.DataFrame(rows).assign(start_time="10:00:00")
    samples.to_csv(folder / "config/samples.tsv", sep="\t", index=False)
    pd.DataFrame({"participant": people}).to_csv(folder / "config/participants.tsv", sep="\t", index=False)
    sessions = pd.DataFrame({"participant": people, "session": "1", "visit": 1, "arm": "none"})
    sessions.to_csv(folder / "config/sessions.tsv", sep="\t", index=False)


def result_of(folder: Path, participant: str) -> dict:
    """Quality and ratios of one fitted scan."""
    stem = folder / f"results/derivatives/mrsflow/sub-{participant}/ses-1/mrs/sub-{participant}_ses-1_desc-blocks_"
    quality = pd.read_csv(f"{stem}fitquality.tsv", sep="\t").iloc[0]
    fit = pd.read_csv(f"{stem}mrsfit.tsv", sep="\t").set_index("metabolite")
    frequency = nifti_mrs.read(f"{stem}svs.nii.gz").spectrometer_frequency
    row = {"scan": participant, "naa_ppm": 2.008 - quality["shift_hz"] / frequency}
    row |= {name: quality[name] for name in ("status", "linewidth_hz", "snr", "residual_ratio")}
    return row | {f"{name}/tCr": fit.loc[name, "per_tcr"] for name in ("tNAA", "tCho", "Ins", "Glu", "Glx")}


def main(folder: Path = Path("build/real_cases"), cores: int = 2) -> None:
    """Run the study of real scans and print a row per fitted scan.

    Parameters
    ----------
    folder : Path
        Work folder.
    cores : int
        For Snakemake.
    """
    data = Path(os.environ.get("MRSFLOW_SHARED", ROOT.parent / "shared")).resolve() / "data"
    write_study(folder, data)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "--cores",
        str(cores),
        "--quiet",
        "all",
    ]
    ended = subprocess.run(
        [*command, "all", "--configfile", "config/config.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    print(f"snakemake ended with status {ended.returncode}")
    print("\n".join(ended.stderr.splitlines()[-6:]) if ended.returncode else "")
    rows = [result_of(folder, participant) for participant in ("p30", "p35", "acc", "pcg")]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    run(main)
