"""Datasets of other tools as input: read as they are, or refused with the file that the user has."""

import copy
import json
import re
import shutil
from pathlib import Path

import made_datasets as made
import pytest
import yaml

from mrsflow.conversion.convert import convert_session
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table
from mrsflow.nifti_mrs import read
from mrsflow.preprocessing.session_files import preprocess_session
from mrsflow.study import config as study_config
from mrsflow.study.study import before_jobs, read_study, table_paths

SIDECAR = {"EchoTime": 0.022, "RepetitionTime": 4, "SpectrometerFrequency": [127.7], "ResonantNucleus": ["1H"]}


def study_of(root, select=None, **sections):
    """Read a dataset with the configuration of `made_datasets`; gives study and faults."""
    content = made.configuration(root, **sections)
    content["inputs"] = {"bids": str(root), "select": select or {}}
    config = study_config.checked(content)
    return before_jobs(config, content)


def sound(root, **sections):
    study, faults = study_of(root, **sections)
    assert faults == []
    return study


def scans(study, role="svs"):
    return [paths[0].name for paths in study.samples.loc[study.samples["role"] == role, "raw"]]


def one_scan(root, name="sub-01/mrs/sub-01_svs.nii.gz", sidecar=SIDECAR, frames=60, **header):
    made.start(root)
    return made.write_scan(root / name, made.spectra(frames), sidecar, **header)


@pytest.fixture(scope="module")
def pain(tmp_path_factory):
    return made.pain(tmp_path_factory.mktemp("pain") / "data", people=2)


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    return made.edited(tmp_path_factory.mktemp("edited") / "data")


def test_a_dataset_without_sessions_and_with_two_tasks_asks_which(pain):
    _, faults = study_of(pain)
    assert len(faults) == 1
    assert "sub-01_task-baseline_svs.nii.gz" in faults[0]
    assert "sub-01_task-pain_svs.nii.gz" in faults[0]
    assert "inputs.select, as {task: baseline}" in faults[0]
    assert "1 more sessions" in faults[0]


def test_the_task_that_is_chosen_keeps_its_own_water_events_and_anatomy(pain):
    study = sound(pain, select={"task": "pain"})
    assert study.keys == ["sub-01_ses-1", "sub-02_ses-1"]
    first = study.samples[study.samples["key"] == "sub-01_ses-1"].set_index("role")
    assert {role: paths[0].name for role, paths in first["raw"].items()} == {
        "T1w": "sub-01_T1w.nii.gz", "mrsref": "sub-01_task-pain_mrsref.nii.gz", "svs": "sub-01_task-pain_svs.nii.gz",
    }  # fmt: skip
    assert first.loc["svs", "events"] == pain / "sub-01/mrs/sub-01_task-pain_events.tsv"
    assert study.sessions[["visit", "arm"]].values.tolist() == [[1, "pain"], [1, "pain"]]
    assert study.participants["age_range"].tolist() == ["35-40", "25-30"]
    assert study.participants["sex"].tolist() == ["M", "F"]


def test_an_event_of_several_rows_begins_with_the_first(pain):
    blocks = {"event": "heat", "bins": {"before": [-2, 0], "after": [0, 2]}, "baseline": ["before"]}
    sound(pain, select={"task": "pain"}, blocks=blocks)
    _, faults = study_of(pain, select={"task": "pain"}, blocks={**blocks, "event": "cold"})
    assert len(faults) == 2
    assert "sub-01_task-pain_events.tsv" in faults[0]
    assert "it has heat, pre_heat" in faults[0]


def converted(root, folder, **sections):
    """Convert and preprocess every session in this process; gives the blocks tables by session."""
    content = {**made.configuration(root), **sections}
    config = study_config.checked(content)
    study = read_study(config)
    found = {}
    for key in study.keys:
        written = convert_session(key, study, config, folder)
        own = {name: config[name] for name in ("blocks", "preprocess", "protocols")}
        own["protocols"] = {name: config["protocols"][name] for name in set(study.samples["protocol"].dropna())}
        done = preprocess_session(key, written, own, folder)
        found[key] = next(read_table(p) for p in done if p.name.endswith("desc-blocks_quality.tsv"))
    return found


def test_heat_is_time_zero_and_each_block_has_its_excitations(pain, tmp_path):
    blocks = {"event": "heat", "bins": {"before": [-2, 0], "after": [0, 2]}, "baseline": ["before"]}
    inputs = {"bids": str(pain), "select": {"task": "pain"}}
    found = converted(pain, tmp_path / "results", inputs=inputs, blocks=blocks, convert={"t1w": "keep"})
    for table in found.values():  # 60 frames of 4 s: 30 before the onset at 120 s and 30 after
        assert (table["n_transients"] + table["n_rejected"]).tolist() == [30, 30]
    sidecar = read_json(tmp_path / "results/bids/sub-01/ses-1/mrs/sub-01_ses-1_task-pain_svs.json")
    assert sidecar["ReferenceSignal"].endswith("sub-01_ses-1_task-pain_mrsref.nii.gz")
    assert (tmp_path / "results/bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz").is_file()


