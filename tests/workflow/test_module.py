"""The workflow inside another one, as a lab's own Snakefile or snakedeploy uses it: run to the end, from elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in import Project

OUTER = """
configfile: "config/config.yaml"


module mrsflow:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from mrsflow{names}


rule own:
    input:
        "results/report/index.html",
    output:
        "own.txt",
    shell:
        "cp {{input:q}} {{output:q}}"
"""


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the outer workflow as its users do."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=900)


@pytest.mark.parametrize(
    "names", ["", pytest.param(" as mrs_*", marks=pytest.mark.slow)], ids=["own names", "prefixed"]
)
def test_a_module_runs_to_the_end_and_its_outputs_feed_a_rule_of_the_lab(tmp_path, names):
    project = Project(tmp_path / "mrs flow", sessions=2, batch_size=2)
    project.write_config(convert={"keep_scans": False})
    lab = tmp_path / "lab"
    (lab / "workflow").mkdir(parents=True)  # where snakedeploy puts it
    shutil.move(project.folder / "config", lab / "config")
    shutil.copytree(lab / "config/schemas", project.folder / "config/schemas")
    outer = OUTER.format(snakefile=project.folder / "Snakefile", names=names)
    (lab / "workflow/Snakefile").write_text(outer)
    result = snakemake(lab)
    assert result.returncode == 0, result.stderr
    assert "2 of 2 sessions fitted; report: results/report/index.html" in result.stderr
    run, typed = (lab / "results/logs/runs.txt").read_text().splitlines()
    assert "Z  mrsflow " in run and typed.strip() == "snakemake --cores 2"
    done = (lab / "done.txt").read_text().splitlines()
    assert len(done) == len(set(done)) == 4 * 2 + 6
    assert not list(lab.glob("results/converted/*"))
    (lab / "results/derivatives/mrsflow/sub-00001/ses-2/sub-00001_ses-2_fit.txt").unlink()
    result = snakemake(lab, f"{names[4:].rstrip('*')}all", "own.txt")
    assert result.returncode == 0, result.stderr
    assert (lab / "own.txt").read_text() == "report"
    assert (lab / "done.txt").read_text().splitlines()[len(done) :] == ["fit sub-00001_ses-2"]
    assert "Nothing to be done" in snakemake(lab).stderr
    assert snakemake(lab, "--forcerun", f"{names[4:].rstrip('*')}fit").returncode == 0
    again = (lab / "done.txt").read_text().splitlines()[len(done) + 1 :]
    assert {"fit sub-00001_ses-1", "fit sub-00001_ses-2"} <= set(again)
    assert not [line for line in again if line.startswith(("convert ", "preprocess "))]
