"""What a configuration says of courses over time: which keys each kind of regressor has, and what cannot be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

OF_EVENTS = ("event", "duration_s")
NEEDED: dict[str, tuple[str, ...]] = {
    "block": (),
    "trapezoid": ("rise_min", "fall_min"),
    "response": ("response",),
    "infusion": ("rise_min",),
    "polynomial": ("degree",),
    "column": ("file", "column"),
    "pharmacokinetic": ("constants",),
}
"""Keys that each kind of regressor needs."""
POSSIBLE: dict[str, tuple[str, ...]] = {
    "block": OF_EVENTS,
    "trapezoid": OF_EVENTS,
    "response": (*OF_EVENTS, "rise_min"),
    "infusion": (*OF_EVENTS, "fall_min", "fit_rise"),
    "polynomial": (),
    "column": (),
    "pharmacokinetic": (*OF_EVENTS, "dose_mg_per_kg", "dose_mg", "weight", "samples", "ke0_per_min"),
}
"""Further keys that each may have."""
FREE = ("auc", "peak", "time_to_peak")
"""Terms that are read from blocks with free amplitudes."""
GIVEN_EVENTS = ("infusion", "dose", "start")
"""Events that the tables of a study without an events table give."""


def split_outcome(outcome: str) -> tuple[str, str]:
    """Split an outcome into metabolite or ratio, and the term that it is of, empty where it is of blocks.

    >>> split_outcome("Glx/tNAA: infusion"), split_outcome("Glx/tNAA")
    (('Glx/tNAA', 'infusion'), ('Glx/tNAA', ''))
    """
    ratio, _, term = outcome.partition(":")
    return ratio.strip(), term.strip()


def terms_of(fit: dict[str, Any]) -> list[str]:
    """Terms that the fit of a session has by its section of the configuration."""
    if fit["model"] != "dynamic":
        return list(FREE)
    found = []
    for name, own in (fit["regressors"] or {fit["time_model"]: {}}).items():
        degree = own.get("degree") or 1
        found += [name] if degree == 1 else [f"{name} {order}" for order in range(1, degree + 1)]
    return [*found, *FREE]


def in_words(fit: dict[str, Any]) -> str:
    """Say what amplitudes of a dynamic fit follow, empty of another.

    >>> in_words({"model": "dynamic", "regressors": {"task": {"kind": "block", "event": "pain", "degree": None}},
    ...           "constant": ["NAA"], "free": [], "follow": {"Glu": ["task"]}})
    'Amplitudes followed task (block; event pain); NAA did not change; Glu followed task alone.'
    """
    if fit["model"] != "dynamic":
        return ""
    named = fit["regressors"] or {fit["time_model"]: {"kind": "course", "rise_min": fit["rise_min"]}}
    courses = []
    for name, own in named.items():
        said = [f"{key.replace('_', ' ')} {value}" for key, value in own.items() if value not in (None, False)]
        courses.append(f"{name} ({'; '.join([own['kind'], *said[1:]])})")
    parts = [f"Amplitudes followed {' and '.join(courses)}"]
    kinds = (("constant", "did not change"), ("free", "had an amplitude in each block"))
    parts += [f"{', '.join(fit[key])} {what}" for key, what in kinds if fit[key]]
    parts += [f"{name} followed {' and '.join(models)} alone" for name, models in fit["follow"].items()]
    return "; ".join(parts) + "."


def term_faults(content: dict[str, Any]) -> Iterator[str]:
    """Find outcomes of terms that the fits will not have."""
    group, known = content["group"], terms_of(content["fit"])
    primary = split_outcome(group["outcome"])[1]
    if ":" in group["outcome"] and not primary:
        yield f"group.outcome is {group['outcome']!r}; name a term behind the colon ({', '.join(known)})"
    named = [("group.outcome", group["outcome"]), *(("group.secondary", name) for name in group["secondary"])]
    for key, outcome in named:
        ratio, term = split_outcome(outcome)
        denominator = ratio.partition("/")[2]
        if term and term not in known:
            dynamic = "" if content["fit"]["model"] == "dynamic" else "; regressors need fit.model dynamic"
            yield f"{key}: {outcome!r} names the term {term!r}; the fits have {', '.join(known)}{dynamic}"
        elif term in FREE and not content["blocks"]["baseline"]:
            yield f"{key}: {outcome!r} is of a course from its baseline, and blocks.baseline is empty; name its bins"
        elif term and denominator not in ("", "tCr", "tNAA", "water"):
            yield f"{key}: terms are per tCr, tNAA or water, or amplitudes, not per {denominator}; choose one of these"
        elif term in FREE and key == "group.outcome" and group["estimand"] not in ("auto", "total"):
            yield f"group.estimand is {group['estimand']!r}, and {outcome!r} is a change already; set it to auto"
        elif term and not primary:
            yield f"{key}: {outcome!r} is of a term and group.outcome is not; name a term there too"


def faults(fit: dict[str, Any], bids: bool) -> Iterator[str]:
    """Find what section fit says of courses that cannot be.

    Parameters
    ----------
    fit : dict
        Section fit, defaults filled in.
    bids : bool
        Whether a dataset gives the events.
    """
    given = fit["regressors"]
    if (given or fit["follow"]) and fit["model"] != "dynamic":
        yield (
            f"fit.{'regressors' if given else 'follow'} is given and fit.model is {fit['model']}; set fit.model to "
            "dynamic, or take it out"
        )
    for name, own in given.items():
        where, kind = f"fit.regressors.{name}", own["kind"]
        said = [key for key, value in own.items() if key != "kind" and value not in (None, False)]
        if missing := [key for key in NEEDED[kind] if key not in said]:
            yield f"{where}: kind {kind} needs {missing[0]}; give it"
        known = (*NEEDED[kind], *POSSIBLE[kind])
        if extra := [key for key in said if key not in known]:
            yield f"{where}: kind {kind} has no {extra[0]} ({', '.join(known) or 'no further key'}); take it out"
        if kind == "pharmacokinetic" and ("dose_mg" in said) == ("dose_mg_per_kg" in said):
            yield f"{where}: needs the dose, as dose_mg_per_kg or as dose_mg, one of them"
        if ("weight" in said) != ("dose_mg" in said):
            yield f"{where}: dose_mg needs weight, the column that has it (kg), and dose_mg_per_kg does not"
        if kind == "response" and (own["response"] == "exponential") != (own["rise_min"] is not None):
            yield f"{where}: rise_min is the time constant of response exponential; give both or none"
        event = own["event"]
        if event is not None and not bids and event not in GIVEN_EVENTS:
            yield f"{where}: the tables give the events {', '.join(GIVEN_EVENTS)}, not {event!r}; name one of these"
    if len(fitted := [name for name, own in given.items() if own["fit_rise"]]) > 1:
        yield f"fit.regressors: {' and '.join(fitted)} have fit_rise; the time constant of one can be fitted"
    names = set(given) or {fit["time_model"]}
    for metabolite, followed in fit["follow"].items():
        if unknown := [name for name in followed if name not in names]:
            yield (
                f"fit.follow.{metabolite} names {unknown[0]!r}, which is no regressor; there are "
                f"{', '.join(sorted(names))}"
            )
        for key in ("constant", "free"):
            if metabolite in fit[key]:
                yield f"fit.follow.{metabolite} is also in fit.{key}; leave it in one of them"


def files_of(fit: dict[str, Any]) -> list[Path]:
    """Files that the regressors of a section fit name."""
    named = [own[key] for own in fit["regressors"].values() for key in ("file", "samples")]
    return [Path(name) for name in dict.fromkeys(filter(None, named))]


def columns_of(fit: dict[str, Any]) -> list[str]:
    """Columns of the participants and sessions tables that the regressors of a section fit name."""
    named = [own[key] for own in fit["regressors"].values() for key in ("weight", "dose_mg_per_kg", "dose_mg")]
    return list(dict.fromkeys(name for name in named if isinstance(name, str)))
