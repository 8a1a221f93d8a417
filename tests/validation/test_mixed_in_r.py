"""The mixed-model core beside R's on tables of every kind; skipped with the reason where R or a package is missing."""

import numpy as np
import pandas as pd
import pytest
from fit_in_r import LIMITS, differences

from mrsflow.models import compare_r
from mrsflow.models.table_models import fit_table


@pytest.fixture(scope="module", autouse=True)
def needs_r():
    if reason := compare_r.missing_r():
        pytest.skip(reason)


def test_codes_that_look_like_numbers_are_text_in_r_too():
    table = unbalanced(2, 9, 0.04)
    people = np.array(["1e3", "1000", "007", "7", "101", "0101", "1E3", "+7", "07"])[table["participant"]]
    table = table.assign(participant=people, site=table["site"].map({"a": "01", "b": "1", "c": "1e0"}))
    models = {"codes": fit_table(table, "y ~ condition + site + (1|participant) + (1|participant:session)")}
    for *where, quantity, difference in differences(models):
        assert difference < LIMITS.get(quantity, 1e-6), (where, quantity)


def unbalanced(seed, n, sd_session):
    """Blocks of a crossover with losses, a covariate per block, three sites and no participant of one site and sex."""
    rng = np.random.default_rng(seed)
    participant, session, block = (a.ravel() for a in np.indices((n, 2, 6)))
    site, sex = np.array(["a", "b", "c"])[participant % 3], np.array(["F", "M"])[participant % 2]
    kept = (rng.random(participant.size) > 0.15) & ~((site == "c") & (sex == "M"))
    y = (
        1.35
        + 0.1 * rng.standard_normal(n)[participant]
        + sd_session * rng.standard_normal((n, 2))[participant, session]
    )
    y += 0.05 * rng.standard_normal(y.size)
    columns = {"participant": participant, "session": session, "block": block, "site": site, "sex": sex, "y": y}
    condition = np.where((participant + session) % 2, "drug", "placebo")
    return pd.DataFrame(columns | {"condition": condition, "line width": rng.normal(7, 1, y.size)})[kept]


@pytest.mark.parametrize("sd_session", [0.04, 0.0])
def test_unbalanced_tables_of_every_kind_equal_those_of_r(sd_session):
    both = "(1|participant) + (1|participant:session)"
    formulas = (
        f"y ~ condition*block + session + {both}", f"y ~ condition*`line width` + site + {both}",
        f"y ~ condition + site*sex + {both}", "y ~ condition + `line width` + (1|participant)",
        "y ~ condition*sex + (1|participant) + (1|block)", f"y ~ condition*sex*block + {both}",
    )  # fmt: skip
    models = {}
    for seed, text in enumerate(formulas):
        factors = {"condition": "placebo"} | ({"block": "0"} if "*block" in text else {})
        models[text] = fit_table(unbalanced(seed, 18, sd_session), text, factors, aliased="leave out")
    assert models[formulas[2]].design.left_out == ("sitec:sexM",)
    assert {bool(model.fit.singular) for model in models.values()} == {True, False}
    for *where, quantity, difference in differences(models):
        assert difference < LIMITS.get(quantity, 1e-6), (where, quantity)
