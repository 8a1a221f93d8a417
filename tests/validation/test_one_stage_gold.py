"""Participants of several trials in one model beside R's lmerTest, pbkrtest and nlme, and beside the two-stage mean."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simple_trial

from mrsflow.errors import InputError
from mrsflow.models import meta, two_level
from mrsflow.pooling import one_stage
from mrsflow.statistics import sites
from mrsflow.statistics.outcomes import Rows
from mrsflow.statistics.plan import plan_of

FOLDER = Path(__file__).parent / "meta"
GOLD = json.loads((FOLDER / "one_stage.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FOLDER / "sessions.tsv", sep="\t")


def same_test(found, known):
    assert abs(found.estimate - known["estimate"]) < 1e-6 * known["se"]
    np.testing.assert_allclose([found.se, found.t, found.df], [known["se"], known["t"], known["df"]], rtol=2e-6)
    assert abs(found.p - known["p"]) < 1e-6


def test_effect_and_variances_equal_lmer(rows):
    found = one_stage.fit(rows, own=False)
    same_test(found.test("effect", 0.95), GOLD["effect"])
    names = {"trial": "trial", "trial:arm": "trial x condition", "participant": "participant", "Residual": "error"}
    variances = dict(zip(found.fit.groups, found.fit.variances, strict=True))
    for theirs, ours in names.items():
        assert variances[ours] == pytest.approx(GOLD["variances"][theirs], rel=2e-5), theirs


def test_cohorts_and_their_interaction_equal_lmer(rows):
    found = one_stage.fit(rows, cohorts=True, own=False)
    for ours, theirs in (("cohort MDD", "MDD"), ("cohort MDD with AUD", "AUD"), ("MDD with AUD - MDD", "difference")):
        same_test(found.test(ours, 0.95), GOLD[theirs])


def test_a_covariate_within_and_between_trials_equals_lmer(rows):
    found = one_stage.fit(rows, covariates=["age"], own=False)
    same_test(found.test("age within trials", 0.95), GOLD["within"])
    same_test(found.test("age between trials", 0.95), GOLD["between"])


def test_errors_of_each_trial_equal_nlme(rows):
    """nlme has one variance of participants; the errors are those of each trial."""
    kernels = one_stage._kernels(rows, list("ABCDE"), own=True)
    people = sum(kernel for name, kernel in kernels.items() if name.startswith("participants"))
    kernels = {n: k for n, k in kernels.items() if not n.startswith("participants")} | {"participant": people}
    columns = one_stage._columns(rows, False, [])
    found = two_level.fit_kernels(np.column_stack(list(columns.values())), rows["value"], kernels, tuple(columns))
    known = GOLD["own_errors"]
    at = list(columns).index("effect")
    assert found.beta[at] == pytest.approx(known["estimate"], abs=1e-6 * known["se"])
    assert np.sqrt(found.covariance[at, at]) == pytest.approx(known["se"], rel=1e-5)
    assert float(found.loglik) == pytest.approx(known["loglik"], abs=1e-6)


def test_participants_and_errors_of_each_trial_equal_nlme(rows):
    """The model that is used: variances of participants and of errors for each trial."""
    found = one_stage.fit(rows)
    known = GOLD["own_people"]
    test = found.test("effect", 0.95)
    assert test.estimate == pytest.approx(known["estimate"], abs=1e-6 * known["se"])
    assert float(found.fit.loglik) == pytest.approx(known["loglik"], abs=1e-6)
    at = list(found.fit.names).index("effect")
    assert np.sqrt(found.fit.covariance[at, at]) == pytest.approx(known["se"], rel=1e-6)
    variances = dict(zip(found.fit.groups, found.fit.variances, strict=True))
    ours = [variances[f"participants of {trial}"] for trial in "ABCDE"]
    np.testing.assert_allclose(ours, known["participants"], rtol=1e-4)  # flat there: nlme's digits


def test_levels_harmonised_between_sites_equal_nlme():
    sessions = pd.read_csv(FOLDER / "sites.tsv", sep="\t")
    sessions = sessions.assign(participant=[f"{i}" for i in sessions.index], session="1", visit=1, bl=np.nan)
    plan = plan_of(simple_trial.configuration("parallel", "ab", estimand="total", adjust_for=["age"]))
    rows = Rows(sessions, sessions, 0, 1.0, change=False, adjusts=False)
    found, known = sites.harmonised_row(plan, rows, plan.contrasts[0]), GOLD["own_sites"]
    assert found.estimate == pytest.approx(known["estimate"], abs=1e-6 * known["se"])
    assert known["se"] < found.se < 1.05 * known["se"]  # nlme's takes the variances as known
    assert all(f"{name} {value:.2f}" in found.remark for name, value in known["scale"].items())


def balanced(seed, trials=6, people=10, tau=1.0):
    """Crossovers of one size, whose differences have exactly the same spread in each, and trials their own levels."""
    rng = np.random.default_rng(seed)
    found, means = [], []
    for k in range(trials):
        noise = rng.standard_normal(people)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        own, effect = rng.normal(rng.normal(0, 9), 2, people), 2 + tau * rng.standard_normal()
        means.append(effect)
        for i in range(people):
            for treated in (0.0, 1.0):
                found.append({"trial": f"t{k}", "participant": f"{k}-{i}", "visit": 1, "treated": treated,
                              "value": own[i] + treated * (effect + noise[i]), "cohort": None})  # fmt: skip
    return pd.DataFrame(found), np.array(means), np.full(trials, 1 / people)


@pytest.mark.parametrize("seed", [1, 2])
def test_balanced_trials_give_what_two_stages_give(seed):
    rows, means, variances = balanced(seed)
    one = one_stage.fit(rows, own=False).test("effect", 0.95)
    two = meta.fit(means, variances).contrast([1.0], 0.95)
    assert one.estimate == pytest.approx(two.estimate, abs=1e-6)
    assert (one.se, one.df) == pytest.approx((two.se, two.df), rel=1e-5)


def test_what_cannot_be_fitted_says_what_to_do(rows):
    with pytest.raises(InputError, match="two trials or more"):
        one_stage.fit(rows[rows["trial"] == "A"])
    with pytest.raises(InputError, match="B has no cohort"):
        one_stage.fit(rows.assign(cohort=rows["cohort"].where(rows["trial"] != "B")), cohorts=True)
