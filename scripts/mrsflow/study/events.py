"""Events of a run: when was what blocks count from."""

from typing import Any

import numpy as np

from mrsflow.errors import InputError

TABLES = (
    "give the clock times in the sessions table and start_time in the samples table (in a BIDS dataset the event in "
    "its events table), or choose another blocks.event"
)
DATASET = "give it one row there, with its onset (s) after the first excitation, or choose another blocks.event"
"""Ways out where an event is missing: of a study whatever way it came in, and of a dataset."""


def event_onset(events: Any, event: str, run_start_known: bool, where: str, way: str = TABLES) -> float:
    """Onset (s) of the event that is time 0, relative to the first excitation of the run.

    Parameters
    ----------
    events : DataFrame or None
        Rows of the run's events table (onset, trial_type; duration where an event takes several rows).
    event : str
        Value of trial_type; ``start`` without such a row is the first excitation itself.
    run_start_known : bool
        Whether the first excitation of this run is that of the session, so that ``start`` needs no row.
    where : str
        Name of the events table, for messages.
    way : str
        What can be done about an event that is missing.

    Raises
    ------
    InputError
        No such event, or more than one; rows that follow each other without a pause are one.
    """
    if events is not None and (missing := [c for c in ("onset", "trial_type") if c not in events]):
        raise InputError(f"{where}: has no column {missing[0]!r}, which names or places the events; add it")
    onsets = [] if events is None else _onsets(events, event)
    if not onsets and event == "start" and run_start_known:
        return 0.0
    if not np.all(np.isfinite(onsets)):
        texts = events.loc[events["trial_type"] == event, "onset"]
        wrong = next(text for text in texts if not np.isfinite(_seconds(text)))
        found = "n/a" if isinstance(wrong, float) else wrong
        raise InputError(f"{where}: onset of event {event!r} is {found!r}; a number of seconds (12.5) is needed")
    if len(onsets) != 1:
        there = [] if events is None else sorted(set(events["trial_type"].dropna().astype(str)))
        near = [name for name in there if name.strip().lower() == event.lower()]
        hint = f"; did you mean {near[0]!r}?" if near and not onsets else ""
        raise InputError(
            f"{where}: has {len(onsets) or 'no'} event{'s' * bool(onsets)} {event!r} (blocks.event) with an onset"
            f"{'; it has ' + ', '.join(there) if there else ''}{hint}; {way}"
        )
    return onsets[0]


def _onsets(events: Any, event: str) -> list[float]:
    """Onsets of an event, rows joined that begin where the one before ends."""
    rows = events[events["trial_type"] == event]
    onsets = [_seconds(value) for value in rows["onset"]]
    durations = [_seconds(value) for value in rows["duration"]] if "duration" in rows else [np.nan] * len(onsets)
    spans = sorted(zip(onsets, durations, strict=True))
    ends = [np.nan, *(onset + duration for onset, duration in spans)]
    return [onset for (onset, _), end in zip(spans, ends, strict=False) if not abs(onset - end) < 1e-6]


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        return np.nan
