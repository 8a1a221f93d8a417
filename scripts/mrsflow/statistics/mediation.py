"""How much of a contrast of mood goes through the change of the outcome: the indirect effect and what it assumes."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mrsflow.errors import InputError
from mrsflow.models import estimates, session_models
from mrsflow.models.estimates import Estimate
from mrsflow.models.formula import quoted
from mrsflow.models.table_models import fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.multiplicity import MEDIATION, adjust
from mrsflow.statistics.outcomes import baseline_terms, by_participant, split_within
from mrsflow.statistics.plan import references, several_sessions
from mrsflow.statistics.results import Result, complete_row, counts, estimated

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.models.mixed import Inference
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.statistics.plan import Contrast, Plan

ASSUMED = (
    "assumes that nothing unmeasured moves both changes, that mood does not act on the outcome, that a percent of "
    "change means the same under every condition, and a change measured without error (with error the indirect effect "
    "is too small); exploratory"
)


@dataclass(frozen=True)
class Paths:
    """Both models of a mediation: condition to change of the outcome, that to mood, and condition to mood beside it."""

    first: Estimate
    second: Estimate
    direct: Estimate
    response: str
    terms: str
    columns: tuple[str, ...]
    random: str


def mediation_rows(plan: "Plan", rows: "Rows", mood: "Rows", outcome: str) -> list[Result]:
    """Make a row for each contrast: the indirect effect on the change of mood, in points.

    Parameters
    ----------
    plan : Plan
    rows : Rows
        Of the primary outcome.
    mood : Rows
        Of the change of mood.
    outcome : str
        Name of the change of mood.
    """
    if plan.design == "single_arm":
        return []
    own, found = replace(plan, outcome=outcome), []
    for contrast in plan.contrasts:
        failed = Result(analysis="mediation", contrast=contrast.name, outcome=outcome, estimand="indirect effect")
        found += estimated(lambda c=contrast: [_row(own, rows, mood, c)], failed)
    return adjust(found, MEDIATION)


def _row(plan: "Plan", rows: "Rows", mood: "Rows", contrast: "Contrast") -> Result:
    table = changes_of(plan, rows, mood)
    design_checks.check_comparison(plan, table)
    paths = paths_of(plan, table, contrast)
    found = estimates.product(paths.first, paths.second, plan.level)
    a, b, direct = paths.first, paths.second, paths.direct
    said = (
        f"contrast of the change {a.value:.3g} % (SE {a.se:.2g}), {b.value:.3g} points of mood per percent (SE "
        f"{b.se:.2g}), direct effect {direct.value:.3g} points (SE {direct.se:.2g}); {ASSUMED}"
    )
    row = Result(
        analysis="mediation",
        contrast=contrast.name,
        response=paths.response,
        terms=paths.terms,
        columns=paths.columns,
        **counts(table),
        random=paths.random,
        estimate=found.value,
        se=found.se,
        df_method="distribution of the product",
        p=found.p,
        ci_low=found.low,
        ci_high=found.high,
        ci_level=plan.level,
        remark=said,
    )
    return complete_row(row, replace(mood, estimand="indirect effect"), plan)


def changes_of(plan: "Plan", rows: "Rows", mood: "Rows") -> "pd.DataFrame":
    """Sessions that have both changes: `glx` in percent of the baseline, `outcome` in points of mood."""
    if not rows.has_baseline:
        raise InputError("there are no baseline blocks, so there is no change of the outcome")
    keys = ["participant", "session"]
    glx = rows.sessions[keys].assign(glx=100 * rows.sessions["change"] / rows.baseline).dropna()
    columns = [*keys, "condition", "visit", "outcome", "bl", "bl_dev", "bl_mean", *plan.adjust_for]
    table = mood.blocks[columns].merge(glx, on=keys)
    table["glx_within"], table["glx_between"] = split_within(table, "glx")
    return table


def paths_of(plan: "Plan", table: "pd.DataFrame", contrast: "Contrast") -> Paths:
    """Fit both models to the same sessions, with the same covariates, the score before among them.

    In a crossover the path from the outcome to mood is that within participants (Judd et al. 2001,
    doi:10.1037/1082-989X.6.2.115).
    """
    if plan.design == "crossover" and several_sessions(table):
        terms = ["condition", *["visit"] * (table["visit"].nunique() > 1), *baseline_terms(table, within=True)]
        terms += [*map(quoted, plan.adjust_for), "(1|participant)"]
        known = {k: v for k, v in references(plan, table.assign(block="session")).items() if k in terms}
        one = fit_table(table, "glx ~ " + " + ".join(terms), known)
        two = fit_table(table, "outcome ~ " + " + ".join(["glx_within", "glx_between", *terms]), known)
        said = "outcome", two.terms, tuple(one.columns), "participant"
        slope = np.array([float(name == "glx_within") for name in two.design.names])
        tests = one.test(contrast.difference(one)), two.test(slope), two.test(contrast.difference(two))
    else:
        names = ("bl", *plan.adjust_for)
        table = by_participant(table, ["outcome", "glx", *names])  # means over the visits after treatment
        x, w = session_models.parallel_design(table, plan.conditions, contrast.of, names)
        wide, direct = session_models.parallel_design(table, plan.conditions, contrast.of, (*names, "glx"))
        groups, slope = table["condition"].to_numpy(object), np.eye(wide.shape[1])[-1]
        y = table["outcome"].to_numpy(float)
        first = session_models.unequal_variances(x, table["glx"].to_numpy(float), groups, w)
        tests = (first, *(session_models.unequal_variances(wide, y, groups, v) for v in (slope, direct)))
        said = "change of mood", " + ".join(["condition", *names, "glx"]), names, "none"
    return Paths(*map(_estimate, tests), *said)


def _estimate(test: "Inference") -> Estimate:
    return Estimate(float(test.estimate), float(test.se), float(test.df))
