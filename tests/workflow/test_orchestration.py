"""What runs again, what does not, and what a failing session does: the real rules over stages that copy text."""

import os
import time

import pytest
from stand_in import FinishedStudy, Project

GROUP = ["check_outputs", "describe_dataset", "figures", "group", "report", "simulate_basis"]
STAGES = ["convert", "fit", "preprocess", "report_sessions"]


def all_stages(*keys):
    return sorted(f"{stage} {key}" for stage in STAGES for key in keys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four sessions, two a job."""
    return FinishedStudy(tmp_path_factory.mktemp("finished"), sessions=4, batch_size=2)


@pytest.fixture
def project(finished):
    return finished.afresh()


KEYS = ["sub-00001_ses-1", "sub-00001_ses-2", "sub-00002_ses-1", "sub-00002_ses-2"]


def test_everything_runs_once_and_then_nothing(finished, project):
    assert finished.done == sorted(all_stages(*KEYS) + GROUP)
    again = project.snakemake()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr
    assert project.done() == []


def test_a_deleted_output_alone_is_made_again(project):
    gone = project.folder / "results/derivatives/mrsflow/sub-00001/ses-2/sub-00001_ses-2_preprocess.txt"
    before = gone.read_text()
    gone.unlink()
    (project.folder / "results/status/fit/sub-00002_ses-1.json").unlink()
    assert project.snakemake().returncode == 0
    assert gone.read_text() == before
    assert project.done() == ["fit sub-00002_ses-1", "preprocess sub-00001_ses-2"]
    assert "Nothing to be done" in project.snakemake().stderr
    page = project.folder / "results/report/sub-00002/ses-1/sub-00002_ses-1_report_sessions.txt"
    shown = page.read_text()
    assert "Glx/tNAA sub-00001_ses-2 sub-00002_ses-2 " in shown  # the sessions around it
    page.unlink()
    assert project.snakemake().returncode == 0
    assert page.read_text() == shown and project.done() == ["report_sessions sub-00002_ses-1"]
    (project.folder / "results/group/headline.json").unlink()
    assert project.snakemake().returncode == 0
    assert project.done() == ["check_outputs", "figures", "group", "report"]


def test_a_new_session_or_another_batch_size_redoes_no_finished_session(project):
    project.write_tables(6)
    assert project.snakemake().returncode == 0
    new = project.done()
    assert [line for line in new if " " in line] == all_stages("sub-00003_ses-1", "sub-00003_ses-2")
    project.write_config(batch_size=4)
    assert project.snakemake().returncode == 0
    assert [line for line in project.done() if " " in line] == []
    assert "Nothing to be done" in project.snakemake().stderr


def test_editing_a_setting_a_script_or_the_library_redoes_what_depends_on_it(project):
    project.write_config(fit={"ppm": [0.6, 4.1]})
    assert project.snakemake().returncode == 0
    redone = {line.split()[0] for line in project.done()}
    assert {"fit", "group"} <= redone
    assert not {"convert", "preprocess", "simulate_basis"} & redone
    assert "report_sessions" not in redone  # the stand-in's fit gave the same bytes, so nothing after it changed

    library = project.folder / "scripts/mrsflow/models/reml.py"
    imports = "from mrsflow.study import layout, records"
    for stage, old, new in (
        ("preprocess", 'text + stage + "\\n"', 'text + stage + "!\\n"'),
        ("fit", imports, f"from mrsflow.models import reml\n{imports}"),
    ):
        script = project.folder / f"scripts/{stage}.py"
        assert old in script.read_text()
        script.write_text(script.read_text().replace(old, new))
    assert project.snakemake().returncode == 0
    redone = {line.split()[0] for line in project.done()}
    assert {"preprocess", "fit", "report_sessions", "group"} <= redone
    assert "convert" not in redone

    library.write_text(library.read_text() + '\n# edited\n"""And said."""\n')
    assert "Nothing to be done" in project.snakemake().stderr
    library.write_text(library.read_text() + "\nEDITED = 1\n")
    assert project.snakemake().returncode == 0
    assert {line.split()[0] for line in project.done() if " " in line} == {"fit"}


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_failing_session_stops_neither_the_others_nor_the_report(tmp_path, batch_size):
    project = Project(tmp_path / "p", batch_size=batch_size)
    project.raw(1).write_text("bad")
    project.raw(2).unlink()
    first = project.snakemake()
    assert first.returncode != 0
    last = first.stderr.strip().splitlines()[-8:]
    start = next(i for i, line in enumerate(last) if line.startswith("2 failed; mend these and run"))
    assert last[start + 1 : start + 3] == [
        "convert: sub-00001_ses-2: 1.txt: is bad",
        "convert: sub-00002_ses-1: 2.txt: is bad",
    ]
    assert "Traceback" not in first.stdout + first.stderr
    done = project.done()
    assert [line for line in done if " " in line] == all_stages(KEYS[0], KEYS[3])
    assert "report" in done
    again = project.snakemake()
    assert again.returncode != 0  # still not whole
    assert project.done() == ["check_outputs"]
    assert "2 failed in an earlier run, and nothing that bears on them has changed:" in again.stderr
    assert "2 failed; mend" not in again.stderr
    assert again.stderr.splitlines().count("convert: sub-00001_ses-2: 1.txt: is bad") == 1
    assert "2 of 4 sessions fitted; report: results/report/index.html" in again.stderr
    project.raw(1).write_text("mended")
    project.raw(2).write_text("found")
    last = project.snakemake()
    assert last.returncode == 0
    assert "4 of 4 sessions fitted; report: results/report/index.html" in last.stderr and "failed" not in last.stderr
    assert [line for line in project.done() if " " in line] == all_stages(KEYS[1], KEYS[2])


def test_the_first_failure_stops_the_run_where_config_says_so(tmp_path):
    project = Project(tmp_path / "p", batch_size=2)
    project.write_config(on_error="stop")
    project.raw(0).write_text("bad")
    result = project.snakemake("--retries", "0", cores=1)
    assert result.returncode != 0
    assert "report" not in project.done()


def test_typos_in_the_configuration_are_a_line_each_before_any_job(tmp_path):
    project = Project(tmp_path / "p")
    path = project.folder / "config/config.yaml"
    text = path.read_text().replace("design: crossover", "desing: crossover")
    path.write_text(text.replace("echo_time_ms: 30", "echo_time_ms: 0.03"))
    result = project.snakemake()
    assert result.returncode != 0
    assert "study: unknown key 'desing', did you mean 'design'" in result.stderr
    assert "echo_time_ms: 0.03 is less than the minimum of 1" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.done() == []


def test_a_sequence_without_timing_stops_what_needs_a_basis_set_and_nothing_else(tmp_path):
    project = Project(tmp_path / "p", batch_size=4)
    path = project.folder / "config/config.yaml"
    path.write_text(path.read_text().replace("preset: ideal", "preset: null"))
    for options in ([], ["--until", "fit"]):
        result = project.snakemake(*options)
        assert result.returncode != 0
        assert "preset ge_probe_p, siemens_svs_se, philips_press, ideal; or te1_ms" in result.stdout + result.stderr
    assert project.done() == []
    assert project.snakemake("--until", "preprocess").returncode == 0
    assert project.done() == sorted(f"{stage} {key}" for stage in ("convert", "preprocess") for key in KEYS)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    import signal
    import subprocess
    import sys

    project = Project(tmp_path / "p", sessions=6, batch_size=2)
    script = project.folder / "scripts/preprocess.py"
    script.write_text(script.read_text().replace("def do(item):", "def do(item):\n        __import__('time').sleep(1)"))
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=project.folder,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 60
    while not list(project.folder.glob("results/status/preprocess/*.json")) and time.time() < deadline:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    finished = {p.name for p in project.folder.glob("results/status/*/*.json")}
    assert finished
    project.snakemake("--unlock")
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    done = project.done()
    assert {line for line in done if " " in line} == set(all_stages(*KEYS, "sub-00003_ses-1", "sub-00003_ses-2"))
    assert len([line for line in done if line.startswith("convert ")]) == 6  # none was done twice


def test_the_workflow_is_free_of_lint_and_makes_snakemake_s_own_report(project):
    lint = project.snakemake("--lint")
    assert lint.returncode == 0, lint.stderr
    report = project.snakemake("--report", "report.html")
    assert report.returncode == 0, report.stderr
    text = (project.folder / "report.html").read_text(encoding="utf-8")
    assert "time_course.svg" in text
    assert "Primary outcome over time" in text
