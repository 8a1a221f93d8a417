"""Real stages killed at random moments: the same command goes on, and nothing tells that there was a kill."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_study import COMMAND, ENVIRONMENT, results, snakemake


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


def kill_all(run: subprocess.Popen) -> None:
    """Kill the run and its jobs, unless it was quicker than the one before it."""
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def kill_a_job(run: subprocess.Popen, rng: random.Random) -> None:
    """Kill a job that runs, or the next one."""
    while run.poll() is None and not (jobs := jobs_of(run)):
        time.sleep(0.02)
    if run.poll() is None:
        os.kill(rng.choice(jobs), signal.SIGKILL)


def test_kill_9_of_a_job_and_then_of_the_whole_run(study, undisturbed, tmp_path):
    expected, seconds = undisturbed
    for folder, run, rng in started(study, tmp_path, 1, seconds, 0.5):
        kill_a_job(run, rng)
        time.sleep(rng.uniform(0.1, 0.4) * seconds)
        kill_all(run)
        assert snakemake(folder, "--unlock").returncode == 0
        assert_as_if_nothing_had_been(folder, expected)


@pytest.mark.slow
def test_kill_9_of_the_whole_run_at_20_moments(study, undisturbed, tmp_path):
    expected, seconds = undisturbed
    for folder, run, _ in started(study, tmp_path, 20, seconds, 0.95):
        kill_all(run)
        assert snakemake(folder, "--unlock").returncode == 0
        assert_as_if_nothing_had_been(folder, expected)


@pytest.mark.slow
def test_kill_9_of_a_job_at_20_moments(study, undisturbed, tmp_path):
    expected, seconds = undisturbed
    for folder, run, rng in started(study, tmp_path, 20, seconds, 0.8):
        kill_a_job(run, rng)
        run.wait()
        assert_as_if_nothing_had_been(folder, expected)
