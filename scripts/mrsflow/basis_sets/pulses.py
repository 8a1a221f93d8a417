"""Shaped slice-selective refocusing pulses, given by formula or by their samples."""

from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.basis_sets import spins
from mrsflow.errors import InputError

STEPS = 128
"""Steps of constant amplitude and phase in a pulse."""
KNOTS = 16
"""Equal parts of a pulse between which couplings act; within a part each spin turns on its own."""
EXTENT = 1.0
"""The grid of positions covers the slice and this much of its thickness in total outside it."""
HYPERBOLIC_SECANT_EDGE = 0.01
"""Amplitude at the ends of a hyperbolic secant pulse, as a share of its peak."""


@dataclass(frozen=True)
class Pulse:
    """A refocusing pulse of PRESS or semi-LASER.

    Attributes
    ----------
    shape : {"sinc", "hyperbolic_secant", "cosines", "samples"}
        Hamming-filtered sinc with a flip angle of 180° on resonance, for PRESS; the adiabatic HS1 pulse
        (Silver et al. 1984, doi:10.1016/0022-2364(84)90230-1), which semi-LASER applies in pairs; a sum of cosines
        over the pulse; or samples of a file.
    duration : float
        s.
    bandwidth : float or None
        Full width of the refocused slice at half its height, Hz: a chemical shift f moves the slice by f / bandwidth
        of its thickness. None for cosines and samples, whose shape and duration decide it.
    carrier_ppm : float
        Chemical shift at which the slice is where it was planned.
    positions : int
        Points of the grid across the slice, in each of two directions.
    numbers : tuple
        Cosines: coefficients of cos(2πkt / duration), t from the middle, k from 0. Samples: (amplitude, phase in rad).
    peak : float or None
        Samples: largest nutation frequency, Hz; None: 180° on resonance, for pulses without phase modulation.
    """

    shape: str
    duration: float
    bandwidth: float | None = None
    carrier_ppm: float = 3.0
    positions: int = 24
    numbers: tuple = ()
    peak: float | None = None

    def waveform(self) -> NDArray[np.complexfloating]:
        """Nutation frequency with its phase (rad/s) in the middle of each step, (steps,)."""
        t = self._times()
        if self.shape == "sinc":
            return self.sinc(_sinc_width(self))
        if self.shape == "cosines":
            k = np.arange(len(self.numbers))
            return self._flipping(np.cos(2 * np.pi * np.outer(t / self.duration, k)) @ self.numbers)
        if self.shape == "samples":
            amplitude, phase = np.array(self.numbers).T
            place = (np.arange(len(amplitude)) + 0.5) / len(amplitude) - 0.5
            wave = amplitude * np.exp(1j * phase)
            wave = np.interp(t / self.duration, place, wave.real) + 1j * np.interp(t / self.duration, place, wave.imag)
            return self._flipping(wave) if self.peak is None else 2 * np.pi * self.peak * wave / np.abs(wave).max()
        if self.shape != "hyperbolic_secant":
            raise InputError(f"pulse shape {self.shape!r} is not known; use sinc or hyperbolic_secant")
        beta = 2 * np.arccosh(1 / HYPERBOLIC_SECANT_EDGE) / self.duration
        mu = np.pi * self.bandwidth / beta
        sweep = -mu * np.log(np.cosh(beta * t))  # the integral of the frequency -mu·beta·tanh(beta t)
        return 2.5 * beta * np.sqrt(mu) / np.cosh(beta * t) * np.exp(1j * sweep)

    def _times(self) -> NDArray[np.floating]:
        return (np.arange(STEPS) + 0.5) / STEPS * self.duration - self.duration / 2

    def sinc(self, width: float) -> NDArray[np.complexfloating]:
        """Hamming-filtered sinc of given frequency width (Hz) that turns spins at the carrier by 180°."""
        t = self._times()
        return self._flipping(np.sinc(width * t) * (0.54 + 0.46 * np.cos(2 * np.pi * t / self.duration)))

    def _flipping(self, wave: NDArray) -> NDArray[np.complexfloating]:
        """Scale a waveform to turn spins at the carrier by 180°."""
        return (np.pi / (wave.sum() * self.duration / STEPS) * wave).astype(complex)

    def slice_width(self) -> float:
        """Full width of the refocused slice at half its height, Hz."""
        return _half_height(self) if self.bandwidth is None else self.bandwidth

    def offsets(self) -> NDArray[np.floating]:
        """Frequency that the gradient adds at each position, Hz, (positions,)."""
        edges = (np.arange(self.positions) + 0.5) / self.positions - 0.5
        return edges * self.slice_width() * (1 + EXTENT)

    def refocused(self, offsets: ArrayLike) -> NDArray[np.floating]:
        """Share of the transverse magnetisation of uncoupled spins at `offsets` (Hz) that is refocused, (n,)."""
        turns = self.rotations(self.waveform(), np.asarray(offsets, dtype=float))
        return np.abs(reduce(lambda u, turn: turn @ u, turns)[..., 0, 1]) ** 2

    def propagators(self, shifts: ArrayLike, couplings: NDArray) -> NDArray[np.complexfloating]:
        """Propagators at each position, (positions, d, d), in the product basis.

        Parameters
        ----------
        shifts : (n,) float
            Of the spins from the carrier, Hz.
        couplings : (n, n) float
            Hz.

        Notes
        -----
        Symmetric splitting: within each of `KNOTS` parts of the pulse every spin turns exactly under pulse, gradient
        and its shift, couplings act before and after.
        """
        shifts = np.asarray(shifts, dtype=float)
        turns = self.rotations(self.waveform(), self.offsets()[:, None] + shifts)
        turns = turns.reshape(KNOTS, STEPS // KNOTS, *turns.shape[1:])
        parts = reduce(lambda u, turn: turn @ u, np.moveaxis(turns, 1, 0))
        coupled = spins.levels(np.zeros(len(shifts)), couplings)
        half = (coupled.vectors * np.exp(-0.5j * coupled.energies * self.duration / KNOTS)) @ coupled.vectors.T
        whole, total = half @ half, half
        for part in parts:
            total = whole @ (_all_spins(part) @ total)
        return half.conj() @ total

    def rotations(self, waveform: NDArray, offsets: NDArray) -> NDArray[np.complexfloating]:
        """Rotation of one spin in each step at each offset (Hz), (steps, ..., 2, 2)."""
        dt = self.duration / STEPS
        wave, offset = waveform.reshape(-1, *[1] * offsets.ndim), 2 * np.pi * offsets
        effective = np.sqrt(np.abs(wave) ** 2 + offset**2)
        cosine = np.cos(effective * dt / 2)
        sine = dt / 2 * np.sinc(effective * dt / (2 * np.pi))
        up, transverse = -1j * offset * sine, -1j * np.conj(wave) * sine
        return np.moveaxis(np.array([[cosine + up, transverse], [-np.conj(transverse), cosine - up]]), (0, 1), (-2, -1))


@cache
def _half_height(pulse: Pulse) -> float:
    """Width of the slice at half its height (Hz), of a pulse whose shape and duration decide it."""
    offsets = np.arange(0, STEPS / 4, 0.02) / pulse.duration
    outside = np.flatnonzero(pulse.refocused(offsets) < 0.5)
    if outside.size == 0 or outside[0] == 0:
        raise InputError(f"a pulse of shape {pulse.shape} does not select a slice about its carrier; check its samples")
    return 2 * float(offsets[outside[0]])


@cache
def _sinc_width(pulse: Pulse) -> float:
    """Width of the sinc (Hz) that gives a pulse its bandwidth: refocusing narrows a slice."""
    from scipy.optimize import brentq

    def excess(factor: float) -> float:
        turns = pulse.rotations(pulse.sinc(factor * pulse.bandwidth), np.array([pulse.bandwidth / 2]))
        total = reduce(lambda u, turn: turn[0] @ u, turns, np.eye(2))
        return float(np.abs(total[0, 1]) ** 2 - 0.5)

    if not excess(0.5) < 0 < excess(3.0):
        raise InputError(
            f"a sinc pulse of {pulse.duration * 1e3:g} ms cannot refocus {pulse.bandwidth:g} Hz; "
            f"change one of them (their product is {pulse.duration * pulse.bandwidth:.1f}; 2 to 12 is usual)"
        )
    return brentq(excess, 0.5, 3.0) * pulse.bandwidth


def _all_spins(turns: NDArray) -> NDArray:
    """Kronecker product of the rotations of each spin, (positions, n, 2, 2) -> (positions, d, d)."""

    def kron(a: NDArray, b: NDArray) -> NDArray:
        d = a.shape[-1] * b.shape[-1]
        return np.einsum("pij,pkl->pikjl", a, b).reshape(-1, d, d)

    return reduce(kron, np.moveaxis(turns, 1, 0))
