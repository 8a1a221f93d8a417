"""The figure of a rehearsal: the interval of every simulated trial beside the truth."""

from typing import TYPE_CHECKING

from mrsflow.reporting.figures import COLOURS, GREY, INK, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def intervals(table: "pd.DataFrame", truth: float, label: str) -> "Figure":
    """Draw the estimates in their order of size with their intervals; those that miss the truth in colour."""
    found = table.dropna(subset=["estimate"]).sort_values("estimate", kind="stable")
    figure, axes = new_figure(85)
    for at, row in enumerate(found.itertuples()):
        missed = not row.ci_low <= truth <= row.ci_high
        colour, marker = (COLOURS[1], "s") if missed else (INK, "o")
        axes.plot([at, at], [row.ci_low, row.ci_high], color=colour, linewidth=1.0)
        axes.plot(at, row.estimate, marker, color=colour, markersize=3.5)
    axes.axhline(truth, color=COLOURS[0], linewidth=1.2)
    axes.axhline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)))
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.5}
    axes.annotate("truth", (1.01, truth), color=COLOURS[0], **beside)
    axes.set(xlabel="Simulated trials, by size of the estimate", ylabel=plain(label), title="Estimates and intervals")
    axes.set_xticks([])
    return figure
