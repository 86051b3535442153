"""One rank's arithmetic over its copy of the dataset, wherever it computes.

An engine holds the parameters and the gradient where its backend computes with them.  A
reduction makes steps of it: partial sums, their sum over the ranks, the update.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from hpcpgd.engines.context import RunContext
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_names import COMPUTE
from hpcpgd.parallel.watchdog import Heartbeat

Span = tuple[int, int]  # positions in the order of an epoch: first, and one after the last
AddUp = Callable[[mpi.Comm, Any], object]


class Engine(ABC):
    """The arithmetic of a rank, and what became of its steps.

    Parameters
    ----------
    context : RunContext
    capacity : int
        Rows that it scores at once.

    Attributes
    ----------
    network : Network
    parameters : ndarray, shape (size,)
        Flat, on the host; waits for pending work.
    steps : int
        Updates made since the run began.
    bad_step : int or None
        First step, from 0, known to have had NaN or Inf in its gradient.
    stopping : bool
        Whether some rank was asked to stop: the same on all, after the same step.
    score_rows : int or None
        Rows that are always scored together; None if their number changes no bit.
    """

    parameters: Array
    score_rows: int | None = None

    def __init__(self, context: RunContext, capacity: int) -> None:
        self.network = context.network
        self.capacity = capacity
        self.steps = 0
        self.bad_step: int | None = None
        self.stopping = False
        self._sampler = context.sampler
        self._clock = context.clock
        self._stop = context.stop

    @abstractmethod
    def warm_up(self, steps: Sequence[tuple[Span, float]]) -> None:
        """Compile or load all that steps need, given as rows and rate; change no parameter."""

    @abstractmethod
    def partial(self, epoch: int, rows: Span) -> None:
        """Sum the gradient over ``rows`` of ``epoch`` (from 1), chunk by chunk, and its scores."""

    @abstractmethod
    def summed(self) -> Any:
        """Return what MPI sums over the ranks, once the gradient is complete."""

    @abstractmethod
    def learn_stop(self, comm: mpi.Comm) -> None:
        """Learn, after the sum, whether some rank was asked to stop; collective."""

    def sum(self, comm: mpi.Comm, add_up: AddUp = mpi.allreduce_sum) -> None:
        """Replace the gradient by its sum over the ranks, in place; collective.

        Parameters
        ----------
        comm : Comm
        add_up : callable
            Replaces an array by its sum over the ranks of a communicator, in place.  The time
            that it takes counts as reduction.
        """
        whole = self.summed()
        self._clock.lap(COMPUTE)
        fault_point("gradient", whole)
        add_up(comm, whole)
        self.learn_stop(comm)
        self._clock.lap_reduction()

    @abstractmethod
    def update(self, rate: float) -> None:
        """Subtract ``rate`` times the gradient from the parameters."""

    def step(self, epoch: int, rows: Span, rate: float) -> None:
        """Make a whole step where nothing is summed over ranks."""
        self.partial(epoch, rows)
        self.update(rate)

    def settle(self) -> None:  # noqa: B027  # for those that compute behind the host's back
        """Wait for pending work, and learn about NaN and Inf; on the host nothing is pending."""

    def heartbeat(self) -> Heartbeat:
        """Return what changes while this rank works, and whether it waits in compiled code.

        Any thread may call it.
        """
        return self.steps, False

    @abstractmethod
    def score(self, split: str, first: int, count: int) -> None:
        """Predict rows ``first …`` of a split and add up loss and correct answers."""

    @abstractmethod
    def predicted(self, count: int) -> Array:
        """Return the classes that `score` predicted, int32 (count,)."""

    @abstractmethod
    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, and start again at 0.

        float64 (8,), or (parts, 8) to be added up over the ranks before the parts are.
        """

    @abstractmethod
    def totals(self) -> Array:
        """Return what `take_totals` would, and leave it as it is."""

    @abstractmethod
    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps`` with the sum over all ranks of what they had as ``totals``.

        ``first`` is true on the one rank that takes what belongs to none in particular.
        """

    @abstractmethod
    def close(self) -> None:
        """End the threads; once they have ended, memory that they work on may be freed."""
