"""Figures of the fit on scans in vivo: the parts of ``fit_truth.py`` that read ``reference/real`` and ``bold``."""

import numpy as np
import pandas as pd
from foreign_sets import (
    AGREEMENT,
    BUILD,
    FITTED_PPM,
    SHARED,
    UNCHANGING,
    Clock,
    Options,
    doubts,
    errors_of_lcmodel,
    mark,
    own_basis,
    picture,
    ratio_of,
    rms,
    se,
    with_macromolecules,
)
from numpy.typing import NDArray
from scipy import optimize

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.fitting import dynamic, uncertainty
from mrsflow.fitting.fit_model import Model

REAL, BOLD = (SHARED / "reference" / name for name in ("real", "bold"))
STILL, ALWAYS_STILL = 6.0, 2.0
"""How far (%) noise added to a scan may move a ratio, and how far in any case."""
NEGATIVE = -2.0
"""Standard deviations below zero that a macromolecule may have."""
TOLD = {
    "3T": {"Glu": (0.16, 0.79), "Glx": (0.00, 0.47), "tNAA": (0.08, 0.17)},
    "7T": {"Glu": (0.08, 0.26), "Glx": (0.04, 0.25), "tNAA": (0.07, 0.11)},
}
"""Mean and SD (%) of FSL-MRS told the linewidth: Wilson, Finney, Clarke 2026 (wtclarke/fmrs_bold_dynamic_fitting)."""
BOLD_SD = {"Glu": 1.1, "Glx": 1.1, "tNAA": 1.4}
BOLD_BIAS = 0.15
STEP = 0.02
"""Part of its Glu that a session gains in the task where *bold_step* adds it."""
NARROWING_HZ = {"3T": 0.2, "7T": 0.46}
"""By which the lines of *bold* narrow in the task (Lorentzian)."""
STEP_SLOPE = (0.98, 1.02)


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


def part_bold_step(options: Options) -> None:
    """Slope of a step of Glu that is added to the same spectra: what the fit finds more, over what was added."""
    for field, narrowing in NARROWING_HZ.items():
        scan = nifti_mrs.read(BOLD / f"{field}_svs.nii.gz")
        design = pd.read_csv(BOLD / f"{field}_design.tsv", sep="\t")
        fids, clock = scan.ordered("DIM_DYN"), Clock()
        sampling = (scan.spectrometer_frequency, "1H", scan.dwell_time, fids.shape[-1])
        model = Model(basis_sets.match(basis_formats.load(BOLD / f"basis_{field}"), *sampling), FITTED_PPM)
        glu, time, slopes = model.names.index("Glu"), np.arange(fids.shape[-1]) * scan.dwell_time, []
        for name in list(dict.fromkeys(design["session"]))[:: options.every]:
            session = design[design["session"] == name]
            spectra, task = fids[session["spectrum"]], session["task"].to_numpy(float)
            amounts, decay = exact_line(spectra[task == 0].mean(axis=0), model)
            added = STEP * amounts[glu]
            line = model.basis.fids[glu] * decay * np.exp(np.pi * narrowing * time)
            terms = dynamic.terms(model.names, {"task": task}, len(task))
            both = [clock.fit(own, model, terms) for own in (spectra, spectra + added * np.outer(task, line))]
            found = [result.coefficients[result.terms.index(("Glu", "task"))] for result in both]
            slopes.append((found[1] - found[0]) / added)
        slope, error = float(np.mean(slopes)), se(np.array(slopes))
        print(
            f"  {field}: {clock}; {len(slopes)} sessions, slope {slope:.3f} +/- {error:.3f} (SE), "
            f"SD {np.std(slopes):.3f}{mark(STEP_SLOPE[0] <= slope <= STEP_SLOPE[1])}"
        )


def exact_line(mean: NDArray, model: Model) -> tuple[NDArray, NDArray]:
    """Amounts (M) and complex decay (n_points) of the Voigt line that fits a spectrum best.

    Widths, shift and phase are found to a thousandth: of what is added with a line 1 Hz too wide 5 % are not found.
    """
    time, at = np.arange(mean.size) * model.dwell_time, model.spectrum(mean)

    def fitted(shape: NDArray) -> tuple[float, NDArray, NDArray]:
        lorentz, gauss, shift, phase = shape
        decay = np.exp(-np.pi * lorentz * time - (np.pi * gauss * time) ** 2 / (4 * np.log(2)))
        decay = decay * np.exp(2j * np.pi * shift * time + 1j * phase)
        spectra = model.spectrum(model.basis.fids * decay)
        columns = np.concatenate([spectra.real, spectra.imag], axis=-1).T
        amounts, *_ = np.linalg.lstsq(columns, np.concatenate([at.real, at.imag]), rcond=None)
        return float(np.sum(np.abs(amounts @ spectra - at) ** 2)), amounts, decay

    start = min(((1.0, gauss, 0.0, 0.0) for gauss in np.arange(4.0, 14.0)), key=lambda shape: fitted(shape)[0])
    options = {"xatol": 1e-3, "fatol": 1e-7 * fitted(start)[0], "maxiter": 500}
    best = optimize.minimize(lambda shape: fitted(shape)[0], start, method="Nelder-Mead", options=options)
    _, amounts, decay = fitted(best.x)
    return amounts, decay


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
        fids, model = spectra_and_model(scan, options)
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


def spectra_and_model(scan: tuple, options: Options) -> tuple[NDArray, Model]:
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
