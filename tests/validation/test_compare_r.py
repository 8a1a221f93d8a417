"""Our models beside R's on a simulated study; skipped with the reason where R or a package is missing."""

import numpy as np
import pandas as pd
import pytest
from fitted_trial import write

from mrsflow.errors import InputError
from mrsflow.models import compare_r
from mrsflow.models.table_models import fit_table
from mrsflow.statistics import group
from mrsflow.study import config as study_config

LIMITS = {"loglik": 1e-8, "df_satterthwaite": 1e-5, "df_kr": 1e-5}  # everything else 1e-6


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    made = write(tmp_path_factory.mktemp("r"), n=10)
    return study_config.load(str(made.config))


def test_ours_equal_those_of_r(trial):
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    models = group.models_of(trial)
    rows = compare_r.differences(models, compare_r.fit_in_r(models))
    assert {row["model"] for row in rows} == {"primary", "participant only", "condition x phase", "clinical outcome"}
    for row in rows:
        assert row["difference"] < LIMITS.get(row["quantity"], 1e-6), row


def test_codes_that_look_like_numbers_are_text_in_r_too():
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    table = unbalanced(2, 9, 0.04)
    people = np.array(["1e3", "1000", "007", "7", "101", "0101", "1E3", "+7", "07"])[table["participant"]]
    table = table.assign(participant=people, site=table["site"].map({"a": "01", "b": "1", "c": "1e0"}))
    models = {"codes": fit_table(table, "y ~ condition + site + (1|participant) + (1|participant:session)")}
    for row in compare_r.differences(models, compare_r.fit_in_r(models)):
        assert row["difference"] < LIMITS.get(row["quantity"], 1e-6), row


def unbalanced(seed, n, sd_session):
    """Blocks of a crossover with losses, a covariate per block, three sites and no participant of one site and sex."""
    rng = np.random.default_rng(seed)
    participant, session, block = (a.ravel() for a in np.indices((n, 2, 6)))
    site, sex = np.array(["a", "b", "c"])[participant % 3], np.array(["F", "M"])[participant % 2]
    kept = (rng.random(participant.size) > 0.15) & ~((site == "c") & (sex == "M"))
    y = (
        1.35
        + 0.1 * rng.standard_normal(n)[participant]
        + sd_session * rng.standard_normal((n, 2))[participant, session]
    )
    y += 0.05 * rng.standard_normal(y.size)
    columns = {"participant": participant, "session": session, "block": block, "site": site, "sex": sex, "y": y}
    condition = np.where((participant + session) % 2, "drug", "placebo")
    return pd.DataFrame(columns | {"condition": condition, "line width": rng.normal(7, 1, y.size)})[kept]


@pytest.mark.parametrize("sd_session", [0.04, 0.0])
def test_unbalanced_tables_of_every_kind_equal_those_of_r(sd_session):
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    both = "(1|participant) + (1|participant:session)"
    formulas = (
        f"y ~ condition*block + session + {both}", f"y ~ condition*`line width` + site + {both}",
        f"y ~ condition + site*sex + {both}", "y ~ condition + `line width` + (1|participant)",
        "y ~ condition*sex + (1|participant) + (1|block)", f"y ~ condition*sex*block + {both}",
    )  # fmt: skip
    models = {}
    for seed, text in enumerate(formulas):
        factors = {"condition": "placebo"} | ({"block": "0"} if "*block" in text else {})
        models[text] = fit_table(unbalanced(seed, 18, sd_session), text, factors, aliased="leave out")
    assert models[formulas[2]].design.left_out == ("sitec:sexM",)
    assert {bool(model.fit.singular) for model in models.values()} == {True, False}
    for row in compare_r.differences(models, compare_r.fit_in_r(models)):
        assert row["difference"] < LIMITS.get(row["quantity"], 1e-6), row


def test_without_r_the_reason_is_said(trial, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="Rscript is not installed"):
        compare_r.fit_in_r(group.models_of(trial))


def test_a_difference_would_be_seen(trial):
    models = {"primary": group.models_of(trial)["primary"]}
    ours = compare_r.describe_fit(models["primary"])
    same = compare_r.differences(models, {"primary": ours})
    assert max(row["difference"] for row in same) == 0
    ours["fixed"]["conditionnaltrexone"]["se_kr"] *= 1 + 1e-4
    worst = max(compare_r.differences(models, {"primary": ours}), key=lambda row: row["difference"])
    assert (worst["effect"], worst["quantity"]) == ("conditionnaltrexone", "se_kr")
    assert worst["difference"] == pytest.approx(1e-4, rel=1e-2)


def test_masked_arms_are_not_compared_here_either(trial):
    with pytest.raises(InputError, match="masked"):
        group.models_of({**trial, "study": {**trial["study"], "freeze": False}})
