"""Trials of every design, simulated by the thousand as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Design = Literal[
    "crossover", "incomplete", "replicate", "parallel", "single_arm", "visits_parallel", "visits_single_arm"
]
Estimand = Literal["adjusted_level", "response", "total"]
BATCH = 250  # trials fitted together


@dataclass(frozen=True)
class Scenario:
    """A trial to simulate; sizes are fractions of the mean baseline.

    Attributes
    ----------
    design : str
        crossover (two orders of two conditions, else Williams squares), incomplete (two visits, every pair of the
        conditions in both orders), replicate (each order of a crossover, then the same backwards), parallel,
        single_arm; visits_parallel and visits_single_arm have visits before and after treatment, one value each.
    n : int
        Participants in total, dealt to the orders or arms in turn.
    weights : tuple of float
        Of every condition in the contrast, the reference first; (1,) in a single arm, whose mean is tested.
    control : tuple of int
        Conditions without a response.
    moderated : bool
        Whether what is sought is how the contrast differs between two halves of the participants.
    carry_over : bool
        Whether the model of a crossover has what the visit before carries over (of which there is nothing).
    n_baseline : int
        Blocks before the infusion.
    shape : tuple of float
        Response of each block of the infusion, as part of the highest.
    visits : tuple of int
        Visits before and after treatment, in designs of visits.
    mean : float
        Of the level.
    rise : float
        Highest response under the reference condition; in a single arm, that of its mean.
    attenuation : float
        Part of the response that every condition but the reference takes away.
    means : tuple of float
        Highest response of every condition, where rise and attenuation do not say it.
    sd_participant, sd_session, sd_block : float
        Standard deviations of the level.
    sd_response_participant, sd_response_condition, sd_response_session : float
        Of the response: between participants, between their conditions, between their sessions.
    correlation : float
        Of neighbouring blocks, AR(1).
    period : float
        Effect of each further visit, where conditions are compared.
    lost_blocks : float
        Fraction of blocks lost at random.
    dropouts : float
        Fraction of participants without the last visit (rounded up to whole participants), where there are several.
    estimand : "adjusted_level", "response" or "total"
        What is compared: levels adjusted for the baseline, changes from it, or levels.
    level : float
        Of intervals; 1 - level is the level of tests.
    """

    design: Design = "crossover"
    n: int = 26
    weights: tuple[float, ...] = (-1.0, 1.0)
    control: tuple[int, ...] = ()
    moderated: bool = False
    carry_over: bool = False
    n_baseline: int = 4
    shape: tuple[float, ...] = (0.35, 0.8, 1.0, 1.0, 0.85, 0.7)
    visits: tuple[int, int] = (1, 1)
    mean: float = 1.0
    rise: float = 0.06
    attenuation: float = 0.5
    means: tuple[float, ...] = ()
    sd_participant: float = 0.08
    sd_session: float = 0.03
    sd_block: float = 0.04
    sd_response_participant: float = 0.02
    sd_response_condition: float = 0.0
    sd_response_session: float = 0.015
    correlation: float = 0.0
    period: float = 0.01
    lost_blocks: float = 0.0
    dropouts: float = 0.0
    estimand: Estimand = "adjusted_level"
    level: float = 0.95

    @property
    def over_visits(self) -> bool:
        """Whether visits are before and after treatment."""
        return self.design.startswith("visits")

    @property
    def single(self) -> bool:
        """Whether there is one condition."""
        return self.design.endswith("single_arm")

    @property
    def within(self) -> bool:
        """Whether conditions are compared within participants."""
        return self.design in ("crossover", "incomplete", "replicate")

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """Condition of every visit, by sequence or arm."""
        if not self.within:
            visits = sum(self.visits) if self.over_visits else 1
            return tuple((c,) * visits for c in range(1 if self.single else len(self.weights)))
        if self.design == "incomplete":
            return tuple(permutations(range(len(self.weights)), 2))
        found = williams(len(self.weights))
        return found if self.design == "crossover" else tuple(own + own[::-1] for own in found)

    @property
    def course(self) -> NDArray[np.float64]:
        """Part of the highest response in every block, (visits, blocks)."""
        if self.over_visits:
            return np.repeat([0.0, 1.0], self.visits)[:, np.newaxis]
        return np.tile([0.0] * self.n_baseline + list(self.shape), (len(self.orders[0]), 1))

    @property
    def responses(self) -> NDArray[np.float64]:
        """Highest response of every condition."""
        if self.means:
            return np.array(self.means)
        parts = np.full(len(self.weights), 1 - self.attenuation)
        parts[0] = 1.0
        parts[[] if self.single else list(self.control)] = 0.0
        return self.rise * parts

    @property
    def effect(self) -> float:
        """True contrast, or true difference of it between the halves: mean over the infusion or the visits after."""
        return float(np.dot(self.weights, self.responses) * self.mean_shape)

    @property
    def mean_shape(self) -> float:
        """Mean response as part of the highest."""
        return 1.0 if self.over_visits else float(np.mean(self.shape))

    def with_effect(self, effect: float) -> "Scenario":
        """Give the conditions responses whose contrast is an effect."""
        along = np.array(self.weights) / np.square(self.weights).sum()
        return replace(self, means=tuple(map(float, along * effect / self.mean_shape)))


def williams(k: int) -> tuple[tuple[int, ...], ...]:
    """Orders of k conditions in which each follows every other equally often (Williams 1949, doi:10.1071/CH9490149).

    >>> williams(2), williams(3)[:2], len(williams(3)), williams(4)[0]
    (((0, 1), (1, 0)), ((0, 1, 2), (1, 2, 0)), 6, (0, 1, 3, 2))
    """
    first = [0, *((j + 1) // 2 if j % 2 else k - j // 2 for j in range(1, k))]
    rows = [tuple((c + shift) % k for c in first) for shift in range(k)]
    return tuple(rows) if k % 2 == 0 else tuple(rows + [own[::-1] for own in rows])


@dataclass(frozen=True)
class Trials:
    """Simulated trials.

    Attributes
    ----------
    y : (trials, n, visits, blocks)
        Baseline blocks first.
    present : the same shape, bool
    order : (n, visits) int
        Condition of each visit.
    half : (n,) int
        Half of the participants, 0 or 1, balanced within orders.
    """

    y: NDArray[np.float64]
    present: NDArray[np.bool_]
    order: NDArray[np.int_]
    half: NDArray[np.int_]


def simulate(scenario: Scenario, trials: int, rng: np.random.Generator) -> Trials:
    """Simulate trials."""
    s = scenario
    dealt = np.arange(s.n) % len(s.orders)
    order, half = np.array(s.orders)[dealt], np.arange(s.n) // len(s.orders) % 2
    visits, blocks = s.course.shape
    shape = (trials, s.n, visits)

    def normal(sd: float, *size: int) -> NDArray[np.float64]:
        return sd * rng.standard_normal((trials, s.n, *size))

    noise = rng.standard_normal((*shape, blocks))
    for b in range(1, blocks):
        noise[..., b] = s.correlation * noise[..., b - 1] + np.sqrt(1 - s.correlation**2) * noise[..., b]
    level = s.mean + normal(s.sd_participant, 1) + normal(s.sd_session, visits)
    level = level + s.period * np.arange(visits) * (not s.single)
    true = s.responses[order]
    if s.moderated:  # the first half has no contrast, the second all of it
        true = half[:, np.newaxis] * s.with_effect(s.effect).responses[order]
    own = normal(s.sd_response_condition, len(s.weights))[:, np.arange(s.n)[:, np.newaxis], order]
    response = true + normal(s.sd_response_participant, 1) + own + normal(s.sd_response_session, visits)
    y = level[..., np.newaxis] + response[..., np.newaxis] * s.course + s.sd_block * noise
    present = rng.random(y.shape) >= s.lost_blocks
    if visits > 1 and s.dropouts > 0:
        lost = int(np.ceil(s.dropouts * s.n - 1e-9))
        present[:, :, -1] &= (rng.permuted(np.tile(np.arange(s.n), (trials, 1)), axis=1) >= lost)[..., np.newaxis]
    return Trials(y, present, order, half)


def batches(scenario: Scenario, count: int, seed: int) -> Iterator[Trials]:
    """Simulate `count` trials in batches; the batches do not change what a seed gives."""
    streams = np.random.SeedSequence(seed).spawn(-(-count // BATCH))
    for i, stream in enumerate(streams):
        yield simulate(scenario, min(BATCH, count - i * BATCH), np.random.default_rng(stream))
