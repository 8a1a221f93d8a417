"""What is known of amounts in brain before a fit: minor metabolites, macromolecules and lipids."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrsflow.fitting import uncertainty
from mrsflow.fitting.fit_model import Model

MINOR = {
    "Asp": 0.05, "Asc": 0.04, "PE": 0.06, "Tau": 0.06, "Gly": 0.03, "Glc": 0.03, "Ala": 0.013, "sIns": 0.015,
    "Scyllo": 0.015,
}  # fmt: skip
"""Minor metabolites as parts of tNAA + tCr + 3 tCho in healthy brain (Govindaraju et al. 2000, NMR Biomed. 13:129)."""
UNDER_MACROMOLECULES = {"GABA": 0.06}
"""The same for what lies under macromolecules at each of its resonances, and cannot be told from them where their lines
are parametrised: held, in the mean of a session's blocks, so that its changes are free."""
MINOR_SPREAD = 1.0
"""Standard deviation of these parts, relative: that of LCModel's ratio priors for such metabolites."""
MACROMOLECULES = ("MM09", "MM12", "MM14", "MM17", "MM20", "MM22", "MM26", "MM30", "MM37")
"""Macromolecules of a simulated basis set, of which the brain has equal amounts; other sets have other proportions."""
MACROMOLECULE_PART, MACROMOLECULE_SPREAD, MACROMOLECULE_MEAN_SPREAD = 0.28, 0.2, 0.3
"""Their usual amount as part of tNAA + tCr + 3 tCho, and as parts of that the standard deviations of one from the mean
of all, and of this mean: between volunteers, echo times and scanners (``benchmarks/macromolecules.py``)."""
LIPIDS = {"Lip09": (0.27, 0.02), "Lip20": (0.15, 0.01)}
"""Lipids as parts of Lip13, as LCModel expects them, and the standard deviation as part of tNAA + tCr + 3 tCho."""

LIPID_PARTS = {"Lip09": 0.27, "Lip13": 1.0, "Lip20": 0.15}
"""The same, by how a name begins; signals of one beginning (Lip13a, Lip13b) share its part."""
CHANGES = {"macromolecules": (0.03, 0.01), "lipids": (0.01, 0.003), "minor metabolites": (0.0, 0.2)}
"""Usual SD about their mean over the blocks of a session, for all alike and for each of its own.

Macromolecules: as part of their amount (proteins do not change within hours, and what moves the voxel changes
metabolites alike). Lipids: in their proportions, as part of tNAA + tCr + 3 tCho. Minor metabolites: as part of their
usual amount, a fifth of what they vary between people; free ones add a tenth to the scatter of changes of Glx.
"""


@dataclass
class Changes:
    """Signals that change little over the blocks of a session.

    Attributes
    ----------
    members : (k) int
        Which of the signals.
    precision : (k, k) float
        Of their usual deviations from the mean of all blocks.
    sd : float
        The larger usual SD, as `CHANGES` has it.
    """

    members: NDArray[np.intp]
    precision: NDArray[np.floating]
    sd: float


