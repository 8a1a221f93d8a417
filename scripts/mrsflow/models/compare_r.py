"""What the page of a study shows, fitted by R as well: a second opinion with models of its own."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import files
from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SCRIPT = files.workflow_folder() / "scripts/compare_with_r.R"
QUANTITIES = ("estimate", "se", "df", "t", "p")
CARRIED = {"adjusted for carry-over": "other_carry", "without carry-over": "other_carry", "carry-over": "carried"}
"""Analyses of the table of sensitivity that R is asked for."""
KINDS = {
    "primary": "primary", "secondary": "primary", "visit": "primary", "primary (Satterthwaite)": "satterthwaite",
    "pair means": "pairs", "participant means": "pairs", "equal variances": "equal", "baseline by arm": "baseline",
    "blocks treated as independent": "unrelated", "condition x phase, all blocks": "phases",
    "blocks treated as independent (condition x time)": "independent", "moderator": "moderator",
    "subgroup": "moderator", **CARRIED,
}  # fmt: skip
"""Analyses of the outcome that R is asked for."""
OF_MOOD = {
    "clinical outcome": "primary", "clinical outcome (Satterthwaite)": "satterthwaite",
    "clinical outcome, pair means": "pairs", "clinical outcome, equal variances": "equal",
    "clinical outcome, score before by arm": "baseline", "clinical outcome, moderator": "moderator",
    "clinical outcome, subgroup": "moderator",
}  # fmt: skip
"""Analyses of the clinical outcome that R is asked for."""
LABELS = ("participant", "session", "condition", "block")
Row = dict[str, Any]


def missing_r() -> str | None:
    """Why R cannot be asked: not installed, or a package is missing; None where it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed (Debian: r-base-core r-cran-lmertest r-cran-pbkrtest r-cran-jsonlite)"
    needed = ["lme4", "lmerTest", "pbkrtest", "jsonlite"]
    test = "; ".join(f'if (!requireNamespace("{name}", quietly=TRUE)) cat("{name} ")' for name in needed)
    done = subprocess.run(["Rscript", "-e", test], capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.strip():
        return f"R lacks {done.stdout.strip() or 'something'}; install r-cran-<package>"
    return None


def answers(
    config: dict[str, Any],
    estimand: str,
    contrasts: Mapping[str, Mapping[str, float]],
    sessions: "pd.DataFrame",
    blocks: "pd.DataFrame",
    shown: Iterable[Row],
) -> list[Row | None]:
    """Let R fit the rows of a page from the blocks and the declared design; it gets no formula.

    Parameters
    ----------
    config : dict
        Checked configuration.
    estimand : "response", "total" or "adjusted_level"
    contrasts : mapping
        Name, and weights of the conditions (none in a single arm).
    sessions, blocks : DataFrame
        Of the trial, see `mrsflow.study.trial.TrialData`; covariates have their type.
    shown : iterable of dict
        analysis, outcome and contrast of each row.

    Returns
    -------
    list
        For each row estimate, se, df, t and p, or the reason why R could not; None of those that R is not asked for.

    Raises
    ------
    InputError
        R or a package is missing, or R stopped.
    """
    if reason := missing_r():
        raise InputError(reason)
    question, tables = _question(config, estimand, contrasts, sessions, blocks, shown)
    asked = question["asked"]
    question["asked"] = [row for row in asked if row is not None]
    with tempfile.TemporaryDirectory() as folder:
        files.write_json(question, Path(folder, "question.json"))
        for name, table in tables.items():
            table.to_csv(Path(folder, f"{name}.tsv"), sep="\t", index=False, na_rep="n/a", float_format="%.17g")
        command = ["Rscript", "--vanilla", str(SCRIPT), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise InputError(f"R stopped: {lines[-1]}")
        found = iter(files.read_json(Path(folder, "answers.json")))
    return [None if row is None else next(found) for row in asked]


def _question(
    config: dict[str, Any],
    estimand: str,
    contrasts: Mapping[str, Mapping[str, float]],
    sessions: "pd.DataFrame",
    blocks: "pd.DataFrame",
    shown: Iterable[Row],
) -> tuple[Row, dict[str, "pd.DataFrame"]]:
    """Write the question and its tables, every label and name as a code that nothing in R takes for something else."""
    study, group, bins = config["study"], config["group"], config["blocks"]["bins"]
    codes = {name: _codes(blocks[name] if name == "block" else sessions[name]) for name in LABELS}
    of_condition = {str(label): code for label, code in codes["condition"].items()}
    taken = list(dict.fromkeys([*group["adjust_for"], *group["moderators"]]))
    names = {column: f"x{i}" for i, column in enumerate(taken) if column in sessions}
    factors = {column: _codes(sessions[column]) for column in names if hasattr(sessions[column], "cat")}
    shown = list(shown)
    measured = {o: f"y{i}" for i, o in enumerate(dict.fromkeys(row["outcome"] for row in shown)) if o in blocks}
    keys = {"participant", "session", "condition", "visit"}
    own = sessions[[*sorted(keys), "dose_s", *names]].rename(columns=names)
    own = own.assign(**{names[c]: sessions[c].astype(object).map(levels) for c, levels in factors.items()})
    scale, times = group["mood_scale"], (group["mood_baseline"], group["mood_followup"])
    for when, time in zip(("before", "after"), times, strict=True):
        own[f"score_{when}"] = sessions.get(f"{scale}_{time}", np.nan)
    kept = ["participant", "session", "block", "phase", "onset_s", "duration_s", "excluded"]
    values = blocks[[*kept, *measured]].rename(columns=measured).merge(own, on=["participant", "session"])
    values["excluded"] = values["excluded"].map({True: "true", False: "false"})
    tables = {
        name: table.assign(**{c: table[c].map(codes[c]) for c in LABELS if c in table})
        for name, table in (("sessions", own), ("blocks", values))
    }
    rest = list(bins) if study["baseline_visits"] else config["blocks"]["baseline"]
    weights = {name: {of_condition[c]: w for c, w in own.items()} for name, own in contrasts.items()}
    known = {name: {"weights": own} for name, own in weights.items()}
    for visit in sorted({int(v) for v in sessions["visit"]}):
        known |= {f"{name} at visit {visit}": {"weights": w, "visit": visit} for name, w in weights.items()}
    reference = study["conditions"][0]
    known |= {f"after {c} - after {reference}": {"after": code} for c, code in of_condition.items()}
    for (name, of), (column, code) in product(weights.items(), names.items()):
        moderated = {"weights": of, "moderator": code}
        for part in ("", "within participants, ", "between participants, "):
            known[f"{name} x {column} ({part}per unit)"] = moderated | {"part": part.partition(" ")[0]}
        known |= {f"{name} in {column} {v}": moderated | {"level": a} for v, a in factors.get(column, {}).items()}
        for (high, a), (low, b) in permutations(factors.get(column, {}).items(), 2):
            known[f"{name} x {column} ({high} - {low})"] = moderated | {"level": a, "reference": b}
    question = {
        "design": study["design"], "estimand": estimand, "conditions": [of_condition[c] for c in study["conditions"]],
        "baseline_visits": list(study["baseline_visits"]), "baseline_ends_s": [60 * bins[name][1] for name in rest],
        "carry_over": group["carry_over"], "adjust_for": [names[c] for c in group["adjust_for"]],
        "factors": [names[c] for c in factors], "asked": [_asked(row, known, measured) for row in shown],
    }  # fmt: skip
    return question, tables


def _codes(values: "pd.Series") -> dict[Any, str]:
    """Codes of the labels of a column, in the order of the alphabet."""
    labels = sorted(set(values.dropna()), key=str)
    return {label: f"c{i:06d}" for i, label in enumerate(labels)}


def _asked(row: Row, known: Mapping[str, Row], measured: Mapping[str, str]) -> Row | None:
    """Say what R is asked for: the kind of analysis, the outcome (none of scores), and what is compared."""
    analysis, contrast = row["analysis"], str(row["contrast"])
    kind = KINDS.get(analysis) if row["outcome"] in measured else OF_MOOD.get(analysis)
    if kind is None or not np.isfinite(row["estimate"]):
        return None
    if kind == "carried" and contrast.startswith("sequence "):
        return {"kind": kind, "y": measured[row["outcome"]]}
    if contrast not in known:
        return None
    mood = {} if row["outcome"] not in measured else {"y": measured[row["outcome"]]}
    return {"kind": kind, **mood, **known[contrast]}


def differences(shown: Iterable[Row], found: Iterable[Row | None]) -> list[Row]:
    """List how far the two are apart: estimates in standard errors, p and t below 1 absolute, the rest relative.

    Returns
    -------
    list of dict
        analysis, outcome, contrast, quantity, page, r, difference and remark; one row for what R was not asked for or
        could not fit, with the reason.
    """
    rows = []
    for row, theirs in zip(shown, found, strict=True):
        named = {name: row[name] for name in ("analysis", "outcome", "contrast")}
        named |= {"quantity": None, "page": np.nan, "r": np.nan, "difference": np.nan, "remark": ""}
        if theirs is None or "reason" in theirs:
            why = "not estimated on the page" if not np.isfinite(row["estimate"]) else "not fitted in R"
            rows.append(named | {"remark": why if theirs is None else f"R could not: {theirs['reason']}"})
            continue
        for quantity in QUANTITIES:
            a, b = float(row[quantity]), float(theirs[quantity])
            unit = {"estimate": row["se"], "p": 1.0, "t": max(abs(b), 1.0)}.get(quantity, abs(b))
            rows.append(named | {"quantity": quantity, "page": a, "r": b, "difference": abs(a - b) / unit})
    return rows
