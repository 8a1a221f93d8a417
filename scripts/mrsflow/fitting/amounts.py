"""What is known of amounts in brain before a fit: minor metabolites, macromolecules and lipids."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrsflow.fitting import uncertainty
from mrsflow.fitting.fit_model import Model

MINOR = {
    "Asp": 0.05, "Asc": 0.04, "PE": 0.06, "Tau": 0.06, "Gly": 0.03, "Glc": 0.03, "Ala": 0.013, "sIns": 0.015,
    "Scyllo": 0.015,
}  # fmt: skip
"""Minor metabolites as parts of tNAA + tCr + 3 tCho in healthy brain (Govindaraju et al. 2000, NMR Biomed. 13:129)."""
MINOR_SPREAD = 1.0
"""Standard deviation of these parts, relative: that of LCModel's ratio priors for such metabolites."""
MACROMOLECULES = ("MM09", "MM12", "MM14", "MM17", "MM20", "MM22", "MM26", "MM30", "MM37")
"""Macromolecules of a simulated basis set, of which the brain has equal amounts; other sets have other proportions."""
MACROMOLECULE_PART, MACROMOLECULE_SPREAD, MACROMOLECULE_MEAN_SPREAD = 0.28, 0.2, 0.3
"""Their usual amount as part of tNAA + tCr + 3 tCho, and as parts of that the standard deviations of one from the mean
of all, and of this mean: between volunteers, echo times and scanners (``benchmarks/macromolecules.py``)."""
LIPIDS = {"Lip09": (0.27, 0.02), "Lip20": (0.15, 0.01)}
"""Lipids as parts of Lip13, as LCModel expects them, and the standard deviation as part of tNAA + tCr + 3 tCho."""


@dataclass
class Amounts:
    """Soft constraints on the amplitudes of each block.

    Attributes
    ----------
    expected : (M) float
    precision : (M, M) float
        0: none.
    unchanging : (M) float
        Amount of the signals that are alike in all blocks, 0 for others.
    """

    expected: NDArray[np.floating]
    precision: NDArray[np.floating]
    unchanging: NDArray[np.floating]


def major(amplitudes: NDArray, names: tuple[str, ...]) -> float:
    """Give tNAA + tCr + 3 tCho, of what the basis has."""
    parts = [(uncertainty.weights_of(names, name), k) for name, k in (("tNAA", 1), ("tCr", 1), ("tCho", 3))]
    return sum(k * float(weights @ amplitudes) for weights, k in parts if weights is not None)


def usual(amplitudes: NDArray, model: Model) -> Amounts:
    """Soft constraints by first amplitudes (M): minor metabolites, macromolecules and lipids at their usual part."""
    names, total = model.names, max(major(amplitudes, model.names), 0.0)
    expected = np.array([MINOR.get(name, 0.0) for name in names]) * total
    sd = MINOR_SPREAD * expected
    precision = np.diag(np.divide(1.0, sd**2, out=np.zeros_like(sd), where=sd > 0))
    if total > 0 and set(names).issuperset(MACROMOLECULES):
        members = np.array([names.index(name) for name in MACROMOLECULES])
        amount = MACROMOLECULE_PART * total
        expected[members] = amount
        mean = np.full((members.size, members.size), 1 / members.size)
        own = (np.eye(members.size) - mean) / (MACROMOLECULE_SPREAD * amount) ** 2
        precision[np.ix_(members, members)] += own + mean / members.size / (MACROMOLECULE_MEAN_SPREAD * amount) ** 2
    for name, (part, spread) in LIPIDS.items():
        if total > 0 and {name, "Lip13"} <= set(names):
            row = np.zeros(len(names))
            row[names.index(name)], row[names.index("Lip13")] = 1.0, -part
            precision += np.outer(row, row) / (spread * total) ** 2
    unchanging = np.array([name.startswith(("MM", "Mac")) for name in names]) & model.broad
    amount = np.abs(amplitudes[unchanging]).mean() if unchanging.any() else 0.0
    return Amounts(expected, precision, np.where(unchanging, amount, 0.0))


def described(names: tuple[str, ...]) -> str:
    """Say these constraints in words."""
    minor = ", ".join(name for name in names if name in MINOR)
    parts = [
        f"amplitudes of {minor or 'no metabolite'} at their usual part of tNAA + tCr + 3 tCho, +/- {MINOR_SPREAD:.0%}"
    ]
    if set(names).issuperset(MACROMOLECULES):
        parts.append(
            f"of {', '.join(MACROMOLECULES)} at {MACROMOLECULE_PART:.0%} of it +/- "
            f"{MACROMOLECULE_MEAN_SPREAD * MACROMOLECULE_PART:.0%}, alike +/- "
            f"{MACROMOLECULE_SPREAD * MACROMOLECULE_PART:.1%}"
        )
    lipids = [name for name in LIPIDS if {name, "Lip13"} <= set(names)]
    parts += [
        f"{name} {LIPIDS[name][0]:g} of Lip13, +/- {LIPIDS[name][1]:.0%} of tNAA + tCr + 3 tCho" for name in lipids
    ]
    return "; ".join(parts)