def test_sequences_side_by_side_are_told_by_acq_and_by_protocol(edited):
    press = made.configuration(edited)["protocols"]["p"] | {"repetition_time_ms": 2000}
    protocols = {
        "press": {**press, "echo_time_ms": 35},
        "off68": {**press, "echo_time_ms": 68, "use_frames": "odd"},
        "off80": {**press, "echo_time_ms": 80, "use_frames": "odd"},
    }
    _, faults = study_of(edited, protocols=protocols)
    assert any("differ in acq (megapress68, megapress80)" in fault for fault in faults)
    for acq, protocol in (("press", "press"), ("megapress68", "off68")):
        study = sound(edited, select={"acq": acq}, protocols=protocols)
        assert scans(study) == [f"sub-0{n}_acq-{acq}_svs.nii.gz" for n in (1, 2)]
        assert scans(study, "mrsref") == [f"sub-0{n}_acq-{acq}_mrsref.nii.gz" for n in (1, 2)]
        assert set(study.samples.loc[study.samples["role"] == "svs", "protocol"]) == {protocol}


def test_a_sequence_that_the_sidecar_names_otherwise_is_contradicted(edited):
    from mrsflow.conversion import headers

    protocol = made.configuration(edited)["protocols"]["p"] | {"repetition_time_ms": 2000, "echo_time_ms": 68}
    content = made.configuration(edited, protocols={"p": protocol})
    content["inputs"]["select"] = {"acq": "megapress68"}
    config = study_config.checked(content)
    study = read_study(config)
    said = headers.contradictions(study, config)
    assert len(said) == 2
    assert "sub-01_acq-megapress68_svs.nii.gz: PulseSequenceType in its sidecar is 'MEGA-PRESS'" in said[0]
    config["protocols"]["p"]["use_frames"] = "odd"
    assert headers.contradictions(study, config) == []


@pytest.mark.parametrize("entity", ["acq", "nuc", "voi", "rec", "echo", "inv", "task"])
def test_each_entity_of_spectra_keeps_two_series_apart(tmp_path, entity):
    for label in ("1", "2"):
        one_scan(tmp_path, f"sub-01/mrs/sub-01_{entity}-{label}_svs.nii.gz")
        made.write_scan(tmp_path / f"sub-01/mrs/sub-01_{entity}-{label}_mrsref.nii.gz", made.water(), SIDECAR)
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert f"differ in {entity} (1, 2)" in faults[0]
    assert f"{{{entity}: 1}}" in faults[0]
    for label in ("2", 2):
        study = sound(tmp_path, select={entity: label})
        assert scans(study) == [f"sub-01_{entity}-2_svs.nii.gz"]
        assert scans(study, "mrsref") == [f"sub-01_{entity}-2_mrsref.nii.gz"]


def test_a_series_without_the_entity_is_chosen_by_null(tmp_path):
    one_scan(tmp_path)
    one_scan(tmp_path, "sub-01/mrs/sub-01_voi-acc_svs.nii.gz")
    assert "differ in voi (none, acc)" in study_of(tmp_path)[1][0]
    assert scans(sound(tmp_path, select={"voi": None})) == ["sub-01_svs.nii.gz"]
    _, faults = study_of(tmp_path, select={"voi": "pcc"})
    assert "none of its 2 files *_svs.nii.gz, as sub-01_svs.nii.gz, has voi-pcc (inputs.select)" in faults[0]


def test_runs_are_one_series_in_the_order_of_their_numbers(tmp_path):
    for run in (2, 10, 1):
        one_scan(tmp_path, f"sub-01/mrs/sub-01_run-{run}_svs.nii.gz")
        text = f"onset\tduration\ttrial_type\n{-240 * (run - 1)}\t0\tstart\n"
        (tmp_path / f"sub-01/mrs/sub-01_run-{run}_events.tsv").write_text(text)
    assert scans(sound(tmp_path)) == [f"sub-01_run-{run}_svs.nii.gz" for run in (1, 2, 10)]


def test_visits_in_different_voxels_are_no_series(tmp_path):
    one_scan(tmp_path, "sub-01/ses-1/mrs/sub-01_ses-1_voi-acc_svs.nii.gz")
    one_scan(tmp_path, "sub-01/ses-2/mrs/sub-01_ses-2_voi-pcc_svs.nii.gz")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "sessions differ in their voxel" in faults[0]
    assert "voi (acc, pcc)" in faults[0]


def test_sidecars_hold_key_by_key_from_the_nearest(tmp_path):
    one_scan(tmp_path, "sub-01/ses-1/mrs/sub-01_ses-1_task-k_svs.nii.gz", {"EchoTime": 0.022})
    made.write_json(tmp_path / "task-k_svs.json", {"EchoTime": 0.5, "RepetitionTime": 9})
    made.write_json(tmp_path / "sub-01/sub-01_svs.json", {"RepetitionTime": 4})
    made.write_json(tmp_path / "task-other_svs.json", {"RepetitionTime": 7})
    made.write_json(tmp_path / "svs.json", {"SpectralWidth": 2000, "RepetitionTime": 8})
    row = sound(tmp_path).samples.iloc[0]
    assert (row["echo_time_ms"], row["repetition_time_ms"]) == (22.0, 4000.0)


