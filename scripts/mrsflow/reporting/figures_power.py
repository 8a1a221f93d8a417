"""The figure of a plan: power and precision against the number of participants."""

from typing import TYPE_CHECKING

import numpy as np

from mrsflow.reporting import figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(table: "pd.DataFrame") -> "Figure":
    """Draw power and precision against the number of participants, a line for each design, effect and loss.

    The width of the interval does not depend on the effect.
    """
    lines = table.groupby(["design", "attenuation", "lost_blocks"], sort=False)
    figure, axes = figures.new_figure(75 + 5 * -(-lines.ngroups // 2), ncols=2)
    designs, effects = list(dict.fromkeys(table["design"])), list(dict.fromkeys(table["attenuation"]))
    losses = list(dict.fromkeys(table["lost_blocks"]))
    for (design, attenuation, lost), cell in lines:
        colour = figures.COLOURS[effects.index(attenuation) % len(figures.COLOURS)]
        name = f"{design}, attenuation {100 * attenuation:g} %"
        label = name + (f", {100 * lost:g} % lost" if len(losses) > 1 else "")
        look = {"color": colour, "marker": figures.MARKERS[losses.index(lost) % len(figures.MARKERS)], "markersize": 4}
        look["linestyle"] = "-" if designs.index(design) == 0 else "--"
        x = cell["n_participants"]
        error = np.abs(cell[["power_low", "power_high"]].to_numpy().T - cell["power"].to_numpy())
        axes[0].errorbar(x, 100 * cell["power"], 100 * error, capsize=2, label=label, **look)
        if attenuation == effects[0]:
            axes[1].plot(x, cell["half_width_percent"], **look | {"color": figures.GREY})
    axes[0].axhline(80, color=figures.GREY, linewidth=0.7, linestyle=":")
    axes[0].set(ylim=(0, 102), xlabel="Participants in total", ylabel="Power of the primary test (%)", title="Power")
    axes[1].set(xlabel="Participants in total", ylabel="Half width of 95 % interval (% of baseline)")
    axes[1].set(title="Precision, whatever the attenuation", ylim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend([handle.lines[0] for handle in handles], labels, loc="outside lower center", ncols=2)
    return figure
