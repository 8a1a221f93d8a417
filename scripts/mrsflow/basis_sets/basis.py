"""Basis sets: the signal of each metabolite for one sequence, field and timing; their sense and resampling."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrsflow import axes
from mrsflow.constants import SINGLETS_PPM, WATER_PPM
from mrsflow.errors import InputError
from mrsflow.water import residual_water

FIELD_TOLERANCE = 0.01
"""Largest relative difference between the spectrometer frequencies of basis and data."""
ECHO_TIME_TOLERANCE = 1e-3
"""Largest difference between the echo times of basis and protocol (s)."""
MIDDLE_PPM = 2.65
"""Middle of the metabolites' range; interpolation is best around it."""
REFERENCE_REACH_PPM = 0.1
"""A line this near to 0 ppm is a chemical shift reference, as MakeBasis input often has in every signal."""
REFERENCE_NAMES = ("DSS", "TMS", "TSP")
"""Signals that are such a reference."""
REACH, KAISER = 32, 12.0
"""Interpolation kernel: samples on each side, and the shape parameter of its window."""


@dataclass(frozen=True)
class Basis:
    """A basis set.

    Attributes
    ----------
    names : tuple of str, length M
        As in the file.
    fids : (M, n_points) complex
        Unbroadened or lightly broadened signals in the sense of `mrsflow.axes`, phased so that singlets absorb
        (positive real spectrum), of one common concentration unit. Simulated: a singlet of one proton starts with
        1. From files: the scale of the file, as LCModel would use it.
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.
    reference_ppm : float
        Chemical shift at 0 Hz.
    linewidth : float
        Lorentzian width the signals already have (Hz), as the file states it; 0 when unknown or none.
    description : str
        Sequence and timing, or the file it came from.
    echo_time : float
        s, 0 when unknown.
    """

    names: tuple[str, ...]
    fids: NDArray[np.complexfloating]
    dwell_time: float
    spectrometer_frequency: float
    reference_ppm: float
    linewidth: float = 0.0
    description: str = ""
    echo_time: float = 0.0

    @property
    def n_points(self) -> int:
        """Number of points of each FID."""
        return self.fids.shape[-1]


def match(basis: Basis, spectrometer_frequency: float, nucleus: str, dwell_time: float, n_points: int) -> Basis:
    """Bring a basis to the sampling of data, with 4.65 ppm at 0 Hz.

    Chemical shifts in ppm are kept where the frequencies differ a little; the couplings then change by the same
    factor, 1 % at most.

    Parameters
    ----------
    basis : Basis
    spectrometer_frequency, nucleus, dwell_time, n_points
        Of the data: MHz, e.g. ``1H``, s.

    Raises
    ------
    InputError
        Another nucleus, a field strength that differs by more than 1 % (scanners of one kind differ by less than
        0.3 %; those of two makers, with 123.2 and 127.7 MHz, by 3.6 %), or a signal outside the bandwidth.
    """
    check_field(basis, spectrometer_frequency, nucleus)
    ratio = spectrometer_frequency / basis.spectrometer_frequency
    scaled = replace(
        centred(oriented(basis, basis.description or "basis")),
        dwell_time=basis.dwell_time / ratio,
        spectrometer_frequency=spectrometer_frequency,
        linewidth=basis.linewidth * ratio,
    )
    return resample(scaled, dwell_time, n_points)


def check_field(basis: Basis, spectrometer_frequency: float, nucleus: str) -> None:
    """Refuse a basis for another nucleus or field strength than that of data or protocol; see `match`."""
    source = basis.description or "basis"
    if nucleus != "1H":
        raise InputError(f"{source}: the data are of {nucleus}; basis sets are of 1H")
    difference = abs(spectrometer_frequency / basis.spectrometer_frequency - 1)
    if not difference <= FIELD_TOLERANCE:
        raise InputError(
            f"{source}: is for {basis.spectrometer_frequency:.2f} MHz, the data have {spectrometer_frequency:.2f} MHz "
            f"({100 * difference:.1f} % apart, {100 * FIELD_TOLERANCE:.0f} % allowed); use a basis of this field"
        )


def check_echo_time(basis: Basis, echo_time: float) -> None:
    """Refuse a basis that states another echo time (s) than a protocol: coupled signals would have wrong shapes."""
    if basis.echo_time and abs(basis.echo_time - echo_time) > ECHO_TIME_TOLERANCE:
        raise InputError(
            f"{basis.description or 'basis'}: is for TE {basis.echo_time * 1e3:g} ms, the protocol has "
            f"{echo_time * 1e3:g} ms; use a basis of this echo time, or `basis: null` to simulate one"
        )


def centred(basis: Basis) -> Basis:
    """Shift a basis in frequency so that 4.65 ppm is at 0 Hz."""
    if basis.reference_ppm == WATER_PPM:
        return basis
    hz = (WATER_PPM - basis.reference_ppm) * basis.spectrometer_frequency
    return replace(basis, fids=axes.shift_frequency(basis.fids, hz, basis.dwell_time), reference_ppm=WATER_PPM)


