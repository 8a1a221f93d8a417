"""What spec2nii 0.8.15 gets wrong, put right from the raw file itself, before it runs and after.

Cases of `REPAIRS` take a converted scan and its raw files and give the scan as it should be; what they did is added
to the notes.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow.conversion import checks
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import ONE_VOXEL, Scan
from mrsflow.raw_files import ge, philips, twix
from mrsflow.raw_files.formats import Raw, head_of


def refuse_truncated(raw: Raw) -> None:
    """Refuse a file that is shorter than its own header says; spec2nii takes some of these as they are."""
    path = raw.files[0]
    size = path.stat().st_size
    expected = None
    if raw.format == "philips_sdat":
        stated = _spar_values(raw.files[1])
        numbers = [stated.get(key, "") for key in ("samples", "rows")]
        expected = 8 * int(numbers[0]) * int(numbers[1]) if all(n.isdecimal() for n in numbers) else None
    elif raw.format == "rda":
        content = path.read_bytes()
        end = _RDA_END.search(content)
        keys = [rb"VectorSize", *(rb"CSIMatrixSize\[%d\]" % i for i in range(3))]
        sizes = [re.search(rb"(?m)^%s:\s*(\d+)" % key, content) for key in keys]
        if end and all(sizes):
            expected = end.end() + 16 * int(np.prod([int(s.group(1)) for s in sizes]))
    elif raw.format == "twix":
        expected = _twix_size(head_of(path, 10_240))
    elif raw.format == "varian":
        blocks, _, _, _, _, block_bytes = np.frombuffer(head_of(path, 32)[:24].ljust(24, b"\0"), ">i4")
        expected = 32 + int(blocks) * int(block_bytes)
    elif raw.format == "ge":
        header = ge.header(path)
        if header is not None:
            start = getattr(header, "rhr_rdb_hdr_off_data", None) or ge.OLD_DATA_START.get(ge.revision(path), 0)
            expected = start + header.rhr_rh_raw_pass_size
    if expected is not None and size < expected:
        raise InputError(f"{path}: is truncated, {size} of {expected} bytes are there; copy it from the scanner again")
    if expected is not None and size > expected and raw.format in ("rda", "varian"):
        raise InputError(f"{path}: holds {size} bytes where its header says {expected}; copy it from the scanner again")


def _twix_size(head: bytes) -> int | None:
    """Bytes that the directory of a multi-RAID twix file says there are."""
    count = twix.measurements(head)
    entries = np.frombuffer(head[8 : 8 + 152 * count], "<u8")
    if not count or entries.size < 19 * count:
        return None
    return int((entries[1::19] + entries[2::19]).max())


SETTABLE = {  # key of a vendor's header: header value that may be given for it, and how to write it there
    "echo_time": ("EchoTime", 1e3),
    "repetition_time": ("RepetitionTime", 1e3),
    "synthesizer_frequency": ("SpectrometerFrequency", 1e6),
    "TE": ("EchoTime", 1e3),
    "TR": ("RepetitionTime", 1e3),
    "TM": ("MixingTime", 1e3),
    "TI": ("InversionTime", 1e3),
    "DwellTime": ("DwellTime", 1e6),
    "MRFrequency": ("SpectrometerFrequency", 1.0),
    "te": ("EchoTime", 1.0),
    "tr": ("RepetitionTime", 1.0),
    "tm": ("MixingTime", 1.0),
    "sfrq": ("SpectrometerFrequency", 1.0),
}
_SPAR_PLACE = [f"{axis}_{what}" for what in ("size", "off_center", "angulation") for axis in ("ap", "lr", "cc")]


def _with_given(stated: Mapping[str, str], keys: Iterable[str], given: Mapping[str, Any]) -> dict[str, str]:
    """Stated values of a header, those that were given in their place."""
    there = {key: SETTABLE[key] for key in keys if SETTABLE[key][0] in given}
    return {**stated, **{key: repr(float(given[name] * factor)) for key, (name, factor) in there.items()}}


def _refuse_missing(path: Path, stated: Mapping[str, str], keys: Iterable[str]) -> None:
    """Refuse a header without a number that is needed, other than 0 unless it is an offset, and say how it is given."""
    for key in keys:
        if not _number(stated.get(key)) or (float(stated[key]) == 0 and not key.startswith("offset")):
            name = (
                SETTABLE[key][0]
                if key in SETTABLE
                else dict.fromkeys(("sample_frequency", "sw"), "SpectralWidth").get(key)
            )
            remedy = f"give it with --set {name}=VALUE" if name else "export the scan again"
            found = "0" if _number(stated.get(key)) else "missing or not a number"
            raise InputError(f"{path}: {key} is {found}; {remedy}")


def _number(text: str | None) -> bool:
    try:
        return text is not None and bool(np.isfinite(float(text)))
    except ValueError:
        return False


def with_point(text: str) -> str:
    """Write a number with a decimal comma, as some language settings have it, with a point.

    >>> with_point("-30,5"), with_point("1,2,3")
    ('-30.5', '1,2,3')
    """
    return text.replace(",", ".") if re.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", text) else text


def _refuse_contradiction(path: Path, one: str, other: str, values: tuple[float, float]) -> None:
    if abs(values[0] - values[1]) > 0.01 * abs(values[1]):
        width = one in ("sample_frequency", "sw")
        settable = ", or give the true one with --set SpectralWidth=VALUE" if width else ""
        raise InputError(
            f"{path}: contradicts itself, {one} is {values[0]:g} and {other} says {values[1]:g}; export the scan "
            f"again{settable}"
        )


def _spar_values(path: Path) -> dict[str, str]:
    """Keys of a SPAR file in small letters with their values, quotes removed."""
    found: dict[str, str] = {}
    text = path.read_bytes().decode("latin-1").removeprefix("\xef\xbb\xbf").rstrip("\x1a")
    if not text.endswith(("\n", "\r")):
        raise InputError(f"{path}: is truncated, its last line does not end; copy it from the scanner again")
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if colon and not line.startswith("!"):
            key, value = key.lower(), with_point(value.strip('"').strip())
            if found.setdefault(key, value) != value and key in (*SETTABLE, "samples", "rows", "sample_frequency"):
                raise InputError(f"{path}: states {key} twice, differently; export the scan again")
    return found


def spar_value(path: Path, key: str) -> str | None:
    """Value of a key of a SPAR file, None where it is not there."""
    return _spar_values(path).get(key)


def repaired_spar(path: Path, given: Mapping[str, Any], notes: list[str]) -> str:
    """Write a SPAR file anew with what spec2nii needs: values given are in it, texts about the person are not."""
    stated = _with_given(_spar_values(path), ("echo_time", "repetition_time", "synthesizer_frequency"), given)
    if "DwellTime" in given:
        stated["sample_frequency"] = repr(1 / given["DwellTime"])
    times = ("echo_time", "repetition_time", "synthesizer_frequency", "sample_frequency")
    _refuse_missing(path, stated, ("samples", "rows", "offset_frequency", *times))
    for key, other in (("samples", "spec_num_col"), ("rows", "spec_num_row")):
        if _number(stated.get(other)):
            _refuse_contradiction(path, key, other, (float(stated[key]), float(stated[other])))
    if "DwellTime" not in given and "sec" in stated.get("dim1_ext", "") and _number(stated.get("dim1_step")):
        step = float(stated["dim1_step"])
        if step > 0:
            _refuse_contradiction(path, "sample_frequency", "dim1_step", (float(stated["sample_frequency"]), 1 / step))
    encoded = stated.get("phase_encoding_enable", "").lower() == "yes"
    profiles = stated.get("nr_phase_encoding_profiles", stated["rows"])  # 1 in single-voxel files that say yes
    if encoded and _number(profiles) and float(profiles) > 1:
        raise InputError(f"{path}: is spectroscopic imaging (phase_encoding_enable); {ONE_VOXEL}")
    placed = stated.get("volume_selection_enable", "").lower() == "yes"
    placed = placed and all(_number(stated.get(key)) for key in _SPAR_PLACE)
    if not placed or any(float(stated[key]) == 0 for key in _SPAR_PLACE if key.endswith("_size")):
        notes.append("SPAR without size and place of the voxel: they are unknown")
        placed = False
    if not _number(stated.get("spectrum_inversion_time")):
        notes.append("SPAR without spectrum_inversion_time read as an acquisition without inversion")
    position = {key: stated.get(key, "") for key in ("patient_position", "patient_orientation")}
    lines = {
        **{key: stated[key] for key in ("samples", "rows", "offset_frequency", *times)},
        **({key: stated[key] for key in _SPAR_PLACE} if placed else {}),
        "volume_selection_enable": f'"{"yes" if placed else "no"}"',
        "spectrum_inversion_time": stated["spectrum_inversion_time"]
        if _number(stated.get("spectrum_inversion_time"))
        else "0",
        "nucleus": given.get("ResonantNucleus") or stated.get("nucleus") or "unknown",
        "scan_id": '""',
        **{key: json.dumps(stated[key]) for key in ("equipment_sw_verions",) if stated.get(key)},
        **{key: f'"{text if re.fullmatch("[a-z_]+", text) else ""}"' for key, text in position.items()},
    }
    return "".join(f"{key} : {value}\n" for key, value in lines.items())


_RDA_END = re.compile(rb"(?m)^>>> End of header <<<\r?\n")
_RDA_KEPT = re.compile(
    r"T[REMI]|DwellTime|MRFrequency|Nucleus|FlipAngle|VectorSize|CSIMatrixSize\[\d\]|(?:Position|Row|Column)Vector\[\d\]|"
    r"VOIPosition\w+|PixelSpacing\w+|SliceThickness|SoftwareVersion\[0\]|TransmitCoil|SequenceName|PatientPosition"
)


def _rda_values(head: bytes) -> dict[str, str]:
    found = re.findall(r"(?m)^([\w\[\],]+):([^\r\n]*)", head.decode("latin-1"))
    return {key: with_point(value.strip()) for key, value in found}


def rda_value(path: Path, key: str) -> str | None:
    """Value of a key of an RDA header, None where it is not there."""
    return _rda_values(_RDA_END.split(path.read_bytes())[0]).get(key)


_RDA_VECTORS = tuple(f"{name}Vector[{i}]" for name in ("Position", "Row", "Column") for i in range(3))
_RDA_SIZES = ("PixelSpacingRow", "PixelSpacingCol", "SliceThickness")


def _rda_place(stated: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Place and size of the voxel as spec2nii wants them, from what an RDA header says.

    ``PositionVector`` is a corner of the voxel, half its sides away from the centre that ``VOIPosition`` gives.
    """
    centre = ("VOIPositionSag", "VOIPositionCor", "VOIPositionTra")
    if not all(_number(stated.get(key)) for key in (*_RDA_VECTORS, *_RDA_SIZES)):
        notes.append("RDA without size and place of the voxel: they are unknown")
        unknown = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        found = dict(zip((*_RDA_VECTORS, *_RDA_SIZES, *centre), [*unknown, *[10_000.0] * 3, *[0.0] * 3], strict=True))
        return {key: repr(value) for key, value in found.items()}
    if all(_number(stated.get(key)) for key in centre):
        return {}
    corner, row, column = np.array([float(stated[key]) for key in _RDA_VECTORS]).reshape(3, 3)
    middle = corner + row * float(stated["PixelSpacingCol"]) / 2 + column * float(stated["PixelSpacingRow"]) / 2
    notes.append("RDA without VOIPosition: centre of the voxel from PositionVector, its corner")
    return {key: repr(float(value)) for key, value in zip(centre, middle, strict=True)}


