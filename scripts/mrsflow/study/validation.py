"""Every cell of the tables against its schema, and the tables against each other: all faults, a line each."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from os.path import normpath
from typing import TYPE_CHECKING, Any

from mrsflow import constants, result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study import layout
from mrsflow.study.clock import seconds_between
from mrsflow.study.config import needs_mean, schema

if TYPE_CHECKING:
    import pandas as pd

NUMERIC = ("number", "integer")
FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d*\.?\d+([eE][+-]?\d+)?$)")
"""Beginning of a text that a spreadsheet runs; a number with a sign is none."""
NOTHING = ("", "na", "n.a", "nan", "none", "null", "nil", "missing", "unknown", "n a")
"""What people write into a cell that has no value, in small letters and without dashes, dots and question marks."""
MOST = 200
"""Faults of one kind that are listed one by one."""


def cells(
    table: "pd.DataFrame", name: str, known: dict[str, Collection[str]], faults: list[str]
) -> tuple["pd.DataFrame", set[str]]:
    """Check each distinct value of a table; columns of numbers become numbers, clock times get two digits each.

    Parameters
    ----------
    table : DataFrame
        Of texts, with ``line``.
    name : str
        samples, participants or sessions.
    known : dict
        Columns whose values must be among these, such as the arms; looked at only for columns that seem swapped.
    faults : list of str
        Gets a line for each fault.

    Returns
    -------
    table : DataFrame
    wrong : set of str
        Columns with a fault, as ``samples.raw``.
    """
    rules = schema(name)
    columns = [column for column in rules["properties"] if column in table]
    found = {column: _checked_values(table, column, rules) for column in columns}
    wrong = {column: bad for column, (_, bad) in found.items() if bad}
    named = {f"{name}.{column}" for column in wrong}
    for first, second in _swapped(table, columns, wrong, rules, known):
        line = table["line"].iloc[0].rpartition(", line")[0] or table["line"].iloc[0]
        faults.append(
            f"{line}: columns {first} and {second} seem to be swapped: {first} holds {_example(table[first])!r} and "
            f"{second} {_example(table[second])!r}; exchange their headings"
        )
        wrong = {column: bad for column, bad in wrong.items() if column not in (first, second)}
        named |= {f"{name}.{first}", f"{name}.{second}"}
    for column in columns:
        faults += shortened(wrong.get(column, []))
    if name != "samples":
        faults += shortened([*_formulas(table[["line", *(c for c in columns if c not in wrong)]])])
    values = {
        column: [mapping.get(text) for text in table[column]]
        for column, (mapping, _) in found.items()
        if rules["properties"][column].get("type") in NUMERIC or _is_clock(rules["properties"][column])
    }
    return table.assign(**values), named


def shortened(faults: list[str]) -> list[str]:
    """Give many faults of one kind in full up to `MOST`, the others as a number."""
    rest = len(faults) - MOST
    return faults if rest <= 1 else [*faults[:MOST], f"and {rest} more like the last line"]


def _formulas(table: "pd.DataFrame") -> Iterator[str]:
    """Texts that a spreadsheet would run when somebody opens an output that holds them."""
    for column in table.columns.drop("line"):
        for line, value in zip(table["line"], table[column], strict=True):
            if isinstance(value, str) and FORMULA.match(value):
                yield (
                    f"{line}: {column} begins with {value[:1]!r}, which spreadsheets take for a formula; write it "
                    "otherwise (n/a where it is missing)"
                )


def _is_clock(rule: dict[str, Any]) -> bool:
    return ":[0-5]" in rule.get("pattern", "")


def _checked_values(table: "pd.DataFrame", column: str, rules: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Distinct texts of a column with their values, and what is wrong with them."""
    rule = rules["properties"][column]
    values: dict[str, Any] = {}
    faults = [f"{line}: {column} is empty; it is needed in every row" for line in _empty(table, column, rules)]
    tell = _teller(rule)
    for text, line in zip(table[column], table["line"], strict=True):
        if text in values or not isinstance(text, str):
            continue
        values[text], said = tell(text)
        if said:
            faults.append(f"{line}: {column}: {said}")
    return values, faults


def _empty(table: "pd.DataFrame", column: str, rules: dict[str, Any]) -> Iterable[str]:
    """Lines in which a needed cell is empty; an image needs no protocol."""
    if column not in rules["required"]:
        return []
    needed = table[~table["role"].isin(layout.ANATOMY)] if column == "protocol" and "role" in table else table
    return needed.loc[needed[column].isna(), "line"]


