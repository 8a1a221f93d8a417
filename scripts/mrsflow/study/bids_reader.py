"""A reader of BIDS datasets with NIfTI-MRS files, whichever tool wrote them, as the tables of a study."""

from collections.abc import Collection, Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow import nifti_mrs
from mrsflow.constants import GAMMA_1H
from mrsflow.errors import InputError
from mrsflow.files import is_there, read_json
from mrsflow.study import bids_tables, layout
from mrsflow.study.layout import SessionKey

if TYPE_CHECKING:
    import pandas as pd

LONE_SESSION = "1"
"""Label of the session of a participant whose files stand outside of any ``ses-`` folder."""
REFERENCE_USES = ("ecc", "conc")
"""Labels of `acq` by which a water reference says what it is for."""
FACTS = {  # keys of sidecars: column of the samples table, factor to its unit, unit
    "EchoTime": ("echo_time_ms", 1e3, "s"),
    "RepetitionTime": ("repetition_time_ms", 1e3, "s"),
    "InversionTime": ("inversion_time_ms", 1e3, "s"),
    "SpectrometerFrequency": ("spectrometer_frequency_mhz", 1.0, "MHz"),
    "MixingTime": ("mixing_time_ms", 1e3, "s"),
}
AGREE = 1e-3
"""Relative difference up to which a sidecar repeats what the header says."""
FIELD_AGREES, VOXEL_AGREES = 0.1, 0.05
"""The same of the field, which is rounded (2.89 T is written as 3), and of the sides of the voxel."""


def read(
    config: dict[str, Any], faults: list[str], keys: Collection[str] | None = None
) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"] | None:
    """Read an existing BIDS dataset of NIfTI-MRS files as the tables of a study, as text.

    Parameters
    ----------
    config : dict
    faults : list of str
        Gets a line for every file that cannot be used.
    keys : collection of str, optional
        Sessions (``sub-X_ses-Y``) to read; by default all.

    Returns
    -------
    samples, participants, sessions : DataFrame
        With ``line`` (file and line, or the scan), for messages; None where there is no scan that can be used.

    Raises
    ------
    InputError
        There is no dataset, or a table of it cannot be read.
    """
    import pandas as pd

    root = Path(config["inputs"]["bids"])
    if not is_there(root / "dataset_description.json"):
        raise InputError(f"{root}: has no dataset_description.json; inputs.bids must name the folder of a BIDS dataset")
    folders = _session_folders(root, faults, keys)
    dataset = _Dataset(root)
    wanted = {key: folder for key, folder in folders.items() if keys is None or key in keys}
    rows = [row for key, folder in wanted.items() for row in _samples(dataset, key, folder, config, faults)]
    if not any(row["role"] == "svs" or keys is not None for row in rows):
        faults += [] if faults else [_nothing(root, folders, config["inputs"].get("select", {}))]
        return None
    samples = pd.DataFrame(rows, columns=list(rows[0]), dtype=object)
    samples["order"] = [int(run) if str(run).isdigit() else 0 for run in samples["run"]]
    samples = samples.sort_values(["key", "role", "order"], kind="stable").drop(columns="order")
    scanned = [key for key, folder in folders.items() if any(folder.glob("mrs/*.nii*"))]
    participants, sessions = bids_tables.read(config, scanned, set(samples["key"]), faults, keys)
    return samples[samples["key"].isin(sessions["key"])].reset_index(drop=True), participants, sessions


def _nothing(root: Path, folders: dict[str, Path], select: dict[str, Any]) -> str:
    """Say why a dataset gives no scan."""
    there = [path for folder in folders.values() for path in folder.glob("mrs/*_svs.nii*")]
    if there:
        wanted = ", ".join(f"{entity}-{value}" for entity, value in select.items())
        return f"{root}: none of its {len(there)} files *_svs.nii.gz, as {there[0].name}, has {wanted} (inputs.select)"
    return f"{root}: holds no spectra, sub-*/[ses-*/]mrs/sub-*_svs.nii.gz; inputs.bids must name such a dataset"