def repaired_rda(path: Path, given: Mapping[str, Any], notes: list[str]) -> bytes:
    """Write an RDA file anew with the header lines that spec2nii needs, as it wants them, and the signal as it is."""
    content = path.read_bytes()
    end = _RDA_END.search(content)
    if not end:
        raise InputError(f"{path}: has no end of header; copy it from the scanner again")
    stated = _with_given(
        _rda_values(content[: end.start()]), ("TE", "TR", "TM", "TI", "DwellTime", "MRFrequency"), given
    )
    _refuse_missing(path, stated, ("TE", "TR", "DwellTime", "MRFrequency"))
    stated["Nucleus"] = given.get("ResonantNucleus") or stated.get("Nucleus") or "unknown"
    stated |= _rda_place(stated, notes)
    empty = dict.fromkeys(
        ("SoftwareVersion[0]", "TransmitCoil", "ModelName", "DeviceSerialNumber", "InstitutionName"), ""
    )
    lines = {
        **empty,
        "TM": "0",
        "TI": "0",
        "FlipAngle": "0",
        **{k: v for k, v in stated.items() if _RDA_KEPT.fullmatch(k)},
    }
    text = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    head = f">>> Begin of header <<<\r\n{text}>>> End of header <<<\r\n"
    return head.encode("ascii", "replace") + content[end.end() :]


