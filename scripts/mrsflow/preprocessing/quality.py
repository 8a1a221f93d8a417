"""Quality of blocks and sessions: metrics with their definitions, and the rules that decide what is excluded.

Terms follow Kreis et al. (doi:10.1002/nbm.4347) and Öz et al. (doi:10.1002/nbm.4236). Rules are decided from the
quality tables alone, before any model of the group sees the data.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.axes import ppm_axis, to_spectrum
from mrsflow.errors import InputError

NOISE_RANGES_PPM = (((-2.5, -0.5), (9.5, 11.5)), ((-2.5, -0.5),), ((9.0, 11.0),), ((8.6, 9.4),))
"""Where noise is taken, the first ranges that the spectrum covers; free of signal in brain spectra."""

WATER_PPM_RANGE = (4.3, 5.0)
LIPID_PPM_RANGE = (1.15, 1.45)

FIT_STATUS = ("ok", "doubtful", "failed")
"""Verdicts on the fit of a block; what has failed has no amplitudes."""

DEFINITIONS = {
    "snr": "see snr_definition",
    "linewidth_hz": "full width at half height of the Voigt line fitted to tNAA, tCr and tCho together (Hz)",
    "linewidth_ppm": "the same in ppm",
    "rejected_fraction": "excitations rejected over excitations acquired in the block",
    "residual_water_ratio": "largest magnitude from 4.3 to 5.0 ppm over a line, before water removal, over tNAA height",
    "residual_water_after_ratio": "the same after water removal",
    "lipid_ratio": "area of the real spectrum from 1.15 to 1.45 ppm over the area of tNAA; macromolecules included",
    "shift_sd_hz": "standard deviation of the frequency of the used frames before alignment (Hz)",
    "phase_sd_deg": "standard deviation of the phase of the used frames before alignment (degrees)",
    "drift_hz": "range over the session of the frequency of the frames, smoothed by straight lines over 31 (Hz)",
    "drift_after_hz": "range of the frequency of means over twelfths of the session after alignment (Hz)",
    "lipid_range": "largest less smallest lipid_ratio of the blocks of the session",
    "water_linewidth_hz": "full width at half height of the real water reference, eddy currents corrected (Hz)",
    "coil_snr_gain": "SNR of the combined coils over that of the best coil, as the noise covariance predicts",
    "fit_status": "verdict on the fit of the block: ok, doubtful or failed",
}


def noise(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> tuple[float, str]:
    """Measure the SD of the real spectrum where there is no signal, a straight line removed; say where.

    Raises
    ------
    InputError
        The spectrum is too narrow to have such a range.
    """
    from scipy.signal import detrend

    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    for ranges in NOISE_RANGES_PPM:
        parts = [np.flatnonzero((axis > low) & (axis < high)) for low, high in ranges]
        covered = axis.min() < min(ranges[0]) and axis.max() > max(ranges[-1])
        if covered and min(part.size for part in parts) >= 24:
            left = np.concatenate([detrend(to_spectrum(fid).real[part]) for part in parts])
            named = " and ".join(f"{low:g} to {high:g}" for low, high in ranges)
            return float(np.sqrt(np.sum(left**2) / (left.size - 2 * len(parts)))), f"{named} ppm"
    raise InputError(
        f"the spectrum covers {axis.min():.1f} to {axis.max():.1f} ppm and has no range without signal for the noise; "
        "a wider spectral width is needed"
    )


def snr_definition(noise_range: str) -> str:
    """Text of the definition of SNR."""
    return f"height of the fitted tNAA singlet over SD of the real spectrum from {noise_range}, linear trend removed"


def peak_magnitude(
    fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float, ppm: tuple[float, float]
) -> float:
    """Largest magnitude of the spectrum in a range of ppm, above a straight line between the ends of the range."""
    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    inside = to_spectrum(fid)[(axis > ppm[0]) & (axis < ppm[1])]
    ends = max(inside.size // 10, 1)
    line = np.linspace(inside[:ends].mean(), inside[-ends:].mean(), inside.size)
    return float(np.abs(inside - line).max())


def lipid_area(fid: NDArray[np.complexfloating], dwell_time: float, spectrometer_frequency: float) -> float:
    """Area of the real spectrum around 1.3 ppm, in units of the FID's amplitude."""
    axis = ppm_axis(fid.shape[-1], dwell_time, spectrometer_frequency)
    inside = (axis > LIPID_PPM_RANGE[0]) & (axis < LIPID_PPM_RANGE[1])
    return float(to_spectrum(fid).real[inside].sum() / fid.shape[-1])


