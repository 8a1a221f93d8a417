"""Regressors of a session against naive integration, and what is said of those that cannot be made."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from small_config import single_arm

from mrsflow.errors import InputError
from mrsflow.fitting import design
from mrsflow.fitting.pharmacokinetics import PUBLISHED, Dose, mean_concentration
from mrsflow.study import config
from mrsflow.study.session_facts import Facts, events_of, row_of, rows_of_session

ONSET = np.array([-600.0, -60.0, 0.0, 30.0, 100.0, 700.0, 2000.0])
LENGTH = np.array([540.0, 60.0, 30.0, 2.0, 600.0, 1300.0, 300.0])
SPANS = np.array([[-100.0, 20.0], [90.0, 800.0]])


def settings(**own):
    """Give one regressor ``x`` with the defaults of the schema."""
    content = single_arm() | {"fit": {"model": "dynamic", "regressors": {"x": own}}}
    return config.checked(content)["fit"]["regressors"]


def facts(events=(), row=None, tables=None):
    table = pd.DataFrame(events, columns=["onset_s", "duration_s", "trial_type"])
    return Facts("sub-1_ses-a", table, row or {}, tables or {})


def made(own, found, onset=ONSET, length=LENGTH, event="infusion"):
    names = [f"b{k}" for k in range(len(onset))]
    return design.design(own, event, onset, length, found, names)


def means(course, points=200_001):
    """Means of a course over each span, by the trapezoid rule."""
    found = []
    for start, length in zip(ONSET, LENGTH, strict=True):
        t = np.linspace(start, start + length, points)
        found.append(integrate.trapezoid(course(t), t) / length)
    return np.array(found)


def boxes(t, up, down=None):
    """Sum of distribution functions: a boxcar convolved with a kernel is F(t - start) - F(t - end)."""
    return sum(up(t - a) - (down or up)(t - b) for a, b in SPANS)


def trapezoid(t):
    return sum(np.interp(t, [a, a + 60, b, b + 120], [0, 1, 1, 0]) for a, b in SPANS)


def canonical(t):
    density = (stats.gamma.cdf(t, 6) - stats.gamma.cdf(t, 16) / 6) / (1 - 1 / 6)
    return np.where(t > 0, density, 0.0)


@pytest.mark.parametrize(
    ("own", "truth"),
    [
        ({"kind": "block"}, partial(boxes, up=lambda t: (t > 0) * 1.0)),
        ({"kind": "trapezoid", "rise_min": 1, "fall_min": 2}, trapezoid),
        ({"kind": "response", "response": "canonical"}, partial(boxes, up=canonical)),
        ({"kind": "response", "response": "exponential", "rise_min": 2}, partial(boxes, up=stats.expon(0, 120).cdf)),
        ({"kind": "infusion", "rise_min": 2}, lambda t: sum(stats.expon(a, 120).cdf(t) for a, _ in SPANS)),
        (
            {"kind": "infusion", "rise_min": 2, "fall_min": 4},
            partial(boxes, up=stats.expon(0, 120).cdf, down=stats.expon(0, 240).cdf),
        ),
    ],
)
def test_courses_of_events_are_means_over_each_span(own, truth):
    events = [(a, b - a, "pain") for a, b in SPANS] + [(5.0, 7.0, "other")]
    content = settings(**own, event="infusion")
    content["x"]["event"] = "pain"  # of a dataset, whose events have any name
    found = made(content, facts(events)).courses["x"]
    np.testing.assert_allclose(found, means(truth), atol=2e-5)


def test_polynomials_are_legendres_over_the_session():
    found = made(settings(kind="polynomial", degree=3), facts()).courses
    assert list(found) == ["x 1", "x 2", "x 3"]
    middle, half = (2300 - 600) / 2, (2300 + 600) / 2
    truth = means(lambda t: (5 * ((t - middle) / half) ** 3 - 3 * (t - middle) / half) / 2)
    np.testing.assert_allclose(found["x 3"], truth, atol=1e-9)


def test_an_event_without_a_table_is_time_zero_and_runs_share_their_events(tmp_path):
    found = made(settings(kind="infusion", rise_min=5), facts()).courses["x"]
    np.testing.assert_allclose(found, means(lambda t: stats.expon(0, 300).cdf(t)), atol=1e-6)
    for name, start in (("a", 0.0), ("b", 900.0)):  # the same infusion on the clocks of two runs, and a cue in each
        rows = f"onset\tduration\ttrial_type\n{300 - start}\t2400\tinfusion\n{10.0}\tn/a\tcue\n"
        (tmp_path / f"{name}_events.tsv").write_text(rows)
    table = events_of(sorted(tmp_path.iterdir()), "infusion")
    assert table["trial_type"].tolist() == ["start", "cue", "infusion", "cue"]
    np.testing.assert_allclose(table["onset_s"], [-300, -290, 0, 610])


def test_values_of_a_file_go_by_block_or_by_time(tmp_path):
    path = tmp_path / "given.tsv"
    rows = "participant\tsession\tblock\tdose\n1\ta\tb1\t2\n1\ta\tb0\t1\n01\ta\tb0\t9\n1\tb\tb0\t8\n"
    path.write_text(rows)
    own = settings(kind="column", file=str(path), column="dose")
    found = facts(tables={str(path): rows_of_session(path, "sub-1_ses-a")})
    np.testing.assert_allclose(made(own, found, ONSET[:2], LENGTH[:2]).courses["x"], [1, 2])
    with pytest.raises(InputError, match=r"fit\.regressors\.x: .*given\.tsv has no row of block 'b2' of sub-1_ses-a"):
        made(own, found)
    path.write_text("time_min\tdose\n-20\t1\n0\t1\n10\t3\n50\t3\n")
    found = facts(tables={str(path): rows_of_session(path, "sub-1_ses-a")})
    course = partial(np.interp, xp=[-1200, 0, 600, 3000], fp=[1, 1, 3, 3])
    np.testing.assert_allclose(made(own, found).courses["x"], means(course), atol=1e-9)
    path.write_text("time_min\tdose\n-20\t1\n0\thigh\n")
    with pytest.raises(InputError, match=r"given\.tsv, line 3: dose is 'high'; a number is needed"):
        made(own, facts(tables={str(path): rows_of_session(path, "sub-1_ses-a")}))


@pytest.mark.parametrize(
    ("own", "found", "said"),
    [
        ({"kind": "block"}, facts([(0.0, np.nan, "infusion")]), "event 'infusion' of sub-1_ses-a has no duration"),
        ({"kind": "block", "event": "dose"}, facts([(0.0, 1.0, "cue")]), "no event 'dose'; it has cue"),
        ({"kind": "block", "event": "dose"}, facts(), "no event 'dose'; it has no event"),
        ({"kind": "block"}, facts([(9e3, 60.0, "infusion")]), "is 0 in every spectrum of sub-1_ses-a"),
        (
            {"kind": "pharmacokinetic", "constants": "domino1984", "dose_mg": 35, "weight": "kg", "duration_s": 60},
            facts(row={"kg": "heavy"}),
            r"weight: kg of sub-1_ses-a is 'heavy'; give a number above 0 \(kg\)",
        ),
    ],
)
def test_what_a_regressor_lacks_is_named(own, found, said):
    with pytest.raises(InputError, match=rf"fit\.regressors\.x.*{said}"):
        made(settings(**own), found)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ({"regressors": {"x": {"kind": "block"}}}, "fit.regressors is given and fit.model is independent"),
        ({"model": "dynamic", "regressors": {"x": {"kind": "trapezoid", "rise_min": 1}}}, "needs fall_min"),
        ({"model": "dynamic", "regressors": {"x": {"kind": "block", "degree": 1}}}, "has no degree"),
        ({"model": "dynamic", "regressors": {"x": {"kind": "block", "event": "pain"}}}, "not 'pain'; name one"),
        (
            {"model": "dynamic", "regressors": {"x": {"kind": "pharmacokinetic", "constants": "domino1984"}}},
            "needs the dose",
        ),
        ({"model": "dynamic", "regressors": {"constant": {"kind": "block"}}}, "constant"),
        ({"model": "dynamic", "follow": {"Glu": ["task"]}}, "names 'task', which is no regressor; there are infusion"),
        ({"model": "dynamic", "follow": {"Glu": ["infusion"]}, "constant": ["Glu"]}, "also in fit.constant"),
    ],
)
def test_a_configuration_of_courses_that_cannot_be_is_refused(fit, said):
    with pytest.raises(InputError, match=said):
        config.checked(single_arm() | {"fit": fit})


def test_a_drug_goes_by_its_infusion_and_says_where_its_constants_are_from():
    own = settings(kind="pharmacokinetic", constants="clements1981", dose_mg="mg", weight="kg", duration_s=2400)
    found = made(own, facts(row={"kg": "50", "mg": "25"}))
    model, dose = PUBLISHED["clements1981"].of(50.0), [Dose(0.0, 40.0, 25.0)]
    np.testing.assert_allclose(found.courses["x"], mean_concentration(model, dose, ONSET / 60, LENGTH / 60))
    assert "doi:10.1093/bja/53.1.27, clearance 19.1 ml/min/kg" in found.notes[0]
    per_kg = settings(kind="pharmacokinetic", constants="clements1981", dose_mg_per_kg=0.5, duration_s=2400)
    np.testing.assert_allclose(made(per_kg, facts()).courses["x"], found.courses["x"])


def test_a_fitted_time_constant_moves_its_regressor_alone():
    own = settings(kind="infusion", rise_min=5, fit_rise=True) | settings(kind="polynomial", degree=1)
    own = {"rise": settings(kind="infusion", rise_min=5, fit_rise=True)["x"], "drift": own["x"]}
    found = made(own, facts())
    assert (found.rising, found.rise_s) == ("rise", 300.0)
    moved = found.with_rise(600.0)
    np.testing.assert_allclose(moved.courses["rise"], means(lambda t: stats.expon(0, 600).cdf(t)), atol=1e-6)
    np.testing.assert_array_equal(moved.courses["drift"], found.courses["drift"])


def test_columns_of_a_regressor_come_from_either_table():
    sessions = pd.DataFrame({"participant": ["1"], "session": ["a"], "key": ["sub-1_ses-a"], "line": ["l"], "mg": [30]})
    people = pd.DataFrame({"participant": ["1"], "line": ["l"], "kg": [70.5]})
    fit = {"regressors": settings(kind="pharmacokinetic", constants="clements1981", dose_mg="mg", weight="kg")}
    assert row_of(sessions, people, fit, "sub-1_ses-a") == {"kg": "70.5", "mg": "30"}
