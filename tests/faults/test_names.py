"""Values of tables, headers and configuration are text: no shell, no evaluation, no pattern, no path upwards."""

import gzip
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from faulty import CONFIG, HEADER, write_raw
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from made_results import write_record, write_study
from stand_in import ROOT, Project

from mrsflow import run
from mrsflow.conversion import convert, identity
from mrsflow.errors import InputError
from mrsflow.files import read_table, write_table
from mrsflow.models import formula
from mrsflow.reporting import session_page
from mrsflow.study import config

NASTY = ["$(touch pwned)", "`touch pwned`", "; touch pwned;", "'; touch pwned; '", '"; touch pwned; "', "| touch pwned"]


def nowhere_pwned(folder: Path) -> bool:
    return not [p for p in folder.rglob("*pwned*") if p.name == "pwned"]


@pytest.mark.parametrize(
    ("place", "batch_size"),
    [("pro ject $(touch pwned) 'x' ü", 3), pytest.param('a;touch pwned;" &b', 1, marks=pytest.mark.slow)],
)
def test_hostile_names_go_through_the_real_rules_as_they_are(tmp_path, place, batch_size):
    project = Project(tmp_path / place, sessions=6, batch_size=batch_size)
    samples = project.folder / "config/samples.tsv"
    text = samples.read_text()
    for i, nasty in enumerate(NASTY):
        name = nasty.replace("/", "_") + ".txt"
        project.raw(i).rename(project.raw(i).with_name(name))
        cell = f"raw/{name}"
        text = text.replace(f"raw/{i}.txt", '"' + cell.replace('"', '""') + '"' if '"' in cell else cell)
    samples.write_text(text)
    arms = ["$(touch pwned)", "<script>alert('pwned')</script>{x}"]
    sessions = project.folder / "config/sessions.tsv"
    rows = sessions.read_text().replace("placebo", arms[0]).replace("drug", arms[1])
    sessions.write_text(rows)
    project.write_config(
        study={"design": "crossover", "conditions": arms, "name": "{a} $(touch pwned) %s ' \" \\ \n ü"},
        output="re sults $(touch pwned)'s",
    )
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert nowhere_pwned(tmp_path)
    found = sorted((project.folder / "re sults $(touch pwned)'s/bids").rglob("*_convert.txt"))
    assert [p.read_text() for p in found] == [f"session {i}\nconvert\n" for i in range(6)]
    assert "Nothing to be done" in project.snakemake().stderr


@pytest.mark.parametrize("name", ["../../pwned", "a/b", "$(touch pwned)", "a b", ".*", "{x}"])
def test_a_protocol_whose_name_is_no_plain_word_is_refused(name):
    protocol = next(iter(CONFIG["protocols"].values()))
    with pytest.raises(InputError, match=r"protocols: .* does not match"):
        config.checked(CONFIG | {"protocols": {name: protocol}})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=30))
def test_study_codes_are_letters_and_digits_or_refused(code):
    assume(not re.fullmatch(r"[A-Za-z0-9]+", code))
    import jsonschema

    for table in ("samples", "participants", "sessions"):
        rule = {"properties": {"participant": config.schema(table)["properties"]["participant"]}}
        assert not jsonschema.Draft202012Validator(rule).is_valid({"participant": code}), code


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(max_size=60) | st.sampled_from([*NASTY, "y ~ __import__('os').system('id')", "y ~ I(x**2)", "y ~ x - 1"])
)
def test_a_formula_is_parsed_or_refused_and_never_evaluated(text):
    try:
        parsed = formula.parse(text)
    except InputError as error:
        assert "\n" not in run.one_line(error)
    else:
        assert all(re.fullmatch(formula.NAME, column) for column in parsed.columns)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20) | st.sampled_from(NASTY), max_size=4))
