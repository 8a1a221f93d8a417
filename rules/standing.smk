"""What stands of earlier runs: raw files that are away, outputs that are lost or damaged, sessions to be tried again.

Planning looks and removes nothing. What is to be made again is a missing input of `all` (`session_file.smk`) or a job
that is forced, as with `--forcerun`. Snakemake itself cannot say it: it compares times and parameters of what a job
declares, and a job of K sessions declares a table, as which files a session has is known when it is done.
"""

import re
import time

from mrsflow.raw_files.formats import files_of
from mrsflow.files import remove, sweep

PREVIOUS = {}  # of each output to restore: the one to restore before it
FORCED = set()  # outputs of jobs of which something does not stand
FAILED_BEFORE = {}  # sessions that had failed when the run began: time of the record
SESSION_LINE = r"\w+: sub-\S+: (failed|skipped): "  # of the last step; said already
STEPS = ("describe_dataset", "group", "figures", "report")


def tell(line):
    """Say something on the terminal."""
    print(line, file=sys.stderr)


def missing_outputs(wildcards):
    """Outputs of finished sessions that are gone, to be made again one after the other; what was damaged is forced."""
    if not workflow.is_main_process:
        return []
    if "--delete-all-output" in sys.argv:
        of_sessions = [path for stage in STAGES for path in outputs_of_sessions(stage)]
        return of_sessions + UNDECLARED
    look()
    workflow.dag.forcefiles.update(FORCED)
    return list(PREVIOUS)


def outputs_of_sessions(stage):
    """Every file of a session that a stage wrote, and its record."""
    for key in STUDY.keys:
        if record := records.read_record(OUTPUT, stage, key):
            yield from (f"{OUTPUT}/{name}" for name in record["outputs"])
            yield str(records.record_path(OUTPUT, stage, key))


def undeclared_outputs():
    """Files that steps over the whole study wrote and no rule declares, and their records; unmasking outlives them."""
    declared = {path for step in STEPS for path in getattr(rules, step).output}
    kept = (f"{OUTPUT}/group/unmasking.json", f"{OUTPUT}/sap/")
    for step in STEPS:
        if record := records.read_record(OUTPUT, step, "study"):
            paths = [f"{OUTPUT}/{name}" for name in record["outputs"]]
            paths.append(str(records.record_path(OUTPUT, step, "study")))
            yield from (
                path
                for path in paths
                if path not in declared and not path.startswith(kept)
            )
    for folder in sorted(Path(OUTPUT, "status").glob("*_*/")):
        if variants.is_variant(folder.name):  # of choices declared earlier too
            yield from outputs_of_sessions(folder.name)


UNDECLARED = list(undeclared_outputs()) if "--delete-all-output" in sys.argv else []


@cache
def look():
    """Look at all that earlier runs made, once."""
    look_at_outputs()
    look_at_steps()


def look_at_outputs():
    """Find what does not stand, and settle how it is made again."""
    for batch, keys in BATCHES.items():
        tables = {stage: Path(table_of(stage).format(batch=batch)) for stage in STAGES}
        tables = {stage: path for stage, path in tables.items() if path.is_file()}
        lost = {
            (stage, key): records.changed_outputs(OUTPUT, stage, key)
            for stage in tables
            for key in keys
        }
        lost = {place: names for place, names in lost.items() if names}
        damaged = tell_damage(name_of_damage(lost.values()))
        if damaged or len({stage for stage, _ in lost}) > 1:
            FORCED.update(str(tables[stage]) for stage, _ in lost)
        else:
            gone = [
                f"{OUTPUT}/{name}" for names in lost.values() for name in sorted(names)
            ]
            for path in gone:
                PREVIOUS[path] = next(reversed(PREVIOUS), None)
        if lacks_scans(batch):
            FORCED.add(table_of("convert").format(batch=batch))
        for stage, table in tables.items():
            if is_to_be_done_again(stage, table):
                FORCED.add(str(table))
        look_at_variants(batch, keys)


def look_at_variants(batch, keys):
    """Let the job of a variant run again of which something is lost or damaged, or waits for the machine."""
    for stage in STAGES_OF_VARIANTS:
        table = Path(table_of(stage).format(batch=batch))
        if not table.is_file():
            continue
        lost = [records.changed_outputs(OUTPUT, stage, key) for key in keys]
        tell_damage(name_of_damage(lost))
        if any(lost) or is_to_be_done_again(stage, table):
            FORCED.add(str(table))


