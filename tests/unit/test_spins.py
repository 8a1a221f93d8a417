"""Simulated signals against closed forms, and against matrix exponentials made one time step at a time."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import scipy.linalg

from mrsflow.axes import ppm_to_hz, time_axis
from mrsflow.basis_sets import pulses, spins
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.basis_sets.sequences import Sequence, cached, line_fid, lines, simulate, singlet_amplitude
from mrsflow.basis_sets.spins import Fragment
from mrsflow.errors import InputError

MHZ = 123.25
DWELL, POINTS = 5e-4, 48
PRESS = Sequence("press", 0.030, te1=0.011)
STEAM = Sequence("steam", 0.020, mixing_time=0.013)
SLASER = Sequence("semi_laser", 0.028)


def coupled(shifts, couplings, **options):
    matrix = np.zeros((len(shifts), len(shifts)))
    for (i, j), hz in couplings.items():
        matrix[i, j] = matrix[j, i] = hz
    return Fragment(np.array(shifts, dtype=float), matrix, **options)


def fid_of(fragment, sequence, n_points=POINTS, mhz=MHZ):
    frequencies, amplitudes = lines(fragment, sequence, mhz)
    return line_fid(frequencies, amplitudes, DWELL, n_points) / singlet_amplitude(sequence, mhz)


# Closed forms: weak coupling, reached by a field at which couplings are a ten-thousandth of the shift differences.
FAR = 1e5  # MHz


@pytest.mark.parametrize("echo_time", [0.030, 0.0723, 0.144])
@pytest.mark.parametrize("name", ["press", "semi_laser"])
def test_weakly_coupled_doublets_evolve_with_the_cosine_of_the_coupling(name, echo_time):
    fragment = coupled([2.0, 4.0], {(0, 1): 7.0})
    t = time_axis(POINTS, DWELL)
    turns = sum(np.exp(2j * np.pi * ppm_to_hz(shift, FAR) * t) for shift in (2.0, 4.0))
    expected = turns * np.cos(np.pi * 7.0 * (echo_time + t))
    np.testing.assert_allclose(fid_of(fragment, Sequence(name, echo_time), mhz=FAR), expected, atol=2e-3)


@pytest.mark.parametrize(("periods", "sign"), [(1, -1), (2, 1)])
def test_lactate_methyl_is_inverted_at_one_period_and_upright_at_two(periods, sign):
    j = 6.933
    fragment = coupled([4.0974, 1.3142, 1.3142, 1.3142], {(0, i): j for i in (1, 2, 3)})
    t = time_axis(POINTS, DWELL)
    angle = np.pi * j * (periods / j + t)
    methyl = 3 * np.cos(angle) * np.exp(2j * np.pi * ppm_to_hz(1.3142, FAR) * t)
    methine = np.cos(angle) ** 3 * np.exp(2j * np.pi * ppm_to_hz(4.0974, FAR) * t)
    fid = fid_of(fragment, Sequence("press", periods / j), mhz=FAR)
    np.testing.assert_allclose(fid, methyl + methine, atol=5e-3)
    assert fid[0].real == pytest.approx(4 * sign, abs=5e-3)


def test_strongly_coupled_pair_gives_the_ab_quartet():
    """Line positions and intensities of the AB system: Levitt, Spin Dynamics; inner lines grow as 1 + J/D."""
    j, shift = 12.0, 20.0
    separation = np.hypot(shift, j)
    fragment = coupled([4.65 - 0.5 * shift / MHZ, 4.65 + 0.5 * shift / MHZ], {(0, 1): j})
    frequencies, amplitudes = lines(fragment, Sequence("press", 1e-9), MHZ)
    amplitudes = (amplitudes / singlet_amplitude(PRESS, MHZ)).real
    order = np.argsort(frequencies)
    outer, inner = (separation + j) / 2, (separation - j) / 2
    np.testing.assert_allclose(frequencies[order], [-outer, -inner, inner, outer], atol=1e-6)
    high, low = (1 + j / separation) / 2, (1 - j / separation) / 2
    np.testing.assert_allclose(amplitudes[order], [low, high, high, low], atol=1e-6)


def test_equivalent_protons_do_not_split():
    """Magnetic equivalence: any coupling among protons of one shift leaves a singlet."""
    fragment = coupled([3.0, 3.0, 3.0], {(0, 1): -14.0, (0, 2): -14.0, (1, 2): -14.0})
    expected = 3 * np.exp(2j * np.pi * ppm_to_hz(3.0, MHZ) * time_axis(POINTS, DWELL))
    np.testing.assert_allclose(fid_of(fragment, PRESS), expected, atol=1e-9)


def test_stimulated_echo_keeps_half_of_a_singlet():
    assert abs(singlet_amplitude(STEAM, MHZ)) == pytest.approx(0.5, abs=1e-12)
    for sequence in (PRESS, SLASER):
        assert abs(singlet_amplitude(sequence, MHZ)) == pytest.approx(1.0, abs=1e-12)


PROTONS = {
    "Ala": 4, "Asc": 4, "Asp": 3, "Cr": 5, "PCr": 5, "-CrCH2": -2, "GABA": 6, "Glc": 7, "Gln": 5, "Glu": 5, "Gly": 2,
    "GPC": 18, "GSH": 10, "Ins": 6, "Lac": 4, "NAA": 6, "NAAG": 11, "PCh": 13, "PE": 4, "sIns": 6, "Tau": 4,
}  # fmt: skip
"""Protons bound to carbon, from the chemical formulas."""


@pytest.mark.parametrize("name", ["press", "semi_laser", "steam"])
def test_without_time_between_pulses_every_proton_counts(name):
    basis = simulate(Sequence(name, 1e-9, mixing_time=1e-9 if name == "steam" else None), MHZ, linewidth=0.0)
    assert set(basis.names) == set(PROTONS)
    np.testing.assert_allclose(basis.fids[:, 0], [PROTONS[name] for name in basis.names], atol=1e-5)


def test_singlets_of_a_basis_are_damped_exponentials():
    basis = simulate(PRESS, MHZ, ("Cr",), n_points=256, dwell_time=DWELL, linewidth=2.0)
    t = time_axis(256, DWELL)
    expected = sum(n * np.exp(2j * np.pi * (4.65 - ppm) * MHZ * t) for n, ppm in ((3, 3.027), (2, 3.913)))
    np.testing.assert_allclose(basis.fids[0], expected * np.exp(-np.pi * 2.0 * t), atol=1e-9)


def test_lipid_line_has_its_width():
    basis = simulate(PRESS, MHZ, ("Cr",), macromolecules=True, n_points=8192)
    fid = basis.fids[basis.names.index("Lip09")]
    fid[0] /= 2
    spectrum = np.fft.fft(fid, 1 << 16).real
    width = (spectrum > spectrum.max() / 2).sum() / ((1 << 16) * basis.dwell_time)
    assert width == pytest.approx(0.14 * MHZ, abs=0.1)
    assert spectrum.argmax() / ((1 << 16) * basis.dwell_time) == pytest.approx((4.65 - 0.89) * MHZ, abs=0.1)


# A second implementation: every operator a full matrix, every step a matrix exponential, crushers as averages over
# phase twists instead of a filter on coherence orders.


class Naive:
    def __init__(self, offsets, couplings, partners=()):
        """`partners`: nuclei of spin 1/2 that pulses do not touch, as extra spins coupled by 2πJ I_z S_z alone."""
        self.n = len(offsets)
        pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]) / 2
        total = self.n + len(partners)

        def operator(i, k):
            return reduce(np.kron, [pauli[k] if j == i else np.eye(2) for j in range(total)])

        self.spin = [[operator(i, k) for k in range(3)] for i in range(total)]
        self.hamiltonian = sum(2 * np.pi * f * self.spin[i][2] for i, f in enumerate(offsets))
        for i in range(self.n):
            for j in range(i):
                for k in range(3):
                    self.hamiltonian = self.hamiltonian + 2 * np.pi * couplings[i][j] * (
                        self.spin[i][k] @ self.spin[j][k]
                    )
        for p, hz in enumerate(partners):
            for i in range(self.n):
                term = self.spin[i][2] @ self.spin[self.n + p][2]
                self.hamiltonian = self.hamiltonian + 2 * np.pi * hz[i] * term
        self.x, self.y, self.z = (sum(self.spin[i][k] for i in range(self.n)) for k in range(3))

    def delay(self, time):
        return scipy.linalg.expm(-1j * self.hamiltonian * time)

    def pulse(self, angle):
        return scipy.linalg.expm(-1j * angle * self.x)

    def twist(self, angle):
        return scipy.linalg.expm(-1j * angle * self.z)

    def signal(self, rho, n_points):
        step, found = self.delay(DWELL), []
        for _ in range(n_points):
            found.append(np.trace(rho @ (self.x + 1j * self.y)))
            rho = step @ rho @ step.conj().T
        return np.array(found) * 4 / len(rho)

    def run(self, *steps):
        rho = self.z
        for step in steps:
            rho = step @ rho @ step.conj().T
        return rho


def naive_press(system, te1, te2, n_points):
    rho = system.run(
        system.pulse(np.pi / 2), system.delay(te1 / 2), system.pulse(np.pi), system.delay((te1 + te2) / 2),
        system.pulse(np.pi), system.delay(te2 / 2),
    )  # fmt: skip
    return system.signal(rho, n_points) / -1j


def naive_steam(system, echo_time, mixing_time, n_points):
    """Crushers of equal area in both halves of the echo time, another one in the mixing time."""
    n = 2 * system.n + 1
    half, quarter = system.delay(echo_time / 2), system.pulse(np.pi / 2)
    rho = 0
    for echo in 2 * np.pi * np.arange(n) / n:
        for mixing in 2 * np.pi * np.arange(n) / n:
            rho = rho + system.run(
                quarter, system.twist(echo), half, quarter, system.twist(mixing), system.delay(mixing_time), quarter,
                system.twist(echo), half,
            )  # fmt: skip
    return system.signal(rho / n**2, n_points) / 0.5j


SYSTEMS = {
    "pair, strong": coupled([2.4, 2.5], {(0, 1): -15.0}),
    "Asp": spins.fragments("Asp")[0],
    "Tau": spins.fragments("Tau")[0],
    "Glu": spins.fragments("Glu")[0],
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_press_equals_matrix_exponentials(name):
    fragment = SYSTEMS[name]
    system = Naive(ppm_to_hz(fragment.shifts, MHZ), fragment.couplings)
    expected = naive_press(system, PRESS.te1, PRESS.echo_time - PRESS.te1, POINTS)
    np.testing.assert_allclose(fid_of(fragment, PRESS), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["pair, strong", "Asp", "Tau"])
def test_steam_equals_an_average_over_crusher_phases(name):
    fragment = SYSTEMS[name]
    system = Naive(ppm_to_hz(fragment.shifts, MHZ), fragment.couplings)
    expected = naive_steam(system, STEAM.echo_time, STEAM.mixing_time, POINTS)
    np.testing.assert_allclose(fid_of(fragment, STEAM), expected, atol=1e-7)


def test_semi_laser_equals_matrix_exponentials():
    fragment = SYSTEMS["Asp"]
    system = Naive(ppm_to_hz(fragment.shifts, MHZ), fragment.couplings)
    edge, between, flip = system.delay(0.028 / 8), system.delay(0.028 / 4), system.pulse(np.pi)
    rho = system.run(system.pulse(np.pi / 2), edge, flip, between, flip, between, flip, between, flip, edge)
    np.testing.assert_allclose(fid_of(fragment, SLASER), system.signal(rho, POINTS) / -1j, atol=1e-7)


def test_a_partner_nucleus_equals_an_extra_spin_without_pulses():
    phosphorus = np.array([6.3, 6.2, 0.0])
    fragment = coupled([4.28, 4.20, 3.64], {(0, 1): -14.9, (0, 2): 2.3, (1, 2): 7.2}, partners=((0.5, phosphorus),))
    system = Naive(ppm_to_hz(fragment.shifts, MHZ), fragment.couplings, [phosphorus])
    expected = naive_press(system, PRESS.te1, PRESS.echo_time - PRESS.te1, POINTS)
    np.testing.assert_allclose(fid_of(fragment, PRESS), expected, atol=1e-7)


def test_nitrogen_has_three_states():
    fragment = coupled([4.0], {}, partners=((1, np.array([2.7])),))
    frequencies, amplitudes = lines(fragment, Sequence("press", 1e-9), MHZ)
    centre = ppm_to_hz(4.0, MHZ)
    np.testing.assert_allclose(np.sort(frequencies), centre + np.array([-2.7, 0, 2.7]), atol=1e-9)
    np.testing.assert_allclose(np.abs(amplitudes), 1 / 3, atol=1e-9)


# Shaped pulses


def naive_shaped_press(fragment, pulse, sequence):
    """Every position of the two-dimensional grid on its own; crushers by four-step cycles of each pulse's phase."""
    mhz, carrier = MHZ, pulse.carrier_ppm
    system = Naive(ppm_to_hz(fragment.shifts, mhz, carrier), fragment.couplings)
    dt, wave = pulse.duration / 128, pulse.waveform()

    def propagator(offset, phase):
        u = np.eye(len(system.z))
        for value in wave * np.exp(1j * phase):
            rf = value.real * system.x + value.imag * system.y
            u = scipy.linalg.expm(-1j * (system.hamiltonian + 2 * np.pi * offset * system.z + rf) * dt) @ u
        return u

    cycle = np.arange(4) * np.pi / 2
    shaped = [[propagator(offset, phase) for phase in cycle] for offset in pulse.offsets()]
    te1, te2 = sequence.te1, sequence.echo_time - sequence.te1
    gaps = [te1 / 2 - pulse.duration / 2, (te1 + te2) / 2 - pulse.duration, te2 / 2 - pulse.duration / 2]
    before, between, after = (system.delay(gap) for gap in gaps)
    rho = 0
    for first in shaped:
        for second in shaped:
            for phase_1, u in zip(cycle, first, strict=True):
                for phase_2, v in zip(cycle, second, strict=True):
                    # receiver phase that keeps the pathway -1, +1, -1: each refocusing pulse changes the order by 2
                    receiver = np.exp(2j * phase_1 - 2j * phase_2)
                    rho = rho + receiver * system.run(system.pulse(np.pi / 2), before, u, between, v, after)
    fid = system.signal(rho / (16 * len(shaped) ** 2), POINTS)
    return fid * np.exp(2j * np.pi * ppm_to_hz(carrier, mhz) * time_axis(POINTS, DWELL))


