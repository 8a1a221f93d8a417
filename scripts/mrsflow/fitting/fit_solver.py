"""Posterior of all parameters of a session, maximised with variances that are estimated from the data.

Given white noise and Gaussian priors the posterior is maximised by damped Gauss-Newton steps. Variances of the nuisance
signals, of what the basis lacks and of what varies between blocks come from the evidence of the linearised model
(MacKay 1992, doi:10.1162/neco.1992.4.3.415), which chooses the effective dimension of each. Amplitudes have no prior
but the soft constraints that a session names, and no sign but those of macromolecules and lipids: a weak metabolite is
not biased.

Parameters are local to a block (its amplitudes, shape and own nuisance signals) or shared by all; a step eliminates the
blocks one by one (Schur complement of the block-arrow normal equations), at a cost linear in their number.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from mrsflow.fitting.amounts import Amounts
from mrsflow.fitting.fit_model import Model
from mrsflow.fitting.nuisance import stacked

USUAL = {
    "baseline": (0.02, 6.0),
    "lipid": (0.002, 2.0),
    "water": (0.005, 2.0),
    "first_point": (0.012, 4.0),
    "glycine": (0.05, 2.0),
    "broad_discrepancy": (0.006, 9.0),
    "discrepancy": (0.006, 20.0),
}
"""Usual size of the nuisance signals of a good spectrum as part of its highest peak (of the multiplets' height at each
place for what the basis lacks), and how many parameters' worth that knowledge counts beside the data's: few, so that a
bad spectrum shows what it has."""
MULTIPLET, LEAST_MULTIPLET = 0.25, 0.05
"""Height of multiplets as part of the highest peak; and the least height that counts for what the basis lacks."""
START = {"baseline": 0.1, "lipid": 0.1, "water": 0.1, "first_point": 0.1, "discrepancy": 0.05}
"""Those that a fit takes for this large until it has estimated them: from above the evidence has one end. Where what
the basis lacks starts small, the broader signals can take it, and broad humps of metabolites with it (Glx -20 %)."""
USUAL_OF_BLOCKS = {
    "phase0": (0.05, 2.0), "phase1": (0.02, 2.0), "shift": (0.5, 2.0), "lorentz": (0.3, 2.0), "gauss2": (2.0, 2.0),
    "eddy": (0.2, 2.0), "slow_eddy": (0.1, 2.0),
}  # fmt: skip
"""Usual SD of the common shape parameters about their mean over a session's blocks (rad, Hz, Hz²), and its weight."""
CHANGES_WEIGHT = 6.0
"""Weight of what is usual of amounts about their mean over a session's blocks (`amounts.CHANGES`)."""
COUNTED = 0.66
"""Part of the priors' variance that counts in the errors of a spectrum fitted alone. Usual spreads are wide, so as to
hold for every scanner; on sets of known truth (``benchmarks/fit_truth.py``: main, paired, shapes, levels) the errors of
most ratios are 0.8 to 1.2 times those reported with this part, 0.6 to 1.0 times with all of it."""
STEPS, EVIDENCE_STEPS = 60, 25
"""Most steps of a fit, and of these with new variances."""
TOLERANCE = 1e-4
"""A fit has ended when a step gains less (log posterior)."""
SETTLED = 0.05
"""Variances have settled when none changes by more than this part."""
WIDEST_HZ, FARTHEST_HZ = 60.0, 15.0
"""Bounds of widths, and of own shifts and narrowings, which no spectrum in use reaches."""
BOUND_ROUNDS = 6
"""Times that a step is solved for with more parameters on their bounds."""
RIDGE = 1e-9
"""Relative precision that every parameter has at least, so that signals that cannot be told apart have large errors."""
PRECISIONS = (1e-10, 1e8)
"""Bounds of an estimated precision (noise SD = 1)."""


