"""What a trial reports, made one estimate with its standard error in the measure that is pooled.

Sources: standard errors from intervals, t, F and p: Cochrane Handbook chapter 6, doi:10.1002/9781119536604.ch6;
crossovers from means, SDs and their correlation: Elbourne et al. 2002, doi:10.1093/ije/31.1.140; standardised
differences with the correction of small samples: Hedges 1981, doi:10.3102/10769986006002107; within participants, in
units of the SD between them so that designs agree: Becker 1988, doi:10.1111/j.2044-8317.1988.tb00901.x, and Morris and
DeShon 2002, doi:10.1037/1082-989X.7.1.105.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrsflow.errors import InputError

Measure = Literal["percent", "difference", "standardised"]
PERCENT, STANDARDISED = "percent", "sd"
"""Units that are measures already."""
APART = 1.15
"""Factor by which standard errors that a row gives in two ways may differ."""
SKEW = 0.2
"""Part of half the width of an interval by which its middle may differ from the estimate, by rounding."""
MOST_DF = 3
"""Degrees of freedom for each participant above which they are those of blocks or scans."""
STATISTICS = {"t": "t", "f": "F", "p": "p"}


@dataclass(frozen=True)
class Effect:
    """An estimate in the measure that is pooled.

    Attributes
    ----------
    estimate, se : float
    df : float
        Of the standard error.
    n : int
        Participants.
    conversion : str
        What was made of what.
    """

    estimate: float
    se: float
    df: float
    n: int
    conversion: str


def effect_of(row: Mapping[str, Any], measure: Measure) -> Effect:
    """Make the effect of a row of the table of trials.

    Parameters
    ----------
    row : mapping
        Cells that are not empty, numbers as such (``config/schemas/trials.schema.yaml``).
    measure : "percent", "difference" or "standardised"

    Raises
    ------
    InputError
        Something is missing or contradicts itself; says what to change, not where the row is.
    """
    design = _design(row)
    sizes = _sizes(row, design)
    df = float(row.get("df", sum(sizes) - len(sizes)))
    if df > MOST_DF * sum(sizes):
        raise InputError(
            f"df is {df:g} with {sum(sizes)} participants: it counts blocks or scans, whose error is not that of the "
            "comparison; give se, t or p of an analysis of the participants, and empty df for participants less "
            f"{len(sizes)}"
        )
    if "unit" not in row:
        raise InputError("unit is empty; write percent (of the baseline), sd (standardised), or the unit, such as mM")
    estimate = _difference(row)
    if estimate is None:
        return _from_test_alone(row, measure, design, sizes, df)
    se, how = _standard_error(row, design, sizes, df, estimate)
    if row["unit"] == STANDARDISED or measure == "standardised":
        return _standardised(row, measure, design, sizes, df, estimate, se, how)
    if measure == "percent" and row["unit"] != PERCENT:
        level = _baseline(row)
        said = f"{how}; percent of the baseline, {level:g} ({row['unit']}), taken as known"
        return Effect(100 * estimate / level, 100 * se / level, df, sum(sizes), said)
    if "baseline" in row and row["unit"] != PERCENT and abs(estimate) > row["baseline"]:
        raise InputError(
            f"estimate is {estimate:g} with a baseline of {row['baseline']:g} {row['unit']}; if it is in percent, set "
            "unit to percent"
        )
    return Effect(estimate, se, df, sum(sizes), how)


def _design(row: Mapping[str, Any]) -> str:
    if "design" not in row:
        raise InputError("design is empty; write crossover, parallel or single_arm, as the error of each is another")
    return str(row["design"])


def _sizes(row: Mapping[str, Any], design: str) -> tuple[int, ...]:
    """Participants: of each group of a parallel trial, or of the one there is."""
    wanted = ("n_treated", "n_reference") if design == "parallel" else ("n",)
    if missing := [name for name in wanted if name not in row]:
        raise InputError(f"{missing[0]} is empty; a {design} trial needs {' and '.join(wanted)}")
    if strange := [name for name in ("n", "n_treated", "n_reference") if name in row and name not in wanted]:
        raise InputError(
            f"{strange[0]} is given for a {design} trial, which has {' and '.join(wanted)}; empty it or correct design"
        )
    return tuple(int(row[name]) for name in wanted)


def _difference(row: Mapping[str, Any]) -> float | None:
    """Give the estimate, or that of the means; None where there is none."""
    means = [name for name in ("mean_treated", "mean_reference") if name in row]
    if len(means) == 1:
        raise InputError(f"{means[0]} stands without the other mean; give both, or estimate")
    own = row["mean_treated"] - row["mean_reference"] if means else None
    if "estimate" not in row:
        return own
    estimate = float(row["estimate"])
    if own is not None and own * estimate < 0:
        raise InputError(
            f"estimate is {estimate:g} and the means differ by {own:g}, the other way; both are treated less reference"
        )
    return estimate


def _statistic(row: Mapping[str, Any], df: float) -> tuple[str, float] | None:
    """Give the size of t, and from what; None without a test."""
    from scipy.special import stdtrit

    found = {
        name: abs({"t": lambda v: v, "f": np.sqrt, "p": lambda v: stdtrit(df, 1 - v / 2)}[name](float(row[name])))
        for name in STATISTICS
        if name in row
    }
    if not found:
        return None
    name, value = next(iter(found.items()))
    for other, size in found.items():
        if not 1 / APART <= (size + 0.1) / (value + 0.1) <= APART:
            raise InputError(
                f"{STATISTICS[name]} says |t| = {value:.2f} and {STATISTICS[other]} |t| = {size:.2f} with {df:g} "
                "degrees of freedom; correct one, or df"
            )
    return STATISTICS[name], float(value)


def _standard_error(
    row: Mapping[str, Any], design: str, sizes: tuple[int, ...], df: float, estimate: float
) -> tuple[float, str]:
    """Give the standard error of a difference by the first thing that tells it, and say which."""
    from scipy.special import stdtrit

    found: dict[str, float] = {}
    if "se" in row:
        found["estimate and SE"] = float(row["se"])
    limits = [name for name in ("ci_low", "ci_high", "ci_level") if name in row]
    if limits and len(limits) < 3:
        raise InputError(f"{', '.join(limits)} given; an interval needs ci_low, ci_high and ci_level")
    if limits:
        if not row["ci_low"] < row["ci_high"] or not row["ci_low"] <= estimate <= row["ci_high"]:
            raise InputError(
                f"the interval is {row['ci_low']:g} to {row['ci_high']:g} and the estimate {estimate:g}; the estimate "
                "lies within, the lower limit comes first: correct the cells"
            )
        width = row["ci_high"] - row["ci_low"]
        if abs(row["ci_low"] + row["ci_high"] - 2 * estimate) > SKEW * width:
            raise InputError(
                f"the middle of the interval {row['ci_low']:g} to {row['ci_high']:g} is not the estimate, "
                f"{estimate:g}; the standard error of Student's t needs an interval that is the same on both sides: "
                "correct the cells, or give se, t or p (of ratios all cells as logarithms)"
            )
        found[f"interval of Student's t with {df:g} df"] = width / (2 * stdtrit(df, 0.5 + row["ci_level"] / 2))
    if "sd_change" in row and design != "parallel":
        found["SD of the differences"] = row["sd_change"] / np.sqrt(sizes[0])
    test = _statistic(row, df)
    if test is not None:
        if "t" in row and row["t"] * estimate < 0:
            raise InputError(f"t is {row['t']:g} and the difference {estimate:g}; both are treated less reference")
        if test[1] > 0 and estimate != 0:
            found[f"estimate and {test[0]}"] = abs(estimate) / test[1]
    if found:
        (how, se), *others = found.items()
        for other, value in others:
            if not 1 / APART <= value / se <= APART:
                raise InputError(
                    f"{how} gives a standard error of {se:.3g} and {other} one of {value:.3g}; keep what belongs to "
                    "the analysis of the design and empty the other"
                )
        return float(se), how
    return _from_spread(row, design, sizes)


def _from_spread(row: Mapping[str, Any], design: str, sizes: tuple[int, ...]) -> tuple[float, str]:
    """Make a standard error of the SDs of both conditions."""
    if "sd_treated" not in row or "sd_reference" not in row:
        raise InputError(
            "there is no standard error; give se, or ci_low, ci_high and ci_level, or t, f or p, or the SDs of both"
            + ("" if design == "parallel" else " with r, or sd_change")
        )
    a, b = row["sd_treated"] ** 2, row["sd_reference"] ** 2
    if design == "parallel":
        return float(np.sqrt(a / sizes[0] + b / sizes[1])), "means and SDs of two groups"
    if "r" not in row:
        raise InputError(
            f"means and SDs of a {design} trial say nothing of the changes within participants; give r, sd_change, se, "
            "t or p"
        )
    variance = (a + b - 2 * row["r"] * np.sqrt(a * b)) / sizes[0]
    return float(np.sqrt(variance)), f"means, SDs and r = {row['r']:g} within participants"


def _baseline(row: Mapping[str, Any]) -> float:
    if "baseline" in row:
        return float(row["baseline"])
    if row.get("design") == "single_arm" and row.get("mean_reference", 0) > 0:
        return float(row["mean_reference"])
    raise InputError(
        f"unit is {row['unit']} where percent is pooled; give baseline, the mean before treatment in {row['unit']}, or "
        "the numbers in percent with unit percent"
    )


def small_sample(df: float) -> float:
    """Correct a standardised difference for the bias of its SD, of `df` degrees of freedom (Hedges 1981).

    >>> round(small_sample(10), 6)
    0.922746
    """
    from scipy.special import gammaln

    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)) if df > 1 else np.nan


def _standardised(
    row: Mapping[str, Any], measure: Measure, design: str, sizes: tuple[int, ...], df: float, estimate: float,
    se: float, how: str,
) -> Effect:  # fmt: skip
    if measure != "standardised":
        raise InputError(
            f"unit is sd where {'percent is' if measure == 'percent' else 'differences are'} pooled; give the numbers "
            "in their unit, or pool with --measure standardised"
        )
    if row["unit"] == STANDARDISED:
        return Effect(estimate, se, df, sum(sizes), f"{how}, standardised as reported")
    spread = _spread(row, design, sizes)
    ratio = se / spread
    if design == "parallel" and how.startswith("means and SDs"):
        ratio = np.sqrt(1 / sizes[0] + 1 / sizes[1])  # one SD for both groups, as it standardises
    return _hedges(estimate / spread, ratio, sizes, df, f"{how}; over an SD between participants of {spread:g}")


def _spread(row: Mapping[str, Any], design: str, sizes: tuple[int, ...]) -> float:
    if "sd" in row:
        return float(row["sd"])
    if "sd_treated" not in row or "sd_reference" not in row:
        raise InputError(
            "sd is empty; to standardise the difference the SD between participants is needed: sd, or sd_treated and "
            "sd_reference"
        )
    a, b = row["sd_treated"] ** 2, row["sd_reference"] ** 2
    if design == "parallel":
        return float(np.sqrt(((sizes[0] - 1) * a + (sizes[1] - 1) * b) / (sum(sizes) - 2)))
    return float(np.sqrt((a + b) / 2))


def _hedges(d: float, ratio: float, sizes: tuple[int, ...], df: float, how: str) -> Effect:
    """Correct a standardised difference; `ratio` is the standard error of the difference over the SD."""
    n = sum(sizes)
    g = d * small_sample(n - len(sizes))
    return Effect(g, float(np.sqrt(ratio**2 + g**2 / (2 * n))), df, n, f"{how}; Hedges' g")


def _from_test_alone(
    row: Mapping[str, Any], measure: Measure, design: str, sizes: tuple[int, ...], df: float
) -> Effect:
    """Make a standardised difference of t, F or p without an estimate."""
    test = _statistic(row, df)
    if test is None:
        raise InputError("there is no estimate; give estimate, or both means, or t, f or p with n to pool standardised")
    if measure != "standardised":
        raise InputError(
            f"{test[0]} alone says nothing in {'percent' if measure == 'percent' else row['unit']}; give estimate, or "
            "pool with --measure standardised"
        )
    if "t" not in row and "direction" not in row:
        raise InputError(f"{test[0]} has no sign; write + or - into direction (treated less reference)")
    sign = np.sign(row["t"]) if "t" in row else 1.0 if row["direction"] == "+" else -1.0
    if design == "parallel":
        ratio, how = np.sqrt(1 / sizes[0] + 1 / sizes[1]), f"{test[0]} of two groups"
    elif "r" in row:
        ratio, how = np.sqrt(2 * (1 - row["r"]) / sizes[0]), f"{test[0]} within participants, r = {row['r']:g}"
    else:
        raise InputError(
            f"{test[0]} of a {design} trial counts in SDs of the change; give r, so that it can be told in SDs between "
            "participants, or estimate with se and sd"
        )
    return _hedges(float(sign * test[1] * ratio), float(ratio), sizes, df, how)
