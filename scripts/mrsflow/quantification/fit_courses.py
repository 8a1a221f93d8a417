"""Blocks of a session that follow regressors: the fit, the test of it against free blocks, and the table of terms."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import result_tables
from mrsflow.fitting import course, dynamic, series, uncertainty
from mrsflow.fitting.course import LackOfFit
from mrsflow.fitting.design import Design
from mrsflow.fitting.dynamic import Terms
from mrsflow.fitting.fit import FitResult
from mrsflow.quantification.fitters import Fitter, Request
from mrsflow.quantification.quantify import Scaling

if TYPE_CHECKING:
    import pandas as pd

MAIN = ("Glx", "tNAA", "tCr", "tCho")
"""Sums whose courses make a session doubtful where one does not follow its regressors (Holm over them)."""
LIMIT = 0.05
MEASURES = {"estimate": "sd", "per_tcr": "per_tcr_sd", "per_tnaa": "per_tnaa_sd", "molar_mM": "molar_sd"}


@dataclass(frozen=True)
class Courses:
    """Fit of a session whose blocks follow regressors.

    Attributes
    ----------
    result : FitResult
    free : FitResult
        Of the same blocks with free amplitudes (of a series, of its groups).
    tests : dict of str to LackOfFit
        By metabolite and sum.
    reach : dict of str to float
        Largest value of each regressor, with its sign.
    rise : (str, float, float) or None
        Regressor whose time constant was fitted, its value and SD (min).
    compared : dict of str to array
        Courses of the main sums (Q) beside free blocks (B; of a series, its groups): ``course_names`` (Q),
        ``course_minutes`` (B, middle of the blocks), ``course_free``, ``course_sd``, ``course_fit`` (Q, B), and
        ``course_p`` (Q) of the test.
    """

    result: FitResult
    free: FitResult
    tests: dict[str, LackOfFit] = field(default_factory=dict)
    reach: dict[str, float] = field(default_factory=dict)
    rise: tuple[str, float, float] | None = None
    compared: dict[str, NDArray] = field(default_factory=dict)


def fitted(
    fitter: Fitter,
    request: Request,
    design: Design,
    constant: tuple[str, ...] = (),
    free: tuple[str, ...] = (),
    follow: dict[str, list[str]] | None = None,
) -> Courses:
    """Fit the blocks of a session as their regressors say, and see whether free blocks follow them.

    Parameters
    ----------
    fitter : Fitter
    request : Request
        Without terms.
    design : Design
        Regressors of its spectra.
    constant, free, follow
        See `mrsflow.fitting.dynamic.terms`.
    """
    names, n_spectra = request.basis.names, len(request.fids)

    def terms_of(design: Design) -> Terms:
        return dynamic.terms(names, design.courses, n_spectra, constant, free, follow)

    terms = terms_of(design)
    pool = series.pooled(request.fids, terms) if series.is_series(n_spectra) else None
    unbound = fitter(request if pool is None else replace(request, fids=pool.fids))
    rise = risen = None
    if design.rising:

        def matrix(rise_s: float) -> NDArray:
            own = terms_of(design.with_rise(rise_s))
            return own.matrix if pool is None else pool.of(own).matrix

        risen = course.fitted_rise(unbound.amplitudes.ravel(), unbound.joint_covariance, matrix, design.rise_s)
        design = design.with_rise(risen.rise_s)
        terms = terms_of(design)
        rise = (design.rising, risen.rise_s / 60, risen.rise_s / 60 * risen.log_sd)
    result = fitter(replace(request, terms=terms))
    if risen is not None:
        slopes = risen.slopes[[terms.names.index(name) for name in result.terms]]
        widened = result.coefficient_covariance + risen.log_sd**2 * np.outer(slopes, slopes)
        result = replace(result, coefficient_covariance=widened)
    followed = terms if pool is None else pool.of(terms)
    tests = _tests(unbound, followed)
    centre = (design.onset_s + design.duration_s / 2) / 60
    if pool is not None:
        centre = np.array([centre[pool.group == k].mean() for k in range(len(pool.fids))])
    said = remark(tests, pool is None)
    doubts = tuple("; ".join(filter(None, (doubt, said))) for doubt in result.doubts)
    reach = {name: float(values[np.argmax(np.abs(values))]) for name, values in design.courses.items()}
    compared = _compared(unbound, result, followed, centre, tests)
    return Courses(replace(result, doubts=doubts), unbound, tests, reach, rise, compared)


def _tests(free: FitResult, terms: Terms) -> dict[str, LackOfFit]:
    """Test the free course of every metabolite and sum against its regressors."""
    n_blocks, m = free.amplitudes.shape
    maps = terms.matrix.reshape(n_blocks, m, -1)
    joint = free.joint_covariance.reshape(n_blocks, m, n_blocks, m)
    found = {}
    for name, weights in _quantities(free.names).items():
        members = np.flatnonzero(weights)
        own = weights[members]
        covariance = np.einsum("i,aibj,j->ab", own, joint[:, members][:, :, :, members], own)
        values = free.amplitudes[:, members] @ own
        found[name] = course.lack_of_fit(values, covariance, np.einsum("i,bin->bn", own, maps[:, members]))
    return found


def _compared(
    free: FitResult, result: FitResult, terms: Terms, minutes: NDArray, tests: dict[str, LackOfFit]
) -> dict[str, NDArray]:
    """Courses of the main sums beside free blocks, for pictures."""
    n_blocks, m = free.amplitudes.shape
    columns = [terms.names.index(name) for name in result.terms]
    followed = (terms.matrix[:, columns] @ result.coefficients).reshape(n_blocks, m)
    joint = free.joint_covariance.reshape(n_blocks, m, n_blocks, m)
    weights = {name: own for name, own in _quantities(free.names).items() if name in MAIN and own.any()}
    if not weights:
        return {}
    w = np.array(list(weights.values()))
    variances = np.array([[own @ joint[b, :, b] @ own for b in range(n_blocks)] for own in np.nan_to_num(w)])
    return {
        "course_names": np.array(list(weights)), "course_minutes": minutes, "course_free": w @ free.amplitudes.T,
        "course_sd": np.sqrt(variances), "course_fit": w @ followed.T,
        "course_p": np.array([tests[name].p for name in weights]),
    }  # fmt: skip


def remark(tests: dict[str, LackOfFit], blocks: bool = True) -> str:
    """Say which of the main sums does not follow its regressors, empty where none is seen not to.

    >>> remark({"Glx": LackOfFit(0.001, 30.0, 8, 4, 3.62), "tCr": LackOfFit(0.5, 7.0, 9, 1, 1.0)})
    'the course of Glx does not follow its time model (p = 0.001; block 5 is 3.6 SE above it)'
    """
    known = {name: tests[name] for name in MAIN if name in tests and np.isfinite(tests[name].p)}
    if not known:
        return ""
    name, worst = min(known.items(), key=lambda item: item[1].p)
    if worst.p * len(known) > LIMIT:
        return ""
    side = "above" if worst.deviation > 0 else "below"
    what = f"{'block' if blocks else 'group'} {worst.block + 1} is {abs(worst.deviation):.1f} SE {side} it"
    return f"the course of {name} does not follow its time model (p = {worst.p:.2g}; {what})"


def _quantities(names: tuple[str, ...]) -> dict[str, NDArray]:
    return {name: np.eye(len(names))[k] for k, name in enumerate(names)} | uncertainty.totals(names)


def table(
    label: str,
    found: Courses,
    onset_s: NDArray,
    duration_s: NDArray,
    baseline: NDArray | None,
    scaling: Scaling | None = None,
) -> "pd.DataFrame":
    """Give the table of terms: coefficients of the fit, and what is read from the free course.

    Parameters
    ----------
    label : str
        Of the session.
    found : Courses
        `result` without terms: only the free course.
    onset_s, duration_s : (B) float
        Of the blocks.
    baseline : (B) bool or None
        Which are the baseline; None where that is not known.
    scaling : Scaling, optional
        From amplitudes to mM.
    """
    rows = []
    if found.result.terms:
        rows += _rows_of_terms(label, found, scaling)
    if baseline is not None and len(baseline) == len(found.free.amplitudes):
        rows += _rows_of_course(label, found.free, onset_s, duration_s, baseline, scaling)
    if found.rise is not None:
        name, value, sd = found.rise
        rows.append({"session": label, "metabolite": "all", "term": f"{name} rise_min", "estimate": value, "sd": sd})
    return result_tables.from_rows(rows, "fit_terms")


def _measures(names: tuple[str, ...], scaling: Scaling | None) -> dict[str, tuple[NDArray, NDArray | None]]:
    """Factors (M) of the amplitudes, and weights (M) of the denominator, of each measure."""
    ones = np.ones(len(names))
    weights = {key: uncertainty.weights_of(names, name) for key, name in (("per_tcr", "tCr"), ("per_tnaa", "tNAA"))}
    found: dict[str, tuple[NDArray, NDArray | None]] = {"estimate": (ones, None)}
    found |= {key: (ones, own) for key, own in weights.items() if own is not None}
    if scaling is not None:
        found["molar_mM"] = (scaling.molar(names), None)
    return found


def _cells(measure: str, value: float, sd: float, correlation: float) -> dict[str, float]:
    prefix = "" if measure == "estimate" else f"{measure.removesuffix('_mM')}_"
    return {measure: value, MEASURES[measure]: sd, f"{prefix}correlation": correlation}


def _rows_of_terms(label: str, found: Courses, scaling: Scaling | None) -> list[dict[str, Any]]:
    result = found.result
    every = list(dict.fromkeys(term for _, term in result.terms))
    place = {name: k for k, name in enumerate(result.terms)}

    def selected(weights: NDArray, term: str) -> NDArray:
        row = np.zeros(len(place))
        for name, weight in zip(result.names, weights, strict=True):
            if weight and (name, term) in place:
                row[place[name, term]] = weight
        return row

    rows = []
    measures = _measures(result.names, scaling)
    for name, weights in _quantities(result.names).items():
        members = [member for member, weight in zip(result.names, weights, strict=True) if weight]
        if not all((member, "constant") in place for member in members):
            rows += _free_rows(label, result, name, members, every, selected, weights)
            continue
        own = [term for term in every if any((member, term) in place for member in members) and term != "constant"]
        made: list[dict[str, Any]] = [
            {"session": label, "metabolite": name, "term": term, "lack_of_fit_p": found.tests[name].p}
            for term in ("constant", *own)
        ]
        for measure, (factors, below) in measures.items():
            above = np.array([selected(weights * factors, term) for term in ("constant", *own)])
            under = None if below is None else np.array([selected(below, term) for term in ("constant", *own)])
            if under is not None and not under[0] @ result.coefficients > 0:
                continue
            reach = np.array([found.reach[term] for term in own])
            ratio = course.ratio_of_terms(above, under, result.coefficients, reach)
            covariance = ratio.covariance(result.coefficient_covariance)
            sd = np.sqrt(np.diagonal(covariance))
            for row, value, error, shared in zip(made, ratio.values, sd, covariance[0], strict=True):
                both = sd[0] * error
                row |= _cells(measure, float(value), float(error), float(shared / both) if both > 0 else 0.0)
        rows += made
    return rows


def _free_rows(
    label: str, result: FitResult, name: str, members: list[str], every: list[str],
    selected: Callable[[NDArray, str], NDArray], weights: NDArray,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of a sum whose members are free over the blocks."""
    rows = []
    for term in every:
        row = selected(weights, term)
        if np.count_nonzero(row) == len(members):
            value, sd = uncertainty.total(row, result.coefficients, result.coefficient_covariance)
            rows.append({"session": label, "metabolite": name, "term": term, "estimate": value, "sd": sd})
    return rows


def _rows_of_course(
    label: str, free: FitResult, onset_s: NDArray, duration_s: NDArray, baseline: NDArray, scaling: Scaling | None
) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for measure, (factors, below) in _measures(free.names, scaling).items():
        for name, weights in _quantities(free.names).items():
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = course.ratio_course(free.amplitudes, weights * factors, below)
            usable = np.isfinite(ratio.values)
            gradient = np.where(usable[:, np.newaxis], np.nan_to_num(ratio.gradient), 0.0)
            covariance = replace(ratio, gradient=gradient).covariance(np.nan_to_num(free.joint_covariance))
            values = np.where(usable, ratio.values, np.nan)
            own = course.outcomes(values, covariance, onset_s, duration_s, baseline)
            for term, cells in own.items():
                row = rows.setdefault((name, term), {"session": label, "metabolite": name, "term": term})
                row |= _cells(measure, *cells)
    return list(rows.values())
