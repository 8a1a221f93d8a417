"""The fit on small spectra whose truth is known, its parts against naive second implementations."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from mrsflow.axes import ppm_to_hz, shift_frequency, time_axis
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence, simulate
from mrsflow.errors import InputError
from mrsflow.fitting import amounts, fit, fit_quality, fit_solver, noise, nuisance, singlets, verdict
from mrsflow.fitting.dynamic import terms
from mrsflow.fitting.fit_model import Model

MHZ, DWELL, N = 123.25, 0.5e-3, 1024
TIME = time_axis(N, DWELL)
LINES = {
    "NAA": [(2.008, 3), (2.67, 1), (2.49, 1)],
    "Cr": [(3.027, 3), (3.913, 2)],
    "GPC": [(3.212, 9)],
    "Glu": [(2.34, 2), (2.10, 2), (3.74, 1)],
    "Gln": [(2.44, 2), (2.13, 2), (3.75, 1)],
    "Ins": [(3.52, 2), (3.61, 2), (3.27, 1), (4.05, 1)],
}
AMOUNTS = {"NAA": 10.0, "Cr": 8.0, "GPC": 1.5, "Glu": 9.0, "Gln": 3.0, "Ins": 6.0}
BROAD_LINES = [(0.91, 25, 6.0), (1.21, 25, 4.0), (1.4, 30, 4.0), (2.05, 28, 4.0), (3.0, 30, 2.0)]


def line(ppm, height, width=1.0, gauss=0.0):
    decay = np.exp(-np.pi * width * TIME - np.pi**2 / (4 * np.log(2)) * (gauss * TIME) ** 2)
    return height * np.exp(2j * np.pi * ppm_to_hz(ppm, MHZ) * TIME) * decay


def basis():
    fids = [sum(line(ppm, height) for ppm, height in lines) for lines in LINES.values()]
    fids.append(sum(line(ppm, height, gauss=width) for ppm, width, height in BROAD_LINES))
    return Basis((*LINES, "Mac"), np.array(fids), DWELL, MHZ, 4.65)


@pytest.fixture(scope="module")
def model():
    return Model(basis(), (0.5, 4.2))


def spectrum(model, amounts=AMOUNTS, noise=0.0, seed=0, width=4.0, own=0.0, baseline=0.0):
    """FID by the formula of the model, written out signal by signal; noise: SD over the height of the spectrum."""
    generator = np.random.default_rng(seed)
    fid = np.zeros(N, dtype=complex)
    for name, signal in zip(model.names, basis().fids, strict=True):
        extra, moved = own * generator.uniform(-1, 1), own * generator.uniform(-0.5, 0.5)
        decay = np.exp(-np.pi * (width + extra) * TIME - np.pi**2 / (4 * np.log(2)) * (3.0 * TIME) ** 2)
        fid += amounts.get(name, 8.0) * shift_frequency(signal * decay, 2.0 + moved, DWELL)
    heights = baseline * np.abs(np.fft.fft(fid)).max() * generator.normal(size=5)
    bumps = sum(line(ppm, 1.0, gauss=150.0) * height for ppm, height in zip(range(5), heights, strict=True))
    fid = (fid + bumps / np.abs(np.fft.fft(line(2.0, 1.0, gauss=150.0))).max()) * np.exp(0.3j)
    sd = noise * np.abs(np.fft.fft(fid)).max() / np.sqrt(N)
    return fid + sd * (generator.normal(size=N) + 1j * generator.normal(size=N))


def redrawn(fid, draws, noise=0.02):
    """Give the same signal with other noise."""
    generator = np.random.default_rng(9)
    sd = noise * np.abs(np.fft.fft(fid)).max() / np.sqrt(N)
    return [fid + sd * (generator.normal(size=N) + 1j * generator.normal(size=N)) for _ in range(draws)]


def test_noise_free_spectrum_gives_its_truth(model):
    result = fit.fit_session(spectrum(model, own=1.0), model)
    found = dict(zip(model.names, result.amplitudes[0], strict=True))
    for name, amount in AMOUNTS.items():
        assert found[name] == pytest.approx(amount, rel=2e-3)
    quality = result.quality[0]
    assert quality["shift_hz"] == pytest.approx(2.0, abs=0.6)  # shared with the own shifts, U(-0.5, 0.5)
    np.testing.assert_allclose(result.components.sum(axis=1) + result.baseline, result.fit)


def test_lines_skewed_by_eddy_currents_give_their_truth(model):
    """A frequency of 3 Hz that decays in 80 ms, which the time assumed by the model is not."""
    skew = np.exp(2j * np.pi * 3.0 * 0.08 * (1 - np.exp(-TIME / 0.08)))
    result = fit.fit_session(spectrum(model) * skew, model)
    found = dict(zip(model.names, result.amplitudes[0], strict=True))
    for name in ("NAA", "Cr", "GPC", "Glu"):
        assert found[name] / found["Cr"] == pytest.approx(AMOUNTS[name] / AMOUNTS["Cr"], rel=0.03)


def test_derivatives_equal_differences(model):
    generator = np.random.default_rng(1)
    theta = generator.normal(size=model.shape.size) * 0.3
    theta[:7] = [0.2, 0.1, 1.5, 4.0, 9.0, 0.7, -0.4]
    amplitudes = generator.uniform(1, 5, len(model.names))

    def turned(parameters):  # the model, phases applied to it instead of to the data
        return (amplitudes @ model.signals(parameters)) / model.phase_factor(parameters) * model.phase_factor(theta)

    jacobian = np.hstack(model.derivatives(amplitudes, model.shaped(theta), amplitudes @ model.signals(theta)))
    for k in range(model.shape.size):
        step = np.zeros(model.shape.size)
        step[k] = 1e-5
        numeric = nuisance.stacked((turned(theta + step) - turned(theta - step)) / 2e-5)
        np.testing.assert_allclose(jacobian[:, k], numeric, rtol=1e-6, atol=1e-6 * np.abs(jacobian).max())


@pytest.mark.parametrize(("width", "gauss"), [(4.0, 3.0), (0.5, 0.0), (10.0, 8.0)])
def test_signals_equal_a_naive_sum(model, width, gauss):
    """Of the whole FID, point by point; the decimated band differs by less than 2e-4 of the highest point."""
    theta = np.zeros(model.shape.size)
    theta[2:7] = [1.5, width, gauss**2, 0.7, -0.4]
    theta[model.shape.shifts] = 0.2
    skew = sum(hz * tau * (1 - np.exp(-TIME / tau)) for hz, tau in ((0.7, 0.04), (-0.4, 0.15)))
    shaped = np.exp(
        (2j * np.pi * 1.7 - np.pi * width) * TIME + 2j * np.pi * skew - nuisance.GAUSS * (gauss * TIME) ** 2
    )
    naive = [
        [np.sum(fid * shaped * np.exp(-2j * np.pi * k * np.arange(N) / N)) for k in model.points[::40]]
        for fid in model.fids
    ]
    np.testing.assert_allclose(model.signals(theta)[:, ::40], naive, atol=2e-4 * np.abs(naive).max())


@pytest.mark.slow
def test_errors_are_as_large_as_reported(model):
    z = []
    for seed in range(24):
        result = fit.fit_session(spectrum(model, noise=0.02, seed=seed, own=1.0, baseline=0.02), model)
        sd = np.sqrt(np.diag(result.covariance[0]))
        z.append([(result.amplitudes[0][k] - AMOUNTS[name]) / sd[k] for k, name in enumerate(LINES)])
    rms = np.sqrt(np.mean(np.square(z)))
    assert 0.75 < rms < 1.2  # 144 values: SE about 0.06


@pytest.mark.slow
def test_no_shrinkage_of_a_weak_metabolite(model):
    low, high = [
        np.mean(
            [
                fit.fit_session(spectrum(model, AMOUNTS | {"Gln": amount}, 0.02, seed, 1.0), model).amplitudes[0][4]
                for seed in range(8)
            ]
        )
        for amount in (0.5, 1.5)
    ]
    assert high - low == pytest.approx(1.0, abs=0.06)
    assert low == pytest.approx(0.5, abs=0.5)  # unbiased: SD about 0.4 a spectrum


def test_narrower_lines_do_not_pass_for_glutamate(model):
    pair = np.array([spectrum(model, width=4.0), spectrum(model, width=3.7)])
    glutamate = fit.fit_session(pair, model).amplitudes[:, 3]
    assert glutamate[1] / glutamate[0] == pytest.approx(1.0, abs=2e-3)


def test_blocks_of_a_session_share_what_they_have_in_common(model):
    blocks = np.array([spectrum(model, AMOUNTS | {"Glu": 9 + k}, 0.02, 40, 1.0) for k in range(3)])
    generator = np.random.default_rng(3)
    blocks = blocks + (generator.normal(size=blocks.shape) + 1j * generator.normal(size=blocks.shape)) * 1.0
    together = fit.fit_session(blocks, model)
    assert together.amplitudes.shape == (3, 7)
    alone = fit.fit_session(blocks[0], model)
    difference = np.zeros(21)
    difference[[3, 17]] = -1, 1
    change_sd = np.sqrt(difference @ together.joint_covariance @ difference)
    assert change_sd < np.sqrt(2 * alone.covariance[0][3, 3])
    assert together.amplitudes[2, 3] - together.amplitudes[0, 3] == pytest.approx(2.0, abs=3 * change_sd)


def test_dynamic_fit_finds_a_step_and_keeps_the_rest(model):
    course = np.array([0.0, 0.0, 1.0, 1.0])
    blocks = np.array([spectrum(model, AMOUNTS | {"Glu": 9 + 0.9 * x}) for x in course])
    design = terms(model.names, {"step": course}, 4, constant=("NAA", "Cr"))
    result = fit.fit_session(blocks, model, design)
    found = dict(zip(result.terms, result.coefficients, strict=True))
    assert found["Glu", "step"] == pytest.approx(0.9, abs=0.01)
    assert found["Gln", "step"] == pytest.approx(0.0, abs=0.01)
    assert ("NAA", "step") not in found
    np.testing.assert_allclose(result.amplitudes[:, 0], result.amplitudes[0, 0], rtol=1e-12)


def test_dynamic_fit_goes_on_without_a_block_that_a_free_metabolite_has_a_term_for(model):
    course = np.array([0.0, 0.0, 1.0, 1.0])
    blocks = np.array([spectrum(model, AMOUNTS | {"Glu": 9 + 0.9 * x}, 0.002, k) for k, x in enumerate(course)])
    blocks[1] = np.nan
    result = fit.fit_session(blocks, model, terms(model.names, {"step": course}, 4, ("NAA",), ("Gln",)))
    found = dict(zip(result.terms, result.coefficients, strict=True))
    assert ("Gln", "block 1") not in found
    assert found["Gln", "block 2"] == pytest.approx(AMOUNTS["Gln"], rel=0.1)
    assert found["Glu", "step"] == pytest.approx(0.9, abs=0.1)
    assert [bool(problem) for problem in result.problems] == [False, True, False, False]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda fid: np.where(np.arange(N) == 7, np.nan, fid), "NaN"),
        (lambda fid: 0 * fid, "zero everywhere"),
        (lambda fid: np.conj(fid), "wrong way"),
        (lambda fid: fid[:100], "has 100 points"),
        (lambda fid: np.random.default_rng(0).normal(size=N) + 0j, "tNAA|noise|wrong way"),
    ],
)
def test_what_is_no_spectrum_is_refused(model, spoil, reason):
    with pytest.raises(fit.FitError, match=reason):
        fit.fit_session(spoil(spectrum(model, noise=0.01)), model)


def test_a_bad_block_leaves_the_others(model):
    blocks = np.array([spectrum(model, noise=0.01), np.full(N, np.nan), spectrum(model, noise=0.01, seed=1)])
    result = fit.fit_session(blocks, model)
    assert [bool(problem) for problem in result.problems] == [False, True, False]
    assert np.isnan(result.amplitudes[1]).all()
    assert np.isnan(result.covariance[1]).all()
    np.testing.assert_allclose(result.amplitudes[[0, 2], 1], 8.0, rtol=0.1)


@pytest.mark.parametrize("name", ["NAA", "Cr"])
def test_a_negative_singlet_fails_the_fit(model, name):
    """Which of them comes out negative depends on the phase that the fit finds."""
    with pytest.raises(fit.FitError, match=r"t(NAA|Cr) is -.*not positive"):
        fit.fit_session(spectrum(model, AMOUNTS | {name: -2.0}), model)


def test_a_solution_of_naa_alone_is_no_failure(model):
    amounts = dict.fromkeys(AMOUNTS, 0.0) | {"NAA": 10.0, "Mac": 0.0}
    found = fit.fit_session(spectrum(model, amounts, noise=0.002), model)
    assert found.amplitudes[0, 0] == pytest.approx(10.0, rel=0.05)


def one_block(model, fid, soft=None, prior_weight=1.0):
    """Session of one spectrum and the place where its fit starts."""
    sd = fit.noise_sd(fid, model)
    session = fit_solver.Session(
        model, model.spectrum(fid)[np.newaxis] / sd, np.ones(1), sd, amounts=soft, prior_weight=prior_weight
    )
    start, n = fit.recognised_start(fid, model), model.shape.n_common
    local, shared = np.zeros((1, session.n_local)), np.zeros(session.n_shared)
    local[0, session.common], shared[session.own] = start[:n], start[n:]
    return session, local, shared


def test_covariance_counts_noise_and_what_tight_priors_hold_back(model):
    """Covariance of the errors of a cautious linear estimate over drawn truths and noise, against the one reported."""
    n = len(model.names)
    soft = amounts.Amounts(np.full(n, 3.0), np.diag(np.linspace(0.5, 2.0, n)), np.zeros(n))
    session, local, shared = one_block(model, spectrum(model, noise=0.02, own=1.0), soft, prior_weight=4.0)
    state, _ = fit_solver.maximise(session, local, shared, 20, evidence=10)
    data, prior = fit_solver.normal_equations(session, state), session.prior()
    gram = np.block([[data.local[0], data.mixed[0]], [data.mixed[0].T, data.shared]])
    precision = np.block([[prior.local, prior.mixed], [prior.mixed.T, prior.shared]])
    by_mean = np.concatenate([prior.local_right, prior.shared_right])
    known = np.diag(precision) > 0
    np.testing.assert_array_equal(precision, np.diag(np.diag(precision)))
    generator = np.random.default_rng(8)
    spread = np.where(known, 1 / np.sqrt(np.where(known, np.diag(precision), 1)), 0)
    mean = np.where(known, by_mean * spread**2, 0)
    truth = mean + np.sqrt(fit_solver.COUNTED) * spread * generator.normal(size=(20_000, by_mean.size))
    drawn = generator.normal(size=truth.shape) @ np.linalg.cholesky(gram + 1e-12 * np.diag(np.diag(gram))).T
    errors = np.linalg.solve(gram + 4 * precision, (truth @ gram + drawn + 4 * by_mean).T).T - truth
    reported, _ = fit_solver.amplitude_covariance(session, data, prior)
    np.testing.assert_allclose(errors[:, :n].std(axis=0), np.sqrt(np.diag(reported)), rtol=0.03)  # SE 0.5 %


def blocks_of(model, n_blocks=3):
    """Session of blocks and a point near its solution."""
    fids = np.array([spectrum(model, noise=0.02, seed=k, own=0.5) for k in range(n_blocks)])
    sd = fit.noise_sd(fids[0], model)
    session = fit_solver.Session(model, model.spectrum(fids) / sd, np.linspace(0.7, 1.3, n_blocks), sd)
    local, shared = np.zeros((n_blocks, session.n_local)), np.zeros(session.n_shared)
    local[:, session.common] = fit.recognised_start(fids[0], model)[: model.shape.n_common]
    shared[session.means] = local[0, session.common]
    return session, fit_solver.maximise(session, local, shared, 4, evidence=3)[0]


def dense(normal):
    """Block-arrow matrix and right side written out."""
    n_b, n_u, n_g = normal.mixed.shape
    matrix, right = np.zeros((n_b * n_u + n_g,) * 2), np.concatenate([normal.local_right.ravel(), normal.shared_right])
    matrix[n_b * n_u :, n_b * n_u :] = normal.shared
    for block in range(n_b):
        own = slice(block * n_u, (block + 1) * n_u)
        matrix[own, own], matrix[own, n_b * n_u :] = normal.local[block], normal.mixed[block]
        matrix[n_b * n_u :, own] = normal.mixed[block].T
    return matrix, right


def test_elimination_of_blocks_equals_the_whole_system(model):
    session, state = blocks_of(model)
    normal = fit_solver.with_prior(
        session.prior_weight, fit_solver.normal_equations(session, state), session.prior(), state
    )
    matrix, right = dense(normal)
    factor = fit_solver.Factor(normal)
    local, shared = factor.solve(normal.local_right, normal.shared_right)
    expected = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(
        np.concatenate([local.ravel(), shared]), expected, rtol=1e-4, atol=1e-7 * np.ptp(expected)
    )
    inverse, n = fit_solver.inverse(matrix), local.size
    of_blocks, _, of_shared = factor.covariance()
    np.testing.assert_allclose(of_shared, inverse[n:, n:], rtol=1e-3, atol=1e-5 * np.abs(inverse[n:, n:]).max())
    for block, own in enumerate(of_blocks):
        at = slice(block * session.n_local, (block + 1) * session.n_local)
        np.testing.assert_allclose(np.diag(own), np.diag(inverse[at, at]), rtol=1e-3)
    joint, _ = fit_solver.amplitude_covariance(session, fit_solver.normal_equations(session, state), session.prior())
    m, at = len(model.names), np.arange(len(model.names))
    indices = np.concatenate([at + block * session.n_local for block in range(3)])
    expected = inverse[np.ix_(indices, indices)]
    np.testing.assert_allclose(
        joint, expected, atol=1e-4 * np.sqrt(np.outer(np.diag(expected), np.diag(expected))).max()
    )
    assert joint.shape == (3 * m, 3 * m)


def test_gradient_of_the_posterior_equals_differences(model):
    """Right sides of a step from finite differences of what is maximised, local and shared."""
    session, state = blocks_of(model, 2)
    prior = session.prior()
    normal = fit_solver.with_prior(session.prior_weight, fit_solver.normal_equations(session, state), prior, state)
    m, common = len(model.names), session.common.start
    local_places = [(0, 0), (1, m - 1), (1, common + model.shape.shift), (0, common + model.shape.lorentz)]
    local_places += [(0, common + model.shape.eddy)]
    shared_places = [session.own.start + 1, session.own.start + m + 2, session.nuisance.start, session.means.start + 3]

    def objective(local, shared):
        return fit_solver.evaluate(session, local, shared, prior).objective

    for block, k in local_places:
        step = np.zeros_like(state.local)
        step[block, k] = 1e-5 * max(1, abs(state.local[block, k]))
        both = [objective(state.local + sign * step, state.shared) for sign in (1, -1)]
        slope = (both[0] - both[1]) / (2 * step[block, k])
        scale = np.sqrt(normal.local[block, k, k])
        assert -slope == pytest.approx(normal.local_right[block, k], abs=2e-3 * scale)
    for k in shared_places:
        step = np.zeros_like(state.shared)
        step[k] = 1e-5 * max(1, abs(state.shared[k]))
        both = [objective(state.local, state.shared + sign * step) for sign in (1, -1)]
        slope = (both[0] - both[1]) / (2 * step[k])
        assert -slope == pytest.approx(normal.shared_right[k], abs=2e-3 * np.sqrt(normal.shared[k, k]))


def test_macromolecules_and_lipids_alone_are_broad():
    for frequency in (123.25, 298.0):
        made = simulate(Sequence("press", 0.03), frequency, macromolecules=True)
        model = Model(made, (0.5, 4.2))
        found = {name for name, broad in zip(model.names, model.broad, strict=True) if broad}
        assert found == {*amounts.MACROMOLECULES, "Lip09", "Lip13", "Lip20"}


@pytest.mark.parametrize(("n_points", "linewidth"), [(2048, 5.0), (128, 1.0)])
def test_metabolites_are_not_broad_in_a_wide_basis_or_a_short_one(n_points, linewidth):
    """Singlets of 5 Hz, and FIDs of 32 ms that end before a broad signal differs from others."""
    names = ("NAA", "Cr", "Glu", "Ins", "Tau", "Glc")
    made = simulate(Sequence("press", 0.03), MHZ, names, True, n_points=n_points, linewidth=linewidth)
    model = Model(made, (-3.0, 12.0) if n_points == 128 else (0.5, 4.2))
    found = {name for name, broad in zip(model.names, model.broad, strict=True) if broad}
    assert found <= {*amounts.MACROMOLECULES, "Lip09", "Lip13", "Lip20"}


def test_broad_signals_share_a_shift():
    """Prior of the shifts against the inverse of their covariance, and of all else against 1 over variance."""
    model = Model(simulate(Sequence("press", 0.03), MHZ, ("NAA", "Cr"), True, DWELL, N), (0.5, 4.2))
    n, broad = len(model.names), model.broad
    covariance = np.diag(np.where(broad, (0.01 * MHZ) ** 2, 0.29**2)) + np.outer(broad, broad) * (0.04 * MHZ) ** 2
    expected = np.diag(np.concatenate([1 / np.where(broad, 3.0, 0.42) ** 2, np.zeros(n)]))
    expected[n:, n:] = np.linalg.inv(covariance)
    np.testing.assert_allclose(model.own_precision(), expected, rtol=1e-9, atol=1e-9)
    assert n == broad.sum() + 2


def test_soft_constraints_are_those_named():
    """Of two blocks with a time course: sums over metabolites, macromolecules and lipids, written out."""
    metabolites = ("NAA", "Cr", "GPC", "Glu", "Tau", "Asp")
    made = simulate(Sequence("press", 0.03), MHZ, metabolites, True, DWELL, N)
    model = Model(made, (0.5, 4.2))
    m, course = len(model.names), terms(model.names, {"course": [0.0, 1.0]}, 2, ("Cr",), ("Tau",))
    fid = np.array([model.fids.sum(axis=0)] * 2) * np.exp(-np.pi * 4 * TIME)
    given = np.linspace(4.0, 12.0, m)
    soft = amounts.usual(given, model)
    session = fit_solver.Session(model, model.spectrum(fid), np.ones(2), 1.0, course.matrix, soft)
    plain = fit_solver.Session(model, model.spectrum(fid), np.ones(2), 1.0, course.matrix)
    with_soft, without = session.prior(), plain.prior()
    at = session.coefficients
    precision = with_soft.shared[at, at] - without.shared[at, at]
    by_mean = with_soft.shared_right[at] - without.shared_right[at]
    usual = dict(zip(model.names, given, strict=True))
    amount = np.mean([usual[name] for name in amounts.MACROMOLECULES])
    total = usual["NAA"] + usual["Cr"] + 3 * usual["GPC"]
    k = len(amounts.MACROMOLECULES)
    unchanging = amount**2 * (0.01**2 * np.eye(k) + 0.03**2)  # covariance of the macromolecules about their mean
    parts = total * np.array([0.27, 1.0, 0.15])
    lipids_unchanging = 0.003**2 * np.diag(parts**2) + 0.01**2 * np.outer(parts, parts)

    def naive(coefficients):
        found, blocks = 0.0, (course.matrix @ coefficients).reshape(2, m)
        apart = blocks[:, [model.names.index(name) for name in amounts.MACROMOLECULES]]
        for one in apart - apart.mean(axis=0):
            found += one @ np.linalg.solve(unchanging, one)
        lipids = blocks[:, [model.names.index(name) for name in ("Lip09", "Lip13", "Lip20")]]
        for one in lipids - lipids.mean(axis=0):
            found += one @ np.linalg.solve(lipids_unchanging, one)
        for name, part in (("Tau", 0.06), ("Asp", 0.05)):
            apart = blocks[:, model.names.index(name)]
            found += np.sum(((apart - apart.mean()) / (0.2 * part * total)) ** 2)
        for block in blocks:
            amplitude = dict(zip(model.names, block, strict=True))
            for name, part in (("Tau", 0.06), ("Asp", 0.05)):
                found += ((amplitude[name] - part * total) / (part * total)) ** 2
            alike = [amplitude[name] for name in amounts.MACROMOLECULES]
            expected = 0.28 * total
            found += sum(((one - np.mean(alike)) / (0.2 * expected)) ** 2 for one in alike)
            found += ((np.mean(alike) - expected) / (0.3 * expected)) ** 2
            for name, part, spread in (("Lip09", 0.27, 0.02), ("Lip20", 0.15, 0.01)):
                found += ((amplitude[name] - part * amplitude["Lip13"]) / (spread * total)) ** 2
        return found

    generator = np.random.default_rng(4)
    at_zero = naive(np.zeros(course.matrix.shape[1]))
    for _ in range(3):
        z = generator.normal(size=course.matrix.shape[1])
        assert z @ precision @ z - 2 * by_mean @ z + at_zero == pytest.approx(naive(z))


@pytest.mark.slow
def test_a_spectrum_alone_scatters_less_than_its_priors_leave(model, monkeypatch):
    """Noise draws of one spectrum: tighter priors lower the scatter of Glx, and keeps what shape adds within the SD."""
    found = {}
    for weight in (1.0, fit.PRIOR_WEIGHT):
        monkeypatch.setattr(fit, "PRIOR_WEIGHT", weight)
        results = [fit.fit_session(noisy, model) for noisy in redrawn(spectrum(model, own=1.0, baseline=0.02), 24)]
        glx = np.array([result.amplitudes[0][[3, 4]].sum() for result in results])
        sd = np.sqrt(results[0].covariance[0][3:5, 3:5].sum())
        found[weight] = glx.std(ddof=1)
        assert abs(glx.mean() - AMOUNTS["Glu"] - AMOUNTS["Gln"]) < 3 * sd
        assert found[weight] < sd
    assert found[fit.PRIOR_WEIGHT] < 0.95 * found[1.0]


@pytest.mark.parametrize(("ppm", "reason"), [((6.0, 9.0), "no metabolite"), ((2.0, 2.1), "widen the range")])
def test_a_range_without_signal_is_refused(ppm, reason):
    with pytest.raises(InputError, match=reason):
        Model(basis(), ppm)


def test_one_point_is_refused():
    one = basis()
    with pytest.raises(InputError, match="have 1 points"):
        Model(replace(one, fids=one.fids[:, :1]), (0.5, 4.2))


def test_random_starts_end_in_one_place(model):
    fid = spectrum(model, noise=0.02, own=1.0)
    generator = np.random.default_rng(2)
    reference = fit.fit_session(fid, model).amplitudes[0]
    for _ in range(4):
        again = fit.fit_session(fid, model, start=fit.random_start(fid, model, generator)).amplitudes[0]
        np.testing.assert_allclose(again[[1, 3]], reference[[1, 3]], rtol=0.01)


def test_a_step_onto_a_bound_is_the_best_within_the_bounds(model):
    """Where the free step would make macromolecules and a width negative: the conditions of Karush, Kuhn and Tucker."""
    session, state = blocks_of(model, 2)
    normal = fit_solver.with_prior(
        session.prior_weight, fit_solver.normal_equations(session, state), session.prior(), state
    )
    matrix, n = dense(normal)[0], state.local.size
    wanted = 0.05 * np.random.default_rng(3).normal(size=len(matrix)) / np.sqrt(np.diag(matrix))
    indices = [(0, len(model.names) - 1), (1, session.common.start + model.shape.lorentz)]
    for block, k in indices:
        wanted[block * session.n_local + k] = -1.5 * state.local[block, k]
    right = matrix @ wanted
    normal = replace(normal, local_right=right[:n].reshape(state.local.shape), shared_right=right[n:])
    frozen = np.zeros(session.n_local, dtype=bool), np.zeros(session.n_shared, dtype=bool)
    found = fit_solver.step_within_bounds(session, state, normal, *frozen)
    step = np.concatenate([(found.local - state.local).ravel(), found.shared - state.shared])
    gradient = (matrix @ step - right) / np.sqrt(np.diag(matrix))
    low = np.concatenate([np.tile(session.low, 2), session.shared_low])
    at_bound = np.concatenate([found.local.ravel(), found.shared]) == low
    assert all(found.local[block, k] == 0 for block, k in indices)
    assert np.all(gradient[at_bound] > 0)  # the step would gain by going further, which the bounds forbid
    assert np.abs(gradient[~at_bound]).max() < 1e-6 * np.abs(right / np.sqrt(np.diag(matrix))).max()


def test_same_input_same_bytes(model):
    fid = spectrum(model, noise=0.02)
    first, second = (fit.fit_session(fid, model) for _ in range(2))
    assert first.amplitudes.tobytes() == second.amplitudes.tobytes()
    assert first.joint_covariance.tobytes() == second.joint_covariance.tobytes()


def test_reference_signal_leaves_and_nothing_else_does():
    signal = basis().fids[1]
    reference = line(0.0, 0.1, width=2.0)
    np.testing.assert_allclose(singlets.without_reference(signal + reference, DWELL, MHZ), signal, atol=1e-3)
    np.testing.assert_allclose(singlets.without_reference(signal, DWELL, MHZ), signal, atol=1e-3)


def halved(fids):
    return np.concatenate([fids[..., :1] / 2, fids[..., 1:]], axis=-1)


@pytest.mark.parametrize("basis_too", [False, True])
def test_first_point_is_made_as_that_of_the_basis(model, basis_too):
    """Whichever of them is halved: an offset between them would appear in the baseline."""
    own = Model(replace(basis(), fids=halved(basis().fids)), (0.5, 4.2)) if basis_too else model
    result = fit.fit_session(halved(spectrum(model)), own)
    assert np.abs(result.baseline).max() < 1e-3 * result.data.max()
    assert result.amplitudes[0, 0] == pytest.approx(AMOUNTS["NAA"], rel=2e-3)


def test_noise_sd_of_white_noise(model):
    generator = np.random.default_rng(4)
    noise = generator.normal(size=N) + 1j * generator.normal(size=N)
    assert fit.noise_sd(spectrum(model) + noise, model) == pytest.approx(np.sqrt(N), rel=0.1)


@pytest.mark.parametrize("width", [5.0, 7.5])
def test_linewidth_of_a_lorentzian(model, width):
    assert fit_quality.linewidth(line(2.0, 1.0, width), model) == pytest.approx(width, rel=0.02, abs=0.05)


def test_whiteness_tells_white_from_smooth():
    generator = np.random.default_rng(5)
    white = np.array([fit_quality.whiteness(generator.normal(size=(2, 200))) for _ in range(200)])
    assert 0.02 < np.mean(white < 0.1) < 0.2
    smooth = np.convolve(generator.normal(size=400), np.ones(4), "valid").reshape(1, -1)
    assert fit_quality.whiteness(smooth) < 1e-6


def test_inverse_of_badly_scaled_matrix():
    generator = np.random.default_rng(6)
    root = generator.normal(size=(6, 6)) * 10.0 ** np.arange(-3, 3)
    matrix = root.T @ root
    np.testing.assert_allclose(fit_solver.inverse(matrix) @ matrix, np.eye(6), atol=1e-6)


def test_baseline_is_smooth_and_causal(model):
    """A causal Gaussian bump has Dawson's integral as its imaginary part."""
    shift = np.fft.fftfreq(N, DWELL) / MHZ
    points = np.flatnonzero(np.abs(shift) < 2)
    bumps, centres = nuisance._smooth(shift, points, 0.8)
    assert centres[4] == pytest.approx(shift[points].min() - 1.6 + 4 * 0.8)
    centre, width = shift[points].min() - 1.6 + 4 * 0.8, 0.8 / np.sqrt(2)
    x = (shift[points] - centre) / width / np.sqrt(2)
    np.testing.assert_allclose(bumps[:, 4].real, np.exp(-(x**2)), atol=5e-3)
    np.testing.assert_allclose(
        bumps[:, 4].imag, -2 / np.sqrt(np.pi) * special.dawsn(x), atol=0.015
    )  # a sampled FID's spectrum is periodic


