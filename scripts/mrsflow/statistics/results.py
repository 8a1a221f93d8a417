"""Rows of the tables of results: their cells by name, what fills them, and what every row has."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.models.mixed import DfMethod, Inference
    from mrsflow.models.session_models import SessionFit
    from mrsflow.models.table_models import Model
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.statistics.plan import Plan


class Remarked(Protocol):
    """A row that can say why it has no estimate."""

    remark: str | None


Row = TypeVar("Row", bound=Remarked)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was fitted and to whom: what the rows that follow from one fit share.

    Fields that are not described here are columns of ``tables.yaml``.

    Attributes
    ----------
    response, terms : str, optional
        Both sides of the formula.
    columns : collection of str, optional
        Columns of the fixed effects; None where there is no model.
    cancelled : tuple of str
        Covariates without a part in the model, as they are constant within participants.
    n_missing : int
        Rows that the model left out of the outcome's.
    """

    response: str | None = None
    terms: str | None = None
    columns: Collection[str] | None = None
    cancelled: tuple[str, ...] = ()
    n_missing: int = 0
    n_participants: int | None = None
    n_sessions: int | None = None
    n_blocks: int | None = None
    random: str | None = None
    df_method: str | None = None
    singular: bool | None = None
    converged: bool | None = None
    sd_participant: float = np.nan
    sd_session: float = np.nan
    sd_residual: float = np.nan

    @property
    def model(self) -> str | None:
        """Formula of the model."""
        return None if self.response is None else f"{self.response} ~ {self.terms}"


@dataclass(frozen=True, kw_only=True)
class Result(Fitted):
    """A row of ``contrasts``, ``sensitivity`` or ``link``: what it lacks is None or NaN."""

    analysis: str
    contrast: str
    outcome: str | None = None
    estimand: str | None = None
    adjusted_for: str | None = None
    n_dropped: int | None = None
    estimate: float = np.nan
    se: float = np.nan
    df: float = np.nan
    t: float = np.nan
    p: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    ci_level: float = np.nan
    percent_of_baseline: float = np.nan
    percent_ci_low: float = np.nan
    percent_ci_high: float = np.nan
    d_z: float = np.nan
    d_z_low: float = np.nan
    d_z_high: float = np.nan
    g_av: float = np.nan
    g_ci_low: float = np.nan
    g_ci_high: float = np.nan
    p_adjusted: float = np.nan
    family: str | None = None
    per_sd: float = np.nan
    seed: int | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """A row of ``attenuation``."""

    outcome: str
    estimand: str
    contrast: str
    model: str | None = None
    adjusted_for: str | None = None
    fraction: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    ci_level: float = np.nan
    method: str | None = None
    bounded: bool | None = None
    change_reference: float = np.nan
    change_treated: float = np.nan
    df: float = np.nan
    n_participants: int | None = None
    n_sessions: int | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class CourseTest:
    """A row of ``time_tests``."""

    outcome: str
    contrast: str
    analysis: str
    block: str | None = None
    n_participants: int | None = None
    estimate: float = np.nan
    statistic: float = np.nan
    df1: float = np.nan
    df2: float = np.nan
    p: float = np.nan
    p_adjusted: float = np.nan
    seed: int | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class ConditionLoss:
    """A row of ``loss_by_condition``: a count of blocks, or a test."""

    condition: str | None = None
    reason: str | None = None
    n_lost: int | None = None
    n_planned: int | None = None
    contrast: str | None = None
    p: float = np.nan
    remark: str | None = None


def estimated(make: Callable[[], list[Row]], failed: Row) -> list[Row]:
    """Make rows, or the one given with the reason why there are none."""
    try:
        return make()
    except InputError as error:
        return [replace(failed, remark=f"not estimated: {error}")]


def joined(*remarks: str) -> str:
    """Put remarks in one cell, each once."""
    return "; ".join(dict.fromkeys(r for r in remarks if r))


def counts(blocks: "pd.DataFrame") -> dict[str, int]:
    """Cells that tell whose blocks a row used."""
    sessions = blocks.drop_duplicates(["participant", "session"])
    return {
        "n_participants": sessions["participant"].nunique(),
        "n_sessions": len(sessions),
        "n_blocks": len(blocks),
    }


def numbers(test: "Inference") -> dict[str, float]:
    """Cells of a test; those of its interval come with `complete_row`."""
    return {name: float(getattr(test, name)) for name in ("estimate", "se", "df", "t", "p")}


