"""``python -m hpcpgd.train``: train a network, alone or under ``mpirun`` or ``srun``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcpgd.cli.launcher import guarded, launcher_rank, say, several_ranks
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import HpcpgdError, UnavailableError
from hpcpgd.parallel.stop import StopRequest

if TYPE_CHECKING:
    from hpcpgd.config.run_config import RunConfig

PROGRAM = "hpcpgd train"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code.

    Collective over all ranks of the job.  Arguments are checked before MPI starts.
    """
    stop = StopRequest()
    try:
        return guarded(PROGRAM, lambda: _together(argv, stop))
    finally:
        stop.close()


def _together(argv: Sequence[str] | None, stop: StopRequest) -> int:
    """Run the command line; an unexpected error on one rank before MPI starts ends all ranks.

    The others would wait for this rank in MPI_Init.
    """
    try:
        stop.listen(PROGRAM)  # before NumPy, MPI and numba are loaded, which takes a second
        return _main(argv, stop)
    except (HpcpgdError, KeyboardInterrupt):
        raise
    except BaseException as error:
        asked_for = isinstance(error, SystemExit) and not error.code  # --help, --version
        if asked_for or not several_ranks():
            raise
        from hpcpgd.parallel import mpi
        from hpcpgd.train import job

        job.end_all(PROGRAM, mpi.start(PROGRAM), error)


def _main(argv: Sequence[str] | None, stop: StopRequest) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    config: RunConfig | HpcpgdError
    try:
        from hpcpgd.config import flags  # imports NumPy: only now, when signals are handled

        config, print_config = flags.parse(words)
    except HpcpgdError as error:
        if not several_ranks():
            raise
        config, print_config = error, False
    if print_config and not isinstance(config, HpcpgdError):
        if launcher_rank() == 0:
            say(_with_checkpoint(config).to_toml().rstrip())
        return 0
    return _run(config, ["hpcpgd", "train", *words], stop)


def _with_checkpoint(config: RunConfig) -> RunConfig:
    """Return ``config`` with the options of the checkpoint that ``--resume`` names."""
    if config.resume in ("auto", "never"):
        return config
    from hpcpgd.checkpoint import checkpoint_folder, resume  # imports h5py

    return resume.brought(checkpoint_folder.load(Path(config.resume)).config, config)


def _run(config: RunConfig | HpcpgdError, argv: list[str], stop: StopRequest) -> int:
    fault_point("import")
    try:
        from hpcpgd.train.job import run  # loads MPI, only now
    except UnavailableError:
        if isinstance(config, HpcpgdError):
            raise config from None
        raise

    return run(config, argv, stop)
