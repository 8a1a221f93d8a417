"""Mixed models of tables: from a formula to a fit that knows its rows, levels and contrasts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.models import formula as formulas
from mrsflow.models import mixed, reml, two_level

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Model:
    """A mixed model fitted to a table.

    Attributes
    ----------
    formula : str
    fit : mixed.Fit
    design : formula.Design
    table : DataFrame
        The rows used.
    """

    formula: str
    fit: mixed.Fit
    design: formulas.Design
    table: "pd.DataFrame"

    @property
    def terms(self) -> str:
        """Right-hand side of the formula."""
        return self.formula.partition("~")[2].strip()

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the fixed effects."""
        return frozenset(column for effect in self.design.effects for column, _ in effect)

    def mean_weights(self, **fixed: str) -> NDArray[np.float64]:
        """Weights of an estimated mean: factors in `fixed` at that level, others equally, covariates at their mean.

        Raises
        ------
        InputError
            A level that the data do not have.
        """
        for column, level in fixed.items():
            if level not in self.design.levels[column]:
                raise InputError(f"{column} {level!r} has no data (there is {', '.join(self.design.levels[column])})")
        return np.array([self._product(effect, fixed) for effect in self.design.effects])

    def difference(self, column: str, treated: str, reference: str, **fixed: str) -> NDArray[np.float64]:
        """Weights of the difference of two estimated means."""
        return self.mean_weights(**{column: treated}, **fixed) - self.mean_weights(**{column: reference}, **fixed)

    def type_3_rows(self, *columns: str) -> NDArray[np.float64]:
        """Rows of the type III test of a main effect or interaction, other factors averaged equally, (q, p)."""
        wanted = set(columns)
        rows = []
        for target in self.design.effects:
            if {c for c, _ in target} == wanted:
                own = dict(target)
                rows.append(
                    [
                        self._product([part for part in e if part[0] not in wanted], {})
                        if wanted <= {c for c, _ in e} and all(own[c] == v for c, v in e if c in wanted)
                        else 0.0
                        for e in self.design.effects
                    ]
                )
        return np.array(rows)

    def _product(self, effect: Iterable[tuple[str, str | None]], fixed: dict[str, str]) -> float:
        weight = 1.0
        for column, level in effect:
            if level is None:
                weight *= float(self.table[column].mean())
            else:
                weight *= float(level == fixed[column]) if column in fixed else 1 / len(self.design.levels[column])
        return weight

    def test(self, weights: ArrayLike, method: mixed.DfMethod = "kenward-roger") -> mixed.Inference:
        """Test a combination of the fixed effects.

        Raises
        ------
        InputError
            The data are too few for the method.
        """
        found = self.fit.contrast(weights, method)
        if not np.isfinite([found.se, found.df, found.p]).all():
            raise InputError(f"the data are too few for the {method} test")
        return found


def fit_table(
    table: "pd.DataFrame",
    formula: str,
    references: dict[str, str] | None = None,
    weights: str | None = None,
    aliased: Literal["refuse", "leave out"] = "refuse",
    errors: str | None = None,
) -> Model:
    """Fit a mixed model to a table.

    Parameters
    ----------
    table : DataFrame
    formula : str
        At least one random intercept.
    references : dict, optional
        Reference level of factors.
    weights : str, optional
        Column of relative precisions.
    aliased : "refuse" or "leave out"
        What becomes of effects that are combinations of those before them (lme4 leaves them out).
    errors : str, optional
        Column of known variances of the rows' errors (`mrsflow.models.two_level`), of what the last random intercept is
        of.

    Raises
    ------
    InputError
        See `mrsflow.models.formula.design` and `mrsflow.models.mixed.fit`.
    """
    parsed = formulas.parse(formula)
    if not parsed.random:
        raise InputError(f"formula {formula!r} has no random intercept such as (1|participant)")
    design = formulas.design(parsed, table, references)
    if aliased == "leave out":
        design = design.keep(reml.independent(design.x))
    used = table.iloc[design.rows]
    if errors is not None:
        known = used[errors].to_numpy(float)
        return Model(formula, two_level.fit(design.x, design.y, known, design.groups, design.names), design, used)
    precision = None if weights is None else used[weights].to_numpy(float)
    fit = mixed.fit(design.x, design.y, design.groups, design.names, precision)
    return Model(formula, fit, design, used)


def describe_fit(model: Model) -> dict[str, Any]:
    """Describe a fit as JSON-able values: both tests of every fixed effect."""
    fit = model.fit
    fixed = {}
    for name, weights in zip(fit.names, np.eye(len(fit.names)), strict=True):
        satterthwaite, kr = model.test(weights, "satterthwaite"), model.test(weights)
        fixed[name] = {
            "estimate": float(satterthwaite.estimate),
            "se": float(satterthwaite.se),
            "df_satterthwaite": float(satterthwaite.df),
            "p_satterthwaite": float(satterthwaite.p),
            "se_kr": float(kr.se),
            "df_kr": float(kr.df),
            "p_kr": float(kr.p),
        }
    return {
        "formula": model.formula,
        "n_rows": int(fit.n_rows),
        "n_dropped": model.design.n_dropped,
        "left_out": list(model.design.left_out),
        "levels": model.design.levels,
        "loglik": float(fit.loglik),
        "singular": bool(fit.singular),
        "converged": bool(fit.converged),
        "variances": {
            **{name: float(v) for name, v in zip(fit.groups, fit.variances, strict=True)},
            "residual": float(fit.residual_variance),
        },
        "fixed": fixed,
    }
