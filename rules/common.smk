"""Configuration and tables, read and checked before any job; which sessions a job takes. No stage lives here."""

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir, "scripts")
sys.path.insert(0, str(SCRIPTS))

from mrsflow.basis_sets.presets import refuse_unknown_timing
from mrsflow.errors import InputError
from mrsflow.files import checksum, digest_of
from mrsflow.study import config as study_config
from mrsflow.study import layout, records
from mrsflow.study.study import before_jobs, table_paths

if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


def goes_beyond(*stages):
    """Whether a run goes beyond some stages; Snakemake itself knows its --until only after this file is read."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--until", "-U", nargs="+", default=["all"])
    return not set(parser.parse_known_args(sys.argv[1:])[0].until) <= set(stages)


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
except InputError as error:
    faults.append(str(error))


def lost_files(study):
    """What is missing of the raw files; what they contradict joins the faults. A large study has a job for this."""
    from mrsflow.conversion import headers

    if study is None or len(study.keys) > LARGE:
        return []
    memory = Path(".snakemake", "mrsflow_headers.json")
    faults.extend(headers.contradictions(study, config, memory))
    return headers.missing(study)


if workflow.is_main_process or STUDY is None:
    # listed on the terminal, and there alone, as lines hold full paths; a raw file that is missing costs its session,
    # not the others, unless this is a dry run
    lost = lost_files(STUDY)
    for line in [*faults, *lost]:
        print(line, file=sys.stderr)
    if faults or (lost and (workflow.dryrun or config["on_error"] == "stop")):
        raise WorkflowError(
            f"{len(faults) + len(lost)} found before any job, listed above; mend and run the same command again"
        )

logging.raiseExceptions = False  # where the disk of Snakemake's log is full, the terminal still gets the messages
OUTPUT = config["output"]
STAGES = (*layout.STAGES, "report_sessions")
CONDA = any(
    method.name == "CONDA" for method in workflow.deployment_settings.deployment_method
)
if (
    not CONDA
):  # jobs use the Python that runs Snakemake, whatever stands first on the path of a node
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


def script(name):
    """The script of that name."""
    return SCRIPTS / f"{name}.py"


@cache
def code(name):
    """Digest of a script and of what it imports: Snakemake itself sees neither, and many inputs are slow to watch."""
    return digest_of([checksum(path) for path in records.code_of(script(name))])


def settings(*sections):
    """The part of the configuration that a script reads, as JSON text for its --config option.

    It is given by a function, as Snakemake takes braces in the text of a parameter for wildcards.
    """
    text = json.dumps(
        {name: config[name] for name in ("inputs", "output", "on_error", *sections)}
    )
    return lambda wildcards: text


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


def sessions_of(wildcards):
    """Sessions that a job takes."""
    return BATCHES[wildcards.batch]


def table_of(stage):
    """Table of what a stage did to the sessions of one job."""
    return f"{OUTPUT}/status/{stage}/batches/{{batch}}.tsv"


def tables_of(stage):
    """The tables of a stage for all jobs."""
    return expand(table_of(stage), batch=BATCHES)


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
        found.append([state_of(path) for row in rows for path in row["raw"]])
        found.append([state_of(row["events"]) for row in rows if row.get("events")])
    return digest_of(found)


def basis_file(wildcards):
    """The basis file, or else the file of a pulse, that a protocol names."""
    protocol = config["protocols"][wildcards.protocol]
    return protocol["basis"] or (protocol["refocusing"] or {}).get("file") or []


def macromolecules_file(wildcards):
    """The file of measured macromolecules that a protocol names, if it names one."""
    source = study_config.macromolecules_of(config["protocols"][wildcards.protocol])
    return source if source not in study_config.MACROMOLECULES else []


def mean_macromolecules_of_batch(wildcards):
    """Mean macromolecules that the sessions of a job take, by protocol."""
    used = set()
    for key in sessions_of(wildcards):
        rows = rows_of_sessions()[key]
        own = any(row["role"] == "mm" for row in rows)
        used |= {
            row["protocol"]
            for row in rows
            if row["role"] == "svs"
            and study_config.needs_mean(config["protocols"][row["protocol"]], own)
        }
    return sorted(
        f"{OUTPUT}/basis/{protocol}_macromolecules.nii.gz" for protocol in used
    )


def basis_of_batch(wildcards):
    """Basis sets of the protocols of a job's metabolite scans."""
    used = {
        row["protocol"]
        for key in sessions_of(wildcards)
        for row in rows_of_sessions()[key]
        if row["role"] == "svs"
    }
    return sorted(f"{OUTPUT}/basis/{protocol}.BASIS" for protocol in used)


