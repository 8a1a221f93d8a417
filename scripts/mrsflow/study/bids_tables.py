"""Participants, sessions and scores of a BIDS dataset, whose tables may be there, in part, or not at all."""

import datetime
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study import layout
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    import pandas as pd

SEXES = {"male": "M", "m": "M", "female": "F", "f": "F", "other": "O", "o": "O"}


def paths(root: Path) -> list[Path]:
    """Tables of a dataset that are read."""
    found = [root / "participants.tsv", root / "sessions.tsv", *sorted(root.glob("sub-*/sub-*_sessions.tsv"))]
    return [path for path in [*found, *sorted((root / "phenotype").glob("*.tsv"))] if path.is_file()]


def read(
    config: dict[str, Any], scanned: list[str], used: Collection[str], faults: list[str], keys: Collection[str] | None
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Read participants and sessions; what a table does not say is taken from where it is certain.

    Parameters
    ----------
    config : dict
    scanned : list of str
        Sessions with files of spectroscopy.
    used : collection of str
        Those whose scans are used; they need an arm and a visit.
    faults : list of str
        Gets a line for each cell that is needed and nowhere said.
    keys : collection of str, optional
        Sessions to keep.
    """
    import pandas as pd

    root = Path(config["inputs"]["bids"])
    participants = _participants(root, {SessionKey.of(key).participant for key in scanned}, faults, keys is not None)
    rows = _sessions(root, None if keys is None else {SessionKey.of(key).participant for key in keys})
    missing = [key for key in scanned if key not in set(rows["key"])]
    for row in rows[~rows["key"].isin(scanned)].itertuples():
        others = [key for key in missing if SessionKey.of(key).participant == row.participant]
        if others and not layout.session_folder(root, row.key).is_dir() and keys is None:
            label = SessionKey.of(others[0]).session_id
            faults.append(
                f"{row.line}: session {row.session!r} has no folder, and {label} of the same participant no row; if "
                f"they are the same, write {label}"
            )
    lacking = pd.DataFrame([SessionKey.of(key)._asdict() for key in missing], columns=["participant", "session"])
    lacking["key"] = missing
    lacking["line"] = [_source(root, SessionKey.of(key)) for key in missing]
    sessions = pd.concat([rows, lacking], ignore_index=True).astype(object)
    sessions = sessions.where(sessions.notna(), None)
    sessions = sessions[sessions["key"].isin(scanned) | (sessions["arm"].notna() & sessions["visit"].notna())]
    sessions = sessions.sort_values("key", kind="stable").reset_index(drop=True)
    sessions["arm"] = _arms(config, sessions, participants)
    dates = _dates(root, sessions)
    faults += _against_dates(sessions, dates) if keys is None else []
    sessions["visit"] = _visits(config, sessions, dates)
    needed = sessions["key"].isin(used)
    for column, meaning in (("visit", "order of the session: 1, 2, ..."), ("arm", "condition of the session")):
        for row in sessions[needed & sessions[column].isna()].itertuples():
            table = root / f"sub-{row.participant}" / f"sub-{row.participant}_sessions.tsv"
            faults.append(
                f"{row.line}: does not say {column} ({meaning}) of ses-{row.session}, which a "
                f"{config['study']['design']} needs; give column {column} in {table}"
            )
    sessions = sessions[sessions["arm"].notna() & sessions["visit"].notna()].reset_index(drop=True)
    sessions = sessions.drop(columns="acq_time", errors="ignore")  # a date, which no output may carry
    for path in sorted((root / "phenotype").glob("*.tsv")):
        try:
            scores = _scores(path)
        except InputError as error:
            faults.append(str(error))
            continue
        scores = scores[["key", *(c for c in scores if c not in sessions)]]
        sessions = sessions.merge(scores, on="key", how="left")
    if keys is not None:
        sessions = sessions[sessions["key"].isin(set(keys))].reset_index(drop=True)
    return participants, sessions


def _source(root: Path, key: SessionKey) -> str:
    """Where one looks for the row of a session that no table has."""
    table = root / key.participant_id / f"{key.participant_id}_sessions.tsv"
    return str(table) if table.is_file() else str(root / key.participant_id)


def _table(path: Path, needed: str) -> "pd.DataFrame":
    """Read a table of the dataset as text, with ``line``."""
    table = read_table(path, text_columns=True, line_numbers=True)
    if needed not in table:
        found = ", ".join(map(repr, (c for c in table if c != "line")))
        raise InputError(f"{path}: column {needed!r} is missing; it has {found}: add it, or rename one")
    table["line"] = [f"{path}, line {line}" for line in table["line"]]
    return table


def _participants(root: Path, present: set[str], faults: list[str], some: bool) -> "pd.DataFrame":
    """Participants with and without a row of their own; `some`: only those that are present."""
    import pandas as pd

    path = root / "participants.tsv"
    table = pd.DataFrame({"line": [], "participant": []}, dtype=object)
    if path.is_file():
        table = _table(path, "participant_id").rename(columns={"participant_id": "participant"})
        table["participant"] = table["participant"].str.removeprefix("sub-")
    without = sorted(present - set(table["participant"]))
    strangers = table[~table["participant"].isin(present)]
    if without and len(strangers) and not some:
        faults.append(
            f"{path}: participant {without[0]!r} is not in it, and {strangers['line'].iloc[0]} has "
            f"{strangers['participant'].iloc[0]!r} without a folder; if they are the same, write sub-{without[0]}"
        )
    added = pd.DataFrame({"line": [str(root / f"sub-{p}") for p in without], "participant": without}, dtype=object)
    table = pd.concat([table, added], ignore_index=True)
    if "sex" in table:
        table["sex"] = [SEXES.get(str(text).lower(), text) for text in table["sex"]]
    if "age" in table:
        ages = table["age"].str.replace(r"^89\+$", "89", regex=True)
        table["age"] = ages
        if ages.str.fullmatch(r"\d+ ?[-–] ?\d+").any():  # ranges, as published data have them, are no numbers
            table = table.rename(columns={"age": "age_range"})
    if some:
        table = table[table["participant"].isin(present)].reset_index(drop=True)
    return table


def _sessions(root: Path, people: set[str] | None) -> "pd.DataFrame":
    """Rows of all sessions tables, with ``participant``, ``session`` and ``key``; arm and visit where given."""
    import pandas as pd

    parts = [pd.DataFrame(columns=["line", "participant", "session", "key", "visit", "arm"], dtype=object)]
    if (root / "sessions.tsv").is_file():
        rows = _table(root / "sessions.tsv", "participant_id").rename(columns={"participant_id": "participant"})
        rows["participant"] = rows["participant"].str.removeprefix("sub-")
        parts.append(_named(rows, root / "sessions.tsv"))
    folders = ["sub-*"] if people is None else [f"sub-{name}" for name in sorted(people)]
    for path in sorted(path for folder in folders for path in root.glob(f"{folder}/sub-*_sessions.tsv")):
        rows = _table(path, "session_id")
        if "participant_id" in rows:
            rows = rows.drop(columns="participant_id")
        rows["participant"] = path.parent.name.removeprefix("sub-")
        parts.append(_named(rows, path))
    table = pd.concat(parts, ignore_index=True)
    return table if people is None else table[table["participant"].isin(people)].reset_index(drop=True)


def _named(rows: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    if "session_id" not in rows:
        raise InputError(f"{path}: column 'session_id' is missing; it names the session of each row: add it")
    rows["session"] = rows.pop("session_id").str.removeprefix("ses-")
    return rows.assign(key=layout.keys_of(rows))


def _arms(config: dict[str, Any], sessions: "pd.DataFrame", participants: "pd.DataFrame") -> list[Any]:
    """Arm of each session: its own; of a single-arm study the one there is; of a parallel trial the participant's."""
    design, conditions = config["study"]["design"], config["study"]["conditions"]
    known: dict[str, Any] = {}
    if design == "parallel":
        column = next((c for c in ("arm", "group") if c in participants), None)
        known = dict(zip(participants["participant"], participants[column], strict=True)) if column else {}
    usual = conditions[0] if design == "single_arm" else None
    return [
        arm if isinstance(arm, str) else known.get(person, usual)
        for arm, person in zip(sessions["arm"], sessions["participant"], strict=True)
    ]


def _dates(root: Path, sessions: "pd.DataFrame") -> "pd.Series":
    """When each session was, by acq_time of its row, else of the first of its scans; None where that is no ISO date."""
    import pandas as pd

    found = []
    for row in sessions.to_dict("records"):
        own = _date(row.get("acq_time"))
        if own is None:
            folder = layout.session_folder(root, row["key"])
            tables = [*folder.glob("sub-*_scans.tsv"), *folder.parent.glob(f"{row['key']}_scans.tsv")]
            scans = [read_table(path, text_columns=True) for path in tables]
            times = [_date(text) for table in scans if "acq_time" in table for text in table["acq_time"]]
            own = min((time for time in times if time is not None), default=None)
        found.append(own)
    return pd.Series(found, index=sessions.index, dtype=object)


def _date(text: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
    except (TypeError, ValueError):
        return None


def _against_dates(sessions: "pd.DataFrame", dates: "pd.Series") -> Iterator[str]:
    """Sessions of a participant whose visits and dates are not in the same order."""
    known = sessions.assign(date=dates)[dates.notna() & sessions["visit"].astype(str).str.fullmatch(r"\d+")]
    for _, rows in known.groupby("participant", sort=False):
        rows = rows.assign(number=rows["visit"].astype(int)).sort_values("number")
        for (_, one), (_, other) in pairwise(rows.iterrows()):
            if other["date"] < one["date"] and other["number"] > one["number"]:
                yield (
                    f"{other['line']}: ses-{other['session']} is visit {other['visit']}, and by acq_time it was before "
                    f"ses-{one['session']}, visit {one['visit']}; correct visit or acq_time"
                )


def _visits(config: dict[str, Any], sessions: "pd.DataFrame", dates: "pd.Series") -> list[Any]:
    """Visit of each session: its own; 1 where there is one; by date; outside of crossovers by numbers in the labels."""
    found = dict(zip(sessions["key"], sessions["visit"], strict=True))
    for _, rows in sessions.groupby("participant", sort=False):
        if rows["visit"].notna().any() and len(rows) > 1:
            continue  # half an order is none
        times = dates[rows.index]
        if len(rows) == 1:
            order: Iterable[str] = rows["key"]
        elif times.notna().all() and times.is_unique:
            order = rows.assign(time=times).sort_values("time")["key"]
        elif config["study"]["design"] != "crossover" and rows["session"].str.fullmatch(r"\d+").all():
            order = rows.assign(number=rows["session"].astype(int)).sort_values("number")["key"]
        else:
            continue
        for number, key in enumerate(order, start=1):
            found[key] = found[key] if isinstance(found[key], str) else str(number)
    return [found[key] for key in sessions["key"]]


def _scores(path: Path) -> "pd.DataFrame":
    """Scores by session: a row per session, or columns named ``<scale>_<time point>_ses-<session>``."""
    import pandas as pd

    table = _table(path, "participant_id").drop(columns="line")
    table["participant_id"] = "sub-" + table["participant_id"].str.removeprefix("sub-")
    if "session_id" in table:
        sessions = "ses-" + table.pop("session_id").str.removeprefix("ses-")
        table.insert(0, "key", table.pop("participant_id") + "_" + sessions)
        long = table
    else:
        named = [column for column in table.columns if "_ses-" in column]
        if not named:
            return pd.DataFrame({"key": []}, dtype=object)
        long = table.melt("participant_id", named, "name", "score")
        long[["name", "session"]] = long["name"].str.rsplit("_", n=1, expand=True)
        long["key"] = long["participant_id"] + "_" + long["session"]
    columns = ["key"] if "name" not in long else ["key", "name"]
    if (twice := long.duplicated(columns)).any():
        raise InputError(f"{path}: has {long.loc[twice, 'key'].iloc[0]} twice; keep one row")
    return long if "name" not in long else long.pivot(index="key", columns="name", values="score").reset_index()
