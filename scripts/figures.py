"""Draw the figures of the study."""

from pathlib import Path

from mrsflow.run import run


def main(config: str) -> None:
    """Draw every figure of the study to <output>/figures, as PNG, SVG and PDF, with an index, figures.json.

    Parameters
    ----------
    config : str
        YAML file or JSON text.
    """
    from mrsflow import config as study_config
    from mrsflow.reporting import group_figures, group_read

    settings = study_config.load(config)
    group_figures.draw_all(group_read.load(settings), Path(settings["output"]) / "figures")


if __name__ == "__main__":
    run(main)
