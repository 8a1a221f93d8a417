"""Write the page of the study."""

from mrsflow.run import run


def main(config: str) -> None:
    """Write <output>/report/index.html from the group tables, figures and records, with methods text and references.

    Parameters
    ----------
    config : str
        YAML file or JSON text.
    """
    from mrsflow import config as study_config
    from mrsflow.reporting import group_page

    group_page.write(study_config.load(config))


if __name__ == "__main__":
    run(main)
