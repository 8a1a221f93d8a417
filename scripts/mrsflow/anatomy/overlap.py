"""Where the voxels of a cohort lie in a template: the share of them that covers each place, and its centre of mass."""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.anatomy import tissue

GRID_MM = 2.0


@dataclass(frozen=True)
class Overlap:
    """Share of voxels at each place.

    Attributes
    ----------
    share : (x, y, z) float
        0 to 1: mean over the voxels of the part of each cell that they cover.
    affine : (4, 4) float
        Of the cells, mm in the template (RAS+).
    centre : (3,) float
        Centre of mass, mm.
    """

    share: NDArray[np.floating]
    affine: NDArray[np.floating]
    centre: NDArray[np.floating]


def of_voxels(voxels: Sequence[NDArray[np.floating]]) -> Overlap:
    """Lay voxels over each other.

    Parameters
    ----------
    voxels : sequence of (4, 4) float
        Affine of each in the template (mm): the voxel is the cube from -1/2 to 1/2. One at least.
    """
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    ends = np.concatenate([nibabel.affines.apply_affine(voxel, corners) for voxel in voxels])
    first = np.floor(ends.min(axis=0) / GRID_MM)
    shape = tuple((np.ceil(ends.max(axis=0) / GRID_MM) - first).astype(int) + 1)
    affine = np.diag([GRID_MM] * 3 + [1.0])
    affine[:3, 3] = GRID_MM * first
    share, centre = np.zeros(shape), np.zeros(3)
    for voxel in voxels:
        window, parts = tissue.partial_volumes(voxel, affine, shape)
        share[window] += parts * abs(np.linalg.det(voxel[:3, :3])) / GRID_MM**3 / len(voxels)
        centre += voxel[:3, 3] / len(voxels)  # of equal weight, whatever their volume
    return Overlap(share, affine, centre)
