"""FSL-MRS as a fitter, for labs that have it: its command line as a Nipype interface, what it found.

FSL-MRS (Clarke et al. 2021, doi:10.1002/mrm.28630) is free for non-commercial use; its licence is its own, and nothing
of it is part of the project. It keeps its defaults (Newton, Voigt lines, polynomial baseline of order 2, automatic
conjugation off, as senses are known here); macromolecules and lipids have line shapes of their own, as its
documentation advises.
"""

import csv
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis_formats
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.broad_lines import is_lipid, is_macromolecule
from mrsflow.errors import InputError
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.fit_quality import SINGLETS
from mrsflow.fitting.noise import noise_sd
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import one_by_one
from mrsflow.quantification.one_by_one import BlockFit

OLDEST = (2, 4)
"""First version whose command line and tables are those read here."""
NORM = 100.0
"""Norm to which FSL-MRS scales the FID and the mean of the basis set, without saying by what factor."""
CONSTRAINTS = "its own baseline (polynomial of order 2) and Voigt lines, no prior on amounts but that none is negative"


class FSLMRSFitter:
    """Fit the blocks of a request one by one with FSL-MRS."""

    def __init__(self) -> None:
        self._program = one_by_one.program("fsl_mrs")
        self._version = version(self._program)

    def __call__(self, request: Any) -> FitResult:
        """Fit the blocks.

        Raises
        ------
        InputError
            A dynamic model, or FSL-MRS gave nothing for every block.
        """
        return one_by_one.fit_blocks("FSL-MRS", request, self._begin)

    def _begin(self, folder: Path, basis: Basis, request: Any) -> tuple[one_by_one.FitOne, Basis, str]:
        unit = NORM / np.linalg.norm(basis.fids.mean(axis=0))
        basis_formats.write_json(basis, folder / "set")
        own = groups(basis.names)

        def fit_one(stem: str, fid: NDArray) -> "BlockFit | str":
            if not np.any(fid):
                return "the spectrum holds nothing but zeros"
            scale = NORM / np.linalg.norm(fid)
            header = {"SpectrometerFrequency": [request.spectrometer_frequency], "ResonantNucleus": [request.nucleus]}
            scan = Scan(fid * scale, (), request.dwell_time, header)
            nifti_mrs.write(scan, folder / f"{stem}.nii.gz")
            if said := self._run(folder, stem, request.ppm, own, [*map("+".join, one_by_one.sums(basis.names))]):
                return said
            try:
                return read_folder(folder / stem, scan, basis.names, request.ppm, scale, unit, self._version)
            except (OSError, KeyError, ValueError) as error:
                return f"FSL-MRS left files that cannot be read ({type(error).__name__}: {error})"

        shapes = f"line shapes of their own: {', '.join(own)}" if own else "one line shape for all"
        return fit_one, basis, f"{CONSTRAINTS}; {shapes}"

    def _run(self, folder: Path, stem: str, ppm: tuple[float, float], own: list[str], combined: list[str]) -> str:
        """Run the program on one spectrum; gives why it ended early, empty where it did not."""
        from mrsflow.conversion.external import FSLMRS  # only here: Nipype takes its time

        interface = FSLMRS(
            data_file=f"{stem}.nii.gz", basis="set", out_dir=stem, ppm=(min(ppm), max(ppm)), groups=own,
            combine=combined, command=self._program,
        )  # fmt: skip
        try:
            done = interface.run(cwd=str(folder)).runtime
        except subprocess.TimeoutExpired:
            return f"FSL-MRS did not end within {interface.time_limit:.0f} s"
        if done.returncode == 0:
            return ""
        last = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        return f"FSL-MRS ended with status {done.returncode}: {last}"


