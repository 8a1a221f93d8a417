"""Does the contrast depend on who is treated: interactions with estimate and interval first."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.errors import InputError
from mrsflow.models.formula import NAME
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import SMALL_CELL, adjust, attempt, complete_row, model_row, primary_model
from mrsflow.statistics.outcomes import Rows, split_within
from mrsflow.statistics.plan import Contrast, Plan

if TYPE_CHECKING:
    from mrsflow.models.table_models import Model


def moderator_rows(plan: Plan, rows: Rows, moderators: list[str]) -> list[dict[str, Any]]:
    """Test every moderator of the primary contrast, Holm over them; subgroup estimates stand beside, untested.

    Parameters
    ----------
    plan : Plan
    rows : Rows
    moderators : list of str
        Columns of the participants or sessions table; numbers are centred, and split within and between
        participants where they change between sessions.
    """
    contrast = plan.contrasts[0]
    tests, beside = [], []
    for column in moderators:
        made = attempt(lambda c=column: _rows_of(plan, rows, contrast, c), "moderator", f"{contrast.name} x {column}")
        tests += [r for r in made if r["analysis"] == "moderator"]
        beside += [r for r in made if r["analysis"] != "moderator"]
    found = adjust(tests, "moderators (Holm, exploratory)", "holm") + beside
    return [complete_row(row, rows, plan.outcome) for row in found]


def _rows_of(plan: Plan, rows: Rows, contrast: Contrast, column: str) -> list[dict[str, Any]]:
    if plan.design == "single_arm":
        raise InputError("a single-arm trial has no contrast of conditions to moderate")
    if column not in rows.sessions:
        raise InputError(f"moderator {column!r} is in neither the participants nor the sessions table")
    if not re.fullmatch(NAME, column):
        raise InputError(f"moderator {column!r}: a column name of letters, digits and '_' is needed")
    design_checks.check_moderator(plan, rows.sessions, column)
    values = rows.sessions[column]
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() == values.notna().sum():
        changes = rows.sessions.assign(value=numbers).groupby("participant")["value"].nunique() > 1
        return (
            _session_level(plan, rows, contrast, column, numbers)
            if changes.any()
            else _numeric(plan, rows, contrast, column, numbers)
        )
    return _categorical(plan, rows, contrast, column)


def _with(rows: Rows, **columns: Any) -> Rows:
    """Rows with further session-level columns, on the blocks too."""
    keys = ["participant", "session"]
    sessions = rows.sessions.assign(**columns)
    blocks = rows.blocks.drop(columns=[c for c in columns if c in rows.blocks])
    return replace(rows, blocks=blocks.merge(sessions[[*keys, *columns]], on=keys), sessions=sessions)


def _numeric(plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series") -> list[dict[str, Any]]:
    centre = values[~rows.sessions["participant"].duplicated()].mean()
    name = f"{column}_centred"
    model = primary_model(plan, _with(rows, **{name: values - centre}), extra=[name, f"condition:{name}"])
    weights = _slope(model, contrast, name)
    return [model_row(model, weights, "moderator", f"{contrast.name} x {column} (per unit)", remark="exploratory")]


def _session_level(
    plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series"
) -> list[dict[str, Any]]:
    inside, between = split_within(rows.sessions.assign(**{column: values}), column)
    names = {f"{column}_within": inside, f"{column}_between": between}
    extra = [*names, *(f"condition:{name}" for name in names)]
    model = primary_model(plan, _with(rows, **names), extra=extra)
    return [
        model_row(
            model,
            _slope(model, contrast, name),
            "moderator",
            f"{contrast.name} x {column} ({kind}, per unit)",
            remark="exploratory",
        )
        for name, kind in zip(names, ("within participants", "between participants"), strict=True)
    ]


def _slope(model: "Model", contrast: Contrast, name: str) -> np.ndarray:
    """Weights of the change of the contrast per unit of a covariate."""

    def of(condition: str) -> np.ndarray:
        return np.array([float(set(e) == {("condition", condition), (name, None)}) for e in model.design.effects])

    return of(contrast.treated) - of(contrast.reference)


def _categorical(plan: Plan, rows: Rows, contrast: Contrast, column: str) -> list[dict[str, Any]]:
    model = primary_model(plan, rows, extra=[column, f"condition:{column}"])
    levels = model.design.levels[column]
    cells = rows.sessions.drop_duplicates("participant")[column].value_counts()
    few = [f"{level} has {int(cells[level])}" for level in levels if cells[level] < SMALL_CELL]
    warning = f"; few participants ({', '.join(few)})" if few else ""

    def effect(level: str) -> np.ndarray:
        return model.difference("condition", contrast.treated, contrast.reference, **{column: level})

    found = []
    for level in levels[1:]:
        name = f"{contrast.name} x {column} ({level} - {levels[0]})"
        found.append(
            model_row(model, effect(level) - effect(levels[0]), "moderator", name, remark=f"exploratory{warning}")
        )
    for level in levels:
        remark = "only to be read beside the interaction" + warning
        found.append(model_row(model, effect(level), "subgroup", f"{contrast.name} in {column} {level}", remark=remark))
    return found
