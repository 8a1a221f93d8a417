"""Figures of the trial over time: courses by arm, mean spectra, change of each participant."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.reporting.figures import (
    GREY,
    INK,
    PALE,
    condition_styles,
    legend_below,
    mean_interval,
    new_figure,
    panel_title,
    plain,
    ppm_axis_of,
)
from mrsflow.reporting.group_data import POOLED
from mrsflow.statistics.timecourse import parts_of, relative

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mrsflow.reporting.group_data import TrialResults

CONTROLS = {
    "linewidth_hz": "Linewidth (Hz)",
    "snr": "SNR (height / SD of noise)",
}


def percent_of_baseline(blocks: pd.DataFrame, column: str, by: Sequence[str] = ("participant", "session")) -> pd.Series:
    """Change of each block from the baseline of `by`, in percent of the mean baseline; NaN without a baseline."""
    by = list(by)
    rest = blocks[blocks["phase"] == "baseline"].groupby(by)[column].mean()
    own = pd.MultiIndex.from_frame(blocks[by]).map(rest) if len(by) > 1 else blocks[by[0]].map(rest)
    return 100 * (blocks[column] - np.asarray(own, dtype=float)) / rest.mean()


def draw_course(axes: "Axes", points: pd.DataFrame) -> None:
    """Means over time with their intervals, arms a little apart so that bars do not hide each other."""
    conditions = list(dict.fromkeys(points["condition"]))
    shift = 0.012 * np.ptp(points["minutes"])
    for n, (condition, look) in enumerate(condition_styles(conditions).items()):
        own = points[points["condition"] == condition]
        x = own["minutes"].to_numpy(float) + shift * (n - (len(conditions) - 1) / 2)
        mean, low, high = own[["mean", "ci_low", "ci_high"]].to_numpy(float).T
        axes.errorbar(x, mean, [mean - low, high - mean], label=plain(condition), capsize=2, markersize=4, **look)


def draw_individuals(axes: "Axes", blocks: pd.DataFrame, column: str, colour: str, by: Sequence[str]) -> None:
    """One thin line per session, or participant."""
    import seaborn as sns

    lines = blocks.assign(line=blocks[list(by)].agg(" ".join, axis=1))
    sns.lineplot(
        lines, x="minutes", y=column, units="line", estimator=None, color=colour, alpha=0.3, linewidth=0.6, ax=axes
    )


def time_axis_of(axes: "Axes", trial: "TrialResults") -> None:
    """Name the time axis and mark the event; where visits are before and after, they are the time."""
    if trial.visits:
        axes.set_xticks(sorted(set(trial.sessions["visit"])))
        axes.set_xlabel("Visit")
        return
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    axes.set_xlabel(f"Time from {plain(trial.event)} (min)")


def time_course(trial: "TrialResults") -> "Figure":
    """Draw the primary outcome: individuals and mean of each arm, then all means with intervals."""
    blocks, label = trial.used, plain(trial.outcome)
    has_baseline = bool((blocks["phase"] == "baseline").any())
    by = ("participant",) if trial.visits else ("participant", "session")
    shown = percent_of_baseline(blocks, "outcome", by) if has_baseline else blocks["outcome"]
    blocks = blocks.assign(shown=shown)
    unit = f"{label}, change from baseline (%)" if has_baseline else label
    conditions = trial.present if trial.frozen else [POOLED]
    if not trial.frozen:
        blocks = blocks.assign(condition=POOLED)
    styles = condition_styles(conditions)
    figure, axes = new_figure(78, ncols=len(conditions) + trial.frozen, squeeze=False)
    for condition, panel in zip(conditions, axes[0], strict=False):
        own = blocks[blocks["condition"] == condition]
        draw_individuals(panel, own, "shown", styles[condition]["color"], by)
        time = own["visit"] if trial.visits else own["block"]
        mean = own.groupby(time).agg(minutes=("minutes", "mean"), shown=("shown", "mean")).sort_values("minutes")
        panel.plot(mean["minutes"], mean["shown"], color=INK, linewidth=1.6, marker="o", markersize=3)
        title = f"{condition} (n = {own['participant'].nunique()})"
        panel.set(title=panel_title(title, len(axes[0])), ylabel=unit)
        time_axis_of(panel, trial)
    _share_limits(axes[0][: len(conditions)])
    if trial.frozen:
        draw_course(axes[0][-1], trial.course(trial.outcome))
        axes[0][-1].set(title="Means", ylabel=f"{label} (ratio)")
        legend_below(figure, axes[0][-1])
        time_axis_of(axes[0][-1], trial)
    return figure


def _share_limits(panels: Any) -> None:
    limits = np.array([panel.get_ylim() for panel in panels])
    for n, panel in enumerate(panels):
        panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        if n:
            panel.set_ylabel("")


def controls(trial: "TrialResults") -> "Figure":
    """Draw numerator, denominator, linewidth and SNR over time: what a change of the ratio may be made of."""
    panels = control_labels(trial)
    rows = 2 if len(panels) > 3 else 1
    figure, axes = new_figure(18 + 56 * rows, nrows=rows, ncols=-(-len(panels) // rows), squeeze=False)
    for panel, (column, label) in zip(axes.flat, panels.items(), strict=True):
        draw_course(panel, trial.course(column))
        panel.set(ylabel=label)
        time_axis_of(panel, trial)
    legend_below(figure, axes[0, 0])
    return figure


def control_labels(trial: "TrialResults") -> dict[str, str]:
    """Label of what is shown beside the outcome over time, by its name in the table of the time course."""
    names = [relative(part) for part in parts_of(trial)]
    panels = {name: plain(name) for name in names} | CONTROLS
    return {column: label for column, label in panels.items() if len(trial.course(column))}


def other_outcomes(trial: "TrialResults") -> "Figure | None":
    """Draw every further outcome of the group tables over time, one panel each."""
    names = trial.outcomes
    if not names:
        return None
    rows = -(-len(names) // 3)
    figure, axes = new_figure(18 + 50 * rows, nrows=rows, ncols=3, squeeze=False)
    for name, panel in zip(names, axes.flat, strict=False):
        draw_course(panel, trial.course(name))
        panel.set(title=panel_title(name, 3), ylabel="Concentration (mM)" if name.endswith("/water") else "Ratio")
        time_axis_of(panel, trial)
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    legend_below(figure, axes.flat[0])
    return figure


def mean_spectra(trial: "TrialResults") -> "Figure | None":
    """Draw the mean spectrum of each arm with SD, and the difference from the reference arm with its interval."""
    spectra = trial.spectra
    if spectra is None or not len(spectra.values):
        return None
    conditions = [a for a in trial.present if a in set(spectra.condition)] if trial.frozen else [POOLED]
    labels = spectra.condition if trial.frozen else np.full(len(spectra.condition), POOLED)
    two = trial.frozen and len(conditions) > 1
    figure, axes = new_figure(
        105 if two else 72, nrows=1 + two, squeeze=False, sharex=True, height_ratios=[2, 1][: 1 + two]
    )
    top, styles = axes[0, 0], condition_styles(conditions)
    for condition in conditions:
        own = spectra.values[labels == condition]
        mean, sd = own.mean(axis=0), own.std(axis=0, ddof=1) if len(own) > 1 else np.zeros(own.shape[1])
        look = {k: styles[condition][k] for k in ("color", "linestyle")}
        top.plot(spectra.ppm, mean, linewidth=1, label=f"{plain(condition)} (n = {len(own)})", **look)
        top.fill_between(spectra.ppm, mean - sd, mean + sd, color=look["color"], alpha=0.2, linewidth=0)
    top.set(ylabel="Real signal (NAA of baseline = 1)", yticks=[])
    top.legend(title="Mean ± SD, infusion blocks" if trial.frozen else "Mean ± SD, all blocks", alignment="left")
    if two:
        for condition in conditions[1:]:
            _draw_difference(axes[1, 0], trial, condition, conditions[0], styles[condition]["color"])
        axes[1, 0].axhline(0, color=GREY, linewidth=0.7)
        axes[1, 0].set(ylabel="Difference", yticks=[])
        axes[1, 0].legend(alignment="left")
    ppm_axis_of(axes[-1, 0], (spectra.ppm.min(), spectra.ppm.max()))
    return figure


def _draw_difference(axes: "Axes", trial: "TrialResults", condition: str, reference: str, colour: str) -> None:
    """Mean difference of two arms at each shift with its pointwise interval, paired where participants have both."""
    from scipy.special import stdtrit

    spectra, shown = trial.spectra, f"{100 * trial.level:g} % interval"
    first, second = (
        {p: n for n, p in enumerate(spectra.participant) if spectra.condition[n] == a} for a in (condition, reference)
    )
    if trial.within:
        both = sorted(set(first) & set(second))
        difference = spectra.values[[first[p] for p in both]] - spectra.values[[second[p] for p in both]]
        mean, count = difference.mean(axis=0), len(both)
        error, freedom = difference.std(axis=0, ddof=1) / np.sqrt(count), count - 1
    else:
        a, b = (spectra.values[list(found.values())] for found in (first, second))
        mean, freedom = a.mean(axis=0) - b.mean(axis=0), len(a) + len(b) - 2
        error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    half = stdtrit(freedom, 0.5 + trial.level / 2) * error
    axes.plot(spectra.ppm, mean, color=colour, linewidth=0.9, label=f"{plain(condition)} − {plain(reference)}, {shown}")
    axes.fill_between(spectra.ppm, mean - half, mean + half, color=colour, alpha=0.25, linewidth=0)


def paired_change(trial: "TrialResults") -> "Figure | None":
    """Draw the change of each participant in each arm, joined, with sex and order marked."""
    import seaborn as sns

    change = trial.changes
    if change.empty:
        return None
    order = trial.present
    figure, axes = new_figure(80)
    first = change.sort_values("visit").drop_duplicates("participant").set_index("participant")["condition"]
    for participant, own in change.groupby("participant"):
        own = own.groupby("condition")["change_percent"].mean().reindex(order)
        line = "-" if first[participant] == order[0] else "--"
        axes.plot(range(len(order)), own, color=PALE, linewidth=0.8, linestyle=line, zorder=1)
    sns.scatterplot(
        change.assign(x=change["condition"].map(order.index), sex=change["sex"].fillna("sex not given")),
        x="x", y="change_percent", hue="sex", style="sex", palette="colorblind", s=22, ax=axes, zorder=2,
    )  # fmt: skip
    for n, condition in enumerate(order):
        mean, half = mean_interval(change.loc[change["condition"] == condition, "change_percent"], trial.level)
        axes.errorbar(n + 0.12, mean, half, color=INK, marker="D", markersize=4, capsize=3, linewidth=1.4, zorder=3)
    axes.axhline(0, color=GREY, linewidth=0.7, zorder=0)
    axes.set(xlim=(-0.5, len(order) - 0.5), xlabel="", ylabel=f"{plain(trial.outcome)}, infusion − baseline (%)")
    axes.set_xticks(range(len(order)), [plain(a) for a in order])
    axes.legend(title=f"Line: — {plain(order[0])} first, - - later", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
