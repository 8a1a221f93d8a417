"""Noise, peaks and rules against closed forms and tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from mrsflow.axes import ppm_to_hz, time_axis
from mrsflow.errors import InputError
from mrsflow.preprocessing import quality

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
TIME = time_axis(POINTS, DWELL)

RULES = [
    {"level": "block", "metric": "linewidth_ppm", "worse": "above", "warn": 0.08, "exclude": 0.12},
    {"level": "block", "metric": "snr", "worse": "below", "warn": 20, "exclude": 10},
    {"level": "session", "metric": "drift_hz", "worse": "above", "warn": 10, "exclude": 20},
]


def line(ppm, amplitude, linewidth=6.0):
    return amplitude * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * linewidth) * TIME)


def test_noise_is_that_of_the_points_times_the_root_of_their_number():
    rng = np.random.default_rng(1)
    found = [
        quality.noise(line(2.0, 5) + 0.3 * (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS)), DWELL, FREQUENCY)[
            0
        ]
        for _ in range(30)
    ]
    expected = 0.3 * np.sqrt(POINTS)
    assert np.mean(found) == pytest.approx(expected, abs=4 * expected / np.sqrt(2 * 500 * 30))


def test_noise_range_is_named_and_lies_in_the_spectrum():
    assert quality.noise(line(2.0, 5), DWELL, FREQUENCY)[1] == "-2.5 to -0.5 and 9.5 to 11.5 ppm"
    assert quality.noise(line(2.0, 5), 8.4e-4, FREQUENCY)[1] == "8.6 to 9.4 ppm"  # 1190 Hz: -0.18 to 9.48 ppm
    assert "-2.5 to -0.5 ppm" in quality.snr_definition("-2.5 to -0.5 ppm")


def test_a_spectrum_without_room_for_noise_is_refused():
    with pytest.raises(InputError, match="wider spectral width"):
        quality.noise(line(2.0, 5), 2e-3, FREQUENCY)


def test_peak_stands_above_the_tails_of_its_neighbours():
    alone = quality.peak_magnitude(line(4.65, 2), DWELL, FREQUENCY, (4.3, 5.0))
    assert alone == pytest.approx(2 / (np.pi * 6 * DWELL), rel=0.06)
    together = quality.peak_magnitude(line(4.65, 2) + line(3.9, 20), DWELL, FREQUENCY, (4.3, 5.0))
    assert together == pytest.approx(alone, rel=0.1)


def test_lipid_area_is_the_amplitude_of_a_line_in_the_range():
    inside = quality.lipid_area(line(1.3, 4, 3.0), DWELL, FREQUENCY)
    assert inside == pytest.approx(4 * 2 / np.pi * np.arctan(0.15 * FREQUENCY / 1.5) / 2, rel=0.08)
    assert abs(quality.lipid_area(line(2.0, 4, 3.0), DWELL, FREQUENCY)) < 0.1 * inside


@pytest.mark.parametrize(("ppm", "counts"), [(1.12, 0), (1.18, 1), (1.42, 1), (1.48, 0)])
def test_lipid_counts_within_the_range_that_its_definition_names(ppm, counts):
    assert "from 1.15 to 1.45 ppm" in quality.DEFINITIONS["lipid_ratio"]
    area = quality.lipid_area(line(ppm, 4, 1.0), DWELL, FREQUENCY) / quality.lipid_area(
        line(1.3, 4, 1.0), DWELL, FREQUENCY
    )
    assert area == pytest.approx(counts, abs=0.2)


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
    assert [row["action"] for row in quality.judge(RULES, "block", values)] == actions


def test_reason_says_what_was_found_and_the_limit():
    (row,) = quality.judge(RULES, "session", {"drift_hz": 23.456})
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
        rows = quality.judge([rule], "block", {"fit_status": status, "fit_reason": "negative Glu"})
        assert [row["action"] for row in rows] == expected
        assert {row["reason"] for row in rows} <= {f"fit {status}: negative Glu"}
    (row,) = quality.judge([rule], "block", {"fit_status": np.nan})
    assert (row["action"], row["reason"]) == ("warn", "fit_status is not known")
    with pytest.raises(InputError, match=r"'tNAA is -1, which is not positive', not ok, doubtful, failed; run the fit"):
        quality.judge([rule], "block", {"fit_status": "tNAA is -1, which is not positive"})


def test_limits_of_rules_in_words():
    assert [quality.limit_text(rule, "exclude") for rule in RULES] == ["> 0.12", "< 10", "> 20"]
    rule = {"metric": "fit_status", "warn": "doubtful", "exclude": None}
    assert [quality.limit_text(rule, word) for word in ("warn", "exclude")] == ["doubtful", "failed"]
    assert quality.limit_text(rule | {"exclude": "doubtful"}, "exclude") == "doubtful or failed"
    assert quality.limit_text(rule | {"warn": None}, "warn") == ""


def test_a_rule_without_its_metric_is_refused():
    with pytest.raises(InputError, match="block has no metric 'snr'; it has linewidth_ppm"):
        quality.judge(RULES, "block", {"linewidth_ppm": 0.05})


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
    table = quality.exclusions(blocks, sessions, RULES)
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


def test_nothing_to_object_to_is_an_empty_table_with_its_columns():
    blocks = pd.DataFrame(
        {"participant": ["01"], "session": ["1"], "block": ["a"], "linewidth_ppm": [0.05], "snr": [50]}
    )
    sessions = pd.DataFrame({"participant": ["01"], "session": ["1"], "drift_hz": [1.0]})
    table = quality.exclusions(blocks, sessions, RULES)
    assert table.empty and "reason" in table
