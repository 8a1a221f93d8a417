"""Checks at the door: is a scan what the protocol says, and is it a spectrum the right way round at all.

Each check is a row (check, found, expected, status, message); status ``pass``, ``warn``, ``fail`` or ``unknown``.
A scan with a failed row goes no further.
"""

import logging
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import result_tables
from mrsflow.axes import ppm_axis, time_axis, to_spectrum
from mrsflow.constants import GYROMAGNETIC_RATIO, MAD_TO_SD, REFERENCE_PPM, WATER_PPM
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import UNLOCALISED_MM, Scan

logger = logging.getLogger(__name__)

PLAUSIBLE = {
    "EchoTime": (1e-4, 0.6, "s"),
    "RepetitionTime": (0.1, 30.0, "s"),
    "DwellTime": (1e-5, 2e-3, "s"),
    "SpectrometerFrequency": (10.0, 1000.0, "MHz"),
    "InversionTime": (0.0, 10.0, "s"),
    "MixingTime": (0.0, 1.0, "s"),
}
"""Range of values that single-voxel spectroscopy has; outside of it a unit was mistaken."""

METABOLITES_PPM = (0.5, 4.1)
LINE_TIME = 0.05
"""Time (s) at which `line_power` weights an FID most: before spurious echoes, after what broad signals leave."""

WATER_RATIO = 1e4
"""Power of water's line over that of any metabolite above which a scan is unsuppressed water."""

LEAST_ALIKE = 0.5
"""How alike (`alike`) FIDs along a dimension without a tag are, if they are frames; coils are near 0."""

SEQUENCES = {
    "edited": r"svs_ed|mega|(?<![a-z])(m(e_?)?(press|slaser)|edit|hbcd|herc(ules|(?![a-z])))|hermes|isthmus|^gaba$",
    "two-dimensional": r"cosy|j-?press|te_?averag",
    "spectroscopic imaging": r"csi|epsi|mrsi",
    "special": r"special",
    "semi_laser": r"s-?laser|semi[-_ ]?laser|probe[-_]?sl(?![a-z])",
    "laser": r"laser",
    "isis": r"isis",
    "steam": r"steam|svs_st(?![a-z])|probe[-_]?s(?![a-z])",
    "press": r"press|svs_se(?![a-z])|probe[-_]?p(?![a-z])",
    "fid": r"(?<![a-z])fid(?![a-z])",
}
"""Names that scanners have for sequences, the first that fits; values of a protocol's key `sequence` among others."""

FOUR_CONDITIONS = r"hermes|herc(ules|(?![a-z]))|isthmus|hbcd"
"""Names of edited sequences of four conditions, which NAA does not tell apart."""

SPECTRUM_RATIO = 20
"""Power of the strongest 32nd of the points over that of most above which data that begin like most are no FID."""


@dataclass(frozen=True)
class Check:
    """One row of the quality table of a conversion."""

    check: str
    found: str
    expected: str
    status: str
    message: str = ""


def plausible(key: str, value: float) -> bool:
    """Whether a header value can be true of a scan.

    >>> plausible("EchoTime", 0.03), plausible("EchoTime", 30.0)
    (True, False)
    """
    low, high, _ = PLAUSIBLE[key]
    return bool(np.isfinite(value) and low <= value <= high)


