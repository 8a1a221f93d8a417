"""A crossover trial of known truth: who takes part, what happens to glutamate and mood, what should be found.

Everything here is drawn before any signal is simulated; `mrsflow.simulation.trial_files` writes the sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.simulation.simulate import CONCENTRATIONS_MM

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("placebo", "naltrexone")
BLOCKS = ("baseline", "infusion1", "infusion2", "infusion3", "infusion4", "infusion5")
BLOCK_MINUTES = 8
REPETITION_TIME = 2.0
EXCITATIONS_PER_BLOCK = int(BLOCK_MINUTES * 60 / REPETITION_TIME)
GLX_MM = CONCENTRATIONS_MM["Glu"] + CONCENTRATIONS_MM["Gln"]
TNAA_MM = CONCENTRATIONS_MM["NAA"] + CONCENTRATIONS_MM["NAAG"]

SETTINGS: dict[str, Any] = {
    # effects, as fractions of baseline Glx
    "glx_rise": 0.06,  # under placebo, at the plateau
    "rise_minutes": 10.0,  # linear from the start of the infusion to the plateau
    "damping_men": 0.03,  # by which naltrexone lowers Glx, mean over the infusion
    "damping_women": 0.01,
    "period_effect": -0.02,  # Glx at visit 2 against visit 1
    # variation, as coefficients of variation
    "person_sd": 0.10,  # Glx between persons
    "visit_sd": 0.05,  # Glx between the visits of a person
    "block_sd": 0.03,  # Glx between blocks, beside the noise of measurement
    "block_correlation": 0.2,  # AR(1)
    "response_sd": 0.0,  # of a session's mean rise, fraction of baseline
    "other_person_sd": 0.05,  # every other metabolite between persons
    "other_visit_sd": 0.02,  # and between visits
    # spectra
    "linewidth_hz": 7.0,
    "linewidth_sd_hz": 0.7,  # between sessions
    "narrowing_hz": [0.1, 0.3],  # of all lines with the infusion, in both arms
    "block_snr": 55.0,  # NAA height over SD of the real spectrum (1.024 s acquired), a block without losses
    "n_coils": 8,
    "offset_sd_hz": 3.0,  # of the transmitter at the first excitation
    "drift_hz_per_5_minutes": [0.5, 2.0],  # size; the sign is random
    "wander_hz": 0.5,
    "jitter_hz": 0.2,
    "jitter_deg": 5.0,
    "corrupted_fraction": 0.03,
    "eddy_hz": [1.0, 5.0],
    "residual_water": [0.0, 3.0],  # height over that of NAA
    "lipid_fraction": 0.06,  # of sessions; with the failed ones a tenth
    "lipid_mM": [2.0, 8.0],
    "failed_fraction": 0.04,  # of sessions, whose lines are far too broad
    "failed_linewidth_hz": 20.0,
    # mood: points of the MADRS
    "madrs_baseline": 30.0,
    "madrs_person_sd": 5.0,
    "madrs_residual_sd": 4.5,  # of each score
    "madrs_change_placebo": -14.5,
    "madrs_change_naltrexone": -10.5,
    "madrs_visit2": -3.0,  # carry-over
    "madrs_per_percent": 0.0,  # further change per percent of a session's own deviation in Glx response
    "madrs_missing": 1,  # follow-up scores lost
    "gap_days": 19.0,
    "gap_days_sd": 4.0,
}
"""Defaults of everything that can be set. A pair of numbers is a range from which each session draws."""
POSITIVE = ("rise_minutes", "linewidth_hz", "failed_linewidth_hz", "block_snr", "n_coils")


@dataclass(frozen=True)
class Trial:
    """A trial as it was drawn.

    Attributes
    ----------
    participants, sessions : DataFrame
        Rows as the lab's tables have them.
    plans : list of dict
        Per session: everything its simulation needs, JSON-able.
    blocks : DataFrame
        True values per block: concentrations (mM), ratio, linewidth (Hz).
    summary : dict
        What the analysis should find, see `summarise`.
    """

    participants: "pd.DataFrame"
    sessions: "pd.DataFrame"
    plans: list[dict[str, Any]]
    blocks: "pd.DataFrame"
    summary: dict[str, Any]


def checked_settings(given: Any) -> dict[str, Any]:
    """Fill in the defaults.

    Raises
    ------
    InputError
        Not a mapping, an unknown key, or a value of another kind than the default.
    """
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise InputError(f"settings: {type(given).__name__} found; lines of the form 'key: value' are needed")
    for key, value in given.items():
        if key not in SETTINGS:
            raise InputError(f"settings: unknown key {key!r}; known are {', '.join(SETTINGS)}")
        pair = isinstance(SETTINGS[key], list)
        numbers = value if pair and isinstance(value, list) else [value]
        if len(numbers) != 1 + pair or not all(type(number) in (int, float) for number in numbers):
            raise InputError(f"settings: {key} is {value!r}; {'[low, high]' if pair else 'a number'} is needed")
        if key in POSITIVE and value <= 0:
            raise InputError(f"settings: {key} is {value!r}; a number above 0 is needed")
        if type(SETTINGS[key]) is int and type(value) is not int:
            raise InputError(f"settings: {key} is {value!r}; a whole number is needed")
    return {**SETTINGS, **given}


def excitation_minutes() -> NDArray[np.floating]:
    """Give the times of the excitations of a session relative to the start of the infusion (min)."""
    n = len(BLOCKS) * EXCITATIONS_PER_BLOCK
    return np.arange(n) * REPETITION_TIME / 60 - BLOCK_MINUTES


def rise(minutes: ArrayLike, rise_minutes: float) -> NDArray[np.floating]:
    """Share of the plateau reached at a time since the start of the infusion.

    >>> rise([-1, 0, 5, 20], 10).tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    return np.clip(np.asarray(minutes) / rise_minutes, 0, 1)


