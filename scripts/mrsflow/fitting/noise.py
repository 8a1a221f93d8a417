"""Noise of a spectrum as it is where the signals are, and what processing did to it."""

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.constants import MAD_TO_SD

SIGNALS_PPM = ((-0.5, 5.5), (0.2, 5.0), (0.5, 4.2))
"""Noise is measured outside these ranges: the first that leaves enough."""
FLAT_PART = 0.8
"""Inner part of the receiver's band in which its filter is flat."""
FEWEST = 64
"""Points that are enough to measure noise."""
EMPTY_PART = 1e-6
"""A tail below this part of the largest point was filled with zeros."""
FIRST_S = 0.15
"""Time after which an FID holds little but noise far from the metabolites."""
EDGE_PPM, EDGE_S = 2.0, 0.02
"""Width over which the filter that keeps what is far from metabolites rises, and the time that it rings at the end."""

MOST_UNDONE = -5.0
"""Logarithm of what a filter leaves at the last point that is used: later ones would be the noise of its estimate."""


def noise_sd(fid: NDArray, dwell_time: float, spectrometer_frequency: float) -> float:
    """SD of the noise of the real spectrum: median absolute difference of neighbouring points outside the signals.

    Of the receiver's band only the inner part counts, as its filter falls towards the edges: noise there is smaller
    than where the signals are.

    Parameters
    ----------
    fid : (n_points) complex
    dwell_time, spectrometer_frequency : float
        s, MHz.
    """
    hz = np.fft.fftfreq(fid.size, dwell_time)
    shift = axes.hz_to_ppm(hz, spectrometer_frequency)
    inner = np.abs(hz) < FLAT_PART * 0.5 / dwell_time
    for low, high in SIGNALS_PPM:
        free = np.fft.fftshift(inner & ((shift < low) | (shift > high)))
        if free.sum() >= FEWEST:
            break
    steps = np.diff(axes.to_spectrum(fid))[free[1:] & free[:-1]] / np.sqrt(2)
    if not steps.size:
        return 0.0
    return float(MAD_TO_SD * np.median(np.abs(np.concatenate([steps.real, steps.imag]))))


def recorded(fids: NDArray) -> int:
    """Points of FIDs (B, n) before the zeros that fill them: zeros hold no noise, and tell nothing."""
    size = np.abs(fids).max(axis=0)
    return int(np.flatnonzero(size > EMPTY_PART * size.max())[-1]) + 1


def apodisation(fids: NDArray, dwell_time: float, spectrometer_frequency: float) -> NDArray[np.floating]:
    """Logarithm (B, n) of what a filter, exponential or Gaussian, left of the noise of FIDs (B, n); 0: there is none.

    Noise is looked at after the metabolites, in what lies far from them: the logarithm of its power, whose scatter is
    known, falls along a line (Lorentzian filter) or a parabola (Gaussian). Both slopes are shrunk by their uncertainty,
    so that noise that does not decay stays as it is (James and Stein 1961).
    """
    n = fids.shape[-1]
    shift = axes.hz_to_ppm(np.fft.fftfreq(2 * n, dwell_time), spectrometer_frequency)  # twice: nothing comes round
    low, high = SIGNALS_PPM[0]
    away = np.clip(np.maximum(low - shift, shift - high) / EDGE_PPM, 0, 1)
    away = 0.5 - 0.5 * np.cos(np.pi * away)
    time = axes.time_axis(n, dwell_time)
    first = min(max(FIRST_S, 0.1 * time[-1]), 0.35 * time[-1])
    late = (time > first) & (time < time[-1] - EDGE_S)
    if away.sum() < 2 * FEWEST or late.sum() < FEWEST:
        return np.zeros(fids.shape)
    left = np.fft.ifft(np.fft.fft(fids, 2 * n, axis=-1) * away, axis=-1)[:, :n][:, late]
    half_power = np.log(np.maximum(np.abs(left), 1e-150))
    independent = away.mean()  # neighbouring points of filtered noise are alike
    scatter = 0.5 * np.pi / np.sqrt(6 * independent)

    def course(power: int, *before: NDArray) -> NDArray[np.floating]:
        """Power of time (n) less what the ones before have of it in the late points."""
        values = time**power
        for one in before:
            values = values - one * (one[late] @ values[late]) / (one[late] @ one[late])
        return values

    flat = np.ones(n)
    line = course(1, flat)
    parabola = course(2, flat, line)
    bent = _shrunk(half_power, parabola[late], scatter)
    falling = np.where(bent < 0, bent, 0.0)[:, np.newaxis] * parabola
    straight = _shrunk(half_power, line[late], scatter)[:, np.newaxis] * line
    found = falling + straight
    found -= found[:, :1]
    return np.where(found[:, -1:] < 0, found, 0.0)


def told(filtered: NDArray) -> int:
    """Points (of B, n) before a filter left too little for its inverse to be known."""
    gone = np.flatnonzero(filtered.min(axis=0) < MOST_UNDONE)
    return int(gone[0]) if gone.size else filtered.shape[-1]


def _shrunk(values: NDArray, course: NDArray, scatter: float) -> NDArray[np.floating]:
    """Slopes of values (B, k) along a course (k), shrunk by their uncertainty."""
    slope, sd = values @ course / (course @ course), scatter / np.sqrt(course @ course)
    return slope * np.maximum(1 - 4 * (sd / np.where(slope == 0, np.inf, slope)) ** 2, 0.0)