def refuse_implausible(scan: Scan, name: str, field: float | None = None) -> None:
    """Refuse a scan whose times, frequency, nucleus or numbers cannot be true.

    Parameters
    ----------
    scan : Scan
    name : str
        Of the raw file, for messages.
    field : float, optional
        Field (T) that the raw header states; nucleus and frequency must agree with it to a tenth.

    Raises
    ------
    InputError
        Names the value, the range and the option that settles it.
    """
    values: dict[str, Any] = {
        "SpectrometerFrequency": (scan.header.get("SpectrometerFrequency") or [None])[0],
        "DwellTime": scan.dwell_time,
        "EchoTime": scan.header.get("EchoTime"),
        **{key: scan.header.get(key) for key in ("RepetitionTime", "InversionTime", "MixingTime")},
    }
    for key, value in values.items():
        low, high, unit = PLAUSIBLE[key]
        if value is None and key.endswith("Time") and key != "DwellTime":
            continue
        number = value if isinstance(value, int | float) else np.nan
        if not plausible(key, number):
            found = f"{number:.6g} {unit}" if isinstance(value, int | float) else f"{value!r}, no number,"
            raise InputError(
                f"{name}: {key} is {found} in the header, and {low:g} to {high:g} {unit} is plausible; "
                f"give the true one with --set {key}=VALUE"
            )
    times = values["EchoTime"], values["RepetitionTime"]
    if None not in times and times[0] >= times[1]:
        raise InputError(
            f"{name}: EchoTime {times[0]:g} s is not shorter than RepetitionTime {times[1]:g} s; give the true ones "
            "with --set EchoTime=VALUE RepetitionTime=VALUE"
        )
    nucleus = (scan.header.get("ResonantNucleus") or [""])[0]
    if not re.fullmatch(r"\d{1,3}[A-Z][a-z]?", str(nucleus)):
        raise InputError(f"{name}: the header does not say the nucleus; give it with --set ResonantNucleus=1H")
    expected = GYROMAGNETIC_RATIO.get(str(nucleus), 0.0) * (field or 0.0)
    if expected and abs(values["SpectrometerFrequency"] / expected - 1) > 0.1:
        raise InputError(
            f"{name}: contradicts itself, {nucleus} at {field:g} T has about {expected:.4g} MHz and its frequency is "
            f"{values['SpectrometerFrequency']:.6g} MHz; give the true ones with --set SpectrometerFrequency=VALUE "
            "ResonantNucleus=VALUE"
        )
    if scan.n_points < 64:
        raise InputError(
            f"{name}: an FID of {scan.n_points} points is too short; name another scan, or leave this one out"
        )
    if not np.all(np.isfinite(scan.fid)):
        raise InputError(f"{name}: the signal holds NaN or infinite values; copy the raw file again")
    if not np.any(scan.fid):
        raise InputError(f"{name}: the signal is zero throughout; copy the raw file again")
    parts = [part.mean() for part in np.array_split(_mean_power(scan.fid), 32)]
    usual = np.median(parts)
    if max(parts) > SPECTRUM_RATIO * usual and max(parts[:2]) < 3 * usual:
        raise InputError(
            f"{name}: has no signal at its start, where an FID is strongest; is it a spectrum? export the signal in "
            "the time domain, or leave this scan out"
        )


def growth(scan: Scan) -> float:
    """Power of the last quarter of the FIDs over that of the first quarter; an FID decays, pure noise gives 1."""
    power = _mean_power(scan.fid)
    quarter = scan.n_points // 4
    return float(power[-quarter:].sum() / power[:quarter].sum())


def _mean_power(fid: NDArray) -> NDArray[np.floating]:
    """Mean squared magnitude over every axis but the last, in double precision whatever the data are."""
    flat = fid.reshape(-1, fid.shape[-1])
    return np.mean([np.abs(row.astype(complex)) ** 2 for row in flat], axis=0)


