"""Visits as time, before and after treatment: against classical tests and known truths."""

from dataclasses import replace

import numpy as np
import pytest
import simple_trial
import yaml
from fitted_trial import change_sessions, read, run, write
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.statistics import (
    clinical,
    contrasts,
    group,
    mediation,
    moderators,
    outcomes,
    participant_flow,
    timecourse,
    visits,
)
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config as study_config
from mrsflow.study.estimand import in_words, phase_by_visit

GROUPS = ["placebo"] * 9 + ["drug"] * 14
COURSES = {"placebo": (1.0, 1.01, 1.02), "drug": (1.0, 1.05, 1.08)}


def prepared(trial):
    return plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")


def wide_of(trial):
    """Participants by visits, without the code that is tested."""
    return trial.blocks.pivot(index="participant", columns="visit", values="Glx/tNAA")


def numbers(row):
    return [getattr(row, name) for name in ("t", "p", "df")]


def test_before_and_after_in_one_group_is_the_paired_t_test():
    trial = simple_trial.over_visits({"drug": (1.0, 1.03)}, ["drug"] * 12)
    plan, rows = prepared(trial)
    wide = wide_of(trial)
    known = stats.ttest_rel(wide[2], wide[1])
    row = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    np.testing.assert_allclose(numbers(row), [known.statistic, known.pvalue, 11], rtol=1e-7)
    assert (row.n_participants, row.n_sessions, row.contrast) == (12, 12, "follow-up - before")
    assert row.percent_of_baseline == pytest.approx(100 * (wide[2] - wide[1]).mean() / wide[1].mean())


def test_several_visits_of_one_group_test_the_mean_change_of_people():
    trial = simple_trial.over_visits({"drug": (1.0, 1.02, 1.03, 1.03)}, ["drug"] * 10)
    plan, rows = prepared(trial)
    wide = wide_of(trial)
    known = stats.ttest_1samp(wide[[2, 3, 4]].mean(axis=1) - wide[1], 0)
    np.testing.assert_allclose(
        numbers(contrasts.primary_row(plan, rows, plan.contrasts[0])), [known.statistic, known.pvalue, 9], rtol=1e-6
    )
    found = visits.visit_rows(plan, rows, plan.contrasts[0])
    p = [stats.ttest_rel(wide[v], wide[1]).pvalue for v in (2, 3, 4)]
    np.testing.assert_allclose([row.p for row in found], p, rtol=1e-7)
    assert min(row.p_adjusted for row in found) == pytest.approx(min(1, 3 * min(p)))  # Holm's first step


@pytest.mark.parametrize("courses", [COURSES, {arm: own[:2] for arm, own in COURSES.items()}])
def test_change_of_groups_is_welchs_test_of_the_changes_of_people(courses):
    trial = simple_trial.over_visits(courses, GROUPS, spread={"placebo": 2.0}, estimand="response")
    plan, rows = prepared(trial)
    wide = wide_of(trial)
    change = (wide.drop(columns=1).mean(axis=1) - wide[1]).to_numpy()
    first = np.array(GROUPS) == "drug"
    known = stats.ttest_ind(change[first], change[~first], equal_var=False)
    row = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    np.testing.assert_allclose(numbers(row), [known.statistic, known.pvalue, known.df], rtol=1e-6)
    assert row.n_participants == 23 and row.n_sessions == 23 * (len(courses["drug"]) - 1)


def test_groups_are_adjusted_for_the_visit_before_treatment_and_not_for_one_after_a_dose():
    rows = prepared(simple_trial.over_visits(COURSES, GROUPS))[1]
    assert rows.adjusts and rows.estimand == "adjusted level"
    trial = simple_trial.over_visits(COURSES, GROUPS, dose=-3600.0)
    rows = prepared(trial)[1]
    assert rows.change and not rows.adjusts
    said = in_words(trial.config, trial.estimand, "x")
    assert "from the baseline visit 1 (after the dose" in said["variable"]
    assert said["time"] == "mean over the visits after visit 1, with equal weights"


