"""The cores that a rank may use, and its fair share of them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np

from hpcpgd.environment.cgroup import MEMBERSHIP, ROOT, limits
from hpcpgd.parallel import mpi

MAX_CORES = 4096
TOPOLOGY = Path("/sys/devices/system/cpu")


def affinity() -> list[int]:
    """Return the logical processors that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores_of(cpus: list[int], topology: Path = TOPOLOGY) -> list[int]:
    """Return the cores of logical processors, each named by its first hardware thread.

    The hardware threads of a core share its arithmetic units, so a core counts once.
    """
    return sorted({min(_siblings(cpu, topology)) for cpu in cpus})


def hardware_threads(cpus: Collection[int], topology: Path = TOPOLOGY) -> list[int]:
    """Return all hardware threads of the cores of logical processors."""
    return sorted({thread for cpu in cpus for thread in _siblings(cpu, topology)})


def _siblings(cpu: int, topology: Path) -> set[int]:
    try:
        text = (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
    except OSError:  # another system, or a container that hides the file
        return {cpu}
    return processors(text)


def processors(spans: str) -> set[int]:
    """Return the logical processors that a list such as ``"0-3,8"`` names."""
    numbers: set[int] = set()
    for span in filter(None, spans.strip().split(",")):
        first, _, last = span.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def cache_bytes(topology: Path = TOPOLOGY) -> int:
    """Return the total size of the last-level caches of this machine, 0 if it is unknown."""
    caches: dict[int, dict[str, int]] = {0: {}}  # by level, then by the processors of a cache
    try:
        for folder in topology.glob("cpu[0-9]*/cache/index[0-9]*"):
            names = ("level", "shared_cpu_list", "size")
            level, users, size = ((folder / name).read_text().strip() for name in names)
            caches.setdefault(int(level), {})[users] = int(size.removesuffix("K")) * 2**10
    except (OSError, ValueError):  # ARM systems may lack the size
        return 0
    return sum(caches[max(caches)].values())


def quota(membership: Path = MEMBERSHIP, root: Path = ROOT) -> float:
    """Return the processor quota of the container or job in cores, infinity without one."""
    groups = limits("cpu.max", membership, root)
    set_ones = [float(words[0]) / float(words[1]) for words in groups if words[0] != "max"]
    return min(set_ones, default=float("inf"))


def usable_cores() -> int:
    """Return how many whole cores this process may use, at least one."""
    return max(1, int(min(len(cores_of(affinity())), quota())))


def machine_identity() -> bytes:
    """Return an identity of this machine, the same on all nodes that it emulates."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return socket.gethostname().encode()


def fair_share(ranks: mpi.Ranks) -> float:
    """Return this rank's share, in cores, of the cores that it may use; collective.

    A core that several ranks of the machine may use is divided evenly among them, and so is a
    quota among the ranks of a node.  A share below 1 means that there are more ranks than cores.
    """
    machine = mpi.same_machine(ranks.comm, machine_identity())
    mine = np.zeros(MAX_CORES, np.uint8)
    mine[cores_of(affinity())] = 1
    users = mpi.allgather(machine, mine).astype(np.int64).sum(axis=0)
    machine.Free()
    share = float(np.sum(1.0 / users[mine > 0]))
    return min(share, quota() / ranks.node.size)


def fair_threads(share: float) -> int:
    """Return the number of threads for a share of cores: its whole cores, at least one."""
    return max(1, int(share + 1e-6))
