"""Concentration of a drug in plasma, or where it acts, over time: two or three compartments and an infusion log.

A mammillary model: drug enters and leaves the central compartment, which exchanges with one or two others. Amounts x
follow dx/dt = A x + rate, whose solution between changes of the rate is a matrix exponential; the same exponential of
the system with its own integral beside it gives means over blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow.errors import InputError

FARTHEST = 5.0
"""Factor from published constants beyond which plasma samples are taken for a mistake, as of units."""
SAMPLES_OF_VOLUME = 4
"""Plasma samples from which on a person's volumes are estimated beside the clearance."""


class Dose(NamedTuple):
    """Drug given at a constant rate from `start_min` on; at once where `duration_min` is 0."""

    start_min: float
    duration_min: float
    amount_mg: float


@dataclass(frozen=True)
class Compartments:
    """Constants of a person.

    Attributes
    ----------
    volume_l : float
        Of the central compartment.
    k10, k12, k21, k13, k31 : float
        Rates (1/min): elimination, and exchange of the central compartment with the second and the third.
    ke0 : float or None
        Rate (1/min) at which the site of action follows plasma (Sheiner et al. 1979, doi:10.1002/cpt1979253358); None:
        plasma itself.
    source : str
        Where the constants are from.
    """

    volume_l: float
    k10: float
    k12: float
    k21: float
    k13: float = 0.0
    k31: float = 0.0
    ke0: float | None = None
    source: str = ""

    @property
    def clearance_l_per_min(self) -> float:
        """Volume of plasma that is cleared of drug in a minute."""
        return self.volume_l * self.k10

    def matrix(self) -> NDArray[np.floating]:
        """Rates (n, n) between the amounts: central, second, third, and the site of action where there is one."""
        a = np.zeros((4, 4))
        a[0, :3] = -(self.k10 + self.k12 + self.k13), self.k21, self.k31
        a[1, :2] = self.k12, -self.k21
        a[2, [0, 2]] = self.k13, -self.k31
        if self.ke0 is None:
            return a[:3, :3]
        a[3, [0, 3]] = self.ke0, -self.ke0
        return a


@dataclass(frozen=True)
class Published:
    """Constants of a publication: the volume per kg of body weight, and rates (1/min)."""

    volume_l_per_kg: float
    k10: float
    k12: float
    k21: float
    k13: float
    k31: float
    source: str

    def of(self, weight_kg: float) -> Compartments:
        """Constants of a person of this weight."""
        return Compartments(
            self.volume_l_per_kg * weight_kg, self.k10, self.k12, self.k21, self.k13, self.k31, source=self.source
        )


PUBLISHED = {
    "domino1984": Published(
        0.063, 0.438, 0.592, 0.247, 0.590, 0.0146,
        "racemic ketamine in adults, three compartments: Domino et al. 1984, doi:10.1038/clpt.1984.235 (the set of "
        "STANPUMP)",
    ),
    "clements1981": Published(
        1.7522, 0.0109, 0.0186, 0.0137, 0.0, 0.0,
        "racemic ketamine 0.25 mg/kg in volunteers, two compartments: Clements and Nimmo 1981, doi:10.1093/bja/53.1.27",
    ),
}  # fmt: skip
"""Ketamine. Domino's rates clear 28 ml/min/kg, Clements' 19; the mean of 18 studies is 19 (Kamp et al. 2020,
doi:10.1097/ALN.0000000000003577)."""


def concentration(model: Compartments, doses: Sequence[Dose], minutes: ArrayLike) -> NDArray[np.floating]:
    """Concentration (mg/l) at times: of plasma, or of the site of action where the model has one.

    Parameters
    ----------
    model : Compartments
    doses : sequence of Dose
    minutes : (n) float
        On the clock of the doses; 0 before the first.
    """
    amounts, _ = _course(model, doses, np.asarray(minutes, float))
    return amounts / model.volume_l


def mean_concentration(
    model: Compartments, doses: Sequence[Dose], onset_min: ArrayLike, duration_min: ArrayLike
) -> NDArray[np.floating]:
    """Mean concentration (mg/l) over each of B blocks, which may be short: at least a thousandth of a second."""
    start = np.asarray(onset_min, float)
    length = np.maximum(np.asarray(duration_min, float), 1e-3 / 60)
    _, integral = _course(model, doses, np.concatenate([start, start + length]))
    before, after = np.split(integral, 2)
    return (after - before) / length / model.volume_l


