"""Bins of time against slow loops."""

import numpy as np
import pandas as pd
import pytest

from mrsflow.errors import InputError
from mrsflow.preprocessing import blocks
from mrsflow.study.events import event_onset

BINS = {"before": [-8.0, 0.0], "early": [0.0, 3.0], "late": [10.0, 25.0]}  # unequal, with a gap


def slow_assign(times, bins):
    found = []
    for onset, duration in zip(times.onset_s, times.duration_s, strict=True):
        middle = (onset + duration / 2) / 60
        inside = [n for n, (start, end) in enumerate(bins.values()) if start <= middle < end]
        found.append(inside[0] if inside else -1)
    return found


@pytest.mark.parametrize(("n", "repetition_time", "excitations"), [(240, 2.0, 8), (600, 1.5, 1), (37, 3.0, 16)])
def test_frames_go_where_their_middle_lies(n, repetition_time, excitations):
    times = blocks.frames(n, repetition_time, excitations, event_onset=480.0)
    assert blocks.assign(times, BINS).tolist() == slow_assign(times, BINS)
    assert set(slow_assign(times, BINS)) > {0, 1}


def test_a_frame_whose_middle_is_the_end_belongs_to_the_next_block():
    times = blocks.frames(4, 2.0, 10, event_onset=30.0)  # middles at -20, 0, 20, 40 s
    assert blocks.assign(times, {"a": [-1, 0], "b": [0, 1]}).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("bins", [{"a": [0, 1], "b": [1, 2]}, {"b": [1, 2], "a": [0, 1]}])
def test_a_frame_whose_middle_is_the_end_of_the_last_block_is_in_none_whatever_their_order(bins):
    times = blocks.frames(5, 30.0, 1, 0.0, [-15, 15, 45, 75, 105])  # middles at 0, 30, 60, 90 and 120 s
    found = [list(bins)[b] if b >= 0 else None for b in blocks.assign(times, bins)]
    assert found == ["a", "a", "b", "b", None]


def test_averaged_frames_last_as_long_as_their_excitations():
    times = blocks.frames(3, 2.0, 64, event_onset=100.0)
    np.testing.assert_allclose(times.onset_s, [-100, 28, 156])
    np.testing.assert_allclose(times.centre_s, [-36, 92, 220])


def test_onsets_in_the_header_count_before_the_number_of_frames():
    times = blocks.frames(
        3, 2.0, 1, event_onset=10.0, frame_onset=[0.0, 2.0, 8.0]
    )  # water frames between were split off
    np.testing.assert_allclose(times.onset_s, [-10, -8, -2])


@pytest.mark.parametrize(
    ("onset", "words"), [([0.0, 2.0], "2 values and the scan 3"), ([0.0, 2.0, 3.0], "closer than")]
)
def test_onsets_that_cannot_be_are_refused(onset, words):
    with pytest.raises(InputError, match=words):
        blocks.frames(3, 2.0, 1, 0.0, onset)


def test_average_weighs_a_frame_by_its_excitations():
    rng = np.random.default_rng(1)
    excitations = rng.normal(size=(20, 5)) + 1j * rng.normal(size=(20, 5))
    frames = np.stack([excitations[:8].mean(axis=0), excitations[8:12].mean(axis=0), excitations[12:].mean(axis=0)])
    chosen = np.array([True, True, False])
    found = blocks.average(frames, np.array([8, 4, 8]), chosen)
    np.testing.assert_allclose(found, excitations[:12].mean(axis=0), rtol=1e-12)


def test_runs_are_joined_by_their_own_event():
    runs = [blocks.frames(1, 2.0, 240, event_onset=onset) for onset in (480.0, -10.0)]
    times = blocks.joined(runs)
    np.testing.assert_allclose(times.onset_s, [-480, 10])
    assert blocks.assign(times, {"a": [-8, 0], "b": [0, 9]}).tolist() == [0, 1]


