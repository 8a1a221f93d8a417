"""Trials at several sites: enrolment, random sites, and levels of one scale."""

import numpy as np
import pandas as pd
import pytest
import simple_trial
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.statistics import sensitivity, sites
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


def test_a_crossover_has_both_rows_and_a_response_is_not_harmonised():
    trial, plan, rows = crossover()
    found = {row.analysis: row for row in sensitivity.sensitivity_rows(trial, plan, rows, [])}
    primary = sites.random_sites(plan, rows, plan.contrasts[0])
    assert found["site random"].estimate == pytest.approx(primary.estimate)
    assert "3 sites: fewer than 5 say little" in found["site random"].remark
    assert "a response is the change within a session" in found["levels harmonised between sites"].remark


def test_shift_and_scale_of_a_site_are_taken_out():
    _, plan, rows = parallel()
    moved = rows.sessions.assign(y=np.where(rows.sessions["site"] == "B", 3 + 2.5 * rows.sessions["y"],
                                            rows.sessions["y"]))  # fmt: skip
    plain = sites.harmonised(plan, rows, plan.contrasts[0])[0].sessions["y"].to_numpy()
    own = type(rows)(rows.blocks, moved, 0, 1.0, change=False, adjusts=False)
    again, factor = sites.harmonised(plan, own, plan.contrasts[0])
    back = again.sessions["y"].to_numpy()
    np.testing.assert_allclose((back - back.mean()) / back.std(), (plain - plain.mean()) / plain.std(), atol=1e-9)
    assert factor["B"] < factor["A"]


def test_sites_too_small_for_a_scale_are_named():
    _, plan, rows = parallel()
    few = rows.sessions.assign(site=["D"] * 3 + list(rows.sessions["site"])[3:])
    own = type(rows)(rows.blocks, few, 0, 1.0, change=False, adjusts=False)
    with pytest.raises(InputError, match="site D has 1 degrees of freedom within its conditions; its scale needs 4"):
        sites.harmonised(plan, own, plan.contrasts[0])
