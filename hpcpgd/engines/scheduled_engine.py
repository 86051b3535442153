"""An engine whose plan follows a schedule, of which gathering the rows is a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hpcpgd.data import Dataset, Split
from hpcpgd.data.dataset import SPLITS
from hpcpgd.data.rng_streams import STREAM_ORDER
from hpcpgd.engines.context import RunContext
from hpcpgd.engines.engine import Span
from hpcpgd.engines.host_engine import HostEngine
from hpcpgd.engines.loader import Scaling
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.schedule.command import PassResult
from hpcpgd.kernels.schedule.execute import Source
from hpcpgd.kernels.schedule.phases import GRADIENT, Phase
from hpcpgd.kernels.schedule.scheduled_plan import Rows, ScheduledPlan
from hpcpgd.parallel.phase_names import COMPUTE, UPDATE
from hpcpgd.parallel.watchdog import Heartbeat

IN_ORDER = -1  # in place of a seed: rows are not permuted


def source_of(dataset: Dataset, split: str, scaling: Scaling, seed: int = IN_ORDER) -> Source:
    """Return the source of the rows of ``split`` for a plan, permuted if a seed is given."""
    rows: Split = getattr(dataset, split)
    return Source(rows.features, rows.labels, *scaling, seed, STREAM_ORDER)


class ScheduledEngine(HostEngine):
    """An engine whose workers are the threads of this rank, or of all ranks of a group.

    Ranks of a group share one copy of the parameters.  The workers of a rank compute units of
    the gradient in a packed buffer of the rank, and update the parameters of these units.

    Parameters
    ----------
    plan : ScheduledPlan
        Makes the steps.
    scorer : ScheduledPlan, optional
        Scores, on this rank alone.  Without it ``plan`` scores, and the rank has no group.
    exchange : callable, optional
        Called after each phase that makes activations or deltas, with the number of the phase
        and of the rows, to fetch the units of other groups.  None if there is one group.
    apart : bool
        Whether the totals of each unit are kept in separate rows (see ``restore``).
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
        plan.states = self.states
        self._exchange, self._apart = exchange, apart
        self.capacity = self._scorer.work.capacity
        self.score_rows = self.capacity if apart else None
        data, bytes_stay = context.dataset, context.byte_scale is not None
        scaling = (self._real(1), self._real(0)) if bytes_stay else self._scaling
        self._train = source_of(data, "train", scaling, self._sampler.seed)
        self._splits = {name: source_of(data, name, scaling) for name in SPLITS}

    def warm_up(self, steps: Sequence[tuple[Span, Update]]) -> None:
        """Compile everything that commands need, or load it from the cache."""
        self._scorer.evaluate(self.parameters, 1, Rows(self._train, 0, 1, 0, 1))
        self._scorer.work.take_totals()
        self._squares()

    def heartbeat(self) -> Heartbeat:
        """Return steps made and arrivals at the barrier, and whether a worker waits for a rank."""
        count, waits = self.plan.arrivals
        return (self.steps, count), waits and self.plan.is_shared

    def score(self, split: str, first: int, count: int) -> None:
        """Predict ``count`` rows of a split from ``first`` on; add to the totals."""
        rows = Rows(self._splits[split], 0, count, first)
        self._scorer.evaluate(self.parameters, count, rows)

    def predicted(self, count: int) -> Array:
        """Return the classes that `score` predicted: int32, shape (count,)."""
        return np.asarray(self._scorer.work.predicted[:count])

    def take_totals(self) -> Array:
        """Return the totals of loss, correct predictions and examples, and set them to 0.

        float64, shape (8,), or (parts, 8) if totals are kept apart: one rank scores a part,
        and its row is zero on the others.
        """
        if self._apart:
            totals: Array = self.plan.work.totals + self._scorer.work.totals
            self.plan.work.totals[:] = self._scorer.work.totals[:] = 0
            return totals
        totals = super().take_totals()
        return totals if self._scorer is self.plan else totals + self._scorer.work.take_totals()

    def totals(self) -> Array:
        """Return the totals, as `take_totals` does, and keep them."""
        return self.plan.work.totals.copy() if self._apart else super().totals()

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Continue after ``steps``; a rank keeps the totals of the parts that it scores."""
        kept = self.plan.work.totals
        if not self._apart or totals.shape != kept.shape:  # of another reduction or shards
            super().restore(steps, totals, first)
            return
        self.steps = steps
        mine = slice(*self.plan.scored)
        kept[mine] = totals[mine]

    def update(self, update: Update) -> None:
        """Update the parameters by the gradient."""
        update, stop = self._clipped(update), self._stops > 0
        result = self.plan.update(self.parameters, self._gradient, update, self._packed, stop)
        self._end_step(result.bad, result.stops)
        self._lap(UPDATE, result)

    def step(self, epoch: int, rows: Span, update: Update) -> None:
        """Make a whole step; if its rows fit in a chunk, the products make a plain update."""
        begin, end = rows
        if end - begin > self.plan.work.capacity or not self.optimiser.is_plain:
            super().step(epoch, rows, update)
            return
        result = self._pass(self.parameters, epoch, rows, (-update.rate, 1.0), packed=False)
        self._end_step(result.bad, result.stops)

    def _squares(self) -> Array:
        """Return the sums of squares of units, or of the gradient if this rank has it whole."""
        return self.plan.squares(self._gradient) if self._packed else super()._squares()

    def whole_states(self) -> Array:
        """Return what the optimiser keeps, with 0 for what other ranks update."""
        if not self._packed:
            return super().whole_states()
        whole = np.zeros((len(self.states), self.network.size), self.network.dtype)
        for packed, flat in zip(self.states, whole, strict=True):
            for mine, part in self.plan.unit_views(packed, flat):
                part[...] = mine
        return whole

    def restore_states(self, states: Array) -> None:
        """Go on with the sum of ``whole_states`` over the ranks that divide the update."""
        if not self._packed:
            super().restore_states(states)
            return
        for packed, flat in zip(self.states, states, strict=True):
            for mine, part in self.plan.unit_views(packed, flat):
                mine[...] = part

    def pieces(self, epoch: int, rows: Span) -> Iterator[Array]:
        """Compute the gradient over ``rows``; yield each piece as soon as MPI may sum it.

        A schedule ``in_pieces`` completes the output layer first.  After each phase, even if
        its piece is empty, the caller lets MPI progress.
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
        """Set the gradient and its flags to zero."""
        self._sums[:] = 0

    def _piece(self, phase: Phase) -> Array:
        """Return the rows of weights that a phase completed, and the biases after the last row."""
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
        """Run all phases on ``rows``, which all belong to this rank or its group."""
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
        """Count the time as ``phase``, but waiting for other ranks as reduction."""
        waited = result.waited if self.plan.is_shared else 0.0
        self._clock.lap(phase, waited, result.loaded)
