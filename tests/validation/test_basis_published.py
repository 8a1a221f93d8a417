"""Basis sets of others: read in the right sense and scale, and close to what we simulate."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis, basis_formats, presets, sequences
from mrsflow.basis_sets.broad_lines import broad_fid
from mrsflow.constants import SINGLETS_PPM
from mrsflow.conversion.convert import convert_by_hand
from mrsflow.files import read_table
from mrsflow.fitting import fit, uncertainty
from mrsflow.fitting.amounts import MACROMOLECULES
from mrsflow.fitting.fit_model import Model
from mrsflow.water import correct_eddy_currents, residual_water

CHALLENGE = "data/fitting-challenge/basisset_LCModel"
OSPREY = {name: f"data/basis/3T_PRESS_{name}_35ms_noMM.BASIS" for name in ("GE", "Philips", "Siemens")}
QUANTITIES = ("Glx", "Glu", "Ins", "tCho", "tNAA", "tCr")
LCMODEL_MACROMOLECULES = [  # ppm, FWHM (ppm), amount; MM12, MM14, MM17 and MM20 at their usual ratio to MM09
    {"shift": shift, "width": width, "protons": amount}
    for shift, width, amount in (
        (0.91, 0.14, 3.0), (1.21, 0.15, 0.6), (1.43, 0.17, 1.5), (1.67, 0.15, 0.75), (2.08, 0.15, 2.0),
        (2.25, 0.20, 0.5), (1.95, 0.15, 0.5), (3.00, 0.20, 0.6),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def challenge(shared):
    return basis_formats.load(shared / CHALLENGE / "press3T_30ms.BASIS")


def test_basis_file_holds_the_signals_of_its_raw_files(shared, challenge):
    """To the six digits of the files; the folder has both."""
    raw = basis_formats.load(shared / CHALLENGE)
    assert set(raw.names) == {*challenge.names, "Ace"}
    assert (raw.dwell_time, raw.spectrometer_frequency) == (challenge.dwell_time, challenge.spectrometer_frequency)
    for name, fid in zip(challenge.names, challenge.fids, strict=True):
        theirs = raw.fids[raw.names.index(name)]
        np.testing.assert_allclose(fid, theirs, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["short_last_record", "0ppm_reference"])
def test_variants_of_a_file_are_the_plain_one(shared, kind):
    """Made of the plain file with 1 Hz more of width; what the fit sees of each signal, within 1 %."""
    variant = basis.centred(basis_formats.load(shared / f"data/basis-variants/press35_{kind}.basis"))
    sampling = (variant.spectrometer_frequency, "1H", variant.dwell_time, variant.n_points)
    plain = basis.match(basis_formats.load(shared / OSPREY["Siemens"]), *sampling)
    t, hz = (axis(variant.n_points, variant.dwell_time) for axis in (axes.time_axis, axes.frequency_axis))
    ppm = axes.hz_to_ppm(hz, variant.spectrometer_frequency)
    inside = (ppm > 0.2) & (ppm < 4.2)
    for name, fid in zip(variant.names, variant.fids, strict=True):
        expected = plain.fids[plain.names.index(name)] * np.exp(-np.pi * 1.0 * t)
        ours, theirs = (axes.to_spectrum(one)[inside] for one in (fid, expected))
        assert np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(theirs), name


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
    found = basis.centred(basis_formats.load(shared / path))
    fine = 1 << 17
    broadened = found.fids * np.exp(-np.pi * 3.0 * axes.time_axis(found.n_points, found.dwell_time))
    spectra = np.fft.fft(broadened, fine, axis=-1)
    hz = np.fft.fftfreq(fine, found.dwell_time)
    for name in ("NAA", "Cr", "PCr", "NAAG"):
        spectrum = spectra[found.names.index(name)]
        highest = np.abs(spectrum).argmax()
        ppm = axes.hz_to_ppm(hz[highest], found.spectrometer_frequency)
        assert ppm == pytest.approx(SINGLETS_PPM[name], abs=0.015)
        assert spectrum[highest].real > 0.99 * np.abs(spectrum[highest])


def remaining(published, simulated, name, scaled_by=None):
    """Difference over norm between 0.5 and 4.2 ppm at 4 Hz of extra width, after a complex scale; its own or another's.

    Without the first points, which some programs halve, and without a cubic: tails of NH protons beyond 6.5 ppm.
    """
    t = axes.time_axis(published.n_points, published.dwell_time)
    ppm = axes.ppm_axis(published.n_points, published.dwell_time, published.spectrometer_frequency)
    window = (ppm > 0.5) & (ppm < 4.2)
    smooth = np.linalg.qr(np.linspace(-1, 1, window.sum())[:, None] ** np.arange(4))[0]

    def spectrum(source, which, width):
        spectra = axes.to_spectrum(source.fids[source.names.index(which)] * np.exp(-np.pi * width * t) * (t > 0))
        return spectra[window] - smooth @ (smooth.T @ spectra[window])

    def pair(which):
        ours = spectrum(simulated, which, 4.0 + published.linewidth - simulated.linewidth)
        return spectrum(published, which, 4.0), ours

    theirs, ours = pair(scaled_by or name)
    scale = np.vdot(ours, theirs) / np.vdot(ours, ours)
    theirs, ours = pair(name)
    return np.linalg.norm(theirs - scale * ours) / np.linalg.norm(theirs)


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
    found = basis_formats.load(shared / "data/jmrui-mm-3t-volunteers/Volunteer_4/Occipital/TE_20.txt")
    assert (found.names, found.n_points, found.dwell_time) == (("TE_20",), 2048, 2.5e-4)
    assert found.spectrometer_frequency == pytest.approx(123.26)
    t = axes.time_axis(2048, 2.5e-4)
    spectrum = np.abs(axes.to_spectrum(found.fids[0] * np.exp(-np.pi * 5 * t)))
    ppm = axes.ppm_axis(2048, 2.5e-4, found.spectrometer_frequency)
    inside = (ppm > 0.5) & (ppm < 1.15)
    assert ppm[inside][spectrum[inside].argmax()] == pytest.approx(0.9, abs=0.06)
    assert spectrum[inside].max() > 3 * spectrum[(ppm > 8.2) & (ppm < 8.8)].max()  # not the mirror image


def explained(fid, signal, dwell_time, frequency):
    """Part of a spectrum from 0.5 to 3.85 ppm, beside a straight line, that a signal of any phase and size explains."""
    t = axes.time_axis(fid.size, dwell_time)
    ppm = axes.ppm_axis(fid.size, dwell_time, frequency)
    window = (ppm > 0.5) & (ppm < 3.85)
    target = axes.to_spectrum(fid)[window]
    straight = np.stack([np.ones(target.size), ppm[window]], axis=1)

    def left(design):
        return np.linalg.norm(target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2

    moved = [signal * np.exp(2j * np.pi * shift * t) for shift in range(-5, 6)]  # Hz: their reference, not ours
    shaped = [axes.to_spectrum(one * np.exp(-np.pi * 5 * t))[window] for one in moved]
    return 1 - min(left(np.column_stack([one, straight])) for one in shaped) / left(straight)


def macromolecules(dwell_time, frequency, n_points):
    """Equal amounts of all that a simulated basis set has."""
    press, sampling = sequences.Sequence("press", 0.03), {"dwell_time": dwell_time, "n_points": n_points}
    made = sequences.simulate(press, frequency, ("Cr",), macromolecules=True, **sampling)
    return sum(made.fids[made.names.index(name)] for name in MACROMOLECULES)


@pytest.mark.parametrize("volunteer", [1, 2, 3, 4])
def test_macromolecules_are_those_of_volunteers_at_another_echo_time(shared, volunteer):
    """TE 20 ms; the table was made from TE 32."""
    found = basis_formats.load(shared / f"data/jmrui-mm-3t-volunteers/Volunteer_{volunteer}/Occipital/TE_20.txt")
    sampling = (found.dwell_time, found.spectrometer_frequency)
    fid = found.fids[0] - residual_water(found.fids[0], *sampling)
    assert explained(fid, macromolecules(*sampling, found.n_points), *sampling) > 0.9


def nulled_scan(shared, tmp_path, kind):
    """Scan of a voxel at TE 30, inverted or not, eddy currents corrected."""
    read = []
    for name in (f"sub-01_ses-01_press{kind}", f"sub-01_ses-01_press{kind}_ref"):
        out = tmp_path / "scan.nii.gz"
        convert_by_hand(list((shared / "data/philips-sdat-press30-t1w/mrs" / name).glob("*.SDAT")), out, {})
        read.append(nifti_mrs.read(out))
    return replace(read[0], fid=correct_eddy_currents(read[0].fid, read[1].fid))


def test_macromolecules_are_those_of_another_scanner(shared, tmp_path):
    """A metabolite-nulled Philips scan; LCModel's lines in LCModel's proportions explain little more than half."""
    scan = nulled_scan(shared, tmp_path, "-inverted")
    sampling = (scan.dwell_time, scan.spectrometer_frequency)
    fid = scan.fid - residual_water(scan.fid, *sampling)
    assert explained(fid, macromolecules(*sampling, scan.n_points), *sampling) > 0.8
    lcmodel = broad_fid(LCMODEL_MACROMOLECULES, scan.spectrometer_frequency, scan.dwell_time, scan.n_points)
    assert explained(fid, lcmodel, *sampling) < 0.65


def test_simulated_macromolecules_give_the_ratios_of_those_measured_in_the_voxel(shared, tmp_path):
    """Within 10 %; with LCModel's lines Glx/tNAA was a third lower."""
    scan, nulled = (nulled_scan(shared, tmp_path, kind) for kind in ("", "-inverted"))
    sampling = (scan.dwell_time, scan.spectrometer_frequency)
    t = axes.time_axis(scan.n_points, scan.dwell_time)
    press = sequences.Sequence("press", 0.03)
    whole = sequences.simulate(press, sampling[1], sequences.STANDARD, True, sampling[0], scan.n_points)
    measured = (nulled.fid - residual_water(nulled.fid, *sampling)) * np.exp(-((t / 0.03) ** 2))  # and no creatine
    kept = whole.fids[: len(sequences.STANDARD)]
    scaled = measured / np.abs(measured[0]) * np.abs(kept).max()
    other = replace(whole, names=(*sequences.STANDARD, "MM"), fids=np.vstack([kept, scaled]))
    ratios = []
    for one in (whole, other):
        result = fit.fit_session(scan.fid, Model(one, (0.5, 4.2)))
        amount = {q: uncertainty.weights_of(result.names, q) @ result.amplitudes[0] for q in QUANTITIES}
        ratios.append([amount["Glx"] / amount["tNAA"], *(amount[q] / amount["tCr"] for q in QUANTITIES)])
    np.testing.assert_allclose(ratios[0], ratios[1], rtol=0.1)


