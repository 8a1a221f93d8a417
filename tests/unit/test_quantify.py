"""Water scaling against closed forms and a simulated solution of known concentration."""

import numpy as np
import pytest

from mrsflow.axes import ppm_to_hz, time_axis
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import quantify

DWELL, N, MHZ = 0.25e-3, 2048, 123.25
TIME = time_axis(N, DWELL)


def singlet_basis(name="Cr", ppm=3.027, protons=3, width=2.0):
    fid = 0.7 * protons * np.exp((2j * np.pi * ppm_to_hz(ppm, MHZ) - np.pi * width) * TIME)
    return Basis((name,), fid[np.newaxis], DWELL, MHZ, 4.65)


def water_scan(amplitude, width=6.0, header=None):
    fid = amplitude * np.exp(-np.pi * width * TIME - (np.pi * 3 * TIME) ** 2 / (4 * np.log(2)) + 0.4j)
    keys = {"EchoTime": 0.03, "RepetitionTime": 2.0} if header is None else header
    return Scan(fid, (), DWELL, {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], **keys})


def test_constants_of_the_fitting_challenge():
    """Its description gives 29697 mM and 1.206."""
    constants = quantify.constants_at("challenge", MHZ)
    assert constants.water_mM(0.03, None) == pytest.approx(29697, rel=1e-3)
    assert constants.correction(0.03, None) == pytest.approx(1.206, abs=5e-4)


def test_constants_of_fsl_mrs():
    """Relaxation at 3 T and densities as its documentation lists them, in ms here, for a PRESS of 30 ms and 2 s.

    Only the tissue's part is ours: 55.51 mol of water in a kilogram, 60 % of it grey and 40 % white matter.
    """
    grey = 0.6 * 0.78 * np.exp(-30 / 88) * (1 - np.exp(-2000 / 1500))
    white = 0.4 * 0.65 * np.exp(-30 / 73) * (1 - np.exp(-2000 / 970))
    constants = quantify.constants_at("fsl", MHZ)
    assert constants.water_mM(0.03, 2.0) == pytest.approx(55_510 * (grey + white), rel=1e-9)
    assert 1 / constants.correction(0.03, 2.0) == pytest.approx(
        np.exp(-30 / 194) * (1 - np.exp(-2000 / 1290)), rel=1e-9
    )


@pytest.mark.parametrize(
    ("echo", "repetition", "t1", "t2", "expected"),
    [(0.03, 2.0, 1.0, 0.1, np.exp(-0.3) * (1 - np.exp(-2.0))), (0.1, None, 0.0, 0.1, np.exp(-1.0))],
)
def test_relaxation(echo, repetition, t1, t2, expected):
    assert quantify.relaxation(echo, repetition, t1, t2) == pytest.approx(expected)


def test_water_signal_extrapolates_to_time_zero():
    scan = water_scan(1234.0)
    assert quantify.water_signal(scan.fid, DWELL) == pytest.approx(1234.0, rel=1e-6)
    halved = scan.fid.copy()
    halved[0] /= 2
    assert quantify.water_signal(halved, DWELL) == pytest.approx(1234.0, rel=1e-6)


@pytest.mark.parametrize("name", ["Cr", "NAA"])
def test_signal_of_a_proton(name):
    ppm, protons = {"Cr": (3.027, 3), "NAA": (2.008, 3)}[name]  # Govindaraju et al. 2000
    assert quantify.proton_signal(singlet_basis(name, ppm, protons)) == pytest.approx(0.7, rel=1e-4)


def test_integral_of_a_singlet_lacks_its_feet():
    """A Lorentzian within 0.15 ppm of its middle, less the line between its feet; bins are a 38th of that range."""
    edge = 0.15 * MHZ / 1.0  # in half widths of the line of 2 Hz
    inside, floor = 2 / np.pi * np.arctan(edge), 2 * edge / np.pi / (1 + edge**2)
    assert quantify.proton_signal(singlet_basis(), "integral") == pytest.approx(0.7 * (inside - floor), rel=0.015)


def test_known_solution_comes_out_right():
    """10 mM of a metabolite in tissue whose water shows as the constants say."""
    constants = quantify.constants_at("fsl", MHZ)
    visible = constants.water_mM(0.03, 2.0)
    left = quantify.relaxation(0.03, 2.0, *constants.relaxation.of_metabolite("Cr"))
    scaling = quantify.scaling(water_scan(0.7 * 2 * visible), singlet_basis(), constants)
    assert scaling.molar(["Cr"])[0] * 10 * left == pytest.approx(10.0, rel=1e-3)


