"""Who came how far, by sequence and visit, and who they were: CONSORT and its extension to crossovers.

References
----------
Dwan et al. 2019, doi:10.1136/bmj.l4378 (crossover trials); Schulz et al. 2010, doi:10.1136/bmj.c332.
"""

from typing import TYPE_CHECKING, Any

import pandas as pd

from mrsflow.study.covariates import is_factor, names_of

if TYPE_CHECKING:
    from mrsflow.statistics.outcomes import Rows
    from mrsflow.study.cohort import Loss
    from mrsflow.study.trial import TrialData

ALL = "all"
ABSENT = "no session of this visit in the tables"
CHARACTERISTICS = ("sex", "age", "weight", "site")
"""Columns of the participants table that describe who was in a trial."""
Row = dict[str, Any]


def sequences_of(sessions: pd.DataFrame) -> pd.Series:
    """Name the sequence of each participant: the conditions of all visits, or the one of all of them."""
    return orders_of(sessions).map(name_of)


def name_of(order: tuple[str, ...]) -> str:
    """Name a sequence.

    >>> name_of(("b", "a")), name_of(("a", "a"))
    ('b, a', 'a')
    """
    return ", ".join(order if len(set(order)) > 1 else order[:1])


def orders_of(sessions: pd.DataFrame) -> pd.Series:
    """Conditions of each participant, over all visits of the trial.

    Somebody whose later visits are not in the table has the one sequence that begins so, if there is one; otherwise
    those visits are written as a question mark.
    """
    visits = sorted(sessions["visit"].unique())
    wide = sessions.pivot(index="participant", columns="visit", values="condition").reindex(columns=visits)
    known = {tuple(row) for row in wide.dropna().to_numpy(object)}
    found = {}
    for person, own in zip(wide.index, wide.to_numpy(object), strict=True):
        fitting = [s for s in known if all(pd.isna(a) or a == b for a, b in zip(own, s, strict=True))]
        whole = fitting[0] if len(fitting) == 1 else tuple("?" if pd.isna(c) else c for c in own)
        found[person] = whole
    return pd.Series(found, dtype=object)


def reasons_of(trial: "TrialData", lost: dict[str, "Loss"], rows: "Rows") -> pd.Series:
    """Why each session is not in the primary analysis, one reason each; empty of those that are."""
    left = {(participant, session): reason for participant, session, reason in rows.left_out}
    used = set(rows.blocks["key"])
    bound = set(rows.blocks["participant"]) if trial.visits else set()
    blocks = dict(iter(trial.blocks[~trial.blocks["key"].isin(used)].groupby("key")))
    found = []
    for row in trial.sessions.itertuples():
        if row.key in used:
            found.append("")
            continue
        own = blocks.get(row.key, trial.blocks.iloc[:0])
        later = own[own["phase"] != "baseline"] if row.visit not in trial.visits else own
        if row.key in lost:
            reason = f"{lost[row.key].stage or 'not scanned'}: {lost[row.key].reason}"
        elif (row.participant, row.session) in left:
            reason = left[(row.participant, row.session)]
        elif later.empty:
            reason = "no block after the baseline"
        elif later["excluded"].all():
            reason = "every block excluded by the quality rules"
        elif later[trial.outcome].isna().all():
            reason = f"no {trial.outcome} in the fits"
        elif row.participant in bound:
            reason = ""  # a baseline visit of somebody who is compared
        elif trial.visits:
            reason = "baseline visit of a participant without a usable later one"
        else:
            reason = "no usable block"
        found.append(reason)
    return pd.Series(found, index=trial.sessions.index, dtype=object)


