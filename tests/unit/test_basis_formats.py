"""Basis sets of other programs: written texts with every oddity, and round trips."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mrsflow.axes import time_axis
from mrsflow.basis_sets import basis_formats, sequences
from mrsflow.basis_sets.basis_formats import write_basis, write_json
from mrsflow.errors import InputError

MHZ, DWELL, POINTS = 123.25, 5e-4, 1024


@pytest.fixture(scope="module")
def simulated():
    sequence = sequences.Sequence("press", 0.03, te1=0.011)
    return sequences.simulate(sequence, MHZ, ("NAA", "Cr", "-CrCH2", "Glu"), dwell_time=DWELL, n_points=POINTS)


def lines_of(fid, columns=2, spec="{:.9E}"):
    numbers = [spec.format(part) for value in fid for part in (value.real, value.imag)]
    rows = [numbers[i : i + columns] for i in range(0, len(numbers), columns)]
    return "\n".join(" " + "  ".join(row) for row in rows) + "\n"


def lcmodel_text(basis, header=None, each="", zero_fill=2, spec="{:.9E}", columns=2):
    n = zero_fill * basis.n_points
    header = header or (
        f" $SEQPAR\n FWHMBA = {basis.linewidth / MHZ:.9f},\n HZPPPM = {MHZ},\n ECHOT = 30.,\n SEQ = 'PRESS'\n $END\n"
        f" $BASIS1\n FMTBAS = '(2E17.9)',\n BADELT = {DWELL},\n NDATAB = {n}\n $END\n"
    )
    blocks = [
        f" $NMUSED\n XTRASH = 0.\n $END\n $BASIS\n METABO = '{name}',\n{each} ISHIFT = 0\n $END\n"
        + lines_of(np.fft.fft(fid, n) / np.sqrt(n), columns, spec)
        for name, fid in zip(basis.names, basis.fids, strict=True)
    ]
    return header + "".join(blocks)


def load_text(tmp_path, text, name="set.BASIS"):
    (tmp_path / name).write_text(text)
    return basis_formats.load(tmp_path / name)


def test_written_basis_is_read_back(tmp_path, simulated):
    write_basis(simulated, tmp_path / "a.BASIS")
    found = basis_formats.load(tmp_path / "a.BASIS")
    np.testing.assert_allclose(found.fids, simulated.fids, atol=1e-7)
    assert found.names == simulated.names
    assert (found.dwell_time, found.spectrometer_frequency, found.reference_ppm) == (DWELL, MHZ, 4.65)
    assert found.linewidth == pytest.approx(1.0)
    assert (found.description, found.echo_time) == (simulated.description, 0.03)
    write_basis(simulated, tmp_path / "b.BASIS")
    assert (tmp_path / "a.BASIS").read_bytes() == (tmp_path / "b.BASIS").read_bytes()


def test_written_json_is_read_back(tmp_path, simulated):
    write_json(simulated, tmp_path / "set")
    found = basis_formats.load(tmp_path / "set")
    assert sorted(found.names) == sorted(simulated.names)
    for name, fid in zip(found.names, found.fids, strict=True):
        np.testing.assert_array_equal(fid, simulated.fids[simulated.names.index(name)])
    assert (found.dwell_time, found.spectrometer_frequency, found.linewidth) == (DWELL, MHZ, 1.0)


def test_concentration_volume_and_amplitude_scale_the_signal(tmp_path, simulated):
    text = lcmodel_text(simulated, each=" CONC = 10.,\n TRAMP = 3.,\n VOLUME = 2.,\n")
    np.testing.assert_allclose(load_text(tmp_path, text).fids, simulated.fids * 3 / (2 * 10), atol=1e-7)


def test_shift_moves_towards_higher_ppm(tmp_path, simulated):
    """As LCModel's source says of ISHIFT; five points of 1/(2048 · 0.5 ms)."""
    n = 2 * POINTS
    text = lcmodel_text(simulated).replace("ISHIFT = 0", "ISHIFT = 5")
    found = load_text(tmp_path, text)
    expected = simulated.fids * np.exp(-2j * np.pi * 5 / (n * DWELL) * time_axis(POINTS, DWELL))
    hz = (found.reference_ppm - 4.65) * MHZ  # the reader finds the common offset; undo it to compare
    np.testing.assert_allclose(found.fids, expected, atol=1e-6)
    assert hz == pytest.approx(-5 / (n * DWELL), abs=0.01 * MHZ)


@pytest.mark.parametrize(
    "header",
    [
        " $SEQPAR HZPPPM=123.25 $END\n $BASIS1 BADELT=5e-4 $END\n",
        "&seqpar\nhz = 1, hzpppm = 1.2325D2 , SEQ = 'it''s $x / y',\nechot = ,\n&end\n&basis1 badelt= .0005 &end\n",
        " $SEQPAR\r\n HZPPPM =\r\n   123.25,\r\n /\r\n $BASIS1\r\n BADELT = 1*5.0E-04\r\n $END\r\n",
    ],
)
def test_odd_headers_are_read(tmp_path, simulated, header):
    found = load_text(tmp_path, lcmodel_text(simulated, header=header))
    np.testing.assert_allclose(found.fids, simulated.fids, atol=1e-7)
    assert (found.spectrometer_frequency, found.dwell_time) == (MHZ, DWELL)


