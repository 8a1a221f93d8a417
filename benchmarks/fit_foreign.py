"""Figures of the fit on signals that are not its own: vendor basis sets, measured macromolecules, scans in vivo.

The parts of ``fit_truth.py`` that read ``reference/foreign``, ``real`` and ``bold`` of the shared data; their READMEs
say how these were made. Every figure stands beside its limit and, where that is missed, the word SHORT.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, broad_lines, extra_signals, macromolecules, presets, sequences
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.fitting import dynamic, fit, uncertainty
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.fit_model import Model

SHARED = Path(os.environ.get("MRSFLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
FOREIGN, REAL, BOLD = (SHARED / "reference" / name for name in ("foreign", "real", "bold"))
BUILD = Path("build/fit_truth")
FITTED_PPM = (0.5, 4.2)
PRESETS = {"siemens": "siemens_svs_se", "ge": "ge_probe_p", "philips": "philips_press"}
LEVELS = {
    "Glx/tNAA": 4, "Glx/tCr": 5, "tNAA/tCr": 4, "tCho/tCr": 5, "Ins/tCr": 8, "Glu/tCr": 8, "GSH/tCr": 15,
    "GABA/tCr": 25, "Gln/tCr": np.inf,
}  # fmt: skip
"""Ratios, and the largest bias in % with a simulated basis; half of it with the vendor's."""
NAMED = {"singlet2.35": "pyruvate", "singlet3.15": "MSM", "bhb": "bHB", "ethanol": "ethanol", "mannitol": "mannitol"}
"""Substance of our table for each extra signal; ours has second-order couplings, that of the set has not."""
BY_CHANCE = ("GABA/tCr",)
"""Ratios whose bias may also be within two standard errors."""
MOVES = {"Glx/tNAA": 3, "Glx/tCr": 3, "tNAA/tCr": 3, "Ins/tCr": 5}
"""Ratios, and how far (%) noise may move them."""
CALIBRATED = (0.8, 1.3)
DOUBTFUL_PERCENT, DOUBTFUL_SNR = 5.0, 40.0
CONSTANT = ("Glx/tNAA", "Glu/tCr")
FALSE_CHANGE = 1.0
RESPONSES = {"Glu": ("Glu/tCr", "Glx/tNAA"), "Gln": ("Gln/tCr",), "NAA+NAAG": ("tNAA/tCr",)}
"""What changes in the sets of *response*, and the ratios that show it."""
SLOPE = (0.95, 1.05)
AGREEMENT = {"tNAA/tCr": 10, "tCho/tCr": 10, "Ins/tCr": 10, "Glx/tCr": 15}
"""Largest difference (%) from LCModel in vivo."""
STILL, ALWAYS_STILL = 6.0, 2.0
UNCHANGING = ("Glx/tNAA", "Glx/tCr", "Ins/tCr", "tNAA/tCr")
NEGATIVE = -2.0
TOLD = {
    "3T": {"Glu": (0.16, 0.79), "Glx": (0.00, 0.47), "tNAA": (0.08, 0.17)},
    "7T": {"Glu": (0.08, 0.26), "Glx": (0.04, 0.25), "tNAA": (0.07, 0.11)},
}
"""Mean and SD (%) of FSL-MRS told the linewidth: Wilson, Finney, Clarke 2026 (wtclarke/fmrs_bold_dynamic_fitting)."""
BOLD_SD = {"Glu": 1.1, "Glx": 1.1, "tNAA": 1.4}
BOLD_BIAS = 0.15
MOVED_SD = 0.1
"""What the input's order, shift, phase and unit may change, in standard deviations."""
NAMED_PERCENT = 90.0
"""Part of wrong results that must be doubtful or failed."""
CORRUPTED = 1.0
"""What a bad block may change in its neighbours, %."""


@dataclass(frozen=True)
class Options:
    """How the parts are run.

    Attributes
    ----------
    basis : {"own", "vendor"}
        Simulated; or the set of the scanner's vendor, with our macromolecules where it has none.
    every : int
        Use every n-th spectrum, voxel or session.
    own_basis : str
        Files to use as own basis sets, ``{name}`` standing for siemens, ge, philips, siemens30 or philips30.
    """

    basis: str = "own"
    every: int = 1
    own_basis: str = ""

    @property
    def strictness(self) -> float:
        """Factor of the limits of bias."""
        return 0.5 if self.basis == "vendor" else 1.0


# ------------------------------------------------------------------------------------------------ basis sets and models


def own_basis(vendor: str, echo_time_ms: float, frequency: float, pattern: str = "") -> Basis:
    """Simulate the basis set of a vendor's PRESS by its preset, macromolecules included."""
    if pattern:
        return basis_formats.load(pattern.format(name=vendor + ("" if echo_time_ms == 35 else f"{echo_time_ms:g}")))
    return sequences.cached(BUILD / "basis", _sequence(vendor, echo_time_ms), frequency, macromolecules=True)


def _sequence(vendor: str, echo_time_ms: float) -> Sequence:
    """PRESS of a vendor, by its preset."""
    unsaid = dict.fromkeys(("te1_ms", "mixing_time_ms", "refocusing", "basis"))
    protocol = {**unsaid, "sequence": "press", "echo_time_ms": echo_time_ms, "preset": PRESETS[vendor]}
    return Sequence.from_protocol(presets.filled(protocol, vendor))


