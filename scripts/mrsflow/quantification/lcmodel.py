"""LCModel as a fitter, for labs that have it: its control file, its program as a Nipype interface, what it found.

LCModel (Provencher 1993, doi:10.1002/mrm.1910300604) fits one spectrum at a time. It gets the preprocessed blocks and
the basis set that the project's own fit would get, and keeps its defaults, baseline and soft constraints but for those
that `control` says.
"""

import errno
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.basis_sets import basis_formats
from mrsflow.basis_sets.basis import Basis
from mrsflow.fitting.fit import FitResult
from mrsflow.quantification import one_by_one
from mrsflow.quantification.one_by_one import BlockFit

LICENCE_KEY = 210387309
"""Key of the free version that its author made public with the source in 2021."""
BROAD = ("MM", "Mac", "Lip")
SIMULATED = (
    "Lip13a", "Lip13b", "Lip13c", "Lip13d", "Lip09", "MM09", "Lip20", "MM20", "MM12", "MM14", "MM17", "-CrCH2",
)  # fmt: skip
"""Signals that LCModel simulates beside the basis set."""
RATIO_PRIORS = (
    "Lip09/Lip13* = .267 +- .1 +WT= MM12", "Lip20/Lip13* = .15 +- .07 +WT= MM12",
    "MM20/MM09* = 1.5 +- .375 +WT= Lip09*", "MM12/MM09* = .3 +- .1 +WT= Lip09*",
    "MM14/MM09* = .75 +- .45 +WT= Lip09*", "MM17/MM09* = .375 +- .3 +WT= Lip09*", "-CrCH2/totCr = .1 +- .25",
    "Asp/Big3 = .05 +- .05", "GABA/Big3 = .03 +- .03", "Glc/Big3 = .03 +- .03", "Scyllo/Big3 = .01 +- .01",
    "Tau/Big3 = .05 +- .05",
)  # fmt: skip
"""Soft constraints (CHRATO) of LCModel 6.3 by default, but that of GSH on Gln, as it acts on Glx."""
HIGH_FIELD_MHZ = 190.0
"""Above it LCModel does not hold Tau (HIFMM)."""
LONGEST_NAME = 6
UNIT = 2000.0
"""First point of the data over that of creatine, as written: LCModel prints three decimals, of some hundreds."""
NUMBER = r"[-+]?\d+\.?\d*(?:E[-+]?\d+)?"
FORMAT = "%15.6E%15.6E"


class LCModelFitter:
    """Fit the blocks of a request one by one with LCModel."""

    def __init__(self) -> None:
        self._program = one_by_one.program("lcmodel")

    def __call__(self, request: Any) -> FitResult:
        """Fit the blocks.

        Raises
        ------
        InputError
            A dynamic model, or LCModel gave nothing for every block.
        """
        return one_by_one.fit_blocks("LCModel", request, self._begin)

    def _begin(self, folder: Path, basis: Basis, request: Any) -> tuple[one_by_one.FitOne, Basis, str]:
        basis = of_lcmodel(basis)
        short = short_names(basis.names)
        basis_formats.write_basis(replace(basis, names=tuple(short.values())), folder / "set.BASIS")
        settings = Control(request.fids.shape[-1], request.dwell_time, request.spectrometer_frequency, request.ppm)

        def fit_one(stem: str, fid: NDArray) -> "BlockFit | str":
            scale = unit_of(fid, basis)
            write_raw(fid * scale, folder / f"{stem}.RAW")
            (folder / f"{stem}.control").write_text(settings.text(stem, tuple(short.values())))
            found = self._run(folder, stem)
            return found if isinstance(found, str) else in_units(found, short, scale, request.spectrometer_frequency)

        return fit_one, basis, said_of_constraints(tuple(short.values()), request.spectrometer_frequency)

    def _run(self, folder: Path, stem: str) -> "dict[str, Any] | str":
        """Give what LCModel found in one spectrum, or why it found nothing."""
        from mrsflow.conversion.external import LCModel  # only here: Nipype takes its time

        interface = LCModel(control_file=str(folder / f"{stem}.control"), command=self._program)
        try:
            interface.run()
        except subprocess.TimeoutExpired:
            return f"LCModel did not end within {interface.time_limit:.0f} s"
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return f"{self._program} is no program for this machine; give that of LCModel in LCMODEL_EXEC"
        coord = folder / f"{stem}.coord"
        if not coord.exists():
            return "LCModel wrote no .coord file"
        return read_coord(coord.read_text(encoding="latin-1"))


def of_lcmodel(basis: Basis) -> Basis:
    """Give the signals that LCModel takes: of those that it simulates itself none."""
    made = set(simulated(basis.names))
    kept = [k for k, name in enumerate(basis.names) if name not in made]
    return replace(basis, names=tuple(basis.names[k] for k in kept), fids=basis.fids[kept])


def omitted(names: tuple[str, ...]) -> list[str]:
    """Give the signals that LCModel is told not to simulate (CHOMIT), as the basis set has its own of their kind."""
    kinds = {name[:2] for name in names if name.startswith(BROAD)}
    starts = tuple(start for start, own in (("MM", {"MM", "Ma"}), ("Lip", {"Li"})) if kinds & own)
    return [name for name in SIMULATED if name.startswith(starts)] if starts else []


def simulated(names: tuple[str, ...]) -> list[str]:
    """Give the signals that LCModel simulates beside a basis set.

    None where the basis set has broad signals of the same names, which CHOMIT would take out of it too.
    """
    if any(name in SIMULATED for name in names if name.startswith(BROAD)):
        return []
    left_out = omitted(names)
    return [name for name in SIMULATED if name not in left_out]


