"""Where a fit starts: singlets recognised in a spectrum, and what is no spectrum that the basis describes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mrsflow import axes
from mrsflow.fitting.fit_model import Model

TEMPLATE = {"NAA": 10.0, "Cr": 4.5, "PCr": 4.5, "GPC": 1.2, "PCh": 0.6, "PCho": 0.6, "tCr": 9.0, "tNAA": 10.0}
"""Signals by which a spectrum is recognised, in typical amounts (mM)."""
TEMPLATE_PPM, TEMPLATE_WIDTH_HZ = (1.8, 3.4), 6.0
USUAL_WIDTH_HZ, USUAL_GAUSS_HZ2 = 4.0, 16.0
LARGEST_SHIFT_PPM = 0.3
RIVAL, APART_HZ = 0.5, 6.0
"""Another place counts where the singlets are at least this part as strong, so far from the others."""
STARTS = 3
"""Most places from which a fit is tried."""
CLEARLY = 1.5
"""A spectrum runs the wrong way when its mirror image, and lies elsewhere when another place, shows the singlets this
much stronger."""


@dataclass(frozen=True)
class Alignment:
    """Shift (Hz) and phase (rad) of the singlets in a spectrum, and how strong they are there."""

    shift: float
    phase: float
    strength: float


def recognise(fid: NDArray, model: Model) -> list[Alignment]:
    """Places of the singlets of the basis in a spectrum, by correlation, the strongest first."""
    weights = np.array([TEMPLATE.get(name, 0.0) for name in model.names])
    if not weights.any():
        weights = np.where(model.broad, 0.0, 1.0)
    template = (weights @ model.fids) * np.exp(-np.pi * TEMPLATE_WIDTH_HZ * model.time)
    shift = axes.hz_to_ppm(np.fft.fftfreq(fid.size, model.dwell_time), model.spectrometer_frequency)
    band = (shift > TEMPLATE_PPM[0]) & (shift < TEMPLATE_PPM[1])
    product = np.conj(template) * fft.ifft(fft.fft(fid) * band)
    fine = 8 * fid.size
    largest = int(LARGEST_SHIFT_PPM * model.spectrometer_frequency * fine * model.dwell_time)
    lags = np.arange(-largest, largest + 1)
    match = fft.fft(product, fine)[lags]
    strength, hz = np.abs(match), lags / (fine * model.dwell_time)
    found: list[Alignment] = []
    left = strength.copy()
    while len(found) < STARTS and left.max() > RIVAL * strength.max():
        best = int(np.argmax(left))
        if not found or (0 < best < lags.size - 1 and strength[best] >= strength[best - 1 : best + 2].max()):
            found.append(Alignment(float(hz[best]), float(np.angle(match[best])), float(strength[best])))
        left[np.abs(hz - hz[best]) < APART_HZ] = 0.0
    return found


def elsewhere_ppm(fid: NDArray, model: Model) -> float | None:
    """Shift (ppm) beyond those that a fit tries where the singlets are clearly stronger; None: nowhere."""
    here, found = recognise(fid, model)[0].strength, {}
    for step in LARGEST_SHIFT_PPM * np.array([-3, -2, -1, 1, 2, 3]):
        hz = step * model.spectrometer_frequency
        there = recognise(fid * np.exp(-2j * np.pi * hz * model.time), model)[0]
        found[there.strength] = float(step) + there.shift / model.spectrometer_frequency
    strongest = max(found)
    return -found[strongest] if strongest > CLEARLY * here else None


def problem_with(fid: NDArray, model: Model) -> str:
    """Why a spectrum cannot be fitted, empty where it can: it is not of the kind that the basis describes."""
    if fid.size != model.n_points:
        return f"the spectrum has {fid.size} points where {model.n_points} are expected"
    if not np.all(np.isfinite(fid)):
        return "the spectrum holds NaN or infinite values"
    if not np.any(fid):
        return "the spectrum is zero everywhere"
    if recognise(np.conj(fid), model)[0].strength > CLEARLY * recognise(fid, model)[0].strength:
        return "the spectrum runs the wrong way in frequency: its signals lie above the water; conjugate the FID"
    return ""


def usual_shape(model: Model) -> NDArray[np.floating]:
    """Shape parameters of a usual spectrum at its place."""
    theta = np.zeros(model.shape.size)
    theta[model.shape.lorentz], theta[model.shape.gauss2] = USUAL_WIDTH_HZ, USUAL_GAUSS_HZ2
    return theta


def recognised_start(fid: NDArray, model: Model) -> NDArray[np.floating]:
    """Shape parameters to start from: shift and phase of the recognised singlets, usual widths."""
    theta, found = usual_shape(model), recognise(fid, model)[0]
    theta[model.shape.shift], theta[model.shape.phase0] = found.shift, found.phase
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
