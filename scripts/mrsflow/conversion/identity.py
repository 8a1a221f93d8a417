"""Identity out: what a header may keep, and what raw headers, tables and folders say about a person.

Headers are cleaned by a list of what may stay, not of what must go. What the NIfTI-MRS standard's text and its
definitions mark as identifying (doi:10.1002/mrm.29418), and what describes the person, is in `IDENTIFYING`.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mrsflow.conversion.identity_forms import SHORTEST_NUMBER, Wanted, dates, is_a_name
from mrsflow.nifti_mrs import EXTENSION_CODE, Scan
from mrsflow.raw_files import ge

logger = logging.getLogger(__name__)

IDENTIFYING = frozenset(
    {
        "ManufacturersModelName", "DeviceSerialNumber", "InstitutionName", "InstitutionAddress", "PatientName",
        "PatientID", "PatientDoB", "PatientSex", "PatientWeight", "PatientAge", "OriginalFile", "ProcessingApplied",
        "ConversionTime", "ProtocolName",
    }
)  # fmt: skip
"""Header keys that are removed unless ``convert.keep_header`` names them."""


def _made_of(*words: str) -> str:
    """Give a pattern of texts made of some words alone, or of others too short for a name, with anything between."""
    short = r"[a-z]{1,2}\d{0,3}|\d{1,3}[a-z]{0,2}"
    return rf"[\W_]*+(?:(?:{'|'.join((*words, short))})(?:[\W_]++|$))+"


_COIL = _made_of(
    r"\d{0,3}[a-z]{0,2}(?:body|head|brain|neck|spine|knee|coil|quad|surf|surface|volume|array|birdcage|loop|nova|sense|"
    r"transmit|receive|channel|phased|matrix|flex|medium|large|small)+[a-z]{0,2}\d{0,3}",
    r"(?:hea|hep|hec|nec|bod|spi|trx|txrx|rxtx|sni|all)\d{0,2}",
)
_TECHNIQUES = "press|steam|laser|special|spectro|svs|mega|probe|edit|isis|fid|csi|mrs|spcl"
_SEQUENCE = rf"(?=.*(?:{_TECHNIQUES}))" + _made_of(
    rf"[a-z]{{0,4}}(?:{_TECHNIQUES})+[a-z]{{0,6}}\d{{0,4}}",
    r"siemensseq|customerseq|userseq|philips|bruker|wip\d{0,4}|eja|dkd|cmrr|ref|nws|tra|cor|sag|gaba|gsh|"
    r"single|voxel|vapor|wet|chess|hermes|hercules|hos|psd|water|avg|all",
)
KEPT = {
    **dict.fromkeys(
        [
            "SpectrometerFrequency", "SpectralWidth", "EchoTime", "RepetitionTime", "InversionTime", "MixingTime",
            "AcquisitionStartTime", "ExcitationFlipAngle", "TxOffset", "WaterSuppressed", "SequenceTriggered",
            "kSpace", "FrameOnset", "Value", "start", "increment",
        ],
        "",
    ),
    "ResonantNucleus": r"\d{1,3}[a-z]{1,2}",
    "Manufacturer": r"(siemens|philips|ge|bruker|varian|agilent|uih|united)( (healthineers|healthcare|medical|systems|"
    r"biospin|mri|gmbh|imaging))*",
    "SoftwareVersions": r"[\[\]'\" ,;:\\-]*+((syngo|mr|numaris|paravision|pv|vnmrj|lx|software|release|"
    r"[a-z]{0,2}\d[\w.+]*+|\.[\d.]++)[\[\]'\" ,;:\\-]*+)*+",
    "TxCoil": _COIL,
    "RxCoil": _COIL,
    "SequenceName": _SEQUENCE,
    "PatientPosition": r"([hf]f([sp]|d[lr])|(head|feet)[_-]first)?[ -]?(supine|prone|decubitus[ _-]?(left|right))?",
    "ConversionMethod": r"(spec2nii|mrsflow)( v[\d.]+)?",
    "WaterSuppressionType": "vapor|chess|wet|moist|dry|excitation|inversion|none",
    "EditCondition": "on|off|[a-d]|[0-9]",
    "EditPulse": "on|off|[a-d]|[0-9]",
    "Description": "Start of the frame's first excitation \\(s\\)",
}  # fmt: skip
"""Header keys that describe the measurement, and what a text in them must look like; `dim_N` keys stay as well."""

_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d(?!\d)")

SHORTEST_VALUE = 5
"""Values with fewer characters are too common to be looked for."""

PLACEHOLDERS = frozenset(
    ["anonymous", "anonymized", "anonymised", "unknown", "phantom", "volunteer", "subject", "patient", "none", "noname"]
)

_FIELDS = {
    "PatientName": r"patient_?name|name_?of_?patient|visu_subject_name",
    "PatientID": r"patient_?id|visu_subject_id",
    "PatientDoB": r"patient_?birth_?(?:date|day)|patient_?do?b",
    "InstitutionName": r"institution_?name",
    "InstitutionAddress": r"institution_?address",
    "InstitutionalDepartmentName": r"institutional_?department_?name",
    "StationName": r"station_?name",
    "StudyDescription": r"examination_?name|study_?description",
    "DeviceSerialNumber": r"device_?serial_?number",
    "ReferringPhysicianName": r"referring_?physician(?:_?name)?",
    "OperatorsName": r"operators?_?name|owner",
    "PerformingPhysicianName": r"t?perf_?physicians_?name",
    "AccessionNumber": r"accession_?number",
}
"""Fields whose values identify, as vendors write them; taken from the first megabyte of a raw file that is text."""
_ANY = "|".join(_FIELDS.values())
_PATTERNS = [
    re.compile(rf'(?i)<ParamString\."t?({_ANY})">\s*\{{\s*"([^"]*)"'),  # Siemens twix
    re.compile(rf"(?im)^\s*(?:##\$?)?({_ANY})\s*[:=]\s*(?:\( \d+ \)\s*)?[\"<]?([^\r\n\">]*)"),  # RDA, SPAR, Bruker
]
_DICOM = {
    **{f: f for f in _FIELDS if f != "PatientDoB"},
    **dict.fromkeys(["PatientBirthName", "OtherPatientNames", "PatientMotherBirthName"], "PatientName"),
    **dict.fromkeys(["OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers"], "PatientID"),
    "PatientBirthDate": "PatientDoB",
    "RequestingPhysician": "ReferringPhysicianName",
    "NameOfPhysiciansReadingStudy": "PerformingPhysicianName",
}
_GE = {
    **dict.fromkeys(["rhe_patname", "rhe_patnameff"], "PatientName"),
    **dict.fromkeys(["rhe_patid", "rhe_patidff"], "PatientID"),
    **dict.fromkeys(["rhe_uniq_sys_id", "rhe_ex_sysid"], "DeviceSerialNumber"),
    **dict.fromkeys(["rhe_reqnum", "rhe_reqnumff"], "AccessionNumber"),
    "rhe_hospname": "InstitutionName",
    "rhe_dateofbirth": "PatientDoB",
    "rhe_refphy": "ReferringPhysicianName",
}
ABSOLUTE = re.compile(
    r"(?<![\w<>./:;#*+=&%@~^$!?(\[{}\])\\|-])/(?:[\w.@-][\w.@ -]{0,63}/)+[\w.@-]+|(?<![\w/])[A-Za-z]:\\\\?\w[\w.\\ -]+|file:///\S+"
)


def clean(scan: Scan, keep: Iterable[str] = (), secrets: Iterable[str] = ()) -> tuple[Scan, list[str]]:
    """Take out of a header what is not about the measurement.

    Parameters
    ----------
    scan : Scan
    keep : iterable of str
        Keys to keep although they are listed as identifying (``convert.keep_header``).
    secrets : iterable of str
        Values that identify, as from `harvest`; a key that holds one goes, as does one that holds what a removed key
        says of the person.

    Returns
    -------
    scan : Scan
    removed : list of str
        The keys that were removed, without their values.
    """
    keep = set(keep)
    of_person = (value for key, value in scan.header.items() if key in IDENTIFYING - keep)
    known = Wanted(dict.fromkeys(secrets_in(secrets), "") | dict.fromkeys(secrets_in(of_person), ""))
    header, removed = {}, []
    for key, value in scan.header.items():
        if re.fullmatch(r"dim_[567]_header", key) and isinstance(value, dict):
            tidy: Any = {
                name: entry for name, entry in value.items() if name in keep or _about_measurement(name, entry)
            }
            stays = True
        else:
            tidy = value.strip('"<> \0') if isinstance(value, str) else value
            tag = re.fullmatch(r"dim_[567]", key) and re.fullmatch(r"DIM_[A-Z_0-2]{3,20}", str(value))
            stays = bool(tag) or key in keep or _about_measurement(key, tidy)
        text = " ".join(_strings(tidy))
        told = known.found_in(text) is not None or (key not in keep and (ABSOLUTE.search(text) or _DATE.search(text)))
        if told or not stays:
            removed.append(key)
        else:
            header[key] = tidy
    return Scan(scan.fid, scan.dims, scan.dwell_time, header, scan.affine), removed


def _about_measurement(key: str, value: Any) -> bool:
    """Whether a key is listed, and its texts look like what it is there for."""
    if key not in KEPT:
        return False
    if isinstance(value, list | tuple):
        return all(_about_measurement(key, item) for item in value)
    if isinstance(value, dict):
        return all(_about_measurement(name, item) for name, item in value.items())
    return not isinstance(value, str) or bool(re.fullmatch(KEPT[key], value.strip(), re.IGNORECASE))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for k, v in value.items() for t in (str(k), *_strings(v))]
    if isinstance(value, list | tuple):
        return [t for v in value for t in _strings(v)]
    return []


def secrets_in(values: Iterable[Any]) -> set[str]:
    """Values worth looking for: five characters or more, no plain number under seven digits but dates, no placeholder.

    >>> sorted(secrets_in(["DOE^JANE", "19000101.0", "1234", "166006", "Anonymous"]))
    ['19000101', 'DOE^JANE']
    """
    found = set()
    for value in values:
        for text in [value] if isinstance(value, str | int | float) else _strings(value):
            plain = re.sub(r"\.0+$", "", str(text).strip(" \0\t\r\n\"'^,"))
            letters = plain.replace("^", "").strip()
            if len(letters) < SHORTEST_VALUE or plain.casefold() in PLACEHOLDERS or len(set(letters)) == 1:
                continue
            if dates(plain):
                found.add(plain)
                continue
            if re.fullmatch(r"[\d.,\s+-]+", plain) and len(re.sub(r"\D", "", plain)) < SHORTEST_NUMBER:
                continue
            found.add(plain)
    return found


_PERSONAL = re.compile(
    r"(?i)name|birth|dob|born|\bid\b|_id|id_|number|_no\b|mrn|nhs|chi\b|address|phone|mail|rater|nurse|doctor|physician|"
    r"operator|initials|date|visited|scanned"
)


def told_by_tables(columns: Mapping[str, Iterable[Any]]) -> dict[str, str]:
    """Values that identify in columns of the study's tables that stay inside, each with its column.

    Of a column whose name speaks of people or dates all that is worth looking for; of others names of several words,
    dates and long numbers, as a single word such as `secondary` stands in any report.
    """
    found = {}
    for column, values in columns.items():
        for value in sorted(secrets_in(values)):
            if _PERSONAL.search(column) or is_a_name(value) or dates(value) or re.search(r"\d{7}", value):
                found.setdefault(value, f"column {column}")
    return found


def told_by_folders(paths: Iterable[Path]) -> dict[str, str]:
    """Names of folders of raw files that hold a date or a long number, so that a person's may stand beside it."""
    parts = {part for path in paths for part in path.parts if re.search(r"\d{6}", part) or "^" in part}
    names = {re.sub(r"[\W_]*\d[\d\W_]*", " ", part).strip() for part in parts if "^" in part}
    return dict.fromkeys(sorted(parts | names), "a raw folder's name")


