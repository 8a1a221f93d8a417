"""Participants that a contrast needs: against statsmodels, the simulated trials, and variances known beforehand."""

import numpy as np
import pandas as pd
import pytest
import simple_trial
from statsmodels.stats import power as known

from mrsflow.errors import InputError
from mrsflow.planning import sample_size
from mrsflow.planning.trials import Scenario


@pytest.mark.parametrize("n", [8, 20, 60])
def test_power_of_the_t_tests_is_that_of_statsmodels(n):
    effect = 0.6
    one = sample_size.power(effect, *sample_size.standard_error("single_arm", n, 1.0, [1.0]))
    assert one == pytest.approx(known.TTestPower().power(effect, n, 0.05), rel=1e-6)
    groups = sample_size.power(effect, *sample_size.standard_error("parallel", 2 * n, 1.0, [-1.0, 1.0]))
    assert groups == pytest.approx(known.TTestIndPower().power(effect, n, 0.05), rel=1e-6)
    paired = sample_size.power(effect, *sample_size.standard_error("crossover", n, np.sqrt(0.5), [-1.0, 1.0]))
    assert paired == pytest.approx(known.TTestPower().power(effect, n, 0.05, df=n - 2), rel=1e-6)


@pytest.mark.parametrize("moderated", [False, True])
@pytest.mark.parametrize(
    ("design", "orders", "weights"),
    [("crossover", ("01", "10"), (-1, 1)), ("crossover", ("012", "120", "201"), (-1, 0, 1)),
     ("parallel", ("0", "1", "2"), (-0.5, -0.5, 1)), ("single_arm", ("0",), (1,))],
)  # fmt: skip
def test_standard_errors_are_those_of_least_squares(design, orders, weights, moderated):
    """Every order twice in each of two halves: columns of people, visits and conditions written out."""
    people = [(order, half) for order in orders for half in (0, 1) for _ in range(2)]
    rows = [(i, v, int(c), half) for i, (order, half) in enumerate(people) for v, c in enumerate(order)]
    person, visit, condition, half = np.array(rows).T
    cells = (condition[:, None] == np.arange(len(weights))).astype(float)
    columns, first = [cells], 0
    if design == "crossover":
        columns, first = [person[:, None] == np.arange(len(people)), visit[:, None] == range(1, visit.max() + 1)], 1
        columns.append(cells[:, 1:])
    columns += [cells[:, first:] * half[:, None]] * moderated
    x = np.column_stack(columns).astype(float)
    w = np.zeros(x.shape[1])
    w[first - len(weights) :] = weights[first:]
    se, df = sample_size.standard_error(design, len(people), 0.3, weights, moderated)
    assert df == len(x) - np.linalg.matrix_rank(x)
    assert se == pytest.approx(0.3 * np.sqrt(w @ np.linalg.pinv(x.T @ x) @ w), rel=1e-9)


def test_the_least_number_has_the_power_and_one_less_has_not():
    for design, weights in (("crossover", [-1, 1, 0]), ("parallel", [-1, 1]), ("single_arm", [1])):
        for moderated in (False, True):
            n = sample_size.needed(0.5, 0.8, design, 1.0, weights, moderated=moderated)
            for size, enough in ((n, True), (n - 1, False)):
                found = sample_size.power(0.5, *sample_size.standard_error(design, size, 1.0, weights, moderated))
                assert (found >= 0.8) == enough
    assert sample_size.needed(0.001, 0.8, "parallel", 1.0, [-1, 1]) is None


