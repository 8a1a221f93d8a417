"""Programs of others that fit one spectrum at a time: found on this machine, given blocks, their answers joined.

They get the preprocessed blocks and the basis set that the project's own fit would get.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.uncertainty import TOTALS


class Program(NamedTuple):
    """How a program is called and named: command, environment variable that gives its path, name in papers."""

    command: str
    variable: str
    title: str


PROGRAMS = {
    "lcmodel": Program("lcmodel", "LCMODEL_EXEC", "LCModel"),
    "fsl_mrs": Program("fsl_mrs", "FSL_MRS_EXEC", "FSL-MRS"),
}
"""Programs by the name of the fitter. None is part of the project, and none is downloaded."""
NOT_FINITE = "the spectrum holds values that are not finite"
KEPT = (".control", ".table", ".coord", ".csv", ".txt")
"""Endings of the files of a program that are kept with a fit."""


def program(name: str) -> str:
    """Give the path of a program on this machine.

    Raises
    ------
    InputError
        It is not here.
    """
    known = PROGRAMS[name]
    named = os.environ.get(known.variable, known.command)
    if found := shutil.which(str(Path(named).expanduser()) if named.startswith("~") else named):  # keeps ./
        return str(Path(found).absolute())  # it runs in another folder
    raise InputError(
        f"fit.fitter names {name} and no program {named!r} is found; install {known.title} and give its path in the "
        f"environment variable {known.variable}, or take {name} out of fit.fitter (mrsflow needs no other program)"
    )


@dataclass(frozen=True)
class BlockFit:
    """What a program found in one block, in units of the data and of the basis set.

    Attributes
    ----------
    amounts, sd : dict of str to float
        By name, sums as ``A+B``; SD NaN where the program gives none.
    ppm, data, fit, baseline : (P) float
        Real, phase removed.
    signals : dict of str to (P) float
        Without the baseline.
    quality : dict
        As `mrsflow.fitting.fit_quality` describes it, as far as the program tells.
    version : str
    """

    amounts: dict[str, float]
    sd: dict[str, float]
    ppm: NDArray[np.floating]
    data: NDArray[np.floating]
    fit: NDArray[np.floating]
    baseline: NDArray[np.floating]
    signals: dict[str, NDArray[np.floating]]
    quality: dict[str, float]
    version: str


FitOne = Callable[[str, NDArray], "BlockFit | str"]
"""Fits one spectrum, whose files begin with a stem; a text says why there is nothing."""


def fit_blocks(title: str, request: Any, begin: Callable[[Path, Basis, Any], tuple[FitOne, Basis, str]]) -> FitResult:
    """Fit the blocks of a request one by one, in a folder of their own that is gone afterwards.

    Parameters
    ----------
    title : str
        Name of the program.
    request : Request
    begin : callable
        Prepares the folder for the basis set sampled as the data; gives what fits one spectrum, the basis set as the
        program takes it, and what holds its amounts.

    Raises
    ------
    InputError
        A dynamic model, or nothing was found in every block; the reason of the first.
    """
    if request.terms is not None:
        raise InputError(f"a dynamic model is given, which {title} cannot fit; fit independent blocks, or by mrsflow")
    sampling = (request.spectrometer_frequency, request.nucleus, request.dwell_time, request.fids.shape[-1])
    with tempfile.TemporaryDirectory(prefix="fit-") as name:
        folder = Path(name)
        fit_one, basis, constraints = begin(folder, basis_sets.match(request.basis, *sampling), request)
        blocks = [
            fit_one(f"block{block}", fid) if np.all(np.isfinite(fid)) else NOT_FINITE
            for block, fid in enumerate(request.fids)
        ]
        kept = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in KEPT)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    if all(isinstance(block, str) for block in blocks):
        raise InputError(f"{title} gave no result: {blocks[0]}")
    return assembled(blocks, basis.names, constraints, files)


def sums(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Give the members of each sum of several that a basis set allows.

    >>> sums(("NAA", "Glu", "Gln", "NAAG"))
    [('NAA', 'NAAG'), ('Glu', 'Gln')]
    """
    found = (tuple(name for name in members if name in names) for members in TOTALS.values())
    return [members for members in found if len(members) > 1]


def covariance(names: tuple[str, ...], sd: dict[str, float]) -> NDArray[np.floating]:
    """Covariance (M, M) of the amounts, as far as the SDs of the sums of two tell it.

    Where there is no SD of an amount (LCModel gives none of zero) it is NaN, but for one of a sum, which is then as
    uncertain as the sum.
    """
    known_sums = {
        tuple(pair.split("+")): value for pair, value in sd.items() if pair.count("+") == 1 and np.isfinite(value)
    }
    known = {name: sd.get(name, np.nan) for name in names}
    for parts, of_sum in known_sums.items():
        known |= {part: of_sum for part in parts if part in known and np.isnan(known[part])}
    found = np.diag([known[name] ** 2 for name in names])
    for parts, of_sum in known_sums.items():
        if set(parts) <= set(names):
            one, other = (names.index(part) for part in parts)
            found[one, other] = found[other, one] = (of_sum**2 - found[one, one] - found[other, other]) / 2
    return found


def assembled(
    blocks: "list[BlockFit | str]", basis_names: tuple[str, ...], constraints: str, files: dict[str, bytes]
) -> FitResult:
    """Put the fits of all blocks together.

    Signals are those that the program gives an amount: none of those outside the fitted range, and its own
    macromolecules.
    """
    fits = [block for block in blocks if not isinstance(block, str)]
    given = dict.fromkeys(name for fit in fits for name in fit.amounts if "+" not in name)
    names = (*(name for name in basis_names if name in given), *(name for name in given if name not in basis_names))
    m, ppm = len(names), fits[0].ppm
    amplitudes = np.full((len(blocks), m), np.nan)
    joint = np.zeros((len(blocks), m, len(blocks), m))
    curves = np.full((3, len(blocks), ppm.size), np.nan)
    components = np.zeros((len(blocks), m, ppm.size))
    for b, fit in enumerate(blocks):
        if isinstance(fit, str):
            joint[b, :, b] = np.nan
            continue
        amplitudes[b] = [fit.amounts.get(name, np.nan) for name in names]
        joint[b, :, b] = covariance(names, fit.sd)
        curves[:, b] = fit.data, fit.fit, fit.baseline
        for name, curve in fit.signals.items():
            components[b, names.index(name)] = curve
    joint = joint.reshape(len(blocks) * m, -1)
    return FitResult(
        names, amplitudes, joint, [{} if isinstance(fit, str) else fit.quality for fit in blocks], ppm, *curves,
        components, f"{fits[0].version} with {constraints}; signals {', '.join(names)}", amplitudes.ravel(), joint,
        tuple(block if isinstance(block, str) else "" for block in blocks), ("",) * len(blocks), files=files,
    )  # fmt: skip
