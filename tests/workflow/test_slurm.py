"""The shipped Slurm profile on a real Slurm of one node: jobs cancelled, too large and too slow, everything killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in import ROOT, Project

from mrsflow.files import checksum

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
HERE = Path(__file__).parent / "local_slurm"
PROFILE = ["--workflow-profile", "profiles/slurm"]


@pytest.fixture(scope="module", autouse=True)
def slurm():
    """A Slurm of one node, stopped at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root to start a Slurm of its own")
    started = subprocess.run([HERE / "start"], capture_output=True, text=True)
    if started.returncode:
        subprocess.run([HERE / "stop"], capture_output=True)
        pytest.skip(f"no Slurm can be started here: {started.stderr.strip()[-200:]}")
    yield
    subprocess.run([HERE / "stop"], check=True)


def snakemake(folder: Path, *options: str, log: str = "said.txt") -> subprocess.Popen:
    """Start a run as a user would, in a session of its own."""
    said = (folder / log).open("a")
    command = [sys.executable, "-m", "snakemake", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
    return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment, start_new_session=True)


def edited(project: Project, stage: str, code: str) -> None:
    """Put a line at the start of a stand-in's work."""
    script = project.folder / f"scripts/{stage}.py"
    script.write_text(script.read_text().replace("def do(item):", f"def do(item):\n        {code}"))


def tables(project: Project) -> dict[str, str]:
    """Checksum of every table and every other result; benchmarks, logs and restored tables are of the run."""
    base = project.folder / "results"
    found = [p for p in base.rglob("*") if p.is_file() and p.suffix in (".tsv", ".txt", ".json", ".html", ".png")]
    own = ("benchmarks", "logs", "status")
    names = {p: str(p.relative_to(base)) for p in found}
    batches = [p for p in found if "/batches/" in names[p]]
    return {names[p]: checksum(p) for p in found if p in batches or not names[p].startswith(own)}


def squeue(*options: str) -> list[str]:
    """Rows that squeue gives."""
    return subprocess.run(["squeue", "-h", *options], capture_output=True, text=True, check=True).stdout.split("\n")[
        :-1
    ]


def run_id(folder: Path, log: str = "said.txt") -> str:
    """Name that all Slurm jobs of a run have; the run says it at its start."""
    return re.findall(r"SLURM run ID: (\S+)", (folder / log).read_text())[-1]


