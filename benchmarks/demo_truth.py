"""A finished demo beside its truth: levels, changes from baseline, the arm difference, and the Cramér-Rao floor.

Part of ``whole_chain.py``: ``python benchmarks/whole_chain.py --demo demo`` after ``make demo``.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.basis_sets.basis import Basis
from mrsflow.fitting import uncertainty
from mrsflow.simulation.simulate import CONCENTRATIONS_MM, MACROMOLECULES_MM, metabolite_signals
from mrsflow.statistics import contrasts, group, outcomes
from mrsflow.statistics.plan import plan_of
from mrsflow.study import cohort, layout
from mrsflow.study import config as study_config
from mrsflow.study.trial import TrialData

OUTCOME = "Glx/tNAA"
TRUE_COLUMNS = {"Glx/tNAA": ("glx_mM", "tnaa_mM"), "Glx/tCr": ("glx_mM", "tcr_mM"), "tCr/tNAA": ("tcr_mM", "tnaa_mM")}
"""Ratios, and the columns of the truth that they are made of."""
LEVEL_PERCENT, CHANGE_PERCENT, SE_FACTOR = 3.0, 3.0, 1.4
FITTED_PPM, LORENTZIAN_HZ = (0.5, 4.2), 3.5
KEYS = ["participant", "session", "block"]
KNOWN = {
    "free": "nothing known",
    "shape": "macromolecules known but for their amount",
    "unchanging": "macromolecules the same in all blocks (counts for the change only)",
}
"""What may be known of macromolecules: of one signal each nothing; their sum but for its amount; they do not change."""


def evaluate(demo: Path) -> None:
    """Print the figures of a finished demo.

    Parameters
    ----------
    demo : Path
        Folder of `simulate_trial` with ``truth``, ``config`` and finished ``results``.
    """
    demo = demo.resolve()
    truth = pd.read_csv(demo / "truth" / "blocks.tsv", sep="\t", dtype=dict.fromkeys(KEYS, str))
    with _inside(demo.parent):
        config = study_config.load(str(demo / "config" / "config.yaml"))
        located, _, study = group.find(config)
        everyone, _ = group.load(config, study, located)
        floors = floor_of(everyone, study.samples, Path(config["output"]), located, truth)
    for key in KEYS:
        everyone.blocks[key] = everyone.blocks[key].astype(str)
    print_levels(everyone, truth, located)
    plan = plan_of(config)
    found = outcomes.prepare(everyone, OUTCOME)
    values = everyone.blocks[KEYS].merge(truth[[*KEYS, "glx_tnaa"]], on=KEYS, how="left")["glx_tnaa"].to_numpy()
    known = outcomes.prepare(replace(everyone, blocks=everyone.blocks.assign(**{OUTCOME: values})), OUTCOME)
    print_changes(found, known, floors)
    estimate, exact = (
        contrasts.compare(plan, rows, plan.contrasts[0], all_analyses=False)[0] for rows in (found, known)
    )
    for key in ("estimate", "se"):
        of_fits, of_truth = getattr(estimate, key), getattr(exact, key)
        print(f"  arm difference, {key:8s} {of_fits:+.4f}; of the true values {of_truth:+.4f}")
    factor = estimate.se / exact.se
    print(
        f"  standard error over that of the true values: {factor:.2f} (limit {SE_FACTOR}){_mark(factor <= SE_FACTOR)}"
    )
    true = json.loads((demo / "truth" / "trial.json").read_text())["arm_difference"]["sample"]
    print(f"  simulated arm difference {true:+.4f}; interval {estimate.ci_low:+.4f} to {estimate.ci_high:+.4f}")


def print_levels(everyone: TrialData, truth: pd.DataFrame, located: list[cohort.SessionFiles]) -> None:
    """Print the bias of the levels of ratios over the blocks in use, by vendor and in all."""
    names = ("block", "spectrum", "metabolite", *cohort.MEASURES)
    fits = cohort.read_tables(located, layout.FIT, names, {"Glx", "tNAA", "tCr"})
    amounts = fits.pivot_table(index=["key", "block"], columns="metabolite", values="per_tcr")
    used = everyone.blocks[~everyone.blocks["excluded"]]
    table = used[["key", *KEYS]].merge(amounts.reset_index(), on=["key", "block"]).merge(truth, on=KEYS)
    print(f"  level bias +/- SE % (limit {LEVEL_PERCENT:g}), {len(table)} blocks; by vendor")
    for name, (above, below) in TRUE_COLUMNS.items():
        part, whole = name.split("/")
        error = 100 * (table[part] / table[whole] / (table[above] / table[below]) - 1)
        people = error.groupby(table["participant"]).mean()
        each = ", ".join(f"{vendor} {value:+.1f}" for vendor, value in error.groupby(table["vendor"]).mean().items())
        met = _mark(abs(error.mean()) <= LEVEL_PERCENT)
        print(f"    {name:9s} {error.mean():+5.1f} +/- {people.sem():.1f}{met}   {each}")


def print_changes(found: outcomes.Rows, known: outcomes.Rows, floors: pd.DataFrame) -> None:
    """Print the SD of the error of a session's change from baseline, in %, beside the floor."""
    keys = ["participant", "session"]
    both = found.sessions.merge(known.sessions, on=keys, suffixes=("", "_true"))
    change, true = (100 * both[f"change{end}"] / both[f"bl{end}"] for end in ("", "_true"))
    error = change - true
    print(
        f"  change from baseline of a session: SD of error {error.std():.2f} % (limit {CHANGE_PERCENT:g})"
        f"{_mark(error.std() <= CHANGE_PERCENT)}, mean {error.mean():+.2f} +/- {error.sem():.2f} %; "
        f"SD of the true change {true.std():.2f} %"
    )
    for column, known in KNOWN.items():
        square = floors[column] ** 2
        variances = square.groupby([floors["participant"], floors["session"], floors["phase"] == "baseline"])
        of_change = (variances.mean() / variances.size()).groupby(level=["participant", "session"]).sum()
        print(
            f"  Cramér-Rao floor of {OUTCOME}, {known}: a block {np.sqrt(square.mean()):.2f} %, "
            f"that change {np.sqrt(of_change.mean()):.2f} %"
        )


