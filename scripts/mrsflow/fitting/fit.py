"""Linear-combination fit of single-voxel spectra: one block alone, or the blocks of a session together.

`fit_session` is the way in. Where a fit starts is in `fit_start`, the model of a spectrum in `fit_model` and
`nuisance`, what is known of amounts in `amounts`, the search in `fit_solver`, what makes results doubtful in `verdict`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.fitting import amounts, fit_quality, fit_search, fit_solver, fit_start, noise, series, uncertainty, verdict
from mrsflow.fitting.dynamic import Terms
from mrsflow.fitting.fit_model import (
    EDDY_TIMES,
    SD_BROAD_BROADENING_HZ,
    SD_BROAD_REFERENCE_PPM,
    SD_BROAD_SHIFT_PPM,
    SD_BROADENING_HZ,
    SD_EDDY_HZ,
    SD_FIRST_ORDER_RAD,
    SD_SHIFT_HZ,
    Model,
)
from mrsflow.fitting.fit_solver import Session, State
from mrsflow.fitting.fit_start import Alignment, problem_with, random_start, recognised_start

__all__ = ["FitError", "FitResult", "fit_session", "noise_sd", "problem_with", "random_start", "recognised_start"]

BROAD_STARTS_PPM = (-0.05, 0.0, 0.05)
"""Shifts of the macromolecules from which a fit starts; their posterior can have more than one mode."""
FIRST_STEPS = 4
"""Most steps from each start."""
LACKING_AT_START = 0.05
"""Part of the highest peak that counts as noise there: the stiff model leaves that much of a good spectrum, having
nothing for what the basis lacks. Taken for signal it drives skew, width and shift to where no spectrum has them, and
the fit ends in another mode (of *main* 5 % from random starts)."""
PROFILE_PPM = 0.03
"""Smoothing of the metabolites' height, by which the basis is expected to lack something."""
MISFIT_ROUNDS, MISFIT_SETTLED = 3, 1.02
"""Times that what the model leaves is counted as noise of its block, unless it changes less."""
EMPTY = {"tNAA": 0.01, "tCr": 0.1}
"""tNAA of less than this part of tCr, of either sign, is none: a test solution; likewise tCr, of tNAA."""
MINIMUM_SNR = 3.0
APART_MISFIT, APART_STRENGTH = 1.5, 1.6
"""A block stands apart when it leaves this much more than the others leave, or is so much stronger or weaker."""
PRIOR_WEIGHT = 4.0
"""A spectrum fitted alone holds every prior this much more tightly (in variance) than what it describes varies.

Such spectra are compared with others of the same voxel. What line shapes and baseline add to the error is common to
them, noise is not: of all estimates, those with the priors times c have the least sum of the variance by noise and 1/c
of that by the rest (ridge regression: Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634). Blocks fitted
together determine their shape well and need no more. Standard deviations count both."""


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
    joint_covariance : (B·M, B·M) float or None
        Of all amplitudes, block after block: inverse Fisher information with every nuisance parameter and prior. None
        of a series of hundreds of spectra, whose amplitudes follow from the terms.
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
    doubts : tuple of str
        Per block why its amplitudes are doubtful, empty where they are not (`mrsflow.fitting.verdict`).
    terms : tuple of (metabolite, term)
        What the coefficients of a dynamic fit are.
    block_covariance : (B, M, M) float or None
        Of the amplitudes of each block, where the joint one is not kept.
    files : dict of str to bytes
        What a program of others was asked and what it answered, in its own words.
    """

    names: tuple[str, ...]
    amplitudes: NDArray[np.floating]
    joint_covariance: NDArray[np.floating] | None
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
    doubts: tuple[str, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    block_covariance: NDArray[np.floating] | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def covariance(self) -> NDArray[np.floating]:
        """Covariance (B, M, M) of the amplitudes of each block."""
        if self.joint_covariance is None:
            return self.block_covariance
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
    is left out and the others are fitted without it: its amplitudes are NaN and `problems` says why. One that stands
    apart from the others is fitted alone, and doubtful; a course over time cannot hold it. Many spectra that follow
    terms are fitted in groups (`mrsflow.fitting.series`).
    """
    fids = np.atleast_2d(np.asarray(fids, dtype=complex))
    if terms is not None and series.is_series(len(fids)):
        pool = series.pooled(fids, terms)
        return series.spread(fit_session(pool.fids, model, pool.terms, start), pool, terms)
    problems = {block: problem for block, fid in enumerate(fids) if (problem := problem_with(fid, model))}
    together = [block for block in range(len(fids)) if block not in problems]
    apart = _unlike(fids, together, model)
    together = [block for block in together if block not in apart]
    parts: list[tuple[list[int], FitResult]] = []
    while together:
        own = None if terms is None else _of_blocks(terms, together, len(model.names))
        found = _fit_together(fids[together], model, own, start)
        lost = {
            block: problem
            for block, values, quality in zip(together, found.amplitudes, found.quality, strict=True)
            if (problem := _problem_of(values, quality, model.names))
        }
        lost = {block: problem + _elsewhere(fids[block], model) for block, problem in lost.items()}
        odd = {} if lost else _of_misfit(together, found.quality)
        if not lost and not odd:
            pairs = zip(together, found.doubts, strict=True)
            doubts = [doubt and doubt + _elsewhere(fids[block], model) for block, doubt in pairs]
            parts.append((together, replace(found, doubts=tuple(doubts))))
            break
        problems, apart = problems | lost, apart | odd
        together = [block for block in together if block not in lost and block not in odd]
    for block, reason in apart.items():
        if terms is not None:
            problems[block] = f"it stands apart from the other blocks ({reason}); no course over time can hold it"
            continue
        alone = _fit_together(fids[[block]], model, None, start)
        if problem := _problem_of(alone.amplitudes[0], alone.quality[0], model.names):
            problems[block] = problem + _elsewhere(fids[block], model)
        else:
            doubt = "; ".join(filter(None, (f"it stands apart from the other blocks: {reason}", alone.doubts[0])))
            parts.append(([block], replace(alone, doubts=(doubt,))))
    if not parts:
        raise FitError(problems[min(problems)])
    return _joined(parts, [problems.get(block, "") for block in range(len(fids))], terms)


