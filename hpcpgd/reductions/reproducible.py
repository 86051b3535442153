"""Reduction ``reproducible``: the same bits for every number of ranks and every placement.

Every product is cut into units of a shape that no number of ranks enters (eight for each of
``shards``: parts of its rows and tiles of its columns), each computed by one call of the
same single-threaded routine; a weight gradient's over all rows of the minibatch: sums over
examples are never divided, so there is none whose order could change.  Units are dealt to
all threads of all ranks, and none is computed twice.  Groups of ranks that share no memory
exchange the units that they lack: activations and deltas after each layer, the updated
weights after each step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.base import Rows as Span
from hpcpgd.engines.scheduled import ScheduledEngine
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.core.partition import block_range, columns_range
from hpcpgd.kernels.core.workspace import Workspace
from hpcpgd.kernels.schedule.phases import FORWARD, GRADIENT, OUTPUT, Schedule, shape
from hpcpgd.kernels.schedule.scheduled_plan import Rows, ScheduledPlan
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Group
from hpcpgd.parallel.phase_clock import COMPUTE, UPDATE, PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Heartbeat

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI


class Exchange:
    """Brings units that other groups computed into this group's memory.

    Parameters
    ----------
    group : Group
    plan : ScheduledPlan
        Its schedule deals units to the workers of all groups, group after group.
    threads : int
        Of every rank.
    """

    def __init__(self, group: Group, plan: ScheduledPlan, threads: int) -> None:
        self._group = group
        self._schedule: Schedule = plan.schedule
        self._network = plan.network
        self._work: Workspace = plan.work
        ends = np.cumsum([0, *group.sizes]) * threads
        self._workers = [(int(b), int(e)) for b, e in itertools.pairwise(ends)]

    def rows(self, phase: int, count: int) -> None:
        """Complete what a phase computed for ``count`` rows of the minibatch; collective."""
        leaders = self._group.leaders
        if leaders is not None:
            self._swap(leaders, [self._row_views(phase, group, count) for group in self._groups])
        self._group.members.Barrier()

    def parameters(self, flat: Array) -> None:
        """Complete the updated parameters; collective."""
        leaders = self._group.leaders
        if leaders is not None:
            self._swap(leaders, [self._parameter_views(flat, group) for group in self._groups])
        self._group.members.Barrier()

    @property
    def _groups(self) -> range:
        return range(self._group.count)

    def _row_views(self, phase: int, group: int, count: int) -> list[Array]:
        """Return a group's units of a phase in the activations or deltas."""
        kind, layer = self._schedule.phases[phase].kind, self._schedule.phases[phase].layer
        if kind == FORWARD:
            whole = self._work.layer(layer)
        else:
            whole = self._work.delta(layer if kind == OUTPUT else layer - 1)
        units = self._units(phase, group, count)
        return [whole[top:bottom, left:right] for top, bottom, left, right in units]

    def _parameter_views(self, flat: Array, group: int) -> list[Array]:
        """Return what a group updates in the parameters."""
        views = []
        for phase, what in enumerate(self._schedule.phases):
            if what.kind != GRADIENT:
                continue
            weights = self._network.weights(flat, what.layer)
            biases = self._network.biases(flat, what.layer)
            for top, bottom, left, right in self._units(phase, group, 1):
                views.append(weights[top:bottom, left:right])
                if top == 0:
                    views.append(biases[left:right])
        return views

    def _units(self, phase: int, group: int, count: int) -> Iterable[tuple[int, int, int, int]]:
        """Yield the rows and columns of the units that a group has in a phase."""
        what = self._schedule.phases[phase]
        m, n, _ = shape(self._network, what.kind, what.layer, count)
        begin, end = self._workers[group]
        bounds = self._schedule.bounds[phase]
        for unit in range(bounds[begin], bounds[end]):
            part, tile = divmod(unit, what.grid.tiles)
            yield *block_range(m, what.grid.parts, part), *columns_range(n, what.grid.tiles, tile)

    def _swap(self, leaders: MPI.Comm, views: list[list[Array]]) -> None:
        """Fill every group's views with what that group has in its own; collective over leaders."""
        counts = [sum(view.size for view in mine) for mine in views]
        mine = [view.ravel() for view in views[self._group.number]]
        own = np.concatenate([np.zeros(0, self._network.dtype), *mine])
        everything = np.empty(sum(counts), self._network.dtype)
        mpi.allgatherv(leaders, own, counts, everything)
        place = 0
        for number, theirs in enumerate(views):
            for view in theirs:
                if number != self._group.number:
                    view[...] = everything[place : place + view.size].reshape(view.shape)
                place += view.size


