"""Macromolecules: widths by field, unit of a basis set, added once, measured ones without what is not theirs."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import broad_lines, macromolecules, nulled, sequences, spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.basis_formats import write_basis
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan

MHZ, DWELL, POINTS = 123.25, 5e-4, 2048
PRESS = sequences.Sequence("press", 0.03, te1=0.011)
AT_3_AND_7_T = {0.92: (0.17, 43, 32), 1.40: (0.18, 38, 26), 2.98: (0.17, 38, 26)}
"""Lines that stand free (ppm): their width at 3 T (ppm), and two at 7 T (Hz), of the STEAM spectrum of the consensus'
collection, less its shim, and of spectra of Považan et al. as fitted at GitHub: HarrisBrainLab/MMSim."""


@pytest.fixture(scope="module")
def bare():
    return sequences.simulate(PRESS, MHZ, ("NAA", "Cr", "GPC", "Glu"), False, DWELL, POINTS)


def width_of(fid, dwell_time):
    """Full width at half maximum (Hz) of the real spectrum."""
    n = 1 << 17
    halved = fid.copy()
    halved[0] /= 2
    spectrum = np.fft.fft(halved, n).real
    return (spectrum > spectrum.max() / 2).sum() / (n * dwell_time)


@pytest.mark.parametrize("shift", AT_3_AND_7_T)
def test_widths_at_7_t_are_between_published_ones(shift):
    at_3_t, *published = AT_3_AND_7_T[shift]
    width = float(broad_lines.width_hz(at_3_t, 297.2))
    assert min(published) < width < 1.1 * max(published)
    middle = np.sqrt(np.prod(published))
    assert abs(np.log(width / middle)) < abs(np.log(at_3_t * 297.2 / middle))


@pytest.mark.parametrize("mhz", [63.9, MHZ, 297.2])
def test_lines_have_the_width_of_their_field(mhz):
    made = broad_lines.parametrised(mhz, 1.6e-4, 8192)
    line = spins.table()["broad"]["MM09"]["lines"][0]
    one = broad_lines.broad_fid([line], MHZ, DWELL, 8192)
    assert width_of(one, DWELL) == pytest.approx(line["width"] * MHZ, abs=0.1)
    total = sum(line["protons"] for line in spins.table()["broad"]["MM09"]["lines"])
    decay = np.abs(made.fids[made.names.index("MM09")])
    assert decay[0] == pytest.approx(total)
    if len(spins.table()["broad"]["MM09"]["lines"]) == 1:
        assert width_of(made.fids[0], 1.6e-4) == pytest.approx(broad_lines.width_hz(line["width"], mhz), abs=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("points", [1024, 4096])
def test_unit_of_a_basis_is_that_of_one_proton(scale, points):
    made = sequences.simulate(PRESS, MHZ, ("NAA", "Cr", "Glu"), False, DWELL, points, linewidth=2.0)
    assert macromolecules.unit(replace(made, fids=scale * made.fids)) == pytest.approx(scale, rel=0.02)


def test_a_basis_without_free_singlets_has_no_unit(bare):
    with pytest.raises(InputError, match="has none of Cr, PCr"):
        macromolecules.unit(replace(bare, names=("A", "B", "C", "D")))


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_parametrised_ones_come_in_the_unit_and_sampling_of_the_basis(bare, scale):
    expected = sequences.simulate(PRESS, MHZ, ("NAA", "Cr", "GPC", "Glu"), True, DWELL, POINTS)
    found = macromolecules.chosen(replace(bare, fids=scale * bare.fids), "default")
    assert found.names == expected.names
    np.testing.assert_allclose(found.fids, scale * expected.fids, rtol=0.02, atol=1e-9)
    np.testing.assert_array_equal(found.fids[:4], scale * bare.fids)


def test_a_basis_with_lipids_alone_gets_the_others(bare):
    made = broad_lines.parametrised(MHZ, DWELL, POINTS)
    lipid = made.fids[made.names.index("Lip13")]
    lipids = replace(bare, names=("NAA", "Cr", "GPC", "Lip13"), fids=np.array([*bare.fids[:3], 7 * lipid]))
    found = macromolecules.chosen(lipids, "default")
    assert found.names == (*lipids.names, *(name for name in made.names if name.startswith("MM")))
    np.testing.assert_array_equal(found.fids[found.names.index("Lip13")], 7 * lipid)


def test_a_basis_that_has_them_gets_no_more(bare):
    full = macromolecules.chosen(bare, "default")
    for wanted in ("default", "measured", "cohort"):
        with pytest.raises(InputError, match=r"already \(MM09, MM12"):
            macromolecules.chosen(full, wanted)
    assert macromolecules.chosen(full, None) is full
    assert macromolecules.chosen(full, "none").names == bare.names


def nulled_fid(shim_hz=6.0, noise=0.0, residual=(), phase=0.0, offset=0.0, seed=0):
    """Parametrised macromolecules as a scanner would have them, with residual singlets (ppm, amount)."""
    made = broad_lines.parametrised(MHZ, DWELL, POINTS)
    t = axes.time_axis(POINTS, DWELL)
    fid = made.fids[[name.startswith("MM") for name in made.names]].sum(axis=0)
    fid = fid + sum(amount * np.exp(2j * np.pi * (4.65 - ppm) * MHZ * t) for ppm, amount in residual)
    fid = fid * np.exp(-((np.pi * shim_hz * t) ** 2) / (4 * np.log(2)) + 1j * phase + 2j * np.pi * offset * t)
    rng = np.random.default_rng(seed)
    return fid + noise * (rng.normal(size=POINTS) + 1j * rng.normal(size=POINTS))


def total_of(fid):
    ppm = axes.ppm_axis(POINTS, DWELL, MHZ)
    return axes.to_spectrum(fid)[(ppm > 0.5) & (ppm < 4.2)]


@pytest.mark.parametrize(
    ("residual", "phase"),
    [((), 0.0), (((3.92, 1.5),), 1.0), (((3.92, 0.8), (3.027, -0.4), (2.008, -0.5)), -2.5)],
    ids=["none", "CH2", "inverted"],
)
def test_cleaned_spectrum_is_the_one_it_was_made_of(residual, phase):
    """Within 4 %; within 6 % where no residual metabolite shows the shim."""
    truth = total_of(nulled_fid(shim_hz=0.0))
    found = nulled.clean(nulled_fid(noise=0.05, residual=residual, phase=phase, offset=2.0), DWELL, MHZ)
    ours = total_of(found.fid(MHZ, DWELL, POINTS))
    factor = np.vdot(ours, truth).real / np.vdot(ours, ours).real
    assert np.linalg.norm(factor * ours - truth) < (0.04 if residual else 0.06) * np.linalg.norm(truth)
    names = {3.92: "Cr CH2", 3.027: "tCr CH3", 2.008: "tNAA"}
    for ppm, amount in residual:
        assert np.sign(found.residual[names[ppm]]) == np.sign(amount)
        assert names[ppm] in found.said
    assert residual or found.said == "no residual metabolites"


def test_metabolites_are_not_macromolecules(bare):
    t = axes.time_axis(POINTS, DWELL)
    fid = np.array([10, 8, 1.5, 9]) @ bare.fids * np.exp(-np.pi * 4 * t)
    with pytest.raises(InputError, match="is it metabolite-nulled"):
        nulled.clean(fid, DWELL, MHZ)


@pytest.mark.parametrize("kind", ["NIfTI-MRS", "BASIS"])
def test_measured_ones_of_a_file_are_as_large_as_the_parametrised(tmp_path, bare, kind):
    fid = 1e6 * nulled_fid(noise=0.05, residual=((3.92, 1.0),), phase=0.7)
    if kind == "NIfTI-MRS":
        path = tmp_path / "nulled.nii.gz"
        header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.02}
        nifti_mrs.write(Scan(fid, (), DWELL, header), path)
    else:
        path = tmp_path / "mac.BASIS"
        write_basis(Basis(("Mac",), fid[None], DWELL, MHZ, 4.65, echo_time=0.02), path)
    found = macromolecules.chosen(bare, str(path))
    assert found.names == (*bare.names, "Mac")
    ours, parametrised = total_of(found.fids[-1]), total_of(nulled_fid(shim_hz=0.0))
    assert np.linalg.norm(ours - parametrised) < 0.04 * np.linalg.norm(parametrised)
    assert "residual Cr CH2" in found.description
    assert "of TE 20 ms, another than the 30 ms" in found.description


def test_a_file_of_made_signals_is_taken_as_it_is(tmp_path, bare):
    made = broad_lines.parametrised(MHZ, DWELL, POINTS)
    write_basis(macromolecules.add(bare, made), tmp_path / "full.BASIS")
    found = macromolecules.chosen(bare, str(tmp_path / "full.BASIS"))
    assert found.names == (*bare.names, *(name for name in made.names if name.startswith("MM")))
    np.testing.assert_allclose(found.fids[4], made.fids[0], atol=0.06)


def test_a_file_without_macromolecules_is_refused(tmp_path, bare):
    write_basis(bare, tmp_path / "bare.BASIS")
    with pytest.raises(InputError, match=r"no signal of macromolecules.*NAA, Cr, GPC, Glu"):
        macromolecules.read(tmp_path / "bare.BASIS")


def test_one_spectrum_is_needed(tmp_path):
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "dim_5": "DIM_DYN"}
    nifti_mrs.write(Scan(np.ones((2, POINTS), complex), ("DIM_DYN",), DWELL, header), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match="holds 2 spectra"):
        macromolecules.read(tmp_path / "two.nii.gz")


def test_another_field_is_refused(bare):
    with pytest.raises(InputError, match=r"macromolecules of .*use a basis of this field"):
        macromolecules.add(bare, broad_lines.parametrised(297.2, 1e-4, 4096))


def test_sampling_is_brought_to_that_of_the_basis(bare):
    found = macromolecules.add(bare, broad_lines.parametrised(MHZ, 2e-4, 4096))
    expected = macromolecules.add(bare, broad_lines.parametrised(MHZ, DWELL, POINTS))
    np.testing.assert_allclose(found.fids, expected.fids, atol=0.02)
    assert basis_sets.centred(found).reference_ppm == 4.65
