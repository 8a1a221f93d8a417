"""Where the fit and LCModel differ on a scan in vivo: which of them would read what it reads if the other were right.

Two simulated twins of each scan have the scan's noise, sampling, line shape and the basis set that LCModel was given:
one the amounts and baseline that our fit found (``ours``), the other those that LCModel found (``lcmodel``). Where the
truth is ours, LCModel should read on the twin what it reads on the scan; where it is LCModel's, our fit should. The
twins are told by ``twins.tsv`` and what LCModel reads on them by ``lcmodel_twins.tsv``; both are made anew, on a
machine that has LCModel (environment variable LCMODEL_EXEC), by ``python benchmarks/fit_twins.py``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import mrsflow  # noqa: F401  (one BLAS thread, before numpy)

# isort: split
import fit_in_vivo
import numpy as np
import pandas as pd
from foreign_sets import (
    AGREEMENT,
    BUILD,
    SHARED,
    Clock,
    Options,
    picture,
    ratio_of,
    se,
    true_ratio,
)
from numpy.typing import NDArray

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.fitting.fit import FitResult, noise_sd
from mrsflow.fitting.fit_model import SD_BROADENING_HZ, SD_SHIFT_HZ, Model
from mrsflow.quantification import fitters

TWINS, READ = (Path(__file__).with_name(name) for name in ("twins.tsv", "lcmodel_twins.tsv"))
KINDS = ("ours", "lcmodel")
DRAWS, SEED = 12, 1
QUANTITIES = (*AGREEMENT, "Glx/tNAA", "Glu/tCr")
LCMODEL_PPM = (0.2, 4.0)
KNOT_PPM = 0.03
EXPLAINED = 3.0
"""SD of the draws within which a value on the scan is one that a truth explains."""
BROAD_FACTOR = 3.0
"""Own widths and shifts of macromolecules and lipids vary this much more than those of metabolites."""


def part_twins(options: Options) -> None:
    """Compare what each program reads on a scan with what it reads on the twin of the other's truth."""
    twins, read = pd.read_csv(TWINS, sep="\t"), pd.read_csv(READ, sep="\t")
    print(
        "  values on the scan; on twins of our truth LCModel's error and where its value on the scan lies in the "
        "scatter of draws; on twins of LCModel's truth our error and where our value lies"
    )
    explained: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for scan in pd.read_csv(fit_in_vivo.REAL / "scans.tsv", sep="\t").iloc[:: options.every].itertuples():
        fids, model = fit_in_vivo.spectra_and_model(scan, options)
        clock = Clock()
        on_scan = clock.fit(fids[0], model)
        peer = read[(read["scan"] == scan.scan) & (read["twin"] == "none")].set_index("ratio")["value"]
        found = {kind: [clock.fit(fid, model) for fid in spectra(scan, _of(twins, scan.scan, kind))] for kind in KINDS}
        print(f"  {scan.scan}: {clock}")
        for ratio in QUANTITIES:
            ours, _ = ratio_of(on_scan, ratio)
            cells = []
            for kind, value in zip(KINDS, (peer[ratio], ours), strict=True):
                true = true_ratio(_amounts(_of(twins, scan.scan, kind)), ratio)
                if kind == "ours":
                    rows = read[(read["scan"] == scan.scan) & (read["twin"] == kind) & (read["ratio"] == ratio)]
                    values = rows["value"].to_numpy()
                else:
                    values = np.array([ratio_of(one, ratio)[0] for one in found[kind] if one is not None])
                error, z = 100 * (values / true - 1), (value - values.mean()) / values.std(ddof=1)
                if abs(100 * (ours / peer[ratio] - 1)) > AGREEMENT.get(ratio, np.inf):
                    explained[kind].append(bool(abs(z) <= EXPLAINED))
                cells.append(f"{error.mean():+6.1f} +/- {se(error):3.1f} % (z {z:+5.1f})")
            own = np.array([ratio_of(one, ratio)[0] for one in found["ours"] if one is not None])
            own = 100 * (own / true_ratio(_amounts(_of(twins, scan.scan, "ours")), ratio) - 1)
            print(
                f"    {ratio:9s} ours {ours:5.3f}, LCModel {peer[ratio]:5.3f} ({100 * (ours / peer[ratio] - 1):+5.1f} "
                f"%);   ours true: LCModel {cells[0]};   LCModel true: ours {cells[1]};   ours on its own "
                f"{own.mean():+5.1f} +/- {se(own):3.1f} %"
            )
        shown = {"scan": on_scan} | {f"twin of {kind}": found[kind][0] for kind in KINDS if found[kind][0] is not None}
        picture(shown, BUILD / f"twins_{scan.scan}_{options.basis}")
    for kind, cases in explained.items():
        print(
            f"  ratios that differ beyond the limit: {len(cases)}; explained (z up to {EXPLAINED:g}) if the truth is "
            f"{'ours' if kind == 'ours' else 'that of LCModel'}: {sum(cases)}"
        )


