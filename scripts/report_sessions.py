"""Write the page of each session."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, sessions: list[str], status: Path, outcome: str = "", before: str = "", after: str = "") -> None:
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
    outcome : str
        Outcome that the pages show first; by default `group.outcome` of the configuration.
    before, after : str
        Sessions before the first and after the last, to which the pages link.
    """
    from mrsflow.reporting import session_page
    from mrsflow.study import config as study_config
    from mrsflow.study import records

    settings = study_config.load(config)
    output = Path(settings["output"])
    settings["group"] = settings.get("group", {}) | ({"outcome": outcome} if outcome else {})
    around = dict(zip(sessions, zip([before, *sessions[:-1]], [*sessions[1:], after], strict=True), strict=True))
    counted = {
        "name": settings["study"]["name"],
        "rules": settings["quality"]["rules"],
        "outcome": settings["group"]["outcome"],
        "ppm": settings["fit"]["ppm"],
    }
    work = [records.Work(k, session_page.sources(output, k), counted | {"around": around[k]}) for k in sessions]
    records.each_session(
        "report_sessions",
        work,
        lambda item: [session_page.write(output, item.key, settings, around[item.key])],
        output,
        status,
        records.code_of(__file__),
        settings["on_error"] == "stop",
    )


if __name__ == "__main__":
    run(main)
