"""Figures of what was tested: contrasts with intervals, attenuation, mood, variance components."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.reporting.figures import (
    COLOURS,
    GREY,
    INK,
    PALE,
    condition_styles,
    decimals,
    legend_below,
    mean_interval,
    minus,
    new_figure,
    p_value,
    panel_title,
    plain,
)
from mrsflow.reporting.group_data import POOLED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mrsflow.reporting.group_data import TrialResults


OTHER_QUESTIONS = ("carry-over", "equivalence", "non-inferiority", "tipping point")
"""Rows of the sensitivity table whose value, interval or p answers another question than the primary one."""

MOST_LETTERS = 46
"""Letters in a line of a label of a forest: a third of its width."""
SHOWN_CONTRASTS = ("primary", "baseline by arm", "secondary", "moderator", "subgroup")


def draw_forest(axes: "Axes", rows: pd.DataFrame, label: str, emphasis: int = 1) -> None:
    """Draw estimates with their intervals, one row each from the top, and their numbers on the right.

    Parameters
    ----------
    axes : Axes
    rows : DataFrame
        name, estimate, ci_low, ci_high, p; an interval or estimate that is not finite is left
        out, one far wider than the first ends in an arrow.
    label : str
        Of the horizontal axis, with unit.
    emphasis : int
        Number of rows from the top set in colour: the primary analysis.
    """
    y = np.arange(len(rows))[::-1]
    low, high = span(rows)
    for n, (at, row) in enumerate(zip(y, rows.itertuples(), strict=True)):
        colour = COLOURS[0] if n < emphasis else INK
        if np.isfinite([row.ci_low, row.ci_high]).all():
            ends = np.clip([row.ci_low, row.ci_high], low, high)
            axes.plot(ends, [at, at], color=colour, linewidth=1.3)
            for end, beyond, arrow in zip(ends, (row.ci_low < low, row.ci_high > high), "<>", strict=True):
                if beyond:
                    axes.plot(end, at, arrow, color=colour, markersize=4)
        if low <= row.estimate <= high:
            axes.plot(row.estimate, at, "s", color=colour, markersize=5 if n < emphasis else 4)
        axes.annotate(numbers(row), (1.02, at), va="center", fontsize=7, xycoords=("axes fraction", "data"),
                      annotation_clip=False)  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.set(yticks=y, ylim=(-0.7, len(rows) - 0.3), xlabel=folded(label, 70))
    axes.set_yticklabels([folded(name) for name in rows["name"]])
    axes.tick_params(axis="y", length=0)


def folded(name: object, width: int = MOST_LETTERS) -> str:
    """Fold a long label, inside a word too, so that it leaves room for what it names."""
    return plain(textwrap.fill(str(name), width))


def forest_height(names: pd.Series, row: float = 5.5) -> float:
    """Height of a forest (mm) in which no label touches the next: `row` for each row, more where labels fold."""
    lines = max((folded(name).count("\n") + 1 for name in names), default=1)
    return 24 + len(names) * max(row, 3.4 * lines + 1)


def span(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits beyond which intervals end in an arrow: the first row's interval, twice its width to either side."""
    low, high = rows["ci_low"].iloc[0], rows["ci_high"].iloc[0]
    if not np.isfinite([low, high]).all():
        return -np.inf, np.inf
    return low - 2 * (high - low), high + 2 * (high - low)


def numbers(row: Any) -> str:
    """Write estimate, interval and p of a row of a forest."""
    if not np.isfinite(row.estimate):
        return "not estimated"
    digits = decimals(row.ci_low, row.ci_high)
    text = f"{row.estimate:z.{digits}f}"
    if np.isfinite([row.ci_low, row.ci_high]).all():
        text += f" [{row.ci_low:z.{digits}f}, {row.ci_high:z.{digits}f}]"
    if np.isfinite(row.p):
        text += f"  p {p_value(row.p)}"
    return minus(text)


