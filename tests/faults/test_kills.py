"""Real stages killed at random moments: the same command goes on, and nothing tells that there was a kill."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in import ROOT

from mrsflow.files import digest_of

TWENTY = pytest.param(20, id="20 moments", marks=pytest.mark.slow)
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", str(ROOT / "Snakefile")]
COMMAND += ["--configfile", "config.yaml"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}


def results(folder: Path) -> dict[str, str]:
    """Digest of every result without the time of the plan; of what tells of the run itself only the name."""
    base = folder / "results"
    found = {str(path.relative_to(base)): path for path in base.rglob("*") if path.is_file()}
    own = ("benchmarks", "logs", "status")
    return {name: "" if name.startswith(own) else digest_of(content(path)) for name, path in sorted(found.items())}


def content(path: Path) -> str:
    """Bytes of a file as text, without clock times."""
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", "", path.read_bytes().decode("latin-1"))


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the workflow as a user does."""
    command = [*COMMAND, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, timeout=1500)


def start(folder: Path) -> subprocess.Popen:
    """Start it in a session of its own, so that all of it can be killed at once."""
    return subprocess.Popen(
        COMMAND, cwd=folder, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def jobs_of(run: subprocess.Popen) -> list[int]:
    """Processes of the scripts of the jobs that are running."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            of_run = os.getsid(int(path.name)) == run.pid
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if of_run and b"/scripts/" in command and b".py\0--" in command:
            found.append(int(path.name))
    return found


@pytest.fixture(scope="module")
def study(shared, tmp_path_factory) -> Path:
    """Two sessions of one made-up person."""
    folder = tmp_path_factory.mktemp("study") / "study"
    shutil.copytree(shared / "cases/small-study", folder, copy_function=shutil.copyfile)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    config = folder / "config.yaml"
    text = config.read_text().replace("{sequence: press,", "{sequence: press, preset: ideal,")
    config.write_text(text.replace("freeze: true", "freeze: false"))  # when it was unmasked is of the run itself
    return folder


@pytest.fixture(scope="module")
def undisturbed(study, tmp_path_factory) -> tuple[dict[str, str], float]:
    """What an undisturbed run leaves, and how long it takes (s)."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    shutil.copytree(study, folder)
    begin = time.monotonic()
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return results(folder), time.monotonic() - begin


def assert_as_if_nothing_had_been(folder: Path, expected: dict[str, str]) -> None:
    """Check that the documented command ends well, with the same files as ever and no others."""
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert results(folder) == expected
    assert "Nothing to be done" in snakemake(folder).stderr


def started(study: Path, folder: Path, moments: int, seconds: float, latest: float) -> Iterator[tuple]:
    """Start a run in a copy of the study for each moment, and wait until that; the copy goes after it was looked at."""
    rng = random.Random(moments)
    for number in range(moments):
        copy = folder / str(number)
        shutil.copytree(study, copy)
        run = start(copy)
        time.sleep(rng.uniform(0.1, latest) * seconds)
        yield copy, run, rng
        shutil.rmtree(copy)


@pytest.mark.parametrize("moments", [pytest.param(1, id="1 moment"), TWENTY])
def test_kill_9_of_the_whole_run(study, undisturbed, tmp_path, moments):
    expected, seconds = undisturbed
    for folder, run, _ in started(study, tmp_path, moments, seconds, 0.95):
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert snakemake(folder, "--unlock").returncode == 0
        assert_as_if_nothing_had_been(folder, expected)


@pytest.mark.parametrize("moments", [pytest.param(1, id="1 moment"), TWENTY])
def test_kill_9_of_a_job(study, undisturbed, tmp_path, moments):
    expected, seconds = undisturbed
    for folder, run, rng in started(study, tmp_path, moments, seconds, 0.8):
        while run.poll() is None and not (jobs := jobs_of(run)):
            time.sleep(0.02)
        if run.poll() is None:
            os.kill(rng.choice(jobs), signal.SIGKILL)
        run.wait()
        assert_as_if_nothing_had_been(folder, expected)
