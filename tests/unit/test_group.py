"""The group stage on the tables of simulated trials: its numbers, its masking, its losses, its refusals."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from fitted_trial import change_sessions, read, row_of, run, write
from scipy import optimize, stats

from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.reporting import group_figures, group_page, group_read
from mrsflow.statistics import contrasts, group
from mrsflow.study import config as study_config
from mrsflow.study import layout, masking

NAMES = ["placebo", "naltrexone"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    group_settings = {"moderators": ["sex", "age", "occupancy", "site"]}
    made = write(tmp_path_factory.mktemp("trial"), n=24, group=group_settings)
    run(made)
    return made


def session_means(made):
    rows = []
    for i in range(len(made.values) // 2):
        for visit in (1, 2):
            values = made.values[f"sub-{i + 1:03d}_ses-{visit}"]
            arm = NAMES[(i + visit - 1) % 2]
            rows.append((i, visit, arm, values[0], values[1:].mean()))
    return pd.DataFrame(rows, columns=["participant", "visit", "arm", "bl", "y"])


def test_primary_estimate_is_the_crossover_ancova_done_by_hand(trial):
    known = crossover_ancova(session_means(trial))
    for analysis in ("primary", "pair means"):
        row = row_of(trial, analysis)
        np.testing.assert_allclose(
            [row["estimate"], row["se"], row["df"], row["p"]],
            [known.params[0], known.bse[0], known.df_resid, known.pvalues[0]],
            rtol=1e-6,
        )


def test_participant_only_model_has_the_published_degrees_of_freedom(trial):
    row = row_of(trial, "blocks treated as independent (condition x time)")
    assert row["df"] == pytest.approx(253, abs=1e-6)
    assert row["df_method"] == "satterthwaite"
    assert "not a valid test" in row["remark"]


def test_every_row_of_contrasts_tells_what_it_used(trial):
    found = read(trial, "contrasts")
    done = found[found["estimate"].notna()]
    for column in ("n_dropped", "random", "df_method"):
        assert done[column].notna().all(), column
    assert (done["n_participants"] == 24).all()
    assert (done["n_sessions"] == 48).all()
    changes = done["analysis"].str.startswith("clinical")
    assert (done.loc[changes, "n_blocks"] == 48).all()
    every = done["analysis"].str.contains("condition x")  # the baseline blocks too, or both scores
    every |= done["analysis"] == "baseline by arm"
    assert (done.loc[done["analysis"] == "baseline by arm", "n_blocks"] == 48).all()
    assert (done.loc[~changes & ~every, "n_blocks"] == 48 * 5).all()
    found = read(trial, "sensitivity").set_index("analysis")
    assert list(found.loc["visit 1 only", ["n_participants", "n_sessions", "n_blocks"]]) == [24, 24, 120]
    assert list(found.loc["carry-over", ["n_participants", "n_sessions", "n_blocks"]]) == [24, 48, 240]


def test_tables_have_the_columns_that_readers_know(trial):
    known = (
        "analysis outcome model contrast n_participants n_sessions n_blocks estimate se df df_method t p ci_low "
        "ci_high percent_of_baseline percent_ci_low percent_ci_high d_z g_av g_ci_low g_ci_high p_adjusted family "
        "singular converged sd_participant sd_session sd_residual seed"
    )
    for name in ("contrasts", "sensitivity"):
        assert set(known.split()) <= set(read(trial, name).columns)
    fraction = "fraction ci_low ci_high method bounded change_reference change_treated"
    assert set(fraction.split()) <= set(read(trial, "attenuation").columns)


def test_sensitivity_has_one_row_for_each_analysis(trial):
    found = read(trial, "sensitivity")
    assert found["analysis"].is_unique
    wanted = {
        "primary", "pair means", "re-randomisation", "blocks treated as independent", "all blocks", "QC-passed only",
        "denominator tCr", "denominator water", "complete pairs", "change score", "visit 1 only", "carry-over",
        "adjusted for carry-over",
        "Huber summary", "log scale", "CRLB-weighted", "leave one participant out", "with site", "with vendor",
        "linewidth as covariate",
    }  # fmt: skip
    assert wanted <= set(found["analysis"])


def test_period_1_and_change_score_by_hand(trial):
    means = session_means(trial)
    first = means[means["visit"] == 1]
    x = np.column_stack([first["arm"] == "naltrexone", np.ones(24), first["bl"]]).astype(float)
    known = sm.OLS(first["y"].to_numpy(), x).fit()
    row = row_of(trial, "visit 1 only", "sensitivity")
    se, _ = by_group(x, first["y"].to_numpy(), first["arm"].to_numpy(), np.array([1.0, 0, 0]))
    np.testing.assert_allclose([row["estimate"], row["se"]], [known.params[0], se], rtol=1e-6)
    change = means.assign(change=means["y"] - means["bl"]).pivot(index="participant", columns="visit", values="change")
    treated_second = means[means["visit"] == 2].set_index("participant")["arm"] == "naltrexone"
    difference = change[2] - change[1]
    known_t = stats.ttest_ind(difference[treated_second], difference[~treated_second])
    row = row_of(trial, "change score", "sensitivity")
    np.testing.assert_allclose([row["t"], row["p"]], [known_t.statistic, known_t.pvalue], rtol=1e-6)


def by_group(x, y, groups, weights):
    """Standard error and degrees of freedom with a variance for each group, written out element by element."""
    names = sorted(set(groups))
    rest = np.eye(len(y)) - x @ np.linalg.inv(x.T @ x) @ x.T
    expected, squares, left = np.zeros((len(names),) * 2), np.zeros(len(names)), np.zeros(len(names))
    for i, g in enumerate(groups):
        squares[names.index(g)] += (rest @ y)[i] ** 2
        left[names.index(g)] += rest[i, i]
        for j, h in enumerate(groups):
            expected[names.index(g), names.index(h)] += rest[i, j] ** 2
    pull = weights @ np.linalg.inv(x.T @ x) @ x.T
    parts = np.linalg.solve(expected, squares) * [np.sum(pull[groups == g] ** 2) for g in names]
    return np.sqrt(parts.sum()), parts.sum() ** 2 / np.sum(parts**2 / left)


def crossover_ancova(means):
    """Differences of the conditions on the sequence and the difference of the baselines, by statsmodels."""
    wide = means.pivot(index="participant", columns="arm")
    sequence = np.where(wide["visit"]["placebo"] == 1, 1.0, -1.0)
    x = np.column_stack([np.ones(len(wide)), sequence, wide["bl"]["naltrexone"] - wide["bl"]["placebo"]])
    return sm.OLS((wide["y"]["naltrexone"] - wide["y"]["placebo"]).to_numpy(), x).fit()


def test_log_scale_and_leaving_one_out_by_hand(trial):
    logs = session_means(trial).assign(
        bl=lambda t: np.log(t["bl"]), y=[np.log(v[1:]).mean() for v in trial.values.values()]
    )
    row, known = row_of(trial, "log scale", "sensitivity"), crossover_ancova(logs)
    np.testing.assert_allclose([row["estimate"], row["se"]], [known.params[0], known.bse[0]], rtol=1e-6)
    means = session_means(trial)
    without = [crossover_ancova(means[means["participant"] != i]) for i in range(24)]
    row = row_of(trial, "leave one participant out", "sensitivity")
    estimates = [fit.params[0] for fit in without]
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [min(estimates), max(estimates)], rtol=1e-6)
    p = [fit.pvalues[0] for fit in without]
    assert f"p from {min(p):.3g} to {max(p):.3g}" in row["remark"]


def scores(made):
    found = pd.read_csv(made.config.parent / "sessions.tsv", sep="\t")
    found["change"] = found["madrs_day1"] - found["madrs_pre"]
    return found


def test_clinical_outcome_is_the_ancova_of_the_changes(trial):
    means = scores(trial).rename(columns={"madrs_pre": "bl", "change": "y"})
    known = crossover_ancova(means[["participant", "visit", "arm", "bl", "y"]])
    for analysis in ("clinical outcome", "clinical outcome, pair means"):
        row = row_of(trial, analysis)
        found = [row["estimate"], row["se"], row["df"], row["p"]]
        np.testing.assert_allclose(found, [known.params[0], known.bse[0], known.df_resid, known.pvalues[0]], rtol=1e-6)


def test_mood_is_described_by_student_intervals(trial):
    found = read(trial, "mood").set_index(["condition", "time_point"])
    assert len(found) == 4
    for (arm, time), row in found.iterrows():
        values = scores(trial).loc[lambda t, arm=arm: t["arm"] == arm, f"madrs_{time}"]
        known = stats.t.interval(0.95, 23, values.mean(), stats.sem(values))
        np.testing.assert_allclose([row["mean"], row["ci_low"], row["ci_high"]], [values.mean(), *known], rtol=1e-6)
        assert (row["n"], row["sd"]) == (24, pytest.approx(np.std(values, ddof=1), rel=1e-6))


def test_link_slopes_are_those_of_differences_and_of_means(trial):
    means = session_means(trial)
    table = scores(trial).assign(glx=100 * (means["y"] - means["bl"]).to_numpy() / means["bl"].mean())
    wide = table.pivot(index="participant", columns="arm")
    sequence = np.where(wide["visit"]["placebo"] == 1, 1.0, -1.0)
    differences = {c: (wide[c]["naltrexone"] - wide[c]["placebo"]).to_numpy() for c in ("change", "glx")}
    within = sm.OLS(differences["change"], np.column_stack([differences["glx"], sequence, np.ones(24)])).fit()
    own = table.groupby("participant")[["change", "glx"]].mean()
    between = sm.OLS(own["change"].to_numpy(), sm.add_constant(own["glx"].to_numpy())).fit()
    means_of = table["participant"].map(own["glx"])
    found = read(trial, "link").set_index("contrast")
    for name, known, which in (("within", within, 0), ("between", between, 1)):
        row = found.loc[f"{name} participants slope"]
        expected = [known.params[which], known.bse[which], known.df_resid, known.pvalues[which]]
        np.testing.assert_allclose([row["estimate"], row["se"], row["df"], row["p"]], expected, rtol=1e-5)
    for name, values in (("within", table["glx"] - means_of), ("between", means_of)):
        row = found.loc[f"{name} participants slope"]
        assert row["per_sd"] == pytest.approx(row["estimate"] * np.std(values, ddof=1), rel=1e-6)


@pytest.mark.parametrize(("seed", "zero"), [(1, True), (6, False)])
def test_a_variance_at_zero_is_flagged(tmp_path, seed, zero):
    made = write(tmp_path, n=4, seed=seed, sd_session=0.0)
    run(made)
    blocks = np.array([v[1:] for v in made.values.values()])  # complete, so that REML is the analysis of variance
    own = blocks - blocks.mean(axis=0) - blocks.mean(axis=1, keepdims=True) + blocks.mean()
    variance = crossover_ancova(session_means(made)).scale / 2 - np.sum(own**2) / (7 * 4) / 5
    row = row_of(made, "primary")
    assert (variance < 0) == zero
    assert str(row["singular"]).lower() == str(zero).lower()
    assert row["sd_session"] == pytest.approx(np.sqrt(max(variance, 0)), rel=1e-5)
    assert ("a variance is at zero" in str(row["remark"])) is zero


def test_a_set_without_bounds_is_said(tmp_path):
    made = write(tmp_path, n=4, seed=2)
    run(made)
    means, row = session_means(made), read(made, "attenuation").iloc[0]
    change = (means["y"] - means["bl"])[means["arm"] == "placebo"]
    assert stats.ttest_1samp(change, 0).pvalue > 0.05  # the reference response could be zero
    assert pd.isna(row["ci_low"])
    assert str(row["bounded"]).lower() == "false"
    assert row["remark"] == "not bounded (reference change not different from 0)"


def test_attenuation_is_the_ratio_of_the_mean_changes(trial):
    """Complete and balanced: the adjusted means lie half the contrast to either side of the mean of all."""
    means, row = session_means(trial), read(trial, "attenuation").iloc[0]
    contrast = crossover_ancova(means).params[0]
    reference = means["y"].mean() - means["bl"].mean() - contrast / 2
    assert row["fraction"] == pytest.approx(1 - (reference + contrast) / reference, rel=1e-6)
    assert row["ci_low"] < row["fraction"] < row["ci_high"]


def test_effect_sizes_and_percent(trial):
    means = session_means(trial)
    row = row_of(trial, "primary")
    assert row["d_z"] == pytest.approx(crossover_ancova(means).tvalues[0] / np.sqrt(24), rel=1e-6)
    assert row["percent_of_baseline"] == pytest.approx(100 * row["estimate"] / means["bl"].mean(), rel=1e-6)


def test_clinical_outcome_follows_the_primary_in_fixed_sequence(trial):
    primary, clinical = row_of(trial, "primary"), row_of(trial, "clinical outcome")
    assert clinical["p_adjusted"] == pytest.approx(max(primary["p"], clinical["p"]))
    assert clinical["n_blocks"] == 48
    independent = row_of(trial, "scores treated as independent (condition x time)")
    assert independent["df"] == pytest.approx(3 * 23 - 1, abs=0.01)  # one visit term


def test_families_are_adjusted(trial):
    found = read(trial, "contrasts")
    secondary = found[found["analysis"] == "secondary"]
    np.testing.assert_allclose(secondary["p_adjusted"], stats.false_discovery_control(secondary["p"]), rtol=1e-6)
    moderators = found[(found["analysis"] == "moderator") & found["p"].notna()]
    order = np.argsort(moderators["p"].to_numpy())
    holm = np.maximum.accumulate(moderators["p"].to_numpy()[order] * np.arange(len(order), 0, -1)).clip(max=1)
    np.testing.assert_allclose(moderators["p_adjusted"].to_numpy()[order], holm, rtol=1e-6)


def test_moderators_are_estimates_first_with_subgroups_beside(trial):
    found = read(trial, "contrasts")
    names = set(found.loc[found["analysis"] == "moderator", "contrast"])
    assert {
        "naltrexone - placebo x sex (M - F)",
        "naltrexone - placebo x age (per unit)",
        "naltrexone - placebo x occupancy (within participants, per unit)",
        "naltrexone - placebo x occupancy (between participants, per unit)",
    } <= names
    sexes = found[found["analysis"] == "subgroup"].set_index("contrast")["estimate"]
    first = found[found["analysis"] == "moderator"]
    interaction = first.set_index("contrast").loc["naltrexone - placebo x sex (M - F)", "estimate"]
    assert sexes["naltrexone - placebo in sex M"] - sexes["naltrexone - placebo in sex F"] == pytest.approx(interaction)
    few = found[found["contrast"].str.contains("in site")]
    assert few["remark"].str.contains("few participants").all()


def test_time_course_means_and_blocks(trial):
    course = read(trial, "time_course")
    own = course[(course["outcome"] == "Glx/tNAA") & (course["condition"] == "placebo")]
    known = np.mean([v for k, v in trial.values.items() if (int(k[4:7]) - 1 + int(k[-1]) - 1) % 2 == 0], axis=0)
    np.testing.assert_allclose(own["mean"], known, rtol=1e-6)
    tests = read(trial, "time_tests")
    blocks = tests[tests["analysis"] == "block"]
    assert list(blocks["block"]) == [f"infusion{i}" for i in range(1, 6)]
    assert (blocks["p_adjusted"] >= blocks["p"]).all()


def test_intervals_of_the_course_are_those_within_participants(trial):
    """Morey's variances have the residual mean square of participants by cells as their mean over the cells."""
    course = read(trial, "time_course")
    own = course[course["outcome"] == "Glx/tNAA"]
    cells = [
        np.concatenate([v for k, v in trial.values.items() if k.startswith(f"sub-{i + 1:03d}")]) for i in range(24)
    ]
    swapped = np.roll(cells, 6, axis=1)  # visits to arms: every second participant began with the other
    values = np.where(np.arange(24)[:, np.newaxis] % 2 == 0, cells, swapped)
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    mean_square = np.sum(rest**2) / (23 * 11)
    half = (own["ci_high"] - own["ci_low"]) / 2
    np.testing.assert_allclose(own["ci_high"] - own["mean"], half, rtol=1e-6)
    np.testing.assert_allclose(np.mean((half / stats.t.ppf(0.975, 23)) ** 2) * 24, mean_square, rtol=1e-6)


