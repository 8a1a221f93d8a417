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

from mrsflow.basis import Basis, oriented
from mrsflow.constants import WATER_PPM
from mrsflow.errors import InputError

_GROUP = re.compile(r"[$&](?!END)(\w+)\b((?:'(?:[^'\n]|'')*'|[^'$&/])*)(?:[$&]END\b|/)", re.IGNORECASE)
_KEY = r"(\w+)(?:\([\d, ]*\))?\s*="
_ASSIGNMENT = re.compile(rf"{_KEY}\s*((?:'(?:[^'\n]|'')*'|[^'=])*?)(?=,?\s*{_KEY}|\s*$)")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))(?:[EeDd]([-+]?\d+)|([-+]\d{3}))?")
ZERO_FILLED = 1e-4
"""A second half that holds less than this share of a signal's norm is zero filling, and is left out."""


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
    width = _number(shared, "FWHMBA", path, 0.0)
    basis = Basis(
        names=tuple(signals),
        fids=fids,
        dwell_time=_positive(shared, "BADELT", path),
        spectrometer_frequency=frequency,
        reference_ppm=round(_number(shared, "PPMSEP", path, WATER_PPM), 4),
        linewidth=max(width, 0.0) * frequency,
        description=_described(shared, path),
    )
    return oriented(basis, str(path))


def read_text(path: Path) -> str:
    """Text of a file; `InputError` when it is missing."""
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


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
    """Pairs of numbers as complex values, also where a Fortran format left no space between them."""
    try:
        values = np.array(text.split(), dtype=float)
    except ValueError:
        if left := _NUMBER.sub("", text).strip():
            raise InputError(f"{where}: {left.split()[0][:20]!r} stands among the numbers") from None
        values = np.array([_value(match) for match in _NUMBER.finditer(text)])
    if len(values) % 2 or not len(values) or not np.all(np.isfinite(values)):
        raise InputError(f"{where}: {len(values)} values; pairs of finite real and imaginary numbers are needed")
    return values[0::2] + 1j * values[1::2]


def _spectrum_to_fid(text: str, keys: dict[str, str], shared: dict[str, str], where: str) -> NDArray:
    spectrum = _complex_numbers(text, where)
    expected = int(_number(shared, "NDATAB", where, len(spectrum)))
    if len(spectrum) != expected:
        raise InputError(f"{where}: {len(spectrum)} points where NDATAB says {expected}; the file may be cut short")
    tramp, volume, conc = (_number(keys, key, where, 1.0) for key in ("TRAMP", "VOLUME", "CONC"))
    if min(tramp, volume, conc) <= 0:
        raise InputError(f"{where}: TRAMP {tramp:g}, VOLUME {volume:g} and CONC {conc:g} must be positive")
    spectrum = np.roll(spectrum, -int(_number(keys, "ISHIFT", where, 0.0)))
    return np.fft.ifft(spectrum, norm="ortho") * (tramp / (volume * conc))


def _described(shared: dict[str, str], path: Path) -> str:
    echo = _number(shared, "ECHOT", path, 0.0)
    timing = f" TE {echo:g} ms" if echo > 0 else ""
    return f"{shared.get('SEQ', '')}{timing} ({path.name})".strip()
