"""TOML files, which may be malicious: read within bounds of memory and time."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hpcpgd.errors import ConfigError

MOST_BYTES = 2**18  # of a file: a hundred times the size of a usual one
# Comments and strings, whose dots separate no keys.  An unclosed string ends with its line.
_TEXT = re.compile(
    r'''#[^\n]*|"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'{3}.*?(?:\'{3}|\Z)'''
    r"""|"(?:[^"\\\n]|\\.)*+"?|\'[^\'\n]*\'?""",
    re.DOTALL,
)
# The time and memory of tomllib grow with the square of the number of a key's parts.
_DEEP = re.compile(r"(?:(?<![\w-])[\w-]+[ \t]*\.[ \t]*){32}")


def parse(text: str) -> dict[str, Any]:
    """Return the tables of a text.

    Raises
    ------
    ValueError
        If the text is not TOML, is too long, or nests too deeply.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    if _DEEP.search(_TEXT.sub("x", text)):
        raise ValueError("a key has more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("lists or tables are nested too deeply") from None


def read_document(path: str, what: str) -> dict[str, Any]:
    """Return the tables of the TOML file at ``path``; ``what`` names its option, for messages.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not TOML.
    """
    try:
        with Path(path).open("rb") as file:  # may be a pipe
            # Editors on Windows may begin a file with a byte-order mark.
            return parse(file.read(MOST_BYTES + 1).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, not UTF-8, a number too long
        raise ConfigError(f"{what} {path}: not a TOML file: {error}") from None
