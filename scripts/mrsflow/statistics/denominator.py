"""The denominator audit: which part of a ratio moved between the conditions.

A ratio cannot say it. Within a session amplitudes share the units of the scanner, so each part is compared by itself:
the logarithm of its mean after the event over its mean before, a value for each session, between conditions as the
classical analysis of the ratio does. What the change of the ratio is made of then adds up.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.trial import TrialData

ALPHA = 0.05
"""Level at which a part is said to have moved, shared by numerator and denominator (Bonferroni): that either is said to
have moved where none did happens in at most one trial of twenty."""


def audit_rows(trial: "TrialData", plan: Plan) -> list[dict[str, Any]]:
    """Compare numerator, denominator and ratio of the primary outcome between the conditions of the first contrast.

    Returns
    -------
    list of dict
        A row for each part, in percent of the session's baseline; the first has the finding in words (`finding`). One
        row that says why there is no audit, where there can be none; no row for an outcome without denominator.
    """
    ratio, term = split_outcome(plan.outcome)
    parts = dict(zip(("numerator", "denominator"), ratio.split("/"), strict=False))
    contrast = plan.contrasts[0]
    if len(parts) < 2:
        return []
    try:
        if term:
            raise InputError(f"the outcome is the term {term} of the fits, which have no amplitudes before and after")
        changes = session_changes(trial, parts)
        rows = [{"part": part, "quantity": name, "contrast": contrast.name, **_compared(changes, part, plan, contrast)}
                for part, name in {**parts, "ratio": plan.outcome}.items()]  # fmt: skip
    except InputError as error:
        return [{"part": "denominator", "quantity": parts["denominator"], "contrast": contrast.name,
                 "finding": f"not audited: {error}"}]  # fmt: skip
    rows[0]["finding"] = finding(rows, plan.level)
    return rows


def session_changes(trial: "TrialData", parts: dict[str, str]) -> "pd.DataFrame":
    """Change of each part in every session, as the logarithm of its mean after over its mean before the event.

    Raises
    ------
    InputError
        The baseline is another visit, the denominator is water, or no session has amplitudes of both parts before and
        after.
    """
    if trial.visits:
        raise InputError("amplitudes of different sessions differ by their units, and the baseline is another visit")
    if lacking := [name for name in parts.values() if name not in trial.blocks]:
        raise InputError(f"there are no amplitudes of {', '.join(lacking)} by themselves")
    used = trial.blocks[~trial.blocks["excluded"]]
    used = used[(used[list(parts.values())] > 0).all(axis=1)]
    before = used["phase"] == "baseline"
    early, late = (
        np.log(own.groupby(["participant", "session"])[list(parts.values())].mean())
        for own in (used[before], used[~before])
    )
    found = (late - early).dropna().rename(columns={name: part for part, name in parts.items()})
    if found.empty:
        raise InputError("no session has both amplitudes before and after the event")
    found["ratio"] = found["numerator"] - found["denominator"]
    names = ["participant", "session", "condition", "visit", *plan_columns(trial)]
    return found.reset_index().merge(trial.sessions[names], on=["participant", "session"])


def plan_columns(trial: "TrialData") -> list[str]:
    """Columns that the models adjust for."""
    return [name for name in trial.config["group"]["adjust_for"] if name in trial.sessions]


def _compared(changes: "pd.DataFrame", part: str, plan: Plan, contrast: Contrast) -> dict[str, Any]:
    """Compare the changes of a part: estimate and interval in percent, with the test of the logarithms."""
    from scipy.special import stdtrit

    if plan.design == "single_arm":
        used, test = changes, session_models.one_sample(changes.groupby("participant")[part].mean())
    else:
        make = session_models.parallel if plan.design == "parallel" else session_models.crossover
        fit = make(changes, plan.conditions, contrast.of, part, plan.adjust_for)
        used, test = fit.sessions, fit.test
    half = float(stdtrit(test.df, 0.5 + plan.level / 2)) * test.se
    ends = {"change_percent": 0.0, "ci_low": -half, "ci_high": half}
    return {
        **{name: float(100 * np.expm1(test.estimate + offset)) for name, offset in ends.items()},
        "ci_level": plan.level,
        **{name: float(getattr(test, name)) for name in ("df", "t", "p")},
        "moved": bool(test.p < ALPHA / 2) if part != "ratio" else None,
        "n_participants": int(used["participant"].nunique()),
        "n_sessions": len(used),
    }


def finding(rows: list[dict[str, Any]], level: float) -> str:
    """Say in one sentence which part moved.

    >>> row = {"contrast": "b - a", "ci_low": 2.0, "ci_high": 6.0, "p": 0.001}
    >>> parts = [("numerator", "Glx", 0.1, False), ("denominator", "tNAA", 4.0, True), ("ratio", "Glx/tNAA", -4, None)]
    >>> keys = ("part", "quantity", "change_percent", "moved")
    >>> finding([row | dict(zip(keys, part)) for part in parts], 0.95)[:45]
    'The denominator moved (b - a): tNAA by +4.0 %'
    """
    above, below, ratio = rows
    moved = [row for row in (above, below) if row["moved"]]
    said = "; ".join(
        f"{row['quantity']} by {row['change_percent']:+.1f} % ({100 * level:g} % interval {row['ci_low']:+.1f} to "
        f"{row['ci_high']:+.1f} %, p {_p(row['p'])})"
        for row in (below, above)
    )
    which = {
        (): "Neither part is shown to have moved",
        ("numerator",): "The numerator moved, and the denominator is not shown to have",
        ("denominator",): "The denominator moved",
        ("numerator", "denominator"): "Numerator and denominator moved",
    }[tuple(row["part"] for row in moved)]
    return f"{which} ({ratio['contrast']}): {said}; {ratio['quantity']} by {ratio['change_percent']:+.1f} %."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
