"""Figures of what went in and what was left out: flow, data at hand, quality distributions, reliability."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.anatomy import overlap, registration
from mrsflow.reporting.figures import COLOURS, GREY, INK, PALE, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mrsflow.reporting.group_data import Judged, TrialResults

MOST_ROWS = 220
"""Sessions up to which the figure of the data at hand has a row for each."""

STATES = {
    2: ("used", COLOURS[0]),
    3: ("used, fit doubtful", COLOURS[5]),
    1: ("not used", COLOURS[1]),
    0: ("no data", PALE),
}
"""Label and colour of what `TrialResults.availability` tells, in the order of the legend."""

LABELS = {
    "linewidth_ppm": "Linewidth (ppm)",
    "linewidth_hz": "Linewidth (Hz)",
    "snr": "SNR",
    "rejected_fraction": "Rejected (fraction)",
    "residual_water_after_ratio": "Water left / NAA (ratio)",
    "lipid_ratio": "Lipid / NAA (ratio)",
    "drift_hz": "Drift (Hz)",
    "drift_after_hz": "Drift left (Hz)",
    "coil_snr_gain": "Gain of all coils (ratio)",
    "shift_sd_hz": "SD of frequency (Hz)",
    "phase_sd_deg": "SD of phase (degrees)",
    "residual_water_ratio": "Water / NAA (ratio)",
    "lipid_range": "Range of lipid / NAA",
    "water_linewidth_hz": "Linewidth of water (Hz)",
    "shift_hz": "Shift taken out (Hz)",
}

COLUMNS = 3
MOST_POINTS = 1500
"""Values of a panel beyond which its points are one picture in the files of lines."""
NAMED = 3
"""Sessions beyond the limits whose names stand in a panel."""
FAR = 1.5
"""A limit of exclusion further beyond that of warning than so many ranges of the values is told, not drawn."""


def flow(trial: "TrialResults") -> "Figure":
    """Draw participants, sessions and blocks from planned to analysed, with the reason of every loss.

    After the CONSORT statement: Schulz et al. 2010, doi:10.1136/bmj.c332.
    """
    line = 4.3  # mm
    steps = trial.flow
    boxes = [line * (1 + step.counts.count("\n") + 1) + 3 for step in steps]
    heights = [max(box, line * len(step.losses) + 4) + 6 for box, step in zip(boxes, steps, strict=True)]
    total = sum(heights)
    figure, axes = new_figure(total + 4)
    axes.set(xlim=(0, 176), ylim=(0, total))
    axes.set_axis_off()
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    top = total
    for n, (step, box, height) in enumerate(zip(steps, boxes, heights, strict=True)):
        _box(axes, top, box, f"{step.title}\n{step.counts}")
        if n + 1 < len(steps):
            axes.annotate("", (32, top - height), (32, top - box), arrowprops=arrow)
            if step.losses:
                axes.annotate("", (75, top - box / 2), (64, top - box / 2), arrowprops=arrow)
        if step.losses:
            _note(axes, top, step.losses)
        top -= height
    return figure


def _note(axes: "Axes", top: float, lines: list[str]) -> None:
    frame = {"boxstyle": "square,pad=0.4", "facecolor": "white", "edgecolor": GREY, "linewidth": 0.7}
    axes.text(76.5, top - 1.5, "\n".join(map(plain, lines)), va="top", fontsize=7.5, linespacing=1.45, bbox=frame)


def _box(axes: "Axes", top: float, height: float, text: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((0.3, top - height), 63.5, height - 0.3, facecolor="#eef2f6", edgecolor=INK, linewidth=0.8)
    )
    axes.text(32, top - height / 2, plain(text), ha="center", va="center", fontsize=8, linespacing=1.4)


def availability(trial: "TrialResults") -> "Figure":
    """Draw which blocks are used, doubtful, excluded or missing: a row per session, or shares of very many."""
    from matplotlib.colors import ListedColormap

    names, grid, rows = [plain(name) for name in trial.block_names], trial.availability(), trial.keys
    if len(rows) > MOST_ROWS:
        figure, axes = new_figure(60)
        _draw_shares(axes, grid, names)
    else:
        colours = ListedColormap([STATES[state][1] for state in sorted(STATES)])
        columns = -(-len(rows) // 55)
        per_column = -(-len(rows) // columns)
        figure, axes = new_figure(30 + 3.1 * per_column, ncols=columns, squeeze=False)
        for n, panel in enumerate(axes[0]):
            part = slice(n * per_column, (n + 1) * per_column)
            panel.pcolormesh(grid[part], cmap=colours, vmin=-0.5, vmax=3.5, edgecolors="white", linewidth=0.5)
            panel.set_ylim(per_column, 0)
            panel.set_xticks(np.arange(len(names)) + 0.5, names, rotation=60, ha="right", rotation_mode="anchor")
            panel.set_yticks(np.arange(len(rows[part])) + 0.5, rows[part], fontsize=7)
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
    labels, shown = zip(*STATES.values(), strict=True)
    figure.legend([_swatch(colour) for colour in shown], labels, loc="outside upper center", ncols=len(labels))
    return figure


def _draw_shares(axes: "Axes", grid: "NDArray", names: list[str]) -> None:
    left = np.zeros(len(names))
    for state, (_, colour) in STATES.items():
        share = 100 * (grid == state).mean(axis=0)
        axes.barh(names, share, left=left, color=colour, height=0.8)
        left += share
    axes.invert_yaxis()
    axes.set(xlabel="Sessions (%)", xlim=(0, 100))


def _swatch(colour: Any) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, edgecolor="none")


def distributions(trial: "TrialResults") -> "Figure | None":
    """Draw every metric over the sessions, with the limits it has and what lies beyond them."""
    shown = trial.judged
    if not shown:
        return None
    rows = -(-len(shown) // COLUMNS)
    figure, axes = new_figure(12 + 38 * rows, nrows=rows, ncols=COLUMNS, squeeze=False, sharex=True)
    for panel, metric in zip(axes.flat, shown, strict=False):
        _draw_metric(panel, metric, trial.keys)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel in axes.flat[max(len(shown) - COLUMNS, 0) : len(shown)]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("Session")
    return figure


def _draw_metric(axes: "Axes", metric: "Judged", keys: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    many = {"linestyle": "none", "rasterized": metric.values.size > MOST_POINTS}
    size = float(np.clip(90 / max(len(keys), 1), 1.2, 3.5))
    within = ~(metric.warned | metric.excluded)
    for part, marker, colour, scale in (
        (within, "o", COLOURS[0], 1.0),
        (metric.warned, "^", COLOURS[4], 1.5),
        (metric.excluded, "x", COLOURS[1], 1.5),
    ):
        look = {"marker": marker, "color": colour, "markersize": scale * size, "markeredgewidth": 0.9 * (marker == "x")}
        axes.plot(metric.places[part] + 1, metric.values[part], **look, **many)
    for limit, look in zip(_shown_limits(metric), (":", "-"), strict=True):
        if limit is not None:
            axes.axhline(limit, color=COLOURS[1], linewidth=0.9, linestyle=look)
    label = LABELS.get(metric.name, plain(metric.name))
    axes.set_title(f"{label}, {metric.values.size} {metric.level}s\n{_limits(metric)}", fontweight="normal", fontsize=7)
    axes.set_xlim(0.3, len(keys) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    _name_the_worst(axes, metric, keys)


def _limits(metric: "Judged") -> str:
    """Write the limits of a metric with how many values are beyond them."""
    if metric.warn is None and metric.exclude is None:
        return "no limit"
    sign = ">" if metric.worse == "above" else "<"
    limits = (("warned", metric.warn, metric.warned), ("excluded", metric.exclude, metric.excluded))
    return ", ".join(f"{word} {sign} {limit:g}: {found.sum()}" for word, limit, found in limits if limit is not None)


def _shown_limits(metric: "Judged") -> tuple[float | None, float | None]:
    """Limits that are drawn: the nearer one always, exclusion not where it would press the values into a line."""
    warn, exclude = metric.warn, metric.exclude
    if warn is None or exclude is None or metric.excluded.any():
        return warn, exclude
    held = [*metric.values, warn]
    return warn, exclude if abs(exclude - warn) < FAR * np.ptp(held) else None


def _name_the_worst(axes: "Axes", metric: "Judged", keys: list[str]) -> None:
    """Write the session beside the value that is furthest beyond a limit, of the worst few sessions."""
    beyond = np.flatnonzero(metric.warned | metric.excluded)
    order = np.argsort(metric.values[beyond], kind="stable")
    named: set[int] = set()
    for one in beyond[order[::-1] if metric.worse == "above" else order]:
        place = int(metric.places[one])
        if place in named or len(named) == NAMED:
            continue
        named.add(place)
        left = place > len(keys) / 2
        axes.annotate(
            plain(keys[place]).replace("sub-", "").replace("_ses-", "/"),
            (place + 1, metric.values[one]),
            xytext=(-3 if left else 3, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=5.5,
            color=INK,
        )


def reliability(trial: "TrialResults") -> "Figure | None":
    """Draw baseline values of the first against the second session, with what they say of reliability."""
    pairs = trial.baseline_pairs()
    if len(pairs) < 3:
        return None
    figure, axes = new_figure(76, ncols=2)
    first, second = pairs.to_numpy().T
    axes[0].plot(first, second, "o", color=COLOURS[0], markersize=4)
    low, high = np.nanmin(pairs.to_numpy()), np.nanmax(pairs.to_numpy())
    axes[0].plot([low, high], [low, high], color=GREY, linewidth=0.7)
    labels = [f"Baseline {plain(trial.outcome)}, visit {visit}" for visit in pairs]
    axes[0].set(xlabel=labels[0], ylabel=labels[1], title=f"Agreement of visits (n = {len(pairs)})")
    mean, difference = (first + second) / 2, second - first
    centre, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    axes[1].plot(mean, difference, "o", color=COLOURS[0], markersize=4)
    for value, look in ((centre, "-"), (centre - spread, "--"), (centre + spread, "--")):
        axes[1].axhline(value, color=INK, linewidth=0.8, linestyle=look)
    axes[1].set(xlabel=f"Mean {plain(trial.outcome)} of both visits", ylabel="Difference of visits")
    axes[1].set_title("Difference and 95 % limits of agreement")
    return figure


def voxel_overlap(trial: "TrialResults") -> "Figure | None":
    """Share of sessions whose voxel covers each place of the template, in three planes through the centre of mass."""
    if not trial.places:
        return None
    found = overlap.of_voxels(list(trial.places.values()))
    brain = registration.template_image()
    figure, axes = new_figure(62, ncols=3)
    x, y, z = found.centre
    name, shown = f"{len(trial.places)} sessions", None
    for ax, (flat, across, up) in zip(axes, ((2, 0, 1), (1, 0, 2), (0, 1, 2)), strict=True):
        if brain is not None:
            plane, extent = _plane(np.asarray(brain.dataobj), brain.affine, flat, found.centre[flat])
            ax.imshow(plane, extent=extent, origin="lower", cmap="gray", vmin=0, interpolation="bilinear")
        plane, extent = _plane(found.share, found.affine, flat, found.centre[flat])
        hidden = np.ma.masked_less(plane, 0.02)
        shown = ax.imshow(hidden, extent=extent, origin="lower", cmap="viridis", vmin=0, vmax=1, alpha=0.8)
        ax.plot(found.centre[across], found.centre[up], "+", color=COLOURS[1], markersize=6)
        ax.set(title=f"{'xyz'[flat]} = {found.centre[flat]:.0f} mm", xlabel=f"{'xyz'[across]} (mm)")
        ax.set(ylabel=f"{'xyz'[up]} (mm)", aspect="equal")
        if across == 0:
            for at, side in ((0.03, "L"), (0.97, "R")):
                ax.text(at, 0.94, side, transform=ax.transAxes, ha="left" if side == "L" else "right", color=GREY)
    figure.colorbar(shown, ax=axes, label=f"Share of {name}", shrink=0.8)
    figure.suptitle(f"Centre of mass {x:.1f}, {y:.1f}, {z:.1f} mm", fontsize=8)
    return figure


def _plane(values: Any, affine: Any, flat: int, at: float) -> tuple[Any, tuple[float, ...]]:
    """Plane of an image on a grid along the axes at a place (mm), and its extent."""
    index = int(np.clip(np.rint((at - affine[flat, 3]) / affine[flat, flat]), 0, values.shape[flat] - 1))
    axes = [axis for axis in range(3) if axis != flat]
    plane, extent = np.take(values, index, axis=flat).T, []
    for place, axis in enumerate(axes):
        step, n = affine[axis, axis], values.shape[axis]
        ends = [affine[axis, 3] - step / 2, affine[axis, 3] + step * (n - 0.5)]
        if step < 0:
            plane = np.flip(plane, axis=1 - place)
        extent += sorted(ends)
    return plane, tuple(extent)
