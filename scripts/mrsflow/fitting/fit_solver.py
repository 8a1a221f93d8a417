"""Variable projection with priors whose variances are estimated from the data, for one block or all of a session.

The posterior of all parameters given white noise and Gaussian priors is climbed by damped Gauss-Newton steps, the
linear parameters solved for at every step (Golub and Pereyra 2003, doi:10.1088/0266-5611/19/2/201). Variances of the
nuisance signals come from the evidence of the linearised model (MacKay 1992, doi:10.1162/neco.1992.4.3.415), which
chooses the effective dimension of the baseline. Amplitudes have no sign, and no prior but the soft constraint that a
session names: a weak metabolite without one is not biased.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from mrsflow.fitting.fit_model import Model
from mrsflow.fitting.nuisance import stacked

USUAL = {
    "baseline": (0.02, 6.0),
    "fine_baseline": (0.0, 0.0),
    "lipid": (0.002, 2.0),
    "water": (0.005, 2.0),
    "first_point": (0.012, 4.0),
}
"""Usual size of the nuisance signals of a good spectrum as part of its highest peak, and how many parameters' worth
that knowledge counts beside the data's: few, so that a bad spectrum shows what it has."""
STIFFNESS = 1e4
"""While a fit finds its place, own shifts and widths are held by their prior times this factor."""
FIRST_STEPS, STEPS, EVIDENCE_STEPS = 6, 60, 30
"""Most steps of finding the place, of the fit, and of these with new variances."""
TOLERANCE = 1e-4
"""A fit has ended when a step gains less (log posterior)."""
WIDEST_HZ, FARTHEST_HZ = 60.0, 15.0
"""Bounds of widths, and of own shifts and narrowings, which no spectrum in use reaches."""
BOUND_ROUNDS = 4
"""Times that a step is solved for with more parameters on their bounds."""
PRECISIONS = (1e-10, 1e8)
"""Bounds of an estimated precision (noise SD = 1)."""


@dataclass
class Group:
    """Parameters of one unknown variance: indices in the vector of all parameters and the current precision.

    `usual` is what is known beforehand: worth of so many parameters, of this variance.
    """

    indices: NDArray[np.intp]
    precision: float
    bounds: tuple[float, float] = PRECISIONS
    usual: tuple[float, float] = (0.0, 0.0)


@dataclass
class State:
    """A point of the fit: all parameters, and per block the parts of the model that depend on them."""

    z: NDArray[np.floating]
    objective: float
    signals: list[tuple]
    linear: list[NDArray[np.floating]]
    residual: list[NDArray[np.floating]]


