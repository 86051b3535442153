"""``python -m hpcpgd.train``: train a network, alone or under ``mpirun`` or ``srun``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hpcpgd.config import RunConfig
from hpcpgd.errors import HpcpgdError, UnavailableError
from hpcpgd.launch import MPI_CURE, guarded, launcher_rank, launcher_size, say
from hpcpgd.options import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code.

    Collective over all ranks of the job.  Arguments are checked before MPI starts.
    """
    return guarded("hpcpgd train", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    config: RunConfig | HpcpgdError
    try:
        config, print_config = parse(words)
    except HpcpgdError as error:
        size = launcher_size()
        if size is None or size[1] <= 1:
            raise
        config, print_config = error, False
    if print_config and isinstance(config, RunConfig):
        if launcher_rank() == 0:
            say(config.to_toml().rstrip())
        return 0
    return _run(config, ["hpcpgd", "train", *words])


def _run(config: RunConfig | HpcpgdError, argv: list[str]) -> int:
    try:
        from hpcpgd.job import run  # MPI, only now
    except (ImportError, RuntimeError) as error:
        if isinstance(config, HpcpgdError):
            raise config from None
        raise UnavailableError(f"MPI cannot be loaded: {error}: {MPI_CURE}") from None
    return run(config, argv)


if __name__ == "__main__":
    sys.exit(main())
