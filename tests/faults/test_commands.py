"""Snakemake's own commands on real stages: each does what its users expect, and loses nothing besides."""

import shutil

import pytest
from real_study import results as everything
from real_study import snakemake

from mrsflow.files import read_json

pytestmark = pytest.mark.slow
STAGES = ("convert", "preprocess", "fit", "report_sessions")
ONE, OTHER = "sub-01_ses-1", "sub-01_ses-2"


def run(folder, *options):
    """Run a command that ends well."""
    result = snakemake(folder, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    return result


def results(folder):
    """Digest of every result, but for the notes of the last step, which are of one run."""
    return {name: digest for name, digest in everything(folder).items() if name != "status/attention.txt"}


def written(folder):
    """When the files of each session at each stage were written, by stage and session."""
    found = {}
    for path in folder.glob("results/status/*/sub-*.json"):
        outputs = [folder / "results" / name for name in read_json(path)["outputs"]]
        found[path.parent.name, path.stem] = [output.stat().st_mtime_ns for output in outputs]
    return found


def redone(folder, before):
    """Stages of which a session was done since."""
    return {place[0] for place, times in written(folder).items() if times != before.get(place)}


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    """The study after an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    shutil.copytree(study, folder)
    run(folder)
    return folder


@pytest.mark.parametrize(
    ("target", "last"),
    [
        (f"report/{ONE}.html", "report_sessions"),
        (f"derivatives/mrsflow/sub-01/ses-1/mrs/{ONE}_task-k_desc-blocks_mrsfit.tsv", "fit"),
        (f"status/fit/{ONE}.json", "fit"),
        (f"status/preprocess/batches/{ONE}.tsv", "preprocess"),
    ],
    ids=["page", "fit", "record", "table of a job"],
)
def test_a_file_of_one_session_on_a_fresh_folder_makes_what_it_needs_and_no_more(study, tmp_path, target, last):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    run(folder, f"results/{target}")
    assert (folder / "results" / target).is_file()
    needed = STAGES[: STAGES.index(last) + 1]
    assert set(written(folder)) == {(stage, ONE) for stage in needed}
    assert not (folder / "results/group").exists()
    assert "Nothing to be done" in run(folder, f"results/{target}").stderr


def test_what_is_forced_is_done_again_and_nothing_before_it(whole):
    expected = results(whole)
    for options, stages in (
        (["--forcerun", "fit"], {"fit"}),
        (["-R", "preprocess", "--until", "preprocess"], {"preprocess"}),
        (["-F", "--until", "convert"], {"convert"}),
    ):
        before = written(whole)
        run(whole, *options)
        assert redone(whole, before) >= stages, options
        assert not redone(whole, before) & set(STAGES[: STAGES.index(min(stages, key=STAGES.index))]), options
        assert results(whole) == expected, options
    before = written(whole)
    run(whole, "-F")
    assert redone(whole, before) == set(STAGES)
    assert results(whole) == expected
    assert "Nothing to be done" in run(whole).stderr


def test_until_stops_there_and_what_is_deleted_is_the_output_alone(whole):
    expected = results(whole)
    given = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file() and "results" not in path.parts}
    run(whole, "--delete-all-output")
    left = {name.split("/")[0] for name in results(whole)}
    assert left <= {"logs", "benchmarks", "status", "sap"}, left
    assert not written(whole)
    kept = {path: path.read_bytes() for path in given if ".snakemake" not in path.parts}
    assert kept == {path: content for path, content in given.items() if ".snakemake" not in path.parts}
    run(whole, "--until", "fit")
    assert {stage for stage, _ in written(whole)} == {"convert", "preprocess", "fit"}
    assert not (whole / "results/group/headline.json").exists()
    run(whole)
    assert results(whole) == expected
