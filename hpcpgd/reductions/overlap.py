"""Reduction ``overlap``: pieces of the gradient are summed over the ranks during backpropagation.

Every layer's weight gradient is computed in pieces of whole rows, which are contiguous; the
Iallreduce of a piece starts as soon as it is there, output layer first, and MPI is given
the chance to go on after each product.  What still is under way after the last product is
waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hpcpgd.engines.base import STOP, StepEngine
from hpcpgd.engines.base import Rows as Span
from hpcpgd.engines.scheduled import PrivateEngine
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.schedule.phases import GRADIENT, Phase
from hpcpgd.kernels.schedule.scheduled_plan import Rows
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import COMPUTE
from hpcpgd.reductions.allreduce import AllreduceStep
from hpcpgd.reductions.exposure import Exposure

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI


class PieceEngine(StepEngine, Protocol):
    """What a rank does for ``overlap``.

    Attributes
    ----------
    exposure : Exposure
    """

    exposure: Exposure

    def prepare(self, comm: MPI.Comm) -> None:
        """Time the sum with nothing beside it; collective."""

    def partial_and_sum(self, comm: MPI.Comm, epoch: int, rows: Span) -> None:
        """Replace the gradient by its sum over this step's rows of all ranks; collective."""


class OverlapEngine(PrivateEngine):
    """An engine that sums the gradient over the ranks while it computes it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.exposure = Exposure()

    def prepare(self, comm: MPI.Comm) -> None:
        """Time the sum with nothing beside it; collective."""
        self.exposure.rehearse(comm, lambda: mpi.allreduce_sum(comm, self._sums))
        self._sums[:] = 0

    def partial_and_sum(self, comm: MPI.Comm, epoch: int, rows: Span) -> None:
        """Replace the gradient by its sum over this step's rows of all ranks; collective."""
        begin, end = rows
        last = begin + (max(end - begin, 1) - 1) // self.capacity * self.capacity
        if last > begin:
            self.partial(epoch, (begin, last))
        self.plan.bind(self.parameters, self._gradient, self._train)
        chunk = Rows(0, end - last, last, epoch)
        scales = (1.0, 1.0 if last > begin else 0.0)
        self._slots[:] = 0
        self._slots[STOP] = self._stop.requested
        requests: list[Any] = []
        self._send(comm, self._slots, requests)
        for number, phase in enumerate(self.plan.schedule.phases):
            first = chunk if number == 0 else None
            self.plan.propagate((number, number + 1), end - last, scales, first)
            self._clock.lap(COMPUTE, loaded=self.plan.waited()[1])
            if phase.kind == GRADIENT:
                self._send(comm, self._piece(phase), requests)
            mpi.progress(requests)
            self.exposure.add(self._clock.lap_reduction())
        mpi.wait_all(requests)
        self.exposure.add(self._clock.lap_reduction())
        self.exposure.reductions += 1
        self.stopping = bool(self._slots[STOP] > 0)
        self._clock.end_reduction()

    def _send(self, comm: MPI.Comm, piece: Array, requests: list[Any]) -> None:
        if piece.size:
            requests.append(mpi.iallreduce_sum(comm, piece))

    def _piece(self, phase: Phase) -> Array:
        """Return what a phase has completed: its rows, and with the last of them the biases."""
        weights, biases = self.network.offsets[phase.layer - 1]
        fan_in, fan_out = self.network.widths[phase.layer - 1 : phase.layer + 1]
        top, bottom = phase.rows(fan_in, self.plan.schedule.workers)
        end = biases + fan_out if bottom == fan_in else weights + bottom * fan_out
        return self._gradient[weights + top * fan_out : end]


class OverlapStep(AllreduceStep):
    """One step of algorithm 5 whose join begins while the gradient is computed."""

    _engine: PieceEngine

    @property
    def hidden_share(self) -> float:  # type: ignore[override]  # a constant there
        """Part of the communication that cost no time so far."""
        return self._engine.exposure.hidden_share

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` of ``epoch``; collective (see ``AllreduceStep.step``)."""
        engine = self._engine
        rows, scaled = self._shape(step, rate)
        self._clock.begin_step(rows[1] - rows[0])
        engine.partial_and_sum(self._comm, epoch, rows)
        engine.update(scaled)
        return engine.bad_step is None and not engine.stopping

    def prepare(self) -> None:
        """Time the sum with nothing beside it; collective."""
        self._engine.prepare(self._comm)
