"""What stands beside the primary analysis because the configuration asks for it, as rows and in words."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mrsflow.errors import InputError
from mrsflow.statistics import clinical, clinical_course, evidence, missing_sessions
from mrsflow.statistics.contrasts import primary_row
from mrsflow.statistics.outcomes import complete_sessions, prepare
from mrsflow.statistics.results import Result, complete_row, estimated, joined
from mrsflow.study.covariates import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from mrsflow.statistics.outcomes import Rows
    from mrsflow.statistics.plan import Contrast, Plan
    from mrsflow.study.trial import TrialData

AFTER_TREATMENT = "may have been given after treatment, and be an effect of it"


def supplementary_rows(trial: "TrialData", plan: "Plan", rows: "Rows", primary: Result) -> list[Result]:
    """Make the rows of the sensitivity table that the configuration asks for.

    Parameters
    ----------
    trial : TrialData
    plan : Plan
    rows : Rows
    primary : Result
        Of the primary contrast.
    """
    group, contrast = trial.config["group"], plan.contrasts[0]
    found = evidence.evidence_rows(plan, rows, primary, group)
    for column in group["leave_out"]:
        gone, said = marked(trial.sessions, column)
        found += _without(plan, lambda g=gone, c=column: _prepared(trial, g, c), contrast, column, said)
    for column in group["expectancy"]:
        found += _with(plan, rows, contrast, column)
    return found + missing_sessions.imputation_rows(plan, trial.sessions, rows, group["imputation"])


def mood_rows(
    plan: "Plan", config: dict[str, Any], sessions: "pd.DataFrame", mood: "Rows", outcome: str
) -> list[Result]:
    """Make the same rows of the clinical outcome.

    Parameters
    ----------
    plan : Plan
    config : dict
        Checked configuration.
    sessions : DataFrame
    mood : Rows
        Of the change of mood.
    outcome : str
        Name of the change of mood.
    """
    own, contrast, found = replace(plan, outcome=outcome), plan.contrasts[0], []
    for column in config["group"]["leave_out"]:
        gone, said = marked(sessions, column)
        kept = sessions[~sessions["participant"].isin(gone)]
        found += _without(own, lambda k=kept, c=column: clinical.mood_rows(config, _some(k, c)), contrast, column, said)
    for column in config["group"]["expectancy"]:
        found += _with(own, mood, contrast, column)
    found += missing_sessions.imputation_rows(own, sessions, mood, config["group"]["imputation"])
    return [clinical.of_mood(row) for row in found]


def in_words(config: dict[str, Any], scored: bool) -> list[str]:
    """Say what these rows are, for methods text and analysis plan; `scored`: there are scores of mood."""
    group = config["group"]
    found = [*evidence.in_words(group), *clinical_course.in_words(config)]
    if scored and config["study"]["design"] != "single_arm":
        found.append(
            f"Exploratory: the indirect effect of the contrasts on mood through the change of {group['outcome']}, with "
            "the interval of the distribution of a product; it rests on what its row says."
        )
    if group["leave_out"]:
        found.append(
            f"Sensitivity analyses without the participants that are marked in {', '.join(group['leave_out'])}."
        )
    if group["expectancy"]:
        found.append(f"Sensitivity analyses adjusted for {', '.join(group['expectancy'])}, each alone.")
    return [*found, *missing_sessions.in_words(config)]


def marked(sessions: "pd.DataFrame", column: str) -> tuple[set[str], str]:
    """Participants that a column of yes and no marks in any session, those of unknown answer too, and how many."""
    if column not in sessions:
        raise InputError(f"group.leave_out: {column!r} is in no table; take it out")
    answers = sessions[column].map(answer, na_action="ignore")
    of = sessions["participant"]
    known = set(of[answers.eq(True)])
    unknown = set(of[answers.isna()]) - known
    said = f"{len(known)} participant(s) marked in {column} left out"
    return known | unknown, said + f", and {len(unknown)} without an answer" * bool(unknown)


def _prepared(trial: "TrialData", gone: "Iterable[str]", column: str) -> "Rows":
    """Rows of the primary outcome without participants."""
    marked = trial.blocks["participant"].isin(set(gone))
    _some(trial.blocks[~marked], column)
    return prepare(trial.leave_out(marked), trial.outcome)


def _some(kept: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Give what is left; refuse nothing."""
    if kept.empty:
        raise InputError(f"every participant is marked in {column}, or without an answer")
    return kept


def _without(plan: "Plan", make: "Callable[[], Rows]", contrast: "Contrast", column: str, said: str) -> list[Result]:
    name = f"without {column}"

    def row() -> list[Result]:
        own = make()
        found = complete_row(primary_row(plan, own, contrast, name), own, plan)
        return [replace(found, remark=joined(said, found.remark))]

    return estimated(row, Result(analysis=name, contrast=contrast.name, outcome=plan.outcome))


def _with(plan: "Plan", rows: "Rows", contrast: "Contrast", column: str) -> list[Result]:
    """Adjust for a column beside what the primary model has; sessions without a value are left out."""
    name = f"with {column}"

    def row() -> list[Result]:
        if column not in rows.sessions or rows.sessions[column].nunique() < 2:
            raise InputError(f"there is no column {column!r} with two values or more")
        if column in plan.adjust_for:
            raise InputError(f"{column} is already in the primary model")
        sessions, left = complete_sessions(rows.sessions, [column], lacking="")
        keys = ["participant", "session"]
        blocks = rows.blocks.merge(sessions[keys], on=keys)
        dropped = rows.n_dropped + len(rows.blocks) - len(blocks)
        own = replace(rows, sessions=sessions, blocks=blocks, n_dropped=dropped)
        adjusted = replace(plan, adjust_for=(*plan.adjust_for, column))
        found = complete_row(primary_row(adjusted, own, contrast, name), own, adjusted)
        lost = f"{len(left)} session(s) without a value left out" if left else ""
        return [replace(found, remark=joined(f"{column} {AFTER_TREATMENT}", lost, found.remark))]

    return estimated(row, Result(analysis=name, contrast=contrast.name, outcome=plan.outcome))
