"""Shared fixtures."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the project."""
    return ROOT


@pytest.fixture
def png_alone(monkeypatch):
    """Figures in the one format that pages show: that there are others is seen elsewhere."""
    from mrsflow.reporting import figures

    monkeypatch.setattr(figures, "METADATA", {"png": figures.METADATA["png"]})


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scanner files and reference results, which not every clone has beside it."""
    path = Path(os.environ.get("MRSFLOW_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"needs the reference data folder (set MRSFLOW_SHARED; looked for {path.name}/data)")
    return path
