"""Power planning: a grid of designs, questions, participants, effects and losses, as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import files, result_tables
from mrsflow.errors import InputError
from mrsflow.planning import power, sample_size
from mrsflow.planning.trials import Scenario

if TYPE_CHECKING:
    import pandas as pd

PER_CELL = 2
"""Participants that an arm needs in planning, or half an arm where moderation is sought."""


def plan(config: dict[str, Any], contrasts: Mapping[str, Sequence[float]], folder: Path) -> "pd.DataFrame":
    """Simulate the grid of section ``power``; write power.tsv and sample_size.tsv with their data dictionaries.

    Parameters
    ----------
    config : dict
        Checked configuration.
    contrasts : mapping
        Of the study: name, and the weight of every condition.
    folder : Path

    Returns
    -------
    DataFrame
        The table.
    """
    settings = config["power"]
    components, sessions = settings["components"], None
    masked = not config["study"]["freeze"]
    if components == "cohort":
        tables = Path(config["output"]) / "group"
        blocks = result_tables.read(tables / "blocks_wide.tsv")
        sessions = result_tables.read(tables / "session_changes.tsv") if masked else None
        shape = [1.0] if config["study"]["baseline_visits"] else settings["shape"]
        components = components_of(blocks, config["group"]["outcome"], shape, blinded=masked)
    scenario = scenario_of(config, components)
    grid_rows = list(grid(config, contrasts, scenario))
    sizes = result_tables.from_rows(sample_size.rows_of(config, contrasts, scenario, sessions), "sample_size")
    sizes = sizes.astype({"n_needed": "Int64", "n_so_far": "Int64"})
    table = result_tables.from_rows(grid_rows, "power")
    for made in (sizes, table):
        made["moderated"] = made["moderated"].map({True: "true", False: "false"})
    result_tables.write(sizes, folder / "sample_size.tsv", described=True)
    files.write_json({"components": components, "columns": result_tables.dictionary("power")}, folder / "power.json")
    result_tables.write(table, folder / "power.tsv")
    return table


def components_of(
    blocks: "pd.DataFrame", outcome: str, shape: Sequence[float], blinded: bool = False
) -> dict[str, float]:
    """Estimate a cohort's own variance components, as fractions of its mean baseline.

    Parameters
    ----------
    blocks : DataFrame
        blocks_wide.tsv of the group stage.
    outcome : str
    shape : sequence of float
        Response of each infusion block, as part of the highest, see `Scenario`.
    blinded : bool
        Without the arms, whose differences are then in the components.

    Returns
    -------
    dict
        The ``sd_*`` fields of `Scenario`; 0 of those that the design of the cohort cannot tell from others, which hold
        them: sessions from participants where there is one each, blocks of a session from it where there is one each.
        The level is what the two phases share. The response, mean over the infusion, is their difference, so its
        variance is twice that of a phase's own intercept.

    Raises
    ------
    InputError
        No outcome, or no participant with several blocks.
    """
    from mrsflow.models.table_models import fit_table

    if outcome not in blocks:
        raise InputError(f"the table of blocks has no column {outcome!r}; run the group stage with this outcome")
    used = blocks[(blocks["excluded"].astype(str).str.lower() == "false") & blocks[outcome].notna()]
    used = used.rename(columns={outcome: "outcome"}).reset_index(drop=True)
    scans, phased = used.drop_duplicates(["participant", "session"]), used["phase"].nunique() > 1
    parts = used.drop_duplicates(["participant", "session", "phase"])
    several, blocked = scans.duplicated("participant").any(), used.duplicated(["participant", "session", "phase"]).any()
    two_phases = parts.duplicated(["participant", "session"]).any()  # in a session; otherwise visits are the phases
    terms = {"sd_participant": "participant"}
    if several and used.duplicated(["participant", "session"]).any():
        terms["sd_session"] = "participant:session"
    if phased and used.duplicated(["participant", "phase"]).any():
        terms["sd_response_participant"] = "participant:phase"
    if several and two_phases and blocked:
        terms["sd_response_session"] = "participant:session:phase"
    within = (scans.groupby("participant")["arm"].nunique() > 1).any()
    if not blinded and two_phases and within and scans.duplicated(["participant", "arm"]).any():
        terms["sd_response_condition"] = "participant:arm:phase"
    if not used.duplicated("participant").any():
        raise InputError("no participant has several usable blocks; give power.components as numbers")
    fixed = [name for name, here in (("arm", not blinded and used["arm"].nunique() > 1), ("phase", phased)) if here]
    text = " + ".join(
        [
            "*".join(fixed) or "1",
            *(["visit"] if used["visit"].nunique() > 1 else []),
            *(f"(1|{g})" for g in terms.values()),
        ]
    )
    used["visit"] = used["visit"].astype(str)
    model = fit_table(used, f"outcome ~ {text}", {"phase": "baseline"} if phased else None, aliased="leave out")
    mean = used.loc[(used["phase"] == "baseline") | (not phased), "outcome"].mean()
    variance = dict(zip(model.fit.groups, model.fit.variances, strict=True))
    found = {f.name: 0.0 for f in fields(Scenario) if f.name.startswith("sd_")}
    for name, group in terms.items():
        found[name] = variance[group] * (2 / np.mean(shape) ** 2 if group.endswith(":phase") else 1)
    found["sd_block"] = float(model.fit.residual_variance)
    return {name: float(np.sqrt(value) / mean) for name, value in found.items()}


def grid(
    config: dict[str, Any], contrasts: Mapping[str, Sequence[float]], scenario: Scenario
) -> Iterator[dict[str, Any]]:
    """Give rows of power.tsv: over designs, questions, contrasts, losses, effects and participants.

    Raises
    ------
    InputError
        Before any simulation: a design that the conditions of the study do not make, too few participants, or mood
        without its SD.
    """
    cells = list(_cells(config["power"], contrasts, scenario))
    for *_, cell, _ in cells:
        _refuse_few(cell)
    for design, question, name, cell, attenuation in cells:
        yield {"design": design, **_row(config, question, name, cell, attenuation)}


def _cells(
    settings: dict[str, Any], contrasts: Mapping[str, Sequence[float]], scenario: Scenario
) -> Iterator[tuple[str, str, str, Scenario, float | None]]:
    """Give design, question, contrast, scenario and attenuation of every cell of the grid."""
    for design in settings["designs"]:
        for question in settings["questions"]:
            for name, weights in of_design(design, contrasts).items():
                asked = replace(scenario, design=design, weights=tuple(map(float, weights)))
                asked = of_question(settings, question, asked)
                for cell, attenuation in effects_of(settings, question, asked):
                    for losses in settings["lost_blocks"] if question != "mood" else [0.0]:  # scores are no blocks
                        for n in settings["participants"]:
                            yield design, question, name, replace(cell, n=n, lost_blocks=losses), attenuation


def of_design(design: str, contrasts: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Contrasts of a design: those of the study, or the mean of a single arm.

    >>> of_design("visits_single_arm", {"b - a": [-1, 1]})
    {'mean response': [1]}
    """
    if design.endswith("single_arm"):
        return {name: w for name, w in contrasts.items() if len(w) == 1} or {"mean response": [1]}
    if all(len(weights) == 1 for weights in contrasts.values()):
        raise InputError(
            f"power.designs has {design}, which compares conditions, and study.conditions has one; name two, or plan "
            "single_arm or visits_single_arm"
        )
    return dict(contrasts)