def line_power(scan: Scan) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Power of narrow lines against chemical shift, summed over coils and frames whatever their phase.

    Returns
    -------
    ppm, power : (n_points,) float
        `power` in units of its noise's standard deviation, noise floor removed.

    Notes
    -----
    Weighting an FID by t² is a second derivative along frequency: it takes away the tails of water, which fall
    as 1/f and then fall as 1/f³, and leaves lines. Noise comes from the points beyond 12 ppm off water, or where
    the spectrum is not that wide, from the quieter half of it.
    """
    t = time_axis(scan.n_points, scan.dwell_time) / LINE_TIME
    ppm = ppm_axis(scan.n_points, scan.dwell_time, scan.spectrometer_frequency)
    power = _mean_power(to_spectrum(scan.fid * (t**2 * np.exp(-(t**2)))))
    outside = power[np.abs(ppm - WATER_PPM) > 12]
    noise = outside if outside.size > 100 else np.sort(power)[: power.size // 2]
    spread = MAD_TO_SD * np.median(np.abs(noise - np.median(noise)))
    return ppm, (power - np.median(noise)) / max(spread, np.finfo(float).tiny)


def _strongest(scan: Scan) -> tuple[float, float, float]:
    """Power of the tenth of the points with most of it: right of water, left of water, and the peak of water."""
    ppm, power = line_power(scan)
    low, high = METABOLITES_PPM
    sides = []
    for shift in (ppm, 2 * WATER_PPM - ppm):
        side = np.sort(np.maximum(power[(shift > low) & (shift < high)], 0))
        sides.append(float(side[-max(side.size // 10, 1) :].mean()) if side.size else 0.0)
    return sides[0], sides[1], float(power[np.abs(ppm - WATER_PPM) < 0.5].max())


def metabolite_side(scan: Scan) -> int:
    """Side of water on which the narrow lines are: 1 right (below 4.65 ppm), -1 left (mirrored), 0 undecided."""
    right, left, water = _strongest(scan)
    most, least = max(right, left), min(right, left)
    if most < 10 or most < 2.5 * least or water > WATER_RATIO * most:
        return 0
    return 1 if right > left else -1


LINES_PPM = REFERENCE_PPM | {"MM": 0.92}
"""Lines by which a spectrum is known, before it is referenced: singlets, and the highest of the macromolecules."""
SHIFT_PPM = 0.09
"""Half the range in which a line is looked for; creatine and choline are 0.18 ppm apart."""
SURE = 10.0
"""Power of a line over noise (`line_power`) from which it proves something."""


def singlet_heights(scan: Scan, mirror: bool = False) -> dict[str, float]:
    """Height of each of `LINES_PPM` over noise in the mean of all frames, summed over coils whatever their phase.

    Parameters
    ----------
    scan : Scan
    mirror : bool
        Look on the other side of water, at the mirror images of the lines.
    """
    axes = tuple(i for i, dim in enumerate(scan.dims) if dim != "DIM_COIL")
    coils = ("DIM_COIL",) if "DIM_COIL" in scan.dims else ()
    ppm, power = line_power(scan.with_data(scan.fid.mean(axis=axes) if axes else scan.fid, coils))
    shift = 2 * WATER_PPM - ppm if mirror else ppm
    near = {name: power[np.abs(shift - place) <= SHIFT_PPM] for name, place in LINES_PPM.items()}
    return {name: float(np.sqrt(max(part.max(initial=0.0), 0.0))) for name, part in near.items()}


def mirrored(scan: Scan) -> bool:
    """Whether a spectrum is mirrored beyond doubt: NAA, and creatine or choline, stand at their mirror images.

    Something at 5 to 6 ppm that should not be there proves nothing.
    """
    side = metabolite_side(scan)
    right, left = (singlet_heights(scan, mirror) for mirror in (False, True))
    if side == 0 or left["NAA"] ** 2 < SURE or left["NAA"] < 2 * right["NAA"]:
        return False
    return side < 0 or max(left["Cr"], left["Cho"]) > max(right["Cr"], right["Cho"])


def looks_nulled(scan: Scan) -> bool:
    """Whether macromolecules stand out and NAA, creatine and choline do not, as after an inversion that nulls these.

    Lipids from the scalp stand above NAA as well, but leave choline where it was.
    """
    height = singlet_heights(scan)
    metabolites = max(height["NAA"], height["Cr"])
    return height["MM"] > max(SURE, 1.2 * metabolites) and height["Cho"] < 0.35 * metabolites


def looks_like_water(scan: Scan) -> bool:
    """Whether water's line stands out and no metabolite comes near it."""
    right, left, water = _strongest(scan)
    return water > 100 and (water > WATER_RATIO * max(right, left) or max(right, left) < 10)


