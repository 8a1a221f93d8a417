"""Linear-combination fit of single-voxel spectra: one block alone, or the blocks of a session together.

`fit_session` is the way in. The model of a spectrum is in `fit_model` and `nuisance`, the search in `fit_solver`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from mrsflow import axes
from mrsflow.errors import InputError
from mrsflow.fitting import fit_quality, fit_solver, uncertainty
from mrsflow.fitting.dynamic import Terms
from mrsflow.fitting.fit_model import (
    SD_BROAD_BROADENING_HZ,
    SD_BROAD_REFERENCE_PPM,
    SD_BROAD_SHIFT_PPM,
    SD_BROADENING_HZ,
    SD_EDDY_HZ,
    SD_FIRST_ORDER_RAD,
    SD_SHIFT_HZ,
    Model,
)
from mrsflow.fitting.fit_solver import Amounts, Session, State

TEMPLATE = {"NAA": 10.0, "Cr": 4.5, "PCr": 4.5, "GPC": 1.2, "PCh": 0.6, "PCho": 0.6, "tCr": 9.0, "tNAA": 10.0}
"""Signals by which a spectrum is recognised, in typical amounts (mM)."""
MINOR = {"Asp": 0.05, "Asc": 0.04, "PE": 0.06, "Tau": 0.06, "Gly": 0.03, "Ala": 0.013, "sIns": 0.015}
"""Minor metabolites as parts of tNAA + tCr + 3 tCho in healthy brain (Govindaraju et al. 2000, NMR Biomed. 13:129)."""
MINOR_SPREAD = 1.0
"""Standard deviation of these parts, relative: that of LCModel's ratio priors for such metabolites."""
MACROMOLECULES = ("MM09", "MM12", "MM14", "MM17", "MM20", "MM22", "MM26", "MM30", "MM37")
"""Macromolecules of a simulated basis set, of which the brain has equal amounts; other sets have other proportions."""
MACROMOLECULE_PART, MACROMOLECULE_SPREAD = 0.25, 0.3
"""Their usual amount as part of tNAA + tCr + 3 tCho, and the standard deviation of one from the mean of all, as part of
that amount: between volunteers, echo times and scanners (``benchmarks/macromolecules.py``)."""
STEADY = 0.03
"""Standard deviation of macromolecules between the blocks of a session, as part of their amount: proteins do not change
within hours, and what moves the voxel changes metabolites alike."""
TEMPLATE_PPM = (1.8, 3.4)
START_WIDTH_HZ, START_GAUSS_HZ2 = 4.0, 16.0
LARGEST_SHIFT_PPM = 0.3
BROAD_STARTS_PPM = (-0.1, -0.05, 0.0, 0.05, 0.1)
"""Shifts of the macromolecules from which a fit starts; their posterior can have more than one mode."""
SIGNALS_PPM = ((-0.5, 5.5), (0.2, 5.0), (0.5, 4.2))
"""Noise is measured outside these ranges: the first that leaves enough."""
FLAT_PART = 0.8
"""Inner part of the receiver's band in which its filter is flat."""
MACROMOLECULE_MEAN_SPREAD = 0.4
LIPID_PARTS = ((0.27, 0.02), (0.15, 0.01))
PROFILE_PPM = 0.03
MISFIT_ROUNDS = 3
FIRST_STEPS = 6
EMPTY = {"tNAA": 0.01, "tCr": 0.1}
"""tNAA of less than this part of tCr, of either sign, is none: a test solution; likewise tCr, of tNAA."""
MINIMUM_SNR = 3.0
WRONG_WAY = 1.5
"""A spectrum runs the wrong way when its mirror image shows the singlets this much stronger."""
PLACES = 3
"""Places from which a fit is tried."""
MISFIT = 1.1
"""Residual SD over noise SD beyond which misfit counts as noise and the fit is done again."""
HELD = 1e2
"""How much more tightly (precision of the prior) own shapes are then held for each unit of misfit beyond that, so that
they do not bend to what the basis lacks."""
CAUTION = 1.0
"""A spectrum fitted alone holds every prior this much more tightly (in variance) than what it describes varies.

Such spectra are compared with others of the same voxel. What line shapes and baseline add to the error is common to
them, noise is not: of all estimates, those with the priors times c have the least sum of the variance by noise and 1/c
of that by the rest (ridge regression: Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634). Blocks fitted
together determine their shape well and need no caution. Standard deviations count both."""