def glx_factor(plan: Mapping[str, Any], settings: Mapping[str, Any]) -> NDArray[np.floating]:
    """Glx of a session at each excitation, relative to the nominal concentration."""
    shape = rise(excitation_minutes(), settings["rise_minutes"])
    blocks = np.repeat(plan["block_factors"], EXCITATIONS_PER_BLOCK)
    return plan["glx"] * blocks * (1 + plan["plateau"] * shape)


def narrowing(plan: Mapping[str, Any], settings: Mapping[str, Any]) -> NDArray[np.floating]:
    """Narrowing of the lines of a session at each excitation (Hz)."""
    return plan["narrowing_hz"] * rise(excitation_minutes(), settings["rise_minutes"])


def plan_trial(n_participants: int, sites: list[str], settings: Mapping[str, Any], seed: int) -> Trial:
    """Draw a trial.

    Parameters
    ----------
    n_participants : int
    sites : list of str
        Vendor of each site; participants are dealt to the sites in turn.
    settings : mapping
        Complete, see `checked_settings`.
    seed : int
    """
    import pandas as pd

    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    people = _draw_people(n_participants, sites, settings, rng)
    plans, sessions = [], []
    for person in people:
        gap = max(7, round(rng.normal(settings["gap_days"], settings["gap_days_sd"])))
        for visit in (1, 2):
            plans.append(_draw_session(person, visit, settings, rng))
            sessions.append(_session_row(person, plans[-1], visit, gap, settings, rng))
    n = len(plans)
    for index in rng.choice(n, round(settings["lipid_fraction"] * n), replace=False):
        plans[index]["lipid_mM"] = float(rng.uniform(*settings["lipid_mM"]))
    for index in rng.choice(n, round(settings["failed_fraction"] * n), replace=False):
        plans[index]["linewidth_hz"] = settings["failed_linewidth_hz"]
    for index in rng.choice(n, min(n, settings["madrs_missing"]), replace=False):
        sessions[index]["madrs_day1"] = None
    blocks = pd.DataFrame([block for plan in plans for block in _true_blocks(plan, settings)])
    participants = pd.DataFrame(people)[["participant", "sex", "age", "weight", "site", "vendor"]]
    summary = summarise(blocks, plans, settings)
    return Trial(participants, pd.DataFrame(sessions).astype({"madrs_day1": "Int64"}), plans, blocks, summary)


def _lognormal(sd: float, rng: np.random.Generator) -> float:
    """Draw a factor of mean one and coefficient of variation `sd`."""
    spread = np.sqrt(np.log1p(sd**2))
    return float(np.exp(rng.normal(-(spread**2) / 2, spread)))


