"""From spectra to arms: the figures of courses over time, printed part by part.

``python benchmarks/first_level.py [--parts two_level dynamic lack_of_fit series coverage] [--sets N]``. First-level
data are simulated; *series* and *coverage* simulate and fit spectra. A Monte-Carlo interval of 99 % stands beside every
rate.
"""

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mrsflow.axes import time_axis
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import sequences
from mrsflow.fitting import course, dynamic, fit
from mrsflow.fitting.fit_model import Model
from mrsflow.models import mixed, two_level

PARTS = ("two_level", "dynamic", "lack_of_fit", "series", "coverage")
BLOCKS = (0.0357, 0.0090)
"""Errors of Glx/tNAA of blocks with free amplitudes as parts of the ratio, those common to a session and a block's own:
of the first ten blocks of the *bold* set at 3 T (SNR 45 a block), as the fit reports them."""
TERMS = {
    "all follow": (0.0359, 0.00739, -0.10),
    "NAA and NAAG constant": (0.0358, 0.00641, -0.06),
    "Glu and Gln alone follow": (0.0358, 0.00517, -0.07),
}
"""Errors of level and response of the same blocks, fitted with an infusion of 10 min, and their correlation."""


def rate(hits: NDArray, what: str, low: float, high: float) -> str:
    """Say a rate (%) with its interval, and whether it meets its limits."""
    hits = np.asarray(hits, bool)
    n, found = hits.size, 100 * float(hits.mean())
    inside = stats.binom.ppf([0.005, 0.995], n, hits.mean()) / n * 100
    met = "" if low <= found <= high else "  (limit missed)"
    return f"{what} {found:5.1f} % [{inside[0]:.1f}, {inside[1]:.1f}]{met}"


