"""The training loop: epochs of minibatches, a validation after each, a test at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from hpcpgd.config.rate_schedule import RateSchedule
from hpcpgd.engines.context import RunContext
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import DivergedError, OutputError, StoppedError
from hpcpgd.kernels.core.elementwise import CORRECT, EXAMPLES, LOSS
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel import mpi, replicas
from hpcpgd.reductions.reduction import Reduction
from hpcpgd.results.history import Epoch, History, Timing
from hpcpgd.results.record import Scores
from hpcpgd.train import early_end
from hpcpgd.train.checkpoint_timer import CheckpointTimer
from hpcpgd.train.evaluation import added, evaluate


@dataclass
class Trainer:
    """The training loop, and all that it needs.

    Attributes
    ----------
    context : RunContext
        What the run was planned from; its communicator, dataset, sampler and clock are also
        ``comm``, ``dataset``, ``sampler`` and ``clock``.
    reduction : Reduction
        Makes the steps.
    engine : Engine
        That of ``reduction``: the arithmetic, and the parameters, the same on every rank.
    rate : float
        Learning rate of the last step.
    max_steps : int or None
        Steps after which the run ends, also within an epoch.
    timer : CheckpointTimer or None
        Writes checkpoints in pauses; without a timer the run ends at a pause.
    history : History
        The epochs so far.
    timing : Timing
        The time and rows of every rank in this segment's epochs, on rank 0.
    elapsed : float
        Seconds of training in the current epoch, up to the last pause.
    alike_at : int
        The steps made at the last check that all ranks hold the same weights.
    best : ndarray or None
        On rank 0 of a run that keeps them, the weights of the best epoch (see ``History.best``).
    not_kept : OutputError or None
        Why the checkpoint at the end was not written; the same on every rank.
    """

    context: RunContext
    reduction: Reduction
    timer: CheckpointTimer | None = None
    history: History = field(default_factory=History)
    timing: Timing = field(default_factory=Timing)
    elapsed: float = 0.0
    alike_at: int = 0
    best: Array | None = None
    not_kept: OutputError | None = None

    def __post_init__(self) -> None:
        context, config = self.context, self.context.config
        self.comm, self.dataset = context.comm, context.dataset
        self.sampler, self.clock = context.sampler, context.clock
        self.engine = self.reduction.engine
        self.rate = float(config.learning_rate)
        self.max_steps = None if config.max_steps == "none" else int(config.max_steps)
        steps = config.epochs * self.sampler.steps
        steps = steps if self.max_steps is None else min(steps, self.max_steps)
        self.rates = RateSchedule(config.schedule, self.rate, config.warmup_steps, steps)

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
        for number in range(len(self.history) + 1, epochs + 1):
            first = self.engine.steps - (number - 1) * self.sampler.steps
            last = self._last_step(first)
            # With last < 1 max_steps are made, and their epoch is complete.
            if last < 1 or early_end.judge(self.history, self.context.config)[0]:
                break
            epoch = self._train(number, first, last)
            if self.engine.stopping:
                self.history.add(epoch)
                text = f"stopped after {self.engine.steps} steps, in epoch {number}"
                raise StoppedError(text, agreed=True)
            start = perf_counter()
            scores = self.validate()
            seconds = mpi.allreduce_max(self.comm, perf_counter() - start)
            epoch = replace(
                epoch,
                validation_loss=scores.loss,
                validation_accuracy=scores.accuracy,
                validation_seconds=seconds,
            )
            self.history.add(epoch)
            if self.context.config.keep_best and self.history.best == number:
                self.best = self.engine.parameters.copy() if self.comm.rank == 0 else None
            report(number, epoch)
        if self.steps_done % self.sampler.steps == 0:
            self._keep_end()

    def epochs_to_come(self, epochs: int) -> int:
        """Return the number of epochs that the run will have after ``run``."""
        if self.max_steps is None:
            return epochs
        return min(epochs, -(-self.max_steps // self.sampler.steps))

    def close(self) -> None:
        """End the threads, after which shared memory may be freed; not collective.

        The function that makes a trainer calls this on every path.
        """
        self.engine.close()

    def validate(self) -> Scores:
        """Score the validation rows; collective."""
        fault_point("validation")
        return self._evaluate("validation", False)

    def test(self) -> Scores:
        """Score the test rows, with their confusion matrix; collective."""
        fault_point("test")
        confusion = self.dataset.test.rows > 0 and not self.dataset.regression
        return self._evaluate("test", confusion)

    def compare_replicas(self) -> None:
        """Refuse ranks that hold different weights; collective (see ``replicas``)."""
        network, parameters = self.engine.network, self.engine.parameters
        steps = self.steps_done
        replicas.require_same_weights(self.comm, network, parameters, steps, self.alike_at)
        self.alike_at = steps

    def _evaluate(self, split: str, confusion: bool) -> Scores:
        scores = evaluate(self.comm, self.engine, self.dataset, split, confusion)
        return scores if self.dataset.has_accuracy else replace(scores, accuracy=np.nan)

    def _last_step(self, first: int) -> int:
        """Return the step before which an epoch ends that continues at step ``first``."""
        every = self.sampler.steps
        if self.max_steps is None:
            return every
        return min(every, first + self.max_steps - self.engine.steps)

    def _train(self, number: int, first: int, last: int) -> Epoch:
        """Make steps ``first … last - 1`` of an epoch, with pauses where they are requested."""
        self._resume_clock()
        for step in range(first, last):
            fault_point("step", self, number, step)
            self.rate = self.rates.at((number - 1) * self.sampler.steps + step)
            go_on = self.reduction.step(number, step, self.rate)
            if self.engine.steps % replicas.EVERY == 0:
                self.compare_replicas()
            if not go_on or (self.timer is not None and self.timer.due(self.engine.steps)):
                self._stop_clock(number)
                self.engine.stopping = self.timer is None or not self.timer.pause()
                if self.engine.stopping:
                    break
                self._resume_clock()
        else:
            self._stop_clock(number)
            if last < self.sampler.steps:  # a larger --max-steps continues within this epoch
                self._keep_end()
        seconds, self.elapsed = self.elapsed, 0.0
        return self._epoch(seconds, self.engine.steps - (number - 1) * self.sampler.steps)

    def _keep_end(self) -> None:
        """Write the checkpoint from which a complete run can be made longer; collective.

        If that fails the run still has its result, which is written and shown first.
        """
        if self.timer is not None:
            try:
                self.timer.write()
            except OutputError as error:
                self.not_kept = error

    def _resume_clock(self) -> None:
        self.comm.Barrier()  # no rank's clock starts while another rank still does other work
        self._started = perf_counter()

    def _stop_clock(self, number: int) -> None:
        """Wait for the arithmetic, refuse weights that are not finite, and add up the time."""
        self.engine.settle()
        if self.engine.bad_step is not None:
            epoch, step = divmod(self.engine.bad_step, self.sampler.steps)
            where = f"the gradient at epoch {epoch + 1}, step {step + 1} of {self.sampler.steps}"
            raise self._diverged(where)
        self.elapsed += mpi.allreduce_max(self.comm, perf_counter() - self._started)
        if not np.isfinite(self.engine.parameters).all():
            raise self._diverged(f"the weights in epoch {number}")
        self.compare_replicas()
        seconds, rows = self.clock.take()
        all_seconds = mpi.gather(self.comm, seconds)
        all_rows = mpi.gather(self.comm, np.array(rows, np.int64))
        if all_seconds is not None and all_rows is not None:
            self.timing.add(number, all_seconds, all_rows)

    def _diverged(self, where: str) -> DivergedError:
        cure = "give --standardise, or " if self.dataset.range_note else ""
        text = f"NaN or Inf in {where}: {cure}lower the learning rate (now {self.rate:g})"
        return DivergedError(text, agreed=True)

    def _epoch(self, seconds: float, steps: int) -> Epoch:
        totals = self.engine.take_totals()
        mpi.allreduce_sum(self.comm, totals)
        totals = added(totals)
        rows = totals[EXAMPLES]
        if not rows:
            backend = self.context.config.backend
            raise RuntimeError(f"backend {backend} counted no row in its totals")
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
