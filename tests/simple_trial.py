"""Trials of known truth as tables in memory: what the models see, without files."""

import numpy as np
import pandas as pd
from small_config import PRESS

from mrsflow.study import config as study_config
from mrsflow.study import covariates
from mrsflow.study.estimand import phase_by_visit
from mrsflow.study.trial import TrialData, conditions_of

BINS = {"baseline": [-8, 0], **{f"infusion{i}": [8 * (i - 1), 8 * i] for i in range(1, 4)}}
DOSE_S = -2700.0


SCAN = {"bins": {"scan": [0, 10]}, "baseline": [], "event": "start"}


def configuration(design, conditions, visits=(), replicates=False, **group):
    """Checked configuration of a trial; with baseline visits it has one spectrum a session."""
    settings = {"mood_scale": None, "secondary": [], "draws": 99} | group
    return study_config.checked({
        "study": {"design": design, "conditions": list(conditions), "freeze": True, "baseline_visits": list(visits),
                  "replicates": replicates},
        "protocols": {"p": PRESS},
        "blocks": SCAN if visits else {"bins": BINS, "baseline": ["baseline"]},
        "group": settings,
    })  # fmt: skip


def make(
    arms, levels, responses, seed=1, design="crossover", dose=DOSE_S, sd=(0.08, 0.03, 0.04, 0.0), spread=None, extra=(),
    people=None, replicates=False, **group,
):  # fmt: skip
    """Make a trial.

    Parameters
    ----------
    arms : list of list of str
        Condition of each session of each participant.
    levels, responses : dict
        By condition: level before the infusion and rise with it, as fractions of 1.
    dose : float
        Onset of the dose in all sessions (s from the infusion); NaN without one.
    sd : tuple of float
        Between participants, between their sessions, between blocks; of the response between participants.
    spread : dict, optional
        Factor on every SD, by condition.
    extra : dict of list
        Further columns of the participants.
    """
    rng = np.random.default_rng(seed)
    sessions, blocks = [], []
    for i, own in enumerate(arms):
        person = rng.standard_normal()
        own_response = rng.standard_normal() * (*sd, 0.0)[3]
        for visit, arm in enumerate(own, start=1):
            key = f"sub-{i:03d}_ses-{visit}"
            factor = (spread or {}).get(arm, 1.0)
            level = levels[arm] + factor * (sd[0] * person + sd[1] * rng.standard_normal())
            base = {"key": key, "participant": f"{i:03d}", "session": str(visit), "condition": arm, "visit": visit}
            sessions.append(base | {"line": "", "dose_s": dose, **{c: v[i] for c, v in dict(extra).items()}})
            for block, (start, end) in BINS.items():
                rise = 0.0 if block == "baseline" else responses[arm] + own_response
                value = level + rise + factor * sd[2] * rng.standard_normal()
                blocks.append(base | {
                    "block": block, "phase": "baseline" if block == "baseline" else "infusion", "onset_s": 60.0 * start,
                    "duration_s": 60.0 * (end - start), "spectrum": 0, "linewidth_hz": 5 + rng.standard_normal(),
                    "snr": 50.0, "fit_status": "ok", "fit_reason": "", "excluded": False, "warned": False, "reason": "",
                    "Glx/tNAA": value, "Glx/tNAA sd": 0.02,
                })  # fmt: skip
    config = configuration(design, list(levels), replicates=replicates, **group)
    sessions = covariates.typed(config, pd.DataFrame(sessions))
    return TrialData(config, sessions, pd.DataFrame(blocks), conditions_of(config))


def over_visits(courses, arms, seed=1, sd=(0.08, 0.04), spread=None, dose=np.nan, **group):
    """Make a trial whose visits are before (the first) and after, one spectrum each.

    Parameters
    ----------
    courses : dict of tuple of float
        Level at each visit, by arm.
    arms : list of str
        Arm of each participant.
    sd : tuple of float
        Between participants and between their visits.
    spread : dict, optional
        Factor on every SD, by arm.
    dose : float
        Onset of a dose in the session of the first visit (s from the scan).
    """
    rng = np.random.default_rng(seed)
    sessions, blocks = [], []
    for i, arm in enumerate(arms):
        person = sd[0] * rng.standard_normal()
        for visit, level in enumerate(courses[arm], start=1):
            factor = (spread or {}).get(arm, 1.0)
            base = {"key": f"sub-{i:03d}_ses-{visit}", "participant": f"{i:03d}", "session": str(visit)}
            base |= {"condition": arm, "visit": visit}
            sessions.append(base | {"line": "", "dose_s": dose if visit == 1 else np.nan})
            blocks.append(base | {
                "block": "scan", "onset_s": 0.0, "duration_s": 600.0, "spectrum": 0, "linewidth_hz": 5.0, "snr": 50.0,
                "fit_status": "ok", "fit_reason": "", "excluded": False, "warned": False, "reason": "",
                "Glx/tNAA": level + factor * (person + sd[1] * rng.standard_normal()), "Glx/tNAA sd": 0.02,
            })  # fmt: skip
    config = configuration("parallel" if len(courses) > 1 else "single_arm", list(courses), visits=[1], **group)
    blocks = phase_by_visit(pd.DataFrame(blocks), [1])
    return TrialData(config, covariates.typed(config, pd.DataFrame(sessions)), blocks, conditions_of(config))


def sequences(n, *orders):
    """Deal participants to orders of conditions in turn."""
    return [list(orders[i % len(orders)]) for i in range(n)]