def spectra(scan: tuple, told: pd.DataFrame) -> NDArray[np.complexfloating]:
    """FIDs (DRAWS, points) of a twin: each with noise, and signals whose own widths and shifts vary."""
    _, model = fit_in_vivo.spectra_and_model(scan, Options(basis="vendor"))
    shape, m = model.shape, len(model.names)
    amounts, common = _amounts(told), told[told["part"] == "shape"].set_index("name")["value"]
    noise = float(common["noise_sd"])
    rng, fids = np.random.default_rng(SEED), []
    size = np.where(model.broad, BROAD_FACTOR, 1.0)
    for _ in range(DRAWS):
        theta = np.zeros(shape.size)
        theta[shape.lorentz], theta[shape.gauss2] = common["lorentz_hz"], common["gauss_hz"] ** 2
        theta[shape.eddy] = common["skew_hz"]
        theta[shape.broadenings] = np.maximum(
            size * SD_BROADENING_HZ * rng.standard_normal(m), -common["lorentz_hz"] / 2
        )
        theta[shape.shifts] = size * SD_SHIFT_HZ * rng.standard_normal(m)
        whole = sum(amounts[name] * model.full_fid(theta, k) for k, name in enumerate(model.names))
        white = rng.standard_normal((2, whole.size)) * noise / np.sqrt(whole.size)
        fids.append(whole + _baseline(told, model) + white[0] + 1j * white[1])
    return np.array(fids)


def _baseline(told: pd.DataFrame, model: Model) -> NDArray[np.complexfloating]:
    """FID of the baseline, which ends smoothly outside its knots."""
    knots = told[told["part"] == "baseline"]
    ppm, height = knots["name"].to_numpy(float), knots["value"].to_numpy(float)
    shift = axes.hz_to_ppm(np.fft.fftfreq(model.n_points, model.dwell_time), model.spectrometer_frequency)
    beyond = np.maximum(ppm.min() - shift, shift - ppm.max()).clip(0)
    curve = np.interp(shift, ppm, height) * np.exp(-0.5 * (beyond / 0.2) ** 2)
    fid = np.fft.ifft(curve)
    fid[model.n_points // 2 :] = 0
    fid[1:] *= 2
    return fid


def _of(twins: pd.DataFrame, scan: str, kind: str) -> pd.DataFrame:
    return twins[(twins["scan"] == scan) & (twins["twin"] == kind)]


def _amounts(told: pd.DataFrame) -> pd.Series:
    return told[told["part"] == "amount"].set_index("name")["value"]


def _by_lcmodel(fids: NDArray, scan: tuple) -> FitResult:
    """Fit spectra with LCModel and the basis it was given."""
    read = nifti_mrs.read(fit_in_vivo.REAL / f"{scan.scan}_svs.nii.gz")
    basis = basis_formats.load(SHARED / "data" / scan.basis)
    sampling = (read.spectrometer_frequency, "1H", read.dwell_time, fids.shape[-1])
    request = fitters.Request(
        np.atleast_2d(fids), read.dwell_time, read.spectrometer_frequency, "1H", basis_sets.match(basis, *sampling),
        LCMODEL_PPM,
    )  # fmt: skip
    return fitters.make("lcmodel")(request)


def _told(scan: tuple, kind: str, ours: FitResult, peer: FitResult, noise: float) -> pd.DataFrame:
    """Rows of a twin: amounts, line shape, baseline."""
    amounts = dict(zip(ours.names, ours.amplitudes[0], strict=True))
    ppm, baseline = ours.ppm, ours.baseline[0]
    if kind == "lcmodel":
        found = dict(zip(peer.names, peer.amplitudes[0], strict=True))
        amounts = {name: found.get(name, value) for name, value in amounts.items()}
        ppm, baseline = peer.ppm, peer.baseline[0]
    knots = np.arange(0.5, 4.0 + KNOT_PPM / 2, KNOT_PPM)
    heights = np.interp(-knots, -ppm, baseline)
    shape = {name: ours.quality[0][name] for name in ("lorentz_hz", "gauss_hz", "skew_hz")} | {"noise_sd": noise}
    rows = [("amount", *item) for item in amounts.items()] + [("shape", *item) for item in shape.items()]
    rows += [("baseline", f"{knot:.2f}", height) for knot, height in zip(knots, heights, strict=True)]
    return pd.DataFrame(rows, columns=["part", "name", "value"]).assign(scan=scan.scan, twin=kind)


def write() -> None:
    """Tell the twins of every scan, and what LCModel reads on them."""
    scans = list(pd.read_csv(fit_in_vivo.REAL / "scans.tsv", sep="\t").itertuples())
    twins, read = [], []
    for scan in scans:
        fids, model = fit_in_vivo.spectra_and_model(scan, Options(basis="vendor"))
        ours, peer = Clock().fit(fids[0], model), _by_lcmodel(fids[0], scan)
        read += [(scan.scan, "none", 0, ratio, ratio_of(peer, ratio)[0]) for ratio in QUANTITIES]
        twins += [_told(scan, kind, ours, peer, noise_sd(fids[0], model)) for kind in KINDS]
    columns = ["scan", "twin", "part", "name", "value"]
    pd.concat(twins)[columns].to_csv(TWINS, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
    written = pd.read_csv(TWINS, sep="\t")
    for scan, kind in ((scan, kind) for scan in scans for kind in KINDS):
        found = _by_lcmodel(spectra(scan, _of(written, scan.scan, kind)), scan)
        read += [
            (scan.scan, kind, draw, ratio, ratio_of(found, ratio, draw)[0])
            for draw in range(DRAWS) for ratio in QUANTITIES
        ]  # fmt: skip
    table = pd.DataFrame(read, columns=["scan", "twin", "draw", "ratio", "value"])
    table.to_csv(READ, sep="\t", index=False, float_format="%.5g", lineterminator="\n")


if __name__ == "__main__":
    write()
