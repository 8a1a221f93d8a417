"""Every combination of the choices that a study declares: an estimate of each, and one test of all together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrsflow.errors import InputError
from mrsflow.files import checksum, digest_of
from mrsflow.models import permutation
from mrsflow.statistics.contrasts import Assigned, assigned, primary_row, session_test
from mrsflow.statistics.outcomes import prepare
from mrsflow.statistics.plan import Plan
from mrsflow.statistics.results import Result, complete_row, estimated, joined
from mrsflow.study import cohort, variants
from mrsflow.study.config import fitters_of
from mrsflow.study.layout import FIT, FIT_QUALITY, FIT_TERMS, of_first_fitter
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    from mrsflow.study.trial import TrialData

AXES = ("fitter", *variants.AXES, "denominator", "doubtful", "warned", "excluded", "summary", "estimand")
"""Choices in the order in which tables and figure show them."""


@dataclass(frozen=True)
class Choices:
    """One way through the choices: a value for each of `AXES`."""

    fitter: str
    macromolecules: str
    residual_water: str
    align_ppm: str
    linewidths: str
    denominator: str
    doubtful: str
    warned: str
    excluded: str
    summary: str
    estimand: str


@dataclass(frozen=True)
class Source:
    """The fits that paths take: of one fitter, in the study or in one variant of it.

    Attributes
    ----------
    read : callable
        Gives the trial; `InputError` where it cannot be read.
    files : sequence of SessionFiles
    remark : str
        Which sessions of the study it lacks.
    """

    read: Callable[[], "TrialData"]
    files: Sequence[cohort.SessionFiles]
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A row of ``multiverse_test``; its fields are columns of ``tables.yaml``."""

    statistic: str
    contrast: str
    value: float = np.nan
    p: float = np.nan
    n_paths: int = 0
    n_estimated: int = 0
    draws: str = ""
    seed: int | None = None
    remark: str = ""


def paths_of(config: dict[str, Any]) -> list[Choices]:
    """Every combination of the declared choices; of an axis that is not declared the study's own choice."""
    asked = config["group"]["multiverse"] | variants.choices(config)
    own = {
        "fitter": fitters_of(config)[0], "denominator": split_outcome(config["group"]["outcome"])[0].partition("/")[2],
        "doubtful": "kept", "warned": "kept", "excluded": "left out", "summary": "mean",
        "estimand": config["group"]["estimand"],
    }  # fmt: skip
    return [Choices(*choices) for choices in product(*(asked[axis] if axis in asked else [own[axis]] for axis in AXES))]


def multiverse(
    config: dict[str, Any],
    own: Mapping[str, Source],
    plan: Plan,
    load: Callable[[Sequence[cohort.SessionFiles]], "TrialData"],
) -> tuple[list[dict[str, Any]], list[Joint]]:
    """Estimate every path and test them together.

    Parameters
    ----------
    config : dict
    own : mapping of str
        The study's own fits, by fitter.
    plan : Plan
    load : callable
        Reads the trial from the files of its sessions.

    Returns
    -------
    paths : list of dict
        Rows of ``multiverse``: the choices, the row of the primary analysis under them, ``fits`` (digest of the tables
        it was made from) and ``inputs`` (of them and of the choices).
    tests : list of Joint
    """
    sources: dict[tuple[str, str], tuple[Source, str]] = {}
    first: dict[str, tuple[int, tuple[str, str]]] = {}
    rows, ready = [], []
    for number, path in enumerate(paths_of(config), start=1):
        where = path.fitter, variants.name_of(config, asdict(path))
        if where not in sources:
            source = _of_variant(config, own, *where, load) if where[1] else own[path.fitter]
            sources[where] = source, inputs_of(source.files) if source.files else ""
        source, fits = sources[where]
        result, assigned_to = _one(source.read, plan, path)
        before, same_as = first.setdefault(fits, (number, where))
        same = "" if same_as == where or not fits else f"its fits are those of path {before}: its choices changed none"
        more = {
            "path": number, "variant": where[1], "model": result.model, "estimand": result.estimand or path.estimand,
            "fits": fits, "inputs": digest_of([fits, asdict(path)]),
            "remark": joined(result.remark, source.remark, same),
        }  # fmt: skip
        rows.append(asdict(result) | asdict(path) | more)
        ready += [assigned_to] if assigned_to is not None else []
    return rows, _joint(plan, ready, len(rows))


def _of_variant(
    config: dict[str, Any],
    own: Mapping[str, Source],
    fitter: str,
    name: str,
    load: Callable[[Sequence[cohort.SessionFiles]], "TrialData"],
) -> Source:
    """Find the fits of a variant; what is wrong with them is a matter of the rows that take them."""
    output, known = Path(config["output"]), [item.key for item in next(iter(own.values())).files]
    keys, lost = cohort.recorded(output, known, variants.stage_of("fit", name))
    remark = "; ".join(f"{key} is left out: {said}" for key, said in lost.items())
    try:
        if not keys:
            raise InputError(f"no session has fits of {name}: {next(iter(lost.values()), 'none was fitted')}")
        files = cohort.locate(output, keys, None if fitter == variants.fitters(config)[0] else fitter, name)
    except InputError as error:
        return Source(partial(_raise, error), ())
    return Source(cache(partial(load, files)), files, remark)


