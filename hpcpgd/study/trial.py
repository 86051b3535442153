"""``python -m hpcpgd.study.trial``: start and end MPI, as a rank of a launcher that is tested."""

from __future__ import annotations

import sys

from hpcpgd.cli.launcher import guarded


def main() -> int:
    """Return 0 if the ranks that the launcher started see each other; collective."""
    from hpcpgd.train.job import on_world

    return on_world("hpcpgd study", lambda world: None)


if __name__ == "__main__":
    sys.exit(guarded("hpcpgd study", main))
