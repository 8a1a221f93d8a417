import errno
import gzip
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from mrsflow.errors import InputError
from mrsflow.files import checksum, read_table, write_json
from mrsflow.study import records
from mrsflow.study.records import (
    Work,
    changed_outputs,
    code_of,
    damaged,
    each_session,
    failures,
    fault_of_machine,
    is_away,
    is_to_be_tried_again,
    outputs_of,
    read_record,
    record_path,
    sessions_in,
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
    assert changed_outputs(stage.output, "one", "b") == {}
    assert changed_outputs(stage.output, "one", "a") == ({"a.txt": True} if when == "newer than the record" else {})
    assert damaged(stage.output) == ["a.txt"]
    path.write_text("TEXT A")  # touched, but the same
    assert changed_outputs(stage.output, "one", "a") == {} and damaged(stage.output) == []
    path.unlink()
    assert changed_outputs(stage.output, "one", "a") == {"a.txt": False} and damaged(stage.output) == ["a.txt"]


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


def test_data_files_count_as_code_and_descriptions_of_tables_do_not(root):
    names = {path.name for path in code_of(root / "scripts/fit.py")}
    assert {"spin_systems.yaml", "result_tables.py"} <= names
    assert "tables.yaml" not in names


def test_what_is_not_finished_is_said_for_each_session_and_stage_and_what_no_row_names(tmp_path):
    def note(stage, key, **more):
        content = {"session": key, "stage": stage, "status": "ok", "reason": "", "outputs": {}, **more}
        write_json(content, tmp_path / "status" / stage / f"{key}.json")

    note("convert", "sub-1_ses-1", unchecked=records.OUTDATED)
    note("convert", "sub-2_ses-1", status="failed", reason="no such file")
    note("fit", "sub-2_ses-1", status="skipped", reason="convert failed")
    note("convert", "sub-9_ses-1", status="failed", reason="of another study")
    keys = ["sub-3_ses-1", "sub-1_ses-1", "sub-2_ses-1"]
    assert records.open_cases(records.of_study(tmp_path, keys), keys) == [
        "convert: sub-3_ses-1: was not run",
        "convert: sub-2_ses-1: failed: no such file",
        "fit: sub-2_ses-1: skipped: convert failed",
        f"convert: sub-1_ses-1: {records.OUTDATED}",
    ]
    (line,) = records.of_no_row(tmp_path, keys)
    assert line.startswith("no row of the tables names sub-9_ses-1 any more (1 in all), whose files count nowhere")
    assert f"delete their folders in {tmp_path}/bids" in line
    assert records.of_no_row(tmp_path, [*keys, "sub-9_ses-1"]) == []


RUN_APART = pytest.mark.skipif(sys.platform != "linux", reason="sessions have a process apart on Linux only")


class Fatal(Stage):
    """A stage whose process is ended by a signal at sessions that say so."""

    def do(self, item):
        text = item.inputs[0].read_text()
        if text.startswith("die"):
            os.kill(os.getpid(), int(text.split()[1]))
        return super().do(item)


@pytest.fixture
def fatal(stage):
    return Fatal(stage.output, stage.inputs)


@RUN_APART
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_session_whose_process_dies_is_named_and_the_others_are_done(fatal, monkeypatch, number):
    (fatal.inputs / "b").write_text(f"die {number:d}")
    monkeypatch.setenv("MRSFLOW_LAST_TRY", "0")
    with pytest.raises(InputError, match=rf"b: its process was ended by signal {number:d} \({number.name}"):
        fatal.run("abc")
    assert (fatal.output / "status/t.tsv.stopped").read_text().startswith("one: b: its process was ended")
    assert read_record(fatal.output, "one", "b") is None
    assert {p.name for p in fatal.output.glob("*.txt")} == {"a.txt", "c.txt"}
    monkeypatch.setenv("MRSFLOW_LAST_TRY", "1")
    assert fatal.run("abc") == {"a": "ok", "b": "failed", "c": "ok"}
    assert not (fatal.output / "status/t.tsv.stopped").exists()
    assert f"signal {number:d}" in read_record(fatal.output, "one", "b")["reason"]
    assert is_to_be_tried_again(fatal.output, "one", "b")
    (fatal.inputs / "b").write_text("text b")
    assert fatal.run("abc") == dict.fromkeys("abc", "ok")
    assert not is_to_be_tried_again(fatal.output, "one", "b")


@RUN_APART
def test_sessions_apart_are_recorded_as_those_in_turn(fatal, monkeypatch, capfd):
    (fatal.inputs / "b").write_text("bad")
    monkeypatch.setenv("MRSFLOW_LAST_TRY", "1")
    assert fatal.run("abc") == {"a": "ok", "b": "failed", "c": "ok"}
    assert "one: b: row 3: this is bad" in capfd.readouterr().err
    (fatal.inputs / "a").write_text("broken")
    with pytest.raises(InputError, match="a: OSError: no more; this is the machine"):
        fatal.run("abc")
    with pytest.raises(InputError, match="one: b: row 3"):
        fatal.run("b", stop_on_error=True)


def test_raw_files_that_are_away_leave_what_was_made_of_them(stage):
    stage.run("abc")
    (stage.inputs / "b").unlink()
    assert stage.run("abc") == dict.fromkeys("abc", "ok")
    assert (stage.output / "b.txt").read_text() == "TEXT B"
    assert read_record(stage.output, "one", "b")["unchecked"] == records.UNCHECKED
    assert stage.run("abc", settings={"end": "!"}) == dict.fromkeys("abc", "ok")
    assert stage.done == ["a", "c"]
    assert read_record(stage.output, "one", "b")["unchecked"] == records.OUTDATED
    (stage.inputs / "b").write_text("text b")
    stage.run("abc", settings={"end": "!"})
    assert (stage.output / "b.txt").read_text() == "TEXT B!"
    assert "unchecked" not in read_record(stage.output, "one", "b")


def test_a_folder_left_for_the_next_stage_is_made_again_and_what_was_made_of_it_stands_without(stage):
    folder = stage.output / "left/a"
    sections = {"first": {}, "second": {}}
    done = []

    def run(name, **places):
        def do(item):
            done.append(name)
            if item.leaves:
                item.leaves.mkdir(parents=True, exist_ok=True)
            path = stage.output / f"{name}.txt"
            path.write_text(str(sections[name]))
            return [path]

        after, inputs = ("first", []) if name == "second" else (None, [stage.inputs / "a"])
        work = Work("a", inputs, sections[name], after=after, **places)
        each_session(name, [work], do, stage.output, stage.output / f"{name}.tsv", code=[])
        return read_record(stage.output, name, "a")

    run("first", leaves=folder)
    run("second", takes=folder)
    folder.rmdir()
    run("second", takes=folder)
    assert done == ["first", "second"]
    run("first", leaves=folder)
    assert folder.is_dir()
    (stage.inputs / "a").unlink()
    folder.rmdir()
    assert run("first", leaves=folder)["unchecked"] == records.UNCHECKED
    sections["second"] = {"another": 1}
    assert run("second", takes=folder)["unchecked"] == records.OUTDATED
    assert sessions_in(stage.output / "second.tsv", "ok", records.OUTDATED) == ["a"]
    assert done == ["first", "second", "first"]
    (stage.output / "second.txt").unlink()
    with pytest.raises(InputError, match="second: a: its converted scans were not kept"):
        run("second", takes=folder)
    assert read_record(stage.output, "second", "a")["status"] == "ok"
    records.record_path(stage.output, "second", "a").unlink()
    assert run("second", takes=folder)["reason"] == records.NOT_LEFT
    assert is_to_be_tried_again(stage.output, "second", "a")


def test_raw_files_away_and_an_output_lost_is_no_fault_of_the_data(stage):
    stage.run("ab")
    (stage.inputs / "b").unlink()
    (stage.output / "b.txt").write_text("half")
    with pytest.raises(InputError, match="b: raw files that were read before are not there"):
        stage.run("ab")
    assert read_record(stage.output, "one", "b")["status"] == "ok"


def test_a_folder_of_which_files_are_gone_counts_as_away_and_one_with_new_files_does_not(stage):
    work = [Work("a", [stage.inputs / name for name in "abc"], {})]

    def run(names):
        work = [Work("a", [stage.inputs / name for name in names], {})]
        stage.done.clear()
        each_session("one", work, stage.do, stage.output, stage.output / "t.tsv", code=[])
        return stage.done

    assert run("abc") == ["a"] and len(work[0].inputs) == 3
    assert run("ab") == []
    (stage.inputs / "d").write_text("text d")
    assert run(["a", "b", "d"]) == ["a"]


def test_a_file_that_the_tables_name_no_more_is_not_away(stage):
    def run(names):
        paths = [stage.inputs / name for name in names]
        stage.done.clear()
        work = [Work("a", [path for path in paths if path.exists()], {"rows": names}, watched=paths)]
        each_session("one", work, stage.do, stage.output, stage.output / "t.tsv", code=[])
        return stage.done

    assert run("abc") == ["a"]
    assert run("ab") == ["a"]  # a row was taken out
    (stage.inputs / "b").unlink()
    assert run("ab") == []
    assert read_record(stage.output, "one", "a")["unchecked"] == records.UNCHECKED


def test_a_raw_file_of_the_same_size_and_time_but_other_content_is_told(stage):
    stage.run("ab")
    path = stage.inputs / "b"
    before = path.stat()
    state = records.state_of([path])
    path.write_text("text x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert records.state_of([path]) == state
    raw = {key: [stage.inputs / key] for key in "ab"}
    assert records.replaced(stage.output, "one", "a", raw["a"]) == []
    assert records.replaced(stage.output, "one", "b", raw["b"]) == [path]
    assert records.compared_within(stage.output, "one", raw, 100) == (2, ["b"])
    assert records.compared_within(stage.output, "one", raw, 6)[0] == 1
    assert records.compared_within(stage.output, "one", raw, 5) == (0, [])


def test_records_and_tables_name_no_raw_folder(stage):
    folder = stage.inputs / "PERSON_INVENTED"
    folder.mkdir()
    (folder / "x").write_text("text")
    each_session("one", [Work("a", [folder / "x"], {})], stage.do, stage.output, stage.output / "t.tsv", code=[])
    (folder / "x").unlink()
    each_session("one", [Work("a", [folder / "x"], {})], stage.do, stage.output, stage.output / "t.tsv", code=[])
    assert not [p for p in stage.output.rglob("*") if p.is_file() and "PERSON" in p.read_text()]


def hidden_behind(message: str, error: Exception) -> InputError:
    try:
        try:
            raise error
        except Exception:
            raise InputError(message) from None
    except InputError as hidden:
        return hidden


class Huge(MemoryError):
    """As numpy raises it."""

    shape, dtype = (1 << 45,), np.dtype(complex)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "I/O error", "raw/PERSON/a.dat"), "a.dat: I/O error"),
        (OSError(errno.ESTALE, "stale", "raw/PERSON/a.dat"), "a.dat: stale"),
        (ChildProcessError(errno.ECHILD, "was ended by SIGKILL", "spec2nii"), "spec2nii: was ended by SIGKILL"),
        (MemoryError(), "memory is short"),
        (Huge(), None),
        (gzip.BadGzipFile("not gzip"), None),
        (FileNotFoundError(errno.ENOENT, "gone", "raw/a.dat"), None),
        (EOFError("cut"), None),
    ],
)
def test_what_lies_behind_a_message_about_damage_is_told(error, said):
    assert fault_of_machine(hidden_behind("a.dat: is damaged, copy it again", error), Path("results")) == said