def noise_sd(fid: NDArray, model: Model) -> float:
    """SD of the noise of the real spectrum (`mrsflow.fitting.noise`), at least the rounding of what holds none."""
    found = noise.noise_sd(fid, model.dwell_time, model.spectrometer_frequency)
    if not found > 1e-9 * np.abs(fid).max():
        return float(1e-6 * np.abs(model.spectrum(fid)).max())
    return found


def _of_blocks(terms: Terms, blocks: list[int], m: int) -> Terms:
    """Terms of some blocks, without those that none of them has: a free metabolite's of a block that is lost."""
    matrix = terms.matrix[np.concatenate([np.arange(block * m, (block + 1) * m) for block in blocks])]
    kept = np.flatnonzero(np.any(matrix, axis=0))
    return Terms([terms.names[k] for k in kept], matrix[:, kept])


def _unlike(fids: NDArray, blocks: list[int], model: Model) -> dict[int, str]:
    """Blocks whose singlets are much stronger or weaker than those of the others, or rotated the other way."""
    if len(blocks) < 3:
        return {}
    alignments = {block: fit_start.recognise(fids[block], model)[0] for block in blocks}
    usual = np.median([alignment.strength for alignment in alignments.values()])
    common = verdict.middle_phase([alignment.phase for alignment in alignments.values()])
    reasons = {}
    for block, alignment in alignments.items():
        if not 1 / APART_STRENGTH < alignment.strength / usual < APART_STRENGTH:
            reasons[block] = f"its signal is {alignment.strength / usual:.2g} times theirs"
        elif np.cos(alignment.phase - common) < 0:
            rotated = np.degrees(np.angle(np.exp(1j * (alignment.phase - common))))
            reasons[block] = f"its phase is {abs(rotated):.0f}° off theirs"
    return reasons


def _of_misfit(blocks: list[int], quality: list[dict[str, Any]]) -> dict[int, str]:
    """Blocks of which the common model leaves much more than of the others."""
    left = np.array([row["misfit"] for row in quality])
    if len(blocks) < 3:
        return {}
    limit = APART_MISFIT * max(float(np.median(left)), 1.0)
    return {
        block: f"the fit leaves {own:.1f} times its noise, of the others {np.median(left):.1f} times"
        for block, own in zip(blocks, left, strict=True)
        if own > limit
    }


