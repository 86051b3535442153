"""How much of the communication is hidden behind arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from hpcpgd.parallel import mpi

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI

REHEARSALS = 5


class Exposure:
    """The seconds that reductions cost beside the arithmetic, and what they cost alone."""

    def __init__(self) -> None:
        self._alone = np.nan  # seconds of a sum with nothing beside it
        self._exposed = 0.0
        self.reductions = 0

    def rehearse(self, comm: MPI.Comm, make_sum: Callable[[], None]) -> None:
        """Time the sum with nothing beside it; collective."""
        times = []
        for _ in range(REHEARSALS):
            comm.Barrier()
            start = perf_counter()
            make_sum()
            times.append(perf_counter() - start)
        self._alone = mpi.allreduce_max(comm, float(np.median(times)))

    def add(self, seconds: float) -> None:
        """Count time in which nothing was computed."""
        self._exposed += seconds

    @property
    def hidden_share(self) -> float:
        """Part of the communication that cost no time: 1 minus that exposed over that alone."""
        if not self.reductions:
            return np.nan
        return max(0.0, 1 - self._exposed / self.reductions / self._alone)
