"""Repeated clinical scores, responders and remission, against classical tests, naive likelihoods and loops."""

import numpy as np
import pandas as pd
import pytest
import simple_trial
from scipy import optimize, stats

from mrsflow.errors import InputError
from mrsflow.models import mixed, mmrm, proportions
from mrsflow.statistics import clinical_course
from mrsflow.statistics.plan import plan_of
from mrsflow.study import validation

SCALE = {"scale": "q", "followups": ["d1", "d7"], "response": 30, "remission": 12}


def trial_of(design, seed=3, effect=3.0, scale=SCALE, n=24):
    rng = np.random.default_rng(seed)
    orders = [["a", "b"], ["b", "a"]] if design == "crossover" else [["a"], ["b"]]
    orders = orders[:1] if design == "single_arm" else orders
    arms = dict.fromkeys(["a"] if design == "single_arm" else ["a", "b"], 1.0)
    trial = simple_trial.make(simple_trial.sequences(n, *orders), arms, arms, design=design, clinical=[scale])
    sessions = trial.sessions
    person = sessions["participant"].map({p: rng.normal(0, 4) for p in sessions["participant"].unique()})
    shift = person + rng.normal(0, 2, len(sessions)) + effect * (sessions["condition"].astype(str) == "b")
    scores = {"q_pre": 25 + person + rng.normal(0, 2, len(sessions))}
    scores |= {f"q_{t}": 14 + shift + rng.normal(0, s, len(sessions)) for t, s in (("d1", 2), ("d7", 4))}
    return plan_of(trial.config), sessions.assign(**scores), trial.config["group"]["clinical"]


def rows_of(plan, sessions, scales):
    found = clinical_course.clinical_course_rows(plan, sessions, scales)
    return {(row.analysis, row.contrast): row for row in found}


def ancova(y, columns, of=0):
    """Least squares written out: estimate, standard error, degrees of freedom of one column."""
    x = np.column_stack([*columns, np.ones(len(y))]).astype(float)
    beta, rest = np.linalg.lstsq(x, y, rcond=None)[:2]
    df = len(y) - x.shape[1]
    return beta[of], np.sqrt(rest[0] / df * np.linalg.inv(x.T @ x)[of, of]), df


@pytest.mark.parametrize("what", ["at d1", "at d7", "mean"])
def test_complete_parallel_scores_are_an_analysis_of_covariance(what):
    plan, sessions, scales = trial_of("parallel")
    y = {"at d1": sessions["q_d1"], "at d7": sessions["q_d7"], "mean": (sessions["q_d1"] + sessions["q_d7"]) / 2}[what]
    known = ancova((y - sessions["q_pre"]).to_numpy(), [sessions["condition"] == "b", sessions["q_pre"]])
    row = rows_of(plan, sessions, scales)[
        ("clinical course", "b - a, mean of d1, d7" if what == "mean" else f"b - a {what}")
    ]
    np.testing.assert_allclose([row.estimate, row.se, row.df], known, rtol=1e-7)


@pytest.mark.parametrize("time", ["d1", "d7"])
def test_complete_crossover_scores_are_an_analysis_of_the_differences(time):
    plan, sessions, scales = trial_of("crossover")
    wide = sessions.assign(y=sessions[f"q_{time}"] - sessions["q_pre"]).pivot(index="participant", columns="condition")
    order = np.where(wide["visit"]["a"] == 1, 0.5, -0.5)
    columns = [order, wide["q_pre"]["b"] - wide["q_pre"]["a"]]
    known = ancova((wide["y"]["b"] - wide["y"]["a"]).to_numpy(), columns, of=2)
    row = rows_of(plan, sessions, scales)[("clinical course", f"b - a at {time}")]
    np.testing.assert_allclose([row.estimate, row.se, row.df], known, rtol=1e-7)