def test_link_has_within_and_between_slopes(trial):
    found = read(trial, "link")
    slopes = [f"{kind} participants slope" for kind in ("within", "between")]
    assert list(found["contrast"]) == [*slopes, "naltrexone - placebo"]
    assert list(found["analysis"]) == ["link", "link", "mediation"]
    assert (found.loc[found["analysis"] == "link", "df"] < 24).all()


def test_data_dictionaries_describe_every_column(trial):
    folder = trial.output / "group"
    for path in folder.glob("*.tsv"):
        known = json.loads(path.with_suffix(".json").read_text())
        header = path.open().readline().rstrip("\n").split("\t")
        assert list(known) == header
        assert all(entry["Description"] for entry in known.values())


def test_long_table_has_every_row_of_every_fit(trial):
    long = read(trial, "blocks_long")
    assert len(long) == 48 * 6 * 10
    first = long[(long["participant"] == "001") & (long["session"] == 1) & (long["metabolite"] == "Glx")]
    np.testing.assert_allclose(first["per_tnaa"], trial.values["sub-001_ses-1"], rtol=1e-7)
    assert set(first["arm"]) == {"placebo"}


def test_headline_agrees_with_the_table(trial):
    headline = files.read_json(trial.output / "group" / "headline.json")
    row = row_of(trial, "primary")
    assert headline["estimate"] == pytest.approx(row["estimate"], rel=1e-9)
    assert headline["masked"] is False
    assert headline["attenuation"]["bounded"] in (True, False)


