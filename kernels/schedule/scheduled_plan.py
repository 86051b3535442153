"""A plan that works by a schedule, which assigns units to threads and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import LOSS_CODES, Array, Network, aligned_zeros
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.partition import padded_size
from hpcpgd.kernels.core.update_rules import sum_of_squares
from hpcpgd.kernels.core.workspace import Allocate, Workspace
from hpcpgd.kernels.schedule.barrier import Barrier, make_barrier
from hpcpgd.kernels.schedule.command import APPLY, DESCEND, PROPAGATE, STATUS, PassResult
from hpcpgd.kernels.schedule.execute import Layout, Source, Work
from hpcpgd.kernels.schedule.phases import GRADIENT, OUTPUT, Phase, Schedule, Span, unit_size
from hpcpgd.kernels.schedule.units import Memory
from hpcpgd.kernels.schedule.worker_pool import WorkerPool


@dataclass(frozen=True)
class WorkerRange:
    """Which workers are threads of this process, and the barrier of all workers.

    Attributes
    ----------
    first, threads : int
        This process's workers are ``first … first + threads - 1``.
    barrier : Barrier
        The barrier of the workers of all processes.
    allocate : callable
        Takes a size and a dtype, returns zeros in memory that all workers share.
    """

    first: int
    threads: int
    barrier: Barrier
    allocate: Allocate = aligned_zeros


def single_process(threads: int, oversubscribed: bool = False) -> WorkerRange:
    """Return the range of a process whose ``threads`` are the only workers.

    ``oversubscribed`` says whether there are more threads than cores.
    """
    return WorkerRange(0, threads, make_barrier(threads, oversubscribed=oversubscribed))


@dataclass(frozen=True)
class Rows:
    """Rows that a process gathers into the buffers before a pass.

    Attributes
    ----------
    begin, end : int
        The rows of the buffers that receive them, the first and one after the last.
    position : int
        Position of row 0 of the buffers in the order of ``epoch``.
    epoch : int
        Counted from 1.
    """

    source: Source
    begin: int
    end: int
    position: int
    epoch: int = 0


class ScheduledPlan:
    """Forward and backward propagation of up to ``capacity`` rows.

    If several processes share the workers, ``run``, ``update``, ``gradient`` and ``evaluate``
    are collective over these processes.

    Parameters
    ----------
    capacity : int
        Rows that the buffers hold.
    library : NamedTuple
        What units call; its type selects the backend's.
    blas : Blas, MatmulStandIn or None
    pool : WorkerPool, optional
        Threads that other plans use, too; by default a new pool.

    Attributes
    ----------
    states : ndarray, shape (vectors, size of the target of updates)
        What the optimiser keeps; may be replaced before the first call.
    """

    def __init__(
        self,
        network: Network,
        capacity: int,
        library: Any,
        blas: Any,
        schedule: Schedule,
        place: WorkerRange,
        pool: WorkerPool | None = None,
    ) -> None:
        self.network = network
        self.schedule = schedule
        parts = max(p.grid.parts for p in schedule.phases if p.kind == OUTPUT)
        self.work = Workspace(network, capacity, parts, place.allocate)
        self.learning = len(schedule.phases)
        self.scoring = schedule.first(OUTPUT) + 1
        self.gradients = schedule.first(GRADIENT)
        self.pool = pool or WorkerPool(place.threads)
        self._blas = blas  # keeps the library open, so that its addresses stay valid
        self._library = library
        self._place = place
        self._status = place.allocate(2 * schedule.workers, STATUS).reshape(2, -1)
        places, self._units = _places(network, schedule, place)
        self.packed_size = self._units[-1][-1] if self._units else 0
        tables, workers = (schedule.table, schedule.bounds, places), (place.first, place.threads)
        self._layout = Layout(self.work.table, *tables, *workers, LOSS_CODES[network.loss])
        self._private = self._private_buffers()
        self.states = np.zeros((0, 0), network.dtype)
        real = np.dtype(network.dtype).type
        no_labels = (
            np.zeros((0, network.widths[-1])) if network.regression else np.zeros(0, np.int32)
        )
        no_rows = np.zeros((0, network.widths[0]), np.uint8), no_labels
        self._source = Source(*no_rows, real(1), real(0), -1, 0)
        self._work: Work | None = None
        self._bound: tuple[Any, ...] = ()
        self._parity = 0  # see ``execute``

    @property
    def scored(self) -> tuple[int, int]:
        """The rows of the totals to which this process adds, the first and one after the last."""
        bounds, first = self.schedule.bounds[self.scoring - 1], self._place.first
        return int(bounds[first]), int(bounds[first + self._place.threads])

    @property
    def arrivals(self) -> tuple[int, bool]:
        """How many arrivals the barrier has counted, and whether a worker waits there."""
        barrier = self._place.barrier
        count = int(barrier.state[0])
        return count, count % barrier.workers > 0

    @property
    def is_shared(self) -> bool:
        """Whether workers of other processes use the barrier, too."""
        return self._place.threads < self._place.barrier.workers

    def run(
        self,
        parameters: Array,
        target: Array,
        phases: Span,
        count: int,
        rows: Rows | None = None,
        scales: tuple[float, float] = (1.0, 0.0),
        *,
        packed: bool = False,
        learn: bool = True,
        stop: bool = False,
    ) -> PassResult:
        """Run phases (first, one after the last) on ``count`` rows; collective.

        Parameters
        ----------
        parameters : ndarray, shape (size,)
        target : ndarray, shape (size,) or (packed_size,)
            Receives the gradient: ``scales[0] * gradient + scales[1] * target``.
        rows : Rows, optional
            Rows to gather first; by default those of the last pass are used again.
        packed : bool
            Whether ``target`` holds only this process's units, ``packed_size`` numbers.
        learn : bool
            Whether deltas are needed.
        stop : bool
            Whether this process requests a stop of all processes.
        """
        command = self.pool.command
        command.learn, command.count = learn, count
        command.load = rows is not None
        if rows is not None:
            self._source = rows.source
            command.load_begin, command.load_end = rows.begin, rows.end
            command.position, command.epoch = rows.position, rows.epoch
        command.scale, command.before = scales
        return self._execute(PROPAGATE, parameters, target, phases, packed, stop)

    def update(
        self, parameters: Array, target: Array, update: Update, packed: bool, stop: bool
    ) -> PassResult:
        """Update the parameters by the target, packed or whole; collective."""
        command = self.pool.command
        command.rule, command.rate, command.scale = update.rule, update.rate, update.scale
        command.decay, command.keep = update.decay, update.keep
        command.momentum, command.correction = update.momentum, update.correction
        phases = self.gradients, self.learning
        return self._execute(APPLY if packed else DESCEND, parameters, target, phases, packed, stop)

    def unit_views(self, packed: Array, flat: Array) -> Iterator[tuple[Array, Array]]:
        """Yield views of this process's units in a packed vector, and in a whole one.

        The order is that in which ``execute`` packs them.
        """
        for number, unit, place, _ in self._units:
            for part in _parts(self.network, flat, self.schedule.phases[number], unit):
                yield packed[place : place + part.size].reshape(part.shape), part
                place += padded_size(part.size)

    def squares(self, packed: Array) -> Array:
        """Return each unit's sum of squares, (phases, units); 0 for those of other processes."""
        phases = self.schedule.phases
        squares = np.zeros((len(phases), max(phase.grid.units for phase in phases)))
        for number, unit, begin, end in self._units:
            squares[number, unit] = sum_of_squares(packed[begin:end])
        return squares

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores."""
        scales = (1.0, 1.0 if add else 0.0)
        self.run(parameters, out, (0, self.learning), count, scales=scales)

    def evaluate(self, parameters: Array, count: int, rows: Rows | None = None) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""
        self.run(parameters, parameters, (0, self.scoring), count, rows=rows, learn=False)

    def close(self) -> None:
        """End the threads of the pool, which other plans may share."""
        self.pool.close()

    def _execute(
        self, opcode: int, parameters: Array, target: Array, phases: Span, packed: bool, stop: bool
    ) -> PassResult:
        self._bind(parameters, target)
        command = self.pool.command
        self._parity ^= 1
        command.opcode, command.parity, command.packed = opcode, self._parity, packed
        command.begin, command.end = phases
        command.stop = stop
        stops, bad, waited, loaded = self.pool.lead()
        return PassResult(stops, bad, waited * 1e-9, loaded * 1e-9)

    def _bind(self, parameters: Array, target: Array) -> None:
        """Bind the pool to these arrays; a new binding waits for the pool's threads."""
        objects = (parameters, target, self._source)
        if not self._bound or any(a is not b for a, b in zip(objects, self._bound, strict=True)):
            work = self.work
            rows = (work.activations, work.deltas, work.labels, work.predicted, work.totals)
            memory = Memory(parameters, target, self.states, *rows, *self._private, self._status)
            barrier, layout = self._place.barrier, self._layout
            self._bound = objects
            self._work = Work(self._library, barrier, layout, memory, self._source)
        if self._work is not None:
            self.pool.bind(self._work)

    def _private_buffers(self) -> tuple[Array, Array, Array]:
        """Return sums, scratch and numbers, with one row for each thread of this process."""
        net, threads = self.network, self._place.threads
        largest = max(_largest_unit(net, p) for p in self.schedule.phases if p.kind == GRADIENT)
        sums = aligned_zeros(threads * net.padded(max(net.widths)), net.dtype)
        scratch = aligned_zeros(threads * net.padded(largest), net.dtype)
        numbers = np.zeros((threads, self.work.capacity), np.int64)
        return sums.reshape(threads, -1), scratch.reshape(threads, -1), numbers


