"""Datasets of other tools go from end to end in a folder elsewhere, where nothing of the checkout is."""

import subprocess
import sys
from pathlib import Path

import made_datasets as made
import pandas as pd
import pytest
import yaml

from mrsflow.files import checksum

ROOT = Path(__file__).resolve().parents[2]
HEAT = {"event": "heat", "bins": {"before": [-2, 0], "after": [0, 2]}, "baseline": ["before"]}
HALVES = {"event": "start", "bins": {"before": [0, 1], "after": [1, 2]}, "baseline": ["before"]}
DATASETS = {
    "two tasks, no sessions, ages as ranges": (made.pain, {"task": "pain"}, HEAT, {}, 30),
    "three sequences side by side": (
        made.edited, {"acq": "press"}, HALVES, {"repetition_time_ms": 2000, "echo_time_ms": 35}, 30),
}  # fmt: skip


def everything(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): checksum(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_of_another_tool_goes_from_end_to_end(tmp_path, name):
    build, select, blocks, own, excitations = DATASETS[name]
    build(tmp_path / "data", people=2)
    before = everything(tmp_path / "data")
    content = made.configuration(Path("data"), inputs={"bids": "data", "select": select}, blocks=blocks)
    content["protocols"]["p"] |= own
    content["group"] = {"mood_scale": None}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", "-c1", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path]
    command += ["--configfile", tmp_path / "config.yaml"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert everything(tmp_path / "data") == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", "config.yaml", "results", ".snakemake"}
    table = pd.read_csv(tmp_path / "results/group/blocks_long.tsv", sep="\t", dtype={"participant": str})
    used = table.drop_duplicates(["participant", "block"])
    assert set(zip(used["participant"], used["block"], strict=True)) == {
        (person, block) for person in ("01", "02") for block in ("before", "after")
    }
    assert set(used["n_transients"] + used["n_rejected"]) == {excitations}
    assert (tmp_path / "results/report/index.html").is_file()