def _session_folders(root: Path, faults: list[str], keys: Collection[str] | None) -> dict[str, Path]:
    """Folder of each session by its key, all of the participants of `keys`; without ``ses-`` folders there is one."""
    people = ["sub-*"] if keys is None else sorted({SessionKey.of(key).participant_id for key in keys})
    found = {}
    for subject in sorted(path for name in people for path in root.glob(name) if path.is_dir()):
        sessions = sorted(path for path in subject.glob("ses-*") if path.is_dir())
        outside = sorted((subject / "mrs").glob("*.nii*"))
        if sessions and outside and keys is None:
            faults.append(
                f"{outside[0]}: stands outside of the sessions of its participant, which has {sessions[0].name}; move "
                "it into the folder of its session"
            )
        participant = subject.name.removeprefix("sub-")
        for path in sessions or [subject]:
            label = path.name.removeprefix("ses-") if sessions else LONE_SESSION
            found[str(SessionKey(participant, label))] = path
    return found


def entities_of(path: Path) -> dict[str, str]:
    """Entities that a file name has, in their order.

    >>> entities_of(Path("sub-01_task-k_voi-acc_svs.nii.gz"))
    {'sub': '01', 'task': 'k', 'voi': 'acc'}
    """
    return dict(part.split("-", 1) for part in path.name.split(".")[0].split("_")[:-1] if "-" in part)


class _Dataset:
    """What stands beside the scans of a dataset: sidecars and events, inherited from the folders above."""

    def __init__(self, root: Path):
        self.root = root
        self.listed = cache(lambda folder: sorted([*folder.glob("*.json"), *folder.glob("*_events.tsv")]))
        self.json = cache(read_json)

    def applicable(self, scan: Path, ending: str) -> list[Path]:
        """Files that hold for a scan, the nearest last: no entity of theirs differs from the scan's."""
        own = entities_of(scan).items()
        folders = [self.root, *(self.root.joinpath(*part) for part in _parts(scan.parent.relative_to(self.root)))]
        found = []
        for folder in folders:
            candidates = [path for path in self.listed(folder) if path.name.endswith(ending)]
            candidates = [path for path in candidates if path.name == ending or path.name[: -len(ending)].endswith("_")]
            inherited = [path for path in candidates if entities_of(path).items() <= own]
            found += sorted(inherited, key=lambda path: len(entities_of(path)))
        return found

    def sidecar(self, scan: Path) -> "Sidecar":
        """Values of all sidecars of a scan, key by key from the nearest."""
        suffix = layout.stem(scan).rpartition("_")[2]
        values: dict[str, tuple[Any, Path]] = {}
        nulls: dict[str, Path] = {}
        for path in self.applicable(scan, f"{suffix}.json"):
            content = self.json(path)
            if not isinstance(content, dict):
                raise InputError(f"{path}: is not a JSON object of keys and values; correct it")
            values |= {key: (value, path) for key, value in content.items() if value is not None}
            nulls |= {key: path for key, value in content.items() if value is None}
        return Sidecar(values, nulls)

    def events(self, scan: Path) -> Path | None:
        """Nearest events table of a scan."""
        found = self.applicable(scan, "events.tsv")
        return found[-1] if found else None

    def named(self, reference: str, scan: Path) -> Path | None:
        """File that a BIDS URI, or a path in the old manner, names; None for one of another dataset."""
        kind, colon, name = reference.rpartition(":")
        if colon and kind != "bids:":
            return None
        subject = self.root / scan.relative_to(self.root).parts[0]
        near = [self.root / name, subject / name, scan.parent / name]
        return next((path for path in near if path.is_file()), near[0])


def _parts(folder: Path) -> Iterable[tuple[str, ...]]:
    return (folder.parts[: n + 1] for n in range(len(folder.parts)))


class Sidecar:
    """Keys of a scan's sidecars, each with the file that it stands in; those of null, which says nothing, apart."""

    def __init__(self, values: dict[str, tuple[Any, Path]], nulls: dict[str, Path]):
        self.values, self.nulls = values, nulls

    def where(self, key: str) -> str:
        """File that says a key."""
        return str(self.values[key][1])

    def number(self, key: str) -> float | None:
        """Positive number, alone or in a list of equal ones (of several nuclei the first); None where not said."""
        return positive(self.values[key][0], key, self.where(key)) if key in self.values else None

    def texts(self, key: str) -> list[str]:
        """Texts, alone or in a list."""
        value = self.values.get(key, ([], None))[0]
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{self.where(key)}: {key} is {value!r}; text is needed, correct it there")
        return texts


