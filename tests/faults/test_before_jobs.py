"""What is wrong with a study is listed before any job, all of it at once, each fault with its way out."""

import copy
import dataclasses
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import made_datasets as made
import numpy as np
import pydicom
import pytest
import yaml
from faulty import CONFIG, HEADER, TABLES, signal
from pydicom.dataset import FileMetaDataset

from mrsflow.conversion import headers
from mrsflow.errors import InputError
from mrsflow.simulation import rawfiles
from mrsflow.study import config as study_config
from mrsflow.study.study import before_jobs

ROOT = Path(__file__).resolve().parents[2]


def write(folder, changes=None, tables=None):
    """Write a study to a folder; gives its configuration as a person would write it."""
    paths = {}
    for name, text in (TABLES | (tables or {})).items():
        paths[name] = str(folder / f"{name}.tsv")
        Path(paths[name]).write_text(text)
    content = copy.deepcopy(CONFIG) | {"inputs": paths}
    for key, value in (changes or {}).items():
        place = content
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return content


def faults_of(folder, changes=None, tables=None):
    content = write(folder, changes, tables)
    found = []
    config = study_config.checked(content, "config.yaml", found)
    return [*found, *before_jobs(config, content)[1]]


def edited(table, *pairs):
    text = TABLES[table]
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return {table: text}


def test_raw_files_inside_the_output_folder_are_a_fault(tmp_path):
    (fault,) = faults_of(tmp_path, {"output": str(tmp_path / "x")})
    assert "line 2: raw files lie in the output folder" in fault and "name another folder in output" in fault


def test_the_sound_study_has_no_fault(tmp_path):
    assert faults_of(tmp_path) == []


RUNS = {
    "samples": "participant\tsession\trole\tprotocol\traw\trun\tstart_time\n"
    "01\t1\tsvs\ta\tx/1.dat\t1\t09:50:00\n01\t1\tsvs\ta\tx/2.dat\t2\t10:00:00\n"
}
STOPPED = TABLES["sessions"].replace("start", "start\tinfusion_stop").replace("10:00:00", "10:00:00\t10:40:00")
SCORES = TABLES["sessions"].replace("infusion_start", "infusion_start\tmadrs_pre\tmadrs_day1").replace(
    "10:00:00\n", "10:00:00\t3\t4\n")  # fmt: skip
