"""Names of the files of the group stage, for the rule that declares them and the code that writes them."""

from typing import Any

ALWAYS = ("blocks_long", "blocks_wide", "exclusions", "flow", "loss_by_condition", "reliability")
COMPARING = ("contrasts", "sensitivity", "attenuation", "time_course", "time_tests")
"""Tables that compare arms; while arms are masked there are none."""
MOOD = ("mood", "link")


def tables(config: dict[str, Any]) -> list[str]:
    """Names of the tables that a configuration gives, without suffix."""
    frozen, mood = config["study"]["freeze"], config["group"]["mood_scale"] is not None
    return [*ALWAYS, *(COMPARING if frozen else ()), *(MOOD if frozen and mood else ())]


def names(config: dict[str, Any]) -> list[str]:
    """File names in ``<output>/group`` that a configuration gives (``unmasking.json`` outlives runs and is not here).

    >>> names({"study": {"freeze": False}, "group": {"mood_scale": None}})[:3]
    ['headline.json', 'blocks_long.tsv', 'blocks_long.json']
    """
    return ["headline.json", *(f"{name}{suffix}" for name in tables(config) for suffix in (".tsv", ".json"))]
