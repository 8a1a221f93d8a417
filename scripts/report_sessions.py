"""Write the page of each session."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path) -> None:
    """Write the page of each session: what went in, alignment, fits, metabolites, quality and processing.

    A session that failed at an earlier stage gets a page too, with the reason.

    Parameters
    ----------
    config : str
        YAML file, or JSON text with at least `output`, `on_error`, `study` and `quality`.
    sessions : list of str
        Sessions, sub-<participant>_ses-<session>.
    status : Path
        Table to write: session, status, reason.
    """
    from mrsflow.reporting import session_page
    from mrsflow.study import config as study_config
    from mrsflow.study import records

    settings = study_config.load(config)
    output = Path(settings["output"])
    counted = {"name": settings["study"]["name"], "rules": settings["quality"]["rules"]}
    work = [records.Work(key, session_page.sources(output, key), counted) for key in sessions]
    records.each_session(
        "report_sessions",
        work,
        lambda item: [session_page.write(output, item.key, settings)],
        output,
        status,
        records.code_of(__file__),
        settings["on_error"] == "stop",
    )


if __name__ == "__main__":
    run(main)
