"""Where pages come from: told without a date or a folder of the machine."""

import yaml
from small_config import single_arm

import mrsflow
from mrsflow.reporting import provenance
from mrsflow.study import config as study_config


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