def _teller(rule: dict[str, Any]) -> Callable[[str], tuple[Any, str]]:
    """Give what reads a text by a rule: its value, and what is wrong with it."""
    from jsonschema import Draft202012Validator

    kind, check = rule.get("type"), Draft202012Validator(rule)

    def tell(text: str) -> tuple[Any, str]:
        value: Any = text
        if kind in NUMERIC:
            try:
                value = float(text)
                if not math.isfinite(value) or (kind == "integer" and value != int(value)):
                    raise ValueError
                value = int(value) if kind == "integer" else value  # a spreadsheet's 1.0
            except ValueError:
                return text, f"{text!r} is not {'a whole number' if kind == 'integer' else 'a number'}{_missing(text)}"
        elif _is_clock(rule) and text[1:2] == ":":
            value = f"0{text}"
        for error in check.iter_errors(value):
            clock = f"{text!r} is no clock time HH:MM:SS (of 24 hours, without date and time zone)"
            said = clock if _is_clock(rule) else error.message
            return value, f"{said}{_missing(text)} ({rule.get('description', '')})"
        return value, ""

    return tell


def _missing(text: str) -> str:
    """Way out for a text that people write where something is missing."""
    return "; write n/a where it is missing" if text.strip(" .-–—?").lower() in NOTHING else ""


def _swapped(
    table: "pd.DataFrame",
    columns: list[str],
    wrong: dict[str, list[str]],
    rules: dict[str, Any],
    known: dict[str, Collection[str]],
) -> Iterator[tuple[str, str]]:
    """Find pairs of columns that are wrong as they are and right under each other's heading."""

    def fits(texts: list[str], column: str) -> bool:
        tell = _teller(rules["properties"][column])
        allowed = known.get(column)
        return bool(texts) and all(not tell(t)[1] and (allowed is None or t in allowed) for t in texts)

    cells = {column: [t for t in table[column].unique() if isinstance(t, str)] for column in columns}
    suspect = [c for c in columns if c in wrong or (c in known and cells[c] and not set(cells[c]) & set(known[c]))]
    used: set[str] = set()
    for first in suspect:
        for second in columns:
            if first == second or {first, second} & used:
                continue
            if not fits(cells[second], second) and fits(cells[first], second) and fits(cells[second], first):
                used |= {first, second}
                yield first, second


def _example(column: "pd.Series") -> str:
    return str(column.dropna().iloc[0])


def across(
    samples: "pd.DataFrame",
    participants: "pd.DataFrame",
    sessions: "pd.DataFrame",
    config: dict[str, Any],
    wrong: set[str],
    faults: list[str],
) -> None:
    """Check tables against each other and against the configuration.

    Parameters
    ----------
    samples, participants, sessions : DataFrame
        With ``line``; `samples` and `sessions` with ``key``.
    config : dict
    wrong : set of str
        Columns with a fault of their own, as ``samples.raw``: what follows from it is not said again.
    faults : list of str
        Gets a line for each fault.
    """
    inputs, study = config["inputs"], config["study"]
    people_in, visits_in = (place_of(inputs, name) for name in ("participants", "sessions"))
    twice = [
        *_repeats(participants, ["participant"]),
        *_repeats(sessions, ["participant", "session"]),
        *_repeats(samples, [c for c in ("participant", "session", "role", *layout.SERIES, "run") if c in samples]),
    ]
    faults += twice or shortened([*_same_files(samples, config["protocols"])])
    people = set(participants["participant"])
    if not wrong & {"participants.participant", "samples.participant", "sessions.participant"}:
        strangers = [*_unknown(samples, "participant", people, people_in)]
        others = sessions[~sessions["participant"].isin(samples["participant"])]
        strangers += _unknown(others, "participant", people, people_in)
        faults += shortened(strangers)
        if not (strangers or twice or wrong & {"samples.session", "sessions.session"}):
            faults += shortened([*_unknown(samples, "key", set(sessions["key"]), visits_in)])
    if "samples.protocol" not in wrong:
        faults += shortened([*_unknown(samples, "protocol", config["protocols"], "protocols of the configuration")])
    if not twice and not wrong & {"sessions.visit", "sessions.arm"}:
        faults += shortened([*_unknown(sessions, "arm", study["conditions"], "study.conditions")])
        faults += shortened([*_other_arms(samples, sessions, visits_in)])
        again = sessions[sessions.duplicated(["participant", "visit"])]
        faults += shortened(
            [f"{row.line}: participant {row.participant!r} has visit {row.visit} twice" for row in again.itertuples()]
        )
        faults += shortened([*_design(sessions, study)])
    if not twice and not config["inputs"]["bids"]:
        faults += shortened([*_unlike_protocol(samples, config["protocols"], wrong)])
    if not twice:
        faults += _several_series(samples)
        faults += shortened([*_unlike_runs(samples, config["protocols"])])


