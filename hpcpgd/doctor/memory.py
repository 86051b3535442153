"""The memory that the ranks of a node can use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.doctor.finding import Finding, ok, warning
from hpcpgd.environment import memory_limits
from hpcpgd.environment.cgroup import limits
from hpcpgd.environment.memory_limits import physical_memory

SUBJECT = "memory"
GIB = 2**30
LEAST_BYTES = GIB // 2  # for a rank: Python, the libraries and a small problem


@dataclass(frozen=True)
class Memory:
    """The memory of a node.

    Attributes
    ----------
    machine, allowed, free : int
        Bytes of the machine, bytes that the job may use, and bytes that are free.
    process : int or None
        Bytes that one process may still allocate, None without a limit.
    limit : str
        That limit, and how much of it is taken.
    """

    machine: int
    allowed: int
    free: int
    process: int | None = None
    limit: str = ""


def observe() -> Memory:
    """Return the memory of this node."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed = physical_memory()
    free = _free_of_machine(allowed)
    groups = [limits(f"memory.{name}") for name in ("max", "current", "stat")]
    for limit, used, stat in zip(*groups, strict=False):  # the root group has only stat
        if limit != ["max"]:
            parts = dict(zip(stat[::2], map(int, stat[1::2]), strict=True))
            cached = parts.get("file", 0) - parts.get("shmem", 0)  # given back when needed
            free = min(free, int(limit[0]) - int(used[0]) + cached)
    limit = memory_limits.tightest()
    if limit is None:
        return Memory(machine, allowed, free)
    return Memory(machine, allowed, free, limit.free, limit.describe())


def _free_of_machine(otherwise: int) -> int:
    """Return the memory that is available without swapping, ``otherwise`` if it is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return otherwise
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), None)
    return otherwise if words is None else int(words[1]) * 1024


def judge(seen: Memory, ranks: int) -> list[Finding]:
    """Judge whether the memory suffices for ``ranks`` on the node."""
    limit = ""
    if seen.allowed < seen.machine:
        limit = f", a limit of the job or container; the machine has {seen.machine / GIB:.1f} GiB"
    each = seen.free / ranks
    text = f"{seen.free / GIB:.1f} GiB of {seen.allowed / GIB:.1f} GiB are free{limit}: "
    if seen.process is not None and seen.process < each:
        text += f"{seen.process / GIB:.1f} GiB a rank, as {seen.limit}"
        if seen.process < LEAST_BYTES:
            return [warning(SUBJECT, text, "raise the limit: ulimit -v unlimited")]
        return [ok(SUBJECT, text)]
    text += f"{each / GIB:.1f} GiB a rank"
    if each < LEAST_BYTES:
        cure = "use fewer ranks a node, or ask for more memory (sbatch --mem, docker run --memory)"
        return [warning(SUBJECT, text, cure)]
    return [ok(SUBJECT, text)]
