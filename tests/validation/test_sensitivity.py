"""Rows of the sensitivity table beside R's answer to tables that are put together here from the files of the fits."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from fit_in_r import SCRIPT
from fitted_trial import write
from scipy import optimize, special

from mrsflow import files
from mrsflow.models import compare_r
from mrsflow.statistics import group
from mrsflow.study import config as study_config

LEVELS = {
    "condition": ["placebo", "naltrexone"],
    "block": [f"infusion{i}" for i in range(1, 6)],
    "visit": ["1", "2"],
}
TERMS = "condition + block + visit + bl_dev + bl_mean"
RANDOM = "(1|participant) + (1|participant:session)"
WEIGHTED = """
suppressPackageStartupMessages(library(lmerTest))
table <- read.delim("weighted.tsv", colClasses = c(participant = "factor", session = "factor", visit = "factor"))
table$condition <- relevel(factor(table$condition), "placebo")
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE)
fit <- lmer(outcome ~ condition + block + visit + bl_dev + bl_mean + (1|participant) + (1|participant:session),
            data = table, weights = 1 / sd^2, control = control)
cat(sprintf("%.15g", coef(summary(fit))["conditionnaltrexone", 1]))
"""


def edit(made, ending, change):
    for path in sorted(made.output.rglob(f"*_desc-blocks_{ending}.tsv")):
        content = files.read_table(path, text_columns=True)
        change(content, path.name)
        files.write_table(content, path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trial with poor and doubtful blocks, a lost session; uncertainties, water scaling and linewidths vary."""
    made = write(tmp_path_factory.mktemp("sensitivity"), n=14, seed=5)
    rng = np.random.default_rng(6)

    def vary_fit(content, _name):
        content["per_tnaa_sd"] = [f"{v:.6f}" for v in rng.uniform(0.01, 0.05, len(content))]
        factors = rng.normal(1, 0.02, len(content))
        content["molar_mM"] = [f"{float(a) * f:.8g}" for a, f in zip(content["amplitude"], factors, strict=True)]
        content["molar_sd"] = "0.3"

    def spoil(content, name):
        poor = {"sub-002_ses-1": (3, "0.2"), "sub-005_ses-2": (2, "0.2"), "sub-007_ses-1": (4, "0.085")}
        if (key := name.split("_desc")[0]) in poor:
            block, width = poor[key]
            content.loc[block, "linewidth_ppm"] = width

    def doubt(content, name):
        if name.split("_desc")[0] in ("sub-003_ses-1", "sub-009_ses-2"):
            content.loc[2:3, ["status", "reason"]] = ["doubtful", "negative Gln"]

    edit(made, "mrsfit", vary_fit)
    edit(made, "quality", spoil)
    edit(made, "fitquality", doubt)
    ended = made.status.read_text().replace("sub-004_ses-1\tok\t", "sub-004_ses-1\tfailed\tfile is empty")
    made.status.write_text(ended)
    group.run(study_config.load(str(made.config)), [made.status])
    return made


@pytest.fixture(scope="module")
def rows(made):
    return files.read_table(made.output / "group" / "sensitivity.tsv").set_index("analysis")


