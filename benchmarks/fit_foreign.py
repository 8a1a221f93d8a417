"""Figures of the fit on signals that are not its own: vendor basis sets, measured macromolecules, scans in vivo.

The parts of ``fit_truth.py`` that read ``reference/foreign`` and, through `fit_in_vivo` and `fit_twins`, ``real`` and
``bold`` of the shared data; their READMEs say how these were made. Every figure stands beside its limit and, where that
is missed, the word SHORT.
"""

from collections.abc import Callable
from dataclasses import replace

import fit_in_vivo
import fit_twins
import numpy as np
import pandas as pd
from foreign_sets import (
    AGREEMENT,
    BUILD,
    DOUBTFUL_SNR,
    FITTED_PPM,
    UNCHANGING,
    Clock,
    Options,
    calibrated,
    change_of,
    doubts,
    errors_of_lcmodel,
    estimates,
    load,
    mark,
    model_for,
    print_doubtful,
    ratio_of,
    rms,
    se,
    sequence_of,
    slope_of,
    true_ratio,
)
from numpy.typing import NDArray

from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import extra_signals, sequences
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.fitting import dynamic, uncertainty
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.fit_model import Model

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
CONSTANT = ("Glx/tNAA", "Glu/tCr")
FALSE_CHANGE = 1.0
RESPONSES = {"Glu": ("Glu/tCr", "Glx/tNAA"), "Gln": ("Gln/tCr",), "NAA+NAAG": ("tNAA/tCr",)}
"""What changes in the sets of *response*, and the ratios that show it."""
SLOPE = (0.95, 1.05)
MOVED_SD = 0.1
"""What the input's order, shift, phase and unit may change, in standard deviations."""
NAMED_PERCENT = 90.0
"""Part of wrong results that must be doubtful or failed."""
CORRUPTED = 1.0
"""What a bad block may change in its neighbours, %."""


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
            wider = Model(extra_signals.add(model.basis, (name,), sequence_of("siemens", 35)), FITTED_PPM)
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


PARTS: dict[str, Callable[[Options], None]] = {
    "levels": part_levels,
    "noise": part_noise,
    "courses": part_courses,
    "response": part_response,
    "extra": part_extra,
    "wrong": part_wrong,
    "bold": fit_in_vivo.part_bold,
    "bold_step": fit_in_vivo.part_bold_step,
    "real": fit_in_vivo.part_real,
    "twins": fit_twins.part_twins,
    "cost": part_cost,
    "invariance": part_invariance,
}