def ratio_priors(names: tuple[str, ...], mhz: float) -> list[str]:
    """Give the soft constraints (CHRATO) that act: those on metabolites, and on what LCModel simulates itself."""
    held = {name for name in names if not name.startswith(BROAD)} | set(simulated(names))
    free = {"Tau"} if mhz > HIGH_FIELD_MHZ else set()
    return [prior for prior in RATIO_PRIORS if prior.partition("/")[0] in held - free]


def said_of_constraints(names: tuple[str, ...], mhz: float) -> str:
    """Say what holds the amounts in a fit by LCModel."""
    priors = "; ".join(ratio_priors(names, mhz)) or "none"
    left_out = ", ".join(omitted(names)) if simulated(names) else "all that it simulates"
    return f"its own baseline and line shape; ratio priors (CHRATO): {priors}; omitted (CHOMIT): {left_out or 'none'}"


def short_names(names: tuple[str, ...]) -> dict[str, str]:
    """Give each signal a name that LCModel takes, its own where it has six characters at most.

    >>> short_names(("NAA", "Ethanolamine"))
    {'NAA': 'NAA', 'Ethanolamine': 'Etha01'}
    """
    return {name: name if len(name) <= LONGEST_NAME else f"{name[:4]}{k:02d}" for k, name in enumerate(names)}


def unit_of(fid: NDArray, basis: Basis) -> float:
    """Give the factor that makes amounts some hundreds."""
    reference = next((k for k, name in enumerate(basis.names) if name in ("Cr", "PCr")), 0)
    return UNIT * float(np.abs(basis.fids[reference]).max() / max(np.abs(fid).max(), np.finfo(float).tiny))


def write_raw(fid: NDArray, path: Path) -> None:
    """Write a spectrum as LCModel reads it, in the time domain."""
    head = " $NMID\n ID='mrsflow', FMTDAT='(2E15.6)'\n VOLUME=1., TRAMP=1.\n $END\n"
    path.write_text(head + "".join(f"{FORMAT % (point.real, point.imag)}\n" for point in fid))


@dataclass(frozen=True)
class Control:
    """Control files of the spectra of a session.

    Different from the defaults of LCModel: GSH is not held to Gln; of a basis set that has macromolecules or lipids
    these are used instead of simulated ones, and nothing holds them. What holds amounts is printed whole.

    Attributes
    ----------
    n_points : int
        NUNFIL.
    dwell_time : float
        DELTAT (s).
    mhz : float
        HZPPPM.
    ppm : (low, high)
        PPMEND, PPMST.
    """

    n_points: int
    dwell_time: float
    mhz: float
    ppm: tuple[float, float]

    def text(self, stem: str, names: tuple[str, ...]) -> str:
        """Give the control file of one spectrum, whose files are named `stem` beside ``set.BASIS``.

        Parameters
        ----------
        stem : str
        names : tuple of str
            Signals of the basis set.
        """
        made, priors, sums = simulated(names), ratio_priors(names, self.mhz), one_by_one.sums(names)
        left_out = omitted(names) if made else []
        lines = [
            "title='mrsflow'", f"key={LICENCE_KEY}",
            f"nunfil={self.n_points}", f"deltat={self.dwell_time!r}", f"hzpppm={self.mhz!r}",
            "filbas='set.BASIS'", f"filraw='{stem}.RAW'", f"filps='{stem}.ps'", "lps=0",
            "lcoord=9", f"filcoo='{stem}.coord'", "ltable=7", f"filtab='{stem}.table'",
            f"ppmst={max(self.ppm):g}", f"ppmend={min(self.ppm):g}", "dows=F", "doecc=F", "neach=99",
            *([] if made else ["nsimul=0"]),
            *_listed("nratio", "chrato", priors), *_listed("nomit", "chomit", left_out),
            *_listed("ncombi", "chcomb", ["+".join(parts) for parts in sums]),
        ]  # fmt: skip
        return " $LCMODL\n" + "".join(f" {line}\n" for line in lines) + " $END\n"


def _listed(count: str, key: str, values: list[str]) -> list[str]:
    return [f"{count}={len(values)}", *(f"{key}({k})='{value}'" for k, value in enumerate(values, 1))]


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
    rows = re.findall(rf"^\s*({NUMBER})\s+(\d+)%\s+{NUMBER}[ +]?\s*(\S+)\s*$", text, flags=re.MULTILINE)  # + marks
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


def in_units(found: dict[str, Any], short: dict[str, str], scale: float, mhz: float) -> BlockFit:
    """Give what `read_coord` found in units of the data and of the basis set, under the names of the basis set."""
    long = {alias: name for name, alias in short.items()}

    def named(values: dict[str, Any]) -> dict[str, Any]:
        return {"+".join(long.get(part, part) for part in name.split("+")): value for name, value in values.items()}

    def scaled(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value / scale for name, value in named(values).items()}

    hz = {"linewidth_hz": found["fwhm_ppm"] * mhz, "shift_hz": -found["shift_ppm"] * mhz}
    return BlockFit(
        scaled(found["amounts"]), scaled(found["sd"]), found["ppm"],
        *(found[key] / scale for key in ("data", "fit", "baseline")), scaled(found["signals"]),
        {"snr": 2 * found["snr"], "phase_deg": found["phase_deg"], **hz}, f"LCModel {found['version']}",
    )  # fmt: skip
