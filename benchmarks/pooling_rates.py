"""Error rates of pooled trials: the mean tested by Hartung and Knapp, with the guard and without.

Each set has 3, 5 or 12 crossovers of 10 to 40 participants and no effect; errors are those of a paired t-test, with the
standard errors that such trials would estimate. The variance between trials is none, that of a typical error, or four
times as large. Claimed: 3 to 6.5 % of the sets in each cell without the guard, at most 6.5 % with it; the 95 % interval
of a rate of 2,000 sets is 1 point to either side. Beside them: how often the prediction interval held the effect of a
further trial.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from mrsflow.models import meta
from mrsflow.run import run

TRIALS = (3, 5, 12)
TAU2 = (0.0, 1.0, 4.0)
SD = 5.0  # of the differences within participants (% of the baseline)


def simulated(k: int, tau2: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Estimates and variances of k trials, and the effect of a further one; tau2 over a typical error's variance."""
    n = rng.integers(10, 41, k)
    tau = np.sqrt(tau2 * SD**2 / 25)
    effects = rng.normal(0, tau, k)
    variances = SD**2 / n * rng.chisquare(n - 1) / (n - 1)
    return effects + rng.normal(0, SD / np.sqrt(n)), variances, float(rng.normal(0, tau))


def main(sets: int = 5000, seed: int = 22) -> None:
    """Print a row for each number of trials and size of tau.

    Parameters
    ----------
    sets : int
        Simulated sets of each cell.
    seed : int
        Of the simulation.
    """
    print(f"{sets} sets a cell; false positives (%) at 5 %, and how often intervals hold a further trial (%)")
    print("trials  tau2  plain  guarded  prediction  prediction guarded  tau2 = 0 in")
    short = []
    for k in TRIALS:
        for tau2 in TAU2:
            rng = np.random.default_rng([seed, k, int(tau2)])
            found = []
            for _ in range(sets):
                y, v, further = simulated(k, tau2, rng)
                pooled = meta.fit(y, v)
                own = [pooled.contrast([1.0], 0.95, guard).p < 0.05 for guard in (False, True)]
                for guard in (False, True):
                    low, high = pooled.prediction(0.95, guard)
                    own.append(low < further < high)
                found.append([*own, pooled.heterogeneity.tau2 == 0])
            plain, guarded, *rest = 100 * np.mean(found, axis=0)
            print(f"{k:6d}  {tau2:4g}  {plain:5.1f}  {guarded:7.1f}  {rest[0]:10.1f}  {rest[1]:18.1f}  {rest[2]:10.0f}")
            if not 3 <= plain <= 6.5 or guarded > 6.5:
                short.append(f"{k} trials, tau2 {tau2:g}")
    print(f"outside what is claimed: {', '.join(short) or 'none'}")


if __name__ == "__main__":
    run(main)
