"""Participants of several trials in one model: random trial and trial by condition, variances of each trial's own.

    value = condition + visit of the trial + trial + trial x condition + participant of the trial + error of the trial

Values are session means of the change from baseline, in percent of the trial's mean baseline. Trial and trial x
condition are random, with a variance each; participants and errors have variances of each trial's own. How a covariate
changes the effect is separated into what lies within trials and what lies between them (Hua et al. 2017,
doi:10.1002/sim.7171): only the first is free of what trials differ in beside it.
Tests are Kenward and Roger's. Where trials are of one design, size and variance, estimate and test are those of the
trials' own estimates, pooled with equal weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.models import two_level
from mrsflow.models.mixed import Fit, Inference
from mrsflow.pooling.sources import Trial

if TYPE_CHECKING:
    import pandas as pd

CONTRAST = " - "
"""What parts the two conditions in the name of a contrast."""


def sessions_of(trial: Trial, covariates: Sequence[str] = ()) -> "pd.DataFrame":
    """Read the sessions of a study: trial, participant, visit, treated (1 or 0), value, cohort and covariates.

    Parameters
    ----------
    trial : Trial
        A study of mrsflow.
    covariates : sequence of str
        Columns of numbers of its participants.

    Raises
    ------
    InputError
        The contrast names no two arms of the study, there is no change from a baseline, or no such covariate.
    """
    import pandas as pd

    folder, contrast = Path(trial.folder or ""), str(trial.told["contrast"])
    place = folder / "group/session_changes.tsv"
    cells = result_tables.read(place)
    treated, _, reference = contrast.partition(CONTRAST)
    arms = list(dict.fromkeys(cells["arm"].dropna()))
    if treated not in arms or reference not in arms:
        raise InputError(
            f"{place}: the contrast is {contrast!r}; one stage compares two arms, of which there are "
            f"{', '.join(arms)}: name it with --contrast 'treated - reference', or leave --one-stage out"
        )
    cells = cells[cells["arm"].isin([treated, reference]) & cells["change_percent"].notna()]
    if cells.empty:
        raise InputError(
            f"{place}: has no change from a baseline (change_percent); one stage needs one: leave --one-stage out"
        )
    found = pd.DataFrame({
        "trial": trial.name, "participant": trial.name + ": " + cells["participant"],
        "visit": cells["visit"].to_numpy(), "treated": (cells["arm"] == treated).astype(float).to_numpy(),
        "value": cells["change_percent"].to_numpy(float), "cohort": trial.told.get("cohort"),
    })  # fmt: skip
    if not covariates:
        return found.reset_index(drop=True)
    people = read_table(folder / "bids/participants.tsv", text_columns=["participant_id"])
    if missing := [name for name in covariates if name not in people or people[name].dtype.kind not in "fi"]:
        raise InputError(
            f"{folder}/bids/participants.tsv: has no column of numbers {missing[0]!r}; it has "
            f"{', '.join(people.columns)}: name one that every study has (convert.keep of the configuration keeps more)"
        )
    keys = people.set_index("participant_id")[list(covariates)]
    own = keys.reindex("sub-" + cells["participant"].to_numpy()).reset_index(drop=True)
    return pd.concat([found.reset_index(drop=True), own], axis=1)


@dataclass(frozen=True)
class Model:
    """The model fitted: its fit, and the contrast of each effect by what it is called."""

    fit: Fit
    effects: Mapping[str, NDArray[np.float64]]
    n_trials: int
    n_participants: int

    def test(self, name: str, level: float) -> Inference:
        """Test one of the effects."""
        found = self.fit.contrast(self.effects[name], level=level)
        if not np.isfinite([found.se, found.df, found.p]).all():
            raise InputError("trials are too few for the test")
        return found


def fit(rows: "pd.DataFrame", cohorts: bool = False, covariates: Sequence[str] = (), own: bool = True) -> Model:
    """Fit participants of several trials.

    Parameters
    ----------
    rows : DataFrame
        As `sessions_of` gives them, of all trials.
    cohorts : bool
        Whether the effect is that of each cohort.
    covariates : sequence of str
        Columns of numbers, which may change the effect.
    own : bool
        Whether participants and errors have variances of each trial's own.

    Raises
    ------
    InputError
        Fewer than two trials, a cohort that is not known, or columns that cannot be told apart.
    """
    rows = rows.dropna(subset=["value", "treated", *covariates])
    trials = list(dict.fromkeys(rows["trial"]))
    if len(trials) < 2:
        raise InputError("one stage needs participants of two trials or more; pool without --one-stage")
    if cohorts and rows["cohort"].isna().any():
        lacking = rows["trial"][rows["cohort"].isna()].iloc[0]
        raise InputError(f"{lacking} has no cohort; give it in column cohort of a table of trials")
    columns = _columns(rows, cohorts, covariates)
    names, x = tuple(columns), np.column_stack(list(columns.values()))
    effects = {name: np.eye(len(names))[i] for i, name in enumerate(names) if not name.startswith("visit ")}
    effects = {name: w for name, w in effects.items() if not name.startswith("level")}
    levels = [name for name in effects if name.startswith("cohort ")]
    if levels:
        for level in levels[1:]:
            effects[f"{level.removeprefix('cohort ')} - {levels[0].removeprefix('cohort ')}"] = (
                effects[level] - effects[levels[0]]
            )
    found = two_level.fit_kernels(x, rows["value"].to_numpy(float), _kernels(rows, trials, own), names)
    return Model(found, effects, len(trials), rows["participant"].nunique())


def _columns(rows: "pd.DataFrame", cohorts: bool, covariates: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Make the fixed effects: level and effect (of each cohort), later visits of each trial, covariates."""
    treated = rows["treated"].to_numpy(float)
    found: dict[str, NDArray[np.float64]] = {}
    if cohorts:
        of = {level: (rows["cohort"] == level).to_numpy(float) for level in dict.fromkeys(rows["cohort"])}
        found |= {f"level {level}": own for level, own in of.items()}
        found |= {f"cohort {level}": own * treated for level, own in of.items()}
    else:
        found |= {"level": np.ones(len(rows)), "effect": treated}
    for name in covariates:
        values = rows[name].astype(float)
        mean = values.groupby(rows["trial"]).transform("mean")
        inside, between = (values - mean).to_numpy(), (mean - mean.mean()).to_numpy()
        found |= {f"level {name} within": inside, f"{name} within trials": inside * treated}
        if np.ptp(between) > 0 and rows["trial"].nunique() > 2:
            found |= {f"level {name} between": between, f"{name} between trials": between * treated}
    for trial, own in rows.groupby("trial", sort=False):
        for visit in sorted(own["visit"].unique())[1:]:
            found[f"visit {visit} of {trial}"] = ((rows["trial"] == trial) & (rows["visit"] == visit)).to_numpy(float)
    return found


