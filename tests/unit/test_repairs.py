"""Headers of real scanners vary: what is there is read rightly, what is missing is asked for, contradictions end it."""

import datetime
import gzip
import re
import struct

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.conversion import checks, convert, repairs, vendors
from mrsflow.errors import InputError
from mrsflow.simulation import rawfiles

HEADER = rawfiles.RawHeader(127.73, 5e-4, 0.03, 2.0, 8, datetime.datetime(2030, 1, 7, 10, 47))
TIME = axes.time_axis(1024, 5e-4)
FID = np.exp((2j * np.pi * axes.ppm_to_hz(2.008, 127.73) - 20) * TIME)
FID = FID + 0.01 * (np.random.default_rng(1).normal(size=(1024, 2)) @ [1, 1j])


def stated(scan):
    header = scan.header
    return (scan.spectrometer_frequency, scan.dwell_time, header.get("EchoTime"), header.get("RepetitionTime"))


EXPECTED = pytest.approx((127.73, 5e-4, 0.03, 2.0), rel=1e-6)


@pytest.fixture
def spar(tmp_path):
    """Give a function that writes a pair whose SPAR has some lines changed, added or left out."""
    rawfiles.write_philips_sdat(tmp_path / "a.SDAT", FID, HEADER)
    text = (tmp_path / "a.SPAR").read_text()

    def write(change=lambda text: text, given=None, **lines):
        changed = text
        for key, value in lines.items():
            line = "" if value is None else f"{key} : {value}\n"
            changed = re.sub(rf"(?m)^{key} ?:.*\n", "", changed) + line
        changed = change(changed)
        (tmp_path / "a.SPAR").write_bytes(changed if isinstance(changed, bytes) else changed.encode("latin-1"))
        return vendors.convert([tmp_path / "a.SDAT"], given=given or {}).scan

    return write


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\xef\xbb\xbf" + text + "\x1a",
        lambda text: re.sub(r"(?m)^(\w+) ?:", lambda m: m[1].upper() + ":", text),
        lambda text: text.replace(" : ", "\t:\t") + "a line that is nothing\n",
        lambda text: re.sub(r"(?m)^patient_name.*", "patient_name : J\xf6rg", text),
        lambda text: re.sub(r"(?m)^scan_id.*", "scan_id : HYPER", text),
        lambda text: re.sub(r"(?m)^(scan_id|patient_position|equipment_sw_verions) .*", r"\1 : 12", text),
    ],
    ids=["CRLF", "mark and end", "capitals", "tabs", "latin-1", "HYPER", "numbers for texts"],
)
def test_a_spar_file_written_otherwise_says_the_same(spar, change):
    scan = spar(change)
    assert stated(scan) == EXPECTED
    np.testing.assert_allclose(scan.fid, FID, rtol=1e-5, atol=1e-6)


GIVEN = {
    "echo_time": ("EchoTime", "0.03"),
    "repetition_time": ("RepetitionTime", "2"),
    "synthesizer_frequency": ("SpectrometerFrequency", "127.73"),
    "sample_frequency": ("SpectralWidth", "2000"),
    "nucleus": ("ResonantNucleus", "1H"),
}


@pytest.mark.parametrize("key", GIVEN)
@pytest.mark.parametrize("value", [None, "", "unreadable"])
def test_what_a_spar_file_lacks_is_asked_for_and_can_be_given(spar, key, value):
    name, text = GIVEN[key]
    with pytest.raises(InputError, match=f"--set {name}"):
        spar(**{key: value})
    assert stated(spar(given={name: text}, **{key: value})) == EXPECTED


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"spec_num_col": 2048}, "samples is 1024 and spec_num_col says 2048"),
        ({"dim1_ext": "[sec]", "dim1_step": 0.00025}, "sample_frequency is 2000 and dim1_step says 4000"),
        ({"rows": None}, "rows is missing"),
    ],
)
def test_a_spar_file_that_contradicts_itself_is_refused(spar, lines, said):
    with pytest.raises(InputError, match=said):
        spar(**lines)


