"""The fit on the reference spectra of known truth, and on public data with a known concentration."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, sequences
from mrsflow.files import read_table
from mrsflow.fitting import fit, uncertainty
from mrsflow.fitting.fit_model import Model
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification.fit_files import fit_by_hand

MM = 0.829
"""The truth's signals are 0.829 times the basis for each mM."""
FILES = ("fitting-challenge", "basisset_LCModel", "press3T_30ms.BASIS")


@pytest.fixture(scope="module")
def basis_path(shared):
    return shared.joinpath("data", *FILES)


@pytest.fixture(scope="module")
def model(basis_path):
    return Model(basis_sets.match(basis_formats.load(basis_path), 123.261703, "1H", 0.25e-3, 2048), (0.5, 4.2))


@pytest.fixture(scope="module")
def truth(shared):
    return shared / "reference" / "truth"


def ratio(result, quantity):
    parts = [uncertainty.weights_of(result.names, part) for part in quantity.split("/")]
    return uncertainty.ratio(*parts, result.amplitudes[0], result.covariance[0])


def true_ratio(names, quantity, row):
    above, below = (
        uncertainty.weights_of(names, part) @ row[list(names)].to_numpy(float) for part in quantity.split("/")
    )
    return above / below


@pytest.mark.slow
def test_ratios_on_clean_spectra_reach_the_bound(model, truth):
    """Root mean square error over the full Cramér-Rao bound, with the tolerance of a sample of 27 (SE 14 %)."""
    fids = nifti_mrs.read(truth / "main_svs.nii.gz").ordered("DIM_DYN")
    table = pd.read_csv(truth / "main_truth.tsv", sep="\t")
    chosen = table.index[(table["artefact"] == 0)][::3]
    bounds = pd.read_csv(truth / "bounds.tsv", sep="\t").query("set == 'main' and model == 'full'")
    bounds = bounds.pivot(index="spectrum", columns="quantity", values="sd_percent")
    results = {n: fit.fit_session(fids[n], model) for n in chosen}
    for quantity in ("Glx/tNAA", "Glx/tCr", "Glu/tCr", "Ins/tCr", "tCho/tCr", "tNAA/tCr"):
        errors, z = [], []
        for n, result in results.items():
            value, sd = ratio(result, quantity)
            expected = true_ratio(model.names, quantity, table.loc[n])
            errors.append(100 * (value / expected - 1))
            z.append((value - expected) / sd)
        bound = np.sqrt(np.mean(np.square(bounds.loc[chosen, quantity])))
        assert np.sqrt(np.mean(np.square(errors))) < 1.4 * bound
        assert 0.6 < np.sqrt(np.mean(np.square(z))) < 1.4


@pytest.mark.slow
def test_added_signal_comes_back_whole(model, truth):
    """1 mM more of a metabolite's own signal raises its amplitude by 0.9 to 1.05 mM on average, to 2 SE."""
    base = nifti_mrs.read(truth / "main_svs.nii.gz").ordered("DIM_DYN")
    spiked = nifti_mrs.read(truth / "spiked_svs.nii.gz").ordered("DIM_DYN")
    table = pd.read_csv(truth / "spiked_truth.tsv", sep="\t").iloc[:40]
    before = {n: fit.fit_session(base[n], model).amplitudes[0] for n in table["base"].unique()}
    rises = {}
    for n, row in table.iterrows():
        k = model.names.index(row["metabolite"])
        after = fit.fit_session(spiked[n], model).amplitudes[0, k]
        rises.setdefault(row["metabolite"], []).append((after - before[row["base"]][k]) / MM)
    for rise in rises.values():
        error = np.std(rise) / np.sqrt(len(rise))
        assert error < 0.06
        assert 0.9 - 2 * error < np.mean(rise) < 1.05 + 2 * error


def test_a_clean_spectrum_is_fitted_to_its_truth(model, truth):
    fids = nifti_mrs.read(truth / "main_svs.nii.gz").ordered("DIM_DYN")
    row = pd.read_csv(truth / "main_truth.tsv", sep="\t").iloc[15]  # SNR 115
    result = fit.fit_session(fids[15], model)
    for quantity in ("Glx/tNAA", "Glu/tCr", "Ins/tCr", "tNAA/tCr"):
        value, sd = ratio(result, quantity)
        assert value == pytest.approx(true_ratio(model.names, quantity, row), abs=3 * sd)
        assert sd < 0.1 * value
    assert result.quality[0]["residual_ratio"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("number", "seed"), [(62, 14), (71, 13), (71, 14), (107, 8)])
def test_a_start_that_meets_a_bound_on_its_way_ends_where_others_do(model, truth, number, seed):
    """The first two make the Gaussian width want to be negative, the last let skew stand for what the start lacks."""
    fid = nifti_mrs.read(truth / "main_svs.nii.gz").ordered("DIM_DYN")[number]
    reference = fit.fit_session(fid, model).amplitudes[0]
    start = fit.random_start(fid, model, np.random.default_rng(seed))
    again = fit.fit_session(fid, model, start=start).amplitudes[0]
    for quantity in ("Glu", "tCr"):
        weights = uncertainty.weights_of(model.names, quantity)
        assert weights @ again == pytest.approx(weights @ reference, rel=0.01)