def resample(basis: Basis, dwell_time: float, n_points: int) -> Basis:
    """Sample the signals at other times.

    Parameters
    ----------
    basis : Basis
    dwell_time : float
        s.
    n_points : int
        After the end of a signal follow zeros.

    Raises
    ------
    InputError
        A signal lies outside the new bandwidth.

    Notes
    -----
    Band-limited interpolation with a Kaiser-windowed sinc around the middle of the metabolites' range. What the
    window needs before the first point comes from backward linear prediction, exact for sums of decaying lines; a
    plain Fourier interpolation would ring at the start of the signal.
    """
    from threadpoolctl import threadpool_limits

    if np.isclose(dwell_time, basis.dwell_time, rtol=1e-6, atol=0):
        fids = basis.fids[:, :n_points]
    else:
        _check_bandwidth(basis, dwell_time)
        middle = axes.ppm_to_hz(MIDDLE_PPM, basis.spectrometer_frequency, basis.reference_ppm)
        times = axes.time_axis(n_points, dwell_time)
        times = times[times <= (basis.n_points - 1) * basis.dwell_time * (1 + 1e-12)]
        about_zero = axes.shift_frequency(basis.fids, -middle, basis.dwell_time)
        with threadpool_limits(1):  # the same rounding whatever the number of threads
            fids = _interpolated(about_zero, times / basis.dwell_time)
        fids = fids * np.exp(2j * np.pi * middle * times)
    fids = np.pad(fids, ((0, 0), (0, n_points - fids.shape[-1])))
    return replace(basis, fids=fids, dwell_time=dwell_time)


def _check_bandwidth(basis: Basis, dwell_time: float) -> None:
    """Refuse a bandwidth that cuts off a fifth of a signal's energy; the tails of broad lines have less."""
    energy = np.abs(axes.to_spectrum(basis.fids)) ** 2
    outside = np.abs(axes.frequency_axis(basis.n_points, basis.dwell_time)) > 0.5 / dwell_time
    lost = energy[:, outside].sum(axis=-1) > 0.2 * energy.sum(axis=-1)
    if lost.any():
        raise InputError(
            f"{basis.description or 'basis'}: {basis.names[lost.argmax()]} has a signal beyond "
            f"±{0.5 / dwell_time:.0f} Hz, the bandwidth of a dwell time of {dwell_time:g} s"
        )


def _interpolated(fids: NDArray, positions: NDArray[np.floating]) -> NDArray:
    """Values of signals (M, n) at fractional sample numbers from 0 on, (M, len(positions)).

    A first point that was halved, as some programs do, counts in full for its neighbours and stays halved itself.
    """
    before = np.array([_predicted(fid[:0:-1], REACH + 2)[::-1] for fid in fids])
    after = np.array([_predicted(fid, REACH + 1) for fid in fids])
    expected = before[:, -1]
    halved = np.abs(2 * fids[:, 0] - expected) < 0.2 * np.abs(expected)
    first = np.where(halved, expected, fids[:, 0])
    extended = np.concatenate([before[:, :-1], first[:, None], fids[:, 1:], after], axis=-1)
    nearest = np.floor(positions + 0.5).astype(int)
    taps = np.arange(-REACH, REACH + 1)
    distance = (positions - nearest)[:, None] - taps
    inside = np.clip(1 - (distance / (REACH + 1)) ** 2, 0, None)
    kernel = np.sinc(distance) * np.i0(KAISER * np.sqrt(inside)) / np.i0(KAISER)
    values = np.einsum("mpt,pt->mp", extended[:, nearest[:, None] + taps + REACH + 1], kernel)
    values[:, 0] = fids[:, 0]
    return values


