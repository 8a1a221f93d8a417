"""What the visit before carries over into the next: first-order carry-over of crossovers."""

from dataclasses import replace
from typing import Any

import numpy as np

from mrsflow.models import session_models
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import complete_row, estimated, joined, model_row, primary_model, session_row
from mrsflow.statistics.outcomes import Rows, after
from mrsflow.statistics.plan import Plan

BETWEEN = "two sequences tell carry-over between participants only: low power, never decides the analysis"
Row = dict[str, Any]


def carry_over_rows(plan: Plan, rows: Rows) -> list[Row]:
    """Show the primary contrast with a term for carry-over (without it where it is in), and what carries over.

    Returns
    -------
    list of dict
        ``adjusted for carry-over`` or ``without carry-over``; then ``carry-over``: of two sequences their difference,
        else for each condition what it adds to the next visit beyond what the reference adds.
    """
    if plan.design != "crossover":
        return []
    contrast, reference = plan.contrasts[0], plan.conditions[0]
    orders = design_checks.sequences(session_models.complete(rows.sessions, plan.conditions))
    two = orders.nunique() == 2 and len(plan.conditions) == 2
    name = "without carry-over" if plan.carry_over else "adjusted for carry-over"

    def other() -> list[Row]:
        model = primary_model(replace(plan, carry_over=not plan.carry_over), rows)
        remark = BETWEEN if two and not plan.carry_over else ""
        return [model_row(model, contrast.difference(model), name, contrast.name, remark=remark)]

    def carried() -> list[Row]:
        if two:
            return [_of_sequences(rows, orders)]
        model = primary_model(replace(plan, carry_over=True), rows)
        columns = [[e for e, _ in effect] for effect in model.design.effects]
        remark = "difference of what is carried over, not of the conditions"
        return [
            model_row(
                model, np.array([float(c == [after(condition)]) for c in columns]), "carry-over",
                f"after {condition} - after {reference}", remark=remark,
            )
            for condition in plan.conditions[1:]
        ]  # fmt: skip

    found = estimated(other, name, contrast.name)
    found += [row | {"estimand": "carry-over"} for row in estimated(carried, "carry-over", contrast.name)]
    return [complete_row(row, rows, plan) for row in found]


def _of_sequences(rows: Rows, orders: Any) -> Row:
    """Compare two sequences: participants' means differ between them where the first visit carries over."""
    first, second = sorted(orders.unique())
    means = rows.sessions.groupby("participant")[[rows.value]].mean().join(orders, how="inner").reset_index()
    fit = session_models.parallel(means, (first, second), {second: 1.0, first: -1.0}, rows.value)
    fit = replace(fit, sessions=rows.sessions[rows.sessions["participant"].isin(orders.index)])
    remark = joined("difference between sequences, not between conditions", BETWEEN)
    row = session_row(
        fit, rows, "carry-over", "participant mean", f"sequence {second} - {first}", remark=remark, terms=("sequence",)
    )
    return row | {"df_method": "Welch-Satterthwaite"}
