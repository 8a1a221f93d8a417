"""The mixed models of a study, fitted by R beside ours."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, out: Path) -> None:
    """Fit the primary, participant-only and clinical models with R's lmerTest and pbkrtest and print the differences.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text; the group tables of its output folder are read.
    out : path
        Table to write: ours, R's and the difference of every quantity.
    """
    import pandas as pd

    from mrsflow.files import write_table
    from mrsflow.models import compare_r
    from mrsflow.statistics import group
    from mrsflow.study.config import load

    models = group.models_of(load(config))
    rows = pd.DataFrame(compare_r.differences(models, compare_r.fit_in_r(models)))
    write_table(rows, out)
    for quantity, part in rows.groupby("quantity", sort=False):
        worst = part.loc[part["difference"].idxmax()]
        print(f"largest difference in {quantity}: {worst['difference']:.1e} ({worst['model']} {worst['effect']})")


if __name__ == "__main__":
    run(main)