def test_two_lines_of_positions_equal_the_whole_grid():
    pulse = Pulse("sinc", 0.004, 1500.0, positions=3)
    sequence = Sequence("press", 0.030, te1=0.011, refocusing=pulse)
    fragment = coupled([1.3, 4.1], {(0, 1): 7.0})
    frequencies, amplitudes = lines(fragment, sequence, MHZ)
    found = line_fid(frequencies, amplitudes, DWELL, POINTS)
    np.testing.assert_allclose(found, naive_shaped_press(fragment, pulse, sequence), atol=2e-4)


@pytest.mark.parametrize("pulse", [Pulse("sinc", 0.005, 1500.0), Pulse("hyperbolic_secant", 0.005, 5000.0)])
def test_bandwidth_is_the_width_of_the_refocused_slice(pulse):
    fine = replace(pulse, positions=801)
    refocused = np.abs(fine.propagators(np.zeros(1), np.zeros((1, 1)))[:, 0, 1]) ** 2
    position = fine.offsets() / pulse.bandwidth
    inside = np.abs(position[refocused > 0.5])
    assert inside.max() == pytest.approx(0.5, abs=0.03)
    assert refocused[np.abs(position) < 0.2].min() > 0.9


def test_a_very_short_pulse_at_one_place_equals_the_ideal_one():
    pulse = Pulse("sinc", 2e-5, 2e5, positions=1)
    shaped = simulate(Sequence("press", 0.03, te1=0.011, refocusing=pulse), MHZ, ("Asp",), n_points=256)
    ideal = simulate(PRESS, MHZ, ("Asp",), n_points=256)
    np.testing.assert_allclose(shaped.fids, ideal.fids, atol=1e-3)


