"""Formats that are read here, without spec2nii: LCModel RAW, jMRUI (text and binary) and plain columns of numbers.

They are so simple that reading them takes less than putting right what a reader of other files makes of them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import __version__
from mrsflow.constants import GAMMA_1H
from mrsflow.conversion import checks, repairs
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?"
NAMELIST = re.compile(r"(?ims)[$&](\w+)\b(.*?)(?:[$&]END\b|^\s*/)")
NUCLEI = {1: "1H", 2: "31P", 3: "13C", 4: "19F", 5: "23Na"}  # numbers of jMRUI
UNITS = {"SpectrometerFrequency": "MHz", "DwellTime": "s"}


def read(form: str, path: Path, given: Mapping[str, Any], notes: list[str]) -> dict[str, Scan]:
    """Read a file of one of `READERS`.

    Parameters
    ----------
    form : str
        Key of `READERS`.
    path : Path
    given : mapping
        Header values that come before what the file says (s, MHz).
    notes : list of str
        What was put right is added.

    Returns
    -------
    dict of str to Scan
        The scan under ``""``, its water reference under ``_ref``.

    Raises
    ------
    InputError
        What is not numbers, not whole, or lacks what is needed.
    """
    return READERS[form](path, given, notes)


def _scan(path: Path, fid: NDArray, header: dict[str, Any], given: Mapping[str, Any]) -> Scan:
    """Make a scan of FIDs (points) or (frames, points) with what the file says or the person gives."""
    known = {**header, **given}
    for key, unit in UNITS.items():
        if key not in known:
            raise InputError(f"{path}: does not say its {key} ({unit}); give it with --set {key}=VALUE")
    frequency = known["SpectrometerFrequency"]
    content = {
        "SpectrometerFrequency": [
            frequency / 1e6 if frequency > 1e5 and "SpectrometerFrequency" in header else frequency
        ],
        "ResonantNucleus": [known.get("ResonantNucleus", "")],
        **{key: header[key] for key in ("EchoTime",) if key in header},
        "ConversionMethod": f"mrsflow v{__version__}",
    }
    dims = ("DIM_DYN",) if fid.ndim > 1 and len(fid) > 1 else ()
    scan = Scan(fid if dims else fid.reshape(-1), dims, float(known["DwellTime"]), content)
    return scan.with_data(scan.fid, dims)


def with_points(text: str) -> str:
    """Text whose numbers have decimal commas, as some language settings write them, with points.

    A comma between digits is one where no number has a point, and others, blanks or semicolons, part the numbers.

    >>> with_points("0,5 -1,25E+00"), with_points("0.5,1.5"), with_points("1,2"), with_points("1,5;2,5")
    ('0.5 -1.25E+00', '0.5,1.5', '1,2', '1.5 2.5')
    """
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#%"]
    parts = [part for line in lines for part in re.split(r"[\s;]+", line.strip())]
    commas = [part for part in parts if re.fullmatch(r"[-+]?\d+,\d+(?:[EeDd][-+]?\d+)?", part)]
    if not commas or len(parts) < 2 * len(lines) or any("." in part for part in parts):
        return text
    return re.sub(r"(?<=\d),(?=\d)", ".", text).replace(";", " ")


def _numbers(path: Path, text: str) -> NDArray[np.floating]:
    """All numbers of a text that holds nothing else, in Fortran's notation too."""
    if re.sub(NUMBER, "", text).strip():
        raise InputError(f"{path}: holds other than numbers where its signal should be; export it again")
    return np.array([float(n) for n in re.sub("[Dd]", "E", " ".join(re.findall(NUMBER, text))).split()])


def _refuse_cut(path: Path, text: str) -> None:
    """Refuse a last number that is shorter than the others: the file was cut in the middle of it."""
    tail = text[-4000:].split()[1:]
    if text.endswith("\n") or len(tail) < 20:
        return
    shapes = {re.sub(r"\d", "0", number.lstrip("+-")) for number in tail[:-1]}
    if len(shapes) <= 4 and re.sub(r"\d", "0", tail[-1].lstrip("+-")) not in shapes:
        raise InputError(f"{path}: is truncated, its last number is not whole; copy it again")


