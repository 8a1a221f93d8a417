"""Other choices of preprocessing and basis set than the study's own, which its multiverse asks for.

A variant is named after what differs from the study, as ``water-kept_macromolecules-none``; the study itself is ''. Its
preprocessing has a part of that name, ``water-kept``, so that variants that differ in nothing else share it. Its files
stand in ``<output>/variants/<name>``, its records beside those of the study, as those of stage ``fit_<name>``.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow.files import digest_of
from mrsflow.study import layout
from mrsflow.study.config import fitters_of, macromolecules_of
from mrsflow.study.regressors import split_outcome

if TYPE_CHECKING:
    import pandas as pd

PREPROCESSING = {
    "residual_water": ("water", "remove_water"),
    "align_ppm": ("align", "align_ppm"),
    "linewidths": ("linewidths", "match_linewidth"),
}
"""Axes of preprocessing: the word for it in names, and the key of the configuration that it is."""
AXES = ("macromolecules", *PREPROCESSING)
WATER = {"removed": True, "kept": False}
LINEWIDTHS = {"as measured": False, "matched": True}
OWN = "own"
"""Macromolecules of each protocol as the study has them, where they are not the same in all."""
NOMINAL_CPU_S = {"preprocess": 1.7, "fit": 2.0}
"""CPU time of a session of 48 minutes with six blocks at each stage (``benchmarks/demo_cost.py``)."""


def own_choices(config: Mapping[str, Any]) -> dict[str, str]:
    """Give the study's own value of each of `AXES`, as tables show it."""
    sources = {macromolecules_of(protocol) for protocol in config["protocols"].values()}
    same = next(iter(sources)) if len(sources) == 1 else None
    own = config["preprocess"]
    return {
        "macromolecules": OWN if same is None else same,
        "residual_water": _name_in(WATER, own["remove_water"]),
        "align_ppm": range_text(own["align_ppm"]),
        "linewidths": _name_in(LINEWIDTHS, own["match_linewidth"]),
    }


