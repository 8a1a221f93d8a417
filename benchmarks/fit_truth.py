"""Print what the fit achieves on spectra of known truth, beside the peers' results and the Cramér-Rao bounds.

Needs the reference data (environment variable MRSFLOW_SHARED, by default ../shared). A part of the figures, here every
fourth spectrum or session: ``python benchmarks/fit_truth.py --parts main paired --every 4``. The parts of
`fit_foreign` take the basis from ``--basis own`` (simulated) or ``--basis vendor``:
``python benchmarks/fit_truth.py --parts levels response --basis vendor``.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import mrsflow  # noqa: F401  (one BLAS thread, before numpy)

# isort: split
import fit_foreign
import numpy as np
import pandas as pd
from fit_simulation import LINE_SHAPES, spectra_of
from foreign_sets import SHARED, Options, change_of, doubts, picture, rms, slope_of

from mrsflow import nifti_mrs, water
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.conversion.convert import convert_by_hand
from mrsflow.errors import InputError
from mrsflow.fitting import amounts, dynamic, fit, fit_solver, uncertainty
from mrsflow.fitting.fit_model import Model
from mrsflow.run import run

TRUTH = SHARED / "reference" / "truth"
STRONG = ("Glx/tNAA", "Glx/tCr", "Glu/tCr", "Ins/tCr", "tCho/tCr", "tNAA/tCr")
RATIOS = (*STRONG, "Gln/tCr", "GABA/tCr", "GSH/tCr")
COMPARED = ("Glx/tCr", "Glu/tCr", "Ins/tCr", "tCho/tCr")
CALIBRATED = ("Glu", "Gln", "NAA", "tCr", "Glx/tNAA")
MM_PER_UNIT = 1 / 0.829
"""The truth's signals are 0.829 times the basis for each mM."""
PARTS = (
    "main", "chance", "spiked", "repeat", "paired", "prior", "dynamic", "narrowing", "starts", "shapes", "challenge",
    "philips",
)  # fmt: skip


def load(name: str, every: int = 1) -> tuple[np.ndarray, pd.DataFrame]:
    """Spectra and truth of one set, every n-th."""
    fids = nifti_mrs.read(TRUTH / f"{name}_svs.nii.gz").ordered("DIM_DYN")
    truth = pd.read_csv(TRUTH / f"{name}_truth.tsv", sep="\t")
    return fids[::every], truth.iloc[::every].reset_index(drop=True)


def the_model(ppm: tuple[float, float] = (0.5, 4.2)) -> Model:
    """Model with the basis of the fitting challenge."""
    basis = basis_formats.load(SHARED / "data" / "fitting-challenge" / "basisset_LCModel" / "press3T_30ms.BASIS")
    return Model(basis_sets.match(basis, 123.261703, "1H", 0.25e-3, 2048), ppm)


