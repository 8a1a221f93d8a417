"""A study: its scans, participants and sessions, checked in one place whatever way they came in."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow import packages
from mrsflow.errors import InputError
from mrsflow.study import bids_tables, covariates, layout, ratings, session_facts, tables, validation, variants
from mrsflow.study.given_paths import lies_in

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("samples", "participants", "sessions")
NO_SPECTRA = "no metabolite spectra (role svs) in this session, so there is nothing to fit"
"""Of a session that has water, macromolecules or anatomy alone: data that were not acquired, no failure."""


@dataclass(frozen=True)
class Study:
    """The tables of a study.

    Attributes
    ----------
    samples : DataFrame
        One row per scan: the columns of samples.schema.yaml, with ``key`` (``sub-X_ses-Y``), ``line`` (file and
        line, or the scan of a dataset) and ``raw`` as a list of paths.
    participants, sessions : DataFrame
        As in the files, numbers as numbers; with ``line``, `sessions` with ``key`` too.
    """

    samples: "pd.DataFrame"
    participants: "pd.DataFrame"
    sessions: "pd.DataFrame"

    @property
    def keys(self) -> list[str]:
        """Sessions that have scans, in the order of the samples table."""
        return list(dict.fromkeys(self.samples["key"]))

    @property
    def without_spectra(self) -> list[str]:
        """Sessions that have scans, and no metabolite spectra among them."""
        spectra = set(self.samples.loc[self.samples["role"] == "svs", "key"])
        return [key for key in self.keys if key not in spectra]


def read_study(config: dict[str, Any], keys: Collection[str] | None = None) -> Study:
    """Read and cross-check the tables, or the BIDS dataset, that a configuration names.

    Parameters
    ----------
    config : dict
    keys : collection of str, optional
        Sessions (``sub-X_ses-Y``) that are needed; the other rows of tables are then neither checked nor given.

    Raises
    ------
    InputError
        Names file, line, column, what was found and what is allowed; several faults are a line each.
    """
    study, faults = examine(config, keys)
    if study is None or faults:
        raise InputError("\n".join(faults))
    return study


def examine(config: dict[str, Any], keys: Collection[str] | None = None) -> tuple[Study | None, list[str]]:
    """Read the tables and list all that is wrong with them; None where a table cannot be read.

    Parameters
    ----------
    config, keys
        See `read_study`.
    """
    faults: list[str] = []
    study = _read(config, keys, faults)
    if study is None:
        return None, faults
    known = {
        "samples": {"protocol": config["protocols"], "participant": set(study.participants["participant"])},
        "sessions": {"arm": config["study"]["conditions"], "participant": set(study.participants["participant"])},
        "participants": {},
    }
    checked = [validation.cells(getattr(study, name), name, known[name], faults) for name in TABLES]
    study = Study(*(table for table, _ in checked))
    study = replace(study, samples=_chosen(study.samples, config, faults))
    wrong = set().union(*(columns for _, columns in checked))
    validation.across(study.samples, study.participants, study.sessions, config, wrong, faults)
    if keys is None:
        faults += validation.mean_of_nothing(study.samples, config["protocols"])
        measured = covariates.from_voxels(config, has_maps(config, study.samples))
        faults += covariates.faults(config, study.sessions, study.participants, measured)
    root = Path() if config["inputs"]["bids"] else Path(config["inputs"]["samples"]).parent
    raw = [[root / part for part in str(text).split(" | ")] for text in study.samples["raw"]]
    return replace(study, samples=study.samples.assign(raw=raw)), faults


def before_jobs(config: dict[str, Any], asked: dict[str, Any]) -> tuple[Study | None, list[str]]:
    """Examine a whole study before any job: its tables, the columns that the configuration names, time 0 of blocks.

    Parameters
    ----------
    config : dict
        Checked configuration.
    asked : dict
        The configuration as it was given: scores of mood may be absent where it does not name them.
    """
    study, faults = examine(config)
    if study is None:
        return None, faults
    if not faults and len(study.without_spectra) == len(study.keys):
        faults.append(
            f"{config['inputs']['samples']}: has no row of role svs, so there are no metabolite spectra to analyse; "
            "add them, or correct column role"
        )
    inside = [row for row in study.samples.itertuples() if any(lies_in(path, config["output"]) for path in row.raw)]
    if inside:
        faults.append(
            f"{inside[0].line}: raw files lie in the output folder ({config['output']}), all of which is taken for "
            "results and searched; name another folder in output, or move them"
        )
    event = config["blocks"]["event"]
    times = [*validation.missing_times(study.samples, study.sessions, event, config["inputs"])]
    faults += validation.shortened(times)
    if not config["inputs"]["bids"]:
        faults += validation.shortened(
            [*validation.contradicting_times(study.samples, study.sessions, config["blocks"])]
        )
    faults += variants.faults(config, study.samples)
    faults += session_facts.missing(study.sessions, study.participants, config["fit"])
    where = validation.place_of(config["inputs"], "sessions")
    faults += ratings.faults(config["quality"]["ratings"], study.keys)
    faults += validation.missing_followups(config["group"], study.sessions, where)
    fit = asked.get("fit")
    if isinstance(fit, dict) and fit.get("constants") == config["fit"]["constants"]:
        faults += validation.constants_of_another_field(config, study.samples)
    group = asked.get("group")
    if isinstance(group, dict) and group.get("mood_scale") == config["group"]["mood_scale"]:
        faults += validation.missing_scores(config["group"], study.sessions, where)
    return study, faults


def segmenter(config: dict[str, Any], samples: "pd.DataFrame | None" = None, conda: bool = False) -> str:
    """Say what segments the T1w of sessions without maps of tissue: ``inputs.segment``, settled where it is auto.

    Parameters
    ----------
    config : dict
    samples : DataFrame, optional
        Scans of the study, where they were read already.
    conda : bool
        Whether jobs have an environment of their own, which holds what segments.

    Returns
    -------
    str
        As in the configuration; of ``auto``, ``mrsflow`` where a T1w is there and can be segmented, ``auto`` where the
        packages are lacking, and ``none`` where there is no T1w.
    """
    asked = config["inputs"]["segment"]
    if asked != "auto":
        return asked
    if "T1w" not in (_images_named(config) if samples is None else set(samples["role"])):
        return "none"
    return "mrsflow" if conda or None not in packages.versions(packages.TISSUE).values() else "auto"


def _images_named(config: dict[str, Any]) -> set[str]:
    """Roles of the images of a study."""
    if folder := config["inputs"]["bids"]:
        return {"T1w"} & {path.name.partition(".")[0].rpartition("_")[2] for path in Path(folder).rglob("*_T1w.nii*")}
    return set(tables.read(config["inputs"]["samples"], "samples")["role"]) & set(layout.ANATOMY)


def has_maps(config: dict[str, Any], samples: "pd.DataFrame | None" = None) -> bool:
    """Whether a study has maps of tissue for any session, so that amounts of the others are not by assumption.

    Parameters
    ----------
    config, samples
        See `segmenter`.
    """
    if config["inputs"]["tissue"] or segmenter(config, samples) not in ("none", "auto"):
        return True
    if samples is None and config["inputs"]["bids"]:
        return False  # roles of maps are those of tables
    roles = _images_named(config) if samples is None else set(samples["role"])
    return not roles.isdisjoint(layout.MAPS)


def _read(config: dict[str, Any], keys: Collection[str] | None, faults: list[str]) -> Study | None:
    """Read the tables as texts."""
    inputs = config["inputs"]
    if inputs["bids"]:
        from mrsflow.study import bids_reader  # reads NIfTI headers, which tables have not

        try:
            read = bids_reader.read(config, faults, keys)
        except InputError as error:
            faults.append(str(error))
            return None
        return None if read is None else Study(*read)
    found = []
    for name in TABLES:
        try:
            found.append(tables.read(inputs[name], name, keys))
        except InputError as error:
            faults.append(str(error))
    return Study(*found) if len(found) == len(TABLES) else None


def _chosen(samples: "pd.DataFrame", config: dict[str, Any], faults: list[str]) -> "pd.DataFrame":
    """Leave out the scans of other tasks than inputs.select names; of a dataset they were not read."""
    select = config["inputs"].get("select", {})
    if config["inputs"]["bids"] or not select:
        return samples
    if unknown := [entity for entity in select if entity != "task"]:
        faults.append(f"inputs.select: {unknown[0]!r} is not in the samples table, which can tell scans by task")
        return samples
    task = samples["task"] if "task" in samples else samples["role"].map(lambda _: None)
    kept = task.isna() | (task == str(select["task"])) if select["task"] is not None else task.isna()
    if not (kept & (samples["role"] == "svs")).any():
        faults.append(
            f"inputs.select: no scan of role svs in {config['inputs']['samples']} has task {select['task']!r}"
        )
        return samples
    return samples[kept].reset_index(drop=True)


def table_paths(config: dict[str, Any]) -> list[Path]:
    """Tables of participants and sessions that a configuration reads."""
    inputs = config["inputs"]
    if inputs["bids"]:
        return bids_tables.paths(Path(inputs["bids"]))
    return [Path(inputs["participants"]), Path(inputs["sessions"])]
