"""What a node's memory, or that of a rank, must hold, checked before it is asked for."""

from __future__ import annotations

import numpy as np

from hpcpgd.environment import memory_limits
from hpcpgd.errors import UnavailableError
from hpcpgd.parallel import mpi


def ensure_memory(ranks: mpi.Ranks, nbytes: int, what: str) -> None:
    """Refuse what some rank, or the ranks of some node together, cannot hold; collective.

    Parameters
    ----------
    ranks : Ranks
    nbytes : int
        Bytes that this rank needs.
    what : str
        What needs them, for the message.

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
