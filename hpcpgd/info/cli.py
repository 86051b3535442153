"""``hpcpgd info`` and ``hpcpgd compare``: show one run file, and how two differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.cli.parser import OneLineParser

INFO = """Show what a run file says: what ran and where, how it ended, where the time went.
The best epoch has the highest validation accuracy, or else the lowest loss.  Exit code 65: the
file is not a run file, or is damaged."""
COMPARE = """Say in what two run files differ: configuration, machine and versions, weights,
history, time.  Names of files, and options that only control checkpoints, limits and output, are
not compared.  Exit code 0: they differ or not; 65: one is not a run file, or is damaged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd info`` and return its exit code."""
    return guarded("hpcpgd info", lambda: _info(argv))


def compare(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd compare`` and return its exit code."""
    return guarded("hpcpgd compare", lambda: _compare(argv))


def _paths(argv: Sequence[str] | None, program: str, text: str, *names: str) -> list[Path]:
    parser = OneLineParser(prog=program, description=text, allow_abbrev=False)
    for name in names:
        parser.add_argument(name, type=Path)
    return list(vars(parser.parse_args(argv)).values())


def _info(argv: Sequence[str] | None) -> int:
    (path,) = _paths(argv, "hpcpgd info", INFO, "RUN.h5")
    from hpcpgd.info.run_page import page  # imports h5py, which --help does not need

    say(page(path))
    return 0


def _compare(argv: Sequence[str] | None) -> int:
    first, second = _paths(argv, "hpcpgd compare", COMPARE, "A.h5", "B.h5")
    from hpcpgd.info.differences import differences

    say(differences(first, second))
    return 0