def choices(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give the values of each of `AXES` that the multiverse has: those declared, or the study's own alone."""
    asked, own = config["group"]["multiverse"] or {}, own_choices(config)
    found = {axis: list(asked.get(axis, [own[axis]])) for axis in AXES}
    if "align_ppm" in asked:
        found["align_ppm"] = [range_text(limits) for limits in asked["align_ppm"]]
    return found


def name_of(config: Mapping[str, Any], chosen: Mapping[str, str]) -> str:
    """Name the variant of a value of each of `AXES`; '' where all are the study's own."""
    own = own_choices(config)
    parts = [
        f"{word}-{chosen[axis].replace(' to ', '-').replace(' ', '-')}"
        for axis, (word, _) in PREPROCESSING.items()
        if chosen[axis] != own[axis]
    ]
    source = chosen["macromolecules"]
    if source not in (own["macromolecules"], OWN):
        parts.append(f"macromolecules-{_plain(source)}")
    return "_".join(parts)


def variants_of(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Find the variants that a study's multiverse needs beside the study itself, by name.

    While arms are masked there are none, as nothing is compared.
    """
    if config["group"].get("multiverse") is None or not config["study"]["freeze"]:
        return {}
    values = choices(config)
    every = [dict(zip(AXES, own, strict=True)) for own in product(*(values[axis] for axis in AXES))]
    return {name: own for own in every if (name := name_of(config, own))}


def preprocessing_of(name: str) -> str:
    """Name the variant whose preprocessing a variant takes.

    >>> preprocessing_of("water-kept_macromolecules-none"), preprocessing_of("macromolecules-none")
    ('water-kept', '')
    """
    return "_".join(part for part in name.split("_") if part and not part.startswith("macromolecules-"))


def basis_of(name: str) -> str:
    """Folder below that of the study's basis sets with those of a variant.

    >>> basis_of("water-kept_macromolecules-none"), basis_of("water-kept")
    ('macromolecules-none', '')
    """
    return next((part for part in name.split("_") if part.startswith("macromolecules-")), "")


def stage_of(stage: str, name: str) -> str:
    """Name under which a stage keeps its records of a variant; stages before preprocessing have none.

    >>> stage_of("fit", "water-kept_macromolecules-none"), stage_of("preprocess", "macromolecules-none")
    ('fit_water-kept_macromolecules-none', 'preprocess')
    """
    own = {"preprocess": preprocessing_of(name), "fit": name}.get(stage, "")
    return f"{stage}_{own}" if own else stage


def stages_of(config: Mapping[str, Any]) -> list[str]:
    """Names of the stages of all variants of a study."""
    names = (stage_of(stage, name) for name in variants_of(config) for stage in ("preprocess", "fit"))
    return [stage for stage in dict.fromkeys(names) if is_variant(stage)]


def is_variant(stage: str) -> bool:
    """Whether the name of a stage is that of a variant.

    >>> is_variant("fit_water-kept"), is_variant("fit"), is_variant("report_sessions")
    (True, False, False)
    """
    return stage.startswith(("preprocess_", "fit_"))


def root_of(output: Path | str, name: str) -> Path:
    """Root of what a variant writes; that of the study is its derivative."""
    return Path(output, "variants", name) if name else layout.derivatives(output)


def applied(config: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
    """Give the configuration of a variant: that of the study with other values of `AXES`, and the fitters asked for."""
    own, changed = own_choices(config), dict(config["preprocess"])
    given = {range_text(limits): list(limits) for limits in (config["group"]["multiverse"] or {}).get("align_ppm", [])}
    values = {"residual_water": WATER, "align_ppm": given, "linewidths": LINEWIDTHS}
    for axis, (_, key) in PREPROCESSING.items():
        if chosen[axis] != own[axis]:
            changed[key] = values[axis][chosen[axis]]
    protocols = config["protocols"]
    if chosen["macromolecules"] not in (own["macromolecules"], OWN):
        protocols = {k: {**protocol, "macromolecules": chosen["macromolecules"]} for k, protocol in protocols.items()}
    return {
        **config, "preprocess": changed, "protocols": protocols, "fit": {**config["fit"], "fitter": fitters(config)},
    }  # fmt: skip


def fitters(config: Mapping[str, Any]) -> list[str]:
    """Fitters of the variants: those of the multiverse, by default the study's first."""
    return (config["group"]["multiverse"] or {}).get("fitter", fitters_of(config)[:1])


def faults(config: Mapping[str, Any], samples: "pd.DataFrame") -> Iterator[str]:
    """Find macromolecules of the multiverse that are the mean of scans of role mm, where there is no such scan."""
    asked = set((config["group"]["multiverse"] or {}).get("macromolecules", ()))
    for name in sorted(asked & {"measured", "cohort"}):
        if not (samples["role"] == "mm").any():
            yield (
                f"group.multiverse.macromolecules has {name!r}, and no scan has role mm; add a metabolite-nulled scan "
                "to the samples table, or take it out"
            )


def cost(config: Mapping[str, Any], n_sessions: int, spent: Mapping[str, float | None]) -> str:
    """Say, before any job, how many paths the multiverse has and what they cost beside the study itself.

    Parameters
    ----------
    config : dict
    n_sessions : int
    spent : mapping of stage to float or None
        CPU time (s) that the study's own jobs of ``preprocess`` and ``fit`` took; None where they were not run.
    """
    thawed = {**config, "study": {**config["study"], "freeze": True}}
    found = variants_of(thawed)
    prepared = {preprocessing_of(name) for name in found} - {""}
    asked = config["group"]["multiverse"]
    own = split_outcome(config["group"]["outcome"])[0]
    n_paths = len(list(product(*({**{"denominator": [own]}, **asked, **choices(config)}.values()))))
    said = f"group.multiverse: {n_paths} paths"
    if not found:
        return f"{said}, all of the study's own fits: no further jobs"
    seconds = len(prepared) * _spent("preprocess", n_sessions, spent) + len(found) * _spent("fit", n_sessions, spent)
    known = all(spent.get(stage) is not None for stage in NOMINAL_CPU_S)
    source = "as the study's own jobs took" if known else "if a session takes as long as one of the simulated trial"
    when = "" if config["study"]["freeze"] else ", once study.freeze is true"
    return (
        f"{said}; beside the study itself {len(prepared)} x preprocessing and {len(found)} x fit of {n_sessions} "
        f"sessions{when}: about {max(seconds / 60, 1):.0f} CPU-min ({source})"
    )


def _spent(stage: str, n_sessions: int, spent: Mapping[str, float | None]) -> float:
    known = spent.get(stage)
    return NOMINAL_CPU_S[stage] * n_sessions if known is None else known


def range_text(limits: Any) -> str:
    """Write a range of chemical shift.

    >>> range_text([1.8, 3.4])
    '1.8 to 3.4'
    """
    low, high = limits
    return f"{low:g} to {high:g}"


def _name_in(names: Mapping[str, Any], value: Any) -> str:
    return next(name for name, own in names.items() if own == value)


def _plain(source: str) -> str:
    """Write the source of macromolecules in the name of a folder; of a file its name, and a digest of its path."""
    if re.fullmatch("[a-z]+", source):
        return source
    return f"{re.sub('[^A-Za-z0-9.]+', '-', Path(source).name)}-{digest_of(source)[:6]}"
