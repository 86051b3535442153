"""Whether all ranks hold the same weights: a hash of 8 bytes, its least and its largest."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.errors import ReplicaError
from hpcpgd.kernels.network import Array, Network

EVERY = 1000  # steps; at the end of each epoch and before each checkpoint besides


def require_same_weights(comm: Any, network: Network, parameters: Array, step: int) -> None:
    """Compare the weights of all ranks after ``step``; collective, 16 bytes of messages.

    Raises
    ------
    ReplicaError
        On every rank, naming a rank that is alone with its weights, and the layer.
    """
    if comm.size == 1:
        return
    own = _digest(parameters)
    box = np.array([own, ~own])  # the least of the complements is that of the largest
    mpi.min_in_place(comm, box)
    if box[0] == ~box[1]:
        return
    error = ReplicaError(_difference(comm, network, parameters, step))
    error.agreed = True
    raise error


def _digest(array: Array) -> int:
    found = hashlib.blake2b(np.ascontiguousarray(array).data.cast("B"), digest_size=8)
    return int(np.frombuffer(found.digest(), np.int64)[0])


def _difference(comm: Any, network: Network, parameters: Array, step: int) -> str:
    """Name the rank and the layer that differ from what most ranks hold."""
    layers = range(1, network.depth + 1)
    own = np.array([_digest(parameters[slice(*network.span(layer))]) for layer in layers])
    rows = mpi.all_rows(comm, own).tolist()
    usual = Counter(map(tuple, rows)).most_common(1)[0][0]
    others = [rank for rank, row in enumerate(rows) if tuple(row) != usual]
    if not others:
        return f"the ranks hold different weights after step {step}"
    layer = next(
        n
        for n, pair in enumerate(zip(rows[others[0]], usual, strict=True), 1)
        if pair[0] != pair[1]
    )
    whose = "rank 0" if comm.size == 2 else "most ranks"
    more = f", and so do ranks {others[1:]}" if len(others) > 1 else ""
    return (
        f"rank {others[0]} holds other weights in layer {layer} than {whose}{more}: first seen "
        f"after step {step}; its memory or its links may be faulty: leave its node out and go "
        "on from the last checkpoint"
    )
