"""What all reductions have in common: the course of a step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.engine import Engine, Span


class Reduction(ABC):
    """One step of algorithm 5: partial sums, their sum over the ranks, the update.

    Parameters
    ----------
    context : RunContext
    engine : Engine
        This rank's arithmetic.  The parameters are the same on all ranks.

    Attributes
    ----------
    hidden_share : float
        Part of the communication that cost no time so far; NaN if it never could.
    """

    hidden_share = math.nan

    def __init__(self, context: RunContext, engine: Engine) -> None:
        self.engine = engine
        self._comm = context.comm
        self._sampler = context.sampler
        self._clock = context.clock

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` (from 0) of ``epoch`` (from 1); collective.

        The sum over all examples is divided once, by their global number: uneven slices
        and empty ones give the exact serial gradient.

        Returns
        -------
        bool
            False, on every rank, if this was the last: NaN or Inf is known to have stood in
            a summed gradient, or some rank was asked to stop.
        """
        rows, scaled = self._shape(step, rate)
        self._clock.begin_step(self.share(rows))
        self.make(epoch, rows, scaled)
        if self._comm.size > 1:
            self._clock.end_reduction()
        return self.engine.bad_step is None and not self.engine.stopping

    @abstractmethod
    def rows(self, step: int) -> Span:
        """Return the positions of minibatch ``step`` that the engine works on."""

    def share(self, rows: Span) -> int:
        """Return how many of ``rows`` count as this rank's."""
        return rows[1] - rows[0]

    @abstractmethod
    def make(self, epoch: int, rows: Span, rate: float) -> None:
        """Subtract ``rate`` times the gradient of the minibatch, summed over it; collective."""

    def prepare(self) -> None:  # noqa: B027  # most have nothing to learn
        """Learn what the steps need to know; collective, before the first."""

    def warm_up(self, rate: float) -> None:
        """Compile, or load, all that the steps need; changes no parameter, not collective."""
        # Steps have two shapes: that of a full minibatch and that of an epoch's last.
        last = self._sampler.steps - 1
        self.engine.warm_up([self._shape(step, rate) for step in (0, last)])

    def _shape(self, step: int, rate: float) -> tuple[Span, float]:
        """Return the rows of a step and the rate of a sum of gradients."""
        start, stop = self._sampler.minibatch(step)
        return self.rows(step), rate / (stop - start)