def test_who_lacks_the_visit_before_is_left_out_by_name_and_a_lost_visit_is_not_the_loss_of_a_person():
    trial = simple_trial.over_visits(COURSES, GROUPS)
    lost = trial.blocks["key"].isin(["sub-003_ses-1", "sub-010_ses-3"])
    plan, rows = prepared(trial.leave_out(lost))
    assert [(p, s) for p, s, _ in rows.left_out] == [("003", "2"), ("003", "3")]
    assert "no usable baseline visit" in rows.notes[0]
    row = contrasts.primary_row(plan, rows, plan.contrasts[0])
    assert (row.n_participants, row.n_sessions) == (22, 43)
    flow = participant_flow.flow_table(trial.leave_out(lost), {}, rows).set_index(["step", "condition"])
    analysed = flow.loc[("in the primary analysis", "all")]
    assert (analysed["n_participants"], analysed["n_sessions"], analysed["n_blocks"]) == (22, 65, 65)


def test_two_visits_before_count_with_their_mean():
    trial = simple_trial.over_visits({"drug": (1.0, 1.0, 1.03)}, ["drug"] * 12)
    trial = replace(trial, config=trial.config | {"study": trial.config["study"] | {"baseline_visits": [1, 2]}})
    trial = replace(trial, blocks=phase_by_visit(trial.blocks, [1, 2]))
    plan, rows = prepared(trial)
    wide = wide_of(trial)
    known = stats.ttest_1samp(wide[3] - wide[[1, 2]].mean(axis=1), 0)
    row = contrasts.primary_row(plan, rows, plan.contrasts[0])
    np.testing.assert_allclose(numbers(row), [known.statistic, known.pvalue, 11], rtol=1e-7)
    assert "visits 1, 2" in in_words(trial.config, trial.estimand, "x")["variable"]


def test_arms_that_were_seen_at_different_visits_are_not_compared():
    trial = simple_trial.over_visits(COURSES | {"drug": (1.0, 1.05, 1.08)}, GROUPS, estimand="response")
    late = (trial.blocks["condition"] == "placebo") & (trial.blocks["visit"] == 3)
    plan, rows = prepared(trial.leave_out(late))
    row = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    assert "condition 'drug' has visit 2, 3 and 'placebo' has 2, so that their means are not of the same" in row.remark
    by_visit = visits.visit_rows(plan, rows, plan.contrasts[0])
    assert np.isfinite(by_visit[0].p) and "not estimated" in by_visit[1].remark


def test_all_tables_of_a_trial_over_visits_are_estimated():
    courses = COURSES | {"low": (1.0, 1.02, 1.03)}
    arms = [*GROUPS, *["low"] * 8]
    trial = simple_trial.over_visits(courses, arms, mood_scale="madrs", mood_baseline="score", mood_followup="score")
    rng = np.random.default_rng(3)
    sex = dict(zip(sorted(set(trial.sessions["participant"])), rng.choice(["F", "M"], len(arms)), strict=True))
    trial.sessions["sex"] = trial.sessions["participant"].map(sex)
    trial.sessions["madrs_score"] = 30 - 4 * trial.sessions["visit"] + rng.normal(0, 3, len(trial.sessions))
    plan, rows = prepared(trial)
    tables = group.analyse(trial, plan, rows)
    found = tables["contrasts"].set_index(["analysis", "contrast"])
    bad = tables["contrasts"][tables["contrasts"]["remark"].str.contains("not estimated")]
    assert bad["analysis"].tolist() == [], bad["remark"].tolist()
    assert {"primary", "visit", "participant means", "baseline by arm", "clinical outcome"} <= set(
        found.index.levels[0]
    )
    before = trial.sessions[trial.sessions["visit"] == 1].set_index("participant")["madrs_score"]
    mood = clinical.mood_rows(trial.config, trial.sessions)
    assert len(mood.sessions) == 2 * len(arms)
    np.testing.assert_allclose(mood.sessions["bl"], mood.sessions["participant"].map(before))
    tests = tables["time_tests"]
    assert set(tests["analysis"]) == {"condition x visit"} and tests["p"].notna().all()
    made = moderators.moderator_rows(plan, rows, ["sex"])
    assert all(np.isfinite(row.p) for row in made)
    course = timecourse.course_table(trial, ["Glx/tNAA"], ())
    own = course[(course["outcome"] == "Glx/tNAA") & (course["condition"] == "drug")]
    assert own["block"].tolist() == ["visit 1", "visit 2", "visit 3"] and (own["n"] == 14).all()
    np.testing.assert_allclose(own["mean"], wide_of(trial)[[a == "drug" for a in arms]].mean())


