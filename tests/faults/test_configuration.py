"""Configurations with a fault: one line that names the key and what is allowed, before any job."""

import copy
import time

import pytest
from faulty import CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsflow.errors import InputError
from mrsflow.study import config


def changed(key, value):
    content = copy.deepcopy(CONFIG)
    place = content
    *parents, last = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return content


FAULTS = {
    "home not expanded": ("output", "~/results", "output is '~/results'; neither ~ nor "),
    "variable not expanded": ("output", "$HOME/results", "output is '.HOME/results'; neither ~ nor "),
    "variable in the middle": ("inputs.samples", "/data/$STUDY/s.tsv", "inputs.samples is .* write the folder itself"),
    "a name too long": ("protocols", {"a" * 200: {}}, "is too long|at most|does not match|too long"),
    "unknown section": ("stduy", {}, "unknown key 'stduy', did you mean 'study'"),
    "unknown key": ("study.freze", True, "study: unknown key 'freze', did you mean 'freeze'"),
    "unknown key of a protocol": ("protocols.a.te", 30, "protocols.a: unknown key 'te'"),
    "text for a number": ("batch_size", "many", "batch_size: 'many' is not of type 'integer'"),
    "number for text": ("study.conditions", ["placebo", 5], "study.conditions.1: 5 is not of type 'string'"),
    "list for one value": ("output", ["results"], "output: .* is not of type 'string'"),
    "YAML's no for a code": ("study.conditions", ["yes", False], "False is not of type 'string'"),
    "section missing": ("protocols", KeyError, "'protocols' is a required property"),
    "section empty": ("study", None, "study: None is not of type 'object'"),
    "TE in s": ("protocols.a.echo_time_ms", 0.03, r"a.echo_time_ms: 0.03 is less than the minimum of 1 \(TE \(ms\)"),
    "TR in s": ("protocols.a.repetition_time_ms", 2, "a.repetition_time_ms: 2 is less than the minimum of 100"),
    "frequency in Hz": ("protocols.a.spectrometer_frequency_mhz", 127.73e6, "greater than the maximum of 1000"),
    "TE not a number": ("protocols.a.echo_time_ms", float("nan"), "protocols.a.echo_time_ms is not a finite number"),
    "bin without end": (
        "blocks.bins.infusion",
        [0, float("inf")],
        "blocks.bins.infusion.1: inf is greater than the maximum of 1440",
    ),
    "no bins": ("blocks.bins", {}, "blocks.bins: "),
    "empty bin": ("blocks.bins.infusion", [8, 8], "blocks.bins.infusion is .*; the end must be after the start"),
    "reversed bin": ("blocks.bins.infusion", [8, 0], "blocks.bins.infusion is .*; the end must be after the start"),
    "overlapping bins": ("blocks.bins.infusion", [-1, 8], "baseline and blocks.bins.infusion overlap"),
    "bin of three numbers": ("blocks.bins.infusion", [0, 4, 8], "blocks.bins.infusion: "),
    "bins in s": ("blocks.bins.infusion", [0, 2400], r"infusion.1: 2400 is greater than the maximum of 1440 \(Minutes"),
    "range from high to low": ("fit.ppm", [4.2, 0.5], r"fit.ppm is \[4.2, 0.5\]; the lower end comes first"),
    "baseline that is no bin": ("blocks.baseline", ["before"], "'before', which is not in blocks.bins"),
    "crossover of one": ("study.conditions", ["placebo"], "study.conditions has one code; a crossover needs two"),
    "same condition twice": ("study.conditions", ["drug", "drug"], "study.conditions: .* non-unique"),
    "sequence without basis": ("protocols.a.sequence", "other", "protocols.a.basis is needed"),
    "braces in a path": ("output", "results/{sample}", "output: 'results/{sample}' does not match"),
    "no sessions in a job": ("batch_size", 0, "batch_size: 0 is less than the minimum of 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_configuration_is_one_line_that_names_the_key(fault):
    key, value, said = FAULTS[fault]
    with pytest.raises(InputError, match=said) as error:
        config.checked(changed(key, value), "config.yaml")
    assert str(error.value).startswith("config.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "study: [", "- a\n- b\n", "study: &a [*a]\n", "\t study: x", "a: !!python/object/apply:os.system [id]", "\0"],
    ids=["empty", "open bracket", "list", "recursive", "tab", "code", "null byte"],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config.yaml") as error:
        config.load(str(path))
    assert len(str(error.value)) < 600


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["study", "inputs", "output", "protocols", "protocols.a", "blocks", "blocks.bins", "fit", "group", "quality"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_at_any_key_is_accepted_or_one_line(key, value):
    try:
        config.checked(changed(key, value))
    except InputError as error:
        assert str(error).startswith("config: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("section", "text"), [("study", {"freeze": "true"}), ("group", {"draws": "99"}), ("quality", {"rules": "[]"})]
)
def test_a_value_given_as_text_is_refused_with_how_to_write_it(section, text):
    """Snakemake gives --config 'study={freeze: true}' as text."""
    (value,) = text.values()
    with pytest.raises(InputError, match="comes from --config with braces") as caught:
        config.checked({**CONFIG, section: {**CONFIG.get(section, {}), **text}})
    assert f"write {value} without quotes into a configuration file" in str(caught.value)


@pytest.mark.parametrize(("section", "key"), [("output", None), ("inputs", "bids"), ("inputs", "samples")])
def test_a_name_that_no_file_system_takes_is_refused(section, key):
    name = "results/" + "x" * 256
    with pytest.raises(InputError, match=r"has at most 255 bytes; shorten it"):
        config.checked({**CONFIG, section: {key: name} if key else name})


@pytest.mark.parametrize(
    "key",
    [
        "protocols.a.basis",
        "protocols.a.macromolecules",
        "quality.ratings",
        "inputs.sessions",
        "output",
    ],
)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("~/x", "neither ~ nor . is expanded here"),
        ("$DATA/x", "neither ~ nor . is expanded here"),
        ("a/x ", "blanks at its ends"),
        ("a\nx", "control characters"),
    ],
)
def test_a_path_that_a_shell_would_change_is_refused_wherever_it_stands(key, value, said):
    with pytest.raises(InputError, match=said):
        config.checked(changed(key, value))


@pytest.mark.parametrize("output", [".", "..", "/", "config", "./config/../config"])
def test_an_output_folder_that_holds_the_tables_is_refused(output):
    with pytest.raises(InputError, match=r"in which inputs.samples \(config/samples.tsv\) lies; all in it is taken"):
        config.checked({**CONFIG, "output": output})


def test_an_output_folder_that_is_too_deep_is_refused():
    with pytest.raises(InputError, match="more than 3000 bytes; choose a shorter one"):
        config.checked({**CONFIG, "output": "/".join(["folder"] * 500)})


def test_text_that_is_no_value_of_the_right_kind_is_no_matter_of_quotes():
    with pytest.raises(InputError) as caught:
        config.checked({**CONFIG, "study": {**CONFIG["study"], "freeze": "perhaps"}})
    assert "--config" not in str(caught.value)


def test_aliases_that_swell_are_refused_at_once():
    value = ["x"] * 10
    for _ in range(9):
        value = [value] * 10
    begin = time.process_time()
    with pytest.raises(InputError, match="more than 100000 values; write out what its aliases"):
        config.checked({**CONFIG, "blocks": value})
    assert time.process_time() - begin < 2


def test_merged_mappings_that_swell_are_refused_at_once(tmp_path):
    lines = ["m0: &m0 {a: 1, b: 2, c: 3}"]
    lines += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    begin = time.process_time()
    with pytest.raises(InputError, match=r"config.yaml: holds more than 100000 values; write out what its aliases"):
        config.load(str(path))
    assert time.process_time() - begin < 2


def test_a_merged_mapping_is_read_as_yaml_says(tmp_path):
    (tmp_path / "config.yaml").write_text("base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n")
    assert config.read(str(tmp_path / "config.yaml"))["other"] == {"a": 1, "b": 3}