def constants_of_another_field(config: dict[str, Any], samples: "pd.DataFrame") -> list[str]:
    """Protocols with water to scale by, at whose field the constants that the configuration names are not known."""
    name = config["fit"]["constants"]
    scaled = set(samples.loc[samples["role"] == "mrsref", "key"])
    used = samples.loc[(samples["role"] == "svs") & samples["key"].isin(scaled), "protocol"].dropna().unique()
    fields = {protocol: config["protocols"].get(protocol, {}).get("spectrometer_frequency_mhz") for protocol in used}
    return [
        f"fit.constants is {name}, which holds at {constants.fields_of(name)} T, and protocols.{protocol} is of "
        f"{mhz / constants.GAMMA_1H:.2g} T; choose a set for that field (there is "
        f"{constants.sets_at(mhz) or 'none: leave the key out, and use ratios'})"
        for protocol, mhz in fields.items()
        if mhz and constants.relaxation_at(name, mhz) is None
    ]


def place_of(inputs: dict[str, Any], name: str) -> str:
    """Where the rows of a table stand, for messages."""
    if not inputs["bids"]:
        return inputs[name]
    return f"{inputs['bids']}/{'participants.tsv' if name == 'participants' else 'sub-*/sub-*_sessions.tsv'}"


def _repeats(table: "pd.DataFrame", columns: list[str]) -> list[str]:
    given = table[table[columns].notna().any(axis=1)]
    faults = []
    same = given[columns].astype(object).fillna("")
    for index, row in given[same.duplicated()].iterrows():
        first = given[(same == same.loc[index]).all(axis=1)]["line"].iloc[0]
        values = ", ".join(f"{c} {row[c]!r}" for c in columns if isinstance(row[c], str))
        ways = " or number them in column run" if "role" in columns else ""
        faults.append(f"{row['line']}: repeats {first} ({values}); remove one{ways}")
    return shortened(faults)


DISJOINT = ({"odd", "even"}, {"first half", "second half"}, {"edit off", "edit on"})
"""Values of a protocol's key use_frames that choose different frames of one file."""


def _disjoint(first: str, second: str) -> bool:
    """Whether two values of use_frames choose different frames of any file.

    >>> _disjoint("odd", "even"), _disjoint("1 of each 4 from 3", "2 of each 4"), _disjoint("odd", "all")
    (True, True, False)
    """
    if {first, second} in DISJOINT:
        return True
    turns = [[int(n) for n in re.findall(r"\d+", rule)] for rule in (first, second) if " of each " in rule]
    if len(turns) < 2:
        return False
    whole = range(math.lcm(*(length for _, length, *_ in turns)))
    chosen = [{n for n in whole if (n + 1 - (rest[0] if rest else 1)) % size < count} for count, size, *rest in turns]
    return not chosen[0] & chosen[1]


def _same_files(samples: "pd.DataFrame", protocols: dict[str, Any]) -> Iterator[str]:
    """Raw files in two rows of one role, unless their protocols choose different frames."""
    seen: dict[tuple[str, str], list[Any]] = {}
    for row in samples[~samples["role"].isin(layout.ANATOMY) & samples["raw"].notna()].itertuples():
        name = " | ".join(normpath(part.strip()) for part in row.raw.split("|"))
        others = seen.setdefault((row.role, name), [])
        for other in others:
            rules = [str(protocols.get(each.protocol, {}).get("use_frames")) for each in (row, other)]
            if row.role != "mrsref" and _disjoint(*rules):
                continue
            yield (
                f"{row.line}: repeats {other.line} (raw {row.raw!r}); remove one, correct the path, or, where the rows "
                "are the two conditions of an edited scan, give them protocols whose use_frames are edit off and edit "
                "on (or odd and even, first half and second half)"
            )
            break
        others.append(row)


