"""BIDS datasets of other tools, made up: trees, names and keys as others write them, signal of known content."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from small_config import PRESS

from mrsflow import axes, nifti_mrs

FREQUENCY, DWELL, POINTS = 127.7, 5e-4, 1024


def spectra(frames: int, glu: float = 1.0, seed: int = 0) -> np.ndarray:
    """Lines where NAA, Cr, Cho and Glu have theirs, with noise: (frames, points)."""
    t = axes.time_axis(POINTS, DWELL)
    lines = {2.008: 30.0, 3.03: 18.0, 3.21: 12.0, 2.35: 10.0 * glu, 3.75: 8.0 * glu}
    clean = sum(size * np.exp((2j * np.pi * axes.ppm_to_hz(ppm, FREQUENCY) - 12) * t) for ppm, size in lines.items())
    noise = np.random.default_rng(seed).normal(size=(frames, POINTS, 2)) @ [1, 1j]
    return clean + 0.5 * noise


def water() -> np.ndarray:
    """One unsuppressed FID."""
    t = axes.time_axis(POINTS, DWELL)
    return 3e4 * np.exp((2j * np.pi * axes.ppm_to_hz(4.65, FREQUENCY) - 12) * t)[np.newaxis]


def write_scan(path: Path, fid: np.ndarray, sidecar: dict[str, Any] | None = None, **header: Any) -> Path:
    """Write a NIfTI-MRS file, with as little in its header as the standard allows unless more is given."""
    keys = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], **header}
    scan = nifti_mrs.Scan(fid, ("DIM_DYN",), DWELL, {**keys, "dim_5": "DIM_DYN"}, np.diag([30.0, 25.0, 15.0, 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti_mrs.write(scan, path)
    if sidecar is not None:
        write_json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)
    return path


def write_json(path: Path, content: Any) -> None:
    """Write a sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_t1w(path: Path) -> None:
    """Write an anatomical image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(1).normal(100, 10, (12, 12, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([15.0, 15.0, 15.0, 1.0])), path)


def start(root: Path, participants: str | None = None) -> Path:
    """Begin a dataset: its description, and participants.tsv where it has one."""
    write_json(root / "dataset_description.json", {"Name": "made up", "BIDSVersion": "1.10.0"})
    if participants is not None:
        (root / "participants.tsv").write_text(participants)
    return root


def configuration(root: Path, **sections: Any) -> dict[str, Any]:
    """Configuration of a single-arm study of a dataset; sections replace whole ones."""
    protocol = PRESS | {"echo_time_ms": 22, "repetition_time_ms": 4000, "spectrometer_frequency_mhz": FREQUENCY}
    protocol["excitations_per_frame"] = 1
    return {
        "study": {"design": "single_arm", "conditions": ["pain"], "freeze": True},
        "inputs": {"bids": str(root)},
        "protocols": {"p": protocol},
        "blocks": {"event": "start", "bins": {"before": [0, 2], "after": [2, 4]}, "baseline": ["before"]},
    } | sections


def pain(root: Path, people: int = 3, frames: int = 60) -> Path:
    """Build a dataset in the manner of the official example mrs_fmrs: two tasks, no sessions, ages as ranges.

    Each person has a baseline scan and a series under heat, water for each, events of two minutes, and an anatomy
    that the sidecars name; a table at the root has the name of an events file and none of its columns.
    """
    ages = ["35-40", "25-30", "20-25", "30-35"]
    lines = [f"sub-{n + 1:02d}\t{'MF'[n % 2]}\t{ages[n % 4]}" for n in range(people)]
    start(root, "\n".join(["participant_id\tsex\tage", *lines]))
    (root / "task-pain_events.tsv").write_text("filename\tmin_2\tmin_4\nsub-01/mrs\t0\t1\n")
    for n in range(people):
        subject = f"sub-{n + 1:02d}"
        write_t1w(root / subject / f"anat/{subject}_T1w.nii.gz")
        for task, count in (("baseline", 8), ("pain", frames)):
            stem = f"{subject}/mrs/{subject}_task-{task}"
            common = {
                "Manufacturer": "Philips", "ManufacturersModelName": "Achieva", "MagneticFieldStrength": 3,
                "InstitutionName": "Somewhere", "PulseSequenceType": "PRESS", "ScanningSequence": "SVS",
                "B0ShimmingTechnique": "Second-order", "BodyPart": "BRAIN", "BodyPartDetails": "Anterior cingulate",
                "ResonantNucleus": ["1H"], "SpectrometerFrequency": [FREQUENCY], "SpectralWidth": 2000,
                "EchoTime": 0.022, "NumberOfSpectralPoints": POINTS, "RepetitionTime": 4,
                "AcquisitionVoxelSize": [30, 25, 15], "AnatomicalImage": f"bids::{subject}/anat/{subject}_T1w.nii.gz",
            }  # fmt: skip
            own = {"WaterSuppression": True, "WaterSuppressionTechnique": "Excitation", "NumberOfTransients": count}
            reference = {"ReferenceSignal": f"bids::{stem}_mrsref.nii.gz"}
            write_scan(root / f"{stem}_svs.nii.gz", spectra(count, seed=n), {**common, **own, **reference})
            write_scan(
                root / f"{stem}_mrsref.nii.gz", water(), {**common, "WaterSuppression": False, "NumberOfTransients": 1}
            )
        events = ["onset\tduration\ttrial_type\tpain_rating", "60\t60\tpre_heat\t0", "120\t60\theat\t3"]
        events += ["180\t60\theat\t5"]
        (root / subject / f"mrs/{subject}_task-pain_events.tsv").write_text("\n".join(events))
    return root


def edited(root: Path, people: int = 2) -> Path:
    """Build a dataset in the manner of the official example mrs_biggaba: three sequences side by side, told by acq-.

    Frequency and nucleus are single values in half of the sidecars, as there.
    """
    lines = [f"sub-{n + 1:02d}\t{'MF'[n % 2]}\t{31 - n}" for n in range(people)]
    start(root, "\n".join(["participant_id\tsex\tage", *lines]))
    for n in range(people):
        subject = f"sub-{n + 1:02d}"
        write_t1w(root / subject / f"anat/{subject}_T1w.nii.gz")
        for acq, kind, echo_time in (
            ("press", "PRESS", 0.035), ("megapress68", "MEGA-PRESS", 0.068), ("megapress80", "MEGA-PRESS", 0.08)
        ):  # fmt: skip
            single = acq != "press"
            common = {
                "Manufacturer": "Philips", "SoftwareVersions": "R3.2.2", "MagneticFieldStrength": 3,
                "PulseSequenceType": kind, "ScanningSequence": "SVS", "ResonantNucleus": "1H" if single else ["1H"],
                "SpectrometerFrequency": FREQUENCY if single else [FREQUENCY], "SpectralWidth": 2000,
                "EchoTime": echo_time, "NumberOfSpectralPoints": POINTS, "RepetitionTime": 2,
                "AcquisitionVoxelSize": [30, 30, 30], "OuterVolumeSuppression": False, "ChemicalShiftOffset": 4.68,
                "EchoAcquisition": "Half echo",
            }  # fmt: skip
            stem = f"{subject}/mrs/{subject}_acq-{acq}"
            own = {**common, "WaterSuppression": True, "NumberOfTransients": 64, "ChemicalShiftReference": 3}
            write_scan(root / f"{stem}_svs.nii.gz", spectra(64, seed=n), own)
            write_scan(root / f"{stem}_mrsref.nii.gz", water(), {**common, "WaterSuppression": False})
    return root
