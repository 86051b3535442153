"""Errors that a user can cause or cure, each with the exit code of the program.

Every message is one line: what was seen, where, what was expected and the nearest
valid choice.  Any other exception is a defect of this package (exit code 70).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED = 130  # exit code after Ctrl-C, the same as of shells
_LONGEST = 2000  # characters of a message


def printable(text: str) -> str:
    """Return the text as a short line of printable characters, also if it is from a bad file."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 500]} ... {line[-400:]}"


class HpcpgdError(Exception):
    """Base of all expected errors.

    Attributes
    ----------
    exit_code : int
        Exit code of the process, the same on every rank.
    agreed : bool
        Whether every rank raises this error, so that all can end without an abort.
    """

    exit_code = 70

    def __init_subclass__(cls, exit_code: int | None = None) -> None:
        cls.exit_code = cls.exit_code if exit_code is None else exit_code

    def __init__(self, message: str, agreed: bool = False) -> None:
        super().__init__(printable(message))
        self.agreed = agreed


class UsageError(HpcpgdError, exit_code=2):
    """A wrong flag or flag value."""


class DivergedError(HpcpgdError, exit_code=3):
    """NaN or Inf appeared in the gradient or the weights."""


class DataError(HpcpgdError, exit_code=65):
    """A dataset, checkpoint or other file to read is missing or damaged."""


class UnavailableError(HpcpgdError, exit_code=69):
    """A backend, a device or shared memory is not available here."""


class ShortageError(UnavailableError):
    """Memory ran out; the library that needed more may crash during shutdown."""


class StoppedError(HpcpgdError, exit_code=75):
    """A signal ended the run between two steps; its results so far are in the run file."""


class WatchdogError(HpcpgdError, exit_code=71):
    """A collective did not return within its limit."""


class OutputError(HpcpgdError, exit_code=74):
    """The output exists already, is in use, or cannot be written."""


class ReplicaError(HpcpgdError, exit_code=76):
    """Ranks hold different weights."""


class ConfigError(HpcpgdError, exit_code=78):
    """A bad configuration: bad TOML, an impossible combination, or ranks that differ."""


def shown(value: object) -> str:
    """Return ``repr`` of a value for a message; too large numbers and too deep lists have none."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} too large to show"


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest choice, or an empty string."""
    bare = {choice.lstrip("-"): choice for choice in choices}  # dashes make all flags similar
    closest = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1, cutoff=0.5)
    return f"; did you mean '{bare[closest[0]]}'?" if closest else ""