@dataclass
class Amounts:
    """Soft constraints on the amplitudes of each block.

    Attributes
    ----------
    expected : (M) float
    precision : (M, M) float
        0: none.
    changes : dict of Changes
        By kind.
    of_mean : (M) float
        Precision of what is known of the mean over blocks alone.
    """

    expected: NDArray[np.floating]
    precision: NDArray[np.floating]
    changes: dict[str, Changes] = field(default_factory=dict)
    of_mean: NDArray[np.floating] | float = 0.0

    def of_each(self, n_blocks: int) -> NDArray[np.floating]:
        """Precision (M, M) of each of so many blocks."""
        return self.precision + np.diag(np.broadcast_to(self.of_mean, self.expected.shape)) / n_blocks


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
    of_mean = np.zeros(len(names))
    if total > 0 and set(names).issuperset(MACROMOLECULES):
        members = np.array([names.index(name) for name in MACROMOLECULES])
        amount = MACROMOLECULE_PART * total
        expected[members] = amount
        mean = np.full((members.size, members.size), 1 / members.size)
        own = (np.eye(members.size) - mean) / (MACROMOLECULE_SPREAD * amount) ** 2
        for name in UNDER_MACROMOLECULES.keys() & set(names):
            expected[names.index(name)] = UNDER_MACROMOLECULES[name] * total
            of_mean[names.index(name)] = (MINOR_SPREAD * UNDER_MACROMOLECULES[name] * total) ** -2
        precision[np.ix_(members, members)] += own + mean / members.size / (MACROMOLECULE_MEAN_SPREAD * amount) ** 2
    for name, (part, spread) in LIPIDS.items():
        if total > 0 and {name, "Lip13"} <= set(names):
            row = np.zeros(len(names))
            row[names.index(name)], row[names.index("Lip13")] = 1.0, -part
            precision += np.outer(row, row) / (spread * total) ** 2
    return Amounts(expected, precision, _changes(amplitudes, model, total), of_mean)


def _changes(amplitudes: NDArray, model: Model, total: float) -> dict[str, Changes]:
    """Signals of a basis set that change little over the blocks of a session, and how little."""
    names, broad = model.names, model.broad
    of_kind = {
        "macromolecules": np.flatnonzero([name.startswith(("MM", "Mac")) for name in names] & broad),
        "lipids": np.flatnonzero([name[:5] in LIPID_PARTS for name in names] & broad),
        "minor metabolites": np.flatnonzero([name in MINOR for name in names]),
    }
    found = {}
    for kind, members in of_kind.items():
        if kind == "macromolecules":
            scale = np.full(members.size, np.abs(amplitudes[members]).mean() if members.size else 0.0)
        elif kind == "lipids":
            starts = [names[k][:5] for k in members]
            scale = total * np.array([LIPID_PARTS[start] / starts.count(start) for start in starts])
        else:
            scale = total * np.array([MINOR[names[k]] for k in members])
        if not (members.size and scale.all()):
            continue
        alike, own = CHANGES[kind]
        k = members.size
        shared = alike**2 / (k * alike**2 + own**2)  # inverse of own² + alike² (Sherman and Morrison)
        precision = own**-2 * (np.eye(k) - np.full((k, k), shared)) / np.outer(scale, scale)
        found[kind] = Changes(members, precision, max(alike, own))
    return found


def described(names: tuple[str, ...]) -> str:
    """Say these constraints in words."""
    minor = ", ".join(name for name in names if name in MINOR)
    parts = [
        f"amplitudes of {minor or 'no metabolite'} at their usual part of tNAA + tCr + 3 tCho, +/- {MINOR_SPREAD:.0%}, "
        f"and between blocks of a session +/- {CHANGES['minor metabolites'][1]:.0%} of that"
    ]
    if set(names).issuperset(MACROMOLECULES):
        parts.append(
            f"of {', '.join(MACROMOLECULES)} at {MACROMOLECULE_PART:.0%} of it +/- "
            f"{MACROMOLECULE_MEAN_SPREAD * MACROMOLECULE_PART:.0%}, alike +/- "
            f"{MACROMOLECULE_SPREAD * MACROMOLECULE_PART:.1%}"
        )
        parts += [
            f"{name} at {part:.0%} of it +/- {MINOR_SPREAD:.0%}, in the mean of a session's blocks"
            for name, part in UNDER_MACROMOLECULES.items()
            if name in names
        ]
    lipids = [name for name in LIPIDS if {name, "Lip13"} <= set(names)]
    parts += [
        f"{name} {LIPIDS[name][0]:g} of Lip13, +/- {LIPIDS[name][1]:.0%} of tNAA + tCr + 3 tCho" for name in lipids
    ]
    return "; ".join(parts)
