"""The page of the study: figures, result, sessions, methods, and tables to download."""

import base64
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow import methods
from mrsflow.files import read_json, write_table, write_text
from mrsflow.group_figures import read_index
from mrsflow.group_read import load, sidecars_of
from mrsflow.report import render
from mrsflow.session_page import number

if TYPE_CHECKING:
    from mrsflow.group_data import Trial

SESSION_COLUMNS = ("Session", "Convert", "Preprocess", "Fit", "Blocks used", "SNR", "Linewidth (Hz)")


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
    sidecars = sidecars_of(output, trial.sessions)
    checklist = methods.mrsinmrs(config, sidecars, trial.quality["block"], trial.quality["session"].to_dict("records"))
    paragraphs = methods.methods_text(config, sidecars, _models(trial))
    keys = [key for _, found in paragraphs for key in found] + ["schulz2010"]
    bibtex, references = methods.references(keys)
    numbers = {reference["key"]: n for n, reference in enumerate(references, start=1)}
    context = {
        "title": trial.config["study"]["name"],
        "study": trial.config["study"]["name"],
        "lead": _lead(trial),
        "frozen": trial.frozen,
        "unmasked": _unmasked(output),
        "failures": _failures(trial),
        "pictures": _pictures(output / "figures"),
        "headline": _headline(trial),
        "reliability": _reliability(trial),
        "session_columns": SESSION_COLUMNS,
        "sessions": _sessions(trial, folder),
        "methods": paragraphs,
        "numbers": numbers,
        "references": references,
        "checklist": checklist,
        "tables": _tables(output),
    }
    write_text(bibtex, folder / "references.bib")
    write_text(_markdown(paragraphs, references, numbers), folder / "methods.md")
    write_table(pd.DataFrame(checklist).fillna({"value": methods.MISSING}), folder / "mrsinmrs.tsv")
    write_text(render("group.html.j2", context), folder / "index.html")
    return folder / "index.html"


def _lead(trial: "Trial") -> str:
    study = trial.config["study"]
    participants = trial.study.samples["participant"].nunique()
    return (
        f"{study['design'].replace('_', ' ').capitalize()} trial, {participants} participants, "
        f"{len(trial.sessions)} sessions. Primary outcome {trial.outcome}."
    )


def _failures(trial: "Trial") -> str:
    lost = trial.status[trial.status["status"] != "ok"]["session"].nunique()
    if not lost:
        return ""
    return f"{lost} of {len(trial.sessions)} sessions did not come through every stage."


def _pictures(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for entry in read_index(folder):
        if entry["drawn"]:
            content = (folder / f"{entry['name']}.png").read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of the PNG header
            entry |= {"data": base64.b64encode(content).decode(), "width": width, "height": height}
        found[entry["name"]] = entry
    return found


def _sessions(trial: "Trial", folder: Path) -> list[dict[str, Any]]:
    blocks = trial.blocks.assign(key="sub-" + trial.blocks["participant"] + "_ses-" + trial.blocks["session"])
    groups = dict(iter(blocks.groupby("key")))
    states = trial.status.set_index(["session", "stage"])
    rows = []
    for key in trial.sessions:
        own = groups.get(key, blocks.iloc[:0])
        status = [states.loc[(key, stage)] for stage in ("convert", "preprocess", "fit")]
        reasons = [f"{s.name[1]} {s['status']}: {s['reason']}".rstrip(": ") for s in status if s["status"] == "failed"]
        reasons = reasons or [f"{s.name[1]} {s['status']}" for s in status if s["status"] != "ok"][:1]
        failed = bool(reasons)
        reasons += [f"{row.block}: {row.reason}" for row in own[own["excluded"]].itertuples()]
        used = own[~own["excluded"]]
        values = [number(float(used[c].mean()) if len(used) else np.nan, 1) for c in ("snr", "linewidth_hz")]
        rows.append(
            {
                "key": key,
                "href": f"{key}.html" if (folder / f"{key}.html").is_file() else None,
                "cells": [*(s["status"] for s in status), f"{len(used)} of {len(trial.block_names)}", *values],
                "problem": "; ".join(reasons),
                "failed": failed,
            }
        )
    return rows


def _tables(output: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted((output / "group").glob("*.tsv")):
        dictionary = path.with_suffix(".json")
        about = read_json(dictionary).get("Description", "") if dictionary.is_file() else ""
        found.append({"name": path.name, "href": f"../group/{path.name}", "about": about})
    return found


def _markdown(paragraphs: list[tuple[str, list[str]]], references: list[dict], numbers: dict[str, int]) -> str:
    text = [f"{t} [{', '.join(str(numbers[k]) for k in keys)}]" if keys else t for t, keys in paragraphs]
    listed = [f"{numbers[r['key']]}. {r['text']}. doi:{r['doi']}" for r in references]
    return "## Methods\n\n" + "\n\n".join(text) + "\n\n## References\n\n" + "\n".join(listed) + "\n"


def _models(trial: "Trial") -> list[str]:
    rows = trial.forest("contrasts")
    return list(dict.fromkeys(rows["model"].dropna().astype(str))) if "model" in rows else []


def _unmasked(output: Path) -> str:
    return ""


def _headline(trial: "Trial") -> list[tuple[str, str | None]]:
    return []


def _reliability(trial: "Trial") -> dict[str, Any] | None:
    table = trial.tables.get("reliability")
    if table is None or table.empty:
        return None
    columns = [{"label": str(c), "number": n > 0} for n, c in enumerate(table)]
    rows = [[number(v) if isinstance(v, float) else str(v) for v in row] for row in table.itertuples(index=False)]
    return {"columns": columns, "rows": rows}
