"""Agreement of fitters: closed forms, naive loops, and the group stage of a study whose second fitter is known."""

import json
from itertools import combinations

import fitted_trial
import numpy as np
import pandas as pd
import pytest
import yaml

from mrsflow.files import read_table
from mrsflow.statistics import agreement, group
from mrsflow.study import config, layout

PEOPLE = ["a", "a", "a", "b", "b", "c"]


def test_with_one_difference_of_each_participant_the_limits_are_those_of_the_plain_sd():
    d = np.array([0.3, -0.2, 0.9, 0.1])
    assert agreement.limits_of_agreement(d, list("abcd")) == pytest.approx((d.mean(), d.std(ddof=1)))


def test_with_equal_counts_the_limits_are_those_of_the_analysis_of_variance():
    """Bland & Altman 2007: between = (MSB - MSW) / m; naive sums over participants."""
    d = {"a": [1.0, 1.2, 0.9], "b": [2.0, 2.4, 2.2], "c": [0.1, 0.4, 0.2]}
    values = [v for own in d.values() for v in own]
    msw = sum(sum((v - np.mean(own)) ** 2 for v in own) for own in d.values()) / 6
    msb = 3 * sum((np.mean(own) - np.mean(values)) ** 2 for own in d.values()) / 2
    expected = np.sqrt((msb - msw) / 3 + msw)
    bias, sd = agreement.limits_of_agreement(values, [name for name in d for _ in range(3)])
    assert (bias, sd) == pytest.approx((np.mean(values), expected))


def test_the_sd_of_a_difference_is_that_of_the_simulation_with_unequal_counts():
    rng, found = np.random.default_rng(3), []
    person = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    for _ in range(400):
        d = rng.normal(0, 0.3, 40)[person] + rng.normal(0, 0.4, person.size)
        found.append(agreement.limits_of_agreement(d, person)[1] ** 2)
    assert np.mean(found) == pytest.approx(0.25, abs=4 * np.std(found) / 20)


def test_correlation_within_participants_is_that_of_every_pair_within_them():
    """Sums over pairs of blocks of one participant, each weighed by 1/n: the same as sums about the mean."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 6)) + np.array([0, 0, 0, 9, 9, -4])
    sums = np.zeros(3)
    for i, j in combinations(range(6), 2):
        if PEOPLE[i] == PEOPLE[j]:
            dx, dy = x[i] - x[j], y[i] - y[j]
            sums += np.array([dx * dx, dy * dy, dx * dy]) / PEOPLE.count(PEOPLE[i])
    r, slope = agreement.within_correlation(x, y, PEOPLE)
    assert (r, slope) == pytest.approx((sums[2] / np.sqrt(sums[0] * sums[1]), sums[2] / sums[0]))
    assert np.isnan(agreement.within_correlation([1, 2], [1, 1], ["a", "b"])).all()


def fits_of(values: dict) -> pd.DataFrame:
    rows = [
        {"key": key, "participant": key[4:6], "block": b, "phase": "baseline" if b == 0 else "infusion",
         "metabolite": name, "per_tnaa": v}
        for (key, name), own in values.items() for b, v in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_fitter_with_a_bias_and_a_smaller_response_shows_both():
    rng = np.random.default_rng(2)
    keys = [f"sub-{p:02d}_ses-{v}" for p in range(6) for v in (1, 2)]
    first = {(k, "Glx"): rng.normal(1.3, 0.1) + np.array([0, 0.02, 0.05, 0.04]) * rng.normal(1, 0.3) for k in keys}
    other = {k: v[0] + 0.13 + 0.5 * (v - v[0]) for k, v in first.items()}
    one, two = fits_of(first), fits_of(other | {("sub-99_ses-1", "Glx"): [1.0] * 4})
    two.loc[0, "per_tnaa"] = np.nan
    (row,) = agreement.agreement_rows({"mrsflow": one, "lcmodel": two}, "tNAA")
    difference = np.concatenate([other[k] - first[k] for k in first])[1:]
    assert (row.outcome, row.fitter, row.reference_fitter) == ("Glx/tNAA", "lcmodel", "mrsflow")
    assert (row.n_blocks, row.n_lost, row.n_sessions, row.n_participants) == (47, 1, 12, 6)
    assert row.bias == pytest.approx(difference.mean())
    assert row.loa_high - row.loa_low == pytest.approx(2 * 1.96 * row.sd_difference, rel=1e-4)
    assert row.slope_change == pytest.approx(0.5, abs=0.02)  # the session without its first block has another baseline
    assert row.r_change > 0.99
    assert 0 < row.icc < 0.9  # agreement is absolute: the bias counts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trial whose second fitter finds 1.1 times of Glx/tNAA, and nothing in one session."""
    made = fitted_trial.write(tmp_path_factory.mktemp("trial"), n=8, group={"draws": 99, "mood_scale": None})
    content = yaml.safe_load(made.config.read_text()) | {"fit": {"fitter": ["mrsflow", "lcmodel"]}}
    made.config.write_text(yaml.safe_dump(content))
    for record in sorted((made.output / "status" / "fit").glob("*.json")):
        known = json.loads(record.read_text())
        for name in list(known["outputs"]):
            table = pd.read_csv(made.output / name, sep="\t", dtype=str)
            if "per_tnaa" in table:
                table["per_tnaa"] = 1.1 * table["per_tnaa"].astype(float)
            if record.stem == "sub-003_ses-1":
                table[["per_tnaa"] if "per_tnaa" in table else ["status"]] = np.nan if "per_tnaa" in table else "failed"
            path = made.output / name.replace("desc-blocks", "desc-lcmodel")
            table.to_csv(path, sep="\t", index=False, na_rep="n/a")
            known["outputs"][str(path.relative_to(made.output))] = "0"
        record.write_text(json.dumps(known))
    settings = config.load(str(made.config))
    group.run(settings)
    return made, settings


