"""Macromolecules and lipids read from files, and added to a basis set once."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, nulled
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.broad_lines import is_lipid, is_macromolecule, parametrised
from mrsflow.constants import SINGLET_PROTONS, SINGLETS_PPM, WATER_PPM
from mrsflow.errors import InputError

logger = logging.getLogger(__name__)

SINGLET_WINDOW = 0.25
"""Half of the range (ppm) over which a singlet is integrated."""
WINDOW_PPM = (0.5, 4.2)
"""Range in which macromolecules are compared."""
ECHO_TIME_TOLERANCE = 1e-3
"""Difference of echo times (s) from which it is said."""


def read(path: Path | str) -> Basis:
    """Read measured macromolecules: a NIfTI-MRS file of one spectrum, or signals MM... or Mac of any basis set format.

    A file of one signal holds them whatever its name. What is measured has noise, phase and residual metabolites:
    `mrsflow.basis_sets.nulled.cleaned` takes them out.

    Raises
    ------
    InputError
        No such file, several spectra, or several signals of which none is named MM... or Mac.
    """
    path = Path(path)
    if path.name.endswith((".nii", ".nii.gz")):
        scan = nifti_mrs.read(path)
        if scan.fid.size != scan.n_points:
            raise InputError(f"{path}: holds {scan.fid.size // scan.n_points} spectra; macromolecules are one spectrum")
        return of_scan(scan, path.name)
    found = basis_formats.load(path)
    chosen = [k for k, name in enumerate(found.names) if is_macromolecule(name)]
    if not chosen and len(found.names) > 1:
        raise InputError(
            f"{path}: has no signal of macromolecules, named MM... or Mac, but {', '.join(found.names)}; name a file "
            "that has them, or `default`"
        )
    names = ("Mac",) if len(found.names) == 1 else tuple(found.names[k] for k in chosen)
    return replace(found, names=names, fids=found.fids[chosen or [0]], description=path.name)


def of_scan(scan: nifti_mrs.Scan, description: str) -> Basis:
    """Take a scan of one spectrum as a basis set of one signal, Mac."""
    return Basis(
        names=("Mac",),
        fids=np.reshape(scan.fid, (1, -1)),
        dwell_time=scan.dwell_time,
        spectrometer_frequency=scan.spectrometer_frequency,
        reference_ppm=WATER_PPM,
        description=description,
        echo_time=float(scan.header.get("EchoTime") or 0.0),
    )


def without(basis: Basis) -> Basis:
    """Leave out macromolecules and lipids."""
    kept = [k for k, name in enumerate(basis.names) if not is_macromolecule(name) and not is_lipid(name)]
    return replace(basis, names=tuple(basis.names[k] for k in kept), fids=basis.fids[kept])


def chosen(basis: Basis, wanted: str | None) -> Basis:
    """Give a basis set the macromolecules that a user asks for.

    Parameters
    ----------
    basis : Basis
    wanted : str or None
        ``default``: the parametrised ones, added; ``none``: those it has are left out, lipids too; a file: those
        measured in it, added without noise, phase and residual metabolites; ``measured`` or ``cohort``: none yet, the
        fit adds those of scans of the study; None: what the basis has.

    Raises
    ------
    InputError
        See `add` and `read`.
    """
    if wanted is None:
        return basis
    if wanted == "none":
        return without(basis)
    if wanted in ("measured", "cohort"):
        _refuse_more(basis)
        return basis
    if wanted == "default":
        return add(basis, parametrised(basis.spectrometer_frequency, basis.dwell_time, basis.n_points))
    return add(basis, nulled.cleaned(read(wanted)))


def add(basis: Basis, macromolecules: Basis) -> Basis:
    """Add macromolecules to a basis set, in its unit and sampling.

    Parameters
    ----------
    basis, macromolecules : Basis
        Where `basis` has lipids of its own they are kept, and no others added.

    Returns
    -------
    Basis
        The added signals are scaled together, so that the sum of the macromolecules is as large as that of the
        parametrised ones, of which one unit belongs to one unit of the metabolites. The description says where they
        come from, and their echo time where it is another.

    Raises
    ------
    InputError
        The basis has macromolecules, none of the singlets that tell its unit, or another field.
    """
    _refuse_more(basis)
    basis = basis_sets.centred(basis)
    sampling = (basis.spectrometer_frequency, basis.dwell_time, basis.n_points)
    try:
        added = basis_sets.match(macromolecules, sampling[0], "1H", *sampling[1:])
    except InputError as error:
        raise InputError(f"macromolecules of {error}") from None
    own_lipids = any(map(is_lipid, basis.names))
    new = [k for k, name in enumerate(added.names) if not (own_lipids and is_lipid(name))]
    factor = unit(basis) * strength(parametrised(*sampling)) / strength(added)
    description = f"{basis.description}; macromolecules: {macromolecules.description}"
    if basis.echo_time and added.echo_time and abs(basis.echo_time - added.echo_time) > ECHO_TIME_TOLERANCE:
        other = f" of TE {added.echo_time * 1e3:g} ms, another than the {basis.echo_time * 1e3:g} ms of the metabolites"
        logger.warning("macromolecules: %s%s", macromolecules.description, other)
        description += other
    return replace(
        basis,
        names=(*basis.names, *(added.names[k] for k in new)),
        fids=np.concatenate([basis.fids, factor * added.fids[new]]),
        description=description,
    )


def _refuse_more(basis: Basis) -> None:
    if own := [name for name in basis.names if is_macromolecule(name)]:
        raise InputError(
            f"{basis.description or 'the basis set'}: has macromolecules already ({', '.join(own)}), and more would "
            "count twice; leave out `macromolecules` to use these, or take a basis set without them"
        )


def unit(basis: Basis) -> float:
    """First point that one proton has in a basis set, within 2 %: median of its free singlets.

    Raises
    ------
    InputError
        It has none of `SINGLET_PROTONS`.
    """
    ppm = axes.ppm_axis(basis.n_points, basis.dwell_time, basis.spectrometer_frequency, basis.reference_ppm)
    found = []
    for name, protons in SINGLET_PROTONS.items():
        if name in basis.names:
            spectrum = axes.to_spectrum(basis.fids[basis.names.index(name)])
            offset = np.median(spectrum.real) + 1j * np.median(spectrum.imag)  # of a first point that is not halved
            area = np.abs((spectrum - offset)[np.abs(ppm - SINGLETS_PPM[name]) < SINGLET_WINDOW].sum()) / basis.n_points
            found.append(2 * area / protons)  # a line that starts with 1 at time 0 has half of it as its area
    if not found:
        raise InputError(
            f"{basis.description or 'the basis set'}: has none of {', '.join(SINGLET_PROTONS)}, whose singlets tell "
            "how large macromolecules must be beside its signals; add one of them, or use a basis set that has "
            "macromolecules"
        )
    return float(np.median(found))


def total(basis: Basis) -> NDArray[np.complexfloating]:
    """Spectrum (P,) of the sum of all macromolecules within `WINDOW_PPM`."""
    rows = [k for k, name in enumerate(basis.names) if is_macromolecule(name)]
    spectrum = axes.to_spectrum(basis.fids[rows].sum(axis=0))
    ppm = axes.ppm_axis(basis.n_points, basis.dwell_time, basis.spectrometer_frequency, basis.reference_ppm)
    return spectrum[(ppm > WINDOW_PPM[0]) & (ppm < WINDOW_PPM[1])]


def strength(basis: Basis) -> float:
    """Norm of `total`, by which macromolecules of different sources are made alike."""
    return float(np.linalg.norm(total(basis)))