def test_one_score_before_both_visits_needs_no_deviation():
    plan, sessions, scales = trial_of("crossover")
    sessions["q_pre"] = sessions.groupby("participant")["q_pre"].transform("mean")
    row = rows_of(plan, sessions, scales)[("clinical course", "b - a at d7")]
    wide = sessions.pivot(index="participant", columns="condition")
    order = np.where(wide["visit"]["a"] == 1, 0.5, -0.5)
    known = ancova((wide["q_d7"]["b"] - wide["q_d7"]["a"]).to_numpy(), [order], of=1)
    np.testing.assert_allclose([row.estimate, row.se, row.df], known, rtol=1e-6)


def gaps(n, times, seed, part=0.2):
    rng = np.random.default_rng(seed)
    person, time = np.repeat(np.arange(n), times), np.tile(np.arange(times), n)
    arm = (person % 2).astype(float)
    scores = rng.multivariate_normal(np.zeros(times), np.diag(1.0 + np.arange(times)) + 0.8, n)
    kept = rng.random(len(person)) > part
    x = np.column_stack([time == t for t in range(times)] + [(time == t) * arm for t in range(times)]).astype(float)
    return x[kept], scores[person, time][kept], person[kept], time[kept]


def test_compound_covariance_is_the_mixed_model_that_r_has_confirmed():
    x, y, person, time = gaps(20, 3, 1)
    w = np.array([0, 0, 0, 1, 1, 1]) / 3
    found = mmrm.fit(x, y, person, time, mmrm.matrices("compound", 3, 1)).contrast(w)
    known = mixed.fit(x, y, {"person": person}).contrast(w)
    for name in ("estimate", "se", "df", "p"):
        assert getattr(found, name) == pytest.approx(float(getattr(known, name)), rel=1e-7), name


