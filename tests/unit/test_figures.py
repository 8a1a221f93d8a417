"""What every figure shares, and what the figures of a study show: read back from the figure itself."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_results import ARMS, BLOCKS, write_study
from PIL import Image
from scipy import stats

from mrsflow.reporting import (
    figures,
    figures_course,
    figures_quality,
    figures_tests,
    group_figures,
    group_read,
)
from mrsflow.statistics import group
from mrsflow.study import layout

VOXEL = np.array([[20.0, 0, 0, 2], [0, 20, 0, 30], [0, 0, 20, 15], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A made-up trial of eight participants, whose voxels lie in one place."""
    found = group_read.load(write_study(tmp_path_factory.mktemp("trial"), 8))
    return replace(found, places=dict.fromkeys(found.keys, VOXEL))


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """The same trial before the freeze."""
    found = group_read.load(write_study(tmp_path_factory.mktemp("masked"), 8, frozen=False))
    return replace(found, places=dict.fromkeys(found.keys, VOXEL))


def texts(figure):
    """Every text of a figure."""
    return [t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")) if t.get_text()]


def line(axes, label):
    """Data of a drawn line with a label."""
    (found,) = [line for line in axes.get_lines() if line.get_label().startswith(label)]
    return found.get_xdata(), found.get_ydata()


@pytest.fixture(autouse=True)
def _style():
    with figures.style():
        yield


def test_mean_interval_is_that_of_the_t_test():
    values = np.random.default_rng(4).normal(5, 2, 11)
    mean, half = figures.mean_interval([*values, np.nan], 0.95)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert mean - half == pytest.approx(expected.low, rel=1e-12)
    assert mean + half == pytest.approx(expected.high, rel=1e-12)
    assert np.isnan(figures.mean_interval([3.0], 0.95)[1])


def test_files_have_the_same_bytes_each_time_and_no_date(tmp_path):
    def draw(stem):
        figure, axes = figures.new_figure(60)
        axes.plot([1, 2], [3, 4], label="a")
        axes.legend()
        return figures.save(figure, stem)

    first, second = draw(tmp_path / "a" / "x"), draw(tmp_path / "b" / "x")
    assert [p.suffix for p in first] == [".png", ".svg", ".pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert b"CreationDate" not in one.read_bytes() and b"<dc:date>" not in one.read_bytes()


@pytest.fixture(scope="module")
def drawn(trial, tmp_path_factory):
    """Folder of all figures of the trial."""
    folder = tmp_path_factory.mktemp("figures")
    group_figures.draw_all(trial, folder)
    return folder


@pytest.mark.parametrize("name", [picture.name for picture in group_figures.PICTURES])
def test_figure_has_the_one_width_and_nothing_is_cut_at_its_edge(drawn, name):
    picture = Image.open(drawn / f"{name}.png")
    assert picture.width == round(180 / 25.4 * 200)
    grey = np.asarray(picture.convert("L"))
    for edge in (grey[:, :2], grey[:, -2:], grey[:2], grey[-2:]):
        assert (edge == 255).all()
    assert (grey < 255).mean() > 0.005


def test_every_figure_is_drawn_and_indexed(drawn):
    index = group_figures.read_index(drawn)
    assert [entry["name"] for entry in index] == [picture.name for picture in group_figures.PICTURES]
    assert [entry["name"] for entry in index if not entry["drawn"]] == []
    assert {path.name for path in drawn.iterdir()} == set(layout.figure_files())


def luminance(colour):
    """Relative luminance of a hex colour (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_arms_differ_in_more_than_colour():
    styles = figures.condition_styles(["a", "b", "c", "d"])
    for one, other in itertools.combinations(styles.values(), 2):
        assert all(one[key] != other[key] for key in ("color", "marker", "linestyle"))
    for style in list(styles.values())[:2]:  # visible on white: contrast of at least 3
        assert 1.05 / (luminance(style["color"]) + 0.05) > 3


def test_chemical_shift_falls_to_the_right_and_peaks_stand_where_they_are(trial):
    figure = figures_course.mean_spectra(trial)
    top, below = figure.axes
    left, right = top.get_xlim()
    assert left > right
    assert "ppm" in below.get_xlabel()
    for condition in ARMS:
        x, y = line(top, condition)
        assert x[np.argmax(y)] == pytest.approx(2.008, abs=0.006)


def test_difference_of_spectra_has_the_sign_of_the_label(trial):
    condition = trial.spectra.condition
    values = trial.spectra.values + 0.01 * (condition == ARMS[1])[:, np.newaxis]
    shifted = replace(trial, spectra=replace(trial.spectra, values=values))
    plain, raised = (
        line(figures_course.mean_spectra(t).axes[1], f"{ARMS[1]} − {ARMS[0]}")[1] for t in (trial, shifted)
    )
    np.testing.assert_allclose(raised - plain, 0.01, rtol=1e-6)


def test_time_course_shows_the_means_at_the_middle_of_the_blocks(trial):
    panel = figures_course.time_course(trial).axes[-1]
    used = trial.blocks[~trial.blocks["excluded"]]
    for container, condition in zip(panel.containers, ARMS, strict=True):
        x, y = container[0].get_data()
        own = used[used["condition"] == condition]
        np.testing.assert_allclose(y, [own.loc[own["block"] == b, "Glx/tNAA"].mean() for b in BLOCKS], rtol=1e-9)
        np.testing.assert_allclose(x, 8 * np.arange(6) - 4, atol=0.5)
    assert "Glx/tNAA" in panel.get_ylabel() and "min" in panel.get_xlabel()


def test_percent_of_baseline_is_against_the_own_session():
    blocks = pd.DataFrame(
        {
            "participant": ["a"] * 4,
            "session": ["1", "1", "2", "2"],
            "phase": ["baseline", "infusion"] * 2,
            "v": [2.0, 3.0, 10.0, 9.0],
        }
    )
    np.testing.assert_allclose(figures_course.percent_of_baseline(blocks, "v"), [0, 100 / 6, 0, -100 / 6])


def test_course_is_that_of_the_table(trial):
    table = trial.tables["time_course"]
    own = table[table["outcome"] == "Glx/tNAA"]
    drawn = trial.course(trial.outcome)
    for name in ("mean", "ci_low", "ci_high"):
        np.testing.assert_allclose(drawn[name], own[name], rtol=1e-8)


def test_courses_while_masked_are_of_all_sessions(trial, hidden):
    table = hidden.tables["time_course"]
    assert set(table["condition"]) == {"all"}
    known = trial.tables["time_course"].set_index(["outcome", "block", "condition"]).sort_index()[["n", "mean"]]
    for row in table[table["outcome"] == "Glx/tNAA"].itertuples():
        own = known.loc[(row.outcome, row.block)]
        assert row.n == own["n"].sum()
        assert row.mean == pytest.approx(np.average(own["mean"], weights=own["n"]), rel=1e-9)
    assert set(hidden.tables) & {"contrasts", "sensitivity", "time_tests", "mood", "link"} == set()


def test_scores_and_changes_are_those_of_the_sessions_table(trial):
    sessions = trial.sessions.set_index(["participant", "session"])
    scores = trial.mood.set_index(["participant", "session", "time_point"])["score"]
    for (participant, session), row in sessions.iterrows():
        assert scores[participant, session, "pre"] == float(row["madrs_pre"])
    linked = trial.linked().set_index(["participant", "session"])["mood_change"]
    for key, change in linked.items():
        assert change == float(sessions.loc[key, "madrs_day1"]) - float(sessions.loc[key, "madrs_pre"])


def test_controls_show_denominator_linewidth_and_snr(trial):
    labels = [axes.get_ylabel() for axes in figures_course.controls(trial).axes]
    parts = [f"{name} (% of the session's mean)" for name in ("Glx", "tNAA")]
    assert labels == [*parts, "Linewidth (Hz)", "SNR (height / SD of noise)"]


def test_a_study_of_which_no_session_was_converted_has_no_metrics_to_draw(trial):
    empty = replace(trial, quality={level: pd.DataFrame() for level in ("block", "session")})
    assert empty.judged == []
    assert figures_quality.distributions(empty) is None


def test_masked_figures_name_no_arm_and_draw_no_mean_of_one(hidden):
    for picture in group_figures.PICTURES:
        if picture.compares:
            continue
        figure = picture.draw(hidden)
        assert figure is not None
        assert not [t for t in texts(figure) for condition in ARMS if condition in t], picture.name
    assert "arm A: 7 sessions" in "\n".join(texts(figures_quality.flow(hidden)))
    for draw in (figures_course.controls, figures_course.other_outcomes):
        assert {len(panel.containers) for panel in draw(hidden).axes if panel.axison} == {1}  # of all sessions
    assert len(figures_course.time_course(hidden).axes) == 1
    assert len(line(figures_course.mean_spectra(hidden).axes[0], figures_course.POOLED)) == 2


def test_what_compares_arms_is_not_drawn_while_masked(hidden, tmp_path, monkeypatch):
    def refuse(_):
        raise AssertionError("was computed")

    monkeypatch.setattr(
        group_figures,
        "PICTURES",
        tuple(replace(p, draw=refuse if p.compares else figures_quality.flow) for p in group_figures.PICTURES[:4]),
    )
    group_figures.draw_all(hidden, tmp_path)
    index = {entry["name"]: entry for entry in group_figures.read_index(tmp_path)}
    assert index["flow"]["drawn"] and not index["sensitivity"]["drawn"]
    assert "masked" in index["sensitivity"]["reason"]
    assert (tmp_path / "sensitivity.svg").is_file()


def test_change_of_each_participant_is_drawn_once_per_session(trial):
    used = trial.blocks[~trial.blocks["excluded"]]
    means = {key: own["Glx/tNAA"].mean() for key, own in used.groupby(["participant", "session", "phase"])}
    baseline = np.mean([value for key, value in means.items() if key[2] == "baseline"])
    expected = 100 * (means["001", "v1", "infusion"] - means["001", "v1", "baseline"]) / baseline
    own = trial.changes[(trial.changes["participant"] == "001") & (trial.changes["session"] == "v1")]
    assert own["change_percent"].item() == pytest.approx(expected, rel=1e-9)
    axes = figures_course.paired_change(trial).axes[0]
    drawn = sorted(y for points in axes.collections for _, y in points.get_offsets() if len(points.get_offsets()) > 1)
    expected = sorted(trial.changes["change_percent"])
    np.testing.assert_allclose([y for y in drawn if y in set(expected)], expected)


def test_forest_has_the_primary_row_on_top_with_its_interval():
    rows = pd.DataFrame(
        {
            "name": ["primary", "other denominator", "cost in $ and $"],
            "estimate": [-4.0, -3.0, np.nan],
            "ci_low": [-7.0, -8.0, np.nan],
            "ci_high": [-1.0, 2.0, np.nan],
            "p": [0.0121, 0.0001, np.nan],
        }
    )
    figure, axes = figures.new_figure(50)
    figures_tests.draw_forest(axes, rows, "Difference (%)")
    figure.draw_without_rendering()
    heights = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert heights["primary"] == max(heights.values())
    spans = [tuple(ln.get_xdata()) for ln in axes.get_lines() if len(ln.get_xdata()) == 2 and ln.get_linestyle() == "-"]
    assert spans == [(-7.0, -1.0), (-8.0, 2.0)]
    assert axes.get_xlabel() == "Difference (%)"
    numbers = [t for t in texts(figure) if "[" in t or "not" in t]
    assert numbers == ["−4.0 [−7.0, −1.0]  p 0.012", "−3.0 [−8.0, 2.0]  p < 0.001", "not estimated"]


def test_interval_far_wider_than_the_primary_one_ends_in_arrows():
    rows = pd.DataFrame(
        {
            "name": ["a", "b"],
            "estimate": [0.0, 99.0],
            "ci_low": [-1.0, -500.0],
            "ci_high": [1.0, 700.0],
            "p": [0.5, 0.5],
        }
    )
    _, axes = figures.new_figure(40)
    figures_tests.draw_forest(axes, rows, "x")
    arrows = {ln.get_marker(): ln.get_xdata()[0] for ln in axes.get_lines() if ln.get_marker() in "<>"}
    assert arrows == {"<": -5.0, ">": 5.0}
    assert np.ptp(axes.get_xlim()) < 12
    assert any("99 [−500, 700]" in t.get_text() for t in axes.texts)


def panels(figure):
    """Panels of the quality figure by the name of their metric."""
    return {axes.get_title("left").split(",")[0]: axes for axes in figure.axes if axes.get_title("left")}


def points(axes):
    """What a panel shows as points: [session number, value], in order."""
    drawn = [ln.get_xydata() for ln in axes.get_lines() if ln.get_marker() in "o^x" and len(ln.get_xdata())]
    return np.concatenate(drawn)[np.lexsort(np.concatenate(drawn).T)]


def test_every_value_is_drawn_once_at_its_session(trial):
    table = trial.quality["block"]
    numbers = [1 + trial.keys.index(f"sub-{p}_ses-{s}") for p, s in zip(table.participant, table.session, strict=True)]
    wanted = np.column_stack([numbers, table["snr"]])
    np.testing.assert_array_equal(
        points(panels(figures_quality.distributions(trial))["SNR"]), wanted[np.lexsort(wanted.T)]
    )


def test_a_metric_without_a_rule_is_drawn_and_has_no_limit(trial):
    trial = replace(trial, quality=trial.quality | {"session": trial.quality["session"].assign(coil_snr_gain=1.7)})
    panel = panels(figures_quality.distributions(trial))["Gain of all coils (ratio)"]
    assert len(points(panel)) == len(trial.quality["session"])
    assert panel.get_title("left").endswith("\nno limit")
    assert all(ln.get_marker() in "o^x" for ln in panel.get_lines())


def test_a_limit_of_exclusion_far_from_the_values_is_told_and_does_not_press_them_flat(trial):
    (metric,) = [m for m in trial.judged if m.name == "residual_water_after_ratio"]
    assert (metric.warn, metric.exclude) == (1, 5) and metric.values.max() < 1
    panel = panels(figures_quality.distributions(trial))["Water left / NAA (ratio)"]
    assert "excluded > 5: 0" in panel.get_title("left") and panel.get_ylim()[1] < 2


def test_the_sessions_furthest_beyond_a_limit_are_named(trial):
    table = trial.quality["block"].copy()
    table["snr"] = 50.0
    for place, value in ((0, 12.0), (7, 15.0), (14, 8.0), (21, 19.0)):
        table.iloc[place, table.columns.get_loc("snr")] = value
    worst = table.iloc[[14, 0, 7]]
    named = panels(figures_quality.distributions(replace(trial, quality=trial.quality | {"block": table})))["SNR"].texts
    wanted = [f"{p}/{s}" for p, s in zip(worst.participant, worst.session, strict=True)]
    assert [text.get_text() for text in named] == wanted


@pytest.mark.parametrize("name", ["sensitivity", "contrasts"])
def test_forests_draw_the_percent_columns_of_their_tables(trial, name):
    (axes,) = getattr(figures_tests, name)(trial).axes
    drawn = [tuple(ln.get_xdata()) for ln in axes.get_lines() if len(ln.get_xdata()) == 2 and ln.get_linestyle() == "-"]
    table = trial.tables[name].set_index("analysis")
    primary = table.loc[["primary"]].iloc[0]
    np.testing.assert_allclose(drawn[0], [primary["percent_ci_low"], primary["percent_ci_high"]])
    labels = [t.get_text() for t in axes.get_yticklabels()]
    wanted = {"sensitivity": ["pair means", "denominator tCr"], "contrasts": ["naltrexone - placebo in sex F"]}
    assert set(wanted[name]) <= set(labels)
    assert "carry-over" not in labels  # another question
    assert "% of mean baseline" in axes.get_xlabel()


def test_attenuation_without_bounds_has_no_interval(trial):
    table = trial.tables["attenuation"].assign(bounded=[False, True])
    (axes,) = figures_tests.attenuation(replace(trial, tables={**trial.tables, "attenuation": table})).axes
    assert axes.get_yticklabels()[0].get_text().endswith("(not bounded)")
    spans = [ln.get_xdata() for ln in axes.get_lines() if len(ln.get_xdata()) == 2 and ln.get_linestyle() == "-"]
    np.testing.assert_allclose(spans, 100 * table.loc[1:, ["ci_low", "ci_high"]].to_numpy(float))


def test_components_are_those_of_the_primary_model(trial):
    (axes,) = figures_tests.components(trial).axes
    primary = trial.tables["contrasts"].iloc[0]
    parts = {"participants": "participant", "sessions of a participant": "session", "blocks of a session": "residual"}
    labels = [t.get_text() for t in axes.get_yticklabels()]
    found = dict(zip(labels, [bar.get_width() for bar in axes.patches], strict=True))
    assert found == {label: primary[f"sd_{name}"] for label, name in parts.items()}


def test_flow_counts_what_is_left_and_says_why(trial):
    drawn = "\n".join(texts(figures_quality.flow(trial)))
    assert "8 participants, 16 sessions" in drawn
    assert "1 session lost at convert" in drawn and "the raw file is empty" in drawn
    assert "8 participants, 15 sessions,\n90 blocks" in drawn
    assert "linewidth_ppm beyond its limit of 0.12: 6 blocks" in drawn
    assert "8 participants, 14 sessions,\n84 blocks" in drawn


def test_flow_is_that_of_the_table_and_loses_nobody_unsaid(tmp_path):
    config = write_study(tmp_path, 4, frozen=False)
    sessions = pd.read_csv(config["inputs"]["sessions"], sep="\t", dtype=str)
    again = sessions.iloc[[0, 1]].assign(participant="099", session=["v1", "v2"])
    pd.concat([sessions, again]).to_csv(config["inputs"]["sessions"], sep="\t", index=False)
    people = pd.read_csv(config["inputs"]["participants"], sep="\t", dtype=str)
    pd.concat([people, people.iloc[[0]].assign(participant="099")]).to_csv(
        config["inputs"]["participants"], sep="\t", index=False
    )
    group.run(config)
    found = group_read.load(config)
    table = found.tables["flow"].query("condition == 'all'").set_index("step")["n_sessions"]
    lost = ["without scans", "lost at convert", "lost at preprocess", "lost at fit"]
    assert table[lost].tolist() == [2, 1, 0, 0]
    assert table["in the sessions table"] == 10 == table[lost].sum() + table["fitted"]
    drawn = "\n".join(texts(figures_quality.flow(found)))
    assert "5 participants, 10 sessions" in drawn and "4 participants, 7 sessions,\n42 blocks" in drawn
    assert "2 sessions without scans" in drawn and "sub-099_ses-v1: no row in the samples table" in drawn
    assert "1 session lost at convert" in drawn and "sub-004_ses-v2: samples.tsv, line 9" in drawn


def test_availability_marks_used_excluded_and_absent(trial):
    grid = trial.availability()
    assert grid.shape == (16, 6)
    assert (grid[trial.keys.index("sub-002_ses-v2")] == 1).all()
    assert (grid[trial.keys.index("sub-008_ses-v2")] == 0).all()
    assert (grid == 2).sum() == 84
    doubtful = replace(trial, blocks=trial.blocks.assign(fit_status="doubtful")).availability()
    np.testing.assert_array_equal(doubtful, np.where(grid == 2, 3, grid))


def test_availability_of_very_many_sessions_is_a_share_of_each_block(trial, monkeypatch):
    monkeypatch.setattr(figures_quality, "MOST_ROWS", 10)
    axes = figures_quality.availability(trial).axes[0]
    used = [bar.get_width() for bar in axes.containers[0]]
    np.testing.assert_allclose(used, 100 * 14 / 16)


def test_distributions_mark_what_the_rules_exclude(trial):
    metric = next(m for m in trial.judged if m.name == "linewidth_ppm")
    assert metric.excluded.sum() == 6 and metric.values[metric.excluded].min() > 0.12
    panel = panels(figures_quality.distributions(trial))["Linewidth (ppm)"]
    crosses = next(ln for ln in panel.get_lines() if ln.get_marker() == "x")
    assert sorted(crosses.get_ydata()) == sorted(metric.values[metric.excluded])
    assert {ln.get_ydata()[0] for ln in panel.get_lines() if ln.get_marker() not in "o^x"} == {0.08, 0.12}
    assert panel.get_title("left").endswith("warned > 0.08: 0, excluded > 0.12: 6")


def test_mood_shows_time_points_in_order_with_their_means(trial):
    figure = figures_tests.mood(trial)
    last = figure.axes[-1]
    assert [t.get_text() for t in last.get_xticklabels()] == ["pre", "day1"]
    sessions = trial.sessions
    for container, condition in zip(last.containers, ARMS, strict=True):
        own = sessions[sessions["condition"] == condition]
        expected = [pd.to_numeric(own[f"madrs_{t}"]).mean() for t in ("pre", "day1")]
        np.testing.assert_allclose(container[0].get_ydata(), expected)


def test_mood_link_splits_between_and_within(trial):
    left, right = figures_tests.mood_link(trial).axes
    linked = trial.linked()
    own = linked.groupby("participant")["change_percent"].mean()
    np.testing.assert_allclose(sorted(left.collections[0].get_offsets()[:, 0]), sorted(own))
    offsets = right.collections[0].get_offsets()
    assert abs(offsets.mean(axis=0)).max() < 1e-9
    assert len(offsets) == (linked.groupby("participant")["session"].transform("size") > 1).sum()


def test_reliability_pairs_the_visits_of_a_participant(trial):
    left, right = figures_quality.reliability(trial).axes
    x, y = left.get_lines()[0].get_data()
    means, differences = right.get_lines()[0].get_data()
    np.testing.assert_allclose(means, (x + y) / 2)
    np.testing.assert_allclose(differences, y - x)
    assert len(x) == 6  # one participant lost a visit at conversion, one by a rule


def test_voxels_lie_where_they_are_and_left_is_left(trial):
    """A voxel left, in front and above: the bright cells of each plane are those within its sides."""
    affine = np.diag([20.0, 30.0, 24.0, 1.0])
    affine[:3, 3] = centre = (-34.0, 41.0, 12.0)
    assert figures_quality.voxel_overlap(replace(trial, places={})) is None
    figure = figures_quality.voxel_overlap(replace(trial, places={"a": affine, "b": affine}))
    assert "-34.0, 41.0, 12.0 mm" in figure.get_suptitle()
    for axes, (across, up) in zip(figure.axes, ((0, 1), (0, 2), (1, 2)), strict=False):
        image = axes.get_images()[-1]
        values, (left, right, low, high) = np.ma.filled(image.get_array(), 0.0), image.get_extent()
        x, y = (a + (np.arange(n) + 0.5) * (b - a) / n
                for a, b, n in ((left, right, values.shape[1]), (low, high, values.shape[0])))  # fmt: skip
        rows, columns = np.nonzero(values > 0.99)
        for found, axis in ((x[columns], across), (y[rows], up)):
            half = affine[axis, axis] / 2
            assert found.min() == pytest.approx(centre[axis] - half, abs=3)
            assert found.max() == pytest.approx(centre[axis] + half, abs=3)
        assert axes.get_xlim()[0] < axes.get_xlim()[1] and axes.get_images()[-1].origin == "lower"


def test_a_label_with_dollars_stays_text(trial, tmp_path):
    figure, axes = figures.new_figure(30)
    axes.set_title(figures.plain("a $x_1$ & <b>"))
    (path, *_) = figures.save(figure, tmp_path / "x")
    assert path.stat().st_size > 0
    assert figures.plain("$x$") == r"\$x\$"


def test_long_name_of_an_arm_is_folded_not_cut(trial, tmp_path):
    name = "naltrexone 50 mg by mouth, 45 min before $0.5 mg/kg$ ketamine"
    renamed = trial.blocks.assign(condition=trial.blocks["condition"].replace(ARMS[1], name))
    course = trial.tables["time_course"].replace({"condition": {ARMS[1]: name}})
    tables = {**trial.tables, "time_course": course}
    own = replace(trial, blocks=renamed, conditions=(ARMS[0], name), tables=tables)
    figure = figures_course.time_course(own)
    path, *_ = figures.save(figure, tmp_path / "x")
    grey = np.asarray(Image.open(path).convert("L"))
    assert (grey[:, -2:] == 255).all() and (grey[:, :2] == 255).all()
    first, second, _ = (panel.title.get_window_extent() for panel in figure.axes)
    assert first.x1 < second.x0


@pytest.mark.parametrize(
    "name", ["x" * 200, "naltrexone 50 mg by mouth, 45 min before 0.5 mg/kg ketamine - placebo, likewise"]
)
@pytest.mark.parametrize("forest", ["sensitivity", "contrasts", "denominator"])
def test_labels_of_forests_are_folded_never_cut_nor_on_top_of_each_other(trial, tmp_path, forest, name):
    column = {"sensitivity": "analysis", "contrasts": "contrast", "denominator": "quantity"}[forest]
    table = trial.tables[forest].assign(contrast=name)
    table.loc[table.index[-2:], column] = name
    figure = getattr(figures_tests, forest)(replace(trial, tables={**trial.tables, forest: table}))
    path, *_ = figures.save(figure, tmp_path / "x")
    grey = np.asarray(Image.open(path).convert("L"))
    assert all((edge == 255).all() for edge in (grey[:, :2], grey[:, -2:], grey[:2], grey[-2:]))
    (axes,) = figure.axes
    assert axes.get_window_extent().width > 0.3 * figure.bbox.width
    boxes = sorted((t.get_window_extent() for t in axes.get_yticklabels()), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))


def test_every_figure_has_a_caption_of_its_own(root):
    assert [picture.name for picture in group_figures.PICTURES] == list(layout.FIGURES)
    for picture in group_figures.PICTURES:
        text = group_figures.caption_of(picture.name, {"group": {"level": 0.9}})
        assert len(text) > 40
        assert not re.search(r"95 % (?!limits of agreement)|[{}]", text), picture.name
    assert "90 % interval" in group_figures.caption_of("sensitivity", {"group": {"level": 0.9}})
    captions = {p.stem for p in (root / "report").glob("*.rst")} - {"workflow"}
    assert captions == {p.name for p in group_figures.PICTURES}
