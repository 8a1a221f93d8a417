"""A small reader of BIDS datasets with NIfTI-MRS files, as the tables of a study."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table
from mrsflow.study import layout
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    import pandas as pd


def read(
    root: Path | str, protocols: dict[str, Any], keys: Collection[str] | None = None
) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]:
    """Read an existing BIDS dataset of NIfTI-MRS files as the tables of a study, as text.

    Parameters
    ----------
    root : path
    protocols : dict
        Of the configuration; each scan gets the one entry that its sidecar fits.
    keys : collection of str, optional
        Sessions (``sub-X_ses-Y``) to read; by default all.

    Returns
    -------
    samples, participants, sessions : DataFrame
        With ``line`` (file and line, or the scan), for messages.

    Raises
    ------
    InputError
        A table or column is missing, no protocol or more than one fits, or there are no spectra.
    """
    import pandas as pd

    root = Path(root)
    if not (root / "dataset_description.json").is_file():
        raise InputError(f"{root}: has no dataset_description.json; inputs.bids must name a BIDS dataset")
    places = [Path("sub-*/ses-*")] if keys is None else [layout.session_folder("", key) for key in keys]
    found = {
        suffix: sorted(path for place in places for path in root.glob(f"{place}/{folder}/*_{suffix}.nii*"))
        for suffix, folder in (("svs", "mrs"), ("mrsref", "mrs"), ("T1w", "anat"))
    }
    samples = [_sample(path, None if suffix == "T1w" else protocols) for suffix in found for path in found[suffix]]
    if not samples:
        raise InputError(f"{root}: holds no sub-*/ses-*/mrs/*_svs.nii.gz; sessions are needed in the names")
    table = pd.DataFrame(samples).sort_values(["key", "role", "run"], kind="stable", na_position="first")
    participants = _read(root / "participants.tsv", ("participant_id",))
    participants = participants.rename(columns={"participant_id": "participant"})
    participants["participant"] = participants["participant"].str.removeprefix("sub-")
    if keys is not None:
        participants = participants[participants["participant"].isin(table["participant"])].reset_index(drop=True)
    sessions = _read_sessions(root, sorted({place.parts[0] for place in places}))
    if keys is not None:
        sessions = sessions[sessions["key"].isin(keys)].reset_index(drop=True)
    return table.reset_index(drop=True), participants, sessions


def _read(path: Path, needed: tuple[str, ...]) -> "pd.DataFrame":
    """Read a table of the dataset as text, with ``line``."""
    table = read_table(path, text_columns=True, line_numbers=True)
    if missing := [column for column in needed if column not in table]:
        raise InputError(f"{path}: column {missing[0]!r} is missing; {', '.join(needed)} are needed")
    table["line"] = [f"{path}, line {line}" for line in table["line"]]
    return table


def _read_sessions(root: Path, folders: list[str]) -> "pd.DataFrame":
    import pandas as pd

    parts = []
    for path in sorted(path for folder in folders for path in root.glob(f"{folder}/sub-*_sessions.tsv")):
        rows = _read(path, ("session_id", "visit", "arm"))
        rows.insert(0, "participant", SessionKey.of(path.name).participant)
        parts.append(rows)
    if not parts:
        raise InputError(f"{root}: has no sub-*/sub-*_sessions.tsv with columns session_id, visit, arm")
    sessions = pd.concat(parts, ignore_index=True)
    sessions["session"] = sessions.pop("session_id").str.removeprefix("ses-")
    sessions["key"] = layout.keys_of(sessions)
    for path in sorted((root / "phenotype").glob("*.tsv")):
        sessions = sessions.merge(_scores(read_table(path, text_columns=True)), on="key", how="left")
    return sessions


def _scores(wide: "pd.DataFrame") -> "pd.DataFrame":
    """Scores by session from columns named ``<scale>_<time point>_ses-<session>``, one row per participant."""
    named = [column for column in wide.columns if "_ses-" in column]
    long = wide.melt("participant_id", named, "name", "score")
    long[["name", "session"]] = long["name"].str.rsplit("_", n=1, expand=True)
    long["key"] = long["participant_id"] + "_" + long["session"]
    return long.pivot(index="key", columns="name", values="score").reset_index()


def _sample(path: Path, protocols: dict[str, Any] | None) -> dict[str, Any]:
    name = layout.stem(path)
    labels = dict(part.split("-", 1) for part in name.split("_")[:-1] if "-" in part)
    role = "mm" if layout.is_nulled(path) and name.endswith("_svs") else name.rsplit("_", 1)[1]
    participant, session = labels.get("sub", ""), labels.get("ses", "")
    return {
        "line": str(path),
        "participant": participant,
        "session": session,
        "key": str(SessionKey(participant, session)),
        "role": role,
        "task": labels.get("task"),
        "run": labels.get("run"),
        "protocol": next(iter(protocols)) if protocols and len(protocols) == 1 else _protocol(path, name, protocols),
        "raw": str(path),
        "events": _events_of(path, name),
    }


def _events_of(path: Path, name: str) -> Path | None:
    events = path.with_name(f"{name.rsplit('_', 1)[0]}_events.tsv")
    return events if events.is_file() else None


def _protocol(path: Path, name: str, protocols: dict[str, Any] | None) -> str | None:
    if protocols is None:
        return None
    content = read_json(path.with_name(f"{name}.json"))
    averaged = content.get("ExcitationsPerFrame")
    fitting = [
        key
        for key, protocol in protocols.items()
        if abs(content.get("EchoTime", 0) * 1e3 / protocol["echo_time_ms"] - 1) < 0.01
        and abs(content.get("RepetitionTime", 0) * 1e3 / protocol["repetition_time_ms"] - 1) < 0.01
        and abs(content["SpectrometerFrequency"][0] / protocol["spectrometer_frequency_mhz"] - 1) < 0.01
        and (averaged == protocol["excitations_per_frame"] or None in (averaged, protocol["excitations_per_frame"]))
    ]
    if len(fitting) != 1:
        raise InputError(
            f"{path}: {len(fitting)} entries of protocols fit its EchoTime, RepetitionTime, SpectrometerFrequency "
            "and ExcitationsPerFrame; exactly one is needed"
        )
    return fitting[0]
