"""Terms of the sessions' fits as outcomes of the group stage: against models of the terms done by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from fitted_trial import read, row_of, run, table, write

from mrsflow.errors import InputError
from mrsflow.models import two_level
from mrsflow.statistics import group
from mrsflow.study import config as study_config
from mrsflow.study.regressors import split_outcome

COLUMNS = (
    "session", "metabolite", "term", "estimate", "sd", "correlation", "per_tcr", "per_tcr_sd", "per_tcr_correlation",
    "per_tnaa", "per_tnaa_sd", "per_tnaa_correlation",
)  # fmt: skip
DYNAMIC = {"fit": {"model": "dynamic"}}


def add_terms(made, equal=False, seed=7):
    """Write the terms of every session: a level and a response of Glx, Glu and tNAA, areas, and their errors."""
    rng, found = np.random.default_rng(seed), []
    for key, values in made.values.items():
        participant, session = key.removeprefix("sub-").split("_ses-")
        level, change = float(values[0]), float(values[1:].mean() - values[0])
        sd, level_sd, r = 0.02 * (1.0 if equal else np.exp(0.6 * rng.normal())), 0.015, -0.4
        rows = []
        for metabolite, size in (("Glx", 1.0), ("Glu", 0.8), ("tNAA", 0.7)):
            for term, value, own, shared in (
                ("constant", level, level_sd, 1.0), ("infusion", change, sd, r), ("baseline", level, level_sd, 1.0),
                ("auc", 40 * change, 40 * sd, r),
            ):  # fmt: skip
                measures = (size * value, size * own, shared)
                rows.append((key, metabolite, term, *measures, *measures, *measures))
        folder = made.output / "derivatives" / "mrsflow" / f"sub-{participant}" / f"ses-{session}" / "mrs"
        table(folder / f"{key}_desc-blocks_terms.tsv", COLUMNS, rows)
        record = made.output / "status" / "fit" / f"{key}.json"
        content = json.loads(record.read_text())
        name = (folder / f"{key}_desc-blocks_terms.tsv").relative_to(made.output)
        content["outputs"][str(name)] = "0"
        record.write_text(json.dumps(content))
        found.append((int(participant) - 1, int(session), level, change, sd, level_sd, r))
    columns = ["participant", "visit", "level", "change", "sd", "level_sd", "r"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.assign(treated=(frame["participant"] + frame["visit"] - 1) % 2)


def settings(made, fit=DYNAMIC, **own):
    """Change section group of the configuration, and section fit."""
    content = yaml.safe_load(made.config.read_text())
    content["group"] |= own
    made.config.write_text(yaml.safe_dump(content | fit))


def design_of(terms, *columns):
    return np.column_stack([np.ones(len(terms)), terms["treated"], terms["visit"] == 2, *columns]).astype(float)


def groups_of(terms):
    return {"participant": terms["participant"], "session": np.arange(len(terms))}


def test_a_response_is_compared_by_its_own_errors(tmp_path):
    made = write(tmp_path, n=14)
    terms = add_terms(made)
    settings(made, outcome="Glx/tNAA: infusion", estimand="response")
    run(made)
    known = two_level.fit(design_of(terms), terms["change"], terms["sd"] ** 2, groups_of(terms)).contrast([0, 1, 0])
    row = row_of(made, "primary")
    found = [row[name] for name in ("estimate", "se", "df", "p")]
    np.testing.assert_allclose(found, [known.estimate, known.se, known.df, known.p], rtol=1e-5)
    assert (row["outcome"], row["n_sessions"], row["n_blocks"]) == ("Glx/tNAA: infusion", 28, 28)
    percent = 100 * known.estimate / terms["level"].mean()
    assert row["percent_of_baseline"] == pytest.approx(percent, rel=1e-4)
    sensitivity = read(made, "sensitivity").set_index("analysis")
    tcr = sensitivity.loc["denominator tCr"]
    assert tcr["outcome"] == "Glx/tCr: infusion"
    assert tcr["estimate"] == pytest.approx(known.estimate, rel=1e-6)
    assert "by their errors already" in sensitivity.loc["CRLB-weighted", "remark"]
    contrasts = read(made, "contrasts")
    glu = contrasts[contrasts["outcome"] == "Glu/tNAA: infusion"].iloc[0]
    assert glu["estimate"] == pytest.approx(0.8 * known.estimate, rel=1e-6)
    assert not contrasts["analysis"].str.startswith("blocks treated as independent").any()


def test_a_level_is_adjusted_for_the_one_before_with_errors_about_it(tmp_path):
    """What is left when slope times baseline is taken off has the error of the term and the rest of the level's."""
    made = write(tmp_path, n=14)
    terms = add_terms(made)
    settings(made, outcome="Glx/tNAA: infusion", estimand="adjusted_level")
    run(made)
    mean = terms.groupby("participant")["level"].transform("mean")
    x = design_of(terms, terms["level"] - mean, mean - mean.mean())
    slope, y = 1.0, terms["level"] + terms["change"]
    for _ in range(3):
        rest = 1 - slope
        errors = terms["sd"] ** 2 + rest**2 * terms["level_sd"] ** 2
        errors += 2 * rest * terms["r"] * terms["sd"] * terms["level_sd"]
        fit = two_level.fit(x, y, errors, groups_of(terms))
        slope = fit.beta[3]
    known, row = fit.contrast([0, 1, 0, 0, 0]), row_of(made, "primary")
    found = [row[name] for name in ("estimate", "se", "df", "p")]
    np.testing.assert_allclose(found, [known.estimate, known.se, known.df, known.p], rtol=1e-5)


