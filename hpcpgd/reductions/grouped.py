"""Plans of the reductions whose workers are all threads of all ranks that share memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpcpgd.engines.context import HOST_CHUNK, Parts, chunk_rows
from hpcpgd.kernels.schedule.barrier import WORDS, make_crossing
from hpcpgd.kernels.schedule.commands import divided, fixed
from hpcpgd.kernels.schedule.scheduled_plan import Place, alone
from hpcpgd.parallel.groups import Arena
from hpcpgd.reductions.reproducible import ReproducibleEngine, ReproducibleStep
from hpcpgd.reductions.shared import SharedEngine, SharedStep, most_rows

SCORE_ROWS = 512  # that ``reproducible`` scores together


def make_grouped(
    parts: Parts, arena: Arena
) -> tuple[SharedEngine, SharedStep] | tuple[ReproducibleEngine, ReproducibleStep]:
    """Return what makes the steps of ``shared`` or ``reproducible``; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has too little shared memory.
    """
    shared = arena.allocate(parts.network.size, parts.network.dtype)
    if arena.group.index == 0:
        shared[:] = parts.parameters
    arena.group.members.Barrier()
    parts = replace(parts, parameters=shared)
    if parts.config.reduction == "shared":
        return _shared(parts, arena)
    return _reproducible(parts, arena)


def _place(parts: Parts, arena: Arena, first: int) -> Place:
    """Return this rank's workers, of which ``first`` is the group's first."""
    threads, group = parts.resources.threads, arena.group
    state = arena.allocate(WORDS, np.int64)
    crossing = make_crossing(group.size * threads, state, parts.resources.oversubscribed)
    return Place(first + group.index * threads, threads, crossing, arena.allocate)


def _shared(parts: Parts, arena: Arena) -> tuple[SharedEngine, SharedStep]:
    group, network, threads = arena.group, parts.network, parts.resources.threads
    rows = most_rows(parts.sampler, parts.comm.size, group)
    capacity = chunk_rows(network, rows, 0, HOST_CHUNK)
    schedule = divided(network, capacity, group.size * threads, group.blocks * threads)
    plan = parts.scheduled_plan(capacity, schedule, _place(parts, arena, 0))
    own = alone(threads, parts.resources.oversubscribed)
    few = chunk_rows(network, 1, parts.evaluation_rows, HOST_CHUNK)
    scorer = parts.scheduled_plan(few, divided(network, few, threads), own, plan.crew)
    engine = SharedEngine(group, plan, scorer, *parts.for_engine)
    return engine, SharedStep(parts.comm.size, engine, parts.sampler, parts.clock)


def _reproducible(parts: Parts, arena: Arena) -> tuple[ReproducibleEngine, ReproducibleStep]:
    # Nothing here but the dealing may depend on the ranks: capacities decide bits.
    group, network, threads = arena.group, parts.network, parts.resources.threads
    shards = parts.config.shards
    capacity = chunk_rows(network, parts.sampler.batch_size, 0, HOST_CHUNK)
    schedule = fixed(network, capacity, shards, parts.comm.size * threads)
    place = _place(parts, arena, group.first * threads)
    plan = parts.scheduled_plan(capacity, schedule, place)
    few = chunk_rows(network, 1, SCORE_ROWS, HOST_CHUNK)
    own = alone(threads, parts.resources.oversubscribed)
    scorer = parts.scheduled_plan(few, fixed(network, few, shards, threads), own, plan.crew)
    engine = ReproducibleEngine(parts.comm, group, threads, plan, scorer, *parts.for_engine)
    return engine, ReproducibleStep(engine, parts.sampler, parts.clock)