@dataclass
class Group:
    """Parameters of one unknown variance.

    Attributes
    ----------
    local, shared : (k) int or None
        Their places among the local and the shared parameters. With both, the local ones about the shared ones.
    usual : (variance, weight)
        What is known beforehand, worth so many parameters.
    relative : (k) or (k, k) float
        Precision of each, or of all together, relative to the group's.
    precision : float
    """

    local: NDArray[np.intp] | None
    shared: NDArray[np.intp] | None
    usual: tuple[float, float]
    relative: NDArray[np.floating]
    precision: float

    @property
    def members(self) -> NDArray[np.intp]:
        """Places of the parameters that have the variance."""
        return self.shared if self.local is None else self.local

    @property
    def matrix(self) -> NDArray[np.floating]:
        """Precision (k, k) relative to the group's."""
        return np.diag(self.relative) if self.relative.ndim == 1 else self.relative

    def add_to(self, matrix: NDArray, rows: NDArray[np.intp], columns: NDArray[np.intp], times: int = 1) -> None:
        """Add the precision, so many times, to a matrix in place."""
        at = (rows, columns) if self.relative.ndim == 1 else np.ix_(rows, columns)
        matrix[at] += times * self.precision * self.relative

    def values(self, local: NDArray, shared: NDArray) -> NDArray[np.floating]:
        """Take the parameters, (B, k) or (k), from the local (B, n_u) and shared (n_g) ones."""
        if self.local is None:
            return shared[self.shared]
        return local[:, self.local] if self.shared is None else local[:, self.local] - shared[self.shared]


@dataclass
class State:
    """A point of the fit: all parameters, and per block what the model is there."""

    local: NDArray[np.floating]
    shared: NDArray[np.floating]
    objective: float
    fids: list[NDArray] = field(default_factory=list)
    signals: list[NDArray] = field(default_factory=list)
    fitted: list[NDArray] = field(default_factory=list)
    residual: list[NDArray] = field(default_factory=list)


@dataclass
class Normal:
    """Block-arrow normal equations: (B, n_u, n_u), (B, n_u, n_g), (n_g, n_g), and their right sides."""

    local: NDArray[np.floating]
    mixed: NDArray[np.floating]
    shared: NDArray[np.floating]
    local_right: NDArray[np.floating]
    shared_right: NDArray[np.floating]