def turns_of(rule: str) -> tuple[int, int, int] | None:
    """Frames that a rule takes of each cycle, frames of a cycle, and the first that it takes; None of other rules.

    >>> turns_of("1 of each 4 from 2"), turns_of("2 of each 4"), turns_of("odd")
    ((1, 4, 2), (2, 4, 1), None)
    """
    found = re.fullmatch(r"(\d+) of each (\d+)(?: from (\d+))?", rule)
    return (int(found[1]), int(found[2]), int(found[3] or 1)) if found else None


def water_frames(rule: str, n_frames: int) -> NDArray[np.bool_] | None:
    """Frames that a protocol declares as unsuppressed water, None where it leaves that to the header.

    >>> np.flatnonzero(water_frames("every 5 from 3", 12)) + 1
    array([3, 8])
    """
    if rule in ("header", "none"):
        return None
    index = np.arange(n_frames)
    if turns := turns_of(rule):
        count, cycle, first = turns
        return (index + 1 - first) % cycle < count
    kind, number, *start = rule.replace(" from", "").split()
    count = int(number)
    first = int(start[0]) if start else 1
    return {
        "first": index < count,
        "last": index >= n_frames - count,
        "every": (index + 1 - first) % max(count, 1) == 0,
    }[kind]


def water_rule(numbers: NDArray[np.integer], n_frames: int) -> str | None:
    """Rule of ``water_frames`` that gives just these frames, None where there is none.

    >>> water_rule(np.array([5, 10]), 10), water_rule(np.array([1, 2]), 10), water_rule(np.array([3, 4, 9]), 10)
    ('every 5 from 5', 'first 2', None)
    >>> water_rule(np.array([3, 4, 13, 14]), 20)
    '2 of each 10 from 3'
    """
    count, first = len(numbers), int(numbers[0])
    rules = [f"first {count}", f"last {count}"]
    if count > 1:
        rules.append(f"every {int(numbers[1]) - first} from {first}")
    together = int(np.argmax(np.append(np.diff(numbers), 2) > 1)) + 1
    if 1 < together < count:
        rules.append(f"{together} of each {int(numbers[together]) - first} from {first}")
    for rule in rules:
        if np.array_equal(np.flatnonzero(water_frames(rule, n_frames)) + 1, numbers):
            return rule
    return None


def check_scan(
    scan: Scan, role: str, protocol: dict[str, Any], name: str, numbers: NDArray[np.integer] | None = None
) -> list[Check]:
    """Check a converted scan against its protocol and against what any spectrum is.

    Parameters
    ----------
    scan : Scan
    role : {"svs", "mrsref", "mm"}
    protocol : dict
        Entry of ``protocols`` of the configuration.
    name : str
        Name of that entry, for the messages.
    numbers : (n_frames,) int, optional
        Of the frames in the raw file, from 1; by default all of them.
    """
    key = f"protocols.{name}"
    numbers = np.arange(1, scan.size("DIM_DYN") + 1) if numbers is None else numbers
    rows = [
        *_check_header(scan, protocol, key, numbers),
        *(_check_sequence(scan, protocol, key) if role != "mrsref" else []),
        *_check_dimensions(scan, role, protocol, key),
        *_check_frames(scan, role, protocol, key, numbers),
    ]
    return [*rows, _check_sense(scan, role, key), *_check_voxel(scan, protocol, key)]


