"""Where the macromolecule lines of simulated basis sets come from, and what they do to the numbers.

    python benchmarks/macromolecules.py --parts lines scan simulated

``lines`` fits Gaussian lines to metabolite-nulled spectra of four volunteers (3 T, TE 32 ms), positions and
widths in common, and prints them beside those of ``spin_systems.yaml``. ``scan`` fits a scan with the macromolecules
measured in the same voxel, and with those of the simulated basis set. ``simulated`` fits spectra that were made with
macromolecules measured elsewhere. Needs the reference data (MRSFLOW_SHARED, by default ../shared).
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import mrsflow  # noqa: F401  (one BLAS thread, before numpy)

# isort: split
import numpy as np
from fit_simulation import spectra_of
from fit_truth import RATIOS, load, rms, true_value, value
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import sequences, spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.conversion.convert import convert_by_hand
from mrsflow.errors import InputError
from mrsflow.fitting import fit
from mrsflow.fitting.fit_model import Model
from mrsflow.preprocessing import water
from mrsflow.run import run

DATA = Path(os.environ.get("MRSFLOW_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
PARTS = ("lines", "scan", "simulated")
WINDOW_PPM = (0.3, 4.3)
LINES = {
    "MM09": (0.92,), "MM12": (1.21,), "MM14": (1.39,), "MM17": (1.65,), "MM20": (1.95, 2.04), "MM22": (2.26,),
    "MM26": (2.60,), "MM30": (2.99, 3.19), "MM37": (3.64, 3.80, 4.03),
}  # fmt: skip
"""Where lines are looked for: near those of the consensus on macromolecules, with two at 2.0 ppm (Cudalbu et al. 2021,
doi:10.1002/nbm.4393)."""
CREATINE_PPM = 3.92
"""What inversion leaves of creatine: a narrow line that shows the width of the shim."""
POSITION_SD, WIDTH_PPM, WIDTH_SD = 0.03, 0.16, 0.25
MISFIT = 0.2
"""What the lines are not expected to explain: 3 % of the highest point, as some 40 points all show the same of it."""
MACROMOLECULES_MM = 7.0
"""Amount of the macromolecules in simulated spectra (mM of MM09): 0.7 of creatine, as in the scan."""


class Nulled:
    """A metabolite-nulled spectrum: real points above imaginary ones, water taken out, highest point 1."""

    def __init__(self, fid: NDArray, dwell_time: float, spectrometer_frequency: float) -> None:
        self.spectrometer_frequency = spectrometer_frequency
        self.time = axes.time_axis(fid.size, dwell_time)
        ppm = axes.ppm_axis(fid.size, dwell_time, spectrometer_frequency)
        self.inside = (ppm > WINDOW_PPM[0]) & (ppm < WINDOW_PPM[1])
        self.ppm = ppm[self.inside]
        clean = fid - water.residual_water(fid, dwell_time, spectrometer_frequency)
        points = axes.to_spectrum(clean)[self.inside]
        self.points = points / np.abs(points).max()
        self.tilt = (self.ppm - np.mean(WINDOW_PPM)) / 2
        smooth = np.stack([self.tilt**k for k in range(3)], axis=1)
        none = np.zeros_like(smooth)
        self.baseline = np.block([[smooth, -smooth, none, none], [none, none, smooth, -smooth]])  # of either sign

    def lines(self, shifts: NDArray, widths: NDArray) -> NDArray:
        """Give unit lines: (2P, n)."""
        hz = axes.ppm_to_hz(shifts, self.spectrometer_frequency)[:, np.newaxis]
        decay = np.pi * (widths * self.spectrometer_frequency)[:, np.newaxis] * self.time
        spectra = axes.to_spectrum(np.exp(2j * np.pi * hz * self.time - decay**2 / (4 * np.log(2))))
        spectra = spectra[:, self.inside].T / np.abs(spectra).max()
        return np.concatenate([spectra.real, spectra.imag])

    def explained(self, shifts: NDArray, widths: NDArray, own: NDArray) -> tuple[NDArray, NDArray]:
        """Amounts of the lines, creatine the last, and what they leave; `own`: phases (rad), shift and shim (ppm)."""
        turned = self.points * np.exp(-1j * (own[0] + own[1] * self.tilt))
        total = np.append(np.hypot(widths, own[3]), own[3])
        design = np.hstack([self.lines(np.append(shifts, CREATINE_PPM) + own[2], total), self.baseline])
        target = np.concatenate([turned.real, turned.imag])
        amounts, _ = nnls(design, target)
        return amounts[: shifts.size + 1], target - design @ amounts


def fit_lines(spectra: list[Nulled]) -> tuple[NDArray, NDArray, NDArray]:
    """Shifts (n), widths (n; ppm) and amounts (spectra, n) of lines, positions and widths common to all spectra."""
    centres = np.concatenate(list(LINES.values()))
    n = centres.size

    def parts(z: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        return z[:n], WIDTH_PPM * np.exp(z[n : 2 * n]), z[2 * n :].reshape(len(spectra), 4)

    def cost(z: NDArray) -> NDArray:
        shifts, widths, own = parts(z)
        left = [one.explained(shifts, widths, its)[1] / MISFIT for one, its in zip(spectra, own, strict=True)]
        return np.concatenate([*left, (shifts - centres) / POSITION_SD, z[n : 2 * n] / WIDTH_SD, own[:, 2] / 0.02])

    candidates = np.linspace(-0.6, 0.6, 7)
    widths = np.full(n, WIDTH_PPM)
    turned = [
        min(candidates, key=lambda p, one=one: rms(one.explained(centres, widths, np.array([p, 0, 0, 0.07]))[1]))
        for one in spectra
    ]
    own = np.array([[phase, 0.0, 0.0, 0.07] for phase in turned])
    found = least_squares(cost, np.concatenate([centres, np.zeros(n), own.ravel()]), x_scale="jac", max_nfev=40)
    shifts, widths, own = parts(found.x)
    amounts = [one.explained(shifts, widths, its)[0][:n] for one, its in zip(spectra, own, strict=True)]
    return shifts, widths, np.array(amounts)


def volunteers(echo_time: int) -> list[Nulled]:
    """Read the metabolite-nulled spectra of one TE (20, 32 or 44 ms), a volunteer each."""
    files = sorted((DATA / "jmrui-mm-3t-volunteers").glob(f"*/Occipital/TE_{echo_time}.txt"))
    sets = [basis_sets.load(file) for file in files]
    return [Nulled(one.fids[0], one.dwell_time, one.spectrometer_frequency) for one in sets]


def part_lines() -> None:
    """Lines of metabolite-nulled spectra beside those of the table: ppm, FWHM in ppm, protons."""
    shifts, widths, amounts = fit_lines(volunteers(32))
    protons = 3 * amounts / amounts[:, :1]
    table = spins.table()["broad"]
    stated = [(name, line) for name in LINES for line in table[name]["lines"]]
    for k, (name, line) in enumerate(stated):
        print(
            f"  {name}: {shifts[k]:.3f} ppm, width {widths[k]:.3f}, protons {protons[:, k].mean():.2f} +/- "
            f"{protons[:, k].std(ddof=1):.2f} (SD, {len(protons)} spectra); "
            f"table {line['shift']}, {line['width']}, {line['protons']}"
        )
    groups = np.array([protons[:, [name == g for name, _ in stated]].sum(axis=1) for g in LINES])
    spread = groups.std(axis=1, ddof=1) / groups.mean(axis=1)
    print("  relative spread: " + ", ".join(f"{g} {s:.2f}" for g, s in zip(LINES, spread, strict=True)))


def with_signal(basis: Basis, fid: NDArray) -> Basis:
    """Give the basis with one macromolecule signal instead of its own macromolecules and lipids."""
    kept = [k for k, name in enumerate(basis.names) if name not in spins.table()["broad"]]
    fids = np.concatenate([basis.fids[kept], fid[np.newaxis]])
    return replace(basis, names=(*(basis.names[k] for k in kept), "MM"), fids=fids)


def lines_of(spectrum: Nulled) -> list[dict[str, float]]:
    """Lines of one metabolite-nulled spectrum, creatine left out."""
    shifts, widths, amounts = fit_lines([spectrum])
    values = zip(shifts, widths, 3 * amounts[0] / amounts[0, 0], strict=True)
    return [{"shift": shift, "width": width, "protons": protons} for shift, width, protons in values]


def measured(spectrum: Nulled, basis: Basis) -> NDArray:
    """Macromolecules of one metabolite-nulled spectrum, without noise and creatine, as an FID sampled as `basis`."""
    lines = lines_of(spectrum)
    return sequences.broad_fid(lines, basis.spectrometer_frequency, basis.dwell_time, basis.n_points)


def simulated_basis(scan: nifti_mrs.Scan | Basis) -> Basis:
    """PRESS TE 30 with macromolecules and lipids, sampled as a scan or a basis."""
    made = sequences.simulate(sequences.Sequence("press", 0.03), scan.spectrometer_frequency, macromolecules=True)
    return basis_sets.match(made, scan.spectrometer_frequency, "1H", scan.dwell_time, scan.n_points)


def scans() -> dict[str, nifti_mrs.Scan]:
    """Philips scan of PRESS TE 30 and its metabolite-nulled one, eddy currents of each corrected."""
    folder = DATA / "philips-sdat-press30-t1w" / "mrs"
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "scan.nii.gz"
        for name in ("press", "press-inverted"):
            both = []
            for kind in (name, f"{name}_ref"):
                convert_by_hand(list((folder / f"sub-01_ses-01_{kind}").glob("*.SDAT")), out, {})
                both.append(nifti_mrs.read(out))
            found[name] = replace(both[0], fid=water.correct_eddy_currents(both[0].fid, both[1].fid))
    return found


def nulled_scan(found: dict[str, nifti_mrs.Scan]) -> Nulled:
    """Metabolite-nulled spectrum of the Philips scan."""
    scan = found["press-inverted"]
    return Nulled(scan.fid, scan.dwell_time, scan.spectrometer_frequency)


def part_scan() -> None:
    """Ratios of a scan with the macromolecules of its own voxel, and with those of the simulated basis set."""
    found = scans()
    scan = found["press"]
    basis = simulated_basis(scan)
    for line in lines_of(nulled_scan(found)):
        print("  its lines: " + ", ".join(f"{key} {number:.3f}" for key, number in line.items()))
    sets = {"measured here": with_signal(basis, measured(nulled_scan(found), basis)), "simulated": basis}
    for ppm in ((0.5, 4.2), (0.2, 4.0), (0.5, 3.6)):
        for label, chosen in sets.items():
            model = Model(chosen, ppm)
            result = fit.fit_session(scan.fid, model)
            ratios = [value(model.names, q, result.amplitudes[0], result.covariance[0]) for q in RATIOS]
            numbers = ", ".join(f"{q} {found:.3f} ({sd:.3f})" for q, (found, sd) in zip(RATIOS, ratios, strict=True))
            print(f"  {ppm[1]:g} to {ppm[0]:g} ppm, {label}: {numbers}")


def part_simulated() -> None:
    """Bias and RMSE (%) of ratios in spectra made with macromolecules of one source, fitted with those of another."""
    _, truth = load("main")
    truth = truth[truth["artefact"] == 0].reset_index(drop=True).rename(columns={"PCho": "PCh"}).iloc[::3]
    challenge = basis_sets.load(DATA / "fitting-challenge" / "basisset_LCModel" / "press3T_30ms.BASIS")
    challenge = basis_sets.match(challenge, 123.261703, "1H", 0.25e-3, 2048)
    basis = simulated_basis(challenge)
    mac = challenge.fids[challenge.names.index("Mac")]
    sources = {
        "Philips scan": nulled_scan(scans()),
        "challenge": Nulled(mac, challenge.dwell_time, challenge.spectrometer_frequency),
        "volunteer 4, TE 44": volunteers(44)[3],
    }
    fitted = Model(basis, (0.5, 4.2))
    for label, source in sources.items():
        mixed = with_signal(basis, MACROMOLECULES_MM / 10 * measured(source, basis))
        mixed = replace(mixed, names=(*mixed.names[:-1], "Mac"))
        absent = [name for name in mixed.names if name not in truth.columns]
        made_of = Model(mixed, (0.5, 4.2))
        rows = truth.assign(**dict.fromkeys(absent, 0.0))
        spectra = spectra_of(rows, made_of, "voigt", seed=3)
        for kind, model in (("its own", made_of), ("simulated", fitted)):
            errors = []
            for fid, (_, row) in zip(spectra, rows.iterrows(), strict=True):
                result = fit.fit_session(fid, model)
                found = [value(model.names, q, result.amplitudes[0], result.covariance[0])[0] for q in RATIOS]
                true = [true_value(made_of.names, q, row) for q in RATIOS]
                errors.append(100 * (np.array(found) / true - 1))
            both = zip(RATIOS, np.mean(errors, axis=0), np.sqrt(np.mean(np.square(errors), axis=0)), strict=True)
            print(f"  {label}, fitted with {kind}: " + ", ".join(f"{q} {b:+.0f} ({r:.0f})" for q, b, r in both))


def main(parts: list[str] | None = None) -> None:
    """Print where macromolecule lines come from, and what they do to ratios.

    Parameters
    ----------
    parts : list of str
        Which figures, of lines, scan and simulated; default: all.
    """
    if unknown := set(parts or PARTS) - set(PARTS):
        raise InputError(f"--parts: {', '.join(sorted(unknown))} not known; choose of {', '.join(PARTS)}")
    for name in parts or PARTS:
        part = globals()[f"part_{name}"]
        print(f"{name}: {str(part.__doc__).splitlines()[0]}")
        part()


if __name__ == "__main__":
    run(main)