def harvest(path: Path | str, keep: Collection[str] = ()) -> dict[str, str]:
    """Values that identify in a raw file's header, each with its field; kept in memory only, to be looked for.

    Reads DICOM, GE P-files, NIfTI-MRS and every text-like header (twix, RDA, SPAR, Bruker, jMRUI); a folder is read
    file by file. A file that cannot be read gives nothing.

    Parameters
    ----------
    path : path
    keep : collection of str
        Fields that may stand in outputs (``convert.keep_header``).
    """
    path = Path(path)
    try:
        if path.is_dir():
            return harvest_all((p for p in sorted(path.rglob("*")) if p.is_file()), keep)
        with path.open("rb") as file:
            head = file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    if head[128:132] == b"DICM":
        found = _dicom_values(path)
    elif ge.has_logo(head):
        found = _ge_values(path)
    elif path.name.endswith((".nii", ".nii.gz")):
        header = _extension(path)
        found = [(key, header[key]) for key in sorted(IDENTIFYING - {"ProcessingApplied"}) if key in header]
    else:
        text = head.decode("latin-1")
        found = [(_field(name), _in_utf8(value)) for form in _PATTERNS for name, value in form.findall(text)]
    return {
        value: f"a raw header ({field})" for field, text in found if field not in keep for value in secrets_in([text])
    }


