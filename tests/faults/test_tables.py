"""Tables that people made: each fault is one line that names file, row and remedy, before any job."""

import copy

import pandas as pd
import pytest
from faulty import CONFIG, TABLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.study import config
from mrsflow.study.study import read_study


def study_of(folder, conditions=("placebo", "drug"), **replaced):
    """Read a study whose tables are written as bytes or text; None leaves a table out."""
    paths = {}
    for name, content in (TABLES | replaced).items():
        path = folder / f"{name}.tsv"
        paths[name] = str(path)
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    content = copy.deepcopy(CONFIG) | {"inputs": paths}
    content["study"]["conditions"] = list(conditions)
    return read_study(config.checked(content))


def edited(table, old, new):
    assert old in TABLES[table]
    return {table: TABLES[table].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("table", "usual", "other"), [("sessions", "arm", "condition"), ("sessions", "visit", "period")]
)
def test_a_column_by_its_other_name_is_read_as_the_usual_one(tmp_path, table, usual, other):
    known = getattr(study_of(tmp_path), table).drop(columns="line")
    read = getattr(study_of(tmp_path, **edited(table, usual, other)), table).drop(columns="line")
    pd.testing.assert_frame_equal(read, known)


def test_of_both_names_the_usual_one_counts_and_the_other_is_a_column_like_any(tmp_path):
    both = "\n".join(
        f"{line}\t{'condition' if n == 0 else 'warm'}" for n, line in enumerate(TABLES["sessions"].split("\n")) if line
    )
    study = study_of(tmp_path, sessions=both)
    assert study.sessions["arm"].tolist() == study_of(tmp_path).sessions["arm"].tolist()
    assert set(study.sessions["condition"]) == {"warm"}


