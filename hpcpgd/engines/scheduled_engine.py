"""An engine whose plan works by a schedule, and gathers rows as a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hpcpgd.data import Dataset, Split
from hpcpgd.data.dataset import SPLITS
from hpcpgd.data.rng_streams import STREAM_ORDER
from hpcpgd.engines.context import RunContext
from hpcpgd.engines.engine import Span
from hpcpgd.engines.host_engine import HostEngine
from hpcpgd.engines.loader import scaling_of
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.schedule.command import PassResult
from hpcpgd.kernels.schedule.execute import Source
from hpcpgd.kernels.schedule.phases import GRADIENT, Phase
from hpcpgd.kernels.schedule.scheduled_plan import Rows, ScheduledPlan
from hpcpgd.parallel.phase_names import COMPUTE, UPDATE
from hpcpgd.parallel.watchdog import Heartbeat

IN_ORDER = -1  # the seed of rows that are not permuted


def source_of(dataset: Dataset, split: str, dtype: str, seed: int = IN_ORDER) -> Source:
    """Return where a plan gathers rows of ``split`` from, permuted if a seed is given."""
    rows: Split = getattr(dataset, split)
    return Source(rows.features, rows.labels, *scaling_of(dataset, dtype), seed, STREAM_ORDER)


class ScheduledEngine(HostEngine):
    """An engine whose workers are the threads of this rank, or of all ranks of a group.

    Ranks of a group hold one copy of the parameters.  Each sums the units of the gradient that
    its own workers compute, packed in a buffer of its own, and updates what they stand for.

    Parameters
    ----------
    context : RunContext
    plan : ScheduledPlan
        What makes the steps.
    scorer : ScheduledPlan, optional
        What scores, on this rank alone; without it ``plan`` does, and the rank has no group.
    exchange : callable, optional
        Called after each phase that makes activations or deltas, with its number and the rows,
        to bring what workers of other groups made; without it there are none.
    apart : bool
        Whether the scores of each unit are kept apart (see ``restore``).
    """

    plan: ScheduledPlan

    def __init__(
        self,
        context: RunContext,
        plan: ScheduledPlan,
        scorer: ScheduledPlan | None = None,
        exchange: Callable[[int, int], None] | None = None,
        apart: bool = False,
    ) -> None:
        self._packed = scorer is not None
        super().__init__(context, plan, max(plan.packed_size, 1) if self._packed else None)
        self._scorer = scorer or plan
        self._member = (context.group.size, context.group.index) if self._packed else (1, 0)
        self._exchange, self._apart = exchange, apart
        self.capacity = self._scorer.work.capacity
        self.score_rows = self.capacity if apart else None
        dtype = self.network.dtype
        self._train = source_of(context.dataset, "train", dtype, self._sampler.seed)
        self._splits = {name: source_of(context.dataset, name, dtype) for name in SPLITS}

    def warm_up(self, steps: Sequence[tuple[Span, float]]) -> None:
        """Compile all that commands need, or load it from the cache."""
        self._scorer.evaluate(self.parameters, 1, Rows(self._train, 0, 1, 0, 1))
        self._scorer.work.take_totals()

    def heartbeat(self) -> Heartbeat:
        """Return the steps made and the arrivals of workers where they meet."""
        count, waits = self.plan.arrivals
        return (self.steps, count), waits and self.plan.is_shared

    def score(self, split: str, first: int, count: int) -> None:
        """Predict rows ``first …`` of a split and add up loss and correct answers."""
        rows = Rows(self._splits[split], 0, count, first)
        self._scorer.evaluate(self.parameters, count, rows)

    def predicted(self, count: int) -> Array:
        """Return the classes that `score` predicted, int32 (count,)."""
        return np.asarray(self._scorer.work.predicted[:count])

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, and start again at 0.

        float64 (8,), or (parts, 8) where they are kept apart: a part is scored on one rank
        alone, and on the others its row is zero.
        """
        if self._apart:
            totals: Array = self.plan.work.totals + self._scorer.work.totals
            self.plan.work.totals[:] = self._scorer.work.totals[:] = 0
            return totals
        totals = super().take_totals()
        return totals if self._scorer is self.plan else totals + self._scorer.work.take_totals()

    def totals(self) -> Array:
        """Return what `take_totals` would, and leave it as it is."""
        return self.plan.work.totals.copy() if self._apart else super().totals()

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Go on after ``steps``: sums that are kept apart go where their part is scored."""
        kept = self.plan.work.totals
        if not self._apart or totals.shape != kept.shape:  # of another reduction or other shards
            super().restore(steps, totals, first)
            return
        self.steps = steps
        mine = slice(*self.plan.scored)
        kept[mine] = totals[mine]

    def update(self, rate: float) -> None:
        """Subtract ``rate`` times the gradient from the parameters."""
        stop = self._stops > 0
        result = self.plan.update(self.parameters, self._gradient, rate, self._packed, stop)
        self._end_step(result.bad, result.stops)
        self._lap(UPDATE, result)

    def step(self, epoch: int, rows: Span, rate: float) -> None:
        """Make a whole step; where its rows fit, the products themselves make the update."""
        begin, end = rows
        if end - begin > self.plan.work.capacity:
            super().step(epoch, rows, rate)
            return
        result = self._pass(self.parameters, epoch, rows, (-rate, 1.0), packed=False)
        self._end_step(result.bad, result.stops)

    def pieces(self, epoch: int, rows: Span) -> Iterator[Array]:
        """Compute the gradient over ``rows``; yield what MPI may sum, piece by piece.

        A schedule ``in_pieces`` completes the output layer first.  The caller lets MPI go on
        after each phase, also where the piece is empty.
        """
        begin, end = rows
        chunks = range(begin, max(end, begin + 1), self.plan.work.capacity)
        last = chunks[-1]
        if last > begin:
            self.partial(epoch, (begin, last))
        self._slots[:] = 0
        self._stops = int(self._stop.requested)
        yield self.summed()[self._gradient.size :]  # the flags
        count, scales = end - last, (1.0, 1.0 if last > begin else 0.0)
        load = Rows(self._train, 0, count, last, epoch)
        for number, phase in enumerate(self.plan.schedule.phases):
            first = load if number == 0 else None
            span = (number, number + 1)
            result = self.plan.run(
                self.parameters, self._gradient, span, count, rows=first, scales=scales
            )
            self._lap(COMPUTE, result)
            yield self._piece(phase) if phase.kind == GRADIENT else self._gradient[:0]

    def clear(self) -> None:
        """Set the gradient, and the flags that travel with it, to zero."""
        self._sums[:] = 0

    def _piece(self, phase: Phase) -> Array:
        """Return what a phase has completed: its rows, and with the last of them the biases."""
        weights, biases = self.network.offsets[phase.layer - 1]
        fan_in, fan_out = self.network.widths[phase.layer - 1 : phase.layer + 1]
        last = phase.first + self.plan.schedule.workers - 1
        (top, _), _ = phase.block(self.network, 0, phase.first)
        (_, bottom), _ = phase.block(self.network, 0, last)
        end = biases + fan_out if bottom == fan_in else weights + bottom * fan_out
        return self._gradient[weights + top * fan_out : end]

    def _add_chunk(self, epoch: int, first: int, count: int, add: bool) -> None:
        scales = (1.0, 1.0 if add else 0.0)
        rows = (first, first + count)
        result = self._pass(self._gradient, epoch, rows, scales, packed=self._packed)
        self._stops += result.stops

    def _pass(
        self, target: Array, epoch: int, rows: Span, scales: tuple[float, float], *, packed: bool
    ) -> PassResult:
        """Run all phases on ``rows``, all of which are this rank's or its group's."""
        begin, end = rows
        plan, count, first = self.plan, end - begin, 0
        load: Rows | None = Rows(self._train, *block_range(count, *self._member), begin, epoch)
        if self._exchange is not None:
            while first < plan.gradients:
                result = plan.run(self.parameters, target, (first, first + 1), count, rows=load)
                self._lap(COMPUTE, result)
                self._exchange(first, count)
                self._clock.lap_reduction()
                first, load = first + 1, None
        phases, stop = (first, plan.learning), self._stop.requested
        result = plan.run(
            self.parameters, target, phases, count, load, scales, packed=packed, stop=stop
        )
        self._lap(COMPUTE, result)
        return result

    def _lap(self, phase: int, result: PassResult) -> None:
        """Give the time to ``phase``; waiting for other ranks is part of the reduction."""
        waited = result.waited if self.plan.is_shared else 0.0
        self._clock.lap(phase, waited, result.loaded)
