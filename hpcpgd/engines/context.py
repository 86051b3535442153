"""What every way to plan a run is given, and how much of it is worked on at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.kernels.backends.registry import make_scheduled_plan
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.schedule.phases import Schedule
from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan, WorkerRange
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.stop import StopRequest

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI


@dataclass(frozen=True)
class ChunkLimits:
    """How many rows a plan holds at once; larger slices are worked through in chunks.

    Attributes
    ----------
    nbytes : int
        Of activations and deltas.
    evaluation_rows : int
        Rows worth a chunk of their own where minibatches are smaller.
    """

    nbytes: int
    evaluation_rows: int


HOST_CHUNK = ChunkLimits(256 * 2**20, 512)
DEVICE_CHUNK = ChunkLimits(2**30, 8192)


def chunk_rows(network: Network, slice_rows: int, evaluation_rows: int, limits: ChunkLimits) -> int:
    """Return the rows that a plan holds at once: the slice, in bounded memory."""
    wanted = max(slice_rows, min(evaluation_rows, limits.evaluation_rows), 1)
    return min(wanted, max(limits.nbytes // network.bytes_per_row(), 1))


@dataclass(frozen=True)
class RunContext:
    """What a run is planned from (see ``planning.make_trainer``)."""

    comm: MPI.Comm
    config: RunConfig
    dataset: Dataset
    network: Network
    parameters: Array
    resources: Resources
    sampler: Sampler
    clock: PhaseClock
    stop: StopRequest

    @property
    def evaluation_rows(self) -> int:
        """Rows of the larger evaluation that fall to a rank."""
        rows = max(self.dataset.validation.rows, self.dataset.test.rows)
        return rows // int(self.comm.size) + 1

    @property
    def for_engine(self) -> tuple[Dataset, Sampler, Array, PhaseClock, StopRequest]:
        """What engines are given after their plan."""
        return self.dataset, self.sampler, self.parameters, self.clock, self.stop

    def scheduled_plan(
        self, capacity: int, schedule: Schedule, place: WorkerRange, pool: Any = None
    ) -> ScheduledPlan:
        """Return a plan of the run's backend that works by ``schedule``."""
        plan: ScheduledPlan = make_scheduled_plan(
            self.config.backend, self.network, capacity, self.resources.blas, schedule, place, pool
        )
        return plan
