import errno
import os
from pathlib import Path

import pytest

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study.records import (
    Work,
    astray,
    code_of,
    damaged,
    each_session,
    failures,
    fault_of_machine,
    outputs_of,
    read_record,
    record_path,
)


class Stage:
    """A stage that copies its input in capitals, and counts."""

    def __init__(self, output, inputs):
        self.output, self.inputs, self.done = output, inputs, []

    def do(self, item):
        self.done.append(item.key)
        text = item.inputs[0].read_text()
        if "bad" in text:
            raise InputError("row 3: this is bad")
        if "broken" in text:
            raise OSError("no more")
        if "odd" in text:
            raise ValueError('"odd" is\todd')
        path = self.output / f"{item.key}.txt"
        path.write_text(text.upper() + item.settings.get("end", ""))
        return [path]

    def run(self, keys, table="t", settings=None, **options):
        self.done.clear()
        work = [Work(key, [self.inputs / key], settings or {}) for key in keys]
        table = self.output / "status" / f"{table}.tsv"
        each_session("one", work, self.do, self.output, table, code=[], **options)
        return read_table(table).set_index("session")["status"].to_dict()


@pytest.fixture
def stage(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for key in ("a", "b", "c"):
        (tmp_path / "in" / key).write_text(f"text {key}")
    return Stage(tmp_path / "out", tmp_path / "in")


def test_a_session_is_done_once_and_again_when_something_changed(stage):
    assert stage.run("abc") == dict.fromkeys("abc", "ok")
    assert stage.done == ["a", "b", "c"]
    stage.run("abc", table="other batches")
    assert stage.done == []
    (stage.inputs / "b").write_text("new text")
    stage.run("abc")
    assert stage.done == ["b"]
    (stage.output / "c.txt").unlink()
    stage.run("abc")
    assert stage.done == ["c"]
    (stage.output / "a.txt").write_text("edited by hand")
    stage.run("abc")
    assert stage.done == ["a"]
    stage.run("abc", settings={"end": "!"})
    assert stage.done == ["a", "b", "c"]


def test_a_bad_session_is_recorded_and_the_others_go_on(stage, capsys):
    stage.run("abc")
    (stage.inputs / "b").write_text("bad")
    assert stage.run("abc") == {"a": "ok", "b": "failed", "c": "ok"}
    assert stage.done == ["b"]
    assert read_record(stage.output, "one", "b")["reason"] == "row 3: this is bad"
    assert "row 3: this is bad" in capsys.readouterr().err
    assert not (stage.output / "b.txt").exists()  # made from what no longer stands
    with pytest.raises(InputError):
        stage.run("abc", stop_on_error=True)


def test_a_fault_of_the_machine_fails_the_job_after_all_sessions_were_tried(stage):
    (stage.inputs / "a").write_text("broken")
    with pytest.raises(InputError, match="a: OSError: no more; this is the machine"):
        stage.run("abc")
    assert stage.done == ["a", "b", "c"]
    assert not (stage.output / "status/t.tsv").exists()
    (stage.inputs / "a").write_text("mended")
    stage.run("abc")
    assert stage.done == ["a"]


def test_a_fault_of_the_machine_is_told_from_one_of_the_study_s_files():
    full, closed = (
        OSError(errno.ENOSPC, "No space", "results/a.txt"),
        PermissionError(errno.EACCES, "denied", "raw/a.dat"),
    )
    hidden = InputError("cannot be read")
    hidden.__context__ = full
    for error in (full, hidden):
        assert fault_of_machine(error, Path("results")) == "results/a.txt: the disk is full (No space)"
    assert fault_of_machine(closed, Path("results")) is None
    closed.filename = "results/a.txt"
    assert fault_of_machine(closed, Path("results")) == "results/a.txt: denied"
    assert fault_of_machine(MemoryError(), Path("results")) == "memory is short"
    assert fault_of_machine(ZeroDivisionError(), Path("results")) is None


@pytest.mark.parametrize("when", ["newer than the record", "as old as before"])
def test_damage_that_keeps_a_file_s_size_is_found(stage, when):
    stage.run("ab")
    path = stage.output / "a.txt"
    record, before = record_path(stage.output, "one", "a").stat(), path.stat()
    path.write_text("TEXT X")
    assert path.stat().st_size == before.st_size
    later = record.st_mtime_ns + 1 if when == "newer than the record" else before.st_mtime_ns
    os.utime(path, ns=(later, later))
    assert astray(stage.output, "one", "b") == {}
    assert astray(stage.output, "one", "a") == ({"a.txt": True} if when == "newer than the record" else {})
    assert damaged(stage.output) == ["a.txt"]
    path.write_text("TEXT A")  # touched, but the same
    assert astray(stage.output, "one", "a") == {} and damaged(stage.output) == []
    path.unlink()
    assert astray(stage.output, "one", "a") == {"a.txt": False} and damaged(stage.output) == ["a.txt"]


def test_an_error_that_nobody_foresaw_fails_its_session_alone(stage):
    (stage.inputs / "b").write_text("odd")
    assert stage.run("abc") == {"a": "ok", "b": "failed", "c": "ok"}
    assert failures(stage.output, "abc") == [
        'one: b: unexpected ValueError: "odd" is\todd (the log of one has more)'.replace("\t", " ")
    ]
    stage.run("ab", table="again")
    assert read_table(stage.output / "status/again.tsv")["reason"][1].startswith('unexpected ValueError: "odd"')


def test_a_later_stage_skips_what_failed(stage):
    (stage.inputs / "b").write_text("bad")
    stage.run("ab")
    table = stage.output / "status/two.tsv"
    seen = []

    def do(item):
        seen.append([p.name for p in outputs_of(stage.output, "one", item.key)])
        return []

    work = [Work(key, [], {}, after="one") for key in "abc"]
    each_session("two", work, do, stage.output, table, code=[])
    rows = read_table(table).set_index("session")
    assert rows["status"].to_dict() == {"a": "ok", "b": "skipped", "c": "skipped"}
    assert rows.loc["b", "reason"] == "one: row 3: this is bad"
    assert seen == [["a.txt"]]


def test_the_code_of_a_script_is_what_it_imports(root):
    names = {path.name for path in code_of(root / "tests/unit/test_records.py")}
    assert {"errors.py", "files.py", "records.py"} <= names
    assert "axes.py" not in names
