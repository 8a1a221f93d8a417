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
FIRST_S = 0.1
"""Time after which an FID holds little but noise far from the metabolites."""
EDGE_PPM, EDGE_S = 1.0, 0.02
"""Width over which the filter that keeps what is far from metabolites rises, and the time that it rings at the end."""


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
    """Rates (B) at which the noise of FIDs (B, n) decays (1/s): what a Lorentzian filter did to them, 0 where none.

    Noise is looked at after the metabolites, in what lies far from them. Its rate is shrunk by its uncertainty, so that
    noise that does not decay stays as it is (James and Stein 1961).
    """
    n = fids.shape[-1]
    shift = axes.hz_to_ppm(np.fft.fftfreq(2 * n, dwell_time), spectrometer_frequency)  # twice: nothing comes round
    low, high = SIGNALS_PPM[0]
    away = np.clip(np.maximum(low - shift, shift - high) / EDGE_PPM, 0, 1)
    away = 0.5 - 0.5 * np.cos(np.pi * away)
    time = axes.time_axis(n, dwell_time)
    late = (time > max(FIRST_S, 0.1 * time[-1])) & (time < time[-1] - EDGE_S)
    if away.sum() < 2 * FEWEST or late.sum() < FEWEST:
        return np.zeros(len(fids))
    left = np.fft.ifft(np.fft.fft(fids, 2 * n, axis=-1) * away, axis=-1)[:, :n][:, late]
    power = np.log(np.maximum(np.abs(left) ** 2, 1e-300))
    centred = time[late] - time[late].mean()
    rate = -0.5 * (power @ centred) / (centred @ centred)
    independent = away.mean()  # neighbouring points of filtered noise are alike
    sd = 0.5 * (np.pi / np.sqrt(6)) / np.sqrt(centred @ centred * independent)
    return np.where(rate > 0, rate * np.maximum(1 - 4 * (sd / np.where(rate == 0, np.inf, rate)) ** 2, 0.0), 0.0)
