"""Hundreds of spectra that follow regressors: their groups, and one fit of all by hand."""

import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_config import single_arm

from mrsflow import nifti_mrs
from mrsflow.axes import time_axis
from mrsflow.basis_sets import sequences
from mrsflow.basis_sets.basis_formats import write_basis
from mrsflow.errors import InputError
from mrsflow.files import read_table, write_json, write_text
from mrsflow.fitting import series
from mrsflow.fitting.dynamic import terms
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing.session_files import preprocess_session
from mrsflow.quantification.fit_files import fit_by_hand, fit_session_files
from mrsflow.simulation import simulate
from mrsflow.study import config, session_facts

MHZ, DWELL, POINTS = 123.25, 5e-4, 1024
METABOLITES = ("NAA", "Cr", "PCh", "Glu", "Gln", "Ins")
AMOUNTS = np.array([10.0, 8.0, 1.5, 9.0, 3.0, 6.0])
N = 160


def paradigm(n):
    """Trials of 3 of 8 spectra, smoothed as a response is, and a drift."""
    on = (np.arange(n) % 8 < 3).astype(float)
    kernel = np.exp(-np.arange(12) / 2.0)
    return {"task": np.convolve(on, kernel / kernel.sum())[:n], "drift": np.linspace(-1, 1, n)}


def test_groups_keep_what_tells_regressors_apart():
    """Least squares on group means loses no more of each regressor's information than is said."""
    courses = np.column_stack(list(paradigm(640).values()))
    group = series.groups(courses, series.MOST)
    assert group.max() + 1 == series.MOST
    share = (group == np.arange(series.MOST)[:, np.newaxis]).astype(float)
    counts = share.sum(axis=1)
    x = np.column_stack([np.ones(640), courses])
    means = share @ x / counts[:, np.newaxis]
    whole, kept = np.linalg.inv(x.T @ x), np.linalg.inv(means.T @ (counts[:, np.newaxis] * means))
    assert np.all(np.diag(kept) / np.diag(whole) < 1 / series.KEPT)
    places = [np.flatnonzero(group == k).mean() for k in range(series.MOST)]
    assert places == sorted(places)


def test_regressors_that_groups_cannot_hold_are_refused():
    many = np.random.default_rng(0).normal(size=(400, 12))
    with pytest.raises(InputError, match=r"400 spectra fitted in 48 groups keep \d+ % of what tells the 12 regressors"):
        series.groups(many, series.MOST)
    free = terms(("a", "b"), {"drift": np.linspace(0, 1, 60)}, 60, free=("b",))
    with pytest.raises(InputError, match=r"60 spectra are more than metabolites can be free over \(48\)"):
        series.pooled(np.ones((60, 8), dtype=complex), free)


def test_pooled_spectra_have_the_mean_of_their_regressors_and_lost_ones_no_part():
    courses = paradigm(100)
    design = terms(("a", "b"), courses, 100, constant=("b",))
    fids = (1.0 + courses["task"])[:, np.newaxis] * np.ones(4, dtype=complex)
    fids[7], fids[30] = np.nan, 0.0
    pool = series.pooled(fids, design)
    assert list(np.flatnonzero(pool.group < 0)) == [7, 30]
    first = pool.terms.matrix.reshape(len(pool.fids), 2, -1)[:, 0]
    np.testing.assert_allclose(pool.fids[:, 0].real, 1.0 + first[:, pool.terms.names.index(("a", "task"))])


