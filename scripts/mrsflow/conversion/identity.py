"""Identity out: what a header may keep, what raw headers say about a person, and a scan of files for any of it.

Headers are cleaned by a list of what may stay, not of what must go. What the NIfTI-MRS standard's text and its
definitions mark as identifying (doi:10.1002/mrm.29418), and what describes the person, is in `IDENTIFYING`.
"""

import gzip
import html
import io
import logging
import re
import struct
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrsflow.files import UNFINISHED
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

SHORTEST_VALUE, SHORTEST_NUMBER = 5, 7
"""Values with fewer characters, and plain numbers with fewer digits, are too common to be looked for."""

PLACEHOLDERS = frozenset(
    ["anonymous", "anonymized", "anonymised", "unknown", "phantom", "volunteer", "subject", "patient", "none", "noname"]
)

# Keys whose values identify, as the vendors write them; taken from the first megabyte of a raw file.
_PERSON = (
    r"patient_?name|patient_?id|patient_?birth_?(?:date|day)|patient_?do?b|name_?of_?patient|institution_?name|"
    r"institution_?address|institutional_?department_?name|station_?name|examination_?name|study_?description|"
    r"device_?serial_?number|referring_?physician|operators?_?name|t?perf_?physicians_?name|visu_subject_(?:name|id)|"
    r"owner|accession_?number"
)
_PATTERNS = [
    re.compile(rf'(?i)<ParamString\."t?(?:{_PERSON})">\s*\{{\s*"([^"]*)"'),  # Siemens twix
    re.compile(rf"(?im)^\s*(?:##\$?)?(?:{_PERSON})\s*[:=]\s*(?:\( \d+ \)\s*)?[\"<]?([^\r\n\">]*)"),  # RDA, SPAR, Bruker
]
_DICOM = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "OperatorsName",
    "PerformingPhysicianName",
    "AccessionNumber",
    "DeviceSerialNumber",
    "StudyDescription",
]
_GE = [
    "rhe_patname",
    "rhe_patid",
    "rhe_patnameff",
    "rhe_patidff",
    "rhe_hospname",
    "rhe_dateofbirth",
    "rhe_refphy",
    "rhe_uniq_sys_id",
    "rhe_reqnum",
    "rhe_reqnumff",
    "rhe_ex_sysid",
]
_ABSOLUTE = re.compile(
    r"(?<![\w<>./:;#*+=&%@~^$!?(\[{}\])\\|-])/(?:[\w.@-][\w.@ -]{0,63}/)+[\w.@-]+|(?<![\w/])[A-Za-z]:\\\\?\w[\w.\\ -]+|file:///\S+"
)
_EMBEDDED = re.compile(r'data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+|"[A-Za-z0-9+/]{200,}={0,2}"')  # pictures, arrays
_TEXT = {".json", ".tsv", ".csv", ".txt", ".html", ".htm", ".log", ".yaml", ".yml", ".md", ".svg", ".basis", ".js", ""}


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
    known = secrets_in(value for key, value in scan.header.items() if key in IDENTIFYING - keep) | secrets_in(secrets)
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
        if not stays or _hits(text, known) or (key not in keep and (_ABSOLUTE.search(text) or _DATE.search(text))):
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
            if _dates(plain):
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


def told_by_tables(columns: Mapping[str, Iterable[Any]]) -> set[str]:
    """Values that identify in columns of the study's tables that stay inside.

    Of a column whose name speaks of people or dates all that is worth looking for; of others names of several words,
    dates and long numbers, as a single word such as `secondary` stands in any report.
    """
    found = set()
    for column, values in columns.items():
        for value in secrets_in(values):
            if _PERSONAL.search(column) or _name_in(value) or _dates(value) or re.search(r"\d{7}", value):
                found.add(value)
    return found


def told_by_folders(paths: Iterable[Path]) -> set[str]:
    """Names of folders of raw files that hold a date or a long number, so that a person's may stand beside it."""
    parts = {part for path in paths for part in path.parts if re.search(r"\d{6}", part) or "^" in part}
    return parts | {re.sub(r"[\W_]*\d[\d\W_]*", " ", part).strip() for part in parts if "^" in part}


