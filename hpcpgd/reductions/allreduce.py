"""Reduction ``allreduce``: one in-place Allreduce of each rank's partial gradient."""

from __future__ import annotations

from typing import Any

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.device_engine import make_device_engine
from hpcpgd.engines.engine import Engine, Span
from hpcpgd.engines.host_engine import HostEngine
from hpcpgd.engines.scheduled_engine import ScheduledEngine
from hpcpgd.kernels.backends.registry import BACKENDS, make_plan
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.schedule.phases import divided
from hpcpgd.parallel import mpi
from hpcpgd.reductions.reduction import Reduction
from hpcpgd.reductions.traffic import summed_bytes


class Allreduce(Reduction):
    """Each rank works on a slice of the minibatch; a single rank sums nothing."""

    def rows(self, step: int) -> Span:
        """Return this rank's slice of minibatch ``step``."""
        return self._sampler.slice(step, self._comm.size, self._comm.rank)

    def make(self, epoch: int, rows: Span, update: Update) -> None:
        """Sum the gradients of all slices and subtract them; collective."""
        if self._comm.size == 1:
            self.engine.step(epoch, rows, update)
            return
        self.engine.partial(epoch, rows)
        self.engine.sum(self._comm, self.add_up)
        self.engine.update(update)

    def add_up(self, comm: mpi.Comm, sums: Any) -> None:
        """Replace ``sums`` (gradient and flags, flat) by its sum over the ranks; collective."""
        mpi.allreduce_sum(comm, sums)


def make(context: RunContext) -> Reduction:
    """Return the reduction of a run; not collective.

    Raises
    ------
    UnavailableError
        On this rank, if its GPU has too little memory.
    """
    return Allreduce(context, private_engine(context))


def private_engine(context: RunContext) -> Engine:
    """Return the engine of a rank that shares no memory with others."""
    capacity, resources = context.capacity, context.resources
    if resources.gpu is not None:
        return make_device_engine(context, resources.gpu, capacity)
    if BACKENDS[context.config.backend].scheduled:
        schedule = divided(context.network, capacity, resources.threads)
        return ScheduledEngine(context, context.scheduled_plan(capacity, schedule))
    threads, blas = resources.threads, resources.blas
    plan = make_plan(context.config.backend, context.network, capacity, threads, blas)
    return HostEngine(context, plan)


def communicated(
    network: Network, rows: int, sizes: tuple[int, ...], threads: int, on_device: bool
) -> list[int]:
    """Return the bytes of a step (see ``traffic.communicated``): the vector and its gaps."""
    return summed_bytes(network, sum(sizes), on_device, gaps=True)
