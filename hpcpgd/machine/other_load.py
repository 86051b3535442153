"""The load of other processes on the cores of a job while the job was timed (Linux)."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from time import perf_counter

import numpy as np

from hpcpgd.machine.cores import MAX_CORES, affinity, machine_identity
from hpcpgd.parallel import mpi

STAT = Path("/proc/stat")
# Columns user, nice, system, irq, softirq, and steal, the time that other virtual machines took.
# The columns between them are idle time; the columns after them are part of user.
WORKING = (1, 2, 3, 6, 7, 8)
STOLEN = (8,)
NOTICED_SHARE = 0.1  # of the cores; a lower load disturbs a run as little as the system's own work
LEAST_SECONDS = 0.5  # the system counts in hundredths of a second: shorter times are noise


def busy_seconds(
    cores: Collection[int], path: Path = STAT, columns: Collection[int] = WORKING
) -> float:
    """Return the total time that logical processors have worked since the machine started.

    It is NaN if the system does not report the time of each of them.
    """
    try:
        rows = {row[0]: row for row in map(str.split, path.read_text().splitlines()) if row}
        work = sum(int(rows[f"cpu{core}"][column]) for core in cores for column in columns)
    except (OSError, LookupError):
        return float("nan")
    return work / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


class OtherLoad:
    """The load of others on the cores of a job.  Construction and `measure` are collective.

    Parameters
    ----------
    path : Path
        The system's counters.
    """

    def __init__(self, ranks: mpi.Ranks, path: Path = STAT) -> None:
        self._ranks, self._path = ranks, path
        mine = np.zeros(MAX_CORES, np.uint8)
        mine[affinity()] = 1
        machine = mpi.same_machine(ranks.comm, machine_identity())
        self._cores = np.flatnonzero(mpi.allgather(machine, mine).max(axis=0)).tolist()
        machine.Free()
        self._before = self._clocks()

    def _clocks(self) -> list[float]:
        """Return the times that cores worked, that virtual machines took, of this rank, and now."""
        busy, stolen = (busy_seconds(self._cores, self._path, c) for c in (WORKING, STOLEN))
        return [busy, stolen, own_seconds(), perf_counter()]

    def measure(self) -> tuple[float, str]:
        """Return the cores that others used, and this as a phrase, "" if there is little.

        Both are of the machine with the largest share.  The number is 0 if there is little, NaN if
        it is not known.
        """
        busy, stolen, own, seconds = np.subtract(self._clocks(), self._before).tolist()
        ours = np.array([own])
        machine = mpi.same_machine(self._ranks.comm, machine_identity())
        mpi.allreduce_sum(machine, ours)
        machine.Free()
        used = max(busy - ours[0], stolen) / seconds  # some systems count stolen time as ours, too
        used = used if seconds >= LEAST_SECONDS else np.nan
        if used <= NOTICED_SHARE * len(self._cores):  # False for NaN
            used = 0.0
        rows = mpi.allgather(self._ranks.comm, np.array([used, len(self._cores)]))
        shares = rows[:, 0] / rows[:, 1]
        rank = int(np.argmax(np.nan_to_num(shares, nan=-1.0)))
        used, cores = rows[rank].tolist()
        where = f" on the node of rank {rank}" if self._ranks.nodes > 1 else ""
        load = f"others used {used:.1f} of {cores:.0f} cores{where}"
        return used, load if used > 0 else ""
