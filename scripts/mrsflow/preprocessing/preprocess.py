"""The chain of one session: coils and transients to clean blocks.

Order of steps after Near et al. (doi:10.1002/nbm.4257). All transients are aligned to one reference; coil weights,
eddy-current phase, zero-order phase and shift are estimated once per session, and nothing is tuned per block.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import water
from mrsflow.axes import ppm_to_hz, shift_frequency, time_axis, to_spectrum
from mrsflow.constants import WATER_PPM
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing import align, blocks, coils, referencing
from mrsflow.preprocessing.blocks import Frames
from mrsflow.study.config import default

SAME_CARRIER = 10e-6
"""Part of the carrier frequency (10 ppm) by which runs may differ: a scanner adjusts it anew before each."""
SAME_SAMPLING = 1e-5
"""Part of the dwell time by which runs may differ: digits of a header. Over an FID that is far less than a point."""
WATER_WINDOW_PPM = (WATER_PPM - 0.5, WATER_PPM + 0.5)


@dataclass(frozen=True)
class Run:
    """One metabolite scan of a session with what belongs to it.

    Attributes
    ----------
    scan : Scan
        With DIM_COIL and DIM_DYN, or either, or neither.
    times : Frames
        Of the scan's frames, relative to the event.
    reference : Scan or None
        Unsuppressed water, with any of the same dimensions.
    """

    scan: Scan
    times: Frames
    reference: Scan | None = None


def _setting(key: str) -> Any:
    """Field whose default is that of a key of the configuration."""
    return field(default_factory=partial(default, key))


@dataclass(frozen=True)
class Settings:
    """Settings of the chain; the configuration's schema has their meaning and default."""

    bins: dict[str, list[float]]
    minimum_transients: int = _setting("blocks.minimum_transients")
    align_ppm: tuple[float, float] = _setting("preprocess.align_ppm")
    max_shift_ppm: float = _setting("preprocess.max_shift_ppm")
    remove_water: bool = _setting("preprocess.remove_water")
    eddy_current: bool = _setting("preprocess.eddy_current")
    match_linewidth: bool = _setting("preprocess.match_linewidth")
    phase_cycle: int = _setting("protocols.*.phase_cycle")


@dataclass(frozen=True)
class Session:
    """A session on its way through the chain; each step returns a copy with its part done.

    Attributes
    ----------
    scan : Scan
        The first run: geometry, header, sampling.
    times : Frames
        Of all frames.
    fids : (n_frames, n_points) complex
        Coils combined; after `aligned`, frequency and phase corrected.
    reference : Scan or None
        Water; after `combined` one averaged FID.
    reference_scales : bool
        Whether metabolites and water came through the same coils and weights, so that their amplitudes compare.
    weights : Weights or None
        Of the coils.
    registration : Registration or None
        Frequency and phase found for each frame.
    reasons : (n_frames,) str
        Why a frame is rejected, empty for the good ones.
    mean : (n_points,) complex
        Of all good frames.
    assigned : (n_frames,) int
        Block of each frame, -1 for none, in the order of the configured bins.
    made : tuple of int
        Blocks with enough excitations.
    averages : (n_made, n_points) complex
        The blocks.
    with_water : (1 + n_made, n_points) complex
        Mean and blocks before water was removed, phased like the final ones.
    eddy_phase : (n_points,) float or None
        rad; what the Klose correction took out.
    singlets : SingletFit or None
        Model that gave phase and shift.
    broadening_hz : (n_made,) float
        Width of each block less the mean of all blocks, before any matching.
    steps : tuple of (str, str)
        Method and details of each step.
    """

    scan: Scan
    times: Frames
    fids: NDArray[np.complexfloating]
    reference: Scan | None = None
    reference_scales: bool = False
    weights: coils.Weights | None = None
    registration: align.Registration | None = None
    reasons: NDArray[np.str_] | None = None
    mean: NDArray[np.complexfloating] | None = None
    assigned: NDArray[np.integer] | None = None
    made: tuple[int, ...] = ()
    averages: NDArray[np.complexfloating] | None = None
    with_water: NDArray[np.complexfloating] | None = None
    eddy_phase: NDArray[np.floating] | None = None
    singlets: referencing.SingletFit | None = None
    broadening_hz: NDArray[np.floating] | None = None
    steps: tuple[tuple[str, str], ...] = ()

    @property
    def good(self) -> NDArray[np.bool_]:
        """Frames that are not rejected."""
        return self.reasons == ""

    @property
    def sampling(self) -> tuple[float, float]:
        """Dwell time (s) and spectrometer frequency (MHz)."""
        return self.scan.dwell_time, self.scan.spectrometer_frequency

    def step(self, method: str, details: str, **changes: Any) -> "Session":
        """Copy with a step done and recorded; `method` is a keyword of Near 2021."""
        return replace(self, **changes, steps=(*self.steps, (method, details)))


