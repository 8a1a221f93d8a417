"""What the parts of the figures on foreign signals share: the sets, the models, fits and what is printed of them."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, broad_lines, macromolecules, presets, sequences
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.fitting import dynamic, fit, uncertainty
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.fit_model import Model

SHARED = Path(os.environ.get("MRSFLOW_SHARED", Path(__file__).resolve().parents[2] / "shared"))
FOREIGN = SHARED / "reference" / "foreign"
BUILD = Path("build/fit_truth")
FITTED_PPM = (0.5, 4.2)
PRESETS = {"siemens": "siemens_svs_se", "ge": "ge_probe_p", "philips": "philips_press"}
CALIBRATED = (0.8, 1.3)
DOUBTFUL_PERCENT, DOUBTFUL_SNR = 5.0, 40.0
AGREEMENT = {"tNAA/tCr": 10, "tCho/tCr": 10, "Ins/tCr": 10, "Glx/tCr": 15}
"""Largest difference (%) from LCModel in vivo."""
UNCHANGING = ("Glx/tNAA", "Glx/tCr", "Ins/tCr", "tNAA/tCr")


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


def own_basis(vendor: str, echo_time_ms: float, frequency: float, pattern: str = "") -> Basis:
    """Simulate the basis set of a vendor's PRESS by its preset, macromolecules included."""
    if pattern:
        return basis_formats.load(pattern.format(name=vendor + ("" if echo_time_ms == 35 else f"{echo_time_ms:g}")))
    return sequences.cached(BUILD / "basis", sequence_of(vendor, echo_time_ms), frequency, macromolecules=True)


def sequence_of(vendor: str, echo_time_ms: float) -> Sequence:
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
