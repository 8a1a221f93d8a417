"""Files of a fit by hand: a simulated session in, tables out."""

import re
import runpy
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_config import single_arm

from mrsflow import nifti_mrs
from mrsflow.axes import time_axis
from mrsflow.basis_sets import basis_formats, sequences
from mrsflow.basis_sets.basis_formats import write_basis
from mrsflow.errors import InputError
from mrsflow.files import read_table, write_json
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import quantify
from mrsflow.quantification.fit_files import fit_by_hand, fit_session_files
from mrsflow.study import config, session_facts

MHZ, DWELL, POINTS = 123.25, 5e-4, 1024
METABOLITES = ("NAA", "Cr", "PCh", "Glu", "Gln", "Ins")
AMOUNTS = np.array([10.0, 8.0, 1.5, 9.0, 3.0, 6.0])


@pytest.fixture(scope="module")
def basis():
    return sequences.simulate(sequences.Sequence("press", 0.03, te1=0.011), MHZ, METABOLITES, False, DWELL, POINTS)


@pytest.fixture(scope="module")
def folder(basis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    write_basis(basis, folder / "basis.BASIS")
    rng = np.random.default_rng(1)
    t = time_axis(POINTS, DWELL)
    fids = np.tile(AMOUNTS @ basis.fids * np.exp(-np.pi * 4 * t), (4, 1))
    fids = fids + 0.1 * (rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape))
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "dim_5": "DIM_DYN"}
    nifti_mrs.write(Scan(fids, ("DIM_DYN",), DWELL, header), folder / "svs.nii.gz")
    return folder


def test_macromolecules_are_added_by_hand_and_said(folder):
    arguments = (folder / "svs.nii.gz", folder / "basis.BASIS", folder / "mm.tsv", None, "independent", None)
    fit_by_hand(*arguments, (0.5, 4.2), "fsl", macromolecules="default")
    table = read_table(folder / "mm.tsv")
    assert {"MM09", "MM20", "Lip13", "NAA"} <= set(table["metabolite"])
    assert read_table(folder / "mm_quality.tsv")["constraints"].str.endswith("macromolecules: parametrised").all()
    fit_by_hand(*arguments, (0.5, 4.2), "fsl")
    assert not read_table(folder / "mm.tsv")["metabolite"].str.startswith("MM").any()


def test_tables_name_sessions_as_the_design_does(folder):
    lines = ["spectrum\tsession\tonset_s\tduration_s\trise", "0\t007\t0\t60\t0", "1\t007\t60\t60\t1"]
    lines += ["2\t1e3\t0\t60\t0", "3\t1e3\t60\t60\t1"]
    (folder / "design.tsv").write_text("\n".join(lines) + "\n")
    arguments = (folder / "svs.nii.gz", folder / "basis.BASIS", folder / "out.tsv", None, "dynamic")
    fit_by_hand(*arguments, folder / "design.tsv", (0.5, 4.2), "fsl")
    terms = read_table(folder / "out_terms.tsv", ("session",))
    assert list(terms["session"].unique()) == ["007", "1e3"]
    for name in ("out.tsv", "out_quality.tsv"):
        table = read_table(folder / name, ("session",)).drop_duplicates("spectrum")
        assert list(table["spectrum"]) == [0, 1, 2, 3]
        assert list(table["session"]) == ["007", "007", "1e3", "1e3"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (1.0, ""),
        (
            16.0,
            r"tNAA is 0\.\d+ mM, and brain holds 3 to 30 mM: molar amounts are wrong, as where water is stored",
        ),
        (0.0, "no molar amounts: .*zero or not finite"),
    ],
)
def test_water_of_another_scale_is_remarked_on_and_touches_no_ratio(folder, tmp_path, part, said):
    """Water for 10 mM of NAA, 16 times of it, and none: its sum over 16 averages beside a mean of metabolites."""
    scan = nifti_mrs.read(folder / "svs.nii.gz")
    scan = Scan(scan.fid, scan.dims, DWELL, {**scan.header, "RepetitionTime": 2.0})
    constants, known = quantify.constants_at("fsl", MHZ), basis_formats.load(folder / "basis.BASIS")
    size = 2 * quantify.proton_signal(known) * constants.water_mM(0.03, 2.0) * constants.correction(0.03, 2.0)
    water = part * size * np.exp(-np.pi * 5 * time_axis(POINTS, DWELL))
    stem = "sub-1_ses-1_desc"
    nifti_mrs.write(scan, tmp_path / f"{stem}-blocks_svs.nii.gz")
    header = {k: v for k, v in scan.header.items() if not k.startswith("dim")}
    nifti_mrs.write(Scan(water, (), DWELL, header), tmp_path / f"{stem}-preproc_mrsref.nii.gz")
    settings = config.checked(single_arm())["fit"]
    written = fit_session_files("sub-1_ses-1", list(tmp_path.iterdir()), {"p": folder / "basis.BASIS"}, settings)
    table = read_table(next(p for p in written if p.name.endswith("mrsfit.tsv"))).set_index("metabolite")
    quality = read_table(next(p for p in written if p.name.endswith("fitquality.tsv")))
    assert (quality["status"] == "ok").all()
    assert all(re.search(said, reason) for reason in quality["reason"].fillna(""))
    assert (quality["reason"].fillna("") == "").all() == (said == "")
    assert table.loc["NAA", "per_tcr"].mean() == pytest.approx(10 / 8, rel=0.02)
    amounts = table.loc["NAA", "molar_mM"]
    assert amounts.isna().all() if part == 0 else amounts.mean() == pytest.approx(10 / part, rel=0.03)


