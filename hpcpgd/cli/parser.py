"""The parser of all commands: errors are one line, and only one rank prints help."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.errors import UsageError, nearest


def require_command(argv: Sequence[str], commands: Iterable[str]) -> None:
    """Refuse a first word that is neither a flag nor one of the commands.

    Raises
    ------
    UsageError
        For an unknown word; the message names the nearest command.
    """
    known = [*commands]
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        hint = nearest(argv[0], known)
        raise UsageError(f"unknown command {argv[0]!r}: expected {', '.join(known)}{hint}")


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises ``UsageError``, and whose help only one rank prints."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        raise UsageError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        if launcher_rank() == 0:
            super()._print_message(message, file)