def harvest(path: Path) -> set[str]:
    """Values that identify in a raw file's header; kept in memory only, to look for them in outputs.

    Reads DICOM, GE P-files, NIfTI-MRS and every text-like header (twix, RDA, SPAR, Bruker, jMRUI); a folder is read
    file by file. A file that cannot be read gives nothing.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return set().union(*(harvest(p) for p in sorted(path.rglob("*")) if p.is_file()))
        with path.open("rb") as file:
            head = file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return set()
    if head[128:132] == b"DICM":
        return secrets_in(_dicom_values(path))
    if ge.has_logo(head):
        return secrets_in(_ge_values(path))
    if path.name.endswith((".nii", ".nii.gz")):
        return secrets_in(
            value for key, value in _extension(path).items() if key in IDENTIFYING - {"ProcessingApplied"}
        )
    text = head.decode("latin-1")
    return secrets_in(value for pattern in _PATTERNS for value in pattern.findall(text))


def _dicom_values(path: Path) -> list[str]:
    import pydicom

    try:
        header = pydicom.dcmread(path, specific_tags=list(_DICOM), stop_before_pixels=True)
    except Exception:  # damaged: it will not be converted either
        return []
    return [str(header.get(name) or "") for name in _DICOM]


def _ge_values(path: Path) -> list[str]:
    header = ge.header(path)
    values = [getattr(header, name, b"") for name in _GE]
    return [v.split(b"\0")[0].decode("latin-1") for v in values if isinstance(v, bytes)]


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


def scan_outputs(folder: Path | str, secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Look through every file below a folder for identities and absolute paths.

    Parameters
    ----------
    folder : path
    secrets : iterable of str
        Values as from `harvest`.

    Returns
    -------
    list of (file, what)
        File relative to `folder`; `what` says which kind of value was found and where, never the value.
    """
    folder = Path(folder)
    wanted = secrets_in(secrets)
    findings = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(UNFINISHED)):
        name = str(path.relative_to(folder))
        if _hits(name, wanted):
            findings.append((name, "a value of a raw header in the file's name"))
        try:
            pieces = list(_texts(path))
        except (OSError, EOFError, ValueError, struct.error, zipfile.BadZipFile, zlib.error) as error:
            findings.append((name, f"cannot be searched ({type(error).__name__}), as it is damaged"))
            continue
        for where, text in pieces:
            if _hits(text, wanted):
                findings.append((name, f"a value of a raw header in {where}"))
            if where != "raw bytes" and _ABSOLUTE.search(text):
                findings.append((name, f"an absolute path in {where}"))
    return findings


def _hits(text: str, secrets: set[str]) -> bool:
    """Whether one of the values stands in a text, in any case, with any separators and however it is escaped.

    A name may have its words in any order with others between them, a date may have any form; all else stands as whole
    words in their order.
    """
    text = _plain(text)
    words = _words(text)
    present = set(words)
    present |= {found[1] for word in present if (found := _LETTERED.fullmatch(word))}
    line = None
    dates: set[tuple[int, int, int]] | None = None
    for secret in secrets:
        if wanted := _dates(secret):
            dates = _dates(text) if dates is None else dates
            if wanted & dates:
                return True
        parts = _words(_plain(secret))
        if not parts:
            continue
        name = _name_in(secret)
        if name and present.issuperset(name) and _close_together(words, name):
            return True
        if not present.issuperset(parts):
            continue
        if len(parts) == 1:
            number = rf"(?<!\d[.,])(?<![^\W_])[a-z]{{0,3}}{parts[0]}(?![^\W_])(?![.,]\d)"
            if not parts[0].isdigit() or re.search(number, text):
                return True
            continue
        line = f" {' '.join(words)} " if line is None else line
        if f" {' '.join(parts)} " in line:
            return True
    return False


_LETTERED = re.compile(r"[a-z]{1,3}(\d{7,})")
"""A number behind a few letters, as `p7654321` is written of number 7654321."""