def is_to_be_done_again(stage, table):
    """Whether a session of a job failed for want of the machine, or stands or failed for want of raw files now there."""
    waiting = {
        *records.sessions_in(table, "ok", records.OUTDATED),
        *records.sessions_in(table, "failed", records.NOT_LEFT),
    }
    failed = [key for key in records.sessions_in(table, "failed") if key not in waiting]
    return any(all(map(is_there, raw_of(key))) for key in waiting) or any(
        records.is_to_be_tried_again(OUTPUT, stage, key) for key in failed
    )


def lacks_scans(batch):
    """Whether scans that wait for preprocessing lack a session whose raw files were away and are now there."""
    folder = Path(LEFT.format(batch=batch))
    if KEEP_SCANS or not folder.is_dir():
        return False
    converted = records.sessions_in(Path(table_of("convert").format(batch=batch)), "ok")
    return any(
        not layout.scans_folder(folder, key).is_dir()
        and all(map(is_there, raw_of(key)))
        for key in converted
    )


def name_of_damage(found):
    """Names of outputs that are damaged, among those that are not as they were written."""
    return [name for names in found for name, damaged in names.items() if damaged]


def tell_damage(names):
    """Name the outputs that were damaged; gives them."""
    for name in names:
        tell(f"{OUTPUT}/{name}: is not as it was written; it is made again")
    return names


def look_at_steps():
    """Let the steps over the whole study run again whose outputs are missing or damaged."""
    steps = {(step, "study"): getattr(rules, step).output[0] for step in STEPS}
    for name in USED_PROTOCOLS:
        steps["simulate_basis", name] = f"{OUTPUT}/basis/{name}.BASIS"
        steps["average_macromolecules", name] = (
            f"{OUTPUT}/basis/{name}_macromolecules.nii.gz"
        )
    for (step, key), output in steps.items():
        if Path(output).exists() and (
            lost := records.changed_outputs(OUTPUT, step, key)
        ):
            tell_damage(name_of_damage([lost]))
            FORCED.add(output)


def look_at_raw():
    """Say which raw files are away; with `verify`, compare the others with the checksums of what was read."""
    missing = [key for key in STUDY.keys if not all(map(is_there, raw_of(key)))]
    away = {key: records.read_record(OUTPUT, "convert", key) for key in missing}
    away = {
        key: record
        for key, record in away.items()
        if record is None or records.is_away(record, raw_of(key))
    }
    if away:
        lines = STUDY.samples.set_index("key")["line"]
        key = next(iter(away))
        first = next(path for path in raw_of(key) if not is_there(path))
        row = lines[key] if isinstance(lines[key], str) else lines[key].iloc[0]
        below = next(folder for folder in first.absolute().parents if is_there(folder))
        said = f"raw files of {len(away)} of {len(STUDY.keys)} sessions are not there (first: {row}; looked in {below})"
        never = [key for key, record in away.items() if record is None]
        if never and len(away) > max(1, len(STUDY.keys) / 2):
            raise WorkflowError(
                f"{said}; is a drive not mounted? bring them back or correct column raw, then run the same command again"
            )
        standing = sum(record["status"] == "ok" for record in away.values() if record)
        if standing:
            tell(f"{said}; what was made of {standing} stands, not checked against raw")
    if VERIFY:
        verify_raw([key for key in STUDY.keys if key not in away])


def verify_raw(keys):
    """Compare raw files with the checksums of what was read; a session whose files were replaced is done again."""
    batch_of = {key: batch for batch, batched in BATCHES.items() for key in batched}
    files = 0
    for key in keys:
        named = [
            file
            for row in rows_of_sessions()[key]
            if row["role"] not in layout.MAPS
            for file in files_of(row["raw"])
        ]
        files += len(named)
        if records.replaced(OUTPUT, "convert", key, named):
            tell(
                f"convert: {key}: raw files have another content than when they were read; it is converted again"
            )
            FORCED.add(table_of("convert").format(batch=batch_of[key]))
    tell(
        f"{files} raw files of {len(keys)} sessions compared with the checksums of what was read"
    )


