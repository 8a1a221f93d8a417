"""The one exception that speaks to users."""


class InputError(Exception):
    """A file, table or setting cannot be used.

    The message is one line: what was found, what is needed, what to change. It names the file and the row or
    key, and never carries a value that could identify a person.
    """


_HIDDEN: dict[str, str] = {}


def hide(text: str, shown: str) -> None:
    """Let `text`, such as a folder named after a person, be `shown` otherwise in logs and in what is kept of errors."""
    _HIDDEN[text] = shown


def without_hidden(text: str) -> str:
    """Text in which what is to be hidden is not shown.

    >>> hide("raw/DOE_JANE/", "")
    >>> without_hidden("raw/DOE_JANE/a.dat: is empty")
    'a.dat: is empty'
    """
    for hidden in sorted(_HIDDEN, key=len, reverse=True):
        text = text.replace(hidden, _HIDDEN[hidden])
    return text
