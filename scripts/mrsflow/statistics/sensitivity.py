"""Does the answer depend on a choice: one row for each other way to analyse the primary contrast."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import mixed, session_models
from mrsflow.statistics import sites
from mrsflow.statistics.contrasts import primary_model, primary_row, session_test
from mrsflow.statistics.outcomes import Rows, add_baseline, prepare
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import Result, complete_row, estimated, joined, model_row
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    from mrsflow.study.trial import TrialData

MOST_LEFT_OUT = 100  # participants up to which every leave-one-out model is fitted


def sensitivity_rows(
    trial: "TrialData",
    plan: Plan,
    rows: Rows,
    denominators: list[str],
    refitted: Mapping[str, Callable[[], "TrialData"]] = MappingProxyType({}),
) -> list[Result]:
    """Make the sensitivity set of the primary contrast; what cannot be done is a row that says why.

    It has the row of the other estimands too: change score, adjusted level, unadjusted level; and one for each of
    `refitted`, which read the same trial by fitters beside the first.
    """
    contrast = plan.contrasts[0]
    ratio, term = split_outcome(plan.outcome)
    numerator, suffix = ratio.partition("/")[0], f": {term}" * bool(term)
    other = {d: f"{numerator}/{d}{suffix}" for d in denominators if f"{numerator}/{d}" != ratio}

    def refit(excluded: bool = False, warned: bool = True, outcome: str = plan.outcome) -> tuple[Rows, list[Result]]:
        own = trial if warned else trial.leave_out(trial.blocks["warned"])
        return _refit(plan, prepare(own, outcome, excluded=excluded), contrast)

    def one(make: Callable[..., Result], *arguments: Any) -> Callable[[], tuple[Rows, list[Result]]]:
        return lambda: (rows, [make(plan, rows, contrast, *arguments)])

    crossed: dict[str, Callable[[], tuple[Rows, list[Result]]]] = {
        "complete pairs": lambda: _refit(plan, _complete(plan, rows), contrast),
        "visit 1 only": one(_first_visit),
    }
    matched = trial.config.get("preprocess", {}).get("match_linewidth", False)
    set_up = {
        "all blocks": lambda: refit(excluded=True),
        "QC-passed only": lambda: refit(warned=False),
        "without doubtful fits": lambda: _without_doubtful(trial, plan, rows, contrast),
        "linewidth-matched" if matched else "linewidth as covariate": lambda: _linewidth(matched, plan, rows, contrast),
        **{f"denominator {d}": lambda n=n: refit(outcome=n) for d, n in other.items()},
        **{f"fitter {n}": lambda t=t: _refit(plan, prepare(t(), plan.outcome), contrast) for n, t in refitted.items()},
        **(crossed if plan.design == "crossover" else {"HC3 standard error": one(_hc3)}),
        "change score": one(_change),
        "adjusted level": lambda: _other(trial, plan, contrast, "adjusted_level"),
        "level, not adjusted": one(_level),
        "Huber summary": lambda: _huber(trial, plan, contrast),
        "log scale": lambda: _log(plan, rows, contrast),
        "CRLB-weighted": one(_weighted),
        "leave one participant out": one(_leave_one_out),
        "with site": one(_with_factor, "site"),
        "with vendor": one(_with_factor, "vendor"),
    }
    for column in ("site", "vendor"):
        if sites.named(rows.sessions, column):
            set_up[f"{column} random"] = one(sites.random_sites, column)
    if sites.named(rows.sessions):
        set_up["levels harmonised between sites"] = one(sites.harmonised_row)
    named = {f"denominator {d}": n for d, n in other.items()}
    found = []
    for analysis, make in set_up.items():
        found += _named(analysis, replace(plan, outcome=named.get(analysis, plan.outcome)), contrast, make)
    return found


def _named(
    analysis: str, plan: Plan, contrast: Contrast, make: Callable[[], tuple[Rows, list[Result]]]
) -> list[Result]:
    def finish() -> list[Result]:
        own, made = make()
        return [complete_row(replace(row, analysis=analysis), own, plan) for row in made]

    return estimated(finish, Result(analysis=analysis, contrast=contrast.name, outcome=plan.outcome))


def _refit(plan: Plan, rows: Rows, contrast: Contrast) -> tuple[Rows, list[Result]]:
    return rows, [primary_row(plan, rows, contrast, "")]


def _other(trial: "TrialData", plan: Plan, contrast: Contrast, kind: str) -> tuple[Rows, list[Result]]:
    """Answer another question with the same data; a baseline after the dose is said."""
    group = trial.config["group"] | {"estimand": kind}
    own = prepare(replace(trial, config=trial.config | {"group": group}), plan.outcome)
    if not own.has_baseline:
        raise InputError("there are no baseline blocks")
    row = primary_row(plan, own, contrast, "")
    return own, [replace(row, remark=joined(*own.warnings, row.remark))]


def _without_doubtful(trial: "TrialData", plan: Plan, rows: Rows, contrast: Contrast) -> tuple[Rows, list[Result]]:
    """Leave out the blocks whose fit is doubtful; the remark counts them, or says why none is left out."""
    blocks = trial.blocks
    doubtful = blocks["fit_status"] == "doubtful"
    used = ~blocks["excluded"] & blocks[plan.outcome].notna()
    n_used = int((doubtful & used).sum())
    if n_used and n_used == used.sum():
        raise InputError("the fit of every block is doubtful")
    own = prepare(trial.leave_out(doubtful), plan.outcome) if n_used else rows
    remark = f"{n_used} doubtful blocks left out" if n_used > 1 else "1 doubtful block left out"
    if not n_used:
        remark = "the rules exclude every doubtful block" if doubtful.any() else "no block is doubtful"
        remark += "; the same as the primary"
    own, made = _refit(plan, own, contrast)
    return own, [replace(row, remark=remark) for row in made]


def _linewidth(matched: bool, plan: Plan, rows: Rows, contrast: Contrast) -> tuple[Rows, list[Result]]:
    """Adjust for each block's own linewidth, unless the fits were already matched."""
    if matched:
        own, made = _refit(plan, rows, contrast)
        return own, [
            replace(row, remark="all fits are of linewidth-matched spectra; the same as the primary") for row in made
        ]
    blocks = rows.blocks
    if blocks["linewidth_hz"].isna().any() or not blocks["linewidth_hz"].std() > 0:
        raise InputError("the linewidths of the blocks are not known, or all the same")
    centred = blocks.assign(linewidth_centred=blocks["linewidth_hz"] - blocks["linewidth_hz"].mean())
    own = replace(rows, blocks=centred)
    model = primary_model(plan, own, extra=["linewidth_centred"])
    remark = (
        "linewidth of each block as covariate; for matched spectra set preprocess.match_linewidth in another output"
    )
    return own, [model_row(model, contrast.difference(model), "", contrast.name, remark=remark)]


