"""T1-weighted or not, told from an image alone: a simulated head with other contrasts, and images of people."""

import nibabel
import numpy as np
import pytest

from mrsflow.anatomy import contrast, images
from mrsflow.simulation import head

T1 = dict(zip(head.PARTS, head.SIGNAL, strict=True))
MPRAGE_7T = T1 | {"CSF": 0.08, "GM": 0.55, "WM": 0.95, "scalp": 1.6}
WITHOUT_SKULL = T1 | {"skull": 0, "scalp": 0, "neck": 0}
T2 = T1 | {"CSF": 1.0, "GM": 0.42, "WM": 0.3, "scalp": 0.5}
T2_FAT_SUPPRESSED = T2 | {"scalp": 0.1}


@pytest.fixture(scope="module")
def made():
    return head.make(3.0)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize(
    ("signal", "refused"),
    [(T1, False), (MPRAGE_7T, False), (WITHOUT_SKULL, False), (T2, True), (T2_FAT_SUPPRESSED, True)],
)
def test_a_head_in_which_csf_is_brightest_is_told(made, monkeypatch, signal, refused, noise):
    monkeypatch.setattr(head, "SIGNAL", tuple(signal[part] for part in head.PARTS))
    image = made.image(np.random.default_rng(0), noise)
    assert ("seems to be T2-weighted" in contrast.remark(image)) == refused
    values = np.transpose(np.asarray(image.dataobj), (2, 0, 1))[::-1, :, 20:]  # axes in another order, and cut
    assert ("seems to be T2-weighted" in contrast.remark(nibabel.Nifti1Image(values, image.affine))) == refused


@pytest.mark.parametrize("values", [np.zeros((9, 9, 9)), np.ones((40, 40, 40)), np.full((5, 5, 5), np.nan)])
def test_of_what_is_no_head_nothing_is_said(values):
    assert contrast.remark(nibabel.Nifti1Image(values, np.eye(4))) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("siemens-dicom-rda-svs30-anat/anat_ds4.nii.gz", True),
        ("t1w-7t-steam-defaced/T1w_defaced.nii.gz", False),
        ("philips-sdat-press30-t1w/anat/sub-01_ses-01_T1w_scanner-space_FSL-skull-stripped.nii.gz", False),
    ],
)
def test_images_of_people(shared, name, refused):
    assert bool(contrast.remark(images.read(shared / "data" / name))) == refused
