"""Maps of grey matter, white matter and CSF from a T1-weighted image, without another program.

The template of `registration` says where which tissue is likely, N4 (SimpleITK) takes the receive field out, and a
mixture model of the intensities does the rest: three tissues, their mixtures in a voxel, and what is none of them.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.anatomy import registration
from mrsflow.anatomy.tissue import TISSUES, is_t1_weighted
from mrsflow.errors import InputError

ORDER = ("CSF", "GM", "WM")
"""The tissues from dark to bright."""
CLASSES = [(0,), (1,), (2,), *combinations(range(3), 2)]
WEIGHTS = (1.0, 1.0, 1.0, 0.5, 0.1, 0.5)
"""Weights of the classes beside what the template says: pure tissues, CSF with GM, CSF with WM, GM with WM."""
WALL = 0.5
"""Weight of CSF with WM, where the template has no GM: walls of ventricles, whose voxels look like GM."""
LEVELS = 400
"""Intensities at which likelihoods are tabulated, from 0 to `TOP` times that of white matter."""
TOP = 1.6
PARTS = (np.arange(10) + 0.5) / 10
"""Shares of the brighter tissue in a mixture; all are equally likely."""
SOFT_MM = 3.0
"""Blur of the template's probabilities: brains differ from it by some millimetres after an affine alignment."""
ANYWHERE = 0.1
"""Least probability of each tissue in the brain."""
DEEP_MM = 10.0
"""Depth in the brain from which CSF is that of the ventricles, not confused with skull."""
DEGREE = 3
"""Of the polynomial in which the logarithm of what N4 left of the receive field is."""
CONTRAST = 0.05
"""Least difference of white and grey matter over the intensity of white matter in a T1-weighted image."""
ROUNDS, SETTLED = 40, 5e-4


@dataclass(frozen=True)
class Segmented:
    """What was found in an image.

    Attributes
    ----------
    maps : dict of str to image
        Part of each voxel that is GM, WM and CSF, on the grid of the image.
    to_template : (4, 4) float
        From the scanner to the template (mm, RAS+): affine.
    contrast : tuple of float
        Mean intensity of GM, WM and CSF without noise, in units of the brightest of the brain.
    """

    maps: dict[str, Any]
    to_template: NDArray[np.floating]
    contrast: tuple[float, float, float]