def test_equal_errors_give_the_analysis_of_pairs(tmp_path):
    made = write(tmp_path, n=12)
    add_terms(made, equal=True)
    settings(made, outcome="Glx/tNAA: infusion", estimand="response")
    run(made)
    primary, pairs = row_of(made, "primary"), row_of(made, "pair means")
    names = ["estimate", "se", "df", "p"]
    np.testing.assert_allclose(primary[names].astype(float), pairs[names].astype(float), rtol=1e-4)


def test_an_area_has_no_level_and_needs_no_time_model(tmp_path):
    made = write(tmp_path, n=12)
    terms = add_terms(made)
    settings(made, {}, outcome="Glx/tNAA: auc", secondary=["Glu/tNAA"])
    headline = run(made)
    known = two_level.fit(design_of(terms), 40 * terms["change"], (40 * terms["sd"]) ** 2, groups_of(terms))
    row = row_of(made, "primary")
    assert row["estimate"] == pytest.approx(known.beta[1], rel=1e-6)
    assert row["p"] == pytest.approx(known.contrast([0, 1, 0]).p, rel=1e-5)
    assert headline["estimand"] == "total"
    assert (read(made, "contrasts")["outcome"] == "Glu/tNAA: auc").any()


@pytest.mark.parametrize("design", ["parallel", "single_arm"])
def test_other_designs_take_terms_too(tmp_path, design):
    conditions = ("placebo", "naltrexone") if design == "parallel" else ("placebo",)
    made = write(tmp_path, n=16, design=design, conditions=conditions)
    terms = add_terms(made)
    settings(made, outcome="Glx/tNAA: infusion", estimand="response")
    run(made)
    if design == "single_arm":
        fit = two_level.fit(np.ones((16, 1)), terms["change"], terms["sd"] ** 2, {"p": np.arange(16)})
        known, row = fit.contrast([1.0]), row_of(made, "primary")
    else:
        x = np.column_stack([np.ones(16), np.arange(16) % 2])
        known = two_level.fit(x, terms["change"], terms["sd"] ** 2, {"p": np.arange(16)}).contrast([0, 1])
        row = row_of(made, "two-level")
    found = [row[name] for name in ("estimate", "se", "df", "p")]
    np.testing.assert_allclose(found, [known.estimate, known.se, known.df, known.p], rtol=1e-5)


def test_a_fit_without_terms_is_named(tmp_path):
    made = write(tmp_path, n=4)
    settings(made, outcome="Glx/tNAA: infusion")
    with pytest.raises(InputError, match=r"sub-001_ses-1: its fit left no terms, which group\.outcome names"):
        run(made)


@pytest.mark.parametrize(
    ("fit", "own", "said"),
    [
        ({}, {"outcome": "Glx/tNAA: infusion"}, "the fits have auc, peak, time_to_peak; regressors need fit.model"),
        (DYNAMIC, {"outcome": "Glx/tNAA: task"}, "names the term 'task'; the fits have infusion, auc, peak"),
        (DYNAMIC, {"outcome": "Glx/tNAA:"}, "name a term behind the colon"),
        (DYNAMIC, {"outcome": "Glx/Ins: infusion"}, "terms are per tCr, tNAA or water, or amplitudes, not per Ins"),
        (DYNAMIC, {"secondary": ["Glx/tNAA: infusion"]}, "is of a term and group.outcome is not"),
        ({}, {"outcome": "Glx/tNAA: peak", "estimand": "response"}, "is a change already; set it to auto"),
        (DYNAMIC, {"outcome": "Glux/tNAA: infusion"}, "names 'Glux'"),
    ],
)
def test_outcomes_that_no_fit_will_have_are_refused(tmp_path, fit, own, said):
    made = write(tmp_path, n=2)
    settings(made, fit, **own)
    with pytest.raises(InputError, match=said):
        study_config.load(str(made.config))


def test_names_of_outcomes_split_into_ratio_and_term():
    assert split_outcome("Glx/tNAA : drift 2") == ("Glx/tNAA", "drift 2")
    content = {"group": {"outcome": "Glx: auc", "other_denominators": ["tCr"], "secondary": ["Ins/tCr"]}}
    assert group.outcome_names(content) == ["Glx: auc", "Glx/tCr: auc", "Ins/tCr: auc"]
