"""The voxel on the anatomical image: three slices through its centre."""

import io
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

HEIGHT = 260
"""Height of the picture (pixels)."""

OUTLINE = (230, 159, 0)


def overlay(t1w: Path, svs: Path) -> bytes:
    """Draw axial, coronal and sagittal slices through a voxel's centre, the voxel outlined.

    Parameters
    ----------
    t1w : Path
        Anatomical NIfTI image in scanner space.
    svs : Path
        Single-voxel NIfTI-MRS file; its affine gives centre, size and orientation.

    Returns
    -------
    bytes
        PNG: left of the picture is left of the patient, up is anterior or superior.

    Raises
    ------
    InputError
        An image cannot be read, or the voxel lies outside the anatomical image.
    """
    try:
        anatomy = nibabel.as_closest_canonical(nibabel.squeeze_image(nibabel.load(t1w)))
        voxel = nibabel.load(svs).affine
        image = np.asarray(anatomy.dataobj, dtype=np.float32)
    except Exception as error:
        raise InputError(f"{t1w.name} or {svs.name}: cannot be drawn ({type(error).__name__}: {error})") from error
    if image.ndim != 3:
        raise InputError(f"{t1w.name}: has {image.ndim} dimensions; a T1-weighted volume has 3")
    centre = np.rint(nibabel.affines.apply_affine(np.linalg.inv(anatomy.affine), voxel[:3, 3])).astype(int)
    if np.any(centre < 0) or np.any(centre >= image.shape):
        raise InputError(f"{t1w.name}: the voxel of {svs.name} lies outside it; is it of the same session and space?")
    zooms = np.abs(nibabel.affines.voxel_sizes(anatomy.affine))
    low, high = np.percentile(image, [1, 99.5])
    grey = np.clip((image - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    slices = []
    for axis in (2, 1, 0):
        planes = [centre[a : a + 1] if a == axis else np.arange(n) for a, n in enumerate(grey.shape)]
        index = np.stack(np.meshgrid(*planes, indexing="ij"), axis=-1).squeeze(axis)
        mask = inside_voxel(index, anatomy.affine, voxel)
        slices.append(_coloured(np.take(grey, centre[axis], axis), mask, np.delete(zooms, axis)))
    return _png(np.concatenate(slices, axis=1))


def inside_voxel(index: NDArray, anatomy: NDArray, voxel: NDArray) -> NDArray[np.bool_]:
    """Whether points of an anatomical grid lie inside a spectroscopy voxel.

    Parameters
    ----------
    index : (..., 3) int
        Grid indices of the points.
    anatomy, voxel : (4, 4) float
        Affines, mm; that of the spectroscopy voxel maps (0, 0, 0) to its centre and has the edges as columns.
    """
    inverse = np.linalg.inv(voxel) @ anatomy
    return (np.abs(index @ inverse[:3, :3].T + inverse[:3, 3]) <= 0.5).all(axis=-1)


def _coloured(grey: NDArray[np.uint8], mask: NDArray[np.bool_], zooms: NDArray) -> NDArray[np.uint8]:
    """One slice as RGB, resampled to square pixels, first image axis to the right and second up."""
    picture, mask = grey.T[::-1], mask.T[::-1]
    size = np.array(picture.shape) * zooms[::-1]
    rows = np.linspace(0, picture.shape[0] - 1, HEIGHT).round().astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, max(1, round(HEIGHT * size[1] / size[0]))).round().astype(int)
    picture, mask = picture[np.ix_(rows, columns)], mask[np.ix_(rows, columns)]
    padded = np.pad(mask, 2)
    moved = [np.roll(padded, (dy, dx), (0, 1)) for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    shrunk = np.logical_and.reduce(moved)[2:-2, 2:-2]
    coloured = np.repeat(picture[..., np.newaxis], 3, axis=-1)
    coloured[mask & ~shrunk] = OUTLINE
    return np.pad(coloured, ((0, 0), (0, 6), (0, 0)))


def _png(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(stream, "PNG", optimize=True)
    return stream.getvalue()
