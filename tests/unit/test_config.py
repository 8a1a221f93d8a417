import copy
import inspect

import pytest
import yaml
from small_config import PRESS

from mrsflow.errors import InputError
from mrsflow.planning import trials
from mrsflow.study import config
from mrsflow.study.study import read_study

CONFIG = {
    "study": {"design": "crossover", "conditions": ["placebo", "drug"]},
    "protocols": {"a": PRESS},
    "blocks": {"bins": {"baseline": [-8, 0], "infusion": [0, 8]}, "baseline": ["baseline"]},
}
TABLES = {
    "participants": "participant\tsex\tage\n01\tF\t31\n02\tM\t28\n",
    "sessions": "participant\tsession\tvisit\tarm\tinfusion_start\n"
    "01\t1\t1\tplacebo\t10:00:00\n01\t2\t2\tdrug\t10:00:00\n02\t1\t1\tdrug\t10:00:00\n",
    "samples": "participant\tsession\trole\tprotocol\traw\tstart_time\n"
    "01\t1\tsvs\ta\tx/1.dat\t09:50:00\n01\t2\tsvs\ta\tx/2.dat\t09:50:00\n02\t1\tsvs\ta\tx/3.dat | x/4.dat\t09:50:00\n",
}


def changed(path, value):
    content = copy.deepcopy(CONFIG)
    place = content
    *parents, last = path.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("study.freze", True, "study: unknown key 'freze', did you mean 'freeze'"),
        ("batchsize", 3, "unknown key 'batchsize', did you mean 'batch_size'"),
        ("batch_size", "many", "batch_size: 'many' is not of type 'integer'"),
        ("protocols.a.echo_time_ms", 0.03, r"protocols.a.echo_time_ms: 0.03 is less than the minimum of 1 \(TE \(ms\)"),
        ("protocols.a.repetition_time_ms", 2, "repetition_time_ms: 2 is less than the minimum"),
        ("protocols.a.sequence", "other", "protocols.a.basis is needed"),
        ("blocks.bins.infusion", [-1, 8], "baseline and blocks.bins.infusion overlap"),
        ("blocks.bins.infusion", [8, 0], "the end must be after the start"),
        ("blocks.bins", {}, "blocks.bins: .* non-empty|should be non-empty|enough properties"),
        ("blocks.baseline", ["before"], "'before', which is not in blocks.bins"),
        ("study.conditions", ["placebo"], "a crossover needs two"),
        ("study", None, "study: None is not of type 'object'"),
    ],
)
def test_a_bad_key_is_named_with_what_is_allowed(path, value, said):
    with pytest.raises(InputError, match=said) as error:
        config.checked(changed(path, value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"level": "session", "metric": "fit_status"}, "'block' was expected"),
        ({"level": "block", "metric": "fit_status", "exclude": 0.5}, "exclude: 0.5 is not one of"),
        ({"level": "block", "metric": "fit_status", "worse": "above"}, "leave it out for fit_status"),
        ({"level": "block", "metric": "snr", "warn": 20}, "'worse' is a required property"),
        ({"level": "block", "metric": "snr", "worse": "below", "warn": "doubtful"}, "'doubtful' is not of type"),
    ],
)
def test_a_rule_has_limits_of_the_kind_of_its_metric(rule, said):
    with pytest.raises(InputError, match=said):
        config.checked(CONFIG | {"quality": {"rules": [rule]}})


@pytest.mark.parametrize(
    ("level", "metric", "said"),
    [
        ("block", "linewith_ppm", "level block has no metric 'linewith_ppm', did you mean 'linewidth_ppm'?"),
        ("block", "drift_hz", "level block has no metric 'drift_hz', level session has"),
        ("session", "beauty", "level session has no metric 'beauty', it has n_coils, "),
    ],
)
def test_a_metric_that_no_table_has_is_said_before_any_job(level, metric, said):
    rule = {"level": level, "metric": metric, "worse": "above", "warn": 1}
    with pytest.raises(InputError, match=said):
        config.checked(CONFIG | {"quality": {"rules": [rule]}})


@pytest.mark.parametrize(
    "rule", [("block", "misfit"), ("block", "lacking"), ("block", "snr"), ("session", "lipid_range")]
)
def test_every_number_of_the_quality_tables_can_stand_in_a_rule(rule):
    level, metric = rule
    given = {"level": level, "metric": metric, "worse": "above", "warn": 1}
    assert config.checked(CONFIG | {"quality": {"rules": [given]}})["quality"]["rules"][0]["metric"] == metric


def test_keys_are_described_where_the_message_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for where in (config.SCHEMAS / "config.schema.yaml", "config/config.schema.json"):
        with pytest.raises(InputError, match="unknown key 'zzz', known are preset, study, ") as error:
            config.checked(CONFIG | {"zzz": 1})
        assert str(error.value).endswith(f"; see {where}")
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config/config.schema.json").write_text("{}")