def forest_rows(table: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Rows of a table of contrasts, in percent of the mean baseline, under the names to show."""
    columns = {"percent_of_baseline": "estimate", "percent_ci_low": "ci_low", "percent_ci_high": "ci_high", "p": "p"}
    found = table[list(columns)].apply(pd.to_numeric).rename(columns=columns)
    return found.assign(name=names.astype(str)).reset_index(drop=True)


def sensitivity_rows(trial: "TrialResults") -> tuple[pd.DataFrame, int, str] | None:
    """Rows of the forest of the sensitivity analyses, how many are primary, and the contrast; None without any."""
    table = trial.tables.get("sensitivity")
    if table is None or table.empty:
        return None
    table = table[~table["analysis"].isin(OTHER_QUESTIONS)]
    names = table["analysis"].where(table["df_method"] != "range", table["analysis"] + " (range)")
    own = table["estimand"].fillna(table["estimand"].iloc[0])
    names = names.where(own == own.iloc[0], names + " [" + own + "]")
    return forest_rows(table, names), 1, str(table["contrast"].iloc[0])


def sensitivity(trial: "TrialResults") -> "Figure | None":
    """Draw the primary contrast and every sensitivity analysis side by side."""
    found = sensitivity_rows(trial)
    if found is None:
        return None
    rows, primary, contrast = found
    figure, axes = new_figure(forest_height(rows["name"]))
    draw_forest(axes, rows, f"{trial.outcome}, {contrast} (% of mean baseline)", primary)
    return figure


def contrast_rows(trial: "TrialResults") -> tuple[pd.DataFrame, int] | None:
    """Rows of the forest of contrasts, and how many of them are primary; None without any."""
    table = trial.tables.get("contrasts")
    if table is None or table.empty:
        return None
    table = pd.concat([table[table["analysis"] == kind] for kind in SHOWN_CONTRASTS])
    named = table["outcome"] + ", " + table["contrast"]
    names = named.where(~table["analysis"].isin(["moderator", "subgroup"]), table["contrast"])
    names = names.where(table["analysis"] != "baseline by arm", named + " (baseline)")
    return forest_rows(table, names), int((table["analysis"] == "primary").sum())


def contrasts(trial: "TrialResults") -> "Figure | None":
    """Draw every contrast of the primary and secondary outcomes, and those by moderators such as sex."""
    found = contrast_rows(trial)
    if found is None:
        return None
    figure, axes = new_figure(forest_height(found[0]["name"]))
    draw_forest(axes, found[0], "Difference (% of mean baseline)", found[1])
    return figure


def denominator(trial: "TrialResults") -> "Figure | None":
    """Draw the changes of numerator, denominator and ratio side by side: which part of the ratio moved."""
    table = trial.tables.get("denominator")
    if table is None or table["change_percent"].isna().all():
        return None
    names = table["quantity"] + " (" + table["part"] + ")"
    values = table[["ci_low", "ci_high", "p"]].assign(estimate=table["change_percent"], name=names)
    figure, axes = new_figure(forest_height(names, 8))
    contrast = table["contrast"].iloc[0]
    draw_forest(axes, values, f"Change from baseline, {contrast} (% of the session's baseline)", 0)
    return figure


def attenuation(trial: "TrialResults") -> "Figure | None":
    """Draw the fraction of the response that the treatment took away, with Fieller's interval or that it has none."""
    table = trial.tables.get("attenuation")
    if table is None or "fraction" not in table:
        return None
    table = table[table["fraction"].notna()]
    if table.empty:
        return None
    values = table[["fraction", "ci_low", "ci_high"]].apply(pd.to_numeric) * 100
    values.columns = ["estimate", "ci_low", "ci_high"]
    bounded = table["bounded"].astype(bool)
    values.loc[~bounded, ["ci_low", "ci_high"]] = np.nan
    names = table["outcome"] + ", " + table["contrast"] + np.where(bounded, "", " (not bounded)")
    if table.duplicated(["outcome", "contrast"]).any():
        names += " [" + table["estimand"] + "]"
    figure, axes = new_figure(forest_height(names, 8))
    draw_forest(axes, values.assign(p=np.nan, name=names), "Attenuation (% of the response in the reference arm)")
    axes.axvline(100, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
    return figure


def mood(trial: "TrialResults") -> "Figure | None":
    """Draw the mood score at each time point: individuals, and the mean of each arm with its interval."""
    import seaborn as sns

    scores = trial.mood
    if scores.empty:
        return None
    times = list(dict.fromkeys(scores["time_point"]))
    conditions = trial.present if trial.frozen else [POOLED]
    if not trial.frozen:
        scores = scores.assign(condition=POOLED)
    styles = condition_styles(conditions)
    figure, axes = new_figure(76, ncols=len(conditions) + 1, squeeze=False, sharey=True)
    scores = scores.assign(
        x=scores["time_point"].map(times.index), line=scores["participant"] + " " + scores["session"]
    )
    for n, (condition, panel) in enumerate(zip(conditions, axes[0], strict=False)):
        own = scores[scores["condition"] == condition]
        sns.lineplot(own, x="x", y="score", units="line", estimator=None, color=styles[condition]["color"], alpha=0.35,
                     linewidth=0.7, marker=styles[condition]["marker"], markersize=3, ax=panel)  # fmt: skip
        panel.set_title(panel_title(f"{condition} (n = {own['participant'].nunique()})", len(axes[0])))
        panel.set_ylabel(f"{trial.mood_label} score (points)")
        found = np.array([mean_interval(own.loc[own["time_point"] == t, "score"], trial.level) for t in times])
        x = np.arange(len(times)) + 0.05 * (n - (len(conditions) - 1) / 2)
        axes[0, -1].errorbar(
            x, found[:, 0], found[:, 1], label=plain(condition), capsize=3, markersize=5, **styles[condition]
        )
    for panel in axes[0]:
        panel.set(xlabel="Time point", xlim=(-0.3, len(times) - 0.7))
        panel.set_xticks(range(len(times)), [plain(t) for t in times])
    axes[0, -1].set_title("Means")
    legend_below(figure, axes[0, -1])
    return figure


def mood_link(trial: "TrialResults") -> "Figure | None":
    """Draw change of the outcome against change of mood, between participants and within them."""
    frame = trial.linked()
    if len(frame) < 3:
        return None
    columns = ["change_percent", "mood_change"]
    mean = frame.groupby("participant")[columns].mean()
    pairs = frame[frame.groupby("participant")["session"].transform("size") > 1]
    within = pairs[columns] - pairs.groupby("participant")[columns].transform("mean")
    panels = [("Between participants", mean, "mean of sessions"), ("Within participants", within, "session − own mean")]
    panels = [panel for panel in panels if len(panel[1]) > 2]
    figure, axes = new_figure(78, ncols=2, squeeze=False)
    for panel, (title, points, what) in zip(axes[0], panels, strict=False):
        _scatter(panel, points)
        panel.set(title=f"{title} (n = {len(points)})", xlabel=f"{plain(trial.outcome)} change, {what} (%)")
        panel.set_ylabel(f"{trial.mood_label} change, {what} (points)")
    for panel in axes[0][len(panels) :]:
        panel.set_axis_off()
    return figure


def _scatter(axes: "Axes", points: pd.DataFrame) -> None:
    import seaborn as sns

    sns.scatterplot(points, x="change_percent", y="mood_change", color=COLOURS[0], s=20, ax=axes)
    if points["change_percent"].std() > 0:
        slope, intercept = np.polyfit(points["change_percent"], points["mood_change"], 1)
        x = np.array([points["change_percent"].min(), points["change_percent"].max()])
        axes.plot(x, intercept + slope * x, color=INK, linewidth=1)


def components(trial: "TrialResults") -> "Figure | None":
    """Draw the variance components of the primary model."""
    rows = trial.tables.get("contrasts", pd.DataFrame()).head(1)
    names = {
        "sd_participant": "participants",
        "sd_session": "sessions of a participant",
        "sd_residual": "blocks of a session",
    }
    if rows.empty or rows[list(names)].isna().all(axis=None):
        return None
    figure, axes = new_figure(42)
    values = rows.iloc[0][list(names)].astype(float)
    axes.barh(list(names.values())[::-1], values.to_numpy()[::-1], color=PALE, edgecolor=INK, linewidth=0.7, height=0.6)
    for at, value in enumerate(values.to_numpy()[::-1]):
        axes.annotate(f" {value:.3g}", (value, at), va="center", fontsize=7.5)
    axes.set(xlabel=f"SD of {plain(trial.outcome)} between", ylabel="")
    axes.margins(x=0.12)
    return figure
