"""One rank's arithmetic where a plan works by a schedule, gathering rows as a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcpgd.data import Dataset, Split
from hpcpgd.data.rng_streams import STREAM_ORDER
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.base import SLOTS, STOP
from hpcpgd.engines.base import Rows as Span
from hpcpgd.kernels.core.network import Array, Network, aligned_zeros
from hpcpgd.kernels.schedule.execute import Source
from hpcpgd.kernels.schedule.scheduled_plan import Rows, ScheduledPlan
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import COMPUTE, UPDATE, PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Heartbeat

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI

IN_ORDER = -1  # the seed of rows that are not permuted


def source_of(dataset: Dataset, split: str, dtype: str, seed: int = IN_ORDER) -> Source:
    """Return where a plan gathers rows of ``split`` from, permuted if a seed is given."""
    real = np.dtype(dtype).type
    rows: Split = getattr(dataset, split)
    scale, offset = real(dataset.scale), real(dataset.offset)
    return Source(rows.features, rows.labels, scale, offset, seed, STREAM_ORDER)


class ScheduledEngine:
    """An engine on a plan that works by a schedule.

    Parameters
    ----------
    plan : ScheduledPlan
        What makes the steps.
    scorer : ScheduledPlan
        What scores, on this rank alone; ``plan`` itself where that is this rank's alone.
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
        plan: ScheduledPlan,
        scorer: ScheduledPlan,
        dataset: Dataset,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
        stop: StopRequest,
    ) -> None:
        self.plan = plan
        self.network: Network = plan.network
        self.capacity: int = scorer.work.capacity
        self.parameters = parameters
        self.steps = 0
        self.bad_step: int | None = None
        self.stopping = False
        self._scorer = scorer
        self._stop = stop
        self._clock = clock
        dtype = self.network.dtype
        self._train = source_of(dataset, "train", dtype, sampler.seed)
        self._splits = {
            name: source_of(dataset, name, dtype) for name in ("train", "validation", "test")
        }

    def warm_up(self, steps: Sequence[tuple[Span, float]] = ()) -> None:
        """Compile all that orders need, or load it from the cache; not collective."""
        self._scorer.bind(self.parameters, self.parameters, self._train)
        self._scorer.propagate((0, self._scorer.scoring), 1, rows=Rows(0, 1, 0, 1), learn=False)
        self._scorer.work.take_totals()

    def heartbeat(self) -> Heartbeat:
        """Return the steps made; it waits for other ranks in MPI alone."""
        return self.steps, False

    def settle(self) -> None:
        """Nothing is ever pending on the host."""

    def score(self, split: str, first: int, count: int) -> None:
        """Predict rows ``first …`` of a split and add up loss and correct answers."""
        scorer = self._scorer
        scorer.bind(self.parameters, self.parameters, self._splits[split])
        rows = Rows(0, count, first, 0)
        scorer.propagate((0, scorer.scoring), count, rows=rows, learn=False)

    def predicted(self, count: int) -> Array:
        """Return the classes that ``score`` predicted, int32 (count,)."""
        return np.asarray(self._scorer.work.predicted[:count])

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, float64 (8,), and start again at 0."""
        total = self.plan.work.take_totals()
        return total if self._scorer is self.plan else total + self._scorer.work.take_totals()

    def totals(self) -> Array:
        """Return what ``take_totals`` would, and leave it as it is."""
        return np.asarray(self.plan.work.totals.sum(axis=0))

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps`` with the sums of all ranks, kept by the first."""
        self.steps = steps
        if first:
            self.plan.work.totals[0] = totals.sum(axis=0)

    def close(self) -> None:
        """End the threads, which both plans have in common."""
        self.plan.close()

    def _note(self, flags: int) -> None:
        """Take in what the workers told of a step that is complete."""
        if flags >> 32:
            self.bad_step = self.steps
        self.steps += 1


class PrivateEngine(ScheduledEngine):
    """An engine whose workers are this rank's threads: reduction ``allreduce``, or one rank."""

    def __init__(
        self,
        plan: ScheduledPlan,
        dataset: Dataset,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
        stop: StopRequest,
    ) -> None:
        super().__init__(plan, plan, dataset, sampler, parameters, clock, stop)
        # The gradient, and slots that travel with it: each counts the ranks that raise a flag.
        self._sums = aligned_zeros(self.network.size + SLOTS, self.network.dtype)
        self._gradient = self._sums[: self.network.size]
        self._slots = self._sums[self.network.size :]

    def partial(self, epoch: int, rows: Span) -> None:
        """Sum the gradient over this rank's slice, chunk by chunk."""
        begin, end = rows
        self.plan.bind(self.parameters, self._gradient, self._train)
        for first in range(begin, max(end, begin + 1), self.capacity):
            count = min(self.capacity, end - first)
            scales = (1.0, 1.0 if first > begin else 0.0)
            self.plan.propagate(
                (0, self.plan.learning), count, scales, Rows(0, count, first, epoch)
            )
            self._clock.lap(COMPUTE, loaded=self.plan.waited()[1])

    def sum(self, comm: MPI.Comm) -> None:
        """Replace the gradient by its sum over the ranks, in place; collective."""
        self._slots[STOP] = self._stop.requested
        mpi.allreduce_sum(comm, self._sums)
        self.stopping = bool(self._slots[STOP] > 0)
        self._clock.lap_reduction()
        self._clock.end_reduction()

    def update(self, rate: float) -> None:
        """Subtract ``rate`` times the gradient from the parameters."""
        self._note(self.plan.descend(rate))
        self._clock.lap(UPDATE)

    def step(self, epoch: int, rows: Span, rate: float) -> None:
        """Make a whole step on one rank; where its rows fit, GEMM itself makes the update."""
        begin, end = rows
        if end - begin > self.capacity:
            self.partial(epoch, rows)
            self.update(rate)
        else:
            self.plan.bind(self.parameters, self.parameters, self._train)
            span, chunk = (0, self.plan.learning), Rows(0, end - begin, begin, epoch)
            self._note(self.plan.propagate(span, end - begin, (-rate, 1.0), chunk))
            self._clock.lap(COMPUTE, loaded=self.plan.waited()[1])
        self.stopping = self._stop.requested
