"""Plans of the reductions whose workers are all threads of all ranks that share memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpcpgd.engines.context import HOST_CHUNK, RunContext, chunk_rows
from hpcpgd.kernels.schedule.barrier import WORDS, make_barrier
from hpcpgd.kernels.schedule.phases import divided, fixed
from hpcpgd.kernels.schedule.scheduled_plan import WorkerRange, single_process
from hpcpgd.parallel.groups import Arena
from hpcpgd.reductions.reproducible import ReproducibleEngine, ReproducibleStep
from hpcpgd.reductions.shared import SharedEngine, SharedStep, most_rows

SCORE_ROWS = 512  # that ``reproducible`` scores together


def make_grouped(
    context: RunContext, arena: Arena
) -> tuple[SharedEngine, SharedStep] | tuple[ReproducibleEngine, ReproducibleStep]:
    """Return what makes the steps of ``shared`` or ``reproducible``; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has too little shared memory.
    """
    shared = arena.allocate(context.network.size, context.network.dtype)
    if arena.group.index == 0:
        shared[:] = context.parameters
    arena.group.members.Barrier()
    context = replace(context, parameters=shared)
    if context.config.reduction == "shared":
        return _shared(context, arena)
    return _reproducible(context, arena)


def _place(context: RunContext, arena: Arena, first: int) -> WorkerRange:
    """Return this rank's workers, of which ``first`` is the group's first."""
    threads, group = context.resources.threads, arena.group
    state = arena.allocate(WORDS, np.int64)
    barrier = make_barrier(group.size * threads, state, context.resources.oversubscribed)
    return WorkerRange(first + group.index * threads, threads, barrier, arena.allocate)


def _shared(context: RunContext, arena: Arena) -> tuple[SharedEngine, SharedStep]:
    group, network, threads = arena.group, context.network, context.resources.threads
    rows = most_rows(context.sampler, context.comm.size, group)
    capacity = chunk_rows(network, rows, 0, HOST_CHUNK)
    schedule = divided(network, capacity, group.size * threads, group.blocks * threads)
    plan = context.scheduled_plan(capacity, schedule, _place(context, arena, 0))
    own = single_process(threads, context.resources.oversubscribed)
    few = chunk_rows(network, 1, context.evaluation_rows, HOST_CHUNK)
    scorer = context.scheduled_plan(few, divided(network, few, threads), own, plan.pool)
    engine = SharedEngine(group, plan, scorer, *context.for_engine)
    return engine, SharedStep(context.comm.size, engine, context.sampler, context.clock)


def _reproducible(context: RunContext, arena: Arena) -> tuple[ReproducibleEngine, ReproducibleStep]:
    # Nothing here but the dealing may depend on the ranks: capacities decide bits.
    group, network, threads = arena.group, context.network, context.resources.threads
    shards = context.config.shards
    capacity = chunk_rows(network, context.sampler.batch_size, 0, HOST_CHUNK)
    schedule = fixed(network, capacity, shards, context.comm.size * threads)
    place = _place(context, arena, group.first * threads)
    plan = context.scheduled_plan(capacity, schedule, place)
    few = chunk_rows(network, 1, SCORE_ROWS, HOST_CHUNK)
    own = single_process(threads, context.resources.oversubscribed)
    scorer = context.scheduled_plan(few, fixed(network, few, shards, threads), own, plan.pool)
    engine = ReproducibleEngine(context.comm, group, threads, plan, scorer, *context.for_engine)
    return engine, ReproducibleStep(engine, context.sampler, context.clock)
