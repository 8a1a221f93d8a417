"""Rules of quality: limits, verdicts on fits, exclusions."""

import numpy as np
import pandas as pd
import pytest

from mrsflow.errors import InputError
from mrsflow.study import config, quality_rules, ratings

RULES = [
    {"level": "block", "metric": "linewidth_ppm", "worse": "above", "warn": 0.08, "exclude": 0.12},
    {"level": "block", "metric": "snr", "worse": "below", "warn": 20, "exclude": 10},
    {"level": "session", "metric": "drift_hz", "worse": "above", "warn": 10, "exclude": 20},
]


@pytest.mark.parametrize(
    ("values", "actions"),
    [
        ({"linewidth_ppm": 0.08, "snr": 20}, []),  # a limit itself is not exceeded
        ({"linewidth_ppm": 0.0801, "snr": 9.99}, ["warn", "exclude"]),
        ({"linewidth_ppm": 0.2, "snr": float("nan")}, ["exclude", "warn"]),
        ({"linewidth_ppm": None, "snr": 50}, ["warn"]),
    ],
)
def test_rules_judge_by_their_limits(values, actions):
    assert [row["action"] for row in quality_rules.judge(RULES, "block", values)] == actions


def test_reason_says_what_was_found_and_the_limit():
    (row,) = quality_rules.judge(RULES, "session", {"drift_hz": 23.456})
    assert row["reason"] == "drift_hz 23.46 > 20"
    assert (row["value"], row["limit"], row["action"]) == (23.456, 20.0, "exclude")


@pytest.mark.parametrize(
    ("warn", "exclude", "actions"),
    [
        ("doubtful", None, {"ok": [], "doubtful": ["warn"], "failed": ["exclude"]}),
        ("doubtful", "doubtful", {"ok": [], "doubtful": ["exclude"], "failed": ["exclude"]}),
        (None, None, {"ok": [], "doubtful": [], "failed": ["exclude"]}),
    ],
)
def test_a_doubtful_fit_is_what_the_rule_makes_of_it_and_a_failed_one_excluded(warn, exclude, actions):
    rule = {"level": "block", "metric": "fit_status", "warn": warn, "exclude": exclude}
    for status, expected in actions.items():
        rows = quality_rules.judge([rule], "block", {"fit_status": status, "fit_reason": "negative Glu"})
        assert [row["action"] for row in rows] == expected
        assert {row["reason"] for row in rows} <= {f"fit {status}: negative Glu"}
    (row,) = quality_rules.judge([rule], "block", {"fit_status": np.nan})
    assert (row["action"], row["reason"]) == ("warn", "fit_status is not known")
    with pytest.raises(InputError, match=r"'tNAA is -1, which is not positive', not ok, doubtful, failed; run the fit"):
        quality_rules.judge([rule], "block", {"fit_status": "tNAA is -1, which is not positive"})


@pytest.mark.parametrize(("status", "remark", "found"), [("ok", "tNAA is 0.6 mM", 1), ("ok", "", 0), ("ok", np.nan, 0)])
def test_a_remark_on_a_fit_that_is_ok_warns_and_excludes_nothing(status, remark, found):
    block = {"linewidth_ppm": 0.05, "snr": 50, "fit_status": status, "fit_reason": remark, "reason": np.nan}
    rows = quality_rules.judge_block(RULES, block)
    assert [(row["action"], row["reason"]) for row in rows] == [("warn", remark)] * found


def test_limits_of_rules_in_words():
    assert [quality_rules.limit_text(rule, "exclude") for rule in RULES] == ["> 0.12", "< 10", "> 20"]
    rule = {"metric": "fit_status", "warn": "doubtful", "exclude": None}
    assert [quality_rules.limit_text(rule, word) for word in ("warn", "exclude")] == ["doubtful", "failed"]
    assert quality_rules.limit_text(rule | {"exclude": "doubtful"}, "exclude") == "doubtful or failed"
    assert quality_rules.limit_text(rule | {"warn": None}, "warn") == ""


def test_a_rule_without_its_metric_is_refused():
    with pytest.raises(InputError, match="block has no metric 'snr'; it has linewidth_ppm"):
        quality_rules.judge(RULES, "block", {"linewidth_ppm": 0.05})


