"""The profile for other schedulers, with commands that answer as those of SGE and PBS do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in import Project

QSUB = """#!/bin/bash
# Runs the last argument in the background; its exit status is kept.
script="${!#}"
id=$(($(ls "$FAKE" | grep -c '[.]job$') + 1))
while ! (set -o noclobber; echo "$*" > "$FAKE/$id.job") 2>/dev/null; do id=$((id + 1)); done
set -m
(bash "$script"; echo $? > "$FAKE/$id.tmp"; mv "$FAKE/$id.tmp" "$FAKE/$id.exit") > "$FAKE/$id.log" 2>&1 &
echo $! > "$FAKE/$id.group"
echo "$id"
"""
COMMANDS = {
    "sge": {
        "qsub": QSUB,
        "qstat": '#!/bin/sh\n[ ! -e "$FAKE/$2.exit" ]\n',
        "qacct": '#!/bin/sh\n[ -e "$FAKE/$2.exit" ] && echo "exit_status  $(cat "$FAKE/$2.exit")"\n',
    },
    "pbs": {
        "qsub": QSUB.replace('echo "$id"', 'echo "$id.server"'),
        "qstat": """#!/bin/sh
id=${3%.server}
if [ -e "$FAKE/$id.exit" ]; then echo "    job_state = F"; echo "    Exit_status = $(cat "$FAKE/$id.exit")"
else echo "    job_state = R"; fi
""",
    },
}
OPTIONS = {
    "sge": [],
    "pbs": [
        "--cluster-generic-submit-cmd",
        "profiles/cluster-generic/pbs-submit.sh {rule} {threads} {resources.mem_mb} {resources.runtime}",
        "--cluster-generic-status-cmd",
        "profiles/cluster-generic/pbs-status.sh",
    ],
}


QDEL = """#!/bin/sh
for id in "$@"; do echo "$id" >> "$FAKE/cancelled"; kill -- -"$(cat "$FAKE/${id%.server}.group")"; done
"""
SNAKEMAKE = [
    *(sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/cluster-generic", "--latency-wait", "10"),
]


def scheduler_of(folder: Path, name: str) -> dict[str, str]:
    """Put the commands of a scheduler first on the path of the environment that is returned."""
    programs, fake = folder / "bin", folder / "fake"
    programs.mkdir()
    fake.mkdir()
    for command, text in {**COMMANDS[name], "qdel": QDEL}.items():
        (programs / command).write_text(text)
        (programs / command).chmod(0o755)
    return os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE": str(fake)}


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["sge", "pbs"])
def test_ctrl_c_cancels_the_jobs_that_run(tmp_path, scheduler):
    project = Project(tmp_path / "p", sessions=2, batch_size=2)
    script = project.folder / "scripts/convert.py"
    waits = 'def do(item):\n        Path("started").touch(); __import__("time").sleep(300)'
    script.write_text(script.read_text().replace("def do(item):", waits))
    run = subprocess.Popen(
        [*SNAKEMAKE, *OPTIONS[scheduler]], cwd=project.folder, env=scheduler_of(tmp_path, scheduler),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (project.folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(120) != 0
    job = next(path.stem for path in (tmp_path / "fake").glob("*.job") if "mrsflow_convert" in path.read_text())
    assert job in (tmp_path / "fake/cancelled").read_text().replace(".server", "").split()
    assert not list(project.folder.glob("results/status/convert/*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["sge", "pbs"])
def test_a_study_runs_through_the_submit_and_status_scripts(tmp_path, scheduler):
    project = Project(tmp_path / "p", sessions=4, batch_size=4)
    script = project.folder / "scripts/fit.py"
    script.write_text(
        script.read_text().replace("def do(item):", "def do(item):\n        Path('tried').exists() or fail()")
    )
    script.write_text(
        script.read_text().replace(
            "def main(", "def fail():\n    Path('tried').touch()\n    raise OSError('node')\n\n\ndef main("
        )
    )
    environment = scheduler_of(tmp_path, scheduler)
    command = [*SNAKEMAKE, *OPTIONS[scheduler]]
    result = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len([line for line in project.done() if line.startswith("report_sessions ")]) == 4
    submitted = [p.read_text() for p in (tmp_path / "fake").glob("*.job")]
    fits = sorted(line for line in submitted if "mrsflow_fit" in line)
    memory = {"sge": ["h_vmem=3000M", "h_vmem=4000M"], "pbs": ["mem=1000mb", "mem=2000mb"]}[scheduler]
    assert len(fits) == 2
    assert all(any(m in line for line in fits) for m in memory), fits
    assert Path(project.folder / "results/report/index.html").is_file()