def test_events_are_those_of_the_nearest_folder(tmp_path):
    one_scan(tmp_path, "sub-01/ses-1/mrs/sub-01_ses-1_task-k_svs.nii.gz")
    upper, lower = tmp_path / "task-k_events.tsv", tmp_path / "sub-01/ses-1/sub-01_ses-1_events.tsv"
    for path in (upper, tmp_path / "task-other_events.tsv"):
        path.write_text("onset\tduration\ttrial_type\n1\t0\tinfusion\n")
    assert sound(tmp_path).samples.iloc[0]["events"] == upper
    lower.write_text("onset\tduration\ttrial_type\n2\t0\tinfusion\n")
    assert sound(tmp_path).samples.iloc[0]["events"] == lower


@pytest.mark.parametrize(
    "change",
    [
        {"SpectrometerFrequency": 127.7},
        {"ResonantNucleus": "1H"},
        {"EchoTime": [0.022]},
        {"InversionTime": 0},
        {"RepetitionTime": [4.0]},
        {"RepetitionTime": [4, 4, 4]},
        {"SpectrometerFrequency": [127.7, 32.1], "ResonantNucleus": ["1H", "13C"]},
    ],
    ids=str,
)
def test_scalars_and_lists_are_the_same(tmp_path, change):
    one_scan(tmp_path / "data", sidecar={**SIDECAR, **change})
    table = converted(tmp_path / "data", tmp_path / "out")["sub-01_ses-1"]
    assert (table["n_transients"] + table["n_rejected"]).tolist() == [30, 30]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"EchoTime": "22 ms"}, r"svs.json: EchoTime is '22 ms'; one positive number is needed"),
        ({"EchoTime": None}, r"svs.json: EchoTime is None"),
        ({"EchoTime": []}, r"svs.json: EchoTime is \[\]"),
        ({"EchoTime": {"a": 1}}, r"svs.json: EchoTime is \{'a': 1\}"),
        ({"RepetitionTime": [4, 5]}, r"svs.json: RepetitionTime is \[4, 5\]"),
        ({"RepetitionTime": True}, r"svs.json: RepetitionTime is True"),
        ({"SpectrometerFrequency": [[127.7]]}, r"svs.json: SpectrometerFrequency is \[\[127.7\]\]"),
        ({"ResonantNucleus": 1}, r"svs.json: ResonantNucleus is 1; text is needed"),
        ({"ReferenceSignal": 1}, r"svs.json: ReferenceSignal is 1; text is needed"),
        ({"EchoTime": 22}, r"EchoTime of 22000 ms where protocols.p.echo_time_ms is 22;"),
        ({"EchoTime": 0.068}, r"has EchoTime of 68 ms where protocols.p.echo_time_ms is 22"),
        ({"SpectrometerFrequency": 297.2}, r"SpectrometerFrequency is 127.7 MHz in its header and 297.2 MHz in .*json"),
        ({"ResonantNucleus": ["31P"]}, r"ResonantNucleus is 1H in its header and 31P in .*svs.json"),
        ({"SpectralWidth": 4000}, r"SpectralWidth is 2000 Hz in its header and 4000 Hz in .*svs.json"),
        ({"NumberOfTransients": 960}, r"ExcitationsPerFrame of 16 \(NumberOfTransients over its frames\) where"),
        ({"ReferenceSignal": "bids::sub-01/mrs/x_mrsref.nii.gz"}, r"names .*x_mrsref.nii.gz, which is not there"),
        ({"AnatomicalImage": ["bids::sub-01/anat/x_T1w.nii.gz"]}, r"names .*x_T1w.nii.gz, which is not there"),
    ],
    ids=str,
)
def test_a_sidecar_value_that_cannot_be_used_is_one_line_with_file_and_key(tmp_path, change, said):
    one_scan(tmp_path, sidecar={**SIDECAR, **change})
    with pytest.raises(InputError, match=said) as error:
        read_study(study_config.checked(made.configuration(tmp_path)))
    assert "sub-01_svs" in str(error.value)
    assert "\n" not in str(error.value)
    assert "samples table" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_sidecar_that_is_no_json_object_is_named(tmp_path, text):
    one_scan(tmp_path).with_name("sub-01_svs.json").write_text(text, encoding="latin-1")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "sub-01_svs.json" in faults[0]


def test_water_too_must_say_its_times_somewhere(tmp_path):
    one_scan(tmp_path)
    made.write_scan(tmp_path / "sub-01/mrs/sub-01_mrsref.nii.gz", made.water())
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "sub-01_mrsref.nii.gz: neither its header nor a sidecar says EchoTime" in faults[0]
    made.write_json(tmp_path / "mrsref.json", SIDECAR)
    sound(tmp_path)


@pytest.mark.parametrize("key", ["EchoTime", "RepetitionTime"])
def test_what_neither_header_nor_sidecar_says_is_asked_of_the_sidecar(tmp_path, key):
    one_scan(tmp_path, sidecar={k: v for k, v in SIDECAR.items() if k != key})
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert f"neither its header nor a sidecar says {key} (s); write it into sub-01_svs.json" in faults[0]


PAUSE = [4.0 * n + (120.0 if n >= 30 else 0.0) for n in range(60)]
"""Sixty frames of 4 s, and two minutes of pause in the middle."""


