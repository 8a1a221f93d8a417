"""Does the contrast depend on who is treated: interactions with estimate and interval first."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import SMALL_CELL, primary_model
from mrsflow.statistics.multiplicity import MODERATORS, adjust
from mrsflow.statistics.outcomes import Rows, split_within
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import Result, complete_row, estimated, joined, model_row, session_row
from mrsflow.study.covariates import is_factor

if TYPE_CHECKING:
    from mrsflow.models.table_models import Model


def moderator_rows(plan: Plan, rows: Rows, moderators: list[str], family: str = MODERATORS) -> list[Result]:
    """Test every moderator of the primary contrast, Holm over them; subgroup estimates stand beside, untested.

    Values of participants are compared by least squares, groups with a variance for each condition; repeated values by
    the mixed model.

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
        failed = Result(analysis="moderator", contrast=f"{contrast.name} x {column}")
        made = estimated(lambda c=column: _rows_of(plan, rows, contrast, c), failed)
        tests += [r for r in made if r.analysis == "moderator"]
        subgroups += [r for r in made if r.analysis != "moderator"]
    return [complete_row(row, rows, plan) for row in adjust(tests, family) + subgroups]


def _rows_of(plan: Plan, rows: Rows, contrast: Contrast, column: str) -> list[Result]:
    if column not in rows.sessions:
        raise InputError(f"moderator {column!r} is in neither the participants nor the sessions table")
    if column in plan.adjust_for:
        plan = replace(plan, adjust_for=tuple(c for c in plan.adjust_for if c != column))  # its main effect is in
    whole, rows = rows, _where(rows, column)
    if rows.sessions.empty:
        raise InputError(f"moderator {column!r} has no value in the usable sessions; fill the column, or take it out")
    lacking = [c for c in contrast.of if c in set(whole.sessions["condition"]) - set(rows.sessions["condition"])]
    if lacking:
        raise InputError(
            f"moderator {column!r} has no value under condition {lacking[0]!r}, so that no change of the contrast with "
            "it can be told; give its values there, or take it out"
        )
    design_checks.check_comparison(plan, rows.sessions)
    design_checks.check_moderator(plan, rows.sessions, column)
    values = rows.sessions[column]
    placed = placement(values, rows.sessions["participant"]) if column in plan.shared_maps else ""
    changes = (rows.sessions.groupby("participant")[column].nunique() > 1).any()
    own = _categorical if is_factor(values) else _session_level if changes else _numeric
    one = plan.design == "parallel" or not rows.blocks.duplicated("participant").any()
    if one and not rows.sessions.duplicated("participant").any():
        own = _of_people
    lost = len(whole.blocks) - len(rows.blocks)
    equal = "assumes the same variance in every condition" if plan.design == "parallel" and own != _of_people else ""
    return [
        replace(row, n_missing=lost + row.n_missing, remark=joined(row.remark, equal, placed))
        for row in own(plan, rows, contrast, column, values)
    ]


LEAST_SPREAD, MOST_OF_ONE = 0.02, 0.5
"""Of a map that is one for all: spread between people, as part of the mean, that it needs to carry a slope, and the
part of the sum of squares that a single person may have."""


def placement(values: "pd.Series", participants: "pd.Series") -> str:
    """Say what the slope on a map that is one for all rests on: where the voxels of people lie.

    Raises
    ------
    InputError
        People hardly differ, or one of them decides the slope.
    """
    own = values.groupby(participants).mean().to_numpy(float)
    away = (own - own.mean()) ** 2
    spread = float(own.std(ddof=1) / abs(own.mean())) if len(own) > 1 and own.mean() else 0.0
    part = float((away / away.sum()).max()) if away.sum() > 0 else 1.0
    said = (
        "the map is one for all, so that people differ by where their voxels lie alone: SD "
        f"{100 * spread:.1f} % of the mean, largest leverage of a person {1 / len(own) + part:.2f}"
    )
    if spread < LEAST_SPREAD or part > MOST_OF_ONE:
        raise InputError(f"{said}; that cannot carry a slope")
    return said


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


def _numeric(plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series") -> list[Result]:
    centre = values[~rows.sessions["participant"].duplicated()].mean()
    name = f"{column} (centred)"
    model = primary_model(plan, _with(rows, **{name: values - centre}), extra=_terms(plan, [name]))
    weights = _slope(model, contrast, name)
    return [model_row(model, weights, "moderator", f"{contrast.name} x {column} (per unit)", remark="exploratory")]


def _session_level(plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series") -> list[Result]:
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


def _categorical(plan: Plan, rows: Rows, contrast: Contrast, column: str, _: "pd.Series") -> list[Result]:
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


def _of_people(plan: Plan, rows: Rows, contrast: Contrast, column: str, values: "pd.Series") -> list[Result]:
    """Moderation of one value for each participant: every condition has a mean by level, or a slope, of its own."""
    arms = rows.sessions["condition"].to_numpy(object)
    weights = contrast.of or {plan.conditions[0]: 1.0}
    adjusts = rows.adjusts and plan.design == "parallel"
    covariates = [*(["bl"] if adjusts else []), *plan.adjust_for]
    others = [*session_models.coded(rows.sessions, covariates).values()]
    cells = {c: (arms == c).astype(float) for c in plan.conditions if c in set(arms)}
    if is_factor(values):
        text = values.to_numpy(object)
        levels = [level for level in values.cat.categories if level in set(text)]
        columns = {(c, level): own * (text == level) for c, own in cells.items() for level in levels}
        if empty := [key for key, x in columns.items() if not x.any() and key[0] in weights]:
            raise InputError(f"no participant of condition {empty[0][0]!r} has {column} {empty[0][1]}")
    else:
        centred = (values - values.mean()).to_numpy(float)
        columns = {(c, part): own * x for c, own in cells.items() for part, x in ((0, 1.0), (1, centred))}
    columns = {key: x for key, x in columns.items() if x.any()}
    x = np.column_stack([*columns.values(), *others])

    def row(parts: dict[Any, float], analysis: str, name: str, remark: str) -> Result:
        w = np.zeros(x.shape[1])
        w[: len(columns)] = [weights.get(c, 0.0) * parts.get(part, 0.0) for c, part in columns]
        test = session_models.unequal_variances(x, rows.sessions[rows.value].to_numpy(float), arms, w)
        fit = session_models.SessionFit(test, rows.sessions)
        value = "session change" if rows.change else "session mean"
        terms = [column, *covariates]
        if len(cells) > 1:
            terms = ["condition", column, f"condition:{column}", *covariates]
            remark = joined(remark, "a variance for each condition")
        method = "Welch-Satterthwaite" if len(cells) > 1 else "residual"
        return session_row(fit, rows, analysis, value, name, terms, method, remark)

    if not is_factor(values):
        return [row({1: 1.0}, "moderator", f"{contrast.name} x {column} (per unit)", "exploratory")]
    count = values.value_counts()
    few = [f"{level} has {int(count[level])}" for level in levels if count[level] < SMALL_CELL]
    warning = f"; few participants ({', '.join(few)})" if few else ""
    found = []
    for level in levels[1:]:
        name = f"{contrast.name} x {column} ({level} - {levels[0]})"
        found.append(row({level: 1.0, levels[0]: -1.0}, "moderator", name, f"exploratory{warning}"))
    for level in levels:
        remark = f"only to be read beside the interaction{warning}"
        found.append(row({level: 1.0}, "subgroup", f"{contrast.name} in {column} {level}", remark))
    return found
