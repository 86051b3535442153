"""When a checkpoint is due, and the pause between two steps in which it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from hpcpgd.config.option_types import Every
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.parallel import mpi
from hpcpgd.parallel.stop import StopRequest


@dataclass
class CheckpointTimer:
    """Decides, the same on every rank, when steps pause and whether they go on.

    Every rank counts steps.  Only rank 0 measures seconds: like a signal, its request is sent
    with a step's reduction.  In the pause the ranks agree whether the run is to end.

    Attributes
    ----------
    every : Every
        Steps or seconds between checkpoints.
    write : callable
        Writes a checkpoint; collective.
    """

    comm: mpi.Comm
    request: StopRequest
    every: Every
    write: Callable[[], None]

    def __post_init__(self) -> None:
        self._start_interval()

    def due(self, steps: int) -> bool:
        """Return whether a checkpoint is due after this number of steps."""
        return self.every.steps > 0 and steps % self.every.steps == 0

    def pause(self) -> bool:
        """Write a checkpoint; return False if the run is to end.  Collective."""
        ending = mpi.allreduce_max(self.comm, float(self.request.ending)) > 0
        fault_point("checkpoint")
        self.write()
        self._start_interval()
        return not ending

    def _start_interval(self) -> None:
        if self.every.seconds and self.comm.rank == 0:
            self.request.pause_at = monotonic() + self.every.seconds