FAULTS = {
    "missing": ({"samples": None}, r"samples.tsv: cannot be read \(No such file"),
    "empty": ({"samples": ""}, "samples.tsv: is empty; a header line"),
    "only a header": ({"samples": TABLES["samples"].split("\n")[0]}, "samples.tsv: has no rows"),
    "only a header of sessions": ({"sessions": TABLES["sessions"].split("\n")[0]}, "sessions.tsv: has no rows"),
    "latin-1": ({"participants": TABLES["participants"].replace("F", "ä").encode("latin-1")}, "is not UTF-8"),
    "utf-16": ({"samples": TABLES["samples"].encode("utf-16")}, "is not UTF-8"),
    "binary": ({"samples": bytes(range(128)) * 9}, "samples.tsv"),
    "semicolons": ({"samples": TABLES["samples"].replace("\t", ";")}, "column 'participant' is missing.*semicolons"),
    "tabs and commas mixed": (
        edited("samples", "01\t2\tsvs\ta\tx/2.dat\t09:50:00\t30", "01,2,svs,a,x/2.dat,09:50:00,30"),
        "samples.tsv, line 3: has 1 cells where the header has 7; separate cells with tabs",
    ),
    "one cell too many": (edited("samples", "x/2.dat", "x/2.dat\t"), "line 3: has 8 cells"),
    "open quote": (edited("samples", "x/1.dat", '"x/1.dat'), "samples.tsv, line 2: .*quot"),
    "endless cell": (edited("samples", "x/1.dat", "x" * 200_000), "samples.tsv.*(line 2|too long)"),
    "column twice": (edited("sessions", "visit\tarm", "arm\tarm"), "column 'arm' stands more than once"),
    "column missing": (edited("sessions", "visit\t", "\t"), "column 'visit' is missing"),
    "column misspelt": (edited("samples", "start_time", "starttime"), "'starttime', did you mean 'start_time'"),
    "scan twice": (edited("samples", "x/2.dat", "x/1.dat"), "line 3: repeats .*line 2 .*remove one"),
    "two sessions of one name": (edited("samples", "01\t2\tsvs", "01\t1\tsvs"), "line 3: repeats .*line 2 .*run"),
    "session twice": (edited("sessions", "01\t2\t2", "01\t1\t2"), "sessions.tsv, line 3: repeats .*line 2"),
    "visit twice": (edited("sessions", "01\t2\t2", "01\t2\t1"), "line 3: participant '01' has visit 1 twice"),
    "unknown participant": (edited("samples", "02\t1\tsvs", "03\t1\tsvs"), "line 4: participant '03' is not in"),
    "session of nobody": (edited("participants", "02\t", "03\t"), "participant '02' is not in"),
    "unknown session": (edited("samples", "02\t1\tsvs", "02\t9\tsvs"), "line 4: key 'sub-02_ses-9' is not in"),
    "unknown protocol": (edited("samples", "svs\ta\tx/2", "svs\tb\tx/2"), "line 3: protocol 'b' is not in protocols"),
    "unknown arm": (edited("sessions", "1\tplacebo", "1\tplacbo"), "line 2: arm 'placbo' is not in study.conditions"),
    "arm named nan that is none": (edited("sessions", "placebo", "nan"), "line 2: arm 'nan' is not in"),
    "unknown role": (edited("samples", "svs\ta\tx/1", "fmrs\ta\tx/1"), "line 2: role: 'fmrs' is not one of"),
    "clock time": (edited("samples", "09:50:00", "9.50"), "line 2: start_time: '9.50'"),
    "impossible clock time": (edited("sessions", "10:00:00", "25:00:00"), "line 2: infusion_start: '25:00:00'"),
    "text for a number": (edited("participants", "\t31", "\told"), "line 2: age: 'old' is not a number"),
    "negative weight": (edited("participants", "\t60", "\t-60"), "line 2: weight: -60"),
    "nan for a number": (edited("samples", "\t30", "\tnan"), "line 2: echo_time_ms: 'nan' is not a number"),
    "infinite number": (edited("samples", "\t30", "\tinf"), "line 2: echo_time_ms: 'inf' is not a number"),
    "half a visit": (edited("sessions", "01\t1\t1", "01\t1\t1.5"), "line 2: visit: '1.5' is not a whole number"),
    "name of a person": (edited("participants", "01\tF", "Jo Doe\tF"), "participants.tsv, line 2: participant: "),
    "empty needed cell": (edited("samples", "x/2.dat", ""), "line 3: raw is empty"),
    "formula": (
        {"participants": TABLES["participants"].replace("weight", "site").replace("\t60", "\t=HYPERLINK(1)")},
        "participants.tsv, line 2: site begins with '=', which spreadsheets take for a formula",
    ),
    "formula behind a sign": (
        {"participants": TABLES["participants"].replace("weight", "site").replace("\t80", "\t-2+3")},
        "participants.tsv, line 3: site begins with '-', which spreadsheets",
    ),
    "code too long": (edited("samples", "01\t1\tsvs", "0" * 240 + "\t1\tsvs"), "line 2: participant: .* at most 60"),
    "session too long": (
        edited("samples", "01\t1\tsvs", "01\t" + "1" * 61 + "\tsvs"),
        "line 2: session: .* at most 60",
    ),
    "null byte in a path": (edited("samples", "x/1.dat", "x/\0.dat"), "samples.tsv"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_table_is_one_line_that_names_it(tmp_path, fault):
    replaced, said = FAULTS[fault]
    with pytest.raises(InputError, match=said) as error:
        study_of(tmp_path, **replaced)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_folder_for_a_table_is_named(tmp_path):
    (tmp_path / "samples.tsv").mkdir()
    with pytest.raises(InputError, match=r"samples.tsv: cannot be read \(Is a directory\)"):
        study_of(tmp_path, samples=None)


@pytest.mark.parametrize(
    "how",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace("\t", ",").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
        lambda text: text.replace("\t", " \t ").encode(),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["byte-order mark", "CRLF", "CR", "commas", "blank lines", "blanks", "no last line end"],
)
def test_what_spreadsheets_do_to_a_table_changes_nothing(tmp_path, how):
    plain = study_of(tmp_path)
    other = study_of(tmp_path, **{name: how(text) for name, text in TABLES.items()})
    for name in ("samples", "sessions", "participants"):
        first, second = (getattr(s, name).drop(columns="line") for s in (plain, other))
        assert first.astype(str).equals(second.astype(str)), name


def test_a_condition_named_nan_stays_a_condition(tmp_path):
    sessions = TABLES["sessions"].replace("placebo", "nan")
    study = study_of(tmp_path, conditions=("nan", "drug"), sessions=sessions)
    assert study.sessions["arm"].tolist() == ["nan", "drug", "drug"]


def test_a_blank_line_leaves_the_line_numbers_of_the_file(tmp_path):
    with pytest.raises(InputError, match=r"samples.tsv, line 5: protocol 'b'"):
        study_of(tmp_path, samples=TABLES["samples"].replace("\n", "\n\n").replace("svs\ta\tx/2.", "svs\tb\tx/2."))
    first, rest = TABLES["samples"].split("\n", 1)
    with pytest.raises(InputError, match=r"samples.tsv, line 5: protocol 'b'"):
        study_of(tmp_path, samples=f"{first}\n\n\n" + rest.replace("svs\ta\tx/2.", "svs\tb\tx/2."))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(sorted(TABLES)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255), st.booleans()), min_size=1, max_size=6),
)
def test_damaged_bytes_in_a_table_never_end_in_anything_but_a_study_or_one_line(tmp_path, table, damage):
    content = bytearray(TABLES[table].encode())
    for place, value, cut in damage:
        if cut:
            del content[place % (len(content) + 1) :]
        if content:
            content[place % len(content)] = value
    try:
        study = study_of(tmp_path, **{table: bytes(content)})
    except InputError as error:
        assert "\n" not in str(error)
        assert ".tsv" in str(error)
    else:
        assert study.keys


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=40))
def test_any_text_in_a_cell_comes_back_as_it_is_or_is_refused(tmp_path, text):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"a\tb\nx\t" + text.encode("utf-8", "surrogatepass") + b"\n")
    try:
        table = read_table(path, text_columns=True)
    except InputError as error:
        assert "t.tsv" in str(error)
    else:
        value = table["b"][0]
        plain = text.strip()
        assert (value != value and plain in ("", "n/a")) or value in (plain, text) or '"' in text or "\r" in text
