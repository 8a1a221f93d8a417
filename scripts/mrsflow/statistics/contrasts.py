"""The comparison of conditions: the primary model of each design, what is shown beside it, and rows of results."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import permutation, session_models
from mrsflow.models.mixed import DfMethod, Inference, independent
from mrsflow.models.table_models import Model, fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.outcomes import by_participant
from mrsflow.statistics.plan import Contrast, Plan, formula, references, replicated, terms_of
from mrsflow.study.covariates import is_factor

if TYPE_CHECKING:
    from mrsflow.statistics.outcomes import Rows

SMALL_CELL = 10  # participants below which a subgroup gets a warning


def primary_model(
    plan: Plan, rows: "Rows", extra: Iterable[str] = (), session: bool = True, weights: str | None = None
) -> Model:
    """Fit the primary model.

    Raises
    ------
    InputError
        A guard found that the comparison is not in the data, or the model cannot be estimated.
    """
    design_checks.check_comparison(plan, rows.sessions)
    design_checks.check_carried(plan, rows.sessions)
    return fit_table(rows.blocks, formula(plan, rows, extra, session), references(plan, rows.blocks), weights)


def model_row(
    model: Model,
    weights: NDArray[np.float64],
    analysis: str,
    contrast: str,
    method: DfMethod = "kenward-roger",
    **more: Any,
) -> dict[str, Any]:
    """Make the row of a test in a mixed model."""
    table, fit = model.table, model.fit
    sd = dict(zip(fit.groups, np.sqrt(fit.variances), strict=True))
    row = {
        "analysis": analysis,
        **written("outcome", model.formula.partition("~")[2].strip()),
        "columns": model.columns,
        "contrast": contrast,
        **counts(table),
        "n_dropped": model.design.n_dropped,
        "random": " + ".join(f"(1|{name})" for name in fit.groups),
        "df_method": method,
        "singular": bool(fit.singular),
        "converged": bool(fit.converged),
        "sd_participant": sd.get("participant"),
        "sd_session": sd.get("participant:session"),
        "sd_residual": float(np.sqrt(fit.residual_variance)),
        **numbers(model.test(weights, method)),
    }
    return row | more


def written(response: str, terms: str) -> dict[str, str]:
    """Cell of a model, and the two sides of its formula for rows that are made of it."""
    return {"model": f"{response} ~ {terms}", "response": response, "terms": terms}


def counts(blocks: pd.DataFrame) -> dict[str, int]:
    """Cells that tell whose blocks a row used."""
    sessions = blocks.drop_duplicates(["participant", "session"])
    return {
        "n_participants": sessions["participant"].nunique(),
        "n_sessions": len(sessions),
        "n_blocks": len(blocks),
    }


def numbers(test: Inference) -> dict[str, float]:
    """Cells of a test; those of its interval come with `complete_row`."""
    return {name: float(getattr(test, name)) for name in ("estimate", "se", "df", "t", "p")}


def interval(row: dict[str, Any], level: float) -> dict[str, float]:
    """Cells of the interval of a row with estimate, standard error and degrees of freedom."""
    from scipy.special import stdtrit

    half = float(stdtrit(row["df"], 0.5 + level / 2)) * row["se"]
    return {"ci_low": row["estimate"] - half, "ci_high": row["estimate"] + half, "ci_level": level}


def session_row(
    fit: session_models.SessionFit, rows: "Rows", analysis: str, value: str, contrast: str, **more: Any
) -> dict[str, Any]:
    """Make the row of a least-squares test of session values: `value` says what they are."""
    terms = more.pop("terms", ("condition", *fit.covariates))
    keys = ["participant", "session"]
    here = pd.MultiIndex.from_frame(rows.blocks[keys]).isin(pd.MultiIndex.from_frame(fit.sessions[keys]))
    return {
        "analysis": analysis,
        **written(value, " + ".join(terms)),
        "columns": frozenset(terms),
        "cancelled": fit.cancelled,
        "contrast": contrast,
        **counts(rows.blocks[here]),
        "random": "none",
        "df_method": "residual",
        "remark": _cancelled(fit),
        **numbers(fit.test),
        **more,
    }


def _cancelled(fit: session_models.SessionFit) -> str:
    return f"{', '.join(fit.cancelled)}: constant within participants, and so without a part in it" * bool(
        fit.cancelled
    )


def joined(*remarks: str) -> str:
    """Put remarks in one cell, each once."""
    return "; ".join(dict.fromkeys(r for r in remarks if r))


def estimated(
    make: Callable[[], list[dict[str, Any]]], analysis: str, contrast: str, **more: Any
) -> list[dict[str, Any]]:
    """Make rows, or one row that says why there are none."""
    try:
        return make()
    except InputError as error:
        return [{"analysis": analysis, "contrast": contrast, "remark": f"not estimated: {error}", **more}]


def sizes(plan: Plan, rows: "Rows", contrast: Contrast, test: Inference) -> dict[str, float]:
    """Effect sizes of a fitted contrast; `rows` give the spread of the session values and who has every condition."""
    used = rows.sessions
    if not contrast.weights:
        spread = float(used.groupby("visit")[rows.value].var().mean() ** 0.5)
        people = used["participant"].nunique()
        return session_models.effect_sizes(test, people, spread, people - 1, plan.level)
    if plan.design == "parallel":
        used = by_participant(used, [rows.value])
    by = used[used["condition"].isin(contrast.of)].groupby("condition")[rows.value]
    spread = float(by.var().mean() ** 0.5)
    if plan.design == "parallel":
        return session_models.effect_sizes(test, 0, spread, float(by.size().sum() - by.ngroups), plan.level)
    pairs = session_models.complete(used, tuple(contrast.of))["participant"].nunique()
    return session_models.effect_sizes(test, pairs, spread, pairs - 1, plan.level)


def complete_row(row: dict[str, Any], rows: "Rows", plan: Plan) -> dict[str, Any]:
    """Add what every row has: interval, outcome, estimand, covariates, dropped rows, percents of the baseline."""
    if "ci_low" not in row and np.isfinite(row.get("se", np.nan)):
        row = row | interval(row, plan.level)
    names = {"estimate": "percent_of_baseline", "ci_low": "percent_ci_low", "ci_high": "percent_ci_high"}
    found = {new: 100 * row[old] / rows.baseline for old, new in names.items() if old in row}
    found |= {"n_dropped": rows.n_dropped + row.get("n_dropped", 0)}
    if "columns" in row:
        found["adjusted_for"] = adjusted_for(plan, row["columns"])
        missing = [c for c in plan.adjust_for if c not in row["columns"] and c not in row.get("cancelled", ())]
        if missing:
            found["remark"] = joined(row.get("remark", ""), f"not adjusted for {', '.join(missing)}")
    return {"outcome": plan.outcome, "estimand": rows.estimand} | row | found


def adjusted_for(plan: Plan, columns: Collection[str]) -> str:
    """Name the baseline and the covariates among the columns of a model."""
    return ", ".join(name for name in ("bl_dev", "bl_mean", "bl", *plan.adjust_for) if name in columns)


def primary_row(
    plan: Plan, rows: "Rows", contrast: Contrast, analysis: str = "primary", extra: Sequence[str] = ()
) -> dict[str, Any]:
    """Make the row of the primary analysis of a design.

    Groups of a parallel trial, and single values of participants, are compared by least squares of session values with
    a variance for each condition; everything else by the mixed model of the blocks.
    """
    if plan.design == "parallel":
        if rows.sessions.duplicated("participant").any():
            return by_condition(plan, rows, contrast, analysis, extra)
        return session_test(plan, rows, contrast, analysis=analysis, extra=extra)
    if plan.design == "single_arm" and not rows.change:
        raise InputError("there is no usable baseline, and a single arm is its change from it; name blocks.baseline")
    if not rows.blocks.duplicated("participant").any():  # one value each: nothing is random
        return session_test(plan, rows, contrast, analysis=analysis, extra=extra)
    model = primary_model(plan, rows, extra)
    return model_row(model, contrast.difference(model), analysis, contrast.name, remark=_at_zero(model))


def by_condition(
    plan: Plan, rows: "Rows", contrast: Contrast, analysis: str, extra: Sequence[str] = ()
) -> dict[str, Any]:
    """Compare groups over several visits: a mixed model of session values for each, with variances of its own."""
    design_checks.check_comparison(plan, rows.sessions)
    sessions = rows.sessions[rows.sessions["condition"].isin(contrast.of)]
    table = sessions.assign(outcome=sessions[rows.value], block="session").reset_index(drop=True)
    table = table.assign(bl_mean=table["bl"] - by_participant(table, ["bl"])["bl"].mean())
    factors = [column for column in (*plan.adjust_for, *extra) if is_factor(table[column])]
    _refuse_other_levels(table, ["visit", *factors])
    for column in (*plan.adjust_for, *extra):
        if column not in factors:
            table[column] -= by_participant(table, [column])[column].mean()
    models, tests, terms = [], [], []
    for condition, weight in contrast.weights:
        own = table[table["condition"] == condition].reset_index(drop=True)
        terms.append(terms_of(replace(plan, design="single_arm"), replace(rows, blocks=own), extra))
        try:
            models.append(fit_table(own, f"outcome ~ {' + '.join(terms[-1])}", {"visit": str(own["visit"].min())}))
            tests.append(models[-1].test(weight * _at_zero_covariates(models[-1])))
        except InputError as error:
            raise InputError(f"condition {condition!r}: {error}") from None
    fit = session_models.SessionFit(independent(tests), pd.concat([model.table for model in models]))
    value = f"session {'change' if rows.change else 'mean'}"
    remark = "each condition fitted by itself, with variances and slopes of its own"
    method = "Kenward-Roger, Satterthwaite"
    row = session_row(fit, rows, analysis, value, contrast.name, terms=terms[0], df_method=method)
    return row | {
        "columns": models[0].columns,
        "random": "(1|participant) in each condition", "singular": any(bool(m.fit.singular) for m in models),
        "converged": all(bool(m.fit.converged) for m in models),
        "remark": joined(remark, *(_at_zero(m) for m in models)),
    }  # fmt: skip


def _refuse_other_levels(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse to compare means over different visits or levels of a factor."""
    for column in columns:
        levels = {c: sorted(map(str, own.dropna().unique())) for c, own in table.groupby("condition")[column]}
        first, *others = levels
        if differing := [c for c in others if levels[c] != levels[first]]:
            what = "leave out the visits that one of them lacks" if column == "visit" else f"take {column} out"
            raise InputError(
                f"condition {first!r} has {column} {', '.join(levels[first])} and {differing[0]!r} has "
                f"{', '.join(levels[differing[0]])}, so that their means are not of the same; {what}"
            )


