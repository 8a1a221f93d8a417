"""Trials pooled: the mean, how much trials differ, who makes the result, and what a reader must know."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import meta
from mrsflow.models.mixed import Inference
from mrsflow.pooling import one_stage
from mrsflow.pooling.effects import Measure
from mrsflow.pooling.sources import MODERATORS, Trial

FEW_FOR_FUNNEL = 10
"""Trials below which nothing can be said of small-study effects (Sterne et al. 2011, doi:10.1136/bmj.d4002)."""
FEW_PER_MODERATOR = 10
"""Trials for each coefficient of a moderator below which it is exploratory (Cochrane Handbook,
doi:10.1002/9781119536604.ch10)."""
MUCH_MORE_PRECISE = 10
"""Factor by which a standard error is rarely smaller than those of other trials."""
FEW_DF = 10
"""Degrees of freedom of a standard error below which it says little of itself."""
ALIKE = 3
"""Facts beside design and size in which two rows agree that may be of the same people."""
UNITS = {"percent": "% of baseline", "standardised": "SD between participants"}


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    """A row of ``pooled``; fields are columns of ``tables.yaml``."""

    analysis: str
    term: str | None = None
    measure: str
    unit: str
    n_trials: int
    n_participants: int
    estimate: float = np.nan
    se: float = np.nan
    df: float = np.nan
    t: float = np.nan
    p: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    ci_level: float = np.nan
    prediction_low: float = np.nan
    prediction_high: float = np.nan
    factor: float = np.nan
    tau2: float = np.nan
    tau2_low: float = np.nan
    tau2_high: float = np.nan
    i2_percent: float = np.nan
    q: float = np.nan
    q_df: int | None = None
    q_p: float = np.nan
    remark: str = ""


@dataclass(frozen=True)
class Pool:
    """Trials pooled.

    Attributes
    ----------
    trials : list of Trial
        In the order of their sources.
    weights : (k,)
        In the mean, sum 1.
    rows : list of PoolRow
        The mean first, with the guard second.
    remarks : list of str
        What a reader must know before the numbers.
    """

    trials: list[Trial]
    weights: NDArray[np.float64]
    rows: list[PoolRow]
    remarks: list[str]
    measure: Measure
    level: float

    @property
    def unit(self) -> str:
        """Unit of all estimates, for labels."""
        return self.rows[0].unit


def pool(
    trials: Sequence[Trial],
    measure: Measure,
    moderators: Sequence[str] = (),
    level: float = 0.95,
    participants: bool = False,
    covariates: Sequence[str] = (),
) -> Pool:
    """Pool trials.

    Parameters
    ----------
    trials : sequence of Trial
        Effects in the measure.
    measure : "percent", "difference" or "standardised"
    moderators : sequence of str
        Of `mrsflow.pooling.sources.MODERATORS`, each in a model of its own.
    level : float
        Of intervals.
    participants : bool
        Whether the participants of the studies of mrsflow are put into one model as well (`one_stage`).
    covariates : sequence of str
        Columns of numbers of these participants, which may change the effect.

    Raises
    ------
    InputError
        A single trial, differences in several units, a moderator that is not known, or a level that is none.
    """
    if len(trials) < 2:
        raise InputError("there is one trial; two or more are pooled, and a single one has its own report")
    if unknown := [name for name in moderators if name not in MODERATORS]:
        raise InputError(f"--moderators: {unknown[0]!r} is none; known are {', '.join(MODERATORS)}")
    if not 0.5 < level < 1:
        raise InputError(f"--level is {level:g}; a level between 0.5 and 1 is needed, such as 0.95")
    unit = UNITS.get(measure) or _one_unit(trials)
    maker = _Maker(list(trials), measure, unit, level)
    everyone = list(range(len(trials)))
    rows = [maker.mean("random effects", everyone), maker.mean("random effects, guarded", everyone, guard=True)]
    if len(trials) > 2:
        for n, trial in enumerate(trials):
            rows.append(maker.mean("leave one out", [i for i in everyone if i != n], term=trial.name))
    if apart := _one_of_each_sample(trials):
        rows.append(maker.mean("one trial of each sample", apart))
    for name in moderators:
        rows += maker.moderator(name)
    if participants or covariates:
        rows += _one_stage(trials, measure, moderators, covariates, level)
    rows.append(maker.small_studies())
    found = meta.fit(*maker.numbers(everyone))
    return Pool(list(trials), found.weights, rows, list(_remarks(trials, found, measure)), measure, level)


def _one_stage(
    trials: Sequence[Trial], measure: Measure, moderators: Sequence[str], covariates: Sequence[str], level: float
) -> list[PoolRow]:
    """Make rows of the participants of all studies of mrsflow in one model, and of their cohorts where asked for."""
    import pandas as pd

    if measure != "percent":
        raise InputError("--one-stage takes changes in percent of the baseline; pool with --measure percent")
    studies = [trial for trial in trials if trial.folder is not None]
    if len(studies) < 2:
        raise InputError("--one-stage needs two studies of mrsflow or more, as published trials give no participants")
    rows = pd.concat([one_stage.sessions_of(trial, covariates) for trial in studies], ignore_index=True)
    shared = {"measure": measure, "unit": UNITS["percent"]}
    remark = f"without the participants of {len(trials) - len(studies)} published trials" * (len(studies) < len(trials))
    found = one_stage.cells(one_stage.fit(rows, covariates=covariates), level, **shared, remark=remark)
    if "cohort" in moderators:
        found += one_stage.cells(one_stage.fit(rows, cohorts=True), level, **shared, remark=remark)
    return [PoolRow(**cells) for cells in found]


def _one_unit(trials: Sequence[Trial]) -> str:
    units = {trial.unit: trial.name for trial in trials}
    if len(units) > 1:
        said = ", ".join(f"{name} in {unit}" for unit, name in units.items())
        raise InputError(
            f"differences are in several units ({said}); pool --measure percent, with baseline given where the unit is "
            "another, or --measure standardised"
        )
    return next(iter(units))


class _Maker:
    """Makes rows from some of the trials."""

    def __init__(self, trials: list[Trial], measure: Measure, unit: str, level: float) -> None:
        self.trials, self.measure, self.unit, self.level = trials, measure, unit, level

    def numbers(self, which: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimates and variances."""
        effects = [self.trials[i].effect for i in which]
        return np.array([e.estimate for e in effects]), np.array([e.se**2 for e in effects])

    def row(self, analysis: str, which: Sequence[int], **cells: Any) -> PoolRow:
        people = sum(self.trials[i].effect.n for i in which)
        shared = {"measure": self.measure, "unit": self.unit, "n_trials": len(which), "n_participants": people}
        return PoolRow(**{"analysis": analysis, "ci_level": self.level, **shared, **cells})

    def mean(self, analysis: str, which: Sequence[int], term: str | None = None, guard: bool = False) -> PoolRow:
        """Row of the mean of some trials."""
        try:
            found = meta.fit(*self.numbers(which))
            test = found.contrast([1.0], self.level, guard)
        except InputError as error:
            return self.row(analysis, which, term=term, remark=f"not estimated: {error}")
        low, high = found.prediction(self.level, guard) if len(which) > 2 else (np.nan, np.nan)
        remark = "" if len(which) > 2 else "two trials say nothing of a further one: no prediction interval"
        cells = {"prediction_low": low, "prediction_high": high, "remark": remark, "term": term}
        return self.row(analysis, which, **_tested(test), **_between(found), **cells)

    def small_studies(self) -> PoolRow:
        """Row of the test for small-study effects."""
        which = range(len(self.trials))
        row = self.row("small studies", list(which), unit="per unit of SE")
        if len(self.trials) < FEW_FOR_FUNNEL:
            return replace(row, remark=(
                f"{len(self.trials)} trials are too few to tell whether small ones differ (from {FEW_FOR_FUNNEL} on): "
                "neither the picture nor a test says anything"
            ))  # fmt: skip
        try:
            return replace(row, **_tested(meta.asymmetry(*self.numbers(which))), ci_level=0.95)
        except InputError as error:
            return replace(row, remark=f"not estimated: {error}")

    def moderator(self, name: str) -> list[PoolRow]:
        """Rows of a moderator: a slope, or the mean at each level, and the test of both."""
        which = [i for i, trial in enumerate(self.trials) if name in trial.told]
        values = [self.trials[i].told[name] for i in which]
        analysis = f"moderator {name}"
        left = len(self.trials) - len(which)
        remark = f"{left} trials do not say it; " * (left > 0)
        levels = list(dict.fromkeys(values))
        numeric = all(isinstance(value, int | float) for value in values) and bool(values)
        columns = 2 if numeric else len(levels)
        if len(levels) < 2 or len(which) <= columns:
            said = f"{remark}not estimated: {len(which)} trials with {len(levels)} different values are too few"
            return [self.row(analysis, which, remark=f"{said}; leave {name} out, or fill it in for more trials")]
        if len(which) < FEW_PER_MODERATOR * (columns - 1):
            remark += f"exploratory: {FEW_PER_MODERATOR} trials or more for each coefficient are advised"
        y, v = self.numbers(which)
        if numeric:
            middle = float(np.mean(values))
            found = meta.fit(y, v, np.column_stack([np.ones(len(y)), np.array(values, float) - middle]))
            cells = {"term": f"per unit of {name}", "unit": f"{self.unit} per unit", "remark": remark.strip("; ")}
            return [
                self.row(analysis, which, **_tested(found.contrast([0, 1], self.level)), **_between(found), **cells)
            ]
        indicators = np.array([[value == level for level in levels] for value in values], float)
        try:
            found = meta.fit(y, v, indicators)
            own = [found.contrast(w, self.level) for w in np.eye(len(levels))]
        except InputError as error:
            return [self.row(analysis, which, remark=f"{remark}not estimated: {error}")]
        rows = [
            self.row(analysis, [i for i in which if self.trials[i].told[name] == level], term=f"{level}",
                     **_tested(test), remark=remark.strip("; "))
            for level, test in zip(levels, own, strict=True)
        ]  # fmt: skip
        against = meta.fit(y, v, np.column_stack([np.ones(len(y)), indicators[:, 1:]]))
        if len(levels) == 2:
            cells = _tested(against.contrast([0, 1], self.level))
        else:
            _, _, df, p = against.f_test(list(range(1, len(levels))))
            cells = {"df": df, "p": p}
        term = f"{levels[1]} - {levels[0]}" if len(levels) == 2 else "any difference"
        return [*rows, self.row(analysis, which, term=term, **cells, **_between(against), remark=remark.strip("; "))]