def _draw_people(n: int, sites: list[str], settings: Mapping[str, Any], rng: np.random.Generator) -> list[dict]:
    cells = [("F", ARMS), ("M", ARMS[::-1]), ("F", ARMS[::-1]), ("M", ARMS)]  # sexes and orders balanced
    people = []
    for number, cell in enumerate(rng.permutation(np.arange(n) % len(cells))):
        sex, order = cells[cell]
        people.append(
            {
                "participant": f"{number + 1:02d}",
                "sex": sex,
                "age": int(rng.integers(18, 51)),
                "weight": round(float(rng.normal(82 if sex == "M" else 68, 9)), 1),
                "site": f"site{number % len(sites) + 1}",
                "vendor": sites[number % len(sites)],
                "order": order,
                "glx": _lognormal(settings["person_sd"], rng),
                "others": {m: _lognormal(settings["other_person_sd"], rng) for m in CONCENTRATIONS_MM},
                "madrs": float(rng.normal(settings["madrs_baseline"], settings["madrs_person_sd"])),
                "voxel_position": rng.normal([0.0, 38.0, 18.0], [1.5, 3.0, 3.0]),
                "voxel_rotation_deg": float(rng.normal(10, 5)),
            }
        )
    return people


def _draw_session(person: dict, visit: int, settings: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    arm = person["order"][visit - 1]
    deviation = float(rng.normal(0, settings["response_sd"]))
    damping = settings["damping_men" if person["sex"] == "M" else "damping_women"] * (arm == "naltrexone")
    shape = rise(excitation_minutes()[EXCITATIONS_PER_BLOCK:], settings["rise_minutes"]).mean()
    again = {m: _lognormal(settings["other_visit_sd"], rng) for m in CONCENTRATIONS_MM}
    drift = float(rng.uniform(*settings["drift_hz_per_5_minutes"]) * rng.choice([-1, 1]))
    glx = person["glx"] * _lognormal(settings["visit_sd"], rng) * (1 + settings["period_effect"] * (visit == 2))
    others = {m: c * person["others"][m] * again[m] for m, c in CONCENTRATIONS_MM.items()}
    return {
        "participant": person["participant"],
        "session": f"{visit:02d}",
        "visit": visit,
        "arm": arm,
        "sex": person["sex"],
        "weight": person["weight"],
        "vendor": person["vendor"],
        "glx": glx,
        "plateau": settings["glx_rise"] + (deviation - damping) / shape,
        "damping": damping,
        "response_deviation": deviation,
        "block_factors": _block_factors(settings, rng),
        "concentrations_mM": {m: c for m, c in others.items() if m not in ("Glu", "Gln")},
        "linewidth_hz": max(4.0, float(rng.normal(settings["linewidth_hz"], settings["linewidth_sd_hz"]))),
        "narrowing_hz": float(rng.uniform(*settings["narrowing_hz"])),
        "offset_hz": float(rng.normal(0, settings["offset_sd_hz"])),
        "drift_hz": drift * len(BLOCKS) * BLOCK_MINUTES / 5,
        "eddy_hz": float(rng.uniform(*settings["eddy_hz"]) * rng.choice([-1, 1])),
        "residual_water": float(rng.uniform(*settings["residual_water"])),
        "lipid_mM": 0.0,
        "voxel_position": (person["voxel_position"] + rng.normal(0, 1.0, 3)).round(2).tolist(),
        "voxel_rotation_deg": round(person["voxel_rotation_deg"] + float(rng.normal(0, 2)), 2),
        "infusion_start": int(rng.integers(10 * 60, 16 * 60)),  # minutes since midnight
        "dose_before": 45 + int(rng.integers(-3, 4)),  # minutes
    }


def _block_factors(settings: Mapping[str, Any], rng: np.random.Generator) -> list[float]:
    rho, noise = settings["block_correlation"], rng.normal(0, settings["block_sd"], len(BLOCKS))
    course = [noise[0]]
    for step in noise[1:]:
        course.append(rho * course[-1] + np.sqrt(1 - rho**2) * step)
    return [float(1 + value) for value in course]


def _session_row(
    person: dict, plan: dict, visit: int, gap: int, settings: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Row of the sessions table, with the mood scores."""
    before = person["madrs"] + settings["madrs_visit2"] * (visit == 2)
    change = settings[f"madrs_change_{plan['arm']}"]
    change += settings["madrs_per_percent"] * 100 * plan["response_deviation"]
    scores = before + np.array([0, change]) + rng.normal(0, settings["madrs_residual_sd"], 2)
    pre, day1 = np.clip(np.rint(scores), 0, 60).astype(int).tolist()
    start = plan["infusion_start"]
    return {
        "participant": plan["participant"],
        "session": plan["session"],
        "visit": visit,
        "arm": plan["arm"],
        "dose_time": clock(60 * (start - plan["dose_before"])),
        "infusion_start": clock(60 * start),
        "infusion_stop": clock(60 * (start + 40)),
        "gap_days": gap if visit == 2 else None,
        "madrs_pre": pre,
        "madrs_day1": day1,
    }


def clock(seconds: int) -> str:
    """Write a time of the day as HH:MM:SS.

    >>> clock(36061)
    '10:01:01'
    """
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _true_blocks(plan: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the true values of each block: means over its excitations."""
    glx = GLX_MM * glx_factor(plan, settings).reshape(len(BLOCKS), -1).mean(axis=1)
    narrower = narrowing(plan, settings).reshape(len(BLOCKS), -1).mean(axis=1)
    tnaa = plan["concentrations_mM"]["NAA"] + plan["concentrations_mM"]["NAAG"]
    tcr = plan["concentrations_mM"]["Cr"] + plan["concentrations_mM"]["PCr"]
    return [
        {
            **{key: plan[key] for key in ("participant", "session", "visit", "arm", "sex", "vendor")},
            "block": name,
            "phase": "baseline" if i == 0 else "infusion",
            "onset_s": (i - 1) * BLOCK_MINUTES * 60,
            "duration_s": BLOCK_MINUTES * 60,
            "glx_mM": glx[i],
            "tnaa_mM": tnaa,
            "tcr_mM": tcr,
            "glx_tnaa": glx[i] / tnaa,
            "glx_tcr": glx[i] / tcr,
            "linewidth_hz": plan["linewidth_hz"] - narrower[i],
        }
        for i, name in enumerate(BLOCKS)
    ]


def summarise(blocks: "pd.DataFrame", plans: list[dict[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the numbers that the analysis should find.

    Returns
    -------
    dict
        ``arm_difference``: naltrexone minus placebo in Glx/tNAA, mean over the infusion blocks; ``population``: the
        effect of the drug at the mean baseline; ``sample``: the same at each participant's own baseline and effect;
        ``values``: difference of the true values, in which visits and blocks vary beside the drug.
    """
    infusion = blocks[blocks["phase"] == "infusion"]
    values = infusion.groupby("arm")["glx_tnaa"].mean()
    at_rest: dict[str, list[float]] = {}
    for plan in plans:
        tnaa = plan["concentrations_mM"]["NAA"] + plan["concentrations_mM"]["NAAG"]
        at_rest.setdefault(plan["participant"], []).append(plan["glx"] * GLX_MM / tnaa)
    damping = {plan["participant"]: plan["damping"] for plan in plans if plan["arm"] == "naltrexone"}
    effects = [-damping[name] * float(np.mean(ratios)) for name, ratios in at_rest.items()]
    rest = GLX_MM / TNAA_MM * (1 + settings["period_effect"] / 2)  # mean of both visits
    expected = -(settings["damping_men"] + settings["damping_women"]) / 2 * rest
    shape = float(rise(excitation_minutes()[EXCITATIONS_PER_BLOCK:], settings["rise_minutes"]).mean())
    return {
        "outcome": "Glx/tNAA",
        "contrast": "naltrexone - placebo, mean over the infusion blocks",
        "arm_difference": {
            "population": expected,
            "sample": float(np.mean(effects)),
            "values": float(values["naltrexone"] - values["placebo"]),
        },
        "glx_rise_placebo_percent": 100 * settings["glx_rise"] * shape,
        "madrs_change": {arm: settings[f"madrs_change_{arm}"] for arm in ARMS},
    }
