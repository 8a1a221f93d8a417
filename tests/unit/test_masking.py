"""Arms stay masked in everything that is written before the freeze."""

import pandas as pd
import pytest
import yaml

from mrsflow import files
from mrsflow.conversion import bids
from mrsflow.study import masking
from mrsflow.study.study import Study

CONFIG = {"study": {"conditions": ["placebo", "naltrexone"], "freeze": False}, "group": {"seed": 1}}


@pytest.fixture
def study():
    keys = ["sub-01_ses-1", "sub-01_ses-2"]
    return Study(
        samples=pd.DataFrame({"key": keys, "participant": "01", "session": ["1", "2"], "role": "svs"}),
        participants=pd.DataFrame({"line": [2], "participant": ["01"], "group": ["naltrexone"]}),
        sessions=pd.DataFrame(
            {
                "line": [2, 3],
                "key": keys,
                "participant": "01",
                "session": ["1", "2"],
                "visit": [1, 2],
                "arm": ["placebo", "naltrexone"],
            }
        ),
    )


@pytest.mark.parametrize("freeze", [False, True])
def test_the_dataset_names_arms_only_after_the_freeze(study, tmp_path, freeze):
    config = CONFIG | {"study": CONFIG["study"] | {"freeze": freeze}}
    masked = masking.mask_study(study, config)
    bids.describe(masked, "A study", tmp_path)
    text = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert ("placebo" in text, "naltrexone" in text) == (freeze, freeze)
    assert ("arm A" in text and "arm B" in text) is not freeze
    assert study.sessions["arm"].tolist() == ["placebo", "naltrexone"]


def test_unmasking_again_is_recorded_for_whatever_bears_on_results(root, tmp_path):
    """Settings of the whole schema but those of machines, of what is planned or shown, and of where data lie."""
    schema = yaml.safe_load((root / "config" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    outside = {"inputs", "output", "batch_size", "on_error", "convert", "power", "pool", "rehearsal", "preset",
               "report", "verify"}  # fmt: skip
    config = {name: {"value": 1} for name in schema["properties"]}
    masking.record_unmasking(tmp_path / "unmasked.json", config)
    for name in schema["properties"]:
        before = len(files.read_json(tmp_path / "unmasked.json"))
        found = masking.record_unmasking(tmp_path / "unmasked.json", config | {name: {"value": 2}})
        assert len(found) - before == (name not in outside), name
