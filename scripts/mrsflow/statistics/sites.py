"""Trials at several sites: who was enrolled where, levels of the sites, and the primary contrast with random sites.

A crossover compares conditions within participants and so within sites: a level of a site cancels. Between groups it
does not, and stays out of the contrast only where a model has it, as a fixed effect (row `with site`) or a random one.
With random site and site by condition the interval is that of any site of the kind, and needs many sites (Feaster et
al. 2011, doi:10.3109/00952990.2011.600386). Levels are harmonised by shift and scale of each site, the scale from what
is left within the conditions of a site (Fortin et al. 2018, doi:10.1016/j.neuroimage.2017.11.024); the test has a term
for every shift, as adjusted values that pass for raw ones are tested too boldly (Nygaard et al. 2016,
doi:10.1093/biostatistics/kxv027).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import session_models, two_level
from mrsflow.statistics.contrasts import session_test
from mrsflow.statistics.outcomes import Rows, add_baseline, by_participant
from mrsflow.statistics.participant_flow import flow_table
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import Result, counts, joined, numbers

if TYPE_CHECKING:
    from mrsflow.study.cohort import Loss
    from mrsflow.study.trial import TrialData

FEW_SITES = 5
"""Sites below which a variance between them is hardly known."""
FEWEST = 4
"""Residual degrees of freedom that the scale of a site needs."""


def named(sessions: pd.DataFrame) -> list[str]:
    """Sites of a study in the order of its table; none where a single one, or no site, is named."""
    if "site" not in sessions:
        return []
    found = list(dict.fromkeys(map(str, sessions["site"].dropna())))
    return found if len(found) > 1 else []


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


def random_sites(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    """Make the row of session values with random site and site by condition, and the errors of the design."""
    sessions = _values(plan, rows)
    covariates = _covariates(plan, rows)
    if plan.design == "single_arm":
        x, weights = np.ones((len(sessions), 1)), np.ones(1)
    else:
        x, weights = session_models.parallel_design(sessions, plan.conditions, contrast.of, covariates)
    fit = two_level.fit_kernels(x, sessions[rows.value].to_numpy(float), _kernels(plan, sessions))
    test = fit.contrast(weights, level=plan.level)
    if not np.isfinite([test.se, test.df, test.p]).all():
        raise InputError("the sites are too few for the test")
    n = sessions["site"].nunique()
    remark = f"{n} sites: fewer than {FEW_SITES} say little of how sites differ" if n < FEW_SITES else ""
    terms = ("condition", *covariates, "(1|site)", "(1|site:condition)")
    return Result(
        analysis="", contrast=contrast.name, response="session value", terms=" + ".join(terms),
        columns=frozenset(("condition", *covariates)), random="site, site:condition", df_method="kenward-roger",
        **counts(rows.blocks), **numbers(test), singular=bool(fit.singular), converged=bool(fit.converged),
        remark=remark,
    )  # fmt: skip


def _values(plan: Plan, rows: Rows) -> pd.DataFrame:
    """Sessions that are compared, or the participants' means of a parallel trial over several visits."""
    sessions = rows.sessions[rows.sessions[rows.value].notna()]
    if not named(sessions):
        raise InputError("there is no column 'site' with two values or more")
    if sessions["site"].isna().any():
        raise InputError(f"site has no value in {int(sessions['site'].isna().sum())} sessions")
    if plan.design == "parallel" and sessions.duplicated("participant").any():
        sessions = by_participant(sessions, [rows.value, "site", *(c for c in _covariates(plan, rows))])
    return sessions.assign(visit=sessions["visit"].astype(str)) if "visit" in sessions else sessions


def _covariates(plan: Plan, rows: Rows) -> tuple[str, ...]:
    baseline = ("bl_dev", "bl_mean") if plan.design == "crossover" else ("bl",)
    visit = ("visit",) if plan.design == "crossover" else ()
    return (*visit, *(baseline if rows.adjusts else ()), *(c for c in plan.adjust_for if c != "site"))


def _kernels(plan: Plan, sessions: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Site, site by condition, participants who come again; errors of each group, or of all sessions."""
    site, condition = sessions["site"].astype(str).to_numpy(object), sessions["condition"].astype(str).to_numpy(object)

    def same(labels: NDArray) -> NDArray[np.float64]:
        return (labels[:, np.newaxis] == labels).astype(float)

    found = {"site": same(site)}
    if len(set(condition)) > 1:
        found["site:condition"] = same(site + "|" + condition)
    if sessions["participant"].duplicated().any():
        found["participant"] = same(sessions["participant"].to_numpy(object))
    if plan.design != "parallel":
        return found | {"error": np.eye(len(sessions))}
    return found | {f"error of {c}": np.diag((condition == c).astype(float)) for c in dict.fromkeys(condition)}


def harmonised(plan: Plan, rows: Rows, contrast: Contrast) -> tuple[Rows, dict[str, float]]:
    """Give the sessions with levels of one scale, and the factor of each site; conditions keep their differences.

    Raises
    ------
    InputError
        What is compared is a response, a site has too few sessions, or there are no sites.
    """
    if rows.change:
        raise InputError(
            "a response is the change within a session, in which the level of a site cancels; it is not harmonised, as "
            "that may take away what the drug does there. Set group.estimand to adjusted_level or total for levels"
        )
    sessions = _values(plan, rows)
    site, y = sessions["site"].astype(str), sessions[rows.value].astype(float)
    left = y - y.groupby([site, sessions["condition"].astype(str)]).transform("mean")
    df = {name: int(own.size - sessions["condition"][own.index].nunique()) for name, own in left.groupby(site)}
    if few := [name for name, own in df.items() if own < FEWEST]:
        raise InputError(
            f"site {few[0]} has {df[few[0]]} degrees of freedom within its conditions; its scale needs {FEWEST} or more"
        )
    squares = (left**2).groupby(site).sum()
    pooled = float(np.sqrt(squares.sum() / sum(df.values())))
    factor = {name: pooled / float(np.sqrt(squares[name] / df[name])) for name in named(sessions)}
    site, y = site.to_numpy(object), y.to_numpy()
    made = {rows.value: _moved(y, site, factor)}
    if rows.adjusts:
        made["bl"] = _moved(sessions["bl"].to_numpy(float), site, factor)
    sessions = sessions.assign(**made)
    return replace(rows, sessions=add_baseline(sessions) if rows.adjusts else sessions), factor


def _moved(values: NDArray, site: NDArray, factor: Mapping[str, float]) -> NDArray[np.float64]:
    """Bring the values of every site to the mean of all, their distances from it by the factor of the site."""
    found = np.full(len(values), np.nanmean(values))
    for name, own in factor.items():
        there = site == name
        found[there] += own * (values[there] - np.nanmean(values[there]))
    return found


def harmonised_row(plan: Plan, rows: Rows, contrast: Contrast) -> Result:
    """Make the row of levels of one scale, with a term for the shift of every site."""
    own, factor = harmonised(plan, rows, contrast)
    adjusted = replace(plan, adjust_for=tuple(c for c in plan.adjust_for if c != "site"))
    row = session_test(adjusted, own, contrast, extra=("site",))
    said = ", ".join(f"{name} {value:.2f}" for name, value in factor.items())
    remark = (
        f"distances from the mean of a site multiplied by {said}, taken as known: responses of such sites change with "
        "them, and the test is somewhat bold; plan group.adjust_for: [site]"
    )
    return replace(row, analysis="", remark=joined(remark, row.remark))
