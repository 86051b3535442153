"""Kernels compiled before anything is timed."""

from __future__ import annotations

from time import perf_counter

from hpcpgd import mpi
from hpcpgd.jitcache import repaired
from hpcpgd.training import Trainer


def warm_up(trainer: Trainer) -> None:
    """Compile everything that the steps of ``trainer`` need; changes no parameter."""
    trainer.reduction.warm_up(trainer.rate)


def compile_kernels(ranks: mpi.Ranks, trainer: Trainer) -> float:
    """Compile on one rank a node, load on the others; collective.

    Returns
    -------
    float
        Seconds, the maximum over the ranks.
    """
    start = perf_counter()
    with mpi.agreed(ranks.comm):  # the others wait here
        if ranks.node.rank == 0:
            repaired(lambda: warm_up(trainer))
    if ranks.node.rank > 0:
        warm_up(trainer)
    mpi.patient_barrier(ranks.comm)
    return mpi.largest(ranks.comm, perf_counter() - start)
