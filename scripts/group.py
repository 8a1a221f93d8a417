"""Group tables and statistics of a study."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, status: list[Path] | None = None) -> None:
    """Analyse the finished sessions of a study and write the tables of the whole group.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    status : list of path, optional
        Batch tables of the fit stage, of which the sessions with status ok are read; by default every session of the
        study that was fitted.
    """
    from threadpoolctl import threadpool_limits

    from mrsflow.statistics import group
    from mrsflow.study import layout, records
    from mrsflow.study.config import load

    settings = load(config)
    output = Path(settings["output"])
    with threadpool_limits(1):
        headline = group.run(settings, status)
    records.record_step(output, "group", [output / "group" / name for name in layout.group_files(settings)])
    if reason := headline.get("reason"):
        print(f"group: no primary result: {reason}")


if __name__ == "__main__":
    run(main)
