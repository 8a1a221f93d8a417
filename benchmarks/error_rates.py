"""Error rates of the group analyses in simulated crossover trials: type I error, coverage, power.

Prints a row for each scenario. Every scenario has its own seed, fixed here; run with ``--trials 2000`` or more. The
rates that are claimed: type I error of the primary test at most 7 % everywhere and 4 to 6.5 % in ``full``, coverage of
its 95 % interval and of Fieller's 93 to 98 %. A rate below 3 % belongs to fits with a variance at zero or few
participants, where Kenward and Roger's test is cautious.
"""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from mrsflow.models import session_models
from mrsflow.planning import power
from mrsflow.planning.power import Scenario
from mrsflow.run import run

MISSING = {"lost_blocks": 0.08, "dropouts": 2 / 26}
SCENARIOS = {
    "full": (Scenario(), 11),
    "8 % lost, 2 dropouts": (Scenario(**MISSING), 12),
    "no session variance": (Scenario(sd_session=0.0, sd_response_session=0.0, **MISSING), 13),
    "session response SD 3 %": (Scenario(sd_response_session=0.03, **MISSING), 14),
    "AR(1) 0.4": (Scenario(correlation=0.4, **MISSING), 15),
    "N = 12": (Scenario(n=12, lost_blocks=0.08, dropouts=2 / 12), 16),
}
# rise, attenuation and the power (%) that an independent simulation of the same model found
POWER = [(0.06, 0.3, 37.5), (0.06, 0.5, 81.3), (0.06, 0.75, 98.4), (0.03, 0.5, 30.3)]


@dataclass
class Rates:
    """Counts of what happened in the trials of a scenario."""

    rejected: int = 0
    covered: int = 0
    rejected_satterthwaite: int = 0
    rejected_independent: int = 0
    covered_independent: int = 0
    fieller: int = 0
    unbounded: int = 0
    singular: int = 0
    failed: int = 0


def count(scenario: Scenario, trials: int, seed: int) -> Rates:
    """Analyse the trials of a scenario; a Fieller set that is not bounded is counted by whether it holds the truth."""
    found = Rates()
    for batch in power.batches(scenario, trials, seed):
        weights = power.condition_weights(batch)
        fit = power.fit_primary(batch)
        for method, name in (("kenward-roger", "rejected"), ("satterthwaite", "rejected_satterthwaite")):
            test = fit.contrast(weights, method)
            setattr(found, name, getattr(found, name) + int(np.sum(test.p < 0.05)))
            if name == "rejected":
                found.covered += int(np.sum((test.ci_low <= scenario.effect) & (scenario.effect <= test.ci_high)))
        found.singular += int(fit.singular.sum())
        found.failed += int((~fit.converged).sum())
        independent = power.fit_primary(batch, session=False).contrast(weights, "satterthwaite")
        found.rejected_independent += int(np.sum(independent.p < 0.05))
        inside = (independent.ci_low <= scenario.effect) & (scenario.effect <= independent.ci_high)
        found.covered_independent += int(inside.sum())
        covered, bounded = fieller_of(batch, scenario.attenuation)
        found.fieller += int(covered.sum())
        found.unbounded += int((~bounded).sum())
    return found


def fieller_of(batch: power.Trials, truth: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether Fieller's set holds the true fraction, and whether it is bounded, as the attenuation table has it."""
    fit = power.fit_changes(batch)
    rows = np.array([[1, 1, 0.5], [1, 0, 0.5]])  # treated and reference, period averaged
    covered, bounded = np.zeros(len(fit.beta), bool), np.zeros(len(fit.beta), bool)
    means = fit.beta @ rows.T
    covariance = rows @ fit.covariance_kr @ rows.T
    for i, (treated, reference) in enumerate(means):
        df = fit[i].contrast(rows[0] - treated / reference * rows[1]).df
        found = session_models.fieller(treated, reference, covariance[i], float(df))
        bounded[i] = found.bounded
        if found.bounded:
            covered[i] = found.low <= truth <= found.high
        else:
            numerator = treated - (1 - truth) * reference
            w = np.array([1, -(1 - truth)])
            from scipy.special import stdtrit

            covered[i] = numerator**2 <= stdtrit(float(df), 0.975) ** 2 * (w @ covariance[i] @ w)
    return covered, bounded


def main(trials: int = 2000) -> None:
    """Print error rates, coverage and power of the group analyses.

    Parameters
    ----------
    trials : int
        Simulated trials of each scenario.
    """
    start = time.perf_counter()
    error = 200 * np.sqrt(0.05 * 0.95 / trials)
    print(f"{trials} trials a scenario; Monte-Carlo error at 5 % (2 SE): {error:.1f} points")
    heading("type I error, % (attenuation 0)", "KR", "Satterthwaite", "blocks independent", "variance at 0", "failed")
    for name, (scenario, seed) in SCENARIOS.items():
        r = count(replace(scenario, attenuation=0.0), trials, seed)
        counts = (r.rejected, r.rejected_satterthwaite, r.rejected_independent, r.singular, r.failed)
        line(name, [100 * v / trials for v in counts])
    heading("coverage, % (attenuation 50 %)", "KR", "Fieller", "Fieller unbounded", "blocks independent", "power KR")
    for name, (scenario, seed) in SCENARIOS.items():
        r = count(scenario, trials, seed + 100)
        counts = (r.covered, r.fieller, r.unbounded, r.covered_independent, r.rejected)
        line(name, [100 * v / trials for v in counts])
    heading("power, % (N = 26, 8 % lost)", "KR", "reference")
    for i, (rise, attenuation, known) in enumerate(POWER):
        found = power.power_of(Scenario(rise=rise, attenuation=attenuation, **MISSING), trials, 300 + i)
        line(f"rise {100 * rise:.0f} %, attenuation {100 * attenuation:.0f} %", [100 * found["power"], known])
    print(f"{time.perf_counter() - start:.0f} s")


def heading(title: str, *columns: str) -> None:
    """Print the heading of a table."""
    print(f"{title:34s}" + "".join(f"{c:>20s}" for c in columns))


def line(name: str, values: list[float]) -> None:
    """Print a row of a table."""
    print(f"  {name:32s}" + "".join(f"{v:20.1f}" for v in values), flush=True)


if __name__ == "__main__":
    run(main)
