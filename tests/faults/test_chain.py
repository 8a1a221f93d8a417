"""One fault of each kind through the whole chain, raw files to report: the others are done, and the last lines tell."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from faulty import edit_bytes
from stand_in import ROOT

from mrsflow.files import checksum, read_table, write_table

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


def keep(folder, wanted):
    """Keep the sessions of which `wanted(participant, arm)` holds in the tables of the trial."""
    config = folder / "trial/config"
    tables = {name: read_table(config / f"{name}.tsv", text_columns=True) for name in ("samples", "sessions")}
    visits = tables["sessions"]
    chosen = visits[[wanted(p, a) for p, a in zip(visits["participant"], visits["arm"], strict=True)]]
    pairs = set(zip(chosen["participant"], chosen["session"], strict=True))
    for name, table in tables.items():
        rows = [pair in pairs for pair in zip(table["participant"], table["session"], strict=True)]
        write_table(table[rows], config / f"{name}.tsv")


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    """A trial of two participants, analysed."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(made / "trial", folder / "trial")
    keep(folder, lambda participant, arm: participant in ("01", "02"))
    assert snakemake(folder).returncode == 0
    return folder


def copy_of(folder, target):
    """A copy with all times, as Snakemake and the records look at them."""
    subprocess.run(["cp", "-a", f"{folder}/.", target], check=True)
    return target


def results(folder):
    """Checksum of every result but what tells of the run itself."""
    base = folder / "trial/results"
    own = ("benchmarks", "logs", "status")
    found = {str(p.relative_to(base)): checksum(p) for p in sorted(base.rglob("*")) if p.is_file()}
    return {name: digest for name, digest in found.items() if not name.startswith(own)}


def one_of_each_kind(names):
    """One file of every kind that any stage writes, the sessions in turn."""
    kinds = {}
    for name in names:
        kinds.setdefault(re.sub(r"(sub|ses)-\w+?(?=[_/.])", r"\1-X", name), []).append(name)
    return [found[i % len(found)] for i, found in enumerate(kinds.values())]


def test_one_output_of_every_kind_cut_or_lost_or_changed_is_made_again(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    before = results(folder)
    chosen = [n for n in one_of_each_kind(before) if n != "group/unmasking.json"]  # history: nothing can make it again
    assert len(chosen) > 100
    for i, name in enumerate(chosen):
        path = folder / "trial/results" / name
        if i % 3 == 0:
            os.truncate(path, path.stat().st_size // 2)
        elif i % 3 == 1:
            path.unlink()
        else:
            edit_bytes(path, [path.stat().st_size // 2])
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert results(folder) == before
    assert "Nothing to be done" in snakemake(folder).stderr


STEPS = {  # the script, what it is asked to do, and what to take away first, so that there is work
    "convert": ("bids/sub-01", "sessions"),
    "preprocess": ("derivatives/mrsflow/sub-01/ses-01/mrs/*preproc*", "sessions"),
    "fit": ("derivatives/mrsflow/sub-01/ses-01/mrs/*fit*", "sessions"),
    "report_sessions": ("report/sub-01_ses-01.html", "sessions"),
    "simulate_basis": ("basis/*", "basis"),
    "describe_dataset": ("bids/*.*", "study"),
    "group": ("group", "study"),
    "figures": ("figures", "study"),
    "report": ("report/*.*", "study"),
}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and a way to leave a few kilobytes free on it."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(tmp_path / "disk")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")

    def fill():
        used = subprocess.run(["df", "--output=used", tmp_path / "disk"], capture_output=True, text=True, check=True)
        size = int(used.stdout.split()[1]) + 4
        subprocess.run(["mount", "-o", f"remount,size={size}k", tmp_path / "disk"], check=True)

    yield tmp_path / "disk", fill
    subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_named_at_every_stage_with_the_file(finished, small_disk, step):
    place, fill = small_disk
    folder = copy_of(finished, place)
    gone, kind = STEPS[step]
    for path in (folder / "trial/results").glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fill()
    options = {
        "sessions": ["--sessions", "sub-01_ses-01", "--status", "trial/results/status/x.tsv"],
        "basis": ["--protocol", "ge", "--out", "trial/results/basis/ge.BASIS"],
        "study": [],
    }[kind]
    command = [sys.executable, ROOT / f"scripts/{step}.py", "--config", "trial/config/config.yaml", *options]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    said = r"error: .*trial/results/[\w./-]+: the disk is full \(No space left on device\).*run the same command"
    assert re.search(said, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert not list(folder.rglob(".tmp-*"))


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


def test_a_session_whose_spectra_were_not_acquired_is_no_failure(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    samples = folder / "trial/config/samples.tsv"
    rows = read_table(samples, text_columns=True)
    water = rows[rows["role"] == "mrsref"].iloc[0]
    key = f"sub-{water['participant']}_ses-{water['session']}"
    same = (rows["participant"] == water["participant"]) & (rows["session"] == water["session"])
    write_table(rows[~(same & (rows["role"] == "svs"))], samples)
    before = {name: time for name, time in kept(folder).items() if name != key}
    assert len(before) == 3
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert f"{key}: no metabolite spectra (role svs) in this session" in result.stderr
    assert kept(folder) == before
    flow = read_table(folder / "trial/results/group/flow.tsv")
    counts = flow[flow["condition"] == "all"].set_index("step")["n_sessions"]
    assert counts["without scans"] == 1 and counts["lost at fit"] == 0


@pytest.mark.parametrize("drop", ["all but one participant", "all but one arm"])
def test_a_study_too_small_for_its_design_is_done_and_says_what_is_missing(trial, drop):
    one = drop == "all but one participant"
    keep(trial, lambda participant, arm: participant == "01" if one else participant < "03" and arm == "placebo")
    result = snakemake(trial)
    assert "Traceback" not in result.stdout + result.stderr
    assert len(kept(trial)) == 2
    assert result.returncode == 0, result.stderr[-2000:]
    headline = json.dumps(json.loads((trial / "trial/results/group/headline.json").read_text()))
    assert "not estimated" in headline or "no primary" in headline
    assert (trial / "trial/results/report/index.html").is_file()
