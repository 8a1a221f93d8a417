"""The page of the study: figures, result, sessions, methods, and tables to download."""

import base64
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow import result_tables
from mrsflow.files import read_json, write_table, write_text
from mrsflow.reporting import group_summary, methods, provenance
from mrsflow.reporting.figures import decimals, minus, p_value
from mrsflow.reporting.group_figures import MASKED, read_index
from mrsflow.reporting.group_read import load, sidecars_of
from mrsflow.reporting.report import render
from mrsflow.reporting.session_page import number
from mrsflow.statistics import analysis_plan, supplement
from mrsflow.statistics.clinical import has_scores
from mrsflow.statistics.plan import plan_of
from mrsflow.study import layout, masking, ratings
from mrsflow.study.estimand import before_words
from mrsflow.study.study import read_study

if TYPE_CHECKING:
    from mrsflow.reporting.group_data import TrialResults

SIZES = (("d_z (mean over SD of the differences)", "d_z"), ("g_av (Hedges)", "g_av"))

RESULTS = (
    ("Contrasts", "contrasts"),
    ("Sensitivity analyses", "sensitivity"),
    ("Change of the outcome and change of mood", "link"),
)
"""Tables that the page shows in full."""

SHOWN = {
    "results": (
        "analysis", "outcome", "estimand", "contrast", "n", "estimate", "interval", "df", "df_method", "adjusted_for",
        "p", "p_adjusted", "remark",
    ),
    "reliability": (
        "outcome", "n_participants", "cv_within_percent", "cv_between_percent", "icc", "icc_low", "icc_high",
        "mdc_percent", "remark",
    ),
    "fitters": (
        "outcome", "fitter", "reference_fitter", "n_blocks", "n_lost", "bias_percent", "bias", "loa_low", "loa_high",
        "icc", "r_change", "slope_change", "remark",
    ),
    "multiverse_test": ("statistic", "contrast", "value", "p", "n_paths", "n_estimated", "draws", "remark"),
    "sites": (
        "site", "n_enrolled", "n_sessions", "n_converted", "n_fitted", "n_participants", "level", "level_sd",
        "level_percent",
    ),
    "flow_by_sequence": ("sequence", "visit", "condition", "step", "reason", "n_participants"),
    "baseline_by_sequence": ("sequence", "characteristic", "level", "n", "n_missing", "mean", "sd"),
    "loss_by_condition": ("condition", "reason", "n_lost", "n_planned", "contrast", "p", "remark"),
}  # fmt: skip
"""Columns that the page shows of a table; ``results``: of `RESULTS`."""
TOGETHER = {
    "n": result_tables.Column("text", "Counts in one column", title="Participants / sessions / blocks"),
    "interval": result_tables.Column("text", "Limits in one column", title="Interval"),
}
"""Columns that the page makes of several."""

DECLARED = {"mood": "mood_scale", "mood_link": "mood_scale", "multiverse": "multiverse"}
"""Figures that a study has where its configuration declares something (key of the group)."""
GIVEN = ("dataset_description.json", "participants.tsv")
"""Files of the dataset that hold what the tables of the study gave and may go out."""

SESSION_COLUMNS = ("Session", "Verdict", "Convert", "Preprocess", "Fit", "Blocks used", "SNR", "Linewidth (Hz)")


