"""What every picture shares: one width, legible type, safe colours, the ppm axis, files of the same bytes each time."""

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mrsflow.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 180 / 25.4
"""Width of every figure (inch): 180 mm, two columns of a journal."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours told apart with any colour vision: Okabe and Ito 2008, https://jfly.uni-koeln.de/color."""

MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#d9d9d9"

STYLE = {
    "figure.dpi": 200,
    "text.hinting": "none",  # text is as wide in every format
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "mrsflow",
}

METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def style() -> "Iterator[None]":
    """Draw in the project's style, without a display."""
    import matplotlib as mpl

    mpl.use("agg")
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, "backend": "agg"}):
        yield


def new_figure(height: float, **layout: Any) -> tuple["Figure", Any]:
    """Make a figure of the one width and its axes.

    Parameters
    ----------
    height : float
        mm.
    **layout
        As for `matplotlib.pyplot.subplots`; without ``nrows`` and ``ncols`` there is one pair of axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height / 25.4), layout="constrained")
    return figure, figure.subplots(**layout)


def save(figure: "Figure", stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, each the same bytes for the same figure; returns the paths."""
    figure.draw_without_rendering()  # lays out once for all formats
    figure.set_layout_engine("none")
    paths = []
    for kind, metadata in METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
        paths.append(path)
    return paths


def condition_styles(conditions: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour, marker and line style of each arm, in the order given: never told apart by colour alone."""
    dashes = ("-", "--", "-.", ":")
    return {
        str(condition): {
            "color": COLOURS[n % len(COLOURS)],
            "marker": MARKERS[n % len(MARKERS)],
            "linestyle": dashes[n % len(dashes)],
        }
        for n, condition in enumerate(conditions)
    }


def legend_below(figure: "Figure", axes: "Axes") -> None:
    """Put the legend of some axes below the whole figure, where it hides no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def ppm_axis_of(axes: "Axes", ppm_range: ArrayLike) -> None:
    """Give axes a chemical-shift axis, high ppm on the left, and no scale for the arbitrary signal."""
    low, high = sorted(float(v) for v in np.asarray(ppm_range))
    axes.set(xlim=(high, low), xlabel="Chemical shift (ppm)")
    axes.set_xticks([tick for tick in np.arange(0, 6, 0.5) if low <= tick <= high])


def minus(text: str) -> str:
    """Write the hyphens of numbers as minus signs."""
    return text.replace("-", "−")


def plain(text: object) -> str:
    """Text as it is: a dollar sign in a label of the data starts no formula."""
    return str(text).replace("$", r"\$")


def p_value(p: float) -> str:
    """Write a p-value as every figure and page does.

    >>> p_value(0.01239), p_value(0.00004)
    ('0.012', '< 0.001')
    """
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def decimals(low: float, high: float) -> int:
    """Decimals that an interval is worth: two digits of half its width; 2 where it is not known.

    >>> decimals(-11.75, 2.08), decimals(-0.129, 0.023), decimals(float("nan"), 1.0)
    (1, 3, 2)
    """
    half = abs(high - low) / 2
    return 2 if not (np.isfinite(half) and half > 0) else int(np.clip(1 - np.floor(np.log10(half)), 0, 6))


def panel_title(text: object, columns: int) -> str:
    """Text for the title of one of several panels beside each other, folded where it would be cut."""
    import textwrap

    return plain(textwrap.fill(str(text), 76 // columns))


def mean_interval(values: ArrayLike, level: float) -> tuple[float, float]:
    """Mean and half-width of its t interval over the finite values; the half-width is NaN for fewer than two."""
    from scipy.special import stdtrit

    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if found.size < 2:
        return (float(found[0]) if found.size else np.nan), np.nan
    quantile = stdtrit(found.size - 1, 0.5 + level / 2)
    return float(found.mean()), float(quantile * found.std(ddof=1) / np.sqrt(found.size))
