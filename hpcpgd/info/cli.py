"""``python -m hpcpgd.info``: show a run file as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.cli.parser import OneLineParser

DESCRIPTION = """Show what a run file says: what ran and where, how it ended, where the time went.
The best epoch has the highest validation accuracy, or else the lowest loss.  Exit code 65: the
file is no run file, or damaged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd info`` and return its exit code."""
    return guarded("hpcpgd info", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="hpcpgd info", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("file", type=Path, metavar="RUN.h5")
    options = parser.parse_args(argv)
    from hpcpgd.info.run_page import page  # h5py, only now

    say(page(options.file))
    return 0