@dataclass
class Session:
    """The spectra that are fitted together, and which parameters they share.

    Attributes
    ----------
    model : Model
    spectra : (B, P) complex
        Fitted points, divided by the noise SD.
    scale : (B) float
        1 / noise SD: brings the basis to the units of `spectra`.
    amplitude_map : (B·M, n) float
        From amplitude coefficients to the amplitudes of the blocks, block after block; identity: all free.
    fine : bool
        Whether the baseline may be as narrow as macromolecules; else that part of it is held at 0.
    expected, expected_precision : (M) and (M, M) float, optional
        Soft constraint on the amplitudes of each block: mean, and precision (0: none).
    steady_precision : (M) float, optional
        Soft constraint on the amplitudes of all blocks: precision of each about its mean over the blocks.
    caution : float
        The fit holds every prior this much more tightly (in variance) than what it describes varies.
    """

    model: Model
    spectra: NDArray[np.complexfloating]
    scale: NDArray[np.floating]
    amplitude_map: NDArray[np.floating]
    fine: bool = False
    expected: NDArray[np.floating] | None = None
    expected_precision: NDArray[np.floating] | None = None
    steady_precision: NDArray[np.floating] | None = None
    caution: float = 1.0
    maps: list = field(init=False)
    groups: dict[str, Group] = field(init=False)
    bounds: tuple[NDArray[np.floating], NDArray[np.floating]] = field(init=False)

    def __post_init__(self) -> None:
        model, n_blocks = self.model, len(self.spectra)
        self.n_amplitudes = self.amplitude_map.shape[1]
        m, n_shape, n_nuisance = len(model.names), model.shape.size, model.nuisance.columns.shape[1]
        if self.expected is None or self.expected_precision is None:
            self.expected, self.expected_precision = np.zeros(m), np.zeros((m, m))
        if self.steady_precision is None:
            self.steady_precision = np.zeros(m)
        own_shape = np.array([model.shape.phase0, model.shape.shift, model.shape.lorentz])
        own_nuisance = np.flatnonzero(model.nuisance.per_block)
        if n_blocks == 1:
            own_shape, own_nuisance = own_shape[:0], own_nuisance[:0]
        self.shape_at = self.n_amplitudes
        self.nuisance_at = self.shape_at + n_shape
        own_at = self.nuisance_at + n_nuisance
        n_own = own_shape.size + own_nuisance.size
        self.size = own_at + n_blocks * n_own
        local = m + n_shape + n_nuisance
        self.maps = []
        for block in range(n_blocks):
            mapping = sparse.lil_array((local, self.size))
            mapping[:m, : self.n_amplitudes] = self.amplitude_map[block * m : (block + 1) * m]
            shared = np.arange(n_shape + n_nuisance)
            mapping[m + shared, self.shape_at + shared] = 1.0
            at = own_at + block * n_own
            mapping[m + own_shape, at + np.arange(own_shape.size)] = 1.0
            mapping[m + n_shape + own_nuisance, at + own_shape.size + np.arange(own_nuisance.size)] = 1.0
            self.maps.append(sparse.csr_array(mapping))
        self._set_priors(own_at, n_own, own_shape, own_nuisance)
        self._set_bounds()
        nonlinear = np.zeros(self.size, dtype=bool)
        nonlinear[self.shape_at : self.nuisance_at] = True
        for block in range(n_blocks):
            nonlinear[own_at + block * n_own : own_at + block * n_own + own_shape.size] = True
        self.nonlinear, self.linear = np.flatnonzero(nonlinear), np.flatnonzero(~nonlinear)
        rows = np.r_[:m, m + n_shape : local]
        self.linear_maps = [mapping[rows][:, self.linear] for mapping in self.maps]

    def _set_priors(self, own_at: int, n_own: int, own_shape: NDArray, own_nuisance: NDArray) -> None:
        model, n_blocks = self.model, len(self.spectra)
        height = np.abs(self.spectra).max()
        first = np.arange(n_blocks)[:, np.newaxis] * n_own + own_at
        self.groups = {}
        for name, part in model.nuisance.groups.items():
            members = np.arange(part.start, part.stop)
            size, weight = USUAL[name]
            group = Group(self.nuisance_at + members, (0.1 * height) ** -2, usual=(weight, (size * height) ** 2))
            if name == "fine_baseline" and not self.fine:
                group = Group(group.indices, PRECISIONS[1], (PRECISIONS[1], PRECISIONS[1]))
            self.groups[name] = group
            own = np.flatnonzero(np.isin(own_nuisance, members)) + own_shape.size
            if own.size and n_blocks > 1:
                self.groups[f"{name} of blocks"] = Group((first + own).ravel(), (0.01 * height) ** -2)
        if n_blocks > 1:
            for k, (name, sd) in enumerate((("phase", 0.05), ("shift", 0.5), ("width", 0.3))):
                self.groups[f"{name} of blocks"] = Group((first + k).ravel(), sd**-2, (1e-3 / sd**2, 1e6 / sd**2))

    def _set_bounds(self) -> None:
        """Keep the widths where lines decay, and own shifts near."""
        shape = self.model.shape
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        own_low, own_high = (bound[self.shape_at : self.nuisance_at] for bound in (low, high))  # views
        own_low[[shape.lorentz, shape.gauss2]] = 0.0
        own_high[shape.lorentz], own_high[shape.gauss2] = WIDEST_HZ, WIDEST_HZ**2
        own_low[shape.broadenings], own_high[shape.broadenings] = -FARTHEST_HZ, WIDEST_HZ
        own_low[shape.shifts], own_high[shape.shifts] = -FARTHEST_HZ, FARTHEST_HZ
        self.bounds = (low, high)

    def prior(self, stiffness: float = 1.0) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Precision (n, n) of all parameters that is known beforehand, and its product with their means.

        That of own shapes is taken times `stiffness`.
        """
        matrix = np.zeros((self.size, self.size))
        shape = slice(self.shape_at, self.nuisance_at)
        matrix[shape, shape] = self.model.prior_precision(stiffness)
        for group in self.groups.values():
            matrix[group.indices, group.indices] = group.precision
        of_blocks = self.amplitude_map.reshape(len(self.spectra), -1, self.n_amplitudes)
        about_mean = of_blocks - of_blocks.mean(axis=0)
        weighted = self.expected_precision @ of_blocks
        amplitudes = slice(self.n_amplitudes)
        for one, other in ((of_blocks, weighted), (about_mean, self.steady_precision[:, np.newaxis] * about_mean)):
            matrix[amplitudes, amplitudes] += np.tensordot(one, other, axes=([0, 1], [0, 1]))
        right = np.zeros(self.size)
        right[amplitudes] = (self.expected @ weighted).sum(axis=0)
        return matrix, right

    def applied(self, stiffness: float = 1.0) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """`prior` as tightly as the fit holds it."""
        matrix, right = self.prior(stiffness)
        return self.caution * matrix, self.caution * right

    def local(self, z: NDArray, block: int) -> tuple[NDArray, NDArray, NDArray]:
        """Amplitudes, shape and nuisance coefficients of a block."""
        x = self.maps[block] @ z
        m = len(self.model.names)
        return x[:m], x[m : m + self.model.shape.size], x[m + self.model.shape.size :]


def project(session: Session, z: NDArray, prior: tuple[NDArray, NDArray]) -> State:
    """Solve for the linear parameters at the shape parameters of `z`."""
    model = session.model
    linear = session.linear
    matrix, by_mean = prior
    normal = matrix[np.ix_(linear, linear)]
    right = by_mean[linear]
    signals, designs, targets = [], [], []
    for block, (spectrum, scale) in enumerate(zip(session.spectra, session.scale, strict=True)):
        _, theta, _ = session.local(z, block)
        parts = tuple(scale * part for part in model.signals(theta))
        design = np.concatenate([stacked(parts[0].T), model.nuisance.columns], axis=1)
        target = stacked(spectrum * model.turn(theta))
        gram, by_target = design.T @ design, design.T @ target
        mapping = session.linear_maps[block]
        normal += mapping.T @ (mapping.T @ gram).T
        right += mapping.T @ by_target
        signals.append(parts)
        designs.append(design)
        targets.append(target)
    solution = _solve(normal, right)
    z = z.copy()
    z[linear] = solution
    local = [mapping @ solution for mapping in session.linear_maps]
    residual = [t - d @ x for t, d, x in zip(targets, designs, local, strict=True)]
    objective = 0.5 * (sum(r @ r for r in residual) + z @ matrix @ z) - by_mean @ z
    return State(z, float(objective), signals, designs, residual)


def normal_equations(session: Session, state: State) -> tuple[NDArray, NDArray]:
    """Gram matrix of the Jacobian of all blocks, and its product with the residuals."""
    model, m = session.model, len(session.model.names)
    gram = np.zeros((session.size, session.size))
    gradient = np.zeros(session.size)
    for block, (signals, design, residual) in enumerate(zip(state.signals, state.linear, state.residual, strict=True)):
        amplitudes, theta, nuisances = session.local(state.z, block)
        fitted = design @ np.concatenate([amplitudes, nuisances])
        half = fitted.size // 2
        by_shape = model.derivatives(theta, amplitudes, signals, fitted[:half] + 1j * fitted[half:])
        jacobian = np.concatenate([design[:, :m], by_shape, design[:, m:]], axis=1)
        own, by_residual = jacobian.T @ jacobian, jacobian.T @ residual
        mapping = session.maps[block]
        gram += mapping.T @ (mapping.T @ own).T
        gradient += mapping.T @ by_residual
    return gram, gradient


def climb(session: Session, z: NDArray, steps: int, stiffness: float = 1.0, evidence: int = 0) -> tuple[State, int]:
    """Climb the posterior from the shape parameters of `z`; the first `evidence` steps estimate variances too."""
    prior = session.applied(stiffness)
    state = project(session, z, prior)
    damping, small, settled = 1e-3, 0, evidence == 0
    for step in range(steps):
        gram, gradient = normal_equations(session, state)
        if not settled:
            settled = estimate_variances(session, gram, gradient + gram @ state.z) or step + 1 >= evidence
            prior = session.applied(stiffness)
            state = project(session, state.z, prior)
            gram, gradient = normal_equations(session, state)
        gradient = gradient + prior[1] - prior[0] @ state.z
        gram = gram + prior[0]
        gain = 0.0
        while damping < 1e8:
            damped = gram.copy()
            damped[session.nonlinear, session.nonlinear] *= 1 + damping
            candidate = project(session, _stepped(session, state.z, damped, gradient), prior)
            if candidate.objective <= state.objective + 1e-9:
                gain = state.objective - candidate.objective
                state, damping = candidate, max(damping / 5, 1e-9)
                break
            damping = max(5 * damping, 1e-3)
        small = small + 1 if gain < TOLERANCE else 0
        if settled and small >= 2:
            break
    return state, step + 1


def estimate_variances(session: Session, gram: NDArray, right: NDArray, rounds: int = 5) -> bool:
    """Improve the variances of the groups by the evidence of the linearised model; True when they have settled."""
    before = {name: group.precision for name, group in session.groups.items()}
    for _ in range(rounds):
        matrix, by_mean = session.prior()
        covariance = inverse(gram + matrix)
        mean = covariance @ (right + by_mean)
        for group in session.groups.values():
            size = group.indices.size
            determined = size - group.precision * covariance[group.indices, group.indices].sum()
            square = mean[group.indices] @ mean[group.indices]
            weight, variance = group.usual
            new = max(determined + weight, 1e-3) / max(square + weight * variance, 1e-12)
            group.precision = float(np.clip(new, *group.bounds))
    return all(abs(np.log(group.precision / before[name])) < 0.02 for name, group in session.groups.items())


def inverse(matrix: NDArray) -> NDArray[np.floating]:
    """Inverse of a positive definite matrix, scaled to unit diagonal first."""
    scale = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * scale * scale[:, np.newaxis]
    try:
        factor = linalg.cho_factor(scaled, lower=True, check_finite=False)
        return linalg.cho_solve(factor, np.diag(scale), check_finite=False) * scale[:, np.newaxis]
    except linalg.LinAlgError:
        return linalg.pinvh(scaled) * scale * scale[:, np.newaxis]


def _solve(matrix: NDArray, right: NDArray) -> NDArray[np.floating]:
    scale = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * scale * scale[:, np.newaxis]
    try:
        factor = linalg.cho_factor(scaled, lower=True, check_finite=False, overwrite_a=True)
        return scale * linalg.cho_solve(factor, scale * right, check_finite=False)
    except linalg.LinAlgError:
        return scale * (linalg.pinvh(matrix * scale * scale[:, np.newaxis]) @ (scale * right))


def _stepped(session: Session, z: NDArray, normal: NDArray, gradient: NDArray) -> NDArray[np.floating]:
    """Take a step in which a parameter that would leave its bounds moves onto them, and the others allow for that."""
    low, high = session.bounds
    free = np.ones(z.size, dtype=bool)
    step = np.zeros(z.size)
    for _ in range(BOUND_ROUNDS):
        step[free] = _solve(normal[np.ix_(free, free)], gradient[free] - normal[np.ix_(free, ~free)] @ step[~free])
        out = free & ((z + step < low) | (z + step > high))
        if not out.any():
            break
        step[out] = (np.clip(z + step, low, high) - z)[out]
        free &= ~out
    return np.clip(z + step, low, high)


def posterior(session: Session, gram: NDArray) -> NDArray[np.floating]:
    """Covariance of the errors of all parameters: noise, and what the fit holds back of what varies.

    Where it holds the priors as they are, that is the inverse Fisher information, the priors' included. Own shapes
    count with their whole spread also where the fit held them because the basis misses something.
    """
    matrix, _ = session.prior()
    inner = inverse(gram + session.caution * matrix)
    return inner @ (gram + session.caution**2 * matrix) @ inner


def effective_dimension(session: Session, gram: NDArray, names: tuple[str, ...]) -> float:
    """How many parameters of some groups the data determine (MacKay 1992): 0 to their number."""
    matrix, _ = session.applied()
    covariance = np.diag(inverse(gram + matrix))
    members = np.concatenate([session.groups[name].indices for name in names])
    return float(members.size - np.sum(np.diag(matrix)[members] * covariance[members]))


def rescaled(session: Session, factor: NDArray) -> Session:
    """Give the same session with noise SDs larger by `factor` (B); variances are estimated anew."""
    return replace(session, spectra=session.spectra / factor[:, np.newaxis], scale=session.scale / factor)
