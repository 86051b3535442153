"""Whether all ranks hold the same rows and weights: they compare hashes of 8 bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import ReplicaError
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.parallel import mpi

EVERY = 1000  # steps; at the end of each epoch and before each checkpoint besides


def require_same_data(comm: mpi.Comm, arrays: Sequence[Array], name: str) -> None:
    """Compare the arrays of a dataset on all ranks that hold a copy; collective.

    Raises
    ------
    ReplicaError
        On every rank of ``comm``, naming the ranks that differ from most others.
    """
    if comm.size == 1 or _alike(comm, own := _digest(*arrays)):
        return
    _, others = _majority(mpi.allgather(comm, np.array([own])))
    raise ReplicaError(
        f"{_named(others)} other rows of dataset {name} than {_most(comm)}: memory or links may "
        "be faulty: leave the node out",
        agreed=True,
    )


def require_same_weights(
    comm: mpi.Comm, network: Network, parameters: Array, step: int, same: int
) -> None:
    """Compare the weights of all ranks after ``step``; collective, 16 bytes of messages.

    ``same`` is the last step after which they were known to be the same.

    Raises
    ------
    ReplicaError
        On every rank, naming the ranks that differ from most others, and the first layer.
    """
    fault_point("comparison", comm, parameters, step)
    if comm.size == 1 or _alike(comm, _digest(parameters)):
        return
    spans = [slice(*network.span(layer)) for layer in range(1, network.depth + 1)]
    rows = mpi.allgather(comm, np.array([_digest(parameters[span]) for span in spans]))
    usual, others = _majority(rows)
    layer = 1 + int(np.argmax((rows[others] != usual).any(axis=0)))
    raise ReplicaError(
        f"{_named(others)} other weights in layer {layer} than {_most(comm)}: first seen after "
        f"step {step}, alike after step {same}; memory or links may be faulty: leave the node "
        "out and go on from the last checkpoint",
        agreed=True,
    )


def _alike(comm: mpi.Comm, own: int) -> bool:
    """Return whether all ranks have the same ``own``; collective."""
    box = np.array([own, ~own])  # the smallest complement is that of the largest value
    mpi.allreduce_min(comm, box)
    return bool(box[0] == ~box[1])


def _digest(*arrays: Array) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return int(np.frombuffer(digest.digest(), np.int64)[0])


def _majority(rows: Array) -> tuple[Array, list[int]]:
    """Return the row that most ranks have, and the ranks that have another."""
    usual = np.array(Counter(map(tuple, rows.tolist())).most_common(1)[0][0])
    return usual, np.flatnonzero((rows != usual).any(axis=1)).tolist()


def _named(ranks: list[int]) -> str:
    several = len(ranks) > 1
    return f"rank{'s' * several} {', '.join(map(str, ranks))} hold{'s' * (not several)}"


def _most(comm: mpi.Comm) -> str:
    return "rank 0" if comm.size == 2 else "most ranks"
