"""What is estimated: the baseline that answers, by the clock times, and the truth that each estimand recovers."""

import json

import numpy as np
import pandas as pd
import pytest
import simple_trial
from fitted_trial import change_sessions, read, row_of, run, table, write
from scipy import stats

from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.statistics import contrasts, outcomes, sensitivity
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config as study_config
from mrsflow.study import estimand

ORDERS = (("placebo", "naltrexone"), ("naltrexone", "placebo"))


def estimate(trial, all_analyses=False):
    plan = plan_of(trial.config)
    rows = outcomes.prepare(trial, "Glx/tNAA")
    found = contrasts.compare(plan, rows, plan.contrasts[0], all_analyses=all_analyses)
    return found if all_analyses else found[0]


@pytest.mark.parametrize("design", ["crossover", "parallel"])
@pytest.mark.parametrize("shift", [-0.03, 0.03])
def test_a_dose_that_moves_the_baseline_alone_is_no_response_and_a_total_effect(design, shift):
    """Equal responses; the adjusted level is neither of the two, and says so."""
    arms = simple_trial.sequences(1200, *(o if design == "crossover" else o[:1] for o in ORDERS))
    levels, responses = {"placebo": 1.0, "naltrexone": 1.0 + shift}, dict.fromkeys(ORDERS[0], 0.06)
    sd = (0.08, 0.03, 0.02)
    truth = {"auto": 0.0, "response": 0.0, "total": 100 * shift}
    for kind, known in truth.items():
        trial = simple_trial.make(arms, levels, responses, design=design, sd=sd, estimand=kind)
        row = estimate(trial)
        percent_se = row.se * row.percent_of_baseline / row.estimate
        assert row.percent_of_baseline == pytest.approx(known, abs=4 * abs(percent_se)), kind
        assert abs(percent_se) < 0.6
        assert row.estimand == estimand.TITLES["response" if kind == "auto" else kind]
    trial = simple_trial.make(arms, levels, responses, design=design, sd=sd, estimand="adjusted_level")
    row = estimate(trial)
    assert estimand.WARNING in row.remark
    if design == "crossover":
        assert 0.2 < row.percent_of_baseline / (100 * shift) < 0.8


def test_the_difference_of_the_baselines_stands_beside():
    levels = {"placebo": 1.0, "naltrexone": 0.97}
    trial = simple_trial.make(simple_trial.sequences(400, *ORDERS), levels, dict.fromkeys(levels, 0.06))
    row = next(row for row in estimate(trial, all_analyses=True) if row.analysis == "baseline by arm")
    assert row.estimate == pytest.approx(-0.03, abs=4 * row.se)
    assert row.estimand == "baseline"
    before = simple_trial.make(simple_trial.sequences(40, *ORDERS), levels, dict.fromkeys(levels, 0.06), dose=np.nan)
    assert "baseline by arm" in [row.analysis for row in estimate(before, all_analyses=True)]


def test_response_is_the_crossover_test_of_changes():
    levels = {"placebo": 1.0, "naltrexone": 0.97}
    trial = simple_trial.make(simple_trial.sequences(20, *ORDERS), levels, {"placebo": 0.06, "naltrexone": 0.03})
    row = estimate(trial)
    wide = trial.blocks.pivot_table("Glx/tNAA", ["participant", "visit", "condition"], "phase").reset_index()
    wide["change"] = wide["infusion"] - wide["baseline"]
    pairs = wide.pivot(index="participant", columns="visit")
    first = pairs["condition"][1] == "naltrexone"
    difference = pairs["change"][1] - pairs["change"][2]
    known = stats.ttest_ind(difference[first], difference[~first])
    np.testing.assert_allclose([row.t, row.p, row.df], [known.statistic, known.pvalue, 18], rtol=1e-6)
    assert row.d_z == pytest.approx(known.statistic / np.sqrt(20), rel=1e-6)
    assert (row.d_z_low <= 0 <= row.d_z_high) == (row.p > 0.05)


def test_sizes_agree_with_the_p_of_their_row():
    levels = {"placebo": 1.0, "naltrexone": 1.0}
    signs = set()
    for seed in range(12):
        responses = {"placebo": 0.06, "naltrexone": 0.04}
        trial = simple_trial.make(simple_trial.sequences(14, *ORDERS), levels, responses, seed=seed, dose=np.nan)
        row = estimate(trial)
        null = bool(row.p > 0.05)
        assert (row.d_z_low <= 0 <= row.d_z_high) == (row.g_ci_low <= 0 <= row.g_ci_high) == null
        signs.add(null)
    assert signs == {True, False}


@pytest.mark.parametrize(
    ("ends", "dose", "design", "known"),
    [
        ([0], [-2700, -2700], "crossover", ("response", "after")),
        ([0], [np.nan, np.nan], "crossover", ("adjusted_level", "before")),
        ([0], [600, np.nan], "parallel", ("adjusted_level", "before")),
        ([-60, 0], [-2700, -2700], "crossover", ("response", "both")),
        ([0], [-2700, np.nan], "crossover", ("response", "after")),
        ([], [-2700, -2700], "parallel", ("total", "none")),
        ([0], [np.nan, np.nan], "single_arm", ("response", "before")),
    ],
)
def test_the_default_follows_from_the_clock_times(ends, dose, design, known):
    config = {
        "study": {"design": design, "baseline_visits": []}, "group": {"estimand": "auto"},
        "blocks": {"bins": {f"b{e}": [e - 8, e] for e in ends}, "baseline": [f"b{e}" for e in ends]},
    }  # fmt: skip
    found = estimand.estimand_of(config, pd.DataFrame({"dose_s": np.array(dose, float)}))
    assert (found.kind, found.placement) == known


