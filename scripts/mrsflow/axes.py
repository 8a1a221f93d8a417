"""Time, frequency and chemical-shift axes, and the transform between FID and spectrum.

Every axis of the project comes from here. The convention is NIfTI-MRS's (Clarke et al., doi:10.1002/mrm.29418):
an FID's phase grows with ``exp(+2πi f t)``, and a resonance at chemical shift δ has
``f = -(δ - reference) · spectrometer_frequency``, so that high ppm means low (negative) stored frequency.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.constants import WATER_PPM


def time_axis(n_points: int, dwell_time: float) -> NDArray[np.floating]:
    """Give the sampling times of an FID (s), 0 at the first point."""
    return np.arange(n_points) * dwell_time


def frequency_axis(n_points: int, dwell_time: float) -> NDArray[np.floating]:
    """Frequencies of the points of `to_spectrum` (Hz), ascending."""
    return np.fft.fftshift(np.fft.fftfreq(n_points, dwell_time))


def ppm_axis(
    n_points: int, dwell_time: float, spectrometer_frequency: float, reference_ppm: float = WATER_PPM
) -> NDArray[np.floating]:
    """Chemical shifts of the points of `to_spectrum` (ppm), descending.

    `spectrometer_frequency` in MHz; `reference_ppm` is the shift at 0 Hz.
    """
    return hz_to_ppm(frequency_axis(n_points, dwell_time), spectrometer_frequency, reference_ppm)


def hz_to_ppm(hz: ArrayLike, spectrometer_frequency: float, reference_ppm: float = WATER_PPM) -> NDArray[np.floating]:
    """Chemical shift (ppm) of a stored frequency (Hz); `spectrometer_frequency` in MHz."""
    return reference_ppm - np.asarray(hz) / spectrometer_frequency


def ppm_to_hz(ppm: ArrayLike, spectrometer_frequency: float, reference_ppm: float = WATER_PPM) -> NDArray[np.floating]:
    """Give the stored frequency (Hz) of a chemical shift (ppm); `spectrometer_frequency` in MHz."""
    return (reference_ppm - np.asarray(ppm)) * spectrometer_frequency


def to_spectrum(fid: ArrayLike) -> NDArray[np.complexfloating]:
    """Spectrum of an FID along the last axis, zero frequency in the middle, no scaling or first-point correction."""
    return np.fft.fftshift(np.fft.fft(fid, axis=-1), axes=-1)


def to_fid(spectrum: ArrayLike) -> NDArray[np.complexfloating]:
    """Undo `to_spectrum`."""
    return np.fft.ifft(np.fft.ifftshift(spectrum, axes=-1), axis=-1)


def shift_frequency(fid: ArrayLike, shift: ArrayLike, dwell_time: float) -> NDArray[np.complexfloating]:
    """Shift every resonance of an FID by a constant frequency.

    Parameters
    ----------
    fid : (..., n_points) complex
    shift : float or (...) array, Hz
    dwell_time : float, s

    Notes
    -----
    Multiplies by exp(2πi·shift·t), t = 0 at the first sample: Near et al., doi:10.1002/mrm.25094.

    >>> shift_frequency([1, 1, 1], 250.0, dwell_time=1e-3).round(12)
    array([ 1.+0.j,  0.+1.j, -1.+0.j])
    """
    t = time_axis(np.shape(fid)[-1], dwell_time)
    return fid * np.exp(2j * np.pi * np.asarray(shift)[..., np.newaxis] * t)
