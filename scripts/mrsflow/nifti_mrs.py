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
from mrsflow.files import atomic_path, read_json

EXTENSION_CODE = 44
FORMAT_NAME = "mrs_v0_9"
ONE_VOXEL = "single-voxel data are needed; name another scan, or leave this scan out"
ONSET_MEANING = "Start of the frame's first excitation (s)"
UNLOCALISED_MM = 1000.0
"""Side of a voxel from which on it is none: files without a place have one of 10 m."""
SINGLE = ("EchoTime", "RepetitionTime", "InversionTime", "MixingTime", "SpectralWidth")
"""Keys of one value, which some tools write as a list of it, or of as many equal ones as there are frames."""
SPACING_TOLERANCE = 0.05
"""Part of the expected time between frames by which that of their stamps may differ: ticks of the clock, jitter."""


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
            raise InputError(
                f"the scan has dimension {', '.join(extra)}, which is not understood here; "
                "convert it to NIfTI-MRS with DIM_DYN for its frames"
            )
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
        return {key: _values(value, self.size(dim)) for key, value in entries.items()}

    def with_values(self, dim: str, **entries: Any) -> Self:
        """Copy whose dimension header has these entries, one value for each place along the dimension."""
        key = f"dim_{self.dims.index(dim) + 5}_header"
        return replace(self, header={**self.header, key: {**self.header.get(key, {}), **entries}})

    def with_onsets(self, seconds: Any) -> Self:
        """Copy whose dimension header says when each frame began, counted from the first excitation of the file."""
        values = [round(float(t), 6) for t in seconds]
        return self.with_values("DIM_DYN", FrameOnset={"Value": values, "Description": ONSET_MEANING})

    def selected(self, dim: str, chosen: NDArray) -> Self:
        """Entries of a dimension (indices, or true for each to keep), with the values of its header for them."""
        axis, indices = self.dims.index(dim), np.arange(self.size(dim))[chosen]
        key = f"dim_{axis + 5}_header"
        kept = {
            name: {**entry, "Value": part} if isinstance(entry, dict) and "Value" in entry else part
            for name, entry in self.header.get(key, {}).items()
            for part in [[_values(entry, self.size(dim))[place] for place in indices]]
        }
        part = self.with_data(np.take(self.fid, indices, axis=axis), self.dims)
        return replace(part, header={**part.header, key: kept} if kept else part.header)


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says, without its data.

    Attributes
    ----------
    extension : dict
        The NIfTI-MRS header extension, empty where there is none.
    dwell_time : float
        s.
    frames : int or None
        FIDs of one coil; None where the dimensions have no names.
    points : int
        Of each FID.
    voxel : tuple of float or None
        Sides (mm); None where the header does not localise it.
    """

    extension: dict[str, Any]
    dwell_time: float
    frames: int | None
    points: int
    voxel: tuple[float, float, float] | None


def read_header(path: Path | str) -> Header:
    """Read the header of a NIfTI-MRS file, whatever it lacks.

    Raises
    ------
    InputError
        The file cannot be read as NIfTI, or its extension as a JSON object.
    """
    try:
        image = nibabel.load(path)
        texts = [bytes(e.content) for e in image.header.extensions if e.get_code() == EXTENSION_CODE]
        extension = json.loads(texts[0].rstrip(b"\0").decode()) if texts else {}
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path}: its header cannot be read as NIfTI-MRS ({reason}); copy or convert it again"
        ) from None
    if not isinstance(extension, dict):
        raise InputError(f"{path}: its NIfTI-MRS header extension is not a JSON object; convert it again")
    sizes = dict(enumerate(image.shape[4:], start=5))
    tags = [extension.get(f"dim_{number}") for number in sizes]
    frames = None
    if all(isinstance(tag, str) for tag in tags):
        frames = int(np.prod([n for n, tag in zip(sizes.values(), tags, strict=True) if tag.upper() != "DIM_COIL"]))
    scale = {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)
    sides = np.linalg.norm(image.affine[:3, :3], axis=0)
    placed = int(image.header["qform_code"]) or int(image.header["sform_code"])
    voxel = tuple(map(float, sides)) if placed and np.all((sides > 0) & (sides < UNLOCALISED_MM)) else None
    points = image.shape[3] if len(image.shape) > 3 else 1
    return Header(extension, float(image.header["pixdim"][4]) * scale, frames, points, voxel)


def _is_dim_key(key: str) -> bool:
    return key.startswith("dim_") and key[4:5].isdigit()


def _values(entry: Any, size: int) -> list[Any]:
    """Values along a dimension, in any form of the standard: a list, start and increment, or either as ``Value``.

    >>> _values({"Value": {"start": 0.03, "increment": 0.01}, "Description": "TE"}, 3)
    [0.03, 0.04, 0.05]
    """
    value = entry["Value"] if isinstance(entry, dict) and "Value" in entry else entry
    if isinstance(value, dict):
        return [round(value["start"] + place * value["increment"], 12) for place in range(size)]
    return list(value)


def lone(value: Any) -> Any:
    """Value of a list of equal ones; anything else as it is.

    >>> lone([4, 4]), lone([2, 4]), lone(0.03)
    (4, [2, 4], 0.03)
    """
    return value[0] if isinstance(value, list) and value and all(item == value[0] for item in value) else value


def as_standard(header: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Header in the forms that are used here, from any that files have: lists where they belong, tags in capitals.

    Parameters
    ----------
    header : dict
        Of a NIfTI-MRS extension, or a BIDS sidecar.
    shape : tuple of int
        Lengths of dimensions 5, 6, ...

    Raises
    ------
    InputError
        No mapping, or a key whose value is of no form that the standard has; names it.

    >>> as_standard({"SpectrometerFrequency": 127.75, "dim_5": "dim_dyn"}, (10,))
    {'SpectrometerFrequency': [127.75], 'dim_5': 'DIM_DYN'}
    """
    if not isinstance(header, dict):
        raise InputError("the NIfTI-MRS header extension is no JSON object of keys and values; convert the scan again")
    made = dict(header)
    for key in ("SpectrometerFrequency", "ResonantNucleus"):
        value = made.get(key)
        if isinstance(value, int | float | str) and value:
            made[key] = [value]
    made |= {key: lone(made[key]) for key in SINGLE if key in made}
    for key in [key for key in made if _is_dim_key(key)]:
        number, _, suffix = key[4:].partition("_")
        if not suffix:
            if isinstance(made[key], str) and made[key].strip():
                made[key] = made[key].strip().upper()
            else:  # null and the empty string are no tag
                del made[key]
        elif suffix == "header":
            place = int(number) - 5 if number.isdigit() else -1
            _refuse_strange(key, made[key], shape[place] if 0 <= place < len(shape) else 1)
            if made[key] is None:
                del made[key]
    return made


