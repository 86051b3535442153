"""What all ranks must have in common before the first step."""

from __future__ import annotations

import tomllib
from typing import Any

from hpcpgd import mpi
from hpcpgd.config import RunConfig
from hpcpgd.errors import ConfigError


def require_same_config(comm: Any, config: RunConfig) -> None:
    """Refuse ranks whose configurations differ; collective.

    Raises
    ------
    ConfigError
        On every rank, naming a rank and its first field that differs from rank 0's.
    """
    own = config.to_toml().encode()
    first = mpi.broadcast_bytes(comm, own)
    with mpi.agreed(comm):
        if own != first:
            raise ConfigError(_difference(own, first))


def _difference(own: bytes, first: bytes) -> str:
    mine, theirs = (tomllib.loads(data.decode())["train"] for data in (own, first))
    for key, value in theirs.items():
        if mine[key] != value:
            return f"{key} is {mine[key]!r}, but {value!r} on rank 0: give all ranks the same"
    return "the configuration differs from that of rank 0: give all ranks the same"
