"""The command ``mrsflow``: what a study begins with, and what a folder of raw files proposes."""

import re
import shutil
import tomllib
from pathlib import Path

import made_datasets as made
import pandas as pd
import pytest
import yaml

from mrsflow.command import begin, cli, scan
from mrsflow.errors import InputError
from mrsflow.files import checksum
from mrsflow.study import config as study_config
from mrsflow.study.study import before_jobs


def run(*arguments) -> tuple[int, str]:
    """Exit status of the command, and what it says instead where it stops with a line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(map(str, arguments)))
    code = stopped.value.code
    return (1, code) if isinstance(code, str) else (code or 0, "")


def everything(folder):
    return {str(path.relative_to(folder)): checksum(path) for path in folder.rglob("*") if path.is_file()}


def table(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def names_in(rule) -> set[str]:
    """Every name of a key in a schema."""
    found = set(rule.get("properties", {}))
    for value in [*rule.get("properties", {}).values(), rule.get("additionalProperties")]:
        found |= names_in(value) if isinstance(value, dict) else set()
    return found


@pytest.mark.parametrize("design", begin.designs())
def test_a_new_study_of_each_design_has_nothing_wrong_but_what_a_person_must_give(tmp_path, monkeypatch, design):
    assert run("init", tmp_path / "my study", "--design", design) == (0, "")
    monkeypatch.chdir(tmp_path / "my study")
    content = study_config.read("config/config.yaml")
    config = study_config.checked(content)
    study, faults = before_jobs(config, content)
    assert faults == []
    assert not any(path.exists() for paths in study.samples["raw"] for path in paths)
    assert config["protocols"]["scanner"]["preset"] is None
    assert config["study"]["design"] == begin.designs()[design]["config"]["study"]["design"]


@pytest.mark.parametrize("design", ["crossover", "pre_post"])
def test_what_is_commented_out_are_the_defaults(design):
    text = begin.config_text(design, {"scanner": begin.PROTOCOL}, {})
    keys = names_in(study_config.schema("config"))
    lines = [
        re.sub(r"^# ?", "", line) if ((key := re.match(r"#\s+(\w+):", line)) and key.group(1) in keys)
        or re.match(r"#\s+- \{", line) or re.match(r"# +(?:components|prior|covariates):", line) else line
        for line in text.splitlines()
    ]  # fmt: skip
    whole = yaml.safe_load("\n".join(lines))
    assert set(whole) == set(study_config.schema("config")["properties"])
    assert study_config.checked(whole) == study_config.checked(yaml.safe_load(text))


def test_the_schema_for_editors_is_that_of_the_check(tmp_path):
    run("init", tmp_path)
    first = (tmp_path / "config/config.yaml").read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first).group(1)
    assert yaml.safe_load((tmp_path / "config" / named).read_text()) == study_config.schema("config")


@pytest.mark.parametrize("name", ["config.yaml", "samples.tsv", "config.schema.json"])
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / name).write_text("mine")
    before = everything(tmp_path)
    status, said = run("init", tmp_path)
    assert status == 1 and f"{name}: is there already" in said
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], "config/config.yaml: no such file; go to the folder of a study"),
        (["run", "-d", "elsewhere"], "elsewhere/config/config.yaml: no such file"),
        (["run", "--configfile", "mine.yaml"], "mine.yaml: no such file"),
        (["report"], "config/config.yaml: no such file"),
        (["init", "new", "--scan", "nowhere"], "nowhere: no such folder"),
        (["init", "new", "--scan", "."], "holds no file of a format that is known here"),
        (
            ["inspect", "out", "group"],
            "inspect: has no dataset_description.json, so it is neither a BIDS dataset nor a",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, said = run(*arguments)
    assert status == 1 and words in said and "\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_every_configuration_is_read_before_snakemake_unfolds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_snakemake", lambda options, again="": 0)
    monkeypatch.chdir(tmp_path)
    lines = ["m0: &m0 {a: 1, b: 2, c: 3}"]
    lines += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    for name, text in (("whole.yaml", "a: 1"), ("bomb.yaml", "\n".join(lines)), ("broken.yaml", "a: [")):
        (tmp_path / name).write_text(text)
    for command in ("check", "run"):
        assert run(command, "--configfile", "whole.yaml")[0] == 0
        for name, words in (
            ("bomb.yaml", "bomb.yaml: holds more than 100000 values"),
            ("broken.yaml", "broken.yaml: cannot be read as YAML"),
            ("results/a.tsv", "results/a.tsv: no such file; --configfile takes all that follows it"),
        ):
            status, said = run(command, "--configfile", "whole.yaml", name)
            assert status == 1 and words in said


def test_snakemake_gets_what_the_command_does_not_know(tmp_path, monkeypatch):
    given, said = [], []
    monkeypatch.setattr(cli, "_snakemake", lambda options, again: given.append(options) or said.append(again) or 0)
    monkeypatch.chdir(tmp_path)
    run("init", ".")
    run("run", "-c3", "--until", "fit", "-k")
    run("run", "-n", "--profile", "slurm")
    run("run")
    run("run", "--profile", "cluster-generic")
    submit = given[3][given[3].index("--cluster-generic-submit-cmd") + 1]
    assert Path(submit.split(" {rule}")[0]).is_file() and "{threads}" in submit
    assert given[0] == ["--cores", "3", "--logger", "mrsflow", "--until", "fit", "-k"]
    assert said[0] == "mrsflow run -c3 --until fit -k"
    assert given[1][0] == "--workflow-profile" and given[1][1].endswith("profiles/slurm") and given[1][2:] == ["-n"]
    assert given[2] == ["--cores", "all", "--logger", "mrsflow"]
    run("run", "-c")
    assert given[4] == ["--cores", "all", "--logger", "mrsflow"]


def test_the_report_is_named_once_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("init", ".")
    assert "there is no report yet" in run("report")[1]
    (tmp_path / "results/report").mkdir(parents=True)
    (tmp_path / "results/report/index.html").write_text("")
    capsys.readouterr()
    assert run("report") == (0, "")
    assert capsys.readouterr().out == "results/report/index.html\n"


@pytest.fixture
def dataset(tmp_path):
    made.pain(tmp_path / "data", people=2)
    return tmp_path / "data"


def test_a_participant_of_a_dataset_is_done_by_itself(dataset, monkeypatch):
    given = []
    monkeypatch.setattr(cli, "_snakemake", lambda options: given.append(options) or 0)
    blocks = {"event": "heat", "bins": {"before": [-2, 0], "after": [0, 2]}, "baseline": ["before"]}
    content = made.configuration(dataset, inputs={"select": {"task": "pain"}}, blocks=blocks)
    config = dataset / "code/mrsflow.yaml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump(content))
    output = dataset.parent / "out"
    assert run(dataset, output, "participant", "--participant-label", "sub-02", "-c1") == (0, "")
    assert given[0][-2:] == ["--", f"{output}/status/report_sessions/batches/sub-02_ses-1.tsv"]
    assert "--nolock" in given[0] and f"output={output}" in given[0]
    assert given[0][given[0].index("--directory") + 1] == f"{output}_work"
    assert "lies in the outputs" in run(dataset, output, "group", "-w", output / "work")[1]
    assert run(dataset, output, "group") == (0, "")
    assert given[1][-1] == "--" and "--nolock" not in given[1]
    status, said = run(dataset, output, "participant", "--participant-label", "7")
    assert status == 1 and said == "error: --participant-label 7: is not in the dataset, which has scans of 01, 02"
    config.unlink()
    assert "code/mrsflow.yaml: no such file" in run(dataset, output, "group")[1]


def test_a_dataset_is_named_and_its_protocol_proposed(dataset, tmp_path):
    assert run("init", tmp_path / "study", "--design", "single_arm", "--scan", dataset) == (0, "")
    content = study_config.read(tmp_path / "study/config/config.yaml")
    assert content["inputs"] == {"bids": "../data"}
    assert not (tmp_path / "study/config/samples.tsv").exists()
    protocol = next(iter(content["protocols"].values()))
    assert abs(protocol["spectrometer_frequency_mhz"] - made.FREQUENCY) < 0.01
    assert protocol["sequence"] == "press"  # PulseSequenceType of its sidecars


@pytest.fixture
def philips(shared, tmp_path):
    """Two visits of a person in folders of that person's name, as an export leaves them."""
    for visit in ("visit 1", "visit 2"):
        shutil.copytree(shared / "data/philips-sdat-press35", tmp_path / "raw" / "Jane Doe" / visit)
        for path in (tmp_path / "raw" / "Jane Doe" / visit).iterdir():
            path.rename(path.with_name(path.name.replace("sub-01_", "")))
    return tmp_path / "raw"