def test_a_second_run_gives_the_same_bytes(tmp_path):
    made = write(tmp_path, n=6)
    run(made)
    first = {p.name: p.read_bytes() for p in (made.output / "group").iterdir()}
    run(made, status=False)  # records instead of the batch table
    assert {p.name: p.read_bytes() for p in (made.output / "group").iterdir()} == first


def test_masked_arms_are_neither_named_nor_compared(tmp_path):
    made = write(tmp_path, n=6, freeze=True)
    run(made)
    record = (made.output / "group" / "unmasking.json").read_bytes()
    made.config.write_text(made.config.read_text().replace("freeze: true", "freeze: false"))
    headline = run(made)
    assert headline["estimate"] is None
    assert headline["masked"] is True
    folder = made.output / "group"
    assert not [n for n in ("contrasts", "sensitivity", "mood", "time_tests") if (folder / f"{n}.tsv").exists()]
    for path in folder.iterdir():
        if path.name != "unmasking.json":
            assert not any(name in path.read_text() for name in NAMES), path.name
    assert (folder / "unmasking.json").read_bytes() == record
    assert set(read(made, "blocks_wide")["arm"]) == {"arm A", "arm B"}


def test_unmasking_is_recorded_once_for_each_configuration(tmp_path):
    config = {"study": {"freeze": True}, "group": {"seed": 1}}
    path = tmp_path / "unmasking.json"
    first = masking.record_unmasking(path, config)
    assert masking.record_unmasking(path, config) == first
    assert len(masking.record_unmasking(path, {**config, "group": {"seed": 2}})) == 2
    assert masking.record_unmasking(path, config)[0] == first[0]


