"""Frequency and phase of each transient, and which transients are corrupted.

The shape of the signal is the same in all transients of a session, up to frequency, phase and amplitude, so each is
registered to their common mean: spectral registration (Near et al., doi:10.1002/mrm.25094) as Gauss-Newton steps
that are common to all transients, because each is first corrected by what was found so far. Only bins of the spectrum
in a limited ppm range count (noise is independent between them). The tails of a moving water or lipid signal are a
smooth background there (the aim of robust spectral registration, Mikkelsen et al., doi:10.1002/nbm.4368): its
covariance between transients is estimated from the session and whitened, so that it does no harm where it varies and
costs no precision where it does not; bins that vary more than others, from whatever cause, weigh less.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d

from mrsflow.axes import ppm_axis, ppm_to_hz, shift_frequency, time_axis, to_fid, to_spectrum
from mrsflow.constants import MAD_TO_SD, REFERENCE_PPM
from mrsflow.errors import InputError
from mrsflow.water import WATER_RANGE_PPM, residual_water

BACKGROUND_ORDER = 2
"""Order of the complex polynomial over the aligned range that counts as background."""

GAIN_WIDTH = 0.02
"""Time (s) over which the power of the mean FID is averaged to tell signal from noise."""

START_LINEWIDTH = 8.0
"""Lorentzian width (Hz) of the lines that give the starting values."""

ITERATIONS = 8

WEIGHT_BINS = 9
"""Neighbouring bins whose residuals are averaged to give a bin's weight."""

LEAST_STRENGTH = 2.8
"""Median `strength` that frames need to be aligned one by one."""

MINIMUM_TO_WHITEN = 24
"""Transients that tell how much the background varies; with fewer it is projected out."""

PHASE_LIMIT_RAD = np.pi / 4
"""A transient is corrupted when its phase differs by more from its neighbours'. Here and below: or by more than the
session's own spread makes likely, where that is larger."""

AMPLITUDE_LIMIT = 0.25
"""A transient is corrupted when its amplitude differs by more than this share from its neighbours'."""

BROADENING_LIMIT = 0.25
"""A transient is corrupted when it is wider by more than this share of the line, to first order: about half of what a
doubled line adds."""

WATER_CHANGE = 1.0
"""Median change of residual water, as a share of its mean, up to which the mean tells its shape in each transient."""

NEIGHBOURS = 31
"""Transients over which slow courses are smoothed."""


@dataclass(frozen=True)
class Window:
    """Bins of the spectrum in a range of ppm: real parts first, then imaginary ones, whitened for what varies.

    Attributes
    ----------
    bins : (n_bins,) int
        Of `mrsflow.axes.to_spectrum`.
    background : (2 n_bins, k) float
        Orthonormal smooth complex polynomials over the bins.
    damping : (k, k) float
        Share of them that is taken out: the identity projects them out, 0 leaves them.
    weight : (2 n_bins,) float
        Of each bin.
    dwell_time : float
        s.
    """

    bins: NDArray[np.integer]
    background: NDArray[np.floating]
    damping: NDArray[np.floating]
    weight: NDArray[np.floating]
    dwell_time: float

    def of(self, fids: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Whitened bins (..., 2 n_bins) of FIDs (..., n_points)."""
        return self._damped(self.raw(fids)) * self.weight

    def _damped(self, bins: NDArray[np.floating]) -> NDArray[np.floating]:
        return bins - (bins @ self.background) @ self.damping @ self.background.T

    def raw(self, fids: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Bins as they are, scaled so that the noise of bins and of points is equal."""
        spectra = to_spectrum(fids)[..., self.bins] / np.sqrt(fids.shape[-1])
        return np.concatenate([spectra.real, spectra.imag], axis=-1)

    def back(self, whitened: NDArray[np.floating]) -> NDArray[np.floating]:
        """Raw bins (..., 2 n_bins) whose product with those of data is that of `whitened` with whitened data."""
        return self._damped(whitened * self.weight)

    def fid(self, bins: NDArray[np.floating], n_points: int) -> NDArray[np.complexfloating]:
        """FIDs (..., n_points) of raw bins (..., 2 n_bins), and nothing outside them."""
        cut = np.zeros((*bins.shape[:-1], n_points), dtype=complex)
        real, imaginary = np.split(bins, 2, axis=-1)
        cut[..., self.bins] = real + 1j * imaginary
        return to_fid(cut) * np.sqrt(n_points)

    def matched(self, template: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """FID (n_points,) whose product with data is their whitened product with the template, at zero frequency."""
        return self.fid(self.back(self.of(template)), template.size)


def window(n_points: int, dwell_time: float, spectrometer_frequency: float, ppm: tuple[float, float]) -> Window:
    """Make the window of a ppm range, with any smooth background projected out.

    Raises
    ------
    InputError
        The range holds too few points of the spectrum.
    """
    axis = ppm_axis(n_points, dwell_time, spectrometer_frequency)
    bins = np.flatnonzero((axis >= min(ppm)) & (axis <= max(ppm)))
    if bins.size < 8 * (BACKGROUND_ORDER + 1):
        raise InputError(
            f"the range {min(ppm)} to {max(ppm)} ppm holds {bins.size} points of the spectrum; "
            "widen preprocess.align_ppm"
        )
    smooth = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, bins.size), BACKGROUND_ORDER))[0]
    background = np.kron(np.eye(2), smooth)
    return Window(bins, background, np.eye(background.shape[1]), np.ones(2 * bins.size), dwell_time)


