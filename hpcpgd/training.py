"""The training loop: epochs of minibatches, a validation after each, a test at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.clock import PhaseClock
from hpcpgd.data import Dataset
from hpcpgd.engine import Engine
from hpcpgd.errors import DivergedError, StoppedError
from hpcpgd.evaluation import Scores, added, evaluate
from hpcpgd.history import Epoch, History
from hpcpgd.kernels.elementwise import CORRECT, EXAMPLES, LOSS
from hpcpgd.reductions import Reduction
from hpcpgd.sampler import Sampler


@dataclass
class Trainer:
    """All that a run's loop needs, planned once.

    Attributes
    ----------
    comm : Comm
    dataset : Dataset
    engine : Engine
        The parameters, the same on every rank, and the arithmetic.
    sampler : Sampler
    clock : PhaseClock
    reduction : Reduction
        What makes a step.
    rate : float
        Learning rate.
    max_steps : int or None
        Steps after which the run ends, be it within an epoch.
    history : History
        What the epochs so far recorded.
    """

    comm: Any
    dataset: Dataset
    engine: Engine
    sampler: Sampler
    clock: PhaseClock
    reduction: Reduction
    rate: float
    max_steps: int | None = None
    history: History = field(default_factory=History)

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of the run, up to the first bad one."""
        bad = self.engine.bad_step
        return self.engine.steps if bad is None else bad + 1

    def run(self, epochs: int, report: Callable[[int, Epoch], None]) -> None:
        """Train for ``epochs`` or ``max_steps``; call ``report`` after each epoch; collective.

        Raises
        ------
        DivergedError, StoppedError
            On every rank, after the same step.
        """
        self.reduction.prepare()
        for number in range(1, epochs + 1):
            steps = self._steps_left()
            if not steps:
                break
            epoch = self._train(number, steps)
            if self.engine.stopping:
                self.history.epochs.append(epoch)
                raise self._stopped()
            start = perf_counter()
            scores = self.validate()
            seconds = mpi.largest(self.comm, perf_counter() - start)
            epoch = replace(
                epoch,
                validation_loss=scores.loss,
                validation_accuracy=scores.accuracy,
                validation_seconds=seconds,
            )
            self.history.epochs.append(epoch)
            report(number, epoch)

    def epochs_to_come(self, epochs: int) -> int:
        """Return how many epochs ``run`` will begin."""
        if self.max_steps is None:
            return epochs
        return min(epochs, -(-(self.max_steps - self.engine.steps) // self.sampler.steps))

    def validate(self) -> Scores:
        """Score the validation rows; collective."""
        return self._evaluate("validation", False)

    def test(self) -> Scores:
        """Score the test rows, with their confusion matrix; collective."""
        return self._evaluate("test", self.dataset.test.rows > 0)

    def _evaluate(self, split: str, confusion: bool) -> Scores:
        scores = evaluate(self.comm, self.engine, self.dataset, split, confusion)
        return scores if self.dataset.has_accuracy else replace(scores, accuracy=np.nan)

    def _steps_left(self) -> int:
        """Return how many steps the next epoch may make."""
        every = self.sampler.steps
        if self.max_steps is None:
            return every
        return min(every, self.max_steps - self.engine.steps)

    def _train(self, number: int, steps: int) -> Epoch:
        """Make the first ``steps`` of one epoch."""
        self.comm.Barrier()  # so that nobody's clock runs while another still validates
        start, before = perf_counter(), self.engine.steps
        for step in range(steps):
            if not self.reduction.step(number, step, self.rate):
                break
        self.engine.settle()
        if self.engine.bad_step is not None:
            epoch, step = divmod(self.engine.bad_step, self.sampler.steps)
            where = f"the gradient at epoch {epoch + 1}, step {step + 1} of {self.sampler.steps}"
            raise self._diverged(where)
        seconds = mpi.largest(self.comm, perf_counter() - start)
        if not np.isfinite(self.engine.parameters).all():
            raise self._diverged(f"the weights after epoch {number}")
        self._keep_times()
        return self._epoch(seconds, self.engine.steps - before)

    def _stopped(self) -> StoppedError:
        made = len(self.history.epochs)
        error = StoppedError(f"stopped by a signal after {self.engine.steps} steps, epoch {made}")
        error.agreed = True
        return error

    def _diverged(self, where: str) -> DivergedError:
        error = DivergedError(f"NaN or Inf in {where}: lower the learning rate (now {self.rate:g})")
        error.agreed = True
        return error

    def _keep_times(self) -> None:
        seconds, rows = self.clock.take()
        all_seconds = mpi.gather_rows(self.comm, seconds)
        all_rows = mpi.gather_rows(self.comm, np.array(rows, np.int64))
        if all_seconds is not None and all_rows is not None:
            self.history.seconds.append(all_seconds)
            self.history.rows.append(all_rows)

    def _epoch(self, seconds: float, steps: int) -> Epoch:
        totals = self.engine.take_totals()
        mpi.sum_in_place(self.comm, totals)
        totals = added(totals)
        rows = totals[EXAMPLES]
        gflop = self.engine.network.flops_per_example * rows / 1e9
        return Epoch(
            train_loss=totals[LOSS] / rows,
            train_accuracy=totals[CORRECT] / rows if self.dataset.has_accuracy else np.nan,
            validation_loss=np.nan,
            validation_accuracy=np.nan,
            epoch_seconds=seconds,
            validation_seconds=np.nan,
            gflops=gflop / seconds,
            gflop_per_epoch=gflop,
            learning_rate=self.rate,
            steps=steps,
        )
