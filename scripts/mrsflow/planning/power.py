"""Power and precision of simulated trials, each analysed as the group stage analyses its design.

Whole batches of trials are fitted together by the mixed model of the group stage (`mixed` takes leading dimensions),
so that a thousand trials take seconds.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import mixed, session_models
from mrsflow.planning.trials import Scenario, Trials, batches


@dataclass(frozen=True)
class Values:
    """What is compared, and the baselines.

    Attributes
    ----------
    base : (trials, n, visits)
        Baseline of each session; NaN without one.
    late : (trials, n, visits, blocks)
        Blocks of the infusion, or the values of visits after treatment.
    present : the same shape, bool
        Which of them the model takes.
    order : (n, visits) int
    """

    base: NDArray[np.float64]
    late: NDArray[np.float64]
    present: NDArray[np.bool_]
    order: NDArray[np.int_]


@dataclass(frozen=True)
class Columns:
    """Rows of a mixed model: x (trials, rows, p), y and weights (trials, rows), groups and the contrast (p,)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    weights: NDArray[np.float64]
    groups: dict[str, NDArray[np.int_]]
    contrast: NDArray[np.float64]


def values_of(scenario: Scenario, trials: Trials) -> Values:
    """Arrange trials as the estimand takes them: changes from the baseline, or levels."""
    s, k = scenario, scenario.visits[0]
    if s.over_visits:
        base = _mean(trials.y[:, :, :k, 0], trials.present[:, :, :k, 0])[..., np.newaxis]
        y, present, order = trials.y[:, :, k:], trials.present[:, :, k:], trials.order[:, k:]
        base = np.broadcast_to(base, y.shape[:3])
    else:
        base = _mean(trials.y[..., : s.n_baseline], trials.present[..., : s.n_baseline])
        y, present, order = trials.y[..., s.n_baseline :], trials.present[..., s.n_baseline :], trials.order
    if s.estimand != "total":
        present = present & np.isfinite(base)[..., np.newaxis]
        base = np.where(present.any(axis=-1), base, np.nan)
    if s.estimand == "response":
        y = y - np.nan_to_num(base)[..., np.newaxis]
    return Values(base, y, present, order)