class ReproducibleEngine(ScheduledEngine):
    """An engine whose workers are all threads of all ranks, dealt units of a fixed shape.

    Parameters are those of ``ScheduledEngine``, and

    comm : Comm
        All ranks.
    group : Group
    threads : int
    """

    def __init__(
        self,
        comm: MPI.Comm,
        group: Group,
        threads: int,
        plan: ScheduledPlan,
        scorer: ScheduledPlan,
        dataset: Dataset,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
        stop: StopRequest,
    ) -> None:
        super().__init__(plan, scorer, dataset, sampler, parameters, clock, stop)
        self.score_rows = self.capacity
        self._comm = comm
        self.group = group
        self._exchange = Exchange(group, plan, threads)
        self._packed = aligned_zeros(max(plan.packed_size, 1), self.network.dtype)

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples of every shard, float64 (shards, 8).

        A shard is scored on one rank alone; on the others its row is zero.
        """
        totals = self.plan.work.totals + self._scorer.work.totals
        self.plan.work.totals[:] = self._scorer.work.totals[:] = 0
        return totals

    def totals(self) -> Array:
        """Return what ``take_totals`` would, and leave it as it is."""
        return self.plan.work.totals.copy()

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps``: each shard's sums are kept where the shard is scored."""
        own = self.plan.work.totals
        if totals.shape != own.shape:  # of another reduction, or number of shards
            super().restore(steps, totals, first)
            return
        self.steps = steps
        mine = slice(*self.plan.scored)
        own[mine] = totals[mine]

    def heartbeat(self) -> Heartbeat:
        """Return the steps made, and the arrivals of the group's workers where they meet."""
        count, waits = self.plan.arrivals
        return (self.steps, count), waits and self.group.size > 1

    def share_of(self, rows: int) -> int:
        """Return this rank's share of the rows: what it would have if it had them alone."""
        begin, end = block_range(rows, self._comm.size, self.group.first + self.group.index)
        return end - begin

    def make(self, epoch: int, rows: Span, rate: float) -> None:
        """Make a step on all ``rows`` of a minibatch; collective."""
        begin, end = rows
        capacity, flags = self.plan.work.capacity, 0
        if end - begin <= capacity:
            flags = self._pass(self.parameters, epoch, rows, (-rate, 1.0), False)
        else:
            for first in range(begin, end, capacity):
                chunk = first, min(first + capacity, end)
                scales = (1.0, 1.0 if first > begin else 0.0)
                flags |= self._pass(self._packed, epoch, chunk, scales, True)
            flags |= self.plan.apply(rate)
            self._clock.lap(UPDATE, self.plan.waited()[0])
        if self.group.count > 1:
            flags = self._across(flags)
        self.stopping = flags & 0xFFFFFFFF > 0
        self._note(flags)
        self._clock.end_reduction()

    def _across(self, flags: int) -> int:
        """Complete the parameters and the flags over the groups."""
        self._exchange.parameters(self.parameters)
        both = np.array([flags & 0xFFFFFFFF, flags >> 32])
        mpi.allreduce_sum(self._comm, both)
        self._clock.lap_reduction()
        return int(both[0] > 0) + (int(both[1] > 0) << 32)

    def _pass(
        self, target: Array, epoch: int, rows: Span, scales: tuple[float, float], packed: bool
    ) -> int:
        """Run all phases on ``rows``, exchanging what other groups need; return the flags."""
        begin, end = rows
        plan, count = self.plan, end - begin
        plan.bind(self.parameters, target, self._train)
        own = Rows(*block_range(count, self.group.size, self.group.index), begin, epoch)
        last = plan.gradients if self.group.count > 1 else 0
        for phase in range(last):
            plan.propagate((phase, phase + 1), count, rows=own if phase == 0 else None)
            self._clock.lap(COMPUTE, *plan.waited())
            self._exchange.rows(phase, count)
            self._clock.lap_reduction()
        plan.raise_stop(self._stop.requested)
        flags = plan.propagate(
            (last, plan.learning), count, scales, None if last else own, packed=packed
        )
        self._clock.lap(COMPUTE, *plan.waited())
        return flags


class ReproducibleStep:
    """One step of algorithm 5 whose bits do not depend on the ranks.

    Parameters
    ----------
    engine : ReproducibleEngine
    sampler : Sampler
    clock : PhaseClock
    """

    hidden_share = math.nan  # nothing is sent while something is computed

    def __init__(self, engine: ReproducibleEngine, sampler: Sampler, clock: PhaseClock) -> None:
        self._engine = engine
        self._sampler = sampler
        self._clock = clock

    def prepare(self) -> None:
        """Nothing has to be found out before the first step."""

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` (from 0) of ``epoch`` (from 1); collective.

        Returns
        -------
        bool
            False, on every rank, if this was the last (see ``AllreduceStep.step``).
        """
        engine = self._engine
        start, stop = self._sampler.minibatch(step)
        self._clock.begin_step(engine.share_of(stop - start))
        engine.make(epoch, (start, stop), rate / (stop - start))
        return engine.bad_step is None and not engine.stopping

    def warm_up(self, rate: float) -> None:
        """Compile, or load, everything that steps need; changes no parameter."""
        self._engine.warm_up()
