"""A plan that works by a schedule: its units are dealt to threads and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import LOSS_CODES, Array, Network, aligned_zeros
from hpcpgd.kernels.core.partition import block_range, columns_range, padded_size
from hpcpgd.kernels.core.workspace import Allocate, Workspace
from hpcpgd.kernels.schedule import execute as ex
from hpcpgd.kernels.schedule.barrier import LINE, Barrier, make_barrier
from hpcpgd.kernels.schedule.phases import GRADIENT, OUTPUT, Phase, Schedule, shape
from hpcpgd.kernels.schedule.units import Memory
from hpcpgd.kernels.schedule.worker_pool import Binding, WorkerPool


@dataclass(frozen=True)
class WorkerRange:
    """Which workers a process has, and where all of them meet.

    Attributes
    ----------
    first, threads : int
        This process's workers are ``first … first + threads - 1``.
    barrier : Barrier
        Of all workers.
    allocate : callable
        Returns zeros that all workers see: of a size and a dtype.
    """

    first: int
    threads: int
    barrier: Barrier
    allocate: Allocate = aligned_zeros


def single_process(threads: int, oversubscribed: bool = False) -> WorkerRange:
    """Return the place of a process whose threads are all the workers.

    ``oversubscribed`` says that there are more threads than cores.
    """
    return WorkerRange(0, threads, make_barrier(threads, oversubscribed=oversubscribed))


@dataclass(frozen=True)
class Rows:
    """Rows that a process brings into the buffers before a pass.

    Attributes
    ----------
    begin, end : int
        Where they go.
    position : int
        That of buffer row 0 in the order of ``epoch``.
    epoch : int
        From 1.
    """

    begin: int
    end: int
    position: int
    epoch: int


class ScheduledPlan:
    """Forward and backward propagation of up to ``capacity`` rows.

    Parameters
    ----------
    network : Network
    capacity : int
        Rows that the buffers hold.
    backend : module
        Its ``calls`` tells what its units call.
    blas : Blas, MatmulStandIn or None
    schedule : Schedule
    place : WorkerRange
    pool : WorkerPool, optional
        Threads that other plans use as well.
    """

    def __init__(
        self,
        network: Network,
        capacity: int,
        backend: Any,
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
        self._blas = blas  # kept, so that the addresses stay valid
        self._library = backend.calls(blas, network.dtype)
        self._place = place
        self._status = place.allocate(2 * schedule.workers * LINE, np.int64)
        self._status = self._status.reshape(2, schedule.workers, LINE)
        self._places, self.packed_size = _places(network, schedule, place)
        self._layout = ex.Layout(
            self.work.table,
            schedule.table,
            schedule.bounds,
            self._places,
            place.first,
            place.threads,
            LOSS_CODES[network.loss],
        )
        self._private = self._private_buffers()
        real = np.dtype(network.dtype).type
        nothing = np.zeros((0, network.widths[0]), np.uint8), np.zeros(0, np.int32)
        self._no_rows = ex.Source(*nothing, real(1), real(0), -1, 0)
        self._bound: tuple[Any, ...] = ()
        self._binding: Binding | None = None
        # Two commands' flags: who is fast may give the next while who is slow reads the last.
        self._parity = 0
        self._raised = 0

    @property
    def scored(self) -> tuple[int, int]:
        """The rows of the totals, first and one after the last, that this process adds to."""
        bounds, first = self.schedule.bounds[self.scoring - 1], self._place.first
        return int(bounds[first]), int(bounds[first + self._place.threads])

    @property
    def arrivals(self) -> tuple[int, bool]:
        """How often workers came to the barrier, and whether some wait there for others."""
        barrier = self._place.barrier
        count = int(barrier.state[0])
        return count, count % barrier.workers > 0

    def bind(self, parameters: Array, target: Array, source: ex.Source) -> None:
        """Let the commands to come be about these; ``target`` receives gradients."""
        objects = (parameters, target, source)
        if not self._bound or any(a is not b for a, b in zip(objects, self._bound, strict=True)):
            work = self.work
            memory = Memory(
                parameters,
                target,
                work.activations,
                work.deltas,
                work.labels,
                work.predicted,
                work.totals,
                *self._private,
                self._status,
            )
            arguments = (self._library, self._place.barrier, self._layout, memory, source)
            self._bound = objects
            self._binding = Binding(arguments, self._place.first)
        if self._binding is not None:
            self.pool.bind(self._binding)

    def propagate(
        self,
        phases: tuple[int, int],
        count: int,
        scales: tuple[float, float] = (1.0, 0.0),
        rows: Rows | None = None,
        *,
        packed: bool = False,
        learn: bool = True,
    ) -> int:
        """Run phases (first, one after the last) on ``count`` rows; return the flags.

        Gradients become ``scales[0] * sum + scales[1] * before``.  All workers call it alike.
        """
        command = self.pool.command
        command[ex.LEARN], command[ex.PACKED], command[ex.COUNT] = learn, packed, count
        command[ex.LOAD] = rows is not None
        if rows is not None:
            command[ex.LOAD_BEGIN], command[ex.LOAD_END] = rows.begin, rows.end
            command[ex.POSITION], command[ex.EPOCH] = rows.position, rows.epoch
        self.pool.scales[:] = scales
        return self._execute(ex.PROPAGATE, phases)

    def descend(self, rate: float) -> int:
        """Subtract ``rate`` times the target from the parameters; return the flags."""
        self.pool.scales[0] = rate
        return self._execute(ex.DESCEND, (0, 0))

    def apply(self, rate: float) -> int:
        """Subtract ``rate`` times the packed target from its blocks; return the flags."""
        self.pool.scales[0] = rate
        self.pool.command[ex.PACKED] = 1
        return self._execute(ex.APPLY, (self.gradients, self.learning))

    def raise_stop(self, flag: int) -> None:
        """Let the next command's flags count ``flag`` for this process."""
        self._raised = flag

    def waited(self) -> tuple[float, float]:
        """Return the seconds that thread 0 waited and gathered rows in the last command."""
        words = self._status[self._parity, self._place.first]
        return float(words[ex.WAITED]) * 1e-9, float(words[ex.LOADED]) * 1e-9

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and their scores."""
        self.bind(parameters, out, self._no_rows)
        self.propagate((0, self.learning), count, (1.0, 1.0 if add else 0.0))

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add up loss and correct answers."""
        self.bind(parameters, parameters, self._no_rows)
        self.propagate((0, self.scoring), count, learn=False)

    def close(self) -> None:
        """End the threads of the pool, and so those of all plans that use it."""
        self.pool.close()

    def _execute(self, opcode: int, phases: tuple[int, int]) -> int:
        command = self.pool.command
        self._parity ^= 1
        self._status[self._parity, self._place.first, ex.STOP] = self._raised
        self._raised = 0
        command[ex.OPCODE], command[ex.PARITY] = opcode, self._parity
        command[ex.BEGIN], command[ex.END] = phases
        return self.pool.lead()

    def _private_buffers(self) -> tuple[Array, Array, Array]:
        """Return sums, scratch and numbers: a row for each thread of this process."""
        net, threads = self.network, self._place.threads
        largest = max(_largest_unit(net, p) for p in self.schedule.phases if p.kind == GRADIENT)
        sums = aligned_zeros(threads * net.padded(max(net.widths)), net.dtype)
        scratch = aligned_zeros(threads * net.padded(largest), net.dtype)
        numbers = np.zeros((threads, self.work.capacity), np.int64)
        return sums.reshape(threads, -1), scratch.reshape(threads, -1), numbers