@cache
def version(program: str) -> str:
    """Give the version of FSL-MRS.

    Raises
    ------
    InputError
        It is older than `OLDEST`, or does not say.
    """
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=120, check=False)
        said = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    found = re.match(r"(\d+)\.(\d+)[\w.]*", said)
    if found is None:
        raise InputError(f"{program} --version says {said[:40]!r}, no version of FSL-MRS; run it by hand and see why")
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InputError(f"{program} is FSL-MRS {found[0]}; fit.fitter fsl_mrs needs {oldest} or newer")
    return found[0]


def groups(names: tuple[str, ...]) -> list[str]:
    """Give the signals with line shapes of their own, as ``A+B``: macromolecules, and lipids.

    >>> groups(("NAA", "MM09", "MM20", "Lip13"))
    ['MM09+MM20', 'Lip13']
    """
    kinds = ([name for name in names if belongs(name)] for belongs in (is_macromolecule, is_lipid))
    return ["+".join(kind) for kind in kinds if kind]


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Read a table of FSL-MRS by its first column; names of two header rows are joined by a blank.

    >>> read_table(Path("/nowhere"))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    head = rows.pop(0)
    if rows and not rows[0][0]:
        head = [" ".join(filter(None, parts)) for parts in zip(head, rows.pop(0), strict=True)]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def read_folder(
    folder: Path, scan: Scan, names: tuple[str, ...], ppm: tuple[float, float], scale: float, unit: float, said: str
) -> BlockFit:
    """Read what FSL-MRS wrote for one spectrum.

    Parameters
    ----------
    folder : Path
    scan : Scan
        As it was given.
    names : tuple of str
        Signals of the basis set.
    ppm : (low, high)
    scale, unit : float
        Factors of the data and of the basis set.
    said : str
        Version.

    Raises
    ------
    OSError, KeyError, ValueError
        A file is not there, or is none of FSL-MRS.
    """
    factor = unit / scale
    table = read_table(folder / "concentrations.csv")
    parameter = {name: float(row["mean"]) for name, row in read_table(folder / "all_parameters.csv").items()}
    amounts = {name: factor * float(row["mean raw"]) for name, row in table.items()}
    sd = {name: factor * float(row["std raw"]) for name, row in table.items()}
    hz = axes.frequency_axis(scan.n_points, scan.dwell_time)
    shift = axes.hz_to_ppm(hz, scan.spectrometer_frequency)
    inside = (shift >= min(ppm)) & (shift <= max(ppm))
    turn = np.exp(-1j * (parameter["Phi0"] + parameter["Phi1"] * hz))

    def spectrum(fid: NDArray) -> NDArray[np.complexfloating]:
        return (turn * axes.to_spectrum(fid))[inside] / scale

    def written(name: str) -> NDArray[np.complexfloating]:
        return spectrum(nifti_mrs.read(folder / f"{name}.nii.gz").fid.ravel())

    data, fit, baseline = spectrum(scan.fid), written("fit"), written("fit_baseline")
    signals = {name: (written(f"fit_{name}") - baseline).real for name in names}
    heights = {name: signals[name].max() for name in SINGLETS if name in signals} or {
        name: np.abs(curve).max() for name, curve in signals.items()
    }
    highest = max(heights, key=heights.__getitem__)
    noise = float(noise_sd(scan.fid, scan.dwell_time, scan.spectrometer_frequency) / scale)
    left = data - fit
    quality = {
        "snr": float(heights[highest] / noise) if noise else np.nan,
        "linewidth_hz": float(read_table(folder / "qc.csv")[highest]["FWHM"]),
        "shift_hz": parameter["eps_0"] / (2 * np.pi),
        "phase_deg": float(np.degrees(parameter["Phi0"] + parameter["Phi1"] * hz[inside].mean())),
        "residual_ratio": float(np.sqrt(np.mean(np.abs(left) ** 2) / 2) / noise) if noise else np.nan,
        "noise_sd": noise,
    }
    curves = (np.real(curve) for curve in (data, fit, baseline))
    return BlockFit(amounts, sd, shift[inside], *curves, signals, quality, f"FSL-MRS {said}")
