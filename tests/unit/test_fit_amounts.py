"""Sums, ratios and time models of fitted amplitudes."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

from mrsflow.errors import InputError
from mrsflow.fitting import dynamic, uncertainty
from mrsflow.quantification import fitters

NAMES = ("NAA", "NAAG", "Cr", "PCr", "GPC", "PCho", "Glu", "Gln")


def test_totals_know_the_names_of_basis_sets():
    found = uncertainty.totals(NAMES)
    assert {name: [n for n, w in zip(NAMES, weights, strict=True) if w] for name, weights in found.items()} == {
        "tNAA": ["NAA", "NAAG"],
        "tCr": ["Cr", "PCr"],
        "tCho": ["GPC", "PCho"],
        "Glx": ["Glu", "Gln"],
    }
    assert "Glx" not in uncertainty.totals(("NAA", "Glu"))
    assert "tCr" not in uncertainty.totals(("tCr", "Cr"))


def test_sd_of_a_ratio_equals_its_scatter():
    generator = np.random.default_rng(0)
    root = generator.normal(size=(8, 8)) * 0.02
    covariance = root @ root.T
    amplitudes = np.array([9.0, 1.5, 4.0, 4.5, 1.0, 0.5, 10.0, 3.0])
    drawn = generator.multivariate_normal(amplitudes, covariance, 200_000)
    glx, naa = (uncertainty.weights_of(NAMES, name) for name in ("Glx", "tNAA"))
    value, sd = uncertainty.ratio(glx, naa, amplitudes, covariance)
    scatter = (drawn @ glx) / (drawn @ naa)
    assert value == pytest.approx(13 / 10.5)
    assert sd == pytest.approx(scatter.std(), rel=0.02)
    assert uncertainty.total(glx, amplitudes, covariance)[1] == pytest.approx((drawn @ glx).std(), rel=0.02)
    expected = np.corrcoef(drawn[:, 6], drawn[:, 7])[0, 1]
    glu, gln = (uncertainty.weights_of(NAMES, name) for name in ("Glu", "Gln"))
    assert uncertainty.correlation(glu, gln, covariance) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("model", "at"),
    [
        ("step", lambda t: float(t > 0)),
        ("linear", lambda t: max(t, 0) / 3600),
        ("infusion", lambda t: 1 - np.exp(-max(t, 0) / 600)),
    ],
)
def test_course_is_the_mean_over_each_block(model, at):
    onset, duration = np.array([-480.0, -200.0, 0.0, 900.0]), np.array([480.0, 480.0, 300.0, 600.0])
    expected = [
        integrate.quad(at, a, a + d, points=[0.0] if a < 0 < a + d else None)[0] / d
        for a, d in zip(onset, duration, strict=True)
    ]
    np.testing.assert_allclose(dynamic.course(model, onset, duration, 600.0), expected, atol=1e-9)


def test_unknown_course_is_refused():
    with pytest.raises(InputError, match="time model 'ramp'"):
        dynamic.course("ramp", [0.0], [1.0], 600.0)


def test_terms_compose_the_amplitudes():
    course = [0.0, 0.5, 1.0]
    found = dynamic.terms(("A", "B", "C"), {"rise": course}, 3, constant=("A",), free=("B",))
    values = {("A", "constant"): 2.0, ("C", "constant"): 1.0, ("C", "rise"): 4.0}
    values |= {("B", f"block {k}"): 10.0 + k for k in range(3)}
    amplitudes = (found.matrix @ [values[name] for name in found.names]).reshape(3, 3)
    np.testing.assert_allclose(amplitudes, [[2, 10, 1], [2, 11, 3], [2, 12, 5]])


def test_a_metabolite_follows_the_models_that_are_named():
    courses = {"task": [0.0, 1.0, 0.0, 1.0], "drift": [0.0, 1.0, 2.0, 3.0]}
    found = dynamic.terms(("A", "B"), courses, 4, follow={"A": ["task"]})
    assert found.names == [("A", "constant"), ("A", "task"), ("B", "constant"), ("B", "task"), ("B", "drift")]
    np.testing.assert_allclose(found.matrix @ [1, 2, 0, 0, 3], [1, 0, 3, 3, 1, 6, 3, 9])


@pytest.mark.parametrize(
    ("courses", "options", "reason"),
    [
        ({}, {}, "none"),
        ({"flat": [1.0, 1.0, 1.0]}, {}, "cannot be told"),
        ({"rise": [0.0, 1.0, 2.0]}, {"constant": ("X",)}, "'X' is not in the basis"),
        ({"rise": [0.0, 1.0, 2.0]}, {"constant": ("A",), "free": ("A",)}, "both"),
        ({"rise": [0.0, 1.0, 2.0]}, {"follow": {"A": ["fall"]}}, "'A' cannot follow fall; it is constant, free, or"),
        ({"rise": [0.0, 1.0, 2.0]}, {"free": ("A",), "follow": {"A": ["rise"]}}, "'A' cannot follow rise"),
    ],
)
def test_terms_that_make_no_sense_are_refused(courses, options, reason):
    with pytest.raises(InputError, match=reason):
        dynamic.terms(("A", "B"), courses, 3, **options)


def design(**columns):
    base = {"spectrum": [1, 0, 2], "session": ["a", "a", "b"], "onset_s": [60, 0, 0], "duration_s": [60, 60, 60]}
    return pd.DataFrame(base | columns)


def test_design_gives_sessions_in_order_of_onset():
    found = dynamic.read_design(design(rise=[0.5, 0.0, 1.0], arm=["x", "x", "y"]), "d.tsv", 4)
    assert {label: list(spectra) for label, spectra in found.sessions.items()} == {"a": [0, 1], "b": [2]}
    np.testing.assert_array_equal(found.courses["rise"], [0.0, 0.5, 1.0, np.nan])
    assert list(found.labels["arm"]) == ["x", "x", "y", ""]
    np.testing.assert_array_equal(found.spans[:3], [[0, 60], [60, 60], [0, 60]])


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"spectrum": [0, 1, 3]}, "line 4: spectrum 3 does not exist"),
        ({"spectrum": [0, 1, 1]}, "two rows"),
        ({"onset_s": ["x", 0, 0]}, "d.tsv, line 2: onset_s is 'x'; a number is needed"),
        ({"rise": [0.0, np.nan, 1.0]}, "d.tsv, line 3: rise is empty; a number is needed"),
        ({"rise": ["0", "0,5", "1"]}, "d.tsv, line 3: rise is '0,5'; a number is needed"),
        ({"constant": [0.0, 1.0, 2.0]}, "'constant' is one that the tables of results have; rename it"),
        ({"reason": ["a", "b", "c"]}, "'reason' is one that the tables of results have; rename it"),
        ({"session": ["a", None, "b"]}, "'session' must hold a label"),
    ],
)
def test_bad_designs_are_refused(columns, reason):
    with pytest.raises(InputError, match=reason):
        dynamic.read_design(design(**columns), "d.tsv", 3)


def test_design_without_a_column_is_refused():
    with pytest.raises(InputError, match="'duration_s' is missing"):
        dynamic.read_design(design().drop(columns="duration_s"), "d.tsv", 3)


def test_unknown_fitter_is_refused():
    with pytest.raises(InputError, match="known are fsl_mrs, lcmodel, mrsflow"):
        fitters.make("nobody")
