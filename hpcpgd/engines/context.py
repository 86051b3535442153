"""What a run is planned from, and how many rows of a slice its plan holds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.kernels.backends.registry import TILE_PARTS, make_scheduled_plan
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.schedule.phases import Schedule
from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan, WorkerRange, single_process
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena, Group
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.stop import StopRequest

# Bytes of activations and deltas that a plan holds at once, and rows of an evaluation that it
# holds even if minibatches are smaller.  Larger slices are computed in chunks.
HOST_CHUNK = (256 * 2**20, 512)
DEVICE_CHUNK = (2**30, 8192)


def chunk_rows(
    network: Network, slice_rows: int, evaluation_rows: int, on_device: bool = False
) -> int:
    """Return the rows that a plan holds at once: those of the slice, if they fit in a chunk."""
    nbytes, useful = DEVICE_CHUNK if on_device else HOST_CHUNK
    wanted = max(slice_rows, min(evaluation_rows, useful), 1)
    return min(wanted, max(nbytes // network.bytes_per_row(), 1))


@dataclass(frozen=True)
class RunContext:
    """The objects from which every engine and reduction of a run is made.

    Attributes
    ----------
    parameters : ndarray, shape (size,)
        Flat vector, which an engine on the host updates in place.
    stop : StopRequest
        Ends the run between two steps.
    arena : Arena or None
        Memory of this rank's group; None if the reduction has no groups.
    """

    comm: mpi.Comm
    config: RunConfig
    dataset: Dataset
    network: Network
    parameters: Array
    resources: Resources
    sampler: Sampler
    clock: PhaseClock
    stop: StopRequest
    arena: Arena | None = None

    @property
    def memory(self) -> Arena:
        """The memory of this rank's group; `make_trainer` refuses a run without it."""
        if self.arena is None:
            raise ValueError(f"reduction {self.config.reduction} without memory of a group")
        return self.arena

    @property
    def group(self) -> Group:
        """The group of this rank."""
        return self.memory.group

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """The number of ranks of every group; without groups each rank is a group."""
        return (1,) * int(self.comm.size) if self.arena is None else self.group.sizes

    @property
    def evaluation_rows(self) -> int:
        """The rows of a rank in the larger of validation and test."""
        rows = max(self.dataset.validation.rows, self.dataset.test.rows)
        return rows // int(self.comm.size) + 1

    @property
    def capacity(self) -> int:
        """The rows that a plan for the largest slice of a rank holds at once."""
        start, stop = self.sampler.slice(0, self.comm.size, 0)
        on_device = self.resources.gpu is not None
        return chunk_rows(self.network, stop - start, self.evaluation_rows, on_device)

    @property
    def byte_scale(self) -> float | None:
        """The factor of input rows that stay bytes, as products on tiles take them; else None."""
        data = self.dataset
        exact = data.train.features.dtype == np.uint8 and data.offset == 0
        return data.scale if exact and self.config.matmul_precision in TILE_PARTS else None

    def scheduled_plan(
        self, capacity: int, schedule: Schedule, place: WorkerRange | None = None, pool: Any = None
    ) -> ScheduledPlan:
        """Return a plan of the run's backend that follows ``schedule``.

        Without ``place`` its workers are the threads of this rank.
        """
        resources, backend = self.resources, self.config.backend
        place = place or single_process(resources.threads, resources.oversubscribed)
        plan: ScheduledPlan = make_scheduled_plan(
            backend, self.network, capacity, resources.blas, schedule, place, pool,
            self.config.matmul_precision, self.byte_scale,
        )  # fmt: skip
        return plan
