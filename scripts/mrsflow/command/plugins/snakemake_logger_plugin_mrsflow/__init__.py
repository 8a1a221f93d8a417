"""Progress of a run as a plugin of Snakemake's logger: a line for each job that ended, and what is wrong.

Snakemake finds plugins by the names of modules; `mrsflow run` puts this folder on the path of its process.
"""

import sys
from logging import WARNING, LogRecord

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from mrsflow.command.progress import Progress

NOISE = (
    "Building DAG", "Execute ", "Select jobs", "Using shell", "Provided ", "Rules claiming", "Complete log", "Assuming",
    "host: ", "RuleException", "Sched", "Removing temporary", "Touching", "Retr", "Shutting down", "Config file",
    "Finished jobid", "Conda environments", "Using workflow specific profile",
)  # fmt: skip
"""What plain lines begin with that tell a user nothing."""


class LogHandler(LogHandlerBase):
    """Handler that writes a line for each job that ended."""

    def __post_init__(self) -> None:
        """Begin to count."""
        self.progress = Progress()
        self.plain = DefaultFormatter(self.common_settings.quiet, self.common_settings.show_failed_logs)

    def emit(self, record: LogRecord) -> None:
        """Write the line that an event is worth, if it is worth one."""
        try:
            if line := self.line_of(record):
                print(line, file=sys.stderr, flush=True)
        except Exception:  # progress must never end a run
            self.handleError(record)

    def line_of(self, record: LogRecord) -> str:
        """Line of an event; empty where it tells a user nothing."""
        event, progress = getattr(record, "event", None), self.progress
        if event == LogEvent.RUN_INFO:
            return progress.plan(record.stats)
        if event == LogEvent.JOB_INFO:
            progress.start(record.jobid, record.rule_name, record.rule_msg or record.rule_name)
            return ""
        if event == LogEvent.JOB_FINISHED:
            return progress.end(record.job_id)
        if event == LogEvent.JOB_ERROR:
            _, what, _ = progress.running.pop(record.jobid, ("", record.rule_name, 0.0))
            return f"failed: {what}; see {', '.join(map(str, record.log)) or 'the lines above'}"
        if event is not None and record.levelno < WARNING:
            return ""
        text = self.plain.format(record) or ""
        return "" if text.lstrip().startswith(NOISE) else text

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False