def edit_quality(made, key, change, ending="quality"):
    path = next(made.output.rglob(f"{key}_desc-blocks_{ending}.tsv"))
    content = files.read_table(path, text_columns=True)
    change(content)
    files.write_table(content, path)


def test_excluded_blocks_leave_the_primary_and_stay_in_the_row_of_all_blocks(tmp_path):
    made = write(tmp_path, n=8)
    edit_quality(made, "sub-002_ses-1", lambda t: t.__setitem__("linewidth_ppm", ["0.05"] * 4 + ["0.2", "0.05"]))
    run(made)
    assert row_of(made, "primary")["n_blocks"] == 79
    assert row_of(made, "primary")["n_dropped"] == 1
    assert row_of(made, "all blocks", "sensitivity")["n_blocks"] == 80
    excluded = read(made, "exclusions")
    assert list(excluded[["participant", "block", "action"]].iloc[0]) == ["002", "infusion4", "exclude"]
    assert "linewidth_ppm" in excluded["reason"].iloc[0]
    wide = read(made, "blocks_wide").astype({"excluded": str})
    assert wide.loc[wide["excluded"].str.lower() == "true", "block"].tolist() == ["infusion4"]


def judge_fits(made, **status):
    """Set the verdict on the fit of some blocks: participant and visit as ``s002_1``, block by position."""
    for key, verdicts in status.items():
        participant, visit = key[1:].split("_")

        def change(table, verdicts=verdicts):
            for block, word in verdicts.items():
                table.loc[block, ["status", "reason"]] = [word, "negative Glu" if word == "doubtful" else "no signal"]

        edit_quality(made, f"sub-{participant}_ses-{visit}", change, "fitquality")


