"""Rows of results: what completes them, and what they say where there is nothing to show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simple_trial
from scipy import stats

from mrsflow.errors import InputError
from mrsflow.statistics import results
from mrsflow.statistics.outcomes import Rows
from mrsflow.statistics.plan import plan_of
from mrsflow.statistics.results import Attenuation, Result

PLAN = plan_of(simple_trial.configuration("crossover", ["a", "b"], adjust_for=["age", "site"], level=0.9))
ROWS = Rows(pd.DataFrame(), pd.DataFrame(), n_dropped=3, baseline=-0.5, estimand="response")
ROW = Result(analysis="primary", contrast="b - a", estimate=0.2, se=0.1, df=7.0, columns=("bl", "age"), n_missing=2)


def test_a_complete_row_has_its_interval_and_percents_and_counts_what_was_lost():
    row = results.complete_row(replace(ROW, cancelled=("site",)), ROWS, PLAN)
    known = stats.t.interval(0.9, 7, 0.2, 0.1)
    np.testing.assert_allclose([row.ci_low, row.ci_high, row.ci_level], [*known, 0.9], rtol=1e-9)
    percents = [row.percent_of_baseline, row.percent_ci_low, row.percent_ci_high]
    np.testing.assert_allclose(percents, [-40.0, *(-200 * np.array(known))], rtol=1e-9)
    assert (row.n_dropped, row.outcome, row.estimand, row.adjusted_for) == (5, PLAN.outcome, "response", "bl, age")
    assert "not adjusted" not in row.remark
    assert results.complete_row(ROW, ROWS, PLAN).remark == "not adjusted for site"


def test_what_a_row_says_itself_stays():
    own = replace(ROW, ci_low=0.1, ci_high=0.15, outcome="mood", estimand="baseline", remark="why")
    row = results.complete_row(own, ROWS, PLAN)
    assert (row.ci_low, row.ci_high, row.outcome, row.estimand) == (0.1, 0.15, "mood", "baseline")
    assert np.isnan(row.ci_level) and row.remark.startswith("why; not adjusted for site")


@pytest.mark.parametrize("baseline", [0.0, np.nan])
def test_of_a_score_that_is_0_in_everyone_before_there_is_no_percent(baseline):
    row = results.complete_row(ROW, replace(ROWS, baseline=baseline), PLAN)
    assert np.isfinite([row.estimate, row.ci_low]).all()
    assert np.isnan([row.percent_of_baseline, row.percent_ci_low, row.percent_ci_high]).all()


def test_a_row_that_cannot_be_made_says_why_and_keeps_its_name():
    def fails():
        raise InputError("two people are too few")

    failed = Attenuation(outcome="Glx/tNAA", estimand="response", contrast="b - a")
    (row,) = results.estimated(fails, failed)
    assert (row.contrast, row.remark) == ("b - a", "not estimated: two people are too few")
    assert results.estimated(lambda: [ROW, ROW], failed) == [ROW, ROW]
