"""Print wall and CPU time and the peak memory of every stage of a finished run.

    python benchmarks/demo_cost.py demo/results

Snakemake measured each job (the `benchmark:` files); this adds them up.
"""

import sys
from pathlib import Path

import pandas as pd

STAGES = ("convert", "preprocess", "simulate_basis", "fit", "group", "figures", "report_sessions", "report")


def costs(output: Path) -> pd.DataFrame:
    """One row per stage: jobs, wall and CPU seconds, peak memory of any job (MB)."""
    rows = []
    for stage in STAGES:
        folder = output / "benchmarks"
        jobs = [pd.read_csv(p, sep="\t") for p in [*folder.glob(f"{stage}/*.tsv"), *folder.glob(f"{stage}.tsv")]]
        if jobs:
            table = pd.concat(jobs)
            numbers = table[["s", "cpu_time", "max_rss"]].apply(pd.to_numeric, errors="coerce")
            rows.append([stage, len(jobs), numbers["s"].sum(), numbers["cpu_time"].sum(), numbers["max_rss"].max()])
    table = pd.DataFrame(rows, columns=["stage", "jobs", "wall_s", "cpu_s", "peak_mb"])
    table.loc[len(table)] = ["all", *table[["jobs", "wall_s", "cpu_s"]].sum(), table["peak_mb"].max()]
    return table


if __name__ == "__main__":
    print(costs(Path(sys.argv[1])).to_string(index=False, float_format="%.1f"))