def process(runs: list[Run], settings: Settings) -> Session:
    """Turn the coils and transients of a session into clean blocks.

    Parameters
    ----------
    runs : list of Run
        Of one session; each may be a single average.
    settings : Settings

    Raises
    ------
    InputError
        Runs that do not fit together, data without usable signal, or nothing to put into any block.
    """
    session = combined(in_time(runs), settings)
    session = averaged(aligned(session, settings), settings)
    if settings.eddy_current and session.reference is not None:
        session = eddy_currents_corrected(session)
    if settings.remove_water:
        session = water_removed(session)
    session = referenced(session, settings)
    return linewidth_matched(session) if settings.match_linewidth else session


def in_time(runs: list[Run]) -> list[Run]:
    """Sort runs by time and check that they fit together.

    Raises
    ------
    InputError
        They differ in sampling, frequency or coils, or are edited.
    """
    runs = sorted(runs, key=lambda run: float(run.times.onset_s[0]))
    first = runs[0].scan
    for run in runs:
        if run.scan.size("DIM_EDIT") > 1:
            raise InputError(
                f"the scan is edited (DIM_EDIT of length {run.scan.size('DIM_EDIT')}) and its sub-spectra cannot be "
                "averaged together; set use_frames of its protocol to 'edit off'"
            )
    for run in runs[1:]:
        for name, one, other, tolerance in (
            ("number of points", first.n_points, run.scan.n_points, 0.0),
            ("number of coils", first.size("DIM_COIL"), run.scan.size("DIM_COIL"), 0.0),
            ("dwell time (s)", first.dwell_time, run.scan.dwell_time, SAME_SAMPLING),
            (
                "spectrometer frequency (MHz)",
                first.spectrometer_frequency,
                run.scan.spectrometer_frequency,
                SAME_CARRIER,
            ),
        ):
            if abs(one - other) > tolerance * abs(one):
                raise InputError(
                    f"two runs of the session differ in {name} ({one:.10g} and {other:.10g}); they cannot be joined: "
                    "give them tasks or sessions of their own, or leave one out"
                )
    return runs


def combined(runs: list[Run], settings: Settings) -> Session:
    """Join runs in time, combine coils, and average the water reference."""
    runs, silent = _heard(runs)
    scan = runs[0].scan
    arrays = [run.scan.ordered("DIM_COIL", "DIM_DYN") for run in runs]
    fids = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
    times = blocks.joined([run.times for run in runs])
    if not all(np.isfinite(own).all() for own in fids):
        raise InputError("the FIDs contain NaN or infinite values; convert the raw file again")
    references = [run.reference for run in runs if run.reference is not None]
    n_coils = len(fids)
    session = Session(scan, times, fids[0])
    if n_coils > 1:
        weights, source = _weights(fids, references, scan, settings)
        details = f"noise-decorrelated SVD (WSVD) of {n_coils} coils, sensitivities from {source}, once per session"
        details += f"; {silent} more recorded nothing" if silent else ""
        session = session.step("RF coil combination", details, fids=coils.combine(fids, weights), weights=weights)
    if not references:
        return session
    same_scale = all(scan.size("DIM_COIL") == n_coils for scan in references)
    reference = combined_reference(references, session.weights)
    return replace(session, reference=reference, reference_scales=same_scale)


def _heard(runs: list[Run]) -> tuple[list[Run], int]:
    """Leave out the coils that recorded nothing in any run, and say how many they are."""
    n_coils = runs[0].scan.size("DIM_COIL")
    heard = np.array([[np.any(coil) for coil in run.scan.ordered("DIM_COIL", "DIM_DYN")] for run in runs]).any(axis=0)
    silent = n_coils - int(heard.sum())
    if silent in (0, n_coils):
        return runs, 0

    def left(scan: Scan | None) -> Scan | None:
        return scan if scan is None or scan.size("DIM_COIL") != n_coils else scan.selected("DIM_COIL", heard)

    return [replace(run, scan=left(run.scan), reference=left(run.reference)) for run in runs], silent


def _weights(
    fids: NDArray[np.complexfloating], references: list[Scan], scan: Scan, settings: Settings
) -> tuple[coils.Weights, str]:
    """Coil weights of a session, from the first reference with the same coils or from the metabolites themselves."""
    covariance = coils.noise_covariance(fids)
    for reference in references:
        if reference.size("DIM_COIL") == len(fids):
            unsuppressed = reference.ordered("DIM_COIL", "DIM_DYN")
            weights = coils.gls_weights(coils.sensitivities(unsuppressed, covariance), covariance)
            return coils.start_in_phase(weights, coils.combine(unsuppressed, weights)), "unsuppressed water"
    limits = align.window(scan.n_points, scan.dwell_time, scan.spectrometer_frequency, settings.align_ppm)
    inside = np.stack([to_spectrum(own)[..., limits.bins] for own in fids])
    low, high = min(settings.align_ppm), max(settings.align_ppm)
    return (
        coils.gls_weights(coils.sensitivities(inside, covariance), covariance),
        f"metabolites from {low:g} to {high:g} ppm",
    )


