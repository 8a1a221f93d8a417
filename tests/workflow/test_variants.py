"""The multiverse through the real rules: shared steps run once, and what a variant lost is made again alone."""

import re

import pytest
from stand_in import FinishedStudy, Project

from mrsflow.files import read_json

DECLARED = {
    "macromolecules": ["default", "none"], "residual_water": ["removed", "kept"],
    "align_ppm": [[1.8, 3.4], [0.5, 4.2]], "linewidths": ["as measured", "matched"],
    "denominator": ["tNAA", "tCr"], "doubtful": ["kept", "left out"],
}  # fmt: skip
FEW = {"macromolecules": ["default", "none"], "residual_water": ["removed", "kept"]}
KEYS = ["sub-00001_ses-1", "sub-00001_ses-2"]


def study(freeze):
    return {"design": "crossover", "conditions": ["placebo", "drug"], "freeze": freeze}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two sessions, four paths of as many fits."""
    group = {"multiverse": FEW, "mood_scale": None}
    folder = tmp_path_factory.mktemp("finished")
    return FinishedStudy(folder, sessions=2, batch_size=2, group=group, study=study(True))


def planned(text):
    """Jobs of each rule that a dry run lists."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def test_a_dry_run_has_each_shared_step_once_and_says_the_cost(tmp_path):
    """Of 64 paths: 2 × 2 × 2 preprocessings, twice as many fits, the study's own among them; masked arms have none."""
    project = Project(tmp_path / "p", 4, 2)
    group = {"multiverse": DECLARED, "mood_scale": None}
    project.write_config(group=group, study=study(True))
    result = project.snakemake("-n")
    jobs = planned(result.stdout + result.stderr)
    named = ("convert", "preprocess", "preprocess_variant", "fit", "fit_variant")
    assert [jobs[name] for name in named] == [2, 2, 2 * 7, 2, 2 * 15]
    assert jobs["simulate_basis"] == jobs["simulate_basis_variant"] == 1
    said = r"multiverse: (\d+) paths; .* (\d+) x preprocessing and (\d+) x fit of 4 sessions"
    assert re.search(said, result.stderr).groups() == ("64", "7", "15")
    project.write_config(study=study(False))
    result = project.snakemake("-n")
    assert not {"preprocess_variant", "fit_variant"} & set(planned(result.stdout + result.stderr))
    assert "of 4 sessions, once study.freeze is true: about" in result.stderr
    project.write_config(study=study(True), group={"multiverse": {"denominator": ["tNAA", "tCr"]}, "mood_scale": None})
    assert "2 paths, all of the study's own fits: no further jobs" in project.snakemake("-n").stderr


@pytest.mark.slow
def test_steps_that_paths_share_run_once(finished):
    """One conversion, two preprocessings, four fits, two basis sets."""
    stages = ["convert", "preprocess", "preprocess_water-kept", "fit", "fit_water-kept", "report_sessions"]
    stages += ["fit_macromolecules-none", "fit_water-kept_macromolecules-none"]
    assert [line for line in finished.done if " " in line] == sorted(
        f"{stage} {key}" for stage in stages for key in KEYS
    )
    assert finished.done.count("simulate_basis") == 2


@pytest.mark.slow
def test_a_fit_takes_the_preprocessing_of_its_own_choices(finished):
    below = finished.afresh().folder / "results" / "variants"
    prepared = {"water-kept": "preprocess_water-kept", "macromolecules-none": "preprocess"}
    prepared["water-kept_macromolecules-none"] = "preprocess_water-kept"
    for name, before in prepared.items():
        text = (below / name / "sub-00001" / "ses-1" / "sub-00001_ses-1_fit.txt").read_text().split()
        assert text[-2:] == [before, f"fit_{name}"]


@pytest.mark.slow
def test_a_lost_or_damaged_file_of_a_variant_is_made_again_and_no_other(finished):
    project = finished.afresh()
    path = project.folder / "results/variants/water-kept/sub-00001/ses-1/sub-00001_ses-1_preprocess.txt"
    before = path.read_text()
    path.unlink()
    assert project.snakemake().returncode == 0
    assert path.read_text() == before
    assert [line for line in project.done() if " " in line] == [f"preprocess_water-kept {KEYS[0]}"]
    path.write_text("other")
    assert project.snakemake().returncode == 0
    assert path.read_text() == before
    result = project.snakemake()
    assert "Nothing to be done" in result.stderr
    assert "group.multiverse" not in result.stderr  # its cost is of the past


@pytest.mark.slow
def test_all_is_deleted_where_that_is_asked_and_one_choice_more_costs_only_its_own(finished):
    project = finished.afresh()
    more = {**FEW, "align_ppm": [[1.8, 3.4], [0.2, 4.2]]}
    project.write_config(group={"multiverse": more, "mood_scale": None})
    assert project.snakemake().returncode == 0
    assert all("align-0.2-4.2" in line for line in project.done() if " " in line)
    assert project.snakemake("--delete-all-output").returncode == 0
    left = [path for path in (project.folder / "results").rglob("*") if path.is_file()]
    assert not [path for path in left if "variants" in path.parts or path.match("status/*/sub-*.json")]


@pytest.mark.slow
def test_a_record_of_a_variant_names_its_stage(finished):
    project = finished.afresh()
    record = read_json(project.folder / f"results/status/fit_water-kept/{KEYS[0]}.json")
    assert record["stage"] == "fit_water-kept"
    assert all(name.startswith("variants/water-kept/") for name in record["outputs"])
