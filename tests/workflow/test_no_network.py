"""The workflow needs no network and asks for none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in import ROOT, Project

WATCH = '''
"""Note every attempt to reach another machine."""
import os
import socket

_connect, _connect_ex, _lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _note(what):
    with open(os.environ["NETWORK_NOTES"], "a") as notes:
        notes.write(f"{what}\\n")


def connect(self, address):
    if self.family != socket.AF_UNIX:
        _note(address)
    return _connect(self, address)


def connect_ex(self, address):
    if self.family != socket.AF_UNIX:
        _note(address)
    return _connect_ex(self, address)


def getaddrinfo(host, *rest, **more):
    _note(host)
    return _lookup(host, *rest, **more)


socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
'''


@pytest.fixture
def alone(tmp_path):
    """Run commands in a network namespace without routes, every Python process watched."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace (unshare -n)")
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH)
    notes = tmp_path / "notes.txt"

    def run(command: list, folder: Path) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k not in ("NIPYPE_NO_ET", "NO_ET")}
        environment |= {"PYTHONPATH": str(tmp_path / "watch"), "NETWORK_NOTES": str(notes)}
        command = ["unshare", "-n", *map(str, command)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)

    run.notes = notes
    return run


def test_the_watch_sees_an_attempt(alone, tmp_path):
    code = "import urllib.request as u; u.urlopen('http://192.0.2.1', timeout=1)"
    assert alone([sys.executable, "-c", code], tmp_path).returncode != 0
    assert "192.0.2.1" in alone.notes.read_text()


def test_planning_and_running_ask_for_no_network(alone, tmp_path):
    project = Project(tmp_path / "p", sessions=2)
    result = alone([sys.executable, "-m", "snakemake", "--cores", "1"], project.folder)
    assert result.returncode == 0, result.stderr
    assert not alone.notes.exists(), alone.notes.read_text()


@pytest.mark.slow
def test_a_trial_from_raw_files_to_report_asks_for_no_network(alone, tmp_path):
    made = alone([sys.executable, ROOT / "scripts/simulate_trial.py", "--out", "t", "--participants", "2"], tmp_path)
    assert made.returncode == 0, made.stderr
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--configfile", "t/config/config.yaml"]
    result = alone([*command, "--cores", "1"], tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "t/results/report/index.html").is_file()
    assert not alone.notes.exists(), alone.notes.read_text()
