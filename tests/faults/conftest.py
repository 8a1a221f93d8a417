"""Small raw files as scanners write them, to be broken."""

from pathlib import Path

import pytest
from faulty import write_raw


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory) -> dict[str, Path]:
    """A small raw file of each vendor: NAA alone."""
    return write_raw(tmp_path_factory.mktemp("raw"))
