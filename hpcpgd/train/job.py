"""One run on all its ranks: start MPI, prepare, train, write the run file, end together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

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

    Collective over all ranks of the launcher.  A rank with wrong arguments passes its error
    as ``config``: the other ranks, whose arguments may be valid, then do not wait for it.
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
    program: str, body: Callable[[mpi.Comm], object], refused: HpcpgdError | None = None
) -> int:
    """Start MPI, run ``body`` on the world communicator and return the exit code.

    Collective over all ranks of the launcher.  An expected error that all ranks agree on
    ends them with one line and its code; anything else on any rank ends the whole job.

    Parameters
    ----------
    program : str
        Begins the line.
    body : callable
        Called with the world communicator.
    refused : HpcpgdError, optional
        The error in this rank's arguments, which is printed if MPI cannot be started.
    """
    try:
        world = mpi.start(program)
    except HpcpgdError as error:
        # Without a number of ranks from the launcher, rank 0 takes itself for the only rank.
        speaker = 0 if launcher_size() else min(launcher_rank(), 1)
        return part(program, refused or error, speaker)
    return within(program, world, body)


def within(program: str, world: mpi.Comm, body: Callable[[mpi.Comm], object]) -> int:
    """Run ``body`` on the world communicator, end MPI and return the code, as ``on_world``."""
    try:
        body(world)
        with farewell(program):
            mpi.finish()
    except HpcpgdError as error:
        fault_point("error", error)
        if not error.agreed:
            end_all(program, world, error)
        code = complain(program, error, world.rank == 0)
        with farewell(program):
            mpi.finish()
        if isinstance(error, ShortageError):  # HDF5 would crash when Python ends
            os._exit(code)
        return code
    except BaseException as error:
        end_all(program, world, error)
    return 0


def end_all(program: str, world: mpi.Comm, error: BaseException) -> NoReturn:
    """End the job after an error that this rank alone knows; not collective.

    An expected one is reported in one line, any other by its traceback.
    """
    if isinstance(error, KeyboardInterrupt):
        if world.rank == 0:
            print(f"{program}: interrupted", file=sys.stderr)
        mpi.abort(world, INTERRUPTED)
    known = error if isinstance(error, HpcpgdError) else shortage(error)
    if known is None:
        mpi.abort_with_traceback(world, error)
    if world.size > 1:
        known.args = (f"rank {world.rank}: {known}",)
    complain(program, known, True)
    mpi.abort(world, known.exit_code)


def train(
    comm: mpi.Comm,
    config: RunConfig,
    argv: Sequence[str] = (),
    stop: StopRequest | None = None,
    result: Callable[[Any], Any] = lambda record: Path(record.config.output),
) -> Any:
    """Train as ``config`` says and return the run file's path; collective over ``comm``.

    ``stop``, on any rank, ends the training between two steps; this function handles no signal.
    A collective that does not return within its limit ends the whole job with exit code 71.
    Another ``result`` is made of the run's record on every rank, before its memory is freed.

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

        returned = Session(ranks, config, argv, stop or StopRequest(), watch).run(result)
    except BaseException as error:
        if mpi.raised_on_all(ranks.comm, error):  # else others are elsewhere, and this would hang
            _leave(ranks, watch)
        raise
    _leave(ranks, watch)
    return returned


def _leave(ranks: mpi.Ranks, watch: Watchdog) -> None:
    with farewell(PROGRAM):
        watch.close()
        mpi.leave(ranks)
