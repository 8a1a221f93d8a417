"""Where pages come from: told without a date or a folder of the machine."""

import subprocess
from datetime import UTC, datetime

import pandas as pd
import yaml
from small_config import single_arm

import mrsflow
from mrsflow.reporting import provenance
from mrsflow.study import config as study_config
from mrsflow.study.study import Study


def test_the_configuration_is_told_with_all_defaults_and_no_folder():
    asked = single_arm(sequence="other", basis="/home/jane/sets/press.BASIS")
    asked |= {"inputs": {"bids": "/data/trial"}, "output": "/data/out"}
    config = study_config.checked(asked)
    text = provenance.configuration(config)
    told = yaml.safe_load(text)
    assert told == {name: told[name] for name in config if name not in ("inputs", "output", "verify")}
    assert told["protocols"]["p"]["basis"] == "press.BASIS"
    assert told["group"]["outcome"] == "Glx/tNAA" and told["fit"]["ppm"] == [0.5, 4.2]
    assert not any(word in text for word in ("/home", "/data", "jane"))
    again = study_config.checked(told | {"inputs": asked["inputs"]})
    differs = {name for name in told if again[name] != config[name]}
    assert differs == {"protocols"}  # whose basis set lies elsewhere


def test_facts_name_the_version_and_are_the_same_each_time():
    facts = dict(provenance.facts())
    assert facts["mrsflow"].startswith(f"{mrsflow.__version__}, code ")
    assert "numpy " in facts["Programs"] and facts == dict(provenance.facts())


NOON = datetime(2030, 1, 7, 12, 0, 0, tzinfo=UTC)


def test_each_run_adds_its_date_versions_and_command_without_folders(tmp_path):
    for command in (
        ["mrsflow", "run", "-c", "2"],
        ["snakemake", "--configfile=/home/jane/my study.yaml", "/home/jane/x"],
    ):
        provenance.note_run(tmp_path, command, NOON)
    first, typed, second, again = (tmp_path / "logs/runs.txt").read_text().splitlines()
    assert first == second and first.startswith(f"2030-01-07T12:00:00Z  mrsflow {mrsflow.__version__}, code ")
    assert "Python 3." in first and "numpy " in first
    assert typed.strip() == "mrsflow run -c 2"
    assert again.strip() == "snakemake '--configfile=my study.yaml' x"


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "workflow_folder", lambda: tmp_path)
    assert provenance.commit() == ""  # a wheel
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    (tmp_path / "code").write_text("1")
    for words in (["init", "-q"], ["add", "code"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance.commit() == head[:12]
    (tmp_path / "code").write_text("2")
    assert provenance.commit() == f"{head[:12]}-dirty"


def test_tables_are_copied_without_arms_and_names_of_raw_files(tmp_path):
    samples = pd.DataFrame(
        {
            "participant": ["01", "01"],
            "session": ["1", "1"],
            "role": ["svs", "mrsref"],
            "condition": ["drug", "drug"],
            "protocol": ["p", "p"],
            "raw": [["raw/jane.dat"], ["raw/jane_w.dat"]],
            "run": [None, None],
            "key": "sub-01_ses-1",
            "line": ["samples.tsv:2", "samples.tsv:3"],
        }
    )
    for name, text in (("01", "session_id\tvisit\tarm\nses-1\t1\tA\n"), ("02", "session_id\tvisit\nses-1\t1\n")):
        (tmp_path / f"bids/sub-{name}").mkdir(parents=True)
        (tmp_path / f"bids/sub-{name}/sub-{name}_sessions.tsv").write_text(text)
    found = provenance.copy_tables(Study(samples, None, None), tmp_path, tmp_path)
    assert found == ["samples.tsv", "sessions.tsv"]
    copied = (tmp_path / "samples.tsv").read_text()
    assert copied == "participant\tsession\trole\tprotocol\n01\t1\tsvs\tp\n01\t1\tmrsref\tp\n"
    rows = (tmp_path / "sessions.tsv").read_text().splitlines()
    assert rows == ["participant_id\tsession_id\tvisit\tarm", "sub-01\tses-1\t1\tA", "sub-02\tses-1\t1\tn/a"]
