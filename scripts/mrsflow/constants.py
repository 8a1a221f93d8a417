"""Constants with unit and source. One set is in use; config may override what a lab measures itself."""

import math
from dataclasses import dataclass, field

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
    """Relaxation times at a field.

    Attributes
    ----------
    field_t : float
        T.
    water_t1_s, water_t2_s : dict of str to float
        Of water in GM, WM and (where the set knows it) CSF; a T1 of 0: saturation does not count.
    metabolite_t1_s, metabolite_t2_s : float
        Of every metabolite that `own_s` does not have.
    own_s : dict of str to (T1, T2)
        Of single metabolites.
    """

    field_t: float
    water_t1_s: dict[str, float]
    water_t2_s: dict[str, float]
    metabolite_t1_s: float
    metabolite_t2_s: float
    own_s: dict[str, tuple[float, float]] = field(default_factory=dict)

    def of_metabolite(self, name: str) -> tuple[float, float]:
        """T1 and T2 (s) of a metabolite."""
        return self.own_s.get(name, (self.metabolite_t1_s, self.metabolite_t2_s))


def _tissues(grey: float, white: float, csf: float) -> dict[str, float]:
    return {"GM": grey, "WM": white, "CSF": csf}


def _mean_s(*t1_grey_white_t2_grey_white_ms: float) -> tuple[float, float]:
    """T1 and T2 (s), means over grey and white matter, from four values (ms)."""
    a, b, c, d = t1_grey_white_t2_grey_white_ms
    return (a + b) / 2e3, (c + d) / 2e3


_OSPREY_MS = {
    "Asc": (1340, 1190, 115, 172), "Asp": (1340, 1190, 100.5, 148), "Cr": (1460, 1240, 146, 166),
    "GABA": (1310, 1310, 88.5, 88.5), "Glc": (1340, 1190, 102.5, 155), "Gln": (1340, 1190, 110.5, 168),
    "Glu": (1270, 1170, 128.5, 124), "Gly": (1340, 1190, 91.5, 152), "GPC": (1300, 1080, 248, 218),
    "GSH": (1340, 1190, 88.5, 145), "Lac": (1340, 1190, 104.5, 159), "Ins": (1230, 1010, 236.5, 161),
    "NAA": (1470, 1350, 258, 343), "NAAG": (1340, 1190, 117.5, 185), "PCh": (1300, 1080, 247.5, 213),
    "PCho": (1300, 1080, 247.5, 213), "PCr": (1460, 1240, 146, 166), "PE": (1340, 1190, 102.5, 158),
    "sIns": (1340, 1190, 116, 170), "Scyllo": (1340, 1190, 116, 170), "Tau": (1340, 1190, 112.5, 112.5),
}  # fmt: skip
"""T1 in grey and white matter, T2 in both (ms): T1 of Mlynarik 2001 (doi:10.1002/nbm.713) and Puts 2013 (GABA,
doi:10.1002/jmri.23817), T2 of Wyss 2018 (doi:10.1002/mrm.27067)."""

RELAXATION = {
    "fsl": (
        Relaxation(3.0, _tissues(1.50, 0.97, 4.47), _tissues(0.088, 0.073, 2.030), 1.29, 0.194),
        Relaxation(7.0, _tissues(2.05, 1.21, 4.43), _tissues(0.050, 0.055, 1.050), 1.43, 0.131),
    ),
    "osprey": (
        Relaxation(
            3.0,
            _tissues(1.331, 0.832, 3.817),
            _tissues(0.110, 0.0792, 0.503),
            *_mean_s(1340, 1190, 140, 169),
            {name: _mean_s(*values) for name, values in _OSPREY_MS.items()},
        ),
    ),
    "spant": (
        Relaxation(1.5, _tissues(1.304, 0.660, 2.39), _tissues(0.093, 0.073, 0.23), 1.153, 0.347),
        Relaxation(3.0, _tissues(1.331, 0.832, 3.817), _tissues(0.110, 0.0796, 0.503), 1.317, 0.207),
        Relaxation(7.0, _tissues(2.132, 1.220, 4.425), _tissues(0.050, 0.055, 1.050), 1.583, 0.141),
    ),
    "challenge": (Relaxation(3.0, {"GM": 0.0, "WM": 0.0}, {"GM": 0.110, "WM": 0.080}, 0.0, 0.160),),
}
"""Sets by name, each for the field strengths at which it is known.

fsl: as in FSL-MRS (doi:10.1002/mrm.28630), means over the literature. osprey: as in Osprey
(doi:10.1016/j.jneumeth.2020.108827), metabolites each with their own times; water of Wansapura 1999, Lu 2005 and
Piechnik 2009. spant: as in spant (doi:10.21105/joss.03646); 1.5 T of Gasparovic 2006 (doi:10.1002/mrm.20901), 3 T of
Wansapura 1999 and Mlynarik 2001, 7 T of Rooney 2007, Bartha 2002, Spijkerman 2018 and Li 2012. challenge: as the
description of the ISMRM fitting challenge 2016 says (doi:10.1002/mrm.28942), whose TR is far longer than T1; no CSF.
"""
SAME_FIELD = 0.1
"""Part by which a scanner's field may differ from that of constants: 2.89 T and 3 T are one."""


def fields_of(name: str) -> str:
    """Field strengths (T) at which a set of constants is known, in words.

    >>> fields_of("spant")
    '1.5, 3 and 7'
    """
    *first, last = (f"{one.field_t:g}" for one in RELAXATION[name])
    return f"{', '.join(first)} and {last}" if first else last


def relaxation_at(name: str, spectrometer_frequency: float) -> Relaxation | None:
    """Relaxation times of a set at the field of a scan (1H, MHz); None where the set is not known there.

    >>> relaxation_at("fsl", 297.2).metabolite_t1_s, relaxation_at("osprey", 63.9)
    (1.43, None)
    """
    own = spectrometer_frequency / GAMMA_1H
    return next((one for one in RELAXATION[name] if abs(own / one.field_t - 1) <= SAME_FIELD), None)


def sets_at(spectrometer_frequency: float) -> str:
    """List the sets that are known at a field.

    >>> sets_at(63.9), sets_at(400.0)
    ('spant', '')
    """
    return ", ".join(name for name in RELAXATION if relaxation_at(name, spectrometer_frequency))
