"""What the primary estimate says beside its test: whether it lies within bounds, and what remains of a prior belief."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.models import estimates
from mrsflow.models.estimates import Estimate
from mrsflow.models.session_models import inference
from mrsflow.statistics.results import Fitted, Result, complete_row, joined

if TYPE_CHECKING:
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.statistics.plan import Plan

PRIOR = "with a prior (Bayes)"
KINDS = ("equivalence", "non-inferiority")


def evidence_rows(plan: "Plan", rows: "Rows", primary: Result, group: dict[str, Any]) -> list[Result]:
    """Make the rows that follow from the primary estimate: equivalence or non-inferiority, and a posterior.

    Parameters
    ----------
    plan : Plan
    rows : Rows
    primary : Result
        Of the primary contrast.
    group : dict
        Section ``group`` of the configuration: ``equivalence``, ``prior`` and ``level``.
    """
    bounds, prior = group["equivalence"], group["prior"]
    made = {}
    if bounds:
        made[kind_of(bounds)] = lambda row: _within_bounds(row, rows.baseline, bounds)
    if prior:
        made[PRIOR] = lambda row: _with_prior(row, rows.baseline, prior, group["level"])
    contrast = primary.contrast
    if not np.isfinite(primary.se):
        why = joined("not estimated: there is no primary estimate", primary.remark)
        return [Result(analysis=name, outcome=plan.outcome, contrast=contrast, remark=why) for name in made]
    kept = {field.name: getattr(primary, field.name) for field in fields(Fitted)}
    kept |= {"contrast": contrast, "estimate": primary.estimate, "se": primary.se, "df": primary.df}
    return [complete_row(make(Result(analysis=name, **kept)), rows, plan) for name, make in made.items()]


def kind_of(bounds: dict[str, Any]) -> str:
    """Name the question that bounds ask.

    >>> kind_of({"low": -2, "high": 2}), kind_of({"low": -2, "high": None})
    ('equivalence', 'non-inferiority')
    """
    return KINDS[None in (bounds["low"], bounds["high"])]


def bounds_in_words(bounds: dict[str, Any]) -> str:
    """Say what is to be shown.

    >>> bounds_in_words({"low": -2, "high": None, "alpha": 0.025})
    'not more than 2 % of the mean baseline below 0 (one-sided test at 2.5 %)'
    """
    low, high, alpha = bounds["low"], bounds["high"], f"{100 * bounds['alpha']:g} %"
    if kind_of(bounds) == "equivalence":
        return f"between {low:g} and {high:g} % of the mean baseline (two one-sided tests at {alpha})"
    side, limit = ("below", -low) if high is None else ("above", high)
    return f"not more than {limit:g} % of the mean baseline {side} 0 (one-sided test at {alpha})"


def prior_in_words(prior: dict[str, Any]) -> str:
    """Say what was believed."""
    return f"normal prior of the contrast, mean {prior['mean']:g}, SD {prior['sd']:g} % of the mean baseline"


def in_words(group: dict[str, Any]) -> list[str]:
    """Say level, bounds and prior, for methods text and analysis plan."""
    found = [f"Intervals have the level {100 * group['level']:g} %."]
    if group["equivalence"]:
        kind, what = kind_of(group["equivalence"]), bounds_in_words(group["equivalence"])
        found.append(f"{kind.capitalize()} of the primary contrast: {what}.")
    if group["prior"]:
        found.append(
            f"Sensitivity analysis by Bayes: {prior_in_words(group['prior'])}; flat priors of all else, the likelihood "
            "being that of the primary estimate."
        )
    return found


def _within_bounds(row: Result, baseline: float, bounds: dict[str, Any]) -> Result:
    """Test against the bounds, with the interval that lies within them where the test succeeds."""
    limits = [None if bounds[side] is None else bounds[side] * baseline / 100 for side in ("low", "high")]
    p, level = estimates.equivalence(_estimate(row), *limits), 1 - 2 * bounds["alpha"]
    inside = inference(row.estimate, row.se**2, row.df, level)
    shown = "shown" if p < bounds["alpha"] else "not shown"
    return replace(
        row,
        p=p,
        ci_low=float(inside.ci_low),
        ci_high=float(inside.ci_high),
        ci_level=level,
        remark=f"{kind_of(bounds)} {shown}: {bounds_in_words(bounds)}; the bounds are fixed at the mean baseline",
    )


def _estimate(row: Result) -> Estimate:
    return Estimate(row.estimate, row.se, row.df)


def _with_prior(row: Result, baseline: float, prior: dict[str, Any], level: float) -> Result:
    """Give mean, SD and central interval of the posterior."""
    unit = abs(baseline) / 100
    after = estimates.posterior(_estimate(row), prior["mean"] * unit, prior["sd"] * unit, level)
    return replace(
        row,
        estimate=after.mean,
        se=after.sd,
        df=np.nan,
        df_method="posterior",
        ci_low=after.low,
        ci_high=after.high,
        ci_level=level,
        remark=f"{prior_in_words(prior)}; mean, SD and credible interval of the posterior; probability that the "
        f"contrast is above 0: {after.above:.3f}",
    )