def field_strength(raw: Raw) -> float | None:
    """Field (T) that the raw header states, None where it states none or where it is not looked for."""
    if raw.format == "ge":
        header = ge.header(raw.files[0])
        return getattr(header, "rhe_magstrength", 0) / 1e4 or None
    if raw.format in ("dicom", "philips_dcm", "uih"):
        import pydicom

        found = pydicom.dcmread(raw.files[0], stop_before_pixels=True).get("MagneticFieldStrength")
        return float(found) if _number(str(found)) else None
    if raw.format not in ("rda", "jmrui", "twix"):
        return None
    text = head_of(raw.files[0], 1 << 20).decode("latin-1")
    pattern = (
        r'(?:MagneticField(?:Strength)?:|"flMagneticFieldStrength">\s*\{\s*(?:<Precision>\s*\d+)?)\s*([\d.,eE+-]+)'
    )
    found = re.search(pattern, text)
    field = with_point(found.group(1)) if found else None
    return float(field) if _number(field) else None


_PERSON = ("PatientName", "PatientBirthDate", "PatientSex", "InstitutionName", "ManufacturerModelName", "ProtocolName")
_ABOUT = (*_PERSON, "PatientPosition", "SoftwareVersions", "InstanceNumber", "SeriesNumber", "SeriesInstanceUID")


