"""What is done and left of a run, counted from the events of its jobs."""

import time
from collections import Counter, defaultdict
from typing import Any


class Progress:
    """What is done and left of a run.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Any = time.monotonic):
        self.clock, self.started = clock, clock()
        self.left: Counter[str] = Counter()
        self.total, self.done = 0, 0
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.running: dict[int, tuple[str, str, float]] = {}

    def plan(self, stats: dict[str, int]) -> str:
        """Take the number of jobs of each rule; gives a line that names them."""
        self.left = Counter({rule: n for rule, n in stats.items() if rule not in ("total", "all")})
        self.total, self.done, self.started = sum(self.left.values()), 0, self.clock()
        return f"{self.total} jobs: " + ", ".join(f"{n} {rule}" for rule, n in self.left.items())

    def start(self, job: int, rule: str, what: str) -> None:
        """Note that a job has begun, `what`: in words."""
        self.running[job] = (rule, what, self.clock())

    def end(self, job: int) -> str:
        """Note that a job has ended; gives the line that says so, empty for one that nobody started."""
        rule, what, began = self.running.pop(job, ("", "", 0.0))
        if rule in ("", "all"):
            return ""
        took = self.clock() - began
        self.took[rule].append(took)
        self.left[rule] -= 1
        self.done += 1
        left = self.seconds_left()
        said = "" if left is None or self.done >= self.total else f", about {in_words(left)} left"
        return f"{self.done:>{len(str(self.total))}}/{self.total}  {what} ({in_words(took)}{said})"

    def seconds_left(self) -> float | None:
        """Time that the jobs left will take, as those before took; None while a rule of many jobs has not ended any."""
        known = {rule: sum(took) / len(took) for rule, took in self.took.items()}
        if any(n > 2 and rule not in known for rule, n in self.left.items()):
            return None
        spent = sum(sum(took) for took in self.took.values())
        mean = spent / max(self.done, 1)
        at_once = max(1.0, spent / max(self.clock() - self.started, 1e-9))
        return sum(n * known.get(rule, mean) for rule, n in self.left.items() if n > 0) / at_once


def in_words(seconds: float) -> str:
    """Write a time as people say it.

    >>> in_words(3.4), in_words(150), in_words(5400)
    ('3 s', '2 min', '1 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
