"""From blocks to what the models are fitted to: baselines as covariates, session summaries, named losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mrsflow.constants import MAD_TO_SD
from mrsflow.errors import InputError
from mrsflow.study.estimand import TITLES, baseline_rows

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.trial import TrialData

Summary = Literal["mean", "huber"]
NO_BASELINE = "no usable baseline block"
NO_VISIT = "no usable baseline visit of the participant"
ROUNDING = 1e-9
"""Part of the baselines within which they are the same."""
HUBER = 1.345  # SDs beyond which a block loses weight; 95 % efficiency at the normal distribution


@dataclass(frozen=True)
class Rows:
    """Infusion blocks with their covariates, and a row per session.

    Attributes
    ----------
    blocks : DataFrame
        participant, session, condition, visit, block, outcome, sd, bl, bl_dev, bl_mean and the columns of the
        participants and sessions tables.
    sessions : DataFrame
        participant, session, condition, visit, y (infusion), bl, change and the other columns.
    n_dropped : int
        Infusion blocks that the study has and the model does not.
    baseline : float
        Mean over sessions of the baseline (of the reference condition where there is none); percentages refer to it.
    left_out : tuple of (str, str, str)
        Participant, session and reason of those that the models leave out although they have usable blocks.
    change : bool
        Whether `outcome` of the blocks is the change from the baseline, and `change` of the sessions what is compared.
    adjusts : bool
        Whether models adjust for the baseline.
    estimand : str
        Name of what is estimated.
    known : bool
        Whether the values are terms of fits with errors that are known: then `blocks` have ``sd``, ``error_r`` (the
        correlation with the error of the baseline) and ``bl_sd``.
    """

    blocks: "pd.DataFrame"
    sessions: "pd.DataFrame"
    n_dropped: int
    baseline: float
    left_out: tuple[tuple[str, str, str], ...] = ()
    change: bool = False
    adjusts: bool = True
    estimand: str = ""
    warnings: tuple[str, ...] = ()
    known: bool = False

    @property
    def n_planned(self) -> int:
        """Values that a session is to have where they are terms of its fit; 0 where they are blocks."""
        return (1 + self.has_baseline) * self.known

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the baseline and of sessions that were left out."""
        gone = [f"session {session} of {participant} left out: {why}" for participant, session, why in self.left_out]
        return [*self.warnings, *gone]

    @property
    def value(self) -> str:
        """Column of the sessions that is compared."""
        return "change" if self.change else "y"

    @property
    def has_baseline(self) -> bool:
        """Whether there are baseline blocks."""
        return bool(self.sessions["bl"].notna().any())


