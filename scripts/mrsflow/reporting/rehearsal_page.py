"""The page of a rehearsal: what the planned analysis finds in trials of known truth, and what that costs."""

import base64
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow import result_tables
from mrsflow.files import write_text
from mrsflow.planning import rehearsal
from mrsflow.planning.rehearsal import Rate
from mrsflow.planning.trials import Scenario
from mrsflow.reporting import figures, figures_rehearsal, provenance
from mrsflow.reporting.figures import minus, p_value
from mrsflow.reporting.report import render

if TYPE_CHECKING:
    import pandas as pd

FEW = 100
"""Trials below which rates are coarse."""


def write(
    config: dict[str, Any], table: "pd.DataFrame", scenario: Scenario, planned: Mapping[str, float], out: Path
) -> Path:
    """Write ``index.html`` and the figure ``intervals``.

    Parameters
    ----------
    config : dict
        Checked configuration of the planned trial.
    table : DataFrame
        Rows of ``rehearsal``.
    scenario : Scenario
        What was planned.
    planned : mapping
        Power and half width by `mrsflow.planning.power.power_of`.
    out : Path
    """
    done = table.dropna(subset=["estimate", "se"])
    truth, label = 100 * scenario.effect, f"{config['group']['outcome']} (% of baseline)"
    with figures.style():
        figures.save(figures_rehearsal.intervals(table, truth, label), out / "intervals")
    found = rehearsal.summary(done.to_dict("records"), truth, scenario.level) if len(done) else None
    content = (out / "intervals.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the PNG header
    context = {
        "title": f"Rehearsal of {config['study']['name']}",
        "lead": (
            f"{len(table)} simulated trials of {scenario.n} participants ({scenario.design.replace('_', ' ')}), raw "
            f"data to result. True effect {minus(f'{truth:z.2f}')} % of the baseline."
        ),
        "remarks": list(_remarks(table, found)),
        "headline": _headline(table, found, planned),
        "picture": {"data": base64.b64encode(content).decode(), "width": width, "height": height},
        "rows": _rows(table),
        "first": f"trial-{table['seed'].iloc[0]}",
        "provenance": provenance.facts(),
    }
    write_text(render("rehearsal.html.j2", context), out / "index.html")
    return out / "index.html"


def _rate(found: Rate) -> str:
    return f"{100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _known(text: str, found: dict[str, Any]) -> str | None:
    """Give a text of how trials scatter; nothing of a single one."""
    return minus(text) if found["n"] > 1 else None


def _headline(
    table: "pd.DataFrame", found: dict[str, Any] | None, planned: Mapping[str, float]
) -> list[tuple[str, str | None]]:
    hours = table["cpu_s"].sum() / 3600
    cost = [("Cost", f"{hours:.2f} CPU-hours, {hours / len(table):.3f} a trial")]
    if found is None:
        return cost
    return [
        ("Bias (Monte-Carlo SE)", _known(f"{found['bias']:z.2f} ({found['bias_se']:.2f}) % of baseline", found)),
        ("Coverage of the interval [95 % limits]", _rate(found["coverage"])),
        ("Power [95 % limits]", _rate(found["power"])),
        ("Power as planned", f"{100 * planned['power']:.0f} %"),
        ("SD of the estimates", _known(f"{found['sd']:.2f} % of baseline", found)),
        ("Their standard error, root mean square", f"{found['se']:.2f} % of baseline"),
        ("Half width as planned", f"{100 * planned['half_width']:.2f} % of baseline"),
        ("Blocks doubtful, excluded", f"{table['n_doubtful'].sum():.0f}, {table['n_excluded'].sum():.0f}"),
        ("Sessions failed", f"{table['n_failed'].sum():.0f}"),
        *cost,
    ]


def _remarks(table: "pd.DataFrame", found: dict[str, Any] | None) -> Iterator[str]:
    lost = int(table["estimate"].isna().sum())
    if lost:
        reasons = "; ".join(dict.fromkeys(table["remark"][table["estimate"].isna()].dropna()))
        yield f"{lost} of {len(table)} trials gave no estimate ({reasons}): correct the configuration, rehearse again"
    if found is None:
        return
    if abs(found["bias"]) > 2 * found["bias_se"]:
        yield (
            "The estimates differ from the truth by more than chance: see the bias. Look at doubtful fits of the first "
            "trial, and at what the basis set lacks, before the first patient"
        )
    if found["coverage"].high < 0.95:
        yield "The interval holds the truth less often than it says, by more than chance"
    if found["n"] < FEW:
        yield (
            f"The rates of {found['n']} trials are known to "
            f"{100 * (found['power'].high - found['power'].low) / 2:.0f} points; more (rehearsal.trials) tell them "
            "better"
        )


def _rows(table: "pd.DataFrame") -> dict[str, Any]:
    columns = result_tables.tables()["rehearsal"].columns
    rows = [
        ["" if v is None or v != v else p_value(v) if name == "p" else
         minus(f"{v:z.{columns[name].digits}f}") if isinstance(v, float) else str(v)
         for name, v in row.items()]
        for row in table.to_dict("records")
    ]  # fmt: skip
    heads = [{"label": columns[name].title, "number": columns[name].type != "text"} for name in table]
    return {"columns": heads, "rows": rows}
