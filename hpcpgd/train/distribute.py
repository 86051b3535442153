"""Read a dataset on rank 0 and send it to all ranks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset, Split
from hpcpgd.data.dataset import splits_of
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.node_memory import ensure_memory
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena
from hpcpgd.parallel.replicas import require_same_data
from hpcpgd.train.load_dataset import load_dataset


def load_on_all(ranks: mpi.Ranks, config: RunConfig, arena: Arena | None = None) -> Dataset:
    """Return the configured dataset on every rank; only rank 0 reads files.  Collective.

    With an arena the ranks of a group share one copy, otherwise each rank has a copy.

    Raises
    ------
    DataError, ConfigError, UnavailableError
        The same on every rank.
    """
    dataset = None
    with mpi.agreed(ranks.comm):
        if ranks.rank == 0:
            dataset = load_dataset(config)
    return share(ranks, dataset, arena)


def share(ranks: mpi.Ranks, dataset: Dataset | None, arena: Arena | None = None) -> Dataset:
    """Return rank 0's ``dataset`` on every rank; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node cannot hold a copy for each of its ranks or groups.
    ReplicaError
        On every rank, if the rows did not arrive everywhere as they are on rank 0.
    """
    facts = json.loads(mpi.bcast_bytes(ranks.comm, _facts(dataset)))
    sizes = facts["splits"].values()
    targets = (facts["n_out"],) if facts.pop("regression") else ()
    label_type = np.float64 if targets else np.int32
    label_bytes = int(np.prod(targets)) * np.dtype(label_type).itemsize
    nbytes = sum(n * (columns * np.dtype(t).itemsize + label_bytes) for n, columns, t in sizes)
    has_copy = arena is None or arena.group.index == 0
    ensure_memory(ranks, nbytes if has_copy else 0, f"dataset {facts['name']}")
    splits: dict[str, Any] = {}
    for name, (rows, columns, dtype) in facts.pop("splits").items():
        root = None if dataset is None else getattr(dataset, name)
        splits[name] = Split(
            _spread(ranks, arena, None if root is None else root.features, (rows, columns), dtype),
            _spread(
                ranks, arena, None if root is None else root.labels, (rows, *targets), label_type
            ),
        )
    arrays = [array for split in splits.values() for array in (split.features, split.labels)]
    fault_point("rows", arrays)
    require_same_data(ranks.comm, arrays, facts["name"])
    return Dataset(**splits, **facts)


def _spread(
    ranks: mpi.Ranks, arena: Arena | None, root: Array | None, shape: tuple[int, ...], dtype: Any
) -> Array:
    """Return rank 0's array ``root`` on every rank, or once in every group's shared memory."""
    if arena is None:
        array = np.empty(shape, dtype) if root is None else root
        mpi.bcast(ranks.comm, array)
        return array
    array = arena.allocate(int(np.prod(shape)), dtype).reshape(shape)
    if root is not None:
        array[...] = root
    if arena.group.leaders is not None:  # the first of them is rank 0
        mpi.bcast(arena.group.leaders, array)
    arena.group.members.Barrier()
    return array


def _facts(dataset: Dataset | None) -> bytes:
    """Return all fields except the arrays as JSON, and the arrays' shapes; b"" for None."""
    if dataset is None:
        return b""
    splits = splits_of(dataset)
    names = [name for name in Dataset.__dataclass_fields__ if name not in splits]
    facts: dict[str, Any] = {name: getattr(dataset, name) for name in names}
    facts["regression"] = dataset.regression
    facts["splits"] = {
        name: (*split.features.shape, split.features.dtype.str) for name, split in splits.items()
    }
    return json.dumps(facts).encode()