@dataclass
class Session:
    """The spectra that are fitted together, and which parameters they share.

    Shared are what physics holds: own widths and shifts of the signals (T2, temperature, pH), the baseline's shape but
    for its largest components, and what the basis lacks. Local are frequency, phase, line width and skew, which shim,
    motion and the BOLD effect change, each about the session's mean.

    Attributes
    ----------
    model : Model
    spectra : (B, P) complex
        Fitted points, in units of `unit`.
    weight : (B) float
        `unit` over the noise SD of each block.
    unit : float
        In the units of the data.
    terms : (B·M, n) float or None
        From coefficients to the amplitudes of the blocks, block after block; None: every amplitude is free.
    amounts : Amounts or None
    profile : (P) float or None
        Height of the metabolites, by which what the basis lacks is expected.
    prior_weight : float
        The fit holds every prior this much more tightly (in variance) than what it describes varies.
    stiff : (2M) float or None
        Own widths and shifts that the signals keep, of a basis that lacks nothing: enough to find a start. None: both
        are fitted.
    """

    model: Model
    spectra: NDArray[np.complexfloating]
    weight: NDArray[np.floating]
    unit: float
    terms: NDArray[np.floating] | None = None
    amounts: Amounts | None = None
    profile: NDArray[np.floating] | None = None
    prior_weight: float = 1.0
    stiff: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        model, m = self.model, len(self.model.names)
        self.n_blocks = len(self.spectra)
        several = self.n_blocks > 1
        kept = slice(None) if self.stiff is None else slice(model.nuisance.groups["broad_discrepancy"].start)
        self.columns = model.nuisance.columns[:, kept]
        self.own_nuisance = np.flatnonzero(model.nuisance.per_block[kept]) if several else np.zeros(0, int)
        n_amplitudes = m if self.terms is None else 0
        self.amplitudes = slice(0, n_amplitudes)
        self.common = slice(n_amplitudes, n_amplitudes + model.shape.n_common)
        self.n_local = self.common.stop + self.own_nuisance.size
        n_terms = 0 if self.terms is None else self.terms.shape[1]
        self.coefficients = slice(0, n_terms)
        changes = self.amounts.changes if self.amounts is not None and several and self.terms is None else {}
        self.unchanging = np.concatenate([np.zeros(0, int), *[one.members for one in changes.values()]])
        self.means = slice(n_terms, n_terms + (model.shape.n_common if several else 0))
        self.unchanging_means = slice(self.means.stop, self.means.stop + self.unchanging.size)
        self.own = slice(self.unchanging_means.stop, self.unchanging_means.stop + (2 * m if self.stiff is None else 0))
        self.nuisance = slice(self.own.stop, self.own.stop + self.columns.shape[1])
        self.n_shared = self.nuisance.stop
        self.nonlinear_local = np.zeros(self.n_local, dtype=bool)
        self.nonlinear_local[self.common] = True
        self.nonlinear_shared = np.zeros(self.n_shared, dtype=bool)
        self.nonlinear_shared[self.own] = True
        self._set_groups()
        self._set_bounds()
        self.constant = model.nuisance.gram[kept, kept]

    def _set_groups(self) -> None:
        model = self.model
        height = np.abs(self.spectra).max()
        self.groups: dict[str, Group] = {}

        def add(
            name: str, local: NDArray | None, shared: NDArray | None, sd: float, weight: float, relative: Any
        ) -> None:
            self.groups[name] = Group(local, shared, (sd**2, weight), relative, sd**-2)

        for name, part in model.nuisance.groups.items():
            if part.start >= self.columns.shape[1]:
                continue
            size, weight = USUAL[name]
            members = np.arange(part.start, part.stop) + self.nuisance.start
            relative = self.relative() if name == "discrepancy" else np.ones(members.size)
            add(name, None, members, size * height, weight, relative)
            if name in START:
                self.groups[name].precision = (START[name] * height) ** -2
            own = np.flatnonzero((self.own_nuisance >= part.start) & (self.own_nuisance < part.stop))
            if own.size:
                add(f"{name} of blocks", own + self.common.stop, None, 0.003 * height, 2.0, np.ones(own.size))
        if self.n_blocks == 1:
            return
        for k, (name, (sd, weight)) in enumerate(USUAL_OF_BLOCKS.items()):
            indices = np.array([self.common.start + k]), np.array([self.means.start + k])
            add(f"{name} of blocks", *indices, sd, weight, np.ones(1))
        start = self.unchanging_means.start
        for kind, one in self.amounts.changes.items() if self.unchanging.size else ():
            means = np.arange(start, start + one.members.size)
            add(f"{kind} of blocks", one.members, means, one.sd, CHANGES_WEIGHT, one.sd**2 * one.precision)
            start += one.members.size

    def relative(self) -> NDArray[np.floating]:
        """Precision of what the basis lacks at each place: by the height of the metabolites there.

        Singlets have no multiplet whose form a basis could miss; beyond `MULTIPLET` the height does not count.
        """
        model = self.model
        if self.profile is None:
            return np.ones(model.nuisance.discrepancy_ppm.size)
        there = np.interp(-model.nuisance.discrepancy_ppm, -model.ppm, self.profile) / self.profile.max()
        size = np.maximum(there / (1 + there / MULTIPLET), LEAST_MULTIPLET)
        return size**-2.0

    def _set_bounds(self) -> None:
        """Keep widths where lines decay, own shifts near, macromolecules and lipids positive."""
        shape, m = self.model.shape, len(self.model.names)
        self.low, self.high = np.full(self.n_local, -np.inf), np.full(self.n_local, np.inf)
        common_low, common_high = self.low[self.common], self.high[self.common]
        common_low[[shape.lorentz, shape.gauss2]] = 0.0
        common_high[shape.lorentz], common_high[shape.gauss2] = WIDEST_HZ, WIDEST_HZ**2
        self.shared_low, self.shared_high = np.full(self.n_shared, -np.inf), np.full(self.n_shared, np.inf)
        if self.stiff is None:
            self.shared_low[self.own] = -FARTHEST_HZ
            self.shared_high[self.own] = np.repeat([WIDEST_HZ, FARTHEST_HZ], m)
        if self.terms is None:
            self.low[self.amplitudes][self.model.broad] = 0.0
        else:  # a coefficient by which broad signals alone rise in every block
            only = ~np.any(self.terms.reshape(self.n_blocks, m, -1)[:, ~self.model.broad], axis=(0, 1))
            level = only & np.all(self.terms >= 0, axis=0) & (self.terms.sum(axis=0) >= self.n_blocks - 1e-9)
            self.shared_low[self.coefficients][level] = 0.0

    def amplitudes_of(self, local: NDArray, shared: NDArray, block: int) -> NDArray[np.floating]:
        """Amplitudes (M) of a block."""
        m = len(self.model.names)
        if self.terms is None:
            return local[block, :m]
        return self.terms[block * m : (block + 1) * m] @ shared[self.coefficients]

    def theta_of(self, local: NDArray, shared: NDArray, block: int) -> NDArray[np.floating]:
        """Shape parameters of a block, as `fit_model.Shape` has them."""
        return np.concatenate([local[block, self.common], shared[self.own] if self.stiff is None else self.stiff])

    def nuisance_of(self, local: NDArray, shared: NDArray, block: int) -> NDArray[np.floating]:
        """Coefficients of the nuisance signals of a block."""
        values = shared[self.nuisance].copy()
        values[self.own_nuisance] += local[block, self.common.stop :]
        return values

    def prior(self) -> Normal:
        """Precision of all parameters known beforehand, alike for all blocks, and its product with the means."""
        n_u, n_g, n_b = self.n_local, self.n_shared, self.n_blocks
        local, mixed, shared = np.zeros((n_u, n_u)), np.zeros((n_u, n_g)), np.zeros((n_g, n_g))
        right, shared_right = np.zeros(n_u), np.zeros(n_g)
        if self.stiff is None:
            shared[self.own, self.own] = self.model.own_precision()
        common = self.model.common_precision()
        if n_b > 1:
            shared[self.means, self.means] += np.diag(common)
        else:
            local[self.common, self.common] += np.diag(common)
        for group in self.groups.values():
            if group.local is not None:
                group.add_to(local, group.local, group.local)
            if group.shared is not None:
                group.add_to(shared, group.shared, group.shared, n_b if group.local is not None else 1)
            if group.local is not None and group.shared is not None:
                group.add_to(mixed, group.local, group.shared, -1)
        if self.amounts is not None:
            known = self.amounts.of_each(n_b)
            by_mean = known @ self.amounts.expected
            if self.terms is None:
                local[self.amplitudes, self.amplitudes] += known
                right[self.amplitudes] += by_mean
            else:
                maps = self.terms.reshape(n_b, -1, self.terms.shape[1])
                about_mean = maps - maps.mean(axis=0)
                unchanging = np.zeros_like(self.amounts.precision)
                for one in self.amounts.changes.values():
                    unchanging[np.ix_(one.members, one.members)] = one.precision
                for one, other in ((maps, known @ maps), (about_mean, unchanging @ about_mean)):
                    shared[self.coefficients, self.coefficients] += np.tensordot(one, other, axes=([0, 1], [0, 1]))
                shared_right[self.coefficients] += np.tensordot(maps, by_mean, axes=([1], [0])).sum(axis=0)
        return Normal(local, mixed, shared, right, shared_right)