EVENTS = "onset\tduration\ttrial_type\n600\t1200\tinfusion\n"


@pytest.fixture(scope="module")
def blocks(basis, tmp_path_factory):
    """Blocks of 5 min whose Glu rises by 10 % while an infusion from 10 to 30 min lasts."""
    folder = tmp_path_factory.mktemp("session")
    write_basis(basis, folder / "basis.BASIS")
    rng, t = np.random.default_rng(2), time_axis(POINTS, DWELL)
    amounts = np.tile(AMOUNTS, (8, 1))
    amounts[2:6, METABOLITES.index("Glu")] *= 1.1
    fids = amounts @ (basis.fids * np.exp(-np.pi * 4 * t))
    fids = fids + 0.2 * (rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape))
    values = {
        "block": [f"b{k}" for k in range(8)], "phase": ["baseline"] * 2 + ["infusion"] * 6,
        "onset_s": [300.0 * k - 600 for k in range(8)], "duration_s": [300.0] * 8,
    }  # fmt: skip
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "dim_5": "DIM_DYN"}
    header["dim_5_header"] = {name: {"Value": value} for name, value in values.items()}
    nifti_mrs.write(Scan(fids, ("DIM_DYN",), DWELL, header), folder / "sub-1_ses-1_desc-blocks_svs.nii.gz")
    (folder / "sub-1_ses-1_events.tsv").write_text(EVENTS)
    return folder


def fitted_terms(folder, fit):
    """Fit the session of `blocks` as section fit says; terms, quality and arrays."""
    settings = config.checked(single_arm() | {"fit": fit})["fit"] | {"event": "infusion"}
    events = folder / "sub-1_ses-1_events.tsv"
    facts = partial(session_facts.facts_of, "sub-1_ses-1", settings, "infusion", [events], {})
    names = [path for path in folder.iterdir() if "svs" in path.name]
    written = fit_session_files("sub-1_ses-1", names, {"p": folder / "basis.BASIS"}, settings, facts=facts)
    found = {path.name.partition("desc-blocks_")[2]: path for path in written}
    terms = read_table(found["terms.tsv"]).set_index(["metabolite", "term"])
    return terms, read_table(found["fitquality.tsv"]), np.load(found["mrsfit.npz"])


def assert_courses_are_those_of_the_tables(terms, arrays):
    """Of Glx: constant and both regressors, the mean of each over a block by hand; free blocks lie about it."""
    assert set(arrays["course_names"]) == {"tNAA", "tCr", "tCho", "Glx"}
    middle = (np.arange(8) - 2) * 5 + 2.5
    np.testing.assert_allclose(arrays["course_minutes"], middle)
    task, drift = (
        (np.arange(8) >= 2) & (np.arange(8) < 6),
        (middle - middle.mean()) / (middle[-1] + 2.5 - middle.mean()),
    )
    glx = terms.loc["Glx", "estimate"]
    place = list(arrays["course_names"]).index("Glx")
    expected = glx["constant"] + glx["task"] * task + glx["drift"] * drift
    np.testing.assert_allclose(arrays["course_fit"][place], expected, rtol=1e-6)
    off = (arrays["course_free"][place] - expected) / arrays["course_sd"][place]
    assert np.abs(off).max() < 4
    assert np.abs(off).max() > 0.1
    assert arrays["course_p"][place] == pytest.approx(terms.loc[("Glx", "task"), "lack_of_fit_p"])


