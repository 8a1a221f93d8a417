"""Mixed models against R (lmerTest, pbkrtest, emmeans) on simulated trials: every number of every model."""

import json

import numpy as np
import pandas as pd
import pytest

from mrsflow.models import session_models
from mrsflow.models.table_models import fit_table

NAMES = ("balanced", "missing", "singular")
MODELS = (
    "glx_ancova", "glx_ancova_participant_only", "glx_ancova_sex", "glx_ancova_time", "glx_phase", "madrs_ancova",
    "madrs_time", "madrs_time_participant_only",
)  # fmt: skip
METHODS = {"satterthwaite": "satterthwaite", "kr": "kenward-roger"}
REFERENCES = {"condition": "placebo"}


@pytest.fixture(scope="module", params=NAMES)
def gold(request, shared):
    folder = shared / "data" / "stats"
    reference = json.loads((folder / f"{request.param}_reference.json").read_text())
    blocks = pd.read_csv(folder / f"{request.param}_blocks.csv")
    sessions = pd.read_csv(folder / f"{request.param}_sessions.csv")
    return reference, with_baseline(blocks, "glx_tnaa"), with_baseline(sessions.assign(phase="baseline"), "madrs_day0")


def with_baseline(table, outcome):
    """The covariates as the README of the gold data defines them."""
    keys = ["participant", "session"]
    bl = table[table["phase"] == "baseline"].groupby(keys)[outcome].mean().rename("bl").reset_index()
    table = table.merge(bl, on=keys)
    mean = bl.groupby("participant")["bl"].mean()
    own = table["participant"].map(mean)
    table = table.assign(bl_dev=table["bl"] - own, bl_mean=own - mean.mean(), period_f=table["period"])
    return table.assign(session_id=table["participant"] + table["session"])


def rows_of(gold, model):
    _, blocks, sessions = gold
    if model.startswith("glx"):
        blocks = blocks.assign(block_f=blocks["block"], session_phase=blocks["session_id"] + blocks["phase"])
        return blocks if model == "glx_phase" else blocks[blocks["phase"] == "infusion"]
    if model == "madrs_ancova":
        return sessions.assign(madrs_change=sessions["madrs_day1"] - sessions["madrs_day0"])
    return pd.concat([sessions.assign(time=t, madrs=sessions[f"madrs_{t}"]) for t in ("day0", "day1")])


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, gold):
    known = gold[0]["models"][request.param]
    return fit_table(rows_of(gold, request.param), known["formula"], REFERENCES), known


def test_likelihood_variances_and_singularity(fitted):
    model, known = fitted
    assert model.fit.converged
    assert abs(model.fit.loglik - known["reml_loglik"]) < 1e-8
    assert bool(model.fit.singular) is known["singular"]
    found = dict(zip(model.fit.groups, model.fit.variances, strict=True)) | {"residual": model.fit.residual_variance}
    for name, value in known["variances"].items():
        assert found[name] == pytest.approx(value, rel=2e-6, abs=1e-12)


