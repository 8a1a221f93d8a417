"""Trials at several sites: enrolment, random sites, and levels of one scale."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simple_trial
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.statistics import contrasts, sensitivity, sites
from mrsflow.statistics.outcomes import prepare
from mrsflow.statistics.plan import plan_of

SITES = ["A"] * 10 + ["B"] * 10 + ["C"] * 10


def crossover(seed=1, n=30, **group):
    trial = simple_trial.make(simple_trial.sequences(n, "ab", "ba"), {"a": 1.3, "b": 1.3}, {"a": 0.08, "b": 0.04},
                              seed=seed, extra={"site": SITES[:n]}, **group)  # fmt: skip
    return trial, plan_of(trial.config), prepare(trial, "Glx/tNAA")


def parallel(seed=1, **group):
    arms = [["a"], ["b"]] * 15
    trial = simple_trial.make(arms, {"a": 1.3, "b": 1.3}, {"a": 0.0, "b": 0.0}, design="parallel", seed=seed,
                              extra={"site": SITES}, estimand="total", **group)  # fmt: skip
    return trial, plan_of(trial.config), prepare(trial, "Glx/tNAA")


def test_every_session_is_counted_at_its_site():
    trial, _, rows = crossover()
    lost = {"sub-000_ses-1": type("Loss", (), {"stage": "convert", "reason": "empty"})()}
    gone = trial.blocks[trial.blocks["key"] != "sub-000_ses-1"]
    table = sites.site_table(type(trial)(trial.config, trial.sessions, gone, trial.conditions), lost, rows)
    assert table["site"].tolist() == ["A", "B", "C"]
    assert table["n_enrolled"].tolist() == [10, 10, 10] and table["n_sessions"].tolist() == [20, 20, 20]
    assert table["n_converted"].tolist() == [19, 20, 20] and table["n_fitted"].tolist() == [19, 20, 20]
    base = trial.blocks[trial.blocks["phase"] == "baseline"].merge(trial.sessions[["key", "site"]])
    known = base.groupby("site")["Glx/tNAA"].mean()
    np.testing.assert_allclose(table["level"], known)


def test_a_study_without_sites_has_an_empty_table_and_no_rows():
    trial = simple_trial.make(simple_trial.sequences(8, "ab", "ba"), {"a": 1.3, "b": 1.3}, {"a": 0.08, "b": 0.04})
    rows = prepare(trial, "Glx/tNAA")
    assert sites.site_table(trial, {}, rows).empty
    names = [row.analysis for row in sensitivity.sensitivity_rows(trial, plan_of(trial.config), rows, [])]
    assert "site random" not in names and "with site" in names


def test_with_balanced_sites_the_random_effect_is_the_test_of_the_sites_means():
    """Two groups at each of eight sites, as many in each: the paired t of the sites' means, df one less than sites."""
    rng = np.random.default_rng(3)
    _, plan, rows = parallel()
    rows_of = []
    for k in range(8):
        shift, effect = 5 * rng.standard_normal(), 2 + 2 * rng.standard_normal()
        for arm in "ab":
            noise = rng.standard_normal(6)
            for value in (noise - noise.mean()) / noise.std(ddof=1):
                rows_of.append({"participant": f"{len(rows_of)}", "session": "1", "visit": 1, "condition": arm,
                                "site": f"s{k}", "y": shift + (arm == "b") * effect + value, "bl": np.nan})  # fmt: skip
    sessions = pd.DataFrame(rows_of)
    own = type(rows)(rows.blocks, sessions, 0, 1.0, change=False, adjusts=False)
    found = sites.random_sites(plan, own, plan.contrasts[0])
    means = sessions.groupby(["site", "condition"])["y"].mean().unstack()
    known = stats.ttest_rel(means["b"], means["a"])
    assert found.estimate == pytest.approx((means["b"] - means["a"]).mean())
    assert (found.t, found.p) == pytest.approx((known.statistic, known.pvalue), rel=1e-4)
    assert found.df == pytest.approx(7, rel=1e-4)


def test_the_primary_row_says_that_it_knows_no_sites():
    trial, plan, rows = parallel()
    said = "participants of 3 sites, which the model does not know"
    assert said in contrasts.compare(plan, rows, plan.contrasts[0], False)[0].remark
    knows = replace(plan, adjust_for=("site",))
    assert said not in contrasts.compare(knows, rows, plan.contrasts[0], False)[0].remark
    found = {row.analysis: row for row in sensitivity.sensitivity_rows(trial, plan, rows, [])}
    assert "site" in found["with site"].terms and said not in found["with site"].remark
    _, plan, rows = crossover()
    assert sites.unknown_to_model(plan, rows) == ""


def test_a_crossover_has_both_rows_and_a_response_is_not_harmonised():
    trial, plan, rows = crossover()
    found = {row.analysis: row for row in sensitivity.sensitivity_rows(trial, plan, rows, [])}
    primary = sites.random_sites(plan, rows, plan.contrasts[0])
    assert found["site random"].estimate == pytest.approx(primary.estimate)
    assert "3 values of site: fewer than 5 say little" in found["site random"].remark
    assert "a response is the change within a session" in found["levels harmonised between sites"].remark


