"""One rank's arithmetic over its copy of the dataset, on the host or on a GPU.

An engine holds the parameters and the gradient in the memory of its backend.  A reduction calls
its methods to make a step: partial sums, their sum over the ranks, the update.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpcpgd.engines.context import RunContext
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.optimisers import Optimiser, Update
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_names import COMPUTE
from hpcpgd.parallel.watchdog import Heartbeat

Span = tuple[int, int]  # positions in the order of an epoch: first, and one after the last
AddUp = Callable[[mpi.Comm, Any], object]


class Engine(ABC):
    """The arithmetic of a rank, and the state of its steps.

    Parameters
    ----------
    capacity : int
        Rows that the engine scores at once.

    Attributes
    ----------
    network : Network
    parameters : ndarray, shape (size,)
        Flat vector on the host; to read it waits for pending steps.
    steps : int
        Updates made since the run began.
    bad_step : int or None
        First step, counted from 0, known to have had NaN or Inf in its gradient.
    stopping : bool
        Whether some rank was asked to stop: the same on all ranks after the same step.
    optimiser : Optimiser
    divides : Comm or None
        The ranks among which the update is divided; None if each makes all of it.
    score_rows : int or None
        Number of rows that are always scored together; None if it changes no bit.
    """

    parameters: Array
    score_rows: int | None = None

    def __init__(self, context: RunContext, capacity: int) -> None:
        self.network = context.network
        self.capacity = capacity
        config = context.config
        clip = math.inf if config.clip_norm == "none" else float(config.clip_norm)
        self.optimiser = Optimiser(config.optimizer, config.momentum, config.weight_decay, clip)
        self.divides: mpi.Comm | None = None
        self.steps = 0
        self.bad_step: int | None = None
        self.stopping = False
        self._sampler = context.sampler
        self._clock = context.clock
        self._stop = context.stop

    @abstractmethod
    def warm_up(self, steps: Sequence[tuple[Span, Update]]) -> None:
        """Compile or load all that ``steps``, pairs of rows and update, need; change nothing."""

    @abstractmethod
    def partial(self, epoch: int, rows: Span) -> None:
        """Sum gradient and scores over ``rows`` of ``epoch`` (from 1), chunk by chunk."""

    @abstractmethod
    def summed(self) -> Any:
        """Wait until the gradient is complete, and return the array that MPI sums over ranks."""

    @abstractmethod
    def learn_stop(self, comm: mpi.Comm) -> None:
        """Learn, after the sum, whether some rank was asked to stop; collective."""

    def sum(self, comm: mpi.Comm, add_up: AddUp = mpi.allreduce_sum) -> None:
        """Replace the gradient by its sum over the ranks, in place; collective.

        Parameters
        ----------
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
    def update(self, update: Update) -> None:
        """Update the parameters by the gradient."""

    def step(self, epoch: int, rows: Span, update: Update) -> None:
        """Make a whole step if nothing is summed over ranks."""
        self.partial(epoch, rows)
        self.update(update)

    def whole_states(self) -> Array:
        """Return what the optimiser keeps, shape (vectors, size of the flat vector).

        Numbers of parameters that other ranks update are 0.
        """
        return np.zeros((0, self.network.size), self.network.dtype)

    def restore_states(self, states: Array) -> None:  # noqa: B027  # most devices keep none
        """Go on with the sum of ``whole_states`` over the ranks that divide the update."""

    def settle(self) -> None:  # noqa: B027  # for engines that compute asynchronously
        """Wait for pending work, then check for NaN and Inf; on the host nothing is pending."""

    def heartbeat(self) -> Heartbeat:
        """Return a value that changes while this rank works, and whether compiled code waits.

        Any thread may call it.
        """
        return self.steps, False

    @abstractmethod
    def score(self, split: str, first: int, count: int) -> None:
        """Predict ``count`` rows of a split from ``first`` on; add to the totals."""

    @abstractmethod
    def predicted(self, count: int) -> Array:
        """Return the classes that `score` predicted: int32, shape (count,)."""

    @abstractmethod
    def take_totals(self) -> Array:
        """Return the totals of loss, correct predictions and examples, and set them to 0.

        float64, shape (8,) or (parts, 8); parts are summed over the ranks before they are added.
        """

    @abstractmethod
    def totals(self) -> Array:
        """Return the totals, as `take_totals` does, and keep them."""

    @abstractmethod
    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Continue after ``steps`` with ``totals``, which were summed over the ranks.

        ``first`` is true on the one rank that takes the totals that belong to no single rank.
        """

    @abstractmethod
    def close(self) -> None:
        """End the threads; the memory that they used may be freed after this call."""
