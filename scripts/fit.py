"""Rule fit: linear-combination fit of every block."""

from functools import partial
from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path, variant: str = "") -> None:
    """Fit the blocks of sessions and write amplitudes, quality and curves.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    sessions : list of str
        Sessions to fit, as sub-X_ses-Y.
    status : Path
        Table to write: what happened to each session.
    variant : str
        Name of the choices in the configuration, where they are not the study's own (group.multiverse).
    """
    from mrsflow.quantification.fit_files import fit_session_files
    from mrsflow.study import layout, records, regressors, session_facts, variants
    from mrsflow.study.config import load, macromolecules_of, needs_mean
    from mrsflow.study.study import NO_SPECTRA, has_maps, read_study

    settings = load(config)
    study = read_study(settings, sessions)
    rows = study.samples
    samples, nulled = rows.query("role == 'svs'"), set(rows.query("role == 'mm'")["key"])
    output = Path(settings["output"])
    before, stage = (variants.stage_of(name, variant) for name in ("preprocess", "fit"))

    def bases(key: str) -> dict[str, Path]:
        names = sorted(set(samples.loc[samples["key"] == key, "protocol"]))
        return {name: output / "basis" / variants.basis_of(variant) / f"{name}.BASIS" for name in names}

    def source(key: str) -> dict[str, str | None]:
        return {name: macromolecules_of(settings["protocols"][name]) for name in bases(key)}

    def means(key: str) -> list[Path]:
        """Mean macromolecules of the study, where a session takes them."""
        names = [name for name in bases(key) if needs_mean(settings["protocols"][name], key in nulled)]
        return [output / "basis" / f"{name}_macromolecules.nii.gz" for name in names]

    measured_tissue = has_maps(settings)

    def tissue(key: str) -> list[Path] | None:
        """Tables of what its voxels hold; None where the study has no maps of tissue."""
        record = records.read_record(output, "measure_tissue", key) or {"outputs": {}}
        named = [output / name for name in record["outputs"] if name.endswith(layout.TISSUE)]
        return named if measured_tissue else None

    def events(key: str) -> list[Path]:
        """Events tables of a session, where regressors are made of them."""
        record = records.read_record(output, "convert", key) or {"outputs": {}}
        used = record["outputs"] if settings["fit"]["regressors"] else ()
        return [output / name for name in used if name.endswith("_events.tsv")]

    def fit(item: records.Work) -> list[Path]:
        if not bases(item.key):
            raise records.Skipped(NO_SPECTRA)
        written = records.outputs_of(output, before, item.key)
        own = [path for path in written if path.name.endswith(layout.MACROMOLECULES)]
        measured = means(item.key) or (own if "measured" in source(item.key).values() else [])
        row, event = item.settings["row"], settings["blocks"]["event"]
        facts = partial(session_facts.facts_of, item.key, settings["fit"], event, events(item.key), row)
        own = (bases(item.key), item.settings, next(iter(measured), None), tissue(item.key), facts)
        folder = layout.scans_folder(variants.root_of(output, variant), item.key)
        return fit_session_files(item.key, written, *own, folder=folder)

    def work_of(key: str) -> records.Work:
        given = [*regressors.files_of(settings["fit"]), *events(key)]
        inputs = [*bases(key).values(), *means(key), *(tissue(key) or []), *given]
        own = {
            "macromolecules": source(key),
            "event": settings["blocks"]["event"],
            "row": session_facts.row_of(study.sessions, study.participants, settings["fit"], key),
        }
        return records.Work(key, inputs, settings["fit"] | own, after=before)

    work = [work_of(key) for key in sessions]
    stop = settings["on_error"] == "stop"
    records.each_session(stage, work, fit, output, status, records.code_of(__file__), stop)


if __name__ == "__main__":
    run(main)
