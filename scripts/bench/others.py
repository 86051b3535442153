"""The share of the benchmark's cores that other programs use during a measurement."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.parallel import mpi

STAT = Path("/proc/stat")
# Columns of a core's line: user nice system idle iowait irq softirq steal.
BUSY = (0, 1, 2, 5, 6, 7)


def busy_seconds(text: str, cores: list[int], ticks: int) -> float:
    """Return the seconds that ``cores`` were busy, from the text of ``/proc/stat``.

    ``ticks`` is the number of the kernel's time units in a second.
    """
    total = 0
    for line in text.splitlines():
        name, *columns = line.split()
        if name in [f"cpu{core}" for core in cores]:
            total += sum(int(columns[k]) for k in BUSY)
    return total / ticks


class Others:
    """Measures the share of ``cores`` that other programs have used since ``begin``.

    Without ``/proc/stat`` the share is 0, and only the FMA peaks show disturbances.
    """

    def __init__(self, comm: Any, cores: list[int]) -> None:
        self._comm = comm
        self._cores = cores
        self._start = (0.0, 0.0)
        self._excused = 0.0

    def excuse(self, seconds: float) -> None:
        """Count processor time of a program that works for this rank as time of this rank.

        This is only for work: a program that spins between its turns disturbs like any other.
        """
        self._excused += seconds

    def begin(self) -> None:
        """Start to measure."""
        self._start = self._now()

    def share(self) -> float:
        """Return the share, 0 to 1; collective."""
        foreign, wall = np.subtract(self._now(), self._start)
        return max(mpi.allreduce_max(self._comm, foreign / (wall * len(self._cores))), 0.0)

    def _now(self) -> tuple[float, float]:
        """Return the busy time of other programs than our ranks, and the wall time; collective."""
        ours = np.array([time.process_time() + self._excused])
        mpi.allreduce_sum(self._comm, ours)
        wall = time.perf_counter()
        if not STAT.exists():
            return 0.0, wall
        busy = busy_seconds(STAT.read_text(), self._cores, os.sysconf("SC_CLK_TCK"))
        return busy - float(ours[0]), wall