@pytest.mark.parametrize(("lines", "said"), [
    ({"phase_encoding_enable": '"yes"', "nr_phase_encoding_profiles": 16}, "is spectroscopic imaging .*; name another"),
    ({"synthesizer_frequency": 0}, "synthesizer_frequency is 0; give it with --set SpectrometerFrequency=VALUE"),
    ({"sample_frequency": 0}, "sample_frequency is 0; give it with --set SpectralWidth=VALUE"),
    ({"echo_time": 0}, "echo_time is 0; give it with --set EchoTime=VALUE"),
])  # fmt: skip
def test_numbers_that_cannot_be_zero_and_imaging_are_refused_by_name(spar, lines, said):
    with pytest.raises(InputError, match=said):
        spar(**lines)


def test_a_single_voxel_that_was_phase_encoded_once_is_one(spar):
    """As two real files of the reference data have it; and a voxel without a side has no known place."""
    assert stated(spar(phase_encoding_enable='"yes"', nr_phase_encoding_profiles=1, ap_size=0)) == EXPECTED


def test_a_time_stated_twice_is_refused(spar):
    with pytest.raises(InputError, match="states echo_time twice"):
        spar(lambda text: text + "echo_time : 144\n")


def test_a_voxel_that_is_not_stated_is_unknown(spar):
    assert np.all(np.linalg.norm(spar(ap_size=None).affine[:3, :3], axis=0) > 1000)
    assert stated(spar(ap_size="thirty")) == EXPECTED


RDA = {
    "PatientName": "FAKE_SUBJECT_001", "PatientBirthDate": "19000101", "TR": "2000.0", "TE": "30.0", "TM": "0.0",
    "TI": "600.0", "DwellTime": "500", "MRFrequency": "127.73", "Nucleus": "1H", "MagneticFieldStrength": "3.0",
    "FlipAngle": "90.0", "VectorSize": "1024", **{f"CSIMatrixSize[{i}]": "1" for i in range(3)},
    **{f"PositionVector[{i}]": str(v) for i, v in enumerate((0, 0, 0))},
    **{f"RowVector[{i}]": str(v) for i, v in enumerate((1, 0, 0))},
    **{f"ColumnVector[{i}]": str(v) for i, v in enumerate((0, 1, 0))},
    "PixelSpacingRow": "20.0", "PixelSpacingCol": "30.0", "SliceThickness": "25.0",
    "SequenceName": "FAKE_SUBJECT_001", "ModelName": "x",
}  # fmt: skip


def rda(path, end="\r\n", data=None, **lines):
    header = {**RDA, **lines}
    head = f">>> Begin of header <<<{end}"
    head += "".join(f"{key}: {value}{end}" for key, value in header.items() if value is not None)
    pairs = np.stack([FID.real, FID.imag], axis=1).astype("<f8").tobytes()
    path.write_bytes(f"{head}>>> End of header <<<{end}".encode("latin-1") + (pairs if data is None else data))
    return path


@pytest.mark.parametrize(
    "lines", [{}, {"end": "\n"}, {"PatientName": "M\xfcller"}, {"TE": "30,0"}, {"ModelName": None}]
)
def test_an_rda_file_written_otherwise_says_the_same(tmp_path, lines):
    scan = vendors.convert([rda(tmp_path / "a.RDA", **lines)]).scan
    assert (*stated(scan), scan.header["InversionTime"]) == pytest.approx((127.73, 5e-4, 0.03, 2.0, 0.6))
    np.testing.assert_allclose(scan.fid, FID, rtol=1e-6)
    np.testing.assert_allclose(np.sort(np.linalg.norm(scan.affine[:3, :3], axis=0)), [20, 25, 30])


@pytest.mark.parametrize("name", ["siemens-rda-press30/ACC_PRESS.rda", "siemens-rda-press30/PCG_PRESS.rda"])
def test_a_voxel_lies_where_it_did_without_the_lines_of_its_centre(shared, tmp_path, name):
    content = (shared / "data" / name).read_bytes()
    (tmp_path / "a.rda").write_bytes(re.sub(rb"(?m)^VOI[^\n]*\n", b"", content))
    known, found = (vendors.convert([path]) for path in (shared / "data" / name, tmp_path / "a.rda"))
    np.testing.assert_allclose(found.scan.affine, known.scan.affine, atol=2e-3)
    assert any("from PositionVector, its corner" in note for note in found.notes)


