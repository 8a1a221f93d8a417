"""Clock times of raw files: the start of the scan where the file says it, nothing where it does not."""

import datetime

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset

from mrsflow.conversion import convert
from mrsflow.conversion.vendors import Converted
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.raw_files import acquisition_start
from mrsflow.raw_files.formats import Raw
from mrsflow.simulation import rawfiles

START = datetime.datetime(2030, 1, 7, 10, 47, 12, 500_000)


def test_a_twix_readout_carries_its_time(tmp_path):
    header = rawfiles.RawHeader(127.73, 5e-4, 0.03, 2.0, 8, START)
    rawfiles.write_siemens_twix(tmp_path / "a.dat", np.ones((2, 3, 512), complex), header)
    assert acquisition_start.start_of(Raw("twix", [tmp_path / "a.dat"])) == "10:47:12.500"


@pytest.mark.parametrize("flag", [5, 25])  # MDH_SYNCDATA and MDH_NOISEADJSCAN of Siemens' header
def test_readouts_before_the_scan_do_not_start_it(tmp_path, flag):
    path = tmp_path / "a.dat"
    header = rawfiles.RawHeader(127.73, 5e-4, 0.03, 2.0, 8, START)
    rawfiles.write_siemens_twix(path, np.ones((2, 3, 512), complex), header)
    content = bytearray(path.read_bytes())
    first = rawfiles.TWIX_OFFSET + int.from_bytes(content[rawfiles.TWIX_OFFSET :][:4], "little")
    mask = first + rawfiles.TWIX_SCAN_HEADER.fields["eval_info_mask"][1]
    content[mask : mask + 4] = (1 << flag).to_bytes(4, "little")
    path.write_bytes(content)
    assert acquisition_start.start_of(Raw("twix", [path])) == "10:47:28.500"  # one frame of 8 excitations of 2 s later


def dicom(path, **values):
    content = pydicom.Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = "1.2.3"
    for name, value in values.items():
        setattr(content, name, value)
    content.save_as(path, enforce_file_format=True)
    return path


def test_dicom_says_the_start_only_by_the_tag_that_means_it(tmp_path):
    frames = [dicom(tmp_path / f"{n}.dcm", AcquisitionDateTime=f"20300107104{n}12.25+0100") for n in (8, 7)]
    assert acquisition_start.start_of(Raw("dicom", frames)) == "10:47:12.250"
    other = dicom(tmp_path / "a.dcm", AcquisitionTime="104712", SeriesTime="104712", ContentTime="104712")
    assert acquisition_start.start_of(Raw("dicom", [other])) is None
    assert acquisition_start.start_of(Raw("dicom", [frames[0], other])) is None


@pytest.mark.parametrize("form", ["rda", "philips_sdat", "ge", "varian", "nifti"])
def test_other_files_do_not_say_it(tmp_path, form):
    (tmp_path / "a").write_text("SeriesTime: 104712\nscan_date : 2030.01.07 10:47:12\n")
    assert acquisition_start.start_of(Raw(form, [tmp_path / "a"])) is None


@pytest.mark.parametrize(
    ("table", "found", "lead", "start", "said"),
    [
        ("10:47:12", "10:47:40.000", 0.0, "10:47:12", "differs by 28 s"),
        ("10:47:12", "10:47:13.900", 0.0, "10:47:12", None),
        ("23:59:50", "00:00:10.000", 0.0, "23:59:50", "differs by 20 s"),
        ("10:47:12", "10:45:12.000", 120.0, "10:47:12", None),
        (None, "10:47:12.500", 0.0, "10:47:12.500", "from the raw file"),
        (None, "23:59:50.000", 16.5, "00:00:06.500", "from the raw file"),
        (None, None, 0.0, None, None),
    ],
)
def test_the_table_comes_before_the_file(table, found, lead, start, said):
    converted = Converted(Scan(np.ones(64, complex), (), 5e-4, {}), start=found, lead_s=lead)
    row, notes = convert._with_start({"start_time": table} if table else {}, converted, 60.0)
    assert row.get("start_time") == start
    assert [said in note for note in notes] == ([True] if said else [])


def test_two_starts_far_apart_are_refused():
    converted = Converted(Scan(np.ones(64, complex), (), 5e-4, {}), start="11:47:12.000")
    with pytest.raises(InputError, match=r"start_time is 10:47:12, and the raw file says 11:47:12; .* above that"):
        convert._with_start({"start_time": "10:47:12"}, converted, 60.0)
    assert convert._with_start({"start_time": "10:47:12"}, converted, 3600.0)[0]["start_time"] == "10:47:12"


@pytest.mark.parametrize(
    ("times", "onsets"),
    [
        (["235958.5", "000002.5", "001002.5"], [0.0, 4.0, 604.0]),
        (["104712", "104712", "104712"], None),
        (["104714", "104712", "104716"], None),
        (["104712", "", "104716"], None),
    ],
)
def test_files_of_a_dicom_series_say_how_far_apart_they_are(tmp_path, times, onsets):
    paths = [dicom(tmp_path / f"{n}.dcm", AcquisitionTime=time) for n, time in enumerate(times)]
    assert acquisition_start.onsets_of(Raw("dicom", paths)) == onsets


@pytest.mark.parametrize("own_times", [True, False])
def test_frames_of_an_enhanced_file_are_frames_with_their_times(shared, tmp_path, own_times):
    """The phantom's file with its frame written three times, 160 s apart (80 averages of 2 s), over midnight."""
    import copy

    from mrsflow.conversion import frames, vendors

    content = pydicom.dcmread(shared / "data/siemens-dicom-xa60-phantom/SVS_XA60.dcm")
    one = np.frombuffer(content.SpectroscopyData, "<f4")
    content.NumberOfFrames = 3
    content.SpectroscopyData = np.concatenate([one, 2 * one, 3 * one]).tobytes()
    groups = [copy.deepcopy(content.PerFrameFunctionalGroupsSequence[0]) for _ in range(3)]
    for n, group in enumerate(groups):
        time = datetime.datetime(2030, 1, 7, 23, 57) + datetime.timedelta(seconds=160 * n)
        group.FrameContentSequence[0].FrameAcquisitionDateTime = f"{time:%Y%m%d%H%M%S}.000000" if own_times else ""
    content.PerFrameFunctionalGroupsSequence = groups
    content.save_as(tmp_path / "a.dcm")
    converted = vendors.convert([tmp_path / "a.dcm"])
    assert converted.scan.fid.shape == (3, 1024)
    np.testing.assert_allclose(converted.scan.fid[2], 3 * converted.scan.fid[0], rtol=1e-6)
    assert converted.scan.dimension_header("DIM_DYN").get("FrameOnset") == ([0.0, 160.0, 320.0] if own_times else None)
    placed = frames.placed(converted, frames.excitations(converted, None, "p"), "p", [])
    assert placed.dimension_header("DIM_DYN")["FrameOnset"] == [0.0, 160.0, 320.0]
