"""FIDs as sums of damped exponentials, by singular value decomposition of their Hankel matrix (HLSVD).

Barkhuijsen et al., doi:10.1016/0022-2364(87)90023-0: the leading left singular vectors of the matrix of x[i + j] turn
into themselves, one row further, by a matrix whose eigenvalues are the factors of the exponentials from point to point.
Laudadio et al., doi:10.1006/jmre.2002.2593: only these vectors are needed, and Lanczos steps with products by FFT find
them without the matrix.
"""

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]

TOLERANCE = 1e-12
"""Residual, relative to its singular value, at which a singular vector counts as found."""

CHECKED_EVERY = 16
"""Steps from one test of this to the next."""


def decompose(fid: Complex, dwell_time: float, n_components: int) -> tuple[NDArray, NDArray, Complex]:
    """Frequencies, dampings and amplitudes of the damped exponentials that an FID is made of.

    Parameters
    ----------
    fid : (n_points,) complex
    dwell_time : float
        s.
    n_components : int
        How many are sought. Fewer are found in an FID that fewer describe to rounding, or of few points (at most
        n_points // 2 - 1).

    Returns
    -------
    frequency : (n_found,) float
        Hz, ascending.
    damping : (n_found,) float
        1/s, negative where the signal decays.
    amplitude : (n_found,) complex
        At the first point; all are fitted together to the whole FID.

    Raises
    ------
    ValueError
        The FID holds NaN or infinite values.

    Notes
    -----
    The same FID gives the same result to the last bit: nothing is random.

    >>> frequency, damping, amplitude = decompose(3 * np.exp((20j * np.pi - 5) * 0.01 * np.arange(64)), 0.01, 4)
    >>> frequency.round(9), damping.round(9), np.abs(amplitude).round(9)
    (array([10.]), array([-5.]), array([3.]))
    """
    fid = np.asarray_chkfinite(fid, dtype=np.complex128)
    vectors = leading_vectors(fid, min(n_components, fid.size // 2 - 1))
    factors = np.linalg.eigvals(scipy.linalg.lstsq(vectors[:-1], vectors[1:])[0])
    factors = factors[np.argsort(np.angle(factors))]
    exponentials = np.vander(factors, fid.size, increasing=True).T
    amplitude = scipy.linalg.lstsq(exponentials, fid)[0]
    size = np.maximum(np.abs(factors), np.finfo(float).tiny)
    return np.angle(factors) / (2 * np.pi * dwell_time), np.log(size) / dwell_time, amplitude


def leading_vectors(fid: Complex, n_vectors: int) -> Complex:
    """Left singular vectors of the Hankel matrix of an FID, those of its largest singular values.

    Parameters
    ----------
    fid : (n_points,) complex
    n_vectors : int

    Returns
    -------
    (n_rows, n_found) complex
        For a matrix x[i + j] of n_rows = n_points - n_points // 2. Those of singular values of zero, to rounding, are
        left out.

    Notes
    -----
    Lanczos bidiagonalisation, its left vectors kept orthogonal: Simon & Zha, doi:10.1137/S1064827597327309. It begins
    with the FID; where that leads no further, as without noise, it goes on with a vector of fixed seed.
    """
    n_rows = fid.size - fid.size // 2
    n_fft = scipy.fft.next_fast_len(fid.size)
    forward, adjoint = scipy.fft.fft(fid, n_fft), scipy.fft.fft(fid.conj(), n_fft)
    zero = np.finfo(float).eps * n_rows**1.5 * np.linalg.norm(fid)  # at least the rounding of the largest value
    others = np.random.default_rng(0)
    left = np.empty((n_rows, n_rows), dtype=np.complex128)
    diagonal, below = np.zeros(n_rows), np.zeros(n_rows)
    step, right = fid[:n_rows], np.zeros(fid.size - n_rows + 1)
    for n in range(n_rows):
        left[n], sub_diagonal = _unit(step, zero)
        if sub_diagonal == 0:
            left[n], _ = _unit(_orthogonal(others.normal(size=n_rows), left[:n]), 0)
        right, diagonal[n] = _unit(hankel_product(adjoint, left[n], right.size) - sub_diagonal * right, zero)
        step = _orthogonal(hankel_product(forward, right, n_rows), left[: n + 1])
        below[n] = np.linalg.norm(step)
        if n + 1 == n_rows or (n + 1 >= 2 * n_vectors and (n + 1) % CHECKED_EVERY == 0):
            left_vectors, values, right_vectors = np.linalg.svd(np.diag(diagonal[: n + 1]) + np.diag(below[:n], -1))
            kept = np.flatnonzero(values[:n_vectors] > zero)
            if (below[n] * np.abs(right_vectors[kept, n]) <= TOLERANCE * values[kept]).all():
                break
    return left[: n + 1].T @ left_vectors[:, kept]


def hankel_product(spectrum: Complex, vector: Complex, n_rows: int) -> Complex:
    """Product (n_rows,) of the Hankel matrix x[i + j] with a vector, from the Fourier transform of x.

    >>> hankel_product(scipy.fft.fft([1, 2, 3, 4]), np.array([1, 10]), 3).real.round(12)
    array([21., 32., 43.])
    """
    return scipy.fft.ifft(spectrum * scipy.fft.ifft(vector, spectrum.size, norm="forward"))[:n_rows]


def _orthogonal(vector: Complex, to: Complex) -> Complex:
    """Part of a vector that is orthogonal to the rows of `to`; twice, as rounding spoils one pass."""
    for _ in range(2):
        vector = vector - (to @ vector.conj()).conj() @ to
    return vector


def _unit(vector: Complex, zero: float) -> tuple[Complex, float]:
    """Vector of length one and the length it had, or zeros where it had none but rounding."""
    length = np.linalg.norm(vector)
    return (vector / length, length) if length > zero else (np.zeros_like(vector), 0.0)