def _refuse_strange(key: str, entries: Any, size: int) -> None:
    """Refuse a dimension header that has none of the forms of the standard, or values of another number."""
    if entries is not None and not isinstance(entries, dict):
        raise InputError(f"header key {key} is no object of keys and values; correct it, or leave it out")
    for name, entry in (entries or {}).items():
        value = entry["Value"] if isinstance(entry, dict) and "Value" in entry else entry
        if isinstance(value, dict):
            good = all(isinstance(value.get(part), int | float) for part in ("start", "increment"))
        else:
            good = isinstance(value, list) and len(value) == size
        if not good:
            found = f"{len(value)} values" if isinstance(value, list) else f"a {type(value).__name__}"
            raise InputError(
                f"header key {key}: {name} is {found}; a list of {size} values, or start and increment, is needed "
                "(one per entry of the dimension): correct it, or leave it out"
            )


def read(path: Path | str, given: Mapping[str, Any] | None = None) -> Scan:
    """Read a single-voxel NIfTI-MRS file.

    Parameters
    ----------
    path : path
    given : mapping, optional
        ``SpectrometerFrequency`` (MHz) and ``ResonantNucleus`` that come before those of the header, and ``DwellTime``
        (s) where it has none.

    Raises
    ------
    InputError
        Not there, not NIfTI, no or broken header extension, more than one voxel, a required key missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct the path")
    try:
        image = nibabel.load(path)
        data = np.asarray(image.dataobj)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: cannot be read as NIfTI ({reason}); copy or convert it again") from error
    try:
        header = as_standard(_header(image, path), data.shape[4:])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if data.ndim < 4 or data.shape[:3] != (1, 1, 1):
        raise InputError(f"{path}: holds an array of shape {data.shape}, not (1, 1, 1, points, ...); {ONE_VOXEL}")
    if not np.iscomplexobj(data):
        raise InputError(f"{path}: holds {data.dtype} values; complex FIDs are needed; convert the raw file again")
    for key, kind in (("SpectrometerFrequency", int | float), ("ResonantNucleus", str)):
        if given and key in given:
            header[key] = [given[key]]
        value = header.get(key)
        if not isinstance(value, list) or not value or not isinstance(value[0], kind) or not value[0]:
            raise InputError(
                f"{path}: header key {key} is missing, empty or no list of {'texts' if kind is str else 'numbers'}; "
                f"give it with --set {key}=VALUE"
            )
    array = data[0, 0, 0]
    dims = tuple(header.get(f"dim_{n}", f"DIM_USER_{n - 5}") for n in range(5, 4 + array.ndim))
    fid = np.moveaxis(array, 0, -1)
    dwell = float(image.header["pixdim"][4])
    if not (np.isfinite(dwell) and dwell > 0) and "DwellTime" not in (given or {}):
        raise InputError(
            f"{path}: dwell time {dwell} s in the NIfTI header is not positive; give it with --set DwellTime=VALUE"
        )
    length, unit = image.header.get_xyzt_units()
    if length not in ("mm", "unknown"):
        raise InputError(
            f"{path}: has {length} as unit of space, and mm are needed; correct its header, or convert the scan again"
        )
    dwell *= {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    dwell = dwell if np.isfinite(dwell) and dwell > 0 else given["DwellTime"]
    return Scan(fid=fid, dims=dims, dwell_time=dwell, header=header, affine=image.affine)


def stated_onsets(content: Mapping[str, Any], n_frames: int | None, where: str) -> list[float] | None:
    """Start of each frame (s) that a sidecar gives: our FrameOnset, or VolumeTiming of BIDS; None where it does not.

    Parameters
    ----------
    content : mapping
        Of the sidecar.
    n_frames : int or None
        Of the scan; None where its dimensions have no names.
    where : str
        Name of the sidecar, for messages.

    Raises
    ------
    InputError
        No increasing times, or another number of them than of frames.

    >>> stated_onsets({"VolumeTiming": [0, 16, 40]}, 3, "a.json")
    [0.0, 16.0, 40.0]
    """
    key = next((key for key in ("FrameOnset", "VolumeTiming") if content.get(key) is not None), None)
    if key is None:
        return None
    values = content[key] if isinstance(content[key], list) else [content[key]]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < np.inf]
    if len(numbers) != len(values) or np.any(np.diff(numbers) <= 0) or len(values) != (n_frames or len(values)):
        raise InputError(
            f"{where}: {key} has {len(values)} values where the scan has {n_frames} frames; one time for each (s), "
            "later than the one before, is needed: correct it, or take it out if frames follow each other at once"
        )
    return [float(number) for number in numbers]


def sidecar_of(path: Path) -> Path:
    """BIDS sidecar beside a NIfTI file, whether it is there or not."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def has_extension(path: Path) -> bool:
    """Whether a NIfTI file holds a NIfTI-MRS header extension."""
    return bool(_extensions(nibabel.load(path)))


def _extensions(image: Any) -> list[Any]:
    return [e.get_content() for e in image.header.extensions if e.get_code() == EXTENSION_CODE]


def _header(image: Any, path: Path) -> Any:
    """Header extension of a NIfTI-MRS file; where it has none, its BIDS sidecar."""
    texts = _extensions(image)
    if texts:
        try:
            return json.loads(texts[0] if isinstance(texts[0], str) else bytes(texts[0]).rstrip(b"\0").decode())
        except ValueError as error:
            raise InputError(
                f"the NIfTI-MRS header extension is not valid JSON ({error}); convert the scan again"
            ) from error
    if sidecar_of(path).is_file():
        return read_json(sidecar_of(path))
    raise InputError(
        f"has no NIfTI-MRS header extension (code {EXTENSION_CODE}), and there is no {sidecar_of(path).name} beside it "
        "that says SpectrometerFrequency, ResonantNucleus, EchoTime and RepetitionTime; add it, or convert the raw file"
    )


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
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)