def _mean(y: NDArray, present: NDArray) -> NDArray[np.float64]:
    """Mean over the last axis of what is present; NaN where nothing is."""
    count = present.sum(axis=-1)
    total = np.where(present, y, 0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def tests_of(scenario: Scenario, trials: Trials) -> mixed.Inference:
    """Test every trial by the primary analysis of its design.

    Single values of participants are compared by least squares with a variance for each condition, groups over several
    visits by a mixed model for each; everything else by the mixed model of the blocks.
    """
    s, values = scenario, values_of(scenario, trials)
    if not s.within and values.late.shape[2] == 1 and (values.late.shape[3] == 1 or not s.single):
        return _of_people(s, values, trials.half)
    if s.over_visits and not s.single and not s.moderated:
        return mixed.independent([_of_arm(s, values, arm, w) for arm, w in enumerate(s.weights) if w], s.level)
    columns = columns_of(s, values, trials.half)
    return fit(columns).contrast(columns.contrast)


def _of_people(s: Scenario, values: Values, half: NDArray[np.int_]) -> mixed.Inference:
    """One value of each participant: cell means and the baseline, a variance for each condition.

    A trial whose losses leave too few participants in a condition has no test (NaN).
    """
    late, arm = _mean(values.late[:, :, 0], values.present[:, :, 0]), values.order[:, 0]
    cells = (arm[:, np.newaxis] == np.arange(len(s.weights))).astype(float)
    weights = np.array(s.weights)
    if s.moderated:
        cells, weights = np.column_stack([cells, cells * half[:, np.newaxis]]), np.append(0 * weights, weights)
    adjusted = s.estimand == "adjusted_level" and not s.single
    found = []
    for y, base in zip(late, values.base[:, :, 0], strict=True):
        seen = np.isfinite(y)
        x = cells[seen]
        if adjusted:
            x = np.column_stack([x, base[seen] - base[seen].mean()])
        own = np.pad(weights, (0, int(adjusted)))
        try:
            found.append(session_models.unequal_variances(x, y[seen], arm[seen], own))
        except InputError:
            found.append(mixed.Inference(*np.full(len(fields(mixed.Inference)), np.nan)))
    return mixed.Inference(*(np.array([getattr(t, f.name) for t in found]) for f in fields(mixed.Inference)))


def _of_arm(s: Scenario, values: Values, arm: int, weight: float) -> mixed.Inference:
    """Mean of an arm over its visits by a model of its own, times its weight in the contrast."""
    of_people = _mean(values.base, np.isfinite(values.base))
    centre = np.nanmean(of_people, axis=1)[:, np.newaxis, np.newaxis]
    own = values.order[:, 0] == arm
    late, present, base = values.late[:, own][..., 0], values.present[:, own][..., 0], values.base[:, own]
    visits = late.shape[2]
    columns = [np.ones(late.shape)]
    columns += [np.broadcast_to(np.arange(visits) == v, late.shape).astype(float) for v in range(1, visits)]
    contrast = [weight] + [weight / visits] * (visits - 1)
    if s.estimand == "adjusted_level":
        columns.append(np.where(present, base - centre, 0.0))
        contrast.append(0.0)
    x = np.stack(columns, axis=-1).reshape(len(late), -1, len(columns))
    groups = {"participant": np.repeat(np.arange(own.sum()), visits)}
    made = mixed.fit(x, late.reshape(len(late), -1), groups, weights=present.reshape(len(late), -1))
    return made.contrast(np.array(contrast))


def columns_of(scenario: Scenario, values: Values, half: NDArray[np.int_], session: bool = True) -> Columns:
    """Build the mixed model: condition, blocks, visit, baseline and what carries over, as the group stage has it.

    Parameters
    ----------
    scenario : Scenario
    values : Values
    half : (n,) int
    session : bool
        With the random intercept of the session; without it blocks count as independent.
    """
    s, order = scenario, values.order
    count, n, visits, blocks = full = values.late.shape
    k = len(s.weights)

    def spread(values: NDArray) -> NDArray[np.float64]:
        return np.broadcast_to(np.asarray(values, float)[..., np.newaxis], full)

    given = [spread(np.broadcast_to(order == c, full[:3])) for c in range(1, k)]
    late = [spread(np.broadcast_to(np.arange(visits) == v, full[:3])) for v in range(1, visits)]
    columns, contrast = [np.ones(full), *given], [float(s.single), *([] if s.single else s.weights[1:])]
    columns += [np.broadcast_to(np.arange(blocks) == b, full).astype(float) for b in range(1, blocks)]
    contrast += [s.single / blocks] * (blocks - 1)
    columns += late
    contrast += [s.single / visits] * (visits - 1)
    if s.over_visits:
        columns += [a * b for a in given for b in late]
        contrast += [w / visits for w in s.weights[1:] for _ in late]
    if s.estimand == "adjusted_level" and not s.single:
        known = np.isfinite(values.base)
        seen = known.any(axis=-1, keepdims=True)
        own = _mean(values.base, known)[..., np.newaxis]
        centre = np.sum(np.where(seen, own, 0), axis=1, keepdims=True) / seen.sum(axis=1, keepdims=True)
        parts = [values.base - own] if s.within else []
        columns += [spread(np.where(known, part, 0)) for part in (*parts, np.broadcast_to(own - centre, full[:3]))]
    if s.carry_over and s.within:
        before = np.column_stack([np.full(n, -1), order[:, :-1]])
        columns += [spread(np.broadcast_to(before == c, full[:3])) for c in range(1, k)]
    if s.moderated:
        own = spread(np.broadcast_to(half[:, np.newaxis] - half.mean(), full[:3]))
        contrast = [*np.zeros(len(columns)), float(s.single), *([] if s.single else s.weights[1:])]
        columns += [own, *(own * a for a in given)]
    person, visit, _ = np.indices(full[1:])
    groups = {"participant": person.ravel()}
    if session and s.design == "replicate":
        groups["participant:condition"] = (person * k + order[..., np.newaxis]).ravel()
    if session and visits > 1 and blocks > 1:
        groups["participant:session"] = (person * visits + visit).ravel()
    return Columns(
        x=np.stack(columns, axis=-1).reshape(count, -1, len(columns)),
        y=values.late.reshape(count, -1),
        weights=values.present.reshape(count, -1).astype(float),
        groups=groups,
        contrast=np.pad(np.array(contrast, float), (0, len(columns) - len(contrast))),
    )


def fit(columns: Columns) -> mixed.Fit:
    """Fit the mixed model to every trial."""
    return mixed.fit(columns.x, columns.y, columns.groups, weights=columns.weights)


def power_of(scenario: Scenario, count: int, seed: int) -> dict[str, float]:
    """Power and precision of the primary test.

    Returns
    -------
    dict
        power with its 95 % Monte-Carlo interval, the mean half width of the interval of the contrast, and the bias of
        the estimate with its Monte-Carlo standard error. Trials that cannot be tested show nothing.

    Raises
    ------
    InputError
        Most trials leave too few participants.
    """
    from scipy.special import stdtrit

    tests = [tests_of(scenario, trials) for trials in batches(scenario, count, seed)]
    p, estimate, se, df = (np.concatenate([getattr(t, name) for t in tests]) for name in ("p", "estimate", "se", "df"))
    known = np.isfinite(p)
    if known.mean() < 0.5:
        raise InputError(
            f"{scenario.n} participants are too few: after losses {100 * np.mean(~known):.0f} % of the trials cannot "
            "be analysed; raise power.participants (or rehearsal.participants), or lower power.dropouts"
        )
    shown = p < 1 - scenario.level
    low, high = wilson(int(shown.sum()), count)
    return {
        "power": float(shown.mean()), "power_low": low, "power_high": high,
        "half_width": float(np.mean(stdtrit(df[known], 0.5 + scenario.level / 2) * se[known])),
        "bias": float(estimate[known].mean() - scenario.effect),
        "bias_se": float(estimate[known].std(ddof=1) / np.sqrt(known.sum())),
    }  # fmt: skip


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
