"""Where the sessions of a study were lost."""

import pandas as pd

from mrsflow.files import write_json
from mrsflow.study import cohort, records
from mrsflow.study.layout import keys_of
from mrsflow.study.study import NO_SPECTRA, Study


def test_spectra_that_were_not_acquired_are_no_failure(tmp_path):
    """Of water, macromolecules or anatomy alone there is nothing to fit; where that was damaged, it is said."""
    rows = [("1", "svs"), ("1", "mrsref"), ("2", "mrsref"), ("3", "T1w"), ("4", "mm")]
    samples = pd.DataFrame(rows, columns=["participant", "role"]).assign(session="1")
    samples["key"] = keys_of(samples)
    sessions = samples[["participant", "session", "key"]].drop_duplicates()
    sessions.loc[99] = ["5", "1", "sub-5_ses-1"]
    study = Study(samples, sessions[["participant"]], sessions)
    assert study.without_spectra == ["sub-2_ses-1", "sub-3_ses-1", "sub-4_ses-1"]
    for key in study.keys:
        bad = key == "sub-4_ses-1"
        for stage in ("convert", "preprocess", "fit"):
            skipped = stage == "fit" and key in study.without_spectra
            status = "failed" if bad and stage == "convert" else "skipped" if skipped else "ok"
            content = {"session": key, "stage": stage, "status": status, "reason": "why", "outputs": {}}
            write_json(content, records.record_path(tmp_path, stage, key))
    known = records.of_study(tmp_path, study.keys)
    assert records.open_cases(known, study.keys, study.without_spectra) == ["convert: sub-4_ses-1: failed: why"]
    ok, lost = cohort.recorded(tmp_path, study.keys)
    assert ok == ["sub-1_ses-1"]
    found = cohort.losses(tmp_path, study, lost)
    assert {key: loss.stage for key, loss in found.items()} == {f"sub-{n}_ses-1": "" for n in "2345"}
    assert found["sub-2_ses-1"].reason == NO_SPECTRA
    assert found["sub-5_ses-1"].reason == "no row in the samples table"