def blocks_of(made, column, unusable=("0.2",), doubtful=True):
    """Infusion blocks of the sessions that were fitted, with the covariates of the primary model."""
    found = []
    for path in sorted(made.output.rglob("*_desc-blocks_mrsfit.tsv")):
        key = path.name.split("_desc")[0]
        if key == "sub-004_ses-1":
            continue
        fits = pd.read_csv(path, sep="\t", dtype={"participant": str, "session": str})
        quality = pd.read_csv(path.with_name(f"{key}_desc-blocks_quality.tsv"), sep="\t", dtype=str)
        fitted = pd.read_csv(path.with_name(f"{key}_desc-blocks_fitquality.tsv"), sep="\t")
        sidecar = json.loads(path.with_name(f"{key}_desc-blocks_svs.json").read_text())
        own = fits[fits["metabolite"] == "Glx"].reset_index(drop=True)
        own = own.assign(outcome=own[column], sd=own["per_tnaa_sd"], linewidth=fitted["linewidth_hz"])
        own["vendor"] = sidecar["Manufacturer"]
        found.append(own[~quality["linewidth_ppm"].isin(unusable) & (doubtful | (fitted["status"] == "ok"))])
    tables = made.config.parent
    every = pd.concat(found)
    for name, keys in (("sessions", ["participant", "session"]), ("participants", ["participant"])):
        extra = pd.read_csv(tables / f"{name}.tsv", sep="\t", dtype=str)
        every = every.merge(extra, on=keys, validate="many_to_one")
    every = every.rename(columns={"arm": "condition"})
    baseline = every[every["phase"] == "baseline"].set_index(["participant", "session"])["outcome"].rename("bl")
    mean = baseline.groupby("participant").mean().rename("own")
    every = every[every["phase"] == "infusion"].merge(baseline, on=["participant", "session"])
    every = every.merge(mean, on="participant").reset_index(drop=True)
    return every.assign(bl_dev=every["bl"] - every["own"], bl_mean=every["own"] - mean.mean())


def test_mixed_model_rows_equal_those_of_r(made, rows, tmp_path):
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    primary = blocks_of(made, "per_tnaa")
    complete = primary[primary["participant"] != "004"]
    asked = {
        "all blocks": (blocks_of(made, "per_tnaa", ()), ""),
        "QC-passed only": (blocks_of(made, "per_tnaa", ("0.2", "0.085"), doubtful=False), ""),
        "without doubtful fits": (blocks_of(made, "per_tnaa", doubtful=False), ""),
        "linewidth as covariate": (primary.assign(linewidth=lambda t: t["linewidth"] - t["linewidth"].mean()),
                                   " + linewidth"),
        "denominator tCr": (blocks_of(made, "per_tcr"), ""),
        "denominator water": (blocks_of(made, "molar_mM"), ""),
        "complete pairs": (complete, ""),
        "with site": (primary, " + site"),
        "with vendor": (primary, " + vendor"),
    }  # fmt: skip
    request = {}
    for number, (name, (content, extra)) in enumerate(asked.items()):
        path = tmp_path / f"table{number}.tsv"
        content.to_csv(path, sep="\t", index=False, float_format="%.17g")
        formula = f"outcome ~ {TERMS}{extra} + {RANDOM}"
        request[name] = {"table": str(path), "formula": formula, "levels": LEVELS}
    (tmp_path / "models.json").write_text(json.dumps(request))
    script = ["Rscript", "--vanilla", str(SCRIPT), "models.json", "results.json"]
    subprocess.run(script, cwd=tmp_path, check=True, capture_output=True)
    found = json.loads((tmp_path / "results.json").read_text())
    for name, (content, _) in asked.items():
        known, row = found[name]["fixed"]["conditionnaltrexone"], rows.loc[name]
        assert row["n_blocks"] == len(content), name
        ours = [row["estimate"], row["se"], row["df"], row["p"]]
        np.testing.assert_allclose(
            ours, [known["estimate"], known["se_kr"], known["df_kr"], known["p_kr"]], rtol=1e-5, err_msg=name
        )
    estimates = rows.loc[list(asked), "estimate"]
    assert estimates.drop("with vendor").nunique() >= 6  # the rows do differ


def test_weighted_row_has_the_estimate_of_r(made, rows, tmp_path):
    if reason := compare_r.missing_r():
        pytest.skip(reason)
    blocks_of(made, "per_tnaa").to_csv(tmp_path / "weighted.tsv", sep="\t", index=False, float_format="%.17g")
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", WEIGHTED], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    row = rows.loc["CRLB-weighted"]
    assert row["estimate"] == pytest.approx(float(done.stdout.strip().splitlines()[-1]), abs=1e-5 * row["se"])
    assert row["estimate"] != pytest.approx(rows.loc["all blocks", "estimate"], abs=1e-2 * row["se"])


