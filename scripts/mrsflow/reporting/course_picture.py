"""The courses of a dynamic fit beside free blocks, as drawings inside the page of a session."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 330.0, 170.0
MARGIN = {"left": 44.0, "right": 8.0, "top": 8.0, "bottom": 26.0}
TICKS = 5


def pictures(path: Path) -> list[dict[str, Any]]:
    """Drawings of the main sums of a session, none where its fit has no courses.

    Parameters
    ----------
    path : Path
        Arrays of the fit, as `mrsflow.quantification.fit_tables.arrays` gives them.

    Returns
    -------
    list of dict
        ``name``, ``p`` of the lack-of-fit test, and what the template draws: ``points`` (x, y, low, high), ``line``,
        ``across`` and ``up`` (place and text of ticks); all in the units of the drawing.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if "course_names" not in arrays:
            return []
        found = {name: arrays[name] for name in arrays.files if name.startswith("course_")}
    return [
        drawing(
            str(name), found["course_minutes"], *(found[f"course_{part}"][k] for part in ("free", "sd", "fit", "p"))
        )
        for k, name in enumerate(found["course_names"])
    ]


def drawing(name: str, minutes: NDArray, free: NDArray, sd: NDArray, fit: NDArray, p: float) -> dict[str, Any]:
    """Place the free amplitudes with their standard deviations, and the course that was fitted to them.

    Parameters
    ----------
    name : str
    minutes, free, sd, fit : (B) float
        Middle of each block, its free amplitude and SD, and what the course is there; NaN where a block has none.
    p : float
        Of the lack-of-fit test.
    """
    usable = np.isfinite(free) & np.isfinite(sd)
    level = 100 / np.mean(fit)
    free, sd, fit = free * level, sd * level, fit * level
    reached = np.concatenate([(free - sd)[usable], (free + sd)[usable], fit])
    low, high = reached.min(), reached.max()
    room = 0.05 * (high - low) or 1.0
    x = _scale(minutes.min(), minutes.max(), MARGIN["left"] + 8, WIDTH - MARGIN["right"] - 8)
    y = _scale(low - room, high + room, HEIGHT - MARGIN["bottom"], MARGIN["top"])
    blocks = zip(minutes[usable], free[usable], sd[usable], strict=True)
    points = [tuple(map(_short, (x(time), y(value), y(value - sd), y(value + sd)))) for time, value, sd in blocks]
    order = np.argsort(minutes, kind="stable")
    line = " ".join(f"{_short(x(minutes[k]))},{_short(y(fit[k]))}" for k in order)
    return {
        "name": name, "p": None if not np.isfinite(p) else f"{p:.2g}", "points": points, "line": line,
        "across": [(_short(x(tick)), f"{tick:g}") for tick in ticks(minutes.min(), minutes.max())],
        "up": [(_short(y(tick)), f"{tick:g}") for tick in ticks(low - room, high + room)],
    }  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """Round values within a range, at most `TICKS` + 1 of them.

    >>> ticks(-7.3, 41.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    if not high > low:
        return [float(low)]
    coarse = 10.0 ** np.floor(np.log10((high - low) / TICKS))
    step = next(coarse * k for k in (1, 2, 5, 10) if (high - low) / (coarse * k) <= TICKS)
    return [float(round(k * step, 9)) + 0.0 for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Any:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _short(value: float) -> float:
    return round(float(value), 1)
