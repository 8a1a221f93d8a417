"""Where trials come from: tables of the literature, and folders of outputs of mrsflow."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table
from mrsflow.pooling.effects import PERCENT, Effect, Measure, effect_of, small_sample
from mrsflow.study import config as study_config

MODERATORS = ("drug", "cohort", "field_t", "voxel", "sequence", "dose")
"""What trials may differ in: columns of the table of trials."""
NUMBERS = ("design", "unit", "n", "n_treated", "n_reference", "estimate", "se", "ci_low", "ci_high", "ci_level",
           "mean_treated", "mean_reference", "sd_treated", "sd_reference", "r", "sd_change", "t", "f", "p", "df",
           "direction", "baseline", "sd")  # fmt: skip
"""Columns that a row with `results` leaves empty."""
TESLA_PER_MHZ = 1 / 42.577
"""Of protons."""
PERCENTS = ("%", "percent", "percentage", "per cent", "% of baseline", "percent of baseline")
OTHER_COLUMNS = {
    (
        "median",
        "iqr",
        "q1",
        "q3",
        "min",
        "max",
        "range",
    ): "medians, quartiles and ranges are no mean and no SD: ask the "
    "authors for these, or convert (doi:10.1186/1471-2288-14-135), and write mean_treated, sd_treated, mean_reference "
    "and sd_reference",
    ("sem", "se_treated", "se_reference"): "se is the standard error of the difference; one of a condition times the "
    "square root of its participants is sd_treated or sd_reference",
    ("df1", "df2", "df_num", "df_den", "ndf", "ddf"): "f has 1 numerator degree of freedom, and df are those of its "
    "denominator; an F of more conditions is no comparison of two: give estimate and se, or t",
    ("p_one", "one_sided", "p1"): "p is two-sided: twice a one-sided one that lies in the direction of the difference",
}
"""Beginnings of columns that look like known ones and are others, and what to do."""


@dataclass(frozen=True)
class Trial:
    """A trial to be pooled.

    Attributes
    ----------
    name, design, unit : str
    effect : Effect
    told : dict
        Outcome, contrast, moderators, sample, registration and source, as far as they are known.
    scans : frozenset of str
        Digests of its raw files, of a study of mrsflow.
    people : tuple
        Sex, age and weight of its participants, of a study of mrsflow.
    remark : str
        What its own row of results says.
    folder : Path, optional
        Of all outputs, of a study of mrsflow.
    """

    name: str
    design: str
    unit: str
    effect: Effect
    told: dict[str, Any]
    scans: frozenset[str] = frozenset()
    people: tuple[tuple[str, ...], ...] = field(default=())
    remark: str = ""
    folder: Path | None = None


def read(sources: Sequence[Path], measure: Measure, contrast: str | None, outcome: str | None) -> list[Trial]:
    """Read trials from folders and tables.

    Parameters
    ----------
    sources : sequence of Path
        Folders of outputs of mrsflow, and tables (`config/schemas/trials.schema.yaml`).
    measure : "percent", "difference" or "standardised"
    contrast, outcome : str, optional
        Which row of the primary analysis of a study to take, where it has several.

    Raises
    ------
    InputError
        All that is wrong, a line each.
    """
    trials, faults = [], []
    for source in sources:
        try:
            if source.is_dir():
                name = source.resolve().parent.name if source.name == "results" else source.name
                trials.append(study(source, measure, {"trial": name}, contrast, outcome))
            else:
                own, wrong = table(source, measure, contrast, outcome)
                trials += own
                faults += wrong
        except InputError as error:
            faults.append(str(error))
    names = [trial.name for trial in trials]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append(
            f"trial {name!r} stands {names.count(name)} times; a trial is one row: choose one comparison, or combine "
            "its arms, or give each trial a name of its own (a folder of outputs is named in a table, column results)"
        )
    if faults:
        raise InputError("\n".join(faults))
    return trials


def table(
    path: Path, measure: Measure, contrast: str | None = None, outcome: str | None = None
) -> tuple[list[Trial], list[str]]:
    """Read a table of trials: the trials, and what is wrong with the other rows, a line each.

    Raises
    ------
    InputError
        The file cannot be read, or has a column that is not known.
    """
    cells = read_table(path, text_columns=True, line_numbers=True)
    rules = study_config.schema("trials")["properties"]
    if "trial" not in cells:
        found = ", ".join(c for c in cells if c != "line")
        raise InputError(
            f"{path}: column 'trial' is missing; the first line has {found}: write the names of the columns there, "
            "with tabs (.tsv) or commas (.csv) between them"
        )
    for column in cells:
        if column not in (*rules, "line"):
            raise InputError(f"{path}: unknown column {column!r}; {_hint(str(column), list(rules))}")
    if cells.empty:
        raise InputError(f"{path}: has no rows; write one for each trial")
    trials, faults = [], []
    for row in cells.to_dict("records"):
        where = f"{path}, line {row.pop('line')}"
        given = {name: value for name, value in row.items() if isinstance(value, str)}
        where += f" ({given['trial']})" if "trial" in given else ""
        try:
            trials.append(_row(given, path, where, measure, contrast, outcome))
        except InputError as error:
            faults += [line if line.startswith(where) else f"{where}: {line}" for line in str(error).splitlines()]
    return trials, faults


def _hint(column: str, known: Sequence[str]) -> str:
    """Say what to do with a column that is not known."""
    own = column.strip().lower()
    for beginnings, hint in OTHER_COLUMNS.items():
        if own.startswith(beginnings):
            return hint
    near = difflib.get_close_matches(own, known, 1)
    return f"did you mean {near[0]!r}?" if near else "see docs/pooling.md for the columns there are"


def _row(
    given: dict[str, str], path: Path, where: str, measure: Measure, contrast: str | None, outcome: str | None
) -> Trial:
    row = _typed(given, where)
    if "results" not in row:
        effect = effect_of(row, measure)
        told = {name: row[name] for name in ("outcome", "contrast", *MODERATORS, "sample", "registration", "source")
                if name in row}  # fmt: skip
        return Trial(row["trial"], row["design"], row["unit"], effect, told)
    if own := [name for name in NUMBERS if name in row]:
        raise InputError(f"{own[0]} and results are given; the numbers are those of the study: empty {', '.join(own)}")
    folder = Path(row["results"])
    return study(folder if folder.is_absolute() else path.parent / folder, measure, row, contrast, outcome)


def _typed(given: Mapping[str, str], where: str) -> dict[str, Any]:
    """Give the cells of a row the types of the schema."""
    rules, row = study_config.schema("trials")["properties"], dict[str, Any](given)
    for name, text in given.items():
        kind = rules[name].get("type")
        if name == "unit":
            if text.lower() in PERCENTS:
                row[name] = PERCENT
            elif "%" in text or "percent" in text.lower():
                raise InputError(f"unit is {text!r}; write percent, or the unit of the numbers if they are in another")
        if kind in ("number", "integer"):
            row[name] = _number(name, text, kind)
    study_config.check(row, "trials", where, "see docs/pooling.md")
    return row


def _number(name: str, text: str, kind: str) -> float | int:
    try:
        value = float(text.replace("−", "-"))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{name} is {text!r}, {_no_number(name, text)}")
    return int(value) if kind == "integer" and value == int(value) else value


def _no_number(name: str, text: str) -> str:
    """Say what a cell holds that should hold a number, and what to do."""
    if "<" in text or ">" in text:
        return "a bound; a number is needed: give t, or the estimate with its interval, and empty this cell"
    if "%" in text:
        return "a percentage; write the number alone, and percent into unit"
    if "," in text and name in ("f", "df"):
        return (
            "more than one number; f has 1 numerator degree of freedom and df are those of its denominator: of an F of "
            "more conditions give estimate and se, or t, of the two that are compared"
        )
    if "±" in text or "+/-" in text or "(" in text or ";" in text or " to " in text:
        return "more than one number; write each into its own column (docs/pooling.md), as se, ci_low, ci_high or df"
    if "," in text:
        both = "." in text
        return "no number; " + ("leave out the comma" if both else "write a point for the decimal comma")
    if text[:1].isdigit():
        return "no number; write the number alone"
    return "no number; correct or empty the cell"


def study(
    folder: Path, measure: Measure, row: Mapping[str, Any], contrast: str | None = None, outcome: str | None = None
) -> Trial:
    """Read the primary result of a study of mrsflow.

    Parameters
    ----------
    folder : Path
        Of all outputs.
    measure : "percent", "difference" or "standardised"
    row : mapping
        ``trial``, and what else a table says of it.
    contrast, outcome : str, optional
        Which of several to take.

    Raises
    ------
    InputError
        No group tables, masked arms, several contrasts of which none is named, or no estimate.
    """
    if not (folder / "group/headline.json").is_file() and (folder / "results/group/headline.json").is_file():
        folder = folder / "results"
    headline = _headline(folder)
    result = _primary(folder, row.get("contrast", contrast), row.get("outcome", outcome))
    estimate, se, n = float(result["estimate"]), float(result["se"]), int(result["n_participants"])
    how = f"primary analysis, {result['df_method']}"
    if measure == "percent":
        width = result["ci_high"] - result["ci_low"]
        factor = (result["percent_ci_high"] - result["percent_ci_low"]) / width
        how += "; percent of the mean baseline, taken as known"
        _refuse_missing(factor, folder, "percent_of_baseline")
        effect = Effect(factor * estimate, factor * se, float(result["df"]), n, how)
    elif measure == "standardised":
        _refuse_missing(result["g_av"], folder, "g_av")
        effect = _standardised(result, n, headline["design"], how)
    else:
        effect = Effect(estimate, se, float(result["df"]), n, how)
    told = {name: row[name] for name in (*MODERATORS, "sample", "registration", "source") if name in row}
    told |= {"outcome": result["outcome"], "contrast": result["contrast"]}
    told = _protocols(folder) | told
    # in its own units a difference of two outcomes is not the same thing
    unit = {"percent": PERCENT, "standardised": "sd"}.get(measure, f"units of {result['outcome']}")
    remark = result["remark"] if isinstance(result["remark"], str) else ""
    return Trial(
        str(row["trial"]), headline["design"], unit, effect, told, _scans(folder), _people(folder), remark, folder
    )


def _headline(folder: Path) -> dict[str, Any]:
    place = folder / "group/headline.json"
    if not place.is_file():
        raise InputError(
            f"{folder}: has no group/headline.json, so it is no folder of outputs of mrsflow; name the folder that "
            "output: of the study's configuration names, after a run"
        )
    headline = read_json(place)
    if headline.get("masked", True):
        raise InputError(
            f"{folder}: arms are masked, so there is no contrast to pool; set study.freeze to true in its "
            "configuration when its analysis is final, and run it"
        )
    return headline


def _primary(folder: Path, contrast: str | None, outcome: str | None) -> dict[str, Any]:
    """Row of the primary analysis, by its names where there are several."""
    place = folder / "group/contrasts.tsv"
    found = result_tables.read(place)
    found = found[found["analysis"].isin(["primary", "secondary"])]
    rows = found[found["analysis"] == "primary"] if outcome is None else found[found["outcome"] == outcome]
    if rows.empty:
        known = ", ".join(dict.fromkeys(found["outcome"].dropna()))
        raise InputError(f"{place}: has no {'primary row' if outcome is None else repr(outcome)}; it has {known}")
    named = rows if contrast is None else rows[rows["contrast"] == contrast]
    known = ", ".join(map(repr, dict.fromkeys(rows["contrast"])))
    if named.empty:
        raise InputError(f"{place}: has no contrast {contrast!r}; it has {known}")
    if len(named) > 1:
        raise InputError(f"{place}: has the contrasts {known}; name one with --contrast, or in column contrast")
    row = named.iloc[0].to_dict()
    if not np.isfinite([row["estimate"], row["se"], row["df"]]).all() or not row["se"] > 0:
        raise InputError(f"{place}: {row['contrast']} has no estimate ({row['remark']}); leave the study out")
    return row


def _refuse_missing(value: float, folder: Path, column: str) -> None:
    if not np.isfinite(value):
        raise InputError(
            f"{folder}: the primary row has no {column}; pool with another --measure, or leave the study out"
        )


def _standardised(result: Mapping[str, Any], n: int, design: str, how: str) -> Effect:
    """Hedges' g of the study with a standard error as those of the literature have it."""
    if result["estimate"] == 0:
        raise InputError("the estimate is exactly 0, so that its SD cannot be told; pool in percent")
    ratio = abs(result["g_av"] / result["estimate"]) * result["se"]
    ratio /= small_sample(max(n - 1 - (design == "parallel"), 2))
    g = float(result["g_av"])
    return Effect(g, float(np.sqrt(ratio**2 + g**2 / (2 * n))), float(result["df"]), n, f"{how}; g_av")