@pytest.mark.parametrize("change", ["narrower", "wider", "skewed"])
def test_a_change_of_line_shape_does_not_pass_for_glutamate(model, change):
    """Gaussian width and skew vary over the blocks, amounts do not."""
    course = np.array([0.0, 0.5, 1.0])
    gauss = {"narrower": -1.0, "wider": 1.0, "skewed": 0.0}[change] * course
    blocks = []
    for k, extra in zip(range(3), gauss, strict=True):
        factor = np.exp(-(np.pi**2) / (4 * np.log(2)) * ((3 + extra) ** 2 - 9) * TIME**2)
        if change == "skewed":  # frequencies distributed exponentially about the line, to one side
            factor = np.exp(-2j * np.pi * course[k] * TIME) / (1 - 2j * np.pi * course[k] * TIME)
        blocks.append(spectrum(model, noise=0.002, seed=k) * factor)
    found = fit.fit_session(np.array(blocks), model).amplitudes
    ratio = (found[:, 3] + found[:, 4]) / found[:, 0]
    assert ratio[2] / ratio[0] == pytest.approx(1.0, abs=0.015)


def test_the_order_of_blocks_changes_nothing(model):
    blocks = np.array([spectrum(model, AMOUNTS | {"Glu": 9 + k}, 0.01, k) for k in range(3)])
    forward, backward = (fit.fit_session(one, model) for one in (blocks, blocks[::-1]))
    sd = np.sqrt(np.diagonal(forward.covariance, axis1=1, axis2=2))
    assert np.abs((forward.amplitudes - backward.amplitudes[::-1]) / sd).max() < 0.02


