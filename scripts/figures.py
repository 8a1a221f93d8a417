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
    from mrsflow.reporting import group_figures, group_read
    from mrsflow.study import config as study_config
    from mrsflow.study import layout, records

    settings = study_config.load(config)
    output = Path(settings["output"])
    group_figures.draw_all(group_read.load(settings), output / "figures")
    records.record_step(output, "figures", [output / "figures" / name for name in layout.figure_files()])


if __name__ == "__main__":
    run(main)
