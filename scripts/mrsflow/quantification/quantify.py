"""From fitted amplitudes to ratios and to molar concentrations by the water signal.

    concentration = amplitude · (signal per proton of the basis) · 2 · water / (water signal) · correction

with `water` the concentration of water (mM) as its signal shows it after relaxation, and `correction` the inverse of
the metabolites' relaxation (Near et al. 2021, doi:10.1002/nbm.4257; Gasparovic et al. 2006, doi:10.1002/mrm.20901).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis
from mrsflow.constants import GAMMA_1H, RELAXATION, Relaxation
from mrsflow.errors import InputError
from mrsflow.fitting import singlets
from mrsflow.nifti_mrs import Scan

PURE_WATER_MM = 55_510.0
"""Concentration of pure water, 1 mol / 18.015 g (mM, per kg)."""
SINGLET_PROTONS = {"Cr": (3.027, 3), "PCr": (3.029, 3), "tCr": (3.027, 3), "NAA": (2.008, 3), "tNAA": (2.008, 3)}
"""Singlets by which a basis tells the signal of one proton, the first it has: shift (ppm) and protons."""
INTEGRAL_PPM, INTEGRAL_EDGE = 0.15, 3
"""Half range of the integral of a singlet as LCModel takes it, and points at each end that set its straight floor."""
FRACTIONS = {"GM": 0.6, "WM": 0.4}
"""Volume fractions of the voxel, where tissue is not known."""
WATER_DENSITY = {"GM": 0.78, "WM": 0.65}
"""Visible water (g/ml), as in FSL-MRS (doi:10.1002/mrm.28630)."""


@dataclass(frozen=True)
class Constants(Relaxation):
    """A named set of constants for water scaling at a field strength.

    Attributes
    ----------
    name : str
    area : str
        How the singlet of the basis is measured: ``line`` (its amplitude at time zero) or ``integral``, which misses
        the feet of the line, as in LCModel.
    """

    name: str
    area: str

    def water_mM(self, echo_time_s: float, repetition_time_s: float | None) -> float:
        """Water concentration that its signal shows (mM)."""
        return PURE_WATER_MM * sum(
            fraction
            * WATER_DENSITY[tissue]
            * relaxation(echo_time_s, repetition_time_s, self.water_t1_s[tissue], self.water_t2_s[tissue])
            for tissue, fraction in FRACTIONS.items()
        )

    def correction(self, echo_time_s: float, repetition_time_s: float | None) -> float:
        """Factor that takes relaxation off the metabolites."""
        return 1 / relaxation(echo_time_s, repetition_time_s, self.metabolite_t1_s, self.metabolite_t2_s)


def relaxation(echo_time_s: float, repetition_time_s: float | None, t1_s: float, t2_s: float) -> float:
    """Part of a signal that is left after TE, at the steady state of TR."""
    left = float(np.exp(-echo_time_s / t2_s))
    if t1_s == 0:
        return left
    if repetition_time_s is None:
        raise InputError("water scaling needs RepetitionTime, which the header does not have")
    return left * float(1 - np.exp(-repetition_time_s / t1_s))


CONSTANTS = {
    name: tuple(
        Constants(**vars(known), name=name, area="integral" if name == "challenge" else "line") for known in fields
    )
    for name, fields in RELAXATION.items()
}
"""The sets that can be named, each for the field strengths at which it is known."""
SAME_FIELD = 0.1
"""Part by which a scanner's field may differ from that of constants: 2.89 T and 3 T are one."""
NAA_MM = (3.0, 30.0)
"""What brain tissue can hold of tNAA (mM); beyond it the scaling by water is wrong, not the tissue."""


def constants_at(name: str, spectrometer_frequency: float) -> Constants:
    """Set of constants for the field of a scan (1H, MHz).

    Raises
    ------
    InputError
        No such set, or none for this field.

    >>> constants_at("fsl", 297.2).metabolite_t1_s
    1.43
    """
    if name not in CONSTANTS:
        raise InputError(f"constants {name!r} are not known; choose one of {', '.join(CONSTANTS)}")
    field = spectrometer_frequency / GAMMA_1H
    found = [one for one in CONSTANTS[name] if abs(field / one.field_t - 1) <= SAME_FIELD]
    if not found:
        known = " and ".join(f"{one.field_t:g}" for one in CONSTANTS[name])
        raise InputError(
            f"constants {name!r} hold at {known} T, and this scan is of {field:.2g} T; take another set "
            "(fit.constants), or use ratios, which need none"
        )
    return found[0]


