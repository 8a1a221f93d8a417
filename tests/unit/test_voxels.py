"""Overlap of the voxels of a participant's visits, by the shifts of cubes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mrsflow import files, result_tables
from mrsflow.conversion import voxels
from mrsflow.study import layout

SHIFTS = {("p", "b", 1): 0.0, ("p", "a", 2): 9.0, ("p", "c", 3): 2.0, ("q", "x", 1): None, ("q", "y", 2): 50.0,
          ("q", "z", 3): 53.0, ("r", "a", 1): 0.0}  # fmt: skip
"""Participant, session and visit, and where the cube of 20 mm lies (mm); None: not scanned."""


@pytest.fixture
def overlap(tmp_path):
    rows = [{"participant": p, "session": s, "visit": v, "key": f"sub-{p}_ses-{s}"} for p, s, v in SHIFTS]
    for row, shift in zip(rows, SHIFTS.values(), strict=True):
        affine = np.diag([20.0, 20.0, 20.0, 1.0])
        affine[0, 3] = shift or 0.0
        for name, used in (("_svs", affine), ("_acq-mm_svs", np.eye(4))):  # nulled scans are not looked at
            path = layout.session_folder(tmp_path / "bids", row["key"]) / "mrs" / f"{row['key']}{name}.json"
            if shift is not None:
                files.write_json({"VoxelAffine": used.tolist()}, path)
    study = SimpleNamespace(sessions=pd.DataFrame(rows[::-1]))
    path, _ = voxels.write_overlap(study, tmp_path, 0.8)
    return result_tables.read(path)


def test_voxels_are_held_against_the_first_visit_whatever_sessions_are_called(overlap):
    assert overlap[["participant_id", "session_id", "reference_session_id"]].to_numpy().tolist() == [
        ["sub-p", "ses-a", "ses-b"], ["sub-p", "ses-c", "ses-b"], ["sub-q", "ses-z", "ses-y"],
    ]  # fmt: skip
    np.testing.assert_allclose(overlap["dice"], [1 - 9 / 20, 1 - 2 / 20, 1 - 3 / 20], atol=0.01)


def test_an_overlap_below_the_minimum_is_warned_of(overlap):
    assert overlap["status"].tolist() == ["warn", "pass", "pass"]
