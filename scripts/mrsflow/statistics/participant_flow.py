"""What became of participants, sessions and blocks, and whether losses depend on the condition."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.models.permutation import rerandomise
from mrsflow.statistics.outcomes import by_participant
from mrsflow.statistics.plan import Contrast, Plan
from mrsflow.statistics.results import ConditionLoss, estimated
from mrsflow.study.cohort import Loss
from mrsflow.study.estimand import baseline_rows
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.study.trial import TrialData


def exclusion_table(verdicts: "pd.DataFrame", lost: dict[str, Loss], rows: "Rows") -> "pd.DataFrame":
    """Put every loss in one table: rules that were exceeded, sessions that a stage lost, sessions without baseline."""
    gone = [
        {**SessionKey.of(key)._asdict(), "level": "session", "action": "lost", "stage": loss.stage or None,
         "reason": loss.reason}
        for key, loss in lost.items()
    ]  # fmt: skip
    gone += [
        {"participant": participant, "session": session, "level": "session", "action": "left out", "reason": reason}
        for participant, session, reason in rows.left_out
    ]  # fmt: skip
    columns = list(verdicts.columns)
    columns.insert(columns.index("reason"), "stage")
    parts = [part for part in (verdicts, pd.DataFrame(gone)) if len(part)]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else verdicts.reindex(columns=columns)


def flow_table(trial: "TrialData", lost: dict[str, Loss], rows: "Rows") -> "pd.DataFrame":
    """Count participants, sessions and blocks at each step, by condition and in total.

    Every session of the sessions table is without scans, lost at one stage, or has blocks that were fitted or failed.
    """
    sessions, blocks = trial.sessions, trial.blocks
    stage = sessions["key"].map({key: loss.stage for key, loss in lost.items()})
    baseline = baseline_rows(trial.estimand, blocks, trial.sessions.set_index("key")["dose_s"])
    baseline &= ~blocks["excluded"] & blocks[trial.outcome].notna() & (rows.change | rows.adjusts)
    of = ["participant"] if trial.visits else ["participant", "session"]
    used = pd.concat([rows.blocks, blocks[baseline].merge(rows.sessions[of].drop_duplicates())])
    converted, preprocessed = (~stage.isin(gone) for gone in (["", "convert"], ["", "convert", "preprocess"]))
    steps: list[tuple[str, pd.DataFrame, bool]] = [
        ("in the sessions table", sessions, False),
        ("without scans", sessions[stage == ""], False),
        ("lost at convert", sessions[stage == "convert"], False),
        ("converted", sessions[converted], False),
        ("lost at preprocess", sessions[stage == "preprocess"], False),
        ("preprocessed", sessions[preprocessed], False),
        ("lost at fit", sessions[stage == "fit"], False),
        ("fitted", blocks[blocks["fit_status"] != "failed"], True),
        ("fitted, doubtful", blocks[blocks["fit_status"] == "doubtful"], True),
        ("fit failed", blocks[blocks["fit_status"] == "failed"], True),
        ("excluded by the quality rules", blocks[blocks["excluded"]], True),
        ("in the primary analysis", used, True),
    ]
    found = []
    for step, table, counted in steps:
        for condition in ("all", *trial.conditions):
            own = table if condition == "all" else table[table["condition"] == condition]
            found.append({
                "step": step, "condition": condition, "n_participants": own["participant"].nunique(),
                "n_sessions": len(own.drop_duplicates(["participant", "session"])),
                "n_blocks": len(own) if counted else None,
            })  # fmt: skip
    return pd.DataFrame(found).astype({"n_blocks": "Int64"})


def loss_by_condition(trial: "TrialData", plan: Plan, verdicts: "pd.DataFrame", n_bins: int) -> "pd.DataFrame":
    """Count what was lost under each condition and, when unmasked, test that losses do not depend on it."""
    blocks = trial.blocks
    kept = blocks[~blocks["excluded"]].groupby("key").size()
    sessions = trial.sessions.assign(lost=1 - trial.sessions["key"].map(kept).fillna(0) / n_bins)
    excluded = verdicts[verdicts["action"] == "exclude"].merge(sessions[["participant", "session", "condition"]])
    found = []
    for condition in trial.conditions:
        own = sessions[sessions["condition"] == condition]
        n = len(own) * n_bins
        lost = round(float(own["lost"].sum()) * n_bins)
        found.append(ConditionLoss(condition=condition, reason="any", n_lost=lost, n_planned=n))
        by = excluded[excluded["condition"] == condition].drop_duplicates(["participant", "session", "block", "metric"])
        for metric, count in by["metric"].value_counts().sort_index().items():
            found.append(ConditionLoss(condition=condition, reason=metric, n_lost=int(count), n_planned=n))
    if trial.frozen and plan.design != "single_arm":
        for contrast in plan.contrasts:
            failed = ConditionLoss(contrast=contrast.name)
            found += estimated(lambda c=contrast: [_loss_test(plan, sessions, c)], failed)
    return result_tables.from_rows(found, "loss_by_condition").dropna(axis=1, how="all")


def _loss_test(plan: Plan, sessions: "pd.DataFrame", contrast: Contrast) -> ConditionLoss:
    """Compare the fraction of blocks lost by drawing the assignment again."""
    if contrast.pair is None:
        raise InputError("the randomisation test is of differences of two conditions")
    treated, reference = contrast.pair
    levels = (reference, *(c for c in plan.conditions if c != reference))
    used = (
        session_models.comparable(sessions, plan.conditions)
        if plan.design == "crossover"
        else by_participant(sessions, ["lost"])
    )
    people = used["participant"].nunique()
    if people < 2:
        raise InputError("too few complete participants")
    session_models.refuse_unequal_visits(used)
    name = f"{contrast.name}: does loss depend on the condition"
    if not used["lost"].std() > 0:
        return ConditionLoss(contrast=name, p=1.0, remark="the same loss everywhere")
    fixed = np.ones((len(used), 1)) if plan.design == "parallel" else np.zeros((len(used), 0))
    labels = used["condition"].to_numpy(object).reshape(people, -1)
    p, t, exact = rerandomise(used["lost"], fixed, labels, used["participant"], levels, treated, plan.draws, plan.seed)
    remark = f"re-randomisation, {'all' if exact else 'random'} {len(t)} assignments, fraction of blocks lost"
    return ConditionLoss(contrast=name, p=p, remark=remark)
