"""Real stages killed at random moments: the same command goes on, and nothing tells that there was a kill."""

import os
import random
import shutil
import signal
import subprocess
import time
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


@pytest.fixture
def start_until(study, undisturbed, tmp_path):
    """Give a function that starts a run in a copy of the study and waits until the moment of a seed."""

    def start_and_wait(seed: int, latest: float) -> tuple[Path, subprocess.Popen, random.Random]:
        rng = random.Random(seed)
        folder = tmp_path / "study"
        shutil.copytree(study, folder)
        run = start(folder)
        time.sleep(rng.uniform(0.1, latest) * undisturbed[1])
        return folder, run, rng

    yield start_and_wait
    shutil.rmtree(tmp_path / "study")


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


def test_kill_9_of_a_job_and_then_of_the_whole_run(start_until, undisturbed):
    folder, run, rng = start_until(1, 0.5)
    kill_a_job(run, rng)
    time.sleep(rng.uniform(0.1, 0.4) * undisturbed[1])
    kill_all(run)
    assert snakemake(folder, "--unlock").returncode == 0
    assert_as_if_nothing_had_been(folder, undisturbed[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_of_the_whole_run_at_20_moments(start_until, undisturbed, seed):
    folder, run, _ = start_until(seed, 0.95)
    kill_all(run)
    assert snakemake(folder, "--unlock").returncode == 0
    assert_as_if_nothing_had_been(folder, undisturbed[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_of_a_job_at_20_moments(start_until, undisturbed, seed):
    folder, run, rng = start_until(seed, 0.8)
    kill_a_job(run, rng)
    run.wait()
    assert_as_if_nothing_had_been(folder, undisturbed[0])
