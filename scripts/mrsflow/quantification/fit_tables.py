"""The fit of a session as tables and arrays."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import result_tables
from mrsflow.fitting import uncertainty
from mrsflow.fitting.fit import FitResult
from mrsflow.quantification import quantify
from mrsflow.quantification.quantify import Scaling

if TYPE_CHECKING:
    import pandas as pd

OF_VERDICT = ("status", "reason")


def amplitude_columns() -> list[str]:
    """Columns of the tidy table, without those of the block and the verdict on it."""
    return [name for name in _of_spectrum("fit") if name not in OF_VERDICT]


def quality_columns() -> list[str]:
    """Columns of the table of fit quality, without those of the block."""
    return _of_spectrum("fit_quality")


def _of_spectrum(table: str) -> list[str]:
    names = list(result_tables.tables()[table].columns)
    return names[names.index("spectrum") :]


def verdict(result: FitResult, block: int) -> tuple[str, str]:
    """Judge the fit of a block.

    Returns
    -------
    status : str
        ``ok``; ``doubtful``: it has amplitudes that should not be relied on; ``failed``: it has none.
    reason : str
        Why, empty for ``ok``.
    """
    if problem := result.problems[block]:
        return "failed", problem
    if not np.all(np.isfinite(result.amplitudes[block])):
        return "failed", "the fitter gave amplitudes that are not finite"
    doubt = result.doubts[block] if result.doubts else ""
    return ("doubtful", doubt) if doubt else ("ok", "")


def amplitudes(result: FitResult, spectra: list[int], scaling: Scaling | None = None) -> "pd.DataFrame":
    """Give the tidy table of a session: a row for each metabolite and sum of each spectrum.

    Parameters
    ----------
    result : FitResult
    spectra : list of int, length B
        Index of each block among all spectra.
    scaling : Scaling, optional
        To amounts by water.
    """
    import pandas as pd

    quantities = {name: uncertainty.weights_of(result.names, name) for name in result.names}
    quantities |= uncertainty.totals(result.names)
    below = {
        key: uncertainty.weights_of(result.names, name) for key, name in (("per_tcr", "tCr"), ("per_tnaa", "tNAA"))
    }
    factors = None if scaling is None else scaling.molar(result.names)
    rows = []
    for block, spectrum in enumerate(spectra):
        values, covariance = result.amplitudes[block], result.covariance[block]
        for name, weights in quantities.items():
            value, sd = uncertainty.total(weights, values, covariance)
            row: dict[str, Any] = {"spectrum": spectrum, "metabolite": name, "amplitude": value, "sd": sd}
            row["sd_percent"] = 100 * sd / value if value > 0 else np.nan
            for key, denominator in below.items():
                positive = denominator is not None and denominator @ values > 0
                ratio = uncertainty.ratio(weights, denominator, values, covariance) if positive else (np.nan, np.nan)
                row[key], row[f"{key}_sd"] = ratio
            if scaling is not None:
                row |= _amounts(name, weights * factors, values, covariance, scaling)
            rows.append(row)
    return pd.DataFrame(rows, columns=amplitude_columns())


def _amounts(name: str, weights: NDArray, values: NDArray, covariance: NDArray, scaling: Scaling) -> dict[str, float]:
    """Amounts of a metabolite or sum, `weights` (M) being its factors to mmol per litre."""
    value, sd = uncertainty.total(weights, values, covariance)
    found = {"molar_mM": value, "molar_sd": sd, "molal_mmol_kg": scaling.molal * value, "molal_sd": scaling.molal * sd}
    grey = scaling.in_grey_matter(name)
    return found | {"grey_mM": grey * value, "grey_sd": grey * sd}


def constants(result: FitResult, scaling: Scaling) -> "pd.DataFrame":
    """Give the amounts of a session by every set of constants of its field, with CSF correction and without.

    Returns
    -------
    DataFrame
        A row for each set, correction and metabolite or sum: the mean over the blocks; the set in use comes first.
    """
    quantities = {name: uncertainty.weights_of(result.names, name) for name in result.names}
    quantities |= uncertainty.totals(result.names)
    mean = np.ma.masked_invalid(result.amplitudes).mean(axis=0).filled(np.nan)
    used = {name: (weights * scaling.molar(result.names)) @ mean for name, weights in quantities.items()}
    rows = []
    for other in scaling.alternatives():
        factors = other.molar(result.names)
        head = {"constants": other.constants.name, "csf_corrected": other.csf_corrected}
        for name, weights in quantities.items():
            value = float((weights * factors) @ mean)
            row = {**head, "metabolite": name, "molar_mM": value, "molal_mmol_kg": other.molal * value}
            rows.append(row | {"percent_of_used": 100 * value / used[name] if used[name] > 0 else np.nan})
    return result_tables.from_rows(rows, "constants")


def quality(result: FitResult, spectra: list[int], scaling: Scaling | None = None, remark: str = "") -> "pd.DataFrame":
    """Give the table of fit quality: a row for each spectrum; ``status`` and ``reason`` as `verdict` gives them.

    A fit that is ``ok`` has a reason all the same where its molar amounts cannot be, or there are none and `remark`
    says why; that touches no ratio.
    """
    import pandas as pd

    glu, gln, naa = (uncertainty.weights_of(result.names, name) for name in ("Glu", "Gln", "tNAA"))
    rows = []
    for block, spectrum in enumerate(spectra):
        status, reason = verdict(result, block)
        if status != "failed":
            known = naa is not None and scaling is not None
            amount = (naa * scaling.molar(result.names)) @ result.amplitudes[block] if known else np.nan
            reason = "; ".join(filter(None, [reason, remark, quantify.remark_on_amounts(float(amount))]))
        row: dict[str, Any] = {"spectrum": spectrum, **result.quality[block], "status": status, "reason": reason}
        row["constraints"] = result.constraints
        row["constants"] = "none" if scaling is None else scaling.constants.name
        row["tissue"] = None if scaling is None else scaling.described()
        if status != "failed" and glu is not None and gln is not None:
            values, covariance = result.amplitudes[block], result.covariance[block]
            row["glu_gln_correlation"] = uncertainty.correlation(glu, gln, covariance)
            if naa is not None:
                row["glx_per_tnaa"], row["glx_per_tnaa_sd"] = uncertainty.ratio(glu + gln, naa, values, covariance)
        rows.append(row)
    return pd.DataFrame(rows, columns=quality_columns())


def judged(amplitudes: "pd.DataFrame", quality: "pd.DataFrame") -> "pd.DataFrame":
    """Put the verdict on its fit beside every amplitude."""
    return amplitudes.merge(quality[["spectrum", *OF_VERDICT]], on="spectrum")


def arrays(results: list[FitResult], spectra: list[list[int]]) -> dict[str, Any]:
    """Give curves, components and covariances of all spectra, in the order of their index."""
    order = np.argsort(np.concatenate([np.asarray(part) for part in spectra]))
    collected = {
        name: np.concatenate([getattr(result, name) for result in results])[order].astype(np.float32)
        for name in ("data", "fit", "baseline", "components")
    }
    covariance = np.concatenate([result.covariance for result in results])[order]
    found = {"ppm": results[0].ppm, "names": np.array(results[0].names), **collected, "covariance": covariance}
    if len(results) == 1 and results[0].terms:
        found["terms"] = np.array(results[0].terms)
        found |= {name: getattr(results[0], name) for name in ("coefficients", "coefficient_covariance")}
    return found
