"""GE P-files: their header, and frames of revisions that spec2nii knows but does not open."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow.errors import InputError

OLD_DATA_START = {9: 61464, 11: 66072}
"""First byte of the frames in P-files of header revisions that spec2nii does not open."""


def has_logo(head: bytes) -> bool:
    """Whether the first bytes of a file carry the mark of a P-file, which moved with revision 26."""
    return any(mark in head[:128] for mark in (b"GE_MED_NMR", b"INVALIDNMR"))


def revision(path: Path) -> int:
    """Major revision of a P-file's header, 0 where it cannot be one."""
    head = _head(path, 4)
    revisions = [float(np.frombuffer(head, order + "f4")[0]) for order in "<>"]
    return next((int(r) for r in revisions if 5 <= r < 100), 0)


def header(path: Path) -> Any:
    """Header of a P-file in the layout that spec2nii knows for its revision, None where it knows none."""
    from spec2nii.GE.ge_hdr_fields import UnknownPfileHdr, get_pfile_hdr_fields

    stated = np.frombuffer(_head(path, 4), "<f4")
    try:
        fields = get_pfile_hdr_fields(float(stated[0]))
    except (UnknownPfileHdr, ValueError, OverflowError):
        return None
    names = [f"pad_{i}" if name == "pad_xx" else name for i, (name, _) in enumerate(fields)]
    kinds = [kind for _, kind in fields]
    layout = type(
        "Header", (ctypes.LittleEndianStructure,), {"_pack_": 1, "_fields_": list(zip(names, kinds, strict=True))}
    )
    size = ctypes.sizeof(layout)
    return layout.from_buffer_copy(_head(path, size))


def convert_old(path: Path, folder: Path) -> None:
    """Read a P-file of an old revision by spec2nii's own mapper, past its check and its missing data offset."""
    from spec2nii.GE import ge_pfile
    from spec2nii.GE.ge_read_pfile import Pfile

    data_start = OLD_DATA_START[revision(path)]

    class OldPfile(Pfile):
        is_ge_file = True

        def read_header(self) -> None:
            super().read_header()
            self.hdr.rhr_rdb_hdr_off_data = data_start

    try:
        images, suffixes = ge_pfile._process_svs_pfile(OldPfile(str(path)))
        for image, suffix in zip(images, suffixes, strict=True):
            image.save(folder / f"scan{suffix}.nii.gz")
    except Exception as error:
        raise InputError(
            f"{path}: the old GE P-file cannot be read ({type(error).__name__}); copy it from the scanner again"
        ) from error


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size).ljust(size, b"\0")
