"""A sound study and raw files, to be broken."""

import datetime
from pathlib import Path

import numpy as np
from small_config import PRESS

from mrsflow import axes
from mrsflow.simulation import rawfiles

CONFIG = {
    "study": {"design": "crossover", "conditions": ["placebo", "drug"]},
    "protocols": {"a": PRESS | {"spectrometer_frequency_mhz": 127.73}},
    "blocks": {"bins": {"baseline": [-8, 0], "infusion": [0, 8]}, "baseline": ["baseline"]},
}
TABLES = {
    "participants": "participant\tsex\tage\tweight\n01\tF\t31\t60\n02\tM\t28\t80\n",
    "sessions": "participant\tsession\tvisit\tarm\tinfusion_start\n"
    "01\t1\t1\tplacebo\t10:00:00\n01\t2\t2\tdrug\t10:00:00\n02\t1\t1\tdrug\t10:00:00\n",
    "samples": "participant\tsession\trole\tprotocol\traw\tstart_time\techo_time_ms\n"
    "01\t1\tsvs\ta\tx/1.dat\t09:50:00\t30\n01\t2\tsvs\ta\tx/2.dat\t09:50:00\t30\n02\t1\tsvs\ta\tx/3.dat\t09:50:00\t30\n",
}
HEADER = rawfiles.RawHeader(
    spectrometer_frequency=127.73,
    dwell_time=5e-4,
    echo_time=0.03,
    repetition_time=2.0,
    excitations_per_frame=8,
    start=datetime.datetime(2030, 1, 7, 10, 47),
)


def signal(n_coils: int, n_frames: int, ppm: float, size: float, seed: int) -> np.ndarray:
    """One line with noise, in every coil and frame."""
    rng = np.random.default_rng(seed)
    t = axes.time_axis(512, HEADER.dwell_time)
    hz = axes.ppm_to_hz(ppm, HEADER.spectrometer_frequency)
    noise = rng.normal(size=(n_coils, n_frames, 512, 2)) @ [1, 1j]
    phases = np.exp(2j * np.pi * rng.random((n_coils, 1, 1)))
    return size * phases * np.exp((2j * np.pi * hz - 20) * t) + noise


def write_raw(folder: Path, header: rawfiles.RawHeader = HEADER) -> dict[str, Path]:
    """Write a small raw file of each vendor: NAA alone."""
    fid, water = signal(2, 6, 2.008, 100.0, 1), signal(2, 2, 4.65, 1e4, 2)
    rawfiles.write_ge_pfile(folder / "P00001.7", fid, water, header)
    rawfiles.write_siemens_twix(folder / "meas.dat", fid, header)
    rawfiles.write_philips_sdat(folder / "ACC.SDAT", fid[0, 0], header)
    return {"ge": folder / "P00001.7", "siemens": folder / "meas.dat", "philips": folder / "ACC.SDAT"}


def edit_bytes(path, places) -> None:
    """Turn over every bit of the bytes at some places of a file."""
    content = bytearray(path.read_bytes())
    for place in places:
        if place < len(content):
            content[place] ^= 0xFF
    path.write_bytes(content)
