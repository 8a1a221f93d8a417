"""Substances of some people only, as ethanol or a drug's solvent, added to a basis set by name."""

from dataclasses import replace

import numpy as np

from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import macromolecules, sequences, spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence
from mrsflow.errors import InputError


def add(basis: Basis, names: tuple[str, ...], sequence: Sequence) -> Basis:
    """Add substances of the spin system tables to a basis set, in its unit, sampling and line width.

    Parameters
    ----------
    basis : Basis
        Simulated or given.
    names : tuple of str
    sequence : Sequence
        With which the substances are simulated: that of the basis.

    Raises
    ------
    InputError
        A name that is unknown or already in the basis, or a basis whose unit cannot be told.
    """
    if not names:
        return basis
    known = spins.systems()
    for name in names:
        if name not in known:
            raise InputError(
                f"extra_signals: {name!r} is not known; choose of {', '.join(k for k in known if k not in basis.names)}"
            )
        if name in basis.names:
            raise InputError(
                f"extra_signals: {name!r} is in the basis set already ({basis.description}); leave it out of the list"
            )
    unit = macromolecules.unit(basis)
    centred = basis_sets.centred(basis)
    added = sequences.simulate(
        sequence,
        centred.spectrometer_frequency,
        names,
        dwell_time=centred.dwell_time,
        n_points=centred.n_points,
        linewidth=centred.linewidth,
    )
    description = f"{basis.description}; added: {', '.join(names)}"
    fids = np.concatenate([centred.fids, unit * added.fids])
    return replace(centred, names=(*centred.names, *names), fids=fids, description=description)
