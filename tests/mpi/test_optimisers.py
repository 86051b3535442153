"""Optimisers on several ranks: the weights of one rank, and with ``reproducible`` their bits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from hpcpgd.config.run_config import RunConfig
from hpcpgd.kernels.core.optimisers import OPTIMISERS
from tests.mpi.test_equivalence import BOUND, config, train

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