def with_rule(made, **limits):
    config = study_config.load(str(made.config))
    for rule in config["quality"]["rules"]:
        if rule["metric"] == "fit_status":
            rule |= limits
    return config


def test_doubtful_fits_are_warned_of_and_have_a_row_without_them(tmp_path):
    made = write(tmp_path, n=8)
    judge_fits(made, s002_1={4: "doubtful", 5: "doubtful"}, s003_2={2: "failed"}, s005_1={0: "doubtful"})
    headline = run(made)
    assert (headline["n_blocks"], headline["n_doubtful"]) == (79, 2)
    listed = read(made, "exclusions")
    assert listed[["participant", "block", "metric", "action", "reason"]].to_numpy().tolist() == [
        ["002", "infusion4", "fit_status", "warn", "fit doubtful: negative Glu"],
        ["002", "infusion5", "fit_status", "warn", "fit doubtful: negative Glu"],
        ["003", "infusion2", "fit_status", "exclude", "fit failed: no signal"],
        ["005", "baseline", "fit_status", "warn", "fit doubtful: negative Glu"],
    ]
    flow = read(made, "flow").query("condition == 'all'").set_index("step")["n_blocks"]
    assert flow[["fitted", "fitted, doubtful", "fit failed", "in the primary analysis"]].tolist() == [95, 3, 1, 95]
    row = row_of(made, "without doubtful fits", "sensitivity")
    # session 1 of 005 goes with its only baseline block
    assert (row["n_sessions"], row["n_blocks"], row["n_dropped"]) == (15, 72, 8)
    assert row["remark"] == "3 doubtful blocks left out"
    group.run(with_rule(made, exclude="doubtful"), [made.status])
    excluded = row_of(made, "primary")
    for column in ("n_blocks", "n_dropped", "estimate", "se", "df", "p"):
        assert row[column] == pytest.approx(excluded[column], rel=1e-9), column
    assert files.read_json(made.output / "group" / "headline.json")["n_doubtful"] == 0
    row = row_of(made, "without doubtful fits", "sensitivity")
    assert row["remark"] == "the rules exclude every doubtful block; the same as the primary"
    assert row["estimate"] == pytest.approx(excluded["estimate"], rel=1e-9)


def test_a_rule_takes_metrics_of_the_fits_and_those_that_a_fitter_does_not_have_are_not_known(tmp_path):
    made = write(tmp_path, n=6)
    (path,) = made.output.rglob("sub-002_ses-1*_fitquality.tsv")
    table = files.read_table(path)
    table.loc[3, "residual_ratio"] = 1.9
    files.write_table(table, path)
    config = study_config.load(str(made.config))
    limits = [("residual_ratio", None, 1.8), ("misfit", 2, None)]  # the tables here have no misfit
    config["quality"]["rules"] = [
        {"level": "block", "metric": metric, "worse": "above", "warn": warn, "exclude": exclude}
        for metric, warn, exclude in limits
    ]
    group.run(config, [made.status])
    listed = read(made, "exclusions")
    excluded = listed[listed["action"] == "exclude"]
    wanted = [["002", "infusion3", "residual_ratio", "residual_ratio 1.9 > 1.8"]]
    assert excluded[["participant", "block", "metric", "reason"]].to_numpy().tolist() == wanted
    assert set(listed[listed["action"] == "warn"]["reason"]) == {"misfit is not known"}


def test_row_without_doubtful_fits_says_when_there_are_none_and_when_all_are(tmp_path):
    made = write(tmp_path, n=4)
    run(made)
    row = row_of(made, "without doubtful fits", "sensitivity")
    assert row["remark"] == "no block is doubtful; the same as the primary"
    assert row["estimate"] == pytest.approx(row_of(made, "primary")["estimate"], rel=1e-9)
    every = {f"s{i // 2 + 1:03d}_{i % 2 + 1}": dict.fromkeys(range(6), "doubtful") for i in range(8)}
    judge_fits(made, **every)
    run(made)
    row = row_of(made, "without doubtful fits", "sensitivity")
    assert row["remark"] == "not estimated: the fit of every block is doubtful" and np.isnan(row["estimate"])
    assert np.isfinite(row_of(made, "primary")["estimate"])
    assert files.read_json(made.output / "group" / "headline.json")["n_doubtful"] == 40


