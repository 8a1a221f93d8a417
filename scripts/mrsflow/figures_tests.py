"""Figures of what was tested: contrasts with intervals, attenuation, mood, variance components."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mrsflow.figures import COLOURS, GREY, INK, PALE, arm_styles, legend_below, mean_interval, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mrsflow.group_data import Trial


def draw_forest(axes: "Axes", rows: pd.DataFrame, label: str, emphasis: str = "") -> None:
    """Draw estimates with their 95 % intervals, one row each from the top, and their numbers on the right.

    Parameters
    ----------
    axes : Axes
    rows : DataFrame
        name, estimate, ci_low, ci_high, p; an interval that is not finite is left out.
    label : str
        Of the horizontal axis, with unit.
    emphasis : str
        Name of the row to set in colour: the primary analysis.
    """
    y = np.arange(len(rows))[::-1]
    for at, row in zip(y, rows.itertuples(), strict=True):
        colour = COLOURS[0] if row.name == emphasis else INK
        if np.isfinite([row.ci_low, row.ci_high]).all():
            axes.plot([row.ci_low, row.ci_high], [at, at], color=colour, linewidth=1.3)
        axes.plot(row.estimate, at, "s", color=colour, markersize=5 if row.name == emphasis else 4)
        interval = f"{row.estimate:.3g} [{row.ci_low:.3g}, {row.ci_high:.3g}]"
        text = interval + (f"  p {row.p:.3f}" if np.isfinite(row.p) else "")
        axes.annotate(text.replace("-", "−").replace("p 0.000", "p < 0.001"), (1.02, at), va="center", fontsize=7,
                      xycoords=("axes fraction", "data"), annotation_clip=False)  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.set(yticks=y, ylim=(-0.7, len(rows) - 0.3), xlabel=label)
    axes.set_yticklabels([plain(name) for name in rows["name"]])
    axes.tick_params(axis="y", length=0)


def sensitivity(trial: "Trial") -> "Figure | None":
    """Draw the primary contrast and every sensitivity analysis side by side."""
    rows = trial.forest("sensitivity")
    if rows.empty:
        return None
    figure, axes = new_figure(24 + 6 * len(rows))
    draw_forest(
        axes, rows, f"{plain(rows['contrast'].iloc[0])}: difference in {plain(trial.outcome)}", rows["name"].iloc[0]
    )
    return figure


def contrasts(trial: "Trial") -> "Figure | None":
    """Draw every contrast of the primary and secondary outcomes, and those by sex, as percent of baseline."""
    rows = trial.forest("contrasts")
    if rows.empty:
        return None
    figure, axes = new_figure(24 + 6 * len(rows))
    draw_forest(axes, rows, "Difference between arms (% of baseline)", rows["name"].iloc[0])
    return figure


def attenuation(trial: "Trial") -> "Figure | None":
    """Draw the fraction of the response that the treatment took away, with Fieller's interval or that it has none."""
    table = trial.tables.get("attenuation")
    if table is None or table.empty:
        return None
    figure, axes = new_figure(20 + 11 * len(table))
    y = np.arange(len(table))[::-1]
    for at, row in zip(y, table.itertuples(), strict=True):
        bounded = str(row.bounded).lower() == "true"
        if bounded:
            axes.plot([100 * row.ci_low, 100 * row.ci_high], [at, at], color=INK, linewidth=1.3)
        else:
            axes.annotate("not bounded: reference change not different from 0", (1.02, at), va="center", fontsize=7,
                          xycoords=("axes fraction", "data"), annotation_clip=False)  # fmt: skip
        axes.plot(100 * row.fraction, at, "s", color=COLOURS[0], markersize=5)
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.axvline(100, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
    axes.set(yticks=y, ylim=(-0.7, len(table) - 0.3), xlabel="Attenuation (% of the response in the reference arm)")
    axes.set_yticklabels([plain(row.label) for row in table.itertuples()])
    return figure


def mood(trial: "Trial") -> "Figure | None":
    """Draw the mood score at each time point: individuals, and the mean of each arm with its interval."""
    import seaborn as sns

    scores = trial.mood
    if scores.empty:
        return None
    times = list(dict.fromkeys(scores["time"]))
    arms = trial.arms if trial.frozen else ["all sessions"]
    if not trial.frozen:
        scores = scores.assign(arm="all sessions")
    styles = arm_styles(arms)
    figure, axes = new_figure(76, ncols=len(arms) + 1, squeeze=False, sharey=True)
    scores = scores.assign(x=scores["time"].map(times.index), line=scores["participant"] + " " + scores["session"])
    for n, (arm, panel) in enumerate(zip(arms, axes[0], strict=False)):
        own = scores[scores["arm"] == arm]
        sns.lineplot(own, x="x", y="score", units="line", estimator=None, color=styles[arm]["color"], alpha=0.35,
                     linewidth=0.7, marker=styles[arm]["marker"], markersize=3, ax=panel)  # fmt: skip
        panel.set(
            title=f"{plain(arm)} (n = {own['participant'].nunique()})", ylabel=f"{trial.mood_label} score (points)"
        )
        found = np.array([mean_interval(own.loc[own["time"] == t, "score"]) for t in times])
        x = np.arange(len(times)) + 0.05 * (n - (len(arms) - 1) / 2)
        axes[0, -1].errorbar(x, found[:, 0], found[:, 1], label=plain(arm), capsize=3, markersize=5, **styles[arm])
    for panel in axes[0]:
        panel.set(xlabel="Time point", xlim=(-0.3, len(times) - 0.7))
        panel.set_xticks(range(len(times)), [plain(t) for t in times])
    axes[0, -1].set_title("Means with 95 % interval")
    legend_below(figure, axes[0, -1])
    return figure


def mood_link(trial: "Trial") -> "Figure | None":
    """Draw change of the outcome against change of mood, between participants and within them."""
    frame = trial.linked()
    if len(frame) < 3:
        return None
    mean = frame.groupby("participant")[["change", "mood_change"]].mean()
    count = frame.groupby("participant")["session"].transform("size")
    pairs = frame[count > 1]
    own = pairs.groupby("participant")[["change", "mood_change"]].transform("mean")
    within = pairs[["change", "mood_change"]] - own
    figure, axes = new_figure(78, ncols=2)
    label = f"{plain(trial.outcome)} change"
    _scatter(
        axes[0], mean, "Between participants", f"{label}, mean of sessions (%)", f"{trial.mood_label} change (points)"
    )
    _scatter(
        axes[1],
        within,
        "Within participants",
        f"{label}, session − own mean (%)",
        f"{trial.mood_label} change − own mean (points)",
    )
    return figure


def _scatter(axes: "Axes", points: pd.DataFrame, title: str, xlabel: str, ylabel: str) -> None:
    import seaborn as sns

    sns.scatterplot(points, x="change", y="mood_change", color=COLOURS[0], s=20, ax=axes)
    if len(points) > 2 and points["change"].std() > 0:
        slope, intercept = np.polyfit(points["change"], points["mood_change"], 1)
        x = np.array([points["change"].min(), points["change"].max()])
        axes.plot(x, intercept + slope * x, color=INK, linewidth=1)
    axes.set(title=f"{title} (n = {len(points)})", xlabel=xlabel, ylabel=ylabel)


def components(trial: "Trial") -> "Figure | None":
    """Draw the variance components of the primary model."""
    rows = trial.forest("sensitivity").head(1)
    names = {
        "sd_participant": "participants",
        "sd_session": "sessions of a participant",
        "sd_residual": "blocks of a session",
    }
    if rows.empty or not set(names) <= set(rows):
        return None
    figure, axes = new_figure(42)
    values = rows.iloc[0][list(names)].astype(float)
    axes.barh(list(names.values())[::-1], values.to_numpy()[::-1], color=PALE, edgecolor=INK, linewidth=0.7, height=0.6)
    for at, value in enumerate(values.to_numpy()[::-1]):
        axes.annotate(f" {value:.3g}", (value, at), va="center", fontsize=7.5)
    axes.set(xlabel=f"SD of {plain(trial.outcome)} between", ylabel="")
    axes.margins(x=0.12)
    return figure