def test_a_raw_file_that_cannot_be_looked_at_leaves_what_was_made_of_it(stage, monkeypatch):
    """Below a closed folder, or on a mount that is broken, even asking whether a file is there is an error."""
    stage.run("abc")
    whole = Path.stat

    def broken(path, **options):
        if path == stage.inputs / "b":
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(path))
        return whole(path, **options)

    monkeypatch.setattr(Path, "stat", broken)
    assert stage.run("abc", settings={"end": "!"}) == dict.fromkeys("abc", "ok")
    assert stage.done == ["a", "c"]
    assert read_record(stage.output, "one", "b")["unchecked"] == records.OUTDATED
    assert is_away(read_record(stage.output, "one", "b"), [stage.inputs / "b"])
    monkeypatch.setattr(Path, "stat", whole)

    def closed(path, *_):
        raise PermissionError(errno.EACCES, "denied", str(path))

    monkeypatch.setattr(records, "checksum", lambda p: closed(p) if p == stage.inputs / "b" else checksum(p))
    assert stage.run("abc", settings={"end": "?"}) == dict.fromkeys("abc", "ok")
    assert stage.done == ["a", "c"]


def test_a_file_that_a_session_no_longer_has_goes(stage):
    """A run taken out of the tables, or scans that are no longer kept, would else be read by who looks there."""
    names = ["one.txt", "two.txt"]

    def do(item):
        for name in names:
            (stage.output / name).write_text(name)
        return [stage.output / name for name in names]

    def run():
        work = [Work("a", [stage.inputs / "a"], {"names": list(names)})]
        each_session("one", work, do, stage.output, stage.output / "t.tsv", code=[])

    run()
    names.remove("two.txt")
    run()
    assert [path.name for path in stage.output.glob("*.txt")] == ["one.txt"]


