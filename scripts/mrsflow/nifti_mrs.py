"""Single-voxel NIfTI-MRS files as arrays with named dimensions (standard: Clarke et al., doi:10.1002/mrm.29418)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrsflow import __version__
from mrsflow.errors import InputError
from mrsflow.files import written_whole

EXTENSION_CODE = 44
FORMAT_NAME = "mrs_v0_9"


@dataclass(frozen=True)
class Scan:
    """One single-voxel acquisition.

    Attributes
    ----------
    fid : (*dims, n_points) complex
        Time is the last axis; the others are named by `dims`.
    dims : tuple of str
        NIfTI-MRS tags of the leading axes, e.g. ``("DIM_COIL", "DIM_DYN")``; empty for one averaged FID.
    dwell_time : float
        s.
    header : dict
        The NIfTI-MRS header extension; values that vary along a dimension stand in ``dim_N_header``.
    affine : (4, 4) float
        Voxel to scanner space, mm.
    """

    fid: NDArray[np.complexfloating]
    dims: tuple[str, ...]
    dwell_time: float
    header: dict[str, Any]
    affine: NDArray[np.floating] = field(default_factory=lambda: np.diag([1e4, 1e4, 1e4, 1.0]))

    @property
    def n_points(self) -> int:
        """Number of points of each FID."""
        return self.fid.shape[-1]

    @property
    def spectrometer_frequency(self) -> float:
        """Carrier frequency, MHz."""
        return float(self.header["SpectrometerFrequency"][0])

    @property
    def nucleus(self) -> str:
        """Resonant nucleus, e.g. ``1H``."""
        return str(self.header["ResonantNucleus"][0])

    def size(self, dim: str) -> int:
        """Length along a dimension, 1 where the scan does not have it."""
        return self.fid.shape[self.dims.index(dim)] if dim in self.dims else 1

    def ordered(self, *dims: str) -> NDArray[np.complexfloating]:
        """FIDs as an array with exactly these leading axes (length 1 where absent), time last.

        Raises
        ------
        InputError
            The scan has another dimension longer than one.
        """
        extra = [d for d in self.dims if d not in dims and self.size(d) > 1]
        if extra:
            raise InputError(f"the scan has dimension {', '.join(extra)}, which is not understood here")
        kept = [d for d in dims if d in self.dims]
        dropped = [i for i, d in enumerate(self.dims) if d not in dims]
        array = np.squeeze(self.fid, axis=tuple(dropped)) if dropped else self.fid
        names = [d for d in self.dims if d in dims]
        array = np.transpose(array, [names.index(d) for d in kept] + [len(names)])
        return array.reshape([self.size(d) for d in dims] + [self.n_points])

    def with_data(self, fid: NDArray, dims: tuple[str, ...]) -> Self:
        """Copy with other FIDs; the tags and headers of dimensions that are gone are removed, others renumbered."""
        header = {k: v for k, v in self.header.items() if not _is_dim_key(k)}
        for number, dim in enumerate(dims, start=5):
            header[f"dim_{number}"] = dim
            if dim in self.dims and self.size(dim) == fid.shape[number - 5]:
                old = self.dims.index(dim) + 5
                for suffix in ("_info", "_header", "_use"):
                    if f"dim_{old}{suffix}" in self.header:
                        header[f"dim_{number}{suffix}"] = self.header[f"dim_{old}{suffix}"]
        return replace(self, fid=fid, dims=dims, header=header)

    def with_step(self, method: str, details: str) -> Self:
        """Copy with one more ``ProcessingApplied`` entry; `method` is a keyword of Near 2021, doi:10.1002/nbm.4257."""
        step = {"Program": "mrsflow", "Version": __version__, "Method": method, "Details": details}
        return replace(self, header={**self.header, "ProcessingApplied": [*self.processing, step]})

    @property
    def processing(self) -> list[dict[str, str]]:
        """Steps recorded in ``ProcessingApplied``."""
        return list(self.header.get("ProcessingApplied") or [])

    def dimension_header(self, dim: str) -> dict[str, Any]:
        """Values along a dimension, ``{key: list}``."""
        entries = self.header.get(f"dim_{self.dims.index(dim) + 5}_header", {}) if dim in self.dims else {}
        return {key: value["Value"] if isinstance(value, dict) else value for key, value in entries.items()}


def _is_dim_key(key: str) -> bool:
    return key.startswith("dim_") and key[4:5].isdigit()


def read(path: Path | str, given: Mapping[str, Any] | None = None) -> Scan:
    """Read a single-voxel NIfTI-MRS file.

    Parameters
    ----------
    path : path
    given : mapping, optional
        ``SpectrometerFrequency`` (MHz) and ``ResonantNucleus`` that come before those of the header.

    Raises
    ------
    InputError
        Not there, not NIfTI, no or broken header extension, more than one voxel, a required key missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        image = nibabel.load(path)
        data = np.asarray(image.dataobj)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: cannot be read as NIfTI ({reason})") from error
    texts = [e.get_content() for e in image.header.extensions if e.get_code() == EXTENSION_CODE]
    if not texts:
        raise InputError(f"{path}: has no NIfTI-MRS header extension (code {EXTENSION_CODE}); convert it with spec2nii")
    try:
        text = texts[0] if isinstance(texts[0], str) else bytes(texts[0]).rstrip(b"\0").decode()
        header = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: the NIfTI-MRS header extension is not valid JSON ({error})") from error
    for key in ("SpectrometerFrequency", "ResonantNucleus"):
        if given and key in given:
            header[key] = [given[key]]
        value = header.get(key)
        if not isinstance(value, list) or not value or not value[0]:
            raise InputError(f"{path}: header key {key} is missing or empty; give it with --set {key}=VALUE")
    if data.ndim < 4 or data.shape[:3] != (1, 1, 1):
        raise InputError(f"{path}: holds an array of shape {data.shape}; one voxel (1, 1, 1, points, ...) is needed")
    if not np.iscomplexobj(data):
        raise InputError(f"{path}: holds {data.dtype} values; complex FIDs are needed")
    array = data[0, 0, 0]
    dims = tuple(header.get(f"dim_{n}", f"DIM_USER_{n - 5}") for n in range(5, 4 + array.ndim))
    fid = np.moveaxis(array, 0, -1)
    dwell = float(image.header["pixdim"][4])
    if not np.isfinite(dwell) or dwell <= 0:
        raise InputError(f"{path}: dwell time {dwell} s in the NIfTI header is not positive")
    length, unit = image.header.get_xyzt_units()
    if length not in ("mm", "unknown"):
        raise InputError(f"{path}: has {length} as unit of space; mm are needed")
    dwell *= {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    return Scan(fid=fid, dims=dims, dwell_time=dwell, header=header, affine=image.affine)


def write(scan: Scan, path: Path | str) -> None:
    """Write a scan as NIfTI-2 with complex64 data; the same scan gives the same bytes.

    Raises
    ------
    InputError
        The FIDs contain NaN or infinity, or the dimensions do not fit the array.
    """
    path = Path(path)
    if scan.fid.ndim != len(scan.dims) + 1:
        raise InputError(f"{path}: array of {scan.fid.ndim} axes does not fit dimensions {scan.dims} and time")
    if not np.all(np.isfinite(scan.fid)):
        raise InputError(f"{path}: not written, the data contain NaN or infinite values")
    data = np.moveaxis(scan.fid, -1, 0)[np.newaxis, np.newaxis, np.newaxis].astype(np.complex64)
    image = nibabel.Nifti2Image(data, scan.affine)
    image.header.set_qform(scan.affine, code=1)
    image.header.set_sform(scan.affine, code=0)
    image.header["pixdim"][4] = scan.dwell_time
    image.header["pixdim"][5:] = 1
    image.header.set_xyzt_units("mm", "sec")
    image.header["intent_name"] = FORMAT_NAME.encode()
    text = json.dumps(scan.header, ensure_ascii=False).encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(EXTENSION_CODE, text))
    with written_whole(path) as temporary:
        nibabel.save(image, temporary)