def test_every_exclusion_is_a_row():
    blocks = pd.DataFrame(
        {
            "participant": ["01", "01", "01", "02", "02"],
            "session": "1",
            "block": ["a", "b", "c", "a", "b"],
            "linewidth_ppm": [0.05, 0.2, 0.2, 0.05, np.nan],
            "snr": [50, 15, 50, 50, np.nan],
            "reason": ["", "", "", "", "3 good excitations, blocks.minimum_transients is 8"],
            "fit_status": ["ok", "doubtful", "failed", "ok", np.nan],
            "fit_reason": ["", "negative Glu", "no signal", "", np.nan],
        }
    )
    sessions = pd.DataFrame({"participant": ["01", "02"], "session": ["1", "1"], "drift_hz": [5.0, 25.0]})
    table = quality_rules.exclusions(blocks, sessions, RULES)
    found = {(r.participant, r.block, r.metric, r.action) for r in table.itertuples()}
    assert found == {
        ("01", "b", "linewidth_ppm", "exclude"),
        ("01", "b", "snr", "warn"),
        ("01", "c", "fit_status", "exclude"),  # although no rule names the fit
        ("02", "a", "drift_hz", "exclude"),
        ("02", "b", "drift_hz", "exclude"),
        ("02", "b", "n_transients", "exclude"),
    }
    assert list(table) == ["participant", "session", "block", "level", "metric", "value", "limit", "action", "reason"]


def test_ratings_by_eye_join_the_rules():
    blocks = pd.DataFrame({"participant": ["01", "01", "02", "03"], "session": "1", "block": ["a", "b", "a", "a"]})
    blocks = blocks.assign(linewidth_ppm=0.05, snr=50)
    sessions = pd.DataFrame({"participant": ["01", "02", "03"], "session": "1", "drift_hz": 1.0})
    rated = pd.DataFrame(
        {
            "participant": ["01", "02", "03"],
            "session": "1",
            "rating": ["bad", "doubtful", "good"],
            "note": ["moved", None, "x"],
        }
    )
    table = quality_rules.exclusions(blocks, sessions, RULES, rated)
    assert table[["participant", "block", "metric", "action", "reason"]].to_numpy().tolist() == [
        ["01", "a", "rating", "exclude", "rated bad: moved"],
        ["01", "b", "rating", "exclude", "rated bad: moved"],
        ["02", "a", "rating", "warn", "rated doubtful"],
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("01\t1\tgood\tn/a\n02\t1\t\tn/a", []),
        ("01\t1\tBad\tn/a", ["line 2: rating 'Bad' is none of good, doubtful, bad"]),
        ("01\t1\tbad\t=1+1", ["line 2: note begins with '='"]),
        ("01\t1\tbad\tx\n01\t1\tgood\tx", ["line 3: rates sub-01_ses-1 again"]),
        ("01\t\tbad\tx\n02\t1\tno\tx", ["line 2: participant or session is empty", "line 3: rating 'no'"]),
        ("07\t1\tbad\tx", ["line 2: sub-07_ses-1 has no scans in this study"]),
    ],
)
def test_a_table_of_ratings_is_checked_before_any_job(tmp_path, rows, said):
    path = tmp_path / "ratings.tsv"
    path.write_text(f"participant\tsession\trating\tnote\n{rows}\n")
    found = ratings.faults(path, ["sub-01_ses-1", "sub-02_ses-1"])
    assert len(found) == len(said) and all(words in line for words, line in zip(said, found, strict=True)), found
    assert all(str(path) in line for line in found)


def test_a_study_without_ratings_has_nothing_wrong_and_a_missing_table_is_said(tmp_path):
    assert ratings.faults(None, []) == []
    assert "cannot be read" in ratings.faults(tmp_path / "none.tsv", [])[0]
    (tmp_path / "short.tsv").write_text("participant\tsession\n01\t1\n")
    assert "column 'rating' is missing" in ratings.faults(tmp_path / "short.tsv", [])[0]


def test_default_limits_pass_usual_sessions_and_find_those_made_bad():
    """Sessions like those of the simulated trial, and one beyond each limit that a person would send back."""
    rules = config.default("quality.rules")
    usual = {
        "block": {
            "linewidth_ppm": 0.06,
            "snr": 44,
            "rejected_fraction": 0.03,
            "residual_water_after_ratio": 0.1,
            "fit_status": "ok",
        },
        "session": {"drift_hz": 18.0, "drift_after_hz": 0.4, "lipid_ratio": 0.58},
    }
    bad = {"linewidth_ppm": 0.14, "snr": 8, "rejected_fraction": 0.5, "residual_water_after_ratio": 8, "drift_hz": 60}
    bad |= {"lipid_ratio": 0.69, "drift_after_hz": 6, "fit_status": "doubtful"}
    for level, values in usual.items():
        assert quality_rules.judge(rules, level, values) == []
        for metric in values:
            assert quality_rules.judge(rules, level, values | {metric: bad[metric]}), metric


def test_nothing_to_object_to_is_an_empty_table_with_its_columns():
    blocks = pd.DataFrame(
        {"participant": ["01"], "session": ["1"], "block": ["a"], "linewidth_ppm": [0.05], "snr": [50]}
    )
    sessions = pd.DataFrame({"participant": ["01"], "session": ["1"], "drift_hz": [1.0]})
    table = quality_rules.exclusions(blocks, sessions, RULES)
    assert table.empty and "reason" in table
