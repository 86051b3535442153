"""What a run's steps need, planned before the first: every buffer is allocated here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcpgd.config.run_config import GROUPED, RunConfig
from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.base import Engine, HostEngine, StepEngine
from hpcpgd.engines.context import DEVICE_CHUNK, HOST_CHUNK, RunContext, chunk_rows
from hpcpgd.engines.device_engine import DeviceEngine
from hpcpgd.engines.device_rows import ensure_room
from hpcpgd.engines.scheduled import PrivateEngine
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.backends.registry import SCHEDULED, make_device_plan, make_plan
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.schedule.phases import Schedule, divided, in_pieces
from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan, single_process
from hpcpgd.machine.gpu import Gpu, device_errors
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel.groups import Arena
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.reductions import Reduction
from hpcpgd.reductions.allreduce import AllreduceStep
from hpcpgd.reductions.device_overlap import DeviceOverlapEngine
from hpcpgd.reductions.grouped import make_grouped
from hpcpgd.reductions.overlap import OverlapEngine, OverlapStep
from hpcpgd.train.training_loop import Trainer

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI

TF32_GENERATION = 80  # compute capability, times ten


def make_sampler(config: RunConfig, rows: int) -> Sampler:
    """Return the sampler of ``rows`` training rows; a minibatch has at most all of them."""
    batch = rows if config.batch_size == "full" else min(int(config.batch_size), rows)
    return Sampler(rows, batch, config.seed)


def make_trainer(
    comm: MPI.Comm,
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    parameters: Array,
    resources: Resources,
    request: StopRequest | None = None,
    arena: Arena | None = None,
) -> Trainer:
    """Plan a run on the host or, if ``resources`` have a GPU, on that.

    ``request`` ends it between two steps; without one nothing does.  ``arena`` is needed by
    the reductions of groups, whose plans are made collectively.

    Raises
    ------
    UnavailableError
        On this rank, if its GPU has too little memory; on all, if shared memory has.
    """
    sampler = make_sampler(config, dataset.train.rows)
    context = RunContext(
        comm,
        config,
        dataset,
        network,
        parameters,
        resources,
        sampler,
        PhaseClock(comm),
        request or StopRequest(),
    )
    if (config.reduction in GROUPED) != (arena is not None):
        raise ValueError(f"reduction {config.reduction}: memory of groups given or missing")
    engine: Engine
    step: Reduction
    if arena is not None:
        engine, step = make_grouped(context, arena)
    else:
        engine, step = _make_private(context)
    limit = None if config.max_steps == "none" else int(config.max_steps)
    return Trainer(comm, dataset, engine, sampler, context.clock, step, config.learning_rate, limit)


def _make_private(context: RunContext) -> tuple[StepEngine, Reduction]:
    """Return what makes steps where each rank has all memory to itself."""
    comm, config = context.comm, context.config
    network, resources = context.network, context.resources
    start, stop = context.sampler.slice(0, comm.size, 0)  # the largest of all slices
    limits = HOST_CHUNK if resources.gpu is None else DEVICE_CHUNK
    capacity = chunk_rows(network, stop - start, context.evaluation_rows, limits)
    engine: StepEngine
    overlaps = config.reduction == "overlap" and comm.size > 1
    if resources.gpu is not None:
        engine = _make_device(context, resources.gpu, capacity, overlaps)
        if isinstance(engine, DeviceOverlapEngine):
            return engine, OverlapStep(comm, engine, context.sampler, context.clock)
    elif overlaps:
        overlap = _scheduled(context, in_pieces(network, capacity, resources.threads), capacity)
        engine = OverlapEngine(overlap, *context.for_engine)
        return engine, OverlapStep(comm, engine, context.sampler, context.clock)
    elif config.backend in SCHEDULED:
        plan = _scheduled(context, divided(network, capacity, resources.threads), capacity)
        engine = PrivateEngine(plan, *context.for_engine)
    else:
        plain = make_plan(config.backend, network, capacity, resources.threads, resources.blas)
        engine = HostEngine(plain, *context.for_engine)
    return engine, AllreduceStep(comm, engine, context.sampler, context.clock)


def _scheduled(context: RunContext, schedule: Schedule, capacity: int) -> ScheduledPlan:
    place = single_process(context.resources.threads, context.resources.oversubscribed)
    return context.scheduled_plan(capacity, schedule, place)


def _make_device(context: RunContext, gpu: Gpu, capacity: int, overlaps: bool) -> DeviceEngine:
    _check_generation(gpu, context.config)
    ensure_room(gpu, context.network, context.dataset, capacity)
    with device_errors(gpu.place):
        on_device = make_device_plan(
            context.config.backend,
            context.network,
            capacity,
            gpu.device,
            context.config.matmul_precision,
        )
        make = DeviceOverlapEngine if overlaps else DeviceEngine
        return make(on_device, gpu, *context.for_engine)


def _check_generation(gpu: Gpu, config: RunConfig) -> None:
    """Refuse TF32 where cuBLAS would compute in float32 without a word."""
    if config.matmul_precision == "tf32" and gpu.device.generation < TF32_GENERATION:
        raise UnavailableError(
            f"{gpu.model}: matmul-precision tf32 needs compute capability 8.0 or more, "
            f"this GPU has {gpu.device.generation / 10}: leave it out"
        )
