"""The specification curve: estimates of every declared way to analyse, and the choices below them."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mrsflow.reporting.figures import COLOURS, GREY, INK, new_figure, p_value, plain
from mrsflow.statistics.multiverse import AXES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mrsflow.reporting.group_data import TrialResults

SIGNIFICANT = 0.05


def multiverse(trial: "TrialResults") -> "Figure | None":
    """Draw the estimates of all paths in their order, with intervals, above a mark for each choice they make."""
    table, tests = trial.tables.get("multiverse"), trial.tables.get("multiverse_test")
    if table is None or not np.isfinite(table["percent_of_baseline"].astype(float)).any():
        return None
    numbers = ["percent_of_baseline", "percent_ci_low", "percent_ci_high", "p"]
    table = table.assign(**{name: pd.to_numeric(table[name]) for name in numbers}).sort_values(
        numbers[0], kind="stable"
    )
    declared, table = len(table), table[np.isfinite(table[numbers[0]])]
    varied = [(axis, choice) for axis in AXES for choice in _choices(table, axis)]
    figure, (above, below) = new_figure(
        75 + 4.5 * max(len(varied), 1), nrows=2, height_ratios=(60, 10 + 4.5 * len(varied))
    )
    x, estimate, low, high, p = np.arange(len(table)), *(table[name].to_numpy(float) for name in numbers)
    clear = p < SIGNIFICANT
    for mask, colour in ((~clear, GREY), (clear, COLOURS[0])):
        above.vlines(x[mask], low[mask], high[mask], color=colour, linewidth=0.8)
        above.plot(x[mask], estimate[mask], "o", color=colour, markersize=2.5)
    above.axhline(0, color=INK, linewidth=0.7, linestyle=(0, (3, 2)))
    above.set(xticks=[], ylabel="% of mean baseline", title=_said(table, tests))
    for at, (axis, choice) in enumerate(varied):
        made = (table[axis] == choice).to_numpy()
        below.plot(x[made], np.full(made.sum(), at), "|", color=INK, markersize=5)
    below.set(
        xticks=[], yticks=range(len(varied)), ylim=(len(varied) - 0.4, -0.6), xlim=above.get_xlim(),
        xlabel=f"{len(table)} of {declared} declared paths, in the order of their estimates",
    )  # fmt: skip
    below.set_yticklabels([plain(f"{axis}: {choice}") for axis, choice in varied])
    return figure


def _choices(table: pd.DataFrame, axis: str) -> list[str]:
    """Values of an axis along which paths differ, in the order of the table; of one that is constant none."""
    if axis not in table:
        return []
    found = list(dict.fromkeys(table.sort_values("path")[axis].dropna()))
    return found if len(found) > 1 else []


def _said(table: pd.DataFrame, tests: pd.DataFrame | None) -> str:
    """Give the contrast, and the p-values of the joint tests."""
    said = plain(str(table["contrast"].iloc[0]))
    if tests is None or not np.isfinite(tests["p"].astype(float)).all():
        return said
    median, share = tests["p"].astype(float)
    return f"{said}\njoint tests: median p {p_value(median)}, share of paths p {p_value(share)}"
