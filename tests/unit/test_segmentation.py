"""Tissue segmented from images: a simulated head whose content is known, real images, other programs stood in for."""

import os
from functools import cache

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from mrsflow import packages
from mrsflow.anatomy import images, registration, segmentation, tissue
from mrsflow.anatomy.tissue import TISSUES
from mrsflow.errors import InputError
from mrsflow.quantification import segmenters, tissue_files
from mrsflow.simulation import head
from mrsflow.study import study

needs_tools = pytest.mark.skipif(
    None in registration.tools().values(), reason="needs nilearn and simpleitk: pip install mrsflow[tissue]"
)
PLACES = [(-45, 0, 10), (0, 40, 30), (30, 20, 30), (-30, -40, 25), (12, 0, 8), (40, -20, -20), (0, 60, 0), (0, -55, 20)]
"""Of voxels, mm from the middle of the brain: cortex of both sides and the midline, white matter, a ventricle."""


@cache
def moved_head() -> tuple[head.Head, np.ndarray]:
    """The head turned, stretched and shifted, at 2 mm."""
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", (10, -6, 5), degrees=True).as_matrix() * (1.03, 0.97, 1.05)
    move[:3, 3] = 6, -12, 15
    return head.make(2.0, move), move


def voxel_at(place, move, side=25.0):
    affine = np.diag([side, side, side, 1.0])
    affine[:3, 3] = nibabel.affines.apply_affine(move, place)
    return affine


def held(maps, affine):
    found = tissue.fractions(maps, affine)
    return np.array([getattr(found, name) for name in TISSUES])


@needs_tools
def test_fractions_of_a_simulated_head_are_found():
    made, move = moved_head()
    found = segmentation.segment(made.image(np.random.default_rng(0)))
    wrong = np.array(
        [held(found.maps, voxel_at(place, move)) - held(made.maps(), voxel_at(place, move)) for place in PLACES]
    )
    assert np.abs(wrong).max() < 0.04  # half of a ventricle, and the fissure at the back; elsewhere
    assert np.abs(np.delete(wrong, (4, 7), axis=0)).max() < 0.03
    total = sum(np.asarray(one.dataobj) for one in found.maps.values())
    assert total.min() >= 0 and total.max() < 1 + 1e-5
    size = np.cbrt(np.linalg.det(found.to_template[:3, :3]))
    assert 0.8 < size < 1.25
    middle = nibabel.affines.apply_affine(found.to_template, nibabel.affines.apply_affine(move, (0, 0, 0)))
    assert np.linalg.norm(middle - (0, -18, 10)) < 20  # the middle of the brain of the template


@needs_tools
@pytest.mark.parametrize("kind", ["turned round", "noise"])
def test_an_image_of_other_contrast_or_of_no_head_is_refused(kind):
    made, _ = moved_head()
    values = np.asarray(made.image(np.random.default_rng(0)).dataobj).astype(float)
    said = "is no T1-weighted image|does not look like a T1-weighted head"
    if kind == "turned round":  # dark tissue bright and bright tissue dark, air dark
        values = np.where(values > 80, 1100 - values, values)
    else:
        values, said = np.random.default_rng(1).normal(100, 10, values.shape), "does not look like|cannot be aligned"
    with pytest.raises(InputError, match=said):
        segmentation.segment(nibabel.Nifti1Image(values.astype(np.float32), made.affine))


@needs_tools
@pytest.mark.slow
def test_a_t2w_image_of_a_person_is_refused(shared):
    with pytest.raises(InputError, match="is no T1-weighted image"):
        segmentation.segment(images.read(shared / "data/siemens-dicom-rda-svs30-anat/anat_ds4.nii.gz"))