def test_a_session_follows_regressors_of_its_events(blocks):
    drift, task = {"kind": "polynomial", "degree": 1}, {"kind": "block"}
    fit = {"model": "dynamic", "regressors": {"task": task, "drift": drift}, "follow": {"Glu": ["task"]}}
    terms, quality, arrays = fitted_terms(blocks, fit)
    glu = terms.loc[("Glu", "task")]
    assert abs(glu["estimate"] - 0.9) < 3 * glu["sd"]
    assert abs(glu["per_tcr"] - 0.9 / 8) < 3 * glu["per_tcr_sd"]
    assert ("Glu", "drift") not in terms.index
    assert_courses_are_those_of_the_tables(terms, arrays)
    assert {("Glx", "task"), ("Glx", "drift")} <= set(terms.index)
    assert terms.loc[("Glx", "task"), "lack_of_fit_p"] > 0.01
    place = [tuple(name) for name in arrays["terms"]].index(("Glu", "task"))
    assert arrays["coefficients"][place] == pytest.approx(glu["estimate"])
    covariance, level = arrays["coefficient_covariance"], place - 1  # the constant of Glu comes before
    assert covariance[place, place] == pytest.approx(glu["sd"] ** 2)
    together = glu["correlation"] * glu["sd"] * terms.loc[("Glu", "constant"), "sd"]
    assert covariance[place, level] == pytest.approx(together)
    assert (quality["status"] == "ok").all()


def test_a_course_that_does_not_fit_says_so_and_the_free_course_has_its_outcomes(blocks):
    terms, quality, _ = fitted_terms(blocks, {"model": "dynamic", "time_model": "linear"})
    assert terms.loc[("Glx", "linear"), "lack_of_fit_p"] < 0.01
    assert (quality["status"] == "doubtful").all()
    assert quality["reason"].str.contains(r"the course of Glx does not follow its time model \(p = .* SE").all()
    free, quality, arrays = fitted_terms(blocks, {})
    assert "terms" not in arrays
    assert (quality["status"] == "ok").all()
    area = free.loc[("Glu", "auc")]
    assert abs(area["estimate"] - 0.9 * 20) < 3 * area["sd"]
    assert free.loc[("Glu", "time_to_peak"), "estimate"] in (2.5, 7.5, 12.5, 17.5)
    assert free.loc[("Glu", "baseline"), "per_tcr"] == pytest.approx(9 / 8, rel=0.05)


def test_an_event_that_a_session_does_not_have_is_named(blocks):
    fit = {"model": "dynamic", "regressors": {"dose": {"kind": "block", "event": "dose"}}}
    said = r"fit\.regressors\.dose: sub-1_ses-1 has no event 'dose'; it has infusion, start"
    with pytest.raises(InputError, match=said):
        fitted_terms(blocks, fit)


def test_a_session_whose_events_changed_is_fitted_again(blocks, tmp_path):
    """By the stage's script: what stands is kept, a shorter infusion in the events table is seen."""
    key, output = "sub-1_ses-1", tmp_path / "results"
    mrs, bids = (output / part / "sub-1/ses-1/mrs" for part in ("derivatives/mrsflow", "bids"))
    for folder in (mrs, bids, output / "basis"):
        folder.mkdir(parents=True)
    shutil.copy(blocks / "basis.BASIS", output / "basis/p.BASIS")
    scan, events = mrs / f"{key}_task-k_desc-blocks_svs.nii.gz", bids / f"{key}_task-k_events.tsv"
    shutil.copy(blocks / f"{key}_desc-blocks_svs.nii.gz", scan)
    events.write_text(EVENTS)
    for stage, path in (("convert", events), ("preprocess", scan)):
        record = {"session": key, "stage": stage, "status": "ok", "reason": ""}
        write_json(record | {"outputs": {str(path.relative_to(output)): "0"}}, output / f"status/{stage}/{key}.json")
    tables = {
        "samples": "participant\tsession\trole\ttask\tprotocol\traw\n1\t1\tsvs\tk\tp\tx.dat\n",
        "participants": "participant\n1\n",
        "sessions": "participant\tsession\tvisit\tarm\tinfusion_start\n1\t1\t1\ta\t10:00:00\n",
    }
    for name, text in tables.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    content = single_arm() | {"inputs": {name: str(tmp_path / f"{name}.tsv") for name in tables}, "output": str(output)}
    content["blocks"] = {"bins": {f"b{k}": [5 * k - 10, 5 * k - 5] for k in range(8)}, "baseline": ["b0", "b1"]}
    content["fit"] = {"model": "dynamic", "regressors": {"task": {"kind": "block"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))

    def fitted():
        stage = runpy.run_path(str(Path(__file__).parents[2] / "scripts/fit.py"))
        stage["main"](str(tmp_path / "config.yaml"), [key], tmp_path / "status.tsv")
        assert "ok" in (tmp_path / "status.tsv").read_text()
        path = mrs / f"{key}_task-k_desc-blocks_terms.tsv"
        return read_table(path).set_index(["metabolite", "term"]).loc[
            ("Glu", "task"), "estimate"
        ], path.stat().st_mtime_ns

    first, made = fitted()
    assert fitted() == (first, made)
    events.write_text(EVENTS.replace("1200", "600"))
    assert fitted()[0] != first
