"""Command lines made from the signature and docstring of a script's ``main``."""

import argparse
import inspect
import json
import logging
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError, without_hidden
from mrsflow.files import full_disk

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """Tracebacks with the last two parts of each path, as logs are outputs: no absolute path, nothing hidden."""

    def format(self, record: logging.LogRecord) -> str:
        return without_hidden(super().format(record))

    def formatException(self, ei: Any) -> str:
        return re.sub(r'File "/[^"]*?/([^/"]+/[^/"]+)"', r'File "\1"', super().formatException(ei))


def run(main: Callable[..., Any], argv: list[str] | None = None) -> None:
    """Run `main` with options made from its signature, and exit.

    Parameters
    ----------
    main : callable
        Its parameters become ``--kebab-case`` options (required where there is no default), its numpy docstring
        the help. Understood annotations: str, int, float, bool (``--x/--no-x``), Path, Literal, ``list[T]`` and
        ``tuple[T, ...]`` (several values), ``dict[str, str]`` (KEY=VALUE, several), dict (JSON text), and
        ``T | None``.
    argv : list of str, optional
        Instead of the process's own arguments.

    Notes
    -----
    Every script also has ``--log FILE``: progress and, after a failure, the traceback. On the terminal a failure
    is exactly one line. Exit status 0 after success, 1 after any failure, 2 when the command line is wrong.
    """
    silence_readers()
    parser = build_parser(main)
    options = vars(parser.parse_args(argv))
    log = options.pop("log")
    logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, is no reason for a traceback
    if log is not None:
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(log, mode="w")
            handler.setFormatter(_Formatter(LOG_FORMAT))
            logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
        except OSError as error:
            sys.exit(f"error: {log}: the log cannot be written ({error.strerror})")
    else:
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        logging.getLogger("mrsflow").addHandler(logging.NullHandler())
    arguments = {
        name: dict(item.split("=", 1) for item in value) if _kind(main, name) == dict[str, str] and value else value
        for name, value in options.items()
    }
    try:
        main(**arguments)
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except Exception as error:
        logging.getLogger("mrsflow").info("stopped", exc_info=error)
        sys.exit(f"error: {_said(error, log)}")


def silence_readers() -> None:
    """Keep remarks of the DICOM reader off terminal and log: they repeat values of headers, which may name people."""
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").addFilter(_is_error)  # it sets its level itself


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _said(error: Exception, log: Path | None) -> str:
    """One line on what stopped a script and what to do."""
    if full := full_disk(error):
        return f"{full}; free space there, then run the same command again (what is finished stays)"
    if isinstance(error, InputError):
        return one_line(error)
    if isinstance(error, ModuleNotFoundError):
        return (
            f"package {error.name} is not installed for {sys.executable}; "
            "use the environment of the project (make env, then .venv/bin/python)"
        )
    where = f"see {log}" if log else "run again with --log FILE for the details"
    return f"unexpected {type(error).__name__}: {one_line(error)} ({where})"


def one_line(error: object) -> str:
    """Fold a message to a single line."""
    return " ".join(str(error).split())


def build_parser(main: Callable[..., Any]) -> argparse.ArgumentParser:
    """Make the argument parser of a script's `main`."""
    documentation = inspect.getdoc(main) or ""
    parser = argparse.ArgumentParser(
        description=documentation.split("\n\nParameters\n", 1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    described = _parameter_help(documentation)
    for name, parameter in inspect.signature(main).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        settings: dict[str, Any] = {
            "required": required,
            "default": None if required else parameter.default,
            "help": described.get(name, "").replace("%", "%%") + ("" if required else " (default: %(default)s)"),
        }
        parser.add_argument(f"--{name.replace('_', '-')}", **settings, **_conversion(_kind(main, name)))
    parser.add_argument("--log", type=Path, help="file for progress and, after a failure, the traceback")
    return parser


def _kind(main: Callable[..., Any], name: str) -> Any:
    kind = typing.get_type_hints(main)[name]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _conversion(kind: Any) -> dict[str, Any]:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if origin is typing.Literal:
        return {"choices": parts}
    if origin is list:
        return {"nargs": "+", "type": parts[0]}
    if origin is tuple:
        return {"nargs": len(parts), "type": parts[0]}
    if kind == dict[str, str]:
        return {"nargs": "+", "type": _key_value, "metavar": "KEY=VALUE", "action": "extend"}
    if kind is dict:
        return {"type": json.loads, "metavar": "JSON"}
    return {"type": kind}


def _key_value(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return text


def _parameter_help(documentation: str) -> dict[str, str]:
    """Descriptions of the parameters in a numpy docstring."""
    section = re.search(r"\nParameters\n-+\n(.*?)(?:\n\n[A-Z]\w+\n-+\n|\Z)", documentation, re.DOTALL)
    found: dict[str, str] = {}
    name = None
    for line in section.group(1).splitlines() if section else []:
        if line and not line.startswith(" "):
            name = line.split(":")[0].strip()
            found[name] = ""
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
