"""The signal model of a spectrum: basis signals of common and own shape, in the frequency domain of the fitted range.

A block's parameters stand in one vector, `Shape` saying where:

    signal_m(t) = b_m(t) · exp(-π (L + dL_m) t - GAUSS · G² t² + 2πi (f + df_m) t + 2πi E τ (1 - exp(-t/τ)))

with the Voigt line common to all signals (Clarke et al. 2021, doi:10.1002/mrm.28630) and small own broadenings and
shifts (Wilson et al. 2011, doi:10.1002/mrm.22579), and a frequency E that decays after the gradients, as eddy currents
make it (Klose 1990, doi:10.1002/mrm.1910140104): what is left of it skews every line alike. Zero- and first-order
phase turn the data instead of the model, which leaves white noise white.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.fitting import nuisance, singlets
from mrsflow.fitting.nuisance import GAUSS, stacked

SD_BROADENING_HZ = 0.58
"""Spread of the line widths of the metabolites of a voxel: T2 of 110 to 340 ms at 3 T are 0.9 to 2.9 Hz."""
SD_SHIFT_HZ = 0.29
"""Spread of their shifts about those of the basis: 0.002 ppm at 3 T, of temperature, pH and table values."""
SD_BROAD_SHIFT_PPM, SD_BROAD_REFERENCE_PPM = 0.01, 0.04
"""The same for macromolecules and lipids: of each, and of all together, as they were measured elsewhere, with their own
reference."""
SD_FIRST_ORDER_RAD = 0.3
"""First-order phase at the edges of the fitted range: delays of a few tens of microseconds."""
SD_EDDY_HZ, EDDY_TIME = 1.0, 0.05
"""Frequency that eddy currents leave at the first point, and the time (s) in which it decays."""
SD_BROAD_BROADENING_HZ = 3.0
"""Likewise for their widths, of 15 to 50 Hz."""
MINIMUM_POINTS = 128
VISIBLE = 0.3
"""Part of a signal (norm) that must lie in the fitted range for it to count as there."""
LATE_S, LATE_PART = 0.06, 0.05
"""Macromolecules and lipids are broad: of their energy, less than this part of what the narrowest signal has is left
after that time (s). A multiplet of narrow lines comes back."""


@dataclass(frozen=True)
class Shape:
    """Where the shape parameters of a block stand in their vector, for M signals."""

    n_signals: int
    phase0, phase1, shift, lorentz, gauss2, eddy = range(6)

    @property
    def broadenings(self) -> slice:
        """Own Lorentzian widths (Hz)."""
        return slice(6, 6 + self.n_signals)

    @property
    def shifts(self) -> slice:
        """Own shifts (Hz)."""
        return slice(6 + self.n_signals, 6 + 2 * self.n_signals)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return 6 + 2 * self.n_signals


class Model:
    """Everything about the fit of one kind of data that does not depend on the data themselves.

    Parameters
    ----------
    basis : Basis
        Sampled as the data.
    ppm : (low, high)
        Fitted range.

    Raises
    ------
    InputError
        The range holds too few points, or no signal of the basis.
    """

    def __init__(self, basis: Basis, ppm: tuple[float, float]) -> None:
        self.basis, self.names = basis, basis.names
        self.n_points, self.dwell_time = basis.n_points, basis.dwell_time
        self.spectrometer_frequency = basis.spectrometer_frequency
        self.time = axes.time_axis(self.n_points, self.dwell_time)
        self.eddy_time = EDDY_TIME * (1 - np.exp(-self.time / EDDY_TIME))
        hz = np.fft.fftfreq(self.n_points, self.dwell_time)
        shift = axes.hz_to_ppm(hz, self.spectrometer_frequency)
        inside = np.flatnonzero((shift >= ppm[0]) & (shift <= ppm[1]))
        self.points = inside[np.argsort(-shift[inside])]
        self.ppm = shift[self.points]
        if self.n_points < MINIMUM_POINTS:
            raise InputError(f"the FIDs have {self.n_points} points; a fit needs at least {MINIMUM_POINTS}")
        n_parameters = 3 * len(self.names)
        if 2 * self.points.size <= n_parameters:
            raise InputError(
                f"the range {ppm[0]:g} to {ppm[1]:g} ppm holds {self.points.size} points of the spectrum; a fit with "
                f"{len(self.names)} metabolites needs more than {n_parameters // 2}: widen the range (--ppm)"
            )
        middle = (self.ppm[0] + self.ppm[-1]) / 2
        self.tilt = (middle - self.ppm) / (self.ppm[0] - middle)
        sampling = (self.dwell_time, self.spectrometer_frequency)
        fids = [singlets.without_reference(fid, *sampling) for fid in basis.fids]
        self.fids = np.array([self.with_whole_first_point(fid) for fid in fids])  # their origins can differ
        self.shape = Shape(len(self.names))
        self.nuisance = nuisance.build(self.points, self.n_points, self.dwell_time, self.spectrometer_frequency)
        self._check_signals(ppm)

    def _check_signals(self, ppm: tuple[float, float]) -> None:
        inside = np.linalg.norm(fft.fft(self.fids)[:, self.points], axis=1)
        everywhere = np.linalg.norm(fft.fft(self.fids), axis=1)
        if not np.any(inside > VISIBLE * np.maximum(everywhere, 1e-300)):
            raise InputError(
                f"no metabolite of the basis has a signal from {ppm[0]:g} to {ppm[1]:g} ppm; widen the range (--ppm)"
            )

    @cached_property
    def broad(self) -> NDArray[np.bool_]:
        """Which signals are broad: macromolecules and lipids."""
        energy = np.abs(self.fids) ** 2
        left = energy[:, self.time > LATE_S].sum(axis=1) / np.maximum(energy.sum(axis=1), 1e-300)
        return left < LATE_PART * left.max()

    def prior_precision(self, stiffness: float = 1.0) -> NDArray[np.floating]:
        """Precision (n, n) of the shape parameters about 0; 0: free.

        That of own shapes is taken times `stiffness`; the shift that all broad signals share is not of these.
        """
        shape = self.shape
        precision = np.zeros(shape.size)
        precision[shape.phase1] = 1 / SD_FIRST_ORDER_RAD**2
        precision[shape.eddy] = 1 / SD_EDDY_HZ**2
        precision[shape.broadenings] = np.where(self.broad, SD_BROAD_BROADENING_HZ, SD_BROADENING_HZ) ** -2.0
        each, shared = np.array([SD_BROAD_SHIFT_PPM, SD_BROAD_REFERENCE_PPM]) * self.spectrometer_frequency
        precision[shape.shifts] = np.where(self.broad, each, SD_SHIFT_HZ) ** -2.0
        precision[shape.broadenings.start :] *= stiffness
        matrix = np.diag(precision)
        together = np.flatnonzero(self.broad) + shape.shifts.start
        of_each = stiffness / each**2  # inverse of each²/stiffness on the diagonal and shared² everywhere
        matrix[np.ix_(together, together)] -= of_each**2 / (shared**-2 + together.size * of_each)
        return matrix

    def with_whole_first_point(self, fids: NDArray) -> NDArray[np.complexfloating]:
        """FIDs (..., n) of one origin, whose first point some programs halve for the sake of the Fourier transform.

        Halved is a first point nearer to half than to all of what the next ones extrapolate to (cubic, backwards, with
        the middle of the fitted range at rest).
        """
        middle = axes.ppm_to_hz(self.ppm[[0, -1]].mean(), self.spectrometer_frequency)
        resting = fids[..., :5] * np.exp(-2j * np.pi * middle * self.time[:5])
        extrapolated = resting[..., 1:] @ np.array([4.0, -6.0, 4.0, -1.0])
        if np.sum(np.abs(resting[..., 0])) > 0.75 * np.sum(np.abs(extrapolated)):
            return fids
        return np.concatenate([2 * fids[..., :1], fids[..., 1:]], axis=-1)

    def spectrum(self, fid: NDArray) -> NDArray[np.complexfloating]:
        """Fitted points of the spectrum of an FID, high ppm first."""
        return fft.fft(fid, axis=-1)[..., self.points]

    def turn(self, theta: NDArray) -> NDArray[np.complexfloating]:
        """Factor that takes the phase out of the data."""
        return np.exp(-1j * (theta[self.shape.phase0] + theta[self.shape.phase1] * self.tilt))

    def signals(self, theta: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Spectra (M, P) of the shaped basis signals and of the same times t, and their FIDs."""
        shape, time = self.shape, self.time
        exponent = (2j * np.pi * theta[shape.shift] - np.pi * theta[shape.lorentz]) * time
        exponent = exponent - GAUSS * theta[shape.gauss2] * time**2 + 2j * np.pi * theta[shape.eddy] * self.eddy_time
        own = (2j * np.pi * theta[shape.shifts] - np.pi * theta[shape.broadenings]) * self.dwell_time
        fids = self.fids * _powers(own, self.n_points) * np.exp(exponent)
        both = fft.fft(np.concatenate([fids, fids * time]))[:, self.points]
        return both[: len(fids)], both[len(fids) :], fids

    def derivatives(self, theta: NDArray, amplitudes: NDArray, signals: tuple, everything: NDArray) -> NDArray:
        """Differentiate the model (2P) by the shape parameters (n): (2P, n).

        Parameters
        ----------
        theta : shape parameters
        amplitudes : (M)
        signals : result of `signals`
        everything : (P) complex
            The whole model, nuisance included, which the phases turn.
        """
        shape = self.shape
        _, by_time, fids = signals
        weighted = (amplitudes[:, np.newaxis] * by_time).T
        total = weighted.sum(axis=1)
        fid = amplitudes @ fids
        bent, skewed = fft.fft(fid * np.array([self.time**2, self.eddy_time]))[:, self.points]
        jacobian = np.empty((self.points.size, shape.size), dtype=complex)
        jacobian[:, shape.phase0] = 1j * everything
        jacobian[:, shape.phase1] = 1j * everything * self.tilt
        jacobian[:, shape.shift] = 2j * np.pi * total
        jacobian[:, shape.lorentz] = -np.pi * total
        jacobian[:, shape.gauss2] = -GAUSS * bent
        jacobian[:, shape.eddy] = 2j * np.pi * skewed
        jacobian[:, shape.broadenings] = -np.pi * weighted
        jacobian[:, shape.shifts] = 2j * np.pi * weighted
        return stacked(jacobian)


def _powers(exponents: NDArray, n: int, step: int = 64) -> NDArray[np.complexfloating]:
    """Compute exp(exponents·k) for k = 0 ... n-1: (M) to (M, n), from few exponentials."""
    fine = np.exp(exponents[:, np.newaxis] * np.arange(step))
    coarse = np.exp(exponents[:, np.newaxis] * (step * np.arange(-(-n // step))))
    return (coarse[:, :, np.newaxis] * fine[:, np.newaxis, :]).reshape(exponents.size, -1)[:, :n]
