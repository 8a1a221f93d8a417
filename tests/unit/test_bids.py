"""Names, sidecars, events and tables of a dataset; the reader gives back what was written."""

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import made_datasets as made
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsflow.conversion import bids
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table
from mrsflow.nifti_mrs import Scan
from mrsflow.study import clock, layout
from mrsflow.study import config as study_config
from mrsflow.study.study import Study, read_study

HEADER = {
    "SpectrometerFrequency": [127.728], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "RepetitionTime": 2.0,
    "ExcitationFlipAngle": 90.0, "WaterSuppressed": True, "Manufacturer": "GE", "dim_5": "DIM_DYN",
    "dim_5_header": {"FrameOnset": {"Value": [0.0, 16.0, 32.0], "Description": "s"}},
}  # fmt: skip
SCAN = Scan(np.ones((3, 64), complex), ("DIM_DYN",), 5e-4, HEADER, np.diag([20.0, 30.0, 25.0, 1.0]))


def test_sidecar_has_what_bids_requires_and_what_places_frames_in_time():
    content = bids.sidecar(SCAN, 8, "semi_laser", "ketamine")
    assert content == {
        "ResonantNucleus": ["1H"], "SpectrometerFrequency": [127.728], "SpectralWidth": 2000.0,
        "EchoTime": 0.03, "RepetitionTime": 2.0, "FlipAngle": 90.0, "WaterSuppression": True, "Manufacturer": "GE",
        "NumberOfSpectralPoints": 64, "NumberOfTransients": 24, "ExcitationsPerFrame": 8,
        "FrameOnset": [0.0, 16.0, 32.0], "PulseSequenceType": "sLASER", "MagneticFieldStrength": 3.0,
        "AcquisitionVoxelSize": [20.0, 30.0, 25.0], "TaskName": "ketamine",
        "VoxelAffine": [[20.0, 0.0, 0.0, 0.0], [0.0, 30.0, 0.0, 0.0], [0.0, 0.0, 25.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
    }  # fmt: skip


def test_what_is_not_known_is_left_out():
    scan = Scan(SCAN.fid[0], (), 5e-4, {"SpectrometerFrequency": [127.7], "ResonantNucleus": ["1H"]})
    content = bids.sidecar(scan, 1, "other", None)
    assert not {"EchoTime", "RepetitionTime", "AcquisitionVoxelSize", "TaskName", "PulseSequenceType"} & set(content)


def test_events_count_from_the_first_excitation():
    session = {"key": "k", "dose_time": "09:48:00", "infusion_start": "10:36:00", "infusion_stop": "11:16:00"}
    assert bids.events(session, "10:28:00") == [
        {"onset": -2400.0, "duration": 0.0, "trial_type": "dose"},
        {"onset": 480.0, "duration": 2400.0, "trial_type": "infusion"},
    ]


def test_events_know_midnight_and_refuse_an_infusion_that_ends_before_it_starts():
    night = {"key": "k", "infusion_start": "00:05:00", "infusion_stop": "00:45:00"}
    assert bids.events(night, "23:57:30.5")[0]["onset"] == 449.5
    with pytest.raises(InputError, match="infusion_stop 10:00:00 of k is not after"):
        bids.events({"key": "k", "infusion_start": "10:30:00", "infusion_stop": "10:00:00"}, "10:00:00")


TIMES = st.times().map(lambda t: t.strftime("%H:%M:%S"))


@given(TIMES, TIMES)
def test_times_between_clocks_undo_each_other(first, second):
    forward = clock.seconds_between(first, second)
    assert -43200 <= forward < 43200
    assert (clock.clock(first) + forward - clock.clock(second)) % 86400 == 0


def study() -> Study:
    rows = [(p, s) for p in ("01", "02") for s in ("a", "b")]
    keys = [f"sub-{p}_ses-{s}" for p, s in rows]
    samples = pd.DataFrame({"participant": [p for p, _ in rows], "session": [s for _, s in rows], "key": keys})
    participants = pd.DataFrame({"line": [2, 3, 4], "participant": ["01", "02", "99"], "sex": ["F", "M", "F"]})
    sessions = pd.DataFrame(
        {
            "line": [2, 3, 4, 5], "participant": samples["participant"], "session": samples["session"], "key": keys,
            "visit": [1, 2, 2, 1], "arm": ["x", "y", "x", "y"], "dose_time": ["09:00:00", None, "10:00:00", None],
            "infusion_start": ["09:45:00", None, "10:50:00", None], "madrs_pre": ["30", "28", None, "25"],
            "madrs_day1": ["12", "13", "14", "15"], "nurse": ["red", "blue", "red", None],
        }
    )  # fmt: skip
    return Study(samples, participants, sessions)


def dataset(folder: Path) -> dict:
    """Write the study as a BIDS dataset with a scan in each session; gives what reads it."""
    bids.describe(study(), "A study", folder)
    for key in study().keys:
        path = layout.session_folder(folder / "bids", key) / f"mrs/{key}_task-k_svs.nii.gz"
        made.write_scan(path, made.spectra(4), EchoTime=0.022, RepetitionTime=4.0)
    trial = {"design": "crossover", "conditions": ["x", "y"]}
    protocols = {"only": made.configuration(folder)["protocols"]["p"]}
    return study_config.checked(made.configuration(folder / "bids", study=trial, protocols=protocols))


def test_tables_of_sessions_have_one_dictionary_for_all_that_the_validator_passes_over(tmp_path):
    written = bids.describe(study(), "A study", tmp_path)
    root = layout.derivatives(tmp_path)
    fit = read_json(root / "desc-blocks_mrsfit.json")
    assert fit["molar_mM"]["Units"] == "mM" and "Concentration by the water reference" in fit["molar_mM"]["Description"]
    assert read_json(root / "desc-blocks_quality.json")["centre_s"]["Units"] == "s"
    own = [path for path in written if path.parent == root and path.name.startswith("desc-")]
    assert {path.with_suffix("").name for path in own} == {
        "desc-convert_quality", "desc-blocks_quality", "desc-transients_quality", "desc-blocks_mrsfit",
        "desc-blocks_fitquality", "desc-blocks_terms", "desc-blocks_constants", "desc-tissue",
        "desc-voxel_maps",
    }  # fmt: skip
    ignored = (root / ".bidsignore").read_text().split()
    assert all(any(fnmatch(path.name, pattern) for pattern in ignored) for path in own)


def test_tables_carry_no_clock_time_and_only_those_who_were_scanned(tmp_path):
    written = bids.describe(study(), "A study", tmp_path)
    assert all(path.is_file() for path in written)
    people = read_table(tmp_path / "bids/participants.tsv", text_columns=True)
    assert people["participant_id"].tolist() == ["sub-01", "sub-02"]
    visits = read_table(tmp_path / "bids/sub-01/sub-01_sessions.tsv")
    assert visits.columns.tolist() == ["session_id", "visit", "arm", "dose_to_infusion_min"]
    assert visits["dose_to_infusion_min"].tolist()[0] == 45
    scores = read_table(tmp_path / "bids/phenotype/madrs.tsv")
    assert scores.set_index("participant_id").loc["sub-02", "madrs_pre_ses-b"] == 25
    described = read_json(tmp_path / "bids/phenotype/madrs.json")
    assert set(scores.columns[1:]) <= set(described)


IDENTITIES = {
    "name": "Invented Person", "date_of_birth": "1900-01-01", "hospital_number": "0123456789", "birth_year": "1900",
    "scan_date": "19000102", "rater": "Invented Rater", "id_no": "7654321",
}  # fmt: skip


@pytest.mark.parametrize("table", ["participants", "sessions"])
def test_only_columns_that_are_declared_go_out(tmp_path, table):
    original = study()
    extended = replace(original, **{table: getattr(original, table).assign(**IDENTITIES)})
    assert set(bids.left_out(extended)[table]) - {"nurse"} == set(IDENTITIES)
    bids.describe(extended, "A study", tmp_path, ["nurse"])
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert not [value for value in (*IDENTITIES, *IDENTITIES.values()) if value in written]
    assert "nurse" in written and "red" in written
    harmful = replace(extended, **{table: getattr(extended, table).assign(rater="=1+1 Invented Rater", x="-2")})
    bids.describe(harmful, "A study", tmp_path, ["rater", "x"])
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "\t'=1+1 Invented Rater" in written and "\t-2" in written and "Invented Person" not in written


def test_the_reader_gives_back_the_tables(tmp_path):
    original = study()
    back = read_study(dataset(tmp_path))
    assert back.keys == original.keys
    assert back.samples[["role", "task", "protocol"]].drop_duplicates().values.tolist() == [["svs", "k", "only"]]
    columns = ["key", "visit", "arm", "madrs_pre", "madrs_day1"]
    pd.testing.assert_frame_equal(back.sessions[columns], original.sessions[columns], check_dtype=False)
    part = read_study(dataset(tmp_path), ["sub-02_ses-b"])
    assert [part.keys, part.sessions["key"].tolist()] == [["sub-02_ses-b"], ["sub-02_ses-b"]]
    assert part.participants["participant"].tolist() == ["02"]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("sub-01/sub-01_sessions.tsv", "\ty\t", "\tz\t", "sub-01_sessions.tsv, line 3: arm 'z' is not in study.cond"),
        ("sub-01/sub-01_sessions.tsv", "ses-b\t2", "ses-b\t1", "line 3: .* has visit 1 twice"),
        ("sub-01/sub-01_sessions.tsv", "ses-b\t2", "ses-b\tlast", "line 3: visit: 'last' is not a whole number"),
        ("sub-02/sub-02_sessions.tsv", "ses-b", "ses-c", "does not say arm .* of ses-b"),
        ("participants.tsv", "sub-02\tM", "sub-02\tX", "participants.tsv, line 3: sex: 'X' is not one of"),
        ("participants.tsv", "sub-02", "sub-03", "participant '02' is not in"),
    ],
)
def test_a_dataset_is_checked_as_tables_are(tmp_path, name, old, new, said):
    config = dataset(tmp_path)
    path = tmp_path / "bids" / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=said):
        read_study(config)


