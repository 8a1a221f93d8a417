"""Power planning: a grid of designs, participants, effects and losses, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow import files, result_tables
from mrsflow.errors import InputError
from mrsflow.planning import power, sample_size

if TYPE_CHECKING:
    import pandas as pd


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
        components = components_of(blocks, config["group"]["outcome"], settings["shape"], blinded=masked)
    asked = config.get("group", {}).get("estimand", "auto")
    scenario = replace(scenario_of(settings, components), estimand="adjusted_level" if asked == "auto" else asked)
    spread = {f.name: getattr(scenario, f.name) for f in fields(scenario) if f.name.startswith("sd_")}
    rows = sample_size.rows_of(config, contrasts, spread, scenario.estimand, sessions)
    sizes = result_tables.from_rows(rows, "sample_size")
    sizes = sizes.astype({"n_needed": "Int64", "n_so_far": "Int64"})
    sizes["moderated"] = sizes["moderated"].map({True: "true", False: "false"})
    result_tables.write(sizes, folder / "sample_size.tsv", described=True)
    table = grid(settings, scenario, settings["seed"])
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
        The ``sd_*`` fields of `Scenario`. The level is what the two phases share. The response, mean over the infusion,
        is their difference, so its variance is twice that of a phase's own intercept.

    Raises
    ------
    InputError
        No outcome, no baseline blocks, or a single visit.
    """
    from mrsflow.models.table_models import fit_table

    if outcome not in blocks:
        raise InputError(f"the table of blocks has no column {outcome!r}; run the group stage with this outcome")
    used = blocks[(blocks["excluded"].astype(str).str.lower() == "false") & blocks[outcome].notna()]
    used = used.rename(columns={outcome: "outcome"}).reset_index(drop=True)
    if set(used["phase"]) != {"baseline", "infusion"} or used["visit"].nunique() < 2:
        raise InputError("variance components need blocks of two phases and two visits; give power.components instead")
    fixed = "phase" if blinded else "arm*phase"
    text = f"outcome ~ {fixed} + visit + (1|participant) + (1|participant:session) + (1|participant:phase)"
    model = fit_table(used, text + " + (1|participant:session:phase)", {"phase": "baseline"})
    mean = used.loc[used["phase"] == "baseline", "outcome"].mean()
    variance = dict(zip(model.fit.groups, model.fit.variances, strict=True))
    person, visit = variance["participant:phase"], variance["participant:session:phase"]
    found = {
        "sd_participant": variance["participant"], "sd_session": variance["participant:session"],
        "sd_block": model.fit.residual_variance, "sd_response_participant": 2 * person / np.mean(shape) ** 2,
        "sd_response_session": 2 * visit / np.mean(shape) ** 2,
    }  # fmt: skip
    return {name: float(np.sqrt(value) / mean) for name, value in found.items()}


def grid(settings: dict[str, Any], scenario: power.Scenario, seed: int) -> "pd.DataFrame":
    """Power over designs, participants, effects and losses.

    Parameters
    ----------
    settings : dict
        Section ``power`` of the configuration.
    scenario : Scenario
        What all cells share.
    seed : int
    """
    import pandas as pd

    rows = []
    for design in settings["designs"]:
        for losses in settings["lost_blocks"]:
            for attenuation in settings["attenuation"]:
                for n in settings["participants"]:
                    dropouts = settings["dropouts"] if design == "crossover" else 0.0
                    change = {"attenuation": attenuation, "lost_blocks": losses, "dropouts": dropouts}
                    cell = replace(scenario, design=design, n=n, **change)
                    found = power.power_of(cell, settings["trials"], seed)
                    rows.append({
                        "design": design, "estimand": scenario.estimand, "n_participants": n,
                        "rise": scenario.rise, "attenuation": attenuation,
                        "effect_percent": 100 * cell.effect, "lost_blocks": losses, "dropouts": dropouts, **found,
                        "trials": settings["trials"], "seed": seed,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def scenario_of(settings: dict[str, Any], components: dict[str, float]) -> power.Scenario:
    """Make the scenario that all cells share from section ``power`` and the variance components."""
    names = {f.name for f in fields(power.Scenario)}
    own = {k: v for k, v in settings.items() if k in names and k not in ("lost_blocks", "attenuation", "dropouts")}
    return replace(power.Scenario(), **own, **components)
