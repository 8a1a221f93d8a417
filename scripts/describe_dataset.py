"""Rule describe_dataset: what describes the dataset as a whole."""

from pathlib import Path

from mrsflow.run import run


def main(config: str) -> None:
    """Write the dataset descriptions, participants, sessions and phenotype tables, and the voxels' overlap.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    """
    from mrsflow import bids, voxels
    from mrsflow.config import load, read_study

    settings = load(config)
    study = read_study(settings)
    output = Path(settings["output"])
    bids.describe(study, settings["study"]["name"], output)
    voxels.write_overlap(study, output, settings["convert"]["minimum_voxel_dice"])


if __name__ == "__main__":
    run(main)
