"""From a T1-weighted image to the brain of a template (ICBM 152, nonlinear 2009a symmetric), whose tissue is known.

SimpleITK aligns, as in `faces`; the template and its maps of grey and white matter come with nilearn. Both are optional
(``mrsflow[tissue]``), and nothing is downloaded at run time.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow import packages
from mrsflow.errors import InputError

GRID_MM = 4.0
"""Grid on which an image is aligned."""
STARTS = (0.85, 1.0)
"""Sizes of the image's brain, over that of the template, from which an alignment begins: from above it grows into the
scalp."""
SIZE = (0.6, 1.5)
"""Volume of a brain over that of the template, to the power of 1/3, between which an alignment can be right."""
ALIKE = 0.25
"""Squared correlation with the template that an alignment must reach: 0.7 to 0.83 in brains of people, 0.38 in the
simulated head."""


def tools() -> dict[str, str | None]:
    """Versions of the packages that align and segment, None where one is not installed."""
    return packages.versions(packages.TISSUE)


def refuse_without_tools() -> None:
    """Refuse to go on without the packages, and say how to get them."""
    if missing := [name for name, version in tools().items() if version is None]:
        raise InputError(
            f"{' and '.join(missing)}, which segmentation needs, {'is' if len(missing) == 1 else 'are'} not installed; "
            "pip install 'mrsflow[tissue]', name maps of another program (inputs.tissue), or say inputs.segment: auto"
        )


@dataclass(frozen=True)
class Template:
    """Brain of the template: T1-weighted image, mask, and probability of CSF, GM and WM, all of SimpleITK."""

    image: Any
    brain: Any
    tissues: tuple[Any, Any, Any]


def template_image(kind: str = "t1") -> Any:
    """Image of the template as nibabel reads it: t1, gm or wm; None without nilearn, which ships it."""
    found = importlib.util.find_spec("nilearn")
    if found is None:
        return None
    folder = Path(found.origin).parent / "datasets/data"
    return nibabel.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")


@cache
def template() -> Template:
    """Read the template; what of the brain is neither grey nor white matter is CSF."""
    from scipy.ndimage import binary_fill_holes

    images = [template_image(kind) for kind in ("t1", "gm", "wm")]
    head, grey, white = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    grey, white, brain = grey / 255, white / 255, binary_fill_holes(head > 0)
    csf = np.clip(brain - grey - white, 0, 1)
    head, brain, *tissues = (
        to_itk(nibabel.Nifti1Image(values.astype(np.float32), images[0].affine))
        for values in (head, brain, csf, grey, white)
    )
    return Template(head, brain, tuple(tissues))


def to_itk(image: nibabel.spatialimages.SpatialImage) -> Any:
    """Give an image to ITK, whose axes point left and back; a skew of the affine is left out, as ITK knows none.

    Raises
    ------
    InputError
        The affine has no place or no size.
    """
    import SimpleITK as sitk

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)) or spacing.min() <= 0:
        raise InputError("has no place and no size in its header")
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    values = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float32), posinf=0.0, neginf=0.0)
    found = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    found.SetSpacing(spacing.tolist())
    found.SetDirection((left @ right).ravel().tolist())
    found.SetOrigin(affine[:3, 3].tolist())
    return found


def shrunk(image: Any) -> Any:
    """Average voxels to about the grid on which images are aligned."""
    import SimpleITK as sitk

    return sitk.BinShrink(image, [max(1, round(GRID_MM / spacing)) for spacing in image.GetSpacing()])


def to_template(image: Any) -> Any:
    """Align the brain in an image with the template's: affine, by correlation.

    Parameters
    ----------
    image : SimpleITK image
        T1-weighted, with or without what is around the brain.

    Returns
    -------
    SimpleITK.AffineTransform
        Takes points of the template to those of the image (mm, axes of ITK).

    Raises
    ------
    InputError
        The alignment cannot be right.

    Notes
    -----
    The correlation counts a rim of one step of the grid around the brain, where the template is 0 and the skull dark:
    mutual information let the brain grow into the scalp (benchmarks/tissue_truth.py).
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the parallelism is over sessions
    fixed, moving, brain = shrunk(template().image), shrunk(image), shrunk(template().brain) > 0.5
    used = sitk.BinaryDilate(sitk.Cast(brain, sitk.sitkUInt8), [1, 1, 1])
    top = float(np.percentile(sitk.GetArrayViewFromImage(moving), 99))
    moving = sitk.Clamp(moving, sitk.sitkFloat32, 0.0, top)
    try:
        centred = sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Similarity3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
        tried = []
        for size in STARTS:
            start = sitk.Similarity3DTransform(centred)
            start.SetScale(size)
            tried.append((_improve(start, fixed, moving, used, 2), start))
        start = max(tried, key=lambda pair: pair[0])[1]
        _improve(start, fixed, moving, used, 1)
        found = sitk.AffineTransform(3)
        found.SetCenter(start.GetCenter())
        found.SetMatrix(start.GetMatrix())
        found.SetTranslation(start.GetTranslation())
        alike = _improve(found, fixed, moving, used, 1)
    except RuntimeError as error:  # of ITK, whose last line says what it is
        if "memory" in str(error).lower():
            raise MemoryError from None
        reason = str(error).strip().splitlines()[-1].rpartition(":")[2].strip()
        raise InputError(f"cannot be aligned with a brain ({reason}){_WAY_OUT}") from None
    size = np.cbrt(np.linalg.det(np.reshape(found.GetMatrix(), (3, 3))))
    if alike < ALIKE or not SIZE[0] < size < SIZE[1]:
        said = f"squared correlation with a template {alike:.2f}, at least {ALIKE}; size {size:.2f}"
        raise InputError(f"does not look like a T1-weighted head that lies as its header says ({said}){_WAY_OUT}")
    return found


_WAY_OUT = "; name maps of tissue by another program (inputs.tissue), or take the image out"


def matrix_to_template(transform: Any) -> NDArray[np.floating]:
    """Give the 4 x 4 matrix that takes points of the scanner to the template (mm, RAS+)."""
    matrix, centre = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter())
    into = np.eye(4)
    into[:3, :3] = matrix
    into[:3, 3] = centre + transform.GetTranslation() - matrix @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ np.linalg.inv(into) @ flip


def _improve(start: Any, fixed: Any, moving: Any, used: Any, level: int) -> float:
    """Move a transform to the most correlation near it, in place, on a grid coarser by `level`; gives it, squared."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(used)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.3, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    if isinstance(start, sitk.Similarity3DTransform):
        method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, 150, 0.5, 1e-6)
    else:
        method.SetOptimizerAsConjugateGradientLineSearch(0.1, 40, 1e-6, 5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([level])
    method.SetSmoothingSigmasPerLevel([GRID_MM * level / 2])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return -method.GetMetricValue()