@pytest.mark.parametrize(("second", "fits"), [(20.0, True), (19.0, True), (18.5, False)])
def test_back_to_back_runs_may_overlap_by_what_a_clock_in_whole_seconds_cuts_off(second, fits):
    runs = [blocks.frames(10, 2.0, 1, 0.0), blocks.frames(10, 2.0, 1, -second)]
    if fits:
        assert len(blocks.joined(runs).onset_s) == 20
        return
    with pytest.raises(InputError, match="overlap in time"):
        blocks.joined(runs)


def test_time_stamps_may_differ_by_ticks_of_their_clock():
    """Frames of 8 excitations of 2 s, the second begins 2.5 ms early; one that begins 2 s early overlaps."""
    assert blocks.frames(3, 2.0, 8, 0.0, [0.0, 15.9975, 32.0]).onset_s[1] == 15.9975
    with pytest.raises(InputError, match="closer than 8 excitations"):
        blocks.frames(3, 2.0, 8, 0.0, [0.0, 14.0, 32.0])


def test_runs_that_overlap_are_refused():
    with pytest.raises(InputError, match="overlap in time"):
        blocks.joined([blocks.frames(10, 2.0, 1, 0.0), blocks.frames(10, 2.0, 1, -10.0)])


def events(*rows):
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])


def test_event_is_found_in_its_table():
    table = events((-2100.0, 0, "dose"), (600.0, 2400, "infusion"))
    assert event_onset(table, "infusion", True, "e.tsv") == 600.0
    assert event_onset(table, "dose", True, "e.tsv") == -2100.0


def test_rows_that_follow_each_other_are_one_event_and_a_pause_makes_two():
    assert (
        event_onset(events((180.0, 60, "heat"), (120.0, 60, "heat"), (0, 60, "rest")), "heat", True, "e.tsv") == 120.0
    )
    with pytest.raises(InputError, match="2 events 'heat'"):
        event_onset(events((120.0, 60, "heat"), (181.0, 60, "heat")), "heat", True, "e.tsv")


def test_start_is_the_first_excitation_of_a_single_run_only():
    assert event_onset(None, "start", True, "e.tsv") == 0.0
    with pytest.raises(InputError, match="no event 'start'"):
        event_onset(None, "start", False, "e.tsv")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "no event 'infusion'"),
        (events((1.0, 0, "dose")), "it has dose"),
        (events((1.0, 0, "infusion"), (9.0, 0, "infusion")), "2 event"),
        (events((float("nan"), 0, "infusion")), "onset of event 'infusion' is 'n/a'; a number of seconds"),
        (events(("60,5", 0, "infusion")), "onset of event 'infusion' is '60,5'; a number of seconds"),
        (events((1.0, 0, "Infusion")), "no event 'infusion' .*; did you mean 'Infusion'"),
    ],
)
def test_a_missing_or_doubtful_event_is_refused(table, words):
    with pytest.raises(InputError, match=words):
        event_onset(table, "infusion", True, "e.tsv")


def test_a_table_without_event_names_is_refused():
    with pytest.raises(InputError, match="no column 'trial_type'"):
        event_onset(pd.DataFrame({"onset": [1.0]}), "infusion", True, "e.tsv")


def test_moving_average_is_the_mean_of_the_frames_around():
    rng = np.random.default_rng(2)
    fids = rng.normal(size=(30, 4)) + 0j
    used = rng.random(30) > 0.2
    times = blocks.frames(30, 2.0, 1, event_onset=20.0)
    centres, means = blocks.moving_average(fids, times, used, width_s=12.0, step_s=4.0)
    for centre, mean in zip(centres, means, strict=True):
        around = [n for n in range(30) if used[n] and centre - 6 <= times.centre_s[n] < centre + 6]
        np.testing.assert_allclose(mean, np.mean(fids[around], axis=0), rtol=1e-12)
    assert centres[0] == -14.0 and centres[-1] == 34.0
