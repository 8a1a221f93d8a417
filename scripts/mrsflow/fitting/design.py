"""Regressors of a session: how its metabolites may change over time, from its events, doses and given columns.

A regressor is the mean of a course over each spectrum's span, not its value in the middle. Courses that events drive
are the event's boxcar convolved with a kernel of unit area (on the way up and, where it differs, down), so that their
means follow from the kernel's second integral in closed form, whatever the lengths of events and spectra.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError
from mrsflow.fitting import pharmacokinetics
from mrsflow.study.session_facts import Facts

if TYPE_CHECKING:
    import pandas as pd

Kernel = Callable[[NDArray], NDArray]
"""From times (s) to the second integral of a kernel of unit area."""
CANONICAL = ((6.0, 1.0, 1.2), (16.0, 1.0, -0.2))
"""Shape, scale (s) and weight of the gamma densities of the canonical haemodynamic response (a response at 5 s and an
undershoot at 15 s of a sixth of its area: Friston et al. 1998, doi:10.1006/nimg.1997.0306)."""
SHORTEST_S = 1e-3


@dataclass(frozen=True)
class Design:
    """Regressors of B spectra.

    Attributes
    ----------
    onset_s, duration_s : (B) float
        Span of each spectrum from time 0.
    courses : dict of (B) float
        By name.
    rising : str
        Regressor whose time constant is to be fitted, empty where none is.
    rise_s : float
        Its time constant (s): where the search begins, or what was found.
    at : callable
        From a time constant (s) to the course of that regressor.
    notes : tuple of str
        Where the constants of regressors are from.
    """

    onset_s: NDArray[np.floating]
    duration_s: NDArray[np.floating]
    courses: dict[str, NDArray[np.floating]]
    rising: str = ""
    rise_s: float = np.nan
    at: Callable[[float], NDArray] | None = None
    notes: tuple[str, ...] = ()

    def with_rise(self, rise_s: float) -> "Design":
        """Take another time constant for the regressor that rises."""
        return replace(self, courses=self.courses | {self.rising: self.at(rise_s)}, rise_s=rise_s)

    def chosen(self, rows: NDArray) -> "Design":
        """Design of some of the spectra."""
        at = None if self.at is None else lambda rise: self.at(rise)[rows]
        courses = {name: course[rows] for name, course in self.courses.items()}
        return replace(self, onset_s=self.onset_s[rows], duration_s=self.duration_s[rows], courses=courses, at=at)


def design(settings: dict[str, dict[str, Any]], event: str, onset_s: ArrayLike, duration_s: ArrayLike, facts: Facts,
           names: list[str]) -> Design:  # fmt: skip
    """Make the regressors of a session.

    Parameters
    ----------
    settings : dict
        ``fit.regressors`` of the configuration, by name.
    event : str
        Time 0 of the spectra; the event of regressors that name none.
    onset_s, duration_s : (B) float
        Span of each spectrum from time 0.
    facts : Facts
    names : list of str, length B
        Names of the blocks, by which a file may give values.

    Raises
    ------
    InputError
        An event, a duration, a dose, a weight, a row or a value is missing; a regressor that is 0 throughout.
    """
    onset, duration = np.asarray(onset_s, float), np.asarray(duration_s, float)
    found = Design(onset, duration, {})
    for name, own in settings.items():
        where = f"fit.regressors.{name}"
        if own["kind"] == "polynomial":
            found.courses.update(polynomials(name, own["degree"], onset, duration))
            continue
        if own["kind"] == "column":
            course = _given(own, onset, duration, facts, names, where)
        elif own["kind"] == "pharmacokinetic":
            course, note = _drug(own, event, onset, duration, facts, where)
            found = replace(found, notes=(*found.notes, f"{name}: {note}"))
        else:
            spans = _spans(own, event, facts, where)
            course = of_events(own, spans, onset, duration)
            if own["fit_rise"]:
                at = _with_rise(own, spans, onset, duration)
                found = replace(found, rising=name, rise_s=60.0 * own["rise_min"], at=at)
        if not np.any(course):
            raise InputError(
                f"{where}: is 0 in every spectrum of {facts.key}: nothing of it falls into the session; see the times "
                "of the event and of the blocks, or leave the regressor out"
            )
        found.courses[name] = course
    return found


def _with_rise(own: dict[str, Any], spans: NDArray, onset: NDArray, duration: NDArray) -> Callable[[float], NDArray]:
    return lambda rise_s: of_events(own | {"rise_min": rise_s / 60}, spans, onset, duration)


def of_events(own: dict[str, Any], spans: ArrayLike, onset_s: ArrayLike, duration_s: ArrayLike) -> NDArray[np.floating]:
    """Mean of the course that events drive over each spectrum.

    Parameters
    ----------
    own : dict
        kind block, trapezoid, response or infusion, with the keys of the configuration.
    spans : (n, 2) float
        Start and end of each event (s); an infinite end never comes.
    onset_s, duration_s : (B) float
    """
    up, down = _kernels(own)
    start = np.asarray(onset_s, float)
    length = np.maximum(np.asarray(duration_s, float), SHORTEST_S)
    total = np.zeros(start.size)
    for begin, end in np.asarray(spans, float).reshape(-1, 2):
        total += up(start + length - begin) - up(start - begin)
        if down is not None and np.isfinite(end):
            total -= down(start + length - end) - down(start - end)
    return total / length


def _kernels(own: dict[str, Any]) -> tuple[Kernel, Kernel | None]:
    """Kernels of the way up and of the way down; None: it stays up."""
    kind = own["kind"]
    if kind == "block":
        return _at_once, _at_once
    if kind == "trapezoid":
        return ramp(60 * own["rise_min"]), ramp(60 * own["fall_min"])
    if kind == "response" and own["response"] == "canonical":
        kernel = gammas(CANONICAL)
        return kernel, kernel
    rise = gammas(((1.0, 60 * own["rise_min"], 1.0),))
    if kind == "response":
        return rise, rise
    fall = own["fall_min"]
    return rise, None if fall is None else gammas(((1.0, 60 * fall, 1.0),))


def _at_once(time: NDArray) -> NDArray[np.floating]:
    return np.maximum(time, 0.0)


def ramp(length: float) -> Kernel:
    """Second integral of a kernel that is constant over `length` (s) and 0 elsewhere: the course is a ramp."""

    def second(time: NDArray) -> NDArray:
        inside = np.clip(time, 0.0, length)
        return inside**2 / (2 * length) + np.maximum(time - length, 0.0)

    return second if length > 0 else _at_once


def gammas(parts: tuple[tuple[float, float, float], ...]) -> Kernel:
    """Second integral of a weighted sum of gamma densities, (shape, scale in s, weight) each.

    The integral of the distribution function P(k, x) is x P(k, x) - k P(k + 1, x). Shape 1 is an exponential.
    """
    from scipy.special import gammainc

    def second(time: NDArray) -> NDArray:
        total = np.zeros(np.shape(time))
        for shape, scale, weight in parts:
            x = np.maximum(time, 0.0) / scale
            total += weight * scale * (x * gammainc(shape, x) - shape * gammainc(shape + 1, x))
        return total

    return second


def polynomials(name: str, degree: int, onset_s: ArrayLike, duration_s: ArrayLike) -> dict[str, NDArray[np.floating]]:
    """Means of Legendre's polynomials 1 to `degree` over each spectrum; -1 and 1 are the ends of the session."""
    from numpy.polynomial import Legendre

    start = np.asarray(onset_s, float)
    end = start + np.maximum(np.asarray(duration_s, float), SHORTEST_S)
    middle, half = (end.max() + start.min()) / 2, (end.max() - start.min()) / 2
    low, high = (start - middle) / half, (end - middle) / half
    found = {}
    for order in range(1, degree + 1):
        integral = Legendre.basis(order).integ()
        found[name if degree == 1 else f"{name} {order}"] = (integral(high) - integral(low)) / (high - low)
    return found