def _protocols(folder: Path) -> dict[str, Any]:
    """Field strength and sequence, where all protocols of the study have the same."""
    place = folder / "report/configuration.yaml"
    if not place.is_file():
        return {}
    protocols = study_config.read(place).get("protocols", {}).values()
    fields = {round(2 * TESLA_PER_MHZ * p["spectrometer_frequency_mhz"]) / 2 for p in protocols}
    sequences = {p["sequence"] for p in protocols}
    return ({"field_t": fields.pop()} if len(fields) == 1 else {}) | (
        {"sequence": sequences.pop()} if len(sequences) == 1 else {}
    )


def _scans(folder: Path) -> frozenset[str]:
    """Digests of the raw files that were converted."""
    found: set[str] = set()
    for path in sorted((folder / "status/convert").glob("sub-*.json")):
        for content in read_json(path).get("inputs", {}).values():
            found |= set(content.values()) if isinstance(content, dict) else {content}
    return frozenset(filter(None, found))


def _people(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Sex, age and weight of the participants, where all three are known."""
    place = folder / "bids/participants.tsv"
    if not place.is_file():
        return ()
    cells = read_table(place, text_columns=True)
    columns = [name for name in ("sex", "age", "weight") if name in cells]
    if len(columns) < 3:
        return ()
    return tuple(map(tuple, cells[columns].dropna().to_numpy().tolist()))