@pytest.mark.parametrize("factor", [1e-6, 1e6, -1.0, np.exp(0.35j)])
def test_scale_and_phase_of_the_input_change_nothing(model, factor):
    fid = spectrum(model, noise=0.01)
    reference, other = fit.fit_session(fid, model), fit.fit_session(fid * factor, model)
    sd = np.sqrt(np.diag(reference.covariance[0]))
    assert np.abs((other.amplitudes[0] / abs(factor) - reference.amplitudes[0]) / sd).max() < 0.02


def test_macromolecules_are_not_negative(model):
    """Where there are none, noise would make every other one negative."""
    found = [fit.fit_session(spectrum(model, AMOUNTS | {"Mac": 0.0}, 0.02, k), model).amplitudes[0] for k in range(6)]
    assert np.min([one[-1] for one in found]) >= 0
    assert np.mean([one[1] for one in found]) == pytest.approx(8.0, rel=0.05)


def test_noise_is_that_of_the_band(model):
    """A receiver's filter takes the noise of the outer tenth of the band on each side."""
    generator = np.random.default_rng(4)
    white = generator.normal(size=N) + 1j * generator.normal(size=N)
    outer = np.abs(np.fft.fftfreq(N, DWELL)) > 0.45 / DWELL
    filtered = np.fft.ifft(np.where(outer, 0.1, 1.0) * np.fft.fft(white))
    assert fit.noise_sd(spectrum(model) + filtered, model) == pytest.approx(np.sqrt(N), rel=0.1)


