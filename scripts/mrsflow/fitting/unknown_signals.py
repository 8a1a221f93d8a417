"""Signals that no basis has: narrow lines and humps in the residual of a fit, with the names of what lies there.

A matched filter asks at every place and for a few widths how far the residual stands out of its noise. That many
places were looked at is counted: white noise gives a finding in at most `FALSE_ALARM` of all spectra.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from mrsflow import axes
from mrsflow.basis_sets import spins

WIDTHS = (1.0, 2.5, 6.0)
"""Widths that are looked for, in line widths: a singlet, a multiplet or group of lines, a hump."""
FALSE_ALARM = 0.01
"""Part of white-noise spectra in which something is found."""
MOST = 24
"""Lines after which the search ends: a residual with more of them is a bad fit, not a list of substances."""
CANDIDATES = 3
"""Substances that are named at a place, at most."""
TOLERANCE_PPM = 0.03
"""How far a line may lie from its place in the tables: pH, temperature and the reference of a fit."""
OWN_PART = 0.25
"""Part of the protons of a substance that must lie at a place for it to be named there."""
VISIBLE = 0.02
"""Part of a line (energy) that the fit must leave in the residual for the search to say anything at its place."""


@dataclass(frozen=True)
class Finding:
    """One signal in a residual.

    Attributes
    ----------
    ppm : float
        Its middle.
    height : float
        Of its real part, in units of the residual; negative where the fit has too much.
    significance : float
        Height over the SD of its estimate.
    width_hz : float
        Full width at half maximum of the filter that found it.
    names : tuple of str
        Substances that have a line there, the likeliest first; empty where none is known.
    moved : (n) float or None
        How far the signal has moved the fitted parameters, where `find` is given jacobian and covariance.
    """

    ppm: float
    height: float
    significance: float
    width_hz: float
    names: tuple[str, ...] = ()
    moved: NDArray[np.floating] | None = None

    def __str__(self) -> str:
        name = " or ".join(self.names) or "unknown"
        return f"{name} at {self.ppm:.2f} ppm ({self.significance:+.0f} SD)"


def find(
    residual: ArrayLike,
    ppm: ArrayLike,
    noise_sd: ArrayLike,
    linewidth_hz: float,
    spectrometer_frequency: float,
    modelled: tuple[str, ...] = (),
    jacobian: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
) -> list[Finding]:
    """Search a residual for signals.

    Parameters
    ----------
    residual : (P) float or complex
        Spectrum less fit, phase removed; of a complex one both parts are used.
    ppm : (P) float
        Evenly spaced, in either direction.
    noise_sd : float or (P) float
        SD of the noise of the real part at each point, the same for the imaginary part.
    linewidth_hz : float
        FWHM of a singlet in these data.
    spectrometer_frequency : float
        MHz.
    modelled : tuple of str
        Signals of the basis, which no finding is named after.

    jacobian : (P, n) or (2P, n) float, optional
        Derivatives of the fit over the noise SD, real then imaginary parts: what the fit can take from a signal.
    covariance : (n, n) float, optional
        Of the fitted parameters, with all that is known of them beforehand.

    Returns
    -------
    list of Finding
        The most significant first, signals of both signs.

    Notes
    -----
    Matched filter (Turin 1960, doi:10.1109/TIT.1960.1057571), the strongest signal taken out before the next is sought.
    With jacobian J and covariance C it is the score test of one more line in the fit: a line t leaves t'r in the
    residual, whose variance is t't - t'J C J't, less than that of t'r in noise alone. Without these, what a fit has
    taken into its own signals is missed.
    """
    residual, ppm = np.asarray(residual), np.asarray(ppm, float)
    sd = np.broadcast_to(np.asarray(noise_sd, float), ppm.shape)
    banks = [_filters(residual, ppm, sd, width * linewidth_hz, spectrometer_frequency) for width in WIDTHS]
    paths = [_Path.of(bank, jacobian, covariance) for bank in banks]
    level = threshold(tuple(path.length for path in paths), FALSE_ALARM)
    bank, left = np.concatenate(banks), _stacked(residual / sd)
    taken, returned, power = (np.concatenate([getattr(p, n) for p in paths]) for n in ("taken", "returned", "power"))
    visible = power > VISIBLE
    root = np.sqrt(np.where(visible, power, np.inf))
    score = bank @ left
    found: list[Finding] = []
    while len(found) < MOST:
        best = int(np.argmax(np.abs(score / root)))
        significance = float(score[best] / root[best])
        if not abs(significance) > level:
            break
        amount = score[best] / power[best]
        score = score - amount * (bank @ bank[best] - taken @ returned[best])
        which, place = divmod(best, ppm.size)
        height = amount * bank[best][place] * sd[place]
        moved = None if jacobian is None else amount * returned[best]
        width = WIDTHS[which] * linewidth_hz
        found.append(Finding(float(ppm[place]), float(height), significance, width, moved=moved))
    apart = _apart(found, spectrometer_frequency)
    return name(apart, (float(ppm.min()), float(ppm.max())), spectrometer_frequency, modelled)


@dataclass(frozen=True)
class _Path:
    """Filters (P, N) of one width in the metric of what a fit leaves.

    Attributes
    ----------
    taken, returned : (P, n)
        Their products with the jacobian, and these with the covariance.
    power : (P)
        Part of each that is left.
    length : float
        See `path_length`.
    """

    taken: NDArray[np.floating]
    returned: NDArray[np.floating]
    power: NDArray[np.floating]
    length: float

    @classmethod
    def of(cls, filters: NDArray, jacobian: ArrayLike | None, covariance: ArrayLike | None) -> "_Path":
        """Take what a fit absorbs from filters of norm 1."""
        taken = filters @ np.zeros((filters.shape[1], 1)) if jacobian is None else filters @ np.asarray(jacobian)
        returned = taken if covariance is None else taken @ np.asarray(covariance)
        power = 1 - np.sum(taken * returned, axis=1)
        overlap = np.sum(filters[1:] * filters[:-1], axis=1) - np.sum(taken[1:] * returned[:-1], axis=1)
        seen = (power[1:] > VISIBLE) & (power[:-1] > VISIBLE)
        cosine = overlap[seen] / np.sqrt(power[1:][seen] * power[:-1][seen])
        return cls(taken, returned, power, path_length(cosine))


def _apart(findings: list[Finding], spectrometer_frequency: float) -> list[Finding]:
    """Give the most significant of findings that overlap; the others are what a line of another shape left there."""
    kept: list[Finding] = []
    for one in sorted(findings, key=lambda finding: -abs(finding.significance)):
        distances = [abs(one.ppm - other.ppm) * spectrometer_frequency for other in kept]
        if all(d > (one.width_hz + other.width_hz) / 2 for d, other in zip(distances, kept, strict=True)):
            kept.append(one)
    return kept


def _filters(residual: NDArray, ppm: NDArray, sd: NDArray, width_hz: float, spectrometer_frequency: float) -> NDArray:
    """Lines of one width at every point, over the noise and of norm 1: (P, P), complex ones as their parts (P, 2P)."""
    hz = axes.ppm_to_hz(ppm, spectrometer_frequency)
    distance = (hz - hz[0]) * 2 * np.sqrt(np.log(2)) / width_hz
    line = special.wofz(np.concatenate([distance[:0:-1], -distance]))  # half a Gaussian FID: absorption and dispersion
    lines = np.lib.stride_tricks.sliding_window_view(line, ppm.size)[::-1]
    lines = _stacked((lines if np.iscomplexobj(residual) else lines.real) / sd)
    return lines / np.linalg.norm(lines, axis=1, keepdims=True)


def _stacked(values: NDArray) -> NDArray[np.floating]:
    """Real and imaginary part along the last axis; real values as they are."""
    return np.concatenate([values.real, values.imag], axis=-1) if np.iscomplexobj(values) else values


def path_length(cosines: NDArray[np.floating]) -> float:
    """Length (rad) of a path of unit vectors, from the products of each with the next: how many places there are."""
    return float(np.sum(np.arccos(np.clip(cosines, -1, 1))))


@cache
def threshold(lengths: tuple[float, ...], false_alarm: float) -> float:
    """Level that white noise passes along paths of filters with at most this probability.

    The expected number of upcrossings of a level u along a path of length L of unit vectors is L/(2π) exp(-u²/2),
    whatever the filters (Rice 1945, doi:10.1002/j.1538-7305.1945.tb00453.x); with the chance at its start, for all
    paths and both signs, it bounds the probability.

    >>> round(threshold((0.0,), 0.05), 2)  # one place: the two-sided quantile of the normal distribution
    1.96
    """

    def excess(level: float) -> float:
        start = len(lengths) * special.ndtr(-level)
        return float(2 * (start + sum(lengths) / (2 * np.pi) * np.exp(-(level**2) / 2)) - false_alarm)

    return float(optimize.brentq(excess, 0.0, 40.0))


# ---------------------------------------------------------------------------------------------------------------- names


@cache
def substances() -> dict[str, tuple[str, tuple[tuple[float, float], ...]]]:
    """Name for readers and groups (ppm, protons) of every substance of the tables, by its name there."""
    found = {}
    for key, entry in spins.systems().items():
        groups: dict[float, float] = {}
        for fragment in spins.fragments(key):
            for shift in fragment.shifts:
                near = next((known for known in groups if abs(known - shift) < 2 * TOLERANCE_PPM), float(shift))
                groups[near] = groups.get(near, 0.0) + fragment.weight
        if min(groups.values()) > 0:  # not what other signals lack
            found[key] = (entry.get("known_as", key), tuple(groups.items()))
    return found


def name(
    findings: list[Finding], ppm: tuple[float, float], spectrometer_frequency: float, modelled: tuple[str, ...] = ()
) -> list[Finding]:
    """Name the findings above the baseline after substances with lines there.

    A substance is named where at least `OWN_PART` of its protons in the range lie. Of several those are named that
    explain most findings, in order of distance (to 0.01 ppm), then of the part of their protons that lie at findings.

    Parameters
    ----------
    findings : list of Finding
    ppm : (low, high)
        The range that was searched.
    spectrometer_frequency : float
        MHz.
    modelled : tuple of str
        Substances that cannot be it.
    """
    above = [finding for finding in findings if finding.height > 0]

    def covers(finding: Finding, shift: float) -> bool:
        reach = TOLERANCE_PPM + finding.width_hz / 4 / spectrometer_frequency
        return abs(finding.ppm - shift) <= reach

    named = []
    for finding in findings:
        candidates = []
        for key, (title, groups) in substances().items():
            inside = [(shift, protons) for shift, protons in groups if ppm[0] <= shift <= ppm[1]]
            total = sum(protons for _, protons in inside)
            here = [(shift, protons) for shift, protons in inside if covers(finding, shift)]
            if finding.height <= 0 or key in modelled or not here or sum(p for _, p in here) < OWN_PART * total:
                continue
            explained = sum(any(covers(other, shift) for shift, _ in inside) for other in above)
            seen = sum(protons for shift, protons in inside if any(covers(other, shift) for other in above))
            distance = min(abs(shift - finding.ppm) for shift, _ in here)
            candidates.append((-explained, round(distance, 2), -seen / total, title))
        most = min(candidates, default=(0,))[0]
        names = tuple(title for count, *_, title in sorted(candidates) if count == most)
        named.append(replace(finding, names=names[:CANDIDATES]))
    return named
