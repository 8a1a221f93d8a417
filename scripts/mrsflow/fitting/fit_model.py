"""The signal model of a spectrum: basis signals of common and own shape, in the frequency domain of the fitted range.

A block's parameters stand in one vector, `Shape` saying where:

    signal_m(t) = b_m(t) · exp(-π (L + dL_m) t - GAUSS · G² t² + 2πi (f + df_m) t + 2πi Σ_k E_k τ_k (1 - exp(-t/τ_k)))

with the Voigt line common to all signals (Clarke et al. 2021, doi:10.1002/mrm.28630) and small own broadenings and
shifts (Wilson et al. 2011, doi:10.1002/mrm.22579), and frequencies E that decay after the gradients, as eddy currents
make them (Klose 1990, doi:10.1002/mrm.1910140104): what is left of them, and a field that is not distributed alike to
both sides, skews every line alike. Zero- and first-order phase turn the data instead of the model, which leaves white
noise white.

The signals are computed on the band around the fitted range only: the basis is filtered and decimated once, then shaped
there, which equals shaping at full rate to about 1e-5 because a shape varies slowly beside the filter.
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

SD_BROADENING_HZ = 0.42
"""Spread of the line widths of the metabolites of a voxel: T2 of 130 to 300 ms at 3 T are 1.1 to 2.4 Hz."""
SD_SHIFT_HZ = 0.29
"""Spread of their shifts about those of the basis: 0.002 ppm at 3 T, of temperature, pH and table values."""
SD_BROAD_SHIFT_PPM, SD_BROAD_REFERENCE_PPM = 0.01, 0.04
"""The same for macromolecules and lipids: of each, and of all together, as they were measured elsewhere, with their own
reference."""
SD_FIRST_ORDER_RAD = 0.3
"""First-order phase at the edges of the fitted range: delays of a few tens of microseconds."""
SD_EDDY_HZ, EDDY_TIMES = 1.0, (0.04, 0.15)
"""Frequency that eddy currents leave at the first point, and the times (s) in which it decays."""
SD_BROAD_BROADENING_HZ = 3.0
"""Likewise for their widths, of 15 to 50 Hz."""
MINIMUM_POINTS = 128
VISIBLE = 0.3
"""Part of a signal (norm) that must lie in the fitted range for it to count as there."""
LATE_S, LATE_PART = 0.06, 0.05
"""Macromolecules and lipids are broad: of their energy, less than this part of what the narrowest signal has is left
after that time (s). A multiplet of narrow lines comes back."""
MARGIN_PPM = 1.0
"""Band on each side of the fitted range that is computed too; in its outer half the filter of the basis falls to 0."""
RINGING = 32
"""Decimated samples before the first and after the last over which the filter spreads a signal."""


@dataclass(frozen=True)
class Shape:
    """Where the shape parameters of a block stand in their vector, for M signals."""

    n_signals: int
    phase0, phase1, shift, lorentz, gauss2, eddy, slow_eddy = range(7)
    n_common = 7

    @property
    def broadenings(self) -> slice:
        """Own Lorentzian widths (Hz)."""
        return slice(self.n_common, self.n_common + self.n_signals)

    @property
    def shifts(self) -> slice:
        """Own shifts (Hz)."""
        return slice(self.n_common + self.n_signals, self.n_common + 2 * self.n_signals)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.n_common + 2 * self.n_signals


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
        self.basis, self.names, self.ppm_range = basis, basis.names, tuple(ppm)
        self.n_points, self.dwell_time = basis.n_points, basis.dwell_time
        self.spectrometer_frequency = basis.spectrometer_frequency
        self.time = axes.time_axis(self.n_points, self.dwell_time)
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
        self.first_order_ramp = (middle - self.ppm) / (self.ppm[0] - middle)
        sampling = (self.dwell_time, self.spectrometer_frequency)
        fids = [singlets.without_reference(fid, *sampling) for fid in basis.fids]
        self.fids = np.array([self.with_whole_first_point(fid) for fid in fids])  # their origins can differ
        self.shape = Shape(len(self.names))
        self.lacks_glycine = "Ins" in self.names and not {"Gly", "Glyc"} & set(self.names)
        self.nuisance = nuisance.build(
            self.points, self.n_points, self.dwell_time, self.spectrometer_frequency, self.lacks_glycine
        )
        self._check_signals(ppm)
        self._decimate()

    def _check_signals(self, ppm: tuple[float, float]) -> None:
        inside = np.linalg.norm(fft.fft(self.fids)[:, self.points], axis=1)
        everywhere = np.linalg.norm(fft.fft(self.fids), axis=1)
        if not np.any(inside > VISIBLE * np.maximum(everywhere, 1e-300)):
            raise InputError(
                f"no metabolite of the basis has a signal from {ppm[0]:g} to {ppm[1]:g} ppm; widen the range (--ppm)"
            )

    def _decimate(self) -> None:
        """Filter the basis to the fitted range and its margins, and sample it no faster than these need."""
        spacing = 1 / (self.n_points * self.dwell_time)
        first, count = round(axes.ppm_to_hz(self.ppm[0], self.spectrometer_frequency) / spacing), self.points.size
        margin = max(int(MARGIN_PPM * self.spectrometer_frequency / spacing), 8)
        total = min(fft.next_fast_len(count + 2 * margin), self.n_points)
        below = (total - count) // 2
        corners = [0, below / 2, below + count - 1 + (total - below - count) / 2, total]
        ramp = np.interp(np.arange(total), corners, [0.0, 1.0, 1.0, 0.0])
        window = 0.5 - 0.5 * np.cos(np.pi * ramp)
        if total == self.n_points:  # the range takes the whole band: nothing to filter
            window = np.ones(total)
        twice = 2 * self.n_points  # twice as long, so that what the filter spreads beyond the ends stays apart
        fine = fft.fft(self.fids, twice, axis=1)
        wanted = (2 * (first - below) + np.arange(2 * total)) % twice
        heights = np.interp(np.arange(2 * total) / 2, np.arange(total), window)
        fids = fft.ifft(fine[:, wanted] * heights)
        reach = min(RINGING, total // 4)
        self._samples = np.arange(-reach, total + reach)
        self._fids = fids[:, self._samples % (2 * total)]
        self._step = self.n_points * self.dwell_time / total
        self._time = self._samples * self._step
        self._reach, self._total = reach, total
        self._fitted = below + np.arange(count)
        self._eddy_times = np.array([tau * (1 - np.exp(-self._time / tau)) for tau in EDDY_TIMES])

    def _spectra(self, fids: NDArray) -> NDArray[np.complexfloating]:
        """Fitted points of decimated signals (..., samples)."""
        reach, total = self._reach, self._total
        folded = fids[..., reach : reach + total].copy()
        folded[..., -reach:] += fids[..., :reach]
        folded[..., :reach] += fids[..., reach + total :]
        return fft.fft(folded, axis=-1, overwrite_x=True)[..., self._fitted]

    def shortened(self, n_points: int) -> "Model":
        """Give the model of the same data, less what lies beyond their first `n_points` points."""
        from dataclasses import replace

        return Model(replace(self.basis, fids=self.basis.fids[:, :n_points]), self.ppm_range)

    @cached_property
    def broad(self) -> NDArray[np.bool_]:
        """Which signals are broad: macromolecules and lipids."""
        energy = np.abs(self.fids) ** 2
        left = energy[:, self.time > LATE_S].sum(axis=1) / np.maximum(energy.sum(axis=1), 1e-300)
        return left < LATE_PART * left.max()

    def own_precision(self) -> NDArray[np.floating]:
        """Precision (2M, 2M) of own broadenings and shifts about 0.

        Broad signals also share a shift.
        """
        m = len(self.names)
        each, shared = np.array([SD_BROAD_SHIFT_PPM, SD_BROAD_REFERENCE_PPM]) * self.spectrometer_frequency
        widths = np.where(self.broad, SD_BROAD_BROADENING_HZ, SD_BROADENING_HZ) ** -2.0
        matrix = np.diag(np.concatenate([widths, np.where(self.broad, each, SD_SHIFT_HZ) ** -2.0]))
        together = np.flatnonzero(self.broad) + m  # inverse of each² on the diagonal and shared² everywhere
        matrix[np.ix_(together, together)] -= each**-4.0 / (shared**-2 + together.size / each**2)
        return matrix

    def common_precision(self) -> NDArray[np.floating]:
        """Precision of the common shape parameters about 0; 0: free."""
        precision = np.zeros(self.shape.n_common)
        precision[self.shape.phase1] = SD_FIRST_ORDER_RAD**-2
        precision[[self.shape.eddy, self.shape.slow_eddy]] = SD_EDDY_HZ**-2
        return precision

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

    def phase_factor(self, theta: NDArray) -> NDArray[np.complexfloating]:
        """Factor that takes the phase out of the data."""
        return np.exp(-1j * (theta[self.shape.phase0] + theta[self.shape.phase1] * self.first_order_ramp))

    def shaped(self, theta: NDArray) -> NDArray[np.complexfloating]:
        """Decimated FIDs (M, samples) of the shaped basis signals."""
        shape, time = self.shape, self._time
        exponent = (2j * np.pi * theta[shape.shift] - np.pi * theta[shape.lorentz]) * time
        exponent = exponent - GAUSS * theta[shape.gauss2] * time**2
        exponent = exponent + 2j * np.pi * (theta[[shape.eddy, shape.slow_eddy]] @ self._eddy_times)
        own = (2j * np.pi * theta[shape.shifts] - np.pi * theta[shape.broadenings]) * self._step
        first = np.exp(own * self._samples[0])[:, np.newaxis]
        return self._fids * (first * _powers(own, self._samples.size)) * np.exp(exponent)

    def full_fid(self, theta: NDArray, signal: int) -> NDArray[np.complexfloating]:
        """FID (n_points) of one shaped basis signal, not decimated."""
        shape, time = self.shape, self.time
        own = theta[shape.broadenings][signal], theta[shape.shifts][signal]
        exponent = (2j * np.pi * (theta[shape.shift] + own[1]) - np.pi * (theta[shape.lorentz] + own[0])) * time
        exponent = exponent - GAUSS * theta[shape.gauss2] * time**2
        for hz, tau in zip(theta[[shape.eddy, shape.slow_eddy]], EDDY_TIMES, strict=True):
            exponent = exponent + 2j * np.pi * hz * tau * (1 - np.exp(-time / tau))
        return self.fids[signal] * np.exp(exponent)

    def signals(self, theta: NDArray) -> NDArray[np.complexfloating]:
        """Spectra (M, P) of the shaped basis signals."""
        return self._spectra(self.shaped(theta))

    def derivatives(self, amplitudes: NDArray, fids: NDArray, everything: NDArray) -> tuple[NDArray, NDArray]:
        """Differentiate the model (2P) by the common (2P, 7) and the own (2P, 2M) shape parameters.

        Parameters
        ----------
        amplitudes : (M)
        fids : (M, samples)
            Result of `shaped`.
        everything : (P) complex
            The whole model, nuisance included, which the phases turn.
        """
        weighted = (amplitudes[:, np.newaxis] * fids) * self._time
        by_time = self._spectra(weighted)
        total = amplitudes @ fids
        bent, *skewed = self._spectra(total * np.array([self._time**2, *self._eddy_times]))
        summed = by_time.sum(axis=0)
        common = [
            1j * everything, 1j * everything * self.first_order_ramp, 2j * np.pi * summed, -np.pi * summed,
            -GAUSS * bent, *(2j * np.pi * part for part in skewed),
        ]  # fmt: skip
        own = np.concatenate([-np.pi * by_time, 2j * np.pi * by_time])
        return stacked(np.array(common).T), stacked(own.T)


def _powers(exponents: NDArray, n: int, step: int = 32) -> NDArray[np.complexfloating]:
    """Compute exp(exponents·k) for k = 0 ... n-1: (M) to (M, n), from few exponentials."""
    fine = np.exp(exponents[:, np.newaxis] * np.arange(step))
    coarse = np.exp(exponents[:, np.newaxis] * (step * np.arange(-(-n // step))))
    return (coarse[:, :, np.newaxis] * fine[:, np.newaxis, :]).reshape(exponents.size, -1)[:, :n]