def scaled(seed, n=24, effect=2.0, slope=0.0):
    """Two groups at three sites, whose levels and SDs differ."""
    rng = np.random.default_rng(seed)
    rows = []
    for site, shift, scale in (("A", 0, 1), ("B", 5, 3), ("C", -4, 0.5)):
        for i in range(n):
            age = rng.normal(40, 10)
            value = shift + effect * (i % 2) + slope * age + scale * rng.standard_normal()
            rows.append({"participant": f"{site}{i}", "session": "1", "visit": 1, "condition": "ab"[i % 2],
                         "site": site, "age": age, "y": value, "bl": np.nan})  # fmt: skip
    return pd.DataFrame(rows)


def rows_like(rows, sessions):
    return type(rows)(rows.blocks, sessions, 0, 1.0, change=False, adjusts=False)


def test_levels_of_sites_are_taken_out_exactly():
    _, plan, rows = parallel(adjust_for=["age"])
    sessions = scaled(3, slope=0.1)
    moved = sessions.assign(y=sessions["y"] + 100 * (sessions["site"] == "B"))
    one, other = (sites.harmonised_row(plan, rows_like(rows, s), plan.contrasts[0]) for s in (sessions, moved))
    assert (one.estimate, one.se, one.df) == pytest.approx((other.estimate, other.se, other.df), rel=1e-6)
    assert one.estimate == pytest.approx(2.0, abs=4 * one.se) and "age" in one.terms


def test_the_scale_of_a_site_costs_degrees_of_freedom():
    """Where sites have one variance the common one would have n - 4; those of each site have fewer."""
    _, plan, rows = parallel()
    found = sites.harmonised_row(plan, rows_like(rows, scaled(4)), plan.contrasts[0])
    assert 20 < found.df < 72 - 4


def test_sites_too_small_for_a_scale_are_named():
    _, plan, rows = parallel()
    with pytest.raises(InputError, match="site A has 8 degrees of freedom within its conditions; its scale needs 10"):
        sites.harmonised_row(plan, rows, plan.contrasts[0])


@pytest.mark.parametrize("column", ["site", "vendor"])
def test_neither_site_nor_vendor_harmonises_a_response(column):
    _, plan, rows = crossover()
    own = rows_like(rows, rows.sessions.assign(vendor=rows.sessions["site"]))
    with pytest.raises(InputError, match="is not harmonised, as that may take away what the drug does there"):
        sites.harmonised_row(plan, type(own)(**{**own.__dict__, "change": True}), plan.contrasts[0])
    assert np.isfinite(sites.random_sites(plan, own, plan.contrasts[0], column).p)


def test_vendor_is_fixed_and_random_where_there_are_several():
    trial, plan, rows = crossover()
    vendor = rows.sessions["site"].map({"A": "GE", "B": "Philips", "C": "Siemens"})
    of = dict(zip(rows.sessions["participant"], vendor, strict=True))
    blocks = rows.blocks.assign(vendor=rows.blocks["participant"].map(of))
    own = type(rows)(**{**rows.__dict__, "blocks": blocks, "sessions": rows.sessions.assign(vendor=vendor)})
    found = {row.analysis: row for row in sensitivity.sensitivity_rows(trial, plan, own, [])}
    assert found["vendor random"].estimate == pytest.approx(found["site random"].estimate)
    assert "vendor" in found["with vendor"].terms and np.isfinite(found["with vendor"].p)


def test_a_site_without_a_condition_is_left_out_of_random_sites_and_named():
    _, plan, rows = parallel()
    sessions = scaled(5)
    sessions = sessions[~((sessions["site"] == "B") & (sessions["condition"] == "a"))]
    found = sites.random_sites(plan, rows_like(rows, sessions), plan.contrasts[0])
    assert "without B, which has not every condition" in found.remark and found.df == pytest.approx(1)
    only = sessions[sessions["site"] != "C"]
    with pytest.raises(InputError, match="1 values of site have every condition of the contrast"):
        sites.random_sites(plan, rows_like(rows, only), plan.contrasts[0])


def test_random_sites_without_differences_between_them_keep_the_level():
    """Sites that scatter as their errors say, or less: the t of their differences, with one df less than sites."""
    _, plan, rows = parallel()
    rng = np.random.default_rng(8)
    for _ in range(20):
        sessions = pd.DataFrame([
            {"participant": f"{k}-{i}", "session": "1", "visit": 1, "condition": "ab"[i % 2], "site": f"s{k}",
             "y": k + rng.standard_normal(), "bl": np.nan}
            for k in range(4) for i in range(6)
        ])  # fmt: skip
        found = sites.random_sites(plan, rows_like(rows, sessions), plan.contrasts[0])
        means = sessions.groupby(["site", "condition"])["y"].mean().unstack()
        assert found.p == pytest.approx(stats.ttest_rel(means["b"], means["a"]).pvalue, rel=1e-3)