def energy(prior: Normal, local: NDArray, shared: NDArray) -> float:
    """Negative logarithm of the prior at a point."""
    total = 0.5 * np.sum((local @ prior.local) * local) + np.sum((local @ prior.mixed) @ shared)
    total += 0.5 * shared @ prior.shared @ shared - local.sum(axis=0) @ prior.local_right
    return float(total - shared @ prior.shared_right)


def evaluate(session: Session, local: NDArray, shared: NDArray, prior: Normal) -> State:
    """Compute the model at a point."""
    model = session.model
    state = State(local, shared, 0.0)
    squares = 0.0
    for block, spectrum in enumerate(session.spectra):
        theta = session.theta_of(local, shared, block)
        fids = model.shaped(theta) / session.unit
        signals = model._spectra(fids)
        smooth = session.columns @ session.nuisance_of(local, shared, block)
        half = spectrum.size
        fitted = session.amplitudes_of(local, shared, block) @ signals + smooth[:half] + 1j * smooth[half:]
        residual = spectrum * model.phase_factor(theta) - fitted
        state.fids.append(fids)
        state.signals.append(signals)
        state.fitted.append(fitted)
        state.residual.append(residual)
        squares += session.weight[block] ** 2 * np.vdot(residual, residual).real
    state.objective = 0.5 * squares + session.prior_weight * energy(prior, local, shared)
    return state