def write(config: dict[str, Any]) -> Path:
    """Write ``<output>/report/index.html`` with ``methods.md``, ``references.bib`` and ``mrsinmrs.tsv`` beside it.

    Parameters
    ----------
    config : dict
        Checked configuration. The figures and group tables below its ``output`` are there already.

    Raises
    ------
    InputError
        A table of an earlier stage is missing or cannot be read.
    """
    output = Path(config["output"])
    folder, trial = output / "report", load(config)
    sidecars = sidecars_of(output, trial.keys)
    checklist = methods.mrsinmrs(config, sidecars, trial.quality["block"], trial.quality["session"].to_dict("records"))
    headline = read_json(output / "group" / "headline.json")
    families, graph = _families(trial)
    paragraphs = methods.methods_text(config, sidecars, _primary(trial), headline["question"], families)
    paragraphs.insert(1, (methods.data_text(config, checklist, headline), []))
    if amounts := methods.amounts_text(config, trial.tissue_sources):
        paragraphs.insert(4, amounts)
    paragraphs[0] = (f"{paragraphs[0][0]} Versions: {', '.join(provenance.versions())}.", paragraphs[0][1])
    keys = [key for _, found in paragraphs for key in found] + ["schulz2010"]
    keys += ["dwan2019"] * trial.within
    bibtex, references = methods.references(keys)
    numbers = {reference["key"]: n for n, reference in enumerate(references, start=1)}
    context = {
        "title": trial.config["study"]["name"],
        "study": trial.config["study"]["name"],
        "lead": _lead(trial),
        "summary": group_summary.sentences(headline, trial, _audit(trial)),
        "glossary": group_summary.GLOSSARY,
        "forests": group_summary.forests(trial),
        "courses": group_summary.courses(trial),
        "frozen": trial.frozen,
        "within": trial.within,
        "unmasked": _unmasked(output / "group", trial),
        "planned": _planned(trial),
        "departures": _departures(output / "group", trial),
        "failures": _failures(trial),
        "doubtful": _doubtful(trial),
        "pictures": _pictures(output / "figures", config["group"]),
        "question": _question(headline, trial),
        "families": families,
        "graph": graph,
        "headline": _headline(headline, bool(trial.estimand.visits)),
        "audit": _audit(trial),
        "results": [(title, _results(trial.tables.get(name), name)) for title, name in RESULTS],
        "sites": _blank(_shown(trial, "sites")),
        "by_sequence": _blank(_shown(trial, "flow_by_sequence")),
        "characteristics": _blank(_shown(trial, "baseline_by_sequence")),
        "losses": _shown(trial, "loss_by_condition"),
        "reliability": _shown(trial, "reliability"),
        "fitters": _blank(_shown(trial, "fitters")),
        "multiverse": _shown(trial, "multiverse_test"),
        "session_columns": SESSION_COLUMNS,
        "sessions": _sessions(trial, folder),
        "ratings": tuple(ratings.ACTIONS),
        "methods": paragraphs,
        "numbers": numbers,
        "references": references,
        "checklist": checklist,
        "tables": _tables(output),
        "provenance": provenance.facts(),
        "given": [
            *provenance.copy_tables(read_study(config), output, folder),
            *(f"../bids/{name}" for name in GIVEN if (output / "bids" / name).is_file()),
        ],
        "runs": f"../{provenance.RUNS}" if (output / provenance.RUNS).is_file() else "",
    }
    write_text(bibtex, folder / "references.bib")
    write_text(provenance.configuration(config), folder / "configuration.yaml")
    write_text(_markdown(paragraphs, graph, references, numbers), folder / "methods.md")
    write_table(pd.DataFrame(checklist).fillna({"value": methods.MISSING}), folder / "mrsinmrs.tsv")
    write_text(render("group.html.j2", context), folder / "index.html")
    return folder / "index.html"


def _audit(trial: "TrialResults") -> str:
    """Sentence that says which part of the ratio moved; empty where arms are masked or there is no denominator."""
    table = trial.tables.get("denominator")
    return "" if table is None or table.empty else str(table["finding"].iloc[0])


def _lead(trial: "TrialResults") -> str:
    study = trial.config["study"]
    participants = len({layout.SessionKey.of(key).participant for key in trial.keys})
    return (
        f"{study['design'].replace('_', ' ').capitalize()} trial, {participants} participants, "
        f"{len(trial.keys)} sessions. Primary outcome {trial.outcome}."
    )


def _failures(trial: "TrialResults") -> str:
    lost = trial.status[trial.status["status"] != "ok"]["session"].nunique()
    if not lost:
        return ""
    return f"{lost} of {len(trial.keys)} sessions did not come through every stage."


def _doubtful(trial: "TrialResults") -> dict[str, Any]:
    """How many fits are doubtful, and a table of them."""
    blocks = trial.doubtful
    if blocks.empty:
        return {}
    keys = layout.keys_of(blocks)
    fitted = int((trial.blocks["fit_status"] != "failed").sum())
    used = np.where(blocks["excluded"] | blocks["left_out"], "no", "yes")
    rows = zip(keys, blocks["block"], blocks["fit_reason"], used, strict=True)
    columns = [{"label": label, "number": False} for label in ("Session", "Block", "Why", "In the analysis")]
    sessions = f"{keys.nunique()} of {len(trial.keys)} sessions"
    said = f"The fit of {len(blocks)} of {fitted} blocks, in {sessions}, is doubtful."
    return {"said": said, "columns": columns, "rows": [list(row) for row in rows]}


