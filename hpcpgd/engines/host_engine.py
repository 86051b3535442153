"""An engine on a backend that computes in the host's memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.engine import Engine, Span
from hpcpgd.engines.loader import load_rows, scaling_of
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.update_rules import descend, optimise, sum_of_squares
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_names import COMPUTE, DATA, UPDATE

SLOTS = 16  # for flags after the gradient: a whole cache line
STOP = 0  # the slot of stop requests


class HostEngine(Engine):
    """An engine that copies rows to the buffers of its plan, which differentiates and scores.

    Parameters
    ----------
    plan : Plan or ScheduledPlan
        A plan of the backend.  Its buffers hold one chunk of this rank's slice.
    numbers : int, optional
        Length of the gradient that this rank sums; by default that of the parameters.

    Attributes
    ----------
    states : ndarray, shape (vectors, numbers)
        What the optimiser keeps of the parameters that this rank updates.
    """

    def __init__(self, context: RunContext, plan: Any, numbers: int | None = None) -> None:
        super().__init__(context, plan.work.capacity)
        self.plan = plan
        self.parameters = context.parameters
        size = self.network.size if numbers is None else numbers
        # The gradient and slots are summed together: a slot counts the ranks that set its flag.
        self._sums = aligned_zeros(size + SLOTS, self.network.dtype)
        self._gradient, self._slots = self._sums[:size], self._sums[size:]
        vectors = self.optimiser.traits.vectors
        self.states = aligned_zeros(vectors * size, self.network.dtype).reshape(vectors, size)
        self._stops = 0  # how many processes asked to stop in the step so far
        self._dataset = context.dataset
        self._numbers = np.zeros(self.capacity, np.int64)
        self._real = np.dtype(self.network.dtype).type
        self._scaling = scaling_of(context.dataset, self.network.dtype)

    def warm_up(self, steps: Sequence[tuple[Span, Update]]) -> None:
        """Run every compiled function once, or load it from the cache."""
        load_rows(self._dataset.train, self._sample(1, 0, 1), self._scaling, self.plan.work)
        self.plan.gradient(self.parameters, 1, self._gradient, False)
        self.plan.evaluate(self.parameters, 1)
        self.plan.work.take_totals()
        self._gradient[:] = 0
        self._update(self.optimiser.update(0.0, 1, 0), self._gradient)
        self._squares()

    def partial(self, epoch: int, rows: Span) -> None:
        """Sum the gradient over ``rows``, chunk by chunk; without rows it is zero."""
        begin, end = rows
        self._stops = 0
        for first in range(begin, max(end, begin + 1), self.plan.work.capacity):
            count = min(self.plan.work.capacity, end - first)
            self._add_chunk(epoch, first, count, first > begin)

    def _add_chunk(self, epoch: int, first: int, count: int, add: bool) -> None:
        """Sum the gradient over a chunk; ``add`` says whether to add to earlier chunks."""
        self._stops = int(self._stop.requested)
        if count == 0:
            self._gradient[:] = 0
        else:
            numbers = self._sample(epoch, first, count)
            load_rows(self._dataset.train, numbers, self._scaling, self.plan.work)
            self._clock.lap(DATA)
            self.plan.gradient(self.parameters, count, self._gradient, add)
        self._clock.lap(COMPUTE)

    def summed(self) -> Array:
        """Return the gradient and the flags that are summed with it."""
        self._slots[STOP] = self._stops
        return self._sums

    def learn_stop(self, comm: mpi.Comm) -> None:
        """Read from the sum how many ranks were asked to stop."""
        self._stops = int(self._slots[STOP])

    def update(self, update: Update) -> None:
        """Update the parameters by the gradient."""
        finite = self._update(self._clipped(update), self.parameters)
        self._end_step(not finite, self._stops)
        self._clock.lap(UPDATE)

    def _update(self, update: Update, parameters: Array) -> bool:
        """Update ``parameters``; return whether the gradient is finite."""
        if self.optimiser.is_plain:
            return bool(descend(parameters, self._gradient, self._real(update.rate)))
        return bool(optimise(update, parameters, self._gradient, self.states, 0))

    def _clipped(self, update: Update) -> Update:
        """Return an update whose gradient is short enough; collective if ranks divide it."""
        if self.optimiser.clip == math.inf:
            return update
        squares = self._squares()
        if self.divides is not None and self.divides.size > 1:
            self._clock.lap(UPDATE)
            mpi.allreduce_sum(self.divides, squares)  # exact: each number is 0 but on one rank
            self._clock.lap_reduction()
        return self.optimiser.clipped(update, math.sqrt(squares.sum()))

    def _squares(self) -> Array:
        """Return the sums of squares of parts of the gradient, 0 for parts of other ranks."""
        return np.array([sum_of_squares(self._gradient)])

    def whole_states(self) -> Array:
        """Return what the optimiser keeps, shape (vectors, size of the flat vector)."""
        return self.states.copy()

    def restore_states(self, states: Array) -> None:
        """Go on with what ``whole_states`` returned, summed over the ranks that divide it."""
        self.states[:] = states

    def score(self, split: str, first: int, count: int) -> None:
        """Predict ``count`` rows of a split from ``first`` on; add to the totals."""
        numbers = np.arange(first, first + count)
        load_rows(getattr(self._dataset, split), numbers, self._scaling, self.plan.work)
        self.plan.evaluate(self.parameters, count)

    def predicted(self, count: int) -> Array:
        """Return the classes that `score` predicted: int32, shape (count,)."""
        return np.asarray(self.plan.work.predicted[:count])

    def take_totals(self) -> Array:
        """Return the totals of loss, correct predictions and examples, (8,); set them to 0."""
        return np.asarray(self.plan.work.take_totals())

    def totals(self) -> Array:
        """Return the totals, as `take_totals` does, and keep them."""
        return np.asarray(self.plan.work.totals.sum(axis=0))

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Continue after ``steps``; the ``first`` rank keeps the totals of all ranks."""
        self.steps = steps
        if first:
            self.plan.work.totals[0] = totals.sum(axis=0)

    def close(self) -> None:
        """End the threads of the plan."""
        self.plan.close()

    def _end_step(self, bad: int, stops: int) -> None:
        if bad:
            self.bad_step = self.steps
        self.stopping = stops > 0
        self.steps += 1

    def _sample(self, epoch: int, first: int, count: int) -> Array:
        numbers = self._numbers[:count]
        self._sampler.numbers(epoch, first, numbers)
        return numbers
