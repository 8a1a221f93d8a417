"""Constants with unit and source. One set is in use; config may override what a lab measures itself."""

import math

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