def floor_of(
    everyone: TrialData,
    samples: pd.DataFrame,
    output: Path,
    located: list[cohort.SessionFiles],
    truth: pd.DataFrame,
) -> pd.DataFrame:
    """Floors (% of the ratio) of every block in use, from its SNR, true line width and the basis of its protocol."""
    protocols = samples[samples["role"] == "svs"].drop_duplicates("key").set_index("key")["protocol"]
    sidecars = {found.key: found.paths[layout.SIDECAR][0] for found in located}

    @cache
    def basis_of(key: str) -> Basis:
        scan = nifti_mrs.read(sidecars[key].with_suffix(".nii.gz"))
        given = basis_formats.load(output / "basis" / f"{protocols[key]}.BASIS")
        return basis_sets.match(given, scan.spectrometer_frequency, "1H", scan.dwell_time, scan.fid.shape[-1])

    blocks = everyone.blocks[~everyone.blocks["excluded"]].copy()
    blocks[KEYS] = blocks[KEYS].astype(str)
    blocks = blocks.merge(truth[[*KEYS, "linewidth_hz"]], on=KEYS, suffixes=("_fit", ""))
    snr, width = blocks["snr"].astype(float), blocks["linewidth_hz"].astype(float)
    for known in KNOWN:
        floors = [ratio_floor(basis_of(key), OUTCOME, hz, known) for key, hz in zip(blocks["key"], width, strict=True)]
        blocks[known] = 100 * np.array(floors) / snr
    return blocks[[*KEYS, "phase", *KNOWN]]


def ratio_floor(basis: Basis, quantity: str, linewidth_hz: float, known: str) -> float:
    """Cramér-Rao bound of a ratio, relative, for a spectrum of grey matter fitted alone, times its SNR.

    Free are the amplitudes of every signal of the basis, phase, frequency, and the Lorentzian and Gaussian width that
    all share. There is no baseline, so no unbiased fit of one spectrum with these freedoms does better.

    Parameters
    ----------
    basis : Basis
        Sampled as the data; macromolecules and lipids named ``MM...`` and ``Lip...``.
    quantity : str
    linewidth_hz : float
        FWHM of the Voigt line.
    known : str
        One of `KNOWN`.

    Notes
    -----
    SNR is the height of NAA over the SD of the real spectrum. What is the same in all blocks of a session is free in
    their mean only, so that in their differences it counts as known.
    """
    time = axes.time_axis(basis.n_points, basis.dwell_time)
    narrow = [k for k, name in enumerate(basis.names) if not name.startswith(("MM", "Lip"))]
    broad = [k for k, name in enumerate(basis.names) if name.startswith(("MM", "Lip"))]
    present = np.array([MACROMOLECULES_MM * basis.names[k].startswith("MM") for k in broad])
    names = tuple(basis.names[k] for k in narrow)
    metabolites = replace(basis, names=names, fids=basis.fids[narrow])
    shaped = metabolite_signals(metabolites, dict.fromkeys(names, 1.0), linewidth_hz, LORENTZIAN_HZ)
    sum_of_broad = present @ basis.fids[broad]
    background = {"free": basis.fids[broad], "shape": sum_of_broad[np.newaxis], "unchanging": basis.fids[:0]}[known]
    found = np.array([CONCENTRATIONS_MM.get(name, 0.0) for name in names])
    signals = np.array(list(shaped.values()))
    whole = found @ signals + sum_of_broad
    ppm = axes.ppm_axis(basis.n_points, basis.dwell_time, basis.spectrometer_frequency)
    band = (ppm > FITTED_PPM[0]) & (ppm < FITTED_PPM[1])
    noise = np.abs(CONCENTRATIONS_MM["NAA"] * axes.to_spectrum(shaped["NAA"]).real).max()
    columns = np.concatenate([signals, background, [1j * whole, 1j * time * whole, time * whole, time**2 * whole]])
    spectra = axes.to_spectrum(columns)[:, band]
    jacobian = np.concatenate([spectra.real, spectra.imag], axis=1) / noise
    covariance = _inverse(jacobian @ jacobian.T)[: len(names), : len(names)]
    parts = (uncertainty.weights_of(names, part) for part in quantity.split("/"))
    value, sd = uncertainty.ratio(*parts, found, covariance)
    return sd / value


def _inverse(information: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inverse of an information matrix whose parameters have very different units."""
    size = np.sqrt(np.diag(information))
    return np.linalg.inv(information / np.outer(size, size)) / np.outer(size, size)


def _mark(met: bool) -> str:
    return "" if met else "  SHORT"


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, to which the paths of a configuration are relative."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
