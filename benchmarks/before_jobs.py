"""What it costs to find the faults of a study before any job: tables, and the headers of its raw files.

    python benchmarks/before_jobs.py --sessions 52

A crossover whose sessions have, in turn, a twix file of 300 frames of 8 coils, a folder of 300 DICOM files, and a
NIfTI-MRS file of 300 frames, of which nothing in the tables says when the first two began. Printed in CPU seconds: the
tables (goal: 1), the headers looked at for the first time (goal: 10), and once they are remembered; and how many of
the faults that are put into the study were found (the clock of one scan three hours late, a file away, an arm twice, an
unknown outcome).
"""

import datetime
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests/faults")]

from faulty import CONFIG, HEADER  # noqa: E402

from mrsflow import nifti_mrs  # noqa: E402
from mrsflow.conversion import headers  # noqa: E402
from mrsflow.run import run  # noqa: E402
from mrsflow.simulation import rawfiles  # noqa: E402
from mrsflow.study import config as study_config  # noqa: E402
from mrsflow.study.study import before_jobs  # noqa: E402

FRAMES, COILS, POINTS = 300, 8, 512
KINDS = (".dat", "", ".nii.gz")


def write_raw(folder: Path) -> dict[str, Path]:
    """Write a raw file of each kind; twix files begin at 09:50, one of them three hours late."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    start = datetime.datetime(2030, 1, 7, 9, 50)
    header = replace(HEADER, start=start, excitations_per_frame=1)
    signal = np.ones((COILS, FRAMES, POINTS), complex)
    made = {".dat": folder / "a.dat", "": folder / "a", ".nii.gz": folder / "a.nii.gz", "late": folder / "late.dat"}
    rawfiles.write_siemens_twix(made[".dat"], signal, header)
    rawfiles.write_siemens_twix(made["late"], signal, replace(header, start=start + datetime.timedelta(hours=3)))
    keys = {"SpectrometerFrequency": [127.73], "ResonantNucleus": ["1H"], "dim_5": "DIM_DYN"}
    nifti_mrs.write(nifti_mrs.Scan(signal[0], ("DIM_DYN",), 5e-4, keys, np.eye(4)), made[".nii.gz"])
    dicom = pydicom.Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dicom.file_meta.MediaStorageSOPClassUID = dicom.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    dicom.file_meta.MediaStorageSOPInstanceUID = dicom.SOPInstanceUID = "1.2.3"
    dicom.Manufacturer, dicom.AcquisitionDateTime = "SIEMENS", "20300107095000"
    made[""].mkdir()
    for number in range(FRAMES):
        dicom.InstanceNumber = number + 1
        dicom.save_as(made[""] / f"{number}.dcm", enforce_file_format=True)
    return made


def write_study(folder: Path, sessions: int) -> dict:
    """Write tables and raw files; gives the configuration."""
    made = write_raw(folder)
    samples = ["participant\tsession\trole\tprotocol\traw\ttask\tstart_time"]
    visits, arms = ["participant\tsession\tvisit\tarm\tinfusion_start"], ("placebo", "drug")
    for n in range(sessions):
        who, visit, kind = f"{n // 2 + 1:03d}", n % 2 + 1, KINDS[n % len(KINDS)]
        path = folder / f"{who}_{visit}{kind}"
        source = made["late"] if n == 3 else made[kind]
        if n != 6:  # away
            path.symlink_to(source) if source.is_dir() else os.link(source, path)
        samples.append(f"{who}\t{visit}\tsvs\ta\t{path.name}\tk\t{'09:50:00' if kind == '.nii.gz' else 'n/a'}")
        arm = arms[0] if n == 9 else arms[visit - 1]
        visits.append(f"{who}\t{visit}\t{visit}\t{arm}\t10:00:00")
    people = ["participant", *(f"{n + 1:03d}" for n in range((sessions + 1) // 2))]
    for name, lines in {"samples": samples, "sessions": visits, "participants": people}.items():
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    inputs = {name: str(folder / f"{name}.tsv") for name in ("samples", "sessions", "participants")}
    return {**CONFIG, "inputs": inputs, "group": {"outcome": "Glux/tNAA"}}


def main(sessions: int = 52) -> None:
    """Print what looking at a study costs, and how many of its four faults are found.

    Parameters
    ----------
    sessions : int
        Even, at least 10.
    """
    with tempfile.TemporaryDirectory() as place:
        content = write_study(Path(place), sessions)
        wrong: list[str] = []
        config = study_config.checked(content, "configuration", wrong)
        before_jobs(config, content)  # imports
        costs = {}
        for name in ("tables", "headers", "headers again"):
            began = time.process_time()
            if name == "tables":
                study, found = before_jobs(config, content)
            else:
                said = [*headers.missing(study), *headers.contradictions(study, config, Path(place, "memory.json"))]
            costs[name] = time.process_time() - began
        print(f"{sessions} sessions, CPU s: " + ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items()))
        print(f"{len({*wrong, *found, *said})} of 4 faults:")
        print("\n".join(line.replace(f"{place}/", "") for line in [*wrong, *found, *said]))


if __name__ == "__main__":
    run(main)
