"""Shaped slice-selective refocusing pulses: by formula, by name of `presets`, or by the samples of a file."""

from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.basis_sets import presets, spins
from mrsflow.basis_sets.pulse_files import read_samples
from mrsflow.errors import InputError

STEPS = 128
"""Steps of constant amplitude and phase in a pulse."""
KNOTS = 16
"""Equal parts of a pulse between which couplings act; within a part each spin rotates on its own."""
EXTENT = 1.0
"""The grid of positions covers the slice and this much of its thickness in total outside it."""
HYPERBOLIC_SECANT_EDGE = 0.01
"""Amplitude at the ends of a hyperbolic secant pulse, as a share of its peak."""


@dataclass(frozen=True)
class Pulse:
    """A refocusing pulse of PRESS or semi-LASER.

    Attributes
    ----------
    shape : {"sinc", "hyperbolic_secant", "fourier", "samples"}
        Hamming-filtered sinc, for PRESS; the adiabatic HS1 pulse (Silver et al. 1984,
        doi:10.1016/0022-2364(84)90230-1), which semi-LASER applies in pairs; a Fourier series over the pulse; or
        samples of a file.
    duration : float
        s.
    bandwidth : float or None
        Sinc and hyperbolic secant: full width of the refocused slice at half its height, Hz; a chemical shift f moves
        the slice by f / bandwidth of its thickness. None for the other shapes, where shape and duration decide it.
    carrier_ppm : float
        Chemical shift at which the slice is where it was planned.
    positions : int
        Points of the grid across the slice, in each of two directions.
    numbers : tuple of pairs of float
        Fourier: coefficients of cos(2πkt / duration) and sin(2πkt / duration) for k = 0, 1, ...; t from the middle.
        Samples: amplitude and phase (rad) in equal steps.
    flip : float
        Angle by which spins at the carrier turn, rad; adiabatic pulses have their own.
    peak : float or None
        Samples: largest nutation frequency, Hz, for pulses with phase modulation; None: what gives `flip`.
    """

    shape: str
    duration: float
    bandwidth: float | None = None
    carrier_ppm: float = 3.0
    positions: int = 24
    numbers: tuple[tuple[float, float], ...] = ()
    flip: float = np.pi
    peak: float | None = None

    @classmethod
    def from_protocol(cls, refocusing: dict[str, Any]) -> "Pulse":
        """Take a pulse from a protocol of the configuration (ms and degrees there), reading its file if it has one."""
        shape, numbers = refocusing.get("shape"), ()
        if refocusing.get("file"):
            shape, numbers = "samples", read_samples(refocusing["file"])
        elif shape in (known := presets.table()["pulses"]):
            shape, numbers = "fourier", tuple((float(a), float(b)) for a, b in known[shape]["numbers"])
        return cls(
            shape=shape,
            duration=refocusing["duration_ms"] / 1e3,
            bandwidth=refocusing.get("bandwidth_hz"),
            carrier_ppm=refocusing["carrier_ppm"],
            numbers=numbers,
            flip=np.deg2rad(refocusing.get("flip_deg", 180)),
            peak=refocusing.get("peak_hz"),
        )

    def waveform(self) -> NDArray[np.complexfloating]:
        """Nutation frequency with its phase (rad/s) in the middle of each step, (steps,)."""
        shapes = {
            "sinc": lambda: self.sinc(_sinc_width(self)),
            "hyperbolic_secant": self._hyperbolic_secant,
            "fourier": self._fourier,
            "samples": self._resampled,
        }
        if self.shape not in shapes:
            raise InputError(f"pulse shape {self.shape!r} is not known; use {', '.join(shapes)}")
        return shapes[self.shape]()

    def _hyperbolic_secant(self) -> NDArray[np.complexfloating]:
        t = self._times()
        beta = 2 * np.arccosh(1 / HYPERBOLIC_SECANT_EDGE) / self.duration
        mu = np.pi * self.bandwidth / beta
        sweep = -mu * np.log(np.cosh(beta * t))  # the integral of the frequency -mu·beta·tanh(beta t)
        return 2.5 * beta * np.sqrt(mu) / np.cosh(beta * t) * np.exp(1j * sweep)

    def _fourier(self) -> NDArray[np.complexfloating]:
        cosines, sines = np.array(self.numbers).T
        angle = 2 * np.pi * np.outer(self._times() / self.duration, np.arange(len(self.numbers)))
        return self._flipping(np.cos(angle) @ cosines + np.sin(angle) @ sines)

    def _resampled(self) -> NDArray[np.complexfloating]:
        amplitude, phase = np.array(self.numbers).T
        given = (np.arange(len(amplitude)) + 0.5) / len(amplitude) - 0.5
        wave, place = amplitude * np.exp(1j * phase), self._times() / self.duration
        wave = np.interp(place, given, wave.real) + 1j * np.interp(place, given, wave.imag)
        return self._flipping(wave) if self.peak is None else 2 * np.pi * self.peak * wave / np.abs(wave).max()

    def _times(self) -> NDArray[np.floating]:
        return (np.arange(STEPS) + 0.5) / STEPS * self.duration - self.duration / 2

    def sinc(self, width: float) -> NDArray[np.complexfloating]:
        """Hamming-filtered sinc of given frequency width (Hz)."""
        t = self._times()
        return self._flipping(np.sinc(width * t) * (0.54 + 0.46 * np.cos(2 * np.pi * t / self.duration)))

    def _flipping(self, wave: NDArray) -> NDArray[np.complexfloating]:
        """Scale a waveform to its flip angle at the carrier."""
        total = np.abs(wave.sum())
        if total < 0.02 * np.abs(wave).sum():
            raise InputError(
                "a pulse whose samples cancel each other has no flip angle at its carrier; give the largest nutation "
                "frequency of an adiabatic pulse (peak_hz)"
            )
        return (self.flip / (total * self.duration / STEPS) * wave).astype(complex)

    def slice_width(self) -> float:
        """Full width of the refocused slice at half its height, Hz."""
        return _half_height(self) if self.bandwidth is None else self.bandwidth

    def offsets(self) -> NDArray[np.floating]:
        """Frequency that the gradient adds at each position, Hz, (positions,)."""
        edges = (np.arange(self.positions) + 0.5) / self.positions - 0.5
        return edges * self.slice_width() * (1 + EXTENT)

    def refocused(self, offsets: ArrayLike) -> NDArray[np.floating]:
        """Share of the transverse magnetisation of uncoupled spins at `offsets` (Hz) that is refocused, (n,)."""
        rotations = self.rotations(self.waveform(), np.asarray(offsets, dtype=float))
        return np.abs(reduce(lambda u, rotation: rotation @ u, rotations)[..., 0, 1]) ** 2

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
        Symmetric splitting: within each of `KNOTS` parts of the pulse every spin rotates exactly under pulse, gradient
        and its shift, couplings act before and after.
        """
        shifts = np.asarray(shifts, dtype=float)
        rotations = self.rotations(self.waveform(), self.offsets()[:, None] + shifts)
        rotations = rotations.reshape(KNOTS, STEPS // KNOTS, *rotations.shape[1:])
        parts = reduce(lambda u, rotation: rotation @ u, np.moveaxis(rotations, 1, 0))
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
    height = pulse.refocused(offsets)
    outside = np.flatnonzero(height < height[0] / 2)
    if height[0] < 0.1 or outside.size == 0:
        raise InputError(f"a pulse of shape {pulse.shape} does not select a slice about its carrier; check its samples")
    return 2 * float(offsets[outside[0]])


@cache
def _sinc_width(pulse: Pulse) -> float:
    """Width of the sinc (Hz) that gives a pulse its bandwidth: refocusing narrows a slice."""
    from scipy.optimize import brentq

    def excess(factor: float) -> float:
        rotations = pulse.rotations(pulse.sinc(factor * pulse.bandwidth), np.array([pulse.bandwidth / 2]))
        total = reduce(lambda u, rotation: rotation[0] @ u, rotations, np.eye(2))
        return float(np.abs(total[0, 1]) ** 2 - np.sin(pulse.flip / 2) ** 2 / 2)

    if not excess(0.5) < 0 < excess(3.0):
        raise InputError(
            f"a sinc pulse of {pulse.duration * 1e3:g} ms cannot refocus {pulse.bandwidth:g} Hz; "
            f"change one of them (their product is {pulse.duration * pulse.bandwidth:.1f}; 2 to 12 is usual)"
        )
    return brentq(excess, 0.5, 3.0) * pulse.bandwidth


def _all_spins(rotations: NDArray) -> NDArray:
    """Kronecker product of the rotations of each spin, (positions, n, 2, 2) -> (positions, d, d)."""

    def kron(a: NDArray, b: NDArray) -> NDArray:
        d = a.shape[-1] * b.shape[-1]
        return np.einsum("pij,pkl->pikjl", a, b).reshape(-1, d, d)

    return reduce(kron, np.moveaxis(rotations, 1, 0))
