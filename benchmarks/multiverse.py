"""The multiverse: whether its joint tests hold their level, and what the paths of a finished study cost.

``python benchmarks/multiverse.py [--labellings 2000]`` simulates crossovers without an effect whose 64 paths share part
of their noise, as choices of the same analysis do, and puts re-randomised labellings in the place of the observed one.
``python benchmarks/multiverse.py --output results`` reads the times of the jobs of a study that declared reprocessing
(`group.multiverse`) and prints them beside those of paths that share nothing.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mrsflow.files import read_table  # noqa: E402
from mrsflow.models import permutation  # noqa: E402
from mrsflow.run import run  # noqa: E402

LEVELS = ("a", "b")
PATHS = 64
TESTS = ("median of t", "share of significant paths")


def main(labellings: int = 2000, output: Path | None = None) -> None:
    """Print the part asked for.

    Parameters
    ----------
    labellings : int
        Re-randomised labellings of each scenario.
    output : Path, optional
        Folder of outputs of a finished study.
    """
    if output is not None:
        cost(output)
        return
    for n, shared, lost in ((14, 0.5, 0), (14, 0.9, 0), (14, 0.9, 3), (26, 0.9, 0)):
        p = level(n, shared, lost, labellings)
        said = f"{n} participants, {PATHS} paths, correlation {shared:g}" + f", {lost} absent in half of them" * bool(
            lost
        )
        print(said)
        for name, found in zip(TESTS, p.T, strict=True):
            low, high = stats.binom.ppf([0.005, 0.995], len(found), found.mean()) / len(found)
            met = "" if 0.03 <= found.mean() <= 0.065 else "  (limits 3 to 6.5 % missed)"
            print(f"  {name:28s} p < 0.05 in {100 * found.mean():.1f} % [{100 * low:.1f}, {100 * high:.1f}]{met}")


def level(n: int, shared: float, lost: int, labellings: int) -> np.ndarray:
    """Whether both joint tests are below 0.05, for each labelling, each with the assignments as reference.

    Up to 14 participants the reference are all assignments; of more, 1999 drawn ones, and every labelling is one more.
    """
    rng = np.random.default_rng(n + lost)
    labels = np.array([LEVELS, LEVELS[::-1]] * (n // 2), dtype=object)
    orders, exact = permutation.assignments(labels, 4000 if n <= 14 else 1999 + labellings, 1)
    common, found = rng.normal(size=(n, 2)), []
    for k in range(PATHS):
        y = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=(n, 2))
        members = np.arange(n - lost if k % 2 else n)
        visit = np.tile([0.0, 1.0], members.size)[:, np.newaxis]
        people = np.repeat(members, 2)
        found.append(permutation.drawn_t(y[members].ravel(), visit, labels, people, LEVELS, "b", orders, members))
    _, t, df = zip(*found, strict=True)
    t = np.column_stack(t)
    if exact:
        observed, reference = rng.permutation(t)[:labellings], t
    else:
        observed, reference = t[:labellings], t[labellings:]
    tests = [permutation.joint_test(own, reference, df, exact) for own in observed]
    return np.array([[test.median_p < 0.05, test.share_p < 0.05] for test in tests])


def cost(output: Path) -> None:
    """Print CPU time and jobs of the study itself, of its variants, and of as many studies as there are fits."""
    spent: dict[str, list[float]] = {}
    for path in sorted((output / "benchmarks").glob("*/*.tsv")):
        table = read_table(path)
        stage = path.parent.name
        kind = "variants" if "_" in stage and stage.startswith(("preprocess_", "fit_", "simulate_basis_v")) else "study"
        name = f"{kind}: {stage.split('_')[0] if kind == 'variants' else stage}"
        spent.setdefault(name, []).append(float(pd.to_numeric(table["cpu_time"], errors="coerce").sum()))
    for name, seconds in sorted(spent.items()):
        print(f"{name:28s}{len(seconds):5d} jobs {sum(seconds):9.1f} CPU-s")
    paths = read_table(output / "group" / "multiverse.tsv", ("variant",))
    n_fits = paths["variant"].fillna("").nunique()
    alone = sum(sum(spent.get(f"study: {stage}", [])) for stage in ("convert", "preprocess", "fit"))
    print(f"{len(paths)} paths of {n_fits} fits; {n_fits} studies by themselves: {n_fits * alone:.0f} CPU-s")


if __name__ == "__main__":
    run(main)
