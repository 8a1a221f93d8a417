"""The whole stage on simulated scanner files of three vendors, and what happens to sessions that cannot be used."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mrsflow import files, nifti_mrs
from mrsflow.conversion import bids, checks, convert
from mrsflow.errors import InputError
from mrsflow.preprocessing import session_files
from mrsflow.study import config, records
from mrsflow.study.study import read_study

ROOT = Path(__file__).resolve().parents[2]
SITES = ("ge", "siemens", "philips")
KEYS = ("sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01", "sub-03_ses-02")


def script(name: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / f"scripts/{name}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Path:
    """A folder with one participant per vendor, some of their visits converted, and described."""
    folder = tmp_path_factory.mktemp("trial")
    made = script("simulate_trial", folder, "--out", "demo", "--participants", 3, "--sites", *SITES)
    assert made.returncode == 0, made.stderr
    table = files.read_table(folder / "demo/config/samples.tsv", text_columns=True)
    kept = ("sub-" + table["participant"] + "_ses-" + table["session"]).isin(KEYS)
    kept &= table["run"].fillna("1").astype(int) <= 2
    files.write_table(table[kept], folder / "demo/config/samples.tsv")
    done = stage(folder, *KEYS)
    assert done.returncode == 0, done.stderr
    described = script("describe_dataset", folder, "--config", "demo/config/config.yaml")
    assert described.returncode == 0, described.stderr
    return folder


def stage(folder: Path, *keys: str, settings: str = "demo/config/config.yaml") -> subprocess.CompletedProcess:
    table = "demo/results/status/convert/batches/all.tsv"
    return script("convert", folder, "--config", settings, "--sessions", *keys, "--status", table)


def mrs(trial: Path, key: str) -> Path:
    return trial / "demo/results/bids" / key.replace("_", "/") / "mrs"


@pytest.mark.parametrize(("key", "coils", "frames", "runs"), [("sub-01_ses-01", 8, 180, 1), ("sub-03_ses-02", 1, 1, 2)])
def test_scans_come_out_with_their_frames_placed_in_time(trial, key, coils, frames, runs):
    scans = sorted(mrs(trial, key).glob("*_svs.nii.gz"))
    assert len(scans) == runs
    scan = nifti_mrs.read(scans[0])
    sidecar = files.read_json(scans[0].with_name(scans[0].name.replace(".nii.gz", ".json")))
    assert (scan.size("DIM_COIL"), scan.size("DIM_DYN")) == (coils, frames)
    assert checks.metabolite_side(scan) == 1
    duration = sidecar["ExcitationsPerFrame"] * sidecar["RepetitionTime"]
    onsets = scan.dimension_header("DIM_DYN").get("FrameOnset", [0.0])
    before = 16 * sidecar["RepetitionTime"] if key.startswith("sub-01") else 0  # GE measures its water first
    np.testing.assert_allclose(onsets, before + np.arange(frames) * duration)
    assert sidecar["NumberOfTransients"] == frames * sidecar["ExcitationsPerFrame"]
    assert sidecar["ReferenceSignal"].startswith(f"bids::{key.replace('_', '/')}/mrs/")
    assert (trial / "demo/results/bids" / sidecar["ReferenceSignal"].removeprefix("bids::")).is_file()


@pytest.mark.parametrize(("message", "tables", "dataset"), [
    ("give the true ones with --set EchoTime=VALUE RepetitionTime=VALUE",
     "give the true ones in column echo_time_ms and repetition_time_ms of the samples table",
     "give the true ones in the header of the file or its sidecar (EchoTime and RepetitionTime)"),
    ("give column inversion_time_ms of the samples table", None,
     "give InversionTime in the header of the file or its sidecar"),
    ("give it with --set ResonantNucleus=1H", "give it in column nucleus of the samples table",
     "give it in the header of the file or its sidecar (ResonantNucleus)"),
    ("copy it again, or correct column format of the samples table", None, "copy it again"),
    ("--set ResonantNucleus: 'H' is not a nucleus", "in column nucleus of the samples table: 'H' is not a nucleus",
     "in the header of the file or its sidecar (ResonantNucleus): 'H' is not a nucleus"),
])  # fmt: skip
def test_a_way_out_is_one_of_the_study(message, tables, dataset):
    assert convert.in_study(message, False) == (tables or message)
    assert convert.in_study(message, True) == dataset


def test_the_events_are_those_of_the_sessions_table(trial):
    study = read_study({**config.load(str(trial / "demo/config/config.yaml")), "inputs": tables(trial)})
    row = study.sessions.set_index("key").loc["sub-02_ses-01"]
    start = study.samples.set_index(["key", "role"]).loc[("sub-02_ses-01", "svs"), "start_time"]
    events = files.read_table(next(mrs(trial, "sub-02_ses-01").glob("*_events.tsv"))).set_index("trial_type")
    wanted = (np.datetime64(f"2000-01-01T{row['infusion_start']}") - np.datetime64(f"2000-01-01T{start}")).astype(float)
    assert events.loc["infusion", "onset"] == wanted
    assert events.loc["dose", "onset"] < 0


def tables(trial: Path) -> dict:
    names = ("samples", "participants", "sessions")
    unset = {"bids": None, "select": {}, "tissue": [], "segment": "none", "to_template": None, "maps": {}}
    return {name: str(trial / f"demo/config/{name}.tsv") for name in names} | unset


def errors_of_validator(root: Path) -> list[dict]:
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.is_file():
        pytest.skip("needs bids-validator-deno (make env)")
    done = subprocess.run([program, "--json", root], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def test_the_official_validator_finds_no_error(trial):
    assert errors_of_validator(trial / "demo/results/bids") == []


def test_a_second_run_does_nothing_and_fresh_ones_give_the_same_bytes(trial, tmp_path):
    image = next(mrs(trial, "sub-01_ses-01").glob("*_svs.nii.gz"))
    before = image.stat().st_mtime_ns, image.read_bytes()
    assert stage(trial, "sub-01_ses-01").returncode == 0
    assert (image.stat().st_mtime_ns, image.read_bytes()) == before
    settings = config.load(str(trial / "demo/config/config.yaml"))
    settings |= {"inputs": tables(trial)}
    study = read_study(settings)
    again = convert.convert_session("sub-01_ses-01", study, settings, tmp_path)
    known = trial / "demo/results"
    assert {p.relative_to(tmp_path): p.read_bytes() for p in again} == {
        p.relative_to(tmp_path): (known / p.relative_to(tmp_path)).read_bytes() for p in again
    }


def test_a_dataset_without_its_scans_says_so_is_valid_and_preprocessing_takes_them_from_elsewhere(trial, tmp_path):
    key, settings = "sub-03_ses-02", config.load(str(trial / "demo/config/config.yaml"))
    settings["inputs"], settings["convert"]["keep_scans"] = tables(trial), False
    study = read_study(settings)
    study = replace(study, samples=study.samples[study.samples["key"] == key])
    written = convert.convert_session(key, study, settings, tmp_path, tmp_path / "apart")
    bids.describe(study, "x", tmp_path, keep_scans=False)
    whole = {path.name: path.read_bytes() for path in mrs(trial, key).iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "apart").rglob("*.*")} == whole
    assert not list((tmp_path / "bids").rglob("*.nii.gz"))
    assert {path.name for path in written if path.parent.name == "mrs"} >= {n for n in whole if "nii" not in n}
    assert "scans themselves were not kept" in (tmp_path / "bids/README.md").read_text()
    assert errors_of_validator(tmp_path / "bids") == []
    found = []
    for name, scans in (("kept", mrs(trial, key).iterdir()), ("apart", (tmp_path / "apart").rglob("*.*"))):
        made = session_files.preprocess_session(key, sorted(scans), settings, tmp_path / name)
        found.append({path.name: path.read_bytes() for path in made})
    assert found[0] == found[1]


def test_a_row_put_before_others_changes_nothing_that_their_conversion_depends_on(trial):
    settings = config.load(str(trial / "demo/config/config.yaml")) | {"inputs": tables(trial)}
    study = read_study(settings)
    moved = replace(study, samples=study.samples.assign(line="another"))
    assert convert.work_of("sub-01_ses-01", moved, settings) == convert.work_of("sub-01_ses-01", study, settings)


def test_no_fictional_identity_is_left_and_a_planted_one_is_found(trial):
    done = script("check_outputs", trial, "--config", "demo/config/config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    said = (trial / "demo/results/status/complete.txt").read_text()
    assert re.match(r"\d+ sessions finished, \d+ with warnings of a check", said)
    assert "no identity found in any output: looked for " in said
    planted = trial / "demo/results/report.html"
    planted.write_text("<b>fictional person01</b>")
    done = script("check_outputs", trial, "--config", "demo/config/config.yaml")
    planted.unlink()
    assert done.returncode == 1
    found = "identity: report.html: a value of a raw header (PatientName) in its text; where it identifies nobody, list"
    assert found in done.stdout
    assert "person01" not in done.stdout.casefold()
    assert not (trial / "demo/results/status/complete.txt").exists()


def test_bytes_that_changed_while_size_and_time_stayed_are_found_at_the_end(trial):
    image = next(mrs(trial, "sub-01_ses-01").glob("*_svs.nii.gz"))
    before, whole = image.stat(), image.read_bytes()
    image.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = script("check_outputs", trial, "--config", "demo/config/config.yaml")
    image.write_bytes(whole)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done.returncode == 1
    assert f"{image.name}: is not as it was written; delete it and run again" in done.stdout


@pytest.fixture
def faulty(trial, tmp_path) -> Path:
    """Copy of the tables and of two raw sessions, to be spoiled."""
    shutil.copytree(trial / "demo/config", tmp_path / "demo/config")
    for key in ("sub-01_ses-01", "sub-02_ses-01"):
        shutil.copytree(trial / f"demo/raw/{key}", tmp_path / f"demo/raw/{key}")
    return tmp_path


def record(folder: Path, key: str) -> dict:
    return records.read_record(folder / "demo/results", "convert", key)


def changed(folder: Path, name: str, **protocol: object) -> None:
    path = folder / "demo/config/config.yaml"
    content = yaml.safe_load(path.read_text())
    content["protocols"][name] |= protocol
    path.write_text(yaml.safe_dump(content))


def test_a_bad_session_is_recorded_and_the_others_go_on(faulty):
    raw = next((faulty / "demo/raw/sub-01_ses-01").iterdir())
    raw.write_bytes(raw.read_bytes()[:300_000])
    changed(faulty, "siemens", use_frames="even")
    done = stage(faulty, "sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert record(faulty, "sub-02_ses-01")["status"] == "ok"
    half = nifti_mrs.read(next(mrs(faulty, "sub-02_ses-01").glob("*_svs.nii.gz")))
    assert half.dimension_header("DIM_DYN")["FrameOnset"][:3] == [16.0, 48.0, 80.0]
    reasons = [record(faulty, key)["reason"] for key in ("sub-01_ses-01", "sub-01_ses-02")]
    assert "truncated" in reasons[0] and "no such file" in reasons[1]
    assert all("demo/config/samples.tsv, line" in reason and str(faulty) not in reason for reason in reasons)
    assert not mrs(faulty, "sub-01_ses-01").exists()
    done = script("check_outputs", faulty, "--config", "demo/config/config.yaml")
    assert done.returncode == 1 and "convert: sub-01_ses-01: failed: " in done.stdout


def test_a_failed_check_stops_the_scan_and_says_what_settles_it(faulty):
    changed(faulty, "ge", echo_time_ms=35.0, phase_cycle=16)
    changed(faulty, "siemens", water_frames="first 180")
    assert stage(faulty, "sub-01_ses-01", "sub-02_ses-01").returncode == 0
    found = [record(faulty, key) for key in ("sub-01_ses-01", "sub-02_ses-01")]
    assert [r["status"] for r in found] == ["failed", "failed"]
    for named in ("protocols.ge.echo_time_ms", "protocols.ge.phase_cycle", "line 2"):
        assert named in found[0]["reason"]
    assert "water_frames" in found[1]["reason"]


def test_on_error_stop_ends_the_run(faulty):
    shutil.rmtree(faulty / "demo/raw/sub-01_ses-01")
    path = faulty / "demo/config/config.yaml"
    path.write_text(path.read_text() + "on_error: stop\n")
    done = stage(faulty, "sub-01_ses-01", "sub-02_ses-01")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert record(faulty, "sub-02_ses-01") is None


def test_what_the_events_need_is_asked_for(faulty):
    path = faulty / "demo/config/samples.tsv"
    table = files.read_table(path, text_columns=True)
    table.loc[0, "start_time"], table.loc[table["participant"] == "02", "task"] = None, None
    files.write_table(table, path)
    assert stage(faulty, "sub-01_ses-01", "sub-02_ses-01").returncode == 0
    assert "line 2: start_time is empty" in record(faulty, "sub-01_ses-01")["reason"]
    assert "task is empty" in record(faulty, "sub-02_ses-01")["reason"]
    assert not list((faulty / "demo/results/bids").rglob("*.*"))


def test_an_existing_bids_dataset_passes_through(trial, tmp_path):
    settings = config.load(str(trial / "demo/config/config.yaml"))
    settings["inputs"] = tables(trial) | {"bids": str(trial / "demo/results/bids")}
    settings["output"] = str(tmp_path)
    study = read_study(settings)
    assert sorted(study.keys) == list(KEYS)
    part = read_study(settings, ["sub-03_ses-02"])
    own = study.samples[study.samples["key"] == "sub-03_ses-02"].drop(columns="line")
    assert part.samples.drop(columns="line").astype(str).to_dict("records") == own.astype(str).to_dict("records")
    for key in ("sub-01_ses-01", "sub-03_ses-02"):
        convert.convert_session(key, study, settings, tmp_path)
        original = mrs(trial, key)
        for path in original.glob("*.nii.gz"):
            copy = tmp_path / "bids" / key.replace("_", "/") / "mrs" / path.name
            np.testing.assert_array_equal(nifti_mrs.read(copy).fid, nifti_mrs.read(path).fid)
            sidecars = [files.read_json(p.with_name(p.name.replace(".nii.gz", ".json"))) for p in (copy, path)]
            assert {**sidecars[0], "OriginalChecksum": 0} == {**sidecars[1], "OriginalChecksum": 0}
        events = [p.read_bytes() for p in sorted(original.glob("*_events.tsv"))]
        copied = tmp_path / "bids" / key.replace("_", "/") / "mrs"
        assert events == [p.read_bytes() for p in sorted(copied.glob("*_events.tsv"))]


def test_by_hand_writes_scan_and_reference_or_nothing(trial, tmp_path):
    raw = next((trial / "demo/raw/sub-01_ses-01").iterdir())
    written = convert.convert_by_hand([raw], tmp_path / "a.nii.gz", {"MixingTime": "0.01"})
    assert sorted(p.name for p in written) == ["a.json", "a.nii.gz", "a_mrsref.json", "a_mrsref.nii.gz"]
    assert files.read_json(tmp_path / "a.json")["MixingTime"] == 0.01
    with pytest.raises(InputError, match=r"EchoTime .*--set EchoTime"):
        convert.convert_by_hand([raw], tmp_path / "b.nii.gz", {"EchoTime": "30"})
    with pytest.raises(InputError, match=r"must end in \.nii\.gz"):
        convert.convert_by_hand([raw], tmp_path / "b.json", {})
    assert not list(tmp_path.glob("b*"))


def test_the_voxels_of_two_visits_are_compared(trial):
    table = files.read_table(trial / "demo/results/derivatives/mrsflow/desc-voxel_quality.tsv")
    assert table[["participant_id", "session_id", "reference_session_id"]].values.tolist() == [
        ["sub-01", "ses-02", "ses-01"]
    ]
    affines = [nifti_mrs.read(next(mrs(trial, key).glob("*_svs.nii.gz"))).affine for key in KEYS[:2]]
    shift = np.linalg.norm(affines[0][:3, 3] - affines[1][:3, 3])
    assert 0 < shift < 10 and 0.6 < table["dice"][0] < 1


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("/home/me/a b/P1.7: is empty", "a b/P1.7: is empty"),
        ("samples.tsv, line 2: /data/x/y.dat: no", "samples.tsv, line 2: y.dat: no"),
        ("raw/a.dat: Glx/tNAA and 1/2 stay", "raw/a.dat: Glx/tNAA and 1/2 stay"),
    ],
)
def test_absolute_paths_leave_messages(message, plain):
    assert convert.plain_paths(message) == plain


def test_events_that_are_given_go_out_cell_by_cell(tmp_path):
    given = "onset\tduration\ttrial_type\tdrug\tnurse\n1e1\tn/a\t007\t1e3\tred\n10.50\t2\t101\t1000\tblue\n"
    (tmp_path / "given.tsv").write_text(given)
    row = {"events": tmp_path / "given.tsv", "task": "k"}
    settings = {"convert": {"keep": ["drug"]}}
    (written,) = convert._write_events(row, {}, tmp_path / "bids", "sub-01_ses-1", settings)
    expected = "onset\tduration\ttrial_type\tdrug\n1e1\tn/a\t007\t1e3\n10.50\t2\t101\t1000\n"
    assert written.read_text() == expected
