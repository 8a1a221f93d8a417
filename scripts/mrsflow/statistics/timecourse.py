"""The course of an outcome over the blocks: means by condition, and where conditions differ."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.models.permutation import sign_flip_max_t
from mrsflow.models.table_models import fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.outcomes import Rows, prepare
from mrsflow.statistics.plan import Contrast, Plan, formula, references
from mrsflow.statistics.results import CourseTest, estimated, joined, not_adjusted_for
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    from mrsflow.study.trial import TrialData

Row = dict[str, Any]
ALL = "all"
"""Condition of a course over all sessions."""


def course_table(trial: "TrialData", names: list[str], left_out: tuple[tuple[str, str, str], ...]) -> "pd.DataFrame":
    """Give the course of every outcome, of both parts of the primary ratio, and of linewidth and SNR.

    The parts are in percent of the session's mean, as amplitudes of sessions differ by the units of their scanners.
    While arms are masked all sessions are one.

    Parameters
    ----------
    trial : TrialData
    names : list of str
        Outcomes.
    left_out : tuple of (str, str, str)
        Participant, session and reason of those that the models leave out.
    """
    found = pd.MultiIndex.from_frame(trial.blocks[["participant", "session"]])
    gone = [(participant, session) for participant, session, _ in left_out]
    blocks = trial.blocks[~found.isin(gone)] if left_out else trial.blocks
    blocks = blocks.assign(snr=pd.to_numeric(blocks["snr"]))
    amplitudes = [] if trial.visits else [part for part in parts_of(trial) if part in blocks]
    for part in amplitudes:
        used = blocks[part].where(~blocks["excluded"])
        own = used.groupby([blocks["participant"], blocks["session"]]).transform("mean")
        blocks = blocks.assign(**{relative(part): 100 * blocks[part] / own})
    controls = [*map(relative, amplitudes), "linewidth_hz", "snr"]
    baselines = {name: prepare(trial, name).baseline for name in names} | dict.fromkeys(controls, np.nan)
    seen = replace(trial, blocks=blocks)
    if not trial.frozen:
        seen = replace(trial, blocks=blocks.assign(condition=ALL), conditions=(ALL,))
    return pd.concat([course(seen, name, baseline) for name, baseline in baselines.items()], ignore_index=True)


def parts_of(trial: "TrialData") -> list[str]:
    """Numerator and denominator of the primary outcome; nothing where it is no ratio."""
    parts = split_outcome(trial.outcome)[0].split("/")
    return parts if len(parts) == 2 else []


def relative(name: str) -> str:
    """Name of the course of an amplitude in percent of the session's mean."""
    return f"{name} (% of the session's mean)"


def course(trial: "TrialData", outcome: str, baseline: float) -> "pd.DataFrame":
    """Give the mean of each block by condition with its interval.

    Where visits are before and after, they are the blocks, each the mean of its session. In a crossover the interval is
    of the variation within participants (Cousineau 2005, doi:10.20982/tqmp.01.1.p042, with Morey's correction 2008,
    doi:10.20982/tqmp.04.2.p061).
    """
    from scipy.special import stdtrit

    used = trial.blocks[trial.blocks[outcome].notna() & ~trial.blocks["excluded"]]
    if trial.visits:
        used = _of_visits(used, outcome)
    values = used[outcome].to_numpy(float)
    cells = used.groupby(["condition", "block"]).ngroups
    correction = 1.0
    if trial.design == "crossover" and cells > 1:
        own = used.groupby("participant")[outcome].transform("mean").to_numpy(float)
        values = values - own + own.mean()
        correction = np.sqrt(cells / (cells - 1))
    found = []
    by = "visit" if trial.visits else "onset_s"
    order = used.groupby("block")[by].mean().sort_values(kind="stable").index
    for condition in [c for c in trial.conditions if c in set(used["condition"])]:
        for block in order:
            here = ((used["condition"] == condition) & (used["block"] == block)).to_numpy()
            n = int(here.sum())
            if n == 0:
                continue
            raw, mean = used.loc[here, outcome], float(used.loc[here, outcome].mean())
            spread = float(values[here].std(ddof=1)) * correction if n > 1 else np.nan
            half = float(stdtrit(n - 1, 0.5 + trial.level / 2)) * spread / np.sqrt(n) if n > 1 else np.nan
            found.append({
                "outcome": outcome, "condition": condition, "block": block, "phase": used.loc[here, "phase"].iloc[0],
                "onset_s": float(used.loc[here, "onset_s"].mean()),
                "duration_s": float(used.loc[here, "duration_s"].mean()),
                "n": n, "mean": mean, "sd": float(raw.std(ddof=1)) if n > 1 else np.nan, "ci_low": mean - half,
                "ci_high": mean + half, "percent_of_baseline": 100 * mean / baseline,
            })  # fmt: skip
    return result_tables.from_rows(found, "time_course")


