"""TOML that others may have written: read within bounds of memory and time."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hpcpgd.errors import ConfigError

MOST_BYTES = 2**18  # of a file: a hundred times what any of ours needs
# What may hold dots that part no keys: comments and texts.  One that is open ends with its line.
_TEXT = re.compile(
    r'''#[^\n]*|"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'{3}.*?(?:\'{3}|\Z)'''
    r"""|"(?:[^"\\\n]|\\.)*+"?|\'[^\'\n]*\'?""",
    re.DOTALL,
)
# tomllib takes time and memory in the square of a key's parts.
_DEEP = re.compile(r"(?:(?<![\w-])[\w-]+[ \t]*\.[ \t]*){32}")


def parse(text: str) -> dict[str, Any]:
    """Return the tables of a text.

    Raises
    ------
    ValueError
        If it is no TOML, or goes beyond what any file of ours needs.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    if _DEEP.search(_TEXT.sub("x", text)):
        raise ValueError("a key has more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("lists or tables within each other, too many") from None


def read_document(path: str, what: str) -> dict[str, Any]:
    """Return the tables of the TOML file that ``what`` names.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no TOML.
    """
    try:
        with Path(path).open("rb") as file:  # perhaps a pipe
            return parse(file.read(MOST_BYTES + 1).decode("utf-8-sig"))  # Windows marks its files
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, not UTF-8, a number too long
        raise ConfigError(f"{what} {path}: not a TOML file: {error}") from None
