"""The comparison of conditions: the primary model of each design, and what is shown beside it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import permutation, session_models
from mrsflow.models.mixed import DfMethod, independent
from mrsflow.models.table_models import Model, fit_table
from mrsflow.statistics import design_checks, sites, term_outcomes
from mrsflow.statistics.outcomes import by_participant
from mrsflow.statistics.plan import Contrast, Plan, formula, references, replicated, terms_of
from mrsflow.statistics.results import Result, complete_row, estimated, joined, model_row, session_row
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
    text, levels = formula(plan, rows, extra, session), references(plan, rows.blocks)
    if not rows.known:
        return fit_table(rows.blocks, text, levels, weights)
    if weights is not None:
        raise InputError("the primary analysis weighs sessions by their errors already")
    slope = float(rows.change or rows.adjusts)
    for _ in range(term_outcomes.ROUNDS):
        model = fit_table(
            rows.blocks.assign(error=term_outcomes.errors_about(rows, slope)), text, levels, errors="error"
        )
        names = [name for name in ("bl_dev", "bl_mean") if name in model.fit.names]
        if rows.change or not names:
            break
        slope = float(model.fit.beta[model.fit.names.index(names[0])])
    return model


def with_sizes(plan: Plan, rows: "Rows", contrast: Contrast, row: Result) -> Result:
    """Add the effect sizes of a row's own test, by the spread of session values and who has every condition."""
    used, column = rows.sessions, "condition" if contrast.weights else "visit"
    if plan.design == "parallel":
        used = by_participant(used, [rows.value])
    by = used[used["condition"].isin(contrast.of or plan.conditions)].groupby(column)[rows.value]
    spread = float(by.var().mean() ** 0.5)
    if plan.design == "parallel":
        pairs, df = 0, int(by.size().sum() - by.ngroups)
    else:
        people = session_models.complete(used, tuple(contrast.of)) if contrast.weights else used
        pairs = people["participant"].nunique()
        df = pairs - 1
    return replace(row, **session_models.effect_sizes(row, pairs, spread, df, plan.level)._asdict())


def primary_row(
    plan: Plan, rows: "Rows", contrast: Contrast, analysis: str = "primary", extra: Sequence[str] = ()
) -> Result:
    """Make the row of the primary analysis of a design.

    Groups of a parallel trial, and single values of participants, are compared by least squares of session values with
    a variance for each condition; everything else by the mixed model of the blocks.
    """
    if plan.design == "parallel":
        if rows.sessions.duplicated("participant").any():
            return by_condition(plan, rows, contrast, analysis, extra)
        return session_test(plan, rows, contrast, analysis=analysis, extra=extra)
    if plan.design == "single_arm" and not rows.change and not rows.known:
        raise InputError("there is no usable baseline, and a single arm is its change from it; name blocks.baseline")
    if not rows.known and not rows.blocks.duplicated("participant").any():  # one value each: nothing is random
        return session_test(plan, rows, contrast, analysis=analysis, extra=extra)
    model = primary_model(plan, rows, extra)
    return model_row(model, contrast.difference(model), analysis, contrast.name, remark=_at_zero(model))


def by_condition(plan: Plan, rows: "Rows", contrast: Contrast, analysis: str, extra: Sequence[str] = ()) -> Result:
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
    remark = joined(remark, *(_at_zero(m) for m in models))
    row = session_row(fit, rows, analysis, value, contrast.name, terms[0], method, remark)
    return replace(
        row,
        columns=models[0].columns,
        random="(1|participant) in each condition",
        singular=any(bool(m.fit.singular) for m in models),
        converged=all(bool(m.fit.converged) for m in models),
    )


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