@pytest.mark.usefixtures("png_alone")
@pytest.mark.parametrize("freeze", [True, False])
def test_page_of_the_study_counts_and_lists_doubtful_fits(tmp_path, freeze):
    made = write(tmp_path, n=4, freeze=freeze)
    judge_fits(made, s002_1={4: "doubtful", 5: "failed"}, s003_2={2: "doubtful"})
    edit_quality(made, "sub-003_ses-2", lambda t: t.__setitem__("linewidth_ppm", ["0.05"] * 2 + ["0.2"] + ["0.05"] * 3))
    run(made)
    config = study_config.load(str(made.config))
    trial = group_read.load(config)
    group_figures.draw_all(trial, made.output / "figures")
    html = group_page.write(config).read_text(encoding="utf-8")
    assert "The fit of 2 of 47 blocks, in 2 of 8 sessions, is doubtful." in html
    listed = html.split("<summary>Doubtful fits</summary>")[1].split("</table>")[0]
    cells = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in listed.split("<tr>")[2:]]
    assert cells == [
        ["sub-002_ses-1", "infusion4", "negative Glu", "yes"],
        ["sub-003_ses-2", "infusion2", "negative Glu", "no"],
    ]
    assert "infusion5: fit failed: no signal; infusion4: fit doubtful: negative Glu" in html
    losses = "\n".join(step for s in trial.flow for step in s.losses)
    assert "1 block whose fit failed" in losses and "linewidth_ppm beyond its limit of 0.12: 1 block" in losses


def test_a_block_that_was_never_made_is_excluded_for_its_reason(tmp_path):
    made = write(tmp_path, n=4)
    few = "3 good excitations, blocks.minimum_transients is 8"

    def lose(table):
        table["reason"] = ["", "", few, "", "", ""]
        table.loc[2, ["linewidth_ppm", "snr"]] = np.nan

    edit_quality(made, "sub-002_ses-1", lose)
    for ending in ("mrsfit", "fitquality"):
        path = next(made.output.rglob(f"sub-002_ses-1_desc-blocks_{ending}.tsv"))
        table = files.read_table(path, text_columns=True)
        files.write_table(table[table["block"] != "infusion2"], path)
    run(made)
    listed = read(made, "exclusions")
    assert listed[["block", "metric", "action", "reason"]].to_numpy().tolist() == [
        ["infusion2", "n_transients", "exclude", few]
    ]
    lost = read(made, "loss_by_condition")
    assert lost[lost["reason"] == "n_transients"]["n_lost"].tolist() == [1]
    every = lost[lost["reason"] == "any"].set_index("condition")
    assert every["n_lost"].to_dict() == {"placebo": 0, "naltrexone": 1}  # participant 2 began with naltrexone
    assert set(every["n_planned"]) == {4 * 6}


def test_a_session_without_baseline_is_left_out_by_name(tmp_path):
    made = write(tmp_path, n=8)
    edit_quality(made, "sub-003_ses-2", lambda t: t.__setitem__("linewidth_ppm", ["0.2"] + ["0.05"] * 5))
    headline = run(made)
    assert headline["notes"] == ["session 2 of 003 left out: no usable baseline block"]
    assert row_of(made, "primary")["n_sessions"] == 15
    assert row_of(made, "pair means")["remark"] == "1 participant(s) without every condition left out"
    assert "session 2 of 003 left out" in row_of(made, "primary")["remark"]
    assert (read(made, "exclusions")["action"] == "left out").any()


def test_a_failed_session_is_counted_and_the_rest_analysed(tmp_path):
    made = write(tmp_path, n=8)
    made.status.write_text(
        made.status.read_text().replace("sub-004_ses-1\tok\t", "sub-004_ses-1\tfailed\tfile is empty")
    )
    run(made)
    lost = read(made, "exclusions").iloc[-1]
    assert lost[["participant", "action", "stage", "reason"]].tolist() == ["004", "lost", "fit", "file is empty"]
    flow = read(made, "flow").query("condition == 'all'").set_index("step")["n_sessions"]
    assert flow[["in the sessions table", "lost at fit", "fitted"]].tolist() == [16, 1, 15]


@pytest.mark.usefixtures("png_alone")
@pytest.mark.parametrize(("lost", "rows"), [("failed", 8), ("excluded", 48)])
def test_without_a_usable_session_tables_and_pages_say_why(tmp_path, lost, rows):
    made = write(tmp_path, n=4)
    if lost == "failed":
        made.status.write_text(made.status.read_text().replace("\tok\t", "\tfailed\tfile is empty"))
    else:
        for i in range(8):
            edit_quality(made, f"sub-{i // 2 + 1:03d}_ses-{i % 2 + 1}", lambda t: t.__setitem__("linewidth_ppm", "0.2"))
    headline = run(made)
    assert headline["estimate"] is None
    assert "no session has usable blocks" in headline["reason"]
    assert len(read(made, "exclusions")) == rows
    flow = read(made, "flow").query("condition == 'all'").set_index("step")
    assert flow.loc["in the sessions table", "n_sessions"] == 8
    assert flow.loc["in the primary analysis", ["n_participants", "n_sessions", "n_blocks"]].tolist() == [0, 0, 0]
    assert set(layout.group_files(study_config.load(str(made.config)))) <= {p.name for p in made.output.glob("group/*")}
    config = study_config.load(str(made.config))
    group_figures.draw_all(group_read.load(config), made.output / "figures")
    drawn = {entry["name"] for entry in group_figures.read_index(made.output / "figures") if entry["drawn"]}
    assert {"flow", "availability"} <= drawn
    assert not {"contrasts", "time_course", "paired_change"} & drawn
    assert "no session has usable blocks" in group_page.write(config).read_text(encoding="utf-8")


