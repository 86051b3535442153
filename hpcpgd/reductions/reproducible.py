"""Reduction ``reproducible``: the same bits for every number of ranks and every placement.

Every product is cut into units, eight for each of ``shards``: parts of its rows and tiles of
its columns.  Unit shapes are independent of the number of ranks, and one call of the same
single-threaded routine computes a unit.  A unit of a weight gradient is over all rows of the
minibatch: sums over examples are never divided, so their order cannot change.  All threads of
all ranks share the units, and none is computed twice.  Groups of ranks that share no memory
exchange units: activations and deltas after each layer, updated weights after each step.

Products on tiles need no fixed units: whatever is computed together, each number's sum has the
same order.  There every worker has one unit, and only the scores are summed by shards.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from hpcpgd.engines.context import RunContext, chunk_rows
from hpcpgd.engines.engine import Span
from hpcpgd.engines.scheduled_engine import ScheduledEngine
from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.workspace import Workspace
from hpcpgd.kernels.schedule.phases import FORWARD, GRADIENT, OUTPUT, Schedule, divided, fixed
from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Group
from hpcpgd.reductions.group_memory import share_parameters, workers_of
from hpcpgd.reductions.reduction import Reduction
from hpcpgd.reductions.traffic import parameter_bytes

SCORE_ROWS = 512  # scored together
FLAG_BYTES = 16  # two int64, summed over all ranks


def keeps_inputs(network: Network, layer: int) -> bool:
    """Return whether the derivative of a layer's function needs its pre-activations."""
    return network.functions[layer - 1] == "gelu"


class Exchange:
    """Copies units that other groups computed to the memory of this group.

    Parameters
    ----------
    plan : ScheduledPlan
        Its schedule divides units over the workers of all groups, group after group.
    threads : int
        Threads of every rank.
    """

    def __init__(self, group: Group, plan: ScheduledPlan, threads: int) -> None:
        self._group = group
        self._schedule: Schedule = plan.schedule
        self._network = plan.network
        self._work: Workspace = plan.work
        ends = np.cumsum([0, *group.sizes]) * threads
        self._workers = [(int(b), int(e)) for b, e in itertools.pairwise(ends)]

    def rows(self, phase: int, count: int) -> None:
        """Complete the results of a phase for ``count`` rows of the minibatch; collective."""
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
        """Return views of a group's units of a phase in its results.

        These are activations or deltas, and for gelu also the pre-activations.
        """
        kind, layer = self._schedule.phases[phase].kind, self._schedule.phases[phase].layer
        if kind == FORWARD:
            results = [self._work.layer(layer)]
            if keeps_inputs(self._network, layer):
                results.append(self._work.kept(layer))
        else:
            results = [self._work.delta(layer if kind == OUTPUT else layer - 1)]
        units = self._units(phase, group, count)
        return [whole[slice(*r), slice(*columns)] for r, columns in units for whole in results]

    def _parameter_views(self, flat: Array, group: int) -> list[Array]:
        """Return views of the parameters that a group updates."""
        views = []
        for number, phase in enumerate(self._schedule.phases):
            if phase.kind != GRADIENT:
                continue
            weights = self._network.weights(flat, phase.layer)
            biases = self._network.biases(flat, phase.layer)
            for rows, columns in self._units(number, group, 1):
                views.append(weights[slice(*rows), slice(*columns)])
                if rows[0] == 0:
                    views.append(biases[slice(*columns)])
        return views

    def _units(self, phase: int, group: int, count: int) -> Iterable[tuple[Span, Span]]:
        """Yield the rows and columns of the units that a group computes in a phase."""
        begin, end = self._workers[group]
        bounds = self._schedule.bounds[phase]
        for unit in range(bounds[begin], bounds[end]):
            yield self._schedule.phases[phase].block(self._network, count, unit)

    def _swap(self, leaders: mpi.Comm, views: list[list[Array]]) -> None:
        """Fill the views of all other groups with their values; collective over leaders.

        ``views`` has a list for each group.
        """
        counts = [sum(view.size for view in group_views) for group_views in views]
        parts = [view.ravel() for view in views[self._group.number]]
        sent = np.concatenate([np.zeros(0, self._network.dtype), *parts])
        everything = np.empty(sum(counts), self._network.dtype)
        mpi.allgatherv(leaders, sent, counts, everything)
        place = 0
        for number, group_views in enumerate(views):
            for view in group_views:
                if number != self._group.number:
                    view[...] = everything[place : place + view.size].reshape(view.shape)
                place += view.size


