"""What the group figures and the group page show, read from the tables of the stages."""

import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow import result_tables
from mrsflow.statistics.timecourse import ALL, visit_name
from mrsflow.study.layout import SessionKey
from mrsflow.study.trial import TrialData

GRID = np.arange(0.5, 4.2, 0.01)
POOLED = "all sessions"
MOST_REASONS = 12
"""Reasons of loss that the flow figure spells out; the page has a table of all."""
UNJUDGED = {"coil_weights", "linewidth_hz", "phase_deg"}
"""Numbers of a session that say nothing good or bad, or are another one in other units."""


@dataclass(frozen=True)
class Spectra:
    """Mean spectrum of each session on one chemical-shift axis.

    Attributes
    ----------
    ppm : (P,) float
        Ascending.
    values : (S, P) float
        Real part; the height of NAA in the session's baseline is 1.
    participant, condition : (S,) arrays of text
    """

    ppm: NDArray[np.floating]
    values: NDArray[np.floating]
    participant: NDArray
    condition: NDArray


@dataclass(frozen=True)
class Step:
    """One box of the flow: its title, its counts, and the reasons of what did not get there."""

    title: str
    counts: str
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """Values of a metric beside the limits that it has; `places` tell the session of each, counted in the table."""

    name: str
    level: str
    worse: str
    warn: float | None
    exclude: float | None
    values: NDArray[np.floating]
    places: NDArray[np.integer]

    def beyond(self, limit: float | None) -> NDArray[np.bool_]:
        """Which values are worse than a limit."""
        if limit is None:
            return np.zeros(self.values.size, bool)
        return self.values > limit if self.worse == "above" else self.values < limit

    @property
    def excluded(self) -> NDArray[np.bool_]:
        """Which values are beyond the limit of exclusion."""
        return self.beyond(self.exclude)

    @property
    def warned(self) -> NDArray[np.bool_]:
        """Which values are beyond the limit of warning, but not excluded."""
        return self.beyond(self.warn) & ~self.excluded


