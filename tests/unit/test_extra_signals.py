"""Substances that are added to a basis set by name."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.basis_sets import extra_signals, sequences, spins
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.errors import InputError
from mrsflow.study import config

PRESS = Sequence("press", 0.03, te1=0.012)
SMALL = {"metabolites": ("Cr", "NAA"), "dwell_time": 5e-4, "n_points": 2048}


@pytest.fixture(scope="module")
def basis():
    return sequences.simulate(PRESS, 123.2, **SMALL)


def test_a_given_basis_gets_what_would_be_simulated_in_its_unit(basis):
    whole = sequences.simulate(PRESS, 123.2, **{**SMALL, "metabolites": ("Cr", "NAA", "ethanol", "acetone")})
    given = replace(basis, fids=basis.fids * 27.0)
    made = extra_signals.add(given, ("ethanol", "acetone"), PRESS)
    assert made.names == whole.names
    np.testing.assert_allclose(made.fids[:2], 27 * whole.fids[:2])
    scale = np.abs(whole.fids[2:]).max()
    np.testing.assert_allclose(made.fids[2:] / 27, whole.fids[2:], atol=0.02 * scale)
    assert "ethanol, acetone" in made.description


def test_the_reference_of_a_given_basis_is_kept_right(basis):
    hz = axes.ppm_to_hz(4.65, 123.2, 4.70) - axes.ppm_to_hz(4.65, 123.2, 4.65)
    moved = replace(basis, fids=axes.shift_frequency(basis.fids, hz, basis.dwell_time), reference_ppm=4.70)
    made = extra_signals.add(moved, ("acetone",), PRESS)
    spectrum = axes.to_spectrum(made.fids).real
    ppm = axes.ppm_axis(made.n_points, made.dwell_time, 123.2, made.reference_ppm)
    peaks = ppm[spectrum.argmax(axis=-1)]
    np.testing.assert_allclose(peaks, [3.027, 2.008, 2.222], atol=0.01)


@pytest.mark.parametrize("name", [key for key in spins.systems() if key not in sequences.STANDARD])
def test_every_substance_has_the_signal_of_its_protons(name):
    """At echo time zero nothing is lost or modulated: the first point is the number of protons."""
    fid = sequences.simulate(Sequence("press", 1e-9), 123.2, (name,), linewidth=0.0, n_points=16).fids[0]
    protons = sum(fragment.weight * len(fragment.shifts) for fragment in spins.fragments(name))
    assert fid[0] == pytest.approx(protons, rel=1e-6)


@pytest.mark.parametrize(("name", "said"), [("vodka", "not known.*ethanol"), ("NAA", "already")])
def test_what_cannot_be_added_is_refused(basis, name, said):
    with pytest.raises(InputError, match=said):
        extra_signals.add(basis, (name,), PRESS)


def test_the_schema_lists_the_substances_there_are():
    keys = config.schema("config")["properties"]["protocols"]["additionalProperties"]["properties"]
    assert keys["extra_signals"]["items"]["enum"] == list(spins.systems())


def test_nothing_is_added_to_a_basis_that_is_not_asked_for(basis):
    assert extra_signals.add(basis, (), PRESS) is basis
