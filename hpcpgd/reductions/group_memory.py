"""Memory that the ranks of a group share: the parameters, and a barrier for their threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpcpgd.engines.context import RunContext
from hpcpgd.kernels.schedule.barrier import WORDS, make_barrier
from hpcpgd.kernels.schedule.scheduled_plan import WorkerRange


def share_parameters(context: RunContext) -> RunContext:
    """Return the context with one copy of the parameters for each group; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has too little shared memory.
    """
    parameters = context.memory.allocate(context.network.size, context.network.dtype)
    if context.group.index == 0:
        parameters[:] = context.parameters
    context.group.members.Barrier()
    return replace(context, parameters=parameters)


def workers_of(context: RunContext, first: int) -> WorkerRange:
    """Return this rank's workers; ``first`` is the number of the group's first.  Collective."""
    threads, group = context.resources.threads, context.group
    state = context.memory.allocate(WORDS, np.int64)
    barrier = make_barrier(group.size * threads, state, context.resources.oversubscribed)
    return WorkerRange(first + group.index * threads, threads, barrier, context.memory.allocate)
