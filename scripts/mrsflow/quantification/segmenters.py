"""What segments the T1w of a session that has no maps of tissue: our own way, or a program that the user has."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow.anatomy import images, registration, segmentation, tissue
from mrsflow.anatomy.derivatives import Maps
from mrsflow.anatomy.tissue import TISSUES
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, scratch
from mrsflow.study import layout

NEEDED = {"fast": ("bet", "fast"), "atropos": ("N4BiasFieldCorrection", "Atropos"), "synthseg": ("mri_synthseg",)}
"""Commands of each program."""
SAID = {"fast": "FSL FAST", "atropos": "ANTs Atropos", "synthseg": "SynthSeg"}
ALIGNED = ("mrsflow", "atropos")
"""Those that align the image with the template, as they need its brain."""


def fault(program: str) -> str | None:
    """Say what a segmentation lacks on this machine, and what to do; None where it can run."""
    if program in ALIGNED:
        try:
            registration.refuse_without_tools()
        except InputError as error:
            return f"inputs.segment: {error}"
    lacking = [name for name in NEEDED.get(program, ()) if shutil.which(name) is None]
    if not lacking:
        return None
    return (
        f"inputs.segment: {program} needs the command{'s' * (len(lacking) > 1)} {' and '.join(lacking)}, not found on "
        "the PATH of this machine; set up that program in this shell, or say auto or none"
    )


def segment_session(program: str, image: Path, key: str, output: Path) -> tuple[Maps, list[Path]]:
    """Segment the T1w of a session.

    Parameters
    ----------
    program : str
        One of ``inputs.segment`` other than none and auto.
    image : Path
    key : str
        ``sub-X_ses-Y``.
    output : Path
        Folder of all outputs.

    Returns
    -------
    maps : Maps
        What was written, by tissue.
    written : list of Path

    Raises
    ------
    InputError
        The image cannot be segmented; names it.
    """
    folder = layout.session_folder(layout.derivatives(output), key) / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    if said := fault(program):
        raise InputError(said)
    matrix, made = None, SAID.get(program, "")
    try:
        if program == "mrsflow":
            found = segmentation.segment(images.read(image))
            matrix, maps = found.to_template, found.maps
            made = f"mrsflow ({', '.join(f'{name} {version}' for name, version in registration.tools().items())})"
        elif program == "atropos":
            with scratch(folder) as place:
                maps, matrix = _by_atropos(image.resolve(), place)
        else:
            with scratch(folder) as place:
                maps = {"fast": _by_fast, "synthseg": _by_synthseg}[program](image.resolve(), place)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith((str(image), str(image.resolve()))) else f"{image}: {text}") from None
    paths = {}
    for name in TISSUES:
        paths[name] = folder / f"{key}_label-{name}_{layout.PROBSEG}"
        header = maps[name].header.copy()
        header.set_data_dtype(np.uint8)  # and a factor: steps of 1/255
        images.write(nibabel.Nifti1Image(np.asarray(maps[name].dataobj), maps[name].affine, header), paths[name])
    if matrix is None:
        return Maps(made, paths), [*paths.values()]
    to_template = folder / f"{key}_{layout.TO_TEMPLATE}"
    with atomic_path(to_template) as temporary:
        np.savetxt(temporary, matrix, fmt="%.6f")
    return Maps(made, paths, to_template=to_template), [*paths.values(), to_template]


def _by_fast(image: Path, place: Path) -> dict[str, Any]:
    """Make maps by FSL's BET and FAST (Zhang et al., doi:10.1109/42.906424)."""
    import mrsflow.conversion.external  # noqa: F401, I001  (first: it turns telemetry off before nipype is imported)
    from nipype.interfaces import fsl

    kind = {"output_type": "NIFTI_GZ"}
    _ran(fsl.BET(in_file=str(image), out_file=str(place / "brain.nii.gz"), robust=True, **kind), image, place)
    fast = fsl.FAST(in_files=str(place / "brain.nii.gz"), out_basename=str(place / "seg"), img_type=1, **kind)
    _ran(fast, image, place)
    read = {name: images.read(place / f"seg_pve_{n}.nii.gz") for n, name in enumerate(("CSF", "GM", "WM"))}
    return {name: nibabel.Nifti1Image(np.asarray(own.dataobj, np.float32), own.affine) for name, own in read.items()}


def _by_atropos(image: Path, place: Path) -> tuple[dict[str, Any], NDArray[np.floating]]:
    """Make maps by N4 and Atropos of ANTs (Avants et al., doi:10.1007/s12021-011-9109-y) in the template's brain.

    Returns
    -------
    maps : dict of str to image
    to_template : (4, 4) float
        See `segmentation.Segmented`.
    """
    import mrsflow.conversion.external  # noqa: F401, I001  (first: it turns telemetry off before nipype is imported)
    from nipype.interfaces import ants

    own = images.read(image)
    found = segmentation.locate(own)
    brain = (found.moved(registration.template().brain) > 0.5).astype(np.uint8)
    mask, even = place / "brain.nii.gz", place / "even.nii.gz"
    images.write(nibabel.Nifti1Image(brain, own.affine), mask)
    n4 = ants.N4BiasFieldCorrection(dimension=3, input_image=str(image), mask_image=str(mask), output_image=str(even))
    _ran(n4, image, place)
    atropos = ants.Atropos(
        dimension=3, intensity_images=[str(even)], mask_image=str(mask), initialization="KMeans",
        number_of_tissue_classes=3, n_iterations=5, convergence_threshold=0.0, mrf_smoothing_factor=0.1,
        mrf_radius=[1, 1, 1], likelihood_model="Gaussian", save_posteriors=True,
        output_posteriors_name_template="class%02d.nii.gz", out_classified_image_name="classes.nii.gz",
    )  # fmt: skip
    _ran(atropos, image, place)
    values = np.asarray(images.read(even).dataobj, dtype=float)
    parts = [np.asarray(images.read(place / f"class{n:02d}.nii.gz").dataobj, np.float32) for n in (1, 2, 3)]
    parts.sort(key=lambda part: float(np.sum(part * values) / max(np.sum(part), 1e-9)))
    maps = {name: nibabel.Nifti1Image(part, own.affine) for name, part in zip(segmentation.ORDER, parts, strict=True)}
    return maps, registration.matrix_to_template(found.transform)


def _by_synthseg(image: Path, place: Path) -> dict[str, Any]:
    """Make maps of the labels of FreeSurfer's SynthSeg (Billot et al., doi:10.1016/j.media.2023.102789)."""
    from mrsflow.conversion.external import SynthSeg  # only here: Nipype takes its time

    _ran(SynthSeg(in_file=str(image), out_file=str(place / "labels.nii.gz")), image, place)
    return tissue.read_maps({"labels": place / "labels.nii.gz"})


def _ran(interface: Any, image: Path, place: Path) -> None:
    """Run a program and see that it ended well."""
    name = shlex.split(interface.cmdline)[0]
    try:
        interface.run(cwd=str(place))
    except Exception as error:  # of Nipype: a command that failed, or left no output
        runtime = getattr(error, "runtime", None)
        said = f"{getattr(runtime, 'stderr', '')}\n{error}".strip().splitlines()
        last = said[0].strip() if said else "no reason given"
        raise InputError(
            f"{image}: {name} could not segment it ({last[:200]}); run that program by itself on this image, name maps "
            "of tissue (inputs.tissue), or say inputs.segment: auto"
        ) from None