@needs_tools
@pytest.mark.slow
def test_a_t1w_of_a_person_is_plausible_and_other_noise_changes_little(shared):
    """A voxel in parietal white matter and cortex: most is white matter, then cortex, then CSF; within a point."""
    folder = shared / "data/t1w-7t-steam-defaced"
    image, voxel = images.read(folder / "T1w_defaced.nii.gz"), nibabel.load(folder / "steam_svs.nii.gz").affine
    values = np.asarray(image.dataobj, dtype=float)
    noise = np.random.default_rng(1).normal(0, 0.02 * np.percentile(values, 99), values.shape)
    found = [
        held(segmentation.segment(one).maps, voxel)
        for one in (image, nibabel.Nifti1Image((values + noise).astype(np.float32), image.affine))
    ]
    assert 0.25 < found[0][0] < 0.5 and 0.4 < found[0][1] < 0.7 and 0.03 < found[0][2] < 0.2
    assert found[0].sum() == pytest.approx(1, abs=0.02)
    assert np.abs(found[1] - found[0]).max() < 0.01


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FSLOUTPUTTYPE", "NIFTI_GZ")
    return folder


def small_head(tmp_path):
    """An image and the maps that a program would make of it, as files."""
    parts = dict(zip(TISSUES, (0.5, 0.3, 0.2), strict=True))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for name, part in parts.items():
        nibabel.save(nibabel.Nifti1Image(np.full((9, 9, 9), part, np.float32), affine), tmp_path / f"{name}.nii.gz")
    return tmp_path / "GM.nii.gz", parts


def test_fast_is_run_where_it_is_installed(tmp_path, on_path):
    image, parts = small_head(tmp_path)
    program(on_path, "bet", 'cp "$1" "$2"')
    copies = [f'cp {tmp_path}/{name}.nii.gz "$base"_pve_{n}.nii.gz' for n, name in enumerate(("CSF", "GM", "WM"))]
    find = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && base="$2"; shift; done'
    others = ['for x in seg mixeltype pveseg; do cp "$base"_pve_0.nii.gz "$base"_$x.nii.gz; done']
    program(on_path, "fast", "\n".join([find, *copies, *others]))
    maps, written = segmenters.segment_session("fast", image, "sub-1_ses-1", tmp_path / "out")
    assert maps.program == "FSL FAST" and sorted(path.name for path in written) == [
        f"sub-1_ses-1_label-{name}_probseg.nii.gz" for name in ("CSF", "GM", "WM")
    ]
    read = tissue.read_maps(maps.paths)
    for name, part in parts.items():
        np.testing.assert_allclose(np.asarray(read[name].dataobj), part, atol=1 / 255)


def test_labels_of_synthseg_become_maps(tmp_path, on_path):
    labels = np.full((9, 9, 9), 2, np.int16)
    labels[:3], labels[3:5] = 3, 4
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "labels.nii.gz")
    image, _ = small_head(tmp_path)
    program(on_path, "mri_synthseg", f'cp {tmp_path}/labels.nii.gz "$4"')
    maps, _ = segmenters.segment_session("synthseg", image, "sub-1_ses-1", tmp_path / "out")
    affine = np.diag([18.0, 18.0, 18.0, 1.0])
    affine[:3, 3] = 8
    assert held(tissue.read_maps(maps.paths), affine) == pytest.approx([3 / 9, 4 / 9, 2 / 9], abs=1e-3)


def test_a_program_that_fails_or_is_not_there_says_what_to_do(tmp_path, on_path, monkeypatch):
    image, _ = small_head(tmp_path)
    program(on_path, "mri_synthseg", "echo out of weights >&2; exit 3")
    with pytest.raises(InputError, match=r"GM.nii.gz: mri_synthseg could not segment it.*inputs.segment: auto"):
        segmenters.segment_session("synthseg", image, "sub-1_ses-1", tmp_path / "out")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "needs the commands bet and fast, not found" in segmenters.fault("fast")


def test_without_the_packages_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(registration, "tools", lambda: {"simpleitk": "2.5", "nilearn": None})
    assert "nilearn, which segmentation needs, is not installed; pip install 'mrsflow[tissue]'" in segmenters.fault(
        "mrsflow"
    )