def test_weighted_row_is_generalised_least_squares_with_its_variances(made, rows):
    """The whole covariance matrix of the blocks written out; a block has the variance of its fit, up to a factor."""
    blocks, row = blocks_of(made, "per_tnaa"), rows.loc["CRLB-weighted"]
    columns = [blocks[name].astype(float) for name in ("bl_dev", "bl_mean")]
    columns += [blocks[name].astype(str) == level for name, levels in LEVELS.items() for level in levels[1:]]
    x = np.column_stack([np.ones(len(blocks)), *columns]).astype(float)
    same = [
        (a[:, np.newaxis] == a).astype(float) for a in (blocks["participant"].to_numpy(), blocks["session"].to_numpy())
    ]
    variances = blocks["sd"].to_numpy(float) ** 2
    own = np.diag(variances * np.mean(1 / variances))  # weights of mean 1
    v = (
        row["sd_participant"] ** 2 * same[0]
        + row["sd_session"] ** 2 * same[0] * same[1]
        + row["sd_residual"] ** 2 * own
    )
    half = x.T @ np.linalg.inv(v)
    condition = 3  # after intercept and baselines
    known = np.linalg.solve(half @ x, half @ blocks["outcome"].to_numpy(float))[condition]
    assert row["estimate"] == pytest.approx(known, abs=1e-4 * row["se"])


def test_huber_row_is_the_ancova_of_minima_of_hubers_loss(made, rows):
    """Location by minimising the loss itself, session by session; the scale is common to all sessions."""
    blocks = blocks_of(made, "per_tnaa")
    grouped = blocks.groupby(["participant", "session"])["outcome"]
    scale = 1.345 * 1.4826 * np.median(np.abs(blocks["outcome"] - grouped.transform("median")))

    def location(values):
        loss = lambda centre: special.huber(scale, values - centre).sum()  # noqa: E731
        return optimize.minimize_scalar(loss, bounds=(values.min(), values.max()), options={"xatol": 1e-12}).x

    y = grouped.apply(location).rename("y")
    sessions = blocks.drop_duplicates(["participant", "session"]).set_index(["participant", "session"]).join(y)
    wide = sessions.reset_index().pivot(index="participant", columns="condition").dropna()
    sequence = np.where(wide["visit"]["placebo"] == "1", 1.0, -1.0)
    x = np.column_stack([np.ones(len(wide)), sequence, wide["bl"]["naltrexone"] - wide["bl"]["placebo"]])
    known = sm.OLS((wide["y"]["naltrexone"] - wide["y"]["placebo"]).to_numpy(float), x.astype(float)).fit()
    row = rows.loc["Huber summary"]
    np.testing.assert_allclose(
        [row["estimate"], row["se"], row["df"], row["p"]],
        [known.params[0], known.bse[0], known.df_resid, known.pvalues[0]],
        rtol=1e-5,
    )


def test_row_without_doubtful_fits_has_the_estimate_of_statsmodels(made, rows):
    content = blocks_of(made, "per_tnaa", doubtful=False).assign(
        condition=lambda t: pd.Categorical(t["condition"], LEVELS["condition"])
    )
    model = sm.MixedLM.from_formula(
        f"outcome ~ {TERMS}", content, groups="participant", re_formula="1", vc_formula={"session": "0 + C(session)"}
    )
    known = model.fit(reml=True, method="lbfgs", pgtol=1e-10).params["condition[T.naltrexone]"]
    row = rows.loc["without doubtful fits"]
    assert row["remark"] == "4 doubtful blocks left out"
    assert row["n_blocks"] == len(content) == rows.loc["primary", "n_blocks"] - 4
    assert row["estimate"] == pytest.approx(known, abs=1e-3 * row["se"])
    assert abs(row["estimate"] - rows.loc["primary", "estimate"]) > 1e-2 * row["se"]