def refuse_future():
    """Stop before any job where a result is dated in the future: Snakemake would reject all that is made of it."""
    stages = (*STAGES, *STAGES_OF_VARIANTS)
    made = [Path(path) for stage in stages for path in tables_of(stage)]
    made += [Path(path) for step in STEPS for path in getattr(rules, step).output]
    made += [Path(f"{OUTPUT}/basis/{name}.BASIS") for name in USED_PROTOCOLS]
    ahead = [
        (path, dated) for path in made if (dated := time_of(path)) > time.time() + 1
    ]
    if ahead and "--touch" not in sys.argv and "-t" not in sys.argv:
        path, dated = ahead[0]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(dated))
        more = f" (and {len(ahead) - 1} more)" if ahead[1:] else ""
        raise WorkflowError(
            f"{path}: is dated {when}, which is in the future{more}; set the clock of this machine or of its file server "
            f"right, then give such files the time of now: find {OUTPUT} -newermt now -exec touch {{}} + "
            "(nothing was removed)"
        )


def time_of(path):
    """When a file was changed (s); 0 where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


def stage_of(path):
    """Stage and session that write an output below the output folder."""
    parts = Path(path).parts
    if parts[0] == "status":
        return parts[1], Path(path).stem
    key = str(layout.SessionKey.of(Path(path).name.split(".")[0]))
    for stage in STAGES:
        record = records.read_record(OUTPUT, stage, key)
        if record and path in record["outputs"]:
            return stage, key
    if parts[0] in ("bids", "report"):
        return {"bids": "convert", "report": "report_sessions"}[parts[0]], key
    return layout.stage_of_derivative(parts[-1]), key


def batch_of_output(wildcards):
    """The job that writes an output of a session."""
    key = stage_of(wildcards.path)[1]
    batch = next((name for name, keys in BATCHES.items() if key in keys), None)
    if batch is None:
        raise WorkflowError(
            f"{OUTPUT}/{wildcards.path}: {key} is not a session of the study"
        )
    return batch


def table_of_output(wildcards):
    """The table of the job that writes an output of a session."""
    path = wildcards.path
    if not KEEP_SCANS and re.match(r"bids/.+/mrs/[^/]+\.nii(\.gz)?$", path):
        raise WorkflowError(
            f"{OUTPUT}/{path}: the dataset does not keep its scans; set convert.keep_scans: true in the configuration"
        )
    return table_of(stage_of(path)[0]).format(batch=batch_of_output(wildcards))


def scans_of_output(wildcards):
    """The converted scans that an output of a session is made of, where the dataset does not keep them."""
    if KEEP_SCANS or stage_of(wildcards.path)[0] != "preprocess":
        return []
    return [LEFT.format(batch=batch_of_output(wildcards))]


def options_of_page(path):
    """Options of the script that writes an output of a session, where it is a page: as in the job of all its sessions."""
    stage, key = stage_of(path)
    return options_of_pages([key]) if stage == "report_sessions" else []


def forced_by_user(job):
    """Whether a job runs as the user asks for it, and not as something of its does not stand."""
    asked = workflow.dag_settings
    named = not {job.rule.name, *job.output}.isdisjoint(asked.forcerun)
    return workflow.dag.reason(job).forced and (
        named or asked.forceall or asked.forcetargets
    )


def failed_now():
    """Records of the sessions that failed, with a line on each and whether that was before this run."""
    for path, line in records.failed_records(OUTPUT, STUDY.keys).items():
        stage = path.parent.name
        if variants.is_variant(stage) and stage not in STAGES_OF_VARIANTS:
            continue  # of choices that are not declared any more
        yield path, line, FAILED_BEFORE.get(path) == path.stat().st_mtime_ns


def last_lines():
    """Which sessions failed, what the machine stopped, what was done and where the report is; each once."""
    found = list(failed_now())
    if new := [line for _, line, before in found if not before]:
        yield f"{len(new)} failed; mend these and run the same command again, what is finished is kept:"
        yield from new
    if old := [line for _, line, before in found if before]:
        yield f"{len(old)} failed in an earlier run, and nothing that bears on them has changed:"
        yield from old
    stages = (*STAGES, *STAGES_OF_VARIANTS)
    tables = [table for stage in stages for table in tables_of(stage)]
    stopped = [path for table in tables if (path := Path(f"{table}.stopped")).is_file()]
    if stopped:
        yield "stopped by the machine, not by the data; the same command tries these again:"
        for path in stopped:
            yield from path.read_text(encoding="utf-8").splitlines()
    if Path(ATTENTION).is_file():
        said = Path(ATTENTION).read_text(encoding="utf-8").splitlines()
        yield from (line for line in said if not re.match(SESSION_LINE, line))
    page = Path(OUTPUT, "report/index.html")
    fitted = sum(
        len(records.sessions_in(table, "ok")) for table in map(Path, tables_of("fit"))
    )
    where = f"report: {page}" if page.is_file() else "there is no report yet"
    yield f"{fitted} of {len(STUDY.keys)} sessions fitted; {where}"


def words_of_last_step():
    """What the last step says of a whole study."""
    complete = Path(OUTPUT, "status/complete.txt")
    if complete.is_file():
        yield from complete.read_text(encoding="utf-8").splitlines()


def words_of(log):
    """What Snakemake's own logs of this run say."""
    logs = [log] if isinstance(log, str) else log or []
    return "\n".join(Path(path).read_text(errors="replace") for path in logs)


