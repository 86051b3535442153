"""One rank's arithmetic over its copy of the dataset: on the host here, or on a GPU.

An engine holds the parameters and the gradient where its backend computes with them.
Reduction ``allreduce`` is a schedule over ``partial``, ``sum`` and ``update``; those that
need more of a backend bring engines of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.loader import make_loader
from hpcpgd.kernels.backends.registry import Plan
from hpcpgd.kernels.core.elementwise import descend
from hpcpgd.kernels.core.network import Array, Network, aligned_zeros
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import COMPUTE, DATA, UPDATE, PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Heartbeat

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI

SLOTS = 16  # of flags behind the gradient: a whole cache line
STOP = 0
Rows = tuple[int, int]  # positions in the order of an epoch: first, and one after the last


class Engine(Protocol):
    """What the training loop and the evaluation rely on.

    Attributes
    ----------
    network : Network
    capacity : int
        Rows that it works on at once.
    steps : int
        Updates made since the run began.
    bad_step : int or None
        First step, from 0, known to have had NaN or Inf in its gradient.
    stopping : bool
        Whether some rank was asked to stop: the same on all, after the same step.
    score_rows : int or None
        Rows that are always scored together; None if their number changes no bit.
    """

    network: Network
    capacity: int
    steps: int
    bad_step: int | None
    stopping: bool
    score_rows: int | None

    @property
    def parameters(self) -> Array:
        """The flat vector of parameters on the host; waits for pending work."""

    def settle(self) -> None:
        """Wait for pending work and find out about NaN and Inf."""

    def score(self, split: str, first: int, count: int) -> None:
        """Predict rows ``first …`` of a split and add up loss and correct answers."""

    def predicted(self, count: int) -> Array:
        """Return the classes that ``score`` predicted, int32 (count,)."""

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, and start again at 0.

        float64 (8,), or (parts, 8) to be added up over the ranks before the parts are.
        """

    def heartbeat(self) -> Heartbeat:
        """Return what changes while this rank works, and whether it waits in compiled code.

        Any thread may call it.
        """

    def totals(self) -> Array:
        """Return what ``take_totals`` would, and leave it as it is."""

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps`` with the sum over all ranks of what they had as ``totals``.

        ``first`` is true on the one rank that takes what belongs to none in particular.
        """

    def close(self) -> None:
        """End the threads; once they have ended, memory that they work on may be freed."""


class StepEngine(Engine, Protocol):
    """What reduction ``allreduce`` makes a step of."""

    def warm_up(self, steps: Sequence[tuple[Rows, float]]) -> None:
        """Compile or load all that steps need, given as rows and rate; change no parameter."""

    def partial(self, epoch: int, rows: Rows) -> None:
        """Sum the gradient over this rank's slice of ``epoch`` (from 1), and its scores."""

    def sum(self, comm: MPI.Comm) -> None:
        """Replace the gradient by its sum over the ranks; collective."""

    def update(self, rate: float) -> None:
        """Subtract ``rate`` times the gradient from the parameters."""

    def step(self, epoch: int, rows: Rows, rate: float) -> None:
        """Make a whole step on one rank: ``partial`` and ``update``."""


class HostEngine:
    """An engine on a backend that computes in the host's memory.

    Parameters
    ----------
    plan : Plan
        The backend; its buffers hold one chunk of this rank's slice.
    dataset : Dataset
    sampler : Sampler
    parameters : ndarray, shape (size,)
        Flat vector, updated in place.
    clock : PhaseClock
    stop : StopRequest
    """

    score_rows: int | None = None

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
        stop: StopRequest,
    ) -> None:
        self.plan = plan
        self.network: Network = plan.network
        self.capacity: int = plan.work.capacity
        self.parameters = parameters
        self.steps = 0
        self.bad_step: int | None = None
        self.stopping = False
        self._stop = stop
        self._dataset = dataset
        self._sampler = sampler
        self._clock = clock
        # The gradient, and slots that travel with it: each counts the ranks that raise a flag.
        self._sums = aligned_zeros(self.network.size + SLOTS, self.network.dtype)
        self._gradient = self._sums[: self.network.size]
        self._slots = self._sums[self.network.size :]
        self._numbers = np.zeros(self.capacity, np.int64)
        self._real = np.dtype(self.network.dtype).type
        self.loader = make_loader(dataset, plan.work)

    def warm_up(self, steps: Sequence[tuple[Rows, float]]) -> None:
        """Run every compiled function once, or load it from the cache."""
        self.loader.load(self._dataset.train, self._sample(1, 0, 1))
        self.plan.gradient(self.parameters, 1, self._gradient, False)
        self.plan.evaluate(self.parameters, 1)
        self.plan.work.take_totals()
        self._gradient[:] = 0
        descend(self._gradient, self._gradient, self._real(0))

    def partial(self, epoch: int, rows: Rows) -> None:
        """Sum the gradient over this rank's slice, chunk by chunk."""
        begin, end = rows
        if begin == end:
            self._gradient[:] = 0
            self._clock.lap(COMPUTE)
        for first in range(begin, end, self.capacity):
            numbers = self._sample(epoch, first, min(self.capacity, end - first))
            self.loader.load(self._dataset.train, numbers)
            self._clock.lap(DATA)
            self.plan.gradient(self.parameters, numbers.size, self._gradient, first > begin)
            self._clock.lap(COMPUTE)

    def sum(self, comm: MPI.Comm) -> None:
        """Replace the gradient by its sum over the ranks, in place; collective."""
        self._slots[STOP] = self._stop.requested
        mpi.allreduce_sum(comm, self._sums)
        self.stopping = bool(self._slots[STOP] > 0)
        self._clock.lap_reduction()
        self._clock.end_reduction()

    def update(self, rate: float) -> None:
        """Subtract ``rate`` times the gradient from the parameters."""
        if not descend(self.parameters, self._gradient, self._real(rate)):
            self.bad_step = self.steps
        self.steps += 1
        self._clock.lap(UPDATE)

    def step(self, epoch: int, rows: Rows, rate: float) -> None:
        """Make a whole step on one rank."""
        self.partial(epoch, rows)
        self.update(rate)
        self.stopping = self._stop.requested

    def heartbeat(self) -> Heartbeat:
        """Return the steps made; it waits for other ranks in MPI alone."""
        return self.steps, False

    def settle(self) -> None:
        """Nothing is ever pending on the host."""

    def score(self, split: str, first: int, count: int) -> None:
        """Predict rows ``first …`` of a split and add up loss and correct answers."""
        self.loader.load(getattr(self._dataset, split), np.arange(first, first + count))
        self.plan.evaluate(self.parameters, count)

    def predicted(self, count: int) -> Array:
        """Return the classes that ``score`` predicted, int32 (count,)."""
        return np.asarray(self.plan.work.predicted[:count])

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, float64 (8,), and start again at 0."""
        return np.asarray(self.plan.work.take_totals())

    def totals(self) -> Array:
        """Return what ``take_totals`` would, and leave it as it is."""
        return np.asarray(self.plan.work.totals.sum(axis=0))

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps`` with the sums of all ranks, kept by the first."""
        self.steps = steps
        if first:
            self.plan.work.totals[0] = totals.sum(axis=0)

    def close(self) -> None:
        """End the threads of the plan."""
        self.plan.close()

    def _sample(self, epoch: int, first: int, count: int) -> Array:
        numbers = self._numbers[:count]
        self._sampler.numbers(epoch, first, numbers)
        return numbers
