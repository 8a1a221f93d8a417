"""One model fitted by hand: what is left out and named, and bad tables in one line."""

import json

import numpy as np
import pandas as pd
import pytest

from fit_mixed_model import main
from mrsflow.errors import InputError

FORMULA = "y ~ condition*site + (1|participant)"


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    participant, session, block = (a.ravel() for a in np.indices((9, 2, 3)))
    condition = np.where((participant + session) % 2, "drug", "placebo")
    site = np.array(["a", "b", "c"])[participant % 3]
    y = rng.normal(0, 1, participant.size) + rng.normal(0, 1, 9)[participant]
    columns = {"participant": participant, "session": session, "block": block, "condition": condition}
    return pd.DataFrame(columns | {"site": site, "y": y.round(6)})


def by_hand(table, folder, formula=FORMULA, **options):
    table.to_csv(folder / "table.csv", index=False)
    main(folder / "table.csv", formula, folder / "out.json", **options)
    return json.loads((folder / "out.json").read_text())


def test_an_empty_cell_is_named_and_the_rest_is_the_model_without_it(table, tmp_path, capsys):
    table = table[(table["condition"] == "drug") | (table["site"] != "c")]
    found = by_hand(table, tmp_path, reference={"condition": "placebo"})
    assert found["left_out"] == ["conditiondrug:sitec"]
    assert "conditiondrug:sitec" in capsys.readouterr().out
    cells = table.assign(
        drug=(table["condition"] == "drug").astype(int),
        drug_b=((table["condition"] == "drug") & (table["site"] == "b")),
    ).astype({"drug_b": int})
    plain = by_hand(cells, tmp_path, "y ~ drug + site + drug_b + (1|participant)")
    np.testing.assert_allclose(
        list(found["fixed"]["conditiondrug:siteb"].values()), list(plain["fixed"]["drug_b"].values()), rtol=1e-9
    )
    assert found["loglik"] == pytest.approx(plain["loglik"], abs=1e-10)


def test_groups_by_codes_that_look_like_numbers_are_those_of_their_text(table, tmp_path):
    codes = np.array(["1e3", "1000", "007", "7", "101", "0101", "1E3", "+7", "07"])
    plain = by_hand(table, tmp_path)
    assert by_hand(table.assign(participant=codes[table["participant"]]), tmp_path) == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="site"), "table.csv: column 'site' is missing"),
        (lambda t: t.assign(y=t["y"].astype(str).replace(str(t["y"][3]), "1,2")), "table.csv: line 5: .*'1,2'"),
        (lambda t: t.assign(y=t["y"].where(t.index != 4, -np.inf)), "table.csv: line 6: column 'y' is infinite"),
        (
            lambda t: pd.concat([t, t.iloc[[7]]]),
            "table.csv: line 56: block 1 of session 0 of participant 1 stands twice",
        ),
        (lambda t: t.assign(site="a"), "table.csv: factor site has the single level 'a'"),
        (
            lambda t: t.assign(participant=1, session=range(54)),
            "table.csv: random intercept participant: .* single level",
        ),
        (lambda t: t.iloc[[0, 3, 6, 9]], "table.csv: 4 rows cannot carry a model"),
    ],
)
def test_a_bad_table_is_one_line(table, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        by_hand(change(table), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.json").exists()
