"""Spin systems of the metabolites, and the quantum mechanics of one of them.

Operators follow Levitt, Spin Dynamics (2008): product basis of spins 1/2, Hamiltonian in rad/s. A proton at stored
frequency f (`mrsflow.axes`) has the offset 2πf, and what is detected, Tr(ρ F₊), turns with exp(+2πi f t).
"""

from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.axes import ppm_to_hz

TABLE = Path(__file__).with_name("spin_systems.yaml")
EXTRA_TABLE = TABLE.with_name("extra_systems.yaml")


@dataclass(frozen=True)
class Fragment:
    """Protons coupled to each other.

    Attributes
    ----------
    shifts : (n,) float
        ppm.
    couplings : (n, n) float
        Scalar couplings in Hz, symmetric.
    weight : float
        How often the fragment counts in its metabolite.
    partners : tuple of (spin, couplings)
        Other nuclei that no pulse touches: their spin, and their couplings to each proton (Hz).
    unseen : tuple of int
        Protons (from 0) that couple but are not detected: exchange with water broadens their own lines.
    """

    shifts: NDArray[np.floating]
    couplings: NDArray[np.floating]
    weight: float = 1.0
    partners: tuple[tuple[float, NDArray[np.floating]], ...] = ()
    unseen: tuple[int, ...] = ()


@dataclass(frozen=True)
class Levels:
    """Energy levels of protons, as the eigensystem of their Hamiltonian.

    Attributes
    ----------
    energies : (d,) float
        rad/s.
    vectors : (d, d) float
        Eigenvectors in columns, each of one total magnetic quantum number.
    orders : (d,) float
        That quantum number.
    """

    energies: NDArray[np.floating]
    vectors: NDArray[np.floating]
    orders: NDArray[np.floating]

    def coherence_order(self) -> NDArray[np.floating]:
        """Order of each element of a density matrix between these levels, (d, d)."""
        return self.orders[:, None] - self.orders[None, :]

    def operator(self, matrix: NDArray) -> NDArray:
        """Take an operator from the product basis to the levels."""
        return self.vectors.T @ matrix @ self.vectors


@cache
def table() -> dict[str, Any]:
    """Content of the spin system table."""
    import yaml

    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


@cache
def systems() -> dict[str, Any]:
    """Spin systems by name: metabolites of every brain, then the substances of some (extra_systems.yaml)."""
    import yaml

    return table()["metabolites"] | yaml.safe_load(EXTRA_TABLE.read_text(encoding="utf-8"))["metabolites"]


def fragments(metabolite: str) -> list[Fragment]:
    """Give the fragments of a metabolite of the tables; `KeyError` when it is not there."""
    return [_fragment(entry) for entry in systems()[metabolite]["fragments"]]


def _fragment(entry: dict[str, Any]) -> Fragment:
    shifts = np.array(entry["shifts"], dtype=float)
    couplings = np.zeros((len(shifts), len(shifts)))
    for pair, hz in entry.get("couplings", {}).items():
        i, j = (int(number) - 1 for number in pair.split("-"))
        couplings[i, j] = couplings[j, i] = hz
    partners = tuple((p["spin"], np.array(p["couplings"], dtype=float)) for p in entry.get("partners", []))
    unseen = tuple(number - 1 for number in entry.get("unseen", ()))
    return Fragment(shifts, couplings, float(entry.get("weight", 1)), partners, unseen)


def isotopomers(fragment: Fragment, spectrometer_frequency: float, reference_ppm: float) -> list[NDArray]:
    """Offsets of the protons (Hz) for each state of the nuclei that no pulse touches; all are equally likely.

    Such a nucleus stays in its state m and moves each proton by m·J: exact, also through spin echoes.
    """
    hz = ppm_to_hz(fragment.shifts, spectrometer_frequency, reference_ppm)
    states = [np.arange(-spin, spin + 1)[:, None] * couplings for spin, couplings in fragment.partners]
    return [hz + sum(moves) for moves in product(*states)]


def spin_operators(n_spins: int) -> tuple[NDArray, NDArray, NDArray]:
    """Give I_x, i·I_y and I_z of each spin in the product basis, each (n, d, d) and real."""
    single = np.array([[[0, 0.5], [0.5, 0]], [[0, 0.5], [-0.5, 0]], [[0.5, 0], [0, -0.5]]])
    identity = np.eye(2)
    x, iy, z = (
        np.array([reduce(np.kron, [s if j == i else identity for j in range(n_spins)]) for i in range(n_spins)])
        for s in single
    )
    return x, iy, z


def levels(offsets: ArrayLike, couplings: ArrayLike) -> Levels:
    """Solve the Hamiltonian of strongly coupled protons.

    Parameters
    ----------
    offsets : (n,) float
        Hz.
    couplings : (n, n) float
        Hz.
    """
    offsets, couplings = np.asarray(offsets, dtype=float), np.asarray(couplings, dtype=float)
    x, iy, z = spin_operators(len(offsets))
    hamiltonian = np.tensordot(offsets, z, 1)
    for i, j in zip(*np.nonzero(np.triu(couplings, 1)), strict=True):
        hamiltonian = hamiltonian + couplings[i, j] * (x[i] @ x[j] - iy[i] @ iy[j] + z[i] @ z[j])
    total = np.diagonal(z.sum(axis=0))
    energies, vectors = np.empty(len(total)), np.zeros_like(hamiltonian)
    for order in np.unique(total):  # one block per total quantum number keeps the coherence orders exact
        block = np.flatnonzero(total == order)
        energies[block], vectors[np.ix_(block, block)] = np.linalg.eigh(hamiltonian[np.ix_(block, block)])
    return Levels(2 * np.pi * energies, vectors, total)


def rotation(n_spins: int, angle: float, phase: float = 0.0) -> NDArray[np.complexfloating]:
    """Rotate all spins by `angle` about the transverse axis at `phase` (rad), in the product basis (d, d)."""
    off = -1j * np.sin(angle / 2)
    single = np.array([[np.cos(angle / 2), off * np.exp(-1j * phase)], [off * np.exp(1j * phase), np.cos(angle / 2)]])
    return reduce(np.kron, [single] * n_spins)
