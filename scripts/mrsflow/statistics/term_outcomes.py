"""Terms of the sessions' fits as outcomes: the response of a session in place of its blocks.

An outcome such as ``Glx/tNAA: infusion`` is the coefficient of a regressor in the fit of each session. A session then
has two values in place of those of its blocks: its level where the regressor is 0, which is its baseline, and the level
where the regressor is 1. All that compares levels, changes and baselines works on them as on blocks, and the errors
that the fit knows come with them. Area, peak and time to peak, and trials without baseline blocks, have one value.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.study import cohort, layout
from mrsflow.study.regressors import FREE, split_outcome

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.statistics.outcomes import Rows

LEVEL, RESPONSE = "level", "response"
"""Names of the two values of a session, where blocks have theirs."""
ROUNDS = 3
"""Fits by which the slope on the baseline, and with it the errors about it, settle."""


def names_of(group: dict[str, Any]) -> list[str]:
    """Name every outcome of a configuration whose primary one is a term; those that name none have that of the primary.

    >>> names_of({"outcome": "Glx/tNAA: task", "other_denominators": ["tCr"], "secondary": ["Glu/tCr", "Glx/tCr: auc"]})
    ['Glx/tNAA: task', 'Glx/tCr: task', 'Glu/tCr: task', 'Glx/tCr: auc', 'tNAA: task']
    """
    ratio, term = split_outcome(group["outcome"])
    numerator, _, denominator = ratio.partition("/")
    others = [f"{numerator}/{d}: {term}" for d in group["other_denominators"]]
    below = [f"{denominator}: {term}"] * (denominator not in ("", "water"))
    return list(dict.fromkeys([group["outcome"], *others, *secondary_of(group), *below]))


def secondary_of(group: dict[str, Any]) -> list[str]:
    """Name the secondary outcomes; where the primary one is a term, those that name none have its term."""
    term = split_outcome(group["outcome"])[1]
    return [name if ":" in name or not term else f"{name}: {term}" for name in group["secondary"]]


def blocks_of(
    config: dict[str, Any], located: list[cohort.SessionFiles], measured: "pd.DataFrame", names: list[str]
) -> "pd.DataFrame":
    """Put the values of sessions in the place of their blocks.

    Parameters
    ----------
    config : dict
        Checked configuration.
    located : list of SessionFiles
    measured : DataFrame
        Blocks of the trial, `mrsflow.study.trial.TrialData.blocks`.
    names : list of str
        Outcomes, each with its term.

    Returns
    -------
    DataFrame
        The same columns, outcomes apart; beside each outcome ``<outcome> sd`` and ``<outcome> r``, the correlation of
        the errors of term and level.

    Raises
    ------
    InputError
        A session has no table of terms.
    """
    import pandas as pd

    for item in located:
        if not item.paths[layout.FIT_TERMS]:
            raise InputError(f"{item.key}: its fit left no terms, which group.outcome names; run stage fit again")
    columns = [column for value in cohort.TERM_COLUMNS.values() for column in value]
    wanted = {part for name in names for part in split_outcome(name)[0].split("/")}
    terms = cohort.read_tables(located, layout.FIT_TERMS, ("metabolite", "term", *columns), wanted)
    by = terms.set_index(["key", "metabolite", "term"])
    with_level = bool(config["blocks"]["baseline"]) and not config["study"]["baseline_visits"]
    rows = [
        row
        for key, own in measured.groupby("key", sort=False, observed=True)
        for row in _rows_of_session(str(key), own, by, names, with_level)
    ]
    kept = [c for c in measured.columns if c in rows[0]] if rows else list(measured.columns)
    more = [column for name in names for column in (name, f"{name} sd", f"{name} r")]
    found = pd.DataFrame(rows, columns=[*kept, *more])
    return found.drop(
        columns=[c for name in names if found[name].isna().all() for c in (name, f"{name} sd", f"{name} r")]
    )


def _rows_of_session(
    key: str, own: "pd.DataFrame", terms: "pd.DataFrame", names: list[str], with_level: bool
) -> list[dict[str, Any]]:
    """Level and response of a session, or the response alone."""
    first = own.iloc[0]
    shared = {name: first[name] for name in ("key", "participant", "session", "condition", "visit")}
    worst = next((word for word in ("doubtful", "ok") if (own["fit_status"] == word).any()), "failed")
    reasons = own.loc[own["fit_status"] == worst, "fit_reason"].dropna().unique()
    excluded = bool(own["excluded"].all())
    shared |= {
        "snr": own["snr"].mean(), "linewidth_hz": own["linewidth_hz"].mean(),
        "fit_status": worst, "fit_reason": "; ".join(map(str, reasons)) or np.nan,
        "warned": bool(own["warned"].any()), "excluded": excluded,
        "reason": first["reason"] if excluded else np.nan,
    }  # fmt: skip
    rows = []
    for block, phase in ((LEVEL, "baseline"), (RESPONSE, "infusion"))[0 if with_level else 1 :]:
        there = own[own["phase"] == phase] if (own["phase"] == phase).any() else own
        onset = float(there["onset_s"].min())
        length = float((there["onset_s"] + there["duration_s"]).max()) - onset
        row = shared | {"block": block, "phase": phase, "onset_s": onset, "duration_s": length}
        row["spectrum"] = there["spectrum"].iloc[0]
        rows.append(row | _values(key, terms, names, block, with_level))
    return rows


def _values(key: str, terms: "pd.DataFrame", names: list[str], block: str, with_level: bool) -> dict[str, float]:
    found = {}
    for name in names:
        ratio, term = split_outcome(name)
        numerator, _, denominator = ratio.partition("/")
        columns = cohort.TERM_COLUMNS.get(denominator)
        places = [(key, numerator, term), (key, numerator, "constant")]
        lacking = columns is None or columns[0] not in terms or places[0] not in terms.index
        if lacking or (block == LEVEL and term in FREE):
            continue
        value, sd, r = terms.loc[places[0], list(columns)]
        if with_level and term not in FREE:
            if places[1] not in terms.index:
                continue
            level, level_sd = terms.loc[places[1], list(columns[:2])]
            value, sd, r = (level, level_sd, r) if block == LEVEL else (level + value, sd, r)
        found |= {name: value, f"{name} sd": sd, f"{name} r": r}
    return found


def errors_about(rows: "Rows", slope: float) -> NDArray[np.floating]:
    """Variances of the errors of the sessions' values about a baseline.

    Parameters
    ----------
    rows : Rows
        Whose blocks have ``sd`` and ``error_r`` of the term, and ``bl_sd`` of the baseline.
    slope : float
        On the baseline; 1 leaves the error of the term itself, as a change does, or where there is no baseline.
    """
    sd, rest = rows.blocks["sd"].to_numpy(float), 1.0 - slope
    if rest == 0 or not rows.has_baseline:
        return sd**2
    level = rows.blocks["bl_sd"].to_numpy(float)
    return sd**2 + (rest * level) ** 2 + 2 * rest * rows.blocks["error_r"].to_numpy(float) * sd * level
