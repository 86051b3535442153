"""Reduction ``shared``: one copy of data, parameters, activations and deltas per group.

A step of a group: its ranks gather the rows and compute activations and deltas, each product
divided by rows or by columns, then meet at a barrier.  Each rank computes its block of the
weight gradients over all rows of the group.  If there are several groups, the ranks that have
the same block sum it by an Allreduce.  Each rank updates its block; a barrier ends the step.
With one group no gradient is stored: the GEMM itself updates the weights.
"""

from __future__ import annotations

import itertools

import numpy as np

from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.context import RunContext, chunk_rows
from hpcpgd.engines.engine import Span
from hpcpgd.engines.host_engine import SLOTS
from hpcpgd.engines.scheduled_engine import ScheduledEngine
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.partition import block_range, padded_size
from hpcpgd.kernels.schedule.phases import GRADIENT, divided, unit_size
from hpcpgd.parallel.groups import Group
from hpcpgd.reductions.group_memory import share_parameters, workers_of
from hpcpgd.reductions.reduction import Reduction
from hpcpgd.reductions.traffic import parameter_bytes


class Shared(Reduction):
    """Each group works on a slice of the minibatch, in proportion to its number of ranks."""

    def __init__(self, context: RunContext, engine: ScheduledEngine) -> None:
        super().__init__(context, engine)
        self._group = context.group
        engine.divides = context.group.members

    def rows(self, step: int) -> Span:
        """Return the positions of minibatch ``step`` that this rank's group works on."""
        return group_rows(self._sampler, step, self._comm.size, self._group)

    def share(self, rows: Span) -> int:
        """Return the number of rows that this rank gathers."""
        begin, end = block_range(rows[1] - rows[0], self._group.size, self._group.index)
        return end - begin

    def make(self, epoch: int, rows: Span, update: Update) -> None:
        """Sum the blocks of all groups and subtract them; collective."""
        if self._group.count == 1:
            self.engine.step(epoch, rows, update)
            return
        self.engine.partial(epoch, rows)
        if self._group.peers is not None:  # a rank without a block reads its group's flags
            self.engine.sum(self._group.peers)
        self.engine.update(update)


def group_rows(sampler: Sampler, step: int, ranks: int, group: Group) -> Span:
    """Return the positions of minibatch ``step`` that ``group`` works on."""
    first = sampler.slice(step, ranks, group.first)
    last = sampler.slice(step, ranks, group.first + group.size - 1)
    return first[0], last[1]


def most_rows(rows: int, sizes: tuple[int, ...]) -> int:
    """Return how many of a minibatch's ``rows`` the group with the most rows works on."""
    ends = np.cumsum([0, *sizes])
    spans = [block_range(rows, sum(sizes), rank) for rank in range(sum(sizes))]
    most = max(spans[end - 1][1] - spans[begin][0] for begin, end in itertools.pairwise(ends))
    return int(most)


def make(context: RunContext) -> Reduction:
    """Return the reduction of a run; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has too little shared memory.
    """
    context = share_parameters(context)
    group, network, threads = context.group, context.network, context.resources.threads
    capacity = chunk_rows(network, most_rows(context.sampler.batch_size, group.sizes), 0)
    schedule = divided(network, capacity, group.size * threads, group.blocks * threads)
    plan = context.scheduled_plan(capacity, schedule, workers_of(context, 0))
    few = chunk_rows(network, 1, context.evaluation_rows)
    scorer = context.scheduled_plan(few, divided(network, few, threads), pool=plan.pool)
    return Shared(context, ScheduledEngine(context, plan, scorer))


def communicated(
    network: Network, rows: int, sizes: tuple[int, ...], threads: int, on_device: bool
) -> list[int]:
    """Return the bytes of a step (see ``traffic.communicated``): the blocks of all groups."""
    if len(sizes) == 1:
        return [0] * (network.depth + 1)
    filling = _filling(network, rows, sizes, threads) * network.itemsize
    return [filling, *(nbytes * len(sizes) for nbytes in parameter_bytes(network))]


def _filling(network: Network, rows: int, sizes: tuple[int, ...], threads: int) -> int:
    """Return how many numbers pad the blocks of all groups and hold their flags."""
    blocks = min(sizes)
    schedule = divided(network, most_rows(rows, sizes), blocks * threads)
    units = [
        size
        for phase in schedule.phases
        if phase.kind == GRADIENT
        for unit in range(phase.grid.units)
        for size in unit_size(network, phase, unit)
    ]
    filling: int = sum(padded_size(size) - size for size in units)
    return (filling + SLOTS * blocks) * len(sizes)
