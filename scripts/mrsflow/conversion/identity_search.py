"""The search for identities through every file below a folder, whatever the file is."""

import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from mrsflow.conversion.identity import ABSOLUTE, secrets_in
from mrsflow.conversion.identity_forms import Wanted, plain, words
from mrsflow.files import UNFINISHED

_EMBEDDED = re.compile(
    r'data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+|"[A-Za-z0-9+/]{200,}={0,2}"'  # pictures, arrays
    r'|\bxmlns(?::\w+)?="[^"]*"'  # one holds 22 February 1999
)
_TEXT = {".json", ".tsv", ".csv", ".txt", ".html", ".htm", ".log", ".yaml", ".yml", ".md", ".svg", ".basis", ".js", ""}
_MARKED_UP = (".html", ".htm", ".svg", ".xml")
_ARCHIVES = (".npz", ".zip", ".xlsx", ".docx", ".pptx", ".ods", ".odt")
DEEPEST = 3
"""Archives within archives that are opened."""
RAW = "raw bytes"
"""Where a text stands that was read from a file of unknown kind."""


def scan_outputs(
    folder: Path | str, secrets: Mapping[str, str] | Iterable[str], harmless: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Look through every file below a folder for identities and absolute paths.

    Parameters
    ----------
    folder : path
    secrets : mapping of str to str, or iterable of str
        Values as from `identity.harvest`, with what holds each.
    harmless : iterable of str
        Texts that may stand in outputs although they look like such a value.

    Returns
    -------
    list of (file, what)
        File relative to `folder`; `what` says which kind of value was found and where, never the value.
    """
    folder = Path(folder)
    sources = secrets if isinstance(secrets, Mapping) else dict.fromkeys(secrets, "")
    held = {value: source or "a raw header" for found, source in sources.items() for value in secrets_in([found])}
    wanted = Wanted(held)
    passed = _remover(harmless)
    findings = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(UNFINISHED)):
        name = str(path.relative_to(folder))
        said = [f"a value of {source} in the file's name"] if (source := wanted.found_in(passed(name))) else []
        try:
            with path.open("rb") as file:
                for where, text in _texts(path.name, file):
                    source = wanted.found_in(passed(text))
                    if source is None and where == "its text" and _is_table(path.name):
                        source = wanted.found_in_rows(passed(text))
                    if source:
                        said.append(f"a value of {source} in {where}")
                    if where != RAW and ABSOLUTE.search(text):
                        said.append(f"an absolute path in {where}")
        except (OSError, EOFError, ValueError, struct.error, zipfile.BadZipFile, zlib.error) as error:
            said.append(f"cannot be searched ({type(error).__name__}), as it is damaged")
        findings += [(name, what) for what in dict.fromkeys(said)]
    return findings


def _remover(harmless: Iterable[str]) -> Callable[[str], str]:
    """Give a function that takes harmless texts out of a text, as whole words in any case."""
    parts = [r"[\W_]+".join(map(re.escape, found)) for text in harmless if (found := words(plain(text)))]
    if not parts:
        return lambda text: text
    pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(sorted(parts, key=len, reverse=True))})(?![^\W_])")
    return lambda text: pattern.sub(" ... ", plain(text))


def _is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith((".tsv", ".csv"))


def _texts(name: str, file: BinaryIO, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Pieces of text in a file, with where they stand."""
    name = name.lower()
    if name.endswith((".nii.gz", ".nii")):
        with gzip.open(file) if name.endswith(".gz") else nullcontext(file) as content:
            yield "the NIfTI header", _nifti_header(content)
    elif name.endswith(".gz") and depth < DEEPEST:
        with gzip.open(file) as unpacked:
            yield from _texts(name.removesuffix(".gz"), unpacked, depth + 1)
    elif name.endswith(".pdf"):
        packed = file.read()
        yield RAW, packed.decode("latin-1").replace("\0", "")
        yield "its drawn text", " ".join(_pdf_texts(packed))
    elif name.endswith(".png"):
        yield from _png_texts(file.read())
    elif name.endswith(_ARCHIVES) and depth < DEEPEST:
        yield from _archive_texts(file, depth)
    elif Path(name).suffix in _TEXT or name.endswith(_MARKED_UP):
        yield from _written_texts(name, file.read())
    else:
        unknown = file.read()
        yield RAW, unknown.decode("latin-1").replace("\0", "")
        if not unknown.isascii():
            yield RAW, unknown.decode("utf-8", "replace").replace("\0", "")


def _written_texts(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Text as it stands; of pages also what they show, of JSON and YAML also their values alone."""
    text = _EMBEDDED.sub("", _decoded(content)).replace("\\/", "/")
    yield "its text", text
    if name.endswith(_MARKED_UP) and "<" in text:
        yield "what it shows", re.sub(r"<[^>]*>", " ", re.sub(r"<wbr\s*/?>|&shy;", "", text))
    elif name.endswith((".json", ".yaml", ".yml")):
        yield "its values", re.sub(r'"[^"\n]*"\s*:|(?m:^[\s-]*[\w. -]+:(?=\s))|[{,]\s*\w+:(?=\s)', " ", text)


def _decoded(content: bytes) -> str:
    """Text of bytes in UTF-8, UTF-16 where every other byte is nothing, or Latin-1."""
    if b"\0" in content[:200]:
        mark = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        order = "utf-16" if mark else "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
        return content.decode(order, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _nifti_header(file: BinaryIO) -> str:
    start = file.read(544)
    little = start[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0")
    order = "<" if little else ">"
    second = struct.unpack(order + "i", start[:4])[0] == 540
    offset = struct.unpack_from(order + ("q" if second else "f"), start, 168 if second else 108)[0]
    return (start + file.read(max(int(offset) - 544, 0))).decode("utf-8", "replace")


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
        key, _, rest = body.partition(b"\0")
        if kind == b"zTXt":
            body = key + b" " + zlib.decompress(rest[1:])
        elif kind == b"iTXt" and rest[:1] == b"\1":
            body = key + b" " + zlib.decompress(rest[2:].split(b"\0", 2)[2])
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            yield "its metadata", _decoded(body.replace(b"\0", b" "))


def _archive_texts(file: BinaryIO, depth: int) -> Iterator[tuple[str, str]]:
    import numpy as np

    with zipfile.ZipFile(file) as archive:
        yield "the names in it", " ".join(archive.namelist())
        yield RAW, archive.comment.decode("latin-1")
        for name in archive.namelist():
            with archive.open(name) as member:
                if not name.endswith(".npy"):
                    yield from _texts(name, io.BytesIO(member.read()), depth + 1)
                    continue
                version = np.lib.format.read_magic(member)
                reader = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                kind = reader(member)[2]
            if kind.kind in "USV":
                values = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                fields = [values[field] for field in kind.names] if kind.names else [values]
                texts = [array.ravel() for array in fields if array.dtype.kind in "US"]
                yield "its texts", "\n".join(_shown(value) for array in texts for value in array)


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