def model_row(
    model: "Model",
    weights: NDArray[np.float64],
    analysis: str,
    contrast: str,
    method: "DfMethod" = "kenward-roger",
    **more: Any,
) -> Result:
    """Make the row of a test in a mixed model, with further cells."""
    fit, table = model.fit, model.table
    sd = dict(zip(fit.groups, np.sqrt(fit.variances), strict=True))
    return Result(
        analysis=analysis,
        response="outcome",
        terms=model.terms,
        columns=model.columns,
        contrast=contrast,
        **counts(table),
        n_missing=model.design.n_dropped,
        random=" + ".join(f"(1|{name})" for name in fit.groups),
        df_method=method,
        singular=bool(fit.singular),
        converged=bool(fit.converged),
        sd_participant=sd.get("participant", np.nan),
        sd_session=sd.get("participant:session", np.nan),
        sd_residual=float(np.sqrt(fit.residual_variance * (table["error"].mean() if "error" in table else 1.0))),
        **numbers(model.test(weights, method)),
        **more,
    )


def session_row(
    fit: "SessionFit",
    rows: "Rows",
    analysis: str,
    value: str,
    contrast: str,
    terms: Iterable[str] | None = None,
    df_method: str = "residual",
    remark: str = "",
) -> Result:
    """Make the row of a least-squares test of session values: `value` says what they are."""
    import pandas as pd

    terms = tuple(terms or ("condition", *fit.covariates))
    keys = ["participant", "session"]
    here = pd.MultiIndex.from_frame(rows.blocks[keys]).isin(pd.MultiIndex.from_frame(fit.sessions[keys]))
    gone = f"{', '.join(fit.cancelled)}: constant within participants, and so without a part in it"
    return Result(
        analysis=analysis,
        response=value,
        terms=" + ".join(terms),
        columns=frozenset(terms),
        cancelled=fit.cancelled,
        contrast=contrast,
        **counts(rows.blocks[here]),
        random="none",
        df_method=df_method,
        remark=joined(remark, gone * bool(fit.cancelled)),
        **numbers(fit.test),
    )


def complete_row(row: Result, rows: "Rows", plan: "Plan") -> Result:
    """Add what every row has: interval, outcome, estimand, covariates, dropped rows, percents of the baseline."""
    if np.isnan(row.ci_low) and np.isfinite(row.se):
        row = replace(row, **interval(row, plan.level))
    adjusted, lacking, mean = None, "", rows.baseline or np.nan
    if row.columns is not None:
        adjusted = adjusted_for(plan, row.columns)
        alike = rows.adjusts and plan.design != "single_arm" and row.estimand in (None, rows.estimand)
        baseline = "the baseline" if alike else ""
        lacking = not_adjusted_for(plan, row.columns, row.cancelled, baseline, row.estimand != "carry-over")
    return replace(
        row,
        outcome=row.outcome or plan.outcome,
        estimand=row.estimand or rows.estimand,
        adjusted_for=adjusted,
        n_dropped=rows.n_dropped + row.n_missing,
        percent_of_baseline=100 * row.estimate / mean,
        percent_ci_low=100 * row.ci_low / mean,
        percent_ci_high=100 * row.ci_high / mean,
        remark=joined(row.remark, lacking),
    )


def interval(row: Result, level: float) -> dict[str, float]:
    """Cells of the interval of a row with estimate, standard error and degrees of freedom."""
    from scipy.special import stdtrit

    half = float(stdtrit(row.df, 0.5 + level / 2)) * row.se
    return {"ci_low": row.estimate - half, "ci_high": row.estimate + half, "ci_level": level}


BASELINES = ("bl_dev", "bl_mean", "bl")
"""Columns of the baseline."""


def adjusted_for(plan: "Plan", columns: Collection[str]) -> str:
    """Name the baseline, the covariates and carry-over among the columns of a model."""
    carried = ["carry-over"] * any(name in columns for name in plan.carried)
    return ", ".join([*(name for name in (*BASELINES, *plan.adjust_for) if name in columns), *carried])


def not_adjusted_for(
    plan: "Plan", columns: Collection[str], cancelled: Collection[str] = (), baseline: str = "", carried: bool = True
) -> str:
    """Say what the primary model adjusts for and a model with these columns does not; empty where there is nothing.

    Parameters
    ----------
    plan : Plan
    columns, cancelled : collection of str
        Of the model, and covariates without a part in it.
    baseline : str
        What the baseline is called, where the model should adjust for it.
    carried : bool
        Whether it should adjust for carry-over, where the primary model does.
    """
    lacking = [baseline] * (bool(baseline) and not any(name in columns for name in BASELINES))
    lacking += [c for c in plan.adjust_for if c not in columns and c not in cancelled]
    lacking += ["carry-over"] * (carried and bool(plan.carried) and not any(c in columns for c in plan.carried))
    return f"not adjusted for {', '.join(lacking)}" * bool(lacking)
