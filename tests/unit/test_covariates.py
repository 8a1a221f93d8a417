"""Covariates: typed, in every model that should adjust, refused before any job where no model could take them."""

import re

import numpy as np
import pandas as pd
import pytest
import simple_trial
import statsmodels.formula.api as smf
from fitted_trial import change_sessions, read, row_of, run, table, write

from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.statistics import contrasts, moderators, outcomes, sensitivity
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config as study_config
from mrsflow.study.study import read_study

ARMS = {"placebo": 1.0, "naltrexone": 1.0}
CROSSED = (("placebo", "naltrexone"), ("naltrexone", "placebo"))


def trial_of(design, adjust, n=24, **group):
    rng = np.random.default_rng(3)
    extra = {
        "bmi": rng.normal(25, 4, n).round(1),
        "site": [f"s{i % 3}" for i in range(n)],
        "code": np.arange(n) // 3 % 3,
    }
    orders = CROSSED if design == "crossover" else tuple(o[:1] for o in CROSSED)
    arms = simple_trial.sequences(n, *orders)
    return simple_trial.make(arms, ARMS, {"placebo": 0.06, "naltrexone": 0.03}, design=design, dose=np.nan, seed=4,
                             extra=extra, adjust_for=list(adjust), **group)  # fmt: skip


def rows_of(trial):
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    found = contrasts.compare(plan, rows, plan.contrasts[0])
    found += sensitivity.sensitivity_rows(trial, plan, rows, [])
    return rows, {row.analysis: row for row in found}


def test_a_number_is_one_column_and_a_declared_code_a_factor():
    _, found = rows_of(trial_of("parallel", ["bmi", "code"], covariates={"code": {"type": "factor", "reference": "1"}}))
    trial = trial_of("parallel", ["bmi", "code"])
    wide = trial.blocks.pivot_table("Glx/tNAA", "participant", "phase").join(
        trial.sessions.set_index("participant")[["condition", "bmi", "code"]]
    )
    formula = "infusion ~ C(condition, Treatment('placebo')) + baseline + bmi + "
    known = smf.ols(formula + "C(code)", wide).fit().params.iloc[1]
    assert found["primary"].estimate == pytest.approx(known, rel=1e-8)
    assert found["primary"].adjusted_for == "bl, bmi, code"
    _, plain = rows_of(trial)
    assert plain["primary"].estimate == pytest.approx(smf.ols(formula + "code", wide).fit().params.iloc[1], rel=1e-8)


@pytest.mark.parametrize("design", ["crossover", "parallel"])
def test_every_row_adjusts_or_says_that_it_does_not(design):
    _, found = rows_of(trial_of(design, ["bmi", "site"]))
    done = {name: row for name, row in found.items() if np.isfinite(row.estimate)}
    assert len(done) > 12
    for name, row in done.items():
        inside = {"bmi", "site"} <= set(row.adjusted_for.split(", "))
        said = "not adjusted for" in row.remark or "constant within participants" in row.remark
        assert inside != said, (name, row.adjusted_for, row.remark)


def test_weight_is_the_covariate_and_not_the_precision_of_the_fits():
    arms, responses = simple_trial.sequences(30, *CROSSED), {"placebo": 0.06, "naltrexone": 0.03}
    made = [
        simple_trial.make(arms, ARMS, responses, dose=np.nan, adjust_for=[name], extra={name: values})
        for name in ("weight", "mass")
        for values in [np.random.default_rng(5).normal(80, 9, 30)]
    ]
    (_, weight), (_, mass) = map(rows_of, made)
    for name in ("primary", "CRLB-weighted"):
        assert weight[name].p == pytest.approx(mass[name].p, rel=1e-12)
        assert "weight" in weight[name].adjusted_for


def test_covariates_of_the_mood_model_by_least_squares(tmp_path):
    made = write(tmp_path, n=16, design="parallel", group={"adjust_for": ["age"]})
    run(made)
    people = files.read_table(made.config.parent / "participants.tsv", text_columns=["participant"])
    scores = files.read_table(made.config.parent / "sessions.tsv", text_columns=["participant"]).merge(people)
    scores["change"] = scores["madrs_day1"] - scores["madrs_pre"]
    known = smf.ols("change ~ C(arm, Treatment('placebo')) + madrs_pre + age", scores).fit()
    row = row_of(made, "clinical outcome")
    assert row["estimate"] == pytest.approx(known.params.iloc[1], rel=1e-6)
    assert row["adjusted_for"] == "bl, age"