def _at_zero_covariates(model: Model) -> NDArray[np.float64]:
    """Weights of the mean over visits and levels of factors, where every number is 0."""
    weights = model.mean_weights()
    numbers = [any(level is None for _, level in effect) for effect in model.design.effects]
    return np.where(numbers, 0.0, weights)


def _at_zero(model: Model) -> str:
    return "a variance is at zero" if model.fit.singular else ""


def with_sizes(plan: Plan, rows: "Rows", contrast: Contrast, row: dict[str, Any]) -> dict[str, Any]:
    """Add the effect sizes of a row's own test."""
    known = (np.float64(row.get(name, np.nan)) for name in ("estimate", "se", "df", "t", "p", "ci_low", "ci_high"))
    test = Inference(*known)
    return row | sizes(plan, rows, contrast, test)


def compare(plan: Plan, rows: "Rows", contrast: Contrast, all_analyses: bool = True) -> list[dict[str, Any]]:
    """Make the rows of the primary comparison: the primary analysis and, with `all_analyses`, what stands with it."""

    def primary() -> list[dict[str, Any]]:
        row = with_sizes(plan, rows, contrast, primary_row(plan, rows, contrast))
        return [row | {"remark": joined(*rows.notes, row["remark"])}]

    def mixed(analysis: str, session: bool = True, **more: Any) -> list[dict[str, Any]]:
        if not rows.blocks.duplicated("participant").any():
            return []
        model = primary_model(plan, rows, session=session)
        return [model_row(model, contrast.difference(model), analysis, contrast.name, **more)]

    found = estimated(primary, "primary", contrast.name)
    if all_analyses:
        name, independent = contrast.name, "blocks treated as independent"
        if plan.design == "parallel":
            remark = "assumes the same variance in every condition"
            found += estimated(lambda: mixed("equal variances", remark=remark), "equal variances", name)
            if plan.visits and rows.sessions.duplicated("participant").any():
                found += estimated(
                    lambda: [session_test(plan, rows, contrast, analysis="participant means")],
                    "participant means",
                    name,
                )
        else:
            satterthwaite = "primary (Satterthwaite)"
            found += estimated(lambda: mixed(satterthwaite, method="satterthwaite"), satterthwaite, name)
            found += estimated(lambda: [session_test(plan, rows, contrast)], "pair means", name)
        if contrast.weights:
            found += estimated(lambda: [rerandomised(plan, rows, contrast)], "re-randomisation", name)
        if plan.design == "crossover":
            remark = "not a valid test where visits differ: participants' sessions are not told apart"
            more = {"session": False, "method": "satterthwaite", "remark": remark}
            found += estimated(lambda: mixed(independent, **more), independent, name)
        found += estimated(lambda: baseline_row(plan, rows, contrast), "baseline by arm", name, estimand="baseline")
    return [complete_row(row, rows, plan) for row in found]