def changes_of(arms, effect=0.0, seed=3):
    """Session changes of a trial whose change varies by 0.05 within participants, arms left out."""
    rng = np.random.default_rng(seed)
    rows = [
        {"participant": f"{i:03d}", "visit": v, "change": own + 0.02 * v + effect * (arm == "b") + 0.05 * rng.normal(),
         "baseline": 1.0, "infusion": 1.0}
        for i, order in enumerate(arms) for own in [0.3 * rng.normal()] for v, arm in enumerate(order, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("design", "sd"), [("crossover", 3.0), ("parallel", 5.0)])
def test_mood_varies_between_people_where_groups_are_compared(design, sd):
    config = simple_trial.configuration(design, ["a", "b"])
    config["power"]["mood"] = {"effect": 3.0, "sd_session": 3.0, "sd_participant": 4.0}
    rows = sample_size.rows_of(config, {"b - a": [-1, 1]}, Scenario(design=design))
    assert [row["sd"] for row in rows if row["estimand"] == "change of mood"] == pytest.approx([sd, sd])


def test_blinded_variance_of_pairs_is_that_of_their_differences():
    sessions = changes_of(simple_trial.sequences(30, "ab", "ba"))
    wide = sessions.pivot(index="participant", columns="visit", values="change")
    found, people = sample_size.blinded_sd(sessions, "change", within=True)
    assert found == pytest.approx((wide[2] - wide[1]).std(ddof=1) / np.sqrt(2), rel=1e-9) and people == 30
    first, _ = sample_size.blinded_sd(sessions, "change", within=False)
    assert first == pytest.approx(wide[1].std(ddof=1), rel=1e-9)


def test_blinded_variance_holds_half_of_the_squared_effect():
    sessions = changes_of(simple_trial.sequences(4000, "ab", "ba"), effect=0.08)
    found, _ = sample_size.blinded_sd(sessions, "change", within=True)
    assert found**2 == pytest.approx(0.05**2 + 0.08**2 / 2, rel=0.05)  # of a difference 2 s2 + effect^2, halved


def test_a_masked_trial_says_how_many_more_it_needs_and_one_of_two_people_that_it_cannot():
    config = simple_trial.configuration("crossover", ["a", "b"])
    config["power"] |= {"effect_percent": 3.0, "mood": {"effect": 3.0, "sd_session": 4.0, "sd_participant": 5.0}}
    sessions = changes_of(simple_trial.sequences(20, "ab", "ba"))
    found = sample_size.rows_of(config, {"b - a": [-1, 1]}, Scenario(estimand="response"), sessions)
    assert [(r["outcome"], r["source"], r["moderated"]) for r in found] == [
        ("Glx/tNAA", "blinded", False), ("Glx/tNAA", "blinded", True),
        ("mood change", "components", False), ("mood change", "components", True),
    ]  # fmt: skip
    sd = sample_size.blinded_sd(sessions, "change", within=True)[0]
    assert found[0]["sd"] == pytest.approx(100 * sd) and found[0]["n_so_far"] == 20
    assert found[0]["n_needed"] == sample_size.needed(3.0, 0.8, "crossover", 100 * sd, [-1, 1])
    with pytest.raises(InputError, match="2 participants have values of two visits; a blinded variance needs more"):
        sample_size.blinded_sd(sessions[sessions["participant"] < "002"], "change", within=True)


def test_a_blinded_variance_over_visits_is_that_of_the_means_of_people_and_a_replicate_has_none():
    rng = np.random.default_rng(1)
    level = 1 + 0.1 * rng.normal(size=40)
    sessions = pd.DataFrame(
        {"participant": np.repeat([f"{i:02d}" for i in range(40)], 2), "visit": np.tile([2, 3], 40)}
    )
    sessions = sessions.assign(baseline=np.repeat(level, 2), change=0.05 * rng.normal(size=80))
    sessions["infusion"] = sessions["baseline"] + sessions["change"]
    config = simple_trial.configuration("parallel", ["a", "b"], visits=[1])
    row = sample_size.rows_of(config, {"b - a": [-1, 1]}, Scenario(estimand="response"), sessions)[0]
    means = sessions.groupby("participant")["change"].mean()
    assert row["sd"] == pytest.approx(100 * means.std(ddof=1) / level.mean()) and row["n_so_far"] == 40
    assert row["design"] == "visits_parallel"
    twice = simple_trial.configuration("crossover", ["a", "b"], replicates=True)
    with pytest.raises(InputError, match=r"give power\.components as numbers"):
        sample_size.rows_of(twice, {"b - a": [-1, 1]}, Scenario(), sessions)
