"""Progress of a run: what is counted, and what a run says."""

import os
import subprocess
import sys

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
