"""Water: eddy-current correction with its phase, and the removal of what suppression left of it."""

import numpy as np
from numpy.typing import NDArray

from mrsflow import hankel_svd
from mrsflow.axes import ppm_to_hz, time_axis

WATER_RANGE_PPM = (4.45, 5.1)
"""Components in this range count as residual water. Below are NAA (4.38 ppm) and choline (4.3 ppm): taken out of the
data but not of the basis, they would be missed in the fitted range as well, by their tails."""

HLSVD_COMPONENTS = 20

HLSVD_DURATION = 0.4
HLSVD_POINTS = (512, 1024)
"""Part of the FID that is decomposed (s), and its least and largest number of points: water has decayed by then, and
more points take longer."""


def eddy_phase(reference: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    """Phase that eddy currents give to every signal.

    Parameters
    ----------
    reference : (n_points,) complex
        Unsuppressed water, coils combined and transients averaged.

    Returns
    -------
    (n_points,) float
        rad, 0 at the first point. Where water has sunk to three times the noise, its phase is continued with the
        slope of the part before, so that noise is not written into the metabolites.

    Notes
    -----
    Klose, doi:10.1002/mrm.1910140104.
    """
    n_points = reference.size
    noise = np.sqrt(np.mean(np.abs(reference[3 * n_points // 4 :]) ** 2))
    below = np.flatnonzero(np.abs(reference) < 3 * noise)
    end = int(below[0]) if below.size and below[0] >= 16 else n_points
    phase = np.unwrap(np.angle(reference[:end]))
    if end < n_points:
        first = end - max(end // 4, 8)
        slope = np.polyfit(np.arange(first, end), phase[first:end], 1)[0]
        phase = np.append(phase, phase[-1] + slope * np.arange(1, n_points - end + 1))
    return phase - phase[0]


def correct_eddy_currents(
    fids: NDArray[np.complexfloating], phase: NDArray[np.floating]
) -> NDArray[np.complexfloating]:
    """Take the phase of `eddy_phase` (n_points,) out of FIDs (..., n_points).

    The constant frequency of the reference goes with it: resonances move to where water is at 0 Hz.
    """
    return fids * np.exp(-1j * phase)


def residual_water(
    fid: NDArray[np.complexfloating],
    dwell_time: float,
    spectrometer_frequency: float,
    ppm: tuple[float, float] = WATER_RANGE_PPM,
) -> NDArray[np.complexfloating]:
    """Model of residual water in an FID (n_points,), to be subtracted: sum of decaying exponentials (HLSVD).

    Parameters
    ----------
    fid : (n_points,) complex
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.
    ppm : tuple of float
        Components whose frequency lies here are water.

    Notes
    -----
    Pijnappel et al., doi:10.1016/0022-2364(92)90257-X. Growing components are left out. Amplitudes of all components
    are fitted together, on the points that were decomposed.
    """
    n_used = min(fid.size, int(np.clip(HLSVD_DURATION / dwell_time, *HLSVD_POINTS)))
    frequency, damping, amplitude = hankel_svd.decompose(fid[:n_used], dwell_time, HLSVD_COMPONENTS)
    low, high = sorted(ppm_to_hz(np.array(ppm), spectrometer_frequency))
    water = (frequency >= low) & (frequency <= high) & (damping < 0)
    t = time_axis(fid.size, dwell_time)
    return amplitude[water] @ np.exp((2j * np.pi * frequency[water] + damping[water])[:, np.newaxis] * t)
