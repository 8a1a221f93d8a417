"""The page of pooled trials, with its tables and figures."""

import base64
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import result_tables
from mrsflow.files import write_text
from mrsflow.pooling import pool as pooling
from mrsflow.pooling import sources
from mrsflow.pooling.effects import Measure
from mrsflow.pooling.pool import Pool, PoolRow
from mrsflow.reporting import figures, figures_pool, provenance
from mrsflow.reporting.figures import minus, p_value
from mrsflow.reporting.report import render

PICTURES = {"forest": figures_pool.forest, "funnel": figures_pool.funnel}
METHODS = (
    "Trials are pooled by random effects: the variance between trials by restricted maximum likelihood "
    "(doi:10.3102/10769986030003261), test and interval of the mean by Hartung and Knapp (doi:10.1002/sim.1009), in "
    "the row with the guard with a factor of the variance of at least 1 (doi:10.1186/s12874-015-0091-1). The "
    "prediction interval is that of the true effect of a further trial (doi:10.1111/j.1467-985X.2008.00552.x), limits "
    "of the variance between trials are those of the Q profile (doi:10.1002/sim.2514). Moderators are tested one at a "
    "time (doi:10.1002/sim.1482). Small-study effects are a regression on the standard error "
    "(doi:10.1136/bmj.315.7109.629), from ten trials on (doi:10.1136/bmj.d4002).",
    "One stage: sessions of the studies of mrsflow in one mixed model by restricted maximum likelihood "
    "(Kenward-Roger), with random trial and trial by condition, and variances of participants and errors of each "
    "trial's own; covariates are separated into what lies within trials and between them (doi:10.1002/sim.7171).",
    "Standard errors from intervals, t, F and p follow the Cochrane Handbook (doi:10.1002/9781119536604.ch6), those of "
    "crossovers are within participants (doi:10.1093/ije/31.1.140), standardised differences have the SD between "
    "participants in every design (doi:10.1037/1082-989X.7.1.105) and the correction of small samples "
    "(doi:10.3102/10769986006002107). Each trial's conversion stands in its row.",
)
TRIALS = ("trial", "design", "outcome", "n_participants", "estimate", "se", "df", "weight_percent",
          *sources.MODERATORS, "sample", "registration", "source", "conversion")  # fmt: skip
TO = "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"
ROWS = ("analysis", "term", "n_trials", "n_participants", "estimate", "interval", "p", "df", "tau2", "i2_percent",
        "factor", "remark")  # fmt: skip


def write(
    places: Sequence[Path],
    out: Path,
    measure: Measure = "percent",
    contrast: str | None = None,
    outcome: str | None = None,
    moderators: Sequence[str] = (),
    level: float = 0.95,
    one_stage: bool = False,
    covariates: Sequence[str] = (),
) -> Path:
    """Pool trials and write tables, figures and page.

    Parameters
    ----------
    places : sequence of Path
        Folders of outputs of mrsflow and tables of trials.
    out : Path
        Folder of ``index.html``, ``pooled.tsv``, ``pooled_trials.tsv``, ``forest`` and ``funnel``.
    measure, contrast, outcome, moderators, level, one_stage, covariates
        See `mrsflow.pooling.sources.read` and `mrsflow.pooling.pool.pool`.

    Returns
    -------
    Path
        The page.
    """
    trials = sources.read(places, measure, contrast, outcome)
    found = pooling.pool(trials, measure, moderators, level, one_stage, covariates)
    out.mkdir(parents=True, exist_ok=True)
    rows = result_tables.from_rows(map(asdict, found.rows), "pooled").astype({"q_df": "Int64"})
    table = result_tables.from_rows(trial_rows(found), "pooled_trials")
    result_tables.write(rows, out / "pooled.tsv", described=True)
    result_tables.write(table, out / "pooled_trials.tsv", described=True)
    with figures.style():
        for name, draw in PICTURES.items():
            figures.save(draw(found), out / name)
    context = {
        "title": "Trials pooled",
        "lead": _lead(found),
        "remarks": found.remarks,
        "headline": _headline(found),
        "pictures": {name: _picture(out / f"{name}.png") for name in PICTURES},
        "trials": _shown("pooled_trials", TRIALS, table.to_dict("records")),
        "rows": _shown("pooled", ROWS, map(_cells, found.rows)),
        "small": found.rows[-1].remark,
        "methods": METHODS,
        "provenance": provenance.facts(),
    }
    write_text(render("pool.html.j2", context), out / "index.html")
    return out / "index.html"


