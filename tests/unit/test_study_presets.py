"""Presets of published designs: what they give, what a configuration overrides, that each can be begun and checked."""

import pandas as pd
import pytest
import yaml

from mrsflow.command import begin, cli
from mrsflow.errors import InputError
from mrsflow.planning import rehearsal
from mrsflow.simulation import planned_trial
from mrsflow.statistics.plan import plan_of
from mrsflow.study import config as study_config
from mrsflow.study import study_presets
from mrsflow.study.study import before_jobs

NAMES = list(study_presets.presets())
PRESS = {"sequence": "press", "preset": "ideal", "echo_time_ms": 30, "repetition_time_ms": 2000,
         "spectrometer_frequency_mhz": 123.25}  # fmt: skip


def checked(name, **more):
    return study_config.checked({"preset": name, "protocols": {"p": PRESS}, **more})


def test_there_are_the_designs_that_were_asked_for():
    assert NAMES == ["kings_crossover", "treatment_pre_post", "visual_3t", "visual_7t"]
    assert not set(NAMES) & set(begin.designs())  # one option takes either


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_preset_can_be_overridden(name):
    own = study_presets.presets()[name]["config"]
    config = checked(name)
    for section, keys in own.items():
        for key, value in keys.items():
            assert config[section][key] == value, (section, key)
    other = {"study": {"conditions": ["x"], "design": "single_arm", "baseline_visits": []}, "group": {"level": 0.9},
             "blocks": {"event": "start", "bins": {"a": [0, 1], "b": [1, 2]}, "baseline": ["a"]}}  # fmt: skip
    config = checked(name, **other)
    assert config["study"] | other["study"] == config["study"]
    assert config["blocks"]["bins"] == other["blocks"]["bins"]  # names of the study's own are no mixture
    assert config["group"]["level"] == 0.9 and config["group"]["outcome"] == own["group"]["outcome"]


def test_a_preset_gives_the_same_as_its_keys_written_out():
    written = checked(None, **study_presets.presets()["treatment_pre_post"]["config"])
    assert checked("treatment_pre_post") == written | {"preset": "treatment_pre_post"}
    assert study_config.checked(checked("treatment_pre_post")) == checked("treatment_pre_post")


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(
        InputError, match="preset is 'visual'; known are kings_crossover, treatment_pre_post, visual_3t"
    ):
        checked("visual")
    with pytest.raises(InputError, match=r"preset: \['visual_3t'\] is not of type"):
        study_config.checked({"preset": ["visual_3t"], "protocols": {"p": PRESS}}, "configuration", [])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_commented_out_is_what_holds(tmp_path, name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["init", str(tmp_path), "--preset", name])
    assert stopped.value.code == 0
    text = (tmp_path / "config/config.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["preset"] == name and set(content) == {"preset", "study", "protocols"}
    config = study_config.checked(content)
    for section, keys in study_presets.presets()[name]["config"].items():
        for key, value in keys.items():
            shown = begin._value(key, value)[0]
            assert f"#   {shown}" in text, (section, key)
            assert config[section][key] == value
    resolved = study_presets.resolved_text(content, config)
    assert yaml.safe_load(resolved)["blocks"] == study_presets.presets()[name]["config"]["blocks"]
    assert "name: My study\n" in resolved and "outcome: " in resolved and resolved.count("# preset") > 8


@pytest.mark.parametrize("name", NAMES)
def test_a_planned_trial_of_each_preset_has_tables_without_fault(tmp_path, name, monkeypatch):
    """Everything but the signals, which a slow test makes."""
    monkeypatch.setattr(planned_trial, "_write_session", lambda task: None)
    monkeypatch.setattr(planned_trial, "basis_of", lambda protocol, cache: None)
    config = checked(name, rehearsal={"participants": 8})
    contrast = plan_of(config).contrasts[0]
    weights = [contrast.of.get(c, float(not contrast.weights)) for c in config["study"]["conditions"]]
    scenario = rehearsal.scenario_for(config, weights)
    planned = planned_trial.draw(config, scenario, 1)
    file = planned_trial.write(planned, config, tmp_path / "t", 1, 3.5)
    content = study_config.read(file)
    written = study_config.checked(content)
    study, faults = before_jobs(written, content)
    assert faults == []
    sessions = pd.read_csv(tmp_path / "t/config/sessions.tsv", sep="\t", dtype={"participant": str})
    assert set(sessions["arm"]) == set(config["study"]["conditions"]) and len(study.keys) == len(sessions)
    for own in planned.sessions:
        bins = config["blocks"]["bins"].values()
        span = max(end for _, end in bins) - min(
            0 if config["blocks"]["event"] == "start" else 99, *(b for b, _ in bins)
        )
        assert len(own.factor) * 2.0 == pytest.approx(60 * span, abs=16)
