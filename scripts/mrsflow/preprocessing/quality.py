"""Quality of blocks and sessions: metrics with their definitions.

Terms follow Kreis et al. (doi:10.1002/nbm.4347) and Öz et al. (doi:10.1002/nbm.4236).
"""

import numpy as np
from numpy.typing import NDArray

from mrsflow.axes import ppm_axis, to_spectrum
from mrsflow.errors import InputError

NOISE_RANGES_PPM = (((-2.5, -0.5), (9.5, 11.5)), ((-2.5, -0.5),), ((9.0, 11.0),), ((8.6, 9.4),))
"""Where noise is taken, the first ranges that the spectrum covers; free of signal in brain spectra."""

WATER_PPM_RANGE = (4.3, 5.0)
LIPID_PPM_RANGE = (1.15, 1.45)


def noise(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> tuple[float, str]:
    """Measure the SD of the real spectrum where there is no signal, a straight line removed; say where.

    Raises
    ------
    InputError
        The spectrum is too narrow to have such a range.
    """
    from scipy.signal import detrend

    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    for ranges in NOISE_RANGES_PPM:
        parts = [np.flatnonzero((axis > low) & (axis < high)) for low, high in ranges]
        covered = axis.min() < min(ranges[0]) and axis.max() > max(ranges[-1])
        if covered and min(part.size for part in parts) >= 24:
            left = np.concatenate([detrend(to_spectrum(fid).real[part]) for part in parts])
            named = " and ".join(f"{low:g} to {high:g}" for low, high in ranges)
            return float(np.sqrt(np.sum(left**2) / (left.size - 2 * len(parts)))), f"{named} ppm"
    raise InputError(
        f"the spectrum covers {axis.min():.1f} to {axis.max():.1f} ppm and has no range without signal for the noise; "
        "leave this scan out"
    )


def snr_definition(noise_range: str) -> str:
    """Text of the definition of SNR."""
    return f"height of the fitted tNAA singlet over SD of the real spectrum from {noise_range}, linear trend removed"


def peak_magnitude(
    fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float, ppm: tuple[float, float]
) -> float:
    """Largest magnitude of the spectrum in a range of ppm, above a straight line between the ends of the range."""
    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    inside = to_spectrum(fid)[(axis > ppm[0]) & (axis < ppm[1])]
    ends = max(inside.size // 10, 1)
    line = np.linspace(inside[:ends].mean(), inside[-ends:].mean(), inside.size)
    return float(np.abs(inside - line).max())


def lipid_area(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> float:
    """Area of the real spectrum around 1.3 ppm, in units of the FID's amplitude."""
    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    inside = (axis > LIPID_PPM_RANGE[0]) & (axis < LIPID_PPM_RANGE[1])
    return float(to_spectrum(fid).real[inside].sum() / fid.shape[-1])