def trial_rows(found: Pool) -> list[dict[str, Any]]:
    """Rows of ``pooled_trials``."""
    rows = []
    for trial, weight in zip(found.trials, found.weights, strict=True):
        low, high = figures_pool.interval(trial.effect, found.level)
        effect = {**asdict(trial.effect), "n_participants": trial.effect.n, "ci_low": low, "ci_high": high}
        about = {"trial": trial.name, "design": trial.design, "measure": found.measure}
        rows.append(about | effect | {"weight_percent": 100 * weight} | trial.told)
    return rows


def _lead(found: Pool) -> str:
    people = sum(trial.effect.n for trial in found.trials)
    return f"{len(found.trials)} trials, {people} participants. Effects: {figures_pool.axis_label(found)}."


def _headline(found: Pool) -> list[tuple[str, str | None]]:
    first, guarded = found.rows[:2]
    told = [
        (f"Mean [{100 * found.level:g} % interval]", _interval(first, first.estimate, first.ci_low, first.ci_high)),
        ("p", p_value(first.p) if np.isfinite(first.p) else None),
        ("The same, guarded", _interval(guarded, guarded.estimate, guarded.ci_low, guarded.ci_high)),
        ("p, guarded", p_value(guarded.p) if np.isfinite(guarded.p) else None),
        ("A further trial's true effect", _interval(first, None, first.prediction_low, first.prediction_high)),
        ("SD between trials (tau)", minus(f"{np.sqrt(first.tau2):.3g} {found.unit}") if first.tau2 >= 0 else None),
        ("I²", f"{first.i2_percent:.0f} %" if np.isfinite(first.i2_percent) else None),
        ("Q", f"{first.q:.2f}, df {first.q_df}, p {p_value(first.q_p)}" if np.isfinite(first.q) else None),
    ]
    alone = [row for row in found.rows if row.analysis == "leave one out" and np.isfinite(row.estimate)]
    if alone:
        low, high = min(alone, key=lambda r: r.estimate), max(alone, key=lambda r: r.estimate)
        text = f"{low.estimate:z.2f} (without {low.term}) to {high.estimate:z.2f} (without {high.term})"
        told.append(("Mean without one trial", minus(text)))
    return told


def _interval(row: PoolRow, estimate: float | None, low: float, high: float) -> str | None:
    if not np.isfinite([low, high]).all():
        return row.remark or None
    return minus(f"{f'{estimate:z.2f} ' if estimate is not None else ''}[{low:z.2f}, {high:z.2f}] {row.unit}")


def _cells(row: PoolRow) -> dict[str, Any]:
    text = f"{row.ci_low:z.3f}{TO}{row.ci_high:z.3f}" if np.isfinite(row.ci_low) else ""
    return asdict(row) | {"interval": minus(text), "p": p_value(row.p) if np.isfinite(row.p) else ""}


def _shown(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Show a table: the columns that any row has something in."""
    described, listed = result_tables.tables()[name].columns, list(rows)
    kept = [column for column in columns if any(not _empty(row.get(column)) for row in listed)]
    heads = {column: described[column].title if column in described else "Interval" for column in kept}
    numbers = {column: column in described and described[column].type in ("number", "whole") for column in kept}
    cells = [[_cell(row.get(column), described.get(column)) for column in kept] for row in listed]
    return {"columns": [{"label": heads[c], "number": numbers[c]} for c in kept], "rows": cells}


def _empty(value: Any) -> bool:
    return value is None or value != value or value == ""


def _cell(value: Any, column: Any) -> str:
    if _empty(value):
        return ""
    return minus(f"{value:z.{column.digits}f}") if isinstance(value, float) else str(value)


def _picture(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the PNG header
    return {"data": base64.b64encode(content).decode(), "width": width, "height": height}
