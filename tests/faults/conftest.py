"""Small raw files as scanners write them, to be broken; a small study for the real stages."""

from pathlib import Path

import pytest
import real_study
from faulty import write_raw


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory) -> dict[str, Path]:
    """A small raw file of each vendor: NAA alone."""
    return write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def study(shared, tmp_path_factory) -> Path:
    """Two sessions of one made-up person, not run yet."""
    return real_study.write(shared, tmp_path_factory.mktemp("study") / "study")