def judge(rules: list[dict[str, Any]], level: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge the metrics of one block or session by the rules.

    Parameters
    ----------
    rules : list of dict
        ``quality.rules`` of the configuration.
    level : str
        ``block`` or ``session``.
    values : dict
        Metrics by name; None or NaN where not known. ``fit_status`` is one of `FIT_STATUS`, ``fit_reason`` beside it
        says why.

    Returns
    -------
    list of dict
        level, metric, value, limit, action (``exclude`` or ``warn``) and reason: one for each limit that is
        exceeded, the stricter action only. A metric without a value is a warning.

    Raises
    ------
    InputError
        A rule names a metric that the tables do not have, or a verdict is none of `FIT_STATUS`.
    """
    found = []
    for rule in rules:
        if rule["level"] != level:
            continue
        metric = rule["metric"]
        if metric not in values:
            known = ", ".join(sorted(k for k, v in values.items() if isinstance(v, int | float)))
            raise InputError(f"quality.rules: {level} has no metric {metric!r}; it has {known}")
        row = {"level": level, "metric": metric, "value": float("nan"), "limit": float("nan")}
        if values[metric] is None or values[metric] != values[metric]:
            found.append({**row, "action": "warn", "reason": f"{metric} is not known"})
        elif metric == "fit_status":
            found += [{**row, **verdict} for verdict in _judge_fit(rule, values)]
        else:
            found += [{**row, **verdict} for verdict in _judge_value(rule, float(values[metric]))]
    return found


def _judge_value(rule: dict[str, Any], value: float) -> list[dict[str, Any]]:
    """Judge a number by its limits."""
    sign, word = (1, ">") if rule["worse"] == "above" else (-1, "<")
    for action in ("exclude", "warn"):
        limit = rule[action]
        if limit is not None and sign * (value - limit) > 0:
            reason = f"{rule['metric']} {value:.4g} {word} {limit:g}"
            return [{"value": value, "limit": float(limit), "action": action, "reason": reason}]
    return []


def _judge_fit(rule: dict[str, Any], values: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge the verdict on a fit: one that has failed is excluded, a doubtful one as the rule says."""
    status = values["fit_status"]
    if status not in FIT_STATUS:
        raise InputError(f"the status of a fit is {status!r}, not {', '.join(FIT_STATUS)}; run the fit again")
    actions = ("exclude",) if status == "failed" else [a for a in ("exclude", "warn") if rule[a] == status]
    return [{"action": action, "reason": f"fit {status}: {values.get('fit_reason')}"} for action in actions[:1]]


def limit_text(rule: dict[str, Any], action: str) -> str:
    """Write a limit of a rule as readers see it; empty where there is none."""
    limit = rule[action]
    if rule["metric"] == "fit_status":
        return " or ".join(FIT_STATUS[1:] if limit else FIT_STATUS[2:]) if action == "exclude" else limit or ""
    return "" if limit is None else f"{'>' if rule['worse'] == 'above' else '<'} {limit:g}"


def _judge_block(rules: list[dict[str, Any]], block: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge one block; one that was never made or has no fit is excluded for that reason, whatever the rules are."""
    row = {"level": "block", "value": float("nan"), "limit": float("nan")}
    if block.get("fit_status") == "failed":
        always = {"metric": "fit_status", "warn": None, "exclude": None}
        return [{**row, "metric": "fit_status", **verdict} for verdict in _judge_fit(always, block)]
    reason = block.get("reason")
    if not isinstance(reason, str) or not reason:
        return judge(rules, "block", block)
    value = float(block.get("n_transients", float("nan")))
    return [{**row, "metric": "n_transients", "value": value, "action": "exclude", "reason": reason}]


def exclusions(block_quality: Any, session_quality: Any, rules: list[dict[str, Any]]) -> Any:
    """List what the rules warn of and exclude, with the reason.

    Parameters
    ----------
    block_quality : DataFrame
        Rows of ``desc-blocks_quality.tsv`` of all sessions: participant, session, block and metrics, with
        ``fit_status`` and ``fit_reason`` of the fit.
    session_quality : DataFrame
        A row per session: participant, session and the scalars of ``desc-session_quality.json``.
    rules : list of dict
        ``quality.rules`` of the configuration.

    Returns
    -------
    DataFrame
        participant, session, block, level, metric, value, limit, action, reason; in the order of the tables. A
        session that is excluded has a row for each of its blocks.
    """
    import pandas as pd

    by_session: dict[Any, list[dict[str, Any]]] = {}
    for block in block_quality.to_dict("records"):
        by_session.setdefault((block["participant"], block["session"]), []).append(block)
    rows = []
    for session in session_quality.to_dict("records"):
        own = {"participant": session["participant"], "session": session["session"]}
        blocks = by_session.get((own["participant"], own["session"]), [])
        for verdict in judge(rules, "session", session):
            rows += [{**own, "block": block["block"], **verdict} for block in blocks]
        for block in blocks:
            rows += [{**own, "block": block["block"], **verdict} for verdict in _judge_block(rules, block)]
    columns = ["participant", "session", "block", "level", "metric", "value", "limit", "action", "reason"]
    return pd.DataFrame(rows, columns=columns)
