"""What a reader of the page of the study needs first: question and answer, terms, and the core on a phone."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mrsflow.reporting import figures_course, figures_tests
from mrsflow.reporting.figures import COLOURS, decimals, minus, p_value

if TYPE_CHECKING:
    from mrsflow.reporting.group_data import TrialResults

GLOSSARY = {
    "Estimand": "What exactly is estimated: of whom, which variable, when, compared how (ICH E9 (R1)).",
    "Contrast": "A difference of means between conditions, the second name subtracted from the first.",
    "Interval": "Values that the data do not contradict; of 100 such intervals at 95 %, 95 hold the true value.",
    "p": "How often data at least this far from no difference would come up if there were none.",
    "p adjusted": "The same, raised for the number of tests in its family.",
    "Holm": "Adjustment that bounds the chance of any wrong finding in a family of tests.",
    "Benjamini-Hochberg": "Adjustment that bounds the share of wrong findings among all findings of a family.",
    "Kenward-Roger": "Degrees of freedom of a mixed model that keep its tests honest in small samples.",
    "d_z": "Mean of the differences over their standard deviation, within participants.",
    "g_av": "Difference over the mean standard deviation of the conditions, for small samples (Hedges).",
    "Attenuation": "Part of the response under the reference condition that is missing under the other.",
    "Baseline": "Mean of the blocks before the event; percentages refer to it.",
    "Block": "Transients of some minutes, averaged and fitted as one spectrum.",
    "Transient": "Signal of one excitation.",
    "Glx, tNAA, tCr, tCho": "Glutamate + glutamine; NAA + NAAG; creatine + phosphocreatine; choline compounds.",
    "Linewidth": "Full width of a peak at half its height; narrow is good.",
    "SNR": "Height of the NAA peak over the standard deviation of the noise.",
    "%SD": "Standard deviation of an amount by its fit, in percent of it; other programs call it CRLB.",
    "Doubtful fit": "A fit whose amounts should not be relied on; its reason stands beside it.",
    "ICC": "Part of the variance that lies between participants: 1, visits agree; 0, they tell nothing of a person.",
    "MDC": "Smallest change of one person that is more than measurement error.",
    "Multiverse": "The primary analysis under every combination of choices that the study declared.",
}
"""Terms of the page by name."""


def sentences(headline: dict[str, Any], trial: "TrialResults", audit: str) -> list[str]:
    """Say what was asked, what was found, and what it rests on.

    Parameters
    ----------
    headline : dict
        ``group/headline.json``.
    trial : TrialResults
    audit : str
        Finding of the denominator audit; may be empty.
    """
    question = headline["question"]
    asked = f"Asked: {question['treatment']}, {question['summary']}; {question['variable']}; {question['time']}."
    if not trial.frozen:
        return [asked, "Not answered yet: arms are masked, and nothing compares them.", _basis(headline, trial, "")]
    if headline["estimate"] is None:
        return [asked, f"Not answered: {headline['reason'].rstrip('.')}.", _basis(headline, trial, audit)]
    low, high = headline["percent_ci_low"], headline["percent_ci_high"]
    digits = decimals(low, high)
    verdict = "which leaves out no difference" if low > 0 or high < 0 else "which does not tell it from no difference"
    estimate = f"{headline['percent_of_baseline']:z.{digits}f} % of the mean baseline"
    interval = f"{100 * headline['ci_level']:g} % interval {low:z.{digits}f} to {high:z.{digits}f} %"
    found = f"{estimate}, {interval}, {verdict}"
    tested = f"p = {p_value(headline['p'])}".replace("= <", "<")
    answered = f"Answered: {headline['outcome']}, {headline['contrast']}, {minus(found)} ({tested})."
    return [asked, answered, _basis(headline, trial, audit)]


def _basis(headline: dict[str, Any], trial: "TrialResults", audit: str) -> str:
    """Say what the answer rests on."""
    counts = [
        f"{headline[f'n_{what}']} {what if headline[f'n_{what}'] != 1 else what[:-1]}"
        for what in ("participants", "sessions", "blocks")
    ]
    doubtful = f"({headline['n_doubtful']} with a doubtful fit)"
    text = f"It rests on {', '.join(counts)} {doubtful}, of {len(trial.keys)} sessions planned"
    first = audit.split(":")[0].split(" (")[0].rstrip(".")
    return f"{text}; of the ratio, {first[:1].lower()}{first[1:]}." if first else f"{text}."


def forests(trial: "TrialResults") -> dict[str, list[dict[str, Any]]]:
    """Rows of the forests for narrow screens: name, numbers, and where bar and point stand (% of the width)."""
    found = {}
    for name, rows_of in (("sensitivity", figures_tests.sensitivity_rows), ("contrasts", figures_tests.contrast_rows)):
        shown = rows_of(trial) if trial.frozen else None
        if shown is not None:
            found[name] = _bars(shown[0], shown[1])
    return found


def _bars(rows: pd.DataFrame, emphasis: int) -> list[dict[str, Any]]:
    ends = rows[["estimate", "ci_low", "ci_high"]].to_numpy(float)
    low, high = figures_tests.span(rows)
    known = np.clip(ends[np.isfinite(ends)], low, high)
    left, right = min(known.min(initial=0.0), 0.0), max(known.max(initial=0.0), 0.0)
    width = (right - left) or 1.0

    def place(value: float) -> float | None:
        return round(float(100 * (np.clip(value, left, right) - left) / width), 2) if np.isfinite(value) else None

    return [
        {
            "name": row.name,
            "numbers": figures_tests.numbers(row),
            "primary": n < emphasis,
            "at": place(row.estimate),
            "from": place(row.ci_low),
            "to": place(row.ci_high),
            "zero": place(0.0),
        }
        for n, row in enumerate(rows.itertuples(index=False))
    ]


def courses(trial: "TrialResults") -> list[dict[str, Any]]:
    """Give the outcome and what is shown beside it over time, for charts on narrow screens.

    Returns
    -------
    list of dict
        label, x (its axis) and series: name, colour, minutes, mean, low and high of each condition.
    """
    labels = {trial.outcome: trial.outcome} | figures_course.control_labels(trial)
    axis = "Visit" if trial.visits else f"Time from {trial.event} (min)"
    found = []
    for column, label in labels.items():
        table = trial.course(column)
        series = [
            {
                "name": str(condition),
                "colour": COLOURS[n % len(COLOURS)],
                **{
                    key: [round(float(v), 5) if np.isfinite(v) else None for v in own[name]]
                    for key, name in (("minutes", "minutes"), ("mean", "mean"), ("low", "ci_low"), ("high", "ci_high"))
                },
            }
            for n, (condition, own) in enumerate(table.groupby("condition", sort=False))
        ]
        if series:
            found.append({"label": label, "x": axis, "zero": not trial.visits, "series": series})
    return found
