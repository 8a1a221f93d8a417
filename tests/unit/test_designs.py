"""Designs beside the crossover of two conditions: each against its truth or a classical test."""

from dataclasses import replace

import numpy as np
import pytest
import simple_trial
from scipy import optimize, stats

from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.statistics import carry_over, clinical, contrasts, moderators, outcomes, timecourse
from mrsflow.statistics.plan import plan_of

SD = (0.08, 0.02, 0.02, 0.0)
LEVELS = {"placebo": 1.0, "naltrexone": 0.98, "saline": 1.0}
RESPONSES = {"placebo": 0.06, "naltrexone": 0.05, "saline": 0.0}
ORDERS = (("placebo", "naltrexone", "saline"), ("naltrexone", "saline", "placebo"), ("saline", "placebo", "naltrexone"))


def prepared(trial):
    return plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")


@pytest.mark.parametrize("design", ["crossover", "parallel"])
@pytest.mark.parametrize(
    ("estimand", "control", "truth"),
    [("total", "saline", 0.5), ("response", "saline", 1 / 6), ("response", None, 1 / 6)],
)
def test_attenuation_against_the_control_and_of_the_response(design, estimand, control, truth):
    """The dose lowers the level by 2 % and a response of 6 % by one: half against saline, a sixth of the response."""
    arms = simple_trial.sequences(900, *(o if design == "crossover" else o[:1] for o in ORDERS))
    trial = simple_trial.make(arms, LEVELS, RESPONSES, design=design, sd=(0.02, 0.02, 0.02), estimand=estimand)
    plan, rows = prepared(trial)
    found = clinical.attenuation_rows(plan, rows, "Glx/tNAA", control)
    row = found[0]
    assert row.contrast == "naltrexone - placebo"
    assert row.fraction == pytest.approx(truth, abs=(row.ci_high - row.ci_low))
    assert row.ci_low < truth < row.ci_high and row.ci_high - row.ci_low < 0.35
    contrast = contrasts.primary_row(plan, rows, plan.contrasts[0])
    assert row.change_treated - row.change_reference == pytest.approx(contrast.estimate, rel=1e-6)


@pytest.mark.parametrize("design", ["crossover", "parallel"])
def test_attenuation_of_a_factorial_takes_each_conditions_own_control(design):
    """The drug alone shifts the level by -2 % and the response by 1 %; ketamine's own is 6 %, and 3 % with the drug."""
    names = ("ps", "pk", "ns", "nk")
    orders = (names, ("pk", "nk", "ps", "ns"), ("nk", "ns", "pk", "ps"), ("ns", "ps", "nk", "pk"))
    levels, responses = {"ps": 1.0, "pk": 1.0, "ns": 0.98, "nk": 0.98}, {"ps": 0.0, "pk": 0.06, "ns": 0.01, "nk": 0.04}
    contrasts_asked = [{"name": "interaction", "weights": {"nk": 1, "ns": -1, "pk": -1, "ps": 1}}]
    arms = simple_trial.sequences(400, *(o if design == "crossover" else o[:1] for o in orders))
    trial = simple_trial.make(arms, levels, responses, design=design, sd=(0.02, 0.01, 0.01), contrasts=contrasts_asked,
                              control={"nk": "ns", "pk": "ps"})  # fmt: skip
    plan, rows = prepared(trial)
    (row,) = clinical.attenuation_rows(plan, rows, "Glx/tNAA", trial.config["group"]["control"])
    assert row.ci_low < 0.5 < row.ci_high and row.ci_high - row.ci_low < 0.2
    assert "differences from ns and ps" in row.method
    contrast = contrasts.primary_row(plan, rows, plan.contrasts[0])
    assert row.change_treated - row.change_reference == pytest.approx(contrast.estimate, rel=1e-6)


def test_attenuation_of_an_adjusted_level_agrees_with_its_contrast():
    for design in ("crossover", "parallel"):
        arms = simple_trial.sequences(60, *(o if design == "crossover" else o[:1] for o in ORDERS))
        trial = simple_trial.make(arms, dict.fromkeys(LEVELS, 1.0), RESPONSES, design=design, dose=np.nan, sd=SD)
        plan, rows = prepared(trial)
        assert rows.adjusts
        row = clinical.attenuation_rows(plan, rows, "Glx/tNAA", None)[0]
        contrast = contrasts.primary_row(plan, rows, plan.contrasts[0])
        assert row.change_treated - row.change_reference == pytest.approx(contrast.estimate, rel=1e-6)
        assert row.change_reference == pytest.approx(0.06, abs=0.02)