def unit_size(network: Network, phase: Phase, unit: int) -> tuple[int, int]:
    """Return the numbers of ∂W and of ∂b in one unit of a gradient."""
    m, n, _ = shape(network, GRADIENT, phase.layer, 1)
    part, tile = divmod(unit, phase.grid.tiles)
    top, bottom = block_range(m, phase.grid.parts, part)
    left, right = columns_range(n, phase.grid.tiles, tile)
    return (bottom - top) * (right - left), (right - left if part == 0 else 0)


def _largest_unit(network: Network, phase: Phase) -> int:
    return max(unit_size(network, phase, unit)[0] for unit in range(phase.grid.units))


def _places(network: Network, schedule: Schedule, place: WorkerRange) -> tuple[Array, int]:
    """Return where each worker's packed units begin in its process, and this one's numbers."""
    places = np.zeros(schedule.workers, np.int64)
    end = 0
    for worker in range(place.first, place.first + place.threads):
        places[worker] = end
        for phase, bounds in zip(schedule.phases, schedule.bounds, strict=True):
            if phase.kind == GRADIENT:
                units = range(bounds[worker], bounds[worker + 1])
                sizes = [size for unit in units for size in unit_size(network, phase, unit)]
                end += sum(padded_size(size) for size in sizes)
    return places, end
