"""Compile kernels before anything is timed."""

from __future__ import annotations

from contextlib import nullcontext
from time import perf_counter

from hpcpgd.environment.fault_points import fault_point
from hpcpgd.machine.gpu import Gpu, device_errors
from hpcpgd.parallel import mpi
from hpcpgd.train.training_loop import Trainer


def warm_up(trainer: Trainer) -> None:
    """Compile everything that the steps of ``trainer`` need; changes no parameter."""
    trainer.reduction.warm_up(trainer.rate)


def compile_kernels(ranks: mpi.Ranks, trainer: Trainer, gpu: Gpu | None) -> float:
    """Compile on one rank of each node, load on the others; collective.

    Returns
    -------
    float
        Seconds, the maximum over the ranks.

    Raises
    ------
    UnavailableError
        On every rank, if a GPU's libraries or compiler fail.
    """
    start = perf_counter()
    with mpi.agreed(ranks.comm):  # the others wait here
        if ranks.node.rank == 0:
            _warm_up_on(trainer, gpu)
    with mpi.agreed(ranks.comm):
        if ranks.node.rank > 0:
            _warm_up_on(trainer, gpu)
    return mpi.allreduce_max(ranks.comm, perf_counter() - start)


def _warm_up_on(trainer: Trainer, gpu: Gpu | None) -> None:
    fault_point("compiling")
    with nullcontext() if gpu is None else device_errors(gpu.place):
        warm_up(trainer)