def test_responses_of_two_groups_against_a_third_share_its_variance():
    """Fieller's limits are the ratios r at which (treated - control) - r (reference - control) is just significant."""
    groups = {"naltrexone": 9, "placebo": 12, "saline": 7}
    arms = [[name] for name, n in groups.items() for _ in range(n)]
    trial = simple_trial.make(arms, LEVELS, RESPONSES, design="parallel", sd=(0.08, 0.03, 0.01), estimand="response",
                              spread={"saline": 2.0})  # fmt: skip
    plan, rows = prepared(trial)
    changes = [rows.sessions.loc[rows.sessions["condition"] == name, "change"] for name in groups]
    mean, square, free = (np.array([f(c) for c in changes]) for f in (np.mean, lambda c: c.var(ddof=1) / len(c), len))

    def parts(ratio):
        return square * np.array([1.0, ratio, ratio - 1]) ** 2

    def beyond(fraction):
        ratio = 1 - fraction
        return abs(mean @ [1.0, -ratio, ratio - 1]) / np.sqrt(parts(ratio).sum()) - stats.t.ppf(0.975, df)

    ratio = (mean[0] - mean[2]) / (mean[1] - mean[2])
    df = parts(ratio).sum() ** 2 / np.sum(parts(ratio) ** 2 / (free - 1))
    row = clinical.attenuation_rows(plan, rows, "Glx/tNAA", "saline")[0]
    assert row.fraction == pytest.approx(1 - ratio, rel=1e-9) and row.df == pytest.approx(df, rel=1e-9)
    limits = [optimize.brentq(beyond, end, row.fraction) for end in (-9, 9)]
    np.testing.assert_allclose([row.ci_low, row.ci_high], limits, rtol=1e-7)


def test_sessions_of_a_single_arm_do_not_count_as_people():
    """Complete: the test of the participants' mean changes, n - 1 degrees of freedom."""
    arms = [["drug"] * 3] * 11
    sd = (0.08, 0.02, 0.02, 0.05)
    trial = simple_trial.make(arms, {"drug": 1.0}, {"drug": 0.02}, design="single_arm", sd=sd)
    plan, rows = prepared(trial)
    row = contrasts.compare(plan, rows, plan.contrasts[0])[0]
    known = stats.ttest_1samp(rows.sessions.groupby("participant")["change"].mean(), 0)
    np.testing.assert_allclose([row.t, row.p, row.df], [known.statistic, known.pvalue, 10], rtol=1e-6)
    assert (row.n_participants, row.n_sessions, row.n_blocks) == (11, 33, 99)
    assert row.d_z == pytest.approx(known.statistic / np.sqrt(11), rel=1e-6)


def test_an_interaction_of_two_factors_is_the_difference_of_differences():
    names = ("ps", "pk", "ns", "nk")
    orders = (names, ("pk", "ns", "nk", "ps"), ("ns", "nk", "ps", "pk"), ("nk", "ps", "pk", "ns"))
    responses = {"ps": 0.0, "pk": 0.06, "ns": 0.01, "nk": 0.04}
    weights = {"nk": 1, "ns": -1, "pk": -1, "ps": 1}
    trial = simple_trial.make(simple_trial.sequences(24, *orders), dict.fromkeys(names, 1.0), responses, sd=SD,
                              contrasts=[{"name": "interaction", "weights": weights}])  # fmt: skip
    plan, rows = prepared(trial)
    found = {row.analysis: row for row in contrasts.compare(plan, rows, plan.contrasts[0])}
    means = rows.sessions.groupby("condition")["change"].mean()
    by_hand = means["nk"] - means["ns"] - means["pk"] + means["ps"]  # balanced over visits
    for name in ("primary", "pair means"):
        assert found[name].estimate == pytest.approx(by_hand, rel=1e-6)
    assert "differences of two conditions" in found["re-randomisation"].remark
    tests = timecourse.course_tests(plan, rows, plan.contrasts[0])
    assert [t.block for t in tests if t.analysis == "block"] == ["infusion1", "infusion2", "infusion3"]