def _read_raw(path: Path, given: Mapping[str, Any], notes: list[str]) -> dict[str, Scan]:
    """LCModel RAW or H2O: namelists, then real and imaginary parts (Provencher's manual, section 5.2)."""
    text = path.read_bytes().decode("latin-1")
    lists = list(NAMELIST.finditer(text))
    if not lists:
        raise InputError(f"{path}: its namelist has no $END; copy it again")
    _refuse_cut(path, text)
    body = with_points(text[lists[-1].end() :])
    numbers = _numbers(path, body)
    if numbers.size % 2:
        raise InputError(f"{path}: is truncated, it holds {numbers.size} numbers where pairs are needed; copy it again")
    stated = "\n".join(found.group(2) for found in lists)
    header: dict[str, Any] = {}
    for key, names, unit in (
        ("SpectrometerFrequency", "hzpppm", 1.0),
        ("DwellTime", "deltat|dwelltime|badelt", 1.0),
        ("EchoTime", "echot", 1e-3),
    ):
        if found := re.search(rf"(?i)\b(?:{names})\s*=\s*({NUMBER})", stated):
            header[key] = float(re.sub("[Dd]", "E", found.group(1))) * unit
    scan = _scan(path, numbers[0::2] - 1j * numbers[1::2], {"ResonantNucleus": "1H", **header}, given)
    return {"": _in_sense(path, scan, notes)}


def _in_sense(path: Path, scan: Scan, notes: list[str]) -> Scan:
    """LCModel wants RAW files conjugated; whether one is differs, and the side of the metabolites tells."""
    side = checks.metabolite_side(scan)
    if side == 0:  # water: its partner tells, else what LCModel's own files need
        for other in path.parent.iterdir():
            if other != path and other.stem == path.stem and other.suffix.lower() == ".raw":
                text = other.read_bytes().decode("latin-1")
                numbers = _numbers(other, NAMELIST.sub("", text))
                side = checks.metabolite_side(replace(scan, fid=numbers[0::2] - 1j * numbers[1::2]))
    if side > 0:
        return scan
    notes.append("LCModel RAW: stored in the sense of NIfTI-MRS, not conjugated")
    return replace(scan, fid=scan.fid.conj())


def _read_jmrui(path: Path, given: Mapping[str, Any], notes: list[str]) -> dict[str, Scan]:
    """jMRUI: text with a header and columns for each signal, or big-endian doubles (64 of header)."""
    content = path.read_bytes()
    header, fid = _jmrui_text(path, content.decode("latin-1")) if b"\0" not in content else _jmrui_binary(path, content)
    frequency, field = header.get("SpectrometerFrequency"), header.pop("field", 0)
    if not header.get("ResonantNucleus") and "ResonantNucleus" not in given and frequency and field:
        megahertz = frequency / 1e6 if frequency > 1e5 else frequency
        if abs(megahertz / field / GAMMA_1H - 1) < 0.02:
            header["ResonantNucleus"] = "1H"
            notes.append("jMRUI: empty nucleus; frequency and field of the header agree with 1H")
    return {"": _scan(path, fid.conj(), header, given)}


