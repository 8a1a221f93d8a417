"""Clock times as tables give them, ``HH:MM:SS``."""

SECONDS_PER_DAY = 86_400


def clock(text: str) -> float:
    """Seconds since midnight of a clock time.

    >>> clock("10:30:02.5")
    37802.5
    """
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def clock_time(seconds: float) -> str:
    """Clock time of seconds since midnight, of any day.

    >>> clock_time(86_400 + 37802.5)
    '10:30:02.500'
    """
    seconds %= SECONDS_PER_DAY
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def seconds_between(start: str, end: str) -> float:
    """Seconds from one clock time to another, at most half a day either way.

    >>> seconds_between("23:50:00", "00:10:00"), seconds_between("10:45:00", "10:00:00")
    (1200.0, -2700.0)
    """
    half = SECONDS_PER_DAY / 2
    return (clock(end) - clock(start) + half) % SECONDS_PER_DAY - half
