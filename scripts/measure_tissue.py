"""Rule measure_tissue: what the voxels of a session hold."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path) -> None:
    """Measure the tissue in the voxels of sessions, and look up other maps that the study names.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to measure, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    """
    from mrsflow.quantification import map_files, tissue_files
    from mrsflow.study import records
    from mrsflow.study.config import load
    from mrsflow.study.study import has_maps, read_study, segmenter

    settings = load(config)
    study = read_study(settings, sessions)
    output = Path(settings["output"])
    rows = study.samples.groupby("key")
    others, of_tissue = settings["inputs"]["maps"], has_maps(settings)
    maps = tissue_files.maps_of_sessions(sessions, study, settings)
    images = {key: next((raw[0] for raw in own.loc[own["role"] == "T1w", "raw"]), None) for key, own in rows}

    program = segmenter(settings)

    def segments(key: str) -> bool:
        return program not in ("none", "auto") and images[key] is not None and maps[key] is None

    def measure(item: records.Work) -> list[Path]:
        converted, key = records.outputs_of(output, "convert", item.key), item.key
        written = map_files.measure_session(key, converted, others, output) if others else []
        if of_tissue:
            segment = program if segments(key) else None
            own = (converted, maps[key], images[key], segment, item.settings["protocols"])
            written += tissue_files.of_session(key, *own, settings, output)
        return written

    def work_of(key: str) -> records.Work:
        own, found = rows.get_group(key), maps[key]
        names = sorted(set(own.loc[own["role"] == "svs", "protocol"]))
        inputs = [*(found.paths.values() if found else ()), *([images[key]] if images[key] else ())]
        inputs += tissue_files.transforms_of(key, settings)
        said = {"program": found.program, "of_session": found.of_session} if found else {}
        protocols = {name: settings["protocols"][name] for name in names}
        counted = {"maps": said, "of_tissue": of_tissue, "protocols": protocols, "others": others}
        if segments(key):
            counted["segment"] = program
        return records.Work(key, [*inputs, *map_files.files_of(key, others)], counted, after="convert")

    work = [work_of(key) for key in sessions]
    stop = settings["on_error"] == "stop"
    records.each_session("measure_tissue", work, measure, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
