"""Concentrations of ketamine against the differential equations solved by scipy, and against what was published."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mrsflow.errors import InputError
from mrsflow.fitting.course import lack_of_fit
from mrsflow.fitting.pharmacokinetics import PUBLISHED, Dose, concentration, mean_concentration, through_samples

INFUSION = [Dose(0.0, 40.0, 35.0)]
LOG = [Dose(0.0, 0.0, 8.0), Dose(1.0, 39.0, 20.0), Dose(60.0, 10.0, 5.0)]  # bolus, infusion, and another


def solved(model, doses, minutes):
    """Concentration (mg/l) and its integral (mg/l min), by steps between the changes of the rate."""

    def slope(t, x, rate):
        first, second, third, site, _ = x
        return [
            rate - (model.k10 + model.k12 + model.k13) * first + model.k21 * second + model.k31 * third,
            model.k12 * first - model.k21 * second,
            model.k13 * first - model.k31 * third,
            (model.ke0 or 0.0) * (first - site),
            first if model.ke0 is None else site,
        ]

    edges = sorted({0.0, *minutes, *(e for d in doses for e in (d.start_min, d.start_min + d.duration_min))})
    x, found, settings = np.zeros(5), {}, {"rtol": 1e-11, "atol": 1e-13, "method": "DOP853"}
    for start, end in zip(edges, [*edges[1:], edges[-1] + 1], strict=True):
        x[0] += sum(d.amount_mg for d in doses if d.duration_min == 0 and d.start_min == start)
        found[start] = (x[0] if model.ke0 is None else x[3], x[4])
        rate = sum(
            d.amount_mg / d.duration_min
            for d in doses
            if d.duration_min and d.start_min <= start < d.start_min + d.duration_min
        )
        x = solve_ivp(slope, (start, end), x, args=(rate,), **settings).y[:, -1]
    return np.array([found[t] for t in minutes]).T / model.volume_l


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("doses", [INFUSION, LOG])
@pytest.mark.parametrize("ke0", [None, 0.2])
def test_concentration_is_that_of_the_differential_equations(name, doses, ke0):
    model = replace(PUBLISHED[name].of(70.0), ke0=ke0)
    minutes = [0.0, 0.5, 3.0, 17.0, 40.0, 41.0, 65.0, 70.0, 120.0, 600.0]
    level, integral = solved(model, doses, minutes)
    np.testing.assert_allclose(concentration(model, doses, minutes), level, rtol=1e-6, atol=1e-10)
    means = mean_concentration(model, doses, minutes[:-1], np.diff(minutes))
    np.testing.assert_allclose(means, np.diff(integral) / np.diff(minutes), rtol=1e-6)


@pytest.mark.parametrize(("name", "clearance"), [("domino1984", 27.6), ("clements1981", 19.1)])
def test_constants_clear_what_was_published(name, clearance):
    """Clements and Nimmo print 19.1 ml/min/kg; half a milligram per kg in 40 min gives 100 to 300 ng/ml in trials."""
    model = PUBLISHED[name].of(70.0)
    assert 1e3 * model.clearance_l_per_min / 70 == pytest.approx(clearance, abs=0.05)
    assert 0.1 < concentration(model, INFUSION, [40.0])[0] < 0.3
    whole = mean_concentration(model, INFUSION, [0.0], [1e5])[0] * 1e5
    assert whole == pytest.approx(35.0 / model.clearance_l_per_min, rel=1e-3)  # all that is given is cleared


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.4, 2.0])
@pytest.mark.parametrize("volume", [1.0, 1.3])
def test_clearance_of_a_person_is_recovered_through_plasma_samples(factor, volume):
    usual = PUBLISHED["domino1984"].of(70.0)
    truth = replace(usual, volume_l=usual.volume_l * volume, k10=usual.k10 * factor / volume)
    minutes = np.array([10.0, 25.0, 40.0, 60.0, 90.0, 150.0])
    exact = through_samples(usual, INFUSION, minutes, concentration(truth, INFUSION, minutes))
    assert exact.clearance_l_per_min == pytest.approx(truth.clearance_l_per_min, rel=1e-4)
    assert exact.volume_l == pytest.approx(truth.volume_l, rel=1e-4)
    rng, found = np.random.default_rng(3), []
    for _ in range(20):
        measured = concentration(truth, INFUSION, minutes) * np.exp(0.08 * rng.normal(size=6))
        found.append(through_samples(usual, INFUSION, minutes, measured).clearance_l_per_min)
    assert np.mean(found) == pytest.approx(truth.clearance_l_per_min, rel=0.06)
    assert np.std(found) < 0.15 * truth.clearance_l_per_min


def test_two_samples_tell_the_clearance_alone():
    usual = PUBLISHED["clements1981"].of(60.0)
    truth = replace(usual, k10=usual.k10 * 1.5)
    found = through_samples(usual, INFUSION, [60.0, 180.0], concentration(truth, INFUSION, [60.0, 180.0]))
    assert found.volume_l == usual.volume_l
    assert found.clearance_l_per_min == pytest.approx(truth.clearance_l_per_min, rel=1e-4)


def test_wrong_constants_are_seen_as_lack_of_fit():
    """Glx rises by 10 % at the peak with the concentration of one set; blocks are wrong by 1.5 %."""
    onset, length, p = np.arange(-10.0, 70.0, 8.0), np.full(10, 8.0), {}
    courses = {name: mean_concentration(known.of(70.0), INFUSION, onset, length) for name, known in PUBLISHED.items()}
    truth = 1 + 0.1 * courses["domino1984"] / courses["domino1984"].max()
    for name, values in courses.items():
        design, seen = np.column_stack([np.ones(10), values]), np.random.default_rng(4)
        found = [lack_of_fit(truth + 0.015 * seen.normal(size=10), 0.015**2 * np.eye(10), design).p for _ in range(40)]
        p[name] = np.mean(np.array(found) < 0.05)
    assert p["domino1984"] < 0.2
    assert p["clements1981"] > 0.8


@pytest.mark.parametrize(
    ("minutes", "measured", "said"),
    [
        ([], [], "there are 0"),
        ([-5.0, 30.0], [0.1, 0.2], "after the drug was begun .* the first at -5 min"),
        ([20.0, 30.0], [0.1, 0.0], "not above 0"),
        ([20.0, 40.0, 90.0], [150.0, 200.0, 60.0], r"samples are \d+ times what .* in ng/ml"),
    ],
)
def test_samples_that_cannot_be_are_refused(minutes, measured, said):
    with pytest.raises(InputError, match=said):
        through_samples(PUBLISHED["domino1984"].of(70.0), INFUSION, minutes, measured)