@pytest.mark.parametrize(("stated", "counts"), [
    ({"RepetitionTime": 4, "VolumeTiming": PAUSE}, [30, 30]),
    ({"NumberOfTransients": 60, "VolumeTiming": PAUSE}, [30, 30]),
    ({"RepetitionTime": 4}, [30, 30]),
    ({"RepetitionTime": 4, "VolumeTiming": [t + 60 for t in PAUSE]}, [15, 30]),
])  # fmt: skip
@pytest.mark.parametrize("above", [True, False])
def test_frames_lie_where_their_timing_says(tmp_path, stated, counts, above):
    """Bins of two minutes: before the pause, and after it; without the times all frames follow each other."""
    timed = "VolumeTiming" in stated
    sidecar = {k: v for k, v in SIDECAR.items() if k != "RepetitionTime"} | stated
    one_scan(tmp_path, sidecar=None if above else sidecar)
    if above:
        made.write_json(tmp_path / "svs.json", sidecar)
    bins = {"before": [0, 2], "after": [4, 6] if timed else [2, 4]}
    if counts[0] == 15:
        bins["after"] = [5, 7]
    blocks = {"event": "start", "bins": bins, "baseline": ["before"]}
    table = converted(tmp_path, tmp_path / "results", blocks=blocks)["sub-01_ses-1"]
    assert (table["n_transients"] + table["n_rejected"]).tolist() == counts


@pytest.mark.parametrize(("stated", "said"), [
    ({"RepetitionTime": 4, "VolumeTiming": PAUSE[:-1]}, "_svs.json: VolumeTiming has 59 values where .* 60 frames"),
    ({"RepetitionTime": 4, "VolumeTiming": PAUSE[::-1]}, "one time for each"),
    ({"RepetitionTime": 4, "VolumeTiming": "x"}, "VolumeTiming has 1 values"),
    ({"VolumeTiming": PAUSE}, "says RepetitionTime .*or NumberOfTransients, by which VolumeTiming says it"),
])  # fmt: skip
def test_a_timing_that_does_not_fit_the_frames_is_named(tmp_path, stated, said):
    one_scan(tmp_path, sidecar={k: v for k, v in SIDECAR.items() if k != "RepetitionTime"} | stated)
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert re.search(said, faults[0])


def test_null_is_not_said_and_a_byte_order_mark_is_no_fault(tmp_path):
    one_scan(tmp_path, sidecar=None, EchoTime=0.022)
    text = json.dumps({**SIDECAR, "EchoTime": None})
    (tmp_path / "sub-01/mrs/sub-01_svs.json").write_text(text, encoding="utf-8-sig")
    assert scans(sound(tmp_path)) == ["sub-01_svs.nii.gz"]


CONTRADICTED = {
    "NumberOfSpectralPoints": (2048, "NumberOfSpectralPoints is 2048, and its FIDs have 1024 points"),
    "MagneticFieldStrength": (7, "MagneticFieldStrength is 7 T, where 1H has 298 MHz"),
    "AcquisitionVoxelSize": ([10, 10, 10], "AcquisitionVoxelSize is [10, 10, 10] mm, and its voxel is [30, 25, 15] mm"),
}


@pytest.mark.parametrize("key", [*CONTRADICTED, "none"])
def test_what_a_sidecar_says_of_the_image_is_held_against_it(tmp_path, key):
    """Above the scan; in any order of the sides, and with a field that is rounded, nothing is remarked on."""
    agreeing = {"NumberOfSpectralPoints": 1024, "MagneticFieldStrength": 3, "AcquisitionVoxelSize": [25, 30, 15]}
    one_scan(tmp_path / "data")
    own = {} if key == "none" else {key: CONTRADICTED[key][0]}
    made.write_json(tmp_path / "data/svs.json", agreeing | own)
    settings = study_config.checked(made.configuration(tmp_path / "data"))
    table = read_table(convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path / "out")[0])
    said = table.loc[table["check"] == "read", "message"].tolist()
    assert len(said) == (key != "none")
    assert key == "none" or CONTRADICTED[key][1] in said[0]


@pytest.mark.parametrize("key", ["PulseSequenceType", "SequenceName", "ScanningSequence"])
def test_a_sequence_is_contradicted_by_whatever_key_names_it(tmp_path, key):
    from mrsflow.conversion import headers

    one_scan(tmp_path, sidecar={**SIDECAR, "PulseSequenceType": "PRESS", key: "svs_slaser"})
    config = study_config.checked(made.configuration(tmp_path))
    (said,) = headers.contradictions(read_study(config), config)
    assert f"{key} in its sidecar is 'svs_slaser'" in said


def test_no_sidecar_at_all_is_no_fault_where_the_header_says_everything(tmp_path):
    one_scan(tmp_path, sidecar=None, EchoTime=0.022, RepetitionTime=4.0)
    assert scans(sound(tmp_path)) == ["sub-01_svs.nii.gz"]