def _pictures(folder: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Read the figures; one that the study cannot have is left out, one that waits for the freeze says so."""
    asked = {name: settings[key] is not None for name, key in DECLARED.items()}
    found = {}
    for entry in read_index(folder):
        if not entry["drawn"] and (entry["reason"] != MASKED or not asked.get(entry["name"], True)):
            continue
        if entry["drawn"]:
            content = (folder / f"{entry['name']}.png").read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of the PNG header
            entry |= {"data": base64.b64encode(content).decode(), "width": width, "height": height}
        found[entry["name"]] = entry
    return found


def _sessions(trial: "TrialResults", folder: Path) -> list[dict[str, Any]]:
    blocks = trial.blocks.assign(key=layout.keys_of(trial.blocks))
    groups = dict(iter(blocks.groupby("key")))
    states = trial.status.set_index(["session", "stage"])
    given = trial.config["quality"]["ratings"]
    rated = {} if given is None else {row.key: row for row in ratings.read(given).itertuples()}
    rows = []
    for key in trial.keys:
        own = groups.get(key, blocks.iloc[:0])
        status = [states.loc[(key, stage)] for stage in layout.STAGES]
        reasons = [f"{s.name[1]} {s['status']}: {s['reason']}".rstrip(": ") for s in status if s["status"] == "failed"]
        failed = bool(reasons)
        stopped = [f"{s.name[1]} {s['status']}: {s['reason']}".rstrip(": ") for s in status if s["status"] != "ok"]
        reasons = reasons or stopped[:1]
        gone = own["excluded"] | own["left_out"]
        reasons += [f"{row.block}: {row.reason}" for row in own[gone].itertuples()]
        doubtful = own[~gone & (own["fit_status"] == "doubtful")]
        reasons += [f"{row.block}: fit doubtful: {row.fit_reason}" for row in doubtful.itertuples()]
        warned = own[~gone & own["warned"] & (own["fit_status"] != "doubtful") & own["reason"].fillna("").ne("")]
        reasons += [f"{row.block}: {row.reason}" for row in warned.itertuples()]
        remarked = own[~gone & (own["fit_status"] == "ok") & own["fit_reason"].fillna("").ne("")]
        reasons += [f"{row.block}: {row.fit_reason}" for row in remarked.itertuples()]
        used = own[~gone]
        values = [number(float(used[c].mean()) if len(used) else np.nan, 1) for c in ("snr", "linewidth_hz")]
        rows.append(
            {
                "key": key,
                "href": f"{key}.html" if (folder / f"{key}.html").is_file() else None,
                "cells": [
                    _verdict(failed, own, gone),
                    *(s["status"] for s in status),
                    f"{len(used)} of {len(trial.block_names)}",
                    *values,
                ],
                "rating": rated[key].rating if key in rated else "",
                "note": rated[key].note if key in rated and isinstance(rated[key].note, str) else "",
                "problem": "; ".join(reasons),
                "failed": failed,
            }
        )
    return rows


def _verdict(failed: bool, blocks: pd.DataFrame, gone: pd.Series) -> str:
    """Say what became of a session in one word or two."""
    if failed:
        return "failed"
    if gone.any():
        return "excluded" if gone.all() else "in part excluded"
    if (blocks["fit_status"] == "doubtful").any():
        return "doubtful"
    return "warned" if blocks["warned"].any() else "good"


def _tables(output: Path) -> list[dict[str, str]]:
    """Tables to download, each with its data dictionary."""
    paths = sorted((output / "group").glob("[!.]*.tsv"))
    return [{"name": p.stem, "table": f"../group/{p.name}", "dictionary": f"../group/{p.stem}.json"} for p in paths]


def _markdown(
    paragraphs: list[tuple[str, list[str]]], graph: str, references: list[dict], numbers: dict[str, int]
) -> str:
    text = [f"{t} [{', '.join(str(numbers[k]) for k in keys)}]" if keys else t for t, keys in paragraphs]
    listed = [f"{numbers[r['key']]}. {r['text']}. doi:{r['doi']}" for r in references]
    text.append(f"Families of tests and the order in which they are read:\n\n```text\n{graph}\n```")
    return "## Methods\n\n" + "\n\n".join(text) + "\n\n## References\n\n" + "\n".join(listed) + "\n"


def _primary(trial: "TrialResults") -> dict[str, Any] | None:
    """Row of the primary analysis; None while arms are masked or where it could not be estimated."""
    table = trial.tables.get("contrasts")
    if table is None or table.empty or table["model"].isna().iloc[0]:
        return None
    return table.iloc[0].to_dict()


def _unmasked(folder: Path, trial: "TrialResults") -> str:
    """Tell when arms were unmasked, under which configuration."""
    path = folder / "unmasking.json"
    if not trial.frozen or not path.is_file():
        return ""
    times = [f"{entry['unmasked_at']} (configuration {entry['config_digest']})" for entry in read_json(path)]
    return "Arms were first unmasked " + ", then again ".join(times) + "."


def _question(content: dict[str, Any], trial: "TrialResults") -> list[tuple[str, str | None]]:
    """State the estimand by its attributes, and where the baseline lies."""
    where = {
        "before": before_words(trial.estimand, trial.event), "none": "none",
        "both": "scans before the dose and after it",
        "after": "after the dose: a difference of baselines between arms may be an effect of the dose",
    }[content["baseline"]]  # fmt: skip
    return [*((name.capitalize(), text) for name, text in content["question"].items()), ("Baseline", where)]


def _families(trial: "TrialResults") -> tuple[list[str], str]:
    """Say and draw which tests are read in which order; while arms are masked their contrasts have no names."""
    plan = plan_of(trial.config)
    names = [c.name if trial.frozen else f"contrast {i}" for i, c in enumerate(plan.contrasts, start=1)]
    scored = has_scores(trial.config, trial.sessions)
    families = analysis_plan.families_of(trial, plan, names, scored)
    families += supplement.in_words(trial.config, scored)
    return families, analysis_plan.graph_of(trial, plan, names, scored)


def _planned(trial: "TrialResults") -> str:
    """Say what is known of the time at which the rules were set."""
    plan = analysis_plan.read(trial.config["output"])
    if plan is None:
        return "No analysis plan was written while arms were masked: this run does not know when the rules were set."
    said = f"Plan {plan['digest']}, written {plan['written_at']} while arms were masked (sap/sap.md)"
    gone = analysis_plan.differences(trial.config)
    if gone:
        return (
            f"{said}. The analysis departs from it in {len(gone)} setting{'' if len(gone) == 1 else 's'}, listed below."
        )
    return f"{said}. Every setting of the analysis is that of the plan: the rules were set before arms were told apart."


def _departures(folder: Path, trial: "TrialResults") -> dict[str, Any] | None:
    """Table of the settings that are not those of the plan, since when."""
    gone, path = analysis_plan.differences(trial.config), folder / "unmasking.json"
    if not gone:
        return None
    digest = masking.analysis_digest(trial.config)
    times = {entry["config_digest"]: entry["unmasked_at"] for entry in read_json(path)} if path.is_file() else {}
    since = times.get(digest, "masked") if trial.frozen else "masked"
    columns = [{"label": label, "number": False} for label in ("Setting", "Planned", "Used", "Since")]
    return {"columns": columns, "rows": [[d["key"], str(d["planned"]), str(d["used"]), since] for d in gone]}


def _headline(content: dict[str, Any], over_visits: bool) -> list[tuple[str, str | None]]:
    """Give the primary result as label and value; `over_visits`: visits are before and after treatment."""
    later, blocks = (" after treatment", "spectra") if over_visits else ("", "infusion blocks")
    counts = f"{{n_participants}} participants, {{n_sessions}} sessions{later}, {{n_blocks}} {blocks}, "
    counts += "{n_doubtful} of them doubtful"
    rows: list[tuple[str, str | None]] = [("In the primary analysis", counts.format(**content))]
    if content["estimate"] is None:
        return [*rows, ("Result", content["reason"])]
    percent = _with_limits(content, "percent_of_baseline", "percent_ci_low", "percent_ci_high", " %")
    interval = _with_limits(content, "estimate", "ci_low", "ci_high")
    rows += [
        ("Contrast", f"{content['outcome']}, {content['contrast']}"),
        (f"Estimate [{100 * content['ci_level']:g} % interval]", interval),
        ("In percent of the mean baseline", percent),
        ("p", f"{p_value(content['p'])} ({content['df_method']}, df {content['df']:.1f})"),
    ]
    if content["p_adjusted"] is not None and content["p_adjusted"] != content["p"]:
        rows.append(("p adjusted", f"{p_value(content['p_adjusted'])} ({content['family']})"))
    if content["adjusted_for"]:
        rows.append(("Adjusted for", content["adjusted_for"]))
    if content["remark"]:
        rows.append(("Remark", content["remark"]))
    rows += [(label, minus(f"{content[key]:z.2f}")) for label, key in SIZES if content[key] is not None]
    found = content.get("attenuation") or {}
    if found.get("fraction") is not None:
        label, shown = f"Attenuation, fraction [{100 * found['ci_level']:g} % interval]", "{fraction:z.2f} not bounded"
        limits = _with_limits(found, "fraction", "ci_low", "ci_high") if found["bounded"] else shown.format(**found)
        rows.append((label, minus(limits)))
    if content.get("equivalence"):
        rows.append((content["equivalence"]["analysis"].capitalize(), content["equivalence"]["remark"]))
    return rows


def _with_limits(values: dict[str, Any], name: str, low: str, high: str, unit: str = "") -> str:
    """Write an estimate and its interval with the digits that the interval is worth."""
    digits = decimals(values[low], values[high])
    return minus(f"{values[name]:z.{digits}f}{unit} [{values[low]:z.{digits}f}, {values[high]:z.{digits}f}]")


def _results(table: pd.DataFrame | None, name: str) -> dict[str, Any] | None:
    """Show a table of tests, its counts and limits in one column each."""
    if table is None:
        return None
    counts = table[["n_participants", "n_sessions", "n_blocks"]].to_numpy()
    limits = table[["ci_low", "ci_high"]].to_numpy(float)
    n = [" / ".join(_cell(v, 0) for v in row) if row[0] == row[0] else "n/a" for row in counts]
    digits = [decimals(low, high) for low, high in limits]
    interval = [
        minus(f"{low:z.{d}f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high:z.{d}f}") if np.isfinite(low + high) else "n/a"
        for (low, high), d in zip(limits, digits, strict=True)
    ]
    estimate = [
        minus(f"{v:z.{d if np.isfinite(low + high) else 4}f}") if np.isfinite(v) else "n/a"
        for v, d, (low, high) in zip(table["estimate"].to_numpy(float), digits, limits, strict=True)
    ]
    levels = [f" ({100 * level:g} %)" if np.isfinite(level) else "" for level in table["ci_level"].to_numpy(float)]
    interval = [text + level for text, level in zip(interval, levels, strict=True)]
    tested = {name: [p_value(p) if p == p else None for p in table[name]] for name in ("p", "p_adjusted")}
    described = result_tables.tables()[name].columns | TOGETHER
    return _chosen(table.assign(n=n, estimate=estimate, interval=interval, **tested), described, SHOWN["results"])


def _shown(trial: "TrialResults", name: str) -> dict[str, Any] | None:
    """Show a table of the group stage."""
    table = trial.tables.get(name)
    return None if table is None else _chosen(table, result_tables.tables()[name].columns, SHOWN[name])


def _chosen(
    table: pd.DataFrame, described: dict[str, result_tables.Column], names: Sequence[str]
) -> dict[str, Any] | None:
    """Choose columns of a table for the page."""
    if table.empty:
        return None
    present = [name for name in names if name in table]
    rows = [[_cell(row[name], described[name].digits) for name in present] for row in table.to_dict("records")]
    columns = [
        {
            "label": described[name].title,
            "number": described[name].type in ("number", "whole"),
            "meaning": described[name].meaning,
        }
        for name in present
    ]
    return {"columns": columns, "rows": rows}


def _blank(shown: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave cells empty where a row has no such entry."""
    if shown is None:
        return None
    return shown | {"rows": [["" if cell == "n/a" else cell for cell in row] for row in shown["rows"]]}


def _cell(value: Any, digits: int) -> str:
    if value is None or value != value:
        return "n/a"
    return minus(f"{float(value):z.{digits}f}") if isinstance(value, float | int) else str(value)