def repair_dicom(source: Path, form: str, notes: list[str]) -> None:
    """Give spec2nii the tags that it asks for and anonymised files lack, empty.

    Where a Philips file names fewer than three localisation slabs, size and place of the voxel are unknown. Of the
    FIDs of Philips files one is left, see `philips.whole`.
    """
    import pydicom
    from pydicom.dataset import Dataset

    paths = sorted(source.iterdir())
    if form == "philips_dcm" and philips.is_imaging(pydicom.dcmread(paths[0], stop_before_pixels=True)):
        raise InputError(f"{paths[0].resolve()}: is spectroscopic imaging; {ONE_VOXEL}")
    stored = philips.stored_in(paths) if form == "philips_dcm" else None
    for path in paths[1:] if stored else ():
        path.unlink()
    paths = paths[:1] if stored else paths
    contents = [pydicom.dcmread(path) for path in paths]
    if stored:
        philips.reduce(contents[0], stored)
    series = str(contents[0].get("SeriesInstanceUID", "1"))
    numbers = [content.get("InstanceNumber") for content in contents]
    unnumbered = None in numbers or len(set(numbers)) < len(numbers)
    for number, (path, content) in enumerate(zip(paths, contents, strict=True), start=1):
        lacking = [name for name in _ABOUT if name not in content]
        if str(content.get("SeriesInstanceUID")) != series:
            lacking.append("SeriesInstanceUID")
        if unnumbered:
            lacking.append("InstanceNumber")
        slabs = content.get("VolumeLocalizationSequence") if form == "philips_dcm" else None
        few = slabs is not None and len(slabs) < 3
        if not (lacking or few or stored):
            continue
        for name in lacking:
            value = {"InstanceNumber": number, "SeriesNumber": 1, "SeriesInstanceUID": series}.get(name, "")
            setattr(content, name, value)
        if few:
            slabs.clear()
            for direction in np.eye(3).tolist():
                slab = Dataset()
                slab.SlabThickness, slab.SlabOrientation, slab.MidSlabPosition = 10_000.0, direction, [0.0, 0.0, 0.0]
                slabs.append(slab)
            notes.append("fewer than three localisation slabs: size and position of the voxel are unknown")
        path.unlink()
        content.save_as(path)