def test_the_group_stage_compares_fitters_and_gives_the_difference_under_each(made):
    made, settings = made
    assert {"fitters.tsv", "fitters.json"} <= set(layout.group_files(settings))
    rows = read_table(made.output / "group" / "fitters.tsv").set_index("outcome")
    assert rows.loc["Glx/tNAA", "bias_percent"] == pytest.approx(100 * 0.1 / 1.05, rel=1e-6)
    assert rows.loc["Glx/tNAA", "slope_change"] == pytest.approx(1.1)
    assert rows.loc["Glx/tNAA", "r_change"] == pytest.approx(1.0)
    assert rows.loc["Glx/tNAA", "n_lost"] == 6
    assert "tNAA/tNAA" not in rows.index
    table = read_table(made.output / "group" / "sensitivity.tsv").set_index("analysis")
    assert table.loc["fitter lcmodel", "n_sessions"] == table.loc["primary", "n_sessions"] - 1
    alone = fitted_trial.write(made.config.parents[1] / "alone", n=8, group={"draws": 99, "mood_scale": None})
    gone = alone.output / "status" / "fit" / "sub-003_ses-1.json"
    gone.write_text(json.dumps(json.loads(gone.read_text()) | {"status": "failed", "outputs": {}}))
    group.run(config.load(str(alone.config)))
    without = read_table(alone.output / "group" / "contrasts.tsv").iloc[0]
    assert table.loc["fitter lcmodel", "estimate"] == pytest.approx(1.1 * without["estimate"], rel=1e-5)
    assert table.loc["fitter lcmodel", "p"] == pytest.approx(without["p"], rel=1e-4)


def test_a_fitter_whose_tables_cannot_be_used_is_a_row_that_says_why(made):
    made, settings = made
    (path,) = made.output.rglob("sub-002_ses-1_desc-lcmodel_mrsfit.tsv")
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")  # a block twice
    group.run(settings)
    table = read_table(made.output / "group" / "sensitivity.tsv").set_index("analysis")
    assert "stands twice" in table.loc["fitter lcmodel", "remark"]
    assert np.isfinite(table.loc["primary", "estimate"])


def test_masked_arms_stay_apart_and_fitters_are_compared_all_the_same(made):
    made, settings = made
    masked = settings | {"study": settings["study"] | {"freeze": False}}
    group.run(masked)
    assert (made.output / "group" / "fitters.tsv").is_file()
    assert not (made.output / "group" / "sensitivity.tsv").exists()
