"""``python -m hpcpgd.compare``: say in what two run files differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.cli.parser import OneLineParser

DESCRIPTION = """Say in what two run files differ: configuration, machine and versions, weights,
history, time.  Names of files, and options of how a run is watched, are not compared.  Exit code
0: they differ or not; 65: one is no run file, or damaged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd compare`` and return its exit code."""
    return guarded("hpcpgd compare", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog="hpcpgd compare", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("first", type=Path, metavar="A.h5")
    parser.add_argument("second", type=Path, metavar="B.h5")
    options = parser.parse_args(argv)
    from hpcpgd.compare.differences import compare  # h5py, only now

    say(compare(options.first, options.second))
    return 0
