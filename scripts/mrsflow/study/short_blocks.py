"""Bins of a configuration cut into short blocks, for event-related series (`blocks.every_s`)."""

import math
from collections.abc import Iterator
from typing import Any

from mrsflow.study import regressors

MOST_BLOCKS = 48
"""Blocks that are fitted freely and compared one by one; more are a series, whose amplitudes follow regressors."""
MOST_PARTS = 10_000


def cut(content: dict[str, Any]) -> Iterator[str]:
    """Cut the bins of a series into its parts; find what cannot be done with so many."""
    blocks, every = content["blocks"], content["blocks"]["every_s"]
    parts = {name: _parts(name, *span, every / 60) for name, span in blocks["bins"].items()}
    count = sum(map(len, parts.values()))
    if count > MOST_PARTS:
        yield f"blocks.every_s is {every:g}, which makes {count} blocks of a session; make the parts longer"
        return
    blocks["bins"] = {name: span for own in parts.values() for name, span in own.items()}
    if len(blocks["bins"]) < count:
        yield "blocks.bins: a bin has the name of a part of another (NAME_001 and so on); give it another name"
    blocks["baseline"] = [part for name in blocks["baseline"] for part in parts.get(name, {})]
    if count <= MOST_BLOCKS:
        return
    outcome = content["group"]["outcome"]
    if content["fit"]["model"] != "dynamic":
        yield (
            f"blocks.every_s is {every:g}, which makes {count} blocks of a session, and fit.model is "
            f"{content['fit']['model']}; more than {MOST_BLOCKS} follow regressors: set it to dynamic and declare "
            "fit.regressors, or make the parts longer"
        )
    if not regressors.split_outcome(outcome)[1]:
        yield (
            f"blocks.every_s is {every:g}, which makes {count} blocks of a session, and group.outcome is {outcome!r}, "
            f"which compares blocks; name a regressor, as '{outcome}: task', or make the parts longer"
        )


def _parts(name: str, start: float, end: float, length: float) -> dict[str, list[float]]:
    """Cut a bin (min) into parts of a length; the last may be shorter, and a bin no longer than a part stays whole."""
    count = max(math.ceil((end - start) / length - 1e-6), 1)
    if count == 1:
        return {name: [start, end]}
    edges = [round(start + k * length, 9) for k in range(count)] + [end]
    return {f"{name}_{k + 1:03d}": [edges[k], edges[k + 1]] for k in range(count)}
