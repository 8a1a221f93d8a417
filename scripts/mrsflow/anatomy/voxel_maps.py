"""Maps inside a spectroscopy voxel: mean, spread and coverage of a receptor density, binding potential or perfusion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

STEPS = 32
"""Points along each side of a voxel at which a map is looked up."""
RIGID = 0.5
"""Least determinant of a transform between spaces, and its inverse the largest: heads differ by less in volume."""


@dataclass(frozen=True)
class Inside:
    """What a map holds inside a voxel.

    Attributes
    ----------
    mean, sd : float
        Over the part of the voxel that the map covers; NaN where it covers none.
    coverage : float
        Part of the voxel in which the map has finite values.
    """

    mean: float
    sd: float
    coverage: float


def inside(image: Any, voxel: NDArray[np.floating], to_space: NDArray[np.floating] | None = None) -> Inside:
    """Look a map up inside a spectroscopy voxel, linearly between its grid points.

    Parameters
    ----------
    image : image
        The map, finite where it is known.
    voxel : (4, 4) float
        Affine of the spectroscopy voxel (mm): the cube from -1/2 to 1/2.
    to_space : (4, 4) float, optional
        From the scanner's space to that of the map, both in mm; None: they are one.

    Notes
    -----
    The points lie evenly about the voxel's centre, so that the mean of a linear gradient is its value there.
    """
    from scipy.ndimage import map_coordinates

    steps = (np.arange(STEPS) + 0.5) / STEPS - 0.5
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    into = np.linalg.inv(image.affine) @ (np.eye(4) if to_space is None else to_space) @ voxel
    at = nibabel.affines.apply_affine(into, points)
    last = np.array(image.shape) - 1
    within = np.all((at >= 0) & (at <= last), axis=1)
    if not within.any():
        return Inside(float("nan"), float("nan"), 0.0)
    at = at[within]
    low = np.floor(at.min(axis=0)).astype(int)
    high = np.minimum(np.ceil(at.max(axis=0)).astype(int), last) + 1
    window = np.asarray(image.dataobj[tuple(map(slice, low, high))], dtype=float)
    values = map_coordinates(window, (at - low).T, order=1, mode="nearest")
    values = values[np.isfinite(values)]
    if not values.size:
        return Inside(float("nan"), float("nan"), 0.0)
    return Inside(float(values.mean()), float(values.std()), values.size / len(points))


def read_transform(path: Path) -> NDArray[np.floating]:
    """Read the 4 x 4 matrix that takes points of the scanner (mm, RAS+) to the space of a map.

    Raises
    ------
    InputError
        No such file, or no matrix of four rows that ends with 0 0 0 1 and keeps volumes about as they are.
    """
    try:
        matrix = np.loadtxt(path, dtype=float, ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as a matrix; four rows of four numbers are needed") from None
    if matrix.shape != (4, 4) or not np.all(np.isfinite(matrix)) or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InputError(f"{path}: holds no affine matrix; four rows of four numbers are needed, the last 0 0 0 1")
    if not RIGID <= np.linalg.det(matrix[:3, :3]) <= 1 / RIGID:
        raise InputError(
            f"{path}: multiplies volumes by {np.linalg.det(matrix[:3, :3]):.3g}, and heads differ by less; the matrix "
            "must take millimetres of the scanner to millimetres of the map (no indices of voxels)"
        )
    return matrix