def _complete(plan: Plan, rows: Rows) -> Rows:
    sessions = session_models.complete(rows.sessions, plan.conditions)
    if sessions.empty:
        raise InputError("no participant has every condition")
    blocks = rows.blocks[rows.blocks["participant"].isin(set(sessions["participant"]))].reset_index(drop=True)
    dropped = rows.n_dropped + len(rows.blocks) - len(blocks)
    return replace(rows, blocks=blocks, sessions=sessions, n_dropped=dropped)


def _change(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    if not rows.has_baseline:
        raise InputError("there are no baseline blocks")
    return replace(session_test(plan, rows, contrast, y="change"), estimand="response")


def _level(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    own = replace(rows, adjusts=False)
    return replace(session_test(plan, own, contrast, y="y"), estimand="level")


def _first_visit(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    visit = rows.sessions["visit"].min()
    first = rows.sessions[rows.sessions["visit"] == visit]
    if first["condition"].nunique() < 2:
        raise InputError("the first visit has a single condition")
    own = replace(rows, sessions=first, blocks=rows.blocks[rows.blocks["visit"] == visit])
    return session_test(replace(plan, design="parallel"), own, contrast, analysis="")


def _huber(trial: "TrialData", plan: Plan, contrast: Contrast) -> tuple[Rows, list[Result]]:
    rows = prepare(trial, plan.outcome, summary="huber")
    row = session_test(plan, rows, contrast)
    return rows, [replace(row, response=f"Huber {row.response}")]


def _log(plan: Plan, rows: Rows, contrast: Contrast) -> tuple[Rows, list[Result]]:
    """Fit the logarithm; the estimate is a log ratio, which in percent is nearly a percentage of the baseline."""
    keys = ["participant", "session"]
    levels = rows.blocks["outcome"] + (rows.blocks["bl"] if rows.change else 0.0)
    if (levels <= 0).any() or (rows.sessions["bl"] <= 0).any():
        raise InputError("the outcome has values of zero or below")
    logs = np.log(levels)
    sessions = add_baseline(rows.sessions.assign(bl=np.log(rows.sessions["bl"].astype(float))))
    y = logs.groupby([rows.blocks[key] for key in keys]).mean().rename("y")
    sessions = sessions.drop(columns="y").merge(y.reset_index(), on=keys)
    sessions["change"] = sessions["y"] - sessions["bl"]
    covariates = ["bl", "bl_dev", "bl_mean"]
    blocks = rows.blocks.drop(columns=covariates).assign(outcome=logs).merge(sessions[[*keys, *covariates]], on=keys)
    if rows.change:
        blocks["outcome"] -= blocks["bl"]
    own = replace(rows, blocks=blocks, sessions=sessions, baseline=1.0, known=False)
    row = _refit(plan, own, contrast)[1][0]
    response = "log(outcome)" if row.response == "outcome" else f"{row.response} of logarithms"
    remark = joined("estimate is a difference of logarithms", row.remark)
    return own, [replace(row, response=response, remark=remark)]


def _weighted(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    sd = rows.blocks["sd"]
    if sd.isna().any() or (sd <= 0).any():
        raise InputError("the fits do not have an uncertainty of this outcome for every block")
    weight = 1 / sd**2
    own = replace(rows, blocks=rows.blocks.assign(crlb_weight=weight / weight.mean()))
    model = primary_model(plan, own, weights="crlb_weight")
    return model_row(model, contrast.difference(model), "", contrast.name, remark="blocks weighted by 1/CRLB variance")


def _leave_one_out(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    """Fit without each participant in turn; the interval of the row is the range of the estimates."""
    names = sorted(rows.sessions["participant"].unique())
    if len(names) > MOST_LEFT_OUT:
        raise InputError(f"not run for more than {MOST_LEFT_OUT} participants (there are {len(names)})")
    row = primary_row(plan, rows, contrast, "")
    estimate, p = _without_each(plan, rows, contrast, names)
    far = int(np.argmax(np.abs(estimate - row.estimate)))
    remark = (
        f"ci_low and ci_high are the range of the estimates; p from {p.min():.3g} to {p.max():.3g}; "
        f"the estimate changes most without {names[far]}"
    )
    low, high = float(estimate.min()), float(estimate.max())
    return replace(row, se=np.nan, t=np.nan, p=np.nan, ci_low=low, ci_high=high, df_method="range", remark=remark)


def _without_each(
    plan: Plan, rows: Rows, contrast: Contrast, names: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate and p of the primary analysis without each participant; mixed models all at once."""
    if plan.design == "parallel" or rows.known or not rows.blocks.duplicated("participant").any():
        found = []
        for name in names:
            sessions = rows.sessions[rows.sessions["participant"] != name].reset_index(drop=True)
            blocks = rows.blocks[rows.blocks["participant"] != name]
            found.append(primary_row(plan, replace(rows, sessions=sessions, blocks=blocks), contrast))
        return np.array([row.estimate for row in found]), np.array([row.p for row in found])
    model = primary_model(plan, rows)
    design, people = model.design, model.table["participant"].to_numpy()
    present = np.array([people != name for name in names])
    stack = np.broadcast_to(design.x, (len(names), *design.x.shape))
    fit = mixed.fit(stack, np.broadcast_to(design.y, present.shape), design.groups, design.names, present)
    test = fit.contrast(contrast.difference(model))
    return test.estimate, test.p


def _with_factor(plan: Plan, rows: Rows, contrast: Contrast, column: str) -> Result:
    if column not in rows.blocks or rows.blocks[column].nunique() < 2:
        raise InputError(f"there is no column {column!r} with two values or more")
    if column in plan.adjust_for:
        raise InputError(f"{column} is already in the primary model")
    if rows.sessions[column].isna().any():
        raise InputError(f"{column} has no value in {int(rows.sessions[column].isna().sum())} sessions")
    return primary_row(plan, rows, contrast, "", extra=[column])


def _hc3(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    if plan.design != "parallel":
        raise InputError("it is an analysis of parallel groups")
    return session_test(plan, rows, contrast, variance="HC3")
