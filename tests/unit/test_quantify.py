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
    constants = quantify.CONSTANTS["challenge"][0]
    assert constants.water_mM(0.03, None) == pytest.approx(29697, rel=1e-3)
    assert constants.correction(0.03, None) == pytest.approx(1.206, abs=5e-4)


def test_constants_of_fsl_mrs():
    """Relaxation at 3 T and densities as its documentation lists them, in ms here, for a PRESS of 30 ms and 2 s.

    Only the tissue's part is ours: 55.51 mol of water in a kilogram, 60 % of it grey and 40 % white matter.
    """
    grey = 0.6 * 0.78 * np.exp(-30 / 88) * (1 - np.exp(-2000 / 1500))
    white = 0.4 * 0.65 * np.exp(-30 / 73) * (1 - np.exp(-2000 / 970))
    constants = quantify.CONSTANTS["fsl"][0]
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
    ppm, protons = quantify.SINGLET_PROTONS[name]
    assert quantify.proton_signal(singlet_basis(name, ppm, protons)) == pytest.approx(0.7, rel=1e-4)


def test_integral_of_a_singlet_lacks_its_feet():
    """A Lorentzian within 0.15 ppm of its middle, less the line between its feet; bins are a 38th of that range."""
    edge = 0.15 * MHZ / 1.0  # in half widths of the line of 2 Hz
    inside, floor = 2 / np.pi * np.arctan(edge), 2 * edge / np.pi / (1 + edge**2)
    assert quantify.proton_signal(singlet_basis(), "integral") == pytest.approx(0.7 * (inside - floor), rel=0.015)


def test_known_solution_comes_out_right():
    """10 mM of a metabolite in tissue whose water shows as the constants say."""
    constants = quantify.CONSTANTS["fsl"][0]
    visible = constants.water_mM(0.03, 2.0)
    left = quantify.relaxation(0.03, 2.0, constants.metabolite_t1_s, constants.metabolite_t2_s)
    scaling = quantify.scaling(water_scan(0.7 * 2 * visible), singlet_basis(), constants)
    assert scaling.factor * 10 * left == pytest.approx(10.0, rel=1e-3)


def test_missing_times_and_singlets_are_named():
    constants = quantify.CONSTANTS["fsl"][0]
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
    constants = quantify.CONSTANTS["fsl"][0]
    left = quantify.relaxation(0.068, scan_tr, constants.metabolite_t1_s, constants.metabolite_t2_s)
    water = water_scan(
        0.7 * 2 * constants.water_mM(0.03, water_tr), header={"EchoTime": 0.03, "RepetitionTime": water_tr}
    )
    scan = water_scan(1.0, header={"EchoTime": 0.068, "RepetitionTime": scan_tr})
    scaling = quantify.scaling(water, singlet_basis(), constants, scan)
    assert scaling.factor * 10 * left == pytest.approx(10.0, rel=1e-3)


def test_constants_know_their_field():
    """Relaxation times of FSL-MRS (its table of constants, doi:10.1002/mrm.28630) at 3 T and 7 T."""
    times = {123.25: (0.088, 0.073, 0.194), 127.7: (0.088, 0.073, 0.194), 297.2: (0.050, 0.055, 0.131)}
    for frequency, (grey, white, metabolite) in times.items():
        found = quantify.constants_at("fsl", frequency)
        assert (found.water_t2_s["GM"], found.water_t2_s["WM"], found.metabolite_t2_s) == (grey, white, metabolite)
    with pytest.raises(InputError, match=r"'fsl' hold at 3 and 7 T, and this scan is of 1\.5 T"):
        quantify.constants_at("fsl", 63.87)
    with pytest.raises(InputError, match="are not known; choose one of fsl, challenge"):
        quantify.constants_at("none", 123.2)


@pytest.mark.parametrize(("amount", "said"), [(2.9, True), (3.1, False), (29.0, False), (31.0, True), (-1.0, True)])
def test_amounts_that_tissue_cannot_hold_are_remarked_on(amount, said):
    assert bool(quantify.remark_on_amounts(amount)) is said