def _kernels(rows: "pd.DataFrame", trials: list[str], own: bool) -> dict[str, NDArray[np.float64]]:
    """Parts of the covariance; participants of a trial only where they have several sessions."""
    trial, person = rows["trial"].to_numpy(), rows["participant"].to_numpy()

    def same(labels: NDArray) -> NDArray[np.float64]:
        return (labels[:, np.newaxis] == labels).astype(float)

    arms = np.array([f"{t}|{c}" for t, c in zip(trial, rows["treated"], strict=True)])
    found = {"trial": same(trial), "trial x condition": same(arms)}
    people, errors = same(person), np.eye(len(rows))
    repeated = [t for t in trials if rows["participant"][trial == t].duplicated().any()]
    if not own:
        return found | ({"participant": people} if repeated else {}) | {"error": errors}
    for name in trials:
        inside = np.outer(trial == name, trial == name)
        if name in repeated:
            found[f"participants of {name}"] = people * inside
        found[f"error of {name}"] = errors * inside
    return found


def cells(model: Model, level: float, **shared: Any) -> list[dict[str, Any]]:
    """Cells of the rows of ``pooled`` that show every effect of the model."""
    variances = dict(zip(model.fit.groups, np.asarray(model.fit.variances, float), strict=True))
    found = []
    for name in model.effects:
        row = {"analysis": "one stage", "term": None if name == "effect" else name.removeprefix("cohort "),
               "n_trials": model.n_trials, "n_participants": model.n_participants, "ci_level": level}  # fmt: skip
        row |= shared
        try:
            test = model.test(name, level)
        except InputError as error:
            found.append(row | {"remark": f"not estimated: {error}"})
            continue
        row |= {n: float(getattr(test, n)) for n in ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")}
        # of the difference of two conditions, whose deviations by trial are independent
        row |= {"tau2": 2 * variances["trial x condition"]} if name == "effect" else {}
        found.append(row)
    return found
