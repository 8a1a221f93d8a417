"""Trials of the recorded tables in validation/designs, which R analysed as well."""

from pathlib import Path

import numpy as np
import pandas as pd
import simple_trial

from mrsflow.study import covariates
from mrsflow.study.trial import TrialData, conditions_of

FOLDER = Path(__file__).parent / "validation" / "designs"
BINS = {"baseline", *(f"infusion{i}" for i in (1, 2, 3))}
PAIR = {"a": -1, "b": 1}
MODERATORS = ["age", "site"]


def trial_of(name, weights, estimand, adjust_for, arms=None, carry_over=False, last=9):
    """Trial of a recorded table, or of some of its arms."""
    text = {"participant": str, "session": str}
    blocks = pd.read_csv(FOLDER / f"{name}.tsv", sep="\t", dtype=text).rename(columns={"value": "Glx/tNAA"})
    blocks = blocks[blocks["condition"].isin(arms or blocks["condition"])].reset_index(drop=True)
    visits = [1] if name == "visits" else []
    blocks = blocks[blocks["visit"] <= last].reset_index(drop=True)
    assert set(blocks["block"]) == ({"scan"} if visits else BINS)
    blocks["key"] = "sub-" + blocks["participant"] + "_ses-" + blocks["session"]
    sessions = blocks.drop_duplicates("key")[["key", "participant", "session", "condition", "visit", "age", "site"]]
    blocks = blocks.drop(columns=["age", "site"]).assign(excluded=False, **{"Glx/tNAA sd": 0.02})
    design = {"single": "single_arm", "parallel": "parallel", "visits": "parallel"}.get(name, "crossover")
    conditions = sorted(sessions["condition"].unique())
    design = design if len(conditions) > 1 else "single_arm"
    group = {"estimand": estimand, "adjust_for": adjust_for, "carry_over": carry_over, "moderators": MODERATORS}
    if weights:
        group["contrasts"] = [{"name": "contrast", "weights": weights}]
    config = simple_trial.configuration(design, conditions, visits=visits, replicates=name == "replicate", **group)
    sessions = covariates.typed(config, sessions.assign(line="", dose_s=np.nan).reset_index(drop=True))
    return TrialData(config, sessions, blocks, conditions_of(config))
