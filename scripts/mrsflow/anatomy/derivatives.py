"""Maps of tissue that other programs left, found by their names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mrsflow.anatomy.tissue import TISSUES
from mrsflow.errors import InputError
from mrsflow.files import is_there

PROGRAMS = {
    "fMRIPrep": {name: rf"(?!.*_space-).*_label-{name}_probseg\.nii(\.gz)?" for name in TISSUES},
    "SPM": {name: rf"c{n}.*\.nii(\.gz)?" for n, name in enumerate(TISSUES, start=1)},
    "CAT12": {name: rf"p{n}.*\.nii(\.gz)?" for n, name in enumerate(TISSUES, start=1)},
    "FSL FAST": {name: rf".*_pve_{n}\.nii(\.gz)?" for n, name in enumerate(("CSF", "GM", "WM"))},
    "FreeSurfer": {"labels": r"aseg\.(mgz|nii|nii\.gz)"},
}
"""How each program names its maps in the space of the T1w; maps in a template's space have other names."""
BELOW = ("", "anat", "mri")
"""Folders below that of a session or a participant where programs put maps."""
NAMED = re.compile(r"sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Maps:
    """Maps of tissue of a session.

    Attributes
    ----------
    program : str
        Who made them, as said in tables.
    paths : dict of str to Path
        By tissue; or ``labels``.
    of_session : bool
        False: they are the participant's, and right for the session alone in whose space they are.
    to_template : Path, optional
        Text file with the affine matrix (4 x 4) from the scanner to the template, mm, where there is one.
    """

    program: str
    paths: dict[str, Path]
    of_session: bool = True
    to_template: Path | None = None


def find(folder: Path, participant_id: str, session_id: str) -> Maps | None:
    """Find the maps of a session in a folder of derivatives, else those of its participant.

    Parameters
    ----------
    folder : Path
        It has a folder for each session or participant (``sub-X/ses-Y/anat``, ``sub-X_ses-Y/mri`` and the like), or
        files that are named by them.
    participant_id, session_id : str
        ``sub-X`` and ``ses-Y``.

    Raises
    ------
    InputError
        There is no such folder, a map is missing beside others, or there are two of a kind.
    """
    if not is_there(folder) or not folder.is_dir():
        raise InputError(f"{folder}: no such folder (inputs.tissue); correct it, or take it out of the list")
    key = f"{participant_id}_{session_id}"
    places = [folder / participant_id / session_id, folder / key, *_longitudinal(folder).get(key, ())]
    for of_session, roots, named in ((True, places, key), (False, [folder / participant_id], participant_id)):
        files = [path for root in roots for below in BELOW for path in _files(root / below)]
        files += _flat(folder).get(named, ())
        if found := [Maps(program, paths, of_session) for program, paths in _programs(files, named)]:
            if len(found) > 1:
                made = " and ".join(maps.program for maps in found)
                raise InputError(
                    f"{folder}: has maps of tissue of {named} by {made}; name a folder of one of them in "
                    "inputs.tissue, or give rows of role GM, WM and CSF"
                )
            return found[0]
    return None


def _programs(files: list[Path], named: str) -> Iterator[tuple[str, dict[str, Path]]]:
    """Programs whose maps are among files, and these."""
    for program, patterns in PROGRAMS.items():
        paths = {}
        for name, pattern in patterns.items():
            matched = sorted(path for path in files if re.fullmatch(pattern, path.name))
            if len(matched) > 1:
                raise InputError(
                    f"{matched[0]}: is one of {len(matched)} maps of {name} of {named} ({matched[1].name}); keep one, "
                    "or name it in a row of its own (role GM, WM, CSF or tissue)"
                )
            if matched:
                paths[name] = matched[0]
        if paths and paths.keys() < patterns.keys():
            lacking = ", ".join(name for name in patterns if name not in paths)
            raise InputError(
                f"{next(iter(paths.values()))}: there is no map of {lacking} of {named} beside it ({program}); add it, "
                "or take this one away"
            )
        if paths:
            yield program, paths


def _files(folder: Path) -> list[Path]:
    """Files of a folder; none where there is no such folder.

    Raises
    ------
    InputError
        It is closed to us.
    """
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); open it, or take it out of inputs.tissue"
        ) from None


@cache
def _flat(folder: Path) -> dict[str, list[Path]]:
    """Files of a folder by the session, or the participant alone, that their names state."""
    found: dict[str, list[Path]] = {}
    for path in _files(folder):
        if named := NAMED.search(path.name):
            found.setdefault(named.group(), []).append(path)
    return found


@cache
def _longitudinal(folder: Path) -> dict[str, list[Path]]:
    """Folders of FreeSurfer's longitudinal stream (``sub-X_ses-Y.long.template``) by session."""
    found: dict[str, list[Path]] = {}
    for path in folder.glob("*.long.*"):
        found.setdefault(path.name.split(".long.")[0], []).append(path)
    return found
