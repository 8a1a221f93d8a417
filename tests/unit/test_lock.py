"""Pinned packages: every one with hashes, and the same versions wherever they are named."""

import re
import shutil
import subprocess

import yaml


def locked(root):
    """Version and number of hashes of each package of the lock file."""
    text = (root / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line)
        assert match, f"not pinned: {line[:80]}"
        found.setdefault(match[1].lower().replace("_", "-"), []).append((match[2], line.count("--hash=sha256:")))
    return found


def test_every_package_is_pinned_with_hashes(root):
    packages = locked(root)
    assert len(packages) > 50
    assert not [name for name, entries in packages.items() for _, hashes in entries if hashes == 0]


def test_the_conda_environment_has_the_locked_versions(root):
    environment = yaml.safe_load((root / "envs/mrsflow.yaml").read_text())
    packages = locked(root)
    for dependency in environment["dependencies"]:
        name, version = re.fullmatch(r"([\w-]+) =(\S+)", dependency).groups()
        if name != "python":
            assert version in {v for v, _ in packages[name.removesuffix("-base")]}, name


def test_the_conda_environment_has_what_the_project_depends_on(root):
    """Snakemake itself runs outside of it."""
    import tomllib

    text = (root / "envs/mrsflow.yaml").read_text()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[A-Za-z0-9._-]+", d)[0] for d in project["dependencies"]} - {"snakemake"}
    assert not [name for name in names if not re.search(rf"- {name}(-base)? ?=", text)]


def test_every_declared_dependency_is_locked(root):
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    names = {re.match(r"[A-Za-z0-9._-]+", d)[0].lower().replace("_", "-") for d in declared}
    assert names <= set(locked(root))


def test_the_environment_that_segments_has_that_of_the_rules_and_the_extra(root):
    import tomllib

    rules, own = (yaml.safe_load((root / f"envs/{name}.yaml").read_text()) for name in ("mrsflow", "tissue"))
    more = [line for line in own["dependencies"] if line not in rules["dependencies"]]
    assert own["channels"] == rules["channels"] and set(rules["dependencies"]) <= set(own["dependencies"])
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tissue"]
    packages = locked(root)
    assert {line.split(" =")[0] for line in more} == {name.split(">")[0] for name in extra}
    assert all(line.split(" =")[1] in {v for v, _ in packages[line.split(" =")[0]]} for line in more)


def test_make_works_in_a_folder_with_a_space(root, tmp_path):
    folder = tmp_path / "my checkout"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(root / name, folder)
    (folder / ".venv/.ready").touch()
    program = folder / ".venv/bin/pip-audit"
    program.write_text('#!/bin/sh\necho "$@" > asked\n')
    program.chmod(0o755)
    done = subprocess.run(["make", "audit"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "requirements.lock" in (folder / "asked").read_text()
