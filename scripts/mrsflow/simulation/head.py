"""A simulated head whose tissue is known everywhere: cortex with folds, ventricles, deep nuclei, skull, scalp, neck."""

from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray

PARTS = ("air", "CSF", "GM", "WM", "skull", "scalp", "neck")
SIGNAL = (0.0, 0.25, 0.62, 0.88, 0.12, 0.95, 0.45)
"""Of the parts in a T1-weighted image, without noise and receive field."""
RADII_MM = np.array([68.0, 85.0, 62.0])
"""Of the brain."""
SIZE_MM = (180.0, 224.0, 200.0)
"""Of the image."""
CORTEX_MM, SULCUS_MM, FOLD_MM, DEEPEST_MM = 2.8, 1.4, 30.0, 24.0
"""Thickness of the cortex, width of sulci, distance of folds, depth of sulci."""
FACTOR = 2
"""Points along each side of a voxel at which the head is looked at."""
SLAB = 16


@dataclass(frozen=True)
class Head:
    """A head on a grid.

    Attributes
    ----------
    fractions : (part, x, y, z) float
        What each voxel holds of `PARTS`.
    affine : (4, 4) float
        Of the grid, mm.
    """

    fractions: NDArray[np.floating]
    affine: NDArray[np.floating]

    def maps(self) -> dict[str, nibabel.Nifti1Image]:
        """GM, WM and CSF as images."""
        return {
            name: nibabel.Nifti1Image(self.fractions[PARTS.index(name)], self.affine) for name in ("GM", "WM", "CSF")
        }

    def image(self, rng: np.random.Generator, noise: float = 0.03, field: float = 0.3) -> nibabel.Nifti1Image:
        """T1-weighted image with Rician noise (over the signal of scalp) and a receive field that varies by `field`."""
        signal = np.tensordot(SIGNAL, self.fractions, 1)
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in signal.shape), indexing="ij")
        signal *= 1 + field * (0.5 * x + 0.3 * y + 0.4 * y * z - 0.6 * (z**2 - 0.3))
        noisy = np.hypot(signal + rng.normal(0, noise, signal.shape), rng.normal(0, noise, signal.shape))
        return nibabel.Nifti1Image((1000 * noisy).astype(np.int16), self.affine)


def parts_at(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Which of `PARTS` is at points (..., 3) in mm from the middle of the brain, right, front and up."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.sqrt(sum((at / size) ** 2 for at, size in zip((x, y, z), RADII_MM, strict=True)))
    depth, k = 70 * (1 - radius), 2 * np.pi / FOLD_MM
    a, b, c = (k * (at + 4 * np.sin(by / mm)) for at, by, mm in ((x, y, 23), (y, z, 19), (z, x, 27)))
    gyroid = np.abs(np.sin(a) * np.cos(b) + np.sin(b) * np.cos(c) + np.sin(c) * np.cos(a))
    far = 99.0
    sulcus = np.where(depth < DEEPEST_MM, gyroid / (1.25 * k) - SULCUS_MM / 2, far)
    fissure = np.where((z > 8) | (np.abs(y) > 45), np.abs(x) - 1, far)
    from_csf = np.minimum(np.minimum(depth, sulcus), fissure)
    found = np.full(x.shape, PARTS.index("WM"), np.uint8)
    found[from_csf < CORTEX_MM] = PARTS.index("GM")
    found[from_csf < 0] = PARTS.index("CSF")
    side = np.abs(x)
    found[((side - 20) / 9) ** 2 + (y / 22) ** 2 + ((z + 2) / 12) ** 2 < 1] = PARTS.index("GM")
    found[((side - 9) / 6.5) ** 2 + (y / 32) ** 2 + ((z - 4) / 10) ** 2 < 1] = PARTS.index("CSF")
    for outer, part in ((1.0, "CSF"), (1.035, "skull"), (1.12, "scalp"), (1.2, "air")):
        found[radius > outer] = PARTS.index(part)
    found[(z < -45) & ((x / 55) ** 2 + ((y + 5) / 65) ** 2 < 1) & (radius > 1.035)] = PARTS.index("neck")
    return found


def make(voxel_mm: float, move: NDArray[np.floating] | None = None) -> Head:
    """Put the head on a grid of cubes.

    Parameters
    ----------
    voxel_mm : float
    move : (4, 4) float, optional
        Where the head and its grid are in the scanner, and how large: from its own mm to those of the scanner.
    """
    shape = tuple(round(size / voxel_mm) for size in SIZE_MM)
    own = np.diag([voxel_mm] * 3 + [1.0])
    own[:3, 3] = -voxel_mm * (np.array(shape) - 1) / 2
    own[2, 3] -= 18
    fractions = np.zeros((len(PARTS), *shape), np.float32)
    offsets = (np.arange(FACTOR) + 0.5) / FACTOR - 0.5
    for first in range(0, shape[2], SLAB):
        slab = np.arange(first, min(first + SLAB, shape[2]))
        for offset in np.stack(np.meshgrid(*[offsets] * 3), axis=-1).reshape(-1, 3):
            axes = [np.arange(n) + o for n, o in zip((shape[0], shape[1]), offset[:2], strict=True)]
            index = np.stack(np.meshgrid(*axes, slab + offset[2], indexing="ij"), axis=-1)
            found = parts_at(nibabel.affines.apply_affine(own, index))
            for part in range(len(PARTS)):
                fractions[part][..., slab] += (found == part) / FACTOR**3
    return Head(fractions, own if move is None else move @ own)
