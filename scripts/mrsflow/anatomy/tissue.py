"""Tissue in a spectroscopy voxel: its partial volumes on the grid of an image, and what maps of tissue hold there."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.anatomy import images
from mrsflow.errors import InputError

TISSUES = ("GM", "WM", "CSF")
STEPS = 64
"""Cells along the shortest side of a spectroscopy voxel, into which those of an image are parted."""
ABOVE_ONE = 0.02
"""What probabilities may exceed 1 by, alone or summed: rounding, and interpolation by the program that made them."""
SAMPLED = 20_000
"""Voxels of each tissue in which the intensity of an image is looked at."""
LABELS = {
    "GM": (3, 8, 9, 10, 11, 12, 13, 17, 18, 19, 20, 26, 27, 42, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 58, 59,
           96, 97, 136, 137, *range(1000, 3000), *range(11100, 13000)),
    "WM": (2, 7, 16, 28, 41, 46, 60, 77, 78, 79, 85, 192, *range(250, 256), *range(3000, 5003), *range(13100, 15000)),
    "CSF": (4, 5, 14, 15, 24, 31, 43, 44, 63, 72),
}  # fmt: skip
"""Labels of FreeSurfer (FreeSurferColorLUT.txt: aseg, aparc, wmparc); brain stem and ventral diencephalon are counted
as white matter, the choroid plexus as CSF."""


def partial_volumes(
    voxel: NDArray[np.floating], affine: NDArray[np.floating], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], NDArray[np.floating]]:
    """Share of a spectroscopy voxel that lies in each voxel of an image.

    Parameters
    ----------
    voxel : (4, 4) float
        Its affine (mm): the voxel is the cube from -1/2 to 1/2.
    affine : (4, 4) float
        That of the image, mm.
    shape : tuple of int
        Grid of the image.

    Returns
    -------
    window : tuple of slice
        The part of the grid that the spectroscopy voxel touches.
    shares : (x, y, z) float
        Of the window; their sum is the part of the voxel that lies in the image.

    Notes
    -----
    Each image voxel is parted into cells. A cell counts by the product of its overlaps with the spectroscopy voxel
    along that voxel's three axes, which is exact where the axes of both are parallel, and to second order in the size
    of the cells where they are not.
    """
    into = np.linalg.inv(voxel) @ affine
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    found = nibabel.affines.apply_affine(np.linalg.inv(into), corners)
    low, high = np.floor(found.min(axis=0) + 0.5).astype(int), np.floor(found.max(axis=0) + 0.5).astype(int) + 1
    side = np.linalg.norm(voxel[:3, :3], axis=0).min()
    parts = np.maximum(1, np.ceil(STEPS * np.linalg.norm(affine[:3, :3], axis=0) / side)).astype(int)
    centres = [(np.arange((b - a) * n) + 0.5) / n - 0.5 + a for a, b, n in zip(low, high, parts, strict=True)]
    cells = np.ones([len(c) for c in centres])
    for row, offset in zip(into[:3, :3], into[:3, 3], strict=True):
        width = np.sum(np.abs(row) / parts)
        at = offset + sum(np.expand_dims(r * c, [n for n in range(3) if n != axis])
                          for axis, (r, c) in enumerate(zip(row, centres, strict=True)))  # fmt: skip
        cells *= np.clip(np.minimum(at + width / 2, 0.5) - np.maximum(at - width / 2, -0.5), 0, None)
    shares = cells.reshape([n for a, b, p in zip(low, high, parts, strict=True) for n in (b - a, p)]).sum((1, 3, 5))
    shares /= shares.sum()
    first, last = np.clip(low, 0, shape), np.clip(high, 0, shape)
    inner = tuple(slice(a - b, c - b) for a, b, c in zip(first, low, last, strict=True))
    return tuple(slice(a, b) for a, b in zip(first, last, strict=True)), shares[inner]


@dataclass(frozen=True)
class Fractions:
    """Parts of the volume of a spectroscopy voxel: three tissues, what is none of them, and what the image covers.

    `other` holds what lies beyond the image too, so that the first four add up to 1.
    """

    GM: float
    WM: float
    CSF: float
    other: float
    coverage: float

    @property
    def brain(self) -> float:
        """Part that is any of the three tissues."""
        return self.GM + self.WM + self.CSF


def fractions(maps: Mapping[str, Any], voxel: NDArray[np.floating]) -> Fractions:
    """Measure the tissue of a spectroscopy voxel.

    Parameters
    ----------
    maps : dict of str to image
        Probability of GM, WM and CSF, on one grid in scanner space.
    voxel : (4, 4) float
        See `partial_volumes`.

    Raises
    ------
    InputError
        The maps differ in their grid, or hold no probabilities; names the map.
    """
    first = maps["GM"]
    for name, image in maps.items():
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise InputError(f"the map of {name} is not on the grid of that of GM; take maps of one segmentation")
    window, shares = partial_volumes(voxel, first.affine, first.shape)
    values = {name: np.asarray(maps[name].dataobj[window], dtype=float) for name in TISSUES}
    for name, found in [*values.items(), ("GM, WM and CSF together", sum(values.values()))]:
        refuse_no_probability(found, name)
    held = [float(np.sum(shares * values[name])) for name in TISSUES]
    return Fractions(*held, max(0.0, 1 - sum(held)), float(shares.sum()))


def refuse_no_probability(values: NDArray[np.floating], name: str) -> None:
    """Refuse values that are no probabilities: not finite, negative, or above 1."""
    if not np.all(np.isfinite(values)):
        raise InputError(f"the map of {name} has values in the voxel that are not finite; it should hold 0 to 1")
    if values.size and (values.min() < -ABOVE_ONE or values.max() > 1 + ABOVE_ONE):
        raise InputError(
            f"the map of {name} holds {values.min():.3g} to {values.max():.3g} in the voxel, and a probability is 0 to "
            "1; give maps of probability in the space of the T1w (percent divided by 100; not modulated, not labels)"
        )


def read_maps(paths: Mapping[str, Path]) -> dict[str, Any]:
    """Read maps of GM, WM and CSF; or of their labels (key ``labels``), where what has no label is CSF.

    FreeSurfer labels the ventricles and not the CSF of sulci, which is what remains within a voxel in the brain.

    Raises
    ------
    InputError
        Names the file.
    """
    if "labels" not in paths:
        return {name: images.read(paths[name]) for name in TISSUES}
    image = images.read(paths["labels"])
    labels = np.asarray(image.dataobj)
    if not np.all(labels == np.rint(labels)) or not np.isin(labels, LABELS["GM"]).any():
        raise InputError(
            f"{paths['labels']}: is no segmentation by FreeSurfer's labels (3 and 42 are cortex); give maps of "
            "probability in rows of role GM, WM and CSF instead"
        )
    masks = {name: np.isin(labels, LABELS[name]) for name in TISSUES}
    masks["CSF"] |= labels == 0
    return {name: nibabel.Nifti1Image(mask.astype(np.float32), image.affine) for name, mask in masks.items()}


def contrast(image: Any, maps: Mapping[str, Any]) -> tuple[float, ...]:
    """Mean intensity of an image in GM, WM and CSF: where maps in the same space, on any grid, say more than a half."""
    values, into = np.asarray(image.dataobj, dtype=float), np.linalg.inv(image.affine) @ maps["GM"].affine
    found = []
    for name in TISSUES:
        inside = np.argwhere(np.asarray(maps[name].dataobj) > 0.5)
        at = np.rint(nibabel.affines.apply_affine(into, inside[:: 1 + len(inside) // SAMPLED])).astype(int)
        at = at[np.all((at >= 0) & (at < values.shape), axis=1)]
        found.append(float(np.mean(values[tuple(at.T)])) if len(at) else float("nan"))
    return tuple(found)


def is_t1_weighted(grey: float, white: float, csf: float) -> bool:
    """Whether mean intensities are in the order of a T1-weighted image: white matter, grey matter, CSF.

    >>> is_t1_weighted(60, 90, 20), is_t1_weighted(60, 40, 120)
    (True, False)
    """
    return white > grey > csf


def text(found: Fractions) -> str:
    """Fractions in words.

    >>> text(Fractions(0.5, 0.3, 0.15, 0.05, 1.0))
    '50 % GM, 30 % WM, 15 % CSF, 5 % other'
    """
    named = zip((*TISSUES, "other"), astuple(found), strict=False)
    return ", ".join(f"{100 * value:.0f} % {name}" for name, value in named)
