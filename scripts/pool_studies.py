"""Finished studies and published trials pooled."""

from pathlib import Path
from typing import Literal

from mrsflow.run import run


def main(
    sources: list[Path],
    out: Path,
    measure: Literal["percent", "difference", "standardised"] = "percent",
    contrast: str | None = None,
    outcome: str | None = None,
    moderators: list[str] = (),
    level: float = 0.95,
    one_stage: bool = False,
    covariates: list[str] = (),
) -> None:
    """Pool trials by random effects and write a page with tables and figures.

    Parameters
    ----------
    sources : list of path
        Folders of outputs of mrsflow, and tables of published trials (docs/pooling.md has their columns).
    out : path
        Folder of index.html, pooled.tsv, pooled_trials.tsv, forest and funnel.
    measure : {"percent", "difference", "standardised"}
        What is pooled: percent of the baseline, differences in one unit, or Hedges' g.
    contrast : str, optional
        Contrast of the studies, where they have several.
    outcome : str, optional
        Outcome of the studies; by default the primary one of each.
    moderators : list of str, optional
        Of drug, cohort, field_t, voxel, sequence and dose; each in a model of its own.
    level : float
        Of intervals.
    one_stage : bool
        Put the participants of all studies of mrsflow into one model as well.
    covariates : list of str, optional
        Columns of numbers of their participants, which may change the effect, within trials and between them.
    """
    from mrsflow.reporting import pool_page

    print(pool_page.write(sources, out, measure, contrast, outcome, moderators, level, one_stage, covariates))


if __name__ == "__main__":
    run(main)