def test_transients_of_a_sidecar_above_that_frames_cannot_share_are_said(tmp_path):
    one_scan(tmp_path / "data", sidecar=None)
    made.write_json(tmp_path / "data/svs.json", {**SIDECAR, "NumberOfTransients": 100})
    settings = study_config.checked(made.configuration(tmp_path / "data"))
    quality = convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path / "out")[0]
    assert "NumberOfTransients of the sidecar is 100, and 60 frames of 1 excitations are 60" in quality.read_text()
    settings["protocols"]["p"]["excitations_per_frame"] = None
    with pytest.raises(InputError, match="NumberOfTransients is 100, which 60 frames cannot share evenly"):
        convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path / "out")


def test_the_transients_of_the_sidecar_choose_between_protocols(tmp_path):
    one_scan(tmp_path, sidecar={**SIDECAR, "NumberOfTransients": 960})
    p = made.configuration(tmp_path)["protocols"]["p"]
    study = sound(tmp_path, protocols={"single": p, "sixteen": {**p, "excitations_per_frame": 16}})
    assert study.samples["protocol"].tolist() == ["sixteen"]
    _, faults = study_of(
        tmp_path, protocols={"a": p | {"excitations_per_frame": 16}, "b": p | {"excitations_per_frame": 16}}
    )
    assert "fits protocols a, b alike" in faults[0]


def two_visits(root, sessions=("1", "2"), people=("01",)):
    made.start(root)
    for person in people:
        for session in sessions:
            name = f"sub-{person}_ses-{session}"
            one_scan(root, f"sub-{person}/ses-{session}/mrs/{name}_svs.nii.gz")
    return root


ARMS = ("drug", "placebo")
CROSSOVER = {"design": "crossover", "conditions": ["placebo", "drug"], "freeze": True}