def prepare(trial: "TrialData", outcome: str, summary: Summary = "mean", excluded: bool = False) -> Rows:
    """Arrange an outcome for the models.

    Parameters
    ----------
    trial : TrialData
    outcome : str
        Column of its blocks.
    summary : "mean" or "huber"
        How the blocks of a session become one value.
    excluded : bool
        Keep blocks that the quality rules exclude.

    Raises
    ------
    InputError
        The fits do not have the outcome.
    """
    if outcome not in trial.blocks:
        raise InputError(f"the outcome {outcome} is not in the fits (or n/a throughout); choose another group.outcome")
    every, estimand = trial.blocks, trial.estimand
    usable = every[outcome].notna() & (excluded | ~every["excluded"])
    used = every[usable].rename(columns={outcome: "outcome", f"{outcome} sd": "sd", f"{outcome} r": "error_r"})
    known = "error_r" in used
    keys = ["participant", "session"]
    if "dose_s" in trial.sessions:
        rest = baseline_rows(estimand, used, trial.sessions.set_index("key")["dose_s"])
    else:
        rest = used["phase"] == "baseline"
    late = used["phase"] != "baseline"
    y = summarise(used[late], summary).rename("y")
    bl = summarise(used[rest], summary).rename("bl")
    by = ["participant"] if estimand.visits else keys
    bl = bl.groupby(by).mean()  # over the baseline visits, where these are
    extra = [c for c in trial.sessions.columns if c not in ("key", "line", "y", "bl", "change")]
    planned = add_carried(trial.sessions[extra], trial.conditions) if trial.within else trial.sessions[extra]
    sessions = planned.merge(y.reset_index(), on=keys).merge(bl.reset_index(), on=by, how="left")
    needs = len(bl) > 0 and (estimand.change or estimand.adjusted)
    lacking = (NO_VISIT if estimand.visits else NO_BASELINE) if needs else ""
    sessions, left_out = complete_sessions(sessions, trial.config["group"]["adjust_for"], lacking)
    sessions = add_baseline(sessions)
    sessions["change"] = sessions["y"] - sessions["bl"]
    carried = [c for c in sessions.columns if c not in {*used.columns, "y", "change"}]
    blocks = used[late].merge(sessions[[*keys, *carried]], on=keys).reset_index(drop=True)
    if known:
        blocks = blocks.merge(used[rest].groupby(keys)["sd"].mean().rename("bl_sd").reset_index(), on=keys, how="left")
    if estimand.change and len(bl):
        blocks["outcome"] = blocks["outcome"] - blocks["bl"]
    own = sessions
    if trial.frozen and (not len(bl) or estimand.placement in ("after", "both")):
        own = sessions[sessions["condition"] == trial.reference]  # a baseline after the dose may differ between arms
    base = own["bl" if len(bl) else "y"].mean()
    return Rows(
        blocks, sessions, int((every["phase"] != "baseline").sum() - len(blocks)), float(base), left_out,
        estimand.change and len(bl) > 0, estimand.adjusted and len(bl) > 0, TITLES[estimand.kind],
        tuple(estimand.notes), known,
    )  # fmt: skip


def complete_sessions(
    sessions: "pd.DataFrame", covariates: Sequence[str], lacking: str
) -> tuple["pd.DataFrame", tuple[tuple[str, str, str], ...]]:
    """Keep the sessions that have every value the models need, and name the others with the reason.

    Parameters
    ----------
    sessions : DataFrame
    covariates : sequence of str
    lacking : str
        Reason of those without a baseline; empty where the models need none.
    """
    import pandas as pd

    why = pd.Series("", index=sessions.index)
    for column in [c for c in covariates if c in sessions]:
        why[sessions[column].isna()] = f"no value of {column}, which the models adjust for"
    if lacking:
        why[sessions["bl"].isna()] = lacking
    gone = sessions.assign(why=why)[why != ""]
    left_out = tuple(gone[["participant", "session", "why"]].itertuples(index=False, name=None))
    return sessions[why == ""].reset_index(drop=True), left_out


def after(condition: str) -> str:
    """Name of the column of what a condition carries over into the next visit.

    >>> after("placebo")
    'after placebo'
    """
    return f"after {condition}"


def add_carried(sessions: "pd.DataFrame", conditions: Sequence[str]) -> "pd.DataFrame":
    """Sessions with what the visit before may carry over: for each condition but the first, whether it was given then.

    The first visit has 0 throughout; a later visit whose predecessor is not in the table has NaN.
    """
    ordered = sessions.sort_values(["participant", "visit"], kind="stable")
    people = ordered.groupby("participant")
    previous = people["condition"].shift()
    known = (ordered["visit"] == 1) | (people["visit"].shift() == ordered["visit"] - 1)
    columns = {after(c): (previous == c).astype(float).where(known) for c in conditions[1:]}
    return sessions.assign(**columns)


def with_score_before(sessions: "pd.DataFrame", before: str, after: str, visits: Sequence[int]) -> "pd.DataFrame":
    """Sessions that have both scores, as score_before and score_after.

    Where visits are before and after, the score before is the participant's mean over the baseline visits.

    Parameters
    ----------
    sessions : DataFrame
    before, after : str
        Columns.
    visits : sequence of int
        Baseline visits, if any.
    """
    import pandas as pd

    scores = {f"score_{when}": pd.to_numeric(sessions[c]) for when, c in (("before", before), ("after", after))}
    found = sessions.assign(**scores)
    if visits:
        early = found["visit"].isin(visits)
        own = found[early].groupby("participant")["score_before"].mean()
        found = found.assign(score_before=found["participant"].map(own))[~early]
    return found[found[["score_before", "score_after"]].notna().all(axis=1)].reset_index(drop=True)