def _fit_together(fids: NDArray, model: Model, terms: Terms | None, start: NDArray | None) -> FitResult:
    recorded = noise.recorded(fids)
    filtered = noise.apodisation(fids[:, :recorded], model.dwell_time, model.spectrometer_frequency)
    n_points = noise.told(filtered)
    if n_points < model.n_points:
        model = model.shortened(n_points)
    fids = model.with_whole_first_point(fids[:, :n_points] * np.exp(-filtered[:, :n_points]))
    sd = np.array([noise_sd(fid, model) for fid in fids])
    unit, alone = float(np.mean(sd**-2.0) ** -0.5), len(fids) == 1
    alignments, theta = _alignments(fids, model, start)
    weight = unit / sd
    of_mean = np.array([np.sqrt(np.sum(weight**2))])
    matrix, prior_weight = None if terms is None else terms.matrix, PRIOR_WEIGHT if alone else 1.0
    terms_alone, (common, own) = matrix if alone else None, np.split(theta, [model.shape.n_common])
    mean = _mean(fids, model, alignments, weight) / unit
    at_start = np.minimum(of_mean, 1 / (LACKING_AT_START * np.abs(mean).max()))
    stiff = Session(model, mean, at_start, unit, terms_alone, prior_weight=prior_weight, stiff=own)
    stiff, first = _best_start(stiff, common)
    rivals = [] if start is not None else _rivals(stiff, first, fids, alignments, weight)
    single = replace(stiff, weight=of_mean, stiff=None)
    _expect(single, first)
    shared = np.zeros(single.n_shared)
    shared[single.coefficients], shared[single.own] = first.shared[stiff.coefficients], stiff.stiff
    known = first.shared[stiff.nuisance]
    shared[single.nuisance.start : single.nuisance.start + known.size] = known
    nearly, _ = fit_solver.maximise(single, first.local, shared, FIRST_STEPS, FIRST_STEPS, _expect)
    alignments = _realigned(alignments, nearly.local[0, single.common], model)
    single.spectra = _mean(fids, model, alignments, weight) / unit
    state = _settled(single, nearly.local, nearly.shared)
    session, mean_state = single, state
    if not alone:
        spectra = _aligned(fids, model, alignments) / unit
        session = Session(model, spectra, weight.copy(), unit, matrix, single.amounts, single.profile)
        state = _settled(session, *_spread(session, single, state))
    result = _result(session, state, sd, alignments)
    if terms is not None:
        result = replace(result, terms=tuple(terms.names))
    return _judged(result, session, single, mean_state, rivals)


def _alignments(fids: NDArray, model: Model, start: NDArray | None) -> tuple[list[Alignment], NDArray[np.floating]]:
    """Where each spectrum lies, and its shape there; blocks are brought to one place before their mean is taken."""
    if start is None:
        return [fit_start.recognise(fid, model)[0] for fid in fids], fit_start.usual_shape(model)
    shape, theta = model.shape, start.copy()
    alignment = Alignment(float(start[shape.shift]), float(start[shape.phase0]), 1.0)
    theta[[shape.shift, shape.phase0]] = 0.0
    return [alignment] * len(fids), theta


def _aligned(fids: NDArray, model: Model, alignments: list[Alignment]) -> NDArray[np.complexfloating]:
    """Fitted points of spectra whose shift and phase are taken out."""
    shifts, phases = np.array([(one.shift, one.phase) for one in alignments]).T[..., np.newaxis]
    return model.spectrum(fids * np.exp(-2j * np.pi * shifts * model.time - 1j * phases))


def _mean(fids: NDArray, model: Model, alignments: list[Alignment], weight: NDArray) -> NDArray[np.complexfloating]:
    """Fitted points (1, P) of the weighted mean of spectra, each at its place."""
    return (weight**2 @ _aligned(fids, model, alignments) / np.sum(weight**2))[np.newaxis]


