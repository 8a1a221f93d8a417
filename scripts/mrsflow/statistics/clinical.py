"""The clinical outcome: mood by arm and time, its test, attenuation of a change, and the link to glutamate."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.models.formula import quoted
from mrsflow.models.table_models import Model, fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import compare, primary_model
from mrsflow.statistics.outcomes import (
    Rows,
    add_baseline,
    add_carried,
    by_participant,
    complete_sessions,
    split_within,
    with_score_before,
)
from mrsflow.statistics.plan import Contrast, Plan, references, several_sessions
from mrsflow.statistics.results import (
    Attenuation,
    Result,
    adjusted_for,
    complete_row,
    counts,
    estimated,
    model_row,
    session_row,
)

FOLLOWED = "follow-up - before"
"""What the clinical outcome of a single arm tests."""
UNBOUNDED = "not bounded (reference change not different from 0)"


def mood_columns(config: dict[str, Any], sessions: "pd.DataFrame") -> list[str]:
    """Score columns of the sessions table, the two time points of the clinical outcome first."""
    group = config["group"]
    scale = group["mood_scale"]
    if scale is None:
        return []
    first = [f"{scale}_{group['mood_baseline']}", f"{scale}_{group['mood_followup']}"]
    others = [c for c in sessions.columns if c.startswith(f"{scale}_") and c not in first]
    return [c for c in first if c in sessions] + others


def scores_before(config: dict[str, Any], sessions: "pd.DataFrame") -> tuple[str, ...]:
    """Column of the score before treatment, if there is one."""
    group = config["group"]
    return tuple(c for c in (f"{group['mood_scale']}_{group['mood_baseline']}",) if c in sessions)


def has_scores(config: dict[str, Any], sessions: "pd.DataFrame") -> bool:
    """Whether any session has both scores of the clinical outcome."""
    group = config["group"]
    pair = [f"{group['mood_scale']}_{group[k]}" for k in ("mood_baseline", "mood_followup")]
    return (
        set(pair) <= set(sessions)
        and not with_score_before(sessions, pair[0], pair[1], config["study"]["baseline_visits"]).empty
    )


def as_numbers(sessions: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    """Convert columns made by hand to numbers.

    Raises
    ------
    InputError
        Text or an infinite value where a number is expected; names file, line and column.
    """
    found = {}
    for column in columns:
        values = pd.to_numeric(sessions[column], errors="coerce").astype(float)
        bad = sessions[column].notna() & ~np.isfinite(values)
        if bad.any():
            row = sessions[bad].iloc[0]
            raise InputError(
                f"{row['line']}: {column} is {row[column]!r}; a finite number is needed, or n/a where it is missing"
            )
        found[column] = values
    return sessions.assign(**found)


def mood_rows(config: dict[str, Any], sessions: "pd.DataFrame") -> Rows:
    """Arrange the change of mood like an outcome with one block a session, its score before as the baseline.

    Raises
    ------
    InputError
        A score column is missing, or no session has both scores.
    """
    group = config["group"]
    before, after = (f"{group['mood_scale']}_{group[k]}" for k in ("mood_baseline", "mood_followup"))
    for column in (before, after):
        if column not in sessions:
            raise InputError(f"column {column!r} is not in the sessions table, so there is no clinical outcome")
    if config["study"]["design"] == "crossover":
        sessions = add_carried(sessions, config["study"]["conditions"])
    used = with_score_before(sessions, before, after, config["study"]["baseline_visits"])
    if used.empty:
        raise InputError(f"no session has both {before} and {after}")
    used, left_out = complete_sessions(used.assign(bl=used["score_before"]), group["adjust_for"], "no score before")
    if used.empty:
        raise InputError(f"no session has every value of {', '.join(group['adjust_for'])}")
    change = used["score_after"] - used["score_before"]
    used = add_baseline(used.assign(bl=used["score_before"], y=change, change=change))
    blocks = used.assign(outcome=change, block="session", phase="infusion")
    lost, name = len(sessions) - len(used), f"change of mood, adjusted for {before}"
    varies = used["bl"].nunique() > 1  # otherwise there is nothing to adjust for
    if not varies:
        name = f"change of mood, {before} being the same in all"
    return Rows(blocks, used, lost, float(used["bl"].mean()), left_out, change=True, adjusts=varies, estimand=name)


CLINICAL = "clinical outcome"
NAMED = {
    "primary": CLINICAL, "primary (Satterthwaite)": "clinical outcome (Satterthwaite)",
    "pair means": "clinical outcome, pair means", "re-randomisation": "clinical outcome, re-randomisation",
    "equal variances": "clinical outcome, equal variances", "baseline by arm": "clinical outcome, score before by arm",
}  # fmt: skip
"""Rows of a comparison that the clinical outcome has, under its name."""


def clinical_rows(plan: Plan, rows: Rows, outcome: str) -> list[Result]:
    """Test the change of mood, adjusted for the score before, by every contrast."""
    own = replace(plan, outcome=outcome)
    if plan.design == "single_arm":
        name = FOLLOWED
        made = estimated(lambda: [_mean_change(rows)], Result(analysis=CLINICAL, contrast=name))
        return [complete_row(row, replace(rows, estimand="change of mood"), own) for row in made]
    found = [row for contrast in plan.contrasts for row in compare(own, rows, contrast)]
    return [replace(row, analysis=NAMED[row.analysis]) for row in found if row.analysis in NAMED]


def _mean_change(rows: Rows) -> Result:
    people = rows.sessions.groupby("participant")["y"].mean()
    fit = session_models.SessionFit(session_models.one_sample(people), rows.sessions)
    return session_row(fit, rows, CLINICAL, "participant's mean change", FOLLOWED, ("1",))


def of_mood(row: Result) -> Result:
    """Give a row the name that it has among those of the clinical outcome."""
    return replace(row, analysis=f"{CLINICAL}, {row.analysis}")


def mood_time_rows(plan: Plan, rows: Rows, before: str, after: str, outcome: str) -> list[Result]:
    """Show condition x time with a participant intercept only, as it is common: scores treated as independent."""
    if plan.design != "crossover":
        return []
    sessions = rows.sessions
    long = pd.concat(
        [sessions.assign(time=name, outcome=sessions[c]) for name, c in (("before", before), ("follow-up", after))]
    )
    contrast, own = plan.contrasts[0], replace(plan, outcome=outcome)
    name = "scores treated as independent (condition x time)"

    def make() -> list[Result]:
        text = "outcome ~ condition*time + visit + (1|participant)"
        model = fit_table(
            long.reset_index(drop=True), text, references(plan, long.assign(block="session")) | {"time": "before"}
        )
        late, early = (contrast.difference(model, time=t) for t in ("follow-up", "before"))
        remark = "not a valid test where people differ in their response: sessions are not told apart"
        return [model_row(model, late - early, name, contrast.name, "satterthwaite", remark=remark)]

    found = estimated(make, Result(analysis=name, contrast=contrast.name))
    return [complete_row(row, rows, own) for row in found]


def mood_change(config: dict[str, Any], sessions: "pd.DataFrame") -> "pd.Series | None":
    """Change of mood, by participant and session; None where the two scores are not there."""
    group = config["group"]
    before, after = (f"{group['mood_scale']}_{group[k]}" for k in ("mood_baseline", "mood_followup"))
    if not {before, after} <= set(sessions):
        return None
    used = with_score_before(sessions, before, after, config["study"]["baseline_visits"])
    return used.set_index(["participant", "session"]).eval("score_after - score_before").rename("mood_change")


def score_table(config: dict[str, Any], sessions: "pd.DataFrame") -> "pd.DataFrame":
    """List every score of the mood scale by session and time point, the two of the clinical outcome first."""
    scale = config["group"]["mood_scale"]
    columns = [c for c in mood_columns(config, sessions) if c in sessions]
    named = sessions.rename(columns={"condition": "arm"})
    long = named.melt(["participant", "session", "visit", "arm"], columns, "time_point", "score")
    return long.assign(time_point=long["time_point"].str.removeprefix(f"{scale}_")).dropna(subset=["score"])


def mood_table(config: dict[str, Any], sessions: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    """Describe the scores by arm and time point: n, mean, SD and the interval of the mean."""
    from scipy.special import stdtrit

    scale, found, upper = config["group"]["mood_scale"], [], 0.5 + config["group"]["level"] / 2
    for column in columns:
        for condition, part in sessions.groupby("condition", sort=False):
            values = part[column].dropna().to_numpy(float)
            n = len(values)
            mean, sd = (values.mean() if n else np.nan), (values.std(ddof=1) if n > 1 else np.nan)
            half = float(stdtrit(max(n - 1, 1), upper)) * sd / np.sqrt(n) if n > 1 else np.nan
            found.append({
                "scale": scale, "time_point": column.removeprefix(f"{scale}_"), "condition": condition, "n": n,
                "mean": mean, "sd": sd, "ci_low": mean - half, "ci_high": mean + half,
            })  # fmt: skip
    return result_tables.from_rows(found, "mood")


def attenuation_rows(plan: Plan, rows: Rows, outcome: str, control: str | dict[str, str] | None) -> list[Attenuation]:
    """Give the part of the response that a treatment takes away, with Fieller's interval.

    Numerator and denominator are means of the model that gives the contrast itself, so that the two agree. Without a
    control condition the response is the change from the baseline; with one (a placebo infusion) it is the difference
    from that condition; in a factorial each condition has a control of its own, and the contrast is their interaction.
    """
    found = []
    for contrast in plan.contrasts:
        compared = _compared(contrast, control)
        if compared is None:
            continue
        row = Attenuation(outcome=outcome, estimand=rows.estimand, contrast=contrast.name)
        found += estimated(lambda c=compared, r=row: [_attenuation(plan, rows, c, control, r)], row)
    return found


def _compared(contrast: Contrast, control: str | dict[str, str] | None) -> tuple[str, str] | None:
    """Treated and reference condition whose responses a contrast compares; None of other contrasts."""
    if not isinstance(control, dict):
        return None if contrast.pair is None or control in contrast.pair else contrast.pair
    for treated, reference in permutations(control, 2):
        if contrast.of == {treated: 1.0, control[treated]: -1.0, reference: -1.0, control[reference]: 1.0}:
            return treated, reference
    return None


def _attenuation(
    plan: Plan, rows: Rows, compared: tuple[str, str], control: str | dict[str, str] | None, row: Attenuation
) -> Attenuation:
    design_checks.check_comparison(plan, rows.sessions)
    if control is None and not (rows.change or rows.adjusts):
        raise InputError("there is no baseline to take the change from; name a control condition in group.control")
    # an adjusted level is at the mean baseline, and its change is what lies above that
    above = rows.sessions["bl"].mean() if control is None and rows.adjusts and not rows.change else 0.0
    own = [control[c] if isinstance(control, dict) else control for c in compared]
    taken = [((code, -1.0),) if code else () for code in own]
    parts = [Contrast("", ((c, 1.0), *less)) for c, less in zip(compared, taken, strict=True)]
    against = f"differences from {' and '.join(dict.fromkeys(own))}" if control else "changes from baseline"
    if plan.design == "parallel" or not rows.blocks.duplicated("participant").any():
        return _of_sessions(plan, rows, parts, above, against, row)
    model = primary_model(plan, rows)
    weights = np.array([part.difference(model) for part in parts])
    treated, reference = weights @ model.fit.beta - _at_mean(model, rows, above)
    df = float(model.test(weights[0] - treated / reference * weights[1]).df)
    found = session_models.fieller(treated, reference, weights @ model.fit.covariance_kr @ weights.T, df, plan.level)
    method = f"Fieller, {against} in the model of the contrast, Kenward-Roger covariance"
    row = replace(row, model=model.formula, adjusted_for=adjusted_for(plan, model.columns), method=method)
    return _with_fraction(row, found, (treated, reference), df, plan.level, model.table)


def _at_mean(model: Model, rows: Rows, above: float) -> float:
    """Mean baseline at which the means of a model stand: that of its participants, each counted as in the model."""
    if not above:
        return 0.0
    people = rows.sessions.groupby("participant")["bl"].mean()
    return float(people.mean() + model.table["bl_dev"].mean() + model.table["bl_mean"].mean())


def _of_sessions(
    plan: Plan, rows: Rows, parts: list[Contrast], above: float, against: str, row: Attenuation
) -> Attenuation:
    """Attenuation between groups, each with a variance of its own."""
    covariates = (*(("bl",) if rows.adjusts else ()), *plan.adjust_for)
    sessions = rows.sessions[rows.sessions["condition"].isin(plan.conditions)].reset_index(drop=True)
    if plan.visits:
        sessions = by_participant(sessions, [rows.value, *covariates])
    x, _ = session_models.parallel_design(sessions, plan.conditions, {}, covariates)
    y, conditions = sessions[rows.value].to_numpy(float), sessions["condition"].to_numpy(object)
    cells = np.zeros((2, x.shape[1]))
    cells[:, : len(plan.conditions)] = [[part.of.get(c, 0.0) for c in plan.conditions] for part in parts]
    variance = session_models.group_variances(x, y, conditions)
    a = x @ np.linalg.solve(x.T @ x, cells.T)  # (n, 2)
    by = {g: s2 * a[conditions == g].T @ a[conditions == g] for g, (s2, _) in variance.items()}
    treated, reference = a.T @ y - above
    direction = np.array([1.0, -treated / reference])
    own = {g: direction @ v @ direction for g, v in by.items()}
    df = sum(own.values()) ** 2 / sum(v**2 / variance[g][1] for g, v in own.items())
    found = session_models.fieller(treated, reference, sum(by.values()), df, plan.level)
    text = f"session {'change' if rows.change else 'mean'} ~ {' + '.join(['condition', *covariates])}"
    method = f"Fieller, {against}, a variance for each condition"
    row = replace(row, model=text, adjusted_for=adjusted_for(plan, covariates), method=method)
    return _with_fraction(row, found, (treated, reference), df, plan.level, sessions)


def _with_fraction(
    row: Attenuation,
    found: session_models.Fraction,
    changes: tuple[float, float],
    df: float,
    level: float,
    table: "pd.DataFrame",
) -> Attenuation:
    """Put a fraction, the changes under treated and reference condition, and who was used into a row."""
    used = counts(table)
    return replace(
        row,
        fraction=found.value,
        ci_low=found.low,
        ci_high=found.high,
        ci_level=level,
        bounded=found.bounded,
        change_reference=changes[1],
        change_treated=changes[0],
        df=df,
        n_participants=used["n_participants"],
        n_sessions=used["n_sessions"],
        remark="" if found.bounded else UNBOUNDED,
    )


SLOPES = {"glx_within": "within participants slope", "glx_between": "between participants slope"}
"""Slopes of the link by the column that has them."""


def link_rows(plan: Plan, rows: Rows, mood: Rows, outcome: str) -> list[Result]:
    """Relate the change of glutamate (percent of baseline) to the change of mood, within and between participants."""
    keys = ["participant", "session"]
    if not rows.has_baseline:
        raise InputError("there are no baseline blocks, so there is no change of the outcome")
    glx = rows.sessions[keys].assign(glx=100 * rows.sessions["change"] / rows.baseline)
    table = mood.blocks[[*keys, "condition", "visit", "outcome", *plan.adjust_for]].merge(glx, on=keys)
    table["glx_within"], table["glx_between"] = split_within(table, "glx")
    if several_sessions(table):
        terms = ["condition"] * (plan.design != "single_arm") + ["visit"] * (table["visit"].nunique() > 1)
        text = " + ".join([*SLOPES, *terms, *map(quoted, plan.adjust_for), "(1|participant)"])
        known = references(plan, table.assign(block="session"))
        model = fit_table(table, f"outcome ~ {text}", {k: v for k, v in known.items() if k in terms})
        found = {
            name: model_row(model, np.array([float(n == name) for n in model.design.names]), "link", said)
            for name, said in SLOPES.items()
        }
    else:
        x, _ = session_models.parallel_design(table, plan.conditions, {}, ["glx_between", *plan.adjust_for])
        weights = np.eye(x.shape[1])[len(plan.conditions)]
        test = session_models.least_squares(x, table["outcome"].to_numpy(float), weights)
        fit = session_models.SessionFit(test, table, ("glx_between", *plan.adjust_for))
        found = {"glx_between": session_row(fit, mood, "link", "outcome", SLOPES["glx_between"])}
    remark = "points of mood per 1 % of baseline; exploratory, no claim of mediation"
    own, mood = replace(plan, outcome=outcome), replace(mood, estimand="link of two changes")
    made = [replace(row, per_sd=row.estimate * float(table[n].std()), remark=remark) for n, row in found.items()]
    return [complete_row(row, mood, own) for row in made]
