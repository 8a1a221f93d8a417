"""The denominator audit on trials whose parts move by known amounts, and against a t-test written out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simple_trial import configuration

from mrsflow.statistics import denominator
from mrsflow.statistics.plan import plan_of
from mrsflow.study.trial import TrialData, conditions_of

N, BEFORE, AFTER = 26, 4, 6


def trial_of(rng, moves, design="crossover", noise=0.04, session=0.015):
    """A trial of 26: `moves` are the changes of Glx and tNAA in arm b; both rise by 3 % and 0 in every session.

    Amplitudes have units of their own in every session; blocks scatter by `noise`, responses of sessions by `session`.
    """
    config = configuration(design, ["a", "b"])
    sessions = [(i, v) for i in range(N) for v in ((1, 2) if design == "crossover" else (1,))]
    arms = ["ab"[(i + v) % 2] for i, v in sessions]
    table = pd.DataFrame(sessions, columns=["participant", "visit"]).astype({"participant": str})
    table["session"], table["condition"] = table["visit"].astype(str), arms
    table["key"] = "sub-" + table["participant"] + "_ses-" + table["session"]
    blocks = table.loc[table.index.repeat(BEFORE + AFTER)].reset_index(drop=True)
    late = np.tile(np.arange(BEFORE + AFTER) >= BEFORE, len(table))
    blocks["phase"] = np.where(late, "infusion", "baseline")
    units = np.exp(rng.normal(0, 1, len(table))).repeat(BEFORE + AFTER)
    in_b = (blocks["condition"] == "b").to_numpy()
    for name, size, rise, moved in (("Glx", 12, 0.03, moves[0]), ("tNAA", 10, 0.0, moves[1])):
        response = rise + rng.normal(0, session, len(table)).repeat(BEFORE + AFTER) + moved * in_b
        blocks[name] = units * size * (1 + late * response) * (1 + rng.normal(0, noise, len(blocks)))
    blocks["Glx/tNAA"] = blocks["Glx"] / blocks["tNAA"]
    return TrialData(config, table, blocks.assign(excluded=False), conditions_of(config))


def audited(trial):
    return {row["part"]: row for row in denominator.audit_rows(trial, plan_of(trial.config))}


def test_parts_are_compared_by_a_paired_t_test_and_add_up():
    """Two visits in balanced order: the difference of logarithms, half of the participants in each order."""
    trial = trial_of(np.random.default_rng(1), (0.0, 0.05))
    found = audited(trial)
    own = trial.blocks.groupby(["participant", "condition", "phase"])["tNAA"].mean().unstack("phase")
    change = np.log(own["infusion"] / own["baseline"]).unstack("condition")
    order = trial.sessions[trial.sessions["visit"] == 1].set_index("participant")["condition"]
    halves = [(change["b"] - change["a"])[order == first].to_numpy() for first in "ab"]
    estimate = np.mean([half.mean() for half in halves])
    pooled = np.sqrt(sum(((half - half.mean()) ** 2).sum() for half in halves) / (N - 2))
    se = pooled / 2 * np.sqrt(sum(1 / len(half) for half in halves))
    assert found["denominator"]["change_percent"] == pytest.approx(100 * np.expm1(estimate))
    assert found["denominator"]["p"] == pytest.approx(2 * stats.t.sf(abs(estimate / se), N - 2))
    log = {part: np.log1p(row["change_percent"] / 100) for part, row in found.items()}
    assert log["ratio"] == pytest.approx(log["numerator"] - log["denominator"])
    assert found["numerator"]["finding"].startswith("The denominator moved (")


@pytest.mark.parametrize("design", ["crossover", "parallel"])
def test_five_percent_of_the_denominator_is_found_and_none_is_not(design):
    """Sixty trials each of 26: found in 9 of 10, false alarms (1.5 are expected) no more than chance lets through."""
    rng = np.random.default_rng(3)
    alarms = {
        move: sum(bool(audited(trial_of(rng, (0.0, move), design))["denominator"]["moved"]) for _ in range(60))
        for move in (0.05, 0.0)
    }
    assert alarms[0.05] >= 54
    assert alarms[0.0] <= stats.binom.ppf(0.99, 60, 0.025)


@pytest.mark.parametrize(
    ("moves", "said"),
    [((0.06, 0.0), "The numerator moved"), ((0.08, -0.08), "Numerator and denominator moved"), ((0.0, 0.0), "Neither")],
)
def test_the_sentence_names_the_part(moves, said):
    (first, *_) = denominator.audit_rows(trial := trial_of(np.random.default_rng(5), moves), plan_of(trial.config))
    assert first["finding"].startswith(said)


def test_what_cannot_be_audited_says_why():
    trial = trial_of(np.random.default_rng(1), (0.0, 0.0))
    plan = plan_of(trial.config)
    alone = replace(trial, blocks=trial.blocks.drop(columns="tNAA"))
    assert "no amplitudes of tNAA" in denominator.audit_rows(alone, plan)[0]["finding"]
    late = replace(trial, blocks=trial.blocks[trial.blocks["phase"] != "baseline"])
    assert "before and after the event" in denominator.audit_rows(late, plan)[0]["finding"]
    term = replace(plan, outcome="Glx/tNAA: infusion")
    assert "is the term infusion" in denominator.audit_rows(trial, term)[0]["finding"]
    assert denominator.audit_rows(trial, replace(plan, outcome="Glx")) == []