@pytest.mark.parametrize("metabolite", ["Glu", "Lac"])
def test_parts_and_positions_of_a_pulse_are_fine_enough(metabolite, monkeypatch):
    """Couplings after every step of the pulse, and a line of positions four times as dense."""
    pulse = Pulse("sinc", 0.007, 1000.0)

    def fids(positions):
        sequence = Sequence("press", 0.035, te1=0.015, refocusing=replace(pulse, positions=positions))
        return simulate(sequence, MHZ, (metabolite,), n_points=1024).fids[0]

    usual = fids(pulse.positions)
    monkeypatch.setattr(pulses, "KNOTS", pulses.STEPS)
    exact = fids(4 * pulse.positions)
    assert np.linalg.norm(usual - exact) < 0.003 * np.linalg.norm(exact)


def test_an_unseen_proton_couples_and_is_not_detected():
    """As an extra proton whose line is far away: the doublet of the other one is left, and no more."""
    fragment = coupled([2.0, 4.0], {(0, 1): 7.0}, unseen=(1,))
    t = time_axis(POINTS, DWELL)
    expected = np.exp(2j * np.pi * ppm_to_hz(2.0, FAR) * t) * np.cos(np.pi * 7.0 * (0.03 + t))
    np.testing.assert_allclose(fid_of(fragment, Sequence("press", 0.03), mhz=FAR), expected, atol=2e-3)