def test_a_folder_of_one_vendor_fills_the_tables_and_the_check_names_what_is_open(philips, tmp_path, monkeypatch):
    before = everything(philips)
    assert run("init", tmp_path / "my study", "--design", "one_spectrum", "--scan", philips) == (0, "")
    assert everything(philips) == before
    place = tmp_path / "my study/config"
    samples, sessions = table(place / "samples.tsv"), table(place / "sessions.tsv")
    assert list(zip(samples["participant"], samples["session"], samples["role"], strict=True)) == [
        ("01", "01", "svs"), ("01", "01", "mrsref"), ("01", "02", "svs"), ("01", "02", "mrsref")
    ]  # fmt: skip
    assert all((place / raw).is_file() for raw in samples["raw"])
    assert set(sessions["arm"]) == set(sessions["visit"]) == {"n/a"}
    protocols = study_config.read(place / "config.yaml")["protocols"]
    assert protocols == {"philips_press_te35": {
        "sequence": "press", "preset": None, "echo_time_ms": 35, "repetition_time_ms": 2000,
        "spectrometer_frequency_mhz": 127.75}}  # fmt: skip
    text = (place / "config.yaml").read_text()
    assert re.search(r"preset: null   # DECIDE: philips_press, ideal", text)
    assert "Jane" not in "".join(table(place / f"{name}.tsv").drop(columns="raw", errors="ignore").to_string()
                                 for name in ("samples", "sessions", "participants"))  # fmt: skip
    monkeypatch.chdir(tmp_path / "my study")
    content = study_config.read("config/config.yaml")
    faults = before_jobs(study_config.checked(content), content)[1]
    assert sorted(faults) == sorted(
        f"config/sessions.tsv, line {line}: {column} is empty; it is needed in every row"
        for line in (2, 3) for column in ("arm", "visit")
    )  # fmt: skip


