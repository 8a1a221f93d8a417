"""Scans of role mm through the stages: conversion, preprocessing, the mean of the cohort, the fit."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis_formats, broad_lines, macromolecules, sequences
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table, write_text
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing import nulled_scan
from mrsflow.study import records
from mrsflow.study.config import checked, needs_mean
from mrsflow.study.study import read_study

MHZ, DWELL, POINTS, COILS = 123.25, 5e-4, 2048, 3
GAINS = np.array([1.0, 0.7 * np.exp(1.1j), 0.4 * np.exp(-2j)])
METABOLITES = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5, "Glu": 9.0, "Gln": 3.0, "Ins": 6.0}
MM = 6.0
PROTOCOL = {
    "sequence": "press", "echo_time_ms": 30, "te1_ms": 11, "repetition_time_ms": 2000,
    "spectrometer_frequency_mhz": MHZ, "macromolecules": "measured",
}  # fmt: skip


def scripted(name):
    path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def basis():
    return sequences.simulate(
        sequences.Sequence("press", 0.03, te1=0.011), MHZ, tuple(METABOLITES), False, DWELL, POINTS
    )


def true_mm(slope=0.0):
    """Macromolecules of a brain: those of the table, with MM09 and MM20 changed."""
    made = broad_lines.parametrised(MHZ, DWELL, POINTS)
    factors = {"MM09": 1 + slope, "MM20": 1 - slope}
    return sum(
        factors.get(name, 1.0) * fid for name, fid in zip(made.names, made.fids, strict=True) if name[:2] == "MM"
    )


def acquired(fid, frames, noise, rng):
    """Coils and frames of a signal in a field of 5 Hz, (coils, frames, points)."""
    t = axes.time_axis(POINTS, DWELL)
    shimmed = fid * np.exp(-((np.pi * 5 * t) ** 2) / (4 * np.log(2)))
    made = GAINS[:, None, None] * shimmed * np.ones((frames, 1))
    return made + noise * (rng.normal(size=made.shape) + 1j * rng.normal(size=made.shape))


def line(ppm, amount):
    t = axes.time_axis(POINTS, DWELL)
    return amount * np.exp(2j * np.pi * (4.65 - ppm) * MHZ * t - np.pi * t)


def write_session(folder, basis, number, inversion=True, mm=True):
    """Raw files of a session: metabolites, water, and the metabolite-nulled scan with what was left of creatine."""
    rng = np.random.default_rng(number)
    header = {
        "SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "RepetitionTime": 2.0,
        "dim_5": "DIM_COIL", "dim_6": "DIM_DYN",
    }  # fmt: skip
    brain = np.array(list(METABOLITES.values())) @ basis.fids + MM * true_mm(0.2)
    scans = {
        "svs": (brain, 32, 1.0, {}),
        "mrsref": (line(4.65, 50000), 2, 1.0, {}),
    }
    if mm:
        nulled = MM * true_mm(0.2) + line(3.92, 4.0) + line(2.008, -2.0)
        scans["mm"] = (nulled, 32, 1.0, {"InversionTime": 0.7} if inversion else {})
    rows = []
    for role, (fid, frames, noise, more) in scans.items():
        path = folder / f"raw{number}_{role}.nii.gz"
        data = acquired(fid, frames, noise, rng)
        nifti_mrs.write(Scan(data, ("DIM_COIL", "DIM_DYN"), DWELL, {**header, **more}), path)
        rows.append(f"{number:02d}\t1\t{role}\tp\t{path.name}")
    return rows


def study(folder, basis, with_mm=(True,), inversion=True, **protocol):
    rows = [row for k, mm in enumerate(with_mm, 1) for row in write_session(folder, basis, k, inversion, mm)]
    write_text("participant\tsession\trole\tprotocol\traw\n" + "\n".join(rows) + "\n", folder / "samples.tsv")
    people = [f"{k:02d}" for k in range(1, len(with_mm) + 1)]
    write_text("participant\n" + "\n".join(people) + "\n", folder / "participants.tsv")
    visits = "\n".join(f"{p}\t1\t1\tdrug" for p in people)
    write_text(f"participant\tsession\tvisit\tarm\n{visits}\n", folder / "sessions.tsv")
    tables = {name: str(folder / f"{name}.tsv") for name in ("samples", "participants", "sessions")}
    return checked(
        {
            "study": {"design": "single_arm", "conditions": ["drug"]},
            "inputs": tables,
            "output": str(folder / "results"),
            "protocols": {"p": {**PROTOCOL, **protocol}},
            "blocks": {"event": "start", "bins": {"all": [0, 2]}},
        }
    )


def staged(config, *stages):
    """Run stages on all sessions; the table of the last."""
    keys, output = read_study(config).keys, Path(config["output"])
    for stage in stages:
        table = output / f"{stage}.tsv"
        scripted(stage)(json.dumps(config), keys, table)
    return read_table(table)


@pytest.fixture(scope="module")
def done(tmp_path_factory, basis):
    """Two sessions, the second without a nulled scan, through all stages."""
    folder = tmp_path_factory.mktemp("study")
    config = study(folder, basis, (True, False))
    table = staged(config, "convert", "preprocess")
    assert table["status"].tolist() == ["ok", "ok"], table["reason"].tolist()
    output = Path(config["output"])
    scripted("simulate_basis")(json.dumps(config), "p", output / "basis" / "p.BASIS")
    scripted("average_macromolecules")(json.dumps(config), "p", output / "basis" / "p_macromolecules.nii.gz")
    return config, output


def mrs(output, kind, number=1):
    return output / kind / f"sub-{number:02d}" / "ses-1" / "mrs"


def test_conversion_names_the_scan_and_says_its_inversion_time(done):
    _, output = done
    names = {path.name for path in mrs(output, "bids").iterdir()}
    assert {"sub-01_ses-1_svs.nii.gz", "sub-01_ses-1_acq-mm_svs.nii.gz", "sub-01_ses-1_mrsref.nii.gz"} <= names
    assert read_json(mrs(output, "bids") / "sub-01_ses-1_acq-mm_svs.json")["InversionTime"] == 0.7


def test_macromolecules_are_those_of_the_simulation(done):
    _, output = done
    path = mrs(output, "derivatives/mrsflow") / "sub-01_ses-1_desc-macromolecules_svs.nii.gz"
    scan = nifti_mrs.read(path)
    ppm = axes.ppm_axis(POINTS, DWELL, MHZ)
    inside = (ppm > 0.5) & (ppm < 4.2)
    ours, truth = (axes.to_spectrum(fid)[inside] for fid in (scan.fid, true_mm(0.2)))
    factor = np.vdot(ours, truth) / np.vdot(ours, ours)
    assert abs(np.angle(factor)) < 0.05
    assert np.linalg.norm(factor * ours - truth) < 0.05 * np.linalg.norm(truth)
    side = read_json(path.with_name("sub-01_ses-1_desc-macromolecules_svs.json"))
    assert side["ResidualMetabolites"]["Cr CH2"] > 0.2
    assert side["ResidualMetabolites"]["tNAA"] < -0.05
    assert (side["InversionTime"], side["EchoTime"]) == (0.7, 0.03)


def test_blocks_are_those_of_the_metabolites_alone(done):
    _, output = done
    table = read_table(mrs(output, "derivatives/mrsflow") / "sub-01_ses-1_desc-blocks_quality.tsv")
    assert table["n_transients"].tolist() == [32]


def test_the_basis_set_leaves_macromolecules_to_the_scans(done):
    _, output = done
    assert not any(map(broad_lines.is_macromolecule, basis_formats.load(output / "basis" / "p.BASIS").names))


def test_own_and_mean_macromolecules_reach_the_fit(done):
    config, output = done
    table = staged(config, "fit")
    assert table["status"].tolist() == ["ok", "ok"], table["reason"].tolist()
    for number, source in ((1, "sub-01_ses-1_desc-macromolecules"), (2, "p_macromolecules")):
        stem = mrs(output, "derivatives/mrsflow", number) / f"sub-{number:02d}_ses-1_desc-blocks"
        fitted = read_table(f"{stem}_mrsfit.tsv").set_index("metabolite")
        ratio = fitted.loc["Mac", "amplitude"] / fitted.loc["tCr", "amplitude"]
        assert ratio == pytest.approx(MM / METABOLITES["Cr"], rel=0.1)
        glx = fitted.loc["Glx", "amplitude"] / fitted.loc["tCr", "amplitude"]
        assert glx == pytest.approx(12 / 8, rel=0.1)
        assert source in read_table(f"{stem}_fitquality.tsv")["constraints"].iloc[0]


def test_a_scan_without_inversion_time_is_refused(tmp_path, basis):
    config = study(tmp_path, basis, inversion=False)
    table = staged(config, "convert")
    assert table["status"].tolist() == ["failed"]
    assert "give column inversion_time_ms" in table["reason"].iloc[0]
    text = Path(config["inputs"]["samples"]).read_text().splitlines()
    lines = [f"{line}\t{'700' if 'mm' in line else ''}" for line in text[1:]]
    write_text("\n".join([text[0] + "\tinversion_time_ms", *lines]) + "\n", Path(config["inputs"]["samples"]))
    assert staged(config, "convert")["status"].tolist() == ["ok"]


def test_a_study_without_such_a_scan_cannot_ask_for_it(tmp_path, basis):
    for asked in ("measured", "cohort"):
        config = study(tmp_path, basis, (False,), macromolecules=asked)
        with pytest.raises(InputError, match=r"line 2: there is no scan of role mm.*say `default`"):
            read_study(config)
    assert read_study(study(tmp_path, basis, (False,), macromolecules="default")).keys == ["sub-01_ses-1"]


@pytest.mark.parametrize(
    ("asked", "own", "mean"),
    [("measured", True, False), ("measured", False, True), ("cohort", True, True), ("default", False, False)],
)
def test_who_takes_the_mean(asked, own, mean):
    assert needs_mean({**PROTOCOL, "macromolecules": asked, "basis": None}, own) is mean


def test_a_scan_that_is_not_nulled_is_refused(tmp_path, basis):
    config = study(tmp_path, basis)
    Path(tmp_path / "raw1_mm.nii.gz").unlink()
    image = nifti_mrs.read(tmp_path / "raw1_svs.nii.gz")
    noise = np.random.default_rng(9).normal(scale=1e-3 * np.abs(image.fid).max(), size=image.fid.shape)  # another scan
    header = {**image.header, "InversionTime": 0.7}
    nifti_mrs.write(replace(image, fid=image.fid + noise, header=header), tmp_path / "raw1_mm.nii.gz")
    table = staged(config, "convert", "preprocess")
    assert table["status"].tolist() == ["failed"]
    assert "is it metabolite-nulled" in table["reason"].iloc[0]


def test_mean_gives_each_session_the_same_weight():
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03}
    one, other = (Scan(size * true_mm(slope), (), DWELL, header) for size, slope in ((1.0, 0.2), (500.0, -0.2)))
    found = nulled_scan.mean([one, other]).fid
    parts = [macromolecules.strength(macromolecules.of_scan(scan, "")) for scan in (one, other)]
    np.testing.assert_allclose(found, (one.fid + other.fid * parts[0] / parts[1]) / 2, atol=1e-9)
    longer = replace(other, header={**header, "EchoTime": 0.04})
    assert "EchoTime" not in nulled_scan.mean([one, longer]).header
    assert nulled_scan.mean([one, other]).header["EchoTime"] == 0.03


def test_water_of_its_own_comes_before_that_of_the_session(tmp_path):
    stem = "sub-01_ses-1_task-x"
    path = tmp_path / f"{stem}_acq-mm_run-2_svs.nii.gz"
    assert nulled_scan.reference_of(path) is None
    for name in (f"{stem}_mrsref", f"{stem}_run-2_mrsref", f"{stem}_acq-mm_run-2_mrsref"):
        found = tmp_path / f"{name}.nii.gz"
        found.touch()
        assert nulled_scan.reference_of(path) == found


def test_records_know_the_mean(done):
    _, output = done
    assert records.read_record(output, "average_macromolecules", "p")["status"] == "ok"
