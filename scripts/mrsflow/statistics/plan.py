"""What is compared: conditions, contrasts, reference levels and the formula of the primary model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models.formula import quoted
from mrsflow.statistics.outcomes import after, baseline_terms
from mrsflow.study.config import weights_of

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.models.table_models import Model
    from mrsflow.statistics.outcomes import Rows


@dataclass(frozen=True)
class Contrast:
    """A named comparison of conditions: their weights, sum 0; none in a single arm, whose mean is tested."""

    name: str
    weights: tuple[tuple[str, float], ...] = ()

    @property
    def of(self) -> dict[str, float]:
        """Weight of each condition that has one."""
        return dict(self.weights)

    @property
    def pair(self) -> tuple[str, str] | None:
        """Treated and reference condition of a difference of two; None of other contrasts."""
        by = {weight: condition for condition, weight in self.weights}
        return (by[1.0], by[-1.0]) if len(self.weights) == 2 and set(by) == {1.0, -1.0} else None

    @property
    def words(self) -> str:
        """Name, and what is compared where the name does not say it.

        >>> Contrast("main", (("a", 0.5), ("b", 0.5), ("c", -1.0))).words
        'main: 0.5 a + 0.5 b - c'
        """
        parts = [
            f"{'-' if w < 0 else '+'} {'' if abs(w) == 1 else f'{abs(w):.4g} '}{condition}"
            for condition, w in self.weights
        ]
        said = " ".join(parts).removeprefix("+ ")
        return self.name if said in ("", self.name) else f"{self.name}: {said}"

    def difference(self, model: "Model", **fixed: str) -> NDArray[np.float64]:
        """Weights of the contrast among the fixed effects of a model."""
        if not self.weights:
            return model.mean_weights(**fixed)
        return np.sum([w * model.mean_weights(condition=c, **fixed) for c, w in self.weights], axis=0)


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Attributes
    ----------
    design : str
    conditions : tuple of str
        The reference first.
    contrasts : tuple of Contrast
        The primary one first.
    outcome : str
    adjust_for : tuple of str
        Further fixed effects of the primary model.
    draws, seed : int
        Of randomisation tests.
    replicates : bool
        Whether participants of a crossover may have a condition in several sessions.
    carry_over : bool
        Whether the primary model of a crossover has the condition of the visit before.
    visits : tuple of int
        Visits before treatment, with which the others are compared; none where the baseline lies within the session.
    level : float
        Of intervals.
    shared_maps : tuple of str
        Maps in the voxels that are one for all: people differ by where their voxels lie alone.
    """

    design: str
    conditions: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    outcome: str
    adjust_for: tuple[str, ...]
    draws: int
    seed: int
    visits: tuple[int, ...] = ()
    replicates: bool = False
    carry_over: bool = False
    level: float = 0.95
    shared_maps: tuple[str, ...] = ()

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns of the carry-over terms of the primary model."""
        return tuple(after(c) for c in self.conditions[1:]) if self.carry_over else ()


def plan_of(config: dict[str, Any]) -> Plan:
    """Read the plan from a checked configuration."""
    group, study = config["group"], config["study"]
    conditions = tuple(study["conditions"])
    found = [Contrast(c["name"], tuple(weights_of(c).items())) for c in group["contrasts"]]
    first = conditions[0]
    found = found or [Contrast(f"{c} - {first}", ((c, 1.0), (first, -1.0))) for c in conditions[1:]]
    if study["design"] == "single_arm":
        found = [Contrast("follow-up - before" if study["baseline_visits"] else "infusion - baseline")]
    return Plan(
        study["design"],
        conditions,
        tuple(found),
        group["outcome"],
        tuple(group["adjust_for"]),
        group["draws"],
        group["seed"],
        tuple(study["baseline_visits"]),
        study["replicates"],
        group["carry_over"],
        group["level"],
        tuple(name for name, own in config["inputs"]["maps"].items() if "PARTICIPANT" not in own["file"]),
    )


def references(plan: Plan, blocks: "pd.DataFrame") -> dict[str, str]:
    """Choose reference levels: the first condition, the first visit, the earliest block."""
    if blocks.empty:
        raise InputError("there is no usable block")
    found = {"condition": plan.conditions[0], "visit": str(blocks["visit"].min())}
    if "onset_s" in blocks:
        found["block"] = str(blocks.sort_values("onset_s", kind="stable")["block"].iloc[0])
    return found


def formula(plan: Plan, rows: "Rows", extra: Iterable[str] = (), session: bool = True) -> str:
    """Write the primary model of a design for the rows there are, see `terms_of`."""
    return "outcome ~ " + " + ".join(terms_of(plan, rows, extra, session))


def terms_of(plan: Plan, rows: "Rows", extra: Iterable[str] = (), session: bool = True) -> list[str]:
    """List the terms of the primary model.

    Terms that the data cannot have (a single block or visit, no baseline, one block per session) are left out.

    Parameters
    ----------
    plan : Plan
    rows : Rows
    extra : iterable of str
        Further fixed effects.
    session : bool
        With the random intercept of the session; without it blocks count as independent.
    """
    blocks = rows.blocks
    terms = [] if plan.design == "single_arm" else ["condition"]
    if blocks["block"].nunique() > 1:
        terms.append("block")
    if (plan.design != "parallel" or plan.visits) and blocks["visit"].nunique() > 1:
        terms += ["visit", "condition:visit"] if plan.visits and "condition" in terms else ["visit"]
    if rows.adjusts:
        terms += baseline_terms(rows.sessions, plan.design == "crossover")
    terms += [*map(quoted, plan.carried), *map(_term, (*plan.adjust_for, *extra)), "(1|participant)"]
    if session and plan.design == "crossover" and replicated(blocks):
        terms.append("(1|participant:condition)")
    keys = ["participant", "session"]
    if session and several_sessions(blocks) and (rows.known or blocks.duplicated(keys).any()):
        terms.append("(1|participant:session)")
    return terms


def _term(columns: str) -> str:
    """Write a column, or columns joined by a colon, as formulas have them."""
    return ":".join(map(quoted, columns.split(":")))


def replicated(blocks: "pd.DataFrame") -> bool:
    """Whether a participant has several sessions of a condition."""
    return bool((blocks.groupby(["participant", "condition"])["session"].nunique() > 1).any())


def several_sessions(blocks: "pd.DataFrame") -> bool:
    """Whether a participant has more than one session."""
    return bool((blocks.groupby("participant")["session"].nunique() > 1).any())