def test_parallel_groups_are_the_ancova_of_participants(tmp_path):
    made = write(tmp_path, n=20, design="parallel")
    run(made)
    arm = np.arange(20) % 2
    values = np.array([made.values[f"sub-{i + 1:03d}_ses-1"] for i in range(20)])
    x = np.column_stack([np.ones(20), arm, values[:, 0]])
    known = sm.OLS(values[:, 1:].mean(axis=1), x).fit()
    y, groups, weights = values[:, 1:].mean(axis=1), np.where(arm, "b", "a"), np.array([0.0, 1, 0])
    row = row_of(made, "primary")
    found = [row["estimate"], row["se"], row["df"]]
    np.testing.assert_allclose(found, [known.params[1], *by_group(x, y, groups, weights)], rtol=1e-6)
    row = row_of(made, "equal variances")
    np.testing.assert_allclose([row["estimate"], row["se"], row["df"]], [known.params[1], known.bse[1], 17], rtol=1e-6)
    robust = row_of(made, "HC3 standard error", "sensitivity")
    assert robust["se"] == pytest.approx(sm.OLS(known.model.endog, x).fit(cov_type="HC3").bse[1], rel=1e-6)
    assert row_of(made, "clinical outcome")["df_method"] == "Welch-Satterthwaite"


def test_attenuation_between_groups_of_unequal_size_is_bounded_where_t_is_critical(tmp_path):
    """Fieller's limits are the ratios r at which treated - r reference is just significant."""
    made = write(tmp_path, n=25, design="parallel", group={"estimand": "response"})
    change_sessions(made, lambda t: t.__setitem__("arm", np.where(np.arange(25) < 8, "naltrexone", "placebo")))
    run(made)
    change = np.array([v[1:].mean() - v[0] for v in made.values.values()])
    treated, reference = change[:8], change[8:]
    parts = treated.var(ddof=1) / 8, (treated.mean() / reference.mean()) ** 2 * reference.var(ddof=1) / 17
    df = sum(parts) ** 2 / (parts[0] ** 2 / 7 + parts[1] ** 2 / 16)

    def beyond(fraction):
        a, b = treated, (1 - fraction) * reference  # each group has a variance of its own, as in the model
        error = np.sqrt(a.var(ddof=1) / 8 + b.var(ddof=1) / 17)
        return abs(a.mean() - b.mean()) / error - stats.t.ppf(0.975, df)

    row = read(made, "attenuation").iloc[0]
    assert row["fraction"] == pytest.approx(1 - treated.mean() / reference.mean(), rel=1e-6)
    limits = optimize.brentq(beyond, -5, row["fraction"]), optimize.brentq(beyond, row["fraction"], 5)
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], limits, rtol=1e-6)


def test_condition_by_phase_is_free_of_the_period():
    """Twice as many began with placebo as with naltrexone, and a change of the scanner raised every second visit."""
    rng, rows = np.random.default_rng(4), []
    for i, visit, b in np.ndindex(12, 2, 6):
        arm = NAMES[(visit + (i >= 8)) % 2]
        rows.append((str(i), str(visit + 1), arm, f"b{b}", "baseline" if b < 2 else "infusion", float(b), 0.4 * visit))
    names = ["participant", "visit", "condition", "block", "phase", "onset_s", "outcome"]
    blocks = pd.DataFrame(rows, columns=names).assign(session=lambda t: t["visit"])
    blocks["outcome"] += rng.normal(0, 0.03, (12, 2)).repeat(6) + rng.normal(0, 0.02, len(blocks))
    model = contrasts.phase_model(contrasts.Plan("crossover", tuple(NAMES), (), "outcome", (), 99, 1), blocks)
    weights = {p: model.difference("condition", *NAMES[::-1], phase=p) for p in ("baseline", "infusion")}
    for phase in weights:
        assert weights[phase] @ model.fit.beta == pytest.approx(0, abs=0.05)  # 0.13 is what the visit would add
    means = blocks.pivot_table("outcome", "participant", ["condition", "phase"])
    changes = means["naltrexone"] - means["placebo"]
    known = (changes["infusion"] - changes["baseline"]).mean()
    assert (weights["infusion"] - weights["baseline"]) @ model.fit.beta == pytest.approx(known, abs=1e-6)


def test_single_arm_is_the_one_sample_test_of_changes(tmp_path):
    made = write(tmp_path, n=10, design="single_arm", conditions=("ketamine",))
    run(made)
    changes = [v[1:].mean() - v[0] for v in made.values.values()]
    known = stats.ttest_1samp(changes, 0)
    row = row_of(made, "pair means")
    np.testing.assert_allclose([row["estimate"], row["t"], row["p"]], [np.mean(changes), *known[:2]], rtol=1e-6)
    assert row_of(made, "primary")["estimate"] == pytest.approx(np.mean(changes), rel=1e-6)