def _check_header(scan: Scan, protocol: dict[str, Any], key: str, numbers: NDArray[np.integer]) -> list[Check]:
    rows, along = [], scan.dimension_header("DIM_DYN")
    for check, header, unit, column in (
        ("echo_time", "EchoTime", "echo_time_ms", "echo_time_ms"),
        ("repetition_time", "RepetitionTime", "repetition_time_ms", "repetition_time_ms"),
    ):
        found, expected = scan.header.get(header), protocol[unit]
        own = np.array([v for v in along.get(header, []) if isinstance(v, int | float)], dtype=float)
        if own.size == len(numbers) and np.ptp(own) > 0:
            differing = np.abs(own * 1e3 - expected) > max(0.01 * expected, 0.1)
            if differing.any():
                values = ", ".join(f"{value * 1e3:g}" for value in np.unique(own))
                message = (
                    f"frames {_listed(numbers[differing])} have another one than {key}.{unit}; name frames of one "
                    f"{header} in a file of their own, with a protocol of their own"
                )
                rows.append(Check(check, f"{values} ms", f"{expected:g} ms", "fail", message))
                continue
        found = float(own[0]) if own.size == len(numbers) else found
        if found is None:
            message = f"the header does not say {header}; give column {column} of the samples table"
            rows.append(Check(check, "none", f"{expected:g} ms", "fail", message))
            continue
        agrees = abs(found * 1e3 - expected) <= max(0.01 * expected, 0.1)
        message = (
            ""
            if agrees
            else f"set {key}.{unit}, give this scan a protocol of its own, or column {column} of the samples table "
            "where the header is wrong"
        )
        rows.append(Check(check, f"{found * 1e3:g} ms", f"{expected:g} ms", "pass" if agrees else "fail", message))
    found, expected = scan.spectrometer_frequency, protocol["spectrometer_frequency_mhz"]
    agrees = abs(found / expected - 1) <= 0.01
    message = "" if agrees else f"set {key}.spectrometer_frequency_mhz, or give this scan another protocol"
    rows.append(Check("frequency", f"{found:.4f} MHz", f"{expected:g} MHz", "pass" if agrees else "fail", message))
    agrees = scan.nucleus == protocol["nucleus"]
    message = "" if agrees else f"only {protocol['nucleus']} is analysed; leave this scan out"
    rows.append(Check("nucleus", scan.nucleus, protocol["nucleus"], "pass" if agrees else "fail", message))
    width, (low, high, _) = protocol.get("spectral_width_hz"), PLAUSIBLE["DwellTime"]
    expects = f"{low:g} to {high:g} s" if width is None else f"{1 / width:.6g} s"
    agrees = width is None or abs(scan.dwell_time * width - 1) <= 0.01
    message = "" if agrees else f"set {key}.spectral_width_hz, or column dwell_time_s of the samples table"
    rows.append(Check("dwell_time", f"{scan.dwell_time:.6g} s", expects, "pass" if agrees else "fail", message))
    rows.append(Check("units", "mm, s", "mm, s", "pass"))
    return rows


def named_sequence(header: dict[str, Any]) -> tuple[str, str, str] | None:
    """Localisation that a header names, the key that does, and its text; None where no name is known.

    >>> named_sequence({"SequenceName": "*svs_se"})
    ('press', 'SequenceName', '*svs_se')
    """
    for key in ("SequenceName", "PulseSequenceFile", "ScanningSequence", "ProtocolName"):
        text = str(header.get(key) or "")
        for kind, pattern in SEQUENCES.items():
            if re.search(pattern, text, re.IGNORECASE):
                return kind, key, text
    return None


def declared_as(kind: str, protocol: dict[str, Any]) -> bool:
    """Whether a protocol declares a kind of sequence (`SEQUENCES`): one condition of an edited scan is PRESS or sLASER.

    >>> declared_as("edited", {"sequence": "press", "use_frames": "edit off"})
    True
    """
    declared = protocol["sequence"]
    half = kind == "edited" and declared in ("press", "semi_laser") and protocol.get("use_frames", "all") != "all"
    return half or declared in (kind, "other")


def way_out(kind: str, key: str, text: str = "") -> str:
    """Say what to change where a header names (by `text`) another kind of sequence than a protocol."""
    if kind == "edited":
        four = re.search(FOUR_CONDITIONS, text, re.IGNORECASE)
        rule = "'1 of each 4 from K', K the place of the frames without any editing pulse," if four else "'edit off'"
        return (
            f"set {key}.use_frames to {rule} for the frames that a basis set of press or semi_laser fits, or give "
            "this scan a protocol of sequence other with its own basis set file"
        )
    own = "" if kind in ("press", "semi_laser", "steam") else " (sequence other with its own basis set file)"
    return f"set {key}.sequence, or give this scan another protocol{own}"


