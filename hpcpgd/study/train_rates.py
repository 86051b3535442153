"""The training behind ``hpcpgd study select``, on all ranks of a job."""

from __future__ import annotations

import io
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import path_of
from hpcpgd.errors import ConfigError, DivergedError
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi
from hpcpgd.results.atomic import check_writable, write_atomically
from hpcpgd.study.learning_rates import RATES, Selection, best_of, table
from hpcpgd.train.job import on_world
from hpcpgd.train.progress import Progress
from hpcpgd.train.same_on_all_ranks import require_same_config

PROGRAM = "hpcpgd study select"
SCHEMA = "hpcpgd.selection/1"


def run(config: RunConfig) -> int:
    """Start MPI, select, and return the exit code; collective over the world."""
    return on_world(PROGRAM, lambda world: select(world, config))


def select(comm: mpi.Comm, config: RunConfig) -> Selection:
    """Train with each rate, choose, test once; collective over ``comm``.

    Raises
    ------
    HpcpgdError
        The same on every rank where ``agreed`` is true.
    """
    ranks = mpi.join(comm)
    jit_cache.share_folder(ranks)
    from hpcpgd.engines.parameters import make_network
    from hpcpgd.machine.resources import claim
    from hpcpgd.train.distribute import load_on_all

    require_same_config(ranks.comm, config)
    progress = Progress(config.quiet or ranks.rank > 0, config.epochs, config.log_every)
    dataset = load_on_all(ranks, config)
    with mpi.agreed(ranks.comm):
        if not dataset.validation.rows or not dataset.has_accuracy:
            raise ConfigError(f"dataset {dataset.name}: has no validation rows to choose by")
        if config.output != "auto" and ranks.rank == 0:
            check_writable(Path(config.output), config.overwrite, path_of(config.dataset))
    groups = min(ranks.size, len(RATES))
    group = ranks.rank * groups // ranks.size
    own = mpi.split(ranks, group)
    one = replace(config, reduction="allreduce")
    with mpi.agreed(ranks.comm):
        network = make_network(one, dataset.n_in, dataset.n_out)
    # Claimed by all ranks together: groups of one node share its cores and its GPUs.
    resources = claim(ranks, one, 0.0)
    numbers = range(*block_range(len(RATES), groups, group))
    with ExitStack() as threads:  # the best rate's trainer is used once more, for the test
        trainers = _train_all(own, one, dataset, network, resources, numbers, threads)
        choice = _choose(ranks, own, trainers)
    progress.say(table(config, choice))
    with mpi.agreed(ranks.comm):
        if config.output != "auto" and ranks.rank == 0:
            _write(config, choice)
    mpi.leave(own)
    mpi.leave(ranks)
    return choice


def _train_all(
    own: mpi.Ranks,
    config: RunConfig,
    dataset: Any,
    network: Any,
    resources: Any,
    numbers: range,
    threads: ExitStack,
) -> dict[int, Any]:
    """Train this group's rates, one after the other; collective over the group.

    Returns the trainer of each rate by its number, None where training diverged.  The threads
    of all trainers end with ``threads``.
    """
    from hpcpgd.engines.parameters import initial_parameters
    from hpcpgd.train.planning import make_trainer
    from hpcpgd.train.warmup import compile_kernels

    trainers: dict[int, Any] = {}
    for number in numbers:
        one = replace(config, learning_rate=RATES[number])
        parameters = initial_parameters(network, config.seed)
        with mpi.agreed(own.comm):
            trainer = make_trainer(own.comm, one, dataset, network, parameters, resources)
        threads.enter_context(closing(trainer))
        compile_kernels(own, trainer, resources.gpu)
        try:
            trainer.run(config.epochs, lambda epoch, scores: None)
            trainers[number] = trainer
        except DivergedError:  # raised on all ranks of the group
            trainers[number] = None
    return trainers


def _choose(ranks: mpi.Ranks, own: mpi.Ranks, trainers: dict[int, Any]) -> Selection:
    """Agree on the best rate, and let its group run the test; collective."""
    shown = np.zeros((2, len(RATES)))
    for number, trainer in trainers.items():
        if own.rank == 0 and trainer is None:
            shown[:, number] = np.nan
        elif own.rank == 0:
            last = trainer.history.last
            shown[:, number] = last.validation_accuracy, last.validation_loss
    mpi.allreduce_sum(ranks.comm, shown)
    best = best_of(RATES, shown[0])
    if best is None:
        # All ranks see the same accuracies.
        raise DivergedError("training diverged with every learning rate", agreed=True)
    tested = np.zeros(2)
    if best in trainers:
        scores = trainers[best].test()
        if own.rank == 0:
            tested[:] = scores.accuracy, scores.loss
    mpi.allreduce_sum(ranks.comm, tested)
    accuracies, losses = (tuple(map(float, row)) for row in shown)
    return Selection(accuracies, losses, best, float(tested[0]), float(tested[1]))


def _write(config: RunConfig, choice: Selection) -> None:
    """Write rates, accuracies and choice.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["config"] = config.to_toml()
        file.attrs["chosen_learning_rate"] = RATES[choice.best]
        file.attrs["test_accuracy"] = choice.test_accuracy
        file.attrs["test_loss"] = choice.test_loss
        file["learning_rate"] = np.array(RATES)
        file["validation_accuracy"] = np.array(choice.accuracies)
        file["validation_loss"] = np.array(choice.losses)
    write_atomically(Path(config.output), image.getbuffer())
