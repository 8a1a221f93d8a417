"""Preprocessing of real scans: what alignment and coil combination gain on them."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow.axes import shift_frequency
from mrsflow.conversion import vendors
from mrsflow.preprocessing import blocks, coils, preprocess, referencing


@pytest.fixture(scope="module")
def steam(shared):
    """Unsuppressed water of a head at 7 T: 32 coils, two transients."""
    (path,) = (shared / "data" / "siemens-twix-vb17-steam-7t").glob("*.dat")
    return vendors.convert([path]).scan


def test_combination_gains_what_the_noise_covariance_predicts(steam):
    fids = steam.ordered("DIM_COIL", "DIM_DYN")
    first, second = fids[:, :1], fids[:, 1:]  # weights from one transient, gain measured on the other
    covariance = coils.noise_covariance(first)
    weights = coils.gls_weights(coils.sensitivities(first, covariance), covariance)
    start, tail = slice(0, 40), slice(3 * fids.shape[-1] // 4, None)

    def snr(fid):
        return np.abs(fid[..., start].mean(axis=-1)) / fid[..., tail].std(axis=-1)

    gain = snr(coils.combine(second, weights)[0]) / snr(second[:, 0]).max()
    print(f"gain {gain:.3f}, predicted {weights.snr_gain():.3f}")
    assert gain > 1.2
    assert gain == pytest.approx(weights.snr_gain(), rel=0.1)  # noise of 1024 points, 32 weights from as many


def test_water_reference_alone_is_combined(steam):
    water = preprocess.combined_reference([steam])
    assert water.dims == () and water.fid.shape == (4096,)
    assert water.processing[0]["Method"] == "RF coil combination"
    assert 5 < referencing.water_linewidth(water.fid, water.dwell_time, water.spectrometer_frequency) < 40


@pytest.fixture(scope="module")
def mega(shared):
    """64 transients of an edited scan; all have the editing pulse on, so that NAA is saturated."""
    folder = shared / "data" / "siemens-dicom-megapress-te68"
    return [vendors.convert([folder / part]).scan for part in ("metab", "water")]


def process(scan, water, **settings):
    times = blocks.frames(64, 2.0, 1, 0.0)
    chosen = preprocess.Settings(bins={"all": [0, 10]}, minimum_transients=1, **settings)
    return preprocess.process([preprocess.Run(scan, times, water)], chosen)


def width_and_snr(fid, scan, n):
    """Width, and height of tCr over the SD of the real spectrum that `n` transients leave of the noise of one."""
    found = referencing.fit_singlets(fid, scan.dwell_time, scan.spectrometer_frequency)
    noise = np.sqrt(np.mean(np.abs(scan.fid[:, 1024:]) ** 2) / 2 * 2048 / n)
    return found.linewidth_hz, found.heights["tCr"] / noise


def test_alignment_of_a_still_scan_narrows_lines_and_raises_snr(mega):
    scan, water = mega
    processed = process(scan, water)
    before, after = (
        width_and_snr(scan.fid.mean(axis=0), scan, 64),
        width_and_snr(processed.mean, scan, processed.good.sum()),
    )
    print(f"before: {before[0]:.2f} Hz, SNR {before[1]:.1f}; after: {after[0]:.2f} Hz, SNR {after[1]:.1f}")
    assert np.std(processed.registration.shift_hz) < 2
    assert after[0] < before[0]
    assert after[1] > before[1]


def test_alignment_undoes_a_drift_put_into_a_real_scan(mega):
    scan, water = mega
    drift = np.linspace(-8, 8, 64)
    moved = replace(scan, fid=shift_frequency(scan.fid, drift, scan.dwell_time))
    still, aligned = process(scan, water), process(moved, water)
    found = aligned.registration.shift_hz - still.registration.shift_hz - drift
    good = aligned.good & still.good
    assert np.std(found[good]) < 0.5
    broad, sharp = width_and_snr(moved.fid.mean(axis=0), scan, 64), width_and_snr(aligned.mean, scan, good.sum())
    print(
        f"drift of 16 Hz, before: {broad[0]:.2f} Hz, SNR {broad[1]:.1f}; after: {sharp[0]:.2f} Hz, SNR {sharp[1]:.1f}"
    )
    assert sharp[0] < broad[0] - 3 and sharp[1] > 1.2 * broad[1]