def _largest_unit(network: Network, phase: Phase) -> int:
    return max(unit_size(network, phase, unit)[0] for unit in range(phase.grid.units))


def _parts(network: Network, flat: Array, phase: Phase, unit: int) -> list[Array]:
    """Return a unit's weights in a whole vector and, if it has them, its biases."""
    rows, columns = phase.block(network, 0, unit)
    weights = network.weights(flat, phase.layer)[slice(*rows), slice(*columns)]
    biases = [network.biases(flat, phase.layer)[slice(*columns)]] if rows[0] == 0 else []
    return [weights, *biases]


def _places(
    network: Network, schedule: Schedule, place: WorkerRange
) -> tuple[Array, list[tuple[int, int, int, int]]]:
    """Return where each worker's packed units begin, and phase, unit, begin and end of each."""
    places, packed, end = np.zeros(schedule.workers, np.int64), [], 0
    for worker in range(place.first, place.first + place.threads):
        places[worker] = end
        for number, phase in enumerate(schedule.phases):
            bounds = schedule.bounds[number, worker : worker + 2]
            for unit in range(*bounds) if phase.kind == GRADIENT else ():
                begin, end = end, end + sum(map(padded_size, unit_size(network, phase, unit)))
                packed.append((number, unit, begin, end))
    return places, packed
