"""Reduction ``overlap``: pieces of the gradient are summed over the ranks during backpropagation.

Every layer's weight gradient is computed in pieces of whole rows, which are contiguous.  The
Iallreduce of a piece starts as soon as it is complete, output layer first.  Calls of MPI after
each product let it progress.  After the last product the step waits for all requests.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.device_engine import DeviceEngine, make_device_engine
from hpcpgd.engines.engine import Span
from hpcpgd.engines.scheduled_engine import ScheduledEngine
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.schedule.phases import in_pieces
from hpcpgd.parallel import mpi
from hpcpgd.reductions import allreduce
from hpcpgd.reductions.reduction import Reduction
from hpcpgd.reductions.traffic import summed_bytes

REHEARSALS = 5  # timed sums before the first step


class Overlap(allreduce.Allreduce):
    """The sum over the ranks begins while the gradient is computed."""

    engine: ScheduledEngine | DeviceEngine

    def __init__(self, context: RunContext, engine: ScheduledEngine | DeviceEngine) -> None:
        super().__init__(context, engine)
        self._alone = np.nan  # seconds of a sum without computation
        self._exposed = 0.0  # seconds in all sums during which nothing was computed
        self._reductions = 0

    @property
    def hidden_share(self) -> float:  # type: ignore[override]  # a constant there
        """Fraction of the communication that cost no time: 1 - exposed / alone, NaN at first."""
        if not self._reductions:
            return np.nan
        return max(0.0, 1 - self._exposed / self._reductions / self._alone)

    def prepare(self) -> None:
        """Time the sum without computation; collective."""
        whole, times = self.engine.summed(), []
        for _ in range(REHEARSALS):
            self._comm.Barrier()
            start = perf_counter()
            mpi.allreduce_sum(self._comm, whole)
            times.append(perf_counter() - start)
        self._alone = mpi.allreduce_max(self._comm, float(np.median(times)))
        self.engine.clear()

    def make(self, epoch: int, rows: Span, update: Update) -> None:
        """Sum the gradients of all slices while they are computed; collective."""
        requests: list[Any] = []
        for piece in self.engine.pieces(epoch, rows):
            if piece is None:  # a device computes: this time does not count as reduction
                mpi.progress(requests)
                continue
            if piece.size:
                fault_point("gradient", piece)
                requests.append(mpi.iallreduce_sum(self._comm, piece))
            mpi.progress(requests)
            self._exposed += self._clock.lap_reduction()
        for request in requests:
            request.Wait()
        self.engine.learn_stop(self._comm)
        self._exposed += self._clock.lap_reduction()
        self._reductions += 1
        self.engine.update(update)


def make(context: RunContext) -> Reduction:
    """Return the reduction of a run, ``Allreduce`` for a single rank; not collective.

    Raises
    ------
    UnavailableError
        On this rank, if its GPU has too little memory.
    """
    if context.comm.size == 1:
        return allreduce.make(context)
    capacity, resources = context.capacity, context.resources
    if resources.gpu is not None:
        engine = make_device_engine(context, resources.gpu, capacity, by_layer=True)
        return Overlap(context, engine)
    schedule = in_pieces(context.network, capacity, resources.threads)
    plan = context.scheduled_plan(capacity, schedule)
    return Overlap(context, ScheduledEngine(context, plan))


def communicated(
    network: Network, rows: int, sizes: tuple[int, ...], threads: int, on_device: bool
) -> list[int]:
    """Return the bytes of a step (see ``traffic.communicated``): pieces have no gaps."""
    return summed_bytes(network, sum(sizes), on_device, gaps=False)