def compare(plan: Plan, rows: "Rows", contrast: Contrast, all_analyses: bool = True) -> list[Result]:
    """Make the rows of the primary comparison: the primary analysis and, with `all_analyses`, what stands with it."""

    def primary() -> list[Result]:
        row = with_sizes(plan, rows, contrast, primary_row(plan, rows, contrast))
        return [replace(row, remark=joined(*rows.notes, sites.unknown_to_model(plan, rows), row.remark))]

    def mixed(
        analysis: str, method: DfMethod = "kenward-roger", remark: str = "", session: bool = True
    ) -> list[Result]:
        if not rows.known and not rows.blocks.duplicated("participant").any():
            return []
        model = primary_model(plan, rows, session=session)
        return [model_row(model, contrast.difference(model), analysis, contrast.name, method, remark=remark)]

    def classical(analysis: str) -> list[Result]:
        return [session_test(plan, rows, contrast, analysis=analysis)]

    def also(make: Callable[..., list[Result]], analysis: str, *arguments: Any) -> list[Result]:
        return estimated(lambda: make(analysis, *arguments), Result(analysis=analysis, contrast=contrast.name))

    found = estimated(primary, Result(analysis="primary", contrast=contrast.name))
    if all_analyses:
        if plan.design == "parallel":
            analysis, remark = "equal variances", "assumes the same variance in every condition"
            if rows.known:
                analysis, remark = "two-level", f"sessions weighed by the errors of their fits; {remark}"
            found += also(mixed, analysis, "kenward-roger", remark)
            if plan.visits and rows.sessions.duplicated("participant").any():
                found += also(classical, "participant means")
        else:
            found += also(mixed, "primary (Satterthwaite)", "satterthwaite")
            found += also(classical, "pair means")
        if contrast.weights:
            found += also(lambda _: [rerandomised(plan, rows, contrast)], "re-randomisation")
        if plan.design == "crossover" and not rows.known:
            remark = "not a valid test where visits differ: participants' sessions are not told apart"
            found += also(mixed, "blocks treated as independent", "satterthwaite", remark, False)
        failed = Result(analysis="baseline by arm", contrast=contrast.name, estimand="baseline")
        found += estimated(lambda: baseline_row(plan, rows, contrast), failed)
    return [complete_row(row, rows, plan) for row in found]


def session_test(
    plan: Plan,
    rows: "Rows",
    contrast: Contrast,
    y: str | None = None,
    analysis: str = "pair means",
    extra: Sequence[str] = (),
    variance: Literal["by condition", "equal", "HC3"] = "by condition",
) -> Result:
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
        return session_row(fit, rows, analysis, f"participant's mean {named}", contrast.name, ("1",))
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
    terms = ("participant", "condition", *fit.covariates)
    return session_row(fit, rows, analysis, named, contrast.name, terms, remark=remark)


def baseline_row(plan: Plan, rows: "Rows", contrast: Contrast) -> list[Result]:
    """Compare the baselines of the arms: a difference says what a dose before them did, or chance."""
    if not rows.has_baseline or not contrast.weights:
        return []
    sessions = rows.sessions[rows.sessions["bl"].notna()].reset_index(drop=True)
    if plan.design == "parallel":
        row = session_test(plan, rows, contrast, y="bl", analysis="baseline by arm")
    else:
        blocks = sessions.assign(outcome=sessions["bl"], block="baseline", phase="baseline", onset_s=0.0)
        own = replace(rows, blocks=blocks, sessions=sessions, adjusts=False, change=False, known=False)
        row = primary_row(plan, own, contrast, "baseline by arm")
    return [replace(row, estimand="baseline", remark="difference of the baselines, not of the response")]


def rerandomised(plan: Plan, rows: "Rows", contrast: Contrast) -> Result:
    """Make the row of the randomisation test of the analysis of session means."""
    free = replace(plan, carry_over=False)  # what carries over follows from the assignment
    row = session_test(free, rows, contrast, analysis="re-randomisation", variance="equal")
    p, t, exact = randomisation_of(plan, rows, contrast)
    how = f"all {len(t)} assignments" if exact else f"{len(t)} random assignments"
    return replace(row, se=np.nan, df=np.nan, p=p, df_method=how, random="assignment of conditions", seed=plan.seed)


def randomisation_of(plan: Plan, rows: "Rows", contrast: Contrast) -> tuple[float, NDArray[np.float64], bool]:
    """Run the randomisation test: p, its distribution of t, and whether every assignment was taken."""
    return permutation.rerandomise(*assigned(plan, rows, contrast), plan.draws, plan.seed)


class Assigned(NamedTuple):
    """What a randomisation test takes: see `mrsflow.models.permutation.rerandomise`."""

    y: NDArray[np.float64]
    fixed: NDArray[np.float64]
    labels: NDArray
    participant: NDArray
    levels: tuple[str, ...]
    treated: str


def assigned(plan: Plan, rows: "Rows", contrast: Contrast) -> Assigned:
    """Arrange session values for a randomisation test.

    Raises
    ------
    InputError
        The contrast is none of two conditions, or participants have unequal visits.
    """
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
    y, people = used[rows.value].to_numpy(float), used["participant"].to_numpy()
    return Assigned(y, np.column_stack(fixed), labels, people, levels, treated)


def participant_only_time(plan: Plan, blocks: pd.DataFrame) -> Result:
    """Make the row of condition x time with a participant intercept only, as it is common in published trials."""
    contrast = plan.contrasts[0]
    model = fit_table(blocks, "outcome ~ condition*block + (1|participant)", references(plan, blocks))
    remark = "not a valid test where visits differ; all blocks, condition averaged over time"
    name = "blocks treated as independent (condition x time)"
    weights, estimand = contrast.difference(model), "level, all blocks"
    return model_row(model, weights, name, contrast.name, "satterthwaite", remark=remark, estimand=estimand)


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