def test_kenward_and_roger_with_gaps_by_dense_matrices():
    """All formulas of the paper with the covariance of every value, and REML by a search."""
    x, y, person, time = gaps(16, 2, 4)
    found = mmrm.fit(x, y, person, time, mmrm.matrices("unstructured", 2, 1))
    same = (person[:, None] == person).astype(float)

    def covariance(theta):
        a, b, c = theta
        return same * np.array([[a, b], [b, c]])[np.ix_(time, time)]

    def deviance(theta):
        v = covariance(theta)
        if np.linalg.eigvalsh(v)[0] <= 0:
            return np.inf
        xvx = x.T @ np.linalg.solve(v, x)
        rest = y - x @ np.linalg.solve(xvx, x.T @ np.linalg.solve(v, y))
        return np.linalg.slogdet(v)[1] + np.linalg.slogdet(xvx)[1] + rest @ np.linalg.solve(v, rest)

    best = optimize.minimize(deviance, [1.5, 0.5, 2.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    theta = np.array([found.value_covariance[i, j] for i, j in ((0, 0), (0, 1), (1, 1))])
    np.testing.assert_allclose(theta, best.x, rtol=1e-5)
    v = np.linalg.inv(covariance(theta))
    g = [covariance(row) for row in np.eye(3)]
    phi = np.linalg.inv(x.T @ v @ x)
    p = [-x.T @ v @ one @ v @ x for one in g]
    q = [[x.T @ v @ one @ v @ other @ v @ x for other in g] for one in g]
    project = v - v @ x @ phi @ x.T @ v
    information = np.array([[np.trace(project @ one @ project @ other) / 2 for other in g] for one in g])
    w = np.linalg.inv(information)
    inner = sum(w[i, j] * (q[i][j] - p[i] @ phi @ p[j]) for i in range(3) for j in range(3))
    adjusted = phi + 2 * phi @ inner @ phi
    weights = np.array([0.0, 0.0, 0.0, 1.0])
    share = np.outer(weights, weights) / (weights @ phi @ weights)
    a2 = sum(
        w[i, j] * np.trace(share @ phi @ p[i] @ phi @ share @ phi @ p[j] @ phi) for i in range(3) for j in range(3)
    )
    test = found.contrast(weights)
    assert test.se == pytest.approx(np.sqrt(weights @ adjusted @ weights), rel=1e-8)
    assert test.df == pytest.approx(2 / a2, rel=1e-8)


def test_the_likelihood_is_at_its_maximum_where_scoring_alone_swings_about_it():
    rng = np.random.default_rng(5)
    person, time = np.repeat(np.arange(24), 3), np.tile(np.arange(3), 24)
    x = np.column_stack([time == t for t in range(3)] + [(time == t) * (person % 2) for t in range(3)]).astype(float)
    covariance = np.array([[1.0, 0.6, 0.4], [0.6, 1.5, 0.8], [0.4, 0.8, 2.0]])
    for _ in range(511):
        y = rng.multivariate_normal(np.zeros(3), covariance, 24)[person, time]
        kept = rng.random(len(y)) > np.array([0.1, 0.2, 0.3])[time]
    g = mmrm.matrices("unstructured", 3, 1)
    found = mmrm.fit(x[kept], y[kept], person[kept], time[kept], g)
    patterns = mmrm.arrange(x[kept], y[kept], person[kept], time[kept], g)
    for step in [*np.eye(6), *-np.eye(6)]:
        assert mmrm.evaluate(patterns, found.theta + 1e-3 * step).loglik < found.loglik
    assert np.abs(mmrm.evaluate(patterns, found.theta).gradient).max() < 1e-7


def test_few_participants_are_told_to_take_a_simpler_covariance():
    plan, sessions, scales = trial_of("parallel", scale=SCALE | {"followups": ["d1", "d7"]}, n=4)
    sessions.loc[[0, 1], "q_d7"] = np.nan
    row = rows_of(plan, sessions, scales)[("clinical course", "b - a")]
    assert "not estimated" in row.remark and "covariance: compound" in row.remark


def naive_limits(loglik, ends, statistic, value, level):
    """Limits of a score test whose nuisance proportion is found by search."""

    def score(d):
        low, high = ends(d)
        best = optimize.minimize_scalar(
            lambda q: -loglik(q, d), bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-13}
        )
        return statistic(best.x, d)

    k = stats.norm.ppf(0.5 + level / 2)
    return (
        optimize.brentq(lambda d: score(d) - k, -0.999, value - 1e-9),
        optimize.brentq(lambda d: score(d) + k, value + 1e-9, 0.999),
    )


@pytest.mark.parametrize(("x", "n", "y", "m"), [(9, 10, 3, 10), (7, 34, 1, 34), (2, 12, 9, 20)])
def test_independent_risks_by_a_search_for_the_likeliest_proportions(x, n, y, m):
    def loglik(q, d):
        return x * np.log(q + d) + (n - x) * np.log(1 - q - d) + y * np.log(q) + (m - y) * np.log(1 - q)

    def statistic(q, d):
        variance = ((q + d) * (1 - q - d) / n + q * (1 - q) / m) * (n + m) / (n + m - 1)
        return (x / n - y / m - d) / np.sqrt(variance)

    found = proportions.independent(x, n, y, m, 0.9)
    known = naive_limits(loglik, lambda d: (max(0, -d), min(1, 1 - d)), statistic, x / n - y / m, 0.9)
    np.testing.assert_allclose([found.low, found.high], known, atol=1e-7)
    chi2 = stats.chi2_contingency([[x, n - x], [y, m - y]], correction=False).statistic * (n + m - 1) / (n + m)
    assert found.p == pytest.approx(stats.chi2.sf(chi2, 1), rel=1e-9)


def test_published_interval_of_independent_risks():
    """56 of 70 against 48 of 80: Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873, Miettinen-Nurminen."""
    found = proportions.independent(56, 70, 48, 80, 0.95)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0528, 0.3382)


@pytest.mark.parametrize(("b", "c", "n"), [(8, 2, 30), (5, 1, 20), (3, 9, 26)])
def test_paired_risks_by_a_search_for_the_likeliest_proportions(b, c, n):
    def loglik(q, d):
        return b * np.log(q + d) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - d)

    def statistic(q, d):
        return (b - c - n * d) / np.sqrt(n * (2 * q + d - d * d))

    found = proportions.paired(b, c, n, 0.95)
    known = naive_limits(loglik, lambda d: (max(0, -d), (1 - d) / 2), statistic, (b - c) / n, 0.95)
    np.testing.assert_allclose([found.low, found.high], known, atol=1e-7)
    assert found.p == pytest.approx(stats.chi2.sf((b - c) ** 2 / (b + c), 1), rel=1e-9)