def combined_reference(references: list[Scan], weights: coils.Weights | None = None) -> Scan:
    """Average water references to one FID: coils combined, transients aligned.

    Parameters
    ----------
    references : list of Scan
        With DIM_COIL and DIM_DYN, or either, or neither.
    weights : Weights, optional
        Of the metabolite scan; without them a reference with several coils gets its own.

    Raises
    ------
    InputError
        The references do not fit together or to the weights.
    """
    first = references[0]
    parts = []
    for scan in references:
        fids = scan.ordered("DIM_COIL", "DIM_DYN")
        if not np.isfinite(fids).all():
            raise InputError("the water reference contains NaN or infinite values; convert the raw file again")
        if len(fids) > 1:
            own = weights
            if own is None:  # metabolites came combined: the reference gets weights of its own
                covariance = coils.noise_covariance(fids)
                own = coils.gls_weights(coils.sensitivities(fids, covariance), covariance)
            parts.append(coils.combine(fids, own))
        else:
            parts.append(fids[0])
    if any(
        part.shape[-1] != first.n_points or abs(scan.dwell_time / first.dwell_time - 1) > SAME_SAMPLING
        for part, scan in zip(parts, references, strict=True)
    ):
        raise InputError("the water references of the session differ in points or dwell time; keep one of them")
    fids = np.concatenate(parts)
    result = first.with_data(fids[0], ())
    if any(scan.size("DIM_COIL") > 1 for scan in references):
        result = result.with_step("RF coil combination", "noise-decorrelated SVD (WSVD), once per session")
    if len(fids) == 1:
        return result
    sampling = (first.n_points, first.dwell_time, first.spectrometer_frequency)
    limits = align.window(*sampling, WATER_WINDOW_PPM)
    start = np.exp(-np.pi * align.START_LINEWIDTH * time_axis(first.n_points, first.dwell_time))
    found = align.register(fids, start, limits, max_shift_hz=0.4 * first.spectrometer_frequency)
    fixed = align.apply(fids, found.shift_hz - np.median(found.shift_hz), found.phase_rad, first.dwell_time)
    result = replace(result, fid=fixed.mean(axis=0))
    result = result.with_step("Frequency and phase correction", "spectral registration of the water line")
    return result.with_step("Signal averaging", f"{len(fids)} transients")


def aligned(session: Session, settings: Settings) -> Session:
    """Align all frames of the session to one reference and find the corrupted ones."""
    dwell_time, frequency = session.sampling
    n_points = session.scan.n_points
    limits = align.window(n_points, dwell_time, frequency, settings.align_ppm)
    start = align.singlets(n_points, dwell_time, frequency, settings.align_ppm, align.START_LINEWIDTH).sum(axis=0)
    limit = settings.max_shift_ppm * frequency
    strength = float(np.median(align.strength(session.fids, start, limits, limit)))
    if strength < align.LEAST_STRENGTH:
        raise InputError(
            "no tNAA, tCr and tCho stand out of the noise of the frames (matched filter "
            f"{strength:.1f}, {align.LEAST_STRENGTH:g} needed), so they cannot be aligned; "
            "look at the scan: is it the right file? If it is, leave it out"
        )
    found = align.register(session.fids, start, limits, limit, session.times.excitations)
    dry = align.without_water(session.fids, found, dwell_time, frequency)
    found = align.register(dry, start, limits, limit, session.times.excitations)
    linewidth = referencing.fit_singlets(found.template, dwell_time, frequency).linewidth_hz
    reasons = align.corrupted(found, linewidth, settings.phase_cycle)
    if not np.any(reasons == ""):
        raise InputError(
            "every frame of the session was rejected; the scan holds no stable signal; look at it, and leave it out"
        )
    fids = align.apply(session.fids, found.shift_hz, found.phase_rad, dwell_time)
    details = (
        f"robust spectral registration of all {len(fids)} frames of the session to their mean, "
        f"{min(settings.align_ppm):g} to {max(settings.align_ppm):g} ppm; {int(np.sum(reasons != ''))} frames rejected"
    )
    return session.step("Frequency and phase correction", details, fids=fids, registration=found, reasons=reasons)