@dataclass(frozen=True)
class Registration:
    """What was found for each transient, relative to the template.

    Attributes
    ----------
    shift_hz, phase_rad : (n,) float
        Of the transient as measured; `apply` takes them out. Phase at the first point.
    amplitude : (n,) float
        Of the template in the transient.
    broadening_hz : (n,) float
        Lorentzian width (Hz) by which the transient is wider than the template, to first order.
    residual : (n,) float
        Mean power per bin of what the template does not explain.
    template : (n_points,) complex
    fitted_noise : (n_points,) complex
        What the noise that was fitted along adds to the mean of corrected transients, for noise whose real part has
        the variance 1; see `without_fitted_noise`.
    """

    shift_hz: NDArray[np.floating]
    phase_rad: NDArray[np.floating]
    amplitude: NDArray[np.floating]
    broadening_hz: NDArray[np.floating]
    residual: NDArray[np.floating]
    template: NDArray[np.complexfloating]
    fitted_noise: NDArray[np.complexfloating]


def apply(
    fids: NDArray[np.complexfloating],
    shift_hz: NDArray[np.floating],
    phase_rad: NDArray[np.floating],
    dwell_time: float,
) -> NDArray[np.complexfloating]:
    """Take frequency shifts (Hz) and phases (rad) out of FIDs (n, n_points)."""
    return shift_frequency(fids, -shift_hz, dwell_time) * np.exp(-1j * phase_rad)[:, np.newaxis]


def singlets(
    n_points: int, dwell_time: float, spectrometer_frequency: float, ppm: tuple[float, float], linewidth: float
) -> NDArray[np.complexfloating]:
    """FIDs (n, n_points) of the tNAA, tCr and tCho singlets inside a ppm range, of one Lorentzian width (Hz).

    Raises
    ------
    InputError
        None of them lies in the range.
    """
    shifts = [shift for shift in REFERENCE_PPM.values() if min(ppm) < shift < max(ppm)]
    if not shifts:
        known = ", ".join(f"{name} ({shift:.2f})" for name, shift in REFERENCE_PPM.items())
        raise InputError(f"preprocess.align_ppm {min(ppm)} to {max(ppm)} holds none of {known} ppm; widen it")
    frequencies = ppm_to_hz(np.array(shifts), spectrometer_frequency)
    return np.exp((2j * np.pi * frequencies[:, np.newaxis] - np.pi * linewidth) * time_axis(n_points, dwell_time))