GOALS = {"Glu": 0.03, **dict.fromkeys(("Gln", "GABA", "Ins", "GSH", "NAAG"), 0.05)}


@pytest.mark.parametrize(
    ("vendor", "preset"), [("Siemens", "siemens_svs_se"), ("GE", "ge_probe_p"), ("Philips", "philips_press")]
)
def test_presets_give_the_signals_of_the_vendors(shared, vendor, preset):
    """At one scale for the whole set; ideal pulses with two equal echoes miss glutamate by 13 %."""
    published = basis.centred(basis_formats.load(shared / OSPREY[vendor]))
    published = replace(published, fids=published.fids[:, :2048])
    protocol = {"sequence": "press", "echo_time_ms": 35, "te1_ms": None, "mixing_time_ms": None, "refocusing": None}
    found = {}
    for name in (preset, "ideal"):
        full = presets.filled({**protocol, "preset": name}, "a")
        simulated = sequences.simulate(
            sequences.Sequence.from_protocol(full),
            published.spectrometer_frequency,
            ("Cr", *GOALS),
            dwell_time=published.dwell_time,
            n_points=published.n_points,
        )
        found[name] = {goal: remaining(published, simulated, goal, "Cr") for goal in GOALS}
    assert {goal for goal, value in found[preset].items() if value > GOALS[goal]} == set(), found[preset]
    assert found["ideal"]["Glu"] > 0.1


def test_set_of_another_program_is_ours_to_a_thousandth(shared):
    """Ideal PRESS of spant with echoes of 10 and 20 ms; the chemical shifts of these metabolites are the same."""
    published = basis.centred(basis_formats.load(shared / "data/basis/lcmodel_test_3t.basis"))
    names = ("Cr", "Ala", "Asp", "Gln", "Glu", "Lac", "Tau")
    simulated = sequences.simulate(
        sequences.Sequence("press", 0.030, te1=0.010),
        published.spectrometer_frequency,
        names,
        dwell_time=published.dwell_time,
        n_points=published.n_points,
    )
    stated = replace(published, linewidth=2.0)
    for name in names:
        assert remaining(stated, simulated, name, "Cr") < 1e-3, name