def test_settings_reach_a_script_through_a_shell_as_they_were(content):
    import shlex
    import subprocess

    assume("\0" not in str(content) and "\0" not in "".join([*content, *content.values()]))
    said = json.dumps(content)
    echoed = subprocess.run(
        f"{shlex.quote(sys.executable)} -c 'import sys; sys.stdout.write(sys.argv[1])' {shlex.quote(said)}",
        shell=True, executable="/bin/bash", capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert config.load(echoed.stdout or "{}") == content


WORDS = st.text("abcdefghijkmnopqrstuvwxyzQXZ0123456789", min_size=9, max_size=16).filter(
    lambda text: not text.isdigit()
)


@pytest.mark.slow
@settings(max_examples=24, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["ge", "siemens", "philips"]), st.lists(WORDS, min_size=3, max_size=3), st.sampled_from(NASTY))
def test_a_random_identity_in_a_raw_header_reaches_no_output(tmp_path_factory, vendor, words, nasty):
    folder = tmp_path_factory.mktemp("identity")
    name, code, place = words
    header = replace(HEADER, patient_name=f"{name}^../../{nasty}", patient_id=code, institution=place)
    (folder / "raw").mkdir()
    raw = write_raw(folder / "raw", header)[vendor]
    before = set(folder.rglob("*"))
    assert any(code in secret for secret in identity.harvest(raw.with_suffix(".SPAR") if vendor == "philips" else raw))
    written = convert.convert_by_hand([raw], folder / "out" / "scan.nii.gz", {})
    assert set(folder.rglob("*")) - before == {folder / "out", *written}
    for path in written:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not [word for word in words if word.encode().lower() in content.lower()], path.name
    assert nowhere_pwned(folder)


class Outline(HTMLParser):
    """Elements of a page with their attributes' names, its text, and the data of its charts."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements, self.text, self.inside = [], [], ""
        self.feed(path.read_bytes().decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.inside = tag

    def handle_data(self, data):
        self.text.append(data)
        if self.inside == "script" and data.startswith(("{", "[")):
            json.loads(data)
        self.inside = ""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of a small made-up trial, the table of transients of one of its sessions, and the key of that session."""
    output = tmp_path_factory.mktemp("made")
    settings_of = write_study(output, 4)
    table = next(output.rglob("sub-001_ses-v1*_desc-transients_quality.tsv"))
    return output, settings_of, table, read_table(table)


HOSTILE = [
    "</script><script>alert(1)</script>",
    '" onload="x',
    "' onload='x",
    "<!--",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "&lt;b>",
]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(HOSTILE))
def test_any_text_in_a_page_stays_text(made, text):
    """The study's name, the reason of a failed session, and the reason of a rejected transient, which a chart holds."""
    output, configuration, table, transients = made

    def outlines(words: str) -> list[Outline]:
        configuration["study"]["name"] = words
        write_record(output, "fit", "sub-001_ses-v2", [], "failed", words)
        reasons = transients["reason"].where(transients["reason"].isna(), words)
        write_table(transients.assign(reason=reasons), table)
        return [Outline(session_page.write(output, f"sub-001_ses-v{visit}", configuration)) for visit in (1, 2)]

    plain, pages = outlines("plain"), outlines(text)
    assert [page.elements for page in pages] == [page.elements for page in plain]
    assert all(text in "".join(page.text) for page in pages)


def test_the_code_evaluates_unpickles_and_loads_nothing_from_text():
    """Calls that would run what a file says; a call of a shell; templates without escaping."""
    forbidden = (
        r"(?<![\w.])(eval|exec|compile)\(", r"\bpickle\b", r"allow_pickle=True", r"shell=True", r"os\.system",
        r"yaml\.(load|unsafe_load|full_load)\(", r"autoescape=False", r"\bmarshal\b", r"\bdill\b", r"\bjoblib\b",
    )  # fmt: skip
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "rules").glob("*.smk")]
        for line in path.read_text().splitlines()
        if any(re.search(pattern, line) for pattern in forbidden)
    ]
    assert not found


def test_rules_quote_whatever_they_put_into_a_shell_line():
    """Each placeholder of a shell line ends in :q, but for the interpreter, which is quoted where it is made."""
    for path in (ROOT / "rules").glob("*.smk"):
        for block in re.findall(r'shell:\n((?:\s+".*"\n)+)', path.read_text()):
            open_to_the_shell = [p for p in re.findall(r"\{([^{}]+)\}", block) if not p.endswith(":q")]
            assert set(open_to_the_shell) <= {"PYTHON"}, path.name