def positive(value: Any, key: str, where: str) -> float:
    """Give the number that a value is, alone or in a list.

    Raises
    ------
    InputError
        Another kind of value, names file and key.
    """
    many = value if isinstance(value, list) else [value]
    first = many[0] if many else None
    same = key in ("SpectrometerFrequency", "ResonantNucleus") or all(item == first for item in many)
    if isinstance(first, bool) or not isinstance(first, int | float) or not 0 < first < float("inf") or not same:
        raise InputError(f"{where}: {key} is {value!r}; one positive number is needed, correct it there")
    return float(first)


def _samples(
    dataset: _Dataset, key: str, folder: Path, config: dict[str, Any], faults: list[str]
) -> list[dict[str, Any]]:
    """Rows of one session: the spectra that are selected, their water, macromolecules and anatomy."""
    select = config["inputs"].get("select", {})
    spectra = sorted(folder.glob("mrs/*_svs.nii*"))
    series = [path for path in spectra if not layout.is_nulled(path) and _selected(path, select)]
    nulled = [path for path in spectra if layout.is_nulled(path) and _selected(path, {**select, "acq": "mm"}, True)]
    rows: list[dict[str, Any]] = []
    anatomy: dict[Path, None] = {}
    named: dict[Path, None] = {}
    for path in [*series, *nulled]:
        try:
            sidecar = dataset.sidecar(path)
            row = _scan_row(dataset, key, path, "mm" if path in nulled else "svs", sidecar)
            row |= _facts(path, sidecar, row["role"])
            row["protocol"] = _protocol(path, row, config["protocols"])
            references, images = (
                _pointed(dataset, path, sidecar, name) for name in ("ReferenceSignal", "AnatomicalImage")
            )
        except InputError as error:
            faults.append(str(error))
            continue
        rows.append(row)
        if row["role"] == "svs":
            named |= dict.fromkeys(references)
            anatomy |= dict.fromkeys(images)
    if len({tuple(row[e] for e in layout.SERIES) for row in rows if row["role"] == "svs"}) > 1:
        return rows  # refused when all series of the study are known
    water = sorted(folder.glob("mrs/*_mrsref.nii*"))
    taken = [path for path in water if path in named] or _matching(water, series, spectra)
    taken = taken if rows or not series else []  # what is wrong with the spectra was said
    try:
        rows += _reference_rows(dataset, key, taken, rows, config["protocols"])
    except InputError as error:
        faults.append(str(error))
    images = list(anatomy) or sorted(folder.glob("anat/*_T1w.nii*"))
    if len(images) > 1:
        faults.append(
            f"{images[0]}: is one of {len(images)} T1w images of {key}, {', '.join(path.name for path in images[1:])}; "
            "name the one that belongs to the voxel as AnatomicalImage in the sidecar of the spectra, or keep one"
        )
    return rows + [_scan_row(dataset, key, path, "T1w") for path in images[:1]]


def _selected(path: Path, select: dict[str, Any], lenient: bool = False) -> bool:
    """Whether a file has the entities of inputs.select; `lenient`: or lacks them."""
    own = entities_of(path)
    wanted = {entity: None if value is None else str(value) for entity, value in select.items()}
    return all(own.get(entity) == value or (lenient and entity not in own) for entity, value in wanted.items())


def _scan_row(dataset: _Dataset, key: str, path: Path, role: str, sidecar: Sidecar | None = None) -> dict[str, Any]:
    own = entities_of(path)
    session = SessionKey.of(key)
    named = {key: sidecar.texts(key) for key in ("PulseSequenceType", "SequenceName", "ScanningSequence") if sidecar}
    return {
        "line": str(path),
        "participant": session.participant,
        "session": session.session,
        "key": key,
        "role": role,
        "protocol": None,
        "raw": str(path),
        "events": dataset.events(path) if role == "svs" else None,
        "sequence": {key: texts[0] for key, texts in named.items() if texts} or None,
        "run": own.get("run"),
        **{entity: own.get(entity) for entity in layout.SERIES if role != "T1w"},
        "excitations": None,
        "uneven": None,
        "remarks": None,
        "onsets": None,
        **dict.fromkeys([*(column for column, *_ in FACTS.values()), "nucleus", "dwell_time_s"]),
    }


