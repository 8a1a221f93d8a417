"""Basis sets of others: read in the right sense and scale, and close to what we simulate."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis, sequences
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.files import read_table

CHALLENGE = "data/fitting-challenge/basisset_LCModel"
OSPREY = {name: f"data/basis/3T_PRESS_{name}_35ms_noMM.BASIS" for name in ("GE", "Philips", "Siemens")}


@pytest.fixture(scope="module")
def challenge(shared):
    return basis.load(shared / CHALLENGE / "press3T_30ms.BASIS")


def test_basis_file_holds_the_signals_of_its_raw_files(shared, challenge):
    """To the six digits of the files; the folder has both."""
    raw = basis.load(shared / CHALLENGE)
    assert set(raw.names) == {*challenge.names, "Ace"}
    assert (raw.dwell_time, raw.spectrometer_frequency) == (challenge.dwell_time, challenge.spectrometer_frequency)
    for name, fid in zip(challenge.names, challenge.fids, strict=True):
        theirs = raw.fids[raw.names.index(name)]
        np.testing.assert_allclose(fid, theirs, atol=2e-5 * np.abs(theirs).max())


def test_one_millimolar_more_is_the_basis_signal(shared, challenge):
    """Spiked minus base spectrum of the truth set: 0.829 of the signal of 1 mM with its width, shift and two phases."""
    folder = shared / "reference" / "truth"
    spiked, main = (nifti_mrs.read(folder / f"{name}_svs.nii.gz") for name in ("spiked", "main"))
    truth = read_table(folder / "spiked_truth.tsv")
    t = axes.time_axis(main.n_points, main.dwell_time)
    hz = axes.frequency_axis(main.n_points, main.dwell_time)
    for name, rows in truth.groupby("metabolite"):
        row = rows.iloc[0]
        extra = axes.to_spectrum(spiked.fid[int(row["spectrum"])] - main.fid[int(row["base"])])
        signal = 0.829 * challenge.fids[challenge.names.index(name)]

        def model(p, signal=signal):
            decay = np.exp(-np.pi * p[0] * t - (np.pi * p[1] * t) ** 2 / (4 * np.log(2)))
            shaped = axes.to_spectrum(signal * decay * np.exp(2j * np.pi * p[2] * t))
            return p[4] * shaped * np.exp(1j * (p[3] + p[5] * hz / 1000))

        def residual(p, model=model, extra=extra):
            return (model(p) - extra).view(float)

        fits = [least_squares(residual, [4.0, 4.0, shift, 0.0, 1.0, 0.0]) for shift in (-4.0, 0.0, 4.0)]
        best = min(fits, key=lambda fit: fit.cost)
        assert best.x[4] == pytest.approx(1.0, abs=0.005), name
        assert np.linalg.norm(best.fun) < 0.1 * np.linalg.norm(extra), name


@pytest.mark.parametrize(
    "path", [f"{CHALLENGE}/press3T_30ms.BASIS", "data/basis/lcmodel_test_3t.basis", *OSPREY.values()]
)
def test_published_singlets_lie_where_they_should_and_absorb(shared, path):
    found = basis.centred(basis.load(shared / path))
    fine = 1 << 17
    broadened = found.fids * np.exp(-np.pi * 3.0 * axes.time_axis(found.n_points, found.dwell_time))
    spectra = np.fft.fft(broadened, fine, axis=-1)
    hz = np.fft.fftfreq(fine, found.dwell_time)
    for name in ("NAA", "Cr", "PCr", "NAAG"):
        spectrum = spectra[found.names.index(name)]
        highest = np.abs(spectrum).argmax()
        ppm = axes.hz_to_ppm(hz[highest], found.spectrometer_frequency)
        assert ppm == pytest.approx(basis.SINGLETS[name], abs=0.015)
        assert spectrum[highest].real > 0.99 * np.abs(spectrum[highest])


def remaining(published, simulated, name):
    """Difference over norm between 0.5 and 4.2 ppm at 4 Hz of extra width, after a common complex scale."""
    t = axes.time_axis(published.n_points, published.dwell_time)
    ppm = axes.ppm_axis(published.n_points, published.dwell_time, published.spectrometer_frequency)
    window = (ppm > 0.5) & (ppm < 4.2)
    widths = (4.0, 4.0 + published.linewidth - simulated.linewidth)
    theirs, ours = (
        axes.to_spectrum(fids[names.index(name)] * np.exp(-np.pi * width * t))[window]
        for fids, names, width in zip(
            (published.fids, simulated.fids), (published.names, simulated.names), widths, strict=True
        )
    )
    return np.linalg.norm(theirs - ours * np.vdot(ours, theirs) / np.vdot(ours, ours)) / np.linalg.norm(theirs)


def test_challenge_set_is_near_the_ideal_simulation(challenge):
    """PRESS TE 30 ms; TE1 is not stated, 11.5 ms fits. Its signals are 2 Hz wide."""
    names = ("Cr", "sIns", "Gly", "GPC", "Ins", "Lac", "NAA", "Glu", "Tau", "PE", "Ala")
    simulated = sequences.simulate(
        sequences.Sequence("press", 0.030, te1=0.0115),
        challenge.spectrometer_frequency,
        names,
        dwell_time=challenge.dwell_time,
        n_points=challenge.n_points,
    )
    stated = replace(challenge, linewidth=2.0)
    differences = {name: remaining(stated, simulated, name) for name in names}
    assert {name for name, value in differences.items() if value > 0.10} == set(), differences
    amplitude = np.abs(challenge.fids[challenge.names.index("sIns"), 1] / simulated.fids[names.index("sIns"), 1])
    assert amplitude == pytest.approx(1.0, abs=0.03)  # the same unit: one proton starts with 1


def test_measured_macromolecules_in_jmrui_text_are_read(shared):
    """Known of the file: 2048 points of 0.25 ms at 123.26 MHz, macromolecule line near 0.9 ppm."""
    found = basis.load(shared / "data/jmrui-mm-3t-volunteers/Volunteer_4/Occipital/TE_20.txt")
    assert (found.names, found.n_points, found.dwell_time) == (("TE_20",), 2048, 2.5e-4)
    assert found.spectrometer_frequency == pytest.approx(123.26)
    t = axes.time_axis(2048, 2.5e-4)
    spectrum = np.abs(axes.to_spectrum(found.fids[0] * np.exp(-np.pi * 5 * t)))
    ppm = axes.ppm_axis(2048, 2.5e-4, found.spectrometer_frequency)
    inside = (ppm > 0.5) & (ppm < 1.15)
    assert ppm[inside][spectrum[inside].argmax()] == pytest.approx(0.9, abs=0.06)
    assert spectrum[inside].max() > 3 * spectrum[(ppm > 8.2) & (ppm < 8.8)].max()  # not the mirror image


@pytest.mark.slow
@pytest.mark.parametrize(("vendor", "te1"), [("GE", 0.0165), ("Siemens", 0.0175)])
def test_osprey_sets_need_shaped_pulses(shared, vendor, te1):
    """Slices that miss part of lactate's partners are what ideal pulses cannot give."""
    published = basis.centred(basis.load(shared / OSPREY[vendor]))
    published = replace(published, fids=published.fids[:, :2048])
    names = ("Lac", "Glu", "Gln", "Ins", "GSH")
    found = {}
    for kind, pulse in (("ideal", None), ("sinc", Pulse("sinc", 0.005, 2000.0, positions=16))):
        simulated = sequences.simulate(
            sequences.Sequence("press", 0.035, te1=te1, refocusing=pulse),
            published.spectrometer_frequency,
            names,
            dwell_time=published.dwell_time,
            n_points=published.n_points,
        )
        found[kind] = [remaining(published, simulated, name) for name in names]
    assert found["ideal"][0] > 0.25
    assert found["sinc"][0] < 0.08
    assert np.median(found["sinc"]) < 0.08