def _tested(test: Inference) -> dict[str, float]:
    return {name: float(getattr(test, name)) for name in ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")}


def _between(found: meta.Pooled) -> dict[str, Any]:
    h = found.heterogeneity
    return {"factor": found.factor, "tau2": h.tau2, "tau2_low": h.low, "tau2_high": h.high, "i2_percent": h.i2_percent,
            "q": h.q, "q_df": h.df, "q_p": h.p}  # fmt: skip


def _one_of_each_sample(trials: Sequence[Trial]) -> list[int]:
    """Give the most precise trial of each sample; nothing where no two have the same."""
    kept: list[int] = []
    order = sorted(range(len(trials)), key=lambda i: trials[i].effect.se)
    for i in order:
        if not any(_same_people(trials[i], trials[j])[0] for j in kept):
            kept.append(i)
    return sorted(kept) if 1 < len(kept) < len(trials) else []


def _same_people(a: Trial, b: Trial) -> tuple[bool, str]:
    """Whether the same participants stand in two trials for sure, and what speaks for it; '' where nothing does."""
    for name in ("sample", "registration"):
        if name in a.told and a.told.get(name) == b.told.get(name):
            return True, f"the same {name}, {a.told[name]}"
        if name == "sample" and name in a.told and name in b.told:
            return False, ""
    if both := a.scans & b.scans:
        return True, f"{len(both)} raw files that are the same"
    if (source := _doi(a)) and source == _doi(b):
        return False, f"the same source, {source}"
    shared = len(set(a.people) & set(b.people))
    if shared >= max(3, min(len(a.people), len(b.people)) / 2):
        return False, f"{shared} participants of the same sex, age and weight"
    known = [name for name in (*MODERATORS, "outcome") if name in a.told and name in b.told]
    alike = len(known) >= ALIKE and all(a.told[name] == b.told[name] for name in known)
    if a.design == b.design and a.effect.n == b.effect.n and alike:
        return False, f"the same design, number of participants, {', '.join(known)}"
    return False, ""


def _doi(trial: Trial) -> str:
    """Give the doi in the source of a trial, or ''."""
    found = re.search(r"10\.\d{4,9}/[^\s,;]+", str(trial.told.get("source", "")))
    return found[0].rstrip(".)").lower() if found else ""


def _remarks(trials: Sequence[Trial], found: meta.Pooled, measure: Measure) -> Iterator[str]:
    """Say what a reader must know before the numbers, each with what can be done."""
    for a, b in combinations(trials, 2):
        sure, why = _same_people(a, b)
        if why:
            yield (
                f"{a.name} and {b.name} {'hold' if sure else 'may hold'} the same participants ({why}), whose errors "
                "are then no two: " + ("see the row with one trial of each sample, and report that one"
                                   if sure else "name the sample of each in column sample")
            )  # fmt: skip
    k = len(trials)
    if k < 6:
        yield (
            f"{k} trials say little of how much trials differ; the interval is wide for that reason, and its width is "
            "itself uncertain, and the row with the guard is cautious (in simulated sets of 3 trials its test is "
            "false in at most 1.2 % in place of 5 %). Of further trials the prediction interval holds 85 to 95 %. "
            "Report every trial beside the mean"
        )
    if found.factor < 1:
        yield (
            f"The trials scatter less than their errors say (factor {found.factor:.2g}), so that the interval without "
            "the guard is narrower than errors alone allow; the row with the guard is cautious here, its test false "
            "in less than the nominal part. Say which of the two the protocol named"
        )
    errors = np.array([trial.effect.se for trial in trials])
    for n, trial in enumerate(trials):
        if MUCH_MORE_PRECISE * errors[n] < np.median(np.delete(errors, n)):
            yield (
                f"The standard error of {trial.name}, {errors[n]:.2g}, is less than a tenth of those of the others: "
                "see that it is one of the difference, in the same unit (percent, no fractions of 1), as this trial "
                "else makes the mean by itself"
            )
    for name, what in (("outcome", "outcomes"), ("contrast", "contrasts")):
        values = dict.fromkeys(trial.told[name] for trial in trials if name in trial.told)
        if len(values) > 1:
            yield (
                f"The trials have {len(values)} {what} ({', '.join(map(str, values))}): see that they are the same "
                "question in the same direction (treated less reference), or leave some out"
            )
    designs = dict.fromkeys(trial.design for trial in trials)
    if len(designs) > 1 and measure == "standardised":
        yield (
            f"Designs differ ({', '.join(designs)}): all are standardised by the SD between participants, and those "
            "of a change within participants and between groups are taken for the same. Percent needs no such "
            "assumption"
        )
    if weak := [trial.name for trial in trials if trial.effect.df < FEW_DF]:
        yield (
            f"The standard error of {', '.join(weak)} has less than {FEW_DF} degrees of freedom and is taken as "
            "known, as in all pooling of trials; see the rows without them"
        )
    for trial in trials:
        if trial.remark:
            yield f"{trial.name}: {trial.remark} (see its own report)"
