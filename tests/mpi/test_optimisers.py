"""Optimisers, and regression with gelu: on several ranks the weights of one rank.

With ``reproducible`` they have the same bits.  A clipped gradient is compared with NumPy in
float64.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from hpcpgd.config.run_config import RunConfig
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.kernels.backends.registry import make_plan
from hpcpgd.kernels.core.optimisers import OPTIMISERS
from hpcpgd.train.planning import make_sampler
from tests.mpi.test_equivalence import (
    BOUND,
    config,
    dataset,
    distance,
    require_near,
    require_same_bits,
    train,
)

pytestmark = pytest.mark.mpi
RATES = {"adam": 0.002, "adamw": 0.002}
WAYS = [
    ("loops", "allreduce", "node"), ("gemm", "overlap", "node"), ("gemm", "shared", "node"),
    ("gemm", "shared", 2), ("gemm", "reproducible", "node"), ("gemv", "reproducible", 2),
]  # fmt: skip


def way(
    optimizer: str, backend: str, reduction: str = "allreduce", group_size: int | str = "node"
) -> RunConfig:
    plain = config(backend, "float64", 37, reduction, group_size)
    if optimizer == "regression":  # with a function for each layer
        return replace(
            plain, activation="gelu,tanh", output_activation="linear", loss="mse",
            task="regression", learning_rate=0.05,
        )  # fmt: skip
    rate = RATES.get(optimizer, 0.05)
    return replace(plain, optimizer=optimizer, weight_decay=0.01, learning_rate=rate)


@cache
def alone(optimizer: str, backend: str, reduction: str = "allreduce") -> Any:
    return train(MPI.COMM_SELF, way(optimizer, backend, reduction))


@pytest.mark.parametrize(("backend", "reduction", "group_size"), WAYS)
@pytest.mark.parametrize("optimizer", [*OPTIMISERS, "regression"])
def test_weights_after_three_epochs(
    comm: Any, optimizer: str, backend: str, reduction: str, group_size: int | str
) -> None:
    found = train(comm, way(optimizer, backend, reduction, group_size))
    require_near(found, alone(optimizer, "reference"), BOUND["float64"])
    losses = found[1].column("validation_loss")
    assert losses[-1] < losses[0]
    if reduction == "reproducible":
        require_same_bits(found, alone(optimizer, backend, reduction))


def clipping(decay: float, *words: Any) -> RunConfig:
    return replace(way("sgd", *words), clip_norm=1.0, weight_decay=decay)


@cache
def by_numpy(decay: float) -> Any:
    """Return weights and biases after three epochs, each step on the oracle's gradient."""
    settings, data = clipping(decay, "reference"), dataset()
    net, sampler = make_network(settings, 784, 10), make_sampler(settings, 100)
    flat, gradient, norms = initial_parameters(net, 0), net.zeros(), []
    plan = make_plan("reference", net, 37, 1, None)
    for epoch, step in ((e, s) for e in (1, 2, 3) for s in range(sampler.steps)):
        first, end = sampler.minibatch(step)
        rows = np.zeros(end - first, np.int64)
        sampler.numbers(epoch, first, rows)
        plan.work.inputs[: rows.size] = data.train.features[rows] * data.scale
        plan.work.labels[: rows.size] = data.train.labels[rows]
        plan.gradient(flat, rows.size, gradient, False)
        mean = gradient / rows.size
        norms.append(np.sqrt((mean**2).sum()))
        flat -= 0.05 * (mean * min(1, 1.0 / norms[-1]) + decay * flat)
    assert min(norms) < 1.0 < max(norms)
    return list(net.parts(flat).values())


@pytest.mark.parametrize("words", [*WAYS, ("gemm", "allreduce")])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_clipped_gradients(comm: Any, decay: float, words: tuple[Any, ...]) -> None:
    settings = clipping(decay, *words)
    found = train(comm, settings)
    assert distance(found[0], by_numpy(decay)) < BOUND["float64"]
    if settings.reduction == "reproducible":
        require_same_bits(found, train(MPI.COMM_SELF, settings))
