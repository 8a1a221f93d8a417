"""The one exception that speaks to users."""


class InputError(Exception):
    """A file, table or setting cannot be used.

    The message is one line: what was found, what is needed, what to change. It names the file and the row or
    key, and never carries a value that could identify a person.
    """
