"""How many participants a contrast needs, by the noncentral t: from given variances, or blinded ones of a trial."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MOST = 10_000
"""Participants above which no size is given."""


def standard_error(
    design: str, n: int, sd: float, weights: Sequence[float], moderated: bool = False, covariates: int = 0
) -> tuple[float, float]:
    """Give the standard error of a contrast and its degrees of freedom, complete and balanced.

    Parameters
    ----------
    design : "crossover", "parallel" or "single_arm"
    n : int
        Participants in total.
    sd : float
        Of a session's value: within participants in a crossover, between them otherwise.
    weights : sequence of float
        Of every condition, 0 where it is not in the contrast; (1,) in a single arm.
    moderated : bool
        The difference of the contrast between two halves of the participants in place of the contrast.
    covariates : int
        Baselines and further numbers in the model, a degree of freedom each.

    Notes
    -----
    A crossover of k conditions compares them within participants, visits taken out: (n - 1)(k - 1) - (k - 1) degrees
    of freedom, n - 2 for two conditions.

    >>> standard_error("crossover", 26, 1.0, (-1, 1))[1], standard_error("parallel", 26, 1.0, (-1, 1), True)[1]
    (24, 22)
    """
    k, size = len(weights), float(np.sum(np.square(weights)))
    if design == "crossover":
        variance, df = size / n, (n - 1) * (k - 1) - (k - 1) * (1 + moderated)
    else:
        variance, df = size * k / n, n - k * (1 + moderated)
    return sd * float(np.sqrt(variance * (4 if moderated else 1))), df - covariates


def power(effect: float, se: float, df: float, level: float = 0.05) -> float:
    """Power of the two-sided t-test.

    >>> round(power(0.5, (1 / 34) ** 0.5, 33), 3)
    0.808
    """
    from scipy.special import stdtrit
    from scipy.stats import nct

    if df < 1:
        return 0.0
    limit, shift = float(stdtrit(df, 1 - level / 2)), abs(effect) / se
    found = float(nct.sf(limit, df, shift) + nct.cdf(-limit, df, shift))
    return found if np.isfinite(found) else 1.0  # SciPy gives NaN in far tails


def needed(effect: float, target: float, design: str, sd: float, weights: Sequence[float], **more: Any) -> int | None:
    """Find the least number of participants with a power; None above `MOST`."""
    low, high = 2, 4

    def enough(n: int) -> bool:
        return power(effect, *standard_error(design, n, sd, weights, **more)) >= target

    while not enough(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def session_sd(
    components: Mapping[str, float], shape: Sequence[float], n_baseline: int, estimand: str, within: bool
) -> float:
    """SD of a session's value: of the mean over the infusion, as the estimand takes it.

    Parameters
    ----------
    components : mapping
        The ``sd_*`` of `mrsflow.planning.power.Scenario`.
    shape : sequence of float
        Response of each infusion block, as part of the highest.
    n_baseline : int
        Baseline blocks.
    estimand : "response", "total" or "adjusted_level"
    within : bool
        Within participants, or between them.
    """
    v = {name: value**2 for name, value in components.items()}
    level = v["sd_session"] + (0 if within else v["sd_participant"])
    rise = v["sd_response_session"] + (0 if within else v["sd_response_participant"])
    late, base = v["sd_block"] / len(shape), v["sd_block"] / n_baseline
    own = np.mean(shape) ** 2 * rise + late
    if estimand == "response":
        return float(np.sqrt(own + base))
    if estimand == "total":
        return float(np.sqrt(level + own))
    return float(np.sqrt(level + own - level**2 / (level + base)))  # what is left of levels when baselines are known


def blinded_sd(sessions: "pd.DataFrame", value: str, within: bool, adjusted: str | None = None) -> tuple[float, int]:
    """SD of session values without a look at the arms, and the participants it comes from.

    Whatever the arms differ by is in it, so that a size planned with it is a little large: Kieser & Friede 2003,
    doi:10.1002/sim.1585 (lumped variance), Golkowski et al. 2014, doi:10.1002/pst.1617 (crossovers).

    Parameters
    ----------
    sessions : DataFrame
        participant, visit and the value; no arm is read.
    value : str
    within : bool
        Within participants, visits taken out; otherwise between participants, at their first visit.
    adjusted : str, optional
        Column that values are adjusted for, as their baseline.

    Raises
    ------
    InputError
        Too few values.
    """
    used = sessions[["participant", "visit", value, *([adjusted] if adjusted else [])]].dropna()
    used = used.sort_values(["participant", "visit"])
    if within:
        used = used[used.groupby("participant")["visit"].transform("size") > 1]
    else:
        used = used.drop_duplicates("participant")
    people = used["participant"].nunique()
    visits = used["visit"].to_numpy()
    columns = [visits[:, None] == np.unique(visits)[1:]] * within + (
        [used[[adjusted]].to_numpy(float)] if adjusted else []
    )
    table = np.column_stack([used[value].to_numpy(float), *columns]).astype(float)
    groups = used["participant"].astype("category").cat.codes.to_numpy() if within else np.zeros(len(used), int)
    sums = np.zeros((groups.max(initial=0) + 1, table.shape[1]))
    np.add.at(sums, groups, table)
    table = (
        table - (sums / np.bincount(groups, minlength=len(sums))[:, None])[groups]
    )  # within each group of its own mean
    y, x = table[:, 0], table[:, 1:]
    df = len(y) - x.shape[1] - len(sums)
    if df < 2:
        what = "values of two visits" if within else "values"
        raise InputError(f"{people} participants have {what}; a blinded variance needs more")
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(np.sqrt(residual @ residual / df)), people


def rows_of(
    config: dict[str, Any],
    contrasts: Mapping[str, Sequence[float]],
    components: Mapping[str, float],
    estimand: str,
    sessions: "pd.DataFrame | None" = None,
) -> list[dict[str, Any]]:
    """Say how many participants the contrasts of a study need, and their moderation by two halves.

    Parameters
    ----------
    config : dict
        Checked configuration.
    contrasts : mapping
        Name, and the weight of every condition (1 of a single arm).
    components : mapping
        The ``sd_*`` of `mrsflow.planning.power.Scenario`, fractions of the mean baseline.
    estimand : str
    sessions : DataFrame, optional
        session_changes of a trial whose arms are masked; its blinded SD then stands in place of the components.

    Returns
    -------
    list of dict
        Rows of sample_size.tsv; effects and SDs of the outcome in percent of the baseline, of mood in points.
    """
    settings, study, group = config["power"], config["study"], config["group"]
    design = study["design"]
    within = design == "crossover"
    estimand = "response" if design == "single_arm" else estimand
    own = 100 * session_sd(components, settings["shape"], settings["n_baseline"], estimand, within)
    source, n_so_far = "components", None
    if sessions is not None:
        value = {"response": "change", "total": "infusion", "adjusted_level": "infusion"}[estimand]
        mean = sessions["baseline"].mean() if sessions["baseline"].notna().any() else sessions["infusion"].mean()
        adjusted = "baseline" if estimand == "adjusted_level" else None
        own, n_so_far = blinded_sd(sessions, value, within, adjusted)
        own, source = 100 * own / mean, "blinded"
    top = 100 * settings["rise"] * np.mean(settings["shape"])
    asked = settings["effect_percent"]
    effects = [asked] if asked is not None else [top * part for part in settings["attenuation"]]
    questions = [(group["outcome"], effect, own, source, estimand == "adjusted_level") for effect in effects]
    if settings["mood"] is not None:
        mood = settings["mood"]
        sd = mood["sd_session"] if within else float(np.hypot(mood["sd_session"], mood["sd_participant"]))
        questions.append((f"{group['mood_scale'] or 'mood'} change", mood["effect"], sd, "components", False))
    found = []
    for name, weights in contrasts.items():
        for outcome, effect, sd, origin, adjusted in questions:
            for moderated in (False, True):
                more = {"moderated": moderated, "covariates": int(adjusted)}
                row = {
                    "outcome": outcome, "design": design, "contrast": name, "moderated": moderated, "source": origin,
                    "estimand": estimand if outcome == group["outcome"] else "change of mood", "sd": float(sd),
                    "effect": float(effect), "target": settings["target"],
                    "n_needed": needed(effect, settings["target"], design, sd, weights, **more),
                }  # fmt: skip
                if origin == "blinded":
                    now = power(effect, *standard_error(design, n_so_far, sd, weights, **more))
                    row |= {"n_so_far": n_so_far, "power_so_far": now}
                found.append(row)
    return found
