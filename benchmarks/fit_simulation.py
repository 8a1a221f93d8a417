"""Spectra of known truth with line shapes of our choice, after the recipe of the reference set."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from mrsflow import axes
from mrsflow.fitting.fit_model import Model
from mrsflow.fitting.nuisance import GAUSS

LINE_SHAPES = ("voigt", "gaussian", "eddy")


def spectra_of(
    truth: pd.DataFrame, model: Model, shape: str, seed: int, noise: bool = True
) -> NDArray[np.complexfloating]:
    """Make one FID for each row of a truth table (mM by basis name, and snr).

    Every spectrum has its own seed, so that the line shapes share concentrations, own shifts and noise.

    Parameters
    ----------
    truth : DataFrame
    model : Model
        For its basis, without the reference signal.
    shape : str
        One of `LINE_SHAPES`: Lorentz and Gauss widths of 2 to 6 Hz; nearly Gaussian, of the same total width; or
        the first with an eddy-current frequency that decays from 2 to 6 Hz within 30 to 100 ms.
    seed : int
    noise : bool
    """
    return np.array(
        [
            _one(row, model, shape, np.random.default_rng([seed, n]), noise)
            for n, (_, row) in enumerate(truth.iterrows())
        ]
    )


def _one(row: pd.Series, model: Model, shape: str, generator: np.random.Generator, noise: bool) -> NDArray:
    m, time = len(model.names), model.time
    lorentz, gauss = generator.uniform(2, 6, 2)
    own_width, own_shift = generator.uniform(-1, 1, m), generator.uniform(-0.5, 0.5, m)
    shift, phase = generator.uniform(-5, 5), np.radians(generator.uniform(-20, 20))
    rate, tau, sign = generator.uniform(2, 6), generator.uniform(0.03, 0.1), generator.choice([-1, 1])
    knots = generator.uniform(-0.1, 0.1, 8)
    if shape == "gaussian":
        total = 0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2)
        lorentz, gauss = 1.1, np.sqrt((total - 0.5346 * 1.1) ** 2 - 0.2166 * 1.1**2)
    exponent = -np.pi * lorentz * time - GAUSS * (gauss * time) ** 2 + 2j * np.pi * shift * time
    if shape == "eddy":
        exponent = exponent + 2j * np.pi * sign * rate * tau * (1 - np.exp(-time / tau))
    own = np.exp((2j * np.pi * own_shift - np.pi * own_width)[:, np.newaxis] * time)
    amounts = 0.829 * row[list(model.names)].to_numpy(float)
    fids = amounts[:, np.newaxis] * model.fids * own * np.exp(exponent)
    hz = np.fft.fftfreq(time.size, model.dwell_time)
    ppm = axes.hz_to_ppm(hz, model.spectrometer_frequency)
    creatine, naa = (
        np.fft.fft(sum(fids[model.names.index(name)] for name in names)).real.max()
        for names in (("Cr", "PCr"), ("NAA",))
    )
    fid = fids.sum(axis=0) + _causal(creatine * _splines(ppm, knots))
    turned = np.fft.fft(fid) * np.exp(1j * (phase + np.radians(0.7) * (2.5 - ppm)))
    if noise:
        sd = naa / row["snr"]
        turned = turned + sd * (generator.normal(size=hz.size) + 1j * generator.normal(size=hz.size))
    return np.fft.ifft(turned)


def _splines(ppm: NDArray, coefficients: NDArray, spacing: float = 0.8, first: float = -1.6) -> NDArray:
    """Sum of cubic B-splines on a regular grid."""
    total = np.zeros(ppm.size)
    for number, coefficient in enumerate(coefficients):
        knots = first + spacing * (number + np.arange(5))
        total += coefficient * np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(ppm))
    return total


def _causal(spectrum: NDArray) -> NDArray:
    """FID that starts at time zero and has this real spectrum."""
    fid = np.fft.ifft(spectrum)
    fid[fid.size // 2 :] = 0
    fid[1:] *= 2
    return fid
