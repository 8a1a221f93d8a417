"""Raw files against the programs that read them: spec2nii gives back what was written, the right way round."""

import datetime
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.simulation import rawfiles

HEADER = rawfiles.RawHeader(
    spectrometer_frequency=127.73,
    dwell_time=5e-4,
    echo_time=0.03,
    repetition_time=2.0,
    excitations_per_frame=8,
    start=datetime.datetime(2030, 1, 7, 10, 47),
    voxel_size=(18.0, 31.0, 24.0),
    voxel_position=(3.0, 35.0, 20.0),
    voxel_rotation_deg=12.0,
    patient_name="FICTIONAL^PERSON01",
)


def naa(n_coils: int, n_frames: int, header: rawfiles.RawHeader = HEADER) -> np.ndarray:
    """NAA singlet, every coil and frame with an amplitude and phase of its own."""
    hz = axes.ppm_to_hz(2.008, header.spectrometer_frequency)
    t = axes.time_axis(512, header.dwell_time)
    rng = np.random.default_rng(n_coils * n_frames)
    gains = rng.normal(size=(n_coils, n_frames, 2)) @ [1, 1j]
    return gains[..., np.newaxis] * np.exp((2j * np.pi * hz - 20) * t)


def spec2nii(command: list[str | Path], folder: Path) -> None:
    program = Path(sys.executable).with_name("spec2nii")
    env = {**os.environ, "HOME": str(folder)}
    done = subprocess.run([program, *command, "-f", "out", "-o", folder], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def assert_converted(scan: nifti_mrs.Scan, dims: tuple[str, ...], header: rawfiles.RawHeader) -> None:
    """Check what the header must have carried."""
    assert scan.dims == dims
    assert scan.dwell_time == pytest.approx(header.dwell_time, rel=1e-6)
    assert scan.spectrometer_frequency == pytest.approx(header.spectrometer_frequency, abs=1e-6)
    assert scan.nucleus == "1H"
    assert scan.header["EchoTime"] == pytest.approx(header.echo_time)
    assert scan.header["RepetitionTime"] == pytest.approx(header.repetition_time)
    assert scan.header["PatientName"] == header.patient_name
    spectrum = np.abs(axes.to_spectrum(scan.fid.reshape(-1, scan.n_points))).sum(axis=0)
    ppm = axes.ppm_axis(scan.n_points, scan.dwell_time, scan.spectrometer_frequency)
    assert ppm[spectrum.argmax()] == pytest.approx(2.008, abs=0.6 * (ppm[0] - ppm[1]))
    assert_voxel(scan.affine, header)


def assert_voxel(affine: np.ndarray, header: rawfiles.RawHeader) -> None:
    """The affine's columns are the sides of the tilted box, each up to its sign."""
    c, s = np.cos(np.radians(header.voxel_rotation_deg)), np.sin(np.radians(header.voxel_rotation_deg))
    sides = np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) * np.array(header.voxel_size)[:, np.newaxis]
    columns = affine[:3, :3].T
    signs = np.sign(np.sum(columns * sides, axis=1, keepdims=True))
    np.testing.assert_allclose(columns * signs, sides, atol=1e-3)
    np.testing.assert_allclose(affine[:3, 3], header.voxel_position, atol=1e-3)


@pytest.mark.parametrize("averaged", [8, 1], ids=["averaged", "chopped"])
def test_ge_pfile_comes_back(tmp_path, averaged):
    header = replace(HEADER, excitations_per_frame=averaged)
    fid, reference = naa(5, 7, header), 1e4 * naa(5, 16 // averaged, header)
    scale = rawfiles.write_ge_pfile(tmp_path / "P00011.7", fid, reference, header)
    spec2nii(["ge", tmp_path / "P00011.7"], tmp_path)
    for name, truth in (("out", fid), ("out_ref", reference)):
        scan = nifti_mrs.read(tmp_path / f"{name}.nii.gz")
        assert_converted(scan, ("DIM_COIL", "DIM_DYN"), header)
        assert scan.header["WaterSuppressed"] == (name == "out")
        rounding = np.sqrt(0.5) / scale + 6e-8 * np.abs(truth).max()  # to integers, then to single precision
        np.testing.assert_allclose(scan.fid, truth * scale, atol=rounding * scale)


def test_ge_pfile_has_as_many_reference_frames_as_the_sequence_acquires(tmp_path):
    with pytest.raises(ValueError, match="3 reference frames given, PROBE-P acquires 2"):
        rawfiles.write_ge_pfile(tmp_path / "P00011.7", naa(2, 4), naa(2, 3), HEADER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("n_frames", "dims"), [(6, ("DIM_COIL", "DIM_DYN")), (1, ("DIM_COIL",))])
def test_siemens_twix_comes_back(tmp_path, n_frames, dims):
    header = replace(HEADER, spectrometer_frequency=123.25, dwell_time=2.5e-4)
    fid = naa(4, n_frames, header)
    rawfiles.write_siemens_twix(tmp_path / "meas.dat", fid, header)
    spec2nii(["twix", "-e", "image", tmp_path / "meas.dat"], tmp_path)
    scan = nifti_mrs.read(tmp_path / "out.nii.gz")
    assert_converted(scan, dims, header)
    np.testing.assert_array_equal(
        scan.fid, fid.astype(np.complex64).squeeze(axis=1) if n_frames == 1 else fid.astype(np.complex64)
    )


def test_siemens_twix_notes_when_each_frame_was_acquired(tmp_path):
    from mapvbvd import mapVBVD

    rawfiles.write_siemens_twix(tmp_path / "meas.dat", naa(2, 3), HEADER)
    stamps = mapVBVD(str(tmp_path / "meas.dat"), quiet=True).image.timestamp * 2.5e-3
    np.testing.assert_allclose(stamps, (10 * 60 + 47) * 60 + np.array([0, 16, 32]))


def test_philips_sdat_comes_back(tmp_path):
    header = replace(HEADER, spectrometer_frequency=127.75, excitations_per_frame=240)
    fid = 1e3 * naa(1, 1, header)[0, 0]
    rawfiles.write_philips_sdat(tmp_path / "ACC.SDAT", fid, header)
    spec2nii(["philips", tmp_path / "ACC.SDAT", tmp_path / "ACC.SPAR"], tmp_path)
    scan = nifti_mrs.read(tmp_path / "out.nii.gz")
    assert_converted(scan, (), header)
    np.testing.assert_array_equal(scan.fid, fid.astype(np.complex64))


def test_vax_floats_have_the_published_bytes():
    """1, -1, 3.5 and pi as the VAX architecture defines F floats; zero has no bits."""
    known = {1.0: "80400000", -1.0: "80c00000", 3.5: "60410000", np.pi: "4941db0f", 0.0: "00000000", 1e-40: "00000000"}
    for value, encoded in known.items():
        assert rawfiles.vax_floats(np.array([value])).tobytes().hex() == encoded