def normal_equations(session: Session, state: State) -> Normal:
    """Linearise the data alone at a point; the right sides are those of a step."""
    model, m = session.model, len(session.model.names)
    n_common, columns = model.shape.n_common, session.columns
    n_u, n_g, n_b = session.n_local, session.n_shared, session.n_blocks
    found = Normal(np.zeros((n_b, n_u, n_u)), np.zeros((n_b, n_u, n_g)), np.zeros((n_g, n_g)), np.zeros((n_b, n_u)),
                   np.zeros(n_g))  # fmt: skip
    n_variable = m + n_common + session.own.stop - session.own.start
    to_local = np.concatenate([np.arange(m + n_common), n_variable + session.own_nuisance])
    to_shared = np.arange(m + n_common, n_variable + columns.shape[1])
    shared_at = slice(session.own.start, session.nuisance.stop)
    gram = np.empty((n_variable + columns.shape[1],) * 2)
    gram[n_variable:, n_variable:] = session.constant
    for block in range(n_b):
        amplitudes = session.amplitudes_of(state.local, state.shared, block)
        common, own = model.derivatives(amplitudes, state.fids[block], state.fitted[block])
        shapes = (common, own) if session.stiff is None else (common,)
        variable = np.concatenate([stacked(state.signals[block].T), *shapes], axis=1)
        residual = stacked(state.residual[block])
        weight = session.weight[block] ** 2
        gram[:n_variable, :n_variable] = variable.T @ variable
        gram[:n_variable, n_variable:] = variable.T @ columns
        gram[n_variable:, :n_variable] = gram[:n_variable, n_variable:].T
        right = np.concatenate([residual @ variable, residual @ columns]) * weight
        if session.terms is None:
            found.local[block] = weight * gram[np.ix_(to_local, to_local)]
            found.mixed[block][:, shared_at] = weight * gram[np.ix_(to_local, to_shared)]
            found.local_right[block] = right[to_local]
        else:
            mapping, indices = session.terms[block * m : (block + 1) * m], to_local[m:]
            found.local[block] = weight * gram[np.ix_(indices, indices)]
            found.mixed[block][:, shared_at] = weight * gram[np.ix_(indices, to_shared)]
            found.mixed[block][:, session.coefficients] = weight * gram[indices, :m] @ mapping
            found.local_right[block] = right[indices]
            found.shared[session.coefficients, session.coefficients] += weight * mapping.T @ gram[:m, :m] @ mapping
            across = weight * mapping.T @ gram[:m, to_shared]
            found.shared[session.coefficients, shared_at] += across
            found.shared[shared_at, session.coefficients] += across.T
            found.shared_right[session.coefficients] += mapping.T @ right[:m]
        found.shared[shared_at, shared_at] += weight * gram[np.ix_(to_shared, to_shared)]
        found.shared_right[shared_at] += right[to_shared]
    return found


def with_prior(weight: float, data: Normal, prior: Normal, state: State | None = None) -> Normal:
    """Add the prior, held so tightly (in variance), to the normal equations of a step from `state` (None: from 0)."""
    c = weight
    local_right = data.local_right + c * prior.local_right
    shared_right = data.shared_right + c * prior.shared_right
    if state is not None:
        local_right = local_right - c * (state.local @ prior.local + prior.mixed @ state.shared)
        shared_right = shared_right - c * (prior.shared @ state.shared + state.local.sum(axis=0) @ prior.mixed)
    return Normal(
        data.local + c * prior.local, data.mixed + c * prior.mixed, data.shared + c * prior.shared, local_right,
        shared_right,
    )  # fmt: skip


class Factor:
    """Block-arrow matrix, factorised: blocks first, then the Schur complement of what they share.

    Raises `numpy.linalg.LinAlgError` where it is not positive definite.
    """

    def __init__(self, normal: Normal) -> None:
        self.scale = 1 / np.sqrt(np.diagonal(normal.local, axis1=1, axis2=2))
        self.shared_scale = 1 / np.sqrt(np.diagonal(normal.shared))
        scaled = normal.local * self.scale[:, :, None] * self.scale[:, None, :]
        indices = np.arange(scaled.shape[1])
        scaled[:, indices, indices] += RIDGE
        self.lower = [_cholesky(block) for block in scaled]
        mixed = normal.mixed * self.scale[:, :, None] * self.shared_scale
        self.across = np.stack([_triangular(low, part) for low, part in zip(self.lower, mixed, strict=True)])
        schur = normal.shared * (self.shared_scale * self.shared_scale[:, None])
        rows = self.across.reshape(-1, schur.shape[0])
        schur -= rows.T @ rows
        self.schur = _cholesky(schur)

    def solve(self, local: NDArray, shared: NDArray) -> tuple[NDArray, NDArray]:
        """Solve for right sides (B, n_u) and (n_g)."""
        half = np.stack([_triangular(low, r) for low, r in zip(self.lower, local * self.scale, strict=True)])
        right = shared * self.shared_scale - np.einsum("bij,bi->j", self.across, half)
        found = _triangular(self.schur, _triangular(self.schur, right), transposed=True)
        rest = half - self.across @ found
        ours = np.stack([_triangular(low, r, transposed=True) for low, r in zip(self.lower, rest, strict=True)])
        return ours * self.scale, found * self.shared_scale

    def shared_covariance(self) -> NDArray[np.floating]:
        """Inverse of what is shared: (n_g, n_g)."""
        return _inverse_of(self.schur) * self.shared_scale * self.shared_scale[:, None]

    def covariance(self) -> tuple[NDArray, NDArray, NDArray]:
        """Inverse: of each block (B, n_u, n_u), blocks with shared (B, n_u, n_g), shared (n_g, n_g)."""
        shared = _inverse_of(self.schur)
        gain = np.stack(
            [_triangular(low, part, transposed=True) for low, part in zip(self.lower, self.across, strict=True)]
        )
        mixed = -gain @ shared
        local = np.stack([_inverse_of(low) for low in self.lower]) - mixed @ np.swapaxes(gain, 1, 2)
        s, t = self.scale, self.shared_scale
        self.gain = gain * s[:, :, None] / t
        return local * s[:, :, None] * s[:, None, :], mixed * s[:, :, None] * t, shared * t * t[:, None]


