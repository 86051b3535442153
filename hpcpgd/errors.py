"""Errors that a user can cause or cure, each with the exit code of the program.

Every message is one line: what was seen, where, what was expected and the nearest
valid choice.  Anything that is not an ``HpcpgdError`` is a defect of ours (exit 70).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
_LONGEST = 2000  # characters of a message


def printable(text: str) -> str:
    """Return a short line of printable characters, whatever a bad file put into the text."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 500]} ... {line[-400:]}"


class HpcpgdError(Exception):
    """Base of all expected errors.

    Attributes
    ----------
    exit_code : int
        Code that the process, and so every rank, ends with.
    agreed : bool
        Whether every rank raises this error, so that all can end in peace.
    """

    exit_code = 70

    def __init__(self, message: str, agreed: bool = False) -> None:
        super().__init__(printable(message))
        self.agreed = agreed


class UsageError(HpcpgdError):
    """A wrong flag or flag value."""

    exit_code = 2


class DivergedError(HpcpgdError):
    """NaN or Inf appeared in the gradient or the weights."""

    exit_code = 3


class DataError(HpcpgdError):
    """A dataset is missing or bad."""

    exit_code = 65


class UnavailableError(HpcpgdError):
    """A backend, a device or shared memory cannot be had here."""

    exit_code = 69


class ShortageError(UnavailableError):
    """Memory ran out; what wanted more may crash as it is taken down."""


class StoppedError(HpcpgdError):
    """A signal ended the run between two steps; what it had is in its file."""

    exit_code = 75


class WatchdogError(HpcpgdError):
    """A collective did not return within its limit."""

    exit_code = 71


class OutputError(HpcpgdError):
    """The output cannot be written."""

    exit_code = 74


class ReplicaError(HpcpgdError):
    """Ranks hold different weights."""

    exit_code = 76


class ConfigError(HpcpgdError):
    """A bad configuration: TOML, an impossible combination, ranks that differ."""

    exit_code = 78


def shown(value: object) -> str:
    """Return a value for a message; numbers too long and lists too deep have no text."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} too large to show"


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest choice, or an empty string."""
    bare = {choice.lstrip("-"): choice for choice in choices}  # dashes make all flags alike
    found = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1, cutoff=0.5)
    return f"; did you mean '{bare[found[0]]}'?" if found else ""