class FitError(InputError):
    """A spectrum that cannot be fitted, with the reason."""


@dataclass(frozen=True)
class FitResult:
    """Fit of B blocks with a basis of M signals.

    Attributes
    ----------
    names : tuple of str
        Signals, as in the basis.
    amplitudes : (B, M) float
        Basis units.
    joint_covariance : (B·M, B·M) float
        Of all amplitudes, block after block: inverse Fisher information with every nuisance parameter and prior.
    quality : list of dict
        Per block, as `mrsflow.fitting.fit_quality` describes it.
    ppm : (P) float
        Fitted points.
    data, fit, baseline : (B, P) float
        Real spectra in units of the data, phase removed.
    components : (B, M, P) float
    constraints : str
        Every prior in use.
    coefficients, coefficient_covariance : (n) and (n, n) float
        What the amplitudes are composed of: themselves, or the terms of a dynamic fit.
    problems : tuple of str
        Per block why it has no amplitudes, empty where it has.
    terms : tuple of (metabolite, term)
        What the coefficients of a dynamic fit are.
    """

    names: tuple[str, ...]
    amplitudes: NDArray[np.floating]
    joint_covariance: NDArray[np.floating]
    quality: list[dict[str, Any]]
    ppm: NDArray[np.floating]
    data: NDArray[np.floating]
    fit: NDArray[np.floating]
    baseline: NDArray[np.floating]
    components: NDArray[np.floating]
    constraints: str
    coefficients: NDArray[np.floating]
    coefficient_covariance: NDArray[np.floating]
    problems: tuple[str, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()

    @property
    def covariance(self) -> NDArray[np.floating]:
        """Covariance (B, M, M) of the amplitudes of each block."""
        n_blocks, m = self.amplitudes.shape
        blocks = self.joint_covariance.reshape(n_blocks, m, n_blocks, m)
        return np.stack([blocks[b, :, b] for b in range(n_blocks)])


def fit_session(fids: ArrayLike, model: Model, terms: Terms | None = None, start: NDArray | None = None) -> FitResult:
    """Fit the blocks of a session together; one block is a session of its own.

    Parameters
    ----------
    fids : (B, n_points) or (n_points) complex
        Sampled as the basis of `model`.
    model : Model
        Basis and fitted range.
    terms : Terms, optional
        How amplitudes may change over the blocks; None: freely.
    start : (n) float, optional
        Shape parameters to start from (`random_start`); None: found by recognising the singlets.

    Raises
    ------
    FitError
        No spectrum could be fitted; the reason of the first.

    Notes
    -----
    A spectrum that holds no finite or no non-zero values, runs the wrong way, shows no signal or fits with tNAA <= 0
    is left out: its amplitudes are NaN and `problems` says why.
    """
    fids = np.atleast_2d(np.asarray(fids, dtype=complex))
    m = len(model.names)
    problems = [problem_with(fid, model) for fid in fids]
    good = [block for block, problem in enumerate(problems) if not problem]
    if not good:
        raise FitError(problems[0])
    matrix = None
    if terms is not None:
        rows = np.concatenate([np.arange(block * m, (block + 1) * m) for block in good])
        matrix = terms.matrix[rows]
        columns = np.flatnonzero(np.any(matrix, axis=0))
        matrix = matrix[:, columns]
    found = _fit_good(fids[good], model, matrix, start)
    for block, values, quality in zip(good, found.amplitudes, found.quality, strict=True):
        problems[block] = _problem_of(values, quality, model.names)
    result = _with_all_blocks(found, good, problems)
    if all(problems):
        raise FitError(problems[good[0]])
    if terms is None:
        return result
    return replace(result, terms=tuple(terms.names[c] for c in columns))


def _fit_good(fids: NDArray, model: Model, matrix: NDArray | None, start: NDArray | None) -> FitResult:
    fids = model.with_whole_first_point(fids)
    noise = np.array([noise_sd(fid, model) for fid in fids])
    unit = float(np.mean(noise**-2.0) ** -0.5)
    placed = [_recognise(fid, model) for fid in fids] if start is None else [_place_of(start, model)] * len(fids)
    places = np.array([(hz, phase) for hz, phase, _ in placed])
    turning = 2j * np.pi * places[:, :1] * model.time + 1j * places[:, 1:]
    spectra = model.spectrum(fids * np.exp(-turning)) / unit
    theta = _usual_shape(model) if start is None else _without_place(start, model)
    alone = len(fids) == 1
    weight = unit / noise
    mean = (weight**2 @ spectra / np.sum(weight**2))[np.newaxis]
    of_mean = np.array([np.sqrt(np.sum(weight**2))])
    terms = matrix if alone else None
    single = Session(model, mean, of_mean, unit, terms=terms, caution=CAUTION if alone else 1.0, lacking=False)
    state = _best_place(single, theta)
    amplitudes = single.amplitudes_of(state.local, state.shared, 0)
    place = state
    single = replace(single, amounts=usual_amounts(amplitudes, model), profile=_profile(single, state), lacking=True)
    shared = np.concatenate([place.shared, np.zeros(single.n_shared - place.shared.size)])
    state = _settled(single, place.local, shared)
    session = single
    if not alone:
        amplitudes = single.amplitudes_of(state.local, state.shared, 0)
        session = Session(
            model, spectra, weight.copy(), unit, matrix, usual_amounts(amplitudes, model), _profile(single, state)
        )
        state = _settled(session, *_spread(session, single, state))
    return _result(session, state, noise, places)


def _settled(session: Session, local: NDArray, shared: NDArray) -> State:
    """Climb until variances stand, and what the model still leaves counts as noise of its block."""
    state, _ = fit_solver.climb(session, local, shared, evidence=fit_solver.EVIDENCE_STEPS)
    for _ in range(MISFIT_ROUNDS):
        data = fit_solver.normal_equations(session, state)
        more = np.maximum(fit_solver.misfit(session, state, data, session.prior()), 1.0)
        if np.all(more < 1.02):
            break
        session.weight /= more
        state, _ = fit_solver.climb(session, state.local, state.shared, evidence=fit_solver.EVIDENCE_STEPS)
    return state


def _spread(session: Session, single: Session, state: State) -> tuple[NDArray, NDArray]:
    """Start of the blocks of a session from the fit of their mean."""
    m = len(session.model.names)
    local, shared = np.zeros((session.n_blocks, session.n_local)), np.zeros(session.n_shared)
    local[:, session.common] = state.local[0, single.common]
    shared[session.means] = state.local[0, single.common]
    shared[session.own] = state.shared[single.own]
    shared[session.nuisance] = state.shared[single.nuisance]
    if session.terms is None:
        local[:, :m] = state.local[0, :m]
        shared[session.steady_means] = state.local[0, session.steady]
    return local, shared


def _best_place(session: Session, theta: NDArray) -> State:
    """Short stiff fits from several places of the macromolecules; the best."""
    model = session.model
    n = model.shape.n_common
    found = []
    for ppm in BROAD_STARTS_PPM if model.broad.any() else (0.0,):
        local, shared = np.zeros((1, session.n_local)), np.zeros(session.n_shared)
        local[0, session.common] = theta[:n]
        own = theta[n:].copy()
        own[len(model.names) :] += np.where(model.broad, ppm * model.spectrometer_frequency, 0.0)
        shared[session.own] = own
        found.append(fit_solver.climb(session, local, shared, FIRST_STEPS, own=False)[0])
    return min(found, key=lambda state: state.objective)


def _profile(session: Session, state: State) -> NDArray[np.floating]:
    """Height of the metabolites of a fit at each point, a little smoothed: (P), in units of the session."""
    model = session.model
    amplitudes = session.amplitudes_of(state.local, state.shared, 0)
    height = np.abs(amplitudes[~model.broad] @ state.signals[0][~model.broad])
    reach = PROFILE_PPM / abs(model.ppm[1] - model.ppm[0])
    near = np.arange(-int(3 * reach), int(3 * reach) + 1)
    kernel = np.exp(-0.5 * (near / reach) ** 2)
    return np.convolve(height, kernel / kernel.sum(), mode="same")


def _major(amplitudes: NDArray, names: tuple[str, ...]) -> float:
    """Give tNAA + tCr + 3 tCho, of what the basis has."""
    parts = [(uncertainty.weights_of(names, name), k) for name, k in (("tNAA", 1), ("tCr", 1), ("tCho", 3))]
    return sum(k * float(weights @ amplitudes) for weights, k in parts if weights is not None)


def usual_amounts(amplitudes: NDArray, model: Model) -> Amounts:
    """Soft constraints: minor metabolites and macromolecules at their usual part of tNAA + tCr + 3 tCho."""
    total = max(_major(amplitudes, model.names), 0.0)
    expected = np.array([MINOR.get(name, 0.0) for name in model.names]) * total
    sd = MINOR_SPREAD * expected
    precision = np.diag(np.divide(1.0, sd**2, out=np.zeros_like(sd), where=sd > 0))
    if total > 0 and set(model.names).issuperset(MACROMOLECULES):
        members = np.array([model.names.index(name) for name in MACROMOLECULES])
        usual = MACROMOLECULE_PART * total
        expected[members] = usual
        mean = np.full((members.size, members.size), 1 / members.size)
        own = (np.eye(members.size) - mean) / (MACROMOLECULE_SPREAD * usual) ** 2
        precision[np.ix_(members, members)] += own + mean / members.size / (MACROMOLECULE_MEAN_SPREAD * usual) ** 2
    lipids = [model.names.index(name) if name in model.names else None for name in ("Lip13", "Lip09", "Lip20")]
    for k, (part, spread) in zip(lipids[1:], LIPID_PARTS, strict=True):
        if k is not None and lipids[0] is not None and total > 0:
            row = np.zeros(len(model.names))
            row[k], row[lipids[0]] = 1.0, -part
            precision += np.outer(row, row) / (spread * total) ** 2
    steady = np.array([name.startswith(("MM", "Mac")) for name in model.names]) & model.broad
    amount = np.abs(amplitudes[steady]).mean() if steady.any() else 0.0
    return Amounts(expected, precision, np.where(steady, amount, 0.0))


def _problem_of(amplitudes: NDArray, quality: dict[str, Any], names: tuple[str, ...]) -> str:
    """Why a fit cannot stand, empty where it can."""
    weights = {name: uncertainty.weights_of(names, name) for name in ("tNAA", "tCr")}
    amounts = {name: float(w @ amplitudes) for name, w in weights.items() if w is not None}
    for name, other in (("tNAA", "tCr"), ("tCr", "tNAA")):
        amount = amounts.get(name, np.inf)
        none = abs(amount) < EMPTY[name] * amounts.get(other, 0.0)  # a solution of one of them alone is no failure
        if not amount > 0 and not none:
            return f"the fit failed: {name} is {amount:.3g}, which is not positive"
    if _major(amplitudes, names) < 0:
        return f"the fit failed: tNAA + tCr + 3 tCho is {_major(amplitudes, names):.3g}, which is not positive"
    if not quality["snr"] > MINIMUM_SNR:
        return (
            f"no signal of the basis stands above the noise (SNR {quality['snr']:.1f}, at least {MINIMUM_SNR:g} needed)"
        )
    return ""


def _with_all_blocks(found: FitResult, good: list[int], problems: list[str]) -> FitResult:
    """Put the fitted blocks in their places among all, with NaN for those that have a problem."""
    n_all, m = len(problems), len(found.names)
    usable = [(new, old) for new, old in enumerate(good) if not problems[old]]
    places = np.concatenate([np.arange(m) + old * m for _, old in usable]) if usable else np.zeros(0, int)
    origin = np.concatenate([np.arange(m) + new * m for new, _ in usable]) if usable else np.zeros(0, int)
    joint = np.full((n_all * m, n_all * m), np.nan)
    joint[np.ix_(places, places)] = found.joint_covariance[np.ix_(origin, origin)]

    def spread(values: NDArray) -> NDArray:
        wide = np.full((n_all, *values.shape[1:]), np.nan)
        for new, old in usable:
            wide[old] = values[new]
        return wide

    quality: list[dict[str, Any]] = [{} for _ in problems]
    for new, old in enumerate(good):
        quality[old] = found.quality[new]
    curves = {name: spread(getattr(found, name)) for name in ("amplitudes", "data", "fit", "baseline", "components")}
    return replace(found, joint_covariance=joint, quality=quality, problems=tuple(problems), **curves)


def problem_with(fid: NDArray, model: Model) -> str:
    """Why a spectrum cannot be fitted, empty where it can: it is not of the kind that the basis describes."""
    if fid.size != model.n_points:
        return f"the spectrum has {fid.size} points where {model.n_points} are expected"
    if not np.all(np.isfinite(fid)):
        return "the spectrum holds NaN or infinite values"
    if not np.any(fid):
        return "the spectrum is zero everywhere"
    strength = _recognise(fid, model)[2]
    if _recognise(np.conj(fid), model)[2] > WRONG_WAY * strength:
        return "the spectrum runs the wrong way in frequency: its signals lie above the water; conjugate the FID"
    return ""


def noise_sd(fid: NDArray, model: Model) -> float:
    """SD of the noise of the real spectrum: median absolute difference of neighbouring points outside the signals.

    Of the receiver's band only the inner part counts, as its filter falls towards the edges: noise there is smaller than
    where the signals are.
    """
    hz = np.fft.fftfreq(fid.size, model.dwell_time)
    shift = axes.hz_to_ppm(hz, model.spectrometer_frequency)
    inner = np.abs(hz) < FLAT_PART * 0.5 / model.dwell_time
    for low, high in SIGNALS_PPM:
        free = np.fft.fftshift(inner & ((shift < low) | (shift > high)))
        if free.sum() >= 64:
            break
    steps = np.diff(axes.to_spectrum(fid))[free[1:] & free[:-1]] / np.sqrt(2)
    found = 1.4826 * np.median(np.abs(np.concatenate([steps.real, steps.imag])))
    if not found > 1e-9 * np.abs(fid).max():
        return float(1e-6 * np.abs(model.spectrum(fid)).max())
    return float(found)


def _recognise(fid: NDArray, model: Model) -> tuple[float, float, float]:
    """Shift (Hz), phase (rad) and strength of the singlets of the basis in a spectrum, by correlation."""
    weights = np.array([TEMPLATE.get(name, 0.0) for name in model.names])
    if not weights.any():
        weights = np.where(model.broad, 0.0, 1.0)
    template = (weights @ model.fids) * np.exp(-np.pi * 6 * model.time)
    shift = axes.hz_to_ppm(np.fft.fftfreq(fid.size, model.dwell_time), model.spectrometer_frequency)
    band = (shift > TEMPLATE_PPM[0]) & (shift < TEMPLATE_PPM[1])
    product = np.conj(template) * fft.ifft(fft.fft(fid) * band)
    fine = 8 * fid.size
    largest = int(LARGEST_SHIFT_PPM * model.spectrometer_frequency * fine * model.dwell_time)
    lags = np.arange(-largest, largest + 1)
    match = fft.fft(product, fine)[lags]
    best = int(np.argmax(np.abs(match)))
    return lags[best] / (fine * model.dwell_time), float(np.angle(match[best])), float(np.abs(match[best]))


def _usual_shape(model: Model) -> NDArray[np.floating]:
    theta = np.zeros(model.shape.size)
    theta[model.shape.lorentz], theta[model.shape.gauss2] = START_WIDTH_HZ, START_GAUSS_HZ2
    return theta


def _place_of(theta: NDArray, model: Model) -> tuple[float, float, float]:
    return float(theta[model.shape.shift]), float(theta[model.shape.phase0]), 1.0


def _without_place(theta: NDArray, model: Model) -> NDArray[np.floating]:
    rest = theta.copy()
    rest[[model.shape.shift, model.shape.phase0]] = 0.0
    return rest


def recognised_start(fid: NDArray, model: Model) -> NDArray[np.floating]:
    """Shape parameters to start from: shift and phase of the recognised singlets, usual widths."""
    theta = _usual_shape(model)
    theta[model.shape.shift], theta[model.shape.phase0], _ = _recognise(fid, model)
    return theta


def random_start(fid: NDArray, model: Model, generator: np.random.Generator) -> NDArray[np.floating]:
    """Shape parameters about those of `recognised_start`, to see whether a fit ends where it does from any of them."""
    shape = model.shape
    theta = recognised_start(fid, model)
    theta[shape.shift] += generator.uniform(-3, 3)
    theta[shape.phase0] += generator.uniform(-0.5, 0.5)
    theta[shape.lorentz], theta[shape.gauss2] = generator.uniform(1, 8), generator.uniform(1, 8) ** 2
    theta[[shape.eddy, shape.slow_eddy]] = generator.uniform(-1, 1, 2)
    theta[shape.broadenings] = generator.uniform(-1, 1, shape.n_signals)
    theta[shape.shifts] = generator.uniform(-0.5, 0.5, shape.n_signals)
    return theta


def _result(session: Session, state: State, noise: NDArray, places: NDArray) -> FitResult:
    model = session.model
    prior, data = session.prior(), fit_solver.normal_equations(session, state)
    joint, own = fit_solver.amplitude_covariance(session, data, prior)
    half = model.points.size
    dimension = fit_solver.effective_number(session, data, prior, ("baseline", "discrepancy"))
    amplitudes, quality, curves = [], [], []
    for block in range(session.n_blocks):
        amplitude = session.amplitudes_of(state.local, state.shared, block)
        theta = session.theta_of(state.local, state.shared, block)
        components = amplitude[:, np.newaxis] * state.signals[block].real * session.unit
        nuisances = session.nuisance_of(state.local, state.shared, block)
        baseline = (session.columns @ nuisances)[:half] * session.unit
        turned = (session.spectra[block] * model.turn(theta)).real * session.unit
        amplitudes.append(amplitude)
        curves.append((turned, components.sum(axis=0) + baseline, baseline, components))
        quality.append(fit_quality.describe(session, state, block, noise[block], places[block]))
        quality[-1]["baseline_dimension"] = dimension
    shown, fitted, baseline, components = (np.array(part) for part in zip(*curves, strict=True))
    amplitudes = np.array(amplitudes)
    return FitResult(
        names=model.names,
        amplitudes=amplitudes,
        joint_covariance=joint,
        quality=quality,
        ppm=model.ppm,
        data=shown,
        fit=fitted,
        baseline=baseline,
        components=components,
        constraints=constraints(model, session.caution),
        coefficients=amplitudes.ravel() if session.terms is None else state.shared[session.coefficients],
        coefficient_covariance=own,
    )


def constraints(model: Model, caution: float = 1.0) -> str:
    """Every prior in use, in words; `caution` as in `Session`."""
    names = [name for name, broad in zip(model.names, model.broad, strict=True) if broad]
    shifts = f"{SD_BROAD_SHIFT_PPM:g} ppm, all together {SD_BROAD_REFERENCE_PPM:g} ppm"
    broad = f" ({', '.join(names)}: {SD_BROAD_BROADENING_HZ:g} Hz and {shifts})" if names else ""
    minor = ", ".join(name for name in model.names if name in MINOR)
    alike = ""
    if set(model.names).issuperset(MACROMOLECULES):
        sd = MACROMOLECULE_SPREAD * MACROMOLECULE_PART
        alike = f"amplitudes of {', '.join(MACROMOLECULES)} alike, +/- {sd:.1%} of tNAA + tCr + 3 tCho; "
    if caution == 1:
        alike += f"macromolecules of the blocks of a session +/- {STEADY:.0%} about their mean; "
    text = (
        f"own broadening 0 +/- {SD_BROADENING_HZ:g} Hz, own shift 0 +/- {SD_SHIFT_HZ:g} Hz{broad}, these "
        "held more tightly where the basis misses more than noise; "
        f"first-order phase 0 +/- {SD_FIRST_ORDER_RAD:g} rad at the edges; "
        f"frequency of eddy currents 0 +/- {SD_EDDY_HZ:g} Hz; "
        "baseline, lipid, water tail and first point 0 with variance from the data; "
        f"amplitudes of {minor or 'no metabolite'} at their usual part of tNAA + tCr + 3 tCho, +/- {MINOR_SPREAD:.0%}; "
        f"{alike}"
        "no other constraint on amplitudes or ratios"
    )
    if caution == 1:
        return text
    return (
        f"{text}; all of these held {np.sqrt(caution):.3g} times as tightly as said, as the spectrum was fitted alone"
    )
