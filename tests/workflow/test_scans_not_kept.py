"""Converted scans that are not kept: gone after the run, made again from raw where they are needed."""

import pytest
from stand_in import FinishedStudy

from mrsflow.files import read_json
from mrsflow.study import records

KEYS = ["sub-00001_ses-1", "sub-00001_ses-2", "sub-00002_ses-1", "sub-00002_ses-2"]
OTHER = {"preprocess": {"remove_water": False}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four sessions, two a job."""
    return FinishedStudy(tmp_path_factory.mktemp("finished"), sessions=4, batch_size=2, convert={"keep_scans": False})


@pytest.fixture
def project(finished):
    return finished.afresh()


def left(project):
    """Folders of converted scans of a job."""
    return sorted(path.name for path in project.folder.glob("results/converted/*"))


def sessions_done(project):
    """Stages and sessions that were computed since the last call."""
    return [line for line in project.done() if " " in line]


def status(project, stage, key):
    return read_json(project.folder / f"results/status/{stage}/{key}.json")


def test_they_go_and_come_again_for_another_preprocessing(finished, project):
    assert [line for line in finished.done if line.startswith("convert")] == [f"convert {key}" for key in KEYS]
    for text in project.folder.glob("results/derivatives/mrsflow/*/*/*_preprocess.txt"):
        assert "scan\n" in text.read_text()
    assert left(project) == []
    assert "Nothing to be done" in project.snakemake().stderr
    project.write_config(**OTHER)
    assert project.snakemake().returncode == 0
    assert sessions_done(project) == sorted(f"{stage} {key}" for stage in ("convert", "preprocess") for key in KEYS)
    assert left(project) == []


@pytest.mark.slow
def test_a_lost_file_of_preprocessing_is_made_again_alone(project):
    gone = next(project.folder.glob("results/derivatives/mrsflow/sub-00001/ses-2/*_preprocess.txt"))
    before = gone.read_text()
    gone.unlink()
    assert project.snakemake().returncode == 0
    assert gone.read_text() == before
    assert [line for line in sessions_done(project) if not line.startswith("convert")] == [f"preprocess {KEYS[1]}"]
    assert left(project) == []
    assert "Nothing to be done" in project.snakemake().stderr
    gone.unlink()
    assert project.snakemake(str(gone.relative_to(project.folder))).returncode == 0
    assert gone.read_text() == before
    next(project.folder.glob("results/bids/sub-00001/ses-2/*_convert.txt")).unlink()
    project.done()
    assert project.snakemake().returncode == 0
    assert sessions_done(project) == [f"convert {KEYS[1]}"]


@pytest.mark.slow
def test_results_stand_while_raw_files_are_away_and_follow_once_they_are_back(project):
    kept = project.raw(1).read_text()
    project.raw(1).unlink()
    project.write_config(**OTHER)
    result = project.snakemake()
    assert "Traceback" not in result.stderr
    assert status(project, "preprocess", KEYS[1])["unchecked"] == records.OUTDATED
    others = [key for key in KEYS if key != KEYS[1]]
    assert [line for line in sessions_done(project) if line.startswith("pre")] == [f"preprocess {k}" for k in others]
    project.snakemake()
    assert sessions_done(project) == []
    project.raw(1).write_text(kept)
    assert project.snakemake().returncode == 0
    assert [line for line in sessions_done(project) if line.startswith("pre")] == [f"preprocess {KEYS[1]}"]
    assert "unchecked" not in status(project, "preprocess", KEYS[1])
    assert left(project) == []


@pytest.mark.slow
def test_a_lost_file_whose_raw_files_are_away_is_one_line(project):
    kept = project.raw(1).read_text()
    project.raw(1).unlink()
    next(project.folder.glob("results/derivatives/mrsflow/sub-00001/ses-2/*_preprocess.txt")).unlink()
    result = project.snakemake()
    assert result.returncode != 0
    assert f"preprocess: {KEYS[1]}: its converted scans were not kept" in result.stderr
    assert "Traceback" not in result.stderr
    assert status(project, "fit", KEYS[1])["status"] == "ok"
    project.done()
    assert project.snakemake().returncode != 0
    assert sessions_done(project) == []
    project.raw(1).write_text(kept)
    assert project.snakemake().returncode == 0
    assert f"preprocess {KEYS[1]}" in sessions_done(project)
    assert left(project) == []


@pytest.mark.slow
def test_notemp_keeps_them_and_what_a_killed_run_left_goes(project):
    project.write_config(**OTHER)
    assert project.snakemake("--notemp").returncode == 0
    assert left(project) == ["2x0001", "2x0002"]
    project.done()
    project.write_config(preprocess={"remove_water": True})
    assert project.snakemake("--notemp").returncode == 0
    assert {line.split()[0] for line in sessions_done(project)} == {"preprocess"}
    for options, folders in ((["--nolock"], ["2x0001", "2x0002"]), ([], [])):  # another run may be at work, or none
        (project.folder / "results/group/headline.json").unlink()
        assert project.snakemake(*options).returncode == 0
        assert left(project) == folders


@pytest.mark.slow
def test_planning_forcing_and_targets(project):
    project.write_config(**OTHER)
    result = project.snakemake("-n")
    assert result.returncode == 0
    assert left(project) == []
    result = project.snakemake("results/bids/sub-00001/ses-1/mrs/sub-00001_ses-1_svs.nii.gz")
    assert result.returncode != 0
    assert "the dataset does not keep its scans; set convert.keep_scans: true" in result.stderr + result.stdout
    assert project.snakemake("--forcerun", "fit").returncode == 0
    assert left(project) == []
    project.done()
    assert project.snakemake("-F", "--until", "convert").returncode == 0
    assert {line.split()[0] for line in sessions_done(project)} == {"convert"}
    assert project.snakemake("--until", "convert").returncode == 0
    assert sessions_done(project) == []
    assert project.snakemake("--delete-all-output").returncode == 0
    assert not list(project.folder.glob("results/*/**/*.txt"))
    project.write_config(convert={"keep_scans": True})
    assert project.snakemake().returncode == 0
    assert left(project) == []