def flow_table(trial: "TrialData", lost: dict[str, "Loss"], rows: "Rows") -> pd.DataFrame:
    """Count participants by sequence and visit: who had a session, who was lost and why, who was analysed.

    In each sequence and visit the losses and the analysed add up to the participants of the sequence.
    """
    sessions = trial.sessions.assign(reason=reasons_of(trial, lost, rows))
    orders = orders_of(sessions)
    found = _declared(trial, len(orders))
    for order in sorted(orders.unique()):
        people = set(orders.index[[own == order for own in orders]])
        base = {"sequence": name_of(order), "visit": None, "condition": None, "reason": None}
        found.append(base | {"step": "in the sessions table", "n_participants": len(people)})
        own = sessions[sessions["participant"].isin(people)]
        for visit, condition in zip(sorted(sessions["visit"].unique()), order, strict=True):
            here = own[own["visit"] == visit]
            base |= {"visit": int(visit), "condition": condition}
            counts = here.loc[here["reason"] != "", "reason"].value_counts().sort_index().to_dict()
            counts |= {ABSENT: len(people) - len(here)} if len(here) < len(people) else {}
            found += [base | {"step": "lost", "reason": why, "n_participants": n} for why, n in counts.items()]
            found.append(
                base | {"step": "in the primary analysis", "n_participants": int((here["reason"] == "").sum())}
            )
    columns = ["sequence", "visit", "condition", "step", "reason", "n_participants"]
    return pd.DataFrame(found, columns=columns).astype({"visit": "Int64"})


def _declared(trial: "TrialData", there: int) -> list[Row]:
    """Rows of those who were screened and randomised, where the configuration says how many."""
    study = trial.config["study"]
    screened, randomised = study["screened"], study["randomised"]
    counts = {"screened": screened, "not randomised": None, "randomised": randomised, "not in the tables": None}
    if screened is not None and randomised is not None:
        counts["not randomised"] = screened - randomised
    if randomised is not None:
        counts["not in the tables"] = randomised - there
    return [{"sequence": ALL, "step": step, "n_participants": n} for step, n in counts.items() if n is not None]


def baseline_table(trial: "TrialData", rows: "Rows", scores: tuple[str, ...] = ()) -> pd.DataFrame:
    """Describe participants at their first visit by sequence, and all; while arms are masked all alone.

    Parameters
    ----------
    trial : TrialData
    rows : Rows
        Give the baseline of the outcome.
    scores : tuple of str
        Columns of scores before treatment.
    """
    first = trial.sessions.sort_values("visit", kind="stable").drop_duplicates("participant")
    first = first.merge(rows.sessions[["participant", "session", "bl"]], on=["participant", "session"], how="left")
    if trial.visits:
        own = rows.sessions.drop_duplicates("participant").set_index("participant")["bl"]
        first["bl"] = first["participant"].map(own)
    sequence = first["participant"].map(sequences_of(trial.sessions))
    groups = {ALL: first}
    if trial.frozen and sequence.nunique() > 1:
        groups |= {name: first[sequence == name] for name in sorted(sequence.unique())}
    columns = [c for c in dict.fromkeys((*CHARACTERISTICS, *names_of(trial.config), *scores)) if c in first]
    found = []
    for group, people in groups.items():
        for column in [*columns, "bl"]:
            name = f"{trial.outcome} at baseline" if column == "bl" else column
            found += [
                {"sequence": group, "characteristic": name} | row for row in _described(people[column], first[column])
            ]
    return pd.DataFrame(found, columns=["sequence", "characteristic", "level", "n", "n_missing", "mean", "sd"])


def _described(values: pd.Series, everyone: pd.Series) -> list[Row]:
    """Give n, mean and SD of a number, the count of each level of a factor."""
    missing = int(values.isna().sum())
    if not is_factor(everyone):
        n = len(values) - missing
        return [{"n": n, "n_missing": missing, "mean": values.mean(), "sd": values.std(ddof=1) if n > 1 else None}]
    text = values.dropna().astype(str)
    return [
        {"level": level, "n": int((text == level).sum()), "n_missing": missing}
        for level in sorted(everyone.dropna().astype(str).unique())
    ]
