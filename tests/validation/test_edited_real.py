"""The edit-OFF frames of a MEGA-PRESS scan in vivo, in every order in which a file may hold them, to the fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mrsflow import nifti_mrs
from mrsflow.conversion import vendors

ROOT = Path(__file__).resolve().parents[2]
PAIR = "data/siemens-dicom-megapress-te68-pair"


@pytest.mark.slow
def test_edit_off_of_a_real_scan_is_fitted_in_whatever_order_it_was_measured(shared, tmp_path):
    on, off = (vendors.convert([shared / PAIR / name]).scan for name in ("edit_on", "edit_off"))
    frames = {"halves": np.concatenate([on.fid, off.fid]), "turns": np.stack([on.fid, off.fid], axis=1).reshape(32, -1)}
    raw = {"off": shared / PAIR / "edit_off", "on": shared / PAIR / "edit_on"}
    for name, fid in frames.items():
        raw[name] = tmp_path / f"{name}.nii.gz"
        nifti_mrs.write(on.with_data(fid, ("DIM_DYN",)), raw[name])
    people = pd.DataFrame({"participant": list(raw)})
    visits = people.assign(session="1")
    scans = visits.assign(role="svs", protocol="m", raw=[str(path) for path in raw.values()], start_time="10:00:00")
    tables = {"participants": people, "sessions": visits.assign(visit=1, arm="a"), "samples": scans}
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    protocol = {
        "sequence": "press", "preset": "ideal", "echo_time_ms": 68, "repetition_time_ms": 2000,
        "spectrometer_frequency_mhz": 123.25, "use_frames": "edit off",
    }  # fmt: skip
    content = {
        "study": {"design": "single_arm", "conditions": ["a"], "freeze": True},
        "inputs": {name: f"{name}.tsv" for name in tables},
        "protocols": {"m": protocol},
        "blocks": {"event": "start", "bins": {"all": [0, 60]}, "minimum_transients": 1},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", "-c1", "--until", "fit", "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", tmp_path, "--configfile", tmp_path / "config.yaml"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "all frames are edit on" in done.stderr
    found = {}
    for name in ("off", *frames):
        folder = tmp_path / f"results/derivatives/mrsflow/sub-{name}/ses-1/mrs"
        found[name] = pd.read_csv(next(folder.glob("*_desc-blocks_fitquality.tsv")), sep="\t").iloc[0]
        assert found[name]["status"] == "ok"
        assert found[name]["n_transients"] + found[name]["n_rejected"] == 16
    assert 0.5 < found["off"]["glx_per_tnaa"] < 1.1  # taken for PRESS, all frames together gave -0.35
    for name in frames:
        assert found[name]["glx_per_tnaa"] == pytest.approx(found["off"]["glx_per_tnaa"], rel=1e-4)