def test_labels_of_a_dataset_stay_text(tmp_path):
    config = dataset(tmp_path)
    config["study"]["conditions"] = ["1e3", "007"]
    for path in (tmp_path / "bids").glob("sub-*/*_sessions.tsv"):
        path.write_text(path.read_text().replace("\tx\t", "\t1e3\t").replace("\ty\t", "\t007\t"))
    sessions = read_study(config).sessions
    assert sorted(set(sessions["arm"])) == ["007", "1e3"]
    assert sessions["visit"].tolist() == [1, 2, 2, 1]


def test_a_dataset_without_a_description_is_refused(tmp_path):
    config = dataset(tmp_path)
    (tmp_path / "bids/dataset_description.json").unlink()
    with pytest.raises(InputError, match=r"bids: has no dataset_description.json; inputs.bids must name"):
        read_study(config)


def test_a_crossover_without_its_sessions_table_is_asked_for_it(tmp_path):
    config = dataset(tmp_path)
    (tmp_path / "bids/sub-01/sub-01_sessions.tsv").unlink()
    with pytest.raises(InputError, match=r"does not say arm .* give column arm in .*sub-01_sessions.tsv"):
        read_study(config)


@pytest.mark.parametrize(("stated", "written"), [(0.0, None), (0.6, 0.6)])
def test_an_inversion_time_of_zero_is_no_inversion(stated, written):
    """BIDS: InversionTime is greater than 0."""
    header = {"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"], "InversionTime": stated}
    assert bids.sidecar(Scan(np.ones(64, complex), (), 5e-4, header)).get("InversionTime") == written
