"""``/dev/shm``, which MPI and reduction ``shared`` take their memory from.

It is looked at before MPI starts, which a small one can kill.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.doctor.finding import Finding, counted, ok, warning
from hpcpgd.parallel.shm_files import PREFIXES, left_over
from hpcpgd.parallel.shm_files import SHARED_MEMORY as FOLDER

SUBJECT = "shared memory"
MIB = 2**20
# MPICH with UCX takes 5.2 MiB a rank, and is killed in MPI_Init where it finds less.
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
        This user's files of MPI libraries that no process has mapped.
    leftover_bytes : int
        Of these files.
    """

    size: int
    free: int
    leftovers: tuple[str, ...] = ()
    leftover_bytes: int = 0


def observe(folder: Path = FOLDER, processes: Path = Path("/proc")) -> SharedMemory | None:
    """Return what is seen, None where a system has no such folder."""
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
    """Return whether MPI may find too little for ``ranks`` on a node."""
    return seen.free < max(LEAST_BYTES, ranks * RANK_BYTES)


def judge(seen: SharedMemory | None, ranks: int) -> list[Finding]:
    """Say whether ``ranks`` on a node can work with its shared memory."""
    if seen is None:
        return [ok(SUBJECT, f"no {FOLDER} here: MPI has its own way")]
    sizes = f"{FOLDER} has {_size(seen.size)}, {_size(seen.free)} free"
    left = seen.leftovers
    if left:
        sizes += f", {_size(seen.leftover_bytes)} in {counted(len(left), 'file')} of killed jobs"
    remove = ""
    if left:
        patterns = " ".join(f"{FOLDER}/{prefix}*" for prefix in _prefixes(left))
        remove = "hpcpgd train removes what is MPICH's as it starts; "
        remove += f"else, while none of your MPI jobs runs on this node: rm -f {patterns}"
    if is_small(seen, ranks):
        cure = "enlarge it: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm"
        if left:
            cure = f"{remove}; or {cure}"
        return [warning(SUBJECT, f"{sizes}: MPI_Init may crash", cure)]
    if left:
        return [warning(SUBJECT, sizes, remove)]
    return [ok(SUBJECT, sizes)]


def _prefixes(names: Iterable[str]) -> list[str]:
    return [prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in names)]


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / MIB:.0f} MiB"
