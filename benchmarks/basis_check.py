"""Compare simulated basis sets with published ones, signal by signal, and print cost and differences.

    python benchmarks/basis_check.py [--first-echoes yes]

The sets are those of the reference data folder (MRSFLOW_SHARED, by default ``shared`` beside the repository), each
simulated with the preset of its scanner, nothing of which is taken from the comparison. What a fit allows is allowed:
one width, one shift and one complex scale for the whole set, and a smooth baseline (a cubic across the window; some
sets have NH protons, whose tails reach into it). `difference` is the norm of what remains over the norm of the
published spectrum between 0.5 and 4.2 ppm after 3 Hz of extra broadening; `amplitude` the published amplitude per unit
of ours. With --first-echoes the first echo time that would fit best is printed as well.

What is public of a set, and so what is compared: Osprey's come from the vendors' pulses and times. The set of spant
has ideal pulses and a first echo of 10 ms, and other chemical shifts of Ins, NAA and NAAG; of the fitting challenge
neither pulses nor echo times are public, and its chemical shifts differ by up to 0.005 ppm.
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mrsflow import axes  # noqa: E402
from mrsflow.basis_sets import basis, basis_formats, presets, sequences  # noqa: E402
from mrsflow.run import run  # noqa: E402

OTHER_NAMES = {"PCho": "PCh", "Scyllo": "sIns"}
GOALS = {"Glu": 3.0, **dict.fromkeys(("Gln", "GABA", "Ins", "GSH", "NAAG"), 5.0)}
SETS = {
    "Osprey Siemens": ("basis/3T_PRESS_Siemens_35ms_noMM.BASIS", {"echo_time_ms": 35, "preset": "siemens_svs_se"}),
    "Osprey GE": ("basis/3T_PRESS_GE_35ms_noMM.BASIS", {"echo_time_ms": 35, "preset": "ge_probe_p"}),
    "Osprey Philips": ("basis/3T_PRESS_Philips_35ms_noMM.BASIS", {"echo_time_ms": 35, "preset": "philips_press"}),
    "spant": ("basis/lcmodel_test_3t.basis", {"echo_time_ms": 30, "preset": "ideal", "te1_ms": 10}),
    "ISMRM challenge": (
        "fitting-challenge/basisset_LCModel/press3T_30ms.BASIS",
        {"echo_time_ms": 30, "preset": "siemens_svs_se"},
    ),
}
BROADENING, WINDOW, KEPT_POINTS = 3.0, (0.5, 4.2), 2048
SINGLETS = ("Cr", "PCr", "NAA", "sIns", "GPC")


def sequence_of(protocol: dict) -> sequences.Sequence:
    """Sequence of a protocol of the configuration with these keys."""
    empty = {"sequence": "press", "preset": None, "te1_ms": None, "mixing_time_ms": None, "refocusing": None}
    return sequences.Sequence.from_protocol(presets.filled(empty | protocol, "press"))


@dataclass(frozen=True)
class Comparison:
    """A published set, its metabolites that we know, and what is common to all of its signals."""

    published: basis.Basis
    names: list[str]
    width: float = 1.0
    shift: float = 0.0

    @classmethod
    def read(cls, path: Path, echo_time: float) -> "Comparison":
        """Read a set, and find width and shift (Hz) of its singlets against ours of 1 Hz."""
        published = basis.centred(basis_formats.load(path))
        published = replace(published, fids=published.fids[:, :KEPT_POINTS])
        found = cls(published, [n for n in published.names if OTHER_NAMES.get(n, n) in sequences.STANDARD])
        names = [n for n in found.names if OTHER_NAMES.get(n, n) in SINGLETS]
        ours = found.simulated(sequences.Sequence("press", echo_time), names)

        def mismatch(values, mine, theirs):
            made = replace(found, width=values[0], shift=values[1]).spectra(mine)
            return -abs(np.vdot(made, theirs)) / (np.linalg.norm(made) * np.linalg.norm(theirs))

        best = [
            minimize(mismatch, [1.0, 0.0], (mine, found.theirs(name)), method="Nelder-Mead").x
            for name, mine in zip(names, ours, strict=True)
        ]
        width, shift = np.median(best, axis=0)
        return replace(found, width=width, shift=shift)

    def simulated(self, sequence: sequences.Sequence, names: list[str]) -> np.ndarray:
        """Our FIDs of these metabolites, 1 Hz wide, (n, n_points)."""
        sampling = {"dwell_time": self.published.dwell_time, "n_points": self.published.n_points}
        known = tuple(OTHER_NAMES.get(name, name) for name in names)
        return sequences.simulate(sequence, self.published.spectrometer_frequency, known, **sampling).fids

    def spectra(self, fids: np.ndarray) -> np.ndarray:
        """Our FIDs with the width and shift of the set, as `theirs`."""
        t = axes.time_axis(self.published.n_points, self.published.dwell_time)
        return self._window(fids * np.exp((2j * self.shift + 1 - self.width) * np.pi * t))

    def theirs(self, name: str) -> np.ndarray:
        """Give a published spectrum in the window, without its cubic; first points, which some halve, are left out."""
        return self._window(self.published.fids[self.published.names.index(name)])

    def _window(self, fids: np.ndarray) -> np.ndarray:
        t = axes.time_axis(self.published.n_points, self.published.dwell_time)
        ppm = axes.ppm_axis(t.size, self.published.dwell_time, self.published.spectrometer_frequency)
        inside = (ppm > WINDOW[0]) & (ppm < WINDOW[1])
        fids = fids * np.exp(-np.pi * BROADENING * t)
        fids[..., 0] = 0
        smooth = np.linalg.qr(np.linspace(-1, 1, inside.sum())[:, None] ** np.arange(4))[0]
        spectra = axes.to_spectrum(fids)[..., inside]
        return spectra - (spectra @ smooth) @ smooth.T

    def differences(self, sequence: sequences.Sequence, names: list[str] | None = None) -> dict[str, tuple]:
        """Difference (%) and amplitude of each metabolite, at the scale of creatine."""
        names = names or self.names
        ours = self.spectra(self.simulated(sequence, ["Cr", *names]))
        scale = np.vdot(ours[0], self.theirs("Cr")) / np.vdot(ours[0], ours[0])
        found = {}
        for name, mine in zip(names, ours[1:], strict=True):
            theirs = self.theirs(name)
            own = np.vdot(mine, theirs) / np.vdot(mine, mine)
            found[name] = 100 * np.linalg.norm(theirs - scale * mine) / np.linalg.norm(theirs), abs(own / scale)
        return found

    def best_first_echo(self, protocol: dict) -> float:
        """First echo time (ms) that leaves least of the coupled metabolites."""
        coupled = [name for name in self.names if OTHER_NAMES.get(name, name) in GOALS]

        def left(first: float) -> float:
            return sum(d for d, _ in self.differences(sequence_of(protocol | {"te1_ms": first}), coupled).values())

        return min(np.arange(9.0, protocol["echo_time_ms"] - 12.0, 0.5), key=left)


def main(first_echoes: str = "no") -> None:
    """Print the cost of simulation, then a table of all published sets.

    Parameters
    ----------
    first_echoes : str
        yes: print the best first echo time of each set too (minutes).
    """
    data = Path(os.environ.get("MRSFLOW_SHARED", ROOT.parent / "shared")) / "data"
    for preset in ("ideal", "siemens_svs_se", "philips_press", "ge_probe_p"):
        start = time.process_time()
        made = sequences.simulate(sequence_of({"echo_time_ms": 35, "preset": preset}), 123.25)
        print(f"{preset}: {len(made.names)} signals in {time.process_time() - start:.1f} CPU-s", flush=True)
    columns = {}
    for title, (path, protocol) in SETS.items():
        compared = Comparison.read(data / path, protocol["echo_time_ms"] / 1e3)
        columns[title] = {OTHER_NAMES.get(n, n): v for n, v in compared.differences(sequence_of(protocol)).items()}
        said = ", ".join(f"{key} {value}" for key, value in protocol.items())
        print(f"{title}: {said}; width {compared.width:.2f} Hz, shift {compared.shift:.2f} Hz", flush=True)
        if first_echoes == "yes":
            print(f"  best first echo: {compared.best_first_echo(protocol):g} ms", flush=True)
    print(f"\n{'difference %, amplitude':24}" + "".join(f"{title:>18}" for title in columns))
    for name in sequences.STANDARD:
        if cells := [column.get(name) for column in columns.values()]:
            shown = "".join(f"{'':18}" if c is None else f"{c[0]:11.1f}{c[1]:7.3f}" for c in cells)
            goal = f" (goal {GOALS[name]:g})" if name in GOALS else ""
            if any(cells):
                print(f"{name + goal:24}{shown}")


if __name__ == "__main__":
    run(main)