def carrying(after, orders, n=12, seed=4):
    """Make a crossover whose conditions add `after` to the response of the next visit, without any noise in it."""
    arms = simple_trial.sequences(n, *orders)
    trial = simple_trial.make(arms, dict.fromkeys("abc", 1.0), {"a": 0.06, "b": 0.04, "c": 0.05}, seed=seed,
                              sd=(0.08, 0.02, 0.002))  # fmt: skip
    previous = trial.blocks.groupby("key").first().groupby("participant")["condition"].shift()
    added = trial.blocks["key"].map(previous).map(after).fillna(0.0)
    return replace(trial, blocks=trial.blocks.assign(**{
        "Glx/tNAA": trial.blocks["Glx/tNAA"] + added * (trial.blocks["phase"] != "baseline")}))  # fmt: skip


WILLIAMS = (*(tuple(o) for o in ("abc", "bca", "cab", "cba", "acb", "bac")),)


def test_carry_over_of_a_williams_design_is_found_and_taken_out():
    trial = carrying({"a": 0.0, "b": -0.02, "c": 0.01}, WILLIAMS)
    plan, rows = prepared(trial)
    found = {row.contrast if row.analysis == "carry-over" else row.analysis: row
             for row in carry_over.carry_over_rows(plan, rows)}  # fmt: skip
    for name, known in (("after b - after a", -0.02), ("after c - after a", 0.01), ("adjusted for carry-over", -0.02)):
        assert found[name].ci_low < known < found[name].ci_high and found[name].se < 0.002, name
    own = replace(plan, carry_over=True)
    assert contrasts.primary_row(own, rows, plan.contrasts[0]).estimate == pytest.approx(
        found["adjusted for carry-over"].estimate, rel=1e-9
    )


def test_a_lost_scan_still_carries_its_drug_over_and_a_session_that_no_table_has_is_not_guessed():
    trial = carrying({"a": 0.0, "b": -0.02, "c": 0.0}, WILLIAMS)
    lost = trial.blocks["key"] == "sub-001_ses-1"  # condition b
    rows = outcomes.prepare(trial.leave_out(lost), "Glx/tNAA")
    second = rows.sessions[(rows.sessions["participant"] == "001") & (rows.sessions["visit"] == 2)]
    assert second["after b"].tolist() == [1.0]
    trial = replace(trial, sessions=trial.sessions[trial.sessions["key"] != "sub-001_ses-1"])
    plan, rows = prepared(replace(trial, blocks=trial.blocks[~lost].reset_index(drop=True)))
    with pytest.raises(InputError, match="the visit before visit 2 of participant 001 is not in the sessions table"):
        contrasts.primary_row(replace(plan, carry_over=True), rows, plan.contrasts[0])


def test_a_replicate_crossover_is_tested_on_the_means_of_each_condition():
    """ABBA and BAAB: participants' differences of means, those of the two sequences with a mean of their own."""
    arms = simple_trial.sequences(10, "abba", "baab")
    trial = simple_trial.make(
        arms, {"a": 1.0, "b": 1.0}, {"a": 0.06, "b": 0.03}, sd=(0.08, 0.03, 0.02, 0.05), replicates=True
    )
    person = np.random.default_rng(6).normal(0, 0.03, 10)  # participants differ in their response to b
    here = (trial.blocks["phase"] != "baseline") & (trial.blocks["condition"] == "b")
    values = trial.blocks["Glx/tNAA"] + here * person[trial.blocks["participant"].astype(int)]
    plan, rows = prepared(replace(trial, blocks=trial.blocks.assign(**{"Glx/tNAA": values})))
    means = rows.sessions.pivot_table(index="participant", columns="condition", values="change")
    difference = (means["b"] - means["a"]).to_numpy()
    first, second = difference[::2], difference[1::2]
    known = stats.ttest_ind(first, -second)  # their sum over its standard error: t of the mean of both
    found = {row.analysis: row for row in contrasts.compare(plan, rows, plan.contrasts[0])}
    for name in ("primary", "pair means"):
        row = found[name]
        np.testing.assert_allclose([row.t, row.p, row.df], [known.statistic, known.pvalue, 8], rtol=1e-5, err_msg=name)
    assert "(1|participant:condition)" in found["primary"].model
    assert np.isfinite(found["re-randomisation"].p)