def coarse(
    fids: NDArray[np.complexfloating], template: NDArray[np.complexfloating], limits: Window, max_shift_hz: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Shift (Hz) and phase (rad) where the matched filter of a template is strongest.

    Parameters
    ----------
    fids : (n, n_points) complex
    template : (n_points,) complex
    limits : Window
        Only these bins of the template count.
    max_shift_hz : float
        Largest shift that is tried.
    """
    shifts, filtered = _filtered(fids, limits.matched(template), limits.dwell_time, max_shift_hz)
    best = np.argmax(np.abs(filtered), axis=-1)
    return shifts[best], np.angle(filtered[np.arange(len(fids)), best])


def _filtered(
    fids: NDArray[np.complexfloating], matched: NDArray[np.complexfloating], dwell_time: float, max_shift_hz: float
) -> tuple[NDArray[np.floating], NDArray[np.complexfloating]]:
    """Shifts (m) that are tried, and the output (n, m) of the matched filter there."""
    n_fine = 2 * fids.shape[-1]
    shifts = np.fft.fftfreq(n_fine, dwell_time)
    allowed = np.flatnonzero(np.abs(shifts) <= max_shift_hz)
    return shifts[allowed], np.fft.fft(fids * np.conj(matched), n_fine, axis=-1)[:, allowed]


def strength(
    fids: NDArray[np.complexfloating], template: NDArray[np.complexfloating], limits: Window, max_shift_hz: float
) -> NDArray[np.floating]:
    """Largest output of the matched filter over the rms that noise alone gives it, for each transient.

    Noise is that of the last quarter of the FID. Where nothing but noise is aligned, its mean comes out like the
    template; so what is to be aligned must stand out before: the largest of some 75 independent values is about 2 for
    noise.
    """
    matched = limits.matched(template)
    filtered = _filtered(fids, matched, limits.dwell_time, max_shift_hz)[1]
    noise = np.mean(np.abs(fids[:, 3 * fids.shape[-1] // 4 :]) ** 2, axis=-1)
    return np.abs(filtered).max(axis=-1) / np.sqrt(np.maximum(noise, 1e-300) * np.sum(np.abs(matched) ** 2))


def refine(
    fids: NDArray[np.complexfloating],
    template: NDArray[np.complexfloating],
    limits: Window,
    shift_hz: NDArray[np.floating],
    phase_rad: NDArray[np.floating],
    max_shift_hz: float,
) -> Registration:
    """Maximum-likelihood shift, phase and amplitude of each transient for a known template.

    Parameters
    ----------
    fids : (n, n_points) complex
    template : (n_points,) complex
    limits : Window
    shift_hz, phase_rad : (n,) float
        Starting values.
    max_shift_hz : float
        Shifts are kept within it.

    Notes
    -----
    Each step is the linear regression of the corrected transient on the template and its derivatives by phase and
    frequency: one small matrix for all transients.
    """
    derivatives = limits.of(_derivatives(template, limits.dwell_time))
    solve = np.linalg.pinv(derivatives[:3].T)
    for _ in range(ITERATIONS):
        amplitude, phase_error, shift_error = solve @ limits.of(apply(fids, shift_hz, phase_rad, limits.dwell_time)).T
        amplitude = _not_zero(amplitude)
        bounded = np.clip(shift_hz + np.clip(shift_error / amplitude, -4, 4), -max_shift_hz, max_shift_hz)
        step = np.stack([bounded - shift_hz, np.clip(phase_error / amplitude, -0.5, 0.5)])
        shift_hz, phase_rad = bounded, phase_rad + step[1]
        if np.all(np.abs(step) < 1e-4):
            break
    corrected = limits.of(apply(fids, shift_hz, phase_rad, limits.dwell_time))
    amplitude = (solve @ corrected.T)[0]
    widened = (np.linalg.pinv(derivatives.T) @ corrected.T)[[0, 3]]
    return Registration(
        shift_hz=shift_hz,
        phase_rad=np.angle(np.exp(1j * phase_rad)),
        amplitude=amplitude,
        broadening_hz=widened[1] / _not_zero(widened[0]),
        residual=np.mean((corrected - np.outer(amplitude, derivatives[0])) ** 2, axis=-1),
        template=template,
        fitted_noise=_fitted_noise(template, limits, solve[1:]),
    )


def _fitted_noise(
    template: NDArray[np.complexfloating], limits: Window, solve: NDArray[np.floating]
) -> NDArray[np.complexfloating]:
    """Give `Registration.fitted_noise`, from what makes phase and frequency errors of whitened bins (2, 2 n_bins)."""
    t = time_axis(template.size, limits.dwell_time)
    derivatives = np.stack([np.full(t.size, 1j), 2j * np.pi * t])
    gains = limits.back(solve)
    covariance = gains @ gains.T
    curvature = np.einsum("jk,jt,kt->t", covariance, derivatives, derivatives) * template
    return curvature / 2 - np.sum(derivatives * limits.fid(gains, t.size), axis=0)


def without_fitted_noise(fids: NDArray[np.complexfloating], found: Registration) -> NDArray[np.complexfloating]:
    """Take out of corrected transients (n, n_points) what their noise, fitted along, adds to the mean.

    Notes
    -----
    An error e of phase and frequency multiplies signal s and noise n by exp(-e·D), D being i and 2πit. To second order
    the mean is s + E[ee']·DD's / 2 - D·E[en]. The first term lowers the whole spectrum alike; the second raises only
    the range that was aligned, as errors come from the noise there. Left in, Glx/tNAA rises by 0.4 % at an SNR of 5 a
    transient, as the square of 1/SNR. Both are known, as errors are linear in the noise; its variance is that of the
    last quarter of each transient. Of n transients, each makes 1/n of the template, whose noise is no error.
    """
    tail = slice(3 * fids.shape[-1] // 4, None)
    noise = fids[:, tail] - np.outer(found.amplitude, found.template[tail])
    variance = np.mean(np.abs(noise) ** 2, axis=-1) / 2 * (1 - 1 / len(fids))
    return fids - np.outer(variance, found.fitted_noise)


def _derivatives(template: NDArray[np.complexfloating], dwell_time: float) -> NDArray[np.complexfloating]:
    """Template (n_points,) and its derivatives by phase (rad), frequency (Hz) and Lorentzian width (Hz)."""
    t = time_axis(template.size, dwell_time)
    return np.stack([template, 1j * template, 2j * np.pi * t * template, -np.pi * t * template])


def _not_zero(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(np.abs(values) > 1e-12, values, 1e-12)


def whiten(limits: Window, fids: NDArray[np.complexfloating], found: Registration, good: NDArray[np.bool_]) -> Window:
    """Adapt a window to how much the background, and each bin, really varies between transients.

    The covariance of the background is the mean square of its coefficients in a joint regression with the template,
    less what noise alone gives there (a moment estimate of a random effect); directions in which noise alone could
    vary as much (Marchenko-Pastur, doi:10.1070/SM1967v001n04ABEH001994) do not count. To project out a background
    that does not vary would nearly double the error of the phase. The weight of a bin is one over the SD of its
    residual.
    """
    raw = limits.raw(apply(fids, found.shift_hz, found.phase_rad, limits.dwell_time)[good]).T
    signal = limits.raw(_derivatives(found.template, limits.dwell_time)[:3]).T
    design = np.concatenate([signal, limits.background], axis=1)
    coefficients = np.linalg.lstsq(design, raw, rcond=None)[0]
    residual = np.mean((raw - design @ coefficients) ** 2, axis=1)
    noise = residual.sum() / (len(design) - design.shape[1])
    varying = coefficients[3:] - coefficients[3:].mean(axis=1, keepdims=True)
    by_noise = np.linalg.cholesky(np.linalg.inv(design.T @ design)[3:, 3:])
    scaled = np.linalg.solve(by_noise, varying)
    values, vectors = np.linalg.eigh(scaled @ scaled.T / (raw.shape[1] - 1) / noise)
    beyond = np.where(values > (1 + np.sqrt(len(varying) / raw.shape[1])) ** 2, values - 1, 0)
    values, vectors = np.linalg.eigh(by_noise @ (vectors * beyond) @ vectors.T @ by_noise.T)
    damping = (vectors * (1 - 1 / np.sqrt(1 + np.clip(values, 0, None)))) @ vectors.T
    power = uniform_filter1d(residual.reshape(2, -1).mean(axis=0), WEIGHT_BINS, mode="nearest")
    weight = np.sqrt(np.median(power) / np.maximum(power, 1e-12 * power.max()))
    return replace(limits, damping=damping, weight=np.tile(weight, 2))


def denoised(template: NDArray[np.complexfloating], dwell_time: float) -> NDArray[np.complexfloating]:
    """Damp a mean FID (n_points,) where its signal has sunk into the noise (Wiener gain over time).

    The derivative of a template by frequency weighs each point by its time, so that noise behind the signal would
    dominate it.
    """
    power = np.abs(template) ** 2
    smooth = uniform_filter1d(power, max(round(GAIN_WIDTH / dwell_time), 1), mode="mirror")
    noise = power[3 * power.size // 4 :].mean()
    gain = np.clip(1 - noise / smooth, 0, None) if noise > 0 else np.ones(power.size)
    return template * np.minimum.accumulate(gain)


def register(
    fids: NDArray[np.complexfloating],
    start: NDArray[np.complexfloating],
    limits: Window,
    max_shift_hz: float,
    weights: NDArray[np.floating] | None = None,
    rounds: int = 4,
) -> Registration:
    """Register all transients of a session to their common mean.

    Parameters
    ----------
    fids : (n, n_points) complex
    start : (n_points,) complex
        Rough model of the signal: it gives the starting values, and so the absolute frequency and phase.
    limits : Window
    max_shift_hz : float
        Largest shift from `start`.
    weights : (n,) float, optional
        Share of each transient in the mean, e.g. its number of excitations.
    rounds : int
        How often the mean is made anew from the corrected transients.

    Raises
    ------
    InputError
        A transient without any signal.
    """
    weights = np.ones(len(fids)) if weights is None else np.asarray(weights, dtype=float)
    if empty := np.flatnonzero(~np.any(fids, axis=-1)).tolist():
        raise InputError(
            f"transient {empty[0]} (counted from 0) holds only zeros; export the scan again, or leave it out"
        )
    good = np.ones(len(fids), dtype=bool)
    shift, phase = coarse(fids, start, limits, max_shift_hz)
    for number in range(rounds):
        share = weights * good
        template = denoised(share @ apply(fids, shift, phase, limits.dwell_time) / share.sum(), limits.dwell_time)
        if number > 0:  # a wrong start is found again with the better template
            shift, phase = coarse(fids, template, limits, max_shift_hz)
        found = refine(fids, template, limits, shift, phase, max_shift_hz)
        shift, phase = found.shift_hz, found.phase_rad
        good = (np.abs(deviation(found.amplitude)) < 4) & (deviation(found.residual) < 6)
        if good.sum() >= MINIMUM_TO_WHITEN:
            limits = whiten(limits, fids, found, good)
    return found


def without_water(
    fids: NDArray[np.complexfloating], found: Registration, dwell_time: float, spectrometer_frequency: float
) -> NDArray[np.complexfloating]:
    """Subtract residual water: the shape it has in the template, as large as each transient has it at its own place.

    What water does between 4.2 and 5.1 ppm tells its tails in the aligned range, where alone they look like a turn.

    Parameters
    ----------
    fids : (n, n_points) complex
    found : Registration
        Of these transients.
    dwell_time, spectrometer_frequency : float
        s, MHz.

    Returns
    -------
    (n, n_points) complex
        The transients as they are where the water of most has little in common with that of the mean.
    """
    model = residual_water(found.template, dwell_time, spectrometer_frequency)
    axis = ppm_axis(model.size, dwell_time, spectrometer_frequency)
    bins = np.flatnonzero((axis >= WATER_RANGE_PPM[0]) & (axis <= WATER_RANGE_PPM[1]))
    shape = to_spectrum(model)[bins]
    corrected = to_spectrum(apply(fids, found.shift_hz, found.phase_rad, dwell_time))[:, bins]
    share = corrected @ shape.conj() / max(np.sum(np.abs(shape) ** 2), 1e-300)
    if np.median(np.abs(share - 1)) > WATER_CHANGE:
        return fids
    return fids - apply(np.multiply.outer(share, model), -found.shift_hz, -found.phase_rad, dwell_time)


def deviation(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance from the median in robust standard deviations (median absolute deviation)."""
    centred = values - np.median(values)
    return centred / max(MAD_TO_SD * np.median(np.abs(centred)), 1e-3 * abs(np.median(values)), 1e-300)


def corrupted(found: Registration, linewidth_hz: float, phase_cycle: int = 1) -> NDArray[np.str_]:
    """Reason to reject each transient, empty for the good ones.

    Parameters
    ----------
    found : Registration
    linewidth_hz : float
        Of the template.
    phase_cycle : int
        Transients of a complete phase cycle; a cycle with a corrupted transient is rejected whole.

    Returns
    -------
    (n,) str
        ``amplitude``, ``phase``, ``width``, ``residual`` or ``phase cycle``.

    Notes
    -----
    With fewer than four transients there is nothing to compare with and none is rejected.
    """
    n = len(found.amplitude)
    reasons = np.full(n, "", dtype="<U11")
    if n < 4:
        return reasons
    phase_error = np.angle(np.exp(1j * found.phase_rad) * np.exp(-1j * _slow_phase(found.phase_rad)))
    scaled = found.amplitude / slow(found.amplitude) - 1
    widened = (found.broadening_hz - np.median(found.broadening_hz)) / linewidth_hz
    for reason, off in (
        ("residual", (deviation(found.residual) > 6) & (found.residual > 1.5 * np.median(found.residual))),
        ("width", np.abs(widened) > np.maximum(BROADENING_LIMIT, 3 * _spread(widened))),
        ("phase", np.abs(phase_error) > np.maximum(PHASE_LIMIT_RAD, 2 * np.quantile(np.abs(phase_error), 0.75))),
        ("amplitude", np.abs(scaled) > np.maximum(AMPLITUDE_LIMIT, 3 * _spread(scaled))),
    ):
        reasons[off] = reason
    cycles = np.arange(n) // phase_cycle
    broken = np.isin(cycles, cycles[reasons != ""]) & (reasons == "")
    reasons[broken] = "phase cycle"
    return reasons


def slow(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Smooth a course over transients with a running median."""
    return median_filter(values, size=min(NEIGHBOURS, len(values)), mode="mirror")


def _slow_phase(phase_rad: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.angle(slow(np.cos(phase_rad)) + 1j * slow(np.sin(phase_rad)))


def _spread(values: NDArray[np.floating]) -> float:
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values))))
