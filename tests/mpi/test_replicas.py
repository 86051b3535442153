"""A message names the ranks whose weights differ from those of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcpgd.errors import ReplicaError
from hpcpgd.kernels.core.network import Network
from hpcpgd.parallel.replicas import require_same_data, require_same_weights

pytestmark = pytest.mark.mpi
NETWORK = Network((30, 20, 10), "float32")


def test_the_same_weights_pass(comm: Any) -> None:
    parameters = NETWORK.zeros()
    parameters[5] = np.nan  # bits are compared, not numbers
    require_same_weights(comm, NETWORK, parameters, 7, 6)


def test_rows_that_differ_on_one_rank_are_found(comm: Any) -> None:
    pixels, labels = np.arange(60, dtype=np.uint8), np.arange(6, dtype=np.int32)
    empty = np.zeros((0, 7), np.float32)
    require_same_data(comm, [pixels, empty, labels], "digits")
    if comm.size == 1:
        return
    if comm.rank == comm.size - 1:
        labels[3] += 1
    expected = f"rank {comm.size - 1} holds other rows of dataset digits than"
    with pytest.raises(ReplicaError, match=expected) as caught:
        require_same_data(comm, [pixels, empty, labels], "digits")
    assert caught.value.agreed


@pytest.mark.parametrize("seed", range(25))
def test_a_bit_flipped_on_one_rank_is_found(comm: Any, seed: int) -> None:
    if comm.size == 1:
        return
    rng = np.random.default_rng(seed)
    rank, layer, bit = int(rng.integers(1, comm.size)), int(rng.integers(1, 3)), rng.integers(8)
    parameters = NETWORK.zeros()
    if comm.rank == rank:
        begin, end = NETWORK.span(layer)
        inside = parameters[begin:end].view(np.uint8)
        place = rng.integers(NETWORK.widths[layer - 1] * NETWORK.widths[layer] * 4)
        inside[place] ^= np.uint8(1 << bit)
    whose = "rank 0" if comm.size == 2 else "most ranks"
    expected = f"rank {rank} holds other weights in layer {layer} than {whose}: first seen after"
    with pytest.raises(ReplicaError, match=expected) as caught:
        require_same_weights(comm, NETWORK, parameters, 7, 6)
    assert caught.value.agreed
    assert caught.value.exit_code == 76
