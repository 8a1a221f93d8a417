"""Formats are recognised by content, files of a scan found, values given by hand checked, spec2nii called safely."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsflow import axes, nifti_mrs
from mrsflow.conversion import external, vendors
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.raw_files import formats
from mrsflow.simulation import rawfiles
from mrsflow.study.records import fault_of_machine

HEADER = rawfiles.RawHeader(127.73, 5e-4, 0.03, 2.0, 8, datetime.datetime(2030, 1, 7, 10, 47))


def lines(*shape: int) -> np.ndarray:
    """NAA, 20 Hz off nothing else, with noise so that frames differ."""
    t = axes.time_axis(512, HEADER.dwell_time)
    rng = np.random.default_rng(1)
    fid = np.exp((2j * np.pi * axes.ppm_to_hz(2.008, HEADER.spectrometer_frequency) - 20) * t)
    return fid + 0.01 * (rng.normal(size=(*shape, 512, 2)) @ [1, 1j])


MAGIC = {
    "a.bin": (b"\0" * 128 + b"DICM" + b"\0" * 64, "Manufacturer is not Siemens"),
    "b.txt": (b">>> Begin of header <<<\r\nTR: 1\r\n", "rda"),
    "c.txt": (b"jMRUI Data Textfile\n\nFilename: x\n", "jmrui"),
    "d.h2o": (b" $NMID ID='x', FMTDAT='(2E13.5)'\n $END\n 1 2\n", "raw"),
    "e.txt": (b"   1.0e+02   -3.5\n   2.0   4.0\n", "text"),
    "P1.7": (b"\0" * 64, "ge"),
    "f": (b"\0\0\xf0\x41" + b"\0" * 30 + b"GE_MED_NMR" + b"\0" * 64, "ge"),
    "g.dat": (b"\0" * 64, "twix"),
    "h.nii.gz": (b"\x1f\x8b", "nifti"),
    "i.pdf": (b"%PDF-1.4 something", "no format that is known"),
}


@pytest.mark.parametrize("name", MAGIC)
def test_formats_are_found_by_content_then_extension(tmp_path, name):
    content, expected = MAGIC[name]
    path = tmp_path / name
    path.write_bytes(content)
    if len(expected.split()) > 1:
        with pytest.raises(InputError, match=expected):
            formats.detect([path])
    else:
        assert formats.detect([path]) == [formats.Raw(expected, [path])]


@pytest.mark.parametrize(("data", "text"), [("a.SDAT", "a.spar"), ("A.sdat", "a.SPAR"), ("a.Sdat", "A.Spar")])
@pytest.mark.parametrize("named", [0, 1])
def test_either_file_of_a_pair_finds_the_other_in_any_case(tmp_path, data, text, named):
    for name in (data, text, "other.sdat", "other.spar"):
        (tmp_path / name).write_bytes(b"x")
    assert formats.detect([tmp_path / (data, text)[named]]) == [
        formats.Raw("philips_sdat", [tmp_path / data, tmp_path / text])
    ]


def test_a_missing_or_doubtful_partner_is_named(tmp_path):
    (tmp_path / "a.SDAT").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no file beside it with the ending .spar"):
        formats.detect([tmp_path / "a.SDAT"])
    for name in ("A.spar", "A.SPAR"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="2 files beside it"):
        formats.detect([tmp_path / "a.SDAT"])


@pytest.mark.parametrize("content", [None, b""])
def test_missing_and_empty_files_are_one_clear_line(tmp_path, content):
    path = tmp_path / "scan.dat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="no such file" if content is None else "is empty"):
        vendors.convert([path])


def test_a_link_that_turns_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a.dat").symlink_to(tmp_path / "b.dat")
    (tmp_path / "b.dat").symlink_to(tmp_path / "a.dat")
    with pytest.raises(InputError, match=r"a\.dat: "):
        vendors.convert([tmp_path / "a.dat"])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"Echotime": "0.03"}, "Echotime"),
        ({"EchoTime": "30 ms"}, "EchoTime"),
        ({"EchoTime": "-1"}, "EchoTime"),
        ({"EchoTime": "nan"}, "EchoTime"),
        ({"DwellTime": "0"}, "DwellTime"),
        ({"ResonantNucleus": "proton"}, "ResonantNucleus"),
        ({"DwellTime": "0.0005", "SpectralWidth": "4000"}, "SpectralWidth"),
    ],
)
def test_values_given_wrongly_are_refused_by_key(given, named):
    with pytest.raises(InputError, match=f"--set {named}"):
        vendors.parse_given(given)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=30), max_size=3))
def test_any_text_given_is_accepted_or_refused_in_one_line(given):
    try:
        vendors.parse_given(given)
    except InputError as error:
        assert "Traceback" not in str(error)


NASTY = ["with space.7", "quote'\".7", "a;touch hacked;$(touch hacked).7", "ümlaut-名前.7", "-e image.7", "P&|<>.7"]


@pytest.mark.parametrize("name", NASTY)
def test_file_names_are_never_commands(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    rawfiles.write_ge_pfile(path, lines(2, 3), 1e3 * lines(2, 2), HEADER)
    converted = vendors.convert([path])
    assert converted.scan.fid.shape == (2, 3, 512)
    assert converted.references["ecc"].fid.shape == (2, 2, 512)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert name not in str(converted.scan.header)


def test_given_values_come_before_the_header_and_singleton_dimensions_go(tmp_path):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", lines(1, 1), 1e3 * lines(1, 2), HEADER)
    scan = vendors.convert([tmp_path / "P1.7"], given={"EchoTime": "0.035", "SpectralWidth": "2500"}).scan
    assert (scan.dims, scan.fid.shape) == ((), (512,))
    assert (scan.header["EchoTime"], scan.dwell_time, scan.header["RepetitionTime"]) == (0.035, 1 / 2500, 2.0)


def test_a_wrong_format_named_by_hand_is_one_line(tmp_path):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", lines(1, 1), 1e3 * lines(1, 2), HEADER)
    with pytest.raises(InputError, match=r"P1\.7: has no end of header"):
        vendors.convert([tmp_path / "P1.7"], form="rda")


def test_nifti_passes_through_and_its_sidecar_fills_gaps(tmp_path):
    header = {"SpectrometerFrequency": [127.73], "ResonantNucleus": ["1H"], "EchoTime": 0.03}
    nifti_mrs.write(Scan(lines(3), ("DIM_DYN",), 5e-4, {**header, "dim_5": "DIM_DYN"}), tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text('{"EchoTime": 0.03, "RepetitionTime": 1.5}')
    scan = vendors.convert([tmp_path / "a.nii.gz"]).scan
    assert (scan.header["EchoTime"], scan.header["RepetitionTime"]) == (0.03, 1.5)
    np.testing.assert_array_equal(scan.fid, lines(3).astype(np.complex64))
    (tmp_path / "a.json").write_text('{"EchoTime": 0.04}')
    with pytest.raises(InputError, match=r"EchoTime is 0.03 and 0.04 .*--set EchoTime"):
        vendors.convert([tmp_path / "a.nii.gz"])
    assert vendors.convert([tmp_path / "a.nii.gz"], given={"EchoTime": "0.04"}).scan.header["EchoTime"] == 0.04


@pytest.mark.parametrize(
    ("header", "dims", "said"),
    [
        ({}, (), "dimension 5 has no tag"),
        ({"SpectralWidth": 4000.0, "dim_5": "DIM_DYN"}, ("DIM_DYN",), "SpectralWidth is 2000 and 4000"),
        ({"SpectrometerFrequency": [], "dim_5": "DIM_DYN"}, ("DIM_DYN",), "--set SpectrometerFrequency"),
    ],
)
def test_a_nifti_header_that_leaves_doubt_is_refused(tmp_path, header, dims, said):
    known = {"SpectrometerFrequency": [127.73], "ResonantNucleus": ["1H"], "EchoTime": 0.03}
    nifti_mrs.write(Scan(lines(3), ("DIM_DYN",), 5e-4, {**known, **header}), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=said):
        vendors.convert([tmp_path / "a.nii.gz"])
    if "Frequency" in said:
        scan = vendors.convert([tmp_path / "a.nii.gz"], given={"SpectrometerFrequency": "127.73"}).scan
        assert scan.spectrometer_frequency == 127.73


@pytest.mark.parametrize("part", [0.2, 0.7, 0.99])
def test_truncated_files_are_refused(tmp_path, part):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", lines(2, 3), 1e3 * lines(2, 2), HEADER)
    rawfiles.write_siemens_twix(tmp_path / "a.dat", lines(2, 3), HEADER)
    rawfiles.write_philips_sdat(tmp_path / "a.SDAT", lines(), HEADER)
    for name in ("P1.7", "a.dat", "a.SDAT"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        with pytest.raises(InputError, match="truncated"):
            vendors.convert([path])


def test_a_value_given_against_the_header_is_noted(tmp_path):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", lines(1, 1), 1e3 * lines(1, 2), HEADER)
    notes = vendors.convert([tmp_path / "P1.7"], given={"EchoTime": "0.035", "RepetitionTime": "2"}).notes
    assert notes == ["EchoTime 0.03 s of the header replaced by the 0.035 that was given"]


def test_a_full_disk_is_said_with_its_place(tmp_path, monkeypatch):
    rawfiles.write_ge_pfile(tmp_path / "P1.7", lines(1, 1), 1e3 * lines(1, 2), HEADER)
    full = tmp_path / "spec2nii"  # what the program says when the folder for its output is full
    full.write_text("#!/bin/sh\necho 'OSError: [Errno 28] No space left on device' >&2\nexit 1\n")
    full.chmod(0o755)
    monkeypatch.setattr(external.Spec2nii, "_cmd", str(full))
    with pytest.raises(InputError, match=r"P1\.7: cannot be converted, /.*: the disk is full .*set TMPDIR") as caught:
        vendors.convert([tmp_path / "P1.7"])
    assert fault_of_machine(caught.value, tmp_path)
