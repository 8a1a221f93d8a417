"""What segments the T1w of a session that has no maps of tissue: our own way, or a program that the user has."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from mrsflow.anatomy import images, registration, segmentation, tissue
from mrsflow.anatomy.derivatives import Maps
from mrsflow.anatomy.tissue import TISSUES
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, scratch
from mrsflow.study import layout

NEEDED = {"fast": ("bet", "fast"), "synthseg": ("mri_synthseg",)}
"""Commands of each program."""
SAID = {"fast": "FSL FAST", "synthseg": "SynthSeg"}


def fault(program: str) -> str | None:
    """Say what a segmentation lacks on this machine, and what to do; None where it can run."""
    if program == "mrsflow":
        try:
            registration.refuse_without_tools()
        except InputError as error:
            return f"inputs.segment: {error}"
    lacking = [name for name in NEEDED.get(program, ()) if shutil.which(name) is None]
    if not lacking:
        return None
    return (
        f"inputs.segment: {program} needs the command{'s' * (len(lacking) > 1)} {' and '.join(lacking)}, not found on "
        "the PATH of this machine; set up that program in this shell, or say mrsflow or none"
    )


def segment_session(program: str, image: Path, key: str, output: Path) -> tuple[Maps, list[Path]]:
    """Segment the T1w of a session.

    Parameters
    ----------
    program : str
        One of ``inputs.segment`` other than none.
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
    if program == "mrsflow":
        try:
            found = segmentation.segment(images.read(image))
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(str(image)) else f"{image}: {text}") from None
        matrix, maps = found.to_template, found.maps
        made = f"mrsflow ({', '.join(f'{name} {version}' for name, version in registration.tools().items())})"
    else:
        with scratch(folder) as place:
            maps = {"fast": _by_fast, "synthseg": _by_synthseg}[program](image.resolve(), place)
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
            "of tissue (inputs.tissue), or say inputs.segment: mrsflow"
        ) from None
