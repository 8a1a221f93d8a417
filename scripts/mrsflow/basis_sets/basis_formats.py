"""Basis sets in the formats of other programs.

The LCModel forms follow its published source (github.com/schorschinho/LCModel): a ``.BASIS`` file holds unshifted
discrete Fourier transforms divided by √NDATAB, to be moved ISHIFT points towards higher ppm and multiplied by
TRAMP / (VOLUME · CONC); a ``.RAW`` file holds the FID itself. Both run in the sense of `mrsflow.axes`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import files
from mrsflow.basis_sets.basis import Basis, centred, oriented
from mrsflow.constants import WATER_PPM
from mrsflow.errors import InputError

_GROUP = re.compile(r"[$&](?!END)(\w+)\b((?:'(?:[^'\n]|'')*'|[^'$&/])*)(?:[$&]END\b|/)", re.IGNORECASE)
_KEY = r"(\w+)(?:\([\d, ]*\))?\s*="
_ASSIGNMENT = re.compile(rf"{_KEY}\s*((?:'(?:[^'\n]|'')*'|[^'=])*?)(?=,?\s*{_KEY}|\s*$)")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))(?:[EeDd]([-+]?\d+)|([-+]\d{3}))?")
ZERO_FILLED = 1e-4
"""A second half that holds less than this share of a signal's norm is zero filling, and is left out."""


