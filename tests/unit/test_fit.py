"""The fit on small spectra whose truth is known, its parts against naive second implementations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, special

from mrsflow.axes import ppm_to_hz, shift_frequency, time_axis
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence, simulate
from mrsflow.errors import InputError
from mrsflow.fitting import fit, fit_quality, fit_solver, nuisance, singlets
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
    theta[:6] = [0.2, 0.1, 1.5, 4.0, 9.0, 0.7]
    amplitudes = generator.uniform(1, 5, len(model.names))

    def turned(parameters):  # the model, phases applied to it instead of to the data
        signals = model.signals(parameters)[0]
        return (amplitudes @ signals) / model.turn(parameters) * model.turn(theta)

    everything = amplitudes @ model.signals(theta)[0]
    jacobian = model.derivatives(theta, amplitudes, model.signals(theta), everything)
    for k in range(model.shape.size):
        step = np.zeros(model.shape.size)
        step[k] = 1e-5
        numeric = nuisance.stacked((turned(theta + step) - turned(theta - step)) / 2e-5)
        np.testing.assert_allclose(jacobian[:, k], numeric, rtol=1e-6, atol=1e-6 * np.abs(jacobian).max())


def test_signals_equal_a_naive_sum(model):
    theta = np.zeros(model.shape.size)
    theta[2:6] = [1.5, 4.0, 9.0, 0.7]
    theta[model.shape.shifts] = 0.2
    naive = [
        [
            np.sum(
                fid
                * np.exp(
                    (2j * np.pi * 1.7 - np.pi * 4) * TIME
                    + 2j * np.pi * 0.7 * 0.05 * (1 - np.exp(-TIME / 0.05))
                    - nuisance.GAUSS * 9 * TIME**2
                    - 2j * np.pi * k * np.arange(N) / N
                )
            )
            for k in model.points[::40]
        ]
        for fid in model.fids
    ]
    np.testing.assert_allclose(model.signals(theta)[0][:, ::40], naive, atol=1e-8 * np.abs(naive).max())


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


def test_covariance_counts_noise_and_what_caution_holds_back(model):
    """Covariance of the errors of a cautious linear estimate over drawn truths and noise, against the one reported."""
    fid = spectrum(model, noise=0.02, own=1.0)
    sd, n = fit.noise_sd(fid, model), len(model.names)
    amounts = {"expected": np.full(n, 3.0), "expected_precision": np.diag(np.linspace(0.5, 2.0, n))}
    session = fit_solver.Session(
        model, model.spectrum(fid)[np.newaxis] / sd, np.array([1 / sd]), np.eye(n), caution=4.0, **amounts
    )
    start = np.zeros(session.size)
    start[session.shape_at : session.nuisance_at] = fit.recognised_start(fid, model)
    state, _ = fit_solver.climb(session, start, 20, evidence=10)
    gram, _ = fit_solver.normal_equations(session, state)
    precision, by_mean = session.prior()
    known = np.diag(precision) > 0
    np.testing.assert_array_equal(precision, np.diag(np.diag(precision)))
    generator = np.random.default_rng(8)
    spread = np.where(known, 1 / np.sqrt(np.where(known, np.diag(precision), 1)), 0)
    mean = np.where(known, by_mean * spread**2, 0)
    truth = mean + spread * generator.normal(size=(20_000, session.size))
    noise = generator.normal(size=truth.shape) @ np.linalg.cholesky(gram + 1e-12 * np.diag(np.diag(gram))).T
    errors = np.linalg.solve(gram + 4 * precision, (truth @ gram + noise + 4 * by_mean).T).T - truth
    reported = np.sqrt(np.diag(fit_solver.posterior(session, gram)))
    np.testing.assert_allclose(errors.std(axis=0), reported, rtol=0.03)  # 20,000 draws: SE 0.5 %


def test_macromolecules_and_lipids_alone_are_broad():
    for frequency in (123.25, 298.0):
        made = simulate(Sequence("press", 0.03), frequency, macromolecules=True)
        model = Model(made, (0.5, 4.2))
        found = {name for name, broad in zip(model.names, model.broad, strict=True) if broad}
        assert found == {*fit.MACROMOLECULES, "Lip09", "Lip13", "Lip20"}


@pytest.mark.parametrize(("n_points", "linewidth"), [(2048, 5.0), (128, 1.0)])
def test_metabolites_are_not_broad_in_a_wide_basis_or_a_short_one(n_points, linewidth):
    """Singlets of 5 Hz, and FIDs of 32 ms that end before a broad signal differs from others."""
    names = ("NAA", "Cr", "Glu", "Ins", "Tau", "Glc")
    made = simulate(Sequence("press", 0.03), MHZ, names, True, n_points=n_points, linewidth=linewidth)
    model = Model(made, (-3.0, 12.0) if n_points == 128 else (0.5, 4.2))
    found = {name for name, broad in zip(model.names, model.broad, strict=True) if broad}
    assert found <= {*fit.MACROMOLECULES, "Lip09", "Lip13", "Lip20"}


@pytest.mark.parametrize("stiffness", [1.0, 50.0])
def test_broad_signals_share_a_shift(stiffness):
    """Prior of the shifts against the inverse of their covariance, and of all else against 1 over variance."""
    model = Model(simulate(Sequence("press", 0.03), MHZ, ("NAA", "Cr"), True, DWELL, N), (0.5, 4.2))
    shape, n, broad = model.shape, len(model.names), model.broad
    covariance = np.diag(np.where(broad, (0.01 * MHZ) ** 2, 0.29**2)) / stiffness
    covariance += np.outer(broad, broad) * (0.04 * MHZ) ** 2
    expected = np.zeros((shape.size, shape.size))
    expected[shape.shifts, shape.shifts] = np.linalg.inv(covariance)
    widths = stiffness / np.where(broad, 3.0, 0.58) ** 2
    expected[shape.broadenings, shape.broadenings] = np.diag(widths)
    expected[shape.phase1, shape.phase1], expected[shape.eddy, shape.eddy] = 1 / 0.3**2, 1.0
    np.testing.assert_allclose(model.prior_precision(stiffness), expected, rtol=1e-9, atol=1e-9)
    assert n == broad.sum() + 2


def test_soft_constraints_are_those_named():
    """Of two blocks with a time course: sums over metabolites and macromolecules, written out."""
    metabolites = ("NAA", "Cr", "GPC", "Glu", "Tau", "Asp")
    made = simulate(Sequence("press", 0.03), MHZ, metabolites, True, DWELL, N)
    model = Model(made, (0.5, 4.2))
    m, course = len(model.names), terms(model.names, {"course": [0.0, 1.0]}, 2, ("Cr",), ("Tau",))
    fid = np.array([model.fids.sum(axis=0)] * 2) * np.exp(-np.pi * 4 * TIME)
    given = np.linspace(4.0, 12.0, m)
    amounts = {**fit.usual_amounts(given, model), **fit.steady_amounts(given, model)}
    session = fit_solver.Session(model, model.spectrum(fid), np.ones(2), course.matrix, **amounts)
    plain = fit_solver.Session(model, model.spectrum(fid), np.ones(2), course.matrix)
    precision, by_mean = (own - other for own, other in zip(session.prior(), plain.prior(), strict=True))
    usual = dict(zip(model.names, given, strict=True))
    steady = 0.03 * np.mean([usual[name] for name in fit.MACROMOLECULES])
    total = usual["NAA"] + usual["Cr"] + 3 * usual["GPC"]

    def naive(coefficients):
        found, blocks = 0.0, (course.matrix @ coefficients).reshape(2, m)
        for name in fit.MACROMOLECULES:
            values = blocks[:, model.names.index(name)]
            found += sum(((one - np.mean(values)) / steady) ** 2 for one in values)
        for block in blocks:
            amplitude = dict(zip(model.names, block, strict=True))
            for name, part in (("Tau", 0.06), ("Asp", 0.05)):
                found += ((amplitude[name] - part * total) / (part * total)) ** 2
            alike = [amplitude[name] for name in fit.MACROMOLECULES]
            found += sum(((one - np.mean(alike)) / (0.3 * 0.25 * total)) ** 2 for one in alike)
        return found

    generator = np.random.default_rng(4)
    at_zero = naive(np.zeros(course.matrix.shape[1]))
    for _ in range(3):
        z = np.zeros(session.size)
        z[: session.n_amplitudes] = generator.normal(size=session.n_amplitudes)
        penalty = z @ precision @ z - 2 * by_mean @ z + at_zero
        assert penalty == pytest.approx(naive(z[: session.n_amplitudes]))


@pytest.mark.slow
def test_a_spectrum_alone_scatters_less_than_its_priors_leave(model, monkeypatch):
    """Noise draws of one spectrum: caution lowers the scatter of Glx, and keeps what shape adds within the SD."""
    found = {}
    for caution in (1.0, fit.CAUTION):
        monkeypatch.setattr(fit, "CAUTION", caution)
        results = [fit.fit_session(noisy, model) for noisy in redrawn(spectrum(model, own=1.0, baseline=0.02), 24)]
        glx = np.array([result.amplitudes[0][[3, 4]].sum() for result in results])
        sd = np.sqrt(results[0].covariance[0][3:5, 3:5].sum())
        found[caution] = glx.std(ddof=1)
        assert abs(glx.mean() - AMOUNTS["Glu"] - AMOUNTS["Gln"]) < 3 * sd
        assert found[caution] < sd
    assert found[fit.CAUTION] < 0.95 * found[1.0]


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
    """Against SciPy's bounded least squares, from a point where the free step leaves the bounds."""
    fid = spectrum(model, noise=0.01)
    sd = fit.noise_sd(fid, model)
    n = len(model.names)
    session = fit_solver.Session(model, model.spectrum(fid)[np.newaxis] / sd, np.array([1 / sd]), np.eye(n))
    generator = np.random.default_rng(3)
    matrix, target = generator.normal(size=(2 * session.size, session.size)), generator.normal(size=2 * session.size)
    z = np.zeros(session.size)
    for name in (model.shape.lorentz, model.shape.gauss2):
        z[session.shape_at + name] = 0.01
    low, high = session.bounds
    free = np.linalg.lstsq(matrix, target, rcond=None)[0]
    if z[session.shape_at + model.shape.gauss2] + free[session.shape_at + model.shape.gauss2] > 0:
        matrix[:, session.shape_at + model.shape.gauss2] *= -1
    best = optimize.lsq_linear(matrix, target, (low - z, high - z), method="bvls").x
    found = fit_solver._stepped(session, z, matrix.T @ matrix, matrix.T @ target)
    assert np.any(found == low)
    np.testing.assert_allclose(found - z, best, atol=1e-8)


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
    bumps = nuisance._baseline(shift, points, 0.8)
    centre, width = shift[points].min() - 1.6 + 9 * 0.4, 0.8 / np.sqrt(2)
    x = (shift[points] - centre) / width / np.sqrt(2)
    np.testing.assert_allclose(bumps[:, 9].real, np.exp(-(x**2)), atol=5e-3)
    np.testing.assert_allclose(
        bumps[:, 9].imag, -2 / np.sqrt(np.pi) * special.dawsn(x), atol=0.015
    )  # a sampled FID's spectrum is periodic
