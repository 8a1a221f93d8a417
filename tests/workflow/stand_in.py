"""A project with the real Snakefile, rules and records whose stages only copy text: the workflow in seconds."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

STAGE = '''
"""Stand-in of a stage."""
from pathlib import Path

from mrsflow.errors import InputError
from mrsflow.files import write_text
from mrsflow.run import run
from mrsflow.study import config as study_config
from mrsflow.study import layout, records, variants
from mrsflow.study.study import read_study

STAGE, AFTER, FOLDER, SECTION = {stage!r}, {after!r}, {folder!r}, {section!r}


def main(
    config: str, sessions: list[str], status: Path, scans: Path | None = None, variant: str = "",
    outcome: str = "", before: str = "", after: str = "",
) -> None:
    settings = study_config.load(config)
    stage, upstream = (variants.stage_of(name, variant) if name and variant else name for name in (STAGE, AFTER))
    around = dict(zip(sessions, zip([before, *sessions[:-1]], [*sessions[1:], after], strict=True), strict=True))
    folder = variants.root_of("", variant) if variant else Path(FOLDER)
    output = Path(settings["output"])
    samples = read_study(settings, sessions).samples if STAGE in {reads!r} else None

    def do(item):
        files = item.inputs or records.outputs_of(output, upstream, item.key)
        files += sorted(item.takes.iterdir()) if item.takes else []
        text = "".join(path.read_text() if path.is_file() else "bad" for path in files)
        if "bad" in text:
            raise InputError(f"{{files[0].name}}: is bad")
        subject, session = item.key.split("_")
        path = output / folder / subject / session / f"{{item.key}}_{{STAGE}}.txt"
        text += " ".join((outcome, *around[item.key], "")) if outcome else ""  # of a page
        write_text(text + stage + "\\n", path)
        if item.leaves:
            write_text("scan\\n", item.leaves / "scan.txt")
        with open("done.txt", "a") as done:
            done.write(f"{{stage}} {{item.key}}\\n")
        return [path]

    def raw(key):
        return [p for paths in samples[samples["key"] == key]["raw"] for p in paths] if not AFTER else []

    def work_of(key):
        apart = scans and layout.scans_folder(scans, key)
        of = {{"convert": "leaves", "preprocess": "takes"}}.get(STAGE)
        of = {{of: apart}} if of else {{}}
        return records.Work(key, raw(key), settings.get(SECTION, {{}}), after=upstream, **of)

    if STAGE == "convert" and scans:
        scans.mkdir(parents=True, exist_ok=True)
    work = [work_of(key) for key in sessions]
    records.each_session(
        stage, work, do, output, status, records.code_of(__file__), settings["on_error"] == "stop"
    )


if __name__ == "__main__":
    run(main)
'''

WHOLE = '''
"""Stand-in of a step over all sessions."""
from pathlib import Path

from mrsflow.errors import InputError
from mrsflow.run import run
from mrsflow.study import config as study_config
from mrsflow.study import layout, records


def main(config: str{options}) -> None:
    settings = study_config.load(config)
    output = Path(settings.get("output", "results"))
    with open("done.txt", "a") as done:
        done.write("{name}\\n")
    written = [{files}]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{name}")
    {more}
    {record}


if __name__ == "__main__":
    run(main)
'''

CHECK = """
    import json
    failed = [json.loads(p.read_text()) for p in sorted(output.glob("status/*/sub-*.json"))]
    failed = [r for r in failed if r["status"] != "ok"]
    if failed:
        raise InputError(f"{len(failed)} failed: {failed[0]['session']}: {failed[0]['reason']}")
    (output / "status/complete.txt").write_text("all is well")
