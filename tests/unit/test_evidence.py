"""Bounds of equivalence, posteriors and the level of intervals, against other ways to the same numbers."""

import numpy as np
import pytest
import simple_trial
from scipy import integrate, stats

from mrsflow.errors import InputError
from mrsflow.models import estimates
from mrsflow.models.estimates import Estimate
from mrsflow.reporting import group_page
from mrsflow.statistics import clinical, contrasts, evidence, group, outcomes, timecourse
from mrsflow.statistics.plan import plan_of

ARMS = {"a": 1.0, "b": 1.0}


def trial_of(**settings):
    """Parallel trial whose primary is Welch's test of the changes, and those changes in percent of the baseline."""
    settings = {"estimand": "response"} | settings
    trial = simple_trial.make([["a"]] * 14 + [["b"]] * 11, ARMS, {"a": 0.06, "b": 0.05}, design="parallel", **settings)
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    primary = contrasts.compare(plan, rows, plan.contrasts[0], all_analyses=False)[0]
    change = 100 * rows.sessions["change"] / rows.baseline
    arm = rows.sessions["condition"]
    found = evidence.evidence_rows(plan, rows, primary, trial.config["group"])
    return {row.analysis: row for row in found}, change[arm == "a"].to_numpy(), change[arm == "b"].to_numpy()


@pytest.mark.parametrize(("low", "high"), [(-6.0, 5.0), (-3.0, None), (None, 0.5), (-9.0, 9.0)])
def test_bounds_are_those_of_two_welch_tests(low, high):
    found, a, b = trial_of(equivalence={"low": low, "high": high, "alpha": 0.05})
    sides = [(low, "greater"), (high, "less")]
    known = max(
        stats.ttest_ind(b - bound, a, equal_var=False, alternative=side).pvalue
        for bound, side in sides
        if bound is not None
    )
    name = "equivalence" if None not in (low, high) else "non-inferiority"
    row = found[name]
    assert row.p == pytest.approx(known, rel=1e-9)
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.9)
    np.testing.assert_allclose([row.percent_ci_low, row.percent_ci_high], interval, rtol=1e-9)
    assert row.ci_level == pytest.approx(0.9)
    inside = (low is None or interval.low > low) and (high is None or interval.high < high)
    assert inside == (row.p < 0.05) == ("not shown" not in row.remark)
    assert f"{name} {'' if inside else 'not '}shown" in row.remark


def test_posterior_by_integration_over_mean_and_spread():
    """One sample: the normal likelihood of mean and log SD integrated by hand under a normal prior of the mean."""
    y, prior = np.array([0.3, 1.9, 2.4, 0.8, 1.1, -0.6]), (0.0, 0.7)
    known = Estimate(y.mean(), y.std(ddof=1) / np.sqrt(6), 5)
    found = estimates.posterior(known, *prior, 0.9)

    def density(mean):
        given = integrate.quad(lambda s: np.exp(stats.norm.logpdf(y, mean, np.exp(s)).sum()), -4, 5, limit=200)[0]
        return given * stats.norm.pdf(mean, *prior)

    def part(low, high, power=0):
        return integrate.quad(lambda m: m**power * density(m), low, high, limit=200)[0]

    whole = part(-8, 8)
    assert found.mean == pytest.approx(part(-8, 8, 1) / whole, rel=1e-5)
    assert found.mean**2 + found.sd**2 == pytest.approx(part(-8, 8, 2) / whole, rel=1e-5)
    assert part(-8, found.low) / whole == pytest.approx(0.05, abs=1e-5)
    assert part(found.high, 8) / whole == pytest.approx(0.05, abs=1e-5)
    assert part(0, 8) / whole == pytest.approx(found.above, abs=1e-5)


def test_posterior_of_a_known_spread_is_the_weighted_mean():
    found = estimates.posterior(Estimate(1.0, 0.5, 1e9), 0.2, 2.0, 0.95)
    precision = 1 / 0.25 + 1 / 4
    assert found.mean == pytest.approx((1.0 / 0.25 + 0.2 / 4) / precision, rel=1e-6)
    assert found.sd == pytest.approx(precision**-0.5, rel=1e-6)


def test_a_wide_prior_leaves_the_interval_of_the_primary():
    found, a, b = trial_of(prior={"mean": 0, "sd": 1e6}, level=0.8)
    row, known = found[evidence.PRIOR], stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.8)
    np.testing.assert_allclose([row.percent_ci_low, row.percent_ci_high], known, rtol=1e-4)
    assert np.isnan(row.p) and row.df_method == "posterior"
    assert "SD 1e+06 % of the mean baseline" in row.remark


def test_rows_without_a_primary_estimate_say_why():
    trial = simple_trial.make([["a"]] * 3 + [["b"]], ARMS, ARMS, design="parallel", equivalence={"low": -2, "high": 2})
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    primary = contrasts.compare(plan, rows, plan.contrasts[0], all_analyses=False)[0]
    found = evidence.evidence_rows(plan, rows, primary, trial.config["group"])
    assert [row.analysis for row in found] == ["equivalence", evidence.PRIOR]
    assert all("there is no primary estimate" in row.remark and "too few" in row.remark for row in found)