@pytest.mark.parametrize("absent", ["RowVector[0]", "PositionVector[2]", "PixelSpacingRow", "SliceThickness"])
def test_a_voxel_that_an_rda_file_does_not_state_is_unknown(tmp_path, absent):
    found = vendors.convert([rda(tmp_path / "a.rda", **{absent: None})])
    assert checks.voxel_size(found.scan) is None
    assert stated(found.scan) == EXPECTED


def test_what_an_rda_file_lacks_is_asked_for_or_left_out(tmp_path):
    path = rda(tmp_path / "a.rda", TE=None, TI=None)
    with pytest.raises(InputError, match=r"TE is missing .*--set EchoTime"):
        vendors.convert([path])
    scan = vendors.convert([path], given={"EchoTime": "0.03"}).scan
    assert stated(scan) == EXPECTED and "InversionTime" not in scan.header


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"VectorSize": "512"}, "holds .* bytes where its header says"),
        ({"VectorSize": "2048"}, "truncated"),
        ({"Nucleus": "31P"}, "31P at 3 T has about 51.7 MHz"),
        ({"MRFrequency": "63.9"}, "1H at 3 T has about 127.7 MHz"),
        ({"data": FID.astype("<c16").tobytes() + b"\0" * 16}, "holds .* bytes"),
    ],
)
def test_an_rda_file_that_contradicts_itself_is_refused(tmp_path, lines, said):
    with pytest.raises(InputError, match=said):
        vendors.convert([rda(tmp_path / "a.rda", **lines)])


PROCPAR = {"te": "0.03", "tr": "2", "sfrq": "127.73", "sw": "2000", "at": "0.512", "np": "2048", "tn": '"H1"'}
PROCPAR |= {"arraydim": "1", "rcvrs": '"y"', "seqfil": '"press"', "comment": '"FAKE_SUBJECT_001"'}


def varian(folder, blocks=1, **lines):
    folder.mkdir(exist_ok=True)
    head = struct.pack(">6ihhi", blocks, 1, 2048, 4, 8192, 8220, 1, 2073, 1)
    pairs = np.stack([FID.real, FID.imag], axis=1)
    block = struct.pack(">4hi4f", *[0] * 5, *[0] * 4) + pairs.astype(">f4").tobytes()
    (folder / "fid").write_bytes(head + block * blocks)
    values = {key: value for key, value in {**PROCPAR, **lines}.items() if value is not None}
    text = "".join(
        f"{key} {1 + value.startswith(chr(34))} 1 1 0 0 2 1 0 1 64\n1 {value}\n0 \n" for key, value in values.items()
    )
    (folder / "procpar").write_text(text)
    return folder


@pytest.mark.parametrize("lacking", [(), ("comment", "seqfil", "arraydim"), ("at", "np")])
def test_a_varian_scan_is_read_though_parameters_are_missing(tmp_path, lacking):
    scan = vendors.convert([varian(tmp_path / "a.fid", **dict.fromkeys(lacking))]).scan
    assert stated(scan) == EXPECTED
    np.testing.assert_allclose(scan.fid, FID, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [("sfrq", "SpectrometerFrequency", "127.73"), ("sw", "SpectralWidth", "2000"), ("tn", "ResonantNucleus", "1H")],
)
def test_what_a_varian_scan_lacks_is_asked_for_and_can_be_given(tmp_path, key, name, value):
    folder = varian(tmp_path / "a.fid", **{key: None})
    with pytest.raises(InputError, match=f"--set {name}"):
        vendors.convert([folder])
    assert stated(vendors.convert([folder], given={name: value}).scan) == EXPECTED


def test_a_varian_scan_without_times_has_none(tmp_path):
    folder = varian(tmp_path / "a.fid", tr=None, te=None)
    assert stated(vendors.convert([folder]).scan)[2:] == (None, None)
    assert stated(vendors.convert([folder], given={"EchoTime": "0.03", "RepetitionTime": "2"}).scan) == EXPECTED