def _facts(path: Path, sidecar: Sidecar, role: str) -> dict[str, Any]:
    """Collect what header and sidecar say of a scan; columns hold what the sidecar alone says.

    Raises
    ------
    InputError
        They contradict each other, or neither says what is needed.
    """
    header = nifti_mrs.read_header(path)
    found: dict[str, Any] = {}
    if role != "mrsref":
        times = {key: sidecar.values[key][0] for key in ("FrameOnset", "VolumeTiming") if key in sidecar.values}
        where = sidecar.where(next(iter(times))) if times else ""
        found["onsets"] = nifti_mrs.stated_onsets(times, header.frames, where)
    for name, (column, factor, unit) in FACTS.items():
        if name == "InversionTime" and role != "mm":
            continue  # others have none, or 0
        if name == "MixingTime" and not sidecar.values.get(name, (0,))[0] and not header.extension.get(name):
            continue  # of STEAM alone
        stated = sidecar.number(name)
        own = positive(header.extension[name], name, f"{path} (header)") if header.extension.get(name) else None
        if own is not None and stated is not None and abs(stated / own - 1) > AGREE:
            raise InputError(
                f"{path}: {name} is {own:g} {unit} in its header and {stated:g} {unit} in {sidecar.where(name)}; "
                "correct the one that is wrong"
            )
        if own is None and stated is None and name == "RepetitionTime":
            stated = _spacing(found.get("onsets"), _excitations(sidecar, header))
        value = stated if own is None else own
        if value is None and name in sidecar.nulls:
            raise InputError(f"{sidecar.nulls[name]}: {name} is None; one positive number is needed, correct it there")
        if value is None:
            raise InputError(
                f"{path}: neither its header nor a sidecar says {name} ({unit}); write it into {_beside(path)}, or "
                f"into a sidecar further up that holds for all such scans{_or_transients(name, found)}"
            )
        found[f"found {name}"] = value
        if own is None and stated is not None:
            found[column] = repr(stated * factor)
    found["remarks"] = _contradictions(sidecar, header, found["found SpectrometerFrequency"])
    width = sidecar.number("SpectralWidth")
    if width is not None and header.dwell_time > 0 and abs(width * header.dwell_time - 1) > AGREE:
        raise InputError(
            f"{path}: SpectralWidth is {1 / header.dwell_time:g} Hz in its header and {width:g} Hz in "
            f"{sidecar.where('SpectralWidth')}; correct the one that is wrong"
        )
    nuclei = _nuclei(header)
    said = sidecar.texts("ResonantNucleus")
    if nuclei and said and nuclei[0] != said[0]:
        raise InputError(
            f"{path}: ResonantNucleus is {nuclei[0]} in its header and {said[0]} in "
            f"{sidecar.where('ResonantNucleus')}; correct the one that is wrong"
        )
    if said and not nuclei:
        found["nucleus"] = said[0]
    return found | {"found ExcitationsPerFrame": _excitations(sidecar, header), "uneven": _uneven(sidecar, header)}


def _nuclei(header: nifti_mrs.Header) -> list[str]:
    nuclei = header.extension.get("ResonantNucleus") or []
    return nuclei if isinstance(nuclei, list) else [nuclei]


