"""Visits as time, before and after treatment: what is shown at each of several visits."""

from dataclasses import replace

from mrsflow.statistics.contrasts import primary_row
from mrsflow.statistics.multiplicity import adjust
from mrsflow.statistics.outcomes import Rows
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import Result, complete_row, estimated

FAMILY = "visits (Holm)"


def visit_rows(plan: Plan, rows: Rows, contrast: Contrast) -> list[Result]:
    """Test a contrast at each visit after the baseline by itself, Holm over the visits; none where there is one."""
    visits = sorted(rows.sessions["visit"].unique())
    if not plan.visits or len(visits) < 2:
        return []
    found = []
    for visit in visits:
        name = f"{contrast.name} at visit {visit}"

        def make(visit: int = visit, name: str = name) -> list[Result]:
            row = primary_row(plan, at_visit(rows, visit), contrast, "visit")
            return [replace(row, contrast=name)]

        found += estimated(make, Result(analysis="visit", contrast=name))
    return [
        complete_row(row, at_visit(rows, visit), plan) for row, visit in zip(adjust(found, FAMILY), visits, strict=True)
    ]


def at_visit(rows: Rows, visit: int) -> Rows:
    """Rows of one visit; those of the others do not count as dropped."""
    sessions = rows.sessions[rows.sessions["visit"] == visit].reset_index(drop=True)
    blocks = rows.blocks[rows.blocks["visit"] == visit].reset_index(drop=True)
    return replace(rows, blocks=blocks, sessions=sessions)
