"""``python -m mrsflow``: the command."""

from mrsflow.command.cli import main

main()
