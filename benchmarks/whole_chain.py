"""Send many small simulated trials from raw scanner files to the test and compare with their truth.

    python benchmarks/whole_chain.py --trials 30 --participants 8 --cores 2 --folder build/whole_chain

Each trial has GE and Siemens sessions and its own seed, and goes through the same Snakefile as any study. Printed: the
bias of the estimated arm difference of Glx/tNAA with its Monte-Carlo interval, and how many 95 % intervals cover.
A finished trial is kept as one row of ``trials.tsv``, so that an interrupted benchmark goes on.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from mrsflow.run import run  # noqa: E402

FIRST_SEED = 1000


def main(
    trials: int = 30, participants: int = 8, cores: int = 2, folder: Path = Path("build/whole_chain"), coils: int = 4
) -> None:
    """Run the trials that are not done yet and print the summary.

    Parameters
    ----------
    trials : int
        How many; seeds are 1000, 1001, ...
    participants : int
        Per trial.
    cores : int
        For Snakemake.
    folder : Path
        Work folder; raw files and results of a trial are removed when its row is written.
    coils : int
        Receive coils of the simulated sessions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "trials.tsv"
    done = pd.read_csv(table, sep="\t") if table.exists() else pd.DataFrame(columns=["seed"])
    for seed in range(FIRST_SEED, FIRST_SEED + trials):
        if seed in set(done["seed"]):
            continue
        row = one_trial(folder / f"trial_{seed}", seed, participants, cores, coils)
        done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
        done.to_csv(table, sep="\t", index=False)
        print(json.dumps(row), flush=True)
    summary(done)


def one_trial(folder: Path, seed: int, participants: int, cores: int, coils: int) -> dict:
    """Simulate, analyse and forget one trial; its estimate beside the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text(f"n_coils: {coils}\nfailed_fraction: 0.0\n")
    simulate = [sys.executable, str(ROOT / "scripts/simulate_trial.py"), "--out", "trial", "--sites", "ge", "siemens"]
    simulate += ["--participants", str(participants), "--seed", str(seed), "--settings", "settings.yaml"]
    subprocess.run(simulate, cwd=folder, check=True, capture_output=True)
    snakemake = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "--cores",
        str(cores),
        "--quiet",
        "all",
    ]
    snakemake += ["--configfile", "trial/config/config.yaml", "--", "trial/results/group/headline.json"]
    subprocess.run(snakemake, cwd=folder, check=True, capture_output=True)
    truth = json.loads((folder / "trial/truth/trial.json").read_text())["arm_difference"]
    found = json.loads((folder / "trial/results/group/headline.json").read_text())
    shutil.rmtree(folder)
    row = {key: found[key] for key in ("estimate", "se", "df", "ci_low", "ci_high", "p")}
    return {"seed": seed, "truth": truth["sample"], "values": truth["values"], **row}


def summary(table: pd.DataFrame) -> None:
    """Print bias, coverage and their Monte-Carlo intervals."""
    error = (table["estimate"] - table["truth"]).to_numpy()
    half = stats.t.ppf(0.975, len(error) - 1) * error.std(ddof=1) / np.sqrt(len(error))
    covered = int(((table["ci_low"] <= table["truth"]) & (table["truth"] <= table["ci_high"])).sum())
    interval = stats.binomtest(covered, len(table)).proportion_ci(method="exact")
    print(f"trials                       {len(table)}")
    print(f"true arm difference, mean    {table['truth'].mean():+.4f}")
    print(f"bias of the estimate         {error.mean():+.4f} (95 % Monte-Carlo interval ± {half:.4f})")
    print(f"SD of the error, mean SE     {error.std(ddof=1):.4f}, {table['se'].mean():.4f}")
    print(
        f"95 % intervals that cover    {covered} of {len(table)} "
        f"({100 * interval.low:.0f} to {100 * interval.high:.0f} %, exact 95 % interval)"
    )


if __name__ == "__main__":
    run(main)