def test_defaults_are_filled_in_and_the_argument_is_left_alone():
    before = copy.deepcopy(CONFIG)
    full = config.checked(CONFIG)
    assert before == CONFIG
    assert full["batch_size"] == 1
    assert full["protocols"]["a"]["nucleus"] == "1H"
    assert full["quality"]["rules"][0]["metric"] == "linewidth_ppm"
    assert config.checked(full) == full


@pytest.mark.parametrize("output", ["results/", "./results", "results/.", "x/../results"])
def test_the_output_folder_has_one_name_however_it_is_written(output):
    """Names of outputs are compared as text."""
    assert config.checked({**CONFIG, "output": output})["output"] == "results"


def test_the_shipped_configuration_shows_every_key_with_its_default(root):
    shipped = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))
    full = config.checked(shipped)
    missing = [k for k in full if k not in shipped]
    for section in ("study", "inputs", "convert", "blocks", "preprocess", "fit", "quality", "group", "power", "report"):
        missing += [f"{section}.{k}" for k in full[section] if k not in shipped[section]]
    assert not missing
    protocol_keys = config.schema("config")["properties"]["protocols"]["additionalProperties"]["properties"]
    assert set(protocol_keys) == set(next(iter(shipped["protocols"].values())))


def test_the_shipped_configuration_differs_from_the_defaults_only_in_what_is_of_its_study(root):
    def leaves(value, key=""):
        if isinstance(value, dict) and value and key not in ("blocks.bins",):
            for name, inner in value.items():
                yield from leaves(inner, f"{key}.{name}" if key else name)
        else:
            yield key, value

    shipped = dict(leaves(yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))))
    required = {"study": {"design": "single_arm", "conditions": ["a"]}, "blocks": {"bins": {"a": [0, 1]}}}
    usual = dict(leaves(config.checked(required | {"protocols": {"siemens": PRESS}})))
    differs = {key for key, value in shipped.items() if value != usual.get(key, "not there")}
    assert {key for key in differs if not key.startswith("protocols.ge.")} == {
        "study.name", "study.design", "study.conditions", "blocks.bins", "blocks.baseline", "group.moderators",
        "protocols.siemens.excitations_per_frame", "protocols.siemens.coils", "protocols.siemens.macromolecules",
    }  # fmt: skip


def test_defaults_that_stand_in_code_too_are_those_of_the_schema():
    """Options of a script, and cells of a power grid, whose lists have one value at a time."""
    import fit_blocks

    options = {name: p.default for name, p in inspect.signature(fit_blocks.main).parameters.items()}
    for name in ("model", "ppm", "constants"):
        assert options[name] == config.default(f"fit.{name}"), name
    cells = {
        "participants",
        "designs",
        "attenuation",
        "lost_blocks",
        "dropouts",
        "trials",
        "seed",
        "components",
        "questions",
    }
    cells |= {"period", "effect_percent", "target", "mood"}  # of which every scenario has one, or none
    section = config.rule_of("power")["properties"]
    sizes = {name: config.default(f"power.{name}") for name in set(section) - cells}
    sizes |= {name: rule["default"] for name, rule in section["components"]["properties"].items()}
    scenario = trials.Scenario()
    assert {name: getattr(scenario, name) for name in sizes} == sizes


def test_every_column_of_the_input_tables_is_in_their_guide(root):
    guide = (root / "config/README.md").read_text(encoding="utf-8")
    for name in ("samples", "sessions", "participants"):
        part = guide.split(f"## {name}.tsv")[1].split("\n## ")[0]
        assert [column for column in config.schema(name)["properties"] if f"`{column}`" not in part] == [], name


def test_every_key_of_the_schemas_is_described():
    def undescribed(rule, path):
        for key, inner in rule.get("properties", {}).items():
            if "description" not in inner and path != ".quality.rules":
                yield f"{path}.{key}"
            yield from undescribed(inner, f"{path}.{key}")

    for name in ("config", "samples", "participants", "sessions"):
        assert not list(undescribed(config.schema(name), "")), name