def test_a_series_a_table_and_a_formula_of_one_pulse_are_the_same():
    """Hann's window by cosines, as samples, and the refocused share from the closed form at its carrier."""
    series = Pulse("fourier", 0.004, numbers=((0.5, 0.0), (0.5, 0.0)))
    place = (np.arange(400) + 0.5) / 400 - 0.5
    samples = Pulse("samples", 0.004, numbers=tuple((0.5 + 0.5 * np.cos(2 * np.pi * x), 0.0) for x in place))
    np.testing.assert_allclose(samples.waveform(), series.waveform(), rtol=1e-3, atol=2.0)
    for flip in (np.pi / 3, np.pi / 2, np.pi):
        height = replace(series, flip=flip).refocused([0.0])[0]
        assert height == pytest.approx(np.sin(flip / 2) ** 2, abs=1e-9)


def test_impossible_pulses_are_refused():
    with pytest.raises(InputError, match="cannot refocus 50 Hz"):
        Pulse("sinc", 0.002, 50.0).waveform()
    with pytest.raises(InputError, match="'hermite' is not known"):
        Pulse("hermite", 0.005, 1500.0).waveform()
    with pytest.raises(InputError, match="has no flip angle at its carrier; give the largest nutation frequency"):
        Pulse("samples", 0.005, numbers=((1.0, 0.0), (1.0, np.pi))).waveform()


