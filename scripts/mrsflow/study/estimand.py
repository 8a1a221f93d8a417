"""The question of a trial (ICH E9(R1)): which baseline answers it, as the clock times of dose and infusion say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mrsflow import result_tables
from mrsflow.files import read_table
from mrsflow.study.clock import seconds_between

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.study.study import Study

Kind = Literal["response", "total", "adjusted_level"]
Placement = Literal["before", "both", "after", "none"]
TITLES = {"response": "response", "total": "total effect", "adjusted_level": "adjusted level"}
WARNING = (
    "the baseline lies after the dose, so that the adjusted level is neither the response nor the total difference; "
    "see group.estimand"
)


@dataclass(frozen=True)
class Estimand:
    """What is estimated, and from which baseline.

    Attributes
    ----------
    kind : str
        response, total or adjusted_level.
    placement : str
        Baseline blocks are before every drug, (some) after the dose, both in every session, or there are none.
    declared : bool
        Whether the configuration names it; otherwise it follows from the clock times.
    dosed : bool
        Whether a dose beside the infusion is known.
    visits : tuple of int
        Visits that are the baseline of the others; none where it lies within the session.
    """

    kind: Kind
    placement: Placement
    declared: bool = False
    dosed: bool = True
    visits: tuple[int, ...] = ()

    @property
    def change(self) -> bool:
        """Whether values are changes from the baseline."""
        return self.kind == "response" or (self.kind == "total" and self.placement in ("before", "both"))

    @property
    def adjusted(self) -> bool:
        """Whether models adjust for the baseline."""
        return self.kind == "adjusted_level"

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the baseline."""
        if self.placement == "after" and self.adjusted:
            return [WARNING]
        return []


def dose_seconds(config: dict[str, Any], study: "Study") -> list[float]:
    """Onset of the dose of each session relative to the event of the blocks (s); NaN where no dose is known.

    Clock times of the sessions table come first, then minutes from dose to infusion as a BIDS dataset has them, then
    the events written when the scans were converted.
    """
    event = config["blocks"]["event"]
    scans = study.samples[study.samples["role"] == "svs"].drop_duplicates("key").set_index("key")
    started = scans["start_time"].to_dict() if "start_time" in scans else {}
    files = scans["events"].to_dict() if "events" in scans else {}
    found = []
    for row in study.sessions.to_dict("records"):
        zero = row.get("infusion_start") if event == "infusion" else started.get(row["key"])
        if event == "dose":
            found.append(0.0)
        elif isinstance(row.get("dose_time"), str) and isinstance(zero, str):
            found.append(seconds_between(zero, row["dose_time"]))
        elif event == "infusion" and _number(row.get("dose_to_infusion_min")) is not None:
            found.append(-60 * float(row["dose_to_infusion_min"]))
        elif isinstance(row.get("dose_time"), str) or isinstance(files.get(row["key"]), Path):
            found.append(_of_events(event, row["key"], files.get(row["key"]), Path(config["output"])))
        else:
            found.append(float("nan"))
    return found


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _of_events(event: str, key: str, given: Any, output: Path) -> float:
    """Dose relative to the event in a session's table of events; NaN without one of them."""
    from mrsflow.study import records

    paths = [given] if isinstance(given, Path) else []
    if not paths:
        try:
            paths = [p for p in records.outputs_of(output, "convert", key) if p.name.endswith("_events.tsv")]
        except records.Skipped:
            paths = []
    if not paths:
        return float("nan")
    events = read_table(paths[0], result_tables.labels("events")).drop_duplicates("trial_type")
    onset = events.set_index("trial_type")["onset"].to_dict()
    zero = 0.0 if event == "start" else onset.get(event)
    return float(onset["dose"]) - float(zero) if "dose" in onset and zero is not None else float("nan")


def placement_of(ends: Sequence[float], dose: "Sequence[float] | pd.Series") -> Placement:
    """Say where the baseline bins lie.

    Parameters
    ----------
    ends : sequence of float
        End of each baseline bin (s from the event).
    dose : sequence of float
        Of each session; NaN where there is none.

    >>> placement_of([0.0], [-2700.0, float("nan")]), placement_of([0.0], [0.0]), placement_of([-3e3, 0.0], [-2700.0])
    ('after', 'before', 'both')
    """
    if not len(ends):
        return "none"
    given = np.asarray(dose, float)
    limit = np.where(np.isnan(given), np.inf, given)[:, np.newaxis]
    before = np.asarray(ends, float) <= limit
    if before.all():
        return "before"
    return "both" if before.any(axis=1).all() else "after"


