"""The training loop: epochs of minibatches, a validation after each, a test at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.clock import PhaseClock
from hpcpgd.config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.errors import DivergedError
from hpcpgd.evaluation import Scores, evaluate
from hpcpgd.history import Epoch, History
from hpcpgd.kernels import Plan, make_plan
from hpcpgd.kernels.elementwise import CORRECT, EXAMPLES, LOSS, descend
from hpcpgd.kernels.network import Array, Network
from hpcpgd.loader import Loader, make_loader
from hpcpgd.reductions.allreduce import AllreduceStep
from hpcpgd.sampler import Sampler

CHUNK_BYTES = 256 * 2**20  # of activations and deltas; larger slices are worked in chunks
EVALUATION_ROWS = 512  # rows worth a chunk of their own where minibatches are smaller


def chunk_rows(network: Network, slice_rows: int, evaluation_rows: int) -> int:
    """Return the rows that a plan holds at once: the slice, in bounded memory."""
    wanted = max(slice_rows, min(evaluation_rows, EVALUATION_ROWS), 1)
    return min(wanted, max(CHUNK_BYTES // network.bytes_per_row(), 1))


def make_sampler(config: RunConfig, rows: int) -> Sampler:
    """Return the sampler of ``rows`` training rows; a minibatch has at most all of them."""
    batch = rows if config.batch_size == "full" else min(int(config.batch_size), rows)
    return Sampler(rows, batch, config.seed)


@dataclass
class Trainer:
    """All that a run's loop needs, planned once.

    Attributes
    ----------
    comm : Comm
    dataset : Dataset
    plan : Plan
    loader : Loader
    sampler : Sampler
    parameters : ndarray, shape (size,)
        The same on every rank.
    clock : PhaseClock
    reduction : AllreduceStep
        What makes a step.
    rate : float
        Learning rate.
    history : History
        What the epochs so far recorded.
    steps_done : int
        Steps since the beginning of the run.
    """

    comm: Any
    dataset: Dataset
    plan: Plan
    loader: Loader
    sampler: Sampler
    parameters: Array
    clock: PhaseClock
    reduction: AllreduceStep
    rate: float
    history: History = field(default_factory=History)
    steps_done: int = 0

    def run(self, epochs: int, report: Callable[[int, Epoch], None]) -> None:
        """Train for ``epochs`` and call ``report`` after each; collective.

        Raises
        ------
        DivergedError
            On every rank, after the same step.
        """
        for number in range(1, epochs + 1):
            epoch = self._train(number)
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

    def validate(self) -> Scores:
        """Score the validation rows; collective."""
        return self._evaluate("validation", False)

    def test(self) -> Scores:
        """Score the test rows, with their confusion matrix; collective."""
        return self._evaluate("test", self.dataset.test.rows > 0)

    def _evaluate(self, split: str, confusion: bool) -> Scores:
        rows = getattr(self.dataset, split)
        scores = evaluate(self.comm, self.plan, self.loader, rows, self.parameters, confusion)
        return scores if self.dataset.has_accuracy else replace(scores, accuracy=np.nan)

    def _train(self, number: int) -> Epoch:
        """Make the steps of one epoch."""
        train = self.dataset.train
        self.comm.Barrier()  # so that nobody's clock runs while another still validates
        start = perf_counter()
        for step in range(self.sampler.steps):
            finite = self.reduction.step(train, number, step, self.rate)
            self.steps_done += 1
            if not finite:
                where = f"the gradient at epoch {number}, step {step + 1} of {self.sampler.steps}"
                raise self._diverged(where)
        seconds = mpi.largest(self.comm, perf_counter() - start)
        if not np.isfinite(self.parameters).all():
            raise self._diverged(f"the weights after epoch {number}")
        self._keep_times()
        return self._epoch(seconds)

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

    def _epoch(self, seconds: float) -> Epoch:
        totals = self.plan.work.take_totals()
        mpi.sum_in_place(self.comm, totals)
        rows = totals[EXAMPLES]
        gflop = self.plan.network.flops_per_example * rows / 1e9
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
        )


def make_trainer(
    comm: Any,
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    parameters: Array,
    threads: int,
    blas: Any,
) -> Trainer:
    """Plan a run: allocate every buffer that its steps need."""
    sampler = make_sampler(config, dataset.train.rows)
    start, stop = sampler.slice(0, comm.size, 0)  # the largest of all slices
    others = max(dataset.validation.rows, dataset.test.rows) // comm.size + 1
    plan = make_plan(
        config.backend, network, chunk_rows(network, stop - start, others), threads, blas
    )
    loader = make_loader(dataset, plan.work)
    clock = PhaseClock(comm)
    step = AllreduceStep(comm, plan, loader, sampler, parameters, clock)
    return Trainer(
        comm, dataset, plan, loader, sampler, parameters, clock, step, config.learning_rate
    )


def warm_up(trainer: Trainer) -> None:
    """Run every compiled function once, or load it from the cache; changes no parameter."""
    plan, network = trainer.plan, trainer.plan.network
    numbers = np.zeros(1, np.int64)
    trainer.sampler.numbers(1, 0, numbers)
    trainer.loader.load(trainer.dataset.train, numbers)
    scratch = network.zeros()
    plan.gradient(trainer.parameters, 1, scratch, False)
    plan.evaluate(trainer.parameters, 1)
    plan.work.take_totals()
    descend(scratch, scratch, np.dtype(network.dtype).type(0))
