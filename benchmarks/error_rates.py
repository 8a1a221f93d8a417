"""Error rates of the group analyses in simulated trials: type I error, coverage, power.

The first part prints type I error and coverage of the primary test of every design and estimand with their 99 %
Monte-Carlo intervals; a cell falls short when its interval lies outside 3 to 6.5 % (2 to 6.5 % for twelve
participants), or 93.5 to 97 % (to 98 %). The dose lowers the baseline of the treated condition by 3 %, and each
estimand recovers its own truth. The adjusted level is simulated with a baseline before every drug. Trials whose visits
are before and after treatment, moderators, and a crossover whose size follows from its blinded variance have tables of
their own.

The second part prints the crossover of two conditions under losses, correlation and variances at zero. The rates that
are claimed there: type I error of the primary test at most 7 % everywhere and 4 to 6.5 % in ``full``, coverage of its
95 % interval and of Fieller's 93 to 98 %. A rate below 3 % belongs to fits with a variance at zero or few participants,
where Kenward and Roger's test is cautious.

The third part prints what stands beside the primary test (error_rates_beside.py).

Every scenario has its own seed, fixed here; run with ``--trials 2000`` or more.
"""

import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import error_rates_beside

from mrsflow.models import mixed, session_models
from mrsflow.planning import power, sample_size
from mrsflow.planning.trials import BATCH, Scenario, Trials, batches
from mrsflow.run import run

MISSING = {"lost_blocks": 0.08, "dropouts": 2 / 26}
SCENARIOS = {
    "full": (Scenario(), 11),
    "8 % lost, 2 dropouts": (Scenario(**MISSING), 12),
    "no session variance": (Scenario(sd_session=0.0, sd_response_session=0.0, **MISSING), 13),
    "session response SD 3 %": (Scenario(sd_response_session=0.03, **MISSING), 14),
    "AR(1) 0.4": (Scenario(correlation=0.4, **MISSING), 15),
    "N = 12": (Scenario(n=12, lost_blocks=0.08, dropouts=2 / 12), 16),
}
FEW = 12  # participants at and below which Kenward and Roger's test is cautious
# rise, attenuation and the power (%) that an independent simulation of the same model found
POWER = [(0.06, 0.3, 37.5), (0.06, 0.5, 81.3), (0.06, 0.75, 98.4), (0.03, 0.5, 30.3)]


@dataclass(frozen=True)
class Cell:
    """A design with the sizes of its simulation; SDs as fractions of the baseline.

    Attributes
    ----------
    orders : tuple of tuple of int
        Conditions of the visits, by sequence; participants are dealt to the sequences in the shares of `counts`.
    counts : tuple of int
        Participants of each sequence.
    weights : tuple of float
        Of the conditions in the contrast; empty: the mean of a single arm.
    spread : tuple of float
        Factor on every SD by condition.
    carried : float, optional
        What condition 1 adds to the response of the next visit; the model then has a term for carry-over.
    own : float
        SD between participants of the response to condition 1, in replicate designs.
    """

    orders: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    weights: tuple[float, ...] = (-1.0, 1.0)
    spread: tuple[float, ...] = ()
    carried: float | None = None
    own: float = 0.0

    @property
    def parallel(self) -> bool:
        """Whether each participant has one condition and conditions are compared."""
        return len(self.orders[0]) == 1 and len(self.orders) > 1