def wait_for(what, seconds: float = 120):
    """Wait until something is true and give it back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.3)
    raise AssertionError("waited in vain")


def running(folder: Path, rule: str) -> str | None:
    """Number of a running Slurm job of a rule, once it is in its script."""
    if "SLURM run ID" not in (folder / "said.txt").read_text():
        return None
    rows = squeue("-t", "RUNNING", "--name", run_id(folder), "-O", "JobID:12,Comment:80")
    return next((row.split()[0] for row in rows if f"rule_{rule}" in row), None)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, str]:
    """Results of the same study on this machine, with one and with two jobs at a time."""
    found = []
    for cores in (1, 2):
        project = Project(tmp_path_factory.mktemp("local") / f"c{cores}", sessions=4, batch_size=2)
        assert project.snakemake(cores=cores).returncode == 0
        found.append(tables(project))
    assert found[0] == found[1]
    assert any(name.endswith(".tsv") for name in found[0])
    return found[0]


@pytest.fixture(scope="module")
def overtime(tmp_path_factory):
    """A run whose first job needs more than its minute, started early as its end takes long to come."""
    project = Project(tmp_path_factory.mktemp("overtime") / "p", sessions=2, batch_size=2)
    edited(project, "convert", "__import__('time').sleep(600)")
    options = ["--set-resources", "convert:runtime=1", "--retries", "0", "--until", "convert"]
    process = snakemake(project.folder, *PROFILE, *options)
    yield project, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def test_cancelled_and_too_large_jobs_are_tried_again(tmp_path, overtime, expected):
    """The profile as it is shipped; a job cancelled by hand; one that needs more memory than it asked for."""
    project = Project(tmp_path / "p", sessions=4, batch_size=2)
    marker = "__import__('pathlib').Path('cancelled')"
    edited(project, "preprocess", f"{marker}.exists() or __import__('time').sleep(90)")
    edited(project, "fit", "room = bytearray(1_200_000_000); __import__('time').sleep(4)")
    process = snakemake(project.folder, *PROFILE)
    job = wait_for(lambda: running(project.folder, "preprocess"))
    (project.folder / "cancelled").touch()
    subprocess.run(["scancel", job], check=True)
    assert process.wait(900) == 0, (project.folder / "said.txt").read_text()[-3000:]
    said = (project.folder / "said.txt").read_text()
    assert "SLURM status is: 'CANCELLED'" in said
    assert re.search(r"Error in rule fit:", said)
    assert said.count("Trying to restart job") >= 2
    assert tables(project) == expected


def test_a_job_over_its_time_limit_is_reported_with_the_key_to_raise(overtime):
    project, process = overtime
    assert process.wait(900) == 1
    last = (project.folder / "said.txt").read_text().strip().splitlines()[-6:]
    assert any(line.startswith("convert: over its time limit; raise runtime (min)") for line in last), last
    assert "set-resources: convert:runtime=" in "\n".join(last)


def test_a_run_killed_with_its_slurmd_goes_on_by_the_documented_commands(tmp_path, expected):
    project = Project(tmp_path / "p", sessions=4, batch_size=2)
    edited(project, "preprocess", "__import__('time').sleep(15)")
    process = snakemake(project.folder, *PROFILE)
    wait_for(lambda: running(project.folder, "preprocess"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    state = Path(os.environ.get("MRSFLOW_SLURM", "/run/mrsflow-slurm"))
    os.kill(int((state / "slurmd.pid").read_text()), signal.SIGKILL)
    name = run_id(project.folder)
    assert squeue("-t", "RUNNING,PENDING", "--name", name), "the jobs should run on"
    subprocess.run(["slurmd"], check=True)
    subprocess.run(["scancel", "--name", name], check=True)
    wait_for(lambda: not squeue("-t", "RUNNING,PENDING,COMPLETING", "--name", name))
    assert snakemake(project.folder, "--unlock").wait(300) == 0
    assert snakemake(project.folder, *PROFILE).wait(900) == 0, (project.folder / "said.txt").read_text()[-3000:]
    assert tables(project) == expected


def test_a_simulated_trial_gives_the_same_tables_as_on_one_machine(tmp_path):
    """Raw files to report, the real stages: jobs of two sessions beside each other against one session at a time."""
    subprocess.run(
        [sys.executable, ROOT / "scripts/simulate_trial.py", "--out", "trial", "--participants", "2"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    options = {"slurm": ["--workflow-profile", str(ROOT / "profiles/slurm")], "local": ["--cores", "1"]}
    runs, found = {}, {}
    for name, own in options.items():
        shutil.copytree(tmp_path / "trial", tmp_path / name / "trial")
        batch = {"slurm": 2, "local": 1}[name]
        common = ["-s", str(ROOT / "Snakefile"), "--configfile", "trial/config/config.yaml"]
        runs[name] = snakemake(tmp_path / name, *common, *own, "--config", f"batch_size={batch}", f"output={name}")
    for name, process in runs.items():
        assert process.wait(900) == 0, (tmp_path / name / "said.txt").read_text()[-3000:]
        output = tmp_path / name / name
        paths = [p for p in output.rglob("*.tsv") if p.relative_to(output).parts[0] != "benchmarks"]
        found[name] = {str(p.relative_to(output)): checksum(p) for p in paths if "/batches/" not in str(p)}
    assert len(found["local"]) > 40
    assert found["slurm"] == found["local"]
