"""``/dev/shm``, from which MPI and reduction ``shared`` take their memory.

It is checked before MPI starts, because MPI may crash if it is small.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.doctor.finding import Finding, counted, ok, warning
from hpcpgd.parallel.shm_files import PREFIXES, left_over
from hpcpgd.parallel.shm_files import SHARED_MEMORY as FOLDER

SUBJECT = "shared memory"
MIB = 2**20
# MPICH with UCX takes 5.2 MiB a rank, and is killed in MPI_Init if there is less.
RANK_BYTES = 6 * MIB
LEAST_BYTES = 32 * MIB


@dataclass(frozen=True)
class SharedMemory:
    """The file system of a node's shared memory.

    Attributes
    ----------
    size, free : int
        Bytes.
    leftovers : tuple of str
        Files of MPI libraries that belong to this user and that no process has mapped.
    leftover_bytes : int
        Size of these files.
    """

    size: int
    free: int
    leftovers: tuple[str, ...] = ()
    leftover_bytes: int = 0


def observe(folder: Path = FOLDER, processes: Path = Path("/proc")) -> SharedMemory | None:
    """Return the file system of shared memory, None on a system without this folder."""
    if not folder.is_dir():
        return None
    there = os.statvfs(folder)
    left = left_over(folder, processes)
    return SharedMemory(
        there.f_blocks * there.f_frsize,
        there.f_bavail * there.f_frsize,
        tuple(sorted(left)),
        sum(left.values()),
    )


def is_small(seen: SharedMemory, ranks: int) -> bool:
    """Return whether it may be too small for MPI with ``ranks`` on a node."""
    return seen.free < max(LEAST_BYTES, ranks * RANK_BYTES)


def judge(seen: SharedMemory | None, ranks: int) -> list[Finding]:
    """Judge whether the shared memory of a node suffices for ``ranks``."""
    if seen is None:
        return [ok(SUBJECT, f"this system has no {FOLDER}, and MPI does not need it")]
    sizes = f"{FOLDER} has {_size(seen.size)}, {_size(seen.free)} free"
    left = seen.leftovers
    if left:
        sizes += f", {_size(seen.leftover_bytes)} in {counted(len(left), 'file')} of killed jobs"
    remove = ""
    if left:
        prefixes = [prefix for prefix in PREFIXES if any(n.startswith(prefix) for n in left)]
        patterns = " ".join(f"{FOLDER}/{prefix}*" for prefix in prefixes)
        remove = "hpcpgd train removes MPICH's files when it starts; "
        remove += f"or, while none of your MPI jobs runs on this node: rm -f {patterns}"
    if is_small(seen, ranks):
        cure = "enlarge it: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm"
        if left:
            cure = f"{remove}; or {cure}"
        return [warning(SUBJECT, f"{sizes}: MPI_Init may crash", cure)]
    if left:
        return [warning(SUBJECT, sizes, remove)]
    return [ok(SUBJECT, sizes)]


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / MIB:.0f} MiB"
