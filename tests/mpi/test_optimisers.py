"""Optimisers on several ranks: the weights of one rank, and with ``reproducible`` their bits.

A clipped gradient is compared with NumPy in float64.
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
from tests.mpi.test_equivalence import BOUND, config, dataset, train

RATES = {"adam": 0.002, "adamw": 0.002}
WAYS = [
    ("loops", "allreduce", "node"), ("gemm", "overlap", "node"), ("gemm", "shared", "node"),
    ("gemm", "shared", 2), ("gemm", "reproducible", "node"), ("gemv", "reproducible", 2),
]  # fmt: skip


def way(
    optimizer: str, backend: str, reduction: str = "allreduce", group_size: int | str = "node"
) -> RunConfig:
    plain = config(backend, "float64", 37, reduction, group_size)
    rate = RATES.get(optimizer, 0.05)
    return replace(plain, optimizer=optimizer, weight_decay=0.01, learning_rate=rate)


@cache
def alone(optimizer: str, backend: str, reduction: str = "allreduce") -> Any:
    return train(MPI.COMM_SELF, way(optimizer, backend, reduction))[0]


@pytest.mark.mpi
@pytest.mark.parametrize(("backend", "reduction", "group_size"), WAYS)
@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_weights_after_three_epochs(
    comm: Any, optimizer: str, backend: str, reduction: str, group_size: int | str
) -> None:
    parts, _ = train(comm, way(optimizer, backend, reduction, group_size))
    for part, truth in zip(parts, alone(optimizer, "reference"), strict=True):
        assert np.max(np.abs(part - truth)) < BOUND["float64"]
    if reduction == "reproducible":
        for part, same in zip(parts, alone(optimizer, backend, reduction), strict=True):
            assert np.array_equal(part, same)


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


@pytest.mark.mpi
@pytest.mark.parametrize("words", [*WAYS, ("gemm", "allreduce")])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_clipped_gradients(comm: Any, decay: float, words: tuple[Any, ...]) -> None:
    settings = clipping(decay, *words)
    parts, _ = train(comm, settings)
    for part, truth in zip(parts, by_numpy(decay), strict=True):
        assert np.max(np.abs(part - truth)) < BOUND["float64"]
    if settings.reduction == "reproducible":
        for part, same in zip(parts, train(MPI.COMM_SELF, settings)[0], strict=True):
            assert np.array_equal(part, same)
