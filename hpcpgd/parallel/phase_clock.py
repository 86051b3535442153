"""Where the time of an epoch goes: data, compute, reduce, wait, update.

A collective ends for all ranks at about the same time, so the last rank to arrive spends the
least time in it.  This smallest time over the ranks is the cost of the reduction.  What another
rank spends beyond it is waiting.  The smallest times of all steps are computed once an epoch,
so that measuring adds no message to a step.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_names import DATA, PHASES, REDUCE, WAIT

STEPS_KEPT = 16384  # durations kept before the ranks compare them


class PhaseClock:
    """Adds up the seconds of this rank's phases over one epoch.

    Parameters
    ----------
    comm : Comm
        All ranks make the same number of reductions.
    """

    def __init__(self, comm: mpi.Comm) -> None:
        self._comm = comm
        self._durations = np.zeros(STEPS_KEPT)
        self._kept = 0
        self._reduction = 0.0
        self._seconds = np.zeros(len(PHASES))
        self._rows = 0
        self._last = 0.0

    def begin_step(self, rows: int) -> None:
        """Start timing a step in which this rank works on ``rows`` examples."""
        self._rows += rows
        self._last = perf_counter()

    def lap(self, phase: int, waited: float = 0.0, loaded: float = 0.0) -> None:
        """Add the time since the last call to ``phase``.

        Of that time ``waited`` seconds count for the step's reduction, and ``loaded`` seconds
        for the phase data.
        """
        now = perf_counter()
        self._seconds[phase] += now - self._last - waited - loaded
        self._seconds[DATA] += loaded
        self._reduction += waited
        self._last = now

    def lap_reduction(self) -> float:
        """Add the time since the last call to the step's reduction, and return it."""
        now = perf_counter()
        seconds = now - self._last
        self._reduction += seconds
        self._last = now
        return seconds

    def end_reduction(self) -> None:
        """Store the time of this step's reduction; collective once in ``STEPS_KEPT`` calls."""
        self._durations[self._kept] = self._reduction
        self._kept += 1
        self._reduction = 0.0
        if self._kept == STEPS_KEPT:
            self._compare()

    def take(self) -> tuple[Array, int]:
        """Return the seconds of each phase and the rows, and start again; collective."""
        self._compare()
        seconds, rows = self._seconds.copy(), self._rows
        self._seconds[:] = 0
        self._rows = 0
        return seconds, rows

    def _compare(self) -> None:
        own = self._durations[: self._kept].copy()
        least = own.copy()
        mpi.allreduce_min(self._comm, least)
        self._seconds[REDUCE] += least.sum()
        self._seconds[WAIT] += (own - least).sum()
        self._kept = 0
        self._last = perf_counter()
