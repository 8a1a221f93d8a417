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
    alarms = sum(bool(found(part(noise(generator)))) for _ in range(300))
    assert alarms <= 3 + 2 * np.sqrt(3)  # binomial, one-sided 98 %


def test_threshold_of_independent_places_is_just_above_the_closed_form():
    """Filters at right angles are independent; the path between them, of length pi/2 each, bounds their maximum."""
    n, false_alarm = 400, 0.01
    exact = stats.norm.isf((1 - (1 - false_alarm) ** (1 / n)) / 2)
    level = unknown_signals.threshold((unknown_signals.path_length(np.zeros(n - 1)),), false_alarm)
    assert exact < level < exact + 0.25


def test_noise_that_differs_from_point_to_point_is_no_signal():
    generator = np.random.default_rng(2)
    sd = 1 + 9 * (np.arange(BAND.sum()) % 40 < 20)
    alarms = sum(bool(found(noise(generator) * sd, sd)) for _ in range(200))
    assert alarms <= 2 + 2.5 * np.sqrt(2)


def test_significance_is_height_over_its_standard_deviation():
    """A line of the filter's shape: its estimate scatters by one over many draws of noise, about the true value."""
    line = substance("pyruvate")
    true = 8.0 * np.sqrt(np.sum(np.abs(line) ** 2))
    generator = np.random.default_rng(3)
    estimates = []
    for _ in range(100):
        (first, *_) = found(8.0 * line + noise(generator))
        assert first.ppm == pytest.approx(2.358, abs=0.012)
        estimates.append(first.significance)
    assert np.mean(estimates) == pytest.approx(true, rel=0.04)
    assert np.std(estimates) == pytest.approx(1.0, abs=0.15)


@pytest.fixture(scope="module")
def fit():
    """A linear fit with known variances of its parameters: broad and narrow columns (2P, n) and what it leaves."""
    ppm = PPM[BAND]
    centres = np.concatenate([np.linspace(0.6, 4.1, 12), [2.0, 2.35, 3.0]])
    widths = np.concatenate([np.full(12, 0.3), [0.05, 0.05, 0.05]])
    shapes = np.exp(-np.minimum(((ppm[:, np.newaxis] - centres) / widths) ** 2, 40.0))
    jacobian = np.concatenate([shapes, np.zeros_like(shapes)])
    variances = np.concatenate([np.full(12, 25.0), np.full(3, 1e6)])
    covariance = np.linalg.inv(jacobian.T @ jacobian + np.diag(1 / variances))
    leave = np.eye(len(jacobian)) - jacobian @ covariance @ jacobian.T
    return jacobian, variances, covariance, leave


def fitted(fit, generator, line=0.0):
    """Residual of the linear fit to its own columns, noise and a line."""
    jacobian, variances, _, leave = fit
    parameters = np.sqrt(variances) * generator.normal(size=len(variances))
    data = jacobian @ parameters + generator.normal(size=len(jacobian))
    left = leave @ (data + np.concatenate([np.real(line), np.imag(line)]) if np.ndim(line) else data)
    return left[: BAND.sum()] + 1j * left[BAND.sum() :]


def test_what_a_fit_leaves_holds_a_signal_in_one_of_a_hundred_spectra(fit):
    generator = np.random.default_rng(7)
    given = {"jacobian": fit[0], "covariance": fit[2]}
    alarms = sum(bool(found(fitted(fit, generator), **given)) for _ in range(200))
    assert alarms <= 2 + 2 * np.sqrt(2)


def test_a_line_that_the_fit_has_taken_in_has_its_own_size(fit):
    """Beneath a column of the fit: height as added, significance with SD 1; the plain filter sees a part of both."""
    line, generator = 25 * substance("pyruvate"), np.random.default_rng(8)
    given = {"jacobian": fit[0], "covariance": fit[2]}
    alone = [one for _ in range(40) for one in found(fitted(fit, generator, line))[:1]]
    first = [found(fitted(fit, generator, line), **given)[0] for _ in range(40)]
    assert np.mean([one.height for one in first]) == pytest.approx(25, rel=0.1)
    assert np.std([one.significance for one in first]) == pytest.approx(1.0, abs=0.35)
    assert all("pyruvate" in one.names for one in first)
    jacobian, _, covariance, _ = fit
    both = np.concatenate([line.real, line.imag])
    moved = np.mean([one.moved for one in first], axis=0)
    np.testing.assert_allclose(moved[13], (covariance @ jacobian.T @ both)[13], rtol=0.1)  # the column at 2.35 ppm
    assert np.mean([one.significance for one in first]) > 1.2 * np.mean([one.significance for one in alone])


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
