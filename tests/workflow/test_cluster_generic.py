"""The profile for other schedulers, with commands that answer as those of SGE and PBS do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in import Project

QSUB = """#!/bin/bash
# Runs the last argument in the background; its exit status is kept.
script="${!#}"
id=$(($(ls "$FAKE" | grep -c '[.]job$') + 1))
while ! (set -o noclobber; echo "$*" > "$FAKE/$id.job") 2>/dev/null; do id=$((id + 1)); done
(bash "$script" > "$FAKE/$id.log" 2>&1; echo $? > "$FAKE/$id.tmp"; mv "$FAKE/$id.tmp" "$FAKE/$id.exit") &
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
    programs, fake = tmp_path / "bin", tmp_path / "fake"
    programs.mkdir()
    fake.mkdir()
    for name, text in COMMANDS[scheduler].items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE": str(fake)}
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--workflow-profile",
        "profiles/cluster-generic",
        "--latency-wait",
        "10",
    ]
    result = subprocess.run(
        [*command, *OPTIONS[scheduler]],
        cwd=project.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert len([line for line in project.done() if line.startswith("report_sessions ")]) == 4
    submitted = [p.read_text() for p in fake.glob("*.job")]
    fits = sorted(line for line in submitted if "mrsflow_fit" in line)
    memory = {"sge": ["h_vmem=1000M", "h_vmem=2000M"], "pbs": ["mem=1000mb", "mem=2000mb"]}[scheduler]
    assert len(fits) == 2
    assert all(any(m in line for line in fits) for m in memory), fits
    assert Path(project.folder / "results/report/index.html").is_file()
