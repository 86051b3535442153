"""The base class of all reductions: the course of a step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.engine import Engine, Span
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.parallel import mpi


class Reduction(ABC):
    """One step of algorithm 5: partial sums, their sum over the ranks, the update.

    Parameters
    ----------
    engine : Engine
        This rank's arithmetic.  Its parameters are the same on all ranks.

    Attributes
    ----------
    hidden_share : float
        Fraction of the communication so far that cost no time; NaN if none is hidden.
    """

    hidden_share = math.nan

    def __init__(self, context: RunContext, engine: Engine) -> None:
        self.engine = engine
        self._comm = context.comm
        self._sampler = context.sampler
        self._clock = context.clock

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make a step on minibatch ``step`` (from 0) of ``epoch`` (from 1); collective.

        The sum over all examples is divided once, by their global number.  So uneven and empty
        slices also give the exact serial gradient.

        Returns
        -------
        bool
            False, on every rank, if the run must pause or end: a summed gradient is known to
            have had NaN or Inf, or some rank was asked to stop.
        """
        rows, update = self._shape(step, rate)
        self._clock.begin_step(self.share(rows))
        self.make(epoch, rows, update)
        if self._comm.size > 1:
            self._clock.end_reduction()
        return self.engine.bad_step is None and not self.engine.stopping

    @abstractmethod
    def rows(self, step: int) -> Span:
        """Return the positions of minibatch ``step`` that the engine works on."""

    def share(self, rows: Span) -> int:
        """Return the number of ``rows`` that count as this rank's in its timing."""
        return rows[1] - rows[0]

    @abstractmethod
    def make(self, epoch: int, rows: Span, update: Update) -> None:
        """Update by the gradient of the minibatch, summed over it; collective."""

    def prepare(self) -> None:  # noqa: B027  # most reductions measure nothing
        """Measure what the steps need, before the first step; collective."""

    def warm_up(self, rate: float) -> None:
        """Compile or load all that the steps need; changes no parameter; not collective."""
        # Steps have two shapes: that of a full minibatch and that of an epoch's last minibatch.
        last = self._sampler.steps - 1
        self.engine.warm_up([self._shape(step, rate) for step in (0, last)])

    def states(self) -> Array:
        """Return what the optimiser keeps, shape (vectors, size), on each rank; collective."""
        states = self.engine.whole_states()
        if self.engine.divides is not None:
            mpi.allreduce_sum(self.engine.divides, states)  # each number is 0 but on one rank
        return states

    def _shape(self, step: int, rate: float) -> tuple[Span, Update]:
        """Return the rows of a step and its update, by a sum of gradients."""
        start, stop = self._sampler.minibatch(step)
        update = self.engine.optimiser.update(rate, stop - start, self.engine.steps)
        return self.rows(step), update
