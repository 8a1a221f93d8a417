"""Anatomical images: read, and written without the texts of their header."""

from pathlib import Path

import nibabel
import numpy as np

from mrsflow.errors import InputError
from mrsflow.files import atomic_path
from mrsflow.raw_files import formats


def read(path: Path) -> nibabel.spatialimages.SpatialImage:
    """Read an anatomical image.

    Raises
    ------
    InputError
        It is not there, is no NIfTI, has no three dimensions, or no single number in each voxel.
    """
    formats.refuse_unreadable(path)
    try:
        image = nibabel.load(path)
        shape = np.shape(image.dataobj)
        kind = image.get_data_dtype().kind
    except Exception:
        raise InputError(f"{path}: cannot be read as NIfTI; convert DICOM images with dcm2niix first") from None
    if len(shape) != 3:
        raise InputError(f"{path}: has {len(shape)} dimensions, a T1w has 3")
    if kind not in "iuf":
        raise InputError(f"{path}: has no single real number in each voxel; a T1w has")
    return image


def write(image: nibabel.spatialimages.SpatialImage, path: Path) -> None:
    """Write an anatomical image without the texts of its header."""
    header = image.header.copy()
    header.extensions.clear()
    for name in header:
        if header[name].dtype.kind == "S" and name not in ("magic", "regular"):
            header[name] = b""
    with atomic_path(path) as temporary:
        nibabel.save(type(image)(np.asanyarray(image.dataobj), image.affine, header), temporary)
