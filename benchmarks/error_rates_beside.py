"""Error rates of what stands beside the primary test; a part of error_rates.py, which prints them.

Type I error and coverage of bounds of equivalence, of the interval by Bayes (effects drawn from the prior), of
attenuation between groups, of the indirect effect, of responders, of repeated scores and of imputed sessions. A cell
falls short when its 99 % Monte-Carlo interval lies outside the limits. An indirect effect of which both paths are null,
and a difference of few proportions, which has few possible values, are tested more cautiously than the level says.
"""

from collections.abc import Iterator

import numpy as np

from mrsflow.models import estimates, imputation, mixed, mmrm, proportions, session_models
from mrsflow.models.estimates import Estimate

TYPE_I, CAUTIOUS = (3.0, 6.5), (0.0, 6.5)
COVERAGE, FIELLER = (93.5, 97.0), (93.0, 98.0)
Cell = tuple[str, int, int, tuple[float, float]]


def cells(trials: int, contrast: mixed.Inference) -> Iterator[Cell]:
    """Give name, count, trials and limits of every cell.

    Parameters
    ----------
    trials : int
    contrast : Inference
        Of trials without an effect, from the simulation of a crossover.
    """
    yield from of_estimates(contrast)
    yield from attenuation(trials)
    yield from mediation(trials)
    yield from responders(trials)
    yield from repeated_scores(trials)
    yield from imputed(trials)


def of_estimates(contrast: mixed.Inference) -> Iterator[Cell]:
    """Equivalence with the truth at a bound, and the posterior where truths are drawn from the prior."""
    rng, bound, sd, trials = np.random.default_rng(1), 0.03, 0.02, len(contrast.estimate)
    found = [Estimate(*map(float, own)) for own in zip(contrast.estimate, contrast.se, contrast.df, strict=True)]
    shown = [estimates.equivalence(Estimate(e.value + bound, e.se, e.df), -bound, bound) < 0.05 for e in found]
    yield "equivalence, truth at the bound", sum(shown), trials, CAUTIOUS
    shown = [estimates.equivalence(Estimate(e.value - bound, e.se, e.df), -bound, None) < 0.05 for e in found]
    yield "non-inferiority, truth at the bound", sum(shown), trials, TYPE_I
    truth = rng.normal(0, sd, trials)
    after = [
        estimates.posterior(Estimate(e.value + t, e.se, e.df), 0.0, sd, 0.95) for e, t in zip(found, truth, strict=True)
    ]
    inside = sum(a.low <= t <= a.high for a, t in zip(after, truth, strict=True))
    yield "coverage by Bayes, effects from the prior", inside, trials, COVERAGE


def attenuation(trials: int) -> Iterator[Cell]:
    """Fieller's interval between groups of unequal size and variance: changes 1 and 0.5 of the reference."""
    for name, counts, sds in (("20 : 20", (20, 20), (0.5, 0.5)), ("12 : 30, SD 2 : 1", (12, 30), (1.0, 0.5))):
        rng, covered = np.random.default_rng([2, *counts]), 0
        for _ in range(trials):
            mean, variance, df = [], [], []
            for n, sd, truth in zip(counts, sds, (0.5, 1.0), strict=True):
                values = rng.normal(truth, sd, n)
                mean.append(values.mean())
                variance.append(values.var(ddof=1) / n)
                df.append(n - 1)
            parts = variance[0], (mean[0] / mean[1]) ** 2 * variance[1]
            left = sum(parts) ** 2 / sum(v**2 / d for v, d in zip(parts, df, strict=True))
            found = session_models.fieller(mean[0], mean[1], np.diag(variance), left)
            covered += bool(not found.bounded or found.low <= 0.5 <= found.high)
        yield f"attenuation between groups, coverage, {name}", covered, trials, FIELLER


def mediation(trials: int) -> Iterator[Cell]:
    """Indirect effect in a crossover of 24 and in groups of 20; paths in units of their residual SD."""
    for design, n in (("crossover, N = 24", 24), ("parallel 20 : 20", 40)):
        for name, a, b, limits in (
            ("both paths null", 0.0, 0.0, CAUTIOUS), ("first path large", 2.0, 0.0, TYPE_I),
            ("second path large", 0.0, 2.0, TYPE_I),
        ):  # fmt: skip
            rng = np.random.default_rng([3, n, int(a), int(b)])
            paths = _crossed(trials, n, a, b, rng) if "cross" in design else _grouped(trials, n, a, b, rng)
            count = sum(estimates.sign_p(first, second) < 0.05 for first, second in paths)
            yield f"mediation, {design}, {name}", count, trials, limits


