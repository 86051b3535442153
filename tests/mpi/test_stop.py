"""Asked on one rank, all ranks stop after the same step."""

from __future__ import annotations

from typing import Any

import pytest

from hpcpgd.config.run_config import RunConfig
from hpcpgd.engines.device_engine import CHECK_EVERY
from hpcpgd.errors import StoppedError
from hpcpgd.machine import gpu
from hpcpgd.parallel import mpi
from hpcpgd.parallel.stop import StopRequest
from tests.emulation.build import compiler
from tests.mpi.test_equivalence import config, emulated_gpu, planned

pytestmark = pytest.mark.mpi


def stopped_after(comm: Any, settings: RunConfig, on: gpu.Gpu | None = None) -> int:
    """Ask the last rank before the first step; return the steps that were made."""
    request = StopRequest()
    with planned(comm, settings, on=on, request=request) as trainer:
        request.signalled = comm.rank == comm.size - 1
        with pytest.raises(StoppedError) as caught:
            trainer.run(3, lambda number, epoch: None)
        assert caught.value.agreed
        assert sum(epoch.steps for epoch in trainer.history) == trainer.engine.steps
        return trainer.engine.steps


@pytest.mark.parametrize("backend", ["reference", "loops", "gemv", "gemm"])
def test_on_the_host_after_one_step(comm: Any, backend: str) -> None:
    dtype = "float64" if backend == "reference" else "float32"
    assert stopped_after(comm, config(backend, dtype, 7)) == 1


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("transport", [gpu.STAGED, gpu.DIRECT])
def test_on_a_gpu_where_it_looks_for_nan_too(comm: Any, transport: str) -> None:
    on, _ = emulated_gpu(comm, transport)
    made = stopped_after(comm, config("cuda-loops", "float32", 1), on)
    assert made == CHECK_EVERY
    assert mpi.allreduce_max(comm, float(made)) == made
