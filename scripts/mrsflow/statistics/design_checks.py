"""What must hold before conditions are compared, each with one clear line."""

from typing import TYPE_CHECKING

from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mrsflow.statistics.plan import Plan


def check_comparison(plan: "Plan", sessions: "pd.DataFrame") -> None:
    """Refuse a comparison that the sessions cannot answer.

    Raises
    ------
    InputError
        No usable session, one participant, a condition without data, a condition twice or in the wrong design, or
        conditions that change together with the visit.
    """
    participants = sessions["participant"].nunique()
    if not participants:
        raise InputError("no session has usable blocks; the tables of flow and exclusions say what became of them")
    if participants < 2:
        raise InputError(f"there are usable sessions of {participants} participant; a comparison needs at least two")
    if plan.design == "single_arm":
        return
    counts = sessions["condition"].value_counts()
    if empty := [c for c in plan.conditions if c not in counts]:
        raise InputError(
            f"condition {empty[0]!r} has no usable session; process more sessions or correct study.conditions"
        )
    check_conditions(plan.design, sessions, bool(plan.visits) or plan.replicates)
    if plan.design != "crossover":
        return
    orders = sessions.groupby("condition")["visit"].agg(set)
    if all(len(visits) == 1 for visits in orders) and sessions["visit"].nunique() > 1:
        raise InputError(
            "condition and visit change together: every session of a condition was the same visit, so their effects "
            "cannot be told apart; sessions of the other order are needed (or, where the visits are compared, before "
            "and after, study.design single_arm or parallel with study.baseline_visits)"
        )
    if not (sessions.groupby("participant")["condition"].nunique() > 1).any():
        raise InputError("no participant has usable sessions of two conditions; a crossover needs pairs")


def check_carried(plan: "Plan", sessions: "pd.DataFrame") -> None:
    """Refuse carry-over where it is not known what was given at the visit before.

    Raises
    ------
    InputError
        Names the session.
    """
    if plan.carried and (unknown := sessions[list(plan.carried)].isna().any(axis=1)).any():
        first = sessions[unknown].iloc[0]
        raise InputError(
            f"the visit before visit {first['visit']} of participant {first['participant']} is not in the sessions "
            "table, so that what carries over is not known; add its row (a session without scans counts), or set "
            "group.carry_over to false"
        )


def check_blocks(table: "pd.DataFrame") -> None:
    """Refuse a block that stands twice in a table by participant, session and block.

    Raises
    ------
    InputError
        Names the line and the block.
    """
    keys = ["participant", "session", "block"]
    if set(keys) <= set(table.columns) and (twice := table.duplicated(keys)).any():
        line, first = table.index[twice][0], table[twice].iloc[0]
        raise InputError(
            f"line {line + 2}: block {first['block']} of session {first['session']} of participant "
            f"{first['participant']} stands twice; give each block once, or choose rows with --where"
        )


def check_conditions(design: str, sessions: "pd.DataFrame", repeated: bool = False) -> None:
    """Refuse a condition twice in a participant of a crossover, and two conditions in one of a parallel trial.

    Parameters
    ----------
    design : str
    sessions : DataFrame
    repeated : bool
        Whether participants of a parallel trial have several visits, and those of a crossover a condition twice.

    Raises
    ------
    InputError
        Names the participant.
    """
    if design == "parallel":
        several = sessions.groupby("participant")["condition"].nunique()
        if (several > 1).any():
            raise InputError(
                f"participant {several.index[several > 1][0]} is in more than one arm of a parallel trial; correct the "
                "sessions table, or set study.design to crossover"
            )
        twice = sessions[sessions.duplicated("participant")]
        if len(twice) and not repeated:
            raise InputError(
                f"participant {twice['participant'].iloc[0]} has several sessions; a parallel trial compares one each "
                "(name the visits before treatment in study.baseline_visits where they are before and after)"
            )
    elif design == "crossover" and not repeated:
        twice = sessions[sessions.duplicated(["participant", "condition"])]
        if len(twice):
            first = twice.iloc[0]
            raise InputError(
                f"participant {first['participant']} has condition {first['condition']!r} in more than one session; a "
                "crossover has each once (study.replicates: true where it was given twice)"
            )


def check_moderator(plan: "Plan", sessions: "pd.DataFrame", column: str) -> None:
    """Refuse a moderator that cannot be told from the sequence of conditions.

    Raises
    ------
    InputError
        Too few values, or a moderator that changes with the sequence.
    """
    present = sessions[sessions[column].notna()]
    if present[column].nunique() < 2:
        raise InputError(f"moderator {column!r} has a single value in the usable sessions")
    if plan.design != "crossover":
        return
    orders = sequences(present)
    pairs = present.drop_duplicates("participant")[["participant", column]].set_index("participant")[column]
    joined = set(zip(orders.loc[pairs.index], pairs, strict=True))
    if len(joined) == orders.nunique() == pairs.nunique():
        raise InputError(
            f"moderator {column!r} changes together with the sequence of conditions, so its effect on the contrast "
            "cannot be told from that of the visit"
        )


def sequences(sessions: "pd.DataFrame") -> "pd.Series":
    """Conditions of each participant in order of visit, joined by commas."""
    ordered = sessions.sort_values(["participant", "visit"])
    return ordered.groupby("participant")["condition"].agg(",".join)
