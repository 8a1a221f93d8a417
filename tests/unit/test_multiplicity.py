"""Families of tests: Holm and the gate by their definitions."""

import numpy as np
import pytest
from fitted_trial import read, run, write
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mrsflow.statistics import multiplicity
from mrsflow.statistics.results import Result


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_adjusted_p_are_those_of_statsmodels_and_scipy(n):
    p = np.random.default_rng(n).random(n) ** 2
    if n:
        np.testing.assert_allclose(multiplicity.holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
        known = stats.false_discovery_control(p)
        np.testing.assert_allclose(multiplicity.benjamini_hochberg(p), known, rtol=1e-12)
    assert len(multiplicity.holm(p)) == len(multiplicity.benjamini_hochberg(p)) == n


def rows(*p):
    return [Result(analysis="", contrast="", p=value) for value in p]


def test_holm_and_the_gate_by_their_definitions():
    primary = multiplicity.primary_family(rows(0.0473, 0.02))
    assert [r.p_adjusted for r in primary] == pytest.approx([0.0473, 0.04])
    mood = multiplicity.gated(rows(0.01, 0.03), primary)
    assert [r.p_adjusted for r in mood] == pytest.approx([0.0473, 0.0473])  # Holm gives 0.02 and 0.03
    mood = multiplicity.gated(rows(0.04, 0.03), multiplicity.primary_family(rows(0.001, 0.002)))
    assert [r.p_adjusted for r in mood] == pytest.approx([0.06, 0.06])


def test_a_primary_contrast_without_estimate_closes_the_gate():
    primary = multiplicity.primary_family(rows(0.001, np.nan))
    assert multiplicity.gated(rows(0.001), primary)[0].p_adjusted == 1.0


@pytest.mark.parametrize("true_nulls", [(1, 1), (0, 1), (0, 0)])
def test_the_familywise_error_over_primary_and_mood_is_held(true_nulls):
    """Two contrasts; where a primary null is false its p is almost 0. Both mood nulls are true."""
    rng = np.random.default_rng(7)
    errors = 0
    for _ in range(1500):
        p = rng.random(4)
        primary = multiplicity.primary_family(rows(*(p[i] if null else 1e-9 for i, null in enumerate(true_nulls))))
        mood = multiplicity.gated(rows(*p[2:]), primary)
        wrong = [r.p_adjusted < 0.05 for r, null in zip(primary, true_nulls, strict=True) if null]
        errors += any([*wrong, *(r.p_adjusted < 0.05 for r in mood)])
    assert errors / 1500 < 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5


def test_every_mood_contrast_stands_behind_every_primary_one(tmp_path):
    made = write(tmp_path, n=12, conditions=("placebo", "naltrexone", "saline"))
    run(made)
    found = read(made, "contrasts")
    primary = found[found["analysis"] == "primary"]
    mood = found[found["analysis"] == "clinical outcome"]
    assert len(primary) == len(mood) == 2
    low, high = sorted(mood["p"])
    holm = {low: min(2 * low, 1), high: max(min(2 * low, 1), high)}
    gate = primary["p_adjusted"].max()
    np.testing.assert_allclose(mood["p_adjusted"], [max(gate, holm[p]) for p in mood["p"]], rtol=1e-6)


def test_the_graph_has_a_box_for_each_family_and_the_gate_between():
    """Lines of equal length, every name once in its box, the gate after the primary family, the rest outside."""
    names, mood = ["b - a", "a contrast with quite a long name of its own"], "madrs day1 - pre"
    lines = multiplicity.drawn(names, mood, ["Glu/tNAA"], ["sex"]).splitlines()
    edges = [i for i, line in enumerate(lines) if line.startswith("+")]
    assert len(edges) == 4 and len({len(lines[i]) for i in edges}) == 1
    boxes = [lines[edges[0] + 1 : edges[1]], lines[edges[2] + 1 : edges[3]]]
    assert all(len(line) == len(lines[edges[0]]) and line[0] == line[-1] == "|" for box in boxes for line in box)
    assert [line.strip("| ") for line in boxes[0]] == ["Primary (Holm)", *names]
    assert [line.strip("| ") for line in boxes[1]] == ["Clinical outcome (Holm)", *(f"{mood}: {n}" for n in names)]
    assert "only if all are significant" in "".join(lines[edges[1] : edges[2]])
    outside = lines[edges[3] + 1 :]
    assert any("Glu/tNAA" in line for line in outside) and any("sex" in line for line in outside)
    more = multiplicity.drawn(names, mood, [], [], others=["Indirect effect on mood, exploratory"]).splitlines()
    assert more[-2:] == ["Beside, with no part in the error rate above:", "  Indirect effect on mood, exploratory"]
    alone = multiplicity.drawn(["b - a"], None, [], [])
    assert alone.count("+") == 4 and "only if" not in alone