def test_files_without_folders_wait_for_a_person(shared):
    found = scan.look(shared / "data/siemens-dicom-xa60-phantom")
    assert [(one.participant, one.role, one.start[:8]) for one in found] == [(None, "svs", "16:42:08")]
    assert any("participant and session" in remark for remark in found[0].remarks)


def test_edited_scans_and_damaged_files_are_told_apart(shared, tmp_path):
    shutil.copytree(shared / "data/siemens-dicom-megapress-te68-pair/edit_off", tmp_path / "01/off")
    (tmp_path / "01/cut.rda").write_text(">>> Begin of header <<<\nPatientName: Jane\n")
    (tmp_path / "01/notes.txt").write_text("she moved\n")
    cut, edited = scan.look(tmp_path)
    assert (cut.role, edited.role) == (None, "svs") and cut.remarks
    assert edited.header["sequence"] is None and any("is edited" in remark for remark in edited.remarks)
    assert (edited.header["echo_time_ms"], edited.participant, edited.session) == (68, "01", "01")


def test_a_link_upwards_and_a_closed_folder_end_no_scan(shared, tmp_path, monkeypatch):
    shutil.copytree(shared / "data/siemens-dicom-xa60-phantom", tmp_path / "01/scan")
    (tmp_path / "01/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "01/gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "02").mkdir()
    usual = Path.iterdir

    def closed(path):
        if path.name == "02":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    found = scan.look(tmp_path)
    assert [(one.raw[0].name, one.role) for one in found] == [("scan", "svs"), ("02", None)]
    assert "cannot be read (Permission denied)" in found[1].remarks[0]


def test_a_folder_of_water_alone_says_so(shared, tmp_path):
    status, said = run("init", tmp_path / "s", "--scan", shared / "data/siemens-twix-ve11-svsse-averages")
    assert status == 1 and "looks like unsuppressed water" in said
    assert not (tmp_path / "s").exists()


def test_series_below_a_participant_are_visits_only_where_they_are_alike(tmp_path):
    (tmp_path / "p/a").mkdir(parents=True)
    (tmp_path / "p/b").mkdir()
    header = {"sequence": "press", "echo_time_ms": 30}
    alike = [scan.Found([tmp_path / "p" / name], "dicom", "svs", header) for name in "ab"]
    assert [one.session for one in scan._placed(alike, tmp_path)] == ["01", "02"]
    water = [alike[0], scan.Found([tmp_path / "p/b"], "dicom", "mrsref", header)]
    assert [one.session for one in scan._placed(water, tmp_path)] == ["01", "01"]


def test_every_folder_of_the_library_is_installed(root):
    packages = set(tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.name for path in (root / "scripts/mrsflow").glob("*/__init__.py")}
    plugin = f"mrsflow.command.plugins.{next(cli.PLUGINS.iterdir()).name}"
    assert packages == {"mrsflow", "mrsflow.workflow", plugin, *(f"mrsflow.{name}" for name in folders)}


def test_every_error_of_the_command_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        scan.look(tmp_path / "none")


def test_water_has_the_run_of_the_spectra_that_its_name_belongs_to():
    def one(role, name):
        return scan.Found([Path(name)], "philips_sdat", role, participant="1", session="1", protocol="p")

    names = [("svs", "press/a_act.SDAT"), ("svs", "press-inverted/a_TI-600_act.SDAT"),
             ("mrsref", "press-inverted_ref/a_TI-600_ref.SDAT"), ("mrsref", "press_ref/a_ref.SDAT")]  # fmt: skip
    found = scan._numbered([one(*pair) for pair in names])
    assert [each.run for each in found] == ["1", "2", "2", "1"]
    alike = [("svs", "s1.SDAT"), ("svs", "s2.SDAT"), ("mrsref", "w.SDAT"), ("mrsref", "x.SDAT")]
    found = scan._numbered([one(*pair) for pair in alike])
    assert all("DECIDE: run" in each.remarks[0] for each in found[2:])
