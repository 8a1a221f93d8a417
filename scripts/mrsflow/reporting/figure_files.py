"""Names of the figures of a study, for the rule that declares their files and the code that draws them."""

TITLES = {
    "flow": "Flow of participants, sessions and blocks",
    "availability": "Data at hand",
    "sensitivity": "Primary contrast and sensitivity analyses",
    "contrasts": "Contrasts of all outcomes, and by sex",
    "attenuation": "Attenuation of the response",
    "paired_change": "Change of each participant",
    "components": "Variance components of the primary model",
    "time_course": "Primary outcome over time",
    "controls": "Denominator, linewidth and SNR over time",
    "other_outcomes": "Further outcomes over time",
    "mean_spectra": "Mean spectra",
    "mood": "Mood over time",
    "mood_link": "Change of the outcome and change of mood",
    "distributions": "Quality metrics and their limits",
    "reliability": "Reliability between visits",
}
"""Title by name; the caption stands in ``report/<name>.rst``."""

KINDS = ("png", "svg", "pdf")


def names() -> list[str]:
    """File names in ``<output>/figures``, the same for every study.

    >>> names()[:4]
    ['figures.json', 'flow.png', 'flow.svg', 'flow.pdf']
    """
    return ["figures.json", *(f"{name}.{kind}" for name in TITLES for kind in KINDS)]
