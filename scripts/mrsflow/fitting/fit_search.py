"""What a fit leaves, searched for signals that the basis lacks; whether they make its amounts doubtful."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrsflow.fitting import fit_solver, unknown_signals
from mrsflow.fitting.fit_solver import Normal, Session, State
from mrsflow.fitting.nuisance import stacked
from mrsflow.fitting.unknown_signals import Finding

SIGNIFICANT, HIGH = 6.0, 0.08
"""A signal makes a fit doubtful when it stands this many SD out of what may be left, and is this part of the highest
peak. What simulated basis sets miss in the signals of vendors and in measured macromolecules (reference/foreign: levels
and noise) is at most 7 % of it, at any SNR; 2 mM of pyruvate, 5 mM of ethanol or of mannitol are 9 to 18 %."""
MOVED, LISTED = 0.5, 3
"""Metabolites are listed that it has moved by at least so many of their SD, and how many of them."""


def search(session: Session, state: State, linewidth_hz: float) -> list[Finding]:
    """Find signals in the residual of a spectrum.

    Their heights are parts of the spectrum's highest peak, and each says how far it has moved the amplitudes (M).

    A substance is in the voxel for the whole of a session: there it is sought in the fit of the mean spectrum, whose
    noise is least.

    Parameters
    ----------
    session, state : a fit of one spectrum, its amplitudes free
    linewidth_hz : float
        FWHM of a singlet.

    Notes
    -----
    What the basis lacks is part of the model, of a size that is learnt: a strong signal that is unknown makes it large
    and vanishes in it. The search therefore asks what would be left if it were of usual size, by one linear step of the
    fit; parameters on their bounds stay there.
    """
    model, m = session.model, len(session.model.names)
    normal = fit_solver.normal_equations(session, state)
    usual = replace(session)
    for name, group in usual.groups.items():
        learnt = session.groups[name].precision
        group.precision = max(learnt, 1 / group.usual[0]) if "discrepancy" in name else learnt
    parameters = np.concatenate([state.local[0], state.shared])
    low, high = (
        np.concatenate(pair) for pair in ((session.low, session.shared_low), (session.high, session.shared_high))
    )
    free = (parameters > low) & (parameters < high)
    before = fit_solver.with_prior(session.prior_weight, normal, session.prior(), state)
    after = fit_solver.with_prior(usual.prior_weight, normal, usual.prior(), state)
    precision = _dense(after)[np.ix_(free, free)]
    covariance = fit_solver.inverse(precision)
    step = covariance @ np.concatenate([after.local_right[0], after.shared_right])[free]
    weight = session.weight[0]
    jacobian = weight * _jacobian(session, state)[:, free]
    left = weight * stacked(state.residual[0]) - jacobian @ step
    half = left.size // 2
    given = (linewidth_hz, model.spectrometer_frequency, model.names, jacobian, covariance)
    found = unknown_signals.find(left[:half] + 1j * left[half:], model.ppm, 1.0, *given)
    highest = weight * np.abs(state.fitted[0].real).max()
    moved = np.zeros((len(found), free.size))
    if found:  # with the learnt sizes instead of the usual ones
        at_usual = np.array([one.moved for one in found]) @ precision
        moved[:, free] = np.linalg.solve(_dense(before)[np.ix_(free, free)], at_usual.T).T
    return [replace(one, height=one.height / highest, moved=by[:m]) for one, by in zip(found, moved, strict=True)]


def _jacobian(session: Session, state: State) -> NDArray[np.floating]:
    """Differentiate (2P, n) the model of a session of one spectrum by its local, then its shared parameters."""
    n_u = session.n_local
    amplitudes = session.amplitudes_of(state.local, state.shared, 0)
    common, own = session.model.derivatives(amplitudes, state.fids[0], state.fitted[0])
    jacobian = np.zeros((len(common), n_u + session.n_shared))
    jacobian[:, session.amplitudes] = stacked(state.signals[0].T)
    jacobian[:, session.common] = common
    jacobian[:, n_u:][:, session.own] = own
    jacobian[:, n_u:][:, session.nuisance] = session.columns
    return jacobian


def _dense(normal: Normal) -> NDArray[np.floating]:
    """Matrix (n, n) of the normal equations of one spectrum."""
    return np.block([[normal.local[0], normal.mixed[0]], [normal.mixed[0].T, normal.shared]])


def doubt(findings: list[Finding], names: tuple[str, ...], broad: NDArray[np.bool_], sd: NDArray[np.floating]) -> str:
    """Why signals make a block doubtful, with the metabolites that they move; empty where they do not.

    Parameters
    ----------
    findings : list of Finding
        Of `search`.
    names, broad, sd : (M)
        Signals of the basis, whether they are macromolecules or lipids, and the SD of their amplitudes in a block.
    """
    reasons = []
    for one in findings:
        if one.significance < SIGNIFICANT or one.height < HIGH:
            continue
        by = np.where(~broad & (sd > 0), one.moved / np.where(sd > 0, sd, 1), 0.0)
        most = sorted(np.flatnonzero(np.abs(by) >= MOVED), key=lambda k: -abs(by[k]))[:LISTED]
        listed = ", ".join(f"{names[k]} by {by[k]:+.1f} SD" for k in most)
        reasons.append(f"signal that the basis lacks: {one}{', which moves ' + listed if listed else ''}")
    return "; ".join(reasons)


def told(findings: list[Finding]) -> str:
    """Name the signals that stand well out of the residual, high or not."""
    return "; ".join(str(one) for one in findings if one.significance >= SIGNIFICANT)