@dataclass(frozen=True)
class TrialResults(TrialData):
    """A trial with what its stages and its analysis left, as figures and pages see it.

    Attributes
    ----------
    blocks : DataFrame
        Those of `TrialData` with sex, minutes (middle of the block), outcome and left_out.
    keys : list of str
        Every session of the samples table.
    status : DataFrame
        session, stage, status, reason: one row for each session and stage.
    tables : dict of DataFrame
        Tables of the group stage, by file name without suffix; those that compare conditions are absent while masked.
    quality : dict of DataFrame
        Values of the quality tables of all fitted sessions: ``block`` and ``session``.
    spectra : Spectra or None
    tissue_sources : dict
        As `cohort.sources_of_amounts` counts them.
    places : dict
        Affine (4, 4) of the voxel of each session in the template, mm, where it is known.
    """

    keys: list[str]
    status: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    quality: dict[str, pd.DataFrame]
    spectra: Spectra | None
    tissue_sources: dict[str | None, int]
    places: dict[str, NDArray[np.floating]]

    @property
    def event(self) -> str:
        """Event at time 0."""
        return str(self.config["blocks"]["event"])

    @property
    def mood_label(self) -> str:
        """Name of the mood scale."""
        return str(self.config["group"]["mood_scale"]).upper()

    @cached_property
    def present(self) -> list[str]:
        """Conditions that have blocks, in their order."""
        return [name for name in self.conditions if name in set(self.blocks["condition"])]

    @property
    def outcomes(self) -> list[str]:
        """Further ratios of the table of blocks."""
        return [c for c in self.blocks if "/" in c and not c.endswith(" sd") and c != self.outcome]

    @property
    def doubtful(self) -> pd.DataFrame:
        """Blocks whose fit is doubtful, used or not."""
        return self.blocks[self.blocks["fit_status"] == "doubtful"]

    @cached_property
    def used(self) -> pd.DataFrame:
        """Blocks that the models see."""
        return self.blocks[~(self.blocks["excluded"] | self.blocks["left_out"])].reset_index(drop=True)

    @property
    def block_names(self) -> list[str]:
        """Blocks in the order of time."""
        bins = self.config["blocks"]["bins"]
        return sorted(bins, key=lambda name: bins[name][0])

    def availability(self) -> NDArray[np.int64]:
        """Sessions by blocks: 0 no data, 1 not used, 2 used, 3 used although the fit is doubtful."""
        grid = np.zeros((len(self.keys), len(self.block_names)), int)
        row = {key: n for n, key in enumerate(self.keys)}
        column = {name: n for n, name in enumerate(self.block_names)}
        for block in self.blocks.itertuples():
            key = str(SessionKey(block.participant, block.session))
            if key in row and block.block in column:
                used = 3 if block.fit_status == "doubtful" else 2
                grid[row[key], column[block.block]] = 1 if block.excluded or block.left_out else used
        return grid

    @cached_property
    def judged(self) -> list[Judged]:
        """Every number that has a rule, with its values; then the others of whole sessions, which have no limit."""
        rules = [rule for rule in self.config["quality"]["rules"] if rule["metric"] != "fit_status"]
        ruled = {rule["metric"] for rule in rules}
        columns = result_tables.tables()["session_quality"].columns
        free = [name for name, column in columns.items() if column.type == "number" and name not in ruled | UNJUDGED]
        rules += [
            {"metric": name, "level": "session", "worse": "above", "warn": None, "exclude": None} for name in free
        ]
        return [one for one in map(self._judged, rules) if one.values.size]

    def _judged(self, rule: dict[str, Any]) -> Judged:
        table, name = self.quality[rule["level"]], rule["metric"]
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(float) if name in table else np.empty(0)
        known = np.flatnonzero(np.isfinite(values))
        place = {key: n for n, key in enumerate(self.keys)}
        whose = table.reindex(columns=["participant", "session"]).iloc[known].itertuples(index=False)
        places = np.array([place[str(SessionKey(*one))] for one in whose], int)
        limits = (rule["worse"], rule["warn"], rule["exclude"])
        return Judged(name, rule["level"], *limits, values[known], places)

    @property
    def mood(self) -> pd.DataFrame:
        """Scores: participant, session, condition, time_point, score; the two times of the clinical outcome first."""
        return self.tables.get(
            "mood_scores", pd.DataFrame(columns=["participant", "session", "condition", "time_point", "score"])
        )

    @cached_property
    def changes(self) -> pd.DataFrame:
        """Change of the outcome (% of the mean baseline) of each session that has a baseline, with sex."""
        table = self.tables["session_changes"].dropna(subset=["change"])
        return table.merge(self.blocks.drop_duplicates("participant")[["participant", "sex"]], on="participant")

    def linked(self) -> pd.DataFrame:
        """Give the change of the outcome (%) beside the change of mood, one row per session that has both."""
        if "mood_change" not in self.changes:
            return self.changes.iloc[:0].assign(mood_change=[])
        return self.changes.dropna(subset=["mood_change"])

    def course(self, name: str) -> pd.DataFrame:
        """Mean of each condition and block of an outcome or control with its interval, by minutes from the event.

        Where visits are before and after, by visit.
        """
        table = self.tables["time_course"]
        table = table[table["outcome"] == name].dropna(subset=["mean"])
        middle = (table["onset_s"] + table["duration_s"] / 2) / 60
        if self.visits:
            middle = table["block"].map({visit_name(v): v for v in self.sessions["visit"]}).astype(float)
        return table.assign(minutes=middle, condition=table["condition"].replace(ALL, POOLED))

    def baseline_pairs(self) -> pd.DataFrame:
        """Mean baseline outcome of each participant in the first two visits, participants that have both."""
        baseline = self.used[self.used["phase"] == "baseline"]
        wide = baseline.pivot_table(index="participant", columns="visit", values="outcome")
        return wide[list(wide)[:2]].dropna() if len(wide.columns) >= 2 else pd.DataFrame()

    @cached_property
    def flow(self) -> list[Step]:
        """Steps from planned to analysed with every reason of loss."""
        return _flow(self)


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _flow(trial: TrialResults) -> list[Step]:
    """Give the steps of the table of the flow, each with what was lost after it."""
    table = trial.tables["flow"].set_index(["step", "condition"])
    exclusions = trial.tables["exclusions"]
    lost = exclusions[exclusions["action"] == "lost"]
    why = [f"{SessionKey(row.participant, row.session)}: {row.reason}" for row in lost.itertuples()]

    def counts(step: str) -> str:
        row = table.loc[(step, "all")]
        text = f"{_many(int(row['n_participants']), 'participant')}, {_many(int(row['n_sessions']), 'session')}"
        return text if pd.isna(row["n_blocks"]) else f"{text},\n{_many(int(row['n_blocks']), 'block')}"

    def gone(step: str, here: pd.Series) -> list[str]:
        reasons = [reason for reason, own in zip(why, here, strict=True) if own]
        return _listed(f"{_many(table.loc[(step, 'all'), 'n_sessions'], 'session')} {step}:", reasons)

    failed, used = (int(table.loc[(step, "all"), "n_blocks"]) for step in ("fit failed", "in the primary analysis"))
    unfit = [f"{_many(failed, 'block')} whose fit failed"] if failed else []
    unused = f"{_many(int(table.loc[('fitted', 'all'), 'n_blocks']) - used, 'block')} not used:"
    by_condition = table["n_sessions"].xs("in the primary analysis", level="step")
    conditions = [
        f"{condition}: {_many(by_condition[condition], 'session')}"
        for condition in trial.present
        if by_condition[condition]
    ]
    return [
        Step(
            "Planned",
            counts("in the sessions table"),
            gone("without scans", lost["stage"].isna()) + gone("lost at convert", lost["stage"] == "convert"),
        ),
        Step("Converted", counts("converted"), gone("lost at preprocess", lost["stage"] == "preprocess")),
        Step("Preprocessed", counts("preprocessed"), gone("lost at fit", lost["stage"] == "fit") + unfit),
        Step("Fitted", counts("fitted"), _listed(unused, _block_losses(trial))),
        Step("Analysed", counts("in the primary analysis"), conditions),
    ]


def _block_losses(trial: TrialResults) -> list[str]:
    """Reasons for which fitted blocks are not used, each with its number of blocks."""
    keys = ["participant", "session", "block"]
    fitted = trial.blocks[trial.blocks["fit_status"] != "failed"]
    excluded = trial.tables["exclusions"]
    excluded = excluded[excluded["action"] == "exclude"].merge(fitted[keys])
    reasons = []
    for metric, own in excluded.groupby("metric"):
        limit = own["limit"].iloc[0]
        rule = "fit doubtful" if metric == "fit_status" else f"{metric} beyond its limit of {limit:g}"
        reasons.append(f"{rule}: {_many(len(own.drop_duplicates(keys)), 'block')}")
    for reason, own in fitted[fitted["left_out"]].groupby("reason"):
        reasons.append(f"{reason}: {_many(len(own), 'block')}")
    return reasons


def _listed(title: str, reasons: list[str]) -> list[str]:
    if not reasons:
        return []
    shown = reasons[:MOST_REASONS]
    if len(reasons) > len(shown):
        shown = [*shown, f"and {len(reasons) - len(shown)} more, all in the table of losses"]
    return [title, *(line for text in shown for line in textwrap.wrap(text, 62, subsequent_indent="   "))]