def _cholesky(matrix: NDArray) -> NDArray[np.floating]:
    lower, failed = linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError("not positive definite")
    return lower


def _triangular(lower: NDArray, right: NDArray, transposed: bool = False) -> NDArray[np.floating]:
    return linalg.lapack.dtrtrs(lower, right, lower=1, trans=int(transposed))[0]


def _inverse_of(lower: NDArray) -> NDArray[np.floating]:
    """Inverse of the matrix with this Cholesky factor."""
    half = linalg.lapack.dpotri(lower, lower=1)[0]  # the factor is clean: zero above the diagonal
    whole = half + half.T
    whole[np.diag_indices_from(whole)] /= 2
    return whole


def step_within_bounds(
    session: Session, state: State, normal: Normal, frozen: NDArray | None = None, frozen_shared: NDArray | None = None
) -> State:
    """Take a step; a parameter that would leave its bounds moves onto them and the others allow for that.

    One on its bounds that the gradient pushes outwards stays there (Bertsekas 1982, doi:10.1137/0320018); `frozen`
    (n_u) and `frozen_shared` (n_g) do not move at all.
    """
    n_b = session.n_blocks
    fixed = _pushed_out(state.local, normal.local_right, session.low, session.high)
    fixed_shared = _pushed_out(state.shared, normal.shared_right, session.shared_low, session.shared_high)
    if frozen is not None:
        fixed, fixed_shared = fixed | frozen, fixed_shared | frozen_shared
    step, shared_step = np.zeros((n_b, session.n_local)), np.zeros(session.n_shared)
    for _ in range(BOUND_ROUNDS):
        found, found_shared = Factor(_reduced(normal, fixed, fixed_shared, step, shared_step)).solve(
            *_right_of(normal, fixed, fixed_shared, step, shared_step)
        )
        step, shared_step = np.where(fixed, step, found), np.where(fixed_shared, shared_step, found_shared)
        out = ~fixed & ((state.local + step < session.low) | (state.local + step > session.high))
        target = state.shared + shared_step
        out_shared = ~fixed_shared & ((target < session.shared_low) | (target > session.shared_high))
        if not (out.any() or out_shared.any()):
            break
        step = np.where(out, np.clip(state.local + step, session.low, session.high) - state.local, step)
        clipped = np.clip(target, session.shared_low, session.shared_high) - state.shared
        shared_step = np.where(out_shared, clipped, shared_step)
        fixed, fixed_shared = fixed | out, fixed_shared | out_shared
    local = np.clip(state.local + step, session.low, session.high)
    return State(local, np.clip(state.shared + shared_step, session.shared_low, session.shared_high), np.inf)


def _pushed_out(values: NDArray, right: NDArray, low: NDArray, high: NDArray) -> NDArray[np.bool_]:
    return ((values <= low) & (right < 0)) | ((values >= high) & (right > 0))


def _reduced(normal: Normal, fixed: NDArray, fixed_shared: NDArray, step: NDArray, shared_step: NDArray) -> Normal:
    if not fixed.any() and not fixed_shared.any():
        return normal
    free, free_shared = (~fixed).astype(float), (~fixed_shared).astype(float)
    local = normal.local * free[:, :, None] * free[:, None, :]
    indices = np.arange(fixed.shape[1])
    local[:, indices, indices] += fixed
    shared = normal.shared * free_shared * free_shared[:, None] + np.diag(fixed_shared.astype(float))
    mixed = normal.mixed * free[:, :, None] * free_shared
    return Normal(local, mixed, shared, normal.local_right, normal.shared_right)


def _right_of(
    normal: Normal, fixed: NDArray, fixed_shared: NDArray, step: NDArray, shared_step: NDArray
) -> tuple[NDArray, NDArray]:
    """Right sides, less what the fixed parameters' steps account for."""
    known, known_shared = np.where(fixed, step, 0.0), np.where(fixed_shared, shared_step, 0.0)
    right = normal.local_right - np.einsum("bij,bj->bi", normal.local, known) - normal.mixed @ known_shared
    shared = normal.shared_right - normal.shared @ known_shared - np.einsum("bij,bi->j", normal.mixed, known)
    return np.where(fixed, step, right), np.where(fixed_shared, shared_step, shared)


