"""Trials at several sites: who was enrolled where, levels of the sites, and the primary contrast with random sites.

A crossover compares conditions within participants and so within sites: a level of a site cancels. Between groups it
does not, and stays out of the contrast only where a model has it. As a fixed effect it is the row `with site`. Random
sites are two stages: the contrast at each site, in one model with the errors of the design, and their mean with a
variance between sites. Its interval is that of any site of the kind, and needs many sites (Feaster et al. 2011,
doi:10.3109/00952990.2011.600386). In one stage the variance of site by condition stops at zero where sites do not
differ, and the test was then false in less than 1 % in place of 5 %.

Levels are harmonised by shift and scale of each site. Values that were adjusted and pass for raw ones are tested too
boldly (Nygaard et al. 2016, doi:10.1093/biostatistics/kxv027). Both are therefore estimated in the model that compares
(that of Fortin et al. 2018, doi:10.1016/j.neuroimage.2017.11.024): a term for the shift of every site, a variance of
its own for the scale, and Kenward and Roger's test, which knows that variances are estimated.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import session_models, two_level
from mrsflow.models.mixed import Fit, Inference
from mrsflow.statistics.outcomes import Rows, by_participant
from mrsflow.statistics.participant_flow import flow_table
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import Result, counts, joined, numbers

if TYPE_CHECKING:
    from mrsflow.study.cohort import Loss
    from mrsflow.study.trial import TrialData

FEW_SITES = 5
"""Sites below which a variance between them is hardly known."""
FEWEST = 10
"""Residual degrees of freedom that the scale of a site needs: with 4 the test at 5 % is false in 8.5 %."""


def named(sessions: pd.DataFrame, column: str = "site") -> list[str]:
    """Sites of a study in the order of its table; none where a single one, or no site, is named."""
    if column not in sessions:
        return []
    found = list(dict.fromkeys(map(str, sessions[column].dropna())))
    return found if len(found) > 1 else []


def unknown_to_model(plan: Plan, rows: Rows) -> str:
    """Say that levels of groups from several sites are compared without their sites; "" where they are not."""
    found = named(rows.sessions)
    if plan.design != "parallel" or rows.change or "site" in plan.adjust_for or not found:
        return ""
    return (
        f"participants of {len(found)} sites, which the model does not know: a difference between the sites passes for "
        "one of the groups where these were dealt to them unequally; see the row with site, and plan group.adjust_for: "
        "[site]"
    )


def site_table(trial: "TrialData", lost: dict[str, "Loss"], rows: Rows) -> pd.DataFrame:
    """Count participants and sessions of each site at each step, as the flow of the whole study does; levels beside.

    Levels are baselines, without one values of the sessions, over all conditions.
    """
    found = []
    for site in named(trial.sessions):
        people = set(trial.sessions["participant"][trial.sessions["site"].astype(str) == site])
        own = replace(trial, sessions=_of(trial.sessions, people), blocks=_of(trial.blocks, people))
        part = replace(rows, blocks=_of(rows.blocks, people), sessions=_of(rows.sessions, people))
        steps = flow_table(own, lost, part)
        counted = steps[steps["condition"] == "all"].set_index("step")
        level = part.sessions["bl" if rows.has_baseline else "y"].groupby(part.sessions["participant"]).mean()
        found.append({
            "site": site,
            "n_enrolled": counted.loc["in the sessions table", "n_participants"],
            "n_sessions": counted.loc["in the sessions table", "n_sessions"],
            "n_converted": counted.loc["converted", "n_sessions"],
            "n_fitted": counted.loc["fitted", "n_sessions"],
            "n_participants": counted.loc["in the primary analysis", "n_participants"],
            "level": level.mean(), "level_sd": level.std(ddof=1) if len(level) > 1 else np.nan,
        })  # fmt: skip
    table = pd.DataFrame(found, columns=["site", "n_enrolled", "n_sessions", "n_converted", "n_fitted",
                                         "n_participants", "level", "level_sd"])  # fmt: skip
    everyone = rows.sessions["bl" if rows.has_baseline else "y"].mean() if found else np.nan
    return table.assign(level_percent=100 * (table["level"].astype(float) / everyone - 1))


def _of(table: pd.DataFrame, people: set[str]) -> pd.DataFrame:
    return table[table["participant"].isin(people)].reset_index(drop=True)


def random_sites(plan: Plan, rows: Rows, contrast: Contrast, column: str = "site") -> Result:
    """Make the row of the contrast at each site, and of their mean with a variance between sites.

    Parameters
    ----------
    column : "site" or "vendor"
        What is random.

    Raises
    ------
    InputError
        Fewer than two sites have every condition of the contrast, or there are no sites.
    """
    sessions = _values(plan, rows, column)
    covariates = _covariates(plan, rows, sessions, column)
    weights = contrast.of if contrast.weights else dict.fromkeys(sessions["condition"], 1.0)
    pairs = dict.fromkeys(zip(sessions[column].astype(str), sessions["condition"].astype(str), strict=True))
    apart = sessions.assign(condition=sessions[column].astype(str) + "|" + sessions["condition"].astype(str))
    cells = tuple(pairs)
    x, _ = session_models.parallel_design(apart, tuple(map("|".join, cells)), {}, covariates)
    first = two_level.fit_kernels(x, sessions[rows.value].to_numpy(float), _kernels(plan, sessions))
    wanted = [c for c, weight in weights.items() if weight]
    every = list(dict.fromkeys(site for site, _ in cells))
    whole = [site for site in every if all((site, c) in cells for c in wanted)]
    if len(whole) < 2:
        raise InputError(
            f"{len(whole)} values of {column} have every condition of the contrast; random ones need two or more"
        )
    own = np.array([[weights.get(c, 0.0) * (site == name) for site, c in cells] for name in whole])
    own = np.column_stack([own, np.zeros((len(whole), x.shape[1] - len(cells)))])
    known = own @ first.covariance_kr @ own.T
    second = two_level.fit(np.ones((len(whole), 1)), own @ first.beta, known, {column: whole})
    test = second.contrast(np.ones(1), level=plan.level)
    few = f"{len(whole)} values of {column}: fewer than {FEW_SITES} say little of how they differ"
    gone = ", ".join(site for site in every if site not in whole)
    remark = joined(few * (len(whole) < FEW_SITES), f"without {gone}, which has not every condition" * bool(gone))
    return _row(rows, contrast, test, first, remark, terms=(f"condition:{column}", *covariates), random=column)


def _row(
    rows: Rows, contrast: Contrast, test: Inference, fit: Fit, remark: str, terms: tuple[str, ...], random: str
) -> Result:
    return Result(
        analysis="", contrast=contrast.name, response="session value", terms=" + ".join(terms),
        columns=frozenset(terms), random=random, df_method="kenward-roger", **counts(rows.blocks), **numbers(test),
        singular=bool(fit.singular), converged=bool(fit.converged), remark=remark,
    )  # fmt: skip


def _values(plan: Plan, rows: Rows, column: str) -> pd.DataFrame:
    """Sessions that are compared, or the participants' means of a parallel trial over several visits."""
    sessions = rows.sessions[rows.sessions[rows.value].notna()]
    if not named(sessions, column):
        raise InputError(f"there is no column {column!r} with two values or more")
    if sessions[column].isna().any():
        raise InputError(f"{column} has no value in {int(sessions[column].isna().sum())} sessions")
    if plan.design == "parallel" and sessions.duplicated("participant").any():
        typed = (*plan.adjust_for, *(("bl",) if rows.adjusts else ()))
        sessions = by_participant(sessions, list(dict.fromkeys([rows.value, column, *typed])))
    return sessions.assign(visit=sessions["visit"].astype(str)) if "visit" in sessions else sessions