def _plain(text: str) -> str:
    """Text without escapes (HTML, JSON, addresses) and accents, in lower case."""
    if "&" in text:
        text = html.unescape(text)
    if "\\u" in text:
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    if "%" in text:
        text = urllib.parse.unquote(text, errors="ignore")
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.casefold()


_COMMON = frozenset(
    {
        "brain", "head", "body", "magnetic", "resonance", "spectroscopy", "imaging", "centre", "center", "hospital",
        "university", "institute", "institution", "clinic", "clinical", "department", "research", "school", "medical",
        "medicine", "radiology", "neurology", "psychiatry", "study", "scan", "scanner", "mri", "mrs", "fmri", "unit",
        "and", "the", "for",
    }
)  # fmt: skip
"""Words of institutions and studies, which are looked for in their order only."""


def _name_in(secret: str) -> list[str]:
    """Words of a person's name, those of one letter left out; none where a value does not look like one."""
    words = _words(_plain(re.sub(r"[^\W\d_]\.", " ", secret)))
    words = [word for word in words if len(word) > 1]
    named = 2 <= len(words) <= 4 and all(word.isalpha() for word in words)
    return words if named and not _COMMON.intersection(words) else []


BETWEEN = 2
"""Words that may stand between those of a name."""


def _close_together(words: list[str], name: list[str]) -> bool:
    """Whether all words of a name stand within a few words, in any order."""
    span = len(name) + BETWEEN
    indices = [i for i, word in enumerate(words) if word == name[0]]
    return any(set(name) <= set(words[max(i - span + 1, 0) : i + span]) for i in indices)


_MONTHS = {
    "jan": 1, "january": 1, "feb": 2, "february": 2, "mar": 3, "march": 3, "apr": 4, "april": 4, "may": 5, "jun": 6,
    "june": 6, "jul": 7, "july": 7, "aug": 8, "august": 8, "sep": 9, "sept": 9, "september": 9, "oct": 10,
    "october": 10, "nov": 11, "november": 11, "dec": 12, "december": 12,
}  # fmt: skip
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_FORMS = [
    re.compile(r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<m>\d\d)(?P<d>\d\d)(?!\d)"),
    re.compile(r"(?<!\d)(?P<y>(?:19|20)\d\d)[-./: ]{1,2}(?P<m>\d\d?)[-./: ]{1,2}(?P<d>\d\d?)(?!\d)"),
    re.compile(r"(?<!\d)(?P<d>\d\d?)[-./ ]{1,2}(?P<m>\d\d?)[-./ ]{1,2}(?P<y>(?:19|20)\d\d)(?!\d)"),
    re.compile(r"(?<!\d)(?P<d>\d\d)[-./](?P<m>\d\d)[-./](?P<y>\d\d)(?!\d)"),
    re.compile(
        rf"(?<!\d)(?P<d>\d\d?)(?:st|nd|rd|th)?(?:[-./, ]*| of )(?P<m>{_MONTH})[-./, ]*(?P<y>(?:19|20)\d\d)(?!\d)"
    ),
    re.compile(rf"(?<![a-z])(?P<m>{_MONTH})[-./, ]*(?P<d>\d\d?)(?:st|nd|rd|th)?[-./, ]+(?P<y>(?:19|20)\d\d)(?!\d)"),
    re.compile(rf"(?<!\d)(?P<y>(?:19|20)\d\d)[-./, ]*(?P<m>{_MONTH})[-./, ]*(?P<d>\d\d?)(?!\d)"),
]


def _dates(text: str) -> set[tuple[int, int, int]]:
    """Dates in a text, whatever their form; of one with day and month in doubt both readings.

    >>> sorted(_dates("born 3.2.1961"))
    [(1961, 2, 3), (1961, 3, 2)]
    >>> _dates("3 Feb 1961") == _dates("1961-02-03") == _dates("19610203") == {(1961, 2, 3)}
    True
    """
    found = set()
    for form in _FORMS:
        for match in form.finditer(text.casefold()):
            year, month, day = match["y"], match["m"], int(match["d"])
            number = _MONTHS.get(month) or int(month)
            years = [int(year)] if len(year) == 4 else [1900 + int(year), 2000 + int(year)]
            pairs = {(number, day), (day, number)} if match.start("d") < match.start("y") else {(number, day)}
            pairs = {(number, day)} if month in _MONTHS else pairs
            found |= {(y, m, d) for y in years for m, d in pairs if 1 <= m <= 12 and 1 <= d <= 31}
    return found