def _of_visits(blocks: "pd.DataFrame", outcome: str) -> "pd.DataFrame":
    """One row per session, its visit as the block, in their order."""
    keys = ["participant", "session", "condition", "visit", "phase"]
    means = blocks.groupby(keys, as_index=False)[outcome].mean()
    return means.assign(block=[visit_name(v) for v in means["visit"]], onset_s=np.nan, duration_s=np.nan)


def visit_name(visit: int) -> str:
    """Name of a visit in place of a block."""
    return f"visit {visit}"


def course_tests(plan: Plan, rows: Rows, contrast: Contrast) -> list[CourseTest]:
    """Test condition x block (F, descriptive) and the contrast at every block, adjusted by the maximum over blocks.

    Where visits are before and after, condition x visit.
    """
    if plan.design == "single_arm":
        return []
    name = "condition x visit" if plan.visits else "condition x block"
    whole = CourseTest(outcome=plan.outcome, contrast=contrast.name, analysis=name)
    found = estimated(lambda: [_interaction(plan, rows, whole)], whole)
    if plan.design == "crossover":
        block = replace(whole, analysis="block")
        found += estimated(lambda: _per_block(plan, rows, contrast, block), block)
    return found


def _interaction(plan: Plan, rows: Rows, row: CourseTest) -> CourseTest:
    design_checks.check_comparison(plan, rows.sessions)
    factor = "visit" if plan.visits else "block"
    if rows.blocks[factor].nunique() < 2:
        raise InputError(
            "there is a single visit after the baseline" if plan.visits else "there is a single infusion block"
        )
    own = [] if plan.visits else ["condition:block"]  # visits have the term already
    model = fit_table(rows.blocks, formula(plan, rows, extra=own), references(plan, rows.blocks))
    f, df1, df2, p = model.fit.f_test(model.type_3_rows("condition", factor))
    remark = "descriptive: neighbouring blocks may be correlated; read the blocks' adjusted p"
    if plan.visits:
        remark = "descriptive: assumes the same variance in every condition; read the visits' own rows"
    return replace(row, statistic=f, df1=df1, df2=df2, p=p, remark=remark)


def _per_block(plan: Plan, rows: Rows, contrast: Contrast, row: CourseTest) -> list[CourseTest]:
    """Difference of the changes from baseline (of the values where there is none) within participants."""
    design_checks.check_comparison(plan, rows.sessions)
    used = session_models.complete(rows.sessions, tuple(contrast.of))[["participant", "session"]]
    blocks = rows.blocks.merge(used, on=["participant", "session"])
    value = blocks["outcome"] - blocks["bl"] if rows.adjusts else blocks["outcome"]
    wide = blocks.assign(value=value).pivot_table(index="participant", columns=["condition", "block"], values="value")
    order = blocks.groupby("block")["onset_s"].mean().sort_values(kind="stable").index
    names = [b for b in order if {(c, b) for c in contrast.of} <= set(wide.columns)]
    if not names:
        raise InputError("no block was measured under every condition of the contrast in complete participants")
    differences = np.column_stack([sum(w * wide[(c, b)] for c, w in contrast.weights) for b in names]).astype(float)
    n = np.sum(~np.isnan(differences), axis=0)
    enough = n > 2
    if not enough.any():
        raise InputError("no block has three participants with both conditions")
    differences, n, names = differences[:, enough], n[enough], [b for b, e in zip(names, enough, strict=True) if e]
    t, p, adjusted = sign_flip_max_t(differences, plan.draws, plan.seed)
    mean = np.nanmean(differences, axis=0)
    what = "changes from baseline" if rows.adjusts or rows.change else "levels"
    remark = f"within-participant difference of {what}; sign flips, maximum over blocks"
    remark = joined(remark, not_adjusted_for(plan, ()))
    return [
        replace(
            row,
            block=name,
            n_participants=int(n[i]),
            estimate=float(mean[i]),
            statistic=float(t[i]),
            p=float(p[i]),
            p_adjusted=float(adjusted[i]),
            seed=plan.seed,
            remark=remark,
        )
        for i, name in enumerate(names)
    ]


def reliability_rows(trial: "TrialData", outcomes: list[str]) -> list[Row]:
    """Give the reliability of the baselines of the first two visits: CV, ICC and minimal detectable change."""
    found = []
    for outcome in outcomes:
        used = trial.blocks[(trial.blocks["phase"] == "baseline") & ~trial.blocks["excluded"]]
        means = used.groupby(["participant", "visit"])[outcome].mean().unstack("visit").iloc[:, :2].dropna()
        row = {"outcome": outcome, "n_participants": len(means), "n_visits": means.shape[1]}
        if means.shape[1] == 2 and len(means) > 2:
            row |= session_models.reliability(means.to_numpy(float), trial.level) or {
                "remark": "every value is the same"
            }
        else:
            row["remark"] = "three participants with baselines of two visits are needed"
        found.append(row)
    return found
