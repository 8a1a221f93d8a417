"""A study pooled with published trials by the rule: the job, what it redoes, and what it says of a bad table."""

import fitted_trial
import numpy as np
import pytest
from stand_in import Project

from mrsflow import result_tables
from mrsflow.models import meta
from mrsflow.statistics import group
from mrsflow.study import config as study_config

pytestmark = pytest.mark.slow

GROUP = '''
"""Stand-in of the group step: the tables of a study that was analysed before."""
import shutil
from pathlib import Path

from mrsflow.run import run
from mrsflow.study import config as study_config
from mrsflow.study import layout, records


def main(config: str) -> None:
    settings = study_config.load(config)
    output = Path(settings["output"])
    written = [output / "group" / name for name in layout.group_files(settings)]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = Path("before") / path.name
        shutil.copy(before, path) if before.is_file() else path.write_text("none")
    with open("done.txt", "a") as done:
        done.write("group\\n")
    records.record_step(output, "group", written, settings["study"])


if __name__ == "__main__":
    run(main)
'''
PUBLISHED = (
    ("trial", "design", "unit", "n", "estimate", "se", "drug"),
    ("A", "crossover", "percent", "18", "-3.0", "1.0", "x"),
    ("B", "crossover", "percent", "20", "1.5", "1.2", "x"),
)


def publish(project, rows):
    text = "\n".join("\t".join(row) for row in rows) + "\n"
    (project.folder / "published.tsv").write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = fitted_trial.write(tmp_path_factory.mktemp("fitted") / "trial", n=8, group={"draws": 99})
    group.run(study_config.load(str(made.config)), [made.status])
    found = Project(tmp_path_factory.mktemp("pool") / "project with space", sessions=2, batch_size=2)
    (made.output / "group").rename(found.folder / "before")
    (found.folder / "scripts/group.py").write_text(GROUP)
    study = found.config["study"] | {"freeze": True}
    found.write_config(study=study, pool={"sources": ["published.tsv"]})
    publish(found, PUBLISHED)
    return found


def test_the_rule_pools_the_study_with_its_sources_once_and_again_when_they_change(project):
    done = project.snakemake("pool_studies", cores=1)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = project.folder / "results/pooled"
    trials = result_tables.read(folder / "pooled_trials.tsv")
    assert trials["trial"].tolist()[1:] == ["A", "B"]
    own = result_tables.read(project.folder / "before/contrasts.tsv").iloc[0]
    assert trials["estimate"][0] == pytest.approx(own["percent_of_baseline"], rel=1e-6)
    known = meta.fit(trials["estimate"], trials["se"] ** 2).contrast([1.0], 0.95)
    row = result_tables.read(folder / "pooled.tsv").iloc[0]
    assert (row["estimate"], row["se"], row["p"]) == pytest.approx((known.estimate, known.se, known.p), rel=1e-6)
    assert (folder / "index.html").read_text(encoding="utf-8").count("data:image/png;base64,") == 2
    assert "group" in project.done()
    first = (folder / "pooled.tsv").read_bytes()
    assert "Nothing to be done" in project.snakemake("pool_studies", cores=1).stderr
    publish(project, (*PUBLISHED, ("C", "crossover", "percent", "25", "-1.0", "0.8", "y")))
    again = project.snakemake("pool_studies", cores=1)
    assert again.returncode == 0 and project.done() == []
    assert (folder / "pooled.tsv").read_bytes() != first
    assert np.isfinite(result_tables.read(folder / "pooled.tsv")["estimate"][0])


def test_a_bad_source_is_a_line_of_the_job(project):
    publish(project, (*PUBLISHED, ("C", "crossover", "percent", "25", "-1.0", "0", "y")))
    done = project.snakemake("pool_studies", cores=1)
    assert done.returncode != 0
    log = (project.folder / "results/logs/pool_studies.log").read_text()
    assert "published.tsv, line 4 (C): se: 0.0 is less than or equal" in done.stderr + log
    project.write_config(pool={"sources": ["missing.tsv"]})
    done = project.snakemake("pool_studies", cores=1)
    assert done.returncode != 0 and "missing.tsv" in done.stderr and "Traceback" not in done.stderr
