"""Tables of results against their description: written, read and documented by it."""

import typing

import fitted_trial
import pandas as pd
import pytest

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.planning import power_plan
from mrsflow.reporting import group_read
from mrsflow.statistics import results
from mrsflow.study import config as study_config
from mrsflow.study import layout

CODES = ("1e3", "1000", "007", "7", "101", "0101")


def test_the_guide_is_made_from_the_descriptions(root):
    assert (root / "docs/tables.md").read_text(encoding="utf-8") == result_tables.guide()


def test_every_file_of_the_layout_is_described():
    names = [*layout.SESSION_TABLES, layout.SESSION_QUALITY, layout.VOXEL_QUALITY, layout.SESSION_INPUTS]
    found = [result_tables.name_of(f"a/sub-1_ses-1_{name}") for name in names]
    assert found == [
        "convert_quality", "blocks_quality", "transients_quality", "tissue", "voxel_maps", "fit", "fit_quality",
        "fit_terms", "constants", "session_quality", "voxel_quality", "session_inputs",
    ]  # fmt: skip
    listed = {*layout.GROUP_ALWAYS, *layout.GROUP_COMPARING, *layout.GROUP_SCORES, *layout.GROUP_MOOD}
    listed |= {*layout.GROUP_MULTIVERSE, "fitters"}
    assert {name for name, table in result_tables.tables().items() if table.file.startswith("group/")} == listed
    assert {result_tables.name_of(f"group/{name}.tsv") for name in listed} == listed


ROWS = {
    "contrasts": results.Result, "sensitivity": results.Result, "link": results.Result,
    "attenuation": results.Attenuation, "time_tests": results.CourseTest, "loss_by_condition": results.ConditionLoss,
}  # fmt: skip
NOT_WRITTEN = {"response", "terms", "columns", "cancelled", "n_missing"}
"""What rows have beside the columns: both sides of `model`, and what completes a row."""
TYPES = {"str": "text", "float": "number", "int": "whole", "bool": "flag"}


@pytest.mark.parametrize("row", sorted(set(ROWS.values()), key=lambda row: row.__name__))
def test_fields_of_rows_are_the_columns_that_are_described(row):
    described = {}
    for name, own in ROWS.items():
        described |= {c: known.type for c, known in result_tables.tables()[name].columns.items() if own is row}
    hints = typing.get_type_hints(row)
    hints |= {"model": str | None} if hasattr(row, "model") and "model" not in hints else {}
    fields = {name: TYPES[typing.get_args(hint)[0].__name__ if typing.get_args(hint) else hint.__name__]
              for name, hint in hints.items() if name not in NOT_WRITTEN}  # fmt: skip
    assert fields == described


def test_a_row_without_anything_is_written_as_missing(tmp_path):
    table = result_tables.from_rows([results.Result(analysis="primary", contrast="b - a")], "contrasts")
    (path,) = result_tables.write(table, tmp_path / "contrasts.tsv")
    cells = dict(zip(*(line.split("\t") for line in path.read_text().splitlines()), strict=True))
    assert cells.pop("analysis") == "primary" and cells.pop("contrast") == "b - a" and cells.pop("remark") == ""
    assert set(cells.values()) == {"n/a"}


def test_cells_have_the_type_of_their_column_not_of_their_looks(tmp_path):
    path = tmp_path / "blocks_wide.tsv"
    path.write_text(
        "participant\tsession\tblock\tspectrum\tonset_s\texcluded\treason\tGlx/tNAA\tGlx/tNAA sd\n"
        "1e3\t007\t101\t0\t-480\ttrue\t12\t1.5\tn/a\n1000\t7\t0101\t1\t0\tfalse\tn/a\tn/a\t0.1\n"
    )
    found = result_tables.read(path)
    assert found[["participant", "session", "block"]].to_numpy().tolist() == [
        ["1e3", "007", "101"], ["1000", "7", "0101"],
    ]  # fmt: skip
    assert found["reason"][0] == "12"
    assert found["excluded"].dtype == bool
    assert (found["excluded"][0], found["onset_s"][0], found["spectrum"][1], found["Glx/tNAA"][0]) == (
        True,
        -480,
        1,
        1.5,
    )
    assert found[["onset_s", "spectrum", "Glx/tNAA", "Glx/tNAA sd"]].dtypes.map(pd.api.types.is_numeric_dtype).all()


def test_a_cell_that_is_no_number_is_told(tmp_path):
    path = tmp_path / "flow.tsv"
    path.write_text("step\tcondition\tn_sessions\tmore\nfitted\t1\t12\t1e3\n")
    assert result_tables.read(path).iloc[0].tolist() == ["fitted", "1", 12, "1e3"]
    path.write_text("step\tcondition\tn_sessions\nfitted\tall\t12\nfitted\ta\tmany\n")
    with pytest.raises(InputError, match=r"flow.tsv, line 3: n_sessions is 'many', where a number is needed"):
        result_tables.read(path)


def test_a_column_without_description_is_not_written(tmp_path):
    table = pd.DataFrame({"n_blocks": [1], "step": ["fitted"], "shoe_size": [43]})
    with pytest.raises(ValueError, match=r"tables\.yaml does not describe shoe_size of flow"):
        result_tables.write(table, tmp_path / "flow.tsv")
    result_tables.write(table[["n_blocks", "step"]], tmp_path / "flow.tsv")
    assert (tmp_path / "flow.tsv").read_text() == "step\tn_blocks\nfitted\t1\n"


def test_outcomes_of_a_study_are_described_with_their_unit():
    found = result_tables.dictionary("blocks_wide", ["onset_s", "Glx/water", "Glx/tNAA sd", "Glx"])
    assert found["onset_s"] == {"Description": "Start of the block from the event", "Units": "s"}
    assert [entry["Units"] for entry in found.values()] == ["s", "mM", "1", "institutional units"]
    with pytest.raises(ValueError, match="does not describe Glx of flow"):
        result_tables.dictionary("flow", ["Glx"])


def test_codes_that_look_like_numbers_stay_themselves_through_a_study(tmp_path):
    made = fitted_trial.write(tmp_path, n=len(CODES), codes=CODES)
    for path in [made.config, *made.output.rglob("*.tsv")]:
        text = path.read_text().replace("infusion1", "'1e1'" if path == made.config else "1e1")
        path.write_text(text.replace("infusion2", "'10'" if path == made.config else "10"))
    fitted_trial.run(made)
    config = study_config.load(str(made.config))
    trial = group_read.load(config)
    assert set(trial.blocks["participant"]) == set(CODES)
    assert set(trial.blocks["block"]) == {"baseline", "1e1", "10", "infusion3", "infusion4", "infusion5"}
    for name, table in trial.tables.items():
        people = set(table["participant"].dropna()) if "participant" in table else set()
        assert people <= set(CODES), name
        blocks = set(table["block"].dropna()) if "block" in table else set()
        assert blocks <= set(trial.blocks["block"]), name
    assert set(trial.quality["block"]["participant"]) == set(CODES)
    blocks = result_tables.read(made.output / "group" / "blocks_wide.tsv")
    apart = blocks.assign(participant=blocks["participant"].map({code: f"p{n}" for n, code in enumerate(CODES)}))
    shape = config["power"]["shape"]
    of_codes, of_others = (power_plan.components_of(table, "Glx/tNAA", shape) for table in (blocks, apart))
    assert of_codes == pytest.approx(of_others)
