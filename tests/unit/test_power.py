"""Simulated trials: what goes in comes out, and batches give what the group stage gives for every design."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import simple_trial
import statsmodels.api as sm

from mrsflow.errors import InputError
from mrsflow.planning import power, power_plan, sample_size, trials
from mrsflow.planning.trials import Scenario
from mrsflow.reporting import figures_power
from mrsflow.statistics import contrasts, moderators, outcomes
from mrsflow.statistics.plan import plan_of
from mrsflow.study import covariates
from mrsflow.study.estimand import phase_by_visit
from mrsflow.study.trial import TrialData, conditions_of

INTERACTION = (1.0, -1.0, -1.0, 1.0)
MEAN = {"weights": (1.0,), "estimand": "response"}
SHORT = {"shape": (0.5, 1.0), "n_baseline": 2}


def base_and_late(made, n_baseline=4):
    return made.y[..., :n_baseline].mean(axis=-1), made.y[..., n_baseline:].mean(axis=-1)


def test_simulated_moments_are_those_asked_for():
    scenario = Scenario(n=40, rise=0.1, attenuation=0.3, period=0.02, correlation=0.5, sd_response_session=0.0)
    made = trials.simulate(scenario, 400, np.random.default_rng(1))
    base, infusion = base_and_late(made)
    change, treated = infusion - base, np.broadcast_to(made.order == 1, base.shape)
    rise = 0.1 * np.mean(scenario.shape)
    assert change[~treated].mean() == pytest.approx(rise, abs=1.3e-3)  # 4 SE
    assert change[treated].mean() == pytest.approx(0.7 * rise, abs=1.3e-3)
    assert (base[..., 1] - base[..., 0]).mean() == pytest.approx(0.02, abs=1.5e-3)
    assert (made.order == 1).sum() == 40
    noise = made.y[..., :4] - made.y[..., :4].mean(axis=-1, keepdims=True)
    lag, power_ = (noise[..., 1:] * noise[..., :-1]).mean(), (noise**2).mean()
    rho = 0.5 ** np.abs(np.subtract.outer(range(4), range(4)))
    centred = (np.eye(4) - 0.25) @ rho @ (np.eye(4) - 0.25)
    assert lag / power_ == pytest.approx(np.diag(centred, 1).mean() / np.diag(centred).mean(), abs=0.01)
    assert power_ == pytest.approx(0.04**2 * np.diag(centred).mean(), rel=0.02)


def test_losses_are_those_asked_for():
    made = trials.simulate(Scenario(n=25, lost_blocks=0.1, dropouts=0.07), 200, np.random.default_rng(2))
    assert (~made.present[:, :, 0]).mean() == pytest.approx(0.1, abs=0.01)
    assert set((~made.present[:, :, 1].any(axis=-1)).sum(axis=1)) == {2}  # 7 % of 25, rounded up


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_every_condition_follows_every_other_equally_often(k):
    orders = trials.williams(k)
    pairs = [pair for own in orders for pair in pairwise(own)]
    assert {tuple(sorted(own)) for own in orders} == {tuple(range(k))}
    assert {pairs.count((a, b)) for a in range(k) for b in range(k) if a != b} == {len(orders) // k}
    assert all(sorted(own[v] for own in orders) == sorted(list(range(k)) * (len(orders) // k)) for v in range(k))


def test_a_factorial_has_no_response_without_the_drug_and_its_interaction_is_what_is_attenuated():
    scenario = Scenario(weights=INTERACTION, control=(2, 3), rise=0.1, attenuation=0.3)
    np.testing.assert_allclose(scenario.responses, [0.1, 0.07, 0, 0])
    assert scenario.effect == pytest.approx(0.1 * 0.3 * np.mean(scenario.shape))
    alone = replace(scenario, design="single_arm", weights=(1.0,))
    assert alone.effect == pytest.approx(0.1 * np.mean(scenario.shape))
    moved = scenario.with_effect(0.02)
    assert moved.effect == pytest.approx(0.02)


CASES = {
    "crossover": Scenario(n=10),
    "crossover of three": Scenario(n=9, weights=(0.0, -1.0, 1.0), **SHORT),
    "factorial": Scenario(n=9, weights=INTERACTION, control=(2, 3), **SHORT),
    "carried over": Scenario(n=12, weights=(-1.0, 1.0, 0.0), carry_over=True, **SHORT),
    "incomplete": Scenario(design="incomplete", n=13, weights=(-1.0, 1.0, 0.0), **SHORT),
    "replicate": Scenario(design="replicate", n=8, sd_response_condition=0.03, **SHORT),
    "parallel": Scenario(design="parallel", n=15, weights=(-1.0, 0.0, 1.0), **SHORT),
    "single arm": Scenario(design="single_arm", n=8, **MEAN, **SHORT),
    "before and after": Scenario(design="visits_parallel", n=12),
    "visits by group": Scenario(design="visits_parallel", n=12, visits=(2, 3)),
    "one group over visits": Scenario(design="visits_single_arm", n=9, visits=(1, 3), **MEAN),
    "one group before and after": Scenario(design="visits_single_arm", n=9, **MEAN),
}  # fmt: skip


@pytest.mark.parametrize("moderated", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_gives_what_the_group_stage_gives(name, moderated):
    own = CASES[name]
    estimands = [own.estimand] if own.single else ["response"] if moderated else ["adjusted_level", "response", "total"]
    for estimand in estimands:
        scenario = replace(own, estimand=estimand, lost_blocks=0.1, moderated=moderated)
        made = trials.simulate(scenario, 2, np.random.default_rng(3))
        test = power.tests_of(scenario, made)
        for i in range(2):
            trial = trial_of(scenario, made, i)
            plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
            if moderated:
                row = moderators.moderator_rows(plan, rows, ["half"])[0]
            else:
                row = contrasts.primary_row(plan, rows, plan.contrasts[0])
            found = [getattr(test, q)[i] for q in ("estimate", "se", "df")]
            np.testing.assert_allclose(
                found, [getattr(row, q) for q in ("estimate", "se", "df")], rtol=2e-6, err_msg=estimand
            )


def trial_of(scenario, made, i):
    """Tables of one of the simulated trials, as the group stage has them."""
    s, sessions, blocks = scenario, [], []
    names = "abcd"[: len(s.weights)]
    for p, v in np.ndindex(made.order.shape):
        base = {"key": f"sub-{p}_ses-{v + 1}", "participant": str(p), "session": str(v + 1), "visit": v + 1}
        base |= {"condition": names[made.order[p, v]]}
        after = -3600.0 if s.estimand == "total" else np.nan  # levels, as where no scan precedes the dose
        sessions.append(base | {"line": "", "half": f"h{made.half[p]}", "dose_s": after})
        for b in np.flatnonzero(made.present[i, p, v]):
            early = b < s.n_baseline and not s.over_visits
            name = "scan" if s.over_visits else "baseline" if early else f"infusion{b}"
            blocks.append(base | {
                "block": name if not early else f"baseline{b}", "phase": "baseline" if early else "infusion",
                "onset_s": 60.0 * (b - s.n_baseline), "duration_s": 60.0, "excluded": False, "Glx/tNAA sd": 0.02,
                "Glx/tNAA": made.y[i, p, v, b],
            })  # fmt: skip
    design = dict.fromkeys(("incomplete", "replicate"), "crossover").get(s.design, s.design.removeprefix("visits_"))
    group = {"estimand": s.estimand, "carry_over": s.carry_over, "moderators": ["half"]}
    if not s.single:
        weights = {c: w for c, w in zip(names, s.weights, strict=True) if w}
        group["contrasts"] = [{"name": "contrast", "weights": weights}]
    early = list(range(1, s.visits[0] + 1)) if s.over_visits else []
    config = simple_trial.configuration(design, list(names), early, s.design == "replicate", **group)
    blocks = phase_by_visit(pd.DataFrame(blocks), early)
    return TrialData(config, covariates.typed(config, pd.DataFrame(sessions)), blocks, conditions_of(config))


def test_batches_do_not_change_what_a_seed_gives():
    whole = np.concatenate([t.y for t in trials.batches(Scenario(n=6), 300, 9)])
    first = np.concatenate([t.y for t in trials.batches(Scenario(n=6), 250, 9)])
    np.testing.assert_array_equal(whole[:250], first)


def test_power_without_effect_is_the_level_of_the_test_and_grows_with_the_effect():
    scenario = Scenario(n=16)
    none = power.power_of(replace(scenario, attenuation=0.0), 500, 1)
    strict = power.power_of(replace(scenario, attenuation=0.0, level=0.99), 500, 1)
    some = power.power_of(replace(scenario, attenuation=0.8), 500, 1)
    assert none["power"] < 0.085
    assert strict["power"] < 0.03 and strict["half_width"] > 1.3 * none["half_width"]
    assert some["power"] > 0.7
    assert abs(some["bias"]) < 4 * some["bias_se"]
    assert some["power_low"] < some["power"] < some["power_high"]


def test_a_trial_that_losses_make_too_small_shows_nothing():
    """Three before and after treatment in each group, some lost: the tested ones by hand, the others count as no."""
    small = Scenario(design="visits_parallel", n=6, dropouts=0.08)
    tests = [power.tests_of(small, made) for made in trials.batches(small, 400, 1)]
    p = np.concatenate([test.p for test in tests])
    assert 0 < np.isnan(p).sum() < 200
    found = power.power_of(small, 400, 1)
    assert found["power"] == np.sum(p[np.isfinite(p)] < 0.05) / 400
    assert np.isfinite([found["half_width"], found["bias"], found["bias_se"]]).all()
    with pytest.raises(InputError, match=r"6 participants are too few: after losses \d+ % of the trials cannot"):
        power.power_of(replace(small, dropouts=0.6), 200, 1)


def test_half_width_is_that_of_the_crossover_ancova():
    """Without losses the mixed model is the least squares of differences on sequence and difference of baselines."""
    scenario = Scenario(n=12, sd_response_participant=0.4, sd_response_session=0.1)  # no variance is found to be zero
    half = []
    for made in trials.batches(scenario, 20, 3):
        for base, infusion in zip(*base_and_late(made), strict=True):
            sign = np.where(made.order[:, 1] == 1, 1.0, -1.0)  # second visit less the first, as treated less reference
            difference, covariate = (sign * (v[:, 1] - v[:, 0]) for v in (infusion, base))
            fit = sm.OLS(difference, np.column_stack([np.ones(12), sign, covariate])).fit()
            half.append(np.ptp(fit.conf_int()[0]) / 2)
    assert power.power_of(scenario, 20, 3)["half_width"] == pytest.approx(np.mean(half), rel=1e-5)


ONE = {"shape": (1.0,), "n_baseline": 1}  # a block each
SIZED = {name: replace(CASES[name], n=n, **more) for name, n, more in (
    ("crossover", 20, SHORT), ("crossover of three", 18, ONE), ("factorial", 24, ONE), ("replicate", 12, ONE),
    ("parallel", 60, ONE), ("single arm", 20, ONE), ("before and after", 60, {}), ("visits by group", 40, {}),
    ("one group over visits", 30, {}), ("one group before and after", 30, {}),
)}  # fmt: skip
MODERATED = ("crossover", "factorial", "parallel", "before and after", "one group over visits")


@pytest.mark.parametrize(("name", "moderated"), [*((n, False) for n in SIZED), *((n, True) for n in MODERATED)])
def test_power_of_every_design_is_that_of_the_noncentral_t(name, moderated):
    """99.9 % of binomial shares of 250 lie within 3.3 standard errors."""
    estimand = "response" if SIZED[name].single or moderated or "group" in name else "adjusted_level"
    scenario = replace(SIZED[name], moderated=moderated, estimand=estimand)
    se = sample_size.standard_error(
        scenario.design, scenario.n, sample_size.value_sd(scenario), scenario.weights, moderated,
        estimand == "adjusted_level",
    )  # fmt: skip
    scenario = scenario.with_effect(2.5 * se[0])  # a power of about two thirds
    expected = sample_size.power(scenario.effect, *se)
    found = power.power_of(scenario, 250, 6)
    assert 0.5 < expected < 0.75
    assert abs(found["power"] - expected) < 3.3 * np.sqrt(expected * (1 - expected) / 250)
    assert abs(found["bias"]) < 4 * found["bias_se"]


SINGLE = {"sd_session": 0.0, "sd_response_session": 0.0}  # a session each, or a value: not told from others
FLAT = {"shape": (1.0, 1.0), "n_baseline": 2}
COHORTS = (
    Scenario(n=400, sd_response_participant=0.04, sd_response_session=0.03),
    Scenario(design="replicate", n=300, sd_response_participant=0.04, sd_response_condition=0.05, **FLAT),
    Scenario(design="parallel", n=400, sd_response_participant=0.04, **SINGLE),
    Scenario(design="visits_parallel", n=300, visits=(2, 2), sd_response_participant=0.05, **SINGLE),
)


@pytest.mark.parametrize("scenario", COHORTS, ids=lambda scenario: scenario.design)
def test_components_of_a_cohort_of_every_design_are_recovered(scenario):
    made = trials.simulate(scenario, 1, np.random.default_rng(4))
    p, v, b = (a.ravel() for a in np.indices(made.y.shape[1:]))
    early = v < scenario.visits[0] if scenario.over_visits else b < scenario.n_baseline
    table = pd.DataFrame({
        "participant": p, "session": v, "visit": v + 1, "block": b, "arm": np.array(["p", "n"])[made.order[p, v]],
        "excluded": "false", "phase": np.where(early, "baseline", "infusion"), "Glx/tNAA": 1.3 * made.y[0].ravel(),
    })  # fmt: skip
    found = power_plan.components_of(table, "Glx/tNAA", [1.0] if scenario.over_visits else scenario.shape)
    limits = {"sd_block": 0.1, "sd_participant": 0.1, "sd_session": 0.15}
    for name, value in found.items():
        assert value == pytest.approx(getattr(scenario, name), rel=limits.get(name, 0.2), abs=1e-9), name


SETTINGS = {
    "participants": [8, 12], "designs": ["crossover", "parallel"], "rise": 0.06, "attenuation": [0.5],
    "shape": [1.0, 1.0], "n_baseline": 2, "correlation": 0.0, "period": 0.0, "lost_blocks": [0.0, 0.1],
    "dropouts": 0.1, "components": {"sd_participant": 0.08}, "trials": 100, "seed": 1,
}  # fmt: skip


def planned(tmp_path, contrast, **settings):
    config = simple_trial.configuration("crossover", ["a", "b"], level=0.9)
    return power_plan.plan(config | {"power": config["power"] | SETTINGS | settings}, contrast, tmp_path)


def test_the_grid_has_a_row_for_each_cell_and_a_figure(tmp_path):
    table = planned(tmp_path, {"b - a": [-1, 1]})
    assert len(table) == 8
    assert {"power.tsv", "power.json", "sample_size.tsv", "sample_size.json"} == {p.name for p in tmp_path.iterdir()}
    assert set(table["ci_level"]) == {0.9}
    crossover = table[(table["design"] == "crossover") & (table["lost_blocks"] == 0)].set_index("n_participants")
    assert crossover.loc[12, "half_width_percent"] < crossover.loc[8, "half_width_percent"]
    figure = figures_power.draw(table)
    own = table[(table["design"] == "parallel") & (table["lost_blocks"] == 0.1)]
    label = "parallel, attenuation 50 %, 10 % lost"
    (line,) = [bars.lines[0] for bars in figure.axes[0].containers if bars.get_label() == label]
    np.testing.assert_allclose(line.get_ydata(orig=False), 100 * own["power"])
    assert label in [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(figure.axes[1].lines) == 4  # designs times losses
    assert "90 % interval" in figure.axes[1].get_ylabel()


def test_the_grid_asks_every_question_of_every_design(tmp_path):
    mood = {"effect": 3.0, "sd_session": 4.0, "sd_participant": 5.0}
    designs = ["crossover", "replicate", "parallel", "single_arm", "visits_parallel", "visits_single_arm"]
    asked = {"designs": designs, "questions": ["contrast", "moderation", "mood"], "participants": [12], "mood": mood}
    table = planned(tmp_path, {"b - a": [-1, 1]}, lost_blocks=[0.0], dropouts=0.0, **asked)
    assert len(table) == 18 and table["power"].between(0, 1).all()
    of_mood = table[table["estimand"] == "change of mood"]
    assert (
        len(of_mood) == 6 and set(of_mood["effect_points"].round(9)) == {3.0} and of_mood["effect_percent"].isna().all()
    )
    assert set(table.loc[table["design"].str.contains("single"), "contrast"]) == {"mean response"}
    labels = [text.get_text() for text in figures_power.draw(table).legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == 18
    crossover = of_mood[of_mood["design"] == "crossover"].iloc[0]  # paired differences of SD 4 sqrt(2), visit taken out
    assert crossover["half_width_points"] == pytest.approx(1.812 * 4 * np.sqrt(2 / 12), rel=0.05)


@pytest.mark.parametrize(("settings", "said"), [
    ({"designs": ["parallel"]}, "power.designs has parallel, which compares conditions, and study.conditions has one"),
    ({"designs": ["single_arm"], "questions": ["mood"]}, "power.questions asks for mood; give power.mood"),
    ({"designs": ["single_arm"], "questions": ["moderation"], "participants": [3]}, "3 are too few for the 1 arms"),
    ({"designs": ["single_arm"], "participants": [9, 1], "trials": 10**9}, "1 are too few"),
])  # fmt: skip
def test_what_cannot_be_planned_is_said(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        planned(tmp_path, {"mean": [1]}, **settings)
    assert not list(tmp_path.iterdir())
