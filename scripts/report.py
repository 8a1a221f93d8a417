"""Write the page of the study."""

from pathlib import Path

from mrsflow.run import run


def main(config: str) -> None:
    """Write <output>/report/index.html from the group tables, figures and records, with methods text and references.

    Parameters
    ----------
    config : str
        YAML file or JSON text.
    """
    from mrsflow.reporting import group_page
    from mrsflow.study import config as study_config
    from mrsflow.study import records

    settings = study_config.load(config)
    folder = group_page.write(settings).parent
    written = [path for path in folder.iterdir() if not path.name.startswith(("sub-", "."))]
    records.record_step(Path(settings["output"]), "report", written)


if __name__ == "__main__":
    run(main)
