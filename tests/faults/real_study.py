"""A study of two made-up sessions for the real stages: what runs it, and what it leaves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from stand_in import ROOT

from mrsflow.files import digest_of

COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", str(ROOT / "Snakefile")]
COMMAND += ["--configfile=config.yaml"]  # and no further one, whatever follows
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


def write(shared: Path, folder: Path) -> Path:
    """Write the study: two sessions of one person."""
    shutil.copytree(shared / "cases/small-study", folder, copy_function=shutil.copyfile)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    config = folder / "config.yaml"
    text = config.read_text().replace("{sequence: press,", "{sequence: press, preset: ideal,")
    config.write_text(text.replace("freeze: true", "freeze: false"))  # when it was unmasked is of the run itself
    return folder
