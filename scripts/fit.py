"""Rule fit: linear-combination fit of every block."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path) -> None:
    """Fit the blocks of sessions and write amplitudes, quality and curves.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to fit, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    """
    from mrsflow import records
    from mrsflow.config import load, read_study
    from mrsflow.fitting.fit_files import fit_session_files

    settings = load(config)
    samples = read_study(settings, sessions).samples.query("role == 'svs'")
    output = Path(settings["output"])

    def bases(key: str) -> dict[str, Path]:
        names = sorted(set(samples.loc[samples["key"] == key, "protocol"]))
        return {name: output / "basis" / f"{name}.BASIS" for name in names}

    def fit(item: records.Work) -> list[Path]:
        written = records.outputs_of(output, "preprocess", item.key)
        return fit_session_files(item.key, written, bases(item.key), item.settings)

    work = [records.Work(key, list(bases(key).values()), settings["fit"], after="preprocess") for key in sessions]
    stop = settings["on_error"] == "stop"
    records.each_session("fit", work, fit, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