def test_a_session_that_cannot_be_segmented_says_why(tmp_path):
    folder = tmp_path / "bids/sub-1/ses-1/mrs"
    folder.mkdir(parents=True)
    path = folder / "sub-1_ses-1_svs.json"
    path.write_text('{"VoxelAffine": [[20,0,0,0],[0,20,0,0],[0,0,20,0],[0,0,0,1]], "SpectrometerFrequency": [123.2]}')
    written = tissue_files.measure_session("sub-1_ses-1", [path], None, None, {}, tmp_path, "T1w.nii.gz: is no head")
    assert "T1w.nii.gz: is no head" in written[0].read_text() and "fail" in written[0].read_text()


@needs_tools
def test_atropos_is_run_in_the_brain_of_the_template(tmp_path, on_path, monkeypatch):
    """The stand-in gives posteriors of the true tissues, brightest first: they are told by their intensity."""
    made, _ = moved_head()
    image = tmp_path / "T1w.nii.gz"
    nibabel.save(made.image(np.random.default_rng(0), 0.02, 0.0), image)
    for name, parts in made.maps().items():
        nibabel.save(parts, tmp_path / f"{name}.nii.gz")
    log = f'echo "$0 $*" >> {tmp_path}/said'
    find = 'while [ $# -gt 0 ]; do [ "$1" = --output ] && to="$2"; shift; done'
    program(on_path, "N4BiasFieldCorrection", f'{log}\n{find}\ncp "{image}" "$to"')
    copies = [f"cp {tmp_path}/{name}.nii.gz class0{n}.nii.gz" for n, name in enumerate(("WM", "GM", "CSF"), start=1)]
    program(on_path, "Atropos", "\n".join([log, *copies, "cp class01.nii.gz classes.nii.gz"]))
    maps, written = segmenters.segment_session("atropos", image, "sub-1_ses-1", tmp_path / "out")
    assert maps.program == "ANTs Atropos" and maps.to_template in written
    read = tissue.read_maps(maps.paths)
    for name, parts in made.maps().items():
        np.testing.assert_allclose(np.asarray(read[name].dataobj), np.asarray(parts.dataobj), atol=1 / 255)
    said = (tmp_path / "said").read_text().splitlines()
    assert "--initialization KMeans[3]" in said[1] and "brain.nii.gz" in said[0] and "brain.nii.gz" in said[1]
    assert segmenters.fault("atropos") is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "needs the commands N4BiasFieldCorrection and Atropos, not found" in segmenters.fault("atropos")


@pytest.mark.parametrize(
    ("asked", "roles", "there", "found"),
    [
        ("auto", ("svs", "T1w"), True, "mrsflow"),
        ("auto", ("svs", "T1w"), False, "auto"),
        ("auto", ("svs",), True, "none"),
        ("none", ("svs", "T1w"), True, "none"),
        ("fast", ("svs",), False, "fast"),
    ],
)
def test_what_segments_by_default(tmp_path, monkeypatch, asked, roles, there, found):
    """From the table of scans, from a file of it, and from a dataset: the same."""
    monkeypatch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "1.0" if there else None))
    samples = pd.DataFrame({"role": roles})
    table = tmp_path / "samples.tsv"
    table.write_text(
        "\n".join(["participant\tsession\trole\tprotocol\traw", *(f"1\t1\t{role}\tp\tx" for role in roles)])
    )
    own = {"bids": None, "samples": str(table), "segment": asked, "tissue": []}
    dataset = tmp_path / "bids/sub-1/anat"
    dataset.mkdir(parents=True)
    (dataset / ("sub-1_T1w.nii.gz" if "T1w" in roles else "sub-1_T2w.nii.gz")).touch()
    for inputs, given in ((own, samples), (own, None), (own | {"bids": str(tmp_path / "bids")}, None)):
        assert study.segmenter({"inputs": inputs}, given) == found
        assert study.has_maps({"inputs": inputs}, given) == (found not in ("auto", "none"))
    if asked == "auto" and "T1w" in roles:  # jobs whose environment has the packages
        assert study.segmenter({"inputs": own}, samples, conda=True) == "mrsflow"
