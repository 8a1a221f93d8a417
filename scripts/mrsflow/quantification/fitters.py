"""The programs that can fit: `FITTERS` names them for the configuration.

To add one, write a function that takes a `Request` and gives a `FitResult`, and enter it in `FITTERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.fitting import fit
from mrsflow.fitting.dynamic import Terms
from mrsflow.fitting.fit import FitResult
from mrsflow.fitting.fit_model import Model
from mrsflow.study.config import fitters_of


@dataclass(frozen=True)
class Request:
    """What a program is asked to fit: the blocks of one session.

    Attributes
    ----------
    fids : (B, n_points) complex
    dwell_time : float
        s.
    spectrometer_frequency : float
        MHz.
    nucleus : str
    basis : Basis
        As read; not yet sampled as the data.
    ppm : (low, high)
        Fitted range.
    terms : Terms or None
        How amplitudes may change over the blocks; None: freely.
    """

    fids: NDArray[np.complexfloating]
    dwell_time: float
    spectrometer_frequency: float
    nucleus: str
    basis: Basis
    ppm: tuple[float, float]
    terms: Terms | None = None


Fitter = Callable[[Request], FitResult]


class OwnFitter:
    """The project's own fit; what does not depend on the data is computed once for one kind of data."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._model: Model | None = None

    def __call__(self, request: Request) -> FitResult:
        """Fit the blocks of a session together."""
        sampling = (request.spectrometer_frequency, request.nucleus, request.dwell_time, request.fids.shape[-1])
        key = (id(request.basis), sampling, request.ppm)
        if self._model is None or key != self._key:
            self._model = Model(basis_sets.match(request.basis, *sampling), request.ppm)
            self._key = key
        return fit.fit_session(request.fids, self._model, request.terms)


def _lcmodel() -> Fitter:
    from mrsflow.quantification.lcmodel import LCModelFitter  # only here: Nipype takes its time

    return LCModelFitter()


def _fsl_mrs() -> Fitter:
    from mrsflow.quantification.fslmrs import FSLMRSFitter  # the same

    return FSLMRSFitter()


FITTERS: dict[str, Callable[[], Fitter]] = {"mrsflow": OwnFitter, "lcmodel": _lcmodel, "fsl_mrs": _fsl_mrs}


def make(name: str) -> Fitter:
    """Give the program that the configuration names.

    Raises
    ------
    InputError
        Not in `FITTERS`.
    """
    if name not in FITTERS:
        raise InputError(f"fit.fitter is {name!r}; known are {', '.join(sorted(FITTERS))}")
    return FITTERS[name]()


def refuse_unready(settings: dict[str, Any]) -> None:
    """Refuse, before any job, each program that is not known, not on this machine or cannot do what section fit asks.

    Raises
    ------
    InputError
    """
    names = fitters_of({"fit": settings})
    refused = []
    for name in names:
        try:
            make(name)
        except InputError as error:
            refused.append(str(error))
    others = [name for name in names if name != "mrsflow"]
    if others and settings["model"] == "dynamic":
        refused.append(
            f"fit.model is dynamic, which fit.fitter {' and '.join(others)} cannot do; set independent, or fitter "
            "mrsflow alone"
        )
    if refused:
        raise InputError("; ".join(refused))
