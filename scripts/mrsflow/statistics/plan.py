"""What is compared: conditions, contrasts, reference levels and the formula of the primary model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.statistics.outcomes import Rows


@dataclass(frozen=True)
class Contrast:
    """A named comparison of two conditions."""

    name: str
    treated: str
    reference: str


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
    """

    design: str
    conditions: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    outcome: str
    adjust_for: tuple[str, ...]
    draws: int
    seed: int


def plan_of(config: dict[str, Any]) -> Plan:
    """Read the plan from a configuration.

    Raises
    ------
    InputError
        A contrast of conditions that do not exist.
    """
    group, study = config["group"], config["study"]
    conditions = tuple(study["conditions"])
    found = [Contrast(c["name"], c["treated"], c["reference"]) for c in group["contrasts"]]
    found = found or [Contrast(f"{c} - {conditions[0]}", c, conditions[0]) for c in conditions[1:]]
    for contrast in found:
        for code in (contrast.treated, contrast.reference):
            if code not in conditions:
                raise InputError(
                    f"group.contrasts: {contrast.name!r} names {code!r}; study.conditions has {', '.join(conditions)}"
                )
    if study["design"] == "single_arm":
        found = [Contrast("infusion - baseline", conditions[0], conditions[0])]
    return Plan(
        study["design"],
        conditions,
        tuple(found),
        group["outcome"],
        tuple(group["adjust_for"]),
        group["draws"],
        group["seed"],
    )


def references(plan: Plan, blocks: "pd.DataFrame") -> dict[str, str]:
    """Choose reference levels: the first condition, the first period, the earliest block."""
    if blocks.empty:
        raise InputError("there is no usable block")
    found = {"condition": plan.conditions[0], "period": str(blocks["period"].min())}
    if "onset_s" in blocks:
        found["block"] = str(blocks.sort_values("onset_s", kind="stable")["block"].iloc[0])
    return found


def formula(plan: Plan, rows: "Rows", extra: Iterable[str] = (), session: bool = True) -> str:
    """Write the primary model of a design for the rows there are.

    Terms that the data cannot have (a single block or period, no baseline, one block per session) are left out.

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
    terms = ["condition"]
    if blocks["block"].nunique() > 1:
        terms.append("block")
    if plan.design == "crossover" and blocks["period"].nunique() > 1:
        terms.append("period")
    if rows.has_baseline:
        terms += ["bl_dev", "bl_mean"] if plan.design == "crossover" else ["bl_mean"]
    terms += [*plan.adjust_for, *extra, "(1|participant)"]
    keys = ["participant", "session"]
    if session and plan.design == "crossover" and blocks.duplicated(keys).any():
        terms.append("(1|participant:session)")
    return "outcome ~ " + " + ".join(terms)
