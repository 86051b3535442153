"""The share of the benchmark's cores that other programs use during a measurement."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from hpcpgd.machine.other_load import STAT, busy_seconds
from hpcpgd.parallel import mpi


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
        return float(np.nan_to_num(busy_seconds(self._cores, STAT) - ours[0])), wall