def test_tables_of_ids_with_or_without_prefix_are_the_same(tmp_path):
    two_visits(tmp_path)
    found = []
    for prefix, session_prefix in (("sub-", "ses-"), ("", "")):
        made.start(tmp_path, f"participant_id\tsex\n{prefix}01\tfemale\n")
        rows = f"session_id\tvisit\tarm\n{session_prefix}1\t2\tdrug\n{session_prefix}2\t1\tplacebo\n"
        (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(rows)
        study = sound(tmp_path, study=CROSSOVER)
        found.append([study.sessions[["key", "visit", "arm"]].values.tolist(), study.participants["sex"].tolist()])
    assert found[0] == found[1] == [[["sub-01_ses-1", 2, "drug"], ["sub-01_ses-2", 1, "placebo"]], ["F"]]


def test_a_table_of_all_sessions_at_the_root_is_read(tmp_path):
    two_visits(tmp_path)
    rows = "participant_id\tsession_id\tvisit\tarm\nsub-01\tses-1\t1\tdrug\nsub-01\tses-2\t2\tplacebo\n"
    (tmp_path / "sessions.tsv").write_text(rows)
    assert sound(tmp_path, study=CROSSOVER).sessions["arm"].tolist() == ["drug", "placebo"]


def test_a_crossover_without_arms_or_order_is_asked_for_them_session_by_session(tmp_path):
    two_visits(tmp_path)
    _, faults = study_of(tmp_path, study=CROSSOVER)
    assert len(faults) == 4
    assert sum("does not say arm" in fault for fault in faults) == 2
    assert all("sub-01_sessions.tsv" in fault for fault in faults)


def test_the_order_of_visits_is_that_of_their_dates(tmp_path):
    two_visits(tmp_path, ("a", "b"))
    rows = "session_id\tacq_time\tarm\nses-a\t2031-05-09T10:00:00\tdrug\nses-b\t2031-05-02T10:00:00\tplacebo\n"
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(rows)
    assert sound(tmp_path, study=CROSSOVER).sessions[["arm", "visit"]].values.tolist() == [["drug", 2], ["placebo", 1]]


@pytest.mark.parametrize(("dates", "said"), [
    (("2031-05-09T10:00:00", "2031-05-02T10:00:00"), "ses-b is visit 2, and by acq_time it was before ses-a, visit 1"),
    (("2031-05-02T10:00:00Z", "2031-05-09"), None),
    (("01/12/2031", "02/03/2031"), None),  # no date of ISO: day or month first is not guessed
])  # fmt: skip
def test_the_order_of_visits_is_not_that_of_their_dates(tmp_path, dates, said):
    two_visits(tmp_path, ("a", "b"))
    rows = [f"ses-{s}\t{date}\t{arm}\t{n}" for n, (s, date, arm) in enumerate(zip("ab", dates, ARMS, strict=True), 1)]
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("\n".join(["session_id\tacq_time\tarm\tvisit", *rows, ""]))
    _, faults = study_of(tmp_path, study=CROSSOVER)
    assert len(faults) == (said is not None)
    assert not said or said in faults[0]


@pytest.mark.parametrize("dates", [("09/05/2031", "02/05/2031"), ("2031-05-09", "2031-05-09")])
def test_dates_that_order_nothing_leave_the_visits_to_be_asked_for(tmp_path, dates):
    two_visits(tmp_path, ("a", "b"))
    rows = "".join(f"ses-{s}\t{date}\t{arm}\n" for s, date, arm in zip("ab", dates, ARMS, strict=True))
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(f"session_id\tacq_time\tarm\n{rows}")
    assert ["does not say visit" in fault for fault in study_of(tmp_path, study=CROSSOVER)[1]] == [True, True]


def test_dates_of_scans_order_visits_too(tmp_path):
    two_visits(tmp_path, ("a", "b"))
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tarm\nses-a\tdrug\nses-b\tplacebo\n")
    for session, date in (("a", "2031-05-09T10:00:00"), ("b", "2031-05-02T10:00:00")):
        table = tmp_path / f"sub-01/ses-{session}/sub-01_ses-{session}_scans.tsv"
        table.write_text(f"filename\tacq_time\nmrs/sub-01_ses-{session}_svs.nii.gz\t{date}\n")
    assert sound(tmp_path, study=CROSSOVER).sessions[["arm", "visit"]].values.tolist() == [["drug", 2], ["placebo", 1]]


def test_sessions_without_spectra_are_those_that_were_not_acquired(tmp_path):
    made.start(tmp_path)
    for session, name in (("1", "svs"), ("2", "mrsref")):
        stem = tmp_path / f"sub-01/ses-{session}/mrs/sub-01_ses-{session}_{name}.nii.gz"
        averages = {"NumberOfTransients": 16} if name == "mrsref" else {}  # averaged, which the spectra are not
        made.write_scan(stem, made.water() if name == "mrsref" else made.spectra(60), SIDECAR | averages)
    made.write_t1w(tmp_path / "sub-01/ses-3/anat/sub-01_ses-3_T1w.nii.gz")  # of no session of spectroscopy
    study = sound(tmp_path)
    assert (study.keys, study.without_spectra) == (["sub-01_ses-1", "sub-01_ses-2"], ["sub-01_ses-2"])
    settings = study_config.checked(made.configuration(tmp_path))
    assert read_study(settings, ["sub-01_ses-2"]).keys == ["sub-01_ses-2"]
    shutil.rmtree(tmp_path / "sub-01/ses-1")
    assert "holds no spectra" in study_of(tmp_path)[1][0]


def test_sessions_and_participants_in_part_are_filled_where_that_is_certain(tmp_path):
    two_visits(tmp_path, ("1", "2"), ("01", "02"))
    made.start(tmp_path, "participant_id\tage\nsub-02\t89+\n")
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tnote\nses-1\tlate\n")
    study = sound(tmp_path)
    assert study.sessions[["key", "visit", "arm"]].values.tolist() == [
        [f"sub-{p}_ses-{s}", int(s), "pain"] for p in ("01", "02") for s in ("1", "2")
    ]
    ages = dict(zip(study.participants["participant"], study.participants["age"], strict=True))
    assert ages["02"] == 89
    assert ages["01"] != ages["01"]


def test_arms_of_a_parallel_trial_may_stand_with_the_participants(tmp_path):
    two_visits(tmp_path, ("1",), ("01", "02"))
    made.start(tmp_path, "participant_id\tgroup\nsub-01\tdrug\nsub-02\tplacebo\n")
    study = sound(tmp_path, study=CROSSOVER | {"design": "parallel"})
    assert study.sessions["arm"].tolist() == ["drug", "placebo"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("session_id\tvisit\tarm\nses-1\t1\tDrug\nses-2\t2\tplacebo\n", r"line 2: arm 'Drug' is not in .*'drug'"),
        ("session_id\tvisit\tarm\nses-1\t1\tdrug\nses-2\t1\tplacebo\n", r"line 3: participant '01' has visit 1 twice"),
        ("session_id\tvisit\tarm\nses-1\t1\tdrug\nses-2\t2\tdrug\n", r"line 3: participant '01' has arm 'drug' twice"),
        ("session_id\tvisit\tarm\nses-1\t1\tdrug\nses-1\t2\tplacebo\n", r"line 3: repeats .*line 2"),
        ("session_id\tvisit\tarm\nses-1\tdrug\t1\nses-2\tplacebo\t2\n", r"columns visit and arm seem to be swapped"),
        ("session\tvisit\tarm\nses-1\t1\tdrug\n", r"column 'session_id' is missing; it has 'session', 'visit', 'arm'"),
    ],
)
def test_tables_of_a_dataset_are_checked_as_ours_are(tmp_path, table, said):
    two_visits(tmp_path)
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(table)
    with pytest.raises(InputError, match=said) as error:
        read_study(study_config.checked(made.configuration(tmp_path, study=CROSSOVER)))
    assert "sub-01_sessions.tsv" in str(error.value)


def test_a_participant_under_another_name_is_not_taken_for_one_more(tmp_path):
    two_visits(tmp_path, ("1",), ("01", "02"))
    made.start(tmp_path, "participant_id\tsex\nsub-1\tF\nsub-02\tM\n")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "participant '01' is not in it, and" in faults[0]
    assert "line 2 has '1' without a folder" in faults[0]


def test_a_session_under_another_name_is_not_taken_for_one_more(tmp_path):
    two_visits(tmp_path, ("01",))
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tmadrs_pre\nses-1\t30\n")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "sub-01_sessions.tsv, line 2: session '1' has no folder, and ses-01" in faults[0]


def test_dates_that_order_visits_go_no_further(tmp_path):
    two_visits(tmp_path, ("1",))
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tacq_time\nses-1\t2031-05-09T10:00:00\n")
    assert "acq_time" not in sound(tmp_path).sessions