@pytest.mark.parametrize(
    ("lines", "said"),
    [({"sw": "4000"}, "sw is 4000 and at"), ({"np": "1024"}, "np is 1024"), ({"blocks": 2}, "arraydim is 1 .* says 2")],
)
def test_a_varian_scan_that_contradicts_itself_is_refused(tmp_path, lines, said):
    with pytest.raises(InputError, match=said):
        vendors.convert([varian(tmp_path / "a.fid", **lines)])


def test_frames_that_repeat_or_are_empty_are_not_written_by_hand(tmp_path):
    frames = np.stack([FID, 1.1 * FID, FID])[np.newaxis]
    water = 1e3 * np.stack([FID, 1.1 * FID])[np.newaxis]
    for name, change, said in (("same", 1, "repeat another"), ("empty", 0, "hold only zeros")):
        rawfiles.write_ge_pfile(tmp_path / "P1.7", frames * [[[1], [change], [1]]], water, HEADER)
        with pytest.raises(InputError, match=said):
            convert.convert_by_hand([tmp_path / "P1.7"], tmp_path / f"{name}.nii.gz", {})
        assert not list(tmp_path.glob(f"{name}*"))


def test_field_strength_is_that_of_the_header(tmp_path):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", FID[np.newaxis, np.newaxis], FID[np.newaxis, [[0] * 1024] * 2], HEADER)
    assert repairs.field_strength(repairs.Raw("ge", [tmp_path / "P1.7"])) == 3.0
    assert repairs.field_strength(repairs.Raw("rda", [rda(tmp_path / "a.rda")])) == 3.0
    assert repairs.field_strength(repairs.Raw("varian", [varian(tmp_path / "a.fid") / "fid"])) is None


def test_texts_about_a_person_leave_whatever_field_they_stand_in(tmp_path):
    free = ("PatientName", "StudyDescription", "SequenceName", "TransmitCoil", "SoftwareVersion[0]", "PatientPosition")
    path = rda(tmp_path / "a.rda", **dict.fromkeys(free, "FAKE_SUBJECT_001"), ModelName="born 19000101")
    folder = tmp_path / "out"
    written = convert.convert_by_hand([path], folder / "a.nii.gz", {})
    everything = b"".join(gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in written)
    assert b"FAKE" not in everything and b"19000101" not in everything and str(tmp_path).encode() not in everything
    assert b'"EchoTime": 0.03' in everything


def test_texts_of_a_nifti_header_stay_only_where_they_describe_the_measurement(tmp_path):
    texts = ["Manufacturer", "SoftwareVersions", "SequenceName", "RxCoil", "TxCoil", "PatientPosition", "EditPulse"]
    texts += ["ConversionMethod", "WaterSuppressionType", "dim_5_info", "dim_5_use", "private_note"]
    known = {"SpectrometerFrequency": [127.73], "ResonantNucleus": ["1H"], "dim_5": "DIM_DYN"}
    onsets = {"FAKE_SUBJECT_001": ["FAKE_SUBJECT_001"] * 2, "EditCondition": ["on", "off"]}
    header = {**known, **dict.fromkeys(texts, "FAKE_SUBJECT_001"), "dim_5_header": onsets}
    nifti_mrs.write(nifti_mrs.Scan(np.stack([FID, 2 * FID]), ("DIM_DYN",), 5e-4, header), tmp_path / "raw.nii.gz")
    convert.convert_by_hand([tmp_path / "raw.nii.gz"], tmp_path / "a.nii.gz", {})
    kept = nifti_mrs.read(tmp_path / "a.nii.gz").header
    assert {**kept, "SpectralWidth": 0} == {
        **known,
        "dim_5_header": {"EditCondition": ["on", "off"]},
        "SpectralWidth": 0,
    }
    fine = {
        "Manufacturer": "Siemens Healthineers",
        "SoftwareVersions": "syngo MR XA60",
        "SequenceName": "eja_svs_press",
    }
    nifti_mrs.write(nifti_mrs.Scan(FID, (), 5e-4, {**known, **fine}), tmp_path / "raw.nii.gz")
    convert.convert_by_hand([tmp_path / "raw.nii.gz"], tmp_path / "a.nii.gz", {})
    assert fine.items() <= nifti_mrs.read(tmp_path / "a.nii.gz").header.items()
