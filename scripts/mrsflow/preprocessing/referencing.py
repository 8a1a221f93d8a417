"""Phase, shift and linewidth of a spectrum from a model of the tNAA, tCr and tCho singlets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrsflow.axes import ppm_axis, ppm_to_hz, shift_frequency, time_axis, to_spectrum
from mrsflow.constants import GAUSSIAN, REFERENCE_PPM, SINGLETS_PPM, WATER_PPM
from mrsflow.errors import InputError

REGIONS_PPM = ((1.88, 2.15), (2.93, 3.33))
"""Surroundings of the singlets; each has its own straight baseline."""

SPAN_PPM = (1.8, 3.4)
"""All of them, for comparisons of one spectrum with another."""

LINES = {
    "tNAA": ((REFERENCE_PPM["NAA"], 1.0), (SINGLETS_PPM["NAAG"], 0.15)),
    "tCr": ((REFERENCE_PPM["Cr"], 1.0),),
    "tCho": ((REFERENCE_PPM["Cho"], 1.0),),
}
"""Shift (ppm) and share of the singlets of each sum; NAAG beside NAA at a usual share."""

MAX_SHIFT_PPM = 0.3

LEAST_EXPLAINED = 0.2
"""Share of the power around the singlets that the model must explain; noise alone gives about a tenth."""


@dataclass(frozen=True)
class SingletFit:
    """What the model found.

    Attributes
    ----------
    shift_hz : float
        Frequency by which the singlets lie off their chemical shifts.
    phase_rad : float
    linewidth_hz : float
        FWHM of the Voigt line.
    heights : dict
        Height of tNAA, tCr and tCho in the real spectrum, phased, without baseline.
    areas : dict
        Amplitude of each at the first point of the FID.
    """

    shift_hz: float
    phase_rad: float
    linewidth_hz: float
    heights: dict[str, float]
    areas: dict[str, float]


def fit_singlets(
    fid: NDArray[np.complexfloating],
    dwell_time: float,
    spectrometer_frequency: float,
    max_shift_ppm: float = MAX_SHIFT_PPM,
) -> SingletFit:
    """Fit Voigt singlets of one width, shift and phase to a spectrum.

    Parameters
    ----------
    fid : (n_points,) complex
    dwell_time, spectrometer_frequency : float
        s, MHz.
    max_shift_ppm : float
        Limit of the shift.

    Raises
    ------
    InputError
        No such pattern within the limit.
    """
    from scipy.optimize import least_squares

    limit = max_shift_ppm * spectrometer_frequency
    coarse, phase = _Model(fid, dwell_time, spectrometer_frequency).start(2 * limit)  # also beyond it, to see
    model = _Model(shift_frequency(fid, -coarse, dwell_time), dwell_time, spectrometer_frequency)
    low, high = [-10.0, 0.0, 0.0, phase - 2], [10.0, 40.0, 40.0, phase + 2]
    found = least_squares(
        model.residual, [0.0, 4.0, 4.0, phase], bounds=(low, high), x_scale=[1, 1, 1, 0.1], xtol=1e-10, ftol=1e-10
    )
    amplitudes = model.amplitudes(found.x)
    explained = 1 - 2 * found.cost / np.sum(np.abs(model.data) ** 2)
    if abs(found.x[0] + coarse) > limit or amplitudes[0] <= 0 or not explained > LEAST_EXPLAINED:
        raise InputError(
            f"no tNAA, tCr and tCho singlets within {max_shift_ppm} ppm of their chemical shifts; check that the file "
            "holds brain metabolites and is neither mirrored nor of another nucleus, or leave this scan out"
        )
    shift, lorentzian, gaussian, phase = found.x
    names = list(LINES)
    unit = model.unit_heights(lorentzian, gaussian)
    return SingletFit(
        shift_hz=float(coarse + shift),
        phase_rad=float(np.angle(np.exp(1j * phase))),
        linewidth_hz=float(0.5346 * lorentzian + np.sqrt(0.2166 * lorentzian**2 + gaussian**2)),
        heights={name: float(a * h) for name, a, h in zip(names, amplitudes, unit, strict=True)},
        areas={name: float(a) for name, a in zip(names, amplitudes, strict=True)},
    )


class _Model:
    """Singlets in the bins of `REGIONS_PPM`, baselines projected out of model and data."""

    def __init__(self, fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> None:
        n_points = fid.size
        self.t = time_axis(n_points, dwell_time)
        axis = ppm_axis(n_points, dwell_time, spectrometer_frequency)
        parts = [np.flatnonzero((axis > low) & (axis < high)) for low, high in REGIONS_PPM]
        if min(part.size for part in parts) < 8:
            raise InputError(
                "the spectrum has too few points around tNAA, tCr and tCho: its resolution is "
                f"{1 / dwell_time / n_points:.1f} Hz; leave this scan out"
            )
        self.bins = np.concatenate(parts)
        smooth = np.zeros((self.bins.size, 2 * len(parts)))
        for n, part in enumerate(parts):
            rows = np.isin(self.bins, part)
            smooth[rows, 2 * n : 2 * n + 2] = np.linalg.qr(np.vander(np.linspace(-1, 1, part.size), 2))[0]
        self.smooth = smooth
        self.scale = np.abs(to_spectrum(fid)[self.bins]).max() or 1.0
        self.data = self.flat(to_spectrum(fid)[self.bins] / self.scale)
        lines = [[(ppm_to_hz(ppm, spectrometer_frequency), share) for ppm, share in group] for group in LINES.values()]
        self.unit = np.stack([sum(share * np.exp(2j * np.pi * f * self.t) for f, share in group) for group in lines])
        self.fid, self.dwell_time = fid, dwell_time

    def flat(self, bins: NDArray) -> NDArray:
        """Take the baselines out."""
        return bins - (bins @ self.smooth) @ self.smooth.T

    def lines(self, parameters: NDArray) -> NDArray:
        """Bins (3, n_bins) of the unit singlets."""
        shift, lorentzian, gaussian, phase = parameters
        decay = -np.pi * lorentzian * self.t - (np.pi * gaussian * self.t) ** 2 / GAUSSIAN
        shaped = self.unit * np.exp(decay + 1j * (2 * np.pi * shift * self.t + phase))
        return self.flat(to_spectrum(shaped)[:, self.bins])

    def solve(self, parameters: NDArray) -> tuple[NDArray, NDArray]:
        """Amplitudes of the singlets, linear and real, and the residual."""
        lines = self.lines(parameters)
        design = np.concatenate([lines.real, lines.imag], axis=1).T
        data = np.concatenate([self.data.real, self.data.imag])
        amplitudes = np.linalg.lstsq(design, data, rcond=None)[0]
        return amplitudes, data - design @ amplitudes

    def residual(self, parameters: NDArray) -> NDArray:
        """Residual of the best amplitudes (variable projection)."""
        return self.solve(parameters)[1]

    def amplitudes(self, parameters: NDArray) -> NDArray:
        """Amplitudes in units of the FID."""
        return self.solve(parameters)[0] * self.scale

    def start(self, limit: float) -> tuple[float, float]:
        """Shift (Hz) and phase (rad) of the strongest match of unit singlets of 8 Hz."""
        cut = np.zeros(self.fid.size, dtype=complex)
        pattern = np.array([3.0, 2.0, 1.5]) @ self.lines(np.array([0.0, 8.0, 0.0, 0.0]))
        cut[self.bins] = pattern
        matched = np.fft.ifft(np.fft.ifftshift(cut))
        n_fine = 4 * self.fid.size
        filtered = np.fft.fft(self.fid * matched.conj(), n_fine)
        frequency = np.fft.fftfreq(n_fine, self.dwell_time)
        allowed = np.flatnonzero(np.abs(frequency) <= limit)
        best = allowed[np.argmax(np.abs(filtered[allowed]))]
        return float(frequency[best]), float(np.angle(filtered[best]))

    def unit_heights(self, lorentzian: float, gaussian: float) -> NDArray:
        """Height of each sum of unit amplitude in the real spectrum, between points too."""
        decay = np.exp(-np.pi * lorentzian * self.t - (np.pi * gaussian * self.t) ** 2 / GAUSSIAN)
        return np.abs(to_spectrum(np.pad(self.unit * decay, ((0, 0), (0, 3 * self.fid.size))))).max(axis=-1)


def water_linewidth(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> float:
    """Width (Hz) at half height of the real water line of a phased reference (n_points,); NaN where it has none."""
    n_fine = 8 * fid.size
    start = fid[0] / np.abs(fid[0]) if fid[0] != 0 else 1.0
    spectrum = to_spectrum(np.pad(fid * np.conj(start), (0, n_fine - fid.size))).real
    axis = ppm_axis(n_fine, dwell_time, spectrometer_frequency)
    near = np.flatnonzero(np.abs(axis - WATER_PPM) < 0.5)
    peak = near[np.argmax(spectrum[near])]
    half = spectrum[peak] / 2
    left, right = np.flatnonzero(spectrum[:peak] < half), np.flatnonzero(spectrum[peak:] < half)
    if half <= 0 or not left.size or not right.size:
        return float("nan")
    return float((right[0] + peak - left[-1] - 1) / (n_fine * dwell_time))