def _spans(own: dict[str, Any], event: str, facts: Facts, where: str) -> NDArray[np.floating]:
    """Start and end (s) of each event of a regressor."""
    wanted, needs_end = own["event"] or event, own["kind"] != "infusion" or own["fall_min"] is not None
    rows = facts.events[facts.events["trial_type"] == wanted]
    starts, lengths = rows["onset_s"].to_numpy(float), rows["duration_s"].to_numpy(float)
    if not starts.size and wanted == event:
        starts, lengths = np.zeros(1), np.full(1, np.nan)  # time 0 itself, of a session without a table of events
    if not starts.size:
        there = ", ".join(sorted(set(facts.events["trial_type"]))) or "no event"
        raise InputError(
            f"{where}: {facts.key} has no event {wanted!r}; it has {there}. Correct the event of the regressor, or "
            "leave the session out"
        )
    if own["duration_s"] is not None:
        lengths = np.full(starts.size, own["duration_s"], dtype=float)
    if needs_end and not np.all(lengths > 0):
        raise InputError(
            f"{where}: event {wanted!r} of {facts.key} has no duration; give it in the events table (of an infusion: "
            "infusion_stop of the sessions table), or duration_s of the regressor"
        )
    return np.column_stack([starts, starts + np.where(np.isnan(lengths), np.inf, lengths)])


