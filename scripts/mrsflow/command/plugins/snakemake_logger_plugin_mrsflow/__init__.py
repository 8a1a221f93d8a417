"""Progress of a run as a plugin of Snakemake's logger: a line for each job that ended, and what is wrong.

Of a dry run what would be done, in one line.

Snakemake finds plugins by the names of modules; `mrsflow run` puts this folder on the path of its process.
"""

import re
import signal
import sys
import threading
from logging import WARNING, LogRecord

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from mrsflow.command.progress import Progress

NOISE = (
    "Building DAG", "Execute ", "Select jobs", "Using shell", "Provided ", "Rules claiming", "Complete log", "Assuming",
    "host: ", "RuleException", "Sched", "Removing temporary", "Touching", "Retr", "Shutting down", "Config file",
    "Finished jobid", "Conda environments", "Using workflow specific profile", "This was a dry-run", "Reasons:",
    "Exiting because a job", "At least one job did not complete", "Elapsed time",
    "Some jobs were triggered by provenance", "Rules with provenance triggered",
)  # fmt: skip
"""What plain lines begin with that tell a user nothing."""
STOPPED = "stopped"
"""What becomes of a job at Ctrl-C."""
PLACES = re.compile(r'^(WorkflowError.*:|\s*File ".*", line \d+, in .*)\n?', re.MULTILINE)
"""Lines of an error that say where in the rules it was raised."""


class LogHandler(LogHandlerBase):
    """Handler that writes a line for each job that ended."""

    def __post_init__(self) -> None:
        """Begin to count."""
        self.progress, self.planned, self.ended = Progress(), "", "failed"
        self.plain = DefaultFormatter(self.common_settings.quiet, self.common_settings.show_failed_logs)
        if threading.current_thread() is threading.main_thread():
            self._notice_interrupt()

    def _notice_interrupt(self) -> None:
        """Know of Ctrl-C at once: the jobs, which it ends too, may be heard of before Snakemake speaks of it."""
        before = signal.getsignal(signal.SIGINT)

        def interrupted(number: int, frame: object) -> None:
            self.ended = STOPPED
            before(number, frame)

        if callable(before):
            signal.signal(signal.SIGINT, interrupted)

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
            before, self.planned = self.planned, progress.plan(record.stats)
            return "" if before == self.planned else self.planned
        if event == LogEvent.JOB_INFO:
            progress.start(record.jobid, record.rule_name, record.rule_msg or record.rule_name)
            return ""
        if event == LogEvent.JOB_FINISHED:
            return progress.end(record.job_id)
        if event == LogEvent.JOB_ERROR:
            _, what, _ = progress.running.pop(record.jobid, ("", record.rule_name, 0.0))
            if self.ended == STOPPED:
                return f"{STOPPED}: {what}"
            return f"{self.ended}: {what}; see {', '.join(map(str, record.log)) or 'the lines above'}"
        if event is not None and record.levelno < WARNING:
            return ""
        text = PLACES.sub("", self.plain.format(record) or "").rstrip()
        return "" if text.lstrip().startswith(NOISE) else text

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False