def times_of_files(files: list[Path]) -> dict[str, list[float]]:
    """Echo and repetition times (s) of the files of a DICOM series, those that are not the same in all of them."""
    import pydicom
    from nibabel.nicom import csareader

    found: dict[str, list[float]] = {"EchoTime": [], "RepetitionTime": []}
    for path in files:
        content = pydicom.dcmread(path, stop_before_pixels=True)
        image = csareader.get_csa_header(content, "image")
        for name, values in found.items():
            items = image["tags"].get(name, {}).get("items") if image else None
            value = items[0] if items else content.get(name)
            if value is not None and _number(str(value)):
                values.append(float(value) * 1e-3)
    return {name: values for name, values in found.items() if len(values) == len(files) and len(set(values)) > 1}


def repaired_procpar(raw: Raw, given: Mapping[str, Any]) -> str:
    """Varian parameters under a neutral sequence name (spec2nii's reading of PRESS and STEAM voxels always fails).

    What spec2nii needs and is not there is added; what the data's own header says must agree.
    """
    data, path = raw.files
    stated = _with_given(_procpar_values(path), ("tr", "sfrq"), given)
    if "DwellTime" in given:
        stated["sw"] = repr(1 / given["DwellTime"])
    _refuse_missing(path, stated, ("sfrq", "sw"))
    blocks, traces, n_numbers = (int(n) for n in np.frombuffer(head_of(data, 12).ljust(12, b"\0"), ">i4"))
    for key, n in (("arraydim", blocks * traces), ("np", n_numbers)):
        if _number(stated.get(key)):
            _refuse_contradiction(path, key, "the data's header", (float(stated[key]), n))
    if "DwellTime" not in given and _number(stated.get("at")) and float(stated["at"]) > 0:
        _refuse_contradiction(path, "sw", "at", (float(stated["sw"]), n_numbers / 2 / float(stated["at"])))
    nucleus = given.get("ResonantNucleus") or stated.get("tn") or "unknown"
    values = {
        "sfrq": stated["sfrq"],
        "sw": stated["sw"],
        "tr": stated.get("tr", "0"),
        "te": "0",
        "arraydim": str(blocks * traces),
    }
    texts = {"tn": nucleus, "seqfil": "svs", "comment": ""}
    text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
    text = re.sub(rf"(?m)^(?:{'|'.join([*values, *texts])}) .*\n.*\n.*\n", "", text)
    numbers = "".join(f"{key} 1 1 1e18 -1e18 0 2 1 0 1 64\n1 {value} \n0 \n" for key, value in values.items())
    return text + numbers + "".join(f'{key} 2 2 0 0 0 2 1 0 1 64\n1 "{value}"\n0 \n' for key, value in texts.items())


def _procpar_values(path: Path) -> dict[str, str]:
    text = path.read_bytes().decode("latin-1")
    return dict(re.findall(r'(?m)^([A-Za-z]\w*) (?:[-+\w.]+ ){9,}?[-+\w.]+ *\r?\n1 "?([^"\r\n]*?)"? *\r?$', text))


def with_header(scan: Scan, **values: Any) -> Scan:
    """Copy of a scan with other header values."""
    return replace(scan, header={**scan.header, **values})


