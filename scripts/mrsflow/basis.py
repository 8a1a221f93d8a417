"""Basis sets: the signal of each metabolite for one sequence, field and timing; their sense and resampling."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.errors import InputError

SINGLETS = {
    "NAA": 2.008, "NAAG": 2.042, "Cr": 3.027, "PCr": 3.029, "GPC": 3.212, "PCh": 3.208, "PCho": 3.208,
    "sIns": 3.340, "Scyllo": 3.340,
}  # fmt: skip
"""Largest singlet (ppm), by which a frequency axis is checked: Govindaraju et al. 2000, NMR Biomed. 13:129."""


@dataclass(frozen=True)
class Basis:
    """A basis set.

    Attributes
    ----------
    names : tuple of str, length M
        As in the file.
    fids : (M, n_points) complex
        Unbroadened or lightly broadened signals in the sense of `mrsflow.axes`, phased so that singlets absorb
        (positive real spectrum), of one common concentration unit.
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.
    reference_ppm : float
        Chemical shift at 0 Hz.
    linewidth : float
        Lorentzian width the signals already have (Hz), 0 when unknown or none.
    description : str
        Sequence and timing, or the file it came from.
    """

    names: tuple[str, ...]
    fids: NDArray[np.complexfloating]
    dwell_time: float
    spectrometer_frequency: float
    reference_ppm: float
    linewidth: float = 0.0
    description: str = ""

    @property
    def n_points(self) -> int:
        """Number of points of each FID."""
        return self.fids.shape[-1]


def oriented(basis: Basis, source: str) -> Basis:
    """Give the basis the sense of `mrsflow.axes` and the reference shift that its known singlets show.

    Files rarely say which way the FID turns, nor whether 0 Hz is 4.65 or 4.68 ppm. Names in `SINGLETS` tell: when
    their peaks lie where they should only after complex conjugation, the signals are conjugated; a common offset of
    0.02 ppm or more moves `reference_ppm` (rounded to 0.01 ppm). A basis without such names is taken as it is.

    Raises
    ------
    InputError
        The singlets lie at neither place: frequency or dwell time are wrong.
    """
    known = [(i, SINGLETS[name]) for i, name in enumerate(basis.names) if name in SINGLETS]
    if not known:
        return basis
    expected = np.array([shift for _, shift in known])
    found = _peak_ppm(basis, [i for i, _ in known])
    mirrored = 2 * basis.reference_ppm - found
    for ppm, conjugated in ((found, False), (mirrored, True)):
        offset = float(np.median(expected - ppm))
        if abs(offset) < 0.2 and np.median(np.abs(expected - ppm - offset)) < 0.02:
            fids = np.conj(basis.fids) if conjugated else basis.fids
            reference = round(basis.reference_ppm + offset, 2) if abs(offset) >= 0.02 else basis.reference_ppm
            return replace(basis, fids=fids, reference_ppm=reference)
    places = ", ".join(f"{basis.names[i]} at {ppm:.2f}" for (i, _), ppm in zip(known, found, strict=True))
    raise InputError(
        f"{source}: singlets lie at the wrong shifts ({places} ppm) and would in the mirror image too; "
        f"check spectrometer frequency ({basis.spectrometer_frequency:g} MHz) and dwell time ({basis.dwell_time:g} s)"
    )


def _peak_ppm(basis: Basis, rows: list[int]) -> NDArray[np.floating]:
    n_points = 1 << int(np.ceil(np.log2(4 * basis.n_points)))
    spectra = np.abs(np.fft.fft(basis.fids[rows], n_points, axis=-1))
    hz = np.fft.fftfreq(n_points, basis.dwell_time)[spectra.argmax(axis=-1)]
    return axes.hz_to_ppm(hz, basis.spectrometer_frequency, basis.reference_ppm)