def test_fixed_effects_by_both_methods(fitted):
    model, known = fitted
    assert list(model.fit.names) == list(known["fixed"])
    for name, row in known["fixed"].items():
        satterthwaite, kr = model.fit.effect(name, "satterthwaite"), model.fit.effect(name)
        assert abs(kr.estimate - row["estimate"]) < 1e-6 * row["se"]
        assert satterthwaite.se == pytest.approx(row["se"], rel=1e-6)
        assert kr.se == pytest.approx(row["se_kr"], rel=1e-6)
        assert satterthwaite.df == pytest.approx(row["df_satterthwaite"], rel=1e-5)
        assert kr.df == pytest.approx(row["df_kr"], rel=1e-5)
        assert satterthwaite.p == pytest.approx(row["p_satterthwaite"], rel=0, abs=1e-6)
        assert kr.p == pytest.approx(row["p_kr"], rel=0, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_type_3_f_tests(fitted, method):
    model, known = fitted
    for term, row in known["anova_type3"][method].items():
        rows = model.type_3_rows(*term.split(":"))
        f, df1, df2, p = model.fit.f_test(rows, METHODS[method])
        assert df1 == row["num_df"]
        np.testing.assert_allclose([f, df2], [row["F"], row["den_df"]], rtol=1e-5)
        assert p == pytest.approx(row["p"], rel=0, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_estimated_means_and_differences(fitted, method):
    model, known = fitted
    for row in known.get("emmeans", {}).get(method, {}).get("means", []):
        at = {k: v for k, v in row.items() if k in model.design.levels}
        check(model.test(model.mean_weights(**at), METHODS[method]), row, "emmean")
    for row in known.get("emmeans", {}).get(method, {}).get("contrasts", []):
        if set(row) & set(model.design.levels):
            continue  # differences within levels: covered by the interaction's coefficients
        treated, reference = row["contrast"].split(" - ")
        weights = model.mean_weights(condition=treated) - model.mean_weights(condition=reference)
        check(model.test(weights, METHODS[method]), row, "estimate")


def check(test, row, estimate):
    np.testing.assert_allclose(test.estimate, row[estimate], rtol=1e-6)
    np.testing.assert_allclose(test.se, row["SE"], rtol=1e-6)
    np.testing.assert_allclose(test.df, row["df"], rtol=1e-5)
    np.testing.assert_allclose([test.ci_low, test.ci_high], [row["lower.CL"], row["upper.CL"]], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_changes_by_condition_and_their_covariance(gold, method):
    known = gold[0]["models"]["glx_phase"]
    model = fit_table(rows_of(gold, "glx_phase"), known["formula"], REFERENCES)
    conditions = [row["condition"] for row in known["changes"][method]["changes"]]
    weights = np.array(
        [
            model.mean_weights(condition=c, phase="infusion") - model.mean_weights(condition=c, phase="baseline")
            for c in conditions
        ]
    )
    for w, row in zip(weights, known["changes"][method]["changes"], strict=True):
        check(model.test(w, METHODS[method]), row, "estimate")
    covariance = model.fit.covariance if method == "satterthwaite" else model.fit.covariance_kr
    np.testing.assert_allclose(weights @ covariance @ weights.T, known["changes"][method]["vcov"], atol=1e-10)


@pytest.mark.parametrize(
    ("analysis", "y", "baseline"), [("crossover_t", "change", False), ("crossover_ancova", "y", True)]
)
def test_crossover_analyses_of_session_means(gold, analysis, y, baseline):
    known = gold[0]["session_summary"]
    weights = {"naltrexone": 1.0, "placebo": -1.0}
    fit = session_models.crossover(
        session_means(gold[1]), ("placebo", "naltrexone"), weights, y, ["bl"] if baseline else []
    )
    row = known[analysis]
    assert fit.n_participants == known["n_pairs"]
    np.testing.assert_allclose(
        [fit.test.estimate, fit.test.t, fit.test.df, fit.test.p, fit.test.ci_low, fit.test.ci_high],
        [row[k] for k in ("estimate", "t", "df", "p", "ci_low", "ci_high")],
        rtol=1e-8,
    )


def session_means(blocks):
    blocks = blocks[blocks.groupby("participant")["session"].transform("nunique") == 2]
    keys = ["participant", "session", "condition", "period"]
    wide = blocks.pivot_table(index=keys, columns="phase", values="glx_tnaa").reset_index()
    return wide.rename(columns={"infusion": "y", "baseline": "bl", "period": "visit"}).assign(
        change=wide["infusion"] - wide["baseline"]
    )


def test_one_model_by_hand_as_a_user_would(gold, tmp_path):
    from fit_mixed_model import main

    table = tmp_path / "table.csv"
    gold[1].drop(columns=["period_f", "session_id"]).to_csv(table, index=False)
    main(
        table,
        "glx_tnaa ~ condition + block + period + bl_dev + bl_mean + (1|participant) + (1|participant:session)",
        tmp_path / "out.json",
        where="phase == 'infusion'",
        reference={"condition": "placebo", "block": "5", "period": "1"},
    )
    found, known = json.loads((tmp_path / "out.json").read_text()), gold[0]["models"]["glx_ancova"]
    assert abs(found["loglik"] - known["reml_loglik"]) < 1e-8
    assert found["singular"] is known["singular"]
    session = known["variances"]["session_id"]
    assert found["variances"]["participant:session"] == pytest.approx(session, rel=2e-6, abs=1e-12)
    for name, row in known["fixed"].items():
        mine = found["fixed"][name.replace("_f", "")]
        assert abs(mine["estimate"] - row["estimate"]) < 1e-6 * row["se"]
        for key in ("se", "se_kr", "p_satterthwaite", "p_kr"):
            assert mine[key] == pytest.approx(row[key], rel=1e-6, abs=1e-6 if key[0] == "p" else 0)
        for key in ("df_satterthwaite", "df_kr"):
            assert mine[key] == pytest.approx(row[key], rel=1e-5)
