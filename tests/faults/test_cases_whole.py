"""The cases of the reference data that are about a whole run, as their descriptions say; every case has its test."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import real_study

from mrsflow.files import checksum

FAULTS = Path(__file__).parent
RAW, DATASETS = "test_cases_raw_files.py", "../unit/test_bids_reader.py"
CASES = {
    "aborted-scan-with-empty-frames": (RAW, "test_frames_of_zeros_at_the_end_are_left_out"),
    "bids-arm-not-in-conditions": (DATASETS, "test_cases_of_datasets_come_out_right"),
    "bids-inheritance": (DATASETS, "test_cases_of_datasets_come_out_right"),
    "bids-only-input": (DATASETS, "test_cases_of_datasets_come_out_right"),
    "bids-sidecar-frequency-as-a-number": (DATASETS, "test_cases_of_datasets_come_out_right"),
    "bids-two-tasks-in-one-session": (DATASETS, "test_cases_of_datasets_come_out_right"),
    "bids-two-voxels-in-one-session": (DATASETS, "test_each_voxel_of_the_case_gives_its_own_signal"),
    "dicom-own-series-for-each-file": (RAW, "test_dicom_files_that_an_archive_renumbered_are_one_scan"),
    "dicom-without-instance-number": (RAW, "test_dicom_files_that_an_archive_renumbered_are_one_scan"),
    "dimension-header-short-forms": (RAW, "test_dimension_headers_in_short_forms_are_read"),
    "dimension-tag-null": (RAW, "test_a_null_tag_is_a_missing_one_and_small_letters_are_read"),
    "extension-frequency-as-a-number": (RAW, "test_headers_of_other_tools_are_read"),
    "job-that-dies": ("test_workflow.py", "test_a_session_that_dies_is_named_the_others_are_reported_and_it_is_tried"),
    "leftover-temporary-file": ("", "test_a_leftover_of_a_killed_job_is_never_read"),
    "names-in-extra-columns": ("", "test_names_in_columns_and_folders_reach_no_output"),
    "nifti-with-sidecar-only": (RAW, "test_headers_of_other_tools_are_read"),
    "raw-folder-away": ("", "test_results_stand_while_the_raw_folder_is_away"),
    "runs-with-readjusted-carrier": (RAW, "test_runs_with_a_carrier_adjusted_anew_are_joined"),
    "small-study": ("", "test_the_small_study_has_its_excitations"),
    "spar-decimal-commas": (RAW, "test_decimal_commas_of_a_spar_file_are_read"),
    "study-without-mood-scores": ("", "test_a_study_without_scores_of_mood_says_so"),
    "t1w-face-and-folder-name": ("", "test_names_in_columns_and_folders_reach_no_output"),
    "table-dated-in-the-future": ("", "test_a_table_dated_in_the_future_costs_nothing"),
    "twix-averages-and-repetitions": (RAW, "test_averages_inside_repetitions_are_one_series"),
    "twix-inline-reference": (RAW, "test_a_reference_in_another_phase_has_its_own_frames"),
    "twix-pause-in-the-time-stamps": (RAW, "test_frames_after_a_pause_lie_where_their_stamps_say"),
    "uncleaned-headers-left-behind": ("", "test_headers_of_a_killed_conversion_are_gone_after_the_next"),
    "water-last-of-five": (RAW, "test_water_at_the_end_of_each_cycle"),
    "water-summed-metabolites-averaged": (RAW, "test_water_as_a_sum_and_metabolites_as_a_mean_make_amounts_impossible"),
}  # fmt: skip
"""Where the right value of each case is held: file beside this one (none: this one) and test."""


def test_every_case_has_its_test(shared):
    assert {path.name for path in (shared / "cases").iterdir() if path.is_dir()} == set(CASES)
    for name, test in CASES.values():
        assert f"def {test}" in (FAULTS / (name or Path(__file__).name)).read_text(encoding="utf-8")


def test_headers_of_a_killed_conversion_are_gone_after_the_next(shared, root, tmp_path):
    raw = shared / "cases/twix-pause-in-the-time-stamps/meas.dat"
    command = [sys.executable, root / "scripts/convert_raw.py", "--raw", raw, "--out", tmp_path / "svs.nii.gz"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while job.poll() is None and not [*tmp_path.rglob(".tmp-*/**/*.nii.gz")]:
        time.sleep(0.01)
    os.killpg(job.pid, 9)
    job.wait()
    left = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert left and all(path.stat().st_mode & 0o077 == 0 for path in left)
    assert subprocess.run(command, check=False).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["svs.json", "svs.nii.gz"]


@pytest.fixture(scope="module")
def case(shared, tmp_path_factory):
    """The small study with the columns and images that name a person, and without scores of mood, run once."""
    folder = tmp_path_factory.mktemp("cases") / "case"
    cases = shared / "cases"
    shutil.copytree(cases / "small-study", folder, copy_function=shutil.copyfile)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    for path in [*(cases / "names-in-extra-columns").glob("*.tsv"), cases / "study-without-mood-scores/config.yaml"]:
        shutil.copyfile(path, folder / path.name)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("{sequence: press,", "{sequence: press, preset: ideal,"))
    subprocess.run([sys.executable, cases / "t1w-face-and-folder-name/make.py", folder], check=True)
    with (folder / "samples.tsv").open("r+") as table:  # what a dry run would ask for
        lines = [line for line in table.read().splitlines() if line.strip()]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
    return folder, real_study.snakemake(folder)


def blocks_of(folder: Path) -> pd.DataFrame:
    tables = sorted(folder.glob("results/derivatives/mrsflow/sub-01/*/mrs/*_desc-blocks_quality.tsv"))
    return pd.concat([pd.read_csv(path, sep="\t").assign(session=path.parts[-3]) for path in tables])


def files_of(folder: Path, *places: str) -> dict[str, str]:
    base = folder / "results"
    found = (path for place in places for path in (base / place).rglob("*") if path.is_file())
    return {str(path.relative_to(base)): checksum(path) for path in found if not path.name.startswith(".")}


@pytest.mark.slow
def test_the_small_study_has_its_excitations(case):
    folder, done = case
    assert done.returncode == 0, done.stderr[-3000:]
    blocks = blocks_of(folder)
    assert blocks["session"].tolist() == ["ses-1", "ses-1", "ses-2", "ses-2"]
    assert (blocks["n_transients"] + blocks["n_rejected"]).tolist() == [160] * 4


@pytest.mark.slow
def test_names_in_columns_and_folders_reach_no_output(case):
    """Neither the person of the tables nor the one of the folder; the image that is not there costs no spectra."""
    folder, done = case
    said = done.stderr
    named = re.compile(rb"Invented (Person|Rater)|1900-01-0|0123456789|PERSON_INVENTED|INVENTED PERSON", re.IGNORECASE)
    written = [path for path in (folder / "results").rglob("*") if path.is_file()]
    assert [path for path in written if named.search(path.read_bytes()) or named.search(path.name.encode())] == []
    assert "absent.nii.gz: no such file" in said
    tables = folder.glob("results/derivatives/mrsflow/sub-01/*/mrs/*_desc-convert*tsv")
    checks = pd.concat(pd.read_csv(path, sep="\t") for path in tables)
    image = checks[checks["check"] == "T1w"].set_index("scan")
    assert image.loc["sub-01_ses-2_T1w", "status"] == "warn"
    faces = folder / "results/bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    assert not faces.exists() or image.loc["sub-01_ses-1_T1w", "message"].count("face set to zero") == 1


@pytest.mark.slow
def test_a_study_without_scores_of_mood_says_so(case):
    folder, _ = case
    assert len((folder / "results/group/mood_scores.tsv").read_text().splitlines()) == 1
    assert (folder / "results/report/index.html").is_file()


@pytest.mark.slow
def test_a_leftover_of_a_killed_job_is_never_read(case):
    folder, _ = case
    before = files_of(folder, "bids", "derivatives", "group")
    scan = next(folder.glob("results/bids/sub-01/ses-1/mrs/*_svs.nii.gz"))
    (scan.parent / f".tmp-1-{scan.name}").write_bytes(scan.read_bytes()[:1000])
    (folder / "results/bids/dataset_description.json").unlink()
    done = real_study.snakemake(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    after = files_of(folder, "bids", "derivatives", "group")
    assert set(after) == set(before)
    assert [name for name in before if name.endswith(".nii.gz") and after[name] != before[name]] == []


@pytest.mark.slow
def test_a_table_dated_in_the_future_costs_nothing(case):
    folder, _ = case
    before = files_of(folder, "group")
    later = time.time() + 30 * 86_400
    os.utime(folder / "sessions.tsv", (later, later))
    (folder / "results/group/blocks_long.tsv").unlink()
    done = real_study.snakemake(folder)
    os.utime(folder / "sessions.tsv")
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(files_of(folder, "group")) == set(before)


@pytest.mark.slow
def test_results_stand_while_the_raw_folder_is_away(case):
    folder, _ = case
    before = files_of(folder, "bids", "derivatives", "group", "report")
    (folder / "raw").rename(folder / "raw_away")
    done = real_study.snakemake(folder)
    (folder / "raw_away").rename(folder / "raw")
    assert "raw" in done.stderr and "Traceback" not in done.stderr
    after = files_of(folder, "bids", "derivatives", "group", "report")
    assert {name: after.get(name) for name in before} == before
