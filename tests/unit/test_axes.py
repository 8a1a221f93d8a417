import numpy as np
import pytest

from mrsflow.axes import hz_to_ppm, ppm_axis, ppm_to_hz, shift_frequency, time_axis, to_fid, to_spectrum

MHZ, DWELL, POINTS = 123.25, 5e-4, 2048


def line(hz, decay=20.0, n_points=POINTS):
    t = time_axis(n_points, DWELL)
    return np.exp((2j * np.pi * hz - decay) * t)


@pytest.mark.parametrize("ppm", [0.9, 2.008, 3.027, 4.65, 6.2])
def test_a_resonance_stands_at_its_shift(ppm):
    spectrum = to_spectrum(line(ppm_to_hz(ppm, MHZ)))
    step = 1 / (POINTS * DWELL * MHZ)
    assert abs(ppm_axis(POINTS, DWELL, MHZ)[np.argmax(spectrum.real)] - ppm) <= step / 2 + 1e-9


def test_naa_of_a_real_scan_is_at_two_ppm(shared):
    # the recorded header frequency and the vendor's own display agree on where NAA is: 2.0 ppm, not 7.3
    from mrsflow import nifti_mrs

    scan = nifti_mrs.read(shared / "reference/truth/main_svs.nii.gz")
    spectra = np.abs(to_spectrum(scan.fid)).mean(axis=0)
    ppm = ppm_axis(scan.n_points, scan.dwell_time, scan.spectrometer_frequency)
    window = (ppm > 1.9) & (ppm < 2.1)
    assert abs(ppm[window][np.argmax(spectra[window])] - 2.008) < 0.03
    assert spectra[window].max() > 5 * spectra[(ppm > 7.2) & (ppm < 7.4)].max()


def test_hz_and_ppm_undo_each_other():
    ppm = np.linspace(-1, 9, 23)
    np.testing.assert_allclose(hz_to_ppm(ppm_to_hz(ppm, MHZ), MHZ), ppm, rtol=1e-13)


def test_transform_equals_the_sum_over_time():
    fid = line(37.0, n_points=64)
    frequency = np.arange(-32, 32) / (64 * DWELL)
    naive = [np.sum(fid * np.exp(-2j * np.pi * f * time_axis(64, DWELL))) for f in frequency]
    np.testing.assert_allclose(to_spectrum(fid), naive, rtol=1e-10)
    np.testing.assert_allclose(to_fid(to_spectrum(fid)), fid, rtol=1e-12)


@pytest.mark.parametrize("shift", [-37.5, 0.0, 0.3])  # also between points of the spectrum
def test_shifted_line_equals_one_made_there(shift):
    np.testing.assert_allclose(shift_frequency(line(100.0), shift, DWELL), line(100.0 + shift), rtol=1e-11)
