"""What the page of one session shows, gathered from the files of its stages.

A page never names the arm of its session, so that quality can be judged blind.
"""

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_json, write_text
from mrsflow.reporting import course_picture, session_charts
from mrsflow.reporting.report import render
from mrsflow.study import cohort, layout, quality_rules, records
from mrsflow.study.short_blocks import MOST_BLOCKS

MEASURES = {
    "per_tcr": "per_tcr_sd",
    "per_tnaa": "per_tnaa_sd",
    "molar_mM": "molar_sd",
    "molal_mmol_kg": "molal_sd",
    "grey_mM": "grey_sd",
    "amplitude": "sd",
    "sd_percent": None,
}
"""Measures of a metabolite, and the column of their standard deviation."""
FIT_COLUMNS = (
    "status", "reason", "snr", "linewidth_hz", "shift_hz", "phase_deg", "residual_ratio", "whiteness_p",
)  # fmt: skip
"""Columns of the quality of a fit that a page shows."""
SUMS = ("Glx", "tNAA", "tCr", "tCho")

SIDECAR_FACTS = (
    ("Manufacturer", "Manufacturer", ""),
    ("Pulse sequence", "PulseSequenceType", ""),
    ("Echo time", "EchoTime", "ms"),
    ("Repetition time", "RepetitionTime", "s"),
    ("Field strength", "MagneticFieldStrength", "T"),
    ("Spectrometer frequency", "SpectrometerFrequency", "MHz"),
    ("Spectral width", "SpectralWidth", "Hz"),
    ("Points", "NumberOfSpectralPoints", ""),
    ("Excitations", "NumberOfTransients", ""),
    ("Excitations per stored frame", "ExcitationsPerFrame", ""),
    ("Voxel", "AcquisitionVoxelSize", "mm"),
)
TABLES = (
    layout.CONVERT_QUALITY, layout.BLOCK_QUALITY, layout.TRANSIENT_QUALITY, layout.TISSUE, layout.FIT,
    layout.FIT_QUALITY, layout.CONSTANTS,
)  # fmt: skip
"""Tables that a page shows."""
BY_BLOCK = (layout.BLOCK_QUALITY, layout.FIT, layout.FIT_QUALITY)
SHOWN_BLOCKS = 24
"""Blocks of a series that a page shows; those of other sessions are all shown."""


TISSUE = "measure_tissue"
"""Stage of the studies that name maps of tissue."""


def sources(output: Path, key: str) -> list[Path]:
    """Files that the page of a session is made from: the records of its stages and what these wrote."""
    found = [records.record_path(output, stage, key) for stage in (*layout.STAGES, TISSUE)]
    known = [records.read_record(output, stage, key) for stage in (*layout.STAGES, TISSUE)]
    return found + [output / name for record in known if record for name in record["outputs"]]


RUN_FACTS = ("Echo time", "Repetition time", "Excitations", "Points", "Spectral width", "Voxel")
"""Of `SIDECAR_FACTS`, those that the list of scans shows of each."""


def write(output: Path, key: str, config: dict[str, Any], around: tuple[str, str] = ("", "")) -> Path:
    """Write the page of one session to ``<output>/report/<key>.html`` and return its path; `around`: its neighbours."""
    page = output / "report" / f"{key}.html"
    write_text(render("session.html.j2", page_data(output, key, config, page, around)), page)
    return page


def page_data(
    output: Path, key: str, config: dict[str, Any], page: Path, around: tuple[str, str] = ("", "")
) -> dict[str, Any]:
    """Gather what the page of a session shows.

    Parameters
    ----------
    output : Path
        Folder of all outputs.
    key : str
        ``sub-X_ses-Y``.
    config : dict
        Checked configuration: sections study, fit, quality, and the outcome of the group.
    page : Path
        Where the page will stand; links are relative to it.
    around : (str, str)
        Sessions before and after it, empty where there is none.

    Returns
    -------
    dict
        Context of the template ``session.html.j2``; ``charts`` holds the curves of each scan.

    Raises
    ------
    InputError
        A table of a finished stage cannot be read.
    """
    stages = [records.read_record(output, stage, key) or _not_run(stage, key) for stage in layout.STAGES]
    stages += filter(None, [records.read_record(output, TISSUE, key)])
    files = sorted(output / name for record in stages if record["status"] == "ok" for name in record["outputs"])
    scans, charts = [], []
    for name, found in sorted(_scans(files).items()):
        scan, chart = _scan(name, found, config, page)
        scans.append(scan)
        charts.append(chart)
    words = [word for scan in scans for word in scan["words"]]
    worst = next((word for word in ("exclude", "warn", "pass") if word in words), None)
    return {
        "title": f"{key} · {config['study']['name']}",
        "study": config["study"]["name"],
        "key": key,
        "previous": around[0],
        "next": around[1],
        "outcome": config["group"]["outcome"],
        "runs": _runs([path for path in files if path.name.endswith(("_svs.json", "_mrsref.json"))]),
        "stages": [{**{k: r[k] for k in ("stage", "status")}, "reason": _reason(r)} for r in stages],
        "quality_word": worst,
        "scans": scans,
        "charts": charts,
    }


