"""Libraries that an extra of this package brings, loaded where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hpcpgd.errors import UnavailableError


def library(name: str, extra: str) -> Any:
    """Return a module of a library that ``extra`` brings; UnavailableError without it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UnavailableError(
            f"{name.split('.')[0]} cannot be loaded: {error}: pip install 'hpcpgd[{extra}]'"
        ) from None