def estimand_of(config: dict[str, Any], sessions: "pd.DataFrame") -> Estimand:
    """Decide what is estimated: as the configuration says, else by where the baseline lies.

    A baseline before every drug leaves the adjusted level, the most precise; one after a dose cannot be adjusted for,
    and the response remains; without a baseline there is the total difference.
    """
    bins, visits = config["blocks"]["bins"], tuple(config["study"]["baseline_visits"])
    ends = [60 * bins[name][1] for name in (bins if visits else config["blocks"]["baseline"])]
    dose = sessions["dose_s"].to_numpy(float) if "dose_s" in sessions else np.full(len(sessions), np.nan)
    dosed = bool(np.isfinite(dose).any())
    placement = placement_of(ends, dose[sessions["visit"].isin(visits)] if visits else dose)
    if visits and placement == "both":
        placement = "after"  # one scan, which a dose interrupts
    asked, single = config["group"].get("estimand", "auto"), config["study"]["design"] == "single_arm"
    usual = "response" if single else {"before": "adjusted_level", "none": "total"}.get(placement, "response")
    return Estimand(usual if asked == "auto" else asked, placement, asked != "auto", dosed, visits)


def baseline_rows(estimand: Estimand, blocks: "pd.DataFrame", dose: "pd.Series") -> "pd.Series":
    """Mark the blocks that are the baseline of an estimand.

    Parameters
    ----------
    estimand : Estimand
    blocks : DataFrame
        key, phase, onset_s and duration_s.
    dose : Series
        Onset of the dose by session key (s from the event).
    """
    rest = blocks["phase"] == "baseline"
    if estimand.visits:
        return rest
    late = rest & (blocks["onset_s"] + blocks["duration_s"] > blocks["key"].map(dose).astype(float))
    if estimand.kind == "response":
        return rest & (late | ~blocks["key"].isin(set(blocks.loc[late, "key"])))
    return rest & ~late if estimand.placement == "both" else rest


def phase_by_visit(blocks: "pd.DataFrame", visits: Sequence[int]) -> "pd.DataFrame":
    """Blocks with their phase; where visits are before and after, that of the visit."""
    if not visits:
        return blocks
    return blocks.assign(phase=np.where(blocks["visit"].isin(visits), "baseline", "infusion"))


def visits_in_words(visits: Sequence[int]) -> str:
    """Name visits.

    >>> visits_in_words([1]), visits_in_words([1, 2])
    ('visit 1', 'visits 1, 2')
    """
    return f"visit{'' if len(visits) == 1 else 's'} {', '.join(map(str, visits))}"


def before_words(estimand: Estimand, event: str) -> str:
    """Say what a baseline before every known drug precedes."""
    if estimand.visits:
        return "before every drug" if estimand.dosed else "before treatment as configured, no dose being in the tables"
    return "before every drug" if estimand.dosed else f"before the {event} (no other dose is in the tables)"


def in_words(config: dict[str, Any], estimand: Estimand, contrast: str) -> dict[str, str]:
    """State the estimand by the attributes of ICH E9(R1).

    Parameters
    ----------
    config : dict
        Checked configuration.
    estimand : Estimand
    contrast : str
        Name of the primary contrast.
    """
    study, blocks, outcome = config["study"], config["blocks"], config["group"]["outcome"]
    after = [name for name in blocks["bins"] if name not in blocks["baseline"]]
    where = {
        "before": before_words(estimand, blocks["event"]),
        "after": f"after the dose and before the {blocks['event']}",
        "both": "before every drug" if estimand.kind != "response" else f"after the dose, before the {blocks['event']}",
        "none": "",
    }[estimand.placement]  # fmt: skip
    if estimand.visits:
        where = visits_in_words(estimand.visits) + f" ({where or 'after a dose'})"
    if estimand.change:
        variable = f"change of {outcome} from the baseline {where}"
    elif estimand.adjusted and estimand.placement != "none":
        variable = f"level of {outcome}, adjusted for the baseline {where}"
    else:
        variable = f"level of {outcome}, not adjusted for anything measured after the dose"
    single = study["design"] == "single_arm"
    known = (
        "by the clock times of dose and infusion" if estimand.dosed else "no dose beside the infusion is in the tables"
    )
    why = "as configured" if estimand.declared else known
    time = f"mean over {', '.join(after)}, from the {blocks['event']} on, with equal weights"
    if estimand.visits:
        time = f"mean over the visits after {visits_in_words(estimand.visits)}, with equal weights"
    return {
        "estimand": f"{TITLES[estimand.kind]} ({why})",
        "population": study.get("population") or "participants of the trial; study.population declares no other",
        "treatment": contrast,
        "variable": variable,
        "time": time,
        "intercurrent events": study.get("intercurrent_events")
        or "none declared (study.intercurrent_events); sessions count as they were measured, in the arm of the table",
        "summary": "mean" if single else "difference of means between conditions",
    }
