"""T1-weighted images of a simulated trial, maps of their tissue, what its voxels hold: the simulated head, moved."""

from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mrsflow.anatomy import images, tissue
from mrsflow.anatomy.tissue import TISSUES
from mrsflow.quantification.quantify import constants_at
from mrsflow.simulation import head

VOXEL_MM = 3.0
FACE_MM = (60.0, -15.0)
"""Where the face begins: in front of, and below."""
WITHOUT_MAPS = ("02",)
"""Participants who have a T1w alone."""
TO_MNI = "to-mni.txt"
"""Matrix to MNI space beside the images, of those who have maps; the T1w of the others is aligned."""
CONSTANTS = "fsl"
"""Set by which amounts of the trial are right: the default of the analysis."""


@cache
def _head() -> head.Head:
    return head.make(VOXEL_MM)


def head_of(participant: str, visit: int) -> head.Head:
    """Head of a session: size and tilt are the participant's, position and some tilt those of the visit."""
    person, day = np.random.default_rng(int(participant)), np.random.default_rng([int(participant), visit])
    turned = Rotation.from_euler("xyz", person.normal(0, 4, 3) + day.normal(0, 1, 3), degrees=True)
    move = np.eye(4)
    move[:3, :3] = turned.as_matrix() * person.normal(1, 0.02, 3)
    move[:3, 3] = day.normal(0, 2, 3)
    return head.Head(_head().fractions, move @ _head().affine)


def held(own: head.Head, voxel: NDArray[np.floating]) -> dict[str, float]:
    """Fractions of GM, WM and CSF in a voxel (4 x 4, mm); their sum is 1."""
    found = tissue.fractions(own.maps(), voxel)
    return {name: getattr(found, name) / found.brain for name in TISSUES}


def water_mM(fractions: dict[str, float], spectrometer_frequency: float, echo_s: float, repetition_s: float) -> float:
    """Water (mM) whose signal makes concentrations of metabolites, simulated without relaxation, those of the tissue.

    Parameters
    ----------
    fractions : dict of str to float
    spectrometer_frequency : float
        MHz.
    echo_s, repetition_s : float
        Of water and metabolites.
    """
    constants = constants_at(CONSTANTS, spectrometer_frequency)
    seen = constants.water_mM(echo_s, repetition_s, fractions)
    return seen * constants.correction(echo_s, repetition_s) / (1 - fractions["CSF"])


HEAD_IN_MNI = (0.0, -18.0, 10.0)
"""Where the middle of the head's brain is in MNI space, mm; both are about as large."""


def to_mni(own: head.Head) -> NDArray[np.floating]:
    """Matrix from the scanner to MNI space (4 x 4, mm): the head back to where and as large as it was made."""
    into = _head().affine @ np.linalg.inv(own.affine)
    into[:3, 3] += HEAD_IN_MNI
    return into


def names(participant: str, folder: str) -> dict[str, list[str]]:
    """Files of a session by role: the T1w with the mask of its face, and maps of tissue for most participants."""
    found = {"T1w": [f"{folder}/T1w.nii.gz", f"{folder}/face.nii.gz"]}
    if participant in WITHOUT_MAPS:
        return found
    return found | {name: [f"{folder}/{name}.nii.gz"] for name in TISSUES}


def write(own: head.Head, files: dict[str, list[str]], out: Path, rng: np.random.Generator) -> None:
    """Write the images that `names` names below a folder; with maps, the transform to MNI space beside them."""
    image, mask = files["T1w"]
    images.write(own.image(rng), out / image)
    grid = np.moveaxis(np.indices(own.fractions.shape[1:]), 0, -1)
    places = nibabel.affines.apply_affine(_head().affine, grid)
    inside = own.fractions[[head.PARTS.index(name) for name in TISSUES]].sum(axis=0) > 0
    face = (places[..., 1] > FACE_MM[0]) & (places[..., 2] < FACE_MM[1]) & ~inside
    images.write(nibabel.Nifti1Image(face.astype(np.uint8), own.affine), out / mask)
    if "GM" in files:
        np.savetxt(out / Path(image).with_name(TO_MNI), to_mni(own), fmt="%.6f")
    for name, made in own.maps().items():
        if name in files:
            header: Any = made.header.copy()
            header.set_data_dtype(np.uint8)
            images.write(nibabel.Nifti1Image(made.dataobj, made.affine, header), out / files[name][0])
