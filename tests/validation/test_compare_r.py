"""Our models beside R's on a simulated study; skipped with the reason where R or a package is missing."""

import pytest
from fitted_trial import write

from mrsflow import config as study_config
from mrsflow.errors import InputError
from mrsflow.statistics import compare_r, group

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
