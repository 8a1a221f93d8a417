"""Metrics of quality that rules can name, by the descriptions of the tables that hold them."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from mrsflow import result_tables

TABLES = {"block": ("blocks_quality", "fit_quality"), "session": ("session_quality",)}
"""Tables whose numbers a rule of a level can name; of two that have a column the first counts."""


def metrics_of(table: str) -> list[str]:
    """Name the numbers of a quality table."""
    columns = result_tables.tables()[table].columns
    return [name for name, column in columns.items() if column.type in ("number", "whole")]


def of_fits(rules: list[dict[str, Any]]) -> list[str]:
    """Metrics of rules that stand in the table of the fits alone."""
    own, fits = (metrics_of(table) for table in TABLES["block"])
    named = dict.fromkeys(rule["metric"] for rule in rules if rule["level"] == "block")
    return [metric for metric in named if metric in fits and metric not in own]


def faults(content: dict[str, Any]) -> Iterator[str]:
    """Find rules of a configuration whose metric no table of their level has, before anything is computed."""
    for rule in content["quality"]["rules"]:
        level, metric = rule["level"], rule["metric"]
        known = [name for table in TABLES[level] for name in metrics_of(table)]
        if metric in known or (level, metric) == ("block", "fit_status"):
            continue
        other = [name for name in TABLES if name != level and any(metric in metrics_of(t) for t in TABLES[name])]
        near = get_close_matches(metric, known, n=1)
        hint = f"level {other[0]} has" if other else f"did you mean {near[0]!r}?" if near else ""
        listed = hint or f"it has {', '.join(dict.fromkeys(known))}"
        yield f"quality.rules: level {level} has no metric {metric!r}, {listed}"
