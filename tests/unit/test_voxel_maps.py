"""Maps inside voxels, against closed forms of linear gradients and balls, and all that can be wrong with the files."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from mrsflow import result_tables
from mrsflow.anatomy import voxel_maps
from mrsflow.errors import InputError
from mrsflow.files import write_json
from mrsflow.quantification import map_files
from mrsflow.statistics import group
from mrsflow.study import covariates, layout, records

SIDES, CENTRE = np.array([25.0, 20.0, 30.0]), np.array([5.0, -8.0, 12.0])
GRADIENT, OFFSET = np.array([0.02, -0.013, 0.007]), 3.1


def voxel(rotation=None):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(SIDES)
    affine[:3, 3] = CENTRE
    return affine


def gradient_map(zoom=2.3, size=60):
    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[:3, 3] = -zoom * (size - 1) / 2
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1)
    return nibabel.Nifti1Image(OFFSET + nibabel.affines.apply_affine(affine, index) @ GRADIENT, affine)


def turned(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize("degrees", [0, 33])
def test_a_linear_gradient_is_recovered(degrees):
    """Its mean is the value at the centre; its variance that of a uniform distribution along each side."""
    rotation = turned(degrees)
    found = voxel_maps.inside(gradient_map(), voxel(rotation))
    assert found.mean == pytest.approx(OFFSET + CENTRE @ GRADIENT, rel=1e-6)
    along = (rotation.T @ GRADIENT) * SIDES
    assert found.sd == pytest.approx(np.sqrt(np.sum(along**2) / 12), rel=1e-3)
    assert found.coverage == 1


def test_a_map_in_another_space_is_reached_by_its_transform():
    """The map's space is turned, moved and a tenth larger; the value is that at the place where the centre goes."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 1.1 * turned(10), [3.0, -4.0, 6.0]
    found = voxel_maps.inside(gradient_map(), voxel(), matrix)
    assert found.mean == pytest.approx(OFFSET + (matrix[:3, :3] @ CENTRE + matrix[:3, 3]) @ GRADIENT, rel=1e-6)


def test_what_the_map_does_not_know_does_not_count():
    image = gradient_map()
    values = image.get_fdata()
    values[
        nibabel.affines.apply_affine(image.affine, np.indices(values.shape).reshape(3, -1).T)[:, 0].reshape(
            values.shape
        )
        > 5
    ] = np.nan
    found = voxel_maps.inside(nibabel.Nifti1Image(values, image.affine), voxel())
    assert found.coverage == pytest.approx(0.5, abs=0.1)
    assert found.mean < OFFSET + CENTRE @ GRADIENT
    far = voxel()
    far[:3, 3] = 500
    assert voxel_maps.inside(image, far).coverage == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", "four rows of four numbers"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n", "the last 0 0 0 1"),
        ("3 0 0 0\n0 3 0 0\n0 0 3 0\n0 0 0 1\n", "multiplies volumes by 27"),
        ("a b c d\n", "cannot be read as a matrix"),
    ],
)
def test_transforms_that_are_none_are_refused(tmp_path, text, said):
    (tmp_path / "m.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        voxel_maps.read_transform(tmp_path / "m.txt")


def entry(file, to_space=None):
    return {"file": str(file), "to_space": None if to_space is None else str(to_space)}


def test_rows_of_a_session(tmp_path):
    """A map of the person, one that this person does not have, and one that lies elsewhere."""
    nibabel.save(gradient_map(), tmp_path / "bp_01.nii.gz")
    image = gradient_map()
    away = image.affine.copy()
    away[:3, 3] += 500
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), away), tmp_path / "away.nii.gz")
    maps = {
        "bp": entry(tmp_path / "bp_PARTICIPANT.nii.gz"),
        "receptor": entry(tmp_path / "mor_SESSION.nii.gz"),
        "away": entry(tmp_path / "away.nii.gz"),
    }
    scan = tmp_path / "sub-01_ses-1_task-k_svs.json"
    write_json({"VoxelAffine": voxel().tolist()}, scan)
    (path,) = map_files.measure_session("sub-01_ses-1", [scan], maps, tmp_path)
    table = result_tables.read(path).set_index("map")
    assert table.loc["bp", "mean"] == pytest.approx(OFFSET + CENTRE @ GRADIENT, rel=1e-6)
    assert list(table["status"]) == ["pass", "fail", "fail"]
    assert "mor_1.nii.gz" in table.loc["receptor", "message"] and str(tmp_path) not in table.loc["receptor", "message"]
    assert "covers 0 % of the voxel" in table.loc["away", "message"]


def test_maps_and_fractions_become_typed_covariates_of_their_sessions(tmp_path):
    """Two runs of one session, a session without a value, and one that was never measured."""
    values = {"sub-01_ses-1": [2.0, 4.0], "sub-02_ses-1": [np.nan]}
    for key, own in values.items():
        participant = layout.SessionKey.of(key).participant
        row = {"participant": participant, "session": "1", "scan": key, "map": "bp"}
        rows = [row | {"mean": value, "status": "fail" if np.isnan(value) else "pass"} for value in own]
        path = tmp_path / f"{key}_{layout.VOXEL_MAPS}"
        result_tables.write(result_tables.from_rows(rows, "voxel_maps"), path)
        tissue = tmp_path / f"{key}_{layout.TISSUE}"
        held = {"GM": 0.6, "WM": 0.3, "CSF": 0.1, "status": "pass"}
        result_tables.write(result_tables.from_rows([held], "tissue"), tissue)
        record = {"outputs": {path.name: "", tissue.name: "", f"{key}_label-GM_probseg.nii.gz": "", "x_xfm.txt": ""}}
        write_json(record, records.record_path(tmp_path, "measure_tissue", key))
    sessions = pd.DataFrame({"key": [*values, "sub-03_ses-1"], "line": "x"})
    config = {
        "output": str(tmp_path),
        "inputs": {"maps": {"bp": {}}},
        "group": {"moderators": ["bp", "GM"], "adjust_for": []},
    }
    found = group.with_voxels(config, sessions)
    np.testing.assert_array_equal(found["bp"], [3.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["GM"], [0.6, 0.6, np.nan])
    assert group.with_voxels(config | {"group": {}}, sessions) is sessions


def test_names_of_maps_that_cannot_be_columns_are_faults_before_any_job():
    sessions = pd.DataFrame({"participant": ["01"], "session": ["1"], "key": ["sub-01_ses-1"], "line": ["x"]})
    sessions = sessions.assign(visit=1, arm="a")
    people = pd.DataFrame({"participant": ["01"], "age": [30], "line": ["x"]})
    config = {"inputs": {"maps": {"age": {}, "change": {}, "bp": {}}}, "group": {"moderators": ["bp", "receptor"]}}
    found = covariates.faults(config, sessions, people, covariates.from_voxels(config, False))
    assert [fault.split(":")[0] for fault in found] == ["inputs.maps", "inputs.maps", "group.moderators"]
    assert "'receptor'" in found[2]
