import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, read_table, scratch, sweep, unfinished, write_json, write_table


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_a_file_is_named_and_left(tmp_path):
    (tmp_path / "kept.txt").mkdir()
    with (
        pytest.raises(IsADirectoryError, match="move it away") as caught,
        atomic_path(tmp_path / "kept.txt") as temporary,
    ):
        temporary.write_text("new")
    assert caught.value.filename == str(tmp_path / "kept.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_table_survives_a_round_trip(tmp_path):
    table = pd.DataFrame({"code": ["01", "02"], "x": [1.5, np.nan], "arm": ["nan", "NA"]})
    write_table(table, tmp_path / "t.tsv")
    back = read_table(tmp_path / "t.tsv")
    assert back["code"].tolist() == ["01", "02"]  # a code is not a number
    assert back["arm"].tolist() == ["nan", "NA"]  # neither is a condition named nan missing
    assert back["x"].iloc[0] == 1.5
    assert np.isnan(back["x"].iloc[1])


@pytest.mark.parametrize("text", ["\ufeffa\tb\r\n1\tx\r\n\r\n2\ty\r\n", "a,b\n1,x\n2,y\n", 'a,b\n1,"x"\n2,y'])
def test_what_spreadsheets_write_is_read_alike(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    table = read_table(path)
    assert table["a"].tolist() == [1, 2]
    assert table["b"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a\ta\n1\t2\n", "more than once"),
        (b"a\tb\n1,2\n", "line 2: has 1 cells where the header has 2; separate cells with tabs"),
        (b"a,b\n1,2,3\n", "line 2: has 3 cells"),
        (b"a\xff,b\n", "is not UTF-8"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path, content, said):
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_table(path)
    assert str(path) in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "absent.tsv")


def test_labels_that_look_like_numbers_stay_text_where_asked(tmp_path):
    (tmp_path / "t.tsv").write_text("session\tvalue\n1e3\t1e3\n007\t7\n")
    found = read_table(tmp_path / "t.tsv", ("session",))
    assert list(found["session"]) == ["1e3", "007"]
    assert list(found["value"]) == [1000.0, 7.0]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json({"x": float("nan")}, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def gone() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_left_is_swept_and_what_others_write_is_not(tmp_path):
    inner = tmp_path / "bids/sub-1"
    inner.mkdir(parents=True)
    host = unfinished("x").split("-")[1]
    dead = [inner / f".tmp-{gone()}-a_svs.nii.gz", tmp_path / f".tmp-{host}-{gone()}-scratch"]
    dead[0].write_text("cut")
    (dead[1] / "deep").mkdir(parents=True)
    (dead[1] / "deep/header").write_text("name")
    alive = [inner / unfinished("b.tsv"), inner / f".tmp-other.host-{gone()}-c.tsv", inner / "sub-1_svs.nii.gz"]
    for path in alive:
        path.write_text("whole")
    assert sorted(sweep(tmp_path)) == sorted(dead)
    assert all(path.exists() for path in alive) and not any(path.exists() for path in dead)
    os.utime(alive[1], (0, 0))
    assert sweep(tmp_path) == [alive[1]]


def test_scratch_is_private_inside_the_folder_and_leaves_nothing(tmp_path):
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    left = tmp_path / f".tmp-{gone()}-scratch"
    left.mkdir()
    with scratch(tmp_path) as own:
        assert not left.exists()
        assert own.stat().st_mode & 0o777 == 0o700
        with tempfile.TemporaryDirectory() as folder:
            assert Path(folder).parent == own
        child = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
        assert subprocess.run(child, capture_output=True, text=True).stdout.strip() == str(own)
        (own / "header").write_text("name")
    assert list(tmp_path.iterdir()) == []
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_scratch_of_a_killed_process_is_found_by_the_next(tmp_path):
    code = (
        "import os, sys; from mrsflow.files import scratch\n"
        f"with scratch({str(tmp_path)!r}) as own:\n    (own / 'header').write_text('name'); os.kill(os.getpid(), 9)"
    )
    scripts = Path(files.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(scripts)})
    assert len(list(tmp_path.iterdir())) == 1
    with scratch(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_names_of_unfinished_files_leave_room(tmp_path):
    path = tmp_path / ("x" * 214)
    with atomic_path(path) as temporary:
        temporary.write_text("a")
    assert path.read_text() == "a"