def test_slice_moves_with_the_chemical_shift():
    pulse = Pulse("hyperbolic_secant", 0.006, 6000.0, carrier_ppm=4.65, positions=400)
    sequence = Sequence("semi_laser", 0.030, refocusing=pulse)
    single = [Fragment(np.array([4.65 - hz / MHZ]), np.zeros((1, 1))) for hz in (0.0, 600.0)]
    here, there = (abs(lines(fragment, sequence, MHZ)[1].sum()) for fragment in single)
    assert there == pytest.approx(here, rel=0.02)  # still inside the grid: the slice moved, it did not shrink


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        (Sequence("steam", 0.02), "mixing time"),
        (Sequence("laser", 0.02), "'laser'"),
        (Sequence("press", 0.02, te1=0.03), "no time between"),
        (Sequence("semi_laser", 0.02, refocusing=Pulse("sinc", 0.006, 2e3)), "no time between"),
    ],
)
def test_impossible_sequences_are_refused(sequence, words):
    with pytest.raises(InputError, match=words):
        simulate(sequence, MHZ, ("Cr",))


def test_unknown_metabolite_is_named():
    with pytest.raises(InputError, match="'Xyz'"):
        simulate(PRESS, MHZ, ("Xyz",))


def test_kept_basis_is_the_simulated_one(tmp_path):
    first = cached(tmp_path, PRESS, MHZ, metabolites=("Cr", "Asp"), n_points=64)
    second = cached(tmp_path, PRESS, MHZ, metabolites=("Cr", "Asp"), n_points=64)
    made = simulate(PRESS, MHZ, metabolites=("Cr", "Asp"), n_points=64)
    for basis in (first, second):
        np.testing.assert_array_equal(basis.fids, made.fids)
        assert (basis.names, basis.linewidth, basis.description) == (made.names, made.linewidth, made.description)
    assert len(list(tmp_path.iterdir())) == 1
    cached(tmp_path, STEAM, MHZ, metabolites=("Cr", "Asp"), n_points=64)
    assert len(list(tmp_path.iterdir())) == 2
