"""Blocks: bins of time relative to an event of the session, and the average of the transients in each."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.nifti_mrs import SPACING_TOLERANCE

CLOCK_S = 1.0
"""Seconds by which two runs may overlap: each start may have been cut to a whole second."""


@dataclass(frozen=True)
class Frames:
    """When the stored frames of a session were acquired.

    Attributes
    ----------
    onset_s, duration_s : (n,) float
        Start and length of each frame, start relative to the event.
    excitations : (n,) int
        Excitations that the scanner averaged into each frame.
    """

    onset_s: NDArray[np.floating]
    duration_s: NDArray[np.floating]
    excitations: NDArray[np.integer]

    @property
    def centre_s(self) -> NDArray[np.floating]:
        """Middle of each frame."""
        return self.onset_s + self.duration_s / 2


def frames(
    n_frames: int,
    repetition_time: float,
    excitations: int,
    event_onset: float,
    frame_onset: list[float] | None = None,
) -> Frames:
    """Place the frames of one run in time.

    Parameters
    ----------
    n_frames : int
    repetition_time : float
        TR (s).
    excitations : int
        Per frame.
    event_onset : float
        Onset of the event (s) relative to the first excitation of the run.
    frame_onset : list of float, optional
        Start of each frame (s) relative to the first excitation of the run; without it frames follow each other.

    Raises
    ------
    InputError
        Another number of onsets than frames, or frames that overlap.
    """
    length = excitations * repetition_time
    onset = np.arange(n_frames) * length if frame_onset is None else np.asarray(frame_onset, dtype=float)
    if onset.shape != (n_frames,):
        raise InputError(f"FrameOnset has {onset.size} values and the scan {n_frames} frames; convert it again")
    if np.any(np.diff(onset) < (1 - SPACING_TOLERANCE) * length):
        raise InputError(
            f"FrameOnset has frames closer than {excitations} excitations of {repetition_time:g} s; "
            "correct excitations_per_frame or the repetition time"
        )
    return Frames(onset - event_onset, np.full(n_frames, length), np.full(n_frames, excitations))


def joined(runs: list[Frames]) -> Frames:
    """Frames of several runs, in the order given.

    Raises
    ------
    InputError
        Two runs overlap in time.
    """
    spans = sorted((run.onset_s[0], run.onset_s[-1] + run.duration_s[-1]) for run in runs)
    for (_, end), (start, _) in pairwise(spans):
        if start < end - CLOCK_S - 1e-6:
            raise InputError(
                f"two runs of the session overlap in time: one ends {end:.0f} s after the event and another begins at "
                f"{start:.0f} s; correct their start times (column start_time of the samples table; in a BIDS dataset "
                "the onsets in their events tables)"
            )
    return Frames(
        *(np.concatenate([getattr(run, k) for run in runs]) for k in ("onset_s", "duration_s", "excitations"))
    )


def assign(times: Frames, bins: dict[str, list[float]]) -> NDArray[np.integer]:
    """Block of each frame: the bin that holds the frame's middle, -1 for none.

    Parameters
    ----------
    times : Frames
    bins : dict
        Name to [start, end) in minutes after the event, disjoint.
    """
    block = np.full(len(times.onset_s), -1)
    minutes = np.round(times.centre_s / 60, 9)
    for number, (start, end) in enumerate(bins.values()):
        block[(minutes >= start) & (minutes < end)] = number
    return block


def average(
    fids: NDArray[np.complexfloating], excitations: NDArray[np.integer], chosen: NDArray[np.bool_]
) -> NDArray[np.complexfloating]:
    """Mean of the chosen frames of (n, n_points), each weighted with its number of excitations."""
    share = excitations * chosen
    return share @ fids / share.sum()


def moving_average(
    fids: NDArray[np.complexfloating], times: Frames, used: NDArray[np.bool_], width_s: float, step_s: float
) -> tuple[NDArray[np.floating], NDArray[np.complexfloating]]:
    """Averages over a moving window, for pictures only: neighbours share transients and are not independent.

    Parameters
    ----------
    fids : (n, n_points) complex
    times : Frames
    used : (n,) bool
        Frames that are not rejected.
    width_s, step_s : float
        Width of the window and distance of its positions.

    Returns
    -------
    centre_s : (m,) float
        Positions that hold at least one used frame.
    fids : (m, n_points) complex
    """
    first, last = times.onset_s.min(), (times.onset_s + times.duration_s).max()
    centres, means = [], []
    for centre in np.arange(first + width_s / 2, last - width_s / 2 + step_s / 2, step_s):
        chosen = used & (times.centre_s >= centre - width_s / 2) & (times.centre_s < centre + width_s / 2)
        if chosen.any():
            centres.append(centre)
            means.append(average(fids, times.excitations, chosen))
    return np.array(centres), np.array(means)