def averaged(session: Session, settings: Settings) -> Session:
    """Average the good frames of the session and of each block.

    Raises
    ------
    InputError
        No frame lies in any block, or no block has enough excitations.
    """
    times, names = session.times, list(settings.bins)
    assigned = blocks.assign(times, settings.bins)
    if not np.any(assigned >= 0):
        first, last = times.onset_s.min() / 60, (times.onset_s + times.duration_s).max() / 60
        raise InputError(
            f"no frame lies in any block: the scan lasts from {first:.1f} to {last:.1f} min after the event; "
            "change blocks.bins or blocks.event, or correct the clock times of the session"
        )
    used = [int(times.excitations[session.good & (assigned == n)].sum()) for n in range(len(names))]
    made = tuple(n for n, count in enumerate(used) if count >= settings.minimum_transients)
    if not made:
        raise InputError(
            f"no block has {settings.minimum_transients} good excitations (blocks.minimum_transients); "
            f"the fullest has {max(used)}; set it lower, or leave this session out"
        )
    fids = align.without_fitted_noise(session.fids, session.registration)
    mean = blocks.average(fids, times.excitations, session.good)
    each = [blocks.average(fids, times.excitations, session.good & (assigned == n)) for n in made]
    details = "; ".join(f"{names[n]}: {used[n]} excitations" for n in made)
    details += "; less what noise fitted by the alignment adds"
    averages = np.stack(each)
    return session.step(
        "Signal averaging",
        details,
        mean=mean,
        averages=averages,
        assigned=assigned,
        made=made,
        with_water=np.stack([mean, *each]),
    )


def eddy_currents_corrected(session: Session) -> Session:
    """Klose correction of mean, blocks and reference with the phase of the reference."""
    scan, reference = session.scan, session.reference
    own = water.eddy_phase(reference.fid)
    phase = np.interp(
        time_axis(scan.n_points, scan.dwell_time), time_axis(reference.n_points, reference.dwell_time), own
    )
    details = "Klose correction with the phase of the water reference, its constant frequency left out"
    corrected = water.correct_eddy_currents(session.with_water, phase)
    method = "Eddy current correction"
    fid = water.correct_eddy_currents(reference.fid, own) * np.exp(-1j * np.angle(reference.fid[0]))
    return session.step(
        method,
        details,
        mean=corrected[0],
        averages=corrected[1:],
        with_water=corrected,
        eddy_phase=phase,
        reference=replace(reference, fid=fid).with_step(method, details),
    )


def water_removed(session: Session) -> Session:
    """Subtract the HLSVD model of residual water from mean and blocks."""
    low, high = water.WATER_RANGE_PPM
    details = f"HLSVD ({water.HLSVD_COMPONENTS} components), those from {low:g} to {high:g} ppm subtracted"
    clean = np.stack([fid - water.residual_water(fid, *session.sampling) for fid in session.with_water])
    return session.step("Nuisance peak removal", details, mean=clean[0], averages=clean[1:])


def referenced(session: Session, settings: Settings) -> Session:
    """Give the session the phase and shift that a model of tNAA, tCr and tCho finds in its mean."""
    dwell_time, frequency = session.sampling
    found = referencing.fit_singlets(session.mean, dwell_time, frequency, settings.max_shift_ppm)
    phase_factor = np.exp(-1j * found.phase_rad)
    moved = {
        name: shift_frequency(getattr(session, name), -found.shift_hz, dwell_time) * phase_factor
        for name in ("mean", "averages", "with_water", "fids")
    }
    details = (
        f"zero-order phase {np.degrees(found.phase_rad):.2f} degrees and shift {found.shift_hz:.3f} Hz of the session "
        "mean, from a model of tNAA, tCr and tCho"
    )
    return session.step("Phasing", details, **moved, singlets=found)


def linewidth_matched(session: Session) -> Session:
    """Broaden every block to the widest of the session."""
    extra = broadening(session).max() - broadening(session)
    t = time_axis(session.scan.n_points, session.scan.dwell_time)
    details = "Lorentzian broadening to the widest block (Hz): " + ", ".join(f"{b:.3f}" for b in extra)
    averages = session.averages * np.exp(-np.pi * extra[:, np.newaxis] * t)
    return session.step("Apodization", details, averages=averages, broadening_hz=broadening(session))


def broadening(session: Session) -> NDArray[np.floating]:
    """Lorentzian width (Hz) of each block less the mean of all blocks, before any matching."""
    if session.broadening_hz is not None:
        return session.broadening_hz
    dwell_time, frequency = session.sampling
    limits = align.window(session.scan.n_points, dwell_time, frequency, referencing.SPAN_PPM)
    still = np.zeros(len(session.averages))
    template = align.denoised(session.mean, dwell_time)
    found = align.refine(session.averages, template, limits, still, still, ppm_to_hz(0, frequency))
    return found.broadening_hz - found.broadening_hz.mean()