def _unknown(table: "pd.DataFrame", column: str, known: Iterable[str], where: str) -> Iterator[str]:
    from difflib import get_close_matches

    names = list(known)
    wrong = table[table[column].notna() & ~table[column].isin(names)]
    counts = wrong[column].value_counts()
    for row in wrong.drop_duplicates(column).itertuples():
        value = getattr(row, column)
        more = f" (and in {counts[value] - 1} more rows)" if counts[value] > 1 else ""
        lower = {name.lower(): name for name in map(str, names)}
        near = [name for name in map(str, names) if name.lstrip("0") == str(value).lstrip("0")]  # a spreadsheet's work
        near += [lower[name] for name in get_close_matches(str(value).lower(), lower, n=1, cutoff=0.8)]
        listed = f" ({', '.join(names)})" if column in ("arm", "protocol") else ""
        hint = f"; did you mean {near[0]!r}?" if near else f"; {WAYS[column]}"
        yield f"{row.line}: {column} {value!r}{more} is not in {where}{listed}{hint}"


WAYS = {
    "participant": "add a row for it there, or correct it",
    "key": "add a row for this session there, or correct it",
    "protocol": "add an entry of that name there, or correct it",
    "arm": "correct it, or add it there",
}
"""What to do about a name that another place does not have."""


def _other_arms(samples: "pd.DataFrame", sessions: "pd.DataFrame", where: str) -> Iterator[str]:
    if "condition" not in samples:
        return
    arms = samples["key"].map(sessions.drop_duplicates("key").set_index("key")["arm"])
    for row in samples[samples["condition"].notna() & arms.notna() & (samples["condition"] != arms)].itertuples():
        yield (
            f"{row.line}: condition {row.condition!r} differs from the arm of {row.key} in {where}; correct one of them"
        )


def _design(sessions: "pd.DataFrame", study: dict[str, Any]) -> Iterator[str]:
    """Sessions that the design does not have: an arm twice in a crossover, two sessions or arms in a parallel trial."""
    known = sessions[sessions["arm"].isin(study["conditions"])].drop_duplicates(["participant", "session"])
    if study["design"] == "crossover" and not study["replicates"]:
        for row in known[known.duplicated(["participant", "arm"])].itertuples():
            first = known[(known["participant"] == row.participant) & (known["arm"] == row.arm)]["line"].iloc[0]
            yield (
                f"{row.line}: participant {row.participant!r} has arm {row.arm!r} twice, first in {first}; a crossover "
                "has each arm once: correct one, take one of the sessions out, or set study.replicates to true where "
                "it was given twice"
            )
    elif study["design"] == "parallel" and not study["baseline_visits"]:
        for row in known[known.duplicated("participant")].itertuples():
            yield (
                f"{row.line}: participant {row.participant!r} has several sessions, and a parallel trial compares one "
                "each; take the others out, name the visits before treatment in study.baseline_visits, or set "
                "study.design to crossover"
            )
    elif study["design"] == "parallel":
        first = known.drop_duplicates("participant").set_index("participant")["arm"]
        for row in known[known["arm"] != known["participant"].map(first)].itertuples():
            yield (
                f"{row.line}: participant {row.participant!r} has arm {row.arm!r} and before it "
                f"{first[row.participant]!r}; in a parallel trial a participant has one arm at every visit, those "
                "before treatment included: correct one"
            )
    yield from _baseline_visits(known, study["baseline_visits"])
    people = sessions["participant"].nunique()
    if study["randomised"] is not None and study["randomised"] < people:
        yield (
            f"study.randomised is {study['randomised']}, and {sessions['line'].iloc[0].rpartition(', line')[0]} has "
            f"sessions of {people} participants; correct one of them"
        )


def _baseline_visits(sessions: "pd.DataFrame", visits: list[int]) -> Iterator[str]:
    """Tell of baseline visits that no session is, and of a trial without any visit after them."""
    if not visits or sessions.empty:
        return
    there = sorted(sessions["visit"].dropna().astype(int).unique())
    where = f"{sessions['line'].iloc[0].rpartition(', line')[0]} has visits {', '.join(map(str, there))}"
    if gone := [visit for visit in visits if visit not in there]:
        yield f"study.baseline_visits names {gone[0]}, and {where}; correct one of them"
    elif set(there) <= set(visits):
        yield (
            f"study.baseline_visits names {', '.join(map(str, visits))}, and {where}: no visit is left to compare with "
            "them; take one out of study.baseline_visits"
        )


