"""Sessions that are missing: the contrast with their values imputed, at random or by the reference, and tipping."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import estimates, session_models
from mrsflow.models.imputation import impute
from mrsflow.statistics import clinical_course
from mrsflow.statistics.results import Result, complete_row, estimated, joined, numbers

if TYPE_CHECKING:
    from mrsflow.models.mixed import Inference
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.statistics.plan import Contrast, Plan

AT_RANDOM, REFERENCE, TIPPING = "imputed at random", "imputed, jump to reference", "tipping point"
DELTA = "imputed, moved by delta"
FOLLOWED_UP = (
    " Missing scores of further clinical outcomes are imputed at random and by jump to reference (first contrast)."
)
FURTHEST = 100.0
"""Percent of the mean baseline within which the tipping point is sought."""
STEPS = 16


@dataclass(frozen=True)
class Grid:
    """Every planned value of every participant.

    Attributes
    ----------
    table : DataFrame
        A row for each planned session, by participant and visit: participant, visit, condition and covariates.
    values : (n, q)
        By participant: baselines of the visits where models adjust for them, then the values; NaN where missing.
    x : (n, p)
        Sequence (or condition) and covariates.
    x_missing : (n, q, p)
        The same, with the reference in place of the condition of a missing value.
    treated : (n, S) bool
        Whether the condition of a session is another than the reference.
    """

    table: pd.DataFrame
    values: NDArray
    x: NDArray
    x_missing: NDArray
    treated: NDArray


TAKEN = {
    "crossover": "the mixed model takes it as missing at random, given the other sessions of the participant",
    "parallel": "the participant is left out, as if values were missing at random given what the model adjusts for",
    "visits": "a participant counts with the later visits there are, as if values were missing at random given these; "
    "one without a visit before or after treatment is left out",
    "single_arm": "it is left out, as if values were missing at random",
}


def in_words(config: dict[str, Any]) -> list[str]:
    """Say what is done about missing sessions, for methods text and analysis plan."""
    design, imputation = config["study"]["design"], config["group"]["imputation"]
    over_visits = design == "parallel" and config["study"]["baseline_visits"]
    said = f"Where a session is missing, {TAKEN['visits' if over_visits else design]}."
    if imputation is None or design == "single_arm" or over_visits or config["study"]["replicates"]:
        return [said]
    delta = imputation.get("delta")
    how = "at random and by jump to reference"
    if delta is not None:
        moved = f"moved by {delta:g} % of the mean baseline but for the reference"
        how = f"at random, by jump to reference, and at random {moved}"
    scored = design == "parallel" and bool(config["group"]["clinical"])
    return [
        f"{said} Sensitivity analyses impute missing sessions {imputation['draws']} times (multivariate normal by "
        f"sequence, pooled by Rubin's rules), {how}, and give the tipping point: how far "
        "from its value at random every imputed value but those of the reference must lie for p to cross its limit."
        + FOLLOWED_UP
        * scored
    ]


def imputation_rows(
    plan: "Plan", planned: pd.DataFrame, rows: "Rows", imputation: dict[str, Any] | None
) -> list[Result]:
    """Make the rows of the primary contrast with missing sessions imputed.

    Parameters
    ----------
    plan : Plan
    planned : DataFrame
        Every session of the trial: participant, visit, condition and covariates.
    rows : Rows
        Of those that have values.
    imputation : dict, optional
        ``draws`` of the configuration; None: no rows.
    """
    if imputation is None or plan.design == "single_arm":
        return []
    contrast, found = plan.contrasts[0], []
    names = (AT_RANDOM, REFERENCE, *([DELTA] if imputation.get("delta") is not None else []), TIPPING)
    failed = {name: Result(analysis=name, contrast=contrast.name, outcome=plan.outcome) for name in names}
    try:
        grid = grid_of(plan, planned, rows, contrast)
    except InputError as error:
        return [replace(row, remark=f"not estimated: {error}") for row in failed.values()]
    count = len(grid.table)
    missing = int(np.isnan(grid.values[:, -grid.treated.shape[1] :]).sum())
    what = f"{missing} of {count} sessions imputed {imputation['draws']} times"
    used = {
        "n_participants": grid.table["participant"].nunique(),
        "n_sessions": count,
        "n_blocks": len(rows.blocks),
        "random": "imputed values",
        "seed": plan.seed,
    }
    draws: dict[str, list[NDArray]] = {}

    def pooled(name: str, filled: list[NDArray], percent: float = 0.0, said: str = "") -> list[Result]:
        test, terms = _pooled(plan, grid, rows, contrast, filled, percent * abs(rows.baseline) / 100)
        row = replace(
            failed[name],
            **used,
            response=f"session {'change' if rows.change else 'mean'}",
            terms=" + ".join(terms),
            columns=("bl",) * rows.adjusts + plan.adjust_for,
            df_method="Barnard-Rubin",
            **numbers(test),
            remark=joined(what, said),
        )
        return [row]

    for name, x_missing in (
        (AT_RANDOM, np.repeat(grid.x[:, None], grid.values.shape[1], 1)),
        (REFERENCE, grid.x_missing),
    ):

        def make(name: str = name, x_missing: NDArray = x_missing) -> list[Result]:
            rng = np.random.default_rng(plan.seed)
            draws[name] = list(impute(grid.values, grid.x, x_missing, imputation["draws"], rng))
            return pooled(name, draws[name])

        found += estimated(make, failed[name])
    if DELTA in failed and AT_RANDOM in draws:
        delta = imputation.get("delta")
        moved = f"imputed values but those of the reference moved by {delta:g} % of the mean baseline"
        found += estimated(lambda: pooled(DELTA, draws[AT_RANDOM], delta, moved), failed[DELTA])
    if AT_RANDOM in draws:

        def tipping() -> list[Result]:
            percent, remark = _tipping(plan, grid, rows, contrast, draws[AT_RANDOM])
            value = percent * (abs(rows.baseline) / 100)
            more = {"estimand": TIPPING, "estimate": value, "df_method": "search", "remark": remark}
            return [replace(failed[TIPPING], **used, **more)]

        found += estimated(tipping, failed[TIPPING])
    return [complete_row(row, rows, plan) for row in found]


def followup_rows(
    plan: "Plan", sessions: pd.DataFrame, scales: list[dict[str, Any]], imputation: dict[str, Any] | None
) -> list[Result]:
    """Make the rows of the first contrast of further clinical scales with missing follow-ups imputed, of groups.

    Parameters
    ----------
    plan : Plan
    sessions : DataFrame
        Sessions with the scores as numbers.
    scales : list of dict
        ``group.clinical`` of the configuration.
    imputation : dict, optional
        ``group.imputation`` of the configuration; None: no rows.
    """
    if imputation is None or plan.design == "single_arm":
        return []
    found = []
    for scale in scales:
        own = replace(plan, outcome=f"{scale['scale']} change from {scale['baseline']}")
        for name in (AT_RANDOM, REFERENCE):
            row = Result(analysis=f"clinical course, {name}", contrast=plan.contrasts[0].name, outcome=own.outcome)
            found += estimated(
                lambda own=own, scale=scale, row=row, jump=name == REFERENCE: _of_followups(
                    own, sessions, scale, imputation["draws"], row, jump
                ),
                row,
            )
    return found


def _of_followups(
    plan: "Plan", sessions: pd.DataFrame, scale: dict[str, Any], draws: int, row: Result, jump: bool
) -> list[Result]:
    """Compare the changes at each follow-up of every participant with a score at baseline, a variance for each arm."""
    contrast, followups = plan.contrasts[0], scale["followups"]
    if plan.design != "parallel" or plan.visits:
        raise InputError("follow-ups are imputed of groups with a session each; repeated measures take them at random")
    if contrast.pair is None:
        raise InputError("there is no reference in a contrast of weights")
    rows = clinical_course.rows_of(plan, sessions, scale)
    before = f"{scale['scale']}_{scale['baseline']}"
    table = sessions.dropna(subset=[before, *plan.adjust_for]).reset_index(drop=True)
    values = table[[f"{scale['scale']}_{time}" for time in followups]].to_numpy(float) - table[[before]].to_numpy(float)
    if not (missing := int(np.isnan(values).sum())):
        raise InputError("no score is missing, so that nothing is imputed")
    covariates = ("bl", *plan.adjust_for)
    x, w = session_models.parallel_design(table.assign(bl=table[before]), plan.conditions, contrast.of, covariates)
    condition, count = table["condition"].to_numpy(object), len(plan.conditions)
    x_missing = np.repeat(x[:, None], len(followups), axis=1)
    if jump:
        x_missing[:, :, :count] = [c == contrast.pair[1] for c in plan.conditions]
    filled = list(impute(values, x, x_missing, draws, np.random.default_rng(plan.seed)))
    found = []
    for k, time in enumerate(followups):
        tests = [session_models.unequal_variances(x, own[:, k], condition, w) for own in filled]
        made = replace(
            row,
            contrast=f"{contrast.name} at {time}",
            response="change",
            terms=" + ".join(("condition", *covariates)),
            columns=covariates,
            n_participants=len(table),
            n_sessions=len(table),
            n_blocks=values.size,
            random="imputed values",
            df_method="Barnard-Rubin",
            seed=plan.seed,
            remark=f"{missing} of {values.size} scores imputed {draws} times; a variance for each condition",
            **numbers(_rubin(tests)),
        )
        found.append(complete_row(made, rows, plan))
    return found


def _rubin(tests: list["Inference"]) -> "Inference":
    """Pool the tests of imputed data sets."""
    df = float(np.mean([test.df for test in tests]))
    return estimates.pooled([float(t.estimate) for t in tests], [float(t.se) ** 2 for t in tests], df)


def grid_of(plan: "Plan", planned: pd.DataFrame, rows: "Rows", contrast: "Contrast") -> Grid:
    """Arrange planned sessions, what was measured in them and the columns of the imputation model.

    Raises
    ------
    InputError
        Nothing is missing, a planned condition is not known, or the contrast has no reference.
    """
    if plan.visits or plan.replicates:
        raise InputError("sessions are imputed where a participant has one of each condition, or one at all")
    if contrast.pair is None:
        raise InputError("there is no reference in a contrast of weights")
    table = _every_session(plan, planned)
    keys = ["participant", "visit"]
    known = rows.sessions[[*keys, rows.value, "bl"]].rename(columns={rows.value: "value"})
    table = table.drop(columns=[c for c in ("value", "bl") if c in table]).merge(known, on=keys, how="left")
    if table["value"].notna().all():
        raise InputError("no session is missing, so that nothing is imputed")
    visits = table["visit"].nunique() if plan.design == "crossover" else 1
    shape = (-1, visits)
    parts = [table[c].to_numpy(float).reshape(shape) for c in (["bl"] * rows.adjusts + ["value"])]
    condition = table["condition"].to_numpy(object).reshape(shape)
    first = table.iloc[::visits].reset_index(drop=True)
    orders = sorted({tuple(own) for own in condition})
    cells = np.array([[tuple(own) == order for order in orders] for own in condition], float)
    others = [column for columns in session_models.coded(first, plan.adjust_for).values() for column in columns.T]
    x = np.column_stack([cells, *others])
    values, reference = np.concatenate(parts, axis=1), contrast.pair[1]
    x_missing = np.repeat(x[:, None], values.shape[1], axis=1)
    treated = condition != reference
    for visit in range(visits):
        holds = np.array([order[visit] == reference for order in orders], float)
        if not holds.any():
            raise InputError(f"no sequence has {reference!r} at visit {visit + 1}, so that nobody can jump to it")
        at = values.shape[1] - visits + visit
        x_missing[treated[:, visit], at, : len(orders)] = holds / holds.sum()
    return Grid(table, values, x, x_missing, treated)


def _every_session(plan: "Plan", planned: pd.DataFrame) -> pd.DataFrame:
    """Every planned session; in a crossover every visit of every participant, the condition that is left filled in."""
    table = planned.dropna(subset=list(plan.adjust_for)).sort_values(["participant", "visit"])
    if plan.design != "crossover":
        return table.reset_index(drop=True)
    visits = sorted(table["visit"].unique())
    index = pd.MultiIndex.from_product([table["participant"].unique(), visits], names=["participant", "visit"])
    whole = table.set_index(["participant", "visit"]).reindex(index).reset_index()
    for participant, own in whole.groupby("participant"):
        gap, left = own.index[own["condition"].isna()], set(plan.conditions) - set(own["condition"].dropna())
        if len(gap) and (len(gap) > 1 or len(left) != 1):
            raise InputError(
                f"the sessions table does not say which condition participant {participant} missed; add it"
            )
        whole.loc[gap, "condition"] = next(iter(left), None)
    for column in plan.adjust_for:
        whole[column] = whole.groupby("participant")[column].transform(lambda own: own.ffill().bfill())
    return whole


def _pooled(
    plan: "Plan", grid: Grid, rows: "Rows", contrast: "Contrast", draws: list[NDArray], delta: float
) -> tuple["Inference", list[str]]:
    """Analyse each imputed data set, its treated imputed values moved by `delta`, and pool the results.

    Returns
    -------
    Inference
    list of str
        Terms of the model.
    """
    visits = grid.treated.shape[1]
    moved = np.isnan(grid.values[:, -visits:]) & grid.treated
    covariates = (*(("bl",) if rows.adjusts else ()), *plan.adjust_for)
    found = []
    for filled in draws:
        columns = {"value": (filled[:, -visits:] + delta * moved).ravel()}
        if rows.adjusts:
            columns["bl"] = filled[:, :visits].ravel()
        found.append(_analysis(plan, grid.table.assign(**columns), contrast, covariates))
    terms = ["participant"] * (plan.design == "crossover") + ["condition", *found[0].covariates]
    return _rubin([fit.test for fit in found]), terms


def _analysis(
    plan: "Plan", table: pd.DataFrame, contrast: "Contrast", covariates: tuple[str, ...]
) -> session_models.SessionFit:
    fit: Callable = session_models.crossover if plan.design == "crossover" else session_models.parallel
    return fit(table, plan.conditions, contrast.of, "value", covariates)


def _tipping(plan: "Plan", grid: Grid, rows: "Rows", contrast: "Contrast", draws: list[NDArray]) -> tuple[float, str]:
    """Find how far treated imputed values must lie from those at random for p to cross 1 - level.

    Returns
    -------
    float
        In percent of the mean baseline; NaN where it is further than `FURTHEST`.
    str
        The same in words.
    """
    alpha, unit = 1 - plan.level, abs(rows.baseline) / 100

    def at(percent: float) -> "Inference":
        return _pooled(plan, grid, rows, contrast, draws, percent * unit)[0]

    start = at(0.0)
    significant = bool(start.p < alpha)
    if not (np.isnan(grid.values[:, -grid.treated.shape[1] :]) & grid.treated).any():
        raise InputError("every missing session is of the reference, and only others are moved")
    side = -np.sign(start.estimate) if significant else np.sign(start.estimate)
    near, far = 0.0, 1.0
    while (at(side * far).p < alpha) == significant:
        near, far = far, 2 * far
        if near >= FURTHEST:
            return np.nan, f"p stays {'below' if significant else 'above'} {alpha:.2g} within {FURTHEST:g} %"
    for _ in range(STEPS):
        middle = (near + far) / 2
        near, far = (middle, far) if (at(side * middle).p < alpha) == significant else (near, middle)
    percent = float(side * far)
    now = "no longer" if significant else "only then"
    words = (
        f"with every imputed value but those of the reference {abs(percent):.3g} % of the mean baseline "
        f"{'above' if percent > 0 else 'below'} its value at random, p is {now} below {alpha:.2g}"
    )
    return percent, words
