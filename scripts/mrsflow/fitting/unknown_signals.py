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
BENEATH = 0.1
"""Height of a metabolite at a place, as part of its largest, from which it counts as lying there."""


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
    """

    ppm: float
    height: float
    significance: float
    width_hz: float
    names: tuple[str, ...] = ()

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

    Returns
    -------
    list of Finding
        The most significant first, signals of both signs.

    Notes
    -----
    Matched filter (Turin 1960, doi:10.1109/TIT.1960.1057571), the strongest signal taken out before the next is sought.
    """
    residual, ppm = np.asarray(residual), np.asarray(ppm, float)
    sd = np.broadcast_to(np.asarray(noise_sd, float), ppm.shape)
    filters = [_filters(residual, ppm, sd, width * linewidth_hz, spectrometer_frequency) for width in WIDTHS]
    level = threshold(tuple(path_length(one) for one in filters), FALSE_ALARM)
    bank = np.concatenate(filters)
    left = _stacked(residual / sd)
    found: list[Finding] = []
    while len(found) < MOST:
        outcome = bank @ left
        best = int(np.argmax(np.abs(outcome)))
        if not np.abs(outcome[best]) > level:
            break
        left = left - outcome[best] * bank[best]
        which, place = divmod(best, ppm.size)
        height = outcome[best] * bank[best][: ppm.size][place] * sd[place]
        width = WIDTHS[which] * linewidth_hz
        found.append(Finding(float(ppm[place]), float(height), float(outcome[best]), width))
    apart = _apart(found, spectrometer_frequency)
    return name(apart, (float(ppm.min()), float(ppm.max())), spectrometer_frequency, modelled)


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


def path_length(filters: NDArray[np.floating]) -> float:
    """Length (rad) of the path of unit vectors (P, n) from one to the next: how many different places there are."""
    return float(np.sum(np.arccos(np.clip(np.sum(filters[1:] * filters[:-1], axis=1), -1, 1))))


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
    explain most findings, in order of the part of their protons that lie at findings, then of distance.

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
            candidates.append((-explained, -seen / total, distance, title))
        most = min(candidates, default=(0,))[0]
        names = tuple(title for count, *_, title in sorted(candidates) if count == most)
        named.append(replace(finding, names=names[:CANDIDATES]))
    return named


def beneath(finding: Finding, ppm: ArrayLike, names: tuple[str, ...], components: ArrayLike) -> tuple[str, ...]:
    """Metabolites that lie under a finding, whose amounts it may therefore have changed.

    Parameters
    ----------
    finding : Finding
    ppm : (P) float
    names : tuple of str, length M
    components : (M, P) float
        Their real spectra; only the shape counts.
    """
    size = np.abs(np.asarray(components, float))
    place = int(np.argmin(np.abs(np.asarray(ppm, float) - finding.ppm)))
    largest = size.max(axis=1)
    return tuple(
        one for one, row, top in zip(names, size, largest, strict=True) if top > 0 and row[place] >= BENEATH * top
    )
