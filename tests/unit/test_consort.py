"""The flow by sequence and visit, and the baseline table: counts by hand, and sums that must hold."""

from dataclasses import replace

import numpy as np
import pytest
import simple_trial
from fitted_trial import change_sessions, read, run, write

from mrsflow.errors import InputError
from mrsflow.statistics import consort, outcomes
from mrsflow.study.cohort import Loss

LEVELS = {"a": 1.0, "b": 1.0}


@pytest.fixture
def trial():
    """Ten of each order; losses of every kind, some of them of whole sessions that the table does not have."""
    arms = simple_trial.sequences(20, "ab", "ba")
    sex = ["FM"[i % 3 == 0] for i in range(20)]
    made = simple_trial.make(arms, LEVELS, {"a": 0.06, "b": 0.03}, extra={"sex": sex, "age": list(range(20, 40))})
    blocks = made.blocks
    excluded = (blocks["key"] == "sub-004_ses-1") | (
        (blocks["key"] == "sub-006_ses-2") & (blocks["block"] == "baseline")
    )
    gone = blocks["key"].isin(["sub-002_ses-1", "sub-003_ses-2", "sub-005_ses-2"])
    blocks = blocks.assign(excluded=excluded)[~gone].reset_index(drop=True)
    return replace(made, blocks=blocks, sessions=made.sessions[made.sessions["key"] != "sub-005_ses-2"])


LOST = {"sub-002_ses-1": Loss("convert", "header damaged"), "sub-003_ses-2": Loss("", "no scan")}


def table_of(trial):
    return consort.flow_table(trial, LOST, outcomes.prepare(trial, "Glx/tNAA"))


def test_every_loss_is_in_its_sequence_and_visit_with_its_reason(trial):
    table = table_of(trial).set_index(["sequence", "visit", "step"])
    assert table.loc[("a, b", 1, "lost")].set_index("reason")["n_participants"].to_dict() == {
        "convert: header damaged": 1, "every block excluded by the quality rules": 1,
    }  # fmt: skip
    assert table.loc[("a, b", 2, "lost"), "reason"] == outcomes.NO_BASELINE
    assert table.loc[("b, a", 2, "lost")].set_index("reason")["n_participants"].to_dict() == {
        consort.ABSENT: 1, "not scanned: no scan": 1,
    }  # fmt: skip
    analysed = {key: int(table.loc[(*key, "in the primary analysis"), "n_participants"])
                for key in (("a, b", 1), ("a, b", 2), ("b, a", 1), ("b, a", 2))}  # fmt: skip
    assert analysed == {("a, b", 1): 8, ("a, b", 2): 9, ("b, a", 1): 10, ("b, a", 2): 8}


def test_losses_and_analysed_add_up_to_the_sequence(trial):
    table = table_of(trial)
    rows = outcomes.prepare(trial, "Glx/tNAA")
    whole = table[table["step"] == "in the sessions table"].set_index("sequence")["n_participants"]
    parts = table.dropna(subset=["visit"]).groupby(["sequence", "visit"])["n_participants"].sum()
    for (sequence, _), total in parts.items():
        assert total == whole[sequence]
    assert table[table["step"] == "in the primary analysis"]["n_participants"].sum() == len(
        rows.blocks.drop_duplicates(["participant", "session"])
    )


def test_somebody_who_left_early_stays_in_the_sequence_that_began_so_unless_there_are_two():
    arms = simple_trial.sequences(12, "abc", "acb", "bca")
    made = simple_trial.make(arms, dict.fromkeys("abc", 1.0), dict.fromkeys("abc", 0.0))
    early = made.sessions[~made.sessions["key"].isin([f"sub-{p}_ses-{v}" for p in ("000", "002") for v in (2, 3)])]
    found = consort.sequences_of(early)
    assert found["000"] == "a, ?, ?" and found["002"] == "b, c, a" and found["003"] == "a, b, c"


def test_baseline_table_by_hand_and_of_all_alone_while_masked(trial):
    rows = outcomes.prepare(trial, "Glx/tNAA")
    table = consort.baseline_table(trial, rows).set_index(["sequence", "characteristic"])
    assert table.loc[("all", "age"), "mean"].item() == 29.5
    assert table.loc[("a, b", "age"), "mean"].item() == pytest.approx(np.arange(20, 40, 2).mean())
    assert table.loc[("b, a", "age"), "sd"].item() == pytest.approx(np.arange(21, 40, 2).std(ddof=1))
    men = table.loc[("all", "sex")].set_index("level")["n"]
    assert men.to_dict() == {"F": 13, "M": 7}
    own = table.loc[("a, b", "Glx/tNAA at baseline")]
    assert (own["n"], own["n_missing"]) == (8, 2)
    masked = replace(trial, config=trial.config | {"study": trial.config["study"] | {"freeze": False}})
    assert set(consort.baseline_table(masked, rows)["sequence"]) == {"all"}


def test_visits_before_treatment_count_with_those_who_are_compared():
    made = simple_trial.over_visits({"drug": (1.0, 1.02, 1.03)}, ["drug"] * 6)
    made = made.leave_out(made.blocks["key"].isin(["sub-001_ses-1", "sub-002_ses-2", "sub-002_ses-3"]))
    rows = outcomes.prepare(made, "Glx/tNAA")
    table = consort.flow_table(made, {}, rows).dropna(subset=["visit"])
    analysed = table[table["step"] == "in the primary analysis"].set_index("visit")["n_participants"]
    assert analysed.to_dict() == {1: 4, 2: 4, 3: 4}
    lost = table[table["step"] == "lost"].groupby(["visit", "reason"])["n_participants"].sum().to_dict()
    assert lost == {
        (1, "every block excluded by the quality rules"): 1,
        (1, "baseline visit of a participant without a usable later one"): 1,
        (2, "every block excluded by the quality rules"): 1, (2, outcomes.NO_VISIT): 1,
        (3, "every block excluded by the quality rules"): 1, (3, outcomes.NO_VISIT): 1,
    }  # fmt: skip


def declared(made, **study):
    import yaml

    content = yaml.safe_load(made.config.read_text())
    content["study"] |= study
    made.config.write_text(yaml.safe_dump(content))


def test_screened_and_randomised_stand_where_they_are_declared(tmp_path):
    made = write(tmp_path, n=6, freeze=False, group={"mood_scale": None, "secondary": []})
    change_sessions(made, lambda table: None)
    declared(made, screened=19, randomised=8)
    run(made, status=False)
    table = read(made, "flow_by_sequence")
    known = table[table["sequence"] == "all"].set_index("step")["n_participants"].to_dict()
    assert known == {"screened": 19, "not randomised": 11, "randomised": 8, "not in the tables": 2}
    declared(made, randomised=5)
    with pytest.raises(InputError, match=r"study.randomised is 5, and .*sessions.tsv has sessions of 6 participants"):
        run(made, status=False)
    declared(made, randomised=20)
    with pytest.raises(InputError, match=r"study.screened is 19 and study.randomised 20"):
        run(made, status=False)
