"""What the workflow itself costs, for studies of 26 to 10,000 sessions.

The stages are stand-ins that copy text, so what is measured is planning, starting jobs, reading tables, keeping records
and checking what stands; no signal is processed. ``python benchmarks/scale.py --sessions 26 260`` for a short look.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "workflow")]

from mrsflow.run import run  # noqa: E402

GOALS = {"plan_cpu_s": 30.0, "plan_mb": 500.0, "cpu_s_per_session": 0.3, "group_s": 60.0, "group_mb": 2000.0}


@dataclass
class Cost:
    """CPU seconds (user and system, with all children), wall seconds and peak memory of one process (MB)."""

    cpu: float
    wall: float
    memory: float


def measured(command: list[str], folder: Path, log: Path, status: tuple[int, ...] = (0,)) -> Cost:
    """Run a command and measure it; the log holds what it said."""
    start = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        _, code, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(code) not in status:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{log.read_text()[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)


def measure_study(sessions: int, batch_size: int, cores: int, folder: Path) -> dict[str, Cost]:
    """Plan, run, run again and plan again, now that all is finished, a study of stand-ins."""
    from stand_in import Project

    project = Project(folder / f"study{sessions}", sessions, batch_size, reads=("convert", "preprocess", "fit"))
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all"]
    log = folder / f"study{sessions}.log"
    return {
        "plan": measured([*command, "--dry-run"], project.folder, log),
        "run": measured(command, project.folder, log),
        "again": measured(command, project.folder, log),
        "plan again": measured([*command, "--dry-run"], project.folder, log),
    }


def measure_group(sessions: int, folder: Path) -> Cost:
    """Run the group step on the tables that fits of two sessions per participant leave: 6 blocks, 30 metabolites."""
    import fitted_trial

    names = (*(f"M{i:02d}" for i in range(20)), *fitted_trial.METABOLITES)
    trial = fitted_trial.write(folder / f"group{sessions}", n=sessions // 2, metabolites=names)
    script = str(ROOT / "scripts" / "group.py")
    command = [sys.executable, script, "--config", str(trial.config), "--status", str(trial.status)]
    return measured(command, folder, folder / f"group{sessions}.log")


def slope(sizes: list[int], costs: list[float]) -> float:
    """Exponent of cost against size (1: linear), from the two largest studies."""
    import math

    (x1, x2), (y1, y2) = sizes[-2:], costs[-2:]
    return math.log(y2 / y1) / math.log(x2 / x1)


def main(
    sessions: list[int] = (26, 260, 2600, 10000), batch_size: int = 20, cores: int = 2, group: bool = True
) -> None:
    """Measure the cost of the workflow's own machinery and print a table.

    Parameters
    ----------
    sessions : list of int
        Sizes of the studies.
    batch_size : int
        Sessions per job (K).
    cores : int
        Jobs at a time.
    group : bool
        Measure the group step too (tables, primary model, tests).
    """
    print(f"K = {batch_size}; CPU s with all children; memory of the largest process\n")
    print(
        "| sessions | plan CPU s | plan MB | run CPU s | machinery CPU s per session | again CPU s | again s | "
        "plan of the finished study CPU s | MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sorted(sessions):
            cost = measure_study(size, batch_size, cores, Path(folder))
            found.append(cost)
            plan, whole, again, finished = cost.values()
            print(
                f"| {size:,} | {plan.cpu:.1f} | {plan.memory:.0f} | {whole.cpu:.1f} | {whole.cpu / size:.3f} | "
                f"{again.cpu:.1f} | {again.wall:.1f} | {finished.cpu:.1f} | {finished.memory:.0f} |",
                flush=True,
            )
    last = found[-1]
    per_session = last["run"].cpu / max(sessions)
    plans = max(last[name].cpu for name in ("plan", "plan again"))
    print(f"\ngoals at {max(sessions):,}: plan < {GOALS['plan_cpu_s']:.0f} CPU s: {plans:.1f}; ", end="")
    print(f"plan < {GOALS['plan_mb']:.0f} MB: {last['plan'].memory:.0f}; ", end="")
    print(f"machinery < {GOALS['cpu_s_per_session']} CPU s a session: {per_session:.3f}")
    if len(found) > 1:
        for name in ("plan", "run", "again", "plan again"):
            print(f"{name}: CPU s grows as sessions^{slope(sorted(sessions), [c[name].cpu for c in found]):.2f}")

    if group:
        print_group(sorted(sessions))


def print_group(sessions: list[int]) -> None:
    """Measure the group step for studies of these sizes and print a table."""
    print("\n| sessions | group step CPU s | s | MB |\n|---|---|---|---|")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sessions:
            found.append(cost := measure_group(size, Path(folder)))
            print(f"| {size:,} | {cost.cpu:.1f} | {cost.wall:.1f} | {cost.memory:.0f} |", flush=True)
    goals = f"goals: < {GOALS['group_s']:.0f} s, < {GOALS['group_mb']:.0f} MB"
    print(f"\n{goals} at {sessions[-1]:,}: {found[-1].cpu:.1f} CPU s, {found[-1].memory:.0f} MB")
    if len(found) > 1:
        print(f"group: CPU s grows as sessions^{slope(sessions, [c.cpu for c in found]):.2f}")


if __name__ == "__main__":
    run(main)