def value(names: tuple[str, ...], quantity: str, amplitudes: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Amplitude (mM) or ratio with its SD."""
    parts = [uncertainty.weights_of(names, part) for part in quantity.split("/")]
    if len(parts) == 2:
        return uncertainty.ratio(*parts, amplitudes, covariance)
    found, sd = uncertainty.total(parts[0], amplitudes, covariance)
    return found * MM_PER_UNIT, sd * MM_PER_UNIT


def true_value(names: tuple[str, ...], quantity: str, row: pd.Series) -> float:
    """Value of a quantity in the truth."""
    amplitudes = row[list(names)].to_numpy(float) / MM_PER_UNIT
    return value(names, quantity, amplitudes, np.eye(len(names)))[0]


def table_of(model: Model, results: list, truth: pd.DataFrame, quantities: tuple[str, ...]) -> pd.DataFrame:
    """Estimate, SD and truth of quantities: a row for each spectrum and quantity."""
    rows = []
    for number, result in enumerate(results):
        for quantity in quantities:
            found, sd = value(model.names, quantity, result.amplitudes[0], result.covariance[0])
            rows.append((number, quantity, found, sd, true_value(model.names, quantity, truth.iloc[number])))
    table = pd.DataFrame(rows, columns=["number", "quantity", "value", "sd", "truth"])
    table["error"] = 100 * (table["value"] / table["truth"] - 1)
    table["z"] = (table["value"] - table["truth"]) / table["sd"]
    return table


def fit_all(model: Model, fids: np.ndarray) -> list:
    """Fit every spectrum alone; print the cost."""
    start = time.process_time()
    results = [fit.fit_session(fid, model) for fid in fids]
    spent = (time.process_time() - start) / len(fids)
    print(f"  {spent:.3f} CPU-s a spectrum (limit 0.3; LCModel 3.1, FSL-MRS 4.3)")
    return results


def part_main(model: Model, every: int) -> None:
    """RMSE, bias and correlation of nine ratios beside the peers and the full bound."""
    fids, truth = load("main", every)
    results = fit_all(model, fids)
    table = table_of(model, results, truth, tuple(dict.fromkeys((*RATIOS, *CALIBRATED))))
    bounds = pd.read_csv(TRUTH / "bounds.tsv", sep="\t").query("set == 'main' and model == 'full'")
    bounds = bounds.pivot(index="spectrum", columns="quantity", values="sd_percent").iloc[::every]
    peers = pd.read_csv(TRUTH.parent / "peers_summary.tsv", sep="\t").query("set == 'main'")
    for artefact, suffix in ((0, "clean"), (1, "art")):
        chosen = np.flatnonzero(truth["artefact"] == artefact)
        print(f"  {suffix} ({chosen.size}): RMSE %, full bound %, ratio; bias +/- SE %; r; best peer's RMSE %, r")
        for quantity in RATIOS:
            own = table[(table["quantity"] == quantity) & table["number"].isin(chosen)]
            bound = rms(bounds[quantity].to_numpy()[chosen])
            peer = peers[peers["quantity"] == quantity]
            error = own["error"].to_numpy()
            r = np.corrcoef(own["value"], own["truth"])[0, 1]
            print(
                f"    {quantity:9s} {rms(error):6.2f} {bound:6.2f} {rms(error) / bound:5.2f}   {error.mean():+6.2f} "
                f"+/- {error.std() / np.sqrt(error.size):4.2f}   {r:5.3f}   {peer[f'rmse_{suffix}'].min():6.2f} "
                f"{peer[f'r_{suffix}'].max():5.3f}"
            )
    print_calibration(table)
    clear = [r for r, snr, art in zip(results, truth["snr"], truth["artefact"], strict=True) if snr >= 40 and not art]
    doubtful = [reason for result in clear for reason in doubts(result) if reason]
    print(f"  doubtful of the clean ones at SNR >= 40: {len(doubtful)} of {len(clear)} (limit 5 %)")
    left = [row["residual_ratio"] for result in results for row in result.quality]
    print(f"  residual SD / noise SD: mean {np.mean(left):.3f}, largest {np.max(left):.3f}")


def print_calibration(table: pd.DataFrame) -> None:
    """Print the root mean square of (estimate - truth) / sd."""
    found = {q: rms(table.loc[table["quantity"] == q, "z"]) for q in CALIBRATED}
    print("  rms of (estimate - truth)/sd (0.85 to 1.15):", ", ".join(f"{q} {z:.2f}" for q, z in found.items()))


def part_spiked(model: Model, every: int) -> None:
    """Rise of a fitted amplitude when 1 mM of its own signal is added (0.9 to 1.05 mM)."""
    base, _ = load("main")
    fids, truth = load("spiked", every)
    rises: dict[str, list[float]] = {}
    for fid, row in zip(fids, truth.itertuples(), strict=True):
        weights = uncertainty.weights_of(model.names, row.metabolite)
        before, after = (fit.fit_session(spectrum, model).amplitudes[0] @ weights for spectrum in (base[row.base], fid))
        rises.setdefault(row.metabolite, []).append((after - before) * MM_PER_UNIT)
    for name, rise in rises.items():
        print(f"  {name:5s} {np.mean(rise):.3f} mM +/- {np.std(rise) / np.sqrt(len(rise)):.3f} ({len(rise)} spectra)")


def part_repeat(model: Model, every: int) -> None:
    """Scatter over noise draws of one spectrum, reported SD over scatter, bias (limit 3 %): singly and as sessions.

    Beside the bias stands the one of usual size in a single spectrum: over many spectra, whose shapes vary as the
    bound assumes, an estimate at the bound with this scatter has a bias of that root mean square. As blocks of
    sessions, which share their shape, the same spectra tell more about it.
    """
    fids, truth = load("repeat", every)
    bounds = pd.read_csv(TRUTH / "bounds.tsv", sep="\t").query("set == 'repeat' and model == 'full'")
    bounds = bounds.set_index("quantity")["sd_percent"]
    table = table_of(model, fit_all(model, fids), truth, (*RATIOS, "Glu"))
    print_scatter("singly", table, bounds)
    n = 10
    sessions = [fit.fit_session(fids[first : first + n], model) for first in range(0, len(fids) - n + 1, n)]
    blocks = [
        SimpleNamespace(amplitudes=[amplitudes], covariance=[covariance])
        for result in sessions
        for amplitudes, covariance in zip(result.amplitudes, result.covariance, strict=True)
    ]
    print_scatter(f"in sessions of {n} blocks", table_of(model, blocks, truth, (*RATIOS, "Glu")), bounds)


def print_scatter(label: str, table: pd.DataFrame, bounds: pd.Series) -> None:
    """Print bias, scatter and reported SD of each quantity over noise draws."""
    print(f"  {label}: quantity, bias % (usual size), scatter %, full bound %, reported SD / scatter (1.0 to 1.3)")
    for quantity, own in table.groupby("quantity", sort=False):
        bias, scatter, reported = own["error"].mean(), own["error"].std(), rms(own["sd"] / own["truth"]) * 100
        usual = np.sqrt(max(bounds[quantity] ** 2 - scatter**2, 0.0))
        numbers = f"{bias:+7.2f} ({usual:5.2f}) {scatter:6.2f} {bounds[quantity]:6.2f} {reported / scatter:5.2f}"
        print(f"    {quantity:9s} {numbers}")


def part_chance(model: Model, every: int) -> None:
    """Part of the bias of the weak three on clean *main* that is this set's noise.

    With all metabolites held at the truth and all else free, what a fit leaves is nearly the noise itself. The
    response of the ordinary fit to it, linear in the noise, is what noise did to the estimate.
    """
    fids, truth = load("main", every)
    names, weak = model.names, RATIOS[-3:]
    rows = []
    for number in np.flatnonzero(truth["artefact"] == 0):
        ordinary, row = fit.fit_session(fids[number], model).amplitudes[0], truth.iloc[number]
        fid, noise = model.with_whole_first_point(fids[number]), fit.noise_sd(fids[number], model)
        known = row[list(names)].to_numpy(float) / MM_PER_UNIT
        fixed = np.diag(
            np.where(np.array(names) == "Mac", 0.0, 1e8)
        )  # the truth has another unit of Mac than the basis
        soft = amounts.Amounts(known, fixed, np.zeros(len(names)))
        session = fit_solver.Session(model, model.spectrum(fid)[np.newaxis] / noise, np.ones(1), noise, amounts=soft)
        start, n = fit.recognised_start(fid, model), model.shape.n_common
        local, shared = np.zeros((1, session.n_local)), np.zeros(session.n_shared)
        local[0, session.common], shared[session.own] = start[:n], start[n:]
        state, _ = fit_solver.maximise(session, local, shared, evidence=fit_solver.EVIDENCE_STEPS)
        data = fit_solver.normal_equations(session, state)
        plain = replace(session, prior_weight=fit.PRIOR_WEIGHT, amounts=amounts.usual(ordinary, model))
        for name, group in plain.groups.items():
            group.precision = session.groups[name].precision
        by_noise = data.local_right, data.shared_right
        moved = fit_solver.Factor(fit_solver.with_prior(plain.prior_weight, data, plain.prior())).solve(*by_noise)[0][
            0, : len(names)
        ]
        for quantity in weak:
            true = true_value(names, quantity, row)
            values = [value(names, quantity, a, np.eye(len(names)))[0] for a in (ordinary, known, known + moved)]
            rows.append((quantity, 100 * (values[0] / true - 1), 100 * (values[2] - values[1]) / true))
    for quantity, own in pd.DataFrame(rows, columns=["quantity", "error", "noise"]).groupby("quantity", sort=False):
        error, noise = own["error"], own["noise"]
        se = [column.std() / np.sqrt(len(own)) for column in (error, noise, error - noise)]
        print(
            f"  {quantity}: bias {error.mean():+.1f} +/- {se[0]:.1f} %, by noise {noise.mean():+.1f} +/- {se[1]:.1f}, "
            f"rest {(error - noise).mean():+.1f} +/- {se[2]:.1f}"
        )


def print_changes(label: str, values: np.ndarray, truths: np.ndarray) -> None:
    """One-block SD and slope of the change from the first block; arrays are (sessions, blocks)."""
    change = 100 * (values / values[:, :1] - 1)[:, 1:]
    true = 100 * (truths / truths[:, :1] - 1)[:, 1:]
    centred = [100 * (x / x.mean(axis=1, keepdims=True) - 1).ravel() for x in (truths, values)]
    slope = np.polyfit(*centred, 1)[0]
    print(
        f"  {label}: change_sd/sqrt(2) {np.std(change - true) / np.sqrt(2):.2f} %, "
        f"bias {np.mean(change - true):+.2f} %, "
        f"slope {slope:.3f} (0.95 to 1.05)"
    )


def part_paired(model: Model, every: int) -> None:
    """Compare changes of Glx/tNAA over a session's blocks, fitted singly (limit 3.4 %) and jointly (limit 3.0 %)."""
    fids, truth = load("paired")
    fids, sessions = fids.reshape(20, 8, -1)[::every], range(0, 20, every)
    rows = [truth.iloc[8 * s + b] for s in sessions for b in range(8)]
    truths = np.array([true_value(model.names, "Glx/tNAA", row) for row in rows]).reshape(-1, 8)
    results = fit_all(model, fids.reshape(-1, fids.shape[-1]))
    table = table_of(model, results, pd.DataFrame(rows), tuple(dict.fromkeys(("Glx/tNAA", *CALIBRATED))))
    singly = table.loc[table["quantity"] == "Glx/tNAA", "value"].to_numpy().reshape(truths.shape)
    print_changes("singly", singly, truths)
    print_calibration(table)
    start, joint = time.process_time(), []
    for session in fids:
        result = fit.fit_session(session, model)
        joint.append(
            [value(model.names, "Glx/tNAA", a, c)[0] for a, c in zip(result.amplitudes, result.covariance, strict=True)]
        )
    print_changes("jointly", np.array(joint), truths)
    print(f"  {(time.process_time() - start) / len(fids):.2f} CPU-s a session of 8 blocks")


def part_prior(model: Model, every: int) -> None:
    """Show the price of `fit.PRIOR_WEIGHT`: change of Glx/tNAA on *paired*, error with new shapes and noise."""
    fids, truth = load("paired")
    truths = np.array([true_value(model.names, "Glx/tNAA", row) for _, row in truth.iterrows()]).reshape(20, 8)[::every]
    blocks = fids.reshape(20, 8, -1)[::every]
    _, main_truth = load("main", every)
    main_truth = main_truth[main_truth["artefact"] == 0].reset_index(drop=True)
    new = spectra_of(main_truth, model, "voigt", seed=31)
    chosen = fit.PRIOR_WEIGHT
    for fit.PRIOR_WEIGHT in (1.0, 2.0, 4.0, 8.0):
        results = [fit.fit_session(fid, model) for session in blocks for fid in session]
        values = [value(model.names, "Glx/tNAA", r.amplitudes[0], r.covariance[0])[0] for r in results]
        print_changes(f"prior {fit.PRIOR_WEIGHT:g}", np.reshape(values, truths.shape), truths)
        table = table_of(model, [fit.fit_session(fid, model) for fid in new], main_truth, RATIOS)
        errors = table.groupby("quantity", sort=False)["error"].apply(rms)
        print("    RMSE %: " + ", ".join(f"{quantity} {error:.2f}" for quantity, error in errors.items()))
    fit.PRIOR_WEIGHT = chosen


def part_dynamic(model: Model, every: int) -> None:
    """Change of Glx/tNAA by the dynamic model with the true time course: SE over that of single fits (limit 0.6).

    With every metabolite on the course, and with all but Glu, which alone changes, held constant.
    """
    fids, truth = load("paired")
    course = np.array([0, 2, 4, 6, 8, 8, 6, 4]) / 8
    others = tuple(name for name in model.names if name != "Glu")
    errors: dict[str, list] = {"all on the course": [], "others constant": [], "single fits": []}
    start = time.process_time()
    for session in range(0, 20, every):
        blocks = fids[8 * session : 8 * session + 8]
        values = np.array([true_value(model.names, "Glx/tNAA", truth.iloc[8 * session + b]) for b in range(8)])
        true, _ = slope_of(values, course)
        for label, constant in (("all on the course", ()), ("others constant", others)):
            terms = dynamic.terms(model.names, {"course": course}, 8, constant)
            found, sd = change_of(fit.fit_session(blocks, model, terms), "Glx/tNAA", course)
            errors[label].append((100 * (found - true), 100 * sd))
        ends = [fit.fit_session(blocks[b], model) for b in (0, 4)]
        first, last = (value(model.names, "Glx/tNAA", r.amplitudes[0], r.covariance[0])[0] for r in ends)
        errors["single fits"].append((100 * (last / first - values[4] / values[0]), np.nan))
    singly = rms(np.array(errors["single fits"])[:, 0])
    for label, pairs in errors.items():
        error, sd = np.array(pairs).T
        print(
            f"  {label}: SE of the change {rms(error):.2f} %, bias {error.mean():+.2f} %, reported {rms(sd):.2f} %, "
            f"rms z {rms(error / sd):.2f}; over that of single fits {rms(error) / singly:.2f}"
        )
    print(f"  {(time.process_time() - start) / len(errors['single fits']):.2f} CPU-s a session, all of these")


def part_narrowing(model: Model, _: int) -> None:
    """Find the false change of Glx/tNAA when lines narrow by 0.3 Hz between two noise-free blocks (limit 0.2 %)."""
    truth = pd.read_csv(TRUTH / "repeat_truth.tsv", sep="\t")
    fid = spectra_of(truth.head(1), model, "voigt", seed=5, noise=False)[0]
    time_axis = np.arange(fid.size) * model.dwell_time
    pair = np.array([fid * np.exp(-np.pi * 0.3 * time_axis), fid])
    together = fit.fit_session(pair, model)
    apart = [fit.fit_session(one, model) for one in pair]
    for label, amplitudes in (("jointly", together.amplitudes), ("singly", np.array([r.amplitudes[0] for r in apart]))):
        first, second = (value(model.names, "Glx/tNAA", a, np.eye(a.size))[0] for a in amplitudes)
        print(f"  {label}: {100 * (second / first - 1):+.3f} %")


def part_starts(model: Model, every: int) -> None:
    """Share of spectra whose refits from 20 random starts end within 1 % in Glu and tCr (limit 99 %)."""
    fids, _ = load("main", every)
    generator, good, worst = np.random.default_rng(20), 0, 0.0
    for fid in fids:
        found = [fit.fit_session(fid, model).amplitudes[0]]
        found += [
            fit.fit_session(fid, model, start=fit.random_start(fid, model, generator)).amplitudes[0] for _ in range(20)
        ]
        values = np.array([[uncertainty.weights_of(model.names, q) @ a for q in ("Glu", "tCr")] for a in found])
        off = np.max(np.abs(values / values[0] - 1))
        good, worst = good + (off < 0.01), max(worst, off)
    print(f"  {good} of {len(fids)} spectra ({100 * good / len(fids):.1f} %); largest difference {100 * worst:.2f} %")


def part_shapes(model: Model, every: int) -> None:
    """RMSE of the ratios for other line shapes over that for Voigt lines (limit 1.25), same truth and noise."""
    _, truth = load("main", every)
    truth = truth[truth["artefact"] == 0].reset_index(drop=True)
    reference: dict[str, float] = {}
    for shape in LINE_SHAPES:
        results = fit_all(model, spectra_of(truth, model, shape, seed=7))
        table = table_of(model, results, truth, tuple(dict.fromkeys((*RATIOS, *CALIBRATED))))
        found = {q: rms(table.loc[table["quantity"] == q, "error"]) for q in RATIOS}
        reference = reference or found
        print(f"  {shape}: " + ", ".join(f"{q} {v:.1f} % ({v / reference[q]:.2f})" for q, v in found.items()))
        print_calibration(table)


def part_challenge(model: Model, _: int) -> None:
    """Ratios on eight spectra of the fitting challenge beside the peers', and their medians."""
    peers = pd.read_csv(SHARED / "reference" / "challenge8_ratios.csv")
    own = []
    for name in dict.fromkeys(peers["id"]):
        columns = np.loadtxt(SHARED / "data" / "fitting-challenge" / "datasets_text" / f"{name}.txt")
        fid = columns[:, 0] + 1j * columns[:, 1]
        try:
            result = fit.fit_session(fid, model)
        except fit.FitError as error:
            print(f"  {name}: {error}")
            continue
        row = {q: value(model.names, q, result.amplitudes[0], result.covariance[0])[0] for q in RATIOS}
        own.append({"id": name, "program": "mrsflow", **row})
        print(f"  {name}: residual/noise {result.quality[0]['residual_ratio']:.2f}")
    both = pd.concat([peers, pd.DataFrame(own)]).sort_values("id", kind="stable")
    print(both[["id", "program", *[q for q in RATIOS if q in both]]].round(3).to_string(index=False))
    print(both.groupby("program")[list(COMPARED)].median().round(3).to_string())


def part_philips(_model: Model, _every: int) -> None:
    """Ratios of a Philips scan (TE 30, basis for TE 35) beside the peers' (limit 15 %), and a picture of the fits."""
    scans = SHARED / "data" / "philips-sdat-press30-t1w" / "mrs"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scan.nii.gz"
        read = []
        for name, kind in (("press", "act"), ("press_ref", "ref")):
            convert_by_hand([scans / f"sub-01_ses-01_{name}" / f"sub-01_ses-01_PRESS_raw-{kind}_noID.SDAT"], out, {})
            read.append(nifti_mrs.read(out))
    scan, reference = read
    published = basis_formats.load(SHARED / "data" / "basis" / "3T_PRESS_Philips_35ms_noMM.BASIS")
    basis = basis_sets.match(published, scan.spectrometer_frequency, "1H", scan.dwell_time, scan.fid.size)
    fids = {"as read": scan.fid, "eddy currents corrected": water.correct_eddy_currents(scan.fid, reference.fid)}
    rows, fits = [], {}
    for low, high in ((0.2, 4.0), (0.5, 4.2)):
        model = Model(basis, (low, high))
        for label, fid in fids.items():
            fits[f"{high:g} to {low:g} ppm, {label}"] = result = fit.fit_session(fid, model)
            ratios = [value(model.names, q, result.amplitudes[0], result.covariance[0])[0] for q in COMPARED]
            quality = result.quality[0]
            rows.append((f"mrsflow, {high:g} to {low:g} ppm, {label}", *ratios, quality["residual_ratio"]))
    peers = pd.read_csv(SHARED / "reference" / "philips_ratios.csv")
    peers = peers.assign(program=peers["run"])[["program", *COMPARED]]
    own = pd.DataFrame(rows, columns=["program", *COMPARED, "residual/noise"])
    print(pd.concat([peers, own]).round(3).to_string(index=False))
    print(f"  picture: {picture(fits, Path('build/fit_truth/philips'))}")


def main(
    parts: list[str] | None = None, every: int = 1, basis: Literal["own", "vendor"] = "own", own_basis: str = ""
) -> None:
    """Print the figures of the fit on spectra of known truth.

    Parameters
    ----------
    parts : list of str
        Which figures: with the basis of the fitting challenge main, chance, spiked, repeat, paired, prior, dynamic,
        narrowing, starts, shapes, challenge and philips; with that of ``--basis`` levels, noise, courses, response,
        extra, wrong, bold, bold_step, real, twins, cost and invariance; default: all.
    every : int
        Use every n-th spectrum, voxel or session only.
    basis : str
        Simulated; or the vendor's (*real*: the one LCModel was given), with our macromolecules where it has none.
    own_basis : str
        Files instead of simulated sets: a path with {name} for siemens, ge, philips, siemens30 and philips30.
    """
    known = (*PARTS, *fit_foreign.PARTS)
    if unknown := set(parts or known) - set(known):
        raise InputError(f"--parts: {', '.join(sorted(unknown))} not known; choose of {', '.join(known)}")
    model, options = the_model(), Options(basis, every, own_basis)
    for name in parts or known:
        part: Callable = fit_foreign.PARTS.get(name) or globals()[f"part_{name}"]
        print(f"{name}: {str(part.__doc__).splitlines()[0]}", flush=True)
        _ = part(options) if name in fit_foreign.PARTS else part(model, every)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB (limit 300)")


if __name__ == "__main__":
    run(main)