def maximise(
    session: Session,
    local: NDArray,
    shared: NDArray,
    steps: int = STEPS,
    evidence: int = 0,
    expect: Callable[[Session, State], None] | None = None,
) -> tuple[State, int]:
    """Climb the posterior from a point; the first `evidence` steps estimate variances too.

    Amplitudes that are all zero are solved for first: without them no shape makes a difference.

    Parameters
    ----------
    session : Session
        Its variances and weights are improved in place.
    local, shared : (B, n_u) and (n_g) float
    expect : callable, optional
        Renews what the session expects by the fit so far, before its variances are estimated.
    """
    prior = session.prior()
    known = np.any(local[:, session.amplitudes]) or np.any(shared[session.coefficients])
    state = (evaluate if known else linear_solution)(session, local, shared, prior)
    damping, settled = 1e-3, evidence == 0
    done = 0
    for done in range(1, steps + 1):
        data = normal_equations(session, state)
        if not settled:
            if expect is not None:
                expect(session, state)
                prior = session.prior()
            settled = estimate_variances(session, data, state, prior) or done >= evidence
            prior = session.prior()
            state.objective = _objective(session, state, prior)
        normal = with_prior(session.prior_weight, data, prior, state)
        gain = 0.0
        while damping < 1e8:
            candidate = _proposed(session, state, normal, damping, prior)
            if candidate is not None and candidate.objective <= state.objective + 1e-9:
                gain = state.objective - candidate.objective
                state, damping = candidate, max(damping / 5, 1e-9)
                break
            damping = max(5 * damping, 1e-3)
        if settled and gain < TOLERANCE:
            break
    return state, done


def _objective(session: Session, state: State, prior: Normal) -> float:
    squares = [w**2 * np.vdot(r, r).real for w, r in zip(session.weight, state.residual, strict=True)]
    return 0.5 * float(np.sum(squares)) + session.prior_weight * energy(prior, state.local, state.shared)


def _proposed(session: Session, state: State, normal: Normal, damping: float, prior: Normal) -> State | None:
    damped = replace(normal, local=normal.local.copy(), shared=normal.shared.copy())
    indices, shared_indices = np.flatnonzero(session.nonlinear_local), np.flatnonzero(session.nonlinear_shared)
    damped.local[:, indices, indices] *= 1 + damping
    damped.shared[shared_indices, shared_indices] *= 1 + damping
    try:
        moved = step_within_bounds(session, state, damped)
    except np.linalg.LinAlgError:
        return None
    return evaluate(session, moved.local, moved.shared, prior)


def linear_solution(session: Session, local: NDArray, shared: NDArray, prior: Normal) -> State:
    """Solve for the linear parameters at the shape parameters of a point."""
    state = evaluate(session, local, shared, prior)
    normal = with_prior(session.prior_weight, normal_equations(session, state), prior, state)
    moved = step_within_bounds(session, state, normal, session.nonlinear_local, session.nonlinear_shared)
    return evaluate(session, moved.local, moved.shared, prior)


def estimate_variances(session: Session, data: Normal, state: State, prior: Normal) -> bool:
    """Improve the variances of the groups by the evidence of the linearised model; True when they have settled."""
    at = Normal(data.local, data.mixed, data.shared, *_total_right(data, state))
    factor = Factor(with_prior(1.0, at, prior))
    mean, shared_mean = factor.solve(*_with_means(at, prior))
    nothing = np.zeros((0, 0, 0))
    covariance = factor.covariance() if session.n_blocks > 1 else (nothing, nothing, factor.shared_covariance())
    settled = True
    for group in session.groups.values():
        values, (variance, weight) = group.values(mean, shared_mean), group.usual
        trace, square = _posterior_trace(group, covariance), np.sum((values @ group.matrix) * values)
        new = max(values.size - group.precision * trace + weight, 1e-3) / max(square + weight * variance, 1e-12)
        new = float(np.clip(new, *PRECISIONS))
        settled &= bool(abs(np.log(new / group.precision)) < SETTLED)
        group.precision = new
    return settled


def _total_right(data: Normal, state: State) -> tuple[NDArray, NDArray]:
    """Right sides of the linear model for the parameters themselves instead of a step."""
    local = np.einsum("bij,bj->bi", data.local, state.local) + data.mixed @ state.shared + data.local_right
    shared = data.shared @ state.shared + np.einsum("bij,bi->j", data.mixed, state.local) + data.shared_right
    return local, shared