def _several_series(samples: "pd.DataFrame") -> list[str]:
    """Sessions that hold two series of spectra, and a study of two voxels."""
    entities = [entity for entity in layout.SERIES if entity in samples]
    spectra = samples[samples["role"] == "svs"]
    if not entities or spectra.empty:
        return []
    labels = spectra[entities].astype(object).where(spectra[entities].notna(), None)
    series = labels.apply(tuple, axis=1)
    faults: dict[tuple[str, ...], list[str]] = {}
    for key, rows in series.groupby(spectra["key"], sort=False):
        for first, second in combinations(rows.drop_duplicates().index, 2):
            differing = tuple(e for e in entities if labels.loc[first, e] != labels.loc[second, e])
            said = _series_said(spectra.loc[[first, second], "line"], labels.loc[[first, second]], differing)
            faults.setdefault(differing, []).append(f"{key} holds two series of spectra, {said}")
    found = [
        many[0]
        + (f"; so do {len({said.split(' ', 1)[0] for said in many}) - 1} more sessions" if _spread(many) else "")
        for many in faults.values()
    ]
    if not found and "voi" in labels and labels["voi"].nunique(dropna=False) > 1:
        rows = labels.drop_duplicates("voi").index[:2]
        found = [
            f"sessions differ in their voxel, {_series_said(spectra.loc[rows, 'line'], labels.loc[rows], ('voi',))}"
        ]
    return found


SAME_IN_RUNS = ("sequence", "echo_time_ms", "repetition_time_ms", "mixing_time_ms")
"""Keys of protocols that runs of one series share, as they are averaged and fitted together."""


def _unlike_runs(samples: "pd.DataFrame", protocols: dict[str, Any]) -> Iterator[str]:
    """Find runs of one series whose protocols measure something else."""
    series = ["key", *(entity for entity in layout.SERIES if entity in samples)]
    known = samples[(samples["role"] == "svs") & samples["protocol"].isin(list(protocols))]
    several = known.groupby(series, dropna=False)["protocol"].transform("nunique") > 1
    for _, rows in known[several].groupby(series, dropna=False, sort=False):
        first = rows.iloc[0]
        for row in rows.drop_duplicates("protocol").iloc[1:].itertuples():
            one, other = protocols[first["protocol"]], protocols[row.protocol]
            differing = [key for key in SAME_IN_RUNS if one.get(key) != other.get(key)]
            if {one["use_frames"], other["use_frames"]} == {"edit off", "edit on"}:
                differing.append("use_frames")
            if differing:
                values = " and ".join(f"{key} ({one.get(key)} and {other.get(key)})" for key in differing)
                yield (
                    f"{row.line}: is another run of the series of {first['line']}, and their protocols "
                    f"{first['protocol']} and {row.protocol} differ in {values}; give the rows a task each and choose "
                    "one with inputs.select, or leave one out"
                )


AS_IN_PROTOCOL = {
    "echo_time_ms": 0.1,
    "repetition_time_ms": 0.1,
    "mixing_time_ms": 0.1,
    "spectrometer_frequency_mhz": 0.0,
}
"""Columns of the samples table that a protocol states too, with the least difference; or a hundredth (see `checks`)."""


def _unlike_protocol(samples: "pd.DataFrame", protocols: dict[str, Any], wrong: Collection[str]) -> Iterator[str]:
    """Values of the samples table that contradict those of their protocol, as one in another unit does."""
    known = samples[samples["protocol"].isin(list(protocols))]
    for column in (name for name in AS_IN_PROTOCOL if name in samples and f"samples.{name}" not in wrong):
        for row in known[known[column].notna()].to_dict("records"):
            stated = protocols[row["protocol"]].get(column)
            if stated and abs(row[column] - stated) > max(0.01 * stated, AS_IN_PROTOCOL[column]):
                yield (
                    f"{row['line']}: {column} is {row[column]:g}, and protocols.{row['protocol']}.{column} is "
                    f"{stated:g}; correct one of them, or give this scan a protocol of its own"
                )


def _spread(many: list[str]) -> bool:
    return len({said.split(" ", 1)[0] for said in many}) > 1


