"""``python -m hpcpgd.train``: train a network, alone or under ``mpirun`` or ``srun``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hpcpgd.launch import guarded, launcher_rank
from hpcpgd.options import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code.

    Collective over all ranks of the job.  Arguments are checked before MPI starts.
    """
    return guarded("hpcpgd train", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    config, print_config = parse(argv)
    if print_config:
        if launcher_rank() == 0:
            print(config.to_toml(), end="")
        return 0
    from hpcpgd.job import run  # MPI and numba, only now

    return run(config, [sys.argv[0], *(argv if argv is not None else sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
