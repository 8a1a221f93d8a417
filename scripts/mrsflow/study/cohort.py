"""What the sessions of a study left: their files, their tables read fast, and where sessions were lost."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrsflow import files, result_tables
from mrsflow.errors import InputError
from mrsflow.study import layout, records, variants
from mrsflow.study.covariates import FRACTIONS
from mrsflow.study.layout import (
    BLOCK_QUALITY,
    FIT,
    FIT_QUALITY,
    FIT_TERMS,
    SESSION_QUALITY,
    SIDECAR,
    STAGES,
    TISSUE,
    VOXEL_MAPS,
    SessionKey,
)
from mrsflow.study.study import NO_SPECTRA

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.study import Study

BATCH = 500  # sessions parsed together
KINDS = {"text": "str", "flag": "str", "whole": "float64", "number": "float64"}
COLUMN_OF = {"tCr": "per_tcr", "tNAA": "per_tnaa", "water": "molar_mM"}
SD_OF = {"tCr": "per_tcr_sd", "tNAA": "per_tnaa_sd", "water": "molar_sd"}
TERM_COLUMNS = {
    "": ("estimate", "sd", "correlation"),
    "tCr": ("per_tcr", "per_tcr_sd", "per_tcr_correlation"),
    "tNAA": ("per_tnaa", "per_tnaa_sd", "per_tnaa_correlation"),
    "water": ("molar_mM", "molar_sd", "molar_correlation"),
}
"""Columns of a term by denominator: its value, SD, and the correlation of its error with that of the level."""
MEASURES = ("amplitude", "sd", "sd_percent", *COLUMN_OF.values(), *SD_OF.values())


@dataclass(frozen=True)
class SessionFiles:
    """What a finished session left."""

    key: str
    paths: dict[str, list[Path]]


def finished(status: list[Path]) -> tuple[list[str], dict[str, str]]:
    """Read the batch tables of the fit stage.

    Returns
    -------
    keys : list of str
        Sessions with status ``ok``, in order.
    lost : dict
        The others and why.
    """
    ok, lost = set(), {}
    for path in status:
        for line in csv.DictReader(io.StringIO(_text(path)), delimiter="\t"):
            if line["status"] == "ok":
                ok.add(line["session"])
            else:
                lost[line["session"]] = line["reason"]
    return sorted(ok), dict(sorted(lost.items()))


@dataclass(frozen=True)
class Loss:
    """Where a session was lost, and why; the stage is empty where it never had spectra."""

    stage: str
    reason: str


def losses(output: Path, study: "Study", lost: dict[str, str]) -> dict[str, Loss]:
    """Find where each session was lost: the first stage that did not end well, of those without spectra none.

    Parameters
    ----------
    output : Path
    study : Study
    lost : dict
        Sessions that were not fitted, and what the fit stage says of them; it holds where there is no record.
    """
    scanned = set(study.keys)
    found = {key: Loss("", "no row in the samples table") for key in study.sessions["key"] if key not in scanned}
    found |= {key: Loss("", NO_SPECTRA) for key in study.without_spectra}
    for key, said in lost.items():
        if key in found:
            continue
        known = {stage: records.read_record(output, stage, key) for stage in STAGES}
        bad = [(stage, r) for stage, r in known.items() if r is not None and r["status"] != "ok"]
        found[key] = Loss(bad[0][0], bad[0][1]["reason"]) if bad else Loss(STAGES[-1], said)
    return found


def recorded(output: Path, keys: list[str], stage: str = "fit") -> tuple[list[str], dict[str, str]]:
    """Read from the records of the fit stage, or of that of a variant, what `finished` reads from its batch tables."""
    ok, lost = [], {}
    for key in keys:
        record = records.read_record(output, stage, key)
        if record is None:
            lost[key] = "not run"
        elif record["status"] == "ok":
            ok.append(key)
        else:
            lost[key] = record["reason"]
    return sorted(ok), dict(sorted(lost.items()))


def locate(output: Path, keys: list[str], fitter: str | None = None, variant: str = "") -> list[SessionFiles]:
    """Find the files of finished sessions through their records, under the names of the first fitter.

    Parameters
    ----------
    output : Path
    keys : list of str
    fitter : str, optional
        One beside the first, whose files stand in the place of those of the first.
    variant : str
        Of preprocessing and basis set (`mrsflow.study.variants`), whose files stand in the place of the study's.

    Raises
    ------
    InputError
        A record names no such file.
    """
    found = []
    for key in keys:
        paths: dict[str, list[Path]] = {}
        for stage, endings in (
            ("fit", (FIT, FIT_QUALITY, FIT_TERMS)),
            ("preprocess", (BLOCK_QUALITY, SESSION_QUALITY, SIDECAR)),
        ):
            try:
                outputs = records.outputs_of(output, variants.stage_of(stage, variant), key)
            except records.Skipped as error:
                raise InputError(f"{key}: {error}; run stage {stage} again") from None
            for ending in endings:
                named = layout.of_fitter(ending, fitter) if stage == "fit" else ending
                paths[ending] = [p for p in outputs if p.name.endswith(named)]
                if not paths[ending] and ending not in (SIDECAR, FIT_TERMS):
                    raise InputError(f"{key}: stage {stage} left no {named}; run it again")
        found.append(SessionFiles(key, paths))
    return found


def read_tables(
    sessions: list[SessionFiles], ending: str, columns: tuple[str, ...], only: set[str] | None = None
) -> "pd.DataFrame":
    """Read one table of every session below each other, parsed in batches.

    Parameters
    ----------
    sessions : list of SessionFiles
    ending : str
        Which table.
    columns : tuple of str
        Columns to read; those that a table lacks are missing in the result.
    only : set of str, optional
        Metabolites to keep.

    Returns
    -------
    DataFrame
        With ``key`` of the session (categorical).
    """
    import pandas as pd

    parts, name = [], result_tables.name_of(ending)
    for first in range(0, len(sessions), BATCH):
        for header, chunk in _by_header(sessions[first : first + BATCH], ending):
            counts = [text.count("\n") for _, text in chunk]
            part = _parse(header, chunk, columns, name)
            part.insert(0, "key", np.repeat([key for key, _ in chunk], counts))
            parts.append(part[part["metabolite"].isin(only)] if only is not None else part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["key", *columns])


def _by_header(sessions: list[SessionFiles], ending: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    by_header: dict[str, list[tuple[str, str]]] = {}
    for session in sessions:
        for path in session.paths[ending]:
            header, _, body = _text(path).partition("\n")
            body = body if body.endswith("\n") or not body else body + "\n"
            by_header.setdefault(header, []).append((session.key, body))
    yield from by_header.items()


def _parse(header: str, chunk: list[tuple[str, str]], columns: tuple[str, ...], name: str) -> "pd.DataFrame":
    import pandas as pd

    names = header.split("\t")
    wanted = [c for c in columns if c in names]
    known = result_tables.tables()[name].columns
    kinds = {c: KINDS[known[c].type if c in known else "text"] for c in wanted}
    settings = {"sep": "\t", "names": names, "usecols": wanted, "dtype": kinds, "na_values": ["n/a", ""]}
    settings |= {"keep_default_na": False, "quoting": csv.QUOTE_NONE, "skip_blank_lines": False}
    try:
        return pd.read_csv(io.StringIO("".join(text for _, text in chunk)), **settings)[wanted]
    except ValueError:
        for key, text in chunk:
            try:
                pd.read_csv(io.StringIO(text), **settings)
            except ValueError as error:
                raise InputError(f"{key}: a table of the fit cannot be read ({error}); run the fit again") from None
        raise


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", newline="\n") as file:  # noqa: PTH123 (twice as fast for many small files)
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def session_values(sessions: list[SessionFiles]) -> "pd.DataFrame":
    """Scalars of the session quality files, one row per session, with ``participant`` and ``session``."""
    import pandas as pd

    rows = []
    for item in sessions:
        content = files.read_json(item.paths[SESSION_QUALITY][0])
        scalars = {k: v for k, v in content.items() if not isinstance(v, list | dict)}
        rows.append({"key": item.key, **scalars, **SessionKey.of(item.key)._asdict()})
    return pd.DataFrame(rows)


def vendors(sessions: list[SessionFiles]) -> dict[str, str]:
    """Manufacturer of the scanner of each session, where the sidecar says."""
    found = {}
    for item in sessions:
        for path in item.paths[SIDECAR]:
            name = files.read_json(path).get("Manufacturer")
            if isinstance(name, str):
                found[item.key] = name
    return found


def in_voxels(output: Path, keys: list[str]) -> "pd.DataFrame":
    """Read what the voxels of sessions hold: the means of their scans, a row per session that has a value of any.

    Returns
    -------
    DataFrame
        By ``key``: GM, WM and CSF where tissue was measured, and a column for each map.
    """
    import pandas as pd

    found: dict[str, dict[str, float]] = {}
    for key in keys:
        record = records.read_record(output, "measure_tissue", key) or {"outputs": {}}
        for name in record["outputs"]:
            if not name.endswith((TISSUE, VOXEL_MAPS)):  # maps and transforms beside the tables
                continue
            table = result_tables.read(output / name)
            known = table[table["status"] != "fail"]
            of_maps = name.endswith(VOXEL_MAPS)
            means = known.groupby("map")["mean"].mean() if of_maps else known[list(FRACTIONS)].mean()
            found.setdefault(key, {}).update(means.dropna())
    return pd.DataFrame.from_dict(found, orient="index", dtype=float)


def sources_of_amounts(output: Path, sessions: list[SessionFiles]) -> dict[str | None, int]:
    """Count sessions with amounts by water by what made their maps of tissue; None: tissue was assumed."""
    scaled = read_tables(sessions, FIT_QUALITY, ("tissue",))
    found: dict[str | None, int] = {}
    for key in scaled.dropna()["key"].unique() if "tissue" in scaled else ():
        record = records.read_record(output, "measure_tissue", key) or {"outputs": {}}
        tables = [result_tables.read(output / name) for name in record["outputs"] if name.endswith(TISSUE)]
        known = [source for table in tables for source in table.loc[table["status"] != "fail", "source"]]
        source = known[0] if known else None
        found[source] = found.get(source, 0) + 1
    return found


def long_text(sessions: list[SessionFiles], design: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Lines of the long table: visit and arm before the columns of the fit, one row per block and metabolite.

    Parameters
    ----------
    sessions : list of SessionFiles
    design : dict
        Visit and arm of each session key.

    Raises
    ------
    InputError
        The tables of two sessions differ in their columns.
    """
    first = None
    for item in sessions:
        prefix = "\t".join(design[item.key]) + "\t"
        for path in item.paths[FIT]:
            header, _, body = _text(path).partition("\n")
            if first is None:
                first = header
                yield f"visit\tarm\t{header}\n"
            elif header != first:
                raise InputError(f"{path.name}: its columns differ from those of other sessions; run the fit again")
            yield "".join(f"{prefix}{line}\n" for line in body.splitlines())


