"""How many participants a contrast needs, by the noncentral t: from given variances, or blinded ones of a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.errors import InputError
from mrsflow.planning.trials import Scenario

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
    design : str
        See `mrsflow.planning.trials.Scenario`.
    n : int
        Participants in total.
    sd : float
        Of a participant's value of a condition: within participants in a crossover, between them otherwise.
    weights : sequence of float
        Of every condition, 0 where it is not in the contrast; (1,) in a single arm.
    moderated : bool
        The difference of the contrast between two halves of the participants in place of the contrast.
    covariates : int
        Baselines and further numbers in the model, a degree of freedom each.

    Notes
    -----
    A crossover of k conditions compares them within participants, visits taken out: (n - 1)(k - 1) - (k - 1) degrees
    of freedom, n - 2 for two conditions. In a replicate crossover the values are means of two sessions.

    >>> standard_error("crossover", 26, 1.0, (-1, 1))[1], standard_error("parallel", 26, 1.0, (-1, 1), True)[1]
    (24, 22)
    """
    k, size = len(weights), float(np.sum(np.square(weights)))
    if design in ("crossover", "replicate"):
        variance, df = size / n, (n - 1) * (k - 1) - (k - 1) * (1 + moderated)
    else:
        variance, df = size * k / n, n - k * (1 + moderated)
    return sd * float(np.sqrt(variance * (4 if moderated else 1))), df - covariates


def power(effect: float, se: float, df: float, level: float = 0.95) -> float:
    """Power of the two-sided t-test at 1 - level.

    >>> round(power(0.5, (1 / 34) ** 0.5, 33), 3)
    0.808
    """
    from scipy.special import stdtrit
    from scipy.stats import nct

    if df < 1:
        return 0.0
    limit, shift = float(stdtrit(df, 0.5 + level / 2)), abs(effect) / se
    found = float(nct.sf(limit, df, shift) + nct.cdf(-limit, df, shift))
    return found if np.isfinite(found) else 1.0  # SciPy gives NaN in far tails