"""

GROUP_FILES = {
    "simulate_basis": ("Path(str(out))", ", protocol: str, out: Path", ""),
    "describe_dataset": ('output / "bids/dataset_description.json"', "", ""),
    "group": ('*[output / "group" / n for n in layout.group_files(settings)]', "", ""),
    "figures": ('*[output / "figures" / n for n in layout.figure_files()]', "", ""),
    "report": ('output / "report/index.html"', "", ""),
    "check_outputs": ("", "", CHECK),
}


class Project:
    """A folder in which ``snakemake`` can be run; `reads` are the stages that read the tables."""

    def __init__(self, folder: Path, sessions: int = 4, batch_size: int = 1, reads: tuple[str, ...] = ("convert",)):
        self.folder = folder
        parts = ("Snakefile", "rules", "report", "envs", "profiles", "config/schemas", "scripts/mrsflow")
        scripts = [path.relative_to(ROOT) for path in (ROOT / "scripts").iterdir() if path.is_file()]
        for name in (*parts, *scripts):
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        stages = ("convert", "preprocess", "fit", "report_sessions")
        for stage, after in zip(stages, (None, *stages), strict=False):
            place = {"convert": "bids", "report_sessions": "report"}.get(stage, "derivatives/mrsflow")
            section = "report" if stage == "report_sessions" else stage
            text = STAGE.format(stage=stage, after=after, folder=place, section=section, reads=reads)
            (folder / "scripts" / f"{stage}.py").write_text(text)
        for name, (files, options, more) in GROUP_FILES.items():
            key = "protocol" if "protocol" in options else "'study'"
            record = f"records.record_step(output, '{name}', written, {key})" if files else ""
            text = WHOLE.format(name=name, files=files, options=options, more=more.strip(), record=record)
            (folder / "scripts" / f"{name}.py").write_text(text)
        self.config = {
            "study": {"design": "crossover", "conditions": ["placebo", "drug"]},
            "protocols": {
                "a": {
                    "sequence": "press",
                    "preset": "ideal",
                    "echo_time_ms": 30,
                    "repetition_time_ms": 2000,
                    "spectrometer_frequency_mhz": 123.25,
                }
            },
            "blocks": {"event": "start", "bins": {"baseline": [0, 8]}},
            "batch_size": batch_size,
        }
        self.write_config()
        self.write_tables(sessions)

    def write_config(self, **changes):
        """Write the configuration, with changes to its top level."""
        self.config |= changes
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(self.config))

    def write_tables(self, sessions: int, raw: bool = True):
        """Write the tables of a study of that many sessions, and their raw files where they are not there yet."""
        people, visits, scans = ["participant\tsex"], ["participant\tsession\tvisit\tarm"], []
        for i in range(sessions):
            participant, visit = f"{i // 2 + 1:05d}", i % 2 + 1
            if visit == 1:
                people.append(f"{participant}\t{'FM'[i // 2 % 2]}")
            visits.append(f"{participant}\t{visit}\t{visit}\t{('placebo', 'drug')[i % 2]}")
            scans.append(f"{participant}\t{visit}\tsvs\ta\traw/{i}.txt")
            if raw:
                path = self.folder / "config" / "raw" / f"{i}.txt"
                path.parent.mkdir(exist_ok=True)
                if not path.exists():
                    path.write_text(f"session {i}\n")
        header = "participant\tsession\trole\tprotocol\traw"
        for name, lines in (("participants", people), ("sessions", visits), ("samples", [header, *scans])):
            (self.folder / "config" / f"{name}.tsv").write_text("\n".join(lines) + "\n")

    def raw(self, number: int) -> Path:
        """Raw file of a session."""
        return self.folder / "config" / "raw" / f"{number}.txt"

    def snakemake(self, *options: str, cores: int = 2) -> subprocess.CompletedProcess:
        """Run Snakemake as a user would."""
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env=environment, timeout=900, check=False
        )

    def done(self) -> list[str]:
        """What was computed since the last call, sorted."""
        path = self.folder / "done.txt"
        lines = sorted(path.read_text().split("\n")[:-1]) if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


class FinishedStudy:
    """A study that was run once, and what the run said and did; each test has it as the run left it.

    It lies at one place each time, as Snakemake compares the paths of scripts too.
    """

    def __init__(self, folder: Path, sessions: int, batch_size: int, **config):
        self.project = Project(folder / "project with space", sessions, batch_size)
        self.project.write_config(**config)
        self.kept = folder / "kept"
        self.result = self.project.snakemake()
        assert self.result.returncode == 0, self.result.stderr
        self.done = self.project.done()
        shutil.copytree(self.project.folder, self.kept)

    def afresh(self) -> Project:
        """Put everything back as the run left it, times included."""
        shutil.rmtree(self.project.folder)
        shutil.copytree(self.kept, self.project.folder)
        return copy.deepcopy(self.project)
