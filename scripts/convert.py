"""Rule convert: raw scanner files to a BIDS dataset."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path) -> None:
    """Convert the raw files of sessions to checked NIfTI-MRS files in BIDS, identities removed.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to convert, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    """
    from mrsflow.conversion.convert import convert_session, work_of
    from mrsflow.study import records
    from mrsflow.study.config import load
    from mrsflow.study.study import read_study

    settings = load(config)
    study = read_study(settings, sessions)
    output = Path(settings["output"])
    work = [work_of(key, study, settings) for key in sessions]

    def convert(item: records.Work) -> list[Path]:
        return convert_session(item.key, study, settings, output)

    stop = settings["on_error"] == "stop"
    records.each_session("convert", work, convert, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
