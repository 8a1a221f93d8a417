"""A page of a fit to be printed: data, fit, baseline and residual beside the table of amounts."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import __version__
from mrsflow.files import atomic_path
from mrsflow.reporting.figures import COLOURS, GREY, INK, METADATA, plain, ppm_axis_of, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A4 = (297 / 25.4, 210 / 25.4)
"""Landscape (inch)."""
KNOWN_PERCENT = 20.0
"""Standard deviation (% of the amount) below which a row is printed bold, as LCModel's users expect."""
MOST_ROWS = 46
"""Rows that a page holds; sums and the metabolites that are known best come before others."""


def write(curves: dict[str, Any], amounts: "pd.DataFrame", quality: "pd.DataFrame", title: str, path: Path) -> None:
    """Write a PDF with a page for each fitted spectrum, the same bytes for the same fit.

    Parameters
    ----------
    curves : dict
        ``ppm (P)``, ``data, fit, baseline (B, P)`` and ``spectra (B)``, the numbers of the spectra.
    amounts, quality : DataFrame
        The tables of the fit: columns of ``fit`` and ``fit_quality``, a row for each amount and each spectrum.
    title : str
        What was fitted.
    path : Path
    """
    from matplotlib.backends.backend_pdf import PdfPages

    with style(), atomic_path(path) as temporary, PdfPages(temporary, metadata=METADATA["pdf"]) as pages:
        for block, spectrum in enumerate(curves["spectra"]):
            own = {name: curves[name][block] for name in ("data", "fit", "baseline")}
            rows = amounts[amounts["spectrum"] == spectrum]
            judged = quality[quality["spectrum"] == spectrum].iloc[0]
            said = title if len(curves["spectra"]) == 1 else f"{title}, spectrum {spectrum}"
            pages.savefig(draw(curves["ppm"], own, rows, judged, said))


def draw(
    ppm: np.ndarray, own: dict[str, np.ndarray], amounts: "pd.DataFrame", quality: "pd.Series", title: str
) -> "Figure":
    """Draw the page of one spectrum.

    Parameters
    ----------
    ppm : (P,) float
    own : dict of (P,) float
        data, fit, baseline.
    amounts : DataFrame
        Its rows of the table of amounts.
    quality : Series
        Its row of the table of fit quality.
    title : str
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=A4)
    grid = figure.add_gridspec(
        2, 2, width_ratios=(1.75, 1), height_ratios=(1, 5.2), left=0.045, right=0.985, top=0.86, bottom=0.075,
        hspace=0.05, wspace=0.04,
    )  # fmt: skip
    lower = figure.add_subplot(grid[1, 0])
    upper = figure.add_subplot(grid[0, 0], sharex=lower)
    _spectrum(lower, ppm, own)
    residual = own["data"] - own["fit"]
    upper.plot(ppm, residual, color=INK, linewidth=0.6)
    upper.axhline(0, color=GREY, linewidth=0.5)
    span = np.ptp(lower.get_ylim()) / 5.2
    upper.set(ylim=(-span / 2, span / 2), yticks=[], ylabel="Residual")
    upper.tick_params(labelbottom=False)
    _table(figure.add_subplot(grid[:, 1]), amounts)
    figure.text(0.045, 0.955, plain(title), fontsize=11, fontweight="bold", va="top")
    figure.text(0.045, 0.92, "\n".join(textwrap.wrap(_words(quality), 185)[:3]), fontsize=7.5, va="top")
    figure.text(0.985, 0.02, f"mrsflow {__version__}", fontsize=6.5, color=GREY, ha="right")
    return figure


def _spectrum(axes: "Axes", ppm: np.ndarray, own: dict[str, np.ndarray]) -> None:
    axes.plot(ppm, own["data"], color=INK, linewidth=0.7, label="data")
    axes.plot(ppm, own["fit"], color=COLOURS[1], linewidth=1.3, label="fit")
    axes.plot(ppm, own["baseline"], color=COLOURS[0], linewidth=0.9, label="baseline")
    ppm_axis_of(axes, (float(np.min(ppm)), float(np.max(ppm))))
    axes.set(yticks=[], ylabel="Real signal (i.u.)")
    axes.legend(loc="upper left")


def _words(quality: "pd.Series") -> str:
    """Quality of the fit in one paragraph."""
    facts = [f"fit {quality['status']}" + (f" ({quality['reason']})" if isinstance(quality["reason"], str) else "")]
    for name, text in (
        ("snr", "SNR {:.0f}"),
        ("linewidth_hz", "linewidth {:.1f} Hz"),
        ("shift_hz", "shift {:.1f} Hz"),
        ("phase_deg", "phase {:.0f} degrees"),
        ("residual_ratio", "residual {:.2f} times the noise"),
    ):
        value = quality.get(name)
        if isinstance(value, int | float) and np.isfinite(value):
            facts.append(text.format(value))
    for name, text in (("unknown", "not in the basis set: {}"), ("constants", "constants of molar amounts: {}")):
        if isinstance(quality.get(name), str):
            facts.append(text.format(quality[name].removeprefix("unknown ")))
    return plain("; ".join(facts))


def _table(axes: "Axes", amounts: "pd.DataFrame") -> None:
    """Write %SD, amount, ratio and name of each row; bold where it is known to `KNOWN_PERCENT`."""
    axes.axis("off")
    molar = amounts["molar_mM"].notna().any()
    value = "molar_mM" if molar else "amplitude"
    heads = (("% SD", 0.14), ("mM" if molar else "Amount", 0.37), ("/tCr", 0.57), ("Metabolite", 0.63))
    shown = amounts.assign(last=amounts["sd_percent"].fillna(np.inf)).reset_index(drop=True)
    if len(shown) > MOST_ROWS:
        shown = shown.loc[shown["last"].sort_values(kind="stable").index[:MOST_ROWS].sort_values()]
    step = 1 / (MOST_ROWS + 2)
    for (text, place), side in zip(heads, ("right", "right", "right", "left"), strict=True):
        axes.text(place, 1, text, ha=side, va="top", fontsize=8, fontweight="bold", transform=axes.transAxes)
    for line, (_, row) in enumerate(shown.iterrows(), start=1):
        percent = row["sd_percent"]
        weight = "bold" if percent <= KNOWN_PERCENT else "normal"
        texts = (
            "-" if np.isnan(percent) else f"{percent:.0f}%" if percent < 999.5 else ">999%",
            _digits(row[value]),
            _digits(row["per_tcr"]),
            plain(row["metabolite"]),
        )
        for text, (_, place), side in zip(texts, heads, ("right", "right", "right", "left"), strict=True):
            axes.text(
                place, 1 - (line + 0.3) * step, text, ha=side, va="top", fontsize=7, fontweight=weight,
                transform=axes.transAxes,
            )  # fmt: skip
    if left := len(amounts) - len(shown):
        axes.text(0.63, 0, f"and {left} more in the table", fontsize=6.5, color=GREY, transform=axes.transAxes)


def _digits(value: float) -> str:
    """Three digits that count, no exponent for usual sizes.

    >>> _digits(10.123), _digits(0.01234), _digits(float("nan"))
    ('10.1', '0.0123', '-')
    """
    return "-" if np.isnan(value) else f"{value:.3g}"