def _course(model: Compartments, doses: Sequence[Dose], minutes: NDArray) -> tuple[NDArray, NDArray]:
    """Amount (mg) that the concentration is read from, and its integral (mg min), at times."""
    from scipy.linalg import expm

    a = model.matrix()
    n = len(a)
    read = 0 if model.ke0 is None else n - 1
    system = np.zeros((n + 2, n + 2))  # amounts, their integral at the place that is read, and the rate of infusion
    system[:n, :n], system[n, read], system[0, n + 1] = a, 1.0, 1.0
    changes = {edge for dose in doses for edge in (dose.start_min, dose.start_min + dose.duration_min)}
    times = sorted({*changes, *map(float, minutes)})
    state, now = np.zeros(n + 2), times[0] if times else 0.0
    steps: dict[float, NDArray] = {}
    found = {}
    for time in times:
        length = round(time - now, 12)
        if length > 0 and state.any():
            if length not in steps:
                steps[length] = expm(system * length)
            state = steps[length] @ state
        now = time
        state[0] += sum(dose.amount_mg for dose in doses if dose.duration_min == 0 and dose.start_min == time)
        state[n + 1] = sum(
            dose.amount_mg / dose.duration_min
            for dose in doses
            if dose.duration_min > 0 and dose.start_min <= time < dose.start_min + dose.duration_min
        )
        found[time] = state[[read, n]]
    amounts, integrals = np.array([found[float(time)] for time in minutes]).reshape(-1, 2).T
    return amounts, integrals


def through_samples(
    model: Compartments, doses: Sequence[Dose], minutes: ArrayLike, measured_mg_per_l: ArrayLike
) -> Compartments:
    """Constants of a person by measured plasma samples: least squares of the logarithms.

    Clearance is estimated; from `SAMPLES_OF_VOLUME` samples on all volumes too, by one factor, unless the samples
    cannot tell it. What else the published constants say of distribution is kept.

    Parameters
    ----------
    model : Compartments
        Published constants for the person's weight.
    doses : sequence of Dose
    minutes, measured_mg_per_l : (n) float
        Times on the clock of the doses, after the first; concentrations above 0.

    Raises
    ------
    InputError
        No sample, one before the drug, one that is not above 0, or constants more than `FARTHEST` times off.
    """
    from scipy.optimize import least_squares

    minutes, measured = np.asarray(minutes, float), np.asarray(measured_mg_per_l, float)
    first = min((dose.start_min for dose in doses), default=np.inf)
    if not minutes.size or not np.all(minutes > first):
        raise InputError(f"plasma samples are needed after the drug was begun ({first:g} min); there are {minutes.size}"
                         + (f", the first at {minutes.min():g} min" if minutes.size else ""))  # fmt: skip
    if not np.all(np.isfinite(measured)) or not np.all(measured > 0):
        raise InputError("a plasma sample is not above 0; leave out samples below the limit of quantification")
    plasma = replace(model, ke0=None)

    def of(logs: NDArray) -> Compartments:
        clearance, volume = np.exp(np.append(logs, 0.0)[:2])
        return replace(plasma, volume_l=plasma.volume_l * volume, k10=plasma.k10 * clearance / volume)

    def residual(logs: NDArray) -> NDArray:
        return np.log(concentration(of(logs), doses, minutes)) - np.log(measured)

    limit = np.log(FARTHEST)
    for n in (2, 1) if minutes.size >= SAMPLES_OF_VOLUME else (1,):
        logs = least_squares(residual, np.zeros(n), bounds=(-limit, limit), x_scale=0.3).x
        if np.all(np.abs(logs) < 0.999 * limit):
            break
    else:
        ratio = float(np.exp(np.mean(-residual(np.zeros(1)))))
        raise InputError(
            f"the plasma samples are {ratio:.3g} times what the dose and published constants give, and no clearance "
            f"within {FARTHEST:g} times the published one explains them; see that they are in ng/ml, after the drug "
            "was begun, and that dose and weight are right"
        )
    return replace(of(logs), ke0=model.ke0, source=f"{model.source}; {minutes.size} plasma samples of the session")
