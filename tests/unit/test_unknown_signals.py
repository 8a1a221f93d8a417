"""Signals in a residual: false alarms in noise, power, places, and names."""

import numpy as np
import pytest
from scipy import stats

from mrsflow import axes
from mrsflow.basis_sets import sequences, spins
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.fitting import unknown_signals
from mrsflow.fitting.unknown_signals import Finding

MHZ, DWELL, POINTS, WIDTH = 123.2, 2.5e-4, 2048, 6.0
PPM = axes.ppm_axis(POINTS, DWELL, MHZ)
BAND = (PPM > 0.5) & (PPM < 4.2)


def found(residual, sd=1.0, **more):
    return unknown_signals.find(residual, PPM[BAND], sd, WIDTH, MHZ, **more)


def noise(generator, n=None):
    shape = (BAND.sum(),) if n is None else (n, BAND.sum())
    return generator.normal(size=shape) + 1j * generator.normal(size=shape)


def substance(name, width=WIDTH):
    """Spectrum of a substance, largest point 1, in the searched range."""
    fid = sequences.simulate(Sequence("press", 0.03), MHZ, (name,), dwell_time=DWELL, n_points=POINTS).fids[0]
    gauss = (np.pi * width) ** 2 / (4 * np.log(2))
    spectrum = axes.to_spectrum(fid * np.exp(-gauss * axes.time_axis(POINTS, DWELL) ** 2))[BAND]
    return spectrum / spectrum.real.max()


@pytest.mark.parametrize("part", [np.real, lambda spectrum: spectrum], ids=["real", "complex"])
def test_white_noise_holds_a_signal_in_one_of_a_hundred_spectra(part):
    generator = np.random.default_rng(1)
    alarms = sum(bool(found(part(noise(generator)))) for _ in range(600))
    assert 0 < alarms <= 6 + 2 * np.sqrt(6)  # binomial, one-sided 98 %


def test_threshold_of_independent_places_is_just_above_the_closed_form():
    """Filters at right angles are independent; the path between them, of length pi/2 each, bounds their maximum."""
    n, false_alarm = 400, 0.01
    exact = stats.norm.isf((1 - (1 - false_alarm) ** (1 / n)) / 2)
    level = unknown_signals.threshold((unknown_signals.path_length(np.eye(n)),), false_alarm)
    assert exact < level < exact + 0.25


def test_noise_that_differs_from_point_to_point_is_no_signal():
    generator = np.random.default_rng(2)
    sd = 1 + 9 * (np.arange(BAND.sum()) % 40 < 20)
    alarms = sum(bool(found(noise(generator) * sd, sd)) for _ in range(300))
    assert alarms <= 3 + 2.5 * np.sqrt(3)


def test_significance_is_height_over_its_standard_deviation():
    """A line of the filter's shape: its estimate scatters by one over many draws of noise, about the true value."""
    line = substance("pyruvate")
    true = 8.0 * np.sqrt(np.sum(np.abs(line) ** 2))
    generator = np.random.default_rng(3)
    estimates = []
    for _ in range(200):
        (first, *_) = found(8.0 * line + noise(generator))
        assert first.ppm == pytest.approx(2.358, abs=0.012)
        estimates.append(first.significance)
    assert np.mean(estimates) == pytest.approx(true, rel=0.04)
    assert np.std(estimates) == pytest.approx(1.0, abs=0.15)


def test_nothing_depends_on_the_unit_or_on_which_way_the_axis_runs():
    residual = 10 * substance("ethanol") + noise(np.random.default_rng(4))
    first = found(residual)
    scaled = found(residual * 1e-6, 1e-6)
    turned = unknown_signals.find(residual[::-1], PPM[BAND][::-1], 1.0, WIDTH, MHZ)
    for other in (scaled, turned):
        assert [f.ppm for f in other] == [f.ppm for f in first]
        np.testing.assert_allclose([f.significance for f in other], [f.significance for f in first], rtol=1e-9)


@pytest.mark.parametrize("name", [key for key in spins.systems() if key not in sequences.STANDARD])
def test_every_substance_is_named_where_it_is_simulated(name):
    findings = found(12 * substance(name) + noise(np.random.default_rng(5)), modelled=sequences.STANDARD)
    assert findings
    title = spins.systems()[name]["known_as"]
    assert any(title in finding.names for finding in findings)


def test_what_the_basis_has_names_nothing_and_what_is_missing_is_no_substance():
    lactate = 20 * substance("Lac") + noise(np.random.default_rng(6))
    assert "Lac" in found(lactate)[0].names
    assert all("Lac" not in finding.names for finding in found(lactate, modelled=("Lac",)))
    (first, *_) = found(-lactate)
    assert first.height < 0
    assert first.names == ()


def test_more_lines_of_one_substance_decide_between_two():
    """A methyl near 1.19 ppm is that of ethanol or of beta-hydroxybutyrate; their other lines tell which."""
    methyl, methylene, quartet = (Finding(ppm, 1.0, 9.0, WIDTH) for ppm in (1.19, 2.33, 3.67))
    named = unknown_signals.name([methyl, methylene], (0.5, 4.2), MHZ)
    assert named[0].names == ("beta-hydroxybutyrate",)
    named = unknown_signals.name([methyl, quartet], (0.5, 4.2), MHZ)
    assert named[0].names == ("ethanol",)
    (alone,) = unknown_signals.name([methyl], (0.5, 4.2), MHZ)
    assert set(alone.names) >= {"ethanol", "beta-hydroxybutyrate"}


def test_metabolites_beneath_a_finding():
    components = np.array([np.exp(-(((PPM[BAND] - centre) / 0.05) ** 2)) for centre in (2.35, 2.4, 3.0)])
    finding = Finding(2.36, 1.0, 9.0, WIDTH)
    assert unknown_signals.beneath(finding, PPM[BAND], ("Glu", "Gln", "Cr"), components) == ("Glu", "Gln")
