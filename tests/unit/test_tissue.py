"""Tissue in a voxel against closed forms, Monte-Carlo counts and folders made up as other programs leave them."""

import nibabel
import numpy as np
import pytest

from mrsflow.anatomy import derivatives, tissue
from mrsflow.errors import InputError


def turned(degrees, axis):
    """Rotation about an axis (Rodrigues)."""
    n, a = np.array(axis) / np.linalg.norm(axis), np.deg2rad(degrees)
    k = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def affine_of(sides, centre=(0.0, 0.0, 0.0), rotation=None):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(sides)
    affine[:3, 3] = centre
    return affine


def centred(sides, shape):
    """Affine of an image whose middle is at the origin."""
    affine = affine_of(sides)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def test_partial_volumes_of_parallel_boxes_are_products_of_lengths():
    """Every share has a closed form: overlaps of intervals, here of 5 mm slices and sides of no whole number."""
    sides, centre = np.array([26.0, 17.3, 30.0]), np.array([1.3, -4.21, 2.6])
    affine = centred((0.9, 1.1, 5.0), (60, 50, 20))
    window, shares = tissue.partial_volumes(affine_of(sides, centre), affine, (60, 50, 20))
    expected = 1.0
    for axis, part in enumerate(window):
        middle = affine[axis, 3] + affine[axis, axis] * np.arange(part.start, part.stop)
        low, high = centre[axis] - sides[axis] / 2, centre[axis] + sides[axis] / 2
        half = affine[axis, axis] / 2
        length = np.clip(np.minimum(middle + half, high) - np.maximum(middle - half, low), 0, None) / sides[axis]
        expected = expected * length.reshape([-1 if n == axis else 1 for n in range(3)])
    np.testing.assert_allclose(shares, expected, atol=1e-12)
    assert shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (0.9, 0.9, 5.0), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize(("degrees", "axis"), [(45, (0, 0, 1)), (30, (1, 1, 0)), (54.7, (1, 2, 3))])
def test_fraction_of_a_turned_voxel_is_within_a_thousandth(zooms, degrees, axis):
    """A slab of the grid, whose part of the voxel a million points of a low-discrepancy sequence count."""
    from scipy.stats import qmc

    shape = tuple(int(90 / zoom) for zoom in zooms)
    image, voxel = centred(zooms, shape), affine_of((20.0, 25.0, 15.0), (3.1, -2.2, 1.7), turned(degrees, axis))
    slab = np.zeros(shape)
    slab[: shape[0] // 2 + 2, :, : shape[2] // 2] = 1
    points = qmc.Sobol(3, seed=1).random_base2(20) - 0.5
    at = np.rint(nibabel.affines.apply_affine(np.linalg.inv(image) @ voxel, points)).astype(int)
    window, shares = tissue.partial_volumes(voxel, image, shape)
    assert np.sum(shares * slab[window]) == pytest.approx(slab[tuple(at.T)].mean(), abs=1e-3)


def maps_of(grey, white, csf, zooms=(1.0, 1.0, 1.0)):
    affine = centred(zooms, np.shape(grey))
    values = {"GM": grey, "WM": white, "CSF": csf}
    return {name: nibabel.Nifti1Image(np.asarray(v, np.float32), affine) for name, v in values.items()}


def halves(grey=0.6, white=0.3, csf=0.1):
    """One half grey and white with some CSF in each voxel, the other half CSF alone."""
    shape, half = (40, 40, 40), np.zeros((40, 40, 40))
    half[:20] = 1
    return maps_of(grey * half, white * half, csf * half + 1 - half), shape


def test_fractions_of_known_maps():
    """A quarter of the voxel is CSF alone, three quarters hold 60, 30 and 10 %."""
    maps, _ = halves()
    found = tissue.fractions(maps, affine_of((20, 16, 12), (-5.0, 1.0, 0.3)))
    assert [found.GM, found.WM, found.CSF, found.other] == pytest.approx([0.45, 0.225, 0.325, 0.0], abs=1e-6)
    assert found.coverage == pytest.approx(1.0)
    assert "45 % GM" in tissue.text(found)


def test_what_lies_beyond_the_image_is_other_and_not_covered():
    maps, _ = halves()
    found = tissue.fractions(maps, affine_of((20, 20, 20), (-20.0, 0.0, 0.0)))
    assert found.coverage == pytest.approx(0.5) == found.brain
    assert found.other == pytest.approx(0.5)
    away = tissue.fractions(maps, affine_of((20, 20, 20), (300.0, 0.0, 0.0)))
    assert (away.coverage, away.brain, away.other) == (0, 0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m | {"GM": 100 * np.asarray(m["GM"].dataobj)}, "map of GM holds 0 to 60 .*percent divided by 100"),
        (lambda m: m | {"WM": np.asarray(m["WM"].dataobj) + 0.5}, "GM, WM and CSF together holds .* to 1.5"),
        (
            lambda m: m | {"CSF": np.full((40, 40, 40), np.nan)},
            "map of CSF has values in the voxel that are not finite",
        ),
        (lambda m: m | {"WM": np.zeros((40, 40, 20))}, "map of WM is not on the grid of that of GM"),
    ],
)
def test_maps_that_are_no_probabilities_are_refused(change, said):
    maps, _ = halves()
    affine = maps["GM"].affine
    wrong = {k: v if hasattr(v, "dataobj") else nibabel.Nifti1Image(v, affine) for k, v in change(maps).items()}
    with pytest.raises(InputError, match=said):
        tissue.fractions(wrong, affine_of((20, 20, 20), (-2.0, 0, 0)))


