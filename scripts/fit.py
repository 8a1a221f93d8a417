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
    from mrsflow.config import load, macromolecules_of, needs_mean, read_study
    from mrsflow.fitting.fit_files import fit_session_files

    settings = load(config)
    rows = read_study(settings, sessions).samples
    samples, nulled = rows.query("role == 'svs'"), set(rows.query("role == 'mm'")["key"])
    output = Path(settings["output"])

    def bases(key: str) -> dict[str, Path]:
        names = sorted(set(samples.loc[samples["key"] == key, "protocol"]))
        return {name: output / "basis" / f"{name}.BASIS" for name in names}

    def macromolecules(key: str) -> Path | None:
        """File that has the macromolecules of a session, where scans of the study have them."""
        for name in bases(key):
            if needs_mean(settings["protocols"][name], key in nulled):
                return output / "basis" / f"{name}_macromolecules.nii.gz"
            if macromolecules_of(settings["protocols"][name]) == "measured":
                written = records.outputs_of(output, "preprocess", key)
                return next(path for path in written if path.name.endswith("_desc-macromolecules_svs.nii.gz"))
        return None

    def fit(item: records.Work) -> list[Path]:
        written = records.outputs_of(output, "preprocess", item.key)
        return fit_session_files(item.key, written, bases(item.key), item.settings, macromolecules(item.key))

    def inputs(key: str) -> list[Path]:
        means = [name for name in bases(key) if needs_mean(settings["protocols"][name], key in nulled)]
        return [*bases(key).values(), *(output / "basis" / f"{name}_macromolecules.nii.gz" for name in means)]

    def own(key: str) -> dict:
        sources = {name: macromolecules_of(settings["protocols"][name]) for name in bases(key)}
        return {**settings["fit"], "macromolecules": sources}

    work = [records.Work(key, inputs(key), own(key), after="preprocess") for key in sessions]
    stop = settings["on_error"] == "stop"
    records.each_session("fit", work, fit, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