def _raise(error: InputError) -> "TrialData":
    raise error


def inputs_of(located: Sequence[cohort.SessionFiles]) -> str:
    """Digest of what the tables of the fits of all sessions hold, whichever program wrote them."""
    paths: Iterator[Path] = (
        p for item in located for ending in (FIT, FIT_QUALITY, FIT_TERMS) for p in item.paths[ending]
    )
    return digest_of({of_first_fitter(path.name): checksum(path) for path in paths})


def chosen_blocks(trial: "TrialData", path: Choices) -> "TrialData":
    """Exclude the blocks that a path leaves out, and no others."""
    blocks = trial.blocks
    kinds = {
        "doubtful": blocks["fit_status"] == "doubtful",
        "warned": blocks["warned"] & ~blocks["excluded"],
        "excluded": blocks["excluded"],
    }
    gone = np.zeros(len(blocks), bool)
    for kind, mask in kinds.items():
        gone |= mask.to_numpy(bool) & (getattr(path, kind) == "left out")
    group = trial.config["group"] | {"estimand": path.estimand}
    return replace(trial, blocks=blocks.assign(excluded=gone), config=trial.config | {"group": group})


def _one(read: Callable[[], "TrialData"], plan: Plan, path: Choices) -> tuple[Result, Assigned | None]:
    """Estimate one path; what cannot be done is a row that says why."""
    ratio, term = split_outcome(plan.outcome)
    numerator, suffix = ratio.partition("/")[0], f": {term}" * bool(term)
    below = f"/{path.denominator}" if path.denominator else ""
    own = replace(plan, outcome=f"{numerator}{below}{suffix}")
    contrast = plan.contrasts[0]
    ready: list[Assigned] = []

    def make() -> list[Result]:
        rows = prepare(chosen_blocks(read(), path), own.outcome, summary=path.summary)
        row = session_test(own, rows, contrast) if path.summary == "huber" else primary_row(own, rows, contrast, "")
        ready.append(assigned(own, rows, contrast))
        return [complete_row(replace(row, analysis="multiverse"), rows, own)]

    (row,) = estimated(make, Result(analysis="multiverse", contrast=contrast.name, outcome=own.outcome))
    return row, ready[0] if ready and np.isfinite(row.estimate) else None


def _joint(plan: Plan, ready: list[Assigned], n_paths: int) -> list[Joint]:
    """Randomise conditions again, in all paths alike, and see how they come out as a whole."""
    contrast = plan.contrasts[0].name
    named = ("median of t over paths", "share of paths with p < 0.05 in the direction of the median")
    known = {"contrast": contrast, "n_paths": n_paths, "n_estimated": len(ready), "seed": plan.seed}
    try:
        if not ready:
            raise InputError("no path could be estimated")
        people, labels = _everyone(ready)
        orders, exact = permutation.assignments(labels, plan.draws, plan.seed)
    except InputError as error:
        return [Joint(statistic=name, **known, remark=f"not tested: {error}") for name in named]
    place = {name: k for k, name in enumerate(people)}
    found, left_out = [], []
    for own in ready:
        members = [place[name] for name in dict.fromkeys(own.participant)]
        try:
            found.append(permutation.drawn_t(
                own.y, own.fixed, labels, own.participant, own.levels, own.treated, orders, members
            ))  # fmt: skip
        except InputError as error:
            left_out.append(str(error))
    remark = f"{len(left_out)} estimated paths do not enter: {left_out[0]}" if left_out else ""
    known |= {"n_estimated": len(found), "remark": remark}
    if not found:
        return [Joint(statistic=name, **known) for name in named]
    observed, drawn, df = zip(*found, strict=True)
    test = permutation.joint_test(observed, np.column_stack(drawn), df, exact)
    how = f"all {len(orders)} assignments" if exact else f"{len(orders)} random assignments"
    values = ((test.median_t, test.median_p), (test.share, test.share_p))
    return [Joint(statistic=s, value=v, p=p, draws=how, **known) for s, (v, p) in zip(named, values, strict=True)]


def _everyone(ready: list[Assigned]) -> tuple[list[str], np.ndarray]:
    """Participants of any path, and their conditions in order of visit; both are the same in every path."""
    labels: dict[str, tuple] = {}
    for own in ready:
        for name, row in zip(dict.fromkeys(own.participant), own.labels, strict=True):
            if labels.setdefault(name, tuple(row)) != tuple(row):
                raise InputError(f"{name} has other visits in other paths")
    people = sorted(labels)
    return people, np.array([labels[name] for name in people], dtype=object)
