"""The comparison of conditions: the primary model of each design, what is shown beside it, and rows of results."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError
from mrsflow.models import permutation, session_models
from mrsflow.models.mixed import DfMethod, Inference
from mrsflow.models.table_models import Model, fit_table
from mrsflow.statistics import design_checks
from mrsflow.statistics.plan import Contrast, Plan, formula, references

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.statistics.outcomes import Rows

COLUMNS = (
    "analysis", "outcome", "model", "contrast", "n_participants", "n_sessions", "n_blocks", "n_dropped", "random",
    "estimate", "se", "df", "df_method", "t", "p", "ci_low", "ci_high", "percent_of_baseline", "percent_ci_low",
    "percent_ci_high", "d_z", "d_z_low", "d_z_high", "g_av", "g_ci_low", "g_ci_high", "p_adjusted", "family",
    "singular", "converged", "sd_participant", "sd_session", "sd_residual", "seed", "remark",
)  # fmt: skip
SMALL_CELL = 10  # participants below which a subgroup gets a warning


def primary_model(
    plan: Plan, rows: "Rows", extra: Iterable[str] = (), session: bool = True, weights: str | None = None
) -> Model:
    """Fit the primary model.

    Raises
    ------
    InputError
        A guard found that the comparison is not in the data, or the model cannot be estimated.
    """
    design_checks.check_comparison(plan, rows.sessions)
    return fit_table(rows.blocks, formula(plan, rows, extra, session), references(plan, rows.blocks), weights)


def model_row(
    model: Model,
    weights: NDArray[np.float64],
    analysis: str,
    contrast: str,
    method: DfMethod = "kenward-roger",
    **more: Any,
) -> dict[str, Any]:
    """Make the row of a test in a mixed model."""
    table, fit = model.table, model.fit
    sd = dict(zip(fit.groups, np.sqrt(fit.variances), strict=True))
    row = {
        "analysis": analysis,
        "model": model.formula,
        "contrast": contrast,
        **counts(table),
        "n_dropped": model.design.n_dropped,
        "random": " + ".join(f"(1|{name})" for name in fit.groups),
        "df_method": method,
        "singular": bool(fit.singular),
        "converged": bool(fit.converged),
        "sd_participant": sd.get("participant"),
        "sd_session": sd.get("participant:session"),
        "sd_residual": float(np.sqrt(fit.residual_variance)),
        **numbers(model.test(weights, method)),
    }
    return row | more


def counts(blocks: "pd.DataFrame") -> dict[str, int]:
    """Cells that tell whose blocks a row used."""
    sessions = blocks.drop_duplicates(["participant", "session"])
    return {
        "n_participants": sessions["participant"].nunique(),
        "n_sessions": len(sessions),
        "n_blocks": len(blocks),
    }


def numbers(test: Inference) -> dict[str, float]:
    """Cells of a test."""
    return {name: float(getattr(test, name)) for name in ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")}


def session_row(
    fit: session_models.SessionFit, blocks: "pd.DataFrame", analysis: str, model: str, contrast: str, **more: Any
) -> dict[str, Any]:
    """Make the row of a least-squares test of session values that summarise `blocks`."""
    return {
        "analysis": analysis,
        "model": model,
        "contrast": contrast,
        **counts(blocks),
        "random": "none",
        "df_method": "residual",
        **numbers(fit.test),
        **more,
    }


def attempt(
    make: Callable[[], list[dict[str, Any]]], analysis: str, contrast: str, **more: Any
) -> list[dict[str, Any]]:
    """Make rows, or one row that says why there are none."""
    try:
        return make()
    except InputError as error:
        return [{"analysis": analysis, "contrast": contrast, "remark": f"not estimated: {error}", **more}]


def sizes(plan: Plan, rows: "Rows", contrast: Contrast) -> dict[str, float]:
    """Effect sizes of session changes (of infusion means where there is no baseline)."""
    value = "change" if rows.has_baseline else "y"
    by = {c: part.set_index("participant")[value] for c, part in rows.sessions.groupby("condition")}
    if plan.design == "single_arm":
        changes = rows.sessions
        return session_models.paired_sizes(changes["y"], changes["bl"]) if rows.has_baseline else {}
    treated, reference = by[contrast.treated], by[contrast.reference]
    if plan.design == "parallel":
        return session_models.group_sizes(treated, reference)
    both = treated.index.intersection(reference.index)
    return session_models.paired_sizes(treated[both], reference[both]) if len(both) > 1 else {}


def complete_row(row: dict[str, Any], rows: "Rows", outcome: str) -> dict[str, Any]:
    """Add what every row has: outcome, dropped rows, and the estimate as percent of the baseline."""
    names = {"estimate": "percent_of_baseline", "ci_low": "percent_ci_low", "ci_high": "percent_ci_high"}
    found = {new: 100 * row[old] / rows.baseline for old, new in names.items() if old in row}
    return {"outcome": outcome} | row | found | {"n_dropped": rows.n_dropped + row.get("n_dropped", 0)}


def compare(plan: Plan, rows: "Rows", contrast: Contrast, beside: bool = True) -> list[dict[str, Any]]:
    """Make every row of the primary comparison: the model by both methods and, `beside`, what must stand with it."""

    def mixed_rows(session: bool) -> list[dict[str, Any]]:
        if not rows.blocks.duplicated("participant").any():  # one value each: nothing is random
            row = pair_means(plan, rows, contrast, analysis="primary")
            return [row | sizes(plan, rows, contrast)]
        model = primary_model(plan, rows, session=session)
        weights = model.difference("condition", contrast.treated, contrast.reference)
        if not session:
            remark = "not a valid test where visits differ: participants' sessions are not told apart"
            return [
                model_row(
                    model, weights, "blocks treated as independent", contrast.name, "satterthwaite", remark=remark
                )
            ]
        remark = "; ".join([*rows.notes, *(["a variance is at zero"] if model.fit.singular else [])])
        return [
            model_row(model, weights, "primary", contrast.name, remark=remark, **sizes(plan, rows, contrast)),
            model_row(model, weights, "primary (Satterthwaite)", contrast.name, "satterthwaite", remark=remark),
        ]

    found = attempt(lambda: mixed_rows(True), "primary", contrast.name)
    if not beside:
        return [complete_row(row, rows, plan.outcome) for row in found[:1]]
    found += attempt(lambda: [pair_means(plan, rows, contrast)], "pair means", contrast.name)
    found += attempt(lambda: [rerandomised(plan, rows, contrast)], "re-randomisation", contrast.name)
    if plan.design == "crossover":
        found += attempt(lambda: mixed_rows(False), "blocks treated as independent", contrast.name)
    return [complete_row(row, rows, plan.outcome) for row in found]


def pair_means(
    plan: Plan, rows: "Rows", contrast: Contrast, y: str = "y", analysis: str = "pair means"
) -> dict[str, Any]:
    """Make the row of the classical analysis of session means: crossover or parallel analysis of covariance."""
    design_checks.check_comparison(plan, rows.sessions)
    adjusted = rows.has_baseline and y == "y"
    blocks = rows.blocks
    if plan.design == "parallel":
        fit = session_models.parallel(rows.sessions, contrast.treated, contrast.reference, y, adjusted)
        blocks = blocks[blocks["condition"].isin([contrast.treated, contrast.reference])]
        text = " + ".join(["condition", *fit.covariates])
    else:
        fit = session_models.crossover(
            rows.sessions, plan.conditions, contrast.treated, contrast.reference, y, adjusted
        )
        blocks = blocks[
            blocks["participant"].isin(session_models.complete(rows.sessions, plan.conditions)["participant"])
        ]
        text = " + ".join(["participant", "condition", *fit.covariates])
    left = rows.sessions["participant"].nunique() - fit.n_participants
    remark = f"{left} participant(s) without every condition left out" if left else ""
    named = "session mean" if y == "y" else "session change"
    return session_row(fit, blocks, analysis, f"{named} ~ {text}", contrast.name, remark=remark)


def rerandomised(plan: Plan, rows: "Rows", contrast: Contrast) -> dict[str, Any]:
    """Make the row of the randomisation test of the analysis of covariance."""
    row = pair_means(plan, rows, contrast, analysis="re-randomisation")
    p, t, exact = randomisation_of(plan, rows, contrast)
    unknown = ("se", "df", "ci_low", "ci_high")
    kept = {name: value for name, value in row.items() if name not in unknown}
    how = f"all {len(t)} assignments" if exact else f"{len(t)} random assignments"
    return kept | {"p": p, "df_method": how, "random": "assignment of conditions", "seed": plan.seed}


def randomisation_of(plan: Plan, rows: "Rows", contrast: Contrast) -> tuple[float, NDArray[np.float64], bool]:
    """Run the randomisation test: p, its distribution of t, and whether every assignment was taken."""
    levels = (contrast.reference, *(c for c in plan.conditions if c != contrast.reference))
    crossed = plan.design == "crossover"
    if crossed:
        used = session_models.complete(rows.sessions, plan.conditions)
        periods = tuple(sorted(used["period"].unique()))
        fixed = [session_models.dummies(used["period"], periods)]
    else:
        used = rows.sessions.sort_values("participant").reset_index(drop=True)
        fixed = [np.ones((len(used), 1))]
    if rows.has_baseline:
        fixed.append(used[["bl"]].to_numpy(float) - rows.sessions["bl"].mean())
    labels = used["condition"].to_numpy(object).reshape(used["participant"].nunique(), -1)
    return permutation.rerandomise(
        used["y"], np.column_stack(fixed), labels, used["participant"], levels, contrast.treated, plan.draws, plan.seed
    )


def participant_only_time(plan: Plan, blocks: "pd.DataFrame") -> dict[str, Any]:
    """Make the row of condition x time with a participant intercept only, as it is common in published trials."""
    contrast = plan.contrasts[0]
    model = fit_table(blocks, "outcome ~ condition*block + (1|participant)", references(plan, blocks))
    weights = model.difference("condition", contrast.treated, contrast.reference)
    remark = "not a valid test where visits differ; all blocks, condition averaged over time"
    name = "blocks treated as independent (condition x time)"
    return model_row(model, weights, name, contrast.name, "satterthwaite", remark=remark, outcome=plan.outcome)


def phase_model(plan: Plan, blocks: "pd.DataFrame") -> Model:
    """Fit condition x phase to all blocks, with every random intercept that the design has."""
    keys = ["participant", "session", "phase"]
    terms = ["condition*phase", *(["period"] if blocks["period"].nunique() > 1 else []), "(1|participant)"]
    terms += ["(1|participant:session)", "(1|participant:phase)"]
    if blocks.duplicated(keys).any():
        terms.append("(1|participant:session:phase)")
    found = references(plan, blocks)
    return fit_table(
        blocks, "outcome ~ " + " + ".join(terms), {k: found[k] for k in ("condition", "period")} | {"phase": "baseline"}
    )


def single_arm(plan: Plan, rows: "Rows", blocks: "pd.DataFrame") -> list[dict[str, Any]]:
    """Make the rows of infusion against baseline within participants, without a second condition."""
    contrast = plan.contrasts[0]

    def make() -> list[dict[str, Any]]:
        design_checks.check_comparison(plan, rows.sessions)
        model = fit_table(blocks, "outcome ~ block + (1|participant) + (1|participant:phase)", references(plan, blocks))
        phase = blocks.drop_duplicates("block").set_index("block")["phase"]
        late = [b for b in model.design.levels["block"] if phase[b] != "baseline"]
        early = [b for b in model.design.levels["block"] if phase[b] == "baseline"]
        weights = np.mean([model.mean_weights(block=b) for b in late], axis=0)
        weights = weights - np.mean([model.mean_weights(block=b) for b in early], axis=0)
        extra = sizes(plan, rows, contrast)
        return [
            model_row(model, weights, "primary", contrast.name, **extra),
            model_row(model, weights, "primary (Satterthwaite)", contrast.name, "satterthwaite"),
        ]

    def changes() -> list[dict[str, Any]]:
        test = session_models.one_sample(rows.sessions["change"])
        fit = session_models.SessionFit(test, rows.sessions["participant"].nunique(), ())
        return [session_row(fit, rows.blocks, "pair means", "session change ~ 1", contrast.name)]

    found = attempt(make, "primary", contrast.name) + attempt(changes, "pair means", contrast.name)
    return [complete_row(row, rows, plan.outcome) for row in found]


def adjust(rows: list[dict[str, Any]], family: str, method: str) -> list[dict[str, Any]]:
    """Adjust the p-values of a family (Holm or Benjamini-Hochberg); rows without p stay without."""
    from statsmodels.stats.multitest import multipletests

    tested = [row for row in rows if np.isfinite(row.get("p", np.nan))]
    if tested:
        for row, p in zip(tested, multipletests([row["p"] for row in tested], method=method)[1], strict=True):
            row |= {"p_adjusted": float(p), "family": family}
    return rows
