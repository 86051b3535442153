"""The parser of all commands: errors of one line, help from one rank."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.errors import UsageError


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises ``UsageError``, and whose help one rank alone prints."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        raise UsageError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        if launcher_rank() == 0:
            super()._print_message(message, file)
