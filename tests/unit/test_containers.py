"""Recipes of containers, and what describes the command to Nipoppy, agree with the command and the package."""

import json
import re
import tomllib

import pytest
import yaml

import mrsflow
from mrsflow.command import cli


def test_an_image_has_all_that_a_wheel_carries(root):
    """The folders that the package data name are copied and not ignored."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    needed = {name.split("/")[0] for name in project["package-data"]["mrsflow.workflow"]}
    needed |= {"pyproject.toml", "README.md", "LICENSE", "requirements.lock"}
    copied = set(re.findall(r"^    (\S+) /source/", (root / "containers/mrsflow.def").read_text(), re.MULTILINE))
    assert needed == copied
    ignored = (root / ".containerignore").read_text().split()
    assert not needed & set(ignored) and all((root / name).exists() for name in needed)
    for recipe in ("Containerfile", "containers/mrsflow.def"):
        assert "--require-hashes -r /source/requirements.lock" in (root / recipe).read_text()


def test_the_descriptor_is_that_of_the_command(root, monkeypatch, tmp_path):
    folder = root / "containers/nipoppy"
    descriptor = json.loads((folder / "descriptor.json").read_text())
    invocation = json.loads((folder / "invocation.json").read_text())
    assert descriptor["tool-version"] == mrsflow.__version__
    inputs = {entry["id"]: entry for entry in descriptor["inputs"]}
    assert set(invocation) <= set(inputs)
    assert re.findall(r"\[(\w+)\]", descriptor["command-line"]) == [
        entry["value-key"].strip("[]") for entry in inputs.values()
    ]
    (tmp_path / "dataset_description.json").write_text("{}")
    words = [str(tmp_path), str(tmp_path / "out"), "participant"]
    for entry in inputs.values():
        if flag := entry.get("command-line-flag"):
            words += [flag, "1"]
    with pytest.raises(SystemExit) as stopped:  # all flags are known: it stops at the configuration, a file named 1
        cli.main(words)
    assert str(stopped.value.code).startswith("error: 1: no such file")


@pytest.mark.parametrize("name", [".github/workflows/tests.yml", ".snakemake-workflow-catalog.yml",
                                  ".github/ISSUE_TEMPLATE/fault.yml", ".github/ISSUE_TEMPLATE/wish.yml"])  # fmt: skip
def test_what_a_forge_reads_is_yaml_and_its_targets_exist(root, name):
    content = yaml.safe_load((root / name).read_text())
    assert isinstance(content, dict) and content
    targets = re.findall(r"run: make (\S+)", (root / name).read_text())
    assert all(re.search(rf"^{target}:", (root / "Makefile").read_text(), re.MULTILINE) for target in targets)