def _given(
    own: dict[str, Any], onset: NDArray, duration: NDArray, facts: Facts, names: list[str], where: str
) -> NDArray[np.floating]:
    """Values of a file: of each block by its name, or a course at times in minutes, linear between them."""
    table, column = facts.tables[own["file"]], own["column"]
    path = own["file"]
    by = [name for name in ("block", "time_min") if name in table]
    if len(by) != 1 or column not in table:
        what = f"column {column!r}" if len(by) == 1 else "column block (names of the blocks) or time_min, one of them"
        raise InputError(f"{where}: {path} needs {what}; it has {', '.join(c for c in table if c != 'line')}")
    if table.empty:
        raise InputError(f"{where}: {path} has no row of {facts.key}; give its values, or leave the session out")
    values = _numbers(table, column, where)
    if by == ["block"]:
        rows = dict(zip(table["block"].astype(str), values, strict=True))
        if len(rows) < len(table):
            raise InputError(f"{where}: {path} has a block of {facts.key} in two rows; leave one")
        if missing := [name for name in names if name not in rows]:
            raise InputError(f"{where}: {path} has no row of block {missing[0]!r} of {facts.key}; give it")
        return np.array([rows[name] for name in names])
    times = 60 * _numbers(table, "time_min", where)
    order = np.argsort(times)
    times, values = times[order], values[order]
    end = onset + np.maximum(duration, SHORTEST_S)
    if np.any(np.diff(times) <= 0) or times[0] > onset.min() + 1e-6 or times[-1] < end.max() - 1e-6:
        raise InputError(
            f"{where}: the times of {facts.key} in {path} are {times[0] / 60:g} to {times[-1] / 60:g} min; each time "
            f"once, and from {onset.min() / 60:g} to {end.max() / 60:g} min, are needed"
        )
    return linear_means(times, values, onset, end)


def linear_means(times: NDArray, values: NDArray, start: NDArray, end: NDArray) -> NDArray[np.floating]:
    """Means over [start, end) of a course that is linear between the given times."""
    whole = np.concatenate([[0.0], np.cumsum(np.diff(times) * (values[1:] + values[:-1]) / 2)])

    def integral(at: NDArray) -> NDArray:
        k = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
        there = np.interp(at, times, values)
        return whole[k] + (at - times[k]) * (values[k] + there) / 2

    return (integral(end) - integral(start)) / (end - start)


def _numbers(table: "pd.DataFrame", column: str, where: str) -> NDArray[np.floating]:
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    if not np.all(np.isfinite(values)):
        row = table.iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
        found = "empty" if row[column] != row[column] else repr(str(row[column]))
        raise InputError(f"{where}: {row['line']}: {column} is {found}; a number is needed")
    return values


def _drug(
    own: dict[str, Any], event: str, onset: NDArray, duration: NDArray, facts: Facts, where: str
) -> tuple[NDArray[np.floating], str]:
    """Mean concentration (mg/l) over each spectrum, and where its constants are from."""
    spans = _spans(own, event, facts, where) / 60
    per_kg = own["dose_mg"] is None
    weight = 1.0 if per_kg else _of_row(own["weight"], facts, f"{where}.weight", "kg")  # volumes are per kg
    dose = own["dose_mg_per_kg"] if per_kg else own["dose_mg"]
    if isinstance(dose, str):
        dose = _of_row(dose, facts, f"{where}.dose_mg{'_per_kg' * per_kg}", "mg/kg" if per_kg else "mg")
    whole = float(np.sum(spans[:, 1] - spans[:, 0]))
    doses = [pharmacokinetics.Dose(a, b - a, dose * (b - a) / whole) for a, b in spans]
    model = replace(pharmacokinetics.PUBLISHED[own["constants"]].of(weight), ke0=own["ke0_per_min"])
    if own["samples"] is not None:
        table = facts.tables[own["samples"]]
        for column in ("time_min", "concentration_ng_per_ml"):
            if column not in table:
                raise InputError(f"{where}: {own['samples']} needs columns time_min and concentration_ng_per_ml")
        try:
            model = pharmacokinetics.through_samples(
                model,
                doses,
                _numbers(table, "time_min", where),
                _numbers(table, "concentration_ng_per_ml", where) / 1e3,
            )
        except InputError as error:
            raise InputError(f"{where}: {own['samples']}, {facts.key}: {error}") from None
    note = f"{model.source}, clearance {1e3 * model.clearance_l_per_min / weight:.3g} ml/min/kg"
    return pharmacokinetics.mean_concentration(model, doses, onset / 60, duration / 60), note


def _of_row(column: str, facts: Facts, where: str, unit: str) -> float:
    """Return a number above 0 of the session's row in the tables."""
    try:
        value = float(facts.row[column])
    except (KeyError, TypeError, ValueError):
        value = np.nan
    if not value > 0 or not np.isfinite(value):
        found = repr(facts.row[column]) if column in facts.row else "in no table"
        raise InputError(
            f"{where}: {column} of {facts.key} is {found}; give a number above 0 ({unit}) in the participants or "
            "sessions table, or name the column that has it"
        )
    return value
