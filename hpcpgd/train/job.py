"""One run on all its ranks: start MPI, prepare, train, write the run file, end together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from hpcpgd.cli.launcher import complain, launcher_rank, launcher_size, part
from hpcpgd.config.run_config import RunConfig
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.environment.memory_limits import shortage
from hpcpgd.errors import INTERRUPTED, HpcpgdError, ShortageError
from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Watchdog, farewell

PROGRAM = "hpcpgd train"


def run(config: RunConfig | HpcpgdError, argv: Sequence[str], stop: StopRequest) -> int:
    """Start MPI, run the job on the world communicator and return the exit code.

    Collective over all ranks of the launcher.  A rank whose arguments were wrong hands
    over its error instead of a configuration: the others, whose may be right, then wait
    for nobody.
    """

    def body(world: mpi.Comm) -> None:
        if mpi.threads_may_call():
            stop.together(partial(mpi.abort, world))
        with mpi.agreed(world):
            if isinstance(config, HpcpgdError):
                raise config
        try:
            train(world, config, argv, stop)
        finally:
            stop.ignore()

    return on_world(PROGRAM, body, config if isinstance(config, HpcpgdError) else None)


def on_world(
    program: str, body: Callable[[mpi.Comm], object], own: HpcpgdError | None = None
) -> int:
    """Start MPI, run ``body`` on the world communicator and return the exit code.

    Collective over all ranks of the launcher.  An expected error that all ranks agree on
    ends them with one line and its code; anything else on any rank ends the whole job.

    Parameters
    ----------
    program : str
        What begins the line.
    body : callable
    own : HpcpgdError, optional
        This rank's own error, which is told where MPI cannot be started.
    """
    try:
        world = mpi.start(program)
    except HpcpgdError as error:
        # Where the launcher does not say how many ranks there are, the first knows of nothing.
        speaker = 0 if launcher_size() else min(launcher_rank(), 1)
        return part(program, own or error, speaker)
    return within(program, world, body)


def within(program: str, world: mpi.Comm, body: Callable[[mpi.Comm], object]) -> int:
    """Run ``body`` on the world communicator, end MPI and return the exit code, as above."""
    try:
        body(world)
        with farewell(program):
            mpi.finish()
    except HpcpgdError as error:
        fault_point("error", error)
        if not error.agreed:
            _end(program, world, error)
        code = complain(program, error, world.rank == 0)
        with farewell(program):
            mpi.finish()
        if isinstance(error, ShortageError):  # HDF5 crashes at the end of Python
            os._exit(code)
        return code
    except KeyboardInterrupt:
        if world.rank == 0:
            print(f"{program}: interrupted", file=sys.stderr)
        mpi.abort(world, INTERRUPTED)
    except BaseException as error:
        end_all(program, world, error)
    return 0


def end_all(program: str, world: mpi.Comm, error: BaseException) -> NoReturn:
    """End the job for an unexpected error of this rank alone; not collective.

    Of too little memory one line tells, of a defect its traceback.
    """
    short = shortage(error)
    if short is None:
        mpi.abort_with_traceback(world, error)
    _end(program, world, short)


def _end(program: str, world: mpi.Comm, error: HpcpgdError) -> NoReturn:
    if world.size > 1:
        error.args = (f"rank {world.rank}: {error}",)
    complain(program, error, True)
    mpi.abort(world, error.exit_code)


def train(
    comm: mpi.Comm, config: RunConfig, argv: Sequence[str] = (), stop: StopRequest | None = None
) -> Path:
    """Train as ``config`` says and return the run file's path; collective over ``comm``.

    ``stop``, on any rank, ends the training between two steps; no signal is listened to here.
    A collective that does not return within its limit ends the whole job, with 71.

    Raises
    ------
    HpcpgdError
        The same on every rank where ``agreed`` is true.  After any other exception the
        other ranks may wait for this one: end the job, as ``run`` does.
    """
    ranks = mpi.join(comm)
    watch = Watchdog(PROGRAM, ranks.comm, config.hang_limits())
    try:
        jit_cache.share_folder(ranks)
        from hpcpgd.train.session import Session

        path = Session(ranks, config, argv, stop or StopRequest(), watch).run()
    except HpcpgdError as error:
        if error.agreed:  # else the others are elsewhere, and freeing could wait for them
            _leave(ranks, watch)
        raise
    _leave(ranks, watch)
    return path


def _leave(ranks: mpi.Ranks, watch: Watchdog) -> None:
    with farewell(PROGRAM):
        watch.close()
        mpi.leave(ranks)