def test_a_raw_file_that_is_closed_is_tried_again_and_costs_nothing(stage):
    stage.run("ab")
    (stage.inputs / "b").write_text("text new")
    closed = PermissionError(errno.EACCES, "denied", "b")

    def do(item):
        raise hidden_behind("b: cannot be read (denied)", closed)

    work = [Work("b", [stage.inputs / "b"], {})]
    each_session("one", work, do, stage.output, stage.output / "status/t.tsv", code=[])
    assert is_to_be_tried_again(stage.output, "one", "b")
    assert (stage.output / "b.txt").read_text() == "TEXT B"


def test_a_job_that_snakemake_was_asked_to_do_again_is_done_again(stage):
    stage.run("ab")
    (stage.output / "status/t.tsv.redo").touch()
    stage.run("ab")
    assert stage.done == ["a", "b"]
    stage.run("ab")
    assert stage.done == []


def test_leftovers_of_a_killed_job_are_no_records(stage):
    stage.run("ab")
    (stage.output / "status/one/.tmp-1-a.json").write_text("{")
    assert damaged(stage.output) == []
    assert failures(stage.output, "ab") == []


def test_the_digest_of_code_sees_what_code_does_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.py"

    def digest(text):
        path.write_text(text)
        records._source.cache_clear()
        return records.digest_of_code([path])

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""Module."""\n\n\ndef f(x):  # one more\n    """Add."""\n    return (x + 1)\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain
    assert digest('def f(x):\n    return x + 1\n\n\ntext = "a"\n') != digest(
        'def f(x):\n    return x + 1\n\n\ntext = "b"\n'
    )
    before = digest("def f(x):\n    return x + 1\n")
    monkeypatch.setattr(records.packages, "versions", lambda names: dict.fromkeys(names) | {"scipy": "0"})
    assert records.digest_of_code([path]) != before
