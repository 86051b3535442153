"""Whether the memory of a node and of a rank suffices, checked before it is allocated."""

from __future__ import annotations

import numpy as np

from hpcpgd.environment import memory_limits
from hpcpgd.errors import UnavailableError
from hpcpgd.parallel import mpi


def ensure_memory(ranks: mpi.Ranks, nbytes: int, what: str) -> None:
    """Refuse a size that some rank, or all ranks of some node, cannot allocate; collective.

    Parameters
    ----------
    nbytes : int
        Bytes that this rank needs.
    what : str
        The data that need them, for the message.

    Raises
    ------
    UnavailableError
        On every rank.
    """
    total = np.array([nbytes], np.int64)
    mpi.allreduce_sum(ranks.node, total)
    with mpi.agreed(ranks.comm):
        needed, there = int(total[0]), memory_limits.physical_memory()
        if needed > there:
            raise UnavailableError(
                f"{what}: {ranks.node.size} ranks on one node need {needed / 2**30:.1f} GiB, "
                f"it has {there / 2**30:.1f} GiB: use fewer ranks a node, or a smaller problem"
            )
        limit = memory_limits.tightest()
        if limit is not None and nbytes > limit.free:
            raise UnavailableError(
                f"{what}: a rank needs {memory_limits.size(nbytes)}, {limit.describe()}: "
                "raise the limit, or take a smaller problem"
            )
