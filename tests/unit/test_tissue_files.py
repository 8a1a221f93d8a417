"""What the voxels of a session hold, from files: maps of known fractions, and all that can be wrong with them."""

import re

import nibabel
import numpy as np
import pandas as pd
import pytest

from mrsflow import result_tables
from mrsflow.anatomy.derivatives import Maps
from mrsflow.conversion import bids
from mrsflow.errors import InputError
from mrsflow.files import write_json
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import tissue_files
from mrsflow.study.study import Study

MHZ = 123.25
HEADER = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03}
HELD = {"GM": 0.5, "WM": 0.35, "CSF": 0.15}


def write_scan(folder, centre=(5.0, -8.0, 12.0), name="sub-01_ses-1_task-k_svs"):
    affine = np.diag([25.0, 20.0, 30.0, 1.0])
    affine[:3, 3] = centre
    path = folder / "bids" / f"{name}.json"
    write_json(bids.sidecar(Scan(np.ones(64, complex), (), 5e-4, HEADER, affine), None, None, None), path)
    return path


def write_maps(folder, held=HELD, factor=1.0):
    """A ball of brain with the same fractions everywhere, radius 60 mm, 3 mm voxels."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -88.5
    x = np.linspace(-88.5, 88.5, 60)
    ball = np.sqrt(sum(g**2 for g in np.meshgrid(x, x, x, indexing="ij"))) < 60
    paths = {}
    for name, value in held.items():
        paths[name] = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image((factor * value * ball).astype(np.float32), affine), paths[name])
    return paths, ball, affine


def measured(folder, scan, maps, t1w=None, protocols=None):
    written = tissue_files.measure_session("sub-01_ses-1", [scan], maps, t1w, protocols or {"p": {}}, folder)
    assert [path.name for path in written] == ["sub-01_ses-1_task-k_desc-tissue.tsv"]
    return written, result_tables.read(written[0]).iloc[0]


def test_a_session_with_maps(tmp_path):
    """Fractions as the maps hold them; a sinc of 2 kHz at 123.25 MHz moves by 6.2 % of the side per ppm."""
    protocols = {"p": {"refocusing": {"shape": "sinc", "duration_ms": 3.0, "bandwidth_hz": 2000.0, "carrier_ppm": 3.0}}}
    paths, *_ = write_maps(tmp_path)
    written, row = measured(tmp_path, write_scan(tmp_path), Maps("SPM", paths), protocols=protocols)
    assert [row[name] for name in (*HELD, "other", "coverage")] == pytest.approx([0.5, 0.35, 0.15, 0, 1], abs=1e-6)
    assert (row["source"], row["status"]) == ("SPM", "pass")
    assert row["displacement_percent_per_ppm"] == pytest.approx(100 * MHZ / 2000)
    held = tissue_files.held_by(written, "sub-01_ses-1_task-k")
    assert held.fractions == pytest.approx(HELD, abs=1e-6)


def test_tissue_is_the_mean_of_the_runs(tmp_path):
    scans = [
        write_scan(tmp_path, centre, f"sub-01_ses-1_task-k_run-{n}_svs")
        for n, centre in ((1, (0, 0, 0)), (2, (54, 0, 0)))
    ]
    paths, *_ = write_maps(tmp_path)
    written = tissue_files.measure_session("sub-01_ses-1", scans, Maps("SPM", paths), None, {}, tmp_path)
    table = result_tables.read(written[0])
    assert len(table) == 2 and table["other"].iloc[1] > 0.1 and "no tissue" in table["message"].iloc[1]
    assert sum(tissue_files.held_by(written, "sub-01_ses-1_task-k").fractions.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("centre", "factor", "said"),
    [
        ((300.0, 0, 0), 1.0, "lies outside the maps of tissue"),
        ((0.0, 0, 75.0), 1.0, r"holds \d+ % brain, and at least 50 % is needed"),
        ((0.0, 0, 0), 100.0, "percent divided by 100"),
    ],
)
def test_a_voxel_whose_tissue_is_not_known_says_why(tmp_path, centre, factor, said):
    paths, *_ = write_maps(tmp_path, factor=factor)
    written, row = measured(tmp_path, write_scan(tmp_path, centre), Maps("SPM", paths))
    assert row["status"] == "fail" and np.isnan(row["GM"])
    assert re.search(said, row["message"])
    held = tissue_files.held_by(written, "sub-01_ses-1_task-k")
    assert held.fractions is None and held.problem == row["message"]


def test_a_session_without_maps_and_a_series_that_was_not_measured(tmp_path):
    written, row = measured(tmp_path, write_scan(tmp_path), None)
    assert row["status"] == "fail" and "there are no maps of tissue of this session" in row["message"]
    assert "was not measured" in tissue_files.held_by(written, "sub-01_ses-1_task-other").problem


def test_ventricle_is_no_place_for_amounts(tmp_path):
    paths, *_ = write_maps(tmp_path, {"GM": 0.1, "WM": 0.1, "CSF": 0.8})
    _, row = measured(tmp_path, write_scan(tmp_path), Maps("SPM", paths))
    assert "20 % grey and white matter, and at least 25 % is needed" in row["message"]


@pytest.mark.parametrize(("means", "status"), [((60, 90, 20), "pass"), ((60, 40, 120), "warn"), ((60, 60, 60), "warn")])
def test_contrast_of_the_image_is_looked_at(tmp_path, means, status):
    """An image on another grid, of regions where the maps are sure; T1w, T2w and none."""
    regions = np.zeros((60, 60, 60), int)
    regions[:20], regions[20:40], regions[40:] = 1, 2, 3
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -88.5
    paths = {}
    for n, name in enumerate(HELD, start=1):
        paths[name] = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image((regions == n).astype(np.float32), affine), paths[name])
    fine = np.array([0, *means], np.float32)[np.repeat(regions, 2, axis=0)]
    half = affine.copy()
    half[0, 0], half[0, 3] = 1.5, -88.5 - 0.75
    nibabel.save(nibabel.Nifti1Image(fine, half), tmp_path / "T1w.nii.gz")
    scan = write_scan(tmp_path, (-29.0, 0, 0))
    _, row = measured(tmp_path, scan, Maps("SPM", paths), tmp_path / "T1w.nii.gz")
    assert row["status"] == status
    assert ("is no T1-weighted image" in str(row["message"])) == (status == "warn")


def study_of(rows, sessions=2):
    table = pd.DataFrame(
        [{"key": "sub-01_ses-1", "line": f"samples.tsv, line {n}", **row} for n, row in enumerate(rows, 2)]
    )
    return Study(table, pd.DataFrame(), pd.DataFrame({"participant": ["01"] * sessions}))


def maps_of(study, config):
    return tissue_files.maps_of_sessions(["sub-01_ses-1"], study, config)["sub-01_ses-1"]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (["GM", "WM"], "line 2: is a map of GM, and the session has no row of role CSF"),
        (["GM", "WM", "CSF", "WM"], "line 5: is a second map of WM"),
        (["tissue", "GM", "WM", "CSF"], "labels (role tissue) and maps"),
    ],
)
def test_rows_that_do_not_go_together_are_faults_before_any_job(tmp_path, roles, said):
    study = study_of([{"role": role, "raw": [tmp_path / f"{role}.nii"]} for role in roles])
    config = {"inputs": {"tissue": [], "to_template": None}}
    (fault,) = tissue_files.faults_of_maps(study, config)
    assert said in fault
    with pytest.raises(InputError):
        maps_of(study, config)


def test_rows_come_before_folders_and_the_first_folder_holds(tmp_path):
    for folder in ("a", "b"):
        for n in (1, 2, 3):
            (tmp_path / folder / "sub-01" / "ses-1").mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / "sub-01" / "ses-1" / f"c{n}{folder}.nii").touch()
    config = {"inputs": {"tissue": [str(tmp_path / "a"), str(tmp_path / "b")]}}
    rows = [{"role": "svs", "raw": [tmp_path / "x"]}]
    assert maps_of(study_of(rows), config).paths["GM"].name == "c1a.nii"
    rows += [{"role": role, "raw": [tmp_path / f"{role}.nii"]} for role in HELD]
    found = maps_of(study_of(rows), config)
    assert found.program == "samples table" and found.paths["CSF"].name == "CSF.nii"


@pytest.mark.parametrize(("sessions", "own"), [(1, True), (2, False)])
def test_maps_of_a_participant_are_those_of_the_only_session(tmp_path, sessions, own):
    for name in HELD:
        (tmp_path / "sub-01" / "anat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sub-01" / "anat" / f"sub-01_label-{name}_probseg.nii.gz").touch()
    study = study_of([{"role": "svs", "raw": [tmp_path / "x"]}], sessions)
    found = maps_of(study, {"inputs": {"tissue": [str(tmp_path)]}})
    assert bool(found.of_session) is own


def settings(pattern):
    return {"inputs": {"to_template": pattern and str(pattern), "tissue": [], "segment": "none"}}


def test_a_transform_that_the_study_gives_places_the_voxel(tmp_path):
    matrix = np.array([[0, 1.0, 0, 5], [-1, 0, 0, -7], [0, 0, 1, 2], [0, 0, 0, 1]])
    np.savetxt(tmp_path / "sub-01_ses-1.txt", matrix)
    asked = settings(tmp_path / "sub-PARTICIPANT_ses-SESSION.txt")
    (path,) = tissue_files.given_transform("sub-01_ses-1", asked, tmp_path)
    np.testing.assert_allclose(np.loadtxt(path), matrix)
    maps, *_ = write_maps(tmp_path, HELD)
    scan = write_scan(tmp_path, (5.0, -8.0, 12.0))
    written = tissue_files.measure_session("sub-01_ses-1", [scan], Maps("SPM", maps), None, {}, tmp_path, "", path)
    row = result_tables.read(written[0]).iloc[0]
    assert [row[name] for name in tissue_files.MNI] == pytest.approx([-3, -12, 14])
    assert tissue_files.given_transform("sub-02_ses-1", asked, tmp_path) == []
    assert tissue_files.given_transform("sub-01_ses-1", settings(None), tmp_path) == []


@pytest.mark.parametrize("text", ["1 0 0\n0 1 0\n0 0 1", "no matrix", "3 0 0 0\n0 3 0 0\n0 0 3 0\n0 0 0 1"])
def test_a_file_that_is_no_transform_is_refused_by_its_name_alone(tmp_path, text):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(InputError, match=r"^x\.txt: "):
        tissue_files.given_transform("sub-01_ses-1", settings(tmp_path / "x.txt"), tmp_path)
