"""Where the macromolecule lines of simulated basis sets come from, and what they do to the numbers.

    python benchmarks/macromolecules.py --parts lines scan simulated

``lines`` fits a grid of Gaussian lines to metabolite-nulled spectra of four volunteers (3 T, TE 32 ms), residual
metabolites beside them, and prints them with those of ``spin_systems.yaml``. ``scan`` fits a scan with the
macromolecules measured in the same voxel, and with those of the simulated basis set. ``simulated`` fits spectra that
were made with macromolecules measured elsewhere. Needs the reference data (MRSFLOW_SHARED, by default ../shared).
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
from fit_truth import RATIOS, load, true_value, value
from numpy.typing import NDArray

from mrsflow import nifti_mrs, water
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, sequences, spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.broad_lines import broad_fid
from mrsflow.basis_sets.nulled import LINES, MISFIT_OF_ONE, RESIDUAL, Nulled, fit_lines
from mrsflow.conversion.convert import convert_by_hand
from mrsflow.errors import InputError
from mrsflow.fitting import fit
from mrsflow.fitting.fit_model import Model
from mrsflow.run import run

DATA = Path(os.environ.get("MRSFLOW_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
PARTS = ("lines", "scan", "simulated")
GRID_PPM, GRID_WIDTH = np.round(np.arange(0.71, 4.25, 0.1), 2), 0.15
MACROMOLECULES_MM = 7.0
"""Amount of the macromolecules in simulated spectra (mM of MM09): 0.7 of creatine, as in the scan."""


def volunteers(echo_time: int, residual: tuple[str, ...] = ("Cr CH2",)) -> list[Nulled]:
    """Read the metabolite-nulled spectra of one TE (20, 32 or 44 ms), a volunteer each."""
    files = sorted((DATA / "jmrui-mm-3t-volunteers").glob(f"*/Occipital/TE_{echo_time}.txt"))
    sets = [basis_formats.load(file) for file in files]
    return [Nulled(one.fids[0], one.dwell_time, one.spectrometer_frequency, residual) for one in sets]


def part_lines() -> None:
    """Lines of metabolite-nulled spectra on a grid beside those of the table: ppm, protons (3 from 0.7 to 1.06 ppm).

    A grid of lines describes what has no peak of its own as well, which lines at the peaks would leave to a baseline.
    Phase, shift and the width of the shim come from lines at the peaks; residual metabolites stand beside the grid.
    """
    table = spins.table()["broad"]
    stated = [(name, line) for name in LINES for line in table[name]["lines"]]
    shifts = GRID_PPM
    protons = np.array([on_grid(spectrum)[0] for spectrum in volunteers(32, tuple(RESIDUAL))])
    for k, shift in enumerate(shifts):
        listed = [f"{name} {line['protons']}" for name, line in stated if line["shift"] == shift] or ["none"]
        print(
            f"  {shift:.2f} ppm: {protons[:, k].mean():.2f} +/- {protons[:, k].std(ddof=1):.2f} protons (SD, "
            f"{len(protons)} spectra); table {listed[0]}"
        )
    columns = {
        name: [int(np.argmin(np.abs(shifts - line["shift"]))) for line in table[name]["lines"]] for name in LINES
    }
    groups = {name: protons[:, members].sum(axis=1) for name, members in columns.items()}
    print("  relative spread: " + ", ".join(f"{g} {x.std(ddof=1) / x.mean():.2f}" for g, x in groups.items()))


def on_grid(spectrum: Nulled) -> tuple[NDArray, float]:
    """Protons of lines at `GRID_PPM`, 3 of them up to 1.06 ppm, and the width (ppm) that they have in the scan."""
    widths = np.full(GRID_PPM.size, GRID_WIDTH)
    own = fit_lines([spectrum], MISFIT_OF_ONE)[3][0]
    heights, _ = spectrum.explained(GRID_PPM, widths, own, 0)  # a constant baseline: the rest is macromolecules
    areas = heights[: GRID_PPM.size] * np.hypot(widths, own[3])
    return 3 * areas / areas[GRID_PPM < 1.06].sum(), float(np.hypot(GRID_WIDTH, own[3]))


def with_signal(basis: Basis, fid: NDArray) -> Basis:
    """Give the basis with one macromolecule signal instead of its own macromolecules and lipids."""
    kept = [k for k, name in enumerate(basis.names) if name not in spins.table()["broad"]]
    fids = np.concatenate([basis.fids[kept], fid[np.newaxis]])
    return replace(basis, names=(*(basis.names[k] for k in kept), "MM"), fids=fids)


def lines_of(spectrum: Nulled) -> list[dict[str, float]]:
    """Lines of one metabolite-nulled spectrum, residual metabolites left out."""
    shifts, widths, amounts, _ = fit_lines([spectrum], MISFIT_OF_ONE)
    values = zip(shifts, widths, 3 * amounts[0, : shifts.size] / amounts[0, 0], strict=True)
    return [{"shift": shift, "width": width, "protons": protons} for shift, width, protons in values]


def measured(spectrum: Nulled, basis: Basis) -> NDArray:
    """Macromolecules of one metabolite-nulled spectrum, without noise and creatine, as an FID sampled as `basis`."""
    lines = lines_of(spectrum)
    return broad_fid(lines, basis.spectrometer_frequency, basis.dwell_time, basis.n_points)


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
    protons, width = on_grid(nulled_scan(found))
    print(f"  on a grid, lines of {width:.3f} ppm: " + ", ".join(map("{:.2f} ppm {:.2f}".format, GRID_PPM, protons)))
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
    challenge = basis_formats.load(DATA / "fitting-challenge" / "basisset_LCModel" / "press3T_30ms.BASIS")
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
