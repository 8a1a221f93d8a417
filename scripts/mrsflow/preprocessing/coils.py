"""Combination of receive coils: noise-decorrelated weights from a singular value decomposition.

A signal seen by coil c is ``s_c · x(t) + n_c(t)``. With the noise covariance C, the combination of highest SNR is the
generalised least-squares estimate ``w = C⁻¹s / (sᴴC⁻¹s)`` (Roemer et al., doi:10.1002/mrm.1910160203); the
sensitivities s are the first singular vector of the whitened signal (WSVD: Rodgers and Robson,
doi:10.1002/mrm.22230), best taken from unsuppressed water.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

NOISE_TAIL = 0.25
"""Share of the FID, at its end, that is taken as free of signal."""


@dataclass(frozen=True)
class Weights:
    """How coils are combined.

    Attributes
    ----------
    weights : (n_coils,) complex
        The combined signal is ``Σ weights_c · fid_c``; unit gain for a signal with `sensitivities`.
    sensitivities : (n_coils,) complex
        Of norm 1, with the phase that makes the reference start at phase 0.
    noise_covariance : (n_coils, n_coils) complex
        ``E[n nᴴ]`` of one time point.
    """

    weights: NDArray[np.complexfloating]
    sensitivities: NDArray[np.complexfloating]
    noise_covariance: NDArray[np.complexfloating]

    def snr_gain(self) -> float:
        """SNR of the combination over that of the best single coil, as the noise covariance predicts."""
        inverse = np.linalg.inv(self.noise_covariance)
        combined = np.real(self.sensitivities.conj() @ inverse @ self.sensitivities)
        single = np.abs(self.sensitivities) ** 2 / np.real(np.diag(self.noise_covariance))
        return float(np.sqrt(combined / single.max()))


def noise_covariance(fids: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Covariance of the noise between coils, from the ends of the FIDs.

    Parameters
    ----------
    fids : (n_coils, n_transients, n_points) complex

    Returns
    -------
    (n_coils, n_coils) complex
        Per time point; each transient's own mean is taken out first (receiver offset). Zeros that fill up every FID
        are no part of it.

    Raises
    ------
    InputError
        Fewer noise samples than needed, a coil that recorded nothing, or coils whose noise is that of others.
    """
    n_coils, n_transients, _ = fids.shape
    n_points = fids.shape[-1] - int(np.argmax(np.any(fids, axis=(0, 1))[::-1]))
    tail = fids[..., n_points - int(NOISE_TAIL * n_points) : n_points]
    freedom = n_transients * (tail.shape[-1] - 1)
    if freedom < 4 * n_coils:
        raise InputError(
            f"{freedom} noise samples are too few for the noise covariance of {n_coils} coils; "
            "name a file whose coils the scanner combined, or leave this scan out"
        )
    samples = (tail - tail.mean(axis=-1, keepdims=True)).reshape(n_coils, -1).astype(np.complex128)
    covariance = samples @ samples.conj().T / freedom
    power = np.real(np.diag(covariance))
    if not np.all(power > 1e-12 * power.max()):
        silent = ", ".join(str(i) for i in np.flatnonzero(~(power > 1e-12 * power.max())))
        raise InputError(
            f"coil {silent} (counted from 0) recorded no noise at all; export the scan without it, or combined"
        )
    independent = int(np.linalg.matrix_rank(covariance / np.sqrt(np.outer(power, power)), tol=1e-9, hermitian=True))
    if independent < n_coils:
        raise InputError(
            f"the noise of {n_coils} coils is that of {independent}, as some repeat others; export the scan with the "
            "coils combined, or with each coil once"
        )
    return covariance


def sensitivities(
    fids: NDArray[np.complexfloating], covariance: NDArray[np.complexfloating]
) -> NDArray[np.complexfloating]:
    """Relative coil sensitivities of the strongest common signal.

    Parameters
    ----------
    fids : (n_coils, n_transients, n_points) complex
        Unsuppressed water, or metabolite signal limited to its range of frequencies. Phase and frequency may differ
        between transients: they do not enter.
    covariance : (n_coils, n_coils) complex

    Returns
    -------
    (n_coils,) complex
        Norm 1; the phase of the first coil with at least half the largest magnitude is 0.
    """
    products = np.zeros((len(fids), len(fids)), dtype=np.complex128)
    for transient in np.moveaxis(fids, 1, 0):  # one at a time: a session of 32 coils stays small in memory
        transient = transient.astype(np.complex128)
        products += transient @ transient.conj().T
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, np.linalg.solve(root, products).conj().T)
    _, vectors = np.linalg.eigh((whitened + whitened.conj().T) / 2)
    found = root @ vectors[:, -1]
    found /= np.linalg.norm(found)
    first = found[np.argmax(np.abs(found) >= np.abs(found).max() / 2)]
    return found * (abs(first) / first)


def gls_weights(found: NDArray[np.complexfloating], covariance: NDArray[np.complexfloating]) -> Weights:
    """Weights of highest SNR for known sensitivities and noise covariance."""
    solved = np.linalg.solve(covariance, found)
    return Weights(np.conj(solved / np.real(found.conj() @ solved)), found, covariance)


def combine(fids: NDArray[np.complexfloating], weights: Weights) -> NDArray[np.complexfloating]:
    """Combine the coils of (n_coils, ..., n_points) FIDs; the first axis goes.

    Raises
    ------
    InputError
        Another number of coils than the weights are for.
    """
    if len(fids) != len(weights.weights):
        raise InputError(
            f"the scan has {len(fids)} coils and its weights are for {len(weights.weights)}; "
            "export both with the same coils, or leave the reference out"
        )
    return np.tensordot(weights.weights, fids, axes=1)


def start_in_phase(weights: Weights, reference: NDArray[np.complexfloating]) -> Weights:
    """Turn the weights so that the mean of a combined reference (..., n_points) starts at phase 0."""
    first = reference.reshape(-1, reference.shape[-1]).mean(axis=0)[:3].sum()
    phase_factor = abs(first) / first if first != 0 else 1.0
    return Weights(
        weights.weights * phase_factor, weights.sensitivities * np.conj(phase_factor), weights.noise_covariance
    )