def needed(
    effect: float,
    target: float,
    design: str,
    sd: float,
    weights: Sequence[float],
    level: float = 0.95,
    **more: Any,
) -> int | None:
    """Find the least number of participants with a power; None above `MOST`."""
    low, high = 2, 4

    def enough(n: int) -> bool:
        return power(effect, *standard_error(design, n, sd, weights, **more), level) >= target

    while not enough(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def value_sd(scenario: Scenario) -> float:
    """SD of a participant's value of a condition, as the estimand takes it, see `standard_error`.

    It is a mean over the infusion; in a replicate crossover over the two sessions of a condition, and where visits are
    before and after over the visits after.
    """
    s = scenario
    own = {f.name: getattr(s, f.name) ** 2 for f in fields(s) if f.name.startswith("sd_")}
    person, between = own["sd_participant"], own["sd_response_participant"]
    if s.over_visits:
        visit, (before, after) = own["sd_session"] + own["sd_block"], s.visits
        late = (visit + own["sd_response_session"]) / after + own["sd_response_condition"] + between
        base = visit / before
        if s.estimand == "response" or s.single:
            return float(np.sqrt(late + base))
        return float(np.sqrt(person + late - _known(s, person, base)))
    level = own["sd_session"] + (0 if s.within else person)
    scale = np.mean(s.shape) ** 2
    late = scale * own["sd_response_session"] + own["sd_block"] / len(s.shape)
    base = own["sd_block"] / s.n_baseline if s.n_baseline else np.inf
    if s.estimand == "response" or (s.single and s.n_baseline):
        session = late + base
    else:
        session = level + late - _known(s, level, base)
    common = scale * (own["sd_response_condition"] + (0 if s.within else between))
    return float(np.sqrt(session / (2 if s.design == "replicate" else 1) + common))


def _known(scenario: Scenario, level: float, base: float) -> float:
    """Variance of levels that their baselines tell, where models adjust for them."""
    return level**2 / (level + base) if scenario.estimand == "adjusted_level" and level else 0.0


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


def design_of(study: Mapping[str, Any]) -> str:
    """Name of the design of a study, as `Scenario` has it.

    >>> design_of({"design": "parallel", "baseline_visits": [1], "replicates": False})
    'visits_parallel'
    """
    if study["design"] == "crossover":
        return "replicate" if study["replicates"] else "crossover"
    return f"{'visits_' if study['baseline_visits'] else ''}{study['design']}"


def mood_name(config: Mapping[str, Any]) -> str:
    """Name of the change of mood."""
    return f"{config['group']['mood_scale'] or 'mood'} change"


def rows_of(
    config: dict[str, Any],
    contrasts: Mapping[str, Sequence[float]],
    scenario: Scenario,
    sessions: "pd.DataFrame | None" = None,
) -> list[dict[str, Any]]:
    """Say how many participants the contrasts of a study need, and their moderation by two halves.

    Parameters
    ----------
    config : dict
        Checked configuration.
    contrasts : mapping
        Name, and the weight of every condition (1 of a single arm).
    scenario : Scenario
        What the cells of the plan share.
    sessions : DataFrame, optional
        session_changes of a trial whose arms are masked; its blinded SD then stands in place of the components.

    Returns
    -------
    list of dict
        Rows of sample_size.tsv; effects and SDs of the outcome in percent of the baseline, of mood in points.
    """
    settings, group = config["power"], config["group"]
    own = replace(scenario, design=design_of(config["study"]))
    own = replace(own, estimand="response") if own.single else own
    sd, source, n_so_far = 100 * value_sd(own), "components", None
    if sessions is not None:
        (sd, n_so_far), source = _blinded_percent(own, sessions), "blinded"
    found = []
    for name, weights in contrasts.items():
        asked = replace(own, weights=tuple(map(float, weights)))
        cells = [asked] if own.single else [replace(asked, attenuation=part) for part in settings["attenuation"]]
        effects = [100 * cell.effect for cell in cells]
        if settings["effect_percent"] is not None:
            effects = [settings["effect_percent"]]
        questions = [(group["outcome"], abs(effect), sd, source) for effect in effects]
        if settings["mood"] is not None:
            mood = settings["mood"]
            spread = mood["sd_session"] / (np.sqrt(2) if own.design == "replicate" else 1)
            spread = spread if own.within else float(np.hypot(mood["sd_session"], mood["sd_participant"]))
            questions.append((mood_name(config), mood["effect"], spread, "components"))
        for outcome, effect, spread, origin in questions:
            of_mood = outcome != group["outcome"]
            for moderated in (False, True):
                adjusted = own.estimand == "adjusted_level" and not of_mood
                more = {"moderated": moderated, "covariates": int(adjusted)}
                row = {
                    "outcome": outcome, "design": own.design, "contrast": name, "moderated": moderated,
                    "source": origin, "estimand": "change of mood" if of_mood else own.estimand, "sd": float(spread),
                    "effect": float(effect), "target": settings["target"], "ci_level": own.level,
                    "n_needed": needed(effect, settings["target"], own.design, spread, weights, own.level, **more),
                }  # fmt: skip
                if origin == "blinded":
                    se = standard_error(own.design, n_so_far, spread, weights, **more)
                    row |= {"n_so_far": n_so_far, "power_so_far": power(effect, *se, own.level)}
                found.append(row)
    return found


def _blinded_percent(scenario: Scenario, sessions: "pd.DataFrame") -> tuple[float, int]:
    """Blinded SD in percent of the mean baseline, and the participants it comes from."""
    s = scenario
    if s.design == "replicate":
        raise InputError(
            "while arms are masked, sessions of a crossover that gives conditions twice do not tell how much "
            "participants differ in their conditions; give power.components as numbers"
        )
    value = {"response": "change", "total": "infusion", "adjusted_level": "infusion"}[s.estimand]
    mean = sessions["baseline"].mean() if sessions["baseline"].notna().any() else sessions["infusion"].mean()
    if s.over_visits:
        numbers = sessions.groupby("participant")[["visit", "baseline", "infusion", "change"]].mean()
        sessions = numbers.reset_index()
    sd, people = blinded_sd(sessions, value, s.within, "baseline" if s.estimand == "adjusted_level" else None)
    return 100 * sd / mean, people