@dataclass(frozen=True)
class Located:
    """An image aligned with the template: both of SimpleITK, with the transform from template to image."""

    image: Any
    transform: Any

    def moved(self, values: Any) -> NDArray[np.floating]:
        """Bring an image of the template onto the grid of the image."""
        import SimpleITK as sitk

        back = self.transform.GetInverse()
        resampled = sitk.Resample(values, self.image, back, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(resampled).T


def locate(image: nibabel.spatialimages.SpatialImage) -> Located:
    """Align an image with the template.

    Raises
    ------
    InputError
        The packages are not installed, or the image is none of a head.
    """
    registration.refuse_without_tools()
    whole = registration.to_itk(image)
    return Located(whole, registration.to_template(whole))


def segment(image: nibabel.spatialimages.SpatialImage) -> Segmented:
    """Segment a T1-weighted image of a head, or of a brain without its head.

    Raises
    ------
    InputError
        The packages are not installed, the image is none of a head, or it is not T1-weighted.
    """
    found = locate(image)
    template, moved = registration.template(), found.moved
    brain, sides = moved(template.brain), np.array(found.image.GetSpacing())
    around = np.ceil(8 / sides).astype(int)
    window = tuple(
        slice(max(0, int(at.min()) - n), int(at.max()) + n + 1)
        for at, n in zip(np.nonzero(brain > 0.5), around, strict=True)
    )
    brain = brain[window]
    tissues = np.stack([moved(values)[window] for values in template.tissues])
    values = np.asarray(image.dataobj, dtype=np.float32)[window]
    parts, contrast = classify(_without_field(values, brain, sides), tissues, brain, sides)
    maps = {}
    for name in TISSUES:
        whole_map = np.zeros(image.shape, dtype=np.float32)
        whole_map[window] = parts[ORDER.index(name)]
        maps[name] = nibabel.Nifti1Image(whole_map, image.affine)
    return Segmented(maps, registration.matrix_to_template(found.transform), contrast)


def _without_field(
    values: NDArray[np.floating], brain: NDArray[np.floating], sides: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Take the receive field out of the brain (N4; Tustison et al., doi:10.1109/TMI.2010.2046908)."""
    import SimpleITK as sitk

    def given(array: NDArray[np.floating]) -> Any:
        found = sitk.GetImageFromArray(np.ascontiguousarray(np.maximum(array, 0).astype(np.float32).T))
        found.SetSpacing(sides.tolist())
        return found

    full = given(values)
    small, mask = (registration.shrunk(one) for one in (full, given(brain)))
    correct = sitk.N4BiasFieldCorrectionImageFilter()
    correct.SetMaximumNumberOfIterations([30, 20])
    correct.Execute(small + 1e-6 * float(values.max()), sitk.Cast(mask > 0.5, sitk.sitkUInt8))
    return values / np.exp(sitk.GetArrayFromImage(correct.GetLogBiasFieldAsImage(full)).T)


def classify(
    values: NDArray[np.floating],
    tissues: NDArray[np.floating],
    brain: NDArray[np.floating],
    sides: NDArray[np.floating],
) -> tuple[NDArray[np.floating], tuple[float, float, float]]:
    """Part of each voxel that is CSF, GM and WM.

    Parameters
    ----------
    values : (x, y, z) float
        Intensities.
    tissues : (3, x, y, z) float
        What the template says of CSF, GM and WM.
    brain : (x, y, z) float
        What it says of the brain.
    sides : (3,) float
        Of a voxel, mm.

    Returns
    -------
    parts : (3, x, y, z) float
        Expected parts; what is missing to 1 is none of the three.
    contrast : tuple of float
        Mean intensities of GM, WM and CSF.

    Raises
    ------
    InputError
        The intensities are not in the order of a T1-weighted image.

    Notes
    -----
    Expectation maximisation of a mixture with prior probabilities by place (Ashburner and Friston,
    doi:10.1016/j.neuroimage.2005.02.018) and mixed voxels (Tohka et al., doi:10.1016/j.neuroimage.2004.05.007). One
    standard deviation holds for all tissues, as in noise; what is none of them has a histogram of its own.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    blur = SOFT_MM / sides
    tissues = np.stack([gaussian_filter(one, blur) for one in tissues])
    brain = np.clip(gaussian_filter(brain, blur * 2 / 3), 0, 1)
    values = values / np.percentile(values[brain > 0.9], 99)
    means = _start(values, tissues, brain, sides)
    tissues = tissues / np.maximum(tissues.sum(axis=0), 1e-3)
    rare = np.clip(1 - 3 * tissues[1], 0, 1)
    tissues = np.maximum(tissues, ANYWHERE)
    prior = np.stack([
        weight * (tissues[own[0]] if len(own) == 1 else np.sqrt(tissues[own[0]] * tissues[own[1]]))
        for own, weight in zip(CLASSES, WEIGHTS, strict=True)
    ])  # fmt: skip
    prior[4] *= 1 + (WALL / WEIGHTS[4] - 1) * rare
    prior *= brain / prior.sum(axis=0)
    other, core = np.maximum(1 - brain, 0.002), brain > 0.97
    sd, top = (means[2] - means[1]) / 2.5, TOP * means[2]
    histogram, field = np.full(LEVELS, 1 / top), _Field(values.shape)
    for n in range(ROUNDS):
        corrected = values * field.inverse
        at = np.clip(corrected * ((LEVELS - 1) / top), 0, LEVELS - 1).astype(np.int32)
        likelihood, held = _tables(means, sd, top)
        post = prior * likelihood[:, at]
        none = other * histogram[at]
        total = post.sum(axis=0) + none
        post /= total
        before = means.copy()
        for tissue in (1, 2):
            weight = post[tissue][core]
            means[tissue] = np.average(corrected[core], weights=weight)
        sd = max(np.sqrt(np.average((corrected[core] - means[2]) ** 2, weights=post[2][core])), 0.01 * means[2])
        counts = np.bincount(at.ravel(), weights=(none / total).ravel(), minlength=LEVELS)
        histogram = gaussian_filter1d(counts, 3, mode="nearest") / (counts.sum() * top / LEVELS) + 1e-9
        if n % 3 == 2 and n < ROUNDS - 4:
            field.improve(values, post, means, core)
        elif n > 12 and np.max(np.abs(means - before)) < SETTLED * means[2]:
            break
    parts = np.stack([sum(post[k] * held[k, tissue][at] for k in range(len(CLASSES))) for tissue in range(3)])
    return parts, _refuse_other_contrast(float(means[1]), float(means[2]), float(means[0]))


def _refuse_other_contrast(grey: float, white: float, csf: float) -> tuple[float, float, float]:
    if not is_t1_weighted(grey, white, csf) or white - grey < CONTRAST * white:
        raise InputError(
            "is no T1-weighted image, in which WM is clearly brighter than GM and GM than CSF (means: "
            f"GM {grey:.2f}, WM {white:.2f}, CSF {csf:.2f}); give the T1w of the session, or maps of tissue"
        )
    return grey, white, csf


def _start(
    values: NDArray[np.floating],
    tissues: NDArray[np.floating],
    brain: NDArray[np.floating],
    sides: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Mean intensities of CSF, GM and WM to begin with; that of CSF is kept.

    GM and WM are where the template is sure of them. CSF is the dark inside of the ventricles: elsewhere it is thinner
    than voxels, or next to the skull.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    grey, white = (
        float(np.average(values, weights=np.clip(tissues[k] - 0.6 * tissues[k].max(), 0, None))) for k in (1, 2)
    )
    deep = (distance_transform_edt(brain > 0.5, sampling=sides) > DEEP_MM) & (tissues[0] > 0.25)
    if not deep.any():
        deep = brain > 0.97
    inside = binary_erosion(deep & (values < 0.5 * white))
    csf = np.median(values[inside]) if np.count_nonzero(inside) > 30 else np.percentile(values[deep], 5)
    _refuse_other_contrast(grey, white, float(csf))
    return np.array([float(csf), grey, white])


def _tables(means: NDArray[np.floating], sd: float, top: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Likelihood of every intensity in each class, and the part of each tissue that it says a voxel of it holds."""
    levels = np.linspace(0, top, LEVELS)
    likelihood, held = np.zeros((len(CLASSES), LEVELS)), np.zeros((len(CLASSES), 3, LEVELS))
    for k, own in enumerate(CLASSES):
        shares = PARTS if len(own) == 2 else np.ones(1)
        centres = shares * means[own[-1]] + (1 - shares) * means[own[0]]
        each = np.exp(-0.5 * ((levels - centres[:, np.newaxis]) / sd) ** 2) / sd / np.sqrt(2 * np.pi) + 1e-12
        likelihood[k] = each.mean(axis=0)
        held[k, own[-1]] = (each * shares[:, np.newaxis]).sum(axis=0) / each.sum(axis=0)
        held[k, own[0]] = 1 - held[k, own[-1]] if len(own) == 2 else 1
    return likelihood, held


class _Field:
    """What is left of the receive field: the exponential of a polynomial of the place, 1 on the mean."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
        orders = range(DEGREE + 1)
        self._powers = [(i, j, k) for i in orders for j in orders for k in orders if 0 < i + j + k <= DEGREE]
        self.inverse: NDArray[np.floating] | float = 1.0

    def improve(
        self, values: NDArray[np.floating], post: NDArray[np.floating], means: NDArray[np.floating], core: NDArray
    ) -> None:
        """Fit the polynomial to what is surely grey or white matter, every third voxel along each axis."""
        some = (slice(None, None, 3),) * 3
        sure = np.maximum(post[1], post[2])[some]
        chosen = (sure > 0.8) & core[some] & (values[some] > 0)
        expected = np.where(post[2] > post[1], means[2], means[1])[some][chosen]
        x, y, z = (axis[::3] for axis in self._axes)
        terms = np.stack([np.einsum("i,j,k", x**i, y**j, z**k)[chosen] for i, j, k in self._powers], axis=-1)
        target, weight = np.log(values[some][chosen] / expected), np.sqrt(sure[chosen])
        if len(target) < 10 * len(self._powers):
            return
        both = np.column_stack([np.ones(len(terms)), terms]) * weight[:, np.newaxis]
        _, *found = np.linalg.lstsq(both, target * weight, rcond=None)[0]
        x, y, z = self._axes
        log = sum(c * np.einsum("i,j,k", x**i, y**j, z**k) for c, (i, j, k) in zip(found, self._powers, strict=True))
        self.inverse = np.exp(-log + float(np.mean(log[core])))
