"""``python -m mrsflow``: the command."""

from mrsflow.command.cli import main

if __name__ == "__main__":
    main()