def test_every_interval_has_the_level_of_the_configuration():
    """Half widths at two levels are as the quantiles of Student's t."""
    arms = simple_trial.sequences(12, ["a", "b"], ["b", "a"])
    tables = []
    for level in (0.95, 0.8):
        rng = np.random.default_rng(2)
        extra = {f"madrs_{time}": rng.normal(mean, 4, 12).round() for time, mean in (("pre", 30), ("day1", 20))}
        trial = simple_trial.make(arms, ARMS, {"a": 0.08, "b": 0.03}, extra=extra, mood_scale="madrs", level=level)
        trial.sessions["madrs_day1"] += rng.normal(0, 3, len(trial.sessions)).round()  # equal arms have no fraction
        plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
        found = group.analyse(trial, plan, rows) | {"course": timecourse.course(trial, "Glx/tNAA", 1.0)}
        found["reliability"] = timecourse.reliability_rows(trial, ["Glx/tNAA"])[0]
        found["scores"] = clinical.mood_table(trial.config, trial.sessions, ["madrs_day1"])
        tables.append(found)
    wide, narrow = tables
    for name in ("contrasts", "sensitivity", "link"):
        for (_, one), (_, other) in zip(wide[name].iterrows(), narrow[name].iterrows(), strict=True):
            if not np.isfinite(one["se"] * one["df"]):
                continue
            assert (one["ci_level"], other["ci_level"]) == (0.95, 0.8)
            for row, q in ((one, 0.975), (other, 0.9)):
                half = stats.t.ppf(q, row["df"]) * row["se"]
                limits = [row["estimate"] - half, row["estimate"] + half]
                np.testing.assert_allclose([row["ci_low"], row["ci_high"]], limits, rtol=1e-8)
    sizes = [t["contrasts"].iloc[0][["d_z_low", "d_z", "d_z_high"]].to_numpy(float) for t in tables]
    for (low, _, high), q in zip(sizes, (0.975, 0.9), strict=True):
        row = wide["contrasts"].iloc[0]
        for limit, p in ((low, q), (high, 1 - q)):
            assert stats.nct.cdf(row["t"], row["df"], limit * np.sqrt(12)) == pytest.approx(p, abs=1e-6)
    for name, n in (("course", 12), ("scores", 12)):
        halves = [(t[name]["ci_high"] - t[name]["ci_low"]) / 2 for t in tables]
        known = stats.t.ppf(0.9, n - 1) / stats.t.ppf(0.975, n - 1)
        np.testing.assert_allclose(halves[1] / halves[0], known, rtol=1e-8)
    fractions = [t["attenuation"].dropna(subset=["ci_low"]).to_dict("records") for t in tables]
    assert fractions[0]
    for one, other in zip(*fractions, strict=True):
        assert (one["ci_level"], other["ci_level"]) == (0.95, 0.8)
        assert one["ci_low"] < other["ci_low"] < other["ci_high"] < one["ci_high"]
    assert wide["reliability"]["icc_low"] < narrow["reliability"]["icc_low"] < narrow["reliability"]["icc"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"equivalence": {"low": None, "high": None}}, "neither low nor high"),
        ({"equivalence": {"low": 0, "high": 0}}, "empty between 0 and 0"),
        ({"equivalence": {"low": 2, "high": 4}}, "group.equivalence.low"),
        ({"equivalence": {"low": -2}}, "'high' is a required property"),
        ({"prior": {"sd": 0}}, "group.prior.sd"),
        ({"level": 95}, "group.level"),
        ({"level": 1}, "group.level"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        simple_trial.configuration("parallel", ["a", "b"], **settings)


def test_plan_and_methods_say_them_in_words():
    config = simple_trial.configuration("parallel", ["a", "b"], level=0.9, equivalence={"low": None, "high": 1.5})
    text = " ".join(evidence.in_words(config["group"]))
    assert "level 90 %" in text
    assert "Non-inferiority of the primary contrast: not more than 1.5 % of the mean baseline above 0" in text
    assert "normal prior of the contrast, mean 0, SD 10 %" in text
    config = simple_trial.configuration("parallel", ["a", "b"], prior=None)
    assert evidence.in_words(config["group"]) == ["Intervals have the level 95 %."]


def test_the_page_tells_levels_and_p_values_in_one_way():
    trial = simple_trial.make([["a"]] * 14 + [["b"]] * 11, ARMS, {"a": 0.2, "b": 0.0}, design="parallel",
                              equivalence={"low": -2, "high": 2, "alpha": 0.025}, level=0.9)  # fmt: skip
    plan, rows = plan_of(trial.config), outcomes.prepare(trial, "Glx/tNAA")
    tables = group.analyse(trial, plan, rows)
    headline = dict(group_page._headline(group.headline_of(trial, plan, rows, tables), over_visits=False))
    assert headline["p"].startswith("< 0.001 (Welch")
    assert headline["Equivalence"].startswith("equivalence not shown: between -2 and 2 %")
    estimate, low, high = tables["contrasts"].iloc[0][["estimate", "ci_low", "ci_high"]]
    assert headline["Estimate [90 % interval]"] == f"{estimate:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")
    shown = group_page._results(tables["sensitivity"].dropna(subset=["estimate"]), "sensitivity")
    labels = [column["label"] for column in shown["columns"]]
    by = {row[0]: dict(zip(labels, row, strict=True)) for row in shown["rows"]}
    assert by["primary"]["Estimate"] == f"{estimate:.3f}".replace("-", "−") and by["primary"]["p"] == "< 0.001"
    interval = by["primary"]["Interval"].replace("\N{NO-BREAK SPACE}", " ").replace("−", "-")
    assert interval == f"{low:.3f} to {high:.3f} (90 %)"
    assert by["equivalence"]["Interval"].endswith("(95 %)") and by[evidence.PRIOR]["Interval"].endswith("(90 %)")
    assert by[evidence.PRIOR]["p"] == "n/a" and not by["leave one participant out"]["Interval"].endswith("%)")
