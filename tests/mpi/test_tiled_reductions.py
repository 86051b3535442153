"""Products on tiles with every reduction: float32 accuracy, and bits of ``reproducible``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.parallel.mpi import MPI
from tests.mpi.test_equivalence import BOUND, config, distance, reference, require_same_bits, train
from tests.mpi.test_reductions import WAYS, require_noticed

pytestmark = [pytest.mark.amx, pytest.mark.mpi]
ALL = [("allreduce", "node"), *WAYS]


def tiled(precision: str, batch: int | str, reduction: str, group_size: int | str = "node") -> Any:
    """Return a configuration whose products run on tiles, which this process may use."""
    assert refusal() == ""
    return replace(
        config("gemm", "float32", batch, reduction, group_size), matmul_precision=precision
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [37, 2, "full"])
@pytest.mark.parametrize(("reduction", "group_size"), ALL)
def test_weights_after_three_epochs(
    comm: Any, reduction: str, group_size: int | str, batch: int | str, threads: int
) -> None:
    exact, expected = reference(batch)
    for precision, bound, close in (("bf16x6", BOUND["float32"], 1e-3), ("bf16", 0.2, 0.1)):
        parts, history = train(comm, tiled(precision, batch, reduction, group_size), threads)
        assert distance(parts, exact) < bound
        found, losses = history.column("train_loss"), expected.column("train_loss")
        np.testing.assert_allclose(found, losses, rtol=0, atol=close)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("group_size", ["node", 1, 2])
@pytest.mark.parametrize(("precision", "clip"), [("bf16", "none"), ("bf16x6", 0.1)])
def test_the_bits_of_one_rank(
    comm: Any, precision: str, clip: float | str, group_size: int | str, threads: int
) -> None:
    settings = replace(tiled(precision, 37, "reproducible", group_size), clip_norm=clip)
    require_same_bits(train(comm, settings, threads), train(MPI.COMM_SELF, settings))


@pytest.mark.parametrize("precision", TILE_PARTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("reduction", "group_size"), ALL)
def test_all_notice_what_is_not_finite(
    comm: Any, reduction: str, group_size: int | str, bad: float, precision: str
) -> None:
    require_noticed(comm, tiled(precision, 37, reduction, group_size), bad)