def test_numbers_without_spaces_are_read(tmp_path, simulated):
    text = lcmodel_text(simulated, spec="{:+.9E}", columns=6).replace("  +", "+").replace("  -", "-")
    np.testing.assert_allclose(load_text(tmp_path, text).fids, simulated.fids, atol=1e-7)


def test_exponents_of_three_digits_are_read(tmp_path, simulated):
    text = lcmodel_text(simulated)
    head, numbers = text.split("ISHIFT = 0\n $END\n", 1)
    first, rest = numbers.split("\n", 1)
    changed = head + "ISHIFT = 0\n $END\n" + first.split()[0] + " 1.234567890-123\n" + rest
    assert load_text(tmp_path, changed).names == simulated.names


def test_without_zero_filling_all_points_are_kept(tmp_path, simulated):
    found = load_text(tmp_path, lcmodel_text(simulated, zero_fill=1))
    np.testing.assert_allclose(found.fids, simulated.fids, atol=1e-7)


def without_last_numbers(simulated, missing, columns=8):
    """LCModel text whose spectra lack their last numbers, and the FIDs with zeros in their place."""
    n = 2 * POINTS
    spectra = np.fft.fft(simulated.fids, n, norm="ortho").view(float)
    text = f" $SEQPAR HZPPPM = {MHZ} $END\n $BASIS1 BADELT = {DWELL}, NDATAB = {n} $END\n"
    for name, spectrum in zip(simulated.names, spectra, strict=True):
        numbers = [f"{value:15.8E}" for value in spectrum[: 2 * n - missing]]
        rows = ["".join(numbers[i : i + columns]) for i in range(0, len(numbers), columns)]
        text += "\n".join([f" $BASIS METABO = '{name}' $END", *rows, ""])
        spectrum[2 * n - missing :] = 0
    return text, np.fft.ifft(spectra.view(complex), norm="ortho")[:, :POINTS]


@pytest.mark.parametrize("missing", [1, 2, 3, 5, 7])
def test_numbers_that_the_last_record_lacks_are_zeros(tmp_path, simulated, missing):
    """Fortran pads a record that is too short with blanks, and reads zeros there."""
    text, expected = without_last_numbers(simulated, missing)
    np.testing.assert_allclose(load_text(tmp_path, text).fids[:, :POINTS], expected, atol=1e-6)
    np.testing.assert_allclose(load_text(tmp_path, text.rstrip()).fids[:, :POINTS], expected, atol=1e-6)


def test_a_whole_record_or_half_a_number_less_is_a_file_cut_short(tmp_path, simulated):
    whole, _ = without_last_numbers(simulated, 0)
    for text in (without_last_numbers(simulated, 8)[0], whole.rstrip()[:-20], whole.rstrip() + " 1.0 2.0"):
        with pytest.raises(InputError, match="points where NDATAB says 2048"):
            load_text(tmp_path, text)


@pytest.mark.parametrize("turn", [np.asarray, np.conj], ids=["as here", "mirrored"])
@pytest.mark.parametrize("width", [0.5, 1.6, 6.0])
@pytest.mark.parametrize("chosen", [slice(None), slice(0, 1), slice(3, 4)], ids=["all", "NAA only", "Glu only"])
def test_reference_line_at_0_ppm_is_taken_out(tmp_path, simulated, turn, width, chosen):
    t = time_axis(POINTS, DWELL)
    broadened = simulated.fids * np.exp(-np.pi * 2 * t)
    with_reference = broadened.copy()
    with_reference[chosen] += 9 * np.exp(2j * np.pi * 4.65 * MHZ * t - np.pi * width * t)
    write_json(replace(simulated, fids=turn(with_reference)), tmp_path / "set")
    found = basis_formats.load(tmp_path / "set")
    order = [found.names.index(name) for name in simulated.names]
    np.testing.assert_allclose(found.fids[order], broadened, atol=2e-3 * 9)
    spectra = np.abs(np.fft.fft(found.fids[order] - broadened))
    assert spectra[:, inside_ppm()].max() < 1e-3 * np.abs(np.fft.fft(broadened))[:, inside_ppm()].max(axis=-1).min()


def test_a_reference_named_as_such_stays(tmp_path, simulated):
    t = time_axis(POINTS, DWELL)
    line = 9 * np.exp(2j * np.pi * 4.65 * MHZ * t - np.pi * 2 * t)
    write_json(replace(simulated, names=("NAA", "Cr", "DSS", "Glu"), fids=simulated.fids + line), tmp_path / "set")
    found = basis_formats.load(tmp_path / "set")
    np.testing.assert_allclose(found.fids[found.names.index("DSS")], simulated.fids[2] + line, atol=1e-12)