def _jmrui_text(path: Path, text: str) -> tuple[dict[str, Any], NDArray[np.complexfloating]]:
    top, *signals = re.split(r"(?m)^Signal (?:number: )?\d+ out of \d+ in file.*$", text)
    stated = {
        key: repairs.with_point(value) for key, value in re.findall(r"(?m)^(\w+):[ \t]*([^\r\n]*?)[ \t]*\r?$", top)
    }
    names = re.search(r"(?m)^(?:sig|fft)\(real\).*$", top)
    columns = names.group(0).split() if names else ["sig(real)", "sig(imag)"]
    if not signals or not {"sig(real)", "sig(imag)"} <= set(columns):
        raise InputError(f"{path}: holds no signal in the time domain; export signals from jMRUI")
    _refuse_cut(path, text)
    frames = [_jmrui_frame(path, signal, len(columns)) for signal in signals]
    found = {"PointsInDataset": len(frames[0]), "DatasetsInFile": len(frames)}
    for key, n in found.items():
        if stated.get(key, str(n)) != str(n):
            raise InputError(
                f"{path}: is truncated or was changed, {key} is {stated[key]} and {n} are there; export again"
            )
    if len({len(frame) for frame in frames}) > 1:
        raise InputError(f"{path}: is truncated or was changed, its signals differ in length; export it again")
    table = np.stack(frames)
    header: dict[str, Any] = {}
    for key, name, unit in (
        ("SpectrometerFrequency", "TransmitterFrequency", 1.0),
        ("DwellTime", "SamplingInterval", 1e-3),
        ("field", "MagneticField", 1.0),
    ):
        if re.fullmatch(NUMBER, stated.get(name, "")) and float(stated[name]) > 0:
            header[key] = float(stated[name]) * unit
    nucleus = stated.get("TypeOfNucleus", "")
    known = NUCLEI.get(int(float(nucleus)), "") if re.fullmatch(NUMBER, nucleus) else nucleus
    place = [columns.index(name) for name in ("sig(real)", "sig(imag)")]
    return {**header, "ResonantNucleus": known}, table[..., place] @ [1, 1j]


def _jmrui_frame(path: Path, text: str, n_columns: int) -> NDArray[np.floating]:
    text = with_points(text)
    numbers = _numbers(path, text)
    lengths = {len(line.split()) for line in text.splitlines() if line.strip()}
    if len(lengths) != 1 or lengths > {2, n_columns} or numbers.size % max(lengths):
        raise InputError(f"{path}: is truncated or was changed, its lines differ in length; export it again")
    return numbers.reshape(-1, max(lengths))


def _jmrui_binary(path: Path, content: bytes) -> tuple[dict[str, Any], NDArray[np.complexfloating]]:
    head = np.frombuffer(content[:512].ljust(512, b"\0"), ">f8")
    n_points = int(head[1]) if 0 < head[1] < 1e6 else 0
    n_frames = (len(content) - 512) // (16 * n_points) if n_points else 0
    if n_frames < 1:
        raise InputError(f"{path}: is truncated or no jMRUI file; copy it again")
    numbers = np.frombuffer(content, ">f8", 2 * n_points * n_frames, 512).astype(float)
    nucleus = NUCLEI.get(int(head[7]), "") if 0 < head[7] < 100 else ""
    header = {"DwellTime": head[2] * 1e-3, "SpectrometerFrequency": float(head[5]), "field": head[6]}
    return {**header, "ResonantNucleus": nucleus}, (numbers[0::2] + 1j * numbers[1::2]).reshape(n_frames, n_points)


def _read_columns(path: Path, given: Mapping[str, Any], notes: list[str]) -> dict[str, Scan]:
    """Columns of numbers: real and imaginary part, then those of the water reference."""
    text = path.read_bytes().decode("latin-1")
    _refuse_cut(path, text)
    text = with_points(text)
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#%"]
    try:
        table = np.loadtxt(lines, ndmin=2, delimiter="," if "," in lines[0] else None)
    except (ValueError, IndexError):
        raise InputError(
            f"{path}: is not a table of numbers with as many columns in every line; export it again, or "
            "name the right file"
        ) from None
    if table.shape[1] not in (2, 4) or not np.all(np.isfinite(table)):
        raise InputError(
            f"{path}: has {table.shape[1]} columns; export it with two (real, imaginary), or four with those of the "
            "water reference, all finite"
        )
    parts = np.split(table, table.shape[1] // 2, axis=1)
    nucleus = {"ResonantNucleus": "1H"}
    return {s: _scan(path, part @ [1, 1j], nucleus, given) for s, part in zip(("", "_ref"), parts, strict=False)}


READERS: dict[str, Callable[[Path, Mapping[str, Any], list[str]], dict[str, Scan]]] = {
    "raw": _read_raw,
    "jmrui": _read_jmrui,
    "text": _read_columns,
}
"""Formats of this module."""
