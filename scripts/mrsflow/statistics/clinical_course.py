"""Clinical scales over several follow-ups: repeated measures (MMRM), responders and remission."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsflow.errors import InputError
from mrsflow.models import formula as formulas
from mrsflow.models import mmrm, proportions
from mrsflow.models.table_models import Model
from mrsflow.statistics import design_checks
from mrsflow.statistics.multiplicity import adjust
from mrsflow.statistics.outcomes import Rows, add_baseline, baseline_terms, complete_sessions
from mrsflow.statistics.results import Result, complete_row, counts, estimated, joined, not_adjusted_for, numbers

if TYPE_CHECKING:
    from mrsflow.statistics.plan import Contrast, Plan

FAMILY = "further clinical outcomes (Holm, exploratory)"


def columns_of(config: dict[str, Any]) -> list[str]:
    """Score columns of the sessions table that ``group.clinical`` names."""
    found = [
        f"{scale['scale']}_{time}"
        for scale in config["group"]["clinical"]
        for time in (scale["baseline"], *scale["followups"])
    ]
    return list(dict.fromkeys(found))


def in_words(config: dict[str, Any]) -> list[str]:
    """Say what is analysed, for methods text and analysis plan."""
    found = []
    for scale in config["group"]["clinical"]:
        name, times = scale["scale"], ", ".join(scale["followups"])
        text = (
            f"Further clinical outcome {name}: change from {scale['baseline']} at {times} by repeated measures "
            f"({scale['covariance']} covariance within participants, every effect at every time, adjusted for the "
            "score at baseline, Kenward-Roger)"
        )
        events = [f"{kind}: {words}" for kind, words in _events(scale).items()]
        text += "; risk differences by the score method, " + "; ".join(events) if events else ""
        found.append(f"{text}. Holm over all of these, exploratory.")
    return found


def asked_of(scale: dict[str, Any]) -> str:
    """Name a scale with its follow-ups and events.

    >>> asked_of({"scale": "hamd", "followups": ["d1", "d7"], "response": 50, "remission": None, "better": "lower"})
    'hamd at d1, d7, responders'
    """
    return ", ".join([f"{scale['scale']} at {', '.join(scale['followups'])}", *_events(scale)])


def _events(scale: dict[str, Any]) -> dict[str, str]:
    """Events of a scale in words."""
    lower, found = scale["better"] == "lower", {}
    if scale["response"] is not None:
        found["responders"] = f"a score {scale['response']:g} % or more {'below' if lower else 'above'} baseline"
    if scale["remission"] is not None:
        found["remission"] = f"a score of {scale['remission']:g} or {'below' if lower else 'above'}"
    return found


def clinical_course_rows(plan: "Plan", sessions: pd.DataFrame, scales: list[dict[str, Any]]) -> list[Result]:
    """Make the rows of every scale: the contrasts at each follow-up and on average, responders, remission.

    Parameters
    ----------
    plan : Plan
    sessions : DataFrame
        Sessions with the scores as numbers.
    scales : list of dict
        ``group.clinical`` of the configuration.
    """
    found = [row for scale in scales for row in _of_scale(plan, sessions, scale)]
    return adjust(found, FAMILY)


def _of_scale(plan: "Plan", sessions: pd.DataFrame, scale: dict[str, Any]) -> list[Result]:
    name = f"{scale['scale']} change from {scale['baseline']}"
    own, found = replace(plan, outcome=name), []
    asked = {c: Result(analysis="clinical course", contrast=c.name, outcome=name) for c in plan.contrasts}
    try:
        rows = rows_of(own, sessions, scale)
    except InputError as error:
        return [replace(row, remark=f"not estimated: {error}") for row in asked.values()]
    for contrast, failed in asked.items():
        found += estimated(lambda c=contrast: _repeated(own, rows, scale, c), failed)
        for kind, words in _events(scale).items():
            event = replace(failed, analysis=kind, outcome=f"{scale['scale']} {kind}")
            found += estimated(lambda c=contrast, r=event, w=words: [*_event_rows(plan, rows, scale, c, r, w)], event)
    return found


def rows_of(plan: "Plan", sessions: pd.DataFrame, scale: dict[str, Any]) -> Rows:
    """Arrange the changes of a scale from baseline, a row for each score at a follow-up.

    Raises
    ------
    InputError
        A score column is missing, or no session has the score at baseline and one after it.
    """
    before, after = f"{scale['scale']}_{scale['baseline']}", [f"{scale['scale']}_{t}" for t in scale["followups"]]
    if missing := [c for c in (before, *after) if c not in sessions]:
        raise InputError(
            f"column {missing[0]!r} is not in the sessions table; correct group.clinical or give the scores"
        )
    measured = sessions[sessions[before].notna() & sessions[after].notna().any(axis=1)].reset_index(drop=True)
    if measured.empty:
        raise InputError(f"no session has {before} and one of {', '.join(after)}")
    used, left_out = complete_sessions(measured.assign(bl=measured[before]), plan.adjust_for, "no score before")
    if used.empty:
        raise InputError(f"no session has every value of {', '.join(plan.adjust_for)}")
    used = add_baseline(used)
    parts = [used.assign(time=time, score=used[c]) for time, c in zip(scale["followups"], after, strict=True)]
    blocks = pd.concat(parts, ignore_index=True).dropna(subset=["score"]).reset_index(drop=True)
    blocks["outcome"] = blocks["score"] - blocks["bl"]
    lost, base = len(sessions) * len(after) - len(blocks), float(used["bl"].mean())
    return Rows(blocks, used, lost, base, left_out, change=True, adjusts=True, estimand=f"adjusted for {before}")


def formula_of(plan: "Plan", rows: Rows) -> str:
    """Write the fixed effects: all of them at each time, covariates once."""
    terms = [] if plan.design == "single_arm" else ["condition"]
    terms += ["visit"] * (plan.design != "parallel" and rows.blocks["visit"].nunique() > 1)
    terms += baseline_terms(rows.sessions, plan.design == "crossover")
    several = rows.blocks["time"].nunique() > 1
    crossed = [f"{term}*time" if several else term for term in terms]
    return "outcome ~ " + " + ".join([*crossed, *map(formulas.quoted, plan.adjust_for)])


def fit(plan: "Plan", rows: Rows, scale: dict[str, Any]) -> Model:
    """Fit the model of repeated measures of a scale."""
    if plan.visits:
        raise InputError("it is an analysis of follow-ups after one visit; study.baseline_visits names visits before")
    design_checks.check_comparison(plan, rows.sessions)
    blocks, text = rows.blocks, formula_of(plan, rows)
    known = {"condition": plan.conditions[0], "visit": str(blocks["visit"].min()), "time": scale["followups"][0]}
    parsed = formulas.parse(text)
    design = formulas.design(parsed, blocks, {k: v for k, v in known.items() if k in parsed.columns})
    used = blocks.iloc[design.rows]
    times = [t for t in scale["followups"] if t in set(used["time"])]
    visits = sorted(used["visit"].unique()) if used.groupby("participant")["visit"].nunique().max() > 1 else []
    place = used["visit"].map(visits.index).to_numpy() if visits else 0
    cells = place * len(times) + used["time"].map(times.index).to_numpy()
    g = mmrm.matrices(scale["covariance"], len(times), max(len(visits), 1))
    try:
        found = mmrm.fit(design.x, design.y, used["participant"].tolist(), cells, g)
    except InputError as error:
        hint = "; set covariance: compound in group.clinical" if scale["covariance"] == "unstructured" else ""
        raise InputError(f"{error}{hint}") from None
    return Model(text, found, design, used)


def _repeated(plan: "Plan", rows: Rows, scale: dict[str, Any], contrast: "Contrast") -> list[Result]:
    model = fit(plan, rows, scale)
    times = [t for t in scale["followups"] if t in model.design.levels.get("time", ())]
    what = contrast.name if contrast.weights else f"follow-up - {scale['baseline']}"
    asked = {f"{what} at {time}": {"time": time} for time in times}
    asked[f"{what}, mean of {', '.join(times)}" if times else f"{what} at {scale['followups'][0]}"] = {}
    base = Result(
        analysis="clinical course",
        contrast=contrast.name,
        response="outcome",
        terms=model.terms,
        columns=model.columns,
        **counts(model.table),
        n_missing=model.design.n_dropped,
        random=f"{scale['covariance']} covariance within participants",
        df_method="kenward-roger",
        singular=False,
        converged=True,
        remark=joined(*rows.notes),
    )
    tests = {name: model.test(contrast.difference(model, **at)) for name, at in asked.items()}
    return [complete_row(replace(base, contrast=name, **numbers(test)), rows, plan) for name, test in tests.items()]


def events_of(rows: Rows, scale: dict[str, Any], kind: str) -> pd.Series:
    """Whether each score is one of a responder, or in remission; missing where there is no percentage of 0."""
    score, bl = rows.blocks["score"], rows.blocks["bl"]
    sign = 1.0 if scale["better"] == "lower" else -1.0
    if kind == "remission":
        return sign * score <= sign * scale["remission"]
    fall = 100 * sign * (bl - score) / bl.abs()
    return (fall >= scale["response"]).astype(object).where(bl != 0)


def _event_rows(
    plan: "Plan", rows: Rows, scale: dict[str, Any], contrast: "Contrast", row: Result, words: str
) -> Iterator[Result]:
    """Compare the parts of sessions with an event at each follow-up: risk difference, score interval and test."""
    blocks = rows.blocks.assign(event=events_of(rows, scale, row.analysis)).dropna(subset=["event"])
    planned = (rows.n_dropped + len(rows.blocks)) // len(scale["followups"])
    for time, own in blocks.groupby("time", sort=False):
        at = replace(row, contrast=f"{'risk' if plan.design == 'single_arm' else contrast.name} at {time}")
        made = estimated(lambda own=own, at=at: [_risk(plan, own, contrast, at)], at)[0]
        yield replace(made, n_dropped=planned - (made.n_blocks or 0), remark=joined(words, made.remark))


def _risk(plan: "Plan", scores: pd.DataFrame, contrast: "Contrast", row: Result) -> Result:
    if plan.design == "single_arm":
        return _single_risk(plan, scores, row)
    if scores.duplicated(["participant", "condition"]).any():
        raise InputError("a participant has several sessions of a condition; a risk is of one each")
    if contrast.pair is None:
        raise InputError("a risk difference is of two conditions")
    if plan.design == "crossover":
        wide = scores.pivot(index="participant", columns="condition", values="event")
        if not set(contrast.pair) <= set(wide.columns):
            raise InputError("no participant has a score under both conditions")
        pairs = wide[list(contrast.pair)].dropna().astype(bool)
        treated, reference = (pairs[c] for c in contrast.pair)
        found = proportions.paired(int((treated & ~reference).sum()), int((reference & ~treated).sum()), len(pairs),
                                   plan.level)  # fmt: skip
        counted, how = scores[scores["participant"].isin(pairs.index)], "score (Tango, McNemar)"
        counted = counted[counted["condition"].isin(contrast.pair)]
        left = scores["participant"].nunique() - len(pairs)
        more = f"{left} participant(s) without both conditions left out" if left else ""
    else:
        counted = scores[scores["condition"].isin(contrast.pair)]
        treated, reference = (counted.loc[counted["condition"] == c, "event"].astype(bool) for c in contrast.pair)
        found = proportions.independent(
            int(treated.sum()), len(treated), int(reference.sum()), len(reference), plan.level
        )
        how, more = "score (Miettinen-Nurminen)", ""
    said = [
        f"{int(events.sum())} of {len(events)} under {c}"
        for c, events in zip(contrast.pair, (treated, reference), strict=True)
    ]
    adjusted = not_adjusted_for(plan, (), baseline="the score at baseline")
    return replace(
        row,
        estimand="risk difference",
        **counts(counted),
        random="none",
        estimate=found.value,
        df_method=how,
        t=found.z,
        p=found.p,
        ci_low=found.low,
        ci_high=found.high,
        ci_level=plan.level,
        remark=joined(", ".join(said), more, adjusted),
    )


def _single_risk(plan: "Plan", scores: pd.DataFrame, row: Result) -> Result:
    """Part of the participants with the event, with Wilson's interval."""
    from statsmodels.stats.proportion import proportion_confint

    if scores.duplicated("participant").any():
        raise InputError("a participant has several sessions; a risk is of one each")
    events, n = int(scores["event"].sum()), len(scores)
    low, high = proportion_confint(events, n, 1 - plan.level, "wilson")
    return replace(
        row,
        estimand="risk",
        **counts(scores),
        random="none",
        estimate=events / n,
        df_method="score (Wilson)",
        ci_low=low,
        ci_high=high,
        ci_level=plan.level,
        remark=f"{events} of {n}; nothing is compared",
    )
