"""Constants with unit and source. One set is in use; config may override what a lab measures itself."""

import math
from dataclasses import dataclass

WATER_PPM = 4.65
"""Chemical shift of water at body temperature (ppm), the zero of the frequency axis; FSL-MRS and LCModel use it."""

GYROMAGNETIC_RATIO = {"1H": 42.576, "31P": 17.235, "13C": 10.708, "19F": 40.078, "23Na": 11.262, "2H": 6.536}
"""Gyromagnetic ratio over 2π (MHz/T)."""
GAMMA_1H = GYROMAGNETIC_RATIO["1H"]

SINGLETS_PPM = {
    "NAA": 2.008, "NAAG": 2.042, "Cr": 3.027, "PCr": 3.029, "GPC": 3.212, "PCh": 3.208, "PCho": 3.208,
    "sIns": 3.340, "Scyllo": 3.340,
}  # fmt: skip
"""Largest singlet of a metabolite (ppm): Govindaraju et al. 2000, NMR Biomed. 13:129."""

SINGLET_PROTONS = {"Cr": 3, "PCr": 3, "NAA": 3, "sIns": 6, "Scyllo": 6}
"""Protons of those singlets that no other line of the metabolite overlaps."""

REFERENCE_PPM = {"NAA": SINGLETS_PPM["NAA"], "Cr": SINGLETS_PPM["Cr"], "Cho": 3.21}
"""Shifts of the reference resonances (ppm); Cho is that of GPC and PCh together."""

GAUSSIAN = 4 * math.log(2)
"""A Gaussian line of full width w at half maximum (Hz) decays as exp(-(π w t)² / GAUSSIAN)."""

MAD_TO_SD = 1.4826
"""SD of normally distributed values over their median absolute deviation, 1 / Φ⁻¹(3/4)."""


@dataclass(frozen=True)
class Relaxation:
    """Relaxation times (s) at a field (T): of water in grey and white matter, and of metabolites; 0 for T1: none."""

    field_t: float
    water_t1_s: dict[str, float]
    water_t2_s: dict[str, float]
    metabolite_t1_s: float
    metabolite_t2_s: float


RELAXATION = {
    "fsl": (
        Relaxation(3.0, {"GM": 1.50, "WM": 0.97}, {"GM": 0.088, "WM": 0.073}, 1.29, 0.194),
        Relaxation(7.0, {"GM": 2.05, "WM": 1.21}, {"GM": 0.050, "WM": 0.055}, 1.43, 0.131),
    ),
    "challenge": (Relaxation(3.0, {"GM": 0.0, "WM": 0.0}, {"GM": 0.110, "WM": 0.080}, 0.0, 0.160),),
}
"""Sets by name, each for the field strengths at which it is known: fsl as in FSL-MRS (doi:10.1002/mrm.28630); challenge
as the description of the ISMRM fitting challenge 2016 says (doi:10.1002/mrm.28942), whose TR is far longer than T1."""