ONE = {
    "infusion_start of one session": ({}, edited("sessions", ("2\t2\tdrug\t10:00:00", "2\t2\tdrug\t")),
                                      "sessions.tsv, line 3: infusion_start is empty, which is time 0"),
    "no infusion_start at all": ({}, edited("sessions", ("infusion_start", "note")),
                                 "sessions.tsv: has no infusion_start, which is time 0"),
    "no dose_time": ({"blocks.event": "dose"}, {}, "sessions.tsv: has no dose_time, which is time 0"),
    "event of no table": ({"blocks.event": "heat"}, {}, "blocks.event 'heat' is not an event that the tables give"),
    "arm twice": ({}, edited("sessions", ("2\t2\tdrug", "2\t2\tplacebo")),
                  "sessions.tsv, line 3: participant '01' has arm 'placebo' twice, first in .*sessions.tsv, line 2"),
    "parallel with two visits": ({"study.design": "parallel"}, {}, "line 3: participant '01' has several sessions"),
    "contrast": ({"group.contrasts": [{"name": "c", "treated": "drugg", "reference": "placebo"}]}, {},
                 "group.contrasts: 'c' names 'drugg'; study.conditions has placebo, drug"),
    "control": ({"group.control": "water"}, {}, "group.control is 'water'; study.conditions has placebo, drug"),
    "moderator": ({"group.moderators": ["gender"]}, {}, "group.moderators: there is no column 'gender'"),
    "adjust_for": ({"group.adjust_for": ["sites"]}, {}, "group.adjust_for: there is no column 'sites'"),
    "outcome": ({"group.outcome": "Glux/tNAA"}, {}, "group.outcome: 'Glux/tNAA' names 'Glux'"),
    "mood without scores": ({"group.mood_scale": "madrs"}, {},
                            "no column 'madrs_pre' in .*sessions.tsv, it has no scores madrs_...; .* to null"),
    "visit and arm swapped": ({}, edited("sessions", ("visit\tarm", "arm\tvisit")),
                              "sessions.tsv: columns visit and arm seem to be swapped: visit holds 'placebo'"),
    "role and protocol swapped": ({}, edited("samples", ("role\tprotocol", "protocol\trole")),
                                  "samples.tsv: columns role and protocol seem to be swapped"),
    "sex and age swapped": ({}, edited("participants", ("sex\tage", "age\tsex")),
                            "participants.tsv: columns sex and age seem to be swapped"),
    "forgotten protocol": ({}, edited("samples", ("\ta\tx/2", "\tsiemens\tx/2")),
                           r"line 3: protocol 'siemens' is not in protocols of the configuration \(a\); add an entry"),
    "leading zero lost": ({}, edited("participants", ("\n02", "\n2")),
                          "line 4: participant '02' is not in .*; did you mean '2'"),
    "start of several runs": ({"blocks.event": "start"}, RUNS,
                              "line 3: is another run of sub-01_ses-1, and blocks.event 'start' is the begin"),
    "a dash for nothing": ({}, edited("samples", ("x/1.dat\t09:50:00", "x/1.dat\t–")),
                           "line 2: start_time: '–' is no clock time HH:MM:SS .*; write n/a where it is missing"),
    "a time with its zone": ({}, edited("samples", ("x/1.dat\t09:50:00", "x/1.dat\t09:50:00Z")),
                             "'09:50:00Z' is no clock time HH:MM:SS .of 24 hours, without date and time zone"),
    "a number that is none": ({}, edited("participants", ("31\t60", "NA\t60")),
                              "participants.tsv, line 2: age: 'NA' is not a number; write n/a where it is missing"),
    "a clock of twelve hours": ({}, edited("samples", ("x/1.dat\t09:50:00", "x/1.dat\t21:50:00")),
                                r"line 2: start_time 21:50:00 is 710 min after infusion_start 10:00:00 \(.*sessions.tsv"
                                r", line 2\), so that no frame lies in a block \(blocks.bins: -8 to 8 min\)"),
    "a start far too early": ({}, edited("samples", ("x/1.dat\t09:50:00", "x/1.dat\t05:00:00")),
                              "start_time 05:00:00 is 300 min before infusion_start 10:00:00"),
    "infusion the wrong way round": ({}, {"sessions": STOPPED.replace("10:40:00", "09:40:00", 1)},
                                     "sessions.tsv, line 2: infusion_stop 09:40:00 is not after infusion_start 10:00"),
    "no spectra at all": ({}, {"samples": TABLES["samples"].replace("svs", "mrsref")},
                          "samples.tsv: has no row of role svs, .*; add them, or correct column role"),
    "an echo time in seconds": ({}, edited("samples", ("x/1.dat\t09:50:00\t30", "x/1.dat\t09:50:00\t0.03")),
                                r"line 2: echo_time_ms is 0.03, and protocols.a.echo_time_ms is 30; correct one"),
    "a score that is no number": ({"group.mood_scale": "madrs"}, {"sessions": SCORES.replace("4\n", "four\n", 1)},
                                  "sessions.tsv, line 2: madrs_day1 is 'four'; a finite number is needed, or n/a"),
    "a time of 24 hours": ({}, edited("samples", ("x/1.dat\t09:50:00", "x/1.dat\t24:00:00")),
                           "line 2: start_time: '24:00:00' is no clock time HH:MM:SS"),
    "a misspelt event": ({}, edited("sessions", ("infusion_start", "infusion_strat")),
                         r"has no infusion_start, which .*\(rename 'infusion_strat' if it is meant\)"),
    "arm in capitals": ({}, edited("sessions", ("2\t2\tdrug", "2\t2\tDrug")), "arm 'Drug' .*; did you mean 'drug'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ONE)
def test_each_fault_is_one_line_that_says_what_to_change(tmp_path, fault):
    changes, tables, said = ONE[fault]
    found = faults_of(tmp_path, changes, tables)
    relevant = [line for line in found if re.search(said, line)]
    assert len(relevant) == 1, found
    assert len(found) == 1 or fault == "mood without scores", found
    assert "\n" not in found[0]


def test_whole_numbers_may_be_written_as_spreadsheets_do(tmp_path):
    content = write(tmp_path, None, edited("sessions", ("1\t1\tplacebo", "1\t1.0\tplacebo")))
    study, found = before_jobs(study_config.checked(content), content)
    assert found == []
    assert study.sessions["visit"].tolist() == [1, 2, 1]


def test_a_scan_across_midnight_is_not_far_from_its_infusion(tmp_path):
    tables = edited("samples", ("09:50:00", "23:55:00")) | edited("sessions", ("10:00:00", "00:05:00"))
    assert faults_of(tmp_path, None, tables) == []


def test_the_scale_of_mood_that_nobody_asked_for_is_no_fault(tmp_path):
    content = write(tmp_path)
    assert study_config.checked(content)["group"]["mood_scale"] == "madrs"
    assert before_jobs(study_config.checked(content), content)[1] == []


@pytest.mark.parametrize(("tables", "said"), [
    ({"samples": TABLES["sessions"]}, "it looks like the sessions table"),
    ({"sessions": TABLES["samples"]}, "it looks like the samples table"),
])  # fmt: skip
def test_a_table_in_the_place_of_another_is_recognised(tmp_path, tables, said):
    found = faults_of(tmp_path, None, tables)
    assert len(found) == 1
    assert said in found[0]


def test_a_misspelt_column_is_named_and_no_other_table_recognised(tmp_path):
    found = faults_of(tmp_path, None, edited("samples", ("role", "rolle")))
    assert re.search(r"column 'role' is missing; it has [^;]*; rename 'rolle' if it is meant$", found[0])


def test_a_clock_time_needs_no_leading_zero_and_comes_out_the_same(tmp_path):
    tables = edited("samples", ("09:50:00", "9:50:00")) | edited("sessions", ("10:00:00", "9:27:00"))
    content = write(tmp_path, None, tables)
    study, found = before_jobs(study_config.checked(content), content)
    assert found == []
    assert set(study.samples["start_time"]) == {"09:50:00"}
    assert set(study.sessions["infusion_start"]) == {"09:27:00"}


def test_two_tasks_in_one_session_of_the_tables_ask_which(tmp_path):
    header = "participant\tsession\trole\ttask\tprotocol\traw\tstart_time\n"
    rows = ["01\t1\tsvs\trest\ta\tx/1.dat\t09:50:00", "01\t1\tsvs\tk\ta\tx/4.dat\t09:50:00"]
    tables = {"samples": header + "\n".join(rows)}
    found = faults_of(tmp_path, None, tables)
    assert len(found) == 1
    assert "sub-01_ses-1 holds two series of spectra" in found[0]
    assert "samples.tsv, line 2 and" in found[0]
    assert "{task: rest}" in found[0]
    content = write(tmp_path, None, tables)
    content["inputs"]["select"] = {"task": "k"}
    study, found = before_jobs(study_config.checked(content), content)
    assert found == []
    assert study.samples["task"].tolist() == ["k"]


SEVERAL = {
    "study.design": "crossover", "group.control": "nothing", "group.outcome": "Glux/tNAA",
    "group.moderators": ["gender"], "group.mood_scale": "hamd",
}  # fmt: skip
BROKEN = (
    edited(
        "sessions",
        ("1\t1\tplacebo\t10:00:00", "1\t1\tDrug\t10:00:00"),
        ("02\t1\t1\tdrug\t10:00:00", "02\t1\t1\tdrug\t"),
    )
    | edited("samples", ("svs\ta\tx/2", "svs\tb\tx/2"), ("09:50:00\t30\n02", "9.50\t30\n02"))
    | edited("participants", ("\t31", "\told"))
)


def test_faults_of_every_kind_come_together(tmp_path):
    found = faults_of(tmp_path, SEVERAL, BROKEN)
    words = ("'nothing'", "'Glux'", "'gender'", "'hamd_pre'", "'hamd_day1'", "'Drug'", "infusion_start is empty",
             "protocol 'b'", "'9.50'", "'old'")  # fmt: skip
    assert [sum(word in line for line in found) for word in words] == [1] * len(words)
    assert len(found) == len(words)


def test_faults_of_the_configuration_come_together_with_those_of_the_tables(tmp_path):
    """A protocol in s, a misspelt key, a text for a number and a bin the wrong way, with an unknown arm in a table."""
    changes = {
        "protocols.a.echo_time_ms": 0.03, "study.freze": True, "batch_size": "many", "fit.ppm": [4.2, 0.5],
        "blocks.bins.infusion": [8, 0], "group.control": "nothing", "output": "~/results",
    }  # fmt: skip
    found = faults_of(tmp_path, changes, edited("sessions", ("2\t2\tdrug", "2\t2\tDrug")))
    words = ("a.echo_time_ms: 0.03 is less", "unknown key 'freze'", "batch_size: 'many'", "fit.ppm is [4.2, 0.5]",
             "blocks.bins.infusion is [8, 0]", "output is '~/results'", "arm 'Drug'")  # fmt: skip
    assert [sum(word in line for line in found) for word in words] == [1] * len(words)
    assert len(found) == len(words)  # of group.control nothing is said, as study has a fault of its own


@pytest.mark.parametrize(("changes", "said"), [
    ({"protocols.a.preset": "siemens"}, ["protocols.a.preset: 'siemens' is not one of"]),
    ({"protocols.a.te": 30, "protocols.a.tr": 2000}, ["protocols.a: unknown key 'te'", "a: unknown key 'tr'"]),
    ({"blocks.bins.infusion": "8 min", "blocks.baseline": ["before"]}, ["blocks.bins.infusion: '8 min' is not of"]),
    ({"group.mood_scale": 5}, ["group.mood_scale: 5 is not of type"]),
    ({"inputs.samples": 5}, ["inputs.samples: 5 is not of type 'string'"]),
    ({"study.design": "cross"}, ["study.design: 'cross' is not one of"]),
])  # fmt: skip
def test_a_fault_of_the_configuration_gives_no_other_that_is_none(tmp_path, changes, said):
    content = write(tmp_path, changes)
    found = []
    try:
        config = study_config.checked(content, "config.yaml", found)
        found += before_jobs(config, content)[1]
    except InputError as error:
        found = str(error).splitlines()
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def raw_study(folder):
    """Write a study with a raw file for each row: twix, which states its start, SDAT, which does not."""
    (folder / "x").mkdir()
    rawfiles.write_siemens_twix(folder / "x/1.dat", signal(2, 6, 2.008, 100.0, 1), HEADER)
    rawfiles.write_philips_sdat(folder / "x/2.SDAT", signal(2, 6, 2.008, 100.0, 1)[0, 0], HEADER)
    samples = "participant\tsession\trole\tprotocol\traw\ttask\n01\t1\tsvs\ta\tx/1.dat\tk\n01\t2\tsvs\ta\tx/2.SDAT\tk\n"
    samples += "01\t2\tT1w\t\tx/t1.nii.gz\tn/a\n02\t1\tsvs\ta\tx/3.dat\tk\n"
    return write(folder, None, {"samples": samples})


def test_a_start_that_nothing_says_and_files_that_are_away_are_found(tmp_path):
    content = raw_study(tmp_path)
    config = study_config.checked(content)
    study, found = before_jobs(config, content)
    assert found == []
    said = headers.contradictions(study, config, tmp_path / "memory.json")
    assert len(said) == 1
    assert "samples.tsv, line 3: start_time is empty, and 2.SDAT does not say when" in said[0]
    away = headers.missing(study)
    assert [line.split(": ")[1] for line in away] == ["t1.nii.gz", "3.dat"]
    assert f"looked for {(tmp_path / 'x/3.dat').absolute()}" in away[1]


@pytest.mark.parametrize(
    ("without", "said"), [(1, "line 2: task is empty, and"), (3, r"line 2: .* \(and in 2 more rows\)")]
)
def test_spectra_with_events_need_a_task_to_name_their_table_by(tmp_path, without, said):
    content = raw_study(tmp_path)
    table = tmp_path / "samples.tsv"
    table.write_text(table.read_text().replace("\tk\n", "\tn/a\n", without))
    config = study_config.checked(content)
    found = headers.contradictions(before_jobs(config, content)[0], config)
    assert len(found) == 2
    assert re.search(said, found[0])
    assert "2.SDAT does not say when" in found[1]


def test_what_a_file_says_is_remembered_until_it_changes(tmp_path, monkeypatch):
    content = raw_study(tmp_path)
    config = study_config.checked(content)
    study = before_jobs(config, content)[0]
    memory = tmp_path / "memory.json"
    first = headers.contradictions(study, config, memory)
    assert str(tmp_path) not in memory.read_text()
    looked = []
    said = {"start": headers.UNREAD, "seconds": None}
    monkeypatch.setattr(headers, "_says", lambda paths: looked.append(paths[0].name) or said)
    assert headers.contradictions(study, config, memory) == first
    assert looked == []
    os.utime(tmp_path / "x/2.SDAT", (1, 1))
    assert headers.contradictions(study, config, memory) == []
    assert looked == ["2.SDAT"]


CLOCKS = {  # start in the table, infusion, minutes that the stamps last: what is said; the file's own start is 09:47:12
    "as it was": (None, "10:00:00", 20, None),
    "three hours late": (None, "06:40:00", 20, "the start 09:47:12 in its file is 187 min after infusion_start 06:40"),
    "three hours early": (
        None,
        "12:50:00",
        20,
        "the start 09:47:12 in its file is 183 min before infusion_start 12:50",
    ),
    "early but long": (None, "12:50:00", 190, None),
    "said once, of the table": ("09:47:12", "06:40:00", 20, "start_time 09:47:12 is 187 min after infusion_start 06"),
    "just beside the blocks": (None, "09:27:00", 20, None),
    "another clock": ("11:47:12", "12:00:00", 20, "start_time is 11:47:12, and the raw file says 09:47:12; leave"),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_clocks_that_cannot_be_true_are_found_in_the_headers_before_any_job(tmp_path, clock):
    start, infusion, minutes, said = CLOCKS[clock]
    (tmp_path / "x").mkdir()
    began = datetime.datetime(2030, 1, 7, 9, 47, 12)
    frames = 4
    header = dataclasses.replace(HEADER, start=began, repetition_time=minutes * 60 / frames, excitations_per_frame=1)
    rawfiles.write_siemens_twix(tmp_path / "x/1.dat", signal(2, frames, 2.008, 100.0, 1), header)
    samples = "participant\tsession\trole\tprotocol\traw\ttask\tstart_time\n"
    samples += f"01\t1\tsvs\ta\tx/1.dat\tk\t{start or 'n/a'}\n"
    sessions = f"participant\tsession\tvisit\tarm\tinfusion_start\n01\t1\t1\tplacebo\t{infusion}\n"
    content = write(tmp_path, None, {"samples": samples, "sessions": sessions, "participants": "participant\n01\n"})
    config = study_config.checked(content)
    study, found = before_jobs(config, content)
    found += headers.contradictions(study, config)
    assert len(found) == bool(said), found
    assert not said or said in found[0]


@pytest.mark.parametrize(
    ("onset", "began", "said"),
    [
        (160, None, None),
        (11000, None, "its first frame is 183 min before infusion"),
        (11000, 10900, None),  # both counted from when the session began
        (-4000, None, "is 67 min after infusion"),
    ],
)
def test_an_event_of_a_dataset_hours_away_from_its_frames_is_found_before_any_job(tmp_path, onset, began, said):
    made.pain(tmp_path / "data", people=1, frames=8)
    if began is not None:
        sidecar = tmp_path / "data/sub-01/mrs/sub-01_task-pain_svs.json"
        timing = {"VolumeTiming": [began + 4.0 * n for n in range(8)]}
        made.write_json(sidecar, json.loads(sidecar.read_text()) | timing)
    events = tmp_path / "data/sub-01/mrs/sub-01_task-pain_events.tsv"
    events.write_text(f"onset\tduration\ttrial_type\n{onset}\t1\tinfusion\n")
    blocks = {"event": "infusion", "bins": {"before": [-8, 0], "after": [0, 8]}, "baseline": ["before"]}
    content = made.configuration(
        tmp_path / "data", inputs={"bids": str(tmp_path / "data"), "select": {"task": "pain"}}, blocks=blocks
    )
    config = study_config.checked(content)
    study, found = before_jobs(config, content)
    found += headers.contradictions(study, config)
    assert len(found) == bool(said), found
    assert not said or said in found[0]


def many(folder, sessions):
    rows = [(f"{n // 2 + 1:03d}", n % 2 + 1) for n in range(sessions)]
    arms = ("placebo", "drug")
    samples = ["participant\tsession\trole\tprotocol\traw\ttask\tstart_time"]
    samples += [f"{p}\t{s}\tsvs\ta\tx/{p}_{s}.dat\tk\t09:50:00" for p, s in rows]
    visits = ["participant\tsession\tvisit\tarm\tinfusion_start"]
    visits += [f"{p}\t{s}\t{s}\t{arms[s - 1]}\t10:00:00" for p, s in rows]
    people = ["participant\tsex", *(f"{p}\tF" for p, s in rows if s == 1)]
    return write(folder, None, {
        "samples": "\n".join(samples), "sessions": "\n".join(visits), "participants": "\n".join(people),
    })  # fmt: skip


def test_the_tables_of_a_trial_are_checked_in_a_second(tmp_path):
    content = many(tmp_path, 52)
    config = study_config.checked(content)
    before_jobs(config, content)  # imports
    began = time.process_time()
    study, found = before_jobs(config, content)
    assert time.process_time() - began < 1
    assert (len(study.keys), found) == (52, [])


def test_the_headers_of_a_trial_are_looked_at_in_ten_seconds(tmp_path):
    """Fifty-two sessions: folders of DICOM files and twix files of 300 frames each, which state when they began."""
    content = many(tmp_path, 52)
    table = (tmp_path / "samples.tsv").read_text().replace("\t09:50:00", "\tn/a").splitlines()
    (tmp_path / "x").mkdir()
    rawfiles.write_siemens_twix(tmp_path / "x/a.dat", np.ones((8, 300, 64), complex), HEADER)
    dicom = pydicom.Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dicom.file_meta.MediaStorageSOPClassUID = dicom.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    dicom.file_meta.MediaStorageSOPInstanceUID = dicom.SOPInstanceUID = "1.2.3"
    dicom.Manufacturer, dicom.AcquisitionDateTime, dicom.InstanceNumber = "SIEMENS", "20300107095000", 1
    dicom.save_as(tmp_path / "x/a.dcm", enforce_file_format=True)
    for n, row in enumerate(table[1:]):
        path = tmp_path / row.split("\t")[4]
        if n % 2:
            os.link(tmp_path / "x/a.dat", path)
            continue
        path.mkdir()
        for number in range(300):
            os.link(tmp_path / "x/a.dcm", path / f"{number}.dcm")
    (tmp_path / "samples.tsv").write_text("\n".join(table))
    config = study_config.checked(content)
    study = before_jobs(config, content)[0]
    began = time.process_time()
    assert headers.contradictions(study, config, tmp_path / "memory.json") == []
    assert time.process_time() - began < 10
    began = time.process_time()
    assert headers.contradictions(study, config, tmp_path / "memory.json") == []
    assert time.process_time() - began < 1


def snakemake(folder, content, *options):
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", *options, "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def planned(folder, content):
    return snakemake(folder, content, "-n")


def test_a_dry_run_lists_all_and_keeps_full_paths_off_every_file(tmp_path):
    content = raw_study(tmp_path)
    content["group"] = {"control": "nothing", "moderators": ["gender"], "outcome": "Glux/tNAA"}
    content["batch_size"] = "many"
    done = planned(tmp_path, content)
    assert done.returncode != 0
    for words in (
        "batch_size: 'many' is not",
        "names 'Glux'",
        "group.control is 'nothing'",
        "no column 'gender'",
        "2.SDAT does not say when",
        f"3.dat: no such file or folder (looked for {tmp_path}/x/3.dat)",
        "t1.nii.gz: no such",
    ):
        assert done.stderr.count(words) == 1, words
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
    assert not [p for p in (tmp_path / ".snakemake").rglob("*") if p.is_file() and f"{tmp_path}/x" in p.read_text()]


def test_a_dry_run_fails_where_files_are_away_and_nothing_else_is_wrong(tmp_path):
    content = raw_study(tmp_path)
    table = tmp_path / "samples.tsv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header}\tstart_time", *(f"{row}\t09:50:00" for row in rows)]))
    done = planned(tmp_path, content)
    assert done.returncode != 0
    assert [name in done.stderr for name in ("t1.nii.gz: no such", "3.dat: no such")] == [True, True]


