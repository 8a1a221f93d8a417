"""One scan by hand: coils and frames to a clean spectrum, its fit, and the page of it."""

import re
import zlib

import numpy as np
import pytest

from mrsflow import nifti_mrs
from mrsflow.axes import shift_frequency, time_axis
from mrsflow.basis_sets import sequences
from mrsflow.basis_sets.basis_formats import write_basis
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing.session_files import preprocess_by_hand
from mrsflow.quantification.fit_files import fit_by_hand
from mrsflow.reporting import fit_page

MHZ, DWELL, POINTS, FRAMES = 123.25, 5e-4, 1024, 12
AMOUNTS = {"NAA": 10.0, "Cr": 8.0, "PCh": 1.5, "Glu": 9.0, "Gln": 3.0, "Ins": 6.0}
COILS = np.array([1.0, 0.6 * np.exp(2j), 0.3 * np.exp(-1j), 0.8 * np.exp(0.5j)])
HEADER = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "RepetitionTime": 2.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan of four coils and twelve frames that drift and turn, one of them of noise; and its basis set."""
    folder = tmp_path_factory.mktemp("by hand")
    sequence = sequences.Sequence("press", 0.03, te1=0.011)
    basis = sequences.simulate(sequence, MHZ, tuple(AMOUNTS), False, DWELL, POINTS)
    write_basis(basis, folder / "basis.BASIS")
    t, rng = time_axis(POINTS, DWELL), np.random.default_rng(4)
    clean = np.array(list(AMOUNTS.values())) @ basis.fids * np.exp(-np.pi * 4 * t)
    frames = np.stack([shift_frequency(clean, 0.3 * n, DWELL) * np.exp(0.05j * n) for n in range(FRAMES)])
    frames[5] = 0
    fids = COILS[:, np.newaxis, np.newaxis] * frames
    fids = fids + 0.3 * (rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape))
    header = {**HEADER, "dim_5": "DIM_COIL", "dim_6": "DIM_DYN"}
    nifti_mrs.write(Scan(fids, ("DIM_COIL", "DIM_DYN"), DWELL, header), folder / "svs.nii.gz")
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    written = preprocess_by_hand(folder / "svs.nii.gz", folder / "clean.nii.gz", remove_water=False)
    assert [path.name for path in written] == ["clean.nii.gz", "clean.json", "clean_quality.tsv"]
    arguments = (folder / "basis.BASIS", folder / "fit.tsv", None, "independent", None, (0.5, 4.2), "fsl")
    curves = fit_by_hand(folder / "clean.nii.gz", *arguments)
    return curves, read_table(folder / "fit.tsv"), read_table(folder / "fit_quality.tsv")


def test_a_scan_of_several_coils_is_fitted_to_its_truth(folder, fitted):
    table = fitted[1].set_index("metabolite")
    for name in ("NAA", "Glu", "Ins"):
        error = table.loc[name, "per_tcr"] - AMOUNTS[name] / AMOUNTS["Cr"]
        assert abs(error) < 4 * table.loc[name, "per_tcr_sd"] < 0.1
    quality = read_table(folder / "clean_quality.tsv").iloc[0]
    assert (quality["n_frames"], quality["n_frames_rejected"]) == (FRAMES - 1, 1)
    steps = [step["Method"] for step in nifti_mrs.read(folder / "clean.nii.gz").processing]
    assert steps[:2] == ["RF coil combination", "Frequency and phase correction"]


def test_coils_are_sent_to_the_step_that_combines_them(folder, tmp_path):
    arguments = (folder / "basis.BASIS", tmp_path / "fit.tsv", None, "independent", None, (0.5, 4.2), "fsl")
    with pytest.raises(InputError, match=r"has 4 coils .*run preprocess_scan.py") as error:
        fit_by_hand(folder / "svs.nii.gz", *arguments)
    assert str(folder / "svs.nii.gz") in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["svs.nii.gz", "clean.tsv"])
def test_neither_the_input_nor_another_format_is_written(folder, out):
    before = (folder / "svs.nii.gz").read_bytes()
    with pytest.raises(InputError, match=r"is an input as well|must end in"):
        preprocess_by_hand(folder / "svs.nii.gz", folder / out)
    assert (folder / "svs.nii.gz").read_bytes() == before


def test_the_page_shows_residual_and_sd_first(fitted):
    curves, amounts, quality = fitted
    own = {name: curves[name][0] for name in ("data", "fit", "baseline")}
    with fit_page.style():
        figure = fit_page.draw(curves["ppm"], own, amounts, quality.iloc[0], "a_b$c")
    lower, upper, table = figure.axes
    np.testing.assert_allclose(upper.lines[0].get_ydata(), own["data"] - own["fit"])
    assert lower.get_xlim()[0] > lower.get_xlim()[1]
    texts = [text.get_text() for text in table.texts]
    assert texts[:4] == ["% SD", "Amount", "/tCr", "Metabolite"]
    row = amounts.set_index("metabolite").loc["Glu"]
    place = texts.index("Glu")
    assert texts[place - 3 : place] == [f"{row['sd_percent']:.0f}%", f"{row['amplitude']:.3g}", f"{row['per_tcr']:.3g}"]
    assert table.texts[place].get_fontweight() == "bold"


def test_the_page_is_one_page_and_the_same_bytes_each_time(fitted, tmp_path):
    for name in ("one.pdf", "two.pdf"):
        fit_page.write(*fitted, "svs.nii.gz", tmp_path / name)
    content = (tmp_path / "one.pdf").read_bytes()
    assert content == (tmp_path / "two.pdf").read_bytes()
    streams = [zlib.decompress(part) for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
               if part[:1] == b"x"]  # fmt: skip
    assert len(re.findall(rb"/Type /Page\b", content + b"".join(streams))) == 1
