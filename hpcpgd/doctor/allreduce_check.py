"""Whether an Allreduce, which every step waits for, is right, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from hpcpgd.doctor.finding import Finding, counted, ok, problem, warning
from hpcpgd.errors import UnavailableError
from hpcpgd.parallel import mpi

SUBJECT = "Allreduce"
LARGE = 2**20  # numbers of 4 bytes: about the size of a gradient of Net-1h
REPEATS = 9
SLOW_SECONDS = 1e-3  # for a few bytes, which any network sums faster
ETHERNET = 0.15e9  # bytes per second, slightly more than Gigabit Ethernet has


@dataclass(frozen=True)
class Sums:
    """Times and results of sums over all ranks.

    Attributes
    ----------
    small, large : float
        Median seconds for 8 bytes and for 4 MiB.
    right : bool
        Whether the sums are right.
    crowded : bool
        Whether there are more ranks than cores.
    """

    ranks: int
    nodes: int
    small: float
    large: float
    right: bool
    crowded: bool


def observe(ranks: mpi.Ranks, crowded: bool) -> Sums:
    """Measure the sums; collective."""
    small, right = measure(ranks, np.full(2, 1 + ranks.rank, np.float32))
    large, also = measure(ranks, np.full(LARGE, 1 + ranks.rank, np.float32))
    wrong = mpi.allreduce_max(ranks.comm, float(not (right and also)))
    return Sums(ranks.size, ranks.nodes, small, large, wrong == 0, crowded)


def measure(
    ranks: mpi.Ranks, numbers: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> tuple[float, bool]:
    """Return the median time of a sum, and whether it is right here; collective."""
    seconds, right = [], True
    for _ in range(1 + REPEATS):
        box = numbers.copy()
        mpi.allreduce_sum(ranks.comm, np.zeros(1))  # then all ranks begin together
        begin = perf_counter()
        mpi.allreduce_sum(ranks.comm, box)
        seconds.append(perf_counter() - begin)
        right = right and bool((box == ranks.size * (ranks.size + 1) // 2).all())
    return median(seconds[1:]), right  # the first sum opens the connections


def judge(seen: Sums, note: str = "") -> list[Finding]:
    """Judge whether sums are right, and fast enough unless a ``note`` says why not."""
    speed = 4 * LARGE / seen.large
    where = f"{counted(seen.ranks, 'rank')} on {counted(seen.nodes, 'node')}"
    times = (
        f"8 bytes take {duration(seen.small)}, 4 MiB {duration(seen.large)} "
        f"({speed / 1e9:.2g} GB/s), {where}"
    )
    if not seen.right:
        cure = "try another transport of the MPI library, or another library"
        return [problem(SUBJECT, f"wrong sums over {where}", cure, UnavailableError.exit_code)]
    if note:
        return [ok(SUBJECT, f"{times}{note}")]
    late, low = seen.small > SLOW_SECONDS, seen.nodes > 1 and speed < ETHERNET
    if seen.crowded and (late or low):
        cure = "start at most one rank a core: ranks that wait take the core of ranks that compute"
        return [warning(SUBJECT, times, cure)]
    if low or (late and seen.nodes > 1):
        cure = (
            "as slow as Gigabit Ethernet: let MPI use the fast network (UCX_NET_DEVICES, "
            "FI_PROVIDER, the site's MPI module)"
        )
        return [warning(SUBJECT, times, cure)]
    if late:
        cure = "see who else computes here (top); let MPI use shared memory within the node"
        return [warning(SUBJECT, times, cure)]
    return [ok(SUBJECT, times)]


def duration(seconds: float) -> str:
    """Return a short time with its unit."""
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