def test_who_lacks_a_covariate_is_counted_nowhere(tmp_path):
    made = write(tmp_path, n=12, group={"adjust_for": ["bmi"]})
    path = made.config.parent / "participants.tsv"
    content = files.read_table(path, text_columns=True)
    content["bmi"] = [f"{20 + i % 7}.5" for i in range(12)]
    content.loc[[2, 5], "bmi"] = "n/a"
    table(path, content.columns, content.to_numpy())
    headline = run(made)
    row = row_of(made, "primary")
    flow = read(made, "flow").query("condition == 'all'").set_index("step").loc["in the primary analysis"]
    for found in (headline, row, flow):
        assert (found["n_participants"], found["n_sessions"]) == (10, 20)
    assert headline["n_blocks"] == row["n_blocks"] == 100
    gone = read(made, "exclusions").query("action == 'left out'")
    assert set(gone["participant"]) == {"003", "006"}
    assert gone["reason"].str.contains("bmi").all()
    assert "003" in row["remark"]


@pytest.mark.parametrize("name", ["mass (kg+l)", "x~y*z", "age"])
def test_whatever_a_covariate_is_called_rows_know_that_they_adjust_for_it(tmp_path, name):
    made = write(tmp_path, n=8, group={"adjust_for": [name]})
    values = np.random.default_rng(3).normal(size=16).round(2).astype(str)
    change_sessions(made, lambda t: t.__setitem__(name, values))
    run(made)
    row = row_of(made, "primary")
    assert row["adjusted_for"] == f"bl_dev, bl_mean, {name}"
    found = read(made, "sensitivity").set_index("analysis")
    assert "not adjusted" not in " ".join(found.loc[["primary", "pair means", "log scale"], "remark"].fillna(""))
    assert found.loc["log scale", "model"].startswith("log(outcome) ~ condition + block")
    assert found.loc["Huber summary", "model"].startswith("Huber session mean ~ participant + condition + visit + bl")


@pytest.mark.parametrize("key", ["adjust_for", "moderators"])
@pytest.mark.parametrize("name", ["block", "participant", "outcome", "visit", "sd", "bl_dev", "condition"])
def test_reserved_names_are_refused_before_any_job(tmp_path, key, name):
    made = write(tmp_path, n=2, group={key: [name]})
    change_sessions(made, lambda t: t.__setitem__(name, t["visit"]) if name not in t else None)
    with pytest.raises(InputError, match=f"group.{key}: '{name}' .*; rename the column, or take it out of group.{key}"):
        read_study(study_config.load(str(made.config)))