def with_macromolecules(basis: Basis, frequency: float, dwell_time: float, n_points: int) -> Basis:
    """Match a basis file to data and, where it has no macromolecules, append ours."""
    if not any(broad_lines.is_macromolecule(name) for name in basis.names):
        basis = macromolecules.chosen(basis, "default")
    return basis_sets.match(basis, frequency, "1H", dwell_time, n_points)


@cache
def model_for(
    vendor: str, options: Options, frequency: float, dwell_time: float = 2.5e-4, n_points: int = 2048
) -> Model:
    """Model of the foreign sets of a vendor."""
    if options.basis == "vendor":
        name = {"siemens": "Siemens", "ge": "GE", "philips": "Philips"}[vendor]
        published = basis_formats.load(SHARED / "data" / "basis" / f"3T_PRESS_{name}_35ms_noMM.BASIS")
        return Model(with_macromolecules(published, frequency, dwell_time, n_points), FITTED_PPM)
    own = own_basis(vendor, 35, frequency, options.own_basis)
    return Model(basis_sets.match(own, frequency, "1H", dwell_time, n_points), FITTED_PPM)


@dataclass(frozen=True)
class TruthSet:
    """Spectra (n, points) with their table, a row for each."""

    fids: NDArray[np.complexfloating]
    truth: pd.DataFrame
    frequency: float

    def chosen(self, rows: NDArray | pd.Series) -> "TruthSet":
        """Give the spectra for which `rows` is true."""
        rows = np.asarray(rows)
        return replace(self, fids=self.fids[rows], truth=self.truth[rows].reset_index(drop=True))

    def sessions(self) -> Iterator[tuple[str, "TruthSet"]]:
        """Sessions one after the other, in the order of the table."""
        for name in dict.fromkeys(self.truth["session"]):
            yield name, self.chosen(self.truth["session"] == name)

    def every(self, column: str, step: int) -> "TruthSet":
        """Every n-th value of a column."""
        return self.chosen(self.truth[column].isin(list(dict.fromkeys(self.truth[column]))[::step]))


def load(name: str) -> TruthSet:
    """Read one set of ``reference/foreign``: what was made, and how a session reads it."""
    scan = nifti_mrs.read(FOREIGN / f"{name}_svs.nii.gz")
    truth = pd.read_csv(FOREIGN / f"{name}_truth.tsv", sep="\t")
    design = pd.read_csv(FOREIGN / f"{name}_design.tsv", sep="\t").drop(columns=["session"])
    return TruthSet(scan.ordered("DIM_DYN"), truth.merge(design, on="spectrum"), scan.spectrometer_frequency)


# ------------------------------------------------------------------------------------------------- fits and quantities


class Clock:
    """CPU time and number of what was fitted."""

    def __init__(self) -> None:
        self.spent, self.n = 0.0, 0

    def fit(self, fids: NDArray, model: Model, terms: dynamic.Terms | None = None) -> FitResult | None:
        """Fit spectra together, None when none of them can be."""
        start = time.process_time()
        try:
            return fit.fit_session(fids, model, terms)
        except fit.FitError as error:
            print(f"    failed: {error}")
            return None
        except np.linalg.LinAlgError as error:
            print(f"    crashed: {error}{mark(False)}")
            return None
        finally:
            self.spent, self.n = self.spent + time.process_time() - start, self.n + 1

    def __str__(self) -> str:
        return f"{self.spent / max(self.n, 1):.2f} CPU-s each ({self.n})"


def doubts(result: FitResult) -> tuple[str, ...]:
    """Why each block is doubtful, empty where it is not."""
    return tuple(getattr(result, "doubts", ())) or ("",) * len(result.amplitudes)


def ratio_of(result: FitResult, quantity: str, block: int = 0) -> tuple[float, float]:
    """Ratio and its SD."""
    weights = (uncertainty.weights_of(result.names, part) for part in quantity.split("/"))
    return uncertainty.ratio(*weights, result.amplitudes[block], result.covariance[block])


def true_ratio(row: pd.Series, quantity: str) -> float:
    """Ratio of a row of a truth table."""
    names = tuple(row.index)
    amounts = (uncertainty.weights_of(names, part) for part in quantity.split("/"))
    above, below = (sum(float(row[name]) for name, w in zip(names, weights, strict=True) if w) for weights in amounts)
    return above / below


def slope_of(values: NDArray, course: NDArray) -> tuple[float, NDArray]:
    """Relative change of values (B) for each unit of a course (B), and its gradient by the values.

    >>> float(slope_of(np.array([9.0, 11.0]), np.array([0.0, 1.0]))[0])
    0.2
    """
    centred = course - course.mean()
    weights = centred / (centred @ centred)
    mean = values.mean()
    slope = float(weights @ values / mean)
    return slope, weights / mean - slope / (values.size * mean)


