"""Does the contrast depend on who is treated: interactions with estimate and interval first."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.errors import InputError
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import SMALL_CELL, complete_row, estimated, joined, model_row, primary_model
from mrsflow.statistics.multiplicity import MODERATORS, adjust
from mrsflow.statistics.outcomes import Rows, split_within
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.study.covariates import is_factor

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
    tests, subgroups = [], []
    for column in moderators:
        made = estimated(lambda c=column: _rows_of(plan, rows, contrast, c), "moderator", f"{contrast.name} x {column}")
        tests += [r for r in made if r["analysis"] == "moderator"]
        subgroups += [r for r in made if r["analysis"] != "moderator"]
    equal = "assumes the same variance in every condition" if plan.design == "parallel" else ""
    found = adjust(tests, MODERATORS) + subgroups
    found = [row | {"remark": joined(row["remark"], equal * ("p" in row))} for row in found]
    return [complete_row(row, rows, plan) for row in found]


def _rows_of(plan: Plan, rows: Rows, contrast: Contrast, column: str) -> list[dict[str, Any]]:
    if column not in rows.sessions:
        raise InputError(f"moderator {column!r} is in neither the participants nor the sessions table")
    if column in plan.adjust_for:
        plan = replace(plan, adjust_for=tuple(c for c in plan.adjust_for if c != column))  # its main effect is in
    whole, rows = rows, _where(rows, column)
    design_checks.check_comparison(plan, rows.sessions)
    design_checks.check_moderator(plan, rows.sessions, column)
    values = rows.sessions[column]
    changes = (rows.sessions.groupby("participant")[column].nunique() > 1).any()
    own = _categorical if is_factor(values) else _session_level if changes else _numeric
    lost = len(whole.blocks) - len(rows.blocks)
    return [row | {"n_dropped": lost + row["n_dropped"]} for row in own(plan, rows, contrast, column, values)]


def _where(rows: Rows, column: str) -> Rows:
    """Rows of the sessions that have a value of a moderator."""
    keys = ["participant", "session"]
    sessions = rows.sessions[rows.sessions[column].notna()].reset_index(drop=True)
    return replace(rows, sessions=sessions, blocks=rows.blocks.merge(sessions[keys], on=keys))


def _with(rows: Rows, **columns: Any) -> Rows:
    """Rows with further session-level columns, on the blocks too."""
    keys = ["participant", "session"]
    sessions = rows.sessions.assign(**columns)
    blocks = rows.blocks.drop(columns=[c for c in columns if c in rows.blocks])
    return replace(rows, blocks=blocks.merge(sessions[[*keys, *columns]], on=keys), sessions=sessions)


def _terms(plan: Plan, names: list[str]) -> list[str]:
    """Give main effects, and where conditions are compared their interactions."""
    return names if plan.design == "single_arm" else [*names, *(f"condition:{name}" for name in names)]


def _numeric(plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series") -> list[dict[str, Any]]:
    centre = values[~rows.sessions["participant"].duplicated()].mean()
    name = f"{column} (centred)"
    model = primary_model(plan, _with(rows, **{name: values - centre}), extra=_terms(plan, [name]))
    weights = _slope(model, contrast, name)
    return [model_row(model, weights, "moderator", f"{contrast.name} x {column} (per unit)", remark="exploratory")]


def _session_level(
    plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series"
) -> list[dict[str, Any]]:
    inside, between = split_within(rows.sessions.assign(**{column: values}), column)
    names = {f"{column} (within)": inside, f"{column} (between)": between}
    model = primary_model(plan, _with(rows, **names), extra=_terms(plan, [*names]))
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

    def of(*condition: str) -> np.ndarray:
        wanted = {(name, None), *(("condition", c) for c in condition)}
        return np.array([float(set(e) == wanted) for e in model.design.effects])

    if not contrast.weights:
        return of()
    return np.sum([w * of(condition) for condition, w in contrast.weights], axis=0)


def _categorical(plan: Plan, rows: Rows, contrast: Contrast, column: str, _: "pd.Series") -> list[dict[str, Any]]:
    model = primary_model(plan, rows, extra=_terms(plan, [column]))
    levels = model.design.levels[column]
    cells = rows.sessions.drop_duplicates("participant")[column].value_counts()
    few = [f"{level} has {int(cells[level])}" for level in levels if cells[level] < SMALL_CELL]
    warning = f"; few participants ({', '.join(few)})" if few else ""

    def effect(level: str) -> np.ndarray:
        return contrast.difference(model, **{column: level})

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
