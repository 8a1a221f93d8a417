"""Formulas: what is understood, what is refused, and the columns that come of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsflow.errors import InputError
from mrsflow.models import formula


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "arm": ["p", "n", "p", "n", "p", "n"],
            "sex": ["F", "F", "M", "M", "F", "M"],
            "dose": [0.0, 5.0, 0.0, 10.0, 5.0, 5.0],
            "period_f": [1, 2, 2, 1, 1, 2],
            "id": ["a", "a", "b", "b", "c", "c"],
            "note": ["x (1|y)", "T.p", "a:b", "[1]", "x (1|y)", "T.p"],
        }
    )


def test_terms_are_expanded_by_degree():
    parsed = formula.parse("y ~ b*a + c + a:b + 1 + (1|g) + ( 1 | g : h )")
    assert parsed.fixed == (("b",), ("a",), ("c",), ("b", "a"))
    assert parsed.random == (("g",), ("g", "h"))
    assert formula.parse("y ~ a*b*c + (1|g)").fixed[-1] == ("a", "b", "c")


@pytest.mark.parametrize(
    "text",
    [
        "y", "y ~ a ~ b", "~ a", "y ~", "y ~ a +", "y ~ a - 1", "y ~ 0 + a", "y ~ log(a)", "y ~ a + (a|g)",
        "y ~ a + (1|g/h)", "y ~ a + (1|g", "y ~ a^2", "y ~ I(a)", "y ~ a + y", "y ~ exec('1')", "log(y) ~ a",
        "y ~ a**b",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match="formula"):
        formula.parse(text)


def test_treatment_coding_by_hand(table):
    made = formula.design(formula.parse("y ~ arm*sex + dose + period_f + (1|id)"), table, {"arm": "p"})
    arm, male = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 0, 1])
    assert made.names == ("(Intercept)", "armn", "sexM", "dose", "period_f2", "armn:sexM")
    expected = np.column_stack([np.ones(6), arm, male, table["dose"], table["period_f"] == 2, arm * male])
    np.testing.assert_array_equal(made.x, expected)
    assert made.levels == {"arm": ["p", "n"], "sex": ["F", "M"], "period_f": ["1", "2"]}


def test_names_between_backticks_are_those_of_the_table(table):
    table = table.rename(columns={"y": "Glx/tNAA", "dose": "dose (mg/kg) + 1", "id": "a:b"})
    made = formula.design(formula.parse("`Glx/tNAA` ~ arm*`dose (mg/kg) + 1` + (1|`a:b`:sex)"), table)
    assert made.names == ("(Intercept)", "armp", "`dose (mg/kg) + 1`", "armp:`dose (mg/kg) + 1`")
    np.testing.assert_array_equal(made.x[:, 2], table["dose (mg/kg) + 1"])
    assert len(set(made.groups["a:b:sex"])) == 4  # a F, b M, c F, c M
    np.testing.assert_array_equal(formula.where("`a:b` == 'a' and `Glx/tNAA` > 1", table), [0, 1, 0, 0, 0, 0])


def test_a_factor_with_one_level_is_refused(table):
    with pytest.raises(InputError, match="factor arm has the single level 'p'"):
        formula.design(formula.parse("y ~ arm + (1|id)"), table[table["arm"] == "p"])


def test_a_reference_makes_a_number_a_factor(table):
    made = formula.design(formula.parse("y ~ dose + (1|id)"), table, {"dose": "5.0"})
    assert made.names == ("(Intercept)", "dose0", "dose10")


def test_levels_of_any_spelling_are_only_names(table):
    made = formula.design(formula.parse("y ~ note + (1|id)"), table)
    assert made.names == ("(Intercept)", "note[1]", "notea:b", "notex (1|y)")  # "T.p" is first in order
    np.testing.assert_array_equal(made.x[:, 2], table["note"] == "a:b")


def test_product_groups_are_the_pairs(table):
    made = formula.design(formula.parse("y ~ 1 + (1|id) + (1|id:sex)"), table)
    assert list(made.groups) == ["id", "id:sex"]
    assert len(set(made.groups["id:sex"])) == 4


def test_missing_rows_are_dropped_and_counted(table):
    table.loc[2, "y"] = np.nan
    table.loc[4, "sex"] = None
    made = formula.design(formula.parse("y ~ sex + (1|id)"), table)
    assert made.n_dropped == 2
    np.testing.assert_array_equal(made.rows, [0, 1, 3, 5])


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("y", 3, np.inf, "line 5: column 'y' is infinite"),
        ("y", 1, "2,0", "line 3: column 'y' holds '2,0' where numbers"),
        ("dose", 4, "high", "line 6: column 'dose' holds 'high' where numbers"),
    ],
)
def test_a_bad_cell_is_named(table, column, row, value, message):
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    if isinstance(value, str):
        table[column] = table[column].astype(str)
    else:
        table[column] = table[column].astype(float)
    with pytest.raises(InputError, match=message):
        formula.design(formula.parse("y ~ dose + (1|id)"), table)


def test_a_missing_column_or_reference_is_named(table):
    with pytest.raises(InputError, match="column 'z' is missing"):
        formula.design(formula.parse("y ~ z + (1|id)"), table)
    with pytest.raises(InputError, match="levels of arm are n, p"):
        formula.design(formula.parse("y ~ arm + (1|id)"), table, {"arm": "placebo"})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("arm == 'n'", [1, 3, 5]),
        ('arm != "n"', [0, 2, 4]),
        ("dose < 5", [0, 2]),
        ("arm == 'n' and dose >= 10", [3]),
        ("period_f == '1'", [0, 3, 4]),
        ("period_f == 1", [0, 3, 4]),
    ],
)
def test_conditions_choose_rows(table, text, kept):
    np.testing.assert_array_equal(np.flatnonzero(formula.where(text, table)), kept)


@pytest.mark.parametrize("text", ["arm", "arm = 'n'", "arm == n", "sum(y) > 1", "arm < 'n'", "nope == 'n'", "arm == 1"])
def test_other_conditions_are_refused(table, text):
    with pytest.raises(InputError, match="condition"):
        formula.where(text, table)


@given(st.text(alphabet="ya1()|+:*~ _.'[]{}@\\\n$;`", max_size=40))
def test_no_text_is_ever_more_than_a_formula_or_a_refusal(text):
    for read in (formula.parse, lambda t: formula.where(t, pd.DataFrame({"y": [1.0], "a": ["x"]}))):
        try:
            found = read(text)
        except InputError:
            continue
        assert isinstance(found, formula.Formula | np.ndarray)
