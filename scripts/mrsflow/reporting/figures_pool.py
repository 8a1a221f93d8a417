"""Figures of pooled trials: every trial with the mean, and estimates against their standard errors."""

from typing import TYPE_CHECKING

import numpy as np

from mrsflow.pooling.pool import FEW_FOR_FUNNEL, Pool
from mrsflow.reporting.figures import COLOURS, GREY, INK, PALE, minus, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FUNNEL = 1.959964
"""Standard errors from the mean within which 95 % of trials lie that differ by chance alone."""


def axis_label(pool: Pool) -> str:
    """Name of the axis of effects, with unit."""
    outcomes = list(dict.fromkeys(str(t.told["outcome"]) for t in pool.trials if "outcome" in t.told))
    what = outcomes[0] if len(outcomes) == 1 else "Effect"
    return plain(f"{what}, treated less reference ({pool.unit})")


def forest(pool: Pool) -> "Figure":
    """Draw every trial with its own interval and weight, the mean with and without the guard, and the prediction."""
    rows = len(pool.trials) + 3
    figure, axes = new_figure(22 + 6 * rows)
    axes.set_title("Trials and their mean")
    y = np.arange(rows)[::-1]
    for at, trial, weight in zip(y, pool.trials, pool.weights, strict=False):
        low, high = interval(trial.effect, pool.level)
        axes.plot([low, high], [at, at], color=INK, linewidth=1.2)
        axes.plot(trial.effect.estimate, at, "s", color=INK, markersize=3 + 5 * np.sqrt(weight))
        _numbers(axes, at, trial.effect.estimate, low, high, f"{100 * weight:.0f} %")
    plain_row, guarded = pool.rows[:2]
    for at, row, colour in zip(y[-3:], (plain_row, guarded), (COLOURS[0], COLOURS[1]), strict=False):
        ends = [row.ci_low, row.estimate, row.ci_high, row.estimate]
        if np.isfinite(ends).all():
            axes.fill(ends, [at, at + 0.28, at, at - 0.28], color=colour)
        _numbers(axes, at, row.estimate, row.ci_low, row.ci_high, "")
    if np.isfinite([plain_row.prediction_low, plain_row.prediction_high]).all():
        ends = [plain_row.prediction_low, plain_row.prediction_high]
        axes.plot(ends, [y[-1]] * 2, color=COLOURS[0], linewidth=1.2, linestyle=(0, (2, 1.5)), marker="|")
        _numbers(axes, y[-1], np.nan, *ends, "")
    axes.axhline(y[-3] + 0.5, color=PALE, linewidth=0.7)
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    names = [f"{trial.name} ({trial.effect.n})" for trial in pool.trials]
    names += ["Mean, random effects", "The same, guarded", "Prediction of a further trial"]
    axes.set(yticks=y, ylim=(-0.7, rows - 0.3), xlabel=axis_label(pool))
    axes.set_yticklabels([plain(name) for name in names])
    axes.tick_params(axis="y", length=0)
    return figure


def interval(effect: "object", level: float) -> tuple[float, float]:
    """Give the interval of a trial by itself, by Student's t with its own degrees of freedom."""
    from scipy.special import stdtrit

    half = stdtrit(effect.df, 0.5 + level / 2) * effect.se
    return float(effect.estimate - half), float(effect.estimate + half)


def _numbers(axes: "Axes", at: float, value: float, low: float, high: float, weight: str) -> None:
    text = f"{value:z.2f} " if np.isfinite(value) else ""
    text += f"[{low:z.2f}, {high:z.2f}]" if np.isfinite([low, high]).all() else "not estimated" * (not text)
    shown = minus(f"{text}  {weight}".rstrip())
    axes.annotate(shown, (1.02, at), va="center", fontsize=7, xycoords=("axes fraction", "data"), annotation_clip=False)


def funnel(pool: Pool) -> "Figure":
    """Draw estimates against their standard errors, and say where there are too few to see anything in it."""
    figure, axes = new_figure(85)
    errors = [trial.effect.se for trial in pool.trials]
    top = 1.1 * max(errors)
    middle = pool.rows[0].estimate
    axes.plot([middle - FUNNEL * top, middle, middle + FUNNEL * top], [top, 0, top], color=GREY, linewidth=0.8)
    axes.axvline(middle, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)))
    axes.plot([trial.effect.estimate for trial in pool.trials], errors, "o", color=COLOURS[0], markersize=5)
    few = f": {len(pool.trials)} are too few (from {FEW_FOR_FUNNEL} on), their shape says nothing"
    title = "Small trials" + few * (len(pool.trials) < FEW_FOR_FUNNEL)
    axes.set(xlabel=axis_label(pool), ylabel=f"Standard error ({pool.unit})", ylim=(top, 0), title=title)
    return figure
