"""Configuration and tables, read and checked before any job; which sessions a job takes. No stage lives here."""

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(
    str(workflow.current_basedir)
).parent  # of this workflow, also where another uses it as a module
SCRIPTS = BASE / "scripts"
sys.path.insert(0, str(SCRIPTS))

from mrsflow.basis_sets.presets import refuse_unknown_timing
from mrsflow.errors import InputError
from mrsflow.files import digest_of, is_there
from mrsflow.run import silence_readers
from mrsflow.study import config as study_config
from mrsflow.study import layout, records, regressors, session_facts, variants
from mrsflow.study.lacking import lacking
from mrsflow.study.lacking import lines as lines_of_lacking
from mrsflow.study.study import before_jobs, has_maps, segmenter, table_paths

silence_readers()
if not workflow.overwrite_configfiles:
    given = Path("config/config.yaml")
    try:
        if given.is_file():  # before Snakemake, which unfolds whatever aliases repeat
            study_config.read(given)
    except InputError as error:
        raise WorkflowError(str(error)) from None

    configfile: "config/config.yaml"


def goes_beyond(*stages):
    """Whether a run goes beyond some stages; Snakemake itself knows its --until only after this file is read."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--until", "-U", nargs="+", default=["all"])
    return not set(parser.parse_known_args(sys.argv[1:])[0].until) <= set(stages)


def is_dry_run():
    """Whether nothing is to be run; Snakemake itself knows only after this file is read."""
    return any(
        text in ("--dry-run", "--dryrun") or text.startswith("-n")
        for text in sys.argv[1:]
    )


try:
    asked, faults = config, []
    config = study_config.checked(config, "configuration", faults)
except InputError as error:
    raise WorkflowError(str(error)) from None

LARGE = 500  # sessions above which a first job looks at the raw files
STUDY, found = before_jobs(config, asked)
faults += found
try:
    if goes_beyond("convert", "preprocess"):
        refuse_unknown_timing(config["protocols"])
        if study_config.fitters_of(config) != [
            "mrsflow"
        ]:  # imports take longer than planning
            from mrsflow.quantification.fitters import refuse_unready

            refuse_unready(config["fit"])
except InputError as error:
    faults.append(str(error))


def lost_files(study):
    """What is missing of the raw files; what they contradict joins the faults. A large study has a job for this."""
    from mrsflow.conversion import headers

    if study is None or len(study.keys) > LARGE:
        return []
    memory = Path(".snakemake", "mrsflow_headers.json")
    faults.extend(headers.contradictions(study, config, memory))
    lines = headers.missing(study)
    if len(lines) > max(1, len(study.keys) / 2) and not is_dry_run():
        return []  # many at once are one line (rules/standing.smk)
    known = [
        key
        for key in study.keys
        if records.read_record(config["output"], "convert", key)
    ]
    fresh = study.samples[~study.samples["key"].isin(known)]
    return headers.missing(replace(study, samples=fresh))


CONDA = any(
    method.name == "CONDA" for method in workflow.deployment_settings.deployment_method
)
# whether any session has maps of tissue; without them nothing is measured, and nothing of it imported
if STUDY is not None:  # settled here, and the same in every job
    config["inputs"]["segment"] = segmenter(config, STUDY.samples, conda=CONDA)
SEGMENTS = config["inputs"]["segment"] not in ("none", "auto")
TISSUE = STUDY is not None and has_maps(config, STUDY.samples)
MAPS = STUDY is not None and bool(config["inputs"]["maps"])
if TISSUE or MAPS:
    from mrsflow.quantification import map_files
    from mrsflow.quantification.tissue_files import (
        faults_of_maps,
        maps_of_sessions,
        transforms_of,
        without_maps,
    )

    if workflow.is_main_process:
        faults += faults_of_maps(STUDY, config)
        faults += map_files.faults_of_maps(STUDY, config)
        if SEGMENTS and not CONDA:
            from mrsflow.quantification import segmenters

            faults += filter(None, [segmenters.fault(config["inputs"]["segment"])])


@cache
def maps_of_study():
    """Maps of tissue of each session, None where it has none; what is wrong with them is a fault."""
    return maps_of_sessions(STUDY.keys, STUDY, config, [])


if workflow.is_main_process or STUDY is None:
    # listed on the terminal, and there alone, as lines hold full paths; a raw file that is missing costs its session,
    # not the others, unless this is a dry run
    lost = lost_files(STUDY)
    known = []  # of a study without faults, what will not be there
    if is_dry_run() and STUDY is not None and not faults:
        without = without_maps(STUDY, config) if TISSUE else []
        known = lines_of_lacking(lacking(STUDY, config, without), len(STUDY.sessions))
    for line in [*faults, *lost, *known]:
        print(line, file=sys.stderr)
    if faults or (lost and (is_dry_run() or config["on_error"] == "stop")):
        raise WorkflowError(
            f"{len(faults) + len(lost)} found before any job, listed above; mend and run the same command again"
        )

logging.raiseExceptions = False  # where the disk of Snakemake's log is full, the terminal still gets the messages
VERIFY = config.pop("verify")  # of this run alone: no parameter of any job
OUTPUT = config["output"]
ATTENTION = f"{OUTPUT}/status/attention.txt"  # what the last step found
VARIANTS = {
    name: variants.applied(config, chosen)
    for name, chosen in variants.variants_of(config).items()
}
PREPROCESSED = {variants.preprocessing_of(name): own for name, own in VARIANTS.items()}
PREPROCESSED.pop("", None)
STAGES = (
    *layout.STAGES,
    *(["measure_tissue"] if TISSUE or MAPS else []),
    "report_sessions",
)
STAGES_OF_VARIANTS = variants.stages_of(config)
if (
    not CONDA
):  # jobs use the Python that runs Snakemake, whatever stands first on the path of a node
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


def last_try(wildcards, attempt):
    """Whether a job that fails is tried no more (1) or again (0); jobs on a cluster inherit how often it is tried."""
    if workflow.is_main_process:
        os.environ.update(MRSFLOW_RETRIES=str(workflow.execution_settings.retries))
    return int(attempt > int(os.environ.get("MRSFLOW_RETRIES", 0)))


def script(name):
    """The script of that name."""
    return SCRIPTS / f"{name}.py"


@cache
def code(name):
    """Digest of a script and of what it imports: Snakemake itself sees neither, and many inputs are slow to watch."""
    return records.digest_of_code(records.code_of(script(name)))


def contents_of(*paths):
    """Digest of files that are given.

    They are parameters and no inputs, as their times say nothing: a table that was copied, or is dated in the future,
    is the same table.
    """
    return digest_of([records.content_of(Path(path)) for path in paths])


@cache
def rows_of_study():
    """Digest of the rows of all tables."""
    tables = (STUDY.samples, STUDY.participants, STUDY.sessions)
    return digest_of(
        [
            [
                list(table.columns),
                table.drop(columns="line").astype(str).values.tolist(),
            ]
            for table in tables
        ]
    )


def settings(*sections):
    """The part of the configuration that a script reads, as JSON text for its --config option.

    It is given by a function, as Snakemake takes braces in the text of a parameter for wildcards.
    """
    text = settings_of(config, *sections)
    return lambda wildcards: text


def settings_of(chosen, *sections):
    """The same of a configuration with other choices."""
    return json.dumps(
        {name: chosen[name] for name in ("inputs", "output", "on_error", *sections)}
    )


def in_batches(keys, size):
    """Split sessions into jobs; adding one at the end of the table changes only the last job."""
    if size == 1:
        return {key: [key] for key in keys}
    return {
        f"{size}x{i // size + 1:04d}": keys[i : i + size]
        for i in range(0, len(keys), size)
    }


BATCHES = in_batches(STUDY.keys, config["batch_size"])

USED_PROTOCOLS = sorted(set(STUDY.samples.query("role == 'svs'")["protocol"]))


wildcard_constraints:
    batch="|".join(BATCHES) if len(BATCHES) < 100 else r"[A-Za-z0-9_-]+",
    protocol="|".join(map(str, config["protocols"])),
    prepared="|".join(map(re.escape, PREPROCESSED)) or "-",
    variant="|".join(map(re.escape, VARIANTS)) or "-",
    source="|".join(sorted({variants.basis_of(name) for name in VARIANTS} - {""}))
    or "-",


def sessions_of(wildcards):
    """Sessions that a job takes."""
    return BATCHES[wildcards.batch]


def options_of_pages(keys):
    """Options of a script that writes the pages of sessions: what they show first, and the sessions around them."""
    every = STUDY.keys
    before, after = every[: every.index(keys[0])], every[every.index(keys[-1]) + 1 :]
    around = [["--before", *before[-1:]], ["--after", *after[:1]]]
    named = [word for option in around if len(option) > 1 for word in option]
    return ["--outcome", config["group"]["outcome"], *named]


def table_of(stage):
    """Table of what a stage did to the sessions of one job."""
    return f"{OUTPUT}/status/{stage}/batches/{{batch}}.tsv"


def tables_of(stage):
    """The tables of a stage for all jobs."""
    return expand(table_of(stage), batch=BATCHES)


KEEP_SCANS = config["convert"]["keep_scans"]
LEFT = f"{OUTPUT}/converted/{{batch}}"  # scans that only preprocessing reads


def scans_option(wildcards):
    """Option of a script for the folder of converted scans where the dataset does not keep them."""
    return [] if KEEP_SCANS else ["--scans", LEFT.format(batch=wildcards.batch)]


@cache
def rows_of_sessions():
    """The rows of each session in the samples table, as plain Python: data frames are slow one row at a time."""
    found = {}
    for row in STUDY.samples.drop(columns="line").to_dict("records"):
        found.setdefault(row["key"], []).append(row)
    return found


@cache
def visits_of_sessions():
    """The row of each session in the sessions table."""
    rows = STUDY.sessions.drop(columns="line").astype(str).to_dict("records")
    return {row["key"]: row for row in rows}


def rows_digest(wildcards):
    """Digest of the table rows of a job's sessions and of the state of their raw files, so that a change is seen."""
    return digest_of_rows(sessions_of(wildcards))