def test_spectra_outside_of_the_sessions_of_their_participant_are_refused(tmp_path):
    two_visits(tmp_path, ("1",))
    one_scan(tmp_path, "sub-01/mrs/sub-01_svs.nii.gz")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "sub-01_svs.nii.gz: stands outside of the sessions" in faults[0]


def references(root, *names):
    one_scan(root, "sub-01/mrs/sub-01_task-k_svs.nii.gz", frames=60)
    for name in names:
        made.write_scan(root / f"sub-01/mrs/sub-01_{name}mrsref.nii.gz", made.water(), SIDECAR)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["task-k_"], ["task-k_"]),
        ([""], [""]),
        (["acq-water_"], ["acq-water_"]),
        (["task-rest_"], []),
        (["", "task-k_"], ["task-k_"]),
        (["acq-conc_", "acq-ecc_"], ["acq-conc_", "acq-ecc_"]),
        (["task-k_run-1_"], ["task-k_run-1_"]),
    ],
    ids=str,
)
def test_water_belongs_to_the_spectra_that_its_name_allows(tmp_path, names, taken):
    references(tmp_path, *names)
    assert scans(sound(tmp_path), "mrsref") == [f"sub-01_{name}mrsref.nii.gz" for name in taken]


def test_water_with_other_times_needs_a_protocol_of_its_own(tmp_path):
    one_scan(tmp_path)
    made.write_scan(tmp_path / "sub-01/mrs/sub-01_mrsref.nii.gz", made.water(), {**SIDECAR, "RepetitionTime": 10})
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "_mrsref.nii.gz: has RepetitionTime of 10000 ms where protocols.p.repetition_time_ms is 4000" in faults[0]
    assert "add one for this scan" in faults[0]
    p = made.configuration(tmp_path)["protocols"]["p"]
    study = sound(tmp_path, protocols={"p": p, "water": p | {"repetition_time_ms": 10000}})
    assert dict(zip(study.samples["role"], study.samples["protocol"], strict=True)) == {"svs": "p", "mrsref": "water"}


def test_water_for_two_uses_keeps_both_in_the_outputs(tmp_path):
    references(tmp_path / "data", "acq-conc_", "acq-ecc_")
    converted(tmp_path / "data", tmp_path / "out")
    written = {path.name for path in (tmp_path / "out/bids/sub-01/ses-1/mrs").glob("*_mrsref.nii.gz")}
    assert written == {f"sub-01_ses-1_task-k_acq-{use}_mrsref.nii.gz" for use in ("conc", "ecc")}


def test_of_two_waters_the_sidecar_must_name_one(tmp_path):
    references(tmp_path, "acq-a_", "acq-b_")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "one of 2 water references for the same spectra" in faults[0]
    for uri in ("bids::sub-01/mrs/sub-01_acq-b_mrsref.nii.gz", "mrs/sub-01_acq-b_mrsref.nii.gz"):
        made.write_json(tmp_path / "sub-01/mrs/sub-01_task-k_svs.json", {**SIDECAR, "ReferenceSignal": uri})
        assert scans(sound(tmp_path), "mrsref") == ["sub-01_acq-b_mrsref.nii.gz"]


