"""Versions of installed packages, asked without importing them; which of the optional ones there are."""

import importlib.metadata
from contextlib import suppress
from functools import cache

TISSUE = ("simpleitk", "nilearn")
"""What segments and aligns: the extra ``tissue``."""
FACES = ("simpleitk", "pydeface")
"""What finds faces: the extra ``anatomy``."""


@cache
def versions(names: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of packages, None where one is not installed."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
