"""The contrast of an anatomical image, told from its intensities alone: no alignment, no maps, no further package."""

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

GRID_MM = 4.0
"""Grid on which an image is looked at."""
HEAD = 0.15
"""Part of the brightest that the head is brighter than, and what is around it is not."""
DEPTH_MM = 25.0
"""Depth in the head at which there is brain, and neither scalp nor skull."""
FEWEST = 300
"""Cells of the grid in the depth of a head, below which nothing is said."""
BRIGHT = 1.5
"""Spread above the median over that below it (98th and 2nd percentile), in the depth of the head. White matter is half
of the brain and the brightest of a T1-weighted image: 0.3 to 0.8 in heads of five sources, with a receive field and
without skull. CSF is little of it, and the brightest of a T2-weighted image: 7.6."""


def remark(image: nibabel.spatialimages.SpatialImage) -> str:
    """Say what speaks against a T1-weighted contrast; empty for a T1w, and for what is no head.

    Other contrasts with bright white matter, or without bright CSF (proton density, FLAIR), are not told.
    """
    deep = _deep(image)
    if len(deep) < FEWEST:
        return ""
    low, middle, high = np.percentile(deep, [2, 50, 98])
    if high - middle <= BRIGHT * (middle - low):
        return ""
    return (
        "seems to be T2-weighted, as little of the depth of the head is much brighter than the rest; its tissue cannot "
        "be told by a T1w's contrast: give the T1w of the session, or take the row out"
    )


def _deep(image: nibabel.spatialimages.SpatialImage) -> NDArray[np.floating]:
    """Intensities in the depth of the largest bright region."""
    from scipy import ndimage

    values: Any = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32), posinf=0.0, neginf=0.0)
    sides = np.linalg.norm(image.affine[:3, :3], axis=0)
    if not np.all(np.isfinite(sides)) or sides.min() <= 0:
        return np.empty(0)
    steps = np.clip(np.rint(GRID_MM / sides), 1, values.shape).astype(int)
    kept = values[tuple(slice(n // step * step) for n, step in zip(values.shape, steps, strict=True))]
    small = kept.reshape([m for n, step in zip(kept.shape, steps, strict=True) for m in (n // step, step)]).mean(
        (1, 3, 5)
    )
    labels, n = ndimage.label(small > HEAD * np.percentile(small, 99))
    if n == 0:
        return np.empty(0)
    head = ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
    padded = np.pad(head, 1)  # an image may end within the head
    depth = ndimage.distance_transform_edt(padded, sampling=sides * steps)[1:-1, 1:-1, 1:-1]
    return small[depth > DEPTH_MM]
