"""Single lines of basis signals: the reference at 0 ppm, removed, and those that tell the signal of a proton."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mrsflow import axes

REFERENCE_PPM = 0.0
"""Basis sets for LCModel hold a reference singlet there, which no brain has."""


@dataclass(frozen=True)
class Singlet:
    """A Lorentzian line.

    Attributes
    ----------
    amplitude : complex
        At time zero.
    hz, width_hz : float
        Frequency and FWHM.
    unexplained : float
        Part of the power around it, less a smooth background, that the line leaves.
    """

    amplitude: complex
    hz: float
    width_hz: float
    unexplained: float

    def fid(self, n_points: int, dwell_time: float) -> NDArray[np.complexfloating]:
        """Signal over time."""
        time = axes.time_axis(n_points, dwell_time)
        return self.amplitude * np.exp((2j * np.pi * self.hz - np.pi * self.width_hz) * time)


def find(fid: NDArray, dwell_time: float, spectrometer_frequency: float, ppm: float, within: float) -> Singlet | None:
    """Fit one Lorentzian line on a smooth background to the spectrum around a chemical shift.

    Parameters
    ----------
    fid : (n_points) complex
    dwell_time, spectrometer_frequency : float
        s, MHz.
    ppm, within : float
        Centre and half width of the range; the line lies within 5 Hz of the centre.

    Returns
    -------
    Singlet or None
        None where there is no signal or the range holds too few points.
    """
    from scipy.optimize import least_squares

    hz = np.fft.fftfreq(fid.size, dwell_time)
    near = np.flatnonzero(np.abs(axes.hz_to_ppm(hz, spectrometer_frequency) - ppm) < within)
    near = near[np.argsort(hz[near])]
    target = fft.fft(fid)[near]
    if near.size < 12 or not np.any(target):
        return None
    background = np.vander(np.linspace(-1, 1, near.size), 4).astype(complex)
    centre = float(axes.ppm_to_hz(ppm, spectrometer_frequency))

    def columns(line: NDArray) -> NDArray:
        exponent = (2j * np.pi * (centre + line[0]) - np.pi * line[1]) * dwell_time
        step = np.exp(exponent - 2j * np.pi * hz[near] * dwell_time)
        return np.column_stack([(1 - np.exp(exponent * fid.size)) / (1 - step), background])

    def rest(design: NDArray) -> NDArray:
        return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]

    def residual(line: NDArray) -> NDArray:
        left = rest(columns(line))
        return np.concatenate([left.real, left.imag])

    line = least_squares(residual, [0.0, 2.0], bounds=([-5.0, 0.0], [5.0, 12.0])).x
    before = np.sum(np.abs(rest(background)) ** 2)
    amplitude = np.linalg.lstsq(columns(line), target, rcond=None)[0][0]
    left = np.sum(residual(line) ** 2)
    return Singlet(complex(amplitude), centre + float(line[0]), float(line[1]), float(left / max(before, 1e-300)))


def without_reference(
    fid: NDArray, dwell_time: float, spectrometer_frequency: float, within: float = 0.2
) -> NDArray[np.complexfloating]:
    """Basis signal without the singlet at 0 ppm, taken off where it explains nearly all of what is there."""
    found = find(fid, dwell_time, spectrometer_frequency, REFERENCE_PPM, within)
    if found is None or found.unexplained > 0.05:
        return fid
    return fid - found.fid(fid.size, dwell_time)
