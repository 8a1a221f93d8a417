"""Send many small simulated trials from raw scanner files to the test and compare with their truth.

    python benchmarks/whole_chain.py --trials 30 --participants 8 --jobs 2 --folder build/whole_chain

Each trial has GE and Siemens sessions and its own seed, and goes through the same Snakefile as any study, up to the
group tables; a stage takes all sessions of a trial in one job, which spares start-up. Printed: the bias of the
estimated arm difference of Glx/tNAA with its Monte-Carlo interval, how many 95 % intervals cover, and the part of the
error that the chain adds: the estimate less that of the same analysis of the true values of the blocks, in which
participants, visits and blocks differ alike. A finished trial is kept as one row of ``trials.tsv``, so that an
interrupted benchmark goes on with the next.

    python benchmarks/whole_chain.py --demo demo

prints of a finished demo (``make demo``) the bias of levels, the error of a session's change from baseline, and the
standard error of the arm difference, beside those of the true values and the Cramér-Rao floor.
"""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import demo_truth  # noqa: E402

from mrsflow.errors import InputError  # noqa: E402
from mrsflow.models import session_models  # noqa: E402
from mrsflow.run import run  # noqa: E402

FIRST_SEED = 1000
ARMS = ("placebo", "naltrexone")


def main(
    trials: int = 30,
    participants: int = 8,
    jobs: int = 2,
    folder: Path = Path("build/whole_chain"),
    coils: int = 4,
    demo: Path | None = None,
) -> None:
    """Run the trials that are not done yet and print the summary.

    Parameters
    ----------
    trials : int
        How many; seeds are 1000, 1001, ...
    participants : int
        Per trial.
    jobs : int
        Trials at a time, one process each.
    folder : Path
        Work folder; raw files and results of a trial are removed when its row is written.
    coils : int
        Receive coils of the simulated sessions.
    demo : Path, optional
        A finished demo to evaluate instead.
    """
    if demo is not None:
        demo_truth.evaluate(demo)
        return
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "trials.tsv"
    done = pd.read_csv(table, sep="\t") if table.exists() else pd.DataFrame(columns=["seed"])
    wanted = range(FIRST_SEED, FIRST_SEED + trials)
    with ThreadPoolExecutor(jobs) as pool:
        left = [seed for seed in wanted if seed not in set(done["seed"])]
        running = [pool.submit(one_trial, folder / f"trial_{seed}", seed, participants, coils) for seed in left]
        for finished in as_completed(running):
            if finished.exception():
                pool.shutdown(wait=False, cancel_futures=True)
            row = finished.result()
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True).sort_values("seed")
            done.to_csv(table, sep="\t", index=False)
            print(json.dumps(row), flush=True)
    summary(done[done["seed"].isin(wanted)])


def one_trial(folder: Path, seed: int, participants: int, coils: int) -> dict:
    """Simulate, analyse and forget one trial; its estimate beside the truth."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text(f"n_coils: {coils}\nfailed_fraction: 0.0\n")
    simulate = [str(ROOT / "scripts/simulate_trial.py"), "--out", "trial", "--sites", "ge", "siemens"]
    call([*simulate, "--participants", str(participants), "--seed", str(seed), "--settings", "settings.yaml"], folder)
    snakemake = ["-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1", "--quiet", "all"]
    snakemake += ["--configfile", "trial/config/config.yaml", "--config", f"batch_size={2 * participants}"]
    call([*snakemake, "--", "trial/results/group/headline.json"], folder)
    truth = json.loads((folder / "trial/truth/trial.json").read_text())["arm_difference"]["sample"]
    found = json.loads((folder / "trial/results/group/headline.json").read_text())
    exact = of_true_values(pd.read_csv(folder / "trial/truth/blocks.tsv", sep="\t"))
    shutil.rmtree(folder)
    row = {key: found[key] for key in ("n_sessions", "n_blocks", "estimate", "se", "df", "ci_low", "ci_high", "p")}
    return {"seed": seed, "truth": truth, "of_true_values": exact, **row}


def call(command: list[str], folder: Path) -> None:
    """Run Python in a trial's folder; a failure ends the benchmark with what was said last."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{folder}: {command[0]} failed: {done.stderr.strip()[-2000:]}")


def of_true_values(blocks: pd.DataFrame) -> float:
    """Estimate the arm difference from the true Glx/tNAA of the blocks: the crossover test of changes."""
    keys = ["participant", "session", "visit", "arm"]
    phase = np.where(blocks["phase"] == "baseline", "bl", "y")
    means = blocks.assign(phase=phase).pivot_table(index=keys, columns="phase", values="glx_tnaa").reset_index()
    sessions = means.rename(columns={"arm": "condition"})
    sessions["change"] = sessions["y"] - sessions["bl"]
    return float(session_models.crossover(sessions, ARMS, {ARMS[1]: 1.0, ARMS[0]: -1.0}, "change").test.estimate)


def summary(table: pd.DataFrame) -> None:
    """Print bias, coverage and their Monte-Carlo intervals."""
    covered = int(((table["ci_low"] <= table["truth"]) & (table["truth"] <= table["ci_high"])).sum())
    interval = stats.binomtest(covered, len(table)).proportion_ci(method="exact")
    print(f"trials                       {len(table)}")
    print(f"true arm difference, mean    {table['truth'].mean():+.4f}")
    for name, known in (("bias of the estimate", "truth"), ("of this added by the chain", "of_true_values")):
        error = table["estimate"] - table[known]
        half = stats.t.ppf(0.975, len(error) - 1) * error.sem() if len(error) > 1 else np.nan
        print(f"{name:29s}{error.mean():+.4f} (95 % Monte-Carlo interval ± {half:.4f}), SD {error.std():.4f}")
    print(f"mean SE of the estimate      {table['se'].mean():.4f}")
    print(
        f"95 % intervals that cover    {covered} of {len(table)} "
        f"({100 * interval.low:.0f} to {100 * interval.high:.0f} %, exact 95 % interval)"
    )


if __name__ == "__main__":
    run(main)
