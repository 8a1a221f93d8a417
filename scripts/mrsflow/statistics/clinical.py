"""The clinical outcome: mood by arm and time, its test, attenuation of a change, and the link to glutamate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mrsflow.errors import InputError
from mrsflow.models import session_models
from mrsflow.models.table_models import fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.contrasts import attempt, compare, model_row, primary_model, session_row
from mrsflow.statistics.outcomes import Rows, add_baseline, split_within
from mrsflow.statistics.plan import Contrast, Plan, references

Row = dict[str, Any]
FRACTION_COLUMNS = (
    "outcome", "contrast", "model", "fraction", "ci_low", "ci_high", "method", "bounded", "change_reference",
    "change_treated", "df", "n_participants", "n_sessions", "remark",
)  # fmt: skip
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
    used = sessions[sessions[[before, after]].notna().all(axis=1)].reset_index(drop=True)
    if used.empty:
        raise InputError(f"no session has both {before} and {after}")
    change = used[after] - used[before]
    used = add_baseline(used.assign(bl=used[before], y=change, change=change))
    blocks = used.assign(outcome=change, block="session", phase="infusion")
    return Rows(blocks, used, len(sessions) - len(used), float(used["bl"].mean()))


def clinical_rows(plan: Plan, rows: Rows, outcome: str) -> list[Row]:
    """Test the change of mood, adjusted for the score before, by every contrast."""
    own = replace(plan, outcome=outcome, adjust_for=())
    if plan.design == "single_arm":
        return attempt(lambda: [_mean_change(rows, outcome)], "clinical outcome", "follow-up - before", outcome=outcome)
    found = []
    for contrast in plan.contrasts:
        made = compare(own, rows, contrast)
        for row in made:
            row["analysis"] = row["analysis"].replace("primary", "clinical outcome")
            row["analysis"] = {
                "pair means": "clinical outcome, pair means",
                "re-randomisation": "clinical outcome, re-randomisation",
            }.get(row["analysis"], row["analysis"])
        found += [row for row in made if row["analysis"] != "blocks treated as independent"]
    return found


def _mean_change(rows: Rows, outcome: str) -> Row:
    test = session_models.one_sample(rows.sessions["y"])
    fit = session_models.SessionFit(test, rows.sessions["participant"].nunique(), ())
    more = {"outcome": outcome, "n_dropped": rows.n_dropped}
    return session_row(fit, rows.blocks, "clinical outcome", "change ~ 1", "follow-up - before", **more)


def mood_time_rows(plan: Plan, rows: Rows, before: str, after: str, outcome: str) -> list[Row]:
    """Show condition x time with a participant intercept only, as it is common: scores treated as independent."""
    if plan.design != "crossover":
        return []
    sessions = rows.sessions
    long = pd.concat(
        [sessions.assign(time=name, outcome=sessions[c]) for name, c in (("before", before), ("follow-up", after))]
    )
    contrast = plan.contrasts[0]

    def make() -> list[Row]:
        text = "outcome ~ condition*time + period + (1|participant)"
        model = fit_table(
            long.reset_index(drop=True), text, references(plan, long.assign(block="session")) | {"time": "before"}
        )
        late, early = (
            model.difference("condition", contrast.treated, contrast.reference, time=t) for t in ("follow-up", "before")
        )
        remark = "not a valid test where people differ in their response: sessions are not told apart"
        return [
            model_row(
                model,
                late - early,
                "scores treated as independent (condition x time)",
                contrast.name,
                "satterthwaite",
                remark=remark,
            )
        ]

    return [
        row | {"outcome": outcome, "n_dropped": rows.n_dropped}
        for row in attempt(make, "scores treated as independent (condition x time)", contrast.name)
    ]


def mood_change(config: dict[str, Any], sessions: "pd.DataFrame") -> "pd.Series | None":
    """Change of mood, by participant and session; None where the two scores are not there."""
    group = config["group"]
    before, after = (f"{group['mood_scale']}_{group[k]}" for k in ("mood_baseline", "mood_followup"))
    if not {before, after} <= set(sessions):
        return None
    return sessions.set_index(["participant", "session"]).eval(f"`{after}` - `{before}`").rename("mood_change")


def score_table(config: dict[str, Any], sessions: "pd.DataFrame") -> "pd.DataFrame":
    """List every score of the mood scale by session and time point, the two of the clinical outcome first."""
    scale = config["group"]["mood_scale"]
    columns = [c for c in mood_columns(config, sessions) if c in sessions]
    named = sessions.rename(columns={"period": "visit", "condition": "arm"})
    long = named.melt(["participant", "session", "visit", "arm"], columns, "time_point", "score")
    return long.assign(time_point=long["time_point"].str.removeprefix(f"{scale}_")).dropna(subset=["score"])


def mood_table(config: dict[str, Any], sessions: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    """Describe the scores by arm and time point: n, mean, SD and the 95 % interval of the mean."""
    from scipy.special import stdtrit

    scale, found = config["group"]["mood_scale"], []
    for column in columns:
        for condition, part in sessions.groupby("condition", sort=False):
            values = part[column].dropna().to_numpy(float)
            n = len(values)
            mean, sd = (values.mean() if n else np.nan), (values.std(ddof=1) if n > 1 else np.nan)
            half = float(stdtrit(max(n - 1, 1), 0.975)) * sd / np.sqrt(n) if n > 1 else np.nan
            found.append({
                "scale": scale, "time_point": column.removeprefix(f"{scale}_"), "condition": condition, "n": n,
                "mean": mean, "sd": sd, "ci_low": mean - half, "ci_high": mean + half,
            })  # fmt: skip
    return pd.DataFrame(found)


def attenuation_rows(plan: Plan, rows: Rows, outcome: str, control: str | None) -> list[Row]:
    """Give the part of the response that a treatment takes away, with Fieller's interval.

    Without a control condition the response is the change from baseline of the session; with one (a placebo infusion)
    it is the difference from that condition in the primary model.
    """
    found = []
    for contrast in plan.contrasts:
        if control in (contrast.treated, contrast.reference):
            continue
        try:
            made = _attenuation(plan, rows, contrast, control)
        except InputError as error:
            made = {"remark": f"not estimated: {error}"}
        found.append({"outcome": outcome, "contrast": contrast.name, **made})
    return found


def _attenuation(plan: Plan, rows: Rows, contrast: Contrast, control: str | None) -> Row:
    design_checks.check_comparison(plan, rows.sessions)
    if control is None and not rows.has_baseline:
        raise InputError("there is no baseline to take the change from; name a control condition in group.control")
    if plan.design == "parallel":
        return _parallel_attenuation(rows, contrast)
    if control is None:
        text = (
            "outcome ~ condition"
            + (" + period" if rows.sessions["period"].nunique() > 1 else "")
            + " + (1|participant)"
        )
        table = rows.sessions.assign(outcome=rows.sessions["change"], block="session")
        model = fit_table(table, text, {k: v for k, v in references(plan, table).items() if k != "block"})
        weights = np.array([model.mean_weights(condition=c) for c in (contrast.treated, contrast.reference)])
        method = "Fieller, session changes, Kenward-Roger covariance"
    else:
        model = primary_model(plan, rows)
        weights = np.array([model.difference("condition", c, control) for c in (contrast.treated, contrast.reference)])
        method = f"Fieller, differences from {control} in the primary model, Kenward-Roger covariance"
    treated, reference = weights @ model.fit.beta
    df = float(model.test(weights[0] - treated / reference * weights[1]).df)
    found = session_models.fieller(treated, reference, weights @ model.fit.covariance_kr @ weights.T, df)
    return _fraction_cells(found, treated, reference, df, method, model.formula, model.table)


def _parallel_attenuation(rows: Rows, contrast: Contrast) -> Row:
    by = {c: part["change"].to_numpy(float) for c, part in rows.sessions.groupby("condition")}
    a, b = by[contrast.treated], by[contrast.reference]
    df = len(a) + len(b) - 2
    if df < 1 or min(len(a), len(b)) < 1:
        raise InputError("too few participants")
    pooled = (np.sum((a - a.mean()) ** 2) + np.sum((b - b.mean()) ** 2)) / df
    found = session_models.fieller(a.mean(), b.mean(), np.diag([pooled / len(a), pooled / len(b)]), df)
    return _fraction_cells(
        found, a.mean(), b.mean(), df, "Fieller, session changes", "change ~ condition", rows.sessions
    )


def _fraction_cells(
    found: session_models.Fraction,
    treated: float,
    reference: float,
    df: float,
    method: str,
    model: str,
    table: "pd.DataFrame",
) -> Row:
    return {
        "fraction": found.value, "ci_low": found.low, "ci_high": found.high, "method": method, "bounded": found.bounded,
        "change_reference": reference, "change_treated": treated, "model": model, "df": df,
        "n_participants": table["participant"].nunique(),
        "n_sessions": len(table.drop_duplicates(["participant", "session"])),
        "remark": "" if found.bounded else UNBOUNDED,
    }  # fmt: skip


def link_rows(plan: Plan, rows: Rows, mood: Rows, outcome: str) -> list[Row]:
    """Relate the change of glutamate (percent of baseline) to the change of mood, within and between participants."""
    keys = ["participant", "session"]
    if not rows.has_baseline:
        raise InputError("there are no baseline blocks, so there is no change of the outcome")
    glx = rows.sessions[keys].assign(glx=100 * rows.sessions["change"] / rows.baseline)
    table = mood.blocks[[*keys, "condition", "period", "outcome"]].merge(glx, on=keys)
    table["glx_within"], table["glx_between"] = split_within(table, "glx")
    if plan.design == "crossover":
        text = "outcome ~ glx_within + glx_between + condition" + (" + period" if table["period"].nunique() > 1 else "")
        made = references(plan, table.assign(block="session"))
        model = fit_table(table, f"{text} + (1|participant)", {k: v for k, v in made.items() if k != "block"})
        found = [
            model_row(model, np.array([float(n == name) for n in model.design.names]), "link", f"{kind} slope")
            for name, kind in (("glx_within", "within participants"), ("glx_between", "between participants"))
        ]
    else:
        columns = [
            table["glx_between"],
            np.ones(len(table)),
            *session_models.dummies(table["condition"], plan.conditions).T,
        ]
        test = session_models.least_squares(np.column_stack(columns), table["outcome"].to_numpy(float), 0)
        fit = session_models.SessionFit(test, table["participant"].nunique(), ())
        found = [session_row(fit, table, "link", "outcome ~ glx_between + condition", "between participants slope")]
    spread = {
        "within participants slope": table["glx_within"].std(),
        "between participants slope": table["glx_between"].std(),
    }
    remark = "points of mood per 1 % of baseline; exploratory, no claim of mediation"
    return [
        row
        | {
            "outcome": outcome,
            "n_dropped": mood.n_dropped,
            "per_sd": row["estimate"] * float(spread[row["contrast"]]),
            "remark": remark,
        }
        for row in found
    ]