def _contradictions(sidecar: Sidecar, header: nifti_mrs.Header, frequency: float) -> list[str]:
    """Say where a sidecar contradicts the image in what nothing is computed from: points, field (T) and voxel."""
    stated = {key: sidecar.number(key) for key in ("NumberOfSpectralPoints", "MagneticFieldStrength")}
    points, field = stated.values()
    found = []
    if points not in (None, header.points):
        found.append(f"NumberOfSpectralPoints is {points:g}, and its FIDs have {header.points} points")
    nuclei = [*sidecar.texts("ResonantNucleus"), *_nuclei(header)]
    if field is not None and "1H" in nuclei[:1] and abs(frequency / (field * GAMMA_1H) - 1) > FIELD_AGREES:
        found.append(
            f"MagneticFieldStrength is {field:g} T, where 1H has {field * GAMMA_1H:.4g} MHz, and its "
            f"SpectrometerFrequency is {frequency:g} MHz"
        )
    size = sidecar.values.get("AcquisitionVoxelSize", (None, None))[0]
    if isinstance(size, list) and len(size) == 3 and header.voxel is not None:
        sides = sorted(positive(side, "AcquisitionVoxelSize", sidecar.where("AcquisitionVoxelSize")) for side in size)
        if any(abs(one / other - 1) > VOXEL_AGREES for one, other in zip(sides, sorted(header.voxel), strict=True)):
            own = ", ".join(f"{side:.3g}" for side in header.voxel)
            found.append(f"AcquisitionVoxelSize is {size} mm, and its voxel is [{own}] mm")
    return [f"{said}; correct its sidecar, or name the right scan" for said in found]


