"""Studies to break: one of text that the stand-in stages copy, one of small raw files as scanners write them."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from mrsflow import axes
from mrsflow.simulation import rawfiles

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


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory) -> dict[str, Path]:
    """A small raw file of each vendor: NAA alone."""
    folder = tmp_path_factory.mktemp("raw")
    fid, water = signal(2, 6, 2.008, 100.0, 1), signal(2, 2, 4.65, 1e4, 2)
    rawfiles.write_ge_pfile(folder / "P00001.7", fid, water, HEADER)
    rawfiles.write_siemens_twix(folder / "meas.dat", fid, HEADER)
    rawfiles.write_philips_sdat(folder / "ACC.SDAT", fid[0, 0], HEADER)
    return {"ge": folder / "P00001.7", "siemens": folder / "meas.dat", "philips": folder / "ACC.SDAT"}