def over_time(log):
    """Which limit to raise for jobs that ran over their time."""
    said = words_of(log)
    pattern = r"^Error in rule\s(\w+):(?:\n .*)*TIMEOUT"
    for name in sorted(set(re.findall(pattern, said, re.MULTILINE))):
        yield f"{name}: over its time limit; raise runtime (min) in the profile: set-resources: {name}:runtime=120"


if workflow.is_main_process:
    look_at_raw()
    refuse_future()


def sweep_scans():
    """Remove converted scans that a killed run left and no job needs; Snakemake removes those of its own run alone."""
    others = not workflow.execution_settings.lock  # may be at work here: --nolock
    if KEEP_SCANS or workflow.storage_settings.notemp or others:
        return
    needed = {
        str(path)
        for job in workflow.dag.needrun_jobs()
        for path in [*job.input, *job.output]
    }
    for folder in Path(LEFT).parent.glob("*/"):
        if str(folder) not in needed:
            remove(folder)


def begin(log):
    """Note the run, sweep what killed jobs left, and note what failed before and what the user forces."""
    from mrsflow.reporting.provenance import note_run

    note_run(
        Path(OUTPUT),
        shlex.split(os.environ.get("MRSFLOW_COMMAND", ""))
        or ["snakemake", *sys.argv[1:]],
    )
    sweep(OUTPUT)
    sweep_scans()
    Path(ATTENTION).unlink(missing_ok=True)
    FAILED_BEFORE.update({path: path.stat().st_mtime_ns for path, _, _ in failed_now()})
    stages = (*STAGES, *STAGES_OF_VARIANTS)
    tables = {table for stage in stages for table in tables_of(stage)}
    for job in workflow.dag.needrun_jobs():
        if not tables.isdisjoint(job.output) and forced_by_user(job):
            Path(f"{job.output[0]}.redo").parent.mkdir(parents=True, exist_ok=True)
            Path(f"{job.output[0]}.redo").touch()


def end_well(log):
    """Say what was done."""
    for line in [*last_lines(), *words_of_last_step()]:
        tell(line)


def end_badly(log):
    """Say what failed, or how to go on after Ctrl-C (which the command mrsflow says itself)."""
    stopped = "Terminating processes on user request" in words_of(log)
    for line in [*over_time(log), *last_lines()]:
        tell(line)
    if stopped and "MRSFLOW_COMMAND" not in os.environ:
        tell(
            "interrupted; what is finished stays. To go on, run the same command again"
        )


onstart:
    begin(log)


onsuccess:
    end_well(log)


onerror:
    end_badly(log)


def after(first, second):
    """One handler after another."""
    return lambda log: (first(log), second(log))


# Snakemake leaves out what a module does at the start and the end
if not workflow.modifier.is_main_snakefile():
    workflow._onstart = after(workflow._onstart, begin)
    workflow._onsuccess = after(workflow._onsuccess, end_well)
    workflow._onerror = after(workflow._onerror, end_badly)