def remark_on_amounts(naa_mM: float) -> str:
    """Say whether tissue can hold an amount of tNAA; empty where it can, or where there is no amount.

    >>> remark_on_amounts(10.0), remark_on_amounts(float("nan"))
    ('', '')
    """
    low, high = NAA_MM
    if np.isnan(naa_mM) or low <= naa_mM <= high:
        return ""
    return (
        f"tNAA is {naa_mM:.2g} mM, and brain holds {low:g} to {high:g} mM: molar amounts are wrong, as where water is "
        "stored as a sum and metabolites as a mean (or the other way), or with another gain; ratios to tNAA and tCr "
        "are not touched"
    )


@dataclass(frozen=True)
class Scaling:
    """Factor from amplitudes to molar concentrations (mM), and what it was made of."""

    factor: float
    constants: Constants
    water_mM: float
    correction: float


def scaling(
    water: Scan,
    basis: Basis,
    constants: Constants,
    metabolites: Scan | None = None,
) -> Scaling:
    """Find the factor from amplitudes in units of a basis to molar concentrations.

    Parameters
    ----------
    water : Scan
        Unsuppressed water, its transients averaged by magnitude.
    basis : Basis
        As it was fitted.
    constants : Constants
    metabolites : Scan, optional
        The scan whose amplitudes are scaled, for its echo and repetition time; None: those of `water`, which has its
        own relaxation with its own times in any case.

    Raises
    ------
    InputError
        No echo time, no water signal, or no singlet in the basis by which to tell the signal of a proton.
    """
    (echo, repetition), own = (_times(scan) for scan in (water, water if metabolites is None else metabolites))
    fids = water.fid.reshape(-1, water.n_points)
    signal = float(np.mean([water_signal(fid, water.dwell_time) for fid in fids]))
    visible, correction = constants.water_mM(echo, repetition), constants.correction(*own)
    factor = proton_signal(basis, constants.area) * 2 * visible / signal * correction
    return Scaling(factor, constants, visible, correction)


def _times(scan: Scan) -> tuple[float, float | None]:
    """Echo and repetition time (s) of a scan."""
    echo = scan.header.get("EchoTime")
    if not isinstance(echo, int | float):
        raise InputError(
            "water scaling needs EchoTime (s), which the header of the reference or the scan does not have"
        )
    return echo, scan.header.get("RepetitionTime")


def proton_signal(basis: Basis, area: str = "line") -> float:
    """Signal at time zero of one proton of unit concentration in a basis.

    Raises
    ------
    InputError
        The basis has none of the singlets of `SINGLET_PROTONS`.
    """
    name = next((name for name in SINGLET_PROTONS if name in basis.names), None)
    if name is None:
        raise InputError(f"water scaling needs one of {', '.join(SINGLET_PROTONS)} in the basis")
    ppm, protons = SINGLET_PROTONS[name]
    fid = basis.fids[basis.names.index(name)]
    if area == "integral":
        filled = 2 * fid.size
        shift = axes.ppm_axis(filled, basis.dwell_time, basis.spectrometer_frequency, basis.reference_ppm)
        near = np.abs(shift - ppm) <= INTEGRAL_PPM
        values = axes.to_spectrum(np.pad(fid, (0, fid.size)))[near].real
        floor = np.linspace(values[:INTEGRAL_EDGE].mean(), values[-INTEGRAL_EDGE:].mean(), values.size)
        return float(2 * (values - floor).sum() / filled / protons)
    found = singlets.find(fid, basis.dwell_time, basis.spectrometer_frequency, ppm, INTEGRAL_PPM)
    if found is None or not abs(found.amplitude) > 0:
        raise InputError(f"the basis shows no singlet of {name} at {ppm} ppm, by which water scaling is done")
    return abs(found.amplitude) / protons


def water_signal(fid: NDArray, dwell_time: float, span_s: float = 0.02) -> float:
    """Magnitude of an unsuppressed water FID at time zero.

    The logarithm of the magnitude over the first milliseconds is extrapolated by a parabola; the first point, which
    some programs halve, is left out.

    Parameters
    ----------
    fid : (n_points) complex
    dwell_time : float
        s.
    span_s : float
        Length of FID used.
    """
    count = max(8, min(round(span_s / dwell_time), fid.size // 4))
    magnitude = np.abs(fid[1 : count + 1])
    if not np.all(magnitude > 0) or not np.all(np.isfinite(magnitude)):
        raise InputError("the water reference has points that are zero or not finite; it cannot scale concentrations")
    time = np.arange(1, count + 1) * dwell_time
    return float(np.exp(np.polynomial.Polynomial.fit(time, np.log(magnitude), 2)(0.0)))
