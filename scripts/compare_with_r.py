"""What the group page of a study shows, fitted by R beside."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, out: Path) -> None:
    """Fit the contrasts of a study with R's lmerTest and pbkrtest and print how far they are from those of the page.

    R gets the blocks, the sessions and the declared design, and no formula of ours.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text; the group tables of its output folder are read.
    out : path
        Table to write: the page's, R's and the difference of every quantity.
    """
    import pandas as pd

    from mrsflow import result_tables
    from mrsflow.errors import InputError
    from mrsflow.files import write_table
    from mrsflow.models import compare_r
    from mrsflow.statistics import clinical, group
    from mrsflow.statistics.plan import plan_of
    from mrsflow.study.config import load

    settings = load(config)
    if not settings["study"]["freeze"]:
        raise InputError("arms are masked; set study.freeze to true when the analysis is final")
    folder = Path(settings["output"]) / "group"
    located, _, study = group.find(settings)
    trial, _ = group.load(settings, study, located)
    beside = result_tables.read(folder / "sensitivity.tsv")
    carried = beside[beside["analysis"].isin(compare_r.CARRIED)]
    shown = [*result_tables.read(folder / "contrasts.tsv").to_dict("records"), *carried.to_dict("records")]
    contrasts = {contrast.name: contrast.of for contrast in plan_of(settings).contrasts}
    contrasts |= {clinical.FOLLOWED: {}} if settings["study"]["design"] == "single_arm" else {}
    found = compare_r.answers(settings, trial.estimand.kind, contrasts, trial.sessions, trial.blocks, shown)
    rows = pd.DataFrame(compare_r.differences(shown, found))
    write_table(rows, out)
    left = rows[rows["quantity"].isna()]
    print(f"{len(shown) - len(left)} of {len(shown)} rows of the page fitted in R")
    for quantity, part in rows.dropna(subset=["quantity"]).groupby("quantity", sort=False):
        worst = part.loc[part["difference"].idxmax()]
        print(f"largest difference in {quantity}: {worst['difference']:.1e} ({worst['analysis']}, {worst['contrast']})")
    for row in left.to_dict("records"):
        print(f"{row['analysis']}, {row['outcome']}, {row['contrast']}: {row['remark']}")


if __name__ == "__main__":
    run(main)