def digest_of_rows(keys):
    """Digest of the table rows of sessions and of the state of their raw files."""
    found = []
    for key in keys:
        rows = rows_of_sessions()[key]
        found.append([visits_of_sessions()[key]])
        found.append([[str(value) for value in row.values()] for row in rows])
        found.append(state_of_raw(key))
        if config["convert"]["t1w"] == "deface" and any(
            row["role"] == "T1w" for row in rows
        ):
            from mrsflow.anatomy import faces

            found.append(faces.tools())
        given = [row.get("events") for row in rows]
        found.append(records.state_of(path for path in given if isinstance(path, Path)))
    return digest_of(found)


def raw_of(key):
    """Raw files and folders of a session, as its rows name them."""
    rows = [row for row in rows_of_sessions()[key] if row["role"] not in layout.MAPS]
    return [path for row in rows for path in row["raw"]]


def rows_of_regressors(wildcards):
    """Digest of what the tables say of a job's sessions in the columns that regressors name."""
    tables = STUDY.sessions, STUDY.participants
    rows = [
        session_facts.row_of(*tables, config["fit"], key)
        for key in sessions_of(wildcards)
    ]
    return digest_of(rows) if any(rows) else ""


def state_of_raw(key):
    """State of a session's raw files; where some are away, the state in which they were read."""
    known = None
    if not all(map(is_there, raw_of(key))):
        known = records.read_record(OUTPUT, "convert", key)
    return (known or {}).get("state") or records.state_of(raw_of(key))