def test_a_dry_run_says_what_sessions_lack_and_will_not_have(tmp_path):
    untimed = {"sessions": re.sub(r"\t(infusion_start|10:00:00)", "", TABLES["sessions"])}
    content = write(tmp_path, {"blocks.event": "start"}, untimed)
    (tmp_path / "bp01.nii").touch()
    content["inputs"] |= {"maps": {"bp": {"file": str(tmp_path / "bpPARTICIPANT.nii")}}}
    said = planned(tmp_path, content).stderr
    assert "3 of 3 sessions lack a water reference (role mrsref) (sub-01_ses-1, sub-01_ses-2, sub-02_ses-1): " in said
    assert "1 of 3 sessions lack a file of the map bp (sub-02_ses-1): without a value of bp" in said
    assert "Traceback" not in said


WATER = ("02\t1\tsvs", "01\t1\tmrsref\ta\tx/1w.dat\tn/a\t30\n02\t1\tsvs")


@pytest.mark.parametrize(
    ("name", "mhz", "said"),
    [
        ("osprey", 63.87, ["which holds at 3 T, and protocols.a is of 1.5 T; .*there is spant"]),
        ("fsl", 63.87, ["which holds at 3 and 7 T, and protocols.a is of 1.5 T"]),
        ("osprey", 297.2, ["which holds at 3 T, and protocols.a is of 7 T; .*there is fsl, spant"]),
        ("spant", 400.2, ["and protocols.a is of 9.4 T; .*leave the key out, and use ratios"]),
        ("spant", 63.87, []),
        ("osprey", 123.2, []),
    ],
)
def test_constants_that_do_not_hold_at_the_field_are_a_fault_where_they_are_named(tmp_path, name, mhz, said):
    field = {"protocols.a.spectrometer_frequency_mhz": mhz}
    rows = edited("samples", WATER)
    found = faults_of(tmp_path, field | {"fit.constants": name}, rows)
    assert len(found) == len(said) and all(re.search(*pair) for pair in zip(said, found, strict=True))
    assert faults_of(tmp_path, field, rows) == []
    assert faults_of(tmp_path, field | {"fit.constants": name}) == []


