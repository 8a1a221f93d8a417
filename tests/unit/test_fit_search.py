"""Signals that the basis lacks, in fits of simulated spectra."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.basis_sets import sequences, spins
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.fitting import fit, fit_search
from mrsflow.fitting.fit_model import Model
from mrsflow.fitting.unknown_signals import Finding

MHZ, DWELL, POINTS = 123.2, 2.5e-4, 2048
PRESS = Sequence("press", 0.03)
AMOUNTS = {"Cr": 5.0, "PCr": 4.5, "NAA": 10.0, "Glu": 10.0, "Gln": 3.0, "GPC": 1.5, "Ins": 5.0, "GSH": 2.0}


@pytest.fixture(scope="module")
def model():
    return Model(sequences.simulate(PRESS, MHZ, tuple(AMOUNTS), dwell_time=DWELL, n_points=POINTS), (0.5, 4.2))


def spectrum(model, extra, snr=100.0):
    """FID of the amounts and of extra substances (mM), 6 Hz wide, with noise."""
    fid = np.array(list(AMOUNTS.values())) @ model.basis.fids
    if extra:
        added = sequences.simulate(PRESS, MHZ, tuple(extra), dwell_time=DWELL, n_points=POINTS).fids
        fid = fid + np.array(list(extra.values())) @ added
    t = axes.time_axis(POINTS, DWELL)
    fid = fid * np.exp(-np.pi * 3 * t - (np.pi * 4 * t) ** 2 / (4 * np.log(2)))
    generator = np.random.default_rng(3)
    sd = np.abs(np.fft.fft(fid)).max() / snr / np.sqrt(POINTS)
    return fid + sd * (generator.normal(size=POINTS) + 1j * generator.normal(size=POINTS))


@pytest.fixture
def searched(monkeypatch, model):
    """Fit a spectrum and search what is left: findings and the fit."""

    def search(fid):
        kept, result_of = [], fit._result

        def keep(session, state, *rest):
            kept.append((session, state))
            return result_of(session, state, *rest)

        monkeypatch.setattr(fit, "_result", keep)
        result = fit.fit_session(fid, model)
        session, state = kept[-1]
        return fit_search.search(session, state, 6.0), result

    return search


def test_nothing_is_found_where_the_basis_is_complete(searched, model):
    assert searched(spectrum(model, {}))[0] == []


@pytest.mark.parametrize(
    ("name", "amount", "ppm"),
    [("pyruvate", 5.0, 2.358), ("ethanol", 5.0, 1.19), ("MSM", 3.0, 3.142)],  # of MSM no more is in a brain
)
def test_a_substance_is_found_where_the_fit_has_taken_most_of_it_in(searched, model, name, amount, ppm):
    found, result = searched(spectrum(model, {name: amount}))
    title = spins.systems()[name]["known_as"]
    (one, *_) = [one for one in found if title in one.names]
    assert one.ppm == pytest.approx(ppm, abs=0.02)
    assert title in fit_search.told(found)
    assert title in fit_search.doubt(found, model.names, model.broad, np.sqrt(np.diag(result.covariance[0])))


def test_what_a_signal_has_moved_is_the_error_of_the_fit(searched, model):
    """By as much as is said Glu differs from a fit without the substance in the same noise."""
    found, wrong = searched(spectrum(model, {"pyruvate": 0.7}))
    right = fit.fit_session(spectrum(model, {}), model)
    k = model.names.index("Glu")
    error = wrong.amplitudes[0, k] - right.amplitudes[0, k]
    assert sum(one.moved[k] for one in found) == pytest.approx(error, rel=0.4)


def test_a_doubt_names_the_signal_and_the_metabolites_it_moves():
    finding = Finding(2.36, 0.1, 8.0, 6.0, ("pyruvate",), np.array([3.0, -0.1, 5.0, -0.7]))
    given = (("Glu", "NAA", "MM22", "GSH"), np.array([False, False, True, False]), np.ones(4))
    assert fit_search.doubt([finding], *given) == (
        "signal that the basis lacks: pyruvate at 2.36 ppm (+8 SD), which moves Glu by +3.0 SD, GSH by -0.7 SD"
    )
    for harmless in ({"height": -0.1, "significance": -8.0}, {"height": 0.05}, {"significance": 5.0}):
        assert fit_search.doubt([replace(finding, **harmless)], *given) == ""
