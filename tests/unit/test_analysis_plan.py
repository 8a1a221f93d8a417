"""The plan that is written while arms are masked, and what the page says of departures from it."""

import yaml
from fitted_trial import run, write

from mrsflow import files
from mrsflow.reporting import group_page
from mrsflow.statistics import analysis_plan
from mrsflow.study import config as study_config


def page_of(made):
    config = study_config.load(str(made.config))
    files.write_json([], made.output / "figures" / "figures.json")
    return group_page.write(config).read_text(encoding="utf-8")


def configure(made, **sections):
    content = yaml.safe_load(made.config.read_text())
    for name, values in sections.items():
        content[name] |= values
    made.config.write_text(yaml.safe_dump(content))


def test_the_plan_outlives_unmasking_and_departures_are_listed(tmp_path):
    made = write(tmp_path, n=4, freeze=False)
    run(made)
    path = made.output / "sap" / "sap.json"
    plan = files.read_json(path)
    assert "outcome ~ condition + block + visit + bl_dev + bl_mean" in plan["model"][0]
    assert any(text.startswith("bl_dev:") for text in plan["model"])
    assert plan["settings"]["group.outcome"] == "Glx/tNAA"
    assert "E9(R1)" in (made.output / "sap" / "sap.md").read_text(encoding="utf-8")
    run(made)
    assert files.read_json(path) == plan  # the time stays while the settings do
    configure(made, study={"freeze": True})
    run(made)
    assert files.read_json(path) == plan
    assert analysis_plan.differences(study_config.load(str(made.config))) == []
    assert "the rules were set before arms were told apart" in page_of(made)
    configure(made, group={"outcome": "Glx/tCr"})
    run(made)
    assert analysis_plan.differences(study_config.load(str(made.config))) == [
        {"key": "group.outcome", "planned": "Glx/tNAA", "used": "Glx/tCr"}
    ]
    configure(made, study={"freeze": False})
    run(made)
    assert files.read_json(path) == plan  # arms have been seen: the plan stays
    configure(made, study={"freeze": True})
    run(made)
    html = page_of(made)
    assert "departs from it in 1 setting, listed below" in html
    since = files.read_json(made.output / "group" / "unmasking.json")[1]["unmasked_at"]
    row = html.split("group.outcome")[1].split("</tr>")[0]
    assert "Glx/tNAA" in row and "Glx/tCr" in row and since in row
    assert "the rules were set before" not in html


def test_without_a_plan_nothing_is_claimed(tmp_path):
    made = write(tmp_path, n=4)
    run(made)
    html = page_of(made)
    assert "this run does not know when the rules were set" in html
    assert "before any" not in html