def _check_sequence(scan: Scan, protocol: dict[str, Any], key: str) -> list[Check]:
    """Compare the sequence, and the mixing time of STEAM, with what the header says."""
    declared, named = protocol.get("sequence"), named_sequence(scan.header)
    if declared is None:
        return []
    if named is None:
        rows = [Check("sequence", "unknown", declared, "unknown", "the header names no sequence that is known")]
    else:
        kind, where, text = named
        agrees = declared_as(kind, protocol)
        message = f"{where} is {text!r}; {way_out(kind, key, text)}"
        status = "pass" if agrees else "warn" if where == "ProtocolName" else "fail"
        rows = [Check("sequence", kind, declared, status, "" if agrees else message)]
    found, expected = scan.header.get("MixingTime"), protocol.get("mixing_time_ms")
    if declared == "steam" and None not in (found, expected):
        agrees = abs(found * 1e3 - expected) <= max(0.01 * expected, 0.1)
        message = "" if agrees else f"set {key}.mixing_time_ms"
        said = (f"{found * 1e3:g} ms", f"{expected:g} ms", "pass" if agrees else "fail", message)
        rows.append(Check("mixing_time", *said))
    return rows


def _check_dimensions(scan: Scan, role: str, protocol: dict[str, Any], key: str) -> list[Check]:
    n_coils, declared = scan.size("DIM_COIL"), protocol["coils"]
    n_frames = protocol.get("frames") if role == "svs" else None
    found = f"{n_coils} coils x {scan.size('DIM_DYN')} frames" + "".join(
        f" x {scan.size(d)} {d}" for d in scan.dims if d not in ("DIM_COIL", "DIM_DYN")
    )
    status, message = "pass", ""
    if declared == "uncombined" and n_coils == 1:
        status, message = "fail", f"there is no coil dimension; set {key}.coils to combined or any"
    elif declared == "combined" and n_coils > 1:
        status, message = "fail", f"coils are separate; set {key}.coils to uncombined or any"
    elif extra := [d for d in scan.dims if d not in ("DIM_COIL", "DIM_DYN") and scan.size(d) > 1]:
        status = "fail"
        message = (
            f"set {key}.use_frames to edit off or edit on, or to '1 of each {scan.size('DIM_EDIT')} from K' for entry K"
            if extra == ["DIM_EDIT"]
            else f"{' and '.join(extra)} can be neither frames nor coils here, and their order in time is not known; "
            "convert the scan to NIfTI-MRS with DIM_DYN for its frames in the order of time, and name that file"
        )
    elif n_coils > 1 and scan.size("DIM_DYN") > 1 and alike(scan, "DIM_COIL") > 0.9 > 2 * alike(scan, "DIM_DYN"):
        status = "fail"
        message = "what is tagged as coils looks like frames and the reverse; correct the tags in the NIfTI-MRS file"
    elif n_coils > 1 and scan.size("DIM_DYN") == 1 and declared == "any" and alike(scan, "DIM_COIL") > 0.9:
        status = "fail"
        message = (
            "what is tagged as coils looks like frames, as all have one phase and shape; correct the tag in the "
            f"NIfTI-MRS file (DIM_DYN), or set {key}.coils to uncombined if these are coils"
        )
    elif n_frames not in (None, scan.size("DIM_DYN")):
        message = (
            f"was the scan stopped early? set {key}.frames, null to accept any number, or give this scan a protocol "
            "of its own"
        )
        status = "fail"
    expected = f"coils {declared}" + (f", {n_frames} frames" if n_frames else "")
    return [Check("dimensions", found, expected, status, message)]