@pytest.mark.slow
def test_a_large_study_has_its_raw_files_looked_at_by_a_first_job(tmp_path):
    """Of 510 sessions one has no raw file, and two have files that do not say when they began."""
    content = many(tmp_path, 510)
    content["batch_size"] = 50
    (tmp_path / "x").mkdir()
    rawfiles.write_siemens_twix(tmp_path / "x/a.dat", signal(2, 6, 2.008, 100.0, 1), HEADER)
    rawfiles.write_philips_sdat(tmp_path / "x/a.SDAT", signal(2, 6, 2.008, 100.0, 1)[0, 0], HEADER)
    header, *rows = (tmp_path / "samples.tsv").read_text().replace("\t09:50:00", "\tn/a").splitlines()
    for n, row in enumerate(rows):
        path = tmp_path / row.split("\t")[4]
        if n in (3, 399):
            os.link(tmp_path / "x/a.SDAT", path.with_suffix(".SDAT"))
            os.link(tmp_path / "x/a.SPAR", path.with_suffix(".SPAR"))
            rows[n] = row.replace(".dat", ".SDAT")
        elif n != 200:
            os.link(tmp_path / "x/a.dat", path)
    (tmp_path / "samples.tsv").write_text("\n".join([header, *rows]))
    done = snakemake(tmp_path, content, "-c1", "--until", "check_headers")
    assert done.returncode != 0
    assert [name in done.stderr for name in ("002_2.SDAT does not say", "200_2.SDAT does not say")] == [True, True]
    assert f"looked for {tmp_path}/x/101_1.dat" in done.stderr
    assert "3 faults in the raw files" in done.stderr
    assert not (tmp_path / "results/status/headers.txt").exists()
    rows = [row.replace(".SDAT\tk\tn/a", ".SDAT\tk\t09:50:00") for row in rows]
    (tmp_path / "samples.tsv").write_text("\n".join([header, *rows]))
    done = snakemake(tmp_path, content, "-c1", "--until", "check_headers")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/status/headers.txt").read_text() == "510 scans, 1 files missing\n"


def test_a_dataset_needs_nothing_of_the_checkout(tmp_path):
    made.pain(tmp_path / "data", people=2, frames=8)
    content = made.configuration(Path("data"), inputs={"bids": "data", "select": {"task": "pain"}})
    done = planned(tmp_path, content)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "data/sub-02/mrs")
    made.write_json(tmp_path / "data/sub-01/mrs/sub-01_task-pain_svs.json", {"EchoTime": "x"})
    done = planned(tmp_path, content)
    assert done.returncode != 0
    assert "data/sub-01/mrs/sub-01_task-pain_svs.json: EchoTime is 'x'" in done.stderr
