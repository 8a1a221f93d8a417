"""Files of numbers in every layout: the same FID comes out, or one line says why not."""

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.conversion import vendors
from mrsflow.errors import InputError

FREQUENCY, DWELL, N_POINTS = 123.2, 2.5e-4, 1024
GIVEN = {"SpectrometerFrequency": str(FREQUENCY), "DwellTime": str(DWELL)}
TIME = axes.time_axis(N_POINTS, DWELL)
FID = sum(
    a * np.exp((2j * np.pi * axes.ppm_to_hz(ppm, FREQUENCY) - 20) * TIME) for ppm, a in ((2.01, 3), (3.03, 2), (3.2, 1))
) + 0.01 * (np.random.default_rng(1).normal(size=(N_POINTS, 2)) @ [1, 1j])
PAIRS = np.stack([FID.real, FID.imag], axis=1)


def written(values, per_line=2, form="{:15.6E}") -> str:
    values = np.ravel(values)
    rows = [values[i : i + per_line] for i in range(0, len(values), per_line)]
    return "".join("".join(form.format(v) for v in row) + "\n" for row in rows)


def same(scan, fid=FID):
    np.testing.assert_allclose(scan.fid, fid, atol=1e-5)
    assert (scan.spectrometer_frequency, scan.dwell_time, scan.nucleus) == (FREQUENCY, DWELL, "1H")


RAW = {
    "LCModel's": " $NMID ID='x', FMTDAT='(2E15.6)'\n TRAMP=1, VOLUME=1 $END\n{}",
    "sequence first": " $SEQPAR\n ECHOT=30.\n HZPPPM=123.2\n $END\n $NMID\n FMTDAT='(2E15.6)'\n $END\n{}",
    "small letters": " $seqpar\n echot=30.\n deltat=2.5D-4\n hzpppm=1.232E2\n $end\n $nmid fmtdat='(2E15.6)' $end\n{}",
    "modern Fortran": "&NMID\n ID='x', FMTDAT='(2E15.6)'\n/\n{}",
}


@pytest.mark.parametrize("layout", RAW)
@pytest.mark.parametrize("sense", [1, -1])
def test_raw_of_any_namelist_and_sense_is_the_same_fid(tmp_path, layout, sense):
    text = RAW[layout].format(written(PAIRS * [1, sense], per_line=8 if sense > 0 else 2))
    (tmp_path / "a.RAW").write_bytes(text.replace("\n", "\r\n").encode() if sense < 0 else text.encode())
    given = {} if "deltat" in text else GIVEN
    scan = vendors.convert([tmp_path / "a.RAW"], given=given).scan
    same(scan)
    assert scan.header.get("EchoTime") == (pytest.approx(0.03) if "echot" in text.lower() else None)


def test_numbers_that_touch_and_fortran_exponents_are_read(tmp_path):
    body = written(PAIRS, per_line=6, form="{:12.5E}").replace("E", "D")
    assert "D-02-" in body  # a number without a blank before it
    (tmp_path / "a.raw").write_text(RAW["LCModel's"].format(body))
    np.testing.assert_allclose(vendors.convert([tmp_path / "a.raw"], given=GIVEN).scan.fid, FID, atol=1e-4)


def test_water_takes_the_sense_of_its_partner(tmp_path):
    water = 1e4 * np.exp((2j * np.pi * 7 - 20) * TIME) + FID
    for sense in (1, -1):
        for name, fid in (("a.RAW", FID), ("a.H2O", water)):
            pairs = np.stack([fid.real, sense * fid.imag], axis=1)
            (tmp_path / name).write_text(RAW["LCModel's"].format(written(pairs)))
        scan = vendors.convert([tmp_path / "a.H2O"], given=GIVEN).scan
        np.testing.assert_allclose(scan.fid, water, rtol=1e-5, atol=1e-2)


JMRUI = (
    "jMRUI Data Textfile\r\n\r\nFilename: FAKE_SUBJECT_001.mrui\r\n\r\nPointsInDataset: {points}\r\nDatasetsInFile: {n}"
    "\r\nSamplingInterval: 2.5E-1\r\nZeroOrderPhase: 0E0\r\nBeginTime: 0E0\r\nTransmitterFrequency: {frequency}\r\n"
    "MagneticField: {field}\r\nTypeOfNucleus: {nucleus}\r\nNameOfPatient: M\xfcller\r\nDateOfExperiment: 19000101\r\n"
    "\r\n\r\nSignal and FFT\r\n{columns}\r\n"
)
COLUMNS = "sig(real)\tsig(imag)"