def outcome_table(fits: "pd.DataFrame", outcomes: list[str]) -> "pd.DataFrame":
    """One row per block with each outcome, from the tidy table of the fits.

    Parameters
    ----------
    fits : DataFrame
        key, block, phase, onset_s, duration_s, spectrum, metabolite and the measures.
    outcomes : list of str
        Such as ``Glx/tNAA``; the denominators tCr, tNAA and water (mM) have columns of their own, others are ratios of
        amplitudes without standard deviation; a name without denominator is the amplitude. Outcomes that the fits do
        not have are left out.

    Raises
    ------
    InputError
        A block twice, or an infinite value.
    """
    by_metabolite = {str(name): part.set_index(["key", "block"]) for name, part in fits.groupby("metabolite")}
    for part in by_metabolite.values():
        if part.index.has_duplicates:
            key, block = part.index[part.index.duplicated()][0]
            raise InputError(f"{key}: block {block!r} stands twice in the table of fits; give each block once")
    identity = ["phase", "onset_s", "duration_s", "spectrum"]
    blocks = fits.drop_duplicates(["key", "block"]).set_index(["key", "block"])[identity].copy()
    for outcome in outcomes:
        numerator, _, denominator = outcome.partition("/")
        if fits.empty:  # no session was fitted: the table has its columns all the same
            blocks[outcome] = blocks[f"{outcome} sd"] = np.empty(0)
        own = by_metabolite.get(numerator)
        if own is None:
            continue
        if denominator in COLUMN_OF:
            value, sd = own.get(COLUMN_OF[denominator]), own.get(SD_OF[denominator])
        elif not denominator:
            value, sd = own["amplitude"], own["sd"]
        elif denominator in by_metabolite:
            value, sd = own["amplitude"] / by_metabolite[denominator]["amplitude"], None
        else:
            continue
        if value is None or value.isna().all():
            continue
        if np.isinf(value).any():
            key, block = value.index[np.isinf(value)][0]
            raise InputError(f"{key}: {outcome} of block {block!r} is infinite; its denominator is 0 there")
        blocks[outcome] = value
        blocks[f"{outcome} sd"] = np.nan if sd is None else sd
    return blocks.reset_index()
