"""Compare simulated basis sets with published ones, metabolite by metabolite, and print cost and differences.

    python benchmarks/basis_check.py

The sets are those of the reference data folder (MRSFLOW_SHARED, by default ``shared`` beside the repository).
Signals are compared between 0.5 and 4.2 ppm after 3 Hz of extra broadening; width, shift and complex scale of each
are matched first. `difference` is the norm of what remains over the norm of the published spectrum; `scale` is the
published amplitude per unit of ours, relative to creatine. Published sets do not state TE1 and pulses, so the TE1 that
fits best over all coupled metabolites is taken from a grid, for ideal pulses and for sinc pulses of 5 ms and 2 kHz.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mrsflow import axes  # noqa: E402
from mrsflow.basis_sets import basis, sequences  # noqa: E402
from mrsflow.basis_sets.pulses import Pulse  # noqa: E402
from mrsflow.run import run  # noqa: E402

OTHER_NAMES = {"PCho": "PCh", "Scyllo": "sIns"}
SETS = {
    "ISMRM challenge, TE 30": ("fitting-challenge/basisset_LCModel/press3T_30ms.BASIS", 0.030),
    "LCModel test (spant), TE 30": ("basis/lcmodel_test_3t.basis", 0.030),
    "Osprey GE, TE 35": ("basis/3T_PRESS_GE_35ms_noMM.BASIS", 0.035),
    "Osprey Philips, TE 35": ("basis/3T_PRESS_Philips_35ms_noMM.BASIS", 0.035),
    "Osprey Siemens, TE 35": ("basis/3T_PRESS_Siemens_35ms_noMM.BASIS", 0.035),
}
SINC = Pulse("sinc", 0.005, 2000.0, positions=16)
TE1_IDEAL = np.arange(8.0, 20.5, 0.5) / 1e3
TE1_SHAPED = np.array([10.5, 12.0, 13.5, 15.0, 16.5, 17.5]) / 1e3
BROADENING, WINDOW = 3.0, (0.5, 4.2)


def compared(published, simulated, name):
    """Correlation, remaining difference and complex scale of one metabolite."""
    t = axes.time_axis(published.n_points, published.dwell_time)
    ppm = axes.ppm_axis(published.n_points, published.dwell_time, published.spectrometer_frequency)
    window = (ppm > WINDOW[0]) & (ppm < WINDOW[1])
    theirs = axes.to_spectrum(published.fids[published.names.index(name)] * np.exp(-np.pi * BROADENING * t))[window]
    ours = simulated.fids[simulated.names.index(OTHER_NAMES.get(name, name))]

    def spectrum(width, shift):
        return axes.to_spectrum(ours * np.exp((2j * shift - BROADENING - max(width, -BROADENING)) * np.pi * t))[window]

    def mismatch(parameters):
        made = spectrum(*parameters)
        return -abs(np.vdot(made, theirs)) / (np.linalg.norm(made) * np.linalg.norm(theirs))

    best = minimize(mismatch, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 0.02, "fatol": 1e-6})
    made = spectrum(*best.x)
    scale = np.vdot(made, theirs) / np.vdot(made, made)
    return -best.fun, np.linalg.norm(theirs - scale * made) / np.linalg.norm(theirs), scale


def fitted(published, names, sequence):
    """Comparison of every metabolite with one simulation."""
    simulated = sequences.simulate(
        sequence,
        published.spectrometer_frequency,
        tuple(OTHER_NAMES.get(name, name) for name in names),
        dwell_time=published.dwell_time,
        n_points=published.n_points,
    )
    return {name: compared(published, simulated, name) for name in names}


def best_of(published, names, candidates):
    """Sequence with the smallest median difference, and its comparison."""
    results = [(sequence, fitted(published, names, sequence)) for sequence in candidates]
    return min(results, key=lambda pair: np.median([difference for _, difference, _ in pair[1].values()]))


def check(title, path, echo_time):
    """Print the table of one published set."""
    published = basis.centred(basis.load(path))
    published = replace(published, fids=published.fids[:, :2048])
    names = [n for n in published.names if OTHER_NAMES.get(n, n) in sequences.STANDARD]
    coupled = [n for n in names if n in ("Asp", "GABA", "Gln", "Glu", "Ins", "Lac", "Tau")]
    ideal = [sequences.Sequence("press", echo_time, te1=te1) for te1 in TE1_IDEAL]
    shaped = [sequences.Sequence("press", echo_time, te1=te1, refocusing=SINC) for te1 in TE1_SHAPED]
    columns = {"ideal, TE1 = TE/2": fitted(published, names, sequences.Sequence("press", echo_time))}
    for kind, candidates in (("ideal", ideal), ("sinc", shaped)):
        sequence, _ = best_of(published, coupled, candidates)
        kept = [n for n in names if kind == "ideal" or n != "Glc"]  # seven spins are slow with shaped pulses
        columns[f"{kind}, TE1 = {sequence.te1 * 1e3:g} ms"] = fitted(published, kept, sequence)
    print(f"\n{title}: {published.spectrometer_frequency:.3f} MHz (correlation, difference %, scale)")
    print(f"{'':8}" + "".join(f"{column:>26}" for column in columns))
    for name in names:
        cells = ""
        for results in columns.values():
            creatine = abs(results["Cr"][2])
            found = results.get(name)
            cells += (
                f"{'-':>26}"
                if found is None
                else (f"{found[0]:12.4f}{100 * found[1]:7.1f}{abs(found[2]) / creatine:7.3f}")
            )
        print(f"{name:8}{cells}")
    medians = "".join(f"{100 * np.median([d for _, d, _ in r.values()]):19.1f}{'':7}" for r in columns.values())
    print(f"{'median':8}{medians}", flush=True)


def main() -> None:
    """Print the cost of simulation, then a table for each published set."""
    data = Path(os.environ.get("MRSFLOW_SHARED", ROOT.parent / "shared")) / "data"
    for name in ("press", "semi_laser", "steam"):
        sequence = sequences.Sequence(name, 0.030, mixing_time=0.010 if name == "steam" else None)
        start = time.process_time()
        made = sequences.simulate(sequence, 123.25, macromolecules=True)
        print(f"{name}: {len(made.names)} signals with ideal pulses in {time.process_time() - start:.2f} CPU-s")
    for title, (path, echo_time) in SETS.items():
        check(title, data / path, echo_time)


if __name__ == "__main__":
    run(main)