def _predicted(fid: NDArray, count: int) -> NDArray:
    """Continue a signal by linear prediction, (count,); zeros where no prediction stays bounded."""
    order = min(2 * REACH, fid.size // 3)
    recent = fid[-8 * order :]
    windows = np.lib.stride_tricks.sliding_window_view(recent, order)
    for smallest in (1e-6, 1e-4, 1e-2):  # singular values left out: more of them for noisier signals
        weights = np.linalg.lstsq(windows[:-1], recent[order:], rcond=smallest)[0]
        values = list(recent[-order:])
        for _ in range(count):
            values.append(np.dot(weights, values[-order:]))
        if np.abs(values[order:]).max() <= 30 * np.abs(recent[-order:]).max():
            return np.array(values[order:])
    return np.zeros(count, dtype=fid.dtype)


def oriented(basis: Basis, source: str) -> Basis:
    """Give the basis the sense of `mrsflow.axes` and the reference shift that its known singlets show.

    Files rarely say which way the FID turns, nor whether 0 Hz is 4.65 or 4.68 ppm. Names in `SINGLETS_PPM` tell: when
    their peaks lie where they should only after complex conjugation, the signals are conjugated; a common offset of
    0.02 ppm or more moves `reference_ppm` (rounded to 0.01 ppm). A stated linewidth that their peaks cannot have is
    dropped (0). A basis without such names is conjugated when most of its signal lies at higher shifts than water.
    A reference line at 0 ppm is taken out of every signal that has one.

    Raises
    ------
    InputError
        The singlets lie at neither place: frequency or dwell time are wrong.
    """
    return _without_reference(_turned(basis, source))


def _turned(basis: Basis, source: str) -> Basis:
    """Give the basis the sense and reference shift that its singlets show; see `oriented`."""
    known = [(i, SINGLETS_PPM[name]) for i, name in enumerate(basis.names) if name in SINGLETS_PPM]
    if not known:
        return replace(basis, fids=np.conj(basis.fids)) if _is_mirrored(basis) else basis
    expected = np.array([shift for _, shift in known])
    found, width = _peaks(basis, [i for i, _ in known])
    linewidth = basis.linewidth if basis.linewidth <= 1.5 * width else 0.0
    mirrored = 2 * basis.reference_ppm - found
    for ppm, conjugated in ((found, False), (mirrored, True)):
        offset = float(np.median(expected - ppm))
        if abs(offset) < 0.2 and np.median(np.abs(expected - ppm - offset)) < 0.02:
            fids = np.conj(basis.fids) if conjugated else basis.fids
            reference = round(basis.reference_ppm + offset, 2) if abs(offset) >= 0.02 else basis.reference_ppm
            return replace(basis, fids=fids, reference_ppm=reference, linewidth=linewidth)
    positions = ", ".join(f"{basis.names[i]} at {ppm:.2f}" for (i, _), ppm in zip(known, found, strict=True))
    raise InputError(
        f"{source}: singlets lie at the wrong shifts ({positions} ppm) and would in the mirror image too; "
        f"check spectrometer frequency ({basis.spectrometer_frequency:g} MHz) and dwell time ({basis.dwell_time:g} s)"
    )


def _is_mirrored(basis: Basis) -> bool:
    """Tell whether the range of metabolites, 0.2 to 4.2 ppm, holds less signal than its mirror image about 0 Hz."""
    power = (np.abs(axes.to_spectrum(basis.fids)) ** 2).sum(axis=0)
    hz = axes.frequency_axis(basis.n_points, basis.dwell_time)
    high, low = axes.ppm_to_hz([0.2, 4.2], basis.spectrometer_frequency, basis.reference_ppm)
    return bool(power[(hz > low) & (hz < high)].sum() < power[(-hz > low) & (-hz < high)].sum())


def _without_reference(basis: Basis) -> Basis:
    """Take out the line at 0 ppm: LCModel looks no lower than 0.2 ppm, but the line's tails reach the metabolites."""
    spectra = np.abs(axes.to_spectrum(basis.fids))
    away = np.abs(axes.ppm_axis(basis.n_points, basis.dwell_time, basis.spectrometer_frequency, basis.reference_ppm))
    near, around = away < REFERENCE_REACH_PPM, (away > REFERENCE_REACH_PPM) & (away < 4 * REFERENCE_REACH_PPM)
    if not near.any() or not around.any():
        return basis
    stands_out = spectra[:, near].max(axis=-1) > 5 * np.median(spectra[:, around], axis=-1)
    rows = [k for k in np.flatnonzero(stands_out) if basis.names[k].upper() not in REFERENCE_NAMES]
    if not rows:
        return basis
    fids = np.array(basis.fids)
    offset = WATER_PPM - basis.reference_ppm
    limits = (offset - REFERENCE_REACH_PPM, offset + REFERENCE_REACH_PPM)
    for row in rows:
        fids[row] -= residual_water(fids[row], basis.dwell_time, basis.spectrometer_frequency, limits)
    return replace(basis, fids=fids)


def _peaks(basis: Basis, rows: list[int]) -> tuple[NDArray[np.floating], float]:
    """Chemical shifts of the highest points of some spectra, and the least full width at half height (Hz).

    The neighbourhood of 0 ppm and its mirror image are left out: a reference line may stand there.
    """
    n_points = 1 << int(np.ceil(np.log2(4 * basis.n_points)))
    hz = np.fft.fftfreq(n_points, basis.dwell_time)
    origin = axes.ppm_to_hz(0.0, basis.spectrometer_frequency, basis.reference_ppm)
    metabolites = np.abs(np.abs(hz) - abs(origin)) > 0.25 * basis.spectrometer_frequency
    spectra = np.abs(np.fft.fft(basis.fids[rows], n_points, axis=-1)) * metabolites
    hz = hz[spectra.argmax(axis=-1)]
    above = spectra > spectra.max(axis=-1, keepdims=True) / 2
    width = above.sum(axis=-1).min() / (n_points * basis.dwell_time)
    return axes.hz_to_ppm(hz, basis.spectrometer_frequency, basis.reference_ppm), width
