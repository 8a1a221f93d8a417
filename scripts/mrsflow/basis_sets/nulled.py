"""Metabolite-nulled spectra: lines of macromolecules in them, without noise and the metabolites that were left.

Inversion nulls metabolites of one T1 only. What is left of the others (creatine's CH2 above all, upright or inverted)
are lines as narrow as the shim, beside macromolecules of 0.1 ppm and more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from mrsflow import axes, water
from mrsflow.basis_sets import broad_lines
from mrsflow.basis_sets.basis import Basis
from mrsflow.constants import GAUSSIAN, REFERENCE_PPM
from mrsflow.errors import InputError

WINDOW_PPM = (0.3, 4.3)
LINES = {
    "MM09": (0.92,), "MM12": (1.21,), "MM14": (1.39,), "MM17": (1.65,), "MM20": (1.95, 2.04), "MM22": (2.26,),
    "MM26": (2.60,), "MM30": (2.99, 3.19), "MM37": (3.64, 3.80, 4.03),
}  # fmt: skip
"""Where lines are looked for: near those of the consensus on macromolecules, with two at 2.0 ppm (Cudalbu et al. 2021,
doi:10.1002/nbm.4393)."""
RESIDUAL = {
    "Cr CH2": 3.92, "tCr CH3": REFERENCE_PPM["Cr"], "tCho": REFERENCE_PPM["Cho"], "tNAA": REFERENCE_PPM["NAA"],
}  # fmt: skip
"""Singlets that inversion may leave, of either sign (ppm)."""
POSITION_SD, WIDTH_PPM, WIDTH_SD = 0.03, 0.16, 0.25
SHIM_PPM, SHIM_SD = 0.05, 0.6
"""Width of the shim where no metabolite is left that shows it, and the SD of its logarithm."""
MISFIT, MISFIT_OF_ONE = 0.2, 0.05
"""What the lines are not expected to explain, as part of the highest point: lines common to several people 3 %, as some
40 points all show the same of it; lines of one spectrum less."""
NOISE_PPM = (6.5, 9.5)
"""Range that shows noise alone."""
CLEAN = 5e-4
"""Noise of a spectrum below which it is a signal that was made, not measured, as part of its highest point."""
GRID_PPM, GRID_WIDTH = np.arange(0.4, 4.301, 0.04), 0.1
"""Lines that make up a cleaned spectrum (ppm): near enough to each other, and narrow enough, for any macromolecules."""
GRID_MISFIT, ROUGHNESS = 0.01, 0.003
"""Of these lines: what they are not expected to explain, and the cost of amounts that bend from one to the next."""
SHOWN = 0.1
"""Height of a residual metabolite, as part of the highest point, that shows the shim."""
MOST_LEFT = 0.6
"""Height of both tNAA and tCr, as part of the highest point, from which metabolites were not nulled."""
LEAST_EXPLAINED = 0.6
"""Part of its energy that the lines of macromolecules must explain for a spectrum to be one of them."""


@dataclass(frozen=True)
class Cleaned:
    """Macromolecules of one metabolite-nulled spectrum.

    Attributes
    ----------
    lines : list of dict
        `shift`, `width` (ppm, the shim taken out) and `protons` (of an arbitrary unit).
    residual : dict of str to float
        Height of each singlet of `RESIDUAL`, as part of the highest point of the spectrum; negative: inverted.
    phase : float
        rad, taken out.
    shift : float
        ppm, taken out.
    shim : float
        Width of what is left of metabolites (ppm).
    explained : float
        Part of the spectrum's energy that lines, residual metabolites and a smooth baseline explain.
    """

    lines: list[dict[str, float]]
    residual: dict[str, float]
    phase: float
    shift: float
    shim: float
    explained: float

    def fid(self, spectrometer_frequency: float, dwell_time: float, n_points: int) -> NDArray[np.complexfloating]:
        """Sum of the lines as an FID (n_points,)."""
        return broad_lines.broad_fid(self.lines, spectrometer_frequency, dwell_time, n_points)

    @property
    def said(self) -> str:
        """What was found of metabolites, in a few words."""
        found = [f"{name} {100 * height:+.0f} %" for name, height in self.residual.items() if abs(height) > 0.04]
        return f"residual {', '.join(found)} of the highest point taken out" if found else "no residual metabolites"


class Nulled:
    """A metabolite-nulled spectrum: real points above imaginary ones, water taken out, highest point 1."""

    def __init__(
        self, fid: NDArray, dwell_time: float, spectrometer_frequency: float, residual: Iterable[str] = RESIDUAL
    ) -> None:
        self.narrow = np.array([RESIDUAL[name] for name in residual])
        self.spectrometer_frequency = spectrometer_frequency
        self.time = axes.time_axis(fid.size, dwell_time)
        ppm = axes.ppm_axis(fid.size, dwell_time, spectrometer_frequency)
        self.inside = (ppm > WINDOW_PPM[0]) & (ppm < WINDOW_PPM[1])
        self.ppm = ppm[self.inside]
        clean = fid - water.residual_water(fid, dwell_time, spectrometer_frequency)
        points = axes.to_spectrum(clean)[self.inside]
        self.points = points / np.abs(points).max()
        self.scaled_ppm = (self.ppm - np.mean(WINDOW_PPM)) / 2

    def baseline(self, degree: int) -> NDArray:
        """Give powers of the chemical shift up to `degree`, of either sign, real and imaginary: (2P, n)."""
        smooth = np.stack([self.scaled_ppm**k for k in range(degree + 1)], axis=1)
        none = np.zeros_like(smooth)
        return np.block([[smooth, -smooth, none, none], [none, none, smooth, -smooth]])

    def lines(self, shifts: NDArray, widths: NDArray) -> NDArray:
        """Give unit lines: (2P, n)."""
        hz = axes.ppm_to_hz(shifts, self.spectrometer_frequency)[:, np.newaxis]
        decay = np.pi * (widths * self.spectrometer_frequency)[:, np.newaxis] * self.time
        spectra = axes.to_spectrum(np.exp(2j * np.pi * hz * self.time - decay**2 / GAUSSIAN))
        spectra = spectra[:, self.inside].T / np.abs(spectra).max()
        return np.concatenate([spectra.real, spectra.imag])

    def explained(
        self, shifts: NDArray, widths: NDArray, own: NDArray, degree: int = 2, roughness: float = 0.0
    ) -> tuple[NDArray, NDArray]:
        """Amounts of the lines, then of what is left of metabolites, and what they leave beside a baseline.

        `own`: two phases (rad), shift and shim (ppm). `roughness`: cost of amounts that bend from line to line.
        """
        n = shifts.size
        rephased = self.points * np.exp(-1j * (own[0] + own[1] * self.scaled_ppm))
        broad = self.lines(shifts + own[2], np.hypot(widths, own[3]))
        left = self.lines(self.narrow + own[2], np.full(self.narrow.size, own[3]))
        design = np.hstack([broad, left, -left, self.baseline(degree)])
        target = np.concatenate([rephased.real, rephased.imag])
        bend = np.zeros((n - 2, design.shape[1]))
        bend[:, :n] = roughness * np.sqrt(target.size) * np.diff(np.eye(n), 2, axis=0)
        amounts, _ = nnls(np.vstack([design, bend]), np.concatenate([target, np.zeros(n - 2)]))
        upright, inverted = amounts[n : n + 2 * self.narrow.size].reshape(2, -1)
        heights = (upright - inverted) * np.abs(left).max(axis=0)
        return np.concatenate([amounts[:n], heights]), np.concatenate([target - design @ amounts, -bend @ amounts])


def fit_lines(spectra: list[Nulled], misfit: float = MISFIT) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Fit lines whose positions and widths are common to all spectra.

    Returns
    -------
    shifts, widths : (n,) float
        ppm.
    amounts : (spectra, n + residual metabolites) float
    own : (spectra, 4) float
        Two phases (rad), shift and shim (ppm) of each spectrum.
    """
    centres = np.concatenate(list(LINES.values()))
    n = centres.size

    def parts(z: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        return z[:n], WIDTH_PPM * np.exp(z[n : 2 * n]), z[2 * n :].reshape(len(spectra), 4)

    def cost(z: NDArray) -> NDArray:
        shifts, widths, own = parts(z)
        left = [one.explained(shifts, widths, its)[1] / misfit for one, its in zip(spectra, own, strict=True)]
        shim = np.log(np.abs(own[:, 3]) / SHIM_PPM) / SHIM_SD
        known = [(shifts - centres) / POSITION_SD, z[n : 2 * n] / WIDTH_SD, own[:, 2] / 0.02, shim]
        return np.concatenate([*left, *known])

    widths = np.full(n, WIDTH_PPM)
    own = np.array([_start(one, centres, widths) for one in spectra])
    found = least_squares(cost, np.concatenate([centres, np.zeros(n), own.ravel()]), x_scale="jac", max_nfev=40)
    shifts, widths, own = parts(found.x)
    amounts = [one.explained(shifts, widths, its)[0] for one, its in zip(spectra, own, strict=True)]
    return shifts, widths, np.array(amounts), own


def _start(spectrum: Nulled, centres: NDArray, widths: NDArray) -> NDArray:
    """Give phase and shift from which the lines leave least."""
    candidates = [
        (p, 0.0, s, SHIM_PPM) for p in np.linspace(-np.pi, np.pi, 24, endpoint=False) for s in (-0.05, 0, 0.05)
    ]
    return np.array(min(candidates, key=lambda c: np.sum(spectrum.explained(centres, widths, np.array(c))[1] ** 2)))


def clean(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> Cleaned:
    """Find the macromolecules of a metabolite-nulled spectrum: without noise, phase, water and residual metabolites.

    Parameters
    ----------
    fid : (n_points,) complex
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.

    Raises
    ------
    InputError
        The lines of macromolecules explain too little of it, or metabolites were not nulled.
    """
    spectrum = Nulled(fid, dwell_time, spectrometer_frequency)
    shifts, _, known, start = fit_lines([spectrum], MISFIT_OF_ONE)
    before = dict(zip(RESIDUAL, np.abs(known[0, shifts.size :]), strict=True))
    own = _refined(spectrum, start[0], max(before.values()) > SHOWN)
    amounts, left = _on_grid(spectrum, own)
    n = GRID_PPM.size
    explained = 1 - np.sum(left**2) / np.sum(np.abs(spectrum.points) ** 2)
    if not (explained > LEAST_EXPLAINED and known[0, 0] > 0):
        raise InputError(
            f"lines of macromolecules explain {100 * explained:.0f} % of the spectrum from {WINDOW_PPM[0]} to "
            f"{WINDOW_PPM[1]} ppm ({100 * LEAST_EXPLAINED:.0f} % needed, with a line at 0.9 ppm); is it "
            "metabolite-nulled?"
        )
    if min(before["tNAA"], before["tCr CH3"]) > MOST_LEFT:
        raise InputError(
            f"tNAA and tCr are {100 * before['tNAA']:.0f} and {100 * before['tCr CH3']:.0f} % of its highest point "
            f"({100 * MOST_LEFT:.0f} % allowed for both); is it metabolite-nulled, and its inversion time right?"
        )
    residual = dict(zip(RESIDUAL, map(float, amounts[n:]), strict=True))
    phase, _, shift, shim = map(float, own)
    values = zip(GRID_PPM.tolist(), amounts[:n].tolist(), strict=True)
    lines = [{"shift": ppm, "width": GRID_WIDTH, "protons": amount} for ppm, amount in values if amount > 0]
    return Cleaned(lines, residual, phase, shift, abs(shim), float(explained))


def _on_grid(spectrum: Nulled, own: NDArray) -> tuple[NDArray, NDArray]:
    """Amounts of lines at every shift of `GRID_PPM`, beside a constant baseline, and what they leave."""
    return spectrum.explained(GRID_PPM, np.full(GRID_PPM.size, GRID_WIDTH), own, 0, ROUGHNESS)


def _refined(spectrum: Nulled, start: NDArray, shown: bool) -> NDArray:
    """Phases, shift and shim with which lines on the grid explain most; the usual shim where no metabolite shows it."""

    def cost(own: NDArray) -> NDArray:
        known = [own[2] / 0.02, np.log(abs(own[3]) / SHIM_PPM) / (SHIM_SD if shown else 0.01)]
        return np.concatenate([_on_grid(spectrum, own)[1] / GRID_MISFIT, known])

    start = start if shown else np.append(start[:3], SHIM_PPM)
    return least_squares(cost, start, x_scale=[0.1, 0.1, 0.01, 0.01], max_nfev=15).x


def cleaned(measured: Basis) -> Basis:
    """Take noise, phase and residual metabolites out of measured macromolecules, where there is noise in them.

    Parameters
    ----------
    measured : Basis
        As `mrsflow.basis_sets.macromolecules.read` gives them. Several signals, or one without noise, are taken as they
        are.

    Raises
    ------
    InputError
        The spectrum does not look like macromolecules.
    """
    if len(measured.names) > 1 or noise(measured) < CLEAN:
        return measured
    sampling = (measured.spectrometer_frequency, measured.dwell_time, measured.n_points)
    try:
        found = clean(measured.fids[0], measured.dwell_time, measured.spectrometer_frequency)
    except InputError as error:
        raise InputError(f"{measured.description}: {error}") from None
    description = f"{measured.description} ({found.said})"
    return replace(measured, fids=found.fid(*sampling)[np.newaxis], description=description)


def noise(measured: Basis) -> float:
    """Noise of a spectrum (SD of its real part) as part of its highest point among the macromolecules."""
    ppm = axes.ppm_axis(measured.n_points, measured.dwell_time, measured.spectrometer_frequency)
    spectrum = axes.to_spectrum(measured.fids[0])
    quiet = spectrum[(ppm > NOISE_PPM[0]) & (ppm < NOISE_PPM[1])]
    top = np.abs(spectrum[(ppm > WINDOW_PPM[0]) & (ppm < WINDOW_PPM[1])]).max()
    return float(np.diff(quiet).real.std() / np.sqrt(2) / top) if quiet.size > 16 else 0.0
