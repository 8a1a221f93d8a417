"""The figure of a plan: power and precision against the number of participants."""

from typing import TYPE_CHECKING

import numpy as np

from mrsflow.reporting import figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
"""Lines of the designs."""


def draw(table: "pd.DataFrame") -> "Figure":
    """Draw power and precision against the number of participants, a line for each design, question, effect and loss.

    The width of the interval does not depend on the effect.
    """
    table = table.assign(question=questions(table))
    lines = table.groupby(["design", "question", "attenuation", "lost_blocks"], sort=False, dropna=False)
    figure, axes = figures.new_figure(75 + 5 * -(-lines.ngroups // 2), ncols=2)
    designs, losses = list(dict.fromkeys(table["design"])), list(dict.fromkeys(table["lost_blocks"]))
    hues = list(dict.fromkeys(zip(table["question"], table["attenuation"].fillna(-1), strict=True)))
    drawn = set()
    for (design, question, attenuation, lost), cell in lines:
        own = attenuation if np.isfinite(attenuation) else -1
        parts = [design.replace("_", " "), question, f"attenuation {100 * own:g} %" * (own != -1)]
        label = ", ".join(p for p in (*parts, f"{100 * lost:g} % lost" * (len(losses) > 1)) if p)
        look = {"marker": figures.MARKERS[losses.index(lost) % len(figures.MARKERS)], "markersize": 4}
        look |= {"color": figures.COLOURS[hues.index((question, own)) % len(figures.COLOURS)]}
        look["linestyle"] = STYLES[designs.index(design) % len(STYLES)]
        x = cell["n_participants"]
        error = np.abs(cell[["power_low", "power_high"]].to_numpy().T - cell["power"].to_numpy())
        axes[0].errorbar(x, 100 * cell["power"], 100 * error, capsize=2, label=label, **look)
        if (design, question, lost) not in drawn and cell["half_width_percent"].notna().all():
            colour = figures.GREY if not question else look["color"]
            axes[1].plot(x, cell["half_width_percent"], **look | {"color": colour})
        drawn.add((design, question, lost))
    axes[0].axhline(80, color=figures.GREY, linewidth=0.7, linestyle=":")
    axes[0].set(ylim=(0, 102), xlabel="Participants in total", ylabel="Power of the primary test (%)", title="Power")
    level = f"Half width of {100 * table['ci_level'].iloc[0]:g} % interval (% of baseline)"
    axes[1].set(xlabel="Participants in total", ylabel=level, title="Precision, whatever the effect", ylim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend([handle.lines[0] for handle in handles], labels, loc="outside lower center", ncols=2)
    return figure


def questions(table: "pd.DataFrame") -> list[str]:
    """Say what is sought in each row: contrast, moderation and outcome, as far as they differ between rows."""
    several, outcomes = table["contrast"].nunique() > 1, table["outcome"].nunique() > 1
    return [
        ", ".join([c] * several + [o] * outcomes + ["moderated"] * (str(m).lower() == "true"))
        for c, o, m in zip(table["contrast"], table["outcome"], table["moderated"], strict=True)
    ]
