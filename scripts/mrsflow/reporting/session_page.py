"""What the page of one session shows, gathered from the files of its stages.

A page never names the arm of its session, so that quality can be judged blind.
"""

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_json, write_text
from mrsflow.reporting.report import render
from mrsflow.study import layout, quality_rules, records

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
SHOWN_PPM = (0.2, 4.2)
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


TISSUE = "measure_tissue"
"""Stage of the studies that name maps of tissue."""


def sources(output: Path, key: str) -> list[Path]:
    """Files that the page of a session is made from: the records of its stages and what these wrote."""
    found = [records.record_path(output, stage, key) for stage in (*layout.STAGES, TISSUE)]
    known = [records.read_record(output, stage, key) for stage in (*layout.STAGES, TISSUE)]
    return found + [output / name for record in known if record for name in record["outputs"]]


def write(output: Path, key: str, config: dict[str, Any]) -> Path:
    """Write the page of one session to ``<output>/report/<key>.html`` and return its path."""
    page = output / "report" / f"{key}.html"
    write_text(render("session.html.j2", page_data(output, key, config, page)), page)
    return page


def page_data(output: Path, key: str, config: dict[str, Any], page: Path) -> dict[str, Any]:
    """Gather what the page of a session shows.

    Parameters
    ----------
    output : Path
        Folder of all outputs.
    key : str
        ``sub-X_ses-Y``.
    config : dict
        Checked configuration: sections study, quality.
    page : Path
        Where the page will stand; links are relative to it.

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
    words = [cell["word"] for scan in scans for rule in scan["rules"] for cell in rule["cells"]]
    worst = next((word for word in ("exclude", "warn", "pass") if word in words), None)
    return {
        "title": f"{key} · {config['study']['name']}",
        "study": config["study"]["name"],
        "key": key,
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
    results = {f"{layout.DESCRIBED}{kind}": path for kind, path in files.items()}
    processed, session = (
        read_json(results[known]) if known in results else {} for known in (layout.SIDECAR, layout.SESSION_QUALITY)
    )
    tables = {known: result_tables.read(results[known]) for known in TABLES if known in results}
    blocks, transients = tables.get(layout.BLOCK_QUALITY), tables.get(layout.TRANSIENT_QUALITY)
    fitted, pictures = tables.get(layout.FIT_QUALITY), results.get(layout.PICTURES)
    titles = [] if fitted is None else _titles(fitted)
    spectra = spectra_of(results[layout.FIT_CURVES], titles) if layout.FIT_CURVES in results else None
    scan = {
        "name": name,
        "facts": [*facts_of(sidecar, session, "mrsref.json" in files), *tissue_facts(tables.get(layout.TISSUE))],
        "overlay": _overlay(files),
        "checks": _checks(tables.get(layout.CONVERT_QUALITY)),
        "alignment": pictures is not None,
        "transients": None if transients is None else _frame_summary(transients, session),
        "spectra": None if spectra is None else _spectra_controls(spectra, titles),
        "block_names": [] if fitted is None else _marked(fitted, fitted["block"]),
        "metabolites": metabolite_tables(tables[layout.FIT]) if layout.FIT in tables else [],
        "constants": None if layout.CONSTANTS not in tables else _constants(tables[layout.CONSTANTS]),
        "correlation": None if fitted is None else _correlation(fitted),
        "fit_quality": None if fitted is None else _fit_quality(fitted),
        "rule_names": [*([] if blocks is None else map(str, blocks["block"])), "session"],
        "rules": [] if blocks is None else judged(config["quality"]["rules"], _with_fits(blocks, fitted), session),
        "definitions": _definitions(blocks),
        "processing": _processing(processed or sidecar),
        "files": [{"name": path.name, "href": _relative(path, page)} for _, path in sorted(files.items())],
    }
    chart = {
        "alignment": None if pictures is None else alignment_of(pictures),
        "transients": None if transients is None else _courses(transients, blocks),
        "spectra": spectra,
    }
    return scan, chart


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


def pack(values: ArrayLike, scale: float) -> str:
    """Base64 of 16-bit little-endian integers that, times `scale`, give `values` back within half a step."""
    return base64.b64encode(np.rint(np.asarray(values) / scale).astype("<i2").tobytes()).decode()


def scale_for(*curves: ArrayLike) -> float:
    """Step that lets the largest value of all curves just fit into 16 bits."""
    largest = max(float(np.max(np.abs(curve), initial=0.0)) for curve in curves)
    return (largest or 1.0) / 32767


def spectra_of(path: Path, titles: list[str]) -> dict[str, Any]:
    """Curves of every block for the charts, ascending in chemical shift."""
    with np.load(path, allow_pickle=False) as arrays:
        order = np.argsort(arrays["ppm"])
        curves = {name: arrays[name][..., order] for name in ("data", "fit", "baseline", "components")}
        ppm, names = arrays["ppm"][order], [str(name) for name in arrays["names"]]
    if len(titles) != len(curves["data"]):
        raise InputError(
            f"{path.name}: holds {len(curves['data'])} spectra, the table of fit quality {len(titles)} rows"
        )
    blocks = []
    for number, title in enumerate(titles):
        own = {name: np.nan_to_num(values[number]) for name, values in curves.items()}
        scale = scale_for(*own.values())
        blocks.append({"title": title, "scale": scale, **{name: pack(v, scale) for name, v in own.items()}})
    return {"ppm": np.round(ppm, 4).tolist(), "names": names, "blocks": blocks}


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
    """Quality of the blocks with the verdict on their fits."""
    status = {} if fitted is None else dict(zip(fitted["block"], fitted["status"], strict=True))
    return blocks.assign(fit_status=[status.get(name) for name in blocks["block"]])


def _spectra_controls(spectra: dict[str, Any], titles: list[str]) -> dict[str, Any]:
    main = [n for n, name in enumerate(spectra["names"]) if name in ("Glu", "Gln")]
    return {"names": spectra["names"], "main": main, "titles": titles}


def alignment_of(path: Path) -> dict[str, Any]:
    """Curves and pictures of the transients before and after alignment, ascending in chemical shift."""
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    order = np.argsort(found["ppm"])
    order = order[(found["ppm"][order] > SHOWN_PPM[0]) & (found["ppm"][order] < SHOWN_PPM[1])]
    before, after = found["before"][order], found["after"][order]
    scale = scale_for(before, after)
    columns = np.argsort(found["image_ppm"])
    images = [found[name][:, columns] for name in ("image_before", "image_after")]
    limit = float(np.percentile(images[1], 99.5))
    return {
        "ppm": np.round(found["ppm"][order], 4).astype(float).tolist(),
        "scale": scale,
        "before": pack(before, scale),
        "after": pack(after, scale),
        "image_ppm": [round(float(found["image_ppm"].min()), 4), round(float(found["image_ppm"].max()), 4)],
        "image_minutes": [round(float(v), 3) for v in found["image_minutes"][[0, -1]]],
        "image_before": grey_picture(images[0], limit),
        "image_after": grey_picture(images[1], limit),
    }


def grey_picture(values: NDArray, limit: float) -> str:
    """Base64 of a PNG: first row at the bottom, last column (high ppm) on the left; 0 is white, `limit` black."""
    from PIL import Image

    grey = 255 - np.clip(values / (limit or 1.0) * 255, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(grey[::-1, ::-1].astype(np.uint8) // 16 * 17).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def _is_rejected(table: Any) -> NDArray[np.bool_]:
    return table["rejected"].to_numpy(bool)


def _listed(values: ArrayLike, digits: int = 4) -> list[float | None]:
    return [float(round(v, digits)) if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def _courses(table: Any, blocks: Any) -> dict[str, Any]:
    amplitude = table["amplitude"].to_numpy(float)
    spans = [] if blocks is None else zip(blocks["onset_s"], blocks["duration_s"], strict=True)
    return {
        "minutes": _listed(table["onset_s"].to_numpy(float) / 60),
        "shift_hz": _listed(table["shift_hz"]),
        "phase_deg": _listed(table["phase_deg"], 2),
        "amplitude": _listed(amplitude / (np.nanmedian(amplitude) or 1.0)),
        "rejected": _is_rejected(table).tolist(),
        "reason": table["reason"].fillna("").astype(str).tolist(),
        "blocks": [[round(float(a) / 60, 4), round(float(a + d) / 60, 4)] for a, d in spans],
    }


def _frame_summary(table: Any, session: dict[str, Any]) -> dict[str, Any]:
    rejected = int(_is_rejected(table).sum())
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


def metabolite_tables(table: Any) -> list[dict[str, Any]]:
    """One table per measure that has values: a row per metabolite (sums first), a cell per block."""
    names = list(dict.fromkeys(table["metabolite"]))
    names = [n for n in SUMS if n in names] + [n for n in names if n not in SUMS]
    blocks = list(dict.fromkeys(table["block"]))
    shown = []
    for measure, sd in MEASURES.items():
        if measure not in table or table[measure].isna().all():
            continue
        column = result_tables.tables()["fit"].columns[measure]
        digits = column.digits
        cells = {
            (row["metabolite"], row["block"]): number(float(row[measure]), digits)
            + (f" ± {number(float(row[sd]), digits)}" if sd in row and np.isfinite(row[measure]) else "")
            for row in table.to_dict("records")
        }
        rows = [{"name": name, "cells": [cells.get((name, block), "n/a") for block in blocks]} for name in names]
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
            cells = [{"value": number(v), "word": verdict(v, rule)} for v in map(_plain, values)]
            cells.append({"value": "", "word": ""})
        else:
            value = _plain(session.get(rule["metric"]))
            cells = [{"value": "", "word": ""}] * len(blocks)
            cells.append({"value": number(value), "word": verdict(value, rule)})
        limits = {word: quality_rules.limit_text(rule, word) or "–" for word in ("warn", "exclude")}
        rows.append({"metric": rule["metric"], **limits, "cells": cells})
    return rows


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
