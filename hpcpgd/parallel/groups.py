"""Groups of ranks that share memory: the nodes, or parts of them (``--group-size``)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.core.network import ALIGNMENT, Array, aligned_zeros
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.parallel import mpi
from hpcpgd.parallel.shm_files import SHARED_MEMORY


@dataclass(frozen=True)
class Group:
    """The group of this rank, and its place among the others.

    Attributes
    ----------
    members : Comm
        The ranks of the group.
    sizes : tuple of int
        Ranks of every group.
    number : int
        This group.
    peers : Comm or None
        The ranks that have the same index in their groups; None where some group has none.
    leaders : Comm or None
        The first ranks of all groups; None on the others.
    """

    members: mpi.Comm
    sizes: tuple[int, ...]
    number: int
    peers: mpi.Comm | None
    leaders: mpi.Comm | None

    @property
    def index(self) -> int:
        """Return the place of this rank in its group."""
        return int(self.members.rank)

    @property
    def size(self) -> int:
        """Ranks of this group."""
        return int(self.members.size)

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def first(self) -> int:
        """Ranks of the groups before this one."""
        return sum(self.sizes[: self.number])

    @property
    def blocks(self) -> int:
        """Blocks of the gradient: as many as the smallest group has ranks."""
        return min(self.sizes)

    def free(self) -> None:
        """Free the communicators; collective."""
        for comm in (self.peers, self.leaders, self.members):
            if comm is not None:
                comm.Free()


def make_group(ranks: mpi.Ranks, most: int | None) -> Group:
    """Divide the ranks of each node evenly into groups of at most ``most``; collective."""
    node = ranks.node
    parts = 1 if most is None else -(-node.size // most)
    spans = [block_range(node.size, parts, part) for part in range(parts)]
    own = next(part for part, (begin, end) in enumerate(spans) if begin <= node.rank < end)
    members = node.Split(own, node.rank)
    leaders = mpi.split_within(ranks.comm, 0 if members.rank == 0 else None)
    facts = np.zeros(2, np.int64)
    if leaders is not None:
        facts[:] = leaders.rank, leaders.size
    mpi.bcast(members, facts)
    sizes = np.zeros(facts[1], np.int64)
    if leaders is not None:
        sizes[:] = mpi.allgather(leaders, np.array(members.size, np.int64))
    mpi.bcast(members, sizes)
    blocks = int(sizes.min())
    peers = mpi.split_within(ranks.comm, members.rank if members.rank < blocks else None)
    return Group(members, tuple(int(n) for n in sizes), int(facts[0]), peers, leaders)


@dataclass
class Arena:
    """Memory that all ranks of a group see."""

    ranks: mpi.Ranks
    group: Group
    _windows: list[Any] = field(default_factory=list)

    def allocate(self, size: int, dtype: npt.DTypeLike) -> Array:
        """Return ``size`` zeros; collective over the ranks of the job, all with the same size.

        Raises
        ------
        UnavailableError
            On every rank, if some node's shared memory cannot hold them.
        """
        nbytes = size * np.dtype(dtype).itemsize + ALIGNMENT
        self._ensure_room(nbytes if self.group.size > 1 else 0)
        if self.group.size == 1:
            return aligned_zeros(size, dtype)
        memory, window = mpi.shared_bytes(self.group.members, nbytes)
        self._windows.append(window)
        begin = -memory.ctypes.data % ALIGNMENT  # the same on all ranks: windows begin on a page
        return memory[begin : begin + nbytes - ALIGNMENT].view(dtype)

    def free(self) -> None:
        """Free all memory, which no rank may read any more; collective."""
        for window in self._windows:
            mpi.free_window(window)
        self._windows.clear()

    def _ensure_room(self, nbytes: int) -> None:
        """Refuse what a node's shared memory cannot hold: writing to it would be a SIGBUS."""
        wanted = np.array([nbytes if self.group.index == 0 else 0], np.int64)
        mpi.allreduce_sum(self.ranks.node, wanted)
        with mpi.agreed(self.ranks.comm):
            if wanted[0] == 0 or not SHARED_MEMORY.is_dir():
                return
            there = os.statvfs(SHARED_MEMORY)
            free = there.f_bavail * there.f_frsize
            if wanted[0] > free:
                raise UnavailableError(
                    f"{SHARED_MEMORY}: {wanted[0] / 2**20:.0f} MiB of shared memory are needed, "
                    f"{free / 2**20:.0f} MiB are free: enlarge it (docker run --shm-size, "
                    "mount -o remount,size=), or use --reduction allreduce"
                )