def _words(text: str) -> list[str]:
    """Words of a text; a date written with separators is one word.

    >>> _words("Doe^Jane, born 1900-01-01")
    ['doe', 'jane', 'born', '19000101']
    """
    joined = re.sub(r"\b(\d{4})[-./](\d\d)[-./](\d\d)\b", r"\1\2\3", text)
    return re.findall(r"[^\W_]+", joined.casefold())


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Pieces of text in a file, with where they stand."""
    name = path.name.lower()
    if name.endswith((".nii.gz", ".nii")):
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            start = file.read(544)
            little = start[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0")
            order = "<" if little else ">"
            second = struct.unpack(order + "i", start[:4])[0] == 540
            offset = (
                struct.unpack_from(order + "q", start, 168)[0]
                if second
                else int(struct.unpack_from(order + "f", start, 108)[0])
            )
            yield "the NIfTI header", (start + file.read(max(offset - 544, 0))).decode("utf-8", "replace")
    elif name.endswith(".gz"):
        with gzip.open(path, "rb") as file:
            yield "its text", _readable(file.read())
    elif name.endswith(".pdf"):
        content = path.read_bytes()
        yield "raw bytes", content.decode("latin-1")
        yield "its drawn text", " ".join(_pdf_texts(content))
    elif name.endswith(".png"):
        yield from _png_texts(path.read_bytes())
    elif name.endswith((".npz", ".zip")):
        yield from _archive_texts(path)
    elif path.suffix.lower() in _TEXT:
        yield "its text", _readable(path.read_bytes())
    else:
        yield "raw bytes", path.read_bytes().decode("latin-1")


def _readable(content: bytes) -> str:
    return _EMBEDDED.sub("", content.decode("utf-8", "replace")).replace("\\/", "/")


_STRING = rb"\((?:[^()\\]|\\.)*\)|<[0-9A-Fa-f\s]+>"


_DRAWN = re.compile(rb"\[((?:\s*+(?:" + _STRING + rb"|[-\d.]++))*+)\s*+\]\s*+TJ|(" + _STRING + rb")\s*+(?:Tj|'|\")")


def _pdf_texts(content: bytes) -> Iterator[str]:
    """Texts that a PDF draws, with pieces that only spacing parts put together."""
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\n?endstream", content, re.DOTALL):
        stream = found[1]
        with suppress(zlib.error):  # one that is not packed
            stream = zlib.decompressobj().decompress(stream)
        for drawn in _DRAWN.finditer(stream):
            yield "".join(map(_pdf_string, re.findall(_STRING, drawn[1] or drawn[2] or b"")))


def _pdf_string(piece: bytes) -> str:
    if piece.startswith(b"<"):
        digits = re.sub(rb"\s", b"", piece[1:-1])
        content = bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode())
        return content.decode("utf-16-be" if content[:1] == b"\0" else "latin-1", "replace")
    inner = re.sub(rb"\\([0-7]{1,3})", lambda octal: bytes([int(octal[1], 8) & 255]), piece[1:-1])
    return re.sub(rb"\\(.)", rb"\1", inner).decode("latin-1")


def _png_texts(content: bytes) -> Iterator[tuple[str, str]]:
    place = 8
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"zTXt" and b"\0" in body:
            key, packed = body.split(b"\0", 1)
            body = key + b" " + zlib.decompress(packed[1:])
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            yield "its metadata", body.replace(b"\0", b" ").decode("utf-8", "replace")


def _archive_texts(path: Path) -> Iterator[tuple[str, str]]:
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        yield "its array names", " ".join(archive.namelist())
        for name in archive.namelist():
            if not name.endswith(".npy"):
                continue
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                reader = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                kind = reader(file)[2].kind
            if kind in "US":
                values = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                yield "its texts", " ".join(map(str, values.ravel()))
