"""Every refusal of conversion, reading and preprocessing ends in something that the user can do in any study."""

import ast
import re
from pathlib import Path

import mrsflow
from mrsflow import nifti_mrs
from mrsflow.conversion import convert, editing, vendors
from mrsflow.raw_files.formats import Raw

PACKAGE = Path(mrsflow.__file__).parent
PLACES = ("conversion", "raw_files", "preprocessing", "nifti_mrs.py", "study/bids_reader.py", "study/bids_tables.py")
TO_DO = (
    "add|change|choose|conjugate|convert|copy|correct|exchange|export|give|keep|leave|let|make|mend|name|number|put|"
    "remove|rename|run|say|set|take|tell|widen|write"
)
FOR_DEVELOPERS = ("has no row in the samples table", "axes does not fit dimensions", "not written, the data contain")
"""What nobody reads but who calls a function with arguments that do not belong together."""


def refusals():
    """Text of each `InputError`, with values in braces; of one built by a function its call."""
    files = [path for place in PLACES for path in sorted((PACKAGE / place).rglob("*.py")) or [PACKAGE / place]]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else None
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "InputError":
                continue
            text = ast.unparse(call.args[0])
            if not any(said in text for said in FOR_DEVELOPERS):
                yield f"{path.name}:{node.lineno}", re.sub(r"\{(key|name)\}", "EchoTime", text)


ALL = list(refusals())
PARTS = {
    "{ONE_VOXEL}": nifti_mrs.ONE_VOXEL,
    "{_four(key)}": editing._four("protocols.p"),
    "{remedy}": "export it again",
    "{_reason(raw, runtime.stderr)}": vendors._reason(Raw("rda", []), ""),
}


def test_a_refusal_says_what_to_do():
    def ends_in_something_to_do(text):
        for part, said in PARTS.items():
            text = text.replace(part, said)
        passed_on = r"f?['\"](\{[^}]*\}[\w:, ]*)*\{(error|problem)\}['\"]|_?\w+(\.\w+)?\(.*\)"
        return re.fullmatch(passed_on, text) or re.search(rf"\b({TO_DO})\b", text)

    assert len(ALL) > 100
    assert [place for place, text in ALL if not ends_in_something_to_do(text)] == []


def test_a_refusal_in_a_dataset_names_no_option_and_no_table_that_it_has_not():
    """What is said of an option or of the samples table is put into the words of a dataset, or names it too."""
    said = [(place, convert.in_study(text, True)) for place, text in ALL if not place.startswith("convert.py")]
    assert [place for place, text in said if "--set" in text] == []
    assert [place for place, text in said if "samples table" in text and "dataset" not in text] == []