def jmrui(frames=1, columns=f"{COLUMNS}\tfft(real)\tfft(imag)", data=(), line="Signal {} out of {} in file", **header):
    """Write what jMRUI writes, which is conjugated."""
    known = {"points": N_POINTS, "n": frames, "frequency": "1.232E8", "field": "2.8936E0", "nucleus": "1E0"}
    text = JMRUI.format(columns=columns, **{**known, **header})
    for number in range(frames):
        fid = (FID * (1 + 0.1 * number)).conj()
        parts = {"sig": fid, "fft": axes.to_spectrum(fid)}
        values = [getattr(parts[name[:3]], name[4:8]) for name in columns.split("\t")]
        text += line.format(number + 1, frames) + "\r\n" + written(np.stack(values, axis=1), len(values))
    return text.encode("latin-1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", jmrui()),
        ("a.mrui", jmrui(columns=COLUMNS, frequency="123.2")),
        ("other.dat", jmrui(columns=f"fft(real)\tfft(imag)\t{COLUMNS}", nucleus=" ")),
        ("a.txt", jmrui(frequency="123.2", line="Signal number: {} out of {} in file")),
        ("a.txt", jmrui().replace(b"\r\n", b"\n")),
        ("a.txt", jmrui().replace(b".", b",")),
    ],
)
def test_jmrui_in_any_layout_is_the_same_fid(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    same(vendors.convert([tmp_path / name]).scan)


def test_signals_of_one_jmrui_file_are_frames(tmp_path):
    (tmp_path / "a.txt").write_bytes(jmrui(3))
    scan = vendors.convert([tmp_path / "a.txt"]).scan
    assert scan.dims == ("DIM_DYN",)
    np.testing.assert_allclose(scan.fid, np.multiply.outer([1, 1.1, 1.2], FID), atol=1e-5)


def test_binary_jmrui_is_read(tmp_path):
    head = np.zeros(64, ">f8")
    head[[1, 2, 5, 6, 7]] = N_POINTS, 0.25, 1.232e8, 2.8936, 1
    data = (PAIRS * [1, -1]).astype(">f8").tobytes()
    (tmp_path / "a.mrui").write_bytes(head.tobytes() + data + "M\xfcller".encode("latin-1"))
    same(vendors.convert([tmp_path / "a.mrui"]).scan)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jmrui(points=512), "PointsInDataset is 512 and 1024"),
        (jmrui(n=2), "DatasetsInFile is 2 and 1"),
        (jmrui(nucleus="2E0"), "31P at 2.8936 T has about 49.87 MHz"),
        (jmrui(nucleus=" ", field="0E0"), "--set ResonantNucleus"),
        (jmrui(frequency="0E0"), "--set SpectrometerFrequency"),
        (jmrui()[:-1000], "truncated"),
        (jmrui()[:-4], "truncated"),
        (jmrui().replace(b"E+", b"x+"), "other than numbers"),
        (jmrui(columns="fft(real)\tfft(imag)"), "no signal in the time domain"),
    ],
)
def test_jmrui_that_contradicts_itself_is_refused(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        vendors.convert([tmp_path / "a.txt"])


@pytest.mark.parametrize("layout", ["{:.6e} {:.6e}\n", "{:.6e},{:.6e}\n", "\t{:.6e}\t{:.6e}\r\n"])
@pytest.mark.parametrize("head", ["", "# real imaginary\n"])
def test_columns_are_read_with_any_separator(tmp_path, layout, head):
    (tmp_path / "a.txt").write_text(head + "".join(layout.format(*pair) for pair in PAIRS), newline="")
    same(vendors.convert([tmp_path / "a.txt"], given=GIVEN).scan)


@pytest.mark.parametrize("between", [" ", "\t", ";", "; "])
@pytest.mark.parametrize("form", ["{:.6e}", "{:.6f}"])
def test_columns_with_decimal_commas_are_read(tmp_path, between, form):
    rows = [between.join(form.format(v).replace(".", ",") for v in pair) for pair in PAIRS]
    (tmp_path / "a.txt").write_text("\n".join(rows) + "\n")
    same(vendors.convert([tmp_path / "a.txt"], given=GIVEN).scan)


SPECTRUM = axes.to_spectrum(FID)
BROKEN = {
    "cut number": written(PAIRS)[:-3],
    "cut line": written(PAIRS)[:-20],
    "three columns": written(np.column_stack([PAIRS, TIME]), 3),
    "spectrum": written(np.stack([SPECTRUM.real, SPECTRUM.imag], axis=1)),
    "text": written(PAIRS) + "1.0 NaN\n",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_columns_that_are_no_fid_are_refused(tmp_path, fault):
    (tmp_path / "a.txt").write_text(BROKEN[fault])
    with pytest.raises(InputError, match=r"truncated|columns|table|spectrum"):
        vendors.convert([tmp_path / "a.txt"], given=GIVEN)


@pytest.mark.parametrize("cut", [3, 20, 16])
def test_raw_that_is_cut_is_refused(tmp_path, cut):
    (tmp_path / "a.RAW").write_text(RAW["LCModel's"].format(written(PAIRS))[:-cut])
    with pytest.raises(InputError, match="truncated"):
        vendors.convert([tmp_path / "a.RAW"], given=GIVEN)