def _spacing(onsets: list[float] | None, excitations: float | None) -> float | None:
    """Repetition time (s) by the usual time between frames and how many excitations each has; None where not known."""
    if onsets is None or len(onsets) < 2 or excitations is None:
        return None
    gaps = sorted(later - earlier for earlier, later in pairwise(onsets))
    return gaps[len(gaps) // 2] / excitations


def _excitations(sidecar: Sidecar, header: nifti_mrs.Header) -> float | None:
    """Excitations in each frame: as stated, else the transients over the frames where that comes out even."""
    stated = sidecar.number("ExcitationsPerFrame")
    transients = sidecar.number("NumberOfTransients")
    if stated is not None and stated != int(stated):
        raise InputError(
            f"{sidecar.where('ExcitationsPerFrame')}: ExcitationsPerFrame is {stated:g}; one positive whole number is "
            "needed, correct it there"
        )
    if stated is not None or transients is None or header.frames is None:
        return stated
    share = transients / header.frames
    return share if share >= 1 and share == int(share) else None


def _uneven(sidecar: Sidecar, header: nifti_mrs.Header) -> int | None:
    """Transients that the frames cannot share out evenly."""
    stated, transients = sidecar.number("ExcitationsPerFrame"), sidecar.number("NumberOfTransients")
    unknown = stated is not None or transients is None or header.frames is None
    return None if unknown or transients % header.frames == 0 else int(transients)


def _or_transients(name: str, found: dict[str, Any]) -> str:
    """Say what else settles a repetition time where the sidecar gives the times of frames."""
    timed = name == "RepetitionTime" and found.get("onsets")
    return " (or NumberOfTransients, by which VolumeTiming says it)" if timed else ""


def _beside(path: Path) -> str:
    return layout.sidecar(path).name


def _protocol(path: Path, row: dict[str, Any], protocols: dict[str, Any]) -> str:
    """Entry of the protocols that a scan fits; takes what was only found for this off the row.

    Raises
    ------
    InputError
        None fits, or several.
    """
    facts = {name.removeprefix("found "): row.pop(name) for name in list(row) if name.startswith("found ")}
    differing = {name: _differences(facts, protocol, name) for name, protocol in protocols.items()}
    fitting = [name for name, found in differing.items() if not found]
    if len(fitting) == 1:
        number = facts["ExcitationsPerFrame"]
        row["excitations"] = None if number is None else int(number)
        return fitting[0]
    if fitting:
        raise InputError(
            f"{path}: fits protocols {', '.join(fitting)} alike; keep the one it belongs to, or let them differ in "
            "echo time, repetition time, frequency or excitations_per_frame"
        )
    nearest = min(differing, key=lambda name: len(differing[name]))
    rest = [name for name in differing if name != nearest]
    others = f" (nor does it fit {', '.join(rest)})" if rest else ""
    raise InputError(
        f"{path}: {' and '.join(differing[nearest])}{others}; correct the protocol, add one for this scan, or correct "
        f"the header or sidecar if that is wrong"
    )


def _differences(facts: dict[str, Any], protocol: dict[str, Any], name: str) -> list[str]:
    """In what a scan differs from a protocol, in words; tolerances are those of the checks at conversion."""
    found = []
    for fact, key, factor, unit in (
        ("EchoTime", "echo_time_ms", 1e3, "ms"),
        ("RepetitionTime", "repetition_time_ms", 1e3, "ms"),
        ("SpectrometerFrequency", "spectrometer_frequency_mhz", 1.0, "MHz"),
        ("ExcitationsPerFrame", "excitations_per_frame", 1.0, ""),
    ):
        value, wanted = facts[fact], protocol[key]
        if value is None or wanted is None:
            continue
        slack = {"ms": max(0.01 * wanted, 0.1), "MHz": 0.01 * wanted}.get(unit, 0)
        if abs(value * factor - wanted) > slack:
            what = f"{fact} of {value * factor:g} {unit}".rstrip()
            hint = " (NumberOfTransients over its frames)" if fact == "ExcitationsPerFrame" else ""
            found.append(f"has {what}{hint} where protocols.{name}.{key} is {wanted:g}")
    return found


def _pointed(dataset: _Dataset, path: Path, sidecar: Sidecar, key: str) -> list[Path]:
    """Files of this dataset that a key of the sidecar names.

    Raises
    ------
    InputError
        One is not there.
    """
    found = [target for text in sidecar.texts(key) if (target := dataset.named(text, path)) is not None]
    for target in found:
        if not target.is_file():
            raise InputError(
                f"{path}: {key} in {sidecar.where(key)} names {target}, which is not there; correct it, or take it out"
            )
    return found


def _matching(water: list[Path], series: list[Path], spectra: list[Path]) -> list[Path]:
    """Water references that belong to a series by their names.

    A label that the reference has must be the series' own; one of `acq` may also say what it is for, or be no label of
    any spectra. Of those that serve the same run and use, the one with most labels in common counts.
    """
    if not series:
        return water if not spectra else []
    labels = {entity: {entities_of(path).get(entity) for path in series} for entity in layout.SERIES}
    known = {entities_of(path).get("acq") for path in spectra}
    found: dict[tuple[str | None, str | None], list[tuple[int, Path]]] = {}
    for path in water:
        own = {entity: value for entity, value in entities_of(path).items() if entity in layout.SERIES}
        free = own.get("acq") not in known
        shared = [value in labels[entity] for entity, value in own.items() if not (free and entity == "acq")]
        if all(shared):
            place = (entities_of(path).get("run"), _use(path))
            found.setdefault(place, []).append((len(shared), path))
    return [path for many in found.values() for n, path in many if n == max(n for n, _ in many)]


def _use(path: Path) -> str | None:
    """Say what a water reference is for, where its name does."""
    label = entities_of(path).get("acq")
    return label if label in REFERENCE_USES else None


def _reference_rows(
    dataset: _Dataset, key: str, water: list[Path], spectra: list[dict[str, Any]], protocols: dict[str, Any]
) -> list[dict[str, Any]]:
    """Rows of the water of a session: named as the series that it belongs to, under its protocol."""
    main = next((row for row in spectra if row["role"] == "svs"), None)
    rows = []
    for path in water:
        sidecar = dataset.sidecar(path)
        row = _scan_row(dataset, key, path, "mrsref") | _facts(path, sidecar, "mrsref")
        facts = {name: row[f"found {name}"] for name in FACTS if f"found {name}" in row} | {"ExcitationsPerFrame": None}
        try:
            row["protocol"] = _protocol(path, row, protocols)
        except InputError:
            names = list(protocols) if main is None else [main["protocol"]]
            fitting = [name for name in names if not _differences(facts, protocols[name], name)]
            if not fitting:
                raise  # water has its times from a protocol of its own where it has others
            row["protocol"] = fitting[0]
        labels = {entity: main[entity] for entity in layout.SERIES} if main else {}
        rows.append({**row, **labels, "acq": _use(path)})
    for use in {row["acq"] for row in rows}:
        same = [row for row in rows if row["acq"] == use]
        if len(same) == 1:  # it serves every run
            same[0]["run"] = None
        runs = [row["run"] for row in same]
        if twice := [row["line"] for row in same if runs.count(row["run"]) > 1]:
            raise InputError(
                f"{twice[0]}: is one of {len(twice)} water references for the same spectra, beside {twice[1]}; name "
                "the one to use as ReferenceSignal in the sidecar of the spectra"
            )
    return rows