def of_question(settings: dict[str, Any], question: str, scenario: Scenario) -> Scenario:
    """Scenario of what is sought: a contrast, its moderation by two halves, or that of the change of mood."""
    if question == "moderation":
        return replace(scenario, moderated=True)
    if question == "contrast":
        return scenario
    mood = settings["mood"]
    if mood is None:
        raise InputError("power.questions asks for mood; give power.mood {effect: ..., sd_session: ...} in points")
    own = {"sd_participant": mood["sd_participant"], "sd_session": mood["sd_session"], "sd_block": 0.0}
    own |= {f.name: 0.0 for f in fields(Scenario) if f.name.startswith("sd_response")}
    design = scenario.design.removeprefix("visits_")
    return replace(scenario, design=design, n_baseline=0, shape=(1.0,), mean=0.0, period=0.0, estimand="total", **own)


def effects_of(settings: dict[str, Any], question: str, scenario: Scenario) -> Iterator[tuple[Scenario, float | None]]:
    """Scenarios of the effects that are planned for, and the attenuation of each, where that is what it is."""
    if question == "mood":
        yield scenario.with_effect(settings["mood"]["effect"]), None
    elif settings["effect_percent"] is not None:
        yield scenario.with_effect(settings["effect_percent"] / 100), None
    elif scenario.single:
        yield scenario, None
    else:
        for attenuation in settings["attenuation"]:
            yield replace(scenario, attenuation=attenuation), attenuation


def _refuse_few(scenario: Scenario) -> None:
    """Refuse fewer participants than the sequences or arms of a design need."""
    cells = len(scenario.orders) * (1 + scenario.moderated)
    needed = cells if scenario.within else PER_CELL * cells
    if scenario.n < needed:
        what = "sequences" if scenario.within else "arms"
        halves = " in two halves" if scenario.moderated else ""
        raise InputError(
            f"power.participants: {scenario.n} are too few for the {len(scenario.orders)} {what}{halves} of "
            f"{scenario.design}; name {needed} or more, or take the design out of power.designs"
        )


def _row(
    config: dict[str, Any], question: str, contrast: str, scenario: Scenario, attenuation: float | None
) -> dict[str, Any]:
    settings, mood = config["power"], question == "mood"
    found = power.power_of(scenario, settings["trials"], settings["seed"])
    unit, scale = ("points", 1.0) if mood else ("percent", 100.0)
    shown = {"effect": scenario.effect, "half_width": found["half_width"]}
    shown |= {} if mood else {name: found[name] for name in ("bias", "bias_se")}
    return {
        "outcome": sample_size.mood_name(config) if mood else config["group"]["outcome"],
        "contrast": contrast, "moderated": scenario.moderated,
        "estimand": "change of mood" if mood else "response" if scenario.single else scenario.estimand,
        "n_participants": scenario.n, "rise": None if scenario.means else scenario.rise, "attenuation": attenuation,
        "lost_blocks": scenario.lost_blocks, "dropouts": scenario.dropouts if len(scenario.course) > 1 else 0.0,
        **{name: found[name] for name in ("power", "power_low", "power_high")},
        **{f"{name}_{unit}": scale * value for name, value in shown.items()},
        "ci_level": scenario.level, "trials": settings["trials"], "seed": settings["seed"],
    }  # fmt: skip


def scenario_of(config: dict[str, Any], components: Mapping[str, float]) -> Scenario:
    """Make the scenario that all cells share from the configuration and the variance components."""
    settings, group, conditions = config["power"], config["group"], config["study"]["conditions"]
    asked = group["estimand"]
    without = group["control"].values() if isinstance(group["control"], dict) else [group["control"]]
    return Scenario(
        estimand="adjusted_level" if asked == "auto" else asked, level=group["level"], carry_over=group["carry_over"],
        control=tuple(conditions.index(c) for c in dict.fromkeys(without) if c in conditions),
        **{name: settings[name] for name in ("n_baseline", "rise", "correlation", "period", "dropouts")},
        **{name: tuple(settings[name]) for name in ("shape", "visits")}, **components,
    )  # fmt: skip
