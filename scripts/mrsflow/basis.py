"""Basis sets: the signal of each metabolite for one sequence, field and timing; their formats and resampling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Basis:
    """A basis set.

    Attributes
    ----------
    names : tuple of str, length M
        As in the file.
    fids : (M, n_points) complex
        Unbroadened or lightly broadened signals in the sense of `mrsflow.axes`, phased so that singlets absorb
        (positive real spectrum), of one common concentration unit.
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.
    reference_ppm : float
        Chemical shift at 0 Hz.
    linewidth : float
        Lorentzian width the signals already have (Hz), 0 when unknown or none.
    description : str
        Sequence and timing, or the file it came from.
    """

    names: tuple[str, ...]
    fids: NDArray[np.complexfloating]
    dwell_time: float
    spectrometer_frequency: float
    reference_ppm: float
    linewidth: float = 0.0
    description: str = ""
