"""One fault of each kind through the whole chain, raw files to report: the others are done, and the last lines tell."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from faulty import edit_bytes
from stand_in import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Raw files of a trial of four participants at two sites."""
    folder = tmp_path_factory.mktemp("made")
    command = [sys.executable, ROOT / "scripts/simulate_trial.py", "--out", "trial", "--participants", "4"]
    subprocess.run([*command, "--sites", "ge", "siemens"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def trial(made, tmp_path):
    shutil.copytree(made / "trial", tmp_path / "trial")
    return tmp_path


def snakemake(folder, *options):
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--configfile", "trial/config/config.yaml"]
    command += ["--cores", "2", "--config", "batch_size=3", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)


def kept(folder, *, only=None):
    """Which sessions have a fit, and when it was written."""
    found = {p.name[:13]: p.stat().st_mtime_ns for p in folder.glob("trial/results/derivatives/**/*_mrsfit.tsv")}
    return found if only is None else {key: found[key] for key in only}


def rewrite(path, how):
    path.write_bytes(how(path.read_text()))


def test_damaged_raw_files_cost_their_sessions_alone(trial):
    raw = sorted(p for p in (trial / "trial/raw").rglob("*") if p.is_file() and "WREF" not in p.name)
    assert len(raw) == 8
    cut, flipped, gone, letter, empty, folder, odd, sound = raw
    whole = cut.read_bytes()
    os.truncate(cut, cut.stat().st_size // 2)
    edit_bytes(flipped, range(0, 4000, 7))
    gone.unlink()
    letter.write_text("This is a letter.\n")
    empty.write_bytes(b"")
    folder.unlink()
    folder.mkdir()
    strange = odd.rename(odd.with_name("it's a $(touch pwned) ü; file.dat" if odd.suffix == ".dat" else "it's; ü.7"))
    samples = trial / "trial/config/samples.tsv"
    text = samples.read_text().replace(odd.name, strange.name, 1)
    samples.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    result = snakemake(trial)
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert "Traceback" not in said
    assert str(trial) not in "".join(p.read_text() for p in trial.glob("trial/results/status/*/*.json"))
    lines = result.stderr.strip().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("6 failed; mend these and run"))
    failed = lines[start + 1 : start + 7]
    assert len(lines) - start < 14
    broken = [cut, flipped, gone, letter, empty, folder]
    assert [line.split(": ")[1] for line in failed] == [p.parent.name for p in broken]
    assert all(line.startswith("convert: sub-") and "samples.tsv, line " in line for line in failed)
    assert set(kept(trial)) == {odd.parent.name, sound.parent.name}
    assert (trial / "trial/results/report/index.html").is_file()
    assert (trial / "trial/results/group/headline.json").is_file()
    assert not list(trial.rglob("pwned"))
    before = kept(trial)
    cut.write_bytes(whole)
    assert snakemake(trial).returncode == 1
    assert kept(trial, only=before) == before
    assert set(kept(trial)) == {*before, cut.parent.name}


@pytest.mark.parametrize("drop", ["all but one participant", "all but one arm"])
def test_a_study_too_small_for_its_design_is_done_and_says_what_is_missing(trial, drop):
    config = trial / "trial/config"
    people = {"01"} if drop == "all but one participant" else {"01", "02"}
    header, *rows = (config / "sessions.tsv").read_text().splitlines()
    arm = header.split("\t").index("arm")
    visits = [row.split("\t") for row in rows]
    wanted = {tuple(v[:2]) for v in visits if v[0] in people and (len(people) == 1 or v[arm] == "placebo")}
    for name in ("samples", "sessions", "participants"):
        header, *rows = (config / f"{name}.tsv").read_text().splitlines()
        cells = [row.split("\t") for row in rows]
        chosen = [c for c in cells if (c[0] in people if name == "participants" else tuple(c[:2]) in wanted)]
        (config / f"{name}.tsv").write_text("\n".join([header, *map("\t".join, chosen)]) + "\n")
    result = snakemake(trial)
    assert "Traceback" not in result.stdout + result.stderr
    assert len(kept(trial)) == 2
    assert result.returncode == 0, result.stderr[-2000:]
    headline = json.dumps(json.loads((trial / "trial/results/group/headline.json").read_text()))
    assert "not estimated" in headline or "no primary" in headline
    assert (trial / "trial/results/report/index.html").is_file()