def session_test(
    plan: Plan,
    rows: "Rows",
    contrast: Contrast,
    y: str | None = None,
    analysis: str = "pair means",
    extra: Sequence[str] = (),
    variance: Literal["by condition", "equal", "HC3"] = "by condition",
) -> dict[str, Any]:
    """Make the row of the classical analysis of session means: crossover or parallel, one sample in a single arm.

    Parameters
    ----------
    y : str, optional
        y, change or bl: what is compared; by default what the estimand says, adjusted for the baseline if it says so.
    """
    design_checks.check_comparison(plan, rows.sessions)
    y = y or rows.value
    covariates = (*(("bl",) if rows.adjusts and y == rows.value else ()), *plan.carried, *plan.adjust_for, *extra)
    design_checks.check_carried(plan, rows.sessions)
    named = {"y": "session mean", "change": "session change", "bl": "session baseline"}[y]
    sessions = every = rows.sessions[rows.sessions[y].notna()]
    if plan.visits and plan.design == "parallel" and every.duplicated("participant").any():
        sessions, named = by_participant(every, [y, *covariates]), f"participant's mean {named}"
    if plan.design == "single_arm":
        people = sessions.groupby("participant")[y].mean()
        fit = session_models.SessionFit(session_models.one_sample(people), sessions)
        return session_row(fit, rows, analysis, f"participant's mean {named}", contrast.name, terms=("1",))
    if plan.design == "parallel":
        fit = session_models.parallel(sessions, plan.conditions, contrast.of, y, covariates, variance)
        if sessions is not every:
            fit = replace(fit, sessions=every[every["participant"].isin(fit.sessions["participant"])])
        method = {"by condition": "Welch-Satterthwaite", "equal": "residual", "HC3": "residual"}[variance]
        how = "a variance for each condition" if variance == "by condition" else ""
        return session_row(fit, rows, analysis, named, contrast.name, df_method=method, remark=how)
    fit = session_models.crossover(sessions, plan.conditions, contrast.of, y, covariates)
    left = rows.sessions["participant"].nunique() - fit.n_participants
    remark = f"{left} participant(s) without every condition left out" if left else ""
    if session_models.complete(fit.sessions, plan.conditions).empty:
        remark = "no participant has every condition; those with two or more are compared (incomplete blocks)"
    row = session_row(fit, rows, analysis, named, contrast.name, terms=("participant", "condition", *fit.covariates))
    return row | {"remark": joined(remark, row["remark"])}


