"""The rules that decide which blocks and sessions are excluded.

They are decided from the quality tables alone, before any model of the group sees the data.
"""

from typing import Any

from mrsflow.errors import InputError
from mrsflow.study.ratings import ACTIONS

FIT_STATUS = ("ok", "doubtful", "failed")
"""Verdicts on the fit of a block; what has failed has no amplitudes."""


def judge(rules: list[dict[str, Any]], level: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge the metrics of one block or session by the rules.

    Parameters
    ----------
    rules : list of dict
        ``quality.rules`` of the configuration.
    level : str
        ``block`` or ``session``.
    values : dict
        Metrics by name; None or NaN where not known. ``fit_status`` is one of `FIT_STATUS`, ``fit_reason`` beside it
        says why.

    Returns
    -------
    list of dict
        level, metric, value, limit, action (``exclude`` or ``warn``) and reason: one for each limit that is
        exceeded, the stricter action only. A metric without a value is a warning.

    Raises
    ------
    InputError
        A rule names a metric that the tables do not have, or a verdict is none of `FIT_STATUS`.
    """
    found = []
    for rule in rules:
        if rule["level"] != level:
            continue
        metric = rule["metric"]
        if metric not in values:
            known = ", ".join(sorted(k for k, v in values.items() if isinstance(v, int | float)))
            raise InputError(f"quality.rules: {level} has no metric {metric!r}; it has {known}")
        row = {"level": level, "metric": metric, "value": float("nan"), "limit": float("nan")}
        if values[metric] is None or values[metric] != values[metric]:
            found.append({**row, "action": "warn", "reason": f"{metric} is not known"})
        elif metric == "fit_status":
            found += [{**row, **verdict} for verdict in _judge_fit(rule, values)]
        else:
            found += [{**row, **verdict} for verdict in _judge_value(rule, float(values[metric]))]
    return found


def _judge_value(rule: dict[str, Any], value: float) -> list[dict[str, Any]]:
    """Judge a number by its limits."""
    sign, word = (1, ">") if rule["worse"] == "above" else (-1, "<")
    for action in ("exclude", "warn"):
        limit = rule[action]
        if limit is not None and sign * (value - limit) > 0:
            reason = f"{rule['metric']} {value:.4g} {word} {limit:g}"
            return [{"value": value, "limit": float(limit), "action": action, "reason": reason}]
    return []


def _judge_fit(rule: dict[str, Any], values: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge the verdict on a fit: one that has failed is excluded, a doubtful one as the rule says."""
    status = values["fit_status"]
    if status not in FIT_STATUS:
        raise InputError(f"the status of a fit is {status!r}, not {', '.join(FIT_STATUS)}; run the fit again")
    actions = ("exclude",) if status == "failed" else [a for a in ("exclude", "warn") if rule[a] == status]
    return [{"action": action, "reason": f"fit {status}: {values.get('fit_reason')}"} for action in actions[:1]]


def limit_text(rule: dict[str, Any], action: str) -> str:
    """Write a limit of a rule as readers see it; empty where there is none."""
    limit = rule[action]
    if rule["metric"] == "fit_status":
        return " or ".join(FIT_STATUS[1:] if limit else FIT_STATUS[2:]) if action == "exclude" else limit or ""
    return "" if limit is None else f"{'>' if rule['worse'] == 'above' else '<'} {limit:g}"


def judge_block(rules: list[dict[str, Any]], block: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge one block; one that was never made or has no fit is excluded for that reason, whatever the rules are."""
    row = {"level": "block", "value": float("nan"), "limit": float("nan")}
    if block.get("fit_status") == "failed":
        always = {"metric": "fit_status", "warn": None, "exclude": None}
        return [{**row, "metric": "fit_status", **verdict} for verdict in _judge_fit(always, block)]
    reason = block.get("reason")
    if not isinstance(reason, str) or not reason:
        remark = block.get("fit_reason")
        remarked = block.get("fit_status") == "ok" and isinstance(remark, str) and remark != ""
        own = [{**row, "metric": "fit_status", "action": "warn", "reason": remark}] if remarked else []
        return [*judge(rules, "block", block), *own]
    value = float(block.get("n_transients", float("nan")))
    return [{**row, "metric": "n_transients", "value": value, "action": "exclude", "reason": reason}]


def _rated(row: Any) -> list[dict[str, Any]]:
    """Verdict of a rating by eye, none where a session was not rated or is good."""
    action = None if row is None else ACTIONS[row.rating]
    if action is None:
        return []
    note = f": {row.note}" if isinstance(row.note, str) else ""
    values = {"level": "session", "metric": "rating", "value": float("nan"), "limit": float("nan")}
    return [{**values, "action": action, "reason": f"rated {row.rating}{note}"}]


def exclusions(block_quality: Any, session_quality: Any, rules: list[dict[str, Any]], ratings: Any = None) -> Any:
    """List what the rules warn of and exclude, with the reason.

    Parameters
    ----------
    block_quality : DataFrame
        Rows of ``desc-blocks_quality.tsv`` of all sessions: participant, session, block and metrics, with
        ``fit_status`` and ``fit_reason`` of the fit.
    session_quality : DataFrame
        A row per session: participant, session and the scalars of ``desc-session_quality.json``.
    rules : list of dict
        ``quality.rules`` of the configuration.
    ratings : DataFrame, optional
        Of sessions by eye, see `ratings.read`.

    Returns
    -------
    DataFrame
        participant, session, block, level, metric, value, limit, action, reason; in the order of the tables. A
        session that is excluded has a row for each of its blocks.
    """
    import pandas as pd

    by_session: dict[Any, list[dict[str, Any]]] = {}
    for block in block_quality.to_dict("records"):
        by_session.setdefault((block["participant"], block["session"]), []).append(block)
    rated = {} if ratings is None else {(r.participant, r.session): r for r in ratings.itertuples()}
    rows = []
    for session in session_quality.to_dict("records"):
        own = {"participant": session["participant"], "session": session["session"]}
        blocks = by_session.get((own["participant"], own["session"]), [])
        found = judge(rules, "session", session)
        found += _rated(rated.get((session["participant"], session["session"])))
        for verdict in found:
            rows += [{**own, "block": block["block"], **verdict} for block in blocks]
        for block in blocks:
            rows += [{**own, "block": block["block"], **verdict} for verdict in judge_block(rules, block)]
    columns = ["participant", "session", "block", "level", "metric", "value", "limit", "action", "reason"]
    return pd.DataFrame(rows, columns=columns)
