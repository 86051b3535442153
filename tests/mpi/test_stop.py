"""Asked on one rank, all ranks stop after the same step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpcpgd.engines.device_engine import CHECK_EVERY
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.errors import StoppedError
from hpcpgd.kernels.blas import blas_library
from hpcpgd.machine import gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.warmup import warm_up
from tests.emulation.build import compiler
from tests.mpi.test_equivalence import config, dataset, emulated_gpu

DTYPE = {"reference": "float64"}


def stopped_after(comm: Any, backend: str, batch: int, on: Any) -> int:
    """Ask the last rank before the first step; return the steps that were made."""
    settings = replace(config(backend, DTYPE.get(backend, "float32"), batch), hidden=(8,))
    network = make_network(settings, dataset().n_in, dataset().n_out)
    request = StopRequest()
    trainer = make_trainer(
        comm, settings, dataset(), network, initial_parameters(network, 0),
        Resources(1, False, blas_library.find(), on), request,
    )  # fmt: skip
    warm_up(trainer)
    request.signalled = comm.rank == comm.size - 1
    with pytest.raises(StoppedError) as caught:
        trainer.run(3, lambda number, epoch: None)
    assert caught.value.agreed
    assert sum(epoch.steps for epoch in trainer.history) == trainer.engine.steps
    return trainer.engine.steps


@pytest.mark.mpi
@pytest.mark.parametrize("backend", ["reference", "loops", "gemv", "gemm"])
def test_on_the_host_after_one_step(comm: Any, backend: str) -> None:
    assert stopped_after(comm, backend, 7, None) == 1


@pytest.mark.mpi
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("transport", [gpu.STAGED, gpu.DIRECT])
def test_on_a_gpu_where_it_looks_for_nan_too(comm: Any, transport: str) -> None:
    on, _ = emulated_gpu(comm, transport)
    made = stopped_after(comm, "cuda-loops", 1, on)
    assert made == CHECK_EVERY
    assert mpi.allreduce_max(comm, float(made)) == made
