"""Pooled trials beside R's metafor: meta/gold.R fits the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from mrsflow.errors import InputError
from mrsflow.models import meta

GOLD = json.loads((Path(__file__).parent / "meta/gold.json").read_text(encoding="utf-8"))
SETS = GOLD["sets"]


def close(found, known):
    np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-9)


def same_test(found, known):
    close([found.t, found.p, found.se], [known["t"], known["p"], known["se"]])
    assert abs(found.estimate - known["estimate"]) < 1e-6 * known["se"]
    if "ci_low" in known:
        close([found.ci_low, found.ci_high], [known["ci_low"], known["ci_high"]])


@pytest.mark.parametrize("name", SETS)
def test_mean_interval_and_prediction_equal_those_of_metafor(name):
    known = SETS[name]
    found = meta.fit(known["y"], known["v"])
    same_test(found.contrast([1.0], 0.95), known["plain"])
    same_test(found.contrast([1.0], 0.95, guard=True), known["guarded"])
    close(found.weights, known["weights"])
    close(found.factor, known["factor"])
    close(found.prediction(0.95), [known["prediction_low"], known["prediction_high"]])
    between = found.heterogeneity
    close([between.tau2, between.i2_percent, between.q, between.p],
          [known["tau2"], known["i2"], known["q"], known["q_p"]])  # fmt: skip
    close([between.low, between.high], [known["tau2_low"], known["tau2_high"]])


@pytest.mark.parametrize("name", SETS)
def test_each_trial_left_out_equals_metafor(name):
    known = SETS[name]
    y, v = np.array(known["y"]), np.array(known["v"])
    for n, own in enumerate(known["left_out"]):
        same_test(meta.fit(np.delete(y, n), np.delete(v, n)).contrast([1.0], 0.95), own)


@pytest.mark.parametrize("name", [name for name, own in SETS.items() if "slope" in own])
def test_moderators_and_small_studies_equal_metafor(name):
    known = SETS[name]
    ones = np.ones(len(known["y"]))
    slope = meta.fit(known["y"], known["v"], np.column_stack([ones, known["x"]]))
    same_test(slope.contrast([0.0, 1.0], 0.95), known["slope"])
    close(slope.heterogeneity.tau2, known["slope"]["tau2"])
    groups = meta.fit(known["y"], known["v"], np.column_stack([ones, np.array(known["g"]) == "b"]))
    same_test(groups.contrast([0.0, 1.0], 0.95), known["group"])
    f, _, _, p = groups.f_test([1])
    close([f, p], [known["group"]["qm"], known["group"]["qm_p"]])
    small = meta.asymmetry(known["y"], known["v"])
    close([small.t, small.p], [known["small"]["t"], known["small"]["p"]])


def test_two_equal_trials_give_their_mean_by_hand():
    found = meta.fit([1.0, 3.0], [0.5, 0.5])
    assert found.beta[0] == pytest.approx(2.0)
    assert found.heterogeneity.tau2 == pytest.approx(2.0 - 0.5)  # variance of the estimates less that of their errors
    assert found.contrast([1.0], 0.95).se == pytest.approx(1.0)  # the one-sample t


@pytest.mark.parametrize(
    ("y", "v", "words"),
    [
        ([1.0], [1.0], "1 trials cannot tell"),
        ([1.0, 2.0], [1.0, 0.0], "above 0"),
        ([1.0, np.nan], [1.0, 1.0], "finite"),
    ],
)
def test_what_cannot_be_pooled_is_said(y, v, words):
    with pytest.raises(InputError, match=words):
        meta.fit(y, v)
