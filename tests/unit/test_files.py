import numpy as np
import pandas as pd
import pytest

from mrsflow.errors import InputError
from mrsflow.files import read_table, write_json, write_table, written_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


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
