"""``python -m hpcpgd.train``: train a network, alone or under ``mpirun`` or ``srun``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hpcpgd.config import RunConfig
from hpcpgd.errors import HpcpgdError, UnavailableError
from hpcpgd.launch import MPI_CURE, guarded, launcher_rank, launcher_size, say
from hpcpgd.options import parse
from hpcpgd.stop import StopRequest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code.

    Collective over all ranks of the job.  Arguments are checked before MPI starts.
    """
    stop = StopRequest()
    stop.listen()  # before MPI and numba are loaded: a second in which a signal would end us
    return guarded("hpcpgd train", lambda: _together(argv, stop))


def _together(argv: Sequence[str] | None, stop: StopRequest) -> int:
    """Run the command line; a defect that shows on one rank, before MPI starts, ends all.

    The others would wait for this rank as they start MPI.
    """
    try:
        return _main(argv, stop)
    except (HpcpgdError, KeyboardInterrupt):
        raise
    except BaseException as error:
        size = launcher_size()
        asked_for = isinstance(error, SystemExit) and not error.code  # --help, --version
        if asked_for or size is None or size[1] <= 1:
            raise
        from hpcpgd import mpi

        mpi.abort_with_traceback(mpi.start(), error)


def _main(argv: Sequence[str] | None, stop: StopRequest) -> int:
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
    return _run(config, ["hpcpgd", "train", *words], stop)


def _run(config: RunConfig | HpcpgdError, argv: list[str], stop: StopRequest) -> int:
    try:
        from hpcpgd import mpi  # noqa: F401  (loads MPI, only now, and nothing else can fail)
    except (ImportError, RuntimeError) as error:
        if isinstance(config, HpcpgdError):
            raise config from None
        raise UnavailableError(f"MPI cannot be loaded: {error}: {MPI_CURE}") from None
    from hpcpgd.job import run

    return run(config, argv, stop)


if __name__ == "__main__":
    sys.exit(main())