def change_of(result: FitResult, quantity: str, course: NDArray) -> tuple[float, float]:
    """Relative change of a ratio over a course, by least squares, and its SD from the joint covariance."""
    n_blocks, m = result.amplitudes.shape
    usable = np.flatnonzero(np.all(np.isfinite(result.amplitudes), axis=1))
    above, below = (uncertainty.weights_of(result.names, part) for part in quantity.split("/"))
    values = np.array([ratio_of(result, quantity, b)[0] for b in usable])
    slope, by_value = slope_of(values, course[usable])
    gradient = np.zeros((n_blocks, m))
    for b, value, weight in zip(usable, values, by_value, strict=True):
        gradient[b] = weight * (above - value * below) / (below @ result.amplitudes[b])
    covariance = result.joint_covariance.reshape(n_blocks, m, n_blocks, m)[np.ix_(usable, range(m), usable, range(m))]
    part = gradient[usable]
    return slope, float(np.sqrt(np.einsum("am,ambn,bn->", part, covariance, part)))


def rms(values: NDArray | pd.Series) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else np.nan


def se(values: NDArray | pd.Series) -> float:
    """Give the standard error of a mean."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def mark(met: bool) -> str:
    """Say whether a limit is met."""
    return "" if met else "  SHORT"


def calibrated(z: float) -> str:
    """Z with its mark."""
    return f"{z:5.2f}{mark(CALIBRATED[0] <= z <= CALIBRATED[1])}"


def estimates(part: TruthSet, model: Model, quantities: tuple[str, ...], clock: Clock) -> pd.DataFrame:
    """Fit every spectrum alone: a row for each spectrum and ratio, with the columns of the truth."""
    rows = []
    for fid, (_, row) in zip(part.fids, part.truth.iterrows(), strict=True):
        result = clock.fit(fid, model)
        doubt = "failed" if result is None else doubts(result)[0]
        for quantity in quantities:
            found, sd = (np.nan, np.nan) if result is None else ratio_of(result, quantity)
            true = true_ratio(row, quantity)
            errors = {"error": 100 * (found / true - 1), "z": (found - true) / sd, "doubt": doubt}
            rows.append({**row, "quantity": quantity, "value": found, "sd": sd, "true": true, **errors})
    return pd.DataFrame(rows)


def print_doubtful(table: pd.DataFrame) -> None:
    """Print the share of doubtful spectra among those of enough SNR."""
    spectra = table.drop_duplicates("spectrum" if "set" not in table else ["set", "spectrum"])
    clear = spectra[spectra["snr"] >= DOUBTFUL_SNR]
    named = clear["doubt"] != ""
    share = 100 * named.mean()
    print(f"  doubtful at SNR >= {DOUBTFUL_SNR:g}: {share:.0f} % of {len(clear)}{mark(not share > DOUBTFUL_PERCENT)}")
    for reason, count in clear.loc[named, "doubt"].value_counts().items():
        print(f"    {count} x {reason}")


# --------------------------------------------------------------------------------------------------------------- parts


def part_levels(options: Options) -> None:
    """Bias and calibration of ratios on the spectra of three vendors."""
    clock, tables = Clock(), []
    for vendor in ("siemens", "ge", "philips"):
        part = load(f"levels_{vendor}").every("voxel", options.every)
        model = model_for(vendor, options, part.frequency)
        tables.append(estimates(part, model, tuple(LEVELS), clock).assign(set=vendor))
    table = pd.concat(tables, ignore_index=True)
    print(
        f"  {clock}; bias +/- SE % (limit); rms z; SD of error %; bias of siemens, ge, philips; rms z of these; "
        "median error of LCModel"
    )
    peer = errors_of_lcmodel()
    for quantity, limit in LEVELS.items():
        own = table[(table["quantity"] == quantity) & np.isfinite(table["error"])]
        voxels = own.groupby(["set", "voxel"])["error"].mean()
        bias, error, allowed = voxels.mean(), se(voxels), limit * options.strictness
        met = abs(bias) <= (max(allowed, 2 * error) if quantity in BY_CHANCE else allowed)
        each = own.groupby("set", sort=False)
        by_set = " ".join(f"{value:+6.1f}" for value in each["error"].mean())
        z_by_set = " ".join(f"{value:4.1f}" for value in each["z"].apply(rms))
        print(
            f"    {quantity:9s} {bias:+6.1f} +/- {error:4.1f} ({allowed:4.1f}){mark(met):7s} "
            f"z {calibrated(rms(own['z'])):12s} SD {own['error'].std():5.1f}   {by_set}   {z_by_set}"
            + (f"   {peer[quantity]:+6.1f}" if quantity in peer else "")
        )
    print_doubtful(table)


def errors_of_lcmodel() -> dict[str, float]:
    """Median error (%) of LCModel on the same spectra, by ratio.

    ``lcmodel_levels.tsv``: LCModel 6.3 with its defaults and own macromolecules, 4.0 to 0.2 ppm, the vendor's own basis
    set without what LCModel simulates, without ascorbate, glycine and phosphorylethanolamine, as its sets often are.
    """
    found = pd.read_csv(Path(__file__).with_name("lcmodel_levels.tsv"), sep="\t")
    errors: dict[str, list[float]] = {}
    for vendor, rows in found.groupby("set"):
        truth = load(f"levels_{vendor}").truth
        for row in rows.itertuples():
            above, below = (
                sum(truth.iloc[row.spectrum].get(name, 0.0) for name in uncertainty.TOTALS.get(part, (part,)))
                for part in row.ratio.split("/")
            )
            errors.setdefault(row.ratio, []).append(100 * (row.value / (above / below) - 1))
    return {ratio: float(np.median(values)) for ratio, values in errors.items()}


def part_noise(options: Options) -> None:
    """Shift of the mean of ratios from SNR 300 down to 20, with the same noise at each SNR."""
    clock = Clock()
    part = load("noise").every("voxel", options.every)
    model = model_for("siemens", options, part.frequency)
    table = estimates(part, model, tuple(dict.fromkeys((*MOVES, *LEVELS))), clock)
    table["pair"] = table["draw"] // 2  # noise of both signs
    means = table.groupby(["quantity", "voxel", "pair", "snr"])["value"].mean().unstack("snr")
    moved = 100 * (means.div(means[300], axis=0) - 1)
    print(f"  {clock}; shift +/- SE % at SNR 150, 75, 40, 20 (limit); rms z at 300, 150, 75, 40, 20")
    for quantity in dict.fromkeys((*MOVES, *LEVELS)):
        own, limit = moved.loc[quantity], MOVES.get(quantity, np.inf)
        cells, met = [], True
        for snr in (150, 75, 40, 20):
            shift, error = own[snr].mean(), se(own[snr])
            met &= abs(shift) <= max(limit, 2 * error)
            cells.append(f"{shift:+6.1f} +/- {error:3.1f}")
        rows = table[table["quantity"] == quantity]
        z = " ".join(f"{rms(rows.loc[rows['snr'] == snr, 'z']):5.2f}" for snr in (300, 150, 75, 40, 20))
        print(f"    {quantity:9s} {'  '.join(cells)} ({limit:g}){mark(met):7s}   z {z}")
    print_doubtful(table)


def part_courses(options: Options) -> None:
    """Find the false change of ratios over sessions in which only a disturbance changes."""
    clock = Clock()
    part = load("courses").every("nuisance", options.every)
    model = model_for("siemens", options, part.frequency)
    rows = []
    for _, session in part.sessions():
        result = clock.fit(session.fids, model)
        if result is None:
            continue
        kind, voxel = session.truth.loc[0, ["nuisance", "voxel"]]
        for quantity in CONSTANT:
            change, sd = change_of(result, quantity, session.truth["course"].to_numpy(float))
            doubtful = sum(reason != "" for reason in doubts(result))
            rows.append((kind, voxel, quantity, 100 * change, change / sd, doubtful))
    table = pd.DataFrame(rows, columns=["nuisance", "voxel", "quantity", "change", "z", "doubtful"])
    still = table[table["nuisance"] == "none"].set_index(["voxel", "quantity"])["change"]
    table["false"] = table["change"] - still.reindex(pd.MultiIndex.from_frame(table[["voxel", "quantity"]])).to_numpy()
    print(f"  {clock}; false change at ramp 1 +/- SE % (limit {FALSE_CHANGE:g} or 2 SE); doubtful blocks of 18")
    for kind, own in table.groupby("nuisance", sort=False):
        cells = []
        for quantity in CONSTANT:
            false = own.loc[own["quantity"] == quantity, "change" if kind == "none" else "false"]
            met = kind == "none" or abs(false.mean()) <= max(FALSE_CHANGE, 2 * np.nan_to_num(se(false)))
            cells.append(f"{quantity} {false.mean():+6.2f} +/- {se(false):4.2f}{mark(met):7s}")
        print(f"    {kind:11s} {'   '.join(cells)} {own['doubtful'].sum() // len(CONSTANT)}")
    for quantity in CONSTANT:
        own = table[table["quantity"] == quantity]
        print(f"  rms z of the change of {quantity}: {calibrated(rms(own['z']))}; SD of it {own['change'].std():.2f} %")


def part_response(options: Options) -> None:
    """Slope of estimated on true change of Glu, Gln and tNAA: fitted jointly, with the course, and singly."""
    part = load("response").every("voxel", options.every)
    model = model_for("siemens", options, part.frequency)
    clocks = {name: Clock() for name in ("jointly", "dynamic", "singly")}
    rows = []
    for voxel in dict.fromkeys(part.truth["voxel"]):
        changing, control = (
            part.chosen((part.truth["voxel"] == voxel) & (part.truth["active"] == active)) for active in (1, 0)
        )
        course = changing.truth["course"].to_numpy(float)
        kind = changing.truth.loc[0, "changed"]
        terms = dynamic.terms(model.names, {"course": course}, len(course))
        for way, clock in clocks.items():
            fitted = [_fitted(session.fids, model, terms if way == "dynamic" else None, way == "singly", clock)
                      for session in (changing, control)]  # fmt: skip
            for quantity in RESPONSES[kind]:
                truth = np.array([true_ratio(row, quantity) for _, row in changing.truth.iterrows()])
                true, _ = slope_of(truth, course)
                (found, sd), (false, _) = (change_of(result, quantity, course) for result in fitted)
                rows.append((way, kind, quantity, (found - false) / true, (found - true) / sd, 100 * (found - true)))
    table = pd.DataFrame(rows, columns=["way", "kind", "quantity", "slope", "z", "error"])
    print("; ".join(f"  {way}: {clock}" for way, clock in clocks.items()))
    print(f"  slope +/- SE (limit {SLOPE[0]} to {SLOPE[1]}); error of the change itself, rms %, and its rms z")
    for (way, kind, quantity), own in table.groupby(["way", "kind", "quantity"], sort=False):
        slope = own["slope"].mean()
        print(
            f"    {way:8s} {kind:8s} in {quantity:9s} {slope:5.3f} +/- {se(own['slope']):5.3f}"
            f"{mark(SLOPE[0] <= slope <= SLOPE[1]):7s}   {rms(own['error']):4.1f} %, z {rms(own['z']):4.2f}"
        )


def _fitted(fids: NDArray, model: Model, terms: dynamic.Terms | None, singly: bool, clock: Clock) -> FitResult:
    """Fit a session; block by block where asked for, put together as if it were one fit."""
    if not singly:
        return clock.fit(fids, model, terms)
    results = [clock.fit(fid, model) for fid in fids]
    m = len(model.names)
    joint = np.zeros((len(fids), m, len(fids), m))
    for block, result in enumerate(results):
        joint[block, :, block] = result.covariance[0]
    amplitudes = np.concatenate([result.amplitudes for result in results])
    return replace(results[0], amplitudes=amplitudes, joint_covariance=joint.reshape(2 * (amplitudes.size,)))


def part_extra(options: Options) -> None:
    """Ratios beyond 3 SD on spectra with a signal that no basis has: none may pass without a word."""
    clock = Clock()
    part = load("extra").every("voxel", options.every)
    model = model_for("siemens", options, part.frequency)
    table = estimates(part, model, tuple(LEVELS), clock)
    print(f"  {clock}; beyond 3 SD, and what the fit says; beyond 3 SD with the signal added to the basis by name")
    wrong = flagged = silent = 0
    for (voxel, kind), own in table.groupby(["voxel", "extra"], sort=False):
        beyond = own[np.abs(own["z"]) > 3]
        said = own["doubt"].iloc[0]
        wrong, flagged = wrong + (len(beyond) > 0), flagged + (said != "")
        silent += len(beyond) > 0 and not said
        added = "-"
        if name := NAMED.get(kind.partition("_")[0]):
            wider = Model(extra_signals.add(model.basis, (name,), _sequence("siemens", 35)), FITTED_PPM)
            chosen = part.chosen((part.truth["voxel"] == voxel) & (part.truth["extra"] == kind))
            added = _beyond(estimates(chosen, wider, tuple(LEVELS), clock))
        print(f"    voxel {voxel} {kind:17s} {_beyond(own)}; {said or 'ok'}; with {name or 'nothing'}: {added}")
    print(f"  wrong {wrong}, doubtful {flagged}, wrong with status ok {silent}{mark(silent == 0)}")


def _beyond(table: pd.DataFrame) -> str:
    """List what is beyond 3 SD."""
    rows = table[np.abs(table["z"]) > 3].itertuples()
    return ", ".join(f"{row.quantity} {row.error:+.0f} % ({row.z:+.1f} SD)" for row in rows) or "-"


def part_wrong(options: Options) -> None:
    """Say of wrong data and wrong basis sets whether the results are beyond 3 SD and whether the fit says so."""
    part = load("levels_siemens")
    part = part.chosen((part.truth["snr"] >= DOUBTFUL_SNR) & (part.truth["sign"] == 1)).every("voxel", options.every)
    good, clock = model_for("siemens", options, part.frequency), Clock()
    height = np.abs(np.fft.fft(part.fids)).max(axis=-1, keepdims=True) * 4e-3
    late = np.clip(good.time - 0.06, 0, None)
    ghost = np.where(late > 0, np.exp(2j * np.pi * 230 * late - np.pi * 4 * late), 0)
    halves = part.fids * (0.6 + 0.4 * np.exp(2j * np.pi * 14 * good.time))
    dips = part.fids * np.where(np.abs(good.time - 0.03) < 0.01, 0.3, 1.0)
    cases = {
        "basis of TE 80": (part.fids, _model_of_te(part.frequency, 80)),
        "basis without Glu": (part.fids, _model_without(good, ("Glu",))),
        "basis without broad signals": (part.fids, _model_without(good, good.names, broad=True)),
        "GSH twice": (part.fids, _model_with_twin(good, "GSH")),
        "ghost at 2.8 ppm": (part.fids + height * ghost, good),
        "moved by 14 Hz": (halves, good),
        "points lost": (dips, good),
    }
    wrong = named = 0
    for label, (fids, model) in cases.items():
        quantities = tuple(q for q in AGREEMENT if uncertainty.weights_of(model.names, q.split("/")[0]) is not None)
        table = estimates(replace(part, fids=fids), model, quantities, clock)
        spectra = table.groupby("spectrum").agg(z=("z", lambda z: np.abs(z).max()), doubt=("doubt", "first"))
        off, said = ~(spectra["z"] <= 3), spectra["doubt"] != ""
        wrong, named = wrong + off.sum(), named + (off & said).sum()
        reasons = "; ".join(dict.fromkeys(spectra["doubt"][said]))
        print(f"    {label:28s} wrong {off.sum()} of {len(off)}, not ok {said.sum()}: {reasons or '-'}")
    print(f"  of the wrong ones not ok: {named} of {wrong}{mark(named >= NAMED_PERCENT / 100 * wrong)}")
    session = next(session for _, session in load("courses").sessions())
    alone = clock.fit(session.fids[1:], good)
    off = np.exp(2j * np.pi * 0.25 * part.frequency * good.time)
    for label, factor in {"inverted": -1.0, "0.25 ppm off": off, "three times as large": 3.0}.items():
        result = clock.fit(np.concatenate([session.fids[:1] * factor, session.fids[1:]]), good)
        moved = [
            100 * (ratio_of(result, quantity, block + 1)[0] / ratio_of(alone, quantity, block)[0] - 1)
            for quantity in UNCHANGING
            for block in range(len(alone.amplitudes))
        ]
        first = result.problems[0] or doubts(result)[0] or "ok"
        print(f"  first block {label}: {first}; the others move {rms(moved):.2f} % rms{mark(rms(moved) <= CORRUPTED)}")


def _model_of_te(frequency: float, echo_time_ms: float) -> Model:
    """Model with a simulated basis of another second echo."""
    sequence = Sequence("press", echo_time_ms / 1e3, te1=0.017)
    own = sequences.cached(BUILD / "basis", sequence, frequency, macromolecules=True)
    return Model(basis_sets.match(own, frequency, "1H", 2.5e-4, 2048), FITTED_PPM)


def _model_without(model: Model, names: tuple[str, ...], broad: bool = False) -> Model:
    """Model with less in its basis: without `names`, or without those of them that are broad."""
    kept = [k for k, name in enumerate(model.names) if name not in names or (broad and not model.broad[k])]
    return Model(
        replace(model.basis, names=tuple(model.names[k] for k in kept), fids=model.basis.fids[kept]), FITTED_PPM
    )


def _model_with_twin(model: Model, name: str) -> Model:
    """Model whose basis has one signal twice."""
    twin = model.basis.fids[[model.names.index(name)]]
    basis = replace(model.basis, names=(*model.names, f"{name}2"), fids=np.concatenate([model.basis.fids, twin]))
    return Model(basis, FITTED_PPM)


def part_bold(options: Options) -> None:
    """Change that the dynamic fit finds when only the linewidth follows the task, beside FSL-MRS told the linewidth."""
    for field, told in TOLD.items():
        scan = nifti_mrs.read(BOLD / f"{field}_svs.nii.gz")
        design = pd.read_csv(BOLD / f"{field}_design.tsv", sep="\t")
        fids, clock = scan.ordered("DIM_DYN"), Clock()
        basis = basis_formats.load(BOLD / f"basis_{field}")
        sampling = (scan.spectrometer_frequency, "1H", scan.dwell_time, fids.shape[-1])
        model = Model(basis_sets.match(basis, *sampling), FITTED_PPM)
        rows = []
        for name in list(dict.fromkeys(design["session"]))[:: options.every]:
            session = design[design["session"] == name]
            task = session["task"].to_numpy(float)
            terms = dynamic.terms(model.names, {"task": task}, len(task))
            result = clock.fit(fids[session["spectrum"]], model, terms)
            m = len(model.names)
            constant, step = (
                [result.terms.index((metabolite, term)) for metabolite in model.names] for term in ("constant", "task")
            )
            for quantity in told:
                weights = uncertainty.weights_of(model.names, quantity)
                above, below = (np.zeros(2 * m) for _ in range(2))
                above[step], below[constant] = weights, weights
                found = uncertainty.ratio(above, below, result.coefficients, result.coefficient_covariance)
                rows.append((quantity, *(100 * np.array(found))))
        table = pd.DataFrame(rows, columns=["quantity", "change", "sd"])
        least = linear_changes(fids, design, model, tuple(told))
        print(
            f"  {field}: {clock}; mean +/- SE %, SD over sessions (FSL-MRS told: mean, SD), reported SD; SD of linear "
            "least squares told the lines, all amounts free, macromolecules and lipids constant"
        )
        for quantity, (mean, scatter) in told.items():
            own = table[table["quantity"] == quantity]
            change, error, sd = own["change"].mean(), se(own["change"]), own["change"].std()
            met = abs(change) <= max(BOLD_BIAS, 2 * error), not sd > BOLD_SD[quantity] * scatter
            print(
                f"    {quantity:4s} {change:+6.2f} +/- {error:4.2f}{mark(met[0]):7s} SD {sd:4.2f}{mark(met[1]):7s} "
                f"({mean:+5.2f}, {scatter:4.2f}; ratio {sd / scatter:4.2f} of {BOLD_SD[quantity]})   "
                f"reported {rms(own['sd']):4.2f}   {least[quantity]['free']:4.2f}, {least[quantity]['constant']:4.2f}"
            )


def linear_changes(
    fids: NDArray, design: pd.DataFrame, model: Model, quantities: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """SD over sessions (%) of the change of task against rest by linear least squares, with Voigt lines of the mean.

    The difference of both spectra is a sum of all signals and of what a little width, shift and phase change.
    """
    basis, names, time = model.basis.fids, model.names, np.arange(fids.shape[-1]) * model.dwell_time
    constant = np.array([not name.startswith(("MM", "Lip")) for name in names])
    found: dict[str, dict[str, list[float]]] = {quantity: {"free": [], "constant": []} for quantity in quantities}

    def real(signals: NDArray) -> NDArray:
        spectra = model.spectrum(np.atleast_2d(signals))
        return np.concatenate([spectra.real, spectra.imag], axis=-1).T

    for _, session in design.groupby("session"):
        spectra, task = fids[session["spectrum"]], session["task"].to_numpy(bool)
        mean, difference = spectra.mean(axis=0), spectra[task].mean(axis=0) - spectra[~task].mean(axis=0)
        fits = []
        for lorentz in np.arange(0.5, 6.0, 0.5):
            for gauss in np.arange(3.0, 15.0):
                decay = np.exp(-np.pi * lorentz * time - (np.pi * gauss * time) ** 2 / (4 * np.log(2)))
                amounts, misfit, *_ = np.linalg.lstsq(real(basis * decay), real(mean)[:, 0], rcond=None)
                fits.append((float(misfit[0]), amounts, decay))
        _, amounts, decay = min(fits, key=lambda one: one[0])
        whole = amounts @ (basis * decay)
        little = np.array([-time * whole, 1j * time * whole, 1j * whole])
        for kind, kept in (("free", np.ones(len(names), bool)), ("constant", constant)):
            columns = real(np.vstack([(basis * decay)[kept], little]))
            changes = np.zeros(len(names))
            changes[kept] = np.linalg.lstsq(columns, real(difference)[:, 0], rcond=None)[0][: kept.sum()]
            for quantity in quantities:
                weights = uncertainty.weights_of(names, quantity)
                found[quantity][kind].append(100 * float(weights @ changes / (weights @ amounts)))
    return {
        quantity: {kind: float(np.std(values, ddof=1)) for kind, values in kinds.items()}
        for quantity, kinds in found.items()
    }


def part_real(options: Options) -> None:
    """Put scans in vivo beside LCModel, at their own noise and with noise added."""
    scans = pd.read_csv(REAL / "scans.tsv", sep="\t").iloc[:: options.every]
    peers = pd.read_csv(REAL / "peers.tsv", sep="\t")
    peers = peers[peers["program"].str.startswith("LCModel")]
    agreeing = 0
    for scan in scans.itertuples():
        fids, model = _real(scan, options)
        design = pd.read_csv(REAL / f"{scan.scan}_design.tsv", sep="\t")
        clock = Clock()
        results = [clock.fit(fid, model) for fid in fids]
        if results[0] is None:
            continue
        design = design.assign(result=results)
        lcmodel = peers[peers["scan"] == scan.scan].groupby(["ratio", "noise_factor"])["value"].mean()
        print(f"  {scan.scan}: {clock}; noise x1, 1.5, 2, 3 (LCModel); difference % (limit); moved % +/- SE (LCModel)")
        agrees = True
        for quantity in dict.fromkeys((*AGREEMENT, *UNCHANGING, "Glu/tCr")):
            met, line = _real_row(design, quantity, lcmodel[quantity])
            agrees &= met
            print(f"    {quantity:9s} {line}")
        agreeing += agrees
        _print_macromolecules(design)
        reasons = [reason for result in results if result is not None for reason in doubts(result) if reason]
        print(f"    doubtful {len(reasons)} of {len(results)}: {'; '.join(dict.fromkeys(reasons)) or '-'}")
        picture({scan.scan: results[0]}, BUILD / f"real_{scan.scan}_{options.basis}")
    needed = len(scans) if options.basis == "vendor" else len(scans) - 1
    print(f"  agree with LCModel: {agreeing} of {len(scans)} scans (at least {needed}){mark(agreeing >= needed)}")
    known = ", ".join(f"{ratio} {error:+.0f}" for ratio, error in errors_of_lcmodel().items())
    print(f"  where the truth is known (levels) LCModel's own median error is, in %: {known}")


def _real(scan: tuple, options: Options) -> tuple[NDArray, Model]:
    """Spectra of a scan and the model with the basis that is asked for."""
    read = nifti_mrs.read(REAL / f"{scan.scan}_svs.nii.gz")
    fids = read.ordered("DIM_DYN")
    sampling = (read.spectrometer_frequency, read.dwell_time, fids.shape[-1])
    if options.basis == "vendor":
        return fids, Model(with_macromolecules(basis_formats.load(SHARED / "data" / scan.basis), *sampling), FITTED_PPM)
    own = own_basis(scan.scan.split("-")[0], scan.echo_time_ms, sampling[0], options.own_basis)
    return fids, Model(basis_sets.match(own, sampling[0], "1H", *sampling[1:]), FITTED_PPM)


def _real_row(design: pd.DataFrame, quantity: str, lcmodel: pd.Series) -> tuple[bool, str]:
    """Whether a ratio agrees with LCModel, and its line: values, difference, movement with noise."""
    values = [np.nan if result is None else ratio_of(result, quantity)[0] for result in design["result"]]
    by_noise = pd.Series(values).groupby(design["noise_factor"]).mean()
    cells = " ".join(f"{by_noise[k]:5.3f} ({lcmodel[k]:5.3f})" for k in by_noise.index)
    difference = min((100 * (by_noise[1.0] / lcmodel[k] - 1) for k in (1.0, 1.5)), key=abs)
    limit = AGREEMENT.get(quantity, np.inf)
    met = abs(difference) <= limit
    noisy = 100 * (np.array(values)[design["noise_factor"] == 3] / by_noise[1.0] - 1)
    moved, peer = noisy.mean(), 100 * (lcmodel[3.0] / lcmodel[1.0] - 1)
    still = abs(moved) <= max(STILL, 2 * se(noisy)) and abs(moved) <= max(abs(peer), ALWAYS_STILL, 2 * se(noisy))
    text = (
        f"{cells}   {difference:+6.1f} ({limit:3.0f}){mark(met):7s}   {moved:+6.1f} +/- {se(noisy):3.1f} ({peer:+5.1f})"
    )
    return met, text + mark(still or quantity not in UNCHANGING)


def _print_macromolecules(design: pd.DataFrame) -> None:
    """Print the most negative macromolecule in standard deviations."""
    found = [
        (result.amplitudes[0][k] / np.sqrt(result.covariance[0][k, k]), name)
        for result in design["result"]
        if result is not None
        for k, name in enumerate(result.names)
        if name.startswith(("MM", "Mac", "Lip"))
    ]
    if found:
        least, name = min(found)
        print(f"    least macromolecule or lipid: {name} {least:+.1f} SD{mark(least >= NEGATIVE)}")


def part_cost(options: Options) -> None:
    """CPU time of a spectrum, of a session of six blocks, and of its dynamic fit."""
    spectra = load("levels_siemens").chosen(np.arange(20) % 4 == 0)
    sessions = [session for _, session in load("courses").sessions()][:3]
    model = model_for("siemens", options, spectra.frequency)
    single, joint, timed = Clock(), Clock(), Clock()
    for fid in spectra.fids:
        single.fit(fid, model)
    for session in sessions:
        course = session.truth["course"].to_numpy(float)
        joint.fit(session.fids, model)
        timed.fit(session.fids, model, dynamic.terms(model.names, {"course": course}, len(course)))
    for label, clock, limit in (("spectrum", single, 0.12), ("session of 6", joint, 1.5), ("dynamic", timed, 1.5)):
        print(f"  {label}: {clock} (limit {limit}){mark(clock.spent <= limit * clock.n)}")


def part_invariance(options: Options) -> None:
    """Largest change of a ratio, in SD, when block order, shift, phase or unit of the input change."""
    singles = load("levels_siemens").chosen(np.arange(20) % 4 == 0)
    session = next(session for _, session in load("courses").sessions())
    model = model_for("siemens", options, singles.frequency)
    clock = Clock()
    turn = {"+5 Hz": np.exp(10j * np.pi * model.time), "-5 Hz": np.exp(-10j * np.pi * model.time)}
    turn |= {f"{degrees:+d} deg": np.exp(1j * np.radians(degrees)) for degrees in (20, -20)}
    turn |= {"x 1e6": 1e6, "x 1e-6": 1e-6}
    before = [clock.fit(fids, model) for fids in (*singles.fids, session.fids)]
    for label, factor in turn.items():
        after = [clock.fit(fids * factor, model) for fids in (*singles.fids, session.fids)]
        largest = max(_moved(one, other) for one, other in zip(before, after, strict=True))
        print(f"  {label:8s} {largest:.3f} SD (limit {MOVED_SD}){mark(largest <= MOVED_SD)}")
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = clock.fit(session.fids[order], model)
    back = np.argsort(order)
    restored = replace(shuffled, amplitudes=shuffled.amplitudes[back])
    largest = _moved(before[-1], restored)
    print(f"  order    {largest:.3f} SD (limit {MOVED_SD}){mark(largest <= MOVED_SD)}")


def _moved(before: FitResult, after: FitResult) -> float:
    """Largest difference of the ratios of two fits in standard deviations of the first."""
    names, largest = before.names, 0.0
    for quantity in LEVELS:
        above, below = (uncertainty.weights_of(names, part) for part in quantity.split("/"))
        for block, amplitudes in enumerate(after.amplitudes):
            value, sd = ratio_of(before, quantity, block)
            largest = max(largest, abs((above @ amplitudes) / (below @ amplitudes) - value) / sd)
    return largest


def picture(fits: dict[str, FitResult], stem: Path) -> Path:
    """Draw data, fit, baseline and residual of fits, one above the other."""
    from mrsflow.reporting import figures

    with figures.style():
        figure, panels = figures.new_figure(50 * len(fits), nrows=len(fits), sharex=True, squeeze=False)
        for axes, (title, result) in zip(panels[:, 0], fits.items(), strict=True):
            top = result.data[0].max()
            axes.plot(result.ppm, result.data[0], "k", linewidth=0.6, label="data")
            axes.plot(result.ppm, result.fit[0], "C3", linewidth=0.8, label="fit")
            axes.plot(result.ppm, result.baseline[0], "C0", linewidth=0.8, label="baseline")
            axes.plot(result.ppm, result.data[0] - result.fit[0] + 1.1 * top, "0.5", linewidth=0.5, label="residual")
            axes.set(title=title, yticks=[])
        figures.ppm_axis_of(panels[-1, 0], (0.2, 4.2))
        figures.legend_below(figure, panels[0, 0])
        stem.parent.mkdir(parents=True, exist_ok=True)
        return figures.save(figure, stem)[0]


PARTS: dict[str, Callable[[Options], None]] = {
    "levels": part_levels,
    "noise": part_noise,
    "courses": part_courses,
    "response": part_response,
    "extra": part_extra,
    "wrong": part_wrong,
    "bold": part_bold,
    "real": part_real,
    "cost": part_cost,
    "invariance": part_invariance,
}
