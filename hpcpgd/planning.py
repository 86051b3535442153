"""What a run's steps need, planned before the first: every buffer is allocated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpcpgd.clock import PhaseClock
from hpcpgd.config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.device_engine import DeviceEngine
from hpcpgd.device_rows import ensure_room
from hpcpgd.engine import Engine, HostEngine
from hpcpgd.errors import UnavailableError
from hpcpgd.gpu import Gpu, device_errors
from hpcpgd.kernels import make_device_plan, make_plan
from hpcpgd.kernels.network import Array, Network
from hpcpgd.reductions.allreduce import AllreduceStep
from hpcpgd.resources import Resources
from hpcpgd.sampler import Sampler
from hpcpgd.stop import StopRequest
from hpcpgd.training import Trainer


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
TF32_GENERATION = 80  # compute capability, times ten


def chunk_rows(network: Network, slice_rows: int, evaluation_rows: int, limits: ChunkLimits) -> int:
    """Return the rows that a plan holds at once: the slice, in bounded memory."""
    wanted = max(slice_rows, min(evaluation_rows, limits.evaluation_rows), 1)
    return min(wanted, max(limits.nbytes // network.bytes_per_row(), 1))


def make_sampler(config: RunConfig, rows: int) -> Sampler:
    """Return the sampler of ``rows`` training rows; a minibatch has at most all of them."""
    batch = rows if config.batch_size == "full" else min(int(config.batch_size), rows)
    return Sampler(rows, batch, config.seed)


def make_trainer(
    comm: Any,
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    parameters: Array,
    resources: Resources,
    request: StopRequest | None = None,
) -> Trainer:
    """Plan a run on the host or, if ``resources`` have a GPU, on that.

    ``request`` ends it between two steps; without one nothing does.

    Raises
    ------
    UnavailableError
        On this rank, if its GPU has too little memory.
    """
    sampler = make_sampler(config, dataset.train.rows)
    clock, request = PhaseClock(comm), request or StopRequest()
    start, stop = sampler.slice(0, comm.size, 0)  # the largest of all slices
    others = max(dataset.validation.rows, dataset.test.rows) // comm.size + 1
    limits = HOST_CHUNK if resources.gpu is None else DEVICE_CHUNK
    capacity = chunk_rows(network, stop - start, others, limits)
    engine: Engine
    if resources.gpu is None:
        plan = make_plan(config.backend, network, capacity, resources.threads, resources.blas)
        engine = HostEngine(plan, dataset, sampler, parameters, clock, request)
    else:
        gpu = resources.gpu
        _check_generation(gpu, config)
        ensure_room(gpu, network, dataset, capacity)
        with device_errors(gpu.place):
            on_device = make_device_plan(
                config.backend, network, capacity, gpu.device, config.matmul_precision
            )
            engine = DeviceEngine(on_device, gpu, dataset, sampler, parameters, clock, request)
    step = AllreduceStep(comm, engine, sampler, clock)
    limit = None if config.max_steps == "none" else int(config.max_steps)
    return Trainer(comm, dataset, engine, sampler, clock, step, config.learning_rate, limit)


def _check_generation(gpu: Gpu, config: RunConfig) -> None:
    """Refuse TF32 where cuBLAS would compute in float32 without a word."""
    if config.matmul_precision == "tf32" and gpu.device.generation < TF32_GENERATION:
        raise UnavailableError(
            f"{gpu.model}: matmul-precision tf32 needs compute capability 8.0 or more, "
            f"this GPU has {gpu.device.generation / 10}: leave it out"
        )
