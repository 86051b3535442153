"""The bytes that ranks pass to MPI in a step are those of the cost model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.machine import gpu
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena, make_group
from hpcpgd.reductions.traffic import communicated
from tests.emulation.build import compiler
from tests.mpi.test_equivalence import config, emulated_gpu, planned

pytestmark = pytest.mark.mpi


class Counted:
    """A communicator that counts the bytes of what is sent through it."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Allreduce(self, own: Any, array: Any, operation: Any) -> None:  # noqa: N802  # mpi4py's name
        self.sent += array.nbytes
        self._comm.Allreduce(own, array, operation)

    def Iallreduce(self, own: Any, array: Any, operation: Any) -> Any:  # noqa: N802  # mpi4py's name
        self.sent += array.nbytes
        return self._comm.Iallreduce(own, array, operation)

    def Allgatherv(self, own: Any, everything: Any) -> None:  # noqa: N802  # mpi4py's name
        self.sent += own[0].nbytes
        self._comm.Allgatherv(own, everything)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")
@pytest.mark.parametrize("reduction", ["allreduce", "overlap"])
def test_bytes_of_a_step_on_gpus(comm: Any, reduction: str) -> None:
    """On GPUs no flags are sent with the gradient."""
    world: Any = Counted(comm)
    on, _ = emulated_gpu(comm, gpu.STAGED)
    with planned(world, config("cuda", "float64", 37, reduction), on=on) as trainer:
        network, world.sent = trainer.engine.network, 0
        trainer.reduction.step(1, 0, 0.1)
    sent = np.array([world.sent])
    mpi.allreduce_sum(comm, sent)
    sizes = (1,) * comm.size
    assert sent[0] == communicated(network, reduction, 37, sizes, on_device=True).sum()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("reduction", "group_size"),
    [("allreduce", "node"), ("overlap", "node"), ("shared", 1), ("shared", 2),
     ("shared", "node"), ("reproducible", 2), ("reproducible", "node")],
)  # fmt: skip
def test_bytes_of_a_step(comm: Any, reduction: str, group_size: int | str, threads: int) -> None:
    settings = config("gemm", "float32", 37, reduction, group_size)
    ranks = mpi.join(comm)
    group = make_group(ranks, None if group_size == "node" else int(group_size))
    counted: dict[str, Any] = {
        name: Counted(getattr(group, name))
        for name in ("peers", "leaders")
        if getattr(group, name) is not None
    }
    world: Any = Counted(comm)
    arena = Arena(ranks, replace(group, **counted))
    grouped = reduction in ("shared", "reproducible")
    with planned(world, settings, threads, arena=arena if grouped else None) as trainer:
        network, world.sent = trainer.engine.network, 0
        trainer.reduction.step(1, 0, 0.1)
    sent = np.array([world.sent + sum(c.sent for c in counted.values())])
    mpi.allreduce_sum(comm, sent)
    expected = communicated(network, reduction, 37, group.sizes, threads)
    assert sent[0] == expected.sum()
    assert (expected.sum() > 0) == (comm.size > 1 and (not grouped or group.count > 1))
    comm.Barrier()
    arena.free()
    group.free()
    mpi.leave(ranks)
