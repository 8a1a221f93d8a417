"""The workflow killed, its files cut, its disk full or closed: nothing is lost and the rest is done.

The rules are the real ones; the stages are stand-ins that copy text, so that a run takes seconds.
"""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty import edit_bytes
from stand_in import FinishedStudy, Project

from mrsflow.files import checksum, read_json

SLOW = pytest.mark.slow
STAGES = ("convert", "preprocess", "fit", "report_sessions")


def outputs(project: Project) -> dict[str, str]:
    """Checksum of every output but logs, benchmarks and tables of jobs."""
    base = project.folder / "results"
    folders = ("bids", "derivatives", "group", "figures", "report", "basis")
    return {str(p.relative_to(base)): checksum(p) for f in folders for p in (base / f).rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> FinishedStudy:
    """Six sessions in two jobs a stage, run undisturbed."""
    return FinishedStudy(tmp_path_factory.mktemp("undisturbed"), sessions=6, batch_size=3)


@pytest.fixture(scope="module")
def expected(finished) -> dict[str, str]:
    """What an undisturbed run gives."""
    return outputs(finished.afresh())


@pytest.fixture
def whole(finished, expected) -> Project:
    """The study after that run."""
    return finished.afresh()


@pytest.fixture
def project(tmp_path) -> Project:
    """The study before any run, a job for each session."""
    return Project(tmp_path / "p", sessions=6)


@pytest.fixture
def batched(tmp_path) -> Project:
    """The same in two jobs a stage."""
    return Project(tmp_path / "p", sessions=6, batch_size=3)


def slowed(project: Project, seconds: float) -> Project:
    """Make every stage take a while and write its output in two halves, so that a kill can fall between them."""
    for name in ("convert", "preprocess", "fit", "report_sessions"):
        script = project.folder / f"scripts/{name}.py"
        whole = 'write_text(text + stage + "\\n", path)'
        halves = f'path.write_text(text); __import__("time").sleep({seconds}); path.write_text(text + stage + "\\n")'
        halves = f"path.parent.mkdir(parents=True, exist_ok=True); {halves}"
        assert whole in script.read_text()
        script.write_text(script.read_text().replace(whole, halves))
    return project


def start(project: Project, *options: str) -> subprocess.Popen:
    """Start a run in a session of its own."""
    log = (project.folder / "said.txt").open("a")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    return subprocess.Popen(
        command, cwd=project.folder, stdout=log, stderr=log, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """Processes below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def assert_records_hold(project: Project) -> None:
    """Whatever a record calls finished is there, whole."""
    base = project.folder / "results"
    for path in base.glob("status/*/sub-*.json"):
        record = read_json(path)
        assert {name: checksum(base / name) for name in record["outputs"]} == record["outputs"]


@SLOW  # one kill of each kind, on real stages, is in test_kills
@pytest.mark.parametrize("moments", [pytest.param(2, id="2 moments"), pytest.param(20, id="20 moments")])
def test_kill_9_of_the_whole_run_at_random_moments(project, expected, moments):
    slowed(project, 0.3)
    rng = random.Random(moments)
    for _ in range(moments):
        run = start(project)
        locks = project.folder / ".snakemake" / "locks"
        deadline = time.monotonic() + 60
        while run.poll() is None and not any(locks.glob("*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert_records_hold(project)
        assert project.snakemake("--unlock").returncode == 0
    finished = len(list(project.folder.glob("results/status/*/sub-*.json")))
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(project) == expected
    done = [line for line in project.done() if " " in line]
    assert len(done) - 24 <= 2 * moments  # each kill costs at most the sessions that were in work
    assert finished or moments < 5
    assert "Nothing to be done" in project.snakemake().stderr


def held(project: Project) -> Project:
    """Let conversion wait, after the first session, for a file to be there."""
    script = project.folder / "scripts/convert.py"
    wait = "while list(output.glob('status/convert/sub-*')) and not Path('go').exists(): __import__('time').sleep(0.05)"
    script.write_text(script.read_text().replace("def do(item):", f"def do(item):\n        {wait}"))
    return project


def wait_for_a_record(project: Project) -> None:
    """Wait until a session was converted."""
    deadline = time.monotonic() + 120
    while not list(project.folder.glob("results/status/convert/sub-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_ctrl_c_ends_the_run_and_the_same_command_goes_on(batched, expected):
    run = start(held(batched))
    wait_for_a_record(batched)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the run and its jobs
    assert run.wait(60) != 0
    said = (batched.folder / "said.txt").read_text()
    assert "Traceback" not in said, said[-2000:]
    assert "\ninterrupted; what is finished stays. To go on, run the same command again\n" in said
    assert_records_hold(batched)
    (batched.folder / "go").touch()
    result = batched.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(batched) == expected


@SLOW
def test_kill_9_of_jobs_at_20_random_moments(project, expected):
    slowed(project, 0.3)
    rng = random.Random(20)
    run = start(project, "--retries", "30")
    killed = 0
    while run.poll() is None:
        time.sleep(rng.uniform(0.2, 0.8))
        jobs = [pid for pid in children(run.pid) if b".py\0--config" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if jobs and killed < 20:
            os.kill(rng.choice(jobs), signal.SIGKILL)
            killed += 1
    assert run.wait() == 0, (project.folder / "said.txt").read_text()[-2000:]
    assert killed
    assert_records_hold(project)
    assert outputs(project) == expected


def every_kind(expected: dict[str, str]) -> list[str]:
    """One output of each kind: of each stage of one session, and of the whole study."""
    return [name for name in sorted(expected) if "sub-" not in name or "sub-00002_ses-1" in name]


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def all_of_it(path: Path) -> None:
    os.truncate(path, 0)


def one_byte(path: Path) -> None:
    edit_bytes(path, [0])


@pytest.mark.parametrize("damage", [half, pytest.param(all_of_it, marks=SLOW), pytest.param(one_byte, marks=SLOW)])
def test_any_output_that_is_damaged_is_made_again(whole, expected, damage):
    for name in every_kind(expected):
        damage(whole.folder / "results" / name)
    record = whole.folder / "results/status/fit/sub-00001_ses-1.json"
    damage(record)
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    for name in every_kind(expected):
        assert f"results/{name}: is not as it was written; it is made again" in result.stderr
    assert outputs(whole) == expected
    touched = {line.split()[1] for line in whole.done() if " " in line}
    assert touched == {"sub-00002_ses-1", "sub-00001_ses-1"}
    assert "Nothing to be done" in whole.snakemake().stderr


@SLOW
def test_a_lost_file_of_the_whole_study_that_no_rule_declares_is_made_again(project, expected):
    """Steps record all they wrote; here the stand-in of the report writes one file more."""
    script = project.folder / "scripts/report.py"
    more = 'written = [output / "report/index.html", output / "report/methods.md"]'
    script.write_text(script.read_text().replace('written = [output / "report/index.html"]', more))
    assert project.snakemake().returncode == 0
    project.done()
    (project.folder / "results/report/methods.md").unlink()
    assert project.snakemake().returncode == 0
    assert outputs(project) == {**expected, "report/methods.md": expected["report/index.html"]}
    assert project.done() == ["check_outputs", "report"]


def everything(project: Project) -> dict[str, str]:
    """Checksum of every file below the results."""
    base = project.folder / "results"
    return {str(p.relative_to(base)): checksum(p) for p in base.rglob("*") if p.is_file()}


def test_planning_leaves_every_byte_and_the_next_run_mends_what_it_saw(whole, expected):
    os.truncate(next(whole.folder.glob("results/bids/sub-*/*/*.txt")), 1)
    next(whole.folder.glob("results/report/sub-*/*/*.txt")).unlink()
    (whole.folder / "results/group/headline.json").write_text("edited")
    before = everything(whole)
    for options in (["--dry-run"], ["--summary"], ["--dag"], ["--report", "r.html"], ["--list-changes", "code"]):
        whole.snakemake(*options)
        assert everything(whole) == before, options
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(whole) == expected


def test_finished_results_stand_while_raw_files_are_away(whole, expected):
    raw = whole.folder / "config/raw"
    raw.rename(raw.with_name("archive"))
    whole.write_config(batch_size=2)  # other jobs, which find no raw file
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert "raw files of 6 of 6 sessions are not there (first: config/samples.tsv, line 2; looked in " in result.stderr
    assert "what was made of 6 stands, not checked against raw" in result.stderr
    assert [line for line in whole.done() if " " in line] == []
    assert outputs(whole) == expected
    whole.write_tables(10, raw=False)
    result = whole.snakemake()
    assert result.returncode != 0
    assert "raw files of 10 of 10 sessions are not there" in result.stderr
    assert "is a drive not mounted?" in result.stderr
    assert whole.done() == []
    whole.write_tables(6, raw=False)
    raw.with_name("archive").rename(raw)
    assert whole.snakemake().returncode == 0
    assert [line for line in whole.done() if " " in line] == []


def test_a_raw_file_of_equal_size_and_time_is_found_on_demand(whole):
    path, before = whole.raw(1), whole.raw(1).stat()
    path.write_text("session x\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "Nothing to be done" in whole.snakemake().stderr
    result = whole.snakemake("--config", "verify=true")
    assert result.returncode == 0, result.stderr
    assert "convert: sub-00001_ses-2: raw files have another content than when they were read" in result.stderr
    assert {line.split()[1] for line in whole.done() if " " in line} == {"sub-00001_ses-2"}


def test_tables_and_scripts_dated_in_the_future_change_nothing(whole, expected):
    later = time.time() + 30 * 86_400
    for path in [*whole.folder.glob("config/*.tsv"), *whole.folder.glob("scripts/*.py")]:
        os.utime(path, (later, later))
    (whole.folder / "results/group/headline.json").unlink()
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert whole.done() == ["check_outputs", "figures", "group", "report"]
    assert outputs(whole) == expected
    table = whole.folder / "results/status/fit/batches/3x0001.tsv"
    os.utime(table, (later, later))
    (whole.folder / "results/group/headline.json").unlink()
    before = everything(whole)
    result = whole.snakemake()
    assert result.returncode != 0
    assert "3x0001.tsv: is dated " in result.stderr and "in the future; " in result.stderr
    assert "Traceback" not in result.stderr
    assert everything(whole) == before
    found = re.search(r"find results -newermt now -exec touch \{\} \+", result.stderr)
    subprocess.run(shlex.split(found[0]), cwd=whole.folder, check=True)
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(whole) == expected


def test_a_session_that_dies_is_named_the_others_are_reported_and_it_is_tried_again(whole, expected):
    script = whole.folder / "scripts/fit.py"
    text = script.read_text()
    die = "def do(item):\n        if item.key == 'sub-00001_ses-2' and Path('die').exists():"
    script.write_text(
        text.replace("def do(item):", f"{die}\n            __import__('os').kill(__import__('os').getpid(), 11)")
    )
    (whole.folder / "die").touch()
    result = whole.snakemake()
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-8:]
    assert any("fit: sub-00001_ses-2: its process was ended by signal 11 (SIGSEGV" in line for line in last)
    assert any("5 of 6 sessions fitted; report: results/report/index.html" in line for line in last)
    assert (whole.folder / "results/report/index.html").is_file()
    whole.done()
    (whole.folder / "die").unlink()
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert {line for line in whole.done() if line.startswith("fit ")} == {"fit sub-00001_ses-2"}
    assert outputs(whole) == expected


def test_the_page_of_a_session_as_a_target_makes_what_it_needs(batched):
    page = "results/report/sub-00001/ses-1/sub-00001_ses-1_report_sessions.txt"
    result = batched.snakemake(page)  # of a fresh folder
    assert result.returncode == 0, result.stderr
    mates = ("sub-00001_ses-1", "sub-00001_ses-2", "sub-00002_ses-1")  # of its job
    assert batched.done() == sorted([f"{s} {key}" for s in STAGES for key in mates] + ["simulate_basis"])


def test_delete_all_output_takes_what_no_rule_declares_too(tmp_path):
    project = Project(tmp_path / "p", sessions=2, batch_size=2)
    script = project.folder / "scripts/report.py"
    more = 'written = [output / "report/index.html", output / "report/methods.md", output / "bids/README.md"]'
    script.write_text(script.read_text().replace('written = [output / "report/index.html"]', more))
    assert project.snakemake().returncode == 0
    assert (project.folder / "results/report/methods.md").is_file()
    result = project.snakemake("--delete-all-output")
    assert result.returncode == 0, result.stderr
    assert outputs(project) == {}


def test_what_snakemake_is_asked_to_force_is_done_and_what_it_deletes_is_gone(whole, expected):
    assert whole.snakemake("--forcerun", "fit").returncode == 0
    lines = whole.done()
    assert len([line for line in lines if line.startswith("fit ")]) == 6
    assert not [line for line in lines if line.startswith(("convert ", "preprocess "))]
    assert whole.snakemake("-F", "--until", "preprocess").returncode == 0
    assert {line.split()[0] for line in whole.done()} == {"convert", "preprocess"}
    assert whole.snakemake("--delete-all-output").returncode == 0
    assert outputs(whole) == {}
    assert whole.snakemake().returncode == 0
    assert len([line for line in whole.done() if " " in line]) == 24
    assert outputs(whole) == expected


def test_leftovers_of_killed_jobs_are_swept_and_never_read(whole, expected):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for folder in ("bids/sub-00001/ses-1", "derivatives/mrsflow/sub-00001/ses-1", "status/fit", "basis"):
        (whole.folder / "results" / folder / f".tmp-{process.pid}-sub-00001_ses-1_svs.nii.gz").write_bytes(b"cut")
    (whole.folder / "results/group/headline.json").unlink()
    result = whole.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(whole) == expected
    assert not list(whole.folder.glob("results/**/.tmp-*"))


@contextmanager
def own_disk(folder: Path):
    """Give a folder a file system of its own, and a way to remount it with other options."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    yield remount
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(project):
    """The results folder on a file system of its own."""
    with own_disk(project.folder / "results") as remount:
        yield remount


@SLOW
def test_a_full_disk_of_snakemake_s_own_notes_stops_the_run_in_one_line(tmp_path):
    with own_disk(tmp_path / "disk") as remount:
        remount("size=100m")
        project = Project(tmp_path / "disk/p", sessions=6)
        for i in range(6):
            project.raw(i).write_text(f"{i}" * 2_000_000 + "\n")
        used = shutil.disk_usage(tmp_path / "disk").used
        remount(f"size={used + 9_000_000}")
        result = project.snakemake()
        assert result.returncode != 0
        assert "p: the disk is full, so a run cannot even keep its notes; make space" in result.stderr
        remount(f"size={used + 12_000_000}")
        result = project.snakemake()
        said = result.stdout + result.stderr
        assert result.returncode != 0
        assert "the disk is full (No space left on device)" in said
        assert "Traceback" not in said
        remount("size=200m")
        assert project.snakemake("--unlock").returncode == 0
        result = project.snakemake()
        assert result.returncode == 0, result.stderr
        assert_records_hold(project)


@SLOW
def test_a_full_disk_stops_the_run_and_space_lets_it_go_on(project, small_disk):
    for i in range(6):
        project.raw(i).write_text(f"{i}" * 50_000 + "\n")
    result = project.snakemake()
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert re.search(r"results/(bids|derivatives|report)/sub-\S+: the disk is full \(No space left on device\)", said)
    assert "disk and memory suffice, then run the same command again" in said
    assert "Traceback" not in said
    assert_records_hold(project)
    kept = [line for line in project.done() if " " in line]
    small_disk("size=50m")
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert_records_hold(project)
    again = [line for line in project.done() if " " in line]
    assert len(set(kept) | set(again)) == 24
    other = Project(project.folder.parent / "undisturbed", sessions=6)
    for i in range(6):
        other.raw(i).write_text(f"{i}" * 50_000 + "\n")
    assert other.snakemake().returncode == 0
    assert outputs(project) == outputs(other)


def test_a_results_folder_that_is_read_only_stops_the_run_before_any_job(project, small_disk):
    small_disk("ro,size=50m")
    result = project.snakemake()
    assert result.returncode != 0
    assert "results: cannot be written (output in the configuration)" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.done() == []
    small_disk("rw")
    assert project.snakemake("--until", "convert").returncode == 0


@SLOW
def test_a_disk_that_becomes_read_only_in_the_middle(project, small_disk, expected):
    small_disk("size=50m")
    assert project.snakemake("--until", "preprocess").returncode == 0
    project.done()
    slowed(project, 0)
    small_disk("ro")
    assert project.snakemake().returncode != 0
    small_disk("rw")
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert outputs(project) == expected


def test_a_file_for_the_results_folder(project):
    (project.folder / "results").write_text("not a folder")
    result = project.snakemake()
    assert result.returncode != 0
    assert "results: cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    (project.folder / "results").unlink()
    (project.folder / "results").mkdir()
    (project.folder / "results/logs").write_text("not a folder")
    result = project.snakemake()
    assert result.returncode != 0
    assert "results/logs: is a file where a folder goes; move it away" in result.stderr
    assert "Traceback" not in result.stderr


@SLOW
def test_a_link_to_nowhere_for_the_results_folder_stops_before_any_job(project):
    (project.folder / "results").symlink_to(project.folder / "drive")
    result = project.snakemake()
    assert result.returncode != 0 and project.done() == []
    assert "results is a link to" in result.stderr and "is a drive not mounted?" in result.stderr
    (project.folder / "drive").mkdir()
    assert project.snakemake().returncode == 0


def test_a_second_run_beside_the_first_is_refused_and_harms_nothing(batched, expected):
    run = start(held(batched))
    wait_for_a_record(batched)
    second = batched.snakemake()
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    assert "Traceback" not in second.stderr
    (batched.folder / "go").touch()
    assert run.wait(timeout=200) == 0
    assert outputs(batched) == expected


@SLOW
def test_a_stage_that_crashes_costs_its_session_and_is_named(project):
    script = project.folder / "scripts/fit.py"
    script.write_text(
        script.read_text().replace("def do(item):", "def do(item):\n        1 / (item.key != 'sub-00002_ses-1')")
    )
    result = project.snakemake()
    assert result.returncode != 0
    assert "fit: sub-00002_ses-1: unexpected ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert "Traceback" in (project.folder / "results/logs/fit/sub-00002_ses-1.log").read_text()
    assert len([line for line in project.done() if line.startswith("fit ")]) == 5