def _reason(record: dict[str, Any]) -> str:
    """Why a stage gave nothing, or what must be known of what it gave."""
    return record["reason"] or record.get("unchecked", "")


def _not_run(stage: str, key: str) -> dict[str, Any]:
    return {"session": key, "stage": stage, "status": "not run", "reason": "", "outputs": {}}


def _scans(files: list[Path]) -> dict[str, dict[str, Path]]:
    """Files of each metabolite scan by what they are; what belongs to the session (T1w) goes to each of its scans."""
    scans: dict[str, dict[str, Path]] = {}
    common = {}
    for path in files:
        name = path.name.removesuffix(".gz").rsplit(".", 1)
        stem, suffix = name[0], name[-1]
        if stem.endswith("_T1w"):
            common[f"T1w.{suffix}"] = path
        elif f"_{layout.DESCRIBED}" in stem:
            entities, kind = stem.split(f"_{layout.DESCRIBED}", 1)
            scans.setdefault(entities, {})[f"{kind}.{suffix}"] = path
        elif stem.endswith(("_svs", "_mrsref", "_events")) and not layout.is_nulled(path):
            kind = stem.rpartition("_")[2]
            scans.setdefault(layout.session_stem(Path(stem)), {}).setdefault(f"{kind}.{suffix}", path)
    return {name: {**common, **found} for name, found in scans.items()}


def _scan(name: str, files: dict[str, Path], config: dict[str, Any], page: Path) -> tuple[dict, dict]:
    sidecar = read_json(files["svs.json"]) if "svs.json" in files else {}
    results = {f"{layout.DESCRIBED}{kind}".replace(".nii", ".nii.gz"): path for kind, path in files.items()}
    processed, session = (
        read_json(results[known]) if known in results else {} for known in (layout.SIDECAR, layout.SESSION_QUALITY)
    )
    tables = {known: result_tables.read(results[known]) for known in TABLES if known in results}
    blocks, transients = tables.get(layout.BLOCK_QUALITY), tables.get(layout.TRANSIENT_QUALITY)
    fitted, pictures = tables.get(layout.FIT_QUALITY), results.get(layout.PICTURES)
    titles = [] if fitted is None else _titles(fitted)
    spectra = _spectra(results, files, titles, blocks, config)
    outcome = config["group"]["outcome"]
    rules = [] if blocks is None else judged(config["quality"]["rules"], _with_fits(blocks, fitted), session)
    words, shaded, few = [cell["word"] for rule in rules for cell in rule["cells"]], blocks, ""
    if blocks is not None and len(blocks) > MOST_BLOCKS:
        shown = np.unique(np.linspace(0, len(blocks) - 1, SHOWN_BLOCKS).astype(int))
        names = blocks["block"].iloc[shown]
        few = (
            f"{len(shown)} of {len(blocks)} blocks are shown here, evenly over time; the files of the session hold all."
        )
        rules = [{**rule, "cells": [rule["cells"][k] for k in (*shown, -1)]} for rule in rules]
        if fitted is not None:
            kept = np.flatnonzero(fitted["block"].isin(names))
            titles = [titles[k] for k in kept]
            spectra = spectra and {**spectra, "blocks": [spectra["blocks"][k] for k in kept]}
        tables = {name: t[t["block"].isin(names)] if name in BY_BLOCK else t for name, t in tables.items()}
        blocks, fitted, shaded = tables[layout.BLOCK_QUALITY], tables.get(layout.FIT_QUALITY), None
    scan = {
        "name": name,
        "facts": [*facts_of(sidecar, session, "mrsref.json" in files), *tissue_facts(tables.get(layout.TISSUE))],
        "overlay": _overlay(files),
        "checks": _checks(tables.get(layout.CONVERT_QUALITY)),
        "alignment": pictures is not None,
        "transients": None if transients is None else _frame_summary(transients, session),
        "spectra": None if spectra is None else _spectra_controls(spectra),
        "water": layout.REFERENCE in results,
        "courses": course_picture.pictures(results[layout.FIT_CURVES]) if layout.FIT_CURVES in results else [],
        "block_names": [] if fitted is None else _marked(fitted, fitted["block"]),
        "metabolites": metabolite_tables(tables[layout.FIT], outcome) if layout.FIT in tables else [],
        "constants": None if layout.CONSTANTS not in tables else _constants(tables[layout.CONSTANTS]),
        "correlation": None if fitted is None else _correlation(fitted),
        "fit_quality": None if fitted is None else _fit_quality(fitted),
        "rule_names": [*([] if blocks is None else map(str, blocks["block"])), "session"],
        "rules": rules,
        "words": words,
        "few": few,
        "definitions": _definitions(blocks),
        "processing": _processing(processed or sidecar),
        "files": [{"name": path.name, "href": _relative(path, page)} for _, path in sorted(files.items())],
    }
    chart = {
        "alignment": None if pictures is None else session_charts.alignment_of(pictures),
        "transients": None if transients is None else session_charts.courses_of(transients, shaded),
        "spectra": spectra,
        "outcome": session_charts.outcome_of(tables[layout.FIT], outcome) if layout.FIT in tables else None,
        "water": session_charts.water_of(results[layout.REFERENCE]) if layout.REFERENCE in results else None,
    }
    scan["course"] = chart["outcome"] is not None
    return scan, chart


