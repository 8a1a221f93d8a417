"""Rule preprocess: coils and transients to clean blocks."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path, scans: Path | None = None, variant: str = "") -> None:
    """Combine coils, align transients, average blocks, correct eddy currents and remove residual water.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to preprocess, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    scans : Path
        Folder of the converted scans where the dataset does not keep them (convert.keep_scans).
    variant : str
        Name of the choices in the configuration, where they are not the study's own (group.multiverse).
    """
    from mrsflow.preprocessing.session_files import preprocess_session
    from mrsflow.study import layout, records, variants
    from mrsflow.study.config import load
    from mrsflow.study.study import read_study

    settings = load(config)
    samples = read_study(settings, sessions).samples.query("role == 'svs'")
    output = Path(settings["output"])

    def own(key: str) -> dict:
        names = sorted(set(samples.loc[samples["key"] == key, "protocol"]))
        sections = {name: settings[name] for name in ("blocks", "preprocess")}
        return {**sections, "protocols": {name: settings["protocols"][name] for name in names}}

    def preprocess(item: records.Work) -> list[Path]:
        converted = records.outputs_of(output, "convert", item.key)
        if item.takes is not None:
            converted = sorted(item.takes.iterdir())
        return preprocess_session(item.key, converted, item.settings, output, variant)

    def left(key: str) -> Path | None:
        return None if scans is None else layout.scans_folder(scans, key)

    work = [records.Work(key, [], own(key), after="convert", takes=left(key)) for key in sessions]
    stage, stop = variants.stage_of("preprocess", variant), settings["on_error"] == "stop"
    records.each_session(stage, work, preprocess, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
