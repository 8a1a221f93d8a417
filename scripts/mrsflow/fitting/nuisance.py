"""What a spectrum holds beside the basis: a smooth baseline, out-of-voxel lipid, the tail of residual water.

Each is a set of columns whose coefficients are independent, of mean zero and of one variance. The fit estimates that
variance from the data (`mrsflow.fitting.fit_solver`), so that a clean spectrum does not pay for what it does not have.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mrsflow import axes
from mrsflow.constants import GAUSSIAN

BASELINE_LENGTH_PPM = 0.8
"""Correlation length (ppm) of the baseline: broader than any resonance."""
BROAD_DISCREPANCY_LENGTH_PPM, DISCREPANCY_LENGTH_PPM = 0.15, 0.05
"""The same for what the basis lacks: as narrow as macromolecules, and as the lines in vivo."""
LIPID_LINES_PPM = np.arange(0.7, 1.65, 0.1)
"""Centres of the lines of which out-of-voxel lipid is composed (methyl 0.9, methylene 1.3 ppm, displaced)."""
LIPID_WIDTHS_HZ = (15.0, 20.0)
"""Their Lorentzian and Gaussian width (FWHM)."""
GLYCINE_PPM, GLYCINE_WIDTHS_HZ = 3.548, (3.0, 4.0)
"""The singlet of glycine, which lies on myo-inositol: for basis sets that have the one without the other."""
WATER_LINES_PPM = np.arange(4.45, 4.9, 0.08)
"""Centres of the lines whose tails describe residual water."""
WATER_WIDTH_HZ = 10.0
KEPT = 2e-3
"""Columns that add less than this part of the largest are left out."""
KEPT_PER_BLOCK = 3e-2
"""The same for what may differ between the blocks of a session."""
GAUSS = np.pi**2 / GAUSSIAN
"""A Gaussian line of FWHM G (Hz) decays as exp(-GAUSS·(G·t)²)."""


@dataclass(frozen=True)
class Nuisance:
    """Signals beside the basis in the fitted range.

    Attributes
    ----------
    columns : (2P, n) float
        Real above imaginary part.
    groups : dict of str to slice
        Columns that share a variance; ``first_point`` is a constant, ``discrepancy`` what the basis lacks.
    per_block : (n) bool
        Whether the coefficient may differ between the blocks of a session.
    discrepancy_ppm : (k) float
        Where the columns of the group ``discrepancy`` have their maximum.
    """

    columns: NDArray[np.floating]
    groups: dict[str, slice]
    per_block: NDArray[np.bool_]
    discrepancy_ppm: NDArray[np.floating]

    @cached_property
    def gram(self) -> NDArray[np.floating]:
        """Products (n, n) of the columns."""
        return self.columns.T @ self.columns


def stacked(spectra: NDArray) -> NDArray[np.floating]:
    """Real parts above imaginary parts: (P, ...) complex to (2P, ...) float."""
    return np.concatenate([spectra.real, spectra.imag], axis=0)


def build(
    points: NDArray, n_points: int, dwell_time: float, spectrometer_frequency: float, glycine: bool = False
) -> Nuisance:
    """Give the nuisance signals of a fitted range.

    Parameters
    ----------
    points : (P) int
        Points of the unshifted spectrum that are fitted.
    n_points, dwell_time, spectrometer_frequency
        Of the data: s, MHz.
    glycine : bool
        Whether to add its singlet, in phase.

    Notes
    -----
    ``first_point`` is a constant, real and imaginary: what a wrong first point of the FID does to a spectrum. Some
    programs halve that point, some scanners spoil it; leaving it free costs one point of the FID.
    """
    time = axes.time_axis(n_points, dwell_time)

    def lines(centres: NDArray, lorentz: float, gauss: float) -> NDArray:
        hz = axes.ppm_to_hz(centres, spectrometer_frequency)[:, np.newaxis]
        decay = np.exp(-np.pi * lorentz * time - GAUSS * (gauss * time) ** 2)
        signals = fft.fft(np.exp(2j * np.pi * hz * time) * decay)[:, points].T
        return np.concatenate([stacked(signals), stacked(1j * signals)], axis=1)

    shift = axes.hz_to_ppm(np.fft.fftfreq(n_points, dwell_time), spectrometer_frequency)
    flat = np.ones((points.size, 1), dtype=complex)
    parts = {
        "baseline": stacked(_smooth(shift, points, BASELINE_LENGTH_PPM)[0]),
        "lipid": lines(LIPID_LINES_PPM, *LIPID_WIDTHS_HZ),
        "water": lines(WATER_LINES_PPM, WATER_WIDTH_HZ, 0.0),
        "first_point": np.concatenate([stacked(flat), stacked(1j * flat)], axis=1),
    }
    if glycine:
        both = lines(np.array([GLYCINE_PPM]), *GLYCINE_WIDTHS_HZ)
        parts["glycine"] = both[:, :1]
    columns, groups, per_block = [], {}, []
    start = 0
    for name, part in parts.items():
        reduced, strength = _principal(part)
        columns.append(reduced)
        groups[name] = slice(start, start + strength.size)
        per_block.append((strength > KEPT_PER_BLOCK) & (name != "glycine"))
        start += strength.size
    lengths = {"broad_discrepancy": BROAD_DISCREPANCY_LENGTH_PPM, "discrepancy": DISCREPANCY_LENGTH_PPM}
    for name, length in lengths.items():
        lacking, centres = _smooth(shift, points, length)
        groups[name] = slice(start, start + centres.size)
        columns.append(stacked(lacking))
        per_block.append(np.zeros(centres.size, dtype=bool))
        start += centres.size
    return Nuisance(np.concatenate(columns, axis=1), groups, np.concatenate(per_block), centres)


def _principal(columns: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Orthogonal columns that span the same prior covariance, the largest first with maximum 1, and their strength."""
    left, strength, _ = np.linalg.svd(columns, full_matrices=False)
    kept = strength > KEPT * strength[0]
    strength = strength[kept] / strength[0]
    return left[:, kept] * strength / np.abs(left[:, 0]).max(), strength


def _smooth(shift: NDArray[np.floating], points: NDArray, length: float) -> tuple[NDArray, NDArray[np.floating]]:
    """Smooth causal signals: (P, n) complex, whose sum with independent coefficients is a smooth random function.

    With them their centres (n), ppm.

    Gaussian bumps on a regular grid are the discrete form of a Gaussian process with squared-exponential covariance
    (Rasmussen and Williams 2006, ch. 4, doi:10.7551/mitpress/3206.001.0001): at a spacing of the length the variance of
    their sum is the same everywhere within 1.5 %. The imaginary part is that of a signal that starts at time zero.
    """
    margin, spacing = 2 * length, length
    centres = np.arange(shift[points].min() - margin, shift[points].max() + margin + spacing, spacing)
    width = length / np.sqrt(2)
    bumps = np.exp(-0.5 * ((shift - centres[:, np.newaxis]) / width) ** 2)
    fids = fft.ifft(bumps)
    half = shift.size // 2
    fids[:, half:] = 0
    fids[:, 1:] *= 2
    return fft.fft(fids)[:, points].T, centres
