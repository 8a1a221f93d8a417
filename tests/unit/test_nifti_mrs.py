import time

import nibabel
import numpy as np
import pytest

from mrsflow import nifti_mrs
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

HEADER = {"SpectrometerFrequency": [123.25], "ResonantNucleus": ["1H"], "dim_5": "DIM_COIL", "dim_6": "DIM_DYN"}


@pytest.fixture
def scan():
    rng = np.random.default_rng(1)
    fid = (rng.normal(size=(3, 5, 16)) + 1j * rng.normal(size=(3, 5, 16))).astype(np.complex64)
    header = HEADER | {"dim_6_header": {"Onset": {"Value": [0, 1, 2, 3, 4], "Description": "s"}}}
    return Scan(fid, ("DIM_COIL", "DIM_DYN"), 5e-4, header, np.diag([20.0, 25.0, 30.0, 1.0]))


def test_round_trip_is_exact_and_the_bytes_do_not_depend_on_the_clock(scan, tmp_path):
    nifti_mrs.write(scan, tmp_path / "a.nii.gz")
    time.sleep(1.1)
    nifti_mrs.write(scan, tmp_path / "b.nii.gz")
    back = nifti_mrs.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(back.fid, scan.fid)
    assert (back.dims, back.dwell_time, back.header) == (scan.dims, scan.dwell_time, scan.header)
    np.testing.assert_allclose(back.affine, scan.affine)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_format_s_own_library_reads_it(scan, tmp_path):
    from nifti_mrs.nifti_mrs import NIFTI_MRS

    nifti_mrs.write(scan, tmp_path / "a.nii.gz")
    theirs = NIFTI_MRS(str(tmp_path / "a.nii.gz"))
    assert theirs.dim_tags[:2] == ["DIM_COIL", "DIM_DYN"]
    assert theirs.dwelltime == pytest.approx(5e-4)
    # it hands out 1H data conjugated, in the sense that most fitting programs use
    np.testing.assert_array_equal(theirs[:].squeeze().conj(), np.moveaxis(scan.fid, -1, 0))
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_xyzt_units() == ("mm", "sec")


def test_axes_are_found_by_name(scan):
    assert scan.ordered("DIM_DYN", "DIM_COIL").shape == (5, 3, 16)
    np.testing.assert_array_equal(scan.ordered("DIM_DYN", "DIM_COIL")[4, 2], scan.fid[2, 4])
    with pytest.raises(InputError, match="DIM_COIL"):
        scan.ordered("DIM_DYN")
    combined = scan.with_data(scan.fid[0], ("DIM_DYN",))
    assert combined.ordered("DIM_COIL", "DIM_DYN").shape == (1, 5, 16)
    assert combined.header["dim_5"] == "DIM_DYN"
    assert "dim_6" not in combined.header
    assert combined.dimension_header("DIM_DYN") == {"Onset": [0, 1, 2, 3, 4]}


def test_steps_are_appended(scan):
    after = scan.with_step("Signal averaging", "one").with_step("Phasing", "two")
    assert [step["Method"] for step in after.processing] == ["Signal averaging", "Phasing"]
    assert not scan.processing


def test_what_is_not_a_spectrum_is_refused(scan, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        nifti_mrs.read(tmp_path / "absent.nii.gz")
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "T1w.nii.gz")
    with pytest.raises(InputError, match="no NIfTI-MRS header extension"):
        nifti_mrs.read(tmp_path / "T1w.nii.gz")
    whole = tmp_path / "whole.nii.gz"
    nifti_mrs.write(scan, whole)
    (tmp_path / "cut.nii.gz").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        nifti_mrs.read(tmp_path / "cut.nii.gz")
    nan = Scan(np.full_like(scan.fid, np.nan), scan.dims, scan.dwell_time, scan.header)
    with pytest.raises(InputError, match="NaN"):
        nifti_mrs.write(nan, tmp_path / "nan.nii.gz")
    assert not (tmp_path / "nan.nii.gz").exists()
