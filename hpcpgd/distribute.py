"""Read a dataset on one rank and give it to all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.config import RunConfig
from hpcpgd.data import Dataset, Split, load, prepare
from hpcpgd.jitcache import repaired
from hpcpgd.memory import ensure_memory

SPLITS = ("train", "validation", "test")


def load_on_all(ranks: mpi.Ranks, config: RunConfig) -> Dataset:
    """Return the configured dataset on every rank; rank 0 alone touches files.

    Raises
    ------
    DataError, ConfigError, UnavailableError
        The same on every rank.
    """
    dataset = None
    with mpi.agreed(ranks.comm):
        if ranks.rank == 0:
            repaired(_compile_permutation)
            dataset = _read(config)
    return share(ranks, dataset)


def _compile_permutation() -> None:
    """Compile what splitting the rows needs, or load it from the cache."""
    from hpcpgd.kernels.permutation import permutation

    permutation(1, 0, 0)


def _read(config: RunConfig) -> Dataset:
    raw = load(config.dataset, seed=config.seed)
    rows = None if config.train_rows == "all" else int(config.train_rows)
    fraction = None if config.test_fraction == "auto" else float(config.test_fraction)
    return prepare(raw, seed=config.seed, train_rows=rows, test_fraction=fraction)


def share(ranks: mpi.Ranks, dataset: Dataset | None) -> Dataset:
    """Return rank 0's ``dataset`` on every rank; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node cannot hold a copy for each of its ranks.
    """
    comm = ranks.comm
    facts = json.loads(mpi.broadcast_bytes(comm, _facts(dataset)))
    sizes = facts["splits"].values()
    nbytes = sum(rows * (columns * np.dtype(dtype).itemsize + 4) for rows, columns, dtype in sizes)
    ensure_memory(ranks, nbytes, f"dataset {facts['name']}")
    splits = {}
    for name, (rows, columns, dtype) in facts.pop("splits").items():
        if dataset is not None:
            split = getattr(dataset, name)
        else:
            split = Split(np.empty((rows, columns), dtype), np.empty(rows, np.int32))
        mpi.broadcast(comm, split.features)
        mpi.broadcast(comm, split.labels)
        splits[name] = split
    return Dataset(**splits, **facts)


def _facts(dataset: Dataset | None) -> bytes:
    """Return everything but the arrays as JSON, empty where there is no dataset."""
    if dataset is None:
        return b""
    names = [name for name in Dataset.__dataclass_fields__ if name not in SPLITS]
    facts: dict[str, Any] = {name: getattr(dataset, name) for name in names}
    splits = {name: getattr(dataset, name) for name in SPLITS}
    facts["splits"] = {
        name: (*split.features.shape, split.features.dtype.str) for name, split in splits.items()
    }
    return json.dumps(facts).encode()
