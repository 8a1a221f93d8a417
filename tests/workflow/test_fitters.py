"""A list of fitters and a multiverse on real sessions, with a recorded answer of LCModel for every block."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from stand_in import ROOT

from mrsflow.files import checksum, digest_of, read_table

pytestmark = pytest.mark.slow

RECORDED = ROOT / "tests/unit/lcmodel_6.3.coord"
DECLARED = {"fitter": ["mrsflow", "lcmodel"], "residual_water": ["removed", "kept"], "denominator": ["tNAA", "tCr"]}
KEYS = ("sub-01_ses-1", "sub-01_ses-2")
ANSWERS = """#!{python}
import re, shutil, sys
shutil.copy({answer!r}, re.search(r"filcoo='(.*)'", sys.stdin.read())[1])
"""


def analyse(shared: Path, folder: Path, target: str, **changes) -> Path:
    """Run the small study with changes to its configuration; its folder of results."""
    shutil.copytree(shared / "cases/small-study", folder, copy_function=shutil.copyfile)
    program = folder / "lcmodel"
    program.write_text(ANSWERS.format(python=sys.executable, answer=str(RECORDED)))
    program.chmod(0o755)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["protocols"]["p"]["preset"] = "ideal"
    content |= {"batch_size": 2, **changes}
    content["group"] = {"mood_scale": None, **changes.get("group", {})}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "-s", str(ROOT / "Snakefile")]
    command += ["--configfile=config.yaml", "--until", target]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
    environment["LCMODEL_EXEC"] = str(program)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "results"


@pytest.fixture(scope="module")
def results(shared, tmp_path_factory):
    fit, group = {"fitter": ["mrsflow", "lcmodel"]}, {"multiverse": DECLARED}
    return analyse(shared, tmp_path_factory.mktemp("both") / "study", "group", fit=fit, group=group)


def tables(root: Path, key: str, ending: str) -> Path:
    """One table of a session."""
    (path,) = root.glob(f"{key.replace('_', '/')}/mrs/{key}_task-k_{ending}")
    return path


def test_every_block_has_the_answer_of_every_program(results):
    """What LCModel answered to every block is recorded, so that its ratios are those of the record."""
    text = RECORDED.read_text(encoding="latin-1")
    line = r"^ *(\S+) +\d+% +\S+ *{} *$"
    amount = {name: float(re.search(line.format(re.escape(name)), text, re.M)[1]) for name in ("NAA+NAAG", "Glu")}
    for key in KEYS:
        for root in (results / "derivatives/mrsflow", results / "variants/water-kept"):
            table = read_table(tables(root, key, "desc-lcmodel_mrsfit.tsv"))
            glu = table[table["metabolite"] == "Glu"]
            assert len(glu) == 2
            np.testing.assert_allclose(glu["per_tnaa"], amount["Glu"] / amount["NAA+NAAG"], rtol=1e-3)
            assert tables(root, key, "desc-lcmodel_mrsfit.zip").is_file()
    agreement = read_table(results / "group/fitters.tsv")
    assert set(agreement["fitter"]) == {"lcmodel"}


def test_rows_name_the_digest_of_their_own_files(results):
    """The digest made here from the files that a row says it was made from, under the names of the first fitter."""
    rows = read_table(results / "group/multiverse.tsv", ("variant",)).fillna({"variant": ""})
    assert len(rows) == 8
    for row in rows.itertuples():
        root = results / "variants" / row.variant if row.variant else results / "derivatives/mrsflow"
        found = {}
        for key in KEYS:
            for ending in ("mrsfit.tsv", "fitquality.tsv", "terms.tsv"):
                word = {"mrsflow": "blocks", "lcmodel": "lcmodel"}[row.fitter]
                path = tables(root, key, f"desc-{word}_{ending}")
                found[path.name.replace(f"desc-{word}", "desc-blocks")] = checksum(path)
        assert row.fits == digest_of(found)
    assert rows.groupby(["fitter", "residual_water"])["fits"].nunique().tolist() == [1, 1, 1, 1]
    assert rows["fits"].nunique() == 4


def test_a_variant_is_the_study_whose_own_choices_it_has(results, shared, tmp_path):
    own = analyse(shared, tmp_path / "study", "fit", preprocess={"remove_water": False})
    for key in KEYS:
        for ending in ("desc-blocks_mrsfit.tsv", "desc-blocks_fitquality.tsv", "desc-blocks_quality.tsv"):
            alone = tables(own / "derivatives/mrsflow", key, ending).read_bytes()
            assert tables(results / "variants/water-kept", key, ending).read_bytes() == alone
            if "mrsfit" in ending:
                assert tables(results / "derivatives/mrsflow", key, ending).read_bytes() != alone