def change_table(rows: Rows, mood_change: "pd.Series | None") -> "pd.DataFrame":
    """Give the primary outcome of each session: baseline, infusion and their difference, beside the change of mood.

    Parameters
    ----------
    rows : Rows
    mood_change : Series, optional
        By participant and session.
    """
    keys = ["participant", "session"]
    named = {"condition": "arm", "bl": "baseline", "y": "infusion"}
    table = rows.sessions.rename(columns=named)[[*keys, "visit", "arm", "baseline", "infusion", "change"]]
    table = table.assign(change_percent=100 * table["change"] / rows.baseline)
    return table if mood_change is None else table.merge(mood_change.reset_index(), on=keys, how="left")


def by_participant(sessions: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """One row per participant: `columns` of numbers as means over the sessions, everything else of the first."""
    import pandas as pd

    numbers = [c for c in columns if pd.api.types.is_numeric_dtype(sessions[c])]
    people = sessions.sort_values(["participant", "visit"], kind="stable").drop_duplicates("participant")
    people = people.reset_index(drop=True)
    means = sessions.groupby("participant")[numbers].mean().loc[people["participant"]]
    return people.assign(**{c: means[c].to_numpy() for c in numbers})


def add_baseline(sessions: "pd.DataFrame") -> "pd.DataFrame":
    """Split the baseline `bl` into the participant's mean (centred over participants) and the deviation from it."""
    means = sessions.groupby("participant")["bl"].mean()
    own = sessions["participant"].map(means)
    return sessions.assign(bl_dev=sessions["bl"] - own, bl_mean=own - means.mean())


def baseline_terms(sessions: "pd.DataFrame", within: bool) -> list[str]:
    """Name the parts of the baseline that a model can have: those that vary, within participants only if `within`."""
    least = ROUNDING * max(float(sessions["bl"].abs().max()), 1.0)
    return [part for part in ["bl_dev"] * within + ["bl_mean"] if sessions[part].abs().max() > least]


def split_within(sessions: "pd.DataFrame", column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split a session-level covariate into the deviation from the participant's mean and that mean, centred."""
    means = sessions.groupby("participant")[column].mean()
    own = sessions["participant"].map(means)
    return (sessions[column] - own).to_numpy(float), (own - means.mean()).to_numpy(float)


def summarise(blocks: "pd.DataFrame", summary: Summary) -> "pd.Series":
    """One value per session, indexed by participant and session."""
    grouped = blocks.groupby(["participant", "session"])["outcome"]
    if summary == "mean" or blocks.empty:
        return grouped.mean()
    import pandas as pd

    order = grouped.cumcount()
    wide = blocks.assign(order=order).pivot(index=["participant", "session"], columns="order", values="outcome")
    return pd.Series(huber_location(wide.to_numpy(float)), index=wide.index)


def huber_location(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Huber's location of each row; NaN are left out and the scale is common to all rows.

    Parameters
    ----------
    values : (n, k)

    Returns
    -------
    (n,) array

    Notes
    -----
    Iteratively reweighted mean with the normalised median absolute deviation from the row medians as scale: Huber
    1964, doi:10.1214/aoms/1177703732.

    >>> huber_location(np.array([[1.0, 1.1, 0.9, 1.0, 9.0], [2.0, 2.1, 1.9, 2.0, np.nan]])).round(2)
    array([1.05, 2.  ])
    """
    centre = np.nanmedian(values, axis=1)
    scale = MAD_TO_SD * np.nanmedian(np.abs(values - centre[:, np.newaxis]))
    if not scale > 0:
        return centre
    for _ in range(200):
        distance = np.abs(values - centre[:, np.newaxis]) / (HUBER * scale)
        weights = np.where(np.isnan(values), 0, 1 / np.fmax(distance, 1))
        new = np.nansum(weights * np.nan_to_num(values), axis=1) / weights.sum(axis=1)
        if np.abs(new - centre).max() < 1e-12 * scale:
            break
        centre = new
    return new