def _spectra(
    results: dict[str, Path], files: dict[str, Path], titles: list[str], blocks: Any, config: dict[str, Any]
) -> dict[str, Any] | None:
    """Curves of the fit; where it failed, those of the blocks or of the converted scan, whatever is there."""
    if layout.FIT_CURVES in results:
        return session_charts.spectra_of(results[layout.FIT_CURVES], titles)
    scan = results.get(layout.BLOCKS, files.get("svs.nii"))
    if scan is None or not scan.is_file():
        return None
    made = [] if blocks is None else blocks[blocks["snr"].notna()]["block"]
    return session_charts.without_fit(scan, [str(name) for name in made], config["fit"]["ppm"])


def _runs(sidecars: list[Path]) -> dict[str, Any] | None:
    """Every converted scan of a session with what tells it from the others."""
    chosen = [path for path in sidecars if f"_{layout.DESCRIBED}" not in path.name]
    rows = []
    for path in chosen:
        facts = dict(facts_of(read_json(path), {}, False))
        name = layout.stem(path.with_suffix("")).partition("_")[2].partition("_")[2]
        rows.append([name, *(facts[label] or "missing" for label in RUN_FACTS)])
    return {"columns": _columns("Scan", *RUN_FACTS), "rows": rows} if rows else None


def _relative(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()


def facts_of(sidecar: dict[str, Any], session: dict[str, Any], has_water: bool) -> list[tuple[str, str | None]]:
    """Label and value of what was measured, from sidecar and session values; None where it is not known."""
    facts: list[tuple[str, str | None]] = []
    for label, key, unit in SIDECAR_FACTS:
        value = sidecar.get(key)
        if key == "EchoTime" and value is not None:
            value = round(1000 * float(np.ravel(value)[0]), 4)
        if isinstance(value, list):
            value = " × ".join(f"{v:g}" if isinstance(v, int | float) else str(v) for v in value) or None
        elif isinstance(value, float):
            value = f"{value:.7g}"
        facts.append((label, None if value is None else f"{value} {unit}".strip()))
    coils = session.get("n_coils")
    facts.append(("Coils", None if coils is None else str(coils)))
    facts.append(("Water reference", "yes" if has_water else "none"))
    return facts


def tissue_facts(table: Any) -> list[tuple[str, str | None]]:
    """Label and value of what the voxel holds; one of each for every scan, none where nothing was measured."""
    if table is None:
        return []
    facts: list[tuple[str, str | None]] = []
    for row in table.to_dict("records"):
        held = ", ".join(f"{100 * row[name]:.1f} % {name}" for name in ("GM", "WM", "CSF", "other"))
        said = [] if row["status"] == "fail" else [f"{held} ({row['source']})"]
        said += [row["message"]] if isinstance(row["message"], str) else []
        facts.append(("Tissue of the voxel", "; ".join(said)))
    moved = table["displacement_percent_per_ppm"].iloc[0]
    if np.isfinite(moved):
        facts.append(("Chemical-shift displacement", f"{moved:.1f} % of a refocused side per ppm"))
    return facts


def _constants(table: Any) -> dict[str, Any]:
    """Amounts by each set of constants: a row for each, a column for each sum."""
    names = [name for name in SUMS if (table["metabolite"] == name).any()]
    rows = []
    for (constants, corrected), own in table.groupby(["constants", "csf_corrected"], sort=False):
        values = own.set_index("metabolite")
        cells = [f"{values.molar_mM[n]:.2f} mM ({number(float(values.percent_of_used[n]), 0)} %)" for n in names]
        rows.append([constants, "yes" if corrected else "no", *cells])
    return {"columns": _columns("Constants", "CSF corrected", *names), "rows": rows}


def _titles(fitted: Any) -> list[str]:
    spans = [
        f"{row.block} ({row.onset_s / 60:.3g} to {(row.onset_s + row.duration_s) / 60:.3g} min)"
        for row in fitted.itertuples()
    ]
    return _marked(fitted, spans)


def _marked(fitted: Any, names: Iterable[Any]) -> list[str]:
    """Names of blocks, with the verdict on the fit where it is not ok."""
    pairs = zip(names, fitted["status"], strict=True)
    return [str(name) if status == "ok" else f"{name}, {status}" for name, status in pairs]


def _with_fits(blocks: Any, fitted: Any) -> Any:
    """Quality of the blocks with what is known of their fits: the verdict, and what their own table does not have."""
    if fitted is None:
        return blocks.assign(fit_status=None)
    own = fitted.drop_duplicates("block").set_index("block").rename(columns={"status": "fit_status"})
    return blocks.join(own[[name for name in own if name not in blocks]], on="block")


def _spectra_controls(spectra: dict[str, Any]) -> dict[str, Any]:
    main = [n for n, name in enumerate(spectra["names"]) if name in ("Glu", "Gln")]
    titles = [block["title"] for block in spectra["blocks"]]
    ends = [f"{end:.2f}" for end in (spectra["ppm"][-1], spectra["ppm"][0])]
    return {
        "names": spectra["names"],
        "main": main,
        "titles": titles,
        "ends": ends,
        "correlation": spectra["correlation"] is not None,
    }


def _frame_summary(table: Any, session: dict[str, Any]) -> dict[str, Any]:
    rejected = int(session_charts.is_rejected(table).sum())
    text = f"{rejected} of {len(table)} stored frames rejected."
    if "drift_hz" in session and session["drift_hz"] is not None:
        text += f" Drift over the session {session['drift_hz']:.2f} Hz"
        after = session.get("drift_after_hz")
        text += "." if after is None else f", {after:.2f} Hz after correction."
    return {"summary": text, "courses": ["shift_hz", "phase_deg", "amplitude"]}


def number(value: Any, digits: int = 3) -> str:
    """Write a number for a table, ``n/a`` where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "n/a"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def metabolite_tables(table: Any, outcome: str = "") -> list[dict[str, Any]]:
    """One table per measure that has values: a row per metabolite, a cell per block.

    The measure of the primary outcome comes first, and in it its numerator; then sums.
    """
    numerator, _, denominator = outcome.partition("/")
    first = cohort.COLUMN_OF.get(denominator, "amplitude" if outcome else "")
    names = list(dict.fromkeys(table["metabolite"]))
    order = dict.fromkeys([numerator, *SUMS, *names])
    names = [name for name in order if name in names]
    blocks = list(dict.fromkeys(table["block"]))
    shown = []
    for measure, sd in sorted(MEASURES.items(), key=lambda item: item[0] != first):
        if measure not in table or table[measure].isna().all():
            continue
        column = result_tables.tables()["fit"].columns[measure]
        digits = column.digits
        cells = {
            (row["metabolite"], row["block"]): number(float(row[measure]), digits)
            + (f" ± {number(float(row[sd]), digits)}" if sd in row and np.isfinite(row[measure]) else "")
            for row in table.to_dict("records")
        }
        rows = [
            {
                "name": name,
                "primary": name == numerator and measure == first,
                "broad": name.startswith(("MM", "Lip", "-")),
                "cells": [cells.get((name, block), "n/a") for block in blocks],
            }
            for name in names
        ]
        shown.append({"name": measure, "label": column.title, "rows": rows})
    return shown


def _columns(*labels: str) -> list[dict[str, Any]]:
    return [{"label": label, "number": n > 0} for n, label in enumerate(labels)]


def _correlation(fitted: Any) -> dict[str, Any] | None:
    if "glu_gln_correlation" not in fitted or fitted["glu_gln_correlation"].isna().all():
        return None
    cells = [number(float(v), 2) for v in fitted["glu_gln_correlation"]]
    return {"columns": _columns("Block", *map(str, fitted["block"])), "rows": [["correlation", *cells]]}


def _fit_quality(fitted: Any) -> dict[str, Any]:
    described = result_tables.tables()["fit_quality"].columns
    present = [name for name in FIT_COLUMNS if name in fitted]
    fitted = fitted.assign(reason=fitted["reason"].fillna(""))
    rows = [
        [str(row["block"]), *(number(row[n], described[n].digits) for n in present)]
        for row in fitted.to_dict("records")
    ]
    columns = _columns("Block", *(described[n].title for n in present))
    for column in columns[1:3]:
        column["number"] = False
    constraints = list(fitted["constraints"].dropna().astype(str).unique()) if "constraints" in fitted else []
    return {
        "columns": columns,
        "rows": rows,
        "constraints": "; ".join(constraints),
    }


def verdict(value: float | str | None, rule: dict[str, Any]) -> str:
    """Judge a value by a rule: ``pass``, ``warn``, ``exclude``, or ``missing`` without a value."""
    if value is None or value != value:
        return "missing"
    found = quality_rules.judge([rule], rule["level"], {rule["metric"]: value})
    return found[0]["action"] if found else "pass"


def judged(rules: list[dict[str, Any]], blocks: Any, session: dict[str, Any]) -> list[dict[str, Any]]:
    """Row of every rule: limits and a cell (value, word) per block and for the session."""
    rows = []
    for rule in rules:
        if rule["level"] == "block":
            values = list(blocks[rule["metric"]]) if rule["metric"] in blocks else [None] * len(blocks)
            cells = [{"value": _short(v), "word": verdict(v, rule)} for v in map(_plain, values)]
            cells.append({"value": "", "word": ""})
        else:
            value = _plain(session.get(rule["metric"]))
            cells = [{"value": "", "word": ""}] * len(blocks)
            cells.append({"value": _short(value), "word": verdict(value, rule)})
        limits = {word: quality_rules.limit_text(rule, word) or "–" for word in ("warn", "exclude")}
        rows.append({"metric": rule["metric"], **limits, "cells": cells})
    return rows


def _short(value: float | str | None) -> str:
    """Write a metric with three digits that count."""
    return f"{value:.3g}" if isinstance(value, float) and np.isfinite(value) else number(value)


def _plain(value: Any) -> float | str | None:
    return value if value is None or isinstance(value, str) else float(value)


def _definitions(blocks: Any) -> str:
    if blocks is None or "snr_definition" not in blocks or blocks["snr_definition"].isna().all():
        return ""
    return "SNR: " + "; ".join(dict.fromkeys(blocks["snr_definition"].dropna())) + "."


def _checks(table: Any) -> dict[str, Any] | None:
    """Table of the checks at conversion and one line that sums it up."""
    if table is None:
        return None
    table = table.assign(scan=table["scan"].astype(str).str.replace(r"^(?:(?:sub|ses|task)-[^_]+_)+", "", regex=True))
    rows = [["" if v != v else str(v) for v in row] for row in table.itertuples(index=False)]
    counts = table["status"].value_counts()
    others = ", ".join(f"{n} {word}" for word, n in sorted(counts.items()) if word != "pass")
    summary = f"{len(table)} checks at conversion, {others or 'all passed'}"
    return {"columns": [{"label": str(n), "number": False} for n in table], "rows": rows, "summary": summary}


def _processing(sidecar: dict[str, Any]) -> dict[str, Any] | None:
    steps = sidecar.get("ProcessingApplied") or []
    columns = [{"label": label, "number": False} for label in ("Step", "Program", "Details")]
    rows = [
        [s.get("Method", "n/a"), f"{s.get('Program', 'n/a')} {s.get('Version', '')}".strip(), s.get("Details", "")]
        for s in steps
    ]
    return {"columns": columns, "rows": rows} if rows else None


def _overlay(files: dict[str, Path]) -> dict[str, str] | None:
    """Picture of the voxel on the anatomy, or why there is none; None without an anatomical image."""
    scan = files.get("svs.nii", files.get("blocks_svs.nii"))
    if "T1w.nii" not in files or scan is None:
        return None
    from mrsflow.reporting import voxel_picture

    try:
        picture = voxel_picture.overlay(files["T1w.nii"], scan)
    except InputError as error:
        return {"picture": "", "problem": str(error)}
    return {"picture": base64.b64encode(picture).decode(), "problem": ""}
