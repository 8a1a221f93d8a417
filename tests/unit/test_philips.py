"""Philips DICOM files of several FIDs: made of the phantom's file, whose two are a scan and its water reference."""

import copy
import datetime

import numpy as np
import pydicom
import pytest

from mrsflow.conversion import frames, vendors
from mrsflow.errors import InputError
from mrsflow.raw_files import acquisition_start, philips
from mrsflow.raw_files.formats import detect

PHANTOM = "data/philips-dicom-phantom/IM-0001-0002.dcm"


@pytest.fixture
def phantom(shared):
    return pydicom.dcmread(shared / PHANTOM)


def truth(content):
    """FIDs of the phantom's file, in the sense of NIfTI-MRS."""
    numbers = np.frombuffer(content.SpectroscopyData, "<f4")
    return (numbers[0::2] - 1j * numbers[1::2]).reshape(2, 1024)


def write(path, content, water, private=True, seconds=None, flag="YES"):
    """Write frames that are 1, 2, 3, ... times the scan, or its reference where `water` is."""
    scan, reference = truth(content)
    fids = np.stack([n * (reference if own else scan) for n, own in enumerate(water, start=1)])
    made = copy.deepcopy(content)
    made.SpectroscopyData, made.NumberOfFrames = fids.conj().astype("<c8").tobytes(), len(water)
    made.WaterReferencedPhaseCorrection = flag
    groups = [copy.deepcopy(content.PerFrameFunctionalGroupsSequence[0]) for _ in water]
    for group, since in zip(groups, seconds or [], strict=False):
        time = datetime.datetime(2030, 1, 7, 23, 59) + datetime.timedelta(seconds=since)
        group.FrameContentSequence[0].FrameAcquisitionDateTime = f"{time:%Y%m%d%H%M%S}.000000"
    made.PerFrameFunctionalGroupsSequence = groups
    own = [copy.deepcopy(content[philips.FRAMES].value[int(one)]) for one in water]
    made[philips.FRAMES].value = own
    if not private:  # as anonymised files are
        made.remove_private_tags()
    made.save_as(path)
    return fids


@pytest.mark.parametrize("water", [[0, 0, 1, 0, 0], [1, 0, 0], [0, 1, 1]])
def test_frames_are_parted_by_what_each_says_of_itself(tmp_path, phantom, water):
    fids = write(tmp_path / "a.dcm", phantom, water)
    is_water = np.array(water, bool)
    found = philips.stored_in([tmp_path / "a.dcm"])
    np.testing.assert_allclose(found.fids, fids, rtol=1e-6)
    np.testing.assert_array_equal(found.water, is_water)


def test_a_series_in_one_file_has_its_frames_times_and_water(tmp_path, phantom):
    fids = write(tmp_path / "a.dcm", phantom, [1, 0, 0, 0, 1], seconds=[0, 10, 50, 90, 130])
    converted = vendors.convert([tmp_path / "a.dcm"])
    np.testing.assert_allclose(converted.scan.fid, fids[1:4], rtol=1e-6)
    np.testing.assert_allclose(converted.references["ecc"].fid, fids[[0, 4]], rtol=1e-6)
    assert converted.scan.dimension_header("DIM_DYN")["FrameOnset"] == [0.0, 40.0, 80.0]
    assert converted.excitations == (128,)  # as the private part says, which is not what three frames hold
    with pytest.raises(InputError, match=r"averages 128 excitations, and protocols\.p\.excitations_per_frame is 20"):
        frames.excitations(converted, 20, "protocols.p")


def test_the_reference_may_come_first_and_a_flag_may_stand_without_it(tmp_path, phantom):
    for water, flag in ([1, 0], "YES"), ([0], "YES"):
        fids = write(tmp_path / "a.dcm", phantom, water, flag=flag)
        converted = vendors.convert([tmp_path / "a.dcm"])
        np.testing.assert_allclose(converted.scan.fid, fids[water.index(0)], rtol=1e-6)
        assert list(converted.references) == (["ecc"] if 1 in water else [])


@pytest.mark.parametrize(("water", "parted"), [([0, 1], True), ([0, 0, 1], False), ([0, 0], True)])
def test_without_its_private_part_only_a_pair_is_known(tmp_path, phantom, water, parted):
    """Frames of longer series stay together: unsuppressed ones are found by the checks, which name `water_frames`."""
    write(tmp_path / "a.dcm", phantom, water, private=False)
    assert philips.stored_in([tmp_path / "a.dcm"]).water.any() == parted


def test_a_file_of_the_private_kind_holds_dynamics_and_no_long_fid(tmp_path, phantom):
    scan, _ = truth(phantom)
    data = np.stack([scan, 2 * scan, 3 * scan]).conj().astype("<c8").tobytes()
    phantom.SOPClassUID = phantom.file_meta.MediaStorageSOPClassUID = philips.OLD_STORAGE
    phantom.add_new(philips.OLD_DATA, "OW", data)
    inner = phantom[philips.FRAMES].value[:1]
    for name in philips.PHASES:
        setattr(inner[0], name, 1)
    phantom[philips.FRAMES].value = inner
    for name in ("SpectroscopyData", "DataPointColumns", "SpectroscopyAcquisitionDataColumns", "NumberOfFrames"):
        delattr(phantom, name)
    phantom.save_as(tmp_path / "a.dcm")
    converted = vendors.convert([tmp_path / "a.dcm"])
    np.testing.assert_allclose(converted.scan.fid, np.outer([1, 2, 3], scan).reshape(3, 1024), rtol=1e-6)
    assert converted.references == {}


@pytest.mark.parametrize(("key", "value"), [("MRSpectroscopyAcquisitionType", "PLANE"), (philips.PHASES[0], 8)])
def test_imaging_is_refused_by_its_name(tmp_path, phantom, key, value):
    setattr(phantom, key, value)
    phantom.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a.dcm: is spectroscopic imaging; .*; name another scan, or leave this scan"):
        vendors.convert([tmp_path / "a.dcm"])


def test_a_file_cut_short_is_refused(tmp_path, phantom):
    phantom.SpectroscopyData = phantom.SpectroscopyData[:-80]
    phantom.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="cannot read it as philips_dcm"):
        vendors.convert([tmp_path / "a.dcm"])


def test_times_of_water_are_no_times_of_frames(tmp_path, phantom):
    write(tmp_path / "a.dcm", phantom, [0, 0, 1], seconds=[0, 60, 120])
    assert acquisition_start.onsets_of(detect([tmp_path / "a.dcm"])[0]) == [0.0, 60.0]