def _series_said(lines: "pd.Series", labels: "pd.DataFrame", differing: tuple[str, ...]) -> str:
    """Two series by their rows, how they differ, and how to choose one."""
    values = " and ".join(f"{e} ({', '.join(str(v or 'none') for v in labels[e])})" for e in differing)
    choice = ", ".join(f"{e}: {labels[e].iloc[0] or 'null'}" for e in differing)
    return (
        f"{lines.iloc[0]} and {lines.iloc[1]}, which differ in {values}; choose one with inputs.select, as {{{choice}}}"
        ", and give the other a configuration with an output of its own"
    )


def mean_of_nothing(samples: "pd.DataFrame", protocols: dict[str, Any]) -> Iterator[str]:
    """Macromolecules that are the mean of scans of role mm where there is no such scan."""
    if (samples["role"] == "mm").any():
        return
    for row in samples[samples["role"] == "svs"].drop_duplicates("protocol").itertuples():
        if row.protocol in protocols and needs_mean(protocols[row.protocol], own=False):
            yield (
                f"{row.line}: there is no scan of role mm, and protocols.{row.protocol}.macromolecules is "
                f"{protocols[row.protocol]['macromolecules']!r}; add a metabolite-nulled scan, or say `default`"
            )


def missing_scores(group: dict[str, Any], sessions: "pd.DataFrame", where: str) -> Iterator[str]:
    """Time points of the scale of mood that the sessions table does not have."""
    scale = group["mood_scale"]
    scores = sorted(c for c in sessions.columns if c.startswith(f"{scale}_"))
    there = f"it has {', '.join(scores)}" if scores else f"it has no scores {scale}_..."
    for key in ("mood_baseline", "mood_followup") if scale is not None else ():
        column = f"{scale}_{group[key]}"
        if column in sessions:
            yield from _no_numbers(sessions, column)
        else:
            yield (
                f"group.{key}: there is no column {column!r} in {where}, {there}; give the scores, correct "
                f"group.mood_scale or group.{key}, or set group.mood_scale to null"
            )


def _no_numbers(sessions: "pd.DataFrame", column: str) -> Iterator[str]:
    """Cells of a column of scores that are no finite numbers."""
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(sessions[column], errors="coerce").astype(float)
    for row in sessions[sessions[column].notna() & ~np.isfinite(values)].to_dict("records"):
        yield f"{row['line']}: {column} is {row[column]!r}; a finite number is needed, or n/a where it is missing"


def missing_followups(group: dict[str, Any], sessions: "pd.DataFrame", where: str) -> Iterator[str]:
    """Scores of further clinical outcomes that the sessions table does not have, and scales named twice."""
    scales = [entry["scale"] for entry in group["clinical"]]
    if twice := [name for name in scales if scales.count(name) > 1]:
        yield f"group.clinical has scale {twice[0]!r} twice; put its follow-ups into one entry"
    for entry in group["clinical"]:
        scale, times = entry["scale"], (entry["baseline"], *entry["followups"])
        if entry["baseline"] in entry["followups"]:
            yield f"group.clinical: {scale} has {entry['baseline']!r} as baseline and as follow-up; take it out of one"
        scores = sorted(c for c in sessions.columns if c.startswith(f"{scale}_"))
        there = f"it has {', '.join(scores)}" if scores else f"it has no scores {scale}_..."
        for column in (f"{scale}_{time}" for time in times):
            if column in sessions:
                yield from _no_numbers(sessions, column)
            else:
                yield f"group.clinical: there is no column {column!r} in {where}, {there}; correct it, or give them"


EVENT_COLUMNS = {"infusion": "infusion_start", "dose": "dose_time"}
"""Columns of the sessions table by the event that they place."""


