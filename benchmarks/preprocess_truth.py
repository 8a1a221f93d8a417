"""Print how close preprocessing comes to what is possible, on simulated raw sessions of known truth.

python benchmarks/preprocess_truth.py [--parts truth cost bias real] [--sessions N]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import numpy as np

from mrsflow import nifti_mrs
from mrsflow.axes import time_axis
from mrsflow.basis_sets import sequences
from mrsflow.basis_sets.basis import match
from mrsflow.preprocessing import align, blocks, preprocess, referencing
from mrsflow.run import run
from mrsflow.simulation import simulate

FREQUENCY, DWELL, POINTS = 123.25, 5e-4, 2048
PPM = (1.8, 3.4)
BINS = {"all": [0.0, 100.0]}
HARD = simulate.Disturbances(drift_hz=10.0, jitter_hz=0.3, jitter_deg=30.0, corrupted_fraction=0.1, residual_water=2.0)


def content(acquisition, rng=None, factor=None, narrowing_hz=None):
    """Grey matter at the sampling of an acquisition."""
    names = tuple(simulate.CONCENTRATIONS_MM)
    basis = sequences.simulate(
        sequences.Sequence("press", 0.03), FREQUENCY, metabolites=names, dwell_time=DWELL, n_points=POINTS
    )
    basis = match(basis, FREQUENCY, "1H", DWELL, POINTS)
    return simulate.brain_content(
        basis, n_excitations=acquisition.n_excitations, factor=factor, narrowing_hz=narrowing_hz, rng=rng
    )


@cache
def still_voxel():
    """Content that does not change, of one excitation."""
    return content(simulate.Acquisition(FREQUENCY, DWELL, POINTS, 1, 1, 1))


def session(snr, n_coils, seed, n_frames=300, disturbances=HARD):
    """Simulate a session twice with the same chance: with noise, and without."""
    acquisition = simulate.Acquisition(FREQUENCY, DWELL, POINTS, n_frames, 1, n_coils)
    voxel = replace(still_voxel(), factor=np.ones(n_frames), narrowing_hz=np.zeros(n_frames))
    noisy, clean = (
        simulate.simulate_session(voxel, acquisition, replace(disturbances, snr=s), np.random.default_rng(seed))
        for s in (snr, 1e9)
    )
    return voxel, noisy, clean


def processed(simulated, reference=True, **settings):
    """Send a simulated session through the chain."""
    header = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"]}
    dims = ("DIM_COIL", "DIM_DYN")
    scan = nifti_mrs.Scan(simulated.fid, dims, DWELL, header)
    water = nifti_mrs.Scan(simulated.water_reference, dims, DWELL, header)
    times = blocks.frames(simulated.fid.shape[1], 2.0, 1, 0.0)
    chosen = preprocess.Settings(**{"bins": BINS, "remove_water": False, **settings})
    return preprocess.process([preprocess.Run(scan, times, water if reference else None)], chosen)


def noise_sd(simulated, weights):
    """SD of the real part of a point of one combined frame."""
    return float(np.sqrt(np.real(weights @ simulated.noise_covariance @ weights.conj()) / 2))


def bounds(voxel, simulated):
    """Cramér–Rao bounds of frequency (Hz) and phase (rad): known template, bins of the aligned range only."""
    template = (voxel.static + voxel.varying) * np.exp(1j * simulated.eddy_phase)
    t = time_axis(POINTS, DWELL)
    window = align.window(POINTS, DWELL, FREQUENCY, PPM)
    derivatives = window.raw(np.stack([template, 1j * template, 2j * np.pi * t * template]))
    covariance = np.linalg.inv(derivatives @ derivatives.T) * noise_sd(simulated, simulated.coil_weights) ** 2
    return np.sqrt(covariance[2, 2]), np.sqrt(covariance[1, 1])


def errors(result, simulated):
    """RMSE of frequency (Hz) and phase (rad) of the uncorrupted transients, a common offset removed."""
    good = ~simulated.corrupted
    shift = (result.registration.shift_hz - simulated.shift_hz)[good]
    turn = np.exp(1j * (result.registration.phase_rad - np.radians(simulated.phase_deg)))[good]
    phase = np.angle(turn / turn.mean())
    return shift.std(), phase.std()


def output_snr(voxel, result, noisy, clean):
    """SNR of the average, from what the chain's corrections do to the noise-free session; over the ideal's."""

    def snr(weights, shift_hz, phase_rad, good, eddy_phase):
        frames = align.apply(coils_of(clean, weights), shift_hz, phase_rad, DWELL)
        mean = frames[good].mean(axis=0) * np.exp(-1j * eddy_phase)
        height = referencing.fit_singlets(mean, DWELL, FREQUENCY).heights["tNAA"]
        return height / noise_sd(noisy, weights) * np.sqrt(good.sum())

    found = result.registration
    eddy = np.zeros(POINTS) if result.eddy_phase is None else result.eddy_phase
    own = snr(result.weights.weights, found.shift_hz, found.phase_rad, result.good, eddy)
    good = ~noisy.corrupted
    return own / snr(noisy.coil_weights, noisy.shift_hz, np.radians(noisy.phase_deg), good, noisy.eddy_phase)


def coils_of(simulated, weights):
    """Combine the coils of the frames."""
    return np.tensordot(weights, simulated.fid, axes=1)


def truth_table(n_sessions):
    """Alignment, SNR and corrupted transients at each SNR and number of coils."""
    print("SNR coils reference | RMSE/bound: Hz  phase | SNR of average / ideal | corrupted found  good lost (%)")
    for snr in (2, 3, 5, 10, 20):
        for n_coils, reference in ((4, True), (8, True), (32, True), (32, False)):
            rows = []
            for seed in range(n_sessions):
                voxel, noisy, clean = session(snr, n_coils, seed)
                result = processed(noisy, reference)
                ratio = np.divide(errors(result, noisy), bounds(voxel, noisy))
                rejected = ~result.good
                found = 100 * rejected[noisy.corrupted].mean()
                lost = 100 * rejected[~noisy.corrupted].mean()
                rows.append([*ratio, output_snr(voxel, result, noisy, clean) if reference else np.nan, found, lost])
            mean, worst = np.mean(rows, axis=0), np.min(np.array(rows)[:, 2])
            print(
                f"{snr:3d} {n_coils:5d} {'water' if reference else 'none':>9} | {mean[0]:15.3f} {mean[1]:6.3f} |"
                f" {mean[2]:9.4f} (worst {worst:.4f}) | {mean[3]:13.1f} {mean[4]:10.2f}"
            )


def bias(n_sessions):
    """Print what preprocessing adds to Glx/tNAA: fit of processed blocks less fit of ideal ones, in two arms.

    The arms differ in Glx, and in how badly a session goes: drift and phase jitter. The share of corrupted excitations
    is the same, so that both arms draw the same voxels, noise and corrupted ones, and few sessions tell the difference.
    """
    from mrsflow.fitting.fit import fit_session
    from mrsflow.fitting.fit_model import Model

    n_blocks, per_block = 2, 120
    n = n_blocks * per_block
    basis = sequences.simulate(
        sequences.Sequence("press", 0.03), FREQUENCY, macromolecules=True, dwell_time=DWELL, n_points=POINTS
    )
    model = Model(match(basis, FREQUENCY, "1H", DWELL, POINTS), (0.5, 4.2))
    bins = {f"b{b}": [b * per_block * 2 / 60, (b + 1) * per_block * 2 / 60] for b in range(n_blocks)}
    rows = np.arange(n) // per_block
    calm = replace(HARD, snr=5.0, drift_hz=3.0, jitter_deg=5.0)
    found = {}
    for arm, rise, disturbances in (("placebo", 0.06, calm), ("naltrexone", 0.04, replace(HARD, snr=5.0))):
        differences = []
        for seed in range(n_sessions):
            rng = np.random.default_rng(seed)
            acquisition = simulate.Acquisition(FREQUENCY, DWELL, POINTS, n, 1, 4)
            course = (rows > 0).astype(float)
            voxel = content(acquisition, rng, 1 + rise * course, 0.2 * course)
            simulated = simulate.simulate_session(voxel, acquisition, disturbances, rng)
            result = processed(simulated, bins=bins, remove_water=True)
            frames = simulated.combined() - simulated.residual_water
            ideal = np.stack([frames[(rows == b) & ~simulated.corrupted].mean(axis=0) for b in range(n_blocks)])
            ratio = [_glx(fit_session(fids, model)) for fids in (result.averages, ideal)]
            differences.append(100 * (ratio[0] / ratio[1] - 1))
        found[arm] = np.array(differences)
        _print_mean(f"Glx/tNAA, processed less ideal, {arm}", found[arm].mean(axis=1))
    later = {arm: values[:, 1:].mean(axis=1) - values[:, 0] for arm, values in found.items()}
    _print_mean(
        "difference between arms of the level", found["naltrexone"].mean(axis=1) - found["placebo"].mean(axis=1)
    )
    _print_mean("difference between arms of the change from the first block", later["naltrexone"] - later["placebo"])


def _glx(result):
    """Glx/tNAA of each block."""
    amount = dict(zip(result.names, result.amplitudes.T, strict=True))
    return (amount["Glu"] + amount["Gln"]) / (amount["NAA"] + amount["NAAG"])


def _print_mean(name, values):
    """Print a mean with its 95 % interval (Student's t)."""
    from scipy import stats

    mean, half = values.mean(), stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    print(f"{name}: {mean:+.3f} % ({mean - half:+.3f} to {mean + half:+.3f}), n = {values.size}", flush=True)


def cost():
    """CPU time and memory of a session of 32 coils and 300 transients, reading the file included."""
    _, noisy, _ = session(5, 32, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "svs.nii.gz")
        names = {"dim_5": "DIM_COIL", "dim_6": "DIM_DYN"}
        header = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], **names}
        nifti_mrs.write(nifti_mrs.Scan(noisy.fid, ("DIM_COIL", "DIM_DYN"), DWELL, header), path)
        water = nifti_mrs.Scan(noisy.water_reference, ("DIM_COIL", "DIM_DYN"), DWELL, header)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            del noisy
            start = time.process_time()
            scan = nifti_mrs.read(path)
            bins = {f"b{n}": [n * 100 / 60, (n + 1) * 100 / 60] for n in range(6)}
            run_ = preprocess.Run(scan, blocks.frames(300, 2.0, 1, 0.0), water)
            preprocess.process([run_], preprocess.Settings(bins=bins))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"32 coils x 300 transients x 2048: {time.process_time() - start:.1f} CPU-s, peak {peak:.0f} MB")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)


def real():
    """Print what alignment and coil combination gain on real scans: the validation tests measure and print it."""
    root = Path(__file__).resolve().parents[1]
    tests = root / "tests" / "validation" / "test_preprocess_real.py"
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", str(tests)], cwd=root, check=False)


def main(parts: list[str] = ("truth", "cost", "bias", "real"), sessions: int = 3) -> None:
    """Print the figures.

    Parameters
    ----------
    parts : list of str
        truth, cost, bias, real.
    sessions : int
        Simulated sessions for each condition.
    """
    if "truth" in parts:
        truth_table(sessions)
    if "cost" in parts:
        cost()
    if "bias" in parts:
        bias(sessions)
    if "real" in parts:
        real()


if __name__ == "__main__":
    run(main)