@pytest.mark.parametrize(
    ("study", "blocks", "said"),
    [
        ({"design": "crossover"}, {}, "in a crossover"),
        ({}, {"baseline": ["scan"]}, "not both"),
    ],
)
def test_visits_before_and_after_are_refused_where_they_cannot_be(study, blocks, said):
    content = simple_trial.configuration("parallel", ["a", "b"], visits=[1])
    content["study"] |= study
    content["blocks"] |= blocks
    with pytest.raises(InputError, match=said):
        study_config.checked(content)


def arms_by_participant(table):
    table["arm"] = ["placebo" if int(person) % 2 else "naltrexone" for person in table["participant"]]


def study_over_visits(folder, change=arms_by_participant, **study):
    """Write a trial of two visits, the first before treatment, in which participants have one arm."""
    made = write(folder, n=10, group={"mood_scale": None, "secondary": []})
    change_sessions(made, change)
    content = yaml.safe_load(made.config.read_text())
    content["study"] |= {"design": "parallel", "baseline_visits": [1]} | study
    content["blocks"] |= {"baseline": [], "event": "start"}
    made.config.write_text(yaml.safe_dump(content))
    return made


def test_a_study_over_visits_comes_through_the_group_stage(tmp_path):
    made = study_over_visits(tmp_path)
    headline = run(made, status=False)
    before, after = (np.array([made.values[f"sub-{i:03d}_ses-{v}"].mean() for i in range(1, 11)]) for v in (1, 2))
    naltrexone = np.arange(1, 11) % 2 == 0
    x = np.column_stack([np.ones(10), naltrexone, before])
    assert headline["estimate"] == pytest.approx(np.linalg.lstsq(x, after, rcond=None)[0][1], rel=1e-6)
    assert (headline["n_participants"], headline["n_sessions"], headline["estimand"]) == (10, 10, "adjusted_level")
    phases = read(made, "blocks_wide").groupby("visit")["phase"].unique()
    assert phases[1].tolist() == ["baseline"] and phases[2].tolist() == ["infusion"]


@pytest.mark.parametrize(
    ("change", "study", "said"),
    [
        (lambda table: None, {}, "participant '001' has arm 'naltrexone' and before it 'placebo'"),
        (arms_by_participant, {"baseline_visits": [3]}, "study.baseline_visits names 3, and .* has visits 1, 2"),
        (arms_by_participant, {"baseline_visits": [1, 2]}, "no visit is left to compare"),
        (arms_by_participant, {"baseline_visits": []}, "name the visits before treatment in study.baseline_visits"),
    ],
)
def test_tables_that_are_not_of_visits_before_and_after_are_refused(tmp_path, change, study, said):
    with pytest.raises(InputError, match=said):
        run(study_over_visits(tmp_path, change, **study), status=False)


def test_the_indirect_effect_over_several_visits_is_that_of_the_means_of_people():
    """The product of two least-squares coefficients, fitted here to one row for each participant."""
    rng = np.random.default_rng(8)
    trial = simple_trial.over_visits(COURSES, GROUPS, mood_scale="q", mood_baseline="pre", mood_followup="post")
    people = trial.sessions["participant"].astype(int).to_numpy()
    pre = (28 + rng.normal(0, 4, len(GROUPS)))[people]
    sessions = trial.sessions.assign(q_pre=pre, q_post=pre - 8 + rng.normal(0, 3, len(people)))
    plan, rows = prepared(trial)
    mood = clinical.mood_rows(trial.config, sessions)
    (row,) = mediation.mediation_rows(plan, rows, mood, "q post - pre")
    wide, later = wide_of(trial), sessions[sessions["visit"] > 1]
    glx = 100 * (wide[[2, 3]].mean(axis=1) - wide[1]).to_numpy() / wide[1].mean()
    change = later.assign(change=later["q_post"] - later["q_pre"]).groupby("participant")["change"].mean().to_numpy()
    first = sessions.drop_duplicates("participant")
    x = np.column_stack([np.ones(len(first)), first["condition"] == "drug", first["q_pre"]]).astype(float)
    a = np.linalg.lstsq(x, glx, rcond=None)[0][1]
    b = np.linalg.lstsq(np.column_stack([x, glx]), change, rcond=None)[0][3]
    assert row.estimate == pytest.approx(a * b, rel=1e-5)
    assert row.n_participants == len(GROUPS) and row.n_sessions == 2 * len(GROUPS)