def test_scans_on_both_sides_of_the_dose_answer_their_own_questions():
    """Response from the scan after the pill, total effect from the one before it."""
    levels = {"placebo": 1.0, "naltrexone": 0.97}
    trial = simple_trial.make(
        simple_trial.sequences(600, *ORDERS), levels, {"placebo": 0.06, "naltrexone": 0.04}, sd=(0.08, 0.03, 0.02)
    )
    early = trial.blocks[trial.blocks["block"] == "baseline"].copy()
    rng = np.random.default_rng(5)
    lifted = np.where(early["condition"] == "naltrexone", 0.03, 0.0)
    early["Glx/tNAA"] += lifted + rng.normal(0, 0.02, len(early))
    early = early.assign(block="before", onset_s=-3600.0, duration_s=480.0)
    blocks = pd.concat([trial.blocks, early], ignore_index=True)
    config = json.loads(json.dumps(trial.config))
    config["blocks"]["bins"]["before"], config["blocks"]["baseline"] = [-60, -52], ["before", "baseline"]
    for kind, known in (("response", -0.02), ("total", -0.05), ("adjusted_level", -0.05)):
        config["group"]["estimand"] = kind
        own = type(trial)(config, trial.sessions, blocks, trial.conditions)
        row = estimate(own)
        assert row.estimate == pytest.approx(known, abs=4 * row.se), kind
        assert row.se < 0.003


def with_doses(made, minutes):
    def change(content):
        content["infusion_start"] = "00:20:00"
        content["dose_time"] = [f"{(20 - minutes) // 60 % 24:02d}:{(20 - minutes) % 60:02d}:00"] * len(content)

    change_sessions(made, change)


@pytest.mark.parametrize(("minutes", "kind"), [(45, "response"), (-10, "adjusted_level")])
def test_tables_and_headline_state_the_question_by_the_times_of_the_tables(tmp_path, minutes, kind):
    """Pills before and after midnight; the infusion is at twenty past."""
    made = write(tmp_path, n=8)
    with_doses(made, minutes)
    headline = run(made)
    assert headline["estimand"] == kind
    assert set(headline["question"]) >= {
        "population", "treatment", "variable", "time", "intercurrent events", "summary",
    }  # fmt: skip
    assert row_of(made, "primary")["estimand"] == estimand.TITLES[kind]
    table_ = read(made, "contrasts")
    assert "baseline by arm" in set(table_["analysis"])
    # one model: the attenuation is that of the contrast
    fraction = read(made, "attenuation").iloc[0]
    difference = fraction["change_treated"] - fraction["change_reference"]
    assert difference == pytest.approx(headline["estimate"], rel=1e-6)


@pytest.mark.usefixtures("png_alone")
def test_the_page_says_that_the_baseline_follows_the_dose(tmp_path):
    from mrsflow.reporting import group_figures, group_page, group_read

    made = write(tmp_path, n=4)
    with_doses(made, 45)
    run(made)
    config = study_config.load(str(made.config))
    group_figures.draw_all(group_read.load(config), made.output / "figures")
    html = group_page.write(config).read_text(encoding="utf-8")
    assert "after the dose" in html and "Intercurrent events" in html and "Population" in html
    assert "E9(R1)" in (made.output / "report" / "methods.md").read_text(encoding="utf-8")


def test_log_and_huber_rows_answer_the_same_question():
    levels = {"placebo": 1.0, "naltrexone": 0.8}
    trial = simple_trial.make(
        simple_trial.sequences(60, *ORDERS), levels, {"placebo": 0.1, "naltrexone": 0.08}, sd=(0.05, 0.02, 0.01)
    )
    plan = plan_of(trial.config)
    rows = outcomes.prepare(trial, "Glx/tNAA")
    found = {r.analysis: r for r in sensitivity.sensitivity_rows(trial, plan, rows, [])}
    for name in ("log scale", "Huber summary"):
        truth = 0.0 if name == "log scale" else -0.02  # 10 % of either level
        assert found[name].estimate == pytest.approx(truth, abs=4 * found[name].se), name
    assert found["adjusted level"].estimand == "adjusted level"
    assert found["level, not adjusted"].estimate == pytest.approx(-0.22, abs=0.03)


@pytest.mark.parametrize("key", ["response", "adjusted_level"])
def test_an_estimand_that_needs_a_baseline_is_refused_without_one(key):
    with pytest.raises(InputError, match=f"group.estimand is '{key}' and blocks.baseline is empty"):
        config = simple_trial.configuration("crossover", ORDERS[0])
        config["blocks"]["baseline"] = []
        study_config.checked(config | {"group": config["group"] | {"estimand": key}})


def test_events_of_a_dataset_say_when_the_dose_was(tmp_path):
    from mrsflow.study.study import Study

    events = tmp_path / "x_events.tsv"
    table(events, ("onset", "duration", "trial_type"), [(-2220.0, 0.0, "dose"), (480.0, 2400.0, "infusion")])
    sessions = pd.DataFrame({"key": ["a", "b", "c"], "dose_to_infusion_min": [None, "30", None]})
    samples = pd.DataFrame({"key": ["a", "b", "c"], "role": "svs", "events": [events, None, None]})
    config = {"blocks": {"event": "infusion"}, "output": str(tmp_path)}
    found = estimand.dose_seconds(config, Study(samples, sessions, sessions))
    np.testing.assert_allclose(found, [-2700.0, -1800.0, np.nan])
    assert files.read_table(events).shape == (2, 3)
