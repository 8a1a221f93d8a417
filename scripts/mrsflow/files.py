"""Files: written whole or not at all, and tables that people made by hand read without surprises."""

import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError

UNFINISHED = ".tmp-"
"""What names of unfinished files and scratch folders begin with; host and process follow."""
FORGOTTEN = 86_400.0
"""Age (s) after which what a process of another host left is taken for left behind."""


def workflow_folder() -> Path:
    """Folder of Snakefile, rules, schemas and scripts: what a wheel carries, else the checkout around the package."""
    package = Path(__file__).resolve().parent
    carried = package / "workflow"
    return carried if (carried / "Snakefile").is_file() else package.parents[1]


def unfinished(name: str) -> str:
    """Name for something unfinished of this process.

    >>> unfinished("a.tsv").startswith(UNFINISHED) and unfinished("a.tsv").endswith("-a.tsv")
    True
    """
    return f"{UNFINISHED}{_host()}-{os.getpid()}-{name}"


def _host() -> str:
    name = re.sub(r"[^A-Za-z0-9.]", "", platform.node())[:16]
    return name if re.search("[A-Za-z]", name) else f"host{name}"


def is_left_behind(path: Path) -> bool:
    """Whether a file or folder is unfinished and the process that wrote it is gone."""
    parts = re.match(rf"{re.escape(UNFINISHED)}(?:([A-Za-z0-9.]*[A-Za-z.][A-Za-z0-9.]*)-)?(\d+)-", path.name)
    if parts is None:
        return False
    host, process = parts.group(1), int(parts.group(2))
    if host in (None, _host()):
        return not _alive(process)
    try:
        return time.time() - path.lstat().st_mtime > FORGOTTEN
    except OSError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of somebody else, or no number of a process at all
        return True
    return True


def sweep(folder: Path | str) -> list[Path]:
    """Remove what processes that are gone left unfinished below a folder; gives what was removed."""
    found = []
    for parent, folders, names in os.walk(folder):
        left = [name for name in [*folders, *names] if name.startswith(UNFINISHED)]
        folders[:] = [name for name in folders if not name.startswith(UNFINISHED)]
        found += [path for name in left if is_left_behind(path := Path(parent, name))]
    for path in found:
        remove(path)
    return found


def remove(path: Path) -> None:
    """Remove a file or a folder, whatever is in it; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def scratch(folder: Path | str) -> Iterator[Path]:
    """Let everything temporary of this process and its children go to a private folder in `folder`, removed at the end.

    Raw headers with identities pass through it. Where the process is killed, `sweep` finds the folder by its name.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{UNFINISHED}*-scratch"):
        if is_left_behind(path):
            remove(path)
    own = folder / unfinished("scratch")
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    own.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)
    try:
        yield own
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        remove(own)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to it when the block ends well and removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(unfinished(path.name))
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder stands where this file goes; move it away", str(path))
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_there(path: Path) -> bool:
    """Whether a file or folder is there to be looked at: in a closed folder, or on a broken mount, nothing is."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def full_disk(error: BaseException | None) -> str | None:
    """Say which file met a full disk, when that is what lies behind an error; None when it is not."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{error.filename or 'a file'}: the disk is full ({error.strerror})"
        error = error.__cause__ or error.__context__
    return None


def write_text(text: str, path: Path | str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(content: Any, path: Path | str) -> None:
    """Write JSON (indented, keys in the order given); NaN is refused, as it is not JSON."""
    write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_json(path: Path | str) -> Any:
    """Read JSON; `InputError` when it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def write_table(table: Any, path: Path | str) -> None:
    """Write a data frame as TSV: missing values are ``n/a`` (BIDS), floats keep ten significant digits."""
    text = table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.10g", lineterminator="\n")
    write_text(text, path)


def read_table(path: Path | str, text_columns: bool | Collection[str] = False, line_numbers: bool = False) -> Any:
    """Read a tab- or comma-separated table as a data frame.

    A byte-order mark, Windows line ends and blank lines are accepted. Only an empty cell and ``n/a`` are missing:
    a condition named ``nan`` or ``NA`` stays text.

    Parameters
    ----------
    path : path
    text_columns : bool or collection of str
        Keep every column as text (tables made by hand: the schema converts what is a number), or those of these names
        (labels: ``007`` and ``1e3`` are no numbers).
    line_numbers : bool
        Add column ``line``: where in the file each row begins.

    Raises
    ------
    InputError
        Missing, empty, not UTF-8 text, a repeated column, a quotation mark that is not closed, or a row with more or
        fewer cells than the header.
    """
    import pandas as pd

    path = Path(path)
    header, *rows = _rows_of(path)
    cells = pd.DataFrame([row for _, row in rows], columns=header[1], dtype=str)
    cells = cells.mask(cells.isin(["", "n/a"]))
    kept = cells.columns if text_columns is True else text_columns or ()
    cells = cells.apply(lambda column: column if column.name in kept else _numbers(column))
    if line_numbers:
        if "line" in cells:
            raise InputError(f"{path}: has a column named 'line', which is kept for line numbers; rename it")
        cells.insert(0, "line", [line for line, _ in rows])
    return cells


def _rows_of(path: Path) -> list[tuple[int, list[str]]]:
    """Cells of each row of a table, and the line where the row begins; the first is the header."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); put the file there, make it readable, or correct its path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise InputError(f"{path}: is not a text table (it holds null bytes); save it as UTF-8 text")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    first = lines.lstrip("\n").split("\n", 1)[0]
    if not first.strip():
        raise InputError(f"{path}: is empty; a header line with column names is needed")
    separator = "\t" if "\t" in first else ","
    rows = []
    reader = csv.reader(io.StringIO(lines), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            raise InputError(
                f"{path}, line {line}: cannot be read ({error}); see that each quotation mark at the start of a cell "
                "is closed at its end"
            ) from error
        if any(row):
            rows.append((line, row))
    header = rows[0][1]
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise InputError(f"{path}: column {', '.join(map(repr, repeated))} stands more than once in the header")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}: has {len(row)} cells where the header has {len(header)}; "
                f"separate cells with {'tabs' if separator == chr(9) else 'commas'} throughout"
            )
    return rows


def _numbers(column: Any) -> Any:
    import pandas as pd

    present = column.dropna()
    if present.empty or not present.str.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf").all():
        return column
    if present.str.fullmatch(r"0\d+").any():  # a code such as 01 is a name, not a number
        return column
    return pd.to_numeric(column)


def checksum(path: Path | str) -> str:
    """BLAKE2b digest (hex, 16 bytes) of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(content: Any) -> str:
    """BLAKE2b digest (hex, 16 bytes) of a JSON-able value, independent of key order."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