def test_missing_times_and_singlets_are_named():
    constants = quantify.constants_at("fsl", MHZ)
    with pytest.raises(InputError, match="EchoTime"):
        quantify.scaling(water_scan(1.0, header={}), singlet_basis(), constants)
    with pytest.raises(InputError, match="RepetitionTime"):
        quantify.scaling(water_scan(1.0, header={"EchoTime": 0.03}), singlet_basis(), constants)
    with pytest.raises(InputError, match="one of Cr"):
        quantify.scaling(water_scan(1.0), singlet_basis("Lac"), constants)
    with pytest.raises(InputError, match="zero or not finite"):
        quantify.water_signal(np.zeros(64), DWELL)


@pytest.mark.parametrize(("water_tr", "scan_tr"), [(10.0, 2.0), (2.0, 10.0)])
def test_water_and_metabolites_relax_with_times_of_their_own(water_tr, scan_tr):
    """10 mM again, the water measured at another TE and TR than the metabolites."""
    constants = quantify.constants_at("fsl", MHZ)
    left = quantify.relaxation(0.068, scan_tr, *constants.relaxation.of_metabolite("Cr"))
    water = water_scan(
        0.7 * 2 * constants.water_mM(0.03, water_tr), header={"EchoTime": 0.03, "RepetitionTime": water_tr}
    )
    scan = water_scan(1.0, header={"EchoTime": 0.068, "RepetitionTime": scan_tr})
    scaling = quantify.scaling(water, singlet_basis(), constants, scan)
    assert scaling.molar(["Cr"])[0] * 10 * left == pytest.approx(10.0, rel=1e-3)


def test_constants_know_their_field():
    """Relaxation times of FSL-MRS (its table of constants, doi:10.1002/mrm.28630) at 3 T and 7 T."""
    times = {123.25: (0.088, 0.073, 0.194), 127.7: (0.088, 0.073, 0.194), 297.2: (0.050, 0.055, 0.131)}
    for frequency, (grey, white, metabolite) in times.items():
        found = quantify.constants_at("fsl", frequency).relaxation
        assert (found.water_t2_s["GM"], found.water_t2_s["WM"], found.metabolite_t2_s) == (grey, white, metabolite)
    with pytest.raises(InputError, match=r"'fsl' hold at 3 and 7 T, and this scan is of 1\.5 T"):
        quantify.constants_at("fsl", 63.87)
    with pytest.raises(InputError, match="are not known; choose one of fsl, osprey, spant, challenge"):
        quantify.constants_at("none", 123.2)


TISSUE = {"GM": 0.6, "WM": 0.3, "CSF": 0.1}
SHARED_SETS = {  # section 6 of the standards the project follows: TE 30 ms, TR 2 s, this tissue, against the set fsl
    ("spant", "Glu"): 1.11,
    ("osprey", "Glu"): 1.18,
}


def near_2021(set_of, metabolite, fractions, water_times, own_times):
    """Molal and molar factors of Near 2021 (equations 4 and 6), written out for one metabolite, times in ms."""
    t1, t2, (m1, m2) = set_of
    mole = {k: fractions[k] * {"GM": 0.78, "WM": 0.65, "CSF": 0.97}[k] for k in fractions}
    attenuated = {k: np.exp(-water_times[0] / t2[k]) * (1 - np.exp(-water_times[1] / t1[k])) for k in fractions}
    own = np.exp(-own_times[0] / m2) * (1 - np.exp(-own_times[1] / m1))
    part = {k: mole[k] / sum(mole.values()) for k in mole}
    molal = 55_510 * sum(part[k] * attenuated[k] for k in part) / own / (1 - part["CSF"])
    molar = 55_510 * sum(mole[k] * attenuated[k] for k in mole) / own / (1 - fractions["CSF"])
    return molal, molar