def _crossed(trials: int, n: int, a: float, b: float, rng: np.random.Generator) -> Iterator[tuple[Estimate, Estimate]]:
    condition = np.array([[0, 1], [1, 0]])[np.arange(n) % 2]
    person, visit = np.repeat(np.arange(n), 2), np.tile([0.0, 1.0], n)
    shape = (trials, n, 2)
    glx = rng.normal(0, 1, (trials, n, 1)) + a * condition + rng.normal(0, 1, shape)
    mood = rng.normal(0, 1, (trials, n, 1)) + b * glx + rng.normal(0, 1, shape)
    mean = glx.mean(axis=2, keepdims=True)
    split = [glx - mean, np.broadcast_to(mean - mean.mean(axis=1, keepdims=True), shape)]
    fixed = [np.ones(shape), np.broadcast_to(condition, shape), np.broadcast_to(visit.reshape(n, 2), shape)]

    def fit(columns: list[np.ndarray], y: np.ndarray, at: int) -> mixed.Inference:
        x = np.stack(columns, axis=-1).reshape(trials, 2 * n, -1).astype(float)
        return mixed.fit(x, y.reshape(trials, -1), {"participant": person}).contrast(np.eye(x.shape[-1])[at])

    yield from zip(*_rows_of(fit(fixed, glx, 1), fit([*fixed, *split], mood, 3)), strict=True)


def _rows_of(*tests: mixed.Inference) -> list[list[Estimate]]:
    return [[Estimate(*map(float, own)) for own in zip(t.estimate, t.se, t.df, strict=True)] for t in tests]


def _grouped(trials: int, n: int, a: float, b: float, rng: np.random.Generator) -> Iterator[tuple[Estimate, Estimate]]:
    arm = np.arange(n) % 2
    cells_ = np.column_stack([arm == 0, arm == 1]).astype(float)
    for _ in range(trials):
        glx = a * arm + rng.normal(0, 1, n)
        mood = b * glx + rng.normal(0, 1, n)
        x = np.column_stack([cells_, glx - glx.mean()])
        tests = (
            session_models.unequal_variances(cells_, glx, arm, [-1.0, 1.0]),
            session_models.unequal_variances(x, mood, arm, [0.0, 0.0, 1.0]),
        )
        first, second = (Estimate(float(t.estimate), float(t.se), float(t.df)) for t in tests)
        yield first, second


def responders(trials: int) -> Iterator[Cell]:
    """Risk differences: type I error without a difference, coverage with one of 0.2."""
    for design, n in (("paired, N = 26", 26), ("paired, N = 60", 60), ("16 : 16", 16), ("40 : 40", 40)):
        for truth, limits in ((0.0, CAUTIOUS), (0.2, (93.0, 99.0))):
            rng, count = np.random.default_rng([4, n, len(design), int(10 * truth)]), 0
            for _ in range(trials):
                shared = rng.normal(0, 0.7, n) if "paired" in design else np.zeros(n)
                spread = np.sqrt(0.49 + 1) if "paired" in design else 1.0
                from_ = [_cut(share) * spread for share in (0.4, 0.4 + truth)]
                low, high = ((shared + rng.normal(0, 1, n)) < cut for cut in from_)
                if "paired" in design:
                    found = proportions.paired(int((high & ~low).sum()), int((low & ~high).sum()), n, 0.95)
                else:
                    found = proportions.independent(int(high.sum()), n, int(low.sum()), n, 0.95)
                count += bool(found.low <= truth <= found.high) if truth else bool(found.p < 0.05)
            yield f"responders, {design}, {'coverage' if truth else 'type I'}", count, trials, limits


def _cut(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def repeated_scores(trials: int) -> Iterator[Cell]:
    """Kenward and Roger's test of the last of three follow-ups, 24 participants, 10, 20 and 30 % missing."""
    n, times = 24, 3
    person, time = np.repeat(np.arange(n), times), np.tile(np.arange(times), n)
    arm, g = (person % 2).astype(float), mmrm.matrices("unstructured", times, 1)
    covariance = np.array([[1.0, 0.6, 0.4], [0.6, 1.5, 0.8], [0.4, 0.8, 2.0]])
    cells_ = np.column_stack([time == t for t in range(times)] + [(time == t) * arm for t in range(times)]).astype(
        float
    )
    rng, count, done = np.random.default_rng(5), 0, 0
    for _ in range(trials):
        y = rng.multivariate_normal(np.zeros(times), covariance, n)[person, time]
        kept = rng.random(len(y)) > np.array([0.1, 0.2, 0.3])[time]
        found = mmrm.fit(cells_[kept], y[kept], person[kept], time[kept], g).contrast(np.eye(6)[5])
        count, done = count + bool(found.p < 0.05), done + 1
    yield "repeated scores, N = 24, last follow-up", count, done, TYPE_I


def imputed(trials: int) -> Iterator[Cell]:
    """Welch's test of levels at a follow-up of which a quarter is missing, imputed at random from an earlier one."""
    n, arm, rng, count = 40, np.arange(40) % 2, np.random.default_rng(6), 0
    x = np.column_stack([arm == 0, arm == 1]).astype(float)
    for _ in range(trials):
        y = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], n)
        y[rng.random(n) < 0.25, 1] = np.nan
        at_random = np.repeat(x[:, None], 2, 1)
        tests = [
            session_models.unequal_variances(x, filled[:, 1], arm, [-1.0, 1.0])
            for filled in imputation.impute(y, x, at_random, 20, rng)
        ]
        df = float(np.mean([t.df for t in tests]))
        found = estimates.pooled([float(t.estimate) for t in tests], [float(t.se) ** 2 for t in tests], df)
        count += bool(found.p < 0.05)
    yield "imputed at random, 20 : 20, a quarter missing", count, trials, TYPE_I