def baseline_row(plan: Plan, rows: "Rows", contrast: Contrast) -> list[dict[str, Any]]:
    """Compare the baselines of the arms: a difference says what a dose before them did, or chance."""
    if not rows.has_baseline or not contrast.weights:
        return []
    more = {"estimand": "baseline", "remark": "difference of the baselines, not of the response"}
    sessions = rows.sessions[rows.sessions["bl"].notna()].reset_index(drop=True)
    if plan.design == "parallel":
        row = session_test(plan, rows, contrast, y="bl", analysis="baseline by arm")
        return [row | more]
    blocks = sessions.assign(outcome=sessions["bl"], block="baseline", phase="baseline", onset_s=0.0)
    own = replace(rows, blocks=blocks, sessions=sessions, adjusts=False, change=False)
    return [primary_row(plan, own, contrast, "baseline by arm") | more]


def rerandomised(plan: Plan, rows: "Rows", contrast: Contrast) -> dict[str, Any]:
    """Make the row of the randomisation test of the analysis of session means."""
    free = replace(plan, carry_over=False)  # what carries over follows from the assignment
    row = session_test(free, rows, contrast, analysis="re-randomisation", variance="equal")
    p, t, exact = randomisation_of(plan, rows, contrast)
    unknown = ("se", "df")
    kept = {name: value for name, value in row.items() if name not in unknown}
    how = f"all {len(t)} assignments" if exact else f"{len(t)} random assignments"
    kept["remark"] = joined(kept["remark"], "not adjusted for carry-over" * plan.carry_over)
    return kept | {"p": p, "df_method": how, "random": "assignment of conditions", "seed": plan.seed}


