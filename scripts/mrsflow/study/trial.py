"""A trial: its design and the blocks of its sessions, for statistics, figures and pages alike."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.study import covariates, masking
from mrsflow.study.estimand import Estimand, dose_seconds, estimand_of
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.study import Study


@dataclass(frozen=True)
class TrialData:
    """A trial.

    Attributes
    ----------
    config : dict
        Checked configuration.
    sessions : DataFrame
        Sessions table with the columns of participants: see `planned`.
    blocks : DataFrame
        One row per fitted block: participant, session, condition, visit, block, phase, onset_s, duration_s, spectrum,
        linewidth_hz, snr, fit_status, fit_reason, excluded, warned, reason; each outcome as a column of its name,
        ``<outcome> sd`` beside it.
    conditions : tuple of str
        The reference first.
    """

    config: dict[str, Any]
    sessions: "pd.DataFrame"
    blocks: "pd.DataFrame"
    conditions: tuple[str, ...]

    @property
    def design(self) -> str:
        """Either crossover, parallel or single_arm."""
        return self.config["study"]["design"]

    @property
    def visits(self) -> tuple[int, ...]:
        """Visits that are the baseline of the others; none where it lies within the session."""
        return tuple(self.config["study"]["baseline_visits"])

    @property
    def within(self) -> bool:
        """Whether participants have every condition."""
        return self.design == "crossover"

    @property
    def frozen(self) -> bool:
        """Whether conditions may be told apart and compared."""
        return bool(self.config["study"]["freeze"])

    @property
    def reference(self) -> str:
        """Condition that the others are compared with."""
        return self.conditions[0]

    @property
    def level(self) -> float:
        """Level of intervals."""
        return float(self.config["group"]["level"])

    @property
    def outcome(self) -> str:
        """Name of the primary outcome."""
        return str(self.config["group"]["outcome"])

    @property
    def denominator(self) -> str:
        """Name of the denominator of the primary outcome, empty where it is an amplitude."""
        return split_outcome(self.outcome)[0].partition("/")[2]

    @property
    def estimand(self) -> Estimand:
        """What is estimated, and from which baseline."""
        return estimand_of(self.config, self.sessions)

    def leave_out(self, mask: Any) -> "TrialData":
        """Exclude more of the blocks."""
        return replace(self, blocks=self.blocks.assign(excluded=self.blocks["excluded"] | np.asarray(mask, bool)))


def planned(config: dict[str, Any], study: "Study") -> "pd.DataFrame":
    """Sessions table with the columns of participants, and ``condition`` for the (masked) arm.

    Covariates have their type (`mrsflow.study.covariates`), ``dose_s`` is the onset of the dose from the event. Other
    columns with names that models use are left aside.
    """
    sessions = covariates.joined(study.sessions, study.participants)
    sessions = covariates.typed(config, sessions).assign(dose_s=dose_seconds(config, study))
    names = {name: name for name in config["study"]["conditions"]}
    if not config["study"]["freeze"]:
        names = masking.codes(config["study"]["conditions"], config["group"]["seed"])
    return sessions.assign(condition=sessions["arm"].map(names)).drop(columns=["arm"])


def conditions_of(config: dict[str, Any]) -> tuple[str, ...]:
    """Conditions, the reference first; their codes in the order of the alphabet while they are masked."""
    conditions = list(config["study"]["conditions"])
    if config["study"]["freeze"]:
        return tuple(conditions)
    return tuple(sorted(masking.codes(conditions, config["group"]["seed"]).values()))