def state_of(path):
    """Size and modification time of a raw file, or of the files in a folder; None where it is missing."""
    try:
        if path.is_dir():
            return [state_of(p) for p in sorted(path.iterdir()) if p.is_file()]
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns]
    except OSError:
        return None


PREVIOUS = {}  # of each output to restore: the one to restore before it


def missing_outputs(wildcards):
    """Outputs of finished sessions that are gone; `restore` makes them again, one after the other.

    Damaged outputs are removed first (not while another run may be writing them). Where a job's session lost
    outputs of several stages, or one was damaged, the jobs of these stages run again instead, in their order; they
    pass over the sessions that stand.
    """
    hands_off = workflow.dryrun or any(Path(".snakemake", "locks").glob("*"))
    if not hands_off:
        redo_steps_astray()
    gone = []
    for batch, keys in BATCHES.items():
        tables = {stage: Path(table_of(stage).format(batch=batch)) for stage in STAGES}
        finished = [stage for stage in STAGES if tables[stage].is_file()]
        lost = {
            (stage, key): records.astray(OUTPUT, stage, key)
            for stage in finished
            for key in keys
        }
        lost = {place: names for place, names in lost.items() if names}
        spoilt = [
            name
            for names in lost.values()
            for name, damaged in names.items()
            if damaged
        ]
        if hands_off or (len({stage for stage, _ in lost}) < 2 and not spoilt):
            for names in lost.values():
                paths = [
                    f"{OUTPUT}/{name}"
                    for name, damaged in sorted(names.items())
                    if not damaged
                ]
                PREVIOUS.update(zip(paths[1:], paths))
                gone += paths
        else:
            remove(spoilt)
            for stage, _ in lost:
                tables[stage].unlink(missing_ok=True)
    return gone


def redo_steps_astray():
    """Let the steps over the whole study run again whose outputs are missing or damaged."""
    steps = {
        ("simulate_basis", name): f"{OUTPUT}/basis/{name}.BASIS"
        for name in USED_PROTOCOLS
    }
    steps |= {
        ("average_macromolecules", name): f"{OUTPUT}/basis/{name}_macromolecules.nii.gz"
        for name in USED_PROTOCOLS
    }
    for step in ("describe_dataset", "group", "figures", "report"):
        steps[step, "study"] = getattr(rules, step).output[0]
    for (step, key), telltale in steps.items():
        if lost := records.astray(OUTPUT, step, key):
            remove(name for name, damaged in lost.items() if damaged)
            Path(telltale).unlink(missing_ok=True)


def remove(names):
    """Remove outputs that were damaged."""
    for name in names:
        print(
            f"{OUTPUT}/{name}: is not as it was written; it is made again",
            file=sys.stderr,
        )
        Path(OUTPUT, name).unlink(missing_ok=True)


def stage_of(path):
    """Stage and session that wrote an output below the output folder."""
    parts = Path(path).parts
    if parts[0] == "status":
        return parts[1], Path(path).stem
    key = str(layout.SessionKey.of(Path(path).stem))
    for stage in STAGES:
        record = records.read_record(OUTPUT, stage, key)
        if record and path in record["outputs"]:
            return stage, key
    raise WorkflowError(f"{OUTPUT}/{path} is not an output of any recorded session")


def refuse_unwritable(folder):
    """Stop before any job where the output folder, or the folder to make it in, cannot be written, or no space is left."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise WorkflowError(
            f"{folder}: cannot be written (output in the configuration)"
        )
    if shutil.disk_usage(Path.cwd()).free < 10_000_000:
        raise WorkflowError(
            f"{Path.cwd()}: the disk is full, so a run cannot even keep its notes; make space, then run the same command"
        )


refuse_unwritable(OUTPUT)


def advice(log):
    """What a run that failed says last: every session that failed, and which limit to raise for jobs over time."""
    if failed := records.failures(OUTPUT, STUDY.keys):
        yield f"{len(failed)} failed; mend these and run the same command again, what is finished is kept:"
        yield from failed
    logs = [log] if isinstance(log, str) else log or []
    said = "\n".join(Path(path).read_text(errors="replace") for path in logs)
    for name in sorted(
        set(re.findall(r"^Error in rule\s(\w+):(?:\n .*)*TIMEOUT", said, re.MULTILINE))
    ):
        yield f"{name}: over its time limit; raise runtime (min) in the profile: set-resources: {name}:runtime=120"