def missing_times(
    samples: "pd.DataFrame", sessions: "pd.DataFrame", event: str, inputs: dict[str, Any]
) -> Iterator[str]:
    """Sessions whose time 0 no table gives."""
    from mrsflow.study.events import DATASET, event_onset

    spectra = samples[samples["role"] == "svs"]
    if inputs["bids"]:
        single = ~spectra.duplicated(["key", *layout.SERIES], keep=False)
        for row, alone in zip(spectra.itertuples(), single, strict=True):
            where = str(row.events) if row.events else f"{row.line}: its events table (none was found)"
            try:
                events = read_table(row.events, result_tables.labels("events")) if row.events else None
                event_onset(events, event, alone, where, DATASET)
            except InputError as error:
                yield str(error)
        return
    column = EVENT_COLUMNS.get(event)
    if column is None:
        if event == "start":
            yield from _starts(spectra)
        else:
            yield (
                f"blocks.event {event!r} is not an event that the tables give: infusion (column infusion_start), dose "
                "(dose_time) or start; choose one of these"
            )
        return
    given = sessions[column].notna() if column in sessions else sessions["key"].isna()
    scanned = sessions["key"].isin(spectra["key"])
    if scanned.any() and not given[scanned].any():
        from difflib import get_close_matches

        near = get_close_matches(column, [name for name in sessions if name != column], 1, 0.8)
        yield (
            f"{inputs['sessions']}: has no {column}, which is time 0 of the blocks (blocks.event: {event}); give "
            f"column {column} (HH:MM:SS){f' (rename {near[0]!r} if it is meant)' if near else ''}, or choose another "
            "blocks.event"
        )
        return
    for row in sessions[scanned & ~given].itertuples():
        yield (
            f"{row.line}: {column} is empty, which is time 0 of the blocks (blocks.event: {event}); give the clock "
            "time (HH:MM:SS), or take the scans of this session out of the samples table"
        )


LONGEST_SCAN = 240.0
"""Minutes that no run lasts; clock times further from each other than that are of two sessions, or of two clocks."""


BESIDE = 45.0
"""Minutes beside the blocks that a clock error exceeds, as one of an hour or more does."""


def contradicting_times(samples: "pd.DataFrame", sessions: "pd.DataFrame", blocks: dict[str, Any]) -> Iterator[str]:
    """Infusions that stop before they start, and scans hours away from every block, by clock times of tables."""
    for row in sessions.to_dict("records"):
        start, stop = (row.get(column) for column in ("infusion_start", "infusion_stop"))
        if _is_time(start) and _is_time(stop) and seconds_between(start, stop) <= 0:
            yield f"{row['line']}: infusion_stop {stop} is not after infusion_start {start}; correct one of them"
    column = EVENT_COLUMNS.get(blocks["event"])
    if column not in sessions or "start_time" not in samples:
        return
    visits = sessions.drop_duplicates("key").set_index("key")[[column, "line"]]
    for key, runs in samples[samples["role"] == "svs"].groupby("key", sort=False):
        event = visits[column].get(key)
        if not _is_time(event) or not all(map(_is_time, runs["start_time"])):
            continue
        after = [seconds_between(event, start) / 60 for start in runs["start_time"]]
        if out_of_blocks(after, [LONGEST_SCAN] * len(after), blocks):
            start = f"start_time {runs['start_time'].iloc[0]}"
            yield no_frame(runs["line"].iloc[0], start, after[0], f"{column} {event} ({visits['line'][key]})", blocks)


def out_of_blocks(after: list[float], lasting: list[float], blocks: dict[str, Any]) -> bool:
    """Whether runs that begin some minutes after time 0, and last at most some minutes, are far from every block.

    A session just beside its blocks is no error of a clock; preprocessing says of it that it has no frame in them.

    >>> out_of_blocks([180.0], [48.0], {"bins": {"all": [-20, 60]}})
    True
    """
    first, last = _edges(blocks)
    return all(
        begin >= last + BESIDE or begin + long + BESIDE <= first for begin, long in zip(after, lasting, strict=True)
    )


def no_frame(line: str, start: str, after: float, event: str, blocks: dict[str, Any]) -> str:
    """Fault of a session all of whose runs lie out of the blocks."""
    first, last = _edges(blocks)
    return (
        f"{line}: {start} is {abs(after):.0f} min {'after' if after > 0 else 'before'} {event}, so that no frame lies "
        f"in a block (blocks.bins: {first:g} to {last:g} min); correct one of the times or blocks.bins, or take the "
        "scans of this session out"
    )


def _edges(blocks: dict[str, Any]) -> tuple[float, float]:
    """Where the blocks begin and end (min)."""
    return min(part[0] for part in blocks["bins"].values()), max(part[1] for part in blocks["bins"].values())


def _is_time(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?", text) is not None


def _starts(spectra: "pd.DataFrame") -> Iterator[str]:
    """Find sessions of several runs, of which nothing says whose start is time 0."""
    series = ["key", *(entity for entity in layout.SERIES if entity in spectra)]
    for row in spectra[spectra.duplicated(series)].itertuples():
        yield (
            f"{row.line}: is another run of {row.key}, and blocks.event 'start' is the beginning of one; choose "
            "infusion or dose, with its clock time in the sessions table, or leave one run out"
        )
