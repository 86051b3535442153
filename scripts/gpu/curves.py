"""Loss curves on real data: those of the GPU against those of ``reference``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.run_config import PAPER_FUNCTIONS, RunConfig
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.kernels.blas import blas_library
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.gpu import Gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import warm_up
from scripts.bench.setting import load_data
from scripts.gpu.kernels import Finding

EPOCHS = 3
MNIST = Path(__file__).parents[2] / "tests" / "samples" / "mnist-mini"
PROBLEMS = {"digits": ("digits", (32,), 32, 1.0), "mnist": (str(MNIST), (1024,), 32, 0.1)}
WAYS = (
    ("cuda-loops", "float32", "float32", 1e-4),
    ("cuda-loops", "float64", "float64", 1e-10),
    ("cuda", "float32", "float32", 1e-4),
    ("cuda", "float32", "tf32", 2e-2),
    ("cuda", "float64", "float64", 1e-10),
)


def make(
    comm: Any,
    problem: str,
    way: tuple[str, str, str],
    gpu: Gpu | None,
    reduction: str = "allreduce",
) -> Trainer:
    """Return a trainer for a problem with real data, ready to run."""
    name, hidden, batch, rate = PROBLEMS[problem]
    backend, dtype, precision = way
    config = RunConfig(
        dataset=name, hidden=hidden, batch_size=batch, learning_rate=rate, epochs=EPOCHS,
        backend=backend, dtype=dtype, matmul_precision=precision, reduction=reduction,
        **PAPER_FUNCTIONS,
    )  # fmt: skip
    dataset = load_data(name)
    network = make_network(config, dataset.n_in, dataset.n_out)
    resources = Resources(1, False, None if gpu else blas_library.find(), gpu)
    parameters = initial_parameters(network, 0)
    trainer = make_trainer(comm, config, dataset, network, parameters, resources)
    warm_up(trainer)
    return trainer


def trained(trainer: Trainer) -> Array:
    """Train, end the trainer's threads and return the flat parameters."""
    with closing(trainer):
        trainer.run(EPOCHS, lambda number, epoch: None)
        return trainer.engine.parameters


def check_curves(comm: Any, gpu: Gpu) -> Iterator[Finding]:
    """Compare the training and validation loss of every epoch, on one rank."""
    for problem in PROBLEMS:
        exact = make(comm, problem, ("reference", "float64", "float64"), None)
        trained(exact)
        for *way, bound in WAYS:
            backend, dtype, precision = way
            trainer = make(comm, problem, (backend, dtype, precision), gpu)
            trained(trainer)
            error = 0.0
            for name in ("train_loss", "validation_loss"):
                pair = [t.history.column(name) for t in (trainer, exact)]
                error = max(error, float(np.max(np.abs(pair[0] - pair[1]))))
            yield Finding(f"{backend} {precision} loss on {problem}", error, bound)
