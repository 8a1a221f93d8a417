"""What a rehearsal says: bias, coverage and power over simulated trials, with their Monte-Carlo errors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mrsflow.errors import InputError
from mrsflow.planning.power_plan import effects_of, scenario_of
from mrsflow.planning.sample_size import design_of
from mrsflow.planning.trials import Scenario


class Rate(NamedTuple):
    """A fraction of trials with its 95 % limits (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""

    value: float
    low: float
    high: float


def rate(hits: int, n: int) -> Rate:
    """Fraction of trials.

    >>> tuple(round(v, 4) for v in rate(8, 10))
    (0.8, 0.4902, 0.9433)
    """
    z2 = 1.959964**2
    middle = (hits + z2 / 2) / (n + z2)
    half = np.sqrt(z2) * np.sqrt(hits * (n - hits) / n + z2 / 4) / (n + z2)
    return Rate(hits / n, float(middle - half), float(middle + half))


def scenario_for(config: dict[str, Any], weights: Sequence[float]) -> Scenario:
    """Make the scenario of the planned trial: the first of each list of section ``power``.

    Parameters
    ----------
    config : dict
        Checked configuration.
    weights : sequence of float
        Of every condition in the first contrast.

    Raises
    ------
    InputError
        Variances are to come from a cohort.
    """
    settings = config["power"]
    if settings["components"] == "cohort":
        raise InputError("power.components is cohort; a rehearsal needs the standard deviations as numbers")
    n = config["rehearsal"]["participants"] or settings["participants"][0]
    shared = scenario_of(config, settings["components"])
    own = replace(shared, design=design_of(config["study"]), n=n, weights=tuple(map(float, weights)))
    own = replace(own, estimand="response") if own.single else own
    return next(effects_of(settings, "contrast", own))[0]


def summary(trials: Sequence[Mapping[str, float]], truth: float, level: float) -> dict[str, Any]:
    """Compare the results of simulated trials with the truth.

    Parameters
    ----------
    trials : sequence of mapping
        ``estimate``, ``se``, ``ci_low``, ``ci_high`` (percent of the baseline) and ``p`` of each.
    truth : float
        True contrast, percent of the baseline.
    level : float
        Of the intervals; 1 - level of the tests.

    Returns
    -------
    dict
        n, bias and bias_se, sd (of the estimates) and se (their root mean squared standard error), coverage and power
        (`Rate`).
    """
    estimates = np.array([t["estimate"] for t in trials], float)
    n = len(estimates)
    held = sum(t["ci_low"] <= truth <= t["ci_high"] for t in trials)
    found = sum(t["p"] < 1 - level for t in trials)
    sd = float(estimates.std(ddof=1)) if n > 1 else np.nan
    return {
        "n": n, "bias": float(estimates.mean() - truth), "bias_se": sd / np.sqrt(n), "sd": sd,
        "se": float(np.sqrt(np.mean([t["se"] ** 2 for t in trials]))),
        "coverage": rate(held, n), "power": rate(found, n),
    }  # fmt: skip
