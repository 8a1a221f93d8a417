"""Broad lines: macromolecules and lipids by name, their widths at a field, and the parametrised ones."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow import axes
from mrsflow.basis_sets import spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.constants import GAUSSIAN, WATER_PPM

MEASURED_AT = 123.25
"""Spectrometer frequency (MHz) at which the widths of the spin system table were measured."""


HZ_SHARE = 0.5
"""Part of a squared width that stays the same in Hz at every field: couplings of some 7 Hz and T2. The rest, shifts
that differ from protein to protein, stays the same in ppm. In metabolite-nulled spectra of one kind (STEAM, GitHub:
mrshub/mm-consensus-data-collection, Cudalbu et al. 2021, doi:10.1002/nbm.4393), less a shim of 0.035 ppm, the lines
that stand free at 0.92, 1.40 and 2.98 ppm have 23, 20 and 19 Hz at 3 T; 43, 38 and 38 at 7 T; 48, 44 and 46 at 9.4 T:
the share is 0.46 to 0.49. Other spectra of 7 T (Považan et al. 2015, doi:10.1002/mrm.25363) were fitted with 32, 26 and
26 Hz (GitHub: HarrisBrainLab/MMSim): with them it would be 0.7 to 0.9."""


def is_macromolecule(name: str) -> bool:
    """Whether a signal is of macromolecules by its name: MM..., Mac..."""
    return name.lower().startswith(("mm", "mac"))


def is_lipid(name: str) -> bool:
    """Whether a signal is of lipids by its name: Lip..."""
    return name.lower().startswith("lip")


def width_hz(width: ArrayLike, spectrometer_frequency: float) -> NDArray[np.floating]:
    """Full width at half maximum (Hz) at a field, of lines whose width (ppm) was measured at 3 T.

    >>> width_hz([0.17], MEASURED_AT).round(2), width_hz([0.17], 297.2).round(2)
    (array([20.95]), array([38.68]))
    """
    squared = (1 - HZ_SHARE) * spectrometer_frequency**2 + HZ_SHARE * MEASURED_AT**2
    return np.asarray(width) * np.sqrt(squared)


def broad_fid(lines: list[dict], spectrometer_frequency: float, dwell_time: float, n_points: int) -> NDArray:
    """Sum of Gaussian lines (`shift` and `width` in ppm, `protons`) as an FID, (n_points,)."""
    t = axes.time_axis(n_points, dwell_time)
    shift, width, protons = (np.array([line[key] for line in lines])[:, None] for key in ("shift", "width", "protons"))
    decay = np.exp(-((np.pi * width * spectrometer_frequency * t) ** 2) / GAUSSIAN)
    return (protons * decay * np.exp(2j * np.pi * axes.ppm_to_hz(shift, spectrometer_frequency) * t)).sum(axis=0)


def parametrised(spectrometer_frequency: float, dwell_time: float, n_points: int) -> Basis:
    """Macromolecules and lipids of the spin system table at a field (MHz) and sampling (s).

    Widths of macromolecules as `width_hz` says; amounts are those at 3 T, TE 32 ms: their T1 and T2 differ too little
    from line to line, and between fields, for a correction that is better known than none. Lipid lines keep their
    widths in ppm, as LCModel has them.
    """
    fids = {}
    for name, entry in spins.table()["broad"].items():
        lines = entry["lines"]
        if is_macromolecule(name):
            widths = width_hz([line["width"] for line in lines], spectrometer_frequency) / spectrometer_frequency
            lines = [{**line, "width": width} for line, width in zip(lines, widths, strict=True)]
        fids[name] = broad_fid(lines, spectrometer_frequency, dwell_time, n_points)
    return Basis(
        names=tuple(fids),
        fids=np.array(list(fids.values())),
        dwell_time=dwell_time,
        spectrometer_frequency=spectrometer_frequency,
        reference_ppm=WATER_PPM,
        description="parametrised",
    )