@pytest.mark.parametrize("counts", [(0, 10, 0, 12), (10, 10, 12, 12), (10, 10, 0, 12), (0, 10, 12, 12)])
def test_risks_at_their_ends_have_intervals(counts):
    found = proportions.independent(*counts, 0.95)
    assert -1 <= found.low <= found.value <= found.high <= 1 and 0.1 < found.high - found.low < 1
    assert (found.low <= 0 <= found.high) == (found.p > 0.05)


@pytest.mark.parametrize(
    ("kind", "better"), [("responders", "lower"), ("remission", "lower"), ("responders", "higher")]
)
def test_events_are_counted_by_hand(kind, better):
    plan, sessions, scales = trial_of("crossover", scale=SCALE | {"better": better, "response": 10})
    sessions.loc[2, "q_d1"] = np.nan
    row = rows_of(plan, sessions, scales)[(kind, "b - a at d1")]
    score, bl = sessions["q_d1"], sessions["q_pre"]
    event = score <= 12 if kind == "remission" else (score <= 0.9 * bl if better == "lower" else score >= 1.1 * bl)
    both = sessions[score.notna()].groupby("participant")["condition"].nunique()
    used = sessions["participant"].isin(both.index[both == 2])
    treated, reference = ((sessions["condition"] == c) & used for c in "ba")
    assert row.n_participants == 23 and row.n_sessions == 46 and row.n_dropped == 2
    assert row.estimate == pytest.approx(event[treated].mean() - event[reference].mean())
    assert f"{event[treated].sum()} of 23 under b, {event[reference].sum()} of 23 under a" in row.remark
    assert "1 participant(s) without both conditions left out" in row.remark


def test_all_rows_are_one_family_and_single_arms_compare_nothing():
    plan, sessions, scales = trial_of("parallel")
    found = clinical_course.clinical_course_rows(plan, sessions, scales)
    p = np.array([row.p for row in found])
    order, worst = np.argsort(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, p[i] * (len(p) - rank)))
        assert found[i].p_adjusted == pytest.approx(worst)
    plan, sessions, scales = trial_of("single_arm")
    rows = rows_of(plan, sessions, scales)
    change = (sessions["q_d7"] - sessions["q_pre"]).to_numpy()
    own = rows[("clinical course", "follow-up - pre at d7")]
    assert own.estimate == pytest.approx(change.mean(), rel=1e-9)
    risk = rows[("remission", "risk at d7")]
    known = stats.binomtest(int((sessions["q_d7"] <= 12).sum()), 24).proportion_ci(method="wilson")
    np.testing.assert_allclose([risk.ci_low, risk.ci_high], known, rtol=1e-9)
    assert np.isnan(risk.p)


def test_scores_that_are_not_there_are_named_before_any_job():
    config = simple_trial.configuration("parallel", ["a", "b"], clinical=[SCALE, {"scale": "r", "followups": ["pre"]}])
    table = pd.DataFrame(columns=["participant", "q_pre", "q_d1"])
    said = list(validation.missing_followups(config["group"], table, "sessions.tsv"))
    assert any("'q_d7'" in text and "it has q_d1, q_pre" in text for text in said)
    assert any("r has 'pre' as baseline and as follow-up" in text for text in said)
    assert any("it has no scores r_" in text for text in said)
    cells = {"participant": ["1", "2"], "line": ["sessions.tsv, line 2", "sessions.tsv, line 3"], "q_pre": ["20", "20"]}
    table = pd.DataFrame(cells | {"q_d1": ["12", "twelve"], "q_d7": [None, None], "r_pre": ["1", "inf"]})
    said = [text for text in validation.missing_followups(config["group"], table, "sessions.tsv") if "finite" in text]
    assert said[0].startswith("sessions.tsv, line 3: q_d1 is 'twelve'; a finite number")
    assert "r_pre is 'inf'" in said[1] and len(said) == 3  # r_pre is baseline and follow-up
    with pytest.raises(InputError, match=r"group\.clinical\.0\.followups"):
        simple_trial.configuration("parallel", ["a", "b"], clinical=[{"scale": "q", "followups": []}])