def _realigned(alignments: list[Alignment], common: NDArray, model: Model) -> list[Alignment]:
    """Places at which a fit's shift and phase, in its common shape parameters, are 0; these are set to 0 in place.

    What lies at a fixed place beside the metabolites, and where the fitted range ends, then does not depend on where
    the fit began.
    """
    shift, phase = common[model.shape.shift], common[model.shape.phase0]
    common[[model.shape.shift, model.shape.phase0]] = 0.0
    return [replace(one, shift=one.shift + shift, phase=one.phase + phase) for one in alignments]


def _rivals(stiff: Session, best: State, fids: NDArray, alignments: list[Alignment], weight: NDArray) -> list[float]:
    """Shifts (Hz) from the chosen place at which the singlets fit nearly as well."""
    model, strongest = stiff.model, int(np.argmax(weight))
    found = []
    for other in fit_start.recognise(fids[strongest], model)[1:]:
        moved = other.shift - alignments[strongest].shift
        rotated = other.phase - alignments[strongest].phase
        there = [Alignment(one.shift + moved, one.phase + rotated, 1.0) for one in alignments]
        mean = _mean(fids, model, there, weight) / stiff.unit
        state = _first_steps(replace(stiff, spectra=mean), fit_start.usual_shape(model)[: model.shape.n_common])
        if state.objective < verdict.RIVAL_OBJECTIVE * best.objective:
            found.append(moved)
    return found


def _settled(session: Session, local: NDArray, shared: NDArray) -> State:
    """Climb until variances stand, and what the model still leaves counts as noise of its block."""
    expect = _expect if session.n_blocks == 1 else None
    state, _ = fit_solver.maximise(session, local, shared, evidence=fit_solver.EVIDENCE_STEPS, expect=expect)
    by_noise = session.weight.copy()
    for _ in range(MISFIT_ROUNDS):
        data = fit_solver.normal_equations(session, state)
        weight = np.minimum(session.weight / fit_solver.misfit(session, state, data, session.prior()), by_noise)
        if np.all(np.abs(np.log(weight / session.weight)) < np.log(MISFIT_SETTLED)):
            break
        session.weight = weight
        state, _ = fit_solver.maximise(
            session, state.local, state.shared, evidence=fit_solver.EVIDENCE_STEPS, expect=expect
        )
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
        shared[session.unchanging_means] = state.local[0, session.unchanging]
    return local, shared


