"""LCModel as a fitter, for labs that have it: its control file, its program as a Nipype interface, what it found.

LCModel (Provencher 1993, doi:10.1002/mrm.1910300604) fits one spectrum at a time. It gets the preprocessed blocks and
the basis set that the project's own fit would get, and keeps its defaults, baseline and soft constraints but for those
that `control` says.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.fitting.fit import FitResult

PROGRAM = "LCMODEL_EXEC"
"""Environment variable that names the program."""
LICENCE_KEY = 210387309
"""Key of the free version that its author made public with the source in 2021."""
BROAD = ("MM", "Mac", "Lip")
SIMULATED = "-CrCH2"
"""Signal that LCModel simulates beside macromolecules and lipids."""
UNIT = 2000.0
"""First point of the data over that of creatine, as written: LCModel prints three decimals, of some hundreds."""
NUMBER = r"[-+]?\d+\.?\d*(?:E[-+]?\d+)?"
FORMAT = "%15.6E%15.6E"


def program() -> str:
    """Give the path of LCModel on this machine.

    Raises
    ------
    InputError
        It is not here.
    """
    named = os.environ.get(PROGRAM, "lcmodel")
    if found := shutil.which(Path(named).expanduser()):
        return found
    raise InputError(
        f"fit.fitter is lcmodel and no program {named!r} is found; install LCModel and give its path in the "
        f"environment variable {PROGRAM}, or set fit.fitter to mrsflow"
    )


class LCModelFitter:
    """Fit the blocks of a request one by one with LCModel."""

    def __init__(self) -> None:
        self._program = program()

    def __call__(self, request: Any) -> FitResult:
        """Fit the blocks.

        Raises
        ------
        InputError
            A dynamic model, or LCModel gave nothing for every block.
        """
        if request.terms is not None:
            raise InputError(
                "a dynamic model is given, which LCModel cannot fit; fit independent blocks, or by mrsflow"
            )
        sampling = (request.spectrometer_frequency, request.nucleus, request.dwell_time, request.fids.shape[-1])
        basis = of_lcmodel(basis_sets.match(request.basis, *sampling))
        scale = np.array([unit_of(fid, basis) for fid in request.fids])
        with tempfile.TemporaryDirectory(prefix="lcmodel-") as name:
            folder = Path(name)
            basis_formats.write_basis(basis, folder / "set.BASIS")
            blocks = [
                self._fit_one(folder, block, fid * factor, request, basis)
                for block, (fid, factor) in enumerate(zip(request.fids, scale, strict=True))
            ]
        if all(isinstance(block, str) for block in blocks):
            raise InputError(f"LCModel gave no result: {blocks[0]}")
        return assembled(blocks, basis, scale, request.spectrometer_frequency)

    def _fit_one(self, folder: Path, block: int, fid: NDArray, request: Any, basis: Basis) -> "dict[str, Any] | str":
        """Give what LCModel found in one spectrum, or why it found nothing."""
        if not np.all(np.isfinite(fid)):
            return "the spectrum holds values that are not finite"
        stem = f"block{block}"
        write_raw(fid, folder / f"{stem}.RAW")
        settings = control(stem, len(fid), request.dwell_time, request.spectrometer_frequency, request.ppm, basis.names)
        (folder / f"{stem}.control").write_text(settings)
        from mrsflow.conversion.external import LCModel  # only here: Nipype takes its time

        interface = LCModel(control_file=str(folder / f"{stem}.control"), command=self._program)
        try:
            interface.run()
        except subprocess.TimeoutExpired:
            return f"LCModel did not end within {interface.time_limit:.0f} s"
        coord = folder / f"{stem}.coord"
        if not coord.exists():
            return "LCModel wrote no .coord file"
        return read_coord(coord.read_text(encoding="latin-1"))


def of_lcmodel(basis: Basis) -> Basis:
    """Give the signals that LCModel takes: where it simulates macromolecules and lipids, not what it simulates too."""
    from dataclasses import replace

    if has_broad(basis.names):
        return basis
    kept = [k for k, name in enumerate(basis.names) if name != SIMULATED]
    return replace(basis, names=tuple(basis.names[k] for k in kept), fids=basis.fids[kept])


def has_broad(names: tuple[str, ...]) -> bool:
    """Whether signals of these names hold macromolecules or lipids."""
    return any(name.startswith(BROAD) for name in names)


def unconstrained(names: tuple[str, ...]) -> list[str]:
    """Give the signals whose ratio constraints are off."""
    return ["GSH", *sorted(name for name in names if name.startswith(BROAD))]


def unit_of(fid: NDArray, basis: Basis) -> float:
    """Give the factor that makes amounts some hundreds."""
    reference = next((k for k, name in enumerate(basis.names) if name in ("Cr", "PCr")), 0)
    return UNIT * float(np.abs(basis.fids[reference]).max() / max(np.abs(fid).max(), np.finfo(float).tiny))


def write_raw(fid: NDArray, path: Path) -> None:
    """Write a spectrum as LCModel reads it, in the time domain."""
    head = " $NMID\n ID='mrsflow', FMTDAT='(2E15.6)'\n VOLUME=1., TRAMP=1.\n $END\n"
    path.write_text(head + "".join(f"{FORMAT % (point.real, point.imag)}\n" for point in fid))


def control(
    stem: str, n_points: int, dwell_time: float, mhz: float, ppm: tuple[float, float], names: tuple[str, ...]
) -> str:
    """Give the control file of one spectrum.

    Different from the defaults of LCModel: the constraint of GSH on Gln is off, as it acts on Glx; of a basis set that
    has macromolecules or lipids these are used, none is simulated, and the constraints on LCModel's own are off.

    Parameters
    ----------
    stem : str
        Of the files, beside ``set.BASIS``.
    n_points : int
    dwell_time : float
        s.
    mhz : float
    ppm : (low, high)
    names : tuple of str
        Signals of the basis set.
    """
    free = unconstrained(names)
    lines = [
        "title='mrsflow'", f"key={LICENCE_KEY}", f"nunfil={n_points}", f"deltat={dwell_time!r}", f"hzpppm={mhz!r}",
        "filbas='set.BASIS'", f"filraw='{stem}.RAW'", f"filps='{stem}.ps'", "lps=0",
        "lcoord=9", f"filcoo='{stem}.coord'", "ltable=7", f"filtab='{stem}.table'",
        f"ppmst={max(ppm):g}", f"ppmend={min(ppm):g}", "dows=F", "doecc=F", "neach=99",
        *(["nsimul=0"] if has_broad(names) else []),
        f"nnorat={len(free)}", *(f"norato({k})='{name}'" for k, name in enumerate(free, 1)),
    ]  # fmt: skip
    return " $LCMODL\n" + "".join(f" {line}\n" for line in lines) + " $END\n"


def read_coord(text: str) -> "dict[str, Any] | str":
    """Read a .coord file; where LCModel ended early, say why.

    Returns
    -------
    dict
        ``version``, ``ppm (P)``, ``data, fit, baseline (P)``, ``signals`` (name: (P), without the baseline),
        ``amounts`` and ``sd`` (name, sums of two as ``A+B``: float, in units of the data as written; SD NaN where
        LCModel gives none), ``fwhm_ppm, snr, shift_ppm, phase_deg``.
    """
    if fatal := re.search(r"FATAL\s+(\S+)\s+(\d+)", text):
        return f"LCModel stopped: {fatal[1]} {fatal[2]} (section Diagnostics of its manual)"
    rows = re.findall(rf"^\s*({NUMBER})\s+(\d+)%\s+{NUMBER}\s*(\S+)\s*$", text, flags=re.MULTILINE)
    points = re.search(r"(\d+) points on ppm-axis", text)
    if not rows or points is None:
        return "LCModel's .coord file has no table of concentrations"
    n = int(points[1])

    def after(heading: str) -> NDArray[np.floating]:
        return np.array(text[text.index(heading) + len(heading) :].split(None, n)[:n], float)

    baseline = after("NY background values follow")
    signals = {
        found[1]: np.array(text[found.end() :].split(None, n)[:n], float) - baseline
        for found in re.finditer(rf"^ (\S+)\s+Conc\. = {NUMBER}$", text, flags=re.MULTILINE)
    }
    amounts = {name: float(value) for value, _, name in rows}
    sd = {name: float(value) * int(percent) / 100 if float(value) else np.nan for value, percent, name in rows}
    misc = {
        key: float(found[1]) if (found := re.search(pattern, text)) else np.nan
        for key, pattern in (
            ("fwhm_ppm", rf"FWHM =\s*({NUMBER}) ppm"), ("snr", rf"S/N =\s*({NUMBER})"),
            ("shift_ppm", rf"Data shift =\s*({NUMBER}) ppm"), ("phase_deg", rf"Ph:\s*({NUMBER}) deg"),
        )
    }  # fmt: skip
    version = re.search(r"Version ([\w.-]+)", text)
    return {
        "version": version[1] if version else "?", "ppm": after("points on ppm-axis = NY"),
        "data": after("NY phased data points follow"), "fit": after("NY points of the fit to the data follow"),
        "baseline": baseline, "signals": signals, "amounts": amounts, "sd": sd, **misc,
    }  # fmt: skip


def covariance(names: tuple[str, ...], sd: dict[str, float]) -> NDArray[np.floating]:
    """Covariance (M, M) of the amounts, as far as the SDs of the sums of two tell it.

    LCModel gives no SD of an amount of zero: it is NaN, but for one of a sum, which is then as uncertain as the sum.
    """
    sums = {tuple(pair.split("+")): value for pair, value in sd.items() if pair.count("+") == 1 and np.isfinite(value)}
    known = {name: sd.get(name, np.nan) for name in names}
    for parts, of_sum in sums.items():
        known |= {part: of_sum for part in parts if part in known and np.isnan(known[part])}
    found = np.diag([known[name] ** 2 for name in names])
    for parts, of_sum in sums.items():
        if set(parts) <= set(names):
            one, other = (names.index(part) for part in parts)
            found[one, other] = found[other, one] = (of_sum**2 - found[one, one] - found[other, other]) / 2
    return found


def assembled(blocks: "list[dict[str, Any] | str]", basis: Basis, scale: NDArray, mhz: float) -> FitResult:
    """Put the fits of all blocks together, in units of the data and of the basis set.

    Signals are those that LCModel gives an amount: none of those outside the fitted range, and its own macromolecules.
    """
    fits = [block for block in blocks if not isinstance(block, str)]
    given = dict.fromkeys(name for fit in fits for name in fit["amounts"] if "+" not in name)
    names = (*(name for name in basis.names if name in given), *(name for name in given if name not in basis.names))
    m, ppm = len(names), fits[0]["ppm"]
    amplitudes = np.full((len(blocks), m), np.nan)
    joint = np.zeros((len(blocks), m, len(blocks), m))
    curves = np.full((3, len(blocks), ppm.size), np.nan)
    components = np.zeros((len(blocks), m, ppm.size))
    quality = []
    for b, fit in enumerate(blocks):
        if isinstance(fit, str):
            joint[b, :, b] = np.nan
            quality.append({})
            continue
        amplitudes[b] = [fit["amounts"].get(name, np.nan) / scale[b] for name in names]
        joint[b, :, b] = covariance(names, fit["sd"]) / scale[b] ** 2
        curves[:, b] = [fit[key] / scale[b] for key in ("data", "fit", "baseline")]
        for name, curve in fit["signals"].items():
            components[b, names.index(name)] = curve / scale[b]
        hz = {"linewidth_hz": fit["fwhm_ppm"] * mhz, "shift_hz": -fit["shift_ppm"] * mhz}
        quality.append({"snr": 2 * fit["snr"], "phase_deg": fit["phase_deg"], **hz})
    constraints = (
        f"LCModel {fits[0]['version']} with its own baseline, line shape and ratio constraints (CHRATO), but for "
        f"{', '.join(unconstrained(basis.names))}; signals {', '.join(names)}"
    )
    return FitResult(
        names, amplitudes, joint.reshape(len(blocks) * m, -1), quality, ppm, *curves, components, constraints,
        amplitudes.ravel(), joint.reshape(len(blocks) * m, -1),
        tuple(block if isinstance(block, str) else "" for block in blocks), ("",) * len(blocks),
    )  # fmt: skip