WILLIAMS = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2))
FOUR = ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1))
DESIGNS = {
    "crossover 2 x 2, N = 26": Cell(((0, 1), (1, 0)), (13, 13)),
    "crossover 2 x 2, N = 12": Cell(((0, 1), (1, 0)), (6, 6)),
    "crossover, 3 conditions, N = 24": Cell(WILLIAMS, (4,) * 6, (-1.0, 1.0, 0.0)),
    "2 x 2 factorial, interaction, N = 24": Cell(FOUR, (6,) * 4, (1.0, -1.0, -1.0, 1.0)),
    "incomplete, 2 of 3 conditions, N = 24": Cell(
        ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)), (4,) * 6, (-1.0, 1.0, 0.0)
    ),
    "Williams, carry-over, N = 24": Cell(WILLIAMS, (4,) * 6, (-1.0, 1.0, 0.0), carried=0.02),
    "2 x 2, carry-over, N = 26": Cell(((0, 1), (1, 0)), (13, 13), carried=0.02),
    "replicate ABBA, BAAB, N = 24": Cell(((0, 1, 1, 0), (1, 0, 0, 1)), (12, 12), own=0.03),
    "replicate, carry-over, N = 24": Cell(((0, 1, 1, 0), (1, 0, 0, 1)), (12, 12), carried=0.02, own=0.03),
    "parallel 16 : 16": Cell(((0,), (1,)), (16, 16)),
    "parallel 8 : 24": Cell(((0,), (1,)), (8, 24)),
    "parallel 8 : 24, SD 2 : 1": Cell(((0,), (1,)), (8, 24), spread=(2.0, 1.0)),
    "parallel 8 : 24, SD 1 : 2": Cell(((0,), (1,)), (8, 24), spread=(1.0, 2.0)),
    "single arm, N = 20": Cell(((0,),), (20,), ()),
    "single arm, 3 sessions, N = 12": Cell(((0, 0, 0),), (12,), ()),
}
BLOCKS, N_BASELINE = 5, 2
SD = {"participant": 0.08, "session": 0.03, "block": 0.04, "response": 0.02, "session response": 0.015}
SHIFT = -0.03  # of the level by the dose, under condition 1
EFFECT = -0.02  # of the response, under condition 1, where coverage is counted
ESTIMANDS = ("response", "total", "adjusted_level")


