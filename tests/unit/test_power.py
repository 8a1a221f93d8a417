"""Simulated trials: what goes in comes out, and batches give what the group stage gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simple_trial
import statsmodels.api as sm

from mrsflow.planning import power, power_plan
from mrsflow.planning.power import Scenario
from mrsflow.reporting import figures_power
from mrsflow.statistics.contrasts import primary_model
from mrsflow.statistics.outcomes import Rows, add_baseline
from mrsflow.statistics.plan import Plan


def test_simulated_moments_are_those_asked_for():
    scenario = Scenario(n=40, rise=0.1, attenuation=0.3, period=0.02, correlation=0.5, sd_response_session=0.0)
    trials = power.simulate(scenario, 400, np.random.default_rng(1))
    base, infusion = power.session_means(trials)
    change = infusion - base
    rise = 0.1 * np.mean(scenario.shape)
    assert change[~trials.treated].mean() == pytest.approx(rise, abs=1.3e-3)  # 4 SE
    assert change[trials.treated].mean() == pytest.approx(0.7 * rise, abs=1.3e-3)
    assert (base[..., 1] - base[..., 0]).mean() == pytest.approx(0.02, abs=1.5e-3)
    assert trials.treated.sum(axis=(1, 2)).tolist() == [40] * 400
    noise = trials.y[..., :4] - trials.y[..., :4].mean(axis=-1, keepdims=True)
    lag, power_ = (noise[..., 1:] * noise[..., :-1]).mean(), (noise**2).mean()
    rho = 0.5 ** np.abs(np.subtract.outer(range(4), range(4)))
    centred = (np.eye(4) - 0.25) @ rho @ (np.eye(4) - 0.25)
    assert lag / power_ == pytest.approx(np.diag(centred, 1).mean() / np.diag(centred).mean(), abs=0.01)
    assert power_ == pytest.approx(0.04**2 * np.diag(centred).mean(), rel=0.02)


def test_losses_are_those_asked_for():
    trials = power.simulate(Scenario(n=25, lost_blocks=0.1, dropouts=0.07), 200, np.random.default_rng(2))
    assert (~trials.present[:, :, 0]).mean() == pytest.approx(0.1, abs=0.01)
    assert set((~trials.present[:, :, 1].any(axis=-1)).sum(axis=1)) == {2}  # 7 % of 25, rounded up


@pytest.mark.parametrize("estimand", ["adjusted_level", "response", "total"])
def test_a_batch_gives_what_the_group_stage_gives(estimand):
    scenario = Scenario(n=10, lost_blocks=0.15, dropouts=0.1)
    trials = power.simulate(scenario, 3, np.random.default_rng(3))
    fit = power.fit_primary(trials, estimand=estimand)
    test = fit.contrast(power.condition_weights(fit))
    plan = Plan("crossover", ("a", "b"), (), "y", (), 99, 1)
    for i in range(3):
        rows = replace(rows_of(trials, i), adjusts=estimand == "adjusted_level")
        if estimand == "response":
            rows = replace(rows, blocks=rows.blocks.eval("outcome = outcome - bl"), change=True)
        model = primary_model(plan, rows)
        one = model.test(model.difference("condition", "b", "a"))
        np.testing.assert_allclose(
            [test.estimate[i], test.se[i], test.df[i], fit.loglik[i]],
            [one.estimate, one.se, one.df, model.fit.loglik],
            rtol=1e-6,
        )


def rows_of(trials, i):
    base, infusion = (v[i] for v in power.session_means(trials))
    sessions, blocks = [], []
    for p, s in np.ndindex(base.shape):
        if np.isnan(base[p, s]):
            continue
        row = {"participant": p, "session": s, "visit": s + 1, "condition": "ab"[int(trials.treated[i, p, s])]}
        sessions.append(row | {"bl": base[p, s], "y": infusion[p, s]})
        for b in range(4, 10):
            if trials.present[i, p, s, b]:
                blocks.append(row | {"block": f"b{b}", "outcome": trials.y[i, p, s, b], "onset_s": b})
    sessions = add_baseline(pd.DataFrame(sessions))
    keys = ["participant", "session"]
    blocks = pd.DataFrame(blocks).merge(sessions[[*keys, "bl", "bl_dev", "bl_mean"]], on=keys)
    return Rows(blocks, sessions, 0, 1.0, ())


def test_batches_do_not_change_what_a_seed_gives(monkeypatch):
    whole = np.concatenate([t.y for t in power.batches(Scenario(n=6), 300, 9)])
    first = np.concatenate([t.y for t in power.batches(Scenario(n=6), 250, 9)])
    np.testing.assert_array_equal(whole[:250], first)


def test_power_without_effect_is_the_type_1_error_and_grows_with_the_effect():
    scenario = Scenario(n=16)
    none = power.power_of(replace(scenario, attenuation=0.0), 500, 1)
    some = power.power_of(replace(scenario, attenuation=0.8), 500, 1)
    assert none["power"] < 0.085
    assert some["power"] > 0.7
    assert abs(some["bias_percent"]) < 4 * some["bias_se_percent"]
    assert some["power_low"] < some["power"] < some["power_high"]


def test_half_width_is_that_of_the_crossover_ancova():
    """Without losses the mixed model is the least squares of differences on sequence and difference of baselines."""
    scenario = Scenario(n=12, sd_response_participant=0.4, sd_response_session=0.1)  # no variance is found to be zero
    half = []
    for trials in power.batches(scenario, 20, 3):
        for base, infusion, treated in zip(*power.session_means(trials), trials.treated, strict=True):
            sign = np.where(treated[:, 1], 1.0, -1.0)  # second visit less the first, as treated less reference
            difference, covariate = (sign * (v[:, 1] - v[:, 0]) for v in (infusion, base))
            fit = sm.OLS(difference, np.column_stack([np.ones(12), sign, covariate])).fit()
            half.append(np.ptp(fit.conf_int()[0]) / 2)
    found = power.power_of(scenario, 20, 3)["half_width_percent"]
    assert found == pytest.approx(100 * np.mean(half), rel=1e-5)


def test_a_parallel_trial_of_the_same_size_has_less_power():
    cells = [Scenario(n=24, design=d, attenuation=0.6) for d in ("crossover", "parallel")]
    crossover, parallel = (power.power_of(cell, 300, 2)["power"] for cell in cells)
    assert crossover > parallel + 0.2


def test_components_of_a_cohort_are_recovered():
    scenario = Scenario(n=400, sd_response_participant=0.04, sd_response_session=0.03)
    trials = power.simulate(scenario, 1, np.random.default_rng(4))
    p, v, b = np.indices(trials.y.shape[1:])
    table = pd.DataFrame({
        "participant": p.ravel(), "session": v.ravel(), "visit": v.ravel() + 1, "block": b.ravel(),
        "arm": np.where(trials.treated[0][p.ravel(), v.ravel()], "n", "p"), "excluded": "false",
        "phase": np.where(b.ravel() < 4, "baseline", "infusion"), "Glx/tNAA": 1.3 * trials.y[0].ravel(),
    })  # fmt: skip
    found = power_plan.components_of(table, "Glx/tNAA", scenario.shape)
    assert found["sd_participant"] == pytest.approx(0.08, rel=0.1)
    assert found["sd_session"] == pytest.approx(0.03, rel=0.15)
    assert found["sd_block"] == pytest.approx(0.04, rel=0.05)
    assert found["sd_response_participant"] == pytest.approx(0.04, rel=0.2)
    assert found["sd_response_session"] == pytest.approx(0.03, rel=0.2)


def test_the_grid_has_a_row_for_each_cell_and_a_figure(tmp_path):
    settings = {
        "participants": [8, 12], "designs": ["crossover", "parallel"], "rise": 0.06, "attenuation": [0.5],
        "shape": [1.0, 1.0], "n_baseline": 2, "correlation": 0.0, "period": 0.0, "lost_blocks": [0.0, 0.1],
        "dropouts": 0.1, "components": {"sd_participant": 0.08}, "trials": 100, "seed": 1,
    }  # fmt: skip
    config = simple_trial.configuration("crossover", ["a", "b"])
    table = power_plan.plan(config | {"power": config["power"] | settings}, {"b - a": [-1, 1]}, tmp_path)
    assert len(table) == 8
    assert {"power.tsv", "power.json", "sample_size.tsv", "sample_size.json"} == {p.name for p in tmp_path.iterdir()}
    crossover = table[(table["design"] == "crossover") & (table["lost_blocks"] == 0)].set_index("n_participants")
    assert crossover.loc[12, "half_width_percent"] < crossover.loc[8, "half_width_percent"]
    figure = figures_power.draw(table)
    own = table[(table["design"] == "parallel") & (table["lost_blocks"] == 0.1)]
    label = "parallel, attenuation 50 %, 10 % lost"
    (line,) = [bars.lines[0] for bars in figure.axes[0].containers if bars.get_label() == label]
    np.testing.assert_allclose(line.get_ydata(orig=False), 100 * own["power"])
    assert label in [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(figure.axes[1].lines) == 4  # designs times losses
