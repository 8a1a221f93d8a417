"""Send the real in vivo scans of the reference data through the workflow, from scanner files to session pages.

    python benchmarks/real_cases.py --folder build/real_cases

At 3 T Philips SDAT at TE 30 (with a T1-weighted image and a metabolite-nulled scan; another of 1024 points) and TE 35
(fitted with its published basis set), two Siemens RDA files, a DICOM file, and the edit-OFF half of a MEGA-PRESS scan
at TE 68, whose edit-ON half is to be refused. At 7 T STEAM of Siemens (transients of four coils with water, and the
spectrum of all coils) and of Varian, sLASER of the spinal cord, and a multi-coil twix water reference, which is
converted and combined. Printed per scan: where NAA is, linewidth, SNR, the verdict on the fit, how the residual
compares with the noise, the ratios of the strong metabolites, what became of each session, and which scans in vivo are
left out and why. Look at ``results/report/``.
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
NULLED = "sub-01_ses-01_press-inverted"
SCANS = [
    ("p30", "svs", "philips30", f"{P30}/mrs/sub-01_ses-01_press/sub-01_ses-01_PRESS_raw-act_noID.SDAT"),
    ("p30", "mrsref", "philips30", f"{P30}/mrs/sub-01_ses-01_press_ref/sub-01_ses-01_PRESS_raw-ref_noID.SDAT"),
    ("p30", "mm", "philips30", f"{P30}/mrs/{NULLED}/sub-01_ses-01_PRESS-Inverted_TI-600_raw-act_noID.SDAT"),
    ("p30", "T1w", "philips30", f"{P30}/anat/sub-01_ses-01_T1w_scanner-space_FSL-skull-stripped.nii.gz"),
    ("p35", "svs", "philips35", "philips-sdat-press35/sub-01_PRESS_35_act.sdat"),
    ("p35", "mrsref", "philips35", "philips-sdat-press35/sub-01_PRESS_35_ref.sdat"),
    ("p1024", "svs", "philips1024", "philips-sdat-press30-1024/philips_spar_sdat_WS.SDAT"),
    ("p1024", "mrsref", "philips1024", "philips-sdat-press30-1024/philips_spar_sdat_W.SDAT"),
    ("acc", "svs", "siemens30", "siemens-rda-press30/ACC_PRESS.rda"),
    ("pcg", "svs", "siemens30", "siemens-rda-press30/PCG_PRESS.rda"),
    ("svs30", "svs", "siemens30", "siemens-dicom-rda-svs30-anat/SVS_30.IMA"),
    ("megaoff", "svs", "mega68", "siemens-dicom-megapress-te68-pair/edit_off"),
    ("megaon", "svs", "mega68", "siemens-dicom-megapress-te68-pair/edit_on"),
    ("steam7t", "svs", "steam7t", "siemens-steam-7t-raw/steam_metab.nii.gz"),
    ("steam7t", "mrsref", "steam7t", "siemens-steam-7t-raw/steam_water.nii.gz"),
    ("combined7t", "svs", "steam7t", "t1w-7t-steam-defaced/steam_svs.nii.gz"),
    ("cord7t", "svs", "slaser7t", "siemens-twix-vb17-slaser-7t/spinal_cord_sLASER_longTE_WS.dcm"),
    ("cord7t", "mrsref", "slaser7t_water", "siemens-twix-vb17-slaser-7t/spinal_cord_sLASER_longTE_noWS.dcm"),
    ("varian7t", "svs", "varian7t", "varian-7t-steam-human/7T_STEAM_TE6ms_human.fid"),
    ("water7t", "mrsref", "steam7t", "siemens-twix-vb17-steam-7t/meas_MID311_STEAM_wref1_FID115674.dat"),
]
LEFT_OUT = {
    "jmrui-mm-3t-volunteers": "metabolite-nulled means without TE, TR and inversion time, and no metabolite scans to "
    "take them (tests/validation/test_macromolecules_real.py reads them)",
    "siemens-dicom-megapress-te68": "edit-ON frames and their water: the first quarter of the scan of which megaoff is "
    "the edit-OFF half; refused as megaon is",
    "siemens-steam-7t-raw steam_water_quant, steam_ecc": "a second and a third reference of steam7t, which takes one",
    "siemens-dicom-rda-svs30-anat SVS_30.rda": "the same scan as svs30, as tests/validation/test_real_scans.py shows",
    "siemens-twix-vb17-slaser-7t noWS.dat": "the reference of cord7t in another format",
    "varian-14t-rat-mm": "a rat, metabolite-nulled",
}
"""Scans in vivo of the reference data that are not sent through, and why."""


def write_study(folder: Path, data: Path) -> None:
    """Write the configuration and the tables of the study of real scans."""
    press = {"sequence": "press", "repetition_time_ms": 2000}
    steam = {"sequence": "steam", "mixing_time_ms": 32, "repetition_time_ms": 5000}
    slaser = {
        "sequence": "semi_laser",
        "preset": "ideal",
        "echo_time_ms": 41.68,
        "spectrometer_frequency_mhz": 297.2,
    }
    published = data / "basis/3T_PRESS_Philips_35ms_noMM.BASIS"
    protocols = {
        "philips30": press | {"preset": "philips_press", "echo_time_ms": 30, "spectrometer_frequency_mhz": 127.755},
        "philips35": press | {"echo_time_ms": 35, "spectrometer_frequency_mhz": 127.755, "basis": str(published)},
        "philips1024": press | {"preset": "philips_press", "echo_time_ms": 30, "spectrometer_frequency_mhz": 127.786},
        "siemens30": press | {"preset": "siemens_svs_se", "echo_time_ms": 30, "spectrometer_frequency_mhz": 123.25},
        "mega68": press
        | {
            "preset": "ideal",
            "echo_time_ms": 68,
            "spectrometer_frequency_mhz": 123.25,
            "use_frames": "edit off",
        },
        "steam7t": steam | {"echo_time_ms": 11, "spectrometer_frequency_mhz": 297.22},
        "varian7t": steam | {"echo_time_ms": 6, "spectrometer_frequency_mhz": 295.1},
        "slaser7t": slaser | {"repetition_time_ms": 4130},
        "slaser7t_water": slaser | {"repetition_time_ms": 3680},
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
    samples["inversion_time_ms"] = samples["role"].map({"mm": 600})  # which its header does not say
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
    fitted = folder.glob("results/derivatives/mrsflow/sub-*/ses-1/mrs/*_desc-blocks_fitquality.tsv")
    rows = [result_of(folder, path.name.split("_")[0].removeprefix("sub-")) for path in sorted(fitted)]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    print((folder / "results/status/attention.txt").read_text())
    print("\n".join(f"left out: {scan}: {why}" for scan, why in LEFT_OUT.items()))


if __name__ == "__main__":
    run(main)