@pytest.fixture
def study(tmp_path):
    def write(**replaced):
        paths = {}
        for name, text in (TABLES | replaced).items():
            (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
            paths[name] = str(tmp_path / f"{name}.tsv")
        return read_study(config.checked(CONFIG | {"inputs": paths}))

    return write


def test_tables_are_joined_by_session(study, tmp_path):
    tables = study()
    assert tables.keys == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
    assert tables.samples["raw"].iloc[2] == [tmp_path / "x/3.dat", tmp_path / "x/4.dat"]
    assert tables.participants["age"].tolist() == [31, 28]
    assert [line.rpartition("/")[2] for line in tables.samples["line"]] == [f"samples.tsv, line {n}" for n in (2, 3, 4)]


@pytest.mark.parametrize("keys", [["sub-02_ses-1"], ["sub-01_ses-2", "sub-02_ses-1"], ["sub-03_ses-1"]])
def test_the_rows_of_some_sessions_are_those_of_the_whole_study(study, tmp_path, keys):
    whole = study()
    paths = {name: str(tmp_path / f"{name}.tsv") for name in TABLES}
    part = read_study(config.checked(CONFIG | {"inputs": paths}), keys)
    people = {key[4:6] for key in keys}
    for name, column, wanted in (
        ("samples", "key", keys),
        ("sessions", "key", keys),
        ("participants", "participant", people),
    ):
        table = getattr(whole, name)
        expected = table[table[column].isin(wanted)].reset_index(drop=True)
        assert getattr(part, name).astype(str).to_dict("records") == expected.astype(str).to_dict("records"), name


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        ("samples", "02\t1\tsvs", "03\t1\tsvs", "line 4: participant '03' is not in"),
        ("samples", "02\t1\tsvs", "02\t2\tsvs", "line 4: key 'sub-02_ses-2' is not in"),
        ("samples", "svs\ta\tx/2", "svs\tb\tx/2", "line 3: protocol 'b' is not in protocols"),
        ("samples", "x/2.dat", "x/1.dat", "line 3: repeats .*line 2"),
        ("samples", "01\t2\tsvs", "01\t1\tsvs", "line 3: repeats .*line 2 .*column run"),
        ("samples", "svs\ta\tx/1", "metab\ta\tx/1", "line 2: role: 'metab' is not one of"),
        ("samples", "role", "rolle", "column 'role' is missing"),
        ("samples", "09:50:00\n02", "9.50\n02", "line 3: start_time: '9.50' is no clock time HH:MM:SS"),
        ("sessions", "1\tplacebo", "one\tplacebo", "line 2: visit: 'one' is not a whole number"),
        ("sessions", "placebo", "nan", "line 2: arm 'nan' is not in study.conditions"),
        ("sessions", "01\t2\t2", "01\t2\t1", "line 3: participant '01' has visit 1 twice"),
        ("sessions", "01\t2\t2", "01\t1\t2", "line 3: repeats .*line 2"),
        ("participants", "01\tF", "Jo Doe\tF", "line 2: participant: .* does not match"),
        ("participants", "\t31", "\told", "line 2: age: 'old' is not a number"),
        ("participants", "01\tF", "\tF", "line 2: participant is empty"),
    ],
)
def test_a_bad_row_is_named(study, table, old, new, said):
    assert old in TABLES[table]
    with pytest.raises(InputError, match=said) as error:
        study(**{table: TABLES[table].replace(old, new, 1)})
    assert f"{table}.tsv" in str(error.value)


def test_bins_of_a_series_are_cut_into_parts():
    """By hand: 1.5 min in parts of 36 s, the last of 18 s; a bin no longer than a part stays, also when read again."""
    content = copy.deepcopy(CONFIG)
    content["blocks"] = {"bins": {"rest": [-0.5, 0], "task": [0, 1.5]}, "baseline": ["rest", "task"], "every_s": 36}
    found = config.checked(content)["blocks"]
    assert found["bins"] == {"rest": [-0.5, 0], "task_001": [0, 0.6], "task_002": [0.6, 1.2], "task_003": [1.2, 1.5]}
    assert found["baseline"] == ["rest", "task_001", "task_002", "task_003"]
    assert config.checked({**content, "blocks": found})["blocks"] == found


@pytest.mark.parametrize(
    ("blocks", "more", "said"),
    [
        ({"every_s": 5}, {}, "makes 192 blocks of a session, and fit.model is independent; more than 48 follow"),
        ({"every_s": 5}, {"fit": {"model": "dynamic"}}, "group.outcome is 'Glx/tNAA', which compares blocks; name a"),
        ({"every_s": 0.05}, {}, "makes 19200 blocks of a session; make the parts longer"),
        ({"every_s": 240, "bins": {"a": [0, 8], "a_001": [8, 12]}, "baseline": []}, {}, "has the name of a part of"),
    ],
)
def test_a_series_that_cannot_be_analysed_so_is_refused_with_a_way_out(blocks, more, said):
    content = copy.deepcopy(CONFIG) | more
    content["blocks"] = content["blocks"] | blocks
    with pytest.raises(InputError, match=said):
        config.checked(content)
    faults = []
    config.checked(content, "config", faults)
    assert any(said in fault for fault in faults)