def pairs(n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:
    """Participant, condition and visit of a crossover with both orders."""
    people, visit = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    order = rng.permutation(np.arange(n) % 2)
    return people, (visit + np.repeat(order, 2)) % 2, visit


def part_two_level(sets: int) -> None:
    """Type I error and coverage of the two-level model on terms of sessions with known errors of realistic spread.

    Errors: mean variance 1, SD of their logarithm as said.
    """
    scenarios = [
        ("26 pairs, errors spread 0.5, sessions 0.7, people 1", 26, 0.5, 0.7, 1.0),
        ("26 pairs, errors spread 0.5, sessions alike", 26, 0.5, 0.0, 1.0),
        ("26 pairs, errors spread 0.8, sessions 0.3", 26, 0.8, 0.3, 1.0),
        ("12 pairs, errors spread 0.5, sessions 0.5", 12, 0.5, 0.5, 1.0),
    ]
    for name, n, spread, session, person in scenarios:
        rng, p, variances = np.random.default_rng(n + int(100 * spread + 10 * session)), [], []
        for _ in range(sets):
            people, condition, visit = pairs(n, rng)
            errors = np.exp(spread * rng.normal(size=2 * n) - spread**2 / 2)
            y = person * rng.normal(size=n)[people] + session * rng.normal(size=2 * n)
            y += np.sqrt(errors) * rng.normal(size=2 * n)
            x = np.column_stack([np.ones(2 * n), condition, visit])
            found = two_level.fit(x, y, errors, {"participant": people, "session": np.arange(2 * n)})
            both = [float(found.contrast([0, 1, 0], method).p) for method in ("kenward-roger", "satterthwaite")]
            other = mixed.fit(x, y, {"participant": people})
            p.append([*both, float(other.contrast([0, 1, 0]).p)])
            variances.append((found.beta[1], other.beta[1]))
        p = np.array(p)
        ratio = np.var([own for own, _ in variances]) / np.var([own for _, own in variances])
        print(f"  {name} ({sets} sets): variance {ratio:.2f} times that without knowledge of errors")
        for k, method in enumerate(("Kenward-Roger", "Satterthwaite", "mixed model that knows no errors")):
            covered = rate(p[:, k] >= 0.05, "coverage", 93.5, 97.0)
            print(f"    {method:33s} {rate(p[:, k] < 0.05, 'type I', 3.0, 6.5)}; {covered}")


def ancova(y: NDArray, baseline: NDArray, condition: NDArray, visit: NDArray) -> float:
    """Difference of conditions of a crossover, adjusted for the baseline: least squares of the pairs."""
    sign = np.where(condition[::2] == 1, 1.0, -1.0)
    within = [(values[::2] - values[1::2]) for values in (y, baseline)]
    x = np.column_stack([sign, np.ones(sign.size), within[1]])
    return float(np.linalg.lstsq(x, within[0], rcond=None)[0][0])


def part_dynamic(sets: int) -> None:
    """Print the variance of the arm difference in excess of that of true blocks: term of the fit over mean of blocks.

    26 pairs, Glx/tNAA rises as 1 - exp(-t/10 min) by 6 % (SD 2 between people, 1.5 between sessions), levels differ by
    8 and 3 %; four blocks of baseline and six of infusion, 5 min each, with the errors in `BLOCKS` and `TERMS`, once to
    four times. Both analyses are brought to the full response and adjusted for the baseline by least squares, which
    with equal errors is the two-level model. What a course gains by itself is the weighting of blocks (Gauss
    and Markov), said first; more comes of metabolites that do not follow it, which have one error in place of ten.
    """
    edges = 60 * np.arange(-20.0, 31.0, 5.0)
    shape = dynamic.course("infusion", edges[:-1], np.diff(edges), 600.0)
    rest, late = edges[:-1] < 0, edges[:-1] >= 0
    common, own = BLOCKS
    by_blocks = (1 / late.sum() + 1 / rest.sum()) / shape[late].mean() ** 2
    best = 1 / np.sum((shape - shape.mean()) ** 2)
    print(f"  the best weights of free blocks: variance of a response {best / by_blocks:.2f} of that of their means")
    for name, (level_sd, response_sd, r) in TERMS.items():
        both = r * level_sd * response_sd
        root = np.linalg.cholesky([[level_sd**2, both], [both, response_sd**2]])
        for times in (1.0, 2.0, 4.0):
            rng, found = np.random.default_rng(int(times)), []
            for _ in range(sets):
                people, condition, visit = pairs(26, rng)
                level = (1 + 0.08 * rng.normal(size=26)[people]) * (1 + 0.03 * rng.normal(size=52))
                response = 0.06 + 0.02 * rng.normal(size=26)[people] + 0.015 * rng.normal(size=52)
                blocks = level[:, np.newaxis] + response[:, np.newaxis] * shape
                noise = times * (common * rng.normal(size=(52, 1)) + own * rng.normal(size=blocks.shape))
                terms = times * rng.normal(size=(52, 2)) @ root.T
                values = []
                for seen in (blocks, blocks + noise):
                    mean = seen[:, late].mean(axis=1), seen[:, rest].mean(axis=1)
                    values.append(ancova(mean[1] + (mean[0] - mean[1]) / shape[late].mean(), mean[1], condition, visit))
                for one in (np.zeros((52, 2)), terms):
                    first, rise = level + one[:, 0], response + one[:, 1]
                    values.append(ancova(first + rise, first, condition, visit))
                found.append(values)
            found = np.array(found)
            spread = np.std([_excess(found[rng.integers(sets, size=sets)]) for _ in range(200)])
            ratio = _excess(found)
            met = "" if ratio <= 0.7 or name == "all follow" else "  (limit 0.7 missed)"
            print(
                f"  {name:26s} errors times {times:g}: excess variance {ratio:.2f} +/- {spread:.2f} of block-wise{met}"
            )


def _excess(found: NDArray) -> float:
    true_blocks, blocks, true_terms, terms = np.var(found, axis=0)
    return (terms - true_terms) / (blocks - true_blocks)


def part_lack_of_fit(sets: int) -> None:
    """Print false alarms and power of the test of a course, ten blocks with errors that are in part common.

    Deviations in standard errors of the block that is farthest off the best course of the model (the mean course of a
    group has the errors of a mean; a session has its own). Four courses that their model does not have. Beside them the
    most that any test can have that knows the course but for its sign, and, of one odd block, that knows all but which
    block it is (Neyman and Pearson: the mean likelihood ratio over the blocks).
    """
    n = 10
    t = np.arange(n) - 2.0
    covariance = np.eye(n) + 0.3
    root = np.linalg.cholesky(covariance)
    step = (t >= 0).astype(float)
    rise = np.where(t >= 0, 1 - np.exp(-(t + 0.5) / 1.5), 0.0)
    cases = {
        "slow rise as step": (step, np.where(t >= 0, 1 - np.exp(-(t + 0.5) / 4.0), 0.0)),
        "passing rise as infusion": (rise, np.where(t >= 0, (t + 0.5) * np.exp(-(t + 0.5) / 2.0), 0.0)),
        "late rise as infusion": (rise, (t >= 3).astype(float)),
        "one block off a step": (step, (t == 3).astype(float)),
    }
    rng = np.random.default_rng(1)
    null = [course.lack_of_fit(root @ rng.normal(size=n), covariance, _with_constant(step)).p for _ in range(4 * sets)]
    print(f"  {rate(np.array(null) <= 0.05, f'false alarms ({4 * sets} sessions)', 0.0, 6.5)}")
    for name, (model, truth) in cases.items():
        design = _with_constant(model)
        inverse = np.linalg.inv(covariance)
        hat = design @ np.linalg.solve(design.T @ inverse @ design, design.T @ inverse)
        off = truth - hat @ truth
        se = np.sqrt(np.diagonal(covariance - hat @ covariance))
        unit = off / np.max(np.abs(off) / se)
        powers, best = [], _best_power(covariance, design, 3 * unit)
        for size in (1.0, 2.0, 3.0, 4.0):
            hits = [
                course.lack_of_fit(size * unit + root @ rng.normal(size=n), covariance, design).p <= 0.05
                for _ in range(sets // 4)
            ]
            powers.append(f"{100 * np.mean(hits):3.0f} %")
        bound = best[1] if name.startswith("one block") else best[0]
        met = "" if int(powers[2].split()[0]) >= 80 else "  (limit of 80 % at 3 SE missed)"
        print(f"  {name:26s} power at 1, 2, 3, 4 SE: {', '.join(powers)}; at most {100 * bound:.0f} % at 3 SE{met}")


def _best_power(covariance: NDArray, design: NDArray, off: NDArray, draws: int = 20_000) -> tuple[float, float]:
    """Power at 5 % of the best test that knows the deviation but for its sign, and but for its block.

    A block's deviation is the largest of `off`, in standard errors of what the course leaves there.
    """
    rng, lower = np.random.default_rng(2), np.linalg.cholesky(covariance)
    left, _, _ = np.linalg.svd(np.linalg.solve(lower, design))
    outside = left[:, design.shape[1] :]
    mean = outside.T @ np.linalg.solve(lower, off)
    blocks = lower @ outside
    blocks /= np.linalg.norm(blocks, axis=1)[:, np.newaxis]
    size = np.linalg.norm(mean)
    noise = rng.normal(size=(draws, mean.size))

    def ratio(seen: NDArray, at: NDArray) -> NDArray:
        return np.cosh(size * seen @ at.T).mean(axis=1)

    powers = []
    for at in ((mean / size)[np.newaxis], blocks):
        limit = np.quantile(ratio(noise, at), 0.95)
        powers.append(float(np.mean(ratio(noise[::-1] + mean, at) > limit)))
    return powers[0], powers[1]


def _with_constant(values: NDArray) -> NDArray:
    return np.column_stack([np.ones(values.size), values])


def part_coverage(sets: int) -> None:
    """Coverage of 95 % intervals of a step of Glu and Glx in sessions of six blocks, all metabolites following it.

    15 metabolites and macromolecules, amounts that differ by 10 % between sessions, widths by 0.7 Hz between sessions
    and 0.15 Hz between blocks, shifts by 0.3 Hz, SNR of a block 40 to 80; 2.56 kHz, 0.4 s.
    """
    mhz, dwell, points, blocks = 123.25, 1 / 2560, 1024, 6
    names = ("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Glu", "Gln", "Ins", "GSH", "Tau", "Asp", "GABA", "sIns", "Lac")
    usual = np.array([10, 2, 5, 4.5, 1.2, 0.5, 10, 3, 5, 2, 1.5, 1.5, 1, 0.4, 0.5])
    basis = sequences.simulate(sequences.Sequence("press", 0.03, te1=0.011), mhz, names, True, dwell, points)
    model = Model(basis_sets.match(basis, mhz, "1H", dwell, points), (0.5, 4.2))
    step, t = (np.arange(blocks) >= 2).astype(float), time_axis(points, dwell)
    own = {"Glu": [names.index("Glu")], "Glx": [names.index(name) for name in ("Glu", "Gln")]}
    hits: dict[str, list[float]] = {name: [] for name in own}
    begun = time.process_time()
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        level = np.append(usual * (1 + 0.1 * rng.normal(size=usual.size)), np.full(len(basis.names) - usual.size, 3.0))
        amounts = np.tile(level, (blocks, 1))
        rise = 0.06 * level[own["Glx"]] * (1 + 0.3 * rng.normal(size=2))
        amounts[:, own["Glx"]] += np.outer(step, rise)
        width = 5 + 0.7 * rng.normal() + 0.15 * rng.normal(size=(blocks, 1))
        lines = amounts @ basis.fids * np.exp(-np.pi * 2 * t - (np.pi * width * t) ** 2 / (4 * np.log(2)))
        lines *= np.exp(2j * np.pi * 0.3 * rng.normal(size=(blocks, 1)) * t)
        noise = np.abs(model.spectrum(lines[0])).max() / np.sqrt(points) / rng.uniform(40, 80)
        lines = lines + noise * (rng.normal(size=lines.shape) + 1j * rng.normal(size=lines.shape))
        result = fit.fit_session(lines, model, dynamic.terms(model.names, {"step": step}, blocks))
        for name, members in own.items():
            place = [result.terms.index((names[k], "step")) for k in members]
            sd = result.coefficient_covariance[np.ix_(place, place)].sum() ** 0.5
            truth = rise[: len(members)].sum()
            hits[name].append((result.coefficients[place].sum() - truth) / sd)
    for name, z in hits.items():
        z = np.array(z)
        said = rate(np.abs(z) < stats.norm.isf(0.025), f"coverage in {z.size} sessions", 93.0, 97.0)
        print(f"  {name}: {said}; error over its SD: mean {z.mean():+.2f}, SD {z.std():.2f}")
    print(f"  {(time.process_time() - begun) / sets:.2f} CPU-s a session")


def part_series(sets: int) -> None:
    """Fit 640 transients of an event-related design as one session: CPU time, memory, and the response."""
    mhz, dwell, points, n = 123.25, 2.5e-4, 2048, 640
    names = ("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Glu", "Gln", "Ins", "GSH", "Tau", "Asp", "GABA", "sIns", "Lac")
    amounts = np.array([10, 2, 5, 4.5, 1.2, 0.5, 10, 3, 5, 2, 1.5, 1.5, 1, 0.4, 0.5])
    basis = sequences.simulate(sequences.Sequence("press", 0.03, te1=0.011), mhz, names, True, dwell, points)
    model = Model(basis_sets.match(basis, mhz, "1H", dwell, points), (0.5, 4.2))
    rng = np.random.default_rng(1)
    on = (np.arange(n) % 16 < 6).astype(float)
    kernel = np.exp(-np.arange(20) / 3.0)
    task, drift = np.convolve(on, kernel / kernel.sum())[:n], np.linspace(-1, 1, n)
    levels = np.tile(np.append(amounts, np.full(len(basis.names) - len(names), 3.0)), (n, 1))
    levels[:, names.index("Glu")] += 1.5 * task
    t = time_axis(points, dwell)
    lines = levels @ (basis.fids * np.exp(-np.pi * 3 * t - (np.pi * 5 * t) ** 2 / (4 * np.log(2))))
    shifts = 0.3 * rng.normal(size=n) + 0.5 * drift
    lines *= np.exp(2j * np.pi * shifts[:, np.newaxis] * t)
    height = np.abs(model.spectrum(lines[0])).max() / np.sqrt(points)
    lines = lines + height / 4 * (rng.normal(size=lines.shape) + 1j * rng.normal(size=lines.shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    begun = time.process_time()
    design = dynamic.terms(model.names, {"task": task, "drift": drift}, n)
    result = fit.fit_session(lines, model, design)
    seconds = time.process_time() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    place = result.terms.index(("Glu", "task"))
    found, sd = result.coefficients[place], result.coefficient_covariance[place, place] ** 0.5
    met = "" if seconds <= 60 and after <= 1000 else "  (limit of 60 s or 1 GB missed)"
    print(f"  640 transients: {seconds:.1f} CPU-s, at most {after:.0f} MB ({before:.0f} MB before the fit){met}")
    print(f"  Glu response {found:.2f} +/- {sd:.2f}, put in 1.50")


def main() -> None:
    """Print the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sets", type=int, default=2000, help="simulated sets of each scenario")
    options = parser.parse_args()
    for part in options.parts:
        print(f"{part}: {globals()[f'part_{part}'].__doc__.splitlines()[0]}", flush=True)
        globals()[f"part_{part}"](options.sets)


if __name__ == "__main__":
    main()