class Reproducible(Reduction):
    """All ranks work on the whole minibatch and divide its units, which have a fixed shape.

    Parameters
    ----------
    exchange : Exchange
        Made for the plan of ``engine``.
    """

    def __init__(self, context: RunContext, engine: ScheduledEngine, exchange: Exchange) -> None:
        super().__init__(context, engine)
        self._group, self._exchange = context.group, exchange
        engine.divides = context.comm

    def rows(self, step: int) -> Span:
        """Return the positions of the whole minibatch ``step``."""
        return self._sampler.minibatch(step)

    def share(self, rows: Span) -> int:
        """Return the number of rows that this rank would have if rows were divided."""
        rank = self._group.first + self._group.index
        begin, end = block_range(rows[1] - rows[0], self._comm.size, rank)
        return end - begin

    def make(self, epoch: int, rows: Span, update: Update) -> None:
        """Update this group's units and exchange them with other groups; collective."""
        engine = self.engine
        engine.step(epoch, rows, update)
        if self._group.count == 1:
            return
        self._exchange.parameters(engine.parameters)
        flags = np.array([engine.stopping, engine.bad_step is not None], np.int64)
        mpi.allreduce_sum(self._comm, flags)
        engine.stopping = bool(flags[0])
        if flags[1] and engine.bad_step is None:
            engine.bad_step = engine.steps - 1  # this step, which is counted already
        self._clock.lap_reduction()


def _schedule(context: RunContext, rows: int, workers: int) -> Schedule:
    """Return a schedule whose results do not depend on the number of workers."""
    network, config, shards = context.network, context.config, context.config.shards
    # The norm of a gradient is summed unit by unit.
    if config.matmul_precision in TILE_PARTS and config.clip_norm == "none":
        return divided(network, rows, workers, shards=shards)
    return fixed(network, rows, shards, workers)


def make(context: RunContext) -> Reduction:
    """Return the reduction of a run; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has too little shared memory.
    """
    # Capacities determine bits: only the division of units over ranks may depend on the ranks.
    context = share_parameters(context)
    group, network, threads = context.group, context.network, context.resources.threads
    capacity = chunk_rows(network, context.sampler.batch_size, 0)
    schedule = _schedule(context, capacity, context.comm.size * threads)
    plan = context.scheduled_plan(capacity, schedule, workers_of(context, group.first * threads))
    few = chunk_rows(network, 1, SCORE_ROWS)
    scorer = context.scheduled_plan(few, _schedule(context, few, threads), pool=plan.pool)
    exchange = Exchange(group, plan, threads)
    exchange_rows = exchange.rows if group.count > 1 else None
    engine = ScheduledEngine(context, plan, scorer, exchange_rows, apart=True)
    return Reproducible(context, engine, exchange)


def communicated(
    network: Network, rows: int, sizes: tuple[int, ...], threads: int, on_device: bool
) -> list[int]:
    """Return the bytes of a step (see ``traffic.communicated``), which groups send each other.

    They send activations and deltas of the hidden layers, for gelu also pre-activations, deltas
    of the output layer, and all parameters.  No other group needs the activations of the output
    layer.
    """
    if len(sizes) == 1:
        return [0] * (network.depth + 1)
    layers = []
    for layer, nbytes in enumerate(parameter_bytes(network), 1):
        arrays = 1 if layer == network.depth else 2 + keeps_inputs(network, layer)
        numbers = rows * network.widths[layer] * arrays
        layers.append(numbers * network.itemsize + nbytes)
    return [FLAG_BYTES * sum(sizes), *layers]