def harvest_all(paths: Iterable[Path], keep: Collection[str] = ()) -> dict[str, str]:
    """Values that identify in the headers of several raw files, as `harvest` gives them of one."""
    return {value: field for path in paths for value, field in harvest(path, keep).items()}


def _field(name: str) -> str:
    return next(field for field, form in _FIELDS.items() if re.fullmatch(form, name, re.IGNORECASE))


def _in_utf8(text: str) -> str:
    """Text of a header in UTF-8 that was read as Latin-1; any other as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


def _dicom_values(path: Path) -> list[tuple[str, str]]:
    import pydicom

    try:
        header = pydicom.dcmread(path, specific_tags=list(_DICOM), stop_before_pixels=True)
        texts = [(field, str(header.get(tag) or "")) for tag, field in _DICOM.items()]
    except Exception:  # damaged: it will not be converted either
        return []
    return [(field, part) for field, text in texts for part in text.split("=")]  # a name in several scripts


def _ge_values(path: Path) -> list[tuple[str, str]]:
    header = ge.header(path)
    values = [(field, getattr(header, name, b"")) for name, field in _GE.items()]
    return [(field, v.split(b"\0")[0].decode("latin-1")) for field, v in values if isinstance(v, bytes)]


def _extension(path: Path) -> dict[str, Any]:
    import json

    import nibabel

    try:
        extensions = nibabel.load(path).header.extensions
        texts = [e.get_content() for e in extensions if e.get_code() == EXTENSION_CODE]
        content = json.loads(texts[0]) if texts else {}
    except Exception:  # damaged: it will not be converted either
        return {}
    return content if isinstance(content, dict) else {}