def _with_means(data: Normal, prior: Normal) -> tuple[NDArray, NDArray]:
    return data.local_right + prior.local_right, data.shared_right + prior.shared_right


def _posterior_trace(group: Group, covariance: tuple[NDArray, NDArray, NDArray]) -> float:
    """Trace of the posterior covariance of a group's parameters, by their relative precision."""
    local, mixed, shared = covariance
    within = 0.0
    if group.shared is not None:
        within = shared[np.ix_(group.shared, group.shared)]
    if group.local is not None:
        within = within + local[np.ix_(range(len(local)), group.local, group.local)]
    if group.local is not None and group.shared is not None:
        across = mixed[np.ix_(range(len(mixed)), group.local, group.shared)]
        within = within - across - np.swapaxes(across, 1, 2)
    if group.relative.ndim == 1:
        return float(np.sum(np.diagonal(within, axis1=-2, axis2=-1) * group.relative))
    return float(np.sum(within * group.relative))


def misfit(session: Session, state: State, data: Normal, prior: Normal) -> NDArray[np.floating]:
    """Residual SD of each block over what its weight says, by the degrees of freedom that are left: (B)."""
    squares = [w**2 * np.vdot(r, r).real for w, r in zip(session.weight, state.residual, strict=True)]
    each = 2 * session.spectra.shape[1]
    used = effective_number(session, data, prior) / session.n_blocks
    return np.sqrt(np.array(squares) / max(each - used, 0.2 * each))


def effective_number(session: Session, data: Normal, prior: Normal, names: tuple[str, ...] = ()) -> float:
    """How many parameters the data determine (MacKay 1992): all, or those of some groups."""
    factor = Factor(with_prior(session.prior_weight, data, prior))
    if names:
        total, shared = 0.0, factor.shared_covariance()
        for group in (session.groups[name] for name in names):
            variances = shared[group.shared, group.shared]
            total += group.shared.size - session.prior_weight * np.sum(group.precision * group.relative * variances)
        return float(total)
    local, mixed, shared = factor.covariance()
    trace = np.sum(local * prior.local) + 2 * np.sum(mixed * prior.mixed) + np.sum(shared * prior.shared)
    return float(session.n_blocks * session.n_local + session.n_shared - session.prior_weight * trace)


def amplitude_covariance(session: Session, data: Normal, prior: Normal) -> tuple[NDArray, NDArray]:
    """Covariance of the errors of all amplitudes, (B·M, B·M), and of what they are composed of, (n, n).

    The errors are noise, and what the fit holds back of what varies (`COUNTED`): where it holds the priors as they are,
    that is the inverse Fisher information, the priors' included.
    """
    n_b, m = session.n_blocks, len(session.model.names)
    if session.prior_weight != 1:
        covariance = _weighted_prior_covariance(session, data, prior)
        n = m if session.terms is None else session.terms.shape[1]
        at = 0 if session.terms is None else session.n_local
        own = covariance[at : at + n, at : at + n]
        return (own, own) if session.terms is None else (session.terms @ own @ session.terms.T, own)
    factor = Factor(with_prior(session.prior_weight, data, prior))
    local, _, shared = factor.covariance()
    if session.terms is not None:
        own = shared[session.coefficients, session.coefficients]
        return session.terms @ own @ session.terms.T, own
    gain = factor.gain[:, :m]
    joint = np.einsum("big,gh,cjh->bicj", gain, shared, gain, optimize=True)
    for block in range(n_b):
        joint[block, :, block] = local[block, :m, :m]
    joint = joint.reshape(n_b * m, n_b * m)
    return joint, joint


def _weighted_prior_covariance(session: Session, data: Normal, prior: Normal) -> NDArray[np.floating]:
    """Covariance of the errors of all parameters of one block that the fit holds more tightly than they vary."""

    def dense(local: NDArray, mixed: NDArray, shared: NDArray) -> NDArray:
        return np.block([[local, mixed], [mixed.T, shared]])

    gram = dense(data.local[0], data.mixed[0], data.shared)
    known = dense(prior.local, prior.mixed, prior.shared)
    inner = inverse(gram + session.prior_weight * known)
    return inner @ (gram + COUNTED * session.prior_weight**2 * known) @ inner


def inverse(matrix: NDArray) -> NDArray[np.floating]:
    """Inverse of a positive definite matrix, scaled to unit diagonal first."""
    scale = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * scale * scale[:, np.newaxis]
    try:
        return _inverse_of(_cholesky(scaled)) * scale * scale[:, np.newaxis]
    except np.linalg.LinAlgError:
        return linalg.pinvh(scaled) * scale * scale[:, np.newaxis]
