"""Reduction ``shared``: one copy of data, parameters, activations and deltas per group.

A step on the ranks of a group: gather, forward, deltas, each product divided by rows or by
columns | barrier | each rank computes its own block of the weight gradients over all rows
of the group; where there are several groups the ranks that have that block Allreduce it;
update of the block | barrier.  With one group no gradient is ever stored: the GEMM itself
makes the update.
"""

from __future__ import annotations

import itertools
import math

from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.base import SLOTS, STOP
from hpcpgd.engines.base import Rows as Span
from hpcpgd.engines.scheduled import ScheduledEngine
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.schedule.scheduled_plan import Rows, ScheduledPlan
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Group
from hpcpgd.parallel.phase_clock import COMPUTE, UPDATE, PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Heartbeat


class SharedEngine(ScheduledEngine):
    """An engine whose workers are all threads of all ranks of a group.

    Parameters are those of ``ScheduledEngine``, and

    group : Group
    """

    def __init__(
        self,
        group: Group,
        plan: ScheduledPlan,
        scorer: ScheduledPlan,
        dataset: Dataset,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
        stop: StopRequest,
    ) -> None:
        super().__init__(plan, scorer, dataset, sampler, parameters, clock, stop)
        self.group = group
        # This rank's block, and slots that travel with it: each counts the groups that
        # raise a flag.
        size = self.network.padded(plan.packed_size)
        self._packed = aligned_zeros(size + SLOTS, self.network.dtype)
        self._slots = self._packed[size:]

    def heartbeat(self) -> Heartbeat:
        """Return the steps made, and the arrivals of the group's workers where they meet."""
        count, waits = self.plan.arrivals
        return (self.steps, count), waits and self.group.size > 1

    def make(self, epoch: int, rows: Span, rate: float) -> None:
        """Make a step in which the group works on ``rows``; collective over the group."""
        begin, end = rows
        self.plan.raise_stop(self._stop.requested)
        if self.group.count == 1 and end - begin <= self.plan.work.capacity:
            flags = self._propagate(self.parameters, epoch, rows, (-rate, 1.0), False)
        else:
            flags = self._reduce(epoch, rows, rate)
        self.stopping = flags & 0xFFFFFFFF > 0
        self._note(flags)
        self._clock.end_reduction()

    def _reduce(self, epoch: int, rows: Span, rate: float) -> int:
        """Sum this rank's block over chunks and groups, and update it."""
        begin, end = rows
        capacity, flags = self.plan.work.capacity, 0
        for first in range(begin, max(end, begin + 1), capacity):
            chunk = first, min(first + capacity, end)
            scales = (1.0, 1.0 if first > begin else 0.0)
            flags |= self._propagate(self._packed, epoch, chunk, scales, True)
        self._slots[STOP] = stop = flags & 0xFFFFFFFF
        if self.group.peers is not None and self.group.count > 1:
            mpi.allreduce_sum(self.group.peers, self._packed)
            self._clock.lap_reduction()
            stop = int(self._slots[STOP])
        self.plan.raise_stop(stop > 0)
        flags = self.plan.apply(rate)
        self._clock.lap(UPDATE, self.plan.waited()[0])
        return flags

    def _propagate(
        self, target: Array, epoch: int, rows: Span, scales: tuple[float, float], packed: bool
    ) -> int:
        begin, end = rows
        self.plan.bind(self.parameters, target, self._train)
        own = block_range(end - begin, self.group.size, self.group.index)
        flags = self.plan.propagate(
            (0, self.plan.learning), end - begin, scales, Rows(*own, begin, epoch), packed=packed
        )
        self._clock.lap(COMPUTE, *self.plan.waited())
        return flags


class SharedStep:
    """One step of algorithm 5, divided over groups of ranks that share memory.

    Parameters
    ----------
    ranks : int
        Of the whole job.
    engine : SharedEngine
    sampler : Sampler
    clock : PhaseClock
    """

    hidden_share = math.nan  # nothing is sent while something is computed

    def __init__(
        self, ranks: int, engine: SharedEngine, sampler: Sampler, clock: PhaseClock
    ) -> None:
        self._ranks = ranks
        self._engine = engine
        self._sampler = sampler
        self._clock = clock

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` (from 0) of ``epoch`` (from 1); collective.

        Rows are dealt to groups in proportion to their ranks.

        Returns
        -------
        bool
            False, on every rank, if this was the last (see ``AllreduceStep.step``).
        """
        start, stop = self._sampler.minibatch(step)
        engine, group = self._engine, self._engine.group
        rows = group_rows(self._sampler, step, self._ranks, group)
        own = block_range(rows[1] - rows[0], group.size, group.index)
        self._clock.begin_step(own[1] - own[0])
        engine.make(epoch, rows, rate / (stop - start))
        return engine.bad_step is None and not engine.stopping

    def prepare(self) -> None:
        """Nothing has to be found out before the first step."""

    def warm_up(self, rate: float) -> None:
        """Compile, or load, everything that steps need; changes no parameter."""
        self._engine.warm_up()


def group_rows(sampler: Sampler, step: int, ranks: int, group: Group) -> Span:
    """Return the positions of minibatch ``step`` that ``group`` works on."""
    first = sampler.slice(step, ranks, group.first)
    last = sampler.slice(step, ranks, group.first + group.size - 1)
    return first[0], last[1]


def most_rows(sampler: Sampler, ranks: int, group: Group) -> int:
    """Return the rows that the largest group works on in a full minibatch."""
    ends = [sum(group.sizes[:n]) for n in range(group.count + 1)]
    spans = itertools.pairwise(ends)
    return max(sampler.slice(0, ranks, e - 1)[1] - sampler.slice(0, ranks, b)[0] for b, e in spans)