def save(path, values=None, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((4, 4, 4), np.float32) if values is None else values
    kind = nibabel.MGHImage if path.suffix == ".mgz" else nibabel.Nifti1Image
    nibabel.save(kind(values, np.eye(4) if affine is None else affine), path)
    return path


def test_labels_of_freesurfer_are_three_tissues(tmp_path):
    """Cortex, white matter, ventricle, and no label: what remains in the brain is CSF of sulci."""
    labels = np.zeros((8, 4, 4), np.int32)
    labels[:2], labels[2:4], labels[4:6] = 1035, 41, 4
    maps = tissue.read_maps({"labels": save(tmp_path / "aseg.mgz", labels)})
    found = tissue.fractions(maps, affine_of((8, 4, 4), (3.5, 1.5, 1.5)))
    assert pytest.approx((0.25, 0.25, 0.5)) == (found.GM, found.WM, found.CSF)
    with pytest.raises(InputError, match="no segmentation by FreeSurfer's labels"):
        tissue.read_maps({"labels": save(tmp_path / "other.nii.gz", np.full((4, 4, 4), 9999, np.int16))})


KEY = ("sub-01", "ses-1")
FOLDERS = {
    "fMRIPrep": [f"sub-01/ses-1/anat/sub-01_ses-1_label-{t}_probseg.nii.gz" for t in ("GM", "WM", "CSF")]
    + ["sub-01/ses-1/anat/sub-01_ses-1_space-MNI152NLin2009cAsym_label-GM_probseg.nii.gz"],
    "SPM": [f"sub-01/ses-1/c{n}T1.nii" for n in (1, 2, 3, 4)] + ["sub-01/ses-1/wc1T1.nii", "sub-01/ses-1/rc2T1.nii"],
    "CAT12": [f"sub-01/ses-1/mri/p{n}T1.nii" for n in (1, 2, 3)] + ["sub-01/ses-1/mri/mwp1T1.nii"],
    "FSL FAST": [f"sub-01_ses-1/T1_fast_pve_{n}.nii.gz" for n in (0, 1, 2)] + ["sub-01_ses-1/T1_fast_pveseg.nii.gz"],
    "FreeSurfer": ["sub-01_ses-1/mri/aseg.mgz", "sub-01_ses-1/mri/norm.mgz"],
}


@pytest.mark.parametrize("program", FOLDERS)
def test_maps_are_found_by_their_names(tmp_path, program):
    for name in FOLDERS[program]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = derivatives.find(tmp_path, *KEY)
    assert (found.program, found.of_session) == (program, True)
    assert all(path.is_file() and "space-" not in path.name for path in found.paths.values())
    if program == "FSL FAST":
        assert found.paths["CSF"].name.endswith("pve_0.nii.gz") and found.paths["WM"].name.endswith("pve_2.nii.gz")
    assert derivatives.find(tmp_path, "sub-01", "ses-11") is None
    assert derivatives.find(tmp_path, "sub-011", "ses-1") is None


@pytest.mark.parametrize(
    ("names", "of_session"),
    [
        ([f"c{n}sub-01_ses-1_T1w.nii" for n in (1, 2, 3)] + [f"c{n}sub-01_ses-10_T1w.nii" for n in (1, 2, 3)], True),
        ([f"sub-01/anat/sub-01_label-{t}_probseg.nii.gz" for t in ("GM", "WM", "CSF")], False),
        (["sub-01/mri/aseg.mgz"], False),
        (["sub-01_ses-1.long.sub-01/mri/aseg.mgz", "sub-01/mri/aseg.mgz"], True),
    ],
)
def test_other_places_of_maps(tmp_path, names, of_session):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert derivatives.find(tmp_path, *KEY).of_session is of_session


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["sub-01/ses-1/c1T1.nii", "sub-01/ses-1/c2T1.nii"], "there is no map of CSF of sub-01_ses-1 beside it .SPM."),
        ([f"sub-01/ses-1/c{n}{t}.nii" for n in (1, 2, 3) for t in "ab"], "is one of 2 maps of GM of sub-01_ses-1"),
        ([*FOLDERS["SPM"], "sub-01/ses-1/mri/aseg.mgz"], "maps of tissue of sub-01_ses-1 by SPM and FreeSurfer"),
    ],
)
def test_maps_that_leave_a_choice_are_refused(tmp_path, names, said):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=said):
        derivatives.find(tmp_path, *KEY)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder \(inputs.tissue\)"):
        derivatives.find(tmp_path / "nowhere", *KEY)