def load(path: Path | str) -> Basis:
    """Read a basis set in any of the formats of this module, chosen by what the path holds.

    A file: LCModel ``.BASIS`` or jMRUI text. A folder: LCModel ``.RAW``, jMRUI text or FSL-MRS JSON files, one per
    metabolite.

    Raises
    ------
    InputError
        Nothing there, no known format, or a file that cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        for suffix, reader in ((".raw", read_raw), (".json", read_json), (".txt", read_jmrui)):
            if chosen := [file for file in files if file.suffix.lower() == suffix]:
                return reader(chosen)
        raise InputError(f"{path}: the folder has no .RAW, .json or .txt files; name a basis set file or folder")
    text = read_text(path)
    if re.search(r"[$&]BASIS\b", text, re.IGNORECASE):
        return read_basis(path)
    if "jMRUI Data Textfile" in text[:200]:
        return read_jmrui([path])
    raise InputError(
        f"{path}: is neither an LCModel .BASIS nor a jMRUI text file; name one, or a folder of .RAW or .json"
    )


def read_basis(path: Path | str) -> Basis:
    """Read an LCModel ``.BASIS`` file.

    Missing keys, odd spacing, repeated counts, Fortran exponents and any order of groups are accepted.

    Returns
    -------
    Basis
        Signals per unit of LCModel's concentrations: a fitted amplitude is what LCModel would call its
        concentration before water scaling. Zero filling is removed.

    Raises
    ------
    InputError
        Not text, no spectra, a spectrum cut short, or no HZPPPM or BADELT.
    """
    path = Path(path)
    text = read_text(path)
    groups = list(_GROUP.finditer(text))
    ends = [*(group.start() for group in groups[1:]), len(text)]
    shared: dict[str, str] = {}
    signals: dict[str, NDArray] = {}
    for group, end in zip(groups, ends, strict=True):
        keys = _keys(group.group(2))
        if group.group(1).upper() == "BASIS":
            name = keys.get("METABO") or keys.get("ID") or f"signal {len(signals) + 1}"
            where = f"{path}, {name}"
            if name in signals:
                raise InputError(f"{where}: the name stands more than once; give every METABO its own name")
            signals[name] = _spectrum_to_fid(text[group.end() : end], keys, shared, where)
        else:
            shared.update(keys)
    if not signals:
        raise InputError(f"{path}: holds no $BASIS group with a spectrum; an LCModel .BASIS file is needed")
    lengths = {len(fid) for fid in signals.values()}
    if len(lengths) > 1:
        raise InputError(f"{path}: spectra have different lengths ({', '.join(map(str, sorted(lengths)))} points)")
    fids = np.array(list(signals.values()))
    half = fids.shape[-1] // 2
    if np.linalg.norm(fids[:, half:]) < ZERO_FILLED * np.linalg.norm(fids):
        fids = fids[:, :half]
    frequency = _positive(shared, "HZPPPM", path)
    basis = Basis(
        names=tuple(signals),
        fids=fids,
        dwell_time=_positive(shared, "BADELT", path),
        spectrometer_frequency=frequency,
        reference_ppm=round(_number(shared, "PPMSEP", path, WATER_PPM), 4),
        linewidth=max(_number(shared, "FWHMBA", path, 0.0), 0.0) * frequency,
        description=_described(shared, path),
        echo_time=max(_number(shared, "ECHOT", path, 0.0), 0.0) / 1e3,
    )
    return oriented(basis, str(path))


def read_raw(paths: list[Path]) -> Basis:
    """Read LCModel ``.RAW`` files, one metabolite each, named by their ID or file name.

    ``.RAW`` files rarely hold sampling and field: those come from the MakeBasis input (``*.in``: HZPPPM, and DELTAT
    or BADELT) or the ``.BASIS`` file in the same folder.

    Raises
    ------
    InputError
        No numbers, different lengths, or no HZPPPM or dwell time in the folder.
    """
    folder = paths[0].parent
    shared: dict[str, str] = {}
    for file in sorted(file for file in folder.iterdir() if file.suffix.lower() in (".basis", ".in")):
        for group in _GROUP.finditer(read_text(file)):
            shared.update(_keys(group.group(2)))
    signals: dict[str, NDArray] = {}
    for path in paths:
        text = read_text(path)
        groups = list(_GROUP.finditer(text))
        if not groups:
            raise InputError(f"{path}: has no $NMID header; an LCModel .RAW file is needed")
        keys = {key: value for group in groups for key, value in _keys(group.group(2)).items()}
        shared.update({key: keys[key] for key in ("HZPPPM", "DELTAT", "BADELT") if key in keys})
        scale = _number(keys, "TRAMP", path, 1.0) / _number(keys, "VOLUME", path, 1.0)
        signals[path.stem] = _complex_numbers(text[groups[-1].end() :], str(path)) * scale
    if not {"HZPPPM"} <= shared.keys() or not {"DELTAT", "BADELT"} & shared.keys():
        raise InputError(
            f"{folder}: .RAW files do not say their frequency and dwell time; add the MakeBasis input file (*.in) with "
            "HZPPPM (MHz) and DELTAT (s), or the .BASIS file made from them"
        )
    dwell = _positive(shared, "DELTAT" if "DELTAT" in shared else "BADELT", folder)
    return _assembled(signals, dwell, _positive(shared, "HZPPPM", folder), f"{folder.name}", str(folder))


def read_json(paths: list[Path]) -> Basis:
    """Read FSL-MRS basis files, one metabolite each (Clarke et al. 2021, doi:10.1002/mrm.28630).

    Raises
    ------
    InputError
        A key is missing, or the files differ in dwell time, frequency or length.
    """
    signals, sampling, width = {}, set(), 0.0
    for path in paths:
        content = files.read_json(path)
        entry = content.get("basis", content) if isinstance(content, dict) else {}
        keys = ("basis_re", "basis_im", "basis_dwell", "basis_centre")
        if missing := [key for key in keys if not isinstance(entry, dict) or key not in entry]:
            raise InputError(f"{path}: key {missing[0]} is missing; an FSL-MRS basis file has {', '.join(keys)}")
        try:
            signals[entry.get("basis_name") or path.stem] = np.array(entry["basis_re"]) + 1j * np.array(
                entry["basis_im"]
            )
            sampling.add((float(entry["basis_dwell"]), float(entry["basis_centre"])))
            width = float(entry.get("basis_width") or 0.0)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: holds values that are not numbers ({error})") from error
    folder = paths[0].parent
    if len(sampling) > 1:
        raise InputError(f"{folder}: files differ in basis_dwell or basis_centre; keep one basis set in the folder")
    dwell, centre = sampling.pop()
    return _assembled(signals, dwell, centre / 1e6 if centre > 1e5 else centre, folder.name, str(folder), width)


def read_jmrui(paths: list[Path]) -> Basis:
    """Read jMRUI text files: one metabolite each, or one file with several signals named in SignalNames.

    Raises
    ------
    InputError
        Not jMRUI text, no sampling interval or transmitter frequency, files that differ.
    """
    signals, sampling = {}, set()
    for path in paths:
        head, *parts = re.split(r"^Signal \d+ out of \d+.*$", read_text(path), flags=re.MULTILINE)
        keys = dict(re.findall(r"^(\w+):[ \t]*(.*?)\s*$", head, flags=re.MULTILINE))
        if not parts or "SamplingInterval" not in keys:
            raise InputError(f"{path}: is not a jMRUI text file with a SamplingInterval and signals")
        sampling.add(
            (_positive(keys, "SamplingInterval", path) / 1e3, _positive(keys, "TransmitterFrequency", path) / 1e6)
        )
        names = [name.strip() for name in keys.get("SignalNames", "").split(";") if name.strip()]
        if len(parts) == 1 or len(names) != len(parts):
            names = [path.stem] if len(parts) == 1 else [f"{path.stem}-{i + 1}" for i in range(len(parts))]
        columns = 4 if re.search(r"fft\(real\)", head) else 2
        for name, part in zip(names, parts, strict=True):
            signals[name] = _complex_numbers(part, f"{path}, {name}")[:: columns // 2]
    folder = paths[0].parent if len(paths) > 1 else paths[0]
    if len(sampling) > 1:
        raise InputError(f"{folder}: files differ in SamplingInterval or TransmitterFrequency")
    return _assembled(signals, *sampling.pop(), folder.name, str(folder))


def write_basis(basis: Basis, path: Path | str) -> None:
    """Write an LCModel ``.BASIS`` file: 0 Hz at 4.65 ppm, zero-filled to twice the length as LCModel does."""
    basis = centred(basis)
    mhz, n_points = basis.spectrometer_frequency, 2 * basis.n_points
    quoted = basis.description.replace("'", "''")
    blocks = [
        f" $SEQPAR\n FWHMBA = {basis.linewidth / mhz!r},\n HZPPPM = {mhz!r},\n"
        f" ECHOT = {basis.echo_time * 1e3:.9g},\n SEQ = 'mrsflow'\n $END\n"
        f" $BASIS1\n IDBASI = '{quoted}',\n FMTBAS = '(2E17.9)',\n BADELT = {basis.dwell_time!r},\n"
        f" NDATAB = {n_points}\n $END\n"
    ]
    spectra = np.fft.fft(basis.fids, n_points, axis=-1, norm="ortho") + 0.0  # no negative zeros
    for name, spectrum in zip(basis.names, spectra, strict=True):
        name = name.replace("'", "''")
        rows = "\n".join(f"{value.real:17.9E}{value.imag:17.9E}" for value in spectrum.tolist())
        blocks.append(
            f" $NMUSED\n PPMSEP = {WATER_PPM}\n $END\n $BASIS\n ID = '{name}',\n METABO = '{name}',\n CONC = 1.,\n"
            f" TRAMP = 1.,\n VOLUME = 1.,\n ISHIFT = 0\n $END\n{rows}\n"
        )
    files.write_text("".join(blocks), path)


def write_json(basis: Basis, folder: Path | str) -> None:
    """Write FSL-MRS basis files, ``<metabolite>.json``, in the sense of `mrsflow.axes` and with 0 Hz at 4.65 ppm."""
    basis = centred(basis)
    for name, fid in zip(basis.names, basis.fids, strict=True):
        entry = {
            "basis_re": fid.real.tolist(),
            "basis_im": fid.imag.tolist(),
            "basis_dwell": basis.dwell_time,
            "basis_centre": basis.spectrometer_frequency,
            "basis_width": basis.linewidth,
            "basis_name": name,
        }
        files.write_json({"basis": entry, "meta": {"description": basis.description}}, Path(folder) / f"{name}.json")


def _assembled(
    signals: dict[str, NDArray], dwell_time: float, spectrometer_frequency: float, description: str, where: str,
    linewidth: float = 0.0,
) -> Basis:  # fmt: skip
    """Make a basis of the signals of several files, and give it the sense of `mrsflow.axes`."""
    lengths = {name: fid.shape for name, fid in signals.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise InputError(
            f"{where}: signals have different lengths ({', '.join(f'{n} {s}' for n, s in lengths.items())})"
        )
    fids = np.array(list(signals.values()))
    if not np.all(np.isfinite(fids)) or not dwell_time > 0 or not spectrometer_frequency > 0:
        raise InputError(f"{where}: values that are not finite, or a dwell time or frequency that is not positive")
    basis = Basis(
        names=tuple(signals),
        fids=fids,
        dwell_time=dwell_time,
        spectrometer_frequency=spectrometer_frequency,
        reference_ppm=WATER_PPM,
        linewidth=linewidth,
        description=description,
    )
    return oriented(basis, where)


def read_text(path: Path) -> str:
    """Text of a file; `InputError` when it is missing."""
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); put the file there, make it readable, or correct its path"
        ) from error


def _keys(text: str) -> dict[str, str]:
    """Read assignments of a namelist group: names in upper case, strings without quotes, first value of a list."""
    found = {}
    for name, value, _ in _ASSIGNMENT.findall(text):
        value = value.strip().rstrip(",").strip()
        if value.startswith("'"):
            value = value[1:].rstrip()
            value = (value[:-1] if value.endswith("'") else value).replace("''", "'").strip()
        if value:
            found[name.upper()] = value
    return found


def _number(keys: dict[str, str], key: str, where: Any, default: float | None = None) -> float:
    if key not in keys:
        if default is None:
            raise InputError(f"{where}: {key} is missing; add it to the header")
        return default
    match = _NUMBER.match(re.sub(r"^\d+\*", "", keys[key]))
    if match is None:
        raise InputError(f"{where}: {key} is {keys[key]!r}, not a number")
    return _value(match)


def _value(match: re.Match[str]) -> float:
    """Give the value of a Fortran number, where an exponent of three digits may lack its letter."""
    return float(f"{match[1]}e{match[2] or match[3] or 0}")


def _positive(keys: dict[str, str], key: str, where: Any) -> float:
    value = _number(keys, key, where)
    if not value > 0:
        raise InputError(f"{where}: {key} is {value:g}; a positive number is needed")
    return value


def _complex_numbers(text: str, where: str) -> NDArray[np.complexfloating]:
    """Pairs of numbers as complex values."""
    values = _numbers(text, where)
    if len(values) % 2 or not len(values):
        raise InputError(f"{where}: {len(values)} values; pairs of real and imaginary numbers are needed")
    return values[0::2] + 1j * values[1::2]


def _numbers(text: str, where: str) -> NDArray[np.floating]:
    """Finite numbers, also where a Fortran format left no space between them."""
    try:
        values = np.array(text.split(), dtype=float)
    except ValueError:
        if left := _NUMBER.sub("", text).strip():
            raise InputError(f"{where}: {left.split()[0][:20]!r} stands among the numbers") from None
        values = np.array([_value(match) for match in _NUMBER.finditer(text)])
    if not np.all(np.isfinite(values)):
        raise InputError(f"{where}: not all of the {len(values)} values are finite")
    return values


def _spectrum_to_fid(text: str, keys: dict[str, str], shared: dict[str, str], where: str) -> NDArray:
    """Make the FID of a spectrum; what its last record lacks counts as zero, as Fortran reads it."""
    values = _numbers(text, where)
    expected = int(_number(shared, "NDATAB", where, len(values) // 2))
    lacking = 2 * expected - len(values)
    if not len(values) or not 0 <= lacking <= _left_out(text):
        raise InputError(f"{where}: {len(values) / 2:g} points where NDATAB says {expected}; the file may be cut short")
    values = np.pad(values, (0, lacking))
    spectrum = values[0::2] + 1j * values[1::2]
    tramp, volume, conc = (_number(keys, key, where, 1.0) for key in ("TRAMP", "VOLUME", "CONC"))
    if min(tramp, volume, conc) <= 0:
        raise InputError(f"{where}: TRAMP {tramp:g}, VOLUME {volume:g} and CONC {conc:g} must be positive")
    spectrum = np.roll(spectrum, -int(_number(keys, "ISHIFT", where, 0.0)))
    return np.fft.ifft(spectrum, norm="ortho") * (tramp / (volume * conc))


def _left_out(text: str) -> int:
    """Count the numbers that the last line of a spectrum lacks beside the first.

    None where the text ends amid a number: without a line break, and shorter than the first.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    first, last = ([match[0] for match in _NUMBER.finditer(line)] for line in (lines[0], lines[-1]))
    cut = not text.rstrip(" ").endswith("\n") and len(last[-1].lstrip("+-")) < len(first[0].lstrip("+-"))
    return 0 if cut else len(first) - len(last)


def _described(shared: dict[str, str], path: Path) -> str:
    if shared.get("IDBASI"):
        return shared["IDBASI"]
    echo = _number(shared, "ECHOT", path, 0.0)
    timing = f" TE {echo:g} ms" if echo > 0 else ""
    return f"{shared.get('SEQ', '')}{timing} ({path.name})".strip()
