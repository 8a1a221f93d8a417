"""Shaped slice-selective refocusing pulses, given by formula."""

from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

STEPS = 128
"""Steps of constant amplitude and phase in a pulse."""
EXTENT = 1.0
"""The grid of positions covers the slice and this much of its thickness in total outside it."""
HYPERBOLIC_SECANT_EDGE = 0.01
"""Amplitude at the ends of a hyperbolic secant pulse, as a share of its peak."""


@dataclass(frozen=True)
class Pulse:
    """A refocusing pulse of PRESS or semi-LASER.

    Attributes
    ----------
    shape : {"sinc", "hyperbolic_secant"}
        Hamming-filtered sinc with a flip angle of 180° on resonance, for PRESS; or the adiabatic HS1 pulse
        (Silver et al. 1984, doi:10.1016/0022-2364(84)90230-1), which semi-LASER applies in pairs.
    duration : float
        s.
    bandwidth : float
        Full width of the refocused slice at half its height, Hz: a chemical shift f moves the slice by f / bandwidth
        of its thickness.
    carrier_ppm : float
        Chemical shift at which the slice is where it was planned.
    positions : int
        Points of the grid across the slice, in each of two directions.
    """

    shape: str
    duration: float
    bandwidth: float
    carrier_ppm: float = 3.0
    positions: int = 24

    def waveform(self) -> NDArray[np.complexfloating]:
        """Nutation frequency with its phase (rad/s) in the middle of each step, (steps,)."""
        if self.shape == "sinc":
            return self.sinc(_sinc_width(self))
        if self.shape != "hyperbolic_secant":
            raise InputError(f"pulse shape {self.shape!r} is not known; use sinc or hyperbolic_secant")
        t = self._times()
        beta = 2 * np.arccosh(1 / HYPERBOLIC_SECANT_EDGE) / self.duration
        mu = np.pi * self.bandwidth / beta
        sweep = -mu * np.log(np.cosh(beta * t))  # the integral of the frequency -mu·beta·tanh(beta t)
        return 2.5 * beta * np.sqrt(mu) / np.cosh(beta * t) * np.exp(1j * sweep)

    def _times(self) -> NDArray[np.floating]:
        return (np.arange(STEPS) + 0.5) / STEPS * self.duration - self.duration / 2

    def sinc(self, width: float) -> NDArray[np.complexfloating]:
        """Hamming-filtered sinc of given frequency width (Hz) that turns spins at the carrier by 180°."""
        t = self._times()
        wave = np.sinc(width * t) * (0.54 + 0.46 * np.cos(2 * np.pi * t / self.duration))
        return (np.pi / (wave.sum() * self.duration / STEPS) * wave).astype(complex)

    def offsets(self) -> NDArray[np.floating]:
        """Frequency that the gradient adds at each position, Hz, (positions,)."""
        edges = (np.arange(self.positions) + 0.5) / self.positions - 0.5
        return edges * self.bandwidth * (1 + EXTENT)

    def propagators(self, hamiltonian: NDArray, n_spins: int) -> NDArray[np.complexfloating]:
        """Propagators at each position, (positions, d, d), in the product basis.

        Parameters
        ----------
        hamiltonian : (d, d) float
            Without pulse and gradient, relative to the carrier, rad/s.
        n_spins : int

        Notes
        -----
        Symmetric splitting in each step: pulse and gradient turn every spin alike and exactly, shifts and couplings
        act before and after.
        """
        dt = self.duration / STEPS
        energies, vectors = np.linalg.eigh(hamiltonian)
        half = (vectors * np.exp(-0.5j * energies * dt)) @ vectors.T
        whole = half @ half
        total = np.broadcast_to(half, (self.positions, *half.shape))
        for turns in self.rotations(self.waveform(), self.offsets()):
            total = whole @ (_all_spins(turns, n_spins) @ total)
        return np.linalg.inv(half) @ total

    def rotations(self, waveform: NDArray, offsets: NDArray) -> NDArray[np.complexfloating]:
        """Rotation of one spin in each step at each offset (Hz), (steps, offsets, 2, 2)."""
        dt = self.duration / STEPS
        wave, offset = waveform[:, None], 2 * np.pi * offsets[None, :]
        effective = np.sqrt(np.abs(wave) ** 2 + offset**2)
        cosine = np.cos(effective * dt / 2)
        sine = dt / 2 * np.sinc(effective * dt / (2 * np.pi))
        up, transverse = -1j * offset * sine, -1j * np.conj(wave) * sine
        return np.moveaxis(np.array([[cosine + up, transverse], [-np.conj(transverse), cosine - up]]), (0, 1), (2, 3))


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


def _all_spins(turns: NDArray, n_spins: int) -> NDArray:
    """Kronecker power of rotations of one spin, (positions, 2, 2) -> (positions, d, d)."""

    def kron(a: NDArray, b: NDArray) -> NDArray:
        d = a.shape[-1] * b.shape[-1]
        return np.einsum("pij,pkl->pikjl", a, b).reshape(-1, d, d)

    return reduce(kron, [turns] * n_spins)