def test_columns_of_reserved_names_that_nothing_uses_change_nothing(tmp_path):
    made = write(tmp_path, n=6)
    run(made)
    known = read(made, "contrasts")
    for name in ("period", "block", "outcome", "y", "bl", "change", "condition", "dose_s", "lost"):
        change_sessions(made, lambda t, name=name: t.__setitem__(name, "7"))
    run(made)
    pd.testing.assert_frame_equal(read(made, "contrasts"), known)


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ({"moderators": ["sexx"]}, None, "there is no column 'sexx' in the tables; they have .*sex"),
        ({"adjust_for": ["bmi"]}, ("bmi", ["21", "much", "22", "23"]), "line 3: bmi is 'much' among numbers"),
        ({"adjust_for": ["gap_days"]}, ("gap_days", ["n/a", "20", "n/a", "14"]), "in none of visit 1"),
        ({"adjust_for": ["plasma"]}, ("plasma", ["n/a", "2.5", "1.5", "n/a"]), "in none of condition placebo"),
        ({"adjust_for": ["drug"]}, ("drug", ["a", "a", "a", "a"]), "has the single value 'a'"),
        (
            {"moderators": ["g"], "covariates": {"g": {"type": "factor", "levels": ["a", "b"]}}},
            ("g", ["a", "a", "c", "b"]),
            "line 4: g is 'c'; group.covariates.g.levels has a, b",
        ),
        (
            {"moderators": ["g"], "covariates": {"g": {"type": "factor", "reference": "z"}}},
            ("g", ["a", "a", "c", "b"]),
            "group.covariates.g.reference is 'z'; the levels are a, b, c",
        ),
        ({"moderators": ["g"], "covariates": {"g": {"type": "number"}}}, ("g", ["1", "2", "x", "3"]), "4: g is 'x'"),
    ],
)  # fmt: skip
def test_a_covariate_that_no_model_could_take_is_refused_before_any_job(tmp_path, group, change, message):
    made = write(tmp_path, n=2, group=group)
    if change:
        change_sessions(made, lambda t: t.__setitem__(*change))
    with pytest.raises(InputError, match=message):
        read_study(study_config.load(str(made.config)))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"contrasts": [{"name": "a", "treated": "placebo", "reference": "placebo"}]},
            "compares 'placebo' with itself",
        ),
        ({"contrasts": [{"name": "a", "treated": "placebo"}]}, "needs treated and reference, or weights"),
        ({"contrasts": [{"name": "a", "weights": {"placebo": 1, "naltrexone": 1}}]}, "their sum must be 0"),
        ({"contrasts": [{"name": "a", "weights": {"placebo": 1, "saline": -1}}]}, "names 'saline'"),
        ({"contrasts": [{"name": "a", "treated": "naltrexone", "reference": "placebo"}] * 2}, "'a' twice"),
        ({"control": "saline"}, "group.control is 'saline'"),
        ({"outcome": "Gxl/tNAA"}, "group.outcome: 'Gxl/tNAA' names 'Gxl'"),
        ({"secondary": ["Glu/tNA"]}, "group.secondary: 'Glu/tNA' names 'tNA'"),
        ({"other_denominators": ["Cre8"]}, "group.other_denominators: 'Cre8' names 'Cre8'"),
    ],
)
def test_a_wrong_name_is_refused_before_any_job(group, message):
    with pytest.raises(InputError, match=message):
        simple_trial.configuration("crossover", ARMS, **group)


def test_two_conditions_of_a_single_arm_are_refused():
    with pytest.raises(InputError, match="a single_arm has one condition"):
        simple_trial.configuration("single_arm", ARMS)


def test_sums_that_outcomes_may_name_are_those_of_the_fit():
    from mrsflow.fitting.uncertainty import TOTALS

    assert set(study_config.TOTALS) == set(TOTALS)


def test_a_moderator_that_is_adjusted_for_and_one_of_a_single_arm():
    trial = trial_of("crossover", ["site"])
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    found = moderators.moderator_rows(plan, rows, ["site"])
    assert [row.analysis for row in found] == ["moderator"] * 2 + ["subgroup"] * 3
    arms = simple_trial.sequences(40, ("placebo",))
    sex = ["F", "M"] * 20
    single = simple_trial.make(arms, {"placebo": 1.0}, {"placebo": 0.06}, design="single_arm", extra={"sex": sex},
                               moderators=["sex"])  # fmt: skip
    plan, rows = plan_of(single.config), outcomes.prepare(single, "Glx/tNAA")
    row = moderators.moderator_rows(plan, rows, ["sex"])[0]
    change = rows.sessions.groupby("sex", observed=True)["change"].mean()
    assert row.estimate == pytest.approx(change["M"] - change["F"], rel=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 1.2, 0.8, 1.1, 0.9, 1.05], ""),
        ([1.0, 1.001, 0.999, 1.0, 1.001, 0.999], "cannot carry a slope"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 3.0], "cannot carry a slope"),
    ],
)
def test_a_map_that_is_one_for_all_says_what_its_slope_rests_on(values, said):
    """Two sessions each; spread and leverage (diagonal of the hat matrix of a straight line) by their definitions."""
    people = pd.Series([str(n) for n in range(6)] * 2)
    x = np.column_stack([np.ones(6), values])
    leverage = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T).max()
    words = rf"SD {100 * np.std(values, ddof=1) / np.mean(values):.1f} % .*leverage of a person {leverage:.2f}"
    if said:
        with pytest.raises(InputError, match=f"{words}; that {said}"):
            moderators.placement(pd.Series(values * 2), people)
    else:
        assert re.search(words, moderators.placement(pd.Series(values * 2), people))