def _inversion_in_ms(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Inversion time is in ms in the file and is copied as if it were s."""
    if scan.header.get("InversionTime"):
        return with_header(scan, InversionTime=scan.header["InversionTime"] * 1e-3)
    return scan


def _repair_rda(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Leave out what the header does not say; it was written as 0 for spec2nii."""
    stated = _rda_values(_RDA_END.split(raw.files[0].read_bytes())[0])
    names = {"TM": "MixingTime", "TI": "InversionTime", "FlipAngle": "ExcitationFlipAngle"}
    absent = [header for key, header in names.items() if not _number(stated.get(key))]
    return replace(scan, header={key: value for key, value in scan.header.items() if key not in absent})


def _repair_varian(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Echo and mixing time are parameters te and tm (s); spec2nii takes a pulse length for the echo time."""
    if len(scan.dims) > 1:
        raise InputError(
            f"{raw.files[0]}: Varian data with several receivers and several frames cannot be told apart; "
            "convert it to NIfTI-MRS by other means and name that file"
        )
    stated = _procpar_values(raw.files[1])
    names = {"te": "EchoTime", "tr": "RepetitionTime", "tm": "MixingTime"}
    header = {k: v for k, v in scan.header.items() if k not in names.values()}
    header |= {key: float(stated[name]) for name, key in names.items() if _number(stated.get(name))}
    notes.append("Varian: echo time from parameter te; position of the voxel is unknown")
    return replace(scan, header=header)


def _refuse_length(raw: Raw, scan: Scan, n_points: int) -> None:
    """Refuse a DICOM file whose FID has another number of points than its header says."""
    if n_points != scan.n_points:
        raise InputError(
            f"{raw.files[0]}: is truncated or of a layout that is not known, {scan.n_points} of {n_points} points are "
            "there; copy it from the scanner again, or convert it by other means and name the NIfTI-MRS file"
        )


def _repair_philips_dicom(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Repetition time (ms) is written as flip angle in some layouts; a length that is not what the header says."""
    import pydicom

    stated = philips.points(pydicom.dcmread(raw.files[0], stop_before_pixels=True))
    _refuse_length(raw, scan, stated or scan.n_points)
    if (scan.header.get("ExcitationFlipAngle") or 0) <= 180:
        return scan
    return replace(scan, header={key: value for key, value in scan.header.items() if key != "ExcitationFlipAngle"})


def _repair_siemens_dicom(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Replace the nonsense echo time of some research sequences, and a length that is not what the header says."""
    import pydicom
    from nibabel.nicom import csareader

    scan, content = _inversion_in_ms(scan, raw, notes), pydicom.dcmread(raw.files[0], stop_before_pixels=True)
    image = csareader.get_csa_header(content, "image")
    stated = {key: image["tags"][key]["items"] if image else [] for key in ("EchoTime", "DataPointColumns")}
    n_points = int((stated["DataPointColumns"] or [content.get("DataPointColumns") or scan.n_points])[0])
    n_frames = 1 if image else int(content.get("NumberOfFrames") or 1)
    if n_frames > 1 and scan.n_points == n_frames * n_points:  # spec2nii takes them for one long FID
        notes.append(f"enhanced DICOM: {n_frames} frames of {n_points} points in a file")
        scan = scan.with_data(scan.fid.reshape(-1, n_points), ("DIM_DYN",))
    _refuse_length(raw, scan, n_points)
    echo_time = scan.header.get("EchoTime")
    if stated["EchoTime"] and echo_time is not None and not checks.plausible("EchoTime", echo_time):
        notes.append("Siemens DICOM: implausible sum of echo times replaced by the echo time of the image header")
        return with_header(scan, EchoTime=float(stated["EchoTime"][0]) * 1e-3)
    return scan


def _repair_sdat(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """SPAR names the scan as the operator did (scan_id), and no sequence."""
    scan, name = _inversion_in_ms(scan, raw, notes), spar_value(raw.files[1], "scan_id")
    return with_header(scan, ProtocolName=name) if name else scan


REPAIRS: dict[str, Callable[[Scan, Raw, list[str]], Scan]] = {
    "philips_sdat": _repair_sdat,
    "rda": _repair_rda,
    "philips_dcm": _repair_philips_dicom,
    "varian": _repair_varian,
    "dicom": _repair_siemens_dicom,
}
