"""What sessions lack, against tables whose gaps are known."""

import pandas as pd
import pytest
from small_config import single_arm

from mrsflow import packages
from mrsflow.study import config as study_config
from mrsflow.study.lacking import lacking, lines
from mrsflow.study.layout import keys_of
from mrsflow.study.study import Study

EVERY = ("svs", "mrsref", "T1w")


def study_of(roles, sessions=None, participants=None):
    """A session of each participant 01, 02, ... with scans of these roles."""
    names = [f"{n:02d}" for n in range(1, len(roles) + 1)]
    samples = pd.DataFrame(
        [{"participant": p, "session": "1", "role": role} for p, own in zip(names, roles, strict=True) for role in own]
    )
    base = pd.DataFrame({"participant": names, "session": "1", "visit": 1, "arm": "a", "line": "x"})
    people = pd.DataFrame({"participant": names, "line": "x", **(participants or {})})
    base = base.assign(**(sessions or {}))
    return Study(samples.assign(key=keys_of(samples)), people, base.assign(key=keys_of(base)))


def asked(**group):
    return study_config.checked(single_arm() | {"group": {"mood_scale": None, **group}})


def test_a_whole_study_lacks_nothing():
    assert lacking(study_of([EVERY, EVERY]), asked()).empty


@pytest.mark.parametrize(
    ("roles", "lacks", "without"),
    [
        (("mrsref", "T1w"), "metabolite spectra", "every outcome"),
        (("svs", "T1w"), "water reference", "amounts by water"),
        (("svs", "mrsref"), "anatomical image", "picture of the voxel"),
        ((), "any scan", "any output"),
    ],
)
def test_the_scan_that_is_lacking_is_named_with_what_there_will_not_be(roles, lacks, without):
    table = lacking(study_of([EVERY, roles]), asked())
    assert list(table["participant"]) == ["02"]
    assert lacks in table["lacks"].iloc[0] and without in table["without"].iloc[0]


def test_values_that_models_take():
    study = study_of(
        [EVERY, EVERY, EVERY], {"madrs_pre": [1.0, 2, None], "madrs_day1": [1.0, 2, 3]}, {"age": [30, None, 40]}
    )
    config = asked(mood_scale="madrs", adjust_for=["age"])
    found = {(row.participant, row.lacks): row.without for row in lacking(study, config).itertuples()}
    assert set(found) == {("02", "a value of age"), ("03", "a value of madrs_pre")}
    assert "adjust for age" in found["02", "a value of age"] and "madrs" in found["03", "a value of madrs_pre"]


@pytest.mark.parametrize("there", [True, False])
def test_packages_that_would_segment_the_t1w(monkeypatch, there):
    monkeypatch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "1.0" if there else None))
    table = lacking(study_of([EVERY, ("svs", "mrsref")]), asked())
    found = table.loc[table["lacks"].str.contains("maps of tissue"), ["participant", "lacks", "without"]]
    assert list(found["participant"]) == ([] if there else ["01"])
    if not there:
        assert "pip install 'mrsflow[tissue]'" in found["lacks"].iloc[0]
        assert "those of an assumed voxel" in found["without"].iloc[0]
    none = asked()
    none["inputs"]["segment"] = "none"
    assert not lacking(study_of([EVERY]), none)["lacks"].str.contains("maps of tissue").any()


def test_a_transform_that_is_not_there_is_lacking_where_no_alignment_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "1.0"))
    config = asked()
    config["inputs"]["to_template"] = str(tmp_path / "PARTICIPANT.txt")
    (tmp_path / "01.txt").touch()
    study = study_of([("svs", "mrsref"), ("svs", "mrsref"), EVERY, (*EVERY, "GM", "WM", "CSF")])
    table = lacking(study, config)
    found = table[table["lacks"].str.contains("transform to the template")]
    assert list(found["participant"]) == ["02", "04"]


def test_maps_that_other_sessions_have():
    table = lacking(study_of([EVERY, EVERY]), asked(), ["sub-02_ses-1"])
    assert list(table["participant"]) == ["02"] and table["lacks"].iloc[0] == "maps of tissue"


def test_files_of_maps(tmp_path):
    config = asked()
    config["inputs"]["maps"] = {"bp": {"file": str(tmp_path / "PARTICIPANT.nii"), "to_space": None}}
    (tmp_path / "01.nii").touch()
    table = lacking(study_of([EVERY, EVERY]), config)
    assert list(table["participant"]) == ["02"] and "map bp" in table["lacks"].iloc[0]


def test_many_sessions_are_one_line():
    said = lines(lacking(study_of([("svs", "T1w")] * 5 + [EVERY]), asked()), 6)
    assert len(said) == 1
    assert said[0].startswith(
        "5 of 6 sessions lack a water reference (role mrsref) (sub-01_ses-1, sub-02_ses-1, sub-03_ses-1 and 2 more): "
    )