def test_a_basis_of_another_echo_time_is_counted_in_the_errors_or_doubtful(model, truth):
    """Spectra of TE 30, fitted with signals of TE 35 without macromolecules."""
    table = pd.read_csv(truth / "main_truth.tsv", sep="\t")
    table = table[(table["artefact"] == 0) & (table["snr"] > 50)].head(8)
    names = tuple(name for name in model.names if name != "Mac")
    macromolecules = model.fids[model.names.index("Mac")]

    def basis_of(echo_time, whole):
        known = tuple({"PCho": "PCh"}.get(name, name) for name in names)
        sampling = {"dwell_time": 0.25e-3, "n_points": 2048}
        made = sequences.simulate(sequences.Sequence("press", echo_time), 123.261703, known, **sampling)
        made = replace(made, names=names)
        added = np.concatenate([made.fids, macromolecules[np.newaxis]])
        return replace(made, names=(*names, "Mac"), fids=added) if whole else made

    true, rng, time = basis_of(0.03, True), np.random.default_rng(3), model.time
    wrong = Model(basis_sets.match(basis_of(0.035, False), 123.261703, "1H", 0.25e-3, 2048), (0.5, 4.2))
    fids = []
    for _, row in table.iterrows():
        own = 2j * np.pi * rng.uniform(-0.5, 0.5, len(true.names)) - np.pi * rng.uniform(-1, 1, len(true.names))
        clean = row[list(true.names)].to_numpy(float) @ (true.fids * np.exp(own[:, np.newaxis] * time))
        clean = clean * np.exp(-np.pi * 4 * time - (3 * time) ** 2 * np.pi**2 / (4 * np.log(2)))
        sd = np.abs(np.fft.fft(clean)).max() / row["snr"] / np.sqrt(time.size)
        fids.append(clean + sd * (rng.normal(size=time.size) + 1j * rng.normal(size=time.size)))

    for fid, (_, row) in zip(fids, table.iterrows(), strict=True):
        result = fit.fit_session(fid, wrong)
        value, sd = ratio(result, "Glx/tNAA")
        assert result.doubts[0] or value == pytest.approx(true_ratio(true.names, "Glx/tNAA", row), abs=3 * sd)


def write_with_water(shared, folder):
    columns = np.loadtxt(
        shared / "data" / "fitting-challenge" / "Cr_water_scaling_text" / "Cr_10mM_test_water_scaling.txt"
    )
    header = {"SpectrometerFrequency": [123.261703], "ResonantNucleus": ["1H"], "EchoTime": 0.03}
    for name, first in (("svs", 0), ("mrsref", 2)):
        fid = columns[:, first] + 1j * columns[:, first + 1]
        nifti_mrs.write(Scan(fid, (), 0.25e-3, header), folder / f"{name}.nii.gz")


def test_creatine_solution_is_10_mM(shared, basis_path, tmp_path):
    """The fitting challenge says so of its test data."""
    write_with_water(shared, tmp_path)
    out = tmp_path / "fit.tsv"
    reference = tmp_path / "mrsref.nii.gz"
    fit_by_hand(tmp_path / "svs.nii.gz", basis_path, out, reference, "independent", None, (0.5, 4.2), "challenge")
    table = read_table(out).set_index("metabolite")
    assert table.loc["tCr", "molar_mM"] == pytest.approx(10.0, abs=0.1)


def test_files_by_hand_of_a_session_with_a_bad_block(basis_path, truth, tmp_path):
    image = nibabel.load(truth / "paired_svs.nii.gz")
    data = np.array(image.dataobj)[..., :3]
    data[..., 5, 1] = np.nan
    header = json.loads(image.header.extensions[0].get_content())
    spoilt = nibabel.Nifti2Image(data, image.affine, image.header)
    assert header["dim_5"] == "DIM_DYN"
    nibabel.save(spoilt, tmp_path / "svs.nii.gz")
    (tmp_path / "design.tsv").write_text(
        "spectrum\tsession\tonset_s\tduration_s\trise\n0\ta\t0\t60\t0\n1\ta\t60\t60\t0.5\n2\ta\t120\t60\t1\n"
    )
    out = tmp_path / "fit.tsv"
    fit_by_hand(tmp_path / "svs.nii.gz", basis_path, out, None, "dynamic", tmp_path / "design.tsv", (0.5, 4.2), "fsl")
    table = read_table(out)
    assert list(table["spectrum"].unique()) == [0, 1, 2]
    assert {"tNAA", "tCr", "tCho", "Glx", "Mac", "PCho"} <= set(table["metabolite"])
    bad = table[table["spectrum"] == 1]
    assert bad["amplitude"].isna().all()
    assert (bad["status"] == "failed").all()
    assert bad["reason"].str.contains("NaN").all()
    assert (table.loc[(table["spectrum"] != 1) & (table["metabolite"] == "tNAA"), "amplitude"] > 0).all()
    quality = read_table(tmp_path / "fit_quality.tsv")
    assert list(quality["status"] == "failed") == [False, True, False]
    terms = read_table(tmp_path / "fit_terms.tsv")
    assert {"constant", "rise"} == set(terms["term"])