def _best_start(stiff: Session, common: NDArray) -> tuple[Session, State]:
    """Stiff fits of a few steps from several places of the macromolecules; the best, with some more."""
    model, m = stiff.model, len(stiff.model.names)
    found = []
    for ppm in BROAD_STARTS_PPM if model.broad.any() else (0.0,):
        own = stiff.stiff.copy()
        own[m:] += np.where(model.broad, ppm * model.spectrometer_frequency, 0.0)
        moved = replace(stiff, stiff=own)
        found.append((moved, _first_steps(moved, common, FIRST_STEPS // 2)))
    best, state = min(found, key=lambda one: one[1].objective)
    return best, fit_solver.maximise(best, state.local, state.shared, FIRST_STEPS - FIRST_STEPS // 2)[0]


def _first_steps(stiff: Session, common: NDArray, steps: int = FIRST_STEPS) -> State:
    local = np.zeros((1, stiff.n_local))
    local[0, stiff.common] = common
    return fit_solver.maximise(stiff, local, np.zeros(stiff.n_shared), steps)[0]


def _expect(session: Session, state: State) -> None:
    """Take usual amounts, and where the basis is expected to lack something, from the fit of one spectrum so far.

    The latter by the height of the metabolites at each point, a little smoothed: (P), in units of the session.
    """
    model = session.model
    amplitudes = session.amplitudes_of(state.local, state.shared, 0)
    height = np.abs(amplitudes[~model.broad] @ state.signals[0][~model.broad])
    reach = max(PROFILE_PPM / abs(model.ppm[1] - model.ppm[0]), 0.5)
    near = np.arange(-int(3 * reach), int(3 * reach) + 1)
    kernel = np.exp(-0.5 * (near / reach) ** 2)
    session.amounts = amounts.usual(amplitudes, model)
    session.profile = np.convolve(height, kernel / kernel.sum(), mode="same")
    session.groups["discrepancy"].relative = session.relative()


def _problem_of(amplitudes: NDArray, quality: dict[str, Any], names: tuple[str, ...]) -> str:
    """Why a fit cannot stand, empty where it can."""
    weights = {name: uncertainty.weights_of(names, name) for name in ("tNAA", "tCr")}
    found = {name: float(w @ amplitudes) for name, w in weights.items() if w is not None}
    for name, other in (("tNAA", "tCr"), ("tCr", "tNAA")):
        amount = found.get(name, np.inf)
        none = abs(amount) < EMPTY[name] * found.get(other, 0.0)  # a solution of one of them alone is no failure
        if not amount > 0 and not none:
            return f"the fit failed: {name} is {amount:.3g}, which is not positive"
    if amounts.major(amplitudes, names) < 0:
        return f"the fit failed: tNAA + tCr + 3 tCho is {amounts.major(amplitudes, names):.3g}, which is not positive"
    if not quality["snr"] > MINIMUM_SNR:
        return (
            f"no signal of the basis stands above the noise (SNR {quality['snr']:.1f}, at least {MINIMUM_SNR:g} needed)"
        )
    return ""


def _elsewhere(fid: NDArray, model: Model) -> str:
    """Say what to do about a failed fit whose singlets lie far from their place; empty where they do not."""
    ppm = fit_start.elsewhere_ppm(fid, model)
    if ppm is None:
        return ""
    return (
        f"; its singlets lie {ppm:+.2f} ppm from where they belong, and a fit looks within "
        f"{fit_start.LARGEST_SHIFT_PPM:g} ppm: reference the spectrum first (preprocessing does), or correct the "
        "spectrometer frequency in its header"
    )


def _result(session: Session, state: State, sd: NDArray, alignments: list[Alignment]) -> FitResult:
    model = session.model
    prior, data = session.prior(), fit_solver.normal_equations(session, state)
    joint, own = fit_solver.amplitude_covariance(session, data, prior)
    half = model.points.size
    dimension = fit_solver.effective_number(session, data, prior, ("baseline",))
    rows, quality, curves = [], [], []
    for block in range(session.n_blocks):
        amplitude = session.amplitudes_of(state.local, state.shared, block)
        theta = session.theta_of(state.local, state.shared, block)
        components = amplitude[:, np.newaxis] * state.signals[block].real * session.unit
        smooth = session.columns @ session.nuisance_of(state.local, state.shared, block)
        baseline = smooth[:half] * session.unit
        rotated = (session.spectra[block] * model.phase_factor(theta)).real * session.unit
        rows.append(amplitude)
        curves.append((rotated, components.sum(axis=0) + baseline, baseline, components))
        quality.append(fit_quality.describe(session, state, block, sd[block], alignments[block]))
        quality[-1]["baseline_dimension"] = dimension
    shown, fitted, baseline, components = (np.array(part) for part in zip(*curves, strict=True))
    return FitResult(
        names=model.names,
        amplitudes=np.array(rows),
        joint_covariance=joint,
        quality=quality,
        ppm=model.ppm,
        data=shown,
        fit=fitted,
        baseline=baseline,
        components=components,
        constraints=constraints(model, session.prior_weight),
        coefficients=np.array(rows).ravel() if session.terms is None else state.shared[session.coefficients],
        coefficient_covariance=own,
    )


def _judged(result: FitResult, session: Session, single: Session, mean_state: State, rivals: list[float]) -> FitResult:
    """Say of every block whether its numbers are doubtful, and why."""
    model = session.model
    quality = [dict(row) for row in result.quality]
    common = []
    if rivals:
        listed = ", ".join(f"{hz:+.0f} Hz" for hz in rivals)
        common.append(f"the singlets fit nearly as well {listed} from where they were found")
    if same := verdict.of_basis(model, quality[0]["linewidth_hz"]):
        common.append(same)
    findings = []
    if single.terms is None:
        findings = fit_search.search(single, mean_state, float(np.median([row["linewidth_hz"] for row in quality])))
    elsewhere = verdict.of_shifts(np.array([row["shift_hz"] for row in quality]))
    doubts = []
    for block, row in enumerate(quality):
        covariance = result.covariance[block]
        sd = np.sqrt(np.diag(covariance))
        row["unknown"] = fit_search.told(findings)
        reasons = [
            *common,
            *elsewhere[block],
            *verdict.of_residual(row["misfit"], row["lacking"], row.pop("lacking_ppm")),
            *verdict.of_amounts(result.names, result.amplitudes[block], covariance),
            fit_search.doubt(findings, result.names, model.broad, sd),
        ]
        doubts.append("; ".join(reason for reason in reasons if reason))
    return replace(result, quality=quality, doubts=tuple(doubts))


def _joined(parts: list[tuple[list[int], FitResult]], problems: list[str], terms: Terms | None) -> FitResult:
    """Put blocks that were fitted together or alone in their places among all; NaN for those that have a problem."""
    first, n_all, m = parts[0][1], len(problems), len(parts[0][1].names)
    joint = np.full((n_all, m, n_all, m), np.nan)
    quality: list[dict[str, Any]] = [{} for _ in problems]
    doubts = [""] * n_all
    fields = ("amplitudes", "data", "fit", "baseline", "components")
    curves = {name: np.full((n_all, *getattr(first, name).shape[1:]), np.nan) for name in fields}
    usable = [block for blocks, _ in parts for block in blocks]
    joint[np.ix_(usable, range(m), usable, range(m))] = 0.0
    for blocks, found in parts:
        own = found.joint_covariance.reshape(len(blocks), m, len(blocks), m)
        joint[np.ix_(blocks, range(m), blocks, range(m))] = own
        for new, block in enumerate(blocks):
            quality[block], doubts[block] = found.quality[new], found.doubts[new]
            for name, values in curves.items():
                values[block] = _on(found.ppm, getattr(found, name)[new], first.ppm)
    coefficients = {}
    if terms is None:
        coefficients = {"coefficients": curves["amplitudes"].ravel()}
        coefficients["coefficient_covariance"] = joint.reshape(n_all * m, n_all * m)
    return replace(
        first,
        joint_covariance=joint.reshape(n_all * m, n_all * m),
        quality=quality,
        problems=tuple(problems),
        doubts=tuple(doubts),
        **curves,
        **coefficients,
    )


def _on(ppm: NDArray, values: NDArray, wanted: NDArray) -> NDArray[np.floating]:
    """Values (..., P) at other points, where blocks were recorded at different lengths."""
    if values.shape[-1] != ppm.size or np.array_equal(ppm, wanted):
        return values
    rows = [np.interp(-wanted, -ppm, row) for row in values.reshape(-1, ppm.size)]
    return np.array(rows).reshape(*values.shape[:-1], wanted.size)


def constraints(model: Model, prior_weight: float = 1.0) -> str:
    """Every prior in use, in words; `prior_weight` as in `Session`."""
    names = [name for name, broad in zip(model.names, model.broad, strict=True) if broad]
    shifts = f"{SD_BROAD_SHIFT_PPM:g} ppm, all together {SD_BROAD_REFERENCE_PPM:g} ppm"
    broad = f" ({', '.join(names)}: {SD_BROAD_BROADENING_HZ:g} Hz and {shifts})" if names else ""
    times = ", ".join(f"{1e3 * time:g}" for time in EDDY_TIMES)
    parts = [
        f"own broadening 0 +/- {SD_BROADENING_HZ:g} Hz, own shift 0 +/- {SD_SHIFT_HZ:g} Hz{broad}",
        f"first-order phase 0 +/- {SD_FIRST_ORDER_RAD:g} rad at the edges",
        f"frequencies of eddy currents that decay in {times} ms 0 +/- {SD_EDDY_HZ:g} Hz",
        "baseline, lipid, water tail, first point and what the basis lacks 0 with variance from the data",
        amounts.described(model.names),
    ]
    if names:
        parts.append(f"amplitudes of {', '.join(names)} not negative")
    if prior_weight == 1:
        parts.append(
            "phase, frequency, widths and skew of a block about the session's mean with variance from the data"
        )
        parts.append("macromolecules of the blocks of a session about their mean likewise")
    if model.lacks_glycine:
        parts.append("glycine, which the basis lacks, a line of usual width with variance from the data")
    parts.append("no other constraint on amplitudes or ratios")
    text = "; ".join(parts)
    if prior_weight == 1:
        return text
    tighter = np.sqrt(prior_weight)
    return f"{text}; all of these held {tighter:.3g} times as tightly as said, as the spectrum was fitted alone"
