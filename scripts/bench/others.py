"""What other programs take of our cores while we measure."""

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

    ``ticks`` is the kernel's unit, in parts of a second.
    """
    total = 0
    for line in text.splitlines():
        name, *columns = line.split()
        if name in [f"cpu{core}" for core in cores]:
            total += sum(int(columns[k]) for k in BUSY)
    return total / ticks


class Others:
    """Measures the share of ``cores`` that others took since ``begin``.

    Where there is no ``/proc/stat`` that share is 0: the FMA peaks alone must tell.
    """

    def __init__(self, comm: Any, cores: list[int]) -> None:
        self._comm = comm
        self._cores = cores
        self._start = (0.0, 0.0)
        self._excused = 0.0

    def excuse(self, seconds: float) -> None:
        """Count processor time of a program that worked for this rank as the rank's own.

        Only its work: a program that spins between its turns disturbs like any other.
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
        """Return the busy time that is not our ranks' own, and the wall time."""
        own = np.array([time.process_time() + self._excused])
        mpi.allreduce_sum(self._comm, own)
        wall = time.perf_counter()
        if not STAT.exists():
            return 0.0, wall
        busy = busy_seconds(STAT.read_text(), self._cores, os.sysconf("SC_CLK_TCK"))
        return busy - float(own[0]), wall
