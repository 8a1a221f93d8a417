"""Progress of a run: what is counted, and what a run says."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mrsflow.command import cli
from mrsflow.command.progress import Progress

SNAKEFILE = """
rule all:
    input: expand("fit{n}", n=range(2)), "bad"
rule convert:
    output: "a{n}"
    message: "Converting {wildcards.n}"
    shell: "touch {output}"
rule fit:
    input: "a{n}"
    output: "fit{n}"
    message: "Fitting {wildcards.n}"
    shell: "touch {output}"
rule bad:
    output: "bad"
    log: "bad.log"
    message: "Breaking"
    shell: "exit 1"
"""


def test_time_left_follows_what_jobs_of_the_same_rule_took():
    now = [0.0]
    progress = Progress(lambda: now[0])
    assert progress.plan({"convert": 4, "fit": 4, "all": 1, "total": 9}) == "8 jobs: 4 convert, 4 fit"
    lines = []
    for job in range(8):  # one after the other: 10 s each conversion, 100 s each fit
        rule, took = ("convert", 10) if job % 2 == 0 else ("fit", 100)
        progress.start(job, rule, f"{rule} {job}")
        now[0] += took
        lines.append(progress.end(job))
    assert lines[0] == "1/8  convert 0 (10 s)"  # nothing is known of fits
    assert lines[1] == "2/8  fit 1 (2 min, about 6 min left)"  # 330 s
    assert lines[5] == "6/8  fit 5 (2 min, about 2 min left)"  # 110 s
    assert lines[7] == "8/8  fit 7 (2 min)"
    assert progress.end(99) == ""


def test_jobs_beside_each_other_halve_the_time_left():
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.plan({"fit": 6})
    progress.start(0, "fit", "")
    progress.start(1, "fit", "")
    now[0] = 10.0
    progress.end(0)
    progress.end(1)
    assert progress.seconds_left() == pytest.approx(4 * 10 / 2)


def test_a_run_says_a_line_for_each_job_and_which_one_failed(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "-c1", "--keep-going", "--logger", "mrsflow"]
    environment = cli._with_plugins()
    environment["PYTHONPATH"] += os.pathsep + str(cli.workflow_folder() / "scripts")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    lines = done.stderr.splitlines()
    assert done.returncode != 0
    assert lines[0] == "5 jobs: 1 bad, 2 convert, 2 fit"
    for what in ("Converting 0", "Converting 1", "Fitting 0", "Fitting 1"):
        assert sum(what in line for line in lines) == 1
    assert any(line == "failed: Breaking; see bad.log" for line in lines)
    assert any(line.startswith("4/5  ") for line in lines) and len(lines) < 12


LONG = """
rule long:
    output: "made"
    message: "Waiting"
    shell: "touch begun; sleep 120; touch {output}"
"""


def test_ctrl_c_stops_the_jobs_and_ends_in_what_to_type_next(tmp_path):
    (tmp_path / "Snakefile").write_text(LONG)
    code = "import pathlib, sys; from mrsflow.command import cli; cli.workflow_folder = pathlib.Path; "
    code += "sys.exit(cli._snakemake(['-c1', '--logger', 'mrsflow'], 'mrsflow run -c1'))"
    environment = cli._with_plugins()
    environment["PYTHONPATH"] += os.pathsep + str(cli.workflow_folder() / "scripts")
    running = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the command, the run and its jobs
    said = running.communicate(timeout=60)[1].splitlines()
    assert running.returncode != 0
    assert said[-1] == "interrupted; what is finished stays. To go on: mrsflow run -c1"
    assert "stopped: Waiting" in said
    assert not any(word in line for line in said for word in ("Traceback", "failed", "Error"))


def test_a_dry_run_names_the_jobs_in_one_line_and_a_fault_without_the_place_in_the_rules(tmp_path):
    command = [sys.executable, "-m", "snakemake", "-n", "--logger", "mrsflow"]
    environment = cli._with_plugins()
    environment["PYTHONPATH"] += os.pathsep + str(cli.workflow_folder() / "scripts")

    def said() -> list[str]:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        return (done.stdout + done.stderr).splitlines()

    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    assert said() == ["5 jobs: 1 bad, 2 convert, 2 fit"]
    (tmp_path / "Snakefile").write_text('raise WorkflowError("3 found, listed above; mend them")\n' + LONG)
    assert said() == ["3 found, listed above; mend them"]