def state_of_maps(wildcards):
    """State of the maps of tissue of a job's sessions, so that new ones are seen."""
    found = []
    for key in sessions_of(wildcards):
        maps = maps_of_study()[key]
        found += maps.paths.values() if maps else ()
        found += transforms_of(key, config) if TISSUE else ()
        found += map_files.files_of(key, config["inputs"]["maps"])
    return records.state_of(found)


def tissue_of_batch(wildcards):
    """Table of what the voxels of a job's sessions hold, where the study names maps."""
    named = TISSUE or MAPS
    return table_of("measure_tissue").format(batch=wildcards.batch) if named else []


def files_of_protocol(wildcards, chosen=config):
    """Digest of the files that a protocol names: basis set or pulse, and measured macromolecules."""
    protocol = chosen["protocols"][wildcards.protocol]
    source = study_config.macromolecules_of(protocol)
    named = {
        "basis": protocol["basis"],
        "refocusing.file": (protocol["refocusing"] or {}).get("file"),
        "macromolecules": None if source in study_config.MACROMOLECULES else source,
    }
    for key, path in named.items():
        if path and not is_there(Path(path)):
            raise WorkflowError(
                f"{path}: no such file or folder (protocols.{wildcards.protocol}.{key} of the configuration)"
            )
    return contents_of(*filter(None, named.values()))