@pytest.mark.parametrize(
    ("name", "mhz", "metabolite", "numbers"),
    [  # T1 and T2 (ms) of GM, WM, CSF, and of the metabolite, as the programs' own tables have them
        ("fsl", 123.25, "Glu", ((1500, 970, 4470), (88, 73, 2030), (1290, 194))),
        ("fsl", 297.2, "NAA", ((2050, 1210, 4430), (50, 55, 1050), (1430, 131))),
        ("spant", 63.87, "Cr", ((1304, 660, 2390), (93, 73, 230), (1153, 347))),
        ("spant", 123.25, "Ins", ((1331, 832, 3817), (110, 79.6, 503), (1317, 207))),
        ("spant", 297.2, "NAA", ((2132, 1220, 4425), (50, 55, 1050), (1583, 141))),
        ("osprey", 123.25, "Glu", ((1331, 832, 3817), (110, 79.2, 503), (1220, 126.25))),
        ("osprey", 123.25, "NAA", ((1331, 832, 3817), (110, 79.2, 503), (1410, 300.5))),
        ("osprey", 123.25, "MM09", ((1331, 832, 3817), (110, 79.2, 503), (1265, 154.5))),
    ],
)
@pytest.mark.parametrize("tissue", [TISSUE, {"GM": 0.2, "WM": 0.5, "CSF": 0.3}])
def test_amounts_are_those_of_the_equations(name, mhz, metabolite, numbers, tissue):
    """Water at another TE and TR than the metabolites; a second implementation in other units."""
    constants = quantify.constants_at(name, mhz)
    times = ((0.03, 10.0), (0.068, 2.0))
    scaling = quantify.Scaling(1.0, times, constants, tissue)
    t1, t2 = (dict(zip(("GM", "WM", "CSF"), values, strict=True)) for values in numbers[:2])
    molal, molar = near_2021((t1, t2, numbers[2]), metabolite, tissue, (30, 10_000), (68, 2000))
    assert scaling.molar([metabolite])[0] == pytest.approx(molar, rel=1e-9)
    assert scaling.molar([metabolite])[0] * scaling.molal == pytest.approx(molal, rel=1e-9)


@pytest.mark.parametrize(("name", "metabolite"), SHARED_SETS)
def test_sets_differ_as_published(name, metabolite):
    times = ((0.03, 2.0), (0.03, 2.0))
    by = [
        quantify.Scaling(1.0, times, quantify.constants_at(n, MHZ), TISSUE).molar([metabolite])[0]
        for n in (name, "fsl")
    ]
    assert by[0] / by[1] == pytest.approx(SHARED_SETS[name, metabolite], abs=0.005)


def test_csf_correction_takes_the_csf_out_of_the_volume():
    """Metabolites of a voxel that is 1/4 CSF, twice as concentrated in WM as the voxel's mean is not: 4/3 of it."""
    tissue = {"GM": 0.45, "WM": 0.3, "CSF": 0.25}
    times = ((0.03, 2.0), (0.03, 2.0))
    corrected, whole = (
        quantify.Scaling(1.0, times, quantify.constants_at("fsl", MHZ), tissue, csf_corrected=flag)
        for flag in (True, False)
    )
    assert corrected.molar(["Cr"])[0] / whole.molar(["Cr"])[0] == pytest.approx(4 / 3)
    assert whole.molal == pytest.approx(1 / (0.45 * 0.78 + 0.3 * 0.65 + 0.25 * 0.97))


@pytest.mark.parametrize("csf", [True, False])
def test_alpha_gives_what_pure_grey_matter_has(csf):
    """A voxel made of grey matter with 2 mM, white matter with 1 mM and CSF with none."""
    tissue, grey = {"GM": 0.5, "WM": 0.3, "CSF": 0.2}, 2.0
    held = grey * (0.5 + 0.5 * 0.3)  # mmol per litre of the voxel
    times = ((0.03, 2.0), (0.03, 2.0))
    scaling = quantify.Scaling(
        1.0, times, quantify.constants_at("fsl", MHZ), tissue, csf_corrected=csf, alpha={"GABA": 0.5}
    )
    molar = held / 0.8 if csf else held
    assert scaling.in_grey_matter("GABA") * molar == pytest.approx(grey)
    assert np.isnan(scaling.in_grey_matter("Glu"))


def test_alternatives_are_every_set_of_the_field_that_knows_the_tissue():
    times = ((0.03, 2.0), (0.03, 2.0))
    chosen = quantify.Scaling(1.0, times, quantify.constants_at("spant", MHZ), TISSUE)
    found = [(one.constants.name, one.csf_corrected) for one in chosen.alternatives()]
    assert found[:2] == [("spant", True), ("spant", False)]
    assert {name for name, _ in found} == {"spant", "fsl", "osprey"}
    seven = quantify.Scaling(1.0, times, quantify.constants_at("fsl", 297.2), TISSUE)
    assert {one.constants.name for one in seven.alternatives()} == {"fsl", "spant"}


def test_constants_without_csf_refuse_a_voxel_that_holds_some():
    with pytest.raises(InputError, match=r"constants 'challenge' know no water in CSF.* fsl, osprey, spant"):
        quantify.scaling(water_scan(1.0), singlet_basis(), quantify.constants_at("challenge", MHZ), fractions=TISSUE)


@pytest.mark.parametrize(("amount", "said"), [(2.9, True), (3.1, False), (29.0, False), (31.0, True), (-1.0, True)])
def test_amounts_that_tissue_cannot_hold_are_remarked_on(amount, said):
    assert bool(quantify.remark_on_amounts(amount)) is said