def test_pair_means_of_an_incomplete_crossover_are_least_squares_with_participants():
    arms = simple_trial.sequences(18, *(tuple(o) for o in ("ab", "ba", "bc", "cb", "ac", "ca")))
    plan, rows = prepared(simple_trial.make(arms, dict.fromkeys("abc", 1.0), {"a": 0.0, "b": 0.02, "c": 0.05}))
    found = {row.analysis: row for row in contrasts.compare(plan, rows, plan.contrasts[1])}
    sessions = rows.sessions
    x = [sessions["participant"] == p for p in sorted(set(sessions["participant"]))]
    x += [sessions["condition"] == "b", sessions["condition"] == "c", sessions["visit"] == 2]
    beta = np.linalg.lstsq(np.column_stack(x).astype(float), sessions["change"], rcond=None)[0]
    assert found["pair means"].estimate == pytest.approx(beta[-2], rel=1e-9)
    assert found["pair means"].n_participants == 18 and "incomplete" in found["pair means"].remark
    tests = timecourse.course_tests(plan, rows, plan.contrasts[1])
    assert {t.n_participants for t in tests if t.analysis == "block"} == {6}


@pytest.mark.parametrize("design", ["single_arm", "parallel", "crossover"])
def test_moderators_of_mood_are_differences_of_differences(design):
    """Complete data: t-tests of participants' changes (single arm), Welch's sum over cells, or of their differences."""
    names = ["drug"] if design == "single_arm" else ["placebo", "drug"]
    orders = [names, names[::-1]] if design == "crossover" else [[name] for name in names]
    n, rng = 24, np.random.default_rng(11)
    sex = ["FM"[(i // 2) % 2] for i in range(n)]
    trial = simple_trial.make(simple_trial.sequences(n, *orders), dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.0),
                              design=design, extra={"sex": sex}, moderators=["sex"], mood_scale="madrs")  # fmt: skip
    sessions = trial.sessions.assign(madrs_pre=30.0, madrs_day1=rng.normal(20, 4, len(trial.sessions)))
    plan, mood = plan_of(trial.config), clinical.mood_rows(trial.config, sessions)
    mood = replace(mood, adjusts=False)  # the scores before are all the same
    row = moderators.moderator_rows(plan, mood, ["sex"])[0]
    wide = mood.sessions.assign(sex=mood.sessions["sex"].astype(str))
    men = np.array(sex) == "M"
    if design == "single_arm":
        y = wide.sort_values("participant")["y"].to_numpy()
        known = stats.ttest_ind(y[men], y[~men])
    elif design == "crossover":
        y = wide.pivot(index="participant", columns="condition", values="y")
        y = (y["drug"] - y["placebo"]).to_numpy()
        first = np.arange(n) % 2 == 0
        x = np.column_stack([np.ones(n), men, first]).astype(float)
        beta, rss = np.linalg.lstsq(x, y, rcond=None)[:2]
        se = np.sqrt(rss[0] / (n - 3) * np.linalg.inv(x.T @ x)[1, 1])
        np.testing.assert_allclose([row.estimate, row.se, row.df], [beta[1], se, n - 3], rtol=1e-6)
        return
    else:
        cells = {key: own["y"].to_numpy() for key, own in wide.groupby(["condition", "sex"])}
        pooled = {c: (cells[(c, "F")].var(ddof=1) + cells[(c, "M")].var(ddof=1)) / 2 for c in names}  # six in each
        estimate = sum(
            s * w * cells[(c, k)].mean() for c, s in (("drug", 1), ("placebo", -1)) for k, w in (("M", 1), ("F", -1))
        )
        v = np.array([pooled[c] * 2 / 6 for c in names])
        known_df = v.sum() ** 2 / (v**2 / 10).sum()
        np.testing.assert_allclose([row.estimate, row.se, row.df], [estimate, np.sqrt(v.sum()), known_df], rtol=1e-9)
        return
    np.testing.assert_allclose([row.t, row.p, row.df], [known.statistic, known.pvalue, n - 2], rtol=1e-9)


@pytest.mark.parametrize("spread", [(2.0, 1.0), (1.0, 2.0)])
def test_error_of_groups_of_unequal_size_and_variance(spread):
    """8 : 24 with a covariate; 99.9 % of binomial counts of 600 at 5 % are below 49."""
    rng, wrong = np.random.default_rng(8), 0
    groups = np.array(["a"] * 8 + ["b"] * 24)
    for _ in range(600):
        x = np.column_stack([groups == "a", groups == "b", rng.normal(size=32)]).astype(float)
        y = rng.normal(size=32) * np.where(groups == "a", *spread)
        wrong += session_models.unequal_variances(x, y, groups, [-1, 1, 0]).p < 0.05
    assert 12 <= wrong <= 48
