"""The command from a wheel, in folders with spaces, where nothing of the checkout is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import made_datasets as made
import pytest
import yaml
from stand_in import ROOT, Project


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Give what runs the command as a wheel installs it; nothing is fetched."""
    folder = tmp_path_factory.mktemp("in stalled")
    shutil.copytree(
        ROOT, folder / "source", ignore=lambda top, names: [
            name for name in names
            if name.startswith(".") or name == "__pycache__" or (Path(top) == ROOT and name in UNNEEDED)
        ],
    )  # fmt: skip
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-index", "--no-build-isolation", "--no-deps", folder / "source", "-w", folder]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("*.whl"))
    target = folder / "site packages"
    subprocess.run([*pip, "install", "--no-index", "--no-deps", "--target", target, wheel], check=True)
    shutil.rmtree(folder / "source")

    def run(cwd: Path, *arguments) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SNAKEMAKE")}
        environment["PYTHONPATH"] = str(target)
        command = [sys.executable, target / "bin/mrsflow", *arguments]
        return subprocess.run(
            list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=3000
        )

    run.target = target
    return run


UNNEEDED = ("tests", "benchmarks", "demo", "results", "docs", "build", "report_pages")


def test_a_wheel_checks_a_study_with_its_own_workflow(installed, tmp_path):
    study = Project(tmp_path / "project", sessions=2).folder / "config"
    folder = tmp_path / "my study"
    shutil.copytree(study, folder / "config", ignore=shutil.ignore_patterns("schemas"))
    done = installed(folder, "check")
    assert done.returncode == 0, done.stderr
    assert "nothing wrong was found" in done.stdout
    assert not (folder / "results").exists()
    (folder / "config/raw/0.txt").unlink()
    done = installed(folder, "check")
    assert done.returncode == 1 and "0.txt: no such file or folder" in done.stderr
    carried = installed.target / "mrsflow/workflow"
    for name in ("scripts", "rules", "report", "config/schemas"):
        kept = {path.name for path in (ROOT / name).iterdir() if path.is_file()}
        assert {path.name for path in (carried / name).iterdir() if path.is_file()} == kept


@pytest.mark.slow
def test_a_wheel_runs_a_dataset_as_a_bids_app(installed, tmp_path):
    made.pain(tmp_path / "da ta", people=2)
    blocks = {"event": "heat", "bins": {"before": [-2, 0], "after": [0, 2]}, "baseline": ["before"]}
    content = made.configuration(tmp_path / "da ta", inputs={"select": {"task": "pain"}}, blocks=blocks)
    content["group"] = {"mood_scale": None}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    app = ("da ta", "out put", "--config", "config.yaml", "-c1")
    for label in ("01", "02"):
        done = installed(tmp_path, *app[:2], "participant", *app[2:], "--participant-label", label)
        assert done.returncode == 0, done.stderr[-3000:]
        pages = {path.name for path in (tmp_path / "out put/report").glob("*.html")}
        assert f"sub-{label}_ses-1.html" in pages and "index.html" not in pages
    done = installed(tmp_path, *app[:2], "group", *app[2:])
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out put/report/index.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"da ta", "out put", "out put_work", "config.yaml"}
