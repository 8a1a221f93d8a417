"""From fitted amplitudes to amounts by the water signal.

With v the volume fractions of the voxel (GM, WM, CSF), d the density of visible water, R what relaxation leaves of a
signal, r the amplitude of a metabolite over that of water, both for one proton (2 in water):

    molar = r · 55 510 · Σ v d R / (R_metabolite · (1 - v_CSF)), mmol per litre of grey and white matter
    molal = r · 55 510 · Σ f R / (R_metabolite · (1 - f_CSF)), f = v d / Σ v d, mmol per kg of their water

Gasparovic et al. 2006, doi:10.1002/mrm.20901; Near et al. 2021, doi:10.1002/nbm.4257, equations 4 and 6. Without CSF
correction the last factors are left out. Water and metabolites relax with echo and repetition times of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.basis_sets.basis import Basis
from mrsflow.constants import (
    GAMMA_1H,
    RELAXATION,
    SINGLET_PROTONS,
    SINGLETS_PPM,
    Relaxation,
    fields_of,
    relaxation_at,
)
from mrsflow.errors import InputError
from mrsflow.fitting import singlets
from mrsflow.nifti_mrs import Scan

PURE_WATER_MM = 55_510.0
"""Concentration of pure water, 1 mol / 18.015 g (mM, per kg)."""
SINGLET_OF = {"Cr": "Cr", "PCr": "PCr", "tCr": "Cr", "NAA": "NAA", "tNAA": "NAA"}
"""Signals of a basis that tell that of one proton, the first it has, and the metabolite whose singlet does."""
INTEGRAL_PPM, INTEGRAL_EDGE = 0.15, 3
"""Half range of the integral of a singlet as LCModel takes it, and points at each end that set its straight floor."""
ASSUMED = {"GM": 0.6, "WM": 0.4, "CSF": 0.0}
"""Volume fractions of the voxel, where a study has no maps of tissue."""
WATER_DENSITY = {"GM": 0.78, "WM": 0.65, "CSF": 0.97}
"""Visible water (g/ml): Ernst, Kreis and Ross 1993, as in FSL-MRS, Osprey and spant."""


@dataclass(frozen=True)
class Constants:
    """A named set of constants for water scaling at a field strength.

    Attributes
    ----------
    name : str
    relaxation : Relaxation
    """

    name: str
    relaxation: Relaxation

    @property
    def area(self) -> str:
        """How the singlet of the basis is measured.

        ``line``: its amplitude at time zero; or ``integral``, which misses the feet of the line, as in LCModel.
        """
        return "integral" if self.name == "challenge" else "line"

    def water_mM(
        self, echo_time_s: float, repetition_time_s: float | None, fractions: dict[str, float] = ASSUMED
    ) -> float:
        """Water concentration that its signal shows in a voxel of these tissues (mmol per litre of it).

        Raises
        ------
        InputError
            The set knows no relaxation in one of the tissues.
        """
        t1, t2 = self.relaxation.water_t1_s, self.relaxation.water_t2_s
        held = {tissue: part for tissue, part in fractions.items() if part > 0}
        if unknown := [tissue for tissue in held if tissue not in t1]:
            raise InputError(
                f"constants {self.name!r} know no water in {', '.join(unknown)}, which the voxel holds; take another "
                f"set (fit.constants): {', '.join(name for name in RELAXATION if name != self.name)}"
            )
        return PURE_WATER_MM * sum(
            part * WATER_DENSITY[tissue] * relaxation(echo_time_s, repetition_time_s, t1[tissue], t2[tissue])
            for tissue, part in held.items()
        )

    def correction(self, echo_time_s: float, repetition_time_s: float | None, metabolite: str = "") -> float:
        """Factor that takes relaxation off a metabolite."""
        return 1 / relaxation(echo_time_s, repetition_time_s, *self.relaxation.of_metabolite(metabolite))


def relaxation(echo_time_s: float, repetition_time_s: float | None, t1_s: float, t2_s: float) -> float:
    """Part of a signal that is left after TE, at the steady state of TR."""
    left = float(np.exp(-echo_time_s / t2_s))
    if t1_s == 0:
        return left
    if repetition_time_s is None:
        raise InputError("water scaling needs RepetitionTime, which the header does not have")
    return left * float(1 - np.exp(-repetition_time_s / t1_s))


NAA_MM = (3.0, 30.0)
"""What brain tissue can hold of tNAA (mM); beyond it the scaling by water is wrong, not the tissue."""


def constants_at(name: str, spectrometer_frequency: float) -> Constants:
    """Set of constants for the field of a scan (1H, MHz).

    Raises
    ------
    InputError
        No such set, or none for this field.

    >>> constants_at("fsl", 297.2).relaxation.metabolite_t1_s
    1.43
    """
    if name not in RELAXATION:
        raise InputError(f"constants {name!r} are not known; choose one of {', '.join(RELAXATION)}")
    found = relaxation_at(name, spectrometer_frequency)
    if found is None:
        raise InputError(
            f"constants {name!r} hold at {fields_of(name)} T, and this scan is of "
            f"{spectrometer_frequency / GAMMA_1H:.2g} T; take another set (fit.constants), or use ratios, which need "
            "none"
        )
    return Constants(name, found)


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
    """Factors from amplitudes to amounts, and what they are made of.

    Attributes
    ----------
    signal : float
        Signal of a proton of the basis over that of a proton of water: amplitude times this is r of the module's text.
    times : (TE, TR) of water, (TE, TR) of the metabolites
        s.
    constants : Constants
    fractions : dict of str to float
        Of GM, WM and CSF in the voxel; they add up to 1.
    tissue : str
        Where the fractions come from, in words.
    csf_corrected : bool
        Whether amounts are those of grey and white matter alone; False: of the voxel as a whole.
    alpha : dict of str to float
        Concentration in white over that in grey matter of single metabolites and sums.
    """

    signal: float
    times: tuple[tuple[float, float | None], tuple[float, float | None]]
    constants: Constants
    fractions: dict[str, float] = field(default_factory=lambda: ASSUMED)
    tissue: str = "assumed"
    csf_corrected: bool = True
    alpha: dict[str, float] = field(default_factory=dict)

    @property
    def _parenchyma(self) -> float:
        return 1 - self.fractions["CSF"]

    @property
    def _visible(self) -> dict[str, float]:
        """Visible water (kg) of each tissue in a litre of the voxel."""
        return {tissue: part * WATER_DENSITY[tissue] for tissue, part in self.fractions.items()}

    def molar(self, names: Sequence[str]) -> NDArray[np.floating]:
        """Factors (M) from amplitudes of metabolites to mmol per litre."""
        water, own = self.times
        common = self.signal * self.constants.water_mM(*water, self.fractions)
        corrections = np.array([self.constants.correction(*own, name) for name in names])
        return common * corrections / (self._parenchyma if self.csf_corrected else 1.0)

    @property
    def molal(self) -> float:
        """Factor from mmol per litre to mmol per kg of water, both of the same volume."""
        visible = self._visible
        if not self.csf_corrected:
            return 1 / sum(visible.values())
        return self._parenchyma / (visible["GM"] + visible["WM"])

    def in_grey_matter(self, name: str) -> float:
        """Factor from molar amounts to those in pure grey matter, NaN where alpha of a metabolite is not given.

        Harris et al. 2015, doi:10.1002/jmri.24903, equation 4: the whole voxel's amount over v_GM + alpha · v_WM.
        """
        if name not in self.alpha:
            return float("nan")
        whole = self._parenchyma if self.csf_corrected else 1.0
        return whole / (self.fractions["GM"] + self.alpha[name] * self.fractions["WM"])

    def described(self) -> str:
        """Tissue that amounts are of, in words."""
        return f"{', '.join(f'{100 * part:.0f} % {name}' for name, part in self.fractions.items())} ({self.tissue})"

    def alternatives(self) -> Iterator["Scaling"]:
        """Give the same with each set of this field that knows these tissues, with CSF correction and without.

        The one in use comes first; sets that measure the singlet of the basis otherwise are left out.
        """
        field_mhz = self.constants.relaxation.field_t * GAMMA_1H
        names = [self.constants.name, *(name for name in RELAXATION if name != self.constants.name)]
        for name in names:
            known = relaxation_at(name, field_mhz)
            if known is None or Constants(name, known).area != self.constants.area:
                continue
            if any(part > 0 and tissue not in known.water_t1_s for tissue, part in self.fractions.items()):
                continue
            ways = (self.csf_corrected, not self.csf_corrected) if self.fractions["CSF"] > 0 else (self.csf_corrected,)
            for corrected in ways:
                yield replace(self, constants=Constants(name, known), csf_corrected=corrected)


def scaling(
    water: Scan,
    basis: Basis,
    constants: Constants,
    metabolites: Scan | None = None,
    **voxel: Any,
) -> Scaling:
    """Find the factors from amplitudes in units of a basis to amounts.

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
    **voxel
        What is known of the voxel: `fractions`, `tissue`, `csf_corrected`, `alpha` of `Scaling`.

    Raises
    ------
    InputError
        No echo time, no water signal, no singlet in the basis by which to tell the signal of a proton, or constants
        that do not know a tissue.
    """
    times = tuple(_times(scan) for scan in (water, water if metabolites is None else metabolites))
    fids = water.fid.reshape(-1, water.n_points)
    signal = float(np.mean([water_signal(fid, water.dwell_time) for fid in fids]))
    found = Scaling(proton_signal(basis, constants.area) * 2 / signal, times, constants, **voxel)
    found.molar(basis.names)  # whatever is missing is missing now
    return found


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
        The basis has none of the signals of `SINGLET_OF`.
    """
    name = next((name for name in SINGLET_OF if name in basis.names), None)
    if name is None:
        raise InputError(f"water scaling needs one of {', '.join(SINGLET_OF)} in the basis")
    ppm, protons = SINGLETS_PPM[SINGLET_OF[name]], SINGLET_PROTONS[SINGLET_OF[name]]
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
