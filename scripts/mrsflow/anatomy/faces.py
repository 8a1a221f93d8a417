"""Faces in anatomical images: found or given, and set to zero.

The face is found by aligning the image with a head whose face is known. SimpleITK aligns: it is kept by the makers of
ITK, comes as one wheel for every platform, needs nothing at run time, and also holds what a segmentation of tissue
needs (bias field, clustering, morphology), so that one library serves both. The head and its face are those of pydeface
(MIT), which OpenNeuro's users know; its own program needs FSL, so only its two images are used. Both packages are
optional, as they take 270 MB.

Whatever segments or registers an image takes the one before, from the raw files; the one written here is for people.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow import packages
from mrsflow.anatomy import images, registration
from mrsflow.errors import InputError

SCALE = (0.75, 1.35)
"""Size of the template over that of an adult's or a child's head."""

ALIKE = 0.4
"""Mutual information with the template that an alignment must reach: 0.6 to 0.9 in heads, of 2 at most."""

ADVANTAGE = 1.1
"""Mutual information of an image as it lies over that with it turned, which an alignment must reach: 1.2 to 1.7 in
heads, about 1 in what is none, below 1 where a header says the wrong direction."""

PASSES = 2
"""Times that an alignment is begun anew where it ended, which moves the edge of the face by a few millimetres."""

BRAIN_ML = 1750.0
"""Volume that no brain exceeds; an image that is zero but for less is a brain without its head."""

STARTS_MM = (-30.0, 0.0, 30.0)
"""Heights at which an alignment begins."""

EYES_MM = ((20.0, 55.0), 62.0, -18.0)
"""Where the eyes are in the template, which pydeface leaves in part: to either side, in front of, and below; the brain
ends 8 mm above."""

NECK_MM = -75.0
"""Height in the template below which there is no brain; images end at any height there."""


def tools() -> dict[str, str | None]:
    """Versions of the packages that find a face, None where one is not installed."""
    return packages.versions(packages.FACES)


def without_face(
    image: nibabel.spatialimages.SpatialImage, face: NDArray[np.bool_]
) -> nibabel.spatialimages.SpatialImage:
    """Set the voxels of a face to zero; every other voxel keeps its value."""
    values = np.asarray(image.dataobj).copy()
    values[face] = 0
    header = image.header.copy()
    header.set_data_dtype(values.dtype)
    return type(image)(values, image.affine, header)


def face_of_mask(path: Path, image: nibabel.spatialimages.SpatialImage) -> NDArray[np.bool_]:
    """Face that a mask names: its voxels other than zero.

    Raises
    ------
    InputError
        The mask is not on the grid of the image, or names no voxel or all of them.
    """
    mask = images.read(path)
    if mask.shape != image.shape or not np.allclose(mask.affine, image.affine, atol=1e-3):
        raise InputError(f"{path}: is not on the grid of the image whose face it should name; resample it to that grid")
    face = np.asarray(mask.dataobj) != 0
    if not 0 < np.count_nonzero(face) < face.size:
        raise InputError(f"{path}: names {'every' if face.any() else 'no'} voxel; it should be 1 in the face, else 0")
    return face


def refuse_voxel_in_face(
    centre: NDArray[np.floating], face: NDArray[np.bool_], image: nibabel.spatialimages.SpatialImage
) -> None:
    """Refuse a face that holds the centre (mm) of a spectroscopy voxel, as of a mask the wrong way round."""
    at = np.rint(nibabel.affines.apply_affine(np.linalg.inv(image.affine), centre)).astype(int)
    if np.all(at >= 0) and np.all(at < face.shape) and face[tuple(at)]:
        raise InputError(
            "left out, as what would be taken away as its face holds the spectroscopy voxel; a mask is 1 in the face "
            "and 0 elsewhere (column raw: image | mask)"
        )


def find_face(image: nibabel.spatialimages.SpatialImage) -> NDArray[np.bool_]:
    """Find the face by aligning the image with pydeface's template: rotation, shift, one scale; mutual information.

    Returns
    -------
    (x, y, z) bool
        True in the face. Beyond the template its edge goes on, so that the front of the neck goes too.

    Raises
    ------
    InputError
        The packages are not installed, or the alignment cannot be right.
    """
    if missing := [name for name, version in tools().items() if version is None]:
        raise InputError(
            f"left out, as it shows a face, and {' and '.join(missing)}, which take it away, "
            f"{'is' if len(missing) == 1 else 'are'} not installed; install {'it' if len(missing) == 1 else 'them'}, "
            "give a mask (column raw: image | mask), or say convert.t1w: keep"
        )
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the parallelism is over sessions
    whole = _to_itk(image)
    shown = np.count_nonzero(sitk.GetArrayViewFromImage(whole)) * np.prod(whole.GetSpacing()) / 1000
    if shown < BRAIN_ML:
        raise InputError(_cannot(f"is zero but for {shown:.0f} ml, less than a head"))
    template, used, kept = _template()
    small = _coarse(whole)
    try:
        found, alike, turned = _align(small, template, used)
    except RuntimeError as error:  # of ITK, whose last line says what it is
        if "memory" in str(error).lower():
            raise MemoryError from None
        reason = str(error).strip().splitlines()[-1].rpartition(":")[2].strip()
        raise InputError(_cannot(f"cannot be aligned with a head ({reason})")) from None
    if not SCALE[0] < found.GetScale() < SCALE[1] or alike < max(ALIKE, ADVANTAGE * turned):
        said = f"mutual information with a template {alike:.2f}, turned {turned:.2f}, scale {found.GetScale():.2f}"
        raise InputError(_cannot(f"does not look like a head that lies as its header says ({said})"))
    for _ in range(PASSES):
        _improve(found, small, template, used, 1)
    moved = sitk.Resample(kept, whole, found, sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return sitk.GetArrayFromImage(moved).T < 0.5


def _template() -> tuple[Any, Any, Any]:
    """Head to align with, coarse; which part of it counts; and its mask, 0 in the face, as fine as it is."""
    import SimpleITK as sitk

    folder = Path(importlib.util.find_spec("pydeface").origin).parent / "data"
    head, mask = (nibabel.load(folder / name) for name in ("mean_reg2mean.nii.gz", "facemask.nii.gz"))
    kept = np.asarray(mask.dataobj, dtype=np.float32)
    axes = [axis.astype(np.float32) for axis in np.ogrid[tuple(map(slice, kept.shape))]]
    x, y, z = (sum(m * axis for m, axis in zip(row, axes, strict=False)) + row[3] for row in mask.affine[:3])
    used = registration.shrunk(_to_itk(nibabel.Nifti1Image(kept * (z > NECK_MM), mask.affine))) > 0.5
    (inner, outer), front, top = EYES_MM
    kept[(abs(x) > inner) & (abs(x) < outer) & (y > front) & (z < top)] = 0
    return _coarse(_to_itk(head)), sitk.Cast(used, sitk.sitkUInt8), _to_itk(nibabel.Nifti1Image(kept, mask.affine))


def _cannot(why: str) -> str:
    return (
        f"left out, as its face cannot be taken away: it {why}; give a mask (column raw: image | mask), or say "
        "convert.t1w: keep where no face is in it"
    )


def _to_itk(image: nibabel.spatialimages.SpatialImage) -> Any:
    """Give an image to ITK."""
    try:
        return registration.to_itk(image)
    except InputError as error:
        raise InputError(_cannot(str(error))) from None


def _coarse(image: Any) -> Any:
    """Average voxels so, the brightest cut off: they are vessels and fat."""
    import SimpleITK as sitk

    small = registration.shrunk(image)
    top = float(np.percentile(sitk.GetArrayFromImage(small), 99.5))
    return sitk.Clamp(small, sitk.sitkFloat32, 0.0, top)


def _align(image: Any, template: Any, used: Any) -> tuple[Any, float, float]:
    """Rotation, shift and one scale from an image to the template, of which a part is `used`: what all images have.

    Returns
    -------
    transform
    float
        Mutual information.
    float
        The most of it with the image turned.
    """
    import SimpleITK as sitk

    centred = sitk.CenteredTransformInitializer(
        image, template, sitk.Similarity3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )

    def best(axis: Sequence[float], angle: float) -> tuple[float, Any]:
        tried = []
        for up in STARTS_MM:  # necks of different lengths move the centre of mass
            start = sitk.Similarity3DTransform(centred)
            start.SetRotation(axis, angle)
            start.SetTranslation(np.add(start.GetTranslation(), (0.0, 0.0, up)).tolist())
            tried.append((_improve(start, image, template, used, 2), start))
        start = max(tried, key=lambda pair: pair[0])[1]
        return _improve(start, image, template, used, 1), start

    alike, found = best((1.0, 0.0, 0.0), 0.0)
    return found, alike, max(best(axis, np.pi)[0] for axis in np.eye(3).tolist())


def _improve(start: Any, image: Any, template: Any, used: Any, level: int) -> float:
    """Move a transform to the most mutual information near it, in place, on a grid coarser by `level`; gives it."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricMovingMask(used)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.3, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 100, 0.5)  # steps (mm) that only shrink: no way out
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([level])
    method.SetSmoothingSigmasPerLevel([registration.GRID_MM * level / 2])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(image, template)
    return -method.GetMetricValue()
