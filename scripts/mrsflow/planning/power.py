"""Simulated trials by the thousand: power and precision before a trial, error rates of its analyses.

Whole batches of trials are fitted together by the mixed model of the group stage (`mixed` takes leading dimensions),
so that a thousand trials take seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrsflow.models import mixed

Estimand = Literal["adjusted_level", "response", "total"]
BATCH = 250  # trials fitted together


@dataclass(frozen=True)
class Scenario:
    """A trial to simulate; sizes are fractions of the mean baseline.

    Attributes
    ----------
    design : "crossover" or "parallel"
    n : int
        Participants in total.
    n_baseline : int
        Blocks before the infusion.
    shape : tuple of float
        Response of each block of the infusion, as part of the highest.
    rise : float
        Highest response under the reference condition.
    attenuation : float
        Part of the response that the treatment takes away.
    sd_participant, sd_session, sd_block : float
        Standard deviations of the level.
    sd_response_participant, sd_response_session : float
        Of the response.
    correlation : float
        Of neighbouring blocks, AR(1).
    period : float
        Effect of the second visit.
    lost_blocks : float
        Fraction of blocks lost at random.
    dropouts : float
        Fraction of participants without the second visit (rounded up to whole participants); none in a parallel trial.
    estimand : "adjusted_level", "response" or "total"
        What is compared: levels adjusted for the baseline, changes from it, or levels.
    """

    design: Literal["crossover", "parallel"] = "crossover"
    n: int = 26
    n_baseline: int = 4
    shape: tuple[float, ...] = (0.35, 0.8, 1.0, 1.0, 0.85, 0.7)
    rise: float = 0.06
    attenuation: float = 0.5
    sd_participant: float = 0.08
    sd_session: float = 0.03
    sd_block: float = 0.04
    sd_response_participant: float = 0.02
    sd_response_session: float = 0.015
    correlation: float = 0.0
    period: float = 0.01
    lost_blocks: float = 0.0
    dropouts: float = 0.0
    estimand: Estimand = "adjusted_level"

    @property
    def visits(self) -> int:
        """Visits of a participant."""
        return 2 if self.design == "crossover" else 1

    @property
    def effect(self) -> float:
        """True difference of the conditions, mean over the infusion."""
        return float(-self.rise * self.attenuation * np.mean(self.shape))


@dataclass(frozen=True)
class Trials:
    """Simulated trials.

    Attributes
    ----------
    y : (trials, n, visits, blocks)
        Baseline blocks first.
    present : the same shape, bool
    treated : (trials, n, visits) bool
    n_baseline : int
    """

    y: NDArray[np.float64]
    present: NDArray[np.bool_]
    treated: NDArray[np.bool_]
    n_baseline: int


@dataclass(frozen=True)
class Columns:
    """Rows of the infusion blocks as the mixed model takes them: x (trials, rows, p), y and weights (trials, rows)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    weights: NDArray[np.float64]
    participant: NDArray[np.int_]
    session: NDArray[np.int_]


def simulate(scenario: Scenario, trials: int, rng: np.random.Generator) -> Trials:
    """Simulate trials; arms are balanced and assigned at random."""
    s = scenario
    shape = (trials, s.n, s.visits)
    blocks = s.n_baseline + len(s.shape)
    noise = rng.standard_normal((*shape, blocks))
    for b in range(1, blocks):
        noise[..., b] = s.correlation * noise[..., b - 1] + np.sqrt(1 - s.correlation**2) * noise[..., b]
    first = rng.permuted(np.broadcast_to(np.arange(s.n) % 2 == 0, (trials, s.n)), axis=1)
    treated = np.stack([first, ~first], axis=-1)[..., : s.visits]
    level = 1 + s.sd_participant * rng.standard_normal((trials, s.n, 1)) + s.sd_session * rng.standard_normal(shape)
    level = level + s.period * np.arange(s.visits)
    response = s.rise * (1 - s.attenuation * treated) + s.sd_response_session * rng.standard_normal(shape)
    response = response + s.sd_response_participant * rng.standard_normal((trials, s.n, 1))
    course = np.array([0.0] * s.n_baseline + list(s.shape))
    y = level[..., np.newaxis] + response[..., np.newaxis] * course + s.sd_block * noise
    present = rng.random(y.shape) >= s.lost_blocks
    if s.visits == 2 and s.dropouts > 0:
        lost = int(np.ceil(s.dropouts * s.n - 1e-9))
        present[:, :, 1] &= (rng.permuted(np.tile(np.arange(s.n), (trials, 1)), axis=1) >= lost)[..., np.newaxis]
    return Trials(y, present, treated, s.n_baseline)


