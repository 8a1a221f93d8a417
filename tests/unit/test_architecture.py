"""The map of the code: what may import what, and how large a folder may be."""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mrsflow

PACKAGE = Path(mrsflow.__file__).parent
LAYERS = (
    ("mrsflow",),
    ("basis_sets", "models", "raw_files"),
    ("study", "planning", "anatomy"),
    ("conversion", "preprocessing", "fitting"),
    ("quantification",),
    ("statistics", "simulation", "pooling"),
    ("reporting",),
    ("mrsflow.interfaces",),
    ("command",),
    ("mrsflow.__main__",),
)
"""From the ground up: a module imports from its own folder and from layers below. `mrsflow` are the package's own
modules; folders of one layer do not know each other."""
LARGEST = 0.15
"""Share of the library's lines that no folder is above."""
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported(source: str) -> set[str]:
    """Modules of the package that source text imports, at any depth, for its types too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in full}
    return names & set(MODULES)


def home(module: str) -> str:
    """Give the entry of `LAYERS` that a module belongs to."""
    listed = {name for layer in LAYERS for name in layer}
    return module if module in listed else module.split(".")[1] if module.count(".") > 1 else "mrsflow"


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return {name: imported(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def test_no_modules_import_each_other_in_a_circle(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_folder_has_its_layer():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {name for layer in LAYERS for name in layer if not name.startswith("mrsflow")}


def test_no_import_goes_up_or_across(imports):
    level = {name: n for n, layer in enumerate(LAYERS) for name in layer}
    wrong = [
        f"{module} -> {other}"
        for module, others in imports.items()
        for other in others
        if home(module) != home(other) and level[home(other)] >= level[home(module)]
    ]
    assert not wrong


def test_no_folder_outgrows_the_others():
    lines = Counter()
    for module, path in MODULES.items():
        lines[home(module)] += len(path.read_text(encoding="utf-8").splitlines())
    share = {name: count / lines.total() for name, count in lines.items()}
    assert {name: f"{part:.1%}" for name, part in share.items() if part > LARGEST} == {}


def test_what_the_map_must_catch_is_seen():
    text = "def f():\n    from mrsflow.reporting import figures, report as r\n    import mrsflow.axes\nimport numpy\n"
    assert imported(text) == {"mrsflow.reporting.figures", "mrsflow.reporting.report", "mrsflow.axes"}
    assert imported("from mrsflow.errors import InputError") == {"mrsflow.errors"}
    assert [home(name) for name in ("mrsflow.axes", "mrsflow.study.tables", "mrsflow.interfaces")] == [
        "mrsflow", "study", "mrsflow.interfaces",
    ]  # fmt: skip
