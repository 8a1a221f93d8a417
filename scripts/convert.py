"""Rule convert: raw scanner files to a BIDS dataset."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path, scans: Path | None = None) -> None:
    """Convert the raw files of sessions to checked NIfTI-MRS files in BIDS, identities removed.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to convert, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    scans : Path
        Folder for the scans where the dataset does not keep them (convert.keep_scans); without it they are not written.
    """
    from mrsflow.conversion.convert import convert_session, work_of
    from mrsflow.study import records
    from mrsflow.study.config import load
    from mrsflow.study.study import read_study

    settings = load(config)
    study = read_study(settings, sessions)
    output = Path(settings["output"])
    work = [work_of(key, study, settings, scans) for key in sessions]
    if scans is not None:
        scans.mkdir(parents=True, exist_ok=True)

    def convert(item: records.Work) -> list[Path]:
        return convert_session(item.key, study, settings, output, scans)

    stop = settings["on_error"] == "stop"
    records.each_session("convert", work, convert, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