def test_three_conditions_have_named_contrasts_and_attenuation_by_the_control(tmp_path):
    named = [
        {"name": "block", "treated": "naltrexone", "reference": "placebo"},
        {"name": "drug", "treated": "placebo", "reference": "saline"},
    ]
    settings = {"contrasts": named, "control": "saline"}
    made = write(tmp_path, n=12, conditions=("placebo", "naltrexone", "saline"), group=settings)
    run(made)
    found = read(made, "contrasts")
    primary = found[found["analysis"] == "primary"].set_index("contrast")
    assert list(primary.index) == ["block", "drug"]
    low, high = sorted(primary["p"])
    assert sorted(primary["p_adjusted"]) == pytest.approx(sorted([min(2 * low, 1), max(2 * low, high)]))
    fraction = read(made, "attenuation").iloc[0]
    assert fraction["contrast"] == "block"
    drug = primary.loc["drug", "estimate"]
    assert fraction["fraction"] == pytest.approx(1 - (drug + primary.loc["block", "estimate"]) / drug, rel=1e-6)


def test_condition_aliased_with_period_is_not_estimated(tmp_path):
    made = write(tmp_path, n=6)
    change_sessions(made, lambda t: t.__setitem__("arm", np.where(t["visit"] == "1", "placebo", "naltrexone")))
    headline = run(made)
    assert headline["estimate"] is None
    assert "condition and visit change together" in headline["reason"]


def test_an_arm_without_data_is_said(tmp_path):
    made = write(tmp_path, n=6)
    text = made.config.read_text().replace("- naltrexone", "- naltrexone\n  - saline")
    made.config.write_text(text)
    headline = run(made)
    assert "condition 'saline' has no usable session" in headline["reason"]
    assert (made.output / "group" / "blocks_wide.tsv").exists()


def test_one_participant_is_not_a_comparison(tmp_path):
    assert "1 participant" in run(write(tmp_path, n=1))["reason"]


def test_moderator_aliased_with_sequence_is_not_estimated(tmp_path):
    made = write(tmp_path, n=8, group={"moderators": ["order"]})
    change_sessions(made, lambda t: t.__setitem__("order", np.where(t["participant"].astype(int) % 2 == 0, "x", "y")))
    run(made)
    row = row_of(made, "moderator")
    assert pd.isna(row["estimate"])
    assert "changes together with the sequence" in row["remark"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.__setitem__("madrs_day1", ["12", "thirteen", *t["madrs_day1"][2:]]),
            "line 3: madrs_day1 is 'thirteen'",
        ),
        (lambda t: t.__setitem__("madrs_pre", ["inf", *t["madrs_pre"][1:]]), "line 2: madrs_pre is 'inf'"),
        (lambda t: t.__setitem__("arm", "placebo"), "line 3: participant '001' has arm 'placebo' twice"),
        (lambda t: t.pop("visit"), "column 'visit' is missing"),
    ],
)
def test_a_bad_sessions_table_is_one_clear_line(tmp_path, change, message):
    made = write(tmp_path, n=4)
    change_sessions(made, change)
    with pytest.raises(InputError, match=message):
        run(made)


def test_a_participant_in_both_arms_of_a_parallel_trial_is_refused(tmp_path):
    made = write(tmp_path, n=4)
    made.config.write_text(made.config.read_text().replace("design: crossover", "design: parallel"))
    with pytest.raises(
        InputError, match="line 3: participant '001' has several sessions, and a parallel trial compares one"
    ):
        run(made)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("infusion2\tinfusion", "infusion1\tinfusion", "block 'infusion1' stands twice"),
        ("\t240\t7\t0\tGlx\t", "\t240\t7\t0\tGlx\tmuch", "cannot be read"),
    ],
)
def test_a_bad_table_of_fits_names_the_session(tmp_path, old, new, message):
    made = write(tmp_path, n=3)
    path = next(made.output.rglob("sub-002_ses-1_desc-blocks_mrsfit.tsv"))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=rf"sub-002_ses-1: .*{message}"):
        run(made)


def test_an_infinite_ratio_is_refused(tmp_path):
    made = write(tmp_path, n=3)
    path = next(made.output.rglob("sub-002_ses-1_desc-blocks_mrsfit.tsv"))
    lines = path.read_text().splitlines()
    bad = next(i for i, line in enumerate(lines) if "\tGlx\t" in line)
    cells = lines[bad].split("\t")
    cells[15] = "inf"
    lines[bad] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="sub-002_ses-1: Glx/tNAA of block 'baseline' is infinite"):
        run(made)


def test_an_unknown_outcome_or_contrast_is_refused(tmp_path):
    made = write(tmp_path, n=3, group={"outcome": "Lac/tNAA"})  # in the basis set
    with pytest.raises(InputError, match="Lac/tNAA is not in the fits"):
        run(made)
    made = write(tmp_path / "b", n=3, group={"contrasts": [{"name": "a", "treated": "nope", "reference": "placebo"}]})
    with pytest.raises(InputError, match="names 'nope'"):
        run(made)
