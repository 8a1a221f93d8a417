"""Faces go and nothing else does: a head whose face is known, moved about; a real image; what is no head at all."""

from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from faulty import CONFIG, TABLES
from scipy import ndimage

from mrsflow.anatomy import faces, images
from mrsflow.conversion import convert
from mrsflow.errors import InputError
from mrsflow.study import config
from mrsflow.study.study import read_study

needs_tools = pytest.mark.skipif(None in faces.tools().values(), reason="needs simpleitk and pydeface")


@cache
def template() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head of pydeface at 2 mm, where its face is, and the affine."""
    import pydeface

    folder = Path(pydeface.__file__).parent / "data"
    head, kept = (nibabel.load(folder / name) for name in ("mean_reg2mean.nii.gz", "facemask.nii.gz"))
    affine = head.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    face = np.asarray(kept.dataobj)[::2, ::2, ::2] == 0
    places = nibabel.affines.apply_affine(affine, np.moveaxis(np.indices(face.shape), 0, -1))
    eyes = (np.abs(np.abs(places[..., 0]) - 37.5) < 17.5) & (places[..., 1] > 62) & (places[..., 2] < -18)
    return np.asarray(head.dataobj)[::2, ::2, ::2].astype(float), face | eyes, affine


def turned(degrees: float, axis: int) -> np.ndarray:
    """Rotation about one axis of the scanner."""
    found = np.eye(4)
    i, j = [a for a in range(3) if a != axis]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    found[i, i] = found[j, j] = cosine
    found[i, j], found[j, i] = -sine, sine
    return found


def another_head(move: np.ndarray) -> tuple[nibabel.Nifti1Image, np.ndarray]:
    """The head with noise, a receive field and less neck, its axes in another order, moved; and its true face."""
    head, face, affine = template()
    rng = np.random.default_rng(3)
    field = 1 + 0.4 * np.linspace(-1, 1, head.shape[1])[:, np.newaxis]
    values = np.abs(head * field + rng.normal(0, 10, head.shape))[:, :, 15:]
    swap = np.eye(4)[[1, 2, 0, 3]]
    shift = np.eye(4)
    shift[2, 3] = 15
    values, face = np.transpose(values, (1, 2, 0)), np.transpose(face[:, :, 15:], (1, 2, 0))
    return nibabel.Nifti1Image(values.astype(np.int16), move @ affine @ shift @ swap.T), face


@needs_tools
def test_the_face_of_a_moved_head_is_found_where_it_is():
    move = turned(12, 0) @ turned(-8, 2) @ np.diag([1.08, 1.08, 1.08, 1.0])
    move[:3, 3] = 12, -25, 18
    image, truth = another_head(move)
    face = faces.find_face(image)
    overlap = 2 * np.count_nonzero(face & truth) / (np.count_nonzero(face) + np.count_nonzero(truth))
    assert overlap > 0.9
    assert ndimage.binary_dilation(truth, iterations=4)[face].all()  # to 8 mm, two steps of the grid of the alignment
    assert face[ndimage.binary_erosion(truth, iterations=4, border_value=1)].mean() > 0.99
    written = faces.without_face(image, face)
    assert not np.asarray(written.dataobj)[face].any()
    np.testing.assert_array_equal(np.asarray(written.dataobj)[~face], np.asarray(image.dataobj)[~face])
    np.testing.assert_array_equal(written.affine, image.affine)


@needs_tools
def test_a_real_image_keeps_its_brain_and_its_voxel(shared):
    folder = shared / "data/t1w-7t-steam-defaced"
    image = images.read(folder / "T1w_defaced.nii.gz")
    values = np.asarray(image.dataobj)
    face = faces.find_face(image)
    brain = ndimage.binary_opening(values > np.percentile(values[values > 0], 40), iterations=3)
    labels, _ = ndimage.label(brain)
    brain = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    assert np.count_nonzero(face & brain) / np.count_nonzero(brain) < 0.002
    voxel = nibabel.load(folder / "steam_svs.nii.gz").affine
    faces.refuse_voxel_in_face(voxel[:3, 3], face, image)
    assert np.count_nonzero(face & (values > 0)) / np.count_nonzero(face) < 0.1  # its makers took the face away before


def no_head(kind: str) -> nibabel.Nifti1Image:
    """An image of something else, or of a head in the wrong place."""
    if kind == "upside down":
        return another_head(np.diag([1.0, 1.0, -1.0, 1.0]))[0]
    grid = np.indices((40, 40, 40)) - 19.5
    values = np.random.default_rng(1).normal(100, 10, (40, 40, 40))
    if kind == "ball":
        values += 500 * (np.linalg.norm(grid, axis=0) < 15)
    if kind == "brain alone":
        values *= np.linalg.norm(grid, axis=0) < 10
    if kind == "nothing":
        values[:] = np.nan
    return nibabel.Nifti1Image(values.astype(np.float32), np.diag([6.0, 6.0, 6.0, 1.0]))


@needs_tools
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("upside down", "does not look like a head that lies as its header says"),
        ("noise", "does not look like a head|cannot be aligned"),
        ("ball", "does not look like a head"),
        ("brain alone", r"is zero but for \d+ ml, less than a head"),
        ("nothing", "is zero but for 0 ml"),
    ],
)
def test_what_is_no_head_where_the_header_says_is_left_out(kind, said):
    with pytest.raises(InputError, match=f"left out, as its face cannot be taken away: it ({said})") as error:
        faces.find_face(no_head(kind))
    assert "image | mask" in str(error.value) and "\n" not in str(error.value)


def test_without_the_packages_the_image_is_left_out_and_they_are_named(monkeypatch):
    monkeypatch.setattr(faces, "tools", lambda: {"simpleitk": None, "pydeface": "2.1.0"})
    with pytest.raises(InputError, match=r"left out, as it shows a face, and simpleitk, .* is not installed"):
        faces.find_face(no_head("ball"))


def saved(values: np.ndarray, path: Path, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def test_a_mask_says_where_the_face_is_and_a_wrong_one_is_refused(tmp_path):
    image = nibabel.Nifti1Image(np.arange(1, 28, dtype=np.int16).reshape(3, 3, 3), np.eye(4))
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[:, 2, 0] = 1
    face = faces.face_of_mask(saved(mask, tmp_path / "mask.nii.gz"), image)
    np.testing.assert_array_equal(face, mask == 1)
    faces.refuse_voxel_in_face(np.array([1.0, 1, 1]), face, image)
    inside = faces.face_of_mask(saved(1 - mask, tmp_path / "kept.nii.gz"), image)
    with pytest.raises(InputError, match="holds the spectroscopy voxel; a mask is 1 in the face and 0 elsewhere"):
        faces.refuse_voxel_in_face(np.array([1.0, 1, 1]), inside, image)
    for values, affine, said in [
        (mask, np.diag([2.0, 1, 1, 1]), "is not on the grid"),
        (mask[:2], None, "is not on the grid"),
        (0 * mask, None, "names no voxel"),
        (0 * mask + 1, None, "names every voxel"),
    ]:
        with pytest.raises(InputError, match=f"bad.nii.gz: {said}"):
            faces.face_of_mask(saved(values, tmp_path / "bad.nii.gz", affine), image)


@pytest.fixture
def judge(tmp_path):
    """Give what happens to the images of a session, by their cells of column raw."""
    values = np.arange(1, 28, dtype=np.int16).reshape(3, 3, 3)
    saved(values, tmp_path / "t1.nii.gz")
    saved((values > 20).astype(np.uint8), tmp_path / "face.nii.gz")

    def judged(*cells: str, way: str = "deface"):
        rows = "".join(f"01\t1\tT1w\t\t{cell}\t\t\t{run}\n" for run, cell in enumerate(cells, start=1))
        samples = TABLES["samples"].replace("\n", "\t\n").replace("\t\n", "\trun\n", 1) + rows
        for name, text in {**TABLES, "samples": samples}.items():
            (tmp_path / f"{name}.tsv").write_text(text)
        inputs = {name: str(tmp_path / f"{name}.tsv") for name in TABLES}
        settings = config.checked({**CONFIG, "inputs": inputs, "convert": {"t1w": way}})
        study = read_study(settings, ["sub-01_ses-1"])
        image, notes = convert._anatomy_of("sub-01_ses-1", study, settings, tmp_path, [])
        return image, [(note.status, note.message.partition("line ")[2][3:]) for note in notes]

    return judged


def test_a_session_s_image_goes_out_without_its_face_or_not_at_all(judge):
    image, notes = judge("t1.nii.gz | face.nii.gz")
    assert notes == [("pass", "t1.nii.gz: face set to zero (26% of the image), by face.nii.gz")]
    assert np.asarray(image.dataobj).ravel().tolist() == [*range(1, 21), *[0] * 7]
    image, notes = judge("t1.nii.gz | face.nii.gz", "t1.nii.gz")
    assert image is not None and [status for status, _ in notes] == ["pass", "warn"]
    assert notes[1][1] == "t1.nii.gz: left out, as the session has another T1w; give one row of it"


@pytest.mark.parametrize(
    ("cell", "way", "said"),
    [
        ("t1.nii.gz", "leave_out", "t1.nii.gz: left out, as it shows a face and convert.t1w is leave_out"),
        ("absent.nii.gz", "deface", "absent.nii.gz: no such file or folder"),
        ("t1.nii.gz | absent.nii.gz", "deface", "absent.nii.gz: no such file or folder"),
        ("t1.nii.gz | t1.nii.gz", "deface", "t1.nii.gz: names every voxel"),
        ("participants.tsv", "deface", "participants.tsv: cannot be read as NIfTI; convert DICOM images with dcm2niix"),
        ("t1.nii.gz", "deface", "t1.nii.gz: left out, as "),
    ],
)
def test_an_image_that_cannot_go_out_is_a_warning(judge, cell, way, said):
    image, ((status, message),) = judge(cell, way=way)
    assert image is None and status == "warn"
    assert said in message


def test_keep_is_said_aloud(judge):
    image, notes = judge("t1.nii.gz", way="keep")
    assert np.asarray(image.dataobj).min() == 1
    assert notes == [("warn", "t1.nii.gz: shows a face, as convert.t1w is keep: do not share it")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((2, 2)), "has 2 dimensions"),
        (np.zeros((2, 2, 2, 2)), "has 4 dimensions"),
        (np.zeros((2, 2, 2), np.complex64), "has no single real number in each voxel"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, values, said):
    with pytest.raises(InputError, match=f"t1.nii: {said}"):
        images.read(saved(values, tmp_path / "t1.nii"))


def test_scaled_values_outside_of_the_face_are_not_rounded(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_slope_inter(0.37, 11)
    values = np.linspace(0, 900, 27).reshape(3, 3, 3)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), header), tmp_path / "t1.nii")
    image = images.read(tmp_path / "t1.nii")
    face = np.zeros((3, 3, 3), bool)
    face[0, 0] = True
    images.write(faces.without_face(image, face), tmp_path / "out.nii.gz")
    found = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    np.testing.assert_allclose(found[~face], np.asarray(image.dataobj)[~face], rtol=1e-7)
    assert not found[face].any()