def session_means(trials: Trials) -> tuple[NDArray, NDArray]:
    """Mean of the baseline and of the infusion of each session, (trials, n, visits); NaN without data in either."""
    k = trials.n_baseline
    found = []
    for part in (slice(0, k), slice(k, None)):
        count = trials.present[..., part].sum(axis=-1)
        total = np.where(trials.present[..., part], trials.y[..., part], 0).sum(axis=-1)
        found.append(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
    whole = np.isfinite(found[0]) & np.isfinite(found[1])
    return np.where(whole, found[0], np.nan), np.where(whole, found[1], np.nan)


def primary_columns(trials: Trials, estimand: Estimand = "adjusted_level") -> Columns:
    """Build the primary model: condition, blocks, visit and baseline, as the group stage has it."""
    base, _ = session_means(trials)
    count, n, visits = base.shape
    blocks = trials.y.shape[-1] - trials.n_baseline
    usable = np.isfinite(base)
    own = np.nanmean(np.where(usable.any(axis=-1, keepdims=True), base, 0), axis=-1, keepdims=True)
    seen = usable.any(axis=-1, keepdims=True)
    centre = np.sum(own * seen, axis=1, keepdims=True) / seen.sum(axis=1, keepdims=True)
    full = (count, n, visits, blocks)

    def spread(values: NDArray) -> NDArray:
        return np.broadcast_to(values[..., np.newaxis], full)

    columns = [np.ones(full), spread(trials.treated.astype(float))]
    columns += [np.broadcast_to(np.arange(blocks) == b, full).astype(float) for b in range(1, blocks)]
    if visits == 2:
        columns += [np.broadcast_to(np.arange(2)[:, np.newaxis], full).astype(float)]
    if estimand == "adjusted_level":
        columns += [spread(np.where(usable, base - own, 0))] * (visits == 2)
        columns += [spread(np.broadcast_to(own - centre, base.shape))]
    taken = np.where(usable, base, 0)[..., np.newaxis] if estimand == "response" else 0.0
    weights = trials.present[..., trials.n_baseline :] & usable[..., np.newaxis]
    participant, session, _ = np.indices(full[1:])
    return Columns(
        x=np.stack(columns, axis=-1).reshape(count, -1, len(columns)),
        y=(trials.y[..., trials.n_baseline :] - taken).reshape(count, -1),
        weights=weights.reshape(count, -1).astype(float),
        participant=participant.ravel(),
        session=(participant * visits + session).ravel(),
    )


def fit_primary(trials: Trials, session: bool = True, estimand: Estimand = "adjusted_level") -> mixed.Fit:
    """Fit the primary model to every trial; without `session`, blocks count as independent."""
    c = primary_columns(trials, estimand)
    groups = {"participant": c.participant}
    if session and trials.y.shape[2] == 2:
        groups["participant:session"] = c.session
    return mixed.fit(c.x, c.y, groups, weights=c.weights)


def fit_changes(trials: Trials) -> mixed.Fit:
    """Fit session changes on condition and visit, for the attenuation fraction (crossover)."""
    base, infusion = session_means(trials)
    change = infusion - base
    here = np.isfinite(change)
    columns = [np.ones(change.shape), trials.treated, np.broadcast_to(np.arange(2), change.shape)]
    participant = np.indices(change.shape[1:])[0].ravel()
    count = len(change)
    x = np.stack(columns, axis=-1).astype(float).reshape(count, -1, 3)
    y = np.where(here, change, 0).reshape(count, -1)
    return mixed.fit(x, y, {"participant": participant}, weights=here.reshape(count, -1))


def batches(scenario: Scenario, count: int, seed: int) -> Iterator[Trials]:
    """Simulate `count` trials in batches; the batches do not change what a seed gives."""
    streams = np.random.SeedSequence(seed).spawn(-(-count // BATCH))
    for i, stream in enumerate(streams):
        yield simulate(scenario, min(BATCH, count - i * BATCH), np.random.default_rng(stream))


def power_of(scenario: Scenario, count: int, seed: int) -> dict[str, float]:
    """Power and precision of the primary test.

    Returns
    -------
    dict
        power with its Monte-Carlo interval, the mean half width of the 95 % interval in percent of baseline, and the
        bias of the estimate with its Monte-Carlo standard error.
    """
    tests = [
        fit.contrast(condition_weights(fit))
        for fit in (fit_primary(t, estimand=scenario.estimand) for t in batches(scenario, count, seed))
    ]
    p = np.concatenate([t.p for t in tests])
    estimate = np.concatenate([t.estimate for t in tests])
    half = np.concatenate([(t.ci_high - t.ci_low) / 2 for t in tests])
    low, high = wilson(int(np.sum(p < 0.05)), count)
    return {
        "power": float(np.mean(p < 0.05)), "power_low": low, "power_high": high,
        "half_width_percent": float(100 * half.mean()),
        "bias_percent": float(100 * (estimate.mean() - scenario.effect)),
        "bias_se_percent": float(100 * estimate.std(ddof=1) / np.sqrt(count)),
    }  # fmt: skip


def condition_weights(fit: mixed.Fit) -> NDArray[np.float64]:
    """Weights that pick the condition effect of `fit_primary`."""
    return np.eye(len(fit.names))[1]


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (doi:10.1080/01621459.1927.10502953).

    >>> [round(v, 3) for v in wilson(5, 100)]
    [0.022, 0.112]
    """
    z = 1.959964
    share = successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(middle - half), float(middle + half)