def test_zeros_that_fill_a_spectrum_tell_nothing(model):
    fid = spectrum(model, noise=0.02)
    fid[N // 2 :] = 0
    filled = fit.fit_session(fid, model)
    short = Model(replace(basis(), fids=basis().fids[:, : N // 2]), (0.5, 4.2))
    np.testing.assert_allclose(filled.amplitudes, fit.fit_session(fid[: N // 2], short).amplitudes, rtol=1e-6)


FILTERS = {
    "Lorentzian": -np.pi * 4 * TIME,
    "Gaussian": -((np.pi * 4 * TIME) ** 2) / 4 / np.log(2),
    "both": -np.pi * 2 * TIME - (np.pi * 3 * TIME) ** 2 / 4 / np.log(2),
    "Lorentzian to Gaussian": np.pi * 2 * TIME - (np.pi * 5 * TIME) ** 2 / 4 / np.log(2),
}
"""Logarithms of filters, of 4 Hz and the like."""


@pytest.mark.parametrize("kind", FILTERS)
def test_filter_of_an_apodised_spectrum_is_found(model, kind):
    plain = np.array([spectrum(model, noise=0.05, seed=seed) for seed in range(6)])
    apodised = plain * np.exp(FILTERS[kind])
    n = noise.recorded(apodised)
    found = noise.apodisation(apodised[:, :n], DWELL, MHZ)
    assert np.abs(found - FILTERS[kind][:n]).max() < 1.3  # of about 10 at the end


@pytest.mark.parametrize("size", [0.05, 1e-4])
def test_noise_of_a_plain_spectrum_is_left_as_it_is(model, size):
    """At any noise: what lines leave far from them is no noise, and decays."""
    plain = np.array([spectrum(model, noise=size, seed=seed) for seed in range(6)])
    assert np.abs(noise.apodisation(plain, DWELL, MHZ)).max() < 0.2


@pytest.mark.parametrize("kind", ["Lorentzian", "Gaussian", "both"])
def test_errors_hold_on_an_apodised_spectrum(model, kind):
    """What a Gaussian filter did is less well known, from a thousand points: the errors are rather larger."""
    fid = spectrum(model, noise=0.02, seed=3)
    plain, apodised = fit.fit_session(fid, model), fit.fit_session(fid * np.exp(FILTERS[kind]), model)
    sd = np.sqrt(np.diag(plain.covariance[0]))
    larger = np.sqrt(np.diag(apodised.covariance[0])) / sd
    assert larger.min() > 0.8
    assert larger.max() < (1.2 if kind == "Lorentzian" else 1.5)
    assert np.abs((apodised.amplitudes[0] - plain.amplitudes[0]) / sd).max() < 1.0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda fid: -fid, "stands apart.*phase is 1.* off theirs"),
        (lambda fid: shift_frequency(fid, 0.1 * MHZ, DWELL), "frequency is"),
        (lambda fid: 3 * fid, "stands apart.*3 times theirs"),
    ],
)
def test_one_block_unlike_the_others_leaves_them_and_is_doubtful(model, spoil, reason):
    blocks = np.array([spectrum(model, noise=0.01, seed=k) for k in range(4)])
    alone = fit.fit_session(blocks[1:], model)
    spoilt = fit.fit_session(np.concatenate([spoil(blocks[:1]), blocks[1:]]), model)
    sd = np.sqrt(np.diagonal(alone.covariance, axis1=1, axis2=2))
    assert np.abs((spoilt.amplitudes[1:] - alone.amplitudes) / sd).max() < 1.0
    assert not any(spoilt.doubts[1:])
    assert re.search(reason, spoilt.doubts[0])


def test_signals_that_cannot_be_told_apart_are_named(model):
    twin = replace(basis(), names=(*basis().names, "Glu2"), fids=np.concatenate([basis().fids, basis().fids[3:4]]))
    result = fit.fit_session(spectrum(model, noise=0.01), Model(twin, (0.5, 4.2)))
    assert "cannot tell Glu, Glu2 apart" in result.doubts[0]
    assert not verdict.of_basis(model, 5.0)


def test_negative_amounts_are_doubtful():
    names, covariance = ("NAA", "Cr", "Glu", "GABA"), np.diag([0.01, 0.01, 0.04, 0.04])
    assert verdict.of_amounts(names, np.array([9.0, 8.0, 9.0, -0.5]), covariance) == []
    assert verdict.of_amounts(names, np.array([9.0, 8.0, 9.0, -0.7]), covariance) == ["GABA is negative (-3.5 SD)"]
    assert verdict.of_amounts(names, np.array([9.0, 8.0, -0.1, 0.5]), covariance) == ["Glu is negative (-0.5 SD)"]


def test_a_clean_spectrum_is_not_doubtful(model):
    assert fit.fit_session(spectrum(model, noise=0.01, own=1.0, baseline=0.02), model).doubts == ("",)


@pytest.mark.parametrize("ppm", [-0.7, -0.5, 0.45, 0.7])
def test_a_spectrum_far_from_its_place_fails_or_is_doubtful_and_says_how_far(model, ppm):
    try:
        said = fit.fit_session(shift_frequency(spectrum(model, noise=0.01), -ppm * MHZ, DWELL), model).doubts[0]
    except fit.FitError as error:
        said = str(error)
    assert float(re.search(r"singlets lie (\S+) ppm from where they belong", said)[1]) == pytest.approx(ppm, abs=0.03)