def inside_ppm(low=0.3, high=4.3):
    ppm = 4.65 - np.fft.fftfreq(POINTS, DWELL) / MHZ
    return (ppm > low) & (ppm < high)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2].rsplit("\n", 1)[0], "points where NDATAB says 2048"),
        (lambda text: text.replace("HZPPPM", "HZ"), "HZPPPM is missing"),
        (lambda text: text.replace("BADELT = 0.0005", "BADELT = abc"), "BADELT is 'abc'"),
        (lambda text: text.replace("BADELT = 0.0005", "BADELT = 0."), "BADELT is 0"),
        (lambda text: text.replace("'Glu'", "'NAA'"), "NAA: the name stands more than once"),
        (lambda text: text[:-2000] + "****" + text[-1996:], "stands among the numbers"),
        (lambda text: text.replace("$BASIS\n", "$OTHER\n"), "neither an LCModel"),
    ],
)
def test_broken_files_are_refused(tmp_path, simulated, change, words):
    with pytest.raises(InputError, match=words):
        load_text(tmp_path, change(lcmodel_text(simulated)))


def test_raw_folder_takes_its_sampling_from_the_makebasis_input(tmp_path, simulated):
    for name, fid in zip(simulated.names, simulated.fids, strict=True):
        text = f" $NMID ID='{name}', FMTDAT='(2E15.6)'\n TRAMP=2., VOLUME=4. $END\n{lines_of(fid)}"
        (tmp_path / f"{name}.RAW").write_text(text)
    with pytest.raises(InputError, match="do not say their frequency"):
        basis_formats.load(tmp_path)
    (tmp_path / "makebasis.in").write_text(
        f" $SEQPAR HZPPPM={MHZ} $END\n $NMALL DELTAT={DWELL}, NUNFIL={POINTS} $END\n"
    )
    found = basis_formats.load(tmp_path)
    assert sorted(found.names) == sorted(simulated.names)
    np.testing.assert_allclose(found.fids[found.names.index("Cr")], simulated.fids[1] / 2, atol=1e-7)


JMRUI = (
    "jMRUI Data Textfile\n\nFilename: x\n\nPointsInDataset: {points}\nDatasetsInFile: {count}\n"
    "SamplingInterval: {interval}\nTransmitterFrequency: {hz}\nSignalNames: {names}\n\n\nSignal and FFT\n{columns}\n"
)


def jmrui_text(names, fids, with_fft):
    columns = "sig(real)\tsig(imag)" + ("\tfft(real)\tfft(imag)" if with_fft else "")
    head = JMRUI.format(
        points=POINTS, count=len(names), interval=DWELL * 1e3, hz=MHZ * 1e6, names=";".join(names), columns=columns
    )
    body = ""
    for i, fid in enumerate(fids):
        body += f"Signal {i + 1} out of {len(names)} in file\n"
        extra = "\t0.5\t-0.5" if with_fft else ""
        body += "".join(f"{value.real:.9E}\t{value.imag:.9E}{extra}\n" for value in fid)
    return head + body


@pytest.mark.parametrize("with_fft", [True, False])
@pytest.mark.parametrize("mirrored", [True, False])
def test_jmrui_text_is_read_in_either_sense(tmp_path, simulated, with_fft, mirrored):
    fids = simulated.fids.conj() if mirrored else simulated.fids
    found = load_text(tmp_path, jmrui_text(simulated.names, fids, with_fft), "set.txt")
    assert found.names == simulated.names
    np.testing.assert_allclose(found.fids, simulated.fids, atol=1e-7)
    assert (found.dwell_time, found.spectrometer_frequency) == (DWELL, MHZ)


def test_jmrui_folder_has_a_metabolite_per_file(tmp_path, simulated):
    for name, fid in zip(simulated.names, simulated.fids, strict=True):
        (tmp_path / f"{name}.txt").write_text(jmrui_text([name], [fid], with_fft=True))
    found = basis_formats.load(tmp_path)
    np.testing.assert_allclose(found.fids[found.names.index("Glu")], simulated.fids[3], atol=1e-7)


def test_json_in_hertz_and_the_other_sense_is_read(tmp_path, simulated):
    for name, fid in zip(simulated.names, simulated.fids.conj(), strict=True):
        entry = {
            "basis_re": fid.real.tolist(), "basis_im": fid.imag.tolist(), "basis_dwell": DWELL,
            "basis_centre": MHZ * 1e6, "basis_width": 1.0, "basis_name": name,
        }  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps({"basis": entry}))
    found = basis_formats.load(tmp_path)
    np.testing.assert_allclose(found.fids[found.names.index("NAA")], simulated.fids[0], atol=1e-12)
    assert found.spectrometer_frequency == pytest.approx(MHZ)
    (tmp_path / "bad.json").write_text('{"basis": {"basis_re": [1]}}')
    with pytest.raises(InputError, match="key basis_im is missing"):
        basis_formats.load(tmp_path)


def test_what_is_no_basis_is_named(tmp_path):
    for path, words in ((tmp_path, "the folder has no"), (tmp_path / "none.BASIS", "cannot be read")):
        with pytest.raises(InputError, match=words):
            basis_formats.load(path)