def test_of_two_anatomies_the_sidecar_must_name_one(tmp_path):
    one_scan(tmp_path)
    for run in (1, 2):
        made.write_t1w(tmp_path / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
    _, faults = study_of(tmp_path)
    assert len(faults) == 1
    assert "AnatomicalImage" in faults[0]
    pointed = {**SIDECAR, "AnatomicalImage": "bids::sub-01/anat/sub-01_run-2_T1w.nii.gz"}
    made.write_json(tmp_path / "sub-01/mrs/sub-01_svs.json", pointed)
    assert scans(sound(tmp_path), "T1w") == ["sub-01_run-2_T1w.nii.gz"]


def test_scores_are_read_from_either_form_of_phenotype(tmp_path):
    two_visits(tmp_path)
    folder = tmp_path / "phenotype"
    folder.mkdir()
    (folder / "madrs.tsv").write_text("participant_id\tsession_id\tmadrs_pre\n01\t1\t30\n01\tses-2\t20\n")
    (folder / "ctq.tsv").write_text("participant_id\tctq_total\nsub-01\t9\n")
    (folder / "hamd.tsv").write_text("participant_id\thamd_pre_ses-1\thamd_pre_ses-2\nsub-01\t5\t6\n")
    sessions = sound(tmp_path).sessions
    assert sessions[["madrs_pre", "hamd_pre"]].values.tolist() == [["30", "5"], ["20", "6"]]
    (folder / "madrs.tsv").write_text("participant_id\tsession_id\tmadrs_pre\n01\t1\t30\n01\t1\t20\n")
    assert "madrs.tsv: has sub-01_ses-1 twice" in study_of(tmp_path)[1][0]


def test_all_faults_of_a_dataset_come_together(tmp_path):
    one_scan(tmp_path, "sub-01/mrs/sub-01_svs.nii.gz", {**SIDECAR, "EchoTime": "x"})
    one_scan(tmp_path, "sub-02/mrs/sub-02_svs.nii.gz", {**SIDECAR, "RepetitionTime": -1})
    made.start(tmp_path, "participant_id\tsex\nsub-01\tX\nsub-02\tF\n")
    one_scan(tmp_path, "sub-03/mrs/sub-03_svs.nii.gz")
    _, faults = study_of(tmp_path)
    assert len(faults) == 3
    assert [any(word in fault for fault in faults) for word in ("EchoTime", "RepetitionTime", "'X'")] == [True] * 3


def test_what_is_read_is_what_is_watched(tmp_path):
    two_visits(tmp_path)
    made.start(tmp_path, "participant_id\nsub-01\n")
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\nses-1\n")
    config = study_config.checked(made.configuration(tmp_path))
    names = [path.relative_to(tmp_path).as_posix() for path in table_paths(config)]
    assert names == ["participants.tsv", "sub-01/sub-01_sessions.tsv"]


def test_sessions_read_alone_are_those_of_the_whole_study(tmp_path):
    two_visits(tmp_path, ("1", "2"), ("01", "02"))
    config = study_config.checked(made.configuration(tmp_path))
    whole, part = read_study(config), read_study(config, ["sub-02_ses-2"])
    for name in ("samples", "sessions"):
        table = getattr(whole, name)
        wanted = table[table["key"] == "sub-02_ses-2"].reset_index(drop=True)
        assert getattr(part, name).astype(str).equals(wanted.astype(str)), name
    assert part.participants["participant"].tolist() == ["02"]


CASES = {
    "bids-only-input": 160,
    "bids-inheritance": 160,
    "bids-sidecar-frequency-as-a-number": 160,
    "bids-arm-not-in-conditions": r"sub-01_sessions.tsv, line 2: arm 'Drug' is not in study.conditions \(drug\)",
    "bids-two-tasks-in-one-session": r"sub-01_ses-1 holds two series .*task-k_svs.*task-rest_svs.*\{task: k\}",
    "bids-two-voxels-in-one-session": r"sub-01_ses-1 holds two series .*voi-acc_svs.*voi-pcc_svs.*\{voi: acc\}",
}


@pytest.mark.parametrize("case", CASES)
def test_cases_of_datasets_come_out_right(shared, tmp_path, monkeypatch, case):
    expected = CASES[case]
    shutil.copytree(shared / "cases" / case, tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    shutil.rmtree("config", ignore_errors=True)
    content = yaml.safe_load(Path("config.yaml").read_text())
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            read_study(study_config.checked(content))
        return
    study, faults = before_jobs(study_config.checked(content), content)
    assert faults == []
    table = converted(Path("bids"), Path("results"), **copy.deepcopy(content))[study.keys[0]]
    assert (table["n_transients"] + table["n_rejected"]).tolist() == [expected] * 2


def test_each_voxel_of_the_case_gives_its_own_signal(shared, tmp_path, monkeypatch):
    shutil.copytree(shared / "cases/bids-two-voxels-in-one-session", tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    content = yaml.safe_load(Path("config.yaml").read_text())
    for voxel in ("acc", "pcc"):
        content["inputs"]["select"] = {"voi": voxel}
        converted(Path("bids"), Path(voxel), **content)
        written = read(Path(voxel, "bids/sub-01/ses-1/mrs/sub-01_ses-1_task-k_svs.nii.gz"))
        given = read(Path(f"bids/sub-01/ses-1/mrs/sub-01_ses-1_task-k_voi-{voxel}_svs.nii.gz"))
        assert (written.fid == given.fid).all()


@pytest.mark.parametrize(("acq", "echo_time", "frames"), [("press", 35, "all"), ("megapress68", 68, "odd")])
def test_one_of_the_sequences_goes_from_end_to_end(edited, tmp_path, acq, echo_time, frames):
    own = {"repetition_time_ms": 2000, "echo_time_ms": echo_time, "use_frames": frames}
    protocols = {"p": made.configuration(edited)["protocols"]["p"] | own}
    blocks = {"event": "start", "bins": {"before": [0, 1], "after": [1, 2]}, "baseline": ["before"]}
    inputs = {"bids": str(edited), "select": {"acq": acq}}
    found = converted(edited, tmp_path, inputs=inputs, protocols=protocols, blocks=blocks)
    assert list(found) == ["sub-01_ses-1", "sub-02_ses-1"]
    for table in found.values():  # frames of 2 s, all or every second of them
        assert (table["n_transients"] + table["n_rejected"]).tolist() == [30 if frames == "all" else 15] * 2


def test_a_dataset_named_by_its_whole_path_leaves_none_in_the_outputs(tmp_path):
    """As a BIDS App names it, in a folder with a space; the image is left out, which the table of checks says."""
    root = made.pain(tmp_path / "da ta", people=1, frames=8)
    content = made.configuration(root)
    content["inputs"] = {"bids": str(root), "select": {"task": "pain"}}
    content["convert"] = {"t1w": "leave_out"}
    config = study_config.checked(content)
    quality = convert_session("sub-01_ses-1", read_study(config), config, tmp_path / "out")[0]
    text = quality.read_text()
    assert "convert.t1w is leave_out" in text and "T1w.nii.gz" in text
    assert str(tmp_path) not in text and not re.search(r"(?<![\w.)])/\w+/", text)
