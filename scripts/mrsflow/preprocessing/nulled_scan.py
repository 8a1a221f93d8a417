"""A metabolite-nulled scan of a session: coils and frames to the macromolecules alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import nifti_mrs, water
from mrsflow.basis_sets import nulled
from mrsflow.files import read_json, write_json
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing import blocks, preprocess
from mrsflow.preprocessing.preprocess import Run, Settings
from mrsflow.study import layout

COIL_PPM = (0.6, 2.4)
"""Range of macromolecules that weights the coils where there is no water reference."""


def reference_of(path: Path) -> Path | None:
    """Water reference of a nulled scan: found in its file, else of its run, else of the session."""
    stem = layout.scan_stem(path)
    whole = [part for part in stem.split("_") if part != layout.NULLED]
    session = [part for part in whole if not part.startswith("run-")]
    for name in dict.fromkeys((stem, "_".join(whole), "_".join(session))):
        for suffix in (".nii.gz", ".nii"):
            if (found := path.with_name(f"{name}_mrsref{suffix}")).is_file():
                return found
    return None


def write(scans: list[Path], stem: Path) -> list[Path]:
    """Process the nulled scans of a session to one spectrum of macromolecules, without noise and residual metabolites.

    Parameters
    ----------
    scans : list of Path
        Runs of one scan, as conversion wrote them.
    stem : Path
        What the files written begin with.

    Returns
    -------
    list of Path
        ``STEM_desc-macromolecules_svs.nii.gz`` and ``.json``; the sidecar says what was found of metabolites.

    Raises
    ------
    InputError
        Runs that do not fit together, or a spectrum that does not look like macromolecules.
    """
    sidecar = read_json(layout.sidecar(scans[0]))
    made, found = process([_run(path) for path in scans])
    image = layout.result(stem, layout.MACROMOLECULES)
    nifti_mrs.write(made, image)
    known = ("EchoTime", "RepetitionTime", "InversionTime", "SpectrometerFrequency", "ResonantNucleus")
    content = {
        **{name: sidecar[name] for name in known if name in sidecar},
        "ResidualMetabolites": {name: round(height, 4) for name, height in found.residual.items()},
        "ExplainedFraction": round(found.explained, 4),
        "ShimWidth": round(found.shim * made.spectrometer_frequency, 3),
        "ProcessingApplied": made.processing,
    }
    side = layout.result(stem, layout.MACROMOLECULES_SIDECAR)
    write_json(content, side)
    return [image, side]


def process(runs: list[Run]) -> tuple[Scan, nulled.Cleaned]:
    """Combine coils, average frames, correct eddy currents, and find the lines of macromolecules.

    Frames are averaged as they are: they have no singlet to align, and their lines are wide beside any drift.
    """
    session = preprocess.combined(preprocess.in_time(runs), Settings(bins={}, align_ppm=COIL_PPM))
    fid = blocks.average(session.fids, session.times.excitations, np.ones(len(session.fids), bool))
    scan = session.scan.with_data(fid, ())
    for method, details in session.steps:
        scan = scan.with_step(method, details)
    scan = scan.with_step("Signal averaging", f"{len(session.fids)} frames, not aligned")
    if session.reference is not None:
        phase = np.interp(
            np.arange(scan.n_points) * scan.dwell_time,
            np.arange(session.reference.n_points) * session.reference.dwell_time,
            water.eddy_phase(session.reference.fid),
        )
        scan = replace(scan, fid=water.correct_eddy_currents(fid, phase))
        scan = scan.with_step("Eddy current correction", "Klose correction with the phase of the water reference")
    sampling = (scan.spectrometer_frequency, scan.dwell_time, scan.n_points)
    found = nulled.clean(scan.fid, scan.dwell_time, scan.spectrometer_frequency)
    lines = found.fid(*sampling)
    details = f"sum of {len(found.lines)} Gaussian lines of macromolecules, {found.said}"
    return replace(scan, fid=lines).with_step("Nuisance peak removal", details), found


def _run(path: Path) -> Run:
    sidecar, scan, reference = read_json(layout.sidecar(path)), nifti_mrs.read(path), reference_of(path)
    times = blocks.frames(
        scan.size("DIM_DYN"),
        float(sidecar["RepetitionTime"]),
        int(sidecar["ExcitationsPerFrame"]),
        0.0,
        scan.dimension_header("DIM_DYN").get("FrameOnset"),
    )
    return Run(scan, times, None if reference is None else nifti_mrs.read(reference))


def mean(scans: list[Scan]) -> Scan:
    """Average macromolecules of several sessions, each as large as the first, sampled as the first.

    Raises
    ------
    InputError
        Their fields differ.
    """
    from mrsflow.basis_sets import basis as basis_sets
    from mrsflow.basis_sets import macromolecules

    first = scans[0]
    sampling = (first.spectrometer_frequency, "1H", first.dwell_time, first.n_points)
    sets = [basis_sets.match(macromolecules.of_scan(scan, "macromolecules"), *sampling) for scan in scans]
    sizes = [macromolecules.strength(one) for one in sets]
    fids = [one.fids[0] * sizes[0] / size for one, size in zip(sets, sizes, strict=True)]
    echo_times: Any = {round(float(scan.header.get("EchoTime") or 0.0), 6) for scan in scans}
    averaged = replace(first, fid=np.mean(fids, axis=0))
    if len(echo_times) > 1:
        averaged = replace(averaged, header={k: v for k, v in averaged.header.items() if k != "EchoTime"})
    return averaged.with_step("Signal averaging", f"macromolecules of {len(scans)} sessions, each of the same size")
