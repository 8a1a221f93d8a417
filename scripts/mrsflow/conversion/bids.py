"""The BIDS side of a study: names, sidecars, events, and the tables that describe a dataset.

Follows the MRS part of BIDS 1.11 (https://bids-specification.readthedocs.io, magnetic resonance spectroscopy).
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import __version__, result_tables
from mrsflow.constants import GAMMA_1H
from mrsflow.conversion.checks import voxel_size
from mrsflow.errors import InputError
from mrsflow.files import write_json, write_table, write_text
from mrsflow.nifti_mrs import Scan
from mrsflow.study import layout
from mrsflow.study.clock import seconds_between
from mrsflow.study.validation import FORMULA

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.study import Study

BIDS_VERSION = "1.11.0"
LARGEST_SCORE = 1000
"""Scores are smaller than this; a hospital number, a year or a date is not."""
SIDECAR_KEYS = {  # of the NIfTI-MRS header, where BIDS has another name for them
    "EchoTime": "EchoTime",
    "RepetitionTime": "RepetitionTime",
    "InversionTime": "InversionTime",
    "MixingTime": "MixingTime",
    "ExcitationFlipAngle": "FlipAngle",
    "WaterSuppressed": "WaterSuppression",
    "WaterSuppressionType": "WaterSuppressionTechnique",
    "Manufacturer": "Manufacturer",
    "SoftwareVersions": "SoftwareVersions",
    "SequenceName": "SequenceName",
    "TxCoil": "TransmitCoilName",
    "RxCoil": "ReceiveCoilName",
}


def sidecar(
    scan: Scan, excitations_per_frame: int | None = None, sequence: str | None = None, task: str | None = None
) -> dict[str, Any]:
    """Sidecar of a scan: required and recommended keys of BIDS, from the header, and two of our own.

    Parameters
    ----------
    scan : Scan
        Identity removed.
    excitations_per_frame : int, optional
        Excitations that the scanner averaged into each frame (``ExcitationsPerFrame``).
    sequence : str, optional
        Localisation, as in the protocol (``PulseSequenceType``).
    task : str, optional

    Notes
    -----
    ``FrameOnset`` is the time of each frame's first excitation since the first excitation of the file (s).
    ``VoxelAffine`` is the affine of the image (mm), where its voxel is known: where it lies is said without the image.
    """
    header = scan.header
    content: dict[str, Any] = {
        "ResonantNucleus": list(header["ResonantNucleus"]),
        "SpectrometerFrequency": list(header["SpectrometerFrequency"]),
        "SpectralWidth": 1 / scan.dwell_time,
    }
    content |= {name: header[key] for key, name in SIDECAR_KEYS.items() if header.get(key) not in (None, "")}
    if not content.get("InversionTime", 1):  # without an inversion some headers say 0, which BIDS does not allow
        del content["InversionTime"]
    content["NumberOfSpectralPoints"] = scan.n_points
    if excitations_per_frame:
        content["NumberOfTransients"] = scan.size("DIM_DYN") * excitations_per_frame
        content["ExcitationsPerFrame"] = excitations_per_frame
    onsets = scan.dimension_header("DIM_DYN").get("FrameOnset")
    if onsets:
        content["FrameOnset"] = onsets
    if sequence and sequence != "other":
        content["PulseSequenceType"] = {"semi_laser": "sLASER"}.get(sequence, sequence.upper())
    if scan.nucleus == "1H":
        content["MagneticFieldStrength"] = round(scan.spectrometer_frequency / GAMMA_1H, 3)
    size = voxel_size(scan)
    if size is not None:
        content["AcquisitionVoxelSize"] = [round(float(side), 3) for side in size]
        content["VoxelAffine"] = (np.round(scan.affine, 4) + 0.0).tolist()
    if task:
        content["TaskName"] = task
    return content


def events(session: dict[str, Any], start_time: str) -> list[dict[str, Any]]:
    """Events of a session, in the order in which they happen: dose and infusion.

    Parameters
    ----------
    session : dict
        Row of the sessions table (``dose_time``, ``infusion_start``, ``infusion_stop``).
    start_time : str
        Clock time of the first excitation.

    Returns
    -------
    list of dict
        ``onset`` and ``duration`` (s; None where the end is not known), ``trial_type``.
    """
    rows = []
    if session.get("dose_time"):
        rows.append({"onset": seconds_between(start_time, session["dose_time"]), "duration": 0.0, "trial_type": "dose"})
    if session.get("infusion_start"):
        stop = session.get("infusion_stop")
        duration = seconds_between(session["infusion_start"], stop) if stop else None
        if duration is not None and duration <= 0:
            raise InputError(
                f"sessions table: infusion_stop {stop} of {session['key']} is not after infusion_start "
                f"{session['infusion_start']}; correct one of them"
            )
        onset = seconds_between(start_time, session["infusion_start"])
        rows.append({"onset": onset, "duration": duration, "trial_type": "infusion"})
    return sorted(rows, key=lambda row: row["onset"])


def write_events(rows: list[dict[str, Any]], path: Path) -> None:
    """Write events as BIDS wants them."""
    write_table(result_tables.from_rows(rows, "events"), path)


def describe(
    study: "Study",
    name: str,
    output: Path,
    keep: Iterable[str] = (),
    keep_scans: bool = True,
    others: Iterable[str] = (),
) -> list[Path]:
    """Write what describes a dataset as a whole, for the raw one and for the derivative.

    Parameters
    ----------
    study : Study
    name : str
        Title of the study.
    output : Path
        Folder of all outputs.
    keep : iterable of str
        Columns of the participants and sessions tables that go out although no schema has them.
    keep_scans : bool
        Whether the dataset holds its scans, or their sidecars alone; it says so, and validators pass over those.
    others : iterable of str
        Fitters beside the first.

    Returns
    -------
    list of Path
        The files written.
    """
    root, derivative = Path(output, "bids"), layout.derivatives(output)
    program = [{"Name": "mrsflow", "Version": __version__}]
    raw = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw", "GeneratedBy": program}
    processed = {**raw, "Name": f"{name}: processed spectra", "DatasetType": "derivative"}
    processed["SourceDatasets"] = [{"URL": "../../bids"}]
    readme = (
        f"# {name}\n\nSingle-voxel magnetic resonance spectroscopy, converted by mrsflow {__version__} from scanner "
        "files.\nIdentities were removed. `FrameOnset` and `onset` in the events tables count from the first\n"
        "excitation of a file, in seconds; `ExcitationsPerFrame` is how many the scanner averaged into each frame.\n"
    )
    ignored = root / ".bidsignore"
    ignored.unlink(missing_ok=True)
    if not keep_scans:
        readme += (
            "\nThe scans themselves were not kept (`convert.keep_scans: false`): what each was, say its sidecar and\n"
            "its events table, which `.bidsignore` names, as they stand alone. The blocks made of the scans are in\n"
            "`../derivatives/mrsflow`.\n"
        )
        write_text("".join(f"sub-*/ses-*/mrs/*_{end}\n" for end in ("svs.json", "mrsref.json", "events.tsv")), ignored)
    write_json(raw, root / "dataset_description.json")
    write_json(processed, derivative / "dataset_description.json")
    write_text(readme, root / "README.md")
    write_text(
        "*_quality.*\n*_mrsfit.*\n*_fitquality.*\n*_terms.*\n*_constants.*\n*desc-tissue.*\n*_probseg.*\n*_xfm.txt\n*desc-voxel_maps.*\n*_inputs.*\n*_figure.*\n",
        derivative / ".bidsignore",
    )
    written = [root / "dataset_description.json", derivative / "dataset_description.json", root / "README.md"]
    written += [derivative / ".bidsignore", *([] if keep_scans else [ignored])]
    fits = (
        layout.of_fitter(table, name) for name in others for table in (layout.FIT, layout.FIT_QUALITY, layout.FIT_TERMS)
    )
    for table in (*layout.SESSION_TABLES, *fits):
        written.append((derivative / table).with_suffix(".json"))  # for every session, as dictionaries are inherited
        write_json(result_tables.dictionary(result_tables.name_of(table)), written[-1])
    return written + _write_tables(study, root, set(keep))


def named_columns(config: dict[str, Any]) -> list[str]:
    """Columns of the tables that a configuration lets out, by name or as the models use them."""
    return [*config["convert"]["keep"], *config["group"]["moderators"], *config["group"]["adjust_for"]]


def left_out(study: "Study", keep: Iterable[str] = ()) -> dict[str, list[str]]:
    """Columns of the participants and sessions tables that stay inside: no scores, and in no schema nor `keep`."""
    from mrsflow.study.config import schema

    found = {}
    for name in ("participants", "sessions"):
        table = getattr(study, name)
        scores = [c for columns in scales_of(table).values() for c in columns] if name == "sessions" else []
        known = {*schema(name)["properties"], *scores, *keep, "line", "key"}
        found[name] = [column for column in table if column not in known]
    return found


def _harmless(table: "pd.DataFrame", keep: set[str]) -> "pd.DataFrame":
    """Put an apostrophe before texts of kept columns that a spreadsheet would run; other columns refuse them."""
    columns = table.columns.intersection(list(keep))
    return table.assign(**{c: table[c].map(lambda v: f"'{v}" if FORMULA.match(str(v)) else v) for c in columns})


def _write_tables(study: "Study", root: Path, keep: set[str]) -> list[Path]:
    hidden_columns = left_out(study, keep)
    present = study.samples["participant"].unique()
    people = study.participants[study.participants["participant"].isin(present)].drop(
        columns=["line", *hidden_columns["participants"]], errors="ignore"
    )
    people = people.rename(columns={"participant": "participant_id"})
    people["participant_id"] = "sub-" + people["participant_id"]
    sessions = study.sessions[study.sessions["key"].isin(study.keys)].copy()
    scales = scales_of(sessions)
    sessions.insert(0, "session_id", "ses-" + sessions["session"])
    sessions.insert(0, "participant_id", "sub-" + sessions["participant"])
    if "dose_to_infusion_min" not in sessions:
        sessions["dose_to_infusion_min"] = _dose_to_infusion(sessions)
    hidden = ["line", "key", "participant", "session", "dose_time", "infusion_start", "infusion_stop"]
    hidden += hidden_columns["sessions"]
    scores = [column for columns in scales.values() for column in columns]
    visits = sessions.drop(columns=[*hidden, *scores], errors="ignore").dropna(axis="columns", how="all")
    written = [root / "participants.tsv", root / "participants.json"]
    write_table(_harmless(people, keep), written[0])
    write_json(_dictionary(people.columns[1:], "participants"), written[1])
    for participant, rows in visits.groupby("participant_id", sort=False):
        path = root / participant / f"{participant}_sessions"
        write_table(_harmless(rows.drop(columns="participant_id"), keep), path.with_suffix(".tsv"))
        write_json(_dictionary(rows.columns[2:], "sessions"), path.with_suffix(".json"))
        written += [path.with_suffix(".tsv"), path.with_suffix(".json")]
    for scale, columns in scales.items():
        path = root / "phenotype" / f"{scale}.tsv"
        wide = sessions.pivot(index="participant_id", columns="session_id", values=columns)
        wide.columns = [f"{column}_{session}" for column, session in wide.columns]
        write_table(wide.dropna(axis="columns", how="all").reset_index(), path)
        meaning = {c: {"Description": f"{scale} score, <time point>_<session>"} for c in wide.columns}
        write_json({"MeasurementToolMetadata": {"Description": scale}, **meaning}, path.with_suffix(".json"))
        written += [path, path.with_suffix(".json")]
    return written


def scales_of(sessions: "pd.DataFrame") -> dict[str, list[str]]:
    """Score columns of the sessions table by scale: columns of small numbers named ``<scale>_<time point>``."""
    from mrsflow.study.config import schema

    known = {*schema("sessions")["properties"], "line", "key"}
    found: dict[str, list[str]] = {}
    for column in sessions.columns:
        parts = re.fullmatch(r"([A-Za-z0-9]+)_([A-Za-z0-9]+)", column)
        if parts is None or column in known:
            continue
        values = sessions[column].dropna().astype(str)
        numbers = len(values) and values.str.fullmatch(r"-?\d{1,8}(\.\d+)?").all()
        if numbers and (values.astype(float).abs() < LARGEST_SCORE).all():
            found.setdefault(parts.group(1), []).append(column)
    return found


def _dose_to_infusion(sessions: "pd.DataFrame") -> list[float | None]:
    """Minutes from the oral dose to the infusion, so that no clock time needs to be published."""
    rows = sessions.to_dict("records")
    pairs = [(row.get("dose_time"), row.get("infusion_start")) for row in rows]
    return [seconds_between(d, i) / 60 if isinstance(d, str) and isinstance(i, str) else None for d, i in pairs]


def _dictionary(columns: Any, table: str) -> dict[str, Any]:
    """Descriptions of the columns of a table, from its schema."""
    from mrsflow.study.config import schema

    known = schema(table)["properties"]
    ours = {"dose_to_infusion_min": {"Description": "From the oral dose to the start of the infusion", "Units": "min"}}
    return {
        column: ours.get(column) or {"Description": known.get(column, {}).get("description", f"{column}, as given")}
        for column in columns
    }