def randomisation_of(plan: Plan, rows: "Rows", contrast: Contrast) -> tuple[float, NDArray[np.float64], bool]:
    """Run the randomisation test: p, its distribution of t, and whether every assignment was taken."""
    if contrast.pair is None:
        raise InputError("the randomisation test is of differences of two conditions")
    treated, reference = contrast.pair
    levels = (reference, *(c for c in plan.conditions if c != reference))
    covariates = (*(("bl",) if rows.adjusts else ()), *plan.adjust_for)
    if plan.design == "crossover":
        used = session_models.comparable(rows.sessions, plan.conditions)
        session_models.refuse_unequal_visits(used)
        fixed = [session_models.dummies(used["visit"], tuple(sorted(used["visit"].unique())))]
        coded = session_models.coded(used, covariates)
        inside = {name: session_models.within(x, used["participant"]) for name, x in coded.items()}
        fixed += [coded[name] for name, x in inside.items() if np.abs(x).max(initial=0) > session_models.ROUNDING]
    else:
        used = by_participant(rows.sessions, [rows.value, *covariates])
        fixed = [np.ones((len(used), 1)), *session_models.coded(used, covariates).values()]
    labels = used["condition"].to_numpy(object).reshape(used["participant"].nunique(), -1)
    y, columns = used[rows.value], np.column_stack(fixed)
    return permutation.rerandomise(y, columns, labels, used["participant"], levels, treated, plan.draws, plan.seed)


def participant_only_time(plan: Plan, blocks: pd.DataFrame) -> dict[str, Any]:
    """Make the row of condition x time with a participant intercept only, as it is common in published trials."""
    contrast = plan.contrasts[0]
    model = fit_table(blocks, "outcome ~ condition*block + (1|participant)", references(plan, blocks))
    remark = "not a valid test where visits differ; all blocks, condition averaged over time"
    name = "blocks treated as independent (condition x time)"
    more = {"remark": remark, "estimand": "level, all blocks"}
    return model_row(model, contrast.difference(model), name, contrast.name, "satterthwaite", **more)


def phase_model(plan: Plan, blocks: pd.DataFrame) -> Model:
    """Fit condition x phase to all blocks, with every random intercept that the design has."""
    keys = ["participant", "session", "phase"]
    terms = ["condition*phase", *(["visit"] if blocks["visit"].nunique() > 1 else []), "(1|participant)"]
    terms += ["(1|participant:session)", "(1|participant:phase)"]
    if replicated(blocks):
        terms.append("(1|participant:condition)")
    if blocks.duplicated(keys).any():
        terms.append("(1|participant:session:phase)")
    found = references(plan, blocks)
    return fit_table(
        blocks, "outcome ~ " + " + ".join(terms), {k: found[k] for k in ("condition", "visit")} | {"phase": "baseline"}
    )