def sample(cell: Cell, estimand: str, effect: float, trials: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Simulate trials: y (trials, n, visits, blocks, the baseline first) and the condition of each visit."""
    order = np.repeat(np.array(cell.orders), cell.counts, axis=0)  # (n, visits)
    n, visits = order.shape
    factor = np.array(cell.spread or (1.0,) * (order.max() + 1))[order]
    shape = (trials, n, visits)
    shifted = SHIFT * (order == 1) * (estimand != "adjusted_level")
    level = 1 + shifted + 0.01 * np.arange(visits) + factor * (
        SD["participant"] * rng.standard_normal((trials, n, 1)) + SD["session"] * rng.standard_normal(shape)
    )  # fmt: skip
    response = (0.06 if cell.weights else 0.0) + effect * (order == (1 if cell.weights else 0)) + factor * (
        SD["response"] * rng.standard_normal((trials, n, 1)) + SD["session response"] * rng.standard_normal(shape)
    )  # fmt: skip
    response = response + (cell.carried or 0.0) * carried_of(order, 1)
    response = response + cell.own * (order == 1) * rng.standard_normal((trials, n, 1))
    course = np.repeat([0.0, 1.0], [N_BASELINE, BLOCKS])
    noise = SD["block"] * factor[..., np.newaxis] * rng.standard_normal((*shape, len(course)))
    return level[..., np.newaxis] + response[..., np.newaxis] * course + noise, order


def carried_of(order: np.ndarray, condition: int) -> np.ndarray:
    """Whether a condition was given at the visit before."""
    return np.column_stack([np.zeros(len(order)), order[:, :-1] == condition]).astype(float)


def tested(cell: Cell, estimand: str, y: np.ndarray, order: np.ndarray) -> mixed.Inference:
    """Test the contrast as the group stage does: the mixed model, or groups with a variance each."""
    base, late = y[..., :N_BASELINE].mean(axis=-1), y[..., N_BASELINE:]
    late = late - base[..., np.newaxis] if estimand == "response" else late
    trials, n, visits = base.shape
    if cell.parallel:
        cells = (order == np.arange(order.max() + 1)).astype(float)
        found = []
        for values, own in zip(late.mean(axis=-1)[..., 0], base[..., 0], strict=True):
            x = np.column_stack([cells, own - own.mean()] if estimand == "adjusted_level" else [cells])
            weights = np.zeros(x.shape[1])
            weights[: cells.shape[1]] = cell.weights
            found.append(session_models.unequal_variances(x, values, order[:, 0], weights))
        return mixed.Inference(*(np.array([getattr(t, f.name) for t in found]) for f in fields(mixed.Inference)))
    full = (trials, n, visits, BLOCKS)
    own = base.mean(axis=-1, keepdims=True)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[..., np.newaxis], full)

    columns = [np.ones(full)]
    columns += [spread(np.broadcast_to(order == c, base.shape).astype(float)) for c in range(1, order.max() + 1)]
    columns += [np.broadcast_to(np.arange(BLOCKS) == b, full).astype(float) for b in range(1, BLOCKS)]
    columns += [spread(np.broadcast_to(np.arange(visits) == v, base.shape).astype(float)) for v in range(1, visits)]
    if cell.carried is not None:
        columns += [spread(np.broadcast_to(carried_of(order, c), base.shape)) for c in range(1, order.max() + 1)]
    if estimand == "adjusted_level":
        columns += [spread(base - own), spread(np.broadcast_to(own - own.mean(axis=1, keepdims=True), base.shape))]
    weights = np.zeros(len(columns))
    if cell.weights:
        weights[1 : len(cell.weights)] = cell.weights[1:]
    else:
        weights[:] = [1.0] + [1 / BLOCKS] * (BLOCKS - 1) + [1 / visits] * (visits - 1)
    person, visit, _ = np.indices(full[1:])
    groups = {"participant": person.ravel()}
    if visits > 1:
        groups["participant:session"] = (person * visits + visit).ravel()
    if visits > order.max() + 1 > 1:  # conditions were given twice
        groups["participant:condition"] = (person * (order.max() + 1) + order[..., np.newaxis]).ravel()
    x = np.stack(columns, axis=-1).reshape(trials, -1, len(columns))
    return mixed.fit(x, late.reshape(trials, -1), groups).contrast(weights)


@dataclass(frozen=True)
class Visits:
    """A trial whose visits are before (the first) and after, one spectrum each.

    Attributes
    ----------
    counts : tuple of int
        Participants of each arm; one arm is tested against no change.
    after : int
        Visits after the first.
    spread : tuple of float
        Factor on every SD by arm.
    lost : float
        Fraction of later visits lost at random.
    """

    counts: tuple[int, ...]
    after: int
    spread: tuple[float, ...] = (1.0, 1.0)
    lost: float = 0.0


VISITS = {
    "before and after, N = 20": Visits((20,), 1),
    "3 visits after, N = 12, 10 % lost": Visits((12,), 3, lost=0.1),
    "before and after 8 : 24, SD 2 : 1": Visits((8, 24), 1, (2.0, 1.0)),
    "before and after 8 : 24, SD 1 : 2": Visits((8, 24), 1, (1.0, 2.0)),
    "3 visits after 16 : 16": Visits((16, 16), 3),
    "3 visits after 8 : 24, SD 2 : 1": Visits((8, 24), 3, (2.0, 1.0), 0.1),
    "3 visits after 8 : 24, SD 1 : 2": Visits((8, 24), 3, (1.0, 2.0), 0.1),
}


def tested_visits(cell: Visits, estimand: str, effect: float, trials: int, rng: np.random.Generator) -> mixed.Inference:
    """Simulate trials over visits and test the last arm as the group stage does."""
    y = [
        1 + k * (SD["participant"] * rng.standard_normal((trials, n, 1))
                 + np.hypot(SD["session"], SD["block"]) * rng.standard_normal((trials, n, cell.after + 1)))
        for n, k in zip(cell.counts, cell.spread, strict=False)
    ]  # fmt: skip
    y[-1][..., 1:] += effect
    centre = np.concatenate(y, axis=1)[..., :1].mean(axis=1, keepdims=True)
    if cell.after == 1 and len(y) > 1:
        both = np.concatenate(y, axis=1)
        arm = np.repeat([0, 1], cell.counts)
        found = []
        for base, late in zip(both[..., 0], both[..., 1], strict=True):
            adjusted = [base - base.mean()] if estimand == "adjusted_level" else []
            x = np.column_stack([arm == 0, arm == 1, *adjusted]).astype(float)
            values = late if adjusted else late - base
            found.append(session_models.unequal_variances(x, values, arm, [-1.0, 1.0, 0.0][: x.shape[1]]))
        return mixed.Inference(*(np.array([getattr(t, f.name) for t in found]) for f in fields(mixed.Inference)))
    tests = []
    for values, sign in zip(y, (1.0,) if len(y) == 1 else (-1.0, 1.0), strict=True):
        n = values.shape[1]
        late = values[..., 1:] - (values[..., :1] if estimand == "response" else 0.0)
        if cell.after == 1:
            tests.append(mixed.Inference(*_one_sample(late[..., 0])))
            continue
        columns = [np.ones(late.shape)]
        columns += [np.broadcast_to(np.arange(cell.after) == v, late.shape).astype(float) for v in range(1, cell.after)]
        columns += [np.broadcast_to(values[..., :1] - centre, late.shape)] * (estimand == "adjusted_level")
        weights = np.zeros(len(columns))
        weights[: cell.after] = [sign] + [sign / cell.after] * (cell.after - 1)
        person = np.repeat(np.arange(n), cell.after)
        x = np.stack(columns, axis=-1).reshape(trials, -1, len(columns))
        seen = (rng.random(late.shape) >= cell.lost).reshape(trials, -1)
        tests.append(mixed.fit(x, late.reshape(trials, -1), {"participant": person}, weights=seen).contrast(weights))
    return mixed.independent(tests)


def _one_sample(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Student's test of the mean of each row."""
    n = values.shape[1]
    mean, se = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * se
    return (
        mean,
        se,
        np.full(len(mean), n - 1.0),
        mean / se,
        2 * stats.t.sf(np.abs(mean / se), n - 1),
        mean - half,
        mean + half,
    )


def over_visits(trials: int) -> None:
    """Print type I error, coverage and bias of trials whose visits are before and after."""
    print("visits before and after: type I error, coverage (%) with 99 % Monte-Carlo intervals, bias (% of baseline)")
    for number, (name, cell) in enumerate(VISITS.items()):
        for k, estimand in enumerate(("response", "adjusted_level")[: len(cell.counts)]):
            counts = []
            for effect, seed in ((0.0, 0), (EFFECT, 1)):
                rng = np.random.default_rng([1000 + number, k, seed])
                test = tested_visits(cell, estimand, effect, trials, rng)
                inside = (test.ci_low <= effect) & (effect <= test.ci_high)
                counts.append(int(np.sum(inside if seed else test.p < 0.05)))
            _print_cell(name, estimand, counts, trials, sum(cell.counts), test.estimate - EFFECT)


MODERATION = {
    "groups 16 : 16, by a factor": ((16, 16), (1.0, 1.0), True),
    "groups 8 : 24, SD 2 : 1, by a factor": ((8, 24), (2.0, 1.0), True),
    "groups 8 : 24, SD 2 : 1, by a number": ((8, 24), (2.0, 1.0), False),
    "groups 8 : 24, SD 1 : 2, by a number": ((8, 24), (1.0, 2.0), False),
    "crossover, N = 26, by a factor": ((13, 13), (), True),
    "crossover, N = 12, by a factor": ((6, 6), (), True),
    "crossover, N = 26, by a number": ((13, 13), (), False),
}
"""Participants of each arm or sequence, factor on their SD (of arms), whether the moderator is a factor."""


def moderation(trials: int) -> None:
    """Print type I error, coverage and bias of the moderation of a contrast: values of sessions, as for mood."""
    print("moderators: type I error, coverage (%) with 99 % Monte-Carlo intervals, bias (% of baseline)")
    for number, (name, (counts, spread, factor)) in enumerate(MODERATION.items()):
        found = []
        for effect, seed in ((0.0, 0), (EFFECT, 1)):
            rng = np.random.default_rng([2000 + number, seed])
            test = tested_moderation(counts, spread, factor, effect, trials, rng)
            inside = (test.ci_low <= effect) & (effect <= test.ci_high)
            found.append(int(np.sum(inside if seed else test.p < 0.05)))
        _print_cell(name, "response", found, trials, sum(counts), test.estimate - EFFECT)


def tested_moderation(
    counts: tuple[int, ...],
    spread: tuple[float, ...],
    factor: bool,
    effect: float,
    trials: int,
    rng: np.random.Generator,
) -> mixed.Inference:
    """Simulate trials whose contrast changes by `effect` per unit of a moderator, and test that."""
    n, group = sum(counts), np.repeat([0, 1], counts)
    m = np.concatenate([np.arange(k) % 2 for k in counts]) if factor else rng.standard_normal(n)
    m = m - m.mean()
    if spread:
        y = SD["session"] * np.array(spread)[group] * rng.standard_normal((trials, n)) + effect * m * (group == 1)
        x = np.column_stack([group == 0, group == 1, (group == 0) * m, (group == 1) * m]).astype(float)
        found = [session_models.unequal_variances(x, values, group, [0.0, 0.0, -1.0, 1.0]) for values in y]
        return mixed.Inference(*(np.array([getattr(t, f.name) for t in found]) for f in fields(mixed.Inference)))
    treated = np.stack([group, 1 - group], axis=1).astype(float)
    person = SD["participant"] * rng.standard_normal((trials, n, 1))
    y = person + SD["session"] * rng.standard_normal((trials, n, 2)) + effect * m[:, np.newaxis] * treated
    late = np.broadcast_to([0.0, 1.0], treated.shape)
    own = np.broadcast_to(m[:, np.newaxis], treated.shape)
    x = np.stack([np.ones_like(treated), treated, late, own, own * treated], axis=-1).reshape(-1, 5)
    people = np.repeat(np.arange(n), 2)
    fit = mixed.fit(np.broadcast_to(x, (trials, *x.shape)), y.reshape(trials, -1), {"participant": people})
    return fit.contrast([0.0, 0.0, 0.0, 0.0, 1.0])


def reestimation(trials: int, first: int = 12, most: int = 60) -> None:
    """Print type I error and power of a crossover whose size follows from its blinded variance after `first` people."""
    print(
        "blinded re-estimation after 12 of up to 60, 80 % power for 3 %: type I error, coverage (%), bias; then power"
    )
    sd, target = float(np.hypot(SD["session response"], SD["block"])), 0.03
    for effect, seed in ((0.0, 0), (target, 1)):
        rng, found, sizes = np.random.default_rng([3000, seed]), [], []
        for _ in range(trials):
            order = np.arange(most) % 2
            treated = np.stack([order, 1 - order], axis=1)
            y = (
                SD["participant"] * rng.standard_normal((most, 1))
                + sd * rng.standard_normal((most, 2))
                + effect * treated
            )
            difference = y[:, 1] - y[:, 0]
            blinded = difference[:first].std(ddof=1) / np.sqrt(2)
            n = min(max(sample_size.needed(target, 0.8, "crossover", blinded, [-1, 1]) or most, first), most)
            x = np.column_stack([1.0 - 2.0 * order[:n], np.ones(n)])
            found.append(session_models.least_squares(x, difference[:n], [1.0, 0.0]))
            sizes.append(n)
        test = mixed.Inference(*(np.array([getattr(t, f.name) for t in found]) for f in fields(mixed.Inference)))
        inside = (test.ci_low <= effect) & (effect <= test.ci_high)
        counts = [int(np.sum(test.p < 0.05)), int(np.sum(inside))]
        if effect:
            print(f"  power {100 * counts[0] / trials:.1f} %, {np.mean(sizes):.1f} participants in the mean")
        else:
            _print_cell("crossover, blinded re-estimation", "response", counts, trials, most, test.estimate)


def truth_of(cell: Cell, estimand: str, effect: float) -> float:
    """Give the true contrast."""
    weight = cell.weights[1] if cell.weights else 1.0
    single = 0.01 * (len(cell.orders[0]) - 1) / 2 if not cell.weights and estimand != "response" else 0.0
    return weight * (effect + (SHIFT if estimand == "total" and cell.weights else 0.0)) + single


def designs(trials: int) -> None:
    """Print type I error, coverage and bias of every design and estimand."""
    print("design and estimand: type I error, coverage (%) with 99 % Monte-Carlo intervals, bias (% of baseline)")
    for number, (name, cell) in enumerate(DESIGNS.items()):
        for k, estimand in enumerate(ESTIMANDS if cell.weights else ("response",)):
            null = -SHIFT if estimand == "total" else 0.0  # the response makes up for the level
            counts = []
            for effect, seed in ((null, 0), (EFFECT, 1)):
                rng = np.random.default_rng([number, k, seed])
                test, truth = _batched(cell, estimand, effect, trials, rng), truth_of(cell, estimand, effect)
                inside = (test.ci_low <= truth) & (truth <= test.ci_high)
                counts.append(int(np.sum(inside if seed else test.p < 0.05)))
            _print_cell(name, estimand, counts, trials, sum(cell.counts), test.estimate - truth)


def _print_cell(name: str, estimand: str, counts: list[int], trials: int, n: int, error: np.ndarray) -> None:
    """Print the rejections and coverages counted in a cell, and the mean error of the estimate."""
    bias = 100 * error.mean(), 100 * error.std() / np.sqrt(trials)
    shown = [_judged(counts[0], trials, (2.0 if n <= FEW else 3.0, 6.5))]
    shown += [_judged(counts[1], trials, (93.5, 98.0 if n <= FEW else 97.0))]
    print(f"  {name:38s}{estimand:16s}{'  '.join(shown)}  bias {bias[0]:+.3f} +/- {bias[1]:.3f}", flush=True)


def _batched(cell: Cell, estimand: str, effect: float, trials: int, rng: np.random.Generator) -> mixed.Inference:
    parts = []
    for first in range(0, trials, BATCH):
        y, order = sample(cell, estimand, effect, min(BATCH, trials - first), rng)
        parts.append(tested(cell, estimand, y, order))
    return mixed.Inference(*(np.concatenate([getattr(t, f.name) for t in parts]) for f in fields(mixed.Inference)))


def _judged(count: int, trials: int, limits: tuple[float, float]) -> str:
    """Rate with its 99 % interval (Clopper and Pearson), marked where the interval lies outside the limits."""
    low = stats.beta.ppf(0.005, count, trials - count + 1) if count else 0.0
    high = stats.beta.ppf(0.995, count + 1, trials - count) if count < trials else 1.0
    short = 100 * high < limits[0] or 100 * low > limits[1]
    return f"{100 * count / trials:5.1f} [{100 * low:4.1f}, {100 * high:4.1f}]{' SHORT' if short else '      '}"


@dataclass
class Rates:
    """Counts of what happened in the trials of a scenario."""

    rejected: int = 0
    covered: int = 0
    rejected_satterthwaite: int = 0
    rejected_independent: int = 0
    covered_independent: int = 0
    fieller: int = 0
    unbounded: int = 0
    singular: int = 0
    failed: int = 0


def count(scenario: Scenario, trials: int, seed: int) -> Rates:
    """Analyse the trials of a scenario; a Fieller set that is not bounded is counted by whether it holds the truth."""
    found = Rates()
    for batch in batches(scenario, trials, seed):
        values = power.values_of(scenario, batch)
        columns = power.columns_of(scenario, values, batch.half)
        fit = power.fit(columns)
        for method, name in (("kenward-roger", "rejected"), ("satterthwaite", "rejected_satterthwaite")):
            test = fit.contrast(columns.contrast, method)
            setattr(found, name, getattr(found, name) + int(np.sum(test.p < 0.05)))
            if name == "rejected":
                found.covered += int(np.sum((test.ci_low <= scenario.effect) & (scenario.effect <= test.ci_high)))
        found.singular += int(fit.singular.sum())
        found.failed += int((~fit.converged).sum())
        alone = power.columns_of(scenario, values, batch.half, session=False)
        independent = power.fit(alone).contrast(alone.contrast, "satterthwaite")
        found.rejected_independent += int(np.sum(independent.p < 0.05))
        inside = (independent.ci_low <= scenario.effect) & (scenario.effect <= independent.ci_high)
        found.covered_independent += int(inside.sum())
        covered, bounded = fieller_of(batch, scenario)
        found.fieller += int(covered.sum())
        found.unbounded += int((~bounded).sum())
    return found


def fit_changes(batch: Trials, scenario: Scenario) -> mixed.Fit:
    """Fit session changes of a crossover of two conditions on condition and visit, for the attenuation fraction."""
    values = power.values_of(replace(scenario, estimand="response"), batch)
    here, count = values.present.any(axis=-1), values.present.sum(axis=-1)
    change = np.where(values.present, values.late, 0).sum(axis=-1) / np.maximum(count, 1)
    columns = [np.ones(change.shape), np.broadcast_to(values.order == 1, change.shape)]
    columns.append(np.broadcast_to(np.arange(2), change.shape))
    participant = np.indices(change.shape[1:])[0].ravel()
    x = np.stack(columns, axis=-1).astype(float).reshape(len(change), -1, 3)
    y, weights = (v.reshape(len(change), -1) for v in (np.where(here, change, 0), here))
    return mixed.fit(x, y, {"participant": participant}, weights=weights)


def fieller_of(batch: Trials, scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Whether Fieller's set holds the true fraction, and whether it is bounded, as the attenuation table has it."""
    fit, truth = fit_changes(batch, scenario), scenario.attenuation
    rows = np.array([[1, 1, 0.5], [1, 0, 0.5]])  # treated and reference, visit averaged
    covered, bounded = np.zeros(len(fit.beta), bool), np.zeros(len(fit.beta), bool)
    means = fit.beta @ rows.T
    covariance = rows @ fit.covariance_kr @ rows.T
    for i, (treated, reference) in enumerate(means):
        df = fit[i].contrast(rows[0] - treated / reference * rows[1]).df
        found = session_models.fieller(treated, reference, covariance[i], float(df))
        bounded[i] = found.bounded
        if found.bounded:
            covered[i] = found.low <= truth <= found.high
        else:
            numerator = treated - (1 - truth) * reference
            w = np.array([1, -(1 - truth)])
            from scipy.special import stdtrit

            covered[i] = numerator**2 <= stdtrit(float(df), 0.975) ** 2 * (w @ covariance[i] @ w)
    return covered, bounded


def main(trials: int = 2000, parts: Literal["all", "designs", "losses", "beside"] = "all") -> None:
    """Print error rates, coverage and power of the group analyses.

    Parameters
    ----------
    trials : int
        Simulated trials of each scenario.
    parts : {"all", "designs", "losses", "beside"}
        Every design and estimand, the crossover under losses, what stands beside the primary test, or all.
    """
    start = time.perf_counter()
    if parts in ("all", "designs"):
        designs(trials)
        over_visits(trials)
        moderation(trials)
        reestimation(trials)
    if parts in ("all", "losses"):
        losses(trials)
    if parts in ("all", "beside"):
        beside(trials)
    print(f"{time.perf_counter() - start:.0f} s")


def beside(trials: int) -> None:
    """Print the rates of what stands beside the primary test."""
    print("beside the primary test: rate (%) with its 99 % Monte-Carlo interval, and its limits")
    contrast = _batched(DESIGNS["crossover 2 x 2, N = 26"], "response", 0.0, trials, np.random.default_rng(0))
    for name, found, done, limits in error_rates_beside.cells(trials, contrast):
        print(f"  {name:60s}{_judged(found, done, limits)}  {limits[0]:g} to {limits[1]:g}, {done} trials", flush=True)


def losses(trials: int) -> None:
    """Print the rates of the crossover of two conditions under losses, correlation and variances at zero."""
    error = 200 * np.sqrt(0.05 * 0.95 / trials)
    print(f"{trials} trials a scenario; Monte-Carlo error at 5 % (2 SE): {error:.1f} points")
    heading("type I error, % (attenuation 0)", "KR", "Satterthwaite", "blocks independent", "variance at 0", "failed")
    for name, (scenario, seed) in SCENARIOS.items():
        r = count(replace(scenario, attenuation=0.0), trials, seed)
        counts = (r.rejected, r.rejected_satterthwaite, r.rejected_independent, r.singular, r.failed)
        line(name, [100 * v / trials for v in counts])
    heading("coverage, % (attenuation 50 %)", "KR", "Fieller", "Fieller unbounded", "blocks independent", "power KR")
    for name, (scenario, seed) in SCENARIOS.items():
        r = count(scenario, trials, seed + 100)
        counts = (r.covered, r.fieller, r.unbounded, r.covered_independent, r.rejected)
        line(name, [100 * v / trials for v in counts])
    heading("power, % (N = 26, 8 % lost)", "KR", "reference")
    for i, (rise, attenuation, known) in enumerate(POWER):
        found = power.power_of(Scenario(rise=rise, attenuation=attenuation, **MISSING), trials, 300 + i)
        line(f"rise {100 * rise:.0f} %, attenuation {100 * attenuation:.0f} %", [100 * found["power"], known])


def heading(title: str, *columns: str) -> None:
    """Print the heading of a table."""
    print(f"{title:34s}" + "".join(f"{c:>20s}" for c in columns))


def line(name: str, values: list[float]) -> None:
    """Print a row of a table."""
    print(f"  {name:32s}" + "".join(f"{v:20.1f}" for v in values), flush=True)


if __name__ == "__main__":
    run(main)
