"""Files of the preprocessing of a session: what conversion wrote in, blocks and quality tables out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import nifti_mrs, result_tables
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, read_json, read_table, write_json, write_table
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing import blocks, measures, nulled_scan, preprocess
from mrsflow.preprocessing.blocks import Frames
from mrsflow.preprocessing.preprocess import Run, Session, Settings
from mrsflow.study import layout, variants
from mrsflow.study.events import event_onset
from mrsflow.study.layout import SessionKey

OWN_KEYS = (
    "OriginalChecksum", "FrameChecksums", "FrameOnset", "NumberOfTransients", "ExcitationsPerFrame", "ReferenceSignal",
)  # fmt: skip
"""Sidecar keys of the converted file that do not hold for the blocks."""
BY_HAND = {
    "n_transients": "n_frames", "n_rejected": "n_frames_rejected",
    **{name: name for name in (
        "rejected_fraction", "snr", "snr_definition", "linewidth_hz", "linewidth_ppm", "residual_water_ratio",
        "residual_water_after_ratio", "lipid_ratio", "shift_sd_hz", "phase_sd_deg",
    )},
}  # fmt: skip
"""Metrics of a block that hold for a scan by itself, and their names there."""


def preprocess_session(
    key: str, converted: list[Path], config: dict[str, Any], output: Path, variant: str = ""
) -> list[Path]:
    """Preprocess the scans of one session, one result for each task.

    Parameters
    ----------
    key : str
        ``sub-X_ses-Y``.
    converted : list of Path
        What conversion wrote for it.
    config : dict
        Sections blocks, preprocess and protocols; `protocols` holds the session's own only.
    output : Path
        Folder of all outputs.
    variant : str
        Of the preprocessing, whose files stand apart (`mrsflow.study.variants`).

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        Missing metadata, or data that cannot be used; names the file.
    """
    found = sorted(path for path in converted if path.name.endswith(("_svs.nii.gz", "_svs.nii")))
    folder = layout.scans_folder(variants.root_of(output, variant), key)
    scans, inverted = ([path for path in found if layout.is_nulled(path) is kind] for kind in (False, True))
    written = _macromolecules(inverted, folder)
    if not scans:
        return written or _water_alone(converted, folder)
    cycles = {protocol["phase_cycle"] for protocol in config["protocols"].values()}
    if len(cycles) > 1:
        raise InputError(f"{key}: its protocols differ in phase_cycle; give them the same one")
    settings = settings_of(config, cycles.pop() if cycles else 1)
    for stem in dict.fromkeys(layout.session_stem(path) for path in scans):
        own = [path for path in scans if layout.session_stem(path) == stem]
        try:
            session = preprocess.process(read_runs(own, config["blocks"]["event"]), settings)
        except InputError as error:
            raise InputError(f"{stem}: {error}") from None
        written += write(
            session, settings, config["blocks"]["baseline"], read_json(layout.sidecar(own[0])), folder / stem
        )
    return written


def _macromolecules(scans: list[Path], folder: Path) -> list[Path]:
    """Process the metabolite-nulled scans of a session, one result for each task."""
    written = []
    for stem in dict.fromkeys(layout.session_stem(path) for path in scans):
        own = [path for path in scans if layout.session_stem(path) == stem]
        try:
            written += nulled_scan.write(own, folder / stem)
        except InputError as error:
            raise InputError(f"{stem}, scan of role mm: {error}") from None
    return written


def _water_alone(converted: list[Path], folder: Path) -> list[Path]:
    """Combine and average the water of a session that has nothing else; one of anatomy alone has nothing to do."""
    found = sorted(path for path in converted if path.name.endswith(("_mrsref.nii.gz", "_mrsref.nii")))
    written = []
    for stem in dict.fromkeys(layout.session_stem(path) for path in found):
        scans = [nifti_mrs.read(path) for path in found if layout.session_stem(path) == stem]
        written.append(layout.result(folder / stem, layout.REFERENCE))
        nifti_mrs.write(preprocess.combined_reference(scans), written[-1])
    return written


def preprocess_by_hand(
    spectra: Path, out: Path, reference: Path | None = None, remove_water: bool = True, eddy_current: bool = True
) -> list[Path]:
    """Preprocess one scan to one spectrum; the options of ``scripts/preprocess_scan.py``.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        A file cannot be used; nothing is written.
    """
    import pandas as pd

    ending = next((ending for ending in (".nii.gz", ".nii") if out.name.endswith(ending)), None)
    if ending is None:
        raise InputError(f"{out}: the name of the output must end in .nii.gz or .nii")
    if out.resolve() in [path.resolve() for path in (spectra, reference) if path is not None]:
        raise InputError(f"{out}: is an input as well; give the output another name")
    scan = nifti_mrs.read(spectra)
    water = None if reference is None else nifti_mrs.read(reference)
    n_frames = scan.size("DIM_DYN")
    # all frames make one spectrum, so that only their order matters, and each counts once: one a minute
    times = Frames(60.0 * np.arange(n_frames), np.full(n_frames, 60.0), np.ones(n_frames, dtype=int))
    settings = Settings(
        {"all": [0, n_frames]}, minimum_transients=1, remove_water=remove_water, eddy_current=eddy_current
    )
    try:
        session = preprocess.process([Run(scan, times, water)], settings)
    except InputError as error:
        raise InputError(f"{spectra}: {error}") from None
    row = measures.block_rows(session, settings, [])[0]
    clean = scan.with_data(session.averages, ("DIM_DYN",))
    for method, details in session.steps:
        clean = clean.with_step(method, details)
    stem = out.name.removesuffix(ending)
    quality = out.with_name(f"{stem}_quality.tsv")
    written = [out, out.with_name(f"{stem}.json"), quality]
    nifti_mrs.write(clean, out)
    write_json({"ProcessingApplied": clean.processing}, written[1])
    write_table(pd.DataFrame([{name: row[key] for key, name in BY_HAND.items()}]), quality)
    if session.reference is not None and session.reference_scales:
        written.append(out.with_name(f"{stem}_mrsref{ending}"))
        nifti_mrs.write(session.reference, written[-1])
    return written


def settings_of(config: dict[str, Any], phase_cycle: int = 1) -> Settings:
    """Collect the settings of the chain from sections blocks and preprocess of a configuration."""
    own = config["preprocess"]
    return Settings(
        bins=config["blocks"]["bins"],
        minimum_transients=config["blocks"]["minimum_transients"],
        align_ppm=tuple(own["align_ppm"]),
        max_shift_ppm=own["max_shift_ppm"],
        remove_water=own["remove_water"],
        eddy_current=own["eddy_current"],
        match_linewidth=own["match_linewidth"],
        phase_cycle=phase_cycle,
    )


def read_runs(scans: list[Path], event: str) -> list[Run]:
    """Read the metabolite scans of a session with their sidecars, events and water references.

    Raises
    ------
    InputError
        Names the file and the key that is missing.
    """
    runs, used = [], set()
    for path in scans:
        sidecar = read_json(layout.sidecar(path))
        for name, where in (
            ("RepetitionTime", "it in the header of the file, or column repetition_time_ms of the samples table"),
            ("ExcitationsPerFrame", "excitations_per_frame of the protocol"),
        ):
            if not isinstance(sidecar.get(name), int | float) or sidecar[name] <= 0:
                raise InputError(
                    f"{layout.stem(path)}.json: has no {name}, which places the frames in time; give {where}"
                )
        events = path.with_name(f"{layout.scan_stem(path)}_events.tsv")
        table = read_table(events, result_tables.labels("events")) if events.is_file() else None
        onset = event_onset(table, event, len(scans) == 1, events.name)
        scan = nifti_mrs.read(path)
        times = blocks.frames(
            scan.size("DIM_DYN"),
            float(sidecar["RepetitionTime"]),
            int(sidecar["ExcitationsPerFrame"]),
            onset,
            scan.dimension_header("DIM_DYN").get("FrameOnset"),
        )
        reference = _reference_of(path)
        if reference in used:
            reference = None
        used.add(reference)
        runs.append(Run(scan, times, None if reference is None else nifti_mrs.read(reference)))
    return runs


def _reference_of(path: Path) -> Path | None:
    """Water reference of a scan: of its run, else of the session; the one for eddy currents before that for scaling."""
    own = layout.scan_stem(path)
    session = layout.session_stem(path)
    for acq in ("", "_acq-ecc", "_acq-conc"):
        run = own.removeprefix(session)
        for name in dict.fromkeys((f"{session}{acq}{run}", f"{session}{acq}")):
            for suffix in (".nii.gz", ".nii"):
                found = path.with_name(f"{name}_mrsref{suffix}")
                if found.is_file():
                    return found
    return None


def as_scan(session: Session, rows: list[dict[str, Any]]) -> Scan:
    """Blocks as a scan whose DIM_DYN carries name, time and excitations of each block."""
    scan = session.scan.with_data(session.averages, ("DIM_DYN",))
    made = [row for row in rows if row["reason"] == ""]
    meaning = {
        "block": "Name of the block",
        "phase": "baseline or infusion",
        "onset_s": "Start of the block after the event (s)",
        "duration_s": "Length of the block (s)",
        "n_transients": "Excitations averaged",
        "n_rejected": "Excitations rejected",
    }
    values = {k: {"Value": [row[k] for row in made], "Description": text} for k, text in meaning.items()}
    scan = replace(scan, header={**scan.header, "dim_5_info": "blocks", "dim_5_header": values})
    for method, details in session.steps:
        scan = scan.with_step(method, details)
    return scan


def write(session: Session, settings: Settings, baseline: list[str], sidecar: dict[str, Any], stem: Path) -> list[Path]:
    """Write the files of a processed session, each beginning with `stem`; see the contract in CONTRIBUTING.md."""
    rows = measures.block_rows(session, settings, baseline)
    names = (
        layout.BLOCKS,
        layout.SIDECAR,
        layout.BLOCK_QUALITY,
        layout.TRANSIENT_QUALITY,
        layout.SESSION_QUALITY,
        layout.PICTURES,
    )
    paths = {name: layout.result(stem, name) for name in names}
    scan = as_scan(session, rows)
    nifti_mrs.write(scan, paths[layout.BLOCKS])
    kept = {k: v for k, v in sidecar.items() if k not in OWN_KEYS}
    kept["NumberOfTransients"] = int(sum(row["n_transients"] for row in rows if row["reason"] == ""))
    write_json({**kept, "ProcessingApplied": scan.processing}, paths[layout.SIDECAR])
    first = SessionKey.of(stem.name)._asdict()
    of_blocks = result_tables.from_rows([first | row for row in rows], "blocks_quality")
    result_tables.write(of_blocks, paths[layout.BLOCK_QUALITY])
    frames = result_tables.from_rows(measures.frame_rows(session, settings), "transients_quality")
    result_tables.write(frames, paths[layout.TRANSIENT_QUALITY])
    write_json({**first, **measures.session_values(session, rows)}, paths[layout.SESSION_QUALITY])
    with atomic_path(paths[layout.PICTURES]) as temporary:
        np.savez_compressed(temporary, **measures.pictures(session))
    written = list(paths.values())
    if session.reference is not None and session.reference_scales:
        written.append(layout.result(stem, layout.REFERENCE))
        nifti_mrs.write(session.reference, written[-1])
    return written