def alike(scan: Scan, dim: str) -> float:
    """How alike the FIDs along a dimension are in phase and shape: 1 the same, 0 not at all."""
    early = scan.fid[..., : max(scan.n_points // 16, 8)].astype(complex)
    along = np.moveaxis(early, scan.dims.index(dim), 0).reshape(scan.size(dim), -1)
    size = np.linalg.norm(along, axis=1, keepdims=True)
    return float(np.linalg.norm(np.mean(along / np.where(size > 0, size, 1), axis=0)) ** 2)


def check_frames(scan: Scan, numbers: NDArray[np.integer] | None = None) -> list[Check]:
    """Check that no frame is empty and none the exact copy of another; `numbers` as in `check_scan`."""
    frames = frames_of(scan)
    numbers = np.arange(1, len(frames) + 1) if numbers is None else numbers
    filled = np.any(frames, axis=1)
    lost = numbers[~filled]
    message = (
        f"frames {_listed(lost)} hold only zeros with signal after them; export the scan again, or leave this scan out"
        if lost.size
        else ""
    )
    rows = [Check("empty_frames", str(lost.size), "0", "fail" if lost.size else "pass", message)]
    copies = int(filled.sum()) - len({frame.tobytes() for frame in frames[filled]})
    message = (
        f"{copies} frames repeat another one exactly; export the scan again, or leave this scan out" if copies else ""
    )
    return [*rows, Check("duplicated_frames", str(copies), "0", "fail" if copies else "pass", message)]


def frames_of(scan: Scan) -> NDArray[np.complexfloating]:
    """Frames (n, everything else)."""
    frames = np.moveaxis(scan.fid, scan.dims.index("DIM_DYN"), 0) if "DIM_DYN" in scan.dims else scan.fid[np.newaxis]
    return frames.reshape(frames.shape[0], -1)


def _check_frames(
    scan: Scan, role: str, protocol: dict[str, Any], key: str, numbers: NDArray[np.integer]
) -> list[Check]:
    frames, rows = frames_of(scan), check_frames(scan, numbers)
    cycle = protocol["phase_cycle"]
    rest = len(frames) % cycle if role == "svs" else 0
    message = f"{rest} frames are left over; set {key}.phase_cycle to 1 if the scan was stopped early" if rest else ""
    rows.append(
        Check("phase_cycle", f"{len(frames)} frames", f"a multiple of {cycle}", "fail" if rest else "pass", message)
    )
    strength = np.linalg.norm(frames, axis=1)
    odd = numbers[strength > 10 * np.median(strength)] if role == "svs" else np.array([])
    message = ""
    if odd.size:
        by_place = protocol.get("water_frames", "header").split()[0] in (
            "first",
            "last",
        )  # took its part of the water already
        rule = None if by_place else water_rule(odd, int(numbers[-1]))
        to = (
            f" to {rule!r}"
            if rule
            else " (first N, last N, every N from K, M of each N from K), or name a file without them"
        )
        message = f"frames {_listed(odd)} of the file look like unsuppressed water; set {key}.water_frames{to}"
    rows.append(Check("water_frames", str(odd.size), "0", "fail" if odd.size else "pass", message))
    remains = growth(scan)
    undecayed = remains > 0.95 and line_power(scan)[1].max() > 100
    message = (
        "the signal does not decay as an FID does; was it blanked, or is it a spectrum? export the scan again, in the "
        "time domain, or leave this scan out"
        if undecayed
        else ""
    )
    found = f"{remains:.3g} of the power is left"
    rows.append(Check("decay", found, "less than 0.95, or noise", "fail" if undecayed else "pass", message))
    return rows


def _listed(numbers: NDArray) -> str:
    """Frame numbers, at most five.

    >>> _listed(np.arange(1, 8))
    '1, 2, 3, 4, 5, ...'
    """
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def _check_sense(scan: Scan, role: str, key: str) -> Check:
    """Check that a metabolite scan has its lines right of water, and that a reference is water and nothing else."""
    if role == "mrsref":
        good = looks_like_water(scan)
        message = (
            "" if good else "metabolites stand out; give the row role svs (in a dataset suffix svs), or name the water"
        )
        return Check("reference", "water" if good else "other signals", "water", "pass" if good else "fail", message)
    if role == "svs" and looks_nulled(scan):
        message = (
            "macromolecules stand out and the lines of metabolites do not: this is a metabolite-nulled scan; give the "
            "row role mm with its inversion time (column inversion_time_ms; in a dataset acq-mm in its name and "
            "InversionTime in its sidecar), or leave it out"
        )
        return Check("sense", "metabolite-nulled", "metabolites", "fail", message)
    side = metabolite_side(scan)
    if mirrored(scan):
        message = (
            "the spectrum is mirrored (lines lie above 4.65 ppm, none below); conjugate the data before it is named, "
            "or correct column format of the samples table"
        )
        return Check("sense", "mirrored", "lines below 4.65 ppm", "fail", message)
    if side <= 0:
        water = looks_like_water(scan)
        message = (
            "water alone; is the role of this row mrsref?" if water else "no metabolite lines stand out; look at it"
        )
        return Check("sense", "water" if water else "undecided", "lines below 4.65 ppm", "warn", message)
    return Check("sense", "lines below 4.65 ppm", "lines below 4.65 ppm", "pass")


def _check_voxel(scan: Scan, protocol: dict[str, Any], key: str) -> list[Check]:
    size = voxel_size(scan)
    if size is None:
        return [Check("voxel", "unknown", "", "unknown", "the raw data do not say where the voxel lies")]
    found = " x ".join(f"{side:.1f}" for side in size) + " mm"
    directions = scan.affine[:3, :3] / size
    if not np.all((size >= 1) & (size <= 150)) or np.abs(directions.T @ directions - np.eye(3)).max() > 0.01:
        return [
            Check("voxel", found, "right-angled, 1 to 150 mm", "fail", "the voxel cannot be true; convert it again")
        ]
    expected = protocol["voxel_volume_ml"]
    volume = float(np.prod(size)) * 1e-3
    if expected is not None and abs(volume / expected - 1) > 0.02:
        message = f"its volume is {volume:.2f} ml; set {key}.voxel_volume_ml, or give this scan another protocol"
        return [Check("voxel", found, f"{expected:g} ml", "fail", message)]
    return [Check("voxel", found, "" if expected is None else f"{expected:g} ml", "pass")]


def voxel_size(scan: Scan) -> NDArray[np.floating] | None:
    """Sides of the voxel (mm), None where the header does not localise it."""
    size = np.linalg.norm(scan.affine[:3, :3], axis=0)
    return None if not np.all(np.isfinite(size)) or np.any(size >= UNLOCALISED_MM) or np.any(size == 0) else size


def voxel_dice(first: NDArray, second: NDArray, steps: int = 64) -> float:
    """Dice overlap of two voxels, 2 |A∩B| / (|A| + |B|).

    Parameters
    ----------
    first, second : (4, 4) float
        Voxel to scanner space; the voxel is the cube from -1/2 to 1/2 (NIfTI: coordinates are those of the centre).
    steps : int
        Points along each side of `first` at which it is asked whether they lie in `second`.

    >>> moved = np.eye(4)
    >>> moved[0, 3] = 0.5
    >>> voxel_dice(np.eye(4), moved)
    0.5
    """
    points = (np.arange(steps) + 0.5) / steps - 0.5
    grid = np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1).reshape(-1, 3)
    there = (grid @ first[:3, :3].T + first[:3, 3] - second[:3, 3]) @ np.linalg.inv(second[:3, :3]).T
    volumes = [abs(np.linalg.det(a[:3, :3])) for a in (first, second)]
    overlap = np.all(np.abs(there) <= 0.5, axis=1).mean() * volumes[0]
    return float(2 * overlap / sum(volumes))


def failure(checks: list[Check]) -> str | None:
    """One line for the failed checks, None where there is none."""
    failed = [f"{c.check} is {c.found}, {c.expected} expected: {c.message}" for c in checks if c.status == "fail"]
    return "; ".join(failed) or None


def table(checks: list[tuple[str, Check]]) -> Any:
    """Quality table of a session as a data frame."""
    return result_tables.from_rows(({"scan": scan, **asdict(check)} for scan, check in checks), "convert_quality")
