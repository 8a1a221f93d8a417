"""What the page of a study shows beside R's answer to its data and design; skipped where R or a package is missing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fitted_trial import run, write
from recorded_trial import PAIR, trial_of

import compare_with_r
from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.models import compare_r
from mrsflow.statistics import clinical, contrasts, group, outcomes
from mrsflow.statistics.plan import plan_of

LIMITS = {"df": 1e-5}  # everything else 1e-6
CODES = ("1e3", "1000", "007", "7", "101", "0101", "1E3", "07")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A small crossover with odd codes, covariates, carry-over and a lost session; and its table of differences."""
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("r")
    settings = {"adjust_for": ["age"], "carry_over": True, "moderators": ["sex", "occupancy"], "secondary": ["tCho"]}
    made = write(folder, n=8, codes=CODES, group=settings)
    record = made.output / "status" / "fit" / "sub-7_ses-2.json"
    record.write_text(record.read_text().replace('"status": "ok"', '"status": "failed"'))
    run(made, status=False)
    compare_with_r.main(str(made.config), folder / "differences.tsv")
    return made, files.read_table(folder / "differences.tsv")


def test_every_row_that_r_is_asked_for_is_that_of_r(compared):
    _, rows = compared
    fitted = rows.dropna(subset=["quantity"])
    kinds = {"primary", "primary (Satterthwaite)", "baseline by arm", "carry-over", "without carry-over",
             "condition x phase, all blocks", "moderator", "subgroup", "secondary", "clinical outcome"}  # fmt: skip
    assert kinds <= set(fitted["analysis"])
    worst = fitted[fitted["difference"] > fitted["quantity"].map(LIMITS).fillna(1e-6)]
    assert worst.empty, worst.to_string()
    assert set(rows.loc[rows["quantity"].isna(), "remark"]) <= {"not fitted in R", "not estimated on the page"}


def test_r_gets_no_formula_and_sees_a_model_that_lacks_a_term(compared, monkeypatch):
    """The row of a model without the visit, as a mistake of ours would make it, is far from R's."""
    made, rows = compared
    monkeypatch.setattr(contrasts, "formula", lambda *a, **k: FORMULA(*a, **k).replace(" + visit", ""))
    run(made, status=False)
    wrong = files.read_table(made.output / "group" / "contrasts.tsv").iloc[0]
    theirs = rows[rows["analysis"] == "primary"].set_index("quantity")["r"]
    found = compare_r.differences([wrong.to_dict()], [theirs.to_dict()])
    assert max(row["difference"] for row in found) > 1e-3


FORMULA = contrasts.formula


def test_a_difference_is_told_in_its_unit():
    row = {"analysis": "primary", "outcome": "y", "contrast": "b - a", "estimate": 2.0, "se": 0.5, "df": 10.0, "t": 4.0,
           "p": 0.01}  # fmt: skip
    theirs = {"estimate": 2.1, "se": 0.4, "df": 8.0, "t": 5.0, "p": 0.03}
    found = {r["quantity"]: r["difference"] for r in compare_r.differences([row], [theirs])}
    assert found == pytest.approx({"estimate": 0.2, "se": 0.25, "df": 0.25, "t": 0.2, "p": 0.02})
    other = [row | {"analysis": "re-randomisation"}, row | {"estimate": np.nan}, row]
    said = [r["remark"] for r in compare_r.differences(other, [None, None, {"reason": "no variance"}])]
    assert said == ["not fitted in R", "not estimated on the page", "R could not: no variance"]


DESIGNS = [
    ("crossover", PAIR, "total", []), ("williams", {"b": 1, "c": -1}, "response", ["site"]),
    ("factorial", {"a": 1, "b": -1, "c": -1, "d": 1}, "adjusted_level", []),
    ("replicate", PAIR, "adjusted_level", ["age"]), ("incomplete", PAIR, "response", []),
    ("parallel", PAIR, "adjusted_level", ["age"]), ("single", None, "response", ["age"]),
    ("visits", PAIR, "adjusted_level", ["age", "site"]), ("visits", PAIR, "response", []),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("table", "weights", "estimand", "adjust_for"), DESIGNS)
def test_every_design_is_that_of_r(table, weights, estimand, adjust_for):
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    trial = trial_of(table, weights, estimand, adjust_for, carry_over=table in ("williams", "replicate"))
    rng, sessions = np.random.default_rng(9), trial.sessions
    before = rng.normal(28, 4, len(sessions)).round()
    sessions = sessions.assign(m_pre=before, m_day1=before - 8 + rng.normal(0, 4, len(sessions)).round())
    sessions.loc[3, "m_day1"] = np.nan
    trial.config["group"]["mood_scale"] = "m"
    blocks = trial.blocks.assign(warned=False, linewidth_hz=5.0, fit_status="ok", reason="", duration_s=480.0)
    trial = replace(trial, sessions=sessions, blocks=blocks)
    plan = plan_of(trial.config)
    tables = group.analyse(trial, plan, outcomes.prepare(trial, "Glx/tNAA"))
    carried = tables["sensitivity"]["analysis"].str.contains("carry-over")
    shown = [*tables["contrasts"].to_dict("records"), *tables["sensitivity"][carried].to_dict("records")]
    weights_of = {contrast.name: contrast.of for contrast in plan.contrasts}
    weights_of |= {clinical.FOLLOWED: {}} if table == "single" else {}
    found = compare_r.answers(trial.config, trial.estimand.kind, weights_of, sessions, blocks, shown)
    rows = pd.DataFrame(compare_r.differences(shown, found))
    assert not rows["remark"].str.contains("R could not").any()
    fitted = rows.dropna(subset=["quantity"])
    assert {"primary", "clinical outcome"} <= set(fitted["analysis"])
    worst = fitted[fitted["difference"] > fitted["quantity"].map(LIMITS).fillna(1e-6)]
    assert worst.empty, worst.to_string()


def test_without_r_the_reason_is_said(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="Rscript is not installed"):
        compare_r.answers({}, "response", {}, pd.DataFrame(), pd.DataFrame(), [])


def test_masked_arms_are_not_compared_here_either(tmp_path):
    made = write(tmp_path, n=2, freeze=False)
    with pytest.raises(InputError, match="masked"):
        compare_with_r.main(str(made.config), tmp_path / "out.tsv")
