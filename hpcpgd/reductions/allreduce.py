"""Reduction ``allreduce``: one in-place Allreduce of each rank's partial gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.base import Rows, StepEngine
from hpcpgd.parallel.phase_clock import PhaseClock

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI


class AllreduceStep:
    """One step of algorithm 5: partial sums, their sum over the ranks, the update.

    Parameters
    ----------
    comm : Comm
    engine : StepEngine
        This rank's arithmetic; the parameters are the same on all ranks.
    sampler : Sampler
    clock : PhaseClock
    """

    hidden_share = math.nan  # nothing is sent while something is computed

    def __init__(
        self, comm: MPI.Comm, engine: StepEngine, sampler: Sampler, clock: PhaseClock
    ) -> None:
        self._comm = comm
        self._engine = engine
        self._sampler = sampler
        self._clock = clock

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
        engine = self._engine
        rows, scaled = self._shape(step, rate)
        self._clock.begin_step(rows[1] - rows[0])
        if self._comm.size == 1:
            engine.step(epoch, rows, scaled)
        else:
            engine.partial(epoch, rows)
            engine.sum(self._comm)
            engine.update(scaled)
        return engine.bad_step is None and not engine.stopping

    def prepare(self) -> None:
        """Nothing has to be found out before the first step."""

    def warm_up(self, rate: float) -> None:
        """Prepare the engine for the two shapes that steps have: full and last minibatch."""
        numbers = (0, self._sampler.steps - 1)
        self._engine.warm_up([self._shape(step, rate) for step in numbers])

    def _shape(self, step: int, rate: float) -> tuple[Rows, float]:
        """Return this rank's slice of a minibatch and the rate of a sum of gradients."""
        start, stop = self._sampler.minibatch(step)
        rows = self._sampler.slice(step, self._comm.size, self._comm.rank)
        return rows, rate / (stop - start)
