"""Regression, gelu and a function for each layer: on several ranks the weights of one rank."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset, prepare
from hpcpgd.data.dataset import RawData, Split
from tests.mpi import test_equivalence
from tests.mpi.test_equivalence import BOUND, config, train
from tests.mpi.test_optimisers import WAYS


@cache
def dataset() -> Dataset:
    """120 rows with two targets each, a fifth of them for validation."""
    random = np.random.default_rng(5)
    x = random.standard_normal((120, 6))
    y = np.tanh(x @ random.standard_normal((6, 2)))
    raw = RawData("numbers", Split(x, y), None, None, 2, 1.0, 0.0, True)
    return prepare(raw, seed=0, train_rows=100, test_fraction=None)


def way(backend: str, reduction: str = "allreduce", group_size: int | str = "node") -> RunConfig:
    plain = config(backend, "float64", 37, reduction, group_size)
    return replace(
        plain, activation="gelu,tanh", output_activation="linear", loss="mse", task="regression",
        learning_rate=0.05,
    )  # fmt: skip


@cache
def alone(backend: str, reduction: str = "allreduce") -> Any:
    return train(MPI.COMM_SELF, way(backend, reduction))


@pytest.mark.mpi
@pytest.mark.parametrize(("backend", "reduction", "group_size"), WAYS)
def test_weights_after_three_epochs(
    comm: Any, backend: str, reduction: str, group_size: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_equivalence, "dataset", dataset)
    parts, history = train(comm, way(backend, reduction, group_size))
    truth, expected = alone("reference")
    for part, exact in zip(parts, truth, strict=True):
        assert np.max(np.abs(part - exact)) < BOUND["float64"]
    losses = history.column("validation_loss")
    np.testing.assert_allclose(losses, expected.column("validation_loss"), atol=1e-11)
    assert losses[-1] < losses[0]
    if reduction == "reproducible":
        for part, same in zip(parts, alone(backend, reduction)[0], strict=True):
            assert np.array_equal(part, same)