def mean_macromolecules_of_batch(wildcards, chosen=config):
    """Mean macromolecules that the sessions of a job take, by protocol."""
    used = set()
    for key in sessions_of(wildcards):
        rows = rows_of_sessions()[key]
        own = any(row["role"] == "mm" for row in rows)
        used |= {
            row["protocol"]
            for row in rows
            if row["role"] == "svs"
            and study_config.needs_mean(chosen["protocols"][row["protocol"]], own)
        }
    return sorted(
        f"{OUTPUT}/basis/{protocol}_macromolecules.nii.gz" for protocol in used
    )


def basis_of_batch(wildcards, source=""):
    """Basis sets of the protocols of a job's metabolite scans, with other macromolecules where a source is given."""
    used = {
        row["protocol"]
        for key in sessions_of(wildcards)
        for row in rows_of_sessions()[key]
        if row["role"] == "svs"
    }
    below = f"{OUTPUT}/basis/{source}/" if source else f"{OUTPUT}/basis/"
    return sorted(f"{below}{protocol}.BASIS" for protocol in used)


def tables_of_variants(wildcards):
    """The tables of the fits of all variants, for all jobs."""
    return expand(
        f"{OUTPUT}/status/fit_{{variant}}/batches/{{batch}}.tsv",
        variant=VARIANTS,
        batch=BATCHES,
    )


def prepared_of_variant(wildcards):
    """The table of the preprocessing that the fit of a variant takes."""
    stage = variants.stage_of("preprocess", wildcards.variant)
    return table_of(stage).format(batch=wildcards.batch)


def with_source(source):
    """The configuration of a variant with these macromolecules."""
    return next(
        own for name, own in VARIANTS.items() if variants.basis_of(name) == source
    )


def cpu_time_of(stage):
    """CPU time (s) that the jobs of a stage took, None where one is not known."""
    spent = 0.0
    for batch in BATCHES:
        try:
            lines = Path(f"{OUTPUT}/benchmarks/{stage}/{batch}.tsv").read_text()
            names, values = (line.split("\t") for line in lines.splitlines()[:2])
            spent += float(dict(zip(names, values))["cpu_time"])
        except (OSError, ValueError, KeyError):
            return None
    return spent


def tell_cost_of_variants():
    """Say what the multiverse costs, unless all of it stands."""
    done = VARIANTS and all(Path(path).is_file() for path in tables_of_variants(None))
    if config["group"]["multiverse"] is not None and not done:
        spent = {stage: cpu_time_of(stage) for stage in ("preprocess", "fit")}
        print(variants.cost(config, len(STUDY.keys), spent), file=sys.stderr)


if workflow.is_main_process:
    tell_cost_of_variants()


FOLDERS = (
    "basis",
    "benchmarks",
    "bids",
    "derivatives",
    "figures",
    "group",
    "logs",
    "report",
    "status",
)


def refuse_unwritable(folder):
    """Stop before any job where the output folder, or the folder to make it in, cannot be written, or no space is left."""
    place = Path(folder).absolute()
    while not is_there(place):
        if place.is_symlink():
            raise WorkflowError(
                f"{folder}: {place} is a link to {os.readlink(place)}, which is not there; is a drive not mounted? bring it "
                "back, or make that folder"
            )
        place = place.parent
    for name in FOLDERS:
        if is_there(Path(folder, name)) and not Path(folder, name).is_dir():
            raise WorkflowError(
                f"{folder}/{name}: is a file where a folder goes; move it away"
            )
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise WorkflowError(
            f"{folder}: cannot be written (output in the configuration)"
        )
    if shutil.disk_usage(Path.cwd()).free < 10_000_000:
        raise WorkflowError(
            f"{Path.cwd()}: the disk is full, so a run cannot even keep its notes; make space, then run the same command"
        )


refuse_unwritable(OUTPUT)
