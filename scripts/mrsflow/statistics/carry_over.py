"""What the visit before carries over into the next: first-order carry-over of crossovers."""

from dataclasses import replace
from typing import Any

import numpy as np

from mrsflow.models import session_models
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import primary_model
from mrsflow.statistics.outcomes import Rows, after
from mrsflow.statistics.plan import Plan
from mrsflow.statistics.results import Result, complete_row, estimated, joined, model_row, session_row

BETWEEN = "two sequences tell carry-over between participants only: low power, never decides the analysis"


def carry_over_rows(plan: Plan, rows: Rows) -> list[Result]:
    """Show the primary contrast with a term for carry-over (without it where it is in), and what carries over.

    Returns
    -------
    list of Result
        ``adjusted for carry-over`` or ``without carry-over``; then ``carry-over``: of two sequences their difference,
        else for each condition what it adds to the next visit beyond what the reference adds.
    """
    if plan.design != "crossover":
        return []
    contrast, reference = plan.contrasts[0], plan.conditions[0]
    orders = design_checks.sequences(session_models.complete(rows.sessions, plan.conditions))
    two = orders.nunique() == 2 and len(plan.conditions) == 2
    name = "without carry-over" if plan.carry_over else "adjusted for carry-over"

    def other() -> list[Result]:
        model = primary_model(replace(plan, carry_over=not plan.carry_over), rows)
        remark = BETWEEN if two and not plan.carry_over else ""
        return [model_row(model, contrast.difference(model), name, contrast.name, remark=remark)]

    def carried() -> list[Result]:
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

    found = estimated(other, Result(analysis=name, contrast=contrast.name))
    own = estimated(carried, Result(analysis="carry-over", contrast=contrast.name))
    found += [replace(row, estimand="carry-over") for row in own]
    return [complete_row(row, rows, plan) for row in found]


def _of_sequences(rows: Rows, orders: Any) -> Result:
    """Compare two sequences: participants' means differ between them where the first visit carries over."""
    first, second = sorted(orders.unique())
    means = rows.sessions.groupby("participant")[[rows.value]].mean().join(orders, how="inner").reset_index()
    fit = session_models.parallel(means, (first, second), {second: 1.0, first: -1.0}, rows.value)
    fit = replace(fit, sessions=rows.sessions[rows.sessions["participant"].isin(orders.index)])
    remark = joined("difference between sequences, not between conditions", BETWEEN)
    name, method = f"sequence {second} - {first}", "Welch-Satterthwaite"
    return session_row(fit, rows, "carry-over", "participant mean", name, ("sequence",), method, remark)
