"""A planned trial rehearsed: simulated raw data of its design through the whole workflow, before the first patient."""

import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import digest_of, read_json, workflow_folder, write_json
from mrsflow.planning import power_plan, rehearsal
from mrsflow.planning.power import power_of
from mrsflow.planning.trials import Scenario
from mrsflow.reporting import rehearsal_page
from mrsflow.simulation import planned_trial
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config as study_config
from mrsflow.study import records

RESULT = "result.json"


def rehearse(config: dict[str, Any], out: Path, cores: int, keep: bool, said: Callable[[str], None]) -> Path:
    """Rehearse a planned trial.

    Parameters
    ----------
    config : dict
        Checked configuration of the planned trial.
    out : Path
        Gets ``index.html``, ``rehearsal.tsv``, ``sap/``, ``power/`` and a folder of every trial. What is finished
        stays.
    cores : int
    keep : bool
        Keep raw files and outputs of all trials; else those of the first alone.
    said : callable
        Gets a line on each trial.

    Returns
    -------
    Path
        The page.
    """
    out = out.absolute()
    plan = plan_of(config)
    contrast = plan.contrasts[0]
    weights = [contrast.of.get(name, float(not contrast.weights)) for name in config["study"]["conditions"]]
    scenario = rehearsal.scenario_for(config, weights)
    planned = power_of(scenario, config["power"]["trials"], config["power"]["seed"])
    asked = config["rehearsal"]
    rows = []
    for number in range(asked["trials"]):
        rows.append(_trial(config, scenario, asked["seed"] + number, out, cores, keep or number == 0, number == 0))
        said(f"trial {number + 1} of {asked['trials']}: {rows[-1]['remark'] or 'finished'}")
    every = {c.name: [c.of.get(n, float(not c.weights)) for n in config["study"]["conditions"]] for c in plan.contrasts}
    power_plan.plan(config, every, out / "power")
    table = result_tables.from_rows(rows, "rehearsal").astype({"seed": "Int64"})
    result_tables.write(table, out / "rehearsal.tsv", described=True)
    return rehearsal_page.write(config, table, scenario, planned, out)


def _trial(
    config: dict[str, Any], scenario: Scenario, seed: int, out: Path, cores: int, keep: bool, first: bool
) -> dict[str, Any]:
    """Simulate and analyse a trial, unless it stands; give its row."""
    folder = out / f"trial-{seed}"
    code = records.digest_of_code(sorted(records.PACKAGE.rglob("*.py")))
    known = {name: own for name, own in config.items() if name not in ("output", "inputs", "pool", "report")}
    digest = digest_of([known, seed, code])
    if (folder / RESULT).is_file() and (found := read_json(folder / RESULT))["digest"] == digest:
        return found["row"]
    if folder.exists():
        shutil.rmtree(folder)
    before = _cpu_seconds()
    planned = planned_trial.draw(config, scenario, seed)
    each = config | {"batch_size": max(1, -(-len(planned.sessions) // cores)), "on_error": "continue"}
    file = planned_trial.write(planned, each, folder, seed, config["rehearsal"]["snr"], cores)
    statistics = ["--", str(folder / "results/group/headline.json")]
    if first:  # masked to the plan of the analysis, as a trial goes
        _run(file, cores, statistics)
        shutil.copytree(folder / "results/sap", out / "sap", dirs_exist_ok=True)
    file.write_text(file.read_text(encoding="utf-8").replace("freeze: false", "freeze: true", 1), encoding="utf-8")
    log = _run(file, cores, [] if first else statistics)
    row = {"seed": seed, "truth": planned.effect_percent, **_result(folder / "results", log)}
    row["cpu_s"] = _cpu_seconds() - before
    row = {name: None if value != value else getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
    if not keep:
        for name in ("raw", "results", "config", ".snakemake"):
            shutil.rmtree(folder / name, ignore_errors=True)
    write_json({"digest": digest, "row": row}, folder / RESULT)
    return row


def _cpu_seconds() -> float:
    """CPU time of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _run(file: Path, cores: int, targets: list[str]) -> Path:
    """Run the workflow on a simulated trial; a session that fails is part of the result.

    Who ends the rehearsal ends this run too, as one that went on would write into the trial that is begun anew.
    """
    log = file.parents[1] / "run.log"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow_folder() / "Snakefile")]
    command += ["--directory", str(file.parents[1]), "--configfile", str(file.absolute()), "--cores", str(cores)]
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with log.open("w", encoding="utf-8") as stream:
        running = subprocess.Popen([*command, "--quiet", "all", *targets], stdout=stream, stderr=stream)
        try:
            running.wait()
        finally:
            running.terminate()  # nothing where it has ended
            running.wait()
            signal.signal(signal.SIGTERM, before)
    return log


def _result(output: Path, log: Path) -> dict[str, Any]:
    """Read the primary result of a trial, in percent of the baseline, and what became of its sessions."""
    place = output / "group/contrasts.tsv"
    if not place.is_file():
        lines = log.read_text(encoding="utf-8").strip().splitlines() or ["no output"]
        return {"remark": f"not analysed: {lines[-1]} (see {log.parent.name}/{log.name})"}
    row = result_tables.read(place).iloc[0]
    blocks = result_tables.read(output / "group/blocks_wide.tsv")
    factor = (row["percent_ci_high"] - row["percent_ci_low"]) / (row["ci_high"] - row["ci_low"])
    failed = {
        path.stem
        for stage in ("convert", "preprocess", "fit")
        for path in (output / "status" / stage).glob("sub-*.json")
        if read_json(path)["status"] == "failed"
    }
    return {
        "estimate": row["percent_of_baseline"], "se": factor * row["se"], "ci_low": row["percent_ci_low"],
        "ci_high": row["percent_ci_high"], "p": row["p"], "n_participants": row["n_participants"],
        "n_failed": len(failed), "n_doubtful": int((blocks["fit_status"] == "doubtful").sum()),
        "n_excluded": int(blocks["excluded"].sum()),
        "remark": "" if np.isfinite(row["estimate"]) else str(row["remark"]),
    }  # fmt: skip


def load(file: Path) -> dict[str, Any]:
    """Read and check the configuration of a planned trial, whose tables need not be there yet."""
    content = study_config.read(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds no configuration; begin one with `mrsflow init`")
    return study_config.checked(content, str(file))
