"""Rule describe_dataset: what describes the dataset as a whole."""

from pathlib import Path

from mrsflow.run import run


def main(config: str) -> None:
    """Write the dataset descriptions, participants, sessions and phenotype tables, and the voxels' overlap.

    A table says what sessions lack and will therefore not have. Until the analysis is frozen the tables hold codes in
    place of the arms.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    """
    from mrsflow import result_tables
    from mrsflow.conversion import bids, voxels
    from mrsflow.study import layout, masking, records
    from mrsflow.study.config import fitters_of, load
    from mrsflow.study.lacking import lacking
    from mrsflow.study.study import has_maps, read_study

    settings = load(config)
    study = masking.mask_study(read_study(settings), settings)
    output = Path(settings["output"])
    voxels.refuse_same_scan(study, output)
    keep = bids.named_columns(settings)
    name, keep_scans = settings["study"]["name"], settings["convert"]["keep_scans"]
    written = bids.describe(study, name, output, keep, keep_scans, fitters_of(settings)[1:])
    for name, columns in bids.left_out(study, keep).items():
        if columns:
            print(
                f"describe_dataset: of the {name} these stay inside: {', '.join(columns)} (convert.keep lets them out)"
            )
    written += voxels.write_overlap(study, output, settings["convert"]["minimum_voxel_dice"])
    without = []
    if has_maps(settings):
        from mrsflow.quantification.tissue_files import without_maps

        without = without_maps(study, settings)
    table = lacking(study, settings, without)
    path = layout.derivatives(output) / layout.SESSION_INPUTS
    written += result_tables.write(table, path, described=True)
    records.record_step(output, "describe_dataset", written)


if __name__ == "__main__":
    run(main)