def _covariates(plan: Plan, rows: Rows, sessions: pd.DataFrame, column: str) -> tuple[str, ...]:
    """Covariates of the primary analysis but those that are the same in all sessions of a site, which cancel."""
    baseline = ("bl_dev", "bl_mean") if plan.design == "crossover" else ("bl",)
    visit = ("visit",) if plan.design == "crossover" else ()
    wanted = (*visit, *(baseline if rows.adjusts else ()), *plan.adjust_for)
    inside = sessions.groupby(sessions[column].astype(str))[list(dict.fromkeys(wanted))].nunique()
    return tuple(name for name in dict.fromkeys(wanted) if (inside[name] > 1).any())


def _kernels(plan: Plan, sessions: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Participants who come again; errors of each group, or of all sessions."""
    found, condition = {}, sessions["condition"].astype(str).to_numpy(object)
    if sessions["participant"].duplicated().any():
        found["participant"] = _same(sessions["participant"].to_numpy(object))
    if plan.design != "parallel":
        return found | {"error": np.eye(len(sessions))}
    return found | {f"error of {c}": np.diag((condition == c).astype(float)) for c in dict.fromkeys(condition)}


def _same(labels: NDArray) -> NDArray[np.float64]:
    return (labels[:, np.newaxis] == labels).astype(float)


def harmonised_row(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    """Make the row of levels with the shift and the scale of every site in the model.

    Raises
    ------
    InputError
        What is compared is a response, a site has too few sessions, or there are no sites.
    """
    if rows.change or plan.design == "single_arm":
        raise InputError(
            "a response is the change within a session, in which the level of a site cancels; it is not harmonised, as "
            "that may take away what the drug does there. Set group.estimand to adjusted_level or total for levels"
        )
    sessions = _values(plan, rows, "site")
    sessions = sessions[sessions["condition"].isin(plan.conditions)].reset_index(drop=True)
    site = sessions["site"].astype(str).to_numpy(object)
    of_site = sessions.groupby(site)
    df = {name: int(own.size - sessions["condition"][own.index].nunique()) for name, own in of_site["participant"]}
    if few := [name for name, own in df.items() if own < FEWEST]:
        raise InputError(
            f"site {few[0]} has {df[few[0]]} degrees of freedom within its conditions; its scale needs {FEWEST} or "
            "more: see the row with site"
        )
    covariates = (*_covariates(plan, rows, sessions, "site"), "site")
    present = tuple(c for c in plan.conditions if c in set(sessions["condition"]))
    x, weights = session_models.parallel_design(sessions, present, contrast.of, covariates)
    kernels = _of_sites(sessions, site)
    fit = two_level.fit_kernels(x, sessions[rows.value].to_numpy(float), kernels)
    variances = dict(zip(fit.groups, np.asarray(fit.variances, float), strict=True))
    scale = {name: np.sqrt(sum(v for key, v in variances.items() if key.endswith(f" of {name}"))) for name in df}
    typical = np.exp(np.mean(np.log(list(scale.values()))))
    said = ", ".join(f"{name} {value / typical:.2f}" for name, value in scale.items())
    remark = f"shift of each site as a fixed effect; scales of the sites (SD over their geometric mean): {said}"
    test = fit.contrast(weights, level=plan.level)
    return _row(rows, contrast, test, fit, remark, terms=("condition", *covariates), random="errors of each site")


def _of_sites(sessions: pd.DataFrame, site: NDArray) -> dict[str, NDArray[np.float64]]:
    """Participants who come again, and errors, of each site."""
    people, errors = _same(sessions["participant"].to_numpy(object)), np.eye(len(sessions))
    found = {}
    for name in dict.fromkeys(site):
        inside = np.outer(site == name, site == name)
        if sessions["participant"][site == name].duplicated().any():
            found[f"participants of {name}"] = people * inside
        found[f"errors of {name}"] = errors * inside
    return found