def test_a_series_is_fitted_by_hand_with_labels_and_finds_its_response(tmp_path):
    basis = sequences.simulate(sequences.Sequence("press", 0.03, te1=0.011), MHZ, METABOLITES, False, DWELL, POINTS)
    write_basis(basis, tmp_path / "basis.BASIS")
    rng, t = np.random.default_rng(4), time_axis(POINTS, DWELL)
    courses = paradigm(N)
    amounts = np.tile(AMOUNTS, (N, 1))
    glu = METABOLITES.index("Glu")
    amounts[:, glu] *= 1 + 0.1 * courses["task"]
    fids = amounts @ (basis.fids * np.exp(-np.pi * 4 * t))
    fids = fids + 1.5 * (rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape))
    fids[11] = 0.0
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "dim_5": "DIM_DYN"}
    nifti_mrs.write(Scan(fids, ("DIM_DYN",), DWELL, header), tmp_path / "svs.nii.gz")
    lines = ["spectrum\tsession\tarm\ttrial\tonset_s\tduration_s\ttask\tdrift"]
    for k in range(N):
        trial = "pain" if k % 8 < 3 else "rest"
        lines.append(f"{k}\ts1\tdrug\t{trial}\t{2 * k}\t2\t{courses['task'][k]}\t{courses['drift'][k]}")
    (tmp_path / "design.tsv").write_text("\n".join(lines) + "\n")
    begun = time.process_time()
    fit_by_hand(
        tmp_path / "svs.nii.gz", tmp_path / "basis.BASIS", tmp_path / "out.tsv", None, "dynamic",
        tmp_path / "design.tsv", (0.5, 4.2), "fsl", follow={"NAA": ["drift"], "Cr": ["drift"]},
    )  # fmt: skip
    assert time.process_time() - begun < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.5e6
    found = read_table(tmp_path / "out_terms.tsv", ("session",)).set_index(["metabolite", "term"])
    response = found.loc[("Glu", "task")]
    assert abs(response["estimate"] - 0.1 * AMOUNTS[glu]) < 3 * response["sd"]
    assert 0 < response["sd"] < 0.3
    assert ("NAA", "task") not in found.index
    assert (found["arm"] == "drug").all()
    table = read_table(tmp_path / "out.tsv", ("session",)).query("metabolite == 'Glu'").set_index("spectrum")
    assert len(table) == N
    assert list(table.loc[[0, 5], "trial"]) == ["pain", "rest"]
    assert table.loc[11, "status"] == "failed"
    rows = table.drop(11)
    drift = found.loc[("Glu", "drift"), "estimate"] * courses["drift"][rows.index]
    expected = found.loc[("Glu", "constant"), "estimate"] + response["estimate"] * courses["task"][rows.index] + drift
    np.testing.assert_allclose(rows["amplitude"], expected, rtol=1e-6)


@pytest.mark.slow
def test_an_event_related_session_from_scan_to_terms(tmp_path):
    """Single excitations, Glu and Gln up by 15 % in every task of 24 s; the bin is cut into parts of 2 s.

    The rise is the simulated one, within its error.
    """
    rng = np.random.default_rng(5)
    basis = sequences.simulate(
        sequences.Sequence("press", 0.03, te1=0.011), MHZ, macromolecules=True, dwell_time=DWELL, n_points=POINTS
    )
    write_basis(basis, tmp_path / "p.BASIS")
    on = (np.arange(N) % 24 >= 12).astype(float)
    content = simulate.brain_content(basis, factor=1 + 0.15 * on)
    acquisition = simulate.Acquisition(MHZ, DWELL, POINTS, N, 1, 1, repetition_time=2.0)
    disturbed = simulate.Disturbances(snr=25.0, corrupted_fraction=0.0, residual_water=0.5)
    fid = simulate.simulate_session(content, acquisition, disturbed, rng).fid
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "RepetitionTime": 2.0, "EchoTime": 0.03}
    header |= {"dim_5": "DIM_COIL", "dim_6": "DIM_DYN"}
    stem = tmp_path / "sub-1_ses-1"
    nifti_mrs.write(Scan(fid, ("DIM_COIL", "DIM_DYN"), DWELL, header), Path(f"{stem}_svs.nii.gz"))
    write_json({"RepetitionTime": 2.0, "ExcitationsPerFrame": 1}, Path(f"{stem}_svs.json"))
    events = [f"{24 + 48 * k}\t24\ttask" for k in range(6)] + ["30\t24\tother", "0\t0\tstart"]
    write_text("\n".join(["onset\tduration\ttrial_type", *events]) + "\n", Path(f"{stem}_events.tsv"))
    own = single_arm()
    own["blocks"] = {"bins": {"all": [0, 2 * N / 60]}, "every_s": 2, "minimum_transients": 1, "event": "start"}
    own["fit"] = {"model": "dynamic", "regressors": {"task": {"kind": "block", "event": "task"}}}
    own["fit"]["constant"] = ["NAA", "NAAG"]
    own["group"] = {"outcome": "Glx/tNAA: task"}
    own["inputs"] = {"bids": str(tmp_path)}  # whose tables name events
    settings = config.checked(own)
    files = [Path(f"{stem}_{name}") for name in ("svs.nii.gz", "svs.json", "events.tsv")]
    written = preprocess_session("sub-1_ses-1", files, settings, tmp_path)
    fit = settings["fit"] | {"event": "start"}
    facts = partial(session_facts.facts_of, "sub-1_ses-1", fit, "start", [files[2]], {})
    made = fit_session_files("sub-1_ses-1", written, {"p": tmp_path / "p.BASIS"}, fit, facts=facts)
    found = {path.name.partition("desc-")[2]: path for path in made}
    assert len(read_table(found["blocks_fitquality.tsv"])) == N
    rows = read_table(found["blocks_terms.tsv"]).set_index(["metabolite", "term"])
    rise, level = rows.loc[("Glx", "task")], rows.loc[("Glx", "constant")]
    assert abs(rise["estimate"] / level["estimate"] - 0.15) < 3 * rise["sd"] / level["estimate"]
    assert rise["sd"] / level["estimate"] < 0.03
    assert rise["lack_of_fit_p"] > 0.001
